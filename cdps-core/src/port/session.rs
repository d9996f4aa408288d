//! Connecting, switching and losing a target (Fig. 6, 8, 10, 11): who is at the other end, and whether it still is.

use std::net::{IpAddr, SocketAddr};

use super::decision::{LeaseEnd, Trigger};
use super::event::{Action, ConnStatus, QuestionId};
use super::path::{Dial, Path};
use super::reset::{Recovery, Verdicts};
use super::state::{Call, Link, State};
use super::{Payload, Port};
use crate::cluster::PeerState;
use crate::config::Address;
use crate::id::{Generation, Incarnation, NodeId, PathId, SessionId, Side, Sn};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::{Duration, Time};
use crate::wire::{self, Answer, Connect, Frame, NodeBody, reason_of};

/// What a connect that is under way is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The user asked for it.
    Connect,
    /// A switch: unfinished messages wait for it (F5).
    Switch,
    /// The target of a port that is down is waited for (F3).
    Recovery(Recovery),
}

/// A connect, a switch or a recovery that is under way.
pub(super) struct Attempt {
    pub(super) node: NodeId,
    pub(super) purpose: Purpose,
    /// Targets of this switch that have failed.
    pub(super) tried: Vec<NodeId>,
    pub(super) deadline: Time,
    pub(super) ask_at: Time,
    answered: bool,
    /// Completed messages that only the former target's port had said to have.
    pub(super) only_receipted: u64,
}

/// What the other end allows.
pub(super) struct Offer {
    window: u64,
    /// `None`: the session has no classes (M11).
    high_window: Option<u64>,
    max_message: u64,
    max_streams: u32,
}

impl Offer {
    pub(super) fn of_connect(connect: &Connect) -> Offer {
        let Connect { features, window, high_window, max_message, max_streams, .. } = *connect;
        let classes = features & wire::feature::CLASSES != 0;
        Offer { window, high_window: classes.then_some(high_window), max_message, max_streams }
    }

    pub(super) fn of_answer(answer: &Answer) -> Offer {
        let Answer { features, window, high_window, max_message, max_streams, .. } = *answer;
        let classes = features & wire::feature::CLASSES != 0;
        Offer { window, high_window: classes.then_some(high_window), max_message, max_streams }
    }
}

impl Attempt {
    /// Of a target that has accepted already.
    pub(super) fn answered(node: NodeId, purpose: Purpose, tried: Vec<NodeId>, deadline: Time) -> Attempt {
        Attempt { node, purpose, tried, deadline, ask_at: Time::NEVER, answered: true, only_receipted: 0 }
    }

    /// Its target has accepted.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }
}

/// A target that was given up. Nobody else may deliver until its lease has run out, or it has released it (F8).
pub(super) struct Former {
    pub(super) node: NodeId,
    pub(super) generation: Generation,
    incarnation: Option<Incarnation>,
    pub(super) lease: Lease,
    /// When its user is to be asked to fence it, and whether that was done.
    pub(super) ask_at: Time,
    pub(super) question: Option<QuestionId>,
}

/// Whether a target that was given up may still deliver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lease {
    /// It cannot: it released the lease, or is another incarnation, or said itself that the session is over.
    Over(LeaseEnd),
    /// Not after this moment.
    Until(Time),
    /// The node has not said yet.
    Unknown,
}

impl Lease {
    /// How it is over, if it is.
    pub(super) fn end(self, now: Time) -> Option<LeaseEnd> {
        match self {
            Lease::Over(end) => Some(end),
            Lease::Until(end) => (now >= end).then_some(LeaseEnd::Expired),
            Lease::Unknown => None,
        }
    }
}

impl<S: Payload, R: Clone> Port<S, R> {
    // ---- the source's way up ----

    /// Asks `node`, after a while if `wait` says so.
    pub(super) fn start_attempt(&mut self, now: Time, node: NodeId, purpose: Purpose, wait: Duration) {
        let tried = self.attempt.take().map_or_else(Vec::new, |a| a.tried);
        self.choice = None;
        self.generation = self.next_generation();
        self.begin_session(now, node);
        self.attempt = Some(Attempt {
            node,
            purpose,
            tried,
            deadline: match purpose {
                // It is waited for as long as it takes; with autoswitch, only until the next one's turn.
                Purpose::Recovery(_) if !self.config.autoswitch => Time::NEVER,
                Purpose::Recovery(_) | Purpose::Connect | Purpose::Switch => {
                    now + wait + self.config.connect_timeout
                }
            },
            ask_at: now + wait,
            answered: false,
            only_receipted: self.sender.only_receipted(),
        });
        if wait.is_zero() {
            self.ask(now);
        }
        self.tend_fence(now);
        self.rearm(now);
    }

