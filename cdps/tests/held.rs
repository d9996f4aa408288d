//! A target whose user gives nothing back: what it costs, and that nobody is blamed for it.

mod cluster;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cdps::{
    AckModel, ClientHandler, ClusterEvent, ConnectRequest, Decision, Message, Port, PortConfig, PortEvent,
    PortHandler, SendError, SendOptions,
};
use cluster::*;

/// Bytes on the heap.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WINDOW: usize = 4 << 20;
const BUFFER: usize = 8 << 20;
/// What a queued message may take besides its bytes, on both ends together.
const PER_MESSAGE: usize = 512;
/// Buffers that are read into, chunks that are half full, threads.
const SPARE: usize = 8 << 20;

/// Keeps every message until it is told to let go.
#[derive(Default)]
struct Keeper {
    kept: Mutex<Vec<Message>>,
    lets_go: AtomicBool,
}

impl PortHandler for Keeper {
    fn event(&self, _: &Port, event: PortEvent) {
        if let PortEvent::Received(message) = event
            && !self.lets_go.load(Ordering::Acquire)
        {
            self.kept.lock().expect("kept").push(message);
        }
    }
}

struct Holder(Arc<Keeper>);

impl ClientHandler for Holder {
    fn connect_request(&self, _: &ConnectRequest) -> Decision {
        let config = PortConfig { window: WINDOW as u64, ..PortConfig::default() };
        Decision::Accept { config, handler: Arc::clone(&self.0) as Arc<dyn PortHandler> }
    }

    fn cluster(&self, _: &ClusterEvent) {}

    fn closed(&self) {}
}

/// What a source hears, without a list that grows with it.
#[derive(Default)]
struct Listener {
    completed: AtomicUsize,
    connected: AtomicBool,
    trouble: Mutex<Vec<String>>,
}

impl PortHandler for Listener {
    fn event(&self, _: &Port, event: PortEvent) {
        match event {
            PortEvent::Completed { .. } => _ = self.completed.fetch_add(1, Ordering::AcqRel),
            PortEvent::Status(cdps::ConnStatus::Connected { .. }) => {
                self.connected.store(true, Ordering::Release);
            }
            PortEvent::Nacked { .. } | PortEvent::Status(_) => {
                self.trouble.lock().expect("trouble").push(format!("{event:?}"));
            }
            _ => {}
        }
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "{what}: not in {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// [M6] [M7] [F1] For as long as the target's user keeps everything (CDPS_HELD_SECONDS, 4 unless set), with a backup at hand: sends are
/// refused with "again", the memory of both ends stays within what they were given, and no path, target or message is given up.
#[test]
fn a_target_that_gives_nothing_back() {
    let seconds = std::env::var("CDPS_HELD_SECONDS").map_or(4, |s| s.parse().expect("whole seconds"));
    let (target, backup) = (open_listener(2, 2, &[1]), open_listener(3, 2, &[1]));
    let keeper = Arc::new(Keeper::default());
    target.register("copy", Arc::new(Holder(Arc::clone(&keeper)))).expect("registers");
    backup.register("copy", Arc::new(Holder(Arc::default()))).expect("registers");
    let source = open_dialler(1, 2, &[&target, &backup]);
    let config = PortConfig {
        autoswitch: true,
        ack: AckModel::Asynchronous,
        send_buffer_max: BUFFER as u64,
        ..source_config(&[&target, &backup])
    };
    let listener = Arc::new(Listener::default());
    let port = source.create_port(config, Arc::clone(&listener) as Arc<dyn PortHandler>).expect("is made");
    let client = source.register("source", Arc::new(Holder(Arc::default()))).expect("registers");
    port.register(&client).expect("registers");
    port.initialize().expect("initializes");
    port.connect(None).expect("connects");
    until("connected", || listener.connected.load(Ordering::Acquire));

    let before = LIVE.load(Ordering::Relaxed);
    let data = vec![7; 100_000];
    let at_once = SendOptions { timeout: Some(Duration::ZERO), ..SendOptions::default() };
    let (mut accepted, mut refused, mut peak) = (0, 0, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let len = [1000, 4000, 100_000][(accepted + refused) % 3];
        match port.send(&[IoSlice::new(&data[..len])], &at_once) {
            Ok(_) => accepted += 1,
            Err(SendError::Again | SendError::TimedOut) => {
                refused += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            Err(error) => panic!("{error}"),
        }
        peak = peak.max(LIVE.load(Ordering::Relaxed).saturating_sub(before));
    }
    let bound = WINDOW + BUFFER + SPARE + accepted * PER_MESSAGE;
    eprintln!("{accepted} sends accepted, {refused} refused; at most {peak} bytes more, bound {bound}");
    assert!(refused > 100, "{refused} refused");
    assert!(peak < bound, "{peak} bytes more than before, bound {bound}");
    assert!(listener.trouble.lock().expect("trouble").is_empty(), "{:?}", listener.trouble);
    let first = port.peer();

    keeper.lets_go.store(true, Ordering::Release);
    keeper.kept.lock().expect("kept").clear();
    until("all complete", || listener.completed.load(Ordering::Acquire) == accepted);
    assert!(listener.trouble.lock().expect("trouble").is_empty(), "{:?}", listener.trouble);
    assert_eq!((port.peer(), first.is_some()), (first, true));
    source.destroy_wait(DEADLINE).expect("the source ends");
    target.destroy_wait(DEADLINE).expect("the target ends");
    backup.destroy_wait(DEADLINE).expect("the backup ends");
}
