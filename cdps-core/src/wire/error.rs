//! What can be wrong with received bytes.

use thiserror::Error;

use super::kind::FrameKind;
use super::{MAGIC, MAX_HEAD};
use crate::reason::Reason;

/// What is wrong with received bytes. Any of these ends the connection: after one there is no telling where the next frame starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The frame type is not known.
    #[error("unknown frame type {number:#04x}")]
    UnknownType {
        /// The type.
        number: u8,
    },
    /// The frame type is reserved for a later version.
    #[error("frame type {number:#04x} is reserved")]
    ReservedType {
        /// The type.
        number: u8,
    },
    /// Frame flags that are not defined.
    #[error("{frame}: frame flags {flags:#04x}; defined are {:#04x}", frame.flags())]
    Flags {
        /// The frame.
        frame: FrameKind,
        /// Its flags.
        flags: u8,
    },
    /// The head is longer than any head may be.
    #[error("{frame}: head of {len} bytes; at most {max} are allowed", max = MAX_HEAD)]
    HeadLong {
        /// The frame.
        frame: FrameKind,
        /// Length of its head.
        len: usize,
    },
    /// The head is shorter than version 1 needs.
    #[error("{frame}: head of {len} bytes; at least {} are needed", frame.head_len())]
    HeadShort {
        /// The frame.
        frame: FrameKind,
        /// Length of its head.
        len: usize,
    },
    /// The body is too long.
    #[error("{frame}: body of {len} bytes; at most {} are allowed", frame.body_len().1)]
    BodyLong {
        /// The frame.
        frame: FrameKind,
        /// Length of its body.
        len: usize,
    },
    /// The body is too short.
    #[error("{frame}: body of {len} bytes; at least {} are needed", frame.body_len().0)]
    BodyShort {
        /// The frame.
        frame: FrameKind,
        /// Length of its body.
        len: usize,
    },
    /// The checksum of header and head does not match.
    #[error("{frame}: head checksum is {stated:#010x}, computed {computed:#010x}")]
    HeadChecksum {
        /// The frame, if the type itself is intact.
        frame: FrameKind,
        /// What the frame says.
        stated: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The checksum of the body does not match.
    #[error("{frame}: body checksum is {stated:#010x}, computed {computed:#010x}")]
    BodyChecksum {
        /// The frame.
        frame: FrameKind,
        /// What the frame says.
        stated: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A handshake frame on a connection that has been told to do without checksums.
    #[error("{frame}: handshake frames are checked, and this connection has no checksums any more")]
    Unchecked {
        /// The frame.
        frame: FrameKind,
    },
    /// A HELLO of another protocol: to be closed without a word.
    #[error("HELLO starts with {found:02x?} instead of {:02x?}", MAGIC)]
    Magic {
        /// What stands in the place of the magic.
        found: [u8; 8],
    },
    /// A field has a value that is not allowed.
    #[error("{frame}: {field} is {value}, which is not allowed")]
    Field {
        /// The frame.
        frame: FrameKind,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A field has a value, or a flag is set, that is reserved for a later version.
    #[error("{frame}: {field} is {value}, which is reserved")]
    Reserved {
        /// The frame.
        frame: FrameKind,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A field is above a limit of docs/protocol.md section 9.
    #[error("{frame}: {field} is {value}, above the limit")]
    Limit {
        /// The frame.
        frame: FrameKind,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The body ends inside a field.
    #[error("{frame}: {field} needs {needed} bytes, and {left} are left")]
    Truncated {
        /// The frame.
        frame: FrameKind,
        /// The field.
        field: &'static str,
        /// Length of the field.
        needed: u32,
        /// Bytes that are left.
        left: u32,
    },
    /// The body is longer than what it says that it holds.
    #[error("{frame}: {left} bytes behind the end")]
    Trailing {
        /// The frame.
        frame: FrameKind,
        /// How many.
        left: u32,
    },
    /// A text is not UTF-8.
    #[error("{frame}: {field} is not UTF-8 from byte {at} on")]
    Text {
        /// The frame.
        frame: FrameKind,
        /// The field.
        field: &'static str,
        /// Where it stops to be UTF-8.
        at: u32,
    },
}

impl DecodeError {
    /// The reason to close the connection with, and to count it under.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            DecodeError::HeadChecksum { .. } | DecodeError::BodyChecksum { .. } => Reason::BadChecksum,
            DecodeError::ReservedType { .. } | DecodeError::Reserved { .. } => Reason::UnsupportedFeature,
            DecodeError::HeadLong { .. } | DecodeError::BodyLong { .. } | DecodeError::Limit { .. } => {
                Reason::Limit
            }
            DecodeError::UnknownType { .. }
            | DecodeError::Flags { .. }
            | DecodeError::HeadShort { .. }
            | DecodeError::BodyShort { .. }
            | DecodeError::Unchecked { .. }
            | DecodeError::Magic { .. }
            | DecodeError::Field { .. }
            | DecodeError::Truncated { .. }
            | DecodeError::Trailing { .. }
            | DecodeError::Text { .. } => Reason::ProtocolError,
        }
    }
}
