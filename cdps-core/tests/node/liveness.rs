//! Heartbeats and verdicts: suspect, dead, one-way loss, freezes of either end, late timers, and what an idle link costs.

use std::net::SocketAddr;

use cdps_core::cluster::{Health, OneWay};
use cdps_core::id::NodeId;
use cdps_core::node::{LinkKey, Output};
use cdps_core::time::{Duration, Time};
use cdps_core::wire::Frame;

use crate::net::{End, MS, Mode, Net, address};

const SECOND: Duration = Duration::from_secs(1);

fn settled(links: u8, latency: Duration) -> (Net, SocketAddr) {
    let mut net = Net::pair(links, latency, false);
    net.settle();
    (net, address(2, 1))
}

/// When a link became this, after a mark.
fn became(net: &Net, mark: usize, node: u32, key: LinkKey, health: Health) -> Option<Time> {
    net.link_changes(mark, node)
        .iter()
        .find(|(_, of, state)| *of == key && state.health == health)
        .map(|change| change.0)
}

/// [T3, T5] A link that falls silent is suspect within suspect + a heartbeat, and dead within dead + a heartbeat. An acceptor asks half a
/// heartbeat later; while it hears the dialler, it learns only from that one's next heartbeat whether it is heard itself.
#[test]
fn silence_is_suspect_and_then_dead() {
    for mode in [Mode::Hold, Mode::HoldToDialler, Mode::HoldToAcceptor] {
        for offset in 0..8 {
            let (mut net, at) = settled(1, MS);
            net.run(offset * 31 * MS);
            let (start, mark) = (net.now, net.log.len());
            let (dialled, accepted) = (net.key(1, at, End::Dialler), net.key(2, at, End::Acceptor));
            net.set_mode(at, mode);
            net.run(3 * SECOND);
            let live = net.liveness.clone();
            let slack = 5 * MS;
            let suspect = became(&net, mark, 1, dialled, Health::Suspect).unwrap().since(start);
            assert!(suspect <= live.suspect + live.heartbeat + slack, "{mode:?}: suspect after {suspect:?}");
            assert!(suspect >= live.suspect - slack, "{mode:?}: suspect after {suspect:?}");
            let dead = became(&net, mark, 1, dialled, Health::Dead).unwrap().since(start);
            assert!(dead <= live.dead + live.heartbeat + slack, "{mode:?}: dead after {dead:?}");
            assert!(dead >= live.dead - live.heartbeat - slack, "{mode:?}: dead after {dead:?}");
            let suspect = became(&net, mark, 2, accepted, Health::Suspect).unwrap().since(start);
            let later = if mode == Mode::HoldToDialler { live.heartbeat } else { Duration::ZERO };
            assert!(
                suspect <= live.suspect + live.heartbeat * 3 / 2 + later + slack,
                "{mode:?}: accepted, suspect after {suspect:?}"
            );
            let dead = became(&net, mark, 2, accepted, Health::Dead).unwrap().since(start);
            assert!(dead <= live.dead + live.heartbeat + slack, "{mode:?}: accepted, dead after {dead:?}");
        }
    }
}

/// [T5] Where one direction is lost, the end that still hears says so, within the dead time, and the other one can not; silence in both
/// directions has no such name. The name stands, and the link is not good, until an answer comes, also beyond its death.
#[test]
fn one_way_loss_has_a_name() {
    for mode in [Mode::Hold, Mode::HoldToDialler, Mode::HoldToAcceptor] {
        for (offset, latency) in [(0, MS), (90, MS), (130, 20 * MS), (200, 60 * MS)] {
            let (mut net, at) = settled(1, latency);
            net.run(SECOND + offset * MS);
            let (start, mark) = (net.now, net.log.len());
            let ends = [(1, net.key(1, at, End::Dialler)), (2, net.key(2, at, End::Acceptor))];
            net.set_mode(at, mode);
            // The dead time counts from what was heard last, which may have been a while before.
            net.run(net.liveness.dead - net.liveness.heartbeat * 3 / 2);
            let hears = match mode {
                Mode::HoldToDialler => Some(2),
                Mode::HoldToAcceptor => Some(1),
                Mode::Hold | Mode::Pass | Mode::Refuse => None,
            };
            for (node, key) in ends {
                let state = net.node(node).link_state(key);
                let expected = (hears == Some(node)).then_some(OneWay::Out);
                assert_eq!(
                    (state.health, state.one_way),
                    (Health::Suspect, expected),
                    "{mode:?} {latency:?} {node}"
                );
            }
            net.run(3 * SECOND);
            for (node, key) in ends {
                let changes: Vec<_> =
                    net.link_changes(mark, node).into_iter().filter(|c| c.1 == key).collect();
                let healths: Vec<_> = changes.iter().map(|c| (c.2.health, c.2.one_way)).collect();
                let mut expected = vec![(Health::Suspect, None), (Health::Dead, None)];
                if hears == Some(node) {
                    expected = vec![
                        (Health::Suspect, None),
                        (Health::Suspect, Some(OneWay::Out)),
                        (Health::Dead, Some(OneWay::Out)),
                    ];
                }
                assert_eq!(healths, expected, "{mode:?} {latency:?} {node} from {start:?}");
            }
            net.set_mode(at, Mode::Pass);
            net.run(11 * SECOND);
            for (node, key) in ends {
                let state = net.node(node).link_state(key);
                assert_eq!((state.health, state.one_way), (Health::Good, None), "{mode:?} {latency:?}");
            }
        }
    }
}

