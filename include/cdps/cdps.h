/*
 * Cluster data port services: many TCP paths and several backup targets, presented to the program as one pipe.
 *
 * This file is generated (cargo xtask header); do not edit it. SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * A process opens a node, registers a client on it under a name, and uses ports. A source port connects to a client of another node;
 * a target port is made there, when that client's on_connectreq accepts. Either end may then send. Messages arrive exactly once and in order
 * per stream, whatever happens to the paths between the two.
 *
 *     source:  cdps_node_open, cdps_client_register, cdps_port_create, cdps_port_register, cdps_port_initialize, cdps_port_connect,
 *              (on_connstatus: CONNECTED), cdps_port_send ..., cdps_port_close, cdps_node_destroy_wait
 *     target:  cdps_node_open, cdps_client_register, (on_connectreq: accept), (on_received: cdps_port_ack) ..., cdps_node_destroy_wait
 *
 *
 * Sending: the contract
 *
 *  (i)   A cdps_port_send() that returns below 0: no callback will ever come for this call, and every buffer is still the caller's.
 *  (ii)  One that returns 0: exactly one of on_complete(context, sn, rc) or on_nack(context, sn, reason) follows, also through stop, close,
 *        destroy and shutdown.
 *  (iii) The callback may run on another thread before cdps_port_send() returns: what `context` points to must be ready before the call. The
 *        number of the message has been stored by then.
 *
 *  With CDPS_SEND_BORROW the payload (not the array of pieces) is the library's, and must not change, until on_release with the same context:
 *  exactly once for each accepted send, after its on_complete or on_nack. So on_release is where a borrowing program frees everything of that
 *  send; a copying one does so in on_complete and on_nack.
 *
 *  A payload that is changed before on_release is a fault of the program, which the library looks for. Of a message above 2,048 bytes it takes
 *  checksums in the call, and compares them whenever a part of it is about to be written, also when that has to travel again on another path or to
 *  another target. If they differ the message is nacked with CDPS_REASON_BUFFER_CHANGED: nothing changed is delivered, its stream goes on without
 *  it, and no path is blamed. The certainty says whether any of it was written before; all of it may have arrived, as it was. A message of at
 *  most 2,048 bytes is copied in the call all the same: a change does nothing to it. Of one that was completed when it was written
 *  (CDPS_ACK_SENT), and is changed before on_release, nothing more is said: it is lost if it has to travel again. A change in the very moment of a
 *  write, some microseconds, is like damage on the way: the connection is given up and made anew, and the message nacked when it would go again.
 *
 *  A full send buffer makes the call fail with CDPS_E_AGAIN at once, or, with a timeout, wait for room. A program that dispatches its
 *  callbacks itself is the one that would make room: on its dispatching thread the answer is CDPS_E_AGAIN at once, whatever the timeout.
 *
 *
 * Return values
 *
 *  Functions that can fail return int32_t: 0 (CDPS_OK), or a negative code CDPS_E_* that never changes its number. Positive values are never
 *  errors. Many take a last argument `err`, which may be NULL: it stores the code and a text that says what was wrong, with which value, and
 *  what is allowed. The lists of codes below are complete, but for CDPS_E_INTERNAL, which any call can give, and CDPS_E_INVALID for an `err`
 *  whose struct_size is not set. After CDPS_E_INTERNAL, a bug in the library, the node takes nothing but cdps_node_destroy() and its like, which
 *  nack every accepted send as ever. errno is undefined after a call. A call that fails has changed nothing, unless it says so.
 *
 *
 * Handles
 *
 *  cdps_node_t, cdps_client_t, cdps_port_t and cdps_config_t are handles, not addresses. One that names nothing (destroyed, never given out,
 *  NULL, of another kind) gives CDPS_E_BAD_HANDLE, never undefined behaviour. cdps_msg_t is a real pointer, for speed: a wrong one is undefined
 *  behaviour, as with any pointer to memory that is passed here. Destroying NULL does nothing.
 *
 *
 * Callbacks
 *
 *  - They run with no lock held, where `callbacks.mode` of the node says: "thread" (the default), on threads of the library that do nothing
 *    else; "inline", on its I/O threads, which saves a change of thread for each message; "dispatch", in cdps_node_dispatch(), which the
 *    program calls when the descriptor of cdps_node_fd() is readable, and nowhere else.
 *  - Those of one port never overlap, and come in order; different ports may run in parallel if `threads.callback`, or for inline
 *    `threads.io`, is above 1. Those of one client never overlap.
 *  - Their first argument is `user`, the second an event that is valid until the callback returns.
 *  - No callback runs inside a call that the program makes, but cdps_node_dispatch() and, where the program dispatches, cdps_node_destroy_wait()
 *    and cdps_port_destroy_wait().
 *  - Any function may be called from any callback, also destroying the callback's own object, but two kinds: cdps_node_destroy_wait(),
 *    cdps_port_destroy_wait() and cdps_node_dispatch(), and cdps_port_send() where it would have to wait. These return CDPS_E_IN_CALLBACK
 *    and do nothing.
 *  - A slow callback delays the callbacks that share its thread, never heartbeats, receipts or reading. Inline callbacks are the exception: one
 *    delays everything on its I/O thread, and one that takes longer than `liveness.dead_ms` makes its node look dead to the others.
 *  - on_final is the last callback of its object, runs exactly once, and is where `user` may be freed. From then on the handle names nothing.
 *  - New event values may appear in later releases: ignore what you do not know.
 *  - on_log is different: it may run on any thread of the process, also inside calls, and several at once. Lines that its own calls
 *    cause are dropped.
 *  - An exception, longjmp, pthread_exit or cancellation must not leave a callback: the process is ended if one does.
 *
 *
 * Threads, signals, fork, unloading
 *
 *  - Every function may be called by any number of threads at once. None may be called by a signal handler.
 *  - The library's threads have all signals blocked but those that report a fault of the thread itself; a program that is started from
 *    inside a callback inherits that. No handler is installed. All descriptors are close-on-exec.
 *  - In a child made by fork() every function returns CDPS_E_FORKED and does nothing, but those that name and describe (cdps_*_name,
 *    cdps_*_string, cdps_error_class, cdps_version_*). fork() followed by exec() is fine.
 *  - The library cannot be unloaded: after dlclose() it stays.
 *
 *
 * Structures
 *
 *  Those that may grow begin with `struct_size`, to be set to the sizeof of the structure (the CDPS_*_INIT macros do). Zero means "default" in every
 *  other field. A program compiled against an older release keeps working with a newer library; fields that a library does not know must be
 *  zero (else CDPS_E_UNSUPPORTED). What the library fills in has struct_size set to what the library knows.
 *
 *
 * Text is UTF-8 and ends with NUL. Times are in ms, or as the name says.
 */
#ifndef CDPS_H
#define CDPS_H

/** Release that this header belongs to. */
#define CDPS_VERSION_MAJOR 0
#define CDPS_VERSION_MINOR 1
#define CDPS_VERSION_PATCH 0

/** The same as one number, as cdps_version_number() gives it for the library that runs. */
#define CDPS_VERSION_NUMBER (CDPS_VERSION_MAJOR * 1000000 + CDPS_VERSION_MINOR * 1000 + CDPS_VERSION_PATCH)

/** Whether this header is of release a.b.c or later. */
#define CDPS_VERSION_AT_LEAST(a, b, c) (CDPS_VERSION_NUMBER >= (a) * 1000000 + (b) * 1000 + (c))

#if defined(__GNUC__)
#define CDPS_MUST_USE __attribute__((warn_unused_result))
#else
#define CDPS_MUST_USE
#endif


#include <stddef.h>
#include <stdint.h>

/**
 * Number of the ABI; changes only when a program must be compiled again. What cdps_node_open() passes.
 */
#define CDPS_ABI 1

/**
 * As a timeout: wait for ever.
 */
#define CDPS_WAIT_FOREVER 4294967295

/**
 * cdps_send_opts_t.ack: as the port is configured.
 */
#define CDPS_ACK_DEFAULT 0

/**
 * Complete when the target's user has acknowledged it; its return code comes along.
 */
#define CDPS_ACK_SYNC 1

/**
 * Complete when the target port has it and everything before it in its stream.
 */
#define CDPS_ACK_ASYNC 2

/**
 * Complete when its last byte was handed to a transport.
 */
#define CDPS_ACK_SENT 3

/**
 * cdps_stream_contract_t.priority: messages take their turn (the default).
 */
#define CDPS_PRIORITY_NORMAL 0

/**
 * cdps_stream_contract_t.priority: messages go before all normal ones that wait, and have credit of their own.
 */
#define CDPS_PRIORITY_HIGH 1

/**
 * cdps_port_set_stream(): the stream of the calling thread.
 */
#define CDPS_STREAM_OWN 4294967295

/**
 * cdps_send_opts_t.flags: the payload is copied (the default).
 */
#define CDPS_SEND_COPY 0

/**
 * cdps_send_opts_t.flags: the payload is not copied; it is the library's, and must not change, until on_release with the same `context`.
 * See "Sending: the contract" for what becomes of a message that is changed all the same.
 */
#define CDPS_SEND_BORROW 1

/**
 * cdps_send_opts_t.flags: `stream` is set. Without it each sending thread has a stream of its own.
 */
#define CDPS_SEND_STREAM 2

/**
 * cdps_send_opts_t.flags: the message is a barrier, as a disk's flush needs it: it is delivered after everything that was sent before it on this
 * port, on whatever stream, and before anything that is sent later. It may be empty. It costs a round trip before it and one behind it, for which
 * the port stands still.
 */
#define CDPS_SEND_BARRIER 4

/**
 * cdps_received_t.flags: the sender waits for cdps_port_ack().
 */
#define CDPS_RECEIVED_WANTS_ACK 1

/**
 * cdps_received_t.flags: an earlier target may have delivered this message already.
 */
#define CDPS_RECEIVED_REDELIVERED 2

/**
 * The target went on with the session, and said what it had (#CDPS_CONN_RECOVERED).
 */
#define CDPS_CONNSTATUS_KEPT 1

/**
 * cdps_port_close(): what is unfinished is completed or nacked first, within `port.close_timeout_ms`.
 */
#define CDPS_CLOSE_DRAIN 0

/**
 * cdps_port_close(): what is unfinished is nacked at once.
 */
#define CDPS_CLOSE_IMMEDIATE 1

/**
 * on_connectreq: refuse. Any value but #CDPS_CONNECT_ACCEPT refuses.
 */
#define CDPS_CONNECT_REFUSE 0

/**
 * on_connectreq: accept, as filled in.
 */
#define CDPS_CONNECT_ACCEPT 1

/**
 * on_fence: it is not certain. Any value but #CDPS_FENCE_YES says so.
 */
#define CDPS_FENCE_NO 0

/**
 * on_fence: the target does nothing more, for certain.
 */
#define CDPS_FENCE_YES 1

/**
 * cdps_client_callbacks_t.flags: the client serves one source at a time, the one with the highest `port.role_epoch`. When a higher one is
 * accepted, the former's port ends with #CDPS_CONN_CLOSED and #CDPS_REASON_SUPERSEDED before anything comes from the new one; a lower or
 * equal one is refused unasked (#CDPS_REASON_ROLE_TAKEN). Without it any number of sources is served, each through a port of its own.
 */
#define CDPS_CLIENT_EXCLUSIVE 1

/**
 * Weight of a log line: something is lost or refused that the user relies on.
 */
#define CDPS_LOG_ERROR 1

