//! A port as the driver has it: its engine, its lock, and what must happen after every engine call.
//!
//! # Locks
//!
//! None is held while another one is taken, with three exceptions: a connection's writer may take its port's engine, to ask what goes
//! next; a new data connection may do so with its port's table of paths, and a new control connection take the node's engine with the
//! table of links, so that nothing can happen to either before it is in its table. (The lock of the spare chunks, which dropping a payload may
//! take anywhere, has none taken under it.) Under an engine's lock there is no system call, no copy of payload, no callback, no waking and no log line: an engine call
//! says in a [`Post`] what has to be done, and [`PortShared::after`] does it once the lock is free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cdps_core::config::Priority;
use cdps_core::id::{ConnId, Generation, LinkId, PathId, SessionId, Side, Sn};
use cdps_core::node::Node;
use cdps_core::port::{Action, Call, CreditToken, Event, Link, Outbound, Queue, Refused, State, StateError};
use cdps_core::time::Time;
use cdps_core::wire::MAX_MESSAGE;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::callbacks::{Job, Queues};
use crate::client::ClientShared;
use crate::clock;
use crate::conn::Conn;
use crate::dispatch::{Dispatch, EndsTold};
use crate::error::WaitError;
use crate::fence::{Delivery, Fence};
use crate::hub::NodeShared;
use crate::payload::{Lending, Payload};
use crate::port::PortHandler;
use crate::received::ReceivedBuf;
use crate::schedule::Schedule;
use crate::stats::Carried;
use crate::streams::Automatic;
use crate::timer::Sleep;

pub(crate) type Engine = cdps_core::port::Port<Payload, ReceivedBuf>;
pub(crate) type PortEvent = Event<Payload, ReceivedBuf>;

/// Of these there are many: how much memory they touch is what they cost. With such a payload an entry of the send queue has 64 bytes.
const _: () = assert!(size_of::<Payload>() == 24 && size_of::<Option<PortEvent>>() <= 80);

/// Sends for which the clock is read once, at most.
const SENDS_A_READING: u8 = 15;
/// A timer that is due within this time is close.
const CLOSE: Duration = Duration::from_millis(50);
/// Part of the send buffer that must be free before waiting senders are woken.
const WAKE_PART: u64 = 8;

/// A port.
pub(crate) struct PortShared {
    pub(crate) node: Arc<NodeShared>,
    /// Number within the node, for lookups and to spread ports over threads. Not on the wire.
    pub(crate) number: u64,
    pub(crate) side: Side,
    pub(crate) session: SessionId,
    state: Mutex<PortState>,
    /// False: a target whose connect request its client has not answered yet.
    decided: AtomicBool,
    /// Its user wants it destroyed as soon as that is decided.
    doomed: AtomicBool,
    /// Senders that wait for space.
    space: Condvar,
    /// The connections by path.
    pub(crate) paths: Mutex<Vec<PathSlot>>,
    /// The client that it belongs to.
    pub(crate) client: Mutex<Weak<ClientShared>>,
    /// Taken away after the final event.
    pub(crate) handler: Mutex<Option<Arc<dyn PortHandler>>>,
    pub(crate) dispatch: Mutex<Dispatch>,
    pub(crate) ends_told: EndsTold,
    pub(crate) lending: Arc<Lending>,
    pub(crate) fence: Fence,
    pub(crate) rearm: Notify,
    pub(crate) destroyed: AtomicBool,
    /// The generation that it asks for is being written down.
    pub(crate) keeping: AtomicBool,
    /// Set when the final event has been handled.
    pub(crate) finished: Mutex<bool>,
    pub(crate) finish: Condvar,
    pub(crate) streams: Mutex<Automatic>,
    limits: Limits,
}

/// What is read of the settings without the port's lock; known once it has an engine.
struct Limits {
    /// Window that it grants, per class.
    windows: [AtomicU64; 2],
    /// Length of the fragments that it cuts.
    fragment: AtomicU32,
    /// Longest message that it may be given. Its peer may take less.
    max_message: AtomicU32,
}

