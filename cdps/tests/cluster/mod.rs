//! Nodes in this process, over real sockets on addresses of 127.0.0.0/8, and users that write down what they are told.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod exposition;
pub mod relay;

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use cdps::{
    AckModel, Callbacks, Certainty, Client, ClientHandler, ClusterEvent, ConnStatus, ConnectRequest,
    Decision, DispatchError, Generation, Health, Level, Liveness, Log, LogSink, Member, Message, Node,
    NodeId, NodeOptions, PathId, Port, PortConfig, PortEvent, PortHandler, Reason, Security, SendError,
    SendOptions, Sn, Ssn, StreamId, Target, Verdict,
};

/// Where callbacks run: the test programs of the modes hold the tests of `loopback.rs` as well.
pub const CALLBACKS: Callbacks = match env!("CARGO_CRATE_NAME").as_bytes() {
    b"inline" => Callbacks::Inline,
    b"dispatch" => Callbacks::Dispatch,
    _ => Callbacks::Threads(1),
};

/// Longer than anything that is waited for takes on the slowest machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// An event, as it was told. Messages are copied, and released at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Completed { sn: Sn, context: u64, rc: i32 },
    Nacked { sn: Sn, context: u64, reason: Reason, certainty: Certainty },
    Released { context: u64 },
    Received(Got),
    Status(ConnStatus),
    Flow { on: bool },
    Overdue { sn: Sn, stream: StreamId, waited: Duration },
    Resolved { sn: Sn, verdict: Verdict },
    Path { path: PathId, health: Health, reason: Reason },
    Final,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub data: Vec<u8>,
    pub sn: Sn,
    pub stream: StreamId,
    pub ssn: Ssn,
    pub generation: Generation,
    pub redelivered: bool,
}

/// What a user does with each event besides writing it down.
pub type Reaction = Box<dyn Fn(&Port, &PortEvent) + Send + Sync>;

/// A user of a port.
pub struct User {
    seen: Mutex<Vec<Seen>>,
    more: Condvar,
    reaction: Reaction,
    /// Messages are kept instead of released.
    keep: bool,
    kept: Mutex<Vec<Message>>,
}

impl User {
    pub fn new() -> Arc<User> {
        User::reacting(Box::new(|_, _| ()))
    }

    /// One that acknowledges each synchronous message with its length.
    pub fn acking() -> Arc<User> {
        User::reacting(Box::new(|port, event| {
            if let PortEvent::Received(message) = event
                && message.wants_ack()
            {
                port.ack(message.sn(), message.data().len() as i32).expect("an acknowledgment is owed");
            }
        }))
    }

    pub fn reacting(reaction: Reaction) -> Arc<User> {
        let (seen, kept) = (Mutex::default(), Mutex::default());
        Arc::new(User { seen, more: Condvar::new(), reaction, keep: false, kept })
    }

    pub fn keeping() -> Arc<User> {
        let (seen, kept) = (Mutex::default(), Mutex::default());
        Arc::new(User { seen, more: Condvar::new(), reaction: Box::new(|_, _| ()), keep: true, kept })
    }

    pub fn let_go(&self) {
        self.kept.lock().expect("kept").clear();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("seen").clone()
    }

    /// Waits until `enough` finds what it looks for.
    pub fn wait<T>(&self, what: &str, mut enough: impl FnMut(&[Seen]) -> Option<T>) -> T {
        let start = Instant::now();
        let mut seen = self.seen.lock().expect("seen");
        loop {
            if let Some(found) = enough(&seen) {
                return found;
            }
            let left = DEADLINE.saturating_sub(start.elapsed());
            if left.is_zero() {
                let tail = &seen[seen.len().saturating_sub(20)..];
                panic!("{what}: not seen in {DEADLINE:?}; {} events, the last: {tail:#?}", seen.len());
            }
            seen = self.more.wait_timeout(seen, left).expect("seen").0;
        }
    }

    /// Waits for a status.
    pub fn wait_status(&self, what: &str, is: impl Fn(&ConnStatus) -> bool) -> ConnStatus {
        self.wait(what, |seen| {
            seen.iter().find_map(|s| match s {
                Seen::Status(status) if is(status) => Some(status.clone()),
                _ => None,
            })
        })
    }

    pub fn wait_connected(&self) -> ConnStatus {
        self.wait_status("connected", |s| matches!(s, ConnStatus::Connected { .. }))
    }

