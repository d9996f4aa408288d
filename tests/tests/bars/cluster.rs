//! A source and targets under full load (tests/c/load.c), every path through a relay process of its own.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cdps_tests::process::Program;
use cdps_tests::{DEADLINE, address, gcc};
use rustix::time::{ClockId, clock_gettime};

pub(crate) const PATHS: usize = 4;

/// The clock of the programs, in ns.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Lets the load go on.
pub(crate) fn run_for(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

fn load() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let scratch = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        gcc::program(&scratch, &gcc::library(&scratch), "load", "", &["-O2"])
    };
    BUILT.get_or_init(build).clone()
}

/// A line that a program printed.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: u64,
    pub(crate) name: String,
    pub(crate) words: Vec<String>,
}

impl Event {
    fn of(line: &str) -> Event {
        let mut words = line.split(' ').map(str::to_owned);
        let at = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no time: {line}"));
        Event { at, name: words.next().expect("a name"), words: words.collect() }
    }

    /// Whether it is of this name and its words begin so.
    pub(crate) fn is(&self, name: &str, words: &[&str]) -> bool {
        self.name == name
            && words.len() <= self.words.len()
            && words.iter().zip(&self.words).all(|(a, b)| a == b)
    }

    /// Its words of the form key=figure.
    pub(crate) fn figures(&self) -> HashMap<String, u64> {
        let pairs = self.words.iter().filter_map(|word| word.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.parse().expect("a figure"))).collect()
    }
}

/// A running program, and all that it has said.
pub(crate) struct Actor {
    pub(crate) program: Program,
    pub(crate) events: Vec<Event>,
}

impl Actor {
    fn start(arguments: &[String]) -> Actor {
        Actor::spawn(Command::new(load()).args(arguments))
    }

    /// One whose count of allocated bytes is exact: what malloc keeps for a thread after it was freed would count too.
    fn start_exact(arguments: &[String]) -> Actor {
        Actor::spawn(
            Command::new(load()).args(arguments).env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"),
        )
    }

    fn spawn(command: &mut Command) -> Actor {
        let program = Program::start(command).expect("gcc made it");
        Actor { program, events: Vec::new() }
    }

    /// Takes in what it has said.
    pub(crate) fn read(&mut self) {
        while let Some(line) = self.program.printed() {
            self.events.push(Event::of(&line));
        }
    }

    /// Waits for an event, the first from number `from` on that `wanted` accepts; gives its number.
    pub(crate) fn wait(&mut self, what: &str, from: usize, wanted: impl Fn(&Event) -> bool) -> usize {
        let end = Instant::now() + DEADLINE;
        let mut next = from;
        loop {
            self.read();
            if let Some(found) = self.events.iter().skip(next).position(&wanted) {
                return next + found;
            }
            next = self.events.len().max(from);
            let last = &self.events[self.events.len().saturating_sub(20)..];
            assert!(Instant::now() < end, "waited {DEADLINE:?} in vain for {what}; last events: {last:#?}");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    pub(crate) fn order(&mut self, order: &str) {
        self.program.say(order).expect("it lives");
    }

    /// What it answers to an order: the figures of the next line of this name.
    pub(crate) fn ask(&mut self, order: &str, name: &str) -> HashMap<String, u64> {
        self.read();
        let from = self.events.len();
        self.order(order);
        let at = self.wait(name, from, |event| event.name == name);
        self.events[at].figures()
    }

    /// The addresses of a target.
    fn listening(&mut self) -> Vec<String> {
        let at = self.wait("the target to listen", 0, |event| event.name == "listening");
        self.events[at].words.clone()
    }

    /// Context switches of all its threads so far, wanted or not.
    pub(crate) fn switches(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.program.id());
        let tasks = std::fs::read_dir(tasks).expect("it lives").map(|task| task.expect("listed").path());
        let statuses: Vec<String> =
            tasks.map(|task| std::fs::read_to_string(task.join("status")).expect("it lives")).collect();
        let lines =
            statuses.iter().flat_map(|status| status.lines()).filter(|line| line.contains("ctxt_switches"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    }

    /// Lets all its threads run on this processor alone, from now on.
    pub(crate) fn pin(&self, processor: usize) {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        for task in std::fs::read_dir(format!("/proc/{}/task", self.program.id())).expect("it lives") {
            let name = task.expect("listed").file_name();
            let id = name.to_str().and_then(|name| name.parse().ok()).and_then(rustix::thread::Pid::from_raw);
            rustix::thread::sched_setaffinity(id, &set).expect("there are so many processors");
        }
    }

    /// Number of the next event that will come.
    pub(crate) fn mark(&mut self) -> usize {
        self.read();
        self.events.len()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.name == name)
    }
}

/// What can happen to a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Its relay resets all connections, and takes new ones.
    Reset,
    /// Its relay is killed.
    Killed,
    /// Its relay is frozen.
    Frozen,
    /// Nothing comes through any more from the source to the target.
    SilentForth,
    /// Nor back.
    SilentBack,
}

/// A relay process.
pub(crate) struct Relay {
    pub(crate) program: Program,
    listen: String,
    to: String,
}

impl Relay {
    fn start(listen: String, to: &str) -> Relay {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cdps-relay"));
        command.args(["--listen", &listen, "--to", to]);
        let mut program = Program::start(&mut command).expect("cargo made it");
        Relay { listen: program.line(), program, to: to.to_owned() }
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        let done = match fault {
            Fault::Reset => self.program.say("reset"),
            Fault::Killed => self.program.kill(),
            Fault::Frozen => self.program.freeze(),
            Fault::SilentForth => self.program.say("silence forth"),
            Fault::SilentBack => self.program.say("silence back"),
        };
        done.expect("the relay lives");
    }

