//! Heartbeats of one control connection (T3, T5, F8): what was sent, what was echoed, what was heard.
//!
//! Every value here belongs to one connection. A connection delivers in order, so the peer's echoes never go back, and each of them must
//! be a value that was sent on it: an echo that was never sent is refused, or a forger could extend a lease.

use std::collections::VecDeque;

use crate::config::Liveness;
use crate::reason::Reason;
use crate::time::{Duration, Time};
use crate::wire::Heartbeat;

/// Heartbeats that are not echoed yet and are remembered. More only are outstanding if the peer asks for answers and never echoes them.
const MAX_REMEMBERED: usize = 8192;

/// Probes that must be unanswered before silence means death.
const MISSES: u32 = 3;

/// State of the heartbeats of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Sent and not echoed, oldest first, values ascending.
    sent: VecDeque<Sent>,
    remembered_max: usize,
    /// First and last value that had to be dropped from `sent`: an echo between them can not be checked, and has no effect.
    forgotten: (u64, u64),
    /// Newest own value that the peer has echoed.
    echoed: u64,
    /// Newest value heard from the peer. Its clock means nothing here.
    peer_sent: u64,
    peer_sent_at: Time,
    /// When anything was heard; moved when this node was late (T9).
    heard: Time,
    /// When a newer echo came last, or the connection was made; moved likewise.
    answered: Time,
    /// When the peer was first heard to have missed what it should have heard by then; `None` after an answer.
    unheard: Option<Time>,
    waiting: Option<Waiting>,
    count: u64,
    heard_count: u64,
}

/// A heartbeat that was sent and is not echoed.
#[derive(Debug)]
struct Sent {
    value: u64,
    /// What its age is counted from: when it was first and last asked for; moved when this node was late (T9).
    first: Time,
    last: Time,
    /// Probes that it stands for; 0: a mere answer.
    probes: u32,
    /// Whether its echo measures the round trip.
    timed: bool,
}

/// A heartbeat that is to be sent. There is one at most: a later reason to send brings it up to date.
#[derive(Debug)]
struct Waiting {
    built: Time,
    first: Time,
    last: Time,
    probes: u32,
}

/// What an echo proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Echo {
    /// The own value that came back.
    pub(super) value: u64,
    /// Round-trip time, unless this node was late meanwhile.
    pub(super) rtt: Option<Duration>,
}

impl Pulse {
    pub(super) fn new(now: Time, liveness: &Liveness) -> Pulse {
        // Two each interval is the normal pace: one of the dialler's, one answer to the acceptor.
        let intervals = liveness.dead.as_nanos() / liveness.heartbeat.as_nanos().max(1);
        let remembered_max =
            usize::try_from(2 * intervals + 16).map_or(MAX_REMEMBERED, |n| n.min(MAX_REMEMBERED));
        Pulse {
            sent: VecDeque::new(),
            remembered_max,
            forgotten: (0, 0),
            echoed: 0,
            peer_sent: 0,
            peer_sent_at: now,
            heard: now,
            answered: now,
            unheard: None,
            waiting: None,
            count: 0,
            heard_count: 0,
        }
    }

    /// A heartbeat that asks for an answer is due.
    pub(super) fn ask(&mut self, now: Time) {
        match &mut self.waiting {
            Some(waiting) if waiting.probes > 0 => {
                waiting.built = now;
                waiting.last = now;
                waiting.probes = waiting.probes.saturating_add(1);
            }
            Some(_) | None => {
                self.waiting = Some(Waiting { built: now, first: now, last: now, probes: 1 });
            }
        }
    }

