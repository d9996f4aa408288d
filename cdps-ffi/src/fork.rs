//! Knows a forked child without a system call: one page that the kernel empties in it.
//!
//! `pthread_atfork` would miss a raw clone; asking for the process id costs a system call each time.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

const PARENT: u32 = 1;

static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// Process that set the library up, where the kernel has no such page; 0: not needed.
static PID: AtomicU32 = AtomicU32::new(0);

/// Whether this process is a forked child of the one that used the library first.
pub(crate) fn is_child() -> bool {
    let page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        return set_up();
    }
    // SAFETY: the page was mapped by `set_up` and is never unmapped.
    unsafe { (*page).load(Ordering::Relaxed) != PARENT }
}

/// First use in this process; says whether it is a child where the page could not be had.
#[cold]
fn set_up() -> bool {
    let known = PID.load(Ordering::Relaxed);
    if known != 0 {
        return known != std::process::id();
    }
    let Some(page) = map() else {
        let own = std::process::id();
        return match PID.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => false,
            Err(other) => other != own,
        };
    };
    // SAFETY: freshly mapped, large enough and aligned.
    unsafe { (*page).store(PARENT, Ordering::Relaxed) };
    if PAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: another thread was faster; this page was given to nobody.
        unsafe { libc::munmap(page.cast(), page_size()) };
    }
    false
}

fn map() -> Option<*mut AtomicU32> {
    let len = page_size();
    // SAFETY: a new private mapping touches nothing that exists.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping made above.
    if unsafe { libc::madvise(at, len, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: as above; nothing refers to it.
        unsafe { libc::munmap(at, len) };
        return None;
    }
    Some(at.cast())
}

fn page_size() -> usize {
    // SAFETY: no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
