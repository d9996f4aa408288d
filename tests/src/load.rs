//! The program of tests/c/load.c, one end of a session under full load: started, told, listened to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::process::Program;
use crate::{DEADLINE, gcc};

/// The clock of the programs, in ns.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Lets the load go on.
pub fn run_for(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Builds it, once in a process, with the library as it is now. `scratch` is cargo's folder for tests (`CARGO_TARGET_TMPDIR`).
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn build(scratch: &Path) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| gcc::program(scratch, &gcc::library(scratch), "load", "", &["-O2"])).clone()
}

/// A line that a program printed.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, as [`now`].
    pub at: u64,
    /// What.
    pub name: String,
    /// The rest of the line.
    pub words: Vec<String>,
}

impl Event {
    fn of(line: &str) -> Event {
        let mut words = line.split(' ').map(str::to_owned);
        let at = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no time: {line}"));
        Event { at, name: words.next().expect("a name"), words: words.collect() }
    }

    /// Whether it is of this name and its words begin so.
    pub fn is(&self, name: &str, words: &[&str]) -> bool {
        self.name == name
            && words.len() <= self.words.len()
            && words.iter().zip(&self.words).all(|(a, b)| a == b)
    }

    /// Its words of the form key=figure.
    pub fn figures(&self) -> HashMap<String, u64> {
        let pairs = self.words.iter().filter_map(|word| word.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.parse().expect("a figure"))).collect()
    }
}

/// A running program, and all that it has said.
pub struct Actor {
    /// The process.
    pub program: Program,
    /// What it has said, in order; [`Actor::read`] takes in more.
    pub events: Vec<Event>,
}

impl Actor {
    /// Starts it; `command` is the program with its arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Actor {
        let program = Program::start(command).expect("gcc made it");
        Actor { program, events: Vec::new() }
    }

    /// Takes in what it has said.
    pub fn read(&mut self) {
        while let Some(line) = self.program.printed() {
            self.events.push(Event::of(&line));
        }
    }

    /// Waits for an event, the first from number `from` on that `wanted` accepts; gives its number.
    pub fn wait(&mut self, what: &str, from: usize, wanted: impl Fn(&Event) -> bool) -> usize {
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

    /// Gives it an order.
    ///
    /// # Panics
    /// When it has ended.
    pub fn order(&mut self, order: &str) {
        self.program.say(order).expect("it lives");
    }

    /// What it answers to an order: the figures of the next line of this name.
    pub fn ask(&mut self, order: &str, name: &str) -> HashMap<String, u64> {
        self.read();
        let from = self.events.len();
        self.order(order);
        let at = self.wait(name, from, |event| event.name == name);
        self.events[at].figures()
    }

    /// The addresses of a target.
    pub fn listening(&mut self) -> Vec<String> {
        let at = self.wait("the target to listen", 0, |event| event.name == "listening");
        self.events[at].words.clone()
    }

    /// Context switches of all its threads so far, wanted or not.
    pub fn switches(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.program.id());
        let tasks = std::fs::read_dir(tasks).expect("it lives").map(|task| task.expect("listed").path());
        let statuses: Vec<String> =
            tasks.map(|task| std::fs::read_to_string(task.join("status")).expect("it lives")).collect();
        let lines =
            statuses.iter().flat_map(|status| status.lines()).filter(|line| line.contains("ctxt_switches"));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    }

    /// Lets all its threads run on this processor alone, from now on.
    pub fn pin(&self, processor: usize) {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor);
        for task in std::fs::read_dir(format!("/proc/{}/task", self.program.id())).expect("it lives") {
            let name = task.expect("listed").file_name();
            let id = name.to_str().and_then(|name| name.parse().ok()).and_then(rustix::thread::Pid::from_raw);
            rustix::thread::sched_setaffinity(id, &set).expect("there are so many processors");
        }
    }

    /// Number of the next event that will come.
    pub fn mark(&mut self) -> usize {
        self.read();
        self.events.len()
    }

    /// The events of a name so far.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.name == name)
    }
}
