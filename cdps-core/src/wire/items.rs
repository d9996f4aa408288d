//! Messages of the user: heads of BUNDLE and FRAGMENT, and the items of a bundle.

use super::error::DecodeError;
use super::fields::{Fields, MAX_NUMBER, wrong_item_flags};
use super::kind::FrameKind;
use super::{BundleHead, FragmentHead, Item, MAX_BUNDLE_ITEMS, MAX_BUNDLED, MAX_MESSAGE, Skip, item};
use crate::id::{Sn, Ssn, StreamId};

/// Item flags that a bundle may carry.
const BUNDLE_FLAGS: u8 =
    item::STREAM | item::START | item::REDELIVERED | item::TOMBSTONE | item::SYNC | item::HIGH;
/// Item flags that a fragment may carry.
const FRAGMENT_FLAGS: u8 = item::START | item::REDELIVERED | item::SYNC | item::HIGH;
/// Length of an item without stream and payload.
const ITEM_HEAD: usize = 4;
/// Length of the stream and SSN that follow if the item names its stream.
const ITEM_STREAM: usize = 12;

/// The items of a bundle, in order.
///
/// Of a bundle that [`super::Decoder`] has returned every item is `Ok`. Of other bytes the first `Err` is the last thing that comes.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    body_len: usize,
    left: u16,
    first: bool,
    sn: u64,
    stream: StreamId,
    ssn: u64,
}

impl<'a> Items<'a> {
    /// The items of the bundle with this head and body.
    #[must_use]
    pub fn new(head: &BundleHead, body: &'a [u8]) -> Items<'a> {
        Items {
            rest: body,
            body_len: body.len(),
            left: head.count,
            first: true,
            sn: head.sn.0,
            stream: head.stream,
            ssn: head.ssn.0,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Item, DecodeError> {
        let Some((&[l0, l1, flags, zero], mut rest)) = self.rest.split_first_chunk::<ITEM_HEAD>() else {
            return Err(truncated("item", ITEM_HEAD, self.rest.len()));
        };
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        if flags & !BUNDLE_FLAGS != 0 {
            return Err(wrong_item_flags(FrameKind::Bundle, flags));
        }
        if zero != 0 {
            return Err(wrong("reserved byte of an item", zero.into()));
        }
        if len > MAX_BUNDLED || (len != 0 && flags & item::TOMBSTONE != 0) {
            return Err(wrong("item length", len as u64));
        }
        if flags & item::STREAM != 0 {
            rest = self.read_stream(rest)?;
        }
        if self.ssn > MAX_NUMBER {
            return Err(wrong("SSN", self.ssn));
        }
        let Some((_, behind)) = rest.split_at_checked(len) else {
            return Err(truncated("item payload", len, rest.len()));
        };
        let offset = (self.body_len - rest.len()) as u32;
        let item = Item {
            sn: Sn(self.sn),
            stream: self.stream,
            ssn: Ssn(self.ssn),
            flags: flags & !item::STREAM,
            offset,
            len: len as u32,
        };
        self.rest = behind;
        self.left -= 1;
        self.first = false;
        self.sn = self.sn.wrapping_add(1);
        self.ssn += 1;
        Ok(item)
    }

    #[inline]
    fn read_stream(&mut self, rest: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        let Some((stream, rest)) = rest.split_first_chunk::<ITEM_STREAM>() else {
            return Err(truncated("stream of an item", ITEM_STREAM, rest.len()));
        };
        let &[a, b, c, d, ref ssn @ ..] = stream;
        let stream = StreamId(u32::from_le_bytes([a, b, c, d]));
        let ssn = u64::from_le_bytes(*ssn);
        if ssn == 0 {
            return Err(wrong("SSN", ssn));
        }
        if self.first && stream != self.stream {
            return Err(wrong("stream of the first item", stream.0.into()));
        }
        if self.first && ssn != self.ssn {
            return Err(wrong("SSN of the first item", ssn));
        }
        self.stream = stream;
        self.ssn = ssn;
        Ok(rest)
    }

    #[cold]
    fn stop(&mut self, error: DecodeError) -> DecodeError {
        self.left = 0;
        self.rest = &[];
        error
    }
}

impl Iterator for Items<'_> {
    type Item = Result<Item, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left > 0 {
            return Some(self.read().map_err(|error| self.stop(error)));
        }
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len() as u32;
        Some(Err(self.stop(DecodeError::Trailing { frame: FrameKind::Bundle, left })))
    }
}

impl std::iter::FusedIterator for Items<'_> {}

pub(super) fn read_bundle_head(mut head: Fields<'_>) -> Result<BundleHead, DecodeError> {
    let sn = head.sn("SN")?;
    let ssn = head.ssn()?;
    let stream = StreamId(head.u32("stream")?);
    let count = head.u16("number of items")?;
    if count == 0 {
        return Err(head.wrong("number of items", 0));
    }
    if usize::from(count) > MAX_BUNDLE_ITEMS {
        return Err(head.above("number of items", count.into()));
    }
    if sn.0 > MAX_NUMBER - u64::from(count - 1) {
        return Err(head.wrong("SN", sn.0));
    }
    head.priority()?;
    head.zero::<9>("reserved field")?;
    Ok(BundleHead { sn, ssn, stream, count })
}

pub(super) fn read_fragment_head(mut head: Fields<'_>, body_len: u32) -> Result<FragmentHead, DecodeError> {
    let sn = head.sn("SN")?;
    let ssn = head.ssn()?;
    let stream = StreamId(head.u32("stream")?);
    let offset = head.u32("offset")?;
    let total = head.u32("total")?;
    if total > MAX_MESSAGE {
        return Err(head.above("total", total.into()));
    }
    if u64::from(offset) + u64::from(body_len) > u64::from(total) {
        return Err(head.wrong("offset", offset.into()));
    }
    let flags = head.item_flags(FRAGMENT_FLAGS)?;
    head.priority()?;
    head.zero::<2>("reserved field")?;
    Ok(FragmentHead { sn, ssn, stream, offset, total, flags })
}

pub(super) fn read_skip(mut head: Fields<'_>) -> Result<Skip, DecodeError> {
    let sn = head.sn("SN")?;
    let ssn = head.ssn()?;
    let stream = StreamId(head.u32("stream")?);
    let total = head.u32("total")?;
    if total > MAX_MESSAGE {
        return Err(head.above("total", total.into()));
    }
    if total == 0 {
        return Err(head.wrong("total", 0));
    }
    let flags = head.item_flags(item::START | item::HIGH)?;
    head.zero::<7>("reserved field")?;
    Ok(Skip { sn, ssn, stream, total, flags })
}

/// Every item as the protocol wants it, and nothing behind the last.
pub(super) fn check_items(head: &BundleHead, body: &[u8]) -> Result<(), DecodeError> {
    for item in Items::new(head, body) {
        item?;
    }
    Ok(())
}

#[cold]
fn wrong(field: &'static str, value: u64) -> DecodeError {
    DecodeError::Field { frame: FrameKind::Bundle, field, value }
}

#[cold]
fn truncated(field: &'static str, needed: usize, left: usize) -> DecodeError {
    DecodeError::Truncated { frame: FrameKind::Bundle, field, needed: needed as u32, left: left as u32 }
}
