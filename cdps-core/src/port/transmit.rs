//! What goes on which path next: control first, then what must travel again, then what is new (T1).

use super::path::{Conn, Dial, Path};
use super::sender::MAX_RUN;
use super::state::{Link, State};
use super::{Batch, Event, Outgoing, Payload, Port};
use crate::cluster::{Health, OneWay};
use crate::config::{Balance, PathClass};
use crate::id::{ConnId, PathId, Side};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::{Frame, Opinion, PathRecord, PathStatus, feature};

impl<S: Payload, R: Clone> Port<S, R> {
    /// Fills `batch` with what the connection should write next; false if there is nothing (then the path is idle until it is kicked).
    /// To call it says that everything it gave before for this connection has been written.
    pub fn poll_transmit(&mut self, now: Time, path: PathId, conn: ConnId, batch: &mut Batch<S>) -> bool {
        batch.clear();
        let Some(at) = self.path_index(path) else { return false };
        if self.paths[at].live(conn).is_none() {
            return false;
        }
        self.note_written(at);
        if self.sender.next_expiry() <= now {
            self.expire(now);
        }
        self.put_control(now, at, batch);
        self.put_data(now, at, batch);
        let idle = batch.frames.is_empty();
        if let Some(conn) = self.paths[at].conn_mut() {
            conn.active = !idle;
        }
        if idle {
            self.paths[at].speed.went_idle();
        }
        self.check_drained(now);
        !idle
    }

    fn note_written(&mut self, at: usize) {
        let (paths, sender, events) = (&mut self.paths, &mut self.sender, &mut self.events);
        let Some(conn) = paths[at].conn_mut() else { return };
        for flight in conn.newly_written() {
            sender.written(flight, events);
        }
    }

    fn put_control(&mut self, now: Time, at: usize, batch: &mut Batch<S>) {
        let start = self.sender.start();
        let names_one_way = self.peer_features & feature::ONE_WAY != 0;
        let statuses: Vec<PathId> =
            self.paths[at].conn_mut().map_or_else(Vec::new, |c| std::mem::take(&mut c.status_due));
        for path in statuses {
            let Some(of) = self.path_index(path).map(|k| &self.paths[k]) else { continue };
            let Some(conn) = of.conn().map(|c| c.id) else { continue };
            let opinion = match (of.health(), of.unheard && names_one_way) {
                (Health::Good, _) => Opinion::Good,
                (Health::Suspect | Health::Dead, false) => Opinion::Suspect,
                (Health::Suspect | Health::Dead, true) => Opinion::Unheard,
            };
            let class = match self.side {
                Side::Source => of.class.unwrap_or_default(),
                Side::Target => PathClass::Normal,
            };
            batch.frames.push(Outgoing::Control(Frame::PathStatus(PathStatus {
                path,
                conn,
                opinion,
                class,
                base: start,
            })));
        }
        let Some(due) = self.paths[at].conn_mut().map(|c| std::mem::take(&mut c.due)) else { return };
        if let Some((ack, next)) = due.ledger.and_then(|from| self.ledger_from(from)) {
            batch.frames.push(Outgoing::Control(Frame::ResetAck(ack)));
            if let Some(conn) = self.paths[at].conn_mut() {
                conn.due.ledger = next;
            }
        }
        let completions = due.completions && self.receiver.completions_due();
        if due.receipt || (completions && self.lazy_receipt) {
            self.put_receipt(at, batch);
        }
        if completions {
            batch.frames.push(Outgoing::Control(Frame::Completions(self.receiver.completions())));
            self.completions_by = Some((self.paths[at].id, now));
            if self.receiver.completions_due()
                && let Some(conn) = self.paths[at].conn_mut()
            {
                conn.due.completions = true;
            }
        }
        if due.probe {
            batch.frames.push(Outgoing::Control(Frame::Probe));
        }
        let frames = batch.frames.len() as u64;
        if let Some(conn) = self.paths[at].conn_mut() {
            conn.frames_out += frames;
            if due.probe {
                conn.asked_at.get_or_insert(now);
            }
        }
    }

