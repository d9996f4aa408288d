//! Values of states, statuses and reasons, and their names.

use std::ffi::{CStr, c_char};

use cdps::{Certainty, FlowReason, Health, Link, Reason, State, Verdict};

use crate::guard::plain;

/// Created.
pub const CDPS_STATE_IDLE: i32 = 1;
/// Has a client.
pub const CDPS_STATE_REGISTERED: i32 = 2;
/// Target side: a source is connected to it.
pub const CDPS_STATE_CONNECTEDTO: i32 = 3;
/// Source side: has its address table.
pub const CDPS_STATE_INITIALIZED: i32 = 4;
/// Source side: negotiating, or waiting for the first path.
pub const CDPS_STATE_CONNECTING: i32 = 5;
/// Source side: in use.
pub const CDPS_STATE_CONNECTED: i32 = 6;
/// Source side: takes no more sends, keeps its session.
pub const CDPS_STATE_STOPPED: i32 = 7;
/// Gone.
pub const CDPS_STATE_DESTROYED: i32 = 8;

/// Messages flow; also in every state but CONNECTED and STOPPED.
pub const CDPS_LINK_UP: i32 = 1;
/// Down, and not every unfinished send has been nacked yet.
pub const CDPS_LINK_DOWN: i32 = 2;
/// Down, and every earlier send has ended.
pub const CDPS_LINK_DRAINED: i32 = 3;
/// On the way to another target by itself, or waiting for the old one before it goes (`port.switch_grace_ms`); sends are queued.
pub const CDPS_LINK_SWITCHING: i32 = 4;
/// Down, and the target is going on with the session; sends fail.
pub const CDPS_LINK_RESETTING: i32 = 5;

/// No contact for the dead time, or no connection.
pub const CDPS_HEALTH_DEAD: i32 = 1;
/// A probe is unanswered for longer than it should be: no new data goes there.
pub const CDPS_HEALTH_SUSPECT: i32 = 2;
/// Answers in time.
pub const CDPS_HEALTH_GOOD: i32 = 3;

/// No byte of the message was handed to a transport: the target has not seen it.
pub const CDPS_CERTAINTY_NOT_SENT: i32 = 1;
/// The message may have arrived, and may have been acknowledged.
pub const CDPS_CERTAINTY_UNKNOWN: i32 = 2;

/// The first path is up: sends are taken. `node`, `generation`, `paths_up`, `paths`.
pub const CDPS_CONN_CONNECTED: i32 = 1;
/// A connect did not succeed; the port is INITIALIZED again. `node`, `reason`.
pub const CDPS_CONN_CONNECT_FAILED: i32 = 2;
/// The connection is down: sends fail from here on, and every unfinished one is nacked next. `node`, `reason`.
pub const CDPS_CONN_DOWN: i32 = 3;
/// Every earlier send has ended (after DOWN, stop or close).
pub const CDPS_CONN_DRAINED: i32 = 4;
/// The port goes to a backup by itself; sends are queued meanwhile. `node` (the target given up), `reason`.
pub const CDPS_CONN_SWITCHING: i32 = 5;
/// The port is connected to a backup. `node`, `generation`, `only_receipted`.
pub const CDPS_CONN_SWITCHED: i32 = 6;
/// The session is over; the port is INITIALIZED (source) or REGISTERED (target). `reason`.
pub const CDPS_CONN_CLOSED: i32 = 7;
/// The target is back after a DOWN, or has answered a reset: sends are taken again. With #CDPS_CONNSTATUS_KEPT it went on with the session,
/// and what was nacked as UNKNOWN was resolved just before; without, it knew the session no more. `node`, `generation`, `paths_up`,
/// `paths`, `flags`.
pub const CDPS_CONN_RECOVERED: i32 = 8;
/// Target: the source has reset the session. What this end had not finished sending was nacked just before; acknowledgments of what came
/// before go nowhere. `generation`.
pub const CDPS_CONN_RESET: i32 = 9;
/// A switch that cdps_port_switch() began did not come about: the port stays where it is. `node` (where it was to go), `reason`.
pub const CDPS_CONN_SWITCH_FAILED: i32 = 10;

/// The target has dropped what it had of the message: it will not be delivered.
pub const CDPS_VERDICT_NOT_DELIVERED: i32 = 1;
/// The target's user has got the message, or will.
pub const CDPS_VERDICT_DELIVERED: i32 = 2;
/// The target's user acknowledged the message.
pub const CDPS_VERDICT_ACKNOWLEDGED: i32 = 3;

