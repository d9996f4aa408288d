//! What a seed stands for: the cluster, its configuration, the workloads, and the faults with their times.

mod classes;
mod cluster;
mod surroundings;
mod view;
mod workload;

use std::net::SocketAddr;

use cdps_core::admission::Sharing;
use cdps_core::cluster::ClusterKind;
use cdps_core::config::{
    AckModel, BackupSelection, Balance, Liveness, OnUserAckTimeout, PathClass, PortConfig, StreamContract,
    Target,
};
use cdps_core::id::{NodeId, StreamId};
use cdps_core::time::{Duration, nanos};

pub(crate) use surroundings::address;
use view::View;
pub(crate) use workload::{Send, Verb};
use workload::{barriers, buffers, deadlines, suspensions, switches, verbs, workload};

use crate::changes;
use crate::env::{MS, SECOND};
use crate::fault::{self, Fault, FaultKind};
use crate::hour;
use crate::net::Machine;
use crate::rng::Rng;
use crate::rules::Promise;
use crate::script::Script;
use crate::world::Options;

/// Keeps the choice of standby paths apart from every other: seeds stand for the same runs with and without it.
const STANDBY: u64 = 0x5374_616e_6462_7921;

/// Keeps the choice of deadlines apart in the same way.
const DEADLINES: u64 = 0x4465_6164_6c69_6e65;

/// And that of users who change buffers that they have lent.
const BUFFERS: u64 = 0x4275_6666_6572_7321;

/// And that of barriers.
const BARRIERS: u64 = 0x4261_7272_6965_7273;
/// As [`STANDBY`], for the choice of backups.
const CHOICE: u64 = 0x4368_6f69_6365_2e2e;

/// As [`STANDBY`], for users who can fence.
const FENCES: u64 = 0x5665_7264_6963_7473;

/// As [`STANDBY`], for changes of live ports.
const CHANGES: u64 = 0x4c69_7665_2070_6f72;
/// As [`STANDBY`], for the grace of lost targets.
const GRACE: u64 = 0x4772_6163_652e_2e2e;

/// As [`STANDBY`], for ports that allow few streams.
const STREAMS: u64 = 0x5374_7265_616d_732e;

/// As [`STANDBY`], for the releases of nodes.
const RELEASES: u64 = 0x7265_6c65_6173_6573;

/// As [`STANDBY`], for failover budgets.
const BUDGET: u64 = 0x4275_6467_6574_7321;

/// As [`STANDBY`], for roles.
const ROLES: u64 = 0x726f_6c65_7300_0001;

/// As [`STANDBY`], for what a cluster engine with a quorum says.
const CLUSTER: u64 = 0x7175_6f72_7500_0001;

/// As [`STANDBY`], for processes that take all events at once.
const TAKERS: u64 = 0x7461_6b65_7273_0001;

/// As [`STANDBY`], for generations that are kept.
const KEEPS: u64 = 0x6b65_6570_7300_0001;

/// As [`STANDBY`], for streams of high priority.
const CLASSES: u64 = 0x436c_6173_7365_7321;

/// So long a target's user keeps the bulk that it gets (M11).
pub(crate) const HOARDING: u64 = 12 * SECOND;

/// A user that hesitates acknowledges after this time at most, which a close still waits for.
pub(crate) const HESITATION: u64 = 4 * SECOND;

/// Everything that follows from a seed before the run begins.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) liveness: Liveness,
    pub(crate) hosts: Vec<HostPlan>,
    pub(crate) sources: Vec<SourcePlan>,
    pub(crate) faults: Vec<Fault>,
    /// Every fault is over by then, and every workload has been given out.
    pub(crate) quiet_at: u64,
    /// Addresses of each target host: paths to it.
    pub(crate) paths: usize,
    pub(crate) routes: Vec<RoutePlan>,
    /// Bytes that a connection's direction holds before it pushes back.
    pub(crate) buffer: usize,
    pub(crate) segment: usize,
    /// Bytes that a driver reads at once.
    pub(crate) read_chunk: usize,
    /// Longest lateness of a timer.
    pub(crate) timer_slack: u64,
    /// Targets dial back too: members know each other's addresses.
    pub(crate) mutual: bool,
    /// Who says which nodes are alive.
    pub(crate) cluster: ClusterKind,
    /// An engine with a quorum says of nodes that it does not hear no more than that.
    pub(crate) cautious: bool,
    /// When an engine with a quorum says something, and to which host.
    pub(crate) words: Vec<(u64, usize)>,
    /// Nodes keep generations across restarts.
    pub(crate) keeps: bool,
    /// How many sources the clients serve at a time (L4). Exclusive ones are rivals for one client.
    pub(crate) sharing: Sharing,
    /// What its users do, if that does not follow from the seed.
    pub(crate) script: Option<Script>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct HostPlan {
    pub(crate) node: NodeId,
    pub(crate) addresses: Vec<SocketAddr>,
    /// What its clock shows when the run begins.
    pub(crate) clock: u64,
    /// Millionths by which it runs fast (or slow).
    pub(crate) drift: i64,
    pub(crate) target: bool,
    /// It is of the first release (U7).
    pub(crate) first: bool,
    pub(crate) users: UserPlan,
}

