//! Reading: large payloads straight to where they belong, small ones as slices of the read chunk, one engine call per batch
//! (architecture, point 5).

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cdps_core::port::{Inbound, Placement};
use cdps_core::reason::Reason;
use cdps_core::wire::{BundleHead, Decoder, FragmentHead, Item, Items, Step};
use tokio::io::Interest;

use super::{Conn, FAILED, socket};
use crate::chunks::Input;
use crate::received::{Body, ReceivedBuf};

/// Bytes read before the engine hears of them, at most. A little above a fragment.
const BATCH: usize = 320 << 10;
/// Items of a batch, at most.
const BATCH_ITEMS: usize = 8192;
/// What is read past the end of a long fragment: the head of the next frame, and a little of its body, which has to be copied.
const AHEAD: usize = 4096;
/// A fragment that lacks less than this is short: what follows is read as far as it goes.
const SHORT: usize = 24 << 10;
/// A message up to this length that lies whole in a chunk stays there.
const SLICED: usize = 64 << 10;
/// Batches before other tasks of the thread get their turn.
const TURN: usize = 4;

/// What a connection is in the middle of.
struct Reader {
    conn: Arc<Conn>,
    decoder: Decoder,
    input: Input,
    /// Least that must be there before the decoder can go on.
    need: usize,
    /// The fragment whose body is being read.
    fragment: Option<Fragment>,
    items: Vec<Inbound<ReceivedBuf>>,
    /// Frames received whole since READY.
    frames: u64,
}

struct Fragment {
    head: FragmentHead,
    len: u32,
    /// Checksum that it must have, and what it is so far.
    crc: u32,
    sum: u32,
    body: Body,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All of its message.
    Whole,
    /// A part that goes to its place.
    Direct,
    /// A part in a buffer of its own.
    Aside,
    /// Here already.
    Known,
}

thread_local! {
    /// The list of a connection that has nothing to read, for the next.
    static SPARE: Cell<Vec<Inbound<ReceivedBuf>>> = const { Cell::new(Vec::new()) };
}

/// What one read has brought.
enum Read {
    /// The socket may have more.
    More(usize),
    /// It has no more just now.
    Last(usize),
}

/// The reading task of a connection.
pub(super) async fn run(conn: Arc<Conn>, rest: Vec<u8>) {
    let input = Input::holding(&rest);
    drop(rest);
    let mut reader = Reader {
        decoder: Decoder::new(conn.sum),
        conn: Arc::clone(&conn),
        input,
        need: 1,
        fragment: None,
        items: Vec::new(),
        frames: 0,
    };
    if let Err(reason) = reader.read_all().await {
        conn.fail(reason);
    }
    drop(reader);
    conn.ended();
}

