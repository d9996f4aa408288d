//! Codes, their names and classes, and the detail that a call can give.

use std::ffi::{CStr, c_char};
use std::fmt;

use crate::guard::plain;
use crate::sized::Sized32;

/// Success.
pub const CDPS_OK: i32 = 0;

/// An argument is NULL, out of range, or not what its type says.
pub const CDPS_E_INVALID: i32 = -1;
/// The handle names no live object: never given out, destroyed, or of another kind.
pub const CDPS_E_BAD_HANDLE: i32 = -2;
/// A value, flag or field that this version of the library does not have.
pub const CDPS_E_UNSUPPORTED: i32 = -3;
/// The program was compiled for another ABI of the library.
pub const CDPS_E_ABI: i32 = -4;
/// A callback that the call needs was not registered.
pub const CDPS_E_NO_CALLBACK: i32 = -5;
/// The message is longer than both ends agreed on.
pub const CDPS_E_TOO_LONG: i32 = -6;
/// A limit would be passed (streams of a port, handles of the process).
pub const CDPS_E_LIMIT: i32 = -7;
/// The caller's buffer is too small; the length needed was stored.
pub const CDPS_E_BUFFER: i32 = -8;
/// There is nothing at this index.
pub const CDPS_E_NOT_FOUND: i32 = -9;

/// The object's state does not allow the call. Nothing changed.
pub const CDPS_E_WRONG_STATE: i32 = -20;
/// The call would wait, and was made inside a callback. Nothing changed.
pub const CDPS_E_IN_CALLBACK: i32 = -21;
/// The process was forked: the library belongs to the parent.
pub const CDPS_E_FORKED: i32 = -22;
/// No acknowledgment is owed for this message: not received, not asked for, or acknowledged already.
pub const CDPS_E_NOT_OWED: i32 = -23;
/// Another thread is doing this. Nothing changed.
pub const CDPS_E_BUSY: i32 = -24;

/// The send buffer, or the queue of completions that wait for their callback, is full. Try again after the next completion.
pub const CDPS_E_AGAIN: i32 = -40;
/// The time given is over.
pub const CDPS_E_TIMEDOUT: i32 = -41;

/// No configuration key has this name.
pub const CDPS_E_UNKNOWN_KEY: i32 = -60;
/// The value of a configuration key is malformed or out of range.
pub const CDPS_E_BAD_VALUE: i32 = -61;
/// Settings contradict each other.
pub const CDPS_E_CONFLICT: i32 = -62;
/// A configuration key that must be set is not.
pub const CDPS_E_MISSING_KEY: i32 = -63;
/// The client name is taken on this node.
pub const CDPS_E_NAME_TAKEN: i32 = -64;

/// The connection is down: sends fail until it is up again.
pub const CDPS_E_DOWN: i32 = -80;

/// The object is being destroyed or unregistered.
pub const CDPS_E_CLOSED: i32 = -100;

/// The operating system refused something; `os_errno` of cdps_error_t says what.
pub const CDPS_E_SYSTEM: i32 = -120;

/// A bug in the library has shown, in this call or before. The node can only be destroyed: any other call on it, its clients or its
/// ports gives this code.
pub const CDPS_E_INTERNAL: i32 = -140;

/// Class of #CDPS_OK.
pub const CDPS_CLASS_OK: i32 = 0;
/// The call itself is wrong: a bug of the caller.
pub const CDPS_CLASS_ARGUMENT: i32 = 1;
/// Right call, wrong moment.
pub const CDPS_CLASS_STATE: i32 = 2;
/// Worth trying again, unchanged.
pub const CDPS_CLASS_RETRY: i32 = 3;
/// A setting is wrong.
pub const CDPS_CLASS_CONFIG: i32 = 4;
/// The peer or the network.
pub const CDPS_CLASS_PEER: i32 = 5;
/// The object is on its way out.
pub const CDPS_CLASS_CLOSED: i32 = 6;
/// The operating system.
pub const CDPS_CLASS_SYSTEM: i32 = 7;
/// A bug of the library.
pub const CDPS_CLASS_INTERNAL: i32 = 8;

