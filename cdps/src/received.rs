//! Where received bytes lie: slices of read chunks, buffers of their own, and buffers that several connections fill at once.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::chunk::{Chunk, Slice};

/// Handle of received bytes. A clone shares them.
#[derive(Clone)]
pub(crate) enum ReceivedBuf {
    /// A slice of a read chunk, or a buffer of its own.
    Slice(Slice),
    /// A message whose fragments are read straight to their places.
    Assembly(Arc<Assembly>),
}

impl Default for ReceivedBuf {
    /// Of no bytes.
    fn default() -> ReceivedBuf {
        ReceivedBuf::Slice(Slice::default())
    }
}

impl ReceivedBuf {
    /// A buffer for a message of `len` bytes that arrives in fragments.
    pub(crate) fn assembly(len: u32) -> ReceivedBuf {
        ReceivedBuf::Assembly(Arc::new(Assembly::new(len as usize)))
    }

    /// The bytes of a whole message.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            ReceivedBuf::Slice(slice) => slice.bytes(),
            ReceivedBuf::Assembly(assembly) => self.part(0, assembly.len),
        }
    }

    /// Bytes `start..end`, which the engine says have been read.
    fn part(&self, start: usize, end: usize) -> &[u8] {
        match self {
            ReceivedBuf::Slice(slice) => &slice.bytes()[start..end],
            ReceivedBuf::Assembly(assembly) => {
                assert!(start <= end && end <= assembly.len);
                // SAFETY: in bounds, as just checked, and initialised (zeroed at first). A range is written only by the reader that
                // the engine gave it to; it gives a range to one reader ever, and names it here only after that reader has
                // reported it as read.
                unsafe { std::slice::from_raw_parts(assembly.start.as_ptr().add(start), end - start) }
            }
        }
    }
}

/// A buffer that several readers fill, each in ranges of its own.
pub(crate) struct Assembly {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it is plain memory; who may touch which bytes when is the engine's decision (`Port::begin_fragment`).
unsafe impl Send for Assembly {}
// SAFETY: as above.
unsafe impl Sync for Assembly {}

impl Assembly {
    fn new(len: usize) -> Assembly {
        let layout = Assembly::layout(len);
        // SAFETY: the layout is not empty. Zeroed, so that bytes are defined whatever happens; large ones come zeroed from the system.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Assembly { start, len }
    }

    fn layout(len: usize) -> Layout {
        Layout::array::<u8>(len.max(1)).expect("a message has at most 1 GiB")
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.start.as_ptr(), Assembly::layout(self.len)) };
    }
}

/// The body of a fragment while it is read.
pub(crate) struct Body {
    place: Place,
    len: usize,
    got: usize,
}

enum Place {
    Own(Chunk),
    Sliced(Slice),
    Shared(Arc<Assembly>, usize),
    Nowhere,
}

impl Body {
    /// Read into a buffer of its own.
    pub(crate) fn own(len: u32) -> Body {
        let len = len as usize;
        Body { place: Place::Own(Chunk::new(len)), len, got: 0 }
    }

    /// Read already, as a slice of a chunk.
    pub(crate) fn sliced(slice: Slice) -> Body {
        let len = slice.len();
        Body { place: Place::Sliced(slice), len, got: len }
    }

    /// Read to its place in a shared buffer. `None` if that is not a buffer made for sharing, or too short.
    pub(crate) fn into(buffer: ReceivedBuf, offset: u32, len: u32) -> Option<Body> {
        let ReceivedBuf::Assembly(assembly) = buffer else { return None };
        let (offset, len) = (offset as usize, len as usize);
        (offset.checked_add(len)? <= assembly.len).then_some(Body {
            place: Place::Shared(assembly, offset),
            len,
            got: 0,
        })
    }

    /// Read past.
    pub(crate) fn nowhere(len: u32) -> Body {
        Body { place: Place::Nowhere, len: len as usize, got: 0 }
    }

