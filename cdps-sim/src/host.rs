//! One process: a node engine, its ports and connections, and the shuttle work that the real driver does between them.

mod conn;
mod membership;
mod read;
mod session;
mod taken;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use cdps_core::admission::Admission;
use cdps_core::cluster::{ClusterKind, Health, LinkState, PeerState};
use cdps_core::config::{Liveness, Member, NodeConfig};
use cdps_core::id::{ConnId, Generation, Incarnation, NodeId, PathId, SessionId, Side, Sn};
use cdps_core::node::{LinkKey, Node, Output};
use cdps_core::port::{Action, Port, State};
use cdps_core::time::Time;
use cdps_core::wire::{Connect, NodeBody};

use crate::broken::Broken;
use crate::env::{Env, Event, MS, note};
use crate::oracle::FlowKey;
use crate::payload::{Buffer, Meter, Received, SentHandle};
use crate::plan::Plan;
use crate::receipts::Alone;
use crate::rejoin::History;
use crate::rules::Invariant;
use crate::user::User;

pub(crate) use conn::HostConn;

/// The production engine of a port, with this simulator's payloads.
pub(crate) type SimPort = Port<SentHandle, Received>;

/// What happens in a process.
#[derive(Debug)]
pub(crate) enum HostEvent {
    /// A dialled connection is open.
    Connected(usize),
    /// A dial was refused.
    Refused(usize),
    /// The listener has a connection.
    Accepted(usize),
    /// Bytes, the end, or a reset can be read.
    Readable(usize),
    /// There is room to write.
    Writable(usize),
    /// A handshake took too long, or a connection that was shut down lingers.
    Overdue(usize),
    /// A deadline of the engines is due.
    Timer(u64),
    /// The callback thread gets to a port.
    Dispatch(usize),
    /// The target's user decides on a connect request.
    Decide(Box<Connect>),
    /// The parts of a message are put together.
    Assemble { slot: usize, sn: Sn },
    /// The cluster engine with a quorum says how things are.
    Word,
    /// Something that the user of a port set out to do.
    User { slot: usize, what: crate::user::Errand },
}

/// A port and what the driver keeps for it.
pub(crate) struct Slot {
    pub(crate) port: SimPort,
    pub(crate) side: Side,
    pub(crate) session: SessionId,
    /// Target side: the generation that the port was made for, or reset to.
    pub(crate) born: Generation,
    /// Target side: the newest of these that its user has been told of.
    pub(crate) told: Generation,
    /// Source side: the generation in which the link was up last.
    pub(crate) settled: Generation,
    pub(crate) plan: usize,
    pub(crate) user: User,
    /// Links whose state the port is told, per path.
    pub(crate) links: BTreeMap<PathId, LinkKey>,
    pub(crate) conns: BTreeMap<(PathId, ConnId), usize>,
    /// Payload bytes held here, by generation.
    pub(crate) meters: BTreeMap<Generation, Rc<Meter>>,
    pub(crate) dispatching: bool,
    taken: taken::Taken,
    /// The user has been told to hold back.
    pub(crate) held_back: bool,
    /// When a connection came up last.
    pub(crate) came_up: u64,
    /// When its timer ran out the last few times.
    pub(crate) timeouts: [u64; 4],
    /// Deaths and returns of its paths.
    pub(crate) history: History,
    /// Its receipts of late have gone one way.
    pub(crate) alone: Option<Alone>,
    /// Where its paths lead.
    pub(crate) remotes: BTreeMap<PathId, (NodeId, SocketAddr)>,
    /// Addresses that its user has removed.
    pub(crate) removed: BTreeSet<(NodeId, SocketAddr)>,
}

impl Slot {
    pub(crate) fn meter(&mut self, generation: Generation) -> Rc<Meter> {
        Rc::clone(self.meters.entry(generation).or_default())
    }

    /// The flow of what this port sends.
    pub(crate) fn flow_out(&self) -> FlowKey {
        match self.side {
            Side::Source => FlowKey::Up(self.session),
            Side::Target => FlowKey::Down(self.session, self.born),
        }
    }

    /// The flow of what the user was told last that it sends.
    pub(crate) fn flow_told(&self) -> FlowKey {
        match self.side {
            Side::Source => FlowKey::Up(self.session),
            Side::Target => FlowKey::Down(self.session, self.told),
        }
    }

