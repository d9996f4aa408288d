//! Changes of live ports (L8): users remove addresses and add them again, and set timeouts and policies anew, in the middle of everything else.
//! What is promised to a session is promised all the same, since the path that the promise rests on is left alone.

use cdps_core::config::{Balance, PortConfig};
use cdps_core::id::{PathId, Side};
use cdps_core::port::{Link, State};
use cdps_core::time::Duration;

use crate::broken::Broken;
use crate::env::{Env, MS, note};
use crate::host::{Host, Slot};
use crate::plan::{SourcePlan, Verb};
use crate::rng::Rng;
use crate::rules::{Invariant, Promise};

/// In some runs users change their ports while they are in use.
pub(crate) fn plan(rng: &mut Rng, sources: &mut [SourcePlan]) {
    for source in sources {
        if !rng.chance(30) {
            continue;
        }
        let last = source.up.iter().chain(&source.down).map(|s| s.at).max().unwrap_or(0);
        for _ in 0..rng.within(1, 12) {
            let verb =
                rng.pick(&[Verb::RemoveAddress, Verb::RemoveAddress, Verb::AddAddress, Verb::Reconfigure]);
            source.verbs.push((rng.below(last + 500 * MS), verb));
        }
        source.verbs.sort_by_key(|v| v.0);
    }
}

impl Verb {
    /// It changes a live port.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Verb::RemoveAddress | Verb::AddAddress | Verb::Reconfigure)
    }
}

impl SourcePlan {
    /// Its paths come and go: a number of a path says nothing of the plan.
    pub(crate) fn moves_paths(&self) -> bool {
        self.verbs.iter().any(|v| matches!(v.1, Verb::RemoveAddress | Verb::AddAddress))
    }

    /// What the faults leave to a session with this target, as far as it does not name paths.
    pub(crate) fn promise(&self, turn: usize) -> Promise {
        let promise = self.promises[turn];
        if self.moves_paths() { Promise { clean_paths: 0, ..promise } } else { promise }
    }
}

impl Host {
    /// Does what the plan says to a live port.
    pub(crate) fn change(&mut self, env: &mut Env, slot: usize, verb: Verb) {
        match verb {
            Verb::Reconfigure => self.reconfigure(env, slot),
            Verb::RemoveAddress => self.remove_address(env, slot),
            _ => self.add_address(env, slot),
        }
    }

    fn remove_address(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let source = &self.plan.sources[s.plan];
        let targets = &s.port.config().targets;
        let present = targets.iter().position(|t| Some(t.node) == s.port.peer());
        let turn = present.unwrap_or_else(|| env.rng.below(targets.len() as u64) as usize);
        let (promise, target) = (source.promises[turn], &targets[turn]);
        // The path that is promised to work stays; if nobody knows which that is, all do.
        let kept = source.config.targets[turn].addresses.get(promise.clean_paths.trailing_zeros() as usize);
        let promised = promise.path_hidden || source.promises.iter().any(|p| p.switch_hidden);
        if promised && kept.is_none() {
            return;
        }
        let may =
            |a: &&cdps_core::config::Address| !promised || kept.is_none_or(|kept| kept.remote != a.remote);
        let free: Vec<_> = target.addresses.iter().filter(may).map(|a| a.remote).collect();
        if free.is_empty() {
            return;
        }
        let (to, remote, last) = (target.node, env.rng.pick(&free), target.addresses.len() == 1);
        if env.broken == Some(Broken::NoRemoval) {
            env.broke += 1;
            s.removed.insert((to, remote));
            return;
        }
        let done = s.port.remove_address(now, to, remote);
        note!(env, "n{node} p{slot}: user: removes {remote} of {to}: {done:?}");
        if done.is_ok() {
            s.removed.insert((to, remote));
        }
        if done.is_ok() == (last || s.port.state() == State::Destroyed) {
            let text = format!("{}: {remote} of {to}, the last: {last}, removed: {done:?}", s.session);
            env.oracle.fail(Invariant::Changes, text);
        }
    }

    fn add_address(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let Some((to, remote)) = s.removed.iter().next().copied() else { return };
        let planned = self.plan.sources[s.plan].config.targets.iter().find(|t| t.node == to);
        let Some(address) = planned.and_then(|t| t.addresses.iter().find(|a| a.remote == remote)) else {
            return;
        };
        let done = s.port.add_address(now, to, *address);
        note!(env, "n{node} p{slot}: user: adds {remote} to {to}: {done:?}");
        s.removed.remove(&(to, remote));
        if done.is_err() && s.port.state() != State::Destroyed && env.broken != Some(Broken::NoRemoval) {
            env.oracle.fail(Invariant::Changes, format!("{}: {remote} of {to}, added: {done:?}", s.session));
        }
    }

    fn reconfigure(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let planned = &self.plan.sources[s.plan].config;
        let rng = &mut env.rng;
        let before = s.port.config().clone();
        let high = rng.within(1, 100) as u32;
        let mut config = PortConfig {
            balance: rng.pick(&[Balance::Fastest, Balance::RoundRobin, Balance::Pull]),
            send_buffer_max: rng.magnitude(16 << 10, 4 << 20),
            flow_high: high,
            flow_low: rng.below(u64::from(high)) as u32,
            max_pending_events: if rng.chance(20) { rng.within(1, 64) as u32 } else { 1 << 20 },
            fragment: rng.magnitude(2048, u64::from(planned.fragment)) as u32,
            close_timeout: planned.close_timeout * rng.within(50, 100) as u32 / 100,
            ..before.clone()
        };
        if before.budget().is_none() {
            config.ack_timeout =
                Duration::from_secs(4).max(planned.ack_timeout * rng.within(50, 100) as u32 / 100);
        }
        // A slow path is avoided by one balance only, and that may be what is promised.
        if self.plan.sources[s.plan].promises.iter().any(|p| p.brisk) {
            config.balance = before.balance;
        }
        let wrong = rng.chance(25);
        if wrong {
            match rng.below(3) {
                0 => config.window += 1,
                1 => config.flow_low = config.flow_high,
                _ => config.ack_timeout = config.liveness.suspect,
            }
        }
        let done = s.port.reconfigure(now, config.clone());
        note!(env, "n{node} p{slot}: user: sets anew: {done:?}");
        let expected = if done.is_ok() { &config } else { &before };
        if s.port.config() != expected || done.is_ok() == (wrong || s.port.state() == State::Destroyed) {
            env.oracle.fail(Invariant::Changes, format!("{}: wrong: {wrong}, set: {done:?}", s.session));
        }
    }
}

impl Slot {
    /// What is wrong with giving messages to a path now: its address was removed.
    pub(crate) fn is_removed(&self, path: PathId) -> Option<String> {
        let known = self.remotes.get(&path).filter(|known| self.removed.contains(*known))?;
        Some(format!("{}: messages on path {path} to {}, which was removed", self.session, known.1))
    }

    /// Each address of the present target is a path of the session, and there is no other path. `known`: how many a target knows of itself.
    pub(crate) fn lacks_a_path(&self, known: usize) -> Option<String> {
        let up = self.port.state() == State::Connected && self.port.link() == Link::Up;
        let targets = &self.port.config().targets;
        let target =
            targets.iter().find(|t| self.side == Side::Source && up && Some(t.node) == self.port.peer())?;
        let addresses = if target.addresses.is_empty() { known } else { target.addresses.len() };
        let paths = usize::from(self.port.stats().paths);
        (paths != addresses).then(|| format!("{}: {paths} paths to {addresses} addresses", self.session))
    }
}
