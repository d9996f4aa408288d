//! What is refused, and with which reason.

use cdps_core::id::{Incarnation, NodeId, Sn, Ssn, StreamId};
use cdps_core::reason::Reason;
use cdps_core::wire::{
    BundleHead, Checksum, DecodeError, Decoder, FRAME_HEADER, Frame, FrameKind, Items, MAX_HEAD, MAX_NUMBER,
    NodeBody, Step, connect, item,
};

use crate::frames::{CRC, Parts, Sent, SentItem, raw, samples};

fn refusal(bytes: &[u8]) -> DecodeError {
    match Decoder::new(CRC).step(bytes) {
        Err(error) => error,
        Ok(step) => panic!("accepted as {step:?}"),
    }
}

fn reason(bytes: &[u8]) -> Reason {
    refusal(bytes).reason()
}

/// The first sample that `wanted` likes, in parts.
fn sample(wanted: impl Fn(&Sent) -> bool) -> Parts {
    let sent = samples().into_iter().find(wanted).expect("a sample of each kind");
    Parts::of(&sent.encode(CRC))
}

fn sample_of(kind: FrameKind) -> Parts {
    sample(|sent| sent.encode(CRC)[0] == kind as u8)
}

/// A node message of this kind.
fn node_message(kind: u8) -> Parts {
    sample(|sent| {
        let parts = Parts::of(&sent.encode(CRC));
        parts.number == FrameKind::NodeMessage as u8 && parts.head[0] == kind
    })
}

/// Reserved types are refused as a feature that is not supported, unknown ones as an error; both from the fixed part alone.
#[test]
fn types_are_refused_from_the_fixed_part() {
    for number in 0..=u8::MAX {
        let bytes = raw(number, 0, &[], &[]);
        if FrameKind::ALL.iter().any(|kind| *kind as u8 == number) {
            continue;
        }
        let expected = match number {
            0x41..=0x45 => Reason::UnsupportedFeature,
            _ => Reason::ProtocolError,
        };
        assert_eq!(reason(&bytes[..FRAME_HEADER]), expected, "{number:#04x}");
        assert!(refusal(&bytes).to_string().contains(&format!("{number:#04x}")));
    }
}

/// [S4] Lengths beyond the table are refused when no more than the fixed part is there, before anything could be set aside for them.
#[test]
fn lengths_are_refused_from_the_fixed_part() {
    let fixed = |kind: FrameKind, head: u16, body: u32| {
        let mut bytes = vec![kind as u8, 0];
        bytes.extend(head.to_le_bytes());
        bytes.extend(body.to_le_bytes());
        bytes.resize(FRAME_HEADER, 0);
        Decoder::new(CRC).step(&bytes)
    };
    for &kind in FrameKind::ALL {
        let head = kind.head_len() as u16;
        let (min, max) = (kind.body_len().0 as u32, kind.body_len().1 as u32);
        let failed = |head, body| fixed(kind, head, body).expect_err("must be refused").reason();
        assert_eq!(failed(MAX_HEAD as u16 + 1, min), Reason::Limit, "{kind}");
        assert_eq!(failed(u16::MAX, min), Reason::Limit, "{kind}");
        assert_eq!(failed(head, max + 1), Reason::Limit, "{kind}");
        assert_eq!(failed(head, u32::MAX), Reason::Limit, "{kind}");
        if head > 0 {
            assert_eq!(failed(head - 1, min), Reason::ProtocolError, "{kind}");
            let longest = fixed(kind, MAX_HEAD as u16, max);
            assert_eq!(longest, Ok(Step::Need(FRAME_HEADER + MAX_HEAD)), "{kind}");
        }
        if min > 0 {
            assert_eq!(failed(head, min - 1), Reason::ProtocolError, "{kind}");
            assert_eq!(failed(head, 0), Reason::ProtocolError, "{kind}");
        }
    }
}

