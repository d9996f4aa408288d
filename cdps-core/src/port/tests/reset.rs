//! The recovery of a target that comes back (F3).

use super::*;
use crate::port::reset::Verdicts;
use crate::wire::{LedgerRecord, MAX_LEDGER_RECORDS, ResetAck};

impl Pair {
    /// Cuts every path for longer than the dead time, and lets the source tell its user.
    fn cut(&mut self) {
        self.silent = (0..self.source.paths.len() as u16).map(PathId).collect();
        let last_heard = self.now;
        self.pass(MS * 1600);
        self.source.handle_peer(self.now, NodeId(2), PeerState::Unreachable { last_heard });
        self.run();
        assert_eq!(self.source.link(), Link::Drained);
    }

    /// The network is there again, and the source hears of its target.
    fn heal(&mut self) {
        self.silent.clear();
        let state = PeerState::Reachable { incarnation: Incarnation(22) };
        self.source.handle_peer(self.now, NodeId(2), state);
        self.run();
    }

    fn verdicts(&self) -> Vec<(u64, Verdict)> {
        let of = |e: &Event<_, _>| {
            if let Event::Resolved { sn, verdict } = e { Some((sn.0, *verdict)) } else { None }
        };
        self.source_events.iter().filter_map(of).collect()
    }
}

/// [F3] [U1] What comes on a connection of the old generation has no effect, and is counted.
#[test]
fn late_frames_are_counted() {
    let mut pair = Pair::connected(config(1));
    let old = pair.source.paths[0].last_conn;
    pair.silent = vec![PathId(0)];
    pair.cut();
    pair.heal();
    assert!(pair.source.paths[0].last_conn > old && pair.source.stats().resets == 1);
    let target = pair.target.as_mut().unwrap();
    assert_eq!((target.stats().resets, target.stats().late), (1, 0));
    let frames =
        [wire::Frame::Probe, wire::Frame::Close { reason: Reason::Closed as u16, side: Side::Source }];
    let mut items: Vec<_> = frames.into_iter().map(|frame| Inbound::Frame(Box::new(frame))).collect();
    assert_eq!(target.handle_inbound(pair.now, PathId(0), old, 9, &mut items, true), Ok(()));
    assert_eq!((target.stats().late, target.state()), (2, State::ConnectedTo));
}

/// [N5] [F3] An answer that was on its way when the engine said that the target is down leads to nothing; when that is taken back it is asked again.
#[test]
fn a_late_answer_of_a_node_that_is_down_is_not_heeded() {
    let mut pair = Pair::connected(config(1));
    pair.cut();
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    let late = Answer {
        generation: pair.source.generation(),
        secret: Secret::new([7; 32]),
        ..pair.target.as_ref().unwrap().answer(Vec::new())
    };
    pair.source.handle_answer(pair.now, &late);
    assert!(pair.source.awaits_return());
    pair.heal();
    assert_eq!((pair.source.link(), pair.source.stats().resets), (Link::Up, 1));
}

/// [F3] Each message that was nacked as unknown is resolved once, before the port is up again; the session goes on with the next numbers.
#[test]
fn what_was_unknown_is_resolved() {
    let mut pair = Pair::connected(config(1));
    for _ in 0..3 {
        pair.send(7, b"arrives").unwrap();
    }
    pair.run();
    let target = pair.target.as_mut().unwrap();
    pair.silent = vec![PathId(0)];
    target.ack(pair.now, Sn(2), 9).unwrap();
    pair.send(7, b"vanishes").unwrap();
    pair.run();
    pair.cut();
    assert!(pair.verdicts().is_empty());
    assert_eq!(pair.send(7, b"x"), Err(SendError::Down));
    pair.heal();
    let expected = [
        (1, Verdict::Delivered),
        (2, Verdict::Acknowledged(9)),
        (3, Verdict::Delivered),
        (4, Verdict::NotDelivered),
    ];
    assert_eq!(pair.verdicts(), expected);
    assert!(matches!(
        pair.source_events.iter().rev().find(|e| !matches!(e, Event::Path { .. })),
        Some(Event::Status(ConnStatus::Recovered { node: NodeId(2), kept: true, .. }))
    ));
    let target = pair.target.as_mut().unwrap();
    assert_eq!(target.ack(pair.now, Sn(1), 0), Err(AckError::NotOwed { sn: Sn(1) }), "nobody waits for it");
    assert_eq!(pair.send(7, b"again"), Ok(Sn(5)));
    pair.run();
    let received = pair.received();
    assert_eq!(received.len(), 4);
    assert!(matches!(&pair.target_events[..], [.., Event::Received(Received { ssn: Ssn(5), .. })]));
}

