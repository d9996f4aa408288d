//! Events on their way to the user. One process in two takes all that wait at once, as the driver does, and tells them one by one; the others take
//! each when it is its turn.

use cdps_core::port::{Event, Queue, State};
use cdps_core::time::Time;

use super::Slot;
use crate::payload::{Received, SentHandle};

/// What was taken from an engine, and not told yet.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    events: Queue<Event<SentHandle, Received>>,
    /// The right to deliver was taken away since: messages among them are dropped.
    revoked: bool,
    /// Completions and nacks among what was taken last that the user has been told of.
    ends: u32,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Nothing that was taken is delivered any more (F8).
    pub(crate) fn revoke(&mut self) {
        self.revoked = true;
    }
}

impl Slot {
    /// Whether the user has not been told of everything.
    pub(crate) fn has_events(&self) -> bool {
        self.port.has_events() || !self.taken.is_empty()
    }

    /// The next event of those that were taken at once; `None` also if it is a message that has to wait for the lease.
    pub(crate) fn take_event(&mut self, now: Time, leased: bool) -> Option<Event<SentHandle, Received>> {
        let taken = &mut self.taken;
        if taken.is_empty() {
            self.port.handle_told(now);
            self.port.take_events(leased, &mut taken.events);
            (taken.revoked, taken.ends) = (false, 0);
        }
        let waits = self.port.needs_lease() && !leased;
        let over = taken.revoked || self.port.state() == State::Destroyed;
        while matches!(taken.events.front(), Some(Event::Received(_))) {
            if over {
                taken.events.pop_front();
            } else if waits {
                return None;
            } else {
                break;
            }
        }
        let event = taken.events.pop_front()?;
        taken.ends += u32::from(matches!(event, Event::Completed { .. } | Event::Nacked { .. }));
        Some(event)
    }

    /// Makes room for the ends of further sends (M6).
    pub(crate) fn note_told(&mut self) {
        self.port.handle_ends_told(self.taken.ends);
    }
}
