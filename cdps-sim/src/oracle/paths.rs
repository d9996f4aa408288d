//! What the source's user hears of paths.

use cdps_core::cluster::Health;
use cdps_core::id::{PathId, SessionId};
use cdps_core::reason::Reason;

use super::Oracle;
use crate::rules::Invariant;

impl Oracle {
    /// A path changed, says the source's port.
    pub(crate) fn path(&mut self, session: SessionId, path: PathId, health: Health, reason: Reason) {
        let clean = self.sessions.get(&session).is_some_and(|s| s.promise.clean_paths & (1 << path.0) != 0);
        if health == Health::Suspect {
            self.tally.suspicions += 1;
            self.tally.false_suspicions += u64::from(clean);
        }
        let blamed = matches!(
            reason,
            Reason::Unreachable
                | Reason::Timeout
                | Reason::BadChecksum
                | Reason::ProtocolError
                | Reason::Limit
        );
        if clean && blamed && health == Health::Dead {
            self.fail(
                Invariant::PathHidden,
                format!("{session}: path {path} given up ({reason}), and it was healthy"),
            );
        }
    }
}
