//! What the port decides: paths, targets, when a message is complete.

use super::*;

/// [T1] Round robin gives lone messages to the paths in strict rotation.
#[test]
fn round_robin_takes_turns() {
    let balance = crate::config::Balance::RoundRobin;
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, balance, ..config(3) });
    for k in 1..=9 {
        pair.send(0, &[0; 100]).unwrap();
        pair.run();
        let each = |path: usize| (k + 2 - path) / 3 * 104;
        assert_eq!(sent_bytes(&pair), [each(0), each(1), each(2)].map(|b| b as u64), "after {k}");
    }
}

/// Receipts say that the path carries next to nothing: ten bytes a second.
fn make_slow(pair: &mut Pair, path: usize) {
    let (now, speed) = (pair.now, &mut pair.source.paths[path].speed);
    speed.started(now);
    pair.now = now + MS * 100;
    speed.receipted(pair.now, 1, MS * 100, true, MS * 200);
    assert!(speed.is_known() && speed.rate() < 11.0);
}

/// Every writer that was woken asks, in the order of waking; one that got something asks again when the others have. Nothing arrives.
fn write_in_turn(pair: &mut Pair) {
    let kicked = |pair: &mut Pair| {
        let kicks = pair.source.take_kicks();
        pair.conns.clone().into_iter().filter(move |c| kicks >> c.0.0 & 1 == 1)
    };
    let mut waiting: VecDeque<_> = kicked(pair).collect();
    while let Some((path, conn)) = waiting.pop_front() {
        let got = pair.source.poll_transmit(pair.now, path, conn, &mut Batch::default());
        waiting.extend(kicked(pair));
        waiting.extend(got.then_some((path, conn)));
    }
}

/// [T1] Pull: each connection with no work takes the next message, however slow it is; the fastest rule leaves all to the fast one.
#[test]
fn pull_gives_work_to_who_has_none() {
    use crate::config::Balance::{Fastest, Pull};
    for (balance, expected) in [(Pull, [104, 104, 104]), (Fastest, [0, 0, 312])] {
        let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, balance, ..config(3) });
        pair.run();
        make_slow(&mut pair, 0);
        make_slow(&mut pair, 1);
        for _ in 0..3 {
            pair.send(0, &[0; 100]).unwrap();
        }
        write_in_turn(&mut pair);
        assert_eq!(sent_bytes(&pair), expected, "{balance:?}");
    }
}

/// [T1] Pull: a connection that is still writing takes nothing; the next messages go to the others, and all that waits is taken by them.
#[test]
fn pull_leaves_out_who_is_busy() {
    let balance = crate::config::Balance::Pull;
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, balance, ..config(2) });
    pair.run();
    let (path, conn) = pair.conns[0];
    let mut writing = Batch::default();
    pair.send(0, &[0; 100]).unwrap();
    assert!(pair.source.poll_transmit(pair.now, path, conn, &mut writing));
    for k in 1..=5 {
        pair.send(0, &[0; 100]).unwrap();
        let (other, its) = pair.conns[1];
        while pair.source.poll_transmit(pair.now, other, its, &mut Batch::default()) {}
        assert_eq!(sent_bytes(&pair), [104, 104 * k], "after {k}");
    }
    // Nothing is left for it either: the other one takes all that waits at once.
    for _ in 0..4 {
        pair.send(0, &[0; 100]).unwrap();
    }
    let (other, its) = pair.conns[1];
    assert!(pair.source.poll_transmit(pair.now, other, its, &mut Batch::default()));
    assert_eq!(sent_bytes(&pair), [104, 104 * 9]);
}

/// [T1] [T3] Pull: of two connections without work the one with least on its way takes a lone message, so that one that swallows what it
/// is given takes one, and not the next.
#[test]
fn pull_prefers_who_was_receipted() {
    let balance = crate::config::Balance::Pull;
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, balance, ..config(2) });
    pair.run();
    pair.silent = vec![PathId(0)];
    for k in 1..=5 {
        pair.send(0, &[0; 100]).unwrap();
        pair.run();
        assert_eq!(sent_bytes(&pair), [104, 104 * (k - 1)], "after {k}");
    }
}

