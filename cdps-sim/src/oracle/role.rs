//! What the oracle knows of generations that are kept (F7), and of roles (L4).

use std::collections::BTreeMap;

use cdps_core::id::{Generation, NodeId, SessionId};

use super::Oracle;
use crate::rules::Invariant;

/// What is remembered for that.
#[derive(Default)]
pub(super) struct Roles {
    /// Sources whose generations are kept, by node and port: highest that former processes have asked for, and that the present one has.
    lineages: BTreeMap<(NodeId, u32), (Generation, Generation)>,
    /// Highest role epoch that the exclusive client of a node has heard.
    heard: BTreeMap<NodeId, u64>,
}

impl Oracle {
    /// A client of a node hears a message of this generation.
    pub(super) fn judge_role(
        &mut self,
        node: NodeId,
        generation: Generation,
    ) -> Result<(), (Invariant, String)> {
        let role = self.roles.heard.entry(node).or_default();
        if generation.role_epoch < *role {
            return Err((Invariant::Role, format!("delivered after role epoch {role}")));
        }
        *role = generation.role_epoch;
        Ok(())
    }

    /// A source port that a restart has brought back: what it asks for now is above what it has ever asked for.
    pub(crate) fn reborn(&mut self, lineage: (NodeId, u32)) {
        let known = self.roles.lineages.entry(lineage).or_default();
        known.0 = known.1;
    }

    /// A source asks for a generation.
    pub(crate) fn asks_for(&mut self, session: SessionId, generation: Generation) {
        let Some((former, top)) = self.roles.lineages.get_mut(&(session.node, session.port)) else { return };
        *top = generation.max(*top);
        if generation <= *former {
            let text =
                format!("{session} asks for generation {generation} again, and for {former} it did before");
            self.fail(Invariant::Fence, text);
        }
    }

    /// The clients of a node are gone, and what they knew.
    pub(crate) fn forget_roles(&mut self, node: NodeId) {
        self.roles.heard.remove(&node);
    }
}
