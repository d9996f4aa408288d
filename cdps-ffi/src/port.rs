//! Ports: the one pipe that a client sees. Life and messages; what they tell about themselves is in `port_info.rs`.

use std::cell::Cell;
use std::ffi::c_void;
use std::io::IoSlice;
use std::ptr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cdps::{
    AckModel, BackupSelection, ContractError, CreateError, NodeId, Port, PortError, Priority, SendError,
    SendOptions, Sn, StreamContract, StreamId,
};

use crate::callback::{self, User};
use crate::config;
use crate::error::{
    CDPS_E_AGAIN, CDPS_E_CLOSED, CDPS_E_DOWN, CDPS_E_IN_CALLBACK, CDPS_E_INVALID, CDPS_E_LIMIT,
    CDPS_E_MISSING_KEY, CDPS_E_NO_CALLBACK, CDPS_E_NOT_OWED, CDPS_E_SYSTEM, CDPS_E_TIMEDOUT, CDPS_E_TOO_LONG,
    CDPS_E_UNSUPPORTED, CDPS_E_WRONG_STATE, Failure, cdps_error_t,
};
use crate::gate::Gate;
use crate::guard::{guard, guard_detail};
use crate::handle::{Held, Kind, Table};
use crate::live::{self, Alarm, Live};
use crate::node::{config_code, duration, refuse_waiting, waited};
use crate::port_bridge::PortBridge;
use crate::sized;
use crate::types::{
    CDPS_ACK_ASYNC, CDPS_ACK_DEFAULT, CDPS_ACK_SENT, CDPS_ACK_SYNC, CDPS_CLOSE_DRAIN, CDPS_CLOSE_IMMEDIATE,
    CDPS_PRIORITY_HIGH, CDPS_PRIORITY_NORMAL, CDPS_SEND_BARRIER, CDPS_SEND_BORROW, CDPS_SEND_STREAM,
    CDPS_STREAM_OWN, CDPS_WAIT_FOREVER, cdps_client_t, cdps_config_t, cdps_iov_t, cdps_node_t,
    cdps_port_callbacks_t, cdps_port_t, cdps_send_opts_t, cdps_stream_contract_t,
};

/// Pieces of one message, as IOV_MAX.
const MAX_PIECES: usize = 1024;

pub(crate) static PORTS: Table<PortEntry> = Table::new(Kind::Port);

/// What a port handle names.
pub(crate) struct PortEntry {
    pub(crate) port: Port,
    /// Bits of [`Abilities`]; set when the callbacks are known.
    abilities: AtomicU8,
}

/// What the callbacks of a port allow.
#[derive(Clone, Copy, Default)]
pub(crate) struct Abilities(u8);

impl Abilities {
    const SEND: u8 = 1;
    const BORROW: u8 = 2;
    pub(crate) const CHOOSE: u8 = 4;

    #[cfg(test)]
    pub(crate) fn all() -> Abilities {
        Abilities(Abilities::SEND | Abilities::BORROW | Abilities::CHOOSE)
    }

    pub(crate) fn of(table: &cdps_port_callbacks_t) -> Abilities {
        let send = if table.on_complete.is_some() { Abilities::SEND } else { 0 };
        let borrow = if table.on_release.is_some() { Abilities::BORROW } else { 0 };
        let choose = if table.on_backup.is_some() { Abilities::CHOOSE } else { 0 };
        Abilities(send | borrow | choose)
    }
}

thread_local! {
    /// The port that this thread called last. Kept until it calls another one or ends: one port's memory at most.
    static LAST: Cell<Option<Held<PortEntry>>> = const { Cell::new(None) };
}

/// Calls with the object of a handle: without locks or counting if it is the one that the thread called last.
#[inline(always)]
pub(crate) fn with<T>(
    port: *mut cdps_port_t,
    call: impl FnOnce(&PortEntry) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let handle = port.addr();
    // Taken out meanwhile: `call` may lead to a callback that calls another port. While the thread ends there is none.
    let last = LAST.try_with(Cell::take).ok().flatten();
    let held = match last {
        Some(held) if held.is(handle) => held,
        Some(_) | None => PORTS.hold(handle)?,
    };
    let entry = held.object();
    if entry.port.is_poisoned() {
        return Err(live::poisoned());
    }
    let alarm = Alarm(entry);
    let result = call(entry);
    std::mem::forget(alarm);
    let _ = LAST.try_with(|last| last.set(Some(held)));
    result
}

