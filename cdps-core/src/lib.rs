//! The CDPS engine: every decision of a data port, and nothing else.
//!
//! No clock, socket, thread, lock, random source or `async`: time comes in as a value ([`time::Time`]), bytes are moved by the caller, and
//! the payload types `S` (sent) and `R` (received) are opaque handles. The same code runs in the driver, the simulator and the fuzzer.
//!
//! Methods are of four kinds: getters; verbs (what the user asks); `handle_*` (what the world tells); `poll_*` (what the engine wants
//! done). After any verb or `handle_*` the caller drains the `poll_*` methods; nothing else is owed.
#![forbid(unsafe_code)]

pub mod admission;
mod budget;
pub mod cluster;
pub mod config;
pub mod id;
pub mod node;
pub mod port;
pub mod prng;
pub mod reason;
pub mod secret;
pub mod time;
pub mod wire;
