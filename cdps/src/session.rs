//! Negotiation (Fig. 6, L3), and what else nodes tell each other about sessions. No lock is held where the user or an engine is called.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cdps_core::admission::{Admission, Denial};
use cdps_core::cluster::PeerState;
use cdps_core::id::{Generation, Incarnation, NodeId, SessionId, Side};
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::wire::{self, Answer, Connect, NodeBody, reason_of};

use crate::callbacks::Job;
use crate::client::{ClientShared, ConnectRequest, Decision};
use crate::hub::NodeShared;
use crate::keep::{KeepError, Owner};
use crate::log::Level;
use crate::port::Port;
use crate::random;
use crate::shared::{Engine, PortShared};

/// Revocations that are remembered, at most: as many as a node keeps up against another.
const REVOKED: usize = 4096;
/// Connect requests of a node that wait for their clients' answers, at most.
const PENDING: usize = 256;

/// The sessions that ports of this node are the targets of.
#[derive(Default)]
pub(crate) struct Sessions {
    table: HashMap<SessionId, Session>,
    pending: usize,
    /// Whom the clients of this node let in, by name.
    admissions: HashMap<String, Admission>,
    /// Ports of exclusive clients that had to go for another source (L4). Until their users have been told everything no other source of the
    /// client is answered, so that nothing comes from it.
    leaving: HashMap<String, Vec<Arc<PortShared>>>,
    /// Highest generation revoked, per session: a CONNECT that comes late must not bring it back. The oldest go first.
    revoked: VecDeque<(SessionId, Generation)>,
    /// Requests that were refused last, and why: as many as may wait.
    refused: VecDeque<((SessionId, Generation), Denial)>,
}

struct Session {
    generation: Generation,
    port: Arc<PortShared>,
    /// The client has not decided yet.
    pending: bool,
}

/// What a CONNECT finds.
enum Found {
    /// It is being decided on.
    Pending,
    /// It was accepted: the answer is repeated.
    Accepted(Arc<PortShared>),
    /// It would be new, but a former generation has to go first.
    Former(Arc<PortShared>),
    New,
    /// It asks to go on with the session of this port (F3).
    Reset(Arc<PortShared>),
    /// It asks to go on with a session that is not there.
    Unknown,
    Denied(Denial),
    Full,
}

const STALE: Found = Found::Denied(Denial { reason: Reason::StaleGeneration, text: String::new() });

impl Sessions {
    pub(crate) fn port(&self, session: SessionId) -> Option<Arc<PortShared>> {
        self.table.get(&session).filter(|s| !s.pending).map(|s| Arc::clone(&s.port))
    }

    /// The port of a session, if it is of this generation or an earlier one.
    fn up_to(&self, session: SessionId, generation: Generation) -> Option<Arc<PortShared>> {
        self.table.get(&session).filter(|s| s.generation <= generation).map(|s| Arc::clone(&s.port))
    }

    pub(crate) fn highest(&self, client: &str, source: NodeId) -> Generation {
        self.admissions.get(client).map_or_else(Generation::default, |known| known.highest(source))
    }

    /// A client is registered.
    pub(crate) fn know_client(&mut self, client: &str, admission: Admission) {
        self.admissions.insert(client.to_owned(), admission);
    }

    pub(crate) fn forget_client(&mut self, client: &str) {
        self.admissions.remove(client);
        self.leaving.remove(client);
    }

    /// The port of the source that an exclusive client has accepted last.
    fn holder(&self, client: &str) -> Option<Arc<PortShared>> {
        self.port(self.admissions.get(client)?.holder()?)
    }

    /// Whether the source that an exclusive client has accepted last is still served. `over`: what was found to be no session any more.
    fn is_served(&self, client: &str, over: Option<SessionId>) -> bool {
        self.holder(client).is_some_and(|holder| Some(holder.session) != over)
    }

