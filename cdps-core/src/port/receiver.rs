//! What has arrived: deduplication, reassembly, order per stream, credit, and the user's acknowledgments.

use std::collections::{BTreeMap, VecDeque};

use super::early::Early;
use super::event::{CreditToken, Received};
use super::grant::Grant;
use super::sender::MAX_SPAN;
use super::{AckError, Events, Parts, Placement};
use crate::config::Priority;
use crate::id::{ConnId, Generation, PathId, Sn, Ssn, StreamId};
use crate::reason::Reason;
use crate::wire::{
    self, CompletionRecord, Completions, FragmentHead, Item, LedgerRecord, Receipt, Skip, item,
};

/// SNs above the cumulative one that are tracked beyond what credit allows: tombstones cost nothing.
pub(super) const SPARE_SPAN: u64 = 65_536;

struct Held<R> {
    sn: Sn,
    flags: u8,
    len: u32,
    /// `None`: nothing is delivered.
    payload: Option<R>,
}

struct Stream<R> {
    /// `None` until START has come.
    expected: Option<Ssn>,
    held: Early<Held<R>>,
}

/// A message whose fragments are still coming.
struct Assembly<R> {
    head: FragmentHead,
    buffer: R,
    /// Ranges that are in `buffer`, ascending, not touching.
    have: Vec<(u32, u32)>,
    /// Ranges that a connection reads into `buffer`. They stay when it is gone: its reader may be in the middle of it for a moment more,
    /// so nobody else ever writes there. What is missing then comes aside.
    claims: Vec<(PathId, ConnId, u32, u32)>,
    /// Ranges that came while another connection held the claim.
    asides: Vec<(u32, u32, R)>,
    assembling: bool,
}

/// Whether a message was new.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    Duplicate,
}

pub(super) struct Receiver<R> {
    /// What messages of the present session are charged to; credit of a former one is not owed.
    account: u64,
    pub(super) generation: Generation,
    /// First SN of the generation, once the peer has stated it.
    base: Option<Sn>,
    cumulative: Sn,
    above: VecDeque<bool>,
    /// Highest SN ever received, in whatever generation, or kept for a peer.
    highest: Sn,
    streams: Vec<Stream<R>>,
    index: BTreeMap<StreamId, usize>,
    last_stream: Option<(StreamId, usize)>,
    max_streams: u32,
    max_message: u64,
    assemblies: BTreeMap<Sn, Assembly<R>>,
    window: u64,
    /// Credit of each class, by [`Priority`]; of the high one only in sessions with classes (M11).
    grants: [Grant; 2],
    /// The session is being closed: what was announced is all that there will be.
    pub(super) frozen: bool,
    /// Sync messages delivered and not acknowledged: one flag per SN from `owed_base` on.
    owed: VecDeque<bool>,
    owed_base: Sn,
    log: VecDeque<CompletionRecord>,
    /// Number of the first record in `log`.
    log_first: u64,
    /// Records below this number need not be sent (again).
    log_sent: u64,
    /// Records below this number were sent at least once: they must not change.
    log_shown: u64,
    /// Completions of the peer that we have taken.
    pub(super) completions_seen: u64,
    pub(super) duplicates: u64,
    pub(super) delivered: u64,
    pub(super) delivered_bytes: u64,
}

impl<R: Clone> Receiver<R> {
    pub(super) fn new(
        account: u64,
        generation: Generation,
        window: u64,
        max_streams: u32,
        max_message: u64,
    ) -> Self {
        Receiver {
            account,
            generation,
            base: None,
            cumulative: Sn(0),
            above: VecDeque::new(),
            highest: Sn(0),
            streams: Vec::new(),
            index: BTreeMap::new(),
            last_stream: None,
            max_streams,
            max_message,
            assemblies: BTreeMap::new(),
            window,
            grants: [Grant::new(Some(window), 0), Grant::new(None, 0)],
            frozen: false,
            owed: VecDeque::new(),
            owed_base: Sn(1),
            log: VecDeque::new(),
            log_first: 1,
            log_sent: 1,
            log_shown: 1,
            completions_seen: 0,
            duplicates: 0,
            delivered: 0,
            delivered_bytes: 0,
        }
    }

