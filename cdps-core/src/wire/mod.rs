//! The wire format of docs/protocol.md: frames as values, their encoding, and an incremental decoder.

mod decode;
mod encode;
mod error;
mod fields;
mod items;
mod kind;
mod message;

use std::net::SocketAddr;

pub use decode::{Decoder, Step};
pub use encode::{BODY_HEAD, Checksum, encode_bundle_head, encode_fragment_head, encode_frame, encode_item};
pub use error::DecodeError;
pub use fields::MAX_NUMBER;
pub use items::Items;
pub use kind::FrameKind;

use crate::config::PathClass;
use crate::id::{
    ConnId, Generation, Incarnation, LinkId, NodeId, PathId, SessionId, Side, Sn, Ssn, StreamId,
};
use crate::reason::Reason;
use crate::secret::Secret;

/// First bytes of every HELLO.
pub const MAGIC: [u8; 8] = *b"CDPS\r\n\x1a\0";
/// The protocol version of this library.
pub const VERSION: u16 = 1;
/// Length of the fixed part of every frame.
pub const FRAME_HEADER: usize = 16;
/// Longest head that a frame may have.
pub const MAX_HEAD: usize = 256;
/// Paths of a session.
pub const MAX_PATHS: usize = 64;
/// Addresses in an ANSWER.
pub const MAX_ADDRESSES: usize = 16;
/// Longest client name, in bytes.
pub const MAX_CLIENT_NAME: usize = 255;
/// Longest body of a NODE_MESSAGE.
pub const MAX_NODE_MESSAGE: usize = 8192;
/// Longest text of a REFUSE.
pub const MAX_REFUSE_TEXT: usize = 256;
/// Longest message that travels in a bundle; longer ones are fragments.
pub const MAX_BUNDLED: usize = 2048;
/// Longest body of a BUNDLE.
pub const MAX_BUNDLE_BODY: usize = 65_536;
/// Most items of a BUNDLE.
pub const MAX_BUNDLE_ITEMS: usize = 4096;
/// Longest body of a FRAGMENT.
pub const MAX_FRAGMENT_BODY: usize = 1 << 20;
/// Largest `max_message`.
pub const MAX_MESSAGE: u32 = 1 << 30;
/// Most gap blocks of a RECEIPT.
pub const MAX_GAPS: usize = 64;
/// Most records of a COMPLETIONS.
pub const MAX_COMPLETIONS: usize = 1024;
/// Most records of a RESET_ACK.
pub const MAX_LEDGER_RECORDS: usize = 1024;
/// Most records of a whole ledger.
pub const MAX_LEDGER: u32 = 1 << 21;
/// What a message costs on top of its length (M7).
pub const MESSAGE_COST: u64 = 256;

/// Item flags of BUNDLE and FRAGMENT.
pub mod item {
    /// The item names its stream (bundles only).
    pub const STREAM: u8 = 0x01;
    /// First message of its stream in this generation.
    pub const START: u8 = 0x02;
    /// An earlier target may have delivered it.
    pub const REDELIVERED: u8 = 0x04;
    /// Holds the place of a message that will not come.
    pub const TOMBSTONE: u8 = 0x08;
    /// The target's user will acknowledge it.
    pub const SYNC: u8 = 0x10;
    /// Reserved (M9).
    pub const BARRIER: u8 = 0x20;
    /// Reserved (M2).
    pub const RETIRE: u8 = 0x40;
    /// It is of the high class (M11).
    pub const HIGH: u8 = 0x80;
}

/// Flags of CONNECT.
pub mod connect {
    /// The source has a role epoch: it means a client that serves one source at a time (L4).
    pub const EXCLUSIVE: u16 = 0x0001;
    /// The session that the target has goes on under the new generation, and the target says what it had (F3).
    pub const RESET: u16 = 0x0002;
}