impl PortEntry {
    pub(crate) fn new(port: Port, abilities: Abilities) -> PortEntry {
        PortEntry { port, abilities: AtomicU8::new(abilities.0) }
    }

    /// Whether its callbacks allow this.
    pub(crate) fn may(&self, ability: u8) -> bool {
        self.abilities.load(Ordering::Relaxed) & ability == ability
    }

    pub(crate) fn allow(&self, abilities: Abilities) {
        self.abilities.store(abilities.0, Ordering::Relaxed);
    }

    fn needs(&self, ability: u8) -> Result<(), Failure> {
        if self.may(ability) {
            return Ok(());
        }
        Err(Failure::bare(CDPS_E_NO_CALLBACK))
    }
}

/// Creates a source port, in state IDLE.
///
/// @param node       the node.
/// @param config     settings (keys `port.*`). Copied. NULL: the defaults.
/// @param callbacks  on_final must be set, and on_complete and on_nack if the port is to send. Copied.
/// @param user       first argument of each callback; must stay valid until on_final.
/// @param out        stores the handle. It names nothing any more after cdps_port_destroy(), and from on_final on.
/// @param err        detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED, #CDPS_E_BAD_VALUE, #CDPS_E_CONFLICT, #CDPS_E_CLOSED (the
///         node is being destroyed), #CDPS_E_NO_CALLBACK (`port.backup_selection=callback` without on_backup), #CDPS_E_LIMIT,
///         CDPS_E_MISSING_KEY, #CDPS_E_FORKED. On failure no callback will run.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_create(
    node: *mut cdps_node_t,
    config: *const cdps_config_t,
    callbacks: *const cdps_port_callbacks_t,
    user: *mut c_void,
    out: *mut *mut cdps_port_t,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let entry = live::node(node)?;
        // SAFETY: the header asks for a whole table, or NULL.
        let table = unsafe { sized::read(callbacks) }?;
        callback::check_port(&table)?;
        if out.is_null() {
            return Err(Failure::null("out"));
        }
        let settings = if config.is_null() { Default::default() } else { config::copy(config)? };
        let mut config = settings.port(entry.node.liveness())?;
        config.fence = table.on_fence.is_some();
        if config.backup_selection == BackupSelection::Callback && table.on_backup.is_none() {
            let text = "port.backup_selection is callback, and on_backup is not set";
            return Err(Failure::new(CDPS_E_NO_CALLBACK, text));
        }
        let reserved = PORTS.reserve()?;
        let (handle, gate) = (reserved.handle(), Gate::shut());
        let bridge = Arc::new(PortBridge { table, user: User(user), handle, gate });
        let port = entry.node.create_port(config, bridge.clone()).map_err(|e| match &e {
            CreateError::Config(cause) => Failure::new(config_code(cause), &e),
            CreateError::Keep(_) => Failure::new(CDPS_E_SYSTEM, &e),
            CreateError::Destroyed => Failure::new(CDPS_E_CLOSED, &e),
        })?;
        reserved.fill(PortEntry::new(port, Abilities::of(&table)));
        // SAFETY: not NULL, so the caller promises that it is writable.
        unsafe { out.write_unaligned(ptr::without_provenance_mut(handle)) };
        bridge.gate.open();
        Ok(())
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// IDLE to REGISTERED, on behalf of a client of the same node.
///
/// @param port    the port.
/// @param client  the client.
/// @param err     detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID (client of another node; `err` unusable), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_CLOSED
///         (the client is unregistered), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_register(
    port: *mut cdps_port_t,
    client: *mut cdps_client_t,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let entry = live::port(port)?;
        let client = live::client(client)?;
        entry.port.register(&client).map_err(|e| refused(&e))
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Back to IDLE: the port has no client any more; what is unfinished is nacked.
///
/// @param port  the port.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_unregister(port: *mut cdps_port_t, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, Port::unregister) }
}

/// REGISTERED to INITIALIZED: builds the table of addresses through which the targets are reached.
///
/// @param port  the port.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_initialize(port: *mut cdps_port_t, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, Port::initialize) }
}