    fn answer(&mut self, now: Time) {
        match &mut self.waiting {
            Some(waiting) => waiting.built = now,
            None => self.waiting = Some(Waiting { built: now, first: now, last: now, probes: 0 }),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The heartbeat that is to be sent, if there is one. From here on it counts as sent.
    pub(super) fn take(&mut self) -> Option<Heartbeat> {
        let Waiting { built, first, last, probes } = self.waiting.take()?;
        let value = built.0.max(1);
        match self.sent.back_mut() {
            // Two within a nanosecond, as a simulator has them: an echo of the one is an echo of the other.
            Some(back) if back.value >= value => {
                back.probes = back.probes.saturating_add(probes);
                back.last = last;
            }
            Some(_) | None => {
                let mut sent = Sent { value, first, last, probes, timed: true };
                if self.sent.len() >= self.remembered_max {
                    self.forget_newest(&mut sent);
                }
                self.sent.push_back(sent);
            }
        }
        self.count += 1;
        let (echo, held) = match self.peer_sent {
            0 => (0, 0),
            peer_sent => (peer_sent, built.0.saturating_sub(self.peer_sent_at.0)),
        };
        Some(Heartbeat {
            reply: probes > 0,
            sent: value,
            echo,
            held,
            count: self.count,
            heard: self.heard_count,
        })
    }

    /// Makes room for another one, which takes the place of the newest. The oldest stay: they tell how long nothing was answered.
    fn forget_newest(&mut self, heir: &mut Sent) {
        let Some(newest) = self.sent.pop_back() else { return };
        heir.first = newest.first;
        heir.probes = heir.probes.saturating_add(newest.probes);
        let from = if self.forgotten.1 <= self.echoed { newest.value } else { self.forgotten.0 };
        self.forgotten = (from, newest.value);
    }

    /// Takes a heartbeat of the peer. Some if it echoes a newer value than any before. What is sent should reach the peer within `reach`.
    pub(super) fn hear(
        &mut self,
        now: Time,
        beat: &Heartbeat,
        reach: Duration,
    ) -> Result<Option<Echo>, Reason> {
        if beat.sent == 0 {
            return Err(Reason::ProtocolError);
        }
        let echo = self.check_echo(now, beat)?;
        self.note_unheard(now, beat, reach);
        self.peer_sent = beat.sent;
        self.peer_sent_at = now;
        self.heard_count += 1;
        self.touch(now);
        if beat.reply {
            self.answer(now);
        } else if let Some(waiting) = &mut self.waiting {
            waiting.built = now;
        }
        Ok(echo)
    }

    /// Whether the peer, when it built this heartbeat, had not heard what was sent long before (T5). By this node's clock it was built no
    /// sooner than `held` after the value that it echoes was sent, however long it was on its way itself.
    fn note_unheard(&mut self, now: Time, beat: &Heartbeat, reach: Duration) {
        let built = Time(beat.echo.saturating_add(beat.held));
        let missed = self.sent.front().is_some_and(|sent| beat.echo > 0 && built > Time(sent.value) + reach);
        if missed {
            self.unheard.get_or_insert(now);
        }
    }

    /// Since when the peer is known not to hear what is sent, though it is heard itself.
    pub(super) fn unheard(&self) -> Option<Time> {
        self.unheard
    }

    /// Since when nothing that was sent has been answered.
    pub(super) fn answered(&self) -> Time {
        self.answered
    }

    /// Something was heard.
    pub(super) fn touch(&mut self, now: Time) {
        self.heard = now;
    }

    fn check_echo(&mut self, now: Time, beat: &Heartbeat) -> Result<Option<Echo>, Reason> {
        if beat.echo < self.echoed {
            return Err(Reason::ProtocolError);
        }
        if beat.echo == self.echoed {
            // The same again. It still answers one that went out in the same nanosecond as the one echoed before.
            while self.echoed > 0 && self.sent.front().is_some_and(|sent| sent.value <= beat.echo) {
                self.sent.pop_front();
            }
            return Ok(None);
        }
        match self.sent.binary_search_by_key(&beat.echo, |sent| sent.value) {
            Ok(index) => {
                let rtt = self.sent[index].timed.then(|| {
                    let away = now.since(Time(beat.echo));
                    away.saturating_sub(Duration::from_nanos(beat.held))
                });
                self.sent.drain(..=index);
                self.echoed = beat.echo;
                self.answered = now;
                self.unheard = None;
                Ok(Some(Echo { value: beat.echo, rtt }))
            }
            Err(_) if (self.forgotten.0..=self.forgotten.1).contains(&beat.echo) => Ok(None),
            Err(_) => Err(Reason::ProtocolError),
        }
    }

    /// When the oldest unanswered heartbeat makes the link suspect, if nothing is heard until then. A probe is to be answered at once, an
    /// answer is echoed by the peer's next heartbeat, at the latest `patience` later.
    pub(super) fn suspect_at(&self, limit: Duration, patience: Duration) -> Time {
        let probe = self.sent.iter().find(|sent| sent.probes > 0).map(|sent| sent.first);
        let waiting = self.waiting.as_ref().filter(|waiting| waiting.probes > 0).map(|waiting| waiting.first);
        let answer = self.sent.front().filter(|sent| sent.probes == 0).map(|sent| sent.first + patience);
        [probe.or(waiting), answer].into_iter().flatten().min().map_or(Time::NEVER, |since| since + limit)
    }

    /// When the connection is dead, if nothing is heard until then: nothing was heard for `dead`, or nothing that was sent came back for
    /// that long (the peer does not hear this node); and three heartbeats are unanswered, the last of them for `grace`.
    pub(super) fn dead_at(&self, dead: Duration, grace: Duration) -> Time {
        let silent =
            self.third(|probes| probes).map_or(Time::NEVER, |third| (self.heard + dead).max(third + grace));
        let oldest =
            self.sent.front().map(|sent| sent.first).or(self.waiting.as_ref().map(|waiting| waiting.first));
        let unheard = match (oldest, self.third(|probes| probes.max(1))) {
            (Some(oldest), Some(third)) => (oldest + dead).max(third + grace),
            (Some(_) | None, _) => Time::NEVER,
        };
        silent.min(unheard)
    }

    /// When the third of the heartbeats without an echo was asked for, each counted as `weight` says of its probes.
    fn third(&self, weight: impl Fn(u32) -> u32) -> Option<Time> {
        let sent = self.sent.iter().map(|sent| (sent.probes, sent.last));
        let waiting = self.waiting.iter().map(|waiting| (waiting.probes, waiting.last));
        let mut missed = 0u32;
        sent.chain(waiting).find_map(|(probes, last)| {
            missed = missed.saturating_add(weight(probes));
            (missed >= MISSES).then_some(last)
        })
    }

    /// This node was late: the gap is left out of the reckoning (T9). What was sent keeps its value, and proves no round-trip time.
    pub(super) fn excuse(&mut self, now: Time, late: Duration) {
        let moved = |at: Time| (at + late).min(now);
        for sent in &mut self.sent {
            sent.first = moved(sent.first);
            sent.last = moved(sent.last);
            sent.timed = false;
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.first = moved(waiting.first);
            waiting.last = moved(waiting.last);
        }
        self.heard = moved(self.heard);
        self.answered = moved(self.answered);
        self.unheard = self.unheard.map(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn echo(beat: &Heartbeat) -> Heartbeat {
        Heartbeat { sent: 1, echo: beat.sent, ..Heartbeat::default() }
    }

    /// [T3] Where time stands still between two heartbeats, the echo of one answers both.
    #[test]
    fn heartbeats_of_one_moment_share_an_echo() {
        let live = Liveness::default();
        let now = Time(1_000_000);
        let mut pulse = Pulse::new(now, &live);
        pulse.ask(now);
        let first = pulse.take().unwrap();
        assert!(pulse.hear(now, &echo(&first), MS).unwrap().is_some());
        pulse.ask(now);
        let second = pulse.take().unwrap();
        assert_eq!(first.sent, second.sent);
        assert!(pulse.suspect_at(live.suspect, live.heartbeat) < Time::NEVER);
        assert_eq!(pulse.hear(now, &echo(&second), MS), Ok(None));
        assert_eq!(pulse.suspect_at(live.suspect, live.heartbeat), Time::NEVER);
        assert_eq!(pulse.dead_at(live.dead, MS), Time::NEVER);
    }

    /// [T3] Probes that the driver has not polled count as unanswered: a socket that takes nothing is no sign of life.
    #[test]
    fn probes_that_can_not_leave_are_unanswered() {
        let live = Liveness::default();
        let start = Time(1_000_000);
        let mut pulse = Pulse::new(start, &live);
        for beat in 0..3u32 {
            pulse.ask(start + beat * live.heartbeat);
        }
        assert_eq!(pulse.suspect_at(live.suspect, live.heartbeat), start + live.suspect);
        assert_eq!(pulse.dead_at(live.dead, MS), start + live.dead);
        // The peer still talks; but nothing that is sent comes back.
        pulse.touch(start + live.dead);
        assert_eq!(pulse.dead_at(live.dead, MS), start + live.dead);
        assert_eq!(
            pulse.take().map(|beat| beat.sent),
            Some((start + 2 * live.heartbeat).0),
            "only the newest leaves"
        );
        assert!(pulse.take().is_none());
    }

    /// [S4] What is remembered is bounded; an echo of what was forgotten has no effect, one of what was never sent is refused.
    #[test]
    fn memory_of_what_was_sent_is_bounded() {
        let live = Liveness::default();
        let start = Time(1_000_000);
        let mut pulse = Pulse::new(start, &live);
        let sent: Vec<Heartbeat> = (0..100u32)
            .map(|n| {
                pulse.ask(start + n * MS);
                pulse.take().unwrap()
            })
            .collect();
        assert_eq!(pulse.sent.len(), 2 * 6 + 16);
        let now = start + 200 * MS;
        assert_eq!(
            pulse.hear(now, &echo(&sent[5]), MS).map(|echo| echo.map(|e| e.value)),
            Ok(Some(sent[5].sent))
        );
        assert_eq!(pulse.hear(now, &echo(&sent[60]), MS), Ok(None), "forgotten");
        let forged = Heartbeat { echo: sent[5].sent + 1, ..echo(&sent[5]) };
        assert_eq!(pulse.hear(now, &forged, MS), Err(Reason::ProtocolError));
        assert_eq!(pulse.hear(now, &echo(&sent[99]), MS).map(|echo| echo.is_some()), Ok(true));
        assert!(pulse.sent.is_empty());
        assert_eq!(pulse.hear(now, &echo(&sent[60]), MS), Err(Reason::ProtocolError), "going back");
    }
}