    /// Each receipt that says something new has a second copy while a path is in doubt (A5), whatever made it due here: a probe, an acknowledgment
    /// that it rides with, or a socket that had no room until now.
    fn put_receipt(&mut self, at: usize, batch: &mut Batch<S>) {
        let news = self.lazy_receipt || self.unreceipted > 0;
        self.lazy_receipt = false;
        self.unreceipted = 0;
        let mut receipt = self.receiver.receipt();
        receipt.paths = self
            .paths
            .iter()
            .filter_map(|p| p.conn().map(|c| PathRecord { path: p.id, conn: c.id, frames: c.frames_in }))
            .collect();
        batch.frames.push(Outgoing::Control(Frame::Receipt(receipt)));
        if news && self.in_doubt {
            self.copy_receipt(at);
        }
    }

    /// A receipt is due on a second path, besides `first`.
    fn copy_receipt(&mut self, first: usize) {
        let Some(second) = self.second_feedback_path(first) else { return };
        if let Some(conn) = self.paths[second].conn_mut() {
            conn.due.receipt = true;
        }
        self.kick(second);
    }

    fn put_data(&mut self, now: Time, at: usize, batch: &mut Batch<S>) {
        if !self.flowing() || !self.sender.has_new() && !self.sender.has_work() || !self.may_carry(at) {
            return;
        }
        if !self.approves(now, at) {
            return;
        }
        let cap = self.paths[at].flight_cap();
        let share = match self.config.balance {
            Balance::Fastest | Balance::RoundRobin => MAX_RUN,
            Balance::Pull => self.share(at).min(MAX_RUN),
        };
        let path = &mut self.paths[at];
        let Dial::Up(conn) = &mut path.dial else { return };
        let room = cap.saturating_sub(conn.in_flight).min(share);
        if room == 0 {
            return;
        }
        if conn.flights.is_empty() {
            conn.progress_at = now;
            conn.probed = false;
        }
        let taken =
            self.sender.take(now, room, self.config.fragment, &mut conn.frames_out, &mut conn.flights, batch);
        conn.in_flight += taken;
        let at_barrier = taken > 0 && self.sender.is_at_barrier();
        let asks = self.sender.starved() && !self.credit_asked;
        if asks {
            self.credit_asked = true;
            self.credit_asked_at = now;
        }
        if asks || at_barrier {
            conn.frames_out += 1;
            conn.asked_at.get_or_insert(now);
            batch.frames.push(Outgoing::Control(Frame::Probe));
        }
        if taken > 0 {
            path.sent_bytes += taken;
            path.speed.started(now);
            if self.config.balance == Balance::RoundRobin {
                self.pass_turn(at);
            }
        }
        if at_barrier {
            self.hasten_receipts(Some(at));
        }
        if self.sender.has_work() {
            self.offer_except(now, Some(at));
        }
    }

    /// A barrier waits for the receipts of all that is on its way (M9): they are asked for, where a receiver might take its time.
    pub(super) fn hasten_receipts(&mut self, except: Option<usize>) {
        if !self.sender.is_at_barrier() {
            return;
        }
        for at in 0..self.paths.len() {
            if let Some(conn) = self.paths[at].conn_mut()
                && Some(at) != except
                && !conn.flights.is_empty()
            {
                conn.due.probe = true;
                self.kick(at);
            }
        }
    }

    /// Whether messages flow at all.
    pub(super) fn flowing(&self) -> bool {
        self.link == Link::Up
            && self.attempt.is_none()
            && matches!(self.state, State::Connected | State::Stopped | State::ConnectedTo)
    }

    /// A good path carries data, a standby one if no normal one is good (T8); if none is good, the one that was heard last carries on (T3).
    fn may_carry(&self, at: usize) -> bool {
        match self.paths[at].health() {
            Health::Good => match self.paths[at].class {
                Some(PathClass::Normal) => true,
                Some(PathClass::Standby) => {
                    let normal = Some(PathClass::Normal);
                    !self.paths.iter().any(|p| p.class == normal && p.health() == Health::Good)
                }
                // The first frame of its connection is about to say.
                None => false,
            },
            Health::Dead => false,
            Health::Suspect => {
                let none_good = self.paths.iter().all(|p| p.health() != Health::Good);
                none_good && self.stands_in(at)
            }
        }
    }

    /// The one on which the peer hears this end, else the one that was heard last; never one on which the peer does not hear this end,
    /// since nothing arrives there, however well it is heard itself (T5).
    pub(super) fn best_suspect(&self) -> Option<usize> {
        let rank = |p: &Path| match p.one_way() {
            Some(OneWay::Out) => None,
            other => p.conn().map(|c| (other.is_some(), c.heard_at)),
        };
        (0..self.paths.len())
            .filter(|k| rank(&self.paths[*k]).is_some())
            .max_by_key(|k| rank(&self.paths[*k]))
    }

