//! What the oracle holds against a port that lets a message begin to travel after its deadline, or does not say that it was given up (M10).

use cdps_core::id::Sn;

use super::{FlowKey, Oracle};
use crate::rules::{Invariant, Promise};

/// Users that are quick hear within this time (ns) that a message was given up.
const TOLD_WITHIN: u64 = 500_000_000;

/// What a clock may be wrong by over a time, and a moment.
fn tolerance(time: u64) -> u64 {
    time / 100 + 1000
}

/// How long ago a deadline has passed for certain, if it has.
pub(super) fn passed((due, time): (u64, u64), now: u64) -> Option<u64> {
    now.checked_sub(due + tolerance(time))
}

impl Oracle {
    /// The message that was accepted just now is given up after so long (ns).
    pub(crate) fn limited(&mut self, flow: FlowKey, sn: Sn, deadline: Option<u64>) {
        let now = self.now;
        if let Some(record) = self.flows.get_mut(&flow).and_then(|f| f.record_mut(sn)) {
            record.due = deadline.map(|time| (now + time, time));
        }
    }

    /// A nack reached the sending user. Says whether the deadline was the cause: it has passed.
    pub(super) fn expired(
        &mut self,
        flow: FlowKey,
        sn: Sn,
        (due, time): (u64, u64),
        promise: Promise,
    ) -> bool {
        if self.now + tolerance(time) < due {
            return false;
        }
        self.tally.expired += 1;
        if promise.prompt && promise.clean_paths != 0 {
            let late = self.now.saturating_sub(due);
            self.tally.longest_expiry = self.tally.longest_expiry.max(late);
            if late > tolerance(time) + TOLD_WITHIN {
                let text = format!("{flow:?}: {sn} was nacked {late} ns after its deadline");
                self.fail(Invariant::Deadline, text);
            }
        }
        true
    }
}
