//! Who is there: what the links show, what an engine with a quorum says, and what follows for ports and clients (N2, N4, N5).
//!
//! The two are weighed like this. *Down* from the engine is final until it says otherwise, whatever the links show. Everything else is up to
//! the links, since it is over them that sessions run: *up* makes no dead path alive, and *unreachable* none dead.

use std::net::SocketAddr;

use super::{LinkKey, Node, Output};
use crate::cluster::{
    ClusterChange, ClusterEvent, ClusterKind, Health, Membership, MembershipChange, MembershipError,
    PeerState,
};
use crate::id::NodeId;
use crate::time::Time;

/// Clients of one node that are known, at most: of further ones it is told when they come and go, but not when their node does.
const MAX_CLIENTS: usize = 4096;

impl Node {
    /// What an engine with a quorum says. All of the batch is taken before anything of it has an effect; then ports hear of it, then
    /// clients, in the order of the batch.
    ///
    /// # Errors
    /// The node has the static engine, or the batch is not newer than the last one.
    pub fn handle_membership(&mut self, now: Time, batch: Membership) -> Result<(), MembershipError> {
        self.enter(now);
        if self.config.cluster == ClusterKind::Static {
            return Err(MembershipError::Static);
        }
        if batch.number <= self.membership {
            return Err(MembershipError::Stale { number: batch.number, last: self.membership });
        }
        self.membership = batch.number;
        let mut touched = Vec::new();
        for change in &batch.changes {
            match change {
                MembershipChange::Up(node) | MembershipChange::Unreachable(node) => {
                    self.believe_down(*node, false);
                    touched.push(*node);
                }
                MembershipChange::Down(node) => {
                    self.believe_down(*node, true);
                    touched.push(*node);
                }
                MembershipChange::Quorum(quorate) => self.quorate = *quorate,
                MembershipChange::Registered { .. } | MembershipChange::Gone { .. } => {}
            }
        }
        let mut changed: Vec<_> = touched.iter().filter_map(|node| self.judge_peer(*node)).collect();
        changed.dedup();
        // First of all: a port that hears of a lost target must know by then whose fault it is.
        self.settle_isolation();
        for (node, state) in changed {
            self.tell_peer(now, node, state);
        }
        batch.changes.into_iter().for_each(|change| self.tell_change(change));
        Ok(())
    }

    /// Whether clients can be reached: the static engine is always ready, one with a quorum when it has that (N3).
    #[must_use]
    pub fn is_operational(&self) -> bool {
        self.quorate
    }

    /// Number of the newest batch.
    #[must_use]
    pub fn membership(&self) -> u64 {
        self.membership
    }

    /// Something about a link of this peer has changed.
    pub(super) fn settle_peer(&mut self, now: Time, node: NodeId) {
        let Some((node, state)) = self.judge_peer(node) else { return };
        let is_member = self.peers.get(&node).is_some_and(|peer| peer.member);
        if is_member && self.config.cluster == ClusterKind::Static {
            self.tell_peer(now, node, state);
            match state {
                PeerState::Reachable { incarnation } => {
                    self.announce(node, ClusterChange::Up { incarnation: Some(incarnation) });
                }
                PeerState::Unreachable { .. } => self.announce(node, ClusterChange::Unreachable),
                PeerState::Down => {}
            }
        } else {
            self.tell_peer(now, node, state);
        }
    }

