//! What comes on data connections.

use super::event::Action;
use super::receiver::Arrival;
use super::{Inbound, Parts, Payload, Placement, Port};
use crate::id::{ConnId, PathId, Side, Sn};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::{
    Completions, FragmentHead, Frame, Opinion, PathRecord, PathStatus, Receipt, Skip, item, reason_of,
};

/// Acknowledgments taken that are confirmed without waiting for a tick.
const CONFIRM_EVERY: u64 = 1024;

impl<S: Payload, R: Clone> Port<S, R> {
    /// A batch that one read brought: `frames` have been received whole on this connection since READY, and `drained` says that the
    /// socket has nothing more just now.
    ///
    /// # Errors
    /// The peer broke the protocol: the connection must be dropped, and `handle_conn_lost` called.
    pub fn handle_inbound(
        &mut self,
        now: Time,
        path: PathId,
        conn: ConnId,
        frames: u64,
        items: &mut Vec<Inbound<R>>,
        drained: bool,
    ) -> Result<(), Reason> {
        let known = self.path_index(path);
        let Some((at, live)) = known.and_then(|at| Some((at, self.paths[at].live(conn)?))) else {
            self.stats.late += items.len() as u64;
            items.clear();
            return Ok(());
        };
        live.frames_in = frames;
        live.heard_at = now;
        live.asked_at = None;
        let mut duplicate = std::mem::take(&mut live.discards);
        self.last_contact = now;
        self.freshest = Some(path);
        let mut eager = false;
        let mut feedback = false;
        for item in items.drain(..) {
            match item {
                Inbound::Message { item, payload } => {
                    match self.receiver.handle_message(&item, payload, &mut self.events)? {
                        Arrival::New => eager |= item.flags & item::SYNC == 0,
                        Arrival::Duplicate => duplicate = true,
                    }
                    self.unreceipted += u64::from(item.len) + 1;
                }
                Inbound::Fragment { sn, offset, len } => {
                    let build =
                        self.receiver.handle_fragment((path, conn), sn, offset, len, &mut self.events)?;
                    self.settle_fragment(sn, len, build);
                    eager = true;
                }
                Inbound::Aside { sn, offset, len, payload } => {
                    let build = self.receiver.handle_aside(sn, offset, len, payload, &mut self.events)?;
                    self.settle_fragment(sn, len, build);
                    eager = true;
                }
                Inbound::Frame(frame) => {
                    feedback = true;
                    self.handle_frame(now, at, path, *frame)?;
                    if self.path_index(path) != Some(at) {
                        return Ok(());
                    }
                }
            }
        }
        if self.unreceipted > 0 || duplicate {
            self.owe_receipt(now, at, duplicate, eager && drained);
        }
        if feedback {
            self.watch_flow();
            self.check_drained(now);
            self.offer(now);
            self.tend_planned(now);
        }
        Ok(())
    }

    fn settle_fragment(&mut self, sn: Sn, len: u32, build: bool) {
        self.unreceipted += u64::from(len);
        if build {
            self.actions.push_back(Action::Assemble { sn });
        }
    }

    /// A receipt is due: at once where somebody may wait for it, else with the next acknowledgment or tick. It goes back on the path that
    /// brought the messages; if any path is in doubt, wherever else it should go too. A duplicate is always answered where it came from.
    fn owe_receipt(&mut self, now: Time, at: usize, duplicate: bool, waited_for: bool) {
        self.touch(now);
        if duplicate || waited_for || self.unreceipted >= self.config.window / 8 {
            if duplicate || !self.in_doubt {
                if let Some(conn) = self.paths[at].conn_mut() {
                    conn.due.receipt = true;
                }
                self.kick(at);
            }
            if self.in_doubt {
                self.feed_back(now, true);
            }
        } else {
            self.lazy_receipt = true;
        }
    }

    fn handle_frame(&mut self, now: Time, at: usize, path: PathId, frame: Frame) -> Result<(), Reason> {
        match frame {
            Frame::Skip(skip) => self.handle_skip(now, at, &skip),
            Frame::Receipt(receipt) => self.handle_receipt(now, &receipt),
            Frame::Completions(completions) => self.handle_completions(now, &completions),
            Frame::Probe => {
                self.receiver.want_credit();
                if let Some(conn) = self.paths[at].conn_mut() {
                    conn.due.receipt = true;
                }
                self.kick(at);
                Ok(())
            }
            Frame::PathStatus(status) => self.handle_path_status(now, path, &status),
            Frame::Close { reason, side } => {
                if side == self.side {
                    return Err(Reason::ProtocolError);
                }
                self.peer_closed(now, reason_of(reason));
                Ok(())
            }
            Frame::ResetAck(ack) => self.handle_reset_ack(now, at, ack),
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Proof { .. }
            | Frame::Ready
            | Frame::Refuse(_)
            | Frame::Heartbeat(_)
            | Frame::NodeMessage(_) => Err(Reason::ProtocolError),
        }
    }

    /// A message will not come. The sender is told at once that nobody waits for it.
    fn handle_skip(&mut self, now: Time, at: usize, skip: &Skip) -> Result<(), Reason> {
        let arrival = self.receiver.handle_skip(skip, &mut self.events)?;
        self.unreceipted += 1;
        self.owe_receipt(now, at, arrival == Arrival::Duplicate, true);
        Ok(())
    }

