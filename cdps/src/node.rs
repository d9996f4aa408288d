//! Nodes: one member of the cluster as this process sees it (N1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cdps_core::admission::Sharing;
use cdps_core::cluster::{ClusterKind, Membership, MembershipError};
use cdps_core::config::{Liveness, Member, NodeConfig, PortConfig};
use cdps_core::id::{Incarnation, NodeId, SessionId, Side};
use tokio::sync::mpsc;

use crate::callbacks::{self, Callbacks, Own, Queues};
use crate::client::{Client, ClientHandler, ClientShared};
use crate::conn::{accept, socket};
use crate::error::{CreateError, DispatchError, OpenError, RegisterError, WaitError};
use crate::hub::{Hub, NodeShared, Threads};
use crate::inbox::Inbox;
use crate::keep::StateDir;
use crate::log::Log;
use crate::port::{Port, PortHandler};
use crate::random;
use crate::shared::{Engine, PortShared};
use crate::signal::Signal;
use crate::stats::NodeStats;
use crate::threads::{self, CallbackThread, IoThread};

/// How connections are protected (S1). There is no default: one must be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// Not at all. Checksums find accidents, and the session secret keeps strays out; neither stops an attacker on the network.
    Plain,
}

/// What a node is opened with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Id of this node, never 0.
    pub id: NodeId,
    /// Name of this node, for logs and thread names.
    pub name: String,
    /// Addresses to listen on; port 0 takes a free one (see [`Node::listening`]). Empty: this node only dials.
    pub listen: Vec<SocketAddr>,
    /// Local addresses to dial from, paired with a peer's addresses by position (modulo). Empty: the routing table decides.
    pub local: Vec<IpAddr>,
    /// The members, and where they are. Nodes that are not in it are refused.
    pub members: Vec<Member>,
    /// Who says which of them are alive (N2).
    pub cluster: ClusterKind,
    /// Timers of the links.
    pub liveness: Liveness,
    /// How connections are protected.
    pub security: Security,
    /// I/O threads, 1 to 64.
    pub io_threads: usize,
    /// Where callbacks run.
    pub callbacks: Callbacks,
    /// Where log lines go.
    pub log: Log,
    /// Folder in which generations are kept across restarts, made if it is not there; nodes may share one. A disk that holds it delays each
    /// connect by what it takes to write a small file. `None`: after a restart generations begin anew, and nothing is promised about fencing.
    pub state_dir: Option<PathBuf>,
}

impl NodeOptions {
    /// Options with the start values: no addresses, no members, one I/O thread, one callback thread, warnings to standard error.
    #[must_use]
    pub fn new(id: NodeId, security: Security) -> NodeOptions {
        NodeOptions {
            id,
            name: format!("node{id}"),
            listen: Vec::new(),
            local: Vec::new(),
            members: Vec::new(),
            cluster: ClusterKind::Static,
            liveness: Liveness::default(),
            security,
            io_threads: 1,
            callbacks: Callbacks::Threads(1),
            log: Log::default(),
            state_dir: None,
        }
    }
}

/// Most threads of a kind.
const MAX_THREADS: usize = 64;

/// An open node. Cheap to clone; it stays open until [`Node::destroy`].
#[derive(Clone)]
pub struct Node {
    shared: Arc<NodeShared>,
}

impl Node {
    /// Opens a node: binds its listeners, starts its threads, begins to dial its members. `on_final` is its last callback.
    ///
    /// # Errors
    /// When an option is not valid, or the system refuses a socket or a thread; nothing is left behind, and `on_final` does not run.
    pub fn open(options: NodeOptions, on_final: Box<dyn FnOnce() + Send>) -> Result<Node, OpenError> {
        check_threads("io_threads", options.io_threads)?;
        if let Callbacks::Threads(count) = options.callbacks {
            check_threads("callback_threads", count)?;
        }
        let system = |what| move |source| OpenError::System { what, source };
        let incarnation = Incarnation(random::number().map_err(system("random numbers"))?);
        let seed = random::number().map_err(system("random numbers"))?;
        let Security::Plain = options.security;
        let config = NodeConfig {
            node: options.id,
            local: options.local,
            members: options.members,
            cluster: options.cluster,
            liveness: options.liveness,
        };
        let engine = Hub::new(config, incarnation, seed)?;
        let state = options.state_dir.map(|folder| StateDir::open(&folder, options.id)).transpose()?;
        let mut listeners = Vec::new();
        let mut listening = Vec::new();
        for address in options.listen {
            let listener = socket::listen(address).map_err(|source| OpenError::Listen { address, source })?;
            listening.push(listener.local_addr().map_err(|source| OpenError::Listen { address, source })?);
            listeners.push(listener);
        }
        let start_io = |index| IoThread::start(index).map_err(system("starting an I/O thread"));
        let io = (0..options.io_threads).map(start_io).collect::<Result<Vec<_>, _>>()?;
        let (mut threads, mut tasks) = (Vec::new(), Vec::new());
        let queues = match options.callbacks {
            Callbacks::Threads(count) => {
                threads = start_callback_threads(count)?;
                Queues::Threads(threads.iter().map(|thread| Arc::clone(&thread.queue)).collect())
            }
            Callbacks::Inline => {
                tasks.extend((0..options.io_threads).map(|_| mpsc::unbounded_channel()));
                Queues::Tasks(tasks.iter().map(|(sender, _)| sender.clone()).collect())
            }
            Callbacks::Dispatch => {
                let signal = Signal::open().map_err(system("a descriptor to poll"))?;
                Queues::Own(Own::new(Inbox::new(signal)))
            }
        };
        let threads = Threads::new(io, threads, on_final);
        let shared = NodeShared::new(engine, options.name, options.log, state, listening, threads, queues);
        for (index, (sender, receiver)) in tasks.into_iter().enumerate() {
            shared.io(index).spawn(shared.watched(callbacks::serve(receiver, sender)));
        }
        for (index, listener) in listeners.into_iter().enumerate() {
            shared.io(index).spawn(shared.watched(accept::listen(Arc::clone(&shared), listener)));
        }
        shared.io(0).spawn(shared.watched(Arc::clone(&shared).timers()));
        shared.act();
        Ok(Node { shared })
    }

