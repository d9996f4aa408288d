//! Payloads: what a message contains follows from its number, so that the oracle can check each byte without keeping a copy.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::{Rc, Weak};
use std::sync::OnceLock;

use cdps_core::port::Payload;

use crate::rng::Rng;

/// Longest message that a workload sends.
pub(crate) const MAX_LEN: usize = 256 << 10;
const TABLE: usize = 1 << 20;

/// What a sender hands to the engine.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Number of the payload, unique within a run.
    pub(crate) id: u64,
    /// Its length.
    pub(crate) len: u32,
    /// Its user changes the buffer: when, and which byte.
    changes: Option<(u64, u32)>,
}

impl Sent {
    /// Its user changes it at some time.
    pub(crate) fn changes(&self) -> bool {
        self.changes.is_some()
    }

    /// Its user has changed it by this time.
    pub(crate) fn is_changed(&self, now: u64) -> bool {
        self.changes.is_some_and(|(at, _)| at <= now)
    }

    /// What is in a part of the buffer at this time.
    pub(crate) fn part(&self, now: u64, offset: u32, len: u32) -> Vec<u8> {
        let mut part = bytes(self.id, self.len)[offset as usize..(offset + len) as usize].to_vec();
        if let Some((_, at)) = self.changes.filter(|_| self.is_changed(now))
            && let Some(byte) = at.checked_sub(offset).and_then(|at| part.get_mut(at as usize))
        {
            *byte ^= 0x5a;
        }
        part
    }
}

/// The handle that the engine keeps.
#[derive(Clone, Debug)]
pub(crate) struct SentHandle {
    sent: Rc<Sent>,
    /// What it stands for besides: those that lie behind it.
    behind: Vec<Rc<Sent>>,
}

/// So many messages lie in a row.
const ROW: u64 = 8;

impl SentHandle {
    /// `changes`: when its user changes the buffer, and which byte.
    pub(crate) fn new(id: u64, len: u32, changes: Option<(u64, u32)>) -> SentHandle {
        SentHandle { sent: Rc::new(Sent { id, len, changes }), behind: Vec::new() }
    }

    /// To see whether it is still held.
    pub(crate) fn watch(&self) -> Weak<Sent> {
        Rc::downgrade(&self.sent)
    }

    /// All bytes that it stands for, as they were given to send: what is so short is copied there and then.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::iter::once(&self.sent).chain(&self.behind).flat_map(|s| bytes(s.id, s.len)).copied().collect()
    }
}

impl Deref for SentHandle {
    type Target = Sent;

    fn deref(&self) -> &Sent {
        &self.sent
    }
}

impl Payload for SentHandle {
    fn join(&mut self, next: &Self) -> bool {
        let joins = self.id + self.behind.len() as u64 + 1 == next.id && !next.id.is_multiple_of(ROW);
        if joins {
            self.behind.push(Rc::clone(&next.sent));
        }
        joins
    }
}

/// The bytes of payload `id`.
pub(crate) fn bytes(id: u64, len: u32) -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    let noise = NOISE.get_or_init(|| {
        let mut rng = Rng::new(0xb17e5);
        (0..TABLE / 8).flat_map(|_| rng.next().to_le_bytes()).collect()
    });
    let start = (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % (TABLE - MAX_LEN);
    &noise[start..start + len as usize]
}

/// Counts the payload bytes that one receiving port and its user hold.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    held: Cell<u64>,
    peak: Cell<u64>,
}

impl Meter {
    fn grow(&self, n: u64) {
        self.held.set(self.held.get() + n);
        self.peak.set(self.peak.get().max(self.held.get()));
    }

    /// Most that was held at once.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.get()
    }

    /// What is held now.
    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }
}

/// A buffer that received bytes are put into.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: RefCell<Vec<u8>>,
    len: u64,
    meter: Rc<Meter>,
}

/// The handle that the engine keeps.
pub(crate) type Received = Rc<Buffer>;

impl Buffer {
    pub(crate) fn zeroed(len: usize, meter: &Rc<Meter>) -> Received {
        Buffer::from_vec(vec![0; len], meter)
    }

    pub(crate) fn from_vec(bytes: Vec<u8>, meter: &Rc<Meter>) -> Received {
        let len = bytes.len() as u64;
        meter.grow(len);
        Rc::new(Buffer { bytes: RefCell::new(bytes), len, meter: Rc::clone(meter) })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.meter.held.set(self.meter.held.get() - self.len);
    }
}