/// The limits of the table are those of section 9, as written there.
#[test]
fn the_table_holds_the_limits_of_the_document() {
    let document = [
        ("HELLO", 112, 0, 0),
        ("WELCOME", 96, 0, 0),
        ("PROOF", 32, 0, 0),
        ("READY", 0, 0, 0),
        ("REFUSE", 8, 0, 256),
        ("HEARTBEAT", 40, 0, 0),
        ("NODE_MESSAGE", 32, 0, 8192),
        ("BUNDLE", 32, 4, 65_536),
        ("FRAGMENT", 32, 1, 1_048_576),
        ("SKIP", 32, 0, 0),
        ("RECEIPT", 32, 0, 2048),
        ("COMPLETIONS", 16, 16, 16_384),
        ("PROBE", 0, 0, 0),
        ("PATH_STATUS", 24, 0, 0),
        ("CLOSE", 8, 0, 0),
        ("RESET_ACK", 32, 0, 24_576),
    ];
    assert_eq!(document.len(), FrameKind::ALL.len());
    for (kind, (name, head, min, max)) in FrameKind::ALL.iter().zip(document) {
        assert_eq!((kind.name(), kind.head_len(), kind.body_len()), (name, head, (min, max)));
    }
}

/// Frame flags that are not defined are refused, on every frame.
#[test]
fn undefined_frame_flags_are_refused() {
    for &kind in FrameKind::ALL {
        let mut parts = sample_of(kind);
        for bit in 0..8 {
            parts.flags = 1 << bit;
            if parts.flags & kind.flags() == 0 {
                assert_eq!(reason(&parts.bytes()), Reason::ProtocolError, "{kind}, flag {bit}");
            }
        }
    }
}

/// [M8] A wrong checksum is told apart from a wrong frame, and found before any field is looked at.
#[test]
fn checksums_come_before_fields() {
    let mut wrong = raw(FrameKind::Close as u8, 0, &[0xff; 8], &[]);
    assert_eq!(reason(&wrong), Reason::ProtocolError);
    wrong[12] ^= 1;
    assert_eq!(reason(&wrong), Reason::BadChecksum);

    let mut wrong = raw(FrameKind::Completions as u8, 0, &[0xff; 16], &[0; 16]);
    assert_eq!(reason(&wrong), Reason::ProtocolError);
    *wrong.last_mut().expect("a body") ^= 1;
    assert_eq!(reason(&wrong), Reason::BadChecksum);

    // An empty body has the checksum 0, and no other.
    let mut wrong = raw(FrameKind::Ready as u8, 0, &[], &[]);
    wrong[8] = 1;
    let head_crc = crate::frames::crc(0, &wrong[..12]).to_le_bytes();
    wrong[12..].copy_from_slice(&head_crc);
    assert_eq!(reason(&wrong), Reason::BadChecksum);
}

/// Handshake frames are checked on every connection, so that a decoder without checksums takes none.
#[test]
fn handshake_frames_need_checksums() {
    for kind in [FrameKind::Hello, FrameKind::Welcome, FrameKind::Proof, FrameKind::Ready, FrameKind::Refuse]
    {
        let bytes = sample_of(kind).bytes();
        let mut decoder = Decoder::new(CRC);
        assert!(decoder.step(&bytes).is_ok());
        decoder.set_checksum(Checksum(None));
        let error = decoder.step(&bytes).expect_err("must be refused");
        assert_eq!(error, DecodeError::Unchecked { frame: kind });
    }
}

/// One byte of a valid head or body replaced: where, by what, and the reason for the refusal.
enum Place {
    Head(usize),
    Body(usize),
}

fn refuse_byte(parts: Parts, place: Place, byte: u8, expected: Reason) {
    let mut parts = parts;
    let name = FrameKind::ALL.iter().find(|kind| **kind as u8 == parts.number).expect("a known frame");
    let (what, at) = match place {
        Place::Head(at) => {
            parts.head[at] = byte;
            ("head", at)
        }
        Place::Body(at) => {
            parts.body[at] = byte;
            ("body", at)
        }
    };
    assert_eq!(reason(&parts.bytes()), expected, "{name}: {what}[{at}] = {byte:#04x}");
}

