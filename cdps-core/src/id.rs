//! Identities, as docs/protocol.md section 1 defines them.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Member of the cluster; 0 names none.
    NodeId(u32)
}
number! {
    /// Random number of one opening of a node; 0 means "any" or "unknown".
    Incarnation(u64)
}
number! {
    /// The dialling node's number for one address pair to one peer.
    LinkId(u32)
}
number! {
    /// Index of an address pair within a session, below [`crate::wire::MAX_PATHS`].
    PathId(u16)
}
number! {
    /// Number of a dial on a path, growing by one each dial, from 1.
    ConnId(u32)
}
number! {
    /// Ordering domain: "sending task" in the seed. Below [`StreamId::FIRST_AUTOMATIC`] the user names it.
    StreamId(u32)
}
number! {
    /// Number of a message within session and direction, from 1, never changed once given.
    Sn(u64)
}
number! {
    /// Number of a message within its stream, from 1.
    Ssn(u64)
}

impl StreamId {
    /// Streams from here on belong to sending threads that named none (M2).
    pub const FIRST_AUTOMATIC: StreamId = StreamId(1 << 31);
}

impl Sn {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Sn {
        Sn(self.0 + 1)
    }
}

impl Ssn {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Ssn {
        Ssn(self.0 + 1)
    }
}

/// One source port tied to one target port; survives path failures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SessionId {
    /// Node of the source.
    pub node: NodeId,
    /// Incarnation of that node.
    pub incarnation: Incarnation,
    /// Number that the source gave the port.
    pub port: u32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}.{}", self.node, self.incarnation.0, self.port)
    }
}

/// Fencing token that both users see: (role epoch given by the user, counter), compared in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation {
    /// Given by the user; 0 unless the client is exclusive (L4).
    pub role_epoch: u64,
    /// Grows with every connect to a target and every reset.
    pub counter: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role_epoch, self.counter)
    }
}

/// Which end of a session this is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The end that connects.
    Source,
    /// The end that is connected to.
    Target,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn peer(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }
}
