//! The cluster engine with a quorum, as a run has it: it knows the truth, some time later.

use cdps_core::cluster::{ClusterChange, ClusterEvent, Membership, MembershipChange};
use cdps_core::port::{Link, State};

use super::{Host, Slot};
use crate::env::{Env, note};
use crate::rules::Invariant;

impl Host {
    /// The clients hear of the cluster: of a node that is down, first that its clients are gone.
    pub(super) fn hear(&mut self, env: &mut Env, ClusterEvent { node, change, .. }: ClusterEvent) {
        note!(env, "n{}: cluster: {node} {change:?}", self.node());
        match change {
            ClusterChange::Registered { client } => drop(self.heard_of.insert((node, client))),
            ClusterChange::Gone { client } => drop(self.heard_of.remove(&(node, client))),
            ClusterChange::Down => {
                if let Some((_, client)) = self.heard_of.iter().find(|of| of.0 == node) {
                    let text = format!("node {node} is down, and its client {client} not gone");
                    env.oracle.fail(Invariant::Membership, text);
                }
            }
            ClusterChange::Up { .. }
            | ClusterChange::Unreachable
            | ClusterChange::Quorum(_)
            | ClusterChange::Effective
            | ClusterChange::Path { .. } => {}
        }
    }

    /// The engine says how things are, and what must follow at once has followed.
    pub(super) fn word(&mut self, env: &mut Env) {
        let changes = self.plan.membership(self.index, env.now);
        note!(env, "n{}: the cluster engine says {changes:?}", self.node());
        let now = self.clock(env);
        let Some(engine) = self.engine.as_mut() else { return };
        // Its clock never stands still for two words.
        let number = env.now + 1;
        let switches = |s: &Slot| s.port.link() == Link::Switching;
        let switching: Vec<bool> = self.slots.iter().map(|s| s.as_ref().is_some_and(switches)).collect();
        let taken = engine.handle_membership(now, Membership { number, changes: changes.clone() });
        if let Err(error) = taken {
            note!(env, "n{}: {error}", self.node());
        }
        self.pump(env);
        let quorate = changes.contains(&MembershipChange::Quorum(true));
        self.effective |= quorate;
        for (n, s) in self.slots.iter().enumerate() {
            let Some(s) = s else { continue };
            let Some(peer) = s.port.peer() else { continue };
            let is_up = matches!(s.port.state(), State::Connected | State::Stopped | State::ConnectedTo)
                && s.port.link() == Link::Up;
            if is_up && changes.contains(&MembershipChange::Down(peer)) {
                let text = format!("p{n} ({}) goes on with node {peer}, which is down", s.session);
                env.oracle.fail(Invariant::Membership, text);
            }
            if !quorate && switches(s) && !switching[n] {
                let text = format!("p{n} ({}) switches without a quorum", s.session);
                env.oracle.fail(Invariant::Membership, text);
            }
        }
    }
}
