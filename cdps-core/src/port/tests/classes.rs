//! Priorities (M11): what is high goes first, on credit of its own, and keeps the order of its stream.

use super::*;
use crate::config::StreamContract;

const HIGH: u32 = 9;
const WINDOW: u64 = 64 << 10;

fn narrow(ack: AckModel) -> PortConfig {
    PortConfig { ack, window: WINDOW, high_window: WINDOW, ..config(1) }
}

impl Pair {
    fn contract(
        &mut self,
        stream: u32,
        priority: Priority,
        ack: Option<AckModel>,
    ) -> Result<(), ContractError> {
        self.source.set_stream(StreamId(stream), StreamContract { ack, priority })
    }

    /// Connected, with one stream of high priority.
    fn with_high(config: PortConfig) -> Pair {
        let mut pair = Pair::connected(config);
        pair.contract(HIGH, Priority::High, None).expect("both ends know priorities");
        pair
    }

    /// So much bulk that the target, whose user releases nothing, has no credit left for more.
    fn stuff(&mut self) {
        for _ in 0..40 {
            self.send(1, &[1; 3000]).expect("is accepted");
        }
        self.run();
        assert!(self.source.sender.starved(), "there is credit left");
        self.target_events.retain(|e| matches!(e, Event::Received(_)));
    }

    /// Numbers that the connection is given now, and which of them say that they are high.
    fn handed_out(&mut self) -> (Vec<u64>, Vec<u64>) {
        let (path, conn) = self.conns[0];
        let mut batch = Batch::default();
        assert!(self.source.poll_transmit(self.now, path, conn, &mut batch));
        let mut all = Vec::new();
        let mut high = Vec::new();
        for frame in &batch.frames {
            let Outgoing::Bundle { head, items, .. } = frame else { continue };
            for (sn, out) in (head.sn.0..).zip(&batch.items[items.clone()]) {
                all.push(sn);
                high.extend((out.flags & wire::item::HIGH != 0).then_some(sn));
            }
        }
        (all, high)
    }

    fn streams_received(&self) -> Vec<u32> {
        self.received().iter().map(|m| m.0).collect()
    }

    /// The target's user releases what it has got.
    fn release_all(&mut self) {
        let tokens: Vec<CreditToken> = self
            .target_events
            .iter()
            .filter_map(|e| if let Event::Received(m) = e { Some(m.credit) } else { None })
            .collect();
        self.target_events.retain(|e| !matches!(e, Event::Received(_)));
        for token in tokens {
            self.target.as_mut().unwrap().release(self.now, token);
        }
        self.run();
    }
}

/// [M11] The target's user keeps all the bulk it was given. A high message arrives all the same, without any time going by, small or in
/// fragments; and the high class has no more credit than its own.
#[test]
fn it_does_not_wait_for_the_credit_of_others() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    pair.stuff();
    let before = pair.received().len();
    pair.send(HIGH, b"control").unwrap();
    pair.run();
    pair.send(HIGH, &[7; 5000]).unwrap();
    pair.run();
    let got = pair.received();
    assert_eq!(
        got[before..].iter().map(|m| (m.0, m.1, m.2.len())).collect::<Vec<_>>(),
        [(9, 1, 7), (9, 2, 5000)]
    );
    assert_eq!(pair.completed().iter().filter(|c| c.0 > 40).count(), 2, "{:?}", pair.completed());
    for _ in 0..40 {
        pair.send(HIGH, &[7; 3000]).unwrap();
    }
    pair.run();
    let high = pair.streams_received().iter().filter(|s| **s == HIGH).count();
    assert!((20..24).contains(&high), "{high} on a credit of {WINDOW}");
    for _ in 0..10 {
        pair.release_all();
    }
    assert_eq!(pair.completed().len(), 82);
    pair.source.sender.check();
}

/// [M11] What is high goes before all bulk that waits.
#[test]
fn it_goes_first() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    pair.source.suspend().unwrap();
    for stream in [1, 1, HIGH, HIGH, 2, 1, HIGH] {
        pair.send(stream, &[0; 100]).unwrap();
    }
    pair.run();
    assert!(pair.received().is_empty(), "held");
    pair.source.resume(pair.now).unwrap();
    assert_eq!(pair.handed_out(), (vec![3, 4, 7, 1, 2, 5, 6], vec![3, 4, 7]));
    // One after the other in number, and not of one class.
    pair.send(HIGH, &[0; 100]).unwrap();
    pair.send(1, &[0; 100]).unwrap();
    assert_eq!(pair.handed_out(), (vec![8, 9], vec![8]));
}

/// [M11] A contract comes before the first message, and can name an acknowledgment model.
#[test]
fn a_contract_comes_first() {
    let mut pair = Pair::connected(narrow(AckModel::Asynchronous));
    pair.contract(4, Priority::Normal, Some(AckModel::Synchronous)).unwrap();
    pair.send(4, b"acknowledge").unwrap();
    pair.send(4, b"this too").unwrap();
    pair.send(5, b"do not").unwrap();
    pair.send(4, b"and this").unwrap();
    pair.run();
    let wants: Vec<_> = pair
        .target_events
        .iter()
        .filter_map(|e| if let Event::Received(m) = e { Some((m.stream.0, m.wants_ack())) } else { None })
        .collect();
    assert_eq!(wants, [(4, true), (4, true), (5, false), (4, true)]);
    let late = pair.contract(4, Priority::High, None);
    assert_eq!(late, Err(ContractError::InUse { stream: StreamId(4) }));
}