    /// Waits for so many ends of sends, and gives (context, rc) of the completed ones.
    pub fn wait_ends(&self, count: usize) -> Vec<(u64, i32)> {
        self.wait("ends of sends", |seen| (ends(seen) >= count).then(|| completed(seen)))
    }

    pub fn wait_received(&self, count: usize) -> Vec<Got> {
        self.wait("messages", |seen| {
            let got: Vec<&Got> = received(seen).collect();
            (got.len() >= count).then(|| got.into_iter().cloned().collect())
        })
    }

    pub fn wait_final(&self) {
        self.wait("the final event", |seen| (seen.last() == Some(&Seen::Final)).then_some(()));
    }
}

pub fn received(seen: &[Seen]) -> impl Iterator<Item = &Got> {
    seen.iter().filter_map(|s| match s {
        Seen::Received(got) => Some(got),
        _ => None,
    })
}

pub fn ends(seen: &[Seen]) -> usize {
    seen.iter().filter(|s| matches!(s, Seen::Completed { .. } | Seen::Nacked { .. })).count()
}

pub fn completed(seen: &[Seen]) -> Vec<(u64, i32)> {
    seen.iter()
        .filter_map(|s| match s {
            Seen::Completed { context, rc, .. } => Some((*context, *rc)),
            _ => None,
        })
        .collect()
}

pub fn nacked(seen: &[Seen]) -> Vec<(u64, Reason, Certainty)> {
    seen.iter()
        .filter_map(|s| match s {
            Seen::Nacked { context, reason, certainty, .. } => Some((*context, *reason, *certainty)),
            _ => None,
        })
        .collect()
}

pub fn released(seen: &[Seen]) -> Vec<u64> {
    seen.iter()
        .filter_map(|s| match s {
            Seen::Released { context } => Some(*context),
            _ => None,
        })
        .collect()
}

/// [M2] SSNs of each stream ascend by one from the first seen, SNs are unique.
pub fn check_order<'a>(got: impl Iterator<Item = &'a Got>) {
    let mut streams: HashMap<StreamId, Ssn> = HashMap::new();
    let mut numbers = std::collections::HashSet::new();
    for got in got {
        assert!(numbers.insert(got.sn), "message {} delivered twice", got.sn);
        let last = streams.insert(got.stream, got.ssn);
        assert!(
            last.is_none_or(|last| last.next() == got.ssn),
            "stream {}: {last:?}, then {}",
            got.stream,
            got.ssn
        );
    }
}

impl PortHandler for User {
    fn event(&self, port: &Port, event: PortEvent) {
        assert!(cdps::in_callback());
        (self.reaction)(port, &event);
        let seen = match event {
            PortEvent::Completed { sn, context, rc } => Seen::Completed { sn, context, rc },
            PortEvent::Nacked { sn, context, reason, certainty } => {
                Seen::Nacked { sn, context, reason, certainty }
            }
            PortEvent::Released { context } => Seen::Released { context },
            PortEvent::Received(message) => {
                let got = Got {
                    data: message.data().to_vec(),
                    sn: message.sn(),
                    stream: message.stream(),
                    ssn: message.ssn(),
                    generation: message.generation(),
                    redelivered: message.redelivered(),
                };
                if self.keep {
                    self.kept.lock().expect("kept").push(message);
                }
                Seen::Received(got)
            }
            PortEvent::Status(status) => Seen::Status(status),
            PortEvent::Flow { on, .. } => Seen::Flow { on },
            PortEvent::Overdue { sn, stream, waited } => Seen::Overdue { sn, stream, waited },
            PortEvent::Resolved { sn, verdict } => Seen::Resolved { sn, verdict },
            PortEvent::Path { path, health, reason } => Seen::Path { path, health, reason },
            PortEvent::Final => Seen::Final,
        };
        let mut all = self.seen.lock().expect("seen");
        assert_ne!(all.last(), Some(&Seen::Final), "{seen:?} after the final event");
        all.push(seen);
        self.more.notify_all();
    }
}

/// A client that takes every session, each with a user of its own.
pub struct Host {
    pub config: PortConfig,
    make: Box<dyn Fn() -> Arc<User> + Send + Sync>,
    state: Mutex<HostState>,
    more: Condvar,
}

#[derive(Default)]
struct HostState {
    sessions: Vec<(Port, Arc<User>)>,
    requests: Vec<(NodeId, Generation)>,
    cluster: Vec<ClusterEvent>,
    closed: u32,
}

impl Host {
    pub fn new(config: PortConfig, make: impl Fn() -> Arc<User> + Send + Sync + 'static) -> Arc<Host> {
        Arc::new(Host { config, make: Box::new(make), state: Mutex::default(), more: Condvar::new() })
    }

