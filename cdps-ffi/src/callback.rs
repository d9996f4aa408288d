//! Calls into the user's code.

use std::ffi::c_void;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{CDPS_E_INVALID, CDPS_E_UNSUPPORTED, Failure};
use crate::guard::{leak, panic_text};
use crate::types::{
    CDPS_CLIENT_EXCLUSIVE, cdps_client_callbacks_t, cdps_node_callbacks_t, cdps_port_callbacks_t,
};

/// The user's pointer, which callbacks get as their first argument.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: the library never follows the pointer; the header says that callbacks run on other threads.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Runs a callback. The pointers to it are `extern "C-unwind"`: a C++ exception that leaves one ends the process here with a clear
/// message, instead of running through frames of Rust. A Rust panic (a callback written in Rust) is reported and ends here.
pub(crate) fn run<T>(name: &str, otherwise: T, call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let line = format!("cdps: {name}: a panic left the callback: {}\n", panic_text(payload.as_ref()));
        leak(payload);
        // There is nobody to tell that standard error is closed.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
        otherwise
    })
}

/// What is missing in a table of port callbacks, or too much.
pub(crate) fn check_port(table: &cdps_port_callbacks_t) -> Result<(), Failure> {
    check_flags("cdps_port_callbacks_t", table.flags, 0)?;
    if table.on_complete.is_some() != table.on_nack.is_some() {
        let text = "on_complete and on_nack must be set together, or neither";
        return Err(Failure::new(CDPS_E_INVALID, text));
    }
    needs_final(table.on_final.is_some())
}

/// As [`check_port`], for clients.
pub(crate) fn check_client(table: &cdps_client_callbacks_t) -> Result<(), Failure> {
    check_flags("cdps_client_callbacks_t", table.flags, CDPS_CLIENT_EXCLUSIVE)?;
    needs_final(table.on_final.is_some())
}

/// As [`check_port`], for nodes.
pub(crate) fn check_node(table: &cdps_node_callbacks_t) -> Result<(), Failure> {
    check_flags("cdps_node_callbacks_t", table.flags, 0)
}

fn needs_final(set: bool) -> Result<(), Failure> {
    if set { Ok(()) } else { Err(Failure::new(CDPS_E_INVALID, "on_final must be set")) }
}

fn check_flags(name: &str, flags: u32, known: u32) -> Result<(), Failure> {
    if flags & !known == 0 {
        return Ok(());
    }
    let text = format_args!("{name}: flags is {flags:#x}; this version knows {known:#x}").to_string();
    Err(Failure::new(CDPS_E_UNSUPPORTED, text))
}
