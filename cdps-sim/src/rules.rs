//! The rules that a run must keep, and what is counted on the way.

use std::fmt;

/// A rule that a run must keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invariant {
    /// Messages of a stream are delivered in the order sent.
    Order,
    /// Once within a target incarnation, with the bytes that were sent.
    ExactlyOnce,
    /// Every accepted send ends in exactly one way, and its payload comes back.
    OneEnd,
    /// Nothing is completed that was not received, delivered, answered.
    NoFalseCompletion,
    /// Once faults stop, everything finishes.
    Progress,
    /// Memory stays within its bounds.
    Memory,
    /// The user is told to hold back, and to go on, in turns.
    Flow,
    /// A user that does not acknowledge is seen, and nobody else is blamed.
    Overdue,
    /// Down, nacks oldest first with a true certainty, drained.
    DownOrder,
    /// What was nacked as unknown is resolved once, and truly, when its target is back.
    Ledger,
    /// A former target delivers nothing.
    Lease,
    /// What a cluster engine with a quorum says has its effect at once.
    Membership,
    /// Generations grow across restarts where they are kept.
    Fence,
    /// An exclusive client hears one source at a time, and none after one with a higher role epoch.
    Role,
    /// A healthy path hides the others' faults.
    PathHidden,
    /// No message on a standby path while a normal one is good.
    Standby,
    /// A path comes and goes with its address, and what cannot be changed is refused.
    Changes,
    /// A path that works in one direction only is called that, and is no good one.
    OneWay,
    /// While a path is in doubt, receipts travel on two.
    Receipts,
    /// A path that was dead proves itself before it carries beside good ones, and a flapping one for longer.
    Rejoin,
    /// A reachable backup hides the target's faults.
    SwitchHidden,
    /// A lost target is waited for as long as was asked, and keeps its session if it returns.
    Grace,
    /// A planned switch nacks nothing, repeats nothing, and leaves nothing behind.
    Planned,
    /// The user is asked once for each choice of a backup, and what it says is done.
    Choice,
    /// A switch takes no longer than the failover budget.
    Budget,
    /// A loss leaves a record that is of this loss, and agrees with itself.
    Record,
    /// Nothing is sent to a node of the first release that it would refuse.
    Releases,
    /// A target that closes gracefully, and in time, loses nothing that it has taken.
    Drain,
    /// What a user changed after the send is not delivered, and nobody else suffers.
    Buffer,
    /// Nothing passes a barrier.
    Barrier,
    /// What is of high priority does not wait for the credit of the rest.
    Priority,
    /// Nothing begins to travel after its deadline, and who sent it hears of that.
    Deadline,
    /// A suspended port begins no message, and one that is stopped or closed is not suspended any more.
    Held,
    /// The engine does not spin.
    Timers,
    /// The engine or the simulator broke down, or the engine contradicts its own interface.
    Sanity,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (row, text) = match self {
            Invariant::Order => ("M2", "order within a stream"),
            Invariant::ExactlyOnce => ("M2", "exactly once, intact"),
            Invariant::OneEnd => ("A4", "each send ends exactly once"),
            Invariant::NoFalseCompletion => ("A1-A3", "nothing completed that was not delivered"),
            Invariant::Progress => ("liveness", "everything finishes once faults stop"),
            Invariant::Memory => ("M6, M7", "bounded memory"),
            Invariant::Flow => ("M7", "flow control is told in turns"),
            Invariant::Overdue => ("A6", "who does not acknowledge is seen, and nobody else"),
            Invariant::DownOrder => ("F2", "order of events after a down"),
            Invariant::Ledger => ("F3", "a reset resolves what was unknown"),
            Invariant::Membership => ("N5", "a quorate engine's word counts at once"),
            Invariant::Fence => ("F7", "generations grow across restarts"),
            Invariant::Role => ("L4", "an exclusive client hears the highest role alone"),
            Invariant::Lease => ("F8", "a former target delivers nothing"),
            Invariant::PathHidden => ("T2", "path faults are hidden"),
            Invariant::Changes => {
                ("L8", "paths come and go with their addresses; what is refused changes nothing")
            }
            Invariant::Standby => ("T8", "standby paths carry only when no normal one is good"),
            Invariant::OneWay => ("T5", "one-way loss is named, and nothing else is"),
            Invariant::Receipts => ("A5", "while a path is in doubt, receipts travel on two"),
            Invariant::Rejoin => ("T4", "what was dead proves itself, what flaps for longer"),
            Invariant::SwitchHidden => ("F5", "target faults are hidden by autoswitch"),
            Invariant::Grace => ("F5", "a lost target has its grace"),
            Invariant::Planned => ("F6", "a planned switch is not felt"),
            Invariant::Choice => ("L2", "the user's choice of a backup is asked for once, and heeded"),
            Invariant::Budget => ("F12", "a switch keeps to the failover budget"),
            Invariant::Record => ("F11", "a loss leaves its evidence"),
            Invariant::Releases => ("U7", "the first release is sent nothing that it refuses"),
            Invariant::Drain => ("L5", "a graceful close drains"),
            Invariant::Buffer => ("M8", "who changes a lent buffer is told, and nobody else is blamed"),
            Invariant::Barrier => ("M9", "nothing passes a barrier"),
            Invariant::Priority => ("M11", "control is not stuck behind bulk"),
            Invariant::Deadline => ("M10", "nothing begins to travel after its deadline"),
            Invariant::Held => ("L7", "a suspended port begins no message"),
            Invariant::Timers => ("timers", "bounded steps per virtual second"),
            Invariant::Sanity => ("sanity", "the engine keeps its own interface"),
        };
        write!(f, "[{row}] {text}")
    }
}

