//! Telling events: one drainer at a time, and no event is forgotten.

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

use crate::explore;
use crate::inbox::{Inbox, Refused};
use crate::jobs::Jobs;
use crate::schedule::Schedule;
use crate::sync::{Ordering, Signal};

enum Job {
    Port,
    Last,
}

/// Where it is drained.
enum Queue {
    /// On a callback thread.
    Thread(Jobs<Job>),
    /// In the user's own loop.
    Own(Inbox<Job>),
}

#[derive(Clone, Copy)]
enum Mode {
    Thread,
    /// The user polls the descriptor, and never waits in a call.
    Polled,
    /// The user waits in the call.
    Waited,
    /// The user waits in the first call, and then polls.
    Mixed,
}

impl Queue {
    fn new(mode: Mode) -> Queue {
        match mode {
            Mode::Thread => Queue::Thread(Jobs::new()),
            Mode::Polled | Mode::Waited | Mode::Mixed => Queue::Own(Inbox::new(Signal::default())),
        }
    }

    fn push(&self, job: Job) {
        match self {
            Queue::Thread(jobs) => jobs.push(job),
            Queue::Own(inbox) => inbox.push(job),
        }
    }
}

/// A port, as far as its dispatcher knows it.
struct Port {
    state: Mutex<State>,
    jobs: Queue,
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
    fn new(mode: Mode, awaited: u32, leased: bool) -> Arc<Port> {
        Arc::new(Port {
            state: Mutex::new(State::default()),
            jobs: Queue::new(mode),
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

    /// The callback thread, or the user's loop.
    fn run(&self, mode: Mode) {
        match &self.jobs {
            Queue::Thread(jobs) => {
                while let Job::Port = jobs.pop() {
                    while self.round() {}
                }
            }
            Queue::Own(inbox) => {
                let mut polls = matches!(mode, Mode::Polled);
                while self.dispatch(inbox, polls) {
                    polls |= matches!(mode, Mode::Mixed);
                }
            }
        }
    }

    /// One call of the user, after a poll or with a wait in it, and one round in it: what is left has to bring it back. False: it was the last.
    fn dispatch(&self, inbox: &Inbox<Job>, polls: bool) -> bool {
        if polls {
            inbox.signal().poll();
        }
        let turn = inbox.enter().expect("there is nobody else");
        if !polls {
            assert!(turn.wait(None));
        }
        match turn.take().expect("it was readable, or waited for") {
            Job::Port => {
                if self.round() {
                    turn.put_back(Job::Port);
                }
                true
            }
            Job::Last => {
                turn.close();
                false
            }
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

fn with_drainer(port: &Arc<Port>, mode: Mode, others: impl FnOnce()) {
    let drainer = {
        let port = Arc::clone(port);
        thread::spawn(move || port.run(mode))
    };
    others();
    // If nobody is on the way to tell the rest, this is for ever, and loom says so.
    while !port.done.load(Ordering::Acquire) {
        port.all_told.wait();
    }
    port.jobs.push(Job::Last);
    drainer.join().expect("the drainer ends");
    match &port.jobs {
        Queue::Thread(_) => assert!(port.state.lock().expect("a good lock").schedule.is_idle()),
        Queue::Own(inbox) => {
            assert!(!inbox.signal().is_set(), "whoever polls it would spin");
            assert!(matches!(inbox.enter(), Err(Refused::Closed)));
        }
    }
}

/// [U4] Two threads bring events, or just wake it, while the callback thread tells them, goes to sleep, wakes.
#[test]
fn events_from_two_threads() {
    events(Mode::Thread);
}

/// [U4] The same where the user's loop polls the descriptor: it is readable whenever there is something to tell.
#[test]
fn events_for_a_loop_that_polls() {
    events(Mode::Polled);
}

/// [U4] The same where the user waits in the call.
#[test]
fn events_for_a_loop_that_waits() {
    events(Mode::Waited);
}

/// [U4] The same where it waits in the call first, leaves something behind, and then polls: what it left has made the descriptor readable.
#[test]
fn events_for_a_loop_that_waits_and_polls() {
    events(Mode::Mixed);
}

fn events(mode: Mode) {
    explore(3, move || {
        let port = Port::new(mode, 2, true);
        with_drainer(&port, mode, || {
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
    renewed(Mode::Thread);
}

/// [U4] [F8] The same in the user's loop.
#[test]
fn a_lease_that_is_renewed_for_a_loop() {
    renewed(Mode::Polled);
}

fn renewed(mode: Mode) {
    explore(3, move || {
        let port = Port::new(mode, 2, false);
        with_drainer(&port, mode, || {
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
