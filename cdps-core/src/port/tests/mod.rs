//! Two ports wired back to back, without bytes: what one gives out the other takes in.

mod backups;
mod barrier;
mod choices;
mod closing;
mod deadline;
mod decisions;
mod feedback;
mod grace;
mod live;
mod one_way;
mod overdue;
mod planned;
mod rejoin;
mod reset;
mod streams;
mod suspend;

use std::collections::VecDeque;

use super::*;
use crate::cluster::Health;
use crate::config::{AckModel, Target};
use crate::id::{Sn, Ssn, StreamId};
use crate::secret::Secret;
use crate::wire::{Answer, FragmentHead, Frame, Item, NodeBody};

type TestPort = Port<Vec<u8>, Vec<u8>>;

const MS: Duration = Duration::from_millis(1);

/// A source and a target port, and what travels between them.
struct Pair {
    now: Time,
    source: TestPort,
    target: Option<TestPort>,
    target_config: PortConfig,
    source_events: Vec<Event<Vec<u8>, Vec<u8>>>,
    target_events: Vec<Event<Vec<u8>, Vec<u8>>>,
    /// Frames received per (side, path).
    frames: std::collections::BTreeMap<(bool, PathId), u64>,
    conns: Vec<(PathId, ConnId)>,
    /// Paths whose frames vanish without a word.
    silent: Vec<PathId>,
    /// Whether only those from the source do.
    one_way: bool,
    /// Dials that came to nothing, and nobody has said so.
    unanswered: Vec<(PathId, ConnId)>,
    /// Whether node 3 takes sessions, and a target releases its lease when it is told to.
    backup: bool,
}

fn config(paths: u8) -> PortConfig {
    let addresses = (0..paths).map(|k| ([127, 0, 0, k + 1], 7000).into()).collect();
    PortConfig {
        client: "disk".into(),
        targets: vec![
            Target { node: NodeId(2), addresses },
            Target { node: NodeId(3), addresses: vec![([127, 0, 1, 1], 7000).into()] },
        ],
        ..PortConfig::default()
    }
}

fn session() -> SessionId {
    SessionId { node: NodeId(1), incarnation: Incarnation(11), port: 1 }
}

impl Pair {
    fn new(config: PortConfig) -> Pair {
        let mut source = TestPort::source(config.clone(), session(), 1).unwrap();
        source.register().unwrap();
        source.initialize().unwrap();
        Pair {
            now: Time(1_000_000_000),
            source,
            target: None,
            target_config: config,
            source_events: Vec::new(),
            target_events: Vec::new(),
            frames: Default::default(),
            conns: Vec::new(),
            silent: Vec::new(),
            one_way: false,
            unanswered: Vec::new(),
            backup: false,
        }
    }

    fn connected(config: PortConfig) -> Pair {
        let mut pair = Pair::new(config);
        pair.source.connect(pair.now, None).unwrap();
        pair.run();
        assert_eq!(pair.source.state(), State::Connected);
        pair
    }

    fn send(&mut self, stream: u32, payload: &[u8]) -> Result<Sn, SendError> {
        let message = Outbound {
            stream: StreamId(stream),
            len: payload.len() as u32,
            ack: None,
            deadline: None,
            barrier: false,
            payload: payload.to_vec(),
        };
        self.source.send(self.now, message).map_err(|e| e.0)
    }

    /// Runs both ends until neither has anything to do at this moment.
    fn run(&mut self) {
        loop {
            let mut did = self.act(true);
            did |= self.act(false);
            did |= self.carry(true);
            did |= self.carry(false);
            if !did {
                return;
            }
        }
    }

