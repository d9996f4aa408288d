//! Received messages: real pointers, counted, for speed.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use cdps::Message;

use crate::guard::plain;
use crate::types::{cdps_generation_t, cdps_msg_t};

/// Found in a live message; anything else is a bug of the caller that debug builds stop at.
const MAGIC: u32 = 0xcd9_5a9e;

/// What a `cdps_msg_t *` points to.
struct Counted {
    magic: u32,
    count: AtomicU32,
    /// `None` only while the box waits in [`SPARE`].
    message: Option<Message>,
}

thread_local! {
    /// The box of the last message of this thread that nobody retained: the usual case costs no allocation.
    static SPARE: Cell<Option<Box<Counted>>> = const { Cell::new(None) };
}

/// A message during its callback.
pub(crate) struct Lent(*mut Counted);

impl Lent {
    pub(crate) fn new(message: Message) -> Lent {
        let mut counted = SPARE
            .take()
            .unwrap_or_else(|| Box::new(Counted { magic: MAGIC, count: AtomicU32::new(1), message: None }));
        counted.count = AtomicU32::new(1);
        counted.message = Some(message);
        Lent(Box::into_raw(counted))
    }

    pub(crate) fn pointer(&self) -> *mut cdps_msg_t {
        self.0.cast()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: gives back the count that this value holds.
        if let Some(mut counted) = unsafe { give_back(self.0) } {
            counted.message = None;
            // Gone only while the thread ends: then the box is freed here.
            let _ = SPARE.try_with(|spare| spare.set(Some(counted)));
        }
    }
}

/// Gives back one count; the box comes back with the last one.
unsafe fn give_back(at: *mut Counted) -> Option<Box<Counted>> {
    // SAFETY: the caller holds a count, so the box is alive.
    let count = unsafe { &(*at).count };
    // Who holds the only one need not take it away from anybody.
    if count.load(Ordering::Acquire) != 1 {
        if count.fetch_sub(1, Ordering::Release) != 1 {
            return None;
        }
        count.load(Ordering::Acquire);
    }
    // SAFETY: that was the last count: nobody else refers to the box.
    Some(unsafe { Box::from_raw(at) })
}

unsafe fn counted<'a>(msg: *const cdps_msg_t) -> Option<&'a Counted> {
    // SAFETY: the header asks for a live message, or NULL.
    let found = unsafe { msg.cast::<Counted>().as_ref() }?;
    debug_assert_eq!(found.magic, MAGIC, "not a live cdps_msg_t");
    Some(found)
}

unsafe fn read<T>(msg: *const cdps_msg_t, nothing: T, get: impl FnOnce(&Message) -> T) -> T {
    // SAFETY: as promised by the caller.
    match unsafe { counted(msg) }.and_then(|found| found.message.as_ref()) {
        Some(message) => get(message),
        None => nothing,
    }
}

/// Keeps a message past its callback. Each call needs one cdps_msg_release(). What is kept counts against the window that the peer may
/// use: a program that never releases stops its peer.
///
/// @param msg  a message that is not released; NULL does nothing.
/// @return `msg`.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdps_msg_retain(msg: *mut cdps_msg_t) -> *mut cdps_msg_t {
    plain(
        || {
            // SAFETY: the header asks for a live message, or NULL.
            if let Some(found) = unsafe { counted(msg) } {
                found.count.fetch_add(1, Ordering::Relaxed);
            }
            msg
        },
        msg,
    )
}

/// Gives back a message that was kept with cdps_msg_retain(). Also allowed after the on_final of its port, and after the node is gone.
///
/// @param msg  the message; NULL does nothing. Not to be used afterwards.
///
/// Threads: any. Callbacks: allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdps_msg_release(msg: *mut cdps_msg_t) {
    // In a forked child the message is the parent's: freeing the copy would give credit back a second time.
    if msg.is_null() || crate::fork::is_child() {
        return;
    }
    plain(
        || {
            // SAFETY: the header asks for a live message, of which the caller gives back a count.
            drop(unsafe {
                debug_assert_eq!((*msg.cast::<Counted>()).magic, MAGIC, "not a live cdps_msg_t");
                give_back(msg.cast())
            });
        },
        (),
    );
}

/// Bytes of a message: contiguous, read-only, never NULL for a message. NULL for NULL. Threads: any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_msg_data(msg: *const cdps_msg_t) -> *const c_void {
    // SAFETY: the header asks for a live message, or NULL.
    plain(|| unsafe { read(msg, ptr::null(), |message| message.data().as_ptr().cast()) }, ptr::null())
}

/// Number of bytes of a message; 0 for NULL. Threads: any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_msg_size(msg: *const cdps_msg_t) -> usize {
    // SAFETY: the header asks for a live message, or NULL.
    plain(|| unsafe { read(msg, 0, |message| message.data().len()) }, 0)
}

/// Number of a message: what cdps_port_ack() takes. 0 for NULL. Threads: any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_msg_sn(msg: *const cdps_msg_t) -> u64 {
    // SAFETY: the header asks for a live message, or NULL.
    plain(|| unsafe { read(msg, 0, |message| message.sn().0) }, 0)
}

/// Stream of a message; 0 for NULL. Threads: any.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn cdps_msg_stream(msg: *const cdps_msg_t) -> u32 {
    // SAFETY: the header asks for a live message, or NULL.
    plain(|| unsafe { read(msg, 0, |message| message.stream().0) }, 0)
}

/// Generation under which a message was received: the fencing token. Zero for NULL.
///
/// @param msg  the message.
/// @param out  stores the generation; NULL does nothing.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdps_msg_generation(msg: *const cdps_msg_t, out: *mut cdps_generation_t) {
    plain(
        || {
            if out.is_null() {
                return;
            }
            let zero = cdps_generation_t { role_epoch: 0, counter: 0 };
            // SAFETY: the header asks for a live message, or NULL.
            let value = unsafe { read(msg, zero, |message| generation(message.generation())) };
            // SAFETY: not NULL, so the caller promises that it is writable.
            unsafe { out.write_unaligned(value) };
        },
        (),
    );
}

pub(crate) fn generation(generation: cdps::Generation) -> cdps_generation_t {
    cdps_generation_t { role_epoch: generation.role_epoch, counter: generation.counter }
}