/// Features of a session, which each end names in CONNECT or ANSWER: what it understands beyond the first release of the version. Bits that are
/// not known are ignored (U7).
pub mod feature {
    /// PATH_STATUS with status 2 (T5).
    pub const ONE_WAY: u64 = 1 << 0;
    /// Messages have priority classes, each with credit of its own (M11); both ends must name it.
    pub const CLASSES: u64 = 1 << 1;
    /// SKIP (M8).
    pub const SKIP: u64 = 1 << 2;
    /// All that this release understands.
    pub const ALL: u64 = ONE_WAY | CLASSES | SKIP;
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Heartbeats and node messages of a link.
    Control,
    /// Messages of one path of a session.
    Data {
        /// Port number of the session (its node and incarnation are the dialler's).
        port: u32,
        /// Path that the connection serves.
        path: PathId,
        /// Dial number on that path.
        conn: ConnId,
        /// Generation of the session.
        generation: Generation,
    },
}

/// First frame of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Lowest version that the dialler speaks.
    pub version_min: u16,
    /// Highest version that the dialler speaks.
    pub version_max: u16,
    /// Features offered (bit 0: no checksum).
    pub features: u64,
    /// The dialler.
    pub node: NodeId,
    /// The node it means to reach.
    pub peer: NodeId,
    /// The dialler's incarnation.
    pub incarnation: Incarnation,
    /// The dialler's number for the address pair.
    pub link: LinkId,
    /// Random.
    pub nonce: [u8; 32],
    /// What the connection is for.
    pub purpose: Purpose,
}

/// The acceptor's answer to a HELLO.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Version chosen.
    pub version: u16,
    /// The acceptor.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Features chosen.
    pub features: u64,
    /// Random.
    pub nonce: [u8; 32],
    /// Proof of the session secret; zero on control connections.
    pub mac: [u8; 32],
}

/// Last frame of a connection that was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refuse {
    /// Why, as a number (newer peers may know more than [`Reason`]).
    pub reason: u16,
    /// Lowest version spoken.
    pub version_min: u16,
    /// Highest version spoken.
    pub version_max: u16,
    /// For a log line.
    pub text: String,
}

/// HEARTBEAT of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heartbeat {
    /// Answer at once.
    pub reply: bool,
    /// The sender's clock, ns.
    pub sent: u64,
    /// Newest `sent` heard from the peer on this link; 0 if none.
    pub echo: u64,
    /// ns between hearing `echo` and building this frame.
    pub held: u64,
    /// Heartbeats sent on this link.
    pub count: u64,
    /// Heartbeats heard on this link.
    pub heard: u64,
}

/// NODE_MESSAGE: self-contained, idempotent, bound to no connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeMessage {
    /// Who says it.
    pub from: NodeId,
    /// Incarnation of who says it.
    pub from_incarnation: Incarnation,
    /// To whom.
    pub to: NodeId,
    /// To which incarnation (0: any).
    pub to_incarnation: Incarnation,
    /// What.
    pub body: NodeBody,
}

/// What a NODE_MESSAGE says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeBody {
    /// A source asks to connect a port (Fig. 6).
    Connect(Connect),
    /// The target's answer.
    Answer(Answer),
    /// The source takes the lease of a session away.
    Revoke {
        /// Which session.
        session: SessionId,
        /// Which generation of it.
        generation: Generation,
    },
    /// The target delivers nothing more.
    Released {
        /// Which session.
        session: SessionId,
        /// Which generation of it.
        generation: Generation,
    },
    /// The session is over.
    Bye {
        /// Which session.
        session: SessionId,
        /// Which generation of it.
        generation: Generation,
        /// Why, as a number.
        reason: u16,
        /// Who says so.
        side: Side,
    },
}

