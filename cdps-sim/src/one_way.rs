//! One-way loss (T5): who must notice it, who may say it, and that a link which works in one direction is never called good.

use cdps_core::cluster::{Health, LinkState, OneWay};
use cdps_core::config::Liveness;
use cdps_core::id::{Generation, PathId, SessionId};
use cdps_core::node::LinkKey;
use cdps_core::port::Link;
use cdps_core::reason::Reason;
use cdps_core::time::nanos;

use crate::env::{Env, MS, SECOND};
use crate::fault::Fault;
use crate::host::{Host, Slot};
use crate::net::{ACCEPTOR, DIALLER, Side};
use crate::rules::Invariant;

/// What was on its way when a direction was lost has arrived, and was answered, by then (ns).
fn echoed(live: &Liveness) -> u64 {
    SECOND.max(nanos(live.heartbeat) * 4)
}

/// How long (ns) after a fault its consequences are still felt: what waited is carried, and what died is dialled again.
fn aftermath(live: &Liveness) -> u64 {
    (4 * SECOND).max(nanos(live.dead) * 8 / 3)
}

/// A path that was well when a direction of its route was lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    host: usize,
    slot: usize,
    session: SessionId,
    generation: Generation,
    path: PathId,
    side: Side,
    /// Another path between the same ends has no fault in all the run.
    told: bool,
}

impl Host {
    /// The paths of this process that run over a route and are well.
    pub(crate) fn well_on(&self, env: &Env, route: usize) -> Vec<Watched> {
        let mut found = Vec::new();
        for (slot, s) in self.slots.iter().enumerate() {
            let Some(s) = s else { continue };
            for ((path, _), c) in s.conns.iter().filter(|(_, c)| env.net.route_of(**c) == route) {
                let side = if env.net.routes[route].dialler == self.index { DIALLER } else { ACCEPTOR };
                let good = |path: PathId| {
                    let link = s.links.get(&path).zip(self.engine.as_ref());
                    let link = link.is_some_and(|(key, e)| e.link_state(*key).health == Health::Good);
                    link && s.port.path_stats(path).is_some_and(|p| p.health == Health::Good)
                };
                if !good(*path) || !self.conns.contains_key(c) {
                    continue;
                }
                let others = s.conns.iter().filter(|((other, _), _)| other != path && good(*other));
                let clean = |c: &usize| {
                    let route = env.net.route_of(*c);
                    !self.plan.faults.iter().any(|f| f.hits_route(route))
                };
                // The first release has no word for it.
                let told = others.map(|(_, c)| c).any(clean) && !self.plan.hosts.iter().any(|h| h.first);
                let generation = s.port.generation();
                let session = s.session;
                found.push(Watched { host: self.index, slot, session, generation, path: *path, side, told });
            }
        }
        found
    }

    /// A port here is an end of the session that was watched, and holds it.
    pub(crate) fn holds(&self, w: &Watched) -> bool {
        let of = |s: &Slot| s.session == w.session && s.port.generation() == w.generation;
        self.slots.iter().flatten().any(|s| of(s) && s.port.link() == Link::Up)
    }

    /// The direction that was lost must be known by now at the end which can know, and at the other one if that can still be told.
    pub(crate) fn check_one_way(&self, env: &mut Env, w: &Watched, direction: Side, both: bool) {
        let Some(s) = self.slots.get(w.slot).and_then(Option::as_ref).filter(|_| w.host == self.index) else {
            return;
        };
        // A path that the source gives up meanwhile is no one-way loss, nor can it tell of another one.
        if self.plan.sources[s.plan].moves_paths() {
            return;
        }
        if !self.holds(w) {
            return;
        }
        let Some(stats) = s.port.path_stats(w.path) else { return };
        let expected = match (w.side == direction, w.told && both) {
            (true, _) => Reason::OneWayOut,
            (false, true) => Reason::OneWayIn,
            (false, false) => return,
        };
        env.oracle.tally.one_ways += 1;
        if (stats.health == Health::Good) || stats.cause != expected {
            let text = format!(
                "{} {:?}: path {} is {:?} ({}), not ({expected})",
                s.session, s.side, w.path, stats.health, stats.cause
            );
            env.oracle.fail(Invariant::OneWay, text);
        }
    }

    /// A link says that it is good, or one-way: that must be true.
    pub(crate) fn check_link(&self, env: &mut Env, key: LinkKey, state: &LinkState) {
        let Some((_, c)) = self.controls.range((key, 0)..=(key, u32::MAX)).next_back() else { return };
        let route = env.net.route_of(*c);
        let stuck = env.net.stuck_since(route);
        let ends = [env.net.routes[route].dialler, env.net.routes[route].acceptor];
        // A process that was stopped reads only now what came before.
        let stopped = |f: &Fault| f.until > stuck && f.at <= env.now && ends.iter().any(|h| f.hits_host(*h));
        let excused = self.plan.faults.iter().any(stopped);
        if state.health == Health::Good
            && env.now.saturating_sub(stuck) > echoed(&self.plan.liveness)
            && !excused
        {
            let text = format!("node {}: {key:?} is good, and one-way since {} ms", self.node(), stuck / MS);
            env.oracle.fail(Invariant::OneWay, text);
        }
        let recent = |f: &&Fault| f.at <= env.now && env.now <= f.until + aftermath(&self.plan.liveness);
        let hit = |f: &Fault| f.hits_route(route) || ends.iter().any(|host| f.hits_host(*host));
        if state.one_way == Some(OneWay::Out) && !self.plan.faults.iter().filter(recent).any(hit) {
            let text = format!("node {}: {key:?} is called one-way, and nothing befell it", self.node());
            env.oracle.fail(Invariant::OneWay, text);
        }
    }
}
