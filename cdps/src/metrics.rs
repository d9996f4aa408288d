//! Statistics as Prometheus text, exposition format 0.0.4 (U1). One table for each kind of thing; names, help and values stand side by side.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use cdps_core::cluster::Health;
use cdps_core::config::PathClass;
use cdps_core::id::Side;
use cdps_core::port::{Link, SWITCH_CLASSES, State, Stats as PortStats};

use crate::hub::NodeShared;
use crate::shared::PortShared;
use crate::stats::{NodeStats, PathStats};

#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Seconds(Duration),
    /// Not known: there is no sample.
    Unknown,
}

use Value::{Count, Seconds, Unknown};

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

use Kind::{Counter, Gauge};

/// Name (behind `cdps_node_`, `cdps_port_` or `cdps_path_`), type, help, and where the value comes from.
type Family<T> = (&'static str, Kind, &'static str, fn(&T) -> Value);

const NODE: &[Family<NodeStats>] = &[
    ("connections_accepted_total", Counter, "Connections accepted by the listeners.", |s| Count(s.accepted)),
    (
        "handshakes_failed_total",
        Counter,
        "Connections refused or dropped before their handshake was done.",
        |s| Count(s.handshakes_failed),
    ),
    (
        "protocol_errors_total",
        Counter,
        "Connections dropped because the peer broke the protocol or a limit.",
        |s| Count(s.protocol_errors),
    ),
    ("checksum_errors_total", Counter, "Connections dropped because of a wrong checksum.", |s| {
        Count(s.checksum_errors)
    }),
    ("connections_lost_total", Counter, "Connections that ended without a word.", |s| {
        Count(s.connections_lost)
    }),
    ("dials_failed_total", Counter, "Dials that did not succeed.", |s| Count(s.dials_failed)),
    ("connects_refused_total", Counter, "Connect requests of sources that were refused.", |s| {
        Count(s.connects_refused)
    }),
    (
        "control_messages_dropped_total",
        Counter,
        "Messages to other nodes dropped for want of a connection or of room.",
        |s| Count(s.messages_dropped),
    ),
    ("late_loops_total", Counter, "Times that the node's own loop was late by more than a heartbeat.", |s| {
        Count(s.late_loops)
    }),
    ("log_lines_dropped_total", Counter, "Log lines held back by the rate limit.", |s| {
        Count(s.log_suppressed)
    }),
    ("ports", Gauge, "Ports that exist.", |s| Count(s.ports)),
    ("clients", Gauge, "Clients that are registered.", |s| Count(s.clients)),
    ("handshakes", Gauge, "Connections in handshake.", |s| Count(s.handshaking)),
];

/// Of each port, and as a sum with the ports that are gone of the node.
const TRAFFIC: &[Family<PortStats>] = &[
    ("messages_sent_total", Counter, "Messages accepted for sending.", |s| Count(s.messages_sent)),
    ("sent_bytes_total", Counter, "Payload of the messages accepted for sending.", |s| Count(s.bytes_sent)),
    ("messages_received_total", Counter, "Messages handed out for the user.", |s| Count(s.messages_received)),
    ("received_bytes_total", Counter, "Payload of the messages handed out for the user.", |s| {
        Count(s.bytes_received)
    }),
    ("completed_total", Counter, "Sends that ended well.", |s| Count(s.completed)),
    ("nacked_total", Counter, "Sends that failed.", |s| Count(s.nacked)),
    (
        "retransmitted_total",
        Counter,
        "Messages or fragments that travelled again on another connection.",
        |s| Count(s.retransmitted),
    ),
    ("duplicates_total", Counter, "Messages or fragments that had arrived before, and were dropped.", |s| {
        Count(s.duplicates)
    }),
    (
        "late_frames_total",
        Counter,
        "Messages and frames that came on a connection of an old generation or one given up.",
        |s| Count(s.late),
    ),
    ("suspicions_total", Counter, "Times that a path was suspected.", |s| Count(s.suspicions)),
    ("path_losses_total", Counter, "Times that a path lost its connection.", |s| Count(s.path_losses)),
    ("rejoins_total", Counter, "Times that a path which was dead carried again.", |s| Count(s.rejoins)),
    ("downs_total", Counter, "Times that the connection was down.", |s| Count(s.downs)),
    ("resets_total", Counter, "Times that a target came back and went on with the session.", |s| {
        Count(s.resets)
    }),
    ("unfinished_messages", Gauge, "Messages from the oldest unfinished one to the newest.", |s| {
        Count(s.unfinished_messages)
    }),
    ("unfinished_bytes", Gauge, "Payload queued or unfinished.", |s| Count(s.unfinished_bytes)),
    ("queued_bytes", Gauge, "Payload that no path has taken yet.", |s| Count(s.queued_bytes)),
    ("in_flight_bytes", Gauge, "Bytes on their way on paths.", |s| Count(s.in_flight)),
    ("unreleased_bytes", Gauge, "Cost of what has come and was not released by the user.", |s| {
        Count(s.unreleased)
    }),
    ("pending_events", Gauge, "Ends of sends that the user has not been told of.", |s| {
        Count(s.pending_events)
    }),
    ("paths", Gauge, "Paths that there are; at a target also those that its source has removed.", |s| {
        Count(s.paths.into())
    }),
    ("paths_up", Gauge, "Paths that have a connection.", |s| Count(s.paths_up.into())),
];

