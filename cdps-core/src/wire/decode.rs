//! From bytes to values, as they come in.

use std::ops::Range;

use super::encode::Checksum;
use super::error::DecodeError;
use super::fields::{Fields, MAX_NUMBER, text};
use super::items::{check_items, read_bundle_head, read_fragment_head, read_skip};
use super::kind::{FLAG_REPLY, FrameKind, Header};
use super::{
    BundleHead, CompletionRecord, Completions, FRAME_HEADER, FragmentHead, Frame, Heartbeat, Hello,
    LedgerRecord, MAGIC, MAX_COMPLETIONS, MAX_GAPS, MAX_LEDGER, MAX_LEDGER_RECORDS, MAX_PATHS, NodeMessage,
    Opinion, PathRecord, PathStatus, Purpose, Receipt, Refuse, ResetAck, Welcome, message,
};
use crate::config::PathClass;
use crate::id::{Incarnation, LinkId, Sn};

/// Cuts a stream of bytes into frames. It holds no bytes: the caller keeps what is not consumed yet, and shows all of it each time.
///
/// What it returns depends on the bytes alone, not on how they were cut into reads. Which frames are legal on a connection, and when, is
/// the caller's business, with one exception: handshake frames are refused once there are no checksums. So a connection with
/// `NO_CHECKSUM` calls [`Decoder::set_checksum`] when its handshake is over, not when WELCOME has come.
///
/// After an error the connection is over.
#[derive(Debug)]
pub struct Decoder {
    sum: Checksum,
}

/// What the front of the input is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing can be said of less than so many bytes (more than there are). At most a header and the longest head and body of a frame
    /// that is not a fragment, 65,808 bytes.
    Need(usize),
    /// A frame without payload.
    Frame {
        /// The frame.
        frame: Frame,
        /// Its length in the input.
        consumed: usize,
    },
    /// A whole bundle, with its checksum and every item verified: [`super::Items`] over it gives no error.
    Bundle {
        /// Its head.
        head: BundleHead,
        /// Where its body is in the input.
        body: Range<usize>,
        /// Its length in the input.
        consumed: usize,
    },
    /// A verified head of a fragment. The body follows in the stream: the caller takes `len` bytes wherever it wants them, and
    /// compares their checksum with `crc` (see [`Checksum::append`]) before they have an effect.
    Fragment {
        /// Its head.
        head: FragmentHead,
        /// Length of the body.
        len: u32,
        /// Checksum of the body; without meaning if the connection has none.
        crc: u32,
        /// Length of header and head in the input. The body starts behind them.
        consumed: usize,
    },
}

impl Decoder {
    /// A decoder for a connection's first frame on.
    #[must_use]
    pub fn new(sum: Checksum) -> Decoder {
        Decoder { sum }
    }

    /// How frames are checked from now on.
    pub fn set_checksum(&mut self, sum: Checksum) {
        self.sum = sum;
    }

