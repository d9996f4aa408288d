//! Grace for a lost target: it may come back before the port leaves it.

use super::*;

const GRACE: Duration = Duration::from_millis(2000);

fn graced(backup: bool) -> Pair {
    let config = PortConfig { autoswitch: true, switch_grace: GRACE, send_buffer_max: 80, ..config(1) };
    let mut pair = Pair::connected(config);
    pair.backup = backup;
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Reachable { incarnation: Incarnation(22) });
    pair.source_events.clear();
    pair
}

/// Nothing comes from the target any more, until the port holds it to be down.
fn lose(pair: &mut Pair) {
    pair.silent = vec![PathId(0)];
    pair.break_path(0);
    let lost_by = pair.now + MS * 1600;
    while pair.source.link() == Link::Up && pair.now < lost_by {
        pair.pass(MS * 10);
    }
}

/// The network is well again: dials that are under way fail, and those after them do not.
fn heal(pair: &mut Pair) {
    pair.silent.clear();
    for (path, conn) in std::mem::take(&mut pair.unanswered) {
        pair.source.handle_conn_lost(pair.now, path, conn, Reason::DialFailed);
    }
}

fn statuses(pair: &Pair) -> usize {
    pair.source_events.iter().filter(|e| matches!(e, Event::Status(_))).count()
}

/// [F5] [M7] A target that returns in time goes on where it was: same generation, no event but paths, nothing nacked, twice or lost. Sends are taken
/// meanwhile, and travel then.
#[test]
fn a_target_that_returns_keeps_its_session() {
    let mut pair = graced(true);
    pair.silent = vec![PathId(0)];
    let before = pair.send(0, b"on its way").unwrap();
    lose(&mut pair);
    let generation = pair.source.generation();
    assert_eq!((pair.source.link(), pair.source.peer()), (Link::Switching, Some(NodeId(2))));
    let meanwhile = pair.send(0, &[7; 55]).unwrap();
    pair.pass(GRACE - MS * 300);
    let held = |e: &Event<_, _>| matches!(e, Event::Flow { on: true, reason: FlowReason::Switchover, .. });
    assert!(pair.source_events.iter().any(held));
    heal(&mut pair);
    pair.pass(MS * 250);
    assert_eq!((pair.source.link(), pair.source.generation()), (Link::Up, generation));
    assert_eq!(pair.received(), [(0, 1, b"on its way".to_vec()), (0, 2, vec![7; 55])]);
    for sn in [before, meanwhile] {
        pair.target.as_mut().unwrap().ack(pair.now, sn, 7).unwrap();
    }
    pair.pass(GRACE * 2);
    assert_eq!(pair.completed(), [(before.0, 7), (meanwhile.0, 7)]);
    assert_eq!((pair.nacked().len(), statuses(&pair), pair.source.stats().switches), (0, 0, 0));
    // The next loss has the whole of it again.
    lose(&mut pair);
    let lost = pair.now;
    while statuses(&pair) == 0 {
        pair.pass(MS * 10);
    }
    assert!(pair.now.since(lost) >= GRACE && pair.now.since(lost) < GRACE + MS * 50);
}

/// [A6] [F5] [T9] What passes in the grace is held against nobody, and is left out once, also where this process was away for a part of it.
#[test]
fn the_grace_is_left_out_once() {
    const TIMEOUT: Duration = Duration::from_millis(800);
    let config = PortConfig {
        ack: AckModel::Synchronous,
        autoswitch: true,
        switch_grace: GRACE,
        user_ack_timeout: Some(TIMEOUT),
        ..config(1)
    };
    let mut pair = Pair::connected(config);
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Reachable { incarnation: Incarnation(22) });
    let sn = pair.send(7, b"kept").unwrap();
    pair.pass(TIMEOUT / 2);
    lose(&mut pair);
    assert_eq!(pair.source.link(), Link::Switching);
    pair.now = pair.now + GRACE / 2;
    pair.pass(MS * 100);
    heal(&mut pair);
    pair.pass(MS * 250);
    assert_eq!(pair.source.link(), Link::Up);
    let told = |pair: &Pair| {
        pair.source_events.iter().any(|e| matches!(e, Event::Overdue { sn: late, .. } if *late == sn))
    };
    assert!(!told(&pair), "the grace was counted");
    // An eighth for the sample, and a tick for each look.
    pair.pass(TIMEOUT / 2 + TIMEOUT / 8 + MS * 60 - MS * 200);
    assert!(told(&pair), "the absence was left out twice");
}

