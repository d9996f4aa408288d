//! Paths and targets that fail, over real sockets.

mod cluster;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cdps::{
    AckModel, Address, Callbacks, Certainty, ConnStatus, Health, Link, Liveness, Member, Node, NodeId,
    PathId, Port, PortConfig, Reason, Target, Verdict,
};
use cluster::exposition::Exposition;
use cluster::relay::Relay;
use cluster::*;

/// Timers that are short enough for a test and long enough for a busy machine.
fn brisk() -> Liveness {
    Liveness {
        heartbeat: Duration::from_millis(100),
        suspect: Duration::from_millis(300),
        dead: Duration::from_millis(1500),
        lease: Duration::from_millis(1200),
        redial_max: Duration::from_millis(500),
        ..Liveness::default()
    }
}

/// A source, targets, and a relay on every path.
struct Relayed {
    source: Node,
    targets: Vec<Node>,
    hosts: Vec<Arc<Host>>,
    /// By target, then by path.
    relays: Vec<Vec<Relay>>,
}

impl Relayed {
    fn new(paths: u8, targets: u32) -> Relayed {
        Relayed::on_threads(paths, targets, 1)
    }

    fn on_threads(paths: u8, targets: u32, threads: usize) -> Relayed {
        Relayed::with(paths, targets, threads, &brisk())
    }

    fn with(paths: u8, targets: u32, threads: usize, liveness: &Liveness) -> Relayed {
        let nodes: Vec<Node> = (0..targets)
            .map(|i| {
                let mut options = options(2 + i);
                options.listen = addresses(paths).into_iter().map(|ip| (ip, 0).into()).collect();
                options.members = vec![Member { node: NodeId(1), addresses: Vec::new() }];
                options.liveness = liveness.clone();
                (options.io_threads, options.callbacks) = (threads, Callbacks::Threads(threads));
                open(options)
            })
            .collect();
        let hosts = nodes.iter().map(|node| {
            let host = Host::new(PortConfig::default(), User::acking);
            node.register("copy", host.clone()).expect("registers");
            host
        });
        let hosts = hosts.collect();
        let relays: Vec<Vec<Relay>> =
            nodes.iter().map(|n| n.listening().into_iter().map(Relay::to).collect()).collect();
        let mut options = options(1);
        options.liveness = liveness.clone();
        (options.io_threads, options.callbacks) = (threads, Callbacks::Threads(threads));
        options.members = nodes
            .iter()
            .zip(&relays)
            .map(|(n, r)| Member { node: n.id(), addresses: r.iter().map(|r| r.address).collect() })
            .collect();
        Relayed { source: open(options), targets: nodes, hosts, relays }
    }

    fn config(&self) -> PortConfig {
        let targets = self.targets.iter().map(|n| Target { node: n.id(), addresses: Vec::new() }).collect();
        PortConfig { client: "copy".into(), targets, ..PortConfig::default() }
    }

    fn end(self) {
        self.source.destroy_wait(DEADLINE).expect("the source ends");
        for node in self.targets {
            node.destroy_wait(DEADLINE).expect("a target ends");
        }
    }
}

/// Waits until the user has at least so many ends of sends, meanwhile sending more.
fn send_all(port: &Port, from: u64, to: u64) {
    for i in from..to {
        send(port, &pattern(20_000, i), i).expect("is accepted");
    }
}

fn check_all(user: &User, host: &User, count: u64) {
    let done = user.wait_ends(count as usize);
    assert_eq!(done.len(), count as usize, "nacked: {:?}", nacked(&user.seen()));
    let got = host.wait_received(count as usize);
    assert_eq!(got.len(), count as usize);
    check_order(got.iter());
    for (i, got) in got.iter().enumerate() {
        assert!(got.data == pattern(20_000, i as u64), "message {i} differs");
    }
}

/// [T2] One of four paths is killed under load: a path event, and nothing else; when it is back it carries load again.
#[test]
fn a_killed_path_is_hidden() {
    let all = Relayed::new(4, 1);
    let user = User::new();
    let port = connected(&all.source, all.config(), &user);
    user.wait("all paths", |seen| (up(seen) == 4).then_some(()));
    send_all(&port, 0, 500);
    all.relays[0][1].kill();
    send_all(&port, 500, 1500);
    let (_, host) = all.hosts[0].session(0);
    check_all(&user, &host, 1500);
    user.wait("path down", |seen| (up(seen) == 3).then_some(()));
    all.relays[0][1].thaw();
    user.wait("path up again", |seen| (up(seen) == 4).then_some(()));
    assert!(!user.seen().iter().any(|s| matches!(s, Seen::Status(ConnStatus::Down { .. }))));
    all.end();
}