    /// Looks at `input`, all bytes that are not consumed yet. Never consumes part of a header, head, control frame or bundle.
    ///
    /// # Errors
    /// What is wrong with the frame, as early as its bytes tell: type and lengths from its first 16 bytes.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, DecodeError> {
        let Some(header) = input.first_chunk::<FRAME_HEADER>() else {
            return Ok(Step::Need(FRAME_HEADER));
        };
        let head_checked = &header[..12];
        let header = Header::parse(header)?;
        let frame = header.kind;
        if frame.is_handshake() && !self.sum.is_on() {
            return Err(DecodeError::Unchecked { frame });
        }
        let body_start = FRAME_HEADER + header.head_len;
        let Some(head) = input.get(FRAME_HEADER..body_start) else {
            return Ok(Step::Need(body_start));
        };
        self.check_head(&header, head_checked, head)?;
        let head = Fields::new(frame, head);
        if frame == FrameKind::Fragment {
            let len = header.body_len as u32;
            let head = read_fragment_head(head, len)?;
            return Ok(Step::Fragment { head, len, crc: header.body_crc, consumed: body_start });
        }
        let consumed = body_start + header.body_len;
        let Some(body) = input.get(body_start..consumed) else {
            return Ok(Step::Need(consumed));
        };
        self.check_body(&header, body)?;
        if frame == FrameKind::Bundle {
            let head = read_bundle_head(head)?;
            check_items(&head, body)?;
            return Ok(Step::Bundle { head, body: body_start..consumed, consumed });
        }
        let frame = read_frame(&header, head, body)?;
        Ok(Step::Frame { frame, consumed })
    }

    fn check_head(&self, header: &Header, first: &[u8], head: &[u8]) -> Result<(), DecodeError> {
        let Some(sum) = self.sum.0 else { return Ok(()) };
        let computed = sum(sum(0, first), head);
        if computed == header.head_crc {
            return Ok(());
        }
        Err(DecodeError::HeadChecksum { frame: header.kind, stated: header.head_crc, computed })
    }

    fn check_body(&self, header: &Header, body: &[u8]) -> Result<(), DecodeError> {
        let Some(sum) = self.sum.0 else { return Ok(()) };
        let computed = sum(0, body);
        if computed == header.body_crc {
            return Ok(());
        }
        Err(DecodeError::BodyChecksum { frame: header.kind, stated: header.body_crc, computed })
    }
}

/// Reads a frame that carries no payload.
fn read_frame(header: &Header, mut head: Fields<'_>, body: &[u8]) -> Result<Frame, DecodeError> {
    match header.kind {
        FrameKind::Hello => read_hello(head).map(Frame::Hello),
        FrameKind::Welcome => read_welcome(head).map(Frame::Welcome),
        FrameKind::Proof => Ok(Frame::Proof { mac: head.array("MAC")? }),
        FrameKind::Ready => Ok(Frame::Ready),
        FrameKind::Refuse => read_refuse(head, body).map(Frame::Refuse),
        FrameKind::Heartbeat => read_heartbeat(header.flags, head).map(Frame::Heartbeat),
        FrameKind::NodeMessage => {
            read_node_message(head, Fields::new(header.kind, body)).map(Frame::NodeMessage)
        }
        FrameKind::Skip => read_skip(head).map(Frame::Skip),
        FrameKind::Receipt => read_receipt(head, Fields::new(header.kind, body)).map(Frame::Receipt),
        FrameKind::Completions => {
            read_completions(head, Fields::new(header.kind, body)).map(Frame::Completions)
        }
        FrameKind::Probe => Ok(Frame::Probe),
        FrameKind::PathStatus => read_path_status(head).map(Frame::PathStatus),
        FrameKind::Close => {
            let (reason, side) = (head.u16("reason")?, head.side()?);
            head.zero::<4>("reserved field")?;
            Ok(Frame::Close { reason, side })
        }
        FrameKind::ResetAck => read_reset_ack(head, Fields::new(header.kind, body)).map(Frame::ResetAck),
        FrameKind::Bundle | FrameKind::Fragment => unreachable!("{} has its own step", header.kind),
    }
}

/// Fields given as 0 are ignored here: a later version, which has yet to find out what we speak, may use them.
fn read_hello(mut head: Fields<'_>) -> Result<Hello, DecodeError> {
    let magic = head.array::<8>("magic")?;
    if magic != MAGIC {
        return Err(DecodeError::Magic { found: magic });
    }
    let version_min = head.u16("version_min")?;
    let version_max = head.u16("version_max")?;
    let purpose = head.u8("purpose")?;
    head.take("reserved field", 3)?;
    let features = head.u64("features")?;
    let node = head.node("node")?;
    let peer = head.node("node meant")?;
    let incarnation = head.incarnation("incarnation")?;
    let link = LinkId(head.u32("link")?);
    let port = head.u32("port")?;
    let nonce = head.array("nonce")?;
    let purpose = match purpose {
        0 => Purpose::Control,
        1 => {
            let path = head.path()?;
            head.take("reserved field", 2)?;
            Purpose::Data { port, path, conn: head.conn()?, generation: head.generation()? }
        }
        unknown => return Err(head.wrong("purpose", unknown.into())),
    };
    Ok(Hello { version_min, version_max, features, node, peer, incarnation, link, nonce, purpose })
}

