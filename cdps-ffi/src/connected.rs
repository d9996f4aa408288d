//! Tests of exported functions on a port that is connected to its own node.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cdps::{
    AckModel, ClientHandler, ConnStatus, ConnectRequest, Decision, NodeId, NodeOptions, Port, PortConfig,
    PortEvent, PortHandler, Reason, Security, Target,
};

use crate::error::{CDPS_E_BAD_HANDLE, CDPS_E_INTERNAL, CDPS_OK};
use crate::guard::guard;
use crate::live;
use crate::node::{NODES, NodeEntry, cdps_node_destroy_wait, cdps_node_id};
use crate::port::{
    self, Abilities, PORTS, PortEntry, cdps_port_ack, cdps_port_destroy, cdps_port_send, cdps_port_stop,
};
use crate::sized::own_size;
use crate::types::{cdps_iov_t, cdps_node_t, cdps_port_t, cdps_send_opts_t};

/// Longer than anything that is waited for takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Accepts everything, and acknowledges nothing.
struct Silent;

impl ClientHandler for Silent {
    fn connect_request(&self, _: &ConnectRequest) -> Decision {
        Decision::Accept { config: PortConfig::default(), handler: Arc::new(Silent) }
    }
}

impl PortHandler for Silent {
    fn event(&self, _: &Port, _: PortEvent) {}
}

#[derive(Debug, PartialEq)]
enum Seen {
    Connected,
    /// With what was stored as the number when this was told.
    Completed(u64, u64),
    Nacked(u64, Reason),
    Final,
}

struct User(Mutex<Sender<Seen>>);

impl PortHandler for User {
    fn event(&self, _: &Port, event: PortEvent) {
        let seen = match event {
            PortEvent::Status(ConnStatus::Connected { .. }) => Seen::Connected,
            PortEvent::Completed { sn, context, .. } => {
                // SAFETY: the test keeps what it gives as a context until the end.
                let stored = unsafe { &*ptr::with_exposed_provenance::<AtomicU64>(context as usize) };
                Seen::Completed(sn.0, stored.load(Ordering::Relaxed))
            }
            PortEvent::Nacked { sn, reason, .. } => Seen::Nacked(sn.0, reason),
            PortEvent::Final => Seen::Final,
            _ => return,
        };
        // The test may have seen enough.
        let _ = self.0.lock().expect("a good lock").send(seen);
    }
}

struct Pair {
    node: *mut cdps_node_t,
    port: *mut cdps_port_t,
    seen: Receiver<Seen>,
}

impl Pair {
    fn new(id: u32, ack: AckModel) -> Pair {
        let mut options = NodeOptions::new(NodeId(id), Security::Plain);
        options.listen = vec![([127, 0, 0, 1], 0).into()];
        let node = cdps::Node::open(options, Box::new(|| ())).expect("opens");
        let client = node.register("copy", Arc::new(Silent)).expect("registers");
        let (told, seen) = channel();
        let targets = vec![Target {
            node: NodeId(id),
            addresses: node.listening().into_iter().map(Into::into).collect(),
        }];
        let config = PortConfig { client: "copy".into(), targets, ack, ..PortConfig::default() };
        let port = node.create_port(config, Arc::new(User(Mutex::new(told)))).expect("is made");
        port.register(&client).expect("registers");
        port.initialize().expect("initializes");
        port.connect(None).expect("connects");
        let (nodes, ports) = (NODES.reserve().expect("a handle"), PORTS.reserve().expect("a handle"));
        let handles = (nodes.handle(), ports.handle());
        nodes.fill(NodeEntry::new(node));
        ports.fill(PortEntry::new(port, Abilities::all()));
        let pair = Pair {
            node: ptr::without_provenance_mut(handles.0),
            port: ptr::without_provenance_mut(handles.1),
            seen,
        };
        assert_eq!(pair.next(), Seen::Connected);
        pair
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(DEADLINE).expect("an event")
    }

    /// Sends a message, with the place for its number as its context.
    fn send(&self, number: &AtomicU64) -> i32 {
        let piece = cdps_iov_t { base: b"data".as_ptr().cast_mut().cast::<c_void>(), len: 4 };
        let opts = cdps_send_opts_t {
            struct_size: own_size::<cdps_send_opts_t>(),
            flags: 0,
            stream: 0,
            ack: 0,
            timeout_ms: 60_000,
            reserved0: 0,
            context: ptr::from_ref(number).cast_mut().cast::<c_void>(),
            deadline_ms: 0,
            reserved1: 0,
        };
        // SAFETY: all of it lives until the call returns, and the number as long as the test.
        unsafe { cdps_port_send(self.port, &piece, 1, &opts, number.as_ptr()) }
    }
}

/// [U3] [A4] After a panic in a call its node takes nothing more but to be destroyed, which nacks what was accepted, and ends as ever.
#[test]
fn a_panic_poisons_the_node() {
    let pair = Pair::new(1, AckModel::Synchronous);
    let other = Pair::new(2, AckModel::Synchronous);
    let numbers = [const { AtomicU64::new(0) }; 3];
    for number in &numbers {
        assert_eq!(pair.send(number), CDPS_OK);
    }
    let mut id = 0;
    // SAFETY: the place is writable.
    let node_id = |node, id: &mut u32| unsafe { cdps_node_id(node, id) };
    assert_eq!(node_id(pair.node, &mut id), CDPS_OK);
    assert_eq!(guard(|| port::with(pair.port, |_| panic!("made by a test"))), CDPS_E_INTERNAL);
    assert_eq!(pair.send(&AtomicU64::new(0)), CDPS_E_INTERNAL);
    assert_eq!(node_id(pair.node, &mut id), CDPS_E_INTERNAL);
    assert_eq!(cdps_port_ack(pair.port, 1, 0), CDPS_E_INTERNAL);
    // SAFETY: no detail is asked for.
    assert_eq!(unsafe { cdps_port_stop(pair.port, ptr::null_mut()) }, CDPS_E_INTERNAL);
    assert_eq!(node_id(other.node, &mut id), CDPS_OK, "other nodes are not concerned");
    assert_eq!(cdps_port_destroy(pair.port), CDPS_OK);
    for number in &numbers {
        assert_eq!(pair.next(), Seen::Nacked(number.load(Ordering::Relaxed), Reason::Closed));
    }
    assert_eq!(pair.next(), Seen::Final);
    assert_eq!(cdps_port_destroy(pair.port), CDPS_E_BAD_HANDLE);
    assert_eq!(cdps_node_destroy_wait(pair.node, 60_000), CDPS_OK);
    let seldom = || {
        let _port = live::port(other.port)?;
        panic!("made by a test");
    };
    assert_eq!(guard(seldom), CDPS_E_INTERNAL);
    assert_eq!(other.send(&AtomicU64::new(0)), CDPS_E_INTERNAL);
    assert_eq!(cdps_node_destroy_wait(other.node, 60_000), CDPS_OK);
}

/// [A4] The number of a message is stored before any callback for it runs, so that a program can look it up there.
#[test]
fn the_number_is_stored_before_the_callback() {
    const COUNT: usize = 20_000;
    let pair = Pair::new(3, AckModel::Sent);
    let numbers: Vec<AtomicU64> = (0..COUNT).map(|_| AtomicU64::new(0)).collect();
    for number in &numbers {
        assert_eq!(pair.send(number), CDPS_OK);
    }
    for _ in 0..COUNT {
        match pair.next() {
            Seen::Completed(sn, stored) => assert_eq!(sn, stored),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cdps_node_destroy_wait(pair.node, 60_000), CDPS_OK);
}
