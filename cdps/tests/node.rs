//! Nodes and clients: opening, names, cluster events, threads, the end.

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cdps::{
    Callbacks, ClientHandler, ClusterChange, ConnStatus, ConnectRequest, Decision, Member, Node, NodeId,
    OpenError, Port, PortConfig, PortError, PortEvent, PortHandler, Reason, RegisterError, State, Target,
    WaitError,
};
use cluster::*;

fn host() -> Arc<Host> {
    Host::new(PortConfig::default(), User::acking)
}

/// [N1] Options that are not valid are refused with what is wrong, and leave nothing behind.
#[test]
fn bad_options_are_refused() {
    let refused = |change: &dyn Fn(&mut cdps::NodeOptions)| {
        let mut options = options(1);
        change(&mut options);
        let never = Box::new(|| panic!("the final callback of a node that did not open"));
        Node::open(options, never).expect_err("is refused").to_string()
    };
    assert_eq!(refused(&|o| o.id = NodeId(0)), "node id 0 names no node; allowed is 1 to 4294967295");
    assert_eq!(refused(&|o| o.io_threads = 0), "io_threads is 0; allowed is 1 to 64");
    assert_eq!(
        refused(&|o| o.callbacks = Callbacks::Threads(65)),
        "callback_threads is 65; allowed is 1 to 64"
    );
    assert!(refused(&|o| o.liveness.lease = o.liveness.dead).contains("lease"));
    let taken = open_listener(2, 1, &[]);
    let mut options = options(1);
    options.listen = taken.listening();
    match Node::open(options, Box::new(|| ())).expect_err("the address is in use") {
        OpenError::Listen { address, .. } => assert_eq!(address, taken.listening()[0]),
        other => panic!("{other}"),
    }
    taken.destroy_wait(DEADLINE).expect("ends");
}

/// [N3] A name is registered once on a node, and is free again when its client has had its last callback.
#[test]
fn names_are_unique() {
    let node = open_listener(1, 1, &[]);
    let first = host();
    let client = node.register("disk", first.clone()).expect("registers");
    assert_eq!(client.name(), "disk");
    assert_eq!(
        node.register("disk", host()).expect_err("is taken"),
        RegisterError::NameTaken { name: "disk".into() }
    );
    assert!(matches!(node.register("", host()), Err(RegisterError::NameLength { .. })));
    assert!(matches!(node.register(&"x".repeat(256), host()), Err(RegisterError::NameLength { .. })));
    client.unregister();
    client.unregister();
    first.wait_closed();
    let port = node.create_port(PortConfig::default(), User::new()).expect("is made");
    assert_eq!(port.register(&client), Err(PortError::Unregistered { name: "disk".into() }));
    let again = loop {
        // The callback has begun; the name is free when it has returned.
        match node.register("disk", host()) {
            Ok(client) => break client,
            Err(error) => assert_eq!(error, RegisterError::NameTaken { name: "disk".into() }),
        }
    };
    let other = open_listener(2, 1, &[]);
    let stranger = other.create_port(PortConfig::default(), User::new()).expect("is made");
    assert_eq!(stranger.register(&again), Err(PortError::OtherNode { name: "disk".into() }));
    port.register(&again).expect("registers");
    assert!(matches!(port.register(&again), Err(PortError::State(e)) if e.state == State::Registered));
    node.destroy_wait(DEADLINE).expect("ends");
    other.destroy_wait(DEADLINE).expect("ends");
}

/// [N3] Unregistering a client takes its ports down: the source hears of it, and each port has its final event before the client.
#[test]
fn unregistering_takes_ports_down() {
    let pair = Pair::new(2);
    let (far, user) = pair.far();
    pair.client.unregister();
    pair.host.wait_closed();
    assert_eq!(user.seen().last(), Some(&Seen::Final));
    assert_eq!(far.state(), State::Destroyed);
    pair.user.wait_status("the end", |s| matches!(s, ConnStatus::Closed { reason: Reason::PeerClosed }));
    assert_eq!(pair.port.state(), State::Initialized);
    pair.end();
}

/// [N2] [N4] Clients hear of nodes that come and go, on both sides.
#[test]
fn cluster_events() {
    let target = open_listener(2, 2, &[1]);
    let there = host();
    target.register("there", there.clone()).expect("registers");
    let source = open_dialler(1, 2, &[&target]);
    let here = host();
    source.register("here", here.clone()).expect("registers");
    let up = there.wait_cluster(|e| matches!(e.change, ClusterChange::Up { .. }));
    assert_eq!(
        (up.node, up.change),
        (NodeId(1), ClusterChange::Up { incarnation: Some(source.incarnation()) })
    );
    let up = here.wait_cluster(|e| matches!(e.change, ClusterChange::Up { .. }));
    assert_eq!(
        (up.node, up.change),
        (NodeId(2), ClusterChange::Up { incarnation: Some(target.incarnation()) })
    );
    target.destroy_wait(DEADLINE).expect("ends");
    let gone = here.wait_cluster(|e| e.change == ClusterChange::Unreachable);
    assert!(gone.node == NodeId(2) && gone.membership > up.membership);
    source.destroy_wait(DEADLINE).expect("ends");
}

