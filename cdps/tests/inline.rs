//! Callbacks on the I/O threads (U4): everything that `loopback.rs` says, and what is different.

#[path = "loopback.rs"]
mod loopback;

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use cdps::{Callbacks, Node, PortEvent, SendError};
use loopback::cluster::*;

fn thread() -> String {
    std::fs::read_to_string("/proc/thread-self/comm").expect("a name").trim().to_owned()
}

/// [U4] Every callback runs on an I/O thread, and none inside a call of the user, whose own threads send meanwhile; no other thread is there
/// for callbacks.
#[test]
fn callbacks_run_on_io_threads() {
    thread_local! {
        static IN_CALL: Cell<bool> = const { Cell::new(false) };
    }
    let user = |answers: bool| {
        User::reacting(Box::new(move |port, event| {
            assert_eq!(thread(), "cdps-io-0");
            assert!(!IN_CALL.get(), "inside a call");
            if let PortEvent::Received(message) = event
                && answers
            {
                IN_CALL.set(true);
                port.ack(message.sn(), 7).expect("is owed");
                let sent = send(port, message.data(), 0);
                IN_CALL.set(false);
                sent.expect("is accepted");
            }
        }))
    };
    let pair = Pair::patient(2, user(false), move || user(true));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let port = &pair.port;
            scope.spawn(move || {
                for i in 0..200 {
                    send(port, b"there and back", thread * 1000 + i).expect("is accepted");
                }
            });
        }
    });
    assert!(pair.user.wait_ends(600).iter().all(|(_, rc)| *rc == 7));
    pair.user.wait_received(600);
    let tasks = std::fs::read_dir("/proc/self/task").expect("lists").flatten();
    let names: Vec<_> = tasks.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok()).collect();
    assert!(!names.iter().any(|name| name.starts_with("cdps-cb")), "{names:?}");
    pair.end();
}

/// [U4] [M6] A send that would have to wait in a callback is refused; the thread is the one that would end the wait.
#[test]
fn no_callback_waits() {
    let (refused, refusals) = mpsc::channel();
    let user = User::reacting(Box::new(move |port, event| {
        if matches!(event, PortEvent::Completed { context: 1, .. }) {
            let _ = refused.send((0..1000).find_map(|_| send(port, &[0; 4096], 0).err()));
        }
    }));
    let pair = Pair::with(1, |config| config.send_buffer_max = 65_536, |_| (), user, User::acking);
    send(&pair.port, b"begin", 1).expect("is accepted");
    assert_eq!(refusals.recv_timeout(DEADLINE), Ok(Some(SendError::InCallback)));
    pair.end();
}

/// [U4] [L6] A node is destroyed in a callback of its own, with several I/O threads: its last callback runs on the first of them, when the
/// others have ended.
#[test]
fn a_node_ends_in_its_own_callback() {
    let target = open_listener(2, 2, &[1]);
    let node: Arc<std::sync::OnceLock<Node>> = Arc::default();
    let user = User::reacting(Box::new({
        let node = Arc::clone(&node);
        move |_, event| {
            if matches!(event, PortEvent::Completed { .. }) {
                node.get().expect("is open").destroy();
            }
        }
    }));
    target.register("copy", Host::new(Default::default(), User::acking)).expect("registers");
    let mut options = options(1);
    (options.io_threads, options.callbacks) = (3, Callbacks::Inline);
    options.members = vec![cdps::Member { node: target.id(), addresses: target.listening() }];
    let finals = Arc::new(AtomicU32::new(0));
    let on_final = {
        let finals = Arc::clone(&finals);
        move || {
            assert_eq!(thread(), "cdps-io-0");
            finals.fetch_add(1, Ordering::SeqCst);
        }
    };
    let source = Node::open(options, Box::new(on_final)).expect("opens");
    node.set(source.clone()).expect("once");
    let port = connected(&source, source_config(&[&target]), &user);
    for i in 0..20 {
        let _ = send(&port, &[0; 10_000], i);
    }
    user.wait_final();
    assert_eq!(ends(&user.seen()), completed(&user.seen()).len() + nacked(&user.seen()).len());
    source.destroy_wait(DEADLINE).expect("ends");
    assert_eq!(finals.load(Ordering::SeqCst), 1);
    target.destroy_wait(DEADLINE).expect("ends");
}
