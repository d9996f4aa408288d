//! Clients: the named users of a node, and the negotiation that they take part in (N3, Fig. 6).

use std::sync::Arc;

use cdps_core::cluster::ClusterEvent;
use cdps_core::config::PortConfig;
use cdps_core::id::{Generation, NodeId, SessionId};

use crate::port::{Port, PortHandler};

/// A named user of a node. Cheap to clone; see [`Client::unregister`].
#[derive(Clone, Debug)]
pub struct Client {}

impl Client {
    /// The name under which it is registered.
    #[must_use]
    pub fn name(&self) -> &str {
        todo!()
    }

    /// Refuses further connects and takes the client's ports down: each gets its final event, then [`ClientHandler::closed`] runs and
    /// the name is free again. Doing it twice does nothing.
    pub fn unregister(&self) {
        todo!()
    }
}

/// What a client is asked and told. Runs on a callback thread of the node.
pub trait ClientHandler: Send + Sync {
    /// A source wants to connect (Fig. 6). The answer decides; until it is given the source waits, no longer than its `connect_timeout`.
    fn connect_request(&self, request: &ConnectRequest) -> Decision;

    /// A cluster event (N4).
    fn cluster(&self, event: &ClusterEvent) {
        let _ = event;
    }

    /// The last callback of the client: it is unregistered and none of its ports is left.
    fn closed(&self) {}
}

/// A source that wants to connect.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// Node of the source.
    pub node: NodeId,
    /// The session.
    pub session: SessionId,
    /// Its generation: the fencing token of everything received under it.
    pub generation: Generation,
    /// Name of the client that is asked for.
    pub client: String,
    /// Paths that the source will dial.
    pub paths: u32,
    /// The port that accepting creates, so that its handle is known before its first event. Refusing leaves it destroyed.
    pub port: Port,
}

/// Answer to a [`ConnectRequest`].
pub enum Decision {
    /// Take the session: the request's port becomes a target port in state CONNECTEDTO.
    Accept {
        /// How the port behaves. `client`, `targets` and `local` have no meaning here; `liveness` is the node's.
        config: PortConfig,
        /// Gets the port's events.
        handler: Arc<dyn PortHandler>,
    },
    /// Do not.
    Refuse {
        /// For the source's log line.
        text: String,
    },
}
