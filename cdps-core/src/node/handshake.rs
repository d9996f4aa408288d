//! Control connections: how they come to be and how they end, and what the first frame of any connection says of its sender.

use super::link::{Conn, Link, Loss, Phase};
use super::{LinkKey, Node, Output};
use crate::id::{Incarnation, LinkId, NodeId};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::{Hello, Purpose, VERSION, Welcome};

/// Links that one node may have accepted from another.
const MAX_ACCEPTED_LINKS: usize = 256;

impl Node {
    /// Judges the first frame of an accepted connection, whatever it is for. Changes nothing: whether a new incarnation of the sender
    /// has taken the place of the known one shows when it answers the first heartbeat on a control connection.
    ///
    /// # Errors
    /// With what the connection is to be refused.
    pub fn judge_hello(&mut self, now: Time, hello: &Hello) -> Result<(), Reason> {
        self.enter(now);
        let verdict = self.check_hello(hello);
        self.counters.refusals += u64::from(verdict.is_err());
        verdict
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), Reason> {
        if hello.node == NodeId(0)
            || hello.incarnation == Incarnation(0)
            || hello.version_min > hello.version_max
        {
            return Err(Reason::ProtocolError);
        }
        if !(hello.version_min..=hello.version_max).contains(&VERSION) {
            return Err(Reason::UnsupportedVersion);
        }
        if hello.peer != self.id() {
            return Err(Reason::WrongNode);
        }
        if hello.node == self.id() {
            // A port may be connected to its own node. Another process that claims this node's id may not.
            if hello.incarnation != self.incarnation {
                return Err(Reason::Refused);
            }
        } else {
            match self.peers.get(&hello.node).filter(|peer| peer.member) {
                None => return Err(Reason::Refused),
                Some(peer) if peer.is_former(hello.incarnation) => return Err(Reason::PeerRestarted),
                Some(_) => {}
            }
        }
        match hello.purpose {
            Purpose::Control => self.check_room(accepted_key(hello)),
            Purpose::Data { .. } => Ok(()),
        }
    }

    /// WELCOME was sent on an accepted control connection. It takes the place of a former one of its link. Gives its name here; if it is
    /// no longer wanted, because the peer was restarted meanwhile, a [`Output::Hangup`] follows.
    pub fn handle_accepted(&mut self, now: Time, hello: &Hello) -> (LinkKey, u32) {
        self.enter(now);
        let key = accepted_key(hello);
        let serial = self.next_conn();
        if hello.node == self.id() {
            self.acquaint(hello.node);
        }
        if self.check_hello(hello).is_err() {
            self.outputs.push_back(Output::Hangup { key, conn: serial });
            return (key, serial);
        }
        if self.links.get(&key).is_some_and(|link| link.conn().is_some()) {
            self.lose(now, key, Loss::Replaced, Reason::ConnectionLost);
        }
        self.make_room(now, key);
        self.links.entry(key).or_insert_with(|| Link::new(hello.node, None));
        self.join(now, key, serial, hello.incarnation);
        (key, serial)
    }

    /// WELCOME was read on a connection that this node dialled.
    ///
    /// # Errors
    /// When the connection is not wanted; the caller drops it, and need not report it.
    pub fn handle_dialled(
        &mut self,
        now: Time,
        link: LinkId,
        conn: u32,
        welcome: &Welcome,
    ) -> Result<(), Reason> {
        self.enter(now);
        let key = LinkKey::Dialled(link);
        let Some(node) = self.dialling(key, conn) else { return Err(Reason::Closed) };
        if let Err(reason) = self.check_welcome(node, welcome) {
            self.counters.faults += 1;
            self.lose(now, key, Loss::Faulty, reason);
            return Err(reason);
        }
        // The beat starts with the first connection. One that is going on may be due just now, for the others.
        if !self.has_dialled_connection() {
            self.align_beat(now);
        }
        self.join(now, key, conn, welcome.incarnation);
        Ok(())
    }

    fn check_welcome(&self, node: NodeId, welcome: &Welcome) -> Result<(), Reason> {
        if welcome.incarnation == Incarnation(0) {
            return Err(Reason::ProtocolError);
        }
        if welcome.version != VERSION {
            return Err(Reason::UnsupportedVersion);
        }
        let impostor = node == self.id() && welcome.incarnation != self.incarnation;
        if welcome.node != node || impostor {
            return Err(Reason::WrongNode);
        }
        match self.peers.get(&node) {
            Some(peer) if peer.is_former(welcome.incarnation) => Err(Reason::PeerRestarted),
            Some(_) | None => Ok(()),
        }
    }

