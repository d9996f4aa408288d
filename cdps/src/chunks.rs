//! Memory that sockets are read into. It belongs to I/O threads, not to connections, so that idle ones have none (architecture,
//! point 5).
//!
//! Small messages are handed out as slices of a chunk, and a chunk is used again once its last slice is gone. A user who keeps one
//! small message out of each chunk would make the chunks add up to far more than the window that he was granted; so their number is
//! limited, and past the limit small messages are copied out, until chunks come back.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Size of a chunk.
const CHUNK: usize = 256 << 10;
/// Most chunks of a thread that wait for their slices to go.
const LIMIT: usize = 64;
/// A read wants at least so much room, so that it is worth its system call.
const LEAST: usize = 32 << 10;
/// How many of the waiting chunks are looked at when one is wanted.
const LOOK: usize = 4;

#[derive(Default)]
struct Chunks {
    /// Partly used, and nobody's.
    spare: Option<BytesMut>,
    /// Empty handles of chunks that were used up; their memory can be claimed again when the slices are gone.
    used: VecDeque<BytesMut>,
    /// The limit is reached: slices are copied out.
    copying: bool,
}

thread_local! {
    static CHUNKS: RefCell<Chunks> = RefCell::new(Chunks::default());
}

impl Chunks {
    /// An empty chunk.
    fn fresh(&mut self) -> BytesMut {
        for _ in 0..self.used.len().min(LOOK) {
            let Some(mut chunk) = self.used.pop_front() else { break };
            if chunk.try_reclaim(CHUNK) {
                self.copying = false;
                return self.tracked(chunk);
            }
            self.used.push_back(chunk);
        }
        if self.used.len() >= LIMIT {
            // Not tracked: nothing of it will be held.
            self.copying = true;
            return BytesMut::with_capacity(CHUNK);
        }
        let chunk = BytesMut::with_capacity(CHUNK);
        self.tracked(chunk)
    }

    /// Keeps a handle, by which the memory is found again.
    fn tracked(&mut self, mut chunk: BytesMut) -> BytesMut {
        let handle = chunk.split_to(0);
        self.used.push_back(handle);
        chunk
    }
}

/// Sees that a chunk is there, with its unconsumed bytes, with room for what the decoder `need`s and for a worthwhile read.
pub(crate) fn with_room(chunk: &mut Option<BytesMut>, need: usize) -> &mut BytesMut {
    let held = chunk.get_or_insert_with(|| CHUNKS.with_borrow_mut(|c| c.spare.take()).unwrap_or_default());
    let missing = need.saturating_sub(held.len());
    if held.capacity() - held.len() < missing.max(LEAST) {
        let mut fresh = CHUNKS.with_borrow_mut(Chunks::fresh);
        fresh.extend_from_slice(held);
        *held = fresh;
    }
    held
}

/// A chunk that holds these bytes.
pub(crate) fn holding(bytes: &[u8]) -> BytesMut {
    let mut chunk = None;
    with_room(&mut chunk, bytes.len()).extend_from_slice(bytes);
    chunk.unwrap_or_default()
}

/// Takes the first bytes of a chunk.
pub(crate) fn take(chunk: &mut BytesMut, len: usize) -> Bytes {
    chunk.split_to(len).freeze()
}

/// A message out of a bundle: a slice of its chunk, or a copy if too many chunks are held by slices.
pub(crate) fn keep(bundle: &Bytes, offset: usize, len: usize) -> Bytes {
    if CHUNKS.with_borrow(|chunks| chunks.copying) {
        return Bytes::copy_from_slice(&bundle[offset..offset + len]);
    }
    bundle.slice(offset..offset + len)
}

/// A message that is all of `slice`: the slice, or a copy if too many chunks are held by slices.
pub(crate) fn settle(slice: Bytes) -> Bytes {
    keep(&slice, 0, slice.len())
}

/// A connection has nothing to read just now.
pub(crate) fn give_back(chunk: BytesMut) {
    CHUNKS.with_borrow_mut(|chunks| {
        if chunks.spare.as_ref().is_none_or(|spare| spare.capacity() < chunk.capacity()) {
            chunks.spare = Some(chunk);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [M7] A user who keeps one small message of each chunk does not make memory grow without bound: past the limit messages are
    /// copied, and when he lets go, chunks are shared again.
    #[test]
    fn kept_messages_hold_a_limited_number_of_chunks() {
        let mut chunk = None;
        let mut kept = Vec::new();
        let mut shared = 0;
        for _ in 0..3 * LIMIT {
            let held = with_room(&mut chunk, CHUNK);
            held.resize(CHUNK, 7);
            let bundle = take(held, CHUNK);
            let message = keep(&bundle, 100, 64);
            assert_eq!(&message[..], &[7; 64]);
            shared += usize::from(std::ptr::eq(&message[0], &bundle[100]));
            kept.push(message);
        }
        assert!(shared <= LIMIT, "{shared} messages hold a chunk each");
        assert!(CHUNKS.with_borrow(|c| c.used.len()) <= LIMIT);
        kept.clear();
        let bundle = {
            let held = with_room(&mut chunk, CHUNK);
            held.resize(CHUNK, 8);
            take(held, CHUNK)
        };
        let message = keep(&bundle, 0, 64);
        assert!(std::ptr::eq(&message[0], &bundle[0]), "shared again");
    }

    /// [S4] Bytes that are not consumed move along when a chunk is used up.
    #[test]
    fn unconsumed_bytes_move_along() {
        let mut chunk = None;
        with_room(&mut chunk, 1).resize(CHUNK - 10, 1);
        let held = chunk.as_mut().expect("a chunk");
        take(held, CHUNK - 20);
        held.copy_from_slice(b"0123456789");
        let held = with_room(&mut chunk, 66_000);
        assert_eq!(&held[..], b"0123456789");
        assert!(held.capacity() >= 66_000);
    }
}
