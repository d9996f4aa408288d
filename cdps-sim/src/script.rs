//! Runs by hand: users who do one thing after the other, each when something has been told, instead of what a seed stands for. The network, the
//! clocks and how long users take are a seed's all the same, so that one script is many runs, and every rule of the oracle holds in them.

use cdps_core::admission::Sharing;
use cdps_core::cluster::ClusterKind;
use cdps_core::config::{AckModel, Liveness, PortConfig, Target};
use cdps_core::id::{NodeId, Sn, StreamId};
use cdps_core::port::{ConnStatus, Event, SendError, State};
use cdps_core::time::Duration;

use crate::env::{Env, SECOND};
use crate::fault::{self, FaultKind};
use crate::host::{Host, HostEvent};
use crate::payload::{Received, SentHandle};
use crate::plan::{self, HostPlan, Plan, Send, SourcePlan, UserPlan};
use crate::rng::Rng;
use crate::rules::{Invariant, Promise};
use crate::user::Errand;
use crate::world::World;

/// What a script's cue must have come by.
const COMES_WITHIN: u64 = 60 * SECOND;

/// A run by hand: one source on node 1, and what happens, step by step.
#[derive(Clone, Debug)]
pub struct Script {
    /// Targets: nodes 2, 3, and so on, in the order in which they are backups.
    pub targets: u32,
    /// Paths to each of them.
    pub paths: usize,
    /// The port's acknowledgment model.
    pub ack: AckModel,
    /// The port goes to a backup by itself.
    pub autoswitch: bool,
    /// Messages (node, number) that the user of a node does not acknowledge by itself. It does all others, inside the callback, with the number
    /// of its node as return code.
    pub held: Vec<(u32, u64)>,
    /// What happens, one after the other.
    pub steps: Vec<(Cue, Act)>,
}

/// When a step is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cue {
    /// At once after the one before.
    Now,
    /// When the user of a node was told this, or has called it, since something was done last.
    Told(u32, &'static str),
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// Nothing: this step's cue and the next one's may come in either order.
    Wait,
    /// The source connects to its primary target, or to a node.
    Connect(Option<u32>),
    /// The user of a node sends a message, in the port's acknowledgment model or another one.
    Send(u32, Option<AckModel>),
    /// The user of a node acknowledges a message with a return code.
    Ack(u32, u64, i32),
    /// The source stops.
    Stop,
    /// The source resets.
    Reset,
    /// The user of a node closes its port, draining.
    Close(u32),
    /// The process of a node is killed.
    Kill(u32),
    /// Nothing gets through any more on one path to a node, or on all.
    Silence(u32, Option<usize>),
    /// All paths to a node that were silent work again. What was under way is lost.
    Mend(u32),
}

/// A call of a user, or what its callback was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Virtual time.
    pub at: Duration,
    /// Whose user.
    pub node: u32,
    /// Of its port, when the call has returned, or the callback runs.
    pub state: State,
    /// Which call, or what it was told.
    pub what: String,
}

/// The lines of a run. Nothing is added to it unless a script is followed.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) lines: Vec<Line>,
    goes_on: bool,
}

impl Story {
    pub(crate) fn begin() -> Story {
        Story { lines: Vec::new(), goes_on: true }
    }

    pub(crate) fn end(&mut self) {
        self.goes_on = false;
    }
}

/// How far a script is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) next: usize,
    /// Lines that were there when something was done last.
    from: usize,
    since: u64,
}

impl Script {
    /// Whether the user of this node leaves the message unacknowledged.
    pub(crate) fn holds(&self, node: NodeId, sn: Sn) -> bool {
        self.held.contains(&(node.0, sn.0))
    }
}

