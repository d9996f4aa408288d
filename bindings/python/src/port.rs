//! Ports.

use std::io::IoSlice;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cdps::{Link, NodeId, Priority, SendError, SendOptions, State, StreamContract, StreamId};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arguments;
use crate::call::{self, Deadline};
use crate::event::{self, Event};
use crate::failure::Failure;
use crate::figures;
use crate::mailbox::{Answer, Mailbox, Move, MoveFailure};
use crate::message::Message;
use crate::node::OpenNode;
use crate::sending::{SendHandle, Sending};
use crate::settings::Settings;

/// How often a send looks again while too many completions wait. Nothing says when that is over.
const BACKLOG_LOOK: Duration = Duration::from_millis(2);

/// A data port: one pipe, over all paths to its target. Source ports come from Client.open_port, target ports from Client.accept.
/// Both ends send and receive, from any number of threads.
#[pyclass(frozen, weakref, module = "cdps")]
pub(crate) struct Port {
    port: cdps::Port,
    mailbox: Arc<Mailbox>,
    node: Arc<OpenNode>,
}

#[pymethods]
impl Port {
    /// State of the port, in upper case: INITIALIZED, CONNECTING, CONNECTED, STOPPED (source), CONNECTEDTO, REGISTERED (target),
    /// DESTROYED.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        call::detached(py, self.node.home, || Ok(self.port.state().name()))
    }

    /// The connection, on a second axis: up, down, "down and drained", or switching.
    #[getter]
    fn link(&self, py: Python<'_>) -> PyResult<&'static str> {
        call::detached(py, self.node.home, || Ok(self.port.link().name()))
    }

    /// The node at the other end, if there is one.
    #[getter]
    fn peer(&self, py: Python<'_>) -> PyResult<Option<u32>> {
        call::detached(py, self.node.home, || Ok(self.port.peer().map(|node| node.0)))
    }

    /// Generation of the session, as (role epoch, counter).
    #[getter]
    fn generation(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        call::detached(py, self.node.home, || Ok(event::pair(self.port.generation())))
    }

    /// Its session: node, incarnation of that node, and number of the source port. It is the same at both ends.
    #[getter]
    fn session(&self) -> (u32, u64, u32) {
        let session = self.port.session();
        (session.node.0, session.incarnation.0, session.port)
    }

    /// Events that were lost because more than 65536 waited for next_event.
    #[getter]
    fn events_lost(&self, py: Python<'_>) -> PyResult<u64> {
        call::detached(py, self.node.home, || Ok(self.mailbox.events_lost()))
    }

    /// Connects a source port to its first target, or to the node `to` among its targets, and gives the "connected" event.
    ///
    /// Raises LinkError when that fails, which is the case after connect_timeout at the latest, and DeadlineExceeded when `timeout`
    /// seconds have passed before (nothing goes on then).
    #[pyo3(signature = (to=None, *, timeout=None))]
    fn connect(&self, py: Python<'_>, to: Option<u32>, timeout: Option<f64>) -> PyResult<Event> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        call::detached(py, self.node.home, || self.start_connect(to.map(NodeId)))?;
        let outcome = call::wait(py, self.node.home, deadline, |until| self.mailbox.outcome(until));
        call::detached(py, self.node.home, || {
            if !matches!(outcome, Ok(Some(_))) {
                self.give_up_connect();
            }
            self.mailbox.end_move();
            Ok(())
        })?;
        ended(outcome?, "connecting has failed", "not connected in time")
    }

    /// Goes over to another target of a connected port in an orderly way, and gives the "switched" event: nothing is nacked, lost or delivered
    /// twice, and what is sent meanwhile is queued. It waits until every message has ended, and the present target's user has taken each.
    ///
    /// Raises LinkError when that does not come about within switch_timeout: then the port stays where it is (or it is where peer says, if the
    /// new target has failed at the last moment); DeadlineExceeded when `timeout` seconds have passed before (it goes on, and an event
    /// says how it ends); StateError if the port is not connected; ConfigError if `node` is none of its targets, or the present one.
    #[pyo3(signature = (node, *, timeout=None))]
    fn switch(&self, py: Python<'_>, node: u32, timeout: Option<f64>) -> PyResult<Event> {
        let (to, deadline) = (NodeId(node), Deadline::after(arguments::timeout(timeout)?));
        let from = call::detached(py, self.node.home, || Ok(self.port.generation()))?;
        let outcome =
            self.do_move(py, Move::Switch { to, from }, deadline, || Ok(self.port.switch(to)?))?;
        ended(outcome, "the switch has failed", "not switched in time")
    }

    /// Halts sending and keeps session and paths: what has not been sent is nacked, what has been sent finishes, and receiving goes on. Waits
    /// until every send has ended; raises DeadlineExceeded if that takes longer than `timeout` seconds (it goes on). The port is STOPPED
    /// at once: reset, connect or close leads on.
    #[pyo3(signature = (*, timeout=None))]
    fn stop(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let before = call::detached(py, self.node.home, || {
            let before = self.mailbox.ends();
            self.port.stop()?;
            Ok(before)
        })?;
        let next = |until| Ok(self.mailbox.wait_ends(until, |now| now.finished || now != before));
        let drained = call::wait(py, self.node.home, deadline, next)?;
        drained.ok_or_else(|| Failure::Deadline("not every send has ended yet".into()).into())
    }

    /// Asks the target of a stopped port to go on under a new generation, and gives the "recovered" event: the port is CONNECTED again. What
    /// was unfinished has been nacked; "resolved" events before it say what became of what was unknown. A target that cannot be reached is
    /// waited for, also after DeadlineExceeded; connect and close end that. After a "down" no reset is needed: a port asks by itself.
    #[pyo3(signature = (*, timeout=None))]
    fn reset(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Event> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let outcome = self.do_move(py, Move::Reset, deadline, || Ok(self.port.reset()?))?;
        ended(outcome, "the reset has failed", "the target has not answered in time")
    }

    /// Answers a "choose_backup" event: one of its candidates, or None for none, so that the connection is down. Raises StateError if nothing
    /// is asked (any more): after connect_timeout the backup is chosen in listed order.
    #[pyo3(signature = (node))]
    fn choose_backup(&self, py: Python<'_>, node: Option<u32>) -> PyResult<()> {
        call::detached(py, self.node.home, || self.mailbox.answer(Answer::Backup(node.map(NodeId))))
    }

    /// Answers a "fence" event: whether it is certain now that the target does nothing more, because its power was cut for instance. Raises
    /// StateError if nothing is asked (any more): its lease is over.
    fn fenced(&self, py: Python<'_>, certain: bool) -> PyResult<()> {
        call::detached(py, self.node.home, || self.mailbox.answer(Answer::Fence(certain)))
    }

    /// Sets timeouts and policies of the port anew, on either end, in any state: all that is given, after it was checked together with what
    /// stays, or nothing. Raises ConfigError for a setting that cannot be changed on a live port, or that contradicts another one.
    #[pyo3(signature = (**settings))]
    fn reconfigure(&self, py: Python<'_>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let settings = Settings::from(settings)?;
        call::detached(py, self.node.home, || Ok(self.port.reconfigure(|config| settings.apply(config))?))
    }

    /// Timers that hold, in seconds, with what follows from them: the longest pause that the loss of a target leads to, the time until it is
    /// noticed (detection), what is left of its lease then (lease_rest). None: there is none.
    fn timers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let config = call::detached(py, self.node.home, || Ok(self.port.config()))?;
        let config =
            config.ok_or_else(|| Failure::State("the connect request is not answered yet".into()))?;
        figures::timers(py, &config)
    }

    /// Figures of the port since it was made, as cdps_port_stats_t has them; times in seconds.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = call::detached(py, self.node.home, || Ok(self.port.stats()))?;
        figures::port(py, &stats)
    }

    /// Figures of each path of the present session, as cdps_path_stats_t has them; times in seconds, rtt None until it is measured.
    fn path_stats<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let stats = call::detached(py, self.node.home, || Ok(self.port.path_stats()))?;
        stats.iter().map(|path| figures::path(py, path)).collect()
    }

    /// Sends a message, a bytes-like object; the bytes are copied. Gives a handle for its outcome.
    ///
    /// Messages of one stream arrive in the order in which they were sent. Without `stream` the calling thread has one of its own. When
    /// the send buffer is full the call waits for room: DeadlineExceeded after `timeout` seconds, WouldBlock at once if that is 0. While
    /// the connection is down it raises LinkError. After an exception nothing was sent. A message that has not begun to travel `deadline`
    /// seconds after it was taken ends as Nacked, and its stream goes on without it. A `barrier` arrives after everything that was sent
    /// before it, and before anything sent later, on all streams. `ack` is as for open_port, of this message alone.
    #[pyo3(signature = (data, *, stream=None, timeout=None, deadline=None, barrier=false, ack=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn send(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        stream: Option<u32>,
        timeout: Option<f64>,
        deadline: Option<f64>,
        barrier: bool,
        ack: Option<&str>,
    ) -> PyResult<SendHandle> {
        let data = arguments::payload(data)?;
        let timeout = arguments::timeout(timeout)?;
        let worth = arguments::timeout(deadline)?;
        let deadline = Deadline::after(timeout);
        let sending = Arc::new(Sending::default());
        let context = call::detached(py, self.node.home, || Ok(self.mailbox.expect(&sending)))?;
        let options = SendOptions {
            stream: stream.map(StreamId),
            deadline: worth,
            barrier,
            ack: ack.map(arguments::ack_model).transpose()?,
            context,
            ..SendOptions::default()
        };
        let bytes: &[u8] = &data;
        let sent = call::wait(py, self.node.home, deadline, |until| self.try_send(bytes, options, until));
        match sent {
            Ok(Some(sn)) => Ok(SendHandle { sn, sending, home: self.node.home }),
            refused => {
                call::detached(py, self.node.home, || {
                    self.mailbox.forget(context);
                    Ok(())
                })?;
                refused?;
                if timeout == Some(Duration::ZERO) {
                    return Err(Failure::WouldBlock.into());
                }
                Err(Failure::Deadline("the send buffer was full for the whole timeout".into()).into())
            }
        }
    }

    /// The next message. Raises DeadlineExceeded after `timeout` seconds, and ClosedError when the session is over and everything that
    /// came was taken.
    #[pyo3(signature = (timeout=None))]
    fn recv(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Message> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let message = call::wait(py, self.node.home, deadline, |until| self.mailbox.receive(until))?;
        let message = message.ok_or_else(|| Failure::Deadline("no message has come".into()))?;
        Message::new(py, message, &self.port, self.node.home)
    }

    /// The next event: of the connection, its paths, messages that are overdue or resolved, the send buffer's marks, and what is asked. Raises
    /// DeadlineExceeded after `timeout` seconds, and ClosedError after the last.
    #[pyo3(signature = (timeout=None))]
    fn next_event(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Event> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let event = call::wait(py, self.node.home, deadline, |until| self.mailbox.next_event(until))?;
        event.ok_or_else(|| Failure::Deadline("no event has come".into()).into())
    }

    /// Says what holds for a stream before its first message: `ack`, when a send that is made on it is complete ("sync", "async" or "sent"; None: as for
    /// the port), and whether it is `high`: its messages go before all others that wait, and never wait for what the other end's user
    /// keeps of those. Without `stream` the calling thread's own. Raises StateError if the stream has messages, ConfigError if the other end is of a
    /// release that does not know priorities.
    #[pyo3(signature = (stream=None, *, ack=None, high=false))]
    fn set_stream(&self, py: Python<'_>, stream: Option<u32>, ack: Option<&str>, high: bool) -> PyResult<()> {
        let ack = ack.map(arguments::ack_model).transpose()?;
        let priority = if high { Priority::High } else { Priority::Normal };
        let contract = StreamContract { ack, priority };
        call::detached(py, self.node.home, || Ok(self.port.set_stream(stream.map(StreamId), contract)?))
    }

    /// Holds traffic without closing: sends are taken as before, and none begins to travel, until resume or close. Receiving goes on.
    /// Raises StateError if the port is not connected.
    fn suspend(&self, py: Python<'_>) -> PyResult<()> {
        call::detached(py, self.node.home, || Ok(self.port.suspend()?))
    }

    /// Lets go what suspend holds. Raises StateError if the port is not connected.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        call::detached(py, self.node.home, || Ok(self.port.resume()?))
    }

    /// Adds an address, "IP:PORT" or "IP:PORT/standby", to the target `node`; if the port is connected to it, as a path of the session. Raises
    /// ConfigError if it is no target, or has the address already.
    fn add_address(&self, py: Python<'_>, node: u32, address: &str) -> PyResult<()> {
        let address = arguments::address(address)?;
        call::detached(py, self.node.home, || Ok(self.port.add_address(NodeId(node), address)?))
    }

    /// Removes an address from the target `node`. Its path is given up at once; what was on its way there goes again on the others. The other
    /// end sees it as a dead one until the session ends. Raises
    /// ConfigError if the target does not have it, or has no other.
    fn remove_address(&self, py: Python<'_>, node: u32, address: &str) -> PyResult<()> {
        let address = arguments::address(address)?;
        call::detached(py, self.node.home, || Ok(self.port.remove_address(NodeId(node), address.remote)?))
    }

    /// Closes the port for good. Waits until every send has ended, then for the end of the session; with `immediate` unfinished sends
    /// are nacked at once. Raises DeadlineExceeded if that takes longer than `timeout` seconds (it goes on). Closing twice does nothing.
    #[pyo3(signature = (*, immediate=false, timeout=None))]
    fn close(&self, py: Python<'_>, immediate: bool, timeout: Option<f64>) -> PyResult<()> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        // CONNECTED, STOPPED, and over: at most three steps.
        while let Some(before) = call::detached(py, self.node.home, || Ok(self.step_down(immediate)))? {
            let next = |until| Ok(self.mailbox.wait_ends(until, |now| now.finished || now != before));
            let ended = call::wait(py, self.node.home, deadline, next)?;
            ended.ok_or_else(|| Failure::Deadline("the port is not closed yet".into()))?;
        }
        Ok(())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// Closes the port; immediately if the block has raised.
    #[pyo3(signature = (*exception))]
    fn __exit__(&self, py: Python<'_>, exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        let raised = exception.get_item(0).is_ok_and(|class| !class.is_none());
        self.close(py, raised, None)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<cdps.Port {} {}>", self.port.session(), self.state(py)?))
    }
}

