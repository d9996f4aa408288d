//! The grace of a lost target (F5), as the record of its loss shows it.

use cdps_core::id::SessionId;
use cdps_core::port::{ConnStatus, Trigger};
use cdps_core::time::Duration;

use super::Oracle;

impl Oracle {
    /// The port of a session waits so long for a lost target before it switches.
    pub(crate) fn grace(&mut self, session: SessionId, grace: Duration) {
        self.sessions.entry(session).or_default().grace = grace;
    }
}

/// A target that is lost for want of contact is not left before its grace is over.
pub(super) fn judge(status: &ConnStatus, grace: Duration) -> Result<(), String> {
    let (ConnStatus::Switching { decision, .. } | ConnStatus::Down { decision, .. }) = status else {
        return Ok(());
    };
    let waited = decision.grace.unwrap_or_default();
    if matches!(decision.trigger, Trigger::NoContact | Trigger::NoPath) && waited < grace {
        return Err(format!("waited {waited:?}, and the grace is {grace:?}: {decision}"));
    }
    Ok(())
}
