//! Suspend and resume (L7): what is held, what goes on, and what ends it.

use super::*;

fn asynchronous() -> PortConfig {
    PortConfig { ack: AckModel::Asynchronous, ..config(2) }
}

impl Pair {
    fn resume(&mut self) {
        let now = self.now;
        self.source.resume(now).expect("resumes");
    }

    fn arrived(&self) -> Vec<Vec<u8>> {
        self.received().into_iter().map(|m| m.2).collect()
    }
}

/// [L7] [M6] Sends are taken and wait, for as long as it takes and without a timer; what comes the other way arrives. Then all goes, in order.
#[test]
fn sends_wait_while_suspended() {
    let mut pair = Pair::connected(asynchronous());
    pair.send(1, b"before").unwrap();
    pair.run();
    pair.source.suspend().unwrap();
    pair.source.suspend().unwrap();
    for k in 0..3 {
        pair.send(k % 2, &[k as u8]).unwrap();
    }
    pair.pass(MS * 60_000);
    assert_eq!(pair.arrived(), [b"before"]);
    assert!(pair.nacked().is_empty() && pair.source.is_suspended());
    assert_eq!(pair.source.poll_timeout(), Time::NEVER, "nothing to look after");
    let back = Outbound {
        stream: StreamId(7),
        len: 4,
        ack: None,
        deadline: None,
        barrier: false,
        payload: b"back".to_vec(),
    };
    pair.target.as_mut().unwrap().send(pair.now, back).unwrap();
    pair.run();
    let came = pair.source_events.iter().filter(|e| matches!(e, Event::Received(_))).count();
    assert_eq!(came, 1, "receiving goes on");
    pair.resume();
    pair.resume();
    pair.run();
    assert_eq!(pair.arrived()[1..], [[0], [1], [2]]);
    assert_eq!(pair.completed().len(), 4);
    pair.source.sender.check();
}

/// [L7] Who resumes a port that holds nothing starts no timer.
#[test]
fn nothing_held_is_nothing_to_do() {
    let mut pair = Pair::connected(asynchronous());
    pair.pass(MS * 60_000);
    pair.source.suspend().unwrap();
    pair.resume();
    assert_eq!(pair.source.poll_timeout(), Time::NEVER);
}

/// [L7] A target's user holds its own sends in the same way.
#[test]
fn a_target_holds_its_sends() {
    let mut pair = Pair::connected(asynchronous());
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    target.suspend().unwrap();
    let back = Outbound {
        stream: StreamId(7),
        len: 4,
        ack: None,
        deadline: None,
        barrier: false,
        payload: b"back".to_vec(),
    };
    target.send(now, back).unwrap();
    pair.pass(MS * 3000);
    let came = |pair: &Pair| pair.source_events.iter().filter(|e| matches!(e, Event::Received(_))).count();
    assert_eq!(came(&pair), 0);
    let now = pair.now;
    pair.target.as_mut().unwrap().resume(now).unwrap();
    pair.run();
    assert_eq!(came(&pair), 1);
}

/// [L7] A message whose first bytes are on their way goes whole; the next one waits.
#[test]
fn what_has_begun_finishes() {
    let mut pair = Pair::connected(asynchronous());
    pair.send(0, &[1; 4_000_000]).unwrap();
    pair.send(0, b"next").unwrap();
    let (path, conn) = pair.conns[0];
    // The first pieces are lost with their path: they go again, and so do those that no path has taken yet.
    assert!(pair.source.poll_transmit(pair.now, path, conn, &mut Batch::default()));
    pair.source.suspend().unwrap();
    assert!(pair.source.sender.backlog() > 3_000_000, "most of the first has not begun");
    pair.break_path(path.0);
    pair.pass(MS * 3000);
    let lengths: Vec<_> = pair.arrived().iter().map(Vec::len).collect();
    assert_eq!(lengths, [4_000_000]);
    pair.resume();
    pair.run();
    assert_eq!(pair.arrived().len(), 2);
}

/// [L7] [T2] What was on a path that breaks goes again on another, also while suspended; nothing new does.
#[test]
fn a_broken_path_is_hidden_while_suspended() {
    let mut pair =
        Pair::connected(PortConfig { balance: crate::config::Balance::RoundRobin, ..asynchronous() });
    pair.silent = vec![PathId(0), PathId(1)];
    for k in 0..6u8 {
        pair.send(0, &[k; 3000]).unwrap();
        pair.run();
    }
    assert_eq!(pair.arrived().len(), 0);
    pair.source.suspend().unwrap();
    pair.send(0, b"new").unwrap();
    pair.silent.clear();
    pair.break_path(0);
    pair.break_path(1);
    pair.pass(MS * 3000);
    assert_eq!(pair.arrived(), [0, 1, 2, 3, 4, 5].map(|k| vec![k; 3000]));
    assert_eq!(pair.completed().len(), 6);
    pair.resume();
    pair.run();
    assert_eq!(pair.arrived().len(), 7);
    assert!(pair.nacked().is_empty());
}

