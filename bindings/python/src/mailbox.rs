//! What a port tells, until Python asks for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cdps::{
    BackupChoice, ConnStatus, Deliverable, FenceRequest, Generation, Message, NodeId, PortEvent, PortHandler,
    Reason, State as PortState,
};
use parking_lot::{Condvar, Mutex};

use crate::client::{Arrival, Place};
use crate::event::Event;
use crate::failure::Failure;
use crate::sending::{Outcome, Sending};

/// Events that are kept, at most. A program that never asks for them loses the oldest, and is told how many.
pub(crate) const EVENTS: usize = 65_536;
/// How often a message that waits for the lease is looked at again.
const LEASE_LOOK: Duration = Duration::from_millis(20);
/// How often a callback thread that waits for an answer looks whether its port is still there.
const ASKED_LOOK: Duration = Duration::from_millis(20);
/// A lease that has run out, seen by the engine's clock, is not to be guarded any more.
const AFTER_LEASE: Duration = Duration::from_millis(50);

/// The queues of one port. The callback thread fills them, and waits for nothing but an answer that was asked for.
pub(crate) struct Mailbox {
    state: Mutex<State>,
    /// Messages came, or none will.
    received: Condvar,
    /// Anything else.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Not asked for yet. Bounded by the port's window: until a message is taken its credit is not given back.
    messages: VecDeque<Message>,
    events: VecDeque<Event>,
    events_lost: u64,
    /// Sends that have not ended, by context. Bounded by the port's send buffer and its span of message numbers.
    sends: HashMap<u64, Arc<Sending>>,
    last_context: u64,
    /// The call that moves the port, if one is under way: connect, reset or switch.
    moving: Option<Move>,
    /// How it has ended.
    moved: Option<Result<Event, MoveFailure>>,
    /// What the callback thread waits for.
    asked: Option<Asked>,
    answer: Option<Answer>,
    /// There is, or may be, a session whose end has not been told.
    in_use: bool,
    drains: u64,
    closes: u64,
    /// Why there is no session any more.
    over: Option<Reason>,
    /// The target that was lost, and why, until the next one is connected.
    down: Option<(NodeId, Reason)>,
    finished: bool,
    /// A target port that Python has not been told of.
    arrival: Option<Arrival>,
}

/// A call that moves the port, whose end an event says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Connect,
    Reset,
    /// From the session of this generation to this node.
    Switch {
        to: NodeId,
        from: Generation,
    },
}

impl Move {
    fn name(self) -> &'static str {
        match self {
            Move::Connect => "connects",
            Move::Reset => "resets",
            Move::Switch { .. } => "switches",
        }
    }
}

/// Why such a call has failed.
#[derive(Clone, Copy)]
pub(crate) struct MoveFailure {
    pub(crate) node: Option<NodeId>,
    pub(crate) reason: Reason,
}

/// What Python is to answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Backup,
    Fence,
}

/// What it has answered.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Backup(Option<NodeId>),
    Fence(bool),
}

impl Answer {
    fn to(self) -> Asked {
        match self {
            Answer::Backup(_) => Asked::Backup,
            Answer::Fence(_) => Asked::Fence,
        }
    }
}

/// What close waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) drains: u64,
    pub(crate) closes: u64,
    pub(crate) finished: bool,
}

impl Mailbox {
    /// Of a source port.
    pub(crate) fn new() -> Arc<Mailbox> {
        Arc::new(Mailbox::with(None))
    }

    /// Of a target port, which is announced when its first connection is up.
    pub(crate) fn announcing(place: Place) -> Arc<Mailbox> {
        Arc::new_cyclic(|mailbox| Mailbox::with(Some(place.arrival(mailbox.clone()))))
    }

    fn with(arrival: Option<Arrival>) -> Mailbox {
        let state = State { arrival, ..State::default() };
        Mailbox { state: Mutex::new(state), received: Condvar::new(), changed: Condvar::new() }
    }

    // ---- messages and events ----

