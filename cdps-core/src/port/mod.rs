//! The engine of one data port: both ends of a session, from connect to close.
//!
//! The driver calls a verb or a `handle_*`, then drains [`Port::take_kicks`], [`Port::poll_action`] and (when it likes)
//! [`Port::poll_event`], and calls [`Port::handle_timeout`] at [`Port::poll_timeout`]. Payloads are handles that it clones: the engine
//! keeps one until a message is finished.

mod backup;
mod bundle;
mod changed;
mod conns;
mod decision;
mod early;
mod entry;
mod event;
mod exchange;
mod fence;
mod grace;
mod grant;
mod inbound;
mod live;
mod overdue;
mod path;
mod planned;
mod queue;
mod receiver;
mod rejoin;
mod reset;
mod sender;
mod session;
mod state;
mod stats;
mod tick;
mod transmit;
mod verbs;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub use backup::ChoiceError;
pub use decision::{LeaseEnd, LossRecord, PathEvidence, Timer, Trigger};
pub use event::{
    Action, Asked, Certainty, ConnStatus, CreditToken, Event, FlowReason, Question, QuestionId, Received,
    Verdict,
};
pub use exchange::{
    AckError, Batch, Changed, ConnectError, ContractError, Inbound, ItemBytes, OutItem, Outbound, Outgoing,
    Parts, Payload, Placement, Refused, SendError,
};
pub use live::ChangeError;
pub use queue::Queue;
pub use state::{Call, Link, State, StateError, graph};
pub use stats::{PathStats, SWITCH_CLASSES, Stats};

use self::backup::Choice;
use self::grace::Grace;
use self::overdue::Overdue;
use self::path::Path;
use self::planned::Planned;
use self::receiver::Receiver;
use self::reset::{Kept, Recovery, Verdicts};
use self::sender::Sender;
use self::session::{Attempt, Former};
use crate::cluster::PeerState;
use crate::config::{ConfigError, PortConfig};
use crate::id::{ConnId, Generation, Incarnation, NodeId, PathId, SessionId, Side, Sn, StreamId};
use crate::prng::Prng;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::{Duration, Time};
use crate::wire::{self, Connect};

/// The queue of events, with a count of what waits for the user.
pub(crate) struct Events<S, R> {
    queue: Queue<Event<S, R>>,
    /// Ends of sends that the user has not been told of.
    pending: u32,
    /// Those of them that [`Port::take_events`] has given out, and how many of these had been told when that was last said.
    out: u32,
    out_told: u32,
    completed: u64,
    nacked: u64,
}

impl<S, R> Events<S, R> {
    fn new() -> Self {
        Events { queue: Queue::default(), pending: 0, out: 0, out_told: 0, completed: 0, nacked: 0 }
    }

    #[inline]
    fn completed(&mut self, sn: Sn, rc: i32, payload: S) {
        self.pending += 1;
        self.completed += 1;
        self.queue.push_back_with(|| Event::Completed { sn, rc, payload });
    }

    #[inline(always)]
    fn received(&mut self, make: impl FnOnce() -> Received<R>) {
        self.queue.push_back_with(|| Event::Received(make()));
    }

    fn push(&mut self, event: Event<S, R>) {
        match event {
            Event::Completed { sn, rc, payload } => return self.completed(sn, rc, payload),
            Event::Nacked { .. } => {
                self.pending += 1;
                self.nacked += 1;
            }
            Event::Done { .. }
            | Event::Received(_)
            | Event::Status(_)
            | Event::Flow { .. }
            | Event::Overdue { .. }
            | Event::Question(_)
            | Event::Resolved { .. }
            | Event::Path { .. } => {}
        }
        self.queue.push_back(event);
    }

    /// The user is told of so many of those that are out.
    fn told(&mut self, count: u32) {
        let count = count.min(self.out);
        self.out -= count;
        self.pending -= count;
    }

    fn status(&mut self, status: ConnStatus) {
        self.push(Event::Status(status));
    }
}

/// The end of the life of what was accepted: what close, stop and destroy wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drain {
    /// What is unfinished then is nacked.
    deadline: Time,
    /// The session is closed when drained.
    then_close: bool,
}

