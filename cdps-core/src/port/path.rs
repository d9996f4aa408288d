//! One path of a session: its connection, what is on its way there, how fast it is, and whether it is in doubt.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::rejoin::Rejoin;
use crate::cluster::{Health, OneWay};
use crate::config::{Address, PathClass};
use crate::id::{ConnId, PathId, Sn};
use crate::reason::Reason;
use crate::time::{Duration, Time, nanos};
use crate::wire::Opinion;

/// Rate assumed of a path that has carried nothing yet: fast, so that it is tried.
const UNKNOWN_RATE: f64 = 1e9;
/// In flight on one path, at least; beyond it, as much as the path carries in a round trip and `FLIGHT_TIME`: a bandwidth-delay product, and a
/// queue that keeps it busy.
const MIN_FLIGHT: f64 = 512.0 * 1024.0;
const FLIGHT_TIME: f64 = 0.020;
/// Shortest time over which a rate is measured.
const RATE_WINDOW: Duration = Duration::from_millis(10);

/// A frame with data that has been given to a connection and is not receipted by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Number of the frame on its connection.
    pub(super) frame: u64,
    /// First message in it.
    pub(super) sn: Sn,
    /// Messages in it, consecutive.
    pub(super) count: u32,
    /// Start of the fragment.
    pub(super) offset: u32,
    /// Length of the fragment, or of the only item.
    pub(super) len: u32,
    /// Length on the wire, about.
    pub(super) bytes: u64,
    /// When it was given.
    pub(super) at: Time,
    /// It was seen written once.
    pub(super) counted: bool,
    /// It has been sent again elsewhere.
    pub(super) moved: bool,
}

/// What must be written on a connection besides data.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Due {
    pub(super) receipt: bool,
    pub(super) completions: bool,
    pub(super) probe: bool,
    /// Target side: records of the ledger from here on (F3).
    pub(super) ledger: Option<u32>,
}

/// A live data connection.
pub(super) struct Conn {
    pub(super) id: ConnId,
    /// Its writer is at work, or has been kicked.
    pub(super) active: bool,
    pub(super) frames_out: u64,
    pub(super) frames_in: u64,
    pub(super) flights: VecDeque<Flight>,
    /// Bytes in `flights`.
    pub(super) in_flight: u64,
    /// Frames below and at this number have been written.
    written: u64,
    /// Last time that the peer receipted something here, or that there was nothing to receipt.
    pub(super) progress_at: Time,
    /// Last time that anything came.
    pub(super) heard_at: Time,
    /// When the peer was asked to answer here, if nothing has come since.
    pub(super) asked_at: Option<Time>,
    /// When it came up.
    pub(super) since: Time,
    pub(super) due: Due,
    /// The first frame, PATH_STATUS, and later changes of opinion about other paths too.
    pub(super) status_due: Vec<PathId>,
    /// A probe has been sent since the last progress.
    pub(super) probed: bool,
    /// A fragment comes, or has come, that was here already.
    pub(super) discards: bool,
    /// No receipt for too long (T3).
    pub(super) suspect: bool,
    /// What the peer thinks of the path.
    pub(super) opinion: Opinion,
}

impl Conn {
    fn new(id: ConnId, path: PathId, now: Time) -> Self {
        Conn {
            id,
            active: false,
            frames_out: 0,
            frames_in: 0,
            flights: VecDeque::new(),
            in_flight: 0,
            written: 0,
            progress_at: now,
            heard_at: now,
            asked_at: None,
            since: now,
            due: Due::default(),
            status_due: vec![path],
            probed: false,
            discards: false,
            suspect: false,
            opinion: Opinion::Good,
        }
    }

    /// Something that it was given may not have been written yet.
    pub(super) fn is_writing(&self) -> bool {
        self.frames_out > self.written
    }

    /// The flights that have been written since the last call: everything given out before.
    pub(super) fn newly_written(&mut self) -> impl Iterator<Item = &mut Flight> {
        let from = std::mem::replace(&mut self.written, self.frames_out);
        let first = self.flights.partition_point(|f| f.frame <= from);
        self.flights.range_mut(first..)
    }
}

/// Where a path stands with its connection.
pub(super) enum Dial {
    /// To be dialled at this moment.
    Wait {
        at: Time,
    },
    /// Being dialled.
    Dialling {
        conn: ConnId,
    },
    Up(Box<Conn>),
    /// Target side: the source dials.
    Passive,
}

/// How fast a path is, from what its receipts say.
#[derive(Default)]
pub(super) struct Speed {
    /// Bytes a second; 0: not known.
    rate: f64,
    /// Bytes receipted in the present window, and when it began.
    window: Option<(Time, u64)>,
    /// There was nothing to send at some moment of the window: its figure is only a lower bound.
    idle: bool,
    /// Smoothed time from hand-over to receipt, and its variation.
    srtt: Option<(Duration, Duration)>,
    /// Shortest time from hand-over to receipt.
    rtt_min: Option<Duration>,
}

