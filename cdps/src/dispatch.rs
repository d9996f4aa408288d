//! Delivery of events to the user: per port one drainer at a time, in order, without any lock (architecture, point 7).

use std::cell::Cell;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cdps_core::cluster::Health;
use cdps_core::id::PathId;
use cdps_core::port::{Asked, ChoiceError, ConnStatus, CreditToken, Event, Question, Trigger};
use cdps_core::reason::Reason;
use cdps_core::time::Duration;

use crate::fence::{Delivery, Glance};
use crate::log::Level;
use crate::message::Message;
use crate::port::{BackupChoice, FenceRequest, Port, PortEvent, PortHandler};
use crate::shared::{Polled, PortShared, Taken};
use crate::threads;

/// Events that are told before credit is given back and the engine is looked at again.
const BATCH: usize = 512;
/// Batches of one port before others get their turn.
const ROUNDS: usize = 8;
/// Credit that a drainer collects, as a part of the window, before it gives it back in the middle of a batch.
const CREDIT_PART: u64 = 16;

/// What a drainer keeps between its turns. Only the drainer uses it, so its lock is never contended.
#[derive(Default)]
pub(crate) struct Dispatch {
    /// Taken from the engine, not yet told.
    taken: Taken,
    contexts: Vec<u64>,
}

/// How many completions and nacks of those that were taken the user has been told of. Written by the drainer for each, and so on a line of
/// memory of its own; read only by sends that would be one too many (M6).
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct EndsTold(AtomicU32);

