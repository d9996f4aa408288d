//! Known answers: bytes written down from docs/protocol.md field by field, with checksums from a bitwise CRC-32C of its own.
//!
//! These are the same for every implementation of the protocol. A change here is another protocol.

use std::net::SocketAddr;

use cdps_core::config::PathClass;
use cdps_core::id::{
    ConnId, Generation, Incarnation, LinkId, NodeId, PathId, SessionId, Side, Sn, Ssn, StreamId,
};
use cdps_core::secret::Secret;
use cdps_core::wire::{
    self, Answer, CompletionRecord, Completions, Connect, FragmentHead, Frame, Heartbeat, Hello,
    LedgerRecord, NodeBody, NodeMessage, Opinion, PathRecord, PathStatus, Purpose, Receipt, Refuse, ResetAck,
    Skip, Welcome, item,
};

use crate::frames::{CRC, Receiver, Sent, SentItem, crc};

/// Bytes from hex; what follows a `;` on a line is a comment.
fn hex(text: &str) -> Vec<u8> {
    text.lines()
        .flat_map(|line| line.split(';').next().unwrap_or("").split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits"))
        .collect()
}

/// Encodes to these bytes, and back.
fn check(sent: Sent, text: &str) {
    let bytes = hex(text);
    assert_eq!(sent.encode(CRC), bytes, "{sent:?}");
    let mut receiver = Receiver::new(CRC);
    receiver.push(&bytes);
    assert_eq!(receiver.error, None);
    assert_eq!(receiver.got, [sent.arrives()]);
}

fn array<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|i| first + i as u8)
}

const SESSION: SessionId =
    SessionId { node: NodeId(7), incarnation: Incarnation(0x1122334455667788), port: 5 };
const GENERATION: Generation = Generation { role_epoch: 0x0a, counter: 0x0b };

#[test]
fn the_checksum_is_the_one_of_the_document() {
    assert_eq!(crc(0, b"123456789"), 0xe306_9283);
    assert_eq!(crc(crc(0, b"1234"), b"56789"), 0xe306_9283);
    assert_eq!(crc(0, b""), 0);
}

/// [L3] First frame of a data connection.
#[test]
fn hello() {
    let hello = Hello {
        version_min: 1,
        version_max: 1,
        features: 1,
        node: NodeId(7),
        peer: NodeId(9),
        incarnation: Incarnation(0x1122334455667788),
        link: LinkId(3),
        nonce: array(0x20),
        purpose: Purpose::Data { port: 5, path: PathId(2), conn: ConnId(4), generation: GENERATION },
    };
    check(
        Sent::Frame(Frame::Hello(hello)),
        "01 00 70 00 00 00 00 00            ; type, flags, head_len, body_len
         00 00 00 00 9e ed ae ba            ; body_crc, head_crc
         43 44 50 53 0d 0a 1a 00            ; magic
         01 00 01 00 01 00 00 00            ; version_min, version_max, purpose, 0
         01 00 00 00 00 00 00 00            ; features
         07 00 00 00 09 00 00 00            ; node, node meant
         88 77 66 55 44 33 22 11            ; incarnation
         03 00 00 00 05 00 00 00            ; link, port
         20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f
         30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f
         02 00 00 00 04 00 00 00            ; path, 0, conn
         0a 00 00 00 00 00 00 00            ; role epoch
         0b 00 00 00 00 00 00 00            ; counter
         00 00 00 00 00 00 00 00",
    );
}

/// Control connections leave the fields of a data connection 0.
#[test]
fn hello_control() {
    let hello = Hello {
        version_min: 1,
        version_max: 2,
        features: 0,
        node: NodeId(7),
        peer: NodeId(9),
        incarnation: Incarnation(1),
        link: LinkId(3),
        nonce: [0; 32],
        purpose: Purpose::Control,
    };
    check(
        Sent::Frame(Frame::Hello(hello)),
        "01 00 70 00 00 00 00 00 00 00 00 00 e2 30 b6 95
         43 44 50 53 0d 0a 1a 00
         01 00 02 00 00 00 00 00
         00 00 00 00 00 00 00 00
         07 00 00 00 09 00 00 00
         01 00 00 00 00 00 00 00
         03 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00
         00 00 00 00 00 00 00 00",
    );
}

