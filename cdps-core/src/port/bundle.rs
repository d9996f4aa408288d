//! Small messages put into frames: long runs under one head (architecture, point 4).

use std::collections::VecDeque;

use super::entry::Entry;
use super::path::Flight;
use super::{Batch, ItemBytes, OutItem, Outgoing, Payload};
use crate::id::{Sn, Ssn, StreamId};
use crate::time::Time;
use crate::wire::{self, BundleHead, item};

/// Length of an item on the wire without its payload, and of the stream and SSN of one that does not follow.
const ITEM: u32 = 4;
const NAMED: u32 = 12;

/// The bundle that a take is filling.
pub(super) struct OpenBundle {
    now: Time,
    open: Option<Open>,
}

struct Open {
    head: BundleHead,
    /// First of its items in the batch.
    first: usize,
    body_len: u32,
    /// Length of its first message.
    len: u32,
    /// They have been seen written before.
    counted: bool,
    /// What comes next without being named.
    sn: Sn,
    stream: StreamId,
    ssn: Ssn,
}

impl OpenBundle {
    pub(super) fn new(now: Time) -> OpenBundle {
        OpenBundle { now, open: None }
    }

    /// Adds a small message; returns its length on the wire.
    #[inline(always)]
    pub(super) fn add<S: Payload>(
        &mut self,
        sn: Sn,
        entry: &Entry<S>,
        counted: bool,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) -> u64 {
        if let Some(open) = &mut self.open
            && let Some(size) = open.size_of_next(sn, entry, counted)
        {
            let stream = (size > entry.len + ITEM).then_some((entry.stream, entry.ssn));
            open.head.count += 1;
            open.body_len += size;
            (open.sn, open.stream, open.ssn) = (sn.next(), entry.stream, entry.ssn.next());
            put(entry, stream, true, batch);
            return u64::from(size);
        }
        self.close(frames_out, flights, batch);
        let (stream, ssn, len) = (entry.stream, entry.ssn, entry.len);
        self.open = Some(Open {
            head: BundleHead { sn, ssn, stream, count: 1 },
            first: batch.items.len(),
            body_len: len + ITEM,
            len,
            counted,
            sn: sn.next(),
            stream,
            ssn: ssn.next(),
        });
        put(entry, None, false, batch);
        u64::from(len + ITEM)
    }

    /// Makes a frame of what was added.
    pub(super) fn close<S>(
        &mut self,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) {
        let Some(Open { head, first, body_len, len, counted, .. }) = self.open.take() else { return };
        batch.frames.push(Outgoing::Bundle { head, items: first..batch.items.len(), body_len });
        *frames_out += 1;
        flights.push_back(Flight {
            frame: *frames_out,
            sn: head.sn,
            count: u32::from(head.count),
            offset: 0,
            len,
            bytes: u64::from(body_len),
            at: self.now,
            counted,
            moved: false,
        });
    }
}

impl Open {
    /// Length on the wire of what could come next, if it can.
    #[inline]
    fn size_of_next<S>(&self, sn: Sn, entry: &Entry<S>, counted: bool) -> Option<u32> {
        let follows = entry.stream == self.stream && entry.ssn == self.ssn;
        let size = entry.len + ITEM + if follows { 0 } else { NAMED };
        let fits = sn == self.sn
            && counted == self.counted
            && usize::from(self.head.count) < wire::MAX_BUNDLE_ITEMS
            && (self.body_len + size) as usize <= wire::MAX_BUNDLE_BODY;
        fits.then_some(size)
    }
}

/// Puts an item into the batch. `joins`: its bytes may go with those of the item before.
#[inline]
fn put<S: Payload>(entry: &Entry<S>, stream: Option<(StreamId, Ssn)>, joins: bool, batch: &mut Batch<S>) {
    let bytes = match &entry.payload {
        Some(payload) if entry.flags & item::TOMBSTONE == 0 => {
            if joins && batch.payloads.last_mut().is_some_and(|last| last.join(payload)) {
                ItemBytes::Joined
            } else {
                batch.payloads.push(payload.clone());
                ItemBytes::Next
            }
        }
        Some(_) | None => ItemBytes::None,
    };
    batch.items.push(OutItem { flags: entry.flags, stream, len: entry.len, bytes });
}