    /// Lets time go by, with the timers that fall into it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let target = self.target.as_ref().map_or(Time::NEVER, |t| t.poll_timeout());
            let next = self.source.poll_timeout().min(target);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if self.source.poll_timeout() <= self.now {
                self.source.handle_timeout(self.now);
            }
            if let Some(target) = &mut self.target
                && target.poll_timeout() <= self.now
            {
                target.handle_timeout(self.now);
            }
            self.run();
        }
        self.now = end;
    }

    fn act(&mut self, from_source: bool) -> bool {
        let mut did = false;
        let mut actions = VecDeque::new();
        let port = if from_source { Some(&mut self.source) } else { self.target.as_mut() };
        let Some(port) = port else { return false };
        while let Some(action) = port.poll_action() {
            actions.push_back(action);
        }
        let events = if from_source { &mut self.source_events } else { &mut self.target_events };
        let mut taken = Queue::default();
        port.handle_told(self.now);
        port.take_events(true, &mut taken);
        did |= !taken.is_empty();
        events.extend(std::iter::from_fn(|| taken.pop_front()));
        for action in actions {
            did = true;
            self.perform(action, from_source);
        }
        did
    }

    fn perform(&mut self, action: Action, from_source: bool) {
        match action {
            Action::Tell { node: NodeId(2), body: NodeBody::Connect(connect), .. } => {
                if self.silent.len() >= self.source.paths.len() && !self.silent.is_empty() {
                    return; // Nobody hears it.
                }
                let now = self.now;
                let config = self.target_config.clone();
                let target = self.target.get_or_insert_with(|| {
                    TestPort::target(config, &connect, Secret::new([7; 32]), now, 2).unwrap()
                });
                if connect.resets() && target.generation() < connect.generation {
                    target.handle_reset(now, &connect, Secret::new([7; 32])).unwrap();
                }
                let answer = target.answer(Vec::new());
                self.source.handle_answer(now, &answer);
            }
            Action::Tell { node: NodeId(3), body: NodeBody::Connect(connect), .. } if self.backup => {
                let known = self.target.as_ref().is_some_and(|t| t.generation() == connect.generation);
                if !known {
                    let config = self.target_config.clone();
                    let made = TestPort::target(config, &connect, Secret::new([7; 32]), self.now, 2).unwrap();
                    self.target = Some(made);
                }
                let answer = self.target.as_ref().unwrap().answer(Vec::new());
                self.source.handle_answer(self.now, &answer);
            }
            Action::Tell { body: NodeBody::Revoke { generation, .. }, .. } if self.backup => {
                self.source.handle_released(self.now, generation);
            }
            Action::Tell { .. }
            | Action::Watch { .. }
            | Action::Unwatch { .. }
            | Action::Rearm { .. }
            | Action::Revoke => {}
            Action::Dial { path, conn, generation, secret, .. } => {
                assert_eq!(secret, Secret::new([7; 32]));
                if self.silent.contains(&path) {
                    self.unanswered.push((path, conn));
                    return;
                }
                let target = self.target.as_mut().unwrap();
                target.judge_conn(path, conn, generation).unwrap();
                target.handle_conn_up(self.now, path, conn);
                self.source.handle_conn_up(self.now, path, conn);
                self.conns.retain(|c| c.0 != path);
                self.conns.push((path, conn));
                self.frames.insert((true, path), 0);
                self.frames.insert((false, path), 0);
            }
            Action::Hangup { path, conn, farewell } => {
                self.conns.retain(|c| *c != (path, conn));
                let Some(other) = (if from_source { self.target.as_mut() } else { Some(&mut self.source) })
                else {
                    return;
                };
                if let Some(frame) = farewell {
                    let _ = other.handle_inbound(
                        self.now,
                        path,
                        conn,
                        u64::MAX,
                        &mut vec![Inbound::Frame(Box::new(frame))],
                        true,
                    );
                }
                if !self.silent.contains(&path) {
                    other.handle_conn_lost(self.now, path, conn, Reason::ConnectionLost);
                }
            }
            Action::Assemble { sn } => {
                let port = if from_source { &mut self.source } else { self.target.as_mut().unwrap() };
                let parts = port.take_parts(sn).unwrap();
                port.handle_assembled(self.now, sn, vec![0; parts.total as usize]);
            }
        }
    }

    /// Carries what one side has for each connection to the other.
    fn carry(&mut self, from_source: bool) -> bool {
        let mut did = false;
        let kicks = match &mut self.target {
            Some(target) => {
                if from_source {
                    self.source.take_kicks()
                } else {
                    target.take_kicks()
                }
            }
            None => return false,
        };
        for (path, conn) in self.conns.clone().into_iter().filter(|c| kicks >> c.0.0 & 1 == 1) {
            let Some(target) = &mut self.target else { return false };
            let (from, to) =
                if from_source { (&mut self.source, target) } else { (target, &mut self.source) };
            let mut batch = Batch::default();
            while from.poll_transmit(self.now, path, conn, &mut batch) {
                did = true;
                let frames = self.frames.entry((from_source, path)).or_default();
                let mut items = Vec::new();
                let mut payloads = std::mem::take(&mut batch.payloads).into_iter();
                for frame in &batch.frames {
                    *frames += 1;
                    unpack(frame, &batch.items, &mut payloads, to, self.now, (path, conn), &mut items);
                }
                if !self.silent.contains(&path) || (self.one_way && !from_source) {
                    to.handle_inbound(self.now, path, conn, *frames, &mut items, true).unwrap();
                }
            }
        }
        did
    }

    fn break_path(&mut self, path: u16) {
        let at = self.conns.iter().position(|c| c.0.0 == path).unwrap();
        let (path, conn) = self.conns.remove(at);
        self.source.handle_conn_lost(self.now, path, conn, Reason::ConnectionLost);
        self.target.as_mut().unwrap().handle_conn_lost(self.now, path, conn, Reason::ConnectionLost);
    }

    /// The source dials a broken path until it is up.
    fn come_back(&mut self, path: u16) {
        while self.conns.iter().all(|c| c.0.0 != path) {
            self.pass(MS);
        }
        self.run();
    }

    fn received(&self) -> Vec<(u32, u64, Vec<u8>)> {
        self.target_events
            .iter()
            .filter_map(|e| match e {
                Event::Received(m) => Some((m.stream.0, m.ssn.0, m.payload.clone())),
                _ => None,
            })
            .collect()
    }

    fn completed(&self) -> Vec<(u64, i32)> {
        self.source_events
            .iter()
            .filter_map(|e| match e {
                Event::Completed { sn, rc, .. } => Some((sn.0, *rc)),
                _ => None,
            })
            .collect()
    }

    fn nacked(&self) -> Vec<(u64, Reason, Certainty)> {
        self.source_events
            .iter()
            .filter_map(|e| match e {
                Event::Nacked { sn, reason, certainty, .. } => Some((sn.0, *reason, *certainty)),
                _ => None,
            })
            .collect()
    }
}

