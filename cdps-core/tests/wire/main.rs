//! The wire format of docs/protocol.md, from outside.

mod damage;
mod frames;
mod refusals;
mod round_trip;
mod splits;
mod vectors;