/// Paths that are up, as the user was told.
fn up(seen: &[Seen]) -> usize {
    let mut paths = std::collections::HashMap::new();
    for event in seen {
        if let Seen::Path { path, health, .. } = event {
            paths.insert(*path, *health);
        }
    }
    paths.values().filter(|h| **h == Health::Good).count()
}

/// [T8] A standby path is up and carries nothing, in either direction; it takes over when the only normal path is killed, which the user
/// sees as a path event and nothing else; when that one is back it carries alone again.
#[test]
fn standby_takes_over_and_gives_back() {
    // Nothing is suspected here, however busy the machine is: a path that is killed is known by its reset.
    let (suspect, lease, dead) = (Duration::from_secs(6), Duration::from_secs(7), Duration::from_secs(8));
    let all = Relayed::with(2, 1, 1, &Liveness { suspect, lease, dead, ..brisk() });
    let mut config = all.config();
    let relays = &all.relays[0];
    config.targets[0].addresses = vec![relays[0].address.into(), Address::standby(relays[1].address)];
    let user = User::new();
    let port = connected(&all.source, config, &user);
    user.wait("both paths", |seen| (up(seen) == 2).then_some(()));
    let carried = |port: &Port| port.path_stats().iter().map(|p| p.figures.payload_sent).collect::<Vec<_>>();
    let (far, host) = all.hosts[0].session(0);
    send_all(&port, 0, 200);
    check_all(&user, &host, 200);
    let before = carried(&port);
    assert!(before[0] >= 200 * 20_000 && before[1] == 0, "{before:?}");
    send(&far, b"back", 0).expect("is accepted");
    user.wait_received(1);
    assert!(carried(&far)[0] > 0 && carried(&far)[1] == 0, "{:?}", carried(&far));
    relays[0].kill();
    user.wait("path down", |seen| (up(seen) == 1).then_some(()));
    send_all(&port, 200, 400);
    check_all(&user, &host, 400);
    let during = carried(&port);
    assert!(during[0] == before[0] && during[1] >= 200 * 20_000, "{during:?}");
    relays[0].thaw();
    user.wait("path up again", |seen| (up(seen) == 2).then_some(()));
    send_all(&port, 400, 600);
    check_all(&user, &host, 600);
    let after = carried(&port);
    assert!(after[0] >= before[0] + 200 * 20_000 && after[1] == during[1], "{after:?}");
    assert!(!user.seen().iter().any(|s| matches!(s, Seen::Status(ConnStatus::Down { .. }))));
    all.end();
}

/// [T3] [T4] A path that falls silent under load is suspected, its data goes elsewhere; when it wakes nothing arrives twice.
#[test]
fn a_frozen_path_is_hidden() {
    let all = Relayed::new(4, 1);
    let user = User::new();
    let port = connected(&all.source, all.config(), &user);
    user.wait("all paths", |seen| (up(seen) == 4).then_some(()));
    send_all(&port, 0, 500);
    all.relays[0][2].freeze();
    send_all(&port, 500, 1000);
    let (_, host) = all.hosts[0].session(0);
    check_all(&user, &host, 1000);
    all.relays[0][2].thaw();
    user.wait("path up again", |seen| (up(seen) == 4).then_some(()));
    send_all(&port, 1000, 1500);
    check_all(&user, &host, 1500);
    all.end();
}

/// [T5] A path on which the target does not hear the source: each end is told which direction is lost, the source because it still hears the
/// target, the target because the source says so on the other path. Nothing travels there meanwhile, and nothing is lost.
#[test]
fn one_way_loss_is_named_at_both_ends() {
    let all = Relayed::new(2, 1);
    let user = User::new();
    let port = connected(&all.source, all.config(), &user);
    user.wait("both paths", |seen| (up(seen) == 2).then_some(()));
    send_all(&port, 0, 100);
    let (_, host) = all.hosts[0].session(0);
    check_all(&user, &host, 100);
    all.relays[0][1].mute();
    let named = |seen: &[Seen], name| {
        let is = |s: &Seen| matches!(s, Seen::Path { path: PathId(1), reason, .. } if *reason == name);
        seen.iter().any(is).then_some(())
    };
    user.wait("one-way at the source", |seen| named(seen, Reason::OneWayOut));
    host.wait("one-way at the target", |seen| named(seen, Reason::OneWayIn));
    let figures = port.path_stats()[1].figures;
    assert!(figures.health != Health::Good && figures.cause == Reason::OneWayOut, "{figures:?}");
    send_all(&port, 100, 300);
    check_all(&user, &host, 300);
    assert_eq!(port.path_stats()[1].figures.payload_sent, figures.payload_sent);
    all.relays[0][1].thaw();
    user.wait("both paths again", |seen| (up(seen) == 2).then_some(()));
    assert_eq!(port.path_stats()[1].figures.cause, Reason::None);
    assert!(!user.seen().iter().any(|s| matches!(s, Seen::Status(ConnStatus::Down { .. }))));
    all.end();
}

