//! Log lines, through a sink of the user's (U2). Never written while a lock is held, and never to standard output.

use std::fmt;
use std::sync::Arc;

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
    /// Takes one line: its level, the part of the library that speaks, and the text, without a line end. May be called on any thread.
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

    pub(crate) fn line(&self, level: Level, target: &str, message: fmt::Arguments<'_>) {
        if self.wants(level) {
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

struct Stderr;

impl LogSink for Stderr {
    fn log(&self, level: Level, target: &str, message: &str) {
        use std::io::Write;
        // One write per line, so that lines of several threads do not mix. A closed standard error is no reason to fail.
        let line = format!("{level:?} {target}: {message}\n");
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}
