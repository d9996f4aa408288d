//! Settings by keyword: of ports, when they are made and live, and of the timers of a node. `cdps/_settings.py` has their types and texts.

use std::time::Duration;

use cdps::{BackupSelection, Balance, Liveness, OnUserAckTimeout, PortConfig};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments;
use crate::failure::Failure;

/// What one setting does to a configuration. It holds no Python object, so that it may run anywhere.
type Change = Box<dyn Fn(&mut PortConfig) + Send + Sync>;

/// Settings of ports, each checked alone.
#[derive(Default)]
pub(crate) struct Settings {
    changes: Vec<Change>,
    failover_budget: Option<Duration>,
    switch_grace: Duration,
}

impl Settings {
    /// As they were given.
    pub(crate) fn from(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
        let mut settings = Settings::default();
        let Some(keywords) = keywords else { return Ok(settings) };
        for (name, value) in keywords.iter() {
            let name: String = name.extract()?;
            // Others follow from these two.
            match name.as_str() {
                "failover_budget" => settings.failover_budget = maybe_seconds(&name, &value)?,
                "switch_grace" => settings.switch_grace = seconds(&name, &value)?,
                _ => {}
            }
            settings.changes.push(change(&name, &value)?);
        }
        Ok(settings)
    }

    /// A configuration of a port on a node with these timers.
    pub(crate) fn config(&self, liveness: &Liveness) -> PortConfig {
        let mut config = PortConfig::with_timers(liveness, self.failover_budget, self.switch_grace);
        self.apply(&mut config);
        config
    }

    /// Sets what was given, and nothing else.
    pub(crate) fn apply(&self, config: &mut PortConfig) {
        self.changes.iter().for_each(|change| change(config));
    }
}

fn change(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Change> {
    Ok(match name {
        "ack" => set(arguments::ack_model(&word(name, value)?)?, |c, v| c.ack = v),
        "ack_timeout" => set(seconds(name, value)?, |c, v| c.ack_timeout = v),
        "autoswitch" => set(plain(name, value)?, |c, v| c.autoswitch = v),
        "backup_selection" => set(
            chosen(
                name,
                &word(name, value)?,
                &[
                    ("listed", BackupSelection::Listed),
                    ("round_robin", BackupSelection::RoundRobin),
                    ("ask", BackupSelection::Callback),
                ],
            )?,
            |c, v| c.backup_selection = v,
        ),
        "balance" => set(
            chosen(
                name,
                &word(name, value)?,
                &[
                    ("fastest", Balance::Fastest),
                    ("round_robin", Balance::RoundRobin),
                    ("pull", Balance::Pull),
                ],
            )?,
            |c, v| c.balance = v,
        ),
        "close_timeout" => set(seconds(name, value)?, |c, v| c.close_timeout = v),
        "connect_timeout" => set(seconds(name, value)?, |c, v| c.connect_timeout = v),
        "failover_budget" => set(maybe_seconds(name, value)?, |c, v| c.failover_budget = v),
        "fence" => set(plain(name, value)?, |c, v| c.fence = v),
        "flow_high" => set(plain(name, value)?, |c, v| c.flow_high = v),
        "flow_low" => set(plain(name, value)?, |c, v| c.flow_low = v),
        "fragment" => set(plain(name, value)?, |c, v| c.fragment = v),
        "high_window" => set(plain(name, value)?, |c, v| c.high_window = v),
        "local" => {
            let local = arguments::local_addresses(&plain::<Vec<String>>(name, value)?)?;
            Box::new(move |config| config.local.clone_from(&local))
        }
        "max_message" => set(plain(name, value)?, |c, v| c.max_message = v),
        "max_pending_events" => set(plain(name, value)?, |c, v| c.max_pending_events = v),
        "max_streams" => set(plain(name, value)?, |c, v| c.max_streams = v),
        "on_user_ack_timeout" => set(
            chosen(
                name,
                &word(name, value)?,
                &[("event", OnUserAckTimeout::Event), ("down", OnUserAckTimeout::Down)],
            )?,
            |c, v| c.on_user_ack_timeout = v,
        ),
        "role_epoch" => set(plain(name, value)?, |c, v| c.role_epoch = v),
        "send_buffer_max" => set(plain(name, value)?, |c, v| c.send_buffer_max = v),
        "session_timeout" => set(seconds(name, value)?, |c, v| c.session_timeout = v),
        "switch_grace" => set(seconds(name, value)?, |c, v| c.switch_grace = v),
        "switch_timeout" => set(seconds(name, value)?, |c, v| c.switch_timeout = v),
        "user_ack_timeout" => set(maybe_seconds(name, value)?, |c, v| c.user_ack_timeout = v),
        "window" => set(plain(name, value)?, |c, v| c.window = v),
        _ => return Err(unexpected(name)),
    })
}

fn set<T: Copy + Send + Sync + 'static>(value: T, put: fn(&mut PortConfig, T)) -> Change {
    Box::new(move |config| put(config, value))
}

/// Timers of a node's links.
pub(crate) fn liveness(keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Liveness> {
    let mut timers = Liveness::default();
    let Some(keywords) = keywords else { return Ok(timers) };
    if let Some(budget) = keywords.get_item("failover_budget")?
        && let Some(budget) = maybe_seconds("failover_budget", &budget)?
    {
        timers = Liveness::for_budget(budget);
    }
    for (name, value) in keywords.iter() {
        let name: String = name.extract()?;
        match name.as_str() {
            "failover_budget" => {}
            "heartbeat" => timers.heartbeat = seconds(&name, &value)?,
            "suspect" => timers.suspect = seconds(&name, &value)?,
            "dead" => timers.dead = seconds(&name, &value)?,
            "lease" => timers.lease = seconds(&name, &value)?,
            "tcp_user_timeout" => timers.tcp_user_timeout = maybe_seconds(&name, &value)?,
            "handshake_timeout" => timers.handshake_timeout = seconds(&name, &value)?,
            "redial_min" => timers.redial_min = seconds(&name, &value)?,
            "redial_max" => timers.redial_max = seconds(&name, &value)?,
            "rejoin" => timers.rejoin = plain(&name, &value)?,
            _ => return Err(unexpected(&name)),
        }
    }
    Ok(timers)
}

/// As Python says it of a function that has no such parameter.
fn unexpected(name: &str) -> PyErr {
    PyTypeError::new_err(format!("there is no setting {name:?}"))
}

fn plain<'py, T>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
{
    value.extract::<T>().map_err(|error| {
        let error: PyErr = error.into();
        match error.is_instance_of::<PyTypeError>(value.py()) {
            true => PyTypeError::new_err(format!("{name}: {}", error.value(value.py()))),
            false => Failure::Config(format!("{name}: {}", error.value(value.py()))).into(),
        }
    })
}

fn word(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    plain(name, value)
}

fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    Ok(arguments::seconds_of(name, plain(name, value)?)?)
}

fn maybe_seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if value.is_none() { Ok(None) } else { seconds(name, value).map(Some) }
}

fn chosen<T: Copy>(name: &str, word: &str, allowed: &[(&str, T)]) -> Result<T, Failure> {
    let found = allowed.iter().find(|(known, _)| *known == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = allowed.iter().map(|(known, _)| format!("{known:?}")).collect();
        Failure::Config(format!("{name} is {word:?}; allowed are {}", words.join(", ")))
    })
}