    /// A new generation: what is half here is dropped, what was delivered stays delivered.
    pub(super) fn restart(&mut self, generation: Generation, max_streams: u32, max_message: u64) {
        let fresh = Receiver::new(
            self.account.wrapping_add(CreditToken::SESSION),
            generation,
            self.window,
            max_streams,
            max_message,
        );
        let (duplicates, delivered, bytes) = (self.duplicates, self.delivered, self.delivered_bytes);
        *self = Receiver { duplicates, delivered, delivered_bytes: bytes, highest: self.highest, ..fresh };
    }

    /// The source resets the session (F3): what is not whole, or waits for something before it, is dropped; what was delivered stays
    /// delivered. Gives the ledger of this generation.
    pub(super) fn reset(
        &mut self,
        generation: Generation,
        max_streams: u32,
        max_message: u64,
    ) -> Vec<LedgerRecord> {
        let held = || self.streams.iter().flat_map(|s| s.held.values());
        let mut dropped: Vec<Sn> = held().map(|h| h.sn).collect();
        dropped.sort_unstable();
        let cost = |flags: u8, len: u32| {
            if flags & item::TOMBSTONE == 0 { u64::from(len) + wire::MESSAGE_COST } else { 0 }
        };
        let held_costs = held().map(|h| (h.flags, cost(h.flags, h.len)));
        let parts = self.assemblies.values().map(|a| (a.head.flags, cost(a.head.flags, a.head.total)));
        let mut given_up = [0; 2];
        held_costs.chain(parts).for_each(|(flags, cost)| given_up[class_of(flags) as usize] += cost);
        let mut records = Vec::new();
        if let Some(base) = self.base
            && base <= self.cumulative
        {
            records.push(LedgerRecord { first: base, last: self.cumulative, rc: None });
        }
        for (k, _) in self.above.iter().enumerate().filter(|(_, here)| **here) {
            let sn = Sn(self.cumulative.0 + 1 + k as u64);
            if dropped.binary_search(&sn).is_ok() {
                continue;
            }
            match records.last_mut() {
                Some(run) if run.last.next() == sn => run.last = sn,
                Some(_) | None => records.push(LedgerRecord { first: sn, last: sn, rc: None }),
            }
        }
        records.extend(self.log.iter().map(|r| LedgerRecord {
            first: r.sn,
            last: Sn(r.sn.0 + u64::from(r.count - 1)),
            rc: Some(r.rc),
        }));
        let [normal, high] = &self.grants;
        let (normal, high) = (normal.kept(given_up[0]), high.kept(given_up[1]));
        let account = self.account;
        self.restart(generation, max_streams, max_message);
        self.account = account;
        self.grants = [Grant::new(Some(self.window), normal), Grant::new(None, high)];
        records
    }

    /// Whether a message of this generation has come, or a part of one.
    pub(super) fn has_begun(&self) -> bool {
        self.grants.iter().any(Grant::is_spent)
            || self.base.is_some_and(|base| base <= self.cumulative)
            || !self.above.is_empty()
    }

    /// The session that begins has classes, with this window for the high one, or it has not (M11).
    pub(super) fn open_high(&mut self, window: Option<u64>) {
        self.grants[Priority::High as usize].open(window);
    }

    /// What the peer may spend in this generation, and of the high class, if there are classes.
    pub(super) fn granted(&self) -> (u64, Option<u64>) {
        let [normal, high] = &self.grants;
        (normal.granted(), high.is_open().then(|| high.granted()))
    }

