//! Users of targets who keep all the bulk that they get for a while (M11): what is urgent must arrive all the same.

use cdps_core::config::{Priority, StreamContract};
use cdps_core::id::{Side, StreamId};

use crate::broken::Broken;
use crate::env::{Env, note};
use crate::host::{Host, HostEvent};
use crate::plan::HOARDING;
use crate::user::Errand;

impl Host {
    /// What holds for a stream of this port.
    pub(crate) fn contract(&self, env: &Env, slot: usize, stream: StreamId) -> StreamContract {
        let Some(s) = self.slots[slot].as_ref() else { return StreamContract::default() };
        let shared = env.broken == Some(Broken::SharedCredit);
        if s.side == Side::Target && (shared || !self.has_classes(s.session.node)) {
            // It was refused.
            return StreamContract::default();
        }
        let contracts = &self.plan.sources[s.plan].contracts;
        contracts.iter().find(|c| c.0 == stream).map_or_else(StreamContract::default, |c| c.1)
    }

    /// Whether the user keeps this message for a while, because it keeps all of this class.
    pub(crate) fn hoards(&mut self, env: &mut Env, slot: usize, class: Priority) -> bool {
        let Some(s) = self.slots[slot].as_ref() else { return false };
        let wants = s.side == Side::Target
            && self.plan.sources[s.plan].hoards
            && class == Priority::Normal
            && !s.user.sold
            && self.has_classes(s.session.node);
        if wants && s.user.hoards_since.is_none() {
            note!(env, "n{} p{slot}: user: keeps all bulk from here on", self.node());
            if let Some(s) = self.slots[slot].as_mut() {
                s.user.hoards_since = Some(env.now);
            }
            self.later(env, HOARDING, HostEvent::User { slot, what: Errand::Sell });
        }
        wants
    }

    /// The user gives back what it has kept.
    pub(crate) fn sell(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let Some(since) = s.user.hoards_since else { return };
        note!(env, "n{node} p{slot}: user: gives back {} messages", s.user.held.len());
        let high = self.plan.sources[s.plan].contracts.iter();
        let urgent: Vec<StreamId> = high.map(|c| c.0).collect();
        let generation = s.port.generation();
        env.oracle.check_urgent(s.flow_in(generation), generation, since, &urgent);
        s.user.sold = true;
        for (_, (credit, payload)) in std::mem::take(&mut s.user.held) {
            drop(payload);
            if env.broken != Some(Broken::CreditLeak) {
                s.port.release(now, credit);
            }
        }
    }
}
