//! Clients: the named users of a node, and the negotiation that they take part in (N3, Fig. 6).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use cdps_core::admission::{Admission, Sharing};
use cdps_core::cluster::{ClusterChange, ClusterEvent};
use cdps_core::config::PortConfig;
use cdps_core::id::{Generation, NodeId, SessionId};
use cdps_core::node::Node as Engine;
use cdps_core::wire::MAX_CLIENT_NAME;
use parking_lot::Mutex;

use crate::callbacks::Job;
use crate::error::{PortError, RegisterError};
use crate::hub::NodeShared;
use crate::log::Level;
use crate::port::{Port, PortHandler};
use crate::shared::PortShared;
use crate::threads;

/// Cluster events that wait for a client, at most; past that the oldest state is not worth telling.
const EVENTS: usize = 1024;

/// A named user of a node. Cheap to clone; see [`Client::unregister`].
#[derive(Clone)]
pub struct Client {
    shared: Arc<ClientShared>,
}

impl Client {
    pub(crate) fn from_shared(shared: Arc<ClientShared>) -> Client {
        Client { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<ClientShared> {
        &self.shared
    }

    /// The name under which it is registered.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Refuses further connects and takes the client's ports down: each gets its final event, then [`ClientHandler::closed`] runs and
    /// the name is free again. Doing it twice does nothing.
    pub fn unregister(&self) {
        self.shared.unregister();
    }

    /// Its node's [`crate::Node::is_poisoned`].
    #[must_use]
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.shared.node.is_poisoned()
    }

    /// Its node's [`crate::Node::poison`].
    pub fn poison(&self, what: &str) {
        self.shared.node.poison(what);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// What a client is asked and told. Runs where the node's callbacks do ([`crate::Callbacks`]).
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
#[expect(clippy::large_enum_variant, reason = "made once per session, and simpler for users without a box")]
pub enum Decision {
    /// Take the session: the request's port becomes a target port in state CONNECTEDTO.
    Accept {
        /// How the port behaves. `client`, `targets` and `local` have no meaning here; `liveness` is the node's.
        config: PortConfig,
        /// Gets the port's events. They end with [`crate::PortEvent::Final`], also if the source has given up meanwhile.
        handler: Arc<dyn PortHandler>,
    },
    /// Do not.
    Refuse {
        /// For the source's log line.
        text: String,
    },
}

/// A client as the driver has it.
pub(crate) struct ClientShared {
    node: Arc<NodeShared>,
    name: String,
    number: u64,
    handler: Mutex<Option<Arc<dyn ClientHandler>>>,
    /// Sources can connect to it (N3).
    effective: AtomicBool,
    state: Mutex<ClientState>,
}

#[derive(Default)]
struct ClientState {
    closing: bool,
    /// Ports and connect requests that it still has.
    users: usize,
    /// Its last callback is on the way.
    ended: bool,
    /// Cluster events that wait to be told.
    events: usize,
    /// Events that were not told because too many waited.
    dropped: u64,
}

impl ClientShared {
    pub(crate) fn register(
        node: &Arc<NodeShared>,
        name: &str,
        sharing: Sharing,
        handler: Arc<dyn ClientHandler>,
    ) -> Result<Arc<ClientShared>, RegisterError> {
        let name = name.to_owned();
        if !(1..=MAX_CLIENT_NAME).contains(&name.len()) {
            return Err(RegisterError::NameLength { name });
        }
        let client = Arc::new(ClientShared {
            node: Arc::clone(node),
            name,
            number: node.next_number(),
            handler: Mutex::new(Some(handler)),
            effective: AtomicBool::new(false),
            state: Mutex::new(ClientState::default()),
        });
        let admission = Admission::new(sharing, &node.accepted_before(&client.name)?);
        node.admit_client(&client, admission).map_err(|destroyed| match destroyed {
            true => RegisterError::Destroyed,
            false => RegisterError::NameTaken { name: client.name.clone() },
        })?;
        // It is in the table: whoever brings the quorum meanwhile finds it there.
        if node.read(Engine::is_operational) {
            client.take_effect();
        }
        Ok(client)
    }

    /// The cluster is operational: sources can connect from here on. Tells the user, once.
    pub(crate) fn take_effect(self: &Arc<Self>) {
        if self.effective.swap(true, Ordering::AcqRel) {
            return;
        }
        let membership = self.node.read(Engine::membership);
        self.tell(ClusterEvent { membership, node: self.node.id, change: ClusterChange::Effective });
    }

    pub(crate) fn is_effective(&self) -> bool {
        self.effective.load(Ordering::Acquire)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    /// A port is to be this client's. False: it is unregistered.
    pub(crate) fn enter(self: &Arc<Self>, port: &PortShared) -> bool {
        {
            let mut state = self.state.lock();
            if state.closing {
                return false;
            }
            state.users += 1;
        }
        *port.client.lock() = Arc::downgrade(self);
        true
    }

    /// A port is not this client's any more.
    pub(crate) fn leave(self: &Arc<Self>) {
        self.state.lock().users -= 1;
        self.end_if_unused();
    }

    /// For [`PortShared`]: a port on whose behalf a call is made must be of this node.
    pub(crate) fn check_node(&self, port: &PortShared) -> Result<(), PortError> {
        if Arc::ptr_eq(&self.node, &port.node) {
            Ok(())
        } else {
            Err(PortError::OtherNode { name: self.name.clone() })
        }
    }

    pub(crate) fn unregister(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state.lock().closing, true) {
            return;
        }
        let own = |port: &Arc<PortShared>| std::ptr::eq(port.client.lock().as_ptr(), Arc::as_ptr(self));
        for port in self.node.port_list().into_iter().filter(own) {
            port.destroy();
        }
        self.end_if_unused();
    }

    fn end_if_unused(self: &Arc<Self>) {
        {
            let mut state = self.state.lock();
            if !state.closing || state.users > 0 || state.ended {
                return;
            }
            state.ended = true;
        }
        let client = Arc::clone(self);
        let end = move || {
            let handler = client.handler.lock().take();
            threads::guarded(|| handler.iter().for_each(|handler| handler.closed()));
            drop(handler);
            client.node.dismiss_client(&client);
        };
        self.node.callbacks.push(self.number, Job::Call(Box::new(end)));
    }

    /// Asks the user, where callbacks run.
    pub(crate) fn ask(&self, request: &ConnectRequest) -> Decision {
        let handler = self.handler.lock().clone();
        let mut decision = Decision::Refuse { text: "the client is unregistered".into() };
        if let Some(handler) = handler.filter(|_| !self.is_closing()) {
            decision = Decision::Refuse { text: "the callback panicked".into() };
            threads::guarded(|| decision = handler.connect_request(request));
        }
        decision
    }

    /// Has a cluster event told (N4).
    pub(crate) fn tell(self: &Arc<Self>, event: ClusterEvent) {
        {
            let mut state = self.state.lock();
            if state.ended {
                return;
            }
            if state.events >= EVENTS {
                state.dropped += 1;
                return;
            }
            state.events += 1;
        }
        let client = Arc::clone(self);
        let tell = move || {
            let dropped = {
                let mut state = client.state.lock();
                state.events -= 1;
                std::mem::take(&mut state.dropped)
            };
            if dropped > 0 {
                let text =
                    format_args!("client {:?} is slow: {dropped} cluster events were not told", client.name);
                client.node.log(Level::Warn, "cluster", text);
            }
            let handler = client.handler.lock().clone();
            threads::guarded(|| handler.iter().for_each(|handler| handler.cluster(&event)));
        };
        self.node.callbacks.push(self.number, Job::Call(Box::new(tell)));
    }
}

/// A port leaves its client, if it has one.
pub(crate) fn leave(port: &PortShared) {
    let client = std::mem::replace(&mut *port.client.lock(), Weak::new());
    if let Some(client) = client.upgrade() {
        client.leave();
    }
}
