//! Graceful closes (L5): what is waited for, and what is not.

use super::*;

fn with(ack: AckModel) -> PortConfig {
    PortConfig { ack, ..config(2) }
}

impl Pair {
    fn target(&mut self) -> &mut TestPort {
        self.target.as_mut().expect("a target")
    }

    fn target_state(&mut self) -> State {
        self.target().state()
    }

    /// What the target's user is given, without having handled it yet.
    fn take(&mut self) -> Vec<Sn> {
        let mut taken = Queue::default();
        self.target().take_events(true, &mut taken);
        let numbers = taken.iter().filter_map(|e| match e {
            Event::Received(message) => Some(message.sn),
            _ => None,
        });
        let numbers = numbers.collect();
        self.target_events.extend(std::iter::from_fn(|| taken.pop_front()));
        numbers
    }

    fn told(&mut self) {
        let now = self.now;
        self.target().handle_told(now);
    }
}

/// [L5] [A2] A target that closes gracefully first tells its user of every message that it has taken: they may be completed already.
#[test]
fn a_closing_target_delivers_what_it_has() {
    let mut pair = Pair::connected(with(AckModel::Asynchronous));
    pair.told();
    for _ in 0..3 {
        pair.send(1, b"taken").expect("is accepted");
    }
    while pair.carry(true) || pair.carry(false) {}
    let now = pair.now;
    pair.target().close(now, false).expect("closes");
    assert_eq!(pair.target_state(), State::ConnectedTo, "messages wait");
    assert_eq!(pair.take(), [Sn(1), Sn(2), Sn(3)]);
    pair.target().handle_timeout(now);
    let revoked =
        |pair: &mut Pair| std::iter::from_fn(|| pair.target().poll_action()).any(|a| a == Action::Revoke);
    assert_eq!(pair.target_state(), State::ConnectedTo, "its user is in a callback");
    assert!(!revoked(&mut pair), "what was given out may still be delivered");
    pair.told();
    assert_eq!(pair.target_state(), State::Registered);
    pair.run();
    assert_eq!(pair.source.state(), State::Initialized);
    assert_eq!((pair.completed().len(), pair.nacked()), (3, Vec::new()));
}

/// [L5] [A1] A target that closes gracefully waits for its user's acknowledgments, and for the source to have them.
#[test]
fn a_closing_target_waits_for_acknowledgments() {
    let mut pair = Pair::connected(with(AckModel::Synchronous));
    let sn = pair.send(1, b"work").expect("is accepted");
    pair.run();
    let now = pair.now;
    pair.target().close(now, false).expect("closes");
    pair.run();
    assert_eq!(pair.target_state(), State::ConnectedTo, "an acknowledgment is owed");
    pair.target().ack(now, sn, 7).expect("it is owed");
    pair.told();
    assert_eq!(pair.target_state(), State::ConnectedTo, "the source has not heard it");
    pair.pass(100 * MS);
    assert_eq!(pair.completed(), [(sn.0, 7)]);
    assert_eq!(pair.target_state(), State::Registered);
    assert_eq!(pair.source.state(), State::Initialized);
}

/// [L5] [M7] A target that closes grants no more credit, so that a source that goes on sending does not keep it open.
#[test]
fn a_closing_target_takes_no_more_than_was_granted() {
    let config = PortConfig { window: 64 << 10, ..with(AckModel::Asynchronous) };
    let mut pair = Pair::connected(config);
    let payload = vec![0; 4096];
    for _ in 0..100 {
        pair.send(1, &payload).expect("is accepted");
    }
    while pair.carry(true) || pair.carry(false) {}
    let now = pair.now;
    pair.target().close(now, false).expect("closes");
    let mut rounds = 0;
    while pair.target_state() == State::ConnectedTo {
        rounds += 1;
        assert!(rounds < 100, "it never ends");
        pair.send(1, &payload).expect("is accepted");
        pair.take();
        let tokens: Vec<CreditToken> = pair
            .target_events
            .drain(..)
            .filter_map(|e| match e {
                Event::Received(message) => Some(message.credit),
                _ => None,
            })
            .collect();
        let now = pair.now;
        for token in tokens {
            pair.target().release(now, token);
        }
        while pair.carry(true) || pair.carry(false) {}
        pair.told();
    }
    pair.run();
    let (completed, nacked) = (pair.completed().len(), pair.nacked());
    assert!(completed > 10, "a window of them was delivered: {completed}");
    assert_eq!(completed + nacked.len(), 100 + rounds);
    assert!(nacked.iter().all(|n| (n.1, n.2) == (Reason::PeerClosed, Certainty::NotSent)), "{nacked:?}");
}

/// [L5] A close is over after its timeout, whatever is still owed; an immediate one at once.
#[test]
fn a_close_ends_in_time() {
    for immediate in [false, true] {
        let mut pair = Pair::connected(with(AckModel::Synchronous));
        let sn = pair.send(1, b"work").expect("is accepted");
        pair.run();
        let (now, timeout) = (pair.now, pair.target().config().close_timeout);
        pair.target().close(now, immediate).expect("closes");
        if !immediate {
            pair.pass(timeout - MS);
            assert_eq!(pair.target_state(), State::ConnectedTo);
            pair.pass(20 * MS);
        }
        assert_eq!(pair.target_state(), State::Registered);
        pair.run();
        assert_eq!(pair.nacked(), [(sn.0, Reason::PeerClosed, Certainty::Unknown)]);
    }
}

/// [L5] [A1] A source that closes has its user's acknowledgments heard first; if they cannot be, it closes when its time is up.
#[test]
fn a_closing_source_waits_until_its_acknowledgments_are_heard() {
    for heard in [true, false] {
        let mut pair = Pair::connected(with(AckModel::Synchronous));
        let now = pair.now;
        let message = Outbound {
            stream: StreamId(1),
            len: 4,
            ack: None,
            deadline: None,
            barrier: false,
            payload: b"back".to_vec(),
        };
        let sn = pair.target().send(now, message).map_err(|e| e.0).expect("is accepted");
        pair.run();
        pair.source.ack(now, sn, 9).expect("it is owed");
        pair.source.close(now, false).expect("closes");
        pair.source.close(now, false).expect("closes again");
        assert_eq!(pair.source.state(), State::Stopped, "the target has not heard it");
        if heard {
            pair.pass(100 * MS);
            let completed = |e: &Event<_, _>| matches!(e, Event::Completed { sn: s, rc: 9, .. } if *s == sn);
            assert!(pair.target_events.iter().any(completed), "{:?}", pair.target_events);
        } else {
            let timeout = pair.source.config().close_timeout;
            pair.conns.clear();
            pair.pass(timeout + 20 * MS);
        }
        assert_eq!(pair.source.state(), State::Initialized, "heard: {heard}");
    }
}
