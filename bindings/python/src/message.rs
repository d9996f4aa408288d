//! Received messages.

use cdps::{Generation, Sn};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::call::{self, Home};
use crate::event;
use crate::failure::Failure;

/// A received message. Its bytes are a copy: the room that it took is the sender's again.
#[pyclass(frozen, weakref, module = "cdps")]
pub(crate) struct Message {
    data: Py<PyBytes>,
    sn: Sn,
    stream: u32,
    ssn: u64,
    generation: Generation,
    wants_ack: bool,
    redelivered: bool,
    port: cdps::Port,
    home: Home,
}

#[pymethods]
impl Message {
    /// The bytes.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// Number of the message, unique within the session and the direction; the sender knows it by the same number.
    #[getter]
    fn sn(&self) -> u64 {
        self.sn.0
    }

    /// The stream that it was sent on. Within a stream messages come in the order in which they were sent.
    #[getter]
    fn stream(&self) -> u32 {
        self.stream
    }

    /// Its number in the stream, from 1.
    #[getter]
    fn ssn(&self) -> u64 {
        self.ssn
    }

    /// Generation of the session under which it was received, as (role epoch, counter): the fencing token.
    #[getter]
    fn generation(&self) -> (u64, u64) {
        event::pair(self.generation)
    }

    /// Whether the sender waits for ack.
    #[getter]
    fn wants_ack(&self) -> bool {
        self.wants_ack
    }

    /// Whether an earlier target may have delivered it already.
    #[getter]
    fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Acknowledges the message: the sender's result gives `rc`. Once, in any order, from any thread. Raises StateError if no
    /// acknowledgment is owed (any more).
    #[pyo3(signature = (rc=0))]
    fn ack(&self, py: Python<'_>, rc: i32) -> PyResult<()> {
        call::detached(py, self.home, || {
            // The same number may stand for another message under another generation.
            let now = self.port.generation();
            if now != self.generation {
                return Err(Failure::State(format!(
                    "message {} is of generation {}, the port of {now}: no acknowledgment is owed",
                    self.sn, self.generation
                )));
            }
            Ok(self.port.ack(self.sn, rc)?)
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let len = self.data.bind(py).len()?;
        Ok(format!("<cdps.Message sn={} stream={} bytes={len}>", self.sn, self.stream))
    }
}

impl Message {
    /// Copies a message out, and releases it.
    pub(crate) fn new(
        py: Python<'_>,
        message: cdps::Message,
        port: &cdps::Port,
        home: Home,
    ) -> PyResult<Message> {
        let data = message.data();
        let copy = PyBytes::new_with(py, data.len(), |to| {
            to.copy_from_slice(data);
            Ok(())
        })?;
        let copied = Message {
            data: copy.unbind(),
            sn: message.sn(),
            stream: message.stream().0,
            ssn: message.ssn().0,
            generation: message.generation(),
            wants_ack: message.wants_ack(),
            redelivered: message.redelivered(),
            port: port.clone(),
            home,
        };
        py.detach(|| drop(message));
        Ok(copied)
    }
}
