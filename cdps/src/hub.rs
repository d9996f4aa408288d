//! What a node's ports, clients and connections share: the node engine, the threads, the tables, and the way down.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use cdps_core::admission::Admission;
use cdps_core::config::{ConfigError, Liveness, NodeConfig, PortConfig};
use cdps_core::id::{Generation, Incarnation, NodeId, PathId, SessionId};
use cdps_core::node::{LinkKey, Node as Engine};
use cdps_core::port::Stats as PortStats;
use cdps_core::reason::Reason;
use cdps_core::time::Time;
use parking_lot::{Condvar, Mutex};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::callbacks::{Job, Queues};
use crate::client::ClientShared;
use crate::clock;
use crate::conn::handshake::Failed;
use crate::error::WaitError;
use crate::keep::{KeepError, Owner, StateDir};
use crate::links::Links;
use crate::log::{Level, Log, RateLimit};
use crate::session::Sessions;
use crate::shared::PortShared;
use crate::stats::Counts;
use crate::threads::{self, CallbackThread, IoThread, Last};
use crate::timer::Sleep;

/// How long a closing node waits for its last frames to be written.
const FAREWELL: Duration = Duration::from_millis(1500);

/// A node.
pub(crate) struct NodeShared {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
    pub(crate) liveness: Liveness,
    pub(crate) listening: Vec<SocketAddr>,
    hub: Mutex<Hub>,
    pub(crate) rearm: Notify,
    pub(crate) links: Links,
    pub(crate) sessions: Mutex<Sessions>,
    registry: Mutex<Registry>,
    pub(crate) counts: Counts,
    /// Where generations are kept, if anywhere.
    pub(crate) state: Option<StateDir>,
    log: Log,
    /// By level.
    limits: [RateLimit; Level::Trace as usize + 1],
    seed: u64,
    ports: AtomicU32,
    numbers: AtomicU64,
    /// The newest number of a generation that a port of this node has claimed.
    generations: AtomicU64,
    io: Vec<Handle>,
    pub(crate) callbacks: Queues,
    threads: Mutex<Threads>,
    /// Connections that exist, and what is told when there are none.
    alive: AtomicUsize,
    none_alive: Notify,
    ended: AtomicBool,
    /// A bug has shown: what is known here may not be true any more.
    poisoned: AtomicBool,
    finished: Mutex<bool>,
    finish: Condvar,
}

pin_project! {
    /// A task that poisons its node if it panics. No `async` block around the task: that would have room for it twice.
    struct Watched<T> {
        node: Arc<NodeShared>,
        #[pin]
        task: T,
    }
}

impl<T: Future<Output = ()>> Future for Watched<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let alarm = Alarm(this.node);
        let polled = this.task.poll(context);
        std::mem::forget(alarm);
        polled
    }
}

/// Dropped only by a panic.
struct Alarm<'a>(&'a NodeShared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.0.poison("a task panicked");
    }
}

/// The engine of a node.
pub(crate) struct Hub {
    engine: Engine,
    /// Somebody carries outputs out. They are carried out one at a time, in order.
    acting: bool,
    /// When the timer task will look next.
    armed: Time,
    last: Time,
}

#[derive(Default)]
struct Registry {
    ports: HashMap<u64, Arc<PortShared>>,
    sources: HashMap<u32, Arc<PortShared>>,
    clients: HashMap<String, Arc<ClientShared>>,
    /// Sum over the ports that are gone.
    departed: PortStats,
    closing: bool,
    /// Everything is down, and the end has begun.
    ending: bool,
}

/// The threads of a node, for its end.
pub(crate) struct Threads {
    io: Vec<IoThread>,
    /// If the node has any.
    callbacks: Vec<CallbackThread>,
    /// The one that ends the others, and then itself.
    last: Option<JoinHandle<()>>,
    on_final: Option<Last>,
}

impl Threads {
    pub(crate) fn new(io: Vec<IoThread>, callbacks: Vec<CallbackThread>, on_final: Last) -> Threads {
        Threads { io, callbacks, last: None, on_final: Some(on_final) }
    }
}

/// A connection that a closing node waits for.
pub(crate) struct Alive(Arc<NodeShared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_alive.notify_one();
        }
    }
}

impl Hub {
    pub(crate) fn new(config: NodeConfig, incarnation: Incarnation, seed: u64) -> Result<Hub, ConfigError> {
        let now = clock::now();
        let engine = Engine::new(config, incarnation, now, seed)?;
        Ok(Hub { engine, acting: false, armed: Time::NEVER, last: now })
    }
}

