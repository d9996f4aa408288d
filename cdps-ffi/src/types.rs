//! Structures, callbacks and flags that cross the boundary.
//!
//! Every structure that may grow begins with `struct_size`. Fields are only ever appended; zero always means "default".

use std::ffi::{c_char, c_void};

use crate::decision::cdps_decision_t;
use crate::sized::Sized32;

/// A node: one member of the cluster as this process sees it. A handle, not an address.
pub struct cdps_node_t {
    _private: (),
}

/// A client: a named user of a node. A handle, not an address.
pub struct cdps_client_t {
    _private: (),
}

/// A data port: the one pipe that a client sees. A handle, not an address.
pub struct cdps_port_t {
    _private: (),
}

/// Settings by name, for nodes and ports. A handle, not an address.
pub struct cdps_config_t {
    _private: (),
}

/// A received message. A real pointer: it must be one that the library gave out and that is not released yet.
pub struct cdps_msg_t {
    _private: (),
}

/// As a timeout: wait for ever.
pub const CDPS_WAIT_FOREVER: u32 = 0xffff_ffff;

/// cdps_send_opts_t.ack: as the port is configured.
pub const CDPS_ACK_DEFAULT: i32 = 0;
/// Complete when the target's user has acknowledged it; its return code comes along.
pub const CDPS_ACK_SYNC: i32 = 1;
/// Complete when the target port has it and everything before it in its stream.
pub const CDPS_ACK_ASYNC: i32 = 2;
/// Complete when its last byte was handed to a transport.
pub const CDPS_ACK_SENT: i32 = 3;

/// cdps_stream_contract_t.priority: messages take their turn (the default).
pub const CDPS_PRIORITY_NORMAL: i32 = 0;
/// cdps_stream_contract_t.priority: messages go before all normal ones that wait, and have credit of their own.
pub const CDPS_PRIORITY_HIGH: i32 = 1;
/// cdps_port_set_stream(): the stream of the calling thread.
pub const CDPS_STREAM_OWN: u32 = 0xffff_ffff;

/// cdps_send_opts_t.flags: the payload is copied (the default).
pub const CDPS_SEND_COPY: u32 = 0;
/// cdps_send_opts_t.flags: the payload is not copied; it is the library's, and must not change, until on_release with the same `context`.
/// See "Sending: the contract" for what becomes of a message that is changed all the same.
pub const CDPS_SEND_BORROW: u32 = 1;
/// cdps_send_opts_t.flags: `stream` is set. Without it each sending thread has a stream of its own.
pub const CDPS_SEND_STREAM: u32 = 2;
/// cdps_send_opts_t.flags: the message is a barrier, as a disk's flush needs it: it is delivered after everything that was sent before it on this
/// port, on whatever stream, and before anything that is sent later. It may be empty. It costs a round trip before it and one behind it, for which
/// the port stands still.
pub const CDPS_SEND_BARRIER: u32 = 4;

/// cdps_received_t.flags: the sender waits for cdps_port_ack().
pub const CDPS_RECEIVED_WANTS_ACK: u32 = 1;
/// cdps_received_t.flags: an earlier target may have delivered this message already.
pub const CDPS_RECEIVED_REDELIVERED: u32 = 2;
/// The target went on with the session, and said what it had (#CDPS_CONN_RECOVERED).
pub const CDPS_CONNSTATUS_KEPT: u32 = 1;

/// cdps_port_close(): what is unfinished is completed or nacked first, within `port.close_timeout_ms`.
pub const CDPS_CLOSE_DRAIN: u32 = 0;
/// cdps_port_close(): what is unfinished is nacked at once.
pub const CDPS_CLOSE_IMMEDIATE: u32 = 1;

/// on_connectreq: refuse. Any value but #CDPS_CONNECT_ACCEPT refuses.
pub const CDPS_CONNECT_REFUSE: i32 = 0;
/// on_connectreq: accept, as filled in.
pub const CDPS_CONNECT_ACCEPT: i32 = 1;

/// on_fence: it is not certain. Any value but #CDPS_FENCE_YES says so.
pub const CDPS_FENCE_NO: i32 = 0;
/// on_fence: the target does nothing more, for certain.
pub const CDPS_FENCE_YES: i32 = 1;
/// cdps_client_callbacks_t.flags: the client serves one source at a time, the one with the highest `port.role_epoch`. When a higher one is
/// accepted, the former's port ends with #CDPS_CONN_CLOSED and #CDPS_REASON_SUPERSEDED before anything comes from the new one; a lower or
/// equal one is refused unasked (#CDPS_REASON_ROLE_TAKEN). Without it any number of sources is served, each through a port of its own.
pub const CDPS_CLIENT_EXCLUSIVE: u32 = 1;

