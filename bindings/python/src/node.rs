//! Nodes, and their end at the exit of the interpreter.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Instant;

use cdps::{NodeId, NodeOptions, WaitError};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::arguments;
use crate::call::{self, Deadline, Home};
use crate::client::Client;
use crate::failure::Failure;
use crate::figures;
use crate::settings::{self, Settings};

/// The open nodes of this process.
static OPEN: Mutex<Vec<Weak<OpenNode>>> = Mutex::new(Vec::new());

/// A node and the process that opened it. Its clients and ports keep it; the last to go closes it, without waiting.
pub(crate) struct OpenNode {
    pub(crate) node: cdps::Node,
    pub(crate) home: Home,
}

impl OpenNode {
    fn open(options: NodeOptions) -> Result<Arc<OpenNode>, Failure> {
        let node = cdps::Node::open(options, Box::new(|| ()))?;
        let opened = Arc::new(OpenNode { node, home: Home::here() });
        let mut open = OPEN.lock();
        open.retain(|node| node.strong_count() > 0);
        open.push(Arc::downgrade(&opened));
        Ok(opened)
    }

    /// Destroys it, and waits for the end until then.
    fn destroy(&self, until: Instant) -> Result<Option<()>, Failure> {
        match self.node.destroy_wait(until.saturating_duration_since(Instant::now())) {
            Ok(()) => Ok(Some(())),
            Err(WaitError::TimedOut) => Ok(None),
            Err(error @ WaitError::InCallback) => Err(Failure::Internal(error.to_string())),
        }
    }
}

impl Drop for OpenNode {
    fn drop(&mut self) {
        // In a child made by fork there is nothing left to close, and a lock may be held for ever.
        if self.home.is_here() {
            self.node.destroy();
        }
    }
}

/// Closes every open node of this process, for no longer than this many seconds in all. For the exit of the interpreter.
#[pyfunction]
#[pyo3(name = "_close_all")]
pub(crate) fn close_all(py: Python<'_>, seconds: f64) -> PyResult<()> {
    let deadline = Deadline::after(Some(arguments::seconds_of("seconds", seconds)?));
    let Some(list) = OPEN.try_lock().map(|mut open| std::mem::take(&mut *open)) else { return Ok(()) };
    let nodes: Vec<_> = list.iter().filter_map(Weak::upgrade).filter(|node| node.home.is_here()).collect();
    py.detach(|| nodes.iter().for_each(|node| node.node.destroy()));
    for node in nodes {
        // What is not closed by then goes down with the process: its threads know nothing of Python.
        call::wait(py, node.home, deadline, |until| node.destroy(until))?;
    }
    Ok(())
}

/// One member of the cluster, as this process sees it. Closed by close, at the end of a with block, when it and all of its clients and
/// ports are gone, or at the exit of the interpreter.
#[pyclass(frozen, weakref, module = "cdps")]
pub(crate) struct Node {
    open: Arc<OpenNode>,
}

#[pymethods]
impl Node {
    /// Opens a node.
    ///
    /// id is its number in the cluster, from 1. listen has the addresses that others reach it at, port 0 for a free one; none if it only
    /// connects. members maps the ids of the other nodes to their addresses; a node without addresses is one that connects to us, and
    /// a node that is not listed is refused. security must be "plain": no encryption, for networks that are trusted. local has the
    /// addresses to connect from, paired with a member's addresses by position; none: the routing table decides. state_dir is a
    /// folder that keeps generations across restarts; without it fencing begins anew with each node.
    ///
    /// timers are those of the links, in seconds (cdps.NodeTimers): failover_budget sets all of them, and those of ports.
    #[new]
    #[pyo3(signature = (
        *, id, security, listen=Vec::new(), members=None, local=Vec::new(), name=None, state_dir=None, **timers
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        id: u32,
        security: &str,
        listen: Vec<String>,
        members: Option<&Bound<'_, PyMapping>>,
        local: Vec<String>,
        name: Option<String>,
        state_dir: Option<PathBuf>,
        timers: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Node> {
        let mut options = NodeOptions::new(NodeId(id), arguments::security(security)?);
        options.listen = arguments::addresses("listen", &listen)?;
        options.members = arguments::members(members)?;
        options.local = arguments::local_addresses(&local)?;
        options.state_dir = state_dir;
        options.liveness = settings::liveness(timers)?;
        if let Some(name) = name {
            options.name = name;
        }
        let open = call::detached(py, Home::here(), || OpenNode::open(options))?;
        Ok(Node { open })
    }

    /// Its number in the cluster.
    #[getter]
    fn id(&self) -> u32 {
        self.open.node.id().0
    }

    /// Random number of this opening.
    #[getter]
    fn incarnation(&self) -> u64 {
        self.open.node.incarnation().0
    }

    /// Where it listens, with the ports that were taken.
    #[getter]
    fn listening(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        call::detached(py, self.open.home, || {
            Ok(self.open.node.listening().iter().map(ToString::to_string).collect())
        })
    }

    /// Figures of the node since it was opened, with the sums over all ports that it has had, as cdps_node_stats_t has them; times in seconds.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = call::detached(py, self.open.home, || Ok(self.open.node.stats()))?;
        figures::node(py, &stats)
    }

    /// Statistics of the node, its ports and their paths as Prometheus text (exposition format 0.0.4), for a page that is scraped. Names
    /// begin with cdps_node_, cdps_port_ and cdps_path_, units are seconds and bytes, counters end in _total.
    fn metrics(&self, py: Python<'_>) -> PyResult<String> {
        call::detached(py, self.open.home, || Ok(self.open.node.metrics()))
    }

    /// Registers a client: a name of 1 to 255 bytes that sources on other nodes connect to, and that own ports are opened for. At most
    /// backlog accepted sources wait; further ones are refused (0: every one).
    ///
    /// An exclusive client serves one source at a time, the one with the highest role_epoch: when a higher one comes, the former's
    /// port ends (SUPERSEDED); a lower or equal one is refused (ROLE_TAKEN). settings (cdps.PortSettings) are those of the target ports.
    #[pyo3(signature = (name, *, backlog=128, exclusive=false, **settings))]
    fn register(
        &self,
        py: Python<'_>,
        name: &str,
        backlog: usize,
        exclusive: bool,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Client> {
        let settings = Settings::from(settings)?;
        call::detached(py, self.open.home, || {
            let config = settings.config(self.open.node.liveness());
            Client::register(&self.open, name, backlog, exclusive, config)
        })
    }

    /// Closes the node with its clients and ports, at once: unfinished sends are nacked. Waits until that is done; raises
    /// DeadlineExceeded if it takes longer (it goes on). Closing twice does nothing.
    #[pyo3(signature = (timeout=10.0))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let closed = call::wait(py, self.open.home, deadline, |until| self.open.destroy(until))?;
        closed.ok_or_else(|| Failure::Deadline("the node is not closed yet".into()).into())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py, Some(10.0))
    }

    fn __repr__(&self) -> String {
        format!("<cdps.Node {}>", self.open.node.id())
    }
}
