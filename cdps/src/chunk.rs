//! Chunks: memory that one owner fills from front to back, and that is shared in slices meanwhile.
//!
//! What `bytes` does, but for the two places where every message passes: a slice is taken without an atomic operation (the owner holds
//! references in advance), is half the size, and an owner can tell whether its chunk is free for another round.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// References that an owner takes at a time.
const AHEAD: usize = 1 << 16;

/// The usual size. Chunks of it are kept for the next who needs one: they are filled by one thread and given up by another, and the
/// allocator would return them to the system and fetch fresh pages many times a second.
pub(crate) const COMMON: usize = 64 << 10;
/// Most of them that are kept, in the whole process: 2 MiB.
const SPARES: usize = 32;

/// Taken with any lock held, and no other is taken under it.
static SPARE: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

/// A chunk that is nobody's.
struct Spare(NonNull<Head>);

// SAFETY: nobody else refers to it.
unsafe impl Send for Spare {}

/// In front of the bytes.
struct Head {
    /// The owner, what it holds in advance, and the slices.
    references: AtomicUsize,
    room: usize,
}

/// A chunk, as its owner has it.
pub(crate) struct Chunk {
    head: NonNull<Head>,
    filled: usize,
    /// References held in advance.
    ahead: Cell<usize>,
}

/// Bytes of a chunk that will not change any more.
pub(crate) struct Slice {
    /// Of no bytes: dangling.
    head: NonNull<Head>,
    start: u32,
    len: u32,
}

// SAFETY: the owner alone writes, and only behind what is filled; slices are of what is filled; the count is atomic.
unsafe impl Send for Chunk {}
// SAFETY: the bytes of a slice are not written while it exists, and the count is atomic.
unsafe impl Send for Slice {}
// SAFETY: as above.
unsafe impl Sync for Slice {}

fn layout(room: usize) -> Layout {
    let (whole, _) = Layout::new::<Head>()
        .extend(Layout::array::<u8>(room).expect("a chunk has at most 1 GiB"))
        .expect("a chunk has at most 1 GiB");
    whole.pad_to_align()
}

/// The bytes behind a head.
///
/// # Safety
/// It heads a chunk.
unsafe fn bytes_of(head: NonNull<Head>) -> *mut u8 {
    // SAFETY: the bytes follow the head in the same allocation.
    unsafe { head.add(1).cast().as_ptr() }
}

/// Gives up references, and the chunk with the last.
///
/// # Safety
/// The caller holds that many.
unsafe fn give_up(head: NonNull<Head>, count: usize) {
    // SAFETY: the chunk exists as long as there are references to it, and the caller has some. This is the last look at it unless they were
    // the last: another holder may free it the moment after.
    if unsafe { head.as_ref() }.references.fetch_sub(count, Ordering::Release) != count {
        return;
    }
    // SAFETY: these were the last; the load orders every other holder's use before the end.
    let room = unsafe {
        head.as_ref().references.load(Ordering::Acquire);
        head.as_ref().room
    };
    if room == COMMON {
        let mut spare = SPARE.lock();
        if spare.len() < SPARES {
            return spare.push(Spare(head));
        }
    }
    // SAFETY: allocated by `Chunk::new`, and nobody's any more.
    unsafe { dealloc(head.cast().as_ptr(), layout(room)) };
}

impl Chunk {
    /// An empty chunk.
    pub(crate) fn new(room: usize) -> Chunk {
        debug_assert!(room <= u32::MAX as usize);
        let spare = if room == COMMON { SPARE.lock().pop() } else { None };
        let head = spare.map_or_else(
            || {
                let layout = layout(room);
                // SAFETY: the layout is not empty: it has a head.
                let head = unsafe { alloc(layout) }.cast::<Head>();
                NonNull::new(head).unwrap_or_else(|| handle_alloc_error(layout))
            },
            |spare| spare.0,
        );
        // SAFETY: allocated for it, aligned, and nobody else's.
        unsafe { head.write(Head { references: AtomicUsize::new(1 + AHEAD), room }) };
        Chunk { head, filled: 0, ahead: Cell::new(AHEAD) }
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: it exists as long as this reference to it.
        unsafe { self.head.as_ref() }
    }

    /// Bytes that are filled.
    #[inline(always)]
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Bytes that are not.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.head().room - self.filled
    }

    /// What is filled, from `start` on.
    pub(crate) fn bytes(&self, start: usize) -> &[u8] {
        assert!(start <= self.filled);
        // SAFETY: in bounds, and everything filled is initialised.
        unsafe { std::slice::from_raw_parts(bytes_of(self.head).add(start), self.filled - start) }
    }

    /// Where the next bytes go, and how many there is room for.
    #[inline(always)]
    pub(crate) fn spare(&mut self) -> (*mut u8, usize) {
        // SAFETY: in bounds.
        (unsafe { bytes_of(self.head).add(self.filled) }, self.room())
    }

    /// `n` more bytes are filled.
    ///
    /// # Safety
    /// They have been written where [`Chunk::spare`] said, and there was room for them.
    pub(crate) unsafe fn advance(&mut self, n: usize) {
        debug_assert!(n <= self.room());
        self.filled += n;
    }

    /// Appends bytes. Panics if there is no room: the caller has looked.
    #[inline(always)]
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room());
        // SAFETY: there is room, and nobody reads behind what is filled. `bytes` cannot lie there: it would have to be borrowed.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.spare().0, bytes.len());
            self.advance(bytes.len());
        }
    }

    /// A slice of what is filled.
    #[inline(always)]
    pub(crate) fn slice(&self, start: usize, len: usize) -> Slice {
        assert!(start + len <= self.filled);
        if len == 0 {
            return Slice::default();
        }
        let mut ahead = self.ahead.get();
        if ahead == 0 {
            self.head().references.fetch_add(AHEAD, Ordering::Relaxed);
            ahead = AHEAD;
        }
        self.ahead.set(ahead - 1);
        Slice { head: self.head, start: start as u32, len: len as u32 }
    }

    /// Whether there is no slice of it.
    pub(crate) fn is_free(&self) -> bool {
        self.head().references.load(Ordering::Acquire) == 1 + self.ahead.get()
    }

    /// Empties a chunk that there is no slice of, but for what is filled from `start` on, which moves to the front. False: there is one.
    pub(crate) fn restart(&mut self, start: usize) -> bool {
        assert!(start <= self.filled);
        if !self.is_free() {
            return false;
        }
        let kept = self.filled - start;
        // SAFETY: in bounds; nobody else has a part of the chunk.
        unsafe { std::ptr::copy(bytes_of(self.head).add(start), bytes_of(self.head), kept) };
        self.filled = kept;
        true
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: its own, and those held in advance.
        unsafe { give_up(self.head, 1 + self.ahead.get()) };
    }
}

