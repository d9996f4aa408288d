//! What a target was given up for (F11): the evidence that was there, and what came of it. One record for each loss, in its events.

use std::fmt;

use super::session::Lease;
use super::{Payload, Port};
use crate::cluster::{Health, PeerState};
use crate::id::{Generation, NodeId, PathId};
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// What made a source give its target up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// The node is not heard on any link, nor its port on any path, for the dead time.
    NoContact,
    /// No data connection is up for the dead time, though the node may be heard.
    NoPath,
    /// No receipt for the ack timeout.
    NoReceipt,
    /// A cluster engine with a quorum says that the node is down.
    NodeDown,
    /// The node is another incarnation now.
    Restarted,
    /// Its user does not acknowledge (A6).
    NoUserAck,
    /// The target itself says that there is no such session any more.
    Denied(Reason),
    /// Its user asked for another target (F6). It had lost nothing.
    Asked,
    /// The user changed a borrowed buffer, and the target is of the first release: it cannot be told not to wait for the message (M8).
    BufferChanged,
}

impl Trigger {
    /// As the reason that users are told.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Trigger::NoContact | Trigger::NoPath | Trigger::NodeDown => Reason::Unreachable,
            Trigger::NoReceipt | Trigger::NoUserAck => Reason::Timeout,
            Trigger::Restarted => Reason::PeerRestarted,
            Trigger::Denied(reason) => reason,
            Trigger::Asked => Reason::None,
            Trigger::BufferChanged => Reason::BufferChanged,
        }
    }

    /// One phrase.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Trigger::NoContact => "no contact",
            Trigger::NoPath => "no connection",
            Trigger::NoReceipt => "no receipt",
            Trigger::NodeDown => "node down",
            Trigger::Restarted => "node restarted",
            Trigger::NoUserAck => "no acknowledgment by its user",
            Trigger::Denied(_) => "session ended by the target",
            Trigger::Asked => "its user asked for another target",
            Trigger::BufferChanged => "a borrowed buffer was changed",
        }
    }

    /// Whether it says no more than that nothing comes: the target may be well, and back soon.
    pub(super) fn may_pass(self) -> bool {
        match self {
            Trigger::NoContact | Trigger::NoPath => true,
            Trigger::NoReceipt
            | Trigger::NodeDown
            | Trigger::Restarted
            | Trigger::NoUserAck
            | Trigger::Denied(_)
            | Trigger::Asked
            | Trigger::BufferChanged => false,
        }
    }

    /// What it says about the lease.
    pub(super) fn lease(self) -> Lease {
        match self {
            Trigger::NoContact
            | Trigger::NoPath
            | Trigger::NoReceipt
            | Trigger::NodeDown
            | Trigger::NoUserAck
            | Trigger::Asked
            | Trigger::BufferChanged => Lease::Unknown,
            Trigger::Restarted => Lease::Over(LeaseEnd::Restarted),
            Trigger::Denied(_) => Lease::Over(LeaseEnd::Ended),
        }
    }
}

/// A timer that ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timer {
    /// Its name, as in the settings.
    pub name: &'static str,
    /// What it was set to.
    pub value: Duration,
    /// What was measured against it: never below `value`.
    pub measured: Duration,
}

/// A path, when the decision was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathEvidence {
    /// Which.
    pub path: PathId,
    /// How it was.
    pub health: Health,
    /// How long ago anything came on its connection; `None`: it had none.
    pub heard: Option<Duration>,
}

/// How it became certain that a target that was given up delivers nothing more (F8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LeaseEnd {
    /// Its lease ran out.
    Expired,
    /// It released it.
    Released,
    /// The user has fenced it.
    Fenced,
    /// The node is another incarnation.
    Restarted,
    /// It had said itself that the session is over.
    Ended,
}

impl LeaseEnd {
    /// One word.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            LeaseEnd::Expired => "expired",
            LeaseEnd::Released => "released",
            LeaseEnd::Fenced => "fenced",
            LeaseEnd::Restarted => "restarted",
            LeaseEnd::Ended => "ended",
        }
    }
}

