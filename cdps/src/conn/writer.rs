//! Writing, by whoever has the time (architecture, point 3).
//!
//! A kicked path is served at once by the thread that kicked it if the path has been quiet, which saves the wake-up of a task; else by
//! the path's task, which then finds a longer run to write. How they take turns: [`super::turn`].

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cdps_core::port::{Batch, Changed, ItemBytes, Outgoing};
use cdps_core::reason::Reason;
use cdps_core::wire::{self, Checksum, Frame};
use tokio::io::Interest;

use super::turn::Step;
use super::{Conn, FLUSHING, socket};
use crate::clock;
use crate::log::Level;
use crate::payload::Payload;
use crate::shared::Post;
use crate::sync::MutexGuard;

/// A path that has written nothing for so long is served by the thread that kicks it.
const QUIET_NS: u64 = 50_000;
/// Most pieces of one vectored write.
const MAX_PIECES: usize = 64;
/// Batches that the task writes before other tasks of its thread get their turn.
const TURN: usize = 8;
/// Larger buffers are not kept by a thread that has finished writing.
const KEEP: usize = 512 << 10;
/// Header and head of a bundle.
const BUNDLE_HEAD: usize = wire::FRAME_HEADER + 32;

/// What a connection has still to write. Without buffers while it has nothing, so that idle ones take no memory.
#[derive(Default)]
pub(super) struct Writer {
    buffers: Option<Box<Buffers>>,
}

/// Encoded frames on their way to the socket.
#[derive(Default)]
struct Buffers {
    /// Heads, bundles, control frames: everything but large payloads.
    bytes: Vec<u8>,
    /// What goes where, in order.
    pieces: Vec<Piece>,
    /// Pieces that are written whole.
    done: usize,
    /// Bytes written of the next.
    part: usize,
    batch: Batch<Payload>,
    /// For small gather lists.
    scratch: Vec<u8>,
    /// Fragments of the batch that were not encoded, since their users have changed them.
    changed: Vec<Changed>,
}

enum Piece {
    /// A range of `bytes`.
    Bytes(usize, usize),
    /// A range of a payload: offset and length.
    Payload(Payload, usize, usize),
}

thread_local! {
    /// Buffers of a connection that had nothing left to write, for the next.
    static SPARE: RefCell<Option<Box<Buffers>>> = const { RefCell::new(None) };
}

impl Conn {
    /// The engine has something for this connection.
    pub(crate) fn kick(self: &Arc<Self>) {
        let quiet = || clock::now().0.saturating_sub(self.wrote.load(Ordering::Relaxed)) >= QUIET_NS;
        self.turn.kick(quiet, |guard| self.step(guard), || self.wake.notify_one());
    }

    /// As [`Conn::kick`], and its task serves it, after what this I/O thread has to do before.
    pub(crate) fn kick_later(self: &Arc<Self>) {
        self.turn.kick(|| false, |guard| self.step(guard), || self.wake.notify_one());
    }

    /// Writes what is buffered, asks the engine for more, writes that, and does what the engine call left to be done.
    fn step(self: &Arc<Self>, mut writer: MutexGuard<'_, Writer>) -> Step {
        let mut post = None;
        let mut changed = None;
        let step = self.write(&mut writer, &mut post, &mut changed);
        if matches!(step, Step::Idle | Step::Over) {
            writer.shrink();
        }
        self.turn.let_go(writer, step);
        if let Some(post) = post {
            self.port.after(post);
        }
        self.port.payloads_dropped();
        if let Some(Changed { sn, .. }) = changed {
            let session = self.port.session;
            let text = format_args!(
                "port {session}: message {sn} is not what was sent: its user has changed the borrowed buffer"
            );
            self.port.node.log_limited(Level::Error, "session", text);
        }
        self.turn.settle(step)
    }

