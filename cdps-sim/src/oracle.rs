//! The oracle: knows what was sent, handed over, received, delivered and answered, and says when the rules are broken.

mod arrival;
mod barrier;
mod choice;
mod deadline;
mod decision;
mod grace;
mod open;
mod overdue;
mod paths;
mod planned;
mod priority;
mod reset;
mod role;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Weak;

use cdps_core::config::AckModel;
use cdps_core::id::{Generation, NodeId, SessionId, Sn, Ssn, StreamId};
use cdps_core::port::Certainty;
use cdps_core::reason::Reason;
use cdps_core::time::Duration;
use role::Roles;

use crate::payload::{self, Sent, SentHandle};
use crate::rules::{Invariant, Promise, Tally};

/// Where a path is healthy, what was handed over arrives within this time (ns), whatever happens to the other paths: the time to
/// suspect a path, half a second, and what its fellows had queued on the healthy ones.
const ARRIVES_WITHIN: u64 = 1_500_000_000;

/// Where a path is healthy, an acknowledgment reaches the sender's user within this time (ns).
const ACKNOWLEDGED_WITHIN: u64 = 1_500_000_000;

/// One direction of one session: whose numbers are they.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FlowKey {
    /// Source to target: the source port lives through all generations.
    Up(SessionId),
    /// Target to source: a target port belongs to one generation.
    Down(SessionId, Generation),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Completed,
    Nacked(Reason),
}

struct SendRecord {
    id: u64,
    stream: StreamId,
    ssn: Ssn,
    len: u32,
    model: AckModel,
    end: Option<End>,
    /// When.
    accepted_at: u64,
    handed: bool,
    /// When it was first handed over in a generation.
    handed_at: u64,
    ended_at: u64,
    /// The user was told that it is overdue.
    overdue: bool,
    /// A reset said that no target delivers it (F3).
    undelivered: bool,
    /// Its user changes the buffer: parts of it that come after a SKIP make nothing whole.
    changes: bool,
    /// When it is given up if it has not begun to travel, and the time that it was given for that.
    due: Option<(u64, u64)>,
    handle: Weak<Sent>,
}

#[derive(Default)]
struct Receiver {
    arrived: BTreeSet<Sn>,
    arrived_at: BTreeMap<Sn, u64>,
    partial: BTreeMap<Sn, Vec<(u32, u32)>>,
    lines: BTreeMap<StreamId, arrival::Line>,
    /// All parts are there, and are being put together: it counts as received when that is done.
    assembling: BTreeSet<Sn>,
    /// What a reset has dropped (F3).
    dropped: BTreeSet<Sn>,
    delivered: BTreeSet<Sn>,
    next: BTreeMap<StreamId, Ssn>,
    /// (stream, first, next): numbers that were passed over, as tombstones or before the generation began. All must be over.
    skipped: Vec<(StreamId, Ssn, Ssn)>,
    /// Return code, and when it was given.
    answers: BTreeMap<Sn, (i32, u64)>,
    /// Its user closed gracefully, and it came to that before the close had to be over.
    closed_well: bool,
}

#[derive(Default)]
struct Flow {
    /// Number of the first send.
    first: Sn,
    sends: Vec<SendRecord>,
    streams: BTreeMap<StreamId, Vec<Sn>>,
    receivers: BTreeMap<Generation, Receiver>,
    /// Which of them are barriers.
    barriers: BTreeSet<Sn>,
    /// What came on the wrong side of a barrier that has not begun to travel: the barrier, and what to say unless it was given up.
    passed: Vec<(Sn, String)>,
    /// When the other user's acknowledgment is overdue.
    late_after: Option<u64>,
    /// The sending process is gone; nothing is owed to it.
    void: bool,
    /// Its user has suspended the port: nothing new begins to travel (L7).
    held: bool,
    open: u64,
}

#[derive(Default)]
struct Session {
    promise: Promise,
    /// How long a lost target is waited for before a switch.
    grace: Duration,
    /// Highest number nacked since the down that is being worked off.
    down: Option<Sn>,
    refusing: bool,
    newest_delivered: Generation,
    /// Newest generation that the source's user closed: what its target has was completed, and is delivered without a lease (docs/semantics.md,
    /// "After a clean close").
    closed: Option<Generation>,
    /// What was nacked as unknown, and may be resolved by a reset (F3).
    unresolved: BTreeSet<Sn>,
    /// A planned switch is under way, and nothing has come in between: sends nacked when it began.
    planned: Option<u64>,
    /// Sends nacked, but for those whose own time was up.
    nacked: u64,
    /// The generation that the last planned switch led to.
    orderly: Option<Generation>,
    /// Generation in which the present target was connected to.
    since: Generation,
    /// The newest one that the source's user was told of.
    told: Generation,
    /// The target that is being given up.
    leaving: Option<NodeId>,
    /// What its user was asked last, and has answered.
    choice: choice::Choice,
}

