//! Ports: the one pipe that a client sees.

use std::io::IoSlice;
use std::time::Duration;

use cdps_core::cluster::Health;
use cdps_core::config::AckModel;
use cdps_core::id::{Generation, NodeId, PathId, SessionId, Sn, StreamId};
use cdps_core::port::{AckError, Certainty, ConnStatus, Link, State};
use cdps_core::reason::Reason;

use crate::client::Client;
use crate::error::{PortError, SendError, WaitError};
use crate::message::Message;
use crate::stats::PortStats;

/// Gets the events of a port. Runs on the port's callback thread, one call at a time, in order.
pub trait PortHandler: Send + Sync {
    /// An event of this port.
    fn event(&self, port: &Port, event: PortEvent);
}

/// What a port tells its user.
#[derive(Debug)]
pub enum PortEvent {
    /// A send is complete (A1 to A3).
    Completed {
        /// The message.
        sn: Sn,
        /// What the send was given.
        context: u64,
        /// Return code of the target's user; 0 in the other models.
        rc: i32,
    },
    /// A send has failed. It is the only end of that send (A4).
    Nacked {
        /// The message.
        sn: Sn,
        /// What the send was given.
        context: u64,
        /// Why.
        reason: Reason,
        /// How sure it is that the message did not arrive.
        certainty: Certainty,
    },
    /// The memory of a borrowed send is the caller's again (M5). Comes exactly once per borrowed send, after its `Completed` or
    /// `Nacked`; a connection that still holds the bytes may delay it.
    Released {
        /// What the send was given.
        context: u64,
    },
    /// A message arrived.
    Received(Message),
    /// The connection as a whole.
    Status(ConnStatus),
    /// A path changed.
    Path {
        /// Which.
        path: PathId,
        /// To what.
        health: Health,
        /// Why.
        reason: Reason,
    },
    /// The port is destroyed: every send has ended, every borrowed buffer was released, and nothing follows.
    Final,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions {
    /// Its stream, below [`StreamId::FIRST_AUTOMATIC`]. `None`: the calling thread's own on this port (M2).
    pub stream: Option<StreamId>,
    /// When it is complete. `None`: as the port was configured.
    pub ack: Option<AckModel>,
    /// Comes back with the events of this send.
    pub context: u64,
    /// How long to wait when the port's send buffer is full. `None`: until there is room; zero: [`SendError::Again`] at once.
    pub timeout: Option<Duration>,
}

/// A data port. Cheap to clone; it lives until [`Port::destroy`], and its handler gets [`PortEvent::Final`] last.
#[derive(Clone, Debug)]
pub struct Port {}

impl Port {
    /// IDLE → REGISTERED, on behalf of a client of the same node.
    ///
    /// # Errors
    /// In another state, or when the client is of another node or unregistered.
    pub fn register(&self, client: &Client) -> Result<(), PortError> {
        todo!()
    }

    /// Back to IDLE; nacks what is unfinished.
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn unregister(&self) -> Result<(), PortError> {
        todo!()
    }

    /// REGISTERED → INITIALIZED: builds the address table (L2).
    ///
    /// # Errors
    /// In another state.
    pub fn initialize(&self) -> Result<(), PortError> {
        todo!()
    }

    /// Connects to `to`, or to the primary target (L1, L3). [`ConnStatus::Connected`] or [`ConnStatus::ConnectFailed`] follows.
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn connect(&self, to: Option<NodeId>) -> Result<(), PortError> {
        todo!()
    }

    /// Halts sending and keeps the paths (L5).
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn stop(&self) -> Result<(), PortError> {
        todo!()
    }

    /// Closes: drains first, or nacks what is unfinished if `immediate` (L5).
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn close(&self, immediate: bool) -> Result<(), PortError> {
        todo!()
    }

    /// Destroys the port from any state: nacks what is unfinished, gives buffers back, [`PortEvent::Final`] is last (L6). Returns at
    /// once, may be called anywhere, and doing it twice does nothing.
    pub fn destroy(&self) {
        todo!()
    }

    /// [`Port::destroy`], then waits until [`PortEvent::Final`] has been handled.
    ///
    /// # Errors
    /// In a callback (nothing is done then), or when the time is up (the destruction goes on).
    pub fn destroy_wait(&self, timeout: Duration) -> Result<(), WaitError> {
        todo!()
    }

    /// State of Fig. 7.
    #[must_use]
    pub fn state(&self) -> State {
        todo!()
    }

    /// The second axis of the state.
    #[must_use]
    pub fn link(&self) -> Link {
        todo!()
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        todo!()
    }

    /// Its generation now.
    #[must_use]
    pub fn generation(&self) -> Generation {
        todo!()
    }

    /// The node at the other end, if there is one.
    #[must_use]
    pub fn peer(&self) -> Option<NodeId> {
        todo!()
    }

    /// Sends a message, copied from a gather list: the memory is the caller's again on return. Returns its number; exactly one
    /// [`PortEvent::Completed`] or [`PortEvent::Nacked`] follows.
    ///
    /// # Errors
    /// Nothing was sent and no event follows.
    pub fn send(&self, data: &[IoSlice<'_>], options: &SendOptions) -> Result<Sn, SendError> {
        todo!()
    }

    /// Sends a message without copying it. As [`Port::send`], and [`PortEvent::Released`] says when the memory is free.
    ///
    /// # Errors
    /// Nothing was sent, no event follows, and the memory is the caller's.
    ///
    /// # Safety
    /// On success the memory that `data` refers to (not the list itself) must stay valid and unchanged until [`PortEvent::Released`]
    /// with this `context`.
    pub unsafe fn send_borrowed(&self, data: &[IoSlice<'_>], options: &SendOptions) -> Result<Sn, SendError> {
        todo!()
    }

    /// Acknowledges a received message that [`Message::wants_ack`] (A1). In any order, from any thread, once.
    ///
    /// # Errors
    /// When no such acknowledgment is owed.
    pub fn ack(&self, sn: Sn, rc: i32) -> Result<(), AckError> {
        todo!()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        todo!()
    }
}
