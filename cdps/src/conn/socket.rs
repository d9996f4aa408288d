//! Sockets: how they are made and tuned, and the two calls that move bytes without a detour through the runtime.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that the kernel keeps for a listener that is slow to accept.
const BACKLOG: i32 = 512;

/// Bytes that the kernel takes of a connection beyond what it has sent (T6): two runs of the engine, so that one is there to be sent while the
/// next is made. What is sent and not acknowledged, a bandwidth-delay product, comes on top.
const UNSENT: u32 = 128 << 10;

/// Binds a listener. `SO_REUSEADDR`, so that a node can be opened again while connections of a former one linger.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes a listener to the runtime of this thread.
pub(crate) fn register(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}

/// Dials from `local`, or from wherever the routing table says.
pub(crate) async fn connect(local: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        // The port is chosen at connect, by the whole address pair: there are as many as pairs, not as many as ports.
        set_flag(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(remote).await
}

/// Settings of every connection: small frames go at once, a peer that is not heard is given up, and what cannot be sent yet stays with the
/// engine, which may still choose another path for it.
pub(crate) fn tune(stream: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

fn set_flag(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the value is a C int of the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes what the kernel takes of a gather list. Never blocks, never raises SIGPIPE; sound on any thread.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: a zeroed msghdr is valid: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSlice is defined to have the layout of iovec; sendmsg only reads.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the descriptor is open, and the list and what it refers to live until the call returns.
    let n = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Reads what there is into two places, the first one first. Never blocks.
///
/// # Safety
/// Both must be writable memory of the sizes given.
pub(crate) unsafe fn receive(
    socket: BorrowedFd<'_>,
    first: (*mut u8, usize),
    second: (*mut u8, usize),
) -> io::Result<usize> {
    let mut parts = [
        libc::iovec { iov_base: first.0.cast(), iov_len: first.1 },
        libc::iovec { iov_base: second.0.cast(), iov_len: second.1 },
    ];
    // SAFETY: a zeroed msghdr is valid: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    // SAFETY: the descriptor is open; the caller answers for the memory.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [U5] Descriptors do not leak into children.
    #[test]
    fn descriptors_are_closed_on_exec() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("runtime");
        runtime.block_on(async {
            let listener = register(listen("127.0.0.1:0".parse().expect("address")).expect("listens"))
                .expect("registers");
            let to = listener.local_addr().expect("has an address");
            let dialled = connect(Some("127.0.0.9".parse().expect("address")), to).await.expect("connects");
            let (accepted, from) = listener.accept().await.expect("accepts");
            assert_eq!(from.ip().to_string(), "127.0.0.9", "dialled from the address given");
            tune(&dialled, Duration::from_secs(3)).expect("takes the settings");
            let six =
                register(listen("[::1]:0".parse().expect("address")).expect("listens")).expect("registers");
            let to = six.local_addr().expect("has an address");
            connect(Some("::1".parse().expect("address")), to).await.expect("connects from an IPv6 address");
            for fd in [listener.as_raw_fd(), dialled.as_raw_fd(), accepted.as_raw_fd()] {
                // SAFETY: asks for flags of an open descriptor.
                let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
                assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            }
        });
    }
}
