//! Nodes: one member of the cluster as this process sees it (N1).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cdps_core::config::{Liveness, Member, PortConfig};
use cdps_core::id::{Incarnation, NodeId};

use crate::client::{Client, ClientHandler};
use crate::error::{CreateError, OpenError, RegisterError, WaitError};
use crate::log::Log;
use crate::port::{Port, PortHandler};
use crate::stats::NodeStats;

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
    /// The static member list. Nodes that are not in it are refused.
    pub members: Vec<Member>,
    /// Timers of the links.
    pub liveness: Liveness,
    /// How connections are protected.
    pub security: Security,
    /// I/O threads, 1 to 64.
    pub io_threads: usize,
    /// Callback threads, 1 to 64. A port keeps to one of them.
    pub callback_threads: usize,
    /// Where log lines go.
    pub log: Log,
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
            liveness: Liveness::default(),
            security,
            io_threads: 1,
            callback_threads: 1,
            log: Log::default(),
        }
    }
}

/// An open node. Cheap to clone; it stays open until [`Node::destroy`].
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// Opens a node: binds its listeners, starts its threads, begins to dial its members. `on_final` is its last callback.
    ///
    /// # Errors
    /// When an option is not valid, or the system refuses a socket or a thread; nothing is left behind, and `on_final` does not run.
    pub fn open(options: NodeOptions, on_final: Box<dyn FnOnce() + Send>) -> Result<Node, OpenError> {
        todo!()
    }

    /// Id of this node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        todo!()
    }

    /// Random number of this opening.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        todo!()
    }

    /// Where it listens, in the order of [`NodeOptions::listen`], with the ports that were taken.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Registers a client under a name of 1 to 255 bytes (N3).
    ///
    /// # Errors
    /// When the name is taken on this node or not valid, or the node is being destroyed.
    pub fn register(&self, name: &str, handler: Arc<dyn ClientHandler>) -> Result<Client, RegisterError> {
        todo!()
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
        todo!()
    }

    /// Destroys the node: its ports, then its clients, then the node; `on_final` runs last. Returns at once, may be called anywhere,
    /// and doing it twice does nothing.
    pub fn destroy(&self) {
        todo!()
    }

    /// [`Node::destroy`], then waits until `on_final` has returned and the threads have ended.
    ///
    /// # Errors
    /// In a callback (where it would wait for itself; nothing is done then), or when the time is up (the destruction goes on).
    pub fn destroy_wait(&self, timeout: Duration) -> Result<(), WaitError> {
        todo!()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> NodeStats {
        todo!()
    }
}
