//! What a port counts (U1). Counters are plain numbers behind the port's lock, counted where the thing happens anyway.

use super::{Payload, Port};
use crate::cluster::Health;
use crate::config::PathClass;
use crate::id::PathId;
use crate::reason::Reason;
use crate::time::Duration;

/// Upper limits of the classes in [`Stats::switch_times`]; what took longer is in the last one.
pub const SWITCH_CLASSES: [Duration; 9] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// Figures of a port. Those up to `switch_times` count from its creation on and never fall; the others say how it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Messages accepted for sending.
    pub messages_sent: u64,
    /// Their bytes, payload alone.
    pub bytes_sent: u64,
    /// Messages handed out for the user.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Sends that ended well.
    pub completed: u64,
    /// Sends that failed.
    pub nacked: u64,
    /// Messages or fragments that travelled again on another connection, because the one that had them was lost or in doubt (T2, T3).
    pub retransmitted: u64,
    /// Messages or fragments that had arrived before, and were dropped.
    pub duplicates: u64,
    /// Messages, fragments and other frames that came on a connection which the port had given up: of an old generation (F3), or of a
    /// path that was taken for dead. They have no effect.
    pub late: u64,
    /// Times that a path was suspected (T3).
    pub suspicions: u64,
    /// Times that a path lost its connection, or was given up (T2).
    pub path_losses: u64,
    /// Times that a path which was dead had proved itself, and carried again (T4). One whose connection merely broke need not.
    pub rejoins: u64,
    /// Times that the connection was down (F2).
    pub downs: u64,
    /// Times that the session was reset: its target came back and went on with it (F3).
    pub resets: u64,
    /// Times that another target took over, by itself (F5) or because the user asked for it (F6).
    pub switches: u64,
    /// How long these took together, each from the decision, or the commit, until messages travelled there.
    pub switch_time: Duration,
    /// How long the longest of them took.
    pub longest_switch: Duration,
    /// How many of them took no longer than each of [`SWITCH_CLASSES`] and longer than the one before; the last number: longer than all.
    pub switch_times: [u64; SWITCH_CLASSES.len() + 1],
    /// How long the last of them took. In a sum over several ports zero.
    pub last_switch: Duration,
    /// Messages from the oldest unfinished one to the newest.
    pub unfinished_messages: u64,
    /// Payload bytes that are queued or unfinished: what `send_buffer_max` limits.
    pub unfinished_bytes: u64,
    /// Those of them that no path has taken yet.
    pub queued_bytes: u64,
    /// Bytes that are on their way on paths: handed to a connection, and not receipted on it.
    pub in_flight: u64,
    /// Window that the peer has granted, in cost: bytes and 256 a message (M7).
    pub send_window: u64,
    /// What is left of it.
    pub send_credit: u64,
    /// Window that this end grants.
    pub receive_window: u64,
    /// Cost of what has come, or begun to come, and its user has not released.
    pub unreleased: u64,
    /// Ends of sends that the user has not been told of: what `max_pending_events` limits.
    pub pending_events: u64,
    /// Paths that are up.
    pub paths_up: u16,
    /// Paths that there are.
    pub paths: u16,
}

impl Stats {
    /// Another target has taken over.
    pub(super) fn count_switch(&mut self, took: Duration) {
        let class = SWITCH_CLASSES.iter().position(|limit| took <= *limit).unwrap_or(SWITCH_CLASSES.len());
        self.switch_times[class] += 1;
        self.switches += 1;
        self.switch_time += took;
        self.longest_switch = self.longest_switch.max(took);
        self.last_switch = took;
    }

    /// What remains when the port is gone.
    #[must_use]
    pub fn departed(self) -> Stats {
        Stats {
            last_switch: Duration::ZERO,
            unfinished_messages: 0,
            unfinished_bytes: 0,
            queued_bytes: 0,
            in_flight: 0,
            send_window: 0,
            send_credit: 0,
            receive_window: 0,
            unreleased: 0,
            pending_events: 0,
            paths_up: 0,
            paths: 0,
            ..self
        }
    }

