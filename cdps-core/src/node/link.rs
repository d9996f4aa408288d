//! One link as this node sees it: its connection, its health, and when it is dialled again (T3, T4).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::pulse::{Echo, Pulse};
use super::rtt::Rtt;
use super::{LinkKey, Output};
use crate::cluster::{Health, LinkState, OneWay};
use crate::config::Liveness;
use crate::id::{Incarnation, NodeId};
use crate::prng::Prng;
use crate::reason::Reason;
use crate::time::{Duration, Time, nanos};
use crate::wire::{Heartbeat, NodeBody, NodeMessage};

/// Node messages that may wait on a connection; the oldest is dropped for one more.
pub(super) const MAX_WAITING_MESSAGES: usize = 64;

/// Messages of a peer that are kept until it has proved to be who it claims to be; further ones are dropped.
const MAX_UNBELIEVED: usize = 16;

/// Changes of the round-trip time alone are told at most this often.
const RTT_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A link, dialled or accepted.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    /// What to dial; `None`: the peer dials.
    pub(super) dialler: Option<Dialler>,
    pub(super) phase: Phase,
    pub(super) health: Health,
    /// The direction that is lost, since it is not good (T5).
    one_way: Option<OneWay>,
    /// Why it has no connection, or lost the former one.
    pub(super) reason: Reason,
    rtt: Rtt,
    /// Since when nothing was answered; only while it is suspect because it lost a connection.
    broken_since: Option<Time>,
    /// No verdict before this moment (T9).
    judge_after: Time,
    /// When the caller was last made to look what has arrived, before a verdict.
    checked: Time,
    reported: LinkState,
    reported_at: Time,
}

/// The dialling end of a link.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) local: Option<IpAddr>,
    pub(super) remote: SocketAddr,
    /// How many paths use it.
    pub(super) watchers: u32,
    /// The member list wants it.
    pub(super) member: bool,
    /// Dials in a row that gave no lasting connection.
    failures: u32,
}

/// Whether there is a connection.
#[derive(Debug)]
pub(super) enum Phase {
    /// None. A dialler tries again at `retry`; an acceptor waits.
    Down { retry: Time },
    /// The driver dials.
    Dialling { conn: u32, since: Time },
    /// Handshake done.
    Up(Box<Conn>),
}

/// A control connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) serial: u32,
    /// Of the peer, as it claims. Believed when it is the known one, or when a heartbeat has proved it to be newer.
    pub(super) incarnation: Incarnation,
    since: Time,
    /// A heartbeat sent on it has been answered.
    proven: bool,
    pub(super) pulse: Pulse,
    /// When an acceptor probes by itself; never for a dialler, whose probes go with the node's beat.
    next_probe: Time,
    messages: VecDeque<NodeMessage>,
    /// What a peer said that is not yet believed to be who it claims to be.
    unbelieved: Vec<NodeBody>,
    /// Serial of the last standing revocation that was sent on it.
    pub(super) revoked: u64,
    /// The driver was told to poll, and has not polled it empty yet.
    kicked: bool,
}

/// How a connection, or an attempt to make one, ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Loss {
    /// The driver lost it.
    Broken,
    /// The dialler made a new one.
    Replaced,
    /// The peer broke the protocol on it, or was not the one that was meant.
    Faulty,
    /// Judged dead.
    Silent,
    /// The dial took too long.
    Slow,
    /// The peer is another incarnation now.
    Restarted,
}

/// What time alone has made true of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// A probe is unanswered for too long.
    Suspect,
    /// No contact for the dead time.
    Silent,
    /// No working connection for the dead time.
    Broken,
    /// A dial has not finished in time.
    Slow,
    /// The peer is heard and does not hear this node (T5).
    Unheard,
}

/// What a link needs from the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// A look at what has arrived, before a verdict.
    Check,
    /// A verdict.
    Verdict(Verdict),
}

impl Verdict {
    /// Gravest first.
    const ALL: [Verdict; 5] =
        [Verdict::Silent, Verdict::Slow, Verdict::Broken, Verdict::Suspect, Verdict::Unheard];
}

impl Dialler {
    pub(super) fn new(local: Option<IpAddr>, remote: SocketAddr) -> Dialler {
        Dialler { local, remote, watchers: 0, member: false, failures: 0 }
    }

    /// Full jitter below a ceiling that doubles with every failure (T4).
    fn backoff(&mut self, liveness: &Liveness, prng: &mut Prng) -> Duration {
        let doubled = liveness.redial_min.saturating_mul(1 << self.failures.min(31));
        self.failures = self.failures.saturating_add(1);
        Duration::from_nanos(prng.below(nanos(doubled.min(liveness.redial_max)).saturating_add(1)))
    }
}