/// [T5] [T9] A peer that was frozen, and speaks before it has read what came meanwhile, does hear.
#[test]
fn a_frozen_peer_is_not_deaf() {
    for frozen in [1, 2] {
        let (mut net, at) = settled(2, MS);
        let mark = net.log.len();
        net.freeze(frozen);
        net.run(1200 * MS);
        net.thaw(frozen, true);
        net.run(3 * SECOND);
        assert!(net.is_good(at, 1, 2));
        for node in [1, 2] {
            let named = net.link_changes(mark, node).into_iter().find(|c| c.2.one_way.is_some());
            assert_eq!(named, None, "{frozen} was frozen");
        }
    }
}

/// [T3] Suspicion ends with the next answer; a burst of everything that was held is answered once.
#[test]
fn a_burst_is_answered_once() {
    let (mut net, at) = settled(1, MS);
    net.set_mode(at, Mode::HoldToAcceptor);
    net.run(SECOND);
    assert_eq!(net.health(1, at, End::Dialler), Health::Suspect);
    let (mark, sent) = (net.log.len(), net.sent.len());
    net.set_mode(at, Mode::Pass);
    net.run(3 * MS);
    assert_eq!(net.health(1, at, End::Dialler), Health::Good);
    assert_eq!(net.health(2, at, End::Acceptor), Health::Good);
    let key = net.key(1, at, End::Dialler);
    assert_eq!(net.link_changes(mark, 1).iter().filter(|(_, of, _)| *of == key).count(), 1);
    let answers = net.sent[sent..].iter().filter(|(_, by, _, _)| *by == NodeId(2)).count();
    assert!(answers <= 4, "{answers} frames: the harness hands over one frame at a time, a driver a batch");
    net.run(5 * SECOND);
    assert!(net.is_good(at, 1, 2));
}

/// [T3, T5] Several heartbeats that are read at once cost one answer, which echoes the newest.
#[test]
fn heartbeats_read_together_cost_one_answer() {
    let (mut net, at) = settled(1, MS);
    let (key, conn) = net.conn(at, End::Acceptor);
    // Replies that this node owes: built while the driver has not polled yet.
    let beats: Vec<Frame> =
        net.sent.iter().rev().filter(|entry| entry.1 == NodeId(1)).map(|e| e.3.clone()).take(1).collect();
    let Frame::Heartbeat(last) = beats[0].clone() else { panic!("no heartbeat") };
    let sent = net.sent.len();
    net.with(2, |node, now| {
        for later in 1..=5 {
            let beat = cdps_core::wire::Heartbeat {
                sent: last.sent + later,
                count: last.count + later,
                reply: true,
                ..last
            };
            node.handle_frame(now, key, conn, Frame::Heartbeat(beat)).unwrap();
        }
    });
    let answers: Vec<&Frame> = net.sent[sent..].iter().filter(|e| e.1 == NodeId(2)).map(|e| &e.3).collect();
    assert!(
        matches!(answers[..], [Frame::Heartbeat(beat)] if beat.echo == last.sent + 5 && !beat.reply),
        "{answers:?}"
    );
}

/// [T2, T5] The dialler is frozen and its kernel takes everything: the acceptor asks by itself, and finds it dead.
#[test]
fn an_acceptor_finds_a_frozen_dialler() {
    let (mut net, at) = settled(2, MS);
    let (start, mark, sent) = (net.now, net.log.len(), net.sent.len());
    let key = net.key(2, at, End::Acceptor);
    net.freeze(1);
    net.run(3 * SECOND);
    assert!(
        became(&net, mark, 2, key, Health::Dead).unwrap().since(start)
            <= net.liveness.dead + net.liveness.heartbeat
    );
    let probes = net.sent[sent..]
        .iter()
        .filter(|e| matches!(&e.3, Frame::Heartbeat(beat) if beat.reply) && e.1 == NodeId(2));
    assert!((6..=12).contains(&probes.count()), "three to six on each of two links");
    assert!(!net.is_reachable(2, 1));
    net.thaw(1, true);
    net.run(SECOND);
    assert!(net.is_good(at, 1, 2) && net.is_reachable(2, 1) && net.is_reachable(1, 2));
}

