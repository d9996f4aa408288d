//! Nodes: one member of the cluster as this process sees it.

use std::ffi::{c_char, c_void};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cdps::{ConfigError, DispatchError, Node, OpenError, WaitError};

use crate::callback::{self, User, run};
use crate::config;
use crate::error::{
    CDPS_E_ABI, CDPS_E_BAD_VALUE, CDPS_E_BUSY, CDPS_E_CLOSED, CDPS_E_CONFLICT, CDPS_E_IN_CALLBACK,
    CDPS_E_NOT_FOUND, CDPS_E_SYSTEM, CDPS_E_TIMEDOUT, CDPS_E_WRONG_STATE, Failure, cdps_error_t,
};
use crate::guard::{guard, guard_count, guard_detail};
use crate::handle::{Kind, Table};
use crate::live;
use crate::log;
use crate::sized;
use crate::strings;
use crate::types::{CDPS_WAIT_FOREVER, cdps_config_t, cdps_node_callbacks_t, cdps_node_t};
use crate::version::CDPS_ABI;

/// Longest wait that is counted; "for ever" in practice (136 years).
const FOREVER: Duration = Duration::from_secs(0xffff_ffff);

/// What a node handle names.
pub(crate) struct NodeEntry {
    pub(crate) node: Node,
    /// The user has destroyed it: the handle is good for dispatching what is left, and nothing else.
    pub(crate) destroyed: AtomicBool,
}

impl NodeEntry {
    pub(crate) fn new(node: Node) -> NodeEntry {
        NodeEntry { node, destroyed: AtomicBool::new(false) }
    }
}

pub(crate) static NODES: Table<NodeEntry> = Table::new(Kind::Node);

/// Opens a node. Call cdps_node_open(), which passes the ABI that the program was compiled for.
///
/// @param abi        #CDPS_ABI.
/// @param config     settings: `node.id` and `security.mode` must be set. Copied.
/// @param callbacks  may be NULL. Copied.
/// @param user       first argument of each callback; must stay valid until on_final.
/// @param out        stores the handle.
/// @param err        detail of a failure, or NULL.
/// @return #CDPS_OK, #CDPS_E_ABI, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED, #CDPS_E_MISSING_KEY, #CDPS_E_BAD_VALUE,
///         #CDPS_E_CONFLICT (timers that contradict each other), #CDPS_E_SYSTEM (an address cannot be listened on, no thread, `node.state_dir` ...),
///         #CDPS_E_LIMIT, #CDPS_E_FORKED. On failure nothing is left behind and on_final does not run.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_open_abi(
    abi: u32,
    config: *const cdps_config_t,
    callbacks: *const cdps_node_callbacks_t,
    user: *mut c_void,
    out: *mut *mut cdps_node_t,
    err: *mut cdps_error_t,
) -> i32 {
    let body = || {
        if abi != CDPS_ABI {
            return Err(Failure::new(
                CDPS_E_ABI,
                format_args!("the program was compiled for ABI {abi}; this library has {CDPS_ABI}"),
            ));
        }
        if out.is_null() {
            return Err(Failure::null("out"));
        }
        // SAFETY: the header asks for a whole table, or NULL.
        let table = if callbacks.is_null() { None } else { Some(unsafe { sized::read(callbacks) }?) };
        let (on_log, on_final) = match &table {
            Some(table) => (table.on_log, table.on_final),
            None => (None, None),
        };
        table.as_ref().map_or(Ok(()), callback::check_node)?;
        let settings = config::copy(config)?;
        let mut options = settings.node()?;
        options.log = log::log(options.id, settings.log_level()?, on_log, User(user));
        let reserved = NODES.reserve()?;
        let (handle, user) = (reserved.handle(), User(user));
        let last = move || {
            let user = user;
            drop(NODES.take(handle));
            if let Some(on_final) = on_final {
                // SAFETY: the user registered this function for this pointer; nothing is called for it afterwards.
                run("on_final", (), || unsafe { on_final(user.0) });
            }
        };
        let node = Node::open(options, Box::new(last)).map_err(|e| refused(&e))?;
        reserved.fill(NodeEntry::new(node));
        // SAFETY: not NULL, so the caller promises that it is writable.
        unsafe { out.write_unaligned(ptr::without_provenance_mut(handle)) };
        Ok(())
    };
    // SAFETY: the header asks for a whole structure, or NULL.
    unsafe { guard_detail(err, body) }
}