impl NodeShared {
    pub(crate) fn new(
        hub: Hub,
        name: String,
        log: Log,
        state: Option<StateDir>,
        listening: Vec<SocketAddr>,
        threads: Threads,
        callbacks: Queues,
    ) -> Arc<NodeShared> {
        let engine = &hub.engine;
        Arc::new(NodeShared {
            id: engine.id(),
            incarnation: engine.incarnation(),
            name,
            liveness: engine.config().liveness.clone(),
            listening,
            seed: engine.incarnation().0.rotate_left(17),
            hub: Mutex::new(hub),
            rearm: Notify::new(),
            links: Links::default(),
            sessions: Mutex::new(Sessions::default()),
            registry: Mutex::new(Registry::default()),
            counts: Counts::default(),
            state,
            log,
            limits: Default::default(),
            ports: AtomicU32::new(0),
            numbers: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            io: threads.io.iter().map(|thread| thread.handle().clone()).collect(),
            callbacks,
            threads: Mutex::new(threads),
            alive: AtomicUsize::new(0),
            none_alive: Notify::new(),
            ended: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            finished: Mutex::new(false),
            finish: Condvar::new(),
        })
    }

    // ---- the engine ----

    /// Calls the node engine, then carries out what it wants.
    pub(crate) fn call<T>(self: &Arc<Self>, f: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let result = self.call_only(f);
        self.act();
        result
    }

    /// Calls the node engine; [`NodeShared::act`] is to follow.
    pub(crate) fn call_only<T>(&self, f: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let mut hub = self.hub.lock();
        let now = clock::now().max(hub.last);
        hub.last = now;
        f(&mut hub.engine, now)
    }