    /// Looks a CONNECT up, and makes it pending if it is to be decided on. A former port of the session that has told its user everything
    /// is in nobody's way. `over` as in [`Sessions::is_served`].
    fn find(
        &mut self,
        connect: &Connect,
        port: &Arc<PortShared>,
        gone: Option<&Arc<PortShared>>,
        over: Option<SessionId>,
    ) -> Found {
        let served = self.is_served(&connect.client, over);
        let judged =
            self.admissions.get(&connect.client).map_or(Ok(()), |known| known.judge(connect, served));
        let revoked = self.revoked.iter().any(|r| r.0 == connect.session && r.1 >= connect.generation);
        match self.table.get(&connect.session) {
            Some(known) if known.generation == connect.generation && known.pending => return Found::Pending,
            Some(known) if known.generation == connect.generation => {
                return Found::Accepted(Arc::clone(&known.port));
            }
            Some(known) if known.generation > connect.generation => return STALE,
            Some(_) | None if revoked => return STALE,
            Some(_) | None => {}
        }
        let asked = (connect.session, connect.generation);
        if let Some((_, denial)) = self.refused.iter().find(|refused| refused.0 == asked) {
            return Found::Denied(denial.clone());
        }
        if let Err(denial) = judged {
            return Found::Denied(denial);
        }
        match self.table.get(&connect.session) {
            Some(known) if connect.resets() && !known.pending => {
                return Found::Reset(Arc::clone(&known.port));
            }
            Some(_) | None if connect.resets() => return Found::Unknown,
            Some(_) | None if self.pending >= PENDING => return Found::Full,
            Some(known) if !known.pending && !gone.is_some_and(|gone| Arc::ptr_eq(gone, &known.port)) => {
                return Found::Former(Arc::clone(&known.port));
            }
            Some(_) | None => {}
        }
        self.pending += 1;
        let (generation, port) = (connect.generation, Arc::clone(port));
        let session = Session { generation, port, pending: true };
        self.table.insert(connect.session, session);
        Found::New
    }

    fn revoke(&mut self, session: SessionId, generation: Generation) {
        let known = self.revoked.iter().position(|r| r.0 == session).and_then(|at| self.revoked.remove(at));
        if self.revoked.len() >= REVOKED {
            self.revoked.pop_front();
        }
        self.revoked.push_back((session, known.map_or(generation, |known| known.1.max(generation))));
    }

    /// An incarnation is over: what it asked for is not decided on any more.
    pub(crate) fn forget_incarnation(&mut self, node: NodeId, incarnation: Incarnation) {
        let over = |session: &SessionId| (session.node, session.incarnation) == (node, incarnation);
        self.table.retain(|session, known| !(known.pending && over(session)));
        self.revoked.retain(|(session, _)| !over(session));
        self.refused.retain(|((session, _), _)| !over(session));
    }

    /// The client has accepted. Gives the port of another source that has to go for it (L4). `Err`: something newer has taken the place
    /// meanwhile, or the session was revoked.
    fn settle(
        &mut self,
        connect: &Connect,
        port: &Arc<PortShared>,
        over: Option<SessionId>,
    ) -> Result<Option<Arc<PortShared>>, Denial> {
        let superseded = || Denial { reason: Reason::StaleGeneration, text: String::new() };
        let served = self.is_served(&connect.client, over);
        if !self.table.get(&connect.session).is_some_and(|session| Arc::ptr_eq(&session.port, port)) {
            return Err(superseded());
        }
        let admission = self.admissions.get_mut(&connect.client).ok_or_else(superseded)?;
        let outranked = admission.accept(connect, served)?.and_then(|former| self.port(former));
        if let Some(session) = self.table.get_mut(&connect.session) {
            session.pending = false;
        }
        if let Some(former) = &outranked {
            self.leaving.entry(connect.client.clone()).or_default().push(Arc::clone(former));
        }
        Ok(outranked)
    }

    /// The port goes on under a new generation. False: something newer has taken the place meanwhile, or the session was revoked.
    fn advance(&mut self, connect: &Connect, port: &Arc<PortShared>) -> bool {
        let revoked = self.revoked.iter().any(|r| r.0 == connect.session && r.1 >= connect.generation);
        match self.table.get_mut(&connect.session) {
            Some(session) if Arc::ptr_eq(&session.port, port) && !revoked => {
                session.generation = session.generation.max(connect.generation);
                let Some(admission) = self.admissions.get_mut(&connect.client) else { return false };
                admission.accept(connect, true).is_ok()
            }
            Some(_) | None => false,
        }
    }

    /// What its port was for is refused: also when it is asked for again, as a source does that has not heard of it yet.
    fn refuse(&mut self, connect: &Connect, port: &Arc<PortShared>, denial: Denial) {
        if self.refused.len() >= PENDING {
            self.refused.pop_front();
        }
        self.refused.push_back(((connect.session, connect.generation), denial));
        self.forget(port);
    }

    /// Takes a port out of the table.
    pub(crate) fn forget(&mut self, port: &Arc<PortShared>) {
        if self.table.get(&port.session).is_some_and(|s| Arc::ptr_eq(&s.port, port)) {
            self.table.remove(&port.session);
        }
    }
}

