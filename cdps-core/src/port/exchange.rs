//! What goes into a port and comes out of it besides events and actions: messages, refusals, frames, figures.

use std::ops::Range;

use thiserror::Error;

use super::state::StateError;
use crate::config::AckModel;
use crate::id::{NodeId, Sn, Ssn, StreamId};
use crate::time::Duration;
use crate::wire::{BundleHead, FragmentHead, Frame, Item};

/// Handle of the bytes of a sent message. The engine keeps it, clones it, and hands it back.
pub trait Payload: Clone {
    /// Makes this handle stand for its own bytes and those of `next`, if they lie directly behind them; else changes nothing and says
    /// false, which is always right. Neighbours are written from one handle then.
    fn join(&mut self, next: &Self) -> bool {
        let _ = next;
        false
    }
}

/// A message to send.
#[derive(Clone, Debug)]
pub struct Outbound<S> {
    /// Its stream.
    pub stream: StreamId,
    /// Its length in bytes.
    pub len: u32,
    /// Its acknowledgment model; `None`: the port's.
    pub ack: Option<AckModel>,
    /// If no byte of it has been handed to a transport this long after it was accepted, it is nacked (M10). `None`: it waits.
    pub deadline: Option<Duration>,
    /// It is delivered after everything that was sent before it, and before anything that is sent later, on all streams (M9).
    pub barrier: bool,
    /// Handle of its bytes.
    pub payload: S,
}

/// Why a send was refused. The payload comes back with it, and no event will come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SendError {
    /// The port is not in a state to send.
    #[error(transparent)]
    State(#[from] StateError),
    /// The connection is down (F2): sends fail until it is up again.
    #[error("the connection is down; sends fail until it is up again")]
    Down,
    /// The port is being closed or stopped.
    #[error("the port is closing")]
    Closing,
    /// Longer than both ends allow.
    #[error("a message of {len} bytes is too long; at most {max} are allowed")]
    TooLong {
        /// Its length.
        len: u32,
        /// What is allowed.
        max: u64,
    },
    /// The send buffer is full: again later (M6).
    #[error("{held} bytes are unfinished, {len} more would pass send_buffer_max ({max})")]
    Full {
        /// Bytes that are unfinished.
        held: u64,
        /// Length of this message.
        len: u32,
        /// The limit.
        max: u64,
    },
    /// The oldest unfinished message has too many after it: again later (M6).
    #[error("{messages} messages have been sent since the oldest unfinished one, the most that there may be")]
    Crowded {
        /// How many.
        messages: u64,
    },
    /// Too many completions wait for dispatch: again later, but not by waiting, for the thread may be the one that they wait for (M6).
    #[error("{pending} completions wait to be dispatched (max_pending_events)")]
    Backlog {
        /// How many wait.
        pending: u32,
    },
    /// No more streams can be opened (M2).
    #[error("stream {stream} would be one more than the {max} streams that both ends allow")]
    TooManyStreams {
        /// The stream.
        stream: StreamId,
        /// What is allowed.
        max: u32,
    },
}

/// A send that was refused: why, and the payload back. In a box, so that the usual answer is short.
pub type Refused<S> = Box<(SendError, S)>;

impl SendError {
    /// Whether to wait may help: [`super::Port::has_room`] will say so.
    #[must_use]
    pub fn is_for_room(&self) -> bool {
        matches!(self, SendError::Full { .. } | SendError::Crowded { .. })
    }

    /// Whether the same send may succeed later without anything else being done.
    #[must_use]
    pub fn is_again(&self) -> bool {
        match self {
            SendError::Full { .. } | SendError::Crowded { .. } | SendError::Backlog { .. } => true,
            SendError::State(_)
            | SendError::Down
            | SendError::Closing
            | SendError::TooLong { .. }
            | SendError::TooManyStreams { .. } => false,
        }
    }
}

/// Why an acknowledgment was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum AckError {
    /// No message with this number waits for an acknowledgment in this session.
    #[error(
        "message {sn} does not wait for an acknowledgment (not received here, not synchronous, or acknowledged before)"
    )]
    NotOwed {
        /// The message.
        sn: Sn,
    },
}

/// Why a connect was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ConnectError {
    /// The port is not in a state to connect.
    #[error(transparent)]
    State(#[from] StateError),
    /// The node is not among the port's targets.
    #[error("node {node} is not among the targets of the port")]
    NotATarget {
        /// The node.
        node: NodeId,
    },
    /// The port has no target.
    #[error("the port has no target")]
    NoTarget,
    /// The port is connected to another node.
    #[error("the port is connected to node {connected}, and its link is up: use switch, or close first")]
    OtherTarget {
        /// Where it is connected.
        connected: NodeId,
    },
    /// A switch to the present target.
    #[error("the port is connected to node {node} already")]
    There {
        /// The node.
        node: NodeId,
    },
    /// A switch while another one is under way.
    #[error("the port is on its way to node {to} already")]
    Switching {
        /// Where it goes.
        to: NodeId,
    },
}