/// A range of bytes of a valid head or body set to 0, which the field must not be.
fn refuse_zero(mut parts: Parts, in_head: bool, range: std::ops::Range<usize>) {
    let place = if in_head { &mut parts.head } else { &mut parts.body };
    place[range.clone()].fill(0);
    assert_eq!(reason(&parts.bytes()), Reason::ProtocolError, "type {:#04x}: {range:?} = 0", parts.number);
}

/// Values that no field may have, with the offsets of the document.
#[test]
fn values_out_of_range_are_refused() {
    use Place::{Body, Head};
    let data_hello = || {
        let mut parts = sample_of(FrameKind::Hello);
        parts.head[12] = 1;
        parts.head[80..82].fill(0);
        parts
    };
    for at in 0..8 {
        refuse_byte(data_hello(), Head(at), b'?', Reason::ProtocolError);
    }
    refuse_byte(data_hello(), Head(12), 2, Reason::ProtocolError);
    refuse_byte(data_hello(), Head(80), 64, Reason::Limit);
    for field in [24..28, 28..32, 32..40] {
        refuse_zero(data_hello(), true, field);
    }
    refuse_zero(sample_of(FrameKind::Welcome), true, 4..8);
    refuse_zero(sample_of(FrameKind::Welcome), true, 8..16);
    refuse_zero(sample_of(FrameKind::Heartbeat), true, 0..8);
    for kind in [0, 6, 255] {
        refuse_byte(sample_of(FrameKind::NodeMessage), Head(0), kind, Reason::ProtocolError);
    }
    for field in [4..8, 8..16, 16..20] {
        refuse_zero(sample_of(FrameKind::NodeMessage), true, field);
    }
    for kind in 1..=5 {
        refuse_zero(node_message(kind), false, 0..4);
        refuse_zero(node_message(kind), false, 4..12);
    }
    refuse_byte(node_message(5), Body(34), 2, Reason::ProtocolError);
    for field in [0..8, 8..16] {
        refuse_zero(sample_of(FrameKind::Bundle), true, field.clone());
        refuse_zero(sample_of(FrameKind::Fragment), true, field.clone());
        refuse_zero(sample_of(FrameKind::Skip), true, field);
    }
    refuse_byte(sample_of(FrameKind::Bundle), Head(7), 0x80, Reason::ProtocolError);
    refuse_byte(sample_of(FrameKind::Fragment), Head(15), 0x80, Reason::ProtocolError);
    refuse_zero(sample_of(FrameKind::Skip), true, 20..24);
    refuse_byte(sample_of(FrameKind::Skip), Head(23), 0x80, Reason::Limit);
    for flag in [item::REDELIVERED, item::TOMBSTONE, item::SYNC] {
        refuse_byte(sample_of(FrameKind::Skip), Head(24), flag, Reason::ProtocolError);
    }
    refuse_byte(sample_of(FrameKind::PathStatus), Head(0), 64, Reason::Limit);
    refuse_byte(sample_of(FrameKind::PathStatus), Head(2), 3, Reason::ProtocolError);
    refuse_byte(sample_of(FrameKind::PathStatus), Head(3), 2, Reason::ProtocolError);
    refuse_zero(sample_of(FrameKind::PathStatus), true, 8..16);
    refuse_byte(sample_of(FrameKind::Close), Head(2), 2, Reason::ProtocolError);
    refuse_byte(sample_of(FrameKind::ResetAck), Head(7), 1, Reason::Limit);
    refuse_byte(sample_of(FrameKind::ResetAck), Head(17), 0xff, Reason::Limit);
    refuse_zero(sample_of(FrameKind::ResetAck), false, 0..8);
    refuse_byte(sample_of(FrameKind::ResetAck), Body(20), 2, Reason::ProtocolError);
    refuse_byte(sample_of(FrameKind::ResetAck), Body(21), 1, Reason::ProtocolError);
    refuse_byte(sample_of(FrameKind::Completions), Head(7), 0x80, Reason::ProtocolError);
    refuse_zero(sample_of(FrameKind::Completions), true, 0..8);
    refuse_zero(sample_of(FrameKind::Completions), true, 8..12);
    refuse_zero(sample_of(FrameKind::Completions), false, 0..8);
    refuse_zero(sample_of(FrameKind::Completions), false, 8..12);
}

