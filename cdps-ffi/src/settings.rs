//! Values of settings: their checks, and the options of the driver that come of them.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use cdps::{
    AckModel, Address, BackupSelection, Balance, Callbacks, Level, Liveness, Member, NodeId, NodeOptions,
    OnUserAckTimeout, PortConfig, Security, Target,
};

use crate::error::{
    CDPS_E_BAD_VALUE, CDPS_E_MISSING_KEY, CDPS_E_UNKNOWN_KEY, CDPS_E_UNSUPPORTED, CDPS_E_WRONG_STATE, Failure,
};
use crate::key::{self, KEYS, Key, Shape};

/// The values that were set, each checked alone; by place in the table of keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(Vec<Option<String>>);

impl Settings {
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let index = place(name)?;
        check(&KEYS[index], value)?;
        if self.0.is_empty() {
            self.0.resize(KEYS.len(), None);
        }
        self.0[index] = Some(value.to_owned());
        Ok(())
    }

    /// What holds now: the value that was set, or the default.
    pub(crate) fn get(&self, name: &str) -> Result<&str, Failure> {
        let index = place(name)?;
        self.own(index).or(KEYS[index].default()).ok_or_else(|| missing(name))
    }

    /// What a node is opened with. The log is the caller's to set.
    pub(crate) fn node(&self) -> Result<NodeOptions, Failure> {
        let id = NodeId(self.number("node.id")?);
        let security = match self.get("security.mode")? {
            "plain" => Security::Plain,
            other => return Err(Failure::new(CDPS_E_BAD_VALUE, format_args!("security.mode: {other:?}"))),
        };
        let mut options = NodeOptions::new(id, security);
        let name = self.get("node.name")?;
        if !name.is_empty() {
            name.clone_into(&mut options.name);
        }
        options.listen = list(self.get("node.listen")?)?;
        options.local = list(self.get("node.local")?)?;
        options.members = nodes(self.get("node.members")?)?
            .into_iter()
            .map(|(node, addresses)| Member { node, addresses })
            .collect();
        let state_dir = self.get("node.state_dir")?;
        options.state_dir = (!state_dir.is_empty()).then(|| state_dir.into());
        options.liveness = self.liveness()?;
        options.io_threads = self.number("threads.io")?;
        options.callbacks = match self.get("callbacks.mode")? {
            "inline" => Callbacks::Inline,
            "dispatch" => Callbacks::Dispatch,
            _ => Callbacks::Threads(self.number("threads.callback")?),
        };
        Ok(options)
    }

    /// What a port is created with, on a node with these timers.
    pub(crate) fn port(&self, liveness: &Liveness) -> Result<PortConfig, Failure> {
        let budget = self.budget("port.failover_budget_ms")?;
        let start = PortConfig::with_timers(liveness, budget, self.ms("port.switch_grace_ms")?);
        Ok(PortConfig {
            client: self.get("port.client")?.to_owned(),
            role_epoch: self.number("port.role_epoch")?,
            targets: nodes(self.get("port.targets")?)?
                .into_iter()
                .map(|(node, addresses)| Target { node, addresses })
                .collect(),
            local: list(self.get("port.local")?)?,
            ack: match self.get("port.ack")? {
                "async" => AckModel::Asynchronous,
                "sent" => AckModel::Sent,
                _ => AckModel::Synchronous,
            },
            autoswitch: self.get("port.autoswitch")? == "true",
            switch_grace: start.switch_grace,
            backup_selection: match self.get("port.backup_selection")? {
                "round_robin" => BackupSelection::RoundRobin,
                "callback" => BackupSelection::Callback,
                _ => BackupSelection::Listed,
            },
            balance: match self.get("port.balance")? {
                "round_robin" => Balance::RoundRobin,
                "pull" => Balance::Pull,
                _ => Balance::Fastest,
            },
            window: self.number("port.window")?,
            high_window: self.number("port.high_window")?,
            send_buffer_max: self.number("port.send_buffer_max")?,
            max_pending_events: self.number("port.max_pending_events")?,
            flow_high: self.number("port.flow_high_percent")?,
            flow_low: self.number("port.flow_low_percent")?,
            max_message: self.number("port.max_message")?,
            max_streams: self.number("port.max_streams")?,
            fragment: self.number("port.fragment")?,
            failover_budget: budget,
            ack_timeout: self.ms_or("port.ack_timeout_ms", start.ack_timeout)?,
            user_ack_timeout: match self.ms("port.user_ack_timeout_ms")? {
                Duration::ZERO => None,
                timeout => Some(timeout),
            },
            on_user_ack_timeout: match self.get("port.on_user_ack_timeout")? {
                "down" => OnUserAckTimeout::Down,
                _ => OnUserAckTimeout::Event,
            },
            connect_timeout: self.ms_or("port.connect_timeout_ms", start.connect_timeout)?,
            switch_timeout: self.ms_or("port.switch_timeout_ms", start.switch_timeout)?,
            close_timeout: self.ms("port.close_timeout_ms")?,
            session_timeout: self.ms_or("port.session_timeout_ms", start.session_timeout)?,
            // Set by who has the callback.
            fence: false,
            // The driver puts the node's in.
            liveness: start.liveness,
        })
    }

    /// What a live port is to change, which is what was set here.
    pub(crate) fn change(&self, liveness: &Liveness) -> Result<Change, Failure> {
        let set = KEYS.iter().enumerate().filter(|(index, _)| self.own(*index).is_some());
        let change = Change { keys: set.map(|(_, key)| key.name()).collect(), values: self.port(liveness)? };
        let mut trial = change.values.clone();
        match change.keys.iter().find(|key| !take(key, &mut trial, &change.values)) {
            None => Ok(change),
            Some(key) => {
                let why = match *key {
                    "port.targets" => ": see cdps_port_add_address() and cdps_port_remove_address()",
                    key if !key.starts_with("port.") => ": it is the node's, which its ports share",
                    _ => "",
                };
                Err(Failure::new(
                    CDPS_E_WRONG_STATE,
                    format_args!("{key} cannot be changed on a live port{why}"),
                ))
            }
        }
    }

    /// Lightest log line wanted; `None`: not even errors.
    pub(crate) fn log_level(&self) -> Result<Option<Level>, Failure> {
        Ok(match self.get("log.level")? {
            "error" => Some(Level::Error),
            "warn" => Some(Level::Warn),
            "info" => Some(Level::Info),
            "debug" => Some(Level::Debug),
            "trace" => Some(Level::Trace),
            _ => None,
        })
    }

    fn liveness(&self) -> Result<Liveness, Failure> {
        let mut timers = match (self.budget("liveness.failover_budget_ms")?, self.get("liveness.preset")?) {
            (Some(budget), _) => Liveness::for_budget(budget),
            (None, "wan") => Liveness::wan(),
            (None, _) => Liveness::default(),
        };
        for (name, timer) in [
            ("liveness.heartbeat_ms", &mut timers.heartbeat),
            ("liveness.suspect_ms", &mut timers.suspect),
            ("liveness.dead_ms", &mut timers.dead),
            ("liveness.lease_ms", &mut timers.lease),
            ("liveness.handshake_timeout_ms", &mut timers.handshake_timeout),
            ("liveness.redial_min_ms", &mut timers.redial_min),
            ("liveness.redial_max_ms", &mut timers.redial_max),
        ] {
            *timer = self.ms_or(name, *timer)?;
        }
        timers.tcp_user_timeout =
            Some(self.ms("liveness.tcp_user_timeout_ms")?).filter(|timeout| !timeout.is_zero());
        timers.rejoin = self.number("liveness.rejoin")?;
        Ok(timers)
    }

    fn own(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_deref()
    }

    fn number<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        parse(self.get(name)?)
    }

    /// A time that follows from others unless it is set.
    fn ms_or(&self, name: &str, otherwise: Duration) -> Result<Duration, Failure> {
        if self.own(place(name)?).is_some() { self.ms(name) } else { Ok(otherwise) }
    }

    fn budget(&self, name: &str) -> Result<Option<Duration>, Failure> {
        Ok(Some(self.ms(name)?).filter(|budget| !budget.is_zero()))
    }

    fn ms(&self, name: &str) -> Result<Duration, Failure> {
        self.number(name).map(Duration::from_millis)
    }
}