    /// Adds the figures of another port.
    pub fn add(&mut self, other: &Stats) {
        let sum = |a: u64, b: u64| a.saturating_add(b);
        let mut switch_times = self.switch_times;
        for (mine, others) in switch_times.iter_mut().zip(other.switch_times) {
            *mine = sum(*mine, others);
        }
        *self = Stats {
            messages_sent: sum(self.messages_sent, other.messages_sent),
            bytes_sent: sum(self.bytes_sent, other.bytes_sent),
            messages_received: sum(self.messages_received, other.messages_received),
            bytes_received: sum(self.bytes_received, other.bytes_received),
            completed: sum(self.completed, other.completed),
            nacked: sum(self.nacked, other.nacked),
            retransmitted: sum(self.retransmitted, other.retransmitted),
            duplicates: sum(self.duplicates, other.duplicates),
            late: sum(self.late, other.late),
            suspicions: sum(self.suspicions, other.suspicions),
            path_losses: sum(self.path_losses, other.path_losses),
            rejoins: sum(self.rejoins, other.rejoins),
            downs: sum(self.downs, other.downs),
            resets: sum(self.resets, other.resets),
            switches: sum(self.switches, other.switches),
            switch_time: self.switch_time.saturating_add(other.switch_time),
            longest_switch: self.longest_switch.max(other.longest_switch),
            switch_times,
            last_switch: Duration::ZERO,
            unfinished_messages: sum(self.unfinished_messages, other.unfinished_messages),
            unfinished_bytes: sum(self.unfinished_bytes, other.unfinished_bytes),
            queued_bytes: sum(self.queued_bytes, other.queued_bytes),
            in_flight: sum(self.in_flight, other.in_flight),
            send_window: sum(self.send_window, other.send_window),
            send_credit: sum(self.send_credit, other.send_credit),
            receive_window: sum(self.receive_window, other.receive_window),
            unreleased: sum(self.unreleased, other.unreleased),
            pending_events: sum(self.pending_events, other.pending_events),
            paths_up: self.paths_up.saturating_add(other.paths_up),
            paths: self.paths.saturating_add(other.paths),
        };
    }
}

/// Figures of one path, of the present session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStats {
    /// Which.
    pub path: PathId,
    /// Whether a connection is up.
    pub up: bool,
    /// How well it is.
    pub health: Health,
    /// Why it is not good, as the user was told; [`Reason::None`] if it is.
    pub cause: Reason,
    /// What it is for; `None` at a target that the source has not told yet.
    pub class: Option<PathClass>,
    /// Bytes of payload, about, that were given to it.
    pub payload_sent: u64,
    /// Bytes on their way.
    pub in_flight: u64,
    /// Measured rate, bytes a second; 0: not known.
    pub rate: u64,
    /// Smoothed time from handing bytes over to their receipt, if measured.
    pub rtt: Option<Duration>,
    /// Ranges taken from it to be sent again elsewhere.
    pub retransmitted: u64,
    /// How often it died of late; one death is forgotten a minute.
    pub deaths: u32,
    /// It was dead, is connected again, and must be well for so long before it carries beside good paths; zero: it need not.
    pub kept_out: Duration,
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// Figures of the port.
    pub fn stats(&self) -> Stats {
        let (send_window, send_credit) = self.sender.window();
        let (receive_window, unreleased) = self.receiver.window();
        Stats {
            completed: self.events.completed,
            nacked: self.events.nacked,
            retransmitted: self.sender.resent,
            messages_received: self.receiver.delivered,
            bytes_received: self.receiver.delivered_bytes,
            duplicates: self.receiver.duplicates,
            unfinished_messages: self.sender.messages(),
            unfinished_bytes: self.sender.bytes(),
            queued_bytes: self.sender.queued(),
            in_flight: self.paths.iter().filter_map(|p| p.conn()).map(|c| c.in_flight).sum(),
            send_window,
            send_credit,
            receive_window,
            unreleased,
            pending_events: u64::from(self.events.pending),
            paths_up: self.paths_up(),
            paths: u16::try_from(self.paths.len()).unwrap_or(u16::MAX),
            ..self.stats
        }
    }

    /// Figures of one path.
    pub fn path_stats(&self, path: PathId) -> Option<PathStats> {
        let path = self.paths.iter().find(|p| p.id == path)?;
        let (deaths, kept_out) = path.rejoin.figures();
        Some(PathStats {
            path: path.id,
            up: path.conn().is_some(),
            health: path.health(),
            cause: path.cause,
            class: path.class,
            payload_sent: path.sent_bytes,
            in_flight: path.conn().map_or(0, |c| c.in_flight),
            rate: if path.speed.is_known() { path.speed.rate() as u64 } else { 0 },
            rtt: path.speed.srtt(),
            retransmitted: path.retransmitted,
            deaths,
            kept_out,
        })
    }

    /// The paths that there are, in no order.
    pub fn path_ids(&self) -> impl Iterator<Item = PathId> {
        self.paths.iter().map(|p| p.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [U1] Each switch is counted in one class, and its time added.
    #[test]
    fn switches_by_how_long_they_took() {
        let mut stats = Stats::default();
        for ms in [0, 10, 11, 700, 60_000] {
            stats.count_switch(Duration::from_millis(ms));
        }
        assert_eq!(stats.switch_times, [2, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!(stats.switches, 5);
        assert_eq!(stats.switch_time, Duration::from_millis(60_721));
        let longest = Duration::from_secs(60);
        assert_eq!((stats.last_switch, stats.longest_switch), (longest, longest));
        let mut sum = stats.departed();
        sum.add(&stats);
        assert_eq!((sum.switches, sum.switch_times[0], sum.longest_switch), (10, 4, longest));
    }
}
