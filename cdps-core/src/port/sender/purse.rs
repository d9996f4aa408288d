//! What may be sent of one class, as far as the peer has granted it (M7, M11).

use crate::wire;

/// Credit of a class. All of it is absolute, and counts from the beginning of the generation.
#[derive(Default)]
pub(super) struct Purse {
    window: u64,
    pub(super) credit: u64,
    spent: u64,
}

impl Purse {
    pub(super) fn new(window: u64) -> Purse {
        Purse { window, credit: window, spent: 0 }
    }

    /// A message of this length may begin. One larger than the window goes alone.
    #[inline]
    pub(super) fn affords(&self, len: u32) -> bool {
        let cost = u64::from(len) + wire::MESSAGE_COST;
        self.spent + cost <= self.credit || (cost > self.window && self.is_whole())
    }

    #[inline]
    pub(super) fn spend(&mut self, len: u32) {
        self.spent += u64::from(len) + wire::MESSAGE_COST;
    }

    /// The peer's user has given everything back.
    pub(super) fn is_whole(&self) -> bool {
        self.credit.checked_sub(self.window) == Some(self.spent)
    }

    /// The window, and what may be sent now.
    pub(super) fn figures(&self) -> (u64, u64) {
        (self.window, self.credit.saturating_sub(self.spent))
    }

    /// A lower value is an old one.
    #[inline]
    pub(super) fn raise(&mut self, credit: u64) {
        self.credit = self.credit.max(credit);
    }
}