    /// The flow of what this port receives in a generation.
    pub(crate) fn flow_in(&self, generation: Generation) -> FlowKey {
        match self.side {
            Side::Source => FlowKey::Down(self.session, generation),
            Side::Target => FlowKey::Up(self.session),
        }
    }
}

/// Counts the engines' steps, so that one that spins is seen.
#[derive(Debug, Default)]
struct Steps {
    second: u64,
    count: u64,
    at: u64,
    at_once: u64,
}

/// Generations, as on a disk.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// Accepted, by client and source node.
    pub(crate) accepted: BTreeMap<(String, NodeId), Generation>,
    /// Asked for, by the number of the port's plan.
    pub(crate) asked: BTreeMap<usize, Generation>,
}

/// See the module.
pub(crate) struct Host {
    pub(crate) index: usize,
    pub(crate) plan: Rc<Plan>,
    pub(crate) life: u32,
    pub(crate) engine: Option<Node>,
    pub(crate) incarnation: Incarnation,
    pub(crate) frozen: u32,
    /// What came while the process was stopped.
    deferred: Vec<HostEvent>,
    pub(crate) conns: BTreeMap<usize, HostConn>,
    pub(crate) controls: BTreeMap<(LinkKey, u32), usize>,
    pub(crate) slots: Vec<Option<Slot>>,
    /// Highest generation that was accepted, or fenced off, per session.
    pub(crate) highest: BTreeMap<SessionId, Generation>,
    pub(crate) deciding: BTreeMap<SessionId, Generation>,
    /// Whom the clients let in, by name.
    pub(crate) admissions: BTreeMap<String, Admission>,
    /// Clients of other nodes, as far as this one was told of them.
    pub(crate) heard_of: BTreeSet<(NodeId, String)>,
    /// The registration of the clients has taken effect (N3).
    pub(crate) effective: bool,
    /// What outlives the process, if the plan says so.
    pub(crate) kept: Kept,
    timer_at: u64,
    timer_serial: u64,
    steps: Steps,
}

