//! Statistics: of nodes, ports and paths, and all of them as text.

use std::ffi::c_char;
use std::time::Duration;

use cdps::{PathClass, PathStats};

use crate::error::{CDPS_E_NOT_FOUND, Failure};
use crate::guard::guard;
use crate::live;
use crate::names;
use crate::sized::{self, Sized32, own_size};
use crate::strings;
use crate::types::{cdps_node_t, cdps_port_t};

/// Figures of a node since it was opened. What does not say "now" counts, and never falls. From `messages_sent` on: sums over all ports that
/// the node has had; what is said to be now, over those that exist.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_node_stats_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved0: u32,
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
    /// Connect requests of sources that were refused, each time that one was: by the client, or because there is none, or for a generation that is not
    /// new.
    pub connects_refused: u64,
    /// Messages to other nodes that were dropped for want of a connection or of room. Whoever sends one repeats it.
    pub messages_dropped: u64,
    /// Times that the node's own loop was late by more than a heartbeat.
    pub late_loops: u64,
    /// Clients that are registered now.
    pub clients: u64,
    /// Messages accepted for sending.
    pub messages_sent: u64,
    /// Their bytes, payload alone.
    pub bytes_sent: u64,
    /// Messages handed out for the user.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Sends that ended well.
    pub completed: u64,
    /// Sends that failed.
    pub nacked: u64,
    /// Messages or fragments that travelled again on another connection, because the one that had them was lost or in doubt.
    pub retransmitted: u64,
    /// Messages or fragments that had arrived before, and were dropped.
    pub duplicates: u64,
    /// Messages, fragments and other frames that came on a connection which was given up, as one of an old generation. They had no effect.
    pub late: u64,
    /// Times that a path was suspected.
    pub suspicions: u64,
    /// Times that a path lost its connection, or was given up.
    pub path_losses: u64,
    /// Times that a path which was dead had proved itself, and carried again. One whose connection merely broke need not.
    pub rejoins: u64,
    /// Times that the connection was down.
    pub downs: u64,
    /// Times that the session was reset: its target came back and went on with it.
    pub resets: u64,
    /// Times that another target took over, by itself or because it was asked for.
    pub switches: u64,
    /// How long the switches took together, in ns.
    pub switch_time_ns: u64,
    /// How long the longest of them took, in ns.
    pub longest_switch_ns: u64,
    /// Bytes of payload queued or unfinished now: what `port.send_buffer_max` limits.
    pub unfinished_bytes: u64,
    /// Bytes of payload that no path has taken yet, now.
    pub queued_bytes: u64,
    /// Bytes on their way on paths now: handed to a connection, and not receipted on it.
    pub in_flight: u64,
}

/// Figures of a port since it was created. What does not say "now" counts, and never falls.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_port_stats_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Paths of the present session: what cdps_port_path_stats() has. At a target also those that its source has removed meanwhile.
    pub paths: u32,
    /// Messages accepted for sending.
    pub messages_sent: u64,
    /// Their bytes, payload alone.
    pub bytes_sent: u64,
    /// Messages handed out for the user.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Sends that ended well.
    pub completed: u64,
    /// Sends that failed.
    pub nacked: u64,
    /// Messages or fragments that travelled again on another connection, because the one that had them was lost or in doubt.
    pub retransmitted: u64,
    /// Messages or fragments that had arrived before, and were dropped.
    pub duplicates: u64,
    /// Bytes of payload queued or unfinished now: what `port.send_buffer_max` limits.
    pub unfinished_bytes: u64,
    /// Times that another target took over, by itself or because it was asked for.
    pub switches: u64,
    /// How long the last of them took, in ns.
    pub last_switch_ns: u64,
    /// Times that a path was suspected.
    pub suspicions: u64,
    /// Messages, fragments and other frames that came on a connection which was given up, as one of an old generation. They had no effect.
    pub late: u64,
    /// Times that a path lost its connection, or was given up.
    pub path_losses: u64,
    /// Times that a path which was dead had proved itself, and carried again. One whose connection merely broke need not.
    pub rejoins: u64,
    /// Times that the connection was down.
    pub downs: u64,
    /// Times that the session was reset: its target came back and went on with it.
    pub resets: u64,
    /// How long the switches took together, in ns.
    pub switch_time_ns: u64,
    /// How long the longest of them took, in ns.
    pub longest_switch_ns: u64,
    /// Messages from the oldest unfinished one to the newest, now.
    pub unfinished_messages: u64,
    /// Bytes of payload that no path has taken yet, now.
    pub queued_bytes: u64,
    /// Bytes on their way on paths now: handed to a connection, and not receipted on it.
    pub in_flight: u64,
    /// Window that the peer grants now, in cost: bytes, and 256 for each message.
    pub send_window: u64,
    /// What is left of it now.
    pub send_credit: u64,
    /// Window that this end grants now, in cost.
    pub receive_window: u64,
    /// Cost of what has come, or has begun to come, and is not released by the user.
    pub unreleased: u64,
    /// Ends of sends that the user has not been told of: what `port.max_pending_events` limits.
    pub pending_events: u64,
}