/// [T1] [T3] A path that stands still looks slower by the moment: the next messages go elsewhere long before it is suspected.
#[test]
fn a_black_hole_does_not_look_fast() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(2) });
    for _ in 0..4 {
        pair.send(0, &[0; 1000]).unwrap();
        pair.pass(MS);
    }
    pair.silent = vec![PathId(0), PathId(1)];
    pair.send(0, b"lost").unwrap();
    pair.run();
    let in_flight = |pair: &Pair, k| pair.source.path_stats(PathId(k)).unwrap().in_flight;
    let hole = u16::from(in_flight(&pair, 1) > 0);
    assert!(in_flight(&pair, hole) > 0 && in_flight(&pair, 1 - hole) == 0);
    pair.silent = vec![PathId(hole)];
    pair.pass(MS * 5);
    pair.send(1, b"next").unwrap();
    pair.pass(MS);
    assert_eq!(pair.received().last(), Some(&(1, 1, b"next".to_vec())));
    assert_eq!(pair.source.stats().suspicions, 0);
}

/// Nodes that a source port asks to connect, as its target is lost and nobody answers.
fn asked_after_loss(pair: &mut Pair) -> Vec<u32> {
    let last_heard = pair.now;
    pair.silent = vec![PathId(0)];
    let mut asked = Vec::new();
    pair.now = pair.now + MS * 1600;
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Unreachable { last_heard });
    while pair.source.link() == Link::Switching {
        while let Some(action) = pair.source.poll_action() {
            if let Action::Tell { node, body: NodeBody::Connect(_), .. } = action
                && asked.last() != Some(&node.0)
            {
                asked.push(node.0);
            }
        }
        pair.now = pair.source.poll_timeout();
        pair.source.handle_timeout(pair.now);
    }
    while let Some(event) = pair.source.poll_event(true) {
        pair.source_events.push(event);
    }
    asked
}

fn with_backups() -> PortConfig {
    let mut config = PortConfig { autoswitch: true, ..config(1) };
    config.targets.truncate(1);
    config.targets.extend(
        (3..6).map(|k| Target { node: NodeId(k), addresses: vec![([127, 0, 1, k as u8], 7000).into()] }),
    );
    config
}

/// [L2] [F5] Backups are tried in the order listed, but for those known to be unreachable; with none left it is a down like any other.
#[test]
fn backups_are_tried_in_order() {
    let mut pair = Pair::connected(with_backups());
    pair.send(0, b"x").unwrap();
    pair.run();
    pair.source_events.clear();
    pair.source.handle_peer(pair.now, NodeId(4), PeerState::Unreachable { last_heard: pair.now });
    assert_eq!(asked_after_loss(&mut pair), [3, 5]);
    assert_eq!(pair.nacked(), [(1, Reason::NoBackup, Certainty::Unknown)]);
    assert_eq!(pair.source.link(), Link::Drained);
}

/// [N5] A node that hears nobody takes the fault to be its own: no switch, but down.
#[test]
fn an_isolated_node_does_not_switch() {
    let mut pair = Pair::connected(with_backups());
    pair.source_events.clear();
    pair.source.handle_isolated(true);
    assert_eq!(asked_after_loss(&mut pair), [0u32; 0]);
    let [Event::Status(ConnStatus::Down { node: NodeId(2), reason: Reason::Unreachable, decision }), drained] =
        &pair.source_events[..]
    else {
        panic!("{:?}", pair.source_events)
    };
    assert!(decision.isolated);
    assert_eq!(*drained, Event::Status(ConnStatus::Drained));
}