/// [T9] A node that was frozen reads what has come, probes once more, and blames nobody, whichever of the two its driver does first.
#[test]
fn a_thawed_node_blames_nobody() {
    for timer_first in [false, true] {
        for frozen in [600 * MS, 1400 * MS] {
            let (mut net, at) = settled(3, MS);
            // Frozen for less than the dead time: the peer has not hung up.
            net.freeze(1);
            net.run(frozen);
            let (mark, sent) = (net.log.len(), net.sent.len());
            net.thaw(1, timer_first);
            net.run(50 * MS);
            assert!(net.link_changes(mark, 1).iter().all(|(_, _, state)| state.health == Health::Good));
            assert_eq!(net.node(1).counters().late, 1, "{frozen:?} {timer_first}");
            let probes = net.sent[sent..]
                .iter()
                .filter(|e| matches!(&e.3, Frame::Heartbeat(beat) if beat.reply) && e.1 == NodeId(1));
            assert_eq!(probes.count(), 3, "one more probe on each link");
            assert!(
                net.node(1).link_state(net.key(1, at, End::Dialler)).rtt.unwrap() < 3 * MS,
                "the pause is no round trip"
            );
            net.run(5 * SECOND);
            assert!(net.link_changes(mark, 1).iter().all(|(_, _, state)| state.health == Health::Good));
        }
    }
}

/// [T9] A pause counts once, however much there is to read after it and whatever else is overdue.
#[test]
fn a_pause_counts_once() {
    let (mut net, _) = settled(2, MS);
    net.set_mode(address(2, 2), Mode::Refuse);
    net.break_conns(address(2, 2));
    net.run(SECOND);
    net.freeze(1);
    net.run(1400 * MS);
    net.thaw(1, false);
    net.run(SECOND);
    assert_eq!(net.node(1).counters().late, 1);
}

/// [T9] Time jumps (a suspended machine): both ends see it, and both links and verdicts survive; the peer that really is gone is found after all.
#[test]
fn a_jump_of_time_is_no_verdict() {
    for gone in [false, true] {
        let (mut net, at) = settled(1, MS);
        net.freeze(1);
        net.freeze(2);
        net.run(Duration::from_secs(3600));
        if gone {
            net.set_mode(at, Mode::Hold);
        }
        let mark = net.log.len();
        let start = net.now;
        net.thaw(2, true);
        net.thaw(1, true);
        net.run(100 * MS);
        assert!(net.link_changes(mark, 1).iter().all(|(_, _, state)| state.health == Health::Good));
        assert!(net.is_reachable(1, 2));
        net.run(3 * SECOND);
        let key = net.key(1, at, End::Dialler);
        match became(&net, mark, 1, key, Health::Suspect) {
            Some(suspect) => {
                assert!(gone && suspect.since(start) >= net.liveness.suspect);
                assert!(became(&net, mark, 1, key, Health::Dead).is_some_and(|dead| dead > suspect));
            }
            None => assert!(!gone),
        }
    }
}

/// [T9] A timer that is late by less than a heartbeat may be late because an answer was not read yet: the verdict is put off once.
#[test]
fn a_little_late_is_no_verdict_either() {
    let (mut net, at) = settled(1, MS);
    let key = net.key(1, at, End::Dialler);
    // A probe goes out, its answer arrives, and nothing is run for 240 ms.
    let sent = net.sent.len();
    net.run_until("a probe", SECOND, |net| net.sent.len() > sent);
    net.freeze(1);
    net.run(240 * MS);
    let mark = net.log.len();
    net.thaw(1, true);
    net.run(SECOND);
    assert_eq!(became(&net, mark, 1, key, Health::Suspect), None);

    // A driver that is always that late finds a silent link all the same.
    net.lag(1, 60 * MS);
    net.run(SECOND);
    let (start, mark) = (net.now, net.log.len());
    net.set_mode(at, Mode::Hold);
    net.run(3 * SECOND);
    let suspect = became(&net, mark, 1, key, Health::Suspect).unwrap().since(start);
    assert!(suspect <= net.liveness.suspect + net.liveness.heartbeat + 250 * MS, "{suspect:?}");
    let dead = became(&net, mark, 1, key, Health::Dead).unwrap().since(start);
    assert!(dead <= net.liveness.dead + net.liveness.heartbeat + 250 * MS, "{dead:?}");
}

