//! Paths that were dead (T4): what a simulated process sees of their deaths and returns, by itself, and when it lets them carry.

use std::collections::BTreeMap;

use cdps_core::cluster::Health;
use cdps_core::config::Liveness;
use cdps_core::id::PathId;
use cdps_core::time::nanos;

use crate::env::{MS, SECOND};
use crate::host::Slot;

/// Deaths in a row, none longer than this after the one before, that make a path a flapping one.
const MEMORY: u64 = 60 * SECOND;
const FLAPPING: usize = 4;
/// No path has to be kept out for longer.
const LONGEST: u64 = 30 * SECOND;

/// What became of the paths of a port.
#[derive(Debug, Default)]
pub(crate) struct History(BTreeMap<PathId, Past>);

#[derive(Debug)]
struct Past {
    deaths: Vec<u64>,
    /// How long it must be well before it carries beside good ones; 0: it has been, or need not.
    owed: u64,
    link_good: bool,
    /// Since when it is connected, and its link good.
    since: u64,
}

impl Past {
    /// What was asked of the path, if it has been well for so long by now.
    fn prove(&mut self, now: u64) -> u64 {
        let lasted = now.saturating_sub(self.since);
        // Clocks do not run alike, and timers are a little late or early.
        if lasted + MS < self.owed - self.owed / 100 { 0 } else { std::mem::take(&mut self.owed) }
    }

    /// The deaths that the path cannot have been forgiven yet: those of the last minute.
    fn recent(&self) -> usize {
        let last = self.deaths.last().copied().unwrap_or(0);
        self.deaths.iter().filter(|death| last - **death < MEMORY).count()
    }
}

impl History {
    /// A connection of a path came up. The one before may have been there until now.
    pub(crate) fn up(&mut self, path: PathId, now: u64) {
        let past = self.0.entry(path).or_insert_with(|| Past {
            deaths: Vec::new(),
            owed: 0,
            link_good: true,
            since: now,
        });
        past.prove(now);
        past.since = now;
    }

    /// It is gone.
    pub(crate) fn down(&mut self, path: PathId, live: &Liveness, now: u64) {
        let Some(past) = self.0.get_mut(&path) else { return };
        past.prove(now);
        past.deaths.push(now);
        past.since = u64::MAX;
        if let Some(over) = past.recent().checked_sub(FLAPPING) {
            past.owed = (nanos(live.heartbeat) * 3 * (2 << over.min(10))).min(LONGEST);
        }
    }

    /// Its link has changed.
    pub(crate) fn link(&mut self, path: PathId, health: Health, live: &Liveness, now: u64) {
        let Some(past) = self.0.get_mut(&path) else { return };
        if health == Health::Good {
            if !std::mem::replace(&mut past.link_good, true) && past.since != u64::MAX {
                past.since = now;
            }
            return;
        }
        past.prove(now);
        past.link_good = false;
        if past.since != u64::MAX {
            past.since = now;
        }
        if health == Health::Dead {
            past.owed = past.owed.max(nanos(live.heartbeat) * 3);
        }
    }

    /// The session has other paths now.
    pub(crate) fn forget(&mut self, path: PathId) {
        self.0.remove(&path);
    }
}

impl Slot {
    /// What a path shows that is given messages now, or what is wrong with it: it has yet to prove itself, and another one is good.
    pub(crate) fn proves(&mut self, path: PathId, now: u64) -> Result<Proof, String> {
        let Some(past) = self.history.0.get_mut(&path).filter(|past| past.owed > 0) else {
            return Ok(Proof::None);
        };
        let (owed, lasted, flaps) = (past.owed, now.saturating_sub(past.since), past.recent() >= FLAPPING);
        if past.prove(now) > 0 {
            return Ok(if flaps { Proof::Damped } else { Proof::Rejoined });
        }
        let good = |k: &PathId| {
            let stats = self.port.path_stats(*k);
            *k != path && stats.is_some_and(|s| s.health == Health::Good && s.class.is_some())
        };
        match (0..64).map(PathId).find(good) {
            Some(other) => Err(format!(
                "{}: path {path} carries {} ms after its return, not {} ms, and path {other} is good",
                self.session,
                lasted / MS,
                owed / MS
            )),
            None => Ok(Proof::None),
        }
    }
}

/// What a path has shown that carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// Nothing was asked of it, or nobody else could carry.
    None,
    /// That it is well, after it was dead.
    Rejoined,
    /// The same, though it flaps.
    Damped,
}