/// A relay between a dialling host and an address.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) dialler: usize,
    pub(crate) acceptor: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    pub(crate) rate: u64,
}

/// How the users of a node behave.
#[derive(Clone, Debug)]
pub(crate) struct UserPlan {
    /// Longest wait of an event before its callback runs.
    pub(crate) dispatch_delay: u64,
    /// Callbacks take from the first of these moments to the second, whatever they are given.
    pub(crate) busy: Vec<(u64, u64)>,
    /// Of a thousand events, how many keep their callback busy for long.
    pub(crate) stalls: u64,
    /// Streams that its targets allow at most.
    pub(crate) max_streams: u32,
    /// All events that wait are taken at once, and told one by one.
    pub(crate) at_once: bool,
    /// Events dispatched before something else gets a turn.
    pub(crate) dispatch_batch: u64,
    /// Longest wait before a message is acknowledged; differing waits make acknowledgments come out of order.
    pub(crate) ack_delay: u64,
    /// Percent of messages that are acknowledged seconds later than that.
    pub(crate) hesitate: u64,
    /// Percent of messages that are kept beyond the callback.
    pub(crate) retain: u64,
    /// Longest time that they are kept.
    pub(crate) retain_for: u64,
    /// Longest wait before a connect request is decided.
    pub(crate) decide_delay: u64,
    /// Percent of connect requests that are refused.
    pub(crate) refuse: u64,
    /// Percent of questions which backup to use that get no answer, or none that helps.
    pub(crate) vague: u64,
}

impl UserPlan {
    /// Times that this user sees say something about the engine.
    fn is_quick(&self) -> bool {
        self.stalls == 0 && self.busy.is_empty() && self.dispatch_delay <= MS
    }
}

/// A source port.
#[derive(Debug)]
pub(crate) struct SourcePlan {
    pub(crate) host: usize,
    pub(crate) config: PortConfig,
    pub(crate) target_config: PortConfig,
    pub(crate) up: Vec<Send>,
    pub(crate) down: Vec<Send>,
    pub(crate) verbs: Vec<(u64, Verb)>,
    /// What holds for streams of both directions.
    pub(crate) contracts: Vec<(StreamId, StreamContract)>,
    /// The target's user keeps all bulk for a while, and times say something of what is not bulk.
    pub(crate) hoards: bool,
    /// What the faults leave to a session that connects to each of the targets.
    pub(crate) promises: Vec<Promise>,
}

impl Plan {
    pub(crate) fn new(seed: u64, options: Options) -> Plan {
        let plan = Plan::of(seed, options.no_faults);
        if options.hour { hour::lengthen(plan, seed) } else { plan }
    }