/// Fields given as 0 must be 0; what is marked reserved is refused as a feature that is not supported.
#[test]
fn fields_given_as_zero_are_held_to_it() {
    let given_as_zero = [
        (FrameKind::Welcome, vec![2, 3, 24, 31]),
        (FrameKind::NodeMessage, vec![1, 3, 20, 23]),
        (FrameKind::Bundle, vec![23, 24, 31]),
        (FrameKind::Fragment, vec![30, 31]),
        (FrameKind::Skip, vec![25, 31]),
        (FrameKind::Receipt, vec![28, 31]),
        (FrameKind::Completions, vec![12, 15]),
        (FrameKind::PathStatus, vec![16, 23]),
        (FrameKind::Close, vec![4, 7]),
        (FrameKind::ResetAck, vec![20, 31]),
    ];
    for (kind, places) in given_as_zero {
        for at in places {
            refuse_byte(sample_of(kind), Place::Head(at), 1, Reason::ProtocolError);
        }
    }
    let mut head = vec![0; 40];
    head[26] = 1;
    let receipt = |body: &[u8; 16]| Decoder::new(CRC).step(&raw(0x30, 0, &head, body));
    assert!(receipt(&[0; 16]).is_ok());
    assert!(receipt(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err(), "path record");
    let mut answer = node_message(2);
    answer.body.truncate(112);
    answer.body[76..80].copy_from_slice(&[1, 0, 0, 0]);
    answer.body.extend([4, 0, 1, 2, 127, 0, 0, 1, 0, 0]);
    assert!(Decoder::new(CRC).step(&answer.bytes()).is_ok());
    refuse_byte(answer, Place::Body(113), 1, Reason::ProtocolError);
    // Priority classes (M11).
    refuse_byte(sample_of(FrameKind::Bundle), Place::Head(22), 1, Reason::UnsupportedFeature);
    refuse_byte(sample_of(FrameKind::Fragment), Place::Head(29), 1, Reason::UnsupportedFeature);
    refuse_byte(node_message(2), Place::Body(34), 1, Reason::ProtocolError);
}

/// [U7] HELLO and REFUSE come before a version is agreed on: what version 1 gives as 0 is ignored there.
#[test]
fn the_first_frames_may_be_of_a_later_version() {
    for (kind, places) in
        [(FrameKind::Hello, vec![13, 15, 82, 83, 104, 111]), (FrameKind::Refuse, vec![6, 7])]
    {
        let mut parts = sample_of(kind);
        let before = Decoder::new(CRC).step(&parts.bytes());
        for at in places {
            parts.head[at] = 0xff;
        }
        assert!(before.is_ok());
        assert_eq!(Decoder::new(CRC).step(&parts.bytes()), before);
    }
}

/// A HELLO of something else has an error of its own, since it is closed without a word.
#[test]
fn a_foreign_magic_is_told_apart() {
    let mut parts = sample_of(FrameKind::Hello);
    parts.head[..8].copy_from_slice(b"SSH-2.0-");
    assert_eq!(refusal(&parts.bytes()), DecodeError::Magic { found: *b"SSH-2.0-" });
}

/// [S4] Counts and lengths inside of bodies are held to their limits, and to the bytes that are there.
#[test]
fn counts_are_held_to_their_limits() {
    let mut head = vec![0; 40];
    head[24] = 65;
    assert_eq!(reason(&raw(0x30, 0, &head, &[0; 65 * 16])), Reason::Limit);
    head[24] = 0;
    head[26] = 65;
    assert_eq!(reason(&raw(0x30, 0, &head, &[0; 65 * 16])), Reason::Limit);
    head[26] = 2;
    assert_eq!(reason(&raw(0x30, 0, &head, &[0; 31])), Reason::ProtocolError);
    assert_eq!(reason(&raw(0x30, 0, &head, &[0; 33])), Reason::ProtocolError);

    let mut head = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    head[8..12].copy_from_slice(&1025u32.to_le_bytes());
    assert_eq!(reason(&raw(0x31, 0, &head, &[1; 16])), Reason::Limit);
    head[8..12].copy_from_slice(&2u32.to_le_bytes());
    assert_eq!(reason(&raw(0x31, 0, &head, &[1; 16])), Reason::ProtocolError);

    let put = |mut parts: Parts, at: usize, bytes: &[u8]| {
        parts.body[at..at + bytes.len()].copy_from_slice(bytes);
        reason(&parts.bytes())
    };
    assert_eq!(put(node_message(1), 36, &65u32.to_le_bytes()), Reason::Limit, "paths");
    assert_eq!(put(node_message(1), 56, &((1u64 << 30) + 1).to_le_bytes()), Reason::Limit, "max_message");
    assert_eq!(put(node_message(1), 80, &256u16.to_le_bytes()), Reason::Limit, "client name");
    assert_eq!(put(node_message(2), 64, &((1u64 << 30) + 1).to_le_bytes()), Reason::Limit, "max_message");
    assert_eq!(put(node_message(2), 76, &17u32.to_le_bytes()), Reason::Limit, "addresses");
    assert_eq!(put(node_message(2), 76, &u32::MAX.to_le_bytes()), Reason::Limit, "addresses");
}

/// [L3, L4] A CONNECT may ask for anything: the decoder takes it, and the target says no to what it does not serve. A control connection
/// carries other sessions too, and does not end for that.
#[test]
fn a_connect_with_unknown_flags_is_judged_by_the_target() {
    let judged = |version: u16, flags: u16| {
        let mut parts = node_message(1);
        parts.body[32..34].copy_from_slice(&version.to_le_bytes());
        parts.body[34..36].copy_from_slice(&flags.to_le_bytes());
        match Decoder::new(CRC).step(&parts.bytes()) {
            Ok(Step::Frame { frame: Frame::NodeMessage(message), .. }) => match message.body {
                NodeBody::Connect(connect) => {
                    assert_eq!((connect.version, connect.flags), (version, flags));
                    connect.judge()
                }
                other => panic!("{other:?}"),
            },
            other => panic!("version {version}, flags {flags:#06x}: {other:?}"),
        }
    };
    assert_eq!(judged(1, 0), Ok(()));
    let known = connect::EXCLUSIVE | connect::RESET;
    assert_eq!(judged(1, known), Ok(()));
    for bit in (0..16).filter(|bit| 1 << bit & known == 0) {
        assert_eq!(judged(1, 1 << bit), Err(Reason::UnsupportedFeature), "flag {bit}");
    }
    assert_eq!(judged(1, connect::EXCLUSIVE | 0x8000), Err(Reason::UnsupportedFeature));
    assert_eq!(judged(2, 0), Err(Reason::UnsupportedVersion));
    assert_eq!(judged(2, 1), Err(Reason::UnsupportedVersion), "another version may mean another thing by it");
}

/// [U7] Every node message that is cut short is refused, wherever it is cut; but an ANSWER may end before its features, as the first release's
/// does.
#[test]
fn node_messages_cut_short_are_refused() {
    for kind in 1..=5 {
        let mut parts = node_message(kind);
        for _ in 0..if kind == 2 { 8 } else { 0 } {
            parts.body.pop();
            assert!(Decoder::new(CRC).step(&parts.bytes()).is_ok(), "{} bytes", parts.body.len());
        }
        while parts.body.pop().is_some() {
            assert_eq!(
                reason(&parts.bytes()),
                Reason::ProtocolError,
                "kind {kind}, {} bytes",
                parts.body.len()
            );
        }
    }
}

/// Numbers stop where counting them up could run over.
#[test]
fn numbers_end_at_their_limit() {
    let over = (MAX_NUMBER + 1).to_le_bytes();
    let receipt = |at: usize, number: u64| {
        let mut head = vec![0; 40];
        head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        Decoder::new(CRC).step(&raw(0x30, 0, &head, &[])).map_err(|error| error.reason())
    };
    for at in [0, 16] {
        assert!(receipt(at, MAX_NUMBER).is_ok(), "offset {at}");
        assert_eq!(receipt(at, MAX_NUMBER + 1), Err(Reason::ProtocolError), "offset {at}");
    }
    assert!(receipt(8, u64::MAX).is_ok(), "credit is no number that is counted up");

    let completions = |first: u64, sn: u64, run: u32| {
        let mut head = first.to_le_bytes().to_vec();
        head.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        let mut record = sn.to_le_bytes().to_vec();
        record.extend(run.to_le_bytes());
        record.extend([0; 4]);
        Decoder::new(CRC).step(&raw(0x31, 0, &head, &record.repeat(2))).map_err(|error| error.reason())
    };
    assert!(completions(MAX_NUMBER - 1, MAX_NUMBER - 4, 5).is_ok());
    assert_eq!(completions(MAX_NUMBER, 1, 1), Err(Reason::ProtocolError));
    assert_eq!(completions(1, MAX_NUMBER - 4, 6), Err(Reason::ProtocolError));
    assert_eq!(completions(1, 1, 0), Err(Reason::ProtocolError));

    let mut status = sample_of(FrameKind::PathStatus);
    status.head[8..16].copy_from_slice(&over);
    assert_eq!(reason(&status.bytes()), Reason::ProtocolError);
}

/// Gap blocks ascend, and touch neither each other nor the cumulative SN.
#[test]
fn gap_blocks_ascend_with_holes_between() {
    let receipt = |gaps: &[(u64, u64)]| {
        let mut head = vec![0; 40];
        head[..8].copy_from_slice(&10u64.to_le_bytes());
        head[24] = gaps.len() as u8;
        let body: Vec<u8> = gaps
            .iter()
            .flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()])
            .flatten()
            .collect();
        Decoder::new(CRC).step(&raw(0x30, 0, &head, &body)).map_err(|error| error.reason())
    };
    for fine in [&[][..], &[(12, 12)], &[(12, 20), (22, 30)], &[(1000, MAX_NUMBER)]] {
        assert!(receipt(fine).is_ok(), "{fine:?}");
    }
    let wrong = [
        &[(11, 20)][..],
        &[(5, 20)],
        &[(0, 20)],
        &[(20, 19)],
        &[(12, 20), (21, 30)],
        &[(12, 20), (15, 16)],
        &[(30, 40), (12, 20)],
        &[(12, MAX_NUMBER + 1)],
    ];
    for gaps in wrong {
        assert_eq!(receipt(gaps), Err(Reason::ProtocolError), "{gaps:?}");
    }
}

