//! What this node knows of another: its incarnation, its lease (F8), and what was revoked from it.

use std::collections::{BTreeSet, VecDeque};

use super::LinkKey;
use crate::cluster::PeerState;
use crate::id::{Generation, Incarnation, NodeId, SessionId, Side};
use crate::time::{Duration, Time};
use crate::wire::NodeBody;

/// Former incarnations that are remembered, so that a late word of one is not taken for a restart.
const MAX_FORMER: usize = 16;

/// Revocations that stand against one node, at most one of each session of this node. The oldest goes first.
const MAX_REVOCATIONS: usize = 4096;

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) member: bool,
    pub(super) incarnation: Option<Incarnation>,
    /// When that was taken for the present one.
    adopted: Time,
    former: VecDeque<Incarnation>,
    /// Newest `sent` value of this node that this incarnation has echoed on any link; 0: none.
    echoed: u64,
    /// When it was last heard, never moved by T9: what it may believe of its lease is counted from here.
    pub(super) last_heard: Time,
    pub(super) state: Option<PeerState>,
    /// The link that brought its last message.
    pub(super) spoke_on: Option<LinkKey>,
    /// An engine with a quorum says that it is gone.
    pub(super) down: bool,
    /// Clients that are registered there, as far as such an engine has said.
    pub(super) clients: BTreeSet<String>,
    revocations: VecDeque<Revocation>,
    last_revocation: u64,
}

/// A REVOKE that stands until it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revocation {
    pub(super) serial: u64,
    session: SessionId,
    generation: Generation,
}

impl Revocation {
    pub(super) fn body(self) -> NodeBody {
        NodeBody::Revoke { session: self.session, generation: self.generation }
    }
}

impl Peer {
    pub(super) fn new(member: bool) -> Peer {
        Peer {
            member,
            incarnation: None,
            adopted: Time::ZERO,
            former: VecDeque::new(),
            echoed: 0,
            last_heard: Time::ZERO,
            state: None,
            spoke_on: None,
            down: false,
            clients: BTreeSet::new(),
            revocations: VecDeque::new(),
            last_revocation: 0,
        }
    }

    /// Whether this is a former incarnation. None of those comes back: what is heard of it is late, or comes from a process that was
    /// thought dead.
    pub(super) fn is_former(&self, incarnation: Incarnation) -> bool {
        self.former.contains(&incarnation)
    }

    /// Whether a claimant that echoes this value is newer than the present incarnation. It was alive after the value was sent; the present
    /// one was alive before it was adopted; and no two of them are alive at a time. A HELLO proves nothing of the kind: it may have been
    /// under way for longer than its sender lived.
    pub(super) fn is_newer(&self, echoed: u64) -> bool {
        Time(echoed) > self.adopted
    }

    /// Takes an incarnation for the present one; nothing of a former one is left.
    pub(super) fn adopt(&mut self, now: Time, incarnation: Incarnation) {
        self.adopted = now;
        if let Some(former) = self.incarnation.replace(incarnation) {
            if self.former.len() >= MAX_FORMER {
                self.former.pop_front();
            }
            self.former.push_back(former);
            self.echoed = 0;
            self.revocations.clear();
        }
    }

    /// An own `sent` value has come back. Whether that renews the lease.
    pub(super) fn renew(&mut self, value: u64) -> bool {
        let newer = value > self.echoed;
        self.echoed = self.echoed.max(value);
        newer
    }

    /// Until when messages of this incarnation may be delivered (F8).
    pub(super) fn lease_until(&self, incarnation: Incarnation, lease: Duration) -> Time {
        if self.incarnation == Some(incarnation) && self.echoed > 0 {
            Time(self.echoed) + lease
        } else {
            Time::ZERO
        }
    }

    /// From here on no connection carries a heartbeat to the peer before this.
    pub(super) fn revoke(&mut self, session: SessionId, generation: Generation) {
        let newest = self.revocations.iter().filter(|r| r.session == session).map(|r| r.generation).max();
        self.revocations.retain(|r| r.session != session);
        if self.revocations.len() >= MAX_REVOCATIONS {
            self.revocations.pop_front();
        }
        self.last_revocation += 1;
        let generation = newest.map_or(generation, |newest| newest.max(generation));
        self.revocations.push_back(Revocation { serial: self.last_revocation, session, generation });
    }

