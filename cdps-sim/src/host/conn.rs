//! Making and ending connections: dial, listen, handshake.

use cdps_core::cluster::Health;
use cdps_core::id::{ConnId, Generation, LinkId, NodeId, PathId, SessionId, Side as PortSide};
use cdps_core::node::LinkKey;
use cdps_core::port::{Action, Link};
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::time::nanos;
use cdps_core::wire::{self, Decoder, FragmentHead, Frame, Hello, Purpose, Refuse, Welcome};
use std::net::SocketAddr;

use super::{Host, HostEvent};
use crate::broken::Broken;
use crate::checksum::CRC;
use crate::env::{Env, SECOND, note};
use crate::net::{ACCEPTOR, DIALLER, Side};
use crate::payload::Received;
use crate::rules::Invariant;

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The network has not answered.
    Dialling,
    /// Acceptor: HELLO is to come.
    AwaitHello,
    /// Dialler: WELCOME is to come.
    AwaitWelcome,
    /// Acceptor, data: PROOF is to come.
    AwaitProof,
    /// Dialler, data: READY is to come.
    AwaitReady,
    /// In use.
    Ready,
    /// Shut down for writing; what comes is dropped.
    Lingering,
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// Not known yet.
    Unknown,
    /// A link's control connection.
    Control { key: LinkKey, serial: u32 },
    /// A path of a port.
    Data { slot: usize, path: PathId, conn: ConnId, generation: Generation, link: Option<LinkKey> },
}

/// Where the body of a fragment goes that is being read.
#[derive(Debug)]
pub(super) enum Place {
    Nowhere,
    /// A buffer of the whole message.
    Whole(Received),
    /// To its offset in a buffer that is shared with other connections.
    Into(Received),
    /// A buffer of its own.
    Aside(Received),
}

/// A fragment whose body is being read.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) head: FragmentHead,
    pub(super) len: u32,
    pub(super) done: u32,
    pub(super) crc: u32,
    pub(super) sum: u32,
    pub(super) place: Place,
}

/// A connection as its driver sees it.
#[derive(Debug)]
pub(crate) struct HostConn {
    pub(super) side: Side,
    pub(super) stage: Stage,
    pub(super) usage: Use,
    pub(super) decoder: Decoder,
    pub(super) input: Vec<u8>,
    pub(super) body: Option<Body>,
    pub(super) output: Vec<u8>,
    pub(super) written: usize,
    /// The engine wants to be polled for this connection.
    pub(super) kicked: bool,
    /// Frames received whole since READY.
    pub(super) frames: u64,
    secret: Secret,
    nonces: [u64; 2],
    hello: Option<Hello>,
}

impl HostConn {
    fn new(side: Side, stage: Stage, usage: Use) -> HostConn {
        HostConn {
            side,
            stage,
            usage,
            decoder: Decoder::new(CRC),
            input: Vec::new(),
            body: None,
            output: Vec::new(),
            written: 0,
            kicked: false,
            frames: 0,
            secret: Secret::NONE,
            nonces: [0; 2],
            hello: None,
        }
    }
}

