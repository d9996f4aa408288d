//! What the user asks (Fig. 6 and 7): register to destroy, send and ack.

use super::event::{Action, ConnStatus, Event, FlowReason};
use super::planned::Planned;
use super::sender::MAX_SPAN;
use super::session::Purpose;
use super::state::{self, Call, Link, State, StateError};
use super::{
    AckError, ConnectError, ContractError, CreditToken, Drain, Outbound, Payload, Port, Refused, SendError,
};
use crate::config::{Priority, StreamContract};
use crate::id::{NodeId, Side, Sn, StreamId};
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// Unfinished messages that count as a backlog, and as none any more, whatever their bytes.
const HIGH_MESSAGES: u64 = MAX_SPAN as u64 / 4 * 3;
const LOW_MESSAGES: u64 = MAX_SPAN as u64 / 2;
/// While a queue exists, how often sends look again whether another path would be better.
const OFFER_EVERY: Duration = Duration::from_micros(500);

impl<S: Payload, R: Clone> Port<S, R> {
    pub(super) fn go(&mut self, call: Call) -> Result<(), StateError> {
        self.state = state::next(call, self.state, self.link)?;
        Ok(())
    }

    /// registerdpclient: the port has a client.
    ///
    /// # Errors
    /// Not IDLE.
    pub fn register(&mut self) -> Result<(), StateError> {
        self.go(Call::Register)
    }

    /// Makes it a source port. Its address table is the configuration's (L2).
    ///
    /// # Errors
    /// Not REGISTERED.
    pub fn initialize(&mut self) -> Result<(), StateError> {
        self.go(Call::Initialize)
    }

    /// Connects to `to`, or to the primary target; while connected, adds a user (use count).
    ///
    /// # Errors
    /// The state forbids it, or the node is no target of this port.
    pub fn connect(&mut self, now: Time, to: Option<NodeId>) -> Result<(), ConnectError> {
        let next = state::next(Call::Connect, self.state, self.link)?;
        if let Some(node) = to
            && !self.config.targets.iter().any(|t| t.node == node)
        {
            return Err(ConnectError::NotATarget { node });
        }
        let under_way = self.attempt.as_ref().map(|a| a.node).or(self.peer).or(self.left_behind());
        if self.state == State::Connecting || (self.state == State::Connected && next == State::Connected) {
            if let (Some(to), Some(connected)) = (to, under_way)
                && to != connected
            {
                return Err(ConnectError::OtherTarget { connected });
            }
            self.use_count += 1;
            return Ok(());
        }
        let Some(node) = to.or(self.config.targets.first().map(|t| t.node)) else {
            return Err(ConnectError::NoTarget);
        };
        if matches!(self.state, State::Connected | State::Stopped) {
            self.finish_everything(Reason::Stopped);
            self.leave_target();
        }
        self.link = Link::Up;
        self.state = next;
        self.use_count = self.use_count.max(1);
        self.drain = None;
        self.start_attempt(now, node, Purpose::Connect, Duration::ZERO);
        Ok(())
    }

    /// Holds traffic without closing (L7): sends are queued up to `send_buffer_max`, and none of them begins to travel. What has begun
    /// finishes, also on another path or target, and receiving goes on. It lasts until [`Self::resume`], stop, close, or the end of the
    /// session; also across a switch, and a connection that is down and is connected again. On a suspended port nothing changes.
    ///
    /// # Errors
    /// Neither connected nor connecting, or a target port that is closing.
    pub fn suspend(&mut self) -> Result<(), StateError> {
        let next = state::next(Call::Suspend, self.state, self.link)?;
        if self.drain.is_some() {
            return Err(StateError { call: Call::Suspend, state: self.state, link: self.link });
        }
        self.state = next;
        self.suspended = true;
        self.sender.hold();
        Ok(())
    }

    /// Lets go what [`Self::suspend`] holds. On a port that is not suspended nothing changes.
    ///
    /// # Errors
    /// Neither connected nor connecting.
    pub fn resume(&mut self, now: Time) -> Result<(), StateError> {
        self.go(Call::Resume)?;
        self.let_go(now);
        Ok(())
    }

    fn let_go(&mut self, now: Time) {
        self.suspended = false;
        self.go_on(now);
    }

    /// Nothing is held any more.
    pub(super) fn release_all(&mut self) {
        self.suspended = false;
        self.sender.let_go();
    }

    /// What is held travels, unless the user (L7) or a planned switch (F6) holds it.
    pub(super) fn go_on(&mut self, now: Time) {
        let held = self.suspended || self.planned.as_ref().is_some_and(Planned::holds);
        if !held && self.sender.let_go() {
            self.touch(now);
            self.offer(now);
        }
    }

    /// Halts sending and keeps the paths (L5): unsent messages are nacked, sent ones finish, then Drained.
    ///
    /// # Errors
    /// Not CONNECTED.
    pub fn stop(&mut self, now: Time) -> Result<(), StateError> {
        self.go(Call::Stop)?;
        self.cancel_switch(now, Reason::Stopped);
        self.sender.nack_unsent(Reason::Stopped, &mut self.events);
        self.watch_flow();
        self.begin_drain(now, Drain { deadline: Time::NEVER, then_close: false });
        self.check_drained(now);
        Ok(())
    }

