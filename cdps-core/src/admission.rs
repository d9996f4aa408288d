//! Whom a client of this node lets in (L3, L4): the highest generation of each source, and which source has the role of an exclusive client.

use std::collections::BTreeMap;

use crate::id::{Generation, NodeId, SessionId};
use crate::reason::Reason;
use crate::wire::{Connect, connect};

/// How many sources a client serves at a time (L4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Sharing {
    /// As many as come, each through a port of its own.
    #[default]
    Shared,
    /// One: the one with the highest role epoch.
    Exclusive,
}

/// Why a CONNECT is not let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// What the answer says.
    pub reason: Reason,
    /// Why, for the source's log.
    pub text: String,
}

/// What one client has accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    sharing: Sharing,
    /// Highest generation accepted, by source node. Of an exclusive client only the node that has the role is in it.
    highest: BTreeMap<NodeId, Generation>,
    /// The session that was accepted last (exclusive).
    holder: Option<SessionId>,
}

impl Admission {
    /// A client that has accepted `highest` before, each generation from that source node; empty if nothing is known.
    #[must_use]
    pub fn new(sharing: Sharing, highest: &[(NodeId, Generation)]) -> Admission {
        let mut highest: BTreeMap<NodeId, Generation> = highest.iter().copied().collect();
        if sharing == Sharing::Exclusive {
            // One that was shared before has several, none of a role.
            let newest = highest.iter().max_by_key(|known| known.1).map(|known| *known.0);
            highest.retain(|node, generation| Some(*node) == newest && generation.role_epoch > 0);
        }
        Admission { sharing, highest, holder: None }
    }

    /// What an answer to this node says: a generation that is not above it is refused.
    #[must_use]
    pub fn highest(&self, source: NodeId) -> Generation {
        match self.sharing {
            Sharing::Shared => self.highest.get(&source).copied().unwrap_or_default(),
            Sharing::Exclusive => self.role().map(|role| role.1).unwrap_or_default(),
        }
    }

    /// Highest generation accepted of each source node: what [`Admission::new`] takes.
    pub fn accepted(&self) -> impl Iterator<Item = (NodeId, Generation)> {
        self.highest.iter().map(|(node, generation)| (*node, *generation))
    }

    /// The session that an exclusive client has accepted last, if it has accepted any.
    #[must_use]
    pub fn holder(&self) -> Option<SessionId> {
        self.holder
    }

    /// Whether a CONNECT may be decided on by the user. `served`: the session that is the [`Admission::holder`] goes on.
    ///
    /// # Errors
    /// What to answer instead.
    pub fn judge(&self, connect: &Connect, served: bool) -> Result<(), Denial> {
        let Connect { session, generation, .. } = connect;
        let deny = |reason, text| Err(Denial { reason, text });
        let states_role = connect.flags & connect::EXCLUSIVE != 0;
        match self.sharing {
            Sharing::Shared if states_role || generation.role_epoch > 0 => {
                let text = format!(
                    "the source has role epoch {}, and client {:?} is shared: it would not fence anybody",
                    generation.role_epoch, connect.client
                );
                return deny(Reason::RoleMismatch, text);
            }
            Sharing::Exclusive if !states_role || generation.role_epoch == 0 => {
                let text =
                    format!("client {:?} is exclusive, and the source has no role epoch", connect.client);
                return deny(Reason::RoleMismatch, text);
            }
            Sharing::Shared | Sharing::Exclusive => {}
        }
        if let Some((node, top)) = self.role().filter(|_| self.sharing == Sharing::Exclusive) {
            let other = node != session.node || (served && self.holder != Some(*session));
            if generation.role_epoch < top.role_epoch || (generation.role_epoch == top.role_epoch && other) {
                let text = format!(
                    "role epoch {} is not above {}, with which node {node} has the role of client {:?}",
                    generation.role_epoch, top.role_epoch, connect.client
                );
                return deny(Reason::RoleTaken, text);
            }
        }
        if *generation <= self.highest(session.node) {
            return deny(Reason::StaleGeneration, String::new());
        }
        Ok(())
    }

    /// The user has accepted. Gives the session of another source that an exclusive client had accepted last: if it goes on, it is over with
    /// that; and what it has told its user must come before anything of the new one.
    ///
    /// # Errors
    /// As [`Admission::judge`]: something else may have been accepted meanwhile.
    pub fn accept(&mut self, connect: &Connect, served: bool) -> Result<Option<SessionId>, Denial> {
        self.judge(connect, served)?;
        if self.sharing == Sharing::Exclusive {
            self.highest.clear();
        }
        self.highest.insert(connect.session.node, connect.generation);
        let former = match self.sharing {
            Sharing::Shared => None,
            Sharing::Exclusive => self.holder.replace(connect.session),
        };
        Ok(former.filter(|former| *former != connect.session))
    }