    /// The peer waits for credit: it is told of the next that there is.
    pub(super) fn want_credit(&mut self) {
        self.grants.iter_mut().for_each(|g| g.wanted = true);
    }

    /// What this end grants, and the cost of what its user has not released.
    pub(super) fn window(&self) -> (u64, u64) {
        (self.window, self.grants[Priority::Normal as usize].kept(0))
    }

    /// Highest SN ever received, or kept for a peer.
    pub(super) fn highest(&self) -> Sn {
        self.highest
    }

    /// The peer's numbers start here or below; none of them is given to another peer, whether it has been heard of or not.
    pub(super) fn expect_from(&mut self, first: Sn) {
        self.highest = self.highest.max(first);
    }

    /// The peer states where its numbers start. `Err`: it said something else before.
    pub(super) fn set_base(&mut self, base: Sn) -> Result<(), Reason> {
        match self.base {
            Some(known) if known != base => Err(Reason::ProtocolError),
            Some(_) => Ok(()),
            None if base.0 == 0 => Err(Reason::ProtocolError),
            None => {
                self.base = Some(base);
                self.cumulative = Sn(base.0 - 1);
                Ok(())
            }
        }
    }

    /// Whether an SN has been received; `Err` if it cannot be.
    #[inline]
    fn known(&self, sn: Sn) -> Result<bool, Reason> {
        if self.base.is_none() || sn.0 == 0 {
            return Err(Reason::ProtocolError);
        }
        if sn <= self.cumulative {
            return Ok(true);
        }
        if sn == self.cumulative.next() {
            return Ok(false);
        }
        let ahead = sn.0 - self.cumulative.0 - 1;
        if ahead >= (self.grants[0].announced() / wire::MESSAGE_COST + SPARE_SPAN).min(MAX_SPAN as u64) {
            return Err(Reason::Limit);
        }
        Ok(self.above.get(usize::try_from(ahead).unwrap_or(usize::MAX)).copied().unwrap_or(false))
    }

    /// Takes a message's cost from the credit that was granted.
    #[inline]
    fn charge(&mut self, flags: u8, len: u64) -> Result<(), Reason> {
        if flags & (item::TOMBSTONE | item::HIGH) != 0 {
            return self.charge_other(flags, len);
        }
        if len > self.max_message {
            return Err(Reason::Limit);
        }
        self.grants[Priority::Normal as usize].charge(len)
    }

    /// One that costs nothing, or is of the high class.
    fn charge_other(&mut self, flags: u8, len: u64) -> Result<(), Reason> {
        if flags & item::HIGH != 0 && !self.grants[Priority::High as usize].is_open() {
            return Err(Reason::UnsupportedFeature);
        }
        if flags & item::TOMBSTONE != 0 {
            return if len == 0 { Ok(()) } else { Err(Reason::ProtocolError) };
        }
        if len > self.max_message {
            return Err(Reason::Limit);
        }
        self.grants[Priority::High as usize].charge(len)
    }

    /// A whole message.
    #[inline]
    pub(super) fn handle_message<S>(
        &mut self,
        item: &Item,
        payload: R,
        events: &mut Events<S, R>,
    ) -> Result<Arrival, Reason> {
        if self.known(item.sn)? {
            self.duplicates += 1;
            return Ok(Arrival::Duplicate);
        }
        // If fragments of it came before, and now it came whole, its cost is charged already.
        if self.assemblies.is_empty() || self.assemblies.remove(&item.sn).is_none() {
            self.charge(item.flags, u64::from(item.len))?;
        }
        let payload = (item.flags & item::TOMBSTONE == 0).then_some(payload);
        let held = Held { sn: item.sn, flags: item.flags, len: item.len, payload };
        self.arrive(item.stream, item.ssn, held, events)?;
        Ok(Arrival::New)
    }

