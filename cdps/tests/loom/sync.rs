//! What `cdps/src/sync.rs` has, made of loom's parts.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};

/// As parking_lot's: who tries it may look at it as it was a while ago, unless something orders that look. Loom's own is always up to date.
pub(crate) struct Mutex<T> {
    locked: AtomicBool,
    inner: loom::sync::Mutex<T>,
}

/// Empty only while a condition variable has it.
pub(crate) struct MutexGuard<'a, T> {
    locked: &'a AtomicBool,
    inner: Option<loom::sync::MutexGuard<'a, T>>,
}

pub(crate) struct Condvar(loom::sync::Condvar);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex { locked: AtomicBool::new(false), inner: loom::sync::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.hold(self.inner.lock().expect("no holder panicked"))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.locked.load(Ordering::Relaxed) {
            return None;
        }
        self.inner.try_lock().ok().map(|inner| self.hold(inner))
    }

    fn hold<'a>(&'a self, inner: loom::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.locked.store(true, Ordering::Relaxed);
        MutexGuard { locked: &self.locked, inner: Some(inner) }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.locked.store(false, Ordering::Release);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("it is held")
    }
}

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(loom::sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard.inner.take().expect("it is held");
        guard.inner = Some(self.0.wait(inner).expect("no holder panicked"));
    }

    /// Nobody waits for a time here.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) {
        self.wait(guard);
    }
}
/// Whether a moment has passed: what is asked about here lies behind.
pub(crate) fn passed(_: Instant) -> bool {
    true
}

/// A descriptor that can be polled.
#[derive(Default)]
pub(crate) struct Signal {
    set: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Signal {
    pub(crate) fn set(&self) {
        assert!(!std::mem::replace(&mut *self.set.lock().expect("a good lock"), true), "set twice");
        self.changed.notify_one();
    }

    pub(crate) fn clear(&self) {
        assert!(std::mem::replace(&mut *self.set.lock().expect("a good lock"), false), "cleared twice");
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().expect("a good lock")
    }

    /// The user's poll.
    pub(crate) fn poll(&self) {
        let mut set = self.set.lock().expect("a good lock");
        while !*set {
            set = self.changed.wait(set).expect("a good lock");
        }
    }
}
