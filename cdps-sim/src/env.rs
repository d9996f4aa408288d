//! What everything in a run shares: virtual time, the queue of events, the network, chance, the oracle and the trace.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use cdps_core::id::{Generation, SessionId};

use crate::broken::Broken;
use crate::host::HostEvent;
use crate::net::{Net, NetEvent};
use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::script::Story;

/// One millisecond of virtual time.
pub(crate) const MS: u64 = 1_000_000;
/// One second of virtual time.
pub(crate) const SECOND: u64 = 1000 * MS;

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something moves on the network.
    Net(NetEvent),
    /// Something for a process; void if that process (`life`) is gone.
    Host {
        host: usize,
        life: u32,
        event: HostEvent,
    },
    /// A fault of the plan begins.
    FaultBegins(usize),
    /// A fault of the plan ends.
    FaultEnds(usize),
    /// The world looks what was made of a fault of the plan.
    Inspect(usize),
    /// The world looks whether the run is over.
    /// The cluster engine with a quorum has something to say to a host.
    Word(usize),
    Survey,
}

struct Entry {
    at: u64,
    serial: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// The heap gives its greatest: the earliest event, and of those the one queued first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

/// Where the trace goes.
#[derive(Debug, Default)]
pub(crate) enum TraceSink {
    /// Nowhere.
    #[default]
    Off,
    /// To standard output as it happens, so that a panic does not lose it.
    Print,
    /// Into memory.
    Keep(Vec<String>),
}

/// Shared state of a run.
pub(crate) struct Env {
    pub(crate) now: u64,
    pub(crate) net: Net,
    pub(crate) oracle: Oracle,
    pub(crate) rng: Rng,
    pub(crate) broken: Option<Broken>,
    /// How often the broken variant did its deed.
    pub(crate) broke: u64,
    pub(crate) trace: TraceSink,
    queue: BinaryHeap<Entry>,
    serial: u64,
    /// A source's user has just been told which generation is in charge now.
    pub(crate) taken_over: Option<(SessionId, Generation)>,
    /// Number of the next payload.
    pub(crate) payloads: u64,
    pub(crate) story: Story,
}

impl Env {
    pub(crate) fn new(net: Net, oracle: Oracle, rng: Rng, broken: Option<Broken>, trace: TraceSink) -> Env {
        Env {
            now: 0,
            net,
            oracle,
            rng,
            broken,
            broke: 0,
            trace,
            queue: BinaryHeap::new(),
            serial: 0,
            taken_over: None,
            payloads: 0,
            story: Story::default(),
        }
    }

    /// Queues an event.
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.queue.push(Entry { at: at.max(self.now), serial: self.serial, event });
    }

    /// Takes the next event and moves the time to it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let entry = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Number of events queued so far: part of a run's fingerprint.
    pub(crate) fn events(&self) -> u64 {
        self.serial
    }

    /// Whether trace lines are wanted.
    pub(crate) fn tracing(&self) -> bool {
        !matches!(self.trace, TraceSink::Off)
    }

    /// Adds a line to the trace.
    pub(crate) fn line(&mut self, text: &str) {
        let line = format!("{:>12.6}  {text}", self.now as f64 / SECOND as f64);
        match &mut self.trace {
            TraceSink::Off => {}
            TraceSink::Print => {
                use std::io::Write;
                // A closed pipe ends the printing, not the run.
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }
            TraceSink::Keep(lines) => lines.push(line),
        }
    }
}

/// Adds a line to the trace if one is wanted.
macro_rules! note {
    ($env:expr, $($arg:tt)*) => {
        if $env.tracing() {
            let text = format!($($arg)*);
            $env.line(&text);
        }
    };
}
pub(crate) use note;
