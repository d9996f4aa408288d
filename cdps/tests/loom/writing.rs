//! The turn to write: no message stays behind, whoever kicks, and whatever the socket says meanwhile.

use loom::sync::atomic::AtomicU32;
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

use crate::explore;
use crate::sync::{MutexGuard, Ordering};
use crate::turn::{Step, Turn};

/// A connection with its engine and its socket, as far as the turn knows them.
struct Conn {
    turn: Turn<Buffer>,
    /// Messages that the engine has for the connection.
    engine: Mutex<u32>,
    /// How often the socket will say that it is full.
    refusals: Mutex<u32>,
    wake: Notify,
    quiet: bool,
    sent: AtomicU32,
    /// That so many were sent is waited for.
    awaited: u32,
    all_sent: Notify,
    over: Mutex<bool>,
}

/// What is encoded and not written.
#[derive(Default)]
struct Buffer(u32);

impl Conn {
    fn new(awaited: u32, refusals: u32, quiet: bool) -> Arc<Conn> {
        Arc::new(Conn {
            turn: Turn::new(Buffer::default()),
            engine: Mutex::new(0),
            refusals: Mutex::new(refusals),
            wake: Notify::new(),
            quiet,
            sent: AtomicU32::new(0),
            awaited,
            all_sent: Notify::new(),
            over: Mutex::new(false),
        })
    }

    fn send(&self) {
        *self.engine.lock().expect("a good lock") += 1;
        self.turn.kick(|| self.quiet, |guard| self.step(guard), || self.wake.notify());
    }

    fn step(&self, mut buffer: MutexGuard<'_, Buffer>) -> Step {
        let step = self.write(&mut buffer);
        self.turn.let_go(buffer, step);
        self.turn.settle(step)
    }

    /// As the driver's: what is left first, then what the engine gives, which says that it has nothing when it gives nothing.
    fn write(&self, buffer: &mut Buffer) -> Step {
        if !self.flush(buffer) {
            return Step::Full;
        }
        self.turn.look();
        buffer.0 = std::mem::take(&mut *self.engine.lock().expect("a good lock"));
        match (buffer.0, self.flush(buffer)) {
            (0, _) => Step::Idle,
            (_, true) => Step::More,
            (_, false) => Step::Full,
        }
    }

    fn flush(&self, buffer: &mut Buffer) -> bool {
        if buffer.0 == 0 {
            return true;
        }
        let mut refusals = self.refusals.lock().expect("a good lock");
        if *refusals > 0 {
            *refusals -= 1;
            return false;
        }
        drop(refusals);
        let count = std::mem::take(&mut buffer.0);
        if self.sent.fetch_add(count, Ordering::SeqCst) + count == self.awaited {
            self.all_sent.notify();
        }
        true
    }

    /// The connection's task.
    fn task(&self) {
        while !*self.over.lock().expect("a good lock") {
            let step = match self.turn.take() {
                Some(guard) => self.step(guard),
                None => Step::Idle,
            };
            match step {
                Step::Idle => self.wake.wait(),
                Step::More => {}
                Step::Full => {
                    while !self.flush(&mut self.turn.wait()) {}
                    self.turn.unblock();
                }
                Step::Over => unreachable!(),
            }
        }
    }

    /// Waits until everything has been sent, without telling anybody anything: if nobody is on the way, this is for ever, and loom says so.
    fn wait(&self) {
        while self.sent.load(Ordering::SeqCst) < self.awaited {
            self.all_sent.wait();
        }
        *self.over.lock().expect("a good lock") = true;
        self.wake.notify();
    }
}

fn with_task(conn: &Arc<Conn>, senders: impl FnOnce()) {
    let task = {
        let conn = Arc::clone(conn);
        thread::spawn(move || conn.task())
    };
    senders();
    conn.wait();
    task.join().expect("the task ends");
    assert_eq!(conn.sent.load(Ordering::SeqCst), conn.awaited);
}

/// [M4] Two threads send at once on a connection that has been quiet, and each may write; the task looks in between.
#[test]
fn two_kickers_that_write() {
    two_kickers(true);
}

/// [M4] The same on a busy connection: the task writes.
#[test]
fn two_kickers_that_wake_the_task() {
    two_kickers(false);
}

fn two_kickers(quiet: bool) {
    explore(2, move || {
        let conn = Conn::new(2, 0, quiet);
        with_task(&conn, || {
            let other = {
                let conn = Arc::clone(&conn);
                thread::spawn(move || conn.send())
            };
            conn.send();
            other.join().expect("the other has sent");
        });
    });
}

/// [M4] The socket is full for a moment, as a sender finds, or the task, or each after the other; what is sent afterwards goes as well. Where a
/// sender alone finds it full, the task must say that it is not any more.
#[test]
fn a_socket_that_is_full_for_a_moment() {
    for (refusals, quiet) in [(1, true), (1, false), (2, true)] {
        explore(3, move || {
            let conn = Conn::new(3, refusals, quiet);
            with_task(&conn, || (0..3).for_each(|_| conn.send()));
        });
    }
}
