//! Negotiation, links and the life of ports: what the driver's registry does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use cdps_core::admission::{Admission, Denial, Sharing};
use cdps_core::cluster::PeerState;
use cdps_core::config::{PathClass, PortConfig};
use cdps_core::id::{Generation, Incarnation, NodeId, PathId, SessionId, Side};
use cdps_core::node::LinkKey;
use cdps_core::port::State;
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::time::Duration;
use cdps_core::wire::{Answer, Connect, NodeBody, feature, reason_of};

use super::{Host, HostEvent, SimPort, Slot};
use crate::broken::Broken;
use crate::env::{Env, MS, note};
use crate::rejoin::History;
use crate::rules::Invariant;
use crate::user::{Errand, User};

impl Host {
    pub(super) fn create_source(&mut self, env: &mut Env, number: usize) {
        let plan = std::rc::Rc::clone(&self.plan);
        let source = &plan.sources[number];
        let session = SessionId { node: self.node(), incarnation: self.incarnation, port: number as u32 + 1 };
        let seed = env.rng.next();
        let mut config = source.config.clone();
        if super::slow_down(env, &mut config.liveness) {
            config.ack_timeout *= 4;
        }
        config.session_timeout = config.session_timeout.max(config.liveness.dead * 2 + config.switch_grace);
        if config.autoswitch {
            env.oracle.grace(session, config.switch_grace);
        }
        if env.broken == Some(Broken::NoGrace) {
            env.broke += u64::from(!config.switch_grace.is_zero());
            config.switch_grace = Duration::ZERO;
        }
        if env.broken == Some(Broken::NoStandby) {
            for address in config.targets.iter_mut().flat_map(|t| &mut t.addresses) {
                env.broke += u64::from(address.class == PathClass::Standby);
                address.class = PathClass::Normal;
            }
        }
        if env.broken == Some(Broken::NoRejoin) {
            config.liveness.rejoin = 0;
            env.broke += 1;
        }
        let mut port = match SimPort::source(config, session, seed) {
            Ok(port) => port,
            Err(e) => {
                env.oracle.fail(Invariant::Sanity, format!("source port {number} was not created: {e}"));
                return;
            }
        };
        if let Some(before) = self.kept.asked.get(&number) {
            port.start_above(*before);
        }
        if self.plan.keeps {
            env.oracle.reborn((self.node(), session.port));
        }
        let registered = port.register();
        env.record(self.node(), port.state(), || "register".to_owned());
        if let Err(e) = registered.and_then(|()| port.initialize()) {
            env.oracle.fail(Invariant::Sanity, format!("source port {number}: {e}"));
        }
        env.record(self.node(), port.state(), || "initialize".to_owned());
        for (stream, contract) in &source.contracts {
            if let Err(e) = port.set_stream(*stream, *contract) {
                env.oracle.fail(Invariant::Sanity, format!("source port {number}: {e}"));
            }
        }
        let slot = self.add_slot(port, Side::Source, session, Generation::default(), number, env.now);
        self.introduce(env, slot);
        for (n, (at, _)) in source.verbs.iter().enumerate() {
            self.later(env, *at, HostEvent::User { slot, what: Errand::Verb(n) });
        }
        let start = env.rng.below(100 * MS);
        self.later(env, start, HostEvent::User { slot, what: Errand::Tick });
        self.later(env, start, HostEvent::User { slot, what: Errand::Produce });
    }

    fn add_slot(
        &mut self,
        port: SimPort,
        side: Side,
        session: SessionId,
        born: Generation,
        plan: usize,
        now: u64,
    ) -> usize {
        let slot = Slot {
            port,
            side,
            session,
            born,
            told: born,
            settled: Generation::default(),
            plan,
            user: User::new(now),
            links: BTreeMap::new(),
            conns: BTreeMap::new(),
            meters: BTreeMap::new(),
            dispatching: false,
            taken: super::taken::Taken::default(),
            held_back: false,
            came_up: now,
            timeouts: [0; 4],
            history: History::default(),
            alone: None,
            remotes: BTreeMap::new(),
            removed: BTreeSet::new(),
        };
        self.slots.push(Some(slot));
        self.slots.len() - 1
    }

    /// Tells a new port what is known of the cluster.
    fn introduce(&mut self, env: &Env, slot: usize) {
        let now = self.clock(env);
        let plan = std::rc::Rc::clone(&self.plan);
        let (Some(engine), Some(s)) = (self.engine.as_ref(), self.slots[slot].as_mut()) else { return };
        s.port.handle_isolated(engine.isolated());
        for host in &plan.hosts {
            if let Some(state) = engine.peer_state(host.node) {
                s.port.handle_peer(now, host.node, state);
            }
        }
    }

