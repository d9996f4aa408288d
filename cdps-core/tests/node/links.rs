//! Dialling, accepting, losing and replacing control connections; incarnations; the static membership.

use cdps_core::cluster::{ClusterChange, ClusterKind, Health, PeerState};
use cdps_core::config::{ConfigError, Liveness, Member, NodeConfig};
use cdps_core::id::{ConnId, Generation, Incarnation, LinkId, NodeId, PathId, SessionId, Side};
use cdps_core::node::{LinkKey, Node, Output};
use cdps_core::reason::Reason;
use cdps_core::time::{Duration, Time};
use cdps_core::wire::{Frame, Heartbeat, Hello, NodeBody, NodeMessage, Purpose, VERSION, Welcome};

use crate::net::{End, MS, Mode, Net, address, membership};

fn config(node: u32, members: &[u32]) -> NodeConfig {
    let members =
        members.iter().map(|&id| Member { node: NodeId(id), addresses: vec![address(id, 1)] }).collect();
    NodeConfig {
        node: NodeId(node),
        local: Vec::new(),
        members,
        cluster: ClusterKind::Static,
        liveness: Liveness::default(),
    }
}

fn hello(node: u32, incarnation: u64, link: u32) -> Hello {
    Hello {
        version_min: VERSION,
        version_max: VERSION,
        features: 0,
        node: NodeId(node),
        peer: NodeId(1),
        incarnation: Incarnation(incarnation),
        link: LinkId(link),
        nonce: [0; 32],
        purpose: Purpose::Control,
    }
}

fn outputs(node: &mut Node) -> Vec<Output> {
    std::iter::from_fn(|| node.poll_output()).collect()
}

const T0: Time = Time(5_000_000_000);

fn open(members: &[u32]) -> Node {
    Node::new(config(1, members), Incarnation(77), T0, 1).unwrap()
}

/// [N1] A configuration that contradicts itself is refused, with the value.
#[test]
fn refuses_contradictions() {
    let refusal = |config| Node::new(config, Incarnation(1), T0, 1).err();
    assert_eq!(refusal(config(0, &[])), Some(ConfigError::NodeZero));
    assert_eq!(refusal(config(1, &[0])), Some(ConfigError::NodeZero));
    assert_eq!(refusal(config(1, &[2, 3, 2])), Some(ConfigError::MemberTwice { node: NodeId(2) }));
    let mut many = config(1, &[2]);
    many.members[0].addresses = (0..65).map(|i| address(2, i)).collect();
    assert_eq!(refusal(many), Some(ConfigError::Paths { node: NodeId(2), count: 65 }));
    let mut timers = config(1, &[2]);
    timers.liveness.lease = timers.liveness.dead;
    assert!(matches!(refusal(timers), Some(ConfigError::TimerOrder { low: "lease", .. })));
}

/// [N1, T2] A node dials every address of every other member at once, from its local addresses in turn.
#[test]
fn dials_all_members_at_once() {
    let mut config = config(1, &[1, 2, 3]);
    config.members[1].addresses.push(address(2, 2));
    config.members[1].addresses.push(address(2, 3));
    config.local = vec!["10.1.0.1".parse().unwrap(), "10.1.0.2".parse().unwrap()];
    let mut node = Node::new(config.clone(), Incarnation(77), T0, 1).unwrap();
    let dials: Vec<_> = outputs(&mut node)
        .into_iter()
        .filter_map(|output| match output {
            Output::Dial { node, local, remote, .. } => Some((node.0, local, remote)),
            _ => None,
        })
        .collect();
    let (one, two) = (Some(config.local[0]), Some(config.local[1]));
    assert_eq!(
        dials,
        [(2, one, address(2, 1)), (2, two, address(2, 2)), (2, one, address(2, 3)), (3, one, address(3, 1))],
        "and not itself"
    );
    assert_eq!(node.addresses(NodeId(2)).len(), 3);
    assert_eq!(node.addresses(NodeId(9)), []);
}

