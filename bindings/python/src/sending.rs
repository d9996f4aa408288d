//! A send under way: where its one outcome is put, and waited for.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

use crate::arguments;
use crate::call::{self, Deadline, Home};
use crate::failure::Failure;
use cdps::{Certainty, Reason, Sn};

/// How a send has ended (A4).
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Completed { rc: i32 },
    Nacked { reason: Reason, certainty: Certainty },
}

/// Shared by the handle that Python has and the port that will hear of the outcome.
#[derive(Default)]
pub(crate) struct Sending {
    outcome: Mutex<Option<Outcome>>,
    ended: Condvar,
}

impl Sending {
    pub(crate) fn end(&self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
        self.ended.notify_all();
    }

    fn wait_until(&self, until: Instant) -> Option<Outcome> {
        let mut outcome = self.outcome.lock();
        while outcome.is_none() && !self.ended.wait_until(&mut outcome, until).timed_out() {}
        *outcome
    }
}

/// A message on its way. It ends exactly once: :meth:`result` gives the return code, or raises why it failed.
#[pyclass(frozen, weakref, module = "cdps")]
pub(crate) struct SendHandle {
    pub(crate) sn: Sn,
    pub(crate) sending: Arc<Sending>,
    pub(crate) home: Home,
}

#[pymethods]
impl SendHandle {
    /// Number of the message, unique within the session and the direction.
    #[getter]
    fn sn(&self) -> u64 {
        self.sn.0
    }

    /// Whether the send has ended.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<bool> {
        call::detached(py, self.home, || Ok(self.sending.outcome.lock().is_some()))
    }

    /// Waits for the end of the send. Gives the return code of the target's user (0 unless the port's ``ack`` is ``"sync"``).
    ///
    /// Raises Nacked if the message certainly was not sent, DeliveryUnknown if it may have arrived, DeadlineExceeded if `timeout`
    /// seconds have passed (the send goes on).
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<i32> {
        let deadline = Deadline::after(arguments::timeout(timeout)?);
        let outcome = call::wait(py, self.home, deadline, |until| Ok(self.sending.wait_until(until)))?;
        let sn = self.sn.0;
        match outcome {
            Some(Outcome::Completed { rc }) => Ok(rc),
            Some(Outcome::Nacked { reason, certainty }) => {
                Err(Failure::Nacked { sn, reason, certainty }.into())
            }
            None => Err(Failure::Deadline(format!("message {sn} has not ended yet")).into()),
        }
    }

    fn __repr__(&self) -> String {
        format!("<cdps.SendHandle sn={}>", self.sn)
    }
}
