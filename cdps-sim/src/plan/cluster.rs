//! The cluster engine with a quorum, as some runs have it: when it speaks, and what it says.

use cdps_core::cluster::{ClusterKind, MembershipChange};

use super::{HostPlan, Plan, SourcePlan};
use crate::env::MS;
use crate::fault::{Fault, FaultKind, Place};
use crate::rng::Rng;
use crate::rules::Promise;

/// Drawn apart, so that nothing else of a seed depends on it.
const CAUTIOUS: u64 = 0x6361_7574_696f_7573;

/// In some runs there is a cluster engine with a quorum. It speaks at the beginning, and some time after each fault of a node has begun and
/// ended.
pub(super) fn words(
    rng: &mut Rng,
    hosts: &[HostPlan],
    faults: &[Fault],
    sources: &mut [SourcePlan],
) -> (ClusterKind, Vec<(u64, usize)>) {
    if !rng.chance(30) {
        return (ClusterKind::Static, Vec::new());
    }
    for promise in sources.iter_mut().flat_map(|source| &mut source.promises) {
        // A target that is held to be down for a pause is a loss all the same.
        *promise = Promise { switch_hidden: promise.switch_hidden, ..Promise::default() };
    }
    let mut words = Vec::new();
    for (host, plan) in hosts.iter().enumerate() {
        // Sources hear of it before the first fault: what a switch is promised to do needs a quorum.
        let late = plan.target && rng.chance(25);
        let at = if late { rng.below(400 * MS) } else { rng.below(15 * MS) };
        words.push((at, host));
        // A target that has not heard of it has no client registered yet (N3), and is no backup before.
        if faults.iter().any(|fault| fault.at <= at) {
            for source in sources.iter_mut().filter(|s| s.config.targets.iter().any(|t| t.node == plan.node))
            {
                source.promises.iter_mut().for_each(|promise| promise.switch_hidden = false);
            }
        }
    }
    for fault in faults {
        if let Place::Host(_) = fault.kind.place() {
            for at in [fault.at, fault.until] {
                words.extend((0..hosts.len()).map(|host| (at + rng.within(5, 700) * MS, host)));
            }
        }
    }
    (ClusterKind::Quorate, words)
}

/// Whether the cluster engine of a run knows of killed processes alone that they are gone.
pub(super) fn is_cautious(seed: u64) -> bool {
    Rng::new(seed ^ CAUTIOUS).chance(40)
}

impl Plan {
    /// What an engine with a quorum knows of a host at a time: nodes that are killed, stopped or cut off are down, and have no quorum themselves. It
    /// takes its time to find out, which is in the times of its words.
    pub(crate) fn membership(&self, host: usize, at: u64) -> Vec<MembershipChange> {
        let is_off = |host: usize| self.faults.iter().any(|fault| fault.hits_host(host) && fault.is_on(at));
        let cut = is_off(host);
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let words = others.flat_map(|other| {
            // Those of targets are what a source hears of. Nodes of one kind are not members for each other.
            let with_clients = self.hosts[other].target && !self.hosts[host].target;
            self.word_of(other, with_clients, cut || is_off(other), at)
        });
        words.chain([MembershipChange::Quorum(!cut)]).collect()
    }

    /// What a cluster engine with a quorum says of a host that it hears, or does not, and of the clients there. With a node that is down its
    /// clients are gone; of one that it only does not hear it says so.
    fn word_of(&self, host: usize, with_clients: bool, off: bool, at: u64) -> Vec<MembershipChange> {
        let node = self.hosts[host].node;
        let clients = self.sources.iter().filter(|_| with_clients).map(|s| s.config.client.clone());
        let dead = |f: &Fault| matches!(f.kind, FaultKind::Kill { .. }) && f.hits_host(host) && f.is_on(at);
        if !off {
            let registered = clients.map(|client| MembershipChange::Registered { node, client });
            [MembershipChange::Up(node)].into_iter().chain(registered).collect()
        } else if self.cautious && !self.faults.iter().any(dead) {
            let gone = clients.map(|client| MembershipChange::Gone { node, client });
            gone.chain([MembershipChange::Unreachable(node)]).collect()
        } else {
            vec![MembershipChange::Down(node)]
        }
    }
}