/// [N2, N4, T5] Two nodes that dial each other have a link each way per address, and are up once for each other.
#[test]
fn both_ends_may_dial() {
    let mut net = Net::pair(2, MS, true);
    net.settle();
    for (dialler, acceptor) in [(1, 2), (2, 1)] {
        for index in 1..=2 {
            assert!(net.is_good(address(acceptor, index), dialler, acceptor));
        }
        let ups = net.since(0, dialler).filter(|(_, output)| membership(output).is_some()).count();
        assert_eq!(ups, 1, "node {dialler}");
        assert!(net.is_reachable(dialler, acceptor));
    }
    let incarnation = net.node(2).incarnation();
    assert!(net.since(0, 1).any(|(_, output)| matches!(output, Output::Cluster(event)
        if event.node == NodeId(2) && event.membership == 1 && event.change == ClusterChange::Up { incarnation: Some(incarnation) })));
    // One of them goes: the other direction is not touched.
    net.break_conns(address(2, 1));
    net.set_mode(address(2, 1), Mode::Refuse);
    net.settle();
    assert!(net.is_good(address(1, 1), 2, 1));
    assert_eq!(net.health(1, address(2, 1), End::Dialler), Health::Suspect);
}

/// [T4] A link is good two round trips after the dial, when a heartbeat has been answered, and not before.
#[test]
fn a_link_is_good_when_a_heartbeat_was_answered() {
    let mut net = Net::pair(1, 10 * MS, false);
    let took = net.run_until("good", 100 * MS, |net| {
        net.since(0, 1)
            .any(|(_, output)| matches!(output, Output::Link { state, .. } if state.health == Health::Good))
    });
    assert_eq!(took, 40 * MS);
    assert_eq!(net.node(1).link_state(net.key(1, address(2, 1), End::Dialler)).rtt, Some(20 * MS));

    // A peer that only shakes hands is never good, and is given up.
    net.settle();
    net.break_conns(address(2, 1));
    let mark = net.log.len();
    net.run(15 * MS);
    net.set_mode(address(2, 1), Mode::HoldToDialler);
    net.run(10 * MS);
    assert_eq!(net.node(1).counters().connections, 2, "WELCOME was on its way already");
    net.run(4 * net.liveness.dead);
    assert!(!net.is_reachable(1, 2));
    assert!(net.link_changes(mark, 1).iter().all(|(_, _, state)| state.health != Health::Good));
}

/// [T2] A broken connection is suspect at once, redialled at once, and good again a moment later; the peer stays reachable.
#[test]
fn a_break_is_redialled_at_once() {
    let mut net = Net::pair(1, MS, false);
    net.settle();
    let mark = net.log.len();
    let at = net.now;
    net.break_conns(address(2, 1));
    net.run(20 * MS);
    let healths: Vec<Health> = net.link_changes(mark, 1).iter().map(|(_, _, state)| state.health).collect();
    assert_eq!(healths, [Health::Suspect, Health::Good]);
    assert_eq!(net.dials(mark, 1), [at]);
    assert!(net.is_good(address(2, 1), 1, 2));
    assert!(
        net.since(mark, 1)
            .all(|(_, output)| !matches!(output, Output::Peer { .. }) && membership(output).is_none())
    );
    assert!(
        net.since(mark, 2)
            .all(|(_, output)| !matches!(output, Output::Peer { .. }) && membership(output).is_none())
    );
}

/// [T4] Failed dials are repeated after a random time below a ceiling that doubles from 100 ms to 10 s; different links differ.
#[test]
fn redials_back_off_with_jitter() {
    let mut net = Net::pair(2, MS, false);
    net.settle();
    let mark = net.log.len();
    for index in 1..=2 {
        net.set_mode(address(2, index), Mode::Refuse);
        net.break_conns(address(2, index));
    }
    net.run(Duration::from_secs(600));
    let of_link = |link: u32| -> Vec<Time> {
        net.since(mark, 1)
            .filter(|(_, output)| matches!(output, Output::Dial { link: id, .. } if id.0 == link))
            .map(|(at, _)| at)
            .collect()
    };
    let (first, second) = (of_link(1), of_link(2));
    for dials in [&first, &second] {
        let mut ceiling = net.liveness.redial_min;
        for pair in dials.windows(2) {
            let wait = pair[1].since(pair[0] + MS);
            assert!(wait <= ceiling, "{wait:?} above {ceiling:?}");
            ceiling = (ceiling * 2).min(net.liveness.redial_max);
        }
        assert!((90..200).contains(&dials.len()), "{} dials: half of 10 s is the mean", dials.len());
    }
    assert_ne!(first, second);
}