/// Figures of one path of the present session.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_path_stats_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Number of the path, as in on_path.
    pub path: u32,
    /// CDPS_HEALTH_*.
    pub health: i32,
    /// 1 if a connection is up, else 0.
    pub up: i32,
    /// Smoothed time from handing bytes over to their receipt, in ns; 0: not measured yet.
    pub rtt_ns: u64,
    /// Measured rate, in bytes a second; 0: not known.
    pub rate: u64,
    /// Bytes of payload on their way.
    pub in_flight: u64,
    /// Bytes of payload given to the path in this session.
    pub payload_sent: u64,
    /// Ranges taken from it in this session, to be sent again elsewhere.
    pub retransmitted: u64,
    /// Bytes that its connections have written, since the port was created.
    pub bytes_sent: u64,
    /// Bytes that they have read.
    pub bytes_received: u64,
    /// Frames that they have written.
    pub frames_sent: u64,
    /// Frames that they have read.
    pub frames_received: u64,
    /// CDPS_REASON_*: why the path is not good, as on_path said; #CDPS_REASON_NONE if it is. One-way loss is #CDPS_REASON_ONE_WAY_OUT or
    /// #CDPS_REASON_ONE_WAY_IN.
    pub cause: i32,
    /// How often it died of late; one death is forgotten a minute. From the fourth on it is kept out longer each time.
    pub deaths: u32,
    /// It was dead, is connected again, and must be well for so long, in ns, before it carries beside good paths; 0: it need not.
    pub kept_out_ns: u64,
    /// 1 if it carries only while no normal path is good, else 0.
    pub standby: i32,
    /// 0.
    pub reserved0: u32,
}

// SAFETY: integers only.
unsafe impl Sized32 for cdps_node_stats_t {
    const NAME: &'static str = "cdps_node_stats_t";
    const FIRST_SIZE: usize = 80;
}

// SAFETY: integers only.
unsafe impl Sized32 for cdps_port_stats_t {
    const NAME: &'static str = "cdps_port_stats_t";
    const FIRST_SIZE: usize = 104;
}

// SAFETY: integers only.
unsafe impl Sized32 for cdps_path_stats_t {
    const NAME: &'static str = "cdps_path_stats_t";
    const FIRST_SIZE: usize = 88;
}