/// Texts are UTF-8.
#[test]
fn texts_must_be_utf_8() {
    assert_eq!(reason(&raw(0x05, 0, &[0; 8], b"caf\xe9")), Reason::ProtocolError);
    let mut parts = node_message(1);
    parts.body.truncate(72);
    parts.body.extend(2u16.to_le_bytes());
    parts.body.extend([0xc3, 0x28]);
    assert_eq!(reason(&parts.bytes()), Reason::ProtocolError);
}

fn bundle(sn: u64, ssn: u64, count: u16, body: &[u8]) -> Result<Step, Reason> {
    let mut head = vec![0; 32];
    head[..8].copy_from_slice(&sn.to_le_bytes());
    head[8..16].copy_from_slice(&ssn.to_le_bytes());
    head[16..20].copy_from_slice(&7u32.to_le_bytes());
    head[20..22].copy_from_slice(&count.to_le_bytes());
    Decoder::new(CRC).step(&raw(0x20, 0, &head, body)).map_err(|error| error.reason())
}

fn named(flags: u8, stream: u32, ssn: u64) -> Vec<u8> {
    let mut bytes = vec![0, 0, flags | item::STREAM, 0];
    bytes.extend(stream.to_le_bytes());
    bytes.extend(ssn.to_le_bytes());
    bytes
}