/// [N1] A port may be connected to a client of its own node.
#[test]
fn a_node_may_talk_to_itself() {
    let node = open_listener(1, 2, &[]);
    let there = host();
    node.register("copy", there.clone()).expect("registers");
    let user = User::new();
    let targets =
        vec![Target { node: NodeId(1), addresses: node.listening().into_iter().map(Into::into).collect() }];
    let port =
        connected(&node, PortConfig { client: "copy".into(), targets, ..PortConfig::default() }, &user);
    for i in 0..100 {
        send(&port, &pattern(5000, i), i).expect("is accepted");
    }
    assert_eq!(user.wait_ends(100).len(), 100);
    check_order(there.session(0).1.wait_received(100).iter());
    node.destroy_wait(DEADLINE).expect("ends");
}

/// [L3] Many ports of a node connect to one client of another at the same moment. Each claims a generation of its own: every one is
/// connected and told nothing else, and next to none has to ask twice.
#[test]
fn ports_that_connect_at_once() {
    let target = open_listener(2, 1, &[1]);
    target.register("copy", host()).expect("registers");
    let source = open_dialler(1, 1, &[&target]);
    for _ in 0..10 {
        let users: Vec<_> = (0..20).map(|_| User::new()).collect();
        let ports: Vec<_> =
            users.iter().map(|user| connecting(&source, source_config(&[&target]), user)).collect();
        for user in &users {
            let first = user.wait_status("an end of connecting", |_| true);
            assert!(matches!(first, ConnStatus::Connected { .. }), "{first:?}");
        }
        ports.iter().for_each(Port::destroy);
    }
    let refused = target.stats().connects_refused;
    assert!(refused < 20, "{refused} of 200 were refused at first");
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}

struct Refuser(AtomicU32);

impl ClientHandler for Refuser {
    fn connect_request(&self, request: &ConnectRequest) -> Decision {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Decision::Refuse { text: "not today".into() },
            1 => panic!("a bug of the user's"),
            _ => {
                // Not wanted after all: the port that accepting creates is destroyed before it exists.
                request.port.destroy();
                Decision::Accept { config: PortConfig::default(), handler: User::new() }
            }
        }
    }
}

/// [L3] [L6] A target's user refuses, or panics, or destroys the port in the request: the source is told, and the node goes on.
#[test]
fn requests_that_are_not_taken() {
    let target = open_listener(2, 1, &[1]);
    target.register("copy", Arc::new(Refuser(AtomicU32::new(0)))).expect("registers");
    let source = open_dialler(1, 1, &[&target]);
    for _ in 0..2 {
        let user = User::new();
        connecting(&source, source_config(&[&target]), &user);
        let failed = user.wait_status("failed", |s| matches!(s, ConnStatus::ConnectFailed { .. }));
        assert_eq!(failed, ConnStatus::ConnectFailed { node: NodeId(2), reason: Reason::Refused });
    }
    let user = User::new();
    let config = PortConfig { connect_timeout: Duration::from_secs(1), ..source_config(&[&target]) };
    connecting(&source, config, &user);
    user.wait_status("failed", |s| matches!(s, ConnStatus::ConnectFailed { .. } | ConnStatus::Closed { .. }));
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}

/// [U4] A panic in a callback ends that callback alone.
#[test]
fn a_panic_in_a_callback() {
    let user = User::reacting(Box::new(|_, event| {
        if matches!(event, PortEvent::Completed { context: 3, .. }) {
            panic!("a bug of the user's");
        }
    }));
    let pair = Pair::with(1, |_| (), |_| (), user, User::acking);
    for i in 0..10 {
        send(&pair.port, b"x", i).expect("is accepted");
    }
    assert_eq!(pair.user.wait_ends(9).iter().map(|d| d.0).filter(|c| *c == 3).count(), 0);
    pair.end();
}

struct Grenade;

impl PortHandler for Grenade {
    fn event(&self, _: &Port, _: PortEvent) {}
}

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("a bug of the user's");
    }
}

/// [U4] [L6] A panic in the destructor of a handler ends there: the port is over, and the thread goes on for others.
#[test]
fn a_panic_in_a_destructor() {
    let node = open_listener(1, 1, &[]);
    let port = node.create_port(PortConfig::default(), Arc::new(Grenade)).expect("is made");
    port.destroy_wait(DEADLINE).expect("ends");
    let user = User::new();
    let other = node.create_port(PortConfig::default(), user.clone()).expect("is made");
    other.destroy();
    user.wait_final();
    assert!(!node.is_poisoned(), "it was not our bug");
    node.destroy_wait(DEADLINE).expect("ends");
}