/// The node is heard. `incarnation`.
pub const CDPS_CLUSTER_UP: i32 = 1;
/// The node is not heard on any link.
pub const CDPS_CLUSTER_UNREACHABLE: i32 = 2;
/// The node is gone, says a cluster engine with a quorum. Sessions to it end at once.
pub const CDPS_CLUSTER_DOWN: i32 = 3;
/// A client is registered on the node, says such an engine. `client`.
pub const CDPS_CLUSTER_REGISTERED: i32 = 4;
/// A client is not registered on the node any more, or its process has died, says such an engine. `client`.
pub const CDPS_CLUSTER_GONE: i32 = 5;
/// This node, which is `node`, has a quorum, says such an engine.
pub const CDPS_CLUSTER_QUORUM: i32 = 6;
/// This node has lost its quorum: no port of it switches by itself.
pub const CDPS_CLUSTER_NO_QUORUM: i32 = 7;
/// A path between this node and `node` is up, suspect or down. `health`, `link`, `remote`.
pub const CDPS_CLUSTER_PATH: i32 = 8;
/// The registration of the client that is told this has taken effect: sources can connect to it. `node` is this node.
pub const CDPS_CLUSTER_EFFECTIVE: i32 = 9;

/// The backlog is above the high mark: hold back.
pub const CDPS_FLOW_ON: i32 = 1;
/// The backlog is down at the low mark: go on.
pub const CDPS_FLOW_OFF: i32 = 2;

/// Messages pile up because the peer's user has not released enough.
pub const CDPS_CAUSE_WINDOW: i32 = 1;
/// Messages pile up because the paths do not carry more, or there is none.
pub const CDPS_CAUSE_PATH: i32 = 2;
/// Messages pile up because the port is on its way to another target.
pub const CDPS_CAUSE_SWITCHOVER: i32 = 3;
/// Messages pile up because the user has suspended the port.
pub const CDPS_CAUSE_SUSPEND: i32 = 4;

/// No error.
pub const CDPS_REASON_NONE: i32 = 0;
/// Closed by its user.
pub const CDPS_REASON_CLOSED: i32 = 1;
/// The peer broke the protocol.
pub const CDPS_REASON_PROTOCOL_ERROR: i32 = 2;
/// A checksum did not match.
pub const CDPS_REASON_BAD_CHECKSUM: i32 = 3;
/// No common protocol version.
pub const CDPS_REASON_UNSUPPORTED_VERSION: i32 = 4;
/// A feature was used that this version reserves.
pub const CDPS_REASON_UNSUPPORTED_FEATURE: i32 = 5;
/// Another node was meant.
pub const CDPS_REASON_WRONG_NODE: i32 = 6;
/// No client of that name on the target.
pub const CDPS_REASON_NO_SUCH_CLIENT: i32 = 7;
/// The target's user refused.
pub const CDPS_REASON_REFUSED: i32 = 8;
/// The generation is not the newest.
pub const CDPS_REASON_STALE_GENERATION: i32 = 9;
/// The target does not know the session.
pub const CDPS_REASON_UNKNOWN_SESSION: i32 = 10;
/// The connection did not prove the session secret.
pub const CDPS_REASON_BAD_PROOF: i32 = 11;
/// A limit would be passed.
pub const CDPS_REASON_LIMIT: i32 = 12;
/// A newer generation took the session's place.
pub const CDPS_REASON_SUPERSEDED: i32 = 13;
/// The source took the lease away.
pub const CDPS_REASON_REVOKED: i32 = 14;
/// The peer is another incarnation now.
pub const CDPS_REASON_PEER_RESTARTED: i32 = 15;
/// No contact on any path.
pub const CDPS_REASON_UNREACHABLE: i32 = 16;
/// An answer did not come in time.
pub const CDPS_REASON_TIMEOUT: i32 = 17;
/// The node is closing.
pub const CDPS_REASON_SHUTDOWN: i32 = 18;
/// A connection ended without a word.
pub const CDPS_REASON_CONNECTION_LOST: i32 = 19;
/// A connection could not be made.
pub const CDPS_REASON_DIAL_FAILED: i32 = 20;
/// The peer closed the session.
pub const CDPS_REASON_PEER_CLOSED: i32 = 21;
/// No backup is left to switch to.
pub const CDPS_REASON_NO_BACKUP: i32 = 22;
/// The port was stopped before the message was sent.
pub const CDPS_REASON_NOT_SENT_STOPPED: i32 = 23;
/// One-way loss: the peer does not hear this end, though it is heard itself.
pub const CDPS_REASON_ONE_WAY_OUT: i32 = 24;
/// One-way loss: this end does not hear the peer, which says over another path that it hears this end.
pub const CDPS_REASON_ONE_WAY_IN: i32 = 25;
/// A path that was dead is connected again, and has yet to prove itself.
pub const CDPS_REASON_REJOINING: i32 = 26;
/// One end takes the client for exclusive, the other does not.
pub const CDPS_REASON_ROLE_MISMATCH: i32 = 27;
/// Another source has the role of the exclusive client.
pub const CDPS_REASON_ROLE_TAKEN: i32 = 28;
/// The user changed a borrowed buffer before on_release: the message was not delivered with other bytes than it had at the send.
pub const CDPS_REASON_BUFFER_CHANGED: i32 = 29;

