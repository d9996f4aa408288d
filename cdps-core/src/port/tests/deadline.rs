//! Messages that are worth nothing after some time (M10).

use super::*;

fn asynchronous(paths: u8) -> PortConfig {
    PortConfig { ack: AckModel::Asynchronous, ..config(paths) }
}

impl Pair {
    /// Sends what is given up when it has not begun to travel within so many milliseconds.
    fn send_within(&mut self, stream: u32, payload: &[u8], ms: u32) -> Sn {
        let (now, deadline) = (self.now, Some(MS * ms));
        let (stream, len, payload) = (StreamId(stream), payload.len() as u32, payload.to_vec());
        let message = Outbound { stream, len, ack: None, deadline, barrier: false, payload };
        self.source.send(now, message).expect("is accepted")
    }

    /// What came, in order, by the first byte of each.
    fn came(&self) -> Vec<u8> {
        self.received().iter().map(|m| m.2[0]).collect()
    }
}

fn expired(sn: Sn) -> (u64, Reason, Certainty) {
    (sn.0, Reason::Timeout, Certainty::NotSent)
}

/// [M10] [L7] What a suspended port holds past its deadline is nacked then, and never comes; what is around it in its stream does. The space
/// in the send buffer is free at once.
#[test]
fn a_stream_goes_on_without_what_was_late() {
    let mut pair = Pair::connected(PortConfig { send_buffer_max: 3000, ..asynchronous(2) });
    pair.source.suspend().unwrap();
    pair.send(7, &[0; 900]).unwrap();
    let late = pair.send_within(7, &[1; 900], 40);
    let other = pair.send_within(8, &[2; 900], 30);
    let long = pair.send_within(7, &[3; 100], 60_000);
    pair.pass(MS * 29);
    assert!(pair.nacked().is_empty());
    pair.pass(MS * 2);
    assert_eq!(pair.nacked(), [expired(other)]);
    pair.pass(MS * 12);
    assert_eq!(pair.nacked(), [expired(other), expired(late)], "in order of their deadlines");
    assert_eq!(pair.source.stats().unfinished_bytes, 1000);
    pair.send(7, &[4; 1900]).unwrap();
    assert!(pair.came().is_empty());
    let now = pair.now;
    pair.source.resume(now).unwrap();
    pair.run();
    assert_eq!(pair.came(), [0, 3, 4]);
    let numbers: Vec<_> = pair.received().iter().map(|m| m.1).collect();
    assert_eq!(numbers, [1, 3, 4], "the SSN of the late one is used up");
    assert_eq!(pair.completed().len(), 3);
    assert_eq!(pair.completed()[1].0, long.0);
    pair.pass(MS * 3000);
    assert_eq!((pair.nacked().len(), pair.source.poll_timeout()), (2, Time::NEVER));
    pair.source.sender.check();
}

/// [M10] A deadline holds to the moment: a path that asks for work at it gets none, though no timer has fired.
#[test]
fn nothing_begins_at_its_deadline() {
    let mut pair = Pair::connected(asynchronous(1));
    let (early, late) = (pair.send_within(0, &[0], 6), pair.send_within(0, &[1], 5));
    pair.now = pair.now + MS * 5;
    pair.run();
    assert_eq!((pair.nacked(), pair.came()), (vec![expired(late)], vec![0]));
    assert_eq!(pair.completed(), [(early.0, 0)]);
}

/// [M10] [T2] What has begun to travel has no deadline any more, also when its path is lost and most of it has not been handed out.
#[test]
fn what_has_begun_is_not_given_up() {
    let mut pair = Pair::connected(asynchronous(2));
    pair.send_within(0, &[7; 4_000_000], 50);
    let (path, conn) = pair.conns[0];
    assert!(pair.source.poll_transmit(pair.now, path, conn, &mut Batch::default()));
    pair.silent = vec![PathId(0), PathId(1)];
    pair.pass(MS * 200);
    pair.silent.clear();
    pair.break_path(0);
    pair.break_path(1);
    pair.pass(MS * 3000);
    let lengths: Vec<_> = pair.received().iter().map(|m| m.2.len()).collect();
    assert_eq!((lengths, pair.nacked()), (vec![4_000_000], Vec::new()));
}

/// [M10] [M7] Without credit the deadline runs as well, and what waits behind goes then.
#[test]
fn it_runs_without_credit() {
    let mut pair = Pair::new(asynchronous(1));
    pair.target_config.window = 65_536;
    pair.source.connect(pair.now, None).unwrap();
    pair.run();
    pair.send(0, &[0; 60_000]).unwrap();
    let late = pair.send_within(0, &[1; 10_000], 20);
    pair.send(1, &[2; 300]).unwrap();
    pair.pass(MS * 15);
    assert_eq!(pair.came(), [0], "no credit");
    pair.pass(MS * 6);
    assert_eq!((pair.came(), pair.nacked()), (vec![0, 2], vec![expired(late)]));
    pair.source.sender.check();
}