impl Host {
    pub(crate) fn new(index: usize, plan: &Rc<Plan>) -> Host {
        Host {
            index,
            plan: Rc::clone(plan),
            life: 0,
            engine: None,
            incarnation: Incarnation(0),
            frozen: 0,
            deferred: Vec::new(),
            conns: BTreeMap::new(),
            controls: BTreeMap::new(),
            slots: Vec::new(),
            highest: BTreeMap::new(),
            deciding: BTreeMap::new(),
            admissions: BTreeMap::new(),
            heard_of: BTreeSet::new(),
            effective: false,
            kept: Kept::default(),
            timer_at: u64::MAX,
            timer_serial: 0,
            steps: Steps::default(),
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.plan.hosts[self.index].node
    }

    /// What this node's clock shows.
    pub(crate) fn clock(&self, env: &Env) -> Time {
        let me = &self.plan.hosts[self.index];
        let drift = (i128::from(env.now) * i128::from(me.drift) / 1_000_000) as i64;
        Time((me.clock + env.now).saturating_add_signed(drift))
    }

    /// When its clock will show this.
    fn when(&self, time: Time) -> u64 {
        let me = &self.plan.hosts[self.index];
        let shown = time.0.saturating_sub(me.clock);
        let guess = (i128::from(shown) * 1_000_000 / i128::from(1_000_000 + me.drift)) as u64;
        if me.drift == 0 { guess } else { guess + 2 }
    }

    /// Starts the process: the node is opened, its source ports are created.
    pub(crate) fn open(&mut self, env: &mut Env) {
        let plan = Rc::clone(&self.plan);
        let me = &plan.hosts[self.index];
        self.life = env.net.lives[self.index];
        self.incarnation = Incarnation(env.rng.next() | 1);
        let members = plan.hosts.iter().enumerate().filter(|(_, h)| h.target != me.target);
        let members = members
            .map(|(_, h)| Member {
                node: h.node,
                addresses: if me.target && !plan.mutual { Vec::new() } else { h.addresses.clone() },
            })
            .collect();
        let mut liveness = plan.liveness.clone();
        slow_down(env, &mut liveness);
        let config =
            NodeConfig { node: me.node, local: Vec::new(), members, cluster: plan.cluster, liveness };
        let seed = env.rng.next();
        match Node::new(config, self.incarnation, self.clock(env), seed) {
            Ok(node) => self.engine = Some(node),
            Err(e) => env.oracle.fail(Invariant::Sanity, format!("node {} was not opened: {e}", me.node)),
        }
        note!(env, "n{}: opened as incarnation {:x}", me.node, self.incarnation.0);
        for number in 0..plan.sources.len() {
            if plan.sources[number].host == self.index {
                self.create_source(env, number);
            }
        }
        if plan.cluster == ClusterKind::Quorate && env.now > 0 {
            let wait = env.rng.below(100 * MS);
            self.later(env, wait, HostEvent::Word);
        }
        self.pump(env);
    }

    /// Ends the process without a word.
    pub(crate) fn kill(&mut self, env: &mut Env) {
        for slot in self.slots.iter().flatten() {
            env.oracle.void(slot.flow_told(), slot.flow_out());
        }
        let keeps = self.plan.keeps;
        if !keeps {
            env.oracle.forget_roles(self.node());
        }
        let forgets = env.broken == Some(Broken::Forgetful);
        env.broke += u64::from(keeps && forgets);
        let kept = if keeps && !forgets { std::mem::take(&mut self.kept) } else { Kept::default() };
        *self = Host { frozen: self.frozen, kept, ..Host::new(self.index, &Rc::clone(&self.plan)) };
    }

    /// Stops the process, or lets it go on.
    pub(crate) fn freeze(&mut self, env: &mut Env, freeze: bool) {
        if freeze {
            self.frozen += 1;
            return;
        }
        self.frozen -= 1;
        if self.frozen > 0 || self.engine.is_none() {
            return;
        }
        let mut events = std::mem::take(&mut self.deferred);
        // Which thread runs first is chance: the callbacks, the timers or the readers.
        let first = env.rng.below(3);
        events.sort_by_key(|e| match e {
            HostEvent::Timer(_) => u8::from(first != 0),
            HostEvent::Dispatch(_) | HostEvent::User { .. } => u8::from(first != 1) * 2,
            _ => 1,
        });
        for event in events {
            self.handle(env, event);
        }
    }

    /// Something happened in this process.
    pub(crate) fn handle(&mut self, env: &mut Env, event: HostEvent) {
        if self.engine.is_none() {
            return;
        }
        if self.frozen > 0 {
            self.deferred.push(event);
            return;
        }
        let dispatch = matches!(event, HostEvent::Dispatch(_));
        match event {
            HostEvent::Connected(conn) => self.connected(env, conn),
            HostEvent::Refused(conn) => self.lost(env, conn, cdps_core::reason::Reason::DialFailed),
            HostEvent::Accepted(conn) => self.accepted(env, conn),
            HostEvent::Readable(conn) => self.readable(env, conn),
            HostEvent::Writable(conn) => self.writable(env, conn),
            HostEvent::Overdue(conn) => self.overdue(env, conn),
            HostEvent::Timer(serial) => self.timer(env, serial),
            HostEvent::Dispatch(slot) => self.dispatch(env, slot),
            HostEvent::Decide(connect) => self.decide(env, &connect),
            HostEvent::Assemble { slot, sn } => self.assemble(env, slot, sn),
            HostEvent::Word => self.word(env),
            HostEvent::User { slot, what } => self.errand(env, slot, what),
        }
        if self.pump(env) || !dispatch {
            for slot in 0..self.slots.len() {
                self.want_dispatch(env, slot);
            }
        }
    }

    /// Queues an event of this process.
    pub(crate) fn later(&self, env: &mut Env, after: u64, event: HostEvent) {
        env.at(env.now + after, Event::Host { host: self.index, life: self.life, event });
    }

    fn timer(&mut self, env: &mut Env, serial: u64) {
        if serial != self.timer_serial {
            return;
        }
        self.timer_at = u64::MAX;
        self.count_step(env);
        let now = self.clock(env);
        if let Some(node) = self.engine.as_mut()
            && node.poll_timeout() <= now
        {
            node.handle_timeout(now);
        }
        for slot in self.slots.iter_mut().flatten() {
            if slot.port.poll_timeout() <= now {
                slot.timeouts.rotate_left(1);
                slot.timeouts[3] = env.now;
                slot.port.handle_timeout(now);
            }
        }
    }

    fn count_step(&mut self, env: &mut Env) {
        let steps = &mut self.steps;
        let second = env.now / (1000 * MS);
        if steps.second != second {
            *steps = Steps { second, ..Steps::default() };
        }
        steps.count += 1;
        steps.at_once = if steps.at == env.now { steps.at_once + 1 } else { 0 };
        steps.at = env.now;
        if steps.at_once > 20 || steps.count > 1000 {
            let text = format!(
                "node {}: {} timeouts in a second, {} at one moment; node wants {:?}, ports {:?}",
                self.plan.hosts[self.index].node,
                steps.count,
                steps.at_once,
                self.engine.as_ref().map(Node::poll_timeout),
                self.slots.iter().flatten().map(|s| s.port.poll_timeout()).collect::<Vec<_>>(),
            );
            env.oracle.fail(Invariant::Timers, text);
        }
    }

    /// Does everything that the engines want done, until they want nothing. True: there was something.
    pub(crate) fn pump(&mut self, env: &mut Env) -> bool {
        let mut rounds = 0;
        loop {
            let mut busy = false;
            while let Some(output) = self.engine.as_mut().and_then(Node::poll_output) {
                busy = true;
                self.output(env, output);
            }
            for slot in 0..self.slots.len() {
                self.see_closed(env, slot);
                while let Some(s) = self.slots[slot].as_mut() {
                    let kicks = s.port.take_kicks();
                    busy |= kicks != 0;
                    self.kick(env, slot, kicks);
                    let Some(action) = self.slots[slot].as_mut().and_then(|s| s.port.poll_action()) else {
                        break;
                    };
                    busy = true;
                    self.action(env, slot, action);
                }
            }
            if !busy {
                break;
            }
            rounds += 1;
            if rounds > 1000 {
                env.oracle
                    .fail(Invariant::Timers, format!("node {}: the engines never come to rest", self.node()));
                break;
            }
        }
        self.rearm(env);
        rounds > 0
    }

    fn rearm(&mut self, env: &mut Env) {
        let Some(node) = self.engine.as_ref() else { return };
        let ports = self.slots.iter().flatten().map(|s| s.port.poll_timeout());
        let due = ports.fold(node.poll_timeout(), Time::min);
        if due == Time::NEVER {
            return;
        }
        let due = self.when(due).max(env.now);
        if due < self.timer_at {
            self.timer_at = due;
            self.timer_serial += 1;
            let at = due + env.rng.below(self.plan.timer_slack + 1);
            let event = HostEvent::Timer(self.timer_serial);
            env.at(at, Event::Host { host: self.index, life: self.life, event });
        }
    }

    fn output(&mut self, env: &mut Env, output: Output) {
        let now = self.clock(env);
        match output {
            Output::Dial { link, conn, node, remote, .. } => self.dial_control(env, link, conn, node, remote),
            Output::Hangup { key, conn } => {
                if let Some(c) = self.controls.remove(&(key, conn)) {
                    self.hang_up(env, c, None);
                }
            }
            Output::Transmit { key, conn } => {
                if let Some(&c) = self.controls.get(&(key, conn)) {
                    self.flush(env, c);
                }
            }
            Output::Link { key, state } => {
                note!(env, "n{}: link {key:?} is {state:?}", self.node());
                let state = self.misread(env, key, state);
                self.check_link(env, key, &state);
                for slot in self.slots.iter_mut().flatten() {
                    for path in slot.links.iter().filter(|l| *l.1 == key).map(|l| *l.0).collect::<Vec<_>>() {
                        slot.history.link(path, state.health, &self.plan.liveness, env.now);
                        slot.port.handle_link(now, path, state);
                    }
                }
            }
            Output::Peer { state: PeerState::Down, .. } if env.broken == Some(Broken::Deaf) => env.broke += 1,
            Output::Peer { node, state } => {
                note!(env, "n{}: peer {node} is {state:?}", self.node());
                for slot in self.slots.iter_mut().flatten() {
                    slot.port.handle_peer(now, node, state);
                }
            }
            Output::Isolated(isolated) => {
                note!(env, "n{}: isolated: {isolated}", self.node());
                for slot in self.slots.iter_mut().flatten() {
                    slot.port.handle_isolated(isolated);
                }
            }
            Output::Lease { .. } => {}
            Output::PeerGone { node, incarnation } => self.peer_gone(env, node, incarnation),
            Output::Cluster(event) => self.hear(env, event),
            Output::Message { from, from_incarnation, body } => {
                self.message(env, from, from_incarnation, body)
            }
        }
    }

    /// What a broken engine would have said of a link.
    fn misread(&self, env: &mut Env, key: LinkKey, state: LinkState) -> LinkState {
        match env.broken {
            Some(Broken::NoOneWay) if state.one_way.is_some() => {
                env.broke += 1;
                LinkState { one_way: None, ..state }
            }
            Some(Broken::HalfDeaf) if state.one_way.is_some() && state.health == Health::Suspect => {
                note!(env, "n{}: link {key:?} is taken for good", self.node());
                env.broke += 1;
                LinkState { health: Health::Good, one_way: None, ..state }
            }
            Some(_) | None => state,
        }
    }

    fn action(&mut self, env: &mut Env, slot: usize, action: Action) {
        let now = self.clock(env);
        match action {
            Action::Tell { node, body, all_links } => {
                note!(env, "n{} p{slot}: tell {node} {body:?}", self.node());
                if let (NodeBody::Connect(connect), Some(s)) = (&body, self.slots[slot].as_ref()) {
                    let asked = self.kept.asked.entry(s.plan).or_default();
                    *asked = connect.generation.max(*asked);
                    env.oracle.asks_for(connect.session, connect.generation);
                }
                let Some(body) = self.as_said(body) else { return };
                if let Some(engine) = self.engine.as_mut() {
                    let revoked =
                        if let NodeBody::Revoke { generation, .. } = body { Some(generation) } else { None };
                    let fenced = engine.tell(now, node, body, all_links);
                    if let (Some(generation), Some(s)) = (revoked, self.slots[slot].as_mut()) {
                        s.port.handle_fenced(now, generation, fenced);
                    }
                }
            }
            Action::Watch { path, node, local, remote } => self.watch(env, slot, path, (node, local, remote)),
            Action::Unwatch { path } => self.unwatch(env, slot, path),
            Action::Dial { .. } => self.dial_data(env, slot, action),
            Action::Hangup { path, conn, farewell } => {
                note!(
                    env,
                    "n{} p{slot}: hang up path {path} conn {conn}, farewell {farewell:?}",
                    self.node()
                );
                let found = self.slots[slot].as_mut().and_then(|s| s.conns.remove(&(path, conn)));
                if let Some(c) = found {
                    self.note_death(env, slot, path, c);
                    self.hang_up(env, c, farewell.as_ref());
                }
            }
            Action::Assemble { sn } => {
                if let Some(s) = self.slots[slot].as_ref() {
                    let generation = s.port.generation();
                    env.oracle.assembling(s.flow_in(generation), generation, sn);
                }
                let wait = if env.rng.chance(50) { 0 } else { env.rng.below(MS) };
                self.later(env, wait, HostEvent::Assemble { slot, sn });
            }
            Action::Revoke => {
                if let Some(s) = self.slots[slot].as_mut() {
                    s.user.revoke();
                    s.taken.revoke();
                }
            }
            Action::Rearm { .. } => {}
        }
    }

    fn assemble(&mut self, env: &mut Env, slot: usize, sn: Sn) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let generation = s.port.generation();
        let meter = s.meter(generation);
        let Some(parts) = s.port.take_parts(sn) else { return };
        let whole = Buffer::zeroed(parts.total as usize, &meter);
        {
            let mut bytes = whole.bytes.borrow_mut();
            let base = parts.base.bytes.borrow();
            for &(start, end) in &parts.ranges {
                let range = start as usize..end as usize;
                bytes[range.clone()].copy_from_slice(&base[range]);
            }
            for (offset, len, part) in &parts.asides {
                bytes[*offset as usize..(offset + len) as usize]
                    .copy_from_slice(&part.bytes.borrow()[..*len as usize]);
            }
        }
        if s.port.peer().is_some() {
            env.oracle.assembled(s.flow_in(generation), generation, sn);
        }
        s.port.handle_assembled(now, sn, whole);
    }

