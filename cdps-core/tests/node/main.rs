//! The node engine, wired to others of its kind in virtual time. Every test names the rows of the behaviour list that it proves.

mod lease;
mod links;
mod liveness;
mod membership;
mod messages;
mod net;
mod random;
