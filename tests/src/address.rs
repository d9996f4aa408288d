//! Addresses of one's own in 127.0.0.0/8, so that no test fixes a port number and none meets another.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback address from a range of 254 that this process has for itself (unless another has the same low 16 bits in its id).
#[must_use]
pub fn own_ip() -> IpAddr {
    let [_, _, c, d] = std::process::id().to_be_bytes();
    let [.., b] = (NEXT.fetch_add(1, Ordering::Relaxed) % 254 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, b, c, d.clamp(1, 254)))
}

/// `count` addresses, each on a loopback address of its own, whose ports were free a moment ago.
///
/// # Errors
/// What binding said.
pub fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held = (0..count).map(|_| TcpListener::bind((own_ip(), 0))).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}