/**
 * Something is wrong and is being dealt with.
 */
#define CDPS_LOG_WARN 2

/**
 * Connections, sessions and members come and go.
 */
#define CDPS_LOG_INFO 3

/**
 * Steps on the way.
 */
#define CDPS_LOG_DEBUG 4

/**
 * Single frames.
 */
#define CDPS_LOG_TRACE 5

/**
 * cdps_decision_t.trigger: the node is not heard on any link, nor its port on any path, for `liveness.dead_ms`.
 */
#define CDPS_TRIGGER_NO_CONTACT 1

/**
 * No data connection is up for `liveness.dead_ms`, though the node may be heard.
 */
#define CDPS_TRIGGER_NO_PATH 2

/**
 * No receipt for `port.ack_timeout_ms`.
 */
#define CDPS_TRIGGER_NO_RECEIPT 3

/**
 * The cluster engine says that the node is down.
 */
#define CDPS_TRIGGER_NODE_DOWN 4

/**
 * The node is another incarnation now.
 */
#define CDPS_TRIGGER_RESTARTED 5

/**
 * Its user does not acknowledge, and `port.on_user_ack_timeout` is down.
 */
#define CDPS_TRIGGER_NO_USER_ACK 6

/**
 * The target itself says that the session is over.
 */
#define CDPS_TRIGGER_DENIED 7

/**
 * The source's user asked for another target: nothing was lost.
 */
#define CDPS_TRIGGER_ASKED 8

/**
 * The user changed a borrowed buffer (#CDPS_REASON_BUFFER_CHANGED), and the target runs the first release of the library, which cannot be told not to wait for
 * the message.
 */
#define CDPS_TRIGGER_BUFFER_CHANGED 9

/**
 * cdps_decision_t.membership: the cluster engine says nothing of the node.
 */
#define CDPS_MEMBER_UNKNOWN 0

/**
 * The node is heard.
 */
#define CDPS_MEMBER_REACHABLE 1

/**
 * The node is not heard on any link.
 */
#define CDPS_MEMBER_UNREACHABLE 2

/**
 * The node is down, says an engine with a quorum.
 */
#define CDPS_MEMBER_DOWN 3

/**
 * cdps_decision_t.lease: it is not known yet that the target delivers nothing more.
 */
#define CDPS_LEASE_UNKNOWN 0

/**
 * The lease ran out.
 */
#define CDPS_LEASE_EXPIRED 1

/**
 * The target released it.
 */
#define CDPS_LEASE_RELEASED 2

/**
 * on_fence said yes.
 */
#define CDPS_LEASE_FENCED 3

/**
 * The node is another incarnation.
 */
#define CDPS_LEASE_RESTARTED 4

/**
 * The target had said itself that the session is over.
 */
#define CDPS_LEASE_ENDED 5

/**
 * As an age in cdps_decision_t: never.
 */
#define CDPS_NEVER_NS 18446744073709551615ull

/**
 * Success.
 */
#define CDPS_OK 0

/**
 * An argument is NULL, out of range, or not what its type says.
 */
#define CDPS_E_INVALID -1

/**
 * The handle names no live object: never given out, destroyed, or of another kind.
 */
#define CDPS_E_BAD_HANDLE -2

/**
 * A value, flag or field that this version of the library does not have.
 */
#define CDPS_E_UNSUPPORTED -3

/**
 * The program was compiled for another ABI of the library.
 */
#define CDPS_E_ABI -4

/**
 * A callback that the call needs was not registered.
 */
#define CDPS_E_NO_CALLBACK -5

/**
 * The message is longer than both ends agreed on.
 */
#define CDPS_E_TOO_LONG -6

/**
 * A limit would be passed (streams of a port, handles of the process).
 */
#define CDPS_E_LIMIT -7

/**
 * The caller's buffer is too small; the length needed was stored.
 */
#define CDPS_E_BUFFER -8

/**
 * There is nothing at this index.
 */
#define CDPS_E_NOT_FOUND -9

/**
 * The object's state does not allow the call. Nothing changed.
 */
#define CDPS_E_WRONG_STATE -20

/**
 * The call would wait, and was made inside a callback. Nothing changed.
 */
#define CDPS_E_IN_CALLBACK -21

/**
 * The process was forked: the library belongs to the parent.
 */
#define CDPS_E_FORKED -22

/**
 * No acknowledgment is owed for this message: not received, not asked for, or acknowledged already.
 */
#define CDPS_E_NOT_OWED -23

/**
 * Another thread is doing this. Nothing changed.
 */
#define CDPS_E_BUSY -24

/**
 * The send buffer, or the queue of completions that wait for their callback, is full. Try again after the next completion.
 */
#define CDPS_E_AGAIN -40

/**
 * The time given is over.
 */
#define CDPS_E_TIMEDOUT -41

/**
 * No configuration key has this name.
 */
#define CDPS_E_UNKNOWN_KEY -60

/**
 * The value of a configuration key is malformed or out of range.
 */
#define CDPS_E_BAD_VALUE -61

/**
 * Settings contradict each other.
 */
#define CDPS_E_CONFLICT -62

/**
 * A configuration key that must be set is not.
 */
#define CDPS_E_MISSING_KEY -63

/**
 * The client name is taken on this node.
 */
#define CDPS_E_NAME_TAKEN -64

/**
 * The connection is down: sends fail until it is up again.
 */
#define CDPS_E_DOWN -80

/**
 * The object is being destroyed or unregistered.
 */
#define CDPS_E_CLOSED -100

/**
 * The operating system refused something; `os_errno` of cdps_error_t says what.
 */
#define CDPS_E_SYSTEM -120

/**
 * A bug in the library has shown, in this call or before. The node can only be destroyed: any other call on it, its clients or its
 * ports gives this code.
 */
#define CDPS_E_INTERNAL -140

/**
 * Class of #CDPS_OK.
 */
#define CDPS_CLASS_OK 0

/**
 * The call itself is wrong: a bug of the caller.
 */
#define CDPS_CLASS_ARGUMENT 1

/**
 * Right call, wrong moment.
 */
#define CDPS_CLASS_STATE 2

/**
 * Worth trying again, unchanged.
 */
#define CDPS_CLASS_RETRY 3

/**
 * A setting is wrong.
 */
#define CDPS_CLASS_CONFIG 4

/**
 * The peer or the network.
 */
#define CDPS_CLASS_PEER 5

/**
 * The object is on its way out.
 */
#define CDPS_CLASS_CLOSED 6

/**
 * The operating system.
 */
#define CDPS_CLASS_SYSTEM 7

/**
 * A bug of the library.
 */
#define CDPS_CLASS_INTERNAL 8

/**
 * Created.
 */
#define CDPS_STATE_IDLE 1

/**
 * Has a client.
 */
#define CDPS_STATE_REGISTERED 2

/**
 * Target side: a source is connected to it.
 */
#define CDPS_STATE_CONNECTEDTO 3

/**
 * Source side: has its address table.
 */
#define CDPS_STATE_INITIALIZED 4

/**
 * Source side: negotiating, or waiting for the first path.
 */
#define CDPS_STATE_CONNECTING 5

/**
 * Source side: in use.
 */
#define CDPS_STATE_CONNECTED 6

/**
 * Source side: takes no more sends, keeps its session.
 */
#define CDPS_STATE_STOPPED 7

/**
 * Gone.
 */
#define CDPS_STATE_DESTROYED 8

/**
 * Messages flow; also in every state but CONNECTED and STOPPED.
 */
#define CDPS_LINK_UP 1

/**
 * Down, and not every unfinished send has been nacked yet.
 */
#define CDPS_LINK_DOWN 2

/**
 * Down, and every earlier send has ended.
 */
#define CDPS_LINK_DRAINED 3

/**
 * On the way to another target by itself, or waiting for the old one before it goes (`port.switch_grace_ms`); sends are queued.
 */
#define CDPS_LINK_SWITCHING 4

/**
 * Down, and the target is going on with the session; sends fail.
 */
#define CDPS_LINK_RESETTING 5

/**
 * No contact for the dead time, or no connection.
 */
#define CDPS_HEALTH_DEAD 1

/**
 * A probe is unanswered for longer than it should be: no new data goes there.
 */
#define CDPS_HEALTH_SUSPECT 2

/**
 * Answers in time.
 */
#define CDPS_HEALTH_GOOD 3

/**
 * No byte of the message was handed to a transport: the target has not seen it.
 */
#define CDPS_CERTAINTY_NOT_SENT 1

/**
 * The message may have arrived, and may have been acknowledged.
 */
#define CDPS_CERTAINTY_UNKNOWN 2

/**
 * The first path is up: sends are taken. `node`, `generation`, `paths_up`, `paths`.
 */
#define CDPS_CONN_CONNECTED 1

/**
 * A connect did not succeed; the port is INITIALIZED again. `node`, `reason`.
 */
#define CDPS_CONN_CONNECT_FAILED 2

/**
 * The connection is down: sends fail from here on, and every unfinished one is nacked next. `node`, `reason`.
 */
#define CDPS_CONN_DOWN 3

/**
 * Every earlier send has ended (after DOWN, stop or close).
 */
#define CDPS_CONN_DRAINED 4

/**
 * The port goes to a backup by itself; sends are queued meanwhile. `node` (the target given up), `reason`.
 */
#define CDPS_CONN_SWITCHING 5

/**
 * The port is connected to a backup. `node`, `generation`, `only_receipted`.
 */
#define CDPS_CONN_SWITCHED 6

/**
 * The session is over; the port is INITIALIZED (source) or REGISTERED (target). `reason`.
 */
#define CDPS_CONN_CLOSED 7

/**
 * The target is back after a DOWN, or has answered a reset: sends are taken again. With #CDPS_CONNSTATUS_KEPT it went on with the session,
 * and what was nacked as UNKNOWN was resolved just before; without, it knew the session no more. `node`, `generation`, `paths_up`,
 * `paths`, `flags`.
 */
#define CDPS_CONN_RECOVERED 8

/**
 * Target: the source has reset the session. What this end had not finished sending was nacked just before; acknowledgments of what came
 * before go nowhere. `generation`.
 */
#define CDPS_CONN_RESET 9

/**
 * A switch that cdps_port_switch() began did not come about: the port stays where it is. `node` (where it was to go), `reason`.
 */
#define CDPS_CONN_SWITCH_FAILED 10

/**
 * The target has dropped what it had of the message: it will not be delivered.
 */
#define CDPS_VERDICT_NOT_DELIVERED 1

/**
 * The target's user has got the message, or will.
 */
#define CDPS_VERDICT_DELIVERED 2

/**
 * The target's user acknowledged the message.
 */
#define CDPS_VERDICT_ACKNOWLEDGED 3

/**
 * The node is heard. `incarnation`.
 */
#define CDPS_CLUSTER_UP 1

/**
 * The node is not heard on any link.
 */
#define CDPS_CLUSTER_UNREACHABLE 2

/**
 * The node is gone, says a cluster engine with a quorum. Sessions to it end at once.
 */
#define CDPS_CLUSTER_DOWN 3

/**
 * A client is registered on the node, says such an engine. `client`.
 */
#define CDPS_CLUSTER_REGISTERED 4

/**
 * A client is not registered on the node any more, or its process has died, says such an engine. `client`.
 */
#define CDPS_CLUSTER_GONE 5

/**
 * This node, which is `node`, has a quorum, says such an engine.
 */
#define CDPS_CLUSTER_QUORUM 6

