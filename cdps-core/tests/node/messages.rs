//! Node messages: by which link they go, what bounds them, and which are believed.

use cdps_core::cluster::Health;
use cdps_core::id::{Generation, Incarnation, NodeId, SessionId, Side, Sn};
use cdps_core::node::Output;
use cdps_core::reason::Reason;
use cdps_core::time::Duration;
use cdps_core::wire::{Connect, Frame, NodeBody, NodeMessage};

use crate::net::{End, MS, Mode, Net, address};

const SECOND: Duration = Duration::from_secs(1);

fn settled(links: u8) -> Net {
    let mut net = Net::pair(links, MS, false);
    net.settle();
    net
}

fn connect(net: &Net, node: u32, port: u32) -> NodeBody {
    NodeBody::Connect(Connect {
        session: SessionId { node: NodeId(node), incarnation: net.node(node).incarnation(), port },
        generation: Generation { role_epoch: 0, counter: 1 },
        version: 1,
        flags: 0,
        paths: 4,
        features: 0,
        window: 1 << 20,
        high_window: 0,
        max_message: 1 << 20,
        max_streams: 16,
        session_timeout_ms: 10_000,
        first: Sn(1),
        client: "mirror".into(),
    })
}

/// Lets node 1 tell all of them before its driver does anything.
fn tell_all(net: &mut Net, to: u32, bodies: Vec<NodeBody>) {
    net.with(1, |node, now| {
        for body in bodies {
            node.tell(now, NodeId(to), body, false);
        }
    });
}

/// Over which addresses a node has sent messages since a mark.
fn used(net: &Net, mark: usize, node: u32) -> Vec<String> {
    let messages =
        net.sent[mark..].iter().filter(|e| e.1 == NodeId(node) && matches!(e.3, Frame::NodeMessage(_)));
    messages.map(|entry| entry.2.to_string()).collect()
}

/// [N2] A message takes the healthiest link, of these the fastest, whichever end dialled it; or all that are alive.
#[test]
fn a_message_takes_the_best_link() {
    let mut net = Net::pair(3, 10 * MS, true);
    net.set_latency(address(2, 2), 3 * MS);
    net.set_latency(address(1, 3), MS);
    net.run(20 * SECOND);
    let body = connect(&net, 1, 1);
    let tell = |net: &mut Net, all| {
        let mark = net.sent.len();
        let body = body.clone();
        net.with(1, |node, now| node.tell(now, NodeId(2), body, all));
        used(net, mark, 1)
    };
    assert_eq!(tell(&mut net, false), [address(1, 3).to_string()], "accepted, and fastest");
    net.set_mode(address(1, 3), Mode::Hold);
    net.run(800 * MS);
    assert_eq!(tell(&mut net, false), [address(2, 2).to_string()], "the other is suspect");
    assert_eq!(tell(&mut net, true).len(), 6);
    net.run(2 * SECOND);
    assert_eq!(tell(&mut net, true).len(), 5, "now it is dead");
    net.run(SECOND);
    let got = net.messages(0, 2);
    assert_eq!(got.len(), 2 + 5 + 5, "what was held is lost with its connection");
    assert!(got.iter().all(|message| *message == body));
}

/// [N2, T2] An answer goes back where the question came from, though another link is faster: it may be lost there without a trace here, and who asks
/// finds another way first. Unless that link is in doubt here.
#[test]
fn an_answer_goes_back_where_the_question_came_from() {
    let mut net = Net::pair(2, 10 * MS, false);
    net.set_latency(address(2, 2), 3 * MS);
    net.run(20 * SECOND);
    let (fast, slow) = (address(2, 2), address(2, 1));
    let question = connect(&net, 1, 1);
    let NodeBody::Connect(Connect { session, generation, .. }) = question else { panic!("no question") };
    let answer = NodeBody::Released { session, generation };
    let tell = |net: &mut Net, from: u32, to: u32, body: &NodeBody| {
        let mark = net.sent.len();
        net.with(from, |node, now| node.tell(now, NodeId(to), body.clone(), false));
        let used = used(net, mark, from);
        net.run(30 * MS);
        used
    };
    // Node 1 does not hear node 2 on the fast link any more, and node 2 does not know.
    net.set_mode(fast, Mode::HoldToDialler);
    assert_eq!(tell(&mut net, 2, 1, &answer), [fast.to_string()], "nothing was asked");
    while net.health(1, fast, End::Dialler) == Health::Good {
        net.run(MS);
    }
    assert_eq!(tell(&mut net, 1, 2, &question), [slow.to_string()]);
    assert_eq!(net.health(2, fast, End::Acceptor), Health::Good);
    assert_eq!(tell(&mut net, 2, 1, &answer), [slow.to_string()]);
    let other = connect(&net, 2, 1);
    assert_eq!(tell(&mut net, 2, 1, &other), [fast.to_string()], "that is no answer");
    net.set_mode(fast, Mode::Pass);
    net.set_mode(slow, Mode::Hold);
    net.run(800 * MS);
    assert_eq!(tell(&mut net, 2, 1, &answer), [fast.to_string()], "the other is suspect");
}

/// [N2] A link that has proved nothing yet is better than none.
#[test]
fn a_message_may_go_at_the_handshake() {
    let mut net = Net::pair(1, 10 * MS, false);
    net.run(20 * MS);
    assert!(!net.is_reachable(1, 2));
    let body = connect(&net, 1, 1);
    net.with(1, |node, now| node.tell(now, NodeId(2), body, false));
    net.run(10 * MS);
    assert_eq!(net.messages(0, 2).len(), 1);
}