impl Speed {
    pub(super) fn rate(&self) -> f64 {
        if self.rate > 0.0 { self.rate } else { UNKNOWN_RATE }
    }

    pub(super) fn is_known(&self) -> bool {
        self.rate > 0.0
    }

    pub(super) fn srtt(&self) -> Option<Duration> {
        self.srtt.map(|s| s.0)
    }

    /// How long a receipt may take.
    fn patience(&self, least: Duration) -> Duration {
        self.srtt.map_or(least, |(srtt, var)| least.max(srtt * 2 + var * 4))
    }

    /// A round trip without queueing, in seconds; of a path that has carried nothing none, so that it is tried.
    fn round_trip(&self) -> f64 {
        self.rtt_min.unwrap_or(Duration::ZERO).as_secs_f64()
    }

    pub(super) fn started(&mut self, now: Time) {
        self.window.get_or_insert((now, 0));
    }

    pub(super) fn went_idle(&mut self) {
        self.idle = true;
    }

    /// A time above the patience counts as the patience (of at least `least`): one stall must not make the next silence invisible, while
    /// a path that has become slow for good is learnt within a few receipts.
    pub(super) fn receipted(
        &mut self,
        now: Time,
        bytes: u64,
        took: Duration,
        drained: bool,
        least: Duration,
    ) {
        self.srtt = Some(match self.srtt {
            None => (took, took / 2),
            Some((srtt, var)) => {
                let took = took.min(self.patience(least));
                ((srtt * 7 + took) / 8, (var * 3 + srtt.abs_diff(took)) / 4)
            }
        });
        self.rtt_min = Some(self.rtt_min.map_or(took, |m| m.min(took)));
        let Some((since, sum)) = &mut self.window else { return };
        *sum += bytes;
        let lasted = now.since(*since);
        if lasted < RATE_WINDOW && !drained {
            return;
        }
        if lasted >= RATE_WINDOW / 10 {
            let sample = *sum as f64 / lasted.as_secs_f64();
            if self.rate <= 0.0 || sample > self.rate {
                self.rate = sample;
            } else if !self.idle && lasted >= RATE_WINDOW {
                self.rate = self.rate * 0.75 + sample * 0.25;
            }
        }
        self.idle = false;
        self.window = (!drained).then_some((now, 0));
    }
}

/// One path of a session.
pub(super) struct Path {
    pub(super) id: PathId,
    pub(super) local: Option<IpAddr>,
    pub(super) remote: Option<SocketAddr>,
    /// What it is for; `None` at a target that the source has not told yet.
    pub(super) class: Option<PathClass>,
    pub(super) dial: Dial,
    /// Number of the last dial.
    pub(super) last_conn: ConnId,
    /// Failed dials in a row.
    pub(super) failures: u32,
    /// The link says that the peer does not answer there (T5).
    pub(super) link_suspect: bool,
    /// The link says that the peer is heard there, and does not hear this end.
    pub(super) unheard: bool,
    /// The link is dead, or was never up.
    pub(super) link_lost: bool,
    /// What its deaths have earned it.
    pub(super) rejoin: Rejoin,
    pub(super) speed: Speed,
    /// What the user was told last.
    pub(super) shown: Health,
    /// And why; none if it is good.
    pub(super) cause: Reason,
    pub(super) retransmitted: u64,
    pub(super) sent_bytes: u64,
}

impl Path {
    /// A source's path.
    pub(super) fn to(id: PathId, local: Option<IpAddr>, address: Address, last_conn: ConnId) -> Self {
        Path {
            local,
            remote: Some(address.remote),
            class: Some(address.class),
            dial: Dial::Wait { at: Time::NEVER },
            last_conn,
            ..Path::passive(id)
        }
    }

    /// A target's path.
    pub(super) fn passive(id: PathId) -> Self {
        Path {
            id,
            local: None,
            remote: None,
            class: None,
            dial: Dial::Passive,
            last_conn: ConnId(0),
            failures: 0,
            link_suspect: false,
            unheard: false,
            link_lost: false,
            rejoin: Rejoin::default(),
            speed: Speed::default(),
            shown: Health::Dead,
            cause: Reason::None,
            retransmitted: 0,
            sent_bytes: 0,
        }
    }

    pub(super) fn conn(&self) -> Option<&Conn> {
        match &self.dial {
            Dial::Up(conn) => Some(conn),
            Dial::Wait { .. } | Dial::Dialling { .. } | Dial::Passive => None,
        }
    }