/// Weight of a log line: something is lost or refused that the user relies on.
pub const CDPS_LOG_ERROR: i32 = 1;
/// Something is wrong and is being dealt with.
pub const CDPS_LOG_WARN: i32 = 2;
/// Connections, sessions and members come and go.
pub const CDPS_LOG_INFO: i32 = 3;
/// Steps on the way.
pub const CDPS_LOG_DEBUG: i32 = 4;
/// Single frames.
pub const CDPS_LOG_TRACE: i32 = 5;

/// Fencing token that both users see, compared as (role_epoch, counter). It grows with every connect to a target.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_generation_t {
    /// Given by the source's user (`port.role_epoch`); 0 if the client is shared.
    pub role_epoch: u64,
    /// Grows with every connect.
    pub counter: u64,
}

/// One source port tied to one target port; survives path failures.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_session_t {
    /// Node of the source.
    pub node: u32,
    /// Number that the source gave the port.
    pub port: u32,
    /// Incarnation of the source's node.
    pub incarnation: u64,
}

/// A piece of a message. Laid out as `struct iovec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_iov_t {
    /// First byte; may be NULL if `len` is 0.
    pub base: *const c_void,
    /// Bytes.
    pub len: usize,
}

/// How a message is sent. All zero but `struct_size` (#CDPS_SEND_OPTS_INIT) is the default: copy, stream of the calling thread,
/// acknowledgment model of the port, no waiting.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_send_opts_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_SEND_*.
    pub flags: u32,
    /// Stream, 0 to 2147483647, if #CDPS_SEND_STREAM is set; else 0.
    pub stream: u32,
    /// CDPS_ACK_*.
    pub ack: i32,
    /// How long to wait for room in the send buffer, in ms: 0 = not at all (#CDPS_E_AGAIN), #CDPS_WAIT_FOREVER. The thread that dispatches
    /// the node's callbacks, if one of the program does, never waits.
    pub timeout_ms: u32,
    /// 0.
    pub reserved0: u32,
    /// Comes back in on_complete, on_nack and on_release. Must be ready before the call.
    pub context: *mut c_void,
    /// How long the message is worth something, in ms from the moment that it is accepted; 0: as long as it takes. If no byte of it has
    /// been handed to a transport by then, it is nacked with #CDPS_REASON_TIMEOUT and #CDPS_CERTAINTY_NOT_SENT, and its stream goes on
    /// without it. It also runs while the port is suspended, on its way to another target, or without credit.
    pub deadline_ms: u32,
    /// 0.
    pub reserved1: u32,
}

/// What holds for the messages of a stream. All zero but `struct_size` (#CDPS_STREAM_CONTRACT_INIT) is what holds without one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_stream_contract_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// CDPS_ACK_*: of messages that are sent with #CDPS_ACK_DEFAULT.
    pub ack: i32,
    /// CDPS_PRIORITY_*.
    pub priority: i32,
}

/// A send is complete.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_complete_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Return code of the target's user (#CDPS_ACK_SYNC); 0 in the other models.
    pub rc: i32,
    /// Number of the message.
    pub sn: u64,
    /// As given to cdps_port_send().
    pub context: *mut c_void,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// A send has failed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_nack_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_REASON_*.
    pub reason: i32,
    /// Number of the message.
    pub sn: u64,
    /// As given to cdps_port_send().
    pub context: *mut c_void,
    /// The port.
    pub port: *mut cdps_port_t,
    /// The reason as a phrase. A static string.
    pub text: *const c_char,
    /// CDPS_CERTAINTY_*: how sure it is that the message did not arrive.
    pub certainty: i32,
    /// 0.
    pub reserved0: u32,
}

/// The memory of a borrowed send is the user's again.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_release_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved0: u32,
    /// As given to cdps_port_send().
    pub context: *mut c_void,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// A message arrived.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_received_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_RECEIVED_*.
    pub flags: u32,
    /// The message. Valid until the callback returns, unless cdps_msg_retain() is called.
    pub msg: *mut cdps_msg_t,
    /// Its bytes, contiguous; never NULL. Valid as long as `msg`.
    pub data: *const c_void,
    /// Number of bytes.
    pub size: usize,
    /// Number of the message: what cdps_port_ack() takes.
    pub sn: u64,
    /// Its number in its stream, from 1.
    pub ssn: u64,
    /// Generation under which it was received: the fencing token.
    pub generation: cdps_generation_t,
    /// The port.
    pub port: *mut cdps_port_t,
    /// Its stream; from 2147483648 on, of a sending thread that named none.
    pub stream: u32,
    /// 0.
    pub reserved0: u32,
}

