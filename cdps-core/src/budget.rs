//! One failover budget, and the timers that follow from it (F12): how long the pause may last from the loss of a target until a backup has
//! taken over, without what users take.

use crate::config::{ConfigError, Liveness, PortConfig};
use crate::time::Duration;

/// Smallest and largest budget.
const LEAST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(600);

impl Liveness {
    /// Timers of the links that a budget leads to: of 3 s those of a local network, [`Liveness::default`]. Single ones may be changed
    /// afterwards; [`Liveness::check`] says whether they still fit.
    #[must_use]
    pub fn for_budget(budget: Duration) -> Liveness {
        Liveness {
            failover_budget: Some(budget),
            heartbeat: budget / 12,
            suspect: budget / 15,
            dead: budget / 2,
            lease: budget * 2 / 5,
            tcp_user_timeout: None,
            handshake_timeout: budget.max(Duration::from_secs(1)),
            redial_min: budget / 30,
            redial_max: Liveness::default().redial_max.max(budget / 30),
            rejoin: Liveness::default().rejoin,
        }
    }

    /// Longest time from the last sign of a target until it is given up: the dead time, a heartbeat (a loss in one direction counts from the
    /// first heartbeat that gets no answer), and the last look before the verdict.
    #[must_use]
    pub fn detection(&self) -> Duration {
        self.dead + self.heartbeat + self.heartbeat / 8
    }

    /// What may be left of the lease then, with what is added for clocks that do not run alike.
    #[must_use]
    pub fn lease_rest(&self) -> Duration {
        (self.lease + self.lease / 50).saturating_sub(self.dead)
    }

    /// After so long the kernel gives a connection up whose data is not acknowledged (`TCP_USER_TIMEOUT`): later than this library does.
    #[must_use]
    pub fn tcp_user_timeout(&self) -> Duration {
        self.tcp_user_timeout.unwrap_or(self.dead * 2)
    }

    pub(crate) fn check_budget(&self) -> Result<(), ConfigError> {
        let Some(budget) = self.failover_budget else { return Ok(()) };
        if !(LEAST..=MOST).contains(&budget) {
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let (value, min, max) = (ms(budget), ms(LEAST), ms(MOST));
            return Err(ConfigError::Range { name: "failover_budget in ms", value, min, max });
        }
        check(budget, self, Duration::ZERO, Duration::ZERO)
    }
}

impl PortConfig {
    /// Start values of a port on a node with these timers: with a budget, the port's own or else the node's, its connect, ack, switch and
    /// session timeouts follow from it, and from what a grace for lost targets leaves of it.
    #[must_use]
    pub fn with_timers(
        liveness: &Liveness,
        own_budget: Option<Duration>,
        switch_grace: Duration,
    ) -> PortConfig {
        let start = PortConfig {
            liveness: liveness.clone(),
            failover_budget: own_budget,
            switch_grace,
            switch_timeout: PortConfig::default().switch_timeout.max(liveness.dead),
            session_timeout: PortConfig::default().session_timeout.max(liveness.dead * 4),
            ..PortConfig::default()
        };
        let Some(budget) = start.budget() else { return start };
        let left = budget.saturating_sub(liveness.detection() + liveness.lease_rest() + switch_grace);
        let connect_timeout = (left * 4 / 5).max(Duration::from_millis(1));
        PortConfig {
            connect_timeout,
            ack_timeout: budget.saturating_sub(connect_timeout + liveness.heartbeat),
            // With the connecting of the new target that follows it, a planned switch holds messages for no longer than a loss does.
            switch_timeout: budget.saturating_sub(connect_timeout),
            ..start
        }
    }

    /// The budget that holds: the port's own, or else the node's.
    #[must_use]
    pub fn budget(&self) -> Option<Duration> {
        self.failover_budget.or(self.liveness.failover_budget)
    }