    /// One that was never asked for, of whatever target.
    pub(super) fn next_generation(&mut self) -> Generation {
        // The last one that there is comes again and again, and is refused.
        self.spent_generations = self.spent_generations.max(self.generation.counter).saturating_add(1);
        Generation { counter: self.spent_generations, ..self.generation }
    }

    /// One that is above what a target has accepted, if this port can have one.
    pub(super) fn generation_above(&mut self, highest: Generation) -> Option<Generation> {
        if highest.role_epoch > self.generation.role_epoch || highest.counter == u64::MAX {
            return None;
        }
        self.spent_generations = self.spent_generations.max(highest.counter);
        Some(self.next_generation())
    }

    /// The session is with `node` from here on, under the present generation.
    pub(super) fn begin_session(&mut self, now: Time, node: NodeId) {
        self.receiver.restart(self.generation, self.config.max_streams, u64::from(self.config.max_message));
        self.peer_incarnation = self.peers.iter().find(|p| p.0 == node).and_then(|p| match p.1 {
            PeerState::Reachable { incarnation } => Some(incarnation),
            PeerState::Unreachable { .. } | PeerState::Down => None,
        });
        self.peer = Some(node);
        self.peer_lost = None;
        self.pathless_since = now;
        self.verdicts = Verdicts::default();
        let addresses = self
            .config
            .targets
            .iter()
            .find(|t| t.node == node)
            .map_or_else(Vec::new, |t| t.addresses.clone());
        self.make_paths(node, &addresses);
    }

    /// One path per remote address, with the local addresses in turn.
    fn make_paths(&mut self, node: NodeId, addresses: &[Address]) {
        self.next_path = u16::try_from(addresses.len().min(wire::MAX_PATHS)).unwrap_or(u16::MAX);
        for (k, address) in addresses.iter().take(wire::MAX_PATHS).enumerate() {
            let path = PathId(u16::try_from(k).unwrap_or(u16::MAX));
            let remote = address.remote;
            let local = self.local_for(k, remote);
            self.paths.push(Path::to(path, local, *address, self.last_conn));
            self.actions.push_back(Action::Watch { path, node, local, remote });
        }
    }

    pub(super) fn local_for(&self, k: usize, remote: SocketAddr) -> Option<IpAddr> {
        let fitting: Vec<_> = self.config.local.iter().filter(|l| l.is_ipv4() == remote.is_ipv4()).collect();
        fitting.get(k % fitting.len().max(1)).map(|l| **l)
    }

    /// Sends the CONNECT, and again each heartbeat until it is answered; not while the cluster says that the node is gone (N5).
    pub(super) fn ask(&mut self, now: Time) {
        let Some(attempt) = &mut self.attempt else { return };
        if attempt.answered {
            attempt.ask_at = Time::NEVER;
            return;
        }
        attempt.ask_at = now + self.config.liveness.heartbeat;
        let node = attempt.node;
        if is_down(&self.peers, node) {
            return;
        }
        let resets = match attempt.purpose {
            Purpose::Recovery(Recovery { keeps: true, .. }) => wire::connect::RESET,
            Purpose::Recovery(_) | Purpose::Connect | Purpose::Switch => 0,
        };
        let first = self.receiver.highest().next();
        let connect = self.connect_to(self.generation, self.paths.len(), first, resets);
        self.actions.push_back(Action::Tell { node, body: NodeBody::Connect(connect), all_links: false });
    }