/// [T4] A path that was dead is connected again, has to prove itself, and then carries; each step is told, and shown by the statistics.
#[test]
fn a_dead_path_rejoins() {
    let all = Relayed::new(2, 1);
    let user = User::new();
    let port =
        connected(&all.source, PortConfig { balance: cdps::Balance::RoundRobin, ..all.config() }, &user);
    user.wait("both paths", |seen| (up(seen) == 2).then_some(()));
    assert_eq!(port.path_stats()[1].figures.deaths, 0);
    let told = |seen: &[Seen], from: usize, is: Health, why: Reason| {
        let found = seen.iter().skip(from).position(
            |s| matches!(s, Seen::Path { path: PathId(1), health, reason } if *health == is && *reason == why),
        );
        found.map(|at| from + at)
    };
    all.relays[0][1].freeze();
    let dead = user.wait("dead", |seen| told(seen, 0, Health::Dead, Reason::Unreachable));
    assert!(port.path_stats()[1].figures.deaths >= 1);
    all.relays[0][1].thaw();
    let back = user.wait("back", |seen| told(seen, dead, Health::Suspect, Reason::Rejoining));
    user.wait("good", |seen| told(seen, back, Health::Good, Reason::None));
    let carried = port.path_stats()[1].figures;
    send_all(&port, 0, 500);
    let (_, host) = all.hosts[0].session(0);
    check_all(&user, &host, 500);
    assert!(port.path_stats()[1].figures.payload_sent > carried.payload_sent, "{carried:?}");
    all.end();
}

/// [T5] A target's user that does not return from its callback, for longer than a path may be silent, costs no path and no connection.
#[test]
fn a_callback_that_hangs_is_no_silence() {
    let all = Relayed::new(2, 1);
    let user = User::new();
    let (go_on, waits) = std::sync::mpsc::sync_channel::<()>(0);
    let waits = std::sync::Mutex::new(waits);
    let hung = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let entered = Arc::clone(&hung);
    let host = User::reacting(Box::new(move |_, event| {
        if matches!(event, cdps::PortEvent::Received(_)) {
            entered.store(true, std::sync::atomic::Ordering::SeqCst);
            // Ends when the test does.
            let _ = waits.lock().expect("waits").recv();
        }
    }));
    let client = Host::new(PortConfig::default(), move || Arc::clone(&host));
    all.targets[0].register("hangs", client).expect("registers");
    let config = PortConfig { client: "hangs".into(), ack: AckModel::Asynchronous, ..all.config() };
    let port = connected(&all.source, config, &user);
    user.wait("both paths", |seen| (up(seen) == 2).then_some(()));
    send(&port, b"hang", 0).expect("is accepted");
    user.wait_ends(1);
    let begun = std::time::Instant::now();
    let mut sent = 1;
    // Completions go on meanwhile, each carried by the paths.
    while begun.elapsed() < 2 * brisk().dead {
        send(&port, b"more", sent).expect("is accepted");
        sent += 1;
        user.wait_ends(sent as usize);
    }
    assert!(hung.load(std::sync::atomic::Ordering::SeqCst));
    let bad = |s: &Seen| {
        matches!(
            s,
            Seen::Path { health: Health::Dead, .. }
                | Seen::Nacked { .. }
                | Seen::Status(ConnStatus::Down { .. })
        )
    };
    assert!(!user.seen().iter().any(bad), "{:?}", user.seen().iter().find(|s| bad(s)));
    drop(go_on);
    all.end();
}

