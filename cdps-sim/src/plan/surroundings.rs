//! What is around the ports of some runs: addresses of another family, address tables with gaps, and paths that
//! carry small pieces only. Drawn apart, so that nothing else of a seed depends on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::SourcePlan;
use crate::env::MS;
use crate::fault::{self, Fault, FaultKind};
use crate::net::{ACCEPTOR, DIALLER};
use crate::rng::Rng;

const FAMILY: u64 = 0x4950_7636_2e2e_2e2e;
const NARROW: u64 = 0x6e61_7272_6f77_2e2e;
const TABLES: u64 = 0x7461_626c_6573_2e2e;

/// Address `index` of a host. In some runs all are of the sixth version.
pub(crate) fn address(seed: u64, host: usize, index: usize) -> SocketAddr {
    let (host, index) = (host as u8 + 1, index as u8 + 1);
    let ip = if Rng::new(seed ^ FAMILY).chance(20) {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, u16::from(host), u16::from(index)))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, host, index))
    };
    SocketAddr::new(ip, 7000)
}

/// In some runs large pieces do not get through on a path, or on all of a target, in one direction or both: heartbeats do, so that nothing but
/// what was sent and not received tells.
pub(super) fn narrow_paths(seed: u64, faults: &mut Vec<Fault>, sources: usize, targets: usize, paths: usize) {
    let mut rng = Rng::new(seed ^ NARROW);
    if !rng.chance(10) {
        return;
    }
    let target = sources + rng.below(targets as u64) as usize;
    let chosen = if rng.chance(50) { 0..paths } else { 0..1 };
    let directions = rng.pick(&[[true, false], [true, false], [false, true], [true, true]]);
    let at = rng.magnitude(20, 5000) * MS;
    let until = at + rng.within(500, 12_000) * MS;
    for path in chosen {
        let route = fault::route(0, target, path, sources, paths, targets);
        for direction in [DIALLER, ACCEPTOR].into_iter().filter(|d| directions[*d]) {
            faults.push(Fault { at, until, kind: FaultKind::Narrow { route, direction } });
        }
    }
}

/// Some tables do not say where a target is: its answer does (L3). Which paths work is not known before then.
pub(super) fn gaps_in_tables(seed: u64, sources: &mut [SourcePlan]) {
    let mut rng = Rng::new(seed ^ TABLES);
    if !rng.chance(15) {
        return;
    }
    for target in sources.iter_mut().flat_map(|s| &mut s.config.targets) {
        if rng.chance(50) {
            target.addresses.clear();
        }
    }
}
