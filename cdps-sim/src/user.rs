//! The users of ports: what they send, how they acknowledge and release, and what they do in the middle.

use std::collections::BTreeMap;
use std::rc::Rc;

use cdps_core::config::PortConfig;
use cdps_core::id::{Generation, NodeId, Side, Sn};
use cdps_core::port::{
    Asked, ChoiceError, ConnStatus, CreditToken, Event, Link, Outbound, Question, QuestionId, SendError,
    State,
};
use cdps_core::reason::Reason;
use cdps_core::time::{Duration, nanos};

use crate::broken::Broken;
use crate::env::{Env, MS, SECOND, note};
use crate::host::{Host, HostEvent, Slot};
use crate::mutate::{self, Fate};
use crate::net::Machine;
use crate::oracle::Delivery;
use crate::payload::{Received, SentHandle};
use crate::plan::{HESITATION, Verb};
use crate::rules::{Invariant, Promise};
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

impl Verb {
    /// The target's user does it.
    pub(crate) fn is_targets(self) -> bool {
        match self {
            Verb::TargetClose { .. } | Verb::TargetDestroy => true,
            Verb::Suspend(side) | Verb::Resume(side) => side == Side::Target,
            Verb::Stop | Verb::Close { .. } | Verb::ConnectAgain | Verb::Switch | Verb::Destroy => false,
            Verb::RemoveAddress | Verb::AddAddress | Verb::Reconfigure => false,
        }
    }
}

