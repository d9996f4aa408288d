//! A descriptor that can be polled: readable while there is something to do.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd};

/// An eventfd. Whoever uses it knows whether it is set, and neither sets nor clears it twice.
pub(crate) struct Signal(File);

impl Signal {
    pub(crate) fn open() -> io::Result<Signal> {
        // SAFETY: no pointers are passed; the descriptor that comes back is owned by nobody else.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Signal(File::from_raw_fd(fd))) }
        }
    }

    /// Makes it readable.
    pub(crate) fn set(&self) {
        // Cannot fail: it is open, and the count in it is 0.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub(crate) fn clear(&self) {
        // Cannot fail: it is open, and the count in it is 1. If the user has read it, there is nothing to clear.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