/// What to poll for reading, with `callbacks.mode` dispatch: readable while there is something for cdps_node_dispatch() to do. It is the same
/// until the node's on_final, where it is to be taken out of what polls it; the library closes it afterwards. The program must neither read
/// nor close it.
///
/// @param node  the node; also one that was destroyed, until its on_final.
/// @param out   stores the descriptor.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (the node has another `callbacks.mode`), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_fd(node: *const cdps_node_t, out: *mut i32) -> i32 {
    guard(|| {
        let entry = live::ending_node(node)?;
        let fd = entry.node.fd().map_err(undispatched)?.as_raw_fd();
        // SAFETY: the header asks for a writable place, or NULL.
        unsafe { put(out, fd) }
    })
}

/// Runs callbacks of a node, its clients and its ports on this thread, with `callbacks.mode` dispatch. If nothing waits it waits for something.
///
/// Everything that waits has one turn, in which a port tells a few thousand events at most: callbacks that bring about others do not keep it
/// from returning. What is left keeps the descriptor of cdps_node_fd() readable.
///
/// A program has to go on until this returns #CDPS_E_CLOSED, also after cdps_node_destroy(): what is destroyed ends here and nowhere else. A
/// program that does not dispatch is not told anything, and blocks nobody: its links stay up, it receives as far as `port.window` goes.
///
/// @param node        the node; also one that was destroyed, until its on_final.
/// @param max_events  events that are told at most; 0: no limit but that above.
/// @param timeout_ms  how long to wait, in ms: 0 = not at all, or #CDPS_WAIT_FOREVER.
/// @return how many events there were, 0 for none; events without a callback count as well. #CDPS_E_CLOSED (the node's on_final has returned),
///         #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (the node has another `callbacks.mode`), #CDPS_E_BUSY (another thread is in this
///         call), #CDPS_E_IN_CALLBACK, #CDPS_E_FORKED.
///
/// Threads: any, one at a time. Callbacks: refused.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_node_dispatch(node: *mut cdps_node_t, max_events: u32, timeout_ms: u32) -> i32 {
    guard_count(|| {
        let entry = live::ending_node(node)?;
        let max = (max_events > 0).then_some(max_events as usize);
        let told = entry.node.dispatch(max, duration(timeout_ms)).map_err(undispatched)?;
        Ok(i32::try_from(told).unwrap_or(i32::MAX))
    })
}

/// Destroys a node: its ports, then its clients, then the node; every accepted send is nacked, every borrowed buffer given back, and
/// the node's on_final is the last callback. Returns at once; the handle names nothing any more, but for cdps_node_fd() and
/// cdps_node_dispatch(), which are to go on until then.
///
/// @param node  the node; NULL is allowed and does nothing.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE (also when it was destroyed before), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed, also its own.
#[unsafe(no_mangle)]
pub extern "C" fn cdps_node_destroy(node: *mut cdps_node_t) -> i32 {
    guard(|| {
        if !node.is_null() {
            live::take_node(node)?.node.destroy();
        }
        Ok(())
    })
}

/// As cdps_node_destroy(), and returns after the node's on_final has returned and its threads have ended. With `callbacks.mode` dispatch it
/// dispatches meanwhile, unless another thread was the last that did: that one has to go on.
///
/// @param node        the node; NULL is allowed and does nothing.
/// @param timeout_ms  how long to wait, in ms, or #CDPS_WAIT_FOREVER.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_IN_CALLBACK (nothing was done, the handle is still good), #CDPS_E_TIMEDOUT (the
///         destruction goes on; the handle names nothing any more), #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: refused.
#[unsafe(no_mangle)]
pub extern "C" fn cdps_node_destroy_wait(node: *mut cdps_node_t, timeout_ms: u32) -> i32 {
    guard(|| {
        refuse_waiting()?;
        if node.is_null() {
            return Ok(());
        }
        live::take_node(node)?.node.destroy_wait(duration(timeout_ms)).map_err(waited)
    })
}

