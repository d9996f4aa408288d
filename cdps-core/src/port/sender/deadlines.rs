//! Messages that are worth nothing after some time (M10): until when each may begin to travel.
//!
//! A message that begins to travel leaves its deadline behind, so that handing out knows nothing of deadlines. What was left behind is
//! dropped when it is met, and by and by when there is more of it than of the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Entry, Mark, Phase, Sender};
use crate::id::Sn;
use crate::port::{Events, Payload};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::item;

/// So many may be left behind, whatever else waits.
const SPARE: usize = 64;

/// Deadlines, the next one first.
#[derive(Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<(Time, Sn)>>);

impl Deadlines {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl<S: Payload> Sender<S> {
    /// The message is given up if it has not begun to travel by then.
    pub(in crate::port) fn limit(&mut self, sn: Sn, at: Time) {
        let high = self.high.as_ref().map_or(0, |h| h.waiting.len());
        let unsent = usize::try_from(self.end() - self.cursor.0).unwrap_or(usize::MAX) + high;
        if self.deadlines.0.len() > 2 * unsent + SPARE {
            let mut kept = std::mem::take(&mut self.deadlines.0);
            kept.retain(|Reverse((_, sn))| self.has_not_begun(*sn));
            self.deadlines.0 = kept;
        }
        self.deadlines.0.push(Reverse((at, sn)));
    }

    /// When [`Self::expire`] has something to do, at the earliest.
    #[inline]
    pub(in crate::port) fn next_expiry(&self) -> Time {
        self.deadlines.0.peek().map_or(Time::NEVER, |next| next.0.0)
    }

    /// Nacks what has not begun to travel by its deadline, the one that was due first first. True: there was something.
    pub(in crate::port) fn expire<R>(&mut self, now: Time, events: &mut Events<S, R>) -> bool {
        let mut any = false;
        while let Some(&Reverse((at, sn))) = self.deadlines.0.peek() {
            let waits = self.has_not_begun(sn);
            if waits && at > now {
                break;
            }
            self.deadlines.0.pop();
            if waits {
                self.bury(sn, Reason::Timeout, events);
                any = true;
            }
        }
        if any {
            self.settle_gate();
            self.hold_no_tombstones();
            self.feed_high();
            self.starved &= self.has_new_normal() && !self.may_start();
        }
        any
    }

    #[cfg(test)]
    pub(in crate::port) fn deadlines(&self) -> usize {
        self.deadlines.0.len()
    }

    fn has_not_begun(&self, sn: Sn) -> bool {
        self.entry(sn).is_some_and(|e| !e.is(Mark::Handed) && e.payload.is_some())
    }

    /// Nacks a message that has not begun to travel in this generation. A tombstone takes its place, so that its stream goes on.
    pub(super) fn bury<R>(&mut self, sn: Sn, reason: Reason, events: &mut Events<S, R>) {
        let Some(entry) = self.entry_mut(sn) else { return };
        debug_assert!(entry.phase == Phase::Queued, "{sn} has begun to travel");
        let Some(payload) = entry.payload.take() else { return };
        let len = u64::from(std::mem::take(&mut entry.len));
        let unwritten = std::mem::take(&mut entry.unwritten) > 0;
        entry.flags = entry.flags & (item::START | item::HIGH) | item::TOMBSTONE;
        let (told, handed) = (entry.mark(Mark::Told), entry.is(Mark::Handed));
        // What is behind it waits for nothing that will not come.
        entry.unmark(Mark::Barrier);
        self.queued -= len;
        self.unfinished.bytes -= len;
        self.unfinished.unwritten -= usize::from(unwritten);
        self.tell_nacked((sn, reason), told, handed, payload, events);
    }

    /// Tombstones at the head of what is held go: a port that is suspended for long does not collect them.
    pub(super) fn hold_no_tombstones(&mut self) {
        let passes = |e: &Entry<S>| e.payload.is_none() || e.is_high();
        while self.holds() && self.entry(self.held_from).is_some_and(passes) {
            self.held_from = self.held_from.next();
        }
        self.hold_no_high_tombstones();
        self.settle_stop();
    }
}
