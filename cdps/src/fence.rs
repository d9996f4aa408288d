//! The fence of a target (F8): whether its messages may be delivered, looked at before each of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock;

/// A look at the lease that found it running for longer than the look is relied on: the processor's counter at that time.
#[derive(Default)]
pub(crate) struct Glance(Option<u64>);

/// How long a look is relied on. At the slowest rate of the counter it is a millisecond, usually some ten microseconds.
const GLANCE_COUNTS: u64 = 100_000;
const GLANCE_NS: u64 = 1_000_000;

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

    /// As [`Fence::leased`], for one message after the other: the time is not asked for each if the lease runs a while longer.
    pub(crate) fn leased_still(&self, glance: &mut Glance) -> bool {
        let Some(lease) = &self.lease else { return true };
        let counter = clock::counter();
        if let (Some(seen), Some(counter)) = (glance.0, counter)
            && counter.wrapping_sub(seen) < GLANCE_COUNTS
        {
            return true;
        }
        let (now, until) = (clock::now().0, lease.load(Ordering::Acquire));
        glance.0 = if now + GLANCE_NS < until { counter } else { None };
        now < until
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

#[cfg(test)]
mod tests {
    use super::*;

    /// [F8] A lease that ran out, or was taken away, is noticed from message to message, wherever the time comes from.
    #[test]
    fn glances_end_with_the_lease() {
        let lease = Arc::new(AtomicU64::new(0));
        let fence = Fence::new(Some(Arc::clone(&lease)));
        let mut glance = Glance::default();
        assert!(!fence.leased_still(&mut glance));
        // Too short to rely on: looked at each time.
        lease.store(clock::now().0 + GLANCE_NS, Ordering::Release);
        while fence.leased_still(&mut glance) {
            assert!(glance.0.is_none() && fence.lease.is_some());
        }
        assert!(!fence.leased());
        lease.store(clock::now().0 + 50 * GLANCE_NS, Ordering::Release);
        assert!(fence.leased_still(&mut glance));
        assert_eq!(glance.0.is_some(), clock::counter().is_some());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!fence.leased_still(&mut glance), "a look does not outlast the lease");
    }
}
