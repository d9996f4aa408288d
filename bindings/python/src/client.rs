//! Clients: names under which sources connect. Sources are accepted without asking Python, and wait in a queue.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use cdps::{ClientHandler, ClusterEvent as Told, ConnectRequest, Decision, PortConfig};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments;
use crate::call::{self, Deadline};
use crate::cluster::ClusterEvent;
use crate::failure::Failure;
use crate::mailbox::{EVENTS, Mailbox};
use crate::node::OpenNode;
use crate::port::Port;
use crate::settings::Settings;

/// A registered client of a node. Sources that connect to its name are accepted, up to the backlog; accept gives their ports.
#[pyclass(frozen, weakref, module = "cdps")]
pub(crate) struct Client {
    client: cdps::Client,
    arrivals: Arc<Arrivals>,
    node: Arc<OpenNode>,
}

#[pymethods]
impl Client {
    /// The name under which it is registered.
    #[getter]
    fn name(&self) -> &str {
        self.client.name()
    }

    /// The next target port: a source has connected to this client. Raises DeadlineExceeded, or ClosedError once the client is closed.
    #[pyo3(signature = (timeout=None))]
    fn accept(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Port> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let found = call::wait(py, self.node.home, deadline, |until| self.arrivals.take(until))?;
        let (port, mailbox) = found.ok_or_else(|| {
            Failure::Deadline(format!("no source has connected to client {:?}", self.client.name()))
        })?;
        Ok(Port::new(port, mailbox, &self.node))
    }

    /// The next event of the cluster: nodes and paths that come and go. Raises DeadlineExceeded after `timeout` seconds, and ClosedError once
    /// the client is closed. Of events that nobody asks for the last 65536 are kept.
    #[pyo3(signature = (timeout=None))]
    fn next_event(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<ClusterEvent> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let event = call::wait(py, self.node.home, deadline, |until| self.arrivals.next_event(until))?;
        event.ok_or_else(|| Failure::Deadline("nothing has happened in the cluster".into()).into())
    }

    /// Makes a source port, ready to connect to the client named `to` on the first of the nodes `targets`; the others are backups, in
    /// this order. They are reached at the addresses that the node's members have, or, if targets is a mapping, at those that it gives:
    /// "IP:PORT", or "IP:PORT/standby" for a path that carries only while no other one does.
    ///
    /// settings are those of cdps.PortSettings, each of which has a default. Among them: ack says when a send is complete: "sync" (the
    /// default), when the target's user acknowledges it; "async", when the target's port has it; "sent", when it was handed to a transport.
    /// With autoswitch the port goes to the next backup by itself when its target fails. role_epoch is the claim to an exclusive client.
    #[pyo3(signature = (to, *, targets, **settings))]
    fn open_port(
        &self,
        py: Python<'_>,
        to: String,
        targets: &Bound<'_, PyAny>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Port> {
        let targets = arguments::targets(targets)?;
        let settings = Settings::from(settings)?;
        let mailbox = Mailbox::new();
        let port = call::detached(py, self.node.home, || {
            let config = PortConfig { client: to, targets, ..settings.config(self.node.node.liveness()) };
            let port = self.node.node.create_port(config, Arc::clone(&mailbox) as _)?;
            let ready = port.register(&self.client).and_then(|()| port.initialize());
            if let Err(error) = ready {
                port.destroy();
                return Err(error.into());
            }
            Ok(port)
        })?;
        Ok(Port::new(port, mailbox, &self.node))
    }

    /// Unregisters it: further sources are refused, and its ports are closed at once, with unfinished sends nacked. Waits until that
    /// is done. Closing twice does nothing.
    #[pyo3(signature = (timeout=10.0))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        call::detached(py, self.node.home, || {
            self.client.unregister();
            Ok(())
        })?;
        let closed = call::wait(py, self.node.home, deadline, |until| Ok(self.arrivals.wait_closed(until)))?;
        closed.ok_or_else(|| Failure::Deadline("the client is not closed yet".into()).into())
    }

    fn __repr__(&self) -> String {
        format!("<cdps.Client {:?}>", self.client.name())
    }
}

