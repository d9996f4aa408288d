//! What faults may cost, and what they may not: real processes, real sockets, full load.
//!
//! Each test takes the machine for itself. `make bars` runs them longer than `make test` does, and prints the figures.

mod cluster;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cdps_tests::load::{now, run_for};
use cluster::{Cluster, Fault, PATHS};

/// The liveness timers of the programs: the defaults.
const SUSPECT: Duration = Duration::from_millis(200);
const DEAD: Duration = Duration::from_millis(1500);

/// Longest pause in delivery when a path falls silent, and when it breaks.
const SILENT_LIMIT: Duration = SUSPECT.saturating_add(Duration::from_millis(500));
const BROKEN_LIMIT: Duration = Duration::from_millis(200);
/// And when the target is lost.
const SWITCH_LIMIT: Duration = DEAD.saturating_add(Duration::from_millis(500));

const LARGE: usize = 64 << 10;
const SMALL: usize = 64;

/// What may be unfinished: several windows of the network, and not so much that the processor is busy with memory.
const BACKLOG: &str = "port.send_buffer_max=8388608";

/// How long a load must be seen to flow.
const A_WHILE: Duration = Duration::from_millis(300);

/// Two loads at once would measure each other.
fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the load; every message was acknowledged, and delivered once, in order, unchanged.
fn check_nothing_lost(cluster: &mut Cluster) {
    let sent = cluster.source.ask("stop", "source");
    let got = cluster.targets[0].ask("look", "target");
    let wrong: Vec<_> = cluster.source.all("wrong:").chain(cluster.targets[0].all("wrong:")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let accepted = sent["accepted"];
    assert!(accepted > 100, "{accepted} messages are no load");
    assert_eq!((sent["completed"], sent["nacked"], sent["refused"]), (accepted, 0, 0), "{sent:?}");
    assert_eq!((got["messages"], got["gaps"], got["again"], got["bad"]), (accepted, 0, 0, 0), "{got:?}");
    let told: Vec<_> = cluster.source.all("status").map(|event| event.words[0].clone()).collect();
    assert_eq!(told, ["CONNECTED"], "what the source's user was told");
}

/// One fault of the path that carries most: it goes, and comes back; the user sees that and nothing else. Gives the longest pause in delivery.
fn fault_of_a_path(cluster: &mut Cluster, fault: Fault, until: &str) -> Duration {
    let before = cluster.carried();
    run_for(A_WHILE);
    let after = cluster.carried();
    let load = |path: &usize| after[*path] - before[*path];
    let path = (0..PATHS).max_by_key(load).expect("there are some");
    assert!(load(&path) > 1 << 20, "no load: {before:?}, then {after:?}");
    let (from, since) = (cluster.source.mark(), now());
    cluster.relays[0][path].strike(fault);
    let gone = cluster.wait_path(from, path, until);
    cluster.relays[0][path].heal(fault);
    cluster.wait_path(gone, path, "GOOD");
    run_for(A_WHILE);
    let pause = cluster.pause(0, since);
    eprintln!("  {fault:?}, until {until}: {} ms", pause.as_millis());
    pause
}

fn faults_of_paths(size: usize) {
    let _alone = alone();
    let mut cluster = Cluster::start(1, size, &[BACKLOG]);
    eprintln!("longest pause in delivery, {size} bytes:");
    for (fault, until, limit) in [
        (Fault::Reset, "DEAD", BROKEN_LIMIT),
        (Fault::Killed, "DEAD", BROKEN_LIMIT),
        (Fault::Frozen, "SUSPECT", SILENT_LIMIT),
        (Fault::Frozen, "DEAD", SILENT_LIMIT),
        (Fault::SilentForth, "DEAD", SILENT_LIMIT),
        (Fault::SilentBack, "DEAD", SILENT_LIMIT),
    ] {
        let pause = fault_of_a_path(&mut cluster, fault, until);
        assert!(pause < limit, "{fault:?}: {pause:?} without a delivery; {limit:?} is the limit");
    }
    check_nothing_lost(&mut cluster);
}

/// [M2] [M8] [A1] [T2] [T3] [T4] [T5] Under a full load of large messages any path is reset, killed, frozen, silent in one direction: nothing
/// is lost, nacked, reordered or delivered twice, delivery goes on, and the path carries again when it is back.
#[test]
fn no_fault_of_a_path_is_seen_under_large_messages() {
    faults_of_paths(LARGE);
}

/// [M2] [M8] [A1] [T2] [T3] [T4] [T5] The same with small ones.
#[test]
fn no_fault_of_a_path_is_seen_under_small_messages() {
    faults_of_paths(SMALL);
}

/// How long a load runs in which nothing happens: CDPS_CALM_SECONDS, for each size of messages.
fn calm() -> Duration {
    let seconds = std::env::var("CDPS_CALM_SECONDS").ok().map(|text| text.parse().expect("whole seconds"));
    Duration::from_secs(seconds.unwrap_or(5))
}

/// [T3] A full load, both cores busy, and every path stays above suspicion, at both ends.
#[test]
fn no_path_is_suspected_without_cause() {
    let _alone = alone();
    for size in [LARGE, SMALL] {
        let mut cluster = Cluster::start(1, size, &[BACKLOG]);
        let (before, begun) = (cluster.targets[0].ask("look", "target"), now());
        run_for(calm());
        let (after, took) = (cluster.targets[0].ask("look", "target"), now() - begun);
        let rate = (after["messages"] - before["messages"]) * 1_000_000_000 / took;
        let longest = cluster.pause(0, begun);
        eprintln!("{size} bytes, {:?}: {rate} messages a second, longest pause {longest:?}", calm());
        for (end, actor) in [("source", &mut cluster.source), ("target", &mut cluster.targets[0])] {
            let suspicions = actor.ask("look", "counters")["suspicions"];
            let doubts: Vec<_> = actor.all("path").filter(|event| event.words[1] != "GOOD").collect();
            assert!(doubts.is_empty() && suspicions == 0, "{size} bytes, {end}: {suspicions} {doubts:#?}");
        }
        check_nothing_lost(&mut cluster);
    }
}

const AUTOSWITCH: &str = "port.autoswitch=true";

/// What holds after a switch: all completed, each acknowledged by one of the two, and those of the second came in order, once.
fn check_switched(cluster: &mut Cluster) {
    let sent = cluster.source.ask("stop", "source");
    let got = cluster.targets[1].ask("look", "target");
    let wrong: Vec<_> = cluster.source.all("wrong:").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let accepted = sent["accepted"];
    assert_eq!((sent["completed"], sent["nacked"], sent["refused"]), (accepted, 0, 0), "{sent:?}");
    assert_eq!(sent["by2"] + sent["by3"], accepted, "{sent:?}");
    assert!(sent["by2"] > 100 && got["redelivered"] > 0, "no load: {sent:?} {got:?}");
    // What node 2 had acknowledged and node 1 knows of is not sent again; all the rest is, and nothing twice.
    assert_eq!((got["messages"], got["again"], got["bad"]), (sent["by3"], 0, 0), "{sent:?} {got:?}");
    let told: Vec<_> = cluster.source.all("status").map(|event| event.words[0].clone()).collect();
    assert_eq!(told, ["CONNECTED", "SWITCHING", "SWITCHED"], "what the source's user was told");
}

/// [F5] [A4] [M2] The target is killed under full load: the port goes to its backup by itself, every message completes, in order per stream.
#[test]
fn a_killed_target_is_replaced() {
    let _alone = alone();
    for size in [LARGE, SMALL] {
        let mut cluster = Cluster::start(2, size, &[BACKLOG, AUTOSWITCH]);
        run_for(A_WHILE);
        let since = now();
        cluster.targets[0].program.kill().expect("it lived");
        let first = cluster.targets[1].wait("the backup's first message", 0, |event| event.name == "first");
        let pause = Duration::from_nanos(cluster.targets[1].events[first].at - since);
        run_for(A_WHILE);
        check_switched(&mut cluster);
        eprintln!("target killed, {size} bytes: {} ms without a delivery", pause.as_millis());
        assert!(pause < SWITCH_LIMIT, "{pause:?} without a delivery; {SWITCH_LIMIT:?} is the limit");
    }
}

/// [F8] [F7] [F5] The target is frozen with messages waiting for its user, switched away from, and woken: it delivers nothing more.
#[test]
fn a_target_that_was_frozen_delivers_nothing_more() {
    let _alone = alone();
    for size in [LARGE, SMALL] {
        let mut cluster = Cluster::start(2, size, &[BACKLOG, AUTOSWITCH]);
        run_for(A_WHILE);
        // Its user takes his time with one message, and more come in: so it is certain that there is something to deliver.
        let held = cluster.targets[0].ask("hold", "holding");
        run_for(A_WHILE);
        let since = now();
        cluster.targets[0].program.freeze().expect("it lives");
        let first = cluster.targets[1].wait("the backup's first message", 0, |event| event.name == "first");
        let pause = Duration::from_nanos(cluster.targets[1].events[first].at - since);
        cluster.targets[0].order("go");
        cluster.targets[0].program.wake().expect("it lives");
        cluster.targets[0].wait("the former target to be told", 0, |event| event.is("status", &["CLOSED"]));
        run_for(A_WHILE);
        let after = cluster.targets[0].ask("look", "target");
        assert_eq!(
            (after["messages"], after["last"]),
            (held["messages"], held["last"]),
            "delivered without a lease"
        );
        check_switched(&mut cluster);
        eprintln!("target frozen, {size} bytes: {} ms without a delivery", pause.as_millis());
        assert!(pause < SWITCH_LIMIT, "{pause:?} without a delivery; {SWITCH_LIMIT:?} is the limit");
    }
}

/// The source's user has been told: down; each unfinished message nacked, oldest first; drained. And nothing between or after.
fn check_order_of_events(cluster: &mut Cluster) {
    let sent = cluster.source.ask("stop", "source");
    let events = &cluster.source.events;
    let wrong: Vec<_> = cluster.source.all("wrong:").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let told: Vec<_> = cluster.source.all("status").map(|event| event.words[0].as_str()).collect();
    assert_eq!(told, ["CONNECTED", "DOWN", "DRAINED"]);
    let at = |status| events.iter().position(|event| event.is("status", &[status])).expect("listed above");
    let (down, drained) = (at("DOWN"), at("DRAINED"));
    // No completion after down; no nack before it, nor after drained.
    let (at_down, at_drained) = (events[down].figures(), events[drained].figures());
    assert_eq!(at_down["nacked"], 0, "nacked before down");
    assert_eq!(at_down["completed"], sent["completed"], "completed after down");
    assert_eq!(at_drained["nacked"], sent["nacked"], "nacked after drained");
    assert_eq!(sent["completed"] + sent["nacked"], sent["accepted"], "{sent:?}");
    let nacks: Vec<_> = events[down..drained].iter().filter(|event| event.name == "nack").collect();
    assert_eq!(nacks.len() as u64, sent["nacked"], "nacks between down and drained");
    let numbers: Vec<u64> = nacks.iter().map(|nack| nack.words[0].parse().expect("a number")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "not oldest first: {numbers:?}");
    // Sends failed from then on.
    assert!(sent["refused"] > 0 && sent["wrong"] == 0, "{sent:?}");
}

/// [F2] The target is killed under full load, autoswitch off: the order of events, exactly; a second fault on the way changes nothing.
#[test]
fn order_of_events_when_the_target_is_killed() {
    let _alone = alone();
    let mut cluster = Cluster::start(1, LARGE, &[]);
    run_for(A_WHILE);
    cluster.targets[0].program.kill().expect("it lived");
    cluster.relays[0][1].strike(Fault::Killed);
    cluster.source.wait("the end", 0, |event| event.is("status", &["DOWN"]));
    cluster.relays[0][2].strike(Fault::Reset);
    cluster.source.wait("the end", 0, |event| event.is("status", &["DRAINED"]));
    run_for(A_WHILE);
    check_order_of_events(&mut cluster);
}

/// [F2] [F3] The same with a frozen target. When it is woken it is asked what it had, and delivers that and no more: each message that
/// was nacked as unknown is resolved, truly, and none that was not sent is delivered.
#[test]
fn order_of_events_when_the_target_is_frozen() {
    let _alone = alone();
    let mut cluster = Cluster::start(1, LARGE, &[]);
    run_for(A_WHILE);
    cluster.targets[0].ask("hold", "holding");
    run_for(A_WHILE);
    cluster.targets[0].program.freeze().expect("it lives");
    cluster.relays[0][1].strike(Fault::Frozen);
    cluster.source.wait("the end", 0, |event| event.is("status", &["DOWN"]));
    cluster.relays[0][2].strike(Fault::Reset);
    cluster.source.wait("the end", 0, |event| event.is("status", &["DRAINED"]));
    run_for(A_WHILE);
    check_order_of_events(&mut cluster);
    cluster.targets[0].order("go");
    cluster.targets[0].program.wake().expect("it lives");
    cluster.source.wait("the target's return", 0, |event| event.is("status", &["RECOVERED"]));
    run_for(A_WHILE);
    let after = cluster.targets[0].ask("look", "target");
    let resolved: std::collections::BTreeMap<&str, bool> = cluster
        .source
        .all("resolved")
        .map(|event| (event.words[0].as_str(), event.words[1] != "NOT_DELIVERED"))
        .collect();
    let mut counts = std::collections::BTreeMap::new();
    for nack in cluster.source.all("nack") {
        let number: u64 = nack.words[4].parse().expect("a number");
        let delivered = number < after[&format!("stream{}", nack.words[3])];
        *counts.entry((nack.words[1].as_str(), delivered)).or_insert(0) += 1;
        let told = match nack.words[1].as_str() {
            "NOT_SENT" => Some(&false),
            _ => resolved.get(nack.words[0].as_str()),
        };
        assert_eq!(told, Some(&delivered), "{nack:?}");
    }
    // The window is smaller than what may be queued: there are some of each kind.
    assert!(counts[&("NOT_SENT", false)] > 100 && counts[&("UNKNOWN", true)] > 100, "{counts:?}");
}

/// Most bytes that an idle path may have allocated at one end; sockets' buffers are the kernel's.
const HEAP_OF_A_PATH: u64 = 8 << 10;

/// [T5] [U5] What an idle path costs in memory, at either end: the difference that more paths make.
#[test]
fn an_idle_path_takes_little_memory() {
    let _alone = alone();
    let costs = [4, 12].map(|paths| {
        let mut cluster = Cluster::idle(paths);
        // Buffers of the handshakes are gone once heartbeats have come and gone.
        run_for(Duration::from_secs(1));
        let Cluster { source, targets, .. } = &mut cluster;
        [source, &mut targets[0]].map(|end| end.ask("cost", "cost")["heap"])
    });
    for (end, name) in ["source", "target"].into_iter().enumerate() {
        let each = costs[1][end].saturating_sub(costs[0][end]) / 8;
        eprintln!("{name}: {} bytes allocated with 4 paths, {each} more for each further one", costs[0][end]);
        assert!(costs[0][end] > 1000, "nothing was measured: {costs:?}");
        assert!(each <= HEAP_OF_A_PATH, "{name}: {each} bytes a path; {HEAP_OF_A_PATH} is the limit");
    }
}

/// Most context switches a second of an idle end with four paths, all threads together.
const SWITCHES: f64 = 20.0;

/// [T5] What an idle port with four paths costs in wake-ups, each end by itself: each on a processor of its own, as on two machines, and
/// where the scheduler puts them (beside each other, so that each heartbeat that arrives interrupts the end that is still sending others).
#[test]
#[ignore = "takes a minute of a quiet machine: make bars"]
fn an_idle_port_wakes_seldom() {
    let _alone = alone();
    let seconds = 30;
    for apart in [true, false] {
        let cluster = Cluster::idle(PATHS);
        let ends = [("source", &cluster.source), ("target", &cluster.targets[0])];
        if apart {
            ends.iter().enumerate().for_each(|(processor, (_, end))| end.pin(processor));
        }
        // What the handshakes cost is over.
        run_for(Duration::from_secs(3));
        let before = ends.map(|(_, end)| end.switches());
        run_for(Duration::from_secs(seconds));
        for ((name, end), before) in ends.into_iter().zip(before) {
            let rate = (end.switches() - before) as f64 / seconds as f64;
            eprintln!("{name}, a processor of its own: {apart}: {rate:.1} context switches a second");
            assert!(
                rate > 3.0,
                "{name}: {rate:.1} a second is less than its heartbeats: nothing was measured"
            );
            assert!(rate <= SWITCHES, "{name}: {rate:.1} context switches a second; {SWITCHES} is the limit");
        }
    }
}
