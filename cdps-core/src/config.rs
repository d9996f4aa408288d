//! What a user sets, checked once: a configuration that exists is valid.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::cluster::ClusterKind;
use crate::id::NodeId;
use crate::time::Duration;
use crate::wire;

/// More good heartbeats than that are asked of no path before it carries again.
const MAX_REJOIN: u64 = 100;

/// Timers of the links between nodes (T3, T5, F8). Start values of a local network; [`Liveness::wan`] for long distances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How long the loss of a target may pause a port that has a backup (F12): the other timers must fit into it. `None`: no such promise.
    pub failover_budget: Option<Duration>,
    /// One heartbeat per link in this time.
    pub heartbeat: Duration,
    /// Lowest age of an unanswered probe, or of unreceipted data, that makes a path suspect.
    pub suspect: Duration,
    /// No contact for this long: dead.
    pub dead: Duration,
    /// How long a target may deliver without an echo (F8). Below `dead`.
    pub lease: Duration,
    /// After so long the kernel gives a connection up whose data is not acknowledged (`TCP_USER_TIMEOUT`). Above `dead`, since this library
    /// is to notice first. `None`: twice `dead`.
    pub tcp_user_timeout: Option<Duration>,
    /// A connection that has not finished its handshake by then is given up.
    pub handshake_timeout: Duration,
    /// First wait before a failed dial is tried again; doubles up to `redial_max`, with full jitter (T4).
    pub redial_min: Duration,
    /// Longest wait before a failed dial is tried again.
    pub redial_max: Duration,
    /// A path that was dead carries again after so many good heartbeats (T4). 0: at once, and a path that flaps is not kept out either.
    pub rejoin: u32,
}

impl Default for Liveness {
    fn default() -> Self {
        Liveness {
            failover_budget: None,
            heartbeat: Duration::from_millis(250),
            suspect: Duration::from_millis(200),
            dead: Duration::from_millis(1500),
            lease: Duration::from_millis(1200),
            tcp_user_timeout: None,
            handshake_timeout: Duration::from_secs(3),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(10),
            rejoin: 3,
        }
    }
}

impl Liveness {
    /// Start values for long distances.
    #[must_use]
    pub fn wan() -> Self {
        Liveness {
            heartbeat: Duration::from_secs(1),
            suspect: Duration::from_secs(1),
            dead: Duration::from_secs(6),
            lease: Duration::from_secs(5),
            ..Liveness::default()
        }
    }

    /// Refuses a set of timers that contradicts itself.
    ///
    /// # Errors
    /// Names the timers and their values.
    pub fn check(&self) -> Result<(), ConfigError> {
        let order = |low: &'static str, a: Duration, high: &'static str, b: Duration| {
            if a < b {
                Ok(())
            } else {
                Err(ConfigError::TimerOrder { low, low_value: a, high, high_value: b })
            }
        };
        for (name, value) in
            [("heartbeat", self.heartbeat), ("suspect", self.suspect), ("redial_min", self.redial_min)]
        {
            if value < Duration::from_millis(1) {
                return Err(ConfigError::TimerTooShort { name, value });
            }
        }
        let rejoin = u64::from(self.rejoin);
        if rejoin > MAX_REJOIN {
            return Err(ConfigError::Range { name: "rejoin", value: rejoin, min: 0, max: MAX_REJOIN });
        }
        order("lease", self.lease, "dead", self.dead)?;
        order("suspect", self.suspect, "dead", self.dead)?;
        order("dead", self.dead, "tcp_user_timeout", self.tcp_user_timeout())?;
        order("two heartbeats", self.heartbeat * 2, "lease", self.lease)?;
        order("three heartbeats", self.heartbeat * 3, "dead", self.dead)?;
        // So late may a heartbeat be by itself: it is no sign of anything.
        order("an eighth of the heartbeat", self.heartbeat / 8, "suspect", self.suspect)?;
        self.check_budget()?;
        if self.redial_min > self.redial_max {
            return order("redial_min", self.redial_min, "redial_max", self.redial_max);
        }
        Ok(())
    }
}

/// A member of the cluster, as the static engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its node id.
    pub node: NodeId,
    /// Where it listens. A member without addresses is waited for: it dials.
    pub addresses: Vec<SocketAddr>,
}

/// What the node engine needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// This node.
    pub node: NodeId,
    /// Local addresses to dial from, paired with a member's addresses by position (modulo); empty: the routing table decides.
    pub local: Vec<IpAddr>,
    /// The members and where they are. Nodes that are not in it are refused.
    pub members: Vec<Member>,
    /// Who says which of them are alive.
    pub cluster: ClusterKind,
    /// Timers of the links.
    pub liveness: Liveness,
}

