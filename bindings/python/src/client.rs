//! Clients: names under which sources connect. Sources are accepted without asking Python, and wait in a queue.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use cdps::{ClientHandler, ConnectRequest, Decision, NodeId, PortConfig, Target};
use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

use crate::arguments;
use crate::call::{self, Deadline};
use crate::failure::Failure;
use crate::mailbox::Mailbox;
use crate::node::OpenNode;
use crate::port::Port;

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

    /// Makes a source port, ready to connect to the client named `to` on the first of the nodes `targets`; the others are backups, in
    /// this order. They are reached at the addresses that the node's members have.
    ///
    /// ack says when a send is complete: "sync", when the target's user acknowledges it; "async", when the target's port has it;
    /// "sent", when it was handed to a transport. With autoswitch the port goes to the next backup by itself when its target fails; one that is
    /// not heard is waited for first, for switch_grace seconds.
    /// A message that the target's user has not acknowledged for user_ack_timeout seconds is the matter of an "overdue" event; None: never.
    #[pyo3(signature = (to, *, targets, ack="sync", autoswitch=false, switch_grace=0.0, connect_timeout=5.0, user_ack_timeout=30.0))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn open_port(
        &self,
        py: Python<'_>,
        to: String,
        targets: Vec<u32>,
        ack: &str,
        autoswitch: bool,
        switch_grace: f64,
        connect_timeout: f64,
        user_ack_timeout: Option<f64>,
    ) -> PyResult<Port> {
        let target = |node| Target { node: NodeId(node), addresses: Vec::new() };
        let config = PortConfig {
            client: to,
            targets: targets.into_iter().map(target).collect(),
            ack: arguments::ack_model(ack)?,
            autoswitch,
            switch_grace: arguments::seconds_of("switch_grace", switch_grace)?,
            connect_timeout: arguments::seconds_of("connect_timeout", connect_timeout)?,
            user_ack_timeout: user_ack_timeout
                .map(|seconds| arguments::seconds_of("user_ack_timeout", seconds))
                .transpose()?,
            ..PortConfig::default()
        };
        let mailbox = Mailbox::new();
        let port = call::detached(py, self.node.home, || {
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
    pub(crate) fn register(node: &Arc<OpenNode>, name: &str, backlog: usize) -> Result<Client, Failure> {
        let arrivals = Arc::new(Arrivals { backlog, state: Mutex::default(), some: Condvar::new() });
        let client = node.node.register(name, Arc::new(Doorman(Arc::clone(&arrivals))))?;
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
        let mut state = self.state.lock();
        loop {
            if let Some(first) = state.ready.pop_front() {
                return Ok(Some(first));
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
struct Doorman(Arc<Arrivals>);

impl ClientHandler for Doorman {
    fn connect_request(&self, _request: &ConnectRequest) -> Decision {
        match self.0.reserve() {
            Some(place) => {
                Decision::Accept { config: PortConfig::default(), handler: Mailbox::announcing(place) }
            }
            None => Decision::Refuse {
                text: format!("the client takes {} waiting sources, and no more", self.0.backlog),
            },
        }
    }

    fn closed(&self) {
        let ready = {
            let mut state = self.0.state.lock();
            state.closed = true;
            std::mem::take(&mut state.ready)
        };
        self.0.some.notify_all();
        drop(ready);
    }
}