/// Id of a node.
///
/// @param node  the node.
/// @param out   stores the id.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_id(node: *const cdps_node_t, out: *mut u32) -> i32 {
    // SAFETY: the header asks for a writable place, or NULL.
    guard(|| unsafe { put(out, live::node(node)?.node.id().0) })
}

/// Incarnation of a node: a random number of this opening.
///
/// @param node  the node.
/// @param out   stores the incarnation, never 0.
/// @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_incarnation(node: *const cdps_node_t, out: *mut u64) -> i32 {
    // SAFETY: the header asks for a writable place, or NULL.
    guard(|| unsafe { put(out, live::node(node)?.node.incarnation().0) })
}

/// An address that a node listens on, as "IP:PORT", in the order of `node.listen` and with the port that was taken.
///
/// @param node   the node.
/// @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
/// @param buf    where the text and its NUL go (64 bytes are enough); NULL with `cap` 0 asks for the length alone.
/// @param cap    size of `buf`, in bytes.
/// @param need   stores the length without the NUL; may be NULL if `buf` is given.
/// @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_NOT_FOUND, #CDPS_E_BUFFER, #CDPS_E_FORKED.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_node_listening(
    node: *const cdps_node_t,
    index: usize,
    buf: *mut c_char,
    cap: usize,
    need: *mut usize,
) -> i32 {
    guard(|| {
        let addresses = live::node(node)?.node.listening();
        let found = addresses.get(index).ok_or(const { Failure::bare(CDPS_E_NOT_FOUND) })?;
        // SAFETY: the header asks for `cap` writable bytes, or NULL.
        unsafe { strings::store(&found.to_string(), buf, cap, need) }
    })
}

/// Refuses calls that wait, where the calling thread may be the one that would end the wait.
pub(crate) fn refuse_waiting() -> Result<(), Failure> {
    if cdps::in_callback() {
        return Err(Failure::bare(CDPS_E_IN_CALLBACK));
    }
    Ok(())
}

pub(crate) fn duration(timeout_ms: u32) -> Duration {
    if timeout_ms == CDPS_WAIT_FOREVER { FOREVER } else { Duration::from_millis(u64::from(timeout_ms)) }
}

pub(crate) fn waited(error: WaitError) -> Failure {
    Failure::bare(match error {
        WaitError::InCallback => CDPS_E_IN_CALLBACK,
        WaitError::TimedOut => CDPS_E_TIMEDOUT,
    })
}

pub(crate) fn config_code(error: &ConfigError) -> i32 {
    match error {
        ConfigError::TimerOrder { .. } | ConfigError::Budget { .. } => CDPS_E_CONFLICT,
        ConfigError::TimerTooShort { .. }
        | ConfigError::Range { .. }
        | ConfigError::ClientName { .. }
        | ConfigError::NodeZero
        | ConfigError::Paths { .. }
        | ConfigError::MemberTwice { .. }
        | ConfigError::TargetTwice { .. } => CDPS_E_BAD_VALUE,
    }
}

unsafe fn put<T>(out: *mut T, value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::null("out"));
    }
    // SAFETY: not NULL, so the caller promises that it is writable.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

fn undispatched(error: DispatchError) -> Failure {
    Failure::bare(match error {
        DispatchError::NotDispatched => CDPS_E_WRONG_STATE,
        DispatchError::Busy => CDPS_E_BUSY,
        DispatchError::InCallback => CDPS_E_IN_CALLBACK,
        DispatchError::Closed => CDPS_E_CLOSED,
    })
}

fn refused(error: &OpenError) -> Failure {
    let system = |source: &io::Error| Failure {
        code: CDPS_E_SYSTEM,
        os_errno: source.raw_os_error().unwrap_or(0),
        text: error.to_string(),
    };
    match error {
        OpenError::Config(cause) => Failure::new(config_code(cause), error),
        OpenError::Threads { .. } => Failure::new(CDPS_E_BAD_VALUE, error),
        OpenError::Keep(_) => Failure::new(CDPS_E_SYSTEM, error),
        OpenError::Listen { source, .. } | OpenError::System { source, .. } => system(source),
    }
}