/// How the next path is chosen (T1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// Least expected delivery time.
    #[default]
    Fastest,
    /// Strict rotation.
    RoundRobin,
    /// A connection with no work takes the next message, whatever its rate.
    Pull,
}

/// When a send is complete (section 5 of the behaviour list).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AckModel {
    /// The target's user says so, with a return code (A1).
    #[default]
    Synchronous,
    /// The target port has it and everything before it in its stream (A2).
    Asynchronous,
    /// The last byte was handed to a transport (A3).
    Sent,
}

/// How urgent the messages of a stream are (M11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Priority {
    /// They take their turn.
    #[default]
    Normal = 0,
    /// They go before all normal ones, and have credit of their own: they never wait for what the peer's user keeps of the others.
    High = 1,
}

/// What holds for the messages of a stream (M11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StreamContract {
    /// Acknowledgment model of those that name none; `None`: the port's.
    pub ack: Option<AckModel>,
    /// How urgent they are.
    pub priority: Priority,
}

/// What a path is for (T8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PathClass {
    /// It carries its share.
    #[default]
    Normal,
    /// Connected and heard like the others; messages travel on it only while no normal path is good.
    Standby,
}

/// An address of a target, and what the path to it is for. Written `IP:PORT`, or `IP:PORT/standby`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Where the target is reached.
    pub remote: SocketAddr,
    /// What the path is for.
    pub class: PathClass,
}

impl Address {
    /// A standby path's address.
    #[must_use]
    pub fn standby(remote: SocketAddr) -> Address {
        Address { remote, class: PathClass::Standby }
    }
}

/// A normal path's address.
impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(remote: A) -> Address {
        Address { remote: remote.into(), class: PathClass::Normal }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        match text.split_once('/') {
            None => Ok(text.parse::<SocketAddr>()?.into()),
            Some((remote, "standby")) => Ok(Address::standby(remote.parse()?)),
            Some((_, class)) => Err(AddressError::Class { class: class.to_owned() }),
        }
    }
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It does not begin with IP:PORT.
    #[error(transparent)]
    Syntax(#[from] AddrParseError),
    /// There is no such class of paths.
    #[error("{class:?} is no class of paths; allowed is standby")]
    Class {
        /// What was given.
        class: String,
    },
}

/// Which backup a port goes to when it gives its target up (L2). Only targets that were not tried for the same loss, and that are not
/// known to be unreachable, come into question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BackupSelection {
    /// The next one in the list of targets after the one that was lost; after the last one the first.
    #[default]
    Listed,
    /// The next one in the list after the one that a switch of this port chose last, so that losses take turns through the list; the
    /// first time as [`BackupSelection::Listed`].
    RoundRobin,
    /// The user says which, or none: see [`crate::port::Question`]. What it has not said within `connect_timeout` is chosen as by
    /// [`BackupSelection::Listed`].
    Callback,
}

/// What a user that does not acknowledge in time brings about at the source (A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUserAckTimeout {
    /// An event.
    #[default]
    Event,
    /// The event, and then the connection is down as after a receipt that did not come (F1): with autoswitch the port goes to the next
    /// backup. It is not taken down again before every message has ended that was given to send until then.
    Down,
}

/// A node that a source port may be connected to, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// One path per address. Empty: the member list's addresses.
    pub addresses: Vec<Address>,
}

