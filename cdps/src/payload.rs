//! Payloads: what the engine's opaque handles stand for (M5).
//!
//! A sent payload is either a copy, usually a slice of a chunk that its thread fills one message after the other, or the caller's own
//! memory, lent until [`crate::PortEvent::Released`].
//!
//! A lent message that goes in fragments has its checksums taken when it is lent, fragment by fragment, and they are compared each time that a
//! fragment is about to be written (M8). A shorter one is copied when it is lent: it would be copied into its frame in any case, and so nothing
//! that its user does with the memory reaches it.

use std::cell::RefCell;
use std::io::IoSlice;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use cdps_core::wire::MAX_BUNDLED;
use parking_lot::Mutex;

use crate::chunk::{COMMON, Chunk, Slice};
use crate::conn::crc32c;

/// Longer copies get an allocation of their own, so that a slow message does not hold much more than itself.
const OWN_ALLOCATION: usize = 16 << 10;
/// Most records of lent memory that a port keeps for reuse.
const POOLED: usize = 4096;
/// Most checksums that such a record has room for.
const KEPT_SUMS: usize = 64;

thread_local! {
    static ARENA: RefCell<Option<Chunk>> = const { RefCell::new(None) };
}

/// Handle of a sent payload. A clone shares the bytes.
#[derive(Clone)]
pub(crate) struct Payload {
    data: Data,
    context: u64,
}

#[derive(Clone)]
enum Data {
    Copied(Slice),
    Lent(Loan),
}

impl Payload {
    /// Copies a gather list of `len` bytes in all.
    #[inline(always)]
    pub(crate) fn copy(parts: &[IoSlice<'_>], len: usize, context: u64) -> Payload {
        Payload { data: Data::Copied(copied(parts, len)), context }
    }

    /// Lends a gather list of `len` bytes in all, which is going to travel in fragments of `fragment` bytes, as far as is known now.
    ///
    /// # Safety
    /// The memory that the list refers to must stay valid and unchanged until `home` gives the loan back, or the payload is dropped with
    /// [`Payload::take_back`]. Nothing that is decided depends on its bytes but whether they are unchanged.
    pub(crate) unsafe fn lend(
        parts: &[IoSlice<'_>],
        len: usize,
        fragment: usize,
        home: &Arc<Lending>,
        context: u64,
    ) -> Payload {
        Payload { data: Data::Lent(home.lend(parts, len, fragment, context)), context }
    }

    /// Whether `len` bytes from `offset` on, whose checksum is `sum` now, are those that were given to send.
    pub(crate) fn is_unchanged(&self, offset: usize, len: usize, sum: u32) -> bool {
        match &self.data {
            Data::Copied(_) => true,
            Data::Lent(loan) => {
                loan.seals().hold(offset, len, sum, |from, to| self.checksum(from, to - from))
            }
        }
    }

    fn checksum(&self, offset: usize, len: usize) -> u32 {
        self.slices(offset, len).fold(0, crc32c)
    }

    /// Whether its bytes are in memory that somebody else may write to.
    pub(crate) fn is_exposed(&self) -> bool {
        match &self.data {
            Data::Copied(_) => false,
            Data::Lent(loan) => !loan.parts().is_empty(),
        }
    }

    /// Drops a payload that no other clone exists of, without a release event: its send was refused.
    pub(crate) fn take_back(self) {
        if let Data::Lent(loan) = self.data {
            loan.take_back();
        }
    }

    /// What the send was given.
    pub(crate) fn context(&self) -> u64 {
        self.context
    }

    /// All bytes in one slice, if they are.
    pub(crate) fn contiguous(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Copied(slice) => Some(slice.bytes()),
            Data::Lent(loan) => match loan.parts() {
                [] => Some(loan.copy()),
                [part] => Some(part.bytes()),
                _ => None,
            },
        }
    }

    /// Its first `len` bytes, copied into one piece.
    pub(crate) fn gather<'a>(&self, len: usize, into: &'a mut Vec<u8>) -> &'a [u8] {
        into.clear();
        self.slices(0, len).for_each(|slice| into.extend_from_slice(slice));
        into
    }

    /// The slices of `len` bytes from `offset` on. Panics if there are not so many: the engine asks only for what it was told there is.
    pub(crate) fn slices(&self, offset: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let (first, parts): (&[u8], &[Part]) = match &self.data {
            Data::Copied(slice) => (slice.bytes(), &[]),
            Data::Lent(loan) => (loan.copy(), loan.parts()),
        };
        let mut skip = offset;
        let mut left = len;
        std::iter::once(first).chain(parts.iter().map(Part::bytes)).filter_map(move |slice| {
            let from = skip.min(slice.len());
            skip -= from;
            let take = left.min(slice.len() - from);
            left -= take;
            (take > 0).then(|| &slice[from..from + take])
        })
    }
}