/// [L3] The acceptor's answer, with its proof.
#[test]
fn welcome_proof_ready() {
    let welcome = Welcome {
        version: 1,
        node: NodeId(9),
        incarnation: Incarnation(0x0102030405060708),
        features: 1,
        nonce: array(0x40),
        mac: array(0x80),
    };
    check(
        Sent::Frame(Frame::Welcome(welcome)),
        "02 00 60 00 00 00 00 00 00 00 00 00 84 20 23 0a
         01 00 00 00 09 00 00 00            ; version, 0, node
         08 07 06 05 04 03 02 01            ; incarnation
         01 00 00 00 00 00 00 00            ; features
         00 00 00 00 00 00 00 00
         40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f
         50 51 52 53 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f
         80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f
         90 91 92 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f",
    );
    check(
        Sent::Frame(Frame::Proof { mac: array(0x80) }),
        "03 00 20 00 00 00 00 00 00 00 00 00 98 17 29 80
         80 81 82 83 84 85 86 87 88 89 8a 8b 8c 8d 8e 8f
         90 91 92 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f",
    );
    check(Sent::Frame(Frame::Ready), "04 00 00 00 00 00 00 00 00 00 00 00 9d e5 a7 ee");
}

#[test]
fn refuse() {
    let refuse = Refuse { reason: 10, version_min: 1, version_max: 1, text: "né".into() };
    check(
        Sent::Frame(Frame::Refuse(refuse)),
        "05 00 08 00 03 00 00 00 6b ea 6f 45 0a 6f f2 1a
         0a 00 01 00 01 00 00 00
         6e c3 a9",
    );
}

/// [T5] A probe of a link.
#[test]
fn heartbeat() {
    let heartbeat = Heartbeat {
        reply: true,
        sent: 0x0102030405060708,
        echo: 0x1112131415161718,
        held: 0x2122232425262728,
        count: 6,
        heard: 5,
    };
    check(
        Sent::Frame(Frame::Heartbeat(heartbeat)),
        "10 01 28 00 00 00 00 00            ; flags: REPLY
         00 00 00 00 97 42 d3 f7
         08 07 06 05 04 03 02 01            ; sent
         18 17 16 15 14 13 12 11            ; echo
         28 27 26 25 24 23 22 21            ; held
         06 00 00 00 00 00 00 00            ; count
         05 00 00 00 00 00 00 00            ; heard",
    );
}

fn node_message(body: NodeBody) -> Sent {
    Sent::Frame(Frame::NodeMessage(NodeMessage {
        from: NodeId(7),
        from_incarnation: Incarnation(0x1122334455667788),
        to: NodeId(9),
        to_incarnation: Incarnation(0x99),
        body,
    }))
}

/// [L3] A source asks to connect a port.
#[test]
fn connect() {
    let connect = Connect {
        session: SESSION,
        generation: GENERATION,
        version: 1,
        flags: wire::connect::EXCLUSIVE,
        paths: 4,
        features: 1,
        window: 0x0100_0000,
        high_window: 0,
        max_message: 0x0010_0000,
        max_streams: 4096,
        session_timeout_ms: 30_000,
        first: Sn(7),
        client: "disk".into(),
    };
    check(
        node_message(NodeBody::Connect(connect)),
        "11 00 20 00 56 00 00 00 bb 20 7f 85 3a 07 b1 7a
         01 00 00 00 07 00 00 00            ; kind, 0, source node
         88 77 66 55 44 33 22 11            ; its incarnation
         09 00 00 00 00 00 00 00            ; destination node, 0
         99 00 00 00 00 00 00 00            ; its incarnation
         07 00 00 00 88 77 66 55 44 33 22 11 05 00 00 00
         0a 00 00 00 00 00 00 00 0b 00 00 00 00 00 00 00
         01 00 01 00 04 00 00 00            ; version, flags, paths
         01 00 00 00 00 00 00 00            ; features
         00 00 00 01 00 00 00 00            ; window
         00 00 10 00 00 00 00 00            ; max_message
         00 10 00 00 30 75 00 00            ; max_streams, session timeout
         07 00 00 00 00 00 00 00            ; first SN
         04 00 64 69 73 6b                  ; client",
    );
}