/// [T4] A link that breaks right after each handshake is not redialled in a tight loop.
#[test]
fn a_flapping_link_backs_off() {
    let mut net = Net::pair(1, MS, false);
    net.settle();
    let mark = net.log.len();
    let end = net.now + Duration::from_secs(20);
    net.break_conns(address(2, 1));
    while net.now < end {
        let seen = net.log.len();
        net.run_until("good again", Duration::from_secs(15), |net| {
            net.link_changes(seen, 1).iter().any(|(_, _, state)| state.health == Health::Good)
        });
        net.break_conns(address(2, 1));
    }
    assert!(net.dials(mark, 1).len() < 40, "{} dials in 20 s", net.dials(mark, 1).len());
}

/// [T2] A dial that hears nothing is given up after the handshake timeout, also if the driver never says so.
#[test]
fn a_silent_dial_is_given_up() {
    let mut node = open(&[2]);
    let Some(Output::Dial { link, conn, .. }) = outputs(&mut node).first().cloned() else {
        panic!("no dial")
    };
    assert_eq!(node.poll_timeout(), T0 + node.config().liveness.handshake_timeout);
    let late = node.poll_timeout();
    node.handle_timeout(late);
    let key = LinkKey::Dialled(link);
    assert_eq!(outputs(&mut node), [Output::Hangup { key, conn }]);
    let welcome = welcome(2, 5);
    assert_eq!(node.handle_dialled(late, link, conn, &welcome), Err(Reason::Closed), "too late");
    let retry = node.poll_timeout();
    assert!(retry > late && retry <= late + node.config().liveness.redial_min);
    node.handle_timeout(retry);
    assert!(matches!(outputs(&mut node)[..], [Output::Dial { conn: next, .. }] if next != conn));
}

fn welcome(node: u32, incarnation: u64) -> Welcome {
    Welcome {
        version: VERSION,
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        features: 0,
        nonce: [0; 32],
        mac: [0; 32],
    }
}

/// [N1, U7, S4] Refusals of a HELLO, each with its reason; none of them changes anything.
#[test]
fn hellos_are_judged() {
    let mut node = open(&[2]);
    outputs(&mut node);
    let mut judge = |hello: Hello| node.judge_hello(T0, &hello);
    assert_eq!(judge(hello(2, 9, 1)), Ok(()));
    assert_eq!(
        judge(Hello { version_min: 2, version_max: 3, ..hello(2, 9, 1) }),
        Err(Reason::UnsupportedVersion)
    );
    assert_eq!(
        judge(Hello { version_min: 0, version_max: 0, ..hello(2, 9, 1) }),
        Err(Reason::UnsupportedVersion)
    );
    assert_eq!(judge(Hello { version_min: 1, version_max: 3, ..hello(2, 9, 1) }), Ok(()));
    assert_eq!(judge(Hello { version_min: 3, version_max: 1, ..hello(2, 9, 1) }), Err(Reason::ProtocolError));
    assert_eq!(judge(Hello { peer: NodeId(2), ..hello(2, 9, 1) }), Err(Reason::WrongNode));
    assert_eq!(judge(hello(0, 9, 1)), Err(Reason::ProtocolError));
    assert_eq!(judge(hello(2, 0, 1)), Err(Reason::ProtocolError));
    assert_eq!(judge(hello(3, 9, 1)), Err(Reason::Refused), "no member");
    assert_eq!(judge(hello(1, 9, 1)), Err(Reason::Refused), "another process with this node's id");
    assert_eq!(judge(hello(1, 77, 1)), Ok(()), "this node itself");
    assert_eq!(outputs(&mut node), []);
    assert_eq!(node.counters().refusals, 8);
}

