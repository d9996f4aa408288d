//! What a port tells about itself.

use std::time::Duration;

use cdps::{PathStats, Port};

use crate::client_bridge::session;
use crate::error::{CDPS_E_NOT_FOUND, CDPS_E_WRONG_STATE, Failure};
use crate::guard::guard;
use crate::live;
use crate::message::generation;
use crate::names;
use crate::sized::{self, Sized32, own_size};
use crate::types::{cdps_port_info_t, cdps_port_t};

/// Counters of a port since it was created.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_port_stats_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Paths of the present session: what cdps_port_path_stats() has.
    pub paths: u32,
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
    pub unfinished_bytes: u64,
    /// Times that another target took over.
    pub switches: u64,
    /// How long the last such switch took, in ns.
    pub last_switch_ns: u64,
    /// Times that a path was suspected.
    pub suspicions: u64,
}

/// Counters of one path of the present session.
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
    /// CDPS_REASON_*: why the path is not good, as on_path said; #CDPS_REASON_NONE if it is. One-way loss is #CDPS_REASON_ONE_WAY_OUT or
    /// #CDPS_REASON_ONE_WAY_IN.
    pub cause: i32,
    /// How often it died of late; one death is forgotten a minute. From the fourth on it is kept out longer each time.
    pub deaths: u32,
    /// It was dead, is connected again, and must be well for so long, in ns, before it carries beside good paths; 0: it need not.
    pub kept_out_ns: u64,
}

/// Timers of a port, in ms: what was set, and what follows from the failover budget.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_timers_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved0: u32,
    /// The budget that holds: the port's own, or else the node's; 0: there is none.
    pub failover_budget_ms: u64,
    /// Longest pause that these timers lead to, when a target is lost and the next backup is well, without what users take: `detection_ms`,
    /// `lease_rest_ms` and `connect_ms`. Not above the budget.
    pub pause_ms: u64,
    /// Longest time from the last sign of a target until it is given up.
    pub detection_ms: u64,
    /// What may be left of its lease then.
    pub lease_rest_ms: u64,
    /// One heartbeat per link in this time.
    pub heartbeat_ms: u64,
    /// Age of an unanswered probe that makes a path suspect, at least.
    pub suspect_ms: u64,
    /// No contact for this long: dead.
    pub dead_ms: u64,
    /// How long a target may deliver without hearing an echo.
    pub lease_ms: u64,
    /// When a connection is closed that has not finished its handshake.
    pub handshake_timeout_ms: u64,
    /// When the kernel gives up a connection whose data is not acknowledged.
    pub tcp_user_timeout_ms: u64,
    /// No receipt for this long: the connection is down.
    pub ack_timeout_ms: u64,
    /// When a connect, or the connecting of a backup, has failed.
    pub connect_timeout_ms: u64,
    /// How long a target keeps a session without contact.
    pub session_timeout_ms: u64,
}

// SAFETY: integers only.
unsafe impl Sized32 for cdps_timers_t {
    const NAME: &'static str = "cdps_timers_t";
    const FIRST_SIZE: usize = 112;
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

/// State, peer, session and generation of a port, as they are now.
///
/// @param port  the port.
/// @param out   stores them; `struct_size` must be set.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_info(port: *const cdps_port_t, out: *mut cdps_port_info_t) -> i32 {
    guard(|| {
        let entry = live::port(port)?;
        let port: &Port = &entry.port;
        let value = cdps_port_info_t {
            struct_size: own_size::<cdps_port_info_t>(),
            state: names::state(port.state()),
            link: names::link(port.link()),
            peer: port.peer().map_or(0, |node| node.0),
            session: session(port.session()),
            generation: generation(port.generation()),
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

/// Timers of a port as they hold: what its failover budget leads to, or its node's, and what was set singly.
///
/// @param port  the port.
/// @param out   stores them; `struct_size` must be set.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (its connect request is not answered yet), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_timers(port: *const cdps_port_t, out: *mut cdps_timers_t) -> i32 {
    guard(|| {
        let entry = live::port(port)?;
        let config = entry.port.config().ok_or(const { Failure::bare(CDPS_E_WRONG_STATE) })?;
        let links = &config.liveness;
        let value = cdps_timers_t {
            struct_size: own_size::<cdps_timers_t>(),
            reserved0: 0,
            failover_budget_ms: config.budget().map_or(0, milliseconds),
            pause_ms: milliseconds(config.longest_pause()),
            detection_ms: milliseconds(links.detection()),
            lease_rest_ms: milliseconds(links.lease_rest()),
            heartbeat_ms: milliseconds(links.heartbeat),
            suspect_ms: milliseconds(links.suspect),
            dead_ms: milliseconds(links.dead),
            lease_ms: milliseconds(links.lease),
            handshake_timeout_ms: milliseconds(links.handshake_timeout),
            tcp_user_timeout_ms: milliseconds(links.tcp_user_timeout()),
            ack_timeout_ms: milliseconds(config.ack_timeout),
            connect_timeout_ms: milliseconds(config.connect_timeout),
            session_timeout_ms: milliseconds(config.session_timeout),
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

/// Counters of a port.
///
/// @param port  the port.
/// @param out   stores the counters; `struct_size` must be set.
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
            paths: u32::try_from(stats.paths.len()).unwrap_or(u32::MAX),
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
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

/// Counters of one path of the present session.
///
/// @param port   the port.
/// @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
/// @param out    stores the counters; `struct_size` must be set.
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
        let stats = live::port(port)?.port.stats();
        let found: &PathStats = stats.paths.get(index).ok_or(const { Failure::bare(CDPS_E_NOT_FOUND) })?;
        let value = cdps_path_stats_t {
            struct_size: own_size::<cdps_path_stats_t>(),
            path: u32::from(found.path.0),
            health: names::health(found.health),
            up: i32::from(found.up),
            rtt_ns: found.rtt.map_or(0, nanoseconds),
            rate: found.rate,
            in_flight: found.in_flight,
            payload_sent: found.payload_sent,
            retransmitted: found.retransmitted,
            bytes_sent: found.bytes_sent,
            bytes_received: found.bytes_received,
            frames_sent: found.frames_sent,
            frames_received: found.frames_received,
            cause: names::reason(found.cause),
            deaths: found.deaths,
            kept_out_ns: nanoseconds(found.kept_out),
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
