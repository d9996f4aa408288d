//! Ports: the one pipe that a client sees.

use std::fmt;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cdps_core::cluster::Health;
use cdps_core::config::{AckModel, Address, Liveness, PortConfig, StreamContract};
use cdps_core::id::{Generation, NodeId, PathId, SessionId, Sn, StreamId};
use cdps_core::port::{
    AckError, Call, Certainty, ChangeError, ConnStatus, FlowReason, Link, Outbound, Refused,
    SendError as Refusal, State, StateError, Stats as PortStats, Verdict,
};
use cdps_core::reason::Reason;

use crate::client::{self, Client};
use crate::error::{PortError, SendError, WaitError};
use crate::message::Message;
use crate::payload::Payload;
use crate::shared::PortShared;
use crate::stats::PathStats;
use crate::{clock, streams, threads};

/// Gets the events of a port. Runs where the node's callbacks do ([`crate::Callbacks`]), one call at a time, in order.
pub trait PortHandler: Send + Sync {
    /// An event of this port.
    fn event(&self, port: &Port, event: PortEvent);

    /// With [`BackupSelection::Callback`](crate::BackupSelection): which of the candidates the port goes to, now that its target is lost;
    /// `None`: none of them, so that the connection is down (F2). Asked once for each choice, after [`ConnStatus::Switching`], in order with the
    /// events. Until it has returned none of them is told, and the port waits, but no longer than `connect_timeout`: then, and after a
    /// node that is no candidate, the backup is chosen in listed order, as it is unless this is implemented.
    fn choose_backup(&self, port: &Port, choice: &BackupChoice) -> Option<NodeId> {
        let _ = port;
        choice.candidates.first().copied()
    }

    /// With `PortConfig::fence`: makes sure that a target that was given up does nothing more, and says whether that is certain now, because
    /// its power was cut for instance. The port goes to another target, which takes over when this says true, or when the lease of the former
    /// target is over or released, whichever is first. Asked once for each target that is given up, when another one is connected
    /// in its place: at once if a quorate cluster engine says that it is down, else if it has not released its lease within a heartbeat. Not
    /// asked when the lease is over by then, as it is after the dead time without contact. It may take its time: none of the port's events is
    /// told meanwhile, and an answer that comes after the lease changes nothing.
    fn fence(&self, port: &Port, request: &FenceRequest) -> bool {
        let _ = (port, request);
        false
    }
}

/// A target to be fenced (F8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FenceRequest {
    /// The target that was given up.
    pub node: NodeId,
    /// Its generation: nothing that it was given under this one, or an earlier one, may have an effect after a yes.
    pub generation: Generation,
    /// What is left of its lease: without a yes the port waits for that.
    pub lease_left: Duration,
}

/// A choice between backups (L2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupChoice {
    /// The target that was lost.
    pub failed: NodeId,
    /// Why it was, or why the backup that was tried last did not do.
    pub reason: Reason,
    /// Where the port may go, in listed order; never empty.
    pub candidates: Vec<NodeId>,
}

