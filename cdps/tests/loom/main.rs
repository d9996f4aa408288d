//! Model tests: every order in which threads can meet in the driver's small protocols, up to a bound.
//!
//! The files under test are the driver's own, compiled here over loom's atomics and locks: with `--cfg loom` for the whole build there would
//! be no sockets in tokio, and so no driver.
#![allow(dead_code, reason = "the models use a part of what the driver uses")]

#[path = "../../src/inbox.rs"]
mod inbox;
#[path = "../../src/jobs.rs"]
mod jobs;
#[path = "../../src/schedule.rs"]
mod schedule;
#[path = "../../src/conn/turn.rs"]
mod turn;

mod dispatching;
mod sync;
mod writing;

/// Explores a model. More involuntary switches of threads than this in one execution are not looked at.
fn explore(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}
