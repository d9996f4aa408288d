//! What a port tells about itself.

use std::time::Duration;

use cdps::Port;

use crate::client_bridge::session;
use crate::error::{CDPS_E_WRONG_STATE, Failure};
use crate::guard::guard;
use crate::live;
use crate::message::generation;
use crate::names;
use crate::sized::{self, Sized32, own_size};
use crate::types::{cdps_port_info_t, cdps_port_t};

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
    /// `lease_rest_ms`, `switch_grace_ms` if the port switches by itself, and `connect_timeout_ms`. Not above the budget.
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
    /// How long the return of a lost target is waited for before a switch.
    pub switch_grace_ms: u64,
    /// When a planned switch has failed that is not committed. Not in `pause_ms`, which is of losses.
    pub switch_timeout_ms: u64,
}

// SAFETY: integers only.
unsafe impl Sized32 for cdps_timers_t {
    const NAME: &'static str = "cdps_timers_t";
    const FIRST_SIZE: usize = 112;
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
            switch_grace_ms: milliseconds(config.switch_grace),
            switch_timeout_ms: milliseconds(config.switch_timeout),
        };
        // SAFETY: the header asks for a structure of `struct_size` writable bytes, or NULL.
        unsafe { sized::write(out, &value) }
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