/// Keys of a live port, and what they are to be.
pub(crate) struct Change {
    keys: Vec<&'static str>,
    values: PortConfig,
}

impl Change {
    pub(crate) fn apply(&self, config: &mut PortConfig) {
        for key in &self.keys {
            take(key, config, &self.values);
        }
    }

    pub(crate) fn asks_for_backups(&self) -> bool {
        self.keys.contains(&"port.backup_selection")
            && self.values.backup_selection == BackupSelection::Callback
    }
}

/// Puts the value of a key in its place. False: it cannot be changed on a live port.
fn take(key: &str, to: &mut PortConfig, from: &PortConfig) -> bool {
    match key {
        "port.ack" => to.ack = from.ack,
        "port.autoswitch" => to.autoswitch = from.autoswitch,
        "port.backup_selection" => to.backup_selection = from.backup_selection,
        "port.balance" => to.balance = from.balance,
        "port.send_buffer_max" => to.send_buffer_max = from.send_buffer_max,
        "port.flow_high_percent" => to.flow_high = from.flow_high,
        "port.flow_low_percent" => to.flow_low = from.flow_low,
        "port.max_pending_events" => to.max_pending_events = from.max_pending_events,
        "port.fragment" => to.fragment = from.fragment,
        "port.ack_timeout_ms" => to.ack_timeout = from.ack_timeout,
        "port.user_ack_timeout_ms" => to.user_ack_timeout = from.user_ack_timeout,
        "port.on_user_ack_timeout" => to.on_user_ack_timeout = from.on_user_ack_timeout,
        "port.connect_timeout_ms" => to.connect_timeout = from.connect_timeout,
        "port.switch_timeout_ms" => to.switch_timeout = from.switch_timeout,
        "port.close_timeout_ms" => to.close_timeout = from.close_timeout,
        _ => return false,
    }
    true
}