    /// Reads from the node engine.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Engine) -> T) -> T {
        f(&self.hub.lock().engine)
    }

    /// Carries out what the engine wants: one thing at a time, in order, by one thread at a time.
    pub(crate) fn act(self: &Arc<Self>) {
        let mut acting = false;
        loop {
            let output = {
                let mut hub = self.hub.lock();
                if hub.acting && !acting {
                    return;
                }
                let output = hub.engine.poll_output();
                acting = output.is_some();
                hub.acting = acting;
                if output.is_none() {
                    let at = hub.engine.poll_timeout();
                    // To an earlier time always. To a later one where that costs no wake-up; else the timer finds out by itself.
                    let here = threads::io_thread() == Some(0);
                    if at < hub.armed || (here && at != hub.armed) {
                        hub.armed = at;
                        drop(hub);
                        self.rearm.notify_one();
                    }
                    return;
                }
                output
            };
            if let Some(output) = output {
                crate::outputs::carry_out(self, output);
            }
        }
    }

    /// Looks after the engine's timers, as long as the node lives.
    pub(crate) async fn timers(self: Arc<Self>) {
        loop {
            let armed = self.hub.lock().armed;
            tokio::select! {
                () = Sleep::until(armed) => {}
                () = self.rearm.notified() => continue,
            }
            self.hub.lock().armed = Time::NEVER;
            self.call(|engine, now| {
                if engine.poll_timeout() <= now {
                    engine.handle_timeout(now);
                }
            });
        }
    }

    // ---- threads ----

    /// The I/O thread of this index, modulo their number.
    pub(crate) fn io(&self, index: usize) -> &Handle {
        &self.io[index % self.io.len()]
    }

    /// Counts a connection, so that a closing node waits for it.
    pub(crate) fn alive(self: &Arc<Self>) -> Alive {
        self.alive.fetch_add(1, Ordering::AcqRel);
        Alive(Arc::clone(self))
    }

    // ---- ports and clients ----

    /// A number for a source port; `None` after four thousand million.
    pub(crate) fn next_port(&self) -> Option<u32> {
        let next = |last: u32| last.checked_add(1);
        self.ports.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok().map(|last| last + 1)
    }

    /// A number for a port or client, to spread them over threads.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Fills in what a port takes from its node.
    pub(crate) fn complete(&self, mut config: PortConfig) -> PortConfig {
        config.liveness = self.liveness.clone();
        self.read(|engine| {
            for target in config.targets.iter_mut().filter(|t| t.addresses.is_empty()) {
                target.addresses = engine.addresses(target.node).iter().map(|a| (*a).into()).collect();
            }
            if config.local.is_empty() {
                config.local.clone_from(&engine.config().local);
            }
        });
        config
    }

    /// Puts a new port into the tables, and starts its timers. False: the node is being destroyed.
    pub(crate) fn admit(self: &Arc<Self>, port: &Arc<PortShared>) -> bool {
        {
            let mut registry = self.registry.lock();
            if registry.closing {
                return false;
            }
            registry.ports.insert(port.number, Arc::clone(port));
            if port.side == cdps_core::id::Side::Source {
                registry.sources.insert(port.session.port, Arc::clone(port));
            }
        }
        self.io(port.number as usize).spawn(self.watched(Arc::clone(port).timers()));
        true
    }

    /// A port has had its final event.
    pub(crate) fn dismiss(self: &Arc<Self>, port: &Arc<PortShared>) {
        let stats = port.stats().departed();
        let mut registry = self.registry.lock();
        if registry.ports.remove(&port.number).is_some() {
            registry.departed.add(&stats);
        }
        if port.side == cdps_core::id::Side::Source {
            registry.sources.remove(&port.session.port);
        }
        drop(registry);
        self.end_if_empty();
    }

    pub(crate) fn port_list(&self) -> Vec<Arc<PortShared>> {
        self.registry.lock().ports.values().cloned().collect()
    }

    pub(crate) fn source(&self, port: u32) -> Option<Arc<PortShared>> {
        self.registry.lock().sources.get(&port).cloned()
    }

    pub(crate) fn client_list(&self) -> Vec<Arc<ClientShared>> {
        self.registry.lock().clients.values().cloned().collect()
    }

    pub(crate) fn client(&self, name: &str) -> Option<Arc<ClientShared>> {
        self.registry.lock().clients.get(name).cloned()
    }

    /// Puts a client into the table. `Err(true)`: the node is being destroyed. `Err(false)`: the name is taken.
    pub(crate) fn admit_client(&self, client: &Arc<ClientShared>, admission: Admission) -> Result<(), bool> {
        {
            let mut registry = self.registry.lock();
            if registry.closing {
                return Err(true);
            }
            if registry.clients.contains_key(client.name()) {
                return Err(false);
            }
            registry.clients.insert(client.name().to_owned(), Arc::clone(client));
        }
        self.sessions.lock().know_client(client.name(), admission);
        Ok(())
    }

    /// A client has had its last callback.
    pub(crate) fn dismiss_client(self: &Arc<Self>, client: &ClientShared) {
        // In this order: the name is not free before what belongs to it is forgotten.
        self.sessions.lock().forget_client(client.name());
        self.registry.lock().clients.remove(client.name());
        self.end_if_empty();
    }

    /// The target port of a session.
    pub(crate) fn session(&self, session: SessionId) -> Option<Arc<PortShared>> {
        self.sessions.lock().port(session)
    }

    /// Reports the health of a link to this port, for this path.
    pub(crate) fn watch(&self, port: &Arc<PortShared>, path: PathId, key: LinkKey) {
        self.links.watch(key, port, path);
    }

    pub(crate) fn unwatch(&self, port: &Arc<PortShared>, path: PathId, key: LinkKey) {
        self.links.unwatch(key, port, path);
    }

    // ---- the way down ----

    pub(crate) fn destroy(self: &Arc<Self>) {
        if std::mem::replace(&mut self.registry.lock().closing, true) {
            return;
        }
        for port in self.port_list() {
            port.destroy();
        }
        for client in self.client_list() {
            client.unregister();
        }
        self.end_if_empty();
    }

    fn end_if_empty(self: &Arc<Self>) {
        {
            let mut registry = self.registry.lock();
            let empty = registry.ports.is_empty() && registry.clients.is_empty();
            if !registry.closing || !empty || registry.ending {
                return;
            }
            registry.ending = true;
        }
        self.io(0).spawn(Arc::clone(self).end());
    }

    /// Lets the last frames out, then ends the threads.
    async fn end(self: Arc<Self>) {
        self.links.finish();
        let gone = async {
            while self.alive.load(Ordering::Acquire) > 0 {
                self.none_alive.notified().await;
            }
        };
        // Whoever has not taken the farewell by then learns of the end otherwise.
        let _ = tokio::time::timeout(FAREWELL, gone).await;
        let node = Arc::clone(&self);
        let last = Box::new(move || node.finish());
        match &self.callbacks {
            Queues::Threads(_) | Queues::Own(_) => self.callbacks.push(0, Job::Last(last)),
            Queues::Tasks(_) => {
                // This thread itself, where no callback runs now.
                let mut threads = self.threads.lock();
                threads.last = threads.io.remove(0).end_with(last);
            }
        }
    }

    /// What is done last where callbacks run, or after an I/O thread has been.
    fn finish(&self) {
        let (io, others, on_final) = {
            let mut threads = self.threads.lock();
            let mut callbacks = std::mem::take(&mut threads.callbacks).into_iter();
            if let Some(own) = callbacks.next() {
                threads.last = Some(own.thread);
            }
            (std::mem::take(&mut threads.io), callbacks, threads.on_final.take())
        };
        io.into_iter().for_each(IoThread::stop);
        others.for_each(CallbackThread::stop);
        self.ended.store(true, Ordering::Release);
        self.state.iter().for_each(StateDir::release);
        if let Some(on_final) = on_final {
            threads::guarded(on_final);
        }
        *self.finished.lock() = true;
        self.finish.notify_all();
    }

    pub(crate) fn wait_finished(&self, timeout: Duration) -> Result<(), WaitError> {
        let deadline = clock::deadline(timeout);
        if let Queues::Own(own) = &self.callbacks {
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
        drop(finished);
        let last = self.threads.lock().last.take();
        if let Some(last) = last {
            // It has done its last job.
            let _ = last.join();
        }
        Ok(())
    }

    // ---- counting and logging ----

    /// What the ports that are gone have counted, those that there are, and the number of clients: a port is in one of both.
    pub(crate) fn traffic(&self) -> (PortStats, Vec<Arc<PortShared>>, u64) {
        let registry = self.registry.lock();
        (registry.departed, registry.ports.values().cloned().collect(), registry.clients.len() as u64)
    }

    /// A bug has shown.
    pub(crate) fn poison(&self, what: &str) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            self.log(Level::Error, "bug", format_args!("{what}; the node is not to be trusted any more"));
        }
    }

    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// A task of this node. A panic in it is a bug of the library: those of callbacks end there.
    pub(crate) fn watched<T: Future<Output = ()>>(
        self: &Arc<Self>,
        task: T,
    ) -> impl Future<Output = ()> + use<T> {
        Watched { node: Arc::clone(self), task }
    }

    /// Writes a log line. No lock may be held.
    pub(crate) fn log(&self, level: Level, target: &str, message: fmt::Arguments<'_>) {
        if self.log.wants(level) {
            self.log.line(level, target, format_args!("{}: {message}", self.name));
        }
    }

    /// Writes a log line that others may cause as often as they like: one a second of each level gets through.
    pub(crate) fn log_limited(&self, level: Level, target: &str, message: fmt::Arguments<'_>) {
        if !self.log.wants(level) {
            return;
        }
        match self.limits[level as usize].pass(clock::now()) {
            Some(0) => self.log(level, target, message),
            Some(held) => {
                self.log(level, target, format_args!("{message} ({held} lines like this held back)"))
            }
            None => {
                self.counts.log_suppressed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A connection came to nothing before its handshake was done.
    pub(crate) fn handshake_failed(&self, from: SocketAddr, error: &Failed) {
        self.counts.handshakes_failed.fetch_add(1, Ordering::Relaxed);
        self.log_limited(Level::Warn, "accept", format_args!("connection from {from}: {error}"));
    }

    pub(crate) fn dial_failed(&self, node: NodeId, remote: SocketAddr, error: &Failed) {
        self.counts.dials_failed.fetch_add(1, Ordering::Relaxed);
        self.log_limited(Level::Info, "dial", format_args!("node {node} at {remote}: {error}"));
    }

    /// A data connection has failed.
    pub(crate) fn connection_ended(&self, port: &PortShared, path: PathId, reason: Reason) {
        let level = self.counts.connection_ended(reason);
        let session = port.session;
        self.log_limited(level, "path", format_args!("session {session}, path {path}: {reason}"));
    }

    /// A control connection has failed.
    pub(crate) fn control_ended(&self, key: LinkKey, reason: Reason) {
        let level = self.counts.connection_ended(reason);
        self.log_limited(level, "link", format_args!("link {key:?}: {reason}"));
    }

    /// The highest generation that ports of this node have ever asked for at a client, as far as that is kept.
    pub(crate) fn asked_before(&self, client: &str) -> Result<Generation, KeepError> {
        let Some(state) = &self.state else { return Ok(Generation::default()) };
        let known = state.load(Owner::Port, client)?;
        Ok(known.into_iter().map(|entry| entry.1).max().unwrap_or_default())
    }

    /// Gives a number of a generation to a port of this node that knows of numbers up to `known`: the one after what this gives. No two
    /// ports get the same, so that a target, which takes each once, refuses none of those that connect at the same moment.
    pub(crate) fn claim_generation(&self, known: u64) -> u64 {
        self.generations.fetch_max(known, Ordering::Relaxed);
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// What a client has accepted, as far as that is kept.
    pub(crate) fn accepted_before(&self, client: &str) -> Result<Vec<(NodeId, Generation)>, KeepError> {
        self.state.as_ref().map_or(Ok(Vec::new()), |state| state.load(Owner::Client, client))
    }

    /// Highest generation that a client of this node has accepted from a source node.
    pub(crate) fn highest(&self, client: &str, source: NodeId) -> Generation {
        self.sessions.lock().highest(client, source)
    }
}
