//! Three nodes under random faults. What must hold at every moment is checked by the network ([`Net::check_leases`]) and here: nobody is
//! suspected without a cause, nobody who is silent is taken for alive, and once the faults stop everything comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cdps_core::cluster::{Health, PeerState};
use cdps_core::config::Liveness;
use cdps_core::id::{NodeId, SessionId};
use cdps_core::node::{LinkKey, Output};
use cdps_core::time::{Duration, Time};
use proptest::prelude::*;

use crate::net::{End, MS, Mode, Net, address};

/// (dialler, acceptor, address of the acceptor).
const LINKS: [(u32, u32, u8); 4] = [(1, 2, 1), (1, 2, 2), (1, 3, 1), (2, 1, 1)];
const NODES: [u32; 3] = [1, 2, 3];

#[derive(Clone, Copy, Debug)]
enum Fault {
    Mode(usize, Mode),
    Break(usize),
    Freeze(u32),
    Thaw(u32, bool),
    Kill(u32),
    Open(u32),
    Revoke(u32),
}

fn fault() -> impl Strategy<Value = Fault> {
    let mode = prop_oneof![
        3 => Just(Mode::Pass),
        1 => Just(Mode::Refuse),
        2 => Just(Mode::Hold),
        1 => Just(Mode::HoldToDialler),
        1 => Just(Mode::HoldToAcceptor),
    ];
    let link = 0..LINKS.len();
    prop_oneof![
        6 => (link.clone(), mode).prop_map(|(link, mode)| Fault::Mode(link, mode)),
        3 => link.prop_map(Fault::Break),
        2 => (1u32..4).prop_map(Fault::Freeze),
        3 => (1u32..4, any::<bool>()).prop_map(|(node, timer_first)| Fault::Thaw(node, timer_first)),
        1 => (1u32..4).prop_map(Fault::Kill),
        2 => (1u32..4).prop_map(Fault::Open),
        2 => (2u32..4).prop_map(Fault::Revoke),
    ]
}

/// Since when, and until when, something was not in order.
#[derive(Default)]
struct Trouble(Vec<(Time, Time)>);

impl Trouble {
    fn begins(&mut self, now: Time) {
        self.0.push((now, Time::NEVER));
    }

    fn ends(&mut self, now: Time) {
        self.0.iter_mut().filter(|(_, end)| *end == Time::NEVER).for_each(|(_, end)| *end = now);
    }

    fn between(&self, from: Time, to: Time) -> bool {
        self.0.iter().any(|(begin, end)| *begin <= to && *end >= from)
    }

    fn last_change(&self) -> Time {
        self.0
            .iter()
            .flat_map(|(begin, end)| [*begin, if *end == Time::NEVER { Time::ZERO } else { *end }])
            .max()
            .unwrap_or_default()
    }
}

struct World {
    net: Net,
    frozen: BTreeMap<u32, bool>,
    /// Of addresses, in the order of `LINKS`.
    paths: Vec<Trouble>,
    hosts: BTreeMap<u32, Trouble>,
    /// Where in the log a node was opened.
    opened: Vec<(usize, u32)>,
}

fn at(link: usize) -> SocketAddr {
    let (_, acceptor, index) = LINKS[link];
    address(acceptor, index)
}

impl World {
    fn new(latencies: &[u32], lag: u32) -> World {
        let mut net = Net::new(Liveness::default());
        for (link, latency) in latencies.iter().enumerate() {
            let (_, acceptor, index) = LINKS[link];
            net.add_address(acceptor, index, *latency * MS / 20);
        }
        let hosts = NODES.iter().map(|&node| (node, Trouble::default())).collect();
        let paths = LINKS.iter().map(|_| Trouble::default()).collect();
        let mut world = World { net, frozen: BTreeMap::new(), paths, hosts, opened: Vec::new() };
        for node in NODES {
            world.open(node);
            world.net.lag(node, lag * MS);
        }
        world.net.settle();
        world
    }