/// [F3] [L5] What is unknown is resolved oldest first, also where a stop has nacked a message before an older one: one that was to go again after
/// a switch, and had not yet.
#[test]
fn what_a_stop_leaves_unknown_is_in_order() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, window: 100_000, ..config(1) });
    pair.backup = true;
    pair.send(1, &[1; 60_000]).unwrap();
    pair.run();
    let credit = pair.target_events.iter().find_map(|e| match e {
        Event::Received(m) => Some(m.credit),
        _ => None,
    });
    pair.target.as_mut().unwrap().release(pair.now, credit.expect("a message"));
    pair.send(1, &[2; 60_000]).unwrap();
    pair.run();
    assert_eq!(pair.received().len(), 2);
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    pair.run();
    assert_eq!((pair.source.peer(), pair.source.link()), (Some(NodeId(3)), Link::Up));
    pair.source.stop(pair.now).unwrap();
    pair.source.reset(pair.now).unwrap();
    pair.act(true);
    assert_eq!(pair.nacked().iter().map(|n| n.0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(pair.source.sender.take_unknown(), [(Sn(1), Sn(1)), (Sn(2), Sn(2))]);
}

/// [F3] What was not whole is dropped with its buffer, and the first credit is the window less what the target's user still keeps.
#[test]
fn credit_after_a_reset() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, window: 100_000, ..config(2) });
    pair.send(1, &[1; 40_000]).unwrap();
    pair.run();
    let kept = pair
        .target_events
        .iter()
        .find_map(|e| if let Event::Received(m) = e { Some(m.credit) } else { None });
    let kept = kept.expect("a message came");
    // A fragment of a message whose rest never comes.
    let (path, conn) = pair.conns[0];
    let head = FragmentHead {
        sn: Sn(2),
        ssn: Ssn(2),
        stream: StreamId(1),
        offset: 0,
        total: 50_000,
        flags: wire::item::SYNC,
    };
    let target = pair.target.as_mut().unwrap();
    let begun = target.begin_fragment(pair.now, path, conn, &head, 10, Some(vec![0; 50_000]));
    assert!(matches!(begun, Ok(Placement::Into(_))));
    pair.cut();
    pair.heal();
    assert_eq!(pair.source.link(), Link::Up);
    // 60,000 less the 256 of the message that is kept: this one has to wait for it.
    pair.send(1, &[2; 59_500]).unwrap();
    pair.pass(MS * 600);
    assert_eq!(pair.received().len(), 1);
    pair.target.as_mut().unwrap().release(pair.now, kept);
    pair.pass(MS * 600);
    assert_eq!(pair.received().len(), 2);
}

/// [F3] A ledger of many records takes several frames, and one that was cut off with its connection begins again on another.
#[test]
fn a_long_ledger() {
    let mut pair = Pair::connected(config(2));
    let count = 3 * MAX_LEDGER_RECORDS as u64;
    for k in 0..count {
        pair.send(1, &k.to_le_bytes()).unwrap();
    }
    pair.run();
    pair.silent = vec![PathId(0), PathId(1)];
    for sn in 1..=count {
        pair.target.as_mut().unwrap().ack(pair.now, Sn(sn), (sn % 5) as i32).unwrap();
    }
    pair.cut();
    pair.heal();
    let verdicts = pair.verdicts();
    assert_eq!(verdicts.len() as u64, count);
    for (sn, verdict) in verdicts {
        assert_eq!(verdict, Verdict::Acknowledged((sn % 5) as i32), "message {sn}");
    }
}

/// [F3] A second cut before the source has heard the ledger: the target still knows it, and says it again.
#[test]
fn a_reset_that_is_cut_off_is_repeated() {
    let mut pair = Pair::connected(config(1));
    pair.send(1, b"arrives").unwrap();
    pair.run();
    pair.silent = vec![PathId(0)];
    pair.cut();
    pair.heal_without_paths();
    assert_eq!(pair.source.link(), Link::Resetting);
    let asked = pair.source.generation();
    pair.pass(MS * 5100);
    pair.heal();
    assert!(pair.source.generation() > asked);
    assert_eq!(pair.verdicts(), [(1, Verdict::Delivered)]);
    let resets = |e: &&Event<_, _>| matches!(e, Event::Status(ConnStatus::Reset { .. }));
    assert_eq!(pair.target_events.iter().filter(resets).count(), 2);
}

