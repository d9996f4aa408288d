//! The engine of one node: the links to its peers, their liveness, the static membership that follows from it, and node messages.
//!
//! A *link* is one address pair between two nodes, named by the node that dials it; it has one control connection at most. Liveness, round-trip
//! time and the lease belong to links, whatever sessions use them (T5). A node knows the links that it dials and those that it has
//! accepted; two nodes that dial each other have links of both kinds, which do not touch each other.
//!
//! ```text
//!           Dial            handshake        first answered heartbeat
//!  down ----------> dialling ---------> joining ---------------------> good <--> suspect
//!   ^                  |                   |                            |           |
//!   +---- backoff -----+-------------------+        at once, if it lasted +-----------+
//! ```
//!
//! After any call that takes the time the caller drains [`Node::poll_output`] and asks [`Node::poll_timeout`] anew. That one moves on with
//! every heartbeat that is heard, so a caller which re-arms its timer then is never woken without need: once an interval where links
//! are dialled, and not at all where they were accepted and are alive.

mod handshake;
mod link;
mod membership;
mod peer;
mod pulse;
mod routing;
mod rtt;
mod timing;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use link::{Dialler, Link, Loss, Phase};
use peer::Peer;

use crate::cluster::{ClusterEvent, ClusterKind, LinkState, PeerState};
use crate::config::{ConfigError, NodeConfig};
use crate::id::{Incarnation, LinkId, NodeId};
use crate::prng::Prng;
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::{self, NodeBody};

/// Names a link at this node. It has one control connection at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkKey {
    /// This node dials it.
    Dialled(LinkId),
    /// The peer dials it; the number is the peer's.
    Accepted {
        /// The peer.
        node: NodeId,
        /// Its number for the link.
        link: LinkId,
    },
}

/// What the node wants done, or tells. To be drained after every call, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Connect, say HELLO, read WELCOME; then [`Node::handle_dialled`], or [`Node::handle_lost`] if that failed.
    Dial {
        /// The link.
        link: LinkId,
        /// Number of the connection.
        conn: u32,
        /// Whom it should reach.
        node: NodeId,
        /// From where; `None`: the routing table decides.
        local: Option<IpAddr>,
        /// To where.
        remote: SocketAddr,
    },
    /// Close this connection, or give up the dial. Nothing need be reported for it.
    Hangup {
        /// The link.
        key: LinkKey,
        /// The connection.
        conn: u32,
    },
    /// [`Node::poll_transmit`] has something: call it until it gives nothing. Not told again before that.
    Transmit {
        /// The link.
        key: LinkKey,
        /// The connection.
        conn: u32,
    },
    /// The health of a link changed, or (at most once a second) its round-trip time alone.
    Link {
        /// The link.
        key: LinkKey,
        /// What it is now.
        state: LinkState,
    },
    /// A peer is reachable, or not any more.
    Peer {
        /// The peer.
        node: NodeId,
        /// What it is now.
        state: PeerState,
    },
    /// Whether no link to any other member is good, or there is no quorum: then the fault is this node's own (N5).
    Isolated(bool),
    /// Messages of this incarnation may be delivered until then (F8). Told at every renewal.
    Lease {
        /// The peer.
        node: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
        /// First moment at which they may not.
        until: Time,
    },
    /// This incarnation is over, another has taken its place: its sessions are to be closed with [`Reason::PeerRestarted`].
    PeerGone {
        /// The peer.
        node: NodeId,
        /// The incarnation that is over.
        incarnation: Incarnation,
    },
    /// For the clients (N4).
    Cluster(ClusterEvent),
    /// A node message arrived, or was told to this node itself.
    Message {
        /// From whom.
        from: NodeId,
        /// From which incarnation.
        from_incarnation: Incarnation,
        /// What it says.
        body: NodeBody,
    },
}

/// What a node has counted since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeCounters {
    /// Dials begun.
    pub dials: u64,
    /// Control connections that came to be, on either end.
    pub connections: u64,
    /// Control connections and dials that ended.
    pub losses: u64,
    /// Control connections closed because the peer broke the protocol.
    pub faults: u64,
    /// HELLOs refused.
    pub refusals: u64,
    /// Node messages dropped for want of room or of a connection.
    pub messages_dropped: u64,
    /// How often the node found that it had been late by more than a heartbeat (T9).
    pub late: u64,
}

