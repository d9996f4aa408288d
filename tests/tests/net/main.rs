//! Three nodes in network namespaces, each on two networks, real processes under load: what faults of the network and of nodes may cost,
//! and what they may not. Needs root: `make test-net`.
//!
//! Each test takes the machine for itself. Links are limited to a rate that leaves the processors time.

mod cluster;
mod figures;

use std::process::Command;
use std::time::Duration;

use cdps_core::config::{Liveness, PortConfig};
use cdps_tests::eventually;
use cdps_tests::gcc::must;
use cdps_tests::load::{now, run_for};
use cdps_tests::netns::{Fault, Network};
use cdps_tests::process::Program;
use cluster::{Cluster, SOURCE, TARGET, alone};

const LARGE: usize = 64 << 10;
const SMALL: usize = 64;

/// The liveness timers of the programs: the defaults.
const SUSPECT: Duration = Duration::from_millis(200);
const DEAD: Duration = Duration::from_millis(1500);

/// Longest time that a stream may wait when a path fails.
const PATH_LIMIT: Duration = SUSPECT.saturating_add(Duration::from_millis(500));

/// Given to the source when its target is to fail: it leads to the default timers of the links, and to shorter ones of the port.
const BUDGET: Duration = Duration::from_secs(3);

/// How long a load must be seen to flow.
const A_WHILE: Duration = Duration::from_millis(300);

/// One fault after the other: the path goes and comes back, and its user sees that and nothing else. Gives the longest time that each left a
/// stream without a delivery.
fn hidden(size: usize, faults: &[Fault]) -> Vec<Duration> {
    let _alone = alone();
    hidden_from(Cluster::start(size), faults)
}

fn hidden_from(mut cluster: Cluster, faults: &[Fault]) -> Vec<Duration> {
    let mut stalls = Vec::new();
    for fault in faults {
        run_for(A_WHILE);
        let (from, since) = (cluster.source.mark(), now());
        cluster.net.strike(*fault);
        let gone = cluster.wait_path(from, fault.link(), "DEAD");
        cluster.net.heal(*fault);
        cluster.wait_path(gone, fault.link(), "GOOD");
        run_for(A_WHILE);
        let stall = cluster.longest_stall(&format!("{fault:?}"), since);
        assert!(stall < PATH_LIMIT, "{fault:?}: a stream waited {stall:?}; {PATH_LIMIT:?} is the limit");
        stalls.push(stall);
    }
    cluster.check_hidden();
    stalls
}

/// [T2] [M2] [T4] A device or a cable is out.
#[test]
#[ignore = "needs root: make test-net"]
fn links_go_down() {
    hidden(LARGE, &[Fault::DeviceDown(SOURCE, 0), Fault::DeviceDown(TARGET, 1), Fault::CableOut(SOURCE, 1)]);
}

/// [T2] [T3] [M2] Packets vanish in both directions, and in either one.
#[test]
#[ignore = "needs root: make test-net"]
fn packets_vanish() {
    hidden(LARGE, &[Fault::Silent(SOURCE, 0), Fault::Mute(SOURCE, 1), Fault::Deaf(SOURCE, 0)]);
    hidden(SMALL, &[Fault::Silent(TARGET, 1), Fault::Mute(TARGET, 0)]);
}

/// [T2] [T4] A route is a black hole, at either end.
#[test]
#[ignore = "needs root: make test-net"]
fn routes_are_black_holes() {
    hidden(LARGE, &[Fault::Blackhole(SOURCE, 0, TARGET), Fault::Blackhole(TARGET, 1, SOURCE)]);
}

/// [T2] [M2] Random loss, on one link and on both.
#[test]
#[ignore = "needs root: make test-net"]
fn packets_are_lost_at_random() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    for faults in [
        [Fault::Lossy(TARGET, 0, 20), Fault::Lossy(SOURCE, 0, 20)],
        [Fault::Lossy(TARGET, 0, 2), Fault::Lossy(TARGET, 1, 2)],
    ] {
        let (before, since) = cluster.delivered();
        faults.iter().for_each(|fault| cluster.net.strike(*fault));
        run_for(Duration::from_secs(2));
        let (after, until) = cluster.delivered();
        faults.iter().for_each(|fault| cluster.net.heal(*fault));
        let rate = (after - before) * 1_000_000_000 / (until - since);
        cluster.longest_stall(&format!("{faults:?}, {rate} messages a second"), since);
        assert!(after > before + 100, "{faults:?}: {} messages", after - before);
    }
    cluster.check_hidden();
}

