//! One run: hosts, network, faults and oracle under virtual time, from one seed.

use std::collections::BTreeMap;
use std::rc::Rc;

use cdps_core::config::PathClass;
use cdps_core::id::{Generation, SessionId, Side};
use cdps_core::time::nanos;

use crate::broken::Broken;
use crate::env::{Env, Event, MS, SECOND, TraceSink, note};
use crate::fault::{self, FaultKind};
use crate::host::{Host, HostEvent, Slot};
use crate::net::{Machine, Net, Route};
use crate::one_way::Watched;
use crate::oracle::{FlowKey, Oracle};
use crate::plan::{self, Plan};
use crate::rng::Rng;
use crate::rules::{Invariant, Tally, Violation};
use crate::script::{Line, Progress, Script, Story};

/// How often the world looks whether the run is over.
const SURVEY_EVERY: u64 = 50 * MS;
/// A quiet port must have come to rest by itself after this time.
const IDLE: u64 = 3 * SECOND;
/// More events than any sane run has, and one of an hour.
const MAX_EVENTS: u64 = 3_000_000;
const MAX_EVENTS_HOUR: u64 = 60_000_000;

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Break the engine in this way.
    pub broken: Option<Broken>,
    /// Leave every fault out.
    pub no_faults: bool,
    /// An hour of paths that flap and targets that fail, instead of what the seed says of both.
    pub hour: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first rule that was broken, if any.
    pub violation: Option<Violation>,
    /// Virtual seconds that the run took.
    pub lasted: f64,
    /// Differs between two runs that were not the same.
    pub fingerprint: u64,
    /// What happened, in numbers.
    pub tally: Tally,
    /// Times that a broken variant did its deed.
    pub broke: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// Faults and workloads go on.
    Storm,
    /// Everything must finish by itself.
    Calm,
    /// Everything has been quiet since then.
    Rest {
        since: u64,
    },
    /// Ports are taken down.
    Curtain,
    Over,
}

pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) plan: Rc<Plan>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) progress: Progress,
    act: Act,
    /// Progress is expected before this moment.
    deadline: u64,
    fingerprint: u64,
    max_events: u64,
    /// Paths that a one-way loss has hit, by number of the fault.
    watched: BTreeMap<usize, Vec<Watched>>,
    /// How long everything must have been quiet before it is taken down.
    rest: u64,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Outcome {
    World::new(seed, options, TraceSink::Off).play(seed)
}

/// Runs one seed and prints what happens to standard output.
#[must_use]
pub fn run_printing(seed: u64, options: Options) -> Outcome {
    World::new(seed, options, TraceSink::Print).play(seed)
}

/// Runs one seed and keeps the trace.
#[must_use]
pub fn run_keeping(seed: u64, options: Options) -> (Outcome, Vec<String>) {
    let mut world = World::new(seed, options, TraceSink::Keep(Vec::new()));
    let outcome = world.play(seed);
    match world.env.trace {
        TraceSink::Keep(lines) => (outcome, lines),
        TraceSink::Off | TraceSink::Print => (outcome, Vec::new()),
    }
}

/// Runs a script on the cluster of a seed. The lines are in order, and end when everything has come to rest.
#[must_use]
pub fn run_script(seed: u64, script: &Script, options: Options) -> (Outcome, Vec<Line>) {
    let mut world = World::of(Plan::by_hand(seed, script), seed, options, TraceSink::Off);
    world.env.story = Story::begin();
    let outcome = world.play(seed);
    (outcome, world.env.story.lines)
}

impl World {
    fn new(seed: u64, options: Options, trace: TraceSink) -> World {
        World::of(Plan::new(seed, options), seed, options, trace)
    }