impl cdps_core::port::Payload for Payload {
    /// Copies that lie one behind the other in a chunk are written as one.
    fn join(&mut self, next: &Self) -> bool {
        match (&mut self.data, &next.data) {
            (Data::Copied(slice), Data::Copied(next)) => slice.join(next),
            (Data::Copied(_) | Data::Lent(_), _) => false,
        }
    }
}

/// Copies a gather list, behind what this thread has copied before if there is room.
#[inline(always)]
fn copied(parts: &[IoSlice<'_>], len: usize) -> Slice {
    ARENA
        .try_with(|arena| {
            let arena = &mut *arena.borrow_mut();
            match arena {
                Some(chunk) if len <= chunk.room().min(OWN_ALLOCATION) => fill(chunk, parts, len),
                _ => anew(arena, parts, len),
            }
        })
        // The thread is ending, and sends from a destructor.
        .unwrap_or_else(|_| fill(&mut Chunk::new(len), parts, len))
}

#[inline(always)]
fn fill(chunk: &mut Chunk, parts: &[IoSlice<'_>], len: usize) -> Slice {
    let start = chunk.filled();
    parts.iter().for_each(|part| chunk.append(part));
    chunk.slice(start, len)
}

#[cold]
fn anew(arena: &mut Option<Chunk>, parts: &[IoSlice<'_>], len: usize) -> Slice {
    if len > OWN_ALLOCATION {
        return fill(&mut Chunk::new(len), parts, len);
    }
    fill(arena.insert(Chunk::new(COMMON)), parts, len)
}

/// Checksums of lent memory, when it was lent: one for every `every` bytes.
#[derive(Default)]
struct Seals {
    every: usize,
    len: usize,
    sums: Vec<u32>,
}

impl Seals {
    /// Whether the bytes of a range are what they were. `sum` is its checksum now; `sum_of` computes that of another range.
    fn hold(&self, offset: usize, len: usize, sum: u32, sum_of: impl Fn(usize, usize) -> u32) -> bool {
        let Some(last) = (offset + len).checked_sub(1).filter(|_| self.every > 0) else { return true };
        let end = |k: usize| ((k + 1) * self.every).min(self.len);
        let (first, last) = (offset / self.every, last / self.every);
        if first == last && offset == first * self.every && offset + len == end(first) {
            return self.sums[first] == sum;
        }
        // The port's fragments have another length by now.
        (first..=last).all(|k| self.sums[k] == sum_of(k * self.every, end(k)))
    }
}

/// A slice of lent memory.
#[derive(Clone, Copy)]
struct Part {
    start: *const u8,
    len: usize,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        // SAFETY: who lent it keeps it valid and unchanged until it is given back, which the loan that `self` is borrowed from
        // prevents (`Payload::lend`). The pointer of an empty IoSlice is never null.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// Lent memory with a count of its users. It lives in a box, is pooled, and finds its way home by itself when the last one is gone.
struct Loaned {
    users: AtomicUsize,
    context: u64,
    /// None, if there is a copy.
    parts: Vec<Part>,
    copy: Slice,
    seals: Seals,
    /// `None` while pooled.
    home: Option<Arc<Lending>>,
    /// Next in the list of those that came home.
    next: *mut Loaned,
}

impl Loaned {
    /// Notes where the bytes are, and what they are.
    fn take_in(&mut self, parts: &[IoSlice<'_>], fragment: usize) {
        let filled = parts.iter().filter(|part| !part.is_empty());
        self.parts.extend(filled.clone().map(|part| Part { start: part.as_ptr(), len: part.len() }));
        self.seals.every = fragment.max(1);
        let (mut sum, mut left) = (0, self.seals.every);
        for part in filled {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let (now, behind) = rest.split_at(left.min(rest.len()));
                (sum, left, rest) = (crc32c(sum, now), left - now.len(), behind);
                if left == 0 {
                    self.seals.sums.push(sum);
                    (sum, left) = (0, self.seals.every);
                }
            }
        }
        if left < self.seals.every {
            self.seals.sums.push(sum);
        }
    }
}

/// One user of a [`Loaned`].
struct Loan(NonNull<Loaned>);

// SAFETY: the lent memory is only read, `users` is atomic, and the other fields are written only by the last user.
unsafe impl Send for Loan {}
// SAFETY: as above.
unsafe impl Sync for Loan {}

impl Loan {
    fn parts(&self) -> &[Part] {
        // SAFETY: the box lives as long as a user does, and its parts do not change meanwhile.
        unsafe { &self.0.as_ref().parts }
    }

    fn copy(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { self.0.as_ref().copy.bytes() }
    }

    fn seals(&self) -> &Seals {
        // SAFETY: as above.
        unsafe { &self.0.as_ref().seals }
    }

    fn take_back(self) {
        let inner = self.0;
        std::mem::forget(self);
        // SAFETY: the caller has the only user, so the box is ours.
        let mut loaned = unsafe { Box::from_raw(inner.as_ptr()) };
        debug_assert_eq!(*loaned.users.get_mut(), 1);
        if let Some(home) = loaned.home.take() {
            home.outstanding.fetch_sub(1, Ordering::Release);
            loaned.copy = Slice::default();
            home.pool(loaned);
        }
    }
}

impl Clone for Loan {
    fn clone(&self) -> Loan {
        // SAFETY: the box lives as long as a user does.
        unsafe { self.0.as_ref() }.users.fetch_add(1, Ordering::Relaxed);
        Loan(self.0)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: the box lives as long as a user does.
        if unsafe { self.0.as_ref() }.users.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // SAFETY: this was the last user, and the load orders every other one's reads before this.
        let home = unsafe {
            self.0.as_ref().users.load(Ordering::Acquire);
            self.0.as_mut().copy = Slice::default();
            self.0.as_mut().home.take()
        };
        if let Some(home) = home {
            home.push(self.0);
        }
    }
}

/// A port's lent memory: what is out, and what came back and has not been told yet.
///
/// Coming home takes no lock, so that a payload may be dropped anywhere, also under the engine's lock. Who drops payloads looks at
/// [`Lending::came_home`] afterwards and has the events dispatched.
#[derive(Default)]
pub(crate) struct Lending {
    home: AtomicPtr<Loaned>,
    outstanding: AtomicUsize,
    #[expect(
        clippy::vec_box,
        reason = "the boxes are what is pooled: their addresses are shared by the users of a loan"
    )]
    pool: Mutex<Vec<Box<Loaned>>>,
}

// SAFETY: the list holds boxes that nobody else uses, and is handled by atomic operations.
unsafe impl Send for Lending {}
// SAFETY: as above.
unsafe impl Sync for Lending {}

impl Lending {
    fn lend(self: &Arc<Self>, parts: &[IoSlice<'_>], len: usize, fragment: usize, context: u64) -> Loan {
        let mut loaned = self.pool.lock().pop().unwrap_or_else(|| {
            let users = AtomicUsize::new(0);
            Box::new(Loaned {
                users,
                context: 0,
                parts: Vec::with_capacity(1),
                copy: Slice::default(),
                seals: Seals::default(),
                home: None,
                next: std::ptr::null_mut(),
            })
        });
        *loaned.users.get_mut() = 1;
        loaned.context = context;
        loaned.parts.clear();
        loaned.seals.sums.clear();
        (loaned.seals.every, loaned.seals.len) = (0, len);
        if len <= MAX_BUNDLED {
            loaned.copy = copied(parts, len);
        } else {
            loaned.take_in(parts, fragment);
        }
        loaned.home = Some(Arc::clone(self));
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Loan(NonNull::from(Box::leak(loaned)))
    }

    fn push(&self, loaned: NonNull<Loaned>) {
        let mut head = self.home.load(Ordering::Relaxed);
        loop {
            // SAFETY: the last user is gone, so the box is ours until the list has it.
            unsafe { (*loaned.as_ptr()).next = head };
            match self.home.compare_exchange_weak(head, loaned.as_ptr(), Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pool(&self, loaned: Box<Loaned>) {
        let mut pool = self.pool.lock();
        if pool.len() < POOLED && loaned.seals.sums.capacity() <= KEPT_SUMS {
            pool.push(loaned);
        }
    }

    /// Whether release events wait to be told.
    pub(crate) fn came_home(&self) -> bool {
        !self.home.load(Ordering::Relaxed).is_null()
    }

    /// Whether every loan has been given back and told.
    pub(crate) fn settled(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    /// Takes the contexts of what came home, in that order.
    pub(crate) fn take_home(&self, contexts: &mut Vec<u64>) {
        let start = contexts.len();
        let mut head = self.home.swap(std::ptr::null_mut(), Ordering::Acquire);
        let mut pool = (!head.is_null()).then(|| self.pool.lock());
        while let Some(first) = NonNull::new(head) {
            // SAFETY: the list owns its boxes, and taking its head has made this part of it ours alone.
            let loaned = unsafe { Box::from_raw(first.as_ptr()) };
            head = loaned.next;
            contexts.push(loaned.context);
            if let Some(pool) =
                pool.as_mut().filter(|pool| pool.len() < POOLED && loaned.seals.sums.capacity() <= KEPT_SUMS)
            {
                pool.push(loaned);
            }
        }
        contexts[start..].reverse();
    }

    /// So many release events have been told.
    pub(crate) fn told(&self, count: usize) {
        self.outstanding.fetch_sub(count, Ordering::Release);
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        self.take_home(&mut Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather<'a>(parts: &[&'a [u8]]) -> Vec<IoSlice<'a>> {
        parts.iter().map(|part| IoSlice::new(part)).collect()
    }

    fn joined(payload: &Payload, offset: usize, len: usize) -> Vec<u8> {
        payload.slices(offset, len).flatten().copied().collect()
    }

    /// [M1] Any range of a gather list, copied or lent, is found across its pieces.
    #[test]
    fn ranges_of_gather_lists() {
        let parts: [&[u8]; 5] = [b"ab", b"", b"cdef", b"g", b"hi"];
        let whole = parts.concat();
        let home = Arc::new(Lending::default());
        let copied = Payload::copy(&gather(&parts), whole.len(), 7);
        // SAFETY: `parts` outlives the payload.
        let lent = unsafe { Payload::lend(&gather(&parts), whole.len(), 4, &home, 7) };
        for payload in [&copied, &lent] {
            assert_eq!(payload.context(), 7);
            for from in 0..=whole.len() {
                for to in from..=whole.len() {
                    assert_eq!(joined(payload, from, to - from), whole[from..to]);
                }
            }
        }
        assert_eq!(copied.contiguous(), Some(&whole[..]));
        assert_eq!(lent.contiguous(), Some(&whole[..]), "so short a one is copied");
    }

    /// [M5] A loan comes home once, when its last user is gone, on whatever thread; in order; and its record is used again.
    #[test]
    fn loans_come_home_once() {
        let home = Arc::new(Lending::default());
        let memory = vec![1u8; MAX_BUNDLED + 1];
        let lend = |context| {
            // SAFETY: `memory` outlives the payloads.
            unsafe { Payload::lend(&gather(&[&memory]), memory.len(), 1000, &home, context) }
        };
        let mut contexts = Vec::new();
        let first = lend(1);
        let second = first.clone();
        drop(first);
        assert!(!home.came_home());
        std::thread::spawn(move || drop(second)).join().expect("drops");
        drop(lend(2));
        lend(3).take_back();
        assert!(home.came_home() && !home.settled());
        home.take_home(&mut contexts);
        assert_eq!(contexts, [1, 2]);
        home.told(2);
        assert!(home.settled() && !home.came_home());
        assert_eq!(home.pool.lock().len(), 3);
        drop([lend(4), lend(5)]);
        assert_eq!(home.pool.lock().len(), 1, "records are used again");
    }

    /// [M8] A change of lent memory is found in every range that it lies in, whatever the ranges are, and in no other; it does not reach what was
    /// copied, since that is short.
    #[test]
    fn changes_are_found_where_they_are() {
        const FRAGMENT: usize = 1000;
        let home = Arc::new(Lending::default());
        let mut memory: Vec<u8> = (0..3500u32).map(|k| (k * 7 / 5) as u8).collect();
        let start = memory.as_mut_ptr();
        // SAFETY: in bounds; `memory` is used through this pointer only, and outlives the payloads.
        let part = |from: usize, to: usize| unsafe { std::slice::from_raw_parts(start.add(from), to - from) };
        let lend = |parts: &[&[u8]], len| {
            // SAFETY: as above.
            unsafe { Payload::lend(&gather(parts), len, FRAGMENT, &home, 7) }
        };
        let long = lend(&[part(0, 10), part(10, 2300), part(2300, 3500)], 3500);
        let short = lend(&[part(1100, 1300)], 200);
        let before = joined(&short, 0, 200);
        assert!(long.is_exposed() && !short.is_exposed());
        let holds = |payload: &Payload, from, to| {
            payload.is_unchanged(from, to - from, payload.checksum(from, to - from))
        };
        let changed = 1234;
        let flip = || {
            // SAFETY: in bounds, and nothing refers to it just now.
            unsafe { *start.add(changed) ^= 1 }
        };
        let ranges = [
            (0, 1000),
            (1000, 2000),
            (2000, 3000),
            (3000, 3500),
            (999, 1001),
            (500, 3500),
            (2000, 3500),
            (0, 3500),
        ];
        for (from, to) in ranges {
            assert!(holds(&long, from, to), "{from} to {to}");
            flip();
            let fragments = from / FRAGMENT..=(to - 1) / FRAGMENT;
            assert_eq!(holds(&long, from, to), !fragments.contains(&1), "{from} to {to}");
            assert!(holds(&short, 0, 200));
            assert_eq!(joined(&short, 0, 200), before);
            flip();
        }
    }

    /// [M5] Copies do not disturb each other, whether they share a chunk or not.
    #[test]
    fn copies_are_apart() {
        let sizes = [0usize, 1, 64, 2048, OWN_ALLOCATION, OWN_ALLOCATION + 1, COMMON, 3];
        let copies: Vec<(u8, usize, Payload)> = (0..400usize)
            .map(|i| {
                let (byte, len) = (i as u8, sizes[i % sizes.len()]);
                (byte, len, Payload::copy(&gather(&[&vec![byte; len]]), len, i as u64))
            })
            .collect();
        for (byte, len, payload) in &copies {
            assert_eq!(payload.contiguous().map(<[u8]>::to_vec), Some(vec![*byte; *len]));
        }
    }
}