    /// What [`Body::sliced`] was given.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.place {
            Place::Sliced(slice) => slice.bytes(),
            Place::Own(_) | Place::Shared(..) | Place::Nowhere => &[],
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.got == self.len
    }

    /// Takes what it needs of bytes that were read already; returns how many.
    pub(crate) fn take(&mut self, from: &[u8]) -> usize {
        let from = &from[..from.len().min(self.len - self.got)];
        match &mut self.place {
            Place::Own(own) => own.append(from),
            Place::Shared(assembly, offset) => {
                // SAFETY: in bounds, as `into` checked and `from` is cut; the engine gave this range to this reader alone.
                unsafe {
                    let to = assembly.start.as_ptr().add(*offset + self.got);
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
                }
            }
            Place::Sliced(_) | Place::Nowhere => {}
        }
        self.got += from.len();
        from.len()
    }

    /// Where the socket may put the rest: a place and its size. Size 0 if the bytes go nowhere.
    pub(crate) fn spare(&mut self) -> (*mut u8, usize) {
        let left = self.len - self.got;
        match &mut self.place {
            Place::Own(own) => (own.spare().0, left),
            Place::Shared(assembly, offset) => {
                // SAFETY: in bounds, as `into` checked.
                (unsafe { assembly.start.as_ptr().add(*offset + self.got) }, left)
            }
            Place::Sliced(_) | Place::Nowhere => (NonNull::dangling().as_ptr(), 0),
        }
    }

    /// `n` bytes have been put where [`Body::spare`] said. Returns them.
    ///
    /// # Safety
    /// They have been, and `n` is not above the size that it gave.
    pub(crate) unsafe fn filled(&mut self, n: usize) -> &[u8] {
        let from = self.got;
        self.got += n;
        match &mut self.place {
            Place::Own(own) => {
                // SAFETY: the caller says that they are initialised, and they fit.
                unsafe { own.advance(n) };
                own.bytes(from)
            }
            // SAFETY: in bounds, as `into` checked; this range is this reader's alone.
            Place::Shared(assembly, offset) => unsafe {
                std::slice::from_raw_parts(assembly.start.as_ptr().add(*offset + from), n)
            },
            Place::Sliced(_) | Place::Nowhere => &[],
        }
    }

    /// The bytes, if they are in a buffer of their own.
    pub(crate) fn into_own(self) -> Option<ReceivedBuf> {
        match self.place {
            Place::Own(own) => Some(ReceivedBuf::Slice(own.slice(0, self.got))),
            Place::Sliced(slice) => Some(ReceivedBuf::Slice(slice)),
            Place::Shared(..) | Place::Nowhere => None,
        }
    }
}

/// Builds one buffer from the parts of a message that came aside (`Action::Assemble`): `ranges` (start, end) are in `base`, `asides`
/// are (offset, length, bytes).
pub(crate) fn assemble(
    total: u32,
    base: &ReceivedBuf,
    ranges: &[(u32, u32)],
    asides: &[(u32, u32, ReceivedBuf)],
) -> ReceivedBuf {
    let mut whole = vec![0u8; total as usize];
    for &(start, end) in ranges {
        let part = base.part(start as usize, end as usize);
        whole[start as usize..end as usize].copy_from_slice(part);
    }
    for (offset, len, bytes) in asides {
        let start = *offset as usize;
        whole[start..start + *len as usize].copy_from_slice(&bytes.bytes()[..*len as usize]);
    }
    ReceivedBuf::Slice(Slice::copy(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [M1] Parts that are read to their places, by copy or directly, make up the message.
    #[test]
    fn parts_make_a_message() {
        let shared = ReceivedBuf::assembly(10);
        let mut head = Body::into(shared.clone(), 0, 4).expect("fits");
        let mut tail = Body::into(shared.clone(), 4, 6).expect("fits");
        assert_eq!(tail.take(b"efgh"), 4);
        assert_eq!(head.take(b"abcdXYZ"), 4, "takes no more than its own");
        assert!(head.is_whole() && !tail.is_whole());
        let (place, left) = tail.spare();
        assert_eq!(left, 2);
        // SAFETY: `spare` gave two bytes.
        let rest = unsafe {
            std::ptr::copy_nonoverlapping(b"ij".as_ptr(), place, 2);
            tail.filled(2)
        };
        assert_eq!(rest, b"ij");
        assert!(tail.is_whole());
        assert_eq!(shared.bytes(), b"abcdefghij");
        assert!(Body::into(shared.clone(), 5, 6).is_none(), "past the end");
        let aside = (2, 3, ReceivedBuf::Slice(Slice::copy(b"XYZ")));
        let built = assemble(10, &shared, &[(0, 2), (5, 10)], &[aside]);
        assert_eq!(built.bytes(), b"abXYZfghij");
    }
}