    /// A connection ended, or a dial failed. Ignored if another has taken its place.
    pub fn handle_lost(&mut self, now: Time, key: LinkKey, conn: u32, reason: Reason) {
        self.enter(now);
        if self.links.get(&key).and_then(Link::serial) == Some(conn) {
            self.lose(now, key, Loss::Broken, reason);
        }
    }

    fn dialling(&self, key: LinkKey, serial: u32) -> Option<NodeId> {
        let link = self.links.get(&key)?;
        match &link.phase {
            Phase::Dialling { conn, .. } if *conn == serial => Some(link.node),
            Phase::Dialling { .. } | Phase::Down { .. } | Phase::Up(_) => None,
        }
    }

    /// The handshake of a link is done: probes it.
    fn join(&mut self, now: Time, key: LinkKey, serial: u32, incarnation: Incarnation) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let dialled = link.dialler.is_some();
        let mut conn = Conn::new(serial, incarnation, now, &self.config.liveness, dialled);
        conn.kick(key, &mut self.outputs);
        link.joined(conn);
        self.counters.connections += 1;
        if let Some(peer) = self.peers.get_mut(&link.node) {
            if peer.incarnation.is_none() {
                peer.adopt(now, incarnation);
            }
            if peer.incarnation == Some(incarnation) {
                peer.last_heard = now;
            }
        }
    }

    /// The peer has proved, on one of its links, to be another incarnation than the known one: everything of the former ends.
    pub(super) fn supersede(&mut self, now: Time, node: NodeId, incarnation: Incarnation) {
        let Some(former) = self.peers.get(&node).and_then(|peer| peer.incarnation) else { return };
        self.outputs.push_back(Output::PeerGone { node, incarnation: former });
        let keys: Vec<LinkKey> =
            self.links.iter().filter_map(|(key, link)| (link.node == node).then_some(*key)).collect();
        for key in keys {
            // A link that the new one has made already, and is not heard on yet, still has the health of the former: all die, so that everybody
            // hears of the restart.
            if self.claims(key) == Some(incarnation) {
                if let Some(link) = self.links.get_mut(&key) {
                    link.pronounce_dead();
                }
                self.settle(now, key);
            } else {
                self.lose(now, key, Loss::Restarted, Reason::PeerRestarted);
            }
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.adopt(now, incarnation);
            peer.last_heard = now;
        }
        let Node { links, .. } = self;
        let believed = links.values_mut().filter(|link| link.node == node).filter_map(Link::conn_mut);
        let bodies: Vec<_> = believed.flat_map(|conn| conn.take_unbelieved()).collect();
        for body in bodies {
            self.hand_out(node, incarnation, body);
        }
    }

    /// Which incarnation the peer of a connection claims to be.
    fn claims(&self, key: LinkKey) -> Option<Incarnation> {
        self.links.get(&key)?.conn().map(|conn| conn.incarnation)
    }

    /// How many links a peer may have is bounded. One that has lost its connection counts only until its place is needed.
    fn check_room(&self, key: LinkKey) -> Result<(), Reason> {
        let LinkKey::Accepted { node, .. } = key else { return Ok(()) };
        let connected = self.links.values().filter(|link| is_accepted(link, node) && link.conn().is_some());
        let has_place = self.links.get(&key).is_some_and(|link| link.conn().is_some());
        if has_place || connected.count() < MAX_ACCEPTED_LINKS { Ok(()) } else { Err(Reason::Limit) }
    }

    fn make_room(&mut self, now: Time, key: LinkKey) {
        let LinkKey::Accepted { node, .. } = key else { return };
        let of_peer = || self.links.iter().filter(|(_, link)| is_accepted(link, node));
        if self.links.contains_key(&key) || of_peer().count() < MAX_ACCEPTED_LINKS {
            return;
        }
        let idle = of_peer().find(|(_, link)| link.conn().is_none()).map(|(key, _)| *key);
        if let Some(idle) = idle {
            if let Some(link) = self.links.get_mut(&idle) {
                link.pronounce_dead();
            }
            self.settle(now, idle);
        }
    }
}

fn is_accepted(link: &Link, node: NodeId) -> bool {
    link.node == node && link.dialler.is_none()
}

fn accepted_key(hello: &Hello) -> LinkKey {
    LinkKey::Accepted { node: hello.node, link: hello.link }
}