type Names = &'static [(i32, &'static CStr)];

static STATE: Names = &[
    (CDPS_STATE_IDLE, c"IDLE"),
    (CDPS_STATE_REGISTERED, c"REGISTERED"),
    (CDPS_STATE_CONNECTEDTO, c"CONNECTEDTO"),
    (CDPS_STATE_INITIALIZED, c"INITIALIZED"),
    (CDPS_STATE_CONNECTING, c"CONNECTING"),
    (CDPS_STATE_CONNECTED, c"CONNECTED"),
    (CDPS_STATE_STOPPED, c"STOPPED"),
    (CDPS_STATE_DESTROYED, c"DESTROYED"),
];

static LINK: Names = &[
    (CDPS_LINK_UP, c"UP"),
    (CDPS_LINK_DOWN, c"DOWN"),
    (CDPS_LINK_DRAINED, c"DRAINED"),
    (CDPS_LINK_SWITCHING, c"SWITCHING"),
    (CDPS_LINK_RESETTING, c"RESETTING"),
];

static HEALTH: Names =
    &[(CDPS_HEALTH_DEAD, c"DEAD"), (CDPS_HEALTH_SUSPECT, c"SUSPECT"), (CDPS_HEALTH_GOOD, c"GOOD")];

static CERTAINTY: Names = &[(CDPS_CERTAINTY_NOT_SENT, c"NOT_SENT"), (CDPS_CERTAINTY_UNKNOWN, c"UNKNOWN")];

static CONN: Names = &[
    (CDPS_CONN_CONNECTED, c"CONNECTED"),
    (CDPS_CONN_CONNECT_FAILED, c"CONNECT_FAILED"),
    (CDPS_CONN_DOWN, c"DOWN"),
    (CDPS_CONN_DRAINED, c"DRAINED"),
    (CDPS_CONN_SWITCHING, c"SWITCHING"),
    (CDPS_CONN_SWITCHED, c"SWITCHED"),
    (CDPS_CONN_CLOSED, c"CLOSED"),
    (CDPS_CONN_RECOVERED, c"RECOVERED"),
    (CDPS_CONN_RESET, c"RESET"),
    (CDPS_CONN_SWITCH_FAILED, c"SWITCH_FAILED"),
];

static VERDICT: Names = &[
    (CDPS_VERDICT_NOT_DELIVERED, c"NOT_DELIVERED"),
    (CDPS_VERDICT_DELIVERED, c"DELIVERED"),
    (CDPS_VERDICT_ACKNOWLEDGED, c"ACKNOWLEDGED"),
];

static CLUSTER: Names = &[
    (CDPS_CLUSTER_UP, c"UP"),
    (CDPS_CLUSTER_UNREACHABLE, c"UNREACHABLE"),
    (CDPS_CLUSTER_DOWN, c"DOWN"),
    (CDPS_CLUSTER_REGISTERED, c"REGISTERED"),
    (CDPS_CLUSTER_GONE, c"GONE"),
    (CDPS_CLUSTER_QUORUM, c"QUORUM"),
    (CDPS_CLUSTER_NO_QUORUM, c"NO_QUORUM"),
    (CDPS_CLUSTER_PATH, c"PATH"),
    (CDPS_CLUSTER_EFFECTIVE, c"EFFECTIVE"),
];

static FLOW: Names = &[(CDPS_FLOW_ON, c"ON"), (CDPS_FLOW_OFF, c"OFF")];

static CAUSE: Names = &[
    (CDPS_CAUSE_WINDOW, c"WINDOW"),
    (CDPS_CAUSE_PATH, c"PATH"),
    (CDPS_CAUSE_SWITCHOVER, c"SWITCHOVER"),
    (CDPS_CAUSE_SUSPEND, c"SUSPEND"),
];

