//! The lease (F8): renewed by echoes of what was really sent, by nothing else, and never behind a revocation.

use cdps_core::cluster::Health;
use cdps_core::id::{Generation, Incarnation, NodeId, SessionId};
use cdps_core::node::Output;
use cdps_core::reason::Reason;
use cdps_core::time::{Duration, Time};
use cdps_core::wire::{Frame, Heartbeat, NodeBody, NodeMessage};

use crate::net::{End, MS, Mode, Net, address};

const SECOND: Duration = Duration::from_secs(1);

fn settled(links: u8) -> Net {
    let mut net = Net::pair(links, MS, false);
    net.settle();
    net
}

fn lease(net: &Net) -> Time {
    net.node(2).lease_until(NodeId(1), net.node(1).incarnation())
}

/// [F8] A target has a lease two round trips after the dial, and it is renewed every heartbeat, counted from what was sent.
#[test]
fn a_lease_is_renewed_every_heartbeat() {
    let mut net = Net::pair(2, 5 * MS, false);
    let took = net.run_until("a lease", SECOND, |net| lease(net) > Time::ZERO);
    assert!(took <= 30 * MS, "{took:?}");
    net.settle();
    let mark = net.log.len();
    net.run(10 * SECOND);
    assert!(lease(&net) > net.now + net.liveness.lease - 2 * net.liveness.heartbeat);
    let renewals: Vec<Time> = net
        .since(mark, 2)
        .filter_map(|(_, output)| match output {
            Output::Lease { until, .. } => Some(*until),
            _ => None,
        })
        .collect();
    assert!(renewals.len() >= 40 && renewals.is_sorted());
    assert_eq!(renewals.last(), Some(&lease(&net)));
}

/// [F8] A source that no longer hears the target lets the lease run out, although the target still hears the source.
#[test]
fn an_unheard_target_loses_its_lease() {
    let mut net = settled(1);
    let start = net.now;
    net.set_mode(address(2, 1), Mode::HoldToDialler);
    net.run(net.liveness.lease + MS);
    assert!(lease(&net) <= net.now, "{:?}", lease(&net));
    assert!(lease(&net) <= start + net.liveness.lease);
}

/// [F8, T9] A target that froze wakes without a lease; lateness moves no lease.
#[test]
fn a_frozen_target_wakes_without_a_lease() {
    let mut net = settled(2);
    let before = lease(&net);
    net.freeze(2);
    net.run(5 * SECOND);
    let mark = net.log.len();
    net.thaw(2, true);
    let stale: Vec<_> =
        net.since(mark, 2).filter(|(_, output)| matches!(output, Output::Lease { .. })).collect();
    assert!(stale.is_empty() || lease(&net) < net.now, "{stale:?}");
    assert!(lease(&net) <= before + net.liveness.heartbeat * 2);
}

/// [F8] The peer's clock means nothing: any value of it does.
#[test]
fn the_peers_clock_is_opaque() {
    let mut net = settled(1);
    let (key, conn) = net.conn(address(2, 1), End::Acceptor);
    for sent in [1, u64::MAX, 3, 1 << 63] {
        let beat =
            Heartbeat { reply: true, sent, echo: last_echo(&net), held: u64::MAX, count: 0, heard: u64::MAX };
        assert_eq!(
            net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::Heartbeat(beat))),
            Ok(())
        );
        let answer = net.sent.iter().rev().find(|entry| entry.1 == NodeId(2)).map(|entry| &entry.3);
        assert!(matches!(answer, Some(Frame::Heartbeat(beat)) if beat.echo == sent && beat.held == 0));
    }
    let zero = Heartbeat { sent: 0, echo: last_echo(&net), ..Heartbeat::default() };
    let verdict = net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::Heartbeat(zero)));
    assert_eq!(verdict, Err(Reason::ProtocolError));
}

/// Newest value of node 2 that node 1 has echoed.
fn last_echo(net: &Net) -> u64 {
    lease(net).0 - u64::try_from(net.liveness.lease.as_nanos()).unwrap()
}

