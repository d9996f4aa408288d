//! Standby paths (T8): connected, and used only while no normal one is good.

use super::*;
use crate::config::PathClass;

/// A pair whose last paths are standby.
fn with_standby(config: PortConfig, standby: usize) -> Pair {
    let mut config = PortConfig { ack: AckModel::Asynchronous, ..config };
    let addresses = &mut config.targets[0].addresses;
    let normal = addresses.len() - standby;
    addresses[normal..].iter_mut().for_each(|a| a.class = PathClass::Standby);
    let mut pair = Pair::connected(config);
    pair.run();
    pair
}

/// [T8] Whatever the rule of choice: a standby path is connected, carries nothing while a normal path is good, everything when none is, and
/// nothing again when one is back.
#[test]
fn standby_carries_only_alone() {
    use crate::config::Balance::{Fastest, Pull, RoundRobin};
    for balance in [Fastest, RoundRobin, Pull] {
        let mut pair = with_standby(PortConfig { balance, ..config(3) }, 2);
        assert_eq!(pair.source.stats().paths_up, 3);
        let send = |pair: &mut Pair| {
            let before = sent_bytes(pair);
            for _ in 0..20 {
                pair.send(0, &[0; 1000]).unwrap();
            }
            pair.run();
            let each = sent_bytes(pair).into_iter().zip(before).map(|(now, before)| now > before);
            each.collect::<Vec<_>>()
        };
        assert_eq!(send(&mut pair), [true, false, false], "{balance:?}");
        pair.silent = vec![PathId(0)];
        pair.break_path(0);
        let alone = send(&mut pair);
        assert!(!alone[0] && (alone[1] || alone[2]), "{balance:?} {alone:?}");
        pair.silent.clear();
        pair.come_back(0);
        assert_eq!(send(&mut pair), [true, false, false], "{balance:?}, again");
        assert_eq!(pair.completed().len(), 60);
    }
}

/// [T8] [T3] A normal path in doubt counts as none: what it held goes on the standby one at once, and new messages too.
#[test]
fn standby_stands_in_for_a_suspect() {
    let mut pair = with_standby(config(2), 1);
    pair.silent = vec![PathId(0)];
    for _ in 0..3 {
        pair.send(0, &[0; 100]).unwrap();
        pair.run();
    }
    assert_eq!((sent_bytes(&pair), pair.received().len()), (vec![312, 0], 0));
    pair.pass(MS * 250);
    assert_eq!(pair.source.path_stats(PathId(0)).unwrap().health, Health::Suspect);
    assert_eq!(pair.received().len(), 3);
    pair.send(0, &[0; 100]).unwrap();
    pair.run();
    assert_eq!((sent_bytes(&pair)[0], pair.received().len()), (312, 4));
}

/// [T8] [M3] The target's messages keep off the standby path too, from the first one on: until it is told what a path is for, it carries none.
#[test]
fn standby_is_for_both_ends() {
    let mut pair = Pair::new({
        let mut config = PortConfig { ack: AckModel::Asynchronous, ..config(2) };
        config.targets[0].addresses[0].class = PathClass::Standby;
        config
    });
    pair.source.connect(pair.now, None).unwrap();
    while pair.act(true) {}
    let send = |pair: &mut Pair| {
        let message = Outbound {
            stream: StreamId(0),
            len: 100,
            ack: None,
            deadline: None,
            barrier: false,
            payload: vec![0; 100],
        };
        pair.target.as_mut().unwrap().send(pair.now, message).unwrap();
    };
    let sent = |pair: &Pair| {
        let of = |k| pair.target.as_ref().unwrap().path_stats(PathId(k)).unwrap().payload_sent;
        (of(0), of(1))
    };
    send(&mut pair);
    // The target writes before anything of the source has arrived.
    pair.carry(false);
    assert_eq!(sent(&pair), (0, 0));
    for k in 1..=3 {
        pair.run();
        assert_eq!(sent(&pair), (0, 104 * k));
        send(&mut pair);
    }
    pair.run();
    pair.silent = vec![PathId(1)];
    pair.break_path(1);
    send(&mut pair);
    pair.run();
    assert_eq!(sent(&pair), (104, 104 * 4));
}

/// [T8] With standby paths alone all of them carry.
#[test]
fn nothing_but_standby() {
    let balance = crate::config::Balance::RoundRobin;
    let mut pair = with_standby(PortConfig { balance, ..config(2) }, 2);
    for _ in 0..4 {
        pair.send(0, &[0; 100]).unwrap();
        pair.run();
    }
    assert_eq!(sent_bytes(&pair), [208, 208]);
}

/// [T8] [A5] Receipts travel on a normal path, also when the standby one was heard last.
#[test]
fn receipts_keep_off_standby() {
    let mut pair = with_standby(config(2), 1);
    let (now, target) = (pair.now, pair.target.as_mut().unwrap());
    let (path, conn) = pair.conns[1];
    let frames = pair.frames[&(true, path)];
    target.take_kicks();
    target.handle_inbound(now, path, conn, frames, &mut Vec::new(), true).unwrap();
    assert_eq!(target.feedback_path(), Some(0));
}