/// What a port tells its user.
// The wide tag keeps moves of the rest aligned, as that of the engine's events.
#[derive(Debug)]
#[repr(u64)]
pub enum PortEvent {
    /// A send is complete (A1 to A3).
    Completed {
        /// The message.
        sn: Sn,
        /// Return code of the target's user; 0 in the other models.
        rc: i32,
        /// What the send was given.
        context: u64,
    },
    /// A send has failed. It is the only end of that send (A4).
    Nacked {
        /// The message.
        sn: Sn,
        /// What the send was given.
        context: u64,
        /// Why.
        reason: Reason,
        /// How sure it is that the message did not arrive.
        certainty: Certainty,
    },
    /// The memory of a borrowed send is the caller's again (M5). Comes exactly once per borrowed send, after its `Completed` or
    /// `Nacked`; a connection that still holds the bytes may delay it.
    Released {
        /// What the send was given.
        context: u64,
    },
    /// A message arrived.
    Received(Message),
    /// The connection as a whole.
    Status(ConnStatus),
    /// The backlog of unfinished messages has passed the high mark, or has fallen to the low one (M7). Never two of a kind in a row.
    Flow {
        /// Whether to hold back.
        on: bool,
        /// Why messages pile up, or did.
        reason: FlowReason,
        /// Unfinished bytes.
        bytes: u64,
        /// Unfinished messages.
        messages: u64,
    },
    /// The user at the other end has had this message for longer than [`PortConfig::user_ack_timeout`](crate::PortConfig), and has not
    /// acknowledged it (A6). It is the oldest such message that has not been named; no other one is named until it has ended or the port
    /// has switched.
    Overdue {
        /// The message.
        sn: Sn,
        /// Its stream.
        stream: StreamId,
        /// For so long at least.
        waited: Duration,
    },
    /// What became of a message that was nacked as [`Certainty::Unknown`], in the words of its target. Told once for each, oldest first,
    /// just before [`ConnStatus::Recovered`] if its target kept the session (F3).
    Resolved {
        /// The message.
        sn: Sn,
        /// What became of it.
        verdict: Verdict,
    },
    /// A path changed.
    Path {
        /// Which.
        path: PathId,
        /// To what.
        health: Health,
        /// Why.
        reason: Reason,
    },
    /// The port is destroyed: every send has ended, every borrowed buffer was released, and nothing follows.
    Final,
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOptions {
    /// Its stream, below [`StreamId::FIRST_AUTOMATIC`]. `None`: the calling thread's own on this port (M2).
    pub stream: Option<StreamId>,
    /// When it is complete. `None`: as the port was configured.
    pub ack: Option<AckModel>,
    /// How long it is worth something: if no byte of it has been handed to a transport this long after it was accepted, it is nacked with
    /// [`Reason::Timeout`] and [`Certainty::NotSent`], and its stream goes on without it (M10). `None`: as long as it takes.
    pub deadline: Option<Duration>,
    /// It is delivered after everything that was sent before it on this port, and before anything that is sent later, on all streams (M9). It
    /// costs a round trip before it and one behind it.
    pub barrier: bool,
    /// Comes back with the events of this send.
    pub context: u64,
    /// How long to wait when the port's send buffer is full. `None`: until there is room; zero: [`SendError::Again`] at once. The thread
    /// that dispatches the node's callbacks, if a thread of the user does, never waits.
    pub timeout: Option<Duration>,
}

/// A data port. Cheap to clone; it lives until [`Port::destroy`], and its handler gets [`PortEvent::Final`] last.
#[derive(Clone)]
pub struct Port {
    shared: Arc<PortShared>,
}

impl Port {
    pub(crate) fn from_shared(shared: Arc<PortShared>) -> Port {
        Port { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<PortShared> {
        &self.shared
    }

    /// IDLE → REGISTERED, on behalf of a client of the same node.
    ///
    /// # Errors
    /// In another state, or when the client is of another node or unregistered.
    pub fn register(&self, client: &Client) -> Result<(), PortError> {
        let shared = &self.shared;
        client.shared().check_node(shared)?;
        shared.may_register()?;
        if !client.shared().enter(shared) {
            return Err(PortError::Unregistered { name: client.name().to_owned() });
        }
        let result = self.verb(Call::Register, |engine, _| engine.register());
        if result.is_err() {
            client::leave(shared);
        }
        Ok(result?)
    }

    /// Back to IDLE; nacks what is unfinished.
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn unregister(&self) -> Result<(), PortError> {
        self.verb(Call::Unregister, |engine, now| engine.unregister(now))?;
        client::leave(&self.shared);
        Ok(())
    }

    /// REGISTERED → INITIALIZED: builds the address table (L2).
    ///
    /// # Errors
    /// In another state.
    pub fn initialize(&self) -> Result<(), PortError> {
        self.verb(Call::Initialize, |engine, _| engine.initialize())?;
        self.shared.tell_peers();
        Ok(())
    }

    /// Connects to `to`, or to the primary target (L1, L3). [`ConnStatus::Connected`] or [`ConnStatus::ConnectFailed`] follows.
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn connect(&self, to: Option<NodeId>) -> Result<(), PortError> {
        let result = self.shared.call(|engine, now| {
            self.shared.claim_generation(engine, 0);
            engine.connect(now, to)
        });
        Ok(result.ok_or_else(|| self.shared.refusal(Call::Connect))??)
    }

    /// Goes over to another target in an orderly way (F6): no message is nacked, lost or delivered twice, and what is sent meanwhile is queued.
    /// The new target's client is asked first; when everything that was begun has ended, and the present target's user has released every
    /// message, the present session is revoked. [`ConnStatus::Switched`] follows, or [`ConnStatus::SwitchFailed`] within
    /// `switch_timeout`: then nothing has changed.
    ///
    /// # Errors
    /// Not connected, or the link is not up; no target of this port, or the present one; a switch is under way.
    pub fn switch(&self, to: NodeId) -> Result<(), PortError> {
        let result = self.shared.call(|engine, now| {
            self.shared.claim_generation(engine, 0);
            engine.switch(now, to)
        });
        Ok(result.ok_or_else(|| self.shared.refusal(Call::Switch))??)
    }

    /// Adds an address to a target of a source port (L8): at the end of its list, and if the port is connected to that target, or on its way
    /// there, as a path of the session, which is dialled at once.
    ///
    /// # Errors
    /// No target of this port, the address is there, or there are 64; the port is gone. Nothing has changed then.
    pub fn add_address(&self, node: NodeId, address: Address) -> Result<(), PortError> {
        self.change(|engine, now| engine.add_address(now, node, address))
    }

    /// Removes an address from a target of a source port (L8). If the port is connected to that target its path is given up at once: what was
    /// on its way there goes again on the others, or waits for one of them, and nothing is nacked for that. The last normal address may go
    /// while a standby one is left. The peer sees a path that is lost, and keeps it as dead
    /// among its paths until the session ends: there [`PortStats::paths_up`] stays below [`PortStats::paths`].
    ///
    /// # Errors
    /// No target of this port, no such address, or the only one; the port is gone. Nothing has changed then.
    pub fn remove_address(&self, node: NodeId, remote: SocketAddr) -> Result<(), PortError> {
        self.change(|engine, now| engine.remove_address(now, node, remote))
    }

    /// Sets timeouts and policies anew (L8), on either end: the acknowledgment model of later sends, autoswitch, backup selection, balance, the
    /// send buffer and its marks, `max_pending_events`, fragment, and the timeouts of receipts, users, connects, switches and closes. A
    /// connect, switch or close that is under way keeps its deadline. `change` runs under the port's lock: it may set values, and nothing else.
    ///
    /// # Errors
    /// Another value was changed, or the whole contradicts itself or the node's timers; the port is gone. Nothing has changed then.
    pub fn reconfigure(&self, change: impl FnOnce(&mut PortConfig)) -> Result<(), PortError> {
        self.change(|engine, now| {
            let mut config = engine.config().clone();
            change(&mut config);
            engine.reconfigure(now, config)?;
            self.shared.note_settings(engine);
            Ok(())
        })
    }

    fn change(
        &self,
        f: impl FnOnce(&mut crate::shared::Engine, cdps_core::time::Time) -> Result<(), ChangeError>,
    ) -> Result<(), PortError> {
        Ok(self.shared.call(f).ok_or_else(|| self.shared.refusal(Call::Change))??)
    }

    /// Holds traffic without closing (L7): sends are taken as before, up to `send_buffer_max`, and none of them begins to travel. What has
    /// begun finishes, also over another path or at a backup, and receiving goes on. It lasts until [`Port::resume`], [`Port::stop`],
    /// a [`Port::close`] that leaves no other user, or the end of the session; a connection that is down and is connected again is still
    /// suspended. On a suspended port it does nothing.
    ///
    /// # Errors
    /// Neither connected nor connecting, or a target port that is closing.
    pub fn suspend(&self) -> Result<(), PortError> {
        Ok(self.verb(Call::Suspend, |engine, _| engine.suspend())?)
    }

    /// Lets go what [`Port::suspend`] holds. On a port that is not suspended it does nothing.
    ///
    /// # Errors
    /// Neither connected nor connecting.
    pub fn resume(&self) -> Result<(), PortError> {
        Ok(self.verb(Call::Resume, |engine, now| engine.resume(now))?)
    }

    /// Says what holds for the messages of a stream, before its first one (M11): the acknowledgment model of those that name none, and their
    /// priority. `None`: the calling thread's own stream, before its first message on this port. Messages of high priority go before all
    /// others that wait, and have credit of their own (`PortConfig::high_window` of the other end), so that they never wait for what its user keeps of the
    /// others. The contract lasts as long as the port; one made before the port is connected holds for whatever target it goes to. A target of
    /// the first release knows no priorities: there high messages go first as well, but share the credit of the others.
    ///
    /// # Errors
    /// The stream has messages already, is one too many, or is in the range of the automatic ones; high priority, and the present peer does
    /// not know what that is.
    pub fn set_stream(&self, stream: Option<StreamId>, contract: StreamContract) -> Result<(), PortError> {
        let set = |stream| -> Result<(), PortError> {
            let result = self.shared.call(|engine, _| engine.set_stream(stream, contract));
            Ok(result.ok_or_else(|| self.shared.refusal(Call::Send))??)
        };
        match stream {
            None => streams::own_under(&self.shared, contract, set),
            Some(stream) if stream < StreamId::FIRST_AUTOMATIC => set(stream),
            Some(stream) => Err(PortError::StreamRange { stream }),
        }
    }

    /// Halts sending and keeps the paths (L5).
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn stop(&self) -> Result<(), PortError> {
        Ok(self.verb(Call::Stop, |engine, now| engine.stop(now))?)
    }

    /// Asks the target of a stopped port to go on under a new generation (F3, Fig. 7): [`ConnStatus::Recovered`] says that the port is
    /// CONNECTED again. What is unfinished is nacked, and what is unknown of it resolved. A target that cannot be reached is waited for.
    ///
    /// # Errors
    /// Not STOPPED, or being closed.
    pub fn reset(&self) -> Result<(), PortError> {
        Ok(self.verb(Call::Reset, |engine, now| engine.reset(now))?)
    }

    /// Closes: drains first, or nacks what is unfinished if `immediate` (L5). A target drains both directions: its handler is told of every
    /// message that has been received, and acknowledges those that ask for it, before the session ends.
    ///
    /// # Errors
    /// In a state that does not allow it.
    pub fn close(&self, immediate: bool) -> Result<(), PortError> {
        Ok(self.verb(Call::CloseLast, |engine, now| engine.close(now, immediate))?)
    }

    /// Destroys the port from any state: nacks what is unfinished, gives buffers back, [`PortEvent::Final`] is last (L6). Returns at
    /// once, may be called anywhere, and doing it twice does nothing.
    pub fn destroy(&self) {
        self.shared.destroy();
    }

    /// [`Port::destroy`], then waits until [`PortEvent::Final`] has been handled. With
    /// [`crate::Callbacks::Dispatch`] it dispatches meanwhile, unless another thread was the last that did: that one has to go on.
    ///
    /// # Errors
    /// In a callback (nothing is done then), or when the time is up (the destruction goes on).
    pub fn destroy_wait(&self, timeout: Duration) -> Result<(), WaitError> {
        if threads::in_callback() {
            return Err(WaitError::InCallback);
        }
        self.shared.destroy();
        self.shared.wait_finished(timeout)
    }

    /// What it was created with, filled in from its node: the timers that hold (F12).
    #[must_use]
    pub fn config(&self) -> Option<PortConfig> {
        self.shared.read(|engine| engine.config().clone())
    }

    /// Timers of its node's links.
    #[must_use]
    pub fn liveness(&self) -> &Liveness {
        &self.shared.node.liveness
    }

    /// State of Fig. 7.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state_and_link().0
    }

    /// The second axis of the state.
    #[must_use]
    pub fn link(&self) -> Link {
        self.shared.state_and_link().1
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.shared.session
    }

    /// Its generation now.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.shared.generation()
    }

