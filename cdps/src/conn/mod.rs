//! Connections: how they are made, and what carries a data connection once it is.

pub(crate) mod accept;
pub(crate) mod control;
pub(crate) mod dial;
pub(crate) mod handshake;
mod reader;
pub(crate) mod socket;
mod turn;
mod writer;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use cdps_core::id::{ConnId, PathId, Side};
use cdps_core::reason::Reason;
use cdps_core::time::Time;
use cdps_core::wire::{Checksum, Frame, reason_of};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::hub::Alive;
use crate::shared::{Engine, PortShared};
use turn::Turn;
use writer::Writer;

/// How long a connection whose last bytes are written waits for the peer's end.
const LINGER: Duration = Duration::from_secs(1);

/// CRC-32C in the form that the wire format takes.
pub(crate) fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    let mut digest =
        crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, u64::from(!state));
    digest.update(bytes);
    digest.finalize() as u32
}

/// How frames of a plain connection are checked.
pub(crate) const CHECKED: Checksum = Checksum(Some(crc32c));

/// A data connection after its handshake. Two tasks of one I/O thread carry it; any thread may write on it for a moment (see `writer`).
pub(crate) struct Conn {
    pub(crate) port: Arc<PortShared>,
    pub(crate) path: PathId,
    pub(crate) number: ConnId,
    sum: Checksum,
    socket: TcpStream,
    phase: AtomicU8,
    /// Why it failed.
    reason: AtomicU16,
    /// Written last, when the engine is done with it.
    farewell: Mutex<Option<Frame>>,
    turn: Turn<Writer>,
    /// When something was last written, ns.
    wrote: AtomicU64,
    /// Wakes the writing task.
    wake: Notify,
    counters: Counters,
    _alive: Alive,
}

/// What a connection has carried.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) bytes_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) frames_in: AtomicU64,
}

/// In use.
const OPEN: u8 = 0;
/// The engine is done with it; what it has polled is still written.
const FLUSHING: u8 = 1;
/// Broken: its reader reports that.
const FAILED: u8 = 2;
/// Over, and nothing is to be reported.
const CLOSED: u8 = 3;

impl Conn {
    /// Puts a connection to work on this I/O thread. `rest`: what came behind the handshake. `up` tells the engine, and says whether it
    /// wants the connection.
    pub(crate) fn start(
        port: &Arc<PortShared>,
        path: PathId,
        number: ConnId,
        socket: TcpStream,
        rest: Vec<u8>,
        up: impl FnOnce(&mut Engine, Time) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let conn = Arc::new(Conn {
            port: Arc::clone(port),
            path,
            number,
            sum: CHECKED,
            socket,
            phase: AtomicU8::new(OPEN),
            reason: AtomicU16::new(Reason::None as u16),
            farewell: Mutex::new(None),
            turn: Turn::new(Writer::default()),
            wrote: AtomicU64::new(0),
            wake: Notify::new(),
            counters: Counters::default(),
            _alive: port.node.alive(),
        });
        // The table is held meanwhile, so that whatever the engine asks of the connection from now on finds it there.
        let (former, post) = port.slot(path, |slot| {
            if port.side == Side::Source && slot.dial.take_if(|dial| dial.0 == number).is_none() {
                // It was hung up meanwhile.
                return Err(Reason::Closed);
            }
            let (judged, post) = port.call_only(up).ok_or(Reason::UnknownSession)?;
            let former = judged.map(|()| slot.replace(Some(Arc::clone(&conn))));
            Ok((former, post))
        })?;
        let started = former.map(|former| {
            if let Some(former) = former {
                former.hang_up(None);
            }
            tokio::spawn(port.node.watched(reader::run(Arc::clone(&conn), rest)));
            // Its first look at the engine serves whatever was kicked so far.
            tokio::spawn(port.node.watched(writer::run(conn)));
        });
        port.after(post);
        started
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_open(&self) -> bool {
        self.phase.load(Ordering::Acquire) == OPEN
    }

    fn is_over(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= FAILED
    }

    /// It broke. Its reader tells the engine, when it has let go of the buffers that the engine lent it.
    pub(crate) fn fail(&self, reason: Reason) {
        if self.phase.compare_exchange(OPEN, FAILED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.reason.store(reason as u16, Ordering::Release);
        } else if self.phase.compare_exchange(FLUSHING, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            return;
        }
        self.shut_down(libc::SHUT_RDWR);
    }

    /// The engine is done with it. With a farewell: what it has polled is still written, then the farewell, and the peer's end is
    /// waited for.
    pub(crate) fn hang_up(self: &Arc<Self>, farewell: Option<Frame>) {
        if farewell.is_some() && self.is_open() {
            *self.farewell.lock() = farewell;
            if self.phase.compare_exchange(OPEN, FLUSHING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                self.wake.notify_one();
                let conn = Arc::downgrade(self);
                self.port.node.io(usize::from(self.path.0)).spawn(async move {
                    tokio::time::sleep(LINGER).await;
                    if let Some(conn) = conn.upgrade() {
                        conn.hang_up(None);
                    }
                });
                return;
            }
        }
        self.phase.store(CLOSED, Ordering::Release);
        self.shut_down(libc::SHUT_RDWR);
    }

    /// Wakes both tasks with the end of the stream.
    fn shut_down(&self, how: libc::c_int) {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as `self` is. An error means that the peer was faster.
        unsafe { libc::shutdown(self.fd().as_raw_fd(), how) };
        self.wake.notify_one();
    }

    /// Takes itself out of its port's table, so that nobody finds it any more.
    fn forget(self: &Arc<Self>) {
        self.port.slot(self.path, |slot| slot.take_if(|conn| Arc::ptr_eq(conn, self)));
    }

    /// The reader is done: the engine is told, unless it knows.
    fn ended(self: &Arc<Self>) {
        self.forget();
        if self.phase.load(Ordering::Acquire) == FAILED {
            let reason = reason_of(self.reason.load(Ordering::Acquire));
            self.port.node.connection_ended(&self.port, self.path, reason);
            self.port.call(|engine, now| engine.handle_conn_lost(now, self.path, self.number, reason));
        }
        self.phase.store(CLOSED, Ordering::Release);
        self.wake.notify_one();
    }
}
