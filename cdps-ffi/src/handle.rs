//! Handles: the pointer that C holds is no address but a kind, a generation and the number of a slot, so that a stale one is found out
//! instead of being followed.
//!
//! A lookup takes the lock of its slot and counts a reference. That is too much for each message of a thread that sends, so a thread may
//! keep what it has looked up ([`Held`]), and then only reads whether the handle is still good.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::{CDPS_E_BAD_HANDLE, CDPS_E_LIMIT, Failure};

/// Slots of the first chunk; each further chunk has twice as many as the one before.
const FIRST_CHUNK: usize = 64;
const CHUNKS: usize = 16;
const INDEX_BITS: u32 = 28;
const GENERATION_BITS: u32 = 32;

/// Which table a handle belongs to. The top bit is always set: on 64-bit machines no object of C has such an address.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Kind {
    Node = 0x9,
    Client = 0xa,
    Port = 0xb,
    Config = 0xc,
}

/// All live objects of one kind.
pub(crate) struct Table<T> {
    kind: Kind,
    chunks: [OnceLock<Box<[Slot<T>]>>; CHUNKS],
    free: Mutex<Free>,
}

struct Slot<T> {
    /// What names the object; 0: nothing does.
    handle: AtomicUsize,
    object: Mutex<Option<Arc<T>>>,
}

struct Free {
    /// (slot, generation of its last object), used from the front so that a number comes back late.
    list: VecDeque<(usize, u64)>,
    /// Slots that were ever used.
    used: usize,
}

/// An object that was looked up, and what tells whether its handle is still good. As long as it is kept the object is not freed.
pub(crate) struct Held<T: 'static> {
    handle: usize,
    slot: &'static Slot<T>,
    object: Arc<T>,
}

/// A handle whose object does not exist yet. Dropping it gives the number back.
pub(crate) struct Reserved<T: 'static> {
    table: &'static Table<T>,
    handle: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: Kind) -> Table<T> {
        Table {
            kind,
            chunks: [const { OnceLock::new() }; CHUNKS],
            free: Mutex::new(Free { list: VecDeque::new(), used: 0 }),
        }
    }

    /// Takes a number, so that the handle is known before the object is made.
    pub(crate) fn reserve(&'static self) -> Result<Reserved<T>, Failure> {
        let mut free = self.free.lock();
        let (index, generation) = match free.list.pop_front() {
            Some((index, last)) => (index, (last + 1) & ((1 << GENERATION_BITS) - 1)),
            None if free.used < FIRST_CHUNK * ((1 << CHUNKS) - 1) => {
                free.used += 1;
                (free.used - 1, 0)
            }
            None => return Err(Failure::new(CDPS_E_LIMIT, "too many handles in this process")),
        };
        Ok(Reserved { table: self, handle: self.handle(index, generation) })
    }

    /// The object of a handle.
    pub(crate) fn get(&self, handle: usize) -> Result<Arc<T>, Failure> {
        self.slot(handle)?.get(handle)
    }

    /// The object of a handle, to be kept.
    pub(crate) fn hold(&'static self, handle: usize) -> Result<Held<T>, Failure> {
        let slot = self.slot(handle)?;
        Ok(Held { handle, slot, object: slot.get(handle)? })
    }

    /// Makes a handle stale. Of several callers one succeeds.
    pub(crate) fn take(&self, handle: usize) -> Result<Arc<T>, Failure> {
        let slot = self.slot(handle)?;
        let mut object = slot.object.lock();
        let taken = object.take_if(|_| slot.names(handle));
        let taken = taken.ok_or(const { Failure::bare(CDPS_E_BAD_HANDLE) })?;
        slot.handle.store(0, Ordering::Release);
        drop(object);
        self.give_back(handle);
        Ok(taken)
    }

    fn give_back(&self, handle: usize) {
        self.free.lock().list.push_back((index_of(handle), generation_of(handle)));
    }

    fn handle(&self, index: usize, generation: u64) -> usize {
        let bits = (self.kind as u64) << 60 | generation << INDEX_BITS | index as u64;
        usize::try_from(bits).expect("64-bit machines only: checked below")
    }

    fn slot(&self, handle: usize) -> Result<&Slot<T>, Failure> {
        let (chunk, at) = place(index_of(handle));
        let slot = || self.chunks.get(chunk)?.get()?.get(at);
        let slot = if handle as u64 >> 60 == self.kind as u64 { slot() } else { None };
        slot.ok_or(const { Failure::bare(CDPS_E_BAD_HANDLE) })
    }
}

impl<T> Slot<T> {
    fn names(&self, handle: usize) -> bool {
        self.handle.load(Ordering::Acquire) == handle
    }

    fn get(&self, handle: usize) -> Result<Arc<T>, Failure> {
        let object = self.object.lock();
        let object = object.as_ref().filter(|_| self.names(handle));
        object.cloned().ok_or(const { Failure::bare(CDPS_E_BAD_HANDLE) })
    }
}