/// [F5] [A4] The target dies with autoswitch on: the port goes to the backup, every message completes, none is nacked, and the backup has
/// every message that the first target's user did not acknowledge.
#[test]
fn autoswitch_to_a_backup() {
    let all = Relayed::new(2, 2);
    let user = User::new();
    let port = connected(&all.source, PortConfig { autoswitch: true, ..all.config() }, &user);
    send_all(&port, 0, 300);
    let (_, first) = all.hosts[0].session(0);
    first.wait_received(100);
    all.relays[0].iter().for_each(Relay::kill);
    send_all(&port, 300, 600);
    let done = user.wait_ends(600);
    assert_eq!(done.len(), 600, "nacked: {:?}", nacked(&user.seen()));
    user.wait_status("switched", |s| matches!(s, ConnStatus::Switched { node: NodeId(3), .. }));
    assert_eq!(port.peer(), Some(NodeId(3)));
    let (_, second) = all.hosts[1].session(0);
    let (first, second) = (first.seen(), second.seen());
    check_order(received(&first));
    check_order(received(&second));
    let mut all_data: Vec<&Vec<u8>> = received(&first).chain(received(&second)).map(|g| &g.data).collect();
    all_data.sort();
    all_data.dedup();
    assert_eq!(all_data.len(), 600, "every message was delivered somewhere");
    all.end();
}

/// [U1] Figures, and their Prometheus text, agree with what was done: messages each way, what a dead path held sent again, its return,
/// a switch and how long it took, a refused connect; the node's sums outlive the port.
#[test]
fn figures_agree_with_what_was_done() {
    let all = Relayed::new(2, 2);
    let user = User::new();
    let port = connected(&all.source, PortConfig { autoswitch: true, ..all.config() }, &user);
    user.wait("both paths", |seen| (up(seen) == 2).then_some(()));
    let odd = "a \"client\"\nwith a \\";
    let idle = all.source.create_port(all.config(), User::new()).expect("is made");
    let client = all.source.register(odd, Host::new(PortConfig::default(), User::new)).expect("registers");
    idle.register(&client).expect("registers");
    all.relays[0][1].freeze();
    send_all(&port, 0, 300);
    let (far, host) = all.hosts[0].session(0);
    check_all(&user, &host, 300);
    send(&far, b"back", 0).expect("is accepted");
    user.wait_received(1);
    user.wait("path down", |seen| {
        seen.iter().any(|s| matches!(s, Seen::Path { health: Health::Dead, .. })).then_some(())
    });
    all.relays[0][1].kill();
    all.relays[0][1].thaw();
    user.wait("path up again", |seen| (up(seen) == 2).then_some(()));

    let text = all.source.metrics();
    let read = Exposition::parse(&text);
    let (stats, ours) = (port.stats(), [("node", "1"), ("client", "source-1")]);
    for (name, figure, least, most) in [
        ("messages_sent_total", stats.messages_sent, 300, 300),
        ("sent_bytes_total", stats.bytes_sent, 300 * 20_000, 300 * 20_000),
        ("messages_received_total", stats.messages_received, 1, 1),
        ("received_bytes_total", stats.bytes_received, 4, 4),
        ("completed_total", stats.completed, 300, 300),
        ("nacked_total", stats.nacked, 0, 0),
        ("retransmitted_total", stats.retransmitted, 1, u64::MAX),
        ("suspicions_total", stats.suspicions, 1, u64::MAX),
        ("path_losses_total", stats.path_losses, 1, u64::MAX),
        ("rejoins_total", stats.rejoins, 1, u64::MAX),
        ("unfinished_bytes", stats.unfinished_bytes, 0, 0),
        ("queued_bytes", stats.queued_bytes, 0, 0),
        ("paths", stats.paths.into(), 2, 2),
        ("paths_up", stats.paths_up.into(), 2, 2),
    ] {
        assert!((least..=most).contains(&figure), "{name}: {stats:?}");
        for sum in
            [read.sum(&format!("cdps_port_{name}"), &ours), read.sum(&format!("cdps_node_{name}"), &[])]
        {
            assert_eq!(sum as u64, figure, "{name}\n{text}");
        }
    }
    assert!(stats.send_window >= 64 << 10 && stats.send_credit == stats.send_window, "{stats:?}");
    assert_eq!(read.sum("cdps_port_send_credit_bytes", &ours) as u64, stats.send_credit);
    assert_eq!(read.values("cdps_path_up", "path"), ["0", "1"].map(String::from).into());
    assert!(read.sum("cdps_path_retransmitted_total", &[("path", "1")]) >= 1.0, "{text}");
    let sent = ("cdps_path_sent_bytes_total", [("node", "1")]);
    assert!(read.sum(sent.0, &sent.1) >= 300.0 * 20_000.0, "{text}");
    assert!(read.sum("cdps_path_round_trip_seconds", &[("path", "0")]) > 0.0, "{text}");
    assert!(read.values("cdps_port_info", "client").contains(odd), "{text}");
    let theirs = all.targets[0].stats().traffic;
    assert_eq!(
        (theirs.messages_received, theirs.bytes_received, theirs.messages_sent),
        (300, 300 * 20_000, 1)
    );

    let lost = std::time::Instant::now();
    all.relays[0].iter().for_each(Relay::kill);
    user.wait_status("switched", |s| matches!(s, ConnStatus::Switched { node: NodeId(3), .. }));
    let (took, stats) = (lost.elapsed(), port.stats());
    let read = Exposition::parse(&all.source.metrics());
    assert!(
        stats.switches == 1 && stats.last_switch > Duration::ZERO && stats.last_switch <= took,
        "{took:?}: {stats:?}"
    );
    assert_eq!((stats.switch_time, stats.longest_switch), (stats.last_switch, stats.last_switch));
    for name in ["cdps_port_switch_duration_seconds", "cdps_node_switch_duration_seconds"] {
        assert_eq!(read.sum(&format!("{name}_count"), &[]) as u64, 1);
        let sum = read.sum(&format!("{name}_sum"), &[]);
        assert!((sum - stats.last_switch.as_secs_f64()).abs() < 1e-6, "{sum}: {stats:?}");
    }

    let stranger = User::new();
    let refused =
        PortConfig { client: "nobody".into(), targets: all.config().targets.split_off(1), ..all.config() };
    let refusing = connecting(&all.source, refused, &stranger);
    stranger.wait_status("refused", |s| {
        matches!(s, ConnStatus::ConnectFailed { reason: Reason::NoSuchClient, .. })
    });
    assert!(all.targets[1].stats().connects_refused >= 1);
    assert!(Exposition::parse(&all.targets[1].metrics()).sum("cdps_node_connects_refused_total", &[]) >= 1.0);

    for port in [&port, &idle, &refusing] {
        port.destroy_wait(DEADLINE).expect("ends");
    }
    let after = all.source.stats();
    assert_eq!((after.ports, after.traffic.messages_sent, after.traffic.switches), (0, 300, 1), "{after:?}");
    let read = Exposition::parse(&all.source.metrics());
    assert_eq!(read.sum("cdps_node_messages_sent_total", &[("node", "1")]) as u64, 300);
    all.end();
}

