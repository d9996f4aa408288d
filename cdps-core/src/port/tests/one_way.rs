//! Paths that work in one direction only, and probes (T5).

use super::*;
use crate::cluster::{LinkState, OneWay};
use crate::wire::{Connect, Opinion, feature};

const UNHEARD: LinkState = LinkState { health: Health::Suspect, rtt: None, one_way: Some(OneWay::Out) };
const GOOD: LinkState = LinkState { health: Health::Good, ..LinkState::DEAD };

fn paths_told(events: &[Event<Vec<u8>, Vec<u8>>]) -> Vec<(u16, Health, Reason)> {
    let told = |e: &Event<_, _>| match e {
        Event::Path { path, health, reason } => Some((path.0, *health, *reason)),
        _ => None,
    };
    events.iter().filter_map(told).collect()
}

/// [T5] [T3] A path on which the peer does not hear this end carries nothing, not even when no other is left, though it is the one heard last;
/// what waits goes when it is good again.
#[test]
fn nothing_goes_where_nobody_hears() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(1) });
    pair.send(0, b"before").unwrap();
    pair.run();
    let (now, frames) = (pair.now, pair.frames.clone());
    pair.source.handle_link(now, PathId(0), UNHEARD);
    pair.send(0, b"waits").unwrap();
    pair.run();
    assert_eq!((pair.received().len(), pair.source.feedback_path()), (1, None));
    let stats = pair.source.path_stats(PathId(0)).unwrap();
    assert_eq!((stats.health, stats.cause), (Health::Suspect, Reason::OneWayOut));
    let told = pair.frames[&(true, PathId(0))] - frames[&(true, PathId(0))];
    assert_eq!(told, 1, "the opinion alone");
    pair.source.handle_link(now, PathId(0), GOOD);
    pair.run();
    assert_eq!((pair.received().len(), pair.completed().len()), (2, 2));
    assert_eq!(pair.source.path_stats(PathId(0)).unwrap().cause, Reason::None);
    assert_eq!(
        paths_told(&pair.source_events)[1..],
        [(0, Health::Suspect, Reason::OneWayOut), (0, Health::Good, Reason::None)]
    );
}

/// [T5] [A1] What the user acknowledges while no path will do goes when one is good again, though nothing else happens then.
#[test]
fn acknowledgments_wait_for_a_path() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Synchronous, ..config(1) });
    let sn = pair.send(0, b"message").unwrap();
    pair.pass(MS * 2000);
    let now = pair.now;
    pair.target.as_mut().unwrap().handle_link(now, PathId(0), UNHEARD);
    pair.pass(MS * 100);
    pair.target.as_mut().unwrap().ack(pair.now, sn, 3).unwrap();
    // What is asked for is answered all the same, so that no receipt waits for a path.
    pair.source.paths[0].conn_mut().unwrap().due.probe = true;
    pair.source.kick(0);
    pair.pass(MS * 100);
    assert_eq!(pair.completed(), []);
    let now = pair.now;
    pair.target.as_mut().unwrap().handle_link(now, PathId(0), GOOD);
    pair.pass(MS * 100);
    assert_eq!(pair.completed(), [(sn.0, 3)]);
}

/// [T5] If every path is in doubt, the one on which the peer hears this end is better than the one on which this end hears the peer.
#[test]
fn the_peers_hearing_decides() {
    let mut pair = Pair::connected(config(3));
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    target.handle_link(now, PathId(1), UNHEARD);
    pair.run();
    let suspect = LinkState { one_way: None, ..UNHEARD };
    pair.source.handle_link(now, PathId(0), UNHEARD);
    pair.source.handle_link(now, PathId(1), suspect);
    pair.source.handle_link(now, PathId(2), suspect);
    // Paths 0 and 2 were heard after path 1.
    for path in [0, 2] {
        let (path, conn) = pair.conns[path];
        let later = now + MS;
        let frames = pair.frames[&(false, path)];
        pair.source.handle_inbound(later, path, conn, frames, &mut Vec::new(), true).unwrap();
    }
    assert_eq!(pair.source.feedback_path(), Some(1));
}

