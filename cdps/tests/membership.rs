//! A cluster engine with a quorum, which the tests speak for: what nodes make of its words.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cdps::{
    ClusterChange, ClusterEvent, ClusterKind, ConnStatus, Health, Liveness, Member, Membership,
    MembershipChange, MembershipError, Node, NodeId, PeerState, Port, PortConfig, Reason, State, Trigger,
};
use cluster::relay::Relay;
use cluster::*;

const SOURCE: NodeId = NodeId(1);
const FIRST: NodeId = NodeId(2);
const BACKUP: NodeId = NodeId(3);

/// Timers that end nothing before the test's own deadline does.
fn patient() -> Liveness {
    Liveness {
        suspect: Duration::from_secs(600),
        dead: Duration::from_secs(1000),
        lease: Duration::from_secs(900),
        ..Liveness::default()
    }
}

/// A source and two targets, each with an engine with a quorum, and timers that play no part.
struct Quorate {
    source: Node,
    targets: [Node; 2],
    hosts: [Arc<Host>; 2],
    /// A client of the source's node that hears every event from the beginning.
    watcher: Arc<Host>,
}

impl Quorate {
    fn new() -> Quorate {
        let targets = [FIRST, BACKUP].map(|id| {
            let mut options = options(id.0);
            options.listen = addresses(2).into_iter().map(|ip| (ip, 0).into()).collect();
            options.members = vec![Member { node: SOURCE, addresses: Vec::new() }];
            options.cluster = ClusterKind::Quorate;
            options.liveness = patient();
            open(options)
        });
        let hosts = targets.each_ref().map(|node| {
            let config = PortConfig {
                ack_timeout: Duration::from_secs(700),
                session_timeout: Duration::from_secs(2000),
                ..PortConfig::default()
            };
            let host = Host::new(config, User::acking);
            node.register("copy", host.clone()).expect("registers");
            host
        });
        let mut options = options(SOURCE.0);
        options.members = targets.iter().map(|n| Member { node: n.id(), addresses: n.listening() }).collect();
        options.cluster = ClusterKind::Quorate;
        options.liveness = patient();
        let source = open(options);
        let watcher = Host::new(PortConfig::default(), User::new);
        source.register("watcher", watcher.clone()).expect("registers");
        let all = Quorate { source, targets, hosts, watcher };
        says(&all.source, 1, [up(FIRST), up(BACKUP), MembershipChange::Quorum(true)]);
        for target in &all.targets {
            says(target, 1, [up(SOURCE), MembershipChange::Quorum(true)]);
        }
        all
    }

    /// A port that is connected to the first target while the backup is heard too.
    fn connected(&self, autoswitch: bool) -> (Port, Arc<User>) {
        let user = User::new();
        let config = PortConfig {
            autoswitch,
            ack_timeout: Duration::from_secs(700),
            session_timeout: Duration::from_secs(2000),
            ..source_config(&[&self.targets[0], &self.targets[1]])
        };
        let port = connected(&self.source, config, &user);
        self.watcher.wait_cluster(|e| e.node == BACKUP && is_good_path(&e.change));
        self.hosts[0].session(0).1.wait_connected();
        (port, user)
    }

    fn end(self) {
        for node in self.targets.iter().chain([&self.source]) {
            node.destroy_wait(DEADLINE).expect("ends");
        }
    }
}

fn up(node: NodeId) -> MembershipChange {
    MembershipChange::Up(node)
}

fn says(node: &Node, number: u64, changes: impl Into<Vec<MembershipChange>>) {
    node.handle_membership(Membership { number, changes: changes.into() }).expect("is taken");
}

fn is_good_path(change: &ClusterChange) -> bool {
    matches!(change, ClusterChange::Path { health: Health::Good, .. })
}

/// The first target is down, since the engine says so.
fn went_down(status: &ConnStatus) -> bool {
    matches!(status, ConnStatus::Down { node: FIRST, reason: Reason::Unreachable, decision }
        if decision.trigger == Trigger::NodeDown && decision.membership == Some(PeerState::Down))
}