impl Plan {
    /// The cluster that a script runs on: all but the script itself is drawn from the seed.
    pub(crate) fn by_hand(seed: u64, script: &Script) -> Plan {
        let mut rng = Rng::new(seed);
        let liveness = Liveness::default();
        let hosts: Vec<HostPlan> = (0..=script.targets as usize)
            .map(|host| HostPlan {
                node: NodeId(host as u32 + 1),
                addresses: (0..script.paths).map(|index| plan::address(seed, host, index)).collect(),
                clock: rng.magnitude(SECOND, 1 << 50),
                drift: rng.pick(&[0, 0, -5000, -100, 100, 5000]),
                target: host > 0,
                first: false,
                users: UserPlan {
                    stalls: 0,
                    refuse: 0,
                    ack_delay: 0,
                    at_once: rng.chance(50),
                    ..plan::user_plan(&mut rng)
                },
            })
            .collect();
        let target = |h: &HostPlan| Target {
            node: h.node,
            addresses: h.addresses.iter().map(|a| (*a).into()).collect(),
        };
        let drawn = PortConfig {
            client: "disk".to_owned(),
            ack: script.ack,
            max_pending_events: 1 << 20,
            session_timeout: Duration::from_secs(10),
            ..plan::port_config(&mut rng, &liveness)
        };
        let source = SourcePlan {
            host: 0,
            config: PortConfig {
                targets: hosts[1..].iter().map(target).collect(),
                autoswitch: script.autoswitch,
                ..drawn.clone()
            },
            target_config: drawn,
            up: Vec::new(),
            down: Vec::new(),
            verbs: Vec::new(),
            contracts: Vec::new(),
            hoards: false,
            promises: vec![Promise::default(); script.targets as usize],
        };
        Plan {
            routes: plan::routes(&mut rng, 1, &hosts, false),
            liveness,
            hosts,
            sources: vec![source],
            faults: Vec::new(),
            quiet_at: 0,
            paths: script.paths,
            buffer: 64 << 10,
            segment: rng.pick(&[1448, 65_536]),
            read_chunk: rng.pick(&[2048, 65_536]),
            timer_slack: rng.pick(&[0, SECOND / 1000]),
            mutual: false,
            cluster: ClusterKind::Static,
            words: Vec::new(),
            cautious: false,
            keeps: false,
            sharing: Sharing::Shared,
            script: Some(script.clone()),
        }
    }

    /// The steps of its script, if it has one.
    pub(crate) fn steps(&self) -> &[(Cue, Act)] {
        self.script.as_ref().map_or(&[], |script| &script.steps)
    }
}

impl World {
    /// Takes the steps of the script whose cues have come.
    pub(crate) fn go_on(&mut self) {
        let plan = std::rc::Rc::clone(&self.plan);
        while let Some((cue, act)) = plan.steps().get(self.progress.next) {
            let since = &self.env.story.lines[self.progress.from..];
            let has_come = match cue {
                Cue::Now => true,
                Cue::Told(node, what) => since.iter().any(|line| line.node == *node && line.what == *what),
            };
            if !has_come {
                return;
            }
            self.progress.next += 1;
            if *act != Act::Wait {
                self.progress.from = self.env.story.lines.len();
                self.progress.since = self.env.now;
                self.act(*act);
            }
        }
    }

    /// The next step's cue must come some day.
    pub(crate) fn expect_cue(&mut self) {
        if self.env.now - self.progress.since > COMES_WITHIN {
            let text = format!("{:?} does not come", self.plan.steps()[self.progress.next]);
            self.env.oracle.fail(Invariant::Progress, text);
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Wait => {}
            Act::Connect(_) | Act::Stop | Act::Reset => self.ask(1, act),
            Act::Send(node, _) | Act::Ack(node, ..) | Act::Close(node) => self.ask(node, act),
            Act::Kill(node) => self.fault_begins(FaultKind::Kill {
                host: node as usize - 1,
                process_only: true,
                restart: false,
            }),
            Act::Silence(node, path) => {
                for route in self.routes_to(node, path) {
                    self.fault_begins(FaultKind::Stall { route });
                }
            }
            Act::Mend(node) => {
                for route in self.routes_to(node, None) {
                    self.env.net_lose(route);
                    self.fault_ends(FaultKind::Stall { route });
                }
            }
        }
    }

    fn routes_to(&self, node: u32, path: Option<usize>) -> Vec<usize> {
        let targets = self.plan.hosts.len() - 1;
        let paths = path.map_or(0..self.plan.paths, |path| path..path + 1);
        paths.map(|path| fault::route(0, node as usize - 1, path, 1, self.plan.paths, targets)).collect()
    }