/**
 * This node has lost its quorum: no port of it switches by itself.
 */
#define CDPS_CLUSTER_NO_QUORUM 7

/**
 * A path between this node and `node` is up, suspect or down. `health`, `link`, `remote`.
 */
#define CDPS_CLUSTER_PATH 8

/**
 * The registration of the client that is told this has taken effect: sources can connect to it. `node` is this node.
 */
#define CDPS_CLUSTER_EFFECTIVE 9

/**
 * The backlog is above the high mark: hold back.
 */
#define CDPS_FLOW_ON 1

/**
 * The backlog is down at the low mark: go on.
 */
#define CDPS_FLOW_OFF 2

/**
 * Messages pile up because the peer's user has not released enough.
 */
#define CDPS_CAUSE_WINDOW 1

/**
 * Messages pile up because the paths do not carry more, or there is none.
 */
#define CDPS_CAUSE_PATH 2

/**
 * Messages pile up because the port is on its way to another target.
 */
#define CDPS_CAUSE_SWITCHOVER 3

/**
 * Messages pile up because the user has suspended the port.
 */
#define CDPS_CAUSE_SUSPEND 4

/**
 * No error.
 */
#define CDPS_REASON_NONE 0

/**
 * Closed by its user.
 */
#define CDPS_REASON_CLOSED 1

/**
 * The peer broke the protocol.
 */
#define CDPS_REASON_PROTOCOL_ERROR 2

/**
 * A checksum did not match.
 */
#define CDPS_REASON_BAD_CHECKSUM 3

/**
 * No common protocol version.
 */
#define CDPS_REASON_UNSUPPORTED_VERSION 4

/**
 * A feature was used that this version reserves.
 */
#define CDPS_REASON_UNSUPPORTED_FEATURE 5

/**
 * Another node was meant.
 */
#define CDPS_REASON_WRONG_NODE 6

/**
 * No client of that name on the target.
 */
#define CDPS_REASON_NO_SUCH_CLIENT 7

/**
 * The target's user refused.
 */
#define CDPS_REASON_REFUSED 8

/**
 * The generation is not the newest.
 */
#define CDPS_REASON_STALE_GENERATION 9

/**
 * The target does not know the session.
 */
#define CDPS_REASON_UNKNOWN_SESSION 10

/**
 * The connection did not prove the session secret.
 */
#define CDPS_REASON_BAD_PROOF 11

/**
 * A limit would be passed.
 */
#define CDPS_REASON_LIMIT 12

/**
 * A newer generation took the session's place.
 */
#define CDPS_REASON_SUPERSEDED 13

/**
 * The source took the lease away.
 */
#define CDPS_REASON_REVOKED 14

/**
 * The peer is another incarnation now.
 */
#define CDPS_REASON_PEER_RESTARTED 15

/**
 * No contact on any path.
 */
#define CDPS_REASON_UNREACHABLE 16

/**
 * An answer did not come in time.
 */
#define CDPS_REASON_TIMEOUT 17

/**
 * The node is closing.
 */
#define CDPS_REASON_SHUTDOWN 18

/**
 * A connection ended without a word.
 */
#define CDPS_REASON_CONNECTION_LOST 19

/**
 * A connection could not be made.
 */
#define CDPS_REASON_DIAL_FAILED 20

/**
 * The peer closed the session.
 */
#define CDPS_REASON_PEER_CLOSED 21

/**
 * No backup is left to switch to.
 */
#define CDPS_REASON_NO_BACKUP 22

/**
 * The port was stopped before the message was sent.
 */
#define CDPS_REASON_NOT_SENT_STOPPED 23

/**
 * One-way loss: the peer does not hear this end, though it is heard itself.
 */
#define CDPS_REASON_ONE_WAY_OUT 24

/**
 * One-way loss: this end does not hear the peer, which says over another path that it hears this end.
 */
#define CDPS_REASON_ONE_WAY_IN 25

/**
 * A path that was dead is connected again, and has yet to prove itself.
 */
#define CDPS_REASON_REJOINING 26

/**
 * One end takes the client for exclusive, the other does not.
 */
#define CDPS_REASON_ROLE_MISMATCH 27

/**
 * Another source has the role of the exclusive client.
 */
#define CDPS_REASON_ROLE_TAKEN 28

/**
 * The user changed a borrowed buffer before on_release: the message was not delivered with other bytes than it had at the send.
 */
#define CDPS_REASON_BUFFER_CHANGED 29

/**
 * cdps_config_key_t.type: any text.
 */
#define CDPS_CONFIG_TEXT 1

/**
 * cdps_config_key_t.type: a whole number.
 */
#define CDPS_CONFIG_NUMBER 2

/**
 * cdps_config_key_t.type: "true" or "false".
 */
#define CDPS_CONFIG_BOOL 3

/**
 * cdps_config_key_t.type: one of some words.
 */
#define CDPS_CONFIG_CHOICE 4

/**
 * cdps_config_key_t.type: addresses or nodes, several.
 */
#define CDPS_CONFIG_LIST 5

/**
 * A client: a named user of a node. A handle, not an address.
 */
typedef struct cdps_client_t cdps_client_t;

/**
 * Settings by name, for nodes and ports. A handle, not an address.
 */
typedef struct cdps_config_t cdps_config_t;

/**
 * A received message. A real pointer: it must be one that the library gave out and that is not released yet.
 */
typedef struct cdps_msg_t cdps_msg_t;

/**
 * A node: one member of the cluster as this process sees it. A handle, not an address.
 */
typedef struct cdps_node_t cdps_node_t;

/**
 * A data port: the one pipe that a client sees. A handle, not an address.
 */
typedef struct cdps_port_t cdps_port_t;

/**
 * Detail of a failed call. The caller's memory: nothing is allocated, nothing is to be freed. Set `struct_size` before the call
 * (#CDPS_ERROR_INIT does). Calls that take one store into it on success too (`code` 0, empty text).
 */
typedef struct cdps_error_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * The code that the call returned.
     */
    int32_t code;
    /**
     * errno of the system call that failed, if #CDPS_E_SYSTEM; else 0.
     */
    int32_t os_errno;
    /**
     * 0.
     */
    int32_t reserved0;
    /**
     * What was wrong, with which value, and what is allowed. UTF-8, ends with NUL, cut at 255 bytes.
     */
    char message[256];
} cdps_error_t;

/**
 * A configuration key. All texts are static.
 */
typedef struct cdps_config_key_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_CONFIG_*.
     */
    int32_t type;
    /**
     * Name. Keys of ports begin with "port.", all others belong to nodes.
     */
    const char *name;
    /**
     * What holds if it is not set; NULL: it must be set.
     */
    const char *default_value;
    /**
     * "LOW..HIGH" for numbers, "word|word" for choices, a description else.
     */
    const char *range;
    /**
     * "ms", "bytes" ...; may be empty.
     */
    const char *unit;
    /**
     * What it does. With "live" at the end it can be changed on a live port, with cdps_port_reconfigure().
     */
    const char *help;
} cdps_config_key_t;

/**
 * A line for the log.
 */
typedef struct cdps_log_record_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_LOG_*.
     */
    int32_t level;
    /**
     * The node.
     */
    uint32_t node;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * The part of the library that speaks. Valid until the callback returns.
     */
    const char *target;
    /**
     * The line, without an end of line. Valid until the callback returns.
     */
    const char *message;
} cdps_log_record_t;

/**
 * A line for the log. May run on any thread of the process, several at once; it must not block.
 */
typedef void (*cdps_on_log_fn)(void *user, const struct cdps_log_record_t *record);

/**
 * The last callback of its object: nothing follows, and `user` may be freed.
 */
typedef void (*cdps_on_final_fn)(void *user);

/**
 * Callbacks of a node. Copied by cdps_node_open().
 */
typedef struct cdps_node_callbacks_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t flags;
    /**
     * A line for the log. NULL: standard error. Either way from `log.level` up.
     */
    cdps_on_log_fn on_log;
    /**
     * Last callback of the node. May be NULL, as may the whole table.
     */
    cdps_on_final_fn on_final;
} cdps_node_callbacks_t;

/**
 * One source port tied to one target port; survives path failures.
 */
typedef struct cdps_session_t {
    /**
     * Node of the source.
     */
    uint32_t node;
    /**
     * Number that the source gave the port.
     */
    uint32_t port;
    /**
     * Incarnation of the source's node.
     */
    uint64_t incarnation;
} cdps_session_t;

/**
 * Fencing token that both users see, compared as (role_epoch, counter). It grows with every connect to a target.
 */
typedef struct cdps_generation_t {
    /**
     * Given by the source's user (`port.role_epoch`); 0 if the client is shared.
     */
    uint64_t role_epoch;
    /**
     * Grows with every connect.
     */
    uint64_t counter;
} cdps_generation_t;

/**
 * A source wants to connect.
 */
typedef struct cdps_connectreq_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * Node of the source.
     */
    uint32_t node;
    /**
     * The session.
     */
    struct cdps_session_t session;
    /**
     * Its generation: the fencing token of everything received under it.
     */
    struct cdps_generation_t generation;
    /**
     * Name of the client that is asked for. Valid until the callback returns.
     */
    const char *client;
    /**
     * The port that accepting creates. It is the user's from the moment that the callback accepts; after a refusal it names nothing.
     */
    struct cdps_port_t *port;
    /**
     * Paths that the source will dial.
     */
    uint32_t paths;
    /**
     * 0.
     */
    uint32_t reserved0;
} cdps_connectreq_t;

/**
 * A message arrived.
 */
typedef struct cdps_received_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_RECEIVED_*.
     */
    uint32_t flags;
    /**
     * The message. Valid until the callback returns, unless cdps_msg_retain() is called.
     */
    struct cdps_msg_t *msg;
    /**
     * Its bytes, contiguous; never NULL. Valid as long as `msg`.
     */
    const void *data;
    /**
     * Number of bytes.
     */
    size_t size;
    /**
     * Number of the message: what cdps_port_ack() takes.
     */
    uint64_t sn;
    /**
     * Its number in its stream, from 1.
     */
    uint64_t ssn;
    /**
     * Generation under which it was received: the fencing token.
     */
    struct cdps_generation_t generation;
    /**
     * The port.
     */
    struct cdps_port_t *port;
    /**
     * Its stream; from 2147483648 on, of a sending thread that named none.
     */
    uint32_t stream;
    /**
     * 0.
     */
    uint32_t reserved0;
} cdps_received_t;

/**
 * A message arrived.
 */
typedef void (*cdps_on_received_fn)(void *user, const struct cdps_received_t *event);

/**
 * A send is complete.
 */
typedef struct cdps_complete_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * Return code of the target's user (#CDPS_ACK_SYNC); 0 in the other models.
     */
    int32_t rc;
    /**
     * Number of the message.
     */
    uint64_t sn;
    /**
     * As given to cdps_port_send().
     */
    void *context;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_complete_t;

/**
 * A send is complete (the only end of that send).
 */
typedef void (*cdps_on_complete_fn)(void *user, const struct cdps_complete_t *event);

/**
 * A send has failed.
 */
typedef struct cdps_nack_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_REASON_*.
     */
    int32_t reason;
    /**
     * Number of the message.
     */
    uint64_t sn;
    /**
     * As given to cdps_port_send().
     */
    void *context;
    /**
     * The port.
     */
    struct cdps_port_t *port;
    /**
     * The reason as a phrase. A static string.
     */
    const char *text;
    /**
     * CDPS_CERTAINTY_*: how sure it is that the message did not arrive.
     */
    int32_t certainty;
    /**
     * 0.
     */
    uint32_t reserved0;
} cdps_nack_t;