/// A bundle with anything wrong in any item is refused as a whole, so that it has no partial effect.
#[test]
fn a_bundle_is_taken_whole_or_not_at_all() {
    let good = [3, 0, 0, 0, b'a', b'b', b'c'];
    let with = |bad: &[u8]| bundle(1, 1, 2, &[&good[..], bad].concat());
    assert!(bundle(1, 1, 1, &good).is_ok());
    assert!(with(&[0, 0, item::TOMBSTONE, 0]).is_ok());
    assert!(with(&[0, 0, item::HIGH, 0]).is_ok());

    assert_eq!(with(&[0, 0, item::BARRIER, 0]), Err(Reason::UnsupportedFeature));
    assert_eq!(with(&[0, 0, item::RETIRE, 0]), Err(Reason::UnsupportedFeature));
    assert_eq!(with(&[0, 0, item::RETIRE | item::HIGH, 0]), Err(Reason::UnsupportedFeature));
    assert_eq!(with(&[0, 0, 0, 1]), Err(Reason::ProtocolError));
    assert_eq!(with(&[1, 0, item::TOMBSTONE, 0, b'x']), Err(Reason::ProtocolError));
    assert_eq!(with(&[1, 0, 0, 0]), Err(Reason::ProtocolError));
    assert_eq!(with(&[1, 0, 0]), Err(Reason::ProtocolError));
    assert_eq!(with(&[]), Err(Reason::ProtocolError));
    assert_eq!(with(&[0, 0, 0, 0, 0]), Err(Reason::ProtocolError));
    assert_eq!(with(&named(0, 7, 9)[..15]), Err(Reason::ProtocolError));
    assert_eq!(with(&named(0, 7, 0)), Err(Reason::ProtocolError));
    assert_eq!(with(&named(0, 7, MAX_NUMBER + 1)), Err(Reason::ProtocolError));
    assert_eq!(with(&named(0, 7, u64::MAX)), Err(Reason::ProtocolError));
    assert!(with(&named(0, 7, MAX_NUMBER)).is_ok());

    let longest = |len: u16| {
        let mut body = len.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.resize(4 + usize::from(len), 0);
        bundle(1, 1, 1, &body)
    };
    assert!(longest(2048).is_ok());
    assert_eq!(longest(2049), Err(Reason::ProtocolError));
}