/// A message as it reached a user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) flow: FlowKey,
    pub(crate) generation: Generation,
    pub(crate) node: NodeId,
    pub(crate) sn: Sn,
    pub(crate) stream: StreamId,
    pub(crate) ssn: Ssn,
    pub(crate) bytes: &'a [u8],
    pub(crate) redelivered: bool,
    pub(crate) wants_ack: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Oracle {
    flows: BTreeMap<FlowKey, Flow>,
    sessions: BTreeMap<SessionId, Session>,
    violation: Option<(Invariant, String)>,
    roles: Roles,
    /// When a node was killed or frozen.
    pub(crate) struck: BTreeMap<NodeId, u64>,
    /// The failover budget (ns), if there is one (F12).
    pub(crate) budget: Option<u64>,
    /// There is a node of the first release: who cannot be told not to wait for one message loses them all.
    pub(crate) mixed: bool,
    /// Virtual time.
    pub(crate) now: u64,
    pub(crate) tally: Tally,
}

impl Oracle {
    pub(crate) fn new(budget: Option<u64>, mixed: bool) -> Oracle {
        Oracle { budget, mixed, ..Oracle::default() }
    }

    /// Records the first violation.
    pub(crate) fn fail(&mut self, invariant: Invariant, text: String) {
        self.violation.get_or_insert((invariant, text));
    }

    pub(crate) fn violation(&self) -> Option<&(Invariant, String)> {
        self.violation.as_ref()
    }

    pub(crate) fn promise(&mut self, session: SessionId, promise: Promise) {
        self.sessions.entry(session).or_default().promise = promise;
    }

    /// A send was accepted as `sn`. `up`: the port is usable again, and its user is about to hear of that.
    pub(crate) fn accepted(
        &mut self,
        flow: FlowKey,
        sn: Sn,
        stream: StreamId,
        model: AckModel,
        sent: &SentHandle,
        up: bool,
    ) {
        self.tally.sent += 1;
        if let FlowKey::Up(session) = flow
            && !up
            && self.sessions.get(&session).is_some_and(|s| s.refusing)
        {
            self.fail(Invariant::DownOrder, format!("{flow:?}: send {sn} accepted after down"));
        }
        let f = self.flows.entry(flow).or_default();
        if f.void && matches!(flow, FlowKey::Down(..)) {
            // The target's process is another one now, and has accepted the same CONNECT again.
            *f = Flow::default();
        }
        if f.sends.is_empty() {
            // A target's numbers begin above all that the source has seen; a source's begin at 1.
            f.first = if matches!(flow, FlowKey::Up(_)) { Sn(1) } else { sn };
        }
        let expected = Sn(f.first.0 + f.sends.len() as u64);
        let ssns = f.streams.entry(stream).or_default();
        ssns.push(sn);
        let ssn = Ssn(ssns.len() as u64);
        f.open += 1;
        self.tally.queued += u64::from(f.held);
        f.sends.push(SendRecord {
            id: sent.id,
            stream,
            ssn,
            len: sent.len,
            model,
            end: None,
            accepted_at: self.now,
            handed: false,
            handed_at: u64::MAX,
            ended_at: 0,
            overdue: false,
            undelivered: false,
            changes: sent.changes(),
            due: None,
            handle: sent.watch(),
        });
        if sn != expected {
            self.fail(Invariant::Sanity, format!("{flow:?}: send got number {sn}, expected {expected}"));
        }
    }

    /// The sending user has suspended its port, or let it go.
    pub(crate) fn hold(&mut self, flow: FlowKey, held: bool) {
        self.flows.entry(flow).or_default().held = held;
    }

    /// A message, or a part of it, was handed to a connection.
    pub(crate) fn handed(&mut self, flow: FlowKey, sn: Sn) {
        let held = self.flows.get(&flow).is_some_and(|f| f.held);
        match self.flows.get_mut(&flow).and_then(|f| f.record_mut(sn)) {
            Some(record) => {
                let begins = !std::mem::replace(&mut record.handed, true);
                let late = record.due.filter(|_| begins).and_then(|due| deadline::passed(due, self.now));
                record.handed_at = record.handed_at.min(self.now);
                if matches!(record.end, Some(End::Nacked(_))) {
                    self.fail(Invariant::OneEnd, format!("{flow:?}: {sn} travels after it was nacked"));
                } else if held && begins {
                    self.fail(Invariant::Held, format!("{flow:?}: {sn} begins to travel"));
                } else if let Some(late) = late {
                    let text = format!("{flow:?}: {sn} begins to travel {late} ns after its deadline");
                    self.fail(Invariant::Deadline, text);
                }
            }
            None => self.fail(Invariant::Sanity, format!("{flow:?}: {sn} travels, but was never accepted")),
        }
    }

