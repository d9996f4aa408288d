//! What a port tells, until Python asks for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cdps::{ConnStatus, Deliverable, Message, NodeId, PortEvent, PortHandler, Reason};
use parking_lot::{Condvar, Mutex};

use crate::client::{Arrival, Place};
use crate::event::Event;
use crate::failure::Failure;
use crate::sending::{Outcome, Sending};

/// Events that are kept, at most. A program that never asks for them loses the oldest, and is told how many.
const EVENTS: usize = 1024;
/// How often a message that waits for the lease is looked at again.
const LEASE_LOOK: Duration = Duration::from_millis(20);

/// The queues of one port. The callback thread fills them and never waits.
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
    /// How the connect that is under way has ended.
    connect: Option<Result<Event, ConnectFailure>>,
    connecting: bool,
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

/// Why a connect has failed.
#[derive(Clone, Copy)]
pub(crate) struct ConnectFailure {
    pub(crate) node: Option<NodeId>,
    pub(crate) reason: Reason,
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

    // ---- connecting and closing ----

    /// A connect begins.
    ///
    /// # Errors
    /// Another one is under way.
    pub(crate) fn begin_connect(&self) -> Result<(), Failure> {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.connecting, true) {
            return Err(Failure::State("another thread connects this port".into()));
        }
        state.connect = None;
        Ok(())
    }

    /// The port has no session: waits until the end of the last one has been told, so that it is not taken for the end of the connect
    /// that begins. That cannot take long, for the callback thread never waits.
    pub(crate) fn settle(&self) {
        let mut state = self.state.lock();
        while state.in_use && !state.finished {
            self.changed.wait(&mut state);
        }
        state.connect = None;
    }

    /// The port has taken it up.
    pub(crate) fn connect_begun(&self) {
        let mut state = self.state.lock();
        state.in_use |= state.connect.is_none();
    }

    /// The connect that was begun is over.
    pub(crate) fn end_connect(&self) {
        self.state.lock().connecting = false;
    }

    /// How the connect has ended; `None` if it has not until then.
    ///
    /// # Errors
    /// The port was closed.
    pub(crate) fn connect_outcome(
        &self,
        until: Instant,
    ) -> Result<Option<Result<Event, ConnectFailure>>, Failure> {
        self.wait(until, |state| match state.connect.take() {
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

    // ---- what the port tells ----

    fn status(&self, port: &cdps::Port, status: &ConnStatus) {
        let event = Event::status(status);
        let arrival = {
            let mut state = self.state.lock();
            state.take_note(status, &event);
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

    fn take_note(&mut self, status: &ConnStatus, event: &Event) {
        match *status {
            ConnStatus::Connected { .. } | ConnStatus::Recovered { .. } => {
                self.in_use = true;
                self.over = None;
                self.down = None;
                self.connect = Some(Ok(event.clone()));
            }
            ConnStatus::ConnectFailed { node, reason } => {
                self.in_use = false;
                self.connect = Some(Err(ConnectFailure { node: Some(node), reason }));
            }
            ConnStatus::Closed { reason } => {
                self.in_use = false;
                self.closes += 1;
                self.over = Some(reason);
                self.connect = Some(Err(ConnectFailure { node: None, reason }));
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
            // A send that finds the buffer full waits, or says so; the marks below that are not passed on yet.
            PortEvent::Flow { .. } => {}
            // Said to no one yet: the send that it is about has ended.
            PortEvent::Resolved { .. } => {}
            PortEvent::Received(message) => {
                self.state.lock().messages.push_back(message);
                self.received.notify_one();
            }
            PortEvent::Status(status) => self.status(port, &status),
            PortEvent::Path { path, health, reason } => {
                self.state.lock().push(Event::path(path, health, reason));
                self.changed.notify_all();
            }
            PortEvent::Overdue { sn, stream, waited } => {
                self.state.lock().push(Event::overdue(sn, stream, waited));
                self.changed.notify_all();
            }
            PortEvent::Final => self.finish(),
        }
    }
}