/// Connects. Returns at once: on_connstatus with #CDPS_CONN_CONNECTED or #CDPS_CONN_CONNECT_FAILED follows, within
/// `port.connect_timeout_ms`. On a port that is connected already it adds one to the use count. While the connection is down and drained it
/// may name another target.
///
/// @param port  the port.
/// @param node  id of the target, one of `port.targets`; 0: the primary one.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID (not one of the targets), #CDPS_E_MISSING_KEY (there are none), #CDPS_E_BAD_HANDLE,
///         #CDPS_E_WRONG_STATE (also: connected to another target), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_connect(port: *mut cdps_port_t, node: u32, err: *mut cdps_error_t) -> i32 {
    let to = if node == 0 { None } else { Some(NodeId(node)) };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, |port| port.connect(to)) }
}

/// Goes over to another target of a CONNECTED port in an orderly way: no message is nacked, lost or delivered twice, and what is sent
/// meanwhile is queued. The new target's client is asked first; when everything that was begun has ended, and the present target's user has
/// released every message, the present session is taken away. Returns at once: on_connstatus with #CDPS_CONN_SWITCHED follows, or with
/// #CDPS_CONN_SWITCH_FAILED within `port.switch_timeout_ms`: then nothing has changed. What the present target sends, and has not finished,
/// is nacked there.
///
/// @param port  the port.
/// @param node  one of `port.targets`, not the present one.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID (also: no target of this port, or the present one), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (not
///         CONNECTED, the link is not up, or a switch is under way), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_switch(port: *mut cdps_port_t, node: u32, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, |port| port.switch(NodeId(node))) }
}

/// Says what holds for the messages of a stream, before its first one: the acknowledgment model of those that name none, and their priority.
/// Messages of high priority go before all others that wait, and have credit of their own (`port.high_window` of the other end), so that they
/// never wait for what its user keeps of the others; only 32768 messages before them that have not arrived hold them back. The contract lasts as long
/// as the port, and holds in this direction. One made before the port is connected holds for whatever target it goes to. A target of a first
/// release knows no priorities: there they go first as well, but share the credit of the others.
///
/// @param port      the port.
/// @param stream    0 to 2147483647, or #CDPS_STREAM_OWN: the stream of the calling thread, which has sent nothing on this port yet.
/// @param contract  the contract; copied.
/// @param err       detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (the stream has messages already), #CDPS_E_LIMIT (more
///         streams than the 1048576 that a port remembers), #CDPS_E_UNSUPPORTED (high priority, and the present peer does not know what that
///         is; a value or field that this library does not know), #CDPS_E_FORKED. Nothing has changed then.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_set_stream(
    port: *mut cdps_port_t,
    stream: u32,
    contract: *const cdps_stream_contract_t,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        let entry = live::port(port)?;
        // SAFETY: the header asks for a structure of `struct_size` bytes.
        let contract = stream_contract(&unsafe { sized::read(contract) }?)?;
        let stream = (stream != CDPS_STREAM_OWN).then_some(StreamId(stream));
        entry.port.set_stream(stream, contract).map_err(|e| refused(&e))
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

fn stream_contract(contract: &cdps_stream_contract_t) -> Result<StreamContract, Failure> {
    if contract.flags != 0 {
        return Err(unknown_flags(contract.flags, 0));
    }
    let priority = match contract.priority {
        CDPS_PRIORITY_NORMAL => Priority::Normal,
        CDPS_PRIORITY_HIGH => Priority::High,
        unknown => {
            let text = format_args!("priority {unknown} is none that this library knows");
            return Err(Failure::new(CDPS_E_UNSUPPORTED, text));
        }
    };
    Ok(StreamContract { ack: ack_model(contract.ack)?, priority })
}

fn ack_model(ack: i32) -> Result<Option<AckModel>, Failure> {
    match ack {
        CDPS_ACK_DEFAULT => Ok(None),
        CDPS_ACK_SYNC => Ok(Some(AckModel::Synchronous)),
        CDPS_ACK_ASYNC => Ok(Some(AckModel::Asynchronous)),
        CDPS_ACK_SENT => Ok(Some(AckModel::Sent)),
        _ => Err(Failure::bare(CDPS_E_UNSUPPORTED)),
    }
}

/// Holds traffic without closing: sends are taken as before, up to `port.send_buffer_max`, and none of them begins to travel. What has begun
/// finishes, also over another path or at a backup, and receiving goes on. It lasts until cdps_port_resume(), cdps_port_stop(), a
/// cdps_port_close() that leaves no other user, or the end of the session; a connection that is down and is connected again is still
/// suspended. On a suspended port it does nothing.
///
/// @param port  the port.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (neither connected nor connecting, or a target port that is
///         closing), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_suspend(port: *mut cdps_port_t, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, Port::suspend) }
}

