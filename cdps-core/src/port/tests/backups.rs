//! Which backup a port goes to.

use super::*;
use crate::config::BackupSelection;

fn backed_up(backup_selection: BackupSelection) -> Pair {
    let mut config = PortConfig { autoswitch: true, backup_selection, ..config(1) };
    config.targets.truncate(1);
    config.targets.extend(
        (3..6).map(|k| Target { node: NodeId(k), addresses: vec![([127, 0, 1, k as u8], 7000).into()] }),
    );
    Pair::connected(config)
}

/// The target is lost, and nothing but what the source does about it goes on.
fn lose(pair: &mut Pair) {
    let last_heard = pair.now;
    pair.now = pair.now + MS * 1600;
    let node = pair.source.peer().unwrap();
    pair.source.handle_peer(pair.now, node, PeerState::Unreachable { last_heard });
}

/// The node that is asked to connect, if one is; the last of several.
fn asked(pair: &mut Pair) -> Option<u32> {
    let mut asked = None;
    while let Some(action) = pair.source.poll_action() {
        if let Action::Tell { node, body: NodeBody::Connect(_), .. } = action {
            asked = Some(node.0);
        }
    }
    asked
}

/// The questions that the user was asked, and whether it was told before that a switch is under way.
fn questions(pair: &mut Pair) -> Vec<Question> {
    let mut found = Vec::new();
    while let Some(event) = pair.source.poll_event(true) {
        if let Event::Question(question) = event {
            found.push(*question);
        }
    }
    found
}

/// Lets the attempt that is under way fail.
fn refuse(pair: &mut Pair) {
    pair.source.fail_attempt(pair.now, Reason::Refused);
}

/// The target answers as the backup that was asked would.
fn accept(pair: &mut Pair) {
    let now = pair.now;
    let generation = pair.source.generation();
    for counter in 0..generation.counter {
        pair.source.handle_released(now, Generation { counter, ..generation });
    }
    let made =
        TestPort::target(pair.target_config.clone(), &connect_as(generation), Secret::new([7; 32]), now, 2);
    let made = made.unwrap();
    pair.source.handle_answer(now, &made.answer(Vec::new()));
    pair.target = Some(made);
    pair.run();
    assert_eq!(pair.source.link(), Link::Up);
}

fn connect_as(generation: Generation) -> Connect {
    Connect {
        session: session(),
        generation,
        version: wire::VERSION,
        flags: 0,
        paths: 1,
        features: 0,
        window: 1 << 20,
        high_window: 0,
        max_message: 1 << 20,
        max_streams: 16,
        session_timeout_ms: 10_000,
        first: Sn(1),
        client: "disk".into(),
    }
}

/// [L2] Round robin goes on after the backup that was chosen last; listed order goes by the target that was lost. Seen where they differ:
/// a target is lost for the second time.
#[test]
fn round_robin_goes_on_where_it_was() {
    for (selection, second) in [(BackupSelection::Listed, 3), (BackupSelection::RoundRobin, 5)] {
        let mut pair = backed_up(selection);
        lose(&mut pair);
        assert_eq!(asked(&mut pair), Some(3));
        refuse(&mut pair);
        assert_eq!(asked(&mut pair), Some(4), "the next of the list, within one switch");
        accept(&mut pair);
        // The user goes back to the primary target.
        pair.source.stop(pair.now).unwrap();
        pair.target = None;
        pair.source.connect(pair.now, Some(NodeId(2))).unwrap();
        accept(&mut pair);
        lose(&mut pair);
        assert_eq!(asked(&mut pair), Some(second), "{selection:?}");
        // All others have their turn, the one chosen last at the end.
        let rest: Vec<_> = (0..3).map(|_| (refuse(&mut pair), asked(&mut pair)).1).collect();
        let expected = if second == 3 { [Some(4), Some(5), None] } else { [Some(3), Some(4), None] };
        assert_eq!(rest, expected, "{selection:?}");
        assert_eq!(pair.source.link(), Link::Drained);
    }
}

