//! What the faults of a plan leave to its sessions.

use cdps_core::config::{Balance, PortConfig};

use super::HostPlan;
use crate::env::MS;
use crate::fault::{self, Fault, FaultKind};
use crate::rules::Promise;

/// What is needed to say which faults hit whom.
pub(super) struct View<'a> {
    pub(super) hosts: &'a [HostPlan],
    pub(super) sources: usize,
    pub(super) paths: usize,
    pub(super) faults: &'a [Fault],
    /// The first target is everybody's primary.
    pub(super) aimed: bool,
}

impl View<'_> {
    /// The host has no fault but freezes that last no longer than this in all.
    pub(super) fn only_pauses(&self, host: usize, most: u64) -> bool {
        let faults = || self.faults.iter().filter(|f| f.hits_host(host));
        let sum: u64 = faults().map(|f| f.until - f.at).sum();
        faults().all(|f| matches!(f.kind, FaultKind::Freeze { .. })) && sum <= most
    }

    pub(super) fn untouched(&self, host: usize) -> bool {
        !self.faults.iter().any(|f| f.hits_host(host))
    }

    /// A bit for each path that has no fault.
    pub(super) fn clean_paths(&self, host: usize, target: usize) -> u64 {
        let targets = self.hosts.len() - self.sources;
        let free = |index: &usize| {
            let route = fault::route(host, target, *index, self.sources, self.paths, targets);
            !self.faults.iter().any(|f| f.hits_route(route))
        };
        (0..self.paths).filter(free).fold(0, |mask, index| mask | 1 << index)
    }

    /// The target has no fault, and one path to it has none.
    pub(super) fn clean(&self, host: usize, target: usize) -> bool {
        self.untouched(target) && self.clean_paths(host, target) != 0
    }

    /// What the faults leave to a session that connects to the target at `turn`.
    pub(super) fn promise(&self, config: &PortConfig, host: usize, order: &[usize], turn: usize) -> Promise {
        let backup = |target: usize| self.clean(host, target) && self.hosts[target].users.refuse == 0;
        let target = order[turn];
        let clean_paths = self.clean_paths(host, target);
        let both_well = self.untouched(host) && self.untouched(target);
        // A pause of the target below the dead time, or of the source below the session's, is no loss of contact (F1, T9).
        let pauses = (self.untouched(host) && self.only_pauses(target, 900 * MS))
            || (self.only_pauses(host, 2000 * MS) && self.untouched(target));
        Promise {
            path_hidden: pauses && clean_paths != 0,
            brisk: config.balance == Balance::Fastest
                || !self.faults.iter().any(|f| matches!(f.kind, FaultKind::Slow { .. })),
            prompt: self.hosts.iter().all(|h| h.users.is_quick()),
            clean_paths: if both_well { clean_paths } else { 0 },
            switch_hidden: self.untouched(host)
                && config.autoswitch
                && turn == 0
                && order[1..].iter().any(|&t| backup(t)),
            next_well: order.get(1).is_some_and(|&t| backup(t)),
        }
    }
}