impl Conn {
    pub(super) fn new(
        serial: u32,
        incarnation: Incarnation,
        now: Time,
        liveness: &Liveness,
        dialled: bool,
    ) -> Box<Conn> {
        let mut pulse = Pulse::new(now, liveness);
        // Both ends ask at once: a dialler to prove the connection, an acceptor so that its lease does not wait for the next beat (F8).
        pulse.ask(now);
        let next_probe = if dialled { Time::NEVER } else { now + patience(liveness) };
        let messages = VecDeque::new();
        Box::new(Conn {
            serial,
            incarnation,
            since: now,
            proven: false,
            pulse,
            next_probe,
            messages,
            unbelieved: Vec::new(),
            revoked: 0,
            kicked: false,
        })
    }

    /// Tells the driver to poll, unless it has been told.
    pub(super) fn kick(&mut self, key: LinkKey, outputs: &mut VecDeque<Output>) {
        if !self.kicked {
            self.kicked = true;
            outputs.push_back(Output::Transmit { key, conn: self.serial });
        }
    }

    /// The driver has polled everything.
    pub(super) fn polled_empty(&mut self) {
        self.kicked = false;
    }

    /// Queues a message; gives back how many were dropped for it.
    pub(super) fn queue(&mut self, message: NodeMessage) -> u64 {
        let full = self.messages.len() >= MAX_WAITING_MESSAGES;
        if full {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
        u64::from(full)
    }

    /// Keeps what an unproved peer says. False if there is no room.
    pub(super) fn keep_unbelieved(&mut self, body: NodeBody) -> bool {
        let room = self.unbelieved.len() < MAX_UNBELIEVED;
        if room {
            self.unbelieved.push(body);
        }
        room
    }

    /// What it said before it was believed.
    pub(super) fn take_unbelieved(&mut self) -> Vec<NodeBody> {
        std::mem::take(&mut self.unbelieved)
    }

    pub(super) fn next_message(&mut self) -> Option<NodeMessage> {
        self.messages.pop_front()
    }

    /// Anything was heard: an acceptor's own probe is not needed for a while.
    fn heard(&mut self, now: Time, liveness: &Liveness) {
        self.pulse.touch(now);
        if self.next_probe != Time::NEVER {
            self.next_probe = now + patience(liveness);
        }
    }
}

impl Link {
    pub(super) fn new(node: NodeId, dialler: Option<Dialler>) -> Link {
        Link {
            node,
            dialler,
            phase: Phase::Down { retry: Time::NEVER },
            health: Health::Dead,
            one_way: None,
            reason: Reason::None,
            rtt: Rtt::default(),
            broken_since: None,
            judge_after: Time::ZERO,
            checked: Time::ZERO,
            reported: LinkState::DEAD,
            reported_at: Time::ZERO,
        }
    }

    pub(super) fn state(&self) -> LinkState {
        LinkState { health: self.health, rtt: self.rtt.smoothed(), one_way: self.one_way }
    }

    pub(super) fn conn(&self) -> Option<&Conn> {
        match &self.phase {
            Phase::Up(conn) => Some(conn),
            Phase::Down { .. } | Phase::Dialling { .. } => None,
        }
    }

    pub(super) fn conn_mut(&mut self) -> Option<&mut Conn> {
        match &mut self.phase {
            Phase::Up(conn) => Some(conn),
            Phase::Down { .. } | Phase::Dialling { .. } => None,
        }
    }

    /// Serial of the connection, or of the attempt to make one.
    pub(super) fn serial(&self) -> Option<u32> {
        match &self.phase {
            Phase::Up(conn) => Some(conn.serial),
            Phase::Dialling { conn, .. } => Some(*conn),
            Phase::Down { .. } => None,
        }
    }

    /// Nobody wants it any more.
    pub(super) fn is_unwanted(&self) -> bool {
        match &self.dialler {
            Some(dialler) => dialler.watchers == 0 && !dialler.member,
            None => self.health == Health::Dead && self.conn().is_none(),
        }
    }

    /// The health that was told last.
    pub(super) fn reported_health(&self) -> Health {
        self.reported.health
    }