    /// Whether the port may deliver now (F8).
    pub(crate) fn leased(&self, env: &Env, slot: usize) -> bool {
        let (Some(node), Some(s)) = (self.engine.as_ref(), self.slots[slot].as_ref()) else { return false };
        match s.side {
            Side::Source => true,
            Side::Target => {
                env.broken == Some(Broken::NoLease)
                    || node.lease_until(s.session.node, s.session.incarnation) > self.clock(env)
            }
        }
    }

    fn want_dispatch(&mut self, env: &mut Env, slot: usize) {
        let Some(s) = self.slots[slot].as_mut() else { return };
        if !s.dispatching && (s.has_events() || s.port.state() == State::Destroyed) {
            s.dispatching = true;
            let delay = env.rng.below(self.plan.hosts[self.index].users.dispatch_delay + 1);
            self.later(env, delay, HostEvent::Dispatch(slot));
        }
    }

    fn dispatch(&mut self, env: &mut Env, slot: usize) {
        let busy = self.plan.hosts[self.index].users.busy.iter().find(|b| (b.0..b.1).contains(&env.now));
        if let Some(&(_, until)) = busy {
            self.later(env, until - env.now, HostEvent::Dispatch(slot));
            return;
        }
        self.told(env, slot);
        if let Some(s) = self.slots[slot].as_mut() {
            s.dispatching = false;
        }
        let now = self.clock(env);
        let at_once = self.plan.hosts[self.index].users.at_once;
        for n in 0..=self.plan.hosts[self.index].users.dispatch_batch {
            let leased = self.leased(env, slot);
            let Some(s) = self.slots[slot].as_mut() else { return };
            if n == self.plan.hosts[self.index].users.dispatch_batch {
                self.want_dispatch(env, slot);
                break;
            }
            let event = if at_once { s.take_event(now, leased) } else { s.port.poll_event(leased) };
            match event {
                Some(event) => {
                    self.user_event(env, slot, event);
                    if self.stalls(env, slot) {
                        return;
                    }
                }
                None => break,
            }
        }
        self.told(env, slot);
        self.bury(env, slot);
    }

