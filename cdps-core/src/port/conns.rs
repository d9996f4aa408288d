//! The connections of a port's paths: dialled, up, lost (T2, T4).

use super::decision::Trigger;
use super::event::Action;
use super::path::{Conn, Dial, Path};
use super::state::State;
use super::{Payload, Port};
use crate::cluster::{Health, LinkState, OneWay};
use crate::config::Liveness;
use crate::id::{ConnId, PathId, Side};
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// A connection that lived shorter counts as a failed dial, so that one that breaks at once is not redialled in a loop.
const SETTLED: Duration = Duration::from_secs(1);

impl<S: Payload, R: Clone> Port<S, R> {
    /// Asks for the next connection of a path.
    pub(super) fn dial(&mut self, at: usize) {
        let (Some(node), session, generation, secret) =
            (self.peer, self.session, self.generation, self.secret)
        else {
            return;
        };
        let path = &mut self.paths[at];
        let Some(remote) = path.remote else { return };
        path.last_conn = ConnId(path.last_conn.0 + 1);
        path.dial = Dial::Dialling { conn: path.last_conn };
        let (local, conn, path) = (path.local, path.last_conn, path.id);
        self.actions.push_back(Action::Dial { path, conn, session, generation, node, local, remote, secret });
    }

    /// A data connection has finished its handshake.
    pub fn handle_conn_up(&mut self, now: Time, path: PathId, conn: ConnId) {
        match self.side {
            Side::Source => {
                let Some(at) = self.path_index(path) else { return };
                if !matches!(self.paths[at].dial, Dial::Dialling { conn: c } if c == conn) {
                    return;
                }
                self.paths[at].up(conn, now);
                self.end_grace(now);
                self.come_up(now, at);
                self.try_complete(now);
            }
            Side::Target => {
                if self.state != State::ConnectedTo {
                    return;
                }
                let at = self.path_index(path).unwrap_or_else(|| {
                    self.paths.push(Path::passive(path));
                    self.paths.len() - 1
                });
                if let Some(former) = self.paths[at].conn().map(|c| c.id) {
                    self.actions.push_back(Action::Hangup { path, conn: former, farewell: None });
                    self.drop_conn(now, at, Reason::ConnectionLost);
                }
                let first = self.paths_up() == 0 && self.paths.iter().all(|p| p.last_conn.0 == 0);
                let first = first && self.kept.is_none();
                self.paths[at].up(conn, now);
                self.owe_ledger(at);
                if first {
                    self.say_connected();
                }
                self.come_up(now, at);
            }
        }
    }

    /// A connection is usable: its first frame goes out, and whatever waited for a path.
    pub(super) fn come_up(&mut self, now: Time, at: usize) {
        self.last_contact = now;
        self.kick(at);
        if self.attempt.is_none() {
            self.show_health(now, at, Reason::None);
        }
        if self.receiver.unconfirmed() || self.receiver.has_gaps() || self.lazy_receipt {
            self.receiver.rewind_completions();
            self.feed_back(now, true);
        }
        self.offer(now);
        self.rearm(now);
    }

    /// A connection ended, or could not be made.
    pub fn handle_conn_lost(&mut self, now: Time, path: PathId, conn: ConnId, reason: Reason) {
        let Some(at) = self.path_index(path) else { return };
        match &self.paths[at].dial {
            Dial::Dialling { conn: c } if *c == conn => {
                self.paths[at].failures += 1;
                self.wait_to_dial(now, at);
            }
            Dial::Up(up) if up.id == conn => self.drop_conn(now, at, reason),
            Dial::Dialling { .. } | Dial::Up(_) | Dial::Wait { .. } | Dial::Passive => return,
        }
        // The target itself says that there is no such session: nothing of it can be delivered there any more.
        let denied = matches!(
            reason,
            Reason::UnknownSession | Reason::StaleGeneration | Reason::BadProof | Reason::Superseded
        );
        if self.side == Side::Source && denied {
            self.lose_target(now, Trigger::Denied(reason));
        }
        self.rearm(now);
    }