    /// Closes (L1, L5). With other users: one less. From CONNECTED: takes no more sends, and drains within `close_timeout`, or nacks at
    /// once if `immediate`; then Drained. From STOPPED: ends the session when drained; then Closed. On the target side: drains both
    /// directions, ends the session.
    ///
    /// # Errors
    /// The state forbids it.
    pub fn close(&mut self, now: Time, immediate: bool) -> Result<(), StateError> {
        let shared =
            self.use_count > 1 && !immediate && matches!(self.state, State::Connected | State::Stopped);
        let call = if shared { Call::CloseShared } else { Call::CloseLast };
        let next = state::next(call, self.state, self.link)?;
        if shared {
            self.use_count -= 1;
            return Ok(());
        }
        let deadline = if immediate { now } else { now + self.config.close_timeout };
        match self.state {
            State::Connecting => self.end_session(now, Reason::Closed, true),
            State::Connected => {
                self.state = next;
                self.cancel_switch(now, Reason::Closed);
                self.use_count = 1;
                self.begin_drain(now, Drain { deadline, then_close: false });
            }
            State::Stopped => self.begin_drain(now, Drain { deadline, then_close: true }),
            State::ConnectedTo => {
                // What has been granted may still come; without more, there is an end to it.
                self.receiver.frozen = true;
                self.begin_drain(now, Drain { deadline, then_close: true });
            }
            State::Idle | State::Registered | State::Initialized | State::Destroyed => {}
        }
        if immediate && self.state != State::Initialized {
            self.finish_everything(Reason::Closed);
        }
        self.check_drained(now);
        self.rearm(now);
        Ok(())
    }

    /// The client goes: everything unfinished is nacked, the peer is told, the port is IDLE.
    ///
    /// # Errors
    /// Not registered.
    pub fn unregister(&mut self, now: Time) -> Result<(), StateError> {
        let next = state::next(Call::Unregister, self.state, self.link)?;
        self.come_down(now, next);
        Ok(())
    }

    /// Ends the port, from any state (L6): everything unfinished is nacked, the peer is told.
    ///
    /// # Errors
    /// Destroyed already.
    pub fn destroy(&mut self, now: Time) -> Result<(), StateError> {
        let next = state::next(Call::Destroy, self.state, self.link)?;
        self.come_down(now, next);
        Ok(())
    }

    fn come_down(&mut self, now: Time, next: State) {
        self.cancel_switch(now, Reason::Closed);
        self.revoke_delivery();
        self.finish_everything(Reason::Closed);
        if self.peer.is_some() || self.attempt.is_some() || self.choice.is_some() {
            self.end_session(now, Reason::Closed, true);
        }
        self.release_all();
        self.state = next;
    }

    /// Hands a message over. Accepted, it ends in exactly one Completed or Nacked (A4).
    ///
    /// # Errors
    /// Why not, and the payload back; nothing will come for it.
    #[inline(always)]
    pub fn send(&mut self, now: Time, message: Outbound<S>) -> Result<Sn, Refused<S>> {
        let Outbound { stream, len, ack, deadline, barrier, .. } = message;
        if let Err(error) = self.may_send(len) {
            return Err(Box::new((error, message.payload)));
        }
        let had_work = self.sender.has_new_normal();
        let models = (ack, self.config.ack);
        let (sn, priority) = self.sender.push(stream, len, models, barrier, message.payload)?;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += u64::from(len);
        // What is of high priority does not wait with the others.
        if !had_work || priority == Priority::High || now.since(self.last_offer) > OFFER_EVERY {
            self.offer(now);
        }
        self.touch(now);
        if barrier {
            self.hasten_receipts(None);
        }
        if let Some(deadline) = deadline {
            self.sender.limit(sn, now + deadline);
            self.rearm(now);
        }
        self.watch_flow();
        Ok(sn)
    }

    /// Says what holds for the messages of a stream, before its first one (M11). It lasts as long as the port. Of two contracts the later one
    /// holds. With a peer that does not know priorities, which a port may be connected to later, high messages still go first, but
    /// share the credit of the others.
    ///
    /// # Errors
    /// The stream has messages already, would be one too many, or asks for a priority that the present peer does not know.
    pub fn set_stream(&mut self, stream: StreamId, contract: StreamContract) -> Result<(), ContractError> {
        let settled = self.attempt.is_none() && self.link == Link::Up;
        let in_session = matches!(self.state, State::Connected | State::Stopped | State::ConnectedTo);
        if contract.priority == Priority::High
            && let Some(node) = self.peer.filter(|_| settled && in_session)
            && !self.sender.peer_has_classes()
        {
            return Err(ContractError::NoClasses { stream, node });
        }
        self.sender.set_contract(stream, contract)
    }