/// Joined by copying, so that it happens wherever it may.
impl Payload for Vec<u8> {
    fn join(&mut self, next: &Self) -> bool {
        self.extend(next);
        true
    }
}

fn unpack(
    frame: &Outgoing<Vec<u8>>,
    out_items: &[OutItem],
    payloads: &mut std::vec::IntoIter<Vec<u8>>,
    to: &mut TestPort,
    now: Time,
    (path, conn): (PathId, ConnId),
    items: &mut Vec<Inbound<Vec<u8>>>,
) {
    match frame {
        Outgoing::Control(frame) => items.push(Inbound::Frame(Box::new(frame.clone()))),
        Outgoing::Bundle { head, items: range, body_len } => {
            let (mut stream, mut ssn, mut size) = (head.stream, head.ssn, 0);
            assert_eq!(usize::from(head.count), range.len());
            let mut rest = Vec::new();
            for (k, out) in out_items[range.clone()].iter().enumerate() {
                if out.bytes == ItemBytes::Next {
                    assert_eq!(rest, b"", "of the payload before");
                    rest = payloads.next().unwrap();
                }
                let behind = rest.split_off(out.len as usize);
                let payload = std::mem::replace(&mut rest, behind);
                if let Some(named) = out.stream {
                    (stream, ssn) = named;
                    size += 12;
                }
                size += 4 + out.len;
                let item = Item {
                    sn: Sn(head.sn.0 + k as u64),
                    stream,
                    ssn,
                    flags: out.flags,
                    offset: 0,
                    len: out.len,
                };
                items.push(Inbound::Message { item, payload });
                ssn = ssn.next();
            }
            assert_eq!(size, *body_len);
        }
        Outgoing::Fragment { head, len, payload } if *len == head.total => {
            let item = Item {
                sn: head.sn,
                stream: head.stream,
                ssn: head.ssn,
                flags: head.flags,
                offset: 0,
                len: *len,
            };
            items.push(Inbound::Message { item, payload: payload.clone() });
        }
        Outgoing::Fragment { head, len, payload } => {
            let mut place = to.begin_fragment(now, path, conn, head, *len, None).unwrap();
            if place == Placement::NeedBuffer {
                place = to.begin_fragment(now, path, conn, head, *len, Some(payload.clone())).unwrap();
            }
            match place {
                Placement::Discard => {}
                Placement::NeedBuffer => unreachable!(),
                Placement::Into(_) => {
                    items.push(Inbound::Fragment { sn: head.sn, offset: head.offset, len: *len })
                }
                Placement::Aside => {
                    items.push(Inbound::Aside {
                        sn: head.sn,
                        offset: head.offset,
                        len: *len,
                        payload: Vec::new(),
                    });
                }
            }
        }
    }
}

