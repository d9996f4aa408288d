//! A planned switch (F6): to another target while the present one lives, without a nack, a loss or a message twice.
//!
//! The new target is asked first. When it has accepted, what has not been begun is held; when everything begun has ended, and the present
//! target's user has given everything back, the present session is revoked and the port goes over. Until then anything that goes wrong
//! leaves the port where it is.

use super::decision::Trigger;
use super::event::{Action, ConnStatus};
use super::session::{Attempt, Lease, Purpose, is_down};
use super::state::{self, Call, Link};
use super::{ConnectError, Payload, Port};
use crate::id::{Generation, NodeId, Sn};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::{Answer, NodeBody};

/// Numbers that the present target may still use for its own messages before it hears of the switch.
const HEADROOM: u64 = 1 << 32;

/// A planned switch that has not been committed.
pub(super) struct Planned {
    node: NodeId,
    generation: Generation,
    /// The new target's own numbers begin there.
    first: Sn,
    /// Given up then.
    pub(super) deadline: Time,
    /// When the new target is asked (again).
    pub(super) ask_at: Time,
    /// What it said, and when.
    answer: Option<(Answer, Time)>,
    /// When the present target was last asked what it has given back.
    probed_at: Time,
    /// It is to be asked again as soon as that is not too often.
    probes: bool,
}

impl Planned {
    /// Nothing new begins to travel.
    pub(super) fn holds(&self) -> bool {
        self.answer.is_some()
    }
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// Goes over to another target of this port, in an orderly way (F6): [`ConnStatus::Switched`] says that messages travel there, or
    /// [`ConnStatus::SwitchFailed`] that nothing has changed. What is sent meanwhile is queued. The new target's user is asked as with
    /// [`Self::connect`]. What the present target sends, and has not finished, is nacked there.
    ///
    /// # Errors
    /// Not connected, or the link is not up; no target of this port, the present one, or a switch is under way.
    pub fn switch(&mut self, now: Time, to: NodeId) -> Result<(), ConnectError> {
        let next = state::next(Call::Switch, self.state, self.link)?;
        if !self.config.targets.iter().any(|t| t.node == to) {
            return Err(ConnectError::NotATarget { node: to });
        }
        if self.peer == Some(to) {
            return Err(ConnectError::There { node: to });
        }
        if let Some(planned) = &self.planned {
            return Err(ConnectError::Switching { to: planned.node });
        }
        self.state = next;
        self.planned = Some(Planned {
            node: to,
            generation: self.next_generation(),
            first: Sn(0),
            deadline: now + self.config.switch_timeout,
            ask_at: now,
            answer: None,
            probed_at: Time::ZERO,
            probes: false,
        });
        self.ask_planned(now);
        self.rearm(now);
        Ok(())
    }

    fn ask_planned(&mut self, now: Time) {
        let Some(planned) = &mut self.planned else { return };
        planned.ask_at = now + self.config.liveness.heartbeat;
        planned.probed_at = now;
        planned.first = Sn(self.receiver.highest().0 + HEADROOM);
        let Planned { node, generation, first, .. } = *planned;
        if is_down(&self.peers, node) {
            return;
        }
        let listed = self.config.targets.iter().find(|t| t.node == node);
        let paths = listed.map_or(0, |t| t.addresses.len());
        let connect = self.connect_to(generation, paths, first, 0);
        self.actions.push_back(Action::Tell { node, body: NodeBody::Connect(connect), all_links: false });
    }

    /// The node that is asked can hear it now.
    pub(super) fn planned_heard(&mut self, now: Time, node: NodeId) {
        if self.planned.as_ref().is_some_and(|p| p.node == node && !p.holds()) {
            self.ask_planned(now);
        }
    }

    /// The engine with a quorum says that this node is down: nothing is held for it any more.
    pub(super) fn planned_down(&mut self, now: Time, node: NodeId) {
        if self.planned.as_ref().is_some_and(|p| p.node == node && p.holds()) {
            self.cancel_switch(now, Trigger::NodeDown.reason());
        }
    }