/**
 * A send has failed (the only end of that send).
 */
typedef void (*cdps_on_nack_fn)(void *user, const struct cdps_nack_t *event);

/**
 * The memory of a borrowed send is the user's again.
 */
typedef struct cdps_release_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * As given to cdps_port_send().
     */
    void *context;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_release_t;

/**
 * The memory of a borrowed send is the user's again: once per accepted send with #CDPS_SEND_BORROW, after its completion or nack.
 */
typedef void (*cdps_on_release_fn)(void *user, const struct cdps_release_t *event);

/**
 * What waits in the send buffer has passed a mark. Sending is allowed either way; past `port.send_buffer_max` it waits or fails.
 */
typedef struct cdps_flow_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * #CDPS_FLOW_ON or #CDPS_FLOW_OFF, never the same twice in a row.
     */
    int32_t flow;
    /**
     * CDPS_CAUSE_*. New values may appear: ignore what you do not know.
     */
    int32_t cause;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * Bytes that are queued or unfinished.
     */
    uint64_t bytes;
    /**
     * Messages that are queued or unfinished.
     */
    uint64_t messages;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_flow_t;

/**
 * The sender should hold back (#CDPS_FLOW_ON), or may go on (#CDPS_FLOW_OFF).
 */
typedef void (*cdps_on_flow_fn)(void *user, const struct cdps_flow_t *event);

/**
 * A path, when the decision was taken. This structure does not grow.
 */
typedef struct cdps_path_evidence_t {
    /**
     * Number of the path.
     */
    uint32_t path;
    /**
     * CDPS_HEALTH_*.
     */
    int32_t health;
    /**
     * How long ago anything came on its connection, in ns; #CDPS_NEVER_NS: it had none.
     */
    uint64_t heard_ns;
} cdps_path_evidence_t;

/**
 * A backup that did not do. This structure does not grow.
 */
typedef struct cdps_tried_t {
    /**
     * The node.
     */
    uint32_t node;
    /**
     * CDPS_REASON_*.
     */
    int32_t reason;
} cdps_tried_t;

/**
 * What the loss of a target was decided on, and what came of it. Valid until the callback returns, with everything that it points to.
 */
typedef struct cdps_decision_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_TRIGGER_*: what decided. New values may appear.
     */
    int32_t trigger;
    /**
     * The target that was given up.
     */
    uint32_t node;
    /**
     * CDPS_REASON_*: the same as a reason.
     */
    int32_t reason;
    /**
     * The generation that it was given up with.
     */
    struct cdps_generation_t generation;
    /**
     * When, in ns of CLOCK_BOOTTIME.
     */
    uint64_t at_ns;
    /**
     * How long ago anything came on any connection of the session, in ns.
     */
    uint64_t heard_ns;
    /**
     * Name of the timer that ran out, as in the settings but without its first word and unit; NULL: none did.
     */
    const char *timer;
    /**
     * What the timer was set to, in ns.
     */
    uint64_t timer_ns;
    /**
     * What was measured against it, in ns.
     */
    uint64_t measured_ns;
    /**
     * CDPS_MEMBER_*: what the cluster engine said of the node.
     */
    int32_t membership;
    /**
     * 1: no member of the cluster was heard, so the port did not switch; else 0.
     */
    int32_t isolated;
    /**
     * By how much this process was late last, in ns; 0: never.
     */
    uint64_t late_by_ns;
    /**
     * How long ago that was, in ns; #CDPS_NEVER_NS: never.
     */
    uint64_t late_ns;
    /**
     * The paths.
     */
    const struct cdps_path_evidence_t *paths;
    /**
     * The backups that were tried and did not do.
     */
    const struct cdps_tried_t *tried;
    /**
     * Number of `paths`.
     */
    uint32_t path_count;
    /**
     * Number of `tried`.
     */
    uint32_t tried_count;
    /**
     * CDPS_LEASE_*: how it became certain that the target delivers nothing more.
     */
    int32_t lease;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * How long after the decision that was, in ns; 0 with #CDPS_LEASE_UNKNOWN.
     */
    uint64_t lease_ns;
    /**
     * All of it as one line, for a log.
     */
    const char *text;
    /**
     * How long its return was waited for before the port left it (`port.switch_grace_ms`), in ns; 0: not at all.
     */
    uint64_t grace_ns;
} cdps_decision_t;

/**
 * The connection as a whole changed. Which fields are set depends on `status`; the others are 0.
 */
typedef struct cdps_connstatus_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_CONN_*. New values may appear: ignore what you do not know.
     */
    int32_t status;
    /**
     * The target.
     */
    uint32_t node;
    /**
     * CDPS_REASON_*.
     */
    int32_t reason;
    /**
     * Generation of the session.
     */
    struct cdps_generation_t generation;
    /**
     * Paths that are up now.
     */
    uint32_t paths_up;
    /**
     * Paths that there are; a target learns of them as they come.
     */
    uint32_t paths;
    /**
     * Completed messages of which only the former target's port, not its user, had said that it has them.
     */
    uint64_t only_receipted;
    /**
     * The reason as a phrase. A static string.
     */
    const char *text;
    /**
     * The port.
     */
    struct cdps_port_t *port;
    /**
     * CDPS_CONNSTATUS_* bits.
     */
    uint32_t flags;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * What the loss of the target was decided on (#CDPS_CONN_DOWN, #CDPS_CONN_SWITCHING, #CDPS_CONN_SWITCHED); else NULL. Valid until the
     * callback returns.
     */
    const struct cdps_decision_t *decision;
} cdps_connstatus_t;

/**
 * The connection as a whole changed.
 */
typedef void (*cdps_on_connstatus_fn)(void *user, const struct cdps_connstatus_t *event);

/**
 * A path changed.
 */
typedef struct cdps_path_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * Which: a number, as `path` in cdps_path_stats_t.
     */
    uint32_t path;
    /**
     * CDPS_HEALTH_*: what it is now.
     */
    int32_t health;
    /**
     * CDPS_REASON_*.
     */
    int32_t reason;
    /**
     * The reason as a phrase. A static string.
     */
    const char *text;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_path_t;

/**
 * A path changed.
 */
typedef void (*cdps_on_path_fn)(void *user, const struct cdps_path_t *event);

/**
 * The target's user has had a message for longer than `port.user_ack_timeout_ms`, and has not acknowledged it: the oldest such message that
 * has not been named. No message is named twice, and no other one before this one has ended or the port has
 * switched.
 */
typedef struct cdps_overdue_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * Stream of the message.
     */
    uint32_t stream;
    /**
     * Number of the message, as cdps_port_send() gave it.
     */
    uint64_t sn;
    /**
     * For so many milliseconds at least.
     */
    uint64_t waited_ms;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_overdue_t;

/**
 * A message is overdue: its user has had it for long, and has not acknowledged it.
 */
typedef void (*cdps_on_overdue_fn)(void *user, const struct cdps_overdue_t *event);

/**
 * What became of a message that was nacked with #CDPS_CERTAINTY_UNKNOWN, in the words of its target.
 */
typedef struct cdps_resolved_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_VERDICT_*.
     */
    int32_t verdict;
    /**
     * The message, as in its nack.
     */
    uint64_t sn;
    /**
     * What the target's user acknowledged it with, if it did; else 0.
     */
    int32_t rc;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_resolved_t;

/**
 * What became of a message that was nacked as unknown. Told once for each, oldest first, before #CDPS_CONN_RECOVERED.
 */
typedef void (*cdps_on_resolved_fn)(void *user, const struct cdps_resolved_t *event);

/**
 * A port is to go to a backup.
 */
typedef struct cdps_backup_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * The target that was lost.
     */
    uint32_t failed;
    /**
     * CDPS_REASON_*: why it was, or why the backup that was tried last did not do.
     */
    int32_t reason;
    /**
     * Number of `candidates`, at least 1.
     */
    uint32_t candidate_count;
    /**
     * Nodes that the port may go to, in the order of `port.targets` after `failed`: those not tried for this loss, and not known to be
     * unreachable. Valid until the callback returns.
     */
    const uint32_t *candidates;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_backup_t;

/**
 * Which backup the port goes to: one of the candidates, or 0 for none, so that the connection is down. Asked once for each choice, after
 * #CDPS_CONN_SWITCHING, with `port.backup_selection=callback`. No other callback of the port runs meanwhile, and the port waits, but no
 * longer than `port.connect_timeout_ms`: then, or after a node that is no candidate, listed order decides.
 */
typedef uint32_t (*cdps_on_backup_fn)(void *user, const struct cdps_backup_t *choice);

/**
 * A target that was given up is to be fenced.
 */
typedef struct cdps_fence_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * The target.
     */
    uint32_t node;
    /**
     * Generation that it was given up with: nothing that it was given under this one or an earlier one may have an effect after a yes.
     */
    struct cdps_generation_t generation;
    /**
     * What is left of its lease, in ms: without a yes the port waits for that.
     */
    uint64_t lease_left_ms;
    /**
     * The port.
     */
    struct cdps_port_t *port;
} cdps_fence_t;

/**
 * Makes sure that a target that was given up does nothing more, and says whether that is certain now, because its power was cut for instance:
 * #CDPS_FENCE_YES, or #CDPS_FENCE_NO, as any other value. The port is on its way to another target, which takes over with a yes, or when the
 * former one's lease is over or released, whichever is first. Asked once for each target that is given up: at once if the cluster engine says
 * that it is down, else if it has not released its lease within a heartbeat; not if the lease is over by then, as it is after
 * `liveness.dead_ms` without contact. It may take its time: no other callback of the port runs meanwhile, and an answer that comes
 * too late changes nothing.
 */
typedef int32_t (*cdps_on_fence_fn)(void *user, const struct cdps_fence_t *request);

/**
 * Callbacks of a port. Copied by the call that takes them.
 */
typedef struct cdps_port_callbacks_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t flags;
    /**
     * A message arrived. NULL: messages are dropped, and those whose sender waits are acknowledged with #CDPS_E_NO_CALLBACK.
     */
    cdps_on_received_fn on_received;
    /**
     * A send is complete. Together with on_nack, or neither: then the port cannot send.
     */
    cdps_on_complete_fn on_complete;
    /**
     * A send has failed.
     */
    cdps_on_nack_fn on_nack;
    /**
     * Borrowed memory is free. Needed for #CDPS_SEND_BORROW.
     */
    cdps_on_release_fn on_release;
    /**
     * The backlog has passed a mark (`port.flow_high_percent`, `port.flow_low_percent`). May be NULL.
     */
    cdps_on_flow_fn on_flow;
    /**
     * The connection changed. May be NULL.
     */
    cdps_on_connstatus_fn on_connstatus;
    /**
     * A path changed. May be NULL.
     */
    cdps_on_path_fn on_path;
    /**
     * Last callback of the port. Must be set.
     */
    cdps_on_final_fn on_final;
    /**
     * The target's user does not acknowledge (`port.user_ack_timeout_ms`). May be NULL.
     */
    cdps_on_overdue_fn on_overdue;
    /**
     * What became of messages whose nack said #CDPS_CERTAINTY_UNKNOWN, when their target is back. May be NULL.
     */
    cdps_on_resolved_fn on_resolved;
    /**
     * A backup is to be chosen. Must be set with `port.backup_selection=callback`, and is not called otherwise.
     */
    cdps_on_backup_fn on_backup;
    /**
     * A former target is to be fenced. NULL: its lease is waited for.
     */
    cdps_on_fence_fn on_fence;
} cdps_port_callbacks_t;

