//! The network: TCP-like connections through one relay per (node, remote address), which is what faults act on.
//!
//! A connection is two ordered byte pipes with delay, a bandwidth shared by the relay's connections, and a bounded buffer that pushes
//! back on the writer. Bytes in flight are held while their direction is frozen, as TCP would do by retransmitting once it thaws.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::env::{Env, Event, MS, SECOND, note};
use crate::host::HostEvent;

/// Which end of a connection, and which direction: 0 is the dialler's end and its direction to the acceptor.
pub(crate) type Side = usize;
/// Dialler's end.
pub(crate) const DIALLER: Side = 0;
/// Acceptor's end.
pub(crate) const ACCEPTOR: Side = 1;

/// The largest piece that gets through a narrow route.
const NARROW: usize = 1200;

/// What moves on the network.
#[derive(Debug)]
pub(crate) enum NetEvent {
    /// A connection attempt reaches the acceptor's machine.
    Syn(usize),
    /// Bytes, or the end of them, reach the far end.
    Arrive { conn: usize, direction: Side, bytes: Vec<u8>, end: bool },
    /// A slow route has carried the first of what waits.
    Carried { route: usize, direction: Side, serial: u64 },
    /// A reset reaches this end.
    Reset { conn: usize, side: Side },
}

/// The relay between one dialling node and one address.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) dialler: usize,
    pub(crate) acceptor: usize,
    delay: u64,
    jitter: u64,
    rate: u64,
    /// Divides the rate: 1 is healthy.
    slow: u64,
    frozen: [u32; 2],
    /// Large pieces do not get through in a direction.
    narrow: [u32; 2],
    /// Since when nothing gets through in a direction.
    frozen_at: [u64; 2],
    refusing: u32,
    /// Arrivals of each direction that will be damaged.
    pub(crate) corrupt: [u32; 2],
    lanes: [Lane; 2],
}

/// One direction of a route.
#[derive(Debug, Default)]
struct Lane {
    busy: u64,
    /// What waits while the route is slow.
    queue: VecDeque<(usize, Vec<u8>, bool)>,
    serial: u64,
}

impl Route {
    pub(crate) fn new(dialler: usize, acceptor: usize, delay: u64, jitter: u64, rate: u64) -> Route {
        Route {
            dialler,
            acceptor,
            delay,
            jitter,
            rate,
            slow: 1,
            frozen: [0; 2],
            narrow: [0; 2],
            frozen_at: [u64::MAX; 2],
            refusing: 0,
            corrupt: [0; 2],
            lanes: Default::default(),
        }
    }
}

/// How a machine takes what is sent to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    /// A process listens.
    Up,
    /// The process is gone: connections are refused and reset.
    NoProcess,
    /// The machine is gone: silence.
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Dialling,
    Open,
    Gone,
}

#[derive(Debug, Default)]
struct Pipe {
    /// Accepted from the writer and not yet read (or the reading is not yet known to the writer).
    pending: usize,
    last_arrival: u64,
    arrived: Vec<u8>,
    ended: bool,
    held: Vec<(Vec<u8>, bool)>,
    held_reset: bool,
    /// Read, but the acknowledgment cannot get back.
    held_acks: usize,
    writer_waits: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    life: u32,
    closed: bool,
    reset: bool,
    told_readable: bool,
}

#[derive(Debug)]
struct Conn {
    route: usize,
    phase: Phase,
    pipes: [Pipe; 2],
    ends: [End; 2],
    /// Bytes for a closed end vanish instead of causing a reset.
    silent: bool,
}

/// What reading gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadEnd {
    /// More may come.
    Open,
    /// The peer has shut down for writing and everything was read.
    Ended,
    /// The connection was reset.
    Reset,
}

/// All relays and connections.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) routes: Vec<Route>,
    /// (dialling host, remote address) to route.
    pub(crate) by_address: BTreeMap<(usize, SocketAddr), usize>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) lives: Vec<u32>,
    /// Bytes that a pipe takes before it pushes back.
    pub(crate) buffer: usize,
    /// Longest piece that travels at once.
    pub(crate) segment: usize,
    conns: Vec<Conn>,
    open: Vec<usize>,
}