impl Client {
    /// `config` is that of its target ports.
    pub(crate) fn register(
        node: &Arc<OpenNode>,
        name: &str,
        backlog: usize,
        exclusive: bool,
        config: PortConfig,
    ) -> Result<Client, Failure> {
        config.check().map_err(|error| Failure::Config(error.to_string()))?;
        let arrivals = Arc::new(Arrivals { backlog, state: Mutex::default(), some: Condvar::new() });
        let doorman = Arc::new(Doorman { arrivals: Arc::clone(&arrivals), config });
        let client = match exclusive {
            true => node.node.register_exclusive(name, doorman)?,
            false => node.node.register(name, doorman)?,
        };
        Ok(Client { client, arrivals, node: Arc::clone(node) })
    }
}

/// Target ports that Python has not taken yet.
struct Arrivals {
    /// How many there may be, those included that are not connected yet.
    backlog: usize,
    state: Mutex<Waiting>,
    some: Condvar,
}

#[derive(Default)]
struct Waiting {
    ready: VecDeque<(cdps::Port, Arc<Mailbox>)>,
    /// Accepted, not connected.
    coming: usize,
    /// Of the cluster, not asked for yet.
    events: VecDeque<ClusterEvent>,
    closed: bool,
}

impl Arrivals {
    fn reserve(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        if state.ready.len() + state.coming >= self.backlog {
            return None;
        }
        state.coming += 1;
        Some(Place(Arc::clone(self)))
    }

    fn take(&self, until: Instant) -> Result<Option<(cdps::Port, Arc<Mailbox>)>, Failure> {
        self.wait(until, |state| state.ready.pop_front())
    }

    fn next_event(&self, until: Instant) -> Result<Option<ClusterEvent>, Failure> {
        self.wait(until, |state| state.events.pop_front())
    }

    fn wait<T>(
        &self,
        until: Instant,
        mut look: impl FnMut(&mut Waiting) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let mut state = self.state.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(Some(found));
            }
            if state.closed {
                return Err(Failure::Closed("the client is closed".into()));
            }
            if until <= Instant::now() {
                return Ok(None);
            }
            self.some.wait_until(&mut state, until);
        }
    }

    fn wait_closed(&self, until: Instant) -> Option<()> {
        let mut state = self.state.lock();
        while !state.closed && !self.some.wait_until(&mut state, until).timed_out() {}
        state.closed.then_some(())
    }
}

/// A place in the queue, given back when it is dropped.
pub(crate) struct Place(Arc<Arrivals>);

impl Place {
    pub(crate) fn arrival(self, mailbox: Weak<Mailbox>) -> Arrival {
        Arrival { place: self, mailbox }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state.lock().coming -= 1;
    }
}

/// A target port that is accepted and not connected yet.
pub(crate) struct Arrival {
    place: Place,
    mailbox: Weak<Mailbox>,
}

impl Arrival {
    /// It is connected.
    pub(crate) fn announce(self, port: &cdps::Port) {
        let Some(mailbox) = self.mailbox.upgrade() else { return };
        let arrivals = &self.place.0;
        arrivals.state.lock().ready.push_back((port.clone(), mailbox));
        arrivals.some.notify_all();
    }
}

/// Answers for the client, on a callback thread.
struct Doorman {
    arrivals: Arc<Arrivals>,
    config: PortConfig,
}

impl ClientHandler for Doorman {
    fn connect_request(&self, _request: &ConnectRequest) -> Decision {
        match self.arrivals.reserve() {
            Some(place) => {
                Decision::Accept { config: self.config.clone(), handler: Mailbox::announcing(place) }
            }
            None => Decision::Refuse {
                text: format!("the client takes {} waiting sources, and no more", self.arrivals.backlog),
            },
        }
    }

    fn cluster(&self, event: &Told) {
        let mut state = self.arrivals.state.lock();
        if state.events.len() >= EVENTS {
            state.events.pop_front();
        }
        state.events.push_back(event.into());
        drop(state);
        self.arrivals.some.notify_all();
    }

    fn closed(&self) {
        let ready = {
            let mut state = self.arrivals.state.lock();
            state.closed = true;
            std::mem::take(&mut state.ready)
        };
        self.arrivals.some.notify_all();
        drop(ready);
    }
}
