//! Negotiation (Fig. 6, L3), and what else nodes tell each other about sessions. No lock is held where the user or an engine is called.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cdps_core::cluster::PeerState;
use cdps_core::id::{Generation, Incarnation, NodeId, SessionId, Side};
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::wire::{self, Answer, Connect, NodeBody, reason_of};

use crate::callbacks::Job;
use crate::client::{ClientShared, ConnectRequest, Decision};
use crate::hub::NodeShared;
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
    /// Highest generation accepted, per client and source node. Both are few: registered here, and members of the cluster.
    highest: HashMap<(String, NodeId), Generation>,
    /// Highest generation revoked, per session: a CONNECT that comes late must not bring it back. The oldest go first.
    revoked: VecDeque<(SessionId, Generation)>,
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
    Stale,
    /// It asks to go on with a session that is not there.
    Unknown,
    Full,
}

impl Sessions {
    pub(crate) fn port(&self, session: SessionId) -> Option<Arc<PortShared>> {
        self.table.get(&session).filter(|s| !s.pending).map(|s| Arc::clone(&s.port))
    }

    /// The port of a session, if it is of this generation or an earlier one.
    fn up_to(&self, session: SessionId, generation: Generation) -> Option<Arc<PortShared>> {
        self.table.get(&session).filter(|s| s.generation <= generation).map(|s| Arc::clone(&s.port))
    }

    pub(crate) fn highest(&self, client: &str, source: NodeId) -> Generation {
        self.highest.get(&(client.to_owned(), source)).copied().unwrap_or_default()
    }

    pub(crate) fn forget_client(&mut self, client: &str) {
        self.highest.retain(|(name, _), _| name != client);
    }

    /// Looks a CONNECT up, and makes it pending if it is to be decided on. A former port of the session that has told its user everything
    /// is in nobody's way.
    fn find(&mut self, connect: &Connect, port: &Arc<PortShared>, gone: Option<&Arc<PortShared>>) -> Found {
        let highest = self.highest(&connect.client, connect.session.node);
        let revoked = self.revoked.iter().any(|r| r.0 == connect.session && r.1 >= connect.generation);
        match self.table.get(&connect.session) {
            Some(known) if known.generation == connect.generation && known.pending => return Found::Pending,
            Some(known) if known.generation == connect.generation => {
                return Found::Accepted(Arc::clone(&known.port));
            }
            Some(known) if known.generation > connect.generation => return Found::Stale,
            Some(_) | None if connect.generation <= highest || revoked => return Found::Stale,
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
        let session = Session { generation: connect.generation, port: Arc::clone(port), pending: true };
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
    }

    /// The client has accepted. False: something newer has taken the place meanwhile, or the session was revoked.
    fn settle(&mut self, connect: &Connect, port: &Arc<PortShared>) -> bool {
        let key = (connect.client.clone(), connect.session.node);
        let highest = self.highest.get(&key).copied().unwrap_or_default();
        match self.table.get_mut(&connect.session) {
            Some(session) if Arc::ptr_eq(&session.port, port) && connect.generation > highest => {
                session.pending = false;
                self.highest.insert(key, connect.generation);
                true
            }
            Some(_) | None => false,
        }
    }

    /// The port goes on under a new generation. False: something newer has taken the place meanwhile, or the session was revoked.
    fn advance(&mut self, connect: &Connect, port: &Arc<PortShared>) -> bool {
        let revoked = self.revoked.iter().any(|r| r.0 == connect.session && r.1 >= connect.generation);
        match self.table.get_mut(&connect.session) {
            Some(session) if Arc::ptr_eq(&session.port, port) && !revoked => {
                session.generation = session.generation.max(connect.generation);
                let key = (connect.client.clone(), connect.session.node);
                let highest = self.highest.entry(key).or_default();
                *highest = connect.generation.max(*highest);
                true
            }
            Some(_) | None => false,
        }
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
            if let Some(port) = own_source(node, answer.session) {
                port.call(|engine, now| engine.handle_answer(now, &answer));
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
    let Some(client) = node.client(&connect.client) else {
        return refuse(node, &connect, Reason::NoSuchClient, String::new());
    };
    let session = connect.session;
    let lease = node.links.lease(session.node, session.incarnation);
    lease.fetch_max(
        node.read(|engine| engine.lease_until(session.node, session.incarnation)).0,
        Ordering::AcqRel,
    );
    let port = PortShared::new(node, node.next_number(), Side::Target, session, None, None, Some(lease));
    let mut found = node.sessions.lock().find(&connect, &port, None);
    if let Found::Former(former) = &found {
        former.call(|engine, now| engine.handle_superseded(now, Reason::Superseded));
        if !former.has_told_all() {
            // Two ports must not deliver the same streams at once. The source asks again.
            return;
        }
        found = node.sessions.lock().find(&connect, &port, Some(former));
    }
    match found {
        Found::Pending | Found::Former(_) => {}
        Found::Accepted(port) => repeat_answer(node, &connect, &port),
        Found::Reset(port) => reset(node, &connect, &port),
        Found::Stale => refuse(node, &connect, Reason::StaleGeneration, String::new()),
        Found::Unknown => refuse(node, &connect, Reason::UnknownSession, String::new()),
        Found::Full => refuse(node, &connect, Reason::Limit, "too many connect requests are waiting".into()),
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
        Ok(()) if node.sessions.lock().advance(connect, port) => repeat_answer(node, connect, port),
        // It was revoked at the same moment, and the answer to that is on its way.
        Ok(()) => {}
        Err((reason, text)) => refuse(node, connect, reason, text),
    }
}

fn repeat_answer(node: &Arc<NodeShared>, connect: &Connect, port: &Arc<PortShared>) {
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
            node.call(|engine, now| engine.tell(now, connect.session.node, NodeBody::Answer(answer), false));
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
            node.sessions.lock().forget(port);
            port.abandon();
            refuse(node, connect, reason, text);
        }
    }
}

fn accept(
    node: &Arc<NodeShared>,
    connect: &Connect,
    port: &Arc<PortShared>,
    config: cdps_core::config::PortConfig,
) -> Result<Answer, (Reason, String)> {
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
    let settled = node.sessions.lock().settle(connect, port);
    if !settled || port.fence.is_revoked() {
        return Err((Reason::Superseded, String::new()));
    }
    if !node.admit(port) {
        return Err((Reason::Shutdown, String::new()));
    }
    port.read(|engine| engine.answer(node.addresses())).ok_or((Reason::Refused, String::new()))
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