/// [L8] Under load a path is removed that holds messages, another one is added, and the one that was left is removed as well: nothing is lost,
/// doubled or nacked. Policies change meanwhile; what cannot change is refused, and changes nothing.
#[test]
fn a_live_port_is_changed_under_load() {
    let all = Relayed::new(3, 1);
    let relays = &all.relays[0];
    let mut config = PortConfig { balance: cdps::Balance::RoundRobin, ..all.config() };
    config.targets[0].addresses = vec![relays[0].address.into(), relays[1].address.into()];
    let user = User::new();
    let port = connected(&all.source, config, &user);
    user.wait("both paths", |seen| (up(seen) == 2).then_some(()));
    send_all(&port, 0, 200);
    relays[1].freeze();
    send_all(&port, 200, 300);
    port.remove_address(NodeId(2), relays[1].address).expect("is removed");
    let removed = |s: &Seen| matches!(s, Seen::Path { path: PathId(1), reason: Reason::Closed, .. });
    user.wait("removed", |seen| seen.iter().any(removed).then_some(()));
    let (_, host) = all.hosts[0].session(0);
    check_all(&user, &host, 300);
    let error = port.remove_address(NodeId(2), relays[0].address).unwrap_err();
    assert!(error.to_string().ends_with("is the last address of node 2: add another one first"), "{error}");
    port.add_address(NodeId(2), relays[2].address.into()).expect("is added");
    user.wait("added", |seen| {
        seen.iter()
            .any(|s| matches!(s, Seen::Path { path: PathId(2), health: Health::Good, .. }))
            .then_some(())
    });
    send_all(&port, 300, 500);
    port.remove_address(NodeId(2), relays[0].address).expect("is removed");
    send_all(&port, 500, 600);
    check_all(&user, &host, 600);
    let paths = port.path_stats();
    assert!(paths.len() == 1 && paths[0].figures.path == PathId(2), "{paths:?}");
    assert!(paths[0].figures.payload_sent >= 100 * 20_000, "{paths:?}");

    let before = port.config().expect("a configuration");
    let error = port.reconfigure(|c| (c.autoswitch, c.window) = (true, 1 << 20)).unwrap_err();
    assert_eq!(error.to_string(), "window cannot be changed on a live port");
    let error = port.reconfigure(|c| (c.autoswitch, c.ack_timeout) = (true, brisk().suspect)).unwrap_err();
    assert_eq!(error.to_string(), "suspect (300ms) must be below ack_timeout (300ms)");
    assert_eq!(port.config(), Some(before));
    port.reconfigure(|c| (c.ack, c.send_buffer_max) = (AckModel::Asynchronous, 50_000)).expect("is set");
    send_all(&port, 600, 700);
    check_all(&user, &host, 700);
    assert_eq!(user.wait_ends(700).last().expect("the last").1, 0, "the target's user was not asked");
    port.destroy_wait(DEADLINE).expect("ends");
    assert!(port.add_address(NodeId(2), relays[0].address.into()).is_err());
    all.end();
}

