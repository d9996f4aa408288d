//! What the small protocols between threads are made of ([`crate::conn`]'s `turn`, [`crate::jobs`], [`crate::inbox`]). Their model tests put
//! loom's in its place (`tests/loom`).

pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

pub(crate) use crate::clock::passed;
pub(crate) use crate::signal::Signal;
