//! Connections that others make to this node: one listener per local address, for control and for every port (architecture, point 9).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cdps_core::cluster::Health;
use cdps_core::id::{ConnId, Generation, LinkId, NodeId, PathId, SessionId};
use cdps_core::node::LinkKey;
use cdps_core::reason::Reason;
use cdps_core::wire::{self, Frame, Hello, Purpose, Welcome};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::control;
use super::handshake::{self, Claim, Failed, Greeting, Prover};
use super::{Conn, socket};
use crate::hub::NodeShared;
use crate::log::Level;
use crate::random;

/// Connections of a node that have not finished their handshake, at most.
const HANDSHAKES: u64 = 256;
/// How long a listener rests when the system is out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// Accepts connections, as long as the node lives.
pub(crate) async fn listen(node: Arc<NodeShared>, listener: std::net::TcpListener) {
    let listener = match socket::register(listener) {
        Ok(listener) => listener,
        Err(error) => {
            return node.log(Level::Error, "listen", format_args!("a listener cannot be used: {error}"));
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, from)) => accept(&node, stream, from),
            Err(error) => rest(&node, &listener, &error).await,
        }
    }
}

async fn rest(node: &NodeShared, listener: &TcpListener, error: &io::Error) {
    // A connection that was gone before it was accepted is nobody's fault; anything else does not get better by trying at once.
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
        let at = listener.local_addr().ok();
        node.log_limited(Level::Warn, "listen", format_args!("cannot accept on {at:?}: {error}"));
        tokio::time::sleep(REST).await;
    }
}

fn accept(node: &Arc<NodeShared>, stream: TcpStream, from: SocketAddr) {
    node.counts.accepted.fetch_add(1, Ordering::Relaxed);
    let greeting = Greeting::new(stream);
    if node.counts.handshaking.fetch_add(1, Ordering::Relaxed) >= HANDSHAKES {
        node.counts.handshaking.fetch_sub(1, Ordering::Relaxed);
        greeting.refuse(Reason::Limit);
        return node.handshake_failed(from, &Failed::Refuse(Reason::Limit));
    }
    tokio::spawn(node.watched(greet(Arc::clone(node), greeting, from)));
}

/// A place among the handshakes in progress.
struct Place<'a>(&'a NodeShared);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.counts.handshaking.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn greet(node: Arc<NodeShared>, mut greeting: Greeting, from: SocketAddr) {
    let place = Place(&node);
    let made = timeout(node.liveness.handshake_timeout, receive(&node, &mut greeting)).await;
    drop(place);
    match made.unwrap_or(Err(Failed::Late)) {
        Ok(Guest::Control(hello)) => control::accepted(node, &hello, greeting).await,
        Ok(Guest::Data(guest)) => guest.admit(&node, greeting, from),
        Err(error) => {
            if let Failed::Refuse(reason) = &error {
                greeting.refuse(*reason);
            }
            node.handshake_failed(from, &error);
        }
    }
}

/// Who has come, after its handshake.
enum Guest {
    Control(Hello),
    Data(DataGuest),
}

struct DataGuest {
    session: SessionId,
    node: NodeId,
    link: LinkId,
    path: PathId,
    conn: ConnId,
    generation: Generation,
}

async fn receive(node: &Arc<NodeShared>, greeting: &mut Greeting) -> Result<Guest, Failed> {
    socket::tune(&greeting.stream, node.liveness.tcp_user_timeout())?;
    let hello = match greeting.read().await? {
        Frame::Hello(hello) => hello,
        other => return Err(Failed::Unexpected(handshake::name(&other))),
    };
    node.call(|engine, now| engine.judge_hello(now, &hello)).map_err(Failed::Refuse)?;
    let mut welcome = Welcome {
        version: wire::VERSION,
        node: node.id,
        incarnation: node.incarnation,
        features: 0,
        nonce: random::bytes()?,
        mac: [0; 32],
    };
    let Purpose::Data { port, path, conn, generation } = hello.purpose else {
        greeting.write(&Frame::Welcome(welcome)).await?;
        return Ok(Guest::Control(hello));
    };
    let session = SessionId { node: hello.node, incarnation: hello.incarnation, port };
    let target = node.session(session).ok_or(Failed::Refuse(Reason::UnknownSession))?;
    let judged = target.read(|engine| engine.judge_conn(path, conn, generation).map(|()| engine.secret()));
    let secret = judged.ok_or(Failed::Refuse(Reason::UnknownSession))?.map_err(Failed::Refuse)?;
    let claim = Claim {
        secret: &secret,
        dialler_nonce: &hello.nonce,
        acceptor_nonce: &welcome.nonce,
        session,
        path,
        conn,
        generation,
    };
    welcome.mac = claim.prove(Prover::Target);
    greeting.write(&Frame::Welcome(welcome.clone())).await?;
    match greeting.read().await? {
        Frame::Proof { mac } if claim.holds(Prover::Source, &mac) => {}
        Frame::Proof { .. } => return Err(Failed::Refuse(Reason::BadProof)),
        Frame::Refuse(refuse) => return Err(Failed::Refused(refuse)),
        other => return Err(Failed::Unexpected(handshake::name(&other))),
    }
    greeting.write(&Frame::Ready).await?;
    Ok(Guest::Data(DataGuest { session, node: hello.node, link: hello.link, path, conn, generation }))
}

impl DataGuest {
    /// Puts the connection to work, if its session still wants it.
    fn admit(self, node: &Arc<NodeShared>, greeting: Greeting, from: SocketAddr) {
        let DataGuest { path, conn, generation, .. } = self;
        let Some(port) = node.session(self.session) else {
            return node.handshake_failed(from, &Failed::Refuse(Reason::UnknownSession));
        };
        let (stream, rest) = greeting.into_parts();
        let up = Conn::start(&port, path, conn, stream, rest, |engine, now| {
            engine.judge_conn(path, conn, generation)?;
            engine.handle_conn_up(now, path, conn);
            Ok(())
        });
        if let Err(reason) = up {
            return node.handshake_failed(from, &Failed::Refuse(reason));
        }
        // The path runs over the peer's link of this number: its health is the path's.
        let key = LinkKey::Accepted { node: self.node, link: self.link };
        node.watch(&port, path, key);
        let state = node.read(|engine| engine.link_state(key));
        if state.health != Health::Dead {
            // If the control connection of that pair is only on its way, no news is not bad news.
            port.call(|engine, now| engine.handle_link(now, path, state));
        }
    }
}
