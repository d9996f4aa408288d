//! Streams of threads that name none (M2): each thread has its own per port.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use cdps_core::config::StreamContract;
use cdps_core::id::{Sn, StreamId};

use crate::shared::{Engine, PortShared};

/// The automatic streams of one port. One retires when its thread is gone and everything that was sent on it has ended; the next new thread
/// then goes on with it, so that there are no more than threads and their unfinished messages need.
#[derive(Default)]
pub(crate) struct Automatic {
    next: u32,
    /// Of threads that are gone, with what had been sent by then.
    retiring: VecDeque<(StreamId, Sn)>,
    /// Of threads that are gone and had made a contract (M11): for those that make the same one.
    contracted: Vec<(StreamId, StreamContract)>,
}

impl Automatic {
    /// One that has retired, or a new one. Everything up to `ended` has ended.
    fn take(&mut self, ended: Sn) -> StreamId {
        if self.retiring.front().is_some_and(|(_, last)| *last <= ended)
            && let Some((stream, _)) = self.retiring.pop_front()
        {
            return stream;
        }
        self.make()
    }

    fn make(&mut self) -> StreamId {
        let stream = StreamId(StreamId::FIRST_AUTOMATIC.0 | self.next);
        self.next = (self.next + 1) & (StreamId::FIRST_AUTOMATIC.0 - 1);
        stream
    }

    /// One with this contract that no thread uses any more.
    fn take_contracted(&mut self, contract: StreamContract) -> Option<StreamId> {
        let at = self.contracted.iter().rposition(|c| c.1 == contract)?;
        Some(self.contracted.swap_remove(at).0)
    }
}

/// This thread's stream on one port; goes back when the thread ends.
struct Own {
    port: Weak<PortShared>,
    stream: StreamId,
    contract: StreamContract,
}

impl Own {
    fn is_of(&self, port: &Arc<PortShared>) -> bool {
        std::ptr::eq(self.port.as_ptr(), Arc::as_ptr(port))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        LATEST.set(NONE);
        let Some(port) = self.port.upgrade() else { return };
        if self.contract != StreamContract::default() {
            port.streams.lock().contracted.push((self.stream, self.contract));
            return;
        }
        let sent = port.read(Engine::newest_sent).unwrap_or_default();
        port.streams.lock().retiring.push_back((self.stream, sent));
    }
}

thread_local! {
    static OWN: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
    /// The port that the thread has sent on last, and its stream there. Looked at first. It is one of `OWN`, which keeps the place in memory
    /// from becoming another port's, or none.
    static LATEST: Cell<(*const PortShared, StreamId)> = const { Cell::new(NONE) };
}

const NONE: (*const PortShared, StreamId) = (std::ptr::null(), StreamId(0));

/// The calling thread's stream on this port.
#[inline(always)]
pub(crate) fn own(port: &Arc<PortShared>) -> StreamId {
    let (latest, stream) = LATEST.get();
    if latest == Arc::as_ptr(port) { stream } else { look_up(port) }
}

#[inline(never)]
fn look_up(port: &Arc<PortShared>) -> StreamId {
    let take = || {
        let ended = port.read(Engine::ended_up_to).unwrap_or_default();
        port.streams.lock().take(ended)
    };
    let own = OWN.try_with(|own| {
        let mut own = own.borrow_mut();
        let known = own.iter().find(|o| o.is_of(port)).map(|o| o.stream);
        let stream = known.unwrap_or_else(|| {
            forget_gone(&mut own);
            let stream = take();
            own.push(Own { port: Arc::downgrade(port), stream, contract: StreamContract::default() });
            stream
        });
        LATEST.set((Arc::as_ptr(port), stream));
        stream
    });
    // A thread that ends, and has given back its own, may send from a destructor: on one that the next thread goes on with.
    own.unwrap_or_else(|_| {
        let stream = take();
        port.streams.lock().retiring.push_back((stream, Sn::default()));
        stream
    })
}

/// Drops what belongs to ports that are gone, before room is made for one more.
fn forget_gone(own: &mut Vec<Own>) {
    if own.len() == own.capacity() {
        own.retain(|o| o.port.strong_count() > 0);
    }
}

/// Makes a contract for the calling thread's stream on this port (M11); `set` gives it to the port. A thread that has no stream yet goes on
/// with one of the same contract that another thread has left behind, if there is one: what that thread sent comes first in it.
pub(crate) fn own_under<E>(
    port: &Arc<PortShared>,
    contract: StreamContract,
    set: impl FnOnce(StreamId) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(stream) = OWN.with_borrow(|own| own.iter().find(|o| o.is_of(port)).map(|o| o.stream)) {
        set(stream)?;
        OWN.with_borrow_mut(|own| {
            own.iter_mut().filter(|o| o.is_of(port)).for_each(|o| o.contract = contract)
        });
        return Ok(());
    }
    let left = port.streams.lock().take_contracted(contract);
    let stream = match left {
        Some(stream) => stream,
        None => {
            let stream = port.streams.lock().make();
            set(stream)?;
            stream
        }
    };
    OWN.with_borrow_mut(|own| {
        forget_gone(own);
        own.push(Own { port: Arc::downgrade(port), stream, contract });
    });
    Ok(())
}

/// The calling thread's stream could not be opened, because there are too many: an open one whose thread is gone takes its place, though not
/// all of it may have ended. What is sent now comes after that. `None`: there is none, or the thread has a contract for its own.
pub(crate) fn exchange(port: &Arc<PortShared>) -> Option<StreamId> {
    OWN.with_borrow_mut(|own| {
        let mine = own.iter_mut().find(|o| o.is_of(port))?;
        if mine.contract != StreamContract::default() {
            return None;
        }
        let other = port.read(|engine| {
            let mut streams = port.streams.lock();
            let at = streams.retiring.iter().position(|(stream, _)| engine.has_open_stream(*stream))?;
            streams.retiring.remove(at)
        });
        mine.stream = other.flatten()?.0;
        LATEST.set(NONE);
        Some(mine.stream)
    })
}
