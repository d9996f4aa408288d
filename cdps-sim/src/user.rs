//! The users of ports: what they send, how they acknowledge and release, what they do in the middle (`verbs`), and what they answer
//! (`questions`).

mod questions;
mod verbs;

use std::collections::BTreeMap;

use cdps_core::id::{Generation, NodeId, Side, Sn};
use cdps_core::port::{ConnStatus, CreditToken, Event, Link, Outbound, QuestionId, SendError, State};
use cdps_core::reason::Reason;
use cdps_core::time::{Duration, nanos};

use crate::broken::Broken;
use crate::env::{Env, MS, SECOND, note};
use crate::host::{Host, HostEvent, Slot};
use crate::mutate::{self, Fate};
use crate::oracle::Delivery;
use crate::payload::{Received, SentHandle};
use crate::plan::HESITATION;
use crate::rules::Invariant;
use crate::script::Act;

/// Something that a user set out to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// Send what is due.
    Produce,
    /// Acknowledge a message.
    Ack { generation: Generation, sn: Sn },
    /// Say which backup the port is to use: what the user says, and what the engine hears.
    Choose { question: QuestionId, node: Option<NodeId>, heard: Option<NodeId> },
    /// Say whether a target was fenced.
    Fence { question: QuestionId, generation: Generation, done: bool },
    /// Give a message back.
    Release(u64),
    /// Give back all the bulk that was kept (M11).
    Sell,
    /// Look at the port's state and see what should be done.
    Tick,
    /// Do what the plan says.
    Verb(usize),
    /// Do what the script says.
    Act(Act),
}

/// What a user keeps.
#[derive(Debug)]
pub(crate) struct User {
    born: u64,
    pub(crate) next_send: usize,
    pub(crate) held: BTreeMap<u64, (CreditToken, Received)>,
    holds: u64,
    /// Since when it keeps all bulk (M11).
    pub(crate) hoards_since: Option<u64>,
    /// Whether it has had enough of that.
    pub(crate) sold: bool,
    stash: Option<Event<SentHandle, Received>>,
    /// Not before this moment is the port connected again.
    resume_at: u64,
    /// Target that is tried next.
    turn: usize,
    finishing: bool,
    closing: bool,
    /// The user has been told that the port is down and drained.
    knows_drained: bool,
    /// So long it waits for the target to come back.
    patient_until: u64,
    stalled: u32,
    revoked: bool,
    ticking: bool,
    /// A target's user has closed gracefully: when that must be over.
    closes_by: Option<u64>,
    /// It was over in time.
    closed_in_time: bool,
}

impl User {
    pub(crate) fn new(born: u64) -> User {
        User {
            born,
            next_send: 0,
            held: BTreeMap::new(),
            holds: 0,
            hoards_since: None,
            sold: false,
            stash: None,
            resume_at: 0,
            turn: 0,
            finishing: false,
            closing: false,
            knows_drained: false,
            patient_until: 0,
            stalled: 0,
            revoked: false,
            ticking: false,
            closes_by: None,
            closed_in_time: false,
        }
    }

    pub(crate) fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }

    /// A callback may take long, but not for ever.
    pub(crate) fn may_stall(&mut self) -> bool {
        self.stalled += 1;
        self.stalled <= 3
    }

    pub(crate) fn revoke(&mut self) {
        self.revoked = true;
    }

    /// The run is over: take the port down in an orderly way.
    pub(crate) fn finish(&mut self) {
        self.finishing = true;
        self.resume_at = 0;
    }
}

impl Slot {
    pub(crate) fn sends<'a>(&self, host: &'a Host) -> &'a [crate::plan::Send] {
        match self.side {
            Side::Source => &host.plan.sources[self.plan].up,
            Side::Target if self.born.counter <= 3 => &host.plan.sources[self.plan].down,
            Side::Target => &[],
        }
    }
}

impl Host {
    /// The callback thread hands an event to the user.
    pub(crate) fn user_event(&mut self, env: &mut Env, slot: usize, event: Event<SentHandle, Received>) {
        let stashed = self.slots[slot].as_mut().and_then(|s| s.user.stash.take());
        match mutate::event(env, event) {
            Fate::Lose => {}
            Fate::Pass(event) => self.take_event(env, slot, event),
            Fate::Twice(event) => {
                let Event::Nacked { sn, payload, .. } = &event else { return };
                let (sn, payload) = (*sn, payload.clone());
                self.take_event(env, slot, event);
                self.take_event(env, slot, Event::Completed { sn, rc: 0, payload });
            }
            Fate::Later(event) => {
                if let Some(s) = self.slots[slot].as_mut() {
                    s.user.stash = Some(event);
                }
            }
        }
        if let Some(event) = stashed {
            self.take_event(env, slot, event);
        }
    }