    /// The user has returned from every callback.
    fn told(&mut self, env: &Env, slot: usize) {
        let now = self.clock(env);
        if let Some(s) = self.slots[slot].as_mut().filter(|s| s.taken.is_empty()) {
            s.port.handle_told(now);
        }
    }

    /// Whether this callback takes long: nothing else is dispatched to the port meanwhile.
    fn stalls(&mut self, env: &mut Env, slot: usize) -> bool {
        let stalls = self.plan.hosts[self.index].users.stalls;
        let Some(s) = self.slots[slot].as_mut() else { return false };
        if env.rng.below(1000) >= stalls || !s.user.may_stall() {
            return false;
        }
        s.dispatching = true;
        let lasts = env.rng.within(200, 4000) * MS;
        note!(env, "n{} p{slot}: user: callback takes {} ms", self.node(), lasts / MS);
        self.later(env, lasts, HostEvent::Dispatch(slot));
        true
    }

    /// Forgets a destroyed port whose last event was dispatched.
    fn bury(&mut self, env: &mut Env, slot: usize) {
        let Some(s) = self.slots[slot].as_ref() else { return };
        if s.port.state() == State::Destroyed && !s.has_events() && s.user.holds_nothing() {
            note!(env, "n{} p{slot}: gone", self.node());
            self.check_meters(env, slot);
            let Some(s) = self.slots[slot].take() else { return };
            let (meters, conns, session) = (s.meters, s.conns, s.session);
            drop((s.port, s.user));
            for c in conns.into_values() {
                self.hang_up(env, c, None);
            }
            if let Some((generation, meter)) = meters.iter().find(|m| m.1.held() > 0) {
                let text = format!("{session} generation {generation}: {} bytes leaked", meter.held());
                env.oracle.fail(Invariant::Memory, text);
            }
        }
    }
}

/// For [`Broken::SlowVerdict`]. True: the budget is not kept.
fn slow_down(env: &mut Env, liveness: &mut Liveness) -> bool {
    let slow = env.broken == Some(Broken::SlowVerdict) && liveness.failover_budget.take().is_some();
    if slow {
        liveness.dead *= 4;
        env.broke += 1;
    }
    slow
}
