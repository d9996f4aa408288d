//! Callbacks where the user dispatches them (U4): everything that `loopback.rs` says, with a thread for each node that does nothing else, and
//! programs of one thread.

#[path = "loopback.rs"]
mod loopback;

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use cdps::{
    AckModel, Callbacks, DispatchError, Liveness, Member, Node, NodeOptions, Port, PortConfig, PortEvent,
    SendError, SendOptions, WaitError,
};
use loopback::cluster::*;

/// Whether it is readable within this time.
fn readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which lives until the call returns.
    let ready = unsafe { libc::poll(&mut poll, 1, timeout.as_millis() as i32) };
    assert!(ready >= 0);
    ready == 1
}

/// Turns the loop of these nodes until something is so.
fn turn(nodes: &[&Node], what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "{what}: not seen in {DEADLINE:?}");
        for node in nodes {
            if readable(node.fd().expect("has one"), Duration::from_millis(1)) {
                node.dispatch(None, Duration::ZERO).expect("dispatches");
            }
        }
    }
}

/// Two nodes and a session between them, all callbacks in this thread.
struct Alone {
    source: Node,
    target: Node,
    host: Arc<Host>,
    port: Port,
    user: Arc<User>,
    finals: Arc<AtomicU32>,
}

fn only_here(answer: bool) -> Arc<User> {
    only_on(std::thread::current().id(), answer)
}

fn only_on(here: ThreadId, answer: bool) -> Arc<User> {
    User::reacting(Box::new(move |port, event| {
        assert_eq!(std::thread::current().id(), here);
        if let PortEvent::Received(message) = event
            && message.wants_ack()
            && answer
        {
            port.ack(message.sn(), 7).expect("is owed");
        }
    }))
}

fn opened(options: NodeOptions, finals: &Arc<AtomicU32>) -> Node {
    let finals = Arc::clone(finals);
    let here = std::thread::current().id();
    let on_final = move || {
        assert_eq!(std::thread::current().id(), here);
        finals.fetch_add(1, Ordering::SeqCst);
    };
    Node::open(options, Box::new(on_final)).expect("opens")
}

impl Alone {
    fn new(config: impl FnOnce(&mut PortConfig), answer: bool, user: Arc<User>) -> Alone {
        let finals = Arc::new(AtomicU32::new(0));
        let mut there = options(2);
        there.listen = addresses(1).into_iter().map(|ip| (ip, 0).into()).collect();
        there.members = vec![Member { node: cdps::NodeId(1), addresses: Vec::new() }];
        let target = opened(there, &finals);
        let mut here = options(1);
        here.members = vec![Member { node: target.id(), addresses: target.listening() }];
        let source = opened(here, &finals);
        let thread = std::thread::current().id();
        let host = Host::new(PortConfig::default(), move || only_on(thread, answer));
        target.register("copy", host.clone()).expect("registers");
        let mut settings = source_config(&[&target]);
        config(&mut settings);
        let port = connecting(&source, settings, &user);
        let alone = Alone { source, target, host, port, user, finals };
        alone.turn("connected", || {
            alone.user.seen().iter().any(|s| matches!(s, Seen::Status(cdps::ConnStatus::Connected { .. })))
        });
        alone
    }

    fn turn(&self, what: &str, done: impl FnMut() -> bool) {
        turn(&[&self.source, &self.target], what, done);
    }

    /// Neither has anything to dispatch for a while.
    fn settle(&self) {
        let mut last = Instant::now();
        self.turn("quiet", || {
            if [&self.source, &self.target].iter().any(|n| readable(n.fd().expect("has one"), Duration::ZERO))
            {
                last = Instant::now();
            }
            last.elapsed() > Duration::from_millis(100)
        });
    }