    fn of(plan: Plan, seed: u64, options: Options, trace: TraceSink) -> World {
        let plan = Rc::new(plan);
        let mut net = Net::default();
        net.machines = vec![Machine::Up; plan.hosts.len()];
        net.lives = vec![0; plan.hosts.len()];
        net.buffer = plan.buffer;
        net.segment = plan.segment;
        for r in &plan.routes {
            net.by_address.insert((r.dialler, r.remote), net.routes.len());
            net.routes.push(Route::new(r.dialler, r.acceptor, r.delay, r.jitter, r.rate));
        }
        let rng = Rng::new(seed.wrapping_mul(0x9e37).wrapping_add(17));
        let budget = plan.liveness.failover_budget.map(nanos);
        let env = Env::new(
            net,
            Oracle::new(budget, plan.hosts.iter().any(|host| host.first)),
            rng,
            options.broken,
            trace,
        );
        let hosts = (0..plan.hosts.len()).map(|index| Host::new(index, &plan)).collect();
        World {
            env,
            plan,
            hosts,
            progress: Progress::default(),
            act: Act::Storm,
            deadline: 0,
            fingerprint: seed,
            max_events: if options.hour { MAX_EVENTS_HOUR } else { MAX_EVENTS },
            watched: BTreeMap::new(),
            rest: if seed.is_multiple_of(8) { IDLE } else { 500 * MS },
        }
    }

    fn play(&mut self, seed: u64) -> Outcome {
        self.announce(seed);
        for host in &mut self.hosts {
            host.open(&mut self.env);
        }
        for (n, fault) in Rc::clone(&self.plan).faults.iter().enumerate() {
            self.env.at(fault.at, Event::FaultBegins(n));
            self.env.at(fault.until, Event::FaultEnds(n));
        }
        for (at, host) in &Rc::clone(&self.plan).words {
            self.env.at(*at, Event::Word(*host));
        }
        self.env.at(self.plan.quiet_at, Event::Survey);
        while self.act != Act::Over && self.env.oracle.violation().is_none() {
            let Some(event) = self.env.next() else { break };
            self.fingerprint =
                (self.fingerprint.rotate_left(5) ^ self.env.now).wrapping_mul(0x0000_0100_0000_01b3);
            self.env.oracle.now = self.env.now;
            self.step(event);
            if self.env.events() > self.max_events {
                self.env.oracle.fail(Invariant::Timers, format!("more than {} events", self.max_events));
            }
        }
        let lasted = self.env.now as f64 / SECOND as f64;
        let violation = self.env.oracle.violation().map(|(invariant, text)| Violation {
            invariant: *invariant,
            at: lasted,
            text: text.clone(),
        });
        if let Some(v) = &violation {
            note!(self.env, "VIOLATION {}: {}", v.invariant, v.text);
        }
        Outcome {
            seed,
            violation,
            lasted,
            fingerprint: self.fingerprint ^ self.env.events(),
            tally: self.env.oracle.tally,
            broke: self.env.broke,
        }
    }

