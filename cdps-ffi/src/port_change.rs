//! Changes of a live port: its targets' addresses, its timeouts and policies.

use std::ffi::c_char;
use std::net::SocketAddr;

use cdps::{Address, ChangeError, NodeId, Port, PortError};

use crate::config;
use crate::error::{
    CDPS_E_BAD_VALUE, CDPS_E_CONFLICT, CDPS_E_INVALID, CDPS_E_LIMIT, CDPS_E_NO_CALLBACK, CDPS_E_NOT_FOUND,
    CDPS_E_WRONG_STATE, Failure, cdps_error_t,
};
use crate::guard::guard_detail;
use crate::live;
use crate::node::config_code;
use crate::port::Abilities;
use crate::strings;
use crate::types::{cdps_config_t, cdps_port_t};

/// Adds an address to a target of a source port: at the end of its list, and if the port is connected to that target, or on its way there, as
/// a path of the session, which is dialled at once. on_path tells when it is up.
///
/// @param port     the port.
/// @param node     the target, one of `port.targets`.
/// @param address  "IP:PORT", "[IP]:PORT" for IPv6; with "/standby" behind it the path carries only while no normal one is good.
/// @param err      detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID (not one of the targets), #CDPS_E_BAD_VALUE (no address), #CDPS_E_CONFLICT (the target has it already,
///         in whatever class), #CDPS_E_LIMIT (a target has 64 addresses at most), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
///         On failure nothing has changed.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_add_address(
    port: *mut cdps_port_t,
    node: u32,
    address: *const c_char,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        // SAFETY: the header asks for a text that ends with NUL, or NULL.
        let text = unsafe { strings::text(address, "address") };
        let port: &Port = &live::port(port)?.port;
        let address: Address = parsed(text?)?;
        port.add_address(NodeId(node), address).map_err(refused)
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Removes an address from a target of a source port. If the port is connected to that target its path is given up at once: what was on its
/// way there goes again on the others, or waits for one of them, and nothing is nacked for that. The last normal address may go while a
/// standby one is left, which carries then. The peer sees a path that is lost: it is not told
/// that the path is gone, and keeps it as #CDPS_HEALTH_DEAD among its own (on_path, cdps_port_path_stats(), `paths` of its figures) until the
/// session ends, or the number of the path is used again. So a monitor of paths is better placed at the source.
///
/// @param port     the port.
/// @param node     the target, one of `port.targets`.
/// @param address  "IP:PORT", without a class.
/// @param err      detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID (not one of the targets), #CDPS_E_BAD_VALUE (no address), #CDPS_E_NOT_FOUND (the target does not have it),
///         #CDPS_E_CONFLICT (its last one: add another one first), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED. On failure
///         nothing has changed.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_remove_address(
    port: *mut cdps_port_t,
    node: u32,
    address: *const c_char,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        // SAFETY: the header asks for a text that ends with NUL, or NULL.
        let text = unsafe { strings::text(address, "address") };
        let port: &Port = &live::port(port)?.port;
        let remote: SocketAddr = parsed(text?)?;
        port.remove_address(NodeId(node), remote).map_err(refused)
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Sets timeouts and policies of a port anew, on either end, in any state. What is set in `config` changes, and nothing else; all of it at once,
/// after it was checked together with what stays, or none of it.
///
/// The keys that can be changed have "live" at the end of their help (cdps_config_describe()). The others are refused: they were agreed on
/// with the peer (`port.window`, `port.max_message`, ...), belong to the node, whose timers its ports share (`liveness.*`), or have calls of their own
/// (`port.targets`). A connect, switch or close that is under way keeps the time that it began with.
///
/// @param port    the port.
/// @param config  has the keys to be changed, and no others. Copied.
/// @param err     detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (a key that cannot be changed; or the port is gone), #CDPS_E_BAD_VALUE,
///         #CDPS_E_CONFLICT (with each other, with what stays, or with the node's timers), #CDPS_E_NO_CALLBACK (`port.backup_selection` is
///         callback, and on_backup is not set), #CDPS_E_FORKED. On failure nothing has changed.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_reconfigure(
    port: *mut cdps_port_t,
    config: *const cdps_config_t,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let entry = live::port(port)?;
        let change = config::copy(config)?.change(entry.port.liveness())?;
        if change.asks_for_backups() && !entry.may(Abilities::CHOOSE) {
            let text = "port.backup_selection is callback, and on_backup is not set";
            return Err(Failure::new(CDPS_E_NO_CALLBACK, text));
        }
        entry.port.reconfigure(|config| change.apply(config)).map_err(refused)
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    let named = |error| Failure::new(CDPS_E_BAD_VALUE, format_args!("address: {text:?}: {error}"));
    text.parse().map_err(named)
}

fn refused(error: PortError) -> Failure {
    let code = match &error {
        PortError::Change(change) => match change {
            ChangeError::NotATarget { .. } => CDPS_E_INVALID,
            ChangeError::AddressThere { .. } | ChangeError::LastAddress { .. } => CDPS_E_CONFLICT,
            ChangeError::NoSuchAddress { .. } => CDPS_E_NOT_FOUND,
            ChangeError::State(_) | ChangeError::Fixed { .. } => CDPS_E_WRONG_STATE,
            ChangeError::Config(cdps::ConfigError::Paths { .. }) => CDPS_E_LIMIT,
            ChangeError::Config(cause) => config_code(cause),
        },
        _ => CDPS_E_WRONG_STATE,
    };
    Failure::new(code, error)
}