struct Entry {
    code: i32,
    class: i32,
    name: &'static CStr,
    text: &'static CStr,
}

const fn entry(code: i32, class: i32, name: &'static CStr, text: &'static CStr) -> Entry {
    Entry { code, class, name, text }
}

/// Every code. A test reads this file and compares.
static TABLE: &[Entry] = &[
    entry(CDPS_OK, CDPS_CLASS_OK, c"CDPS_OK", c"success"),
    entry(CDPS_E_INVALID, CDPS_CLASS_ARGUMENT, c"CDPS_E_INVALID", c"an argument is not valid"),
    entry(CDPS_E_BAD_HANDLE, CDPS_CLASS_ARGUMENT, c"CDPS_E_BAD_HANDLE", c"the handle names no live object"),
    entry(CDPS_E_UNSUPPORTED, CDPS_CLASS_ARGUMENT, c"CDPS_E_UNSUPPORTED", c"not supported by this version"),
    entry(CDPS_E_ABI, CDPS_CLASS_ARGUMENT, c"CDPS_E_ABI", c"compiled for another ABI of the library"),
    entry(
        CDPS_E_NO_CALLBACK,
        CDPS_CLASS_ARGUMENT,
        c"CDPS_E_NO_CALLBACK",
        c"a callback that the call needs is not registered",
    ),
    entry(
        CDPS_E_TOO_LONG,
        CDPS_CLASS_ARGUMENT,
        c"CDPS_E_TOO_LONG",
        c"the message is longer than both ends agreed on",
    ),
    entry(CDPS_E_LIMIT, CDPS_CLASS_ARGUMENT, c"CDPS_E_LIMIT", c"a limit would be passed"),
    entry(CDPS_E_BUFFER, CDPS_CLASS_ARGUMENT, c"CDPS_E_BUFFER", c"the caller's buffer is too small"),
    entry(CDPS_E_NOT_FOUND, CDPS_CLASS_ARGUMENT, c"CDPS_E_NOT_FOUND", c"there is nothing at this index"),
    entry(CDPS_E_WRONG_STATE, CDPS_CLASS_STATE, c"CDPS_E_WRONG_STATE", c"the state does not allow the call"),
    entry(
        CDPS_E_IN_CALLBACK,
        CDPS_CLASS_STATE,
        c"CDPS_E_IN_CALLBACK",
        c"waiting is not possible inside a callback",
    ),
    entry(
        CDPS_E_FORKED,
        CDPS_CLASS_STATE,
        c"CDPS_E_FORKED",
        c"the process was forked: the library belongs to the parent",
    ),
    entry(
        CDPS_E_NOT_OWED,
        CDPS_CLASS_STATE,
        c"CDPS_E_NOT_OWED",
        c"no acknowledgment is owed for this message",
    ),
    entry(CDPS_E_BUSY, CDPS_CLASS_STATE, c"CDPS_E_BUSY", c"another thread is doing this"),
    entry(CDPS_E_AGAIN, CDPS_CLASS_RETRY, c"CDPS_E_AGAIN", c"the send buffer is full: try again"),
    entry(CDPS_E_TIMEDOUT, CDPS_CLASS_RETRY, c"CDPS_E_TIMEDOUT", c"the time given is over"),
    entry(
        CDPS_E_UNKNOWN_KEY,
        CDPS_CLASS_CONFIG,
        c"CDPS_E_UNKNOWN_KEY",
        c"no configuration key has this name",
    ),
    entry(
        CDPS_E_BAD_VALUE,
        CDPS_CLASS_CONFIG,
        c"CDPS_E_BAD_VALUE",
        c"the value of a configuration key is not valid",
    ),
    entry(CDPS_E_CONFLICT, CDPS_CLASS_CONFIG, c"CDPS_E_CONFLICT", c"settings contradict each other"),
    entry(
        CDPS_E_MISSING_KEY,
        CDPS_CLASS_CONFIG,
        c"CDPS_E_MISSING_KEY",
        c"a configuration key that must be set is not",
    ),
    entry(
        CDPS_E_NAME_TAKEN,
        CDPS_CLASS_CONFIG,
        c"CDPS_E_NAME_TAKEN",
        c"the client name is taken on this node",
    ),
    entry(CDPS_E_DOWN, CDPS_CLASS_PEER, c"CDPS_E_DOWN", c"the connection is down"),
    entry(
        CDPS_E_CLOSED,
        CDPS_CLASS_CLOSED,
        c"CDPS_E_CLOSED",
        c"the object is being destroyed or unregistered",
    ),
    entry(CDPS_E_SYSTEM, CDPS_CLASS_SYSTEM, c"CDPS_E_SYSTEM", c"the operating system refused something"),
    entry(CDPS_E_INTERNAL, CDPS_CLASS_INTERNAL, c"CDPS_E_INTERNAL", c"a bug in the library"),
];

