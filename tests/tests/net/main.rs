//! Three nodes in network namespaces, each on two networks, real processes under load: what faults of the network and of nodes may cost,
//! and what they may not. Needs root: `make test-net`.
//!
//! Each test takes the machine for itself. Links are limited to a rate that leaves the processors time.

mod cluster;

use std::time::Duration;

use cdps_tests::load::{now, run_for};
use cdps_tests::netns::Fault;
use cluster::{Cluster, SOURCE, TARGET, alone};

const LARGE: usize = 64 << 10;
const SMALL: usize = 64;

/// The liveness timers of the programs: the defaults.
const DEAD: Duration = Duration::from_millis(1500);

/// How long a load must be seen to flow.
const A_WHILE: Duration = Duration::from_millis(300);

/// One fault after the other: the path goes and comes back, and its user sees that and nothing else.
fn hidden(size: usize, faults: &[Fault]) {
    let _alone = alone();
    let mut cluster = Cluster::start(size);
    for fault in faults {
        run_for(A_WHILE);
        let (from, since) = (cluster.source.mark(), now());
        cluster.net.strike(*fault);
        let gone = cluster.wait_path(from, fault.link(), "DEAD");
        cluster.net.heal(*fault);
        cluster.wait_path(gone, fault.link(), "GOOD");
        run_for(A_WHILE);
        let (pause, stall) = cluster.pauses(since);
        eprintln!(
            "  {fault:?}: longest pause {} ms, of one stream {} ms",
            pause.as_millis(),
            stall.as_millis()
        );
        assert!(stall < DEAD, "{fault:?}: {stall:?} without a delivery, although another path was good");
    }
    cluster.check_hidden();
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
    hidden(SMALL, &[Fault::Silent(TARGET, 1), Fault::Mute(TARGET, 0), Fault::Deaf(TARGET, 1)]);
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
        let (pause, stall) = cluster.pauses(since);
        eprintln!(
            "  {faults:?}: {rate} messages a second, longest pause {} ms, of one stream {} ms",
            pause.as_millis(),
            stall.as_millis()
        );
        assert!(after > before + 100, "{faults:?}: {} messages", after - before);
    }
    cluster.check_hidden();
}

/// [T1] [T3] A link becomes slow, and fast again: a path that still carries is not taken for dead.
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
        let (pause, stall) = cluster.pauses(since);
        eprintln!(
            "  {rate} bits a second: longest pause {} ms, of one stream {} ms",
            pause.as_millis(),
            stall.as_millis()
        );
        let told: Vec<_> =
            cluster.source.events[from..].iter().filter(|event| event.name == "path").collect();
        eprintln!("{told:#?}");
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
    faults.iter().for_each(|fault| cluster.net.heal(*fault));
    run_for(DEAD);
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
    let (before, _) = cluster.delivered();
    run_for(A_WHILE);
    let (after, _) = cluster.delivered();
    assert!(after > before + 100);
    let sent = cluster.source.ask("stop", "source");
    eprintln!("{sent:?} {:?}", cluster.targets[0].all("status").collect::<Vec<_>>());
}

/// [F5] [A4] [M2] [F7] [F8] The target is lost: the port goes to its backup by itself.
fn switched(what: &str, faults: &[Fault], strike: impl Fn(&mut Cluster), heal: impl Fn(&mut Cluster)) {
    let _alone = alone();
    let mut cluster = Cluster::start(LARGE);
    run_for(A_WHILE);
    let since = now();
    faults.iter().for_each(|fault| cluster.net.strike(*fault));
    strike(&mut cluster);
    let pause = Duration::from_nanos(cluster.wait_switched() - since);
    eprintln!("  {what}: {} ms without a delivery", pause.as_millis());
    faults.iter().for_each(|fault| cluster.net.heal(*fault));
    heal(&mut cluster);
    run_for(A_WHILE);
    cluster.check_switched();
}

/// [F5] [A4] [M2]
#[test]
#[ignore = "needs root: make test-net"]
fn the_target_is_killed() {
    let kill = |cluster: &mut Cluster| cluster.targets[0].program.kill().expect("it lived");
    switched("killed", &[], kill, |_| {});
    switched("killed, a path silent", &[Fault::Silent(SOURCE, 0)], kill, |_| {});
}

/// [F5] [A4] [M2] [F7] [F8]
#[test]
#[ignore = "needs root: make test-net"]
fn the_target_is_frozen() {
    let told = |cluster: &mut Cluster| {
        cluster.targets[0].wait("the former target to be told", 0, |event| event.is("status", &["CLOSED"]));
    };
    let freeze = |cluster: &mut Cluster| cluster.targets[0].program.freeze().expect("it lives");
    let wake = |cluster: &mut Cluster| {
        cluster.targets[0].program.wake().expect("it is there");
        told(cluster);
    };
    switched("frozen", &[], freeze, wake);
    switched("frozen, a path out", &[Fault::CableOut(SOURCE, 1)], freeze, wake);
    let cut = [0, 1].map(|link| Fault::Silent(TARGET, link));
    switched("cut off", &cut, |_| {}, told);
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