    pub(crate) fn heal(&mut self, fault: Fault) {
        let done = match fault {
            Fault::Reset => Ok(()),
            Fault::Killed => {
                *self = Relay::start(self.listen.clone(), &self.to);
                Ok(())
            }
            Fault::Frozen => self.program.wake(),
            Fault::SilentForth => self.program.say("flow forth"),
            Fault::SilentBack => self.program.say("flow back"),
        };
        done.expect("the relay lives");
    }
}

/// Node 1 sends to node 2; further nodes are its backups.
pub(crate) struct Cluster {
    pub(crate) source: Actor,
    pub(crate) targets: Vec<Actor>,
    /// By target, then by path.
    pub(crate) relays: Vec<Vec<Relay>>,
}

impl Cluster {
    /// Full load of messages of this size begins at once. `settings` are the source's.
    pub(crate) fn start(targets: usize, size: usize, settings: &[&str]) -> Cluster {
        let mut all: Vec<Actor> = (0..targets).map(|index| Actor::start(&target(index, PATHS))).collect();
        let relays: Vec<Vec<Relay>> = all
            .iter_mut()
            .map(|target| {
                let addresses = target.listening();
                addresses.iter().map(|to| Relay::start(format!("{}:0", address::own_ip()), to)).collect()
            })
            .collect();
        let table: Vec<Vec<&str>> =
            relays.iter().map(|relays| relays.iter().map(|relay| relay.listen.as_str()).collect()).collect();
        let source = Actor::start(&source(&table, size, settings));
        let mut cluster = Cluster { source, targets: all, relays };
        cluster.wait_good(PATHS);
        cluster
    }

    /// A session over so many paths, without relays, that carries nothing.
    pub(crate) fn idle(paths: usize) -> Cluster {
        let mut target = Actor::start_exact(&target(0, paths));
        let addresses = target.listening();
        let table = [addresses.iter().map(String::as_str).collect()];
        let source = Actor::start_exact(&source(&table, 0, &[]));
        let mut cluster = Cluster { source, targets: vec![target], relays: Vec::new() };
        cluster.wait_good(paths);
        cluster
    }

    fn wait_good(&mut self, paths: usize) {
        for path in 0..paths {
            self.wait_path(0, path, "GOOD");
        }
    }

    /// Waits until the source's user is told that a path is so; gives the number of the event.
    pub(crate) fn wait_path(&mut self, from: usize, path: usize, health: &str) -> usize {
        let words = [&path.to_string(), health];
        self.source.wait(&format!("path {path} to be {health}"), from, |event| event.is("path", &words))
    }

    /// The longest pause in delivery at a target that was not over at `since`.
    pub(crate) fn pause(&mut self, target: usize, since: u64) -> Duration {
        let target = &mut self.targets[target];
        let last = target.ask("look", "target")["last"];
        let pauses = target.all("pause").filter(|pause| pause.at > since);
        let lengths = pauses.map(|pause| pause.at - pause.words[0].parse::<u64>().expect("a time"));
        Duration::from_nanos(lengths.max().unwrap_or(0).max(now().saturating_sub(last)))
    }

    /// Bytes that each path has carried.
    pub(crate) fn carried(&mut self) -> [u64; PATHS] {
        let figures = self.source.ask("look", "counters");
        std::array::from_fn(|path| figures[&format!("path{path}")])
    }
}

fn target(index: usize, paths: usize) -> Vec<String> {
    let listen: Vec<String> = (0..paths).map(|_| format!("{}:0", address::own_ip())).collect();
    vec!["target".into(), (index + 2).to_string(), listen.join(","), "1".into()]
}

/// `table`: by target, from node 2 on, what to dial.
fn source(table: &[Vec<&str>], size: usize, settings: &[&str]) -> Vec<String> {
    let table = table.iter().enumerate().map(|(i, list)| format!("{}={}", i + 2, list.join(",")));
    let table: Vec<String> = table.collect();
    let mut arguments = vec!["source".into(), "1".into(), table.join(";"), size.to_string()];
    arguments.extend(settings.iter().map(|&setting| setting.to_owned()));
    arguments
}