    fn of(seed: u64, no_faults: bool) -> Plan {
        let mut rng = Rng::new(seed);
        let sources = if rng.chance(15) { 2 } else { 1 };
        let targets = rng.pick(&[1, 2, 2, 3]);
        let paths = rng.pick(&[1, 2, 2, 3, 4, 4, 5, 6]);
        let mutual = rng.chance(20);
        let budget = Rng::new(seed ^ BUDGET).pick(&[None, None, Some(3000), Some(4500)]);
        let liveness = Liveness {
            redial_max: Duration::from_millis(rng.pick(&[500, 2000, 10_000])),
            ..budget.map_or_else(Liveness::default, |ms| Liveness::for_budget(Duration::from_millis(ms)))
        };
        let mut hosts_rng = rng.fork();
        let mut releases = Rng::new(seed ^ RELEASES);
        let mixed = releases.chance(15);
        let mut hosts: Vec<HostPlan> = (0..sources + targets)
            .map(|host| HostPlan {
                node: NodeId(host as u32 + 1),
                addresses: (0..paths).map(|i| address(seed, host, i)).collect(),
                clock: hosts_rng.magnitude(SECOND, 1 << 50),
                drift: hosts_rng.pick(&[0, 0, -5000, -100, 100, 5000]),
                target: host >= sources,
                first: mixed && releases.chance(50),
                users: user_plan(&mut hosts_rng),
            })
            .collect();
        if budget.is_some() {
            // A budget says nothing of users.
            for host in &mut hosts {
                (host.users.stalls, host.users.dispatch_delay) = (0, 0);
            }
        }
        let routes = routes(&mut rng.fork(), sources, &hosts, mutual);
        let slowest = routes.iter().map(|r| r.rate).min().unwrap_or(u64::MAX);
        let mut faults = fault::plan(&mut rng.fork(), sources, targets, paths, mutual);
        let aimed = rng.chance(35);
        if aimed {
            fault::aim(&mut rng.fork(), &mut faults, sources, targets, paths);
        }
        surroundings::narrow_paths(seed, &mut faults, sources, targets, paths);
        if no_faults {
            faults.clear();
        }
        let mut takers = Rng::new(seed ^ TAKERS);
        hosts.iter_mut().for_each(|host| host.users.at_once = takers.chance(50));
        let mut busy_rng = rng.fork();
        for fault in &faults {
            let (FaultKind::Partition { host, .. } | FaultKind::Freeze { host }) = fault.kind else {
                continue;
            };
            if busy_rng.chance(60) {
                // What came before the fault waits for its user during the fault, and beyond.
                let from = fault.at.saturating_sub(busy_rng.within(0, 300) * MS);
                let to = fault.at + busy_rng.below((fault.until - fault.at) * 2);
                if budget.is_none() {
                    hosts[host].users.busy.push((from, to));
                }
            }
        }
        let mut sources_rng = rng.fork();
        let source_ports = if rng.chance(20) { 2 } else { 1 };
        let view = View { hosts: &hosts, sources, paths, faults: &faults, aimed };
        let mut sources: Vec<SourcePlan> =
            (0..sources * source_ports).map(|n| source_plan(&mut sources_rng, n, &view, &liveness)).collect();
        suspensions(&mut Rng::new(!seed), &mut sources);
        stand_by(&mut Rng::new(seed ^ STANDBY), &mut sources);
        switches(&mut Rng::new(!seed ^ 0xf6), &mut sources);
        deadlines(&mut Rng::new(seed ^ DEADLINES), &mut sources);
        barriers(&mut Rng::new(seed ^ BARRIERS), &mut sources);
        buffers(&mut Rng::new(seed ^ BUFFERS), &hosts, &mut sources);
        changes::plan(&mut Rng::new(seed ^ CHANGES), &mut sources);
        classes::plan(&mut Rng::new(seed ^ CLASSES), &mut hosts, &mut sources);
        selections(&mut Rng::new(seed ^ CHOICE), &mut hosts, &mut sources);
        graces(&mut Rng::new(seed ^ GRACE), &liveness, &mut sources);
        few_streams(&mut Rng::new(seed ^ STREAMS), &mut hosts, &mut sources);
        fences(&mut Rng::new(seed ^ FENCES), &mut sources);
        surroundings::gaps_in_tables(seed, &mut sources);
        // Drawn apart, so that nothing else of a seed depends on it.
        slow_users(&mut Rng::new(!seed ^ 0xa6), &mut hosts, &mut sources);
        if no_faults {
            // A slow user is no fault; a port that gives its target up for that would make it one.
            for source in &mut sources {
                source.config.on_user_ack_timeout = OnUserAckTimeout::Event;
                source.target_config.on_user_ack_timeout = OnUserAckTimeout::Event;
            }
            if hosts.iter().any(|host| host.first) {
                // Whose user changes a buffer loses the session with a node of the first release.
                let sends = sources.iter_mut().flat_map(|s| s.up.iter_mut().chain(&mut s.down));
                sends.for_each(|send| send.changes = None);
            }
        }
        let sharing = rivals(&mut Rng::new(seed ^ ROLES), &mut sources, no_faults);
        if sharing == Sharing::Exclusive {
            // The first release refuses who asks for a role.
            hosts.iter_mut().for_each(|host| host.first = false);
        }
        let (cluster, words) = cluster::words(&mut Rng::new(seed ^ CLUSTER), &hosts, &faults, &mut sources);
        let last_send =
            sources.iter().flat_map(|s| s.up.iter().chain(&s.down)).map(|s| s.at).max().unwrap_or(0);
        let last_fault = faults.iter().map(|f| f.until).max().unwrap_or(0);
        let last_word = words.iter().map(|w| w.0).max().unwrap_or(0);
        let last_verb = sources.iter().flat_map(|s| &s.verbs).map(|v| v.0).max().unwrap_or(0);
        Plan {
            liveness,
            hosts,
            sources,
            quiet_at: last_fault.max(last_send).max(last_verb).max(last_word) + 100 * MS,
            faults,
            paths,
            routes,
            // Not so much that a queue alone looks like a fault.
            buffer: rng.magnitude(8 << 10, 512 << 10).min(slowest / 10) as usize,
            segment: rng.pick(&[1448, 4096, 16_384, 65_536]),
            read_chunk: rng.pick(&[2048, 16_384, 65_536, 65_536]),
            timer_slack: rng.pick(&[0, MS / 10, MS]),
            mutual,
            cluster,
            words,
            cautious: cluster::is_cautious(seed),
            keeps: Rng::new(seed ^ KEEPS).chance(60),
            sharing,
            script: None,
        }
    }
}