/**
 * What on_connectreq fills in. It is handed over with everything zero but `struct_size`.
 */
typedef struct cdps_accept_t {
    /**
     * Size of this structure, in bytes. Set by the library.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t flags;
    /**
     * Settings of the port (keys `port.*`; client, targets and local have no meaning here). Copied. NULL: the defaults.
     */
    const struct cdps_config_t *config;
    /**
     * Callbacks of the port. Copied. Must be set.
     */
    const struct cdps_port_callbacks_t *callbacks;
    /**
     * First argument of each callback of the port. Must stay valid until its on_final.
     */
    void *user;
    /**
     * Why the request is refused, for the source's log. UTF-8, ends with NUL.
     */
    char text[128];
} cdps_accept_t;

/**
 * A source wants to connect. Fill in `accept` and return #CDPS_CONNECT_ACCEPT, or return #CDPS_CONNECT_REFUSE.
 */
typedef int32_t (*cdps_on_connectreq_fn)(void *user,
                                         const struct cdps_connectreq_t *request,
                                         struct cdps_accept_t *accept);

/**
 * Something changed in the cluster. Which fields are set depends on `change`; the others are 0 or NULL.
 */
typedef struct cdps_cluster_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_CLUSTER_*. New values may appear: ignore what you do not know.
     */
    int32_t change;
    /**
     * The node that it is about.
     */
    uint32_t node;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * Number of the batch that the event belongs to; of a path, the present one.
     */
    uint64_t membership;
    /**
     * Incarnation of the node (#CDPS_CLUSTER_UP); 0: it has not been heard yet.
     */
    uint64_t incarnation;
    /**
     * Name of the client. Valid until the callback returns.
     */
    const char *client;
    /**
     * Where a path leads, as "IP:PORT"; NULL: the other node dials it. Valid until the callback returns.
     */
    const char *remote;
    /**
     * CDPS_HEALTH_*: what the path is now.
     */
    int32_t health;
    /**
     * Number of the path among those that the dialling node dials: this one if `remote` is set, else `node`.
     */
    uint32_t link;
} cdps_cluster_t;

/**
 * Something changed in the cluster.
 */
typedef void (*cdps_on_cluster_fn)(void *user, const struct cdps_cluster_t *event);

/**
 * Callbacks of a client. Copied by cdps_client_register().
 */
typedef struct cdps_client_callbacks_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0 or #CDPS_CLIENT_EXCLUSIVE.
     */
    uint32_t flags;
    /**
     * A source wants to connect. NULL: every one is refused.
     */
    cdps_on_connectreq_fn on_connectreq;
    /**
     * The cluster changed. May be NULL.
     */
    cdps_on_cluster_fn on_cluster;
    /**
     * Last callback of the client. Must be set.
     */
    cdps_on_final_fn on_final;
} cdps_client_callbacks_t;

/**
 * What holds for the messages of a stream. All zero but `struct_size` (#CDPS_STREAM_CONTRACT_INIT) is what holds without one.
 */
typedef struct cdps_stream_contract_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t flags;
    /**
     * CDPS_ACK_*: of messages that are sent with #CDPS_ACK_DEFAULT.
     */
    int32_t ack;
    /**
     * CDPS_PRIORITY_*.
     */
    int32_t priority;
} cdps_stream_contract_t;

/**
 * A piece of a message. Laid out as `struct iovec`.
 */
typedef struct cdps_iov_t {
    /**
     * First byte; may be NULL if `len` is 0.
     */
    const void *base;
    /**
     * Bytes.
     */
    size_t len;
} cdps_iov_t;

/**
 * How a message is sent. All zero but `struct_size` (#CDPS_SEND_OPTS_INIT) is the default: copy, stream of the calling thread,
 * acknowledgment model of the port, no waiting.
 */
typedef struct cdps_send_opts_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_SEND_*.
     */
    uint32_t flags;
    /**
     * Stream, 0 to 2147483647, if #CDPS_SEND_STREAM is set; else 0.
     */
    uint32_t stream;
    /**
     * CDPS_ACK_*.
     */
    int32_t ack;
    /**
     * How long to wait for room in the send buffer, in ms: 0 = not at all (#CDPS_E_AGAIN), #CDPS_WAIT_FOREVER. The thread that dispatches
     * the node's callbacks, if one of the program does, never waits.
     */
    uint32_t timeout_ms;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * Comes back in on_complete, on_nack and on_release. Must be ready before the call.
     */
    void *context;
    /**
     * How long the message is worth something, in ms from the moment that it is accepted; 0: as long as it takes. If no byte of it has
     * been handed to a transport by then, it is nacked with #CDPS_REASON_TIMEOUT and #CDPS_CERTAINTY_NOT_SENT, and its stream goes on
     * without it. It also runs while the port is suspended, on its way to another target, or without credit.
     */
    uint32_t deadline_ms;
    /**
     * 0.
     */
    uint32_t reserved1;
} cdps_send_opts_t;

/**
 * What a port is now.
 */
typedef struct cdps_port_info_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * CDPS_STATE_*.
     */
    int32_t state;
    /**
     * CDPS_LINK_*.
     */
    int32_t link;
    /**
     * The node at the other end; 0 if there is none.
     */
    uint32_t peer;
    /**
     * The session.
     */
    struct cdps_session_t session;
    /**
     * Its generation.
     */
    struct cdps_generation_t generation;
} cdps_port_info_t;

/**
 * Timers of a port, in ms: what was set, and what follows from the failover budget.
 */
typedef struct cdps_timers_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * The budget that holds: the port's own, or else the node's; 0: there is none.
     */
    uint64_t failover_budget_ms;
    /**
     * Longest pause that these timers lead to, when a target is lost and the next backup is well, without what users take: `detection_ms`,
     * `lease_rest_ms`, `switch_grace_ms` if the port switches by itself, and `connect_timeout_ms`. Not above the budget.
     */
    uint64_t pause_ms;
    /**
     * Longest time from the last sign of a target until it is given up.
     */
    uint64_t detection_ms;
    /**
     * What may be left of its lease then.
     */
    uint64_t lease_rest_ms;
    /**
     * One heartbeat per link in this time.
     */
    uint64_t heartbeat_ms;
    /**
     * Age of an unanswered probe that makes a path suspect, at least.
     */
    uint64_t suspect_ms;
    /**
     * No contact for this long: dead.
     */
    uint64_t dead_ms;
    /**
     * How long a target may deliver without hearing an echo.
     */
    uint64_t lease_ms;
    /**
     * When a connection is closed that has not finished its handshake.
     */
    uint64_t handshake_timeout_ms;
    /**
     * When the kernel gives up a connection whose data is not acknowledged.
     */
    uint64_t tcp_user_timeout_ms;
    /**
     * No receipt for this long: the connection is down.
     */
    uint64_t ack_timeout_ms;
    /**
     * When a connect, or the connecting of a backup, has failed.
     */
    uint64_t connect_timeout_ms;
    /**
     * How long a target keeps a session without contact.
     */
    uint64_t session_timeout_ms;
    /**
     * How long the return of a lost target is waited for before a switch.
     */
    uint64_t switch_grace_ms;
    /**
     * When a planned switch has failed that is not committed. Not in `pause_ms`, which is of losses.
     */
    uint64_t switch_timeout_ms;
} cdps_timers_t;

/**
 * Figures of a node since it was opened. What does not say "now" counts, and never falls. From `messages_sent` on: sums over all ports that
 * the node has had; what is said to be now, over those that exist.
 */
typedef struct cdps_node_stats_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved0;
    /**
     * Connections accepted by the listeners.
     */
    uint64_t accepted;
    /**
     * Connections refused or dropped before their handshake was done.
     */
    uint64_t handshakes_failed;
    /**
     * Connections dropped because the peer broke the protocol or a limit, after the handshake.
     */
    uint64_t protocol_errors;
    /**
     * Connections dropped because of a wrong checksum.
     */
    uint64_t checksum_errors;
    /**
     * Connections that ended without a word.
     */
    uint64_t connections_lost;
    /**
     * Dials that did not succeed.
     */
    uint64_t dials_failed;
    /**
     * Log lines held back by the rate limit.
     */
    uint64_t log_suppressed;
    /**
     * Ports that exist now.
     */
    uint64_t ports;
    /**
     * Connections in handshake now.
     */
    uint64_t handshaking;
    /**
     * Connect requests of sources that were refused, each time that one was: by the client, or because there is none, or for a generation that is not
     * new.
     */
    uint64_t connects_refused;
    /**
     * Messages to other nodes that were dropped for want of a connection or of room. Whoever sends one repeats it.
     */
    uint64_t messages_dropped;
    /**
     * Times that the node's own loop was late by more than a heartbeat.
     */
    uint64_t late_loops;
    /**
     * Clients that are registered now.
     */
    uint64_t clients;
    /**
     * Messages accepted for sending.
     */
    uint64_t messages_sent;
    /**
     * Their bytes, payload alone.
     */
    uint64_t bytes_sent;
    /**
     * Messages handed out for the user.
     */
    uint64_t messages_received;
    /**
     * Their bytes.
     */
    uint64_t bytes_received;
    /**
     * Sends that ended well.
     */
    uint64_t completed;
    /**
     * Sends that failed.
     */
    uint64_t nacked;
    /**
     * Messages or fragments that travelled again on another connection, because the one that had them was lost or in doubt.
     */
    uint64_t retransmitted;
    /**
     * Messages or fragments that had arrived before, and were dropped.
     */
    uint64_t duplicates;
    /**
     * Messages, fragments and other frames that came on a connection which was given up, as one of an old generation. They had no effect.
     */
    uint64_t late;
    /**
     * Times that a path was suspected.
     */
    uint64_t suspicions;
    /**
     * Times that a path lost its connection, or was given up.
     */
    uint64_t path_losses;
    /**
     * Times that a path which was dead had proved itself, and carried again. One whose connection merely broke need not.
     */
    uint64_t rejoins;
    /**
     * Times that the connection was down.
     */
    uint64_t downs;
    /**
     * Times that the session was reset: its target came back and went on with it.
     */
    uint64_t resets;
    /**
     * Times that another target took over, by itself or because it was asked for.
     */
    uint64_t switches;
    /**
     * How long the switches took together, in ns.
     */
    uint64_t switch_time_ns;
    /**
     * How long the longest of them took, in ns.
     */
    uint64_t longest_switch_ns;
    /**
     * Bytes of payload queued or unfinished now: what `port.send_buffer_max` limits.
     */
    uint64_t unfinished_bytes;
    /**
     * Bytes of payload that no path has taken yet, now.
     */
    uint64_t queued_bytes;
    /**
     * Bytes on their way on paths now: handed to a connection, and not receipted on it.
     */
    uint64_t in_flight;
} cdps_node_stats_t;

/**
 * Figures of a port since it was created. What does not say "now" counts, and never falls.
 */