/// Why a stream did not get a contract (M11). Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ContractError {
    /// Messages of it have been sent already.
    #[error("stream {stream} has messages already; its contract comes before the first")]
    InUse {
        /// The stream.
        stream: StreamId,
    },
    /// No more streams can be remembered (M2).
    #[error("stream {stream} would be one more than the {max} streams that a port remembers")]
    TooManyStreams {
        /// The stream.
        stream: StreamId,
        /// What is allowed.
        max: u32,
    },
    /// The other end does not know priorities: it is of an earlier release.
    #[error(
        "node {node} does not know priorities; stream {stream} can have none while the port is connected to it"
    )]
    NoClasses {
        /// The stream.
        stream: StreamId,
        /// The node at the other end.
        node: NodeId,
    },
}

/// Something that came on a data connection.
// The wide tag: as for `Event`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Inbound<R> {
    /// A whole message: an item of a bundle, or a fragment that is all of its message.
    Message {
        /// What it is.
        item: Item,
        /// Its bytes.
        payload: R,
    },
    /// The body of a fragment is where [`Port::begin_fragment`] said, and its checksum was right.
    Fragment {
        /// The message.
        sn: Sn,
        /// Where the fragment starts.
        offset: u32,
        /// Its length.
        len: u32,
    },
    /// The body of a fragment is in a buffer of its own ([`Placement::Aside`]).
    Aside {
        /// The message.
        sn: Sn,
        /// Where the fragment starts.
        offset: u32,
        /// Its length.
        len: u32,
        /// Its bytes.
        payload: R,
    },
    /// A control frame. In a box: messages are many, and should lie close.
    Frame(Box<Frame>),
}

/// Where the body of a fragment goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Placement<R> {
    /// Nowhere: it is here already. Read past it.
    Discard,
    /// Allocate the whole message's length and ask again with the buffer.
    NeedBuffer,
    /// To its offset in this buffer. Nobody else writes there.
    Into(R),
    /// To a buffer of its own length: another connection is writing this range.
    Aside,
}

/// The parts of a message that must be copied into one new buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts<R> {
    /// Length of the message.
    pub total: u32,
    /// Buffer with the ranges that arrived in place. Others may still be written to.
    pub base: R,
    /// (start, end) of those ranges.
    pub ranges: Vec<(u32, u32)>,
    /// (offset, length, bytes) of the others; where both cover a byte, either will do.
    pub asides: Vec<(u32, u32, R)>,
}

/// What a path should write next.
#[derive(Debug)]
pub struct Batch<S> {
    /// Frames, in order.
    pub frames: Vec<Outgoing<S>>,
    /// Items of the bundles among them.
    pub items: Vec<OutItem>,
    /// Payloads of the items, each of one or of several in a row ([`OutItem::bytes`]).
    pub payloads: Vec<S>,
}

impl<S> Default for Batch<S> {
    fn default() -> Self {
        Batch { frames: Vec::new(), items: Vec::new(), payloads: Vec::new() }
    }
}

impl<S> Batch<S> {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.items.clear();
        self.payloads.clear();
    }
}

/// A frame to write.
#[derive(Debug)]
pub enum Outgoing<S> {
    /// A frame without payload.
    Control(Frame),
    /// Small messages.
    Bundle {
        /// Its head.
        head: BundleHead,
        /// Its items: `batch.items[items]`.
        items: Range<usize>,
        /// Length of the encoded items.
        body_len: u32,
    },
    /// A piece of a large message, or all of it.
    Fragment {
        /// Its head.
        head: FragmentHead,
        /// Length of the piece, from `head.offset` of the payload.
        len: u32,
        /// The payload.
        payload: S,
    },
}

/// A fragment that was not written, since the bytes of its message are not those any more that were given to send (M8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The message.
    pub sn: Sn,
    /// Length of the fragment.
    pub len: u32,
}

/// An item of a bundle to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutItem {
    /// Item flags, without STREAM.
    pub flags: u8,
    /// The stream and SSN, where they must be named.
    pub stream: Option<(StreamId, Ssn)>,
    /// Length of the payload.
    pub len: u32,
    /// Where the payload is.
    pub bytes: ItemBytes,
}

/// Where the bytes of an item are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ItemBytes {
    /// Nowhere: a tombstone.
    None,
    /// At the start of the next of [`Batch::payloads`].
    Next,
    /// In the same payload as those of the last item that has some, behind them; that item may be of a bundle before.
    Joined,
}
