//! Counters that are always on (U1).

use cdps_core::cluster::Health;
use cdps_core::id::PathId;
use cdps_core::time::Duration;

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
    /// Messages delivered to the user.
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
    pub queued_bytes: u64,
    /// Times that another target took over.
    pub switchovers: u64,
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
    /// Whether a connection is up.
    pub up: bool,
    /// Smoothed round-trip time of its link, if measured.
    pub rtt: Option<Duration>,
    /// Bytes handed to the transport.
    pub bytes_sent: u64,
    /// Bytes taken from the transport.
    pub bytes_received: u64,
    /// Frames handed to the transport.
    pub frames_sent: u64,
    /// Frames taken from the transport.
    pub frames_received: u64,
}
