//! Changes of a live port (L8): addresses of its targets come and go, timeouts and policies are set anew. What is refused changes nothing.

use std::net::SocketAddr;

use thiserror::Error;

use super::event::{Action, Event};
use super::path::{Dial, Path};
use super::state::{self, Call, Link, StateError};
use super::{Payload, Port, flow_mark};
use crate::cluster::Health;
use crate::config::{Address, ConfigError, PortConfig};
use crate::id::{NodeId, PathId};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire;

/// Why a change of a live port was refused. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ChangeError {
    /// The port is gone.
    #[error(transparent)]
    State(#[from] StateError),
    /// The node is not among the port's targets. A target port has none.
    #[error("node {node} is not among the targets of the port")]
    NotATarget {
        /// The node.
        node: NodeId,
    },
    /// The target has the address already, whatever its class.
    #[error("node {node} has the address {remote} already")]
    AddressThere {
        /// The target.
        node: NodeId,
        /// The address.
        remote: SocketAddr,
    },
    /// The target does not have the address.
    #[error("node {node} does not have the address {remote}")]
    NoSuchAddress {
        /// The target.
        node: NodeId,
        /// The address.
        remote: SocketAddr,
    },
    /// The address is the only one of the target.
    #[error("{remote} is the last address of node {node}: add another one first")]
    LastAddress {
        /// The target.
        node: NodeId,
        /// The address.
        remote: SocketAddr,
    },
    /// The value cannot be changed once the port exists: it was agreed on with the peer, belongs to the node, or has a call of its own.
    #[error("{name} cannot be changed on a live port")]
    Fixed {
        /// Name of the value.
        name: &'static str,
    },
    /// The values are out of range, or contradict each other or the node's timers.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl<S: Payload, R: Clone> Port<S, R> {
    fn may_change(&self) -> Result<(), StateError> {
        state::next(Call::Change, self.state, self.link).map(drop)
    }

    fn target_index(&self, node: NodeId) -> Result<usize, ChangeError> {
        let at = self.config.targets.iter().position(|t| t.node == node);
        at.ok_or(ChangeError::NotATarget { node })
    }

    /// The port has paths to this node (also while it waits for its return, F5), or is about to have.
    fn is_with(&self, node: NodeId) -> bool {
        let has_paths = self.link == Link::Up || !self.paths.is_empty();
        self.peer == Some(node) && (self.attempt.is_some() || has_paths)
    }

    /// Adds an address to a target: at the end of its list, and if the port is connected to that target, or on its way there, as a path of the
    /// session, which is dialled at once.
    ///
    /// # Errors
    /// No target of this port, the address is there, or there are [`wire::MAX_PATHS`]; the port is gone.
    pub fn add_address(&mut self, now: Time, node: NodeId, address: Address) -> Result<(), ChangeError> {
        self.may_change()?;
        let target = self.target_index(node)?;
        let remote = address.remote;
        let present = self.is_with(node);
        // Addresses that the target's answer gave become its list.
        let mut addresses = self.config.targets[target].addresses.clone();
        if addresses.is_empty() && present {
            let known = |p: &Path| Some(Address { remote: p.remote?, class: p.class.unwrap_or_default() });
            addresses = self.paths.iter().filter_map(known).collect();
        }
        if addresses.iter().any(|a| a.remote == remote) {
            return Err(ChangeError::AddressThere { node, remote });
        }
        if addresses.len() >= wire::MAX_PATHS {
            return Err(ConfigError::Paths { node, count: addresses.len() + 1 }.into());
        }
        addresses.push(address);
        let place = addresses.len() - 1;
        self.config.targets[target].addresses = addresses;
        if present {
            self.add_path(now, node, place, address);
        }
        Ok(())
    }

    fn add_path(&mut self, now: Time, node: NodeId, place: usize, address: Address) {
        let Some(path) = self.free_path() else { return };
        let (local, remote) = (self.local_for(place, address.remote), address.remote);
        self.paths.push(Path::to(path, local, address, self.last_conn));
        self.next_path = self.next_path.max(path.0 + 1);
        self.actions.push_back(Action::Watch { path, node, local, remote });
        if self.attempt.as_ref().is_none_or(|a| a.is_answered()) {
            self.dial(self.paths.len() - 1);
        }
        self.rearm(now);
    }

    /// One that the session has not had; when it has had all, any that it has not now.
    fn free_path(&self) -> Option<PathId> {
        let all = wire::MAX_PATHS as u16;
        let unused = |path: &u16| self.path_index(PathId(*path)).is_none();
        (self.next_path..all).chain(0..all).find(unused).map(PathId)
    }

    /// Removes an address from a target. If the port is connected to that target its path is given up at once: what was on its way there goes
    /// again on the others, or waits for one of them. The last normal address may go as long as a standby one is left, which carries then.
    /// The peer sees a path that is lost; it is not told that it is gone, and keeps it as dead among its paths until the session ends.
    ///
    /// # Errors
    /// No target of this port, no such address, or the only one; the port is gone.
    pub fn remove_address(&mut self, now: Time, node: NodeId, remote: SocketAddr) -> Result<(), ChangeError> {
        self.may_change()?;
        let target = self.target_index(node)?;
        let addresses = &mut self.config.targets[target].addresses;
        let Some(place) = addresses.iter().position(|a| a.remote == remote) else {
            return Err(ChangeError::NoSuchAddress { node, remote });
        };
        if addresses.len() == 1 {
            return Err(ChangeError::LastAddress { node, remote });
        }
        addresses.remove(place);
        if self.is_with(node)
            && let Some(at) = self.paths.iter().position(|p| p.remote == Some(remote))
        {
            self.remove_path(now, at);
        }
        Ok(())
    }

    fn remove_path(&mut self, now: Time, at: usize) {
        let path = self.paths[at].id;
        let dial = std::mem::replace(&mut self.paths[at].dial, Dial::Wait { at: Time::NEVER });
        let was_up = matches!(dial, Dial::Up(_));
        if let Dial::Up(conn) = &dial {
            self.take_back(at, conn);
        }
        let removed = self.paths.remove(at);
        self.last_conn = self.last_conn.max(removed.last_conn);
        match dial {
            Dial::Dialling { conn } => {
                self.actions.push_back(Action::Hangup { path, conn, farewell: None });
            }
            Dial::Up(conn) => {
                self.actions.push_back(Action::Hangup { path, conn: conn.id, farewell: None });
            }
            Dial::Wait { .. } | Dial::Passive => {}
        }
        self.actions.push_back(Action::Unwatch { path });
        self.kicks &= !(1 << path.0);
        self.turn = 0;
        if removed.shown != Health::Dead {
            self.events.push(Event::Path { path, health: Health::Dead, reason: Reason::Closed });
        }
        if was_up && self.paths_up() == 0 {
            self.pathless_since = now;
            self.hasten_dials(now);
        }
        self.weigh_doubts();
        // Receipts and acknowledgments that were on it may be lost.
        self.receiver.rewind_completions();
        self.feed_back(now, true);
        self.offer(now);
        self.rearm(now);
    }

    /// Sets timeouts and policies anew: acknowledgment model of later sends, autoswitch, backup selection, balance, send buffer and its
    /// marks, `max_pending_events`, fragment, and the timeouts of receipts, users, connects, switches and closes. A connect, switch or close that
    /// is under way keeps its deadline. All else in `config` must be as it is, and all of it together is checked as at the creation.
    ///
    /// # Errors
    /// What cannot be changed, or contradicts itself; the port is gone.
    pub fn reconfigure(&mut self, now: Time, config: PortConfig) -> Result<(), ChangeError> {
        self.may_change()?;
        if let Some(name) = self.config.fixed_difference(&config) {
            return Err(ChangeError::Fixed { name });
        }
        config.check()?;
        self.config = config;
        self.flow_marks =
            (flow_mark(&self.config, self.config.flow_high), flow_mark(&self.config, self.config.flow_low));
        self.watch_flow();
        self.offer(now);
        self.rearm(now);
        Ok(())
    }
}