    /// Whether this path should take the next data, rather than leave it to a better one.
    fn approves(&self, now: Time, at: usize) -> bool {
        if self.paths.len() == 1 {
            return true;
        }
        match self.config.balance {
            Balance::RoundRobin => self.turn() == Some(at),
            Balance::Pull => true,
            Balance::Fastest => {
                let backlog = self.sender.backlog();
                let mine = self.paths[at].delivery_time(now, backlog.min(MAX_RUN));
                // The others would deliver all that waits before this path delivers its share.
                let better = |k: usize| {
                    let path = &self.paths[k];
                    self.may_carry(k) && path.takes(backlog) && path.delivery_time(now, backlog) < mine
                };
                !(0..self.paths.len()).any(|k| k != at && better(k))
            }
        }
    }

    /// Round robin: the path whose turn it is, skipping those that cannot carry, or that carry all that they may in their slow start.
    fn turn(&self) -> Option<usize> {
        let count = self.paths.len();
        (0..count).map(|k| (self.turn + k) % count).find(|k| self.may_carry(*k) && self.paths[*k].takes(1))
    }

    fn pass_turn(&mut self, at: usize) {
        self.turn = (at + 1) % self.paths.len().max(1);
    }

    /// Pull: the paths whose connection has written all that it was given, and has room for more.
    fn without_work(&self) -> impl Iterator<Item = (usize, &Conn)> {
        let conn = |k: usize| self.paths[k].conn().filter(|c| !c.is_writing()).map(|c| (k, c));
        (0..self.paths.len())
            .filter_map(conn)
            .filter(|(k, c)| c.in_flight < self.paths[*k].flight_cap() && self.may_carry(*k))
    }

    /// Pull: what one connection takes of what waits, so that every other one without work finds something too. At least a message.
    fn share(&self, at: usize) -> u64 {
        let others = self.without_work().filter(|(k, _)| *k != at).count() as u64;
        self.sender.backlog().div_ceil(1 + others).max(1)
    }

    /// Pull: wakes connections without work, as many as there are messages or fragments for; first those with least on their way.
    fn offer_to_idle(&mut self, except: Option<usize>) {
        let awake = self.without_work().filter(|(k, c)| c.active && Some(*k) != except).count();
        let wanted = self.sender.pieces(self.config.fragment).saturating_sub(awake);
        for _ in 0..wanted.min(self.paths.len()) {
            let asleep = self.without_work().filter(|(k, c)| !c.active && Some(*k) != except);
            let Some((at, _)) = asleep.min_by_key(|(_, c)| c.in_flight) else { return };
            self.kick(at);
        }
    }

    /// Sees that a path takes what waits.
    pub(super) fn offer(&mut self, now: Time) {
        self.offer_except(now, None);
    }

    fn offer_except(&mut self, now: Time, except: Option<usize>) {
        if !self.flowing() || !(self.sender.has_work() || self.sender.has_new()) {
            return;
        }
        self.last_offer = now;
        if self.config.balance == Balance::Pull {
            return self.offer_to_idle(except);
        }
        for at in 0..self.paths.len() {
            let idle = self.paths[at].conn().is_some_and(|c| !c.active);
            if !idle || Some(at) == except || !self.may_carry(at) {
                continue;
            }
            let full = self.paths[at].conn().is_some_and(|c| c.in_flight >= self.paths[at].flight_cap());
            if !full && self.approves(now, at) {
                self.kick(at);
                // One path is enough for what fits in one run; more are found as it drains.
                if self.sender.backlog() <= MAX_RUN {
                    return;
                }
            }
        }
    }

    pub(super) fn kick(&mut self, at: usize) {
        if let Some(conn) = self.paths[at].conn_mut()
            && !conn.active
        {
            conn.active = true;
            self.kicks |= 1 << self.paths[at].id.0;
        }
    }