    /// An answer that is not the present session's.
    pub(super) fn handle_planned_answer(&mut self, now: Time, answer: &Answer) {
        let Some(planned) = self.planned.as_mut().filter(|p| p.generation == answer.generation) else {
            return;
        };
        if is_down(&self.peers, planned.node) {
            return; // It was asked before the engine said so.
        }
        if answer.reason == Reason::StaleGeneration as u16
            && answer.highest.role_epoch == planned.generation.role_epoch
        {
            // It has accepted a newer one before, or has given up waiting for this one.
            let Some(generation) = self.generation_above(answer.highest) else {
                return self.cancel_switch(now, Reason::StaleGeneration);
            };
            if let Some(planned) = &mut self.planned {
                (planned.generation, planned.answer) = (generation, None);
            }
            self.go_on(now);
            return self.ask_planned(now);
        }
        if answer.reason != Reason::None as u16 {
            return self.cancel_switch(now, crate::wire::reason_of(answer.reason));
        }
        planned.answer = Some((answer.clone(), now));
        planned.ask_at = Time::NEVER;
        self.sender.hold();
        self.watch_flow();
        self.tend_planned(now);
        self.rearm(now);
    }

    /// Looks how far it has come.
    pub(super) fn tend_planned(&mut self, now: Time) {
        let Some(planned) = &self.planned else { return };
        if now >= planned.deadline {
            return self.cancel_switch(now, Reason::Timeout);
        }
        let fresh = match &planned.answer {
            None if now >= planned.ask_at => return self.ask_planned(now),
            None => return,
            Some((_, at)) => now.since(*at) < self.config.session_timeout / 2,
        };
        // Whoever is cut off, or has no quorum, stays where it is (N5).
        if !self.sender.is_quiet() || self.isolated {
            return self.ask_for_credit(now);
        }
        if fresh {
            self.commit_switch(now);
        } else if now >= planned.ask_at || planned.ask_at == Time::NEVER {
            // The new target may have given up waiting: it says again that it has the session.
            self.ask_planned(now);
        }
    }

    /// The present target says what its user has given back when it is asked: at once, and when there is more of it.
    fn ask_for_credit(&mut self, now: Time) {
        let Some(planned) = &mut self.planned else { return };
        planned.probes = now.since(planned.probed_at) < self.tick;
        if planned.probes {
            return;
        }
        planned.probed_at = now;
        if let Some(at) = self.feedback_path()
            && let Some(conn) = self.paths[at].conn_mut()
        {
            conn.due.probe = true;
            self.kick(at);
        }
    }

    /// Everything that was begun has ended, and was consumed: the present session is taken away, and the port goes over.
    fn commit_switch(&mut self, now: Time) {
        let needed = self.sender.streams_needed();
        let allowed = |p: &Planned| p.answer.as_ref().map_or(0, |(answer, _)| answer.max_streams as usize);
        if self.planned.as_ref().is_some_and(|p| needed > allowed(p)) {
            return self.cancel_switch(now, Reason::Limit);
        }
        let Some(Planned { node, generation, first, answer: Some((answer, _)), .. }) = self.planned.take()
        else {
            return;
        };
        let Some(from) = self.peer else { return };
        self.switching_since = now;
        self.decision = Some(self.record(now, from, Trigger::Asked));
        self.give_up_peer(Lease::Unknown);
        self.link = Link::Switching;
        self.generation = generation;
        // If the new target does not come up after all, the former one is tried again; others only if the port may choose.
        let tried = match self.config.autoswitch {
            true => Vec::new(),
            false => {
                let others = self.config.targets.iter().map(|t| t.node).filter(|t| *t != from && *t != node);
                std::iter::once(node).chain(others).collect()
            }
        };
        self.attempt =
            Some(Attempt::answered(node, Purpose::Switch, tried, now + self.config.connect_timeout));
        self.begin_session(now, node);
        self.receiver.expect_from(first);
        self.enter_session(now, &answer);
        if !self.suspended {
            self.sender.let_go();
        }
        self.rearm(now);
    }

    /// Nothing changes: the new target is told, and what was held goes on here.
    pub(super) fn cancel_switch(&mut self, now: Time, reason: Reason) {
        let Some(Planned { node, generation, .. }) = self.planned.take() else { return };
        let (session, side) = (self.session, self.side);
        let body = NodeBody::Bye { session, generation, reason: Reason::Closed as u16, side };
        self.actions.push_back(Action::Tell { node, body, all_links: false });
        self.events.status(ConnStatus::SwitchFailed { node, reason });
        self.go_on(now);
    }

    /// When to look again.
    pub(super) fn planned_deadline(&self) -> Time {
        match &self.planned {
            None => Time::NEVER,
            Some(planned) => {
                let again = if planned.probes { self.tick } else { self.config.liveness.heartbeat * 2 };
                let probe = if planned.holds() { planned.probed_at + again } else { Time::NEVER };
                planned.deadline.min(planned.ask_at).min(probe)
            }
        }
    }
}