    fn handle_receipt(&mut self, now: Time, receipt: &Receipt) -> Result<(), Reason> {
        for record in &receipt.paths {
            self.handle_path_record(now, record)?;
        }
        self.receiver.confirm(receipt.completions_seen)?;
        self.sender
            .handle_receipt(receipt.cumulative, &receipt.gaps, &mut self.events)
            .map_err(|_| Reason::ProtocolError)?;
        if self.sender.raise_credit(receipt.credit, receipt.high_credit) {
            self.credit_asked = false;
        }
        Ok(())
    }

    /// The peer has received so many frames of a connection: what was in them is there.
    fn handle_path_record(&mut self, now: Time, record: &PathRecord) -> Result<(), Reason> {
        let Some(at) = self.path_index(record.path) else { return Ok(()) };
        let path = &mut self.paths[at];
        let Some(conn) = path.live(record.conn) else { return Ok(()) };
        if record.frames > conn.frames_out {
            return Err(Reason::ProtocolError);
        }
        let mut bytes = 0;
        let mut given = None;
        while conn.flights.front().is_some_and(|f| f.frame <= record.frames) {
            let Some(flight) = conn.flights.pop_front() else { break };
            bytes += flight.bytes;
            given = Some(flight.at);
        }
        let Some(given) = given else { return Ok(()) };
        conn.in_flight -= bytes;
        conn.progress_at = now;
        conn.probed = false;
        let drained = conn.flights.is_empty();
        let recovered = std::mem::replace(&mut conn.suspect, false);
        path.speed.receipted(now, bytes, now.since(given), drained, self.config.liveness.suspect);
        path.arrived(bytes);
        if recovered {
            self.show_health(now, at, Reason::None);
        }
        Ok(())
    }

    fn handle_completions(&mut self, now: Time, completions: &Completions) -> Result<(), Reason> {
        let seen = self.receiver.completions_seen;
        if completions.first == 0 || completions.first > seen + 1 {
            // Those between were on a path that is gone; they come again.
            return Ok(());
        }
        let known = usize::try_from(seen + 1 - completions.first).unwrap_or(usize::MAX);
        let fresh = completions.records.iter().skip(known);
        let mut taken = 0;
        for record in fresh {
            self.sender.handle_completion(record, &mut self.events).map_err(|_| Reason::ProtocolError)?;
            taken += 1;
        }
        self.receiver.completions_seen += taken;
        self.lazy_receipt = true;
        self.unconfirmed_taken += taken;
        if self.unconfirmed_taken >= CONFIRM_EVERY {
            self.unconfirmed_taken = 0;
            self.feed_back(now, true);
        }
        self.touch(now);
        Ok(())
    }

    fn handle_path_status(&mut self, now: Time, path: PathId, status: &PathStatus) -> Result<(), Reason> {
        self.receiver.set_base(status.base)?;
        let Some(at) = self.path_index(status.path) else { return Ok(()) };
        if self.side == Side::Target && self.paths[at].class != Some(status.class) {
            self.paths[at].class = Some(status.class);
            self.offer(now);
        }
        let Some(conn) = self.paths[at].live(status.conn) else { return Ok(()) };
        let changed = std::mem::replace(&mut conn.opinion, status.opinion) != status.opinion;
        self.weigh_doubts();
        if changed && status.opinion != Opinion::Good {
            if status.path != path {
                // What we said there may not have arrived.
                self.receiver.rewind_completions();
                self.feed_back(now, true);
            }
            let known = self.paths[at].cause;
            self.show_health(now, at, known);
        }
        Ok(())
    }

    /// Where the body of a fragment should be read to, for fragments that are not all of their message.
    ///
    /// # Errors
    /// The peer broke the protocol: the connection must be dropped.
    pub fn begin_fragment(
        &mut self,
        _now: Time,
        path: PathId,
        conn: ConnId,
        head: &FragmentHead,
        len: u32,
        offered: Option<R>,
    ) -> Result<Placement<R>, Reason> {
        let known = self.path_index(path);
        let Some(live) = known.and_then(|at| self.paths[at].live(conn)) else {
            self.stats.late += 1;
            return Ok(Placement::Discard);
        };
        let placement = self.receiver.begin_fragment(path, conn, head, len, offered)?;
        live.discards |= matches!(placement, Placement::Discard);
        Ok(placement)
    }

    /// The parts of a message, for [`Action::Assemble`].
    pub fn take_parts(&mut self, sn: Sn) -> Option<Parts<R>> {
        self.receiver.parts(sn)
    }

    /// The parts have been copied into one buffer.
    pub fn handle_assembled(&mut self, now: Time, sn: Sn, payload: R) {
        if self.peer.is_none() {
            return; // The session has ended meanwhile: nothing of it is delivered any more (F8).
        }
        // A message whose stream breaks the rules here was judged with its first fragment; its connection is gone by now.
        if self.receiver.handle_assembled(sn, payload, &mut self.events).is_ok() {
            self.feed_back(now, true);
        }
    }
}
