//! Counters that are always on (U1).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cdps_core::cluster::Health;
use cdps_core::id::PathId;
use cdps_core::reason::Reason;
use cdps_core::time::Duration;

use crate::log::Level;
use crate::shared::{Engine, PortShared};

/// Counters of a node since it was opened.
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
    /// Log lines held back by the rate limit.
    pub log_suppressed: u64,
    /// Ports that exist now.
    pub ports: u64,
    /// Connections in handshake now.
    pub handshaking: u64,
}

/// Counters of a port since it was created.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// Messages accepted for sending.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages handed to the user.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Sends that ended well.
    pub completed: u64,
    /// Sends that failed.
    pub nacked: u64,
    /// Messages or fragments that travelled again.
    pub retransmitted: u64,
    /// Messages or fragments that had arrived before, and were dropped.
    pub duplicates: u64,
    /// Bytes of payload queued or unfinished now.
    pub unfinished_bytes: u64,
    /// Times that another target took over.
    pub switches: u64,
    /// How long the last such switch took.
    pub last_switch: Duration,
    /// Times that a path was suspected.
    pub suspicions: u64,
    /// One entry per path of the present session.
    pub paths: Vec<PathStats>,
}

/// Counters of one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStats {
    /// Which.
    pub path: PathId,
    /// How well it is heard.
    pub health: Health,
    /// Why it is not good, as the path event said; [`Reason::None`] if it is.
    pub cause: Reason,
    /// Whether a connection is up.
    pub up: bool,
    /// Smoothed time from handing bytes over to their receipt, if measured.
    pub rtt: Option<Duration>,
    /// Measured rate, bytes a second; 0: not known.
    pub rate: u64,
    /// Bytes of payload on their way.
    pub in_flight: u64,
    /// Bytes of payload given to the path in this session.
    pub payload_sent: u64,
    /// Ranges taken from it to be sent again elsewhere.
    pub retransmitted: u64,
    /// Bytes that the present connection has written.
    pub bytes_sent: u64,
    /// Bytes that it has read.
    pub bytes_received: u64,
    /// Frames that it has written.
    pub frames_sent: u64,
    /// Frames that it has read.
    pub frames_received: u64,
    /// How often it died of late; one death is forgotten a minute.
    pub deaths: u32,
    /// It was dead, is connected again, and must be well for so long before it carries beside good paths; zero: it need not.
    pub kept_out: Duration,
}

/// What a node counts as it goes.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicU64,
    pub(crate) handshaking: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
    pub(crate) dials_failed: AtomicU64,
    pub(crate) log_suppressed: AtomicU64,
    protocol_errors: AtomicU64,
    checksum_errors: AtomicU64,
    connections_lost: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self, ports: u64) -> NodeStats {
        NodeStats {
            accepted: self.accepted.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
            protocol_errors: self.protocol_errors.load(Relaxed),
            checksum_errors: self.checksum_errors.load(Relaxed),
            connections_lost: self.connections_lost.load(Relaxed),
            dials_failed: self.dials_failed.load(Relaxed),
            log_suppressed: self.log_suppressed.load(Relaxed),
            ports,
            handshaking: self.handshaking.load(Relaxed),
        }
    }

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

impl PortShared {
    pub(crate) fn stats(&self) -> PortStats {
        let engine = self.read(|engine| (engine.stats(), self.path_figures(engine)));
        let Some((stats, mut paths)) = engine else { return PortStats::default() };
        for figures in &mut paths {
            if let Some(conn) = self.conn(figures.path) {
                let counters = conn.counters();
                figures.up = true;
                figures.bytes_sent = counters.bytes_out.load(Relaxed);
                figures.bytes_received = counters.bytes_in.load(Relaxed);
                figures.frames_sent = counters.frames_out.load(Relaxed);
                figures.frames_received = counters.frames_in.load(Relaxed);
            }
        }
        PortStats {
            messages_sent: stats.sent_messages,
            bytes_sent: stats.sent_bytes,
            messages_received: stats.received_messages,
            bytes_received: stats.received_bytes,
            completed: stats.completed,
            nacked: stats.nacked,
            retransmitted: stats.retransmitted,
            duplicates: stats.duplicates,
            unfinished_bytes: stats.unfinished_bytes,
            switches: stats.switches,
            last_switch: stats.last_switch,
            suspicions: stats.suspicions,
            paths,
        }
    }

    fn path_figures(&self, engine: &Engine) -> Vec<PathStats> {
        let known = (0..cdps_core::wire::MAX_PATHS as u16).map(PathId);
        let figures = |path| {
            let of_path = engine.path_stats(path)?;
            Some(PathStats {
                path,
                health: of_path.health,
                cause: of_path.cause,
                up: false,
                rtt: of_path.rtt,
                rate: of_path.rate,
                in_flight: of_path.in_flight,
                payload_sent: of_path.sent_bytes,
                retransmitted: of_path.retransmitted,
                bytes_sent: 0,
                bytes_received: 0,
                frames_sent: 0,
                frames_received: 0,
                deaths: of_path.deaths,
                kept_out: of_path.kept_out,
            })
        };
        known.filter_map(figures).collect()
    }
}
