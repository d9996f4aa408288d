//! Exclusive clients: who has the role (L4).

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use cdps::{
    AckModel, Callbacks, ConnStatus, CreateError, Level, Log, Member, Node, NodeId, Port, PortConfig,
    PortEvent, Reason, RegisterError, State, Trigger,
};
use cluster::*;

/// Two nodes whose clients "copy" are exclusive, and the nodes of two sources, 1 and 2.
struct Rivals {
    targets: [Node; 2],
    hosts: [Arc<Host>; 2],
    sources: [Node; 2],
}

impl Rivals {
    fn new() -> Rivals {
        Rivals::with([User::acking, User::acking])
    }

    /// With such users of the targets.
    fn with(users: [fn() -> Arc<User>; 2]) -> Rivals {
        let targets = [3, 4].map(|id| open_listener(id, 2, &[1, 2]));
        let hosts = users.map(|make| Host::new(PortConfig::default(), make));
        for (target, host) in targets.iter().zip(&hosts) {
            target.register_exclusive("copy", host.clone()).expect("registers");
        }
        let sources = [1, 2].map(|id| open_dialler(id, 2, &[&targets[0], &targets[1]]));
        Rivals { targets, hosts, sources }
    }

    /// Goes to a backup by itself, if it goes anywhere.
    fn config(&self, role_epoch: u64) -> PortConfig {
        let targets = source_config(&[&self.targets[0], &self.targets[1]]);
        PortConfig { role_epoch, autoswitch: true, ..targets }
    }

    fn connected(&self, source: usize, role_epoch: u64) -> (Port, Arc<User>) {
        let user = User::new();
        (connected(&self.sources[source], self.config(role_epoch), &user), user)
    }

    /// Why the target refuses this.
    fn refusal(&self, source: usize, role_epoch: u64) -> Reason {
        let user = User::new();
        let port = connecting(&self.sources[source], self.config(role_epoch), &user);
        let reason = failure(&user);
        port.destroy();
        reason
    }

    fn end(self) {
        for node in self.sources.iter().chain(&self.targets) {
            node.destroy_wait(DEADLINE).expect("ends");
        }
    }
}