/// Lets go what cdps_port_suspend() holds. On a port that is not suspended it does nothing.
///
/// @param port  the port.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (neither connected nor connecting), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_resume(port: *mut cdps_port_t, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, Port::resume) }
}

/// Halts sending and keeps session and paths: messages not sent yet are nacked (#CDPS_REASON_NOT_SENT_STOPPED), sent ones finish. A stopped
/// port still receives.
///
/// @param port  the port.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_stop(port: *mut cdps_port_t, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, Port::stop) }
}

/// Asks the target of a STOPPED port to go on under a new generation (Fig. 7). What is unfinished is nacked; on_resolved says what became of
/// what is unknown of it, then on_connstatus with #CDPS_CONN_RECOVERED that the port is CONNECTED again. A target that cannot be reached is
/// waited for; cdps_port_connect(), close and destroy end that. After #CDPS_CONN_DOWN this is not needed: a port asks by itself.
///
/// @param port  the port.
/// @param err   detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (not STOPPED, or being closed), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_reset(port: *mut cdps_port_t, err: *mut cdps_error_t) -> i32 {
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { verb(port, err, Port::reset) }
}

/// Closes. On a source port it takes one from the use count; the last close of a CONNECTED port leads to STOPPED, with session and paths
/// kept, and that of a STOPPED port to INITIALIZED, and the target is told. A target port closes the session, after everything that it has
/// received was told to its user, and acknowledged where that is asked for. Returns at once: on_connstatus says #CDPS_CONN_DRAINED and
/// #CDPS_CONN_CLOSED.
///
/// @param port   the port.
/// @param flags  #CDPS_CLOSE_DRAIN or #CDPS_CLOSE_IMMEDIATE.
/// @param err    detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_UNSUPPORTED (unknown flag), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_close(port: *mut cdps_port_t, flags: u32, err: *mut cdps_error_t) -> i32 {
    let body = || {
        let entry = live::port(port)?;
        let immediate = match flags {
            CDPS_CLOSE_DRAIN => false,
            CDPS_CLOSE_IMMEDIATE => true,
            other => return Err(unknown_flags(other, CDPS_CLOSE_IMMEDIATE)),
        };
        entry.port.close(immediate).map_err(|e| refused(&e))
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// Destroys a port from any state: every accepted send is nacked or completed, every borrowed buffer given back, and on_final is the last
/// callback. Returns at once; the handle names nothing any more.
///
/// @param port  the port; NULL is allowed and does nothing.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE (also when it was destroyed before), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed, also its own.
#[unsafe(no_mangle)]
pub extern "C" fn cdps_port_destroy(port: *mut cdps_port_t) -> i32 {
    guard(|| {
        if !port.is_null() {
            Live::of(PORTS.take(port.addr())?).port.destroy();
        }
        Ok(())
    })
}

/// As cdps_port_destroy(), and returns after on_final has returned. With `callbacks.mode` dispatch it dispatches meanwhile, whatever waits on
/// the node, unless another thread was the last that did: that one has to go on.
///
/// @param port        the port; NULL is allowed and does nothing.
/// @param timeout_ms  how long to wait, in ms, or #CDPS_WAIT_FOREVER.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_IN_CALLBACK (nothing was done, the handle is still good), #CDPS_E_TIMEDOUT (the
///         destruction goes on; the handle names nothing any more), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: refused.
#[unsafe(no_mangle)]
pub extern "C" fn cdps_port_destroy_wait(port: *mut cdps_port_t, timeout_ms: u32) -> i32 {
    guard(|| {
        refuse_waiting()?;
        if port.is_null() {
            return Ok(());
        }
        Live::of(PORTS.take(port.addr())?).port.destroy_wait(duration(timeout_ms)).map_err(waited)
    })
}

/// Sends one message, made of `n` pieces. See "Sending" at the top of this file for the contract.
///
/// @param port  the port; CONNECTED (source) or CONNECTEDTO (target).
/// @param iov   the pieces; the array itself is free again on return. May be NULL if `n` is 0.
/// @param n     number of pieces, at most 1024; 0 sends an empty message.
/// @param opts  NULL: the defaults.
/// @param sn    stores the number of the message if it is accepted, before any callback for it can run; may be NULL.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED (unknown flag), #CDPS_E_NO_CALLBACK, #CDPS_E_TOO_LONG (above
///         `port.max_message` of either end), #CDPS_E_LIMIT (one more stream than `port.max_streams` of either end), #CDPS_E_WRONG_STATE,
///         #CDPS_E_DOWN, #CDPS_E_CLOSED (the port is being closed or stopped), #CDPS_E_AGAIN (the send buffer
///         is full; or, whatever the timeout, `port.max_pending_events` completions wait for their callback, or this is the thread that
///         dispatches the node's callbacks), #CDPS_E_TIMEDOUT (it stayed full), #CDPS_E_IN_CALLBACK (it is full, and a callback cannot wait), #CDPS_E_FORKED.
///
/// Threads: any number at once. Callbacks: allowed; with a timeout only if there is room.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_port_send(
    port: *mut cdps_port_t,
    iov: *const cdps_iov_t,
    n: usize,
    opts: *const cdps_send_opts_t,
    sn: *mut u64,
) -> i32 {
    let send = |entry: &PortEntry| {
        entry.needs(Abilities::SEND)?;
        let note = |number: Sn| {
            if !sn.is_null() {
                // SAFETY: not NULL, so the caller promises that it is writable.
                unsafe { sn.write_unaligned(number.0) };
            }
        };
        let give = |opts: &cdps_send_opts_t| {
            // SAFETY: the header asks for `n` pieces that refer to readable memory, or NULL.
            unsafe { with_pieces(iov, n, |pieces| give(entry, pieces, opts, note)) }
        };
        // SAFETY: the header asks for a whole structure, or NULL.
        unsafe { sized::with(opts, &DEFAULT_OPTS, give) }
    };
    guard(|| with(port, send))
}