typedef struct cdps_port_stats_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * Paths of the present session: what cdps_port_path_stats() has. At a target also those that its source has removed meanwhile.
     */
    uint32_t paths;
    /**
     * Messages accepted for sending.
     */
    uint64_t messages_sent;
    /**
     * Their bytes, payload alone.
     */
    uint64_t bytes_sent;
    /**
     * Messages handed out for the user.
     */
    uint64_t messages_received;
    /**
     * Their bytes.
     */
    uint64_t bytes_received;
    /**
     * Sends that ended well.
     */
    uint64_t completed;
    /**
     * Sends that failed.
     */
    uint64_t nacked;
    /**
     * Messages or fragments that travelled again on another connection, because the one that had them was lost or in doubt.
     */
    uint64_t retransmitted;
    /**
     * Messages or fragments that had arrived before, and were dropped.
     */
    uint64_t duplicates;
    /**
     * Bytes of payload queued or unfinished now: what `port.send_buffer_max` limits.
     */
    uint64_t unfinished_bytes;
    /**
     * Times that another target took over, by itself or because it was asked for.
     */
    uint64_t switches;
    /**
     * How long the last of them took, in ns.
     */
    uint64_t last_switch_ns;
    /**
     * Times that a path was suspected.
     */
    uint64_t suspicions;
    /**
     * Messages, fragments and other frames that came on a connection which was given up, as one of an old generation. They had no effect.
     */
    uint64_t late;
    /**
     * Times that a path lost its connection, or was given up.
     */
    uint64_t path_losses;
    /**
     * Times that a path which was dead had proved itself, and carried again. One whose connection merely broke need not.
     */
    uint64_t rejoins;
    /**
     * Times that the connection was down.
     */
    uint64_t downs;
    /**
     * Times that the session was reset: its target came back and went on with it.
     */
    uint64_t resets;
    /**
     * How long the switches took together, in ns.
     */
    uint64_t switch_time_ns;
    /**
     * How long the longest of them took, in ns.
     */
    uint64_t longest_switch_ns;
    /**
     * Messages from the oldest unfinished one to the newest, now.
     */
    uint64_t unfinished_messages;
    /**
     * Bytes of payload that no path has taken yet, now.
     */
    uint64_t queued_bytes;
    /**
     * Bytes on their way on paths now: handed to a connection, and not receipted on it.
     */
    uint64_t in_flight;
    /**
     * Window that the peer grants now, in cost: bytes, and 256 for each message.
     */
    uint64_t send_window;
    /**
     * What is left of it now.
     */
    uint64_t send_credit;
    /**
     * Window that this end grants now, in cost.
     */
    uint64_t receive_window;
    /**
     * Cost of what has come, or has begun to come, and is not released by the user.
     */
    uint64_t unreleased;
    /**
     * Ends of sends that the user has not been told of: what `port.max_pending_events` limits.
     */
    uint64_t pending_events;
} cdps_port_stats_t;

/**
 * Figures of one path of the present session.
 */
typedef struct cdps_path_stats_t {
    /**
     * Size of this structure, in bytes.
     */
    uint32_t struct_size;
    /**
     * Number of the path, as in on_path.
     */
    uint32_t path;
    /**
     * CDPS_HEALTH_*.
     */
    int32_t health;
    /**
     * 1 if a connection is up, else 0.
     */
    int32_t up;
    /**
     * Smoothed time from handing bytes over to their receipt, in ns; 0: not measured yet.
     */
    uint64_t rtt_ns;
    /**
     * Measured rate, in bytes a second; 0: not known.
     */
    uint64_t rate;
    /**
     * Bytes of payload on their way.
     */
    uint64_t in_flight;
    /**
     * Bytes of payload given to the path in this session.
     */
    uint64_t payload_sent;
    /**
     * Ranges taken from it in this session, to be sent again elsewhere.
     */
    uint64_t retransmitted;
    /**
     * Bytes that its connections have written, since the port was created.
     */
    uint64_t bytes_sent;
    /**
     * Bytes that they have read.
     */
    uint64_t bytes_received;
    /**
     * Frames that they have written.
     */
    uint64_t frames_sent;
    /**
     * Frames that they have read.
     */
    uint64_t frames_received;
    /**
     * CDPS_REASON_*: why the path is not good, as on_path said; #CDPS_REASON_NONE if it is. One-way loss is #CDPS_REASON_ONE_WAY_OUT or
     * #CDPS_REASON_ONE_WAY_IN.
     */
    int32_t cause;
    /**
     * How often it died of late; one death is forgotten a minute. From the fourth on it is kept out longer each time.
     */
    uint32_t deaths;
    /**
     * It was dead, is connected again, and must be well for so long, in ns, before it carries beside good paths; 0: it need not.
     */
    uint64_t kept_out_ns;
    /**
     * 1 if it carries only while no normal path is good, else 0.
     */
    int32_t standby;
    /**
     * 0.
     */
    uint32_t reserved0;
} cdps_path_stats_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Version of the library that runs, as #CDPS_VERSION_NUMBER: major * 1000000 + minor * 1000 + patch. Threads: any, also in a forked
 * child.
 */
CDPS_MUST_USE
uint32_t cdps_version_number(void);

/**
 * Version of the library that runs, such as "0.1.0". A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE const char *cdps_version_string(void);

/**
 * Name of a code, such as "CDPS_E_AGAIN"; "CDPS_E_?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_error_name(int32_t code);

/**
 * One sentence about a code; "unknown code" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_error_string(int32_t code);

/**
 * Class of a code, for programs that branch: one of CDPS_CLASS_*. An unknown negative number is #CDPS_CLASS_INTERNAL, a positive one
 * #CDPS_CLASS_OK. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
int32_t cdps_error_class(int32_t code);

/**
 * Name of a CDPS_STATE_* value, as the documentation writes it, such as "CONNECTED"; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_state_name(int32_t state);

/**
 * Name of a CDPS_LINK_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_link_name(int32_t link);

/**
 * Name of a CDPS_HEALTH_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_health_name(int32_t health);

/**
 * Name of a CDPS_CERTAINTY_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_certainty_name(int32_t certainty);

/**
 * Name of a CDPS_CONN_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_conn_name(int32_t conn);

/**
 * Name of a CDPS_VERDICT_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_verdict_name(int32_t verdict);

/**
 * Name of a CDPS_CLUSTER_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_cluster_name(int32_t cluster);

/**
 * Name of a CDPS_FLOW_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_flow_name(int32_t flow);

/**
 * Name of a CDPS_CAUSE_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_cause_name(int32_t cause);

/**
 * Name of a CDPS_REASON_* value, such as "TIMEOUT"; "?" for a number that is none. A static string. Threads: any, also in a forked
 * child.
 */
CDPS_MUST_USE
const char *cdps_reason_name(int32_t reason);

/**
 * One phrase about a CDPS_REASON_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
 */
CDPS_MUST_USE
const char *cdps_reason_string(int32_t reason);

/**
 * Makes an empty configuration.
 *
 * @param out  stores the handle; the user's, until cdps_config_destroy().
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_LIMIT, #CDPS_E_FORKED.
 *
 * Threads: any; a configuration may be used by several threads. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_config_create(struct cdps_config_t **out);

/**
 * Sets a key. The value is checked alone here; together with the others when it is used.
 *
 * A configuration may hold keys of nodes and of ports: each call takes what is its own. An unknown key is refused, and the error text
 * names the nearest known one.
 *
 * @param config  the configuration.
 * @param key     name, as cdps_config_describe() lists them.
 * @param value   text; numbers in decimal digits.
 * @param err     detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNKNOWN_KEY, #CDPS_E_BAD_VALUE, #CDPS_E_UNSUPPORTED (a value that
 *         only a later version has), #CDPS_E_FORKED. On failure the key keeps its value.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_config_set(struct cdps_config_t *config,
                        const char *key,
                        const char *value,
                        struct cdps_error_t *err);

/**
 * Value of a key: what was set, or the default.
 *
 * @param config  the configuration.
 * @param key     name.
 * @param buf     where the text and its NUL go; NULL with `cap` 0 asks for the length alone.
 * @param cap     size of `buf`, in bytes.
 * @param need    stores the length without the NUL; may be NULL if `buf` is given.
 * @param err     detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNKNOWN_KEY, #CDPS_E_MISSING_KEY (not set, and no default),
 *         #CDPS_E_BUFFER, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_config_get(const struct cdps_config_t *config,
                        const char *key,
                        char *buf,
                        size_t cap,
                        size_t *need,
                        struct cdps_error_t *err);

/**
 * Lists the keys.
 *
 * @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
 * @param out    stores the description; `struct_size` must be set.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_NOT_FOUND, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_config_describe(size_t index, struct cdps_config_key_t *out);

/**
 * Frees a configuration. Nodes and ports made with it are not affected: they copied it.
 *
 * @param config  the configuration; NULL is allowed and does nothing.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
int32_t cdps_config_destroy(struct cdps_config_t *config);

/**
 * Opens a node. Call cdps_node_open(), which passes the ABI that the program was compiled for.
 *
 * @param abi        #CDPS_ABI.
 * @param config     settings: `node.id` and `security.mode` must be set. Copied.
 * @param callbacks  may be NULL. Copied.
 * @param user       first argument of each callback; must stay valid until on_final.
 * @param out        stores the handle.
 * @param err        detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_ABI, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED, #CDPS_E_MISSING_KEY, #CDPS_E_BAD_VALUE,
 *         #CDPS_E_CONFLICT (timers that contradict each other), #CDPS_E_SYSTEM (an address cannot be listened on, no thread, `node.state_dir` ...),
 *         #CDPS_E_LIMIT, #CDPS_E_FORKED. On failure nothing is left behind and on_final does not run.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_node_open_abi(uint32_t abi,
                           const struct cdps_config_t *config,
                           const struct cdps_node_callbacks_t *callbacks,
                           void *user,
                           struct cdps_node_t **out,
                           struct cdps_error_t *err);

/**
 * What to poll for reading, with `callbacks.mode` dispatch: readable while there is something for cdps_node_dispatch() to do. It is the same
 * until the node's on_final, where it is to be taken out of what polls it; the library closes it afterwards. The program must neither read
 * nor close it.
 *
 * @param node  the node; also one that was destroyed, until its on_final.
 * @param out   stores the descriptor.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (the node has another `callbacks.mode`), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_node_fd(const struct cdps_node_t *node,
                     int32_t *out);

/**
 * Runs callbacks of a node, its clients and its ports on this thread, with `callbacks.mode` dispatch. If nothing waits it waits for something.
 *
 * Everything that waits has one turn, in which a port tells a few thousand events at most: callbacks that bring about others do not keep it
 * from returning. What is left keeps the descriptor of cdps_node_fd() readable.
 *
 * A program has to go on until this returns #CDPS_E_CLOSED, also after cdps_node_destroy(): what is destroyed ends here and nowhere else. A
 * program that does not dispatch is not told anything, and blocks nobody: its links stay up, it receives as far as `port.window` goes.
 *
 * @param node        the node; also one that was destroyed, until its on_final.
 * @param max_events  events that are told at most; 0: no limit but that above.
 * @param timeout_ms  how long to wait, in ms: 0 = not at all, or #CDPS_WAIT_FOREVER.
 * @return how many events there were, 0 for none; events without a callback count as well. #CDPS_E_CLOSED (the node's on_final has returned),
 *         #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (the node has another `callbacks.mode`), #CDPS_E_BUSY (another thread is in this
 *         call), #CDPS_E_IN_CALLBACK, #CDPS_E_FORKED.
 *
 * Threads: any, one at a time. Callbacks: refused.
 */
CDPS_MUST_USE
int32_t cdps_node_dispatch(struct cdps_node_t *node,
                           uint32_t max_events,
                           uint32_t timeout_ms);

