//! Round-trip time of a link, and how long a probe may stay unanswered because of it (T3).

use crate::config::Liveness;
use crate::time::Duration;

/// Smoothed round-trip time and its variation, as RFC 6298 has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rtt {
    estimate: Option<(Duration, Duration)>,
}

impl Rtt {
    pub(super) fn smoothed(self) -> Option<Duration> {
        self.estimate.map(|(smoothed, _)| smoothed)
    }

    /// Age at which an unanswered probe makes the link suspect: max(suspect, 2 · SRTT + 4 · var). Kept below `dead`, so that suspicion
    /// always comes first.
    pub(super) fn limit(self, liveness: &Liveness) -> Duration {
        let ceiling = liveness.suspect.max(liveness.dead * 3 / 4);
        let wanted = self.estimate.map_or(Duration::ZERO, |(smoothed, variation)| {
            smoothed.saturating_mul(2).saturating_add(variation.saturating_mul(4))
        });
        wanted.clamp(liveness.suspect, ceiling)
    }

    /// Within what time something that is sent should be known to the peer: the round trip and its variation, and half a heartbeat for what
    /// TCP makes up for by itself. Unlike [`Rtt::limit`] it has no floor: it judges what the peer says, not silence.
    pub(super) fn reach(self, liveness: &Liveness) -> Duration {
        let (smoothed, variation) = self.estimate.unwrap_or_default();
        smoothed.saturating_add(variation.saturating_mul(4)).min(liveness.dead) + liveness.heartbeat / 2
    }

    /// Takes a measurement. One that is above the limit counts as the limit: a single stall must not make the next one invisible, while
    /// a path that has become slow for good is learnt within a few answers.
    pub(super) fn sample(&mut self, measured: Duration, liveness: &Liveness) {
        self.estimate = Some(match self.estimate {
            None => {
                let measured = measured.min(liveness.dead);
                (measured, measured / 2)
            }
            Some((smoothed, variation)) => {
                let measured = measured.min(self.limit(liveness));
                let off = measured.abs_diff(smoothed);
                ((smoothed * 7 + measured) / 8, (variation * 3 + off) / 4)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// [T3] The limit is the floor on a fast path, follows a slow one, and stays below dead.
    #[test]
    fn limit_follows_the_round_trip_time() {
        let liveness = Liveness::default();
        let mut rtt = Rtt::default();
        assert_eq!(rtt.limit(&liveness), liveness.suspect);
        (0..50).for_each(|_| rtt.sample(MS, &liveness));
        assert_eq!(rtt.limit(&liveness), liveness.suspect);
        (0..50).for_each(|_| rtt.sample(150 * MS, &liveness));
        assert!((290 * MS..330 * MS).contains(&rtt.limit(&liveness)), "{rtt:?}");
        (0..50).for_each(|_| rtt.sample(5000 * MS, &liveness));
        assert_eq!(rtt.limit(&liveness), liveness.dead * 3 / 4);
        assert!(rtt.limit(&liveness) < liveness.dead);
    }

    /// [T3] One stall of a second does not blind the link for the next one.
    #[test]
    fn one_stall_hardly_moves_the_limit() {
        let liveness = Liveness::default();
        let mut rtt = Rtt::default();
        (0..50).for_each(|_| rtt.sample(MS, &liveness));
        rtt.sample(1000 * MS, &liveness);
        assert!(rtt.limit(&liveness) < liveness.suspect + liveness.heartbeat, "{:?}", rtt.limit(&liveness));
        (0..4).for_each(|_| rtt.sample(MS, &liveness));
        assert_eq!(rtt.limit(&liveness), liveness.suspect);
    }
}