    fn end(self) {
        self.source.destroy_wait(DEADLINE).expect("ends");
        assert_eq!(self.user.seen().last(), Some(&Seen::Final));
        assert_eq!(self.source.dispatch(None, Duration::ZERO), Err(DispatchError::Closed));
        assert!(!readable(self.source.fd().expect("has one"), Duration::ZERO));
        self.target.destroy();
        let mut last = Ok(0);
        while last.is_ok() {
            last = self.target.dispatch(Some(1), DEADLINE);
        }
        assert_eq!(last, Err(DispatchError::Closed));
        assert_eq!(self.host.session(0).1.seen().last(), Some(&Seen::Final));
        self.target.destroy_wait(Duration::ZERO).expect("has ended");
        assert_eq!(self.finals.load(Ordering::SeqCst), 2);
    }
}

/// [U4] A program of one thread: it sends, is told, answers, destroys, and every callback runs where it dispatches. The descriptor is readable
/// while there is something, and not longer; `max` is kept to.
#[test]
fn one_thread_does_everything() {
    let alone = Alone::new(|_| (), true, only_here(false));
    alone.settle();
    for i in 0..100 {
        send(&alone.port, b"message", i).expect("is accepted");
    }
    alone.turn("ends", || ends(&alone.user.seen()) == 100);
    assert_eq!(completed(&alone.user.seen()), (0..100).map(|i| (i, 7)).collect::<Vec<_>>());
    alone.settle();
    assert_eq!(alone.source.dispatch(None, Duration::ZERO), Ok(0));
    // One event at a time.
    let memory = vec![1u8; 100];
    let options = SendOptions { context: 500, ack: Some(AckModel::Asynchronous), ..SendOptions::default() };
    for _ in 0..10 {
        // SAFETY: `memory` outlives the node.
        unsafe { alone.port.send_borrowed(&[IoSlice::new(&memory)], &options) }.expect("is accepted");
    }
    let fd = alone.source.fd().expect("has one");
    let before = alone.user.seen().len();
    for event in 1..=20 {
        assert_eq!(alone.source.dispatch(Some(1), DEADLINE), Ok(1));
        assert_eq!(alone.user.seen().len(), before + event);
    }
    assert_eq!(released(&alone.user.seen()).len(), 10);
    assert_eq!(alone.source.dispatch(Some(1), Duration::ZERO), Ok(0));
    assert!(!readable(fd, Duration::ZERO));
    drop(memory);
    alone.end();
}

/// [U4] Who may dispatch: one thread at a time, not in a callback, and only where the user has to.
#[test]
fn who_may_dispatch() {
    let threads = open(NodeOptions { callbacks: Callbacks::Threads(1), ..options(3) });
    assert!(matches!(threads.fd(), Err(DispatchError::NotDispatched)));
    assert_eq!(threads.dispatch(None, Duration::ZERO), Err(DispatchError::NotDispatched));
    threads.destroy_wait(DEADLINE).expect("ends");

    let (say, said) = mpsc::channel();
    let own: Arc<std::sync::OnceLock<Node>> = Arc::default();
    let user = User::reacting(Box::new({
        let own = Arc::clone(&own);
        move |_, event| {
            if matches!(event, PortEvent::Completed { .. }) {
                let node = own.get().expect("is set");
                let inside = node.dispatch(None, Duration::ZERO);
                let wait = node.destroy_wait(Duration::ZERO);
                let other = std::thread::scope(|s| s.spawn(|| node.dispatch(None, Duration::ZERO)).join());
                let _ = say.send((inside, wait, other.expect("does not panic")));
            }
        }
    }));
    let alone = Alone::new(|_| (), true, user);
    own.set(alone.source.clone()).expect("once");
    send(&alone.port, b"message", 0).expect("is accepted");
    alone.turn("the end", || ends(&alone.user.seen()) == 1);
    let refused = (Err(DispatchError::InCallback), Err(WaitError::InCallback), Err(DispatchError::Busy));
    assert_eq!(said.try_recv(), Ok(refused));
    alone.end();
}

