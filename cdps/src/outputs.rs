//! What a node's engine wants and tells, carried out. No lock is held here.

use std::sync::Arc;

use cdps_core::cluster::{ClusterChange, ClusterEvent};
use cdps_core::id::Side;
use cdps_core::node::{LinkKey, Output};
use cdps_core::reason::Reason;
use cdps_core::wire::{Frame, Hello};

use crate::conn::control::Control;
use crate::conn::dial;
use crate::hub::NodeShared;
use crate::log::Level;
use crate::session;

pub(crate) fn carry_out(node: &Arc<NodeShared>, output: Output) {
    match output {
        Output::Dial { link, conn, node: peer, local, remote } => {
            let control = Control::new(LinkKey::Dialled(link), conn);
            node.links.insert(Arc::clone(&control));
            let task = dial::control(Arc::clone(node), control, link, peer, local, remote);
            node.io(link.0 as usize).spawn(node.watched(task));
        }
        Output::Hangup { key, conn } => {
            if let Some(control) = node.links.remove(key, conn) {
                control.hang_up();
            }
        }
        Output::Transmit { key, conn } => {
            if let Some(control) = node.links.control(key, conn) {
                control.wake();
            }
        }
        Output::Link { key, state } => {
            for (port, path) in node.links.watchers(key) {
                port.call(|engine, now| engine.handle_link(now, path, state));
            }
        }
        Output::Peer { node: peer, state } => {
            node.log(Level::Info, "cluster", format_args!("node {peer}: {state:?}"));
            for port in node.port_list() {
                port.call(|engine, now| engine.handle_peer(now, peer, state));
            }
        }
        Output::Isolated(isolated) => {
            for port in node.port_list() {
                port.call(|engine, _| engine.handle_isolated(isolated));
            }
        }
        Output::Lease { node: peer, incarnation, until } => {
            if node.links.renew(peer, incarnation, until) {
                for port in node.port_list() {
                    if port.side == Side::Target
                        && (port.session.node, port.session.incarnation) == (peer, incarnation)
                    {
                        port.lease_renewed();
                    }
                }
            }
        }
        Output::PeerGone { node: peer, incarnation } => {
            node.links.forget_lease(peer, incarnation);
            node.sessions.lock().forget_incarnation(peer, incarnation);
            for port in node.port_list() {
                if port.side == Side::Target
                    && (port.session.node, port.session.incarnation) == (peer, incarnation)
                {
                    port.call(|engine, now| engine.handle_superseded(now, Reason::PeerRestarted));
                }
            }
        }
        Output::Cluster(event) => tell_clients(node, event),
        Output::Message { from, from_incarnation, body } => {
            session::receive(node, from, from_incarnation, body)
        }
    }
}

fn tell_clients(node: &Arc<NodeShared>, event: ClusterEvent) {
    for client in node.client_list() {
        client.tell(event.clone());
        if event.change == ClusterChange::Quorum(true) {
            client.take_effect();
        }
    }
}

impl NodeShared {
    /// Takes a control connection that a peer made.
    pub(crate) fn accept_control(self: &Arc<Self>, hello: &Hello) -> Arc<Control> {
        let control =
            self.links.insert_new(|| self.call_only(|engine, now| engine.handle_accepted(now, hello)));
        self.act();
        control
    }

    /// A control connection is over.
    pub(crate) fn forget_control(&self, control: &Control) {
        self.links.remove(control.key, control.serial);
    }

    /// The next frame for a control connection.
    pub(crate) fn next_frame(&self, key: LinkKey, serial: u32) -> Option<Frame> {
        self.call_only(|engine, _| engine.poll_transmit(key, serial))
    }
}