/// [F1] Receipts that do not come within the ack timeout take the connection down, also while the links are heard.
#[test]
fn no_receipt_in_time() {
    let ack_timeout = MS * 2000;
    let mut pair = Pair::connected(PortConfig { ack_timeout, ..config(1) });
    (pair.silent, pair.one_way) = (vec![PathId(0)], true);
    pair.send(0, b"x").unwrap();
    for tenth in 0..22 {
        assert_eq!(
            pair.source.link(),
            if tenth < 21 { Link::Up } else { Link::Drained },
            "after {tenth} tenths"
        );
        let message = Outbound {
            stream: StreamId(0),
            len: 1,
            ack: None,
            deadline: None,
            barrier: false,
            payload: vec![0],
        };
        pair.target.as_mut().unwrap().send(pair.now, message).unwrap();
        pair.pass(MS * 100);
    }
    assert_eq!(pair.nacked(), [(1, Reason::Timeout, Certainty::Unknown)]);
}

/// [A2] [A3] Asynchronous: complete when everything before it in its stream has arrived too; sent: when the next poll says that it was written.
#[test]
fn models_complete_when_they_should() {
    let balance = crate::config::Balance::RoundRobin;
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, balance, ..config(2) });
    pair.silent = vec![PathId(0)];
    for stream in [0, 0, 1, 1] {
        pair.send(stream, b"x").unwrap();
        pair.run();
    }
    // SN 1 and 3 are lost on path 0: 2 and 4 have arrived, but not what is before them.
    assert_eq!(pair.completed(), []);
    let message = Outbound {
        stream: StreamId(2),
        len: 1,
        ack: Some(AckModel::Sent),
        deadline: None,
        barrier: false,
        payload: vec![0],
    };
    pair.source.send(pair.now, message).unwrap();
    pair.run();
    assert_eq!(pair.completed(), [(5, 0)], "written, though it is lost");
    pair.break_path(0);
    pair.silent.clear();
    pair.pass(MS * 300);
    assert_eq!(pair.completed().len(), 5);
}

/// A connect that waits for an answer sets no timer but its own, also when the lease of the former target has run out meanwhile.
#[test]
fn a_lease_that_has_run_out_needs_no_timer() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
    pair.run();
    // The target is gone without a word, and the backup does not answer.
    let (mut now, source) = (pair.now, &mut pair.source);
    source.handle_peer(now, NodeId(2), PeerState::Unreachable { last_heard: now });
    let mut steps = 0;
    while source.link() != Link::Switching || steps < 20 {
        now = source.poll_timeout();
        source.handle_timeout(now);
        while source.poll_action().is_some() {}
        steps += 1;
        assert!(steps < 400, "link {:?}", source.link());
        if source.link() == Link::Up {
            steps = 0;
        }
    }
    let (begin, heartbeat) = (now, source.config().liveness.heartbeat);
    let former = Generation { counter: source.generation().counter - 1, ..source.generation() };
    source.handle_fenced(now, former, now + source.config().liveness.lease);
    now = now + source.config().liveness.lease;
    source.handle_timeout(now);
    let mut steps = 0;
    while now < begin + source.config().liveness.lease + heartbeat * 4 {
        now = source.poll_timeout();
        source.handle_timeout(now);
        while source.poll_action().is_some() {}
        steps += 1;
    }
    assert!(steps <= 10, "{steps} timeouts in four heartbeats");
}

/// [F9] A target's peer is one incarnation of the source. What the node still says of the former one, when a source has just been opened
/// anew, does not end the session of the new one.
#[test]
fn a_target_ignores_the_former_incarnation_of_its_source() {
    let mut pair = Pair::connected(config(1));
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    for incarnation in [Incarnation(10), session().incarnation] {
        target.handle_peer(now, NodeId(1), PeerState::Reachable { incarnation });
        assert_eq!(target.state(), State::ConnectedTo, "after {incarnation}");
    }
}

