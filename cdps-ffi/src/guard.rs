//! The one way in: fork check, argument checks, then the work, under `catch_unwind`.

use std::any::Any;
use std::ffi::c_char;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::error::{CDPS_E_FORKED, CDPS_E_INTERNAL, CDPS_E_INVALID, CDPS_OK, Failure, cdps_error_t};
use crate::fork;
use crate::sized::{self, Sized32};

/// Runs the body of an exported function that returns a code.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> i32 {
    match run(body) {
        Ok(()) => CDPS_OK,
        Err(failure) => failure.code,
    }
}

/// As [`guard`], for one that returns a count if it succeeds.
pub(crate) fn guard_count(body: impl FnOnce() -> Result<i32, Failure>) -> i32 {
    run(body).unwrap_or_else(|failure| failure.code)
}

/// As [`guard`], and stores the detail of a failure.
///
/// # Safety
/// `err` is NULL or points to a `cdps_error_t` of which at least `struct_size` is set.
pub(crate) unsafe fn guard_detail(err: *mut cdps_error_t, body: impl FnOnce() -> Result<(), Failure>) -> i32 {
    // SAFETY: as promised by the caller.
    if !err.is_null() && unsafe { sized::size_of(err.cast()) } < cdps_error_t::FIRST_SIZE {
        return CDPS_E_INVALID;
    }
    match run(body) {
        Ok(()) => {
            // SAFETY: the size was checked above.
            unsafe { store(err, CDPS_OK, 0, "") };
            CDPS_OK
        }
        Err(failure) => {
            // SAFETY: the size was checked above.
            unsafe { store(err, failure.code, failure.os_errno, failure.message()) };
            failure.code
        }
    }
}

/// Runs the body of a function that returns a value and works in a forked child too.
pub(crate) fn plain<T>(body: impl FnOnce() -> T, fallback: T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        leak(payload);
        fallback
    })
}

fn run<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    if fork::is_child() {
        return Err(Failure::bare(CDPS_E_FORKED));
    }
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = panic_text(payload.as_ref());
        leak(payload);
        Err(Failure::new(CDPS_E_INTERNAL, format_args!("a bug in the library: {text}")))
    })
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// A panic payload is not dropped: a destructor of it that panics would abort the process.
pub(crate) fn leak(payload: Box<dyn Any + Send>) {
    mem::forget(payload);
}

unsafe fn store(err: *mut cdps_error_t, code: i32, os_errno: i32, text: &str) {
    if err.is_null() {
        return;
    }
    let mut message: [c_char; 256] = [0; 256];
    let mut end = text.len().min(message.len() - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in message.iter_mut().zip(&text.as_bytes()[..end]) {
        *to = from.cast_signed() as c_char;
    }
    // SAFETY: the caller's structure has at least the size of these fields. Written field by field, unaligned: its `struct_size` stays.
    unsafe {
        ptr::addr_of_mut!((*err).code).write_unaligned(code);
        ptr::addr_of_mut!((*err).os_errno).write_unaligned(os_errno);
        ptr::addr_of_mut!((*err).reserved0).write_unaligned(0);
        ptr::addr_of_mut!((*err).message).write_unaligned(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CDPS_E_BAD_VALUE;

    fn blank() -> cdps_error_t {
        cdps_error_t {
            struct_size: u32::try_from(mem::size_of::<cdps_error_t>()).unwrap(),
            code: 77,
            os_errno: 77,
            reserved0: 77,
            message: [b'x'.cast_signed() as c_char; 256],
        }
    }

    fn text(err: &cdps_error_t) -> String {
        let bytes: Vec<u8> = err.message.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// [U3] A failure leaves its code and a text that ends with NUL on a character boundary.
    #[test]
    fn detail_is_cut_at_a_character() {
        let mut err = blank();
        let long = "é".repeat(300);
        // SAFETY: `err` is a whole structure.
        let code = unsafe { guard_detail(&mut err, || Err(Failure::new(CDPS_E_BAD_VALUE, &long))) };
        assert_eq!(
            (code, err.code, err.os_errno, err.message[255]),
            (CDPS_E_BAD_VALUE, CDPS_E_BAD_VALUE, 0, 0)
        );
        assert_eq!(text(&err), "é".repeat(127));
    }

    /// [U3] A panic becomes a code and its text; nothing unwinds into C.
    #[test]
    fn a_panic_becomes_a_code() {
        let mut err = blank();
        // SAFETY: `err` is a whole structure.
        let code = unsafe { guard_detail(&mut err, || panic!("cell {}", 7)) };
        assert_eq!((code, text(&err).as_str()), (CDPS_E_INTERNAL, "a bug in the library: cell 7"));
        // SAFETY: as above.
        let code = unsafe { guard_detail(&mut err, || Ok(())) };
        assert_eq!((code, err.code, text(&err).as_str()), (CDPS_OK, CDPS_OK, ""));
    }
}
