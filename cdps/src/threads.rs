//! The library's threads (U5): few, named, with signals blocked.
//!
//! I/O threads run one single-threaded runtime each; whatever lives on one stays there. Callback threads, if the node has any, run what the
//! user gave us, and nothing else.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::callbacks::{self, Job};
use crate::jobs::Jobs;
use crate::timer;

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
    static IO_THREAD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The index of this I/O thread, if it is one.
pub(crate) fn io_thread() -> Option<usize> {
    IO_THREAD.get()
}

/// Whether this thread is inside a callback.
pub(crate) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Marks the time during which this thread runs code of the user.
pub(crate) struct CallbackScope(bool);

impl CallbackScope {
    pub(crate) fn enter() -> CallbackScope {
        CallbackScope(IN_CALLBACK.replace(true))
    }
}

impl Drop for CallbackScope {
    fn drop(&mut self) {
        IN_CALLBACK.set(self.0);
    }
}

/// Starts a thread with every signal blocked but those that a fault of its own raises, and those that would hide a fault or break a
/// profiler if they were blocked. The caller's mask is restored.
fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let former = block_signals();
    let thread = std::thread::Builder::new().name(name).spawn(body);
    restore_signals(&former);
    thread
}

fn block_signals() -> libc::sigset_t {
    const LEFT: [libc::c_int; 8] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
        libc::SIGPROF,
    ];
    // SAFETY: both sets are plain memory that the calls below fill in; none of the calls can fail with these arguments.
    unsafe {
        let mut block: libc::sigset_t = std::mem::zeroed();
        let mut former: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut block);
        for signal in LEFT {
            libc::sigdelset(&mut block, signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &block, &mut former);
        former
    }
}

fn restore_signals(former: &libc::sigset_t) {
    // SAFETY: `former` was filled in by `block_signals`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, former, std::ptr::null_mut()) };
}

/// What a thread does last.
pub(crate) type Last = Box<dyn FnOnce() + Send>;

/// A thread with a runtime. Stops when [`IoThread::stop`] or [`IoThread::end_with`] is called or it is dropped.
pub(crate) struct IoThread {
    handle: Handle,
    stop: Option<oneshot::Sender<Last>>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    pub(crate) fn start(index: usize) -> io::Result<IoThread> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let timers = timer::open()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<Last>();
        let thread = spawn(format!("cdps-io-{index}"), move || {
            IO_THREAD.set(Some(index));
            let last = runtime.block_on(async {
                tokio::select! {
                    last = stopped => last.ok(),
                    // It ends only if its descriptor cannot be used, and without it nothing works: the peers see this node go.
                    _ = timer::serve(timers) => None,
                }
            });
            drop(runtime);
            last.into_iter().for_each(guarded);
        })?;
        Ok(IoThread { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread and every task on it, and waits for that. Not to be called on the thread itself.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    /// Ends the thread, from one of its tasks: when they are all dropped it does `last`.
    pub(crate) fn end_with(mut self, last: Last) -> Option<JoinHandle<()>> {
        // Fails if it has ended by itself, which a task of it would not see.
        let _ = self.stop.take().map(|stop| stop.send(last));
        self.thread.take()
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of a task was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs code of the user. A panic in it ends there: the hook has reported it, and the thread is needed by others.
pub(crate) fn guarded(call: impl FnOnce()) {
    let _scope = CallbackScope::enter();
    let _ = catch_unwind(AssertUnwindSafe(call));
}

/// A thread that runs callbacks, and nothing else. It ends after a [`Job::Last`].
pub(crate) struct CallbackThread {
    pub(crate) queue: Arc<Jobs<Job>>,
    pub(crate) thread: JoinHandle<()>,
}

impl CallbackThread {
    pub(crate) fn start(index: usize) -> io::Result<CallbackThread> {
        let queue = Arc::new(Jobs::new());
        let thread = spawn(format!("cdps-cb-{index}"), {
            let queue = Arc::clone(&queue);
            move || callbacks::run_all(&queue)
        })?;
        Ok(CallbackThread { queue, thread })
    }

    /// Ends the thread after what is in its queue, and waits for that. Not to be called on the thread itself.
    pub(crate) fn stop(self) {
        self.queue.push(Job::Last(Box::new(|| ())));
        // A panic of a callback was reported when it happened.
        let _ = self.thread.join();
    }
}
