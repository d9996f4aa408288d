//! What has been given to send and is not finished: numbering, credit, what goes next, what is done.
//!
//! One ring holds every message from the oldest unfinished one on. Its tail that no path has taken yet *is* the send queue, so a path
//! is chosen as late as possible, and a message needs no second place.

mod barriers;
mod classes;
mod deadlines;
mod figures;
mod nacks;
mod purse;
mod receipts;
mod skips;
mod streams;

use std::collections::{BTreeMap, VecDeque};

use self::barriers::Barriers;
use self::classes::High;
use self::deadlines::Deadlines;
use self::purse::Purse;
use self::skips::Skips;
use self::streams::Streams;
use super::bundle::OpenBundle;
use super::entry::{Entry, Mark, Marks, Phase, Unfinished};
use super::path::Flight;
use super::receiver::SPARE_SPAN;
use super::{Batch, Outgoing, Payload, Refused, SendError};
use crate::config::{AckModel, Priority, StreamContract};
use crate::id::{Sn, StreamId};
use crate::time::Time;
use crate::wire::{self, FragmentHead, item};

/// Messages between the oldest unfinished one and the newest; past it a send says AGAIN.
pub(super) const MAX_SPAN: usize = 1 << 20;
/// Items taken under one lock.
const MAX_ITEMS: usize = 1024;
/// Bytes taken under one lock, unless the first frame alone is longer.
pub(super) const MAX_RUN: u64 = 64 << 10;
/// No message is held.
const OPEN: Sn = Sn(u64::MAX);

/// A range to send again.
#[derive(Clone, Copy)]
struct Again {
    len: u32,
    /// Its bytes have been seen written before.
    counted: bool,
}

/// What a receipt or a completion says is impossible.
pub(super) struct Impossible;

pub(super) struct Sender<S> {
    entries: VecDeque<Entry<S>>,
    base: Sn,
    /// `base` when the generation began: what the peer is told.
    start: Sn,
    next: Sn,
    cursor: Sn,
    cursor_offset: u32,
    /// No message from here on may begin: the lower one of `held_from` and the gate of the barriers.
    stop: Sn,
    /// Messages from here on are held (L7); `OPEN`: none is.
    held_from: Sn,
    barriers: Barriers,
    cumulative: Sn,
    /// Runs received above `cumulative`, ascending.
    gaps: Vec<(Sn, Sn)>,
    again: BTreeMap<(Sn, u32), Again>,
    skips: Skips,
    /// Of messages that have not begun to travel; others may be among them.
    deadlines: Deadlines,
    streams: Streams,
    /// Credit of the normal class, or of both where the peer has one only.
    purse: Purse,
    /// Credit of the high class (M11), if the peer has classes.
    express: Option<Purse>,
    /// What is of high priority, once there was something.
    high: Option<Box<High>>,
    unfinished: Unfinished,
    /// Runs that were nacked as unknown: what a reset may resolve (F3).
    unknown: Vec<(Sn, Sn)>,
    /// Payload bytes behind the cursor.
    queued: u64,
    pub(super) resent: u64,
    /// The last take stopped for want of credit.
    starved: bool,
}

/// What goes next: a message, or a part of one.
struct Piece {
    /// Place of its message in the ring.
    at: usize,
    sn: Sn,
    offset: u32,
    len: u32,
    /// Its bytes have been seen written before.
    counted: bool,
}

impl<S: Payload> Sender<S> {
    pub(super) fn new(max_streams: u32) -> Self {
        Sender {
            entries: VecDeque::new(),
            base: Sn(1),
            start: Sn(1),
            next: Sn(1),
            cursor: Sn(1),
            cursor_offset: 0,
            stop: OPEN,
            held_from: OPEN,
            barriers: Barriers::default(),
            cumulative: Sn(0),
            gaps: Vec::new(),
            again: BTreeMap::new(),
            skips: Skips::default(),
            deadlines: Deadlines::default(),
            streams: Streams::new(max_streams),
            purse: Purse::default(),
            express: None,
            high: None,
            unfinished: Unfinished::default(),
            unknown: Vec::new(),
            queued: 0,
            resent: 0,
            starved: false,
        }
    }