/// [M11] Two ends that know priorities say the window of the high class: behind the client, and behind the features.
#[test]
fn windows_of_the_high_class() {
    let connect = Connect {
        session: SESSION,
        generation: GENERATION,
        version: 1,
        flags: 0,
        paths: 1,
        features: 3,
        window: 0x0100_0000,
        high_window: 0x0010_0000,
        max_message: 0x0010_0000,
        max_streams: 4096,
        session_timeout_ms: 30_000,
        first: Sn(7),
        client: "disk".into(),
    };
    let answer = Answer {
        session: SESSION,
        generation: GENERATION,
        reason: 0,
        highest: GENERATION,
        window: 0x0100_0000,
        max_message: 0x0010_0000,
        max_streams: 4096,
        secret: Secret::new(array(0xc0)),
        addresses: Vec::new(),
        text: Box::default(),
        features: 3,
        high_window: 0x0020_0000,
    };
    let ends = [
        (NodeBody::Connect(connect), "04 00 64 69 73 6b 00 00 10 00 00 00 00 00"),
        (NodeBody::Answer(answer), "00 00 03 00 00 00 00 00 00 00 00 00 20 00 00 00 00 00"),
    ];
    for (body, end) in ends {
        let sent = node_message(body);
        let bytes = sent.encode(CRC);
        assert!(bytes.ends_with(&hex(end)), "{bytes:02x?}");
        let mut receiver = Receiver::new(CRC);
        receiver.push(&bytes);
        assert_eq!((receiver.error, receiver.got), (None, vec![sent.arrives()]));
    }
}

/// [L3] The target's answer, with an address of each family.
#[test]
fn answer() {
    let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    let answer = Answer {
        session: SESSION,
        generation: GENERATION,
        reason: 9,
        highest: Generation { role_epoch: 0x0a, counter: 0x0c },
        window: 0x0100_0000,
        high_window: 0,
        max_message: 0x0010_0000,
        max_streams: 4096,
        secret: Secret::new(array(0xc0)),
        addresses: vec![address("127.0.0.2:4660"), address("[2001:db8::1]:4660")],
        text: "old".into(),
        features: 1,
    };
    check(
        node_message(NodeBody::Answer(answer)),
        "11 00 20 00 99 00 00 00 67 31 02 50 50 7f 1b 23
         02 00 00 00 07 00 00 00 88 77 66 55 44 33 22 11
         09 00 00 00 00 00 00 00 99 00 00 00 00 00 00 00
         07 00 00 00 88 77 66 55 44 33 22 11 05 00 00 00
         0a 00 00 00 00 00 00 00 0b 00 00 00 00 00 00 00
         09 00 00 00 00 00 00 00            ; reason, flags, 0
         0a 00 00 00 00 00 00 00 0c 00 00 00 00 00 00 00
         00 00 00 01 00 00 00 00            ; window
         00 00 10 00 00 00 00 00            ; max_message
         00 10 00 00 02 00 00 00            ; max_streams, number of addresses
         c0 c1 c2 c3 c4 c5 c6 c7 c8 c9 ca cb cc cd ce cf
         d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 da db dc dd de df
         04 00 34 12 7f 00 00 02
         06 00 34 12 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
         03 00 6f 6c 64                     ; text
         01 00 00 00 00 00 00 00            ; features",
    );
}

/// [F8] REVOKE and RELEASED differ in their kind alone. BYE says why, and from which side.
#[test]
fn revoke_released_bye() {
    check(
        node_message(NodeBody::Revoke { session: SESSION, generation: GENERATION }),
        "11 00 20 00 20 00 00 00 b1 89 60 f4 1f de 3f 1d
         03 00 00 00 07 00 00 00 88 77 66 55 44 33 22 11
         09 00 00 00 00 00 00 00 99 00 00 00 00 00 00 00
         07 00 00 00 88 77 66 55 44 33 22 11 05 00 00 00
         0a 00 00 00 00 00 00 00 0b 00 00 00 00 00 00 00",
    );
    check(
        node_message(NodeBody::Released { session: SESSION, generation: GENERATION }),
        "11 00 20 00 20 00 00 00 b1 89 60 f4 6e ec 4f ad
         04 00 00 00 07 00 00 00 88 77 66 55 44 33 22 11
         09 00 00 00 00 00 00 00 99 00 00 00 00 00 00 00
         07 00 00 00 88 77 66 55 44 33 22 11 05 00 00 00
         0a 00 00 00 00 00 00 00 0b 00 00 00 00 00 00 00",
    );
    check(
        node_message(NodeBody::Bye {
            session: SESSION,
            generation: GENERATION,
            reason: 13,
            side: Side::Target,
        }),
        "11 00 20 00 24 00 00 00 b8 eb 1d 18 12 02 f9 40
         05 00 00 00 07 00 00 00 88 77 66 55 44 33 22 11
         09 00 00 00 00 00 00 00 99 00 00 00 00 00 00 00
         07 00 00 00 88 77 66 55 44 33 22 11 05 00 00 00
         0a 00 00 00 00 00 00 00 0b 00 00 00 00 00 00 00
         0d 00 01 00                        ; reason, side",
    );
}