    /// Sees that receipts (if `receipt`) and acknowledgments go to the peer, on the path that was heard last; receipts on two while any path is
    /// in doubt, since the first one may be the next to fail (A5).
    pub(super) fn feed_back(&mut self, now: Time, receipt: bool) {
        let completions = self.receiver.completions_due();
        if !receipt && !completions {
            return;
        }
        self.touch(now);
        let Some(at) = self.feedback_path() else {
            self.lazy_receipt |= receipt;
            return;
        };
        // Acknowledgments are taken in order only: while some are unconfirmed, the next ones follow them on their path.
        let behind = self.completions_by.and_then(|(path, _)| self.path_index(path)).filter(|k| {
            let path = &self.paths[*k];
            path.conn().filter(|c| c.opinion == Opinion::Good && path.health() == Health::Good).is_some()
        });
        let by = if self.receiver.unconfirmed() { behind.unwrap_or(at) } else { at };
        if let Some(conn) = self.paths[at].conn_mut() {
            conn.due.receipt |= receipt;
        }
        if let Some(conn) = self.paths[by].conn_mut() {
            conn.due.completions |= completions;
        }
        if receipt || by == at {
            self.kick(at);
        }
        if receipt && self.in_doubt {
            self.copy_receipt(at);
        }
        if completions {
            self.kick(by);
        }
    }

    pub(super) fn feedback_path(&self) -> Option<usize> {
        let fresh = |k: &usize| {
            let path = &self.paths[*k];
            path.conn().filter(|c| c.opinion == Opinion::Good && path.health() == Health::Good).is_some()
        };
        let freshest = self.freshest.and_then(|p| self.path_index(p));
        if let Some(at) = freshest.filter(|k| fresh(k) && self.may_carry(*k)) {
            return Some(at);
        }
        let rank = |k: &usize| (self.may_carry(*k), self.paths[*k].conn().map(|c| c.heard_at));
        (0..self.paths.len()).filter(fresh).max_by_key(rank).or_else(|| self.best_suspect())
    }

    /// Where receipts go besides `first`: the best other path of which neither end thinks ill; else one in doubt, on which the peer is not known
    /// to hear nothing (T5).
    fn second_feedback_path(&self, first: usize) -> Option<usize> {
        let rank = |k: &usize| {
            let path = &self.paths[*k];
            let conn = path.conn().filter(|_| !path.unheard)?;
            let well = conn.opinion == Opinion::Good && path.health() == Health::Good;
            Some((well, self.may_carry(*k), conn.heard_at))
        };
        (0..self.paths.len()).filter(|k| *k != first && rank(k).is_some()).max_by_key(rank)
    }

    /// Looks anew whether one end holds a connected path in doubt.
    pub(super) fn weigh_doubts(&mut self) {
        let doubtful = |p: &Path| {
            let told = p.conn().is_some_and(|c| c.opinion != Opinion::Good);
            p.conn().is_some() && (told || p.health() != Health::Good)
        };
        self.in_doubt = self.paths.iter().any(doubtful);
    }

    /// Tells the user, and the peer, when the health of a path has changed, and acts on it.
    pub(super) fn show_health(&mut self, now: Time, at: usize, reason: Reason) {
        self.weigh_doubts();
        let health = self.paths[at].health();
        let of = &mut self.paths[at];
        let one_way = of.one_way().map(OneWay::reason);
        let named = one_way.is_some_and(|name| name != of.cause);
        if self.attempt.is_some() || (of.shown == health && !named) {
            return;
        }
        let before = std::mem::replace(&mut of.shown, health);
        let reason = match health {
            Health::Good => Reason::None,
            Health::Suspect if of.is_rejoining() || (of.rejoin.waits && reason == Reason::None) => {
                Reason::Rejoining
            }
            Health::Suspect | Health::Dead => one_way.unwrap_or(reason),
        };
        of.cause = reason;
        let path = of.id;
        self.events.push(Event::Path { path, health, reason });
        match health {
            Health::Dead => {}
            Health::Suspect => {
                self.stats.suspicions += u64::from(before != Health::Suspect && reason != Reason::Rejoining);
                self.tell_opinion(path);
                self.move_flights(at);
                self.receiver.rewind_completions();
                self.feed_back(now, true);
            }
            Health::Good => self.tell_opinion(path),
        }
        self.offer(now);
    }

    /// PATH_STATUS about one path, on every connection.
    fn tell_opinion(&mut self, path: PathId) {
        for at in 0..self.paths.len() {
            if let Some(conn) = self.paths[at].conn_mut()
                && !conn.status_due.contains(&path)
            {
                conn.status_due.push(path);
            }
            self.kick(at);
        }
    }

    /// What is on its way on a path in doubt is also sent elsewhere.
    pub(super) fn move_flights(&mut self, at: usize) {
        let path = &mut self.paths[at];
        let Dial::Up(conn) = &mut path.dial else { return };
        for flight in conn.flights.iter_mut().filter(|f| !f.moved) {
            flight.moved = true;
            path.retransmitted += 1;
            self.sender.send_again(flight);
        }
    }
}