    /// What a target is asked.
    pub(super) fn connect_to(&self, generation: Generation, paths: usize, first: Sn, flags: u16) -> Connect {
        let role = if self.config.role_epoch > 0 { wire::connect::EXCLUSIVE } else { 0 };
        Connect {
            session: self.session,
            generation,
            version: wire::VERSION,
            flags: flags | role,
            paths: u32::try_from(paths).unwrap_or(u32::MAX),
            features: wire::feature::ALL,
            window: self.config.window,
            high_window: self.config.high_window,
            max_message: u64::from(self.config.max_message),
            max_streams: self.config.max_streams,
            session_timeout_ms: u32::try_from(self.config.session_timeout.as_millis()).unwrap_or(u32::MAX),
            first,
            client: self.config.client.clone(),
        }
    }

    /// The target's answer to the CONNECT.
    pub fn handle_answer(&mut self, now: Time, answer: &Answer) {
        if answer.session != self.session {
            return;
        }
        if answer.generation != self.generation {
            return self.handle_planned_answer(now, answer);
        }
        let Some(attempt) = self.attempt.as_mut().filter(|a| !a.answered) else { return };
        if is_down(&self.peers, attempt.node) {
            return; // It was asked before the engine said so, and will be again when that is taken back (N5).
        }
        if answer.reason == Reason::StaleGeneration as u16 && answer.highest >= self.generation {
            let Some(generation) = self.generation_above(answer.highest) else {
                return self.fail_attempt(now, Reason::StaleGeneration);
            };
            self.generation = generation;
            self.receiver.generation = self.generation;
            return self.ask(now);
        }
        if answer.reason != Reason::None as u16 {
            return self.fail_attempt(now, reason_of(answer.reason));
        }
        if self.sender.streams_needed() > answer.max_streams as usize {
            attempt.answered = true;
            return self.fail_attempt(now, Reason::Limit);
        }
        attempt.answered = true;
        attempt.ask_at = Time::NEVER;
        if matches!(attempt.purpose, Purpose::Recovery(_)) {
            attempt.deadline = now + self.config.connect_timeout;
        }
        self.enter_session(now, answer);
    }

    /// The target has accepted: its paths are dialled.
    pub(super) fn enter_session(&mut self, now: Time, answer: &Answer) {
        self.secret = answer.secret;
        self.peer_features = answer.features;
        self.settle_limits(&Offer::of_answer(answer));
        if self.recovery().is_some() {
            self.await_ledger();
        }
        if let Some(node) = self.peer
            && self.paths.is_empty()
        {
            let addresses: Vec<_> = answer.addresses.iter().map(|a| Address::from(*a)).collect();
            self.make_paths(node, &addresses);
        }
        for at in 0..self.paths.len() {
            self.dial(at);
        }
        self.rearm(now);
    }

    pub(super) fn settle_limits(&mut self, offer: &Offer) {
        let max_streams = offer.max_streams.min(self.config.max_streams);
        self.max_message = offer.max_message.min(u64::from(self.config.max_message));
        self.receiver.open_high(offer.high_window.map(|_| self.config.high_window));
        self.sender.restart(offer.window, offer.high_window, max_streams);
        self.overdue.restart();
    }

    pub(super) fn say_connected(&mut self) {
        let Some(node) = self.peer else { return };
        let paths = u16::try_from(self.paths.len()).unwrap_or(u16::MAX);
        let (generation, paths_up) = (self.generation, self.paths_up());
        self.events.status(ConnStatus::Connected { node, generation, paths_up, paths });
    }

    /// connectcomplete, or the end of a switch: the first path is up, and no former target can deliver any more.
    pub(super) fn try_complete(&mut self, now: Time) {
        self.settle_former(now);
        let Some(attempt) = &self.attempt else { return };
        if !attempt.answered || self.paths_up() == 0 || self.former.is_some() || !self.has_ledger() {
            return;
        }
        let Some(attempt) = self.attempt.take() else { return };
        self.link = Link::Up;
        match attempt.purpose {
            Purpose::Switch => {
                self.stats.count_switch(now.since(self.switching_since));
                let (node, generation, only_receipted) =
                    (attempt.node, self.generation, attempt.only_receipted);
                if let Some(decision) = self.decision.take() {
                    self.events.status(ConnStatus::Switched { node, generation, only_receipted, decision });
                }
            }
            Purpose::Recovery(recovery) => self.say_recovered(attempt.node, recovery),
            Purpose::Connect => {
                if self.go(Call::ConnectComplete).is_ok() {
                    self.say_connected();
                }
            }
        }
        for at in 0..self.paths.len() {
            self.show_health(now, at, Reason::None);
        }
        self.offer(now);
        self.rearm(now);
    }

