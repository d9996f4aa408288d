//! Why a call was refused: one enum per operation.

use std::io;
use std::net::SocketAddr;

use cdps_core::config::ConfigError;
use cdps_core::id::{NodeId, StreamId};
use cdps_core::port::{ChangeError, ConnectError, ContractError, SendError as Refusal, StateError};
use thiserror::Error;

use crate::keep::KeepError;

/// Why a node could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// An option is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A number of threads is out of range.
    #[error("{name} is {value}; allowed is 1 to 64")]
    Threads {
        /// Which.
        name: &'static str,
        /// Its value.
        value: usize,
    },
    /// A listen address could not be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The folder for generations cannot be used.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a client could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The name is in use on this node.
    #[error("client name {name:?} is already registered on this node")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name is empty or too long.
    #[error("client name {name:?} has {len} bytes; allowed is 1 to 255", len = name.len())]
    NameLength {
        /// The name.
        name: String,
    },
    /// What the client had accepted before a restart is not known.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The node is being destroyed.
    #[error("the node is being destroyed")]
    Destroyed,
}

/// Why a port could not be created.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CreateError {
    /// A value of the configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What ports had asked for before a restart is not known.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The node is being destroyed.
    #[error("the node is being destroyed")]
    Destroyed,
}

/// Why a call on a port was refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortError {
    /// The port's state does not allow it.
    #[error(transparent)]
    State(#[from] StateError),
    /// The client is of another node.
    #[error("client {name:?} belongs to another node")]
    OtherNode {
        /// Name of the client.
        name: String,
    },
    /// The client is unregistered.
    #[error("client {name:?} is unregistered")]
    Unregistered {
        /// Name of the client.
        name: String,
    },
    /// The node is not among the port's targets.
    #[error("node {node} is not among the targets of the port")]
    NotATarget {
        /// The node.
        node: NodeId,
    },
    /// The port has no target.
    #[error("the port has no target")]
    NoTarget,
    /// The port is connected to another node.
    #[error("the port is connected to node {connected}, and its link is up: use switch, or close first")]
    OtherTarget {
        /// Where it is connected.
        connected: NodeId,
    },
    /// A switch to the present target.
    #[error("the port is connected to node {node} already")]
    There {
        /// The node.
        node: NodeId,
    },
    /// A switch while another one is under way.
    #[error("the port is on its way to node {to} already")]
    Switching {
        /// Where it goes.
        to: NodeId,
    },
    /// The port cannot be changed like that (L8).
    #[error(transparent)]
    Change(ChangeError),
    /// A stream did not get its contract (M11).
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The stream named is in the range of the automatic ones.
    #[error("stream {stream} is not below 2147483648")]
    StreamRange {
        /// The stream named.
        stream: StreamId,
    },
}

impl From<ChangeError> for PortError {
    fn from(error: ChangeError) -> PortError {
        match error {
            ChangeError::State(error) => PortError::State(error),
            other => PortError::Change(other),
        }
    }
}

impl From<ConnectError> for PortError {
    fn from(error: ConnectError) -> PortError {
        match error {
            ConnectError::State(error) => PortError::State(error),
            ConnectError::NotATarget { node } => PortError::NotATarget { node },
            ConnectError::NoTarget => PortError::NoTarget,
            ConnectError::OtherTarget { connected } => PortError::OtherTarget { connected },
            ConnectError::There { node } => PortError::There { node },
            ConnectError::Switching { to } => PortError::Switching { to },
        }
    }
}

/// Why a send was refused; nothing was sent and no event follows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The port's state does not take sends.
    #[error(transparent)]
    State(#[from] StateError),
    /// The connection is down (F2): sends fail until it is up again.
    #[error("the connection is down; sends fail until it is up again")]
    Down,
    /// The port is being closed or stopped.
    #[error("the port is closing")]
    Closing,
    /// The port's buffer, or the queue of completions not yet dispatched, is full: try again after the next completion (M6). Comes at once,
    /// whatever the timeout, for the queue of completions, and for the buffer on the thread that dispatches the node's callbacks.
    #[error("the send buffer is full: try again")]
    Again,
    /// The time to wait is over and the buffer is still full.
    #[error("the send buffer was full for the whole timeout")]
    TimedOut,
    /// The send would have to wait inside a callback.
    #[error("the send buffer is full, and waiting is not possible in a callback")]
    InCallback,
    /// The message is longer than both ends agreed on.
    #[error("the message has {len} bytes; at most {max} are allowed")]
    TooLong {
        /// Its length.
        len: u64,
        /// What is allowed.
        max: u64,
    },
    /// One more stream than both ends agreed on.
    #[error("more than {max} streams")]
    TooManyStreams {
        /// What is allowed.
        max: u32,
    },
    /// The stream named is in the range of the automatic ones.
    #[error("stream {stream} is not below 2147483648")]
    StreamRange {
        /// The stream named.
        stream: StreamId,
    },
}

impl From<Refusal> for SendError {
    fn from(error: Refusal) -> SendError {
        match error {
            Refusal::State(error) => SendError::State(error),
            Refusal::Down => SendError::Down,
            Refusal::Closing => SendError::Closing,
            Refusal::TooLong { len, max } => SendError::TooLong { len: len.into(), max },
            Refusal::Full { .. } | Refusal::Crowded { .. } | Refusal::Backlog { .. } => SendError::Again,
            Refusal::TooManyStreams { max, .. } => SendError::TooManyStreams { max },
        }
    }
}

/// Why a wait ended without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WaitError {
    /// In a callback it would wait for itself.
    #[error("waiting is not possible in a callback")]
    InCallback,
    /// The time is up.
    #[error("the time is up")]
    TimedOut,
}

/// Why nothing was dispatched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DispatchError {
    /// The node's callbacks run elsewhere ([`crate::Callbacks`]).
    #[error("the callbacks of this node run on threads of the library")]
    NotDispatched,
    /// Another thread is dispatching.
    #[error("another thread is dispatching")]
    Busy,
    /// Inside a callback.
    #[error("dispatching is not possible in a callback")]
    InCallback,
    /// The node has ended: its `on_final` has returned, in this call or before.
    #[error("the node has ended")]
    Closed,
}
