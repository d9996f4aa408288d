//! One direction of one connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use super::{Direction, Gate, Options};

/// Moves made before the other connections of the thread get their turn.
const TURNS: u32 = 8;

/// Carries bytes from `from` to `to` until the end of stream, which it passes on.
///
/// # Errors
/// Either side is broken.
pub(super) async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    direction: Direction,
    options: &Options,
    mut gate: watch::Receiver<Gate>,
) -> io::Result<()> {
    let mut held = Held::new(options.buffer / 2);
    let mut read_from = Instant::now();
    let mut ended = false;
    loop {
        let mut turns = 0;
        let silent = gate.borrow_and_update().silent(direction);
        // Nothing that can go now stays.
        while turns < TURNS && !silent {
            let now = Instant::now();
            let mut moved = false;
            if !ended && held.room() > 0 && now >= read_from {
                match from.try_read(held.space()) {
                    Ok(0) => ended = true,
                    Ok(n) => {
                        held.filled(n, now + options.delay);
                        read_from = now.max(read_from) + time_of(n, options.rate);
                        moved = true;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
            if held.due(now) > 0 {
                match to.try_write_vectored(&held.slices(now)) {
                    Ok(n) => {
                        held.taken(n);
                        moved = true;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Err(e),
                }
            }
            if !moved {
                break;
            }
            turns += 1;
        }
        if ended && held.len == 0 {
            return SockRef::from(to).shutdown(Shutdown::Write);
        }
        if turns == TURNS {
            tokio::task::yield_now().await;
            continue;
        }
        let now = Instant::now();
        let may_read = !silent && !ended && held.room() > 0;
        let wait_until = [(may_read && read_from > now).then_some(read_from), held.next_due(now)];
        tokio::select! {
            ready = from.readable(), if may_read && read_from <= now => ready?,
            ready = to.writable(), if !silent && held.due(now) > 0 => ready?,
            () = sleep_until(wait_until.into_iter().flatten().min().unwrap_or(now)), if !silent && wait_until.iter().any(Option::is_some) => {}
            changed = gate.changed() => changed.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?,
        }
    }
}

fn time_of(bytes: usize, rate: u64) -> Duration {
    if rate == 0 { Duration::ZERO } else { Duration::from_secs_f64(bytes as f64 / rate as f64) }
}

/// A ring of bytes, each due at a moment.
struct Held {
    ring: Box<[u8]>,
    start: usize,
    len: usize,
    /// Runs of bytes in order, with the moment from which they may go.
    runs: VecDeque<(Instant, usize)>,
}

/// Most runs that are told apart; later bytes join the last one.
const MAX_RUNS: usize = 1024;

impl Held {
    fn new(size: usize) -> Held {
        Held { ring: vec![0; size].into(), start: 0, len: 0, runs: VecDeque::new() }
    }

    fn room(&self) -> usize {
        self.ring.len() - self.len
    }

    /// The free bytes up to the end of the ring.
    fn space(&mut self) -> &mut [u8] {
        if self.len == 0 {
            self.start = 0;
        }
        let size = self.ring.len();
        let first = (self.start + self.len) % size;
        let end = if first < self.start { self.start } else { size };
        &mut self.ring[first..end]
    }

    fn filled(&mut self, n: usize, due: Instant) {
        self.len += n;
        let full = self.runs.len() >= MAX_RUNS;
        match self.runs.back_mut() {
            Some(last) if full => *last = (due, last.1 + n),
            _ => self.runs.push_back((due, n)),
        }
    }

    /// How many bytes may go now.
    fn due(&self, now: Instant) -> usize {
        self.runs.iter().take_while(|run| run.0 <= now).map(|run| run.1).sum()
    }

    /// When the first byte may go, if that is later than now.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        self.runs.front().map(|run| run.0).filter(|due| *due > now)
    }

    /// The bytes that may go now.
    fn slices(&self, now: Instant) -> [IoSlice<'_>; 2] {
        let due = self.due(now);
        let first = due.min(self.ring.len() - self.start);
        [IoSlice::new(&self.ring[self.start..self.start + first]), IoSlice::new(&self.ring[..due - first])]
    }

    fn taken(&mut self, n: usize) {
        self.start = (self.start + n) % self.ring.len();
        self.len -= n;
        let mut left = n;
        while let Some(run) = self.runs.front_mut() {
            if run.1 > left {
                run.1 -= left;
                break;
            }
            left -= run.1;
            self.runs.pop_front();
        }
    }
}
