//! How a path that was dead comes back (T4): after some good heartbeats, with little at first, and later and later if it dies again and again.
//!
//! ```text
//!             connected              held out long enough
//!   dead ----------------> rejoining ---------------------> good, slow start --> good
//!    ^                         |                                  |
//!    +-------------------------+----------------------------------+
//! ```
//!
//! A path that rejoins counts as suspect: it carries only if no other path is good, and then at once. A connection that merely broke, over a link
//! that is well, skips all of this (T2), unless the path flaps.

use super::path::Path;
use super::{Payload, Port};
use crate::cluster::Health;
use crate::config::Liveness;
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// From so many remembered deaths on a path is flapping: each further one doubles the time for which it is kept out.
const FLAPPING: u32 = 4;
/// One death is forgotten after this time without another one.
const FORGET: Duration = Duration::from_secs(60);
/// More are not remembered.
const MAX_DEATHS: u32 = 16;
/// No path is kept out for longer.
const LONGEST: Duration = Duration::from_secs(30);
/// What a path may have on its way when it carries again; it grows by what arrives.
const SLOW_START: u64 = 16 << 10;

/// What is remembered of a path's deaths, and what it has to do because of them.
#[derive(Debug, Default)]
pub(super) struct Rejoin {
    deaths: u32,
    /// When the last one was, less what is forgotten since.
    died: Time,
    /// For how long it must be well before it carries.
    hold: Duration,
    /// It is connected and has yet to prove itself.
    pub(super) waits: bool,
    /// Until when, if its link stays good; [`Time::NEVER`]: the link is not.
    pub(super) until: Time,
    /// What may be on its way, while that is less than usual.
    pub(super) cap: Option<u64>,
}

impl Rejoin {
    /// The path has died; `link_lost`: not its connection alone.
    pub(super) fn died(&mut self, now: Time, link_lost: bool, live: &Liveness) {
        self.forget(now);
        self.deaths = (self.deaths + 1).min(MAX_DEATHS);
        self.died = now;
        let usual = live.heartbeat * live.rejoin;
        // What it had not proved yet it has to prove still.
        let owed = if std::mem::take(&mut self.waits) { self.hold } else { Duration::ZERO };
        let hold = match self.deaths.checked_sub(FLAPPING) {
            Some(over) => usual.saturating_mul(2 << over).min(LONGEST.max(usual)),
            None if link_lost => usual,
            None => Duration::ZERO,
        };
        self.hold = hold.max(owed);
    }

    /// It is connected again.
    pub(super) fn connected(&mut self, now: Time, link_good: bool) {
        self.waits = !self.hold.is_zero();
        self.cap = self.waits.then_some(SLOW_START);
        self.until = if link_good { now + self.hold } else { Time::NEVER };
    }

    /// Its link has changed: only a time that is good from end to end counts.
    pub(super) fn link_changed(&mut self, now: Time, health: Health, live: &Liveness) {
        match health {
            Health::Good if self.until == Time::NEVER => self.until = now + self.hold,
            Health::Good => {}
            Health::Suspect | Health::Dead => self.until = Time::NEVER,
        }
        // Its connection broke before the link was found dead: that was the death of the path after all.
        if health == Health::Dead && self.deaths > 0 {
            self.hold = self.hold.max(live.heartbeat * live.rejoin);
        }
    }

    /// So much has arrived, of at most `usual` that may be on its way.
    pub(super) fn arrived(&mut self, bytes: u64, usual: u64) {
        self.cap = self.cap.map(|cap| cap + bytes).filter(|cap| *cap < usual);
    }

    fn forget(&mut self, now: Time) {
        while self.deaths > 0 && now.since(self.died) >= FORGET {
            self.deaths -= 1;
            self.died = self.died + FORGET;
        }
    }

    /// Deaths that were remembered at the last one, and for how long the path is kept out now.
    pub(super) fn figures(&self) -> (u32, Duration) {
        (self.deaths, if self.waits { self.hold } else { Duration::ZERO })
    }
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// Paths that have proved themselves carry again.
    pub(super) fn tend_rejoins(&mut self, now: Time) {
        for at in 0..self.paths.len() {
            let rejoin = &mut self.paths[at].rejoin;
            if rejoin.waits && rejoin.until <= now {
                rejoin.waits = false;
                self.stats.rejoins += 1;
                self.show_health(now, at, Reason::None);
            }
        }
    }

    /// When the next one has.
    pub(super) fn rejoin_deadline(&self) -> Time {
        let waiting = self.paths.iter().filter(|p| p.rejoin.waits && p.conn().is_some());
        waiting.map(|p| p.rejoin.until).min().unwrap_or(Time::NEVER)
    }

    /// Whether a path carries that is in doubt, since none is good: all that merely have to prove themselves do, those for which the source
    /// keeps no other path back first (T8); if there are none, the best of the others.
    pub(super) fn stands_in(&self, at: usize) -> bool {
        let class = self.paths.iter().filter(|p| p.is_rejoining()).filter_map(|p| p.class).min();
        match class {
            Some(_) => self.paths[at].is_rejoining() && self.paths[at].class == class,
            None => self.best_suspect() == Some(at),
        }
    }
}

impl Path {
    /// It has nothing against it but that it was dead.
    pub(super) fn is_rejoining(&self) -> bool {
        let suspect = self.conn().is_none_or(|c| c.suspect);
        self.rejoin.waits && !suspect && self.link_is_good()
    }
}