    /// A message of which something has been sent will not come (M8). Whether any of it is here or not, its cost goes back.
    pub(super) fn handle_skip<S>(
        &mut self,
        skip: &Skip,
        events: &mut Events<S, R>,
    ) -> Result<Arrival, Reason> {
        let &Skip { sn, ssn, stream, total, flags } = skip;
        // One that is being put together has arrived whole.
        if self.known(sn)? || self.assemblies.get(&sn).is_some_and(|a| a.assembling) {
            self.duplicates += 1;
            return Ok(Arrival::Duplicate);
        }
        match self.assemblies.remove(&sn) {
            Some(Assembly { head, .. })
                if (head.total, head.stream, head.ssn, class_of(head.flags))
                    != (total, stream, ssn, class_of(flags)) =>
            {
                return Err(Reason::ProtocolError);
            }
            Some(_) => {}
            None => self.charge(flags & item::HIGH, u64::from(total))?,
        }
        self.grants[class_of(flags) as usize].release(u64::from(total) + wire::MESSAGE_COST);
        let held = Held { sn, flags: flags | item::TOMBSTONE, len: 0, payload: None };
        self.arrive(stream, ssn, held, events)?;
        Ok(Arrival::New)
    }

    #[inline]
    fn stream(&mut self, id: StreamId) -> Result<usize, Reason> {
        match self.last_stream {
            Some((last, at)) if last == id => Ok(at),
            Some(_) | None => self.another_stream(id),
        }
    }

    fn another_stream(&mut self, id: StreamId) -> Result<usize, Reason> {
        let at = match self.index.get(&id) {
            Some(at) => *at,
            None => {
                if self.streams.len() >= self.max_streams as usize {
                    return Err(Reason::Limit);
                }
                self.streams.push(Stream { expected: None, held: Early::new() });
                self.index.insert(id, self.streams.len() - 1);
                self.streams.len() - 1
            }
        };
        self.last_stream = Some((id, at));
        Ok(at)
    }

    /// Notes the SN, then delivers the message and what waited for it, or holds it.
    #[inline]
    fn arrive<S>(
        &mut self,
        id: StreamId,
        ssn: Ssn,
        held: Held<R>,
        events: &mut Events<S, R>,
    ) -> Result<(), Reason> {
        let at = self.stream(id)?;
        let stream = &mut self.streams[at];
        if held.flags & item::START != 0 {
            if stream.expected.is_some_and(|e| e != ssn)
                || stream.held.first().is_some_and(|first| first <= ssn)
            {
                return Err(Reason::ProtocolError);
            }
            stream.expected = Some(ssn);
        }
        match stream.expected {
            Some(expected) if ssn < expected => return Err(Reason::ProtocolError),
            Some(expected) if ssn == expected => {
                self.note(held.sn);
                self.deliver(id, ssn, held, events);
                self.streams[at].expected = Some(ssn.next());
                if !self.streams[at].held.is_empty() {
                    self.deliver_held(id, at, ssn.next(), events);
                }
            }
            Some(_) | None => {
                let sn = held.sn;
                if !stream.held.insert(ssn, held) {
                    return Err(Reason::ProtocolError);
                }
                self.note(sn);
            }
        }
        Ok(())
    }

    /// Delivers what waited for the message before `next`.
    fn deliver_held<S>(&mut self, id: StreamId, at: usize, mut next: Ssn, events: &mut Events<S, R>) {
        while let Some(mut run) = self.streams[at].held.take(next) {
            for held in run.drain(..) {
                self.deliver(id, next, held, events);
                next = next.next();
            }
            self.streams[at].held.recycle(run);
        }
        self.streams[at].expected = Some(next);
    }

    #[inline]
    fn note(&mut self, sn: Sn) {
        self.highest = self.highest.max(sn);
        if sn == self.cumulative.next() {
            self.cumulative = sn;
            if !self.above.is_empty() {
                self.above.pop_front();
                while self.above.front() == Some(&true) {
                    self.above.pop_front();
                    self.cumulative = self.cumulative.next();
                }
            }
            return;
        }
        let ahead = usize::try_from(sn.0 - self.cumulative.0 - 1).unwrap_or(usize::MAX);
        if self.above.len() <= ahead {
            self.above.resize(ahead + 1, false);
        }
        self.above[ahead] = true;
    }

