//! Control connections: heartbeats and node messages of one link.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cdps_core::node::LinkKey;
use cdps_core::reason::Reason;
use cdps_core::time::Time;
use cdps_core::wire::{Decoder, Hello, Step, encode_frame};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::handshake::Greeting;
use super::{CHECKED, socket};
use crate::clock;
use crate::hub::NodeShared;

/// Bytes that wait for the socket before the engine is asked for more.
const QUEUED: usize = 16 << 10;
/// What comes within this time may be of one beat.
const TOGETHER: Duration = Duration::from_millis(50);
/// Room for a read.
const ROOM: usize = 1 << 10;

/// A control connection, from its dial or its acceptance on.
pub(crate) struct Control {
    pub(crate) key: LinkKey,
    pub(crate) serial: u32,
    hung_up: AtomicBool,
    last: AtomicBool,
    wake: Notify,
}

impl Control {
    pub(crate) fn new(key: LinkKey, serial: u32) -> Arc<Control> {
        let (hung_up, last) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Control { key, serial, hung_up, last, wake: Notify::new() })
    }

    /// The engine has something to send.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The engine is done with it.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The node is closing: it ends as soon as all is written.
    pub(crate) fn finish(&self) {
        self.last.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn is_over(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }

    /// Waits until the engine is done with it, or the node is closing.
    pub(crate) async fn over(&self) {
        while !self.is_over() && !self.last.load(Ordering::Acquire) {
            self.wake.notified().await;
        }
    }
}

/// Takes a control connection that a peer made, and carries it until it ends.
pub(crate) async fn accepted(node: Arc<NodeShared>, hello: &Hello, greeting: Greeting) {
    let control = node.accept_control(hello);
    run(node, control, greeting).await;
}

/// Carries a control connection until it ends.
pub(crate) async fn run(node: Arc<NodeShared>, control: Arc<Control>, greeting: Greeting) {
    let _alive = node.alive();
    let (stream, input) = greeting.into_parts();
    let mut line =
        Line { node: &node, control: &control, decoder: Decoder::new(CHECKED), input, output: Vec::new() };
    let reason = line.carry(&stream).await;
    node.forget_control(&control);
    if let Some(reason) = reason
        && !control.is_over()
    {
        node.control_ended(control.key, reason);
        node.call(|engine, now| engine.handle_lost(now, control.key, control.serial, reason));
    }
}

/// Heartbeats of all links are sent at the same time, and the first of them may have interrupted the peer, on this processor, in sending
/// the others. It gets the processor back once, so that the rest are here when this thread looks for them: else each would wake it again.
fn let_the_others_write() {
    thread_local! {
        static LAST: Cell<Time> = const { Cell::new(Time::ZERO) };
    }
    let now = clock::now();
    if now.since(LAST.get()) > TOGETHER {
        LAST.set(now);
        std::thread::yield_now();
    }
}

struct Line<'a> {
    node: &'a Arc<NodeShared>,
    control: &'a Control,
    decoder: Decoder,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Line<'_> {
    /// `None`: it is over because the engine, or the node's end, wants it so.
    async fn carry(&mut self, stream: &TcpStream) -> Option<Reason> {
        loop {
            if let Err(reason) = self.decode() {
                return Some(reason);
            }
            if self.control.is_over() {
                return None;
            }
            // The other links of this thread read what has come first, so that the answers of all go out together.
            tokio::task::yield_now().await;
            self.fill();
            if self.write(stream).is_err() {
                return Some(Reason::ConnectionLost);
            }
            if self.output.is_empty() && self.control.last.load(Ordering::Acquire) {
                return None;
            }
            self.shrink();
            tokio::select! {
                ready = stream.readable() => {
                    if ready.is_err() || self.read(stream).is_err() {
                        return Some(Reason::ConnectionLost);
                    }
                    let_the_others_write();
                }
                ready = stream.writable(), if !self.output.is_empty() => {
                    if ready.is_err() {
                        return Some(Reason::ConnectionLost);
                    }
                }
                () = self.control.wake.notified() => {}
            }
        }
    }

    fn read(&mut self, stream: &TcpStream) -> io::Result<()> {
        self.input.reserve(ROOM);
        let mut ended = false;
        let read = stream.try_io(Interest::READABLE, || {
            let room = self.input.spare_capacity_mut();
            let (place, len) = (room.as_mut_ptr().cast::<u8>(), room.len());
            // SAFETY: both places are writable memory of these sizes, the second of none.
            let n = unsafe { socket::receive(stream.as_fd(), (place, len), (place, 0)) }?;
            // SAFETY: the kernel has just put so many bytes behind the ones that there were.
            unsafe { self.input.set_len(self.input.len() + n) };
            ended = n == 0;
            // Less than there was room for: the socket is empty, and saying so saves asking again.
            if 0 < n && n < len { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match read {
            Ok(()) if ended => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn decode(&mut self) -> Result<(), Reason> {
        let mut done = 0;
        let result = loop {
            match self.decoder.step(&self.input[done..]) {
                Ok(Step::Need(_)) => break Ok(()),
                Ok(Step::Frame { frame, consumed }) => {
                    done += consumed;
                    let (key, serial) = (self.control.key, self.control.serial);
                    let taken = self.node.call(|engine, now| engine.handle_frame(now, key, serial, frame));
                    if taken.is_err() {
                        break taken;
                    }
                }
                Ok(Step::Bundle { .. } | Step::Fragment { .. }) => break Err(Reason::ProtocolError),
                Err(error) => break Err(error.reason()),
            }
        };
        self.input.drain(..done);
        result
    }

    /// Takes what the engine has to send, while the socket keeps up.
    fn fill(&mut self) {
        while self.output.len() < QUEUED {
            let Some(frame) = self.node.next_frame(self.control.key, self.control.serial) else { return };
            encode_frame(&frame, CHECKED, &mut self.output);
        }
    }

    fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.output.is_empty() {
            match stream.try_write(&self.output) {
                Ok(n) => {
                    self.output.drain(..n);
                    self.fill();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() {
                // Idle links take no memory for buffers.
                *buffer = Vec::new();
            }
        }
    }
}