const PORT: &[Family<Port>] = &[
    ("connected", Gauge, "1 if it is in a session whose link is up, else 0.", |p| {
        let in_session = matches!(p.state, State::Connected | State::Stopped | State::ConnectedTo);
        Count((in_session && p.link == Link::Up).into())
    }),
    ("send_window_bytes", Gauge, "Window that the peer has granted.", |p| Count(p.stats.send_window)),
    ("send_credit_bytes", Gauge, "What is left of the window that the peer has granted.", |p| {
        Count(p.stats.send_credit)
    }),
    ("receive_window_bytes", Gauge, "Window granted to the peer.", |p| Count(p.stats.receive_window)),
    ("switch_longest_seconds", Gauge, "How long the longest switch to another target took.", |p| {
        Seconds(p.stats.longest_switch)
    }),
    ("switch_last_seconds", Gauge, "How long the last switch to another target took.", |p| {
        if p.stats.switches > 0 { Seconds(p.stats.last_switch) } else { Unknown }
    }),
];

const PATH: &[Family<PathStats>] = &[
    ("up", Gauge, "1 if it has a connection, else 0.", |p| Count(p.figures.up.into())),
    ("good", Gauge, "1 if it is good, 0 if it is suspect or dead.", |p| {
        Count((p.figures.health == Health::Good).into())
    }),
    ("standby", Gauge, "1 if it carries only while no normal path is good, else 0.", |p| {
        p.figures.class.map_or(Unknown, |class| Count((class == PathClass::Standby).into()))
    }),
    ("round_trip_seconds", Gauge, "Smoothed time from handing bytes over to their receipt.", |p| {
        p.figures.rtt.map_or(Unknown, Seconds)
    }),
    ("rate_bytes_per_second", Gauge, "Measured rate.", |p| {
        if p.figures.rate > 0 { Count(p.figures.rate) } else { Unknown }
    }),
    ("in_flight_bytes", Gauge, "Bytes on their way.", |p| Count(p.figures.in_flight)),
    ("payload_sent_bytes_total", Counter, "Payload given to it in this session.", |p| {
        Count(p.figures.payload_sent)
    }),
    (
        "retransmitted_total",
        Counter,
        "Ranges taken from it in this session, to be sent again elsewhere.",
        |p| Count(p.figures.retransmitted),
    ),
    ("sent_bytes_total", Counter, "Bytes that its connections have written.", |p| {
        Count(p.carried.bytes_sent)
    }),
    ("received_bytes_total", Counter, "Bytes that its connections have read.", |p| {
        Count(p.carried.bytes_received)
    }),
    ("frames_sent_total", Counter, "Frames that its connections have written.", |p| {
        Count(p.carried.frames_sent)
    }),
    ("frames_received_total", Counter, "Frames that its connections have read.", |p| {
        Count(p.carried.frames_received)
    }),
    ("recent_deaths", Gauge, "How often it died of late; one death is forgotten a minute.", |p| {
        Count(p.figures.deaths.into())
    }),
    ("kept_out_seconds", Gauge, "For how long it must be well before it carries again.", |p| {
        Seconds(p.figures.kept_out)
    }),
];

/// A port as one look found it.
struct Port {
    labels: String,
    session: String,
    side: Side,
    peer: u32,
    state: State,
    link: Link,
    stats: PortStats,
    paths: Vec<(String, PathStats)>,
}