/// A node message has come.
pub(crate) fn receive(node: &Arc<NodeShared>, from: NodeId, from_incarnation: Incarnation, body: NodeBody) {
    match body {
        NodeBody::Connect(connect) => {
            let session = connect.session;
            if session.node == from && session.incarnation == from_incarnation && session.port != 0 {
                connect_request(node, connect);
            } else {
                let asked = format_args!("node {from} asks for session {session}, which is not its own");
                node.log_limited(Level::Warn, "session", asked);
            }
        }
        NodeBody::Answer(answer) => {
            if !answer.text.is_empty() {
                let (session, reason) = (answer.session, reason_of(answer.reason));
                let text = format_args!("node {from} refuses session {session}: {reason}: {}", answer.text);
                node.log_limited(Level::Warn, "session", text);
            }
            if let Some(port) = own_source(node, answer.session) {
                port.call(|engine, now| {
                    if answer.reason == Reason::StaleGeneration as u16 {
                        port.claim_generation(engine, answer.highest.counter);
                    }
                    engine.handle_answer(now, &answer);
                });
            }
        }
        NodeBody::Revoke { session, generation } => revoke(node, from, session, generation),
        NodeBody::Released { session, generation } => {
            if let Some(port) = own_source(node, session) {
                port.call(|engine, now| engine.handle_released(now, generation));
            }
        }
        NodeBody::Bye { session, generation, reason, side } => {
            let port = match side {
                Side::Target => own_source(node, session),
                Side::Source if session.node == from && session.incarnation == from_incarnation => {
                    node.sessions.lock().up_to(session, generation)
                }
                Side::Source => None,
            };
            if let Some(port) = port {
                port.call(|engine, now| engine.handle_bye(now, generation, reason_of(reason)));
            }
        }
    }
}

fn own_source(node: &NodeShared, session: SessionId) -> Option<Arc<PortShared>> {
    let own = session.node == node.id && session.incarnation == node.incarnation;
    node.source(session.port).filter(|_| own)
}

/// The source takes the lease away: answered at once, whatever the user is doing, also for a session that is not known.
fn revoke(node: &Arc<NodeShared>, from: NodeId, session: SessionId, generation: Generation) {
    if session.node != from {
        return;
    }
    let port = {
        let mut sessions = node.sessions.lock();
        sessions.revoke(session, generation);
        sessions.up_to(session, generation)
    };
    let known = port.and_then(|port| {
        port.fence.revoke();
        port.wake_dispatch();
        if port.generation() > generation {
            return None;
        }
        let told = port.call(|engine, now| engine.handle_revoke(now, generation));
        // A request that is still being decided on is over with it.
        node.sessions.lock().forget(&port);
        told
    });
    if known.is_none() {
        node.call(|engine, now| engine.tell(now, from, NodeBody::Released { session, generation }, true));
    }
}

fn connect_request(node: &Arc<NodeShared>, connect: Connect) {
    if let Err(reason) = connect.judge() {
        let text = format!("version {}, flags {:#06x}", connect.version, connect.flags);
        return refuse(node, &connect, reason, text);
    }
    let Some(client) = node.client(&connect.client).filter(|client| client.is_effective()) else {
        return refuse(node, &connect, Reason::NoSuchClient, String::new());
    };
    let session = connect.session;
    if node.read(|engine| engine.peer_state(session.node)) == Some(PeerState::Down) {
        // Nothing of a node that is gone counts before the cluster engine takes that back (N5). The source asks again.
        return;
    }
    let lease = node.links.lease(session.node, session.incarnation);
    lease.fetch_max(
        node.read(|engine| engine.lease_until(session.node, session.incarnation)).0,
        Ordering::AcqRel,
    );
    let port = PortShared::new(node, node.next_number(), Side::Target, session, None, None, Some(lease));
    let over = holder_over(node, &connect.client);
    let mut found = node.sessions.lock().find(&connect, &port, None, over);
    if let Found::Former(former) = &found {
        former.call(|engine, now| engine.handle_superseded(now, Reason::Superseded));
        if !former.has_told_all() {
            // Two ports must not deliver the same streams at once. The source asks again.
            return;
        }
        found = node.sessions.lock().find(&connect, &port, Some(former), over);
    }
    match found {
        // With too many that wait this one is not answered yet: its source asks again.
        Found::Pending | Found::Former(_) | Found::Full => {}
        Found::Accepted(port) => repeat_answer(node, &connect, &port),
        Found::Reset(port) => reset(node, &connect, &port),
        Found::Unknown => refuse(node, &connect, Reason::UnknownSession, String::new()),
        Found::Denied(Denial { reason, text }) => refuse(node, &connect, reason, text),
        Found::New => {
            if !client.enter(&port) {
                node.sessions.lock().withdraw(&port);
                return refuse(node, &connect, Reason::NoSuchClient, String::new());
            }
            let job = {
                let node = Arc::clone(node);
                move || decide(&node, &client, &connect, &port)
            };
            node.callbacks.push(port_thread(&session), Job::Call(Box::new(job)));
        }
    }
}

