//! Paths that were dead come back (T4).

use super::*;
use crate::cluster::LinkState;
use crate::config::Liveness;

const GOOD: LinkState = LinkState { health: Health::Good, ..LinkState::DEAD };

fn pair(paths: u8) -> Pair {
    let balance = crate::config::Balance::RoundRobin;
    Pair::connected(PortConfig { ack: AckModel::Asynchronous, balance, ..config(paths) })
}

impl Pair {
    /// A link is found dead, at both ends, and comes back with the path's next connection.
    fn kill_link(&mut self, path: u16) {
        let (now, path) = (self.now, PathId(path));
        self.source.handle_link(now, path, LinkState::DEAD);
        self.target.as_mut().unwrap().handle_link(now, path, LinkState::DEAD);
        self.run();
        self.come_back(path.0);
        let now = self.now;
        self.source.handle_link(now, path, GOOD);
        self.target.as_mut().unwrap().handle_link(now, path, GOOD);
        self.run();
    }

    fn path(&self, path: u16) -> PathStats {
        self.source.path_stats(PathId(path)).unwrap()
    }

    /// The source breaks a path's connection and the driver makes the next one.
    fn flap(&mut self, path: u16) {
        self.break_path(path);
        self.come_back(path);
    }

    fn steps_of(&self, path: u16) -> Vec<(Health, Reason)> {
        let told = |e: &Event<Vec<u8>, Vec<u8>>| match e {
            Event::Path { path: of, health, reason } if of.0 == path => Some((*health, *reason)),
            _ => None,
        };
        self.source_events.iter().filter_map(told).collect()
    }
}

/// [T4] After three good heartbeats a path that was dead carries again, not before; a doubt about its link starts the count anew. The user is told
/// of each step.
#[test]
fn a_dead_path_proves_itself() {
    let mut pair = pair(2);
    let live = Liveness::default();
    pair.source_events.clear();
    pair.kill_link(1);
    let carried = |pair: &mut Pair| {
        let before = pair.path(1).payload_sent;
        for _ in 0..20 {
            pair.send(0, &[0; 20_000]).unwrap();
        }
        pair.run();
        pair.path(1).payload_sent > before
    };
    assert_eq!(pair.path(1).kept_out, live.heartbeat * 3);
    assert!(!carried(&mut pair));
    pair.pass(live.heartbeat * 2);
    let doubt = LinkState { health: Health::Suspect, ..GOOD };
    pair.source.handle_link(pair.now, PathId(1), doubt);
    pair.source.handle_link(pair.now, PathId(1), GOOD);
    pair.pass(live.heartbeat * 3 - MS);
    assert!(!carried(&mut pair));
    pair.pass(MS);
    assert!(carried(&mut pair));
    assert_eq!((pair.path(1).kept_out, pair.path(1).deaths), (Duration::ZERO, 1));
    let (rejoining, good) = ((Health::Suspect, Reason::Rejoining), (Health::Good, Reason::None));
    assert_eq!(pair.steps_of(1), [(Health::Dead, Reason::Unreachable), rejoining, good]);
    assert!(pair.nacked().is_empty());
}

/// [T4] [F1] If no other path is left, one that rejoins carries at once, however often it died; and all of them, if all rejoin.
#[test]
fn the_only_path_is_not_kept_out() {
    let mut only = pair(1);
    for round in 1..=8 {
        only.kill_link(0);
        only.send(0, b"at once").unwrap();
        only.run();
        assert_eq!(only.received().len(), round);
    }
    assert!(only.path(0).kept_out > Duration::from_secs(5));
    let mut both = pair(2);
    both.kill_link(0);
    both.kill_link(1);
    let before = [both.path(0).payload_sent, both.path(1).payload_sent];
    for _ in 0..4 {
        both.send(0, b"shared").unwrap();
        both.run();
    }
    assert!(both.path(0).payload_sent > before[0] && both.path(1).payload_sent > before[1]);
}

/// [T2] [T4] A connection that merely breaks is dialled and used at once. The fourth time within a minute the path flaps, and is kept out longer each
/// time, up to half a minute; a minute without a death forgives one.
#[test]
fn a_flapping_path_is_damped() {
    let mut pair = pair(2);
    let mut kept = Vec::new();
    for _ in 0..12 {
        pair.flap(0);
        let stats = pair.path(0);
        assert_eq!(stats.health == Health::Good, stats.kept_out.is_zero());
        kept.push(stats.kept_out.as_millis());
    }
    assert_eq!(kept, [0, 0, 0, 1500, 3000, 6000, 12_000, 24_000, 30_000, 30_000, 30_000, 30_000]);
    assert_eq!(pair.path(0).deaths, 12);
    pair.pass(Duration::from_millis(29_990));
    assert_eq!(pair.path(0).health, Health::Suspect);
    pair.pass(MS * 20);
    assert_eq!(pair.path(0).health, Health::Good);
    pair.pass(Duration::from_secs(9 * 60));
    pair.flap(0);
    assert_eq!((pair.path(0).deaths, pair.path(0).kept_out.as_millis()), (4, 1500));
    pair.pass(Duration::from_secs(5 * 60));
    pair.flap(0);
    assert_eq!((pair.path(0).deaths, pair.path(0).kept_out.as_millis()), (1, 0));
}

/// [T4] [T3] Slow start: a path that rejoined gets little until something has arrived there, however fast it looks, and the rest does not wait for
/// it; what arrives makes it more. A black hole swallows next to nothing.
#[test]
fn a_rejoined_path_starts_slowly() {
    for black_hole in [true, false] {
        let mut pair = pair(2);
        pair.kill_link(1);
        pair.pass(Duration::from_secs(1));
        assert_eq!(pair.path(1).health, Health::Good);
        if black_hole {
            pair.silent = vec![PathId(1)];
        }
        let before = pair.path(1).payload_sent;
        for _ in 0..400 {
            pair.send(0, &[0; 2000]).unwrap();
        }
        pair.run();
        let first = pair.path(1).in_flight.max(pair.path(1).payload_sent - before);
        assert!(first > 0, "it is tried");
        if black_hole {
            assert!(first < 20_000, "{first} bytes");
            assert!(pair.received().len() < 400 && pair.path(0).payload_sent > 700_000);
            pair.pass(MS * 300);
        } else {
            assert!(first > 50_000, "{first} bytes");
        }
        assert_eq!(pair.received().len(), 400, "{black_hole}");
        if !black_hole {
            pair.silent = vec![PathId(1)];
            for _ in 0..400 {
                pair.send(0, &[0; 2000]).unwrap();
            }
            pair.run();
            assert!(pair.path(1).in_flight > 100_000, "what arrived has made it more: {:?}", pair.path(1));
        }
    }
}
