//! A network in virtual time that wires nodes together: addresses that delay, hold, refuse and break; hosts that freeze, die and return.
//!
//! After every step it checks what must hold always: no lease is longer than what the peer can account for (F8), a node that was given the
//! time wants to be called later only, and no connection has more waiting than its bound.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use cdps_core::cluster::{ClusterChange, ClusterKind, Health, LinkState, PeerState};
use cdps_core::config::{Liveness, Member, NodeConfig};
use cdps_core::id::{Generation, Incarnation, LinkId, NodeId, SessionId};
use cdps_core::node::{LinkKey, Node, Output};
use cdps_core::reason::Reason;
use cdps_core::time::{Duration, Time};
use cdps_core::wire::{Frame, Hello, NodeBody, Purpose, VERSION, Welcome};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// What an address does with what passes through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// Dials fail at once.
    Refuse,
    /// Nothing arrives at either end, until it passes again.
    Hold,
    /// Nothing arrives at the end that dialled.
    HoldToDialler,
    /// Nothing arrives at the end that accepted.
    HoldToAcceptor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Dialler,
    Acceptor,
}

struct Address {
    owner: NodeId,
    latency: Duration,
    mode: Mode,
}

struct Conn {
    address: SocketAddr,
    hello: Hello,
    dialler: (NodeId, LinkKey, u32),
    /// Host, key and serial at the accepting end, once it has accepted.
    acceptor: Option<(NodeId, LinkKey, u32)>,
    /// Who accepted it, as the dialler was told.
    welcomed_by: (NodeId, Incarnation),
    /// What is held on its way to each end, and when the last thing arrives there.
    held: [VecDeque<Parcel>; 2],
    busy_until: [Time; 2],
    /// The end does not want to hear of it any more.
    closed: [bool; 2],
}

impl Conn {
    /// Host, key and serial at an end.
    fn at(&self, end: End) -> (NodeId, LinkKey, u32) {
        match end {
            End::Dialler => self.dialler,
            End::Acceptor => self.acceptor.unwrap_or((NodeId(0), self.dialler.1, 0)),
        }
    }

    /// Who is at the other end, as said in the handshake.
    fn peer_of(&self, end: End) -> (NodeId, Incarnation) {
        match end {
            End::Acceptor => (self.hello.node, self.hello.incarnation),
            End::Dialler => self.welcomed_by,
        }
    }
}

#[derive(Clone, Debug)]
enum Parcel {
    Hello,
    Welcome(Welcome),
    Frame(Frame),
    Lost(Reason),
}

struct Host {
    node: Node,
    epoch: u32,
    frozen: bool,
    inbox: VecDeque<(usize, End, Parcel)>,
    /// Timers fire that late.
    lag: Duration,
    wakeups: u32,
}

pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) log: Vec<(Time, NodeId, Output)>,
    pub(crate) liveness: Liveness,
    pub(crate) cluster: ClusterKind,
    hosts: BTreeMap<NodeId, Host>,
    dead_epochs: BTreeMap<NodeId, u32>,
    addresses: BTreeMap<SocketAddr, Address>,
    conns: Vec<Conn>,
    queue: BTreeMap<(Time, u64), (usize, End, Parcel)>,
    serial: u64,
    /// When (node, incarnation) last heard (node, incarnation).
    heard: BTreeMap<(NodeId, Incarnation, NodeId, Incarnation), Time>,
    /// Until when a target may have a lease of a source, for revocations that have not reached it: target, its incarnation, source, its
    /// incarnation.
    fences: Vec<(NodeId, Incarnation, NodeId, Incarnation, Time)>,
    /// Every frame handed to a socket.
    pub(crate) sent: Vec<(Time, NodeId, SocketAddr, Frame)>,
}

/// Number of the batch that an event about a node itself, and not a path to it, belongs to.
pub(crate) fn membership(output: &Output) -> Option<u64> {
    match output {
        Output::Cluster(event) if !matches!(event.change, ClusterChange::Path { .. }) => {
            Some(event.membership)
        }
        _ => None,
    }
}

/// Address `index` of a node.
pub(crate) fn address(node: u32, index: u8) -> SocketAddr {
    format!("10.{node}.0.{index}:7000").parse().unwrap()
}