fn place(name: &str) -> Result<usize, Failure> {
    key::find(name).ok_or_else(|| {
        let nearest = key::nearest(name);
        Failure::new(CDPS_E_UNKNOWN_KEY, format_args!("there is no key {name:?}; is {nearest:?} meant?"))
    })
}

fn missing(name: &str) -> Failure {
    let range = key::find(name).map_or("", |index| KEYS[index].range());
    Failure::new(CDPS_E_MISSING_KEY, format_args!("{name} must be set; allowed is {range}"))
}

/// Whether one value is what its key wants.
fn check(key: &Key, value: &str) -> Result<(), Failure> {
    let named =
        |failure: Failure| Failure::new(failure.code, format_args!("{}: {}", key.name(), failure.text));
    match key.shape {
        Shape::Text => Ok(()),
        Shape::Number => check_number(key, value),
        Shape::Bool | Shape::Choice => check_word(key, value),
        Shape::Ips => list::<IpAddr>(value).map(|_| ()).map_err(named),
        Shape::Sockets => list::<SocketAddr>(value).map(|_| ()).map_err(named),
        Shape::Nodes => nodes::<SocketAddr>(value).map(|_| ()).map_err(named),
        Shape::Targets => nodes::<Address>(value).map(|_| ()).map_err(named),
    }
}

fn check_number(key: &Key, value: &str) -> Result<(), Failure> {
    let inside = || {
        let (low, high) = key.range().split_once("..")?;
        let bounds = low.parse::<u64>().ok()?..=high.parse::<u64>().ok()?;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        Some(digits && bounds.contains(&value.parse().ok()?))
    };
    if inside() == Some(true) {
        return Ok(());
    }
    let unit = key.unit.to_str().unwrap_or("");
    Err(Failure::new(
        CDPS_E_BAD_VALUE,
        format_args!("{}: {value:?} is no whole number in {}{}{unit}", key.name(), key.range(), gap(unit)),
    ))
}