    fn take_event(&mut self, env: &mut Env, slot: usize, event: Event<SentHandle, Received>) {
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let flow = s.flow_told();
        env.record_event(node, s.port.state(), &event);
        match event {
            Event::Completed { sn, rc, payload } => {
                note!(env, "n{node} p{slot}: user: {sn} completed, rc {rc}");
                env.oracle.completed(flow, sn, rc, &payload);
            }
            Event::Nacked { sn, reason, certainty, payload } => {
                note!(env, "n{node} p{slot}: user: {sn} nacked: {reason}, {certainty:?}");
                env.oracle.nacked(flow, sn, reason, certainty, &payload);
            }
            Event::Done { .. } => {}
            Event::Received(message) => self.received(env, slot, message),
            Event::Status(status) => {
                note!(env, "n{node} p{slot}: user: {status:?}");
                if s.side == Side::Source {
                    env.oracle.status(s.session, &status);
                    if let ConnStatus::Switched { generation, .. }
                    | ConnStatus::Connected { generation, .. } = status
                    {
                        env.taken_over = Some((s.session, generation));
                    }
                }
                self.status(env, slot, &status);
            }
            Event::Flow { on, reason, bytes, messages } => {
                note!(
                    env,
                    "n{node} p{slot}: user: flow {on} ({reason:?}): {bytes} bytes, {messages} messages"
                );
                if std::mem::replace(&mut s.held_back, on) == on {
                    env.oracle.fail(
                        Invariant::Flow,
                        format!("{}: told twice that flow control is {on}", s.session),
                    );
                }
            }
            Event::Overdue { sn, stream, waited } => {
                note!(env, "n{node} p{slot}: user: {sn} of stream {stream} is overdue: {waited:?}");
                env.oracle.overdue(flow, sn, stream, nanos(waited));
            }
            Event::Question(question) => self.question(env, slot, &question),
            Event::Resolved { sn, verdict } => {
                note!(env, "n{node} p{slot}: user: {sn} is resolved: {verdict:?}");
                env.oracle.resolved(s.session, sn, verdict);
            }
            Event::Path { path, health, reason } => {
                note!(env, "n{node} p{slot}: user: path {path} is {health:?}: {reason}");
                if s.side == Side::Source {
                    env.oracle.path(s.session, path, health, reason);
                }
            }
        }
    }

    fn received(&mut self, env: &mut Env, slot: usize, message: cdps_core::port::Received<Received>) {
        let users = self.plan.hosts[self.index].users.clone();
        let node = self.node();
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let (wants_ack, redelivered) = (message.wants_ack(), message.redelivered());
        let cdps_core::port::Received { sn, stream, ssn, generation, flags: _, credit, payload } = message;
        note!(env, "n{node} p{slot}: user: got {sn} stream {stream} ssn {ssn} generation {generation}");
        env.oracle.delivered(Delivery {
            flow: s.flow_in(generation),
            generation,
            node,
            sn,
            stream,
            ssn,
            bytes: &payload.bytes.borrow(),
            redelivered,
            wants_ack,
        });
        let hoards = self.hoards(env, slot, credit.priority());
        let Some(s) = self.slots[slot].as_mut() else { return };
        if hoards {
            s.user.holds += 1;
            s.user.held.insert(s.user.holds, (credit, payload));
        } else if env.rng.chance(users.retain) && (s.user.hoards_since.is_none() || s.user.sold) {
            s.user.holds += 1;
            let id = s.user.holds;
            s.user.held.insert(id, (credit, payload));
            let wait = env.rng.below(users.retain_for + 1);
            self.later(env, wait, HostEvent::User { slot, what: Errand::Release(id) });
        } else {
            drop(payload);
            if env.broken != Some(Broken::CreditLeak) {
                s.port.release(now, credit);
            }
        }
        if wants_ack && !self.plan.script.as_ref().is_some_and(|script| script.holds(node, sn)) {
            let hesitates = users.hesitate > 0 && env.rng.chance(users.hesitate);
            let hesitation = if hesitates { env.rng.within(HESITATION / 8, HESITATION) } else { 0 };
            let wait = env.rng.below(users.ack_delay + 1) + hesitation;
            if wait == 0 {
                self.ack(env, slot, generation, sn);
            } else {
                self.later(env, wait, HostEvent::User { slot, what: Errand::Ack { generation, sn } });
            }
        }
    }

