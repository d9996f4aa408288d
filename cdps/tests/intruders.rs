//! [S4] Any bytes on a listening socket end in a closed connection and a counted, rate-limited log line, and disturb nobody else.

mod cluster;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cdps::{AckModel, Level, Log, Member, NodeId, NodeStats, SendError};
use cdps_core::id::{ConnId, Generation, Incarnation, LinkId, PathId, SessionId, Sn};
use cdps_core::reason::Reason;
use cdps_core::wire::{
    self, Checksum, Connect, Decoder, Frame, Heartbeat, Hello, NodeBody, NodeMessage, Purpose, Step,
    encode_frame,
};
use cluster::*;

fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    let mut digest =
        crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, u64::from(!state));
    digest.update(bytes);
    digest.finalize() as u32
}

const SUM: Checksum = Checksum(Some(crc32c));

/// A session that must not notice anything, and the address of its target's listener.
struct Victim {
    pair: Pair,
    at: SocketAddr,
    sent: u64,
    lines: Arc<Lines>,
}

impl Victim {
    fn new() -> Victim {
        let lines = Arc::new(Lines::default());
        let mut options = options(2);
        options.listen = addresses(1).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        options.members = [1, 9].map(|id| Member { node: NodeId(id), addresses: Vec::new() }).to_vec();
        options.log = Log::new(Level::Warn, lines.clone());
        options.liveness.handshake_timeout = Duration::from_millis(700);
        let pair = Pair::on(open(options), 1, |_| (), |_| (), User::new(), User::acking);
        let at = pair.target.listening()[0];
        Victim { pair, at, sent: 0, lines }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).expect("connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("takes a timeout");
        stream
    }

    /// The connection is closed by the node; gives what it said before.
    fn is_closed(&self, mut stream: TcpStream) -> Vec<u8> {
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
        said
    }

    /// The session works, on the connection that it had.
    fn is_well(&mut self) {
        for _ in 0..20 {
            send(&self.pair.port, &pattern(5000, self.sent), self.sent).expect("is accepted");
            self.sent += 1;
        }
        assert_eq!(self.pair.user.wait_ends(self.sent as usize).len(), self.sent as usize);
        let stats = self.pair.port.stats();
        assert_eq!((stats.retransmitted, stats.suspicions), (0, 0), "the session was disturbed");
        assert_eq!(self.pair.host.requests().len(), 1);
    }

    fn wait_stats(&self, what: &str, enough: impl Fn(&NodeStats) -> bool) -> NodeStats {
        let start = Instant::now();
        loop {
            let stats = self.pair.target.stats();
            if enough(&stats) {
                return stats;
            }
            assert!(start.elapsed() < DEADLINE, "{what}: {stats:?}");
            std::thread::yield_now();
        }
    }

    fn hello(&self, purpose: Purpose) -> Hello {
        Hello {
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            features: 0,
            node: NodeId(9),
            peer: NodeId(2),
            incarnation: Incarnation(77),
            link: LinkId(1),
            nonce: [5; 32],
            purpose,
        }
    }
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(frame, SUM, &mut out);
    out
}

