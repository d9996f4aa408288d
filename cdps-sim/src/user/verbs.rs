//! What a user calls in the middle of a run: what its plan says, and what the state of its port asks for.

use std::rc::Rc;

use cdps_core::config::PortConfig;
use cdps_core::id::Side;
use cdps_core::port::{Link, State};
use cdps_core::time::nanos;

use super::Errand;
use crate::broken::Broken;
use crate::env::{Env, MS, SECOND, note};
use crate::host::{Host, HostEvent};
use crate::plan::Verb;
use crate::rules::{Invariant, Promise};

impl Verb {
    /// The target's user does it.
    pub(crate) fn is_targets(self) -> bool {
        match self {
            Verb::TargetClose { .. } | Verb::TargetDestroy => true,
            Verb::Suspend(side) | Verb::Resume(side) => side == Side::Target,
            Verb::Stop | Verb::Close { .. } | Verb::ConnectAgain | Verb::Switch | Verb::Destroy => false,
            Verb::RemoveAddress | Verb::AddAddress | Verb::Reconfigure => false,
        }
    }
}

/// States in which traffic may be held (L7).
fn may_hold(state: State) -> bool {
    matches!(state, State::Connecting | State::Connected | State::ConnectedTo)
}

impl Host {
    /// Looks at the port's state and does what is next.
    pub(super) fn tick(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        s.user.ticking = false;
        if s.side == Side::Source && self.plan.script.is_some() && !s.user.finishing {
            return self.want_tick(env, slot);
        }
        // A user that acts before it has heard everything makes its own order; this one listens first.
        if env.now < s.user.resume_at || (s.side == Side::Source && s.has_events()) {
            self.want_tick(env, slot);
            return;
        }
        match (s.side, s.port.state()) {
            (_, State::Destroyed) => return,
            (Side::Target, State::Registered) => {
                let unregistered = if env.rng.chance(50) { s.port.unregister(now) } else { Ok(()) };
                if let Err(e) = unregistered.and_then(|()| s.port.destroy(now)) {
                    env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
                }
                return;
            }
            (Side::Target, _) => return,
            (Side::Source, State::Initialized) if s.user.finishing => {
                if let Err(e) = s.port.unregister(now).and_then(|()| s.port.destroy(now)) {
                    env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
                }
                return;
            }
            (Side::Source, State::Connected | State::Stopped | State::Connecting) if s.user.finishing => {
                self.close_down(env, slot);
            }
            (Side::Source, State::Connected | State::Stopped)
                if s.port.link() != Link::Up && env.now < s.user.patient_until => {}
            (Side::Source, State::Stopped)
                if s.port.link() == Link::Up && !s.user.closing && env.rng.chance(40) =>
            {
                note!(env, "n{} p{slot}: user: resets", self.plan.hosts[self.index].node);
                s.user.patient_until = env.now + env.rng.below(12 * SECOND);
                env.oracle.connecting(s.session);
                // Refused if it is being closed.
                let _ = s.port.reset(now);
            }
            (Side::Source, State::Initialized | State::Stopped) => self.connect(env, slot),
            (Side::Source, State::Connected) if s.port.link() == Link::Drained && s.user.knows_drained => {
                self.connect(env, slot)
            }
            (Side::Source, _) => {}
        }
        self.want_tick(env, slot);
    }

    fn close_down(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        if s.user.closing && s.port.state() == State::Stopped {
            return;
        }
        s.user.closing = s.port.state() == State::Stopped && s.port.use_count() <= 1;
        note!(
            env,
            "n{} p{slot}: user: closes in {}",
            self.plan.hosts[self.index].node,
            s.port.state().name()
        );
        if let Err(e) = s.port.close(now, false) {
            env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
        }
        self.see_resumed(env, slot, false);
    }

    fn connect(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let plan = Rc::clone(&self.plan);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let source = &plan.sources[s.plan];
        let config: &PortConfig = &source.config;
        if s.port.link() == Link::Drained {
            s.user.turn += env.rng.below(2) as usize;
        }
        let turn = s.user.turn % config.targets.len();
        let to = if turn == 0 { None } else { Some(config.targets[turn].node) };
        note!(env, "n{} p{slot}: user: connects to {to:?} ({turn})", plan.hosts[self.index].node);
        s.user.knows_drained = false;
        // While the user keeps out of it, the faults alone decide what is promised.
        env.oracle.promise(s.session, source.promise(turn));
        env.oracle.connecting(s.session);
        if let Err(e) = s.port.connect(now, to) {
            env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
        }
    }

