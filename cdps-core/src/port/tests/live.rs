//! Changes of a live port (L8).

use std::net::SocketAddr;

use super::*;
use crate::config::{Address, Balance, PathClass};

fn remote(last: u8) -> SocketAddr {
    ([127, 0, 0, last], 7000).into()
}

impl Pair {
    fn carried(&self, path: u16) -> u64 {
        self.source.path_stats(PathId(path)).map_or(0, |p| p.payload_sent)
    }
}

/// [L8] A path that is removed hands over what it held: nothing is nacked, lost or doubled, and nothing goes there any more. One that is added
/// is dialled with the session's secret, and carries.
#[test]
fn paths_come_and_go() {
    let mut pair = Pair::connected(PortConfig { balance: Balance::RoundRobin, ..config(2) });
    // What path 1 carries from here on vanishes.
    pair.silent = vec![PathId(1)];
    for k in 0..20 {
        pair.send(1, &[k; 30_000]).unwrap();
    }
    pair.run();
    assert!(pair.carried(1) > 0 && pair.received().len() < 20);
    pair.source.remove_address(pair.now, NodeId(2), remote(2)).unwrap();
    pair.run();
    assert_eq!(pair.received().len(), 20);
    assert!(pair.source.stats().retransmitted > 0 && pair.source.path_stats(PathId(1)).is_none());
    let gone = Event::Path { path: PathId(1), health: Health::Dead, reason: Reason::Closed };
    assert!(pair.source_events.contains(&gone));
    pair.source.add_address(pair.now, NodeId(2), remote(9).into()).unwrap();
    pair.run();
    let added = pair.source.path_stats(PathId(2)).expect("a number that was not used");
    assert!(added.up && added.health == Health::Good && added.class == Some(PathClass::Normal));
    for k in 0..20 {
        pair.send(1, &[k; 30_000]).unwrap();
    }
    pair.run();
    assert!(pair.carried(2) > 0);
    assert_eq!(pair.received().len(), 40);
    assert!(pair.source.stats().nacked == 0 && pair.source.link() == Link::Up);
    let addresses = &pair.source.config().targets[0].addresses;
    assert_eq!(addresses.iter().map(|a| a.remote).collect::<Vec<_>>(), [remote(1), remote(9)]);
}

/// [L8] [T8] The last normal path may go while a standby one is left, which carries then; the last path may not.
#[test]
fn a_standby_path_takes_over_from_one_that_is_removed() {
    let mut config = config(1);
    config.targets[0].addresses.push(Address::standby(remote(2)));
    let mut pair = Pair::connected(config);
    pair.source.remove_address(pair.now, NodeId(2), remote(1)).unwrap();
    pair.send(1, b"by the standby path").unwrap();
    pair.run();
    assert_eq!((pair.received().len(), pair.carried(1) > 0), (1, true));
    let last = ChangeError::LastAddress { node: NodeId(2), remote: remote(2) };
    assert_eq!(pair.source.remove_address(pair.now, NodeId(2), remote(2)), Err(last));
    assert_eq!(pair.source.path_stats(PathId(1)).unwrap().health, Health::Good);
}

/// [L8] An address may go while the target has not answered yet: the others are not dialled before it has. It would not know the session.
#[test]
fn removal_before_the_answer_dials_nobody() {
    let Pair { source: mut port, now, .. } = Pair::new(config(2));
    port.connect(now, None).unwrap();
    port.remove_address(now, NodeId(2), remote(2)).unwrap();
    port.handle_timeout(now + MS * 300);
    let actions: Vec<_> = std::iter::from_fn(|| port.poll_action()).collect();
    assert!(actions.iter().any(|a| matches!(a, Action::Tell { body: NodeBody::Connect(_), .. })));
    assert!(!actions.iter().any(|a| matches!(a, Action::Dial { .. })), "{actions:?}");
}