/// [F5] The network to the target is cut for longer than the dead time, and is well again within the grace: the session goes on where it was,
/// with everything that was on its way or was sent meanwhile, and the user hears of paths only.
#[test]
fn a_target_that_returns_in_grace_keeps_its_session() {
    let all = Relayed::new(2, 2);
    let user = User::new();
    let graced = PortConfig {
        autoswitch: true,
        switch_grace: DEADLINE,
        session_timeout: DEADLINE * 2,
        ..all.config()
    };
    let port = connected(&all.source, graced, &user);
    let generation = port.generation();
    send_all(&port, 0, 200);
    all.relays[0].iter().for_each(Relay::freeze);
    send_all(&port, 200, 300);
    let limit = Instant::now() + DEADLINE;
    while port.link() != Link::Switching {
        assert!(Instant::now() < limit, "the target is not held to be down");
        std::thread::yield_now();
    }
    send_all(&port, 300, 400);
    assert_eq!(port.peer(), Some(NodeId(2)));
    // What the relays hold is gone with them.
    all.relays[0].iter().for_each(Relay::kill);
    all.relays[0].iter().for_each(Relay::thaw);
    let (_, host) = all.hosts[0].session(0);
    check_all(&user, &host, 400);
    assert_eq!((port.link(), port.generation(), port.peer()), (Link::Up, generation, Some(NodeId(2))));
    let statuses = user.seen().iter().filter(|s| matches!(s, Seen::Status(_))).count();
    assert_eq!(statuses, 1, "connected, and nothing else");
    assert_eq!(all.hosts[1].requests(), []);
    all.end();
}

/// [F2] The target dies with autoswitch off: down, then every unfinished message nacked in order, then drained; sends fail meanwhile.
#[test]
fn order_of_events_when_the_target_dies() {
    let all = Relayed::new(2, 1);
    let user = User::new();
    let port = connected(&all.source, all.config(), &user);
    send_all(&port, 0, 100);
    user.wait_ends(100);
    all.relays[0].iter().for_each(Relay::freeze);
    send_all(&port, 100, 200);
    user.wait_status("drained", |s| *s == ConnStatus::Drained);
    assert_eq!(send(&port, b"late", 0), Err(cdps::SendError::Down));
    let seen = user.seen();
    let down = seen.iter().position(|s| matches!(s, Seen::Status(ConnStatus::Down { .. }))).expect("down");
    let nacks = nacked(&seen[down..]);
    assert_eq!(nacked(&seen[..down]), []);
    let contexts: Vec<u64> = nacks.iter().map(|n| n.0).collect();
    assert!(contexts.is_sorted() && contexts.len() == 100, "{contexts:?}");
    assert_eq!(nacks[0].2, Certainty::Unknown);
    let tail: Vec<_> = seen[down + 1..].iter().filter(|s| !matches!(s, Seen::Path { .. })).collect();
    assert!(matches!(tail[100], Seen::Status(ConnStatus::Drained)), "{:?}", tail[100]);
    all.relays[0].iter().for_each(Relay::kill);
    all.end();
}

