//! What the oracle holds against the record of a loss (F11): it must be of this loss, complete, and agree with itself.

use cdps_core::cluster::PeerState;
use cdps_core::port::{ConnStatus, LeaseEnd, LossRecord, Trigger};

use super::choice::Choice;

pub(super) fn judge(status: &ConnStatus, choice: &Choice) -> Result<(), String> {
    let (decision, fits) = match status {
        ConnStatus::Down { node, decision, .. } => (decision, decision.node == *node),
        ConnStatus::Switching { from, reason, decision } => {
            let fresh = decision.tried.is_empty() && *reason == decision.trigger.reason();
            (decision, decision.node == *from && fresh)
        }
        ConnStatus::Switched { node, generation, decision, .. } => {
            // A planned switch may come back to where it was.
            let moved = decision.node != *node || decision.trigger == Trigger::Asked;
            let elsewhere = moved && decision.tried.iter().all(|t| t.0 != *node);
            let newer = *generation > decision.generation;
            // What was asked for needs no evidence.
            let decided = !decision.isolated || decision.trigger == Trigger::Asked;
            (decision, elsewhere && newer && decided && decision.lease.is_some())
        }
        ConnStatus::Connected { .. }
        | ConnStatus::Recovered { .. }
        | ConnStatus::Reset { .. }
        | ConnStatus::ConnectFailed { .. }
        | ConnStatus::SwitchFailed { .. }
        | ConnStatus::Drained
        | ConnStatus::Closed { .. } => return Ok(()),
    };
    if !fits {
        return Err(format!("{status:?} does not agree with its record"));
    }
    judge_evidence(decision).map_err(|what| format!("{what}: {decision}"))?;
    match decision.lease {
        Some((LeaseEnd::Fenced, _)) if !choice.has_fenced(decision.generation) => {
            Err(format!("nobody has fenced it: {decision}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn judge_evidence(decision: &LossRecord) -> Result<(), &'static str> {
    if decision.paths.is_empty() {
        return Err("there were no paths");
    }
    let timed = match decision.trigger {
        Trigger::NoContact | Trigger::NoPath | Trigger::NoReceipt | Trigger::NoUserAck => true,
        Trigger::NodeDown
        | Trigger::Restarted
        | Trigger::Denied(_)
        | Trigger::Asked
        | Trigger::BufferChanged => false,
    };
    let ran_out = decision.timer.map(|timer| timer.measured >= timer.value);
    if ran_out != timed.then_some(true) {
        return Err("the timer had not run out, or there was none");
    }
    let unheard = decision.timer.is_some_and(|timer| decision.heard >= timer.value);
    match decision.trigger {
        Trigger::NoContact if !unheard => Err("it was heard"),
        Trigger::NoPath if decision.paths.iter().any(|p| p.heard.is_some()) => Err("a path was connected"),
        Trigger::NodeDown if decision.membership != Some(PeerState::Down) => {
            Err("nobody said that it is down")
        }
        Trigger::Restarted if !matches!(decision.membership, Some(PeerState::Reachable { .. })) => {
            Err("nobody said that it is back")
        }
        Trigger::NoContact
        | Trigger::NoPath
        | Trigger::NoReceipt
        | Trigger::NodeDown
        | Trigger::Restarted
        | Trigger::NoUserAck
        | Trigger::Asked
        | Trigger::BufferChanged
        | Trigger::Denied(_) => Ok(()),
    }
}