/// The source asks to go on with a session that this node serves: its user is told, and not asked.
fn reset(node: &Arc<NodeShared>, connect: &Connect, port: &Arc<PortShared>) {
    let outcome = match random::bytes().map(Secret::new) {
        Ok(secret) => port
            .call(|engine, now| engine.handle_reset(now, connect, secret))
            .unwrap_or(Err(Reason::UnknownSession))
            .map_err(|reason| (reason, String::new())),
        Err(error) => Err((Reason::Limit, error.to_string())),
    };
    match outcome {
        Ok(()) if node.sessions.lock().advance(connect, port) => match keep_accepted(node, connect) {
            Ok(()) => repeat_answer(node, connect, port),
            Err((reason, text)) => refuse(node, connect, reason, text),
        },
        // It was revoked at the same moment, and the answer to that is on its way.
        Ok(()) => {}
        Err((reason, text)) => refuse(node, connect, reason, text),
    }
}

/// The session that an exclusive client has accepted last, if it is over.
fn holder_over(node: &NodeShared, client: &str) -> Option<SessionId> {
    let holder = node.sessions.lock().holder(client)?;
    holder.read(Engine::serves).flatten().is_none().then_some(holder.session)
}

/// Whether the users of all former sources of an exclusive client have been told everything.
fn is_alone(node: &NodeShared, client: &str) -> bool {
    let leaving = node.sessions.lock().leaving.get(client).cloned().unwrap_or_default();
    let gone: Vec<_> = leaving.iter().filter(|port| port.has_told_all()).collect();
    let mut sessions = node.sessions.lock();
    let Some(still) = sessions.leaving.get_mut(client) else { return true };
    still.retain(|port| !gone.iter().any(|gone| Arc::ptr_eq(gone, port)));
    let alone = still.is_empty();
    if alone {
        sessions.leaving.remove(client);
    }
    alone
}

fn repeat_answer(node: &Arc<NodeShared>, connect: &Connect, port: &Arc<PortShared>) {
    if !is_alone(node, &connect.client) {
        return;
    }
    let serves = Some((connect.session, connect.generation));
    let answer = port.read(|engine| (engine.serves() == serves).then(|| engine.answer(node.addresses())));
    match answer.flatten() {
        Some(answer) => {
            node.call(|engine, now| engine.tell(now, connect.session.node, NodeBody::Answer(answer), false));
        }
        // It is over already.
        None => refuse(node, connect, Reason::StaleGeneration, String::new()),
    }
}

/// Requests of one session are decided on one after the other.
fn port_thread(session: &SessionId) -> u64 {
    u64::from(session.port)
}

/// Asks the client, where callbacks run.
fn decide(node: &Arc<NodeShared>, client: &Arc<ClientShared>, connect: &Connect, port: &Arc<PortShared>) {
    let request = ConnectRequest {
        node: connect.session.node,
        session: connect.session,
        generation: connect.generation,
        client: connect.client.clone(),
        paths: connect.paths,
        port: Port::from_shared(Arc::clone(port)),
    };
    let outcome = match client.ask(&request) {
        Decision::Accept { config, handler } => {
            *port.handler.lock() = Some(handler);
            accept(node, connect, port, config)
        }
        Decision::Refuse { text } => Err((Reason::Refused, text)),
    };
    node.sessions.lock().pending -= 1;
    match outcome {
        Ok(answer) => {
            if let Some(answer) = answer {
                node.call(|engine, now| {
                    engine.tell(now, connect.session.node, NodeBody::Answer(answer), false)
                });
            }
            // What happened meanwhile, and could not be told to a port that did not exist.
            match node.read(|engine| engine.peer_state(connect.session.node)) {
                Some(peer @ (PeerState::Unreachable { .. } | PeerState::Down)) => {
                    port.call(|engine, now| engine.handle_peer(now, connect.session.node, peer));
                }
                Some(PeerState::Reachable { .. }) | None => {}
            }
            if client.is_closing() || port.is_doomed() {
                port.destroy();
            }
        }
        Err((reason, text)) => {
            let denial = Denial { reason, text: text.clone() };
            node.sessions.lock().refuse(connect, port, denial);
            // The source has no session that could end: it is refused, and may ask again.
            port.call(|engine, now| engine.handle_superseded(now, reason));
            port.abandon();
            refuse(node, connect, reason, text);
        }
    }
}

