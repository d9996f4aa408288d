//! What time makes a node do: beats, probes, verdicts, dials; and what it does when it was late itself (T5, T9).

use super::link::{Due, Link, Loss, Verdict};
use super::{LinkKey, Node};
use crate::reason::Reason;
use crate::time::{Duration, Time};

impl Node {
    /// Time has passed. Costs next to nothing when nothing is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.enter(now);
        while self.judge(now) {}
        self.redial(now);
        self.beat(now);
    }

    /// When [`Node::handle_timeout`] is to be called next; [`Time::NEVER`] if nothing is going on. Later than the last call of it.
    #[must_use]
    pub fn poll_timeout(&self) -> Time {
        let beat = if self.has_dialled_connection() { self.next_beat } else { Time::NEVER };
        let liveness = &self.config.liveness;
        self.links.values().fold(beat, |earliest, link| earliest.min(link.deadline(liveness)))
    }

    /// Begins a call. Each of them may be the first after a pause of this process, or of the whole machine: what was read only now must
    /// not be held against anybody (T9). Leases are never moved: they run on real time.
    pub(super) fn enter(&mut self, now: Time) {
        self.in_batch = false;
        let late = self.lateness(now);
        if late <= self.config.liveness.heartbeat {
            return;
        }
        self.excused = now;
        self.counters.late += 1;
        let Node { links, outputs, config, .. } = self;
        for (key, link) in links {
            link.excuse(now, late, &config.liveness);
            if let Some(conn) = link.conn_mut() {
                conn.kick(*key, outputs);
            }
        }
        // That was the beat.
        self.align_beat(now);
    }

    /// By how much this call comes later than the node had asked for.
    fn lateness(&self, now: Time) -> Duration {
        now.since(self.poll_timeout().max(self.excused))
    }

    pub(super) fn has_dialled_connection(&self) -> bool {
        self.links.values().any(|link| link.dialler.is_some() && link.conn().is_some())
    }

    /// Says what is due; true if there was something. A check counts once at a time and a verdict makes things worse, so this ends.
    fn judge(&mut self, now: Time) -> bool {
        let liveness = &self.config.liveness;
        let due: Vec<(LinkKey, Due)> =
            self.links.iter().filter_map(|(key, link)| Some((*key, link.due(now, liveness)?))).collect();
        for &(key, due) in &due {
            let Some(link) = self.links.get_mut(&key) else { continue };
            match due {
                Due::Check => link.check(now),
                Due::Verdict(Verdict::Suspect) => {
                    link.suspect();
                    self.settle(now, key);
                }
                Due::Verdict(Verdict::Unheard) => {
                    link.unheard();
                    self.settle(now, key);
                }
                Due::Verdict(Verdict::Broken) => {
                    link.pronounce_dead();
                    self.settle(now, key);
                }
                Due::Verdict(Verdict::Silent) => self.lose(now, key, Loss::Silent, Reason::Timeout),
                Due::Verdict(Verdict::Slow) => self.lose(now, key, Loss::Slow, Reason::DialFailed),
            }
        }
        !due.is_empty()
    }

    fn redial(&mut self, now: Time) {
        let due: Vec<LinkKey> =
            self.links.iter().filter_map(|(key, link)| link.wants_dial(now).then_some(*key)).collect();
        for key in due {
            self.dial(now, key);
        }
    }

    /// All dialled links beat together, so that they cost one wake-up; an acceptor asks only after a silence.
    fn beat(&mut self, now: Time) {
        let due = self.has_dialled_connection() && self.next_beat <= now;
        let Node { links, outputs, config, .. } = self;
        for (key, link) in links {
            let asks = if link.dialler.is_some() {
                due && ask(link, now)
            } else {
                link.probe_if_due(now, &config.liveness)
            };
            if let (true, Some(conn)) = (asks, link.conn_mut()) {
                conn.kick(*key, outputs);
            }
        }
        if due {
            self.align_beat(now);
        }
    }

    /// Moves the beat on, without a drift, and never into the past.
    pub(super) fn align_beat(&mut self, now: Time) {
        let heartbeat = self.config.liveness.heartbeat;
        if self.next_beat <= now {
            self.next_beat = self.next_beat + heartbeat;
        }
        if self.next_beat <= now {
            self.next_beat = now + heartbeat;
        }
    }
}

fn ask(link: &mut Link, now: Time) -> bool {
    let Some(conn) = link.conn_mut() else { return false };
    conn.pulse.ask(now);
    true
}