/// What a port is created with (L2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Name of the client on the target (source ports).
    pub client: String,
    /// The source's claim to an exclusive client (L4): grows with every reversal of roles, over the whole cluster. 0: the client is shared
    /// (source ports).
    pub role_epoch: u64,
    /// Primary target, then the backups in the order in which they are tried (source ports).
    pub targets: Vec<Target>,
    /// Local addresses, paired with a target's addresses by position (modulo); empty: the routing table decides.
    pub local: Vec<IpAddr>,
    /// Acknowledgment model of sends that name none.
    pub ack: AckModel,
    /// Whether the port goes to the next backup by itself (F5) or reports and waits (F2).
    pub autoswitch: bool,
    /// After a target is held to be down for want of contact, how long the port waits for it to return before it switches by itself (F5).
    pub switch_grace: Duration,
    /// Which backup it goes to.
    pub backup_selection: BackupSelection,
    /// The user can fence a target, and is asked to (F8): see [`crate::port::Asked::Fence`].
    pub fence: bool,
    /// How paths are chosen.
    pub balance: Balance,
    /// Cost that the peer may have outstanding here: bytes + 256 a message, until the user has released it (M7).
    pub window: u64,
    /// The same for messages of high priority, which the peer may have outstanding besides (M11). 64 KiB to 1 TiB.
    pub high_window: u64,
    /// Bytes of payload that may be queued or unfinished here; past it a send waits or says AGAIN (M6).
    pub send_buffer_max: u64,
    /// Share of `send_buffer_max` above which the user is told to hold back, in percent (M7).
    pub flow_high: u32,
    /// Share at or below which he is told that he may go on, in percent. Below `flow_high`.
    pub flow_low: u32,
    /// Completions that may wait for dispatch; past it a send says AGAIN (M6).
    pub max_pending_events: u32,
    /// Longest message.
    pub max_message: u32,
    /// Streams that may be open in each direction.
    pub max_streams: u32,
    /// Longer messages are cut into pieces of this size.
    pub fragment: u32,
    /// No receipt for this long after the last byte was handed over: the connection is down (F1).
    pub ack_timeout: Duration,
    /// A synchronous message that was received, and that its user has not acknowledged for this long, is overdue (A6). `None`: never.
    pub user_ack_timeout: Option<Duration>,
    /// What happens then (source ports; to what a target sends, only the event).
    pub on_user_ack_timeout: OnUserAckTimeout,
    /// As [`Liveness::failover_budget`], for this port alone; `None`: the node's.
    pub failover_budget: Option<Duration>,
    /// A connect that has not finished by then has failed. Waiting for the lease of a former target does not count.
    pub connect_timeout: Duration,
    /// A planned switch that is not committed by then has failed (F6).
    pub switch_timeout: Duration,
    /// How long close waits for what is unfinished.
    pub close_timeout: Duration,
    /// How long a target keeps a session without contact (F9). Above dead and `switch_grace`.
    pub session_timeout: Duration,
    /// Timers of the links, as the node has them.
    pub liveness: Liveness,
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig {
            client: String::new(),
            role_epoch: 0,
            targets: Vec::new(),
            local: Vec::new(),
            ack: AckModel::default(),
            autoswitch: false,
            switch_grace: Duration::ZERO,
            backup_selection: BackupSelection::default(),
            fence: false,
            balance: Balance::default(),
            window: 16 << 20,
            high_window: 1 << 20,
            send_buffer_max: 64 << 20,
            flow_high: 75,
            flow_low: 50,
            max_pending_events: 1 << 20,
            max_message: 16 << 20,
            max_streams: 4096,
            fragment: 256 << 10,
            ack_timeout: Duration::from_secs(10),
            user_ack_timeout: Some(Duration::from_secs(30)),
            on_user_ack_timeout: OnUserAckTimeout::default(),
            failover_budget: None,
            connect_timeout: Duration::from_secs(5),
            switch_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(10),
            liveness: Liveness::default(),
        }
    }
}

impl PortConfig {
    /// Refuses values that are out of range or contradict each other.
    ///
    /// # Errors
    /// Names the value and what is allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.liveness.check()?;
        let range = |name, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::Range { name, value, min, max })
            }
        };
        range("window", self.window, 64 << 10, 1 << 40)?;
        range("high_window", self.high_window, 64 << 10, 1 << 40)?;
        range("send_buffer_max", self.send_buffer_max, 1, 1 << 40)?;
        range("flow_high", u64::from(self.flow_high), 1, 100)?;
        range("flow_low", u64::from(self.flow_low), 0, u64::from(self.flow_high) - 1)?;
        range("max_pending_events", u64::from(self.max_pending_events), 1, 1 << 30)?;
        range("max_message", u64::from(self.max_message), 0, u64::from(wire::MAX_MESSAGE))?;
        range("max_streams", u64::from(self.max_streams), 1, 1 << 20)?;
        range(
            "fragment",
            u64::from(self.fragment),
            wire::MAX_BUNDLED as u64,
            wire::MAX_FRAGMENT_BODY as u64,
        )?;
        for (name, value) in [
            ("ack_timeout", self.ack_timeout),
            ("user_ack_timeout", self.user_ack_timeout.unwrap_or(Duration::MAX)),
            ("connect_timeout", self.connect_timeout),
            ("switch_timeout", self.switch_timeout),
            ("close_timeout", self.close_timeout),
        ] {
            if value < Duration::from_millis(1) {
                return Err(ConfigError::TimerTooShort { name, value });
            }
        }
        let Liveness { suspect, heartbeat, .. } = self.liveness;
        for (low, low_value, high, high_value) in [
            ("suspect", suspect, "ack_timeout", self.ack_timeout),
            // So often the new target, and the present one, are asked again.
            ("heartbeat", heartbeat, "switch_timeout", self.switch_timeout),
        ] {
            if high_value <= low_value {
                return Err(ConfigError::TimerOrder { low, low_value, high, high_value });
            }
        }
        self.check_budget()?;
        let kept = self.liveness.dead + self.switch_grace;
        if self.session_timeout <= kept {
            return Err(ConfigError::TimerOrder {
                low: if self.switch_grace.is_zero() { "dead" } else { "dead + switch_grace" },
                low_value: kept,
                high: "session_timeout",
                high_value: self.session_timeout,
            });
        }
        if self.client.len() > wire::MAX_CLIENT_NAME {
            return Err(ConfigError::ClientName { len: self.client.len() });
        }
        for target in &self.targets {
            if target.node == NodeId(0) {
                return Err(ConfigError::NodeZero);
            }
            if target.addresses.len() > wire::MAX_PATHS {
                return Err(ConfigError::Paths { node: target.node, count: target.addresses.len() });
            }
            if self.targets.iter().filter(|t| t.node == target.node).count() > 1 {
                return Err(ConfigError::TargetTwice { node: target.node });
            }
        }
        Ok(())
    }
}

