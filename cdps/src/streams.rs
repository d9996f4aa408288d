//! Streams of threads that name none (M2): each thread has its own per port.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use cdps_core::id::StreamId;

use crate::shared::PortShared;

/// The automatic streams of one port: those that no thread uses any more are used again, so that their number is that of the threads
/// that send at once. Nothing is lost by that: what the former thread sent comes first in the stream.
#[derive(Default)]
pub(crate) struct Automatic {
    next: u32,
    free: Vec<StreamId>,
}

impl Automatic {
    fn take(&mut self) -> StreamId {
        self.free.pop().unwrap_or_else(|| {
            let stream = StreamId(StreamId::FIRST_AUTOMATIC.0 | self.next);
            self.next = (self.next + 1) & (StreamId::FIRST_AUTOMATIC.0 - 1);
            stream
        })
    }
}

/// This thread's stream on one port; goes back when the thread ends.
struct Own {
    port: Weak<PortShared>,
    stream: StreamId,
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(port) = self.port.upgrade() {
            port.streams.lock().free.push(self.stream);
        }
    }
}

thread_local! {
    static OWN: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread's stream on this port.
#[inline]
pub(crate) fn own(port: &Arc<PortShared>) -> StreamId {
    OWN.with_borrow_mut(|own| {
        let here = own.iter().position(|o| std::ptr::eq(o.port.as_ptr(), Arc::as_ptr(port)));
        if let Some(at) = here {
            if at > 0 {
                own.swap(0, at);
            }
            return own[0].stream;
        }
        if own.len() == own.capacity() {
            own.retain(|o| o.port.strong_count() > 0);
        }
        let stream = port.streams.lock().take();
        own.push(Own { port: Arc::downgrade(port), stream });
        stream
    })
}
