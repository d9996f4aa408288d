//! How much is unfinished, how much of it waits, and what the peer has granted.

use super::Sender;
use crate::port::Payload;

impl<S: Payload> Sender<S> {
    /// Payload bytes that are unfinished.
    pub(in crate::port) fn bytes(&self) -> u64 {
        self.unfinished.bytes
    }

    /// Payload bytes that no path has taken.
    pub(in crate::port) fn queued(&self) -> u64 {
        self.queued
    }

    /// What the peer has granted to the normal class, and what is left of it.
    pub(in crate::port) fn window(&self) -> (u64, u64) {
        self.purse.figures()
    }

    /// Messages completed in this generation on the word of the peer's port alone.
    pub(in crate::port) fn only_receipted(&self) -> u64 {
        self.unfinished.only_receipted
    }

    pub(in crate::port) fn messages(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Payload bytes that wait for a path, with a little for each range to be sent again.
    pub(in crate::port) fn backlog(&self) -> u64 {
        let new = if self.has_new() { self.queued } else { 0 };
        let again = self.again.len() + self.skips.due() + self.high.as_ref().map_or(0, |h| h.again.len());
        new + again as u64 * 1024
    }

    /// Messages and ranges that wait for a path; one that is long counts as its fragments.
    pub(in crate::port) fn pieces(&self, fragment: u32) -> usize {
        let fragments = self.queued / u64::from(fragment.max(1));
        let high = self.high.as_ref().map_or(0, |h| h.again.len() + h.waiting.len());
        let normal = usize::try_from(fragments.max(self.end() - self.cursor.0)).unwrap_or(usize::MAX);
        self.again.len() + self.skips.due() + high + normal
    }
}