    /// Id of this node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Random number of this opening.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// Where it listens, in the order of [`NodeOptions::listen`], with the ports that were taken.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.shared.listening.clone()
    }

    /// Registers a client under a name of 1 to 255 bytes (N3). It is shared: it takes any number of sources at a time, each through a port
    /// of its own, none of which may have a role epoch.
    ///
    /// It takes effect when the cluster is operational: at once with the static engine, with the first quorum otherwise. Then the handler is
    /// told [`cdps_core::cluster::ClusterChange::Effective`]; before that sources are told that there is no such client.
    ///
    /// # Errors
    /// When the name is taken on this node or not valid, or the node is being destroyed.
    pub fn register(&self, name: &str, handler: Arc<dyn ClientHandler>) -> Result<Client, RegisterError> {
        ClientShared::register(&self.shared, name, Sharing::Shared, handler).map(Client::from_shared)
    }

    /// As [`Node::register`], for a client that serves one source at a time: the one with the highest role epoch (L4). Once the handler has
    /// accepted a higher one, the former source's session is over: its port ends with [`cdps_core::port::ConnStatus::Closed`] and
    /// [`cdps_core::reason::Reason::Superseded`], before anything comes on the new one. A source whose role epoch is not higher is refused
    /// without a question, unless it is the one that has the role, or comes from the same node when that one is over.
    ///
    /// # Errors
    /// As [`Node::register`].
    pub fn register_exclusive(
        &self,
        name: &str,
        handler: Arc<dyn ClientHandler>,
    ) -> Result<Client, RegisterError> {
        ClientShared::register(&self.shared, name, Sharing::Exclusive, handler).map(Client::from_shared)
    }

    /// What the cluster engine says, if it is one with a quorum ([`NodeOptions::cluster`]): one consistent batch, whatever its size. Ports act
    /// on it before this returns, or on the thread that is at it just now; each client's [`ClientHandler::cluster`] is told of every change.
    /// From any thread; batches that are given one after the other take effect in that order.
    ///
    /// Down: sessions to the node end at once, and a source port whose autoswitch is on goes to its next backup; the lease of the target that is
    /// given up is waited for as ever (F8). Without a quorum no port switches.
    ///
    /// # Errors
    /// The node has the static engine, or the batch is not newer than the last one; nothing changed.
    pub fn handle_membership(&self, batch: Membership) -> Result<(), MembershipError> {
        self.shared.call(|engine, now| engine.handle_membership(now, batch))
    }

    /// Timers of its links.
    #[must_use]
    pub fn liveness(&self) -> &Liveness {
        &self.shared.liveness
    }

    /// Creates a source port, in state IDLE. Targets without addresses take those of the member list; without local addresses, the
    /// node's are taken. `liveness` is the node's.
    ///
    /// # Errors
    /// When the configuration is not valid, or the node is being destroyed.
    pub fn create_port(
        &self,
        config: PortConfig,
        handler: Arc<dyn PortHandler>,
    ) -> Result<Port, CreateError> {
        let node = &self.shared;
        let config = node.complete(config);
        let number = node.next_port().ok_or(CreateError::Destroyed)?;
        let session = SessionId { node: node.id, incarnation: node.incarnation, port: number };
        let seed = node.seed() ^ u64::from(number);
        let before = node.asked_before(&config.client)?;
        let mut engine = Engine::source(config, session, seed)?;
        engine.start_above(before);
        let port = PortShared::new(
            node,
            node.next_number(),
            Side::Source,
            session,
            Some(engine),
            Some(handler),
            None,
        );
        if !node.admit(&port) {
            return Err(CreateError::Destroyed);
        }
        Ok(Port::from_shared(port))
    }

    /// What to poll for reading, with [`Callbacks::Dispatch`]: readable while there is something to dispatch. It is the same for the
    /// node's whole life, and only to be polled, never read.
    ///
    /// # Errors
    /// [`DispatchError::NotDispatched`].
    pub fn fd(&self) -> Result<BorrowedFd<'_>, DispatchError> {
        Ok(self.own()?.fd())
    }

    /// Runs callbacks on this thread, with [`Callbacks::Dispatch`]. Everything that waits has one turn, in which a port tells a few thousand
    /// events at most; callbacks that bring about others do not keep it from returning. With `max` it ends after so many events, at least 1.
    /// If nothing waits it waits, no longer than `timeout`. Returns how many events there were, 0 for none; events that nobody handles count
    /// as well. One thread at a time may be in it.
    ///
    /// It has to go on until it gives [`DispatchError::Closed`]: a destroyed node ends in the call that runs its `on_final`.
    ///
    /// # Errors
    /// See [`DispatchError`]. Nothing was run, except with [`DispatchError::Closed`].
    pub fn dispatch(&self, max: Option<usize>, timeout: Duration) -> Result<usize, DispatchError> {
        let own = self.own()?;
        if threads::in_callback() {
            return Err(DispatchError::InCallback);
        }
        own.dispatch(max.map_or(usize::MAX, |max| max.max(1)), timeout)
    }

    fn own(&self) -> Result<&Own, DispatchError> {
        match &self.shared.callbacks {
            Queues::Own(own) => Ok(own),
            Queues::Threads(_) | Queues::Tasks(_) => Err(DispatchError::NotDispatched),
        }
    }

    /// Destroys the node: its ports, then its clients, then the node; `on_final` runs last. Returns at once, may be called anywhere,
    /// and doing it twice does nothing.
    pub fn destroy(&self) {
        self.shared.destroy();
    }

    /// [`Node::destroy`], then waits until `on_final` has returned and the threads have ended. With [`Callbacks::Dispatch`] it dispatches
    /// meanwhile, unless another thread was the last that did: that one has to go on.
    ///
    /// # Errors
    /// In a callback (where it would wait for itself; nothing is done then), or when the time is up (the destruction goes on).
    pub fn destroy_wait(&self, timeout: Duration) -> Result<(), WaitError> {
        if threads::in_callback() {
            return Err(WaitError::InCallback);
        }
        self.shared.destroy();
        self.shared.wait_finished(timeout)
    }

    /// Marks the node as one in which a bug of the library has shown, for interfaces that catch panics where they are not to go further. What
    /// it knows may not be true any more: nothing but [`Node::destroy`] should be asked of it.
    pub fn poison(&self, what: &str) {
        self.shared.poison(what);
    }

    /// Whether a bug of the library has shown: one that was reported to [`Node::poison`], or a panic on a thread of its own.
    #[must_use]
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// Figures of the node, and of all its ports together. It looks at each port for a moment.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        self.shared.stats()
    }

    /// Figures of the node, its ports and their paths, as Prometheus text (exposition format 0.0.4). Names begin with `cdps_node_`,
    /// `cdps_port_` and `cdps_path_`, units are seconds and bytes, counters end in `_total`. Labels: `node` is its id; `port` a number that
    /// no other port of the node has had; `client` the client on this node that it belongs to; `path` the number of the path.
    /// `cdps_port_info` has the port's session. Counters of a path begin anew with each session.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.shared.metrics()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