    /// Longest pause that these timers lead to when a target is lost and the next backup is well, without what users take.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.liveness.detection() + self.liveness.lease_rest() + self.grace() + self.connect_timeout
    }

    /// Only who switches by itself waits before it does.
    fn grace(&self) -> Duration {
        if self.autoswitch { self.switch_grace } else { Duration::ZERO }
    }

    pub(crate) fn check_budget(&self) -> Result<(), ConfigError> {
        // What a port that nobody connects from needs is the source's affair.
        let Some(budget) = self.budget().filter(|_| !self.targets.is_empty()) else { return Ok(()) };
        check(budget, &self.liveness, self.grace(), self.connect_timeout)?;
        if self.ack_timeout + self.connect_timeout > budget {
            return Err(ConfigError::TimerOrder {
                low: "ack_timeout + connect_timeout",
                low_value: self.ack_timeout + self.connect_timeout,
                high: "failover_budget",
                high_value: budget,
            });
        }
        Ok(())
    }
}

fn check(
    budget: Duration,
    liveness: &Liveness,
    grace: Duration,
    connect: Duration,
) -> Result<(), ConfigError> {
    let (detection, lease) = (liveness.detection(), liveness.lease_rest());
    if detection + lease + grace + connect > budget {
        return Err(ConfigError::Budget { budget, detection, lease, grace, connect });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;
    use crate::id::NodeId;

    const MS: Duration = Duration::from_millis(1);

    fn source(liveness: &Liveness, own: Option<Duration>) -> PortConfig {
        let targets = vec![Target { node: NodeId(2), addresses: Vec::new() }];
        PortConfig { targets, ..PortConfig::with_timers(liveness, own, Duration::ZERO) }
    }

    /// [F12] Every budget leads to timers that agree with each other and fit into it; that of a local network is the default.
    #[test]
    fn every_budget_fits() {
        for ms in [200, 201, 250, 333, 1000, 2999, 3000, 7777, 60_000, 600_000] {
            let budget = MS * ms;
            let liveness = Liveness::for_budget(budget);
            liveness.check().unwrap_or_else(|e| panic!("{budget:?}: {e}"));
            let config = source(&liveness, None);
            config.check().unwrap_or_else(|e| panic!("{budget:?}: {e}"));
            assert!(
                config.longest_pause() <= budget && config.longest_pause() > budget * 4 / 5,
                "{budget:?}"
            );
            assert!(config.ack_timeout > liveness.dead && liveness.tcp_user_timeout() == liveness.dead * 2);
            assert_eq!(config.switch_timeout + config.connect_timeout, budget);
        }
        let lan = Liveness {
            failover_budget: None,
            handshake_timeout: MS * 3000,
            ..Liveness::for_budget(MS * 3000)
        };
        assert_eq!(lan, Liveness::default());
    }

    /// [F12] Sets that contradict themselves are refused, and the text says which values do.
    #[test]
    fn contradictions_are_refused() {
        let base = Liveness::for_budget(MS * 3000);
        type Change = fn(&mut Liveness);
        let cases: [(Change, &str); 7] = [
            (
                |l| l.dead = MS * 2900,
                "failover_budget (3s) is below 3.18125s: detection 3.18125s, lease 0ns, connecting 0ns",
            ),
            (|l| l.tcp_user_timeout = Some(MS * 1500), "dead (1.5s) must be below tcp_user_timeout (1.5s)"),
            (|l| l.lease = MS * 1500, "lease (1.5s) must be below dead (1.5s)"),
            (|l| l.suspect = MS * 31, "an eighth of the heartbeat (31.25ms) must be below suspect (31ms)"),
            (|l| l.heartbeat = MS * 600, "two heartbeats (1.2s) must be below lease (1.2s)"),
            (
                |l| l.failover_budget = Some(MS * 199),
                "failover_budget in ms is 199; allowed is 200 to 600000",
            ),
            (
                |l| l.failover_budget = Some(MS * 601_000),
                "failover_budget in ms is 601000; allowed is 200 to 600000",
            ),
        ];
        for (change, text) in cases {
            let mut liveness = base.clone();
            change(&mut liveness);
            assert_eq!(liveness.check().unwrap_err().to_string(), text);
        }
        let mut config = source(&base, None);
        config.connect_timeout = MS * 1300;
        let text = "failover_budget (3s) is below 3.08125s: detection 1.78125s, lease 0ns, connecting 1.3s";
        assert_eq!(config.check().unwrap_err().to_string(), text);
        let mut config = source(&base, None);
        config.ack_timeout = MS * 2900;
        let text = config.check().unwrap_err().to_string();
        assert!(text.starts_with("ack_timeout + connect_timeout (3.87") && text.ends_with("(3s)"), "{text}");
        config.ack_timeout = MS * 150;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "suspect (200ms) must be below ack_timeout (150ms)"
        );
        config.ack_timeout = MS * 1500;
        config.switch_timeout = MS * 250;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "heartbeat (250ms) must be below switch_timeout (250ms)"
        );
        // A planned switch waits for users: it may take longer than the loss of a target.
        config.switch_timeout = MS * 60_000;
        config.check().unwrap();
        // A lease that ends close to the dead time adds what clocks may differ by.
        let late = Liveness { lease: MS * 1495, ..base.clone() };
        assert_eq!(late.lease_rest(), MS * 1495 * 51 / 50 - MS * 1500);
    }

    /// [F5] [F12] The grace for a lost target is part of the pause, and shorter than its memory of the session: what does not fit is refused.
    #[test]
    fn grace_is_in_the_budget() {
        let base = Liveness::for_budget(MS * 3000);
        let targets = source(&base, None).targets;
        let fits = PortConfig::with_timers(&base, None, MS * 500);
        let fits = PortConfig { autoswitch: true, targets: targets.clone(), ..fits };
        fits.check().unwrap();
        assert_eq!(fits.longest_pause(), base.detection() + MS * 500 + fits.connect_timeout);
        let text = PortConfig { switch_grace: MS * 1000, ..fits.clone() }.check().unwrap_err().to_string();
        let expected = "failover_budget (3s) is below 3.35625s: detection 1.78125s, lease 0ns, grace 1s, connecting 575ms";
        assert_eq!(text, expected);
        // Who does not switch by itself waits for nobody.
        PortConfig { switch_grace: MS * 1000, autoswitch: false, ..fits }.check().unwrap();
        let free = PortConfig { switch_grace: MS * 8499, ..PortConfig::default() };
        free.check().unwrap();
        let text = PortConfig { switch_grace: MS * 8500, ..free }.check().unwrap_err().to_string();
        assert_eq!(text, "dead + switch_grace (10s) must be below session_timeout (10s)");
    }

    /// [F12] What is set singly holds; long timers of a node raise what its ports need, also without a budget.
    #[test]
    fn single_timers_hold() {
        let set = Liveness { tcp_user_timeout: Some(MS * 7000), ..Liveness::for_budget(MS * 3000) };
        set.check().unwrap();
        assert_eq!((set.tcp_user_timeout(), Liveness::wan().tcp_user_timeout()), (MS * 7000, MS * 12_000));
        let slow = Liveness { dead: MS * 40_000, ..Liveness::wan() };
        let config = source(&slow, None);
        config.check().unwrap();
        assert_eq!((config.session_timeout, config.switch_timeout), (MS * 160_000, MS * 40_000));
    }

    /// [F12] A port may have a budget of its own on a node that has another, or none: what the links leave of it is the port's.
    #[test]
    fn ports_have_budgets_of_their_own() {
        let node = Liveness::default();
        assert_eq!(
            source(&node, None),
            PortConfig { targets: source(&node, None).targets, ..PortConfig::default() }
        );
        let config = source(&node, Some(MS * 2500));
        config.check().unwrap();
        assert_eq!(config.connect_timeout, (MS * 2500 - node.detection()) * 4 / 5);
        let text = source(&Liveness::for_budget(MS * 6000), Some(MS * 2500)).check().unwrap_err().to_string();
        assert!(text.starts_with("failover_budget (2.5s) is below 3.5635s: detection 3.5625s"), "{text}");
        // A target needs none of it.
        let config = PortConfig { targets: Vec::new(), connect_timeout: MS * 9000, ..config };
        config.check().unwrap();
    }
}
