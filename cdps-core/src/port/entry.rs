//! One message that has been given to send, and what is unfinished of all of them.

use super::Events;
use super::event::Event;
use crate::config::AckModel;
use crate::id::{Sn, Ssn, StreamId};
use crate::wire::item;

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// No byte of it is on its way in this generation.
    Queued,
    /// Handed to a path, at least in part.
    Sent,
    /// The peer has it whole.
    Received,
    /// Nothing is owed any more; the slot waits for those before it.
    Finished,
}

/// A message on its way. One lies behind the other in the ring by the hundred thousand: it is kept as small as a line of the
/// cache.
pub(super) struct Entry<S> {
    pub(super) payload: Option<S>,
    /// How far back the message before it in its stream is, if it must be received before this one counts (0: none).
    pub(super) back: u32,
    /// How far ahead the message after it in its stream is (0: none yet).
    pub(super) ahead: u32,
    pub(super) ssn: Ssn,
    pub(super) stream: StreamId,
    pub(super) len: u32,
    /// Bytes (at least 1 in all) not yet seen written; kept for the *sent* model only.
    pub(super) unwritten: u32,
    pub(super) model: AckModel,
    pub(super) phase: Phase,
    pub(super) flags: u8,
    pub(super) marks: Marks,
}

/// What is noted of a message: in one byte, so that an entry fills no more than a line of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks(u8);

/// One thing that may be noted.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Mark {
    /// Received, and so is everything before it in its stream.
    Ready = 1 << 0,
    /// The user has been told the outcome.
    Told = 1 << 1,
    /// Some byte of it was handed to a transport, in whatever generation.
    Handed = 1 << 2,
    /// It keeps what is before it from what is behind (M9).
    Barrier = 1 << 3,
    /// A fragment of it was handed out again in this generation.
    Resent = 1 << 4,
}

impl Marks {
    /// This mark alone, or none.
    #[inline]
    pub(super) fn one(mark: Mark, on: bool) -> Marks {
        Marks(if on { mark as u8 } else { 0 })
    }
}

impl<S> Entry<S> {
    #[inline]
    pub(super) fn is(&self, mark: Mark) -> bool {
        self.marks.0 & mark as u8 != 0
    }

    /// True: it was marked so before.
    #[inline]
    pub(super) fn mark(&mut self, mark: Mark) -> bool {
        let before = self.is(mark);
        self.marks.0 |= mark as u8;
        before
    }

    pub(super) fn unmark(&mut self, mark: Mark) {
        self.marks.0 &= !(mark as u8);
    }

    /// Its stream is of high priority (M11).
    pub(super) fn is_high(&self) -> bool {
        self.flags & item::HIGH != 0
    }

    pub(super) fn awaits_ack(&self) -> bool {
        self.model == AckModel::Synchronous && self.phase == Phase::Received && self.is(Mark::Ready)
    }

    /// Whether nothing is owed any more once it and what was before it in its stream has been received.
    pub(super) fn ends_when_received(&self) -> bool {
        match self.model {
            AckModel::Synchronous => self.flags & item::TOMBSTONE != 0,
            AckModel::Asynchronous | AckModel::Sent => true,
        }
    }
}

/// What is unfinished, in figures.
#[derive(Default)]
pub(super) struct Unfinished {
    /// Payload bytes.
    pub(super) bytes: u64,
    /// Messages of the *sent* model that wait for their write.
    pub(super) unwritten: usize,
    /// Completed on the word of the peer's port alone, in this generation.
    pub(super) only_receipted: u64,
}

impl Unfinished {
    /// Ends a message, if it has not ended.
    pub(super) fn finish<S, R>(&mut self, entry: &mut Entry<S>, sn: Sn, rc: i32, events: &mut Events<S, R>) {
        if entry.phase == Phase::Finished {
            return;
        }
        entry.phase = Phase::Finished;
        self.bytes -= u64::from(entry.len);
        self.unwritten -= usize::from(entry.unwritten > 0);
        entry.unwritten = 0;
        let told = entry.mark(Mark::Told);
        let Some(payload) = entry.payload.take() else { return };
        if told {
            events.push(Event::Done { payload });
        } else {
            self.only_receipted += u64::from(entry.model != AckModel::Synchronous);
            events.completed(sn, rc, payload);
        }
    }
}