impl Plan {
    /// Some bytes are damaged in flight.
    pub(crate) fn has_corruption(&self) -> bool {
        self.faults.iter().any(|f| matches!(f.kind, FaultKind::Corrupt { .. }))
    }
}

pub(crate) fn user_plan(rng: &mut Rng) -> UserPlan {
    UserPlan {
        dispatch_delay: rng.pick(&[0, MS / 100, MS, 20 * MS]),
        busy: Vec::new(),
        stalls: rng.pick(&[0, 0, 3, 20]),
        at_once: false,
        max_streams: u32::MAX,
        dispatch_batch: rng.pick(&[1, 4, 64]),
        ack_delay: rng.pick(&[0, 0, MS, 50 * MS, 500 * MS]),
        hesitate: 0,
        retain: rng.pick(&[0, 0, 20, 60]),
        retain_for: rng.pick(&[MS, 50 * MS, 1000 * MS]),
        decide_delay: rng.pick(&[0, MS, 300 * MS]),
        refuse: rng.pick(&[0, 0, 0, 20]),
        vague: 0,
    }
}

/// Users that are slow to acknowledge, and what their peers make of it.
fn slow_users(rng: &mut Rng, hosts: &mut [HostPlan], sources: &mut [SourcePlan]) {
    for host in hosts {
        host.users.hesitate = rng.pick(&[0, 0, 0, 0, 1, 10, 100]);
    }
    for source in sources {
        let mut timeout = || {
            let ms = rng.pick(&[0, 0, 200, 600, 1200, 2500, 30_000]);
            (ms > 0).then(|| Duration::from_millis(ms))
        };
        source.config.user_ack_timeout = timeout();
        source.target_config.user_ack_timeout = timeout();
        if rng.chance(15) {
            source.config.on_user_ack_timeout = OnUserAckTimeout::Down;
            source.target_config.on_user_ack_timeout = OnUserAckTimeout::Down;
            source.promises.fill(Promise::default());
        }
    }
}

/// Ports that choose their backups in other ways, and users who do not always know one (L2).
fn selections(rng: &mut Rng, hosts: &mut [HostPlan], sources: &mut [SourcePlan]) {
    for host in hosts.iter_mut() {
        host.users.vague = rng.pick(&[0, 0, 30]);
    }
    for source in sources {
        let selection = rng.pick(&[
            BackupSelection::Listed,
            BackupSelection::Listed,
            BackupSelection::RoundRobin,
            BackupSelection::Callback,
        ]);
        source.config.backup_selection = selection;
        for promise in &mut source.promises {
            // The first choice may be a backup that is gone as well, or come late.
            promise.prompt &= selection == BackupSelection::Listed
                || (selection == BackupSelection::RoundRobin && source.config.targets.len() <= 2);
            promise.switch_hidden &=
                selection != BackupSelection::Callback || hosts[source.host].users.vague == 0;
        }
    }
}