/// [L2] The user is asked once for each choice, after it was told of the switch, and what it says is done; sends are queued meanwhile.
#[test]
fn the_user_chooses() {
    let mut pair = backed_up(BackupSelection::Callback);
    pair.source.handle_peer(pair.now, NodeId(4), PeerState::Unreachable { last_heard: pair.now });
    pair.source_events.clear();
    lose(&mut pair);
    let now = pair.now;
    assert_eq!((asked(&mut pair), pair.source.link()), (None, Link::Switching));
    let told = pair.source.poll_event(true);
    assert!(matches!(told, Some(Event::Status(ConnStatus::Switching { .. }))), "{told:?}");
    let [first] = &questions(&mut pair)[..] else { panic!("asked once") };
    let candidates = vec![NodeId(3), NodeId(5)];
    let what = Asked::Backup { failed: NodeId(2), reason: Reason::Unreachable, candidates };
    assert_eq!(first.what, what);
    // Neither time below the limit, nor news of the lost target, nor its late answers bring anything about.
    let incarnation = Incarnation(5);
    pair.source.handle_peer(now, NodeId(2), PeerState::Reachable { incarnation });
    let late = pair.target.as_ref().unwrap().answer(Vec::new());
    pair.source.handle_answer(now, &late);
    pair.send(0, b"queued").unwrap();
    assert!(matches!(
        pair.source.connect(now, Some(NodeId(5))),
        Err(ConnectError::OtherTarget { connected: NodeId(2) })
    ));
    pair.source.handle_timeout(now + MS * 10);
    assert_eq!((asked(&mut pair), questions(&mut pair)), (None, vec![]));
    assert!(pair.source.is_asked(first.id));
    pair.source.choose_backup(now, first.id, Some(NodeId(5))).unwrap();
    assert_eq!(asked(&mut pair), Some(5));
    // Another choice is another question.
    refuse(&mut pair);
    let [second] = &questions(&mut pair)[..] else { panic!("asked once") };
    assert!(
        matches!(&second.what, Asked::Backup { reason: Reason::Refused, candidates, .. } if *candidates == [NodeId(3)])
    );
    assert_eq!(pair.source.choose_backup(now, first.id, Some(NodeId(3))), Err(ChoiceError::Over));
    assert!(!pair.source.is_asked(first.id) && pair.source.is_asked(second.id));
    pair.source.choose_backup(now, second.id, Some(NodeId(3))).unwrap();
    assert_eq!(asked(&mut pair), Some(3));
}

/// [L2] [F5] A user that chooses none, nobody in time, or a node that is not there: down; listed order; listed order.
#[test]
fn a_choice_may_be_missing() {
    let ask = || {
        let mut pair = backed_up(BackupSelection::Callback);
        lose(&mut pair);
        let [question] = &questions(&mut pair)[..] else { panic!("asked once") };
        let id = question.id;
        assert_eq!(asked(&mut pair), None);
        (pair, id)
    };
    let (mut pair, id) = ask();
    pair.source.choose_backup(pair.now, id, None).unwrap();
    let down = pair.source.poll_event(true);
    let node = NodeId(2);
    assert!(
        matches!(down, Some(Event::Status(ConnStatus::Down { node: n, reason: Reason::NoBackup, .. })) if n == node)
    );
    assert_eq!(pair.source.link(), Link::Drained);

    let (mut pair, id) = ask();
    let wrong = pair.source.choose_backup(pair.now, id, Some(NodeId(2)));
    assert_eq!((wrong, asked(&mut pair)), (Err(ChoiceError::NotACandidate { node: NodeId(2) }), Some(3)));

    let (mut pair, id) = ask();
    let limit = pair.now + pair.source.config().connect_timeout;
    while pair.source.poll_timeout() < limit {
        pair.now = pair.source.poll_timeout();
        pair.source.handle_timeout(pair.now);
        assert_eq!(asked(&mut pair), None);
    }
    pair.source.handle_timeout(limit);
    assert_eq!(asked(&mut pair), Some(3), "listed order once the time is up");
    assert_eq!(pair.source.choose_backup(limit, id, Some(NodeId(4))), Err(ChoiceError::Over));

    // The end of the port is the end of the question.
    let (mut pair, id) = ask();
    pair.source.destroy(pair.now).unwrap();
    assert_eq!(pair.source.choose_backup(pair.now, id, Some(NodeId(3))), Err(ChoiceError::Over));
    pair.source.handle_timeout(pair.now + MS * 100);
    assert_eq!((asked(&mut pair), pair.source.poll_timeout()), (None, Time::NEVER));
}

/// What the user was asked to fence, and when.
fn asked_to_fence(pair: &mut Pair) -> Option<(QuestionId, NodeId, Duration)> {
    let fence = |q: Question| match q.what {
        Asked::Fence { node, left, .. } => Some((q.id, node, left)),
        Asked::Backup { .. } => None,
    };
    questions(pair).into_iter().find_map(fence)
}

/// A port that has lost its target while that holds a lease for another 700 ms, and whose backup is connected.
fn lost_with_a_lease(fence: bool, verdict: bool) -> Pair {
    let mut pair = backed_up(BackupSelection::Listed);
    pair.source.config.fence = fence;
    // Shorter than the lease, which is not what it limits (F12).
    pair.source.config.connect_timeout = MS * 300;
    let former = pair.source.generation();
    if verdict {
        pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    } else {
        pair.source.lose_target(pair.now, Trigger::NoReceipt);
    }
    pair.source.handle_fenced(
        pair.now,
        former,
        pair.now + MS * 700 - pair.source.config().liveness.lease / 50,
    );
    assert_eq!(asked(&mut pair), Some(3));
    let (now, generation) = (pair.now, pair.source.generation());
    let made =
        TestPort::target(pair.target_config.clone(), &connect_as(generation), Secret::new([7; 32]), now, 2)
            .unwrap();
    pair.source.handle_answer(now, &made.answer(Vec::new()));
    pair.target = Some(made);
    pair
}