/// [F8, S4] An echo of what was never sent is refused, and renews nothing: a value of the future, between two that were sent, or going back.
#[test]
fn forged_echoes_are_refused() {
    for forge in [
        |echoed: u64, _now: u64| echoed + 1,
        |echoed: u64, _now: u64| echoed - 1,
        |_echoed: u64, now: u64| now,
        |_echoed: u64, now: u64| now + 1_000_000_000,
        |_echoed: u64, _now: u64| u64::MAX,
        |_echoed: u64, _now: u64| 1,
        |_echoed: u64, _now: u64| 0,
    ] {
        let mut net = settled(1);
        net.run(7 * MS);
        let (key, conn) = net.conn(address(2, 1), End::Acceptor);
        let before = lease(&net);
        let echo = forge(last_echo(&net), net.now.0);
        let beat = Heartbeat { reply: true, sent: 9, echo, ..Heartbeat::default() };
        let verdict = net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::Heartbeat(beat)));
        assert_eq!(verdict, Err(Reason::ProtocolError), "echo {echo}");
        assert_eq!(lease(&net), before);
        assert_eq!(net.node(2).counters().faults, 1);
        assert_eq!(net.health(2, address(2, 1), End::Acceptor), Health::Suspect, "the connection is gone");
        assert_eq!(net.with(2, |node, _| node.poll_transmit(key, conn)), None);
    }
}

/// [F8] What another connection has heard is no echo on this one, nor what was built but never polled.
#[test]
fn echoes_belong_to_their_connection() {
    let mut net = settled(2);
    let (key, conn) = net.conn(address(2, 2), End::Acceptor);
    net.set_mode(address(2, 2), Mode::Hold);
    net.run(600 * MS);
    let other = last_echo(&net);
    let beat = Heartbeat { reply: true, sent: 9, echo: other, ..Heartbeat::default() };
    let on_this = net.sent.iter().any(|(_, by, at, frame)| {
        *by == NodeId(2)
            && *at == address(2, 2)
            && matches!(frame, Frame::Heartbeat(beat) if beat.sent == other)
    });
    assert!(!on_this);
    let verdict = net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::Heartbeat(beat)));
    assert_eq!(verdict, Err(Reason::ProtocolError));
}

/// [S4] A peer that asks without end and echoes nothing costs a bounded memory, and is dead like any other that does not hear.
#[test]
fn asking_without_echoing_is_no_life() {
    let mut net = settled(1);
    let (key, conn) = net.conn(address(2, 1), End::Acceptor);
    net.set_mode(address(2, 1), Mode::Hold);
    net.run(2 * MS);
    let echo = last_echo(&net);
    let start = net.now;
    let mut sent = 100;
    while net.is_reachable(2, 1) {
        sent += 1;
        let beat = Heartbeat { reply: true, sent, echo, ..Heartbeat::default() };
        net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::Heartbeat(beat))).unwrap();
        net.run(MS / 10);
        assert!(net.now < start + 3 * SECOND, "still reachable");
    }
    assert!(net.now.since(start) >= net.liveness.dead - net.liveness.heartbeat);
    assert!(lease(&net) <= start + net.liveness.lease);
}

fn session(net: &Net, port: u32) -> SessionId {
    SessionId { node: NodeId(1), incarnation: net.node(1).incarnation(), port }
}

const GENERATION: Generation = Generation { role_epoch: 0, counter: 4 };

/// What node 1 sent over an address since a mark, as letters: R revocation, H heartbeat that echoes something, h one that does not.
fn order(net: &Net, mark: usize, index: u8) -> String {
    let sent = net.sent[mark..].iter().filter(|entry| entry.1 == NodeId(1) && entry.2 == address(2, index));
    sent.map(|(_, _, _, frame)| match frame {
        Frame::NodeMessage(NodeMessage { body: NodeBody::Revoke { .. }, .. }) => 'R',
        Frame::Heartbeat(beat) if beat.echo > 0 => 'H',
        Frame::Heartbeat(_) => 'h',
        _ => '?',
    })
    .collect()
}