/// Makes the port that the user wants. Gives the answer, unless that has to wait until the source asks again.
fn accept(
    node: &Arc<NodeShared>,
    connect: &Connect,
    port: &Arc<PortShared>,
    config: cdps_core::config::PortConfig,
) -> Result<Option<Answer>, (Reason, String)> {
    let config = cdps_core::config::PortConfig {
        client: String::new(),
        targets: Vec::new(),
        local: Vec::new(),
        liveness: node.liveness.clone(),
        ..config
    };
    let secret = random::bytes().map(Secret::new).map_err(|error| (Reason::Refused, error.to_string()))?;
    let seed = node.seed() ^ u64::from(connect.session.port).rotate_left(32);
    let engine = Engine::target(config, connect, secret, crate::clock::now(), seed).map_err(|error| {
        node.log(
            Level::Error,
            "session",
            format_args!("a connect request was accepted with a bad configuration: {error}"),
        );
        (Reason::Refused, error.to_string())
    })?;
    port.install(engine);
    let over = holder_over(node, &connect.client);
    let settled = node.sessions.lock().settle(connect, port, over);
    let outranked = settled.map_err(|denial| (denial.reason, denial.text))?;
    if let Some(former) = &outranked {
        former.call(|engine, now| engine.handle_outranked(now));
    }
    keep_accepted(node, connect)?;
    if port.fence.is_revoked() {
        return Err((Reason::StaleGeneration, String::new()));
    }
    if !node.admit(port) {
        return Err((Reason::Shutdown, String::new()));
    }
    let answer =
        port.read(|engine| engine.answer(node.addresses())).ok_or((Reason::Refused, String::new()))?;
    Ok(is_alone(node, &connect.client).then_some(answer))
}

/// Keeps what a client has accepted, before the source hears of it: nothing that was received under this generation may be forgotten.
fn keep_accepted(node: &NodeShared, connect: &Connect) -> Result<(), (Reason, String)> {
    let Some(state) = &node.state else { return Ok(()) };
    let accepted = [(connect.session.node, connect.generation)];
    state.store(Owner::Client, &connect.client, accepted).map_err(|error| not_kept(node, &error))
}

/// A generation that cannot be kept is not used.
fn not_kept(node: &NodeShared, error: &KeepError) -> (Reason, String) {
    let text = format!("the generation cannot be kept: {error}");
    node.log(Level::Error, "session", format_args!("{text}"));
    (Reason::Refused, text)
}

/// A port asks for a session. Its generation is kept before anybody else hears of it.
pub(crate) fn ask(port: &Arc<PortShared>, target: NodeId, connect: Connect) {
    let node = Arc::clone(&port.node);
    let (client, generation) = (&connect.client, connect.generation);
    let tell = move |node: &Arc<NodeShared>, connect| {
        node.call(|engine, now| engine.tell(now, target, NodeBody::Connect(connect), false));
    };
    match &node.state {
        Some(state) if !state.covers(Owner::Port, client, node.id, generation) => {}
        Some(_) | None => return tell(&node, connect),
    }
    if port.keeping.swap(true, Ordering::AcqRel) {
        // It is being kept; the port asks again.
        return;
    }
    let port = Arc::clone(port);
    // The disk may take its time, and neither links nor callbacks wait for it.
    port.node.clone().io(0).spawn_blocking(move || {
        let own = [(node.id, connect.generation)];
        let kept = node.state.as_ref().map_or(Ok(()), |state| state.store(Owner::Port, &connect.client, own));
        port.keeping.store(false, Ordering::Release);
        match kept {
            Ok(()) => tell(&node, connect),
            Err(error) => {
                let (reason, text) = not_kept(&node, &error);
                let answer = Answer::refusal(&connect, reason, Generation::default(), text);
                port.call(|engine, now| engine.handle_answer(now, &answer));
            }
        }
    });
}

fn refuse(node: &Arc<NodeShared>, connect: &Connect, reason: Reason, text: String) {
    node.counts.connects_refused.fetch_add(1, Ordering::Relaxed);
    let highest = node.highest(&connect.client, connect.session.node);
    let answer = Answer::refusal(connect, reason, highest, text);
    node.call(|engine, now| engine.tell(now, connect.session.node, NodeBody::Answer(answer), false));
}

impl NodeShared {
    /// What an answer says of where this node listens: addresses that mean something elsewhere.
    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        let named = self.listening.iter().filter(|address| !address.ip().is_unspecified());
        named.take(wire::MAX_ADDRESSES).copied().collect()
    }
}

impl Sessions {
    /// A request is not decided on after all.
    fn withdraw(&mut self, port: &Arc<PortShared>) {
        self.pending -= 1;
        self.forget(port);
    }
}
