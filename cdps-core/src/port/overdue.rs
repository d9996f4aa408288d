//! A user at the other end that does not acknowledge (A6).
//!
//! No message has a timer or a time of its own. What has been received is known by a number below which everything has; a few samples of
//! that number, with their times, say which messages were received long ago. Only the oldest of them is looked at, so that a user that
//! hangs with a million messages is one event, not a million.

use std::collections::VecDeque;

use super::decision::Trigger;
use super::event::Event;
use super::state::{Link, State};
use super::{Payload, Port};
use crate::config::OnUserAckTimeout;
use crate::id::{Side, Sn, StreamId};
use crate::time::{Duration, Time};

/// Samples in one timeout: an event comes late by this part of it at most, and by a tick.
const SAMPLES: usize = 8;

/// What is known of messages that wait for the user at the other end.
#[derive(Default)]
pub(super) struct Overdue {
    /// When so much was known to be received, oldest first. At most [`SAMPLES`] and one.
    samples: VecDeque<(Time, Sn)>,
    /// Everything up to here was received a timeout ago.
    ripe: Sn,
    /// When the sample was taken that `ripe` is of.
    ripe_since: Time,
    /// Everything up to here has ended or has been named, in whatever generation.
    past: Sn,
    /// The message that was named last in this generation. No other one is until it has ended.
    named: Option<Sn>,
    /// What was given to send when the connection was taken down for its user last, and has not ended since.
    excused: Option<Sn>,
    looked_at: Time,
}

/// A message that its user should have acknowledged by now.
struct Late {
    sn: Sn,
    stream: StreamId,
    waited: Duration,
}

impl Overdue {
    /// Since when the message that was named last has waited, at least.
    pub(super) fn since(&self) -> Time {
        self.ripe_since
    }

    /// Another generation begins: nothing has been received in it.
    pub(super) fn restart(&mut self) {
        self.samples.clear();
        self.ripe = Sn(0);
        self.named = None;
    }

    /// Time that is held against nobody.
    pub(super) fn forgive(&mut self, now: Time, time: Duration) {
        for (at, _) in &mut self.samples {
            *at = (*at + time).min(now);
        }
        self.ripe_since = (self.ripe_since + time).min(now);
        self.looked_at = (self.looked_at + time).min(now);
    }

    /// Forgives the time since this was looked at last.
    pub(super) fn skip(&mut self, now: Time) {
        self.forgive(now, now.since(self.looked_at));
    }

    /// Notes what has been received, and by when what was received before should have been acknowledged.
    fn sample(&mut self, now: Time, received: Sn, timeout: Duration, step: Duration) {
        while let Some(&(at, sn)) = self.samples.front()
            && now.since(at) >= timeout
        {
            (self.ripe, self.ripe_since) = (sn, at);
            self.samples.pop_front();
        }
        let last = self.samples.back().copied().unwrap_or((Time::ZERO, self.ripe));
        if received > last.1 && now >= last.0 + step && self.samples.len() <= SAMPLES {
            self.samples.push_back((now, received));
        }
    }

    /// When something may come of looking again.
    fn deadline(&self, timeout: Duration, step: Duration) -> Time {
        let ripens = self.samples.front().map_or(Time::NEVER, |s| s.0 + timeout);
        ripens.min(self.looked_at + step)
    }
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// When to look again: [`Time::NEVER`] if nobody is waited for.
    pub(super) fn overdue_deadline(&self) -> Time {
        match self.config.user_ack_timeout {
            Some(timeout) if self.awaits_user() && self.sender.has_unfinished_out() => {
                let step = self.overdue_step(timeout);
                // Without a path nothing ripens: the time is forgiven, a step at a time.
                if self.paths_up() == 0 {
                    self.overdue.looked_at + step
                } else {
                    self.overdue.deadline(timeout, step)
                }
            }
            Some(_) | None => Time::NEVER,
        }
    }

    fn overdue_step(&self, timeout: Duration) -> Duration {
        (timeout / SAMPLES as u32).max(self.tick)
    }

    /// There is a session, and its user can be heard.
    fn awaits_user(&self) -> bool {
        let in_session = matches!(self.state, State::Connected | State::Stopped | State::ConnectedTo);
        in_session && self.link == Link::Up
    }

    /// Says that the user at the other end owes an acknowledgment for longer than the timeout, and acts on it.
    pub(super) fn tend_overdue(&mut self, now: Time) {
        let Some(timeout) = self.config.user_ack_timeout else { return };
        if self.grace.is_some() || (self.awaits_user() && self.paths_up() == 0) {
            // What was acknowledged cannot be heard.
            return self.overdue.skip(now);
        }
        self.overdue.looked_at = now;
        if !self.awaits_user() {
            return;
        }
        if self.overdue.excused.is_some_and(|last| self.sender.oldest() > last) {
            // What waited behind a slow message of then has its full time from here on.
            self.overdue.excused = None;
            self.overdue.samples.clear();
            self.overdue.ripe = Sn(0);
        }
        let step = self.overdue_step(timeout);
        self.overdue.sample(now, self.sender.cumulative(), timeout, step);
        let Some(Late { sn, stream, waited }) = self.next_overdue(now) else { return };
        self.events.push(Event::Overdue { sn, stream, waited });
        match self.config.on_user_ack_timeout {
            OnUserAckTimeout::Event => {}
            OnUserAckTimeout::Down if self.side == Side::Target || self.overdue.excused.is_some() => {}
            OnUserAckTimeout::Down => {
                self.overdue.excused = Some(self.sender.newest());
                self.lose_target(now, Trigger::NoUserAck);
            }
        }
    }

    /// The oldest message that is overdue, if it has not been named, and nothing older that was is still waited for.
    fn next_overdue(&mut self, now: Time) -> Option<Late> {
        let overdue = &mut self.overdue;
        if overdue.ripe <= overdue.past || overdue.named.is_some_and(|sn| self.sender.awaits_ack(sn)) {
            return None;
        }
        let found = self.sender.first_unacknowledged(overdue.past.next(), overdue.ripe);
        overdue.past = found.map_or(overdue.ripe, |f| f.0);
        let (sn, stream) = found?;
        overdue.named = Some(sn);
        Some(Late { sn, stream, waited: now.since(overdue.ripe_since) })
    }
}
