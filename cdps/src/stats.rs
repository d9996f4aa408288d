//! Figures that are always kept (U1): of a node, its ports and their paths. [`crate::Node::metrics`] has them as text.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cdps_core::id::PathId;
use cdps_core::port::{PathStats as PathFigures, Stats as PortStats};
use cdps_core::reason::Reason;

use crate::conn::Conn;
use crate::hub::NodeShared;
use crate::log::Level;
use crate::shared::PortShared;

/// Figures of a node since it was opened. All but `ports`, `clients` and `handshaking` count, and never fall.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeStats {
    /// Connections accepted by the listeners.
    pub accepted: u64,
    /// Connections refused or dropped before their handshake was done.
    pub handshakes_failed: u64,
    /// Connections dropped because the peer broke the protocol or a limit, after the handshake.
    pub protocol_errors: u64,
    /// Connections dropped because of a wrong checksum.
    pub checksum_errors: u64,
    /// Connections that ended without a word.
    pub connections_lost: u64,
    /// Dials that did not succeed.
    pub dials_failed: u64,
    /// Connect requests of sources that were refused, each time that one was: by the client, or because there is none, or for a generation
    /// that is not new.
    pub connects_refused: u64,
    /// Messages to other nodes that were dropped for want of a connection or of room. Whoever sends one repeats it.
    pub messages_dropped: u64,
    /// Times that the node's own loop was late by more than a heartbeat (T9).
    pub late_loops: u64,
    /// Log lines held back by the rate limit.
    pub log_suppressed: u64,
    /// Ports that exist now.
    pub ports: u64,
    /// Clients that are registered now.
    pub clients: u64,
    /// Connections in handshake now.
    pub handshaking: u64,
    /// Sum over all ports that it has had; what is not counted but measured, over those that exist.
    pub traffic: PortStats,
}

/// Figures of one path of a port's present session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStats {
    /// What the session knows of it.
    pub figures: PathFigures,
    /// What its connections have carried, since the port was created.
    pub carried: Carried,
}

/// What connections have carried, handshakes not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Bytes written: frames, with what they carry.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Frames written.
    pub frames_sent: u64,
    /// Frames read.
    pub frames_received: u64,
}

impl Carried {
    /// With what this connection has carried so far.
    pub(crate) fn with(self, conn: &Conn) -> Carried {
        let counters = conn.counters();
        Carried {
            bytes_sent: self.bytes_sent + counters.bytes_out.load(Relaxed),
            bytes_received: self.bytes_received + counters.bytes_in.load(Relaxed),
            frames_sent: self.frames_sent + counters.frames_out.load(Relaxed),
            frames_received: self.frames_received + counters.frames_in.load(Relaxed),
        }
    }
}

/// What a node counts as it goes.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicU64,
    pub(crate) handshaking: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) connects_refused: AtomicU64,
    pub(crate) log_suppressed: AtomicU64,
    protocol_errors: AtomicU64,
    checksum_errors: AtomicU64,
    connections_lost: AtomicU64,
}

impl Counts {
    /// Counts the end of a connection; how heavy a log line about it is.
    pub(crate) fn connection_ended(&self, reason: Reason) -> Level {
        let (counter, level) = match reason {
            Reason::ConnectionLost | Reason::PeerClosed => (&self.connections_lost, Level::Info),
            Reason::BadChecksum => (&self.checksum_errors, Level::Warn),
            _ => (&self.protocol_errors, Level::Warn),
        };
        counter.fetch_add(1, Relaxed);
        level
    }
}

impl NodeShared {
    pub(crate) fn stats(&self) -> NodeStats {
        let (mut traffic, ports, clients) = self.traffic();
        for port in &ports {
            traffic.add(&port.stats());
        }
        let counts = &self.counts;
        let engine = self.read(cdps_core::node::Node::counters);
        NodeStats {
            accepted: counts.accepted.load(Relaxed),
            handshakes_failed: counts.handshakes_failed.load(Relaxed),
            protocol_errors: counts.protocol_errors.load(Relaxed),
            checksum_errors: counts.checksum_errors.load(Relaxed),
            connections_lost: counts.connections_lost.load(Relaxed),
            dials_failed: counts.dials_failed.load(Relaxed),
            connects_refused: counts.connects_refused.load(Relaxed),
            messages_dropped: engine.messages_dropped,
            late_loops: engine.late,
            log_suppressed: counts.log_suppressed.load(Relaxed),
            ports: ports.len() as u64,
            clients,
            handshaking: counts.handshaking.load(Relaxed),
            traffic,
        }
    }
}

impl PortShared {
    pub(crate) fn stats(&self) -> PortStats {
        self.read(|engine| engine.stats()).unwrap_or_default()
    }

    pub(crate) fn path_stats(&self) -> Vec<PathStats> {
        let known = |engine: &crate::shared::Engine| -> Vec<PathFigures> {
            let mut paths: Vec<_> = engine.path_ids().filter_map(|path| engine.path_stats(path)).collect();
            // A target learns of them in any order.
            paths.sort_unstable_by_key(|figures| figures.path);
            paths
        };
        let with = |figures: PathFigures| PathStats { figures, carried: self.carried(figures.path) };
        self.read(known).unwrap_or_default().into_iter().map(with).collect()
    }

    fn carried(&self, path: PathId) -> Carried {
        self.slot(path, |slot| match &slot.conn {
            Some(conn) => slot.carried.with(conn),
            None => slot.carried,
        })
    }
}
