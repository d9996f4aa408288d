//! The C interface: every exported function and every `repr(C)` type, and nothing else.
//!
//! `include/cdps/cdps.h` is generated from this crate by `cargo xtask header`; libcdps.so and libcdps.a are made from it by
//! `cargo xtask lib`. The doc comments here are therefore written for a reader of C.
//!
//! Each exported function is written out (cbindgen does not see functions made by a macro) and consists of one call of a guard, which
//! refuses use in a forked child, catches panics and turns a failure into a code and a text.
#![allow(non_camel_case_types, reason = "the types are C's and carry C names")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the rules for pointers are at the top of the header, for all functions at once"
)]

mod callback;
pub mod client;
mod client_bridge;
pub mod config;
#[cfg(test)]
mod connected;
pub mod decision;
pub mod error;
mod fork;
mod gate;
mod guard;
mod handle;
mod key;
mod live;
mod log;
pub mod message;
pub mod names;
pub mod node;
pub mod port;
mod port_bridge;
pub mod port_change;
pub mod port_info;
mod settings;
mod sized;
pub mod stats;
mod strings;
pub mod types;
pub mod version;