impl EndsTold {
    /// Before the callback: what is sent in it finds room for its completion.
    fn one_more(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Under the port's lock, for what is taken there.
    pub(crate) fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Under the port's lock, so that it counts what was taken last.
    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a drainer collects from the messages that are dropped on its thread meanwhile, which is the usual end of a message.
struct Current {
    /// The port that it delivers events of.
    port: Cell<*const PortShared>,
    credit: Cell<CreditToken>,
    /// A reference to the port that one of them had, for the next: counting is dear where several processors do it.
    /// [`Turn`] empties it, so that this needs no destructor, and messages can be dropped to the last of a thread.
    reference: ManuallyDrop<Cell<Option<Arc<PortShared>>>>,
}

const NO_CREDIT: CreditToken = CreditToken { account: 0, cost: 0 };

thread_local! {
    static CURRENT: Current = const {
        Current {
            port: Cell::new(std::ptr::null()),
            credit: Cell::new(NO_CREDIT),
            reference: ManuallyDrop::new(Cell::new(None)),
        }
    };
}

impl Current {
    /// A reference to the port that it delivers events of, for a message.
    fn reference(&self, port: &Arc<PortShared>) -> Arc<PortShared> {
        self.reference.take().unwrap_or_else(|| Arc::clone(port))
    }
}

/// A message was dropped. `Ok`: its credit goes back with that of others, when the drainer of this thread has finished its batch.
pub(crate) fn collect(port: Arc<PortShared>, token: CreditToken) -> Result<(), Arc<PortShared>> {
    CURRENT.with(|current| {
        let sum = current.credit.get();
        let here = std::ptr::eq(current.port.get(), Arc::as_ptr(&port));
        if !here || (sum.cost != 0 && sum.account != token.account) {
            return Err(port);
        }
        current.credit.set(CreditToken { account: token.account, cost: sum.cost + token.cost });
        current.reference.set(Some(port));
        Ok(())
    })
}

fn collected() -> Option<CreditToken> {
    CURRENT.with(|current| {
        let sum = current.credit.replace(NO_CREDIT);
        (sum.cost != 0).then_some(sum)
    })
}

/// Makes a port the one that this thread delivers events of, until it is dropped.
struct Turn;

impl Turn {
    fn begin(port: &Arc<PortShared>) -> Turn {
        CURRENT.with(|current| current.port.set(Arc::as_ptr(port)));
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        CURRENT.with(|current| {
            current.port.set(std::ptr::null());
            current.reference.set(None);
        });
    }
}

/// What a turn of a port has brought.
pub(crate) struct Drained {
    /// Events that its user was told of.
    pub(crate) told: usize,
    /// There may be more, and others have their turn first.
    pub(crate) more: bool,
}

/// Delivers what waits on a port, `max` events at most. Where that runs is the node's choice ([`crate::callbacks`]).
pub(crate) fn drain(port: &Arc<PortShared>, max: usize) -> Drained {
    let mut own = mem::take(&mut *port.dispatch.lock());
    // A target whose connect request came to nothing has none, and a port that is over has none left.
    let handler = port.handler.lock().clone();
    let user = User { port: Port::from_shared(Arc::clone(port)), handler, told: Cell::new(0), max };
    let turn = Turn::begin(port);
    let round = |_| user.is_full() || user.round(&mut own);
    let more = catch_unwind(AssertUnwindSafe(|| (0..ROUNDS).all(round)));
    let rest = collected();
    drop(turn);
    *port.dispatch.lock() = own;
    if let Some(token) = rest {
        port.call(|engine, now| engine.release(now, token));
    }
    let told = user.told.get();
    // It may be the last to have the handler, whose destructor is the user's.
    threads::guarded(|| drop(user));
    let more = more.unwrap_or_else(|payload| {
        // Callbacks are guarded one by one: this is a bug of ours. The payload may have a destructor that panics as well.
        mem::forget(payload);
        port.stumbled();
        false
    });
    Drained { told, more }
}

/// How far a batch came.
enum Told {
    /// To its end.
    Batch,
    /// The next event is a message that has to wait for the lease.
    Waits,
    /// A callback panicked.
    Panicked,
}

struct User {
    port: Port,
    handler: Option<Arc<dyn PortHandler>>,
    /// Events that it was told of in this turn, and how many that may be.
    told: Cell<usize>,
    max: usize,
}

impl User {
    /// Whether it was told as much as may be in one turn.
    fn is_full(&self) -> bool {
        self.told.get() >= self.max
    }

    /// One batch. False: nothing is left for this drainer to do.
    fn round(&self, own: &mut Dispatch) -> bool {
        let port = self.port.shared();
        if !own.contexts.is_empty() {
            // Left over from a turn that was full.
            self.release(own);
            return true;
        }
        let delivery = match port.poll_events(collected(), &mut own.taken) {
            Polled::Some(delivery) => delivery,
            Polled::Idle => return false,
            Polled::Over => {
                self.finish();
                return false;
            }
        };
        let mut told = Told::Panicked;
        let mut left = BATCH.min(self.max - self.told.get());
        while matches!(told, Told::Panicked) {
            // Again after a panic in a callback, which ends that callback alone.
            threads::guarded(|| told = self.tell_all(&mut own.taken, delivery, &mut left));
        }
        if port.lending.came_home() {
            port.lending.take_home(&mut own.contexts);
            self.release(own);
        }
        !(matches!(told, Told::Waits) && own.contexts.is_empty() && port.hold(own.taken.cut))
    }

    /// Tells events, in order.
    fn tell_all(&self, taken: &mut Taken, delivery: Delivery, left: &mut usize) -> Told {
        CURRENT.with(|current| self.tell_each(current, taken, delivery, left))
    }

    /// Each event is looked at where it lies, since moving it costs more than the rest, and is gone before its callback runs, which
    /// may panic.
    #[inline(always)]
    fn tell_each(&self, current: &Current, taken: &mut Taken, delivery: Delivery, left: &mut usize) -> Told {
        let port = self.port.shared();
        let mut glance = Glance::default();
        while *left > 0
            && let Some(event) = taken.events.front_mut()
        {
            *left -= 1;
            let told = match event {
                Event::Completed { sn, rc, payload } => {
                    port.ends_told.one_more();
                    let (sn, rc, context) = (*sn, *rc, payload.context());
                    taken.events.pop_front();
                    self.tell(PortEvent::Completed { sn, rc, context });
                    continue;
                }
                Event::Received(received) => {
                    // Looked at again for each message: a callback may have taken longer than the lease (F8).
                    let waits = match delivery {
                        _ if port.gives_up() || port.fence.cut() != taken.cut => None,
                        Delivery::Over => None,
                        Delivery::Free => Some(false),
                        Delivery::Leased => Some(!port.fence.leased_still(&mut glance)),
                        Delivery::Held => Some(true),
                    };
                    match waits {
                        None => {
                            taken.events.pop_front();
                            continue;
                        }
                        Some(true) => return Told::Waits,
                        Some(false) => {}
                    }
                    let told = PortEvent::Received(Message::new(current.reference(port), received));
                    // It has nothing left to drop.
                    mem::forget(taken.events.pop_front());
                    self.tell(told);
                    self.give_back(current);
                    continue;
                }
                Event::Nacked { sn, reason, certainty, payload } => {
                    port.ends_told.one_more();
                    let (context, reason, certainty) = (payload.context(), *reason, *certainty);
                    PortEvent::Nacked { sn: *sn, context, reason, certainty }
                }
                Event::Done { .. } => {
                    taken.events.pop_front();
                    continue;
                }
                Event::Status(status) => {
                    self.log(status);
                    PortEvent::Status(status.clone())
                }
                Event::Flow { on, reason, bytes, messages } => {
                    PortEvent::Flow { on: *on, reason: *reason, bytes: *bytes, messages: *messages }
                }
                Event::Resolved { sn, verdict } => PortEvent::Resolved { sn: *sn, verdict: *verdict },
                Event::Overdue { sn, stream, waited } => {
                    PortEvent::Overdue { sn: *sn, stream: *stream, waited: *waited }
                }
                Event::Question(question) => {
                    let question = question.clone();
                    taken.events.pop_front();
                    self.ask(*question);
                    continue;
                }
                Event::Path { path, health, reason } => {
                    self.log_path(*path, *health, *reason);
                    PortEvent::Path { path: *path, health: *health, reason: *reason }
                }
            };
            taken.events.pop_front();
            self.tell(told);
        }
        Told::Batch
    }

    /// What the user has released is given back in the middle of a batch, if it is a good part of the window.
    #[inline]
    fn give_back(&self, current: &Current) {
        let port = self.port.shared();
        let waits = current.credit.get();
        if waits.cost > port.window(waits.priority()) / CREDIT_PART {
            current.credit.set(NO_CREDIT);
            port.call(|engine, now| engine.release(now, waits));
        }
    }

    /// One line for each change of a path; heavier for one that flaps, and is therefore kept out for longer than others (T4).
    fn log_path(&self, path: PathId, health: Health, reason: Reason) {
        let port = self.port.shared();
        let figures = port.read(|engine| engine.path_stats(path)).flatten();
        let (deaths, kept_out) = figures.map_or((0, Duration::ZERO), |f| (f.deaths, f.kept_out));
        let live = &port.node.liveness;
        if reason == Reason::Rejoining && kept_out > live.heartbeat * live.rejoin {
            let text = format_args!(
                "{}: path {path} flaps: died {deaths} times of late, kept out for {kept_out:?}",
                port.session
            );
            port.node.log(Level::Warn, "path", text);
        } else {
            port.node.log(
                Level::Info,
                "path",
                format_args!("{}: path {path} is {health:?}: {reason}", port.session),
            );
        }
    }

    /// What a loss was decided on, and what came of it, for whoever reads the log later (F11).
    fn log(&self, status: &ConnStatus) {
        let port = self.port.shared();
        if let ConnStatus::Down { decision, .. } | ConnStatus::Switched { decision, .. } = status {
            let (end, level) = match (status, decision.trigger) {
                (ConnStatus::Down { .. }, _) => ("down", Level::Warn),
                // What its user asked for is nothing to warn of.
                (_, Trigger::Asked) => ("switched", Level::Info),
                (_, _) => ("switched", Level::Warn),
            };
            port.node.log(level, "session", format_args!("port {}: {end}: {decision}", port.session));
        }
    }

    /// Asks the user, unless nobody waits for the answer any more.
    fn ask(&self, question: Question) {
        let port = self.port.shared();
        let (Some(handler), Some(true)) = (&self.handler, port.read(|engine| engine.is_asked(question.id)))
        else {
            return;
        };
        let answered = match question.what {
            Asked::Backup { failed, reason, candidates } => {
                let node = handler.choose_backup(&self.port, &BackupChoice { failed, reason, candidates });
                port.call(|engine, now| engine.choose_backup(now, question.id, node))
            }
            Asked::Fence { node, generation, left } => {
                let request = FenceRequest { node, generation, lease_left: left };
                let done = handler.fence(&self.port, &request);
                // One that comes too late is no news: the lease has decided.
                port.call(|engine, now| engine.fenced(now, question.id, done)).map(|_| Ok(()))
            }
        };
        match answered {
            Some(Err(error @ (ChoiceError::Over | ChoiceError::NotACandidate { .. }))) => {
                let text = format_args!("port {}: the choice of a backup: {error}", port.session);
                port.node.log(Level::Warn, "session", text);
            }
            Some(Ok(())) | None => {}
        }
    }

    #[inline(always)]
    fn tell(&self, event: PortEvent) {
        self.told.set(self.told.get() + 1);
        if let Some(handler) = &self.handler {
            handler.event(&self.port, event);
        }
    }

    /// Tells what lent memory came home, as much of it as may be.
    fn release(&self, own: &mut Dispatch) {
        let count = own.contexts.len().min(self.max - self.told.get());
        let mut contexts = own.contexts.drain(..count);
        while contexts.len() > 0 {
            threads::guarded(|| {
                contexts.by_ref().for_each(|context| self.tell(PortEvent::Released { context }));
            });
        }
        drop(contexts);
        self.port.shared().lending.told(count);
    }

    fn finish(&self) {
        let port = self.port.shared();
        threads::guarded(|| self.tell(PortEvent::Final));
        drop(port.handler.lock().take());
        port.finish();
    }
}