/// [M10] [F5] It runs while the port is on its way to another target, where tombstones take the places of what was late; what a former
/// target may have is not late.
#[test]
fn it_runs_during_a_switch() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..config(1) });
    pair.backup = true;
    pair.silent = vec![PathId(0)];
    pair.send_within(0, &[0], 10);
    pair.run();
    let late = pair.send_within(0, &[1], 10_000);
    let later = pair.send_within(0, &[2], 600);
    pair.send(0, &[3]).unwrap();
    pair.break_path(0);
    pair.pass(MS * 700);
    assert_eq!(pair.nacked(), [expired(later)]);
    pair.silent.clear();
    let began = pair.now;
    pair.pass(MS * 2500);
    let switched = |e: &Event<_, _>| matches!(e, Event::Status(ConnStatus::Switched { .. }));
    assert!(pair.source_events.iter().any(switched), "since {began:?}: {:?}", pair.source_events);
    assert_eq!(pair.came(), [0, 1, 3]);
    assert_eq!(pair.nacked(), [expired(later)]);
    for sn in [1, late.0, 4] {
        let now = pair.now;
        pair.target.as_mut().unwrap().ack(now, Sn(sn), 0).unwrap();
    }
    pair.run();
    assert_eq!(pair.completed().len(), 3);
    pair.source.sender.check();
}

/// [M10] [F2] What was nacked for its deadline is not nacked again when the connection goes down; the others are, oldest first.
#[test]
fn a_down_nacks_the_others() {
    let mut pair = Pair::connected(config(1));
    pair.source.suspend().unwrap();
    let first = pair.send(0, &[0]).unwrap();
    let late = pair.send_within(0, &[1], 10);
    let last = pair.send_within(0, &[2], 60_000);
    pair.pass(MS * 20);
    pair.source.handle_peer(pair.now, NodeId(2), PeerState::Down);
    pair.run();
    let down = |sn: Sn| (sn.0, Reason::Unreachable, Certainty::NotSent);
    assert_eq!(pair.nacked(), [expired(late), down(first), down(last)]);
    pair.pass(MS * 70_000);
    assert_eq!(pair.nacked().len(), 3);
}

/// [M10] [L5] A close that drains does not wait for what is given up meanwhile; a stop nacks the rest.
#[test]
fn close_and_stop_end_what_waits() {
    let mut pair = Pair::new(asynchronous(1));
    pair.target_config.window = 65_536;
    pair.source.connect(pair.now, None).unwrap();
    pair.run();
    pair.send(0, &[0; 60_000]).unwrap();
    pair.send_within(0, &[1; 10_000], 50);
    pair.source.close(pair.now, false).unwrap();
    pair.pass(MS * 100);
    assert_eq!(pair.source_events.last(), Some(&Event::Status(ConnStatus::Drained)));

    let mut pair = Pair::connected(config(1));
    pair.source.suspend().unwrap();
    let held = pair.send(0, &[0]).unwrap();
    let late = pair.send_within(0, &[1], 10);
    pair.pass(MS * 20);
    pair.source.stop(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.nacked(), [expired(late), (held.0, Reason::Stopped, Certainty::NotSent)]);
    pair.source.sender.check();
}

/// [M10] A port suspended for long with nothing but late messages keeps neither them nor their tombstones.
#[test]
fn nothing_is_kept_of_what_was_late() {
    let mut pair = Pair::connected(asynchronous(1));
    pair.send(0, &[0]).unwrap();
    pair.run();
    pair.source.suspend().unwrap();
    for k in 0..200 {
        for stream in 0..50 {
            pair.send_within(stream, &[1], 5 + (k * stream) % 10);
        }
        pair.pass(MS * 20);
    }
    assert_eq!(pair.nacked().len(), 10_000);
    assert!(pair.source.sender.is_empty(), "{} places", pair.source.sender.messages());
    pair.source.resume(pair.now).unwrap();
    pair.send(49, &[2]).unwrap();
    pair.run();
    assert_eq!(pair.received().last().map(|m| (m.0, m.1)), Some((49, 201)));
}

/// [M10] Deadlines that were kept are forgotten.
#[test]
fn deadlines_that_were_kept_take_no_room() {
    let mut pair = Pair::connected(asynchronous(1));
    for _ in 0..1000 {
        for _ in 0..10 {
            pair.send_within(0, &[0], 3_600_000);
        }
        pair.run();
        pair.source_events.clear();
        pair.target_events.clear();
        assert!(pair.source.sender.deadlines() < 150, "{}", pair.source.sender.deadlines());
    }
}

/// [M10] [S4] However many tombstones wait behind a message that is lost, the peer gets no more of them than it tracks.
#[test]
fn tombstones_stay_within_what_the_peer_tracks() {
    let mut pair =
        Pair::connected(PortConfig { balance: crate::config::Balance::RoundRobin, ..asynchronous(2) });
    pair.silent = vec![PathId(0)];
    while pair.source.path_stats(PathId(0)).unwrap().in_flight == 0 {
        pair.send(0, &[0]).unwrap();
        pair.run();
    }
    let before = pair.received().len();
    pair.source.suspend().unwrap();
    for k in 0..140_000 {
        // The first one keeps the others from being handed out one by one.
        pair.send_within(1 + k % 2, &[1], if k == 0 { 20 } else { 10 });
    }
    pair.send(1, &[2]).unwrap();
    pair.pass(MS * 21);
    pair.run();
    assert_eq!(pair.nacked().len(), 140_000);
    pair.source.resume(pair.now).unwrap();
    pair.run();
    assert_eq!(pair.received().len(), before, "behind 140,000 tombstones");
    pair.silent.clear();
    pair.break_path(0);
    pair.pass(MS * 3000);
    assert_eq!(pair.came().last(), Some(&2));
    assert!(pair.source.sender.is_empty());
}