impl<T> Held<T> {
    pub(crate) fn object(&self) -> &T {
        &self.object
    }

    /// Whether `handle` is what named it, and still does.
    pub(crate) fn is(&self, handle: usize) -> bool {
        self.handle == handle && self.slot.names(handle)
    }
}

const _: () = assert!(usize::BITS == 64, "a handle needs 64 bits");

impl<T> Reserved<T> {
    /// The value that C will hold.
    pub(crate) fn handle(&self) -> usize {
        self.handle
    }

    /// Makes the handle valid.
    pub(crate) fn fill(self, value: T) {
        let (chunk, at) = place(index_of(self.handle));
        let slots = self.table.chunks[chunk].get_or_init(|| {
            let empty = || Slot { handle: AtomicUsize::new(0), object: Mutex::new(None) };
            (0..FIRST_CHUNK << chunk).map(|_| empty()).collect()
        });
        let mut object = slots[at].object.lock();
        *object = Some(Arc::new(value));
        slots[at].handle.store(self.handle, Ordering::Release);
        drop(object);
        std::mem::forget(self);
    }
}

impl<T> Drop for Reserved<T> {
    fn drop(&mut self) {
        self.table.give_back(self.handle);
    }
}

fn index_of(handle: usize) -> usize {
    handle & ((1 << INDEX_BITS) - 1)
}

fn generation_of(handle: usize) -> u64 {
    (handle as u64 >> INDEX_BITS) & ((1 << GENERATION_BITS) - 1)
}

/// Chunk and place in it: chunk k begins at 64 * (2^k - 1).
fn place(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST_CHUNK + 1).ilog2() as usize;
    (chunk, index - FIRST_CHUNK * ((1 << chunk) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<T>(table: &'static Table<T>, value: T) -> usize {
        let reserved = table.reserve().unwrap();
        let handle = reserved.handle();
        reserved.fill(value);
        handle
    }

    /// [L1] A handle that was taken, taken twice, never given out, or is of another kind names nothing; a reused slot has another handle.
    #[test]
    fn stale_handles_name_nothing() {
        static TABLE: Table<u32> = Table::new(Kind::Port);
        static OTHER: Table<u32> = Table::new(Kind::Node);
        let first = put(&TABLE, 1);
        assert_eq!(*TABLE.get(first).unwrap(), 1);
        assert!(OTHER.get(first).is_err());
        assert_eq!(*TABLE.take(first).unwrap(), 1);
        assert!(TABLE.get(first).is_err());
        assert!(TABLE.take(first).is_err());
        let second = put(&TABLE, 2);
        assert_eq!(index_of(first), index_of(second));
        assert_ne!(first, second);
        assert!(TABLE.get(first).is_err());
        assert_eq!(*TABLE.get(second).unwrap(), 2);
        for wild in [0, 1, 0x7fff_1234_5678, usize::MAX, first ^ 1, second + 4096] {
            assert!(TABLE.get(wild).is_err(), "{wild:x}");
        }
        drop(TABLE.reserve().unwrap());
        assert_eq!(*TABLE.get(second).unwrap(), 2);
        let held = TABLE.hold(second).unwrap();
        assert!(held.is(second) && !held.is(first));
        assert_eq!(*TABLE.take(second).unwrap(), 2);
        assert!(!held.is(second));
        put(&TABLE, 3);
        assert!(!held.is(second), "its slot is another's");
        assert_eq!(*held.object(), 2);
    }

    /// Chunks join without gap or overlap.
    #[test]
    fn places_are_a_bijection() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(place(FIRST_CHUNK * ((1 << CHUNKS) - 1) - 1).0, CHUNKS - 1);
    }

    /// [L1] An object in use stays until the user is done with it, and exactly one of many takers gets it.
    #[test]
    fn objects_live_as_long_as_they_are_used() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static TABLE: Table<Counted> = Table::new(Kind::Client);
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        struct Counted {
            payload: u64,
        }
        impl Drop for Counted {
            fn drop(&mut self) {
                self.payload = 0;
                ALIVE.fetch_sub(1, Ordering::SeqCst);
            }
        }
        for _ in 0..200 {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            let handle = put(&TABLE, Counted { payload: 42 });
            std::thread::scope(|scope| {
                for taker in 0..4 {
                    scope.spawn(move || {
                        while let Ok(object) = TABLE.get(handle) {
                            assert_eq!(object.payload, 42);
                            if taker < 2 && TABLE.take(handle).is_ok() {
                                TAKEN.fetch_add(1, Ordering::SeqCst);
                            }
                            assert_eq!(object.payload, 42);
                        }
                    });
                }
            });
        }
        assert_eq!((ALIVE.load(Ordering::SeqCst), TAKEN.load(Ordering::SeqCst)), (0, 200));
    }
}