impl Net {
    fn host_of(&self, conn: usize, side: Side) -> usize {
        let route = &self.routes[self.conns[conn].route];
        if side == DIALLER { route.dialler } else { route.acceptor }
    }

    /// The relay that a connection goes through.
    pub(crate) fn route_of(&self, conn: usize) -> usize {
        self.conns[conn].route
    }

    /// Since when a route does not work both ways; the end of time if it does.
    pub(crate) fn stuck_since(&self, route: usize) -> u64 {
        self.routes[route].frozen_at[0].min(self.routes[route].frozen_at[1])
    }

    /// Whether nothing gets through in this direction.
    pub(crate) fn is_frozen(&self, route: usize, direction: Side) -> bool {
        self.routes[route].frozen[direction] > 0
    }
}

impl Env {
    fn tell(&mut self, conn: usize, side: Side, at: u64, event: HostEvent) {
        let host = self.net.host_of(conn, side);
        let life = self.net.conns[conn].ends[side].life;
        self.at(at, Event::Host { host, life, event });
    }

    fn route_delay(&mut self, route: usize) -> u64 {
        let r = &self.net.routes[route];
        let (delay, jitter) = (r.delay, r.jitter);
        delay + self.rng.below(jitter + 1)
    }

    /// Starts a connection; the dialler hears `Connected`, `Refused`, or nothing.
    pub(crate) fn net_dial(&mut self, host: usize, remote: SocketAddr) -> Option<usize> {
        let route = *self.net.by_address.get(&(host, remote))?;
        let conn = self.net.conns.len();
        let life = self.net.lives[host];
        self.net.conns.push(Conn {
            route,
            phase: Phase::Dialling,
            pipes: Default::default(),
            ends: [End { life, ..End::default() }, End { closed: true, ..End::default() }],
            silent: false,
        });
        self.net.open.push(conn);
        let at = self.now + self.route_delay(route);
        self.at(at, Event::Net(NetEvent::Syn(conn)));
        Some(conn)
    }

