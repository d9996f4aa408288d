//! Streams of threads that name none (M2): each thread has its own per port.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use cdps_core::id::{Sn, StreamId};

use crate::shared::{Engine, PortShared};

/// The automatic streams of one port. One retires when its thread is gone and everything that was sent on it has ended; the next new thread
/// then goes on with it, so that there are no more than threads and their unfinished messages need.
#[derive(Default)]
pub(crate) struct Automatic {
    next: u32,
    /// Of threads that are gone, with what had been sent by then.
    retiring: VecDeque<(StreamId, Sn)>,
}

impl Automatic {
    /// One that has retired, or a new one. Everything up to `ended` has ended.
    fn take(&mut self, ended: Sn) -> StreamId {
        if self.retiring.front().is_some_and(|(_, last)| *last <= ended)
            && let Some((stream, _)) = self.retiring.pop_front()
        {
            return stream;
        }
        let stream = StreamId(StreamId::FIRST_AUTOMATIC.0 | self.next);
        self.next = (self.next + 1) & (StreamId::FIRST_AUTOMATIC.0 - 1);
        stream
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
            let sent = port.read(Engine::newest_sent).unwrap_or_default();
            port.streams.lock().retiring.push_back((self.stream, sent));
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
        let ended = port.read(Engine::ended_up_to).unwrap_or_default();
        let stream = port.streams.lock().take(ended);
        own.push(Own { port: Arc::downgrade(port), stream });
        stream
    })
}

/// The calling thread's stream could not be opened, because there are too many: an open one whose thread is gone takes its place, though not
/// all of it may have ended. What is sent now comes after that. `None`: there is none.
pub(crate) fn exchange(port: &Arc<PortShared>) -> Option<StreamId> {
    OWN.with_borrow_mut(|own| {
        let mine = own.iter_mut().find(|o| std::ptr::eq(o.port.as_ptr(), Arc::as_ptr(port)))?;
        let other = port.read(|engine| {
            let mut streams = port.streams.lock();
            let at = streams.retiring.iter().position(|(stream, _)| engine.has_open_stream(*stream))?;
            streams.retiring.remove(at)
        });
        mine.stream = other.flatten()?.0;
        Some(mine.stream)
    })
}