    pub(super) fn watch(
        &mut self,
        env: &Env,
        slot: usize,
        path: PathId,
        (node, local, remote): (NodeId, Option<IpAddr>, SocketAddr),
    ) {
        let now = self.clock(env);
        let (Some(engine), Some(s)) = (self.engine.as_mut(), self.slots[slot].as_mut()) else { return };
        let key = LinkKey::Dialled(engine.watch(now, node, local, remote));
        s.links.insert(path, key);
        s.remotes.insert(path, (node, remote));
        s.port.handle_link(now, path, engine.link_state(key));
    }

    pub(super) fn unwatch(&mut self, env: &Env, slot: usize, path: PathId) {
        let now = self.clock(env);
        let (Some(engine), Some(s)) = (self.engine.as_mut(), self.slots[slot].as_mut()) else { return };
        s.history.forget(path);
        s.remotes.remove(&path);
        if let Some(LinkKey::Dialled(link)) = s.links.remove(&path) {
            engine.unwatch(now, link);
        }
    }

    fn slot_of(&self, side: Side, session: SessionId) -> Option<usize> {
        let is = |s: &Slot| s.side == side && s.session == session;
        self.slots.iter().rposition(|s| s.as_ref().is_some_and(is))
    }

    /// A node message came.
    pub(super) fn message(
        &mut self,
        env: &mut Env,
        from: NodeId,
        from_incarnation: Incarnation,
        body: NodeBody,
    ) {
        let now = self.clock(env);
        note!(env, "n{}: from {from}: {body:?}", self.node());
        match self.as_heard(env, body) {
            NodeBody::Connect(connect) => {
                if (connect.session.node, connect.session.incarnation) == (from, from_incarnation) {
                    self.connect_asked(env, connect);
                }
            }
            NodeBody::Answer(mut answer) => {
                if env.broken == Some(Broken::ManyStreams) {
                    env.broke += u64::from(answer.max_streams < 4096);
                    answer.max_streams = 4096;
                }
                if let Some(slot) = self.slot_of(Side::Source, answer.session)
                    && let Some(s) = self.slots[slot].as_mut()
                {
                    s.port.handle_answer(now, &answer);
                }
            }
            NodeBody::Revoke { session, generation } => {
                // Whatever was asked for before the revocation is not accepted after it.
                let highest = self.highest.entry(session).or_default();
                *highest = generation.max(*highest);
                let mut known = false;
                for s in self.slots.iter_mut().flatten() {
                    if s.side == Side::Target && s.session == session && s.born <= generation {
                        known = true;
                        s.port.handle_revoke(now, generation);
                    }
                }
                if !known && let Some(engine) = self.engine.as_mut() {
                    engine.tell(now, from, NodeBody::Released { session, generation }, false);
                }
            }
            NodeBody::Released { session, generation } => {
                if let Some(slot) = self.slot_of(Side::Source, session)
                    && let Some(s) = self.slots[slot].as_mut()
                {
                    s.port.handle_released(now, generation);
                }
            }
            NodeBody::Bye { session, generation, reason, side } => {
                for s in self.slots.iter_mut().flatten() {
                    if s.side == side.peer()
                        && s.session == session
                        && (s.side == Side::Source || s.born <= generation)
                    {
                        s.port.handle_bye(now, generation, reason_of(reason));
                    }
                }
            }
        }
    }

    /// Whether a session of these two has priority classes (M11).
    pub(crate) fn has_classes(&self, source: NodeId) -> bool {
        let first = |node| self.plan.hosts.iter().any(|h| h.node == node && h.first);
        !first(source) && !first(self.node())
    }

    fn connect_asked(&mut self, env: &mut Env, connect: Connect) {
        if let Err(reason) = self.judge(&connect) {
            self.refuse_connect(env, &connect, reason);
            return;
        }
        let (session, generation) = (connect.session, connect.generation);
        if self.engine.as_ref().and_then(|e| e.peer_state(session.node)) == Some(PeerState::Down) {
            return;
        }
        if let Some(slot) = self.slot_of(Side::Target, session)
            && let Some(s) = self.slots[slot].as_ref()
            && s.born == generation
            && s.port.state() == State::ConnectedTo
        {
            if !self.rival_tells(session) {
                self.answer(env, slot);
            }
            return;
        }
        let highest = self.highest.get(&session).copied().unwrap_or_default();
        if generation <= highest {
            self.refuse_connect(env, &connect, Reason::StaleGeneration);
            return;
        }
        self.effective |= self.engine.as_ref().is_some_and(|engine| engine.is_operational());
        let registered = self.plan.sources.iter().any(|s| s.config.client == connect.client);
        if !registered || !self.effective {
            self.refuse_connect(env, &connect, Reason::NoSuchClient);
            return;
        }
        if let Err(denial) =
            self.admission(env, &connect, |admission, served| admission.judge(&connect, served))
        {
            note!(env, "n{}: denies {session}: {}", self.node(), denial.text);
            self.refuse_connect(env, &connect, denial.reason);
            return;
        }
        if connect.resets() {
            return self.reset_asked(env, &connect);
        }
        if self.deciding.get(&session).is_some_and(|g| *g >= generation) || self.delivering(session) {
            return; // it is repeated
        }
        self.deciding.insert(session, generation);
        let wait = env.rng.below(self.plan.hosts[self.index].users.decide_delay + 1);
        self.later(env, wait, HostEvent::Decide(Box::new(connect)));
    }