fn read_welcome(mut head: Fields<'_>) -> Result<Welcome, DecodeError> {
    let version = head.u16("version")?;
    head.zero::<2>("reserved field")?;
    let node = head.node("node")?;
    let incarnation = head.incarnation("incarnation")?;
    let features = head.u64("features")?;
    head.zero::<8>("reserved field")?;
    Ok(Welcome { version, node, incarnation, features, nonce: head.array("nonce")?, mac: head.array("MAC")? })
}

/// The field given as 0 is ignored here, as in HELLO.
fn read_refuse(mut head: Fields<'_>, body: &[u8]) -> Result<Refuse, DecodeError> {
    Ok(Refuse {
        reason: head.u16("reason")?,
        version_min: head.u16("version_min")?,
        version_max: head.u16("version_max")?,
        text: text(FrameKind::Refuse, "text", body)?.to_owned(),
    })
}

fn read_heartbeat(flags: u8, mut head: Fields<'_>) -> Result<Heartbeat, DecodeError> {
    let sent = head.u64("sent")?;
    if sent == 0 {
        return Err(head.wrong("sent", sent));
    }
    Ok(Heartbeat {
        reply: flags & FLAG_REPLY != 0,
        sent,
        echo: head.u64("echo")?,
        held: head.u64("held")?,
        count: head.u64("count")?,
        heard: head.u64("heard")?,
    })
}

fn read_node_message(mut head: Fields<'_>, body: Fields<'_>) -> Result<NodeMessage, DecodeError> {
    let kind = head.u8("kind")?;
    head.zero::<3>("reserved field")?;
    let from = head.node("source node")?;
    let from_incarnation = head.incarnation("source incarnation")?;
    let to = head.node("destination node")?;
    head.zero::<4>("reserved field")?;
    let to_incarnation = Incarnation(head.u64("destination incarnation")?);
    let body = message::read_body(kind, body)?;
    Ok(NodeMessage { from, from_incarnation, to, to_incarnation, body })
}

fn read_receipt(mut head: Fields<'_>, mut body: Fields<'_>) -> Result<Receipt, DecodeError> {
    let cumulative = head.u64("cumulative")?;
    if cumulative > MAX_NUMBER {
        return Err(head.wrong("cumulative", cumulative));
    }
    let credit = head.u64("credit")?;
    let completions_seen = head.u64("completions_seen")?;
    if completions_seen > MAX_NUMBER {
        return Err(head.wrong("completions_seen", completions_seen));
    }
    let gaps = usize::from(head.u16("number of gap blocks")?);
    if gaps > MAX_GAPS {
        return Err(head.above("number of gap blocks", gaps as u64));
    }
    let paths = usize::from(head.u16("number of path records")?);
    if paths > MAX_PATHS {
        return Err(head.above("number of path records", paths as u64));
    }
    head.zero::<4>("reserved field")?;
    let high_credit = head.later_u64("credit of the high class")?;
    let gaps = read_gaps(cumulative, gaps, &mut body)?;
    let paths = (0..paths).map(|_| read_path_record(&mut body)).collect::<Result<_, _>>()?;
    body.end()?;
    Ok(Receipt { cumulative: Sn(cumulative), credit, high_credit, completions_seen, gaps, paths })
}

/// Runs that ascend and leave at least one SN between each other, and between the first and `below`.
fn read_gaps(mut below: u64, count: usize, body: &mut Fields<'_>) -> Result<Vec<(Sn, Sn)>, DecodeError> {
    let mut gaps = Vec::with_capacity(count);
    for _ in 0..count {
        let first = body.sn("first SN of a gap block")?;
        let last = body.sn("last SN of a gap block")?;
        if first.0 - 1 <= below {
            return Err(body.wrong("first SN of a gap block", first.0));
        }
        if last < first {
            return Err(body.wrong("last SN of a gap block", last.0));
        }
        below = last.0;
        gaps.push((first, last));
    }
    Ok(gaps)
}

