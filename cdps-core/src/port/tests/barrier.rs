//! Barriers (M9): after everything before, before everything after, on all streams.

use super::*;
use crate::config::Balance;

fn with(ack: AckModel, paths: u8) -> PortConfig {
    PortConfig { ack, balance: Balance::RoundRobin, ..config(paths) }
}

impl Pair {
    fn send_barrier(&mut self, stream: u32, payload: &[u8]) -> Sn {
        self.send_barrier_within(stream, payload, None)
    }

    fn send_barrier_within(&mut self, stream: u32, payload: &[u8], deadline: Option<Duration>) -> Sn {
        let (now, len, payload) = (self.now, payload.len() as u32, payload.to_vec());
        let message = Outbound { stream: StreamId(stream), len, ack: None, deadline, barrier: true, payload };
        self.source.send(now, message).expect("is accepted")
    }

    /// Numbers of what came, in order.
    fn order(&self) -> Vec<u64> {
        let sn = |e: &Event<_, _>| if let Event::Received(m) = e { Some(m.sn.0) } else { None };
        self.target_events.iter().filter_map(sn).collect()
    }
}

/// [M9] A message that is late on its path holds the barrier, and with it everything behind, on whatever stream and path; nothing else is
/// in the way. A receipt that nobody hurries is asked for, so that all of it happens without any time going by.
#[test]
fn it_waits_for_all_and_all_wait_for_it() {
    for ack in [AckModel::Synchronous, AckModel::Asynchronous, AckModel::Sent] {
        let mut pair = Pair::connected(with(ack, 2));
        pair.silent = vec![PathId(0)];
        pair.send(1, &[0; 3000]).unwrap();
        pair.run();
        pair.send(2, &[1; 3000]).unwrap();
        pair.run();
        let lost = if pair.order() == [1] { 2 } else { 1 };
        assert_eq!(pair.order(), [3 - lost]);
        pair.send_barrier(3, &[]);
        pair.send(2, &[3; 5000]).unwrap();
        pair.send(4, b"later").unwrap();
        pair.send_barrier(4, b"barrier");
        pair.send_barrier(5, &[5; 100_000]);
        pair.send(1, b"last").unwrap();
        pair.run();
        assert_eq!(pair.order(), [3 - lost], "{ack:?}");
        pair.silent.clear();
        let before = pair.now;
        pair.break_path(0);
        pair.run();
        assert_eq!(pair.order(), [3 - lost, lost, 3, 4, 5, 6, 7, 8], "{ack:?}");
        assert_eq!(pair.now, before);
        pair.source.sender.check();
    }
}

impl Pair {
    /// What a connection is given now: the first number of each bundle, and how many are in it.
    fn bundles(&mut self, (path, conn): (PathId, ConnId)) -> Vec<(u64, u16)> {
        let mut batch = Batch::default();
        let mut bundles = Vec::new();
        while self.source.poll_transmit(self.now, path, conn, &mut batch) {
            bundles.extend(batch.frames.iter().filter_map(|f| match f {
                Outgoing::Bundle { head, .. } => Some((head.sn.0, head.count)),
                Outgoing::Control(_) | Outgoing::Fragment { .. } => None,
            }));
        }
        bundles
    }

    /// A receipt comes.
    fn receipt(&mut self, (path, conn): (PathId, ConnId), cumulative: u64) {
        let receipt = wire::Receipt {
            cumulative: Sn(cumulative),
            credit: 1 << 24,
            high_credit: None,
            completions_seen: 0,
            gaps: Vec::new(),
            paths: Vec::new(),
        };
        let mut items = vec![Inbound::Frame(Box::new(Frame::Receipt(receipt)))];
        self.source.handle_inbound(self.now, path, conn, 1, &mut items, true).unwrap();
    }
}

/// [M9] [A5] Receipts for synchronous messages may wait for their acknowledgments; not where a barrier waits for them.
#[test]
fn receipts_are_asked_for() {
    let mut pair = Pair::connected(with(AckModel::Synchronous, 2));
    for stream in 0..4 {
        pair.send(stream, &[0; 3000]).unwrap();
        pair.run();
    }
    pair.send_barrier(4, b"barrier");
    pair.run();
    assert_eq!(pair.order(), [1, 2, 3, 4, 5]);
    pair.send(5, b"behind").unwrap();
    pair.run();
    assert_eq!(pair.order(), [1, 2, 3, 4, 5, 6]);
    assert!(pair.completed().is_empty(), "nothing was acknowledged");
}

/// [M9] A barrier begins to travel when the last receipt before it has come, not sooner, and what is behind it when its own has.
#[test]
fn it_begins_when_the_others_are_received() {
    let mut pair = Pair::connected(with(AckModel::Asynchronous, 1));
    pair.send(1, b"before").unwrap();
    pair.send_barrier(1, b"barrier");
    pair.send(1, b"after").unwrap();
    let conn = pair.conns[0];
    assert_eq!(pair.bundles(conn), [(1, 1)]);
    pair.receipt(conn, 0);
    assert_eq!(pair.bundles(conn), []);
    pair.receipt(conn, 1);
    assert_eq!(pair.bundles(conn), [(2, 1)]);
    assert_eq!(pair.bundles(conn), []);
    pair.receipt(conn, 2);
    assert_eq!(pair.bundles(conn), [(3, 1)]);
}

