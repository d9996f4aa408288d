//! Where callbacks run (U4): on threads of their own, on the I/O threads, or where the user dispatches them. Whatever the node's choice, what
//! is to be told goes through a queue and is told by [`run`], never inside the call that brought it about.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::clock;
use crate::dispatch;
use crate::error::{DispatchError, WaitError};
use crate::inbox::{Inbox, Refused, Turn};
use crate::jobs::Jobs;
use crate::shared::PortShared;
use crate::threads::{self, guarded};

/// Where the callbacks of a node, its clients and its ports run (U4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callbacks {
    /// On so many threads of the library, 1 to 64, which do nothing else. A port keeps to one of them.
    Threads(usize),
    /// On the node's I/O threads, between two reads: a message is told without waking another thread. While a callback runs, nothing else
    /// does on its thread: no reading, no receipts, no heartbeats. One that takes longer than a heartbeat makes this node look bad to its
    /// peers, and one that does not return makes it look dead.
    Inline,
    /// Where the user calls [`crate::Node::dispatch`], and nowhere else. The node works on without that: it keeps its links, receives as
    /// far as the window goes, sends what was given to it. But nothing is told, and what is destroyed does not end.
    Dispatch,
}

/// Something to be done where callbacks run.
pub(crate) enum Job {
    /// Deliver events of a port.
    Port(Arc<PortShared>),
    /// Anything else: a connect request, a cluster event, a final callback.
    Call(Box<dyn FnOnce() + Send>),
    /// As `Call`, and nothing comes after it.
    Last(Box<dyn FnOnce() + Send>),
}

/// The queues of a node.
pub(crate) enum Queues {
    /// Of the callback threads.
    Threads(Vec<Arc<Jobs<Job>>>),
    /// Of a task on each I/O thread.
    Tasks(Vec<UnboundedSender<Job>>),
    /// Of the user.
    Own(Own),
}

/// What waits for the user to dispatch it.
pub(crate) struct Own {
    inbox: Inbox<Job>,
    /// Who dispatched last.
    dispatcher: Mutex<Option<ThreadId>>,
}

/// Does a job, up to `max` events of it. Gives how many there were, and the job if it is not done; others have their turn first.
fn run(job: Job, max: usize) -> (usize, Option<Job>) {
    match job {
        Job::Port(port) => {
            let drained = dispatch::drain(&port, max);
            (drained.told, drained.more.then_some(Job::Port(port)))
        }
        Job::Call(call) | Job::Last(call) => {
            guarded(call);
            (1, None)
        }
    }
}

/// What a callback thread does.
pub(crate) fn run_all(jobs: &Jobs<Job>) {
    let mut over = false;
    while !over {
        let job = jobs.pop();
        over = matches!(job, Job::Last(_));
        run(job, usize::MAX).1.into_iter().for_each(|job| jobs.push(job));
    }
}

/// What an I/O thread does besides its own work, as long as it runs.
pub(crate) async fn serve(mut jobs: UnboundedReceiver<Job>, again: UnboundedSender<Job>) {
    while let Some(job) = jobs.recv().await {
        if let (_, Some(job)) = run(job, usize::MAX) {
            // Cannot fail: this is the receiver.
            let _ = again.send(job);
            // Reading and heartbeats have their turn as well.
            tokio::task::yield_now().await;
        }
    }
}

impl Queues {
    /// Has a job done where the callbacks of the port or client of this number run.
    pub(crate) fn push(&self, number: u64, job: Job) {
        match self {
            Queues::Threads(queues) => queues[number as usize % queues.len()].push(job),
            Queues::Tasks(queues) => {
                // Fails once the I/O threads have ended: then everything has been told.
                let _ = queues[number as usize % queues.len()].send(job);
            }
            Queues::Own(own) => own.inbox.push(job),
        }
    }

    /// Whether this thread runs callbacks itself, as soon as it is done with what it does.
    pub(crate) fn are_next_here(&self) -> bool {
        matches!(self, Queues::Tasks(_)) && threads::io_thread().is_some()
    }

    /// Whether a call that waits on this thread may be waiting for something that only this thread would do.
    pub(crate) fn rely_on_this_thread(&self) -> bool {
        match self {
            Queues::Threads(_) | Queues::Tasks(_) => false,
            Queues::Own(own) => own.rely_on_this_thread(),
        }
    }
}

impl Own {
    pub(crate) fn new(inbox: Inbox<Job>) -> Own {
        Own { inbox, dispatcher: Mutex::new(None) }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.inbox.signal().as_fd()
    }

    /// One turn of everything that waits, up to `max` events. If that was nothing it waits for something.
    pub(crate) fn dispatch(&self, max: usize, timeout: Duration) -> Result<usize, DispatchError> {
        let until = clock::deadline(timeout);
        let turn = self.inbox.enter().map_err(|refused| match refused {
            Refused::Busy => DispatchError::Busy,
            Refused::Closed => DispatchError::Closed,
        })?;
        loop {
            let told = self.turn(&turn, max, || false).ok_or(DispatchError::Closed)?;
            if told > 0 || !turn.wait(until) {
                return Ok(told);
            }
        }
    }

    /// Dispatches until something has come about, if this is the thread to do it. If another one is, there is nothing but to wait for that:
    /// callbacks are to run nowhere else.
    pub(crate) fn dispatch_until(
        &self,
        until: Option<Instant>,
        done: impl Fn() -> bool,
    ) -> Result<(), WaitError> {
        if !self.rely_on_this_thread() {
            return Ok(());
        }
        let Ok(turn) = self.inbox.enter() else { return Ok(()) };
        while !done() {
            if self.turn(&turn, usize::MAX, &done).is_none() {
                return Ok(());
            }
            if !done() && !turn.wait(until) {
                return Err(WaitError::TimedOut);
            }
        }
        Ok(())
    }

    fn rely_on_this_thread(&self) -> bool {
        self.dispatcher.lock().is_none_or(|last| last == std::thread::current().id())
    }

    /// Does what waits now, up to `max` events or until it is `enough`. `None`: that was the last.
    fn turn(&self, turn: &Turn<'_, Job>, max: usize, enough: impl Fn() -> bool) -> Option<usize> {
        *self.dispatcher.lock() = Some(std::thread::current().id());
        let mut told = 0;
        for _ in 0..turn.len() {
            if told >= max || enough() {
                break;
            }
            let Some(job) = turn.take() else { break };
            if matches!(job, Job::Last(_)) {
                run(job, max);
                turn.close();
                return None;
            }
            let (count, again) = run(job, max - told);
            told += count;
            again.into_iter().for_each(|job| turn.put_back(job));
        }
        Some(told)
    }
}