fn gap(unit: &str) -> &'static str {
    if unit.is_empty() { "" } else { " " }
}

fn check_word(key: &Key, value: &str) -> Result<(), Failure> {
    if key.range().split('|').any(|word| word == value) {
        return Ok(());
    }
    let (code, what) = if key.later.contains(&value) {
        (CDPS_E_UNSUPPORTED, "is not in this version of the library")
    } else {
        (CDPS_E_BAD_VALUE, "is not known")
    };
    Err(Failure::new(code, format_args!("{}: {value:?} {what}; allowed is {}", key.name(), key.range())))
}

/// Items separated by commas; blanks around them do not count.
fn list<T: FromStr<Err: Display>>(value: &str) -> Result<Vec<T>, Failure> {
    if value.trim().is_empty() {
        return Ok(Vec::new());
    }
    value.split(',').map(|item| parse(item.trim())).collect()
}

/// `1; 2=127.0.0.1:7001,127.0.0.2:7001`
fn nodes<A: FromStr<Err: Display>>(value: &str) -> Result<Vec<(NodeId, Vec<A>)>, Failure> {
    let mut found = Vec::new();
    for item in value.split(';').map(str::trim).filter(|item| !item.is_empty()) {
        let (node, addresses) = item.split_once('=').unwrap_or((item, ""));
        let node: u32 = parse(node.trim())?;
        if node == 0 {
            return Err(Failure::new(CDPS_E_BAD_VALUE, "node id 0 names no node"));
        }
        if found.iter().any(|(known, _)| *known == NodeId(node)) {
            return Err(Failure::new(CDPS_E_BAD_VALUE, format_args!("node {node} is listed twice")));
        }
        found.push((NodeId(node), list(addresses)?));
    }
    Ok(found)
}

fn parse<T: FromStr<Err: Display>>(item: &str) -> Result<T, Failure> {
    item.parse().map_err(|e| Failure::new(CDPS_E_BAD_VALUE, format_args!("{item:?}: {e}")))
}

#[cfg(test)]
mod tests {
    use cdps::PathClass;

    use super::*;
    use crate::error::CDPS_E_BAD_VALUE;

