//! The faults of a plan.

use crate::env::{Env, MS, SECOND, note};
use crate::net::{ACCEPTOR, DIALLER, Side};
use crate::rng::Rng;

/// A fault, from when to when.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) until: u64,
    pub(crate) kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FaultKind {
    /// The relay of a route is frozen, both directions.
    Stall { route: usize },
    /// Bytes are accepted in one direction and not delivered; at the end they are, or the route's connections are reset.
    OneWay { route: usize, direction: Side, reset: bool },
    /// Large pieces do not get through in one direction, nor what comes after them on their connection.
    Narrow { route: usize, direction: Side },
    /// The connections of a route are reset.
    Reset { route: usize },
    /// The relay is killed: connections are reset, new ones refused until it is started again.
    RelayKilled { route: usize },
    /// One end thinks that its connections are gone, the other hears nothing of it.
    HalfOpen { route: usize, gone: Side, silent: bool },
    /// The rate is divided.
    Slow { route: usize, factor: u64 },
    /// Some of the bytes in flight are damaged.
    Corrupt { route: usize, direction: Side, pieces: u32 },
    /// The process (or the machine) of a node is gone; opened again at the end if `restart`.
    Kill { host: usize, process_only: bool, restart: bool },
    /// A node's process is stopped; its clock goes on.
    Freeze { host: usize },
    /// Nothing gets to a node, or nothing from it, or neither.
    Partition { host: usize, to: bool, from: bool },
}

/// Where a fault is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Route(usize),
    /// All of a node, and with that all that leads to it.
    Host(usize),
}

impl FaultKind {
    pub(crate) fn place(self) -> Place {
        match self {
            FaultKind::Stall { route }
            | FaultKind::OneWay { route, .. }
            | FaultKind::Narrow { route, .. }
            | FaultKind::Reset { route }
            | FaultKind::RelayKilled { route }
            | FaultKind::HalfOpen { route, .. }
            | FaultKind::Slow { route, .. }
            | FaultKind::Corrupt { route, .. } => Place::Route(route),
            FaultKind::Kill { host, .. } | FaultKind::Freeze { host } | FaultKind::Partition { host, .. } => {
                Place::Host(host)
            }
        }
    }
}

impl Fault {
    pub(crate) fn hits_host(&self, host: usize) -> bool {
        self.kind.place() == Place::Host(host)
    }

    pub(crate) fn hits_route(&self, route: usize) -> bool {
        self.kind.place() == Place::Route(route)
    }

    /// It is there at a time: who is killed and not started again stays dead.
    pub(crate) fn is_on(&self, at: u64) -> bool {
        let lasts = matches!(self.kind, FaultKind::Kill { restart: false, .. });
        self.at <= at && (lasts || at < self.until)
    }
}

/// How much earlier than a fault nothing else may be wrong for it to count as the only one.
const ALONE: u64 = 4 * SECOND;

/// Whether a fault is a one-way loss that lasts until `until` at least, and nothing else befalls the route or its ends meanwhile.
pub(crate) fn is_lone_one_way(faults: &[Fault], n: usize, until: u64, ends: [usize; 2]) -> bool {
    let this = &faults[n];
    let FaultKind::OneWay { route, .. } = this.kind else { return false };
    let near = |f: &Fault| f.at <= until && f.until + ALONE >= this.at;
    let hits = |f: &Fault| f.hits_route(route) || ends.iter().any(|host| f.hits_host(*host));
    this.until > until && !faults.iter().enumerate().any(|(k, f)| k != n && near(f) && hits(f))
}

/// Index of the route from a source host to address `index` of a target host.
pub(crate) fn route(
    host: usize,
    target: usize,
    index: usize,
    sources: usize,
    paths: usize,
    targets: usize,
) -> usize {
    (host * targets + (target - sources)) * paths + index
}

/// Draws the faults of a run.
pub(crate) fn plan(rng: &mut Rng, sources: usize, targets: usize, paths: usize, mutual: bool) -> Vec<Fault> {
    let count = rng.pick(&[0, 1, 1, 2, 2, 3, 3, 4, 6]);
    let routes = sources * targets * paths * if mutual { 2 } else { 1 };
    let mut faults: Vec<Fault> = Vec::new();
    let mut alive: Vec<usize> = (sources..sources + targets).collect();
    while faults.len() < count {
        let at = match faults.last() {
            Some(last) if rng.chance(30) => last.at + rng.within(0, 20) * MS,
            Some(_) | None => rng.magnitude(20, 9000) * MS,
        };
        let lasts = match rng.below(4) {
            0 | 1 => rng.magnitude(10, 2000),
            2 => rng.within(800, 2200), // about where leases and liveness run out
            _ => rng.within(1000, 9000),
        };
        let until = at + lasts * MS;
        // The first source's paths to its targets are where it hurts most.
        let route =
            if rng.chance(60) { rng.below((targets * paths) as u64) } else { rng.below(routes as u64) }
                as usize;
        let direction = rng.pick(&[DIALLER, ACCEPTOR]);
        let host = if rng.chance(85) {
            sources + rng.below(targets as u64) as usize
        } else {
            rng.below(sources as u64) as usize
        };
        let kind = match rng.below(15) {
            0 | 1 => FaultKind::Stall { route },
            2 => FaultKind::OneWay { route, direction, reset: rng.chance(50) },
            3 => FaultKind::Reset { route },
            4 => FaultKind::RelayKilled { route },
            5 => FaultKind::HalfOpen { route, gone: direction, silent: rng.chance(50) },
            6 => FaultKind::Slow { route, factor: rng.magnitude(4, 2000) },
            7 => FaultKind::Corrupt { route, direction, pieces: rng.within(1, 5) as u32 },
            8 | 9 => {
                let restart = rng.chance(50) || host < sources || alive.iter().all(|h| *h == host);
                if !restart {
                    alive.retain(|h| *h != host);
                }
                FaultKind::Kill { host, process_only: rng.chance(60), restart }
            }
            10 | 11 => FaultKind::Freeze { host },
            12 | 13 => {
                let (to, from) = rng.pick(&[(true, true), (true, false), (false, true)]);
                FaultKind::Partition { host, to, from }
            }
            _ => {
                flap(rng, &mut faults, route, at);
                continue;
            }
        };
        faults.push(Fault { at, until, kind });
    }
    faults
}