/// [F3] The network between both ends is cut with autoswitch off, and comes back: the target goes on with the session, and says of each
/// message that was nacked as unknown what became of it, before sends are taken again.
#[test]
fn a_target_that_comes_back_says_what_it_had() {
    let mut all = Relayed::new(2, 1);
    all.hosts[0] = Host::new(PortConfig::default(), User::new);
    all.targets[0].register("ledger", all.hosts[0].clone()).expect("registers");
    let user = User::new();
    let port = connected(&all.source, PortConfig { client: "ledger".into(), ..all.config() }, &user);
    let (far, host) = all.hosts[0].session(0);
    let numbers: Vec<_> = (0..3).map(|i| send(&port, &pattern(100, i), i).expect("is accepted")).collect();
    host.wait_received(3);
    far.ack(numbers[0], 5).expect("is owed");
    assert_eq!(user.wait_ends(1), [(0, 5)]);
    all.relays[0].iter().for_each(Relay::freeze);
    far.ack(numbers[1], 7).expect("is owed");
    let lost = send(&port, b"lost on the way", 3).expect("is accepted");
    user.wait("drained", |seen| seen.contains(&Seen::Status(ConnStatus::Drained)).then_some(()));
    let unknown = |context| (context, Reason::Unreachable, Certainty::Unknown);
    assert_eq!(nacked(&user.seen()), [unknown(1), unknown(2), unknown(3)]);
    assert!(send(&port, b"too early", 4).is_err());
    // What the relays hold is gone with them.
    all.relays[0].iter().for_each(Relay::kill);
    all.relays[0].iter().for_each(Relay::thaw);
    let again = |s: &Seen| matches!(s, Seen::Status(ConnStatus::Recovered { kept: true, .. }));
    user.wait("recovered", |seen| seen.iter().any(again).then_some(()));
    let told: Vec<Seen> = user.seen().into_iter().filter(|s| !matches!(s, Seen::Path { .. })).collect();
    let drained = told.iter().position(|s| *s == Seen::Status(ConnStatus::Drained)).expect("drained");
    let resolved = |sn, verdict| Seen::Resolved { sn, verdict };
    let expected = [
        resolved(numbers[1], Verdict::Acknowledged(7)),
        resolved(numbers[2], Verdict::Delivered),
        resolved(lost, Verdict::NotDelivered),
    ];
    assert_eq!(told[drained + 1..drained + 4], expected);
    assert!(again(&told[drained + 4]) && told.len() == drained + 5, "{told:?}");
    assert!(far.ack(numbers[2], 0).is_err(), "nobody waits for it any more");
    send(&port, b"after", 5).expect("is accepted");
    let got = host.wait_received(4);
    assert!(got[3].data == b"after" && got[3].generation > got[2].generation);
    assert_eq!((got[3].stream, got[3].ssn.0), (got[2].stream, got[2].ssn.0 + 2));
    let reset = |s: &Seen| matches!(s, Seen::Status(ConnStatus::Reset { generation }) if *generation == got[3].generation);
    assert_eq!(host.seen().iter().filter(|s| reset(s)).count(), 1);
    let connected = |s: &Seen| matches!(s, Seen::Status(ConnStatus::Connected { .. }));
    assert_eq!(host.seen().iter().filter(|s| connected(s)).count(), 1);
    assert_eq!(all.hosts[0].requests().len(), 1, "its user was not asked again");
    let (ours, theirs) = (port.stats(), far.stats());
    assert_eq!((ours.downs, ours.resets, ours.nacked, theirs.resets), (1, 1, 3, 1), "{ours:?}");
    all.end();
}

/// [F3] A target that was restarted knows no session: it is connected to anew, and what was unknown stays so.
#[test]
fn a_target_that_was_restarted_is_connected_to_anew() {
    let mut all = Relayed::new(1, 1);
    let user = User::new();
    let port = connected(&all.source, all.config(), &user);
    all.relays[0][0].freeze();
    send(&port, b"lost", 1).expect("is accepted");
    user.wait("drained", |seen| seen.contains(&Seen::Status(ConnStatus::Drained)).then_some(()));
    let listen = all.targets[0].listening();
    all.targets.remove(0).destroy_wait(DEADLINE).expect("the target ends");
    all.relays[0][0].kill();
    let mut options = options(2);
    options.listen = listen;
    options.members = vec![Member { node: NodeId(1), addresses: Vec::new() }];
    options.liveness = brisk();
    let target = open(options);
    let host = Host::new(PortConfig::default(), User::acking);
    target.register("copy", host.clone()).expect("registers");
    all.targets.push(target);
    all.relays[0][0].thaw();
    let anew = |s: &Seen| matches!(s, Seen::Status(ConnStatus::Recovered { kept: false, .. }));
    user.wait("recovered", |seen| seen.iter().any(anew).then_some(()));
    assert!(!user.seen().iter().any(|s| matches!(s, Seen::Resolved { .. })));
    send(&port, b"again", 2).expect("is accepted");
    user.wait("the end of it", |seen| completed(seen).contains(&(2, 5)).then_some(()));
    assert_eq!(host.requests().len(), 1);
    all.end();
}

