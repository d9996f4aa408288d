//! A switch that the user asks for (F6), as one port sees it.

use super::*;
use crate::config::BackupSelection;
use crate::id::Generation;
use crate::wire::Connect;

/// What the new target was asked last.
pub(super) fn asked(port: &mut TestPort) -> Option<Connect> {
    let mut last = None;
    while let Some(action) = port.poll_action() {
        if let Action::Tell { node: NodeId(3), body: NodeBody::Connect(connect), .. } = action {
            last = Some(connect);
        }
    }
    last
}

/// What node 3 says to it.
pub(super) fn answer(connect: &Connect, reason: Reason, highest: u64) -> Answer {
    Answer {
        session: connect.session,
        generation: connect.generation,
        reason: reason as u16,
        highest: Generation { role_epoch: 0, counter: highest },
        window: 1 << 20,
        max_message: 1 << 20,
        max_streams: 16,
        secret: Secret::new([7; 32]),
        addresses: Vec::new(),
        text: Box::default(),
        high_window: 0,
        features: 0,
    }
}

fn statuses(pair: &Pair) -> Vec<&ConnStatus> {
    let statuses = pair.source_events.iter().filter_map(|e| match e {
        Event::Status(status) => Some(status),
        _ => None,
    });
    statuses.skip(1).collect()
}

impl Pair {
    /// The target's user gives back everything that it was told of.
    pub(super) fn give_back(&mut self) {
        let target = self.target.as_mut().unwrap();
        for event in &self.target_events {
            if let Event::Received(message) = event {
                target.release(self.now, message.credit);
            }
        }
        self.target_events.clear();
    }
}

/// [F6] The new target is asked first, with a first number that leaves the present one room; then nothing new travels, and the port goes over
/// when everything begun has ended and was given back. Nothing is nacked.
#[test]
fn goes_over_when_everything_was_given_back() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(1) });
    pair.backup = true;
    pair.send(1, b"before").unwrap();
    pair.run();
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    assert_eq!((connect.flags, connect.first), (0, Sn(1 << 32)));
    assert!(connect.generation > pair.source.generation());
    pair.send(1, b"before the answer").unwrap();
    pair.run();
    assert_eq!(pair.received().len(), 2, "it goes on with the present target meanwhile");
    pair.source.handle_answer(pair.now, &answer(&connect, Reason::None, connect.generation.counter));
    pair.send(1, b"after").unwrap();
    pair.pass(MS * 600);
    assert_eq!(pair.received().len(), 2, "held");
    assert_eq!(pair.source.peer(), Some(NodeId(2)));
    pair.give_back();
    // The next credit that comes is the last word of the old target; node 3 is another port from there on.
    let config = pair.target_config.clone();
    let new = TestPort::target(config, &connect, Secret::new([7; 32]), pair.now, 3).unwrap();
    while pair.source.peer() == Some(NodeId(2)) {
        pair.now = pair.now + MS;
        pair.source.handle_timeout(pair.now);
        pair.carry(false);
        pair.carry(true);
    }
    pair.target = Some(new);
    pair.pass(MS * 600);
    assert_eq!(pair.received(), [(1, 3, b"after".to_vec())]);
    assert_eq!((pair.nacked(), pair.completed().len()), (Vec::new(), 3));
    assert!(matches!(statuses(&pair)[..], [ConnStatus::Switched { node: NodeId(3), only_receipted: 0, .. }]));
    let redelivered = |e: &Event<_, _>| matches!(e, Event::Received(m) if m.redelivered());
    assert!(!pair.target_events.iter().any(redelivered));
}

/// [F6] A target that refuses changes nothing: what was held goes on with the present one.
#[test]
fn a_refusal_changes_nothing() {
    let mut pair = Pair::connected(config(1));
    let before = pair.source.generation();
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &answer(&connect, Reason::Refused, 0));
    pair.send(1, b"goes on").unwrap();
    pair.run();
    assert_eq!((pair.received().len(), pair.source.generation()), (1, before));
    assert!(matches!(
        statuses(&pair)[..],
        [ConnStatus::SwitchFailed { node: NodeId(3), reason: Reason::Refused }]
    ));
    assert_eq!(pair.source.switch(pair.now, NodeId(3)), Ok(()), "it may be asked again");
}

