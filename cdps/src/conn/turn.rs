//! Whose turn it is to write on a connection.
//!
//! Any thread may: the one that kicks it, or the connection's task. No kick is forgotten: a kick first marks that there is work, then tries
//! the lock; who holds the lock looks at the mark again after letting go, and goes on, or wakes the task, if there is work. `tests/loom`
//! holds this file to that.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, fence};

/// What a kicker does: it writes a batch, and finds that there is no other. If there is, it writes that, and leaves the rest to the task.
const KICK: usize = 2;

/// The right to write, and what is written with it.
pub(crate) struct Turn<W> {
    /// Somebody asked for writing, and nobody has looked since.
    work: AtomicBool,
    /// The socket is full: the task waits until it is not.
    blocked: AtomicBool,
    writer: Mutex<W>,
}

/// How far who had the turn came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing left to write.
    Idle,
    /// There is more.
    More,
    /// The socket is full: its task waits until it takes more.
    Full,
    /// The connection is broken or over.
    Over,
}

impl<W> Turn<W> {
    pub(crate) fn new(writer: W) -> Turn<W> {
        Turn { work: AtomicBool::new(false), blocked: AtomicBool::new(false), writer: Mutex::new(writer) }
    }

    /// There is something to write, and what that is can be found already. If the connection is `quiet` this thread takes a `step` or two;
    /// else, or if there is more, it leaves the rest to the task.
    #[inline]
    pub(crate) fn kick<'a>(
        &'a self,
        quiet: impl FnOnce() -> bool,
        mut step: impl FnMut(MutexGuard<'a, W>) -> Step,
        wake_task: impl FnOnce(),
    ) {
        if self.work.swap(true, Ordering::SeqCst) || self.blocked.load(Ordering::SeqCst) {
            // Somebody is on the way already, or the task will be as soon as the socket takes more.
            return;
        }
        if quiet() {
            for _ in 0..KICK {
                // If somebody else holds it, he sees the mark.
                let Some(guard) = self.take() else { return };
                match step(guard) {
                    Step::Idle => return,
                    Step::More => {}
                    Step::Full | Step::Over => break,
                }
            }
        }
        wake_task();
    }

    /// The turn, if nobody has it. Who does not get it need not come back: whoever has it looks at the mark when he lets go.
    #[inline]
    pub(crate) fn take(&self) -> Option<MutexGuard<'_, W>> {
        // Orders the mark that brought the caller here before the look at the lock, as the holder's orders letting go before the look at the
        // mark.
        fence(Ordering::SeqCst);
        self.peek()
    }

    /// Who has the turn is about to look for what there is to write. Takes the mark rather than to overwrite it, so that what was there to be
    /// written when it was set is seen.
    #[inline]
    pub(crate) fn look(&self) {
        self.work.swap(false, Ordering::SeqCst);
    }

    /// Ends a turn that came so far. To be followed by [`Turn::settle`].
    #[inline]
    pub(crate) fn let_go(&self, guard: MutexGuard<'_, W>, step: Step) {
        // Also cleared here: who kicked may have found the socket full, and the task not any more.
        self.blocked.store(step == Step::Full, Ordering::SeqCst);
        drop(guard);
        fence(Ordering::SeqCst);
    }

    /// Whether there is more to do after all.
    #[inline]
    pub(crate) fn settle(&self, step: Step) -> Step {
        if step == Step::Idle && self.work.load(Ordering::SeqCst) { Step::More } else { step }
    }

    /// The task has found the socket full, and now it took what there was.
    pub(crate) fn unblock(&self) {
        self.blocked.store(false, Ordering::SeqCst);
    }

    /// The turn, for what is no step: the rest of a batch, or the end.
    pub(crate) fn wait(&self) -> MutexGuard<'_, W> {
        self.writer.lock()
    }

    /// The writer, if nobody has the turn just now.
    #[inline]
    pub(crate) fn peek(&self) -> Option<MutexGuard<'_, W>> {
        self.writer.try_lock()
    }
}