impl PortConfig {
    /// The first of the values that a live port cannot change (L8) in which `other` differs.
    pub(crate) fn fixed_difference(&self, other: &PortConfig) -> Option<&'static str> {
        let fixed = [
            ("client", self.client == other.client),
            ("role_epoch", self.role_epoch == other.role_epoch),
            ("targets", self.targets == other.targets),
            ("local", self.local == other.local),
            ("switch_grace", self.switch_grace == other.switch_grace),
            ("fence", self.fence == other.fence),
            ("window", self.window == other.window),
            ("high_window", self.high_window == other.high_window),
            ("max_message", self.max_message == other.max_message),
            ("max_streams", self.max_streams == other.max_streams),
            ("failover_budget", self.failover_budget == other.failover_budget),
            ("session_timeout", self.session_timeout == other.session_timeout),
            ("liveness", self.liveness == other.liveness),
        ];
        fixed.into_iter().find(|(_, same)| !same).map(|(name, _)| name)
    }
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A timer is below a millisecond.
    #[error("{name} is {value:?}; at least 1 ms is needed")]
    TimerTooShort {
        /// Name of the timer.
        name: &'static str,
        /// Its value.
        value: Duration,
    },
    /// Two timers contradict each other.
    #[error("{low} ({low_value:?}) must be below {high} ({high_value:?})")]
    TimerOrder {
        /// The one that must be lower.
        low: &'static str,
        /// Its value.
        low_value: Duration,
        /// The one that must be higher.
        high: &'static str,
        /// Its value.
        high_value: Duration,
    },
    /// The failover budget is too small for the timers.
    #[error(
        "failover_budget ({budget:?}) is below {sum:?}: detection {detection:?}, lease {lease:?}, {}connecting {connect:?}",
        graced(*grace),
        sum = *detection + *lease + *grace + *connect
    )]
    Budget {
        /// The budget.
        budget: Duration,
        /// Longest time until a target is given up.
        detection: Duration,
        /// What may be left of its lease then.
        lease: Duration,
        /// How long the return of the old target is waited for (`switch_grace`).
        grace: Duration,
        /// Time in which a backup must be connected.
        connect: Duration,
    },
    /// A value is out of range.
    #[error("{name} is {value}; allowed is {min} to {max}")]
    Range {
        /// Name of the value.
        name: &'static str,
        /// The value.
        value: u64,
        /// Lowest allowed.
        min: u64,
        /// Highest allowed.
        max: u64,
    },
    /// The client name is too long.
    #[error("the client name has {len} bytes; at most {max} are allowed", max = wire::MAX_CLIENT_NAME)]
    ClientName {
        /// Its length.
        len: usize,
    },
    /// Node id 0 was given.
    #[error("node id 0 names no node; allowed is 1 to 4294967295")]
    NodeZero,
    /// A target has too many addresses.
    #[error("node {node} has {count} addresses; at most {max} paths are allowed", max = wire::MAX_PATHS)]
    Paths {
        /// The target.
        node: NodeId,
        /// Number of addresses.
        count: usize,
    },
    /// A target is listed twice.
    #[error("node {node} is listed twice among the targets")]
    TargetTwice {
        /// The target.
        node: NodeId,
    },
    /// A member is listed twice.
    #[error("node {node} is listed twice among the members")]
    MemberTwice {
        /// The member.
        node: NodeId,
    },
}

fn graced(grace: Duration) -> String {
    if grace.is_zero() { String::new() } else { format!("grace {grace:?}, ") }
}
