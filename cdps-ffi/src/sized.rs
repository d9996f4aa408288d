//! Structures that carry their own size, so that they can grow without breaking programs compiled before.
//!
//! In: what the caller's structure lacks is zero, which means "default"; a longer one is accepted if the part that this library does not
//! know is zero. Out: as much as the caller has room for is stored, and `struct_size` then says how much this library knows.

use std::mem;
use std::ptr;
use std::slice;

use crate::error::{CDPS_E_INVALID, CDPS_E_UNSUPPORTED, Failure};

/// No structure of this interface comes near it: a larger `struct_size` is a variable that was not set.
const LARGEST: usize = 4096;

/// A `repr(C)` structure whose first field is `uint32_t struct_size`.
///
/// # Safety
/// The type is `repr(C)`, starts with a `u32`, consists of integers, raw pointers, `Option`s of function pointers and arrays or
/// structures of those, and is valid when all bytes are zero.
pub(crate) unsafe trait Sized32: Copy {
    /// For messages.
    const NAME: &'static str;
    /// Size in the first release that had it; never changes.
    const FIRST_SIZE: usize;
}

/// `struct_size` of a structure of the caller.
///
/// # Safety
/// `at` points to four readable bytes.
pub(crate) unsafe fn size_of(at: *const u32) -> usize {
    // SAFETY: as promised; a caller's structure need not be aligned.
    unsafe { at.read_unaligned() as usize }
}

/// Reads the caller's structure.
///
/// # Safety
/// `from` is NULL or points to `struct_size` readable bytes, of which the first four hold that size.
pub(crate) unsafe fn read<T: Sized32>(from: *const T) -> Result<T, Failure> {
    // SAFETY: as promised by the caller.
    let size = unsafe { checked_size::<T>(from) }?;
    // SAFETY: `Sized32` promises that zero is a valid value.
    let mut value: T = unsafe { mem::zeroed() };
    let known = size.min(mem::size_of::<T>());
    // SAFETY: `from` has `size` readable bytes, `value` is `size_of::<T>()` long and another place.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), known) };
    // SAFETY: `from` has `size` readable bytes.
    let tail = unsafe { slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    match tail.iter().position(|byte| *byte != 0) {
        None => Ok(value),
        Some(at) => Err(Failure::new(
            CDPS_E_UNSUPPORTED,
            format_args!("{}: this library does not know the field at offset {}", T::NAME, known + at),
        )),
    }
}

/// Calls with the caller's structure, or with `otherwise` for NULL. A structure of this release is looked at where it is.
///
/// # Safety
/// As for [`read`], and nobody writes to it meanwhile.
#[inline(always)]
pub(crate) unsafe fn with<T: Sized32, R>(
    from: *const T,
    otherwise: &T,
    call: impl FnOnce(&T) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let copy: T;
    let value = if from.is_null() {
        otherwise
    // SAFETY: as promised by the caller.
    } else if from.is_aligned() && unsafe { size_of(from.cast()) } == mem::size_of::<T>() {
        // SAFETY: aligned, not NULL, of that size, and `Sized32` has no invalid values.
        unsafe { &*from }
    } else {
        // SAFETY: as promised by the caller.
        copy = unsafe { read(from) }?;
        &copy
    };
    call(value)
}

/// Stores as much of `value` as the caller's structure has room for, and the size that this library knows.
///
/// # Safety
/// `to` is NULL or points to `struct_size` writable bytes, of which the first four hold that size.
pub(crate) unsafe fn write<T: Sized32>(to: *mut T, value: &T) -> Result<(), Failure> {
    // SAFETY: as promised by the caller.
    let room = unsafe { checked_size::<T>(to) }?;
    let known = room.min(mem::size_of::<T>());
    // SAFETY: `to` has `room` writable bytes.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), to.cast::<u8>(), known);
        to.cast::<u32>().write_unaligned(own_size::<T>());
    }
    Ok(())
}

/// The size that this library stores into structures that it hands out.
pub(crate) const fn own_size<T>() -> u32 {
    mem::size_of::<T>() as u32
}

unsafe fn checked_size<T: Sized32>(at: *const T) -> Result<usize, Failure> {
    if at.is_null() {
        return Err(Failure::null(T::NAME));
    }
    // SAFETY: not NULL, so the caller promises four readable bytes.
    let size = unsafe { size_of(at.cast()) };
    if (T::FIRST_SIZE..=LARGEST).contains(&size) {
        return Ok(size);
    }
    Err(Failure::new(
        CDPS_E_INVALID,
        format_args!("{}: struct_size is {size}; set it to sizeof({})", T::NAME, T::NAME),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    #[repr(C)]
    struct Sample {
        struct_size: u32,
        a: u32,
        b: u64,
    }
    // SAFETY: integers only.
    unsafe impl Sized32 for Sample {
        const NAME: &'static str = "sample_t";
        const FIRST_SIZE: usize = 8;
    }

    fn read_words(words: &[u32]) -> Result<Sample, Failure> {
        // SAFETY: the tests below give `struct_size` bytes or a size that is refused.
        unsafe { read(words.as_ptr().cast::<Sample>()) }
    }

    /// An older program's shorter structure is filled up with defaults; a newer one's longer structure must not ask for more.
    #[test]
    fn sizes_of_other_releases() {
        let old = read_words(&[8, 5]).unwrap();
        assert_eq!((old.struct_size, old.a, old.b), (8, 5, 0));
        assert_eq!(read_words(&[24, 5, 6, 0, 0, 0]).unwrap().b, 6);
        let newer = read_words(&[24, 5, 6, 0, 0, 1]).unwrap_err();
        assert_eq!(newer.code, CDPS_E_UNSUPPORTED);
        assert!(newer.text.contains("offset 20"), "{}", newer.text);
        for size in [0, 4, 7, 5000, u32::MAX] {
            assert_eq!(read_words(&[size, 0, 0, 0]).unwrap_err().code, CDPS_E_INVALID);
        }
    }

    /// No byte behind the caller's room is touched.
    #[test]
    fn out_writes_what_there_is_room_for() {
        let mut words = [8_u32, 9, 9, 9];
        let value = Sample { struct_size: 0, a: 1, b: 2 };
        // SAFETY: eight bytes are writable, as `struct_size` says.
        unsafe { write(words.as_mut_ptr().cast::<Sample>(), &value) }.unwrap();
        assert_eq!(words, [16, 1, 9, 9]);
    }
}
