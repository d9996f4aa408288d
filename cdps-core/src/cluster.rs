//! The vocabulary that every cluster engine speaks (N2): what a node learns about the others.

use crate::id::{Incarnation, NodeId};
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// How well a link, or a node over its best link, is heard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Health {
    /// No contact for the dead time, or no connection: not usable.
    Dead,
    /// A probe is unanswered for longer than it should be (T3).
    Suspect,
    /// Answers in time.
    Good,
}

/// Which direction of a link is lost while the other one works (T5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OneWay {
    /// The peer is heard, and does not hear this node: nothing that is sent there arrives.
    Out,
    /// The peer hears this node, and is not heard. Only the peer can tell, over another path.
    In,
}

impl OneWay {
    /// What a user is told.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            OneWay::Out => Reason::OneWayOut,
            OneWay::In => Reason::OneWayIn,
        }
    }
}

/// State of one link, as told to the ports whose paths use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// How well it is heard.
    pub health: Health,
    /// Smoothed round-trip time, if measured.
    pub rtt: Option<Duration>,
    /// Which direction is lost, if it is not good and that is known. A link alone knows of [`OneWay::Out`] only.
    pub one_way: Option<OneWay>,
}

impl LinkState {
    /// What a link is before it was heard.
    pub const DEAD: LinkState = LinkState { health: Health::Dead, rtt: None, one_way: None };
}

/// What a port is told about a peer node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerState {
    /// Heard on at least one link, as this incarnation.
    Reachable {
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// No contact on any link for the dead time. One witness: never "down".
    Unreachable {
        /// When it was last heard on any link; what a lease is counted from (F8).
        last_heard: Time,
    },
    /// A quorate engine says that it is gone (N5).
    Down,
}

/// A cluster event for the clients (N4). `membership` numbers the consistent batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterEvent {
    /// Number of the batch that the event belongs to.
    pub membership: u64,
    /// The node that it is about.
    pub node: NodeId,
    /// What is the case now.
    pub change: ClusterChange,
}

/// What changed in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClusterChange {
    /// The node is heard.
    Up {
        /// As which incarnation.
        incarnation: Incarnation,
    },
    /// The node is not heard on any link.
    Unreachable,
    /// The node is gone, says a quorate engine.
    Down,
}
