//! Messages that end with a nack.

use super::{Entry, Sender};
use crate::id::Sn;
use crate::port::event::{Certainty, Event};
use crate::port::{Events, Payload};
use crate::reason::Reason;

impl<S: Payload> Sender<S> {
    /// Nacks what no path has taken yet (L5, stop), oldest first.
    pub(in crate::port) fn nack_unsent<R>(&mut self, reason: Reason, events: &mut Events<S, R>) {
        let keep = usize::try_from(self.cursor.0 - self.base.0).unwrap_or(usize::MAX)
            + usize::from(self.cursor_offset > 0);
        let sn = self.base.0 + keep as u64;
        self.starved = false;
        let tail: Vec<Entry<S>> = self.entries.drain(keep.min(self.entries.len())..).collect();
        for (k, entry) in tail.into_iter().enumerate() {
            self.queued -= u64::from(entry.len);
            self.nack(Sn(sn + k as u64), entry, reason, events);
        }
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
        self.deadlines.clear();
        self.clear_barriers();
        self.base = self.next;
        self.cursor = self.next;
        self.cursor_offset = 0;
    }

    pub(super) fn nack<R>(&mut self, sn: Sn, entry: Entry<S>, reason: Reason, events: &mut Events<S, R>) {
        self.unfinished.unwritten -= usize::from(entry.unwritten > 0);
        let Some(payload) = entry.payload else { return };
        self.unfinished.bytes -= u64::from(entry.len);
        let certainty = if entry.handed { Certainty::Unknown } else { Certainty::NotSent };
        if entry.told {
            events.push(Event::Done { payload });
        } else {
            if entry.handed {
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