    /// Whether anything of this generation was shown to the receiving engine, and the source's user has not closed it.
    pub(crate) fn may_be_fenced_off(&self, session: SessionId, at: Generation) -> bool {
        let receiver = self.flows.get(&FlowKey::Up(session)).and_then(|f| f.receivers.get(&at));
        let open = self.sessions.get(&session).is_none_or(|s| Some(at) > s.closed);
        open && receiver.is_some_and(|r| !r.arrived.is_empty() || !r.partial.is_empty())
    }

    /// A message enters a user's callback.
    pub(crate) fn delivered(&mut self, d: Delivery<'_>) {
        self.tally.delivered += 1;
        if let Err((invariant, text)) = self.judge_delivery(&d) {
            let text = format!(
                "{:?} at node {} generation {}: {} (stream {}, ssn {}): {text}",
                d.flow, d.node, d.generation, d.sn, d.stream, d.ssn
            );
            self.fail(invariant, text);
        }
    }

    fn judge_delivery(&mut self, d: &Delivery<'_>) -> Result<(), (Invariant, String)> {
        if let FlowKey::Up(session) = d.flow {
            let s = self.sessions.entry(session).or_default();
            if d.redelivered && s.orderly == Some(d.generation) {
                return Err((Invariant::Planned, "is said to come again".into()));
            }
            if d.generation < s.newest_delivered && Some(d.generation) > s.closed {
                let text = format!("delivered after generation {} had delivered", s.newest_delivered);
                return Err((Invariant::Lease, text));
            }
            s.newest_delivered = s.newest_delivered.max(d.generation);
            self.judge_role(d.node, d.generation)?;
        }
        let flow = self.flows.entry(d.flow).or_default();
        let Some(record) = flow.record(d.sn) else {
            return Err((Invariant::Sanity, "was never accepted".into()));
        };
        if record.undelivered {
            return Err((Invariant::Ledger, "was resolved as not delivered".into()));
        }
        if record.stream != d.stream || record.ssn != d.ssn {
            let text = format!("was sent as stream {} ssn {}", record.stream, record.ssn);
            return Err((Invariant::Sanity, text));
        }
        if d.wants_ack != (record.model == AckModel::Synchronous) {
            return Err((
                Invariant::Sanity,
                format!("wants_ack is {}, model {:?}", d.wants_ack, record.model),
            ));
        }
        let (id, len) = (record.id, record.len);
        let before = flow.receivers.iter().any(|(g, r)| *g != d.generation && r.delivered.contains(&d.sn));
        let receiver = flow.receivers.entry(d.generation).or_default();
        if !receiver.delivered.insert(d.sn) {
            return Err((Invariant::ExactlyOnce, "delivered twice".into()));
        }
        if d.bytes != payload::bytes(id, len) {
            return Err((
                Invariant::ExactlyOnce,
                format!("{} bytes came, not the {len} that were sent", d.bytes.len()),
            ));
        }
        if before && !d.redelivered {
            return Err((
                Invariant::ExactlyOnce,
                "an earlier target delivered it, and it is not marked so".into(),
            ));
        }
        let newest = receiver.delivered.last().copied().unwrap_or_default();
        let next = *receiver.next.get(&d.stream).unwrap_or(&Ssn(1));
        receiver.next.insert(d.stream, d.ssn.next());
        if d.ssn < next {
            return Err((Invariant::Order, format!("ssn {next} is next in its stream")));
        }
        if d.ssn > next {
            receiver.skipped.push((d.stream, next, d.ssn));
        }
        flow.judge_barriers(d.sn, newest)?;
        self.tally.barriers += u64::from(self.flows[&d.flow].barriers.contains(&d.sn));
        Ok(())
    }

    /// The receiving user acknowledged a message, and the engine took it.
    pub(crate) fn answered(&mut self, flow: FlowKey, at: Generation, sn: Sn, rc: i32) {
        let now = self.now;
        self.flows.entry(flow).or_default().receivers.entry(at).or_default().answers.insert(sn, (rc, now));
    }