/// The connection as a whole changed. Which fields are set depends on `status`; the others are 0.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_connstatus_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_CONN_*. New values may appear: ignore what you do not know.
    pub status: i32,
    /// The target.
    pub node: u32,
    /// CDPS_REASON_*.
    pub reason: i32,
    /// Generation of the session.
    pub generation: cdps_generation_t,
    /// Paths that are up now.
    pub paths_up: u32,
    /// Paths that there are; a target learns of them as they come.
    pub paths: u32,
    /// Completed messages of which only the former target's port, not its user, had said that it has them.
    pub only_receipted: u64,
    /// The reason as a phrase. A static string.
    pub text: *const c_char,
    /// The port.
    pub port: *mut cdps_port_t,
    /// CDPS_CONNSTATUS_* bits.
    pub flags: u32,
    /// 0.
    pub reserved0: u32,
    /// What the loss of the target was decided on (#CDPS_CONN_DOWN, #CDPS_CONN_SWITCHING, #CDPS_CONN_SWITCHED); else NULL. Valid until the
    /// callback returns.
    pub decision: *const cdps_decision_t,
}

/// What became of a message that was nacked with #CDPS_CERTAINTY_UNKNOWN, in the words of its target.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_resolved_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_VERDICT_*.
    pub verdict: i32,
    /// The message, as in its nack.
    pub sn: u64,
    /// What the target's user acknowledged it with, if it did; else 0.
    pub rc: i32,
    /// 0.
    pub reserved0: u32,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// A path changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_path_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Which: a number, as `path` in cdps_path_stats_t.
    pub path: u32,
    /// CDPS_HEALTH_*: what it is now.
    pub health: i32,
    /// CDPS_REASON_*.
    pub reason: i32,
    /// The reason as a phrase. A static string.
    pub text: *const c_char,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// What waits in the send buffer has passed a mark. Sending is allowed either way; past `port.send_buffer_max` it waits or fails.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_flow_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// #CDPS_FLOW_ON or #CDPS_FLOW_OFF, never the same twice in a row.
    pub flow: i32,
    /// CDPS_CAUSE_*. New values may appear: ignore what you do not know.
    pub cause: i32,
    /// 0.
    pub reserved0: u32,
    /// Bytes that are queued or unfinished.
    pub bytes: u64,
    /// Messages that are queued or unfinished.
    pub messages: u64,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// The target's user has had a message for longer than `port.user_ack_timeout_ms`, and has not acknowledged it: the oldest such message that
/// has not been named. No message is named twice, and no other one before this one has ended or the port has
/// switched.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_overdue_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Stream of the message.
    pub stream: u32,
    /// Number of the message, as cdps_port_send() gave it.
    pub sn: u64,
    /// For so many milliseconds at least.
    pub waited_ms: u64,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// A port is to go to a backup.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_backup_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// The target that was lost.
    pub failed: u32,
    /// CDPS_REASON_*: why it was, or why the backup that was tried last did not do.
    pub reason: i32,
    /// Number of `candidates`, at least 1.
    pub candidate_count: u32,
    /// Nodes that the port may go to, in the order of `port.targets` after `failed`: those not tried for this loss, and not known to be
    /// unreachable. Valid until the callback returns.
    pub candidates: *const u32,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// A target that was given up is to be fenced.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_fence_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// The target.
    pub node: u32,
    /// Generation that it was given up with: nothing that it was given under this one or an earlier one may have an effect after a yes.
    pub generation: cdps_generation_t,
    /// What is left of its lease, in ms: without a yes the port waits for that.
    pub lease_left_ms: u64,
    /// The port.
    pub port: *mut cdps_port_t,
}

/// Something changed in the cluster. Which fields are set depends on `change`; the others are 0 or NULL.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_cluster_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_CLUSTER_*. New values may appear: ignore what you do not know.
    pub change: i32,
    /// The node that it is about.
    pub node: u32,
    /// 0.
    pub reserved0: u32,
    /// Number of the batch that the event belongs to; of a path, the present one.
    pub membership: u64,
    /// Incarnation of the node (#CDPS_CLUSTER_UP); 0: it has not been heard yet.
    pub incarnation: u64,
    /// Name of the client. Valid until the callback returns.
    pub client: *const c_char,
    /// Where a path leads, as "IP:PORT"; NULL: the other node dials it. Valid until the callback returns.
    pub remote: *const c_char,
    /// CDPS_HEALTH_*: what the path is now.
    pub health: i32,
    /// Number of the path among those that the dialling node dials: this one if `remote` is set, else `node`.
    pub link: u32,
}

