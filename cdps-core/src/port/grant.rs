//! Credit that a receiver grants to one class of messages (M7, M11).

use super::event::CreditToken;
use crate::config::Priority;
use crate::reason::Reason;
use crate::wire::{self, item};

/// Credit of a class. All of it is absolute, and counts from the beginning of the generation.
pub(super) struct Grant {
    /// `None`: the session does not have the class.
    window: Option<u64>,
    /// Cost of every message begun in this generation.
    spent: u64,
    /// Cost of every message that the user has released.
    released: u64,
    /// Cost of what the user had not released when the session was reset: the window is smaller by it, until it is released (F3).
    retained: u64,
    /// Credit that the last receipt announced.
    announced: u64,
    /// The peer waits for credit: announce the next that there is.
    pub(super) wanted: bool,
}

impl Grant {
    pub(super) fn new(window: Option<u64>, retained: u64) -> Grant {
        let announced = window.unwrap_or(0).saturating_sub(retained);
        Grant { window, spent: 0, released: 0, retained, announced, wanted: false }
    }

    /// The class is there from now on, or is not, in a session that begins.
    pub(super) fn open(&mut self, window: Option<u64>) {
        *self = Grant::new(window, self.retained);
    }

    /// The session has the class.
    pub(super) fn is_open(&self) -> bool {
        self.window.is_some()
    }

    /// What the peer may spend in this generation.
    pub(super) fn granted(&self) -> u64 {
        (self.window.unwrap_or(0) + self.released).saturating_sub(self.retained)
    }

    /// What the peer has been told of that.
    pub(super) fn announced(&self) -> u64 {
        self.announced
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent > 0
    }

    /// Takes a message's cost from what was announced.
    #[inline]
    pub(super) fn charge(&mut self, len: u64) -> Result<(), Reason> {
        let cost = len + wire::MESSAGE_COST;
        if self.spent + cost > self.announced {
            self.charge_alone(cost)?;
        }
        self.spent += cost;
        Ok(())
    }

    /// One that costs more than the window goes alone.
    #[cold]
    fn charge_alone(&self, cost: u64) -> Result<(), Reason> {
        let Some(window) = self.window else { return Err(Reason::UnsupportedFeature) };
        let alone = cost > window && self.announced.checked_sub(window) == Some(self.spent);
        if alone { Ok(()) } else { Err(Reason::Limit) }
    }

    /// The user gives messages back. True: the peer should be told at once.
    pub(super) fn release(&mut self, cost: u64) -> bool {
        self.released += cost;
        let grown = self.granted().saturating_sub(self.announced);
        grown >= self.window.unwrap_or(0) / 8 || (self.wanted && grown > 0)
    }

    /// The peer is about to be told.
    pub(super) fn announce(&mut self) {
        if self.granted() > self.announced {
            self.announced = self.granted();
            self.wanted = false;
        }
    }

    /// What the user has not released, if messages of this cost are dropped without it.
    pub(super) fn kept(&self, given_up: u64) -> u64 {
        (self.retained + self.spent).saturating_sub(given_up + self.released)
    }
}

impl CreditToken {
    /// Accounts of sessions are so far apart: item flags go between.
    pub(super) const SESSION: u64 = 1 << 8;

    /// For a message with these item flags that was received in the session with this account.
    #[inline]
    pub(super) fn new(session: u64, flags: u8, cost: u64) -> CreditToken {
        CreditToken { account: session | u64::from(flags & item::HIGH), cost }
    }

    /// Whether it is of the session with this account.
    #[inline]
    pub(super) fn is_of(self, session: u64) -> bool {
        self.account & !u64::from(item::HIGH) == session
    }

    /// Class of the messages.
    #[must_use]
    #[inline]
    pub fn priority(self) -> Priority {
        if self.account & u64::from(item::HIGH) == 0 { Priority::Normal } else { Priority::High }
    }
}
