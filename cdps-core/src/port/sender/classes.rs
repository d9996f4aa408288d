//! Messages of high priority (M11): a second queue in the same ring, before the normal one, with credit of its own.
//!
//! Within a class messages are handed out in the order of their numbers, across the classes they are not. The cursor belongs to the normal
//! ones and steps over the others. A port that has no stream of high priority has none of this, and one look tells.
//!
//! A peer of the first release knows one class: there the two queues share the credit, and while the high one waits for it, nothing normal
//! begins.

use std::collections::{BTreeMap, VecDeque};

use super::{Again, OPEN, Piece, Sender};
use crate::config::StreamContract;
use crate::id::{Sn, StreamId};
use crate::port::entry::{Entry, Mark, Phase};
use crate::port::receiver::SPARE_SPAN;
use crate::port::{Batch, ContractError, Outgoing, Payload};
use crate::wire::{self, Frame, item};

/// A high message is at most so far above what the peer has without holes: a peer tracks so many numbers only.
pub(in crate::port) const MAX_AHEAD: u64 = 32_768;

/// The queue of the high class.
pub(super) struct High {
    /// What has not been handed out whole in this generation, ascending.
    pub(super) waiting: VecDeque<Sn>,
    /// So much of the first one was.
    pub(super) offset: u32,
    /// What was handed out in whatever generation, ascending; what has ended since is dropped by and by.
    begun: VecDeque<Sn>,
    pub(super) again: BTreeMap<(Sn, u32), Again>,
    /// The newest that was handed out, at least in part, in this generation.
    newest: Sn,
    /// Messages from here on are held (L7); `OPEN`: none is.
    held_from: Sn,
    /// The last take found no credit for the first one.
    pub(super) starved: bool,
}

impl High {
    fn new() -> High {
        High {
            waiting: VecDeque::new(),
            offset: 0,
            begun: VecDeque::new(),
            again: BTreeMap::new(),
            newest: Sn(0),
            held_from: OPEN,
            starved: false,
        }
    }

    /// The first of which no byte has been handed out in this generation.
    fn first_unsent(&self) -> Option<Sn> {
        self.waiting.get(usize::from(self.offset > 0)).copied()
    }

    /// Nothing is on its way, and nothing waits.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.begun.clear();
        self.again.clear();
        (self.offset, self.newest, self.starved) = (0, Sn(0), false);
    }
}

impl<S: Payload> Sender<S> {
    /// Says what holds for a stream, before its first message.
    pub(in crate::port) fn set_contract(
        &mut self,
        stream: StreamId,
        contract: StreamContract,
    ) -> Result<(), ContractError> {
        self.streams.set_contract(stream, contract)
    }

    /// Whether a class waits for credit.
    #[inline]
    pub(in crate::port) fn starved(&self) -> bool {
        self.starved || self.high.as_ref().is_some_and(|h| h.starved)
    }

    /// The peer counts the classes apart.
    pub(in crate::port) fn peer_has_classes(&self) -> bool {
        self.express.is_some()
    }

    /// The newest message is of high priority, or an unfinished one goes again in a new generation.
    #[cold]
    pub(super) fn queue_high(&mut self, sn: Sn, begun: bool) {
        let held_from = if self.held_from == OPEN { OPEN } else { self.held_from.max(sn) };
        let high = self.high.get_or_insert_with(|| Box::new(High { held_from, ..High::new() }));
        high.waiting.push_back(sn);
        if begun {
            high.begun.push_back(sn);
        }
        if self.cursor == sn {
            self.cursor = sn.next();
        }
    }

    /// The cursor steps over messages of high priority.
    pub(super) fn step_over_high(&mut self) {
        while self.entry(self.cursor).is_some_and(Entry::is_high) {
            self.cursor = self.cursor.next();
        }
    }

    /// What goes next, of two classes: all that is high before anything normal.
    #[cold]
    pub(super) fn next_of_classes(&mut self, fragment: u32) -> Option<Piece> {
        if let Some(piece) = self.next_again(true).or_else(|| self.next_high(fragment)) {
            return Some(piece);
        }
        if let Some(piece) = self.next_again(false) {
            return Some(piece);
        }
        if self.normal_waits() {
            return None;
        }
        let piece = self.next_new(fragment);
        self.step_over_high();
        piece
    }