    /// The new target is connected, and nothing is waited for but the end of the former one's lease.
    pub(super) fn awaits_lease(&self) -> bool {
        self.former.is_some() && self.attempt.as_ref().is_some_and(|a| a.answered) && self.paths_up() > 0
    }

    /// The connect that is under way will not succeed.
    pub(super) fn fail_attempt(&mut self, now: Time, reason: Reason) {
        let Some(attempt) = &mut self.attempt else { return };
        let (node, answered, purpose) = (attempt.node, attempt.answered, attempt.purpose);
        attempt.tried.push(node);
        if answered && !matches!(purpose, Purpose::Recovery(Recovery { keeps: true, .. })) {
            self.tell_end(Reason::Timeout);
        }
        self.hang_up_all(None);
        match purpose {
            Purpose::Switch => {
                if let Some(decision) = &mut self.decision {
                    decision.tried.push((node, reason));
                }
                return self.switch_or_go_down(now, reason);
            }
            Purpose::Recovery(recovery) => return self.recover_again(now, node, recovery, reason),
            Purpose::Connect => {}
        }
        self.attempt = None;
        self.peer = None;
        self.use_count = 0;
        self.release_all();
        self.link = Link::Up;
        if self.go(Call::ConnectFailed).is_ok() {
            self.events.status(ConnStatus::ConnectFailed { node, reason });
        }
    }

    // ---- the target's way up ----

    pub(super) fn accept(&mut self, connect: &Connect, secret: Secret, now: Time) {
        if self.go(Call::ConnectRequest).is_err() {
            return;
        }
        self.secret = secret;
        self.peer_features = connect.features;
        self.peer = Some(connect.session.node);
        self.peer_incarnation = Some(connect.session.incarnation);
        let asked = Duration::from_millis(u64::from(connect.session_timeout_ms));
        self.config.session_timeout = self.config.session_timeout.max(asked);
        self.sender.start_at(connect.first);
        self.settle_limits(&Offer::of_connect(connect));
        self.pathless_since = now;
        self.last_contact = now;
        self.rearm(now);
    }

    /// What to answer to the CONNECT that made this port, also when it is repeated.
    pub fn answer(&self, addresses: Vec<SocketAddr>) -> Answer {
        Answer {
            session: self.session,
            generation: self.generation,
            reason: Reason::None as u16,
            highest: self.generation,
            window: self.config.window,
            max_message: self.max_message,
            max_streams: self.config.max_streams,
            secret: self.secret,
            addresses,
            text: Box::default(),
            high_window: self.config.high_window,
            features: wire::feature::ALL,
        }
    }

    // ---- the way down ----

    /// The connection is down (F1): the target is given up.
    pub(super) fn lose_target(&mut self, now: Time, trigger: Trigger) {
        let reason = trigger.reason();
        let Some(node) = self.peer else { return };
        if self.attempt.is_some() {
            return self.fail_attempt(now, reason);
        }
        if self.grace.is_some() {
            return self.cut_grace(now, trigger);
        }
        if !matches!(self.state, State::Connected | State::Stopped) || self.link != Link::Up {
            return;
        }
        self.cancel_switch(now, reason);
        self.decision = Some(self.record(now, node, trigger));
        self.switching_since = now;
        if self.has_grace(trigger) {
            return self.begin_grace(now, trigger);
        }
        self.leave_lost(now, node, trigger);
    }

    /// Goes to a backup, or down if the port does not choose one by itself, or has none.
    pub(super) fn leave_lost(&mut self, now: Time, node: NodeId, trigger: Trigger) {
        let reason = trigger.reason();
        let Some(decision) = self.decision.clone() else { return };
        if !self.config.autoswitch
            || self.isolated
            || ends_role(reason)
            || self.candidates(&[node]).is_empty()
        {
            // The target keeps the session for its recovery (F3). Whoever goes elsewhere takes it away first.
            self.hang_up_all(None);
            return self.go_down(now, node, reason, !matches!(trigger.lease(), Lease::Over(_)));
        }
        self.give_up_peer(trigger.lease());
        self.link = Link::Switching;
        self.attempt = Some(Attempt {
            node,
            purpose: Purpose::Switch,
            tried: vec![node],
            deadline: Time::NEVER,
            ask_at: Time::NEVER,
            answered: false,
            only_receipted: 0,
        });
        self.events.status(ConnStatus::Switching { from: node, reason, decision });
        self.switch_or_go_down(now, reason);
    }