/// Number, name, phrase.
static REASONS: &[(i32, &CStr, &CStr)] = &[
    (CDPS_REASON_NONE, c"NONE", c"no error"),
    (CDPS_REASON_CLOSED, c"CLOSED", c"closed by its user"),
    (CDPS_REASON_PROTOCOL_ERROR, c"PROTOCOL_ERROR", c"the peer broke the protocol"),
    (CDPS_REASON_BAD_CHECKSUM, c"BAD_CHECKSUM", c"a checksum did not match"),
    (CDPS_REASON_UNSUPPORTED_VERSION, c"UNSUPPORTED_VERSION", c"no common protocol version"),
    (CDPS_REASON_UNSUPPORTED_FEATURE, c"UNSUPPORTED_FEATURE", c"a feature that this version only reserves"),
    (CDPS_REASON_WRONG_NODE, c"WRONG_NODE", c"another node was meant"),
    (CDPS_REASON_NO_SUCH_CLIENT, c"NO_SUCH_CLIENT", c"no client of this name is registered on the target"),
    (CDPS_REASON_REFUSED, c"REFUSED", c"refused by the target's user"),
    (CDPS_REASON_STALE_GENERATION, c"STALE_GENERATION", c"a generation that is not the newest"),
    (CDPS_REASON_UNKNOWN_SESSION, c"UNKNOWN_SESSION", c"the target does not know the session"),
    (CDPS_REASON_BAD_PROOF, c"BAD_PROOF", c"the connection did not prove the session secret"),
    (CDPS_REASON_LIMIT, c"LIMIT", c"a limit would be passed"),
    (CDPS_REASON_SUPERSEDED, c"SUPERSEDED", c"a newer generation took its place"),
    (CDPS_REASON_REVOKED, c"REVOKED", c"the source took the lease away"),
    (CDPS_REASON_PEER_RESTARTED, c"PEER_RESTARTED", c"the peer was restarted"),
    (CDPS_REASON_UNREACHABLE, c"UNREACHABLE", c"no contact on any path"),
    (CDPS_REASON_TIMEOUT, c"TIMEOUT", c"no answer in time"),
    (CDPS_REASON_SHUTDOWN, c"SHUTDOWN", c"the node is closing"),
    (CDPS_REASON_CONNECTION_LOST, c"CONNECTION_LOST", c"the connection was lost"),
    (CDPS_REASON_DIAL_FAILED, c"DIAL_FAILED", c"the connection could not be made"),
    (CDPS_REASON_PEER_CLOSED, c"PEER_CLOSED", c"closed by the peer"),
    (CDPS_REASON_NO_BACKUP, c"NO_BACKUP", c"no backup target is left"),
    (CDPS_REASON_NOT_SENT_STOPPED, c"NOT_SENT_STOPPED", c"the port was stopped before the message was sent"),
    (CDPS_REASON_ONE_WAY_OUT, c"ONE_WAY_OUT", c"one-way loss: the peer does not hear this end"),
    (CDPS_REASON_ONE_WAY_IN, c"ONE_WAY_IN", c"one-way loss: this end does not hear the peer"),
    (CDPS_REASON_REJOINING, c"REJOINING", c"back after it was dead, and not trusted yet"),
    (
        CDPS_REASON_ROLE_MISMATCH,
        c"ROLE_MISMATCH",
        c"one end takes the client for exclusive, the other does not",
    ),
    (CDPS_REASON_ROLE_TAKEN, c"ROLE_TAKEN", c"another source has the role of the exclusive client"),
    (CDPS_REASON_BUFFER_CHANGED, c"BUFFER_CHANGED", c"the borrowed buffer was changed after the send"),
];