/// [N1] A WELCOME of the wrong node, version or incarnation is refused, and the dial counts as failed.
#[test]
fn welcomes_are_judged() {
    for (bad, reason) in [
        (welcome(3, 9), Reason::WrongNode),
        (welcome(2, 0), Reason::ProtocolError),
        (Welcome { version: 2, ..welcome(2, 9) }, Reason::UnsupportedVersion),
    ] {
        let mut node = open(&[2]);
        let Some(Output::Dial { link, conn, .. }) = outputs(&mut node).first().cloned() else {
            panic!("no dial")
        };
        assert_eq!(node.handle_dialled(T0, link, conn, &bad), Err(reason));
        assert_eq!(node.link_reason(LinkKey::Dialled(link)), reason);
        assert_eq!(outputs(&mut node), [], "the caller has dropped it");
        assert!(node.poll_timeout() <= T0 + node.config().liveness.redial_min);
        node.handle_lost(T0, LinkKey::Dialled(link), conn, Reason::ConnectionLost);
        assert_eq!(node.counters().losses, 1, "not lost twice");
    }
}

/// [T2] What is said of a connection that another has replaced has no effect.
#[test]
fn stale_connections_are_ignored() {
    let mut node = open(&[2]);
    let Some(Output::Dial { link, conn, .. }) = outputs(&mut node).first().cloned() else {
        panic!("no dial")
    };
    let key = LinkKey::Dialled(link);
    node.handle_lost(T0, key, conn, Reason::DialFailed);
    let retry = node.poll_timeout();
    node.handle_timeout(retry);
    let Some(Output::Dial { conn: newer, .. }) = outputs(&mut node).first().cloned() else {
        panic!("no dial")
    };
    assert_eq!(node.handle_dialled(retry, link, conn, &welcome(2, 9)), Err(Reason::Closed));
    node.handle_lost(retry, key, conn, Reason::ConnectionLost);
    assert_eq!(node.handle_dialled(retry, link, newer, &welcome(2, 9)), Ok(()));
    assert_eq!(node.handle_dialled(retry, link, newer, &welcome(2, 9)), Err(Reason::Closed), "not twice");
    assert_eq!(outputs(&mut node), [Output::Transmit { key, conn: newer }]);
    assert_eq!(node.poll_transmit(key, conn), None);
    assert_eq!(node.handle_frame(retry, key, conn, Frame::Probe), Ok(()), "it is gone already");
    node.handle_lost(retry, key, conn, Reason::ConnectionLost);
    assert!(matches!(node.poll_transmit(key, newer), Some(Frame::Heartbeat(_))));
    assert_eq!(node.handle_frame(retry, key, newer, Frame::Probe), Err(Reason::ProtocolError));
    assert_eq!(node.poll_transmit(key, newer), None);
}

/// [T2] A dialler that has noticed a break before the acceptor replaces the connection there; the old one's end is not taken for the new one's.
#[test]
fn a_new_connection_replaces_the_old() {
    let mut net = Net::pair(1, MS, false);
    net.settle();
    let (key, old) = net.conn(address(2, 1), End::Acceptor);
    let (dialled, serial) = net.conn(address(2, 1), End::Dialler);
    // Only the dialler hears of the break.
    net.with(1, |node, now| node.handle_lost(now, dialled, serial, Reason::ConnectionLost));
    let mark = net.log.len();
    net.run(20 * MS);
    assert!(net.since(mark, 2).any(|(_, output)| *output == Output::Hangup { key, conn: old }));
    let (_, new) = net.conn(address(2, 1), End::Acceptor);
    assert_ne!(old, new);
    net.with(2, |node, now| node.handle_lost(now, key, old, Reason::ConnectionLost));
    assert!(net.is_good(address(2, 1), 1, 2));
}