    /// The newest port of a node is used.
    fn ask(&mut self, node: u32, act: Act) {
        let host = &self.hosts[node as usize - 1];
        match host.slots.iter().rposition(Option::is_some) {
            Some(slot) => host.later(&mut self.env, 0, HostEvent::User { slot, what: Errand::Act(act) }),
            None => self.env.oracle.fail(Invariant::Sanity, format!("node {node} has no port for {act:?}")),
        }
    }
}

impl Host {
    /// The user does what the script says.
    pub(crate) fn act(&mut self, env: &mut Env, slot: usize, act: Act) {
        let now = self.clock(env);
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        let (call, done) = match act {
            Act::Connect(to) => ("connect", s.port.connect(now, to.map(NodeId)).is_ok()),
            Act::Stop => ("stop", s.port.stop(now).is_ok()),
            Act::Close(_) => ("close", s.port.close(now, false).is_ok()),
            Act::Reset => ("reset", s.port.reset(now).is_ok()),
            Act::Send(_, ack) => return self.send_by_hand(env, slot, ack),
            Act::Ack(_, sn, rc) => {
                let generation = s.port.generation();
                return self.answer_with(env, slot, generation, Sn(sn), rc);
            }
            Act::Wait | Act::Kill(_) | Act::Silence(..) | Act::Mend(_) => return,
        };
        if done && matches!(act, Act::Connect(_) | Act::Reset) {
            env.oracle.connecting(s.session);
        }
        env.record(node, s.port.state(), || if done { call.to_owned() } else { format!("{call} refused") });
    }

    fn send_by_hand(&mut self, env: &mut Env, slot: usize, ack: Option<AckModel>) {
        let message =
            Send { at: 0, stream: StreamId(0), len: 100, ack, deadline: None, barrier: false, changes: None };
        let what = match self.send(env, slot, message) {
            Ok(sn) => format!("send {sn}"),
            Err(SendError::Down) => "send refused, down".to_owned(),
            Err(_) => "send refused".to_owned(),
        };
        if let Some(s) = self.slots[slot].as_ref() {
            env.record(self.node(), s.port.state(), || what);
        }
    }
}

impl Env {
    /// Adds a line to the story, if there is one.
    pub(crate) fn record(&mut self, node: NodeId, state: State, what: impl FnOnce() -> String) {
        if self.story.goes_on {
            let at = Duration::from_nanos(self.now);
            self.story.lines.push(Line { at, node: node.0, state, what: what() });
        }
    }

    /// Adds what a user is told.
    pub(crate) fn record_event(&mut self, node: NodeId, state: State, event: &Event<SentHandle, Received>) {
        self.record(node, state, || match event {
            Event::Completed { sn, rc, .. } => format!("complete {sn}, rc {rc}"),
            Event::Nacked { sn, reason, .. } => format!("nack {sn}, {reason:?}"),
            Event::Received(message) if message.redelivered() => format!("received {} again", message.sn),
            Event::Received(message) => format!("received {}", message.sn),
            Event::Resolved { sn, verdict } => format!("resolved {sn}, {verdict:?}"),
            Event::Path { path, health, .. } => format!("path {path} {health:?}"),
            Event::Status(status) => text(status),
            Event::Overdue { sn, .. } => format!("overdue {sn}"),
            Event::Flow { on, .. } => format!("flow {on}"),
            Event::Question(_) => "question".to_owned(),
            Event::Done { .. } => "done".to_owned(),
        });
    }
}

/// What happened to a connection, in the words of a script.
fn text(status: &ConnStatus) -> String {
    match status {
        ConnStatus::Connected { node, .. } => format!("connected to {node}"),
        ConnStatus::ConnectFailed { node, .. } => format!("connect to {node} failed"),
        ConnStatus::Down { .. } => "down".to_owned(),
        ConnStatus::Drained => "drained".to_owned(),
        ConnStatus::Switching { .. } => "switching".to_owned(),
        ConnStatus::Switched { node, only_receipted, .. } => {
            format!("switched to {node}, {only_receipted} only received")
        }
        ConnStatus::Recovered { .. } => "up".to_owned(),
        ConnStatus::Reset { .. } => "reset".to_owned(),
        ConnStatus::SwitchFailed { node, .. } => format!("switch to {node} failed"),
        ConnStatus::Closed { .. } => "closed".to_owned(),
    }
}
