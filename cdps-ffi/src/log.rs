//! Log lines to the user's callback, or to standard error.

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;

use cdps::{Level, Log, LogSink, NodeId};

use crate::callback::{self, User};
use crate::sized::own_size;
use crate::strings;
use crate::types::{
    CDPS_LOG_DEBUG, CDPS_LOG_ERROR, CDPS_LOG_INFO, CDPS_LOG_TRACE, CDPS_LOG_WARN, cdps_log_record_t,
    cdps_on_log_fn,
};

thread_local! {
    /// This thread is inside a log callback.
    static IN_LOG: Cell<bool> = const { Cell::new(false) };
}

/// The driver's log, with lines of `level` and heavier; `None`: no lines at all.
pub(crate) fn log(node: NodeId, level: Option<Level>, on_log: cdps_on_log_fn, user: User) -> Log {
    match level {
        None => Log::new(Level::Error, Arc::new(Nowhere)),
        Some(level) if on_log.is_some() => Log::new(level, Arc::new(Callback { node, on_log, user })),
        Some(level) => Log::new(level, Arc::new(StandardError { node })),
    }
}

struct Nowhere;

impl LogSink for Nowhere {
    fn log(&self, _level: Level, _target: &str, _message: &str) {}
}

struct StandardError {
    node: NodeId,
}

impl LogSink for StandardError {
    fn log(&self, level: Level, target: &str, message: &str) {
        // One write per line, so that lines of several threads do not mix. A closed standard error is no reason to fail.
        let line = format!("cdps: {level:?}: node {}: {target}: {message}\n", self.node);
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

struct Callback {
    node: NodeId,
    on_log: cdps_on_log_fn,
    user: User,
}

impl LogSink for Callback {
    fn log(&self, level: Level, target: &str, message: &str) {
        // A line that the callback's own calls cause would bring it here again, and again.
        if IN_LOG.replace(true) {
            return;
        }
        let (target, message) = (strings::c_string(target), strings::c_string(message));
        let record = cdps_log_record_t {
            struct_size: own_size::<cdps_log_record_t>(),
            level: match level {
                Level::Error => CDPS_LOG_ERROR,
                Level::Warn => CDPS_LOG_WARN,
                Level::Info => CDPS_LOG_INFO,
                Level::Debug => CDPS_LOG_DEBUG,
                Level::Trace => CDPS_LOG_TRACE,
            },
            node: self.node.0,
            reserved0: 0,
            target: target.as_ptr(),
            message: message.as_ptr(),
        };
        if let Some(on_log) = self.on_log {
            // SAFETY: the user registered this function for this pointer; the record lives until it returns.
            callback::run("on_log", (), || unsafe { on_log(self.user.0, &record) });
        }
        IN_LOG.set(false);
    }
}
