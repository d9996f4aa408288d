//! What an idle port costs: context switches a second of each end, over all threads of its process.
//!
//! `cargo run --release -p cdps --example idle -- [seconds] [paths]`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cdps::{
    ClientHandler, ConnStatus, ConnectRequest, Decision, Member, Node, NodeId, NodeOptions, Port, PortConfig,
    PortEvent, PortHandler, Security, Target,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "target") {
        return target(args[1].parse()?);
    }
    let number = |at: usize, or: u64| args.get(at).map_or(Ok(or), |a| a.parse());
    source(number(0, 30)?, number(1, 4)? as u8)
}

struct Still(std::sync::Mutex<Option<mpsc::Sender<()>>>);

impl ClientHandler for Still {
    fn connect_request(&self, _: &ConnectRequest) -> Decision {
        Decision::Accept { config: PortConfig::default(), handler: Arc::new(Still(None.into())) }
    }
}

impl PortHandler for Still {
    fn event(&self, _: &Port, event: PortEvent) {
        if let PortEvent::Status(ConnStatus::Connected { .. }) = event
            && let Some(told) = self.0.lock().ok().and_then(|mut told| told.take())
        {
            // Nobody waits any more: then nobody need be told.
            let _ = told.send(());
        }
    }
}

fn target(paths: u8) -> Outcome<()> {
    let mut options = NodeOptions::new(NodeId(2), Security::Plain);
    options.listen = (1..=paths).map(|i| SocketAddr::from(([127, 0, 3, i], 0))).collect();
    options.members = vec![Member { node: NodeId(1), addresses: Vec::new() }];
    let node = Node::open(options, Box::new(|| ()))?;
    node.register("idle", Arc::new(Still(None.into())))?;
    let mut out = std::io::stdout();
    for address in node.listening() {
        writeln!(out, "{address}")?;
    }
    let mut byte = [0];
    while std::io::stdin().read(&mut byte)? == 1 {
        writeln!(out, "{} {}", switches()?, resident()?)?;
    }
    node.destroy_wait(Duration::from_secs(10))?;
    Ok(())
}

fn source(seconds: u64, paths: u8) -> Outcome<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["target", &paths.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().ok_or("no input")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut next = || lines.next().ok_or("the target has ended")?.map_err(Box::<dyn Error>::from);
    let mut addresses = Vec::new();
    for _ in 0..paths {
        addresses.push(next()?.parse()?);
    }
    let mut options = NodeOptions::new(NodeId(1), Security::Plain);
    options.members = vec![Member { node: NodeId(2), addresses }];
    let node = Node::open(options, Box::new(|| ()))?;
    let (told, connected) = mpsc::channel();
    let targets = vec![Target { node: NodeId(2), addresses: Vec::new() }];
    let config = PortConfig { client: "idle".into(), targets, ..PortConfig::default() };
    let port = node.create_port(config, Arc::new(Still(Some(told).into())))?;
    port.register(&node.register("source", Arc::new(Still(None.into())))?)?;
    port.initialize()?;
    port.connect(None)?;
    connected.recv_timeout(Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_secs(3));

    let mut theirs = move || -> Outcome<(u64, String)> {
        input.write_all(b"?")?;
        let line = next()?;
        let (switches, resident) = line.split_once(' ').ok_or("a line of two figures")?;
        Ok((switches.parse()?, resident.to_owned()))
    };
    let before = (switches()?, theirs()?.0);
    std::thread::sleep(Duration::from_secs(seconds));
    let (after, last) = (switches()?, theirs()?);
    let rate = |count: u64| count as f64 / seconds as f64;
    let up = port.stats().paths.iter().filter(|p| p.up).count();
    println!(
        "{up} paths, {seconds} s: {:.1} context switches a second at the source ({} KiB resident), {:.1} at the target ({} KiB)",
        rate(after - before.0),
        resident()?,
        rate(last.0 - before.1),
        last.1
    );
    node.destroy_wait(Duration::from_secs(10))?;
    drop(theirs);
    child.wait()?;
    Ok(())
}

/// Context switches of all threads of this process, wanted or not.
fn switches() -> Outcome<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        for line in status.lines().filter(|line| line.contains("ctxt_switches")) {
            sum += line.split_whitespace().nth(1).ok_or("a figure")?.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// Resident memory, KiB.
fn resident() -> Outcome<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("a figure")?.to_owned())
}