/// Detail of a failed call. The caller's memory: nothing is allocated, nothing is to be freed. Set `struct_size` before the call
/// (#CDPS_ERROR_INIT does). Calls that take one store into it on success too (`code` 0, empty text).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct cdps_error_t {
    /// Size of this structure, in bytes.
    pub struct_size: u32,
    /// The code that the call returned.
    pub code: i32,
    /// errno of the system call that failed, if #CDPS_E_SYSTEM; else 0.
    pub os_errno: i32,
    /// 0.
    pub reserved0: i32,
    /// What was wrong, with which value, and what is allowed. UTF-8, ends with NUL, cut at 255 bytes.
    pub message: [c_char; 256],
}

// SAFETY: integers only.
unsafe impl Sized32 for cdps_error_t {
    const NAME: &'static str = "cdps_error_t";
    const FIRST_SIZE: usize = 272;
}

/// Name of a code, such as "CDPS_E_AGAIN"; "CDPS_E_?" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_error_name(code: i32) -> *const c_char {
    plain(|| find(code).map_or(c"CDPS_E_?", |entry| entry.name).as_ptr(), c"CDPS_E_?".as_ptr())
}

/// One sentence about a code; "unknown code" for a number that is none. A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_error_string(code: i32) -> *const c_char {
    plain(|| find(code).map_or(c"unknown code", |entry| entry.text).as_ptr(), c"unknown code".as_ptr())
}

/// Class of a code, for programs that branch: one of CDPS_CLASS_*. An unknown negative number is #CDPS_CLASS_INTERNAL, a positive one
/// #CDPS_CLASS_OK. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_error_class(code: i32) -> i32 {
    let unknown = if code < 0 { CDPS_CLASS_INTERNAL } else { CDPS_CLASS_OK };
    plain(|| find(code).map_or(unknown, |entry| entry.class), unknown)
}

fn find(code: i32) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.code == code)
}

/// Why an exported function fails. The text is empty on hot calls, where the code says all.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) os_errno: i32,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: i32, text: impl fmt::Display) -> Failure {
        Failure { code, os_errno: 0, text: text.to_string() }
    }

    /// Without a text: costs nothing.
    pub(crate) const fn bare(code: i32) -> Failure {
        Failure { code, os_errno: 0, text: String::new() }
    }

    pub(crate) fn null(argument: &str) -> Failure {
        Failure::new(CDPS_E_INVALID, format_args!("{argument} is NULL"))
    }

    /// The text, or the code's own sentence.
    pub(crate) fn message(&self) -> &str {
        if self.text.is_empty() {
            find(self.code).and_then(|entry| entry.text.to_str().ok()).unwrap_or("")
        } else {
            &self.text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [U3] Each constant of this file is in the table once, under its own name.
    #[test]
    fn every_code_has_a_name() {
        let source = include_str!("error.rs");
        let mut count = 0;
        for line in source.lines() {
            let Some(rest) = line.strip_prefix("pub const CDPS_") else { continue };
            if rest.starts_with("CLASS") {
                continue;
            }
            let (name, value) = rest.split_once(": i32 = ").unwrap();
            let code: i32 = value.trim_end_matches(';').parse().unwrap();
            let entry = find(code).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(entry.name.to_str().unwrap(), format!("CDPS_{name}"));
            count += 1;
        }
        assert_eq!(count, TABLE.len());
        let mut codes: Vec<i32> = TABLE.iter().map(|entry| entry.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
    }
}