impl Reader {
    /// Reads until the connection ends.
    async fn read_all(&mut self) -> Result<(), Reason> {
        let mut turn = 0;
        // What came with the handshake is not announced by the socket.
        let mut waiting = !self.input.is_empty();
        loop {
            if !waiting && self.conn.socket.readable().await.is_err() {
                return Err(Reason::ConnectionLost);
            }
            waiting = false;
            loop {
                let drained = self.batch()?;
                turn += 1;
                if drained {
                    self.rest();
                    break;
                }
                if turn % TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Reads and decodes until the socket is empty or a batch is full, and tells the engine. True: the socket is empty.
    fn batch(&mut self) -> Result<bool, Reason> {
        if self.items.capacity() == 0 {
            self.items = SPARE.take();
        }
        let mut total = 0;
        let mut drained = false;
        self.decode()?;
        while !drained && total < BATCH && self.items.len() < BATCH_ITEMS {
            match self.read() {
                Ok(Read::More(n)) => total += n,
                Ok(Read::Last(n)) => (total, drained) = (total + n, true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    // What came before the end counts.
                    self.deliver(true)?;
                    return Err(Reason::ConnectionLost);
                }
            }
            self.decode()?;
        }
        self.conn.counters.bytes_in.fetch_add(total as u64, Ordering::Relaxed);
        self.deliver(drained)?;
        Ok(drained)
    }

    /// One read: to where the present fragment belongs, and the rest to the chunk.
    fn read(&mut self) -> io::Result<Read> {
        let chunk = self.input.with_room(self.need);
        let mut room = chunk.spare();
        let mut place = (room.0, 0);
        if let Some(fragment) = &mut self.fragment {
            place = fragment.body.spare();
            if place.1 > SHORT {
                room.1 = room.1.min(AHEAD);
            }
        }
        let wanted = place.1 + room.1;
        let mut got = 0;
        let result = self.conn.socket.try_io(Interest::READABLE, || {
            // SAFETY: both places are writable memory of these sizes that nobody else uses: the spare room of the chunk, which is
            // this reader's alone, and what the body says.
            got = unsafe { socket::receive(self.conn.fd(), place, room) }?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // Less than there was room for: the socket is empty, and saying so saves asking again.
            if got < wanted { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        let to_body = got.min(place.1);
        if let Some(fragment) = self.fragment.as_mut().filter(|_| to_body > 0) {
            // SAFETY: the kernel has just put so many bytes there.
            fragment.sum = self.conn.sum.append(fragment.sum, unsafe { fragment.body.filled(to_body) });
        }
        // SAFETY: the kernel has just put so many bytes there.
        unsafe { chunk.advance(got - to_body) };
        match result {
            Ok(()) => Ok(Read::More(got)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && got > 0 => Ok(Read::Last(got)),
            Err(error) => Err(error),
        }
    }

    /// Decodes what has been read.
    fn decode(&mut self) -> Result<(), Reason> {
        loop {
            if self.fragment.is_some() && !self.read_body()? {
                return Ok(());
            }
            match self.decoder.step(self.input.bytes()) {
                Ok(Step::Need(need)) => {
                    self.need = need;
                    return Ok(());
                }
                Ok(Step::Frame { frame, consumed }) => {
                    self.input.consume(consumed);
                    self.frames += 1;
                    self.items.push(Inbound::Frame(Box::new(frame)));
                }
                Ok(Step::Bundle { head, body, consumed }) => {
                    self.unbundle(&head, body)?;
                    self.input.consume(consumed);
                    self.frames += 1;
                }
                Ok(Step::Fragment { head, len, crc, consumed }) => {
                    self.input.consume(consumed);
                    self.begin(head, len, crc)?;
                }
                Err(error) => return Err(error.reason()),
            }
            self.need = 1;
        }
    }

    fn unbundle(&mut self, head: &BundleHead, body: std::ops::Range<usize>) -> Result<(), Reason> {
        let messages = self.input.messages(body.start);
        for item in Items::new(head, &self.input.bytes()[body]) {
            let item = item.map_err(|error| error.reason())?;
            let payload = ReceivedBuf::Slice(messages.get(item.offset as usize, item.len as usize));
            self.items.push(Inbound::Message { item, payload });
        }
        Ok(())
    }

    /// Finds out where the body of a fragment goes.
    fn begin(&mut self, head: FragmentHead, len: u32, crc: u32) -> Result<(), Reason> {
        let (body, kind) = if len == head.total {
            let there = self.input.bytes().len();
            if len as usize <= SLICED.min(there) {
                let body = Body::sliced(self.input.messages(0).get(0, len as usize));
                self.input.consume(len as usize);
                let sum = self.conn.sum.append(0, body.bytes());
                self.fragment = Some(Fragment { head, len, crc, sum, body, kind: Kind::Whole });
                return Ok(());
            }
            (Body::own(len), Kind::Whole)
        } else {
            // In the order in which they came.
            self.deliver(false)?;
            self.place(&head, len)?
        };
        self.fragment = Some(Fragment { head, len, crc, sum: 0, body, kind });
        Ok(())
    }

    fn place(&self, head: &FragmentHead, len: u32) -> Result<(Body, Kind), Reason> {
        let conn = &self.conn;
        let mut offered = None;
        loop {
            let placement = conn.port.call(|engine, now| {
                engine.begin_fragment(now, conn.path, conn.number, head, len, offered.take())
            });
            match placement.ok_or(Reason::UnknownSession)?? {
                Placement::Discard => return Ok((Body::nowhere(len), Kind::Known)),
                Placement::NeedBuffer => offered = Some(ReceivedBuf::assembly(head.total)),
                Placement::Into(buffer) => {
                    let body = Body::into(buffer, head.offset, len).ok_or(Reason::ProtocolError)?;
                    return Ok((body, Kind::Direct));
                }
                Placement::Aside => return Ok((Body::own(len), Kind::Aside)),
            }
        }
    }

    /// Takes what the chunk has of the fragment's body. True: it is whole.
    fn read_body(&mut self) -> Result<bool, Reason> {
        let Some(fragment) = &mut self.fragment else { return Ok(true) };
        if !fragment.body.is_whole() {
            let bytes = self.input.bytes();
            let taken = fragment.body.take(bytes);
            fragment.sum = self.conn.sum.append(fragment.sum, &bytes[..taken]);
            self.input.consume(taken);
        }
        if !fragment.body.is_whole() {
            return Ok(false);
        }
        let Some(done) = self.fragment.take() else { return Ok(true) };
        if self.conn.sum.is_on() && done.sum != done.crc {
            return Err(Reason::BadChecksum);
        }
        self.frames += 1;
        self.finish(done);
        Ok(true)
    }

    fn finish(&mut self, done: Fragment) {
        let FragmentHead { sn, ssn, stream, offset, flags, .. } = done.head;
        let len = done.len;
        let inbound = match (done.kind, done.body.into_own()) {
            (Kind::Whole, Some(payload)) => {
                Some(Inbound::Message { item: Item { sn, stream, ssn, flags, offset: 0, len }, payload })
            }
            (Kind::Aside, Some(payload)) => Some(Inbound::Aside { sn, offset, len, payload }),
            (Kind::Direct, None) => Some(Inbound::Fragment { sn, offset, len }),
            (Kind::Known | Kind::Direct | Kind::Whole | Kind::Aside, _) => None,
        };
        self.items.extend(inbound);
    }

    /// Tells the engine what has come.
    fn deliver(&mut self, drained: bool) -> Result<(), Reason> {
        let conn = &self.conn;
        if conn.counters.frames_in.swap(self.frames, Ordering::Relaxed) == self.frames {
            return Ok(());
        }
        // What comes after the engine was done with the connection it counts as late.
        if conn.phase.load(Ordering::Acquire) == FAILED {
            self.items.clear();
            return Ok(());
        }
        let items = &mut self.items;
        let frames = self.frames;
        let told = conn
            .port
            .call(|engine, now| engine.handle_inbound(now, conn.path, conn.number, frames, items, drained));
        told.unwrap_or(Ok(()))
    }

    /// Nothing more just now: what is empty goes back to the thread.
    fn rest(&mut self) {
        self.input.rest();
        let items = std::mem::take(&mut self.items);
        if items.capacity() <= BATCH_ITEMS {
            SPARE.set(items);
        }
    }
}