/// [L7] [F5] After a switch what had begun goes to the backup; what was held stays held.
#[test]
fn a_switch_does_not_resume() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
    pair.send(0, b"begun").unwrap();
    pair.run();
    pair.source.suspend().unwrap();
    pair.send(0, b"held").unwrap();
    let former = pair.source.generation();
    pair.silent = vec![PathId(0)];
    pair.break_path(0);
    pair.pass(MS * 1550);
    let answer =
        Answer { generation: pair.source.generation(), ..pair.target.as_ref().unwrap().answer(Vec::new()) };
    pair.source.handle_answer(pair.now, &answer);
    pair.source.handle_released(pair.now, former);
    let dial = std::iter::from_fn(|| pair.source.poll_action())
        .find_map(|a| if let Action::Dial { path, conn, .. } = a { Some((path, conn)) } else { None })
        .expect("a dial");
    pair.source.handle_conn_up(pair.now, dial.0, dial.1);
    assert_eq!((pair.source.link(), pair.source.is_suspended()), (Link::Up, true));
    let numbers = |pair: &mut Pair| {
        let mut batch = Batch::default();
        let mut numbers = Vec::new();
        while pair.source.poll_transmit(pair.now, dial.0, dial.1, &mut batch) {
            for frame in &batch.frames {
                if let Outgoing::Bundle { head, .. } = frame {
                    numbers.extend((0..u64::from(head.count)).map(|k| head.sn.0 + k));
                }
            }
        }
        numbers
    };
    assert_eq!(numbers(&mut pair), [1]);
    pair.resume();
    assert_eq!(numbers(&mut pair), [2]);
}

/// [L5] [L7] A close drains, so it resumes; that of one user among several does not.
#[test]
fn close_resumes() {
    let mut pair = Pair::connected(asynchronous());
    pair.source.connect(pair.now, None).unwrap();
    pair.source.suspend().unwrap();
    pair.send(0, b"held").unwrap();
    pair.source.close(pair.now, false).unwrap();
    pair.run();
    assert!(pair.source.is_suspended() && pair.arrived().is_empty(), "another user remains");
    pair.source.close(pair.now, false).unwrap();
    pair.run();
    assert_eq!((pair.source.state(), pair.source.is_suspended()), (State::Stopped, false));
    assert_eq!((pair.completed().len(), pair.nacked().len()), (1, 0));
    assert!(pair.source.suspend().is_err() && pair.source.resume(pair.now).is_err(), "STOPPED");
    pair.source.close(pair.now, false).unwrap();
    pair.run();
    pair.source.connect(pair.now, None).unwrap();
    assert!(!pair.source.is_suspended());
}

/// [L5] [L7] So does a target's; it cannot be suspended again on its way down.
#[test]
fn a_targets_close_resumes() {
    let mut pair = Pair::connected(asynchronous());
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    target.suspend().unwrap();
    let back = Outbound {
        stream: StreamId(7),
        len: 4,
        ack: None,
        deadline: None,
        barrier: false,
        payload: b"back".to_vec(),
    };
    target.send(now, back).unwrap();
    target.close(now, false).unwrap();
    let refused = target.suspend().unwrap_err();
    assert_eq!((refused.call, refused.state), (Call::Suspend, State::ConnectedTo));
    assert!(!target.is_suspended());
    pair.run();
    let came = pair.source_events.iter().filter(|e| matches!(e, Event::Received(_))).count();
    assert_eq!(came, 1);
    assert_eq!(pair.target.as_ref().unwrap().state(), State::Registered);
}

/// [L5] [L7] Stop nacks what is held as not sent.
#[test]
fn stop_nacks_what_is_held() {
    let mut pair = Pair::connected(config(1));
    pair.source.suspend().unwrap();
    let sn = pair.send(0, b"held").unwrap();
    pair.source.stop(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.nacked(), [(sn.0, Reason::Stopped, Certainty::NotSent)]);
    assert!(!pair.source.is_suspended() && pair.arrived().is_empty());
}

/// [L7] [F2] A connection that goes down nacks what is held too; connected again, the port is still suspended.
#[test]
fn a_down_connection_stays_suspended() {
    let mut pair = Pair::connected(config(1));
    pair.source.suspend().unwrap();
    let sn = pair.send(0, b"held").unwrap();
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    pair.run();
    assert_eq!(pair.nacked(), [(sn.0, Reason::Unreachable, Certainty::NotSent)]);
    pair.source.connect(pair.now, Some(NodeId(3))).unwrap();
    assert_eq!((pair.source.state(), pair.source.is_suspended()), (State::Connecting, true));
    pair.resume();
    assert!(!pair.source.is_suspended());
}

/// [M7] [L7] The reason why messages pile up is the user's own.
#[test]
fn flow_control_names_suspend() {
    let marks = PortConfig { send_buffer_max: 100_000, flow_high: 60, flow_low: 20, ..asynchronous() };
    let mut pair = Pair::connected(marks);
    pair.source.suspend().unwrap();
    for _ in 0..10 {
        pair.send(0, &[0; 10_000]).unwrap();
    }
    assert!(matches!(pair.send(0, b"more"), Err(SendError::Full { .. })), "{:?}", pair.source.stats());
    pair.resume();
    pair.run();
    let flows: Vec<_> = pair
        .source_events
        .iter()
        .filter_map(|e| if let Event::Flow { on, reason, .. } = e { Some((*on, *reason)) } else { None })
        .collect();
    assert_eq!(flows, [(true, FlowReason::Suspend), (false, FlowReason::Suspend)]);
}
