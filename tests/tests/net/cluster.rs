//! A source and two targets under full load, in namespaces of their own, with two paths between each two.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdps_tests::eventually;
use cdps_tests::load::{self, Actor, Event, now};
use cdps_tests::netns::{Fault, LINKS, Namespace, Network};

/// What may be unfinished: several windows of the network.
const BACKLOG: &str = "port.send_buffer_max=8388608";

/// Streams of a source.
const STREAMS: usize = 8;

/// Two loads at once would measure each other.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Node 1 sends to node 2; node 3 is its backup, to which it goes by itself.
pub(crate) struct Cluster {
    pub(crate) net: Network,
    pub(crate) source: Actor,
    pub(crate) targets: Vec<Actor>,
    /// What the source dials.
    table: String,
}

/// Nodes as the network counts them.
pub(crate) const SOURCE: usize = 1;
pub(crate) const TARGET: usize = 2;
pub(crate) const BACKUP: usize = 3;

impl Cluster {
    /// Full load of messages of this size begins at once, over both links.
    pub(crate) fn start(size: usize) -> Cluster {
        Cluster::over(&[0, 1], size, &["port.autoswitch=true"], &[])
    }

    /// The same, over these links alone, after these faults, with these settings of the source.
    pub(crate) fn over(links: &[usize], size: usize, settings: &[&str], faults: &[Fault]) -> Cluster {
        let net = Network::new(BACKUP);
        faults.iter().for_each(|fault| net.strike(*fault));
        let mut targets: Vec<Actor> =
            [TARGET, BACKUP].map(|node| Actor::start(&mut target(net.node(node), node, links))).into();
        let table: Vec<String> = targets
            .iter_mut()
            .zip([TARGET, BACKUP])
            .map(|(target, node)| format!("{node}={}", target.listening().join(",")))
            .collect();
        let table = table.join(";");
        let source = Actor::start(&mut source(net.node(SOURCE), &table, links, size, settings));
        let mut cluster = Cluster { net, source, targets, table };
        for path in 0..links.len() {
            cluster.wait_path(0, path, "GOOD");
        }
        cluster
    }

    /// The source is killed, and another one takes its place.
    pub(crate) fn replace_source(&mut self, size: usize) {
        self.source.program.kill().expect("it lived");
        let node = self.net.node(SOURCE);
        self.source = Actor::start(&mut source(node, &self.table, &[0, 1], size, &[]));
        for path in 0..LINKS {
            self.wait_path(0, path, "GOOD");
        }
        self.targets[0].read();
    }

    /// Waits until the source's user is told that a path is so; gives the number of the event.
    pub(crate) fn wait_path(&mut self, from: usize, path: usize, health: &str) -> usize {
        let words = [&path.to_string(), health];
        self.source.wait(&format!("path {path} to be {health}"), from, |event| event.is("path", &words))
    }

    /// The longest time that a stream had to wait at the target, and that was not over at `since`; told from 100 ms on. Prints it, and for
    /// how long nothing at all was delivered.
    pub(crate) fn longest_stall(&mut self, what: &str, since: u64) -> Duration {
        let target = &mut self.targets[0];
        let last = target.ask("look", "target")["last"];
        let longest = |name| {
            let pauses = target.all(name).filter(|pause| pause.at > since);
            pauses.map(|pause| pause.at - pause.words[0].parse::<u64>().expect("a time")).max().unwrap_or(0)
        };
        let pause = longest("pause").max(now().saturating_sub(last));
        let stall = pause.max(longest("stall"));
        eprintln!(
            "  {what}: nothing for {} ms, of one stream for {} ms",
            pause / 1_000_000,
            stall / 1_000_000
        );
        Duration::from_nanos(stall)
    }

    /// Messages that the target has delivered, and when that was looked at.
    pub(crate) fn delivered(&mut self) -> (u64, u64) {
        (self.targets[0].ask("look", "target")["messages"], now())
    }

    /// Waits until the target has delivered so many messages more.
    pub(crate) fn wait_delivered(&mut self, more: u64) {
        let (before, _) = self.delivered();
        eventually("deliveries", || (self.delivered().0 >= before + more).then_some(()));
    }

