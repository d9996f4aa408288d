//! Timers of the engines: one descriptor per I/O thread, on the clock that the engines live by.
//!
//! The runtime's own timers wake the thread several times on the way to a far deadline, and stand still while the machine sleeps. They
//! serve for handshakes; here an idle thread wakes when something is due, and not before.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use cdps_core::time::Time;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock;

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
}

/// What sleeps on this thread.
#[derive(Default)]
struct Timers {
    fd: Option<OwnedFd>,
    sleeping: BTreeMap<(Time, u64), Waker>,
    /// When the descriptor becomes readable.
    armed: Option<Time>,
    last: u64,
}

/// Opens the descriptor of a thread's timers.
pub(crate) fn open() -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed; the descriptor that comes back is owned by nobody else.
    unsafe {
        let fd = libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Wakes what is due on this thread, for as long as it runs.
pub(crate) async fn serve(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: an `OwnedFd` stays the same open descriptor until it is dropped.
    let readable = unsafe { AsyncFd::register_with_interest(fd.try_clone()?, Interest::READABLE)? };
    TIMERS.with_borrow_mut(|timers| {
        timers.fd = Some(fd);
        timers.arm();
    });
    loop {
        let mut ready = readable.readable().await?;
        let mut count = [0u8; 8];
        // SAFETY: reads at most eight bytes into as many.
        unsafe { libc::read(readable.get_ref().as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        // Whatever was there has been read, and what comes later is announced anew.
        ready.clear_ready();
        let now = clock::now();
        let due = TIMERS.with_borrow_mut(|timers| timers.take_due(now));
        due.into_iter().for_each(Waker::wake);
    }
}

impl Timers {
    fn take_due(&mut self, now: Time) -> Vec<Waker> {
        let later = self.sleeping.split_off(&(Time(now.0 + 1), 0));
        let due = std::mem::replace(&mut self.sleeping, later);
        self.armed = None;
        self.arm();
        due.into_values().collect()
    }

    /// Sets the descriptor to the first deadline, if that is another.
    fn arm(&mut self) {
        let first = self.sleeping.first_key_value().map(|(key, _)| key.0);
        let Some(fd) = &self.fd else { return };
        if first == self.armed {
            return;
        }
        self.armed = first;
        let at = first.map_or(0, |at| at.0.max(1));
        let value =
            libc::timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as i64 };
        let set = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: the descriptor is open and a timer; `set` is only read. It cannot fail with these arguments.
        unsafe {
            libc::timerfd_settime(fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &set, std::ptr::null_mut());
        }
    }
}

/// Sleeps until a moment of the engines' clock. For tasks of I/O threads.
pub(crate) struct Sleep {
    at: Time,
    key: Option<u64>,
}

impl Sleep {
    pub(crate) fn until(at: Time) -> Sleep {
        Sleep { at, key: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.at == Time::NEVER {
            return Poll::Pending;
        }
        if clock::now() >= self.at {
            return Poll::Ready(());
        }
        TIMERS.with_borrow_mut(|timers| {
            let key = self.key.unwrap_or_else(|| {
                timers.last += 1;
                timers.last
            });
            self.key = Some(key);
            timers.sleeping.insert((self.at, key), context.waker().clone());
            timers.arm();
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        // The thread may be ending: then there are no timers any more. A descriptor that is set too early does no harm, and costs less
        // than setting it anew each time.
        let _ = TIMERS.try_with(|timers| {
            if let Ok(mut timers) = timers.try_borrow_mut() {
                timers.sleeping.remove(&(self.at, key));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// [T5] Sleepers wake at their time and in its order, also when an earlier one comes later, and one that is dropped is forgotten.
    #[test]
    fn sleepers_wake_in_order() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("runtime");
        let start = clock::now();
        let order = std::rc::Rc::new(RefCell::new(Vec::new()));
        let tasks = tokio::task::LocalSet::new();
        let serving = tasks.spawn_local(serve(open().expect("a timer")));
        let sleeper = |ms: u64| {
            let order = order.clone();
            async move {
                let at = start + Duration::from_millis(ms);
                Sleep::until(at).await;
                assert!(clock::now() >= at);
                order.borrow_mut().push(ms);
            }
        };
        tasks.block_on(&runtime, async {
            let late = tasks.spawn_local(sleeper(600));
            let early = tasks.spawn_local(sleeper(300));
            let dropped = tasks.spawn_local(sleeper(450));
            let past = tasks.spawn_local(sleeper(0));
            let never = tasks.spawn_local(Sleep::until(Time::NEVER));
            tokio::task::yield_now().await;
            dropped.abort();
            for task in [late, early, past] {
                task.await.expect("wakes");
            }
            assert!(!never.is_finished() && !serving.is_finished());
        });
        assert_eq!(*order.borrow(), [0, 300, 600]);
    }
}