fn next_frame(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<Frame> {
    loop {
        match Decoder::new(SUM).step(input).expect("the node speaks the protocol") {
            Step::Frame { frame, consumed } => {
                input.drain(..consumed);
                return Some(frame);
            }
            Step::Need(_) => {}
            other => panic!("{other:?}"),
        }
        let mut more = [0; 512];
        match stream.read(&mut more) {
            Ok(n) if n > 0 => input.extend_from_slice(&more[..n]),
            _ => return None,
        }
    }
}

fn a_connect() -> Connect {
    Connect {
        session: SessionId::default(),
        generation: Generation { role_epoch: 0, counter: 1 },
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
        client: "nobody".into(),
    }
}

fn refusal(said: &[u8]) -> Option<Reason> {
    match Decoder::new(SUM).step(said) {
        Ok(Step::Frame { frame: Frame::Refuse(refuse), .. }) => Reason::from_number(refuse.reason),
        _ => None,
    }
}

/// [S4] Wrong magic, wrong version, wrong node, strangers, damaged frames, oversized lengths, frames out of place, noise.
#[test]
fn bad_first_words() {
    let mut victim = Victim::new();
    let good = victim.hello(Purpose::Control);
    let encoded = bytes(&Frame::Hello(good.clone()));
    let mut cases: Vec<(&str, Vec<u8>, Option<Reason>)> = Vec::new();
    let mut change = |what, change: &dyn Fn(&mut Hello), reason| {
        let mut hello = good.clone();
        change(&mut hello);
        cases.push((what, bytes(&Frame::Hello(hello)), reason));
    };
    change("wrong version", &|h| (h.version_min, h.version_max) = (2, 3), Some(Reason::UnsupportedVersion));
    change("wrong node", &|h| h.peer = NodeId(3), Some(Reason::WrongNode));
    change("a stranger", &|h| h.node = NodeId(55), Some(Reason::Refused));
    let data = Purpose::Data { port: 1, path: PathId(0), conn: ConnId(1), generation: Generation::default() };
    change("an unknown session", &|h| h.purpose = data, Some(Reason::UnknownSession));
    let mut magic = encoded.clone();
    magic[16] ^= 1;
    let crc = crc32c(crc32c(0, &magic[..12]), &magic[16..]);
    magic[12..16].copy_from_slice(&crc.to_le_bytes());
    cases.push(("wrong magic", magic, None));
    let mut damaged = encoded.clone();
    damaged[40] ^= 1;
    cases.push(("a damaged HELLO", damaged, None));
    for (at, what) in [(2, "a long head"), (4, "a long body"), (6, "an enormous body")] {
        let mut long = encoded.clone();
        long[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        cases.push((what, long, None));
    }
    cases.push(("an unknown type", vec![0x99; 64], None));
    cases.push(("HTTP", b"GET / HTTP/1.1\r\nHost: example\r\n\r\n".to_vec(), None));
    cases.push(("a frame that is not HELLO", bytes(&Frame::Probe), None));
    cases.push(("READY first", bytes(&Frame::Ready), None));
    cases.extend((0..40).map(|seed| ("noise", pattern(4000, seed), None)));
    let count = cases.len() as u64;
    for (what, bytes, reason) in cases {
        let mut stream = victim.dial();
        // The node may be faster to hang up than we are to write.
        let _ = stream.write_all(&bytes);
        assert_eq!(refusal(&victim.is_closed(stream)), reason, "{what}");
    }
    let stats = victim.wait_stats("counted", |s| s.handshakes_failed >= count);
    assert_eq!(stats.handshakes_failed, count);
    assert!((victim.lines.all().len() as u64) < count, "log lines are limited");
    assert!(stats.log_suppressed > 0 && !victim.lines.all().is_empty());
    victim.is_well();
    victim.pair.end();
}

/// [S4] Connections that never speak, or stop in the middle, are closed after the handshake timeout, and do not keep others out for ever.
#[test]
fn silence() {
    let mut victim = Victim::new();
    let encoded = bytes(&Frame::Hello(victim.hello(Purpose::Control)));
    let silent: Vec<TcpStream> = (0..300)
        .map(|i| {
            let mut stream = victim.dial();
            let _ = stream.write_all(&encoded[..i % encoded.len()]);
            stream
        })
        .collect();
    victim.is_well();
    for stream in silent {
        victim.is_closed(stream);
    }
    let stats = victim.wait_stats("all gone", |s| s.handshaking == 0 && s.handshakes_failed >= 300);
    assert_eq!(stats.handshakes_failed, 300);
    victim.is_well();
    victim.pair.end();
}

/// [S4] [L3] A connection that knows the session but not its secret is refused, and the session's own path stays.
#[test]
fn wrong_proof() {
    let mut victim = Victim::new();
    victim.is_well();
    let purpose = Purpose::Data {
        port: victim.pair.port.session().port,
        path: PathId(0),
        conn: ConnId(1000),
        generation: victim.pair.port.generation(),
    };
    let hello =
        Hello { node: NodeId(1), incarnation: victim.pair.source.incarnation(), ..victim.hello(purpose) };
    let mut stream = victim.dial();
    stream.write_all(&bytes(&Frame::Hello(hello))).expect("writes");
    let mut input = Vec::new();
    assert!(matches!(next_frame(&mut stream, &mut input), Some(Frame::Welcome(_))));
    stream.write_all(&bytes(&Frame::Proof { mac: [1; 32] })).expect("writes");
    let answer = next_frame(&mut stream, &mut input);
    assert!(matches!(&answer, Some(Frame::Refuse(r)) if r.reason == Reason::BadProof as u16), "{answer:?}");
    victim.is_closed(stream);
    victim.is_well();
    victim.pair.end();
}

/// [S4] Garbage behind a good handshake of a control connection ends that connection alone.
#[test]
fn garbage_after_the_handshake() {
    let mut victim = Victim::new();
    let hello = bytes(&Frame::Hello(victim.hello(Purpose::Control)));
    let endings =
        [pattern(3000, 1), bytes(&Frame::Ready), bytes(&Frame::Probe), vec![0x20; 200], vec![0x11; 100_000]];
    let count = endings.len() as u64;
    for garbage in endings {
        let mut stream = victim.dial();
        stream.write_all(&hello).expect("writes");
        assert!(matches!(next_frame(&mut stream, &mut Vec::new()), Some(Frame::Welcome(_))));
        let _ = stream.write_all(&garbage);
        victim.is_closed(stream);
    }
    victim.wait_stats("counted", |s| s.protocol_errors + s.checksum_errors >= count);
    victim.is_well();
    victim.pair.end();
}

/// [L3] [L4] [S4] A CONNECT that asks for a reserved feature is refused in words, and its control connection goes on: it may carry other sessions.
#[test]
fn a_reserved_feature_is_refused_politely() {
    let mut victim = Victim::new();
    let me = victim.hello(Purpose::Control);
    let mut stream = victim.dial();
    stream.write_all(&bytes(&Frame::Hello(me.clone()))).expect("writes");
    let mut input = Vec::new();
    let welcome = next_frame(&mut stream, &mut input);
    assert!(matches!(welcome, Some(Frame::Welcome(_))), "{welcome:?}");
    let mut ask = |port: u32, flags: u16| {
        let session = SessionId { node: me.node, incarnation: me.incarnation, port };
        let connect = Connect { session, flags, ..a_connect() };
        let body = NodeBody::Connect(connect);
        let message = NodeMessage {
            from: me.node,
            from_incarnation: me.incarnation,
            to: me.peer,
            to_incarnation: Incarnation(0),
            body,
        };
        stream.write_all(&bytes(&Frame::NodeMessage(message))).expect("writes");
        loop {
            match next_frame(&mut stream, &mut input).expect("the connection goes on") {
                Frame::NodeMessage(NodeMessage { body: NodeBody::Answer(answer), .. }) => {
                    assert_eq!(answer.session, session);
                    return Reason::from_number(answer.reason).expect("a known reason");
                }
                Frame::Heartbeat(beat) if beat.reply => {
                    let answer =
                        Heartbeat { reply: false, sent: beat.sent, echo: beat.sent, count: 1, ..beat };
                    stream.write_all(&bytes(&Frame::Heartbeat(answer))).expect("writes");
                }
                Frame::Heartbeat(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let known = wire::connect::EXCLUSIVE | wire::connect::RESET;
    for bit in (0..16_u16).filter(|bit| (1 << bit) & known == 0) {
        assert_eq!(ask(1 + u32::from(bit), 1_u16 << bit), Reason::UnsupportedFeature, "flag {bit}");
    }
    assert_eq!(ask(20, 0), Reason::NoSuchClient, "the same connection, and a request as it should be");
    assert_eq!(victim.pair.target.stats().protocol_errors, 0);
    victim.is_well();
    victim.pair.end();
}

/// [M8] [T2] Damage on a data connection is found by its checksum: the connection is dropped, and every message arrives all the same.
#[test]
fn damage_on_a_path() {
    let target = open_listener(2, 1, &[1]);
    let relay = relay::Relay::to(target.listening()[0]);
    let mut options = options(1);
    options.members = vec![Member { node: NodeId(2), addresses: vec![relay.address] }];
    let source = open(options);
    let host = Host::new(Default::default(), User::acking);
    target.register("copy", host.clone()).expect("registers");
    let user = User::new();
    let config = cdps::PortConfig { ack: AckModel::Synchronous, ..source_config(&[&target]) };
    let port = connected(&source, config, &user);
    for round in 0..5u64 {
        relay.damage();
        for i in 0..100 {
            let context = round * 100 + i;
            match send(&port, &pattern(30_000, context), context) {
                Ok(_) => {}
                Err(SendError::Down) => panic!("the session went down"),
                Err(error) => panic!("{error}"),
            }
        }
        let done = user.wait_ends((round as usize + 1) * 100).len();
        assert_eq!(
            done,
            (round as usize + 1) * 100,
            "{:?}",
            user.seen().iter().rev().take(5).collect::<Vec<_>>()
        );
    }
    let got = host.session(0).1.wait_received(500);
    check_order(got.iter());
    assert!(
        got.iter().enumerate().all(|(i, g)| g.data == pattern(30_000, i as u64)),
        "nothing corrupt is delivered"
    );
    let errors = |s: NodeStats| s.checksum_errors + s.protocol_errors;
    assert!(errors(target.stats()) + errors(source.stats()) >= 1);
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}