impl Pair {
    /// The target answers, and no path comes up.
    fn heal_without_paths(&mut self) {
        self.silent = vec![PathId(0), PathId(63)];
        let state = PeerState::Reachable { incarnation: Incarnation(22) };
        self.source.handle_peer(self.now, NodeId(2), state);
        let connect = std::iter::from_fn(|| self.source.poll_action()).find_map(|action| match action {
            Action::Tell { body: NodeBody::Connect(connect), .. } => Some(connect),
            _ => None,
        });
        let target = self.target.as_mut().expect("a target");
        target.handle_reset(self.now, &connect.expect("a request"), Secret::new([7; 32])).unwrap();
        let answer = target.answer(Vec::new());
        self.source.handle_answer(self.now, &answer);
        self.run();
    }
}

/// [F3] A closing target, another session and an old generation are no reason to go on.
#[test]
fn resets_that_are_refused() {
    let mut pair = Pair::connected(config(1));
    // Its user owes an acknowledgment: a close has something to wait for.
    pair.send(1, b"message").unwrap();
    pair.run();
    let request = |generation, session| wire::Connect {
        session,
        generation,
        version: wire::VERSION,
        flags: wire::connect::RESET,
        paths: 1,
        features: 0,
        window: 1 << 20,
        high_window: 0,
        max_message: 1 << 20,
        max_streams: 16,
        session_timeout_ms: 10_000,
        first: Sn(1),
        client: "disk".into(),
    };
    let now = pair.now;
    let target = pair.target.as_mut().unwrap();
    let present = target.generation();
    let next = Generation { counter: present.counter + 1, ..present };
    let secret = || Secret::new([7; 32]);
    assert_eq!(
        target.handle_reset(now, &request(present, session()), secret()),
        Err(Reason::StaleGeneration)
    );
    let other = SessionId { port: 9, ..session() };
    assert_eq!(target.handle_reset(now, &request(next, other), secret()), Err(Reason::UnknownSession));
    target.close(now, false).unwrap();
    let closing = target.handle_reset(now, &request(next, session()), secret());
    assert_eq!(closing, Err(Reason::Closed), "the session is there still, and may deliver");
}

/// [F3] The answer of the target's user counts more than that it had the message; what no record covers was not delivered.
#[test]
fn verdicts_follow_the_records() {
    let record = |first, last, rc| LedgerRecord { first: Sn(first), last: Sn(last), rc };
    let records =
        vec![record(20, 22, None), record(1, 9, None), record(8, 8, Some(-1)), record(3, 4, Some(0))];
    let judged: Vec<_> =
        Verdicts::of(records).judge(vec![(Sn(2), Sn(5)), (Sn(8), Sn(10)), (Sn(22), Sn(23))]).collect();
    let expected = [
        (2, Verdict::Delivered),
        (3, Verdict::Acknowledged(0)),
        (4, Verdict::Acknowledged(0)),
        (5, Verdict::Delivered),
        (8, Verdict::Acknowledged(-1)),
        (9, Verdict::Delivered),
        (10, Verdict::NotDelivered),
        (22, Verdict::Delivered),
        (23, Verdict::NotDelivered),
    ];
    assert_eq!(judged, expected.map(|(sn, verdict)| (Sn(sn), verdict)));
}

/// [F3] Parts of a ledger that do not follow each other end their connection.
#[test]
fn a_ledger_with_a_hole() {
    let mut pair = Pair::connected(config(1));
    pair.cut();
    pair.heal_without_paths();
    let (path, conn) = pair.unanswered[0];
    pair.source.handle_conn_up(pair.now, path, conn);
    let mut part = |first, records: Vec<LedgerRecord>| {
        let ack = ResetAck { first, total: 9, credit: 0, high_credit: None, records };
        let mut frame = vec![Inbound::Frame(Box::new(Frame::ResetAck(ack)))];
        pair.source.handle_inbound(pair.now, path, conn, 1, &mut frame, true)
    };
    let record = LedgerRecord { first: Sn(1), last: Sn(1), rc: None };
    assert_eq!(part(0, vec![record; 2]), Ok(()));
    assert_eq!(part(3, vec![record]), Err(Reason::ProtocolError));
}
