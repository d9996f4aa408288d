//! What the oracle holds against a target that closes gracefully, and loses something (L5).

use cdps_core::config::AckModel;
use cdps_core::id::Generation;
use cdps_core::reason::Reason;

use super::{End, FlowKey, Oracle};
use crate::rules::Invariant;

impl Oracle {
    /// A target's user had closed gracefully, and now the session has ended in time.
    pub(crate) fn closed_well(&mut self, flow: FlowKey, at: Generation) {
        self.tally.closed_well += 1;
        self.flows.entry(flow).or_default().receivers.entry(at).or_default().closed_well = true;
    }

    /// At the very end: a target that closed gracefully has delivered what it had taken for good, and its answers have arrived.
    pub(crate) fn check_closed(&mut self) {
        let mut found = None;
        for (key, f) in self.flows.iter().filter(|(_, f)| !f.void) {
            for (generation, receiver) in f.receivers.iter().filter(|r| r.1.closed_well) {
                let lost = receiver.arrived.difference(&receiver.delivered).find(|sn| {
                    let record = f.record(**sn);
                    record.is_some_and(|r| r.end == Some(End::Completed) && r.model == AckModel::Asynchronous)
                });
                let unheard = receiver.answers.keys().find(|sn| {
                    f.record(**sn).is_some_and(|r| r.end == Some(End::Nacked(Reason::PeerClosed)))
                });
                if let Some(sn) = lost {
                    found.get_or_insert(format!(
                        "{key:?} generation {generation}: {sn} was completed, and its target closed without delivering it"
                    ));
                }
                if let Some(sn) = unheard {
                    found.get_or_insert(format!(
                        "{key:?} generation {generation}: {sn} was acknowledged before its target closed, and nacked"
                    ));
                }
            }
        }
        if let Some(text) = found {
            self.fail(Invariant::Drain, text);
        }
    }
}