    /// A completion reached the sending user.
    pub(crate) fn completed(&mut self, flow: FlowKey, sn: Sn, rc: i32, given_back: &Sent) {
        self.tally.completed += 1;
        if let FlowKey::Up(session) = flow
            && self.sessions.get(&session).is_some_and(|s| s.down.is_some())
        {
            self.fail(Invariant::DownOrder, format!("{flow:?}: {sn} completed between down and drained"));
        }
        if !self.ended(flow, sn, End::Completed, given_back) {
            return;
        }
        let f = &self.flows[&flow];
        let Some(record) = f.record(sn) else { return };
        let fault = match record.model {
            AckModel::Synchronous
                if f.receivers.values().any(|r| r.answers.get(&sn).is_some_and(|a| a.0 == rc)) =>
            {
                None
            }
            AckModel::Synchronous => {
                let answers: Vec<_> = f.receivers.values().filter_map(|r| r.answers.get(&sn)).collect();
                Some(format!("rc is {rc}, but the target's user answered {answers:?}"))
            }
            AckModel::Asynchronous if rc == 0 && f.receivers.values().any(|r| f.received(r, sn)) => None,
            AckModel::Asynchronous => {
                Some(format!("rc {rc}; no target has it and everything before it in its stream"))
            }
            AckModel::Sent if rc == 0 && record.handed => None,
            AckModel::Sent => Some(format!("rc {rc}; handed over: {}", record.handed)),
        };
        if let Some(fault) = fault {
            let text = format!("{flow:?}: {sn} ({:?}) completed: {fault}", record.model);
            self.fail(Invariant::NoFalseCompletion, text);
            return;
        }
        if record.model == AckModel::Synchronous {
            self.check_told_overdue(flow, sn);
        }
        let f = &self.flows[&flow];
        if let FlowKey::Up(session) = flow
            && self.sessions.get(&session).is_some_and(|s| s.promise.is_timed() && s.promise.prompt)
            && let Some((_, answered_at)) =
                f.receivers.values().filter_map(|r| r.answers.get(&sn)).next_back()
        {
            let took = self.now - answered_at;
            self.tally.longest_ack = self.tally.longest_ack.max(took);
            if took > ACKNOWLEDGED_WITHIN {
                let text = format!("{flow:?}: the acknowledgment of {sn} took {:.3} s", took as f64 / 1e9);
                self.fail(Invariant::PathHidden, text);
            }
        }
    }

    /// A nack reached the sending user.
    pub(crate) fn nacked(
        &mut self,
        flow: FlowKey,
        sn: Sn,
        reason: Reason,
        certainty: Certainty,
        given_back: &Sent,
    ) {
        self.tally.nacked += 1;
        let changed = reason == Reason::BufferChanged;
        self.judge_changed(flow, sn, changed, given_back);
        if !self.ended(flow, sn, End::Nacked(reason), given_back) {
            return;
        }
        let Some(record) = self.flows[&flow].record(sn) else { return };
        let due = record.due;
        if certainty == Certainty::NotSent && record.handed {
            self.fail(Invariant::DownOrder, format!("{flow:?}: {sn} nacked as not sent, but it travelled"));
        }
        let FlowKey::Up(session) = flow else { return };
        let s = self.sessions.entry(session).or_default();
        let promise = s.promise;
        if certainty == Certainty::Unknown && !changed {
            s.unresolved.insert(sn);
        }
        s.nacked += u64::from(!changed && (reason, certainty) != (Reason::Timeout, Certainty::NotSent));
        if let Some(last) = s.down {
            s.down = Some(sn);
            if sn <= last {
                self.fail(Invariant::DownOrder, format!("{flow:?}: {sn} nacked after {last}"));
            }
        }
        if matches!(reason, Reason::Stopped | Reason::Closed | Reason::PeerClosed | Reason::Shutdown)
            || changed
        {
            return;
        }
        if reason == Reason::Timeout
            && certainty == Certainty::NotSent
            && due.is_some_and(|due| self.expired(flow, sn, due, promise))
        {
            return;
        }
        if promise.path_hidden {
            self.fail(
                Invariant::PathHidden,
                format!("{flow:?}: {sn} nacked ({reason}) though a path was healthy"),
            );
        } else if promise.switch_hidden {
            self.fail(
                Invariant::SwitchHidden,
                format!("{flow:?}: {sn} nacked ({reason}) though a backup was there"),
            );
        }
    }

    /// Only what its user has changed is nacked for that.
    fn judge_changed(&mut self, flow: FlowKey, sn: Sn, changed: bool, sent: &Sent) {
        self.tally.changed += u64::from(changed);
        if changed && !sent.is_changed(self.now) && !self.mixed {
            self.fail(Invariant::Buffer, format!("{flow:?}: {sn} is as it was, and was nacked as changed"));
        }
    }