    #[inline]
    fn deliver<S>(&mut self, stream: StreamId, ssn: Ssn, held: Held<R>, events: &mut Events<S, R>) {
        let Some(payload) = held.payload else { return };
        if held.flags & item::SYNC != 0 {
            self.owe(held.sn);
        }
        self.delivered += 1;
        self.delivered_bytes += u64::from(held.len);
        events.received(|| Received {
            sn: held.sn,
            stream,
            ssn,
            generation: self.generation,
            flags: u32::from(held.flags),
            credit: CreditToken::new(self.account, held.flags, u64::from(held.len) + wire::MESSAGE_COST),
            payload,
        });
    }

    fn owe(&mut self, sn: Sn) {
        if self.owed.is_empty() {
            self.owed_base = sn;
        }
        while sn < self.owed_base {
            self.owed.push_front(false);
            self.owed_base = Sn(self.owed_base.0 - 1);
        }
        let at = usize::try_from(sn.0 - self.owed_base.0).unwrap_or(usize::MAX);
        if self.owed.len() <= at {
            self.owed.resize(at + 1, false);
        }
        self.owed[at] = true;
    }

    /// The user acknowledges a message (A1).
    pub(super) fn ack(&mut self, sn: Sn, rc: i32) -> Result<(), AckError> {
        let at = sn.0.checked_sub(self.owed_base.0).and_then(|at| usize::try_from(at).ok());
        match at.and_then(|at| self.owed.get_mut(at)) {
            Some(owed) if *owed => *owed = false,
            Some(_) | None => return Err(AckError::NotOwed { sn }),
        }
        while self.owed.front() == Some(&false) {
            self.owed.pop_front();
            self.owed_base = self.owed_base.next();
        }
        if self.log_first + self.log.len() as u64 > self.log_shown
            && let Some(last) = self.log.back_mut()
            && last.rc == rc
            && last.sn.0 + u64::from(last.count) == sn.0
            && last.count < u32::MAX
        {
            last.count += 1;
            return Ok(());
        }
        self.log.push_back(CompletionRecord { sn, count: 1, rc });
        Ok(())
    }

    /// The user gives a message back. Says whether the peer should be told at once.
    pub(super) fn release(&mut self, token: CreditToken) -> bool {
        if !token.is_of(self.account) {
            return false;
        }
        self.grants[token.priority() as usize].release(token.cost) && !self.frozen
    }

    // ---- fragments ----

    /// Where the body of a fragment should be read to.
    pub(super) fn begin_fragment(
        &mut self,
        path: PathId,
        conn: ConnId,
        head: &FragmentHead,
        len: u32,
        offered: Option<R>,
    ) -> Result<Placement<R>, Reason> {
        if self.known(head.sn)? {
            return Ok(Placement::Discard);
        }
        if let Some(assembly) = self.assemblies.get_mut(&head.sn) {
            let first = assembly.head;
            if (first.total, first.stream, first.ssn, first.flags)
                != (head.total, head.stream, head.ssn, head.flags)
            {
                return Err(Reason::ProtocolError);
            }
            return Ok(assembly.place(path, conn, head.offset, len));
        }
        let Some(buffer) = offered else {
            if u64::from(head.total) > self.max_message {
                return Err(Reason::Limit);
            }
            return Ok(Placement::NeedBuffer);
        };
        self.charge(head.flags, u64::from(head.total))?;
        let mut assembly = Assembly {
            head: *head,
            buffer,
            have: Vec::new(),
            claims: Vec::new(),
            asides: Vec::new(),
            assembling: false,
        };
        let placement = assembly.place(path, conn, head.offset, len);
        self.assemblies.insert(head.sn, assembly);
        Ok(placement)
    }