/// [L1] [A1] Connect, a message, the user's acknowledgment with its code, close twice.
#[test]
fn a_message_and_its_acknowledgment() {
    let mut pair = Pair::connected(config(4));
    assert!(matches!(
        pair.source_events[0],
        Event::Status(ConnStatus::Connected { node: NodeId(2), paths_up: 1, paths: 4, .. })
    ));
    let sn = pair.send(0, b"hello").unwrap();
    pair.run();
    assert_eq!(pair.received(), [(0, 1, b"hello".to_vec())]);
    assert_eq!(pair.completed(), []);
    let target = pair.target.as_mut().unwrap();
    target.ack(pair.now, sn, 42).unwrap();
    assert_eq!(target.ack(pair.now, sn, 42), Err(AckError::NotOwed { sn }));
    pair.run();
    assert_eq!(pair.completed(), [(sn.0, 42)]);
    pair.source.close(pair.now, false).unwrap();
    assert_eq!(pair.source.state(), State::Stopped);
    pair.source.close(pair.now, false).unwrap();
    pair.run();
    assert_eq!(pair.source.state(), State::Initialized);
    assert_eq!(pair.target.as_ref().unwrap().state(), State::Registered);
}

/// [M1] [M2] Sizes from nothing to many fragments, several streams, four paths: all there, in order per stream.
#[test]
fn sizes_and_streams() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(4) });
    let sizes = [0, 1, 64, 2048, 2049, 65_536, 262_144, 262_145, 1_000_000];
    for round in 0..20u32 {
        for (k, size) in sizes.iter().enumerate() {
            pair.send((round + k as u32) % 3, &vec![k as u8; *size]).unwrap();
        }
        pair.run();
        let costs: u64 = sizes.iter().map(|s| *s as u64 + 256).sum();
        pair.target.as_mut().unwrap().release(pair.now, CreditToken { epoch: 0, cost: costs });
        pair.run();
    }
    assert_eq!(pair.received().len(), 180);
    assert_eq!(pair.completed().len(), 180);
    for stream in 0..3 {
        let ssns: Vec<u64> = pair.received().iter().filter(|m| m.0 == stream).map(|m| m.1).collect();
        assert!(ssns.iter().copied().eq(1..=ssns.len() as u64), "stream {stream}: {ssns:?}");
    }
    pair.source.sender.check();
}

/// [T2] A path breaks with data on it: the data goes again elsewhere, once; the user sees a path event and nothing else.
#[test]
fn a_broken_path_is_hidden() {
    let mut pair = Pair::connected(PortConfig {
        ack: AckModel::Asynchronous,
        balance: crate::config::Balance::RoundRobin,
        ..config(2)
    });
    pair.silent = vec![PathId(1)];
    for k in 0..40u8 {
        pair.send(0, &[k; 3000]).unwrap();
        pair.run();
    }
    assert!(pair.received().len() < 40);
    pair.break_path(1);
    pair.pass(MS * 100);
    assert_eq!(pair.received().len(), 40);
    assert_eq!(pair.completed().len(), 40);
    assert!(pair.nacked().is_empty());
    let paths: Vec<_> = pair
        .source_events
        .iter()
        .filter(|e| matches!(e, Event::Path { path: PathId(1), health: Health::Dead, .. }))
        .collect();
    assert_eq!(paths.len(), 1);
    pair.source.sender.check();
}