/// Name of a CDPS_STATE_* value, as the documentation writes it, such as "CONNECTED"; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_state_name(state: i32) -> *const c_char {
    plain(|| name(STATE, state).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_LINK_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_link_name(link: i32) -> *const c_char {
    plain(|| name(LINK, link).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_HEALTH_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_health_name(health: i32) -> *const c_char {
    plain(|| name(HEALTH, health).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_CERTAINTY_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_certainty_name(certainty: i32) -> *const c_char {
    plain(|| name(CERTAINTY, certainty).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_CONN_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_conn_name(conn: i32) -> *const c_char {
    plain(|| name(CONN, conn).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_VERDICT_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_verdict_name(verdict: i32) -> *const c_char {
    plain(|| name(VERDICT, verdict).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_CLUSTER_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_cluster_name(cluster: i32) -> *const c_char {
    plain(|| name(CLUSTER, cluster).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_FLOW_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_flow_name(flow: i32) -> *const c_char {
    plain(|| name(FLOW, flow).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_CAUSE_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_cause_name(cause: i32) -> *const c_char {
    plain(|| name(CAUSE, cause).as_ptr(), c"?".as_ptr())
}

/// Name of a CDPS_REASON_* value, such as "TIMEOUT"; "?" for a number that is none. A static string. Threads: any, also in a forked
/// child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_reason_name(reason: i32) -> *const c_char {
    plain(|| find_reason(reason).map_or(c"?", |found| found.1).as_ptr(), c"?".as_ptr())
}

/// One phrase about a CDPS_REASON_* value; "?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_reason_string(reason: i32) -> *const c_char {
    plain(|| reason_phrase(reason).as_ptr(), c"?".as_ptr())
}

pub(crate) fn reason_phrase(reason: i32) -> &'static CStr {
    find_reason(reason).map_or(c"?", |found| found.2)
}

fn find_reason(reason: i32) -> Option<&'static (i32, &'static CStr, &'static CStr)> {
    REASONS.iter().find(|entry| entry.0 == reason)
}

fn name(names: Names, value: i32) -> &'static CStr {
    names.iter().find(|entry| entry.0 == value).map_or(c"?", |entry| entry.1)
}

pub(crate) fn reason(reason: Reason) -> i32 {
    i32::from(reason as u16)
}

pub(crate) fn state(state: State) -> i32 {
    match state {
        State::Idle => CDPS_STATE_IDLE,
        State::Registered => CDPS_STATE_REGISTERED,
        State::ConnectedTo => CDPS_STATE_CONNECTEDTO,
        State::Initialized => CDPS_STATE_INITIALIZED,
        State::Connecting => CDPS_STATE_CONNECTING,
        State::Connected => CDPS_STATE_CONNECTED,
        State::Stopped => CDPS_STATE_STOPPED,
        State::Destroyed => CDPS_STATE_DESTROYED,
    }
}

pub(crate) fn link(link: Link) -> i32 {
    match link {
        Link::Up => CDPS_LINK_UP,
        Link::Down => CDPS_LINK_DOWN,
        Link::Drained => CDPS_LINK_DRAINED,
        Link::Switching => CDPS_LINK_SWITCHING,
        Link::Resetting => CDPS_LINK_RESETTING,
    }
}

pub(crate) fn health(health: Health) -> i32 {
    match health {
        Health::Dead => CDPS_HEALTH_DEAD,
        Health::Suspect => CDPS_HEALTH_SUSPECT,
        Health::Good => CDPS_HEALTH_GOOD,
    }
}

pub(crate) fn cause(reason: FlowReason) -> i32 {
    match reason {
        FlowReason::Window => CDPS_CAUSE_WINDOW,
        FlowReason::Path => CDPS_CAUSE_PATH,
        FlowReason::Switchover => CDPS_CAUSE_SWITCHOVER,
        FlowReason::Suspend => CDPS_CAUSE_SUSPEND,
    }
}

/// The verdict, and the return code that belongs to it.
pub(crate) fn verdict(verdict: Verdict) -> (i32, i32) {
    match verdict {
        Verdict::NotDelivered => (CDPS_VERDICT_NOT_DELIVERED, 0),
        Verdict::Delivered => (CDPS_VERDICT_DELIVERED, 0),
        Verdict::Acknowledged(rc) => (CDPS_VERDICT_ACKNOWLEDGED, rc),
    }
}

pub(crate) fn certainty(certainty: Certainty) -> i32 {
    match certainty {
        Certainty::NotSent => CDPS_CERTAINTY_NOT_SENT,
        Certainty::Unknown => CDPS_CERTAINTY_UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(at: *const c_char) -> &'static str {
        // SAFETY: the functions under test return static strings.
        unsafe { CStr::from_ptr(at) }.to_str().unwrap()
    }

    /// [U3] The numbers and phrases of C are those of the protocol; each reason is there.
    #[test]
    fn reasons_agree_with_the_protocol() {
        assert_eq!(REASONS.len(), Reason::ALL.len());
        for known in Reason::ALL {
            assert_eq!(text(cdps_reason_string(reason(*known))), known.text());
        }
        assert_eq!(text(cdps_reason_name(CDPS_REASON_NOT_SENT_STOPPED)), "NOT_SENT_STOPPED");
        assert_eq!(text(cdps_reason_name(-1)), "?");
    }

    /// [L1] State and link carry the names of Fig. 7.
    #[test]
    fn states_have_the_names_of_the_figure() {
        for known in State::ALL {
            assert_eq!(text(cdps_state_name(state(known))), known.name());
        }
        for known in Link::ALL {
            assert_ne!(text(cdps_link_name(link(known))), "?");
        }
        assert_eq!(text(cdps_state_name(0)), "?");
    }
}