    pub(super) fn verb(&mut self, env: &mut Env, slot: usize, n: usize) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let Some((_, verb)) = self.plan.sources[s.plan].verbs.get(n).copied() else { return };
        if verb.is_targets() != (s.side == Side::Target) {
            return;
        }
        if let Verb::Suspend(_) | Verb::Resume(_) = verb {
            return self.hold(env, slot, matches!(verb, Verb::Suspend(_)));
        }
        if verb.changes() {
            return self.change(env, slot, verb);
        }
        if s.side == Side::Source && s.has_events() {
            self.later(env, MS, HostEvent::User { slot, what: Errand::Verb(n) });
            return;
        }
        note!(
            env,
            "n{} p{slot}: user: {verb:?} in {}",
            self.plan.hosts[self.index].node,
            s.port.state().name()
        );
        if s.side == Side::Source {
            env.oracle.promise(s.session, Promise::default());
            s.user.resume_at = env.now + env.rng.below(1000 * MS);
        }
        match verb {
            Verb::TargetClose { immediate: false } if s.port.state() == State::ConnectedTo => {
                // Less what a clock may be wrong by.
                let timeout = nanos(s.port.config().close_timeout) / 100 * 99;
                s.user.closes_by.get_or_insert(env.now + timeout);
            }
            Verb::TargetClose { immediate: true } | Verb::TargetDestroy => s.user.closes_by = None,
            _ => {}
        }
        // What the state does not allow is refused and changes nothing: also worth trying.
        let _ = match verb {
            Verb::Switch => {
                let targets = &s.port.config().targets;
                let to = targets[env.rng.below(targets.len() as u64) as usize].node;
                if s.port.switch(now, to).is_ok() {
                    env.oracle.planned(s.session);
                }
                Ok(())
            }
            Verb::Stop => s.port.stop(now),
            Verb::Close { immediate } | Verb::TargetClose { immediate } => s.port.close(now, immediate),
            Verb::Destroy | Verb::TargetDestroy => s.port.destroy(now),
            Verb::ConnectAgain if s.port.link() == Link::Drained && !s.user.knows_drained => Ok(()),
            Verb::ConnectAgain => {
                env.oracle.connecting(s.session);
                let _ = s.port.connect(now, None);
                Ok(())
            }
            Verb::Suspend(_) | Verb::Resume(_) => Ok(()),
            Verb::RemoveAddress | Verb::AddAddress | Verb::Reconfigure => Ok(()),
        };
        self.see_resumed(env, slot, matches!(verb, Verb::TargetClose { .. }));
    }

    /// Holds traffic, or lets it go. The user need not have heard everything for that.
    fn hold(&mut self, env: &mut Env, slot: usize, hold: bool) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let before = s.port.state();
        let done = match (hold, env.broken) {
            (true, Some(Broken::NoHold)) if may_hold(before) => {
                env.broke += 1;
                Ok(())
            }
            (true, _) => s.port.suspend(),
            (false, _) => s.port.resume(now),
        };
        note!(env, "n{node} p{slot}: user: hold {hold} in {}: {done:?}", before.name());
        match done {
            Ok(()) => env.oracle.hold(s.flow_out(), hold),
            Err(e) if may_hold(before) && s.user.closes_by.is_none() && !s.user.closing => {
                env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
            }
            Err(_) => {}
        }
    }

    /// Stop and close let go what was held, unless other users of the port remain.
    fn see_resumed(&mut self, env: &mut Env, slot: usize, closes: bool) {
        if let Some(s) = self.slots[slot].as_ref()
            && (closes || !may_hold(s.port.state()))
        {
            env.oracle.hold(s.flow_out(), false);
            if s.port.is_suspended() {
                let text = format!("p{slot} of {}: still suspended in {}", s.session, s.port.state().name());
                env.oracle.fail(Invariant::Held, text);
            }
        }
    }
}
