//! Recovery of the same target (F3, Fig. 10): after a down the source asks it to go on with the session under a new generation, and the
//! target says what it had of the messages that were nacked as unknown.
//!
//! The request is a CONNECT with a flag, bound to no connection. The ledger comes on every data connection of the new generation before
//! anything else, until the source sends something: so one that is lost with its connection comes again.

use super::event::{ConnStatus, Event, Verdict};
use super::session::{Lease, Offer, Purpose, ends_role};
use super::state::{self, Call, Link, State, StateError};
use super::{Payload, Port};
use crate::id::{ConnId, NodeId, PathId, Side, Sn};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::{Duration, Time};
use crate::wire::{Connect, LedgerRecord, MAX_LEDGER, MAX_LEDGER_RECORDS, ResetAck};

/// A down target is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Recovery {
    /// The target is believed to have the session still: it is asked to go on with it. Else it is connected to anew.
    pub(super) keeps: bool,
    /// The user asked for it, from STOPPED: the port is CONNECTED afterwards.
    asked: bool,
}

/// Target side: the ledger.
pub(super) struct Kept {
    records: Vec<LedgerRecord>,
    /// First credit of the generation.
    credit: u64,
    /// Of the high class, if the session has classes (M11).
    high_credit: Option<u64>,
}

/// Source side: the ledger, as far as it has come.
#[derive(Default)]
pub(super) struct Verdicts {
    records: Vec<LedgerRecord>,
    /// The connection that it comes on.
    from: Option<(PathId, ConnId)>,
    complete: bool,
}

impl Verdicts {
    #[cfg(test)]
    pub(super) fn of(records: Vec<LedgerRecord>) -> Verdicts {
        Verdicts { records, ..Verdicts::default() }
    }

    /// What became of each of these messages, which ascend.
    pub(super) fn judge(mut self, unknown: Vec<(Sn, Sn)>) -> impl Iterator<Item = (Sn, Verdict)> {
        // Of two records of one message the one with the answer counts: it comes first.
        self.records.sort_unstable_by_key(|r| (r.rc.is_none(), r.first));
        let answered = self.records.partition_point(|r| r.rc.is_some());
        let had = self.records.split_off(answered);
        let find = |records: &[LedgerRecord], sn: Sn| {
            let at = records.partition_point(|r| r.first <= sn);
            at.checked_sub(1).map(|at| records[at]).filter(|r| sn <= r.last)
        };
        unknown.into_iter().flat_map(|(first, last)| (first.0..=last.0).map(Sn)).map(move |sn| {
            let verdict = match find(&self.records, sn).and_then(|r| r.rc) {
                Some(rc) => Verdict::Acknowledged(rc),
                None if find(&had, sn).is_some() => Verdict::Delivered,
                None => Verdict::NotDelivered,
            };
            (sn, verdict)
        })
    }
}

impl<S: Payload, R: Clone> Port<S, R> {
    // ---- source side ----

    /// Asks the target of a stopped port to go on under a new generation: the port is CONNECTED when it has answered (Fig. 7). What is
    /// unfinished is nacked, and what is unknown of it resolved.
    ///
    /// # Errors
    /// Not STOPPED, or being closed.
    pub fn reset(&mut self, now: Time) -> Result<(), StateError> {
        let next = state::next(Call::Reset, self.state, self.link)?;
        let refused = StateError { call: Call::Reset, state: self.state, link: self.link };
        let Some(node) = self.peer.filter(|_| !self.drain.is_some_and(|d| d.then_close)) else {
            return Err(refused);
        };
        self.state = next;
        self.drain = None;
        self.finish_everything(Reason::Stopped);
        if let Some(Purpose::Recovery(recovery)) = self.attempt.as_mut().map(|a| &mut a.purpose) {
            recovery.asked = true;
        } else {
            self.hang_up_all(None);
            let keeps = self.pending.take().is_none_or(|pending| pending.keeps);
            let recovery = Recovery { keeps, asked: true };
            self.start_attempt(now, node, Purpose::Recovery(recovery), Duration::ZERO);
        }
        self.link = Link::Resetting;
        self.rearm(now);
        Ok(())
    }

