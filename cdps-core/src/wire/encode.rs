//! From values to bytes.

use super::fields::{Put, cut};
use super::kind::{FLAG_REPLY, FrameKind};
use super::{
    BundleHead, Completions, FRAME_HEADER, FragmentHead, Frame, Heartbeat, Hello, MAGIC, MAX_BUNDLE_BODY,
    MAX_BUNDLE_ITEMS, MAX_BUNDLED, MAX_FRAGMENT_BODY, MAX_REFUSE_TEXT, NodeMessage, Opinion, PathStatus,
    Purpose, Receipt, Refuse, ResetAck, Skip, Welcome, item, message,
};
use crate::config::PathClass;
use crate::id::{ConnId, Generation, PathId, Ssn, StreamId};

/// How frames are checked: a function that continues a CRC-32C, or `None` on a connection without checksums.
///
/// `f(state, bytes)` takes and gives the *finished* checksum of everything so far, 0 for nothing: `f(f(0, a), b) == f(0, a ++ b)`.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(pub Option<fn(u32, &[u8]) -> u32>);

impl Checksum {
    /// Continues the checksum `state` with `bytes`. Without checksums always 0, which is what the fields of the frame hold then.
    #[must_use]
    pub fn append(self, state: u32, bytes: &[u8]) -> u32 {
        self.0.map_or(0, |f| f(state, bytes))
    }

    /// Whether checksums are computed and verified at all.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.0.is_some()
    }
}

/// Header and head of a BUNDLE or a FRAGMENT, whose body travels from elsewhere.
pub const BODY_HEAD: usize = FRAME_HEADER + 32;

/// Appends a whole frame.
///
/// Handshake frames need a checksum function: [`super::Decoder`] refuses them without. Values that a peer would refuse (too many gaps or
/// records, a client name that is too long) are bugs of the caller, caught in debug builds. Log texts that are too long are cut.
pub fn encode_frame(frame: &Frame, sum: Checksum, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_zero::<FRAME_HEADER>();
    let kind = kind_of(frame);
    match frame {
        Frame::Hello(hello) => put_hello(hello, out),
        Frame::Welcome(welcome) => put_welcome(welcome, out),
        Frame::Proof { mac } => out.bytes(mac),
        Frame::Ready | Frame::Probe => {}
        Frame::Refuse(refuse) => put_refuse_head(refuse, out),
        Frame::Heartbeat(heartbeat) => put_heartbeat(heartbeat, out),
        Frame::NodeMessage(m) => put_node_message_head(m, out),
        Frame::Skip(skip) => put_skip(skip, out),
        Frame::Receipt(receipt) => put_receipt_head(receipt, out),
        Frame::Completions(completions) => put_completions_head(completions, out),
        Frame::PathStatus(status) => put_path_status(status, out),
        Frame::Close { reason, side } => {
            out.put_u16(*reason);
            out.put_side(*side);
            out.put_zero::<4>();
        }
        Frame::ResetAck(ack) => put_reset_ack_head(ack, out),
    }
    let body = out.len();
    debug_assert!([0, 8].contains(&(body - start - FRAME_HEADER - kind.head_len())), "{kind}");
    match frame {
        Frame::Refuse(refuse) => out.bytes(cut(&refuse.text, MAX_REFUSE_TEXT).as_bytes()),
        Frame::NodeMessage(m) => message::put_body(&m.body, out),
        Frame::Receipt(receipt) => put_receipt_body(receipt, out),
        Frame::Completions(completions) => put_completions_body(completions, out),
        Frame::ResetAck(ack) => put_reset_ack_body(ack, out),
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Proof { .. }
        | Frame::Ready
        | Frame::Heartbeat(_)
        | Frame::Skip(_)
        | Frame::Probe
        | Frame::PathStatus(_)
        | Frame::Close { .. } => {}
    }
    let body_len = out.len() - body;
    debug_assert!((kind.body_len().0..=kind.body_len().1).contains(&body_len), "{kind}: body of {body_len}");
    let body_crc = sum.append(0, &out[body..]);
    let header =
        header(kind, flags_of(frame), &out[start + FRAME_HEADER..body], body_len as u32, body_crc, sum);
    out[start..start + FRAME_HEADER].copy_from_slice(&header);
}

/// Appends an item to the body of a bundle. `stream`: stream and SSN, if the item does not simply follow the one before it (the first
/// item of a bundle never needs it: the head says the same).
#[inline]
pub fn encode_item(out: &mut Vec<u8>, flags: u8, stream: Option<(StreamId, Ssn)>, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_BUNDLED, "a message of {} bytes goes in fragments", payload.len());
    let [l0, l1] = (payload.len() as u16).to_le_bytes();
    match stream {
        None => {
            out.reserve(4 + payload.len());
            out.extend_from_slice(&[l0, l1, flags & !item::STREAM, 0]);
        }
        Some((stream, ssn)) => {
            out.reserve(16 + payload.len());
            let mut head = [0; 16];
            head[..4].copy_from_slice(&[l0, l1, flags | item::STREAM, 0]);
            head[4..8].copy_from_slice(&stream.0.to_le_bytes());
            head[8..].copy_from_slice(&ssn.0.to_le_bytes());
            out.extend_from_slice(&head);
        }
    }
    out.extend_from_slice(payload);
}