/// [N2] Without any connection a message is dropped and counted; a node reaches itself without one.
#[test]
fn without_a_connection_messages_are_dropped() {
    let mut net = settled(1);
    net.kill(2);
    net.run(SECOND);
    let body = connect(&net, 1, 1);
    let mark = net.log.len();
    net.with(1, |node, now| {
        node.tell(now, NodeId(2), body.clone(), false);
        node.tell(now, NodeId(9), body.clone(), true);
        node.tell(now, NodeId(1), body.clone(), true);
    });
    assert_eq!(net.node(1).counters().messages_dropped, 2);
    assert_eq!(net.messages(mark, 1), [body]);
}

/// [N2, S4] A connection that is not polled keeps the newest 64 messages; a node that is not drained keeps the oldest 1024.
#[test]
fn queues_are_bounded() {
    let mut net = settled(1);
    let bodies: Vec<NodeBody> = (1..=100).map(|port| connect(&net, 1, port)).collect();
    let all = bodies.clone();
    tell_all(&mut net, 2, all);
    assert_eq!(net.node(1).counters().messages_dropped, 36);
    net.run(10 * MS);
    assert_eq!(net.messages(0, 2), bodies[36..]);

    let mark = net.log.len();
    let body = bodies[0].clone();
    tell_all(&mut net, 1, vec![body.clone(); 2000]);
    assert_eq!(net.messages(mark, 1).len(), 1024);
    assert_eq!(net.node(1).counters().messages_dropped, 36 + 976);
    let mark = net.log.len();
    net.with(1, |node, now| node.tell(now, NodeId(1), body, false));
    assert_eq!(net.messages(mark, 1).len(), 1, "there is room again");
}

/// [S4] A peer speaks for itself, of its own sessions and of those that it answers; anything else ends the connection.
#[test]
fn messages_that_claim_too_much_are_refused() {
    let sessions =
        |node: u32, incarnation: Incarnation| SessionId { node: NodeId(node), incarnation, port: 1 };
    let generation = Generation::default();
    let (mine, theirs) = (Incarnation(2001), Incarnation(1001));
    let bye = |session, side| NodeBody::Bye { session, generation, reason: 1, side };
    let ok = Ok(());
    let refused = Err(Reason::ProtocolError);
    for (session, side, expected, arrives) in [
        (sessions(1, theirs), Side::Source, ok, 1),
        (sessions(2, mine), Side::Target, ok, 1),
        (sessions(1, theirs), Side::Target, refused, 0),
        (sessions(2, mine), Side::Source, refused, 0),
        (sessions(3, theirs), Side::Source, refused, 0),
        // Of former incarnations: late, no crime.
        (sessions(1, Incarnation(5)), Side::Source, ok, 0),
        (sessions(2, Incarnation(5)), Side::Target, ok, 0),
    ] {
        let mut net = settled(1);
        let (key, conn) = net.conn(address(2, 1), End::Acceptor);
        let message = NodeMessage {
            from: NodeId(1),
            from_incarnation: theirs,
            to: NodeId(2),
            to_incarnation: mine,
            body: bye(session, side),
        };
        let verdict =
            net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::NodeMessage(message.clone())));
        assert_eq!((verdict, net.messages(0, 2).len()), (expected, arrives), "{message:?}");
    }
    for (change, expected) in [
        ((|m: &mut NodeMessage| m.from = NodeId(3)) as fn(&mut NodeMessage), refused),
        (|m: &mut NodeMessage| m.from_incarnation = Incarnation(5), refused),
        (|m: &mut NodeMessage| m.to = NodeId(1), refused),
        (|m: &mut NodeMessage| m.to_incarnation = Incarnation(5), ok),
    ] {
        let mut net = settled(1);
        let (key, conn) = net.conn(address(2, 1), End::Acceptor);
        let mut message = NodeMessage {
            from: NodeId(1),
            from_incarnation: theirs,
            to: NodeId(2),
            to_incarnation: Incarnation(0),
            body: bye(sessions(1, theirs), Side::Source),
        };
        change(&mut message);
        let verdict = net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::NodeMessage(message)));
        assert_eq!((verdict, net.messages(0, 2).len()), (expected, 0));
    }
}

/// [L3] A CONNECT that asks for what is not served is no crime: it is handed out to be refused, and the connection goes on.
#[test]
fn a_connect_with_unknown_flags_is_handed_out() {
    let mut net = settled(1);
    let (key, conn) = net.conn(address(2, 1), End::Acceptor);
    let mut body = connect(&net, 1, 1);
    if let NodeBody::Connect(connect) = &mut body {
        connect.flags = 1 << 15;
    }
    let faults = net.node(2).counters().faults;
    let message = NodeMessage {
        from: NodeId(1),
        from_incarnation: net.node(1).incarnation(),
        to: NodeId(2),
        to_incarnation: net.node(2).incarnation(),
        body: body.clone(),
    };
    let verdict = net.with(2, |node, now| node.handle_frame(now, key, conn, Frame::NodeMessage(message)));
    assert_eq!((verdict, net.messages(0, 2)), (Ok(()), vec![body]));
    assert_eq!(net.node(2).counters().faults, faults);
    assert_eq!(net.conn(address(2, 1), End::Acceptor), (key, conn), "the connection is the same");
}

/// [T5] The driver is told once that there is something to write, until it has polled everything.
#[test]
fn the_driver_is_told_once() {
    let mut net = settled(1);
    let (key, conn) = net.conn(address(2, 1), End::Dialler);
    let mark = net.log.len();
    let bodies: Vec<NodeBody> = (1..=10).map(|port| connect(&net, 1, port)).collect();
    tell_all(&mut net, 2, bodies);
    let told = net.since(mark, 1).filter(|(_, output)| **output == Output::Transmit { key, conn }).count();
    assert_eq!(told, 1);
}