/// [N2, N4, F9] A peer that restarts while its old links still look alive: they end at once, in order, and nothing of the former one is left.
#[test]
fn a_new_incarnation_ends_the_former() {
    let mut net = Net::pair(2, MS, false);
    net.settle();
    let former = net.node(1).incarnation();
    assert!(net.node(2).lease_until(NodeId(1), former) > net.now);
    // Nothing tells node 2 that node 1 is gone, until the new one says HELLO.
    net.set_mode(address(2, 1), Mode::HoldToAcceptor);
    net.set_mode(address(2, 2), Mode::HoldToAcceptor);
    net.kill(1);
    let (via, spare) = (net.add_address(2, 3, MS), address(2, 2));
    let mark = net.log.len();
    net.open(1, &[(2, &[via, spare])]);
    let fresh = net.node(1).incarnation();
    net.run(100 * MS);
    let told: Vec<&Output> = net.since(mark, 2).map(|(_, output)| output).collect();
    let place = |what: &dyn Fn(&Output) -> bool| told.iter().position(|output| what(output));
    let gone = place(&|output| *output == Output::PeerGone { node: NodeId(1), incarnation: former });
    let hangups = told.iter().filter(|output| matches!(output, Output::Hangup { .. })).count();
    let unreachable = place(&|output| {
        matches!(output, Output::Peer { node: NodeId(1), state: PeerState::Unreachable { .. } })
    });
    let back = place(&|output| {
        *output == Output::Peer { node: NodeId(1), state: PeerState::Reachable { incarnation: fresh } }
    });
    assert!(gone.is_some() && gone < unreachable && unreachable < back, "{told:?}");
    assert_eq!(hangups, 2);
    assert_eq!(net.node(2).lease_until(NodeId(1), former), Time::ZERO);
    assert!(net.node(2).lease_until(NodeId(1), fresh) > net.now);

    // The former one's last words arrive late, and are not taken for another restart.
    net.set_mode(address(2, 1), Mode::Pass);
    let late = Hello { incarnation: former, peer: NodeId(2), ..hello(1, 1, 9) };
    let data = Purpose::Data { port: 1, path: PathId(0), conn: ConnId(1), generation: Generation::default() };
    for purpose in [Purpose::Control, data] {
        let hello = Hello { purpose, ..late.clone() };
        assert_eq!(net.with(2, |node, now| node.judge_hello(now, &hello)), Err(Reason::PeerRestarted));
    }
    assert!(net.is_reachable(2, 1));
    assert_eq!(net.with(2, |node, now| node.judge_hello(now, &Hello { incarnation: fresh, ..late })), Ok(()));
}

/// Polls the heartbeat that waits on a connection and lets the peer answer it.
fn answer(node: &mut Node, now: Time, key: LinkKey, conn: u32) -> u64 {
    let Some(Frame::Heartbeat(probe)) = node.poll_transmit(key, conn) else { panic!("no probe") };
    assert!(probe.reply && node.poll_transmit(key, conn).is_none());
    let beat = Heartbeat { sent: 5, echo: probe.sent, ..Heartbeat::default() };
    node.handle_frame(now, key, conn, Frame::Heartbeat(beat)).unwrap();
    probe.sent
}

/// [N2, F8] Ports and clients hear of a restart also where the new incarnation has made every connection again before it proves itself on one: the links
/// are no better for what the former one said there. Who was told nothing would take a later word of the restart for another restart.
#[test]
fn a_restart_is_told_where_all_links_were_made_again() {
    let mut node = open(&[2]);
    for (at, incarnation) in [(T0, 8), (T0 + 10 * MS, 9)] {
        let links = [1, 2].map(|link| node.handle_accepted(at, &hello(2, incarnation, link)));
        for (key, conn) in links {
            answer(&mut node, at + MS, key, conn);
        }
        let mut told = outputs(&mut node).into_iter().filter_map(|output| match output {
            Output::Peer { state, .. } => Some(state),
            _ => None,
        });
        assert_eq!(told.next_back(), Some(PeerState::Reachable { incarnation: Incarnation(incarnation) }));
        for (key, conn) in links {
            node.handle_lost(at + 2 * MS, key, conn, Reason::ConnectionLost);
        }
    }
}

/// [N2, F9] A connection whose peer has been superseded between judgement and acceptance is hung up.
#[test]
fn an_acceptance_that_was_overtaken_is_hung_up() {
    let mut node = open(&[2]);
    let (key, conn) = node.handle_accepted(T0, &hello(2, 8, 1));
    answer(&mut node, T0 + MS, key, conn);
    let overtaken = hello(2, 8, 2);
    assert_eq!(node.judge_hello(T0 + MS, &overtaken), Ok(()));
    let (fresh, other) = node.handle_accepted(T0 + 2 * MS, &hello(2, 9, 3));
    answer(&mut node, T0 + 3 * MS, fresh, other);
    let told = outputs(&mut node);
    assert!(told.contains(&Output::PeerGone { node: NodeId(2), incarnation: Incarnation(8) }));
    assert!(told.contains(&Output::Hangup { key, conn }));
    let (key, conn) = node.handle_accepted(T0 + 4 * MS, &overtaken);
    assert_eq!(outputs(&mut node), [Output::Hangup { key, conn }]);
    assert_eq!(node.poll_transmit(key, conn), None);
    assert_eq!(node.judge_hello(T0 + 4 * MS, &overtaken), Err(Reason::PeerRestarted));
}