    /// The body of a fragment is where [`Self::begin_fragment`] said. True: the message must be built from its parts.
    pub(super) fn handle_fragment<S>(
        &mut self,
        claim: (PathId, ConnId),
        sn: Sn,
        offset: u32,
        len: u32,
        events: &mut Events<S, R>,
    ) -> Result<bool, Reason> {
        let Some(assembly) = self.assemblies.get_mut(&sn) else { return Ok(false) };
        let before = assembly.claims.len();
        assembly.claims.retain(|c| *c != (claim.0, claim.1, offset, len));
        if assembly.claims.len() == before {
            return Err(Reason::ProtocolError);
        }
        add_range(&mut assembly.have, offset, len);
        self.settle(sn, events)
    }

    /// The body of a fragment is in a buffer of its own. True: the message must be built from its parts.
    pub(super) fn handle_aside<S>(
        &mut self,
        sn: Sn,
        offset: u32,
        len: u32,
        payload: R,
        events: &mut Events<S, R>,
    ) -> Result<bool, Reason> {
        let Some(assembly) = self.assemblies.get_mut(&sn) else { return Ok(false) };
        if covered(&assembly.have, offset, len) || assembly.asides.iter().any(|a| a.0 == offset && a.1 == len)
        {
            return Ok(false);
        }
        assembly.asides.push((offset, len, payload));
        self.settle(sn, events)
    }

    fn settle<S>(&mut self, sn: Sn, events: &mut Events<S, R>) -> Result<bool, Reason> {
        let Some(assembly) = self.assemblies.get_mut(&sn) else { return Ok(false) };
        let total = assembly.head.total;
        if covered(&assembly.have, 0, total) {
            let Some(assembly) = self.assemblies.remove(&sn) else { return Ok(false) };
            self.whole(&assembly.head, assembly.buffer, events)?;
            return Ok(false);
        }
        let mut all = assembly.have.clone();
        for (offset, len, _) in &assembly.asides {
            add_range(&mut all, *offset, *len);
        }
        Ok(covered(&all, 0, total) && !std::mem::replace(&mut assembly.assembling, true))
    }

    fn whole<S>(&mut self, head: &FragmentHead, payload: R, events: &mut Events<S, R>) -> Result<(), Reason> {
        let held = Held { sn: head.sn, flags: head.flags, len: head.total, payload: Some(payload) };
        self.arrive(head.stream, head.ssn, held, events)
    }

    /// The parts of a message that must be copied together.
    pub(super) fn parts(&self, sn: Sn) -> Option<Parts<R>> {
        let assembly = self.assemblies.get(&sn)?;
        Some(Parts {
            total: assembly.head.total,
            base: assembly.buffer.clone(),
            ranges: assembly.have.clone(),
            asides: assembly.asides.clone(),
        })
    }

    /// The parts have been copied together.
    pub(super) fn handle_assembled<S>(
        &mut self,
        sn: Sn,
        payload: R,
        events: &mut Events<S, R>,
    ) -> Result<(), Reason> {
        match self.assemblies.remove(&sn) {
            Some(assembly) => self.whole(&assembly.head, payload, events),
            None => Ok(()),
        }
    }

    // ---- feedback ----

    /// What has arrived, and what the peer may send: absolute values, so that repeating them is harmless.
    pub(super) fn receipt(&mut self) -> Receipt {
        if !self.frozen {
            self.grants.iter_mut().for_each(Grant::announce);
        }
        let [normal, high] = &self.grants;
        Receipt {
            cumulative: self.cumulative,
            credit: normal.announced(),
            high_credit: high.is_open().then(|| high.announced()),
            completions_seen: self.completions_seen,
            gaps: self.gaps(),
            paths: Vec::new(),
        }
    }

