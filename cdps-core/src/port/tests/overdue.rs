//! A user that does not acknowledge (A6).

use super::*;
use crate::config::OnUserAckTimeout;

const TIMEOUT: Duration = Duration::from_millis(800);

fn slow(action: OnUserAckTimeout) -> PortConfig {
    PortConfig {
        ack: AckModel::Synchronous,
        user_ack_timeout: Some(TIMEOUT),
        on_user_ack_timeout: action,
        ..config(2)
    }
}

impl Pair {
    /// (number, stream) of what the source was told is overdue.
    fn overdue(&self) -> Vec<(u64, u32)> {
        let named = self.source_events.iter().filter_map(|e| match e {
            Event::Overdue { sn, stream, waited } => {
                assert!(*waited >= TIMEOUT && *waited <= TIMEOUT * 3 / 2, "{waited:?}");
                Some((sn.0, stream.0))
            }
            _ => None,
        });
        named.collect()
    }

    fn acknowledge(&mut self, sn: Sn) {
        self.target.as_mut().expect("a target").ack(self.now, sn, 0).expect("it is owed");
        self.run();
    }
}

/// [A6] The oldest message that its user keeps is named once, not before the timeout and not much later; the next one when that has ended.
#[test]
fn the_oldest_unacknowledged_message_is_named_once() {
    let mut pair = Pair::connected(slow(OnUserAckTimeout::Event));
    let first = pair.send(7, b"one").expect("is accepted");
    let second = pair.send(9, b"two").expect("is accepted");
    let third = pair.send(9, b"three").expect("is accepted");
    pair.pass(TIMEOUT - MS);
    assert_eq!(pair.overdue(), [], "too early");
    // An eighth for the sample, and a tick for each look.
    pair.pass(TIMEOUT / 8 + 60 * MS);
    assert_eq!(pair.overdue(), [(first.0, 7)]);
    pair.pass(TIMEOUT * 10);
    assert_eq!(pair.overdue(), [(first.0, 7)], "once, and nothing behind it");
    assert_eq!(pair.source.state(), State::Connected);
    pair.acknowledge(second);
    pair.acknowledge(first);
    pair.source_events.retain(|e| matches!(e, Event::Completed { .. }));
    assert_eq!(pair.completed(), [(second.0, 0), (first.0, 0)]);
    pair.pass(TIMEOUT);
    let late = pair.source_events.iter().find_map(|e| match e {
        Event::Overdue { sn, stream, waited } => Some((*sn, stream.0, *waited > TIMEOUT * 9)),
        _ => None,
    });
    assert_eq!(late, Some((third, 9, true)), "it has waited all the time");
    pair.acknowledge(third);
}

/// [A6] Who acknowledges in time is not named, however long there is traffic; nor are messages whose receipt is all that they wait for,
/// nor is anything if no timeout is set.
#[test]
fn a_user_in_time_is_not_named() {
    for (model, timeout, lag) in [
        (AckModel::Synchronous, Some(TIMEOUT), 8),
        (AckModel::Asynchronous, Some(TIMEOUT), 0),
        (AckModel::Sent, Some(TIMEOUT), 0),
        (AckModel::Synchronous, None, 0),
    ] {
        let config = PortConfig { ack: model, user_ack_timeout: timeout, ..slow(OnUserAckTimeout::Event) };
        let mut pair = Pair::connected(config);
        let mut sent = VecDeque::new();
        for k in 0..60 {
            sent.push_back(pair.send(k % 3, b"data").expect("is accepted"));
            pair.pass(TIMEOUT / 10);
            if lag > 0 && sent.len() >= lag {
                let sn = sent.pop_front().expect("a message");
                pair.acknowledge(sn);
            }
        }
        assert_eq!(pair.overdue(), [], "{model:?} {timeout:?}");
    }
}