/// The engine of one port. `S`: handle of a payload that was given to send; `R`: of one that was received.
pub struct Port<S, R> {
    config: PortConfig,
    side: Side,
    state: State,
    link: Link,
    use_count: u32,
    session: SessionId,
    generation: Generation,
    /// Source side: highest counter of a generation that was ever asked for.
    spent_generations: u64,
    /// The node at the other end, while there is one.
    peer: Option<NodeId>,
    peer_incarnation: Option<Incarnation>,
    /// What it understands ([`wire::feature`]).
    peer_features: u64,
    /// Key of the proofs of this generation.
    secret: Secret,
    max_message: u64,
    paths: Vec<Path>,
    sender: Sender<S>,
    receiver: Receiver<R>,
    events: Events<S, R>,
    /// The user may not have been told yet of everything that was given out.
    untold: bool,
    actions: VecDeque<Action>,
    kicks: u64,
    /// Round robin: whose turn it is.
    turn: usize,
    /// A connect or a switch that is under way.
    attempt: Option<Attempt>,
    /// A lost target may still come back before the port switches (F5).
    grace: Option<Grace>,
    /// Why the last target was given up, until that has come to an end (F11).
    decision: Option<Box<LossRecord>>,
    /// This port's own loop was late: when, and by how much (T9).
    was_late: Option<(Time, Duration)>,
    /// A switch waits for its user to choose a backup (L2).
    choice: Option<Choice>,
    /// The backup that a switch chose last (L2).
    last_backup: Option<NodeId>,
    /// The last question that the user was asked.
    last_question: QuestionId,
    /// The target that was given up last, while it may still hold a lease.
    former: Option<Former>,
    /// A switch that the user asked for, and that is not committed (F6).
    planned: Option<Planned>,
    /// The user has suspended the port (L7).
    suspended: bool,
    /// The target will be waited for.
    pending: Option<Recovery>,
    /// Target side: what there was at the last reset.
    kept: Option<Kept>,
    /// Source side: what the target has said so far of what there was.
    verdicts: Verdicts,
    /// Numbers of connections up to here have been used, on whatever path.
    last_conn: ConnId,
    /// Paths from here on have not been there in this session.
    next_path: u16,
    drain: Option<Drain>,
    /// Drained has been said for the present drain.
    drained_said: bool,
    /// The peer is not heard on any link: when it was last heard (F1).
    peer_lost: Option<Time>,
    /// What is known of the targets.
    peers: Vec<(NodeId, PeerState)>,
    isolated: bool,
    /// Why the user has been told to hold back (M7).
    flow: Option<FlowReason>,
    /// The high and the low mark, in bytes.
    flow_marks: (u64, u64),
    /// The source closed the session cleanly: what is here may be delivered without a lease.
    unleased: bool,
    /// Another source has taken the role of the exclusive client.
    outranked: bool,
    /// A receipt may wait for a tick.
    lazy_receipt: bool,
    /// Path that brought something last.
    freshest: Option<PathId>,
    /// One end holds a connected path in doubt: receipts travel on two (A5).
    in_doubt: bool,
    /// Path that carried acknowledgments last, and when.
    completions_by: Option<(PathId, Time)>,
    /// Bytes that came since the last receipt.
    unreceipted: u64,
    last_offer: Time,
    /// When anything came on a data connection last.
    last_contact: Time,
    /// When the last connection went away, while there is none.
    pathless_since: Time,
    /// The peer has been asked to say when there is credit again, and when.
    credit_asked: bool,
    credit_asked_at: Time,
    /// Acknowledgments taken since they were confirmed last.
    unconfirmed_taken: u64,
    /// Messages that wait for the user at the other end for long (A6).
    overdue: Overdue,
    /// When a switch began.
    switching_since: Time,
    /// How often time is looked at while there is traffic.
    tick: Duration,
    /// What `poll_timeout` says.
    armed: Time,
    /// Ticks go on until then, so that traffic that comes and goes need not start them again.
    busy_until: Time,
    stats: Stats,
    prng: Prng,
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// A source port, IDLE. `session` must not have been used by another port of this incarnation.
    ///
    /// # Errors
    /// The configuration contradicts itself or is out of range.
    pub fn source(config: PortConfig, session: SessionId, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let before = Generation { role_epoch: config.role_epoch, counter: 0 };
        Ok(Port::new(config, Side::Source, State::Idle, session, before, seed))
    }

    /// What was kept of an earlier life (generations grow across restarts): every generation of this port will be above `before`, unless that
    /// has a higher role epoch than the port. To be called before the first connect.
    pub fn start_above(&mut self, before: Generation) {
        if before.role_epoch == self.generation.role_epoch {
            self.generation = self.generation.max(before);
        }
    }