/// [M2] Two messages of two streams in one frame.
#[test]
fn bundle() {
    let items = vec![
        SentItem { flags: item::START | item::SYNC, stream: None, payload: b"abc".to_vec() },
        SentItem { flags: 0, stream: Some((StreamId(0x8000_0001), Ssn(0x99))), payload: b"de".to_vec() },
    ];
    check(
        Sent::Bundle { stream: StreamId(7), ssn: Ssn(50), sn: Sn(100), items },
        "20 00 20 00 19 00 00 00
         2c 0f fe 83 04 2c 2b f9
         64 00 00 00 00 00 00 00            ; SN
         32 00 00 00 00 00 00 00            ; SSN
         07 00 00 00 02 00 00 00            ; stream, number of items, priority class, 0
         00 00 00 00 00 00 00 00
         03 00 12 00 61 62 63               ; length, START and SYNC, 0, payload
         02 00 01 00                        ; length, STREAM, 0
         01 00 00 80                        ; stream
         99 00 00 00 00 00 00 00            ; SSN
         64 65",
    );
}

/// [M3] A slice of a large message.
#[test]
fn fragment() {
    let head = FragmentHead {
        sn: Sn(0x1001),
        ssn: Ssn(0x2002),
        stream: StreamId(3),
        offset: 4096,
        total: 4101,
        flags: item::REDELIVERED | item::SYNC,
    };
    check(
        Sent::Fragment { head, body: b"hello".to_vec() },
        "21 00 20 00 05 00 00 00
         4c bb 71 9a 6f cd 0d 72
         01 10 00 00 00 00 00 00            ; SN
         02 20 00 00 00 00 00 00            ; SSN
         03 00 00 00 00 10 00 00            ; stream, offset
         05 10 00 00 14 00 00 00            ; total, item flags, priority class, 0
         68 65 6c 6c 6f",
    );
}

/// [A5] Cumulative, two gap blocks, one path record.
#[test]
fn receipt() {
    let receipt = Receipt {
        cumulative: Sn(41),
        credit: 0x0100_0000,
        high_credit: None,
        completions_seen: 12,
        gaps: vec![(Sn(43), Sn(44)), (Sn(50), Sn(60))],
        paths: vec![PathRecord { path: PathId(3), conn: ConnId(8), frames: 1234 }],
    };
    check(
        Sent::Frame(Frame::Receipt(receipt)),
        "30 00 20 00 30 00 00 00
         b2 ef 8c 81 36 70 c3 db
         29 00 00 00 00 00 00 00            ; cumulative
         00 00 00 01 00 00 00 00            ; credit
         0c 00 00 00 00 00 00 00            ; completions_seen
         02 00 01 00 00 00 00 00            ; gap blocks, path records, 0
         2b 00 00 00 00 00 00 00 2c 00 00 00 00 00 00 00
         32 00 00 00 00 00 00 00 3c 00 00 00 00 00 00 00
         03 00 00 00 08 00 00 00            ; path, 0, conn
         d2 04 00 00 00 00 00 00            ; frames",
    );
}

