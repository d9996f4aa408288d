//! Text in and out.

use std::ffi::{CStr, CString, c_char};

use crate::error::{CDPS_E_BUFFER, CDPS_E_INVALID, Failure};

/// A text argument.
///
/// # Safety
/// `at` is NULL or points to bytes that end with NUL and stay unchanged for `'a`.
pub(crate) unsafe fn text<'a>(at: *const c_char, argument: &str) -> Result<&'a str, Failure> {
    if at.is_null() {
        return Err(Failure::null(argument));
    }
    // SAFETY: not NULL, so the caller promises a NUL.
    let bytes = unsafe { CStr::from_ptr(at) };
    bytes.to_str().map_err(|e| {
        Failure::new(CDPS_E_INVALID, format_args!("{argument} is not UTF-8 from byte {} on", e.valid_up_to()))
    })
}

/// Stores a text with its NUL, and its length without it in `*need`. A buffer that is too small stays untouched.
///
/// # Safety
/// `buf` is NULL or has `cap` writable bytes; `need` is NULL or writable.
pub(crate) unsafe fn store(
    text: &str,
    buf: *mut c_char,
    cap: usize,
    need: *mut usize,
) -> Result<(), Failure> {
    if !need.is_null() {
        // SAFETY: not NULL, so the caller promises that it is writable.
        unsafe { need.write_unaligned(text.len()) };
    }
    if buf.is_null() || cap <= text.len() {
        // Asking for the length alone is no failure.
        let asked = buf.is_null() && cap == 0 && !need.is_null();
        return if asked { Ok(()) } else { Err(Failure::bare(CDPS_E_BUFFER)) };
    }
    // SAFETY: `cap` is above the length, so there is room for the text and its NUL.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast::<u8>(), text.len());
        buf.add(text.len()).write(0);
    }
    Ok(())
}

/// For a callback: a NUL inside would cut the text, so it becomes a blank.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}
