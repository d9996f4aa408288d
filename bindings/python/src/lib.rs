//! Native module of the Python package `cdps`, on the Rust driver.
//!
//! # Rules
//!
//! - The library's threads never attach to Python. What they have to tell goes into bounded queues ([`mailbox`], [`client`],
//!   [`sending`]); Python threads pull. So Python can neither hold up a heartbeat nor deadlock with a callback, at exit included.
//!   A callback thread waits for Python only when a port was told to ask it something, and never for longer than the answer is worth.
//! - No Python object is ever owned by something that a library thread may drop.
//! - A call that may wait does so detached, in slices, and looks for signals in between ([`call::wait`]).
//! - No lock is held while Python is attached to or called.
//! - A panic becomes `cdps.InternalError`; a child made by `fork` gets `cdps.ForkedError` ([`call::detached`]).

mod arguments;
mod call;
mod client;
mod cluster;
mod event;
mod failure;
mod figures;
mod mailbox;
mod message;
mod node;
mod port;
mod sending;
mod settings;

/// The native module `cdps._cdps`.
#[pyo3::pymodule]
mod _cdps {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::cluster::ClusterEvent;
    #[pymodule_export]
    use crate::event::Event;
    #[pymodule_export]
    use crate::message::Message;
    #[pymodule_export]
    use crate::node::{Node, close_all};
    #[pymodule_export]
    use crate::port::Port;
    #[pymodule_export]
    use crate::sending::SendHandle;

    use crate::call;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Panics, so that a test can see what becomes of a panic.
    #[pyfunction]
    fn _panic(py: Python<'_>, text: &str) -> PyResult<()> {
        call::detached(py, call::Home::here(), || panic!("{text}"))
    }
}