/// A source wants to connect.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_connectreq_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// Node of the source.
    pub node: u32,
    /// The session.
    pub session: cdps_session_t,
    /// Its generation: the fencing token of everything received under it.
    pub generation: cdps_generation_t,
    /// Name of the client that is asked for. Valid until the callback returns.
    pub client: *const c_char,
    /// The port that accepting creates. It is the user's from the moment that the callback accepts; after a refusal it names nothing.
    pub port: *mut cdps_port_t,
    /// Paths that the source will dial.
    pub paths: u32,
    /// 0.
    pub reserved0: u32,
}

/// What on_connectreq fills in. It is handed over with everything zero but `struct_size`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_accept_t {
    /// Size of this structure, in bytes. Set by the library.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// Settings of the port (keys `port.*`; client, targets and local have no meaning here). Copied. NULL: the defaults.
    pub config: *const cdps_config_t,
    /// Callbacks of the port. Copied. Must be set.
    pub callbacks: *const cdps_port_callbacks_t,
    /// First argument of each callback of the port. Must stay valid until its on_final.
    pub user: *mut c_void,
    /// Why the request is refused, for the source's log. UTF-8, ends with NUL.
    pub text: [c_char; 128],
}

/// A line for the log.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_log_record_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_LOG_*.
    pub level: i32,
    /// The node.
    pub node: u32,
    /// 0.
    pub reserved0: u32,
    /// The part of the library that speaks. Valid until the callback returns.
    pub target: *const c_char,
    /// The line, without an end of line. Valid until the callback returns.
    pub message: *const c_char,
}

/// A send is complete (the only end of that send).
pub type cdps_on_complete_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_complete_t)>;
/// A send has failed (the only end of that send).
pub type cdps_on_nack_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_nack_t)>;
/// The memory of a borrowed send is the user's again: once per accepted send with #CDPS_SEND_BORROW, after its completion or nack.
pub type cdps_on_release_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_release_t)>;
/// A message arrived.
pub type cdps_on_received_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_received_t)>;
/// The sender should hold back (#CDPS_FLOW_ON), or may go on (#CDPS_FLOW_OFF).
pub type cdps_on_flow_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_flow_t)>;
/// A message is overdue: its user has had it for long, and has not acknowledged it.
pub type cdps_on_overdue_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_overdue_t)>;
/// What became of a message that was nacked as unknown. Told once for each, oldest first, before #CDPS_CONN_RECOVERED.
pub type cdps_on_resolved_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_resolved_t)>;
/// Which backup the port goes to: one of the candidates, or 0 for none, so that the connection is down. Asked once for each choice, after
/// #CDPS_CONN_SWITCHING, with `port.backup_selection=callback`. No other callback of the port runs meanwhile, and the port waits, but no
/// longer than `port.connect_timeout_ms`: then, or after a node that is no candidate, listed order decides.
pub type cdps_on_backup_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, choice: *const cdps_backup_t) -> u32>;
/// Makes sure that a target that was given up does nothing more, and says whether that is certain now, because its power was cut for instance:
/// #CDPS_FENCE_YES, or #CDPS_FENCE_NO, as any other value. The port is on its way to another target, which takes over with a yes, or when the
/// former one's lease is over or released, whichever is first. Asked once for each target that is given up: at once if the cluster engine says
/// that it is down, else if it has not released its lease within a heartbeat; not if the lease is over by then, as it is after
/// `liveness.dead_ms` without contact. It may take its time: no other callback of the port runs meanwhile, and an answer that comes
/// too late changes nothing.
pub type cdps_on_fence_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, request: *const cdps_fence_t) -> i32>;
/// The connection as a whole changed.
pub type cdps_on_connstatus_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_connstatus_t)>;
/// A path changed.
pub type cdps_on_path_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_path_t)>;
/// The last callback of its object: nothing follows, and `user` may be freed.
pub type cdps_on_final_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void)>;
/// A source wants to connect. Fill in `accept` and return #CDPS_CONNECT_ACCEPT, or return #CDPS_CONNECT_REFUSE.
pub type cdps_on_connectreq_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        request: *const cdps_connectreq_t,
        accept: *mut cdps_accept_t,
    ) -> i32,
>;
/// Something changed in the cluster.
pub type cdps_on_cluster_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const cdps_cluster_t)>;
/// A line for the log. May run on any thread of the process, several at once; it must not block.
pub type cdps_on_log_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, record: *const cdps_log_record_t)>;

