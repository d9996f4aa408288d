//! What a cluster engine with a quorum says, against what the links show.

use cdps_core::cluster::{
    ClusterChange, ClusterKind, Health, Membership, MembershipChange, MembershipError, PeerState,
};
use cdps_core::config::Liveness;
use cdps_core::id::NodeId;
use cdps_core::node::{LinkKey, Output};
use cdps_core::time::Duration;

use crate::net::{MS, Mode, Net, address};

const TWO: NodeId = NodeId(2);

/// Node 1 dials node 2 and 3, and has an engine with a quorum.
fn quorate() -> Net {
    let mut net = Net::new(Liveness::default());
    net.cluster = ClusterKind::Quorate;
    let (two, three) = (net.add_address(2, 1, MS), net.add_address(3, 1, MS));
    net.open(2, &[(1, &[])]);
    net.open(3, &[(1, &[])]);
    net.open(1, &[(2, &[two]), (3, &[three])]);
    net.settle();
    net
}

fn says(net: &mut Net, number: u64, changes: Vec<MembershipChange>) -> Result<(), MembershipError> {
    net.with(1, |node, now| node.handle_membership(now, Membership { number, changes }))
}

/// What node 1 told since a mark, but links and heartbeats.
fn told(net: &Net, mark: usize) -> Vec<Output> {
    let tells =
        |output: &Output| matches!(output, Output::Peer { .. } | Output::Isolated(_) | Output::Cluster(_));
    net.since(mark, 1).map(|(_, output)| output.clone()).filter(tells).collect()
}

fn changes(outputs: &[Output]) -> Vec<(u64, NodeId, ClusterChange)> {
    let change = |output: &Output| match output {
        Output::Cluster(event) => Some((event.membership, event.node, event.change.clone())),
        _ => None,
    };
    outputs.iter().filter_map(change).collect()
}

/// [N5] [N4] "Down" is told at once, though every link is good; nothing that the links show takes it back, but "up" does. The clients that
/// were known there are gone with it.
#[test]
fn down_is_final() {
    let mut net = quorate();
    let clients = ["b", "a"].map(|c| MembershipChange::Registered { node: TWO, client: c.into() });
    let start = [vec![MembershipChange::Quorum(true), MembershipChange::Up(TWO)], clients.to_vec()].concat();
    assert_eq!(says(&mut net, 5, start), Ok(()));
    assert!(net.is_good(address(2, 1), 1, 2));
    let (mark, at) = (net.log.len(), net.now);
    assert_eq!(says(&mut net, 7, vec![MembershipChange::Down(TWO)]), Ok(()));
    let outputs = told(&net, mark);
    assert_eq!(net.now, at, "without waiting for anything");
    assert_eq!(outputs[0], Output::Peer { node: TWO, state: PeerState::Down });
    let gone = |client: &str| (7, TWO, ClusterChange::Gone { client: client.into() });
    assert_eq!(changes(&outputs), [gone("a"), gone("b"), (7, TWO, ClusterChange::Down)]);
    let mark = net.log.len();
    net.break_conns(address(2, 1));
    net.run(Duration::from_secs(5));
    assert!(net.is_good(address(2, 1), 1, 2), "the link is there");
    assert_eq!(net.node(1).peer_state(TWO), Some(PeerState::Down));
    assert!(told(&net, mark).iter().all(|output| !matches!(output, Output::Peer { .. })));
    let mark = net.log.len();
    assert_eq!(says(&mut net, 8, vec![MembershipChange::Up(TWO)]), Ok(()));
    let incarnation = net.node(2).incarnation();
    let outputs = told(&net, mark);
    assert_eq!(outputs[0], Output::Peer { node: TWO, state: PeerState::Reachable { incarnation } });
    assert_eq!(changes(&outputs), [(8, TWO, ClusterChange::Up { incarnation: Some(incarnation) })]);
}

/// [N5] "Up" does not make a node reachable whose links are dead, and "unreachable" does not make one unreachable whose links are good. Both are
/// told to clients; what the links show is told as paths.
#[test]
fn links_decide_what_is_reachable() {
    let mut net = quorate();
    says(&mut net, 1, vec![MembershipChange::Quorum(true), MembershipChange::Up(TWO)]).expect("is taken");
    let mark = net.log.len();
    says(&mut net, 2, vec![MembershipChange::Unreachable(TWO)]).expect("is taken");
    assert_eq!(changes(&told(&net, mark)), [(2, TWO, ClusterChange::Unreachable)]);
    assert_eq!(told(&net, mark).len(), 1, "no port hears of it");
    assert!(net.is_reachable(1, 2));

    let mark = net.log.len();
    net.set_mode(address(2, 1), Mode::Hold);
    net.run(Duration::from_secs(3));
    says(&mut net, 3, vec![MembershipChange::Up(TWO)]).expect("is taken");
    assert!(matches!(net.node(1).peer_state(TWO), Some(PeerState::Unreachable { .. })));
    let remote = Some(address(2, 1));
    let link = net.node(1).peer_state(TWO).and(changes(&told(&net, mark)).first().cloned());
    let Some((2, TWO, ClusterChange::Path { link: link @ LinkKey::Dialled(_), .. })) = link else {
        panic!("{link:?}")
    };
    let path = |health| (2, TWO, ClusterChange::Path { link, remote, health });
    let incarnation = Some(net.node(2).incarnation());
    assert_eq!(
        changes(&told(&net, mark)),
        [path(Health::Suspect), path(Health::Dead), (3, TWO, ClusterChange::Up { incarnation })]
    );
}

/// [N5] Without a quorum every fault is this node's own, and that is known before any port hears of a lost target, wherever in the batch it
/// stands.
#[test]
fn without_a_quorum_the_fault_is_here() {
    let mut net = quorate();
    assert!(net.node(1).isolated() && !net.node(1).is_operational(), "nothing has been said yet");
    let mark = net.log.len();
    says(&mut net, 1, vec![MembershipChange::Up(TWO), MembershipChange::Quorum(true)]).expect("is taken");
    assert!(!net.node(1).isolated() && net.node(1).is_operational());
    assert_eq!(told(&net, mark)[0], Output::Isolated(false));
    let mark = net.log.len();
    says(&mut net, 2, vec![MembershipChange::Down(TWO), MembershipChange::Quorum(false)]).expect("is taken");
    let outputs = told(&net, mark);
    assert_eq!(outputs[0], Output::Isolated(true));
    assert_eq!(outputs[1], Output::Peer { node: TWO, state: PeerState::Down });
    let quorum = (2, NodeId(1), ClusterChange::Quorum(false));
    assert_eq!(changes(&outputs), [(2, TWO, ClusterChange::Down), quorum]);
}

/// [N2] A batch that is not newer is refused, and changes nothing; nobody speaks for the static engine.
#[test]
fn batches_are_in_order() {
    let mut net = quorate();
    says(&mut net, 4, vec![MembershipChange::Quorum(true)]).expect("is taken");
    for number in [0, 3, 4] {
        let refused =
            says(&mut net, number, vec![MembershipChange::Down(TWO), MembershipChange::Quorum(false)]);
        assert_eq!(refused, Err(MembershipError::Stale { number, last: 4 }));
    }
    assert!(net.is_reachable(1, 2) && net.node(1).is_operational());
    let mut net = Net::pair(1, MS, false);
    net.settle();
    assert_eq!(says(&mut net, 99, vec![MembershipChange::Down(TWO)]), Err(MembershipError::Static));
    assert!(net.is_reachable(1, 2) && net.node(1).is_operational());
}