    /// After a down the target is waited for, from when the user has been told that everything has ended. So a user that goes elsewhere
    /// (F4) when it hears of that finds the port as it was told.
    pub(super) fn plan_recovery(&mut self, node: NodeId, keeps: bool) {
        self.peer = Some(node);
        self.pending = Some(Recovery { keeps, asked: false });
    }

    /// The user has been told of everything.
    pub(super) fn begin_recovery(&mut self, now: Time) {
        if let Some(node) = self.peer
            && let Some(recovery) = self.pending.take()
        {
            self.start_attempt(now, node, Purpose::Recovery(recovery), Duration::ZERO);
        }
    }

    /// The recovery that is under way, or will be.
    pub(super) fn recovery(&self) -> Option<Recovery> {
        match self.attempt.as_ref().map(|a| a.purpose) {
            Some(Purpose::Recovery(recovery)) => Some(recovery),
            Some(Purpose::Connect | Purpose::Switch) => None,
            None => self.pending,
        }
    }

    /// The target has accepted, and will say what it had.
    pub(super) fn await_ledger(&mut self) {
        self.link = Link::Resetting;
        if self.recovery().is_some_and(|r| r.keeps) {
            self.sender.withhold_credit();
        }
    }

    /// The user need not wait for more than the connection itself.
    pub(super) fn has_ledger(&self) -> bool {
        self.verdicts.complete || !self.recovery().is_some_and(|r| r.keeps)
    }

    /// It did not come to anything this time. Who has lost the session, or does not know of resets, is connected to anew; with autoswitch
    /// another target is as good as one that does not answer.
    pub(super) fn recover_again(&mut self, now: Time, node: NodeId, recovery: Recovery, reason: Reason) {
        if ends_role(reason) {
            (self.attempt, self.pending, self.peer) = (None, None, None);
            self.link = Link::Drained;
            return;
        }
        let lost = matches!(
            reason,
            Reason::UnknownSession | Reason::UnsupportedFeature | Reason::PeerRestarted | Reason::BadProof
        );
        self.link = if recovery.asked { Link::Resetting } else { Link::Drained };
        let mut next = Recovery { keeps: recovery.keeps && !lost, ..recovery };
        if recovery.keeps && reason == Reason::UnsupportedFeature {
            // It does not know of resets, and has the session still: that one is taken away first (F8).
            self.give_up_peer(Lease::Unknown);
        }
        let mut to = node;
        if self.config.autoswitch && !(recovery.keeps && lost) {
            to = self.target_after(node);
            if recovery.keeps && to != node {
                next.keeps = false;
                self.give_up_peer(Lease::Unknown);
            }
        }
        // Who has refused for a reason of its own is not asked again at once.
        let wait =
            if lost || reason == Reason::Timeout { Duration::ZERO } else { self.config.connect_timeout };
        self.start_attempt(now, to, Purpose::Recovery(next), wait);
    }

    fn target_after(&self, node: NodeId) -> NodeId {
        let targets = &self.config.targets;
        let at = targets.iter().position(|t| t.node == node).unwrap_or(0);
        targets.get((at + 1) % targets.len().max(1)).map_or(node, |t| t.node)
    }

    /// The user goes elsewhere, or closes: what the target holds is taken from it.
    pub(super) fn leave_target(&mut self) {
        let keeps = self.recovery().map_or(self.attempt.is_none(), |recovery| recovery.keeps);
        if keeps {
            self.give_up_peer(Lease::Unknown);
        } else {
            // It has been sent nothing. Whoever was given up before is still the one to be waited for (F8).
            self.tell_end(Reason::Closed);
            self.hang_up_all(None);
        }
        (self.attempt, self.pending, self.grace) = (None, None, None);
        self.sender.take_unknown();
    }

    /// A part of the ledger. `Err`: it contradicts what came before on the same connection.
    pub(super) fn handle_reset_ack(&mut self, now: Time, at: usize, ack: ResetAck) -> Result<(), Reason> {
        if self.side == Side::Target {
            return Err(Reason::ProtocolError);
        }
        if self.has_ledger() {
            return Ok(()); // Another connection was faster.
        }
        let path = &self.paths[at];
        let from = path.conn().map(|conn| (path.id, conn.id));
        if ack.first == 0 {
            self.verdicts = Verdicts { from, ..Verdicts::default() };
        } else if self.verdicts.from != from {
            return Ok(());
        }
        if self.verdicts.records.len() != ack.first as usize {
            return Err(Reason::ProtocolError);
        }
        self.sender.raise_credit(ack.credit, ack.high_credit);
        self.verdicts.records.extend(&ack.records);
        if self.verdicts.records.len() == ack.total as usize {
            self.verdicts.complete = true;
            self.try_complete(now);
        }
        Ok(())
    }