/// Figures of a node, and of all its ports together. It looks at each port for a moment.
///
/// @param node  the node.
/// @param out   stores the figures; `struct_size` must be set.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_stats(node: *const cdps_node_t, out: *mut cdps_node_stats_t) -> i32 {
    guard(|| {
        let stats = live::node(node)?.node.stats();
        let traffic = &stats.traffic;
        let value = cdps_node_stats_t {
            struct_size: own_size::<cdps_node_stats_t>(),
            reserved0: 0,
            accepted: stats.accepted,
            handshakes_failed: stats.handshakes_failed,
            protocol_errors: stats.protocol_errors,
            checksum_errors: stats.checksum_errors,
            connections_lost: stats.connections_lost,
            dials_failed: stats.dials_failed,
            log_suppressed: stats.log_suppressed,
            ports: stats.ports,
            handshaking: stats.handshaking,
            connects_refused: stats.connects_refused,
            messages_dropped: stats.messages_dropped,
            late_loops: stats.late_loops,
            clients: stats.clients,
            messages_sent: traffic.messages_sent,
            bytes_sent: traffic.bytes_sent,
            messages_received: traffic.messages_received,
            bytes_received: traffic.bytes_received,
            completed: traffic.completed,
            nacked: traffic.nacked,
            retransmitted: traffic.retransmitted,
            duplicates: traffic.duplicates,
            late: traffic.late,
            suspicions: traffic.suspicions,
            path_losses: traffic.path_losses,
            rejoins: traffic.rejoins,
            downs: traffic.downs,
            resets: traffic.resets,
            switches: traffic.switches,
            switch_time_ns: nanoseconds(traffic.switch_time),
            longest_switch_ns: nanoseconds(traffic.longest_switch),
            unfinished_bytes: traffic.unfinished_bytes,
            queued_bytes: traffic.queued_bytes,
            in_flight: traffic.in_flight,
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

/// Figures of a node, of each of its ports and of each of their paths, as Prometheus text (exposition format 0.0.4): what a page for scraping
/// has to send as `text/plain; version=0.0.4`.
///
/// Names begin with cdps_node_, cdps_port_ and cdps_path_; units are seconds and bytes; counters end in _total. Labels: `node` is its id,
/// `port` a number that no other port of the node has had, `client` the client of this node that the port belongs to, `path` the number
/// of the path. cdps_port_info has the session of a port. Counters of a path begin anew with each session.
///
/// The text may be longer at the next call: with #CDPS_E_BUFFER, ask again with a buffer of the length that was needed and some more.
///
/// @param node  the node.
/// @param buf   where the text and its NUL go; NULL with `cap` 0 asks for the length alone.
/// @param cap   size of `buf`, in bytes.
/// @param need  stores the length without the NUL; may be NULL if `buf` is given.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_BUFFER (nothing was written to `buf`), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_metrics(
    node: *const cdps_node_t,
    buf: *mut c_char,
    cap: usize,
    need: *mut usize,
) -> i32 {
    guard(|| {
        let text = live::node(node)?.node.metrics();
        // SAFETY: the header asks for `cap` writable bytes, or NULL.
        unsafe { strings::store(&text, buf, cap, need) }
    })
}

/// Figures of a port.
///
/// @param port  the port.
/// @param out   stores the figures; `struct_size` must be set.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_stats(port: *const cdps_port_t, out: *mut cdps_port_stats_t) -> i32 {
    guard(|| {
        let stats = live::port(port)?.port.stats();
        let value = cdps_port_stats_t {
            struct_size: own_size::<cdps_port_stats_t>(),
            paths: u32::from(stats.paths),
            messages_sent: stats.messages_sent,
            bytes_sent: stats.bytes_sent,
            messages_received: stats.messages_received,
            bytes_received: stats.bytes_received,
            completed: stats.completed,
            nacked: stats.nacked,
            retransmitted: stats.retransmitted,
            duplicates: stats.duplicates,
            unfinished_bytes: stats.unfinished_bytes,
            switches: stats.switches,
            last_switch_ns: nanoseconds(stats.last_switch),
            suspicions: stats.suspicions,
            late: stats.late,
            path_losses: stats.path_losses,
            rejoins: stats.rejoins,
            downs: stats.downs,
            resets: stats.resets,
            switch_time_ns: nanoseconds(stats.switch_time),
            longest_switch_ns: nanoseconds(stats.longest_switch),
            unfinished_messages: stats.unfinished_messages,
            queued_bytes: stats.queued_bytes,
            in_flight: stats.in_flight,
            send_window: stats.send_window,
            send_credit: stats.send_credit,
            receive_window: stats.receive_window,
            unreleased: stats.unreleased,
            pending_events: stats.pending_events,
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

/// Figures of one path of the present session.
///
/// @param port   the port.
/// @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
/// @param out    stores the figures; `struct_size` must be set.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_NOT_FOUND, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_path_stats(
    port: *const cdps_port_t,
    index: usize,
    out: *mut cdps_path_stats_t,
) -> i32 {
    guard(|| {
        let paths = live::port(port)?.port.path_stats();
        let PathStats { figures, carried } =
            paths.get(index).ok_or(const { Failure::bare(CDPS_E_NOT_FOUND) })?;
        let value = cdps_path_stats_t {
            struct_size: own_size::<cdps_path_stats_t>(),
            path: u32::from(figures.path.0),
            health: names::health(figures.health),
            up: i32::from(figures.up),
            rtt_ns: figures.rtt.map_or(0, nanoseconds),
            rate: figures.rate,
            in_flight: figures.in_flight,
            payload_sent: figures.payload_sent,
            retransmitted: figures.retransmitted,
            bytes_sent: carried.bytes_sent,
            bytes_received: carried.bytes_received,
            frames_sent: carried.frames_sent,
            frames_received: carried.frames_received,
            cause: names::reason(figures.cause),
            deaths: figures.deaths,
            kept_out_ns: nanoseconds(figures.kept_out),
            standby: i32::from(figures.class == Some(PathClass::Standby)),
            reserved0: 0,
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