impl Net {
    pub(crate) fn new(liveness: Liveness) -> Net {
        Net {
            // Not zero: an engine must not take the origin for a moment that means anything.
            now: Time(1_000_000_000),
            log: Vec::new(),
            liveness,
            cluster: ClusterKind::Static,
            hosts: BTreeMap::new(),
            dead_epochs: BTreeMap::new(),
            addresses: BTreeMap::new(),
            conns: Vec::new(),
            queue: BTreeMap::new(),
            serial: 0,
            heard: BTreeMap::new(),
            fences: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(crate) fn add_address(&mut self, node: u32, index: u8, latency: Duration) -> SocketAddr {
        let at = address(node, index);
        self.addresses.insert(at, Address { owner: NodeId(node), latency, mode: Mode::Pass });
        at
    }

    /// Opens a node whose members are reached through these addresses.
    pub(crate) fn open(&mut self, node: u32, members: &[(u32, &[SocketAddr])]) {
        let id = NodeId(node);
        let epoch = self.dead_epochs.get(&id).map_or(1, |epoch| epoch + 1);
        let members = members
            .iter()
            .map(|(node, addresses)| Member { node: NodeId(*node), addresses: addresses.to_vec() })
            .collect();
        let config = NodeConfig {
            node: id,
            local: Vec::new(),
            members,
            cluster: self.cluster,
            liveness: self.liveness.clone(),
        };
        let incarnation = Incarnation(u64::from(node) * 1000 + u64::from(epoch));
        let node = Node::new(config, incarnation, self.now, incarnation.0).unwrap();
        let host =
            Host { node, epoch, frozen: false, inbox: VecDeque::new(), lag: Duration::ZERO, wakeups: 0 };
        assert!(self.hosts.insert(id, host).is_none(), "node {id} is open already");
        self.drain(id);
    }

    /// Two nodes with `links` addresses each; node 1 dials node 2, and the other way round if `both`.
    pub(crate) fn pair(links: u8, latency: Duration, both: bool) -> Net {
        let mut net = Net::new(Liveness::default());
        let ones: Vec<SocketAddr> = (1..=links).map(|i| net.add_address(1, i, latency)).collect();
        let twos: Vec<SocketAddr> = (1..=links).map(|i| net.add_address(2, i, latency)).collect();
        net.open(2, &[(1, if both { &ones } else { &[] })]);
        net.open(1, &[(2, &twos)]);
        net
    }

    pub(crate) fn node(&self, node: u32) -> &Node {
        &self.hosts[&NodeId(node)].node
    }

    pub(crate) fn is_open(&self, node: u32) -> bool {
        self.hosts.contains_key(&NodeId(node))
    }

    pub(crate) fn lag(&mut self, node: u32, lag: Duration) {
        self.host(NodeId(node)).lag = lag;
    }

    /// How often the timer of a node has fired since this was asked last.
    pub(crate) fn wakeups(&mut self, node: u32) -> u32 {
        std::mem::take(&mut self.host(NodeId(node)).wakeups)
    }

    fn host(&mut self, node: NodeId) -> &mut Host {
        self.hosts.get_mut(&node).expect("an open node")
    }

    /// Calls a node as its driver would, and does what it wants done.
    pub(crate) fn with<T>(&mut self, node: u32, call: impl FnOnce(&mut Node, Time) -> T) -> T {
        let now = self.now;
        let result = call(&mut self.host(NodeId(node)).node, now);
        self.drain(NodeId(node));
        result
    }

    /// Revokes a session, and remembers until when the target may deliver.
    pub(crate) fn revoke(&mut self, source: u32, target: u32, session: SessionId) {
        let body = NodeBody::Revoke { session, generation: Generation::default() };
        let until = self.with(source, |node, now| node.tell(now, NodeId(target), body, true));
        if let Some(incarnation) = self.node(source).peer_incarnation(NodeId(target)) {
            self.fences.push((NodeId(target), incarnation, NodeId(source), session.incarnation, until));
        }
    }

    pub(crate) fn set_mode(&mut self, at: SocketAddr, mode: Mode) {
        self.addresses.get_mut(&at).expect("an address").mode = mode;
        for id in 0..self.conns.len() {
            for end in [End::Dialler, End::Acceptor] {
                if self.conns[id].address == at && passes(mode, end) {
                    while let Some(parcel) = self.conns[id].held[end as usize].pop_front() {
                        self.post(id, end, parcel);
                    }
                }
            }
        }
    }

    pub(crate) fn set_latency(&mut self, at: SocketAddr, latency: Duration) {
        self.addresses.get_mut(&at).expect("an address").latency = latency;
    }

    pub(crate) fn mode(&self, at: SocketAddr) -> Mode {
        self.addresses[&at].mode
    }

    /// Every connection over an address breaks, at both ends at once.
    pub(crate) fn break_conns(&mut self, at: SocketAddr) {
        for id in 0..self.conns.len() {
            if self.conns[id].address == at {
                self.cut(id, End::Dialler);
                self.cut(id, End::Acceptor);
            }
        }
    }

    fn cut(&mut self, id: usize, end: End) {
        self.conns[id].held[end as usize].clear();
        self.serial += 1;
        self.queue.insert((self.now, self.serial), (id, end, Parcel::Lost(Reason::ConnectionLost)));
    }

    pub(crate) fn freeze(&mut self, node: u32) {
        self.host(NodeId(node)).frozen = true;
    }

    /// A frozen node goes on: it reads what has arrived, before or after its timer fires.
    pub(crate) fn thaw(&mut self, node: u32, timer_first: bool) {
        let id = NodeId(node);
        self.host(id).frozen = false;
        let inbox = std::mem::take(&mut self.host(id).inbox);
        if timer_first {
            self.fire(id);
        }
        for (conn, end, parcel) in inbox {
            self.arrive(conn, end, parcel);
        }
    }

    /// The process is gone; its kernel resets what it had open.
    pub(crate) fn kill(&mut self, node: u32) {
        let id = NodeId(node);
        let host = self.hosts.remove(&id).expect("an open node");
        self.dead_epochs.insert(id, host.epoch);
        for conn in 0..self.conns.len() {
            if self.conns[conn].dialler.0 == id {
                self.conns[conn].closed[End::Dialler as usize] = true;
                self.send(conn, End::Acceptor, Parcel::Lost(Reason::ConnectionLost));
            }
            if self.addresses[&self.conns[conn].address].owner == id {
                self.conns[conn].closed[End::Acceptor as usize] = true;
                self.send(conn, End::Dialler, Parcel::Lost(Reason::ConnectionLost));
            }
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until something is the case, and says how long that took.
    pub(crate) fn run_until(
        &mut self,
        what: &str,
        most: Duration,
        mut is: impl FnMut(&Net) -> bool,
    ) -> Duration {
        let start = self.now;
        while !is(self) {
            assert!(self.step(start + most), "{what}: not within {most:?}");
        }
        self.now.since(start)
    }

    /// Does the next thing that is due, if that is not after `end`.
    fn step(&mut self, end: Time) -> bool {
        let awake = self.hosts.iter().filter(|(_, host)| !host.frozen);
        let timer = awake.map(|(id, host)| (host.node.poll_timeout() + host.lag, *id)).min();
        let parcel = self.queue.keys().next().copied();
        let at = timer.map_or(Time::NEVER, |(at, _)| at).min(parcel.map_or(Time::NEVER, |(at, _)| at));
        if at > end {
            return false;
        }
        self.now = self.now.max(at);
        match (parcel, timer) {
            (Some(key), _) if key.0 <= at => {
                let (conn, end, parcel) = self.queue.remove(&key).expect("just seen");
                self.arrive(conn, end, parcel);
            }
            (_, Some((_, id))) => self.fire(id),
            (_, None) => unreachable!("something was due"),
        }
        self.check_leases();
        self.check_fences();
        true
    }

    fn fire(&mut self, id: NodeId) {
        let now = self.now;
        let host = self.host(id);
        host.wakeups += 1;
        host.node.handle_timeout(now);
        assert!(host.node.poll_timeout() > now, "node {id} wants to be called at once again");
        self.drain(id);
    }

    fn arrive(&mut self, id: usize, end: End, parcel: Parcel) {
        let conn = &self.conns[id];
        if conn.closed[end as usize] {
            return;
        }
        let to = match end {
            End::Dialler => conn.dialler.0,
            End::Acceptor => self.addresses[&conn.address].owner,
        };
        let Some(host) = self.hosts.get_mut(&to) else {
            // Nobody listens there.
            self.conns[id].closed[end as usize] = true;
            return self.send(id, End::Dialler, Parcel::Lost(Reason::DialFailed));
        };
        if host.frozen {
            return host.inbox.push_back((id, end, parcel));
        }
        let now = self.now;
        let node = &mut host.node;
        let from = conn.peer_of(end);
        match (parcel, end) {
            (Parcel::Hello, _) => self.accept(id, to),
            (Parcel::Welcome(welcome), _) => {
                let LinkKey::Dialled(link) = conn.dialler.1 else { unreachable!("dialled") };
                let verdict = node.handle_dialled(now, link, conn.dialler.2, &welcome);
                if verdict.is_ok() {
                    self.note_heard(to, from);
                }
                self.drop_if(verdict.is_err(), id, end);
            }
            (Parcel::Frame(frame), _) => {
                let (_, key, serial) = conn.at(end);
                let verdict = node.handle_frame(now, key, serial, frame);
                self.note_heard(to, from);
                self.drop_if(verdict.is_err(), id, end);
            }
            (Parcel::Lost(reason), _) => {
                let known = end == End::Dialler || conn.acceptor.is_some();
                let (_, key, serial) = conn.at(end);
                self.conns[id].closed[end as usize] = true;
                if known {
                    self.host(to).node.handle_lost(now, key, serial, reason);
                }
            }
        }
        self.drain(to);
    }

    fn accept(&mut self, id: usize, to: NodeId) {
        let now = self.now;
        let hello = self.conns[id].hello.clone();
        let node = &mut self.host(to).node;
        match node.judge_hello(now, &hello) {
            Ok(()) => {
                let incarnation = node.incarnation();
                let (key, serial) = node.handle_accepted(now, &hello);
                self.conns[id].acceptor = Some((to, key, serial));
                self.conns[id].welcomed_by = (to, incarnation);
                let welcome = Welcome {
                    version: VERSION,
                    node: to,
                    incarnation,
                    features: 0,
                    nonce: [0; 32],
                    mac: [0; 32],
                };
                self.send(id, End::Dialler, Parcel::Welcome(welcome));
                self.note_heard(to, (hello.node, hello.incarnation));
            }
            Err(reason) => {
                self.conns[id].closed[End::Acceptor as usize] = true;
                self.send(id, End::Dialler, Parcel::Lost(reason));
            }
        }
    }

    fn drop_if(&mut self, faulty: bool, id: usize, end: End) {
        if faulty {
            self.close(id, end);
        }
    }

    fn close(&mut self, id: usize, end: End) {
        self.conns[id].closed[end as usize] = true;
        let other = if end == End::Dialler { End::Acceptor } else { End::Dialler };
        self.send(id, other, Parcel::Lost(Reason::ConnectionLost));
    }

    fn note_heard(&mut self, by: NodeId, from: (NodeId, Incarnation)) {
        let incarnation = self.hosts[&by].node.incarnation();
        self.heard.insert((by, incarnation, from.0, from.1), self.now);
    }

    /// Sends towards an end: held if the address holds that way.
    fn send(&mut self, id: usize, to: End, parcel: Parcel) {
        let mode = self.addresses[&self.conns[id].address].mode;
        if passes(mode, to) {
            self.post(id, to, parcel);
        } else {
            self.conns[id].held[to as usize].push_back(parcel);
        }
    }

    fn post(&mut self, id: usize, to: End, parcel: Parcel) {
        let arrival = self.now + self.addresses[&self.conns[id].address].latency;
        let conn = &mut self.conns[id];
        let arrival = arrival.max(conn.busy_until[to as usize]);
        conn.busy_until[to as usize] = arrival;
        self.serial += 1;
        self.queue.insert((arrival, self.serial), (id, to, parcel));
    }

    fn drain(&mut self, id: NodeId) {
        let mut told = BTreeMap::new();
        while let Some(output) = self.host(id).node.poll_output() {
            self.log.push((self.now, id, output.clone()));
            if let Output::Message { from, from_incarnation, body: NodeBody::Revoke { .. } } = output {
                let reached = |fence: &(NodeId, Incarnation, NodeId, Incarnation, Time)| {
                    (fence.0, fence.2, fence.3) == (id, from, from_incarnation)
                };
                self.fences.retain(|fence| !reached(fence));
            }
            if let Output::PeerGone { node, incarnation } = output {
                let living = self.hosts.get(&node).map(|host| host.node.incarnation());
                assert_ne!(living, Some(incarnation), "node {node} is alive as this incarnation");
            }
            match output {
                Output::Dial { link, conn, node, remote, .. } => self.dial(id, link, conn, node, remote),
                Output::Hangup { key, conn } => {
                    if let Some((id, end)) = self.find(id, key, conn) {
                        self.close(id, end);
                    }
                }
                Output::Transmit { key, conn } => self.transmit(id, key, conn),
                Output::Link { key, state } => {
                    told.insert(key, state.health);
                }
                Output::Peer { .. }
                | Output::Isolated(_)
                | Output::Lease { .. }
                | Output::PeerGone { .. }
                | Output::Cluster(_)
                | Output::Message { .. } => {}
            }
        }
        for (key, health) in told {
            assert_eq!(self.hosts[&id].node.link_state(key).health, health, "what was told last is the case");
        }
    }

    fn find(&self, host: NodeId, key: LinkKey, serial: u32) -> Option<(usize, End)> {
        let incarnation = self.hosts[&host].node.incarnation();
        self.conns.iter().enumerate().rev().find_map(|(id, conn)| {
            if conn.dialler == (host, key, serial) && conn.hello.incarnation == incarnation {
                Some((id, End::Dialler))
            } else if conn.acceptor == Some((host, key, serial)) && conn.welcomed_by == (host, incarnation) {
                Some((id, End::Acceptor))
            } else {
                None
            }
        })
    }

    fn dial(&mut self, from: NodeId, link: LinkId, serial: u32, node: NodeId, remote: SocketAddr) {
        let incarnation = self.hosts[&from].node.incarnation();
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            features: 0,
            node: from,
            peer: node,
            incarnation,
            link,
            nonce: [0; 32],
            purpose: Purpose::Control,
        };
        self.conns.push(Conn {
            address: remote,
            hello,
            dialler: (from, LinkKey::Dialled(link), serial),
            acceptor: None,
            welcomed_by: (NodeId(0), Incarnation(0)),
            held: [VecDeque::new(), VecDeque::new()],
            busy_until: [Time::ZERO; 2],
            closed: [false; 2],
        });
        let id = self.conns.len() - 1;
        if self.addresses[&remote].mode == Mode::Refuse {
            self.conns[id].closed[End::Acceptor as usize] = true;
            self.post(id, End::Dialler, Parcel::Lost(Reason::DialFailed));
        } else {
            self.send(id, End::Acceptor, Parcel::Hello);
        }
    }

    fn transmit(&mut self, host: NodeId, key: LinkKey, serial: u32) {
        let mut frames = 0;
        while let Some(frame) = self.host(host).node.poll_transmit(key, serial) {
            frames += 1;
            assert!(frames < 64 + 4096 + 2, "more than the bound was waiting");
            if let Some((id, end)) = self.find(host, key, serial) {
                self.sent.push((self.now, host, self.conns[id].address, frame.clone()));
                let other = if end == End::Dialler { End::Acceptor } else { End::Dialler };
                self.send(id, other, Parcel::Frame(frame));
            }
        }
    }

    /// [F8] A lease at the target never outlives the last moment at which the source heard the target by more than the lease time.
    fn check_leases(&self) {
        for (target, host) in &self.hosts {
            for (&(source, source_incarnation, heard, incarnation), last) in &self.heard {
                if heard == *target && incarnation == host.node.incarnation() {
                    let until = host.node.lease_until(source, source_incarnation);
                    let bound = *last + self.liveness.lease;
                    assert!(
                        until <= bound,
                        "lease of {source} at {target} until {until:?}, beyond {bound:?}"
                    );
                }
            }
        }
    }

    /// [F8] Until a revocation has reached its target, the lease there is no longer than what [`Node::tell`] said.
    fn check_fences(&self) {
        for &(target, incarnation, source, source_incarnation, until) in &self.fences {
            if let Some(host) = self.hosts.get(&target).filter(|host| host.node.incarnation() == incarnation)
            {
                let lease = host.node.lease_until(source, source_incarnation);
                assert!(
                    lease <= until,
                    "{target} delivers for {source} until {lease:?}, revoked until {until:?}"
                );
            }
        }
    }

    // What tests ask.

    /// The key that node `node` has for the link over an address, at the end given.
    pub(crate) fn key(&self, node: u32, at: SocketAddr, end: End) -> LinkKey {
        let last = self.conns.iter().rev().filter(|conn| conn.address == at);
        match end {
            End::Dialler => last.map(|conn| conn.dialler).find(|dialler| dialler.0 == NodeId(node)),
            End::Acceptor => {
                last.filter_map(|conn| conn.acceptor).find(|acceptor| acceptor.0 == NodeId(node))
            }
        }
        .expect("such a link")
        .1
    }

    pub(crate) fn has_link(&self, node: u32, at: SocketAddr, end: End) -> bool {
        let of_end = |conn: &Conn| match end {
            End::Dialler => conn.dialler.0 == NodeId(node),
            End::Acceptor => conn.acceptor.is_some_and(|acceptor| acceptor.0 == NodeId(node)),
        };
        self.conns.iter().any(|conn| conn.address == at && of_end(conn))
    }

    /// The address that a link of a node leads over.
    pub(crate) fn address_of(&self, node: NodeId, key: LinkKey) -> SocketAddr {
        let ends = |conn: &&Conn| {
            (conn.dialler.0, conn.dialler.1) == (node, key)
                || conn.acceptor.is_some_and(|end| (end.0, end.1) == (node, key))
        };
        self.conns.iter().find(ends).expect("such a link").address
    }

    /// The newest connection over an address: key and serial at that end.
    pub(crate) fn conn(&self, at: SocketAddr, end: End) -> (LinkKey, u32) {
        let conn = self.conns.iter().rev().find(|conn| conn.address == at).expect("a connection");
        let (_, key, serial) = conn.at(end);
        (key, serial)
    }

    pub(crate) fn health(&self, node: u32, at: SocketAddr, end: End) -> Health {
        self.node(node).link_state(self.key(node, at, end)).health
    }

    pub(crate) fn is_good(&self, at: SocketAddr, dialler: u32, acceptor: u32) -> bool {
        self.health(dialler, at, End::Dialler) == Health::Good
            && self.health(acceptor, at, End::Acceptor) == Health::Good
    }

    pub(crate) fn is_reachable(&self, node: u32, peer: u32) -> bool {
        matches!(self.node(node).peer_state(NodeId(peer)), Some(PeerState::Reachable { .. }))
    }

    /// Lets everything come up that can.
    pub(crate) fn settle(&mut self) {
        self.run(Duration::from_secs(1));
    }

    /// Outputs of a node since a mark (a length of the log).
    pub(crate) fn since(&self, mark: usize, node: u32) -> impl Iterator<Item = (Time, &Output)> {
        self.log[mark..].iter().filter(move |entry| entry.1 == NodeId(node)).map(|entry| (entry.0, &entry.2))
    }

    pub(crate) fn link_changes(&self, mark: usize, node: u32) -> Vec<(Time, LinkKey, LinkState)> {
        self.since(mark, node)
            .filter_map(|(at, output)| match output {
                Output::Link { key, state } => Some((at, *key, *state)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn dials(&self, mark: usize, node: u32) -> Vec<Time> {
        self.since(mark, node)
            .filter(|(_, output)| matches!(output, Output::Dial { .. }))
            .map(|(at, _)| at)
            .collect()
    }

    pub(crate) fn messages(&self, mark: usize, node: u32) -> Vec<NodeBody> {
        self.since(mark, node)
            .filter_map(|(_, output)| match output {
                Output::Message { body, .. } => Some(body.clone()),
                _ => None,
            })
            .collect()
    }
}

fn passes(mode: Mode, to: End) -> bool {
    match mode {
        Mode::Pass | Mode::Refuse => true,
        Mode::Hold => false,
        Mode::HoldToDialler => to == End::Acceptor,
        Mode::HoldToAcceptor => to == End::Dialler,
    }
}