    /// A target port for a connect request that the user accepts, CONNECTEDTO.
    ///
    /// # Errors
    /// The configuration contradicts itself or is out of range.
    pub fn target(
        config: PortConfig,
        connect: &Connect,
        secret: Secret,
        now: Time,
        seed: u64,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut port =
            Port::new(config, Side::Target, State::Registered, connect.session, connect.generation, seed);
        port.accept(connect, secret, now);
        Ok(port)
    }

    fn new(
        config: PortConfig,
        side: Side,
        state: State,
        session: SessionId,
        generation: Generation,
        seed: u64,
    ) -> Self {
        let receiver =
            Receiver::new(0, generation, config.window, config.max_streams, u64::from(config.max_message));
        Port {
            side,
            state,
            link: Link::Up,
            use_count: 0,
            session,
            generation,
            spent_generations: generation.counter,
            peer: None,
            peer_incarnation: None,
            peer_features: 0,
            secret: Secret::NONE,
            max_message: u64::from(config.max_message),
            paths: Vec::new(),
            sender: Sender::new(config.max_streams),
            receiver,
            events: Events::new(),
            untold: false,
            actions: VecDeque::new(),
            kicks: 0,
            turn: 0,
            attempt: None,
            grace: None,
            decision: None,
            was_late: None,
            choice: None,
            last_backup: None,
            last_question: QuestionId::default(),
            former: None,
            planned: None,
            suspended: false,
            pending: None,
            kept: None,
            verdicts: Verdicts::default(),
            last_conn: ConnId(0),
            next_path: 0,
            drain: None,
            drained_said: false,
            peer_lost: None,
            peers: Vec::new(),
            isolated: false,
            flow: None,
            flow_marks: (flow_mark(&config, config.flow_high), flow_mark(&config, config.flow_low)),
            unleased: false,
            outranked: false,
            lazy_receipt: false,
            freshest: None,
            in_doubt: false,
            completions_by: None,
            unreceipted: 0,
            last_offer: Time::ZERO,
            last_contact: Time::ZERO,
            pathless_since: Time::ZERO,
            credit_asked: false,
            credit_asked_at: Time::ZERO,
            unconfirmed_taken: 0,
            overdue: Overdue::default(),
            switching_since: Time::ZERO,
            tick: tick::tick(config.liveness.suspect),
            armed: Time::NEVER,
            busy_until: Time::ZERO,
            stats: Stats::default(),
            prng: Prng::new(seed),
            config,
        }
    }

    // ---- getters ----

    /// State of Fig. 7.
    pub fn state(&self) -> State {
        self.state
    }

    /// The second axis of CONNECTED and STOPPED.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Which end this is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The newest generation that this port asked for or accepted.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Numbers of generations up to this one are claimed by other ports of the same node: those that this port claims from here on are above.
    /// A target takes each number of a node once (L3): ports that claimed the same would be refused, and have to ask again. Gives the
    /// newest number that this port knows of.
    pub fn pass_over(&mut self, counter: u64) -> u64 {
        self.spent_generations = self.spent_generations.max(self.generation.counter).max(counter);
        self.spent_generations
    }

    /// The node at the other end.
    pub fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// Whether new messages are held (L7).
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether a planned switch is under way that has not been committed (F6).
    pub fn is_switching(&self) -> bool {
        self.planned.is_some()
    }

    /// Whether messages were sent on this stream in this generation.
    pub fn has_open_stream(&self, stream: StreamId) -> bool {
        self.sender.has_open_stream(stream)
    }

    /// The number of the message that was accepted last; 0 before the first.
    pub fn newest_sent(&self) -> Sn {
        self.sender.newest()
    }

    /// Every message up to this one has ended.
    pub fn ended_up_to(&self) -> Sn {
        Sn(self.sender.oldest().0 - 1)
    }

    /// How many connects have not been closed.
    pub fn use_count(&self) -> u32 {
        self.use_count
    }

    /// What the port was created with, and what was changed since (L8).
    pub fn config(&self) -> &PortConfig {
        &self.config
    }

    /// Key of the proofs of this generation's connections.
    pub fn secret(&self) -> Secret {
        self.secret
    }

    /// Whether a send of `len` bytes would not be told to come again.
    pub fn has_room(&self, len: u32) -> bool {
        self.room_for(len).is_ok()
    }

    #[inline]
    fn room_for(&self, len: u32) -> Result<(), SendError> {
        let held = self.sender.bytes();
        let max = self.config.send_buffer_max;
        if held > 0 && held + u64::from(len) > max {
            return Err(SendError::Full { held, len, max });
        }
        if self.sender.span_full() {
            return Err(SendError::Crowded { messages: self.sender.messages() });
        }
        if self.events.pending >= self.config.max_pending_events {
            return Err(SendError::Backlog { pending: self.events.pending });
        }
        Ok(())
    }

