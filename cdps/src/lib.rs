//! Cluster data port services: many TCP paths and several backup targets, presented as one pipe.
//!
//! A process opens a [`Node`], registers a [`Client`] on it under a cluster-wide name, and uses [`Port`]s: a *source* port connects to
//! a client on another node, a *target* port is made by that client's [`ClientHandler::connect_request`]. Either end may then send;
//! messages arrive exactly once and in order per stream, whatever happens to the paths in between.
//!
//! This crate is the driver: sockets, threads, delivery of events. Every decision is made by `cdps-core`.
//!
//! # Callbacks
//!
//! Handlers run where [`NodeOptions::callbacks`] says ([`Callbacks`]): on threads for that, on the I/O threads, or in [`Node::dispatch`]. They
//! run one at a time and in order per port, with no lock held, and never inside another call. Any function may be called
//! from inside one, except those that wait ([`Port::destroy_wait`], [`Node::destroy_wait`], [`Node::dispatch`], a send that would have to
//! wait): these give an error. [`PortEvent::Final`], [`ClientHandler::closed`] and the node's `on_final` are each the last callback of their
//! object.
//!
//! # Destruction
//!
//! Handles are cheap clones. Dropping the last one does not close anything: call `destroy`.
#![warn(clippy::print_stderr)]

mod actions;
mod callbacks;
mod chunk;
mod chunks;
mod client;
mod clock;
mod conn;
mod dispatch;
mod error;
mod fence;
mod hub;
mod inbox;
mod jobs;
mod keep;
mod links;
mod log;
mod message;
mod metrics;
mod node;
mod outputs;
mod payload;
mod port;
mod random;
mod received;
mod schedule;
mod session;
mod shared;
mod signal;
mod stats;
mod streams;
mod sync;
mod threads;
mod timer;

pub use cdps_core::cluster::{
    ClusterChange, ClusterEvent, ClusterKind, Health, Membership, MembershipChange, MembershipError,
    PeerState,
};
pub use cdps_core::config::{
    AckModel, Address, AddressError, BackupSelection, Balance, ConfigError, Liveness, Member,
    OnUserAckTimeout, PathClass, PortConfig, Priority, StreamContract, Target,
};
pub use cdps_core::id::{Generation, Incarnation, LinkId, NodeId, PathId, SessionId, Sn, Ssn, StreamId};
pub use cdps_core::node::LinkKey;
pub use cdps_core::port::{
    AckError, Certainty, ChangeError, ConnStatus, ContractError, FlowReason, LeaseEnd, Link, LossRecord,
    PathEvidence, PathStats as PathFigures, State, StateError, Stats as PortStats, Timer, Trigger, Verdict,
};
pub use cdps_core::reason::Reason;

pub use callbacks::Callbacks;
pub use client::{Client, ClientHandler, ConnectRequest, Decision};
pub use error::{CreateError, DispatchError, OpenError, PortError, RegisterError, SendError, WaitError};
pub use keep::KeepError;
pub use log::{Level, Log, LogSink};
pub use message::{Deliverable, Message};
pub use node::{Node, NodeOptions, Security};
pub use port::{BackupChoice, FenceRequest, Port, PortEvent, PortHandler, SendOptions};
pub use stats::{Carried, NodeStats, PathStats};

/// Whether the calling thread is inside one of this library's callbacks, where calls that wait are refused.
#[must_use]
pub fn in_callback() -> bool {
    threads::in_callback()
}