fn read_path_record(body: &mut Fields<'_>) -> Result<PathRecord, DecodeError> {
    let path = body.path()?;
    body.zero::<2>("reserved field of a path record")?;
    Ok(PathRecord { path, conn: body.conn()?, frames: body.u64("frames")? })
}

fn read_completions(mut head: Fields<'_>, mut body: Fields<'_>) -> Result<Completions, DecodeError> {
    let first = head.number("number of the first record")?;
    let count = head.u32("number of records")?;
    if count == 0 {
        return Err(head.wrong("number of records", 0));
    }
    if count as usize > MAX_COMPLETIONS {
        return Err(head.above("number of records", count.into()));
    }
    if first > MAX_NUMBER - u64::from(count - 1) {
        return Err(head.wrong("number of the first record", first));
    }
    head.zero::<4>("reserved field")?;
    let records = (0..count).map(|_| read_completion(&mut body)).collect::<Result<_, _>>()?;
    body.end()?;
    Ok(Completions { first, records })
}

fn read_completion(body: &mut Fields<'_>) -> Result<CompletionRecord, DecodeError> {
    let sn = body.sn("first SN of a record")?;
    let count = body.u32("number of SNs")?;
    if count == 0 || sn.0 > MAX_NUMBER - u64::from(count - 1) {
        return Err(body.wrong("number of SNs", count.into()));
    }
    Ok(CompletionRecord { sn, count, rc: i32::from_le_bytes(body.array("RC")?) })
}

fn read_path_status(mut head: Fields<'_>) -> Result<PathStatus, DecodeError> {
    let path = head.path()?;
    let opinion = match head.u8("status")? {
        0 => Opinion::Good,
        1 => Opinion::Suspect,
        2 => Opinion::Unheard,
        unknown => return Err(head.wrong("status", unknown.into())),
    };
    let class = match head.u8("class")? {
        0 => PathClass::Normal,
        1 => PathClass::Standby,
        unknown => return Err(head.wrong("class", unknown.into())),
    };
    let conn = head.conn()?;
    let base = head.sn("base")?;
    head.zero::<8>("reserved field")?;
    Ok(PathStatus { path, conn, opinion, class, base })
}

fn read_reset_ack(mut head: Fields<'_>, mut body: Fields<'_>) -> Result<ResetAck, DecodeError> {
    let first = head.u32("records before")?;
    let total = head.u32("records of the ledger")?;
    if total > MAX_LEDGER {
        return Err(head.above("records of the ledger", total.into()));
    }
    let credit = head.u64("credit")?;
    let count = head.u32("number of records")?;
    if count as usize > MAX_LEDGER_RECORDS || u64::from(first) + u64::from(count) > u64::from(total) {
        return Err(head.above("number of records", count.into()));
    }
    head.zero::<12>("reserved field")?;
    let high_credit = head.later_u64("credit of the high class")?;
    let records = (0..count).map(|_| read_ledger_record(&mut body)).collect::<Result<_, _>>()?;
    body.end()?;
    Ok(ResetAck { first, total, credit, high_credit, records })
}

fn read_ledger_record(body: &mut Fields<'_>) -> Result<LedgerRecord, DecodeError> {
    let first = body.sn("first SN of a record")?;
    let last = body.sn("last SN of a record")?;
    if last < first {
        return Err(body.wrong("last SN of a record", last.0));
    }
    let rc = i32::from_le_bytes(body.array("RC")?);
    let rc = match body.u8("verdict")? {
        0 => None,
        1 => Some(rc),
        unknown => return Err(body.wrong("verdict", unknown.into())),
    };
    body.zero::<3>("reserved field of a record")?;
    Ok(LedgerRecord { first, last, rc })
}