/// CONNECT: a source asks to connect a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connect {
    /// The session.
    pub session: SessionId,
    /// Its new generation.
    pub generation: Generation,
    /// Protocol version of the session.
    pub version: u16,
    /// What is asked for beyond that (see [`connect`]). Any value can be decoded: the target judges it.
    pub flags: u16,
    /// Paths that will be dialled.
    pub paths: u32,
    /// Features offered (see [`feature`]).
    pub features: u64,
    /// Credit that the source grants at first.
    pub window: u64,
    /// Credit that it grants at first to the high class (M11); 0 from a source without [`feature::CLASSES`].
    pub high_window: u64,
    /// Longest message that the source takes and sends.
    pub max_message: u64,
    /// Most streams of a direction.
    pub max_streams: u32,
    /// How long the target keeps the session without contact, ms.
    pub session_timeout_ms: u32,
    /// Where the target's message numbers start: above every one that the source has seen on this port.
    pub first: Sn,
    /// Name of the client on the target.
    pub client: String,
}

/// ANSWER to a CONNECT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The session asked for.
    pub session: SessionId,
    /// The generation asked for.
    pub generation: Generation,
    /// 0: accepted. Else why not.
    pub reason: u16,
    /// Highest generation that the target has accepted of this source for this client.
    pub highest: Generation,
    /// Credit that the target grants at first.
    pub window: u64,
    /// Longest message of either direction.
    pub max_message: u64,
    /// Most streams of a direction.
    pub max_streams: u32,
    /// Key for the proofs of this generation's data connections.
    pub secret: Secret,
    /// Where the target listens.
    pub addresses: Vec<SocketAddr>,
    /// For a log line.
    pub text: Box<str>,
    /// What the target understands ([`feature`]); the first release says nothing, which is none.
    pub features: u64,
    /// Credit that the target grants at first to the high class (M11); 0 from a target without [`feature::CLASSES`].
    pub high_window: u64,
}

/// Head of a BUNDLE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BundleHead {
    /// SN of the first item; the others follow without holes.
    pub sn: Sn,
    /// SSN of the first item.
    pub ssn: Ssn,
    /// Stream of the first item.
    pub stream: StreamId,
    /// Number of items.
    pub count: u16,
}

/// One item of a bundle, as decoded: its payload is `body[offset .. offset + len]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Message number.
    pub sn: Sn,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in the stream.
    pub ssn: Ssn,
    /// Item flags, without STREAM.
    pub flags: u8,
    /// Where the payload starts in the body.
    pub offset: u32,
    /// Length of the payload.
    pub len: u32,
}

/// Head of a FRAGMENT; the body is the payload slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentHead {
    /// Message number.
    pub sn: Sn,
    /// Its number in the stream.
    pub ssn: Ssn,
    /// Its stream.
    pub stream: StreamId,
    /// Where the slice belongs in the message.
    pub offset: u32,
    /// Length of the message.
    pub total: u32,
    /// Item flags.
    pub flags: u8,
}

/// SKIP: a message that has begun to travel, and will not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Skip {
    /// Message number.
    pub sn: Sn,
    /// Its number in the stream.
    pub ssn: Ssn,
    /// Its stream.
    pub stream: StreamId,
    /// Length that the message had: what it cost goes back.
    pub total: u32,
    /// Item flags: [`item::START`] and [`item::HIGH`] alone.
    pub flags: u8,
}

/// RECEIPT: what has arrived, and what may be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// Every SN up to here has been received whole.
    pub cumulative: Sn,
    /// Total cost that may have been spent.
    pub credit: u64,
    /// The same for the high class, if the session has classes (M11).
    pub high_credit: Option<u64>,
    /// Completion records taken.
    pub completions_seen: u64,
    /// Runs (first, last) received above `cumulative`, ascending.
    pub gaps: Vec<(Sn, Sn)>,
    /// Frames received whole per connection.
    pub paths: Vec<PathRecord>,
}

/// How many frames came on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathRecord {
    /// The path.
    pub path: PathId,
    /// The connection.
    pub conn: ConnId,
    /// Frames received whole since READY.
    pub frames: u64,
}

/// COMPLETIONS: what the target's user answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Completions {
    /// Number of the first record.
    pub first: u64,
    /// The records.
    pub records: Vec<CompletionRecord>,
}

/// A run of messages acknowledged with the same code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletionRecord {
    /// First message of the run.
    pub sn: Sn,
    /// Length of the run, at least 1.
    pub count: u32,
    /// The user's return code.
    pub rc: i32,
}