    /// The next message; `None` if there is none until then.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn receive(&self, until: Instant) -> Result<Option<Message>, Failure> {
        let mut revoked = Vec::new();
        let mut state = self.state.lock();
        let result = loop {
            let mut wake = until;
            match state.messages.front().map(Message::deliverable) {
                Some(Deliverable::Now) => break Ok(state.messages.pop_front()),
                // Released below, without the lock.
                Some(Deliverable::Never) => {
                    revoked.extend(state.messages.pop_front());
                    continue;
                }
                Some(Deliverable::Later) => wake = until.min(Instant::now() + LEASE_LOOK),
                None if state.finished => break Err(Failure::Closed("the port is closed".into())),
                None => {
                    if let Some(reason) = state.over {
                        break Err(Failure::Closed(format!("the session is over: {reason}")));
                    }
                }
            }
            if until <= Instant::now() {
                break Ok(None);
            }
            self.received.wait_until(&mut state, wake);
        };
        drop(state);
        drop(revoked);
        result
    }

    /// The next event; `None` if there is none until then.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn next_event(&self, until: Instant) -> Result<Option<Event>, Failure> {
        self.wait(until, |state| match state.events.pop_front() {
            Some(event) => Some(Ok(event)),
            None => state.finished.then(|| Err(Failure::Closed("the port is closed".into()))),
        })
        .transpose()
    }

    /// Events that were lost because nobody asked for them.
    pub(crate) fn events_lost(&self) -> u64 {
        self.state.lock().events_lost
    }

    // ---- sends ----

    /// A send begins: its context.
    pub(crate) fn expect(&self, sending: &Arc<Sending>) -> u64 {
        let mut state = self.state.lock();
        state.last_context += 1;
        let context = state.last_context;
        state.sends.insert(context, Arc::clone(sending));
        context
    }

    /// The target that was lost, and why, while there is no other.
    pub(crate) fn down(&self) -> Option<(NodeId, Reason)> {
        self.state.lock().down
    }

    /// A send was refused.
    pub(crate) fn forget(&self, context: u64) {
        self.state.lock().sends.remove(&context);
    }

    fn end(&self, context: u64, outcome: Outcome) {
        let sending = self.state.lock().sends.remove(&context);
        if let Some(sending) = sending {
            sending.end(outcome);
        }
    }

    // ---- connecting, switching and closing ----

    /// A call that moves the port begins.
    ///
    /// # Errors
    /// Another one is under way.
    pub(crate) fn begin(&self, moving: Move) -> Result<(), Failure> {
        let mut state = self.state.lock();
        if let Some(other) = state.moving {
            return Err(Failure::State(format!("another thread {} this port", other.name())));
        }
        (state.moving, state.moved) = (Some(moving), None);
        Ok(())
    }

    /// The port has no session: waits until the end of the last one has been told, so that it is not taken for the end of the connect
    /// that begins. That cannot take long, for the callback thread waits for nothing but answers.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        while state.in_use && !state.finished {
            self.changed.wait(&mut state);
        }
        state.moved = None;
    }

    /// The port has taken a connect up.
    pub(crate) fn connect_begun(&self) {
        let mut state = self.state.lock();
        state.in_use |= state.moved.is_none();
    }

    /// The call that was begun is over.
    pub(crate) fn end_move(&self) {
        self.state.lock().moving = None;
    }

    /// How it has ended; `None` if it has not until then.
    ///
    /// # Errors
    /// The port was closed.
    pub(crate) fn outcome(&self, until: Instant) -> Result<Option<Result<Event, MoveFailure>>, Failure> {
        self.wait(until, |state| match state.moved.take() {
            Some(outcome) => Some(Ok(outcome)),
            None => state.finished.then(|| Err(Failure::Closed("the port is closed".into()))),
        })
        .transpose()
    }

    pub(crate) fn ends(&self) -> Ends {
        self.state.lock().ends()
    }

    /// Waits until `enough`; `None` if that is not so until then.
    pub(crate) fn wait_ends(&self, until: Instant, enough: impl Fn(Ends) -> bool) -> Option<()> {
        self.wait(until, |state| enough(state.ends()).then_some(()))
    }

    fn wait<T>(&self, until: Instant, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return look(&mut state);
            }
        }
    }

    // ---- questions ----

    /// Answers what was asked.
    ///
    /// # Errors
    /// Nothing of that kind is asked, or not any more.
    pub(crate) fn answer(&self, answer: Answer) -> Result<(), Failure> {
        let mut state = self.state.lock();
        if state.asked != Some(answer.to()) {
            return Err(Failure::State("nobody asks for that, or not any more".into()));
        }
        (state.asked, state.answer) = (None, Some(answer));
        self.changed.notify_all();
        Ok(())
    }

    /// Nobody will answer: the port is being closed at once.
    pub(crate) fn withdraw(&self) {
        self.state.lock().asked = None;
        self.changed.notify_all();
    }

    /// Asks Python, by an event, and waits for its answer; `None`: there was none in time, or the port is gone.
    fn ask(&self, port: &cdps::Port, what: Asked, event: Event, limit: Duration) -> Option<Answer> {
        let until = Instant::now() + limit;
        let mut state = self.state.lock();
        state.push(event);
        (state.asked, state.answer) = (Some(what), None);
        self.changed.notify_all();
        loop {
            let now = Instant::now();
            if state.asked.is_none() || now >= until {
                break;
            }
            self.changed.wait_until(&mut state, until.min(now + ASKED_LOOK));
            let gone = parking_lot::MutexGuard::unlocked(&mut state, || port.state() == PortState::Destroyed);
            if gone {
                break;
            }
        }
        state.asked = None;
        state.answer.take()
    }

    // ---- what the port tells ----

    fn status(&self, port: &cdps::Port, status: &ConnStatus) {
        let event = Event::status(status);
        let arrival = {
            let mut state = self.state.lock();
            state.take_note(status);
            state.note_move(status, &event);
            state.push(event);
            let up = matches!(status, ConnStatus::Connected { .. });
            if up { state.arrival.take() } else { None }
        };
        self.changed.notify_all();
        self.received.notify_all();
        if let Some(arrival) = arrival {
            arrival.announce(port);
        }
    }

    fn note(&self, event: Event) {
        self.state.lock().push(event);
        self.changed.notify_all();
    }

    fn finish(&self) {
        let arrival = {
            let mut state = self.state.lock();
            state.finished = true;
            state.arrival.take()
        };
        self.changed.notify_all();
        self.received.notify_all();
        drop(arrival);
    }
}