/// [F6] A user that does not give back what it has keeps the port: after `switch_timeout` what was held goes on there, and the new target
/// hears that nothing comes of it.
#[test]
fn takes_no_longer_than_its_timeout() {
    let mut pair = Pair::connected(PortConfig { switch_timeout: MS * 2000, ..config(1) });
    pair.send(1, b"kept").unwrap();
    pair.run();
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &answer(&connect, Reason::None, connect.generation.counter));
    pair.send(1, b"held").unwrap();
    pair.pass(MS * 1990);
    assert_eq!((pair.received().len(), statuses(&pair).len()), (1, 0));
    while pair.source.poll_timeout() <= pair.now + MS * 20 && statuses(&pair).is_empty() {
        pair.now = pair.source.poll_timeout().max(pair.now);
        pair.source.handle_timeout(pair.now);
        let bye = |action: &Action| matches!(action, Action::Tell { node: NodeId(3), body: NodeBody::Bye { generation, .. }, .. } if *generation == connect.generation);
        let actions: Vec<_> = std::iter::from_fn(|| pair.source.poll_action()).collect();
        let told = actions.iter().any(bye);
        pair.run();
        assert_eq!(told, !statuses(&pair).is_empty());
    }
    assert!(matches!(
        statuses(&pair)[..],
        [ConnStatus::SwitchFailed { node: NodeId(3), reason: Reason::Timeout }]
    ));
    assert_eq!(pair.received().len(), 2);
    assert_eq!(pair.nacked(), []);
}

/// [F6] [L2] [F11] The new target fails after the commit, and the user wants nobody else: down is the target that the switch left, as its record says.
#[test]
fn the_target_that_was_left_is_down() {
    let config = PortConfig { autoswitch: true, backup_selection: BackupSelection::Callback, ..config(1) };
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config });
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &answer(&connect, Reason::None, connect.generation.counter));
    assert_eq!(pair.source.peer(), Some(NodeId(3)), "there was nothing to wait for");
    pair.source.handle_bye(pair.now, connect.generation, Reason::UnknownSession);
    let events: Vec<_> = std::iter::from_fn(|| pair.source.poll_event(true)).collect();
    let asked = events.iter().find_map(|e| match e {
        Event::Question(question) => Some((question.id, question.what.clone())),
        _ => None,
    });
    let (id, what) = asked.expect("a question");
    assert!(matches!(what, Asked::Backup { failed: NodeId(3), .. }), "{what:?}");
    pair.source.choose_backup(pair.now, id, None).unwrap();
    let down = std::iter::from_fn(|| pair.source.poll_event(true)).find_map(|e| match e {
        Event::Status(ConnStatus::Down { node, decision, .. }) => Some((node, decision.node)),
        _ => None,
    });
    assert_eq!(down, Some((NodeId(2), NodeId(2))));
}

/// [F6] [M2] A new target that allows fewer streams than what is held needs is not gone to: it goes on with the present one.
#[test]
fn a_target_that_allows_too_few_streams() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(1) });
    let before = pair.source.generation();
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    let few = Answer { max_streams: 3, ..answer(&connect, Reason::None, connect.generation.counter) };
    pair.send(1, b"begun").unwrap();
    pair.run();
    pair.source.handle_answer(pair.now, &few);
    for stream in 0..4 {
        pair.send(stream, b"held").unwrap();
    }
    pair.pass(MS * 100);
    assert_eq!((pair.received().len(), statuses(&pair).len()), (1, 0));
    pair.give_back();
    pair.pass(MS * 600);
    assert!(matches!(
        statuses(&pair)[..],
        [ConnStatus::SwitchFailed { node: NodeId(3), reason: Reason::Limit }]
    ));
    assert_eq!((pair.source.peer(), pair.source.generation()), (Some(NodeId(2)), before));
    assert_eq!((pair.received().len(), pair.nacked()), (4, Vec::new()));
}