/// Adds a fault of the first target, which is then everybody's primary: about as long as leases and liveness last.
pub(crate) fn aim(rng: &mut Rng, faults: &mut Vec<Fault>, sources: usize, targets: usize, paths: usize) {
    let host = sources;
    let at = rng.within(200, 3500) * MS;
    let until = at + rng.within(1000, 5500) * MS;
    let mut add = |kind| faults.push(Fault { at, until, kind });
    match rng.below(6) {
        0 | 1 => {
            let (to, from) = rng.pick(&[(true, true), (true, false), (false, true)]);
            add(FaultKind::Partition { host, to, from });
        }
        2 => add(FaultKind::Freeze { host }),
        3 => add(FaultKind::Kill { host, process_only: rng.chance(60), restart: true }),
        4 => (0..paths)
            .for_each(|i| add(FaultKind::RelayKilled { route: route(0, host, i, sources, paths, targets) })),
        _ => (0..paths)
            .for_each(|i| add(FaultKind::Stall { route: route(0, host, i, sources, paths, targets) })),
    }
}

/// A route that comes and goes.
fn flap(rng: &mut Rng, faults: &mut Vec<Fault>, route: usize, mut at: u64) {
    let frozen = rng.chance(50);
    for _ in 0..rng.within(3, 8) {
        let until = at + rng.magnitude(20, 2000) * MS;
        let kind = if frozen { FaultKind::Stall { route } } else { FaultKind::RelayKilled { route } };
        faults.push(Fault { at, until, kind });
        at = until + rng.magnitude(20, 2000) * MS;
    }
}

impl Env {
    /// Begins a fault of the network; faults of nodes are the world's.
    pub(crate) fn fault_begins(&mut self, kind: FaultKind) {
        note!(self, "fault: {kind:?}");
        match kind {
            FaultKind::Stall { route } => {
                self.net_freeze(route, DIALLER, true);
                self.net_freeze(route, ACCEPTOR, true);
            }
            FaultKind::OneWay { route, direction, .. } => self.net_freeze(route, direction, true),
            FaultKind::Narrow { route, direction } => self.net_narrow(route, direction, true),
            FaultKind::Reset { route } => self.net_reset(route),
            FaultKind::RelayKilled { route } => {
                self.net_refuse(route, true);
                self.net_reset(route);
            }
            FaultKind::HalfOpen { route, gone, silent } => self.net_half_open(route, gone, silent),
            FaultKind::Slow { route, factor } => self.net_slow(route, factor, true),
            FaultKind::Corrupt { route, direction, pieces } => {
                self.net.routes[route].corrupt[direction] += pieces
            }
            FaultKind::Partition { host, to, from } => self.partition(host, (to, from), true),
            FaultKind::Kill { .. } | FaultKind::Freeze { .. } => {}
        }
    }

    /// Ends it.
    pub(crate) fn fault_ends(&mut self, kind: FaultKind) {
        note!(self, "fault ends: {kind:?}");
        match kind {
            FaultKind::Stall { route } => {
                self.net_freeze(route, DIALLER, false);
                self.net_freeze(route, ACCEPTOR, false);
            }
            FaultKind::OneWay { route, direction, reset } => {
                if reset {
                    self.net_reset(route);
                }
                self.net_freeze(route, direction, false);
            }
            FaultKind::Narrow { route, direction } => self.net_narrow(route, direction, false),
            FaultKind::RelayKilled { route } => self.net_refuse(route, false),
            FaultKind::Slow { route, factor } => self.net_slow(route, factor, false),
            FaultKind::Corrupt { route, direction, .. } => self.net.routes[route].corrupt[direction] = 0,
            FaultKind::Partition { host, to, from } => self.partition(host, (to, from), false),
            FaultKind::Reset { .. }
            | FaultKind::HalfOpen { .. }
            | FaultKind::Kill { .. }
            | FaultKind::Freeze { .. } => {}
        }
    }

    fn partition(&mut self, host: usize, (to, from): (bool, bool), freeze: bool) {
        for route in 0..self.net.routes.len() {
            let r = &self.net.routes[route];
            let (inward, outward) = match (r.dialler == host, r.acceptor == host) {
                (true, _) => (ACCEPTOR, DIALLER),
                (false, true) => (DIALLER, ACCEPTOR),
                (false, false) => continue,
            };
            if to {
                self.net_freeze(route, inward, freeze);
            }
            if from {
                self.net_freeze(route, outward, freeze);
            }
        }
    }
}
