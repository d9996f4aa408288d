//! Statistics and timers as dictionaries (U1, F12): times in seconds, everything else as it is counted.

use cdps::{NodeStats, PathClass, PathStats, PortConfig, PortStats};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::event;
use crate::failure::reason_name;

/// Puts fields of a structure into a dictionary, under their own names.
macro_rules! put {
    ($dict:ident, $from:expr, $($field:ident)*) => { $($dict.set_item(stringify!($field), $from.$field)?;)* };
}

macro_rules! put_seconds {
    ($dict:ident, $from:expr, $($field:ident)*) => { $($dict.set_item(stringify!($field), $from.$field.as_secs_f64())?;)* };
}

/// Figures of a node, with the sums over its ports.
pub(crate) fn node<'py>(py: Python<'py>, stats: &NodeStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = port(py, &stats.traffic)?;
    // Of one port alone.
    dict.del_item("last_switch")?;
    put!(dict, stats, accepted handshakes_failed protocol_errors checksum_errors connections_lost dials_failed
        connects_refused messages_dropped late_loops log_suppressed ports clients handshaking);
    Ok(dict)
}

/// Figures of a port.
pub(crate) fn port<'py>(py: Python<'py>, stats: &PortStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    put!(dict, stats, messages_sent bytes_sent messages_received bytes_received completed nacked retransmitted
        duplicates late suspicions path_losses rejoins downs resets switches unfinished_messages unfinished_bytes
        queued_bytes in_flight send_window send_credit receive_window unreleased pending_events paths_up paths);
    put_seconds!(dict, stats, switch_time longest_switch last_switch);
    Ok(dict)
}

/// Figures of a path.
pub(crate) fn path<'py>(py: Python<'py>, stats: &PathStats) -> PyResult<Bound<'py, PyDict>> {
    let (dict, figures) = (PyDict::new(py), &stats.figures);
    dict.set_item("path", figures.path.0)?;
    dict.set_item("health", event::health_name(figures.health))?;
    dict.set_item("cause", reason_name(figures.cause))?;
    dict.set_item("standby", figures.class == Some(PathClass::Standby))?;
    dict.set_item("rtt", figures.rtt.map(|rtt| rtt.as_secs_f64()))?;
    put!(dict, figures, up rate in_flight payload_sent retransmitted deaths);
    put_seconds!(dict, figures, kept_out);
    put!(dict, stats.carried, bytes_sent bytes_received frames_sent frames_received);
    Ok(dict)
}

/// Timers that hold for a port.
pub(crate) fn timers<'py>(py: Python<'py>, config: &PortConfig) -> PyResult<Bound<'py, PyDict>> {
    let (dict, links) = (PyDict::new(py), &config.liveness);
    dict.set_item("failover_budget", config.budget().map(|budget| budget.as_secs_f64()))?;
    dict.set_item("pause", config.longest_pause().as_secs_f64())?;
    dict.set_item("detection", links.detection().as_secs_f64())?;
    dict.set_item("lease_rest", links.lease_rest().as_secs_f64())?;
    dict.set_item("tcp_user_timeout", links.tcp_user_timeout().as_secs_f64())?;
    dict.set_item("user_ack_timeout", config.user_ack_timeout.map(|timeout| timeout.as_secs_f64()))?;
    put_seconds!(dict, links, heartbeat suspect dead lease handshake_timeout redial_min redial_max);
    put_seconds!(dict, config, ack_timeout connect_timeout switch_timeout close_timeout session_timeout switch_grace);
    Ok(dict)
}
