//! The record of what the loss of a target was decided on.

use std::ffi::{CString, c_char};

use cdps::{LeaseEnd, LossRecord, PeerState, Trigger};

use crate::message;
use crate::names;
use crate::sized::{Sized32, own_size};
use crate::types::cdps_generation_t;

/// cdps_decision_t.trigger: the node is not heard on any link, nor its port on any path, for `liveness.dead_ms`.
pub const CDPS_TRIGGER_NO_CONTACT: i32 = 1;
/// No data connection is up for `liveness.dead_ms`, though the node may be heard.
pub const CDPS_TRIGGER_NO_PATH: i32 = 2;
/// No receipt for `port.ack_timeout_ms`.
pub const CDPS_TRIGGER_NO_RECEIPT: i32 = 3;
/// The cluster engine says that the node is down.
pub const CDPS_TRIGGER_NODE_DOWN: i32 = 4;
/// The node is another incarnation now.
pub const CDPS_TRIGGER_RESTARTED: i32 = 5;
/// Its user does not acknowledge, and `port.on_user_ack_timeout` is down.
pub const CDPS_TRIGGER_NO_USER_ACK: i32 = 6;
/// The target itself says that the session is over.
pub const CDPS_TRIGGER_DENIED: i32 = 7;
/// The source's user asked for another target: nothing was lost.
pub const CDPS_TRIGGER_ASKED: i32 = 8;
/// The user changed a borrowed buffer (#CDPS_REASON_BUFFER_CHANGED), and the target runs the first release of the library, which cannot be told not to wait for
/// the message.
pub const CDPS_TRIGGER_BUFFER_CHANGED: i32 = 9;

/// cdps_decision_t.membership: the cluster engine says nothing of the node.
pub const CDPS_MEMBER_UNKNOWN: i32 = 0;
/// The node is heard.
pub const CDPS_MEMBER_REACHABLE: i32 = 1;
/// The node is not heard on any link.
pub const CDPS_MEMBER_UNREACHABLE: i32 = 2;
/// The node is down, says an engine with a quorum.
pub const CDPS_MEMBER_DOWN: i32 = 3;

/// cdps_decision_t.lease: it is not known yet that the target delivers nothing more.
pub const CDPS_LEASE_UNKNOWN: i32 = 0;
/// The lease ran out.
pub const CDPS_LEASE_EXPIRED: i32 = 1;
/// The target released it.
pub const CDPS_LEASE_RELEASED: i32 = 2;
/// on_fence said yes.
pub const CDPS_LEASE_FENCED: i32 = 3;
/// The node is another incarnation.
pub const CDPS_LEASE_RESTARTED: i32 = 4;
/// The target had said itself that the session is over.
pub const CDPS_LEASE_ENDED: i32 = 5;

/// As an age in cdps_decision_t: never.
pub const CDPS_NEVER_NS: u64 = 0xffff_ffff_ffff_ffff;

/// A path, when the decision was taken. This structure does not grow.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_path_evidence_t {
    /// Number of the path.
    pub path: u32,
    /// CDPS_HEALTH_*.
    pub health: i32,
    /// How long ago anything came on its connection, in ns; #CDPS_NEVER_NS: it had none.
    pub heard_ns: u64,
}

/// A backup that did not do. This structure does not grow.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_tried_t {
    /// The node.
    pub node: u32,
    /// CDPS_REASON_*.
    pub reason: i32,
}

/// What the loss of a target was decided on, and what came of it. Valid until the callback returns, with everything that it points to.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_decision_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// CDPS_TRIGGER_*: what decided. New values may appear.
    pub trigger: i32,
    /// The target that was given up.
    pub node: u32,
    /// CDPS_REASON_*: the same as a reason.
    pub reason: i32,
    /// The generation that it was given up with.
    pub generation: cdps_generation_t,
    /// When, in ns of CLOCK_BOOTTIME.
    pub at_ns: u64,
    /// How long ago anything came on any connection of the session, in ns.
    pub heard_ns: u64,
    /// Name of the timer that ran out, as in the settings but without its first word and unit; NULL: none did.
    pub timer: *const c_char,
    /// What the timer was set to, in ns.
    pub timer_ns: u64,
    /// What was measured against it, in ns.
    pub measured_ns: u64,
    /// CDPS_MEMBER_*: what the cluster engine said of the node.
    pub membership: i32,
    /// 1: no member of the cluster was heard, so the port did not switch; else 0.
    pub isolated: i32,
    /// By how much this process was late last, in ns; 0: never.
    pub late_by_ns: u64,
    /// How long ago that was, in ns; #CDPS_NEVER_NS: never.
    pub late_ns: u64,
    /// The paths.
    pub paths: *const cdps_path_evidence_t,
    /// The backups that were tried and did not do.
    pub tried: *const cdps_tried_t,
    /// Number of `paths`.
    pub path_count: u32,
    /// Number of `tried`.
    pub tried_count: u32,
    /// CDPS_LEASE_*: how it became certain that the target delivers nothing more.
    pub lease: i32,
    /// 0.
    pub reserved0: u32,
    /// How long after the decision that was, in ns; 0 with #CDPS_LEASE_UNKNOWN.
    pub lease_ns: u64,
    /// All of it as one line, for a log.
    pub text: *const c_char,
    /// How long its return was waited for before the port left it (`port.switch_grace_ms`), in ns; 0: not at all.
    pub grace_ns: u64,
}

