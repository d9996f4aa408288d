//! The fence of a target (F8): whether its messages may be delivered, looked at before each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock;

/// Whether messages may be delivered (F8).
pub(crate) struct Fence {
    /// The lease of the source's incarnation; `None` on the source side, which needs none.
    lease: Option<Arc<AtomicU64>>,
    revoked: AtomicBool,
    /// Grows whenever the engine voids the messages that it has given out.
    cuts: AtomicU64,
}

impl Fence {
    pub(crate) fn new(lease: Option<Arc<AtomicU64>>) -> Fence {
        Fence { lease, revoked: AtomicBool::new(false), cuts: AtomicU64::new(0) }
    }

    /// How often messages were voided so far.
    pub(crate) fn cut(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }

    /// Whether the lease, if one is needed, still runs.
    pub(crate) fn leased(&self) -> bool {
        self.lease.as_ref().is_none_or(|until| clock::now().0 < until.load(Ordering::Acquire))
    }

    /// Deliver nothing more, for good.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    /// Voids the messages that the engine has given out so far.
    pub(crate) fn void(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

/// Under which condition messages may be delivered now.
#[derive(Clone, Copy)]
pub(crate) enum Delivery {
    /// No lease is needed.
    Free,
    /// While the lease runs.
    Leased,
    /// The lease has run out.
    Held,
    /// Never again: they are dropped.
    Over,
}
