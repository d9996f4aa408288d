//! The queue of one callback thread.

use std::collections::VecDeque;

use crate::sync::{Condvar, Mutex};

/// What a thread has still to do, in order. Bounded by its feeders: a port is in it at most once; connect requests, cluster events and
/// clients are counted where they arise.
pub(crate) struct Jobs<J> {
    state: Mutex<State<J>>,
    some: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    /// The thread waits, and nobody has woken it yet.
    asleep: bool,
}

impl<J> Jobs<J> {
    pub(crate) fn new() -> Jobs<J> {
        let state = State { jobs: VecDeque::new(), asleep: false };
        Jobs { state: Mutex::new(state), some: Condvar::new() }
    }

    pub(crate) fn push(&self, job: J) {
        let wake = {
            let mut state = self.state.lock();
            state.jobs.push_back(job);
            std::mem::replace(&mut state.asleep, false)
        };
        if wake {
            self.some.notify_one();
        }
    }

    /// The next job, for the one thread that takes them. Waits for it.
    pub(crate) fn pop(&self) -> J {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return job;
            }
            state.asleep = true;
            self.some.wait(&mut state);
        }
    }
}
