//! Connections that this node makes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cdps_core::id::{ConnId, Generation, LinkId, NodeId, PathId, SessionId};
use cdps_core::node::LinkKey;
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::wire::{self, Frame, Hello, Purpose, Welcome};
use tokio::time::timeout;

use super::control::{self, Control};
use super::handshake::{self, Claim, Failed, Greeting, Prover};
use super::{Conn, socket};
use crate::hub::NodeShared;
use crate::log::Level;
use crate::random;
use crate::shared::PortShared;

/// A data connection to be made.
pub(crate) struct Target {
    pub(crate) path: PathId,
    pub(crate) conn: ConnId,
    pub(crate) session: SessionId,
    pub(crate) generation: Generation,
    pub(crate) node: NodeId,
    pub(crate) local: Option<IpAddr>,
    pub(crate) remote: SocketAddr,
    pub(crate) secret: Secret,
}

/// Begins to make a data connection. The engine hears how it went, unless it hangs up first.
pub(crate) fn start(port: &Arc<PortShared>, target: Target) {
    let (path, conn) = (target.path, target.conn);
    let link = port.slot(path, |slot| {
        // Until the task has its handle, the number alone says that the dial is wanted.
        slot.dial = Some((conn, None));
        slot.link.unwrap_or(LinkId(0))
    });
    let dial = port.node.watched(dial(Arc::clone(port), target, link));
    let task = port.node.io(usize::from(path.0)).spawn(dial);
    port.slot(path, |slot| {
        if let Some(dial) = slot.dial.as_mut().filter(|dial| dial.0 == conn) {
            dial.1 = Some(task.abort_handle());
        }
    });
}

async fn dial(port: Arc<PortShared>, target: Target, link: LinkId) {
    let (path, conn) = (target.path, target.conn);
    let made = timeout(port.node.liveness.handshake_timeout, reach(&port.node, &target, link)).await;
    match made.unwrap_or(Err(Failed::Late)) {
        Ok(greeting) => {
            let (stream, rest) = greeting.into_parts();
            // Refused only if it was hung up meanwhile, and then nobody waits for it.
            let _ = Conn::start(&port, path, conn, stream, rest, |engine, now| {
                engine.handle_conn_up(now, path, conn);
                Ok(())
            });
        }
        Err(error) => {
            port.slot(path, |slot| slot.dial.take_if(|dial| dial.0 == conn));
            port.node.dial_failed(target.node, target.remote, &error);
            port.call(|engine, now| engine.handle_conn_lost(now, path, conn, error.reason()));
        }
    }
}

/// Connects, and goes through the handshake of a data connection.
async fn reach(node: &NodeShared, target: &Target, link: LinkId) -> Result<Greeting, Failed> {
    let Target { path, conn, generation, .. } = *target;
    let purpose = Purpose::Data { port: target.session.port, path, conn, generation };
    let (hello, welcome, mut greeting) =
        greet(node, target.node, link, purpose, target.local, target.remote).await?;
    let claim = Claim {
        secret: &target.secret,
        dialler_nonce: &hello.nonce,
        acceptor_nonce: &welcome.nonce,
        session: target.session,
        path,
        conn,
        generation,
    };
    if !claim.holds(Prover::Target, &welcome.mac) {
        return Err(Failed::Refuse(Reason::BadProof));
    }
    greeting.write(&Frame::Proof { mac: claim.prove(Prover::Source) }).await?;
    match greeting.read().await? {
        Frame::Ready => Ok(greeting),
        Frame::Refuse(refuse) => Err(Failed::Refused(refuse)),
        other => Err(Failed::Unexpected(handshake::name(&other))),
    }
}

/// Connects, says HELLO, and takes the WELCOME.
async fn greet(
    node: &NodeShared,
    peer: NodeId,
    link: LinkId,
    purpose: Purpose,
    local: Option<IpAddr>,
    remote: SocketAddr,
) -> Result<(Hello, Welcome, Greeting), Failed> {
    let stream = socket::connect(local, remote).await?;
    socket::tune(&stream, node.liveness.tcp_user_timeout())?;
    let mut greeting = Greeting::new(stream);
    let hello = Hello {
        version_min: wire::VERSION,
        version_max: wire::VERSION,
        features: 0,
        node: node.id,
        peer,
        incarnation: node.incarnation,
        link,
        nonce: random::bytes()?,
        purpose,
    };
    greeting.write(&Frame::Hello(hello.clone())).await?;
    match greeting.read().await? {
        Frame::Welcome(welcome) => {
            handshake::check_welcome(&hello, &welcome)?;
            Ok((hello, welcome, greeting))
        }
        Frame::Refuse(refuse) => Err(Failed::Refused(refuse)),
        other => Err(Failed::Unexpected(handshake::name(&other))),
    }
}

/// Makes the control connection of a link, and carries it until it ends.
pub(crate) async fn control(
    node: Arc<NodeShared>,
    control: Arc<Control>,
    link: LinkId,
    peer: NodeId,
    local: Option<IpAddr>,
    remote: SocketAddr,
) {
    let made = tokio::select! {
        made = timeout(node.liveness.handshake_timeout, greet(&node, peer, link, Purpose::Control, local, remote)) => made,
        () = control.over() => return node.forget_control(&control),
    };
    let conn = control.serial;
    match made.unwrap_or(Err(Failed::Late)) {
        Ok((_, welcome, greeting)) => {
            let wanted = node.call(|engine, now| engine.handle_dialled(now, link, conn, &welcome));
            if wanted.is_ok() {
                node.log(Level::Info, "link", format_args!("link to node {peer} at {remote} is up"));
                return control::run(node, control, greeting).await;
            }
            node.forget_control(&control);
        }
        Err(error) => {
            node.forget_control(&control);
            node.dial_failed(peer, remote, &error);
            node.call(|engine, now| engine.handle_lost(now, LinkKey::Dialled(link), conn, error.reason()));
        }
    }
}