    fn next_high(&mut self, fragment: u32) -> Option<Piece> {
        let start = self.high_start();
        let high = self.high.as_mut()?;
        match start {
            Start::Now => {}
            Start::NoCredit => {
                high.starved = true;
                return None;
            }
            Start::NotYet => return None,
        }
        let &sn = high.waiting.front()?;
        let at = usize::try_from(sn.0 - self.base.0).ok()?;
        let entry = self.entries.get(at)?;
        let left = entry.len - high.offset;
        let len = if entry.len as usize <= wire::MAX_BUNDLED { left } else { left.min(fragment) };
        let offset = high.offset;
        if offset == 0 && entry.flags & item::TOMBSTONE == 0 {
            self.express.as_mut().unwrap_or(&mut self.purse).spend(entry.len);
        }
        if !entry.is(Mark::Handed) {
            let ended = |sn: &Sn| {
                let at = sn.0.checked_sub(self.base.0).and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| self.entries.get(at)).is_none_or(|e| e.phase == Phase::Finished)
            };
            while high.begun.front().is_some_and(ended) {
                high.begun.pop_front();
            }
            high.begun.push_back(sn);
        }
        high.newest = high.newest.max(sn);
        self.queued -= u64::from(len);
        if len == left {
            high.waiting.pop_front();
            high.offset = 0;
        } else {
            high.offset = offset + len;
        }
        Some(Piece { at, sn, offset, len, counted: false })
    }

    /// Whether the first of the high queue may go.
    fn high_start(&self) -> Start {
        let Some(high) = &self.high else { return Start::NotYet };
        let Some(&sn) = high.waiting.front() else { return Start::NotYet };
        let Some(entry) = self.entry(sn) else { return Start::NotYet };
        if high.offset > 0 {
            return Start::Now;
        }
        let far = sn.0.saturating_sub(self.cumulative.0) > MAX_AHEAD;
        if far || sn >= high.held_from.min(self.barriers.gate()) {
            return Start::NotYet;
        }
        let purse = self.express.as_ref().unwrap_or(&self.purse);
        if entry.flags & item::TOMBSTONE != 0 || purse.affords(entry.len) {
            Start::Now
        } else {
            Start::NoCredit
        }
    }

    /// No normal message may begin because of the others: where the classes share their credit, those that are high come first; and what the
    /// peer has to track above the holes that they leave is bounded.
    pub(super) fn normal_waits(&self) -> bool {
        let Some(high) = &self.high else { return false };
        let ahead = self.cursor.0.saturating_sub(self.cumulative.0);
        self.cursor_offset == 0
            && ((high.starved && self.express.is_none())
                || ahead > self.purse.credit / wire::MESSAGE_COST + SPARE_SPAN)
    }

    /// A high message that is not held waits.
    pub(super) fn has_new_high(&self) -> bool {
        let Some(high) = &self.high else { return false };
        let stop = high.held_from.min(self.barriers.gate());
        high.offset > 0 || high.waiting.front().is_some_and(|sn| *sn < stop)
    }

    /// A path could be given something high now.
    pub(super) fn has_high_work(&self) -> bool {
        self.high.as_ref().is_some_and(|h| !h.again.is_empty()) || self.high_start() == Start::Now
    }

    /// There may be credit again. True: what was starved is not any more.
    pub(super) fn feed_high(&mut self) -> bool {
        let start = self.high_start();
        match &mut self.high {
            Some(high) if high.starved && start != Start::NoCredit => {
                high.starved = false;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Something of either class was handed out, in whatever generation, and has not ended; `out`: in this one.
    pub(super) fn has_begun(&self, out: bool) -> bool {
        let counts = |e: &Entry<S>| match e.phase {
            Phase::Sent | Phase::Received => true,
            Phase::Queued => e.is(Mark::Handed) && !out,
            Phase::Finished => false,
        };
        let Some(high) = &self.high else { return self.entries.front().is_some_and(counts) };
        let normal = self.entries.iter().find(|e| !e.is_high() && e.phase != Phase::Finished);
        normal.is_some_and(counts) || high.begun.iter().any(|sn| self.entry(*sn).is_some_and(counts))
    }

    /// Whether the peer may have what it says that it has.
    pub(super) fn is_possible(&self, cumulative: Sn, highest: Sn) -> bool {
        let handed_out = if self.cursor_offset > 0 { self.cursor } else { Sn(self.cursor.0 - 1) };
        let Some(high) = &self.high else { return highest <= handed_out.max(self.cumulative) };
        let unsent = high.first_unsent().unwrap_or(OPEN);
        highest <= handed_out.max(high.newest).max(self.cumulative)
            && (cumulative <= self.cumulative || (cumulative <= handed_out && cumulative < unsent))
    }

    /// From where on each class is held, if what has not begun is.
    pub(super) fn hold_classes(&mut self) {
        let first = |high: bool| {
            let found = self.entries.iter().position(|e| e.is_high() == high && !e.is(Mark::Handed));
            Sn(self.base.0 + found.unwrap_or(self.entries.len()) as u64)
        };
        let (normal, above) = (first(false), first(true));
        self.held_from = normal;
        if let Some(high) = &mut self.high {
            high.held_from = above;
        }
    }

    /// Tombstones at the head of what is held of the high class go.
    pub(super) fn hold_no_high_tombstones(&mut self) {
        let Some(mut from) = self.high.as_ref().map(|h| h.held_from).filter(|from| *from != OPEN) else {
            return;
        };
        while self.entry(from).is_some_and(|e| e.payload.is_none() || !e.is_high()) {
            from = from.next();
        }
        if let Some(high) = &mut self.high {
            high.held_from = from;
        }
    }

    pub(super) fn let_high_go(&mut self) {
        if let Some(high) = &mut self.high {
            high.held_from = OPEN;
        }
    }

    /// Messages from the oldest one on that are not a tail which nobody has seen.
    pub(super) fn seen(&self) -> usize {
        self.entries.iter().rposition(|e| e.phase != Phase::Queued).map_or(0, |at| at + 1)
    }

    /// So much of a message was handed out, if it was not all. Nothing more of it is.
    pub(super) fn cut_short(&mut self, sn: Sn) -> Option<u32> {
        let high = self.high.as_mut().filter(|h| h.offset > 0 && h.waiting.front() == Some(&sn));
        let offset = match high {
            Some(high) => {
                high.waiting.pop_front();
                std::mem::take(&mut high.offset)
            }
            None if sn == self.cursor => {
                self.cursor = sn.next();
                self.step_over_high();
                std::mem::take(&mut self.cursor_offset)
            }
            None => return None,
        };
        Some(offset)
    }

    /// Nothing of it goes again.
    pub(super) fn forget_again(&mut self, sn: Sn) {
        self.again.retain(|(of, _), _| *of != sn);
        if let Some(high) = &mut self.high {
            high.again.retain(|(of, _), _| *of != sn);
        }
    }

    /// The tail from here on is gone.
    pub(super) fn cut_high(&mut self, end: Sn) {
        if let Some(high) = &mut self.high {
            let kept = high.waiting.partition_point(|sn| *sn < end);
            high.waiting.truncate(kept);
            high.starved = false;
        }
        self.cursor = self.cursor.min(end);
    }
}

/// The peer does not know classes: nothing says that there are any.
pub(super) fn hide<S>(batch: &mut Batch<S>) {
    batch.items.iter_mut().for_each(|out| out.flags &= !item::HIGH);
    for frame in &mut batch.frames {
        match frame {
            Outgoing::Fragment { head, .. } => head.flags &= !item::HIGH,
            Outgoing::Control(Frame::Skip(skip)) => skip.flags &= !item::HIGH,
            Outgoing::Control(_) | Outgoing::Bundle { .. } => {}
        }
    }
}

/// Whether a message may begin to travel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Now,
    /// When there is credit.
    NoCredit,
    /// When something else has come about.
    NotYet,
}