impl State {
    fn ends(&self) -> Ends {
        Ends { drains: self.drains, closes: self.closes, finished: self.finished }
    }

    fn push(&mut self, event: Event) {
        if self.events.len() >= EVENTS {
            self.events.pop_front();
            self.events_lost += 1;
        }
        self.events.push_back(event);
    }

    /// How the call that is under way has ended, if this says it. What was queued before it began, of an earlier session, does not.
    fn note_move(&mut self, status: &ConnStatus, event: &Event) {
        let Some(moving) = self.moving else { return };
        let failed = |node, reason| Some(Err(MoveFailure { node, reason }));
        let ended = match (moving, status) {
            (Move::Connect, ConnStatus::Connected { .. } | ConnStatus::Recovered { .. })
            | (Move::Reset, ConnStatus::Recovered { .. }) => Some(Ok(event.clone())),
            (Move::Connect, ConnStatus::ConnectFailed { node, reason }) => failed(Some(*node), *reason),
            (Move::Switch { to, from }, ConnStatus::Switched { node, generation, .. })
                if *generation > from =>
            {
                // Elsewhere: the new target has failed after all, and another one took over.
                if *node == to { Some(Ok(event.clone())) } else { failed(Some(to), Reason::Unreachable) }
            }
            (Move::Switch { to, .. }, ConnStatus::SwitchFailed { node, reason }) if *node == to => {
                failed(Some(to), *reason)
            }
            (Move::Switch { from, .. }, ConnStatus::Down { node, reason, decision })
                if decision.generation >= from =>
            {
                failed(Some(*node), *reason)
            }
            (_, ConnStatus::Closed { reason }) => failed(None, *reason),
            _ => None,
        };
        if ended.is_some() {
            self.moved = ended;
        }
    }

    fn take_note(&mut self, status: &ConnStatus) {
        match *status {
            ConnStatus::Connected { .. } | ConnStatus::Recovered { .. } => {
                self.in_use = true;
                self.over = None;
                self.down = None;
            }
            ConnStatus::ConnectFailed { .. } => self.in_use = false,
            ConnStatus::Closed { reason } => {
                self.in_use = false;
                self.closes += 1;
                self.over = Some(reason);
            }
            ConnStatus::Drained => self.drains += 1,
            ConnStatus::Down { node, reason, .. } => self.down = Some((node, reason)),
            ConnStatus::Switched { .. } => self.down = None,
            ConnStatus::Switching { .. } | ConnStatus::SwitchFailed { .. } | ConnStatus::Reset { .. } => {}
        }
    }
}

impl PortHandler for Mailbox {
    fn event(&self, port: &cdps::Port, event: PortEvent) {
        match event {
            PortEvent::Completed { context, rc, .. } => self.end(context, Outcome::Completed { rc }),
            PortEvent::Nacked { context, reason, certainty, .. } => {
                self.end(context, Outcome::Nacked { reason, certainty });
            }
            // Nothing is lent: every send is a copy.
            PortEvent::Released { .. } => {}
            PortEvent::Flow { on, reason, bytes, messages } => {
                self.note(Event::flow(on, reason, bytes, messages));
            }
            PortEvent::Resolved { sn, verdict } => self.note(Event::resolved(sn, verdict)),
            PortEvent::Received(message) => {
                self.state.lock().messages.push_back(message);
                self.received.notify_one();
            }
            PortEvent::Status(status) => self.status(port, &status),
            PortEvent::Path { path, health, reason } => self.note(Event::path(path, health, reason)),
            PortEvent::Overdue { sn, stream, waited } => self.note(Event::overdue(sn, stream, waited)),
            PortEvent::Final => self.finish(),
        }
    }

    fn choose_backup(&self, port: &cdps::Port, choice: &BackupChoice) -> Option<NodeId> {
        let limit = port.config().map_or(Duration::ZERO, |config| config.connect_timeout);
        match self.ask(port, Asked::Backup, Event::choose_backup(choice), limit) {
            Some(Answer::Backup(node)) => node,
            Some(Answer::Fence(_)) | None => choice.candidates.first().copied(),
        }
    }

    fn fence(&self, port: &cdps::Port, request: &FenceRequest) -> bool {
        let limit = request.lease_left + AFTER_LEASE;
        matches!(self.ask(port, Asked::Fence, Event::fence(request), limit), Some(Answer::Fence(true)))
    }
}