/// [F5] [F11] After the grace the port switches as without one, and says how long it waited; what was sent meanwhile goes to the backup.
#[test]
fn after_the_grace_it_switches() {
    let mut pair = graced(true);
    // What is heard when the grace is over decides, not what was heard before.
    pair.source.handle_isolated(true);
    lose(&mut pair);
    pair.source.handle_isolated(false);
    pair.send(0, b"meanwhile").unwrap();
    pair.pass(GRACE - MS * 50);
    assert_eq!(statuses(&pair), 0);
    pair.pass(MS * 100);
    // What was silent was the way to the old target.
    heal(&mut pair);
    pair.pass(MS * 250);
    let records: Vec<_> = pair
        .source_events
        .iter()
        .filter_map(|e| match e {
            Event::Status(ConnStatus::Switching { decision, .. } | ConnStatus::Switched { decision, .. }) => {
                Some((decision.trigger, decision.grace, decision.isolated))
            }
            _ => None,
        })
        .collect();
    assert_eq!(records.len(), 2);
    assert!(
        records.iter().all(|r| r.0 == Trigger::NoPath && !r.2 && r.1.is_some_and(|waited| waited >= GRACE))
    );
    assert_eq!((pair.source.peer(), pair.nacked().len()), (Some(NodeId(3)), 0));
    assert_eq!(pair.received(), [(0, 1, b"meanwhile".to_vec())]);
}

/// [F5] Nobody is waited for who is known not to come back: another incarnation, a node that is down, a target without the session.
#[test]
fn the_grace_ends_with_hope() {
    type Fate = fn(&mut Pair);
    let fates: [(Fate, Trigger); 3] = [
        (
            |p| {
                let state = PeerState::Reachable { incarnation: Incarnation(23) };
                p.source.handle_peer(p.now, NodeId(2), state);
            },
            Trigger::Restarted,
        ),
        (|p| p.source.handle_peer(p.now, NodeId(2), PeerState::Down), Trigger::NodeDown),
        (
            |p| {
                let (path, conn) = p.unanswered.pop().unwrap();
                p.source.handle_conn_lost(p.now, path, conn, Reason::UnknownSession);
            },
            Trigger::Denied(Reason::UnknownSession),
        ),
    ];
    for (fate, trigger) in fates {
        let mut pair = graced(true);
        lose(&mut pair);
        pair.pass(MS * 100);
        assert_eq!(statuses(&pair), 0);
        fate(&mut pair);
        pair.run();
        let told = pair.source_events.iter().find_map(|e| match e {
            Event::Status(ConnStatus::Switching { decision, .. }) => Some((decision.trigger, decision.grace)),
            _ => None,
        });
        let (found, waited) = told.expect("a switch");
        assert_eq!(found, trigger);
        assert!(waited.is_some_and(|waited| waited >= MS * 100 && waited < GRACE));
        assert_eq!(pair.source.peer(), Some(NodeId(3)));
    }
}

/// [F5] The end of the port, and of its connection, do not wait for the grace.
#[test]
fn the_user_ends_the_grace() {
    type End = fn(&mut Pair);
    let ends: [End; 3] = [
        |p| p.source.destroy(p.now).unwrap(),
        |p| {
            p.source.close(p.now, true).unwrap();
            p.source.close(p.now, true).unwrap();
        },
        |p| {
            p.source.stop(p.now).unwrap();
            p.source.connect(p.now, Some(NodeId(3))).unwrap();
        },
    ];
    for end in ends {
        let mut pair = graced(true);
        lose(&mut pair);
        pair.send(0, b"unsent").unwrap();
        end(&mut pair);
        pair.run();
        let events = pair.nacked();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].2, Certainty::NotSent);
        pair.pass(GRACE * 2);
        let left = |e: &Event<_, _>| matches!(e, Event::Status(ConnStatus::Switching { .. }));
        assert!(!pair.source_events.iter().any(left));
        assert!(pair.source.grace.is_none());
    }
}

/// [F5] Without a backup the port goes down after the grace, and without autoswitch at once.
#[test]
fn no_backup_and_no_autoswitch() {
    let mut pair = graced(false);
    let gone = PeerState::Unreachable { last_heard: pair.now };
    pair.source.handle_peer(pair.now, NodeId(3), gone);
    lose(&mut pair);
    assert_eq!(pair.source.link(), Link::Switching);
    pair.pass(GRACE + MS * 50);
    assert!(matches!(pair.source_events.iter().find_map(|e| match e {
        Event::Status(status) => Some(status),
        _ => None,
    }), Some(ConnStatus::Down { decision, .. }) if decision.grace.is_some()));
    let mut pair = Pair::connected(PortConfig { switch_grace: GRACE, ..config(1) });
    lose(&mut pair);
    assert!(matches!(pair.source.link(), Link::Drained | Link::Resetting));
}