/// The head of a bundle and its first item must not contradict each other, and the numbers must not run over.
#[test]
fn bundle_heads_are_consistent() {
    let empty = [0, 0, 0, 0];
    assert_eq!(bundle(1, 1, 0, &empty), Err(Reason::ProtocolError));
    assert_eq!(bundle(1, 1, 4097, &empty.repeat(4097)), Err(Reason::Limit));
    assert!(bundle(1, 1, 4096, &empty.repeat(4096)).is_ok());
    assert!(bundle(MAX_NUMBER - 1, MAX_NUMBER - 1, 2, &empty.repeat(2)).is_ok());
    assert_eq!(bundle(MAX_NUMBER, 1, 2, &empty.repeat(2)), Err(Reason::ProtocolError));
    assert_eq!(bundle(1, MAX_NUMBER, 2, &empty.repeat(2)), Err(Reason::ProtocolError));
    assert!(bundle(1, 5, 1, &named(0, 7, 5)).is_ok());
    assert_eq!(bundle(1, 5, 1, &named(0, 8, 5)), Err(Reason::ProtocolError));
    assert_eq!(bundle(1, 5, 1, &named(0, 7, 6)), Err(Reason::ProtocolError));
}

/// `Items` over bytes that nobody has verified ends with the first error.
#[test]
fn items_end_with_the_first_error() {
    let head = BundleHead { sn: Sn(1), ssn: Ssn(1), stream: StreamId(7), count: 3 };
    let body = [0, 0, 0, 0, 0, 0, item::RETIRE, 0, 0, 0, 0, 0];
    let mut items = Items::new(&head, &body);
    assert!(items.next().expect("the first item").is_ok());
    assert!(items.next().expect("the second item").is_err());
    assert_eq!(items.next(), None);
    assert_eq!(items.next(), None);
    let wild = BundleHead { sn: Sn(u64::MAX), ssn: Ssn(u64::MAX), stream: StreamId(7), count: 3 };
    assert!(Items::new(&wild, &body).next().expect("an error").is_err());
}