impl Limits {
    fn new(engine: Option<&Engine>) -> Limits {
        let limits = Limits {
            windows: [AtomicU64::new(0), AtomicU64::new(0)],
            fragment: AtomicU32::new(0),
            max_message: AtomicU32::new(MAX_MESSAGE),
        };
        engine.into_iter().for_each(|engine| limits.note(engine));
        limits
    }

    fn note(&self, engine: &Engine) {
        let config = engine.config();
        let [normal, high] = &self.windows;
        normal.store(config.window, Ordering::Relaxed);
        high.store(config.high_window, Ordering::Relaxed);
        self.fragment.store(config.fragment, Ordering::Relaxed);
        self.max_message.store(config.max_message, Ordering::Relaxed);
    }
}

struct PortState {
    /// `None`: a target whose connect request is not decided, or was refused.
    engine: Option<Engine>,
    actions: VecDeque<Action>,
    /// Somebody carries actions out. They are carried out one at a time, in order.
    acting: bool,
    /// Who tells its events.
    schedule: Schedule,
    /// When the timer task will look next.
    armed: Time,
    /// Senders that wait for space.
    waiting: u32,
    /// Room that they wait for, at least.
    shortest: u32,
    /// Last time given to the engine: it must not run backwards.
    last: Time,
    /// Sends since that was read off the clock.
    unread: u8,
}

/// What belongs to one path: its connection, the attempt to make one, the link that it watches.
#[derive(Default)]
pub(crate) struct PathSlot {
    pub(crate) conn: Option<Arc<Conn>>,
    pub(crate) dial: Option<(ConnId, Option<AbortHandle>)>,
    pub(crate) link: Option<LinkId>,
    /// What former connections of the path have carried.
    pub(crate) carried: Carried,
}

impl PathSlot {
    /// Puts a connection in the place of the former one, or none.
    pub(crate) fn replace(&mut self, conn: Option<Arc<Conn>>) -> Option<Arc<Conn>> {
        let former = std::mem::replace(&mut self.conn, conn);
        if let Some(former) = &former {
            self.carried = self.carried.with(former);
        }
        former
    }

    /// Takes the connection out if it is this one.
    pub(crate) fn take_if(&mut self, is: impl FnOnce(&Arc<Conn>) -> bool) -> Option<Arc<Conn>> {
        if self.conn.as_ref().is_some_and(is) { self.replace(None) } else { None }
    }
}

/// What an engine call leaves to be done without the lock.
#[must_use]
#[derive(Clone, Copy, Default)]
pub(crate) struct Post {
    /// Paths that have something to send.
    kicks: u64,
    act: bool,
    schedule: bool,
    rearm: bool,
    wake: bool,
}

impl Post {
    /// What two calls have left.
    pub(crate) fn and(self, other: Post) -> Post {
        Post {
            kicks: self.kicks | other.kicks,
            act: self.act | other.act,
            schedule: self.schedule | other.schedule,
            rearm: self.rearm | other.rearm,
            wake: self.wake | other.wake,
        }
    }

    fn is_empty(&self) -> bool {
        !(self.act || self.schedule || self.rearm || self.wake) && self.kicks == 0
    }
}

/// Events that were taken from the engine.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) events: Queue<PortEvent>,
    /// [`Fence::cut`] when they were taken: messages among them are void once it is another.
    pub(crate) cut: u64,
}

/// What the dispatcher gets from one look at the engine.
pub(crate) enum Polled {
    /// Events were taken.
    Some(Delivery),
    /// There are none now; somebody else will schedule the port when there are.
    Idle,
    /// There never will be any more: time for the final event.
    Over,
}

