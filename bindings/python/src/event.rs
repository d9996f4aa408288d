//! What happens to a port's connection and paths, as Python sees it.

use std::time::Duration;

use cdps::{ConnStatus, Generation, Health, NodeId, PathId, Reason, Sn, StreamId};
use pyo3::prelude::*;

use crate::failure::reason_name;

/// Something that happened to a port's connection, or to one of its paths. `kind` says what; attributes that it does not have are
/// None.
#[pyclass(frozen, weakref, module = "cdps", get_all)]
#[derive(Clone, Default)]
pub(crate) struct Event {
    /// connected, connect_failed, down, drained, switching, switched, closed, path, or overdue: the other end's user has not acknowledged
    /// a message for longer than the port's user_ack_timeout.
    kind: &'static str,
    /// The node that it is about (all but drained, closed, path and overdue).
    node: Option<u32>,
    /// Generation of the session, as (role epoch, counter) (connected, switched).
    generation: Option<(u64, u64)>,
    /// Why, as an upper-case name (connect_failed, down, switching, closed, path).
    reason: Option<String>,
    /// Paths that are up now (connected).
    paths_up: Option<u16>,
    /// Paths that there are (connected).
    paths: Option<u16>,
    /// Which path (path).
    path: Option<u16>,
    /// good, suspect or dead (path).
    health: Option<&'static str>,
    /// Completed messages that only the former target's port, not its user, had said to have (switched).
    only_receipted: Option<u64>,
    /// Number of the message, as its SendHandle has it (overdue).
    sn: Option<u64>,
    /// Its stream (overdue).
    stream: Option<u32>,
    /// For how many seconds it has been waiting at least (overdue).
    waited: Option<f64>,
}

#[pymethods]
impl Event {
    fn __repr__(&self) -> String {
        let mut text = format!("<cdps.Event {}", self.kind);
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text += &format!(" {name}={value}");
            }
        };
        say("path", self.path.map(|path| path.to_string()));
        say("health", self.health.map(str::to_owned));
        say("node", self.node.map(|node| node.to_string()));
        say("generation", self.generation.map(|(epoch, counter)| format!("{epoch}/{counter}")));
        say("paths_up", self.paths_up.map(|up| up.to_string()));
        say("paths", self.paths.map(|paths| paths.to_string()));
        say("only_receipted", self.only_receipted.map(|count| count.to_string()));
        say("sn", self.sn.map(|sn| sn.to_string()));
        say("stream", self.stream.map(|stream| stream.to_string()));
        say("waited", self.waited.map(|waited| waited.to_string()));
        say("reason", self.reason.clone());
        text + ">"
    }
}

impl Event {
    pub(crate) fn status(status: &ConnStatus) -> Event {
        match *status {
            ConnStatus::Connected { node, generation, paths_up, paths } => Event {
                generation: Some(pair(generation)),
                paths_up: Some(paths_up),
                paths: Some(paths),
                ..Event::of("connected", Some(node), None)
            },
            ConnStatus::ConnectFailed { node, reason } => {
                Event::of("connect_failed", Some(node), Some(reason))
            }
            ConnStatus::Down { node, reason, .. } => Event::of("down", Some(node), Some(reason)),
            ConnStatus::Drained => Event::of("drained", None, None),
            ConnStatus::Switching { from, reason, .. } => Event::of("switching", Some(from), Some(reason)),
            ConnStatus::Switched { node, generation, only_receipted, .. } => Event {
                generation: Some(pair(generation)),
                only_receipted: Some(only_receipted),
                ..Event::of("switched", Some(node), None)
            },
            ConnStatus::Recovered { node, generation, paths_up, paths, kept: _ } => Event {
                generation: Some(pair(generation)),
                paths_up: Some(paths_up),
                paths: Some(paths),
                ..Event::of("recovered", Some(node), None)
            },
            ConnStatus::SwitchFailed { node, reason } => Event::of("switch_failed", Some(node), Some(reason)),
            ConnStatus::Reset { generation } => {
                Event { generation: Some(pair(generation)), ..Event::of("reset", None, None) }
            }
            ConnStatus::Closed { reason } => Event::of("closed", None, Some(reason)),
        }
    }

    pub(crate) fn path(path: PathId, health: Health, reason: Reason) -> Event {
        let health = match health {
            Health::Good => "good",
            Health::Suspect => "suspect",
            Health::Dead => "dead",
        };
        Event { path: Some(path.0), health: Some(health), ..Event::of("path", None, Some(reason)) }
    }

    pub(crate) fn overdue(sn: Sn, stream: StreamId, waited: Duration) -> Event {
        Event {
            sn: Some(sn.0),
            stream: Some(stream.0),
            waited: Some(waited.as_secs_f64()),
            ..Event::of("overdue", None, None)
        }
    }

    fn of(kind: &'static str, node: Option<NodeId>, reason: Option<Reason>) -> Event {
        Event { kind, node: node.map(|node| node.0), reason: reason.map(reason_name), ..Event::default() }
    }
}

/// A generation as Python compares it.
pub(crate) fn pair(generation: Generation) -> (u64, u64) {
    (generation.role_epoch, generation.counter)
}
