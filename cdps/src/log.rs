//! Log lines, through a sink of the user's (U2). Never written while a lock is held, and never to standard output.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cdps_core::time::Time;

use crate::threads::CallbackScope;

/// Weight of a log line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Level {
    /// Something is lost or refused that the user relies on.
    Error = 1,
    /// Something is wrong and is being dealt with.
    Warn = 2,
    /// Connections, sessions and members come and go.
    Info = 3,
    /// Steps on the way.
    Debug = 4,
    /// Single frames.
    Trace = 5,
}

/// Where log lines go.
pub trait LogSink: Send + Sync {
    /// Takes one line: its level, the part of the library that speaks, and the text, without a line end. May be called on any thread, and
    /// counts as a callback: what waits is refused in it.
    fn log(&self, level: Level, target: &str, message: &str);
}

/// A sink and the lightest level that reaches it. The default writes warnings and errors to standard error.
#[derive(Clone)]
pub struct Log {
    level: Level,
    sink: Arc<dyn LogSink>,
}

impl Log {
    /// Lines of `level` and heavier go to `sink`.
    #[must_use]
    pub fn new(level: Level, sink: Arc<dyn LogSink>) -> Log {
        Log { level, sink }
    }

    pub(crate) fn wants(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes a line. Not to be called under a lock.
    pub(crate) fn line(&self, level: Level, target: &str, message: fmt::Arguments<'_>) {
        if self.wants(level) {
            // Nothing may wait in a sink: this may be the thread that would end the wait.
            let _scope = CallbackScope::enter();
            self.sink.log(level, target, &message.to_string());
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log::new(Level::Warn, Arc::new(Stderr))
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).finish_non_exhaustive()
    }
}

/// Lets one line through a second, and counts the rest: what strangers on the network cause must not fill a disk (S4).
#[derive(Default)]
pub(crate) struct RateLimit {
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// `Some(lines held back since the last one)` if a line may be written now.
    pub(crate) fn pass(&self, now: Time) -> Option<u64> {
        let next = self.next.load(Relaxed);
        let after = now.0.saturating_add(1_000_000_000);
        if now.0 >= next && self.next.compare_exchange(next, after, Relaxed, Relaxed).is_ok() {
            return Some(self.suppressed.swap(0, Relaxed));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }
}

struct Stderr;

impl LogSink for Stderr {
    fn log(&self, level: Level, target: &str, message: &str) {
        use std::io::Write;
        // One write per line, so that lines of several threads do not mix. A closed standard error is no reason to fail.
        let line = format!("{level:?} {target}: {message}\n");
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}