/// [T3] A link becomes slow, and fast again: a path that still carries is not taken for dead.
#[test]
#[ignore = "needs root: make test-net"]
fn a_link_becomes_slow() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    for rate in [20_000_000, 2_000_000] {
        let (from, since) = (cluster.source.mark(), now());
        cluster.net.strike(Fault::Slow(SOURCE, 0, rate));
        run_for(Duration::from_secs(2));
        cluster.net.heal(Fault::Slow(SOURCE, 0, rate));
        run_for(A_WHILE);
        cluster.longest_stall(&format!("{rate} bits a second"), since);
        let dead = cluster.source.events[from..]
            .iter()
            .filter(|event| event.name == "path" && event.words[1] == "DEAD");
        assert_eq!(dead.count(), 0, "{rate} bits a second, and taken for dead");
    }
    cluster.check_hidden();
}

/// [T9] [M2] The target stands still, for less than the time after which it would be given up.
#[test]
#[ignore = "needs root: make test-net"]
fn the_target_is_frozen_for_a_moment() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    cluster.targets[0].program.freeze().expect("it lives");
    run_for(DEAD / 2);
    cluster.targets[0].program.wake().expect("it is there");
    run_for(A_WHILE);
    cluster.check_hidden();
}

/// [T9] [N5] The source stands still for longer than that: the fault is its own.
#[test]
#[ignore = "needs root: make test-net"]
fn the_source_is_frozen() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    cluster.source.program.freeze().expect("it lives");
    run_for(2 * DEAD);
    cluster.source.program.wake().expect("it is there");
    cluster.wait_delivered(100);
    run_for(A_WHILE);
    cluster.check_hidden();
}

/// [N5] [F2] The source is cut off from everybody: the fault is its own, and it does not go to a backup, which it cannot reach either.
#[test]
#[ignore = "needs root: make test-net"]
fn the_source_is_cut_off() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    let faults = [0, 1].map(|link| Fault::Silent(SOURCE, link));
    faults.iter().for_each(|fault| cluster.net.strike(*fault));
    cluster.source.wait("the end", 0, |event| event.is("status", &["DRAINED"]));
    run_for(A_WHILE);
    cluster.check_down();
}

/// [F9] [M2] The source is killed: its target learns of it, and takes the next one.
#[test]
#[ignore = "needs root: make test-net"]
fn the_source_is_killed() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    cluster.replace_source(LARGE);
    let told: Vec<_> = cluster.targets[0].all("status").map(|event| event.words[0].as_str()).collect();
    assert_eq!(told, ["CONNECTED", "CLOSED", "CONNECTED"], "what the target's user was told");
    run_for(A_WHILE);
    cluster.check_hidden();
}

/// A port whose timers all follow from the budget.
fn budgeted() -> PortConfig {
    let config = PortConfig::with_timers(&Liveness::for_budget(BUDGET), None, Duration::ZERO);
    PortConfig { autoswitch: true, ..config }
}

/// A source with such a port under full load of large messages.
fn start_budgeted() -> Cluster {
    let config = budgeted();
    let settings = [
        "port.autoswitch=true".into(),
        format!("liveness.failover_budget_ms={}", BUDGET.as_millis()),
        format!("port.connect_timeout_ms={}", config.connect_timeout.as_millis()),
        format!("port.ack_timeout_ms={}", config.ack_timeout.as_millis()),
    ];
    Cluster::over(&[0, 1], LARGE, &settings.each_ref().map(String::as_str), &[])
}

/// The target is lost, and comes back: the port goes to its backup by itself, within its budget. Gives the time without a delivery.
fn switched(strike: impl FnOnce(&mut Cluster), heal: impl FnOnce(&mut Cluster)) -> Duration {
    let _alone = alone();
    let mut cluster = start_budgeted();
    run_for(A_WHILE);
    let since = now();
    strike(&mut cluster);
    let pause = Duration::from_nanos(cluster.wait_switched() - since);
    eprintln!("  {} ms without a delivery", pause.as_millis());
    let promise = budgeted().longest_pause();
    assert!(pause < promise, "{pause:?} without a delivery; the budget promises {promise:?}");
    heal(&mut cluster);
    run_for(A_WHILE);
    cluster.check_switched();
    pause
}

fn kill(cluster: &mut Cluster) {
    cluster.targets[0].program.kill().expect("it lived");
}

fn freeze(cluster: &mut Cluster) {
    cluster.targets[0].program.freeze().expect("it lives");
}