    /// Lets the present target go: its connections are dropped, and it is asked to release its lease. The node sees that it hears that
    /// before any later heartbeat, and says when the lease ends if it hears nothing.
    pub(super) fn give_up_peer(&mut self, lease: Lease) {
        let Some(node) = self.peer.take() else { return };
        self.hang_up_all(None);
        let (session, generation) = (self.session, self.generation);
        let (incarnation, ask_at) = (self.peer_incarnation, Time::NEVER);
        self.former = Some(Former { node, generation, incarnation, lease, ask_at, question: None });
        let body = NodeBody::Revoke { session, generation };
        self.actions.push_back(Action::Tell { node, body, all_links: true });
    }

    /// From `until` on a target whose lease was revoked delivers nothing, whether it hears of that or not: what the node said when it was
    /// given the REVOKE. A little is added for clocks that do not run alike.
    pub fn handle_fenced(&mut self, now: Time, generation: Generation, until: Time) {
        let margin = self.config.liveness.lease / 50;
        if let Some(former) = self.former.as_mut().filter(|f| f.generation == generation)
            && former.lease == Lease::Unknown
        {
            former.lease = Lease::Until(until + margin);
            let down = is_down(&self.peers, former.node);
            // A port that can be reached releases its lease by then.
            former.ask_at = if down { now } else { now + self.config.liveness.heartbeat };
            self.tend_former(now);
            self.rearm(now);
        }
    }

    /// Goes on once the former target cannot deliver any more.
    pub(super) fn tend_former(&mut self, now: Time) {
        if self.settle_former(now) {
            self.try_complete(now);
        }
        self.tend_fence(now);
    }

    /// Lets go the former target if it cannot deliver any more, and notes how that became certain (F11). True: it was so just now.
    fn settle_former(&mut self, now: Time) -> bool {
        let over = self.former.as_ref().and_then(|f| Some((f.generation, f.lease.end(now)?)));
        if let Some((generation, end)) = over {
            self.note_lease(now, generation, end);
            self.former = None;
        }
        over.is_some()
    }

    /// F2: down, then every unfinished message nacked, oldest first, then drained. From there on the target is waited for (F3); it has
    /// its session still if `keeps`.
    pub(super) fn go_down(&mut self, now: Time, node: NodeId, reason: Reason, keeps: bool) {
        self.link = Link::Down;
        self.stats.downs += 1;
        if let Some(decision) = self.decision.take() {
            self.events.status(ConnStatus::Down { node, reason, decision });
        }
        self.finish_everything(reason);
        self.link = Link::Drained;
        self.events.status(ConnStatus::Drained);
        if ends_role(reason) {
            // No recovery gives it back.
            self.peer = None;
        } else {
            self.plan_recovery(node, keeps);
        }
        if let Some(drain) = self.drain {
            self.drained_said = true;
            if drain.then_close {
                self.check_drained(now);
            }
        }
        self.rearm(now);
    }

    /// Target side: the session is over without the source's word.
    fn lose_session(&mut self, now: Time, reason: Reason, tell: bool) {
        if self.side != Side::Target {
            return;
        }
        if self.state != State::ConnectedTo {
            // Its own user closed before; what came until then may still wait to be delivered.
            if !self.unleased {
                self.revoke_delivery();
            }
            return;
        }
        self.revoke_delivery();
        self.finish_everything(reason);
        self.end_session(now, reason, tell);
    }

    /// Target side: a newer generation or incarnation took the session's place, or the node is closing (F7).
    pub fn handle_superseded(&mut self, now: Time, reason: Reason) {
        self.lose_session(now, reason, false);
    }

    /// Target side: the client is exclusive, and serves a source with a higher role epoch from here on (L4). The source is told.
    pub fn handle_outranked(&mut self, now: Time) {
        self.outranked = true;
        self.lose_session(now, Reason::Superseded, true);
    }

