//! What the oracle holds against a port that lets messages pass a barrier (M9).

use cdps_core::id::Sn;
use cdps_core::reason::Reason;

use super::{End, Flow, FlowKey, Oracle};
use crate::rules::Invariant;

impl Oracle {
    /// The message that was accepted just now is a barrier.
    pub(crate) fn barrier(&mut self, flow: FlowKey, sn: Sn) {
        self.flows.entry(flow).or_default().barriers.insert(sn);
    }

    /// At the very end: what passed a barrier passed one that was given up.
    pub(super) fn check_passed(&mut self) {
        let stood = |f: &Flow, barrier: Sn| {
            let end = f.record(barrier).and_then(|r| r.end);
            end != Some(End::Nacked(Reason::Timeout))
        };
        let flows = self.flows.iter().filter(|(_, f)| !f.void);
        let found = flows
            .flat_map(|(key, f)| f.passed.iter().filter(|p| stood(f, p.0)).map(move |p| (key, &p.1)))
            .map(|(key, text)| format!("{key:?}: {text}"))
            .next();
        if let Some(text) = found {
            self.fail(Invariant::Barrier, text);
        }
    }
}

impl Flow {
    /// A message was delivered; `newest`: the last of all in number that the same receiver has delivered.
    pub(super) fn judge_barriers(&mut self, sn: Sn, newest: Sn) -> Result<(), (Invariant, String)> {
        if newest <= sn {
            return Ok(());
        }
        for &barrier in self.barriers.range(sn..=newest) {
            let text = format!("{sn} was delivered after {newest}, and {barrier} is a barrier");
            // One that has begun to travel was not given up; of the others the end will tell.
            if self.record(barrier).is_some_and(|r| r.handed) {
                return Err((Invariant::Barrier, text));
            }
            self.passed.push((barrier, text));
        }
        Ok(())
    }
}