    /// The state, if it is worth telling: another health or direction of loss, or now and then another round-trip time.
    pub(super) fn report(&mut self, now: Time) -> Option<LinkState> {
        let state = self.state();
        let moved = match (state.rtt, self.reported.rtt) {
            (Some(new), Some(old)) => new.abs_diff(old) > old / 4,
            (new, old) => new != old,
        };
        let due = moved && state.health == Health::Good && now.since(self.reported_at) >= RTT_REPORT_INTERVAL;
        let same = (state.health, state.one_way) == (self.reported.health, self.reported.one_way);
        if same && !due {
            return None;
        }
        self.reported = state;
        self.reported_at = now;
        Some(state)
    }

    /// A connection is there. It counts for nothing until a heartbeat on it has been answered.
    pub(super) fn joined(&mut self, conn: Box<Conn>) {
        self.phase = Phase::Up(conn);
    }

    /// Takes a heartbeat that came on the connection.
    pub(super) fn hear(
        &mut self,
        now: Time,
        beat: &Heartbeat,
        liveness: &Liveness,
    ) -> Result<Option<Echo>, Reason> {
        let reach = self.rtt.reach(liveness);
        let Phase::Up(conn) = &mut self.phase else { return Ok(None) };
        let echo = conn.pulse.hear(now, beat, reach)?;
        conn.heard(now, liveness);
        Ok(echo)
    }

    /// The connection works both ways: something sent on it came back.
    pub(super) fn prove(&mut self, now: Time, rtt: Option<Duration>, liveness: &Liveness) {
        let Phase::Up(conn) = &mut self.phase else { return };
        if let Some(rtt) = rtt {
            self.rtt.sample(rtt, liveness);
        }
        conn.proven = true;
        self.broken_since = None;
        if conn.pulse.suspect_at(self.rtt.limit(liveness), patience(liveness)) > now {
            self.health = Health::Good;
            self.one_way = None;
        }
    }

    /// Something else came on the connection.
    pub(super) fn touch(&mut self, now: Time, liveness: &Liveness) {
        if let Phase::Up(conn) = &mut self.phase {
            conn.heard(now, liveness);
        }
    }

    /// Sends the acceptor's own probe if it is due.
    pub(super) fn probe_if_due(&mut self, now: Time, liveness: &Liveness) -> bool {
        let Phase::Up(conn) = &mut self.phase else { return false };
        if conn.next_probe > now {
            return false;
        }
        conn.pulse.ask(now);
        conn.next_probe = now + liveness.heartbeat;
        true
    }

    /// The connection, or the attempt to make one, is over.
    pub(super) fn lose(
        &mut self,
        now: Time,
        loss: Loss,
        reason: Reason,
        liveness: &Liveness,
        prng: &mut Prng,
    ) {
        match loss {
            Loss::Broken | Loss::Replaced | Loss::Faulty | Loss::Slow => {
                // Contact ended with the last answer, not with the news of the break.
                let since = self.conn().map_or(now, |conn| conn.pulse.answered().max(now - liveness.dead));
                if self.health != Health::Dead {
                    self.health = Health::Suspect;
                    self.broken_since.get_or_insert(since);
                }
            }
            Loss::Silent => self.pronounce_dead(),
            Loss::Restarted => {
                self.pronounce_dead();
                self.one_way = None;
            }
        }
        self.reason = reason;
        if loss == Loss::Restarted && matches!(self.phase, Phase::Dialling { .. }) {
            return;
        }
        let retry = self.next_dial(now, loss, liveness, prng);
        self.phase = Phase::Down { retry };
    }

    pub(super) fn pronounce_dead(&mut self) {
        self.health = Health::Dead;
        self.broken_since = None;
    }

    /// At once after a connection that worked, else later and later. A link that breaks again and again right after it was made is
    /// treated like one that can not be made.
    fn next_dial(&mut self, now: Time, loss: Loss, liveness: &Liveness, prng: &mut Prng) -> Time {
        let worked = self.conn().is_some_and(|conn| conn.proven);
        let lasted =
            self.conn().is_some_and(|conn| conn.proven && now.since(conn.since) >= liveness.heartbeat);
        let Some(dialler) = &mut self.dialler else { return Time::NEVER };
        let at_once = match loss {
            Loss::Broken | Loss::Replaced => lasted,
            Loss::Silent => worked,
            Loss::Faulty | Loss::Slow => false,
            Loss::Restarted => true,
        };
        if at_once {
            dialler.failures = 0;
            now
        } else {
            now + dialler.backoff(liveness, prng)
        }
    }

    /// The peer is heard again elsewhere: a long wait is cut short.
    pub(super) fn hasten(&mut self, now: Time, liveness: &Liveness, prng: &mut Prng) {
        if let (Some(dialler), Phase::Down { retry }) = (&mut self.dialler, &mut self.phase) {
            dialler.failures = 0;
            *retry = (*retry).min(now + dialler.backoff(liveness, prng));
        }
    }