/// [F8] A revocation goes on every connection, before any heartbeat that is built later, and again first on each new connection, until it is answered.
#[test]
fn a_revocation_precedes_every_later_heartbeat() {
    let mut net = settled(3);
    net.set_mode(address(2, 3), Mode::Refuse);
    net.break_conns(address(2, 3));
    net.run(MS);
    let mark = net.sent.len();
    let session = session(&net, 7);
    let revoke = NodeBody::Revoke { session, generation: GENERATION };
    net.with(1, |node, now| node.tell(now, NodeId(2), revoke.clone(), false));
    net.set_mode(address(2, 3), Mode::Pass);
    net.run(SECOND);
    assert!(order(&net, mark, 1).starts_with("RH"), "{}", order(&net, mark, 1));
    assert!(order(&net, mark, 2).starts_with("RH"), "{}", order(&net, mark, 2));
    assert!(order(&net, mark, 3).starts_with("RhH"), "{}", order(&net, mark, 3));
    assert_eq!(net.messages(0, 2), vec![revoke; 3]);

    // Unanswered, it stands for the next connection too. Answered, it does not.
    let mark = net.sent.len();
    net.break_conns(address(2, 1));
    net.run(100 * MS);
    assert!(order(&net, mark, 1).starts_with("Rh"), "{}", order(&net, mark, 1));
    let released = NodeBody::Released { session, generation: GENERATION };
    net.with(2, |node, now| node.tell(now, NodeId(1), released.clone(), false));
    net.run(SECOND);
    assert_eq!(net.messages(0, 1), [released]);
    let mark = net.sent.len();
    net.break_conns(address(2, 1));
    net.run(100 * MS);
    assert!(order(&net, mark, 1).starts_with("hH"), "{}", order(&net, mark, 1));
}

/// [F8] A source that gave up a target which it can not reach: the target gets the revocation before its lease can be renewed, however late it wakes.
#[test]
fn a_target_that_wakes_late_is_revoked_first() {
    let mut net = settled(2);
    net.freeze(2);
    net.run(5 * SECOND);
    let revoke = NodeBody::Revoke { session: session(&net, 1), generation: GENERATION };
    net.with(1, |node, now| node.tell(now, NodeId(2), revoke, true));
    net.run(60 * SECOND);
    let mark = net.log.len();
    net.thaw(2, false);
    net.run(20 * SECOND);
    let told: Vec<(Time, &Output)> = net.since(mark, 2).collect();
    let revoked = told
        .iter()
        .position(|(_, output)| matches!(output, Output::Message { body: NodeBody::Revoke { .. }, .. }));
    let valid =
        told.iter().position(|(at, output)| matches!(output, Output::Lease { until, .. } if until > at));
    assert!(revoked.is_some() && revoked < valid, "revoked at {revoked:?}, leased at {valid:?}");
}

/// [F8] More sessions than a queue has places are all revoked, each before the next heartbeat.
#[test]
fn many_revocations_are_not_dropped() {
    let mut net = settled(1);
    let mark = net.sent.len();
    let start = net.log.len();
    let sessions: Vec<SessionId> = (0..500).map(|port| session(&net, port)).collect();
    // The driver does not get to writing in between.
    net.with(1, |node, now| {
        for &session in &sessions {
            node.tell(now, NodeId(2), NodeBody::Revoke { session, generation: GENERATION }, true);
        }
        node.handle_timeout(now);
    });
    net.run(300 * MS);
    let first_beat = order(&net, mark, 1).find('H').unwrap();
    assert_eq!(first_beat, 500);
    assert_eq!(net.messages(start, 2).len(), 500);
    assert_eq!(net.node(1).counters().messages_dropped, 0);
}

/// [F8, N2] A peer of another incarnation knows nothing of the sessions of the former one: nothing is revoked from it.
#[test]
fn revocations_end_with_the_incarnation() {
    let mut net = settled(1);
    net.kill(2);
    let revoke = NodeBody::Revoke { session: session(&net, 1), generation: GENERATION };
    net.with(1, |node, now| node.tell(now, NodeId(2), revoke, true));
    let mark = net.sent.len();
    net.open(2, &[(1, &[])]);
    net.run(15 * SECOND);
    assert!(net.is_reachable(1, 2));
    assert!(!order(&net, mark, 1).contains('R'));
    assert_eq!(net.node(2).lease_until(NodeId(1), Incarnation(1)), Time::ZERO);
}
