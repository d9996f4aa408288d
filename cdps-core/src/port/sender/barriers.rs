//! Barriers (M9): a message that is delivered after everything sent before it, and before anything sent later, on all streams.
//!
//! It is the sender's work alone. A receiver notes a message as received when it gives it to its user's queue, or lets it wait behind one of
//! its stream that has not come: so when the cumulative receipt covers everything before the barrier, all of it is in that queue. The barrier begins to
//! travel then, and what was sent later when the barrier's own receipt has come.

use std::collections::VecDeque;

use super::{Mark, OPEN, Sender};
use crate::id::Sn;
use crate::port::Payload;

/// Barriers that have not been received, and how far messages may go because of them.
pub(super) struct Barriers {
    /// Ascending. One that was given up may be among them.
    waiting: VecDeque<Sn>,
    /// No message from here on may begin; `OPEN`: each may.
    gate: Sn,
}

impl Default for Barriers {
    fn default() -> Self {
        Barriers { waiting: VecDeque::new(), gate: OPEN }
    }
}

impl Barriers {
    pub(super) fn gate(&self) -> Sn {
        self.gate
    }
}

impl<S: Payload> Sender<S> {
    /// The newest message is a barrier, or becomes one again.
    #[cold]
    pub(super) fn set_barrier(&mut self, sn: Sn) {
        self.barriers.waiting.push_back(sn);
        self.settle_gate();
    }

    pub(super) fn clear_barriers(&mut self) {
        self.barriers.waiting.clear();
        self.settle_gate();
    }

    /// Nothing more may begin before receipts have come.
    pub(in crate::port) fn is_at_barrier(&self) -> bool {
        self.cursor >= self.barriers.gate
    }

    /// Something has been received, or is not a barrier any more.
    #[inline]
    pub(super) fn settle_gate(&mut self) {
        if self.barriers.gate != OPEN || !self.barriers.waiting.is_empty() {
            self.find_gate();
        }
    }

    fn find_gate(&mut self) {
        self.barriers.gate = OPEN;
        while let Some(&sn) = self.barriers.waiting.front() {
            if self.cumulative >= sn || self.entry(sn).is_none_or(|e| !e.is(Mark::Barrier)) {
                self.barriers.waiting.pop_front();
                continue;
            }
            let alone = self.cumulative.next() == sn;
            self.barriers.gate = if alone { sn.next() } else { sn };
            break;
        }
        self.settle_stop();
    }
}
