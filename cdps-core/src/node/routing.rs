//! What travels on control connections: heartbeats, node messages, and revocations before both.

use std::cmp::Reverse;

use super::link::{Link, Loss};
use super::peer::{Standing, speaks_of};
use super::pulse::Echo;
use super::{LinkKey, Node, Output};
use crate::cluster::Health;
use crate::id::{Generation, Incarnation, NodeId, SessionId};
use crate::reason::Reason;
use crate::time::{Duration, Time};
use crate::wire::{Frame, Heartbeat, NodeBody, NodeMessage};

/// Messages that may wait in [`Node::poll_output`]. More are dropped: whoever sent them repeats them.
const MAX_MESSAGES_WAITING: usize = 1024;

/// How good a connection is to send a message on, and of which link it is.
type Way = (Health, Reverse<Duration>, Reverse<LinkKey>);

impl Node {
    /// A frame came on a control connection. Ignored if the connection is not the link's present one.
    ///
    /// # Errors
    /// When the peer broke the protocol; the caller drops the connection, and need not report it.
    pub fn handle_frame(&mut self, now: Time, key: LinkKey, conn: u32, frame: Frame) -> Result<(), Reason> {
        self.enter(now);
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        let Some(current) = link.conn().filter(|current| current.serial == conn) else { return Ok(()) };
        let sender = (link.node, current.incarnation);
        if let Some(peer) = self.peers.get_mut(&link.node).filter(|peer| peer.incarnation == Some(sender.1)) {
            peer.last_heard = now;
        }
        let taken = match frame {
            Frame::Heartbeat(beat) => self.take_heartbeat(now, key, sender, &beat),
            Frame::NodeMessage(message) => {
                link.touch(now, &self.config.liveness);
                self.take_message(key, sender, message)
            }
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Proof { .. }
            | Frame::Ready
            | Frame::Refuse(_)
            | Frame::Skip(_)
            | Frame::Receipt(_)
            | Frame::Completions(_)
            | Frame::Probe
            | Frame::PathStatus(_)
            | Frame::Close { .. }
            | Frame::ResetAck(_) => Err(Reason::ProtocolError),
        };
        if let Err(reason) = taken {
            self.counters.faults += 1;
            self.lose(now, key, Loss::Faulty, reason);
        }
        taken
    }

    fn take_heartbeat(
        &mut self,
        now: Time,
        key: LinkKey,
        (node, incarnation): (NodeId, Incarnation),
        beat: &Heartbeat,
    ) -> Result<(), Reason> {
        let liveness = &self.config.liveness;
        let echo = match self.links.get_mut(&key) {
            Some(link) => link.hear(now, beat, liveness)?,
            None => None,
        };
        if let Some(echo) = echo {
            self.take_echo(now, key, (node, incarnation), echo);
        }
        let Node { links, outputs, .. } = self;
        if let Some(conn) =
            links.get_mut(&key).and_then(Link::conn_mut).filter(|conn| conn.pulse.is_waiting())
        {
            conn.kick(key, outputs);
        }
        self.settle(now, key);
        Ok(())
    }

    fn take_echo(&mut self, now: Time, key: LinkKey, (node, incarnation): (NodeId, Incarnation), echo: Echo) {
        let Some(peer) = self.peers.get(&node) else { return };
        if peer.incarnation != Some(incarnation) {
            if !peer.is_newer(echo.value) {
                return;
            }
            self.supersede(now, node, incarnation);
        }
        let Node { links, peers, outputs, config, .. } = self;
        let (Some(link), Some(peer)) = (links.get_mut(&key), peers.get_mut(&node)) else { return };
        link.prove(now, echo.rtt, &config.liveness);
        if peer.renew(echo.value) {
            let until = peer.lease_until(incarnation, config.liveness.lease);
            outputs.push_back(Output::Lease { node, incarnation, until });
        }
    }

    fn take_message(
        &mut self,
        key: LinkKey,
        sender: (NodeId, Incarnation),
        message: NodeMessage,
    ) -> Result<(), Reason> {
        let NodeMessage { from, from_incarnation, to, to_incarnation, body } = message;
        if (from, from_incarnation) != sender || to != self.id() {
            return Err(Reason::ProtocolError);
        }
        let for_former = to_incarnation != Incarnation(0) && to_incarnation != self.incarnation;
        match speaks_of(&body, sender, (self.id(), self.incarnation)) {
            Standing::Foreign => return Err(Reason::ProtocolError),
            Standing::Former => return Ok(()),
            Standing::Proper if for_former => return Ok(()),
            Standing::Proper => {}
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.spoke_on = Some(key);
        }
        if self.peers.get(&from).and_then(|peer| peer.incarnation) != Some(from_incarnation) {
            let kept = self
                .links
                .get_mut(&key)
                .and_then(Link::conn_mut)
                .is_some_and(|conn| conn.keep_unbelieved(body));
            self.counters.messages_dropped += u64::from(!kept);
            return Ok(());
        }
        if let (NodeBody::Released { session, generation }, Some(peer)) = (&body, self.peers.get_mut(&from)) {
            peer.released(*session, *generation);
        }
        self.hand_out(from, from_incarnation, body);
        Ok(())
    }

