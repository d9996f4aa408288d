//! What happens to a port's connection and paths, as Python sees it.

use std::sync::Arc;
use std::time::Duration;

use cdps::{
    BackupChoice, ConnStatus, FenceRequest, FlowReason, Generation, Health, LossRecord, NodeId, PathId,
    PeerState, Reason, Sn, StreamId, Trigger, Verdict,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::reason_name;

/// Something that happened to a port. `kind` says what; attributes that it does not have are None.
#[pyclass(frozen, weakref, module = "cdps", get_all)]
#[derive(Clone, Default)]
pub(crate) struct Event {
    /// Of the connection: connected, connect_failed, down, drained, switching, switched, switch_failed, recovered, reset (at a target: the
    /// source has reset the session), closed. Of its paths: path. Of messages: overdue (the other end's user has not acknowledged one for
    /// longer than the port's user_ack_timeout), resolved (what became of one that ended as DeliveryUnknown), flow (the send buffer
    /// has passed a mark). And what is asked: choose_backup (answered with Port.choose_backup), fence (with Port.fenced).
    kind: &'static str,
    /// The node that it is about: where the port is, was, or was to go (connected, connect_failed, down, switching, switched,
    /// switch_failed, recovered, choose_backup, fence).
    node: Option<u32>,
    /// Generation of the session, as (role epoch, counter) (connected, switched, recovered, reset); of the target that was given up (fence).
    generation: Option<(u64, u64)>,
    /// Why, as an upper-case name (connect_failed, down, switching, switch_failed, closed, path, choose_backup).
    reason: Option<String>,
    /// Paths that are up now (connected, recovered).
    paths_up: Option<u16>,
    /// Paths that there are (connected, recovered).
    paths: Option<u16>,
    /// Which path (path).
    path: Option<u16>,
    /// good, suspect or dead (path).
    health: Option<&'static str>,
    /// Completed messages that only the former target's port, not its user, had said to have (switched).
    only_receipted: Option<u64>,
    /// Whether the target went on with the session, and said what it had (recovered).
    kept: Option<bool>,
    /// What the loss of the target was decided on, and what came of it, as a dictionary; its text is all of it as one line (down,
    /// switching, switched).
    decision: Option<Decision>,
    /// Number of the message, as its SendHandle has it (overdue, resolved).
    sn: Option<u64>,
    /// Its stream (overdue).
    stream: Option<u32>,
    /// For how many seconds it has been waiting at least (overdue).
    waited: Option<f64>,
    /// not_delivered, delivered or acknowledged, in the words of its target (resolved).
    verdict: Option<&'static str>,
    /// What the target's user acknowledged it with, if it did (resolved).
    rc: Option<i32>,
    /// on: the backlog is above the high mark, hold back; off: it is down at the low one (flow). Never the same twice in a row.
    flow: Option<&'static str>,
    /// Why messages pile up: window, path, switchover or suspend (flow).
    cause: Option<&'static str>,
    /// Bytes that are queued or unfinished (flow).
    bytes: Option<u64>,
    /// Messages that are queued or unfinished (flow).
    messages: Option<u64>,
    /// Nodes that the port may go to, in listed order (choose_backup).
    candidates: Option<Vec<u32>>,
    /// Seconds that are left of the lease, for which the port waits without a yes (fence).
    lease_left: Option<f64>,
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
        say("verdict", self.verdict.map(str::to_owned));
        say("rc", self.rc.map(|rc| rc.to_string()));
        say("flow", self.flow.map(str::to_owned));
        say("cause", self.cause.map(str::to_owned));
        say("bytes", self.bytes.map(|bytes| bytes.to_string()));
        say("messages", self.messages.map(|messages| messages.to_string()));
        say("kept", self.kept.map(|kept| kept.to_string()));
        say("candidates", self.candidates.as_ref().map(|nodes| format!("{nodes:?}")));
        say("lease_left", self.lease_left.map(|left| left.to_string()));
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
            ConnStatus::Down { node, reason, ref decision } => {
                Event { decision: Decision::of(decision), ..Event::of("down", Some(node), Some(reason)) }
            }
            ConnStatus::Drained => Event::of("drained", None, None),
            ConnStatus::Switching { from, reason, ref decision } => {
                Event { decision: Decision::of(decision), ..Event::of("switching", Some(from), Some(reason)) }
            }
            ConnStatus::Switched { node, generation, only_receipted, ref decision } => Event {
                generation: Some(pair(generation)),
                only_receipted: Some(only_receipted),
                decision: Decision::of(decision),
                ..Event::of("switched", Some(node), None)
            },
            ConnStatus::Recovered { node, generation, paths_up, paths, kept } => Event {
                kept: Some(kept),
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
        let health = Some(health_name(health));
        Event { path: Some(path.0), health, ..Event::of("path", None, Some(reason)) }
    }

    pub(crate) fn overdue(sn: Sn, stream: StreamId, waited: Duration) -> Event {
        Event {
            sn: Some(sn.0),
            stream: Some(stream.0),
            waited: Some(waited.as_secs_f64()),
            ..Event::of("overdue", None, None)
        }
    }

    pub(crate) fn resolved(sn: Sn, verdict: Verdict) -> Event {
        let (verdict, rc) = match verdict {
            Verdict::NotDelivered => ("not_delivered", None),
            Verdict::Delivered => ("delivered", None),
            Verdict::Acknowledged(rc) => ("acknowledged", Some(rc)),
        };
        Event { sn: Some(sn.0), verdict: Some(verdict), rc, ..Event::of("resolved", None, None) }
    }

    pub(crate) fn flow(on: bool, cause: FlowReason, bytes: u64, messages: u64) -> Event {
        let cause = match cause {
            FlowReason::Window => "window",
            FlowReason::Path => "path",
            FlowReason::Switchover => "switchover",
            FlowReason::Suspend => "suspend",
        };
        Event {
            flow: Some(if on { "on" } else { "off" }),
            cause: Some(cause),
            bytes: Some(bytes),
            messages: Some(messages),
            ..Event::of("flow", None, None)
        }
    }

    pub(crate) fn choose_backup(choice: &BackupChoice) -> Event {
        Event {
            candidates: Some(choice.candidates.iter().map(|node| node.0).collect()),
            ..Event::of("choose_backup", Some(choice.failed), Some(choice.reason))
        }
    }

    pub(crate) fn fence(request: &FenceRequest) -> Event {
        Event {
            generation: Some(pair(request.generation)),
            lease_left: Some(request.lease_left.as_secs_f64()),
            ..Event::of("fence", Some(request.node), None)
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

pub(crate) fn health_name(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Suspect => "suspect",
        Health::Dead => "dead",
    }
}

/// The record of a loss (F11), made a dictionary when it is asked for: no Python object may lie in a queue.
#[derive(Clone)]
pub(crate) struct Decision(Arc<LossRecord>);

impl Decision {
    fn of(record: &LossRecord) -> Option<Decision> {
        Some(Decision(Arc::new(record.clone())))
    }
}

impl<'py> IntoPyObject<'py> for Decision {
    type Target = PyDict;
    type Output = Bound<'py, PyDict>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        let (record, dict) = (&*self.0, PyDict::new(py));
        let seconds = |time: Duration| time.as_secs_f64();
        dict.set_item("node", record.node.0)?;
        dict.set_item("generation", pair(record.generation))?;
        dict.set_item("trigger", trigger_name(record.trigger))?;
        dict.set_item("timer", record.timer.map(|timer| timer.name))?;
        dict.set_item("timer_value", record.timer.map(|timer| seconds(timer.value)))?;
        dict.set_item("measured", record.timer.map(|timer| seconds(timer.measured)))?;
        dict.set_item("heard", seconds(record.heard))?;
        let membership = record.membership.map(|state| match state {
            PeerState::Reachable { .. } => "reachable",
            PeerState::Unreachable { .. } => "unreachable",
            PeerState::Down => "down",
        });
        dict.set_item("membership", membership)?;
        dict.set_item("isolated", record.isolated)?;
        dict.set_item("late_by", record.late.map(|(by, _)| seconds(by)))?;
        dict.set_item("late", record.late.map(|(_, ago)| seconds(ago)))?;
        dict.set_item("grace", record.grace.map(seconds))?;
        dict.set_item("lease", record.lease.map(|(end, _)| end.text()))?;
        dict.set_item("lease_after", record.lease.map(|(_, after)| seconds(after)))?;
        let paths = record.paths.iter().map(|p| (p.path.0, health_name(p.health), p.heard.map(seconds)));
        dict.set_item("paths", paths.collect::<Vec<_>>())?;
        let tried = record.tried.iter().map(|(node, reason)| (node.0, reason_name(*reason)));
        dict.set_item("tried", tried.collect::<Vec<_>>())?;
        dict.set_item("text", record.to_string())?;
        Ok(dict)
    }
}

fn trigger_name(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::NoContact => "no_contact",
        Trigger::NoPath => "no_path",
        Trigger::NoReceipt => "no_receipt",
        Trigger::NodeDown => "node_down",
        Trigger::Restarted => "restarted",
        Trigger::NoUserAck => "no_user_ack",
        Trigger::Denied(_) => "denied",
        Trigger::Asked => "asked",
        Trigger::BufferChanged => "buffer_changed",
    }
}