    fn write(&self, writer: &mut Writer, post: &mut Option<Post>, changed: &mut Option<Changed>) -> Step {
        let buffers = writer.buffers();
        if let Some(step) = self.flush(buffers) {
            return step;
        }
        self.turn.look();
        if self.phase.load(Ordering::Acquire) == FLUSHING {
            if let Some(frame) = self.farewell.lock().take() {
                buffers.batch.frames.push(Outgoing::Control(frame));
                buffers.encode(self.sum);
            }
            return self.flush(buffers).unwrap_or(Step::Idle);
        }
        let polled = self.port.call_only(|engine, now| {
            self.wrote.store(now.0, Ordering::Relaxed);
            engine.poll_transmit(now, self.path, self.number, &mut buffers.batch)
        });
        let Some((more, rest)) = polled else { return Step::Over };
        *post = Some(rest);
        self.counters.frames_out.fetch_add(buffers.batch.frames.len() as u64, Ordering::Relaxed);
        buffers.encode(self.sum);
        if let Some(first) = buffers.changed.first() {
            *changed = Some(*first);
            // Before anybody asks the engine for more on this connection, which would say that these were written.
            let told = self.port.call_only(|engine, now| {
                engine.handle_changed(now, self.path, self.number, &buffers.changed);
            });
            *post = told.map(|((), more)| rest.and(more)).or(Some(rest));
            buffers.changed.clear();
        }
        if let Some(step) = self.flush(buffers) {
            return step;
        }
        if more { Step::More } else { Step::Idle }
    }

    /// Writes what is buffered. `None`: all of it.
    fn flush(&self, buffers: &mut Buffers) -> Option<Step> {
        if self.is_over() {
            return Some(Step::Over);
        }
        match buffers.flush(self.fd(), &self.counters.bytes_out) {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Step::Full),
            Err(_) => {
                self.fail(Reason::ConnectionLost);
                Some(Step::Over)
            }
        }
    }

    /// Whether the engine is done with it, and all is written.
    fn said_farewell(&self) -> bool {
        self.phase.load(Ordering::Acquire) == FLUSHING
            && self.farewell.lock().is_none()
            && self.turn.peek().is_some_and(|writer| writer.buffers.is_none())
    }

    /// Waits until the socket takes more, and has taken what is buffered. False: the connection is over.
    async fn unblock(&self) -> bool {
        loop {
            if self.is_over() || self.socket.writable().await.is_err() {
                return false;
            }
            // Through the runtime, which learns from a refusal that it has to wait for the socket.
            let written = self.socket.try_io(Interest::WRITABLE, || {
                let mut writer = self.turn.wait();
                writer.buffers().flush(self.fd(), &self.counters.bytes_out)
            });
            match written {
                Ok(()) => {
                    self.turn.unblock();
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.fail(Reason::ConnectionLost);
                    return false;
                }
            }
        }
    }
}

