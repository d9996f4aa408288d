//! Whether a port's events are being told, so that one thread at a time tells them, and none is forgotten. Kept under the port's lock;
//! `tests/loom` holds it to that.

/// See the module.
#[derive(Default)]
pub(crate) struct Schedule {
    /// The port is in its callback thread's queue, or being drained.
    scheduled: bool,
    /// Events wait for the lease.
    held: bool,
}

// Where a function gives true, the caller puts the port in its queue once the lock is free.
impl Schedule {
    /// It must be drained, unless it will be anyway.
    pub(crate) fn claim(&mut self) -> bool {
        !std::mem::replace(&mut self.scheduled, true)
    }

    /// The lease was renewed: events that waited for it may go.
    pub(crate) fn renewed(&mut self) -> bool {
        std::mem::take(&mut self.held) && self.claim()
    }

    /// Something has changed. `waits`: there is something to tell; `lease`: it still needs the lease that it was held for.
    #[inline]
    pub(crate) fn changed(&mut self, waits: impl FnOnce() -> bool, lease: impl FnOnce() -> bool) -> bool {
        if self.scheduled || (self.held && lease()) || !(self.held || waits()) {
            return false;
        }
        self.held = false;
        self.claim()
    }

    /// The drainer is at work: nobody else is to be.
    pub(crate) fn enter(&mut self) {
        self.scheduled = true;
    }

    /// The drainer leaves, having looked under this lock that there is nothing to tell, but what is `held` for the lease.
    pub(crate) fn leave(&mut self, held: bool) {
        self.scheduled = false;
        self.held = held;
    }

    /// Whether events wait for the lease.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether nobody drains it, nor is to.
    pub(crate) fn is_idle(&self) -> bool {
        !self.scheduled && !self.held
    }
}