/// Header and head of the bundle whose body is `body`, the encoded items.
#[must_use]
pub fn encode_bundle_head(head: &BundleHead, body: &[u8], sum: Checksum) -> [u8; BODY_HEAD] {
    debug_assert!(body.len() <= MAX_BUNDLE_BODY, "a bundle of {} bytes", body.len());
    debug_assert!((1..=MAX_BUNDLE_ITEMS).contains(&usize::from(head.count)), "{head:?}");
    let mut fields = [0; 32];
    fields[0..8].copy_from_slice(&head.sn.0.to_le_bytes());
    fields[8..16].copy_from_slice(&head.ssn.0.to_le_bytes());
    fields[16..20].copy_from_slice(&head.stream.0.to_le_bytes());
    fields[20..22].copy_from_slice(&head.count.to_le_bytes());
    with_header(FrameKind::Bundle, &fields, body.len() as u32, sum.append(0, body), sum)
}

/// Header and head of a fragment. The body, `body_len` bytes with the checksum `body_crc`, follows from wherever it is.
#[must_use]
pub fn encode_fragment_head(
    head: &FragmentHead,
    body_len: u32,
    body_crc: u32,
    sum: Checksum,
) -> [u8; BODY_HEAD] {
    debug_assert!((1..=MAX_FRAGMENT_BODY as u32).contains(&body_len), "a fragment of {body_len} bytes");
    let mut fields = [0; 32];
    fields[0..8].copy_from_slice(&head.sn.0.to_le_bytes());
    fields[8..16].copy_from_slice(&head.ssn.0.to_le_bytes());
    fields[16..20].copy_from_slice(&head.stream.0.to_le_bytes());
    fields[20..24].copy_from_slice(&head.offset.to_le_bytes());
    fields[24..28].copy_from_slice(&head.total.to_le_bytes());
    fields[28] = head.flags;
    with_header(FrameKind::Fragment, &fields, body_len, body_crc, sum)
}

fn with_header(
    kind: FrameKind,
    fields: &[u8; 32],
    body_len: u32,
    body_crc: u32,
    sum: Checksum,
) -> [u8; BODY_HEAD] {
    let mut bytes = [0; BODY_HEAD];
    bytes[..FRAME_HEADER].copy_from_slice(&header(kind, 0, fields, body_len, body_crc, sum));
    bytes[FRAME_HEADER..].copy_from_slice(fields);
    bytes
}

fn header(
    kind: FrameKind,
    flags: u8,
    head: &[u8],
    body_len: u32,
    body_crc: u32,
    sum: Checksum,
) -> [u8; FRAME_HEADER] {
    let mut bytes = [0; FRAME_HEADER];
    bytes[0] = kind as u8;
    bytes[1] = flags;
    bytes[2..4].copy_from_slice(&(head.len() as u16).to_le_bytes());
    bytes[4..8].copy_from_slice(&body_len.to_le_bytes());
    bytes[8..12].copy_from_slice(&body_crc.to_le_bytes());
    let head_crc = sum.append(sum.append(0, &bytes[..12]), head);
    bytes[12..].copy_from_slice(&head_crc.to_le_bytes());
    bytes
}

fn kind_of(frame: &Frame) -> FrameKind {
    match frame {
        Frame::Hello(_) => FrameKind::Hello,
        Frame::Welcome(_) => FrameKind::Welcome,
        Frame::Proof { .. } => FrameKind::Proof,
        Frame::Ready => FrameKind::Ready,
        Frame::Refuse(_) => FrameKind::Refuse,
        Frame::Heartbeat(_) => FrameKind::Heartbeat,
        Frame::NodeMessage(_) => FrameKind::NodeMessage,
        Frame::Skip(_) => FrameKind::Skip,
        Frame::Receipt(_) => FrameKind::Receipt,
        Frame::Completions(_) => FrameKind::Completions,
        Frame::Probe => FrameKind::Probe,
        Frame::PathStatus(_) => FrameKind::PathStatus,
        Frame::Close { .. } => FrameKind::Close,
        Frame::ResetAck(_) => FrameKind::ResetAck,
    }
}

fn flags_of(frame: &Frame) -> u8 {
    match frame {
        Frame::Heartbeat(heartbeat) if heartbeat.reply => FLAG_REPLY,
        Frame::Heartbeat(_)
        | Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Proof { .. }
        | Frame::Ready
        | Frame::Refuse(_)
        | Frame::NodeMessage(_)
        | Frame::Skip(_)
        | Frame::Receipt(_)
        | Frame::Completions(_)
        | Frame::Probe
        | Frame::PathStatus(_)
        | Frame::Close { .. }
        | Frame::ResetAck(_) => 0,
    }
}

