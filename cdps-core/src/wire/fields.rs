//! Fields of heads and bodies, one after the other.

use super::error::DecodeError;
use super::kind::FrameKind;
use super::{MAX_PATHS, item};
use crate::id::{ConnId, Generation, Incarnation, NodeId, PathId, SessionId, Side, Sn, Ssn};

/// Highest SN, SSN and number of a completion record. Counting one of them up cannot overflow, whatever the peer says.
pub const MAX_NUMBER: u64 = (1 << 63) - 1;

/// Reads fields from the front of a head or body.
pub(super) struct Fields<'a> {
    frame: FrameKind,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(frame: FrameKind, bytes: &'a [u8]) -> Fields<'a> {
        Fields { frame, rest: bytes }
    }

    pub(super) fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated(field, len)),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.truncated(field, N)),
        }
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// `N` bytes that the protocol gives as 0.
    pub(super) fn zero<const N: usize>(&mut self, field: &'static str) -> Result<(), DecodeError> {
        match self.array::<N>(field)?.into_iter().find(|byte| *byte != 0) {
            None => Ok(()),
            Some(byte) => Err(self.wrong(field, u64::from(byte))),
        }
    }

    pub(super) fn node(&mut self, field: &'static str) -> Result<NodeId, DecodeError> {
        match self.u32(field)? {
            0 => Err(self.wrong(field, 0)),
            node => Ok(NodeId(node)),
        }
    }

    pub(super) fn incarnation(&mut self, field: &'static str) -> Result<Incarnation, DecodeError> {
        match self.u64(field)? {
            0 => Err(self.wrong(field, 0)),
            incarnation => Ok(Incarnation(incarnation)),
        }
    }

    pub(super) fn session(&mut self) -> Result<SessionId, DecodeError> {
        Ok(SessionId {
            node: self.node("session node")?,
            incarnation: self.incarnation("session incarnation")?,
            port: self.u32("session port")?,
        })
    }

    pub(super) fn generation(&mut self) -> Result<Generation, DecodeError> {
        Ok(Generation {
            role_epoch: self.u64("generation role epoch")?,
            counter: self.u64("generation counter")?,
        })
    }

    pub(super) fn path(&mut self) -> Result<PathId, DecodeError> {
        let path = self.u16("path")?;
        if usize::from(path) < MAX_PATHS { Ok(PathId(path)) } else { Err(self.above("path", path.into())) }
    }

    pub(super) fn conn(&mut self) -> Result<ConnId, DecodeError> {
        Ok(ConnId(self.u32("conn")?))
    }

    /// A number that counts from 1.
    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match self.u64(field)? {
            number @ 1..=MAX_NUMBER => Ok(number),
            number => Err(self.wrong(field, number)),
        }
    }

    pub(super) fn sn(&mut self, field: &'static str) -> Result<Sn, DecodeError> {
        self.number(field).map(Sn)
    }

    pub(super) fn ssn(&mut self) -> Result<Ssn, DecodeError> {
        self.number("SSN").map(Ssn)
    }

    pub(super) fn side(&mut self) -> Result<Side, DecodeError> {
        match self.u16("side")? {
            0 => Ok(Side::Source),
            1 => Ok(Side::Target),
            side => Err(self.wrong("side", side.into())),
        }
    }

    pub(super) fn priority(&mut self) -> Result<(), DecodeError> {
        match self.u8("priority class")? {
            0 => Ok(()),
            class => Err(self.reserved("priority class", class.into())),
        }
    }

    /// Item flags, those of `allowed` among them.
    pub(super) fn item_flags(&mut self, allowed: u8) -> Result<u8, DecodeError> {
        let flags = self.u8("item flags")?;
        if flags & !allowed == 0 { Ok(flags) } else { Err(wrong_item_flags(self.frame, flags)) }
    }

    /// A u16 length and as many bytes of UTF-8.
    pub(super) fn string(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let len = usize::from(self.u16(field)?);
        if len > max {
            return Err(self.above(field, len as u64));
        }
        let bytes = self.take(field, len)?;
        text(self.frame, field, bytes)
    }

    /// A u64 that a longer head or body has, and one of the first release has not.
    pub(super) fn later_u64(&mut self, field: &'static str) -> Result<Option<u64>, DecodeError> {
        if self.rest.len() < 8 { Ok(None) } else { self.u64(field).map(Some) }
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { frame: self.frame, left: self.rest.len() as u32 })
        }
    }

    #[cold]
    pub(super) fn wrong(&self, field: &'static str, value: u64) -> DecodeError {
        DecodeError::Field { frame: self.frame, field, value }
    }

    #[cold]
    pub(super) fn reserved(&self, field: &'static str, value: u64) -> DecodeError {
        DecodeError::Reserved { frame: self.frame, field, value }
    }

    #[cold]
    pub(super) fn above(&self, field: &'static str, value: u64) -> DecodeError {
        DecodeError::Limit { frame: self.frame, field, value }
    }

    #[cold]
    fn truncated(&self, field: &'static str, needed: usize) -> DecodeError {
        DecodeError::Truncated {
            frame: self.frame,
            field,
            needed: needed as u32,
            left: self.rest.len() as u32,
        }
    }
}

/// What item flags that are not all allowed amount to.
#[cold]
pub(super) fn wrong_item_flags(frame: FrameKind, flags: u8) -> DecodeError {
    if flags & (item::BARRIER | item::RETIRE) != 0 {
        DecodeError::Reserved { frame, field: "item flags", value: flags.into() }
    } else {
        DecodeError::Field { frame, field: "item flags", value: flags.into() }
    }
}

/// Bytes as text.
pub(super) fn text<'a>(
    frame: FrameKind,
    field: &'static str,
    bytes: &'a [u8],
) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|e| DecodeError::Text { frame, field, at: e.valid_up_to() as u32 })
}

/// Appends fields.
pub(super) trait Put {
    fn bytes(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn put_zero<const N: usize>(&mut self) {
        self.bytes(&[0; N]);
    }

    fn put_session(&mut self, session: SessionId) {
        self.put_u32(session.node.0);
        self.put_u64(session.incarnation.0);
        self.put_u32(session.port);
    }

    fn put_generation(&mut self, generation: Generation) {
        self.put_u64(generation.role_epoch);
        self.put_u64(generation.counter);
    }

    fn put_side(&mut self, side: Side) {
        self.put_u16(match side {
            Side::Source => 0,
            Side::Target => 1,
        });
    }

    /// As much of `text` as `max` bytes hold, cut between characters.
    fn put_string(&mut self, text: &str, max: usize) {
        let text = cut(text, max);
        self.put_u16(text.len() as u16);
        self.bytes(text.as_bytes());
    }
}

impl Put for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The longest start of `text` that has at most `max` bytes and ends between characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