/// States in which traffic may be held (L7).
fn may_hold(state: State) -> bool {
    matches!(state, State::Connecting | State::Connected | State::ConnectedTo)
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

    /// The user is asked which backup to use, and answers after a while, or not, or with what does not help.
    fn question(&mut self, env: &mut Env, slot: usize, question: &Question) {
        let vague = self.plan.hosts[self.index].users.vague;
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        env.oracle.asked(s.session, question);
        if !s.port.is_asked(question.id) {
            return;
        }
        note!(env, "n{node} p{slot}: user: asked {question:?}");
        let (failed, candidates) = match &question.what {
            Asked::Backup { failed, candidates, .. } => (failed, candidates),
            Asked::Fence { node, generation, .. } => {
                return self.fence(env, slot, question.id, (*node, *generation));
            }
        };
        let mut answer = Some(env.rng.pick(candidates));
        if env.rng.chance(vague) {
            match env.rng.below(3) {
                0 => return,
                1 => answer = None,
                _ => answer = Some(*failed),
            }
        }
        let wait = env.rng.magnitude(MS / 10, 500 * MS);
        let mut heard = answer;
        if env.broken == Some(Broken::OtherBackup)
            && let Some(other) = candidates.iter().find(|node| Some(**node) != answer)
        {
            heard = Some(*other);
            env.broke += 1;
        }
        let what = Errand::Choose { question: question.id, node: answer, heard };
        self.later(env, wait, HostEvent::User { slot, what });
    }

    /// The user is asked to fence a node: it can say so if the process is dead.
    fn fence(
        &mut self,
        env: &mut Env,
        slot: usize,
        question: QuestionId,
        (node, generation): (NodeId, Generation),
    ) {
        let host = self.plan.hosts.iter().position(|h| h.node == node);
        let dead = host.is_some_and(|host| env.net.machines[host] != Machine::Up);
        let lies = env.broken == Some(Broken::HastyFence) && !dead;
        env.broke += u64::from(lies);
        let what = Errand::Fence { question, generation, done: dead || lies };
        let wait = env.rng.magnitude(MS / 10, 1000 * MS);
        self.later(env, wait, HostEvent::User { slot, what });
    }

    fn choose(
        &mut self,
        env: &mut Env,
        slot: usize,
        question: QuestionId,
        node: Option<NodeId>,
        heard: Option<NodeId>,
    ) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let taken = s.port.choose_backup(now, question, heard);
        note!(env, "n{} p{slot}: user: chooses {node:?}: {taken:?}", self.plan.hosts[self.index].node);
        match taken {
            Ok(()) => env.oracle.chose(s.session, node),
            Err(ChoiceError::Over | ChoiceError::NotACandidate { .. }) => {}
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

    /// Looks at the port's state and does what is next.
    fn tick(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        s.user.ticking = false;
        if s.side == Side::Source && self.plan.script.is_some() && !s.user.finishing {
            return self.want_tick(env, slot);
        }
        // A user that acts before it has heard everything makes its own order; this one listens first.
        if env.now < s.user.resume_at || (s.side == Side::Source && s.has_events()) {
            self.want_tick(env, slot);
            return;
        }
        match (s.side, s.port.state()) {
            (_, State::Destroyed) => return,
            (Side::Target, State::Registered) => {
                let unregistered = if env.rng.chance(50) { s.port.unregister(now) } else { Ok(()) };
                if let Err(e) = unregistered.and_then(|()| s.port.destroy(now)) {
                    env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
                }
                return;
            }
            (Side::Target, _) => return,
            (Side::Source, State::Initialized) if s.user.finishing => {
                if let Err(e) = s.port.unregister(now).and_then(|()| s.port.destroy(now)) {
                    env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
                }
                return;
            }
            (Side::Source, State::Connected | State::Stopped | State::Connecting) if s.user.finishing => {
                self.close_down(env, slot);
            }
            (Side::Source, State::Connected | State::Stopped)
                if s.port.link() != Link::Up && env.now < s.user.patient_until => {}
            (Side::Source, State::Stopped)
                if s.port.link() == Link::Up && !s.user.closing && env.rng.chance(40) =>
            {
                note!(env, "n{} p{slot}: user: resets", self.plan.hosts[self.index].node);
                s.user.patient_until = env.now + env.rng.below(12 * SECOND);
                env.oracle.connecting(s.session);
                // Refused if it is being closed.
                let _ = s.port.reset(now);
            }
            (Side::Source, State::Initialized | State::Stopped) => self.connect(env, slot),
            (Side::Source, State::Connected) if s.port.link() == Link::Drained && s.user.knows_drained => {
                self.connect(env, slot)
            }
            (Side::Source, _) => {}
        }
        self.want_tick(env, slot);
    }

    fn close_down(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        if s.user.closing && s.port.state() == State::Stopped {
            return;
        }
        s.user.closing = s.port.state() == State::Stopped && s.port.use_count() <= 1;
        note!(
            env,
            "n{} p{slot}: user: closes in {}",
            self.plan.hosts[self.index].node,
            s.port.state().name()
        );
        if let Err(e) = s.port.close(now, false) {
            env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
        }
        self.see_resumed(env, slot, false);
    }

    fn connect(&mut self, env: &mut Env, slot: usize) {
        let now = self.clock(env);
        let plan = Rc::clone(&self.plan);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let source = &plan.sources[s.plan];
        let config: &PortConfig = &source.config;
        if s.port.link() == Link::Drained {
            s.user.turn += env.rng.below(2) as usize;
        }
        let turn = s.user.turn % config.targets.len();
        let to = if turn == 0 { None } else { Some(config.targets[turn].node) };
        note!(env, "n{} p{slot}: user: connects to {to:?} ({turn})", plan.hosts[self.index].node);
        s.user.knows_drained = false;
        // While the user keeps out of it, the faults alone decide what is promised.
        env.oracle.promise(s.session, source.promise(turn));
        env.oracle.connecting(s.session);
        if let Err(e) = s.port.connect(now, to) {
            env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
        }
    }

    fn verb(&mut self, env: &mut Env, slot: usize, n: usize) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let Some((_, verb)) = self.plan.sources[s.plan].verbs.get(n).copied() else { return };
        if verb.is_targets() != (s.side == Side::Target) {
            return;
        }
        if let Verb::Suspend(_) | Verb::Resume(_) = verb {
            return self.hold(env, slot, matches!(verb, Verb::Suspend(_)));
        }
        if verb.changes() {
            return self.change(env, slot, verb);
        }
        if s.side == Side::Source && s.has_events() {
            self.later(env, MS, HostEvent::User { slot, what: Errand::Verb(n) });
            return;
        }
        note!(
            env,
            "n{} p{slot}: user: {verb:?} in {}",
            self.plan.hosts[self.index].node,
            s.port.state().name()
        );
        if s.side == Side::Source {
            env.oracle.promise(s.session, Promise::default());
            s.user.resume_at = env.now + env.rng.below(1000 * MS);
        }
        match verb {
            Verb::TargetClose { immediate: false } if s.port.state() == State::ConnectedTo => {
                // Less what a clock may be wrong by.
                let timeout = nanos(s.port.config().close_timeout) / 100 * 99;
                s.user.closes_by.get_or_insert(env.now + timeout);
            }
            Verb::TargetClose { immediate: true } | Verb::TargetDestroy => s.user.closes_by = None,
            _ => {}
        }
        // What the state does not allow is refused and changes nothing: also worth trying.
        let _ = match verb {
            Verb::Switch => {
                let targets = &s.port.config().targets;
                let to = targets[env.rng.below(targets.len() as u64) as usize].node;
                if s.port.switch(now, to).is_ok() {
                    env.oracle.planned(s.session);
                }
                Ok(())
            }
            Verb::Stop => s.port.stop(now),
            Verb::Close { immediate } | Verb::TargetClose { immediate } => s.port.close(now, immediate),
            Verb::Destroy | Verb::TargetDestroy => s.port.destroy(now),
            Verb::ConnectAgain if s.port.link() == Link::Drained && !s.user.knows_drained => Ok(()),
            Verb::ConnectAgain => {
                env.oracle.connecting(s.session);
                let _ = s.port.connect(now, None);
                Ok(())
            }
            Verb::Suspend(_) | Verb::Resume(_) => Ok(()),
            Verb::RemoveAddress | Verb::AddAddress | Verb::Reconfigure => Ok(()),
        };
        self.see_resumed(env, slot, matches!(verb, Verb::TargetClose { .. }));
    }

    /// Holds traffic, or lets it go. The user need not have heard everything for that.
    fn hold(&mut self, env: &mut Env, slot: usize, hold: bool) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let before = s.port.state();
        let done = match (hold, env.broken) {
            (true, Some(Broken::NoHold)) if may_hold(before) => {
                env.broke += 1;
                Ok(())
            }
            (true, _) => s.port.suspend(),
            (false, _) => s.port.resume(now),
        };
        note!(env, "n{node} p{slot}: user: hold {hold} in {}: {done:?}", before.name());
        match done {
            Ok(()) => env.oracle.hold(s.flow_out(), hold),
            Err(e) if may_hold(before) && s.user.closes_by.is_none() && !s.user.closing => {
                env.oracle.fail(Invariant::Sanity, format!("p{slot}: {e}"));
            }
            Err(_) => {}
        }
    }

    /// Stop and close let go what was held, unless other users of the port remain.
    fn see_resumed(&mut self, env: &mut Env, slot: usize, closes: bool) {
        if let Some(s) = self.slots[slot].as_ref()
            && (closes || !may_hold(s.port.state()))
        {
            env.oracle.hold(s.flow_out(), false);
            if s.port.is_suspended() {
                let text = format!("p{slot} of {}: still suspended in {}", s.session, s.port.state().name());
                env.oracle.fail(Invariant::Held, text);
            }
        }
    }
}
