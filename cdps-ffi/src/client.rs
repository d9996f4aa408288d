//! Clients: the named users of a node.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;

use cdps::{Client, RegisterError};

use crate::callback::{self, User};
use crate::client_bridge::ClientBridge;
use crate::error::{CDPS_E_CLOSED, CDPS_E_INVALID, CDPS_E_NAME_TAKEN, CDPS_E_SYSTEM, Failure, cdps_error_t};
use crate::gate::Gate;
use crate::guard::{guard, guard_detail};
use crate::handle::{Kind, Table};
use crate::live::{self, Live};
use crate::sized;
use crate::strings;
use crate::types::{CDPS_CLIENT_EXCLUSIVE, cdps_client_callbacks_t, cdps_client_t, cdps_node_t};

pub(crate) static CLIENTS: Table<Client> = Table::new(Kind::Client);

/// Registers a client under a name of 1 to 255 bytes, which is unique on the node and by which sources ask for it.
///
/// @param node       the node.
/// @param name       the name.
/// @param callbacks  on_final must be set. Copied.
/// @param user       first argument of each callback; must stay valid until on_final.
/// @param out        stores the handle, before the first callback runs. It names nothing any more after cdps_client_unregister(), and
///                   from on_final on.
/// @param err        detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED, #CDPS_E_NAME_TAKEN, #CDPS_E_CLOSED (the node is being
///         destroyed), #CDPS_E_SYSTEM (what the client had accepted is kept in `node.state_dir`, and damaged), #CDPS_E_LIMIT, #CDPS_E_FORKED. On failure no callback will run.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_client_register(
    node: *mut cdps_node_t,
    name: *const c_char,
    callbacks: *const cdps_client_callbacks_t,
    user: *mut c_void,
    out: *mut *mut cdps_client_t,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let entry = live::node(node)?;
        // SAFETY: the header asks for a text that ends with NUL and a whole table, or NULL.
        let (name, table) = unsafe { (strings::text(name, "name")?, sized::read(callbacks)?) };
        callback::check_client(&table)?;
        if out.is_null() {
            return Err(Failure::null("out"));
        }
        let reserved = CLIENTS.reserve()?;
        let handle = reserved.handle();
        let bridge = Arc::new(ClientBridge { table, user: User(user), handle, gate: Gate::shut() });
        let client = match table.flags & CDPS_CLIENT_EXCLUSIVE {
            0 => entry.node.register(name, bridge.clone()),
            _ => entry.node.register_exclusive(name, bridge.clone()),
        };
        let client = client.map_err(|e| refused(&e))?;
        reserved.fill(client);
        // SAFETY: not NULL, so the caller promises that it is writable.
        unsafe { out.write_unaligned(ptr::without_provenance_mut(handle)) };
        bridge.gate.open();
        Ok(())
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Refuses further connects and takes the client's ports down: each gets its on_final, then the client's on_final runs and the name is
/// free again. Returns at once; the handle names nothing any more.
///
/// @param client  the client; NULL is allowed and does nothing.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE (also when it was unregistered before), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed, also its own.
#[unsafe(no_mangle)]
pub extern "C" fn cdps_client_unregister(client: *mut cdps_client_t) -> i32 {
    guard(|| {
        if !client.is_null() {
            Live::of(CLIENTS.take(client.addr())?).unregister();
        }
        Ok(())
    })
}

fn refused(error: &RegisterError) -> Failure {
    let code = match error {
        RegisterError::NameTaken { .. } => CDPS_E_NAME_TAKEN,
        RegisterError::NameLength { .. } => CDPS_E_INVALID,
        RegisterError::Keep(_) => CDPS_E_SYSTEM,
        RegisterError::Destroyed => CDPS_E_CLOSED,
    };
    // A long name would push what is wrong with it out of the text.
    if let RegisterError::NameLength { name } = error {
        let text = format_args!("the client name has {} bytes; allowed is 1 to 255", name.len()).to_string();
        return Failure::new(code, text);
    }
    Failure::new(code, error)
}