    fn announce(&mut self, seed: u64) {
        let plan = Rc::clone(&self.plan);
        note!(
            self.env,
            "seed {seed}: {} hosts, {} paths each, quiet at {:.3} s",
            plan.hosts.len(),
            plan.paths,
            plan.quiet_at as f64 / SECOND as f64
        );
        note!(
            self.env,
            "buffer {} segment {} read {} mutual {} redial_max {:?}",
            plan.buffer,
            plan.segment,
            plan.read_chunk,
            plan.mutual,
            plan.liveness.redial_max
        );
        for (n, r) in plan.routes.iter().enumerate() {
            note!(
                self.env,
                "route {n}: {} -> {} {} delay {} us, jitter {} us, {} KiB/s",
                r.dialler + 1,
                r.acceptor + 1,
                r.remote,
                r.delay / 1000,
                r.jitter / 1000,
                r.rate >> 10
            );
        }
        for h in &plan.hosts {
            note!(self.env, "node {}: {:?}", h.node, h.users);
        }
        for s in &plan.sources {
            let c = &s.config;
            note!(
                self.env,
                "source on {}: targets {:?} standby {:?} ack {:?} autoswitch {} {:?} window {} (back {}) buffer {} pending {} fragment {} ack_timeout {:?} promises {:?}",
                s.host + 1,
                c.targets.iter().map(|t| t.node.0).collect::<Vec<_>>(),
                c.targets
                    .iter()
                    .map(|t| {
                        let standby = |k: &usize| t.addresses[*k].class == PathClass::Standby;
                        (0..t.addresses.len()).filter(standby).collect::<Vec<_>>()
                    })
                    .collect::<Vec<_>>(),
                c.ack,
                c.autoswitch,
                c.balance,
                s.target_config.window,
                c.window,
                c.send_buffer_max,
                c.max_pending_events,
                c.fragment,
                c.ack_timeout,
                s.promises
            );
            note!(self.env, "  {} messages up, {} down, verbs {:?}", s.up.len(), s.down.len(), s.verbs);
        }
        for f in &plan.faults {
            note!(
                self.env,
                "fault {:.3} to {:.3}: {:?}",
                f.at as f64 / SECOND as f64,
                f.until as f64 / SECOND as f64,
                f.kind
            );
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Net(event) => self.env.net_event(event),
            Event::Host { host, life, event } => {
                let host = &mut self.hosts[host];
                if host.life == life && host.engine.is_some() {
                    host.handle(&mut self.env, event);
                }
            }
            Event::FaultBegins(n) => {
                self.watch_one_way(n);
                self.fault_begins(self.plan.faults[n].kind);
            }
            Event::Inspect(n) => self.inspect_one_way(n),
            Event::FaultEnds(n) => self.fault_ends(self.plan.faults[n].kind),
            Event::Word(host) => self.hosts[host].handle(&mut self.env, HostEvent::Word),
            Event::Survey => {
                self.survey();
                let at = self.env.now + SURVEY_EVERY;
                self.env.at(at, Event::Survey);
            }
        }
        if let Some((session, generation)) = self.env.taken_over.take() {
            self.check_alone(session, generation);
        }
        self.go_on();
    }

    /// A source's user was told that a target is in charge: no former one may deliver any more (F8).
    fn check_alone(&mut self, session: SessionId, generation: Generation) {
        for host in &self.hosts {
            let may_deliver = |(at, slot): (usize, &Option<Slot>)| {
                let slot = slot.as_ref()?;
                let serves = slot.port.serves()?;
                let former = serves.0 == session && serves.1 < generation && slot.port.needs_lease()
                    // An attempt that came to nothing has nothing to deliver, and what was closed cleanly is given back.
                    && self.env.oracle.may_be_fenced_off(session, serves.1);
                (former && host.leased(&self.env, at)).then_some(serves.1)
            };
            if let Some(former) = host.slots.iter().enumerate().find_map(may_deliver) {
                let text = format!(
                    "{session}: generation {generation} is in charge, and {former} may deliver at {}",
                    host.node()
                );
                self.env.oracle.fail(Invariant::Lease, text);
                return;
            }
        }
    }

    /// Notes which paths a one-way loss hits that nothing else explains, and when it must have been noticed.
    fn watch_one_way(&mut self, n: usize) {
        let plan = Rc::clone(&self.plan);
        let FaultKind::OneWay { route, .. } = plan.faults[n].kind else { return };
        let due = self.env.now + nanos(plan.liveness.dead);
        let ends = [plan.routes[route].dialler, plan.routes[route].acceptor];
        if fault::is_lone_one_way(&plan.faults, n, due, ends) {
            let well = ends.iter().flat_map(|host| self.hosts[*host].well_on(&self.env, route)).collect();
            self.watched.insert(n, well);
            self.env.at(due, Event::Inspect(n));
        }
    }

    fn inspect_one_way(&mut self, n: usize) {
        let FaultKind::OneWay { direction, .. } = self.plan.faults[n].kind else { return };
        for watched in self.watched.remove(&n).unwrap_or_default() {
            let both = self.hosts.iter().filter(|host| host.holds(&watched)).count() == 2;
            for host in &self.hosts {
                host.check_one_way(&mut self.env, &watched, direction, both);
            }
        }
    }

