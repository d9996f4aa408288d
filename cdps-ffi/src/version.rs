//! Version of the library that runs.

use std::ffi::{CStr, c_char};

/// Number of the ABI; changes only when a program must be compiled again. What cdps_node_open() passes.
pub const CDPS_ABI: u32 = 1;

const TEXT: &CStr = {
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no NUL"),
    }
};

/// Version of the library that runs, as #CDPS_VERSION_NUMBER: major * 1000000 + minor * 1000 + patch. Threads: any, also in a forked
/// child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_version_number() -> u32 {
    const NUMBER: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + part(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}

/// Version of the library that runs, such as "0.1.0". A static string. Threads: any, also in a forked child.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn cdps_version_string() -> *const c_char {
    TEXT.as_ptr()
}

const fn part(digits: &str) -> u32 {
    let (bytes, mut at, mut value) = (digits.as_bytes(), 0, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    value
}