// SAFETY: integers and pointers only.
unsafe impl Sized32 for cdps_decision_t {
    const NAME: &'static str = "cdps_decision_t";
    const FIRST_SIZE: usize = 144;
}

/// What a [`cdps_decision_t`] points to.
pub(crate) struct Record {
    paths: Vec<cdps_path_evidence_t>,
    tried: Vec<cdps_tried_t>,
    timer: CString,
    text: CString,
}

impl Record {
    pub(crate) fn new(decision: &LossRecord) -> Record {
        let path = |p: &cdps::PathEvidence| cdps_path_evidence_t {
            path: u32::from(p.path.0),
            health: names::health(p.health),
            heard_ns: p.heard.map_or(CDPS_NEVER_NS, nanoseconds),
        };
        // Neither contains a NUL.
        let text = |text: String| CString::new(text).unwrap_or_default();
        Record {
            paths: decision.paths.iter().map(path).collect(),
            tried: decision
                .tried
                .iter()
                .map(|(node, reason)| cdps_tried_t { node: node.0, reason: names::reason(*reason) })
                .collect(),
            timer: text(decision.timer.map_or("", |t| t.name).to_owned()),
            text: text(decision.to_string()),
        }
    }

    /// The structure, which points here.
    pub(crate) fn describe(&self, decision: &LossRecord) -> cdps_decision_t {
        let timer = decision.timer;
        cdps_decision_t {
            struct_size: own_size::<cdps_decision_t>(),
            trigger: trigger(decision.trigger),
            node: decision.node.0,
            reason: names::reason(decision.trigger.reason()),
            generation: message::generation(decision.generation),
            at_ns: decision.at.0,
            heard_ns: nanoseconds(decision.heard),
            timer: if timer.is_some() { self.timer.as_ptr() } else { std::ptr::null() },
            timer_ns: timer.map_or(0, |t| nanoseconds(t.value)),
            measured_ns: timer.map_or(0, |t| nanoseconds(t.measured)),
            membership: match decision.membership {
                None => CDPS_MEMBER_UNKNOWN,
                Some(PeerState::Reachable { .. }) => CDPS_MEMBER_REACHABLE,
                Some(PeerState::Unreachable { .. }) => CDPS_MEMBER_UNREACHABLE,
                Some(PeerState::Down) => CDPS_MEMBER_DOWN,
            },
            isolated: i32::from(decision.isolated),
            late_by_ns: decision.late.map_or(0, |l| nanoseconds(l.0)),
            late_ns: decision.late.map_or(CDPS_NEVER_NS, |l| nanoseconds(l.1)),
            paths: self.paths.as_ptr(),
            tried: self.tried.as_ptr(),
            path_count: u32::try_from(self.paths.len()).unwrap_or(u32::MAX),
            tried_count: u32::try_from(self.tried.len()).unwrap_or(u32::MAX),
            lease: decision.lease.map_or(CDPS_LEASE_UNKNOWN, |l| lease(l.0)),
            reserved0: 0,
            lease_ns: decision.lease.map_or(0, |l| nanoseconds(l.1)),
            text: self.text.as_ptr(),
            grace_ns: decision.grace.map_or(0, nanoseconds),
        }
    }
}

fn trigger(trigger: Trigger) -> i32 {
    match trigger {
        Trigger::NoContact => CDPS_TRIGGER_NO_CONTACT,
        Trigger::NoPath => CDPS_TRIGGER_NO_PATH,
        Trigger::NoReceipt => CDPS_TRIGGER_NO_RECEIPT,
        Trigger::NodeDown => CDPS_TRIGGER_NODE_DOWN,
        Trigger::Restarted => CDPS_TRIGGER_RESTARTED,
        Trigger::NoUserAck => CDPS_TRIGGER_NO_USER_ACK,
        Trigger::Denied(_) => CDPS_TRIGGER_DENIED,
        Trigger::Asked => CDPS_TRIGGER_ASKED,
        Trigger::BufferChanged => CDPS_TRIGGER_BUFFER_CHANGED,
    }
}

fn lease(end: LeaseEnd) -> i32 {
    match end {
        LeaseEnd::Expired => CDPS_LEASE_EXPIRED,
        LeaseEnd::Released => CDPS_LEASE_RELEASED,
        LeaseEnd::Fenced => CDPS_LEASE_FENCED,
        LeaseEnd::Restarted => CDPS_LEASE_RESTARTED,
        LeaseEnd::Ended => CDPS_LEASE_ENDED,
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