/// [N5] [F1] "Down" ends a session at once, on both sides of it: no timer could have run out.
#[test]
fn down_ends_a_session_at_once() {
    let all = Quorate::new();
    let (port, user) = all.connected(false);
    says(&all.source, 2, [MembershipChange::Down(FIRST)]);
    user.wait_status("down", went_down);
    user.wait_status("drained", |s| *s == ConnStatus::Drained);
    assert!(send(&port, b"x", 1).is_err());
    // And a target of its source, once the port has recovered, which it does not before the engine takes its word back.
    let recovered = |s: &ConnStatus| matches!(s, ConnStatus::Recovered { node: FIRST, .. });
    assert!(!user.seen().iter().any(|s| matches!(s, Seen::Status(status) if recovered(status))));
    says(&all.source, 3, [up(FIRST)]);
    user.wait_status("recovered", recovered);
    let (third, far) = all.hosts[0].session(0);
    says(&all.targets[0], 2, [MembershipChange::Down(SOURCE)]);
    far.wait_status("closed", |s| matches!(s, ConnStatus::Closed { reason: Reason::Unreachable }));
    assert_eq!(third.state(), State::Registered);
    all.end();
}

/// [N5] [F5] With autoswitch "down" sends the port to its backup at once, and nothing is lost.
#[test]
fn down_leads_to_the_backup() {
    let all = Quorate::new();
    let (port, user) = all.connected(true);
    for i in 0..100 {
        send(&port, &pattern(5000, i), i).expect("is accepted");
    }
    says(&all.source, 2, [MembershipChange::Down(FIRST)]);
    user.wait_status("switched", |s| matches!(s, ConnStatus::Switched { node: BACKUP, .. }));
    assert_eq!(user.wait_ends(100).len(), 100, "{:?}", nacked(&user.seen()));
    all.end();
}

/// [N5] A node that has lost its quorum takes the fault to be its own: its port goes down, and not to the backup, which it hears.
#[test]
fn without_a_quorum_nobody_switches() {
    let all = Quorate::new();
    let (_port, user) = all.connected(true);
    says(&all.source, 2, [MembershipChange::Down(FIRST), MembershipChange::Quorum(false)]);
    user.wait_status("down", went_down);
    user.wait_status("drained", |s| *s == ConnStatus::Drained);
    assert!(all.hosts[1].requests().is_empty());
    all.end();
}

/// [N5] "Unreachable" ends nothing while the paths are good, and "up" keeps nothing up while they are dead.
#[test]
fn other_words_do_not_decide() {
    let all = Quorate::new();
    let (port, user) = all.connected(false);
    says(&all.source, 2, [MembershipChange::Unreachable(FIRST)]);
    all.watcher.wait_cluster(|e| e.node == FIRST && e.change == ClusterChange::Unreachable);
    send(&port, b"still here", 1).expect("is accepted");
    assert_eq!(user.wait_ends(1), [(1, 10)]);
    all.end();

    let target = open_listener(FIRST.0, 1, &[1]);
    target.register("copy", Host::new(PortConfig::default(), User::acking)).expect("registers");
    let relay = Relay::to(target.listening()[0]);
    let mut options = options(SOURCE.0);
    options.members = vec![Member { node: FIRST, addresses: vec![relay.address] }];
    options.cluster = ClusterKind::Quorate;
    let source = open(options);
    says(&source, 1, [up(FIRST), MembershipChange::Quorum(true)]);
    let user = User::new();
    connected(&source, source_config(&[&target]), &user);
    relay.kill();
    says(&source, 2, [up(FIRST)]);
    user.wait_status("down", |s| matches!(s, ConnStatus::Down { node: FIRST, .. }));
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}

