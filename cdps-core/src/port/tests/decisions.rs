//! The record of what a loss was decided on.

use super::*;

/// The record of the last status that has one.
fn record(pair: &mut Pair) -> LossRecord {
    let mut found = None;
    while let Some(event) = pair.source.poll_event(true) {
        if let Event::Status(
            ConnStatus::Down { decision, .. }
            | ConnStatus::Switching { decision, .. }
            | ConnStatus::Switched { decision, .. },
        ) = event
        {
            found = Some(*decision);
        }
    }
    found.expect("a record")
}

fn quiet(pair: &mut Pair) {
    while pair.source.poll_event(true).is_some() {}
    pair.source_events.clear();
}

/// [F11] Each way to lose a target leaves its trigger, the timer that ran out with what was measured, and what was known then.
#[test]
fn a_loss_leaves_its_evidence() {
    // No contact: the node is not heard, and neither is its port.
    let mut pair = Pair::connected(config(2));
    quiet(&mut pair);
    let heard = pair.source.last_contact;
    pair.now = pair.now + MS * 1700;
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Unreachable { last_heard: heard });
    let found = record(&mut pair);
    let silence = pair.now.since(heard);
    let timer = Timer { name: "dead", value: MS * 1500, measured: silence };
    assert_eq!((found.trigger, found.timer, found.heard), (Trigger::NoContact, Some(timer), silence));
    assert_eq!((found.node, found.generation.counter, found.at), (NodeId(2), 1, pair.now));
    assert_eq!(found.membership, Some(PeerState::Unreachable { last_heard: heard }));
    let paths: Vec<_> = found.paths.iter().map(|p| (p.path.0, p.health, p.heard.is_some())).collect();
    assert_eq!(paths, [(0, Health::Good, true), (1, Health::Good, true)]);
    assert_eq!((found.isolated, found.late, found.lease, found.tried.len()), (false, None, None, 0));

    // No connection, though the node is there.
    let mut pair = Pair::connected(config(1));
    quiet(&mut pair);
    pair.silent = vec![PathId(0)];
    pair.break_path(0);
    let broken = pair.now;
    while pair.source.link() == Link::Up {
        pair.now = pair.source.poll_timeout();
        pair.source.handle_timeout(pair.now);
        while pair.source.poll_action().is_some() {}
    }
    let found = record(&mut pair);
    let timer = Timer { name: "dead", value: MS * 1500, measured: pair.now.since(broken) };
    assert_eq!((found.trigger, found.timer), (Trigger::NoPath, Some(timer)));
    assert!(timer.measured >= timer.value && timer.measured < MS * 1600);
    assert_eq!((found.paths[0].health, found.paths[0].heard), (Health::Dead, None));

    // The others, at once.
    let mut pair = Pair::connected(config(1));
    quiet(&mut pair);
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    let found = record(&mut pair);
    assert_eq!((found.trigger, found.timer, found.lease), (Trigger::NodeDown, None, None));
    let mut pair = Pair::connected(config(1));
    quiet(&mut pair);
    let (now, generation) = (pair.now, pair.source.generation());
    pair.source.handle_bye(now, generation, Reason::Superseded);
    let found = record(&mut pair);
    assert_eq!(found.trigger, Trigger::Denied(Reason::Superseded));
    assert_eq!(found.lease, Some((LeaseEnd::Ended, Duration::ZERO)), "it says so itself");
}

/// [F11] [F1] The receipt timeout leaves what was measured also where the connection that it was measured on is given up at the same moment.
#[test]
fn a_receipt_timeout_leaves_its_evidence() {
    let dead = config(1).liveness.dead;
    let mut pair = Pair::connected(PortConfig { ack_timeout: dead, ..config(1) });
    quiet(&mut pair);
    pair.silent = vec![PathId(0)];
    pair.send(1, b"message").unwrap();
    pair.run();
    // The process is a little late, as others are.
    pair.pass(dead - MS);
    pair.now = pair.now + MS * 2;
    pair.source.handle_timeout(pair.now);
    let found = record(&mut pair);
    let timer = Timer { name: "ack_timeout", value: dead, measured: dead + MS };
    assert_eq!((found.trigger, found.timer), (Trigger::NoReceipt, Some(timer)));
    assert!(found.paths[0].heard.is_some());
}

/// [F11] A switch says how the former lease was over, and after how long, and which backups did not do; as one line too.
#[test]
fn a_switch_says_what_came_of_it() {
    type End = fn(&mut Pair, Generation);
    let ends: [(LeaseEnd, End); 3] = [
        (LeaseEnd::Released, |pair, former| pair.source.handle_released(pair.now, former)),
        (LeaseEnd::Restarted, |pair, _| {
            let state = PeerState::Reachable { incarnation: Incarnation(99) };
            pair.source.handle_peer(pair.now, NodeId(2), state);
        }),
        (LeaseEnd::Expired, |pair, former| pair.source.handle_fenced(pair.now, former, pair.now - MS * 100)),
    ];
    for (end, over) in ends {
        let mut config = PortConfig { autoswitch: true, ack_timeout: MS * 700, ..config(1) };
        let address = config.targets[1].addresses.clone();
        config.targets.insert(1, Target { node: NodeId(4), addresses: address });
        let mut pair = Pair::connected(config);
        let incarnation = Incarnation(5);
        pair.source.handle_peer(pair.now, NodeId(2), PeerState::Reachable { incarnation });
        quiet(&mut pair);
        let former = pair.source.generation();
        (pair.silent, pair.one_way) = (vec![PathId(0)], true);
        pair.send(0, b"x").unwrap();
        while pair.source.link() == Link::Up {
            pair.pass(MS);
        }
        pair.backup = true;
        pair.silent.clear();
        pair.source.fail_attempt(pair.now, Reason::Refused);
        // The backup is connected, and waits for the lease alone.
        pair.backup = false;
        let decided = pair.now;
        while let Some(action) = pair.source.poll_action() {
            if !matches!(&action, Action::Tell { body: NodeBody::Revoke { .. }, .. }) {
                pair.backup = true;
                pair.perform(action, true);
            }
        }
        assert_eq!(pair.source.link(), Link::Switching);
        pair.now = pair.now + MS * 50;
        over(&mut pair, former);
        assert_eq!(pair.source.link(), Link::Up, "{end:?}");
        let switched = pair.source.events.queue.iter().filter(|e| matches!(e, Event::Status(_))).count();
        assert!(switched > 0);
        let found = record(&mut pair);
        assert_eq!(found.trigger, Trigger::NoReceipt);
        let timer = found.timer.unwrap();
        assert_eq!((timer.name, timer.value), ("ack_timeout", MS * 700));
        assert!(timer.measured > timer.value && timer.measured < MS * 800, "{timer:?}");
        assert_eq!(found.lease, Some((end, pair.now.since(decided))));
        assert_eq!(found.tried, [(NodeId(4), Reason::Refused)]);
        let line = found.to_string();
        let parts = [
            "node 2 generation 0/1 given up: no receipt, 7",
            "against ack_timeout 700ms",
            "node reachable",
            "path 0 ",
            &format!("lease {} after 50", end.text()),
            "tried node 4: refused by the target's user",
        ];
        for part in parts {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
        assert!(!line.contains('\n'));
    }
}
