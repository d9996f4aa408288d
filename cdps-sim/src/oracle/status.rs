//! What a source's user is told of its connection: down, drained and up in their order, and switches in time (F1, F2, F5, F12).

use cdps_core::id::{Generation, NodeId, SessionId, Sn};
use cdps_core::port::{ConnStatus, Trigger};
use cdps_core::reason::Reason;
use cdps_core::time::nanos;

use super::{FlowKey, Oracle, decision, grace};
use crate::rules::{Invariant, Promise};

/// A lost target is replaced by a healthy backup within this time (ns): the dead time, half a second, and what the backup's user takes to
/// decide.
const SWITCHES_WITHIN: u64 = 2_350_000_000;

/// What a target's user takes to decide on a connect request at most (ns), which is not in the budget.
const DECIDES_WITHIN: u64 = 350_000_000;

impl Oracle {
    /// A status reached the source's user.
    pub(crate) fn status(&mut self, session: SessionId, status: &ConnStatus) {
        self.follow_planned(session, status);
        let flow = self.flows.get(&FlowKey::Up(session));
        let open = flow.map_or(0, |f| f.open);
        let newest = flow.and_then(|f| f.receivers.last_key_value().map(|r| *r.0));
        let s = self.sessions.entry(session).or_default();
        let promise = s.promise;
        let mut fault = None;
        if let ConnStatus::Connected { generation, .. }
        | ConnStatus::Recovered { generation, .. }
        | ConnStatus::Switched { generation, .. } = status
        {
            s.told = *generation;
        }
        match status {
            ConnStatus::Down { reason, .. } => {
                self.tally.downs += 1;
                s.choice.forget();
                if s.down.is_some() || s.refusing {
                    fault = Some((Invariant::DownOrder, format!("a second down ({reason}) before up")));
                } else if promise.path_hidden {
                    fault =
                        Some((Invariant::PathHidden, format!("down ({reason}) though a path was healthy")));
                } else if promise.switch_hidden {
                    fault =
                        Some((Invariant::SwitchHidden, format!("down ({reason}) though a backup was there")));
                }
                s.down = Some(Sn(0));
                s.refusing = true;
            }
            ConnStatus::Drained => {
                if s.down.take().is_some() && open > 0 {
                    fault = Some((Invariant::DownOrder, format!("drained, but {open} sends have not ended")));
                }
            }
            ConnStatus::Connected { .. } | ConnStatus::Closed { .. } | ConnStatus::Recovered { .. } => {
                if let ConnStatus::Recovered { kept, .. } = status {
                    self.tally.resets += u64::from(*kept);
                    self.tally.reconnects += u64::from(!*kept);
                    if *kept && let Some(sn) = s.unresolved.first() {
                        fault = Some((Invariant::Ledger, format!("up, and {sn} is not resolved")));
                    }
                    if !kept {
                        // It may be another target.
                        s.promise = Promise::default();
                    }
                }
                if let ConnStatus::Connected { generation, .. }
                | ConnStatus::Recovered { generation, kept: false, .. } = status
                {
                    s.since = *generation;
                }
                s.unresolved.clear();
                if s.down.take().is_some() {
                    fault = Some((Invariant::DownOrder, format!("{status:?} before drained")));
                }
                s.refusing = false;
                if matches!(status, ConnStatus::Closed { reason: Reason::Closed }) {
                    // What was sent there may still have to arrive.
                    s.closed = newest.max(Some(s.told));
                }
            }
            ConnStatus::Switched { generation, decision, .. } if decision.trigger == Trigger::Asked => {
                self.tally.switches += 1;
                s.since = *generation;
                s.choice.forget();
                s.leaving = None;
            }
            ConnStatus::Switched { node, generation, .. } => {
                self.tally.switches += 1;
                s.since = *generation;
                if let Err(text) = s.choice.check_switch(*node) {
                    fault = Some((Invariant::Choice, text));
                }
                if let Some(at) = s.leaving.and_then(|n| self.struck.get(&n))
                    && promise.switch_hidden
                {
                    let took = self.now - at;
                    let timed = promise.prompt && promise.next_well;
                    if timed {
                        self.tally.longest_switch = self.tally.longest_switch.max(took);
                    }
                    let (invariant, within) = match self.budget {
                        Some(budget) => (Invariant::Budget, budget + DECIDES_WITHIN),
                        None => (Invariant::SwitchHidden, SWITCHES_WITHIN + nanos(s.grace)),
                    };
                    if timed && took > within {
                        fault = Some((invariant, format!("the switch took {:.3} s", took as f64 / 1e9)));
                    }
                }
            }
            ConnStatus::Switching { reason, from, .. } => {
                s.leaving = Some(*from);
                if promise.path_hidden {
                    fault =
                        Some((Invariant::PathHidden, format!("switch ({reason}) though a path was healthy")));
                }
            }
            // The first one waits for nobody who is told late of a former session.
            ConnStatus::ConnectFailed { reason: Reason::Timeout, .. }
                if promise.connects() && s.since == Generation::default() =>
            {
                fault = Some((Invariant::PathHidden, "no connection, though a path was healthy".into()));
            }
            ConnStatus::ConnectFailed { .. } | ConnStatus::Reset { .. } | ConnStatus::SwitchFailed { .. } => {
            }
        }
        let fault = fault.or_else(|| Some((Invariant::Record, decision::judge(status, &s.choice).err()?)));
        let fault = fault.or_else(|| Some((Invariant::Grace, grace::judge(status, s.grace).err()?)));
        if let Some((invariant, text)) = fault {
            self.fail(invariant, format!("{session}: {text}"));
        }
    }

    /// A node goes on after it was frozen. Who has not given it up by now does not do so for that.
    pub(crate) fn survived(&mut self, node: NodeId) {
        if self.sessions.values().all(|s| s.leaving != Some(node)) {
            self.struck.remove(&node);
        }
    }

    /// The source's user connects again: sends may be taken from here on.
    pub(crate) fn connecting(&mut self, session: SessionId) {
        self.sessions.entry(session).or_default().refusing = false;
    }
}
