//! Messages that end with a nack.

use super::{Entry, Sender};
use crate::id::Sn;
use crate::port::entry::{Mark, Phase};
use crate::port::event::{Certainty, Event};
use crate::port::{Events, Payload};
use crate::reason::Reason;

impl<S: Payload> Sender<S> {
    /// Nacks what no path has taken yet (L5, stop), oldest first.
    pub(in crate::port) fn nack_unsent<R>(&mut self, reason: Reason, events: &mut Events<S, R>) {
        let keep = self.seen();
        let sn = self.base.0 + keep as u64;
        self.starved = false;
        for at in 0..keep {
            if self.entries[at].phase == Phase::Queued {
                // Others, of the high class, are behind it.
                self.bury(Sn(self.base.0 + at as u64), reason, events);
            }
        }
        let tail: Vec<Entry<S>> = self.entries.drain(keep..).collect();
        self.cut_high(Sn(sn));
        for (k, entry) in tail.into_iter().enumerate() {
            self.queued -= u64::from(entry.len);
            self.nack(Sn(sn + k as u64), entry, reason, events);
        }
        self.settle_gate();
    }

    /// Nacks everything unfinished, oldest first, and forgets the rest (F2, immediate close, destroy).
    pub(in crate::port) fn nack_all<R>(&mut self, reason: Reason, events: &mut Events<S, R>) {
        let base = self.base.0;
        for (k, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            self.nack(Sn(base + k as u64), entry, reason, events);
        }
        self.queued = 0;
        self.starved = false;
        self.again.clear();
        if let Some(high) = &mut self.high {
            high.clear();
        }
        self.skips.clear();
        self.deadlines.clear();
        self.clear_barriers();
        self.base = self.next;
        self.cursor = self.next;
        self.cursor_offset = 0;
    }

    pub(super) fn nack<R>(&mut self, sn: Sn, entry: Entry<S>, reason: Reason, events: &mut Events<S, R>) {
        self.unfinished.unwritten -= usize::from(entry.unwritten > 0);
        let (told, handed) = (entry.is(Mark::Told), entry.is(Mark::Handed));
        let Some(payload) = entry.payload else { return };
        self.unfinished.bytes -= u64::from(entry.len);
        self.tell_nacked((sn, reason), told, handed, payload, events);
    }

    /// `told`: the user knows how it ended; `handed`: the peer may have it.
    pub(super) fn tell_nacked<R>(
        &mut self,
        (sn, reason): (Sn, Reason),
        told: bool,
        handed: bool,
        payload: S,
        events: &mut Events<S, R>,
    ) {
        let certainty = if handed { Certainty::Unknown } else { Certainty::NotSent };
        if told {
            events.push(Event::Done { payload });
        } else {
            if handed {
                self.note_unknown(sn);
            }
            events.push(Event::Nacked { sn, reason, certainty, payload });
        }
    }

    fn note_unknown(&mut self, sn: Sn) {
        match self.unknown.last_mut() {
            Some(last) if last.1.next() == sn => last.1 = sn,
            Some(_) | None => self.unknown.push((sn, sn)),
        }
    }

    /// What was nacked as unknown since the last call, ascending. A stop after a switch nacks what was about to go again before what has.
    pub(in crate::port) fn take_unknown(&mut self) -> Vec<(Sn, Sn)> {
        self.unknown.sort_unstable();
        std::mem::take(&mut self.unknown)
    }
}