/// [N2] A HELLO may have been under way for longer than its sender lived: until it answers it ends nobody, gets no lease and no message.
#[test]
fn a_hello_alone_ends_nobody() {
    let mut node = open(&[2]);
    let (key, conn) = node.handle_accepted(T0, &hello(2, 9, 1));
    answer(&mut node, T0 + MS, key, conn);
    let lease = node.lease_until(NodeId(2), Incarnation(9));
    outputs(&mut node);
    let mut now = T0 + 2 * MS;
    let (stale, serial) = node.handle_accepted(now, &hello(2, 8, 7));
    let words = NodeBody::Bye {
        session: SessionId { node: NodeId(2), incarnation: Incarnation(8), port: 1 },
        generation: Generation::default(),
        reason: 1,
        side: Side::Source,
    };
    let message = NodeMessage {
        from: NodeId(2),
        from_incarnation: Incarnation(8),
        to: NodeId(1),
        to_incarnation: Incarnation(0),
        body: words,
    };
    for _ in 0..20 {
        assert_eq!(node.handle_frame(now, stale, serial, Frame::NodeMessage(message.clone())), Ok(()));
    }
    assert_eq!(node.counters().messages_dropped, 4, "a few are kept");
    let beat = Heartbeat { sent: 5, reply: true, ..Heartbeat::default() };
    assert_eq!(node.handle_frame(now, stale, serial, Frame::Heartbeat(beat)), Ok(()));
    assert_eq!(outputs(&mut node), [Output::Transmit { key: stale, conn: serial }]);
    assert_eq!(node.peer_state(NodeId(2)), Some(PeerState::Reachable { incarnation: Incarnation(9) }));
    assert_eq!(node.lease_until(NodeId(2), Incarnation(9)), lease);
    assert_eq!(node.lease_until(NodeId(2), Incarnation(8)), Time::ZERO);
    // It never answers, and goes the way of every silent connection.
    while node.poll_timeout() < T0 + node.config().liveness.dead + node.config().liveness.heartbeat {
        now = node.poll_timeout();
        node.handle_timeout(now);
    }
    assert!(outputs(&mut node).contains(&Output::Hangup { key: stale, conn: serial }));
}

/// [N2, F9] Only an answer to what was sent after the known incarnation was adopted proves that another one is newer.
#[test]
fn an_old_answer_is_no_proof() {
    let mut node = open(&[2]);
    let (other, serial) = node.handle_accepted(T0, &hello(2, 8, 2));
    let (key, conn) = node.handle_accepted(T0, &hello(2, 9, 1));
    outputs(&mut node);
    assert_eq!(answer(&mut node, T0 + MS, key, conn), T0.0);
    assert_eq!(node.lease_until(NodeId(2), Incarnation(9)), Time::ZERO, "8 was first, at the same moment");
    assert_eq!(node.link_state(key).health, Health::Dead);
    let session = SessionId { node: NodeId(2), incarnation: Incarnation(9), port: 1 };
    let body = NodeBody::Revoke { session, generation: Generation::default() };
    let message = NodeMessage {
        from: NodeId(2),
        from_incarnation: Incarnation(9),
        to: NodeId(1),
        to_incarnation: Incarnation(0),
        body: body.clone(),
    };
    assert_eq!(node.handle_frame(T0 + MS, key, conn, Frame::NodeMessage(message)), Ok(()));
    outputs(&mut node);
    let probe = T0 + MS + node.config().liveness.heartbeat * 3 / 2;
    node.handle_timeout(probe);
    answer(&mut node, probe + MS, key, conn);
    let told = outputs(&mut node);
    assert!(told.contains(&Output::PeerGone { node: NodeId(2), incarnation: Incarnation(8) }));
    assert!(told.contains(&Output::Hangup { key: other, conn: serial }));
    let message =
        told.iter().position(|output| matches!(output, Output::Message { body: said, .. } if *said == body));
    let lease = told.iter().position(|output| matches!(output, Output::Lease { .. }));
    assert!(message.is_some() && message < lease, "what it said before is told before its lease: {told:?}");
    assert_eq!(node.lease_until(NodeId(2), Incarnation(9)), probe + node.config().liveness.lease);
    assert_eq!(node.link_state(key).health, Health::Good);
}