/// Acknowledges a received message whose sender waits (#CDPS_RECEIVED_WANTS_ACK): once, in any order.
///
/// @param port  the port that received it.
/// @param sn    number of the message.
/// @param rc    reaches the sender's on_complete. Its meaning is the users'.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_NOT_OWED (not received in this session, not asked for, or acknowledged already),
///         #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_port_ack(port: *mut cdps_port_t, sn: u64, rc: i32) -> i32 {
    let ack = |entry: &PortEntry| entry.port.ack(Sn(sn), rc).map_err(|_| Failure::bare(CDPS_E_NOT_OWED));
    guard(|| with(port, ack))
}

/// A call that moves a port and takes nothing else.
unsafe fn verb(
    port: *mut cdps_port_t,
    err: *mut cdps_error_t,
    call: impl FnOnce(&Port) -> Result<(), PortError>,
) -> i32 {
    let body = || call(&live::port(port)?.port).map_err(|e| refused(&e));
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

fn refused(error: &PortError) -> Failure {
    let code = match error {
        PortError::State(_) => CDPS_E_WRONG_STATE,
        PortError::OtherNode { .. } | PortError::NotATarget { .. } | PortError::There { .. } => {
            CDPS_E_INVALID
        }
        PortError::NoTarget => CDPS_E_MISSING_KEY,
        PortError::OtherTarget { .. } | PortError::Switching { .. } | PortError::Change(_) => {
            CDPS_E_WRONG_STATE
        }
        PortError::Unregistered { .. } => CDPS_E_CLOSED,
        PortError::StreamRange { .. } => CDPS_E_INVALID,
        PortError::Contract(ContractError::InUse { .. }) => CDPS_E_WRONG_STATE,
        PortError::Contract(ContractError::TooManyStreams { .. }) => CDPS_E_LIMIT,
        PortError::Contract(ContractError::NoClasses { .. }) => CDPS_E_UNSUPPORTED,
    };
    Failure::new(code, error)
}

/// What NULL stands for.
const DEFAULT_OPTS: cdps_send_opts_t = cdps_send_opts_t {
    struct_size: sized::own_size::<cdps_send_opts_t>(),
    flags: 0,
    stream: 0,
    ack: CDPS_ACK_DEFAULT,
    timeout_ms: 0,
    reserved0: 0,
    context: ptr::null_mut(),
    deadline_ms: 0,
    reserved1: 0,
};

#[inline(always)]
fn options(opts: &cdps_send_opts_t) -> Result<SendOptions, Failure> {
    const KNOWN: u32 = CDPS_SEND_BORROW | CDPS_SEND_STREAM | CDPS_SEND_BARRIER;
    if opts.flags & !KNOWN != 0 {
        return Err(unknown_flags(opts.flags, KNOWN));
    }
    let named = opts.flags & CDPS_SEND_STREAM != 0;
    if opts.reserved0 != 0 || opts.reserved1 != 0 || (!named && opts.stream != 0) {
        return Err(Failure::bare(CDPS_E_INVALID));
    }
    let ack = ack_model(opts.ack)?;
    Ok(SendOptions {
        stream: named.then_some(StreamId(opts.stream)),
        ack,
        deadline: (opts.deadline_ms != 0).then(|| Duration::from_millis(u64::from(opts.deadline_ms))),
        barrier: opts.flags & CDPS_SEND_BARRIER != 0,
        context: opts.context.expose_provenance() as u64,
        timeout: (opts.timeout_ms != CDPS_WAIT_FOREVER)
            .then(|| Duration::from_millis(u64::from(opts.timeout_ms))),
    })
}

#[inline(always)]
fn give(
    entry: &PortEntry,
    pieces: &[IoSlice<'_>],
    opts: &cdps_send_opts_t,
    note: impl Fn(Sn),
) -> Result<(), Failure> {
    let options = options(opts)?;
    let sent = if opts.flags & CDPS_SEND_BORROW != 0 {
        entry.needs(Abilities::BORROW)?;
        // SAFETY: the header says that the memory is the library's, unchanged, until on_release with this context.
        unsafe { entry.port.send_borrowed_noting(pieces, &options, note) }
    } else {
        entry.port.send_noting(pieces, &options, note)
    };
    sent.map(|_| ()).map_err(|e| Failure::bare(not_sent(&e)))
}

fn not_sent(error: &SendError) -> i32 {
    match error {
        SendError::State(_) => CDPS_E_WRONG_STATE,
        SendError::Down => CDPS_E_DOWN,
        SendError::Closing => CDPS_E_CLOSED,
        SendError::Again => CDPS_E_AGAIN,
        SendError::TimedOut => CDPS_E_TIMEDOUT,
        SendError::InCallback => CDPS_E_IN_CALLBACK,
        SendError::TooLong { .. } => CDPS_E_TOO_LONG,
        SendError::TooManyStreams { .. } => CDPS_E_LIMIT,
        SendError::StreamRange { .. } => CDPS_E_INVALID,
    }
}

/// Looks at the caller's pieces as slices, without copying them.
///
/// # Safety
/// `iov` is NULL or points to `n` pieces, each of which refers to `len` readable bytes or is NULL.
#[inline(always)]
unsafe fn with_pieces<T>(
    iov: *const cdps_iov_t,
    n: usize,
    act: impl FnOnce(&[IoSlice<'_>]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let pieces: &[cdps_iov_t] = if n == 0 {
        &[]
    } else if iov.is_null() || n > MAX_PIECES || !iov.is_aligned() {
        return Err(Failure::bare(CDPS_E_INVALID));
    } else {
        // SAFETY: not NULL, aligned, and `n` pieces as promised.
        unsafe { slice::from_raw_parts(iov, n) }
    };
    let (mut total, mut nulls) = (0_usize, false);
    for piece in pieces {
        if piece.base.is_null() {
            if piece.len != 0 {
                return Err(Failure::bare(CDPS_E_INVALID));
            }
            nulls = true;
        }
        total = total.saturating_add(piece.len);
    }
    if total > isize::MAX.unsigned_abs() {
        return Err(Failure::bare(CDPS_E_TOO_LONG));
    }
    let kept: Vec<IoSlice<'_>>;
    act(if nulls {
        // A slice may not have a NULL address, not even an empty one.
        // SAFETY: as promised by the caller.
        kept = unsafe { filled(pieces) };
        &kept
    } else {
        // SAFETY: `IoSlice` is guaranteed to be laid out as `struct iovec`, and so is `cdps_iov_t` (asserted in types.rs); no address is NULL.
        unsafe { slice::from_raw_parts(pieces.as_ptr().cast::<IoSlice<'_>>(), pieces.len()) }
    })
}

/// The pieces that are not empty.
///
/// # Safety
/// As for [`with_pieces`].
#[cold]
unsafe fn filled<'a>(pieces: &[cdps_iov_t]) -> Vec<IoSlice<'a>> {
    pieces
        .iter()
        .filter(|piece| piece.len != 0)
        // SAFETY: not NULL since not empty; readable as promised.
        .map(|piece| IoSlice::new(unsafe { slice::from_raw_parts(piece.base.cast(), piece.len) }))
        .collect()
}

fn unknown_flags(flags: u32, known: u32) -> Failure {
    let text = format_args!("flags is {flags:#x}; this version knows {known:#x}").to_string();
    Failure::new(CDPS_E_UNSUPPORTED, text)
}
