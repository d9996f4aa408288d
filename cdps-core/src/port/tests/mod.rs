//! Two ports wired back to back, without bytes: what one gives out the other takes in.

mod backups;
mod barrier;
mod basics;
mod changed;
mod choices;
mod classes;
mod closing;
mod contradictions;
mod deadline;
mod decisions;
mod feedback;
mod grace;
mod lease;
mod live;
mod one_way;
mod overdue;
mod planned;
mod rejoin;
mod reset;
mod standby;
mod streams;
mod suspend;

use std::collections::VecDeque;

use super::*;
use crate::cluster::Health;
use crate::config::{AckModel, Priority, Target};
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
    /// Messages with this first byte were changed by their user: what is not written yet of those that are cut is refused.
    spoilt: Option<u8>,
    /// Whether node 3 takes sessions, and a target releases its lease when it is told to.
    backup: bool,
    /// Whether node 2 is of the first release, and knows no features.
    first_release: bool,
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
            spoilt: None,
            backup: false,
            first_release: false,
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
                let features = if self.first_release { 0 } else { connect.features };
                let connect = Connect { features, ..connect };
                let target = self.target.get_or_insert_with(|| {
                    TestPort::target(config, &connect, Secret::new([7; 32]), now, 2).unwrap()
                });
                if connect.resets() && target.generation() < connect.generation {
                    target.handle_reset(now, &connect, Secret::new([7; 32])).unwrap();
                }
                let answer = target.answer(Vec::new());
                let features = if self.first_release { 0 } else { answer.features };
                self.source.handle_answer(now, &Answer { features, ..answer });
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
                let changed = changed::refuse(&mut batch, self.spoilt);
                from.handle_changed(self.now, path, conn, &changed);
                let frames = self.frames.entry((from_source, path)).or_default();
                let mut items = Vec::new();
                let payloads = std::mem::take(&mut batch.payloads).into_iter();
                let mut payloads = (payloads, Vec::new());
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
    (payloads, rest): &mut (std::vec::IntoIter<Vec<u8>>, Vec<u8>),
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
            for (k, out) in out_items[range.clone()].iter().enumerate() {
                if out.bytes == ItemBytes::Next {
                    assert_eq!(rest, b"", "of the payload before");
                    *rest = payloads.next().unwrap();
                }
                let behind = rest.split_off(out.len as usize);
                let payload = std::mem::replace(rest, behind);
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

/// Bytes given to each path.
fn sent_bytes(pair: &Pair) -> Vec<u64> {
    (0..pair.source.paths.len() as u16)
        .map(|k| pair.source.path_stats(PathId(k)).unwrap().payload_sent)
        .collect()
}
