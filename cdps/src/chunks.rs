//! Memory that sockets are read into. It belongs to I/O threads, not to connections, so that idle ones have none (architecture,
//! point 5).
//!
//! Small messages are handed out as slices of a chunk, and a chunk is used again once its last slice is gone. A user who keeps one
//! small message out of each chunk would make the chunks add up to far more than the window that he was granted; so their number is
//! limited, and past the limit small messages are copied out, until chunks come back.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::chunk::{Chunk, Slice};

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
    spare: Option<Chunk>,
    /// Used up; free again when their slices are gone.
    used: VecDeque<Chunk>,
    /// The limit is reached: slices are copied out.
    copying: bool,
}

thread_local! {
    static CHUNKS: RefCell<Chunks> = RefCell::new(Chunks::default());
}

impl Chunks {
    /// An empty chunk.
    fn fresh(&mut self) -> Chunk {
        for _ in 0..self.used.len().min(LOOK) {
            let Some(mut chunk) = self.used.pop_front() else { break };
            let end = chunk.filled();
            if chunk.restart(end) {
                self.copying = false;
                return chunk;
            }
            self.used.push_back(chunk);
        }
        self.copying = self.used.len() >= LIMIT;
        Chunk::new(CHUNK)
    }

    /// While messages are copied no chunk is wanted: looks whether one has come back all the same.
    fn look(&mut self) {
        for _ in 0..self.used.len().min(LOOK) {
            let Some(chunk) = self.used.pop_front() else { break };
            if chunk.is_free() {
                self.copying = false;
            } else {
                self.used.push_back(chunk);
            }
        }
    }
}

/// What a connection has read and not consumed.
pub(crate) struct Input {
    chunk: Option<Chunk>,
    start: usize,
}

impl Input {
    /// With these bytes.
    pub(crate) fn holding(bytes: &[u8]) -> Input {
        let mut input = Input { chunk: None, start: 0 };
        if !bytes.is_empty() {
            input.with_room(bytes.len()).append(bytes);
        }
        input
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], |chunk| chunk.bytes(self.start))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// A chunk behind whose bytes there is room for what the decoder `need`s in all, and for a worthwhile read.
    pub(crate) fn with_room(&mut self, need: usize) -> &mut Chunk {
        let held = self.bytes().len();
        let wanted = need.saturating_sub(held).max(LEAST);
        let mut chunk = match self.chunk.take() {
            Some(chunk) => chunk,
            None => CHUNKS.with_borrow_mut(|c| c.spare.take().unwrap_or_else(|| c.fresh())),
        };
        if held == 0 {
            // Where the next bytes will be.
            self.start = chunk.filled();
        }
        if chunk.room() < wanted {
            if chunk.restart(self.start) {
                self.start = 0;
                CHUNKS.with_borrow_mut(|c| {
                    if c.copying {
                        c.look();
                    }
                });
            } else {
                let mut fresh = CHUNKS.with_borrow_mut(|c| c.fresh());
                fresh.append(chunk.bytes(self.start));
                self.start = 0;
                CHUNKS.with_borrow_mut(|c| c.used.push_back(std::mem::replace(&mut chunk, fresh)));
            }
        }
        self.chunk.insert(chunk)
    }

    /// The first `n` bytes are consumed.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.bytes().len());
        self.start += n;
    }

    /// To take messages out of what lies behind the first `offset` bytes.
    pub(crate) fn messages(&self, offset: usize) -> Messages<'_> {
        let copying = CHUNKS.with_borrow(|chunks| chunks.copying);
        Messages { chunk: self.chunk.as_ref(), start: self.start + offset, copying }
    }

    /// There is nothing to read just now: what is empty goes back to the thread.
    pub(crate) fn rest(&mut self) {
        if !self.is_empty() {
            return;
        }
        if let Some(chunk) = self.chunk.take() {
            CHUNKS.with_borrow_mut(|chunks| {
                let former = chunks.spare.replace(chunk);
                chunks.used.extend(former);
                let kept = chunks.used.len().min(LIMIT);
                chunks.used.truncate(kept);
            });
        }
    }
}

/// Messages within what was read.
pub(crate) struct Messages<'a> {
    chunk: Option<&'a Chunk>,
    start: usize,
    copying: bool,
}

impl Messages<'_> {
    /// One of them: a slice of its chunk, or a copy if too many chunks are held by slices.
    pub(crate) fn get(&self, offset: usize, len: usize) -> Slice {
        let Some(chunk) = self.chunk else { return Slice::default() };
        if self.copying {
            return Slice::copy(&chunk.bytes(self.start + offset)[..len]);
        }
        chunk.slice(self.start + offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(input: &mut Input, len: usize, byte: u8) {
        let chunk = input.with_room(len);
        chunk.append(&vec![byte; len]);
    }

    /// [M7] A user who keeps one small message of each chunk does not make memory grow without bound: past the limit messages are
    /// copied, and when he lets go, chunks are shared again.
    #[test]
    fn kept_messages_hold_a_limited_number_of_chunks() {
        let mut input = Input::holding(&[]);
        let mut kept = Vec::new();
        let mut shared = 0;
        let read = |input: &mut Input, byte| {
            fill(input, CHUNK - 1000, byte);
            let message = input.messages(100).get(0, 64);
            assert_eq!(message.bytes(), &[byte; 64]);
            let is_shared = std::ptr::eq(&message.bytes()[0], &input.bytes()[100]);
            input.consume(CHUNK - 1000);
            (message, is_shared)
        };
        for byte in 0..3 * LIMIT as u8 {
            let (message, is_shared) = read(&mut input, byte);
            shared += usize::from(is_shared);
            kept.push(message);
        }
        assert!(shared <= LIMIT + 1, "{shared} messages hold a chunk each");
        assert!(CHUNKS.with_borrow(|c| c.used.len()) <= LIMIT + 1);
        assert!(kept.iter().enumerate().all(|(byte, message)| message.bytes() == [byte as u8; 64]));
        kept.clear();
        read(&mut input, 1);
        input.rest();
        let (_, is_shared) = (read(&mut input, 2), read(&mut input, 3)).1;
        assert!(is_shared || !CHUNKS.with_borrow(|c| c.copying), "shared again");
    }

    /// [S4] Bytes that are not consumed move along when a chunk is used up, whether or not slices of it are out.
    #[test]
    fn unconsumed_bytes_move_along() {
        for slices in [false, true] {
            let mut input = Input::holding(&[]);
            fill(&mut input, CHUNK - 5000, 1);
            let message = slices.then(|| input.messages(0).get(0, 10));
            input.consume(CHUNK - 5000);
            input.with_room(1).append(b"0123456789");
            assert_eq!(input.bytes(), b"0123456789");
            assert!(input.with_room(66_000).room() >= 66_000 - 10);
            assert_eq!(input.bytes(), b"0123456789");
            drop(message);
        }
    }
}