    /// Target side: the source takes the lease away (F8). Nothing more is delivered; the source is told at once.
    pub fn handle_revoke(&mut self, now: Time, generation: Generation) {
        if self.side != Side::Target {
            return;
        }
        let (node, session) = (self.session.node, self.session);
        // An older generation was superseded by this one: it delivers nothing any more.
        if generation >= self.generation {
            self.lose_session(now, Reason::Revoked, false);
        }
        let body = NodeBody::Released { session, generation };
        self.actions.push_back(Action::Tell { node, body, all_links: true });
    }

    /// A former target has released its lease.
    pub fn handle_released(&mut self, now: Time, generation: Generation) {
        if let Some(former) = self.former.as_mut().filter(|f| f.generation == generation) {
            former.lease = Lease::Over(LeaseEnd::Released);
            self.tend_former(now);
        }
    }

    /// The peer says that the session is over.
    pub fn handle_bye(&mut self, now: Time, generation: Generation, reason: Reason) {
        // A source that was asking for a newer generation ends those before with it.
        let meant = match self.side {
            Side::Source => generation == self.generation,
            Side::Target => generation >= self.generation,
        };
        if meant && self.peer.is_some() {
            self.peer_closed(now, reason);
        }
    }

    pub(super) fn peer_closed(&mut self, now: Time, reason: Reason) {
        match self.side {
            Side::Target => {
                if self.state != State::ConnectedTo {
                    return;
                }
                self.unleased |= reason == Reason::Closed;
                self.finish_everything(Reason::PeerClosed);
                self.end_session(now, Reason::PeerClosed, false);
            }
            // Its user closed: the session is over. Anything else is the loss of a target like any other.
            Side::Source if reason != Reason::Closed => self.lose_target(now, Trigger::Denied(reason)),
            Side::Source => {
                self.cancel_switch(now, Reason::PeerClosed);
                self.finish_everything(Reason::PeerClosed);
                self.end_session(now, Reason::PeerClosed, false);
            }
        }
    }

    pub(super) fn tell_end(&mut self, reason: Reason) {
        let Some(node) = self.attempt.as_ref().map(|a| a.node).or(self.peer) else { return };
        let (session, generation, side) = (self.session, self.generation, self.side);
        let body = NodeBody::Bye { session, generation, reason: reason as u16, side };
        self.actions.push_back(Action::Tell { node, body, all_links: false });
    }

    /// Drops every connection, with a CLOSE if a reason is given, and forgets the paths.
    pub(super) fn hang_up_all(&mut self, farewell: Option<Reason>) {
        let side = self.side;
        for mut path in std::mem::take(&mut self.paths) {
            self.last_conn = self.last_conn.max(path.last_conn);
            let dialled = match &path.dial {
                Dial::Dialling { conn } => Some((*conn, false)),
                Dial::Up(conn) => Some((conn.id, true)),
                Dial::Wait { .. } | Dial::Passive => None,
            };
            if let Some((conn, up)) = dialled {
                let farewell = farewell.filter(|_| up).map(|r| Frame::Close { reason: r as u16, side });
                self.actions.push_back(Action::Hangup { path: path.id, conn, farewell });
            }
            if let Some(conn) = path.conn_mut() {
                for flight in conn.flights.iter().filter(|f| !f.moved) {
                    self.sender.send_again(flight);
                }
            }
            if path.remote.is_some() {
                self.actions.push_back(Action::Unwatch { path: path.id });
            }
        }
        self.kicks = 0;
        self.turn = 0;
        self.in_doubt = false;
    }

    // ---- peers ----