impl PortShared {
    pub(crate) fn new(
        node: &Arc<NodeShared>,
        number: u64,
        side: Side,
        session: SessionId,
        engine: Option<Engine>,
        handler: Option<Arc<dyn PortHandler>>,
        lease: Option<Arc<AtomicU64>>,
    ) -> Arc<PortShared> {
        let limits = Limits::new(engine.as_ref());
        let state = PortState {
            engine,
            actions: VecDeque::new(),
            acting: false,
            schedule: Schedule::default(),
            armed: Time::NEVER,
            waiting: 0,
            shortest: u32::MAX,
            last: Time::ZERO,
            unread: 0,
        };
        Arc::new(PortShared {
            node: Arc::clone(node),
            number,
            side,
            session,
            decided: AtomicBool::new(state.engine.is_some()),
            doomed: AtomicBool::new(false),
            state: Mutex::new(state),
            space: Condvar::new(),
            paths: Mutex::new(Vec::new()),
            client: Mutex::new(Weak::new()),
            handler: Mutex::new(handler),
            dispatch: Mutex::new(Dispatch::default()),
            ends_told: EndsTold::default(),
            lending: Arc::new(Lending::default()),
            fence: Fence::new(lease),
            rearm: Notify::new(),
            destroyed: AtomicBool::new(false),
            keeping: AtomicBool::new(false),
            finished: Mutex::new(false),
            finish: Condvar::new(),
            streams: Mutex::new(Automatic::default()),
            limits,
        })
    }

    /// Gives an accepted target its engine.
    pub(crate) fn install(&self, engine: Engine) {
        self.decided.store(true, Ordering::Release);
        self.limits.note(&engine);
        self.state.lock().engine = Some(engine);
    }

    /// Window that it grants to its peer for a class of messages.
    pub(crate) fn window(&self, class: Priority) -> u64 {
        self.limits.windows[class as usize].load(Ordering::Relaxed)
    }

    /// Length of the fragments that it cuts, unless that was changed just now.
    pub(crate) fn fragment(&self) -> usize {
        self.limits.fragment.load(Ordering::Relaxed) as usize
    }

    /// Longest message that it may be given.
    #[inline]
    pub(crate) fn max_message(&self) -> u32 {
        self.limits.max_message.load(Ordering::Relaxed)
    }

    /// Some of its settings are others from now on.
    pub(crate) fn note_settings(&self, engine: &Engine) {
        self.limits.note(engine);
    }

    /// Calls the engine, then does what the call left to be done. `None` if there is no engine.
    pub(crate) fn call<T>(self: &Arc<Self>, f: impl FnOnce(&mut Engine, Time) -> T) -> Option<T> {
        let (result, post) = self.call_only(f)?;
        self.after(post);
        Some(result)
    }