    /// The target is back: what was unknown is resolved if it could say, and sends are taken again.
    pub(super) fn say_recovered(&mut self, node: NodeId, recovery: Recovery) {
        let unknown = self.sender.take_unknown();
        self.stats.resets += u64::from(recovery.keeps);
        if recovery.keeps {
            for (sn, verdict) in std::mem::take(&mut self.verdicts).judge(unknown) {
                self.events.push(Event::Resolved { sn, verdict });
            }
        }
        if recovery.asked && self.state == State::Stopped && self.go(Call::ResetComplete).is_err() {
            return;
        }
        let paths = u16::try_from(self.paths.len()).unwrap_or(u16::MAX);
        let (generation, paths_up, kept) = (self.generation, self.paths_up(), recovery.keeps);
        self.events.status(ConnStatus::Recovered { node, generation, paths_up, paths, kept });
    }

    // ---- target side ----

    /// The source asks to go on with the session that this port serves, under a new generation (F3). What is not whole, or waits for
    /// something before it, is dropped, and what this end had not finished sending is nacked.
    ///
    /// # Errors
    /// The reason to answer with: there is no such session (any more), or the generation is not new.
    pub fn handle_reset(&mut self, now: Time, connect: &Connect, secret: Secret) -> Result<(), Reason> {
        let serves = self.side == Side::Target && self.state == State::ConnectedTo;
        if !serves || connect.session != self.session {
            return Err(Reason::UnknownSession);
        }
        if self.drain.is_some() {
            // It still delivers: whoever goes elsewhere has to take the session away first (F8).
            return Err(Reason::Closed);
        }
        if connect.generation <= self.generation {
            return Err(Reason::StaleGeneration);
        }
        self.stats.resets += 1;
        self.hang_up_all(None);
        self.finish_everything(Reason::Superseded);
        self.sender.take_unknown();
        // What came under the present generation says that the source knows everything of those before.
        let mut records = match self.kept.take() {
            Some(kept) if !self.receiver.has_begun() => kept.records,
            Some(_) | None => Vec::new(),
        };
        self.generation = connect.generation;
        self.secret = secret;
        self.peer_features = connect.features;
        let max_message = u64::from(self.config.max_message);
        records.extend(self.receiver.reset(connect.generation, self.config.max_streams, max_message));
        records.truncate(MAX_LEDGER as usize);
        self.settle_limits(&Offer::of_connect(connect));
        let (credit, high_credit) = self.receiver.granted();
        self.kept = Some(Kept { records, credit, high_credit });
        (self.freshest, self.completions_by) = (None, None);
        (self.lazy_receipt, self.unreceipted, self.credit_asked) = (false, 0, false);
        (self.pathless_since, self.last_contact) = (now, now);
        self.events.status(ConnStatus::Reset { generation: connect.generation });
        self.rearm(now);
        Ok(())
    }

    /// A connection has come up, and the source may not have heard the ledger.
    pub(super) fn owe_ledger(&mut self, at: usize) {
        if self.kept.is_some()
            && !self.receiver.has_begun()
            && let Some(conn) = self.paths[at].conn_mut()
        {
            conn.due.ledger = Some(0);
        }
    }

    /// The records from `from` on, and where the next ones begin.
    pub(super) fn ledger_from(&self, from: u32) -> Option<(ResetAck, Option<u32>)> {
        let kept = self.kept.as_ref()?;
        let total = u32::try_from(kept.records.len()).unwrap_or(u32::MAX);
        let records: Vec<_> =
            kept.records.iter().skip(from as usize).take(MAX_LEDGER_RECORDS).copied().collect();
        let next = from + records.len() as u32;
        let (credit, high_credit) = (kept.credit, kept.high_credit);
        let ack = ResetAck { first: from, total, credit, high_credit, records };
        Some((ack, (next < total).then_some(next)))
    }
}
