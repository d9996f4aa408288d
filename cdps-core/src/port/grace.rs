//! Grace for a lost target (F5): a port that would switch by itself waits first for the old target to return.
//!
//! Nothing is taken from the target meanwhile, and its paths are dialled on. A connection that proves the session under the present
//! generation is its return: the session goes on where it was, and what was on its way goes again as after any loss of all paths.

use super::decision::Trigger;
use super::event::Action;
use super::state::Link;
use super::{Payload, Port};
use crate::reason::Reason;
use crate::time::Time;

/// The return of a lost target is waited for.
pub(super) struct Grace {
    since: Time,
    pub(super) until: Time,
    trigger: Trigger,
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// Whether a target that is lost in this way may be back soon, and is waited for.
    pub(super) fn has_grace(&self, trigger: Trigger) -> bool {
        self.config.autoswitch && !self.config.switch_grace.is_zero() && trigger.may_pass()
    }

    /// Waits for the return of a target that nothing has come from for the dead time. The user is told of paths only.
    pub(super) fn begin_grace(&mut self, now: Time, trigger: Trigger) {
        self.link = Link::Switching;
        self.grace = Some(Grace { since: now, until: now + self.config.switch_grace, trigger });
        // What has been silent for so long is no sign of life: only a new connection is.
        for at in 0..self.paths.len() {
            if let Some(conn) = self.paths[at].conn().map(|c| c.id) {
                let path = self.paths[at].id;
                self.actions.push_back(Action::Hangup { path, conn, farewell: None });
                self.drop_conn(now, at, Reason::Unreachable);
            }
        }
        self.rearm(now);
    }

    /// A connection of the session is up: if its target was waited for, it is back.
    pub(super) fn end_grace(&mut self, now: Time) {
        if self.grace.take().is_none() {
            return;
        }
        self.link = Link::Up;
        self.decision = None;
        // Its user could not be heard.
        self.overdue.skip(now);
    }

    /// The target has not returned in time.
    pub(super) fn tend_grace(&mut self, now: Time) {
        if let Some(grace) = self.grace.take_if(|g| now >= g.until)
            && let Some(node) = self.peer
        {
            self.note_grace(now, grace.since);
            self.leave_lost(now, node, grace.trigger);
        }
    }

    /// While its return was waited for the target was found to be gone for good: what is known now is what counts.
    pub(super) fn cut_grace(&mut self, now: Time, trigger: Trigger) {
        if !trigger.may_pass()
            && let Some(grace) = self.grace.take()
            && let Some(node) = self.peer
        {
            self.decision = Some(self.record(now, node, trigger));
            self.note_grace(now, grace.since);
            self.leave_lost(now, node, trigger);
        }
    }

    fn note_grace(&mut self, now: Time, since: Time) {
        if let Some(decision) = &mut self.decision {
            decision.grace = Some(now.since(since));
            // Whether it switches is decided now.
            decision.isolated = self.isolated;
        }
    }
}