/// Some ends allow fewer streams than their peer's user means to use (M2): what is refused is not sent, and costs no path.
fn few_streams(rng: &mut Rng, hosts: &mut [HostPlan], sources: &mut [SourcePlan]) {
    for source in &mut *sources {
        if rng.chance(20) {
            source.config.max_streams = rng.pick(&[1, 3, 8, 4096]);
            source.target_config.max_streams = rng.pick(&[1, 3, 8, 4096]);
        }
    }
    if rng.chance(15) {
        // A target that allows fewer than what is unfinished needs does not do as a backup (LIMIT).
        hosts.iter_mut().for_each(|host| host.users.max_streams = rng.pick(&[1, 3, u32::MAX]));
        let promises = sources.iter_mut().flat_map(|source| &mut source.promises);
        promises.for_each(|promise| promise.switch_hidden = false);
    }
}

/// Some ports wait for a lost target before they leave it (F5).
fn graces(rng: &mut Rng, liveness: &Liveness, sources: &mut [SourcePlan]) {
    for source in sources.iter_mut().map(|s| &mut s.config).filter(|c| c.autoswitch) {
        if !rng.chance(50) {
            continue;
        }
        let most = if liveness.failover_budget.is_some() { 500 } else { 4000 };
        source.switch_grace = Duration::from_millis(rng.within(20, most));
        if liveness.failover_budget.is_some() {
            let derived = PortConfig::with_timers(liveness, None, source.switch_grace);
            (source.connect_timeout, source.ack_timeout) = (derived.connect_timeout, derived.ack_timeout);
        }
        // The source sees the loss by the dead time and two heartbeats; the target must not have forgotten the session then.
        let remembered = liveness.dead + liveness.heartbeat * 2 + source.switch_grace;
        source.session_timeout = source.session_timeout.max(remembered);
    }
}

/// Some users can fence a target that was given up (F8).
fn fences(rng: &mut Rng, sources: &mut [SourcePlan]) {
    for source in sources {
        source.config.fence = rng.chance(60);
    }
}

pub(crate) fn routes(rng: &mut Rng, sources: usize, hosts: &[HostPlan], mutual: bool) -> Vec<RoutePlan> {
    let mut routes = Vec::new();
    for (dialler, from) in hosts.iter().enumerate() {
        for (acceptor, to) in hosts.iter().enumerate() {
            // The order, and so the index of each route, is known to `fault::route`.
            if dialler == acceptor || from.target == to.target || (dialler >= sources && !mutual) {
                continue;
            }
            for remote in &to.addresses {
                let delay = rng.magnitude(20_000, 15 * MS);
                routes.push(RoutePlan {
                    dialler,
                    acceptor,
                    remote: *remote,
                    delay,
                    jitter: delay / rng.pick(&[1, 4, 50]),
                    rate: rng.magnitude(1 << 20, 1 << 30),
                });
            }
        }
    }
    routes
}

fn source_plan(rng: &mut Rng, number: usize, view: &View<'_>, liveness: &Liveness) -> SourcePlan {
    let &View { hosts, sources, aimed, .. } = view;
    let host = number % sources;
    let mut order: Vec<usize> = (sources..hosts.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i as u64 + 1) as usize);
    }
    if aimed {
        // The first target is everybody's primary.
        order.sort_by_key(|t| *t != sources);
    }
    let mut base = port_config(rng, liveness);
    if liveness.failover_budget.is_some() {
        let derived = PortConfig::with_timers(liveness, None, Duration::ZERO);
        (base.connect_timeout, base.ack_timeout) = (derived.connect_timeout, derived.ack_timeout);
    }
    let config = PortConfig {
        client: format!("disk{number}"),
        targets: order
            .iter()
            .map(|&t| Target {
                node: hosts[t].node,
                addresses: hosts[t].addresses.iter().map(|a| (*a).into()).collect(),
            })
            .collect(),
        local: if rng.chance(50) {
            hosts[host].addresses.iter().map(SocketAddr::ip).collect()
        } else {
            Vec::new()
        },
        autoswitch: rng.chance(60),
        ..base
    };
    let target_config = PortConfig {
        client: config.client.clone(),
        max_message: config.max_message,
        ..port_config(rng, liveness)
    };
    let work = if rng.chance(30) { rng.within(100, 1000) } else { rng.within(2000, 8000) } * MS;
    let up = workload(rng, work, &config, 100);
    let down = if rng.chance(35) { workload(rng, work, &target_config, 40) } else { Vec::new() };
    let verbs = if rng.chance(25) { verbs(rng, work) } else { Vec::new() };
    // What a target's user ends is no fault to be hidden.
    let meddling = verbs.iter().any(|v| v.1.is_targets());
    let promise =
        |turn| if meddling { Promise::default() } else { view.promise(&config, host, &order, turn) };
    let promises = (0..order.len()).map(promise).collect();
    SourcePlan {
        host,
        config,
        target_config,
        up,
        down,
        verbs,
        contracts: Vec::new(),
        hoards: false,
        promises,
    }
}