    pub(super) fn conn_mut(&mut self) -> Option<&mut Conn> {
        match &mut self.dial {
            Dial::Up(conn) => Some(conn),
            Dial::Wait { .. } | Dial::Dialling { .. } | Dial::Passive => None,
        }
    }

    /// The live connection, if it is this one.
    pub(super) fn live(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conn_mut().filter(|c| c.id == conn)
    }

    pub(super) fn up(&mut self, conn: ConnId, now: Time) {
        self.last_conn = conn;
        let good = self.link_is_good();
        self.rejoin.connected(now, good);
        // What is known of a path that was dead is not worth much: it may be another one now. It gets little until it has shown its rate.
        let rate = if self.rejoin.waits { 0.0 } else { self.speed.rate };
        self.speed = Speed { rate, ..Speed::default() };
        self.dial = Dial::Up(Box::new(Conn::new(conn, self.id, now)));
    }

    pub(super) fn health(&self) -> Health {
        match self.conn() {
            None => Health::Dead,
            Some(conn) if conn.suspect || self.link_suspect || self.rejoin.waits => Health::Suspect,
            Some(_) => Health::Good,
        }
    }

    /// Which direction is lost, of a path that is not good (T5). What the peer says does not make it bad: news of a recovery may be late.
    pub(super) fn one_way(&self) -> Option<OneWay> {
        if self.health() == Health::Good {
            None
        } else if self.unheard {
            Some(OneWay::Out)
        } else {
            self.conn().filter(|c| c.opinion == Opinion::Unheard).map(|_| OneWay::In)
        }
    }

    pub(super) fn link_is_good(&self) -> bool {
        !self.link_suspect && !self.link_lost
    }

    /// How much may be on its way here.
    pub(super) fn flight_cap(&self) -> u64 {
        let usual = self.usual_cap();
        self.rejoin.cap.map_or(usual, |cap| cap.min(usual))
    }

    fn usual_cap(&self) -> u64 {
        MIN_FLIGHT.max(self.speed.rate() * (FLIGHT_TIME + self.speed.round_trip())) as u64
    }

    /// A path in its slow start takes no more than it may have on its way, however fast it seems: others need not wait for it with the rest.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        self.rejoin.cap.is_none_or(|cap| self.conn().is_some_and(|c| c.in_flight + bytes <= cap))
    }

    /// So much has arrived.
    pub(super) fn arrived(&mut self, bytes: u64) {
        if self.rejoin.cap.is_some() {
            let usual = self.usual_cap();
            self.rejoin.arrived(bytes, usual);
        }
    }

    /// Seconds until `more` bytes given now would have arrived. A connection that stands still looks slower the longer it does.
    pub(super) fn delivery_time(&self, now: Time, more: u64) -> f64 {
        let Some(conn) = self.conn() else { return f64::INFINITY };
        let stalled =
            if conn.flights.is_empty() { 0.0 } else { nanos(now.since(conn.progress_at)) as f64 / 1e9 };
        let queue = conn.in_flight as f64 / self.speed.rate();
        queue.max(stalled) + more as f64 / self.speed.rate() + self.speed.round_trip() / 2.0
    }

    /// How long its oldest data may go without a receipt.
    pub(super) fn patience(&self, least: Duration) -> Duration {
        self.speed.patience(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// [T3] One receipt that took long does not make the next silence invisible; a path that is slow for good is learnt.
    #[test]
    fn patience_survives_a_stall() {
        let least = 200 * MS;
        let mut path = Path::passive(PathId(0));
        let mut receipts = |count: u32, took: Duration| {
            (0..count).for_each(|_| path.speed.receipted(Time(1), 1, took, true, least));
            path.patience(least)
        };
        assert_eq!(receipts(50, MS), least);
        let after_stall = receipts(1, 1000 * MS);
        assert!(after_stall < least * 3 / 2, "{after_stall:?}");
        let slow = receipts(50, 1000 * MS);
        assert!(slow > 2000 * MS, "{slow:?}");
    }

    /// [T1] A path that has carried nothing looks at least as fast as one that is known to be fast: it is tried.
    #[test]
    fn unknown_paths_are_tried() {
        let (mut known, mut new) = (Path::passive(PathId(0)), Path::passive(PathId(1)));
        let start = Time(1_000_000_000);
        known.up(ConnId(1), start);
        new.up(ConnId(1), start);
        let mut now = start;
        for _ in 0..100 {
            known.speed.started(now);
            now = now + MS;
            known.speed.receipted(now, 900_000, MS / 50, true, 200 * MS);
        }
        for more in [64, 64 << 10] {
            assert!(new.delivery_time(now, more) <= known.delivery_time(now, more), "{more} bytes");
        }
    }
}