    /// Waits for the backup's first message; gives its time.
    pub(crate) fn wait_switched(&mut self) -> u64 {
        let first = self.targets[1].wait("the backup's first message", 0, |event| event.name == "first");
        self.targets[1].events[first].at
    }

    fn told(&self) -> Vec<&str> {
        self.source.all("status").map(|event| event.words[0].as_str()).collect()
    }

    fn check_nothing_wrong(&self) {
        let all = self.targets.iter().chain([&self.source]);
        let wrong: Vec<&Event> = all.flat_map(|actor| actor.all("wrong:")).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Ends the load: each message was delivered and acknowledged once, in order, unchanged, and the source's user was told of no fault but
    /// those of paths.
    pub(crate) fn check_hidden(&mut self) {
        let sent = self.source.ask("stop", "source");
        let got = self.targets[0].ask("look", "target");
        self.check_nothing_wrong();
        let accepted = sent["accepted"];
        assert!(accepted > 100, "{accepted} messages are no load");
        assert_eq!((sent["completed"], sent["nacked"], sent["refused"]), (accepted, 0, 0), "{sent:?}");
        // Of this source; `messages` counts those of a former one too.
        let messages: u64 = (1..=STREAMS).map(|stream| got[&format!("stream{stream}")]).sum();
        assert_eq!((messages, got["gaps"], got["again"], got["bad"]), (accepted, 0, 0, 0), "{got:?}");
        assert_eq!(self.told(), ["CONNECTED"], "what the source's user was told");
        assert_eq!(self.targets[1].all("first").count(), 0, "something went to the backup");
    }

    /// Ends the load after the connection went down: each message was acknowledged or nacked, and nothing went to the backup.
    pub(crate) fn check_down(&mut self) {
        let sent = self.source.ask("stop", "source");
        let got = self.targets[0].ask("look", "target");
        self.check_nothing_wrong();
        assert_eq!(sent["completed"] + sent["nacked"], sent["accepted"], "{sent:?}");
        assert!(sent["completed"] > 100 && sent["refused"] > 0, "no load: {sent:?}");
        assert_eq!((got["gaps"], got["again"], got["bad"]), (0, 0, 0), "{got:?}");
        assert!(got["messages"] >= sent["completed"], "acknowledged, and not delivered: {sent:?} {got:?}");
        assert_eq!(self.told(), ["CONNECTED", "DOWN", "DRAINED"], "what the source's user was told");
        assert_eq!(self.targets[1].all("first").count(), 0, "something went to the backup");
    }

    /// Ends the load after a switch: each message was acknowledged once, by one of the two, and the backup had its own once, in order.
    pub(crate) fn check_switched(&mut self) {
        let sent = self.source.ask("stop", "source");
        let got = self.targets[1].ask("look", "target");
        self.check_nothing_wrong();
        let accepted = sent["accepted"];
        assert_eq!((sent["completed"], sent["nacked"], sent["refused"]), (accepted, 0, 0), "{sent:?}");
        assert_eq!(sent["by2"] + sent["by3"], accepted, "{sent:?}");
        assert!(sent["by2"] > 100 && got["redelivered"] > 0, "no load: {sent:?} {got:?}");
        assert_eq!((got["messages"], got["again"], got["bad"]), (sent["by3"], 0, 0), "{sent:?} {got:?}");
        assert_eq!(self.told(), ["CONNECTED", "SWITCHING", "SWITCHED"], "what the source's user was told");
    }
}

fn program() -> std::path::PathBuf {
    load::build(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

fn addresses(node: usize, links: &[usize], suffix: &str) -> String {
    let all: Vec<String> =
        links.iter().map(|link| format!("{}{suffix}", Network::address(node, *link))).collect();
    all.join(",")
}

fn target(namespace: &Namespace, node: usize, links: &[usize]) -> Command {
    let mut command = namespace.command(program());
    command.args(["target", &node.to_string(), &addresses(node, links, ":0"), "1"]);
    command
}

fn source(namespace: &Namespace, table: &str, links: &[usize], size: usize, settings: &[&str]) -> Command {
    let mut command = namespace.command(program());
    command.args(["source", "1", table, &size.to_string(), BACKLOG]).args(settings);
    command.arg(format!("node.local={}", addresses(SOURCE, links, "")));
    command
}
