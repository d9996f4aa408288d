//! What a port tells its user, and what it asks of its driver.

use std::net::{IpAddr, SocketAddr};

use super::decision::LossRecord;
use crate::cluster::Health;
use crate::id::{ConnId, Generation, NodeId, PathId, SessionId, Sn, Ssn, StreamId};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::{Duration, Time};
use crate::wire::{Frame, NodeBody, item};

/// How sure a nack is that the message did not arrive (F2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Certainty {
    /// No byte of it was handed to a transport.
    NotSent,
    /// It may have arrived, and may have been acknowledged.
    Unknown,
}

/// What became of a message that was nacked as [`Certainty::Unknown`], in the words of its target (F3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The target had not got it, or not all of it, and has dropped what it had: it will not be delivered.
    NotDelivered,
    /// The target's user has got it, or will.
    Delivered,
    /// The target's user acknowledged it with this return code.
    Acknowledged(i32),
}

/// What happened to the connection as a whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnStatus {
    /// connectcomplete: the first path is up.
    Connected {
        /// The target.
        node: NodeId,
        /// Generation of the session.
        generation: Generation,
        /// Paths that are up now.
        paths_up: u16,
        /// Paths that there are.
        paths: u16,
    },
    /// A connect did not succeed; the port is INITIALIZED again.
    ConnectFailed {
        /// The target.
        node: NodeId,
        /// Why.
        reason: Reason,
    },
    /// The connection is down: sends fail from here on, and every unfinished one is nacked next (F2).
    Down {
        /// The target.
        node: NodeId,
        /// Why.
        reason: Reason,
        /// What that was decided on (F11). Boxed, since events are many and these are rare.
        decision: Box<LossRecord>,
    },
    /// Every earlier send has ended (after Down, stop or close).
    Drained,
    /// The port goes to a backup by itself; sends are queued meanwhile (F5).
    Switching {
        /// The target that is given up.
        from: NodeId,
        /// Why.
        reason: Reason,
        /// What that was decided on (F11), as far as it is known by now.
        decision: Box<LossRecord>,
    },
    /// The port is connected to a backup and sends there (F5).
    Switched {
        /// The new target.
        node: NodeId,
        /// The new generation.
        generation: Generation,
        /// Completed messages of which only the former target's port, not its user, had said that it has them.
        only_receipted: u64,
        /// What it was decided on, how the former lease was over, and which backups did not do (F11).
        decision: Box<LossRecord>,
    },
    /// The same target is back after a down or a reset (F3): sends are taken again. What was nacked as unknown has been resolved just
    /// before if `kept`; else the target knew the session no more, and it stays unknown.
    Recovered {
        /// The target.
        node: NodeId,
        /// The new generation.
        generation: Generation,
        /// Paths that are up now.
        paths_up: u16,
        /// Paths that there are.
        paths: u16,
        /// The target went on with the session, and said what it had.
        kept: bool,
    },
    /// Target side: the source has reset the session (F3). What this end had not finished sending was nacked just before; messages come
    /// under the new generation from here on, and acknowledgments of older ones go nowhere.
    Reset {
        /// The new generation.
        generation: Generation,
    },
    /// A planned switch did not come to its commit (F6): the port stays where it is, if it is still there.
    SwitchFailed {
        /// Where it was to go.
        node: NodeId,
        /// Why not.
        reason: Reason,
    },
    /// The session is over on this side; the port is INITIALIZED (source) or REGISTERED (target).
    Closed {
        /// Why.
        reason: Reason,
    },
}

/// A message for the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received<R> {
    /// Its number.
    pub sn: Sn,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in the stream.
    pub ssn: Ssn,
    /// Generation under which it was received.
    pub generation: Generation,
    /// Item flags of the wire: see [`Received::wants_ack`] and [`Received::redelivered`]. Wide, because a value with gaps is slow to move.
    pub flags: u32,
    /// What to give back when the user has released it: see [`super::Port::release`].
    pub credit: CreditToken,
    /// The bytes.
    pub payload: R,
}

impl<R> Received<R> {
    /// The user owes an acknowledgment (A1).
    pub fn wants_ack(&self) -> bool {
        self.flags & u32::from(item::SYNC) != 0
    }

    /// An earlier target may have delivered it (F5).
    pub fn redelivered(&self) -> bool {
        self.flags & u32::from(item::REDELIVERED) != 0
    }
}

/// Credit that goes back to the peer when a message is released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreditToken {
    /// What the message was charged to: the session, counted within the port, since credit of a former one is not owed any more, and the
    /// class (M11). Costs of one account may be added up. Wide, as the flags above.
    pub account: u64,
    /// Cost of the message.
    pub cost: u64,
}

/// Number of a question, from 1, growing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct QuestionId(pub u64);