/// Lets time pass at the source alone.
fn wait(pair: &mut Pair, time: Duration) {
    let end = pair.now + time;
    while pair.source.poll_timeout() <= end {
        pair.now = pair.source.poll_timeout();
        pair.source.handle_timeout(pair.now);
        while let Some(action) = pair.source.poll_action() {
            pair.perform(action, true);
        }
    }
    pair.now = end;
}

/// [F8] [F12] A backup takes over at once when the user has fenced the former target, and never before the end of the lease if it has not.
#[test]
fn a_fence_shortens_the_wait() {
    for answer in [Some(true), Some(false), None] {
        let mut pair = lost_with_a_lease(true, true);
        let (id, node, left) = asked_to_fence(&mut pair).expect("the verdict is certain: asked at once");
        assert_eq!((node, left), (NodeId(2), MS * 700));
        wait(&mut pair, MS * 600);
        assert_eq!((pair.source.paths_up(), pair.source.link()), (1, Link::Switching), "the backup is there");
        if let Some(done) = answer {
            pair.source.fenced(pair.now, id, done).unwrap();
        }
        let up = answer == Some(true);
        assert_eq!(pair.source.link() == Link::Up, up, "{answer:?}");
        wait(&mut pair, MS * 99);
        assert_eq!(pair.source.link() == Link::Up, up, "{answer:?}");
        wait(&mut pair, MS);
        assert_eq!(pair.source.link(), Link::Up);
        assert_eq!(pair.source.fenced(pair.now, id, true), Err(ChoiceError::Over));
        assert_eq!(asked_to_fence(&mut pair), None, "asked once");
    }
}

/// [F8] A target of which nobody says that it is down has a heartbeat to release its lease; who has no fence is not asked; and
/// nobody is asked to fence a target that is connected again.
#[test]
fn a_fence_is_asked_for_where_it_helps() {
    let mut pair = lost_with_a_lease(true, false);
    let heartbeat = pair.source.config().liveness.heartbeat;
    wait(&mut pair, heartbeat - MS);
    assert_eq!(asked_to_fence(&mut pair), None);
    wait(&mut pair, MS);
    assert!(asked_to_fence(&mut pair).is_some());

    let mut pair = lost_with_a_lease(true, false);
    let former = Generation { counter: 1, ..Generation::default() };
    pair.source.handle_released(pair.now, former);
    wait(&mut pair, heartbeat);
    assert_eq!(asked_to_fence(&mut pair), None);

    let mut pair = lost_with_a_lease(false, true);
    wait(&mut pair, heartbeat);
    assert_eq!(asked_to_fence(&mut pair), None);

    let mut pair = Pair::connected(PortConfig { fence: true, ..config(1) });
    let former = pair.source.generation();
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    pair.source.handle_fenced(pair.now, former, pair.now + MS * 700);
    assert_eq!((asked_to_fence(&mut pair), pair.source.link()), (None, Link::Drained), "nobody waits");
    pair.source.connect(pair.now, Some(NodeId(2))).unwrap();
    assert_eq!(asked_to_fence(&mut pair), None);
    pair.source.close(pair.now, true).unwrap();
    pair.source.connect(pair.now, Some(NodeId(3))).unwrap();
    assert_eq!(asked_to_fence(&mut pair), None, "the session was closed: nothing is owed");
}

/// [F8] [F4] Also a user who goes elsewhere by itself is asked.
#[test]
fn a_fence_for_a_user_that_fails_over() {
    let mut pair = Pair::connected(PortConfig { fence: true, ..config(1) });
    let former = pair.source.generation();
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    quiet_until_drained(&mut pair);
    pair.source.connect(pair.now, Some(NodeId(3))).unwrap();
    // Only now is the session taken away from its target (F3).
    pair.source.handle_fenced(pair.now, former, pair.now + MS * 700);
    let (id, ..) = asked_to_fence(&mut pair).expect("asked as soon as it connects");
    pair.source.fenced(pair.now, id, true).unwrap();
    assert!(pair.source.former.is_none());
}

/// The user hears everything up to drained.
fn quiet_until_drained(pair: &mut Pair) {
    assert_eq!(questions(pair), []);
    assert_eq!(pair.source.link(), Link::Drained);
}
