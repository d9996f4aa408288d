//! How fast messages stream from one process to another over loopback.
//!
//! `cargo run --release -p cdps --example stream -- [bytes a message] [seconds] [paths] [copy|borrow] [sync|async|sent] [stream|lone]`
//!
//! The program starts itself as the target. It prints messages and bytes a second, counted at their completion, and the processor time
//! that both processes took for a message. `lone` sends the next message when the one before is complete, and adds the median and the
//! 99th percentile of that time.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cdps::{
    AckModel, ClientHandler, ConnStatus, ConnectRequest, Decision, Member, Node, NodeId, NodeOptions, Port,
    PortConfig, PortEvent, PortHandler, Security, SendError, SendOptions, Target,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("target") => target(args[1].parse()?),
        _ => source(&Plan::parse(&args)?),
    }
}

struct Plan {
    size: usize,
    seconds: u64,
    paths: u8,
    borrow: bool,
    ack: AckModel,
    lone: bool,
}

impl Plan {
    fn parse(args: &[String]) -> Outcome<Plan> {
        let arg = |at: usize, or: &'static str| args.get(at).map_or(or, String::as_str).to_owned();
        let ack = match arg(4, "async").as_str() {
            "sync" => AckModel::Synchronous,
            "async" => AckModel::Asynchronous,
            "sent" => AckModel::Sent,
            other => return Err(format!("{other}: sync, async or sent").into()),
        };
        Ok(Plan {
            size: arg(0, "64").parse()?,
            seconds: arg(1, "3").parse()?,
            paths: arg(2, "1").parse()?,
            borrow: arg(3, "copy") == "borrow",
            ack,
            lone: arg(5, "stream") == "lone",
        })
    }
}

// ---- the target ----

struct Sink;

impl ClientHandler for Sink {
    fn connect_request(&self, _: &ConnectRequest) -> Decision {
        Decision::Accept { config: PortConfig::default(), handler: Arc::new(Sink) }
    }
}

impl PortHandler for Sink {
    fn event(&self, _: &Port, event: PortEvent) {
        if let PortEvent::Received(message) = event
            && message.wants_ack()
        {
            // It is owed: the message says so.
            let _ = message.ack(0);
        }
    }
}

fn target(paths: u8) -> Outcome<()> {
    let mut options = NodeOptions::new(NodeId(2), Security::Plain);
    options.listen = (1..=paths).map(|i| SocketAddr::from(([127, 0, 2, i], 0))).collect();
    options.members = vec![Member { node: NodeId(1), addresses: Vec::new() }];
    let node = Node::open(options, Box::new(|| ()))?;
    node.register("stream", Arc::new(Sink))?;
    let mut out = std::io::stdout();
    for address in node.listening() {
        writeln!(out, "{address}")?;
    }
    out.flush()?;
    // Until the source closes our input.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    writeln!(out, "{}", processor_time().as_nanos())?;
    node.destroy_wait(Duration::from_secs(10))?;
    Ok(())
}

// ---- the source ----

#[derive(Default)]
struct Counter {
    completed: AtomicU64,
    nacked: AtomicU64,
    released: AtomicU64,
    failed: AtomicBool,
    connected: std::sync::Mutex<Option<mpsc::Sender<()>>>,
    lone: std::sync::Mutex<Option<mpsc::Sender<()>>>,
}

impl PortHandler for Counter {
    fn event(&self, _: &Port, event: PortEvent) {
        match event {
            PortEvent::Completed { .. } => {
                self.completed.fetch_add(1, Ordering::Relaxed);
                if let Some(told) = self.lone.lock().ok().and_then(|mut told| told.take()) {
                    // Nobody waits any more: then nobody need be told.
                    let _ = told.send(());
                }
            }
            PortEvent::Nacked { .. } => _ = self.nacked.fetch_add(1, Ordering::Relaxed),
            PortEvent::Released { .. } => _ = self.released.fetch_add(1, Ordering::Relaxed),
            PortEvent::Status(ConnStatus::Connected { .. }) => {
                let told = self.connected.lock().map(|mut told| told.take());
                if let Some(told) = told.ok().flatten() {
                    // Nobody waits any more: then nobody need be told.
                    let _ = told.send(());
                }
            }
            PortEvent::Status(ConnStatus::Down { .. } | ConnStatus::ConnectFailed { .. }) => {
                self.failed.store(true, Ordering::Relaxed);
            }
            PortEvent::Status(_)
            | PortEvent::Flow { .. }
            | PortEvent::Overdue { .. }
            | PortEvent::Path { .. }
            | PortEvent::Received(_)
            | PortEvent::Resolved { .. }
            | PortEvent::Final => {}
        }
    }
}