    /// The node at the other end, if there is one.
    #[must_use]
    pub fn peer(&self) -> Option<NodeId> {
        self.shared.read(|engine| engine.peer()).flatten()
    }

    /// Sends a message, copied from a gather list: the memory is the caller's again on return. Returns its number; exactly one
    /// [`PortEvent::Completed`] or [`PortEvent::Nacked`] follows.
    ///
    /// # Errors
    /// Nothing was sent and no event follows.
    pub fn send(&self, data: &[IoSlice<'_>], options: &SendOptions) -> Result<Sn, SendError> {
        self.send_noting(data, options, |_| ())
    }

    /// As [`Port::send`], and `note` is given the number before any event of the message can be told. It runs under the port's lock: it may
    /// store the number, and nothing else.
    ///
    /// # Errors
    /// As [`Port::send`]; `note` was not called.
    #[inline(always)]
    pub fn send_noting(
        &self,
        data: &[IoSlice<'_>],
        options: &SendOptions,
        note: impl Fn(Sn),
    ) -> Result<Sn, SendError> {
        let len = self.length(data)?;
        let stream = self.stream(options)?;
        self.hand_over(Payload::copy(data, len as usize, options.context), len, stream, options, &note)
    }

    /// Sends a message without copying it. As [`Port::send`], and [`PortEvent::Released`] says when the memory is free.
    ///
    /// # Errors
    /// Nothing was sent, no event follows, and the memory is the caller's.
    ///
    /// # Safety
    /// On success the memory that `data` refers to (not the list itself) must stay valid and unchanged until [`PortEvent::Released`]
    /// with this `context`. If it is changed all the same the message is not delivered with other bytes than it had at the send: it is nacked with
    /// [`Reason::BufferChanged`] when it would travel (again), or travels as it was if it had been copied or written before (M8). That is
    /// looked at by checksum, a moment before the bytes go to the kernel: it finds mistakes, and makes none harmless.
    pub unsafe fn send_borrowed(&self, data: &[IoSlice<'_>], options: &SendOptions) -> Result<Sn, SendError> {
        // SAFETY: the caller promises it.
        unsafe { self.send_borrowed_noting(data, options, |_| ()) }
    }

    /// As [`Port::send_borrowed`], with `note` as in [`Port::send_noting`].
    ///
    /// # Errors
    /// As [`Port::send_borrowed`]; `note` was not called.
    ///
    /// # Safety
    /// As [`Port::send_borrowed`].
    #[inline]
    pub unsafe fn send_borrowed_noting(
        &self,
        data: &[IoSlice<'_>],
        options: &SendOptions,
        note: impl Fn(Sn),
    ) -> Result<Sn, SendError> {
        let len = self.length(data)?;
        let stream = self.stream(options)?;
        // SAFETY: the caller promises it.
        let payload = unsafe {
            Payload::lend(data, len as usize, self.shared.fragment(), &self.shared.lending, options.context)
        };
        self.hand_over(payload, len, stream, options, &note)
    }

    /// Acknowledges a received message that [`Message::wants_ack`] (A1). In any order, from any thread, once.
    ///
    /// # Errors
    /// When no such acknowledgment is owed.
    pub fn ack(&self, sn: Sn, rc: i32) -> Result<(), AckError> {
        self.shared.call(|engine, now| engine.ack(now, sn, rc)).unwrap_or(Err(AckError::NotOwed { sn }))
    }

    /// Its node's [`crate::Node::is_poisoned`].
    #[must_use]
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.shared.node.is_poisoned()
    }

    /// Its node's [`crate::Node::poison`].
    pub fn poison(&self, what: &str) {
        self.shared.node.poison(what);
    }

    /// Figures of the port.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        self.shared.stats()
    }

    /// Figures of the paths of its present session; none without one.
    #[must_use]
    pub fn path_stats(&self) -> Vec<PathStats> {
        self.shared.path_stats()
    }

    fn verb(
        &self,
        call: Call,
        f: impl FnOnce(&mut crate::shared::Engine, cdps_core::time::Time) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.shared.call(f).unwrap_or_else(|| Err(self.shared.refusal(call)))
    }

    #[inline]
    fn length(&self, data: &[IoSlice<'_>]) -> Result<u32, SendError> {
        let len: u64 = data.iter().map(|part| part.len() as u64).sum();
        // Before it is copied; the engine knows what its peer takes.
        let max = u64::from(self.shared.max_message());
        if len > max { Err(SendError::TooLong { len, max }) } else { Ok(len as u32) }
    }

    #[inline(always)]
    fn stream(&self, options: &SendOptions) -> Result<StreamId, SendError> {
        match options.stream {
            None => Ok(streams::own(&self.shared)),
            Some(stream) if stream < StreamId::FIRST_AUTOMATIC => Ok(stream),
            Some(stream) => Err(SendError::StreamRange { stream }),
        }
    }

    /// Hands a message to the engine, waiting for space if that is allowed. A payload that is refused is dropped without an event.
    #[inline(always)]
    fn hand_over(
        &self,
        payload: Payload,
        len: u32,
        stream: StreamId,
        options: &SendOptions,
        note: &impl Fn(Sn),
    ) -> Result<Sn, SendError> {
        let SendOptions { ack, deadline, barrier, .. } = *options;
        match self.shared.send(Outbound { stream, len, ack, deadline, barrier, payload }, note) {
            Ok(Ok(sn)) => Ok(sn),
            Ok(Err(refused)) => {
                let (error, payload) = *refused;
                self.not_sent(error, payload, len, stream, options, note)
            }
            Err(payload) => {
                self.take_back(payload);
                Err(self.shared.refusal(Call::Send).into())
            }
        }
    }

    /// What follows a refusal: waiting, if it is for space and that is allowed.
    #[cold]
    fn not_sent(
        &self,
        error: Refusal,
        payload: Payload,
        len: u32,
        stream: StreamId,
        options: &SendOptions,
        note: &impl Fn(Sn),
    ) -> Result<Sn, SendError> {
        let another = match error {
            Refusal::TooManyStreams { .. } if options.stream.is_none() => streams::exchange(&self.shared),
            Refusal::Backlog { .. } => Some(stream),
            _ => None,
        };
        let (error, payload) = match another {
            Some(stream) => match self.try_again(payload, len, stream, options, note) {
                Ok(sn) => return Ok(sn),
                Err(refused) => *refused,
            },
            None => (error, payload),
        };
        let stream = another.unwrap_or(stream);
        if !error.is_for_room() || options.timeout == Some(Duration::ZERO) {
            self.take_back(payload);
            return Err(error.into());
        }
        if threads::in_callback() {
            self.take_back(payload);
            return Err(SendError::InCallback);
        }
        if self.shared.node.callbacks.rely_on_this_thread() {
            self.take_back(payload);
            return Err(SendError::Again);
        }
        self.wait_and_send(payload, len, stream, options, note)
    }

    /// Some of the completions that waited may have been told meanwhile.
    fn try_again(
        &self,
        payload: Payload,
        len: u32,
        stream: StreamId,
        options: &SendOptions,
        note: &impl Fn(Sn),
    ) -> Result<Sn, Refused<Payload>> {
        let SendOptions { ack, deadline, barrier, .. } = *options;
        let sent = self.shared.call(|engine, now| {
            engine.handle_ends_told(self.shared.ends_told.count());
            let message = Outbound { stream, len, ack, deadline, barrier, payload };
            engine.send(now, message).inspect(|sn| note(*sn))
        });
        sent.unwrap_or_else(|| unreachable!("a port that had an engine keeps it"))
    }

    fn wait_and_send(
        &self,
        payload: Payload,
        len: u32,
        stream: StreamId,
        options: &SendOptions,
        note: &impl Fn(Sn),
    ) -> Result<Sn, SendError> {
        let SendOptions { ack, deadline, barrier, .. } = *options;
        let mut waiting = Some(payload);
        let sent =
            self.shared.wait_for_space(options.timeout.and_then(clock::deadline), len, |engine, now| {
                let payload = waiting.take()?;
                engine.handle_ends_told(self.shared.ends_told.count());
                let message = Outbound { stream, len, ack, deadline, barrier, payload };
                match engine.send(now, message).inspect(|sn| note(*sn)) {
                    Ok(sn) => Some(Ok(sn)),
                    Err(refused) => {
                        let (error, payload) = *refused;
                        waiting = Some(payload);
                        (!error.is_for_room()).then_some(Err(error))
                    }
                }
            });
        if let Some(payload) = waiting {
            self.take_back(payload);
        }
        match sent {
            Some(Ok(sn)) => Ok(sn),
            Some(Err(error)) => Err(error.into()),
            None => Err(SendError::TimedOut),
        }
    }

    /// Drops the payload of a refused send. It may be the last thing that the final event of a destroyed port waits for.
    fn take_back(&self, payload: Payload) {
        payload.take_back();
        self.shared.loan_taken_back();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("session", &self.shared.session).finish_non_exhaustive()
    }
}