impl Slice {
    /// A copy of these bytes, in a chunk of its own.
    pub(crate) fn copy(bytes: &[u8]) -> Slice {
        let mut chunk = Chunk::new(bytes.len());
        chunk.append(bytes);
        chunk.slice(0, bytes.len())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: in bounds and filled, as `Chunk::slice` checked, and not written any more.
        unsafe { std::slice::from_raw_parts(bytes_of(self.head).add(self.start as usize), self.len as usize) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Takes in the bytes of `next` too, if they lie directly behind.
    #[inline]
    pub(crate) fn join(&mut self, next: &Slice) -> bool {
        let joins = next.len == 0 || (self.head == next.head && self.start + self.len == next.start);
        if joins {
            self.len += next.len;
        }
        joins
    }
}

impl Default for Slice {
    /// Of no bytes.
    fn default() -> Slice {
        Slice { head: NonNull::dangling(), start: 0, len: 0 }
    }
}

impl Clone for Slice {
    fn clone(&self) -> Slice {
        if self.len > 0 {
            // SAFETY: the chunk exists as long as this reference to it.
            unsafe { self.head.as_ref() }.references.fetch_add(1, Ordering::Relaxed);
        }
        Slice { ..*self }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: its own.
            unsafe { give_up(self.head, 1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [M5] Slices keep their bytes while the owner goes on, and after it; a chunk is used again only when the last is gone.
    #[test]
    fn slices_outlive_their_owner() {
        let mut chunk = Chunk::new(100);
        chunk.append(b"hello ");
        let first = chunk.slice(0, 6);
        chunk.append(b"world");
        let second = chunk.slice(6, 5);
        let again = second.clone();
        assert!(chunk.slice(3, 0).bytes().is_empty());
        assert!(!chunk.restart(6), "two slices are out");
        drop((first, second));
        assert!(!chunk.is_free());
        assert_eq!((chunk.filled(), chunk.room()), (11, 89));
        drop(again);
        assert!(chunk.restart(6));
        assert_eq!(chunk.bytes(0), b"world");
        chunk.append(b"!");
        let last = chunk.slice(0, 6);
        drop(chunk);
        assert_eq!(std::thread::spawn(move || last.bytes().to_vec()).join().expect("reads"), b"world!");
    }

    /// [M1] Neighbours join, and nothing else does.
    #[test]
    fn neighbours_join() {
        let mut chunk = Chunk::new(10);
        chunk.append(b"abcdef");
        let mut slice = chunk.slice(1, 2);
        assert!(!slice.join(&chunk.slice(4, 1)) && !slice.join(&chunk.slice(0, 1)));
        assert!(!slice.join(&Slice::copy(b"1234d")), "of another chunk");
        assert!(slice.join(&Slice::default()) && slice.join(&chunk.slice(3, 2)));
        assert_eq!(slice.bytes(), b"bcde");
        assert!(!Slice::default().join(&slice));
        drop((slice, chunk.slice(0, 1)));
        assert!(chunk.is_free());
    }

    /// Chunks of the usual size are used again, on whatever thread, and not more are kept than the limit says.
    #[test]
    fn common_chunks_are_used_again() {
        let slices: Vec<Slice> = (0..SPARES * 2)
            .map(|i| {
                let mut chunk = Chunk::new(COMMON);
                chunk.append(&[i as u8; 100]);
                chunk.slice(10, 20)
            })
            .collect();
        assert!(slices.iter().enumerate().all(|(i, slice)| slice.bytes() == [i as u8; 20]));
        let former: Vec<_> = slices.iter().map(|slice| slice.head).collect();
        std::thread::scope(|scope| scope.spawn(|| drop(slices)).join()).expect("drops");
        assert!(SPARE.lock().len() <= SPARES);
        let fresh: Vec<Chunk> = (0..SPARES).map(|_| Chunk::new(COMMON)).collect();
        assert!(
            fresh.iter().any(|chunk| former.contains(&chunk.head)) && fresh.iter().all(|c| c.filled == 0)
        );
    }

    /// More slices than are held in advance.
    #[test]
    fn many_slices() {
        let mut chunk = Chunk::new(1);
        chunk.append(b"x");
        let slices: Vec<Slice> = (0..AHEAD * 2 + 10).map(|_| chunk.slice(0, 1)).collect();
        assert!(slices.iter().all(|s| s.bytes() == b"x") && !chunk.is_free());
        drop(slices);
        assert!(chunk.is_free());
    }
}