/// [M11] In a session with classes a receipt says the credit of both.
#[test]
fn receipt_with_classes() {
    let receipt = Receipt {
        cumulative: Sn(41),
        credit: 0x0100_0000,
        high_credit: Some(0x0010_0000),
        completions_seen: 12,
        gaps: Vec::new(),
        paths: Vec::new(),
    };
    check(
        Sent::Frame(Frame::Receipt(receipt)),
        "30 00 28 00 00 00 00 00
         00 00 00 00 4d 4a 5b 7f
         29 00 00 00 00 00 00 00            ; cumulative
         00 00 00 01 00 00 00 00            ; credit
         0c 00 00 00 00 00 00 00            ; completions_seen
         00 00 00 00 00 00 00 00            ; gap blocks, path records, 0
         00 00 10 00 00 00 00 00            ; high credit",
    );
}

/// [A1] What the target's user answered.
#[test]
fn completions() {
    let records = vec![
        CompletionRecord { sn: Sn(100), count: 20, rc: 0 },
        CompletionRecord { sn: Sn(120), count: 1, rc: -5 },
    ];
    check(
        Sent::Frame(Frame::Completions(Completions { first: 13, records })),
        "31 00 10 00 20 00 00 00 f9 06 da 87 b5 82 62 0f
         0d 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00
         64 00 00 00 00 00 00 00 14 00 00 00 00 00 00 00
         78 00 00 00 00 00 00 00 01 00 00 00 fb ff ff ff",
    );
}

#[test]
fn probe_path_status_close() {
    check(Sent::Frame(Frame::Probe), "32 00 00 00 00 00 00 00 00 00 00 00 08 75 f9 62");
    let status = PathStatus {
        path: PathId(2),
        conn: ConnId(4),
        opinion: Opinion::Suspect,
        class: PathClass::Normal,
        base: Sn(9),
    };
    check(
        Sent::Frame(Frame::PathStatus(status)),
        "33 00 18 00 00 00 00 00 00 00 00 00 4b 52 af 7d
         02 00 01 00 04 00 00 00            ; path, status, class, conn
         09 00 00 00 00 00 00 00            ; base
         00 00 00 00 00 00 00 00",
    );
    let standby = PathStatus { opinion: Opinion::Good, class: PathClass::Standby, ..status };
    check(
        Sent::Frame(Frame::PathStatus(standby)),
        "33 00 18 00 00 00 00 00 00 00 00 00 12 c1 b0 2c
         02 00 00 01 04 00 00 00 09 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    );
    let one_way = PathStatus { opinion: Opinion::Unheard, ..status };
    check(
        Sent::Frame(Frame::PathStatus(one_way)),
        "33 00 18 00 00 00 00 00 00 00 00 00 97 61 91 99
         02 00 02 00 04 00 00 00 09 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    );
    check(
        Sent::Frame(Frame::Close { reason: 1, side: Side::Target }),
        "40 00 08 00 00 00 00 00 00 00 00 00 a5 a4 42 8c
         01 00 01 00 00 00 00 00            ; reason, side, 0",
    );
}

/// [M8] The first message of its stream, of 300,000 bytes, will not come.
#[test]
fn skip() {
    let skip = Skip {
        sn: Sn(0x0102030405060708),
        ssn: Ssn(9),
        stream: StreamId(7),
        total: 300_000,
        flags: item::START,
    };
    check(
        Sent::Frame(Frame::Skip(skip)),
        "22 00 20 00 00 00 00 00 00 00 00 00 97 b5 33 c3
         08 07 06 05 04 03 02 01            ; SN
         09 00 00 00 00 00 00 00            ; SSN
         07 00 00 00 e0 93 04 00            ; stream, total
         02 00 00 00 00 00 00 00            ; item flags, priority, 0",
    );
}

/// [F3] A ledger: two messages that were had, one that was answered.
#[test]
fn reset_ack() {
    let record = |first, last, rc| LedgerRecord { first: Sn(first), last: Sn(last), rc };
    let records = vec![record(5, 6, None), record(6, 6, Some(-2))];
    check(
        Sent::Frame(Frame::ResetAck(ResetAck {
            first: 1,
            total: 3,
            credit: 0x1000,
            high_credit: None,
            records,
        })),
        "42 00 20 00 30 00 00 00 8e 8f 93 d0 0b 2d c8 4e
         01 00 00 00 03 00 00 00            ; records before, in all
         00 10 00 00 00 00 00 00            ; credit
         02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         05 00 00 00 00 00 00 00 06 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
         06 00 00 00 00 00 00 00 06 00 00 00 00 00 00 00 fe ff ff ff 01 00 00 00",
    );
}