    fn open(&mut self, node: u32) {
        self.opened.push((self.net.log.len(), node));
        let members: Vec<(u32, Vec<SocketAddr>)> = NODES
            .iter()
            .filter(|&&peer| peer != node)
            .map(|&peer| {
                let dialled = LINKS.iter().filter(|link| link.0 == node && link.1 == peer);
                (peer, dialled.map(|link| address(peer, link.2)).collect())
            })
            .collect();
        let members: Vec<(u32, &[SocketAddr])> =
            members.iter().map(|(peer, at)| (*peer, at.as_slice())).collect();
        self.net.open(node, &members);
        self.frozen.insert(node, false);
    }

    fn is_running(&self, node: u32) -> bool {
        self.net.is_open(node) && !self.frozen[&node]
    }

    fn apply(&mut self, fault: Fault) {
        let now = self.net.now;
        match fault {
            Fault::Mode(link, mode) => {
                self.paths[link].ends(now);
                if mode != Mode::Pass {
                    self.paths[link].begins(now);
                }
                self.net.set_mode(at(link), mode);
            }
            Fault::Break(link) => {
                self.paths[link].0.push((now, now));
                self.net.break_conns(at(link));
            }
            Fault::Freeze(node) => {
                if self.is_running(node) {
                    self.hosts.get_mut(&node).unwrap().begins(now);
                    self.frozen.insert(node, true);
                    self.net.freeze(node);
                }
            }
            Fault::Thaw(node, timer_first) => {
                if self.net.is_open(node) && self.frozen[&node] {
                    self.hosts.get_mut(&node).unwrap().ends(now);
                    self.frozen.insert(node, false);
                    self.net.thaw(node, timer_first);
                }
            }
            Fault::Kill(node) => {
                if self.net.is_open(node) {
                    self.hosts.get_mut(&node).unwrap().begins(now);
                    self.net.kill(node);
                }
            }
            Fault::Open(node) => {
                if !self.net.is_open(node) {
                    self.hosts.get_mut(&node).unwrap().ends(now);
                    self.open(node);
                }
            }
            Fault::Revoke(node) => {
                if self.is_running(1) {
                    let session =
                        SessionId { node: NodeId(1), incarnation: self.net.node(1).incarnation(), port: 1 };
                    self.net.revoke(1, node, session);
                }
            }
        }
    }

    /// [T2, T3] Nobody who has been silent for long is taken for alive.
    fn check_silent(&self) {
        let live = &self.net.liveness;
        // The limit of suspicion is at most three quarters of dead; a late timer and its one deferral come on top.
        let suspect = live.dead * 3 / 4 + 3 * live.heartbeat;
        let dead = live.dead + 3 * live.heartbeat;
        for (link, (dialler, acceptor, _)) in LINKS.into_iter().enumerate() {
            if matches!(self.net.mode(at(link)), Mode::Pass | Mode::Refuse) {
                continue;
            }
            let last =
                [&self.paths[link], &self.hosts[&dialler], &self.hosts[&acceptor]].map(Trouble::last_change);
            let quiet = self.net.now.since(last.into_iter().max().unwrap_or_default());
            for (node, end) in [(dialler, End::Dialler), (acceptor, End::Acceptor)] {
                if self.is_running(node) && self.net.has_link(node, at(link), end) {
                    let health = self.net.health(node, at(link), end);
                    assert!(
                        quiet < suspect || health != Health::Good,
                        "{node} {end:?} {link}: good after {quiet:?}"
                    );
                    assert!(
                        quiet < dead || health == Health::Dead,
                        "{node} {end:?} {link}: alive after {quiet:?}"
                    );
                }
            }
        }
    }