/// Something that the user is to decide. No question is asked twice. Before the user is asked, and a while may have gone by until then,
/// [`super::Port::is_asked`] says whether the answer is still wanted; one that comes too late changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Which.
    pub id: QuestionId,
    /// What is asked.
    pub what: Asked,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Which backup the port goes to (L2): answered with [`super::Port::choose_backup`].
    Backup {
        /// The target that was lost.
        failed: NodeId,
        /// Why it was, or why the backup that was tried last did not do.
        reason: Reason,
        /// What comes into question, in the order that [`crate::config::BackupSelection::Listed`] has. Never empty.
        candidates: Vec<NodeId>,
    },
    /// Whether the user has made sure that a target that was given up does nothing more (F8), by cutting its power for instance: answered with
    /// [`super::Port::fenced`]. Another target waits for that, or for the end of the lease.
    Fence {
        /// The target.
        node: NodeId,
        /// The generation that it was given up with: nothing of it, or of an earlier one, may be delivered or done after a yes.
        generation: Generation,
        /// What is left of its lease.
        left: Duration,
    },
}

/// Why messages pile up (M7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlowReason {
    /// The peer's user has not released enough.
    Window,
    /// The paths do not carry more, or there is none.
    Path,
    /// The port is on its way to another target.
    Switchover,
    /// The user has suspended the port (L7).
    Suspend,
}

/// What a port tells its user, in order.
// The wide tag keeps moves of the rest aligned, and a gap in the middle would split them: they are a large part of what an event costs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Event<S, R> {
    /// A send is complete. The payload comes back; it is the caller's to release.
    Completed {
        /// What was given to send.
        payload: S,
        /// The message.
        sn: Sn,
        /// Return code of the target's user (0 in the other models).
        rc: i32,
    },
    /// A send has failed.
    Nacked {
        /// The message.
        sn: Sn,
        /// Why.
        reason: Reason,
        /// How sure that is.
        certainty: Certainty,
        /// What was given to send.
        payload: S,
    },
    /// A payload whose completion was told before (*sent* model) is not needed any more: to be dropped, nothing to tell.
    Done {
        /// What was given to send.
        payload: S,
    },
    /// A message arrived. Delivered only under a lease (F8): see [`super::Port::poll_event`].
    Received(Received<R>),
    /// The connection as a whole.
    Status(ConnStatus),
    /// The backlog has passed the high mark (`on`), or has fallen to the low one (M7). Never two of a kind in a row.
    Flow {
        /// Whether the user should hold back.
        on: bool,
        /// Why messages pile up, or did.
        reason: FlowReason,
        /// Unfinished bytes.
        bytes: u64,
        /// Unfinished messages.
        messages: u64,
    },
    /// The user at the other end has had this message for longer than `user_ack_timeout`, and has not acknowledged it (A6). It is the oldest
    /// such message of the port that has not been named; no other one is named until it has ended or the port
    /// has switched.
    Overdue {
        /// The message.
        sn: Sn,
        /// Its stream.
        stream: StreamId,
        /// For so long at least.
        waited: Duration,
    },
    /// The user is to decide something. Boxed, since events are many and this one is rare.
    Question(Box<Question>),
    /// What became of a message that was nacked as unknown. Told once for each, oldest first, just before [`ConnStatus::Recovered`] (F3).
    Resolved {
        /// The message.
        sn: Sn,
        /// What became of it.
        verdict: Verdict,
    },
    /// A path changed.
    Path {
        /// Which.
        path: PathId,
        /// To what.
        health: Health,
        /// Why.
        reason: Reason,
    },
}

impl<S, R> Event<S, R> {
    /// Whether it tells how a send has ended: those are what `max_pending_events` limits.
    pub(crate) fn ends_a_send(&self) -> bool {
        matches!(self, Event::Completed { .. } | Event::Nacked { .. })
    }
}

/// What a port asks its driver to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send this to a node through the cluster engine, on every live link if `all_links`. Not reliable: the port repeats it.
    Tell {
        /// To whom.
        node: NodeId,
        /// What.
        body: NodeBody,
        /// On every live link, not only the best.
        all_links: bool,
    },
    /// Keep a link for this path and report its state with `handle_link` (source side).
    Watch {
        /// The path.
        path: PathId,
        /// Peer.
        node: NodeId,
        /// From where; `None`: the routing table decides.
        local: Option<IpAddr>,
        /// To where.
        remote: SocketAddr,
    },
    /// The path is gone; its link need not be kept for it.
    Unwatch {
        /// The path.
        path: PathId,
    },
    /// Make a data connection: dial, do the handshake, answer with `handle_conn_up` or `handle_conn_lost` (source side).
    Dial {
        /// The path.
        path: PathId,
        /// The dial.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// Its generation.
        generation: Generation,
        /// The peer.
        node: NodeId,
        /// From where.
        local: Option<IpAddr>,
        /// To where.
        remote: SocketAddr,
        /// Key for the proof.
        secret: Secret,
    },
    /// Drop a connection, or the attempt to make it. Nothing is reported for it afterwards.
    Hangup {
        /// The path.
        path: PathId,
        /// The connection.
        conn: ConnId,
        /// `None`: drop it at once. Else: write what was polled, then this frame, shut down for writing, and close when the peer has
        /// closed too, or after a second.
        farewell: Option<Frame>,
    },
    /// Build one buffer of a message from its parts, then call `handle_assembled` (see [`super::Placement::Aside`]).
    Assemble {
        /// The message.
        sn: Sn,
    },
    /// Deliver nothing more of this session, also nothing that was polled already (F8).
    Revoke,
    /// `poll_timeout` gives an earlier time than before.
    Rearm {
        /// The new deadline.
        at: Time,
    },
}
