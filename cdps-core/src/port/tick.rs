//! What time alone brings: suspicion, probes, redials, timeouts.

use super::decision::Trigger;
use super::path::{Dial, Flight, Path};
use super::session::Lease;
use super::state::State;
use super::{Action, Payload, Port};
use crate::cluster::Health;
use crate::id::Side;
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// Ticks go on this long after the last traffic, so that lone messages do not start a timer each.
const LINGER_NS: u64 = 1_000_000_000;
/// Nothing is due sooner than this after a timeout was handled.
const LEAST: Duration = Duration::from_millis(1);

/// How often time is looked at while there is traffic.
pub(super) fn tick(suspect: Duration) -> Duration {
    (suspect / 8).max(Duration::from_millis(5))
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// There is traffic: what time may bring is looked at every tick.
    #[inline]
    pub(super) fn touch(&mut self, now: Time) {
        self.busy_until = Time(now.0 + LINGER_NS);
        let at = now + self.tick;
        if at < self.armed {
            self.armed = at;
            self.actions.push_back(Action::Rearm { at });
        }
    }

    /// Looks whether something is due before the time that was said last.
    pub(super) fn rearm(&mut self, now: Time) {
        let at = self.deadline(now);
        if at < self.armed {
            self.armed = at;
            self.actions.push_back(Action::Rearm { at });
        }
    }

    fn deadline(&self, now: Time) -> Time {
        let mut at = Time::NEVER;
        if self.is_busy(now) {
            at = now + self.tick;
        }
        if let Some(attempt) = &self.attempt {
            let deadline = if self.awaits_lease() { Time::NEVER } else { attempt.deadline };
            at = at.min(attempt.ask_at).min(deadline);
        }
        at = at.min(self.fence_deadline());
        if let Some(choice) = &self.choice {
            at = at.min(choice.deadline);
        }
        if let Some(grace) = &self.grace {
            at = at.min(grace.until);
        }
        if let Some(Lease::Until(end)) = self.former.as_ref().map(|f| f.lease) {
            at = at.min(end);
        }
        if let Some(drain) = &self.drain
            && !self.drained_said
        {
            at = at.min(drain.deadline);
        }
        if let Some(contact) = self.contact_deadline() {
            at = at.min(contact);
        }
        at = at.min(self.overdue_deadline()).min(self.rejoin_deadline());
        at = at.min(self.planned_deadline()).min(self.sender.next_expiry());
        for path in &self.paths {
            if let Dial::Wait { at: dial } = path.dial {
                at = at.min(dial);
            }
        }
        at.max(now + LEAST)
    }

    fn is_busy(&self, now: Time) -> bool {
        let in_session = matches!(self.state, State::Connected | State::Stopped | State::ConnectedTo);
        in_session
            && (now < self.busy_until
                || self.lazy_receipt
                || self.sender.starved()
                || self.receiver.unconfirmed()
                || self.paths.iter().any(|p| p.conn().is_some_and(|c| !c.flights.is_empty())))
    }

    /// To be called at [`Self::poll_timeout`]; harmless earlier.
    pub fn handle_timeout(&mut self, now: Time) {
        let late = now.since(self.armed);
        if self.armed != Time::NEVER && late > self.config.liveness.heartbeat {
            self.forgive(now, late);
        } else {
            self.judge_paths(now);
            self.check_contact(now);
        }
        self.tend_grace(now);
        self.tend_former(now);
        self.tend_attempt(now);
        self.tend_planned(now);
        self.expire(now);
        self.tend_choice(now);
        self.tend_drain(now);
        self.redial(now);
        self.tend_rejoins(now);
        self.tend_feedback(now);
        self.tend_overdue(now);
        self.offer(now);
        self.armed = self.deadline(now);
    }

    /// My own loop was late: the gap is not held against anybody, and everything is probed before the next verdict (T9).
    fn forgive(&mut self, now: Time, late: Duration) {
        for at in 0..self.paths.len() {
            let Some(conn) = self.paths[at].conn_mut() else { continue };
            conn.progress_at = (conn.progress_at + late).min(now);
            conn.heard_at = (conn.heard_at + late).min(now);
            conn.asked_at = conn.asked_at.map(|asked| (asked + late).min(now));
            for flight in &mut conn.flights {
                flight.at = (flight.at + late).min(now);
            }
            if !conn.flights.is_empty() {
                conn.due.probe = true;
                conn.probed = true;
                self.kick(at);
            }
        }
        self.pathless_since = (self.pathless_since + late).min(now);
        self.last_contact = (self.last_contact + late).min(now);
        self.overdue.forgive(now, late);
        self.was_late = Some((now, late));
        if let Some(attempt) = &mut self.attempt {
            attempt.deadline = attempt.deadline + late;
        }
        if let Some(planned) = &mut self.planned {
            planned.deadline = planned.deadline + late;
        }
        if let Some(grace) = &mut self.grace {
            grace.until = grace.until + late;
        }
        if let Some(choice) = &mut self.choice {
            choice.deadline = choice.deadline + late;
        }
    }

    /// Suspicion (T3), connections that stand still, and F1's receipt timeout.
    fn judge_paths(&mut self, now: Time) {
        // First of all: what is given up below is no evidence any more (F11).
        let late = |since: Time| now.since(since) > self.config.ack_timeout;
        if self.side == Side::Source && self.awaits_receipt_since().is_some_and(late) {
            return self.lose_target(now, Trigger::NoReceipt);
        }
        let (least, dead) = (self.config.liveness.suspect, self.config.liveness.dead);
        for at in 0..self.paths.len() {
            let patience = self.paths[at].patience(least);
            let path = self.paths[at].id;
            let Some(conn) = self.paths[at].conn_mut() else { continue };
            // Nothing is on its way that could tell: an answer that was asked for does not come.
            let deaf = conn.asked_at.is_some_and(|asked| now.since(asked) > (dead * 2).max(patience * 4));
            if deaf && conn.flights.is_empty() {
                let conn = conn.id;
                self.actions.push_back(Action::Hangup { path, conn, farewell: None });
                self.drop_conn(now, at, Reason::Unreachable);
                continue;
            }
            let Some(oldest) = conn.flights.front().map(|f| f.at) else { continue };
            let waited = now.since(conn.progress_at);
            let silent = now.since(conn.heard_at);
            let stands_still = waited > dead.max(patience * 4) && (silent > dead || waited > dead * 4);
            if waited > patience / 2 && !conn.probed {
                conn.probed = true;
                conn.due.probe = true;
                self.kick(at);
            } else if stands_still {
                let conn = conn.id;
                self.actions.push_back(Action::Hangup { path, conn, farewell: None });
                self.drop_conn(now, at, Reason::Unreachable);
            } else if waited > patience.min(dead) && !conn.suspect {
                conn.suspect = true;
                self.show_health(now, at, Reason::Timeout);
            } else if now.since(oldest) > self.config.ack_timeout / 2 {
                self.rescue(now, at);
            }
        }
    }

    /// When the oldest was given to a connection of what has no receipt, neither there nor elsewhere. What also went elsewhere counts where it is
    /// now, as long as there is a good path that has it.
    pub(super) fn awaits_receipt_since(&self) -> Option<Time> {
        let good = self.paths.iter().filter(|p| p.health() == Health::Good).count();
        let oldest = |path: &Path| {
            let elsewhere = good > usize::from(path.health() == Health::Good);
            let counts = |f: &&Flight| !(f.moved && elsewhere) && self.sender.awaits_receipt(f);
            path.conn()?.flights.iter().find(counts).map(|f| f.at)
        };
        self.paths.iter().filter_map(oldest).min()
    }

    /// What is on its way on a path that receipts, but too slowly for the receipt timeout, also goes on a good one: the timeout judges the target,
    /// not one of its paths (F1, T2).
    fn rescue(&mut self, now: Time, at: usize) {
        let limit = self.config.ack_timeout / 2;
        let good = |k: usize| k != at && self.paths[k].health() == Health::Good;
        if !(0..self.paths.len()).any(good) {
            return;
        }
        let Some(conn) = self.paths[at].conn_mut() else { return };
        if !conn.flights.iter().any(|f| !f.moved && now.since(f.at) > limit) {
            return;
        }
        conn.suspect = true;
        self.move_flights(at);
        self.show_health(now, at, Reason::Timeout);
    }

    /// Gives up what has waited past its deadline (M10).
    pub(super) fn expire(&mut self, now: Time) {
        if self.sender.expire(now, &mut self.events) {
            self.watch_flow();
        }
    }

    fn tend_attempt(&mut self, now: Time) {
        let Some(attempt) = &self.attempt else { return };
        if now >= attempt.deadline && !self.awaits_lease() {
            self.fail_attempt(now, Reason::Timeout);
        } else if now >= attempt.ask_at {
            self.ask(now);
        }
    }

    fn tend_drain(&mut self, now: Time) {
        if self.drain.is_some_and(|d| now >= d.deadline) && !self.sender.is_empty() {
            self.finish_everything(Reason::Timeout);
        }
        self.check_drained(now);
    }

    fn redial(&mut self, now: Time) {
        if self.side == Side::Target || self.peer.is_none() {
            return;
        }
        for at in 0..self.paths.len() {
            if matches!(self.paths[at].dial, Dial::Wait { at } if at <= now) {
                self.dial(at);
            }
        }
    }

    /// Receipts that may wait no longer, acknowledgments that found no path or may be lost, and credit that does not come.
    fn tend_feedback(&mut self, now: Time) {
        let receipt = std::mem::take(&mut self.lazy_receipt);
        self.feed_back_idle(now, receipt);
        let heartbeat = self.config.liveness.heartbeat;
        if let Some((by, sent)) = self.completions_by
            && self.receiver.unconfirmed()
        {
            let least = self.config.liveness.suspect;
            let patience = self.path_index(by).map_or(least, |at| self.paths[at].patience(least));
            if now.since(sent) > patience {
                // Not the path that they are lost on, but the one that was heard last.
                self.freshest = None;
                let path = self.feedback_path().map_or(by, |at| self.paths[at].id);
                self.completions_by = Some((path, now));
                // If nobody is there any more, this is how it is found out.
                if let Some(conn) = self.path_index(path).and_then(|at| self.paths[at].conn_mut()) {
                    conn.due.probe = true;
                }
                self.receiver.rewind_completions();
                self.feed_back_idle(now, true);
            }
        }
        if self.sender.starved() && now.since(self.credit_asked_at) > heartbeat {
            self.credit_asked_at = now;
            self.credit_asked = false;
        }
    }

    /// Feedback that is no traffic by itself: it does not keep the ticks going.
    fn feed_back_idle(&mut self, now: Time, receipt: bool) {
        let busy_until = self.busy_until;
        self.feed_back(now, receipt);
        self.busy_until = busy_until;
    }
}
