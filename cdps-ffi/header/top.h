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
#define CDPS_VERSION_MAJOR @MAJOR@
#define CDPS_VERSION_MINOR @MINOR@
#define CDPS_VERSION_PATCH @PATCH@

/** The same as one number, as cdps_version_number() gives it for the library that runs. */
#define CDPS_VERSION_NUMBER (CDPS_VERSION_MAJOR * 1000000 + CDPS_VERSION_MINOR * 1000 + CDPS_VERSION_PATCH)

/** Whether this header is of release a.b.c or later. */
#define CDPS_VERSION_AT_LEAST(a, b, c) (CDPS_VERSION_NUMBER >= (a) * 1000000 + (b) * 1000 + (c))

#if defined(__GNUC__)
#define CDPS_MUST_USE __attribute__((warn_unused_result))
#else
#define CDPS_MUST_USE
#endif
