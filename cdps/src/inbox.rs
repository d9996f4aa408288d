//! What waits for the user's own event loop (U4): a queue with a descriptor that is readable while something is in it, and one user at a
//! time who takes things out.
//!
//! The descriptor is set when the first thing comes while nobody is dispatching, and cleared when a dispatcher leaves an empty queue: what
//! comes while one is at work costs no system call, and is no wake-up lost, for who leaves looks under the lock. `tests/loom` holds this file
//! to that.

use std::collections::VecDeque;
use std::time::Instant;

use crate::sync::{Condvar, Mutex, MutexGuard, Signal, passed};

/// See the module. Bounded by its feeders, as [`crate::jobs`].
pub(crate) struct Inbox<J> {
    state: Mutex<State<J>>,
    signal: Signal,
    /// Tells the dispatcher that there is something.
    some: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    at: At,
    /// The descriptor is readable.
    raised: bool,
    /// The last job has been taken.
    closed: bool,
}

/// Where the dispatcher is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// There is none.
    Away,
    /// Looks, before it leaves, whether there is more.
    Work,
    /// Waits to be told.
    Rest,
}

/// Why somebody cannot dispatch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Somebody else does.
    Busy,
    /// There is nothing any more.
    Closed,
}

/// The right to take things out, until it is dropped.
pub(crate) struct Turn<'a, J>(&'a Inbox<J>);

impl<J> Inbox<J> {
    pub(crate) fn new(signal: Signal) -> Inbox<J> {
        let state = State { jobs: VecDeque::new(), at: At::Away, raised: false, closed: false };
        Inbox { state: Mutex::new(state), signal, some: Condvar::new() }
    }

    /// What the user polls for reading.
    pub(crate) fn signal(&self) -> &Signal {
        &self.signal
    }

    pub(crate) fn push(&self, job: J) {
        let mut state = self.state.lock();
        state.jobs.push_back(job);
        match state.at {
            At::Away => self.raise(&mut state),
            At::Work => {}
            At::Rest => {
                state.at = At::Work;
                drop(state);
                self.some.notify_one();
            }
        }
    }

    pub(crate) fn enter(&self) -> Result<Turn<'_, J>, Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.at != At::Away {
            return Err(Refused::Busy);
        }
        state.at = At::Work;
        Ok(Turn(self))
    }

    // The descriptor changes under the lock, so that nobody finds it otherwise than `raised` says.

    fn raise(&self, state: &mut MutexGuard<'_, State<J>>) {
        if !std::mem::replace(&mut state.raised, true) {
            self.signal.set();
        }
    }

    fn lower(&self, state: &mut MutexGuard<'_, State<J>>) {
        if std::mem::replace(&mut state.raised, false) {
            self.signal.clear();
        }
    }
}

impl<J> Turn<'_, J> {
    /// How much there is now.
    pub(crate) fn len(&self) -> usize {
        self.0.state.lock().jobs.len()
    }

    pub(crate) fn take(&self) -> Option<J> {
        self.0.state.lock().jobs.pop_front()
    }

    /// Puts what is not done behind the others.
    pub(crate) fn put_back(&self, job: J) {
        self.0.state.lock().jobs.push_back(job);
    }

    /// Waits until there is something. False: the time is up.
    pub(crate) fn wait(&self, until: Option<Instant>) -> bool {
        let mut state = self.0.state.lock();
        while state.jobs.is_empty() {
            if until.is_some_and(passed) {
                state.at = At::Work;
                return false;
            }
            state.at = At::Rest;
            match until {
                Some(at) => {
                    self.0.some.wait_until(&mut state, at);
                }
                None => self.0.some.wait(&mut state),
            }
        }
        state.at = At::Work;
        true
    }

    /// There will be nothing any more, and nobody gets another turn.
    pub(crate) fn close(&self) {
        self.0.state.lock().closed = true;
    }
}

impl<J> Drop for Turn<'_, J> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.at = At::Away;
        if state.closed || state.jobs.is_empty() {
            self.0.lower(&mut state);
        } else {
            self.0.raise(&mut state);
        }
    }
}