    pub(super) fn hand_out(&mut self, from: NodeId, from_incarnation: Incarnation, body: NodeBody) {
        if self.messages_waiting >= MAX_MESSAGES_WAITING {
            self.counters.messages_dropped += 1;
            return;
        }
        self.messages_waiting += 1;
        self.outputs.push_back(Output::Message { from, from_incarnation, body });
    }

    /// Sends a message to a node over its best link, or over all that are alive. Best effort: whoever needs an answer repeats it. An answer
    /// goes back on the link that brought the peer's last message, unless another is healthier: if it is lost there, the peer is the first to
    /// see that nothing arrives, and asks again on another.
    ///
    /// A REVOKE is more than that. It goes on every connection, and stands until the peer has answered it or is another incarnation: it
    /// is also the first thing on each later connection. So no heartbeat that is built after this call reaches the peer before it, and
    /// none can renew the lease behind it (F8).
    ///
    /// Gives the moment from which the receiver of a REVOKE delivers nothing more, whether that reaches it or not: the lease time after
    /// it was last heard. Only here is that known: until this call each heartbeat may have renewed the lease, also one that was heard after
    /// the peer was told to be unreachable. For other messages it is without meaning.
    pub fn tell(&mut self, now: Time, to: NodeId, body: NodeBody, all_links: bool) -> Time {
        self.enter(now);
        let fenced =
            self.peers.get(&to).map_or(Time::ZERO, |peer| peer.last_heard) + self.config.liveness.lease;
        if to == self.id() {
            self.hand_out(to, self.incarnation, body);
        } else if let NodeBody::Revoke { session, generation } = body {
            self.revoke(to, session, generation);
        } else {
            self.send(to, &body, all_links);
        }
        fenced
    }

    fn revoke(&mut self, to: NodeId, session: SessionId, generation: Generation) {
        self.acquaint(to);
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.revoke(session, generation);
        }
        let Node { links, outputs, .. } = self;
        for (key, link) in links.iter_mut().filter(|(_, link)| link.node == to) {
            if let Some(conn) = link.conn_mut() {
                conn.kick(*key, outputs);
            }
        }
    }

    fn send(&mut self, to: NodeId, body: &NodeBody, all_links: bool) {
        let back = match body {
            NodeBody::Answer(_) | NodeBody::Released { .. } => self.peers.get(&to).and_then(|p| p.spoke_on),
            NodeBody::Connect(_) | NodeBody::Revoke { .. } | NodeBody::Bye { .. } => None,
        };
        let ways = self.ways(to);
        let rank = |(health, rtt, key): &Way| (*health, back == Some(key.0), *rtt, *key);
        let best = ways.iter().max_by_key(|way| rank(way)).map(|way| way.2.0);
        if best.is_none() {
            self.counters.messages_dropped += 1;
        }
        for (health, _, Reverse(key)) in ways {
            if Some(key) == best || (all_links && health != Health::Dead) {
                self.queue(key, to, body.clone());
            }
        }
    }

    /// The connections to a node; the greatest is the best: healthiest, then fastest, then first. One that has proved nothing yet is better than none.
    fn ways(&self, to: NodeId) -> Vec<Way> {
        let incarnation = self.peers.get(&to).and_then(|peer| peer.incarnation);
        let claims = |link: &Link| link.conn().map(|conn| conn.incarnation);
        self.links
            .iter()
            .filter(|(_, link)| link.node == to && link.conn().is_some() && claims(link) == incarnation)
            .map(|(key, link)| {
                let state = link.state();
                (state.health, Reverse(state.rtt.unwrap_or(Duration::MAX)), Reverse(*key))
            })
            .collect()
    }

    fn queue(&mut self, key: LinkKey, to: NodeId, body: NodeBody) {
        let (from, from_incarnation) = (self.id(), self.incarnation);
        let Some(conn) = self.links.get_mut(&key).and_then(|link| link.conn_mut()) else { return };
        let message = NodeMessage { from, from_incarnation, to, to_incarnation: conn.incarnation, body };
        self.counters.messages_dropped += conn.queue(message);
        conn.kick(key, &mut self.outputs);
    }

    /// The next frame for a control connection; `None` if there is none, or if the connection is not the link's present one.
    pub fn poll_transmit(&mut self, key: LinkKey, conn: u32) -> Option<Frame> {
        let (from, from_incarnation) = (self.id(), self.incarnation);
        let link = self.links.get_mut(&key)?;
        let to = link.node;
        let conn = link.conn_mut().filter(|current| current.serial == conn)?;
        // The order matters: a heartbeat must not overtake a revocation that was told before it was built.
        let peer = self.peers.get(&to).filter(|peer| peer.incarnation == Some(conn.incarnation));
        if let Some(revocation) = peer.and_then(|peer| peer.revocation_after(conn.revoked)) {
            conn.revoked = revocation.serial;
            let body = revocation.body();
            let to_incarnation = conn.incarnation;
            return Some(Frame::NodeMessage(NodeMessage {
                from,
                from_incarnation,
                to,
                to_incarnation,
                body,
            }));
        }
        let message = conn.next_message().map(Frame::NodeMessage);
        let frame = message.or_else(|| conn.pulse.take().map(Frame::Heartbeat));
        if frame.is_none() {
            conn.polled_empty();
        }
        frame
    }
}
