//! Objects in use by a call. If the call panics, their node is poisoned: what it knows may not be true any more, and it can only be destroyed.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use cdps::Client;

use crate::client::CLIENTS;
use crate::error::{CDPS_E_BAD_HANDLE, CDPS_E_INTERNAL, Failure};
use crate::node::{NODES, NodeEntry};
use crate::port::{PORTS, PortEntry};
use crate::types::{cdps_client_t, cdps_node_t, cdps_port_t};

const PANICKED: &str = "a call of the C interface panicked";

/// What belongs to a node.
pub(crate) trait Subject {
    fn is_poisoned(&self) -> bool;
    fn poison(&self, what: &str);
}

/// See the module.
pub(crate) struct Live<D: Deref<Target: Subject>> {
    object: D,
    /// The thread was unwinding when the call began: that is not the call's doing.
    unwinding: bool,
}

/// Poisons the node of a port when it is dropped. To be forgotten when the call has returned, so that only a panic drops it: for the calls that
/// must cost little.
pub(crate) struct Alarm<'a>(pub(crate) &'a PortEntry);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.poison(PANICKED);
    }
}

/// What a call on a poisoned node fails with.
#[cold]
pub(crate) fn poisoned() -> Failure {
    Failure::new(CDPS_E_INTERNAL, "a bug in the library has shown before; the node can only be destroyed")
}

/// The node of a handle, for every call but those that destroy it.
pub(crate) fn node(handle: *const cdps_node_t) -> Result<Live<Arc<NodeEntry>>, Failure> {
    let entry = NODES.get(handle.addr())?;
    if entry.destroyed.load(Ordering::Acquire) {
        return Err(Failure::bare(CDPS_E_BAD_HANDLE));
    }
    Live::of(entry).sound()
}

/// The node of a handle, for the calls that dispatch its callbacks: until the last of them.
pub(crate) fn ending_node(handle: *const cdps_node_t) -> Result<Live<Arc<NodeEntry>>, Failure> {
    Ok(Live::of(NODES.get(handle.addr())?))
}

/// The node of a handle, to destroy it. Of several callers one succeeds. Its last callback takes it out of the table.
pub(crate) fn take_node(handle: *const cdps_node_t) -> Result<Live<Arc<NodeEntry>>, Failure> {
    let entry = NODES.get(handle.addr())?;
    if entry.destroyed.swap(true, Ordering::AcqRel) {
        return Err(Failure::bare(CDPS_E_BAD_HANDLE));
    }
    Ok(Live::of(entry))
}

/// The client of a handle, for every call but those that unregister it.
pub(crate) fn client(handle: *const cdps_client_t) -> Result<Live<Arc<Client>>, Failure> {
    Live::of(CLIENTS.get(handle.addr())?).sound()
}

/// The port of a handle, for every call but those that destroy it.
pub(crate) fn port(handle: *const cdps_port_t) -> Result<Live<Arc<PortEntry>>, Failure> {
    Live::of(PORTS.get(handle.addr())?).sound()
}

impl<D: Deref<Target: Subject>> Live<D> {
    /// For calls that destroy the object, which a poisoned node still takes.
    pub(crate) fn of(object: D) -> Live<D> {
        Live { object, unwinding: thread::panicking() }
    }

    fn sound(self) -> Result<Live<D>, Failure> {
        if self.object.is_poisoned() {
            return Err(poisoned());
        }
        Ok(self)
    }
}

impl<D: Deref<Target: Subject>> Drop for Live<D> {
    fn drop(&mut self) {
        if !self.unwinding && thread::panicking() {
            self.object.poison(PANICKED);
        }
    }
}

impl<D: Deref<Target: Subject>> Deref for Live<D> {
    type Target = D::Target;

    fn deref(&self) -> &D::Target {
        &self.object
    }
}

impl Subject for NodeEntry {
    fn is_poisoned(&self) -> bool {
        self.node.is_poisoned()
    }

    fn poison(&self, what: &str) {
        self.node.poison(what);
    }
}

impl Subject for Client {
    fn is_poisoned(&self) -> bool {
        Client::is_poisoned(self)
    }

    fn poison(&self, what: &str) {
        Client::poison(self, what);
    }
}

impl Subject for PortEntry {
    fn is_poisoned(&self) -> bool {
        self.port.is_poisoned()
    }

    fn poison(&self, what: &str) {
        self.port.poison(what);
    }
}