    /// What a peer is now, if that is another thing than before. It is reachable as long as one of its links is not dead.
    fn judge_peer(&mut self, node: NodeId) -> Option<(NodeId, PeerState)> {
        let heard = self.links.values().any(|link| link.node == node && link.health != Health::Dead);
        let peer = self.peers.get_mut(&node)?;
        let state = match (peer.down, peer.incarnation) {
            (true, _) => PeerState::Down,
            (false, Some(incarnation)) if heard => PeerState::Reachable { incarnation },
            (false, Some(_)) => PeerState::Unreachable { last_heard: peer.last_heard },
            // It was never heard: unknown, unless it was said to be down.
            (false, None) if peer.state.is_none() => return None,
            (false, None) => PeerState::Unreachable { last_heard: peer.last_heard },
        };
        let same = match (peer.state, state) {
            (Some(PeerState::Reachable { .. }), PeerState::Reachable { .. })
            | (Some(PeerState::Down), PeerState::Down)
            | (Some(PeerState::Unreachable { .. }) | None, PeerState::Unreachable { .. }) => true,
            (
                Some(PeerState::Reachable { .. } | PeerState::Unreachable { .. } | PeerState::Down) | None,
                PeerState::Reachable { .. } | PeerState::Unreachable { .. } | PeerState::Down,
            ) => false,
        };
        if same {
            return None;
        }
        peer.state = Some(state);
        Some((node, state))
    }

    fn tell_peer(&mut self, now: Time, node: NodeId, state: PeerState) {
        self.outputs.push_back(Output::Peer { node, state });
        if let PeerState::Reachable { .. } = state {
            let Node { links, config, prng, .. } = self;
            let of_peer = links.values_mut().filter(|link| link.node == node);
            of_peer.for_each(|link| link.hasten(now, &config.liveness, prng));
        }
    }

    fn believe_down(&mut self, node: NodeId, down: bool) {
        // This node knows better of itself.
        if let Some(peer) = self.peers.get_mut(&node).filter(|_| node != self.config.node) {
            peer.down = down;
        }
    }

    fn tell_change(&mut self, change: MembershipChange) {
        let (node, change) = match change {
            MembershipChange::Up(node) => {
                let incarnation = self.peer_incarnation(node);
                (node, ClusterChange::Up { incarnation })
            }
            MembershipChange::Unreachable(node) => (node, ClusterChange::Unreachable),
            MembershipChange::Down(node) => {
                let clients = self.peers.get_mut(&node).map(|peer| std::mem::take(&mut peer.clients));
                for client in clients.into_iter().flatten() {
                    self.tell_clients(node, ClusterChange::Gone { client });
                }
                (node, ClusterChange::Down)
            }
            MembershipChange::Registered { node, client } => {
                if let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.clients.len() < MAX_CLIENTS)
                {
                    peer.clients.insert(client.clone());
                }
                (node, ClusterChange::Registered { client })
            }
            MembershipChange::Gone { node, client } => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.clients.remove(&client);
                }
                (node, ClusterChange::Gone { client })
            }
            MembershipChange::Quorum(quorate) => (self.id(), ClusterChange::Quorum(quorate)),
        };
        self.tell_clients(node, change);
    }

    /// Events of one call of the static engine are one batch, and have one membership number.
    fn announce(&mut self, node: NodeId, change: ClusterChange) {
        if !self.in_batch {
            self.in_batch = true;
            self.membership += 1;
        }
        self.tell_clients(node, change);
    }

    /// The health of a link to a member has changed.
    pub(super) fn announce_path(
        &mut self,
        node: NodeId,
        link: LinkKey,
        remote: Option<SocketAddr>,
        health: Health,
    ) {
        if self.peers.get(&node).is_some_and(|peer| peer.member) {
            self.tell_clients(node, ClusterChange::Path { link, remote, health });
        }
    }

    fn tell_clients(&mut self, node: NodeId, change: ClusterChange) {
        self.outputs.push_back(Output::Cluster(ClusterEvent { membership: self.membership, node, change }));
    }

    /// Judged by suspicion: whoever is cut off loses one target before the last of the others counts as dead, and must not go to those.
    pub(super) fn settle_isolation(&mut self) {
        let member = |node| self.peers.get(&node).is_some_and(|peer| peer.member && !peer.down);
        let heard = self.links.values().any(|link| link.health == Health::Good && member(link.node));
        let alone = !heard && self.peers.values().any(|peer| peer.member);
        let isolated = alone || !self.quorate;
        if isolated != self.isolated {
            self.isolated = isolated;
            self.outputs.push_back(Output::Isolated(isolated));
        }
    }
}
