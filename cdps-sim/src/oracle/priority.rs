//! What the oracle holds against a port whose urgent messages wait for the credit of the rest (M11).

use cdps_core::id::{Generation, StreamId};

use super::{FlowKey, Oracle};
use crate::rules::Invariant;

/// Where a path is healthy, what is urgent arrives within this time (ns) of being accepted, whatever its target's user keeps.
const ARRIVES_WITHIN: u64 = 6_000_000_000;

impl Oracle {
    /// The target's user has kept all bulk since the moment `since`, and nothing else. `urgent`: streams of high priority.
    pub(crate) fn check_urgent(&mut self, flow: FlowKey, at: Generation, since: u64, urgent: &[StreamId]) {
        let FlowKey::Up(session) = flow else { return };
        let Some(f) = self.flows.get(&flow) else { return };
        let timed = self.sessions.get(&session).is_some_and(|s| s.promise.is_timed());
        let newest = f.receivers.last_key_value().is_some_and(|r| *r.0 == at);
        if !timed || !newest || f.held || f.void {
            return;
        }
        let mut seen = 0;
        let mut late = None;
        for stream in urgent {
            for sn in f.streams.get(stream).into_iter().flatten() {
                let Some(record) = f.record(*sn) else { continue };
                if record.accepted_at < since || record.accepted_at + ARRIVES_WITHIN > self.now {
                    continue;
                }
                seen += 1;
                if record.end.is_none() && !f.receivers[&at].arrived.contains(sn) {
                    let waited = (self.now - record.accepted_at) as f64 / 1e9;
                    late = late.or(Some(format!("{flow:?}: {sn} waits for {waited:.3} s, behind bulk")));
                }
            }
        }
        self.tally.urgent += seen;
        if let Some(text) = late {
            self.fail(Invariant::Priority, text);
        }
    }
}