/// Why a target was given up, and what came of it. Its [`fmt::Display`] is one line for a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LossRecord {
    /// The target.
    pub node: NodeId,
    /// The generation that it was given up with.
    pub generation: Generation,
    /// When, on the port's clock (CLOCK_BOOTTIME in the driver).
    pub at: Time,
    /// What decided.
    pub trigger: Trigger,
    /// The timer that ran out, if it was one.
    pub timer: Option<Timer>,
    /// How long ago anything came on any data connection of the session.
    pub heard: Duration,
    /// The paths, as they were.
    pub paths: Vec<PathEvidence>,
    /// What the cluster engine said of the node; `None`: nothing.
    pub membership: Option<PeerState>,
    /// No member of the cluster was heard, after the grace if there was one: then the port does not switch.
    pub isolated: bool,
    /// This port's own loop was late last by so much, so long ago (T9).
    pub late: Option<(Duration, Duration)>,
    /// For so long its return was waited for, after the decision or up to it (`switch_grace`); `None`: not at all.
    pub grace: Option<Duration>,
    /// How the former target's lease was over, and how long after the decision; `None`: not known yet.
    pub lease: Option<(LeaseEnd, Duration)>,
    /// Backups that were tried and did not do.
    pub tried: Vec<(NodeId, Reason)>,
}

impl fmt::Display for LossRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} generation {} given up: {}", self.node, self.generation, self.trigger.text())?;
        if let Trigger::Denied(reason) = self.trigger {
            write!(f, " ({reason})")?;
        }
        if let Some(Timer { name, value, measured }) = self.timer {
            write!(f, ", {measured:.3?} against {name} {value:?}")?;
        }
        write!(f, "; heard {:.3?} ago; ", self.heard)?;
        f.write_str(match self.membership {
            Some(PeerState::Reachable { .. }) => "node reachable",
            Some(PeerState::Unreachable { .. }) => "node unreachable",
            Some(PeerState::Down) => "node down",
            None => "node unknown",
        })?;
        if self.isolated {
            f.write_str(", isolated")?;
        }
        if let Some((by, ago)) = self.late {
            write!(f, ", late by {by:.3?} {ago:.3?} ago")?;
        }
        for PathEvidence { path, health, heard } in &self.paths {
            write!(f, "; path {path} {health:?}")?;
            match heard {
                Some(ago) => write!(f, " {ago:.3?}")?,
                None => f.write_str(" unconnected")?,
            }
        }
        if let Some(waited) = self.grace {
            write!(f, "; waited {waited:.3?} for its return")?;
        }
        if let Some((end, after)) = self.lease {
            write!(f, "; lease {} after {after:.3?}", end.text())?;
        }
        for (node, reason) in &self.tried {
            write!(f, "; tried node {node}: {reason}")?;
        }
        Ok(())
    }
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// What is known at this moment, while the paths are still there.
    pub(super) fn record(&self, now: Time, node: NodeId, trigger: Trigger) -> Box<LossRecord> {
        let paths = self.paths.iter().map(|p| PathEvidence {
            path: p.id,
            health: p.health(),
            heard: p.conn().map(|c| now.since(c.heard_at)),
        });
        let known = self.peers.iter().find(|p| p.0 == node);
        Box::new(LossRecord {
            node,
            generation: self.generation,
            at: now,
            trigger,
            timer: self.timer_of(now, trigger),
            heard: now.since(self.last_contact),
            paths: paths.collect(),
            membership: known.map(|p| p.1),
            isolated: self.isolated,
            late: self.was_late.map(|(at, by)| (by, now.since(at))),
            grace: None,
            lease: match trigger.lease() {
                Lease::Over(end) => Some((end, Duration::ZERO)),
                Lease::Until(_) | Lease::Unknown => None,
            },
            tried: Vec::new(),
        })
    }

    fn timer_of(&self, now: Time, trigger: Trigger) -> Option<Timer> {
        let timer = |name, value, since: Time| Some(Timer { name, value, measured: now.since(since) });
        match trigger {
            Trigger::NoContact => {
                let heard = self.peer_lost.unwrap_or(now).max(self.last_contact);
                timer("dead", self.config.liveness.dead, heard)
            }
            Trigger::NoPath => timer("dead", self.config.liveness.dead, self.pathless_since),
            Trigger::NoReceipt => {
                timer("ack_timeout", self.config.ack_timeout, self.awaits_receipt_since().unwrap_or(now))
            }
            Trigger::NoUserAck => {
                timer("user_ack_timeout", self.config.user_ack_timeout?, self.overdue.since())
            }
            Trigger::NodeDown
            | Trigger::Restarted
            | Trigger::Denied(_)
            | Trigger::Asked
            | Trigger::BufferChanged => None,
        }
    }

    /// The lease of the target that was given up is over.
    pub(super) fn note_lease(&mut self, now: Time, generation: Generation, end: LeaseEnd) {
        if let Some(decision) = self.decision.as_mut().filter(|d| d.generation == generation) {
            decision.lease.get_or_insert((end, now.since(decision.at)));
        }
    }
}