fn put_hello(hello: &Hello, out: &mut Vec<u8>) {
    let (purpose, port, path, conn, generation) = match hello.purpose {
        Purpose::Control => (0, 0, PathId(0), ConnId(0), Generation::default()),
        Purpose::Data { port, path, conn, generation } => (1, port, path, conn, generation),
    };
    out.bytes(&MAGIC);
    out.put_u16(hello.version_min);
    out.put_u16(hello.version_max);
    out.put_u8(purpose);
    out.put_zero::<3>();
    out.put_u64(hello.features);
    out.put_u32(hello.node.0);
    out.put_u32(hello.peer.0);
    out.put_u64(hello.incarnation.0);
    out.put_u32(hello.link.0);
    out.put_u32(port);
    out.bytes(&hello.nonce);
    out.put_u16(path.0);
    out.put_zero::<2>();
    out.put_u32(conn.0);
    out.put_generation(generation);
    out.put_zero::<8>();
}

fn put_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    out.put_u16(welcome.version);
    out.put_zero::<2>();
    out.put_u32(welcome.node.0);
    out.put_u64(welcome.incarnation.0);
    out.put_u64(welcome.features);
    out.put_zero::<8>();
    out.bytes(&welcome.nonce);
    out.bytes(&welcome.mac);
}

fn put_refuse_head(refuse: &Refuse, out: &mut Vec<u8>) {
    out.put_u16(refuse.reason);
    out.put_u16(refuse.version_min);
    out.put_u16(refuse.version_max);
    out.put_zero::<2>();
}

fn put_heartbeat(heartbeat: &Heartbeat, out: &mut Vec<u8>) {
    out.put_u64(heartbeat.sent);
    out.put_u64(heartbeat.echo);
    out.put_u64(heartbeat.held);
    out.put_u64(heartbeat.count);
    out.put_u64(heartbeat.heard);
}

fn put_node_message_head(message: &NodeMessage, out: &mut Vec<u8>) {
    out.put_u8(message::kind_number(&message.body));
    out.put_zero::<3>();
    out.put_u32(message.from.0);
    out.put_u64(message.from_incarnation.0);
    out.put_u32(message.to.0);
    out.put_zero::<4>();
    out.put_u64(message.to_incarnation.0);
}

fn put_skip(skip: &Skip, out: &mut Vec<u8>) {
    out.put_u64(skip.sn.0);
    out.put_u64(skip.ssn.0);
    out.put_u32(skip.stream.0);
    out.put_u32(skip.total);
    out.put_u8(skip.flags);
    out.put_zero::<7>();
}

fn put_receipt_head(receipt: &Receipt, out: &mut Vec<u8>) {
    out.put_u64(receipt.cumulative.0);
    out.put_u64(receipt.credit);
    out.put_u64(receipt.completions_seen);
    out.put_u16(receipt.gaps.len() as u16);
    out.put_u16(receipt.paths.len() as u16);
    out.put_zero::<4>();
    put_high_credit(receipt.high_credit, out);
}

fn put_receipt_body(receipt: &Receipt, out: &mut Vec<u8>) {
    for (first, last) in &receipt.gaps {
        out.put_u64(first.0);
        out.put_u64(last.0);
    }
    for record in &receipt.paths {
        out.put_u16(record.path.0);
        out.put_zero::<2>();
        out.put_u32(record.conn.0);
        out.put_u64(record.frames);
    }
}

fn put_completions_head(completions: &Completions, out: &mut Vec<u8>) {
    out.put_u64(completions.first);
    out.put_u32(completions.records.len() as u32);
    out.put_zero::<4>();
}

fn put_completions_body(completions: &Completions, out: &mut Vec<u8>) {
    for record in &completions.records {
        out.put_u64(record.sn.0);
        out.put_u32(record.count);
        out.bytes(&record.rc.to_le_bytes());
    }
}

fn put_path_status(status: &PathStatus, out: &mut Vec<u8>) {
    out.put_u16(status.path.0);
    out.put_u8(match status.opinion {
        Opinion::Good => 0,
        Opinion::Suspect => 1,
        Opinion::Unheard => 2,
    });
    out.put_u8(match status.class {
        PathClass::Normal => 0,
        PathClass::Standby => 1,
    });
    out.put_u32(status.conn.0);
    out.put_u64(status.base.0);
    out.put_zero::<8>();
}

fn put_reset_ack_head(ack: &ResetAck, out: &mut Vec<u8>) {
    out.put_u32(ack.first);
    out.put_u32(ack.total);
    out.put_u64(ack.credit);
    out.put_u32(ack.records.len() as u32);
    out.put_zero::<12>();
    put_high_credit(ack.high_credit, out);
}

/// In sessions with classes heads that state credit are longer by this (M11).
fn put_high_credit(credit: Option<u64>, out: &mut Vec<u8>) {
    if let Some(credit) = credit {
        out.put_u64(credit);
    }
}

fn put_reset_ack_body(ack: &ResetAck, out: &mut Vec<u8>) {
    for record in &ack.records {
        out.put_u64(record.first.0);
        out.put_u64(record.last.0);
        out.bytes(&record.rc.unwrap_or_default().to_le_bytes());
        out.put_u8(u8::from(record.rc.is_some()));
        out.put_zero::<3>();
    }
}