/// The writing task of a connection.
pub(super) async fn run(conn: Arc<Conn>) {
    let mut turn = 0;
    while !conn.is_over() {
        // If somebody else holds the lock, he wakes this task should there be anything left to do.
        let step = match conn.turn.take() {
            Some(guard) => conn.step(guard),
            None => Step::Idle,
        };
        match step {
            Step::Idle if conn.said_farewell() => {
                conn.shut_down(libc::SHUT_WR);
                break;
            }
            Step::Idle => {
                turn = 0;
                conn.wake.notified().await;
            }
            Step::More => {
                turn += 1;
                if turn % TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Step::Full => {
                if !conn.unblock().await {
                    break;
                }
            }
            Step::Over => break,
        }
    }
    if conn.is_over() {
        // What was polled is not going to be written: the payloads are let go.
        conn.turn.wait().buffers = None;
        conn.port.payloads_dropped();
    }
}

impl Writer {
    fn buffers(&mut self) -> &mut Buffers {
        // The thread may be one of the user's that ends, and sends from a destructor: then it has none to spare.
        let spare = || SPARE.try_with(RefCell::take).ok().flatten();
        self.buffers.get_or_insert_with(|| spare().unwrap_or_default())
    }

    /// Gives the buffers to this thread's next connection.
    fn shrink(&mut self) {
        if let Some(mut buffers) = self.buffers.take() {
            buffers.clear();
            if buffers.bytes.capacity() <= KEEP {
                let _ = SPARE.try_with(|spare| spare.replace(Some(buffers)));
            }
        }
    }
}

impl Buffers {
    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.changed.clear();
        self.batch.clear();
        (self.done, self.part) = (0, 0);
    }

    /// Turns a batch into bytes. Small payloads are copied next to their heads, large ones are referred to.
    fn encode(&mut self, sum: Checksum) {
        let mut from = self.bytes.len();
        let mut payloads = self.batch.payloads.iter();
        let mut rest: &[u8] = &[];
        for frame in self.batch.frames.drain(..) {
            match frame {
                Outgoing::Control(frame) => wire::encode_frame(&frame, sum, &mut self.bytes),
                Outgoing::Bundle { head, items, body_len } => {
                    let start = self.bytes.len();
                    self.bytes.reserve(BUNDLE_HEAD + body_len as usize);
                    self.bytes.resize(start + BUNDLE_HEAD, 0);
                    for item in &self.batch.items[items] {
                        if item.bytes == ItemBytes::Next
                            && let Some(payload) = payloads.next()
                        {
                            rest = match payload.contiguous() {
                                Some(bytes) => bytes,
                                None => payload.gather(item.len as usize, &mut self.scratch),
                            };
                        }
                        let (bytes, behind) = rest.split_at(item.len as usize);
                        rest = behind;
                        wire::encode_item(&mut self.bytes, item.flags, item.stream, bytes);
                    }
                    let body = start + BUNDLE_HEAD;
                    let sealed = wire::encode_bundle_head(&head, &self.bytes[body..], sum);
                    self.bytes[start..body].copy_from_slice(&sealed);
                }
                Outgoing::Fragment { head, len, payload } => {
                    let (offset, size) = (head.offset as usize, len as usize);
                    let crc = payload.slices(offset, size).fold(0, |crc, slice| sum.append(crc, slice));
                    if sum.is_on() && !payload.is_unchanged(offset, size, crc) {
                        self.changed.push(Changed { sn: head.sn, len });
                        // Frames are counted by both ends: one that says little takes its place.
                        wire::encode_frame(&Frame::Probe, sum, &mut self.bytes);
                        continue;
                    }
                    self.bytes.extend_from_slice(&wire::encode_fragment_head(&head, len, crc, sum));
                    self.pieces.push(Piece::Bytes(from, self.bytes.len()));
                    from = self.bytes.len();
                    self.pieces.push(Piece::Payload(payload, offset, size));
                }
            }
        }
        self.batch.items.clear();
        self.batch.payloads.clear();
        if from < self.bytes.len() {
            self.pieces.push(Piece::Bytes(from, self.bytes.len()));
        }
    }

    /// Writes all of it, or says `WouldBlock`.
    fn flush(&mut self, socket: BorrowedFd<'_>, count: &std::sync::atomic::AtomicU64) -> io::Result<()> {
        while self.done < self.pieces.len() {
            let mut list = [IoSlice::new(&[]); MAX_PIECES];
            let filled = self.gather(&mut list);
            match socket::send(socket, &list[..filled]) {
                Ok(n) => {
                    count.fetch_add(n as u64, Ordering::Relaxed);
                    self.advance(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::WouldBlock {
                        self.keep();
                    }
                    return Err(error);
                }
            }
        }
        if !self.pieces.is_empty() {
            self.clear();
        }
        Ok(())
    }

    /// The socket takes no more for now. What it has not taken of memory that somebody else may write to is copied, so that it goes out as it was
    /// found to be, however long that takes; and so that a path that stands still does not hold a user's buffer.
    fn keep(&mut self) {
        for at in self.done..self.pieces.len() {
            let Piece::Payload(payload, offset, len) = &self.pieces[at] else { continue };
            if !payload.is_exposed() {
                continue;
            }
            let written = if at == self.done { std::mem::take(&mut self.part) } else { 0 };
            let from = self.bytes.len();
            payload.slices(offset + written, len - written).for_each(|s| self.bytes.extend_from_slice(s));
            self.pieces[at] = Piece::Bytes(from, self.bytes.len());
        }
    }

    fn gather<'a>(&'a self, list: &mut [IoSlice<'a>; MAX_PIECES]) -> usize {
        let mut filled = 0;
        let mut skip = self.part;
        for piece in &self.pieces[self.done..] {
            match piece {
                Piece::Bytes(from, to) => {
                    list[filled] = IoSlice::new(&self.bytes[from + skip..*to]);
                    filled += 1;
                }
                Piece::Payload(payload, offset, len) => {
                    for slice in payload.slices(offset + skip, len - skip) {
                        list[filled] = IoSlice::new(slice);
                        filled += 1;
                        if filled == MAX_PIECES {
                            return filled;
                        }
                    }
                }
            }
            if filled == MAX_PIECES {
                return filled;
            }
            skip = 0;
        }
        filled
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let len = match &self.pieces[self.done] {
                Piece::Bytes(from, to) => to - from,
                Piece::Payload(_, _, len) => *len,
            } - self.part;
            if written < len {
                self.part += written;
                return;
            }
            written -= len;
            self.part = 0;
            self.done += 1;
        }
    }
}