/// [F9] A dialled link finds the restart by itself, with other links to the former incarnation still up.
#[test]
fn a_restart_is_seen_in_a_welcome() {
    let mut net = Net::pair(2, MS, false);
    net.settle();
    let former = net.node(2).incarnation();
    let stuck = address(2, 2);
    net.set_mode(stuck, Mode::HoldToDialler);
    let mark = net.log.len();
    net.kill(2);
    net.open(2, &[(1, &[])]);
    net.run(300 * MS);
    let fresh = net.node(2).incarnation();
    let gone = Output::PeerGone { node: NodeId(2), incarnation: former };
    assert_eq!(net.since(mark, 1).filter(|(_, output)| **output == gone).count(), 1);
    let stuck_link = net.key(1, stuck, End::Dialler);
    assert!(
        net.since(mark, 1)
            .any(|(_, output)| matches!(output, Output::Hangup { key, .. } if *key == stuck_link))
    );
    assert_eq!(net.node(1).peer_state(NodeId(2)), Some(PeerState::Reachable { incarnation: fresh }));
    net.set_mode(stuck, Mode::Pass);
    net.settle();
    assert!(net.is_good(stuck, 1, 2));
}

/// [N5] A node that is cut off knows that the fault is its own before it gives up the first of the others.
#[test]
fn isolation_is_known_before_any_peer_is_lost() {
    let mut net = Net::new(Liveness::default());
    let addresses = [2, 3].map(|node| net.add_address(node, 1, MS));
    net.open(2, &[(1, &[])]);
    net.open(3, &[(1, &[])]);
    net.open(1, &[(2, &addresses[..1]), (3, &addresses[1..])]);
    net.settle();
    // As when the last heartbeats of the two came at different times.
    net.set_mode(addresses[0], Mode::Hold);
    net.run(net.liveness.heartbeat);
    net.set_mode(addresses[1], Mode::Hold);
    let end = net.now + 2 * net.liveness.dead;
    let lost =
        |net: &Net, node| matches!(net.node(1).peer_state(NodeId(node)), Some(PeerState::Unreachable { .. }));
    while net.now < end && !lost(&net, 2) && !lost(&net, 3) {
        net.run(MS);
    }
    assert!(net.now < end, "nobody was given up");
    assert!(net.node(1).isolated());
}

/// [N2, N5] Unreachable is said only when the last link is dead, with the time of the last contact; no member reachable is told apart.
#[test]
fn unreachable_and_isolated() {
    let mut net = Net::new(Liveness::default());
    let (two, three) = (net.add_address(2, 1, MS), net.add_address(3, 1, MS));
    net.open(2, &[(1, &[])]);
    net.open(3, &[(1, &[])]);
    net.open(1, &[(2, &[two]), (3, &[three])]);
    assert!(net.node(1).isolated());
    assert_eq!(net.node(1).peer_state(NodeId(2)), None);
    net.settle();
    assert!(!net.node(1).isolated());
    let mark = net.log.len();
    let at = net.now;
    net.set_mode(two, Mode::Hold);
    net.run(Duration::from_secs(3));
    let Some(PeerState::Unreachable { last_heard }) = net.node(1).peer_state(NodeId(2)) else {
        panic!("reachable")
    };
    assert!(last_heard <= at && at.since(last_heard) <= net.liveness.heartbeat);
    assert!(!net.node(1).isolated());
    net.set_mode(three, Mode::Hold);
    net.run(Duration::from_secs(3));
    assert!(net.node(1).isolated());
    net.set_mode(three, Mode::Pass);
    net.settle();
    assert!(!net.node(1).isolated());
    let isolated: Vec<bool> = net
        .since(mark, 1)
        .filter_map(|(_, output)| match output {
            Output::Isolated(isolated) => Some(*isolated),
            _ => None,
        })
        .collect();
    assert_eq!(isolated, [true, false]);
    let memberships: Vec<u64> = net.since(0, 1).filter_map(|(_, output)| membership(output)).collect();
    assert!(memberships.is_sorted() && memberships.len() == 5, "{memberships:?}");
}

