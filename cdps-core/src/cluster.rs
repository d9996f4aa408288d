//! The vocabulary that every cluster engine speaks (N2): what a node learns about the others.

use std::net::SocketAddr;

use thiserror::Error;

use crate::id::{Incarnation, NodeId};
use crate::node::LinkKey;
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

/// Which cluster engine a node has (N2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ClusterKind {
    /// None but the node itself: a fixed member list, and what the links show. It has no quorum, and never says *down*.
    #[default]
    Static,
    /// One with a quorum. It says what it knows through [`crate::node::Node::handle_membership`]; until it has said that there is a quorum
    /// there is none. Where the members are is still the member list's to say.
    Quorate,
}

/// What an engine with a quorum says: one consistent batch. What it does not mention is as before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// Number of the batch. Grows from batch to batch; holes do not matter.
    pub number: u64,
    /// What has changed. All of it is taken before anything of it has an effect.
    pub changes: Vec<MembershipChange>,
}

/// One word of an engine with a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange {
    /// A node is a member and alive. It does not keep a session up whose paths are dead (N5).
    Up(NodeId),
    /// The engine does not hear a node, and does not know more. One witness among several: sessions go on as long as the links do.
    Unreachable(NodeId),
    /// A node is gone. Sessions to it end at once (N5).
    Down(NodeId),
    /// A client is registered on a node.
    Registered {
        /// The node.
        node: NodeId,
        /// Name of the client.
        client: String,
    },
    /// A client is not registered any more: unregistered, or its process has died. Of a node that is down this need not be said.
    Gone {
        /// The node.
        node: NodeId,
        /// Name of the client.
        client: String,
    },
    /// Whether this node is in the part of the cluster that may act. Without a quorum it takes every fault to be its own.
    Quorum(bool),
}

/// Why a batch was not taken; nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MembershipError {
    /// The node has the static engine, which nobody else may speak for.
    #[error("the node has the static cluster engine, which takes no membership from outside")]
    Static,
    /// The number is not above the former one.
    #[error("membership {number} is not above {last}, which is the present one")]
    Stale {
        /// Number of the batch.
        number: u64,
        /// The present one.
        last: u64,
    },
}

/// A cluster event for the clients (N4). `membership` numbers the consistent batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterEvent {
    /// Number of the batch that the event belongs to; of a path, the present one.
    pub membership: u64,
    /// The node that it is about.
    pub node: NodeId,
    /// What is the case now.
    pub change: ClusterChange,
}

/// What changed in the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClusterChange {
    /// The node is there: it is heard, or a quorate engine says so.
    Up {
        /// As which incarnation; `None`: it has not been heard yet.
        incarnation: Option<Incarnation>,
    },
    /// The node is not heard, on any link or by a quorate engine.
    Unreachable,
    /// The node is gone, says a quorate engine.
    Down,
    /// A client is registered on the node, says a quorate engine.
    Registered {
        /// Its name.
        client: String,
    },
    /// A client is not registered on the node any more, or its process has died, says a quorate engine.
    Gone {
        /// Its name.
        client: String,
    },
    /// The node, which is this one, has a quorum, or has lost it.
    Quorum(bool),
    /// A path between this node and the other is up, suspect or down.
    Path {
        /// The link.
        link: LinkKey,
        /// Where it leads; `None`: the other node dials it.
        remote: Option<SocketAddr>,
        /// What it is now.
        health: Health,
    },
    /// The registration of the client that is told this has taken effect: sources can connect to it from here on (N3). The node is this
    /// one.
    Effective,
}
