//! The way from Python into the library: fork check, detaching, panics, and waiting that Ctrl-C can interrupt.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::failure::Failure;

/// Longest wait without a look at the signals.
const SLICE: Duration = Duration::from_millis(200);

/// The process in which something was made. Its threads, and thereby its use, do not survive `fork`.
#[derive(Clone, Copy)]
pub(crate) struct Home(u32);

impl Home {
    /// This process.
    pub(crate) fn here() -> Home {
        Home(process::id())
    }

    /// Whether this is that process.
    pub(crate) fn is_here(self) -> bool {
        self.0 == process::id()
    }
}

/// Runs `f` detached from Python.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    home: Home,
    f: impl FnOnce() -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let result = if home.is_here() {
        py.detach(|| {
            catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
        })
    } else {
        Err(Failure::Forked { parent: home.0 })
    };
    Ok(result?)
}

/// When a wait is to end.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// After this time; `None`: never.
    pub(crate) fn after(timeout: Option<Duration>) -> Deadline {
        // A time that the clock cannot express is never reached.
        Deadline(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    pub(crate) fn has_passed(self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// The end of the next slice.
    fn slice(self) -> Instant {
        let next = Instant::now() + SLICE;
        self.0.map_or(next, |at| at.min(next))
    }
}

/// Calls `look`, detached, until it gives `Some`: each time with the moment until which it may wait. Signals are handled in between.
/// `None`: the time is up.
///
/// # Errors
/// Of `look`, or what a signal handler raised (`KeyboardInterrupt`).
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    home: Home,
    deadline: Deadline,
    mut look: impl FnMut(Instant) -> Result<Option<T>, Failure> + Send,
) -> PyResult<Option<T>> {
    loop {
        let until = deadline.slice();
        if let Some(found) = detached(py, home, || look(until))? {
            return Ok(Some(found));
        }
        py.check_signals()?;
        if deadline.has_passed() {
            return Ok(None);
        }
    }
}