/// [F11] [F8] The record says how the former target's lease ended also where that was not noticed before the new one's path came up.
#[test]
fn the_end_of_the_lease_is_in_the_record() {
    let mut pair = Pair::connected(config(1));
    let former = pair.source.generation();
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &answer(&connect, Reason::None, connect.generation.counter));
    let dialled = std::iter::from_fn(|| pair.source.poll_action()).find_map(|action| match action {
        Action::Dial { path, conn, .. } => Some((path, conn)),
        _ => None,
    });
    let (path, conn) = dialled.expect("a dial");
    pair.source.handle_fenced(pair.now, former, pair.now + MS * 100);
    pair.source.handle_conn_up(pair.now + MS * 200, path, conn);
    let lease = std::iter::from_fn(|| pair.source.poll_event(true)).find_map(|e| match e {
        Event::Status(ConnStatus::Switched { decision, .. }) => decision.lease,
        _ => None,
    });
    assert_eq!(lease, Some((LeaseEnd::Expired, MS * 200)));
}

/// [F6] [M3] Each target has numbers of its own for what it sends, also one that has sent nothing yet when the next switch is asked for.
#[test]
fn targets_do_not_share_numbers() {
    let mut pair = Pair::connected(config(1));
    pair.backup = true;
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    pair.run();
    assert_eq!((pair.source.peer(), pair.source.link()), (Some(NodeId(3)), Link::Up));
    let start = pair.target.as_ref().unwrap().sender.start();
    pair.source.switch(pair.now, NodeId(2)).unwrap();
    let asked = std::iter::from_fn(|| pair.source.poll_action()).find_map(|action| match action {
        Action::Tell { node: NodeId(2), body: NodeBody::Connect(connect), .. } => Some(connect),
        _ => None,
    });
    assert!(asked.expect("a request").first.0 >= start.0 + (1 << 32));
}

/// [F6] [N5] The new target is down by the word of an engine with a quorum: what was held goes on with the present one, at once. An answer of it
/// that comes after that word holds nothing.
#[test]
fn nothing_is_held_for_a_node_that_is_down() {
    for answered in [true, false] {
        let mut pair = Pair::connected(config(1));
        pair.send(1, b"kept").unwrap();
        pair.run();
        pair.source.switch(pair.now, NodeId(3)).unwrap();
        let connect = asked(&mut pair.source).unwrap();
        let answer = answer(&connect, Reason::None, connect.generation.counter);
        if answered {
            pair.source.handle_answer(pair.now, &answer);
        }
        pair.source.handle_peer(pair.now, NodeId(3), PeerState::Down);
        if !answered {
            pair.source.handle_answer(pair.now, &answer);
        }
        pair.send(1, b"goes on").unwrap();
        pair.run();
        assert_eq!((pair.received().len(), pair.source.is_switching()), (2, !answered));
    }
}

/// [F6] [F7] A target that has accepted a newer generation of this client is asked again under one that is newer still.
#[test]
fn asks_again_with_a_newer_generation() {
    let mut pair = Pair::connected(config(1));
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &answer(&connect, Reason::StaleGeneration, 40));
    let again = asked(&mut pair.source).unwrap();
    assert_eq!((again.generation.counter, again.session), (41, connect.session));
    assert!(statuses(&pair).is_empty());
}

/// [F6] [L1] Where it cannot go, and when.
#[test]
fn what_is_refused() {
    let mut pair = Pair::connected(config(1));
    let now = pair.now;
    let mut to = |node| pair.source.switch(now, NodeId(node));
    assert_eq!(to(9), Err(ConnectError::NotATarget { node: NodeId(9) }));
    assert_eq!(to(2), Err(ConnectError::There { node: NodeId(2) }));
    assert_eq!(to(3), Ok(()));
    assert_eq!(to(3), Err(ConnectError::Switching { to: NodeId(3) }));
    // A stop ends it: sends would have nowhere to go.
    pair.source.stop(pair.now).unwrap();
    pair.run();
    assert!(matches!(
        statuses(&pair)[..],
        [ConnStatus::SwitchFailed { reason: Reason::Stopped, .. }, ConnStatus::Drained]
    ));
    assert!(matches!(pair.source.switch(pair.now, NodeId(3)), Err(ConnectError::State(_))));
}
