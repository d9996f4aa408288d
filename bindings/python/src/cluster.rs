//! What happens in the cluster, as a client's Python sees it (N4).

use cdps::{ClusterChange, ClusterEvent as Told, LinkKey};
use pyo3::prelude::*;

use crate::event::health_name;

/// Something that changed in the cluster. `kind` says what; attributes that it does not have are None.
#[pyclass(frozen, weakref, module = "cdps", get_all)]
#[derive(Clone, Default)]
pub(crate) struct ClusterEvent {
    /// up, unreachable, path; effective: sources can connect to this client; and from an engine with a quorum also down, registered,
    /// gone, quorum, no_quorum.
    kind: &'static str,
    /// The node that it is about.
    node: u32,
    /// Number of the batch that it belongs to; of a path, the present one.
    membership: u64,
    /// Incarnation of the node, once it was heard (up).
    incarnation: Option<u64>,
    /// Name of the client (registered, gone).
    client: Option<String>,
    /// Where the path leads, as IP:PORT; None if the other node dials it (path).
    remote: Option<String>,
    /// Number of the path among those that the node which dials it has (path).
    link: Option<u32>,
    /// good, suspect or dead (path).
    health: Option<&'static str>,
}

#[pymethods]
impl ClusterEvent {
    fn __repr__(&self) -> String {
        let mut text = format!("<cdps.ClusterEvent {} node={}", self.kind, self.node);
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text += &format!(" {name}={value}");
            }
        };
        say("incarnation", self.incarnation.map(|incarnation| incarnation.to_string()));
        say("client", self.client.clone());
        say("remote", self.remote.clone());
        say("link", self.link.map(|link| link.to_string()));
        say("health", self.health.map(str::to_owned));
        text + ">"
    }
}

impl From<&Told> for ClusterEvent {
    fn from(told: &Told) -> ClusterEvent {
        let of = |kind| ClusterEvent {
            kind,
            node: told.node.0,
            membership: told.membership,
            ..ClusterEvent::default()
        };
        let about = |kind, client: &String| ClusterEvent { client: Some(client.clone()), ..of(kind) };
        match &told.change {
            ClusterChange::Up { incarnation } => {
                ClusterEvent { incarnation: incarnation.map(|incarnation| incarnation.0), ..of("up") }
            }
            ClusterChange::Unreachable => of("unreachable"),
            ClusterChange::Down => of("down"),
            ClusterChange::Registered { client } => about("registered", client),
            ClusterChange::Gone { client } => about("gone", client),
            ClusterChange::Quorum(true) => of("quorum"),
            ClusterChange::Quorum(false) => of("no_quorum"),
            ClusterChange::Path { link, remote, health } => ClusterEvent {
                remote: remote.map(|remote| remote.to_string()),
                link: Some(number(*link)),
                health: Some(health_name(*health)),
                ..of("path")
            },
            ClusterChange::Effective => of("effective"),
        }
    }
}

fn number(link: LinkKey) -> u32 {
    match link {
        LinkKey::Dialled(link) | LinkKey::Accepted { link, .. } => link.0,
    }
}