    /// Numbers begin here. Before the first message.
    pub(super) fn start_at(&mut self, first: Sn) {
        (self.base, self.next, self.cursor) = (first, first, first);
    }

    /// First SN of the generation.
    pub(super) fn start(&self) -> Sn {
        self.start
    }

    /// The oldest message that has not ended, or the next one if all have.
    pub(super) fn oldest(&self) -> Sn {
        if self.entries.is_empty() { self.next } else { self.base }
    }

    /// Something was handed out in this generation and has not ended.
    pub(super) fn has_unfinished_out(&self) -> bool {
        self.has_begun(true)
    }

    /// The message that was given to send last.
    pub(super) fn newest(&self) -> Sn {
        Sn(self.next.0 - 1)
    }

    /// The peer's port has everything up to here.
    pub(super) fn cumulative(&self) -> Sn {
        self.cumulative
    }

    /// Its receipt has come, the acknowledgment of its user has not.
    pub(super) fn awaits_ack(&self, sn: Sn) -> bool {
        self.entry(sn).is_some_and(Entry::awaits_ack)
    }

    /// The oldest such message from `first` to `last`.
    pub(super) fn first_unacknowledged(&self, first: Sn, last: Sn) -> Option<(Sn, StreamId)> {
        let from = first.max(self.base);
        let at = usize::try_from(from.0 - self.base.0).ok()?;
        let count = usize::try_from((last.0 + 1).saturating_sub(from.0)).ok()?;
        let mut entries = self.entries.iter().skip(at).take(count);
        let k = entries.position(Entry::awaits_ack)?;
        Some((Sn(from.0 + k as u64), self.entries[at + k].stream))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn span_full(&self) -> bool {
        self.entries.len() >= MAX_SPAN
    }

    /// Whether a path could be given something now.
    pub(super) fn has_work(&self) -> bool {
        !self.again.is_empty()
            || self.skips.due() > 0
            || (self.has_new_normal() && self.may_start())
            || (self.high.is_some() && self.has_high_work())
    }

    /// Whether a message that is not held waits for its first byte to be handed out.
    #[inline]
    pub(super) fn has_new(&self) -> bool {
        self.has_new_normal() || (self.high.is_some() && self.has_new_high())
    }

    /// The same of normal priority.
    #[inline]
    pub(super) fn has_new_normal(&self) -> bool {
        self.cursor.0 < self.end() && !self.holds_next()
    }

    /// Nothing that was begun is unfinished, and the peer's user has given everything back (F6).
    pub(super) fn is_quiet(&self) -> bool {
        !self.has_begun(false) && self.purse.is_whole() && self.express.as_ref().is_none_or(Purse::is_whole)
    }

    /// Holds every message of which no byte has been handed out yet, in whatever generation; the others go on (L7).
    pub(super) fn hold(&mut self) {
        if self.holds() {
            return;
        }
        self.hold_classes();
        self.settle_stop();
        self.hold_no_tombstones();
        self.starved &= self.has_new_normal();
        self.feed_high();
    }

    /// Nothing is held any more. True: something that was may go now.
    pub(super) fn let_go(&mut self) -> bool {
        let held = std::mem::replace(&mut self.held_from, OPEN) != OPEN;
        self.let_high_go();
        self.settle_stop();
        held && self.has_new()
    }

    pub(super) fn holds(&self) -> bool {
        self.held_from != OPEN
    }

    /// The message at the cursor is held, by the user or at a barrier. One that has been begun is not.
    fn holds_next(&self) -> bool {
        self.cursor >= self.stop
    }

    fn settle_stop(&mut self) {
        self.stop = self.held_from.min(self.barriers.gate());
    }

    fn end(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn entry(&self, sn: Sn) -> Option<&Entry<S>> {
        self.entries.get(usize::try_from(sn.0.checked_sub(self.base.0)?).ok()?)
    }

    fn entry_mut(&mut self, sn: Sn) -> Option<&mut Entry<S>> {
        self.entries.get_mut(usize::try_from(sn.0.checked_sub(self.base.0)?).ok()?)
    }

    fn may_start(&self) -> bool {
        !(self.high.is_some() && self.normal_waits())
            && self.entry(self.cursor).is_some_and(|entry| self.may_start_with(entry))
    }

    fn may_start_with(&self, entry: &Entry<S>) -> bool {
        if self.cursor_offset > 0 {
            return true;
        }
        if entry.flags & item::TOMBSTONE != 0 {
            // It costs nothing, but the peer tracks so many only.
            return self.cursor.0 - self.cumulative.0 <= SPARE_SPAN;
        }
        self.purse.affords(entry.len)
    }

    /// Numbers a message and queues it. The caller has checked the limits of the port. `ack`: the model asked for, and the port's.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        id: StreamId,
        len: u32,
        ack: (Option<AckModel>, AckModel),
        barrier: bool,
        payload: S,
    ) -> Result<(Sn, Priority), Refused<S>> {
        match self.streams.latest(id) {
            Some(at) => {
                let model = ack.0.unwrap_or(ack.1);
                Ok((self.queue((at, id), len, model, 0, barrier, payload), Priority::Normal))
            }
            None => self.push_elsewhere(id, len, ack, barrier, payload),
        }
    }

    /// On another stream than the message before it, or on one with a contract (M11).
    #[inline(never)]
    fn push_elsewhere(
        &mut self,
        id: StreamId,
        len: u32,
        (ack, default): (Option<AckModel>, AckModel),
        barrier: bool,
        payload: S,
    ) -> Result<(Sn, Priority), Refused<S>> {
        let Some(at) = self.streams.open(id) else {
            let max = self.streams.max;
            return Err(Box::new((SendError::TooManyStreams { stream: id, max }, payload)));
        };
        let StreamContract { ack: contracted, priority } = self.streams.at(at).contract;
        let model = ack.or(contracted).unwrap_or(default);
        let class = match priority {
            Priority::Normal => 0,
            Priority::High => item::HIGH,
        };
        let sn = self.queue((at, id), len, model, class, barrier, payload);
        if class != 0 {
            self.queue_high(sn, false);
        }
        Ok((sn, priority))
    }

    /// `at`: place of its stream. `class`: its item flag.
    #[inline(always)]
    fn queue(
        &mut self,
        (at, id): (usize, StreamId),
        len: u32,
        model: AckModel,
        class: u8,
        barrier: bool,
        payload: S,
    ) -> Sn {
        if self.entries.is_empty() {
            // Numbers of messages that were nacked unsent are not used again.
            self.base = self.next;
            self.cursor = self.next;
            self.cursor_offset = 0;
        }
        let sn = self.next;
        let stream = self.streams.at(at);
        let ssn = stream.next_ssn;
        let prev = if stream.fresh { Sn(0) } else { stream.last };
        let start = if stream.fresh { item::START } else { 0 };
        let sync = if model == AckModel::Synchronous { item::SYNC } else { 0 };
        stream.next_ssn = ssn.next();
        stream.last = sn;
        stream.fresh = false;
        let back = match self.entry_mut(prev) {
            Some(before) => {
                // At most MAX_SPAN.
                before.ahead = (sn.0 - prev.0) as u32;
                before.ahead
            }
            None => 0,
        };
        let unwritten = if model == AckModel::Sent { len.max(1) } else { 0 };
        self.unfinished.unwritten += usize::from(model == AckModel::Sent);
        self.entries.push_back(Entry {
            payload: Some(payload),
            back,
            ahead: 0,
            ssn,
            stream: id,
            len,
            unwritten,
            model,
            phase: Phase::Queued,
            flags: start | sync | class,
            marks: Marks::one(Mark::Barrier, barrier),
        });
        if barrier {
            self.set_barrier(sn);
        }
        self.next = sn.next();
        self.unfinished.bytes += u64::from(len);
        self.queued += u64::from(len);
        sn
    }

    /// Raises the credit of both classes; a lower value is an old one. True: what waited for it may go.
    pub(super) fn raise_credit(&mut self, credit: u64, high: Option<u64>) -> bool {
        self.purse.raise(credit);
        if let (Some(express), Some(high)) = (&mut self.express, high) {
            express.raise(high);
        }
        let high_fed = self.high.is_some() && self.feed_high();
        let starved = self.starved;
        self.starved &= self.has_new_normal() && !self.may_start();
        high_fed || (starved && !self.starved)
    }

    /// Fills a batch with what goes next, and notes for the path what is on its way.
    pub(super) fn take(
        &mut self,
        now: Time,
        room: u64,
        fragment: u32,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) -> u64 {
        if self.high.is_some() {
            return self.take_of_classes(now, room, fragment, frames_out, flights, batch);
        }
        self.fill::<false>(now, room, fragment, frames_out, flights, batch)
    }

    #[inline(never)]
    fn take_of_classes(
        &mut self,
        now: Time,
        room: u64,
        fragment: u32,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) -> u64 {
        if let Some(high) = &mut self.high {
            high.starved = false;
        }
        let taken = self.fill::<true>(now, room, fragment, frames_out, flights, batch);
        if !self.peer_has_classes() {
            classes::hide(batch);
        }
        taken
    }

    /// `CLASSES`: some message was of high priority (M11).
    #[inline(always)]
    fn fill<const CLASSES: bool>(
        &mut self,
        now: Time,
        room: u64,
        fragment: u32,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) -> u64 {
        let mut taken = 0;
        let mut open = OpenBundle::new(now);
        self.starved = false;
        if self.skips.due() > 0 {
            taken += self.put_skips(now, frames_out, flights, batch);
        }
        while taken < room && batch.items.len() < MAX_ITEMS {
            let piece = if CLASSES { self.next_of_classes(fragment) } else { self.next_piece(fragment) };
            let Some(Piece { at, sn, offset, len, counted }) = piece else { break };
            let entry = &mut self.entries[at];
            entry.phase = Phase::Sent;
            entry.mark(Mark::Handed);
            if entry.len as usize <= wire::MAX_BUNDLED {
                taken += open.add(sn, entry, counted, frames_out, flights, batch);
            } else {
                open.close(frames_out, flights, batch);
                let head = FragmentHead {
                    sn,
                    ssn: entry.ssn,
                    stream: entry.stream,
                    offset,
                    total: entry.len,
                    flags: entry.flags,
                };
                let Some(payload) = entry.payload.clone() else { break };
                batch.frames.push(Outgoing::Fragment { head, len, payload });
                *frames_out += 1;
                let bytes = u64::from(len);
                taken += bytes;
                flights.push_back(Flight {
                    frame: *frames_out,
                    sn,
                    count: 1,
                    offset,
                    len,
                    bytes,
                    at: now,
                    counted,
                    moved: false,
                });
            }
        }
        open.close(frames_out, flights, batch);
        taken
    }

    /// The next range to hand out: first what is sent again, then what is new and has credit.
    #[inline(always)]
    fn next_piece(&mut self, fragment: u32) -> Option<Piece> {
        if !self.again.is_empty()
            && let Some(piece) = self.next_again(false)
        {
            return Some(piece);
        }
        self.next_new(fragment)
    }

    #[inline(always)]
    fn next_new(&mut self, fragment: u32) -> Option<Piece> {
        let (sn, offset) = (self.cursor, self.cursor_offset);
        let at = usize::try_from(sn.0 - self.base.0).ok()?;
        let entry = self.entries.get(at)?;
        if self.holds_next() {
            return None;
        }
        if !self.may_start_with(entry) {
            self.starved = true;
            return None;
        }
        let (total, tombstone) = (entry.len, entry.flags & item::TOMBSTONE != 0);
        let left = total - offset;
        let whole = total as usize <= wire::MAX_BUNDLED;
        let len = if whole { left } else { left.min(fragment) };
        if offset == 0 && !tombstone {
            self.purse.spend(total);
        }
        self.queued -= u64::from(len);
        if len == left {
            self.cursor = sn.next();
            self.cursor_offset = 0;
        } else {
            self.cursor_offset = offset + len;
        }
        Some(Piece { at, sn, offset, len, counted: false })
    }

    /// What is sent again of one class; what the peer has meanwhile is not.
    fn next_again(&mut self, high: bool) -> Option<Piece> {
        loop {
            let again = if high { &mut self.high.as_mut()?.again } else { &mut self.again };
            let ((sn, offset), Again { len, counted }) = again.pop_first()?;
            let at = sn.0.checked_sub(self.base.0).and_then(|at| usize::try_from(at).ok());
            if let Some(at) = at
                && let Some(entry) = self.entries.get_mut(at).filter(|e| e.phase == Phase::Sent)
            {
                entry.mark(Mark::Resent);
                self.resent += 1;
                return Some(Piece { at, sn, offset, len, counted });
            }
        }
    }

    /// The connection that carried this is gone, or in doubt: it must travel again unless the peer has it.
    pub(super) fn send_again(&mut self, flight: &Flight) {
        for k in 0..u64::from(flight.count) {
            let sn = Sn(flight.sn.0 + k);
            let at = sn.0.checked_sub(self.base.0).and_then(|at| usize::try_from(at).ok());
            let Some((at, entry)) = at.and_then(|at| Some((at, self.entries.get(at)?))) else { continue };
            if entry.phase != Phase::Sent {
                continue;
            }
            if self.skips.holds(sn) {
                self.skips.again(sn);
            } else {
                let len = if flight.count == 1 { flight.len } else { entry.len };
                let again = Again { len, counted: flight.counted };
                match &mut self.high {
                    Some(high) if self.entries[at].is_high() => high.again.insert((sn, flight.offset), again),
                    Some(_) | None => self.again.insert((sn, flight.offset), again),
                };
            }
        }
    }

    /// There is no credit before the peer grants some.
    pub(super) fn withhold_credit(&mut self) {
        self.purse.credit = 0;
        if let Some(express) = &mut self.express {
            express.credit = 0;
        }
    }

    /// A new generation begins: everything unfinished goes again, in order; what was finished in between leaves tombstones.
    /// `high_window`: the peer has classes (M11).
    pub(super) fn restart(&mut self, window: u64, high_window: Option<u64>, max_streams: u32) {
        for entry in self.entries.iter_mut().filter(|e| e.payload.is_none()) {
            entry.phase = Phase::Finished;
        }
        self.pop_finished();
        if self.entries.is_empty() {
            self.base = self.next;
        }
        self.start = self.base;
        self.streams.restart(max_streams);
        self.purse = Purse::new(window);
        self.express = high_window.map(Purse::new);
        self.unfinished.only_receipted = 0;
        self.starved = false;
        self.cumulative = Sn(self.base.0 - 1);
        self.gaps.clear();
        self.again.clear();
        if let Some(high) = &mut self.high {
            high.clear();
        }
        self.skips.clear();
        self.cursor = self.base;
        self.cursor_offset = 0;
        self.queued = 0;
        self.clear_barriers();
        for k in 0..self.entries.len() {
            let id = self.entries[k].stream;
            let fresh = self.streams.reopen(id);
            let entry = &mut self.entries[k];
            entry.flags &= item::SYNC | item::HIGH;
            entry.unmark(Mark::Ready);
            entry.unmark(Mark::Resent);
            if entry.unwritten > 0 {
                entry.unwritten = entry.len.max(1);
            }
            if fresh {
                entry.flags |= item::START;
                entry.back = 0;
            }
            if entry.phase == Phase::Finished {
                entry.flags = (entry.flags & (item::START | item::HIGH)) | item::TOMBSTONE;
                entry.len = 0;
            } else if entry.is(Mark::Handed) {
                entry.flags |= item::REDELIVERED;
            }
            entry.phase = Phase::Queued;
            self.queued += u64::from(entry.len);
            let (high, handed) = (entry.is_high(), entry.is(Mark::Handed));
            if entry.is(Mark::Barrier) {
                // Also one that has ended: what is before it has not.
                self.set_barrier(Sn(self.base.0 + k as u64));
            }
            if high {
                self.queue_high(Sn(self.base.0 + k as u64), handed);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let bytes: u64 = self.entries.iter().filter(|e| e.payload.is_some()).map(|e| u64::from(e.len)).sum();
        assert_eq!(bytes, self.unfinished.bytes, "bytes held");
        assert_eq!(
            self.entries.iter().filter(|e| e.unwritten > 0).count(),
            self.unfinished.unwritten,
            "unwritten"
        );
    }
}