/// Engine of one node. See the module for how it is driven.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    incarnation: Incarnation,
    links: BTreeMap<LinkKey, Link>,
    peers: BTreeMap<NodeId, Peer>,
    outputs: VecDeque<Output>,
    /// Messages among `outputs`.
    messages_waiting: usize,
    prng: Prng,
    last_link: u32,
    last_conn: u32,
    /// When all dialled links send their next heartbeat.
    next_beat: Time,
    /// Lateness up to here has been dealt with (T9).
    excused: Time,
    membership: u64,
    /// Whether the present call has begun a batch of cluster events.
    in_batch: bool,
    /// The cluster engine has a quorum; the static one has all that it needs.
    quorate: bool,
    isolated: bool,
    counters: NodeCounters,
}

impl Node {
    /// Opens a node and starts dialling every address of every other member. `incarnation` is random and not 0; `seed` is for jitter.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn new(
        config: NodeConfig,
        incarnation: Incarnation,
        now: Time,
        seed: u64,
    ) -> Result<Node, ConfigError> {
        check(&config)?;
        let mut node = Node {
            incarnation,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            outputs: VecDeque::new(),
            messages_waiting: 0,
            prng: Prng::new(seed),
            last_link: 0,
            last_conn: 0,
            next_beat: now,
            excused: now,
            membership: 0,
            in_batch: false,
            quorate: config.cluster == ClusterKind::Static,
            isolated: false,
            counters: NodeCounters::default(),
            config,
        };
        for index in 0..node.config.members.len() {
            let peer = node.config.members[index].node;
            if peer == node.id() {
                continue;
            }
            node.peers.insert(peer, Peer::new(true));
            for position in 0..node.config.members[index].addresses.len() {
                let remote = node.config.members[index].addresses[position];
                let local = node.local_for(position);
                let link = node.link_to(now, peer, local, remote);
                node.with_dialler(link, |dialler| dialler.member = true);
            }
        }
        node.settle_isolation();
        Ok(node)
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.config.node
    }

    /// This opening of it.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What it was opened with.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Addresses of a member; none for any other node.
    #[must_use]
    pub fn addresses(&self, node: NodeId) -> &[SocketAddr] {
        self.config.members.iter().find(|member| member.node == node).map_or(&[], |member| &member.addresses)
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> NodeCounters {
        self.counters
    }

    /// Keeps a link over this address pair for a path. Counted: to be undone by [`Node::unwatch`] as often. The same pair is the same
    /// link, also one that the member list wants.
    pub fn watch(&mut self, now: Time, peer: NodeId, local: Option<IpAddr>, remote: SocketAddr) -> LinkId {
        self.enter(now);
        let link = self.link_to(now, peer, local, remote);
        self.with_dialler(link, |dialler| dialler.watchers = dialler.watchers.saturating_add(1));
        link
    }

    /// A path does not need the link any more.
    pub fn unwatch(&mut self, now: Time, link: LinkId) {
        self.enter(now);
        self.with_dialler(link, |dialler| dialler.watchers = dialler.watchers.saturating_sub(1));
        let key = LinkKey::Dialled(link);
        if self.links.get(&key).is_some_and(Link::is_unwanted) {
            self.forget(now, key);
        }
    }

    /// State of a link; dead if there is no such link.
    #[must_use]
    pub fn link_state(&self, key: LinkKey) -> LinkState {
        self.links.get(&key).map_or(LinkState::DEAD, Link::state)
    }

    /// Why a link has no connection, or how it lost the former one.
    #[must_use]
    pub fn link_reason(&self, key: LinkKey) -> Reason {
        self.links.get(&key).map_or(Reason::None, |link| link.reason)
    }

    /// State of a peer; `None` if it was never heard. This node itself is always reachable.
    #[must_use]
    pub fn peer_state(&self, node: NodeId) -> Option<PeerState> {
        if node == self.id() {
            return Some(PeerState::Reachable { incarnation: self.incarnation });
        }
        self.peers.get(&node).and_then(|peer| peer.state)
    }

    /// The incarnation of a peer that is believed to be the present one, reachable or not.
    #[must_use]
    pub fn peer_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        self.peers.get(&node).and_then(|peer| peer.incarnation)
    }

    /// Whether there are other members, and no link to any of them is good, or there is no quorum: then the fault is this node's own (N5).
    /// True at the start.
    #[must_use]
    pub fn isolated(&self) -> bool {
        self.isolated
    }

    /// Until when messages of this incarnation may be delivered (F8); [`Time::ZERO`] if no lease was ever given.
    #[must_use]
    pub fn lease_until(&self, node: NodeId, incarnation: Incarnation) -> Time {
        self.peers
            .get(&node)
            .map_or(Time::ZERO, |peer| peer.lease_until(incarnation, self.config.liveness.lease))
    }

    /// The next thing that the node wants done or tells.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if matches!(output, Some(Output::Message { .. })) {
            self.messages_waiting -= 1;
        }
        output
    }

    fn local_for(&self, position: usize) -> Option<IpAddr> {
        let local = &self.config.local;
        (!local.is_empty()).then(|| local[position % local.len()])
    }

    /// The link over this pair, made and dialled if there is none.
    fn link_to(&mut self, now: Time, node: NodeId, local: Option<IpAddr>, remote: SocketAddr) -> LinkId {
        let same = |dialler: &Dialler| dialler.local == local && dialler.remote == remote;
        let found = self.links.iter().find_map(|(key, link)| match key {
            LinkKey::Dialled(id) => {
                (link.node == node && link.dialler.as_ref().is_some_and(same)).then_some(*id)
            }
            LinkKey::Accepted { .. } => None,
        });
        if let Some(id) = found {
            return id;
        }
        self.last_link += 1;
        let id = LinkId(self.last_link);
        self.acquaint(node);
        self.links.insert(LinkKey::Dialled(id), Link::new(node, Some(Dialler::new(local, remote))));
        self.dial(now, LinkKey::Dialled(id));
        id
    }

    fn acquaint(&mut self, node: NodeId) {
        let this = (node == self.id()).then_some(self.incarnation);
        let peer = self.peers.entry(node).or_insert_with(|| Peer::new(false));
        peer.incarnation = peer.incarnation.or(this);
    }

    fn with_dialler(&mut self, link: LinkId, change: impl FnOnce(&mut Dialler)) {
        if let Some(dialler) =
            self.links.get_mut(&LinkKey::Dialled(link)).and_then(|link| link.dialler.as_mut())
        {
            change(dialler);
        }
    }

    fn dial(&mut self, now: Time, key: LinkKey) {
        let LinkKey::Dialled(id) = key else { return };
        let conn = self.next_conn();
        let Some(link) = self.links.get_mut(&key) else { return };
        let Some(Dialler { local, remote, .. }) = link.dialler else { return };
        link.phase = Phase::Dialling { conn, since: now };
        self.counters.dials += 1;
        self.outputs.push_back(Output::Dial { link: id, conn, node: link.node, local, remote });
    }

    fn next_conn(&mut self) -> u32 {
        self.last_conn = self.last_conn.wrapping_add(1).max(1);
        self.last_conn
    }

    /// A connection, or a dial, is over: sees to what follows from that.
    fn lose(&mut self, now: Time, key: LinkKey, loss: Loss, reason: Reason) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let serial = link.serial();
        link.lose(now, loss, reason, &self.config.liveness, &mut self.prng);
        if let (Some(conn), None) = (serial, link.serial()) {
            self.counters.losses += 1;
            match loss {
                Loss::Silent | Loss::Slow | Loss::Replaced | Loss::Restarted => {
                    self.outputs.push_back(Output::Hangup { key, conn });
                }
                Loss::Broken | Loss::Faulty => {}
            }
        }
        self.settle(now, key);
        if self.links.get(&key).is_some_and(|link| link.wants_dial(now)) {
            self.dial(now, key);
        }
    }

    /// Nobody wants the link any more.
    fn forget(&mut self, now: Time, key: LinkKey) {
        if let Some(link) = self.links.remove(&key) {
            if let Some(conn) = link.serial() {
                self.outputs.push_back(Output::Hangup { key, conn });
            }
            self.settle_peer(now, link.node);
            self.settle_isolation();
        }
    }

    /// Something about a link may have changed: tells it, and what follows for its peer.
    fn settle(&mut self, now: Time, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let node = link.node;
        let before = link.reported_health();
        let report = link.report(now);
        let remote = link.dialler.as_ref().map(|dialler| dialler.remote);
        if link.is_unwanted() {
            self.links.remove(&key);
        }
        if let Some(state) = report {
            self.outputs.push_back(Output::Link { key, state });
            self.settle_peer(now, node);
            self.settle_isolation();
            if state.health != before {
                self.announce_path(node, key, remote, state.health);
            }
        }
    }
}

fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    config.liveness.check()?;
    if config.node == NodeId(0) {
        return Err(ConfigError::NodeZero);
    }
    for (index, member) in config.members.iter().enumerate() {
        if member.node == NodeId(0) {
            return Err(ConfigError::NodeZero);
        }
        if member.addresses.len() > wire::MAX_PATHS {
            return Err(ConfigError::Paths { node: member.node, count: member.addresses.len() });
        }
        if config.members[..index].iter().any(|other| other.node == member.node) {
            return Err(ConfigError::MemberTwice { node: member.node });
        }
    }
    Ok(())
}