/// [T3] A path that swallows data is suspected after `suspect`, not before, and what it had goes elsewhere.
#[test]
fn a_silent_path_is_suspected() {
    let mut pair = Pair::connected(PortConfig {
        ack: AckModel::Asynchronous,
        balance: crate::config::Balance::RoundRobin,
        ..config(2)
    });
    for _ in 0..2 {
        pair.send(0, b"warm").unwrap();
        pair.run();
    }
    pair.silent = vec![PathId(0), PathId(1)];
    pair.send(0, b"lost").unwrap();
    pair.run();
    pair.silent = vec![PathId(0)];
    pair.pass(MS * 190);
    assert_eq!(pair.received().len(), 2);
    assert_eq!(pair.source.stats().suspicions, 0);
    pair.pass(MS * 60);
    assert_eq!(pair.received().len(), 3, "sent again on the good path");
    assert!(pair.source.stats().suspicions >= 1);
}

/// [F2] Down, each unfinished message nacked oldest first with its certainty, drained; sends fail from then on.
#[test]
fn down_then_nacks_then_drained() {
    let mut pair = Pair::connected(PortConfig { window: 65_536, ..config(1) });
    for _ in 0..4 {
        pair.send(0, &[0; 20_000]).unwrap();
    }
    pair.run();
    pair.source_events.clear();
    pair.silent = vec![PathId(0)];
    let last_heard = pair.now;
    pair.pass(MS * 1600);
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Unreachable { last_heard });
    assert_eq!(pair.send(0, b"x"), Err(SendError::Down));
    pair.run();
    assert!(matches!(
        pair.source_events[0],
        Event::Status(ConnStatus::Down { node: NodeId(2), reason: Reason::Unreachable, .. })
    ));
    let unknown = (Reason::Unreachable, Certainty::Unknown);
    let expected: Vec<_> =
        [(1, unknown), (2, unknown), (3, unknown), (4, (Reason::Unreachable, Certainty::NotSent))]
            .map(|(sn, (r, c))| (sn, r, c))
            .into();
    assert_eq!(pair.nacked(), expected);
    assert_eq!(pair.source_events.last(), Some(&Event::Status(ConnStatus::Drained)));
    assert_eq!(pair.source_events.len(), 6);
}

/// [M7] No more is in flight than the window, and a message above it goes alone; a release lets the next go.
#[test]
fn credit_bounds_what_is_sent() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, window: 65_536, ..config(2) });
    for _ in 0..3 {
        pair.send(0, &[0; 50_000]).unwrap();
    }
    pair.send(0, &[1; 200_000]).unwrap();
    pair.run();
    assert_eq!(pair.received().len(), 1);
    for k in 1..4 {
        let cost = pair.received().last().unwrap().2.len() as u64 + 256;
        pair.target.as_mut().unwrap().release(pair.now, CreditToken { epoch: 0, cost });
        pair.pass(MS * 600);
        assert_eq!(pair.received().len(), k + 1);
    }
    assert_eq!(pair.received()[3].2.len(), 200_000);
}

/// [F8] [F5] A switch waits until the former target can deliver no more, as the node knows it, and no longer.
#[test]
fn a_switch_waits_for_the_lease() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
    pair.send(0, b"x").unwrap();
    pair.run();
    let former = pair.source.generation();
    pair.silent = vec![PathId(0)];
    pair.break_path(0);
    pair.pass(MS * 1550);
    assert_eq!(pair.source.link(), Link::Switching, "no path for the dead time");
    let answer =
        Answer { generation: pair.source.generation(), ..pair.target.as_ref().unwrap().answer(Vec::new()) };
    pair.source.handle_answer(pair.now, &answer);
    while let Some(action) = pair.source.poll_action() {
        if let Action::Dial { path, conn, .. } = action {
            pair.source.handle_conn_up(pair.now, path, conn);
        }
    }
    assert_eq!(pair.source.link(), Link::Switching, "nobody has said when the lease ends");
    pair.source.handle_fenced(pair.now, former, pair.now + MS * 100);
    pair.source.handle_timeout(pair.now + MS * 100);
    assert_eq!(pair.source.link(), Link::Switching, "clocks may not run alike");
    let over = pair.source.poll_timeout();
    assert!(over <= pair.now + MS * 130, "{over:?}");
    pair.source.handle_timeout(pair.now + MS * 130);
    assert_eq!(pair.source.link(), Link::Up);
}