/// [M11] [U7] A peer of the first release: no contract for high priority while it is the peer; one from before leaves the
/// classes to share their credit, what is high goes first, and nothing on the wire says so.
#[test]
fn a_peer_that_knows_no_priorities() {
    let mut pair = Pair::new(narrow(AckModel::Asynchronous));
    pair.first_release = true;
    pair.contract(HIGH, Priority::High, None).unwrap();
    pair.source.connect(pair.now, None).unwrap();
    pair.run();
    let refused = pair.contract(3, Priority::High, None);
    assert_eq!(refused, Err(ContractError::NoClasses { stream: StreamId(3), node: NodeId(2) }));
    pair.contract(3, Priority::Normal, None).unwrap();
    pair.stuff();
    let before = pair.received().len();
    pair.send(HIGH, &[7; 1000]).unwrap();
    pair.run();
    assert_eq!(pair.received().len(), before, "there is no credit");
    for _ in 0..10 {
        if pair.streams_received().contains(&HIGH) && pair.streams_received()[0] != HIGH {
            assert!(pair.streams_received().is_empty(), "something else went first");
        }
        pair.release_all();
    }
    assert_eq!(pair.completed().len(), 41);
}

/// [M11] [L5] Stop nacks the bulk that has not been begun, also between high messages that were; these finish, and the port drains.
#[test]
fn stop_lets_what_was_begun_finish() {
    let mut pair = Pair::with_high(narrow(AckModel::Synchronous));
    pair.stuff();
    let begun = pair.received().len() as u64;
    let high = pair.send(HIGH, b"control").unwrap();
    pair.pass(MS * 100);
    pair.send(1, b"behind").unwrap();
    pair.source.stop(pair.now).unwrap();
    let nacked: Vec<u64> = (begun + 1..=40).chain([high.0 + 1]).collect();
    pair.run();
    assert_eq!(pair.nacked().iter().map(|n| n.0).collect::<Vec<_>>(), nacked);
    assert!(pair.nacked().iter().all(|n| n.2 == Certainty::NotSent));
    for sn in (1..=begun).chain([high.0]) {
        pair.target.as_mut().unwrap().ack(pair.now, Sn(sn), 0).unwrap();
    }
    pair.run();
    pair.pass(MS * 100);
    assert_eq!(pair.completed().len() as u64, begun + 1);
    assert!(pair.source_events.contains(&Event::Status(ConnStatus::Drained)));
    pair.source.sender.check();
}

/// [M11] [M9] A barrier holds for both classes: nothing high passes it, and it waits for all that is.
#[test]
fn it_does_not_pass_a_barrier() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    pair.stuff();
    let barrier = Outbound {
        stream: StreamId(2),
        len: 7,
        ack: None,
        deadline: None,
        barrier: true,
        payload: b"barrier".to_vec(),
    };
    pair.send(HIGH, b"before").unwrap();
    pair.source.send(pair.now, barrier).unwrap();
    pair.send(HIGH, b"after").unwrap();
    pair.run();
    let of = |pair: &Pair, stream: u32| pair.received().iter().filter(|m| m.0 == stream).count();
    assert_eq!((of(&pair, HIGH), of(&pair, 2)), (1, 0));
    let mut order = Vec::new();
    for _ in 0..10 {
        order.extend(pair.streams_received());
        pair.release_all();
    }
    assert_eq!(order.iter().filter(|s| **s == 1).count(), 40);
    assert_eq!(order[order.len() - 2..], [2, HIGH], "{order:?}");
}

/// [M11] What a receiver tracks is bounded: a high message waits for the bulk before it when there is too much of that, and none of it
/// is lost.
#[test]
fn it_goes_only_so_far_ahead() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    for _ in 0..33_500 {
        pair.send(1, b"").unwrap();
    }
    pair.run();
    let before = pair.received().len();
    assert!(before <= 256, "{before}");
    pair.send(HIGH, b"control").unwrap();
    pair.run();
    assert_eq!(pair.received().len(), before, "it went too far ahead");
    let mut released = 0;
    while !pair.streams_received().contains(&HIGH) {
        released += pair.received().len();
        pair.release_all();
        assert!(released < 33_500, "it came last");
    }
    assert!(released >= 500, "{released}");
    while !pair.target_events.is_empty() {
        pair.release_all();
        pair.target_events.retain(|e| matches!(e, Event::Received(_)));
    }
    assert_eq!(pair.completed().len(), 33_501);
}

