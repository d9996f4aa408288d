//! What the receiving engines were shown, what of it they could deliver, and what a target that closes owes its user (L5).

use std::collections::BTreeMap;

use cdps_core::id::{Generation, SessionId, Sn, Ssn};
use cdps_core::reason::Reason;
use cdps_core::wire::{FragmentHead, item};

use super::{ARRIVES_WITHIN, End, Flow, FlowKey, Oracle, Receiver};
use crate::rules::Invariant;

/// A stream at a receiver, in the order of its messages.
#[derive(Default)]
pub(super) struct Line {
    /// Everything before this one is here. `None` until the first one of the generation has come.
    next: Option<Ssn>,
    /// What came, and waits for something before it.
    waiting: BTreeMap<Ssn, Sn>,
}

impl Line {
    fn arrive(&mut self, head: &FragmentHead) {
        if head.flags & item::START != 0 {
            self.next = Some(head.ssn);
        }
        if self.next.is_none_or(|next| head.ssn >= next) {
            self.waiting.insert(head.ssn, head.sn);
        }
        while let Some(next) = self.next
            && self.waiting.remove(&next).is_some()
        {
            self.next = Some(next.next());
        }
    }
}

impl Receiver {
    /// Notes a part; true: the message is whole.
    fn part(&mut self, head: &FragmentHead, len: u32) -> bool {
        if len == head.total {
            return true;
        }
        let parts = self.partial.entry(head.sn).or_default();
        parts.push((head.offset, head.offset + len));
        parts.sort_unstable();
        let mut covered = 0;
        for &(from, to) in parts.iter() {
            if from <= covered {
                covered = covered.max(to);
            }
        }
        covered == head.total
    }

    /// What came and has not reached the user, but for what a reset has dropped.
    pub(super) fn untold(&self) -> impl Iterator<Item = Sn> {
        self.arrived.difference(&self.delivered).copied().filter(|sn| !self.dropped.contains(sn))
    }
}

impl Flow {
    /// What came and is not due: it, or something before it in its stream, is not whole, or is being put together.
    fn waits(&self, receiver: &Receiver, sn: Sn) -> bool {
        let stream = |sn| self.record(sn).map(|r| r.stream);
        let in_parts = receiver.assembling.iter().any(|part| *part <= sn && stream(*part) == stream(sn));
        in_parts || receiver.lines.values().any(|line| line.waiting.values().any(|w| *w == sn))
    }
}

impl Oracle {
    /// The part of a message that `head` names, `len` bytes long, or a tombstone, is about to be shown to the receiving engine.
    pub(crate) fn arrived(&mut self, flow: FlowKey, at: Generation, head: &FragmentHead, len: u32) {
        let sn = head.sn;
        let f = self.flows.entry(flow).or_default();
        let receiver = f.receivers.entry(at).or_default();
        if receiver.arrived.contains(&sn) || !receiver.part(head, len) {
            return;
        }
        receiver.lines.entry(head.stream).or_default().arrive(head);
        if head.flags & item::TOMBSTONE != 0 {
            return;
        }
        receiver.arrived.insert(sn);
        receiver.arrived_at.insert(sn, self.now);
        receiver.partial.remove(&sn);
        if let FlowKey::Up(session) = flow
            && f.receivers.last_key_value().is_some_and(|r| *r.0 == at)
            && self.sessions.get(&session).is_some_and(|s| s.promise.is_timed())
            && let Some(record) = f.record(sn).filter(|r| r.end.is_none())
        {
            let took = self.now.saturating_sub(record.handed_at);
            self.tally.longest_arrival = self.tally.longest_arrival.max(took);
            if took > ARRIVES_WITHIN {
                let text =
                    format!("{flow:?}: {sn} was handed over and took {:.3} s to arrive", took as f64 / 1e9);
                self.fail(Invariant::PathHidden, text);
            }
        }
    }

    /// The engine wants the parts of a message put together.
    pub(crate) fn assembling(&mut self, flow: FlowKey, at: Generation, sn: Sn) {
        self.flows.entry(flow).or_default().receivers.entry(at).or_default().assembling.insert(sn);
    }

    /// They are.
    pub(crate) fn assembled(&mut self, flow: FlowKey, at: Generation, sn: Sn) {
        self.flows.entry(flow).or_default().receivers.entry(at).or_default().assembling.remove(&sn);
    }

    /// Whether a whole message was shown to the receiving engine already.
    pub(crate) fn has_arrived(&self, flow: FlowKey, at: Generation, sn: Sn) -> bool {
        self.flows.get(&flow).and_then(|f| f.receivers.get(&at)).is_some_and(|r| r.arrived.contains(&sn))
    }

    /// A target is reset: what waits there for something before it goes (F3), also what was completed when it was handed over (A3), of which
    /// nobody is told.
    pub(super) fn drop_waiting(&mut self, session: SessionId, at: Generation) {
        let Some(f) = self.flows.get_mut(&FlowKey::Up(session)) else { return };
        let Some(receiver) = f.receivers.get(&at) else { return };
        let dropped: Vec<Sn> = receiver.untold().filter(|sn| f.waits(receiver, *sn)).collect();
        if let Some(receiver) = f.receivers.get_mut(&at) {
            receiver.dropped.extend(dropped);
        }
    }

    /// A target's user had closed gracefully, and now the session has ended in time.
    pub(crate) fn closed_well(&mut self, flow: FlowKey, at: Generation) {
        self.tally.closed_well += 1;
        self.flows.entry(flow).or_default().receivers.entry(at).or_default().closed_well = true;
    }

    /// At the very end: a target that closed gracefully has told its user of everything that it had taken, and its answers have arrived.
    pub(crate) fn check_closed(&mut self) {
        let mut found = None;
        for (key, f) in self.flows.iter().filter(|(_, f)| !f.void) {
            for (generation, receiver) in f.receivers.iter().filter(|r| r.1.closed_well) {
                let unheard = receiver.answers.keys().find(|sn| {
                    f.record(**sn).is_some_and(|r| r.end == Some(End::Nacked(Reason::PeerClosed)))
                });
                // What its user has changed may have been passed over before a part of it came.
                let stays = |sn: &Sn| !f.waits(receiver, *sn) && !f.record(*sn).is_some_and(|r| r.changes);
                if let Some(sn) = receiver.untold().find(stays) {
                    found.get_or_insert(format!(
                        "{key:?} generation {generation}: {sn} was there, and its target closed without delivering it"
                    ));
                }
                if let Some(sn) = unheard {
                    found.get_or_insert(format!(
                        "{key:?} generation {generation}: {sn} was acknowledged before its target closed, and nacked"
                    ));
                }
            }
        }
        if let Some(text) = found {
            self.fail(Invariant::Drain, text);
        }
    }
}