    /// Which node has the role of an exclusive client, and with which generation it was accepted last.
    fn role(&self) -> Option<(NodeId, Generation)> {
        self.highest.first_key_value().map(|(node, generation)| (*node, *generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, Sn};

    fn connect(node: u32, port: u32, role_epoch: u64, counter: u64) -> Connect {
        Connect {
            session: SessionId { node: NodeId(node), incarnation: Incarnation(7), port },
            generation: Generation { role_epoch, counter },
            version: 1,
            flags: if role_epoch > 0 { connect::EXCLUSIVE } else { 0 },
            paths: 1,
            features: 0,
            window: 1 << 20,
            high_window: 0,
            max_message: 1 << 20,
            max_streams: 1,
            session_timeout_ms: 1000,
            first: Sn(1),
            client: "disk".into(),
        }
    }

    fn denied<T: std::fmt::Debug>(verdict: Result<T, Denial>) -> Reason {
        verdict.expect_err("is denied").reason
    }

    /// [L4] A shared client takes sources side by side, and of each only generations that grow.
    #[test]
    fn a_shared_client_takes_all() {
        let mut client = Admission::new(Sharing::Shared, &[]);
        for node in 1..4 {
            assert_eq!(client.accept(&connect(node, 1, 0, 5), true), Ok(None));
        }
        assert_eq!(denied(client.accept(&connect(2, 1, 0, 5), true)), Reason::StaleGeneration);
        assert_eq!(client.highest(NodeId(2)), Generation { role_epoch: 0, counter: 5 });
        assert_eq!(client.accept(&connect(2, 2, 0, 6), true), Ok(None));
        assert_eq!(denied(client.judge(&connect(5, 1, 1, 1), false)), Reason::RoleMismatch);
    }

    /// [L4] The highest role epoch has the role; an equal one only at the node that has it, and there one source at a time.
    #[test]
    fn an_exclusive_client_takes_the_highest_role() {
        let mut client = Admission::new(Sharing::Exclusive, &[]);
        assert_eq!(denied(client.judge(&connect(1, 1, 0, 1), false)), Reason::RoleMismatch);
        let first = connect(1, 1, 3, 1);
        assert_eq!(client.accept(&first, false), Ok(None));
        for (node, epoch) in [(2, 2), (2, 3), (1, 2)] {
            let denial = client.judge(&connect(node, 1, epoch, 99), true).expect_err("is denied");
            assert_eq!(denial.reason, Reason::RoleTaken);
            assert_eq!(
                denial.text,
                format!(
                    "role epoch {epoch} is not above 3, with which node 1 has the role of client \"disk\""
                )
            );
        }
        assert_eq!(
            denied(client.judge(&connect(1, 2, 3, 99), true)),
            Reason::RoleTaken,
            "another port, at the same time"
        );
        assert_eq!(client.judge(&connect(1, 2, 3, 99), false), Ok(()), "another port, afterwards");
        assert_eq!(
            denied(client.judge(&connect(2, 1, 3, 99), false)),
            Reason::RoleTaken,
            "the epoch is node 1's"
        );
        assert_eq!(denied(client.judge(&first, true)), Reason::StaleGeneration);
        assert_eq!(client.accept(&connect(1, 1, 3, 2), true), Ok(None), "the same source again");
        assert_eq!(client.accept(&connect(2, 1, 4, 1), true), Ok(Some(first.session)));
        assert_eq!(client.highest(NodeId(1)), Generation { role_epoch: 4, counter: 1 });
        let second = connect(2, 1, 4, 1).session;
        assert_eq!(client.accept(&connect(3, 1, 5, 1), false), Ok(Some(second)), "also if it is over");
    }

    /// [L4] What is known of earlier is kept: a role, and nothing that was none.
    #[test]
    fn a_role_is_remembered() {
        let mut client = Admission::new(Sharing::Exclusive, &[]);
        client.accept(&connect(2, 1, 4, 7), false).expect("is let in");
        let kept: Vec<_> = client.accepted().collect();
        let client = Admission::new(Sharing::Exclusive, &kept);
        assert_eq!(denied(client.judge(&connect(1, 1, 4, 9), false)), Reason::RoleTaken);
        assert_eq!(denied(client.judge(&connect(2, 1, 4, 7), false)), Reason::StaleGeneration);
        assert_eq!(client.judge(&connect(2, 1, 4, 8), false), Ok(()));
        let shared = [(NodeId(1), Generation { role_epoch: 0, counter: 9 })];
        assert_eq!(Admission::new(Sharing::Exclusive, &shared).judge(&connect(2, 1, 1, 1), false), Ok(()));
    }
}