    /// Tells the user when the backlog passes a mark (M7).
    #[inline]
    pub(super) fn watch_flow(&mut self) {
        let (bytes, messages) = (self.sender.bytes(), self.sender.messages());
        match self.flow {
            None if bytes > self.flow_marks.0 || messages > HIGH_MESSAGES => {
                let reason = match self.link {
                    _ if self.suspended => FlowReason::Suspend,
                    Link::Up if self.planned.as_ref().is_some_and(Planned::holds) => FlowReason::Switchover,
                    Link::Switching => FlowReason::Switchover,
                    Link::Up | Link::Down | Link::Drained | Link::Resetting if self.sender.starved() => {
                        FlowReason::Window
                    }
                    Link::Up | Link::Down | Link::Drained | Link::Resetting => FlowReason::Path,
                };
                self.flow = Some(reason);
                self.events.push(Event::Flow { on: true, reason, bytes, messages });
            }
            Some(reason) if bytes <= self.flow_marks.1 && messages <= LOW_MESSAGES => {
                self.flow = None;
                self.events.push(Event::Flow { on: false, reason, bytes, messages });
            }
            None | Some(_) => {}
        }
    }

    #[inline]
    fn may_send(&self, len: u32) -> Result<(), SendError> {
        // The usual case first: the table is for the others.
        if !matches!((self.state, self.link), (State::Connected | State::ConnectedTo, Link::Up)) {
            if matches!(self.link, Link::Down | Link::Drained | Link::Resetting)
                && self.state == State::Connected
            {
                return Err(SendError::Down);
            }
            state::next(Call::Send, self.state, self.link)?;
        }
        if self.drain.is_some() {
            return Err(SendError::Closing);
        }
        let max = self.max_message.min(self.config.send_buffer_max);
        if u64::from(len) > max {
            return Err(SendError::TooLong { len, max });
        }
        self.room_for(len)
    }

    /// The user acknowledges a synchronous message with a return code (A1), in any order.
    ///
    /// # Errors
    /// No such message waits.
    pub fn ack(&mut self, now: Time, sn: Sn, rc: i32) -> Result<(), AckError> {
        self.receiver.ack(sn, rc)?;
        self.feed_back(now, false);
        Ok(())
    }

    /// The user is done with messages: their credit goes back. Costs of one account may be added up.
    pub fn release(&mut self, now: Time, token: CreditToken) {
        if self.receiver.release(token) {
            self.feed_back(now, true);
        }
    }

    // ---- draining ----

    /// What is held could not be drained: a suspended port is resumed (L5).
    fn begin_drain(&mut self, now: Time, drain: Drain) {
        let then_close = drain.then_close || self.drain.is_some_and(|d| d.then_close);
        self.drained_said &= self.drain.is_some();
        self.drain = Some(Drain { deadline: drain.deadline, then_close });
        self.let_go(now);
    }

    /// Nacks everything unfinished, oldest first.
    pub(super) fn finish_everything(&mut self, reason: Reason) {
        self.sender.nack_all(reason, &mut self.events);
        self.watch_flow();
    }

    /// Whether nothing of what came from the peer waits for its end. Acknowledgments that were given have arrived; and on the target side,
    /// where the end of the session takes the right to deliver away, the user has been told of everything and has acknowledged it.
    fn has_served(&self) -> bool {
        let done = match self.side {
            Side::Source => true,
            Side::Target => !self.untold && !self.has_events() && !self.receiver.is_owed(),
        };
        done && (self.peer.is_none() || self.link != Link::Up || !self.receiver.unconfirmed())
    }

    /// Says Drained, and closes, once nothing is unfinished.
    pub(super) fn check_drained(&mut self, now: Time) {
        let Some(drain) = self.drain else { return };
        if !self.sender.is_empty() {
            return;
        }
        if drain.then_close {
            if now >= drain.deadline || self.has_served() {
                self.end_session(now, Reason::Closed, true);
            }
        } else if !std::mem::replace(&mut self.drained_said, true) {
            self.events.status(ConnStatus::Drained);
        }
    }

    /// Ends the session: connections, attempt and former target are let go, and the peer is told if `tell`.
    pub(super) fn end_session(&mut self, now: Time, reason: Reason, tell: bool) {
        if self.side == Side::Target && !self.unleased {
            // The source may be with another target as soon as it hears of this end: what waits here is not delivered any more (F8).
            self.revoke_delivery();
        }
        self.cancel_switch(now, reason);
        if self.recovery().is_some() {
            self.leave_target();
        } else if tell {
            self.tell_end(reason);
        }
        self.hang_up_all(tell.then_some(reason));
        (self.attempt, self.pending, self.grace) = (None, None, None);
        self.sender.take_unknown();
        self.choice = None;
        self.decision = None;
        self.drain = None;
        self.drained_said = false;
        self.release_all();
        self.peer = None;
        self.peer_incarnation = None;
        self.peer_lost = None;
        self.link = Link::Up;
        self.use_count = 0;
        self.state = match self.side {
            Side::Source => State::Initialized,
            Side::Target => State::Registered,
        };
        self.events.status(ConnStatus::Closed { reason });
        self.rearm(now);
    }

    /// The driver must not deliver anything more of this session, also not what it has polled.
    pub(super) fn revoke_delivery(&mut self) {
        self.events.queue.retain(|e| !matches!(e, Event::Received(_)));
        self.actions.push_back(Action::Revoke);
    }
}