/// Names of the library's threads, also those of other tests in this program, with their masks checked.
fn library_threads() -> Vec<String> {
    let mut names = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").expect("lists tasks") {
        let path = task.expect("a task").path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let Some(mask) = status.lines().find_map(|l| l.strip_prefix("SigBlk:")) else { continue };
        if name.starts_with("cdps-") {
            let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGPIPE, libc::SIGUSR1] {
                assert!(mask >> (signal - 1) & 1 == 1, "{name} takes signal {signal}");
            }
            assert!(mask >> (libc::SIGSEGV - 1) & 1 == 0, "{name} blocks SIGSEGV");
            names.push(name.trim().to_owned());
        }
    }
    names
}

/// [U5] The library's threads are few, named, and leave the process's signals alone.
#[test]
fn threads_are_named_and_block_signals() {
    let mut options = options(1);
    (options.io_threads, options.callbacks) = (2, Callbacks::Threads(3));
    let node = open(options);
    let wanted = ["cdps-io-0", "cdps-io-1", "cdps-cb-0", "cdps-cb-1", "cdps-cb-2"];
    let start = Instant::now();
    // A thread takes its name when it runs first.
    while !wanted.iter().all(|name| library_threads().iter().any(|n| n == name)) {
        assert!(start.elapsed() < DEADLINE, "threads are missing: {:?}", library_threads());
        std::thread::yield_now();
    }
    node.destroy_wait(DEADLINE).expect("ends");
}

/// [U5] Every descriptor that nodes open, with connected ports and all, is closed in a program that this process runs.
#[test]
fn descriptors_are_close_on_exec() {
    // Sockets, epoll, event and timer descriptors: whatever the library may have open. Other tests of this process open none of these
    // kinds but by the library.
    let leaked = || -> Vec<String> {
        let opened =
            std::fs::read_dir("/proc/self/fd").expect("lists").flatten().map(|entry| entry.file_name());
        let flagged = |fd: &str| {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            Some(i32::from_str_radix(flags.trim(), 8).expect("octal") & libc::O_CLOEXEC != 0)
        };
        opened
            .map(|fd| fd.to_string_lossy().into_owned())
            .filter(|fd| fd.parse::<u32>().is_ok_and(|fd| fd > 2) && flagged(fd) == Some(false))
            .collect()
    };
    let before = leaked();
    let pair = Pair::patient(3, User::new(), User::acking);
    let now = leaked();
    assert!(now.iter().all(|fd| before.contains(fd)), "{before:?}, then {now:?}");
    let sockets = || {
        let fds = std::fs::read_dir("/proc/self/fd").expect("lists").flatten();
        fds.filter(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
        .count()
    };
    assert!(sockets() >= 12, "both ends of three data and three control connections");
    pair.end();
}

/// [L6] The node's final callback runs once, last, and nothing of it waits for itself.
#[test]
fn the_final_callback_is_the_last() {
    let target = open_listener(2, 1, &[1]);
    let there = host();
    target.register("copy", there.clone()).expect("registers");
    let mut options = options(1);
    options.members = vec![Member { node: NodeId(2), addresses: target.listening() }];
    options.callbacks = Callbacks::Threads(2);
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let user = User::reacting(Box::new(move |_, event| {
        if matches!(event, PortEvent::Final) {
            // Until the test lets go of the other end.
            let _ = gate.lock().expect("gate").recv();
        }
    }));
    let finals = Arc::new(AtomicU32::new(0));
    let on_final = {
        let (user, finals) = (user.clone(), finals.clone());
        move || {
            assert_eq!(user.seen().last(), Some(&Seen::Final));
            finals.fetch_add(1, Ordering::SeqCst);
        }
    };
    let source = Node::open(options, Box::new(on_final)).expect("opens");
    let port = connected(&source, source_config(&[&target]), &user);
    for i in 0..50 {
        send(&port, &pattern(50_000, i), i).expect("is accepted");
    }
    assert_eq!(source.destroy_wait(Duration::from_millis(20)), Err(WaitError::TimedOut));
    drop(go);
    source.destroy();
    source.destroy_wait(DEADLINE).expect("ends");
    source.destroy_wait(DEADLINE).expect("ended before");
    assert_eq!(finals.load(Ordering::SeqCst), 1);
    assert_eq!(ends(&user.seen()), 50);
    assert_eq!(source.stats().ports, 0);
    target.destroy_wait(DEADLINE).expect("ends");
}