    pub(crate) fn fault_begins(&mut self, kind: FaultKind) {
        self.env.fault_begins(kind);
        if let FaultKind::Kill { host, process_only, .. } = kind
            && self.hosts[host].engine.is_some()
        {
            self.env.oracle.struck.insert(self.hosts[host].node(), self.env.now);
            self.hosts[host].kill(&mut self.env);
            self.env.net_kill(host, plan::machine(process_only));
            self.hosts[host].life = self.env.net.lives[host];
        }
        if let FaultKind::Freeze { host } = kind {
            self.env.oracle.struck.insert(self.hosts[host].node(), self.env.now);
            self.hosts[host].freeze(&mut self.env, true);
        }
    }

    pub(crate) fn fault_ends(&mut self, kind: FaultKind) {
        self.env.fault_ends(kind);
        if let FaultKind::Kill { host, restart: true, .. } = kind
            && self.hosts[host].engine.is_none()
        {
            self.env.net.machines[host] = Machine::Up;
            self.hosts[host].open(&mut self.env);
        }
        if let FaultKind::Freeze { host } = kind {
            self.hosts[host].freeze(&mut self.env, false);
            self.env.oracle.survived(self.hosts[host].node());
        }
    }

    /// Moves the run on from act to act.
    fn survey(&mut self) {
        let now = self.env.now;
        match self.act {
            Act::Storm if self.progress.next < self.plan.steps().len() => self.expect_cue(),
            Act::Storm => {
                self.act = Act::Calm;
                self.deadline = now + plan::patience(&self.plan);
                note!(
                    self.env,
                    "--- calm: everything must finish by {:.3}",
                    self.deadline as f64 / SECOND as f64
                );
            }
            Act::Calm | Act::Rest { .. } => {
                let unsettled = self.hosts.iter().find_map(|h| h.settled(&self.env).err());
                match (unsettled, self.act) {
                    (Some(what), _) => {
                        self.act = Act::Calm;
                        self.expect_progress(&what);
                    }
                    (None, Act::Rest { since }) if now - since >= self.rest => self.take_down(),
                    (None, Act::Rest { .. }) => {}
                    (None, _) => self.act = Act::Rest { since: now },
                }
            }
            Act::Curtain => {
                let left = self.hosts.iter().find_map(Host::left);
                match left {
                    Some(what) => self.expect_progress(&what),
                    None => {
                        self.env.oracle.check_ends();
                        self.env.oracle.check_closed();
                        self.act = Act::Over;
                    }
                }
            }
            Act::Over => {}
        }
    }

    fn expect_progress(&mut self, what: &str) {
        if self.env.now > self.deadline {
            let reach: Vec<_> = self.hosts.iter().map(|h| (h.node(), h.reachable())).collect();
            self.env.oracle.fail(Invariant::Progress, format!("{what}; reachable: {reach:?}"));
        }
    }

    fn take_down(&mut self) {
        note!(self.env, "--- curtain: ports are closed");
        self.env.oracle.check_skipped();
        if self.rest == IDLE {
            for host in &self.hosts {
                host.check_idle(&mut self.env);
            }
        }
        let targets: Vec<_> = self.hosts.iter().flat_map(|h| h.sessions(Side::Target)).collect();
        let sources = self.hosts.iter().flat_map(|h| h.sessions(Side::Source));
        for (session, generation) in sources.filter(|s| targets.contains(s)).collect::<Vec<_>>() {
            self.env.oracle.check_delivered(FlowKey::Up(session), generation);
            self.env.oracle.check_delivered(FlowKey::Down(session, generation), generation);
        }
        self.env.story.end();
        for host in &mut self.hosts {
            host.finish();
        }
        self.act = Act::Curtain;
        self.deadline = self.env.now + plan::patience(&self.plan);
    }
}
