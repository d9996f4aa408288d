//! The table of frames: numbers, lengths and flags of docs/protocol.md sections 2.2 and 9.

use std::fmt;

use super::error::DecodeError;
use super::{FRAME_HEADER, MAX_HEAD};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, head $head:literal, body $min:literal to $max:literal, flags $flags:literal;)*) => {
        /// Type of a frame.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum FrameKind { $($(#[$doc])* $name = $number,)* }

        impl FrameKind {
            /// Every frame that this version speaks.
            pub const ALL: &[FrameKind] = &[$(FrameKind::$name,)*];

            /// The name that docs/protocol.md uses.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(FrameKind::$name => $text,)* }
            }

            /// Length of the head in version 1. A received head may be longer, up to [`MAX_HEAD`].
            #[must_use]
            pub fn head_len(self) -> usize {
                match self { $(FrameKind::$name => $head,)* }
            }

            /// Shortest and longest body.
            #[must_use]
            pub fn body_len(self) -> (usize, usize) {
                match self { $(FrameKind::$name => ($min, $max),)* }
            }

            /// Defined bits of the frame flags.
            #[must_use]
            pub fn flags(self) -> u8 {
                match self { $(FrameKind::$name => $flags,)* }
            }

            fn from_number(number: u8) -> Result<FrameKind, DecodeError> {
                match number {
                    $($number => Ok(FrameKind::$name),)*
                    0x41 | 0x43..=0x45 => Err(DecodeError::ReservedType { number }),
                    _ => Err(DecodeError::UnknownType { number }),
                }
            }
        }
    };
}

kinds! {
    /// First frame, dialler.
    Hello = 0x01, "HELLO", head 112, body 0 to 0, flags 0;
    /// First frame, acceptor.
    Welcome = 0x02, "WELCOME", head 96, body 0 to 0, flags 0;
    /// Dialler's proof of the session secret.
    Proof = 0x03, "PROOF", head 32, body 0 to 0, flags 0;
    /// Data connection accepted.
    Ready = 0x04, "READY", head 0, body 0 to 0, flags 0;
    /// Connection refused.
    Refuse = 0x05, "REFUSE", head 8, body 0 to 256, flags 0;
    /// Liveness of a link.
    Heartbeat = 0x10, "HEARTBEAT", head 40, body 0 to 0, flags 0x01;
    /// Between nodes.
    NodeMessage = 0x11, "NODE_MESSAGE", head 32, body 0 to 8_192, flags 0;
    /// Small messages.
    Bundle = 0x20, "BUNDLE", head 32, body 4 to 65_536, flags 0;
    /// A slice of a large message.
    Fragment = 0x21, "FRAGMENT", head 32, body 1 to 1_048_576, flags 0;
    /// A message that has begun to travel will not come.
    Skip = 0x22, "SKIP", head 32, body 0 to 0, flags 0;
    /// What has arrived.
    Receipt = 0x30, "RECEIPT", head 32, body 0 to 2_048, flags 0;
    /// What the user answered.
    Completions = 0x31, "COMPLETIONS", head 16, body 16 to 16_384, flags 0;
    /// Asks for a receipt at once.
    Probe = 0x32, "PROBE", head 0, body 0 to 0, flags 0;
    /// Opinion of a path.
    PathStatus = 0x33, "PATH_STATUS", head 24, body 0 to 0, flags 0;
    /// The session is over.
    Close = 0x40, "CLOSE", head 8, body 0 to 0, flags 0;
    /// What the target of a reset had.
    ResetAck = 0x42, "RESET_ACK", head 32, body 0 to 24_576, flags 0;
}

/// Frame flag of HEARTBEAT: answer at once.
pub(super) const FLAG_REPLY: u8 = 0x01;

impl FrameKind {
    /// Whether the frame belongs to the handshake, whose frames carry checksums on every connection.
    #[must_use]
    pub fn is_handshake(self) -> bool {
        match self {
            FrameKind::Hello
            | FrameKind::Welcome
            | FrameKind::Proof
            | FrameKind::Ready
            | FrameKind::Refuse => true,
            FrameKind::Heartbeat
            | FrameKind::NodeMessage
            | FrameKind::Bundle
            | FrameKind::Fragment
            | FrameKind::Skip
            | FrameKind::Receipt
            | FrameKind::Completions
            | FrameKind::Probe
            | FrameKind::PathStatus
            | FrameKind::Close
            | FrameKind::ResetAck => false,
        }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fixed part of a frame, with its type, flags and lengths within bounds. Nothing of it is proved until the head's checksum is.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: FrameKind,
    pub(super) flags: u8,
    pub(super) head_len: usize,
    pub(super) body_len: usize,
    pub(super) body_crc: u32,
    pub(super) head_crc: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; FRAME_HEADER]) -> Result<Header, DecodeError> {
        let [number, flags, h0, h1, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = *bytes;
        let kind = FrameKind::from_number(number)?;
        let header = Header {
            kind,
            flags,
            head_len: usize::from(u16::from_le_bytes([h0, h1])),
            body_len: u32::from_le_bytes([b0, b1, b2, b3]) as usize,
            body_crc: u32::from_le_bytes([c0, c1, c2, c3]),
            head_crc: u32::from_le_bytes([d0, d1, d2, d3]),
        };
        if flags & !kind.flags() != 0 {
            return Err(DecodeError::Flags { frame: kind, flags });
        }
        header.check_lengths()?;
        Ok(header)
    }

    fn check_lengths(&self) -> Result<(), DecodeError> {
        let (frame, head, body) = (self.kind, self.head_len, self.body_len);
        let (min, max) = frame.body_len();
        if head > MAX_HEAD {
            Err(DecodeError::HeadLong { frame, len: head })
        } else if head < frame.head_len() {
            Err(DecodeError::HeadShort { frame, len: head })
        } else if body > max {
            Err(DecodeError::BodyLong { frame, len: body })
        } else if body < min {
            Err(DecodeError::BodyShort { frame, len: body })
        } else {
            Ok(())
        }
    }
}