    /// Calls the engine; the caller passes the rest on to [`PortShared::after`].
    pub(crate) fn call_only<T>(&self, f: impl FnOnce(&mut Engine, Time) -> T) -> Option<(T, Post)> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let engine = state.engine.as_mut()?;
        let now = clock::now().max(state.last);
        state.last = now;
        let result = f(engine, now);
        Some((result, state.post(self)))
    }

    /// Gives the engine a message to send, and calls `note` with its number under the lock. As [`PortShared::call`], but the clock is not read
    /// for each of many in a row. The payload comes back if there is no engine.
    #[inline(always)]
    pub(crate) fn send(
        self: &Arc<Self>,
        message: Outbound<Payload>,
        note: impl Fn(Sn),
    ) -> Result<Result<Sn, Refused<Payload>>, Payload> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(engine) = state.engine.as_mut() else { return Err(message.payload) };
        // Only while a timer is close, which reads the clock again: so the time is never further off than that. A deadline counts from now.
        let soon = engine.poll_timeout() < state.last + CLOSE && message.deadline.is_none();
        if soon && state.unread < SENDS_A_READING {
            state.unread += 1;
        } else {
            state.last = clock::now().max(state.last);
            state.unread = 0;
        }
        let sent = engine.send(state.last, message);
        if let Ok(sn) = sent {
            note(sn);
        }
        let post = state.post(self);
        drop(guard);
        self.after(post);
        Ok(sent)
    }

    /// Reads from the engine; nothing has to be done afterwards.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Engine) -> T) -> Option<T> {
        self.state.lock().engine.as_ref().map(f)
    }

    pub(crate) fn state_and_link(&self) -> (State, Link) {
        let none = if self.decided.load(Ordering::Acquire) { State::Destroyed } else { State::Registered };
        self.read(|engine| (engine.state(), engine.link())).unwrap_or((none, Link::Up))
    }

    pub(crate) fn generation(&self) -> Generation {
        self.read(Engine::generation).unwrap_or_default()
    }

    /// Does what an engine call left to be done. No lock may be held.
    #[inline]
    pub(crate) fn after(self: &Arc<Self>, post: Post) {
        if !post.is_empty() {
            self.do_after(post);
        }
    }

    fn do_after(self: &Arc<Self>, post: Post) {
        if post.wake {
            self.space.notify_all();
        }
        if post.schedule && self.node.callbacks.are_next_here() {
            // What the callbacks send then goes with what is to be sent now, in one system call.
            self.schedule();
            self.kick(post.kicks, Conn::kick_later);
        } else {
            self.kick(post.kicks, Conn::kick);
            if post.schedule {
                self.schedule();
            }
        }
        if post.rearm {
            self.rearm.notify_one();
        }
        if post.act {
            self.act();
        }
    }

    fn kick(&self, mut kicks: u64, how: impl Fn(&Arc<Conn>)) {
        while kicks != 0 {
            let path = kicks.trailing_zeros() as usize;
            kicks &= kicks - 1;
            if let Some(conn) = self.conn(PathId(path as u16)) {
                how(&conn);
            }
        }
    }

    /// The connection of a path.
    pub(crate) fn conn(&self, path: PathId) -> Option<Arc<Conn>> {
        self.paths.lock().get(usize::from(path.0))?.conn.clone()
    }

    /// Gives access to what belongs to a path.
    pub(crate) fn slot<T>(&self, path: PathId, f: impl FnOnce(&mut PathSlot) -> T) -> T {
        let mut paths = self.paths.lock();
        let index = usize::from(path.0);
        if paths.len() <= index {
            paths.resize_with(index + 1, PathSlot::default);
        }
        f(&mut paths[index])
    }

    fn schedule(self: &Arc<Self>) {
        self.node.callbacks.push(self.number, Job::Port(Arc::clone(self)));
    }

    /// Carries out what the engine asks for: one action at a time, in order, by one thread at a time.
    fn act(self: &Arc<Self>) {
        loop {
            let action = {
                let mut state = self.state.lock();
                let action = state.actions.pop_front();
                state.acting = action.is_some();
                action
            };
            match action {
                Some(action) => crate::actions::carry_out(self, action),
                None => return,
            }
        }
    }

    /// Has the port drained if lent memory came home: to be called where payloads were dropped.
    pub(crate) fn payloads_dropped(self: &Arc<Self>) {
        if self.lending.came_home() {
            self.wake_dispatch();
        }
    }

    /// Has the port drained unless it will be anyway.
    pub(crate) fn wake_dispatch(self: &Arc<Self>) {
        let claimed = self.state.lock().schedule.claim();
        if claimed {
            self.schedule();
        }
    }

    /// Its drainer has panicked, and has left. The port can still be destroyed.
    pub(crate) fn stumbled(&self) {
        self.node.poison("the delivery of events panicked");
        self.state.lock().schedule.leave(false);
    }

    /// A loan ended without an event. A destroyed port is drained once more: its final event may have waited for that. Looked at under the
    /// lock, so that either this or the drainer that [`PortShared::destroy`] wakes sees both.
    pub(crate) fn loan_taken_back(self: &Arc<Self>) {
        let schedule = {
            let mut state = self.state.lock();
            self.destroyed.load(Ordering::Acquire) && state.schedule.claim()
        };
        if schedule {
            self.schedule();
        }
    }

    /// The lease was renewed: events that waited for it may go.
    pub(crate) fn lease_renewed(self: &Arc<Self>) {
        let renewed = self.state.lock().schedule.renewed();
        if renewed {
            self.schedule();
        }
    }

    /// Whether its user has been told everything that there was, and is in no callback of it.
    pub(crate) fn has_told_all(&self) -> bool {
        let state = self.state.lock();
        state.schedule.is_idle() && !state.engine.as_ref().is_some_and(Engine::has_events)
    }

    /// For the dispatcher: gives credit back, and takes what waits if `taken` is empty. With [`Polled::Idle`] and [`Polled::Over`] the
    /// drainer is not scheduled any more.
    pub(crate) fn poll_events(self: &Arc<Self>, credit: Option<CreditToken>, taken: &mut Taken) -> Polled {
        let (polled, post) = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let mut post = Post::default();
            let delivery = self.delivery(state.engine.as_ref());
            if let Some(engine) = state.engine.as_mut() {
                let now = clock::now().max(state.last);
                state.last = now;
                if let Some(token) = credit {
                    engine.release(now, token);
                }
                if taken.events.is_empty() {
                    engine.handle_told(now);
                    self.ends_told.begin();
                    taken.cut = self.fence.cut();
                    engine.take_events(!matches!(delivery, Delivery::Held), &mut taken.events);
                }
                state.schedule.enter();
                post = state.post(self);
            }
            let polled = if !taken.events.is_empty() || self.lending.came_home() {
                Polled::Some(delivery)
            } else if self.destroyed.load(Ordering::Acquire) && self.lending.settled() {
                // It stays marked as scheduled, so that nobody schedules it again.
                Polled::Over
            } else {
                state.schedule.leave(matches!(delivery, Delivery::Held));
                Polled::Idle
            };
            (polled, post)
        };
        self.after(post);
        polled
    }

    /// For the dispatcher: its next event waits for the lease. False: it need not wait any more, or there is something else to tell.
    pub(crate) fn hold(&self, cut: u64) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let hold = matches!(self.delivery(state.engine.as_ref()), Delivery::Held)
            && cut == self.fence.cut()
            && !self.lending.came_home();
        if hold {
            state.schedule.leave(true);
        }
        hold
    }

    fn delivery(&self, engine: Option<&Engine>) -> Delivery {
        if self.gives_up() {
            Delivery::Over
        } else if !engine.is_some_and(Engine::needs_lease) {
            Delivery::Free
        } else if self.fence.leased() {
            Delivery::Leased
        } else {
            Delivery::Held
        }
    }

    /// Whether messages that were not delivered yet never will be.
    pub(crate) fn gives_up(&self) -> bool {
        self.fence.is_revoked() || self.destroyed.load(Ordering::Acquire)
    }

    /// Runs `f` until it gives `Some`, waiting in between until there is space for `len` bytes or the state has changed. `None`: the
    /// time is up.
    pub(crate) fn wait_for_space<T>(
        self: &Arc<Self>,
        until: Option<std::time::Instant>,
        len: u32,
        mut f: impl FnMut(&mut Engine, Time) -> Option<T>,
    ) -> Option<T> {
        let mut guard = self.state.lock();
        loop {
            let state = &mut *guard;
            let now = clock::now().max(state.last);
            state.last = now;
            let result = f(state.engine.as_mut()?, now);
            let post = state.post(self);
            let late = until.is_some_and(clock::passed);
            if result.is_some() || late {
                drop(guard);
                self.after(post);
                return result;
            }
            if !post.is_empty() {
                drop(guard);
                self.after(post);
                guard = self.state.lock();
                continue;
            }
            // A part of the buffer at a time, so that a waking serves more than one message.
            let part = state.engine.as_ref().map_or(0, |e| e.config().send_buffer_max / WAKE_PART);
            state.waiting += 1;
            state.shortest = state.shortest.min(len.max(u32::try_from(part).unwrap_or(u32::MAX)));
            match until {
                Some(at) => {
                    self.space.wait_until(&mut guard, at);
                }
                None => self.space.wait(&mut guard),
            }
            guard.waiting -= 1;
            if guard.waiting == 0 {
                guard.shortest = u32::MAX;
            }
        }
    }

    // ---- the way down ----

    /// Destroys the port: the engine nacks what is unfinished, and the final event comes when everything has been told.
    pub(crate) fn destroy(self: &Arc<Self>) {
        if !self.decided.load(Ordering::Acquire) {
            self.doomed.store(true, Ordering::Release);
            return;
        }
        // Destroyed before: refused, and nothing changes.
        let _ = self.call(|engine, now| engine.destroy(now));
        self.destroyed.store(true, Ordering::Release);
        self.wake_dispatch();
    }

    /// A connect request was not accepted: its port is over.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.decided.store(true, Ordering::Release);
        self.destroy();
    }

    /// Whether its user has destroyed it before its connect request was decided on.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Acquire)
    }

    /// The final event has been handled.
    pub(crate) fn finish(self: &Arc<Self>) {
        self.node.sessions.lock().forget(self);
        self.node.links.forget(self);
        crate::client::leave(self);
        self.node.dismiss(self);
        *self.finished.lock() = true;
        self.finish.notify_all();
        self.rearm.notify_one();
    }

    pub(crate) fn wait_finished(&self, timeout: Duration) -> Result<(), WaitError> {
        let deadline = clock::deadline(timeout);
        if let Queues::Own(own) = &self.node.callbacks {
            own.dispatch_until(deadline, || *self.finished.lock())?;
        }
        let mut finished = self.finished.lock();
        while !*finished {
            match deadline {
                Some(at) if self.finish.wait_until(&mut finished, at).timed_out() && !*finished => {
                    return Err(WaitError::TimedOut);
                }
                Some(_) => {}
                None => self.finish.wait(&mut finished),
            }
        }
        Ok(())
    }

    // ---- what the user's calls need ----

    /// The error of a call on a port without an engine.
    pub(crate) fn refusal(&self, call: Call) -> StateError {
        let (state, link) = self.state_and_link();
        StateError { call, state, link }
    }

    /// Whether the port could be registered now; asked before it is counted as a user of a client.
    pub(crate) fn may_register(&self) -> Result<(), StateError> {
        match self.state_and_link().0 {
            State::Idle => Ok(()),
            _ => Err(self.refusal(Call::Register)),
        }
    }

    /// Tells a port how its targets are, as the node knows it.
    pub(crate) fn tell_peers(self: &Arc<Self>) {
        let targets = self.read(|engine| engine.config().targets.iter().map(|t| t.node).collect::<Vec<_>>());
        for node in targets.unwrap_or_default() {
            self.tell(
                |engine| engine.peer_state(node),
                |engine, now, peer| engine.handle_peer(now, node, peer),
            );
        }
        self.tell(|engine| Some(engine.isolated()), |engine, _, isolated| engine.handle_isolated(isolated));
    }

    /// The next generation that the engine asks for is none of another port of this node, and above `known`.
    pub(crate) fn claim_generation(&self, engine: &mut Engine, known: u64) {
        let known = engine.pass_over(known);
        engine.pass_over(self.node.claim_generation(known));
    }

    /// Tells a port what the node knows; again if that has changed meanwhile, since the port may have been told the newer state first.
    pub(crate) fn tell<T: PartialEq + Copy>(
        self: &Arc<Self>,
        known: impl Fn(&Node) -> Option<T>,
        tell: impl Fn(&mut Engine, Time, T),
    ) {
        let mut told = None;
        while let Some(state) = self.node.read(&known).filter(|state| told != Some(*state)) {
            self.call(|engine, now| tell(engine, now, state));
            told = Some(state);
        }
    }

    /// Looks after the engine's timers, as long as the port lives.
    pub(crate) async fn timers(self: Arc<Self>) {
        while !*self.finished.lock() {
            let armed = self.state.lock().armed;
            tokio::select! {
                () = Sleep::until(armed) => {}
                () = self.rearm.notified() => continue,
            }
            self.state.lock().armed = Time::NEVER;
            self.call(|engine, now| {
                if engine.poll_timeout() <= now {
                    engine.handle_timeout(now);
                }
            });
        }
    }
}

impl PortState {
    #[inline(always)]
    fn post(&mut self, port: &PortShared) -> Post {
        let mut post = Post::default();
        let Some(engine) = self.engine.as_mut() else { return post };
        post.kicks = engine.take_kicks();
        let mut voided = false;
        while let Some(action) = engine.poll_action() {
            if action == Action::Revoke {
                // At once: what is on its way to the user must see it. What waited for the lease waits no more.
                port.fence.void();
                voided = self.schedule.is_held();
            } else {
                self.actions.push_back(action);
            }
        }
        post.act = !self.actions.is_empty() && !std::mem::replace(&mut self.acting, true);
        let waits = || engine.has_events() || port.lending.came_home();
        let lease = || !voided && engine.needs_lease() && !port.gives_up();
        post.schedule = self.schedule.changed(waits, lease);
        let at = engine.poll_timeout();
        if at < self.armed {
            self.armed = at;
            post.rearm = true;
        }
        if self.waiting > 0 {
            let sends = engine.state() == State::Connected && engine.link() != Link::Down;
            post.wake = !sends || engine.has_room(self.shortest);
        }
        post
    }
}
