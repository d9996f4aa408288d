//! Users that change a borrowed buffer before they have it back (M8).

use super::*;
use crate::config::{Balance, StreamContract};

/// What a writer does that finds the bytes changed.
pub(super) fn refuse(batch: &mut Batch<Vec<u8>>, spoilt: Option<u8>) -> Vec<Changed> {
    let mut changed = Vec::new();
    for frame in &mut batch.frames {
        if let Outgoing::Fragment { head, len, payload } = frame
            && payload.first().copied() == spoilt
        {
            changed.push(Changed { sn: head.sn, len: *len });
            *frame = Outgoing::Control(Frame::Probe);
        }
    }
    changed
}

fn asynchronous(paths: u8) -> PortConfig {
    let (ack, balance) = (AckModel::Asynchronous, Balance::RoundRobin);
    PortConfig { ack, balance, window: 1 << 20, fragment: 50_000, ..config(paths) }
}

impl Pair {
    /// What came, in order, by the first byte of each.
    fn firsts(&self) -> Vec<u8> {
        self.received().iter().map(|m| m.2[0]).collect()
    }

    /// The target's user gives back what it has got, and hears of no more.
    fn release_all_of_it(&mut self) {
        self.run();
        let target = self.target.as_mut().expect("a target");
        for event in &self.target_events {
            if let Event::Received(message) = event {
                target.release(self.now, message.credit);
            }
        }
        self.target_events.clear();
        // What is little is announced with the next receipt.
        let now = self.now;
        self.target.as_mut().expect("a target").feed_back(now, true);
        self.pass(MS * 600);
    }

    /// Nothing is owed, nothing is kept, and no path was blamed, but for those that the test has broken.
    fn is_settled(&mut self, lost: u64) {
        self.release_all_of_it();
        let target = self.target.as_ref().expect("a target");
        let (window, left) = self.source.sender.window();
        assert_eq!((window, left), (1 << 20, 1 << 20), "credit at the source");
        assert_eq!(target.receiver.window(), (1 << 20, 0), "credit at the target");
        assert!(!target.receiver.has_gaps() && self.source.sender.is_empty());
        assert!(!self.source.sender.has_skips());
        assert_eq!((self.source.stats().suspicions, self.source.stats().path_losses), (0, lost));
        self.source.sender.check();
    }
}

fn changed(sn: Sn, certainty: Certainty) -> (u64, Reason, Certainty) {
    (sn.0, Reason::BufferChanged, certainty)
}

/// [M8] A message that was changed before any of it was written, long or longer than the window, on one path or several, is nacked as not sent. Its
/// stream goes on, its credit comes back, and no path is blamed.
#[test]
fn what_was_changed_before_it_was_written_is_skipped() {
    for (paths, len) in [(1, 3000), (1, 49_000), (1, 400_000), (3, 49_000), (3, 1_500_000)] {
        let mut pair = Pair::connected(asynchronous(paths));
        pair.spoilt = Some(1);
        let before = pair.send(7, &[0; 10]).unwrap();
        let spoilt = pair.send(7, &vec![1; len]).unwrap();
        let after = pair.send(7, &[2; 10]).unwrap();
        pair.release_all_of_it();
        pair.release_all_of_it();
        let nacked = pair.nacked();
        assert_eq!(nacked.len(), 1, "{paths} paths, {len} bytes");
        assert_eq!((nacked[0].0, nacked[0].1), (spoilt.0, Reason::BufferChanged));
        if len <= 50_000 {
            assert_eq!(nacked[0].2, Certainty::NotSent, "{paths} paths, {len} bytes");
        }
        assert_eq!(pair.completed(), [(before.0, 0), (after.0, 0)]);
        pair.send(7, &vec![3; 1_200_000]).unwrap();
        pair.run();
        assert_eq!((pair.firsts(), pair.received()[0].1), (vec![3], 4), "{paths} paths, {len} bytes");
        pair.is_settled(0);
    }
}