    fn paths_up(&self) -> u16 {
        u16::try_from(self.paths.iter().filter(|p| p.conn().is_some()).count()).unwrap_or(u16::MAX)
    }

    fn path_index(&self, id: PathId) -> Option<usize> {
        self.paths.iter().position(|p| p.id == id)
    }

    // ---- what the engine wants ----

    /// A bit per path: see that [`Self::poll_transmit`] is called for its connection until it says false.
    pub fn take_kicks(&mut self) -> u64 {
        std::mem::take(&mut self.kicks)
    }

    /// The next thing that the driver should do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next event for the user. A message at the front waits while `leased` is false (F8); on the source side no lease is needed.
    pub fn poll_event(&mut self, leased: bool) -> Option<Event<S, R>> {
        if !leased && self.needs_lease() && matches!(self.events.queue.front(), Some(Event::Received(_))) {
            return None;
        }
        let event = self.events.queue.pop_front()?;
        self.untold = true;
        if event.ends_a_send() {
            self.events.pending -= 1;
        }
        Some(event)
    }

    /// The user has been told of every event that was given out so far, and is in no callback. To be called before more are taken, and
    /// when there are none: a target that closes waits for it, and so does the recovery of a port that is down.
    pub fn handle_told(&mut self, now: Time) {
        self.events.told(u32::MAX);
        self.events.out_told = 0;
        if !std::mem::take(&mut self.untold) {
            return;
        }
        if self.drain.is_some() {
            self.check_drained(now);
            self.rearm(now);
        }
        if !self.has_events() {
            self.begin_recovery(now);
        }
    }

    /// Of the completions and nacks that [`Self::take_events`] gave out after the last [`Self::handle_told`] the user has been told of so many:
    /// they do not count for `max_pending_events` any more. Need not be said unless a send was refused for that.
    pub fn handle_ends_told(&mut self, told: u32) {
        self.events.told(told.saturating_sub(self.events.out_told));
        self.events.out_told = told;
    }

    /// Takes everything that [`Self::poll_event`] would give, in its order. `into` must be empty. Without a lease to wait for it costs no
    /// more for many events than for one. Unlike those of `poll_event`, these have not been told yet.
    pub fn take_events(&mut self, leased: bool, into: &mut Queue<Event<S, R>>) {
        if into.is_empty() && (leased || !self.needs_lease()) {
            std::mem::swap(&mut self.events.queue, into);
            self.events.out = self.events.pending;
            self.untold |= !into.is_empty();
            return;
        }
        while let Some(event) = self.poll_event(leased) {
            if event.ends_a_send() {
                self.events.pending += 1;
                self.events.out += 1;
            }
            into.push_back(event);
        }
    }

    /// Whether messages of this port are delivered only under a lease.
    pub fn needs_lease(&self) -> bool {
        self.side == Side::Target && !self.unleased
    }

    /// Whether an event waits.
    pub fn has_events(&self) -> bool {
        !self.events.queue.is_empty()
    }

    /// When [`Self::handle_timeout`] is to be called; [`Time::NEVER`] while the port is idle.
    pub fn poll_timeout(&self) -> Time {
        self.armed
    }
}

fn flow_mark(config: &PortConfig, percent: u32) -> u64 {
    config.send_buffer_max / 100 * u64::from(percent)
        + config.send_buffer_max % 100 * u64::from(percent) / 100
}

/// Why a connection of this port is to be refused, or `Ok`.
pub(crate) type Judgement = Result<(), Reason>;

impl<S: Payload, R: Clone> Port<S, R> {
    /// Target side: may this connection begin? Asked before WELCOME.
    ///
    /// # Errors
    /// The reason to refuse it with.
    pub fn judge_conn(&self, path: PathId, conn: ConnId, generation: Generation) -> Judgement {
        if self.outranked {
            return Err(Reason::Superseded);
        }
        if self.side != Side::Target || self.state != State::ConnectedTo {
            return Err(Reason::UnknownSession);
        }
        if generation != self.generation {
            return Err(Reason::StaleGeneration);
        }
        if usize::from(path.0) >= wire::MAX_PATHS {
            return Err(Reason::Limit);
        }
        match self.path_index(path) {
            Some(at) if conn <= self.paths[at].last_conn => Err(Reason::ProtocolError),
            Some(_) | None if conn.0 == 0 => Err(Reason::ProtocolError),
            Some(_) | None => Ok(()),
        }
    }
}
