//! Whole clusters of the production engines under faults, in virtual time, from one seed.
//!
//! The engines are those of `cdps-core`; frames are really encoded, carried as bytes and decoded. What is simulated is what surrounds
//! them: the network, the clocks, the driver's shuttle work, the users, and what goes wrong. An oracle that sees everything says when a
//! rule of the behaviour list was broken.

mod broken;
mod changes;
mod checks;
mod checksum;
mod env;
mod fault;
mod first;
mod hoard;
mod host;
mod hour;
mod mutate;
mod net;
mod one_way;
mod oracle;
mod payload;
mod plan;
mod receipts;
mod rejoin;
mod rng;
mod rules;
mod script;
mod user;
mod world;

pub use broken::Broken;
pub use rules::{Invariant, Tally, Violation};
pub use script::{Act, Cue, Line, Script};
pub use world::{Options, Outcome, run, run_keeping, run_printing, run_script};