/// [M6] So many messages behind an unfinished one are the most; who can wait for room may wait for that, but not for completions that
/// nobody dispatches, which he may have to dispatch himself.
#[test]
fn what_a_send_may_wait_for() {
    let mut pair = Pair::connected(PortConfig { max_pending_events: 2, ..config(1) });
    let message = || Outbound {
        stream: StreamId(0),
        len: 0,
        ack: Some(AckModel::Sent),
        deadline: None,
        barrier: false,
        payload: Vec::new(),
    };
    for _ in 0..super::super::sender::MAX_SPAN {
        pair.source.send(pair.now, message()).unwrap();
    }
    assert!(!pair.source.has_room(0));
    let crowded = *pair.source.send(pair.now, message()).unwrap_err();
    assert!(matches!(crowded.0, SendError::Crowded { messages: 1_048_576 }) && crowded.0.is_for_room());
    let mut pair = Pair::connected(PortConfig { max_pending_events: 2, ..config(1) });
    let (path, conn) = pair.conns[0];
    for _ in 0..2 {
        pair.source.send(pair.now, message()).unwrap();
    }
    while pair.source.poll_transmit(pair.now, path, conn, &mut Batch::default()) {}
    let backlog = *pair.source.send(pair.now, message()).unwrap_err();
    assert!(matches!(backlog.0, SendError::Backlog { pending: 2 }) && !backlog.0.is_for_room());
    assert!(backlog.0.is_again());
}

/// [M6] Completions count until the user is told of them, also those that were given out with others: one by one, and only once.
#[test]
fn completions_count_until_they_are_told() {
    let mut pair = Pair::connected(PortConfig { max_pending_events: 3, ..config(1) });
    let message = || Outbound {
        stream: StreamId(0),
        len: 0,
        ack: Some(AckModel::Sent),
        deadline: None,
        barrier: false,
        payload: Vec::new(),
    };
    let (path, conn) = pair.conns[0];
    let send = |pair: &mut Pair, count: usize| {
        for _ in 0..count {
            pair.source.send(pair.now, message()).expect("is accepted");
            while pair.source.poll_transmit(pair.now, path, conn, &mut Batch::default()) {}
        }
        let full = *pair.source.send(pair.now, message()).expect_err("is too much");
        assert!(matches!(full.0, SendError::Backlog { pending: 3 }), "{:?}", full.0);
    };
    send(&mut pair, 3);
    let mut taken = Queue::default();
    pair.source.take_events(true, &mut taken);
    send(&mut pair, 0);
    pair.source.handle_ends_told(1);
    send(&mut pair, 1);
    for told in [1, 2] {
        pair.source.handle_ends_told(told);
    }
    send(&mut pair, 1);
    // The third of the batch, and then two that come one at a time.
    pair.source.handle_told(pair.now);
    send(&mut pair, 1);
    for _ in 0..2 {
        assert!(pair.source.poll_event(true).is_some());
    }
    pair.source.handle_ends_told(0);
    send(&mut pair, 2);
    taken = Queue::default();
    pair.source.take_events(true, &mut taken);
    pair.source.handle_told(pair.now);
    pair.source.handle_told(pair.now);
    send(&mut pair, 3);
}

/// [T6] As much may be on its way as fills a path: its rate times its round trip, and a little more, whether that is short or long.
#[test]
fn a_long_path_may_be_filled() {
    for (round_trip, least, most) in [(MS / 10, 500_000, 600_000), (MS * 100, 2_000_000, 2_500_000)] {
        let mut pair = Pair::connected(config(1));
        let speed = &mut pair.source.paths[0].speed;
        // 20 MB/s.
        for k in 0..100 {
            let now = pair.now + MS * 10 * k;
            speed.started(now);
            speed.receipted(now, 200_000, round_trip, false, MS * 200);
        }
        let cap = pair.source.paths[0].flight_cap();
        assert!((least..=most).contains(&cap), "{cap} bytes where a round trip takes {round_trip:?}");
    }
}
