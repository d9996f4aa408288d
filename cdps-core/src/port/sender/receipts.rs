//! What comes back: what has been written, what the peer's port has, and what its user answered.

use super::{Impossible, Sender};
use crate::config::AckModel;
use crate::id::Sn;
use crate::port::entry::{Mark, Phase};
use crate::port::path::Flight;
use crate::port::{Events, Payload};
use crate::wire::{CompletionRecord, item};

impl<S: Payload> Sender<S> {
    /// A path says that this has been written to its socket.
    pub(in crate::port) fn written<R>(&mut self, flight: &mut Flight, events: &mut Events<S, R>) {
        if flight.counted || self.unfinished.unwritten == 0 {
            flight.counted = true;
            return;
        }
        flight.counted = true;
        for k in 0..u64::from(flight.count) {
            let sn = Sn(flight.sn.0 + k);
            let Some(entry) = self.entry_mut(sn) else { continue };
            if entry.unwritten == 0 {
                continue;
            }
            let len = if flight.count == 1 { flight.len } else { entry.len };
            entry.unwritten = entry.unwritten.saturating_sub(len.max(1));
            if entry.unwritten == 0 {
                self.unfinished.unwritten -= 1;
                self.tell_sent(sn, events);
            }
        }
    }

    fn tell_sent<R>(&mut self, sn: Sn, events: &mut Events<S, R>) {
        let Some(entry) = self.entry_mut(sn) else { return };
        if entry.is(Mark::Told) {
            return;
        }
        entry.mark(Mark::Told);
        if let Some(payload) = entry.payload.clone() {
            self.unfinished.only_receipted += 1;
            events.completed(sn, 0, payload);
        }
    }

    /// The peer's port has not said that it has all of this.
    pub(in crate::port) fn awaits_receipt(&self, flight: &Flight) -> bool {
        let unreceipted = |k| self.entry(Sn(flight.sn.0 + k)).is_some_and(|e| e.phase == Phase::Sent);
        (0..u64::from(flight.count)).any(unreceipted)
    }

    /// The peer's port has these.
    pub(in crate::port) fn handle_receipt<R>(
        &mut self,
        cumulative: Sn,
        gaps: &[(Sn, Sn)],
        events: &mut Events<S, R>,
    ) -> Result<(), Impossible> {
        let highest = gaps.last().map_or(cumulative, |g| g.1);
        if !self.is_possible(cumulative, highest) {
            return Err(Impossible);
        }
        if cumulative > self.cumulative {
            let from = self.cumulative.next().max(self.base);
            self.cumulative = cumulative;
            self.receive_all(from, cumulative, events);
            self.gaps.retain(|g| g.1 > cumulative);
            self.settle_gate();
        }
        for &(first, last) in gaps {
            self.receive_run(first.max(self.cumulative.next()), last, events);
        }
        self.pop_finished();
        Ok(())
    }

    /// Everything from `sn` to `last` has been received, and so has all that was before it in its stream.
    fn receive_all<R>(&mut self, mut sn: Sn, last: Sn, events: &mut Events<S, R>) {
        while sn <= last {
            let oldest = sn == self.base;
            let Sender { entries, base, unfinished, .. } = self;
            let Some(entry) = usize::try_from(sn.0 - base.0).ok().and_then(|at| entries.get_mut(at)) else {
                return;
            };
            entry.mark(Mark::Ready);
            let follower = Sn(sn.0 + u64::from(entry.ahead));
            if entry.ends_when_received() {
                unfinished.finish(entry, sn, 0, events);
                if oldest {
                    entries.pop_front();
                    *base = sn.next();
                }
            } else if entry.phase == Phase::Sent {
                entry.phase = Phase::Received;
            }
            if follower > last && !self.gaps.is_empty() {
                self.mark_ready(follower, events);
            }
            sn = sn.next();
        }
    }

    /// Marks the part of a run that was not known, and remembers it.
    fn receive_run<R>(&mut self, first: Sn, last: Sn, events: &mut Events<S, R>) {
        if first > last {
            return;
        }
        let mut sn = first;
        let known: Vec<(Sn, Sn)> =
            self.gaps.iter().copied().filter(|g| g.1 >= first && g.0 <= last).collect();
        for (known_first, known_last) in known.iter().copied().chain([(last.next(), last.next())]) {
            while sn < known_first {
                self.mark_received(sn, events);
                sn = sn.next();
            }
            sn = sn.max(known_last.next());
        }
        if known.len() == 1 && known[0].0 <= first && known[0].1 >= last {
            return;
        }
        let merged = known.iter().fold((first, last), |m, g| (m.0.min(g.0), m.1.max(g.1)));
        self.gaps.retain(|g| g.1 < first || g.0 > last);
        let at = self.gaps.partition_point(|g| g.0 < merged.0);
        self.gaps.insert(at, merged);
    }

    fn mark_received<R>(&mut self, sn: Sn, events: &mut Events<S, R>) {
        let Some(entry) = self.entry_mut(sn) else { return };
        if entry.phase != Phase::Sent {
            return;
        }
        entry.phase = Phase::Received;
        let prev = Sn(sn.0 - u64::from(entry.back));
        if prev == sn || prev <= self.cumulative || self.entry(prev).is_none_or(|p| p.is(Mark::Ready)) {
            self.mark_ready(sn, events);
        }
    }

    /// `sn` and everything before it in its stream has been received; so may be what follows it.
    fn mark_ready<R>(&mut self, mut sn: Sn, events: &mut Events<S, R>) {
        while let Some(entry) = self.entry_mut(sn) {
            if entry.is(Mark::Ready) || !matches!(entry.phase, Phase::Received | Phase::Finished) {
                return;
            }
            entry.mark(Mark::Ready);
            let ahead = u64::from(entry.ahead);
            if entry.ends_when_received() {
                self.finish(sn, 0, events);
            }
            if ahead == 0 {
                return;
            }
            sn = Sn(sn.0 + ahead);
        }
    }

    fn finish<R>(&mut self, sn: Sn, rc: i32, events: &mut Events<S, R>) {
        let at = sn.0.checked_sub(self.base.0).and_then(|at| usize::try_from(at).ok());
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            self.unfinished.finish(entry, sn, rc, events);
        }
    }

    /// The target's user acknowledged a run of messages.
    pub(in crate::port) fn handle_completion<R>(
        &mut self,
        record: &CompletionRecord,
        events: &mut Events<S, R>,
    ) -> Result<(), Impossible> {
        let end = record.sn.0 + u64::from(record.count);
        // Those below have ended.
        for sn in (record.sn.max(self.base).0..end).map(Sn) {
            let Some(entry) = self.entry(sn) else { return Err(Impossible) };
            match entry.phase {
                Phase::Queued => return Err(Impossible),
                Phase::Finished => {}
                Phase::Sent | Phase::Received => {
                    // One that is skipped may have arrived before.
                    let never = entry.flags & item::TOMBSTONE != 0 && !self.skips.holds(sn);
                    if entry.model != AckModel::Synchronous || never {
                        return Err(Impossible);
                    }
                    self.finish(sn, record.rc, events);
                    self.mark_ready(sn, events);
                }
            }
        }
        self.pop_finished();
        Ok(())
    }

    pub(super) fn pop_finished(&mut self) {
        while self.entries.front().is_some_and(|e| e.phase == Phase::Finished) {
            self.entries.pop_front();
            self.base = self.base.next();
        }
        if self.cursor < self.base {
            self.cursor = self.base;
            self.cursor_offset = 0;
            self.step_over_high();
        }
        if self.has_skips() {
            self.settle_skips();
        }
    }
}
