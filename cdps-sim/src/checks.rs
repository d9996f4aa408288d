//! What is looked at between the acts of a run: whether everything has finished, come to rest, and stayed within bounds.

use cdps_core::cluster::Health;
use cdps_core::config::PathClass;
use cdps_core::id::{Generation, NodeId, PathId, SessionId, Side};
use cdps_core::port::{Link, State};

use crate::env::{Env, SECOND};
use crate::host::{Host, Slot};
use crate::plan::Plan;
use crate::rules::Invariant;

impl Host {
    /// Whether this process has nothing left to do for its users.
    pub(crate) fn settled(&self, env: &Env) -> Result<(), String> {
        for (n, s) in self.slots.iter().enumerate() {
            let Some(s) = s else { continue };
            let name = || {
                format!(
                    "node {} p{n} ({}, {}, link {})",
                    self.node(),
                    s.session,
                    s.port.state().name(),
                    s.port.link().name()
                )
            };
            if s.port.state() == State::Destroyed
                || (s.side == Side::Target && s.port.state() != State::ConnectedTo)
            {
                if s.has_events() {
                    return Err(format!("{}: events wait, though it is over", name()));
                }
                continue;
            }
            if s.user.next_send < s.sends(self).len() {
                return Err(format!(
                    "{}: {} messages not accepted yet",
                    name(),
                    s.sends(self).len() - s.user.next_send
                ));
            }
            let open = env.oracle.open(s.flow_out());
            if open > 0 {
                return Err(format!(
                    "{}: {open} sends have not ended: {}",
                    name(),
                    env.oracle.oldest_open(s.flow_out())
                ));
            }
            let left = s.port.stats().unfinished_bytes;
            if left > 0 {
                return Err(format!("{}: {left} bytes are unfinished", name()));
            }
            if !s.user.held.is_empty() {
                return Err(format!("{}: the user holds {} messages", name(), s.user.held.len()));
            }
            if s.has_events() {
                return Err(format!("{}: events wait", name()));
            }
        }
        Ok(())
    }

    /// A port with nothing to do sets no timer, but for one that was set before.
    pub(crate) fn check_idle(&self, env: &mut Env) {
        for s in self.slots.iter().flatten() {
            if let Some(text) = s.lacks_a_path(self.plan.paths) {
                env.oracle.fail(Invariant::Changes, text);
            }
            let stats = s.port.stats();
            let whole = stats.paths_up == stats.paths && s.port.link() == Link::Up && !s.port.is_switching();
            let in_use = matches!(s.port.state(), State::Connected | State::ConnectedTo);
            let settled = env.now - s.came_up > 3 * SECOND;
            if whole && in_use && settled && env.now - s.timeouts[0] < SECOND {
                let text = format!(
                    "{} ({}) is idle, and had 4 timeouts in a second",
                    s.session,
                    s.port.state().name()
                );
                env.oracle.fail(Invariant::Timers, text);
            }
        }
    }

    /// Sessions that have a live end of this side here, with their generations.
    pub(crate) fn sessions(&self, side: Side) -> Vec<(SessionId, Generation)> {
        let live = |s: &&Slot| match s.side {
            Side::Source => s.port.state() == State::Connected && s.port.link() == Link::Up,
            Side::Target => s.port.state() == State::ConnectedTo,
        };
        let here = self.slots.iter().flatten().filter(|s| s.side == side).filter(live);
        here.map(|s| (s.session, s.port.generation())).collect()
    }

    /// The bytes that were held at once may not pass the window and what each path may add.
    pub(crate) fn check_meters(&self, env: &mut Env, slot: usize) {
        let Some(s) = self.slots[slot].as_ref() else { return };
        let c = s.port.config();
        let source = &self.plan.sources[s.plan];
        let longest = source.up.iter().chain(&source.down).map(|m| u64::from(m.len)).max().unwrap_or(0);
        let fragment = u64::from(
            self.plan.sources[s.plan].config.fragment.max(self.plan.sources[s.plan].target_config.fragment),
        );
        let per_path = 2 * fragment + 2 * self.plan.read_chunk as u64 + 65_536;
        // A message that is put together from parts is held twice for a moment.
        let high = if source.contracts.is_empty() { 0 } else { c.high_window.max(longest) };
        let bound = c.window.max(longest) + high + longest + per_path * self.plan.paths as u64;
        for (generation, meter) in &s.meters {
            if meter.peak() > bound {
                let text = format!(
                    "{} generation {generation}: {} bytes held, bound {bound}",
                    s.session,
                    meter.peak()
                );
                env.oracle.fail(Invariant::Memory, text);
            }
        }
    }
}

impl Slot {
    /// What is wrong with giving messages to a path now: it is standby, and a normal one is good.
    pub(crate) fn misuses_standby(&self, plan: &Plan, host: NodeId, path: PathId) -> Option<String> {
        let target = match self.side {
            Side::Source => self.port.peer()?,
            Side::Target => host,
        };
        if plan.sources[self.plan].moves_paths() {
            return self.misuses_any(path);
        }
        let addresses = &plan.sources[self.plan].config.targets.iter().find(|t| t.node == target)?.addresses;
        if addresses.get(usize::from(path.0))?.class == PathClass::Normal {
            return None;
        }
        let mut normal = (0..).map(PathId).zip(addresses).filter(|(_, a)| a.class == PathClass::Normal);
        // A target cannot heed what it has not been told yet.
        let counts =
            |k| self.port.path_stats(k).is_some_and(|s| s.health == Health::Good && s.class.is_some());
        let (good, _) = normal.find(|(k, _)| counts(*k))?;
        Some(format!(
            "{}: messages on standby path {path} to {target} while path {good} is good",
            self.session
        ))
    }
}

impl Slot {
    /// The same, where paths come and go: by what the engine itself knows of them.
    fn misuses_any(&self, path: PathId) -> Option<String> {
        let of = |k| self.port.path_stats(k);
        let normal = |k: &PathId| {
            of(*k).is_some_and(|s| s.health == Health::Good && s.class == Some(PathClass::Normal))
        };
        let standby = of(path)?.class == Some(PathClass::Standby);
        let good = self.port.path_ids().find(normal).filter(|_| standby)?;
        Some(format!("{}: messages on standby path {path} while path {good} is good", self.session))
    }
}

impl Host {
    /// The run is over: every source's user takes its port down.
    pub(crate) fn finish(&mut self) {
        for s in self.slots.iter_mut().flatten() {
            s.user.finish();
        }
    }

    /// What keeps this process from being done.
    pub(crate) fn left(&self) -> Option<String> {
        self.slots.iter().enumerate().find_map(|(n, s)| {
            let s = s.as_ref()?;
            let (state, link) = (s.port.state().name(), s.port.link().name());
            Some(format!("node {} p{n} ({}, {state}, link {link}) is not gone", self.node(), s.session))
        })
    }
}