/// [T5] The end that hears nothing learns from the other one, on another path, which direction is lost; both before and after it has its own doubts,
/// and what it is told alone makes no path bad.
#[test]
fn the_deaf_end_is_told() {
    for told_first in [false, true] {
        let mut pair = Pair::connected(config(2));
        let now = pair.now;
        pair.source_events.clear();
        let silent = LinkState { one_way: None, ..UNHEARD };
        if !told_first {
            pair.source.handle_link(now, PathId(1), silent);
        }
        pair.target.as_mut().unwrap().handle_link(now, PathId(1), UNHEARD);
        pair.run();
        if told_first {
            assert_eq!(pair.source.path_stats(PathId(1)).unwrap().health, Health::Good);
            pair.source.handle_link(now, PathId(1), silent);
        }
        pair.source.handle_link(now, PathId(1), LinkState::DEAD);
        pair.act(true);
        let mut expected = vec![
            (1, Health::Suspect, Reason::Unreachable),
            (1, Health::Suspect, Reason::OneWayIn),
            (1, Health::Dead, Reason::OneWayIn),
        ];
        if told_first {
            expected.remove(0);
        }
        assert_eq!(paths_told(&pair.source_events)[..expected.len()], expected, "{told_first}");
    }
}

/// [U7] [T5] A peer of the first release, which names no features, is told of a path in doubt as that release knows it; it would drop the
/// connection otherwise.
#[test]
fn the_first_release_is_told_what_it_knows() {
    for (features, expected) in
        [(feature::ALL, Opinion::Unheard), (0, Opinion::Suspect), (2, Opinion::Suspect)]
    {
        let mut pair = Pair::new(config(2));
        pair.source.connect(pair.now, None).unwrap();
        let mut asked = None;
        while let Some(action) = pair.source.poll_action() {
            if let Action::Tell { body: NodeBody::Connect(connect), .. } = action {
                asked = Some(Connect { features, ..connect });
            }
        }
        let secret = Secret::new([7; 32]);
        let target = TestPort::target(config(2), &asked.unwrap(), secret, pair.now, 2).unwrap();
        let answer = Answer { features, ..target.answer(Vec::new()) };
        pair.target = Some(target);
        pair.source.handle_answer(pair.now, &answer);
        pair.run();
        let (now, (path, conn)) = (pair.now, pair.conns[0]);
        let target = pair.target.as_mut().unwrap();
        for port in [&mut pair.source, target] {
            port.handle_link(now, PathId(1), UNHEARD);
            let mut batch = Batch::default();
            port.poll_transmit(now, path, conn, &mut batch);
            let told: Vec<_> = batch
                .frames
                .iter()
                .filter_map(|frame| match frame {
                    Outgoing::Control(Frame::PathStatus(status)) => Some((status.path, status.opinion)),
                    _ => None,
                })
                .collect();
            assert_eq!(told, [(PathId(1), expected)], "features {features}");
        }
    }
}

/// [T5] A connection adds probes of its own only while something on it is without a receipt: it is asked for then, and an idle one is silent.
#[test]
fn an_idle_connection_is_silent() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(2) });
    pair.send(0, b"one").unwrap();
    pair.pass(MS * 2000);
    let quiet = pair.frames.clone();
    pair.pass(MS * 60_000);
    assert_eq!(pair.frames, quiet);
    pair.silent = vec![PathId(0), PathId(1)];
    pair.send(0, b"two").unwrap();
    pair.run();
    let at = pair.conns.iter().position(|c| pair.frames[&(true, c.0)] > quiet[&(true, c.0)]).unwrap();
    let (used, idle) = (pair.conns[at].0, pair.conns[1 - at].0);
    let sent = pair.frames.clone();
    pair.pass(MS * 190);
    assert_eq!(pair.frames[&(true, used)], sent[&(true, used)] + 1, "a probe");
    assert_eq!(pair.frames[&(true, idle)], sent[&(true, idle)], "nothing was asked where nothing is owed");
}