/// In some runs some paths, or all, are standby (T8).
fn stand_by(rng: &mut Rng, sources: &mut [SourcePlan]) {
    if !rng.chance(30) {
        return;
    }
    let percent = rng.pick(&[30, 50, 90]);
    for address in sources.iter_mut().flat_map(|s| &mut s.config.targets).flat_map(|t| &mut t.addresses) {
        if rng.chance(percent) {
            address.class = PathClass::Standby;
        }
    }
}

/// In some runs all sources want the same client, and it is exclusive (L4). Who comes with a higher role epoch takes it from the others,
/// which is no fault, and looks like one to them.
fn rivals(rng: &mut Rng, sources: &mut [SourcePlan], no_faults: bool) -> Sharing {
    if !rng.chance(40) || (no_faults && sources.len() > 1) {
        return Sharing::Shared;
    }
    for source in &mut *sources {
        source.config.client = "disk".to_owned();
        source.target_config.client = source.config.client.clone();
        source.config.role_epoch = rng.within(1, 4);
    }
    if sources.len() > 1 {
        sources.iter_mut().for_each(|source| source.promises.fill(Promise::default()));
    }
    Sharing::Exclusive
}

pub(crate) fn port_config(rng: &mut Rng, liveness: &Liveness) -> PortConfig {
    let seconds =
        |rng: &mut Rng, low: u64, high: u64| Duration::from_millis(rng.within(low * 1000, high * 1000));
    PortConfig {
        ack: rng.pick(&[
            AckModel::Synchronous,
            AckModel::Synchronous,
            AckModel::Asynchronous,
            AckModel::Sent,
        ]),
        balance: rng.pick(&[Balance::Fastest, Balance::Fastest, Balance::RoundRobin, Balance::Pull]),
        window: rng.magnitude(64 << 10, 2 << 20),
        send_buffer_max: rng.magnitude(16 << 10, 4 << 20),
        max_pending_events: if rng.chance(20) { rng.within(1, 64) as u32 } else { 1 << 20 },
        max_message: crate::payload::MAX_LEN as u32,
        fragment: rng.magnitude(2048, 64 << 10) as u32,
        ack_timeout: seconds(rng, 4, 10),
        connect_timeout: seconds(rng, 2, 5),
        close_timeout: seconds(rng, 5, 20),
        session_timeout: seconds(rng, 3, 10),
        liveness: liveness.clone(),
        ..PortConfig::default()
    }
}

/// How long the engine may take to finish everything once the faults have stopped.
pub(crate) fn patience(plan: &Plan) -> u64 {
    let slowest = plan
        .sources
        .iter()
        .map(|s| {
            let c = &s.config;
            let steps = if c.backup_selection == BackupSelection::Callback { 6 } else { 3 };
            nanos(c.ack_timeout) * 2
                + nanos(c.connect_timeout) * steps
                + nanos(c.switch_grace)
                + nanos(c.close_timeout)
                + nanos(c.session_timeout)
        })
        .max()
        .unwrap_or(0);
    // A small buffer may hold one message at a time, each of which its user keeps for long.
    let hesitant = plan.hosts.iter().any(|h| h.users.hesitate > 0);
    let most = plan.sources.iter().map(|s| s.up.len().max(s.down.len()) as u64).max().unwrap_or(0);
    let kept = if hesitant { most * HESITATION } else { 0 };
    kept + slowest + nanos(plan.liveness.redial_max) * 2 + nanos(plan.liveness.dead) * 4 + 20 * SECOND
}

/// How a killed machine looks from outside.
pub(crate) fn machine(process_only: bool) -> Machine {
    if process_only { Machine::NoProcess } else { Machine::Off }
}