impl Port {
    pub(crate) fn new(port: cdps::Port, mailbox: Arc<Mailbox>, node: &Arc<OpenNode>) -> Port {
        Port { port, mailbox, node: Arc::clone(node) }
    }

    /// Begins something that an event will say the end of, and waits for that; `None`: not in time.
    fn do_move(
        &self,
        py: Python<'_>,
        moving: Move,
        deadline: Deadline,
        start: impl FnOnce() -> Result<(), Failure> + Send,
    ) -> PyResult<Option<Result<Event, MoveFailure>>> {
        call::detached(py, self.node.home, || {
            self.mailbox.begin(moving)?;
            start().inspect_err(|_| self.mailbox.end_move())
        })?;
        let outcome = call::wait(py, self.node.home, deadline, |until| self.mailbox.outcome(until));
        call::detached(py, self.node.home, || {
            self.mailbox.end_move();
            Ok(())
        })?;
        outcome
    }

    fn start_connect(&self, to: Option<NodeId>) -> Result<(), Failure> {
        self.mailbox.begin(Move::Connect)?;
        let started = match (self.port.state(), self.port.link()) {
            // The library counts users of one connection; this interface does not.
            (State::Connected, Link::Up | Link::Switching) => {
                Err(Failure::State("the port is connected".into()))
            }
            (state, _) => {
                if state == State::Initialized {
                    self.mailbox.settle();
                }
                self.port.connect(to).map_err(Failure::from)
            }
        };
        match started {
            Ok(()) => self.mailbox.connect_begun(),
            Err(_) => self.mailbox.end_move(),
        }
        started
    }