fn check_threads(name: &'static str, value: usize) -> Result<(), OpenError> {
    if (1..=MAX_THREADS).contains(&value) { Ok(()) } else { Err(OpenError::Threads { name, value }) }
}

fn start_callback_threads(count: usize) -> Result<Vec<CallbackThread>, OpenError> {
    let mut started = Vec::new();
    for index in 0..count {
        match CallbackThread::start(index) {
            Ok(thread) => started.push(thread),
            Err(source) => {
                started.into_iter().for_each(CallbackThread::stop);
                return Err(OpenError::System { what: "starting a callback thread", source });
            }
        }
    }
    Ok(started)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// [U3] A panic in a task of the library's own shows on its node, and on no other; tasks that end, or are ended, do not.
    #[test]
    fn a_panic_in_a_task_poisons_the_node() {
        let open = |id| {
            let mut options = NodeOptions::new(NodeId(id), Security::Plain);
            options.listen = vec![([127, 0, 0, 1], 0).into()];
            Node::open(options, Box::new(|| ())).expect("opens")
        };
        let (node, other) = (open(1), open(2));
        let fine = node.shared.io(0).spawn(node.shared.watched(async {}));
        let endless = node.shared.io(0).spawn(node.shared.watched(std::future::pending()));
        endless.abort();
        let start = Instant::now();
        while !(fine.is_finished() && endless.is_finished()) {
            assert!(start.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        assert!(!node.is_poisoned());
        node.shared.io(0).spawn(node.shared.watched(async { panic!("made by a test") }));
        while !node.is_poisoned() {
            assert!(start.elapsed() < DEADLINE);
            std::thread::yield_now();
        }
        assert!(!other.is_poisoned());
        node.destroy_wait(DEADLINE).expect("ends");
        other.destroy_wait(DEADLINE).expect("ends");
        assert!(!other.is_poisoned());
    }
}