    fn wait<T>(&self, what: &str, enough: impl Fn(&HostState) -> Option<T>) -> T {
        let start = Instant::now();
        let mut state = self.state.lock().expect("state");
        loop {
            if let Some(found) = enough(&state) {
                return found;
            }
            let left = DEADLINE.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "{what}: not seen in {DEADLINE:?}");
            state = self.more.wait_timeout(state, left).expect("state").0;
        }
    }

    /// The session of this number, from 0.
    pub fn session(&self, number: usize) -> (Port, Arc<User>) {
        self.wait("a session", |state| state.sessions.get(number).cloned())
    }

    pub fn requests(&self) -> Vec<(NodeId, Generation)> {
        self.state.lock().expect("state").requests.clone()
    }

    pub fn wait_closed(&self) {
        self.wait("closed", |state| (state.closed > 0).then_some(()));
        assert_eq!(self.state.lock().expect("state").closed, 1);
    }

    pub fn cluster_events(&self) -> Vec<ClusterEvent> {
        self.state.lock().expect("state").cluster.clone()
    }

    pub fn wait_cluster(&self, is: impl Fn(&ClusterEvent) -> bool) -> ClusterEvent {
        self.wait("a cluster event", |state| state.cluster.iter().find(|event| is(event)).cloned())
    }
}

impl ClientHandler for Host {
    fn connect_request(&self, request: &ConnectRequest) -> Decision {
        let user = (self.make)();
        let mut state = self.state.lock().expect("state");
        state.requests.push((request.node, request.generation));
        state.sessions.push((request.port.clone(), Arc::clone(&user)));
        self.more.notify_all();
        Decision::Accept { config: self.config.clone(), handler: user }
    }

    fn cluster(&self, event: &ClusterEvent) {
        self.state.lock().expect("state").cluster.push(event.clone());
        self.more.notify_all();
    }

    fn closed(&self) {
        self.state.lock().expect("state").closed += 1;
        self.more.notify_all();
    }
}

/// Log lines of warnings and errors, for tests that look at them.
#[derive(Default)]
pub struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn log(&self, level: Level, target: &str, message: &str) {
        self.0.lock().expect("lines").push(format!("{level:?} {target} {message}"));
    }
}

impl Lines {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("lines").clone()
    }
}

/// Addresses of 127.0.0.0/8 that no other node of this process uses.
pub fn addresses(count: u8) -> Vec<IpAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id();
    (0..count)
        .map(|_| {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            IpAddr::V4(Ipv4Addr::new(127, (process % 200) as u8 + 1, (n >> 8) as u8, n as u8))
        })
        .collect()
}

pub fn options(id: u32) -> NodeOptions {
    let mut options = NodeOptions::new(NodeId(id), Security::Plain);
    options.callbacks = CALLBACKS;
    if let Ok(level) = std::env::var("CDPS_TEST_LOG") {
        let level = if level == "debug" { Level::Debug } else { Level::Info };
        options.log = Log::new(level, Arc::new(Stderr));
    }
    options
}

struct Stderr;

impl LogSink for Stderr {
    fn log(&self, level: Level, target: &str, message: &str) {
        eprintln!("{level:?} {target} {message}");
    }
}

pub fn open(options: NodeOptions) -> Node {
    let dispatched = options.callbacks == Callbacks::Dispatch;
    let node = Node::open(options, Box::new(|| ())).expect("the node opens");
    if dispatched {
        dispatch_all(&node);
    }
    node
}

/// Dispatches this node's callbacks on a thread for that, from now until its end.
fn dispatch_all(node: &Node) {
    let node = node.clone();
    let (begun, beginning) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut last = node.dispatch(None, Duration::ZERO);
        begun.send(()).expect("somebody waits");
        while last.is_ok() {
            last = node.dispatch(None, DEADLINE);
        }
        assert_eq!(last, Err(DispatchError::Closed));
    });
    beginning.recv().expect("it begins");
}

/// A node that listens on addresses of its own, and knows `peers`.
pub fn open_listener(id: u32, paths: u8, peers: &[u32]) -> Node {
    let mut options = options(id);
    options.listen = addresses(paths).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
    options.members = peers.iter().map(|id| Member { node: NodeId(*id), addresses: Vec::new() }).collect();
    open(options)
}

/// A node that dials the others.
pub fn open_dialler(id: u32, paths: u8, others: &[&Node]) -> Node {
    open_patient_dialler(id, paths, others, Liveness::default())
}