    /// The peer has answered.
    pub(super) fn released(&mut self, session: SessionId, generation: Generation) {
        self.revocations.retain(|r| r.session != session || r.generation > generation);
    }

    /// The next one that a connection owes the peer.
    pub(super) fn revocation_after(&self, serial: u64) -> Option<Revocation> {
        self.revocations.get(self.revocations.partition_point(|r| r.serial <= serial)).copied()
    }
}

/// Whether a node may say this about that session: a source speaks of its own sessions, a target of sessions of the node it answers.
pub(super) fn speaks_of(body: &NodeBody, from: (NodeId, Incarnation), to: (NodeId, Incarnation)) -> Standing {
    let (session, owner) = match body {
        NodeBody::Connect(connect) => (connect.session, from),
        NodeBody::Revoke { session, .. } => (*session, from),
        NodeBody::Answer(answer) => (answer.session, to),
        NodeBody::Released { session, .. } => (*session, to),
        NodeBody::Bye { session, side, .. } => match side {
            Side::Source => (*session, from),
            Side::Target => (*session, to),
        },
    };
    if session.node != owner.0 {
        Standing::Foreign
    } else if session.incarnation != owner.1 {
        Standing::Former
    } else {
        Standing::Proper
    }
}

/// See [`speaks_of`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Its own, or one of the node that it answers.
    Proper,
    /// Of a former incarnation: too late, of no effect.
    Former,
    /// Of somebody else.
    Foreign,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(port: u32) -> SessionId {
        SessionId { node: NodeId(1), incarnation: Incarnation(11), port }
    }

    fn generation(counter: u64) -> Generation {
        Generation { role_epoch: 0, counter }
    }

    /// [F8] A revocation stands until it is answered for its generation; telling it again puts it before every connection again.
    #[test]
    fn revocations_stand_until_released() {
        let mut peer = Peer::new(true);
        peer.revoke(session(1), generation(3));
        peer.revoke(session(2), generation(1));
        let first = peer.revocation_after(0).unwrap();
        assert_eq!(first.body(), NodeBody::Revoke { session: session(1), generation: generation(3) });
        let second = peer.revocation_after(first.serial).unwrap();
        assert_eq!(second.session, session(2));
        assert!(peer.revocation_after(second.serial).is_none());

        peer.revoke(session(1), generation(2));
        let again = peer.revocation_after(second.serial).unwrap();
        assert_eq!(again.body(), NodeBody::Revoke { session: session(1), generation: generation(3) });
        peer.released(session(1), generation(2));
        assert!(peer.revocation_after(second.serial).is_some(), "an answer to an older one settles nothing");
        peer.released(session(1), generation(3));
        assert!(peer.revocation_after(second.serial).is_none());
    }

    /// [F8] The number of standing revocations is bounded.
    #[test]
    fn revocations_are_bounded() {
        let mut peer = Peer::new(true);
        (0..10_000).for_each(|port| peer.revoke(session(port), generation(1)));
        assert_eq!(peer.revocations.len(), MAX_REVOCATIONS);
        assert_eq!(peer.revocations.back().map(|r| r.session), Some(session(9_999)));
    }

    /// [N2] Incarnations are compared by inequality, and a former one does not come back.
    #[test]
    fn a_former_incarnation_is_remembered() {
        let mut peer = Peer::new(true);
        peer.adopt(Time(50), Incarnation(5));
        assert!(!peer.is_former(Incarnation(5)) && !peer.is_former(Incarnation(2)));
        peer.renew(100);
        assert_eq!(peer.lease_until(Incarnation(5), Duration::from_nanos(7)), Time(107));
        assert!(!peer.is_newer(50) && peer.is_newer(51));
        peer.adopt(Time(60), Incarnation(2));
        assert!(peer.is_former(Incarnation(5)));
        assert_eq!(peer.lease_until(Incarnation(5), Duration::from_nanos(7)), Time::ZERO);
        assert_eq!(peer.lease_until(Incarnation(2), Duration::from_nanos(7)), Time::ZERO);
        assert!(!peer.is_newer(60));
        (100..200).for_each(|n| peer.adopt(Time(n), Incarnation(n)));
        assert_eq!(peer.former.len(), MAX_FORMER);
    }
}