    /// [T3, T5, T9] Whoever is called suspect or dead had been in trouble not long before. That this node itself was frozen is none,
    /// unless it was so long that its peer gave it up.
    fn check_causes(&self) {
        let live = &self.net.liveness;
        let window = live.dead + 3 * live.heartbeat;
        for &node in &NODES {
            for (at_time, key, state) in self.net.link_changes(0, node) {
                let link = self.link_of(node, key);
                if state.health == Health::Good {
                    continue;
                }
                let (dialler, acceptor, _) = LINKS[link];
                let peer = if node == dialler { acceptor } else { dialler };
                let from = at_time - window;
                let long = |(begin, end): &&(Time, Time)| end.since(*begin) >= live.dead - 2 * live.heartbeat;
                let own = Trouble(self.hosts[&node].0.iter().filter(long).copied().collect());
                let cause = self.paths[link].between(from, at_time)
                    || self.hosts[&peer].between(from, at_time)
                    || own.between(from, at_time);
                assert!(cause, "{node} calls link {link} {:?} at {at_time:?} without a cause", state.health);
            }
        }
    }

    fn link_of(&self, node: u32, key: LinkKey) -> usize {
        let owner = self.net.address_of(NodeId(node), key);
        (0..LINKS.len()).find(|&link| at(link) == owner).expect("a link of the test")
    }

    /// [N2, N4, N5] What is told makes sense as a story, for each opening of each node.
    fn check_story(&self) {
        for (index, (mark, node)) in self.opened.iter().enumerate() {
            let end = self.opened[index + 1..]
                .iter()
                .find(|(_, other)| other == node)
                .map_or(self.net.log.len(), |open| open.0);
            let mut reachable: BTreeMap<NodeId, PeerState> = BTreeMap::new();
            let mut isolated = false;
            let mut membership = 0;
            for (_, by, output) in &self.net.log[*mark..end] {
                if *by != NodeId(*node) {
                    continue;
                }
                match output {
                    Output::Peer { node, state } => {
                        let former = reachable.insert(*node, *state);
                        let up = |state: PeerState| matches!(state, PeerState::Reachable { .. });
                        assert_ne!(former.is_some_and(up), up(*state), "told twice: {former:?}, {state:?}");
                    }
                    Output::Isolated(now) => {
                        assert_ne!(isolated, *now);
                        isolated = *now;
                    }
                    Output::Cluster(event) => {
                        assert!((membership..=membership + 1).contains(&event.membership));
                        membership = event.membership;
                        assert!(reachable.contains_key(&event.node));
                    }
                    _ => {}
                }
            }
        }
    }

    fn heal(&mut self) {
        for node in NODES {
            self.apply(Fault::Open(node));
            self.apply(Fault::Thaw(node, true));
        }
        for link in 0..LINKS.len() {
            self.apply(Fault::Mode(link, Mode::Pass));
        }
    }

    /// [T4] Repaired links are good again, within one longest wait and a handshake.
    fn check_healed(&self) {
        for (link, (dialler, acceptor, _)) in LINKS.into_iter().enumerate() {
            assert!(self.net.is_good(at(link), dialler, acceptor), "link {link}");
            assert!(self.net.is_reachable(dialler, acceptor) && self.net.is_reachable(acceptor, dialler));
            for (source, target) in [(dialler, acceptor), (acceptor, dialler)] {
                let lease =
                    self.net.node(target).lease_until(NodeId(source), self.net.node(source).incarnation());
                assert!(lease > self.net.now, "no lease of {source} at {target}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// [T2, T3, T4, T5, T9, F8, N2] See the module.
    #[test]
    fn nodes_under_random_faults(
        latencies in proptest::collection::vec(prop_oneof![Just(0u32), Just(1), Just(20), 0u32..600], LINKS.len()),
        lag in prop_oneof![Just(0u32), 0u32..40],
        faults in proptest::collection::vec((prop_oneof![Just(0u32), 0u32..400, 0u32..4000], fault()), 1..30),
    ) {
        let mut world = World::new(&latencies, lag);
        for (wait, fault) in faults {
            world.apply(fault);
            world.net.run(wait * MS);
            world.check_silent();
        }
        world.heal();
        world.net.run(world.net.liveness.redial_max + world.net.liveness.handshake_timeout + Duration::from_secs(5));
        world.check_healed();
        world.check_causes();
        world.check_story();
    }
}