impl Port {
    fn look(node: &NodeShared, port: &Arc<PortShared>) -> Option<Port> {
        let (state, link, peer, stats) =
            port.read(|engine| (engine.state(), engine.link(), engine.peer(), engine.stats()))?;
        let client = port.client.lock().upgrade();
        let client = escaped(client.as_ref().map_or("", |client| client.name()));
        let labels = format!("node=\"{}\",port=\"{}\",client=\"{client}\"", node.id, port.number);
        let path = |stats: PathStats| (format!("{labels},path=\"{}\"", stats.figures.path), stats);
        let paths = port.path_stats().into_iter().map(path).collect();
        let (session, side, peer) = (port.session.to_string(), port.side, peer.map_or(0, |node| node.0));
        Some(Port { session, side, peer, state, link, stats, paths, labels })
    }
}

impl NodeShared {
    /// Everything that is counted and measured here, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let stats = self.stats();
        let mut ports = self.port_list();
        ports.sort_unstable_by_key(|port| port.number);
        let ports: Vec<Port> = ports.iter().filter_map(|port| Port::look(self, port)).collect();
        let node = format!("node=\"{}\"", self.id);
        let mut text = Text(String::new());
        text.families("cdps_node_", NODE, &[(&node, &stats)]);
        text.families("cdps_node_", TRAFFIC, &[(&node, &stats.traffic)]);
        text.switches("cdps_node_", &[(&node, &stats.traffic)]);
        text.info(&node, &self.name, &ports);
        let each: Vec<_> = ports.iter().map(|port| (port.labels.as_str(), port)).collect();
        text.families("cdps_port_", PORT, &each);
        let each: Vec<_> = ports.iter().map(|port| (port.labels.as_str(), &port.stats)).collect();
        text.families("cdps_port_", TRAFFIC, &each);
        text.switches("cdps_port_", &each);
        let paths = ports.iter().flat_map(|port| &port.paths);
        let each: Vec<_> = paths.map(|(labels, path)| (labels.as_str(), path)).collect();
        text.families("cdps_path_", PATH, &each);
        text.0
    }
}

struct Text(String);

impl Text {
    /// Writing to memory does not fail.
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{line}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// All samples of a family stand together, so the table is walked once, and the things once for each of its lines.
    fn families<T>(&mut self, prefix: &str, table: &[Family<T>], things: &[(&str, &T)]) {
        for (name, kind, help, value) in table {
            let kind = match kind {
                Counter => "counter",
                Gauge => "gauge",
            };
            self.head(&format!("{prefix}{name}"), kind, help);
            for (labels, thing) in things {
                match value(thing) {
                    Count(count) => self.line(format_args!("{prefix}{name}{{{labels}}} {count}")),
                    Seconds(time) => {
                        self.line(format_args!("{prefix}{name}{{{labels}}} {}", time.as_secs_f64()));
                    }
                    Unknown => {}
                }
            }
        }
    }

    /// How long switches took.
    fn switches(&mut self, prefix: &str, things: &[(&str, &PortStats)]) {
        let name = format!("{prefix}switch_duration_seconds");
        self.head(&name, "histogram", "Switches to another target, by how long they took.");
        for (labels, stats) in things {
            let mut below = 0;
            for (limit, count) in SWITCH_CLASSES.iter().zip(stats.switch_times) {
                below += count;
                let limit = limit.as_secs_f64();
                self.line(format_args!("{name}_bucket{{{labels},le=\"{limit}\"}} {below}"));
            }
            self.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", stats.switches));
            self.line(format_args!("{name}_sum{{{labels}}} {}", stats.switch_time.as_secs_f64()));
            self.line(format_args!("{name}_count{{{labels}}} {}", stats.switches));
        }
    }

    /// What belongs to which label.
    fn info(&mut self, node: &str, name: &str, ports: &[Port]) {
        self.head("cdps_node_info", "gauge", "1; the name of the node.");
        self.line(format_args!("cdps_node_info{{{node},name=\"{}\"}} 1", escaped(name)));
        self.head(
            "cdps_port_info",
            "gauge",
            "1; the session of the port, which end it is, and the node at the other end.",
        );
        for port in ports {
            let Port { labels, session, peer, .. } = port;
            let side = match port.side {
                Side::Source => "source",
                Side::Target => "target",
            };
            let line = format_args!(
                "cdps_port_info{{{labels},session=\"{session}\",side=\"{side}\",peer=\"{peer}\"}} 1"
            );
            self.line(line);
        }
    }
}

/// As the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