/// [T5] A path's link is shared: the same address pair is the same link, counted, and a member's link outlives its paths.
#[test]
fn links_are_shared_and_counted() {
    let mut node = open(&[2]);
    outputs(&mut node);
    let member = node.watch(T0, NodeId(2), None, address(2, 1));
    assert_eq!(outputs(&mut node), [], "the member list has it already");
    node.unwatch(T0, member);
    node.unwatch(T0, member);
    assert_eq!(outputs(&mut node), []);

    let first = node.watch(T0, NodeId(2), None, address(2, 2));
    assert_ne!(first, member);
    let Some(Output::Dial { conn, .. }) = node.poll_output() else { panic!("no dial") };
    assert_eq!(node.watch(T0, NodeId(2), None, address(2, 2)), first);
    assert_ne!(node.watch(T0, NodeId(2), Some("10.1.0.1".parse().unwrap()), address(2, 2)), first);
    outputs(&mut node);
    node.unwatch(T0, first);
    assert_eq!(outputs(&mut node), []);
    node.unwatch(T0, first);
    assert_eq!(outputs(&mut node), [Output::Hangup { key: LinkKey::Dialled(first), conn }]);
    assert_eq!(node.link_state(LinkKey::Dialled(first)).health, Health::Dead);
    node.unwatch(T0, first);
    node.unwatch(T0, LinkId(99));
    assert_ne!(node.watch(T0, NodeId(2), None, address(2, 2)), first, "a number names one link for ever");
}

/// [N1] A port may be connected to its own node: that link works like any other.
#[test]
fn a_node_may_watch_itself() {
    let mut net = Net::new(Liveness::default());
    let at = net.add_address(1, 1, MS);
    net.open(1, &[]);
    let link = net.with(1, |node, now| node.watch(now, NodeId(1), None, at));
    net.settle();
    assert_eq!(net.node(1).link_state(LinkKey::Dialled(link)).health, Health::Good);
    let incarnation = net.node(1).incarnation();
    assert!(net.node(1).lease_until(NodeId(1), incarnation) > net.now);
    assert!(!net.node(1).isolated());
    assert!(
        net.since(0, 1).all(|(_, output)| !matches!(output, Output::Cluster(_) | Output::PeerGone { .. }))
    );
}

/// [S4] A peer can not make a node keep any number of links.
#[test]
fn accepted_links_are_bounded() {
    let mut node = open(&[2]);
    outputs(&mut node);
    let mut first = None;
    for link in 1..=256 {
        assert_eq!(node.judge_hello(T0, &hello(2, 9, link)), Ok(()));
        first.get_or_insert(node.handle_accepted(T0, &hello(2, 9, link)));
    }
    outputs(&mut node);
    assert_eq!(node.judge_hello(T0, &hello(2, 9, 300)), Err(Reason::Limit));
    assert_eq!(node.judge_hello(T0, &hello(2, 9, 256)), Ok(()), "one that is there may be made again");
    let (key, conn) = node.handle_accepted(T0, &hello(2, 9, 300));
    assert_eq!(outputs(&mut node), [Output::Hangup { key, conn }]);
    let (key, conn) = first.unwrap();
    node.handle_lost(T0, key, conn, Reason::ConnectionLost);
    assert_eq!(node.judge_hello(T0, &hello(2, 9, 300)), Ok(()));
}

/// [T4] When a peer is heard again on one link, the others do not sit out their waits.
#[test]
fn the_other_links_hasten_when_a_peer_is_back() {
    let mut net = Net::pair(4, MS, false);
    net.settle();
    for index in 1..=4 {
        net.set_mode(address(2, index), Mode::Refuse);
        net.break_conns(address(2, index));
    }
    net.run(Duration::from_secs(300));
    assert!(!net.is_reachable(1, 2));
    for index in 1..=4 {
        net.set_mode(address(2, index), Mode::Pass);
    }
    net.run_until("reachable", net.liveness.redial_max, |net| net.is_reachable(1, 2));
    net.run(net.liveness.redial_min + 10 * MS);
    assert!((1..=4).all(|index| net.is_good(address(2, index), 1, 2)));
}