/// Callbacks of a port. Copied by the call that takes them.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_port_callbacks_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// A message arrived. NULL: messages are dropped, and those whose sender waits are acknowledged with #CDPS_E_NO_CALLBACK.
    pub on_received: cdps_on_received_fn,
    /// A send is complete. Together with on_nack, or neither: then the port cannot send.
    pub on_complete: cdps_on_complete_fn,
    /// A send has failed.
    pub on_nack: cdps_on_nack_fn,
    /// Borrowed memory is free. Needed for #CDPS_SEND_BORROW.
    pub on_release: cdps_on_release_fn,
    /// The backlog has passed a mark (`port.flow_high_percent`, `port.flow_low_percent`). May be NULL.
    pub on_flow: cdps_on_flow_fn,
    /// The connection changed. May be NULL.
    pub on_connstatus: cdps_on_connstatus_fn,
    /// A path changed. May be NULL.
    pub on_path: cdps_on_path_fn,
    /// Last callback of the port. Must be set.
    pub on_final: cdps_on_final_fn,
    /// The target's user does not acknowledge (`port.user_ack_timeout_ms`). May be NULL.
    pub on_overdue: cdps_on_overdue_fn,
    /// What became of messages whose nack said #CDPS_CERTAINTY_UNKNOWN, when their target is back. May be NULL.
    pub on_resolved: cdps_on_resolved_fn,
    /// A backup is to be chosen. Must be set with `port.backup_selection=callback`, and is not called otherwise.
    pub on_backup: cdps_on_backup_fn,
    /// A former target is to be fenced. NULL: its lease is waited for.
    pub on_fence: cdps_on_fence_fn,
}

/// Callbacks of a client. Copied by cdps_client_register().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_client_callbacks_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0 or #CDPS_CLIENT_EXCLUSIVE.
    pub flags: u32,
    /// A source wants to connect. NULL: every one is refused.
    pub on_connectreq: cdps_on_connectreq_fn,
    /// The cluster changed. May be NULL.
    pub on_cluster: cdps_on_cluster_fn,
    /// Last callback of the client. Must be set.
    pub on_final: cdps_on_final_fn,
}

/// Callbacks of a node. Copied by cdps_node_open().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_node_callbacks_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// A line for the log. NULL: standard error. Either way from `log.level` up.
    pub on_log: cdps_on_log_fn,
    /// Last callback of the node. May be NULL, as may the whole table.
    pub on_final: cdps_on_final_fn,
}

/// What a port is now.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_port_info_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_STATE_*.
    pub state: i32,
    /// CDPS_LINK_*.
    pub link: i32,
    /// The node at the other end; 0 if there is none.
    pub peer: u32,
    /// The session.
    pub session: cdps_session_t,
    /// Its generation.
    pub generation: cdps_generation_t,
}

macro_rules! sized {
    ($($name:ident = $first:literal;)*) => {$(
        // SAFETY: `repr(C)`; `struct_size` first; integers, raw pointers, optional function pointers, arrays and structures of those.
        unsafe impl Sized32 for $name {
            const NAME: &'static str = stringify!($name);
            const FIRST_SIZE: usize = $first;
        }
        const _: () = assert!(std::mem::size_of::<$name>() >= $first, "a structure shrank");
    )*};
}

// The sizes of the first release, 0.1.
sized! {
    cdps_send_opts_t = 32;
    cdps_stream_contract_t = 16;
    cdps_complete_t = 32;
    cdps_nack_t = 48;
    cdps_release_t = 24;
    cdps_flow_t = 40;
    cdps_received_t = 80;
    cdps_connstatus_t = 64;
    cdps_path_t = 32;
    cdps_overdue_t = 32;
    cdps_resolved_t = 32;
    cdps_backup_t = 32;
    cdps_fence_t = 40;
    cdps_cluster_t = 32;
    cdps_connectreq_t = 64;
    cdps_accept_t = 160;
    cdps_log_record_t = 32;
    cdps_port_callbacks_t = 72;
    cdps_client_callbacks_t = 32;
    cdps_node_callbacks_t = 24;
    cdps_port_info_t = 48;
}

const _: () = assert!(
    std::mem::size_of::<cdps_iov_t>() == std::mem::size_of::<libc::iovec>()
        && std::mem::offset_of!(cdps_iov_t, base) == std::mem::offset_of!(libc::iovec, iov_base)
        && std::mem::offset_of!(cdps_iov_t, len) == std::mem::offset_of!(libc::iovec, iov_len),
    "cdps_iov_t is laid out as struct iovec"
);
