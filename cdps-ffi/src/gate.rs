//! Holds back the callbacks of an object until the call that makes it has stored its handle.

use std::sync::OnceLock;

/// Opens once.
#[derive(Debug)]
pub(crate) struct Gate(OnceLock<()>);

impl Gate {
    pub(crate) fn shut() -> Gate {
        Gate(OnceLock::new())
    }

    /// For objects whose handle is known to the user from the start.
    pub(crate) fn opened() -> Gate {
        let gate = Gate::shut();
        gate.open();
        gate
    }

    pub(crate) fn open(&self) {
        // Opening it twice is the same as once.
        let _ = self.0.set(());
    }

    /// Waits, at most for the rest of a call that is under way on another thread.
    pub(crate) fn pass(&self) {
        if self.0.get().is_none() {
            self.0.wait();
        }
    }
}
