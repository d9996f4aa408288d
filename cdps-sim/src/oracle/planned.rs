//! What the oracle holds against a planned switch (F6).

use cdps_core::id::SessionId;
use cdps_core::port::ConnStatus;

use super::{FlowKey, Oracle};
use crate::rules::Invariant;

impl Oracle {
    /// The source's user goes over to another target.
    pub(crate) fn planned(&mut self, session: SessionId) {
        let s = self.sessions.entry(session).or_default();
        s.planned = Some(s.nacked);
    }

    /// The source's user is told something, perhaps of the switch.
    pub(super) fn follow_planned(&mut self, session: SessionId, status: &ConnStatus) {
        let s = self.sessions.entry(session).or_default();
        let Some(before) = s.planned else { return };
        let unharmed = s.nacked == before;
        let mut left = None;
        match status {
            ConnStatus::Switched { generation, .. } => {
                self.tally.planned[0] += 1;
                s.orderly = Some(*generation);
                // Not what was lost before, nor what a reset has dropped.
                let (since, flow) = (s.since, self.flows.get(&FlowKey::Up(session)));
                let former = flow.into_iter().flat_map(|f| f.receivers.range(since..*generation));
                let mut left_there = former.flat_map(|(_, r)| r.untold());
                left = left_there.find(|sn| !flow.and_then(|f| f.record(*sn)).is_some_and(|r| r.changes));
            }
            ConnStatus::SwitchFailed { .. } => self.tally.planned[1] += 1,
            ConnStatus::Connected { .. }
            | ConnStatus::ConnectFailed { .. }
            | ConnStatus::Down { .. }
            | ConnStatus::Drained
            | ConnStatus::Switching { .. }
            | ConnStatus::Recovered { .. }
            | ConnStatus::Reset { .. }
            | ConnStatus::Closed { .. } => {}
        }
        s.planned = None;
        if let Some(sn) = left {
            let text = format!("{session}: {sn} was left behind at the former target");
            self.fail(Invariant::Planned, text);
        } else if !unharmed && matches!(status, ConnStatus::Switched { .. } | ConnStatus::SwitchFailed { .. })
        {
            self.fail(Invariant::Planned, format!("{session}: something was nacked before {status:?}"));
        }
    }
}
