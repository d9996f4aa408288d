//! How many streams may be open.

use super::*;

/// [M2] Both ends allow so many streams in a generation; one more is refused, and costs nothing. A new generation begins with none open, and
/// each goes on with its next number.
#[test]
fn streams_are_counted_per_generation() {
    let mut pair = Pair::new(PortConfig { max_streams: 5, autoswitch: true, ..config(1) });
    pair.target_config.max_streams = 3;
    pair.source.connect(pair.now, None).unwrap();
    pair.run();
    for stream in 0..3 {
        let sn = pair.send(stream, b"x").unwrap();
        pair.run();
        pair.target.as_mut().unwrap().ack(pair.now, sn, 0).unwrap();
        pair.run();
    }
    let refused = SendError::TooManyStreams { stream: StreamId(3), max: 3 };
    assert_eq!(pair.send(3, b"x"), Err(refused));
    assert!(pair.source.has_open_stream(StreamId(2)) && !pair.source.has_open_stream(StreamId(3)));
    let sn = pair.send(1, b"again").unwrap();
    assert_eq!((pair.source.newest_sent(), pair.source.ended_up_to()), (sn, Sn(sn.0 - 1)));
    pair.backup = true;
    let generation = pair.source.generation();
    pair.source.handle_bye(pair.now, generation, Reason::UnknownSession);
    pair.run();
    assert_eq!((pair.source.peer(), pair.source.link()), (Some(NodeId(3)), Link::Up));
    for stream in [3, 4] {
        pair.send(stream, b"new").unwrap();
    }
    assert!(pair.send(0, b"one too many").is_err());
    pair.run();
    let got: Vec<_> = pair.received().iter().map(|m| (m.0, m.1)).collect();
    assert_eq!(got, [(0, 1), (1, 1), (2, 1), (1, 2), (3, 1), (4, 1)]);
}

/// [M2] [F5] A backup that allows fewer streams than what is unfinished needs is no backup for it.
#[test]
fn a_backup_that_allows_too_few_streams() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
    for stream in 0..4 {
        pair.send(stream, b"x").unwrap();
    }
    pair.run();
    pair.backup = true;
    pair.target_config.max_streams = 3;
    let generation = pair.source.generation();
    pair.source.handle_bye(pair.now, generation, Reason::UnknownSession);
    pair.run();
    let told = pair.source_events.iter().find_map(|e| match e {
        Event::Status(ConnStatus::Down { reason, decision, .. }) => Some((*reason, decision.tried.clone())),
        _ => None,
    });
    assert_eq!(told, Some((Reason::NoBackup, vec![(NodeId(3), Reason::Limit)])));
    assert_eq!(pair.nacked().len(), 4);
}