/// [M9] [M10] A barrier that is given up holds nobody; what it was to keep apart goes together.
#[test]
fn one_that_is_late_is_none() {
    let mut pair = Pair::connected(with(AckModel::Asynchronous, 2));
    pair.silent = vec![PathId(0), PathId(1)];
    pair.send(1, b"lost").unwrap();
    pair.run();
    pair.silent.clear();
    pair.send_barrier_within(2, b"barrier", Some(MS * 10));
    pair.send(3, b"behind").unwrap();
    pair.run();
    assert_eq!(pair.order(), []);
    pair.pass(MS * 11);
    assert_eq!(pair.nacked(), [(2, Reason::Timeout, Certainty::NotSent)]);
    assert_eq!(pair.order(), [3]);
    pair.source.sender.check();
}

/// [M9] [F5] At another target the barrier stands between the same messages, also when it has ended and what was before it has not: the
/// user of the former target had it, and had not acknowledged what was before. A port that was suspended meanwhile does the same.
#[test]
fn it_stands_at_another_target() {
    for (ended, suspended) in [(false, false), (true, false), (false, true)] {
        let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
        pair.backup = true;
        pair.send(1, b"before").unwrap();
        let barrier = pair.send_barrier(2, b"barrier");
        pair.send(3, b"after").unwrap();
        pair.run();
        assert_eq!(pair.order(), [1, 2, 3]);
        if ended {
            let now = pair.now;
            pair.target.as_mut().unwrap().ack(now, barrier, 0).unwrap();
            pair.run();
        }
        if suspended {
            pair.source.suspend().unwrap();
        }
        let former = pair.source.generation();
        pair.silent = vec![PathId(0)];
        pair.break_path(0);
        pair.backup = false;
        pair.pass(MS * 1550);
        let answer = pair.target.as_ref().unwrap().answer(Vec::new());
        let answer = Answer { generation: pair.source.generation(), ..answer };
        pair.source.handle_answer(pair.now, &answer);
        pair.source.handle_released(pair.now, former);
        let dial = std::iter::from_fn(|| pair.source.poll_action())
            .find_map(|a| if let Action::Dial { path, conn, .. } = a { Some((path, conn)) } else { None })
            .expect("a dial");
        pair.source.handle_conn_up(pair.now, dial.0, dial.1);
        for sn in 1..=3 {
            assert_eq!(pair.bundles(dial), [(sn, 1)], "{ended}");
            assert_eq!(pair.bundles(dial), []);
            pair.receipt(dial, sn);
        }
        assert!(pair.nacked().is_empty());
        pair.source.sender.check();
    }
}

/// [M9] [L7] [L5] What a suspended port holds keeps its barriers; a stop nacks what waits behind one, and a close waits for all.
#[test]
fn suspend_stop_and_close() {
    let mut pair = Pair::connected(with(AckModel::Asynchronous, 2));
    pair.source.suspend().unwrap();
    pair.send(1, b"before").unwrap();
    pair.send_barrier(2, b"barrier");
    pair.send(3, b"after").unwrap();
    pair.run();
    assert_eq!(pair.order(), []);
    pair.source.close(pair.now, false).unwrap();
    pair.run();
    assert_eq!(pair.order(), [1, 2, 3]);
    assert!(pair.source_events.contains(&Event::Status(ConnStatus::Drained)));

    let mut pair = Pair::connected(with(AckModel::Asynchronous, 2));
    pair.silent = vec![PathId(0), PathId(1)];
    pair.send_barrier(1, b"barrier");
    pair.run();
    let behind = pair.send(2, b"behind").unwrap();
    pair.source.stop(pair.now).unwrap();
    pair.silent.clear();
    pair.break_path(0);
    pair.break_path(1);
    pair.pass(MS * 3000);
    assert_eq!(
        (pair.order(), pair.nacked()),
        (vec![1], vec![(behind.0, Reason::Stopped, Certainty::NotSent)])
    );
    assert!(pair.source_events.contains(&Event::Status(ConnStatus::Drained)));
}

/// [M9] [F2] A connection that goes down takes its barriers along.
#[test]
fn none_is_left_after_a_down() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Asynchronous, ..config(1) });
    pair.backup = true;
    pair.source.suspend().unwrap();
    pair.send(1, b"before").unwrap();
    pair.send_barrier(2, b"barrier");
    pair.source.resume(pair.now).unwrap();
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    pair.run();
    assert_eq!(pair.nacked().len(), 2);
    pair.source.connect(pair.now, Some(NodeId(3))).unwrap();
    pair.run();
    pair.send(1, b"new").unwrap();
    pair.send(2, b"newer").unwrap();
    pair.run();
    assert_eq!(pair.order(), [3, 4]);
}

/// [M9] [M3] A target's messages have barriers as well.
#[test]
fn a_target_has_barriers() {
    let mut pair = Pair::connected(with(AckModel::Asynchronous, 2));
    pair.silent = vec![PathId(0)];
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    let message = |stream: u32, barrier: bool| Outbound {
        stream: StreamId(stream),
        len: 3000,
        ack: None,
        deadline: None,
        barrier,
        payload: vec![0; 3000],
    };
    target.send(now, message(1, false)).unwrap();
    pair.run();
    pair.target.as_mut().unwrap().send(now, message(2, false)).unwrap();
    pair.run();
    let came = |pair: &Pair| {
        let stream = |e: &Event<_, _>| if let Event::Received(m) = e { Some(m.stream.0) } else { None };
        pair.source_events.iter().filter_map(stream).collect::<Vec<u32>>()
    };
    let first = came(&pair);
    pair.target.as_mut().unwrap().send(now, message(3, true)).unwrap();
    pair.target.as_mut().unwrap().send(now, message(4, false)).unwrap();
    pair.run();
    assert_eq!(came(&pair), first);
    assert!(first == [1] || first == [2], "{first:?}");
    pair.silent.clear();
    pair.break_path(0);
    pair.run();
    assert_eq!(came(&pair)[1..], [3 - first[0], 3, 4]);
}