/// [N3] A client that is registered before there is a quorum is found by sources once there is one, and is told so once. With the static engine
/// that is at once.
#[test]
fn registration_takes_effect_with_the_quorum() {
    let effective = |e: &ClusterEvent| e.change == ClusterChange::Effective;
    let mut options = options(FIRST.0);
    options.listen = addresses(1).into_iter().map(|ip| (ip, 0).into()).collect();
    options.members = vec![Member { node: SOURCE, addresses: Vec::new() }];
    options.cluster = ClusterKind::Quorate;
    let target = open(options);
    let early = Host::new(PortConfig::default(), User::acking);
    target.register("copy", early.clone()).expect("registers");
    let source = open_dialler(1, 1, &[&target]);
    let user = User::new();
    let port = connecting(&source, source_config(&[&target]), &user);
    let failed = ConnStatus::ConnectFailed { node: FIRST, reason: Reason::NoSuchClient };
    user.wait_status("that there is no such client yet", |s| *s == failed);

    says(&target, 7, [MembershipChange::Quorum(true)]);
    let told = early.wait_cluster(effective);
    assert_eq!((told.node, told.membership), (FIRST, 7));
    port.connect(None).expect("connects");
    user.wait_connected();
    // Once is for good.
    says(&target, 8, [MembershipChange::Quorum(false)]);
    says(&target, 9, [MembershipChange::Quorum(true)]);
    let late = Host::new(PortConfig::default(), User::acking);
    target.register("later", late.clone()).expect("registers");
    late.wait_cluster(effective);
    says(&target, 10, [MembershipChange::Unreachable(SOURCE)]);
    early.wait_cluster(|e| e.membership == 10);
    assert_eq!(early.cluster_events().into_iter().filter(effective).count(), 1);

    let there = Host::new(PortConfig::default(), User::acking);
    source.register("there", there.clone()).expect("registers");
    there.wait_cluster(effective);
    let refused = source.handle_membership(Membership { number: 1000, changes: Vec::new() });
    assert_eq!(refused, Err(MembershipError::Static));
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}

/// [N4] [N2] Every change of the cluster reaches every client of the node, in the order of the batches, and so does every path that comes and goes.
#[test]
fn every_event_reaches_every_client() {
    let all = Quorate::new();
    let other = Host::new(PortConfig::default(), User::new);
    all.source.register("other", other.clone()).expect("registers");
    all.watcher.wait_cluster(|e| e.node == BACKUP && is_good_path(&e.change));
    let client = |node, client: &str| MembershipChange::Registered { node, client: client.into() };
    let gone = MembershipChange::Gone { node: FIRST, client: "a".into() };
    says(&all.source, 20, [client(FIRST, "a"), client(FIRST, "b"), MembershipChange::Unreachable(BACKUP)]);
    says(&all.source, 21, [gone, up(BACKUP)]);
    says(&all.source, 30, [MembershipChange::Down(FIRST), MembershipChange::Quorum(false)]);
    let name = |name: &str| name.to_owned();
    let incarnation = Some(all.targets[1].incarnation());
    let expected = [
        (20, FIRST, ClusterChange::Registered { client: name("a") }),
        (20, FIRST, ClusterChange::Registered { client: name("b") }),
        (20, BACKUP, ClusterChange::Unreachable),
        (21, FIRST, ClusterChange::Gone { client: name("a") }),
        (21, BACKUP, ClusterChange::Up { incarnation }),
        (30, FIRST, ClusterChange::Gone { client: name("b") }),
        (30, FIRST, ClusterChange::Down),
        (30, SOURCE, ClusterChange::Quorum(false)),
    ];
    for host in [&other, &all.watcher] {
        host.wait_cluster(|e| e.change == ClusterChange::Quorum(false));
        let of_batches = host.cluster_events().into_iter().filter(|e| {
            e.membership >= 20 && !matches!(e.change, ClusterChange::Path { .. } | ClusterChange::Effective)
        });
        let told: Vec<_> = of_batches.map(|e| (e.membership, e.node, e.change)).collect();
        assert_eq!(told, expected);
    }
    let addresses = all.targets[1].listening();
    all.targets[1].destroy_wait(DEADLINE).expect("ends");
    for host in [&other, &all.watcher] {
        for address in &addresses {
            host.wait_cluster(|e| {
                let lost = |health| matches!(health, Health::Suspect | Health::Dead);
                e.node == BACKUP
                    && matches!(e.change, ClusterChange::Path { remote, health, .. } if remote == Some(*address) && lost(health))
            });
        }
    }
    all.end();
}