    /// The connection of a path is gone: what it carried goes again elsewhere.
    pub(super) fn drop_conn(&mut self, now: Time, at: usize, reason: Reason) {
        let dial = match self.side {
            Side::Source => Dial::Wait { at: now },
            Side::Target => Dial::Passive,
        };
        // Given up because nothing came, or nothing arrived: that may have a name (T5).
        let named = self.paths[at].one_way().filter(|_| reason == Reason::Unreachable);
        let reason = named.map_or(reason, OneWay::reason);
        let Dial::Up(conn) = std::mem::replace(&mut self.paths[at].dial, dial) else { return };
        self.stats.path_losses += 1;
        self.take_back(at, &conn);
        let path = &mut self.paths[at];
        let link_lost = path.link_lost || reason == Reason::Unreachable || named.is_some();
        path.rejoin.died(now, link_lost, &self.config.liveness);
        path.failures = if now.since(conn.since) < SETTLED { path.failures + 1 } else { 0 };
        let id = path.id;
        self.kicks &= !(1 << id.0);
        if self.paths_up() == 0 {
            self.pathless_since = now;
            self.hasten_dials(now);
        }
        self.wait_to_dial(now, at);
        self.show_health(now, at, reason);
        // Receipts and acknowledgments that were on it may be lost.
        self.receiver.rewind_completions();
        self.feed_back(now, true);
        self.offer(now);
    }

    pub(super) fn take_back(&mut self, at: usize, conn: &Conn) {
        for flight in conn.flights.iter().filter(|f| !f.moved) {
            self.sender.send_again(flight);
            self.paths[at].retransmitted += 1;
        }
    }

    /// When a path is dialled next: at once after a break, else after a random share of a doubling wait (T4).
    fn wait_to_dial(&mut self, now: Time, at: usize) {
        if self.side == Side::Target {
            return;
        }
        let live = &self.config.liveness;
        let failures = self.paths[at].failures;
        let wait = match failures {
            0 => Duration::ZERO,
            n => {
                let longest = if self.paths_up() == 0 { pathless_redial(live) } else { live.redial_max };
                let ceiling = (live.redial_min * (1 << (n - 1).min(16))).min(longest);
                let millis = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX).max(1);
                Duration::from_millis(1 + self.prng.below(millis))
            }
        };
        self.paths[at].dial = Dial::Wait { at: now + wait };
    }

    /// The last path is gone: the others are not left to a wait that was chosen while there was one.
    pub(super) fn hasten_dials(&mut self, now: Time) {
        let latest = now + pathless_redial(&self.config.liveness);
        for path in &mut self.paths {
            if let Dial::Wait { at } = &mut path.dial {
                *at = (*at).min(latest);
            }
        }
    }

    /// The link that a path runs over has changed.
    pub fn handle_link(&mut self, now: Time, path: PathId, state: LinkState) {
        let Some(at) = self.path_index(path) else { return };
        let of = &mut self.paths[at];
        of.link_suspect = match state.health {
            Health::Good => false,
            Health::Suspect | Health::Dead => true,
        };
        of.link_lost = state.health == Health::Dead;
        of.unheard = state.one_way == Some(OneWay::Out);
        of.rejoin.link_changed(now, state.health, &self.config.liveness);
        if state.health == Health::Dead {
            if let Some(conn) = self.paths[at].conn().map(|c| c.id) {
                self.actions.push_back(Action::Hangup { path, conn, farewell: None });
                self.paths[at].failures = self.paths[at].failures.max(1);
                self.drop_conn(now, at, Reason::Unreachable);
            }
            self.paths[at].link_suspect = false;
        } else {
            self.show_health(now, at, Reason::Unreachable);
        }
        self.rearm(now);
    }
}

/// Longest wait between dials while no path is up: several have to fit into the time after which the target is given up (F1).
fn pathless_redial(live: &Liveness) -> Duration {
    live.redial_max.min(live.dead / 8)
}
