//! What a port's engine asks of the world, carried out. No lock is held here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cdps_core::id::{ConnId, NodeId, PathId, Sn};
use cdps_core::node::LinkKey;
use cdps_core::port::Action;
use cdps_core::wire::{Frame, NodeBody};

use crate::conn::dial;
use crate::received;
use crate::session;
use crate::shared::PortShared;

pub(crate) fn carry_out(port: &Arc<PortShared>, action: Action) {
    match action {
        Action::Tell { node, body: NodeBody::Connect(connect), .. } => session::ask(port, node, connect),
        Action::Tell { node, body, all_links } => {
            let revoked = match &body {
                NodeBody::Revoke { generation, .. } => Some(*generation),
                NodeBody::Connect(_)
                | NodeBody::Answer(_)
                | NodeBody::Released { .. }
                | NodeBody::Bye { .. } => None,
            };
            let fenced = port.node.call(|engine, now| engine.tell(now, node, body, all_links));
            if let Some(generation) = revoked {
                port.call(|engine, now| engine.handle_fenced(now, generation, fenced));
            }
        }
        Action::Watch { path, node, local, remote } => watch(port, path, node, local, remote),
        Action::Unwatch { path } => unwatch(port, path),
        Action::Dial { path, conn, session, generation, node, local, remote, secret } => {
            dial::start(port, dial::Target { path, conn, session, generation, node, local, remote, secret });
        }
        Action::Hangup { path, conn, farewell } => hang_up(port, path, conn, farewell),
        Action::Assemble { sn } => assemble(port, sn),
        // The first is obeyed under the lock, before anything else can be delivered; the second is read off the engine after each call.
        Action::Revoke | Action::Rearm { .. } => {}
    }
}

/// Keeps a link for a path, and tells the port how it and its node are.
fn watch(port: &Arc<PortShared>, path: PathId, node: NodeId, local: Option<IpAddr>, remote: SocketAddr) {
    let link = port.node.call(|engine, now| engine.watch(now, node, local, remote));
    let key = LinkKey::Dialled(link);
    if let Some(former) = port.slot(path, |slot| slot.link.replace(link)) {
        port.node.unwatch(port, path, LinkKey::Dialled(former));
        port.node.call(|engine, now| engine.unwatch(now, former));
    }
    port.node.watch(port, path, key);
    port.tell(
        |engine| Some(engine.link_state(key)),
        |engine, now, state| engine.handle_link(now, path, state),
    );
}

fn unwatch(port: &Arc<PortShared>, path: PathId) {
    if let Some(link) = port.slot(path, |slot| slot.link.take()) {
        port.node.unwatch(port, path, LinkKey::Dialled(link));
        port.node.call(|engine, now| engine.unwatch(now, link));
    }
}

fn hang_up(port: &Arc<PortShared>, path: PathId, conn: ConnId, farewell: Option<Frame>) {
    let (made, dial) = port.slot(path, |slot| {
        let dial = slot.dial.take_if(|(number, _)| *number == conn);
        (slot.take_if(|c| c.number == conn), dial)
    });
    if let Some((_, Some(task))) = dial {
        task.abort();
    }
    if let Some(made) = made {
        made.hang_up(farewell);
    }
}

fn assemble(port: &Arc<PortShared>, sn: Sn) {
    let Some(Some(parts)) = port.call(|engine, _| engine.take_parts(sn)) else { return };
    let whole = received::assemble(parts.total, &parts.base, &parts.ranges, &parts.asides);
    port.call(|engine, now| engine.handle_assembled(now, sn, whole));
}