/// [M7] One event when the backlog passes the high mark, one when it falls to the low one, never two of a kind in a row.
#[test]
fn flow_is_told_once_each_way() {
    let marks = PortConfig { send_buffer_max: 100_000, flow_high: 60, flow_low: 20, ..config(1) };
    let mut pair = Pair::connected(marks);
    for _ in 0..3 {
        for _ in 0..9 {
            pair.send(0, &[0; 10_000]).unwrap();
        }
        pair.run();
        let target = pair.target.as_mut().unwrap();
        for sn in pair
            .target_events
            .drain(..)
            .filter_map(|e| if let Event::Received(m) = e { Some(m.sn) } else { None })
        {
            target.ack(pair.now, sn, 0).unwrap();
        }
        pair.run();
    }
    let flows: Vec<_> = pair
        .source_events
        .iter()
        .filter_map(|e| {
            if let Event::Flow { on, reason, bytes, .. } = e { Some((*on, *reason, *bytes)) } else { None }
        })
        .collect();
    assert_eq!(flows.len(), 6, "{flows:?}");
    for pair in flows.chunks(2) {
        assert_eq!(pair[0], (true, FlowReason::Path, 70_000));
        assert!(!pair[1].0 && pair[1].2 <= 20_000);
    }
}

/// [L1] Every (call, state, link) has the outcome of the table, and a refused call names call, state and link.
#[test]
fn fig_7_is_a_table() {
    let allowed: usize = Call::ALL
        .iter()
        .flat_map(|call| State::ALL.iter().map(move |s| (call, s)))
        .flat_map(|(call, state)| Link::ALL.iter().map(move |l| state::next(*call, *state, *l).is_ok()))
        .filter(|ok| *ok)
        .count();
    assert_eq!(allowed, 250);
    let refused = state::next(Call::Send, State::Stopped, Link::Drained).unwrap_err();
    assert_eq!(refused.to_string(), "send is not allowed while the port is STOPPED (link down and drained)");
    assert!(graph().contains("STOPPED -> INITIALIZED [label=\"close\"]"));
}

/// [F8] A target whose own user has closed delivers nothing more: the source may be with another target by then.
#[test]
fn a_closed_target_delivers_nothing() {
    let mut pair = Pair::connected(config(1));
    pair.send(1, b"late").unwrap();
    while pair.carry(true) {}
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    assert!(target.has_events());
    target.close(now, true).unwrap();
    assert_eq!(target.state(), State::Registered);
    while let Some(event) = target.poll_event(true) {
        assert!(!matches!(event, Event::Received(_)), "{event:?} after the end of the session");
    }
}

/// [F8] Without a lease the messages wait, and what comes before them does not; with one they come all at once, in order.
#[test]
fn events_are_taken_up_to_the_first_message_that_waits() {
    let mut pair = Pair::connected(config(1));
    let target = pair.target.as_mut().expect("a target");
    assert!(!target.has_events());
    target.events.status(ConnStatus::Drained);
    for _ in 0..3 {
        pair.send(1, b"message").expect("is accepted");
    }
    while pair.carry(true) {}
    let target = pair.target.as_mut().expect("a target");
    let mut taken = Queue::default();
    target.take_events(false, &mut taken);
    assert!(matches!(taken.front(), Some(Event::Status(ConnStatus::Drained))));
    target.take_events(false, &mut taken);
    assert_eq!(taken.iter().count(), 1);
    taken = Queue::default();
    target.take_events(true, &mut taken);
    let numbers: Vec<u64> =
        taken.iter().filter_map(|e| if let Event::Received(r) = e { Some(r.sn.0) } else { None }).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(!target.has_events());
}