    pub(super) fn wants_dial(&self, now: Time) -> bool {
        matches!(self.phase, Phase::Down { retry } if retry <= now)
    }

    /// What is to be said of it now.
    pub(super) fn due(&self, now: Time, liveness: &Liveness) -> Option<Due> {
        let due = Verdict::ALL.map(|verdict| self.due_at(verdict, liveness)).into_iter();
        let mut due = due.filter(|(at, _)| *at <= now).map(|(_, due)| due);
        let first = due.next()?;
        // A check would put off what is due already.
        Some(if first == Due::Check {
            due.find(|other| *other != Due::Check).unwrap_or(first)
        } else {
            first
        })
    }

    /// When a verdict is due. The caller is always woken a little before, and once more: what arrived while it slept longer than it meant
    /// to, or while the machine was busy elsewhere, is read in between (T9).
    fn due_at(&self, verdict: Verdict, liveness: &Liveness) -> (Time, Due) {
        let at = self.verdict_at(verdict, liveness);
        let little = liveness.heartbeat / 8;
        if at == Time::NEVER || verdict == Verdict::Slow {
            (at, Due::Verdict(verdict))
        } else if self.checked < at - little {
            (at - little, Due::Check)
        } else {
            (at.max(self.checked + little), Due::Verdict(verdict))
        }
    }

    /// The caller was woken before a verdict.
    pub(super) fn check(&mut self, now: Time) {
        self.checked = now;
    }

    fn verdict_at(&self, verdict: Verdict, liveness: &Liveness) -> Time {
        let at = match (verdict, &self.phase) {
            (Verdict::Suspect, Phase::Up(conn)) if self.health == Health::Good => {
                conn.pulse.suspect_at(self.rtt.limit(liveness), patience(liveness))
            }
            (Verdict::Silent, Phase::Up(conn)) => conn.pulse.dead_at(liveness.dead, liveness.heartbeat / 2),
            (Verdict::Slow, Phase::Dialling { since, .. }) => *since + liveness.handshake_timeout,
            (Verdict::Broken, _) => self.broken_since.map_or(Time::NEVER, |since| since + liveness.dead),
            // A little later: a peer that was frozen says so before it has read what came meanwhile.
            (Verdict::Unheard, Phase::Up(conn))
                if self.health == Health::Suspect && self.one_way.is_none() =>
            {
                conn.pulse.unheard().map_or(Time::NEVER, |since| since + liveness.heartbeat / 4)
            }
            (Verdict::Suspect | Verdict::Silent | Verdict::Slow | Verdict::Unheard, _) => Time::NEVER,
        };
        at.max(self.judge_after)
    }

    /// When something could be true of it that is not true now, or something is to be done for it.
    pub(super) fn deadline(&self, liveness: &Liveness) -> Time {
        let work = match &self.phase {
            Phase::Down { retry } => *retry,
            Phase::Dialling { .. } => Time::NEVER,
            Phase::Up(conn) => conn.next_probe,
        };
        Verdict::ALL.iter().fold(work, |earliest, verdict| earliest.min(self.due_at(*verdict, liveness).0))
    }

    pub(super) fn suspect(&mut self) {
        self.health = Health::Suspect;
    }

    /// The peer does not hear what is sent here. That stands until it does, also when the link is dead: the other direction, which works,
    /// proves nothing.
    pub(super) fn unheard(&mut self) {
        self.one_way = Some(OneWay::Out);
    }

    /// This node was late: leaves the gap out of the reckoning and probes once more before any verdict (T9).
    pub(super) fn excuse(&mut self, now: Time, late: Duration, liveness: &Liveness) {
        self.judge_after = now + self.rtt.limit(liveness);
        let moved = |at: Time| (at + late).min(now);
        self.broken_since = self.broken_since.map(moved);
        match &mut self.phase {
            Phase::Down { .. } => {}
            Phase::Dialling { since, .. } => *since = moved(*since),
            Phase::Up(conn) => {
                conn.pulse.excuse(now, late);
                conn.pulse.ask(now);
                if conn.next_probe != Time::NEVER {
                    conn.next_probe = now + liveness.heartbeat;
                }
            }
        }
    }
}

/// How long an acceptor waits for the dialler's heartbeat before it asks by itself: one and a half intervals.
fn patience(liveness: &Liveness) -> Duration {
    liveness.heartbeat * 3 / 2
}