    /// A source asks to go on with its session (F3).
    fn reset_asked(&mut self, env: &mut Env, connect: &Connect) {
        let now = self.clock(env);
        let session = connect.session;
        let secret = secret(env);
        let slot = self.slot_of(Side::Target, session);
        let reset = match slot.and_then(|slot| self.slots[slot].as_mut()) {
            Some(s) => s.port.handle_reset(now, connect, secret).map(|()| {
                env.oracle.reset(session, s.born, connect.generation);
                // What was delivered before still counts.
                let meter = s.meter(s.born);
                s.meters.insert(connect.generation, meter);
                s.born = connect.generation;
                // Its paths are new ones.
                s.history = History::default();
            }),
            None => Err(Reason::UnknownSession),
        };
        match (reset, slot) {
            (Ok(()), Some(slot)) => {
                note!(env, "n{} p{slot}: {session} is reset to {}", self.node(), connect.generation);
                self.highest.insert(session, connect.generation);
                // It was judged just now.
                let _ = self.admission(env, connect, |admission, served| admission.accept(connect, served));
                let kept = self.kept.accepted.entry((connect.client.clone(), session.node)).or_default();
                *kept = connect.generation.max(*kept);
                self.answer(env, slot);
            }
            (Ok(()), None) => {}
            (Err(reason), _) => self.refuse_connect(env, connect, reason),
        }
    }

    /// Asks whom a client lets in.
    fn admission<T: Default>(
        &mut self,
        env: &mut Env,
        connect: &Connect,
        ask: impl FnOnce(&mut Admission, bool) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let sharing = self.plan.sharing;
        if sharing == Sharing::Exclusive && env.broken == Some(Broken::NoRole) {
            env.broke += 1;
            return Ok(T::default());
        }
        let holder = self.admissions.get(&connect.client).and_then(Admission::holder);
        let serves = |s: &Slot| s.port.serves().is_some_and(|(session, _)| Some(session) == holder);
        let served = self.slots.iter().flatten().any(serves);
        let of_client = |k: &&(String, NodeId)| k.0 == connect.client;
        let kept: Vec<_> =
            self.kept.accepted.iter().filter(|e| of_client(&e.0)).map(|e| (e.0.1, *e.1)).collect();
        let new = || Admission::new(sharing, &kept);
        ask(self.admissions.entry(connect.client.clone()).or_insert_with(new), served)
    }

    /// Another source of an exclusive client has had to go, and its user has not heard everything yet.
    fn rival_tells(&self, session: SessionId) -> bool {
        let is = |s: &Slot| {
            s.side == Side::Target
                && s.session != session
                && s.port.state() != State::ConnectedTo
                && s.has_events()
        };
        self.plan.sharing == Sharing::Exclusive && self.slots.iter().flatten().any(is)
    }

    /// A former generation of the session has ended here, and its user has not heard everything yet. The next one waits for that, or
    /// the order of streams would be lost between them.
    fn delivering(&self, session: SessionId) -> bool {
        let is = |s: &Slot| {
            s.side == Side::Target
                && s.session == session
                && s.port.state() != State::ConnectedTo
                && s.has_events()
        };
        self.slots.iter().flatten().any(is)
    }

    fn answer(&mut self, env: &Env, slot: usize) {
        let now = self.clock(env);
        let addresses = self.plan.hosts[self.index].addresses.clone();
        let Some(s) = self.slots[slot].as_ref() else { return };
        let (node, answer) = (s.session.node, self.as_said(NodeBody::Answer(s.port.answer(addresses))));
        if let (Some(engine), Some(answer)) = (self.engine.as_mut(), answer) {
            engine.tell(now, node, answer, false);
        }
    }