/// The same, with timers of its own.
pub fn open_patient_dialler(id: u32, paths: u8, others: &[&Node], liveness: Liveness) -> Node {
    let members = others.iter().map(|n| Member { node: n.id(), addresses: n.listening() }).collect();
    let mut options = options(id);
    options.local = addresses(paths);
    options.members = members;
    options.liveness = liveness;
    open(options)
}

pub fn source_config(targets: &[&Node]) -> PortConfig {
    PortConfig {
        client: "copy".into(),
        targets: targets.iter().map(|n| Target { node: n.id(), addresses: Vec::new() }).collect(),
        ..PortConfig::default()
    }
}

/// A source node with one port that is connected to one target, over `paths` paths.
pub struct Pair {
    pub source: Node,
    pub target: Node,
    pub client: Client,
    pub host: Arc<Host>,
    pub port: Port,
    pub user: Arc<User>,
}

impl Pair {
    pub fn new(paths: u8) -> Pair {
        Pair::with(paths, |_| (), |_| (), User::new(), User::acking)
    }

    pub fn with(
        paths: u8,
        source: impl FnOnce(&mut PortConfig),
        target: impl FnOnce(&mut PortConfig),
        user: Arc<User>,
        make: impl Fn() -> Arc<User> + Send + Sync + 'static,
    ) -> Pair {
        Pair::on(open_listener(2, paths, &[1]), paths, source, target, user, make)
    }

    /// With timers that no slow machine reaches, for tests in which no path may stand still.
    pub fn patient(paths: u8, user: Arc<User>, make: impl Fn() -> Arc<User> + Send + Sync + 'static) -> Pair {
        let target = open_listener(2, paths, &[1]);
        let liveness =
            Liveness { suspect: Duration::from_secs(5), dead: Duration::from_secs(9), ..Liveness::wan() };
        let source = open_patient_dialler(1, paths, &[&target], liveness);
        Pair::of(source, target, |_| (), |_| (), user, make)
    }

    /// With this node as the target.
    pub fn on(
        target_node: Node,
        paths: u8,
        source: impl FnOnce(&mut PortConfig),
        target: impl FnOnce(&mut PortConfig),
        user: Arc<User>,
        make: impl Fn() -> Arc<User> + Send + Sync + 'static,
    ) -> Pair {
        let source_node = open_dialler(1, paths, &[&target_node]);
        Pair::of(source_node, target_node, source, target, user, make)
    }

    fn of(
        source_node: Node,
        target_node: Node,
        source: impl FnOnce(&mut PortConfig),
        target: impl FnOnce(&mut PortConfig),
        user: Arc<User>,
        make: impl Fn() -> Arc<User> + Send + Sync + 'static,
    ) -> Pair {
        let mut target_config = PortConfig::default();
        target(&mut target_config);
        let host = Host::new(target_config, make);
        let client = target_node.register("copy", host.clone()).expect("registers");
        let mut config = source_config(&[&target_node]);
        source(&mut config);
        let port = connected(&source_node, config, &user);
        Pair { source: source_node, target: target_node, client, host, port, user }
    }

    /// The target's end.
    pub fn far(&self) -> (Port, Arc<User>) {
        self.host.session(0)
    }

    /// Destroys both nodes, and checks that everything came to its end.
    pub fn end(self) {
        self.source.destroy_wait(DEADLINE).expect("the source ends");
        self.target.destroy_wait(DEADLINE).expect("the target ends");
        self.user.wait_final();
        self.host.wait_closed();
    }
}

/// A port of this node, up to the first connect.
pub fn connecting(node: &Node, config: PortConfig, user: &Arc<User>) -> Port {
    let port = node.create_port(config, user.clone()).expect("the port is made");
    let client = node
        .register(&format!("source-{}", port.session().port), Host::new(PortConfig::default(), User::new));
    port.register(&client.expect("registers")).expect("the port registers");
    port.initialize().expect("initializes");
    port.connect(None).expect("connects");
    port
}

pub fn connected(node: &Node, config: PortConfig, user: &Arc<User>) -> Port {
    let port = connecting(node, config, user);
    user.wait_connected();
    port
}

pub fn send(port: &Port, data: &[u8], context: u64) -> Result<Sn, SendError> {
    port.send(&[IoSlice::new(data)], &SendOptions { context, ..SendOptions::default() })
}

/// Recognisable bytes.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// The three models, to run a test for each.
pub const MODELS: [AckModel; 3] = [AckModel::Synchronous, AckModel::Asynchronous, AckModel::Sent];