    /// What the cluster engine says of a node. The driver tells the present state of every target when the port is initialized.
    pub fn handle_peer(&mut self, now: Time, node: NodeId, state: PeerState) {
        let listed = self.config.targets.iter().any(|t| t.node == node);
        match self.peers.iter_mut().find(|p| p.0 == node) {
            Some(known) => known.1 = state,
            None if listed => self.peers.push((node, state)),
            None => {}
        }
        if matches!(state, PeerState::Reachable { .. }) {
            if self.attempt.as_ref().is_some_and(|a| a.node == node) {
                self.ask(now);
            }
            self.planned_heard(now, node);
        }
        if state == PeerState::Down {
            self.planned_down(now, node);
        }
        self.learn_of_former(now, node, state);
        // A target's peer is one incarnation of the source; the driver ends the session when that is over.
        let another =
            matches!(state, PeerState::Reachable { incarnation } if incarnation != self.session.incarnation);
        if self.peer == Some(node) && !(self.side == Side::Target && another) {
            match state {
                PeerState::Reachable { incarnation } => {
                    self.peer_lost = None;
                    match self.peer_incarnation {
                        Some(known) if known != incarnation => self.peer_gone(now, Trigger::Restarted),
                        Some(_) | None => self.peer_incarnation = Some(incarnation),
                    }
                }
                PeerState::Unreachable { last_heard } => {
                    self.peer_lost = Some(last_heard);
                    self.check_contact(now);
                }
                // It is not asked before the engine takes that back.
                PeerState::Down if self.awaits_return() => {}
                PeerState::Down => self.peer_gone(now, Trigger::NodeDown),
            }
        }
        self.rearm(now);
    }

    /// A target that was given up and is another incarnation now delivers nothing of the former one.
    fn learn_of_former(&mut self, now: Time, node: NodeId, state: PeerState) {
        let PeerState::Reachable { incarnation } = state else { return };
        if let Some(former) = self.former.as_mut().filter(|f| f.node == node)
            && former.incarnation.is_some_and(|known| known != incarnation)
        {
            former.lease = Lease::Over(LeaseEnd::Restarted);
            self.tend_former(now);
        }
    }

    /// Whether no member of the cluster is heard: then the fault is here, and no switch helps (N5).
    pub fn handle_isolated(&mut self, isolated: bool) {
        self.isolated = isolated;
    }

    /// A lost target is waited for, and has not answered.
    pub(super) fn awaits_return(&self) -> bool {
        self.attempt.as_ref().is_some_and(|a| !a.answered && matches!(a.purpose, Purpose::Recovery(_)))
    }

    fn peer_gone(&mut self, now: Time, trigger: Trigger) {
        match self.side {
            Side::Source => self.lose_target(now, trigger),
            Side::Target => self.lose_session(now, trigger.reason(), false),
        }
    }

    /// F1, F9: no contact on any path for too long.
    pub(super) fn check_contact(&mut self, now: Time) {
        let Some(deadline) = self.contact_deadline() else { return };
        if now < deadline {
            return;
        }
        let limit = self.config.liveness.dead;
        match self.side {
            Side::Source => {
                let unheard = self.peer_lost.is_some_and(|heard| now >= heard.max(self.last_contact) + limit);
                self.lose_target(now, if unheard { Trigger::NoContact } else { Trigger::NoPath });
            }
            Side::Target => self.lose_session(now, Reason::Unreachable, true),
        }
    }

    /// When the peer is given up unless it is heard.
    pub(super) fn contact_deadline(&self) -> Option<Time> {
        let in_session = matches!(self.state, State::Connected | State::Stopped | State::ConnectedTo);
        if !in_session || self.peer.is_none() || self.attempt.is_some() || self.link != Link::Up {
            return None;
        }
        let limit = match self.side {
            Side::Source => self.config.liveness.dead,
            Side::Target => self.config.session_timeout,
        };
        let lost = self.peer_lost.map(|heard| heard.max(self.last_contact) + limit);
        // "Node up" while every path is dead does not keep a session up (N5).
        let pathless = (self.paths_up() == 0).then(|| self.pathless_since + limit);
        lost.into_iter().chain(pathless).min()
    }

    /// The session that this port is the target of, if it is one.
    pub fn serves(&self) -> Option<(SessionId, Generation)> {
        (self.side == Side::Target && self.state == State::ConnectedTo)
            .then_some((self.session, self.generation))
    }
}

/// Another source has the role now (L4): no backup would change that, and one that has not heard of it must not be asked.
pub(super) fn ends_role(reason: Reason) -> bool {
    matches!(reason, Reason::Superseded | Reason::RoleTaken)
}

/// Whether an engine with a quorum says that this node is gone (N5).
pub(super) fn is_down(peers: &[(NodeId, PeerState)], node: NodeId) -> bool {
    peers.iter().any(|p| p.0 == node && p.1 == PeerState::Down)
}