    fn refuse_connect(&mut self, env: &Env, connect: &Connect, reason: Reason) {
        let now = self.clock(env);
        let highest = self.highest.get(&connect.session).copied().unwrap_or_default();
        let accepted = self.admissions.get(&connect.client).map(|a| a.highest(connect.session.node));
        let highest = highest.max(accepted.unwrap_or_default());
        let answer = Answer::refusal(connect, reason, highest, String::new());
        if let Some(engine) = self.engine.as_mut() {
            engine.tell(now, connect.session.node, NodeBody::Answer(answer), false);
        }
    }

    /// The user decides on a connect request.
    pub(super) fn decide(&mut self, env: &mut Env, connect: &Connect) {
        let now = self.clock(env);
        let (session, generation) = (connect.session, connect.generation);
        if self.deciding.get(&session) == Some(&generation) {
            self.deciding.remove(&session);
        }
        if generation <= self.highest.get(&session).copied().unwrap_or_default() {
            self.refuse_connect(env, connect, Reason::StaleGeneration);
            return;
        }
        if self.delivering(session) {
            return;
        }
        if env.rng.chance(self.plan.hosts[self.index].users.refuse) {
            self.refuse_connect(env, connect, Reason::Refused);
            return;
        }
        let former = match self.admission(env, connect, |admission, served| admission.accept(connect, served))
        {
            Ok(former) => former,
            Err(denial) => return self.refuse_connect(env, connect, denial.reason),
        };
        let kept = self.kept.accepted.entry((connect.client.clone(), session.node)).or_default();
        *kept = generation.max(*kept);
        for s in self.slots.iter_mut().flatten() {
            if s.side == Side::Target && Some(s.session) == former {
                s.port.handle_outranked(now);
            }
        }
        self.highest.insert(session, generation);
        env.record(self.node(), State::Registered, || format!("connectreq from {}", session.node));
        for s in self.slots.iter_mut().flatten() {
            if s.side == Side::Target && s.session == session {
                s.port.handle_superseded(now, Reason::Superseded);
            }
        }
        let plan = std::rc::Rc::clone(&self.plan);
        let number = session.port as usize - 1;
        let secret = secret(env);
        let mut config: PortConfig = plan.sources[number].target_config.clone();
        config.max_streams = config.max_streams.min(plan.hosts[self.index].users.max_streams);
        let seed = env.rng.next();
        let port = match SimPort::target(config, connect, secret, now, seed) {
            Ok(port) => port,
            Err(e) => {
                env.oracle.fail(Invariant::Sanity, format!("target port {number} was not created: {e}"));
                return;
            }
        };
        let mut port = port;
        for (stream, contract) in &plan.sources[number].contracts {
            let done = port.set_stream(*stream, *contract).is_ok();
            if done != (connect.features & feature::CLASSES != 0) {
                let text =
                    format!("target port {number}: contract taken is {done}, features {}", connect.features);
                env.oracle.fail(Invariant::Sanity, text);
            }
        }
        let slot = self.add_slot(port, Side::Target, session, generation, number, env.now);
        note!(env, "n{} p{slot}: accepts {session} generation {generation}", self.node());
        self.introduce(env, slot);
        if !self.rival_tells(session) {
            self.answer(env, slot);
        }
        for (n, (at, verb)) in plan.sources[number].verbs.iter().enumerate() {
            if verb.is_targets() && *at > env.now {
                self.later(env, *at - env.now, HostEvent::User { slot, what: Errand::Verb(n) });
            }
        }
        self.later(env, 0, HostEvent::User { slot, what: Errand::Produce });
    }

    /// A former incarnation of a node is over.
    pub(super) fn peer_gone(&mut self, env: &mut Env, node: NodeId, incarnation: Incarnation) {
        let now = self.clock(env);
        note!(env, "n{}: node {node} incarnation {:x} is gone", self.node(), incarnation.0);
        for s in self.slots.iter_mut().flatten() {
            if s.side == Side::Target && s.session.node == node && s.session.incarnation == incarnation {
                s.port.handle_superseded(now, Reason::PeerRestarted);
            }
        }
        self.highest.retain(|s, _| s.node != node || s.incarnation != incarnation);
    }

    /// Whether any node that this one should reach is reachable, for reports.
    pub(crate) fn reachable(&self) -> Vec<NodeId> {
        let Some(engine) = self.engine.as_ref() else { return Vec::new() };
        let nodes = self.plan.hosts.iter().map(|h| h.node);
        nodes.filter(|n| matches!(engine.peer_state(*n), Some(PeerState::Reachable { .. }))).collect()
    }
}

fn secret(env: &mut Env) -> Secret {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&env.rng.next().to_le_bytes());
    Secret::new(secret)
}