    fn ended(&mut self, flow: FlowKey, sn: Sn, end: End, given_back: &Sent) -> bool {
        let now = self.now;
        let f = self.flows.entry(flow).or_default();
        let Some(record) = f.record_mut(sn) else {
            self.fail(Invariant::OneEnd, format!("{flow:?}: {sn} ended as {end:?}, but was never accepted"));
            return false;
        };
        let (former, id) = (record.end.replace(end), record.id);
        record.ended_at = now;
        if let Some(former) = former {
            self.fail(Invariant::OneEnd, format!("{flow:?}: {sn} ended twice: {former:?}, then {end:?}"));
            return false;
        }
        f.open -= 1;
        if id != given_back.id {
            let text = format!("{flow:?}: {sn} gave back payload {} instead of {id}", given_back.id);
            self.fail(Invariant::OneEnd, text);
        }
        true
    }

    /// Everything that the engine of this generation received must have reached the user by now.
    pub(crate) fn check_delivered(&mut self, flow: FlowKey, at: Generation) {
        let Some(f) = self.flows.get(&flow) else { return };
        let Some(receiver) = f.receivers.get(&at) else { return };
        let stays = |sn: &&Sn| f.record(**sn).is_none_or(|r| !r.changes);
        if let Some(sn) = receiver.arrived.difference(&receiver.delivered).find(stays) {
            let text = format!("{flow:?} generation {at}: {sn} arrived and was never delivered");
            self.fail(Invariant::Progress, text);
        }
    }

    /// What a receiver passed over must have ended otherwise; the sender's user may have heard of it later.
    pub(crate) fn check_skipped(&mut self) {
        let mut found = None;
        for (key, f) in self.flows.iter().filter(|(_, f)| !f.void) {
            for (generation, receiver) in &f.receivers {
                for &(stream, first, next) in &receiver.skipped {
                    let sns = &f.streams[&stream][first.0 as usize - 1..next.0 as usize - 1];
                    let open = |sn: &&Sn| f.record(**sn).is_some_and(|r| r.end.is_none());
                    // What was received in this generation, and not delivered, was not a tombstone.
                    let lost = |sn: &&Sn| {
                        receiver.arrived.contains(sn) && !f.record(**sn).is_some_and(|r| r.changes)
                    };
                    if let Some(sn) = sns.iter().find(|sn| open(sn) || lost(sn)) {
                        let text = format!(
                            "{key:?} generation {generation}: {sn} of stream {stream} was passed over"
                        );
                        found.get_or_insert(text);
                    }
                }
            }
        }
        if let Some(text) = found {
            self.fail(Invariant::Order, text);
        }
    }

    /// At the very end: every send has ended and every payload is free.
    pub(crate) fn check_ends(&mut self) {
        self.check_passed();
        let mut found = None;
        for (flow, f) in self.flows.iter().filter(|(_, f)| !f.void) {
            for (i, record) in f.sends.iter().enumerate() {
                if record.end.is_none() {
                    found.get_or_insert(format!(
                        "{flow:?}: {} of {:?} never ended",
                        f.first.0 + i as u64,
                        record.model
                    ));
                } else if record.handle.strong_count() > 0 {
                    found.get_or_insert(format!("{flow:?}: the payload of {} is still held", i + 1));
                }
            }
        }
        if let Some(text) = found {
            self.fail(Invariant::OneEnd, text);
        }
    }
}

impl Flow {
    fn index(&self, sn: Sn) -> Option<usize> {
        usize::try_from(sn.0.checked_sub(self.first.0)?).ok()
    }

    fn record(&self, sn: Sn) -> Option<&SendRecord> {
        self.sends.get(self.index(sn)?)
    }

    fn record_mut(&mut self, sn: Sn) -> Option<&mut SendRecord> {
        let index = self.index(sn)?;
        self.sends.get_mut(index)
    }

    /// This receiver has the message and everything before it in its stream that was not over already.
    fn received(&self, receiver: &Receiver, sn: Sn) -> bool {
        let Some(stream) = self.record(sn).and_then(|r| self.streams.get(&r.stream)) else { return false };
        // What is of a generation before was over when it ended.
        let over = |s: &Sn| self.record(*s).is_none_or(|r| r.end.is_some());
        stream.iter().take_while(|s| **s <= sn).all(|s| receiver.arrived.contains(s) || (*s != sn && over(s)))
    }
}