fn failure(user: &User) -> Reason {
    match user.wait_status("failed", |s| matches!(s, ConnStatus::ConnectFailed { .. })) {
        ConnStatus::ConnectFailed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// [L4] A higher role epoch takes the session's place: what the former target port sends is nacked, and it is over; the former source is
/// told, and goes to no backup, where nobody may have heard of the other one; what it tries afterwards is refused.
#[test]
fn a_higher_role_takes_over() {
    let rivals = Rivals::new();
    let (port, user) = rivals.connected(0, 1);
    assert_eq!(port.generation().role_epoch, 1);
    let (far, far_user) = rivals.hosts[0].session(0);
    far_user.wait_connected();
    // Its user does not acknowledge.
    send(&far, b"news", 7).expect("is accepted");
    user.wait_received(1);

    let (second, second_user) = rivals.connected(1, 2);
    let closed = |s: &ConnStatus| matches!(s, ConnStatus::Closed { reason: Reason::Superseded });
    far_user.wait_status("the end of the former session", closed);
    assert_eq!(far.state(), State::Registered);
    let ends = nacked(&far_user.seen());
    assert_eq!(ends.iter().map(|n| (n.0, n.1)).collect::<Vec<_>>(), [(7, Reason::Superseded)]);
    let lost = |s: &ConnStatus| {
        matches!(s, ConnStatus::Down { node: NodeId(3), reason: Reason::Superseded, decision }
            if decision.trigger == Trigger::Denied(Reason::Superseded))
    };
    user.wait_status("that the role is lost", lost);
    user.wait_status("drained", |s| *s == ConnStatus::Drained);
    send(&second, b"mine", 1).expect("is accepted");
    assert_eq!(second_user.wait_ends(1), [(1, 4)]);
    assert_eq!(rivals.hosts[0].session(1).1.wait_received(1)[0].generation.role_epoch, 2);

    port.connect(None).expect("may try");
    assert_eq!(failure(&user), Reason::RoleTaken);
    assert!(rivals.hosts[1].requests().is_empty(), "it went to a backup");
    assert_eq!(rivals.hosts[0].requests().len(), 2, "the client was asked for what could not be");
    rivals.end();
}

/// [L4] [F6] A planned switch takes the role along. A target that serves a higher one refuses it, and the port stays where it is.
#[test]
fn a_planned_switch_keeps_its_role() {
    let rivals = Rivals::new();
    let (port, user) = rivals.connected(0, 3);
    port.switch(NodeId(4)).expect("begins");
    user.wait_status("switched", |s| matches!(s, ConnStatus::Switched { node: NodeId(4), .. }));
    send(&port, b"there", 1).expect("is accepted");
    assert_eq!(user.wait_ends(1), [(1, 5)]);
    assert_eq!(rivals.hosts[1].session(0).1.wait_received(1)[0].generation.role_epoch, 3);

    let (_higher, _) = rivals.connected(1, 4);
    port.switch(NodeId(3)).expect("begins");
    let refused = ConnStatus::SwitchFailed { node: NodeId(3), reason: Reason::RoleTaken };
    user.wait_status("that it is refused", |s| *s == refused);
    send(&port, b"still there", 2).expect("is accepted");
    assert_eq!(user.wait_ends(2)[1], (2, 11));
    assert!(!user.seen().iter().any(|s| matches!(s, Seen::Status(ConnStatus::Down { .. }))));
    rivals.end();
}

/// [U2] [F6] [F11] What was asked for is logged, and is no warning; what was not is one. Each line has the record.
#[test]
fn a_planned_switch_is_no_warning() {
    let rivals = Rivals::new();
    let lines = Arc::new(Lines::default());
    let members = rivals.targets.iter().map(|n| Member { node: n.id(), addresses: n.listening() });
    let mut options = options(1);
    options.members = members.collect();
    options.log = Log::new(Level::Info, lines.clone());
    // In the place of the first source.
    rivals.sources[0].destroy_wait(DEADLINE).expect("ends");
    let source = open(options);
    let user = User::new();
    let port = connected(&source, rivals.config(1), &user);
    port.switch(NodeId(4)).expect("begins");
    user.wait_status("switched", |s| matches!(s, ConnStatus::Switched { node: NodeId(4), .. }));
    let backup = PortConfig { targets: rivals.config(1).targets.split_off(1), ..rivals.config(2) };
    let second = User::new();
    let _second = connected(&rivals.sources[1], backup, &second);
    user.wait_status("drained", |s| *s == ConnStatus::Drained);
    let port = port.session();
    let told = lines.all();
    let records: Vec<_> = told.iter().filter(|line| line.contains(" given up: ")).collect();
    let expected = [
        format!("Info session node1: port {port}: switched: node 3 generation 1/1 given up: its user asked"),
        format!("Warn session node1: port {port}: down: node 4 generation 1/2 given up: session ended"),
    ];
    assert_eq!(records.len(), expected.len(), "{told:?}");
    for (record, start) in records.iter().zip(&expected) {
        assert!(record.starts_with(start), "{record}");
    }
    source.destroy_wait(DEADLINE).expect("ends");
    rivals.end();
}

/// [L4] [F6] A role that is lost while a planned switch is under way is lost: the switch fails, and the target that had accepted is let go.
#[test]
fn a_role_lost_during_a_planned_switch() {
    let rivals = Rivals::with([User::keeping, User::acking]);
    let (port, user) = rivals.connected(0, 1);
    send(&port, b"kept", 1).expect("is accepted");
    let (_, keeper) = rivals.hosts[0].session(0);
    keeper.wait_received(1);
    port.switch(NodeId(4)).expect("begins");
    let (_, asked) = rivals.hosts[1].session(0);

    let (_higher, _) = rivals.connected(1, 2);
    let lost = |s: &ConnStatus| {
        matches!(s, ConnStatus::Down { node: NodeId(3), reason: Reason::Superseded, decision }
            if decision.trigger == Trigger::Denied(Reason::Superseded))
    };
    user.wait_status("that the role is lost", lost);
    user.wait_status("drained", |s| *s == ConnStatus::Drained);
    let failed = ConnStatus::SwitchFailed { node: NodeId(4), reason: Reason::Superseded };
    assert!(user.seen().iter().any(|s| matches!(s, Seen::Status(status) if *status == failed)));
    asked.wait_status("the end", |s| matches!(s, ConnStatus::Closed { .. }));
    assert_eq!(
        nacked(&user.seen()).iter().map(|n| (n.0, n.1)).collect::<Vec<_>>(),
        [(1, Reason::Superseded)]
    );
    keeper.let_go();
    rivals.end();
}

/// [L4] A lower or an equal role epoch is refused to another source, also when the one that has it is gone, and to a second one of the same
/// node for as long as the first is there.
#[test]
fn a_role_is_not_shared() {
    let rivals = Rivals::new();
    let (port, user) = rivals.connected(0, 5);
    for (source, role_epoch) in [(1, 4), (1, 5), (0, 4), (0, 5)] {
        assert_eq!(rivals.refusal(source, role_epoch), Reason::RoleTaken, "{source}, {role_epoch}");
    }
    port.destroy();
    user.wait_final();
    rivals.hosts[0].session(0).1.wait_status("the end", |s| matches!(s, ConnStatus::Closed { .. }));
    assert_eq!(rivals.refusal(1, 5), Reason::RoleTaken);
    rivals.connected(0, 5);
    rivals.connected(1, 6);
    rivals.end();
}

/// [L4] A source that relies on a role that the client does not know, or does not know of the role that the client relies on, is refused.
#[test]
fn both_ends_must_mean_the_same() {
    let rivals = Rivals::new();
    assert_eq!(rivals.refusal(0, 0), Reason::RoleMismatch);
    rivals.end();
    let target = open_listener(2, 1, &[1]);
    target.register("copy", Host::new(PortConfig::default(), User::acking)).expect("registers");
    let source = open_dialler(1, 1, &[&target]);
    let user = User::new();
    connecting(&source, PortConfig { role_epoch: 1, ..source_config(&[&target]) }, &user);
    assert_eq!(failure(&user), Reason::RoleMismatch);
    source.destroy_wait(DEADLINE).expect("ends");
    target.destroy_wait(DEADLINE).expect("ends");
}

/// [L4] Two sources never speak at once: while the user of the former one is still in a callback nothing of a new one is begun, however often
/// that comes, and whoever else comes.
#[test]
fn the_former_user_is_heard_out() {
    let mut slow = options(3);
    slow.listen = addresses(1).into_iter().map(|ip| (ip, 0).into()).collect();
    slow.members = [1, 2, 4].map(|id| Member { node: NodeId(id), addresses: Vec::new() }).into();
    // The sources' ports have numbers of their own, and with them threads.
    slow.callbacks = Callbacks::Threads(8);
    let target = open(slow);
    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let make = move || {
        let (gate, begin) = (Arc::clone(&gate), begin.clone());
        User::reacting(Box::new(move |_, event| {
            if matches!(event, PortEvent::Received(_)) {
                begin.send(()).expect("the test waits");
                // Until the test lets go of the other end.
                let _ = gate.lock().expect("gate").recv();
            }
        }))
    };
    let host = Host::new(PortConfig::default(), make);
    target.register_exclusive("copy", host.clone()).expect("registers");
    let sources = [1, 2, 4].map(|id| source_to(id, &target, None));
    let config = |role_epoch| PortConfig {
        role_epoch,
        ack: AckModel::Asynchronous,
        connect_timeout: Duration::from_millis(700),
        ..source_config(&[&target])
    };
    let first = connected(&sources[0], config(1), &User::new());
    send(&first, b"x", 1).expect("is accepted");
    begun.recv_timeout(DEADLINE).expect("the message is told");

    let outcome = |user: &User, count: usize| {
        user.wait("an outcome", |seen| {
            let is_outcome = |s: &&Seen| {
                matches!(s, Seen::Status(ConnStatus::Connected { .. } | ConnStatus::ConnectFailed { .. }))
            };
            seen.iter().filter(is_outcome).nth(count).cloned()
        })
    };
    let too_late = Seen::Status(ConnStatus::ConnectFailed { node: NodeId(3), reason: Reason::Timeout });
    let mut ports = Vec::new();
    for (source, spare) in [(1, 2), (2, 4)] {
        for _ in 0..spare {
            sources[source].create_port(config(0), User::new()).expect("is made");
        }
        let user = User::new();
        let port = connecting(&sources[source], config(source as u64 + 1), &user);
        host.session(source);
        assert_eq!(outcome(&user, 0), too_late);
        ports.push((port, user));
    }
    let (port, user) = &ports[1];
    port.connect(None).expect("tries again");
    assert_eq!(outcome(user, 1), too_late);
    drop(open_gate);
    for count in 2.. {
        port.connect(None).expect("tries again");
        match outcome(user, count) {
            Seen::Status(ConnStatus::Connected { .. }) => break,
            other => assert_eq!(other, too_late),
        }
    }
    for node in sources.iter().chain([&target]) {
        node.destroy_wait(DEADLINE).expect("ends");
    }
}

/// A folder of the test's own, empty.
fn folder(name: &str) -> std::path::PathBuf {
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn exclusive_target(state: &std::path::Path) -> Node {
    let mut options = options(3);
    options.listen = addresses(1).into_iter().map(|ip| (ip, 0).into()).collect();
    options.members = [1, 2].map(|id| Member { node: NodeId(id), addresses: Vec::new() }).into();
    options.state_dir = Some(state.to_owned());
    open(options)
}

fn source_to(id: u32, target: &Node, state: Option<&std::path::Path>) -> Node {
    let mut options = options(id);
    options.members = vec![Member { node: target.id(), addresses: target.listening() }];
    options.state_dir = state.map(Into::into);
    open(options)
}

/// [F7] A folder belongs to one open node of an id, and to none once that has ended, whoever still has a handle of it.
#[test]
fn a_folder_is_free_when_its_node_has_ended() {
    let kept = folder("generations-free");
    let first = exclusive_target(&kept);
    let mut again = options(3);
    again.state_dir = Some(kept.clone());
    let refused = Node::open(again, Box::new(|| ())).expect_err("the folder is in use");
    assert!(refused.to_string().ends_with("node 3 is open already, with this folder"), "{refused}");
    first.destroy_wait(DEADLINE).expect("ends");
    let second = exclusive_target(&kept);
    second.destroy_wait(DEADLINE).expect("ends");
    drop(first);
}

/// [L4] [F7] With a folder for generations a target that was restarted remembers who had the role, and a source never asks for a generation
/// again: also of a target that knows nothing of the earlier ones.
#[test]
fn generations_outlive_a_restart() {
    let (kept, forgotten) = (folder("generations"), folder("generations-lost"));
    let mut last = None;
    for life in 0..3 {
        // The third target has lost what the others knew.
        let target = exclusive_target(if life < 2 { &kept } else { &forgotten });
        let host = Host::new(PortConfig::default(), User::acking);
        target.register_exclusive("copy", host.clone()).expect("registers");
        let source = source_to(1, &target, Some(&kept));
        let rival = source_to(2, &target, None);
        let config = |role_epoch| PortConfig { role_epoch, ..source_config(&[&target]) };
        if life == 1 {
            let user = User::new();
            connecting(&rival, config(5), &user);
            assert_eq!(failure(&user), Reason::RoleTaken, "the target has forgotten");
        }
        let port = connected(&source, config(5), &User::new());
        assert!(last < Some(port.generation()), "{last:?}, then {:?}", port.generation());
        last = Some(port.generation());
        for node in [source, rival, target] {
            node.destroy_wait(DEADLINE).expect("ends");
        }
    }
}

/// [L4] What was kept and is damaged is named, and nothing begins anew in silence.
#[test]
fn damaged_generations_are_refused() {
    let state = folder("generations-damaged");
    let target = exclusive_target(&state);
    let host = Host::new(PortConfig::default(), User::acking);
    target.register_exclusive("copy", host).expect("registers");
    let source = source_to(1, &target, Some(&state));
    connected(&source, PortConfig { role_epoch: 1, ..source_config(&[&target]) }, &User::new());
    for node in [source, target] {
        node.destroy_wait(DEADLINE).expect("ends");
    }
    let files: Vec<_> =
        std::fs::read_dir(&state).expect("lists").map(|file| file.expect("a file").path()).collect();
    let files: Vec<_> = files.iter().filter(|file| file.extension().is_some_and(|e| e != "lock")).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        std::fs::write(file, b"CDPSGEN1").expect("writes");
    }
    let target = exclusive_target(&state);
    let refused = target.register_exclusive("copy", Host::new(PortConfig::default(), User::acking));
    assert!(matches!(refused, Err(RegisterError::Keep(_))), "{refused:?}");
    target
        .register("other", Host::new(PortConfig::default(), User::acking))
        .expect("has nothing to do with it");
    let source = source_to(1, &target, Some(&state));
    let refused = source.create_port(source_config(&[&target]), User::new());
    assert!(matches!(refused, Err(CreateError::Keep(_))), "{refused:?}");
    for node in [source, target] {
        node.destroy_wait(DEADLINE).expect("ends");
    }
}
