//! Telling events: one drainer at a time, and no event is forgotten.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

use crate::explore;
use crate::jobs::Jobs;
use crate::schedule::Schedule;
use crate::sync::Ordering;

enum Job {
    Port,
    Last,
}

/// A port, as far as its dispatcher knows it.
struct Port {
    state: Mutex<State>,
    jobs: Jobs<Job>,
    leased: AtomicBool,
    /// Events that the user has been told of. Touched in callbacks alone: loom sees if two run at once.
    told: UnsafeCell<u32>,
    awaited: u32,
    done: AtomicBool,
    all_told: Notify,
}

#[derive(Default)]
struct State {
    /// Events that wait.
    events: u32,
    schedule: Schedule,
    /// It is in the queue, or being drained.
    busy: bool,
}

impl Port {
    fn new(awaited: u32, leased: bool) -> Arc<Port> {
        Arc::new(Port {
            state: Mutex::new(State::default()),
            jobs: Jobs::new(),
            leased: AtomicBool::new(leased),
            told: UnsafeCell::new(0),
            awaited,
            done: AtomicBool::new(false),
            all_told: Notify::new(),
        })
    }

    /// Does something under the port's lock, which says whether it is to be scheduled.
    fn with(&self, f: impl FnOnce(&mut State) -> bool) {
        let mut state = self.state.lock().expect("a good lock");
        let schedule = f(&mut state);
        if schedule {
            assert!(!std::mem::replace(&mut state.busy, true), "scheduled twice");
        }
        drop(state);
        if schedule {
            self.jobs.push(Job::Port);
        }
    }

    /// An engine call brings an event.
    fn event(&self) {
        self.with(|state| {
            state.events += 1;
            state.schedule.changed(|| true, || true)
        });
    }

    /// Something is to be told that is no event, as lent memory that came home.
    fn wake(&self) {
        self.with(|state| state.schedule.claim());
    }

    fn renew(&self) {
        self.leased.store(true, Ordering::Release);
        self.with(|state| state.schedule.renewed());
    }

    /// The callback thread.
    fn run(&self) {
        while let Job::Port = self.jobs.pop() {
            while self.round() {}
        }
    }

    /// As the driver's: takes what may be told, or leaves.
    fn round(&self) -> bool {
        let taken = {
            let mut state = self.state.lock().expect("a good lock");
            let leased = self.leased.load(Ordering::Acquire);
            let taken = if leased { std::mem::take(&mut state.events) } else { 0 };
            state.schedule.enter();
            if taken == 0 {
                state.busy = false;
                state.schedule.leave(!leased);
            }
            taken
        };
        if taken > 0 {
            // SAFETY: loom looks that nobody else has it at the same time.
            let told = self.told.with_mut(|told| unsafe {
                *told += taken;
                *told
            });
            if told == self.awaited {
                self.done.store(true, Ordering::Release);
                self.all_told.notify();
            }
        }
        taken > 0
    }
}

fn with_drainer(port: &Arc<Port>, others: impl FnOnce()) {
    let drainer = {
        let port = Arc::clone(port);
        thread::spawn(move || port.run())
    };
    others();
    // If nobody is on the way to tell the rest, this is for ever, and loom says so.
    while !port.done.load(Ordering::Acquire) {
        port.all_told.wait();
    }
    port.jobs.push(Job::Last);
    drainer.join().expect("the drainer ends");
    assert!(port.state.lock().expect("a good lock").schedule.is_idle());
}

/// [U4] Two threads bring events, or just wake it, while the callback thread tells them, goes to sleep, wakes.
#[test]
fn events_from_two_threads() {
    explore(3, || {
        let port = Port::new(2, true);
        with_drainer(&port, || {
            let other = {
                let port = Arc::clone(&port);
                thread::spawn(move || {
                    port.event();
                    port.wake();
                })
            };
            port.event();
            other.join().expect("the other is done");
        });
    });
}

/// [U4] [F8] Events that wait for the lease are told when it is renewed, also if that happens while they are being looked at.
#[test]
fn a_lease_that_is_renewed() {
    explore(3, || {
        let port = Port::new(2, false);
        with_drainer(&port, || {
            let other = {
                let port = Arc::clone(&port);
                thread::spawn(move || port.renew())
            };
            port.event();
            port.event();
            other.join().expect("the other is done");
        });
    });
}