/// [U4] [M6] The thread that dispatches does not wait for itself: a send that could wait says AGAIN at once. Another thread waits.
#[test]
fn the_dispatching_thread_does_not_wait() {
    let alone = Alone::new(|config| config.send_buffer_max = 65_536, false, only_here(false));
    let forever = SendOptions::default();
    let full = (0..100).find_map(|_| alone.port.send(&[IoSlice::new(&[0; 4096])], &forever).err());
    assert_eq!(full, Some(SendError::Again));
    std::thread::scope(|scope| {
        let short = SendOptions { timeout: Some(Duration::from_millis(20)), ..forever };
        let port = &alone.port;
        let other = scope.spawn(move || port.send(&[IoSlice::new(&[0; 4096])], &short));
        assert_eq!(other.join().expect("does not panic"), Err(SendError::TimedOut));
    });
    alone.end();
}

/// [U4] [T5] A node whose user dispatches nothing stays up, and takes what the window holds; the user is told afterwards, in order.
#[test]
fn nobody_dispatches_for_a_while() {
    let long = Liveness::default().dead * 2;
    let mut there = options(2);
    there.listen = addresses(1).into_iter().map(|ip| (ip, 0).into()).collect();
    there.members = vec![Member { node: cdps::NodeId(1), addresses: Vec::new() }];
    let finals = Arc::default();
    let target = opened(there, &finals);
    let far = only_here(false);
    let made = Arc::clone(&far);
    target.register("copy", Host::new(PortConfig::default(), move || made.clone())).expect("registers");
    let source = open_dialler(1, 1, &[&target]);
    let user = User::new();
    let port = connecting(&source, source_config(&[&target]), &user);
    turn(&[&target], "connected", || {
        user.seen().iter().any(|s| matches!(s, Seen::Status(cdps::ConnStatus::Connected { .. })))
    });
    let options = SendOptions { ack: Some(AckModel::Asynchronous), ..SendOptions::default() };
    let start = Instant::now();
    while start.elapsed() < long {
        port.send(&[IoSlice::new(b"message")], &options).expect("is accepted");
        std::thread::sleep(Duration::from_millis(10));
    }
    let sent = port.stats().messages_sent as usize;
    assert_eq!(user.wait_ends(sent).len(), sent, "all completed while nobody dispatched there");
    let downs =
        user.seen().iter().filter(|s| matches!(s, Seen::Status(cdps::ConnStatus::Down { .. }))).count();
    assert_eq!((downs, received(&far.seen()).count()), (0, 0));
    turn(&[&target], "messages", || received(&far.seen()).count() == sent);
    check_order(received(&far.seen()));
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}

/// [U4] [L6] A port is destroyed in a dispatched callback, with sends in flight, and a node as well; nothing ends while nobody dispatches, and
/// everything when somebody does.
#[test]
fn destroyed_in_a_dispatched_callback() {
    let user = User::reacting(Box::new(|port, event| {
        if matches!(event, PortEvent::Completed { .. }) {
            port.destroy();
        }
    }));
    let alone = Alone::new(|_| (), true, user);
    for i in 0..50 {
        send(&alone.port, b"message", i).expect("is accepted");
    }
    alone.turn("the final event", || alone.user.seen().last() == Some(&Seen::Final));
    assert_eq!(ends(&alone.user.seen()), 50);
    let later = only_here(false);
    let port = connecting(&alone.source, source_config(&[&alone.target]), &later);
    let sees =
        |seen: &[Seen]| seen.iter().any(|s| matches!(s, Seen::Status(cdps::ConnStatus::Connected { .. })));
    alone.turn("connected", || sees(&later.seen()));
    for i in 0..10 {
        send(&port, b"message", i).expect("is accepted");
    }
    port.destroy();
    let told = later.seen().len();
    // From another thread, which may not run callbacks: the time goes by.
    let waited = std::thread::scope(|s| s.spawn(|| port.destroy_wait(Duration::from_millis(50))).join());
    assert_eq!(waited.expect("does not panic"), Err(WaitError::TimedOut));
    assert_eq!(later.seen().len(), told);
    port.destroy_wait(DEADLINE).expect("this thread dispatches");
    assert_eq!(nacked(&later.seen()).len() + completed(&later.seen()).len(), 10);
    alone.end();
}
