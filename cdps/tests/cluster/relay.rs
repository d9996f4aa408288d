//! A relay for one path, with faults: it forwards bytes until it is told otherwise.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A relay to one address.
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    /// Chunks until one is damaged; 0: none will be.
    damage: u32,
    open: Vec<TcpStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Forwards.
    On,
    /// Holds everything back, and goes on later.
    Frozen,
    /// Holds back what the dialling side sends, and forwards what it is sent.
    Unheard,
    /// Refuses and has dropped everything.
    Dead,
}

impl Relay {
    pub fn to(target: SocketAddr) -> Relay {
        let ip = super::addresses(1)[0];
        let listener = TcpListener::bind((ip, 0)).expect("the relay listens");
        let address = listener.local_addr().expect("has an address");
        let state = State { mode: Mode::On, damage: 0, open: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let Ok(near) = near else { return };
                if accepting.state.lock().expect("state").mode == Mode::Dead {
                    continue;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to, held_if) in [(&near, &far, Mode::Unheard), (&far, &near, Mode::Frozen)] {
                    let (from, to) = (from.try_clone().expect("clones"), to.try_clone().expect("clones"));
                    let shared = Arc::clone(&accepting);
                    std::thread::spawn(move || shared.pump(from, to, held_if));
                }
                accepting.state.lock().expect("state").open.extend([near, far]);
            }
        });
        Relay { address, shared }
    }

    fn set(&self, mode: Mode) -> Vec<TcpStream> {
        let mut state = self.shared.state.lock().expect("state");
        state.mode = mode;
        self.shared.changed.notify_all();
        if mode == Mode::Dead { std::mem::take(&mut state.open) } else { Vec::new() }
    }

    /// Forwards nothing for now; the sockets stay open.
    pub fn freeze(&self) {
        self.set(Mode::Frozen);
    }

    /// Forwards nothing of what the dialling side sends, and everything that it is sent.
    pub fn mute(&self) {
        self.set(Mode::Unheard);
    }

    /// Forwards again.
    pub fn thaw(&self) {
        self.set(Mode::On);
    }

    /// Damages one byte, a little later.
    pub fn damage(&self) {
        self.shared.state.lock().expect("state").damage = 10;
    }

    /// Ends every connection; further ones end at once.
    pub fn kill(&self) {
        for stream in self.set(Mode::Dead) {
            // Closed by the other side already: as well.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    /// Forwards one direction, which is held back when everything is, and in one mode more.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, held_if: Mode) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from.read(&mut buffer).unwrap_or(0);
            let mut state = self.state.lock().expect("state");
            while state.mode == Mode::Frozen || state.mode == held_if {
                state = self.changed.wait(state).expect("state");
            }
            if state.damage > 0 && n > 1000 {
                state.damage -= 1;
                buffer[n / 2] ^= u8::from(state.damage == 0) << 3;
            }
            let dead = state.mode == Mode::Dead;
            drop(state);
            if n == 0 || dead || to.write_all(&buffer[..n]).is_err() {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}