/// [M11] [F3] After a reset each class has the credit that its user has not kept.
#[test]
fn each_class_keeps_its_own_credit_across_a_reset() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    pair.send(1, &[0; 1000]).unwrap();
    pair.send(HIGH, &[0; 2000]).unwrap();
    pair.run();
    pair.source.stop(pair.now).unwrap();
    pair.run();
    pair.source.reset(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.source.state(), State::Connected);
    let granted = pair.target.as_ref().unwrap().receiver.granted();
    assert_eq!(granted, (WINDOW - 1256, Some(WINDOW - 2256)));
    for _ in 0..40 {
        pair.send(HIGH, &[7; 3000]).unwrap();
    }
    pair.run();
    let high = pair.streams_received().iter().filter(|s| **s == HIGH).count();
    assert_eq!(high as u64, 1 + (WINDOW - 2256) / 3256);
}

/// [M11] [F6] A planned switch waits until the old target's user has given back what it has of either class; what was held goes on at the
/// new target under its contract, high first.
#[test]
fn a_planned_switch_waits_for_both_classes() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    pair.backup = true;
    pair.send(HIGH, b"kept").unwrap();
    pair.run();
    pair.source.switch(pair.now, NodeId(3)).unwrap();
    let connect = planned::asked(&mut pair.source).unwrap();
    pair.source.handle_answer(pair.now, &planned::answer(&connect, Reason::None, connect.generation.counter));
    pair.send(1, b"bulk").unwrap();
    pair.send(HIGH, b"control").unwrap();
    pair.pass(MS * 600);
    assert_eq!((pair.received().len(), pair.source.peer()), (1, Some(NodeId(2))), "held");
    pair.give_back();
    let new =
        TestPort::target(pair.target_config.clone(), &connect, Secret::new([7; 32]), pair.now, 3).unwrap();
    for _ in 0..3000 {
        pair.now = pair.now + MS;
        pair.source.handle_timeout(pair.now);
        pair.carry(false);
        pair.carry(true);
        if pair.source.peer() == Some(NodeId(3)) {
            break;
        }
    }
    assert_eq!(pair.source.peer(), Some(NodeId(3)), "it did not hear that all was given back");
    pair.target = Some(new);
    pair.pass(MS * 600);
    assert_eq!(pair.streams_received(), [HIGH, 1]);
    assert_eq!((pair.nacked(), pair.completed().len()), (Vec::new(), 3));
}

/// [M11] [M10] [L7] A high message that a suspended port holds past its deadline is nacked, and its stream goes on.
#[test]
fn a_high_message_that_is_late_leaves_a_tombstone() {
    let mut pair = Pair::with_high(narrow(AckModel::Asynchronous));
    pair.source.suspend().unwrap();
    pair.send(HIGH, b"first").unwrap();
    pair.send(1, b"bulk").unwrap();
    let late = Outbound {
        stream: StreamId(HIGH),
        len: 4,
        ack: None,
        deadline: Some(MS * 30),
        barrier: false,
        payload: b"late".to_vec(),
    };
    pair.source.send(pair.now, late).unwrap();
    pair.send(HIGH, b"second").unwrap();
    pair.pass(MS * 40);
    assert_eq!(pair.nacked(), [(3, Reason::Timeout, Certainty::NotSent)]);
    pair.source.resume(pair.now).unwrap();
    assert_eq!(pair.handed_out(), (vec![1, 3, 4, 2], vec![1, 3, 4]), "each once");
    // That was not carried: it goes again with the connection.
    let (path, conn) = pair.conns[0];
    pair.source.handle_conn_lost(pair.now, path, conn, Reason::ConnectionLost);
    pair.pass(MS * 500);
    let got: Vec<_> = pair.received().iter().map(|m| (m.0, m.2.len())).collect();
    assert_eq!(got, [(HIGH, 5), (HIGH, 6), (1, 4)]);
    pair.pass(MS * 100);
    assert_eq!(pair.completed().len(), 3);
    pair.source.sender.check();
}

/// [M11] [S4] A receiver holds its peer to the credit of each class, and to having none in a session without classes.
#[test]
fn a_receiver_holds_its_peer_to_it() {
    let high = |sn: u64, ssn: u64, len: u32| Item {
        sn: Sn(sn),
        stream: StreamId(HIGH),
        ssn: Ssn(ssn),
        flags: wire::item::HIGH | if ssn == 1 { wire::item::START } else { 0 },
        offset: 0,
        len,
    };
    for first_release in [false, true] {
        let mut pair = Pair::new(narrow(AckModel::Asynchronous));
        pair.first_release = first_release;
        pair.source.connect(pair.now, None).unwrap();
        pair.run();
        let target = &mut pair.target.as_mut().unwrap().receiver;
        let mut events = Events::<Vec<u8>, Vec<u8>>::new();
        let mut give =
            |item: Item| target.handle_message(&item, vec![0; item.len as usize], &mut events).map(|_| ());
        let first = give(high(1, 1, 40_000));
        if first_release {
            assert_eq!(first, Err(Reason::UnsupportedFeature));
            let tombstone = Item { flags: wire::item::HIGH | wire::item::TOMBSTONE, ..high(1, 1, 0) };
            assert_eq!(give(tombstone), Err(Reason::UnsupportedFeature));
        } else {
            assert_eq!(first, Ok(()));
            assert_eq!(give(high(2, 2, 40_000)), Err(Reason::Limit));
        }
    }
}