fn start_target(paths: u8) -> Outcome<(Child, Vec<SocketAddr>, BufReader<std::process::ChildStdout>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["target", &paths.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut addresses = Vec::new();
    for _ in 0..paths {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        addresses.push(line.trim().parse()?);
    }
    Ok((child, addresses, lines))
}

fn source(plan: &Plan) -> Outcome<()> {
    let (mut child, addresses, mut lines) = start_target(plan.paths)?;
    let mut options = NodeOptions::new(NodeId(1), Security::Plain);
    options.members = vec![Member { node: NodeId(2), addresses }];
    let node = Node::open(options, Box::new(|| ()))?;
    let (told, connected) = mpsc::channel();
    let counter = Arc::new(Counter { connected: Some(told).into(), ..Counter::default() });
    let targets = vec![Target { node: NodeId(2), addresses: Vec::new() }];
    let config = PortConfig {
        client: "stream".into(),
        targets,
        ack: plan.ack,
        send_buffer_max: 8 << 20,
        ..PortConfig::default()
    };
    let port = node.create_port(config, counter.clone())?;
    port.register(&node.register("source", Arc::new(Sink))?)?;
    port.initialize()?;
    port.connect(None)?;
    connected.recv_timeout(Duration::from_secs(10))?;

    let (before, start) = (processor_time(), Instant::now());
    let sent = stream(plan, &port, &counter, start)?;
    let took = start.elapsed();
    let own = processor_time() - before;
    let (stats, paths) = (port.stats(), port.path_stats());
    node.destroy_wait(Duration::from_secs(10))?;
    drop(child.stdin.take());
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let theirs = Duration::from_nanos(line.trim().parse()?);
    child.wait()?;
    let rate = sent as f64 / took.as_secs_f64();
    let each = |time: Duration| time.as_nanos() as f64 / sent as f64;
    println!(
        "{} bytes, {} paths, {:?}, {}: {:.3} M messages/s, {:.3} GB/s; processor: source {:.0} ns, target {:.0} ns a message",
        plan.size,
        plan.paths,
        plan.ack,
        if plan.borrow { "borrowed" } else { "copied" },
        rate / 1e6,
        rate * plan.size as f64 / 1e9,
        each(own),
        each(theirs),
    );
    println!(
        "frames sent {:?}, resent {}",
        paths.iter().map(|p| p.carried.frames_sent).collect::<Vec<_>>(),
        stats.retransmitted
    );
    Ok(())
}

fn stream(plan: &Plan, port: &Port, counter: &Counter, start: Instant) -> Outcome<u64> {
    let memory: &'static [u8] = Vec::leak(vec![7; plan.size]);
    let parts = [IoSlice::new(memory)];
    let options = SendOptions::default();
    let mut sent = 0u64;
    if plan.lone {
        return lone(plan, port, counter, start, &parts);
    }
    while start.elapsed().as_secs() < plan.seconds {
        for _ in 0..64 {
            let result = if plan.borrow {
                // SAFETY: the memory is never freed or changed.
                unsafe { port.send_borrowed(&parts, &options) }
            } else {
                port.send(&parts, &options)
            };
            match result {
                Ok(_) => sent += 1,
                Err(SendError::Again) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
    }
    while counter.completed.load(Ordering::Relaxed) < sent {
        if counter.failed.load(Ordering::Relaxed) || counter.nacked.load(Ordering::Relaxed) > 0 {
            return Err("the connection went down".into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(sent)
}

fn lone(plan: &Plan, port: &Port, counter: &Counter, start: Instant, parts: &[IoSlice<'_>]) -> Outcome<u64> {
    let mut times = Vec::new();
    while start.elapsed().as_secs() < plan.seconds {
        let (told, complete) = mpsc::channel();
        counter.lone.lock().map_err(|_| "the callback has panicked")?.replace(told);
        let begin = Instant::now();
        port.send(parts, &SendOptions::default())?;
        complete.recv_timeout(Duration::from_secs(10))?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    println!("median {:?}, 99 % {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    Ok(times.len() as u64)
}

fn processor_time() -> Duration {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid place for the result.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ts) };
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}