/// [A6] [T9] Time for which this process was away, or has had no path, is held against nobody.
#[test]
fn lost_time_does_not_count() {
    let mut pair = Pair::connected(slow(OnUserAckTimeout::Event));
    let sn = pair.send(1, b"one").expect("is accepted");
    pair.pass(TIMEOUT / 2);
    pair.now = pair.now + TIMEOUT;
    pair.pass(TIMEOUT / 4);
    assert_eq!(pair.overdue(), [], "the gap was counted");
    pair.pass(TIMEOUT / 2);
    assert_eq!(pair.overdue(), [(sn.0, 1)]);

    let mut pair = Pair::connected(slow(OnUserAckTimeout::Event));
    let sn = pair.send(1, b"one").expect("is accepted");
    pair.pass(TIMEOUT / 2);
    pair.silent = vec![PathId(0), PathId(1)];
    pair.break_path(0);
    pair.break_path(1);
    pair.pass(TIMEOUT);
    assert_eq!(pair.overdue(), [], "the time without a path was counted");
    pair.silent.clear();
    for (path, conn) in std::mem::take(&mut pair.unanswered) {
        pair.source.handle_conn_lost(pair.now, path, conn, Reason::DialFailed);
    }
    pair.pass(TIMEOUT / 4);
    assert!(!pair.conns.is_empty(), "no path came back");
    assert_eq!(pair.overdue(), [], "too early");
    pair.pass(TIMEOUT);
    assert_eq!(pair.overdue(), [(sn.0, 1)]);
}

/// [A6] [F2] [F3] If that is wished it takes the connection down: first the event, then down, the nacks, drained. What was nacked is
/// resolved.
#[test]
fn an_overdue_message_may_take_the_connection_down() {
    let mut pair = Pair::connected(slow(OnUserAckTimeout::Down));
    let sn = pair.send(1, b"one").expect("is accepted");
    let behind = pair.send(1, b"two").expect("is accepted");
    pair.source_events.clear();
    pair.pass(TIMEOUT * 3 / 2);
    let told: Vec<String> = pair
        .source_events
        .iter()
        .filter_map(|e| match e {
            Event::Overdue { sn, .. } => Some(format!("overdue {sn}")),
            Event::Status(ConnStatus::Down { reason: Reason::Timeout, .. }) => Some("down".into()),
            Event::Status(ConnStatus::Drained) => Some("drained".into()),
            Event::Nacked { sn, certainty: Certainty::Unknown, .. } => Some(format!("nack {sn}")),
            Event::Resolved { sn, verdict: Verdict::Delivered } => Some(format!("delivered {sn}")),
            Event::Status(ConnStatus::Recovered { kept: true, .. }) => Some("up again".into()),
            _ => None,
        })
        .collect();
    let nacks = [format!("nack {sn}"), format!("nack {behind}")];
    let [first, second] = nacks;
    assert_eq!(told[..5], [format!("overdue {sn}"), "down".into(), first, second, "drained".into()]);
    // The target was reachable all the time: its port, not its user, goes on at once (F3).
    assert_eq!(told[5..], [format!("delivered {sn}"), format!("delivered {behind}"), "up again".into()]);
}

/// [A6] [F5] One slow write does not walk through the backups: what was given to send before the connection was taken down does not take
/// it down again, nor does what waits behind it.
#[test]
fn one_slow_write_takes_one_target_down() {
    let mut pair = Pair::connected(PortConfig { autoswitch: true, ..slow(OnUserAckTimeout::Down) });
    pair.backup = true;
    let slow = pair.send(1, b"slow").expect("is accepted");
    let behind = pair.send(1, b"behind").expect("is accepted");
    pair.pass(TIMEOUT * 3 / 2);
    assert_eq!(pair.overdue(), [(slow.0, 1)]);
    assert_eq!((pair.source.peer(), pair.source.link()), (Some(NodeId(3)), Link::Up));
    let later = pair.send(1, b"later").expect("is accepted");
    pair.pass(TIMEOUT * 4);
    assert_eq!(pair.overdue(), [(slow.0, 1), (behind.0, 1)], "named at the backup, each once");
    assert_eq!((pair.source.state(), pair.source.link()), (State::Connected, Link::Up));
    pair.acknowledge(slow);
    pair.acknowledge(behind);
    // It waited behind them, and has its own time now.
    pair.pass(TIMEOUT - 30 * MS);
    assert_eq!((pair.source.state(), pair.source.link()), (State::Connected, Link::Up));
    assert_eq!(pair.overdue().len(), 2);
    pair.pass(TIMEOUT / 2);
    assert_eq!(pair.overdue().last(), Some(&(later.0, 1)));
    assert!(pair.source_events.iter().any(|e| matches!(
        e,
        Event::Status(
            ConnStatus::Switching { from: NodeId(3), reason: Reason::Timeout, .. }
                | ConnStatus::Down { reason: Reason::Timeout | Reason::NoBackup, .. }
        )
    )));
}