/**
 * Destroys a node: its ports, then its clients, then the node; every accepted send is nacked, every borrowed buffer given back, and
 * the node's on_final is the last callback. Returns at once; the handle names nothing any more, but for cdps_node_fd() and
 * cdps_node_dispatch(), which are to go on until then.
 *
 * @param node  the node; NULL is allowed and does nothing.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE (also when it was destroyed before), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed, also its own.
 */
int32_t cdps_node_destroy(struct cdps_node_t *node);

/**
 * As cdps_node_destroy(), and returns after the node's on_final has returned and its threads have ended. With `callbacks.mode` dispatch it
 * dispatches meanwhile, unless another thread was the last that did: that one has to go on.
 *
 * @param node        the node; NULL is allowed and does nothing.
 * @param timeout_ms  how long to wait, in ms, or #CDPS_WAIT_FOREVER.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_IN_CALLBACK (nothing was done, the handle is still good), #CDPS_E_TIMEDOUT (the
 *         destruction goes on; the handle names nothing any more), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: refused.
 */
int32_t cdps_node_destroy_wait(struct cdps_node_t *node,
                               uint32_t timeout_ms);

/**
 * Id of a node.
 *
 * @param node  the node.
 * @param out   stores the id.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_node_id(const struct cdps_node_t *node, uint32_t *out);

/**
 * Incarnation of a node: a random number of this opening.
 *
 * @param node  the node.
 * @param out   stores the incarnation, never 0.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_node_incarnation(const struct cdps_node_t *node, uint64_t *out);

/**
 * An address that a node listens on, as "IP:PORT", in the order of `node.listen` and with the port that was taken.
 *
 * @param node   the node.
 * @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
 * @param buf    where the text and its NUL go (64 bytes are enough); NULL with `cap` 0 asks for the length alone.
 * @param cap    size of `buf`, in bytes.
 * @param need   stores the length without the NUL; may be NULL if `buf` is given.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_NOT_FOUND, #CDPS_E_BUFFER, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_node_listening(const struct cdps_node_t *node,
                            size_t index,
                            char *buf,
                            size_t cap,
                            size_t *need);

/**
 * Registers a client under a name of 1 to 255 bytes, which is unique on the node and by which sources ask for it.
 *
 * @param node       the node.
 * @param name       the name.
 * @param callbacks  on_final must be set. Copied.
 * @param user       first argument of each callback; must stay valid until on_final.
 * @param out        stores the handle, before the first callback runs. It names nothing any more after cdps_client_unregister(), and
 *                   from on_final on.
 * @param err        detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED, #CDPS_E_NAME_TAKEN, #CDPS_E_CLOSED (the node is being
 *         destroyed), #CDPS_E_SYSTEM (what the client had accepted is kept in `node.state_dir`, and damaged), #CDPS_E_LIMIT, #CDPS_E_FORKED. On failure no callback will run.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_client_register(struct cdps_node_t *node,
                             const char *name,
                             const struct cdps_client_callbacks_t *callbacks,
                             void *user,
                             struct cdps_client_t **out,
                             struct cdps_error_t *err);

/**
 * Refuses further connects and takes the client's ports down: each gets its on_final, then the client's on_final runs and the name is
 * free again. Returns at once; the handle names nothing any more.
 *
 * @param client  the client; NULL is allowed and does nothing.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE (also when it was unregistered before), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed, also its own.
 */
int32_t cdps_client_unregister(struct cdps_client_t *client);

/**
 * Creates a source port, in state IDLE.
 *
 * @param node       the node.
 * @param config     settings (keys `port.*`). Copied. NULL: the defaults.
 * @param callbacks  on_final must be set, and on_complete and on_nack if the port is to send. Copied.
 * @param user       first argument of each callback; must stay valid until on_final.
 * @param out        stores the handle. It names nothing any more after cdps_port_destroy(), and from on_final on.
 * @param err        detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED, #CDPS_E_BAD_VALUE, #CDPS_E_CONFLICT, #CDPS_E_CLOSED (the
 *         node is being destroyed), #CDPS_E_NO_CALLBACK (`port.backup_selection=callback` without on_backup), #CDPS_E_LIMIT,
 *         CDPS_E_MISSING_KEY, #CDPS_E_FORKED. On failure no callback will run.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_create(struct cdps_node_t *node,
                         const struct cdps_config_t *config,
                         const struct cdps_port_callbacks_t *callbacks,
                         void *user,
                         struct cdps_port_t **out,
                         struct cdps_error_t *err);

/**
 * IDLE to REGISTERED, on behalf of a client of the same node.
 *
 * @param port    the port.
 * @param client  the client.
 * @param err     detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID (client of another node; `err` unusable), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_CLOSED
 *         (the client is unregistered), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_register(struct cdps_port_t *port,
                           struct cdps_client_t *client,
                           struct cdps_error_t *err);

/**
 * Back to IDLE: the port has no client any more; what is unfinished is nacked.
 *
 * @param port  the port.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_port_unregister(struct cdps_port_t *port, struct cdps_error_t *err);

/**
 * REGISTERED to INITIALIZED: builds the table of addresses through which the targets are reached.
 *
 * @param port  the port.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_port_initialize(struct cdps_port_t *port, struct cdps_error_t *err);

/**
 * Connects. Returns at once: on_connstatus with #CDPS_CONN_CONNECTED or #CDPS_CONN_CONNECT_FAILED follows, within
 * `port.connect_timeout_ms`. On a port that is connected already it adds one to the use count. While the connection is down and drained it
 * may name another target.
 *
 * @param port  the port.
 * @param node  id of the target, one of `port.targets`; 0: the primary one.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID (not one of the targets), #CDPS_E_MISSING_KEY (there are none), #CDPS_E_BAD_HANDLE,
 *         #CDPS_E_WRONG_STATE (also: connected to another target), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_connect(struct cdps_port_t *port,
                          uint32_t node,
                          struct cdps_error_t *err);

/**
 * Goes over to another target of a CONNECTED port in an orderly way: no message is nacked, lost or delivered twice, and what is sent
 * meanwhile is queued. The new target's client is asked first; when everything that was begun has ended, and the present target's user has
 * released every message, the present session is taken away. Returns at once: on_connstatus with #CDPS_CONN_SWITCHED follows, or with
 * #CDPS_CONN_SWITCH_FAILED within `port.switch_timeout_ms`: then nothing has changed. What the present target sends, and has not finished,
 * is nacked there.
 *
 * @param port  the port.
 * @param node  one of `port.targets`, not the present one.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID (also: no target of this port, or the present one), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (not
 *         CONNECTED, the link is not up, or a switch is under way), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_switch(struct cdps_port_t *port,
                         uint32_t node,
                         struct cdps_error_t *err);

/**
 * Says what holds for the messages of a stream, before its first one: the acknowledgment model of those that name none, and their priority.
 * Messages of high priority go before all others that wait, and have credit of their own (`port.high_window` of the other end), so that they
 * never wait for what its user keeps of the others; only 32768 messages before them that have not arrived hold them back. The contract lasts as long
 * as the port, and holds in this direction. One made before the port is connected holds for whatever target it goes to. A target of a first
 * release knows no priorities: there they go first as well, but share the credit of the others.
 *
 * @param port      the port.
 * @param stream    0 to 2147483647, or #CDPS_STREAM_OWN: the stream of the calling thread, which has sent nothing on this port yet.
 * @param contract  the contract; copied.
 * @param err       detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (the stream has messages already), #CDPS_E_LIMIT (more
 *         streams than the 1048576 that a port remembers), #CDPS_E_UNSUPPORTED (high priority, and the present peer does not know what that
 *         is; a value or field that this library does not know), #CDPS_E_FORKED. Nothing has changed then.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_set_stream(struct cdps_port_t *port,
                             uint32_t stream,
                             const struct cdps_stream_contract_t *contract,
                             struct cdps_error_t *err);

/**
 * Holds traffic without closing: sends are taken as before, up to `port.send_buffer_max`, and none of them begins to travel. What has begun
 * finishes, also over another path or at a backup, and receiving goes on. It lasts until cdps_port_resume(), cdps_port_stop(), a
 * cdps_port_close() that leaves no other user, or the end of the session; a connection that is down and is connected again is still
 * suspended. On a suspended port it does nothing.
 *
 * @param port  the port.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (neither connected nor connecting, or a target port that is
 *         closing), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_suspend(struct cdps_port_t *port,
                          struct cdps_error_t *err);

/**
 * Lets go what cdps_port_suspend() holds. On a port that is not suspended it does nothing.
 *
 * @param port  the port.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (neither connected nor connecting), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_resume(struct cdps_port_t *port,
                         struct cdps_error_t *err);

/**
 * Halts sending and keeps session and paths: messages not sent yet are nacked (#CDPS_REASON_NOT_SENT_STOPPED), sent ones finish. A stopped
 * port still receives.
 *
 * @param port  the port.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_stop(struct cdps_port_t *port,
                       struct cdps_error_t *err);

/**
 * Asks the target of a STOPPED port to go on under a new generation (Fig. 7). What is unfinished is nacked; on_resolved says what became of
 * what is unknown of it, then on_connstatus with #CDPS_CONN_RECOVERED that the port is CONNECTED again. A target that cannot be reached is
 * waited for; cdps_port_connect(), close and destroy end that. After #CDPS_CONN_DOWN this is not needed: a port asks by itself.
 *
 * @param port  the port.
 * @param err   detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (not STOPPED, or being closed), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_reset(struct cdps_port_t *port,
                        struct cdps_error_t *err);

/**
 * Closes. On a source port it takes one from the use count; the last close of a CONNECTED port leads to STOPPED, with session and paths
 * kept, and that of a STOPPED port to INITIALIZED, and the target is told. A target port closes the session, after everything that it has
 * received was told to its user, and acknowledged where that is asked for. Returns at once: on_connstatus says #CDPS_CONN_DRAINED and
 * #CDPS_CONN_CLOSED.
 *
 * @param port   the port.
 * @param flags  #CDPS_CLOSE_DRAIN or #CDPS_CLOSE_IMMEDIATE.
 * @param err    detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_UNSUPPORTED (unknown flag), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_close(struct cdps_port_t *port,
                        uint32_t flags,
                        struct cdps_error_t *err);

/**
 * Destroys a port from any state: every accepted send is nacked or completed, every borrowed buffer given back, and on_final is the last
 * callback. Returns at once; the handle names nothing any more.
 *
 * @param port  the port; NULL is allowed and does nothing.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE (also when it was destroyed before), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed, also its own.
 */
int32_t cdps_port_destroy(struct cdps_port_t *port);

/**
 * As cdps_port_destroy(), and returns after on_final has returned. With `callbacks.mode` dispatch it dispatches meanwhile, whatever waits on
 * the node, unless another thread was the last that did: that one has to go on.
 *
 * @param port        the port; NULL is allowed and does nothing.
 * @param timeout_ms  how long to wait, in ms, or #CDPS_WAIT_FOREVER.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_IN_CALLBACK (nothing was done, the handle is still good), #CDPS_E_TIMEDOUT (the
 *         destruction goes on; the handle names nothing any more), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: refused.
 */
int32_t cdps_port_destroy_wait(struct cdps_port_t *port,
                               uint32_t timeout_ms);