/// A broken rule.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When, in virtual seconds.
    pub at: f64,
    /// What was seen.
    pub text: String,
}

/// What a session is promised by the faults that were planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Promise {
    /// One path to the target has no fault: no down, no nack (T2).
    pub(crate) path_hidden: bool,
    /// A backup is reachable and the port switches by itself: no nack (F5).
    pub(crate) switch_hidden: bool,
    /// The first backup in order is reachable: the switch takes no longer than it must.
    pub(crate) next_well: bool,
    /// A bit for each path that has no fault, if neither end has one: it is never given up.
    pub(crate) clean_paths: u64,
    /// Nothing is left to wait on a slow path: none is slow, or the scheduler avoids those that are.
    pub(crate) brisk: bool,
    /// Both users are quick, so that times mean something.
    pub(crate) prompt: bool,
}

impl Promise {
    /// Nothing that a message meets is slow.
    pub(crate) fn is_timed(self) -> bool {
        self.path_hidden && self.clean_paths != 0 && self.brisk
    }

    /// A connect gets there before its timeout.
    pub(crate) fn connects(self) -> bool {
        self.path_hidden && self.clean_paths != 0
    }
}

/// What a run looked like, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Sends accepted.
    pub sent: u64,
    /// Urgent ones that were looked for while their target's user kept all bulk.
    pub urgent: u64,
    /// Sends completed.
    pub completed: u64,
    /// Sends nacked.
    pub nacked: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Connections reported down.
    pub downs: u64,
    /// Times that a target came back after a down or a reset, and went on with the session.
    pub resets: u64,
    /// Times that a target came back, and had no session any more.
    pub reconnects: u64,
    /// Messages that a reset resolved, as not delivered, delivered, acknowledged.
    pub resolved: [u64; 3],
    /// Switches to a backup.
    pub switches: u64,
    /// Of those, planned ones; and planned ones that were given up.
    pub planned: [u64; 2],
    /// Times that a lost target came back within its grace, and nothing was switched.
    pub returns: u64,
    /// Sessions that their target's user closed gracefully, and that ended in time.
    pub closed_well: u64,
    /// Sends accepted while their user had suspended the port.
    pub queued: u64,
    /// Barriers delivered.
    pub barriers: u64,
    /// Messages that ended because their users had changed them.
    pub changed: u64,
    /// Messages that were given up at their deadline.
    pub expired: u64,
    /// Messages that were said to be overdue.
    pub overdue: u64,
    /// Times that a user was asked which backup to use.
    pub questions: u64,
    /// Targets that a user has fenced while the lease still ran.
    pub fenced: u64,
    /// Paths suspected, as the sources' users heard.
    pub suspicions: u64,
    /// Of those, paths that had no fault between ends that had none.
    pub false_suspicions: u64,
    /// One-way losses that had to be named, at an end that could know.
    pub one_ways: u64,
    /// Connections over which a path that was dead, or flaps, had to prove itself.
    pub rejoins: u64,
    /// Of those, because it flapped.
    pub damped: u64,
    /// Longest time in ns from an acknowledgment to its completion, between quick users, where a path was healthy.
    pub longest_ack: u64,
    /// Longest time in ns from a deadline to the nack, at quick users of nodes without a fault.
    pub longest_expiry: u64,
    /// Longest time in ns from a target's fault to the switch to a healthy backup.
    pub longest_switch: u64,
    /// Longest time in ns from a message's first hand-over to its arrival, where a path was healthy.
    pub longest_arrival: u64,
}