    fn ack(&mut self, env: &mut Env, slot: usize, generation: Generation, sn: Sn) {
        let rc = match &self.plan.script {
            Some(_) => self.node().0 as i32,
            None if env.rng.chance(70) => 0,
            None => env.rng.below(5) as i32 - 2,
        };
        self.answer_with(env, slot, generation, sn, rc);
    }

    pub(crate) fn answer_with(
        &mut self,
        env: &mut Env,
        slot: usize,
        generation: Generation,
        sn: Sn,
        rc: i32,
    ) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let late = s.port.generation() != generation;
        match s.port.ack(now, sn, rc) {
            Ok(()) if late => {
                let text = format!(
                    "p{slot} of {}: an ack of generation {generation} was taken for another",
                    s.session
                );
                env.oracle.fail(Invariant::NoFalseCompletion, text);
            }
            Err(_) if late => {}
            Ok(()) => {
                note!(env, "n{node} p{slot}: user: acknowledges {sn} with {rc}");
                env.record(node, s.port.state(), || format!("ack {sn}"));
                env.oracle.answered(s.flow_in(generation), generation, sn, rc);
            }
            Err(e) => {
                if s.side == Side::Target && s.port.state() == State::ConnectedTo && !s.user.revoked {
                    env.oracle.fail(Invariant::Sanity, format!("p{slot} of {}: ack refused: {e}", s.session));
                }
            }
        }
    }

    fn status(&mut self, env: &mut Env, slot: usize, status: &ConnStatus) {
        let Some(s) = self.slots[slot].as_mut() else { return };
        match status {
            ConnStatus::Closed { reason } => {
                if *reason == Reason::Closed && s.user.closed_in_time {
                    env.oracle.closed_well(s.flow_in(s.born), s.born);
                }
                env.oracle.hold(s.flow_out(), false);
                s.user.closing = false;
                s.user.ticking = false;
                self.want_tick(env, slot);
            }
            ConnStatus::ConnectFailed { reason, .. } => {
                env.oracle.hold(s.flow_out(), false);
                s.user.turn += 1;
                if *reason == Reason::RoleTaken {
                    // While anything may still happen to the other one, it is worth trying again, now and then.
                    let again = env.now + env.rng.within(100 * MS, 1000 * MS);
                    let worth = again < self.plan.quiet_at || s.user.finishing;
                    s.user.resume_at = if worth { again } else { u64::MAX };
                }
            }
            ConnStatus::Drained => {
                s.user.knows_drained = true;
                let patience = if env.rng.chance(60) { 12 * SECOND } else { 0 };
                s.user.patient_until = env.now + env.rng.below(patience + 1);
            }
            ConnStatus::Reset { generation } => s.told = *generation,
            ConnStatus::Recovered { .. } => s.user.knows_drained = false,
            ConnStatus::Down { .. } => s.user.knows_drained = false,
            ConnStatus::Connected { .. } | ConnStatus::Switching { .. } | ConnStatus::Switched { .. } => {}
            // Until then it was asking.
            ConnStatus::SwitchFailed { .. } => s.came_up = env.now,
        }
    }

    /// The engine may have ended the session that its user is closing.
    pub(crate) fn see_closed(&mut self, env: &Env, slot: usize) {
        if let Some(s) = self.slots[slot].as_mut()
            && let Some(by) = s.user.closes_by
            && s.port.state() != State::ConnectedTo
        {
            s.user.closes_by = None;
            s.user.closed_in_time = env.now < by;
        }
    }

    fn want_tick(&mut self, env: &mut Env, slot: usize) {
        let Some(s) = self.slots[slot].as_mut() else { return };
        if !s.user.ticking {
            s.user.ticking = true;
            let wait = env.rng.within(MS, 100 * MS);
            self.later(env, wait, HostEvent::User { slot, what: Errand::Tick });
        }
    }

    /// Does what a user set out to do.
    pub(crate) fn errand(&mut self, env: &mut Env, slot: usize, what: Errand) {
        if self.slots[slot].is_none() {
            return;
        }
        match what {
            Errand::Produce => self.produce(env, slot),
            Errand::Ack { generation, sn } => self.ack(env, slot, generation, sn),
            Errand::Choose { question, node, heard } => self.choose(env, slot, question, node, heard),
            Errand::Fence { question, generation, done } => {
                let now = self.clock(env);
                if let Some(s) = self.slots[slot].as_mut() {
                    let taken = s.port.fenced(now, question, done);
                    note!(env, "p{slot}: user: fenced {done}: {taken:?}");
                    if done && taken.is_ok() {
                        env.oracle.fenced(s.session, generation);
                    }
                }
            }
            Errand::Release(id) => {
                let now = self.clock(env);
                if let Some(s) = self.slots[slot].as_mut()
                    && let Some((credit, payload)) = s.user.held.remove(&id)
                {
                    drop(payload);
                    if env.broken != Some(Broken::CreditLeak) {
                        s.port.release(now, credit);
                    }
                }
            }
            Errand::Sell => self.sell(env, slot),
            Errand::Tick => self.tick(env, slot),
            Errand::Verb(n) => self.verb(env, slot, n),
            Errand::Act(act) => self.act(env, slot, act),
        }
    }

    fn produce(&mut self, env: &mut Env, slot: usize) {
        for _ in 0..64 {
            let Some(s) = self.slots[slot].as_ref() else { return };
            let Some(next) = s.sends(self).get(s.user.next_send).copied() else { return };
            let due = s.user.born + next.at;
            if s.user.finishing {
                return;
            }
            if due > env.now {
                self.later(env, due.saturating_sub(env.now), HostEvent::User { slot, what: Errand::Produce });
                return;
            }
            let wait = match self.send(env, slot, next) {
                Ok(_) => None,
                Err(e) if e.is_again() => Some(env.rng.within(MS / 10, 20 * MS)),
                Err(SendError::State(_) | SendError::Down | SendError::Closing)
                    if env.now < self.plan.quiet_at && self.may_send_again(slot) =>
                {
                    Some(env.rng.within(10 * MS, 100 * MS))
                }
                Err(_) => None,
            };
            if let Some(wait) = wait {
                self.later(env, wait, HostEvent::User { slot, what: Errand::Produce });
                return;
            }
            if let Some(s) = self.slots[slot].as_mut() {
                s.user.next_send += 1;
            }
        }
        let wait = env.rng.below(MS / 10);
        self.later(env, wait, HostEvent::User { slot, what: Errand::Produce });
    }

    fn may_send_again(&self, slot: usize) -> bool {
        self.slots[slot]
            .as_ref()
            .is_some_and(|s| s.side == Side::Source && s.port.state() != State::Destroyed)
    }

    pub(crate) fn send(
        &mut self,
        env: &mut Env,
        slot: usize,
        next: crate::plan::Send,
    ) -> Result<Sn, SendError> {
        let now = self.clock(env);
        let contract = self.contract(env, slot, next.stream);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return Err(SendError::Closing) };
        env.payloads += 1;
        let changes = next.changes.map(|(after, at)| (env.now + after, at));
        let payload = SentHandle::new(env.payloads, next.len, changes);
        let deadline = next.deadline.map(Duration::from_nanos);
        let lost = deadline.is_some() && env.broken == Some(Broken::NoDeadline);
        let message = Outbound {
            stream: next.stream,
            len: next.len,
            ack: next.ack,
            deadline: deadline.filter(|_| !lost),
            barrier: next.barrier && env.broken != Some(Broken::NoBarrier),
            payload: payload.clone(),
        };
        let model = next.ack.or(contract.ack).unwrap_or(s.port.config().ack);
        s.note_told();
        match s.port.send(now, message) {
            Ok(sn) => {
                note!(
                    env,
                    "n{node} p{slot}: user: sends {sn} stream {} {} bytes {model:?} within {deadline:?} barrier {}",
                    next.stream,
                    next.len,
                    next.barrier
                );
                let up = matches!(s.port.link(), Link::Up | Link::Switching);
                env.oracle.accepted(s.flow_out(), sn, next.stream, model, &payload, up);
                env.oracle.limited(s.flow_out(), sn, next.deadline);
                env.broke += u64::from(lost);
                if next.barrier {
                    env.oracle.barrier(s.flow_out(), sn);
                    env.broke += u64::from(env.broken == Some(Broken::NoBarrier));
                }
                env.oracle.late_after(s.flow_out(), s.port.config().user_ack_timeout.map(nanos));
                let held = s.port.stats().unfinished_bytes;
                if held > s.port.config().send_buffer_max {
                    env.oracle
                        .fail(Invariant::Memory, format!("p{slot}: {held} bytes unfinished at the source"));
                }
                Ok(sn)
            }
            Err(refused) => {
                let (e, given_back) = *refused;
                if given_back.id != payload.id {
                    env.oracle.fail(
                        Invariant::OneEnd,
                        format!("p{slot}: a refused send gave back another payload"),
                    );
                }
                Err(e)
            }
        }
    }
}