/// [F8] A target that was cut off delivers nothing more once its lease has run out, although it has messages; the source switches away.
#[test]
fn no_delivery_without_a_lease() {
    let all = Relayed::new(1, 2);
    // The first target's user is slow, so that messages are waiting when the lease ends.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let user = User::new();
    let slow = User::reacting(Box::new(move |_, event| {
        if matches!(event, cdps::PortEvent::Received(_)) {
            let _ = gate.lock().expect("gate").recv();
        }
    }));
    let host = Host::new(PortConfig::default(), {
        let slow = slow.clone();
        move || slow.clone()
    });
    all.targets[0].register("slow", host.clone()).expect("registers");
    all.targets[1].register("slow", all.hosts[1].clone()).expect("registers");
    let config =
        PortConfig { client: "slow".into(), autoswitch: true, ack: AckModel::Asynchronous, ..all.config() };
    let port = connected(&all.source, config, &user);
    for i in 0..50 {
        send(&port, b"message", i).expect("is accepted");
    }
    user.wait_ends(50);
    all.relays[0].iter().for_each(Relay::freeze);
    send(&port, b"after", 50).expect("is accepted");
    user.wait_status("switched", |s| matches!(s, ConnStatus::Switched { .. }));
    // Now the user of the first target goes on: the message that he was in the middle of was the last.
    drop(go);
    let (_, second) = all.hosts[1].session(0);
    second.wait_received(1);
    all.relays[0].iter().for_each(Relay::thaw);
    slow.wait_status("closed", |s| matches!(s, ConnStatus::Closed { .. }));
    assert_eq!(received(&slow.seen()).count(), 1, "delivered without a lease");
    all.end();
}

/// [L3] [N3] A connect to a client that is not there, or that refuses, fails with the reason; the port can try again.
#[test]
fn refused_connects() {
    let all = Relayed::new(1, 1);
    let user = User::new();
    let config = PortConfig { client: "nobody".into(), ..all.config() };
    let port = connecting(&all.source, config, &user);
    let failed = user.wait_status("failed", |s| matches!(s, ConnStatus::ConnectFailed { .. }));
    assert_eq!(failed, ConnStatus::ConnectFailed { node: NodeId(2), reason: Reason::NoSuchClient });
    all.targets[0].register("nobody", all.hosts[0].clone()).expect("registers");
    port.connect(None).expect("connects again");
    user.wait_connected();
    all.end();
}

/// [F7] [F9] A source that is opened anew takes its session's place: the target's former port is closed, the new one works.
#[test]
fn a_source_that_restarts() {
    let all = Relayed::new(2, 1);
    let user = User::new();
    let port = connected(&all.source, all.config(), &user);
    send(&port, b"first", 1).expect("is accepted");
    user.wait_ends(1);
    let (_, former) = all.hosts[0].session(0);
    all.source.destroy_wait(DEADLINE).expect("ends");
    let mut options = options(1);
    options.liveness = brisk();
    let addresses = all.relays[0].iter().map(|r| r.address).collect();
    options.members = vec![Member { node: NodeId(2), addresses }];
    let source = open(options);
    let user = User::new();
    let port = connected(&source, all.config(), &user);
    send(&port, b"second", 2).expect("is accepted");
    user.wait_ends(1);
    former.wait_status("closed", |s| matches!(s, ConnStatus::Closed { .. }));
    assert_eq!(received(&former.seen()).count(), 1);
    assert_eq!(all.hosts[0].session(1).1.wait_received(1)[0].data, b"second");
    source.destroy_wait(DEADLINE).expect("ends");
    all.end();
}

/// [M1] [M8] [T2] Messages in many pieces, over four paths on four threads, while paths are killed and come back: every byte is right.
#[test]
fn large_messages_survive_their_paths() {
    let all = Relayed::on_threads(4, 1, 4);
    let user = User::new();
    let config = PortConfig { window: 32 << 20, ..all.config() };
    let port = connected(&all.source, config, &user);
    user.wait("all paths", |seen| (up(seen) == 4).then_some(()));
    let messages: Vec<Vec<u8>> = (0..24).map(|i| pattern(1_000_000 + 300_007 * (i % 7), i as u64)).collect();
    for (i, data) in messages.iter().enumerate() {
        if i % 3 == 2 {
            let relay = &all.relays[0][i / 3 % 4];
            relay.kill();
            relay.thaw();
        }
        let parts = [std::io::IoSlice::new(data)];
        let options = cdps::SendOptions { context: i as u64, ..Default::default() };
        // SAFETY: `messages` lives until the source node is gone, below.
        unsafe { port.send_borrowed(&parts, &options) }.expect("is accepted");
    }
    let done = user.wait_ends(messages.len());
    assert_eq!(done.len(), messages.len(), "nacked: {:?}", nacked(&user.seen()));
    let got = all.hosts[0].session(0).1.wait_received(messages.len());
    assert_eq!(got.len(), messages.len());
    for (got, sent) in got.iter().zip(&messages) {
        assert!(got.data == *sent, "message {} differs", got.sn);
    }
    user.wait("loans", |seen| (released(seen).len() >= messages.len()).then_some(()));
    all.end();
}