/// RESET_ACK: a part of what the target had of the messages of former generations (F3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResetAck {
    /// How many records of the ledger came before these, on this connection.
    pub first: u32,
    /// Records of the whole ledger.
    pub total: u32,
    /// Total cost that may be spent at first: the window, less what the target's user has kept.
    pub credit: u64,
    /// The same for the high class, if the session has classes (M11).
    pub high_credit: Option<u64>,
    /// The records.
    pub records: Vec<LedgerRecord>,
}

/// A run of messages that the target had before a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerRecord {
    /// First message of the run.
    pub first: Sn,
    /// Last message of the run.
    pub last: Sn,
    /// What the target's user answered. `None`: nothing yet; they were delivered, or will be.
    pub rc: Option<i32>,
}

/// PATH_STATUS: the sender's opinion of a path, and where its numbers start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStatus {
    /// The path.
    pub path: PathId,
    /// The connection.
    pub conn: ConnId,
    /// What the sender thinks of it.
    pub opinion: Opinion,
    /// What it is for, as the source's address table says. A target says [`PathClass::Normal`], and is not listened to.
    pub class: PathClass,
    /// First SN that the sender sends in this generation.
    pub base: Sn,
}

/// What one end thinks of a path (T3, T5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Opinion {
    /// It works.
    Good,
    /// In doubt.
    Suspect,
    /// In doubt, since it is one-way: this end hears the other one, which does not hear this end.
    Unheard,
}

/// Every frame that carries no payload of the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// First frame, dialler.
    Hello(Hello),
    /// First frame, acceptor.
    Welcome(Welcome),
    /// Dialler's proof.
    Proof {
        /// Proof of the session secret.
        mac: [u8; 32],
    },
    /// Data connection accepted.
    Ready,
    /// Connection refused.
    Refuse(Refuse),
    /// Liveness of a link.
    Heartbeat(Heartbeat),
    /// Between nodes.
    NodeMessage(NodeMessage),
    /// A message will not come.
    Skip(Skip),
    /// What has arrived.
    Receipt(Receipt),
    /// What the user answered.
    Completions(Completions),
    /// Asks for a receipt at once.
    Probe,
    /// Opinion of a path.
    PathStatus(PathStatus),
    /// The session is over.
    Close {
        /// Why, as a number.
        reason: u16,
        /// Who says so.
        side: Side,
    },
    /// What the target of a reset had.
    ResetAck(ResetAck),
}

impl Connect {
    /// Whether it asks the target to go on with the session that it has (F3).
    #[must_use]
    pub fn resets(&self) -> bool {
        self.flags & connect::RESET != 0
    }

    /// Whether a target of this version can serve what is asked for. If not, the answer says why, and nothing else comes of it.
    ///
    /// # Errors
    /// Another version, or a flag that is not known.
    pub fn judge(&self) -> Result<(), Reason> {
        if self.version != VERSION {
            return Err(Reason::UnsupportedVersion);
        }
        if self.flags & !(connect::EXCLUSIVE | connect::RESET) != 0 {
            return Err(Reason::UnsupportedFeature);
        }
        Ok(())
    }
}

impl Answer {
    /// The answer to a CONNECT that is not accepted. `highest`: the highest generation accepted before.
    #[must_use]
    pub fn refusal(connect: &Connect, reason: Reason, highest: Generation, text: String) -> Answer {
        Answer {
            session: connect.session,
            generation: connect.generation,
            reason: reason as u16,
            highest,
            window: 0,
            max_message: 0,
            max_streams: 0,
            secret: Secret::NONE,
            addresses: Vec::new(),
            text: text.into(),
            features: 0,
            high_window: 0,
        }
    }
}

/// A reason from the wire, with numbers that this version does not know read as a protocol error.
#[must_use]
pub fn reason_of(number: u16) -> Reason {
    Reason::from_number(number).unwrap_or(Reason::ProtocolError)
}