/// A frozen target goes on, and is told that it is none any more.
fn wake(cluster: &mut Cluster) {
    cluster.targets[0].program.wake().expect("it is there");
    wait_told(cluster);
}

fn wait_told(cluster: &mut Cluster) {
    cluster.targets[0].wait("the former target to be told", 0, |event| event.is("status", &["CLOSED"]));
}

/// [F5] [F7] [F12] [A4] [M2] The target hears nobody, and nobody hears it, for a while.
#[test]
#[ignore = "needs root: make test-net"]
fn the_target_is_cut_off() {
    let faults = [0, 1].map(|link| Fault::Silent(TARGET, link));
    let strike = |cluster: &mut Cluster| faults.iter().for_each(|fault| cluster.net.strike(*fault));
    let heal = |cluster: &mut Cluster| {
        faults.iter().for_each(|fault| cluster.net.heal(*fault));
        wait_told(cluster);
    };
    switched(strike, heal);
}

/// [F5] [T2] [A4] [M2] Two faults at once: the target is killed while a path is silent, and frozen while a cable is out.
#[test]
#[ignore = "needs root: make test-net"]
fn a_path_and_the_target_fail() {
    let (silent, out) = (Fault::Silent(SOURCE, 0), Fault::CableOut(SOURCE, 1));
    let strike = |cluster: &mut Cluster, fault, lose: fn(&mut Cluster)| {
        cluster.net.strike(fault);
        lose(cluster);
    };
    switched(|cluster| strike(cluster, silent, kill), |cluster| cluster.net.heal(silent));
    let heal = |cluster: &mut Cluster| {
        cluster.net.heal(out);
        wake(cluster);
    };
    switched(|cluster| strike(cluster, out, freeze), heal);
}

/// [T2] [M2] Two faults at once: one path is gone, and the only other one loses packets.
#[test]
#[ignore = "needs root: make test-net"]
fn a_path_fails_and_the_other_is_lossy() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    let faults = [Fault::Blackhole(SOURCE, 0, TARGET), Fault::Lossy(TARGET, 1, 3)];
    faults.iter().for_each(|fault| cluster.net.strike(*fault));
    cluster.wait_path(0, 0, "DEAD");
    cluster.wait_delivered(100);
    faults.iter().for_each(|fault| cluster.net.heal(*fault));
    cluster.check_hidden();
}

/// [T2] [T4] [M2] Both paths come and go, at times both at once.
#[test]
#[ignore = "needs root: make test-net"]
fn both_paths_flap() {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    let faults = [Fault::CableOut(SOURCE, 0), Fault::DeviceDown(TARGET, 1)];
    let part = Duration::from_millis(300);
    for _ in 0..4 {
        cluster.net.strike(faults[0]);
        run_for(part);
        cluster.net.strike(faults[1]);
        run_for(part);
        cluster.net.heal(faults[0]);
        run_for(part);
        cluster.net.heal(faults[1]);
        run_for(part);
    }
    cluster.check_hidden();
}

/// [T2] [M2] What a test does to the network ends with it, also when nothing is cleaned up: as when it was killed.
#[test]
#[ignore = "needs root: make test-net"]
fn nothing_is_left_behind() {
    let inode = |process: u32| std::fs::read_link(format!("/proc/{process}/ns/net")).expect("it lives");
    let spaces = std::thread::spawn(move || {
        let net = Network::new(1);
        let own = inode(std::process::id());
        let links = must(Command::new("ip").args(["-brief", "link"])).stdout;
        let links = String::from_utf8_lossy(&links).into_owned();
        assert!(!["br0", "l0", "n1l0"].iter().any(|name| links.split_whitespace().any(|word| word == *name)));
        let mut frozen = Program::start(&mut net.node(1).command("cat")).expect("it is there");
        frozen.say("here").expect("it lives");
        assert_eq!(frozen.line(), "here");
        frozen.freeze().expect("it lives");
        let spaces = [inode(net.node(1).holder()), inode(frozen.id())];
        assert!(!spaces.contains(&own), "{own:?} is the machine's own");
        std::mem::forget((net, frozen));
        spaces
    });
    let spaces = spaces.join().expect("it ended");
    let inside = || {
        let processes = std::fs::read_dir("/proc").expect("there is one").filter_map(Result::ok);
        let mut space =
            processes.filter_map(|process| std::fs::read_link(process.path().join("ns/net")).ok());
        space.any(|space| spaces.contains(&space))
    };
    eventually("the end of the processes", || (!inside()).then_some(()));
}
