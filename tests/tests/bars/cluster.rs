//! A source and targets under full load, every path through a relay process of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cdps_tests::address;
use cdps_tests::load::{self, Actor, now};
use cdps_tests::process::Program;

pub(crate) const PATHS: usize = 4;

/// The load program.
fn program() -> Command {
    Command::new(load::build(Path::new(env!("CARGO_TARGET_TMPDIR"))))
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
        let mut all: Vec<Actor> =
            (0..targets).map(|index| Actor::start(program().args(target(index, PATHS)))).collect();
        let relays: Vec<Vec<Relay>> = all
            .iter_mut()
            .map(|target| {
                let addresses = target.listening();
                addresses.iter().map(|to| Relay::start(format!("{}:0", address::own_ip()), to)).collect()
            })
            .collect();
        let table: Vec<Vec<&str>> =
            relays.iter().map(|relays| relays.iter().map(|relay| relay.listen.as_str()).collect()).collect();
        let source = Actor::start(program().args(source(&table, size, settings)));
        let mut cluster = Cluster { source, targets: all, relays };
        cluster.wait_good(PATHS);
        cluster
    }

    /// A session over so many paths, without relays, that carries nothing.
    pub(crate) fn idle(paths: usize) -> Cluster {
        // What malloc keeps for a thread after it was freed would count as allocated.
        let exact = |arguments: Vec<String>| {
            Actor::start(program().args(arguments).env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"))
        };
        let mut target = exact(target(0, paths));
        let addresses = target.listening();
        let table = [addresses.iter().map(String::as_str).collect()];
        let source = exact(source(&table, 0, &[]));
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