    fn gaps(&self) -> Vec<(Sn, Sn)> {
        let mut gaps: Vec<(Sn, Sn)> = Vec::new();
        for (k, here) in self.above.iter().enumerate() {
            if !here {
                continue;
            }
            let sn = Sn(self.cumulative.0 + 1 + k as u64);
            let full = gaps.len() == wire::MAX_GAPS;
            match gaps.last_mut() {
                Some(last) if last.1.next() == sn => last.1 = sn,
                Some(_) | None if full => break,
                Some(_) | None => gaps.push((sn, sn)),
            }
        }
        gaps
    }

    /// Whether messages of the peer are missing below others.
    pub(super) fn has_gaps(&self) -> bool {
        !self.above.is_empty() || !self.assemblies.is_empty()
    }

    /// Whether the user owes acknowledgments.
    pub(super) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether acknowledgments wait to be sent.
    pub(super) fn completions_due(&self) -> bool {
        self.log_sent < self.log_first + self.log.len() as u64
    }

    /// Whether acknowledgments were sent, or wait to be, that the peer has not confirmed.
    pub(super) fn unconfirmed(&self) -> bool {
        !self.log.is_empty()
    }

    /// The next acknowledgments to send.
    pub(super) fn completions(&mut self) -> Completions {
        let from = usize::try_from(self.log_sent - self.log_first).unwrap_or(usize::MAX);
        let records: Vec<_> = self.log.iter().skip(from).take(wire::MAX_COMPLETIONS).copied().collect();
        let first = self.log_sent;
        self.log_sent += records.len() as u64;
        self.log_shown = self.log_shown.max(self.log_sent);
        Completions { first, records }
    }

    /// What was sent and not confirmed may be lost: it goes again.
    pub(super) fn rewind_completions(&mut self) {
        self.log_sent = self.log_first;
    }

    /// The peer has taken the records up to here.
    pub(super) fn confirm(&mut self, seen: u64) -> Result<(), Reason> {
        if seen >= self.log_shown {
            return Err(Reason::ProtocolError);
        }
        while self.log_first <= seen && self.log.pop_front().is_some() {
            self.log_first += 1;
        }
        self.log_sent = self.log_sent.max(self.log_first);
        Ok(())
    }
}

impl<R: Clone> Assembly<R> {
    fn place(&mut self, path: PathId, conn: ConnId, offset: u32, len: u32) -> Placement<R> {
        let overlaps = |o: u32, l: u32| offset < o + l && o < offset + len;
        if self.assembling || covered(&self.have, offset, len) {
            return Placement::Discard;
        }
        let mine = (path, conn, offset, len);
        if self.claims.contains(&mine) {
            // One connection reads one fragment at a time: it never finished the former one.
            return Placement::Into(self.buffer.clone());
        }
        if self.claims.iter().any(|c| overlaps(c.2, c.3))
            || self.have.iter().any(|h| overlaps(h.0, h.1 - h.0))
        {
            return Placement::Aside;
        }
        self.claims.push(mine);
        Placement::Into(self.buffer.clone())
    }
}

/// Adds `[offset, offset + len)` to a list of (start, end) ranges.
fn add_range(ranges: &mut Vec<(u32, u32)>, offset: u32, len: u32) {
    let (mut start, mut end) = (offset, offset + len);
    ranges.retain(|r| {
        let apart = r.1 < start || r.0 > end;
        if !apart {
            start = start.min(r.0);
            end = end.max(r.1);
        }
        apart
    });
    let at = ranges.partition_point(|r| r.0 < start);
    ranges.insert(at, (start, end));
}

fn covered(ranges: &[(u32, u32)], offset: u32, len: u32) -> bool {
    ranges.iter().any(|r| r.0 <= offset && offset + len <= r.1)
}

/// Class of a message with these item flags.
fn class_of(flags: u8) -> Priority {
    if flags & item::HIGH == 0 { Priority::Normal } else { Priority::High }
}
