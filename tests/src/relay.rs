//! A TCP relay that plays one network path: it can be slow, far away, deaf in one direction, and cut.
//!
//! It holds little: at most [`Options::buffer`] bytes per direction and connection, its sockets' buffers included, so that a path that
//! it has frozen strands little. One thread serves all connections.

mod pump;

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use self::pump::pump;

/// [`Options::buffer`] unless something else is asked for.
pub const BUFFER: usize = 256 << 10;
/// Largest [`Options::buffer`]: paths that are fast and long have that much under way.
pub const MAX_BUFFER: usize = 64 << 20;

/// What a relay does.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it connects to, once per connection that it accepts.
    pub to: SocketAddr,
    /// Bytes that it may hold per direction and connection, kernel buffers included. 16 KiB to [`MAX_BUFFER`].
    pub buffer: usize,
    /// Bytes per second, per direction and connection; 0: as fast as it goes.
    pub rate: u64,
    /// How long every byte is held back. The buffer bounds what is under way: rate ≤ buffer / delay.
    pub delay: Duration,
}

impl Options {
    /// A relay from a free port of `listen` to `to`, as fast as it goes.
    #[must_use]
    pub fn new(listen: SocketAddr, to: SocketAddr) -> Options {
        Options { listen, to, buffer: BUFFER, rate: 0, delay: Duration::ZERO }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the side that connected to the relay.
    Forth,
    /// From the side that the relay connected to.
    Back,
}

/// What a running relay lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Gate {
    forth_silent: bool,
    back_silent: bool,
    /// Connections accepted before the last raise are reset.
    resets: u64,
    closed: bool,
}

impl Gate {
    fn silent(&self, direction: Direction) -> bool {
        match direction {
            Direction::Forth => self.forth_silent,
            Direction::Back => self.back_silent,
        }
    }
}

/// A relay on a thread of its own; it ends, resetting its connections, when this is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    gate: watch::Sender<Gate>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Relay {
    /// Starts it.
    ///
    /// # Errors
    /// What binding its address said.
    pub fn start(options: Options) -> io::Result<Relay> {
        let listener = listener(&options)?;
        let address = listener.local_addr()?;
        let (gate, watched) = watch::channel(Gate::default());
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || runtime()?.block_on(serve(listener, options, watched)))?;
        Ok(Relay { address, gate, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through in one direction, or lets it flow again. Connections stay open and no error is seen: bytes wait.
    pub fn silence(&self, direction: Direction, silent: bool) {
        self.gate.send_modify(|gate| match direction {
            Direction::Forth => gate.forth_silent = silent,
            Direction::Back => gate.back_silent = silent,
        });
    }

    /// Resets every connection. New ones are accepted.
    pub fn reset(&self) {
        self.gate.send_modify(|gate| gate.resets += 1);
    }

    /// Waits until it fails.
    ///
    /// # Errors
    /// What accepting said.
    pub fn join(mut self) -> io::Result<()> {
        let ended = self.thread.take().map(JoinHandle::join);
        ended.unwrap_or(Ok(Ok(()))).unwrap_or_else(|_| Err(io::Error::other("the relay panicked")))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gate.send_modify(|gate| gate.closed = true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn serve(
    listener: std::net::TcpListener,
    options: Options,
    gate: watch::Receiver<Gate>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut closing = gate.clone();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An accept that fails (the peer left, descriptors ran out) concerns one connection, not the relay.
                if let Ok((near, _)) = accepted {
                    tasks.spawn(connection(near, options, gate.clone()));
                }
            }
            Some(_) = tasks.join_next() => {}
            _ = closing.wait_for(|gate| gate.closed) => {
                tasks.join_all().await;
                return Ok(());
            }
        }
    }
}

/// Carries one connection until both directions have ended, or either side is reset.
async fn connection(near: TcpStream, options: Options, gate: watch::Receiver<Gate>) {
    // From here on, dropping a socket sends a reset, unless both directions come to an orderly end.
    if on_close(&near, Close::Reset).is_err() {
        return;
    }
    let born = gate.borrow().resets;
    let mut cut = gate.clone();
    let carried = async {
        near.set_nodelay(true)?;
        let far = dial(&options).await?;
        tokio::try_join!(
            pump(&near, &far, Direction::Forth, &options, gate.clone()),
            pump(&far, &near, Direction::Back, &options, gate.clone()),
        )?;
        on_close(&near, Close::Orderly)?;
        on_close(&far, Close::Orderly)
    };
    tokio::select! {
        // Looked at first: what is let through again after a reset is not carried by who was reset.
        biased;
        _ = cut.wait_for(|gate| gate.closed || gate.resets != born) => {}
        // The error, if there was one, has become a reset of the other side.
        ended = carried => drop(ended),
    }
}

enum Close {
    Orderly,
    Reset,
}

fn on_close(stream: &TcpStream, close: Close) -> io::Result<()> {
    SockRef::from(stream).set_linger(match close {
        Close::Orderly => None,
        Close::Reset => Some(Duration::ZERO),
    })
}

async fn dial(options: &Options) -> io::Result<TcpStream> {
    let socket = if options.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    shrink(&SockRef::from(&socket), options)?;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    let far = socket.connect(options.to).await?;
    far.set_nodelay(true)?;
    Ok(far)
}

fn listener(options: &Options) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(options.listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    shrink(&SockRef::from(&socket), options)?;
    socket.bind(&options.listen.into())?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Segments as on Ethernet. With those of loopback (64 KiB) a small receive buffer never opens its window in time: 6 MB/s.
const SEGMENT: u32 = 1448;

/// Sizes the kernel's buffers. It doubles what it is given, so the two of a direction take half of the whole; [`pump`] has the rest.
fn shrink(socket: &SockRef<'_>, options: &Options) -> io::Result<()> {
    socket.set_tcp_mss(SEGMENT)?;
    socket.set_recv_buffer_size(options.buffer / 8)?;
    socket.set_send_buffer_size(options.buffer / 8)
}
