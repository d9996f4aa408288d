//! Received messages: shared, read-only bytes that give their credit back when they are dropped (M5, M7).

use cdps_core::id::{Generation, Sn, Ssn, StreamId};

/// A received message. It may be kept past the callback and moved to any thread; dropping it releases it, and only then may the peer
/// send as much again.
#[derive(Debug)]
pub struct Message {}

impl Message {
    /// The bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        todo!()
    }

    /// Its number; what [`crate::Port::ack`] takes.
    #[must_use]
    pub fn sn(&self) -> Sn {
        todo!()
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        todo!()
    }

    /// Its number in the stream.
    #[must_use]
    pub fn ssn(&self) -> Ssn {
        todo!()
    }

    /// Generation under which it was received: the fencing token.
    #[must_use]
    pub fn generation(&self) -> Generation {
        todo!()
    }

    /// Whether the sender waits for [`crate::Port::ack`].
    #[must_use]
    pub fn wants_ack(&self) -> bool {
        todo!()
    }

    /// Whether an earlier target may have delivered it already (F5).
    #[must_use]
    pub fn redelivered(&self) -> bool {
        todo!()
    }
}