    /// Back to INITIALIZED, also if the connection has come up meanwhile.
    fn give_up_connect(&self) {
        for _ in 0..2 {
            match self.port.state() {
                // Refused: it has moved on by itself, and is looked at again.
                State::Connecting | State::Connected | State::Stopped => drop(self.port.close(true)),
                State::Idle | State::Registered | State::ConnectedTo => {}
                State::Initialized | State::Destroyed => {}
            }
        }
    }

    fn try_send(
        &self,
        bytes: &[u8],
        options: SendOptions,
        until: Instant,
    ) -> Result<Option<cdps::Sn>, Failure> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.port.send(&[IoSlice::new(bytes)], &SendOptions { timeout: Some(left), ..options }) {
                Ok(sn) => return Ok(Some(sn)),
                Err(SendError::TimedOut) => return Ok(None),
                Err(SendError::Again) if left.is_zero() => return Ok(None),
                Err(SendError::Again) => thread::sleep(BACKLOG_LOOK.min(left)),
                Err(SendError::Down) => {
                    let text = SendError::Down.to_string();
                    let (node, reason) = self.mailbox.down().unzip();
                    return Err(Failure::Link { text, node, reason });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next step of closing; what the next one has to wait for to change. `None`: it is closed.
    fn step_down(&self, immediate: bool) -> Option<crate::mailbox::Ends> {
        let before = self.mailbox.ends();
        if before.finished {
            return None;
        }
        if immediate {
            self.mailbox.withdraw();
        }
        let session = matches!(self.port.state(), State::Connected | State::Stopped | State::ConnectedTo);
        if !session || self.port.close(immediate).is_err() {
            self.port.destroy();
        }
        Some(before)
    }
}

/// The end of a call that moves the port, for Python.
fn ended(outcome: Option<Result<Event, MoveFailure>>, failed: &str, late: &str) -> PyResult<Event> {
    match outcome {
        Some(Ok(event)) => Ok(event),
        Some(Err(failure)) => Err(Failure::Link {
            text: format!("{failed}: {}", failure.reason),
            node: failure.node,
            reason: Some(failure.reason),
        }
        .into()),
        None => Err(Failure::Deadline(late.into()).into()),
    }
}