/// [L8] What is refused changes nothing; what belongs to another target is a matter of the table alone.
#[test]
fn refused_changes_change_nothing() {
    let mut pair = Pair::connected(config(2));
    let before = pair.source.config().clone();
    let (now, source) = (pair.now, &mut pair.source);
    let (node, there) = (NodeId(2), remote(1));
    assert_eq!(
        source.add_address(now, node, Address::standby(there)),
        Err(ChangeError::AddressThere { node, remote: there })
    );
    assert_eq!(
        source.remove_address(now, node, remote(7)),
        Err(ChangeError::NoSuchAddress { node, remote: remote(7) })
    );
    let stranger = NodeId(9);
    assert_eq!(
        source.add_address(now, stranger, there.into()),
        Err(ChangeError::NotATarget { node: stranger })
    );
    for k in 2..64 {
        source.add_address(now, node, remote(k + 1).into()).unwrap();
    }
    assert!(matches!(source.add_address(now, node, remote(99).into()), Err(ChangeError::Config(_))));
    for k in 2..64 {
        source.remove_address(now, node, remote(k + 1)).unwrap();
    }
    assert_eq!(*source.config(), before);
    while source.poll_action().is_some() {}
    source.add_address(now, NodeId(3), remote(50).into()).unwrap();
    assert!(source.poll_action().is_none() && source.stats().paths == 2);
    assert_eq!(source.config().targets[1].addresses.len(), 2);
    source.destroy(now).unwrap();
    let refused = source.remove_address(now, NodeId(3), remote(50)).unwrap_err().to_string();
    assert_eq!(refused, "change is not allowed while the port is DESTROYED (link up)");
}

/// [L8] Timeouts and policies hold from the moment that they are changed; what was agreed on stays, and a set that contradicts itself is
/// refused as a whole.
#[test]
fn timeouts_and_policies_change() {
    let mut pair = Pair::connected(config(1));
    let before = pair.source.config().clone();
    for (wrong, text) in [
        (PortConfig { window: 1 << 20, ..before.clone() }, "window cannot be changed on a live port"),
        (
            PortConfig { high_window: 1 << 19, ..before.clone() },
            "high_window cannot be changed on a live port",
        ),
        (PortConfig { role_epoch: 1, ..before.clone() }, "role_epoch cannot be changed on a live port"),
        (PortConfig { switch_grace: MS, ..before.clone() }, "switch_grace cannot be changed on a live port"),
        (
            PortConfig { session_timeout: MS * 60_000, ..before.clone() },
            "session_timeout cannot be changed on a live port",
        ),
        (
            PortConfig { flow_low: 80, balance: Balance::Pull, ..before.clone() },
            "flow_low is 80; allowed is 0 to 74",
        ),
        (
            PortConfig { ack_timeout: MS * 200, ..before.clone() },
            "suspect (200ms) must be below ack_timeout (200ms)",
        ),
    ] {
        assert_eq!(pair.source.reconfigure(pair.now, wrong).unwrap_err().to_string(), text);
        assert_eq!(*pair.source.config(), before);
    }
    // A smaller buffer: what is held already is above its mark.
    pair.source.suspend().unwrap();
    pair.send(1, &[0; 1000]).unwrap();
    let small = PortConfig { send_buffer_max: 1000, ack: AckModel::Asynchronous, ..before.clone() };
    pair.source.reconfigure(pair.now, small).unwrap();
    assert!(matches!(pair.send(1, b"x"), Err(SendError::Full { held: 1000, max: 1000, .. })));
    pair.run();
    assert!(pair.source_events.iter().any(|e| matches!(e, Event::Flow { on: true, .. })));
    pair.source.resume(pair.now).unwrap();
    pair.run();
    pair.target.as_mut().unwrap().ack(pair.now, Sn(1), 0).unwrap();
    pair.run();
    pair.send(1, b"needs no acknowledgment").unwrap();
    pair.run();
    assert_eq!(pair.completed().len(), 2);
    // A receipt timeout below the one that the connection began with takes it down.
    pair.silent = vec![PathId(0)];
    let short = PortConfig { ack_timeout: MS * 300, ..before };
    pair.source.reconfigure(pair.now, short).unwrap();
    pair.send(1, b"vanishes").unwrap();
    pair.pass(MS * 1000);
    let down = |e: &Event<_, _>| matches!(e, Event::Status(ConnStatus::Down { decision, .. }) if decision.trigger == Trigger::NoReceipt);
    assert!(pair.source_events.iter().any(down), "{:?}", pair.source_events);
}