/// [S4] A fragment lies within its message, and its message within the limit.
#[test]
fn fragments_lie_within_their_message() {
    let fragment = |offset: u32, total: u32, flags: u8, body: usize| {
        let mut head = vec![0; 32];
        head[0] = 1;
        head[8] = 1;
        head[20..24].copy_from_slice(&offset.to_le_bytes());
        head[24..28].copy_from_slice(&total.to_le_bytes());
        head[28] = flags;
        Decoder::new(CRC).step(&raw(0x21, 0, &head, &vec![0; body])).map_err(|error| error.reason())
    };
    assert!(fragment(0, 10, 0, 10).is_ok());
    assert!(fragment((1 << 30) - 10, 1 << 30, item::START | item::REDELIVERED | item::SYNC, 10).is_ok());
    assert_eq!(fragment(0, 9, 0, 10), Err(Reason::ProtocolError));
    assert_eq!(fragment(1, 10, 0, 10), Err(Reason::ProtocolError));
    assert_eq!(fragment(u32::MAX, 10, 0, 10), Err(Reason::ProtocolError));
    assert_eq!(fragment(0, 0, 0, 1), Err(Reason::ProtocolError));
    assert_eq!(fragment(0, (1 << 30) + 1, 0, 10), Err(Reason::Limit));
    assert_eq!(fragment(0, 10, item::BARRIER, 10), Err(Reason::UnsupportedFeature));
    assert_eq!(fragment(0, 10, item::RETIRE, 10), Err(Reason::UnsupportedFeature));
    for flags in [item::STREAM, item::TOMBSTONE, item::STREAM | item::HIGH] {
        assert_eq!(fragment(0, 10, flags, 10), Err(Reason::ProtocolError), "{flags:#04x}");
    }
}

/// Every error names the frame and the value.
#[test]
fn errors_say_what_was_wrong() {
    let close = raw(0x40, 0, &[1, 0, 9, 0, 0, 0, 0, 0], &[]);
    assert_eq!(refusal(&close).to_string(), "CLOSE: side is 9, which is not allowed");
    let probe = raw(0x32, 0x80, &[], &[]);
    assert_eq!(refusal(&probe).to_string(), "PROBE: frame flags 0x80; defined are 0x00");
    let bundle = raw(0x20, 0, &[0; 32], &[0; 3]);
    assert_eq!(refusal(&bundle).to_string(), "BUNDLE: body of 3 bytes; at least 4 are needed");
}

/// The bundled items of a test are what the encoder was given, with STREAM set only where a stream was named.
#[test]
fn the_encoder_sets_stream_only_where_one_is_named() {
    let items = vec![
        SentItem { flags: item::STREAM | item::SYNC, stream: None, payload: vec![1] },
        SentItem { flags: item::START, stream: Some((StreamId(9), Ssn(3))), payload: vec![2] },
    ];
    let sent = Sent::Bundle { stream: StreamId(7), ssn: Ssn(1), sn: Sn(1), items };
    let body = Parts::of(&sent.encode(CRC)).body;
    assert_eq!(body[2], item::SYNC);
    assert_eq!(body[5 + 2], item::START | item::STREAM);
}

/// A node message need not say which incarnation it is for.
#[test]
fn a_node_message_may_be_for_any_incarnation() {
    let mut parts = node_message(3);
    parts.head[24..32].fill(0);
    let Ok(Step::Frame { frame: Frame::NodeMessage(message), .. }) = Decoder::new(CRC).step(&parts.bytes())
    else {
        panic!("refused");
    };
    assert_eq!(message.to_incarnation, Incarnation(0));
    assert_ne!(message.to, NodeId(0));
}