/// [M8] [M11] The same of high priority: what it cost goes back to its own class.
#[test]
fn a_high_message_is_skipped_on_its_own_account() {
    for (paths, len) in [(1, 3000), (1, 49_000), (1, 400_000), (3, 1_500_000)] {
        let mut pair = Pair::connected(PortConfig { high_window: 1 << 20, ..asynchronous(paths) });
        let contract = StreamContract { ack: None, priority: Priority::High };
        pair.source.set_stream(StreamId(9), contract).unwrap();
        pair.spoilt = Some(1);
        let bulk = pair.send(7, &[0; 10]).unwrap();
        let spoilt = pair.send(9, &vec![1; len]).unwrap();
        let after = pair.send(9, &[2; 10]).unwrap();
        pair.release_all_of_it();
        pair.release_all_of_it();
        let nacked = pair.nacked();
        assert_eq!(nacked.len(), 1, "{paths} paths, {len} bytes");
        assert_eq!((nacked[0].0, nacked[0].1), (spoilt.0, Reason::BufferChanged));
        let mut completed = pair.completed();
        completed.sort_unstable();
        assert_eq!(completed, [(bulk.0, 0), (after.0, 0)]);
        pair.send(9, &vec![3; 1_000_000]).unwrap();
        pair.run();
        assert_eq!((pair.firsts(), pair.received()[0].1), (vec![3], 3), "{paths} paths, {len} bytes");
        pair.is_settled(0);
        assert!(pair.source.sender.is_quiet(), "the credit of both classes has come back");
    }
}

/// [M8] [T2] Half of a message has arrived when its path is lost, and its user has changed it: it is nacked as unknown. The target lets go what it has
/// of it, waits for nothing, and late fragments of it are known.
#[test]
fn what_has_travelled_in_part_is_given_up_at_both_ends() {
    let mut pair = Pair::connected(asynchronous(2));
    pair.silent = vec![PathId(1)];
    let spoilt = pair.send(7, &[1; 900_000]).unwrap();
    let barrier =
        Outbound { stream: StreamId(8), len: 1, ack: None, deadline: None, barrier: true, payload: vec![2] };
    pair.source.send(pair.now, barrier).unwrap();
    pair.send(7, &[3; 3000]).unwrap();
    pair.run();
    let target = pair.target.as_ref().unwrap();
    assert!(target.receiver.has_gaps() && target.receiver.window().1 > 900_000, "a part has come");
    assert!(pair.nacked().is_empty() && pair.received().is_empty());
    pair.spoilt = Some(1);
    pair.break_path(1);
    pair.run();
    assert_eq!(pair.nacked(), [changed(spoilt, Certainty::Unknown)]);
    assert_eq!(pair.firsts(), [2, 3]);
    let (path, conn) = pair.conns[0];
    let head = FragmentHead {
        sn: spoilt,
        ssn: Ssn(1),
        stream: StreamId(7),
        offset: 0,
        total: 900_000,
        flags: wire::item::START,
    };
    let late = pair.target.as_mut().unwrap().begin_fragment(pair.now, path, conn, &head, 50_000, None);
    assert_eq!(late, Ok(Placement::Discard));
    pair.silent.clear();
    pair.is_settled(1);
    assert!(pair.completed().iter().all(|c| c.0 != spoilt.0));
}

/// [M8] [A1] All of a message has arrived, and the source does not know: it is nacked as unknown when it would have to go again. The acknowledgment that
/// comes after that is no fault.
#[test]
fn what_has_arrived_is_answered_all_the_same() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Synchronous, ..asynchronous(2) });
    let sn = pair.send(7, &[1; 49_000]).unwrap();
    while pair.carry(true) {}
    pair.act(false);
    assert_eq!(pair.firsts(), [1]);
    let target = pair.target.as_mut().unwrap();
    target.ack(pair.now, sn, 5).unwrap();
    pair.spoilt = Some(1);
    // What comes back is lost with the connection.
    let carried = pair.source.paths.iter().find(|p| p.conn().is_some_and(|c| !c.flights.is_empty()));
    let path = carried.unwrap().id.0;
    pair.break_path(path);
    while pair.carry(true) {}
    pair.act(true);
    assert_eq!(pair.nacked(), [changed(sn, Certainty::Unknown)]);
    pair.run();
    pair.send(7, &[2; 10]).unwrap();
    pair.run();
    let last = pair.target.as_mut().unwrap().ack(pair.now, Sn(sn.0 + 1), 0);
    assert_eq!(last, Ok(()));
    pair.come_back(path);
    pair.is_settled(1);
    assert_eq!(pair.completed(), [(sn.0 + 1, 0)]);
}