/// [T3, T5] A minute of healthy links with any round trip below the limits: nobody is suspected.
#[test]
fn healthy_links_are_never_suspected() {
    for latency in [Duration::ZERO, MS / 20, MS, 20 * MS, 90 * MS, 150 * MS, 300 * MS] {
        let mut net = Net::pair(4, latency, true);
        net.lag(1, 3 * MS);
        net.run(3 * SECOND);
        let mark = net.log.len();
        net.run(60 * SECOND);
        for node in [1, 2] {
            let bad: Vec<_> = net
                .link_changes(mark, node)
                .into_iter()
                .filter(|change| change.2.health != Health::Good)
                .collect();
            assert!(bad.is_empty(), "latency {latency:?}: {bad:?}");
            assert!(net.node(node).isolated() == (node == 0));
            assert_eq!(net.node(node).counters().late, 0);
        }
    }
}

/// [T3] A path that becomes slow for good is suspect for a while, and is then taken for what it is.
#[test]
fn a_slow_path_is_learnt() {
    let (mut net, at) = settled(1, MS);
    net.set_latency(at, 200 * MS);
    net.run(10 * SECOND);
    let mark = net.log.len();
    net.run(60 * SECOND);
    assert!(net.link_changes(mark, 1).iter().all(|(_, _, state)| state.health == Health::Good));
    assert!(net.is_good(at, 1, 2));
}

/// [T5] Four idle links cost one timer an interval at the dialler, and none at the acceptor; each end sends one heartbeat a link and interval.
#[test]
fn idle_links_cost_one_timer() {
    let (mut net, _) = settled(4, MS);
    net.wakeups(1);
    net.wakeups(2);
    let sent = net.sent.len();
    net.run(10 * SECOND);
    assert_eq!(net.wakeups(1), 40);
    assert_eq!(net.wakeups(2), 0);
    assert_eq!(net.sent.len() - sent, 2 * 4 * 40);
}

/// [T5] A link that joins while the beat is due, and a little late, does not take the beat from the others.
#[test]
fn joining_links_leave_the_beat_alone() {
    let (mut net, _) = settled(2, Duration::ZERO);
    net.lag(1, 13 * MS);
    let (mark, sent) = (net.log.len(), net.sent.len());
    for _ in 0..8 {
        net.run(net.node(1).poll_timeout().since(net.now));
        net.break_conns(address(2, 1));
        net.run(20 * MS);
    }
    let steady = net.key(2, address(2, 2), End::Acceptor);
    assert!(net.link_changes(mark, 2).iter().all(|(_, key, _)| *key != steady));
    let beats = net.sent[sent..].iter().filter(|e| e.1 == NodeId(1) && e.2 == address(2, 2)).count();
    assert!(beats >= 7, "{beats} beats");
}

/// [T5] A node without links, or that only waits, is never woken.
#[test]
fn nothing_to_do_costs_nothing() {
    let mut net = Net::new(cdps_core::config::Liveness::default());
    net.open(1, &[(2, &[])]);
    assert_eq!(net.node(1).poll_timeout(), Time::NEVER);
}

/// [T5] A heartbeat says what was heard of the peer, and counts.
#[test]
fn heartbeats_carry_last_heard() {
    let (mut net, _) = settled(1, 10 * MS);
    let sent = net.sent.len();
    net.run(SECOND);
    let beats: Vec<_> = net.sent[sent..]
        .iter()
        .filter_map(|(at, by, _, frame)| match frame {
            Frame::Heartbeat(beat) => Some((*at, by.0, *beat)),
            _ => None,
        })
        .collect();
    for (at, by, beat) in &beats {
        assert_eq!(beat.sent, at.0);
        assert_eq!(beat.reply, *by == 1);
        let heard = at.0 - beat.held;
        assert!(net.sent.iter().any(|(_, other, _, frame)| other.0 != *by
            && matches!(frame, Frame::Heartbeat(theirs) if theirs.sent == beat.echo && theirs.sent + 10_000_000 == heard)));
    }
    let counts: Vec<u64> = beats.iter().filter(|beat| beat.1 == 1).map(|beat| beat.2.count).collect();
    assert!(counts.len() == 4 && counts.windows(2).all(|pair| pair[1] == pair[0] + 1), "{counts:?}");
    assert!(
        beats
            .iter()
            .all(|(_, by, beat)| beat.heard + u64::from(*by == 1) == beat.count || beat.heard == beat.count)
    );
}

/// [T3] The round-trip time alone is told once a second at most.
#[test]
fn round_trip_times_are_told_rarely() {
    let (mut net, at) = settled(1, MS);
    let mark = net.log.len();
    for step in 0..100u32 {
        net.set_latency(at, (1 + step % 50) * MS);
        net.run(100 * MS);
    }
    let told = net.since(mark, 1).filter(|(_, output)| matches!(output, Output::Link { .. })).count();
    assert!((1..=10).contains(&told), "{told} in 10 s");
}