    fn set(name: &str, value: &str) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        settings.set(name, value).map(|()| settings)
    }

    /// The defaults that the table prints are the ones that hold.
    #[test]
    fn defaults_are_the_drivers() {
        assert_eq!(Settings::default().port(&Liveness::default()).unwrap(), PortConfig::default());
        let mut settings = set("node.id", "3").unwrap();
        settings.set("security.mode", "plain").unwrap();
        for key in KEYS.iter().filter(|key| key.name().starts_with("liveness.")) {
            settings.set(key.name(), key.default().unwrap()).unwrap();
        }
        let node = settings.node().unwrap();
        let expected = NodeOptions::new(NodeId(3), Security::Plain);
        assert_eq!(node.liveness, Liveness::default());
        assert_eq!((node.io_threads, node.callbacks), (expected.io_threads, expected.callbacks));
        assert_eq!(node.name, expected.name);
    }

    /// [L8] A key can be changed on a live port exactly if its help says so.
    #[test]
    fn help_says_what_is_live() {
        for key in KEYS {
            let (mut to, from) = (PortConfig::default(), PortConfig::default());
            let says = key.help.to_bytes().ends_with(b"; live");
            assert_eq!(take(key.name(), &mut to, &from), says, "{}", key.name());
        }
    }

    /// [S1] Nothing is assumed about security, and what later versions have is refused by name.
    #[test]
    fn security_must_be_chosen() {
        let settings = set("node.id", "3").unwrap();
        let failure = settings.node().unwrap_err();
        assert_eq!(failure.code, CDPS_E_MISSING_KEY);
        assert_eq!(failure.text, "security.mode must be set; allowed is plain");
        for (name, value) in
            [("security.mode", "tls"), ("security.mode", "key"), ("cluster.engine", "corosync")]
        {
            let Err(failure) = set(name, value) else { panic!("{name} {value} was taken") };
            assert_eq!(failure.code, CDPS_E_UNSUPPORTED, "{}", failure.text);
        }
    }

    /// [U3] A value that is refused is named, and so is what is allowed.
    #[test]
    fn bad_values_say_what_is_allowed() {
        for (name, value, expected) in [
            ("node.id", "0", "node.id: \"0\" is no whole number in 1..4294967295"),
            ("node.id", "", "node.id: \"\" is no whole number in 1..4294967295"),
            ("node.id", "+5", "node.id: \"+5\" is no whole number in 1..4294967295"),
            ("port.window", "16M", "port.window: \"16M\" is no whole number in 65536..1099511627776 bytes"),
            ("port.ack", "later", "port.ack: \"later\" is not known; allowed is sync|async|sent"),
            (
                "port.balance",
                "slowest",
                "port.balance: \"slowest\" is not known; allowed is fastest|round_robin|pull",
            ),
            ("node.listen", "localhost", "node.listen: \"localhost\": invalid socket address syntax"),
            ("node.members", "0=127.0.0.1:1", "node.members: node id 0 names no node"),
            (
                "node.members",
                "2=127.0.0.1:1/standby",
                "node.members: \"127.0.0.1:1/standby\": invalid socket address syntax",
            ),
            (
                "port.targets",
                "2=127.0.0.1:1, 127.0.0.1:2/spare",
                "port.targets: \"127.0.0.1:2/spare\": \"spare\" is no class of paths; allowed is standby",
            ),
            ("port.targets", "2=/standby", "port.targets: \"/standby\": invalid socket address syntax"),
            ("node.members", "2;2", "node.members: node 2 is listed twice"),
            ("port.autoswitch", "yes", "port.autoswitch: \"yes\" is not known; allowed is true|false"),
        ] {
            let Err(failure) = set(name, value) else { panic!("{name} {value} was taken") };
            assert_eq!((failure.code, failure.text.as_str()), (CDPS_E_BAD_VALUE, expected));
        }
        let Err(failure) = set("port.widow", "1") else { panic!("an unknown key was taken") };
        assert_eq!(failure.text, "there is no key \"port.widow\"; is \"port.window\" meant?");
    }

    /// [T1] Each way to choose paths is what its word says; nothing set is the fastest.
    #[test]
    fn balance_by_name() {
        for (word, balance) in
            [("fastest", Balance::Fastest), ("round_robin", Balance::RoundRobin), ("pull", Balance::Pull)]
        {
            assert_eq!(
                set("port.balance", word).unwrap().port(&Liveness::default()).unwrap().balance,
                balance,
                "{word}"
            );
        }
        assert_eq!(Settings::default().port(&Liveness::default()).unwrap().balance, Balance::Fastest);
    }

    /// [L2] Each way to choose backups is what its word says; nothing set is listed order.
    #[test]
    fn backup_selection_by_name() {
        for (word, selection) in [
            ("listed", BackupSelection::Listed),
            ("round_robin", BackupSelection::RoundRobin),
            ("callback", BackupSelection::Callback),
        ] {
            let config = set("port.backup_selection", word).unwrap().port(&Liveness::default()).unwrap();
            assert_eq!(config.backup_selection, selection, "{word}");
        }
        assert_eq!(
            Settings::default().port(&Liveness::default()).unwrap().backup_selection,
            BackupSelection::Listed
        );
    }

    /// [F12] A budget sets the timers, of the node and of its ports; what is set singly holds, and is checked against it.
    #[test]
    fn a_budget_sets_the_timers() {
        let mut settings = set("liveness.failover_budget_ms", "6000").unwrap();
        settings.set("liveness.preset", "wan").unwrap();
        let liveness = settings.liveness().unwrap();
        assert_eq!(liveness, Liveness::for_budget(Duration::from_secs(6)));
        let config = settings.port(&liveness).unwrap();
        assert_eq!(config, PortConfig::with_timers(&liveness, None, Duration::ZERO));
        assert!(config.connect_timeout < PortConfig::default().connect_timeout);
        settings.set("port.connect_timeout_ms", "77").unwrap();
        assert_eq!(settings.port(&liveness).unwrap().connect_timeout, Duration::from_millis(77));
        assert_eq!(config.switch_timeout + config.connect_timeout, Duration::from_secs(6));
        settings.set("port.switch_timeout_ms", "88000").unwrap();
        assert_eq!(settings.port(&liveness).unwrap().switch_timeout, Duration::from_secs(88));
        for (value, timeout) in [("0", 6000), ("7000", 7000)] {
            settings.set("liveness.tcp_user_timeout_ms", value).unwrap();
            assert_eq!(settings.liveness().unwrap().tcp_user_timeout(), Duration::from_millis(timeout));
        }
        settings.set("liveness.dead_ms", "5900").unwrap();
        assert!(settings.liveness().unwrap().check().is_err());
        let own = set("port.failover_budget_ms", "2500").unwrap().port(&Liveness::default()).unwrap();
        assert_eq!(
            own,
            PortConfig::with_timers(&Liveness::default(), Some(Duration::from_millis(2500)), Duration::ZERO)
        );
    }

    /// [A6] A user that does not acknowledge is reported after half a minute, unless that is set otherwise or turned off.
    #[test]
    fn the_user_ack_timeout_may_be_off() {
        for (value, timeout) in [("0", None), ("250", Some(Duration::from_millis(250)))] {
            let mut settings = set("port.user_ack_timeout_ms", value).unwrap();
            settings.set("port.on_user_ack_timeout", "down").unwrap();
            let config = settings.port(&Liveness::default()).unwrap();
            assert_eq!(config.user_ack_timeout, timeout);
            assert_eq!(config.on_user_ack_timeout, OnUserAckTimeout::Down);
        }
    }

    /// The ranges that the table prints are those that the engine checks.
    #[test]
    fn ranges_are_the_engines() {
        for key in KEYS.iter().filter(|key| key.name().starts_with("port.") && key.shape == Shape::Number) {
            let (low, high) = key.range().split_once("..").unwrap();
            for value in [low, high] {
                if !key.name().ends_with("_ms") {
                    let mut settings = set(key.name(), value).unwrap();
                    // The marks are below each other.
                    match key.name() {
                        "port.flow_low_percent" => settings.set("port.flow_high_percent", "100").unwrap(),
                        "port.flow_high_percent" => settings.set("port.flow_low_percent", "0").unwrap(),
                        _ => {}
                    }
                    let config = settings.port(&Liveness::default()).unwrap();
                    config.check().unwrap_or_else(|e| panic!("{} = {value}: {e}", key.name()));
                }
            }
        }
    }

    /// [T8] An address may be that of a standby path.
    #[test]
    fn standby_is_a_suffix() {
        let settings =
            set("port.targets", "3=127.0.0.1:7001, [::1]:7002/standby ; 2=127.0.0.2:7001").unwrap();
        let targets = settings.port(&Liveness::default()).unwrap().targets;
        let classes = |at: usize| targets[at].addresses.iter().map(|a| a.class).collect::<Vec<_>>();
        assert_eq!(classes(0), [PathClass::Normal, PathClass::Standby]);
        assert_eq!(targets[0].addresses[1].remote, "[::1]:7002".parse().unwrap());
        assert_eq!(classes(1), [PathClass::Normal]);
    }

    /// [L2] Targets and their addresses, in the order given.
    #[test]
    fn targets_keep_their_order() {
        let settings = set("port.targets", "3=127.0.0.1:7001, [::1]:7002 ; 2").unwrap();
        let targets = settings.port(&Liveness::default()).unwrap().targets;
        let nodes: Vec<u32> = targets.iter().map(|target| target.node.0).collect();
        assert_eq!(nodes, [3, 2]);
        assert_eq!(targets[0].addresses.len(), 2);
        assert_eq!(settings.get("port.targets").unwrap(), "3=127.0.0.1:7001, [::1]:7002 ; 2");
    }
}