    /// Carries out what moves on the network.
    pub(crate) fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Syn(conn) => self.syn(conn),
            NetEvent::Arrive { conn, direction, bytes, end } => self.arrive(conn, direction, bytes, end),
            NetEvent::Carried { route, direction, serial } => self.carried(route, direction, serial),
            NetEvent::Reset { conn, side } => self.reset_arrives(conn, side),
        }
    }

    fn syn(&mut self, conn: usize) {
        let c = &self.net.conns[conn];
        let route = c.route;
        if c.phase != Phase::Dialling || self.net.routes[route].frozen != [0, 0] {
            return; // tried again when the route thaws
        }
        let acceptor = self.net.routes[route].acceptor;
        let at = self.now + self.route_delay(route);
        if self.net.routes[route].refusing > 0 || self.net.machines[acceptor] == Machine::NoProcess {
            self.net.conns[conn].phase = Phase::Gone;
            self.tell(conn, DIALLER, at, HostEvent::Refused(conn));
            return;
        }
        if self.net.machines[acceptor] == Machine::Off {
            return;
        }
        let life = self.net.lives[acceptor];
        let c = &mut self.net.conns[conn];
        c.phase = Phase::Open;
        c.ends[ACCEPTOR] = End { life, ..End::default() };
        self.tell(conn, ACCEPTOR, self.now, HostEvent::Accepted(conn));
        self.tell(conn, DIALLER, at, HostEvent::Connected(conn));
    }

    /// Takes as many bytes as the buffer has room for. Fewer than given: `Writable` follows.
    pub(crate) fn net_write(&mut self, conn: usize, side: Side, bytes: &[u8]) -> usize {
        let buffer = self.net.buffer;
        let c = &mut self.net.conns[conn];
        if c.phase != Phase::Open || c.ends[side].reset || c.ends[side].closed {
            return bytes.len(); // nobody will read it; the reset is on its way to the writer
        }
        let room = buffer.saturating_sub(c.pipes[side].pending).min(bytes.len());
        if room < bytes.len() {
            c.pipes[side].writer_waits = true;
        }
        c.pipes[side].pending += room;
        let mut rest = &bytes[..room];
        while !rest.is_empty() {
            let limit = self.net.segment as u64;
            let limit = if self.rng.below(64) == 0 { self.rng.within(1, limit.min(64)) } else { limit };
            let (piece, more) = rest.split_at(rest.len().min(limit as usize));
            self.launch(conn, side, piece.to_vec(), false);
            rest = more;
        }
        room
    }

    fn launch(&mut self, conn: usize, direction: Side, bytes: Vec<u8>, end: bool) {
        let route = self.net.conns[conn].route;
        if self.net.routes[route].slow > 1 {
            let lane = &mut self.net.routes[route].lanes[direction];
            lane.queue.push_back((conn, bytes, end));
            if lane.queue.len() == 1 {
                self.start_slow(route, direction);
            }
            return;
        }
        let delay = self.route_delay(route);
        let r = &mut self.net.routes[route];
        let takes = (bytes.len() as u64 + 40) * SECOND / r.rate;
        let leaves = r.lanes[direction].busy.max(self.now) + takes;
        r.lanes[direction].busy = leaves;
        self.fly(conn, direction, bytes, end, leaves + delay);
    }

    fn fly(&mut self, conn: usize, direction: Side, bytes: Vec<u8>, end: bool, at: u64) {
        let pipe = &mut self.net.conns[conn].pipes[direction];
        let at = at.max(pipe.last_arrival + 1);
        pipe.last_arrival = at;
        self.at(at, Event::Net(NetEvent::Arrive { conn, direction, bytes, end }));
    }

    /// A slow route carries one piece after the other, so that it can become fast again in between.
    fn start_slow(&mut self, route: usize, direction: Side) {
        let Net { routes, conns, .. } = &mut self.net;
        let r = &mut routes[route];
        let lane = &mut r.lanes[direction];
        lane.queue.retain(|(conn, _, _)| conns[*conn].phase == Phase::Open);
        lane.serial += 1;
        let serial = lane.serial;
        let Some((_, bytes, _)) = lane.queue.front() else { return };
        let takes = (bytes.len() as u64 + 40) * SECOND / (r.rate / r.slow).max(1);
        self.at(self.now + takes, Event::Net(NetEvent::Carried { route, direction, serial }));
    }

    fn carried(&mut self, route: usize, direction: Side, serial: u64) {
        let lane = &mut self.net.routes[route].lanes[direction];
        if lane.serial != serial {
            return;
        }
        let Some((conn, bytes, end)) = lane.queue.pop_front() else { return };
        let at = self.now + self.route_delay(route);
        self.fly(conn, direction, bytes, end, at);
        self.start_slow(route, direction);
    }

    /// Divides the rate of a route further, or takes a division back.
    pub(crate) fn net_slow(&mut self, route: usize, factor: u64, begins: bool) {
        let r = &mut self.net.routes[route];
        r.slow = if begins { r.slow * factor } else { r.slow / factor };
        let slow = r.slow > 1;
        for direction in [DIALLER, ACCEPTOR] {
            if slow {
                self.start_slow(route, direction);
                continue;
            }
            let lane = &mut self.net.routes[route].lanes[direction];
            lane.serial += 1;
            for (conn, bytes, end) in std::mem::take(&mut lane.queue) {
                self.launch(conn, direction, bytes, end);
            }
        }
    }

    fn arrive(&mut self, conn: usize, direction: Side, mut bytes: Vec<u8>, end: bool) {
        let route = self.net.conns[conn].route;
        let frozen = self.net.is_frozen(route, direction);
        let c = &mut self.net.conns[conn];
        if c.phase != Phase::Open {
            return;
        }
        let too_large = self.net.routes[route].narrow[direction] > 0 && bytes.len() > NARROW;
        if frozen || too_large || !c.pipes[direction].held.is_empty() {
            c.pipes[direction].held.push((bytes, end));
            return;
        }
        let reader = 1 - direction;
        let host = self.net.host_of(conn, reader);
        let c = &mut self.net.conns[conn];
        if c.ends[reader].closed || c.ends[reader].life != self.net.lives[host] {
            if !c.silent && self.net.machines[host] != Machine::Off && !end {
                let at = self.now + self.route_delay(route);
                self.at(at, Event::Net(NetEvent::Reset { conn, side: direction }));
            }
            return;
        }
        if self.net.routes[route].corrupt[direction] > 0 && !bytes.is_empty() {
            self.net.routes[route].corrupt[direction] -= 1;
            let bit = self.rng.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            note!(self, "net: bit {bit} of {} bytes flipped on conn {conn}", bytes.len());
        }
        let c = &mut self.net.conns[conn];
        c.pipes[direction].arrived.extend_from_slice(&bytes);
        c.pipes[direction].ended |= end;
        self.readable(conn, reader);
    }

    fn readable(&mut self, conn: usize, reader: Side) {
        let end = &mut self.net.conns[conn].ends[reader];
        if !end.told_readable {
            end.told_readable = true;
            self.tell(conn, reader, self.now, HostEvent::Readable(conn));
        }
    }

    /// Appends at most `max` bytes to `out`.
    pub(crate) fn net_read(
        &mut self,
        conn: usize,
        side: Side,
        max: usize,
        out: &mut Vec<u8>,
    ) -> (usize, ReadEnd) {
        let direction = 1 - side;
        let route = self.net.conns[conn].route;
        let acks_blocked = self.net.is_frozen(route, side);
        let c = &mut self.net.conns[conn];
        c.ends[side].told_readable = false;
        if c.ends[side].reset {
            return (0, ReadEnd::Reset);
        }
        let pipe = &mut c.pipes[direction];
        let n = pipe.arrived.len().min(max);
        out.extend(pipe.arrived.drain(..n));
        let end = if pipe.ended && pipe.arrived.is_empty() { ReadEnd::Ended } else { ReadEnd::Open };
        if acks_blocked {
            pipe.held_acks += n;
        } else {
            self.acknowledged(conn, direction, n);
        }
        (n, end)
    }

    fn acknowledged(&mut self, conn: usize, direction: Side, n: usize) {
        let route = self.net.conns[conn].route;
        let pipe = &mut self.net.conns[conn].pipes[direction];
        pipe.pending -= n;
        if pipe.writer_waits && n > 0 {
            pipe.writer_waits = false;
            let at = self.now + self.route_delay(route);
            self.tell(conn, direction, at, HostEvent::Writable(conn));
        }
    }

    /// Ends the writing of one end; what was written still arrives.
    pub(crate) fn net_shutdown(&mut self, conn: usize, side: Side) {
        if self.net.conns[conn].phase == Phase::Open {
            self.launch(conn, side, Vec::new(), true);
        }
    }

    /// Closes one end, with a reset or in an orderly way.
    pub(crate) fn net_close(&mut self, conn: usize, side: Side, abrupt: bool) {
        let c = &mut self.net.conns[conn];
        if c.ends[side].closed {
            return;
        }
        if c.ends[side].reset {
            // the peer of a half-open connection hears of it when it next writes
        } else if c.phase == Phase::Open {
            if abrupt || !c.pipes[1 - side].arrived.is_empty() {
                c.ends[side].closed = true;
                let route = c.route;
                let at = self.now + self.route_delay(route);
                self.at(at, Event::Net(NetEvent::Reset { conn, side: 1 - side }));
            } else {
                self.launch(conn, side, Vec::new(), true);
            }
        } else {
            c.phase = Phase::Gone;
        }
        let c = &mut self.net.conns[conn];
        c.ends[side].closed = true;
        if c.ends[0].closed && c.ends[1].closed {
            self.net.open.retain(|&o| o != conn);
        }
    }

    fn reset_arrives(&mut self, conn: usize, side: Side) {
        let route = self.net.conns[conn].route;
        if self.net.is_frozen(route, 1 - side) {
            self.net.conns[conn].pipes[1 - side].held_reset = true;
            return;
        }
        self.reset_end(conn, side);
    }

    fn reset_end(&mut self, conn: usize, side: Side) {
        let end = &mut self.net.conns[conn].ends[side];
        if !end.closed && !end.reset {
            end.reset = true;
            self.tell(conn, side, self.now, HostEvent::Readable(conn));
        }
    }

    /// Freezes a route in one direction, or thaws it.
    pub(crate) fn net_freeze(&mut self, route: usize, direction: Side, freeze: bool) {
        let frozen = &mut self.net.routes[route].frozen;
        if freeze {
            frozen[direction] += 1;
            let since = &mut self.net.routes[route].frozen_at[direction];
            *since = (*since).min(self.now);
            return;
        }
        frozen[direction] -= 1;
        if frozen[direction] > 0 {
            return;
        }
        self.net.routes[route].frozen_at[direction] = u64::MAX;
        self.thaw(route, direction);
    }

    /// Lets no large pieces through in one direction, or lets them through again.
    pub(crate) fn net_narrow(&mut self, route: usize, direction: Side, narrow: bool) {
        let count = &mut self.net.routes[route].narrow[direction];
        if narrow {
            *count += 1
        } else {
            *count -= 1
        }
        if *count == 0 && !self.net.is_frozen(route, direction) {
            self.thaw(route, direction);
        }
    }

    /// What was held in a direction goes on, as far as it may.
    fn thaw(&mut self, route: usize, direction: Side) {
        let through = self.net.routes[route].frozen == [0, 0];
        for conn in self.net.open.clone() {
            if self.net.conns[conn].route != route {
                continue;
            }
            if self.net.conns[conn].phase == Phase::Dialling {
                if through {
                    let at = self.now + self.rng.within(MS, 200 * MS);
                    self.at(at, Event::Net(NetEvent::Syn(conn)));
                }
                continue;
            }
            for (bytes, end) in std::mem::take(&mut self.net.conns[conn].pipes[direction].held) {
                self.arrive(conn, direction, bytes, end);
            }
            if std::mem::take(&mut self.net.conns[conn].pipes[direction].held_reset) {
                self.reset_end(conn, 1 - direction);
            }
            let acks = std::mem::take(&mut self.net.conns[conn].pipes[1 - direction].held_acks);
            self.acknowledged(conn, 1 - direction, acks);
        }
    }

    /// Lets a route refuse new connections, or take them again.
    pub(crate) fn net_refuse(&mut self, route: usize, refuse: bool) {
        let refusing = &mut self.net.routes[route].refusing;
        if refuse { *refusing += 1 } else { *refusing -= 1 }
    }

    /// Resets every connection of a route, at both ends.
    pub(crate) fn net_reset(&mut self, route: usize) {
        for conn in self.net.open.clone() {
            if self.net.conns[conn].route == route && self.net.conns[conn].phase == Phase::Open {
                self.net.conns[conn].phase = Phase::Gone;
                self.reset_end(conn, DIALLER);
                self.reset_end(conn, ACCEPTOR);
            }
        }
    }

    /// Resets every connection of a route, and what was under way is lost.
    pub(crate) fn net_lose(&mut self, route: usize) {
        for conn in self.net.open.clone() {
            if self.net.conns[conn].route == route {
                self.net.conns[conn].pipes.iter_mut().for_each(|pipe| pipe.held.clear());
            }
        }
        self.net_reset(route);
    }

    /// One end of every connection of a route thinks that it is gone; the other hears nothing of it.
    pub(crate) fn net_half_open(&mut self, route: usize, gone: Side, silent: bool) {
        for conn in self.net.open.clone() {
            if self.net.conns[conn].route == route && self.net.conns[conn].phase == Phase::Open {
                self.net.conns[conn].silent = silent;
                self.reset_end(conn, gone);
            }
        }
    }

    /// The process of a host is gone, or the whole machine.
    pub(crate) fn net_kill(&mut self, host: usize, machine: Machine) {
        self.net.machines[host] = machine;
        for conn in self.net.open.clone() {
            for side in [DIALLER, ACCEPTOR] {
                if self.net.host_of(conn, side) != host || self.net.conns[conn].ends[side].closed {
                    continue;
                }
                if machine == Machine::Off {
                    self.net.conns[conn].silent = true;
                    self.net.conns[conn].ends[side].closed = true;
                } else {
                    self.net_close(conn, side, true);
                }
            }
        }
        self.net.lives[host] += 1;
    }
}
