//! Messages that have begun to travel, and must not go on since their user changed the buffer (M8): a SKIP goes in the place of each.
//!
//! A barrier (M9) remains one until then, since all of it may arrive yet.
//!
//! It says how long the message was, so that the receiver, which may have a part of it or nothing, comes to the same account of credit. It is
//! sent again as a fragment would be, until it is receipted, or the message itself is: all of it may have arrived before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{MAX_ITEMS, Sender};
use crate::id::Sn;
use crate::port::entry::{Mark, Phase};
use crate::port::event::{Certainty, Event};
use crate::port::path::Flight;
use crate::port::{Batch, Events, Outgoing, Payload};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::{Frame, Skip, item};

/// Length of a SKIP on the wire.
const SKIP: u64 = 48;

/// What is skipped in this generation, and has not ended.
#[derive(Default)]
pub(super) struct Skips {
    /// Their lengths.
    totals: BTreeMap<Sn, u32>,
    /// Those that are to be sent (again).
    due: BTreeSet<Sn>,
}

impl Skips {
    pub(super) fn clear(&mut self) {
        self.totals.clear();
        self.due.clear();
    }

    /// How many are to be sent.
    #[inline]
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }

    pub(super) fn holds(&self, sn: Sn) -> bool {
        self.totals.contains_key(&sn)
    }

    pub(super) fn again(&mut self, sn: Sn) {
        self.due.insert(sn);
    }
}

impl<S: Payload> Sender<S> {
    /// Ends a message of which `refused` bytes, just handed out, were not written, and nothing more is to be. False: it needs none of that, for
    /// it has arrived, or has ended.
    pub(in crate::port) fn skip<R>(&mut self, sn: Sn, refused: u64, events: &mut Events<S, R>) -> bool {
        let Some(entry) = self.entry_mut(sn).filter(|e| e.phase == Phase::Sent) else { return false };
        let Some(payload) = entry.payload.take() else { return false };
        let total = std::mem::take(&mut entry.len);
        let first = !entry.is(Mark::Resent) && entry.flags & item::REDELIVERED == 0;
        let unwritten = std::mem::take(&mut entry.unwritten) > 0;
        entry.flags = entry.flags & (item::START | item::HIGH) | item::TOMBSTONE;
        let told = entry.mark(Mark::Told);
        self.unfinished.bytes -= u64::from(total);
        self.unfinished.unwritten -= usize::from(unwritten);
        let given_out = self.cut_short(sn).unwrap_or(total);
        self.queued -= u64::from(total - given_out);
        let certainty =
            if first && u64::from(given_out) == refused { Certainty::NotSent } else { Certainty::Unknown };
        self.forget_again(sn);
        self.skips.totals.insert(sn, total);
        self.skips.due.insert(sn);
        self.starved &= self.has_new_normal() && !self.may_start();
        events.push(if told {
            Event::Done { payload }
        } else {
            Event::Nacked { sn, reason: Reason::BufferChanged, certainty, payload }
        });
        true
    }

    /// Fills a batch with what is to be skipped. Says how long that is on the wire.
    #[cold]
    pub(super) fn put_skips(
        &mut self,
        now: Time,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) -> u64 {
        let mut taken = 0;
        for _ in 0..MAX_ITEMS {
            let Some(sn) = self.skips.due.pop_first() else { break };
            let (Some(entry), Some(&total)) = (self.entry(sn), self.skips.totals.get(&sn)) else { continue };
            let flags = entry.flags & (item::START | item::HIGH);
            let skip = Skip { sn, ssn: entry.ssn, stream: entry.stream, total, flags };
            batch.frames.push(Outgoing::Control(Frame::Skip(skip)));
            *frames_out += 1;
            taken += SKIP;
            flights.push_back(Flight {
                frame: *frames_out,
                sn,
                count: 1,
                offset: 0,
                len: 0,
                bytes: SKIP,
                at: now,
                counted: true,
                moved: false,
            });
        }
        taken
    }

    /// Receipts have come: what has arrived need not be skipped any more.
    #[cold]
    pub(super) fn settle_skips(&mut self) {
        let mut skips = std::mem::take(&mut self.skips);
        let phase = |sn: &Sn| self.entry(*sn).map(|e| e.phase);
        skips.due.retain(|sn| phase(sn) == Some(Phase::Sent));
        // What has arrived, behind something that has not, may be answered before it ends.
        skips.totals.retain(|sn, _| phase(sn).is_some_and(|phase| phase != Phase::Finished));
        self.skips = skips;
    }

    /// Whether something is skipped that has not ended.
    #[inline]
    pub(in crate::port) fn has_skips(&self) -> bool {
        !self.skips.totals.is_empty()
    }
}