/**
 * Sends one message, made of `n` pieces. See "Sending" at the top of this file for the contract.
 *
 * @param port  the port; CONNECTED (source) or CONNECTEDTO (target).
 * @param iov   the pieces; the array itself is free again on return. May be NULL if `n` is 0.
 * @param n     number of pieces, at most 1024; 0 sends an empty message.
 * @param opts  NULL: the defaults.
 * @param sn    stores the number of the message if it is accepted, before any callback for it can run; may be NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_UNSUPPORTED (unknown flag), #CDPS_E_NO_CALLBACK, #CDPS_E_TOO_LONG (above
 *         `port.max_message` of either end), #CDPS_E_LIMIT (one more stream than `port.max_streams` of either end), #CDPS_E_WRONG_STATE,
 *         #CDPS_E_DOWN, #CDPS_E_CLOSED (the port is being closed or stopped), #CDPS_E_AGAIN (the send buffer
 *         is full; or, whatever the timeout, `port.max_pending_events` completions wait for their callback, or this is the thread that
 *         dispatches the node's callbacks), #CDPS_E_TIMEDOUT (it stayed full), #CDPS_E_IN_CALLBACK (it is full, and a callback cannot wait), #CDPS_E_FORKED.
 *
 * Threads: any number at once. Callbacks: allowed; with a timeout only if there is room.
 */
CDPS_MUST_USE
int32_t cdps_port_send(struct cdps_port_t *port,
                       const struct cdps_iov_t *iov,
                       size_t n,
                       const struct cdps_send_opts_t *opts,
                       uint64_t *sn);

/**
 * Acknowledges a received message whose sender waits (#CDPS_RECEIVED_WANTS_ACK): once, in any order.
 *
 * @param port  the port that received it.
 * @param sn    number of the message.
 * @param rc    reaches the sender's on_complete. Its meaning is the users'.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_NOT_OWED (not received in this session, not asked for, or acknowledged already),
 *         #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_ack(struct cdps_port_t *port,
                      uint64_t sn,
                      int32_t rc);

/**
 * Adds an address to a target of a source port: at the end of its list, and if the port is connected to that target, or on its way there, as
 * a path of the session, which is dialled at once. on_path tells when it is up.
 *
 * @param port     the port.
 * @param node     the target, one of `port.targets`.
 * @param address  "IP:PORT", "[IP]:PORT" for IPv6; with "/standby" behind it the path carries only while no normal one is good.
 * @param err      detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID (not one of the targets), #CDPS_E_BAD_VALUE (no address), #CDPS_E_CONFLICT (the target has it already,
 *         in whatever class), #CDPS_E_LIMIT (a target has 64 addresses at most), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED.
 *         On failure nothing has changed.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_add_address(struct cdps_port_t *port,
                              uint32_t node,
                              const char *address,
                              struct cdps_error_t *err);

/**
 * Removes an address from a target of a source port. If the port is connected to that target its path is given up at once: what was on its
 * way there goes again on the others, or waits for one of them, and nothing is nacked for that. The last normal address may go while a
 * standby one is left, which carries then. The peer sees a path that is lost: it is not told
 * that the path is gone, and keeps it as #CDPS_HEALTH_DEAD among its own (on_path, cdps_port_path_stats(), `paths` of its figures) until the
 * session ends, or the number of the path is used again. So a monitor of paths is better placed at the source.
 *
 * @param port     the port.
 * @param node     the target, one of `port.targets`.
 * @param address  "IP:PORT", without a class.
 * @param err      detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_INVALID (not one of the targets), #CDPS_E_BAD_VALUE (no address), #CDPS_E_NOT_FOUND (the target does not have it),
 *         #CDPS_E_CONFLICT (its last one: add another one first), #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE, #CDPS_E_FORKED. On failure
 *         nothing has changed.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_remove_address(struct cdps_port_t *port,
                                 uint32_t node,
                                 const char *address,
                                 struct cdps_error_t *err);

/**
 * Sets timeouts and policies of a port anew, on either end, in any state. What is set in `config` changes, and nothing else; all of it at once,
 * after it was checked together with what stays, or none of it.
 *
 * The keys that can be changed have "live" at the end of their help (cdps_config_describe()). The others are refused: they were agreed on
 * with the peer (`port.window`, `port.max_message`, ...), belong to the node, whose timers its ports share (`liveness.*`), or have calls of their own
 * (`port.targets`). A connect, switch or close that is under way keeps the time that it began with.
 *
 * @param port    the port.
 * @param config  has the keys to be changed, and no others. Copied.
 * @param err     detail of a failure, or NULL.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (a key that cannot be changed; or the port is gone), #CDPS_E_BAD_VALUE,
 *         #CDPS_E_CONFLICT (with each other, with what stays, or with the node's timers), #CDPS_E_NO_CALLBACK (`port.backup_selection` is
 *         callback, and on_backup is not set), #CDPS_E_FORKED. On failure nothing has changed.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_reconfigure(struct cdps_port_t *port,
                              const struct cdps_config_t *config,
                              struct cdps_error_t *err);

/**
 * State, peer, session and generation of a port, as they are now.
 *
 * @param port  the port.
 * @param out   stores them; `struct_size` must be set.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_port_info(const struct cdps_port_t *port, struct cdps_port_info_t *out);

/**
 * Timers of a port as they hold: what its failover budget leads to, or its node's, and what was set singly.
 *
 * @param port  the port.
 * @param out   stores them; `struct_size` must be set.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_WRONG_STATE (its connect request is not answered yet), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_timers(const struct cdps_port_t *port,
                         struct cdps_timers_t *out);

/**
 * Figures of a node, and of all its ports together. It looks at each port for a moment.
 *
 * @param node  the node.
 * @param out   stores the figures; `struct_size` must be set.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_node_stats(const struct cdps_node_t *node, struct cdps_node_stats_t *out);

/**
 * Figures of a node, of each of its ports and of each of their paths, as Prometheus text (exposition format 0.0.4): what a page for scraping
 * has to send as `text/plain; version=0.0.4`.
 *
 * Names begin with cdps_node_, cdps_port_ and cdps_path_; units are seconds and bytes; counters end in _total. Labels: `node` is its id,
 * `port` a number that no other port of the node has had, `client` the client of this node that the port belongs to, `path` the number
 * of the path. cdps_port_info has the session of a port. Counters of a path begin anew with each session.
 *
 * The text may be longer at the next call: with #CDPS_E_BUFFER, ask again with a buffer of the length that was needed and some more.
 *
 * @param node  the node.
 * @param buf   where the text and its NUL go; NULL with `cap` 0 asks for the length alone.
 * @param cap   size of `buf`, in bytes.
 * @param need  stores the length without the NUL; may be NULL if `buf` is given.
 * @return #CDPS_OK, #CDPS_E_BAD_HANDLE, #CDPS_E_BUFFER (nothing was written to `buf`), #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_node_metrics(const struct cdps_node_t *node,
                          char *buf,
                          size_t cap,
                          size_t *need);

/**
 * Figures of a port.
 *
 * @param port  the port.
 * @param out   stores the figures; `struct_size` must be set.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE int32_t cdps_port_stats(const struct cdps_port_t *port, struct cdps_port_stats_t *out);

/**
 * Figures of one path of the present session.
 *
 * @param port   the port.
 * @param index  0, 1, ... until #CDPS_E_NOT_FOUND.
 * @param out    stores the figures; `struct_size` must be set.
 * @return #CDPS_OK, #CDPS_E_INVALID, #CDPS_E_BAD_HANDLE, #CDPS_E_NOT_FOUND, #CDPS_E_FORKED.
 *
 * Threads: any. Callbacks: allowed.
 */
CDPS_MUST_USE
int32_t cdps_port_path_stats(const struct cdps_port_t *port,
                             size_t index,
                             struct cdps_path_stats_t *out);

/**
 * Keeps a message past its callback. Each call needs one cdps_msg_release(). What is kept counts against the window that the peer may
 * use: a program that never releases stops its peer.
 *
 * @param msg  a message that is not released; NULL does nothing.
 * @return `msg`.
 *
 * Threads: any. Callbacks: allowed.
 */
struct cdps_msg_t *cdps_msg_retain(struct cdps_msg_t *msg);

/**
 * Gives back a message that was kept with cdps_msg_retain(). Also allowed after the on_final of its port, and after the node is gone.
 *
 * @param msg  the message; NULL does nothing. Not to be used afterwards.
 *
 * Threads: any. Callbacks: allowed.
 */
void cdps_msg_release(struct cdps_msg_t *msg);

/**
 * Bytes of a message: contiguous, read-only, never NULL for a message. NULL for NULL. Threads: any.
 */
CDPS_MUST_USE const void *cdps_msg_data(const struct cdps_msg_t *msg);

/**
 * Number of bytes of a message; 0 for NULL. Threads: any.
 */
CDPS_MUST_USE size_t cdps_msg_size(const struct cdps_msg_t *msg);

/**
 * Number of a message: what cdps_port_ack() takes. 0 for NULL. Threads: any.
 */
CDPS_MUST_USE uint64_t cdps_msg_sn(const struct cdps_msg_t *msg);

/**
 * Stream of a message; 0 for NULL. Threads: any.
 */
CDPS_MUST_USE uint32_t cdps_msg_stream(const struct cdps_msg_t *msg);

/**
 * Generation under which a message was received: the fencing token. Zero for NULL.
 *
 * @param msg  the message.
 * @param out  stores the generation; NULL does nothing.
 *
 * Threads: any.
 */
void cdps_msg_generation(const struct cdps_msg_t *msg, struct cdps_generation_t *out);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


/* Initial values: struct_size set, the rest default. */
#define CDPS_ERROR_INIT { (uint32_t)sizeof(cdps_error_t), 0, 0, 0, { 0 } }
#define CDPS_STREAM_CONTRACT_INIT { (uint32_t)sizeof(cdps_stream_contract_t), 0, 0, 0 }
#define CDPS_SEND_OPTS_INIT { (uint32_t)sizeof(cdps_send_opts_t), 0, 0, 0, 0, 0, NULL, 0, 0 }
#define CDPS_PORT_CALLBACKS_INIT \
    { (uint32_t)sizeof(cdps_port_callbacks_t), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
#define CDPS_CLIENT_CALLBACKS_INIT { (uint32_t)sizeof(cdps_client_callbacks_t), 0, NULL, NULL, NULL }
#define CDPS_NODE_CALLBACKS_INIT { (uint32_t)sizeof(cdps_node_callbacks_t), 0, NULL, NULL }
#define CDPS_NODE_STATS_INIT { (uint32_t)sizeof(cdps_node_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_PORT_STATS_INIT { (uint32_t)sizeof(cdps_port_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_PATH_STATS_INIT { (uint32_t)sizeof(cdps_path_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_PORT_INFO_INIT { (uint32_t)sizeof(cdps_port_info_t), 0, 0, 0, { 0, 0, 0 }, { 0, 0 } }
#define CDPS_TIMERS_INIT { (uint32_t)sizeof(cdps_timers_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_CONFIG_KEY_INIT { (uint32_t)sizeof(cdps_config_key_t), 0, NULL, NULL, NULL, NULL, NULL }

/**
 * Opens a node: binds its listeners, starts its threads, begins to dial its members. Arguments and return values are those of
 * cdps_node_open_abi(); the ABI that the program was compiled for goes along.
 */
static inline int32_t CDPS_MUST_USE cdps_node_open(const cdps_config_t *config,
                                                   const cdps_node_callbacks_t *callbacks,
                                                   void *user,
                                                   cdps_node_t **out,
                                                   cdps_error_t *err)
{
    return cdps_node_open_abi(CDPS_ABI, config, callbacks, user, out, err);
}

#endif /* CDPS_H */
