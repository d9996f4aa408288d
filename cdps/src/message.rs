//! Received messages: shared, read-only bytes that give their credit back when they are dropped (M5, M7).

use std::fmt;
use std::sync::Arc;

use cdps_core::id::{Generation, Sn, Ssn, StreamId};
use cdps_core::port::{AckError, Received};

use crate::dispatch;
use crate::received::ReceivedBuf;
use crate::shared::PortShared;

/// A received message. It may be kept past the callback and moved to any thread; dropping it releases it, and only then may the peer
/// send as much again.
pub struct Message {
    /// `None` only while it is dropped.
    port: Option<Arc<PortShared>>,
    received: Received<ReceivedBuf>,
}

/// Whether a message that its user keeps in a queue may still be handed on (F8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deliverable {
    /// Yes.
    Now,
    /// The lease has run out. It may be renewed.
    Later,
    /// Another target may have it, or the port is destroyed. To be dropped.
    Never,
}

impl Message {
    /// Takes the bytes of what was received.
    #[inline(always)]
    pub(crate) fn new(port: Arc<PortShared>, received: &mut Received<ReceivedBuf>) -> Message {
        let payload = std::mem::take(&mut received.payload);
        let Received { sn, stream, ssn, generation, flags, credit, payload: _ } = *received;
        Message {
            port: Some(port),
            received: Received { sn, stream, ssn, generation, flags, credit, payload },
        }
    }

    fn port(&self) -> &Arc<PortShared> {
        match &self.port {
            Some(port) => port,
            None => unreachable!("nothing is asked of it while it is dropped"),
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.received.payload.bytes()
    }

    /// Its number; what [`crate::Port::ack`] takes.
    #[must_use]
    pub fn sn(&self) -> Sn {
        self.received.sn
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.received.stream
    }

    /// Its number in the stream.
    #[must_use]
    pub fn ssn(&self) -> Ssn {
        self.received.ssn
    }

    /// Generation under which it was received: the fencing token.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.received.generation
    }

    /// Whether the sender waits for [`crate::Port::ack`].
    #[must_use]
    pub fn wants_ack(&self) -> bool {
        self.received.wants_ack()
    }

    /// Acknowledges it with a return code (A1): [`crate::Port::ack`], and nothing else's number can be hit, should the port have been
    /// connected elsewhere meanwhile.
    ///
    /// # Errors
    /// When no acknowledgment is owed, or not any more.
    pub fn ack(&self, rc: i32) -> Result<(), AckError> {
        let sn = self.sn();
        let generation = self.generation();
        let acked = self.port().call(|engine, now| {
            if engine.generation() == generation {
                engine.ack(now, sn, rc)
            } else {
                Err(AckError::NotOwed { sn })
            }
        });
        acked.unwrap_or(Err(AckError::NotOwed { sn }))
    }

    /// Whether an earlier target may have delivered it already (F5).
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.received.redelivered()
    }

    /// Whether it may be handed on now (F8). [`crate::PortHandler::event`] was called under a lease; who puts messages into a queue
    /// there, and has them worked on later, must ask again when one is taken out.
    #[must_use]
    pub fn deliverable(&self) -> Deliverable {
        let port = self.port();
        if port.gives_up() {
            Deliverable::Never
        } else if port.fence.leased() || port.read(|engine| !engine.needs_lease()).unwrap_or(false) {
            Deliverable::Now
        } else {
            Deliverable::Later
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let token = self.received.credit;
        let Some(port) = self.port.take() else { return };
        if let Err(port) = dispatch::collect(port, token) {
            port.call(|engine, now| engine.release(now, token));
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("sn", &self.sn())
            .field("stream", &self.stream())
            .field("len", &self.data().len())
            .finish_non_exhaustive()
    }
}
