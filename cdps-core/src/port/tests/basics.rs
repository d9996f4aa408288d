//! What a pair of ports does for its users: messages, receipts, paths, credit, and Fig. 7.

use super::*;

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

/// [L3] Ports of one node that know what the others have claimed ask for generations of their own.
#[test]
fn generations_of_other_ports_are_passed_over() {
    let mut pair = Pair::new(config(1));
    assert_eq!(pair.source.pass_over(7), 7);
    pair.source.connect(pair.now, None).unwrap();
    assert_eq!(pair.source.generation().counter, 8);
    assert_eq!(pair.source.pass_over(3), 8);
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
        pair.target.as_mut().unwrap().release(pair.now, CreditToken { account: 0, cost: costs });
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
        pair.target.as_mut().unwrap().release(pair.now, CreditToken { account: 0, cost });
        pair.pass(MS * 600);
        assert_eq!(pair.received().len(), k + 1);
    }
    assert_eq!(pair.received()[3].2.len(), 200_000);
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