/// [M8] A range that a lost connection was reading into the message's buffer is not given to another: its reader may still be writing
/// there. It comes aside, and the message is built from its parts.
#[test]
fn a_lost_reader_keeps_its_range() {
    let mut pair = Pair::connected(config(2));
    let now = pair.now;
    let target = pair.target.as_mut().expect("a target");
    let head = |offset| FragmentHead {
        sn: Sn(1),
        ssn: Ssn(1),
        stream: StreamId(1),
        offset,
        total: 100,
        flags: wire::item::START,
    };
    let mut begin = |path: u16, offset, len, offered: Option<Vec<u8>>| {
        target
            .begin_fragment(now, PathId(path), ConnId(1), &head(offset), len, offered)
            .expect("a good fragment")
    };
    assert_eq!(begin(0, 0, 60, None), Placement::NeedBuffer);
    assert_eq!(begin(0, 0, 60, Some(vec![0; 100])), Placement::Into(vec![0; 100]));
    assert_eq!(begin(1, 60, 40, None), Placement::Into(vec![0; 100]), "another range");
    target.handle_conn_lost(now, PathId(0), ConnId(1), Reason::ConnectionLost);
    let parts = |target: &mut TestPort, items: Vec<Inbound<Vec<u8>>>, frames| {
        target.handle_inbound(now, PathId(1), ConnId(1), frames, &mut items.into_iter().collect(), true)
    };
    parts(target, vec![Inbound::Fragment { sn: Sn(1), offset: 60, len: 40 }], 10).expect("is taken");
    let again = target.begin_fragment(now, PathId(1), ConnId(1), &head(0), 60, None);
    assert_eq!(again, Ok(Placement::Aside));
    let aside = Inbound::Aside { sn: Sn(1), offset: 0, len: 60, payload: vec![1; 60] };
    parts(target, vec![aside], 11).expect("is taken");
    let mut build = false;
    while let Some(action) = target.poll_action() {
        build |= matches!(action, Action::Assemble { sn: Sn(1) });
    }
    assert!(build);
    let parts = target.take_parts(Sn(1)).expect("the parts");
    assert_eq!((parts.ranges, parts.asides), (vec![(60, 100)], vec![(0, 60, vec![1; 60])]));
}

/// [F8] A message that was being put together when the lease was taken away is not delivered afterwards.
#[test]
fn what_is_assembled_after_a_revocation_is_not_delivered() {
    let mut pair = Pair::connected(config(2));
    let now = pair.now;
    let target = pair.target.as_mut().unwrap();
    let head = FragmentHead { sn: Sn(1), ssn: Ssn(1), stream: StreamId(1), offset: 0, total: 8, flags: 0x02 };
    let (one, two) = (pair.conns[0], pair.conns[1]);
    // The first connection holds the claim on the first half, and what comes there again goes aside.
    let whole = vec![0; 8];
    assert!(matches!(
        target.begin_fragment(now, one.0, one.1, &head, 4, Some(whole)),
        Ok(Placement::Into(_))
    ));
    assert!(matches!(target.begin_fragment(now, two.0, two.1, &head, 4, None), Ok(Placement::Aside)));
    let second = FragmentHead { offset: 4, ..head };
    let mut items = vec![Inbound::Aside { sn: Sn(1), offset: 0, len: 4, payload: vec![1; 4] }];
    target.handle_inbound(now, two.0, two.1, 2, &mut items, true).unwrap();
    assert!(matches!(target.begin_fragment(now, two.0, two.1, &second, 4, None), Ok(Placement::Into(_))));
    let mut items = vec![Inbound::Fragment { sn: Sn(1), offset: 4, len: 4 }];
    target.handle_inbound(now, two.0, two.1, 3, &mut items, true).unwrap();
    let assemble = std::iter::from_fn(|| target.poll_action()).any(|a| a == Action::Assemble { sn: Sn(1) });
    assert!(assemble, "both halves are here");
    target.handle_revoke(now, target.generation());
    target.handle_assembled(now, Sn(1), vec![1; 8]);
    while let Some(event) = target.poll_event(true) {
        assert!(!matches!(event, Event::Received(_)), "{event:?} after the lease was taken away");
    }
}