/// [M8] [A3] A message that is complete when it was written is not complete when it was refused; one that was completed before is not nacked.
#[test]
fn the_sent_model_ends_once() {
    let mut pair = Pair::connected(PortConfig { ack: AckModel::Sent, ..asynchronous(2) });
    pair.spoilt = Some(1);
    let refused = pair.send(7, &[1; 49_000]).unwrap();
    pair.run();
    assert_eq!(pair.nacked(), [changed(refused, Certainty::NotSent)]);
    pair.spoilt = None;
    pair.silent = vec![PathId(0), PathId(1)];
    let written = pair.send(7, &[2; 49_000]).unwrap();
    pair.run();
    assert_eq!(pair.completed(), [(written.0, 0)]);
    pair.silent.clear();
    pair.spoilt = Some(2);
    let carried = pair.source.paths.iter().find(|p| p.conn().is_some_and(|c| !c.flights.is_empty()));
    let path = carried.unwrap().id.0;
    pair.break_path(path);
    pair.send(7, &[3; 10]).unwrap();
    pair.run();
    assert_eq!((pair.nacked().len(), pair.firsts()), (1, vec![3]), "nothing more is said of it");
    let done = |e: &Event<Vec<u8>, Vec<u8>>| matches!(e, Event::Done { payload } if payload[0] == 2);
    assert_eq!(pair.source_events.iter().filter(|e| done(e)).count(), 1);
    pair.come_back(path);
    pair.is_settled(1);
}

/// [M8] [T2] A SKIP that is lost with its connection goes again.
#[test]
fn a_lost_skip_goes_again() {
    let mut pair = Pair::connected(asynchronous(1));
    (pair.spoilt, pair.silent) = (Some(1), vec![PathId(0)]);
    let spoilt = pair.send(7, &[1; 49_000]).unwrap();
    pair.send(7, &[2; 10]).unwrap();
    pair.run();
    assert_eq!(pair.nacked(), [changed(spoilt, Certainty::NotSent)]);
    pair.silent.clear();
    pair.break_path(0);
    pair.come_back(0);
    assert_eq!((pair.firsts(), pair.nacked().len()), (vec![2], 1));
    pair.is_settled(1);
}

/// [M8] [U7] [F2] A target of the first release cannot be told not to wait: the connection is down with that reason, after the nack of the message. A source of
/// the first release has its session ended.
#[test]
fn who_cannot_skip_loses_the_session() {
    let mut pair = Pair::connected(asynchronous(1));
    pair.source.peer_features = 0;
    pair.spoilt = Some(1);
    let spoilt = pair.send(7, &[1; 49_000]).unwrap();
    let other = pair.send(7, &[2; 10]).unwrap();
    pair.source_events.clear();
    while pair.carry(true) {}
    pair.act(true);
    assert_eq!(pair.nacked()[0], changed(spoilt, Certainty::NotSent));
    assert!(matches!(
        &pair.source_events[1],
        Event::Status(ConnStatus::Down { reason: Reason::BufferChanged, decision, .. })
            if decision.trigger == Trigger::BufferChanged
    ));
    assert_eq!((pair.nacked().len(), pair.nacked()[1].0), (2, other.0));
    assert!(pair.received().iter().all(|m| m.2[0] == 2));

    let mut pair = Pair::connected(asynchronous(1));
    let target = pair.target.as_mut().unwrap();
    target.peer_features = 0;
    pair.spoilt = Some(1);
    let (stream, payload) = (StreamId(7), vec![1; 49_000]);
    let message = Outbound { stream, len: 49_000, ack: None, deadline: None, barrier: false, payload };
    target.send(pair.now, message).unwrap();
    pair.run();
    let ended = Event::Status(ConnStatus::Closed { reason: Reason::BufferChanged });
    assert!(pair.target_events.contains(&ended), "{:?}", pair.target_events);
    let nacks = pair.target_events.iter().filter(|e| matches!(e, Event::Nacked { .. })).count();
    assert_eq!(nacks, 1);
}