/// Stands for the HMAC: equal only if secret, label and nonces are.
fn proof(secret: &Secret, label: u8, nonces: [u64; 2]) -> [u8; 32] {
    let mut state = 0x5bd1_e995_u64 ^ u64::from(label);
    for word in secret.expose().iter().map(|b| u64::from(*b)).chain(nonces) {
        state = (state ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
    let mut mac = [0; 32];
    mac[..8].copy_from_slice(&state.to_le_bytes());
    mac[8] = label;
    mac
}

fn nonce_bytes(nonce: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&nonce.to_le_bytes());
    bytes
}

fn nonce_of(bytes: &[u8; 32]) -> u64 {
    bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

impl Host {
    fn start_dial(&mut self, env: &mut Env, remote: SocketAddr, usage: Use) -> Option<usize> {
        let c = env.net_dial(self.index, remote)?;
        self.conns.insert(c, HostConn::new(DIALLER, Stage::Dialling, usage));
        self.later(env, nanos(self.plan.liveness.handshake_timeout), HostEvent::Overdue(c));
        Some(c)
    }

    pub(super) fn dial_control(
        &mut self,
        env: &mut Env,
        link: LinkId,
        serial: u32,
        node: NodeId,
        remote: SocketAddr,
    ) {
        let key = LinkKey::Dialled(link);
        let nonce = env.rng.next();
        let hello = self.hello(link, node, nonce, Purpose::Control);
        let Some(c) = self.start_dial(env, remote, Use::Control { key, serial }) else {
            let now = self.clock(env);
            if let Some(engine) = self.engine.as_mut() {
                engine.handle_lost(now, key, serial, Reason::DialFailed);
            }
            return;
        };
        if let Some(hc) = self.conns.get_mut(&c) {
            hc.nonces[0] = nonce;
            hc.hello = Some(hello);
        }
        self.controls.insert((key, serial), c);
    }

    pub(super) fn dial_data(&mut self, env: &mut Env, slot: usize, action: Action) {
        let Action::Dial { path, conn, session, generation, node, remote, secret, .. } = action else {
            return;
        };
        note!(
            env,
            "n{} p{slot}: dial path {path} conn {conn} to {remote}, generation {generation}",
            self.node()
        );
        let link = match self.slots[slot].as_ref().and_then(|s| s.links.get(&path)) {
            Some(LinkKey::Dialled(link)) => *link,
            Some(LinkKey::Accepted { .. }) | None => LinkId(0),
        };
        let nonce = env.rng.next();
        let hello =
            self.hello(link, node, nonce, Purpose::Data { port: session.port, path, conn, generation });
        let usage = Use::Data { slot, path, conn, generation, link: None };
        let Some(c) = self.start_dial(env, remote, usage) else {
            let now = self.clock(env);
            if let Some(s) = self.slots[slot].as_mut() {
                s.port.handle_conn_lost(now, path, conn, Reason::DialFailed);
            }
            return;
        };
        if let Some(hc) = self.conns.get_mut(&c) {
            hc.secret = secret;
            hc.nonces[0] = nonce;
            hc.hello = Some(hello);
        }
        if let Some(s) = self.slots[slot].as_mut() {
            s.conns.insert((path, conn), c);
        }
    }

    fn hello(&self, link: LinkId, peer: NodeId, nonce: u64, purpose: Purpose) -> Hello {
        Hello {
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            features: 0,
            node: self.node(),
            peer,
            incarnation: self.incarnation,
            link,
            nonce: nonce_bytes(nonce),
            purpose,
        }
    }

    /// The network says that a dialled connection is open.
    pub(super) fn connected(&mut self, env: &mut Env, c: usize) {
        let Some(hc) = self.conns.get_mut(&c) else {
            env.net_close(c, DIALLER, true);
            return;
        };
        if hc.stage != Stage::Dialling {
            return;
        }
        hc.stage = Stage::AwaitWelcome;
        if let Some(hello) = hc.hello.take() {
            self.say(env, c, &Frame::Hello(hello));
        }
    }

    /// The listener has a connection.
    pub(super) fn accepted(&mut self, env: &mut Env, c: usize) {
        let hc = HostConn::new(ACCEPTOR, Stage::AwaitHello, Use::Unknown);
        self.conns.insert(c, hc);
        self.later(env, nanos(self.plan.liveness.handshake_timeout), HostEvent::Overdue(c));
    }

    /// A handshake took too long, or a lingering connection has had its second.
    pub(super) fn overdue(&mut self, env: &mut Env, c: usize) {
        match self.conns.get(&c).map(|hc| hc.stage) {
            Some(Stage::Ready) | None => {}
            Some(Stage::Lingering) => self.hang_up(env, c, None),
            Some(
                Stage::Dialling
                | Stage::AwaitHello
                | Stage::AwaitWelcome
                | Stage::AwaitProof
                | Stage::AwaitReady,
            ) => self.lost(env, c, Reason::Timeout),
        }
    }

    /// A connection is over: the engine that it served is told.
    pub(super) fn lost(&mut self, env: &mut Env, c: usize, reason: Reason) {
        let Some(hc) = self.conns.remove(&c) else { return };
        let now = self.clock(env);
        let abrupt = env.rng.chance(50);
        env.net_close(c, hc.side, abrupt);
        if hc.stage == Stage::Lingering {
            return;
        }
        match hc.usage {
            Use::Unknown => {}
            Use::Control { key, serial } => {
                note!(env, "n{}: control {key:?} lost: {reason}", self.node());
                if self.controls.remove(&(key, serial)).is_some()
                    && let Some(engine) = self.engine.as_mut()
                {
                    engine.handle_lost(now, key, serial, reason);
                }
            }
            Use::Data { slot, path, conn, .. } => {
                note!(env, "n{} p{slot}: path {path} conn {conn} lost: {reason}", self.node());
                let Some(s) = self.slots[slot].as_mut() else { return };
                if s.conns.get(&(path, conn)) == Some(&c) {
                    s.conns.remove(&(path, conn));
                    if hc.stage == Stage::Ready {
                        s.history.down(path, &self.plan.liveness, env.now);
                    }
                    s.port.handle_conn_lost(now, path, conn, reason);
                }
            }
        }
    }

    /// The engine gives a connection up: if it was one, its path has died.
    pub(super) fn note_death(&mut self, env: &Env, slot: usize, path: PathId, c: usize) {
        let ready = |c: &usize| self.conns.get(c).is_some_and(|hc| hc.stage == Stage::Ready);
        let replaced = self.slots[slot].as_ref().is_some_and(|s| {
            let newest = s.conns.range(..=(path, ConnId(u32::MAX))).rev().take_while(|k| k.0.0 == path);
            newest.map(|k| k.1).find(|c| ready(c)).is_some_and(|newest| *newest != c)
        });
        let dies = ready(&c) && !replaced;
        if let Some(s) = self.slots[slot].as_mut().filter(|_| dies) {
            s.history.down(path, &self.plan.liveness, env.now);
        }
    }

    /// The engine wants a connection ended, with a last word or without.
    pub(super) fn hang_up(&mut self, env: &mut Env, c: usize, farewell: Option<&Frame>) {
        let Some(hc) = self.conns.get_mut(&c) else { return };
        if let Some(frame) = farewell
            && hc.stage == Stage::Ready
        {
            wire::encode_frame(frame, CRC, &mut hc.output);
            hc.stage = Stage::Lingering;
            hc.body = None;
            hc.kicked = false;
            self.flush(env, c);
            self.later(env, SECOND, HostEvent::Overdue(c));
            return;
        }
        if let Some(hc) = self.conns.remove(&c) {
            let abrupt = env.rng.chance(50);
            env.net_close(c, hc.side, abrupt);
        }
    }

    /// A frame of the handshake. `Err`: the connection is refused.
    pub(super) fn handshake(&mut self, env: &mut Env, c: usize, frame: Frame) -> Result<(), Reason> {
        let Some(stage) = self.conns.get(&c).map(|hc| hc.stage) else { return Ok(()) };
        match (stage, frame) {
            (Stage::AwaitHello, Frame::Hello(hello)) => self.hello_came(env, c, hello),
            (Stage::AwaitWelcome, Frame::Welcome(welcome)) => self.welcome_came(env, c, &welcome),
            (Stage::AwaitProof, Frame::Proof { mac }) => self.proof_came(env, c, mac),
            (Stage::AwaitReady, Frame::Ready) => {
                self.ready(env, c);
                Ok(())
            }
            (Stage::AwaitWelcome | Stage::AwaitReady, Frame::Refuse(refuse)) => {
                let reason = wire::reason_of(refuse.reason);
                self.lost(env, c, reason);
                Ok(())
            }
            (_, _) => Err(Reason::ProtocolError),
        }
    }

    fn hello_came(&mut self, env: &mut Env, c: usize, hello: Hello) -> Result<(), Reason> {
        let now = self.clock(env);
        let Some(engine) = self.engine.as_mut() else { return Ok(()) };
        engine.judge_hello(now, &hello)?;
        let nonce = env.rng.next();
        let nonces = [nonce_of(&hello.nonce), nonce];
        let mut mac = [0; 32];
        if let Purpose::Data { port, path, conn, generation } = hello.purpose {
            let session = SessionId { node: hello.node, incarnation: hello.incarnation, port };
            let (slot, s) = self
                .slots
                .iter()
                .enumerate()
                .rev()
                .filter_map(|(i, s)| Some((i, s.as_ref()?)))
                .find(|(_, s)| s.side == PortSide::Target && s.session == session)
                .ok_or(Reason::UnknownSession)?;
            s.port.judge_conn(path, conn, generation)?;
            let secret = s.port.secret();
            mac = proof(&secret, b't', nonces);
            let link = Some(LinkKey::Accepted { node: hello.node, link: hello.link });
            if let Some(hc) = self.conns.get_mut(&c) {
                hc.usage = Use::Data { slot, path, conn, generation, link };
                hc.secret = secret;
                hc.nonces = nonces;
                hc.stage = Stage::AwaitProof;
            }
        }
        let welcome = Welcome {
            version: wire::VERSION,
            node: self.node(),
            incarnation: self.incarnation,
            features: 0,
            nonce: nonce_bytes(nonce),
            mac,
        };
        self.say(env, c, &Frame::Welcome(welcome));
        if hello.purpose == Purpose::Control
            && let Some(engine) = self.engine.as_mut()
        {
            let (key, serial) = engine.handle_accepted(now, &hello);
            if let Some(hc) = self.conns.get_mut(&c) {
                hc.usage = Use::Control { key, serial };
                hc.stage = Stage::Ready;
            }
            self.controls.insert((key, serial), c);
            self.flush(env, c);
        }
        Ok(())
    }

    fn welcome_came(&mut self, env: &mut Env, c: usize, welcome: &Welcome) -> Result<(), Reason> {
        let now = self.clock(env);
        let Some(hc) = self.conns.get_mut(&c) else { return Ok(()) };
        match hc.usage {
            Use::Control { key: LinkKey::Dialled(link), serial } => {
                hc.stage = Stage::Ready;
                if let Some(engine) = self.engine.as_mut() {
                    engine.handle_dialled(now, link, serial, welcome)?;
                }
                self.flush(env, c);
                Ok(())
            }
            Use::Data { .. } => {
                hc.nonces[1] = nonce_of(&welcome.nonce);
                if welcome.mac != proof(&hc.secret, b't', hc.nonces) {
                    return Err(Reason::BadProof);
                }
                let mac = proof(&hc.secret, b's', hc.nonces);
                hc.stage = Stage::AwaitReady;
                self.say(env, c, &Frame::Proof { mac });
                Ok(())
            }
            Use::Control { key: LinkKey::Accepted { .. }, .. } | Use::Unknown => Err(Reason::ProtocolError),
        }
    }

    fn proof_came(&mut self, env: &mut Env, c: usize, mac: [u8; 32]) -> Result<(), Reason> {
        let Some(hc) = self.conns.get_mut(&c) else { return Ok(()) };
        if mac != proof(&hc.secret, b's', hc.nonces) {
            return Err(Reason::BadProof);
        }
        // The port may have changed its mind since HELLO.
        if let Use::Data { slot, path, conn, generation, .. } = hc.usage {
            let s = self.slots[slot].as_mut().ok_or(Reason::UnknownSession)?;
            s.port.judge_conn(path, conn, generation)?;
            s.conns.insert((path, conn), c);
        }
        self.say(env, c, &Frame::Ready);
        self.ready(env, c);
        Ok(())
    }

    /// A data connection may carry messages.
    fn ready(&mut self, env: &mut Env, c: usize) {
        let now = self.clock(env);
        let Some(hc) = self.conns.get_mut(&c) else { return };
        hc.stage = Stage::Ready;
        if env.broken == Some(Broken::NoChecksum) {
            hc.decoder.set_checksum(wire::Checksum(None));
        }
        let Use::Data { slot, path, conn, link, .. } = hc.usage else { return };
        note!(env, "n{} p{slot}: path {path} conn {conn} is up", self.plan.hosts[self.index].node);
        let Some(s) = self.slots[slot].as_mut() else { return };
        s.came_up = env.now;
        s.history.up(path, env.now);
        let lost = s.port.link() == Link::Switching && s.port.generation() == s.settled;
        s.port.handle_conn_up(now, path, conn);
        if s.port.link() == Link::Up {
            s.settled = s.port.generation();
            env.oracle.tally.returns += u64::from(lost);
        } else if lost {
            let text = format!("{}: the target is back, and the link {}", s.session, s.port.link().name());
            env.oracle.fail(Invariant::Grace, text);
        }
        if let (Some(key), Some(engine)) = (link, self.engine.as_ref()) {
            s.links.insert(path, key);
            let state = engine.link_state(key);
            if state.health != Health::Dead {
                // If the control connection of that pair is only on its way, no news is not bad news.
                s.history.link(path, state.health, &self.plan.liveness, env.now);
                s.port.handle_link(now, path, state);
            }
        }
    }

    /// Ends a connection with a word why.
    pub(super) fn refuse(&mut self, env: &mut Env, c: usize, reason: Reason) {
        note!(env, "n{}: conn {c} refused: {reason}", self.node());
        let refuse = Refuse {
            reason: reason as u16,
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            text: String::new(),
        };
        if let Some(hc) = self.conns.get(&c)
            && hc.side == ACCEPTOR
        {
            self.say(env, c, &Frame::Refuse(refuse));
        }
        self.lost(env, c, reason);
    }
}
