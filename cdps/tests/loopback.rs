//! Two nodes in one process, over real sockets.

pub(crate) mod cluster;

use std::io::IoSlice;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use cdps::{
    AckModel, Callbacks, Certainty, ConnStatus, OnUserAckTimeout, PortConfig, PortEvent, Reason, SendError,
    SendOptions, State, StreamId,
};
use cluster::*;

/// [L1] [L3] [A1] A port connects, sends, is acknowledged with the target's return code, closes; both ends hear of it.
#[test]
fn connect_send_acknowledge_close() {
    let pair = Pair::new(1);
    let sn = send(&pair.port, b"hello", 42).expect("is accepted");
    pair.user.wait_ends(1);
    let seen = pair.user.seen();
    assert!(seen.contains(&Seen::Completed { sn, context: 42, rc: 5 }), "{seen:?}");
    let (far, host) = pair.far();
    let got = host.wait_received(1);
    assert_eq!(got[0].data, b"hello");
    assert_eq!(got[0].sn, sn);
    assert_eq!(far.peer(), Some(pair.source.id()));
    assert_eq!(far.generation(), pair.port.generation());
    pair.port.close(false).expect("closes");
    pair.user.wait_status("drained", |s| *s == ConnStatus::Drained);
    assert_eq!(pair.port.state(), State::Stopped);
    pair.port.close(false).expect("closes again");
    pair.user.wait_status("closed", |s| matches!(s, ConnStatus::Closed { .. }));
    host.wait_status("closed", |s| matches!(s, ConnStatus::Closed { .. }));
    assert_eq!(pair.port.state(), State::Initialized);
    pair.end();
}

/// [A6] [F2] A target's user that never acknowledges: the source is told which message it is, then, as it wished, that the connection is
/// down, and so on in order.
#[test]
fn a_user_that_never_acknowledges_is_seen() {
    let timeout = Duration::from_millis(200);
    let strict = |c: &mut PortConfig| {
        c.user_ack_timeout = Some(timeout);
        c.on_user_ack_timeout = OnUserAckTimeout::Down;
    };
    let pair = Pair::with(2, strict, |_| (), User::new(), User::new);
    let sn = send(&pair.port, b"kept", 1).expect("is accepted");
    let behind = send(&pair.port, b"kept too", 2).expect("is accepted");
    pair.user.wait_status("drained", |s| *s == ConnStatus::Drained);
    let told: Vec<Seen> =
        pair.user.seen().into_iter().skip_while(|s| !matches!(s, Seen::Overdue { .. })).collect();
    let [
        Seen::Overdue { sn: named, waited, .. },
        Seen::Status(down),
        Seen::Nacked { sn: first, .. },
        rest @ ..,
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((*named, *first), (sn, sn));
    assert!(*waited >= timeout, "{waited:?}");
    assert!(matches!(down, ConnStatus::Down { reason: Reason::Timeout, .. }), "{down:?}");
    assert!(
        matches!(rest, [Seen::Nacked { sn, .. }, Seen::Status(ConnStatus::Drained), ..] if *sn == behind),
        "{rest:?}"
    );
    pair.end();
}

/// [A1] [A2] [A3] [A4] [M2] Every send of every model ends exactly once, in good order, over one path and over four.
#[test]
fn every_model_completes_every_message() {
    for (paths, model) in [1, 4].into_iter().flat_map(|p| MODELS.map(|m| (p, m))) {
        let pair = Pair::with(paths, |c| c.ack = model, |_| (), User::new(), User::acking);
        let sizes = [0usize, 1, 64, 2048, 2049, 20_000];
        let count = 1200;
        for i in 0..count {
            let data = pattern(sizes[i % sizes.len()], i as u64);
            send(&pair.port, &data, i as u64).expect("is accepted");
        }
        let done = pair.user.wait_ends(count);
        assert_eq!(done.len(), count, "{model:?} over {paths}");
        let mut contexts: Vec<u64> = done.iter().map(|d| d.0).collect();
        contexts.sort_unstable();
        assert!(contexts.into_iter().eq(0..count as u64));
        let got = pair.far().1.wait_received(count);
        check_order(got.iter());
        for (i, got) in got.iter().enumerate() {
            assert_eq!(got.data, pattern(sizes[i % sizes.len()], i as u64), "message {i}");
        }
        if model == AckModel::Synchronous {
            assert!(done.iter().all(|(context, rc)| *rc as usize == sizes[*context as usize % sizes.len()]));
        }
        pair.end();
    }
}

/// [M1] [M5] Large messages, in pieces over several paths, from gather lists, copied and lent; each loan is given back once.
#[test]
fn large_messages_arrive_whole() {
    let pair = Pair::with(4, |c| c.window = 64 << 20, |c| c.window = 64 << 20, User::new(), User::acking);
    let messages: Vec<Vec<u8>> = (0..12).map(|i| pattern((i as usize + 1) * 700_001, i)).collect();
    for (i, data) in messages.iter().enumerate() {
        let (a, b) = data.split_at(data.len() / 3);
        let (b, c) = b.split_at(b.len() / 2);
        let parts = [IoSlice::new(a), IoSlice::new(&[]), IoSlice::new(b), IoSlice::new(c)];
        let options = SendOptions { context: i as u64, ..SendOptions::default() };
        if i % 2 == 0 {
            pair.port.send(&parts, &options).expect("is accepted");
        } else {
            // SAFETY: `messages` lives until every loan has been given back, below.
            unsafe { pair.port.send_borrowed(&parts, &options) }.expect("is accepted");
        }
    }
    let done = pair.user.wait_ends(messages.len());
    assert_eq!(done.len(), messages.len());
    let got = pair.far().1.wait_received(messages.len());
    for (got, sent) in got.iter().zip(&messages) {
        assert!(got.data == *sent, "message {} differs", got.sn);
    }
    let lent: Vec<u64> = (0..messages.len() as u64).filter(|i| i % 2 == 1).collect();
    pair.user.wait("loans", |seen| (released(seen).len() >= lent.len()).then_some(()));
    let mut back = released(&pair.user.seen());
    back.sort_unstable();
    assert_eq!(back, lent);
    let paths = pair.port.path_stats();
    let used = paths.iter().filter(|p| p.figures.payload_sent > 0).count();
    assert!(used > 1, "several paths were used: {paths:?}");
    pair.end();
}

/// [M3] Both ends send at once, with the same guarantees.
#[test]
fn both_directions() {
    let pair = Pair::with(2, |_| (), |_| (), User::acking(), User::acking);
    let (far, far_user) = pair.far();
    far_user.wait_connected();
    let count = 500;
    let back = std::thread::spawn(move || {
        for i in 0..count {
            send(&far, &pattern(i * 7, i as u64), i as u64).expect("the target sends");
        }
    });
    for i in 0..count {
        send(&pair.port, &pattern(i * 5, i as u64), i as u64).expect("the source sends");
    }
    back.join().expect("sends");
    assert_eq!(pair.user.wait_ends(count).len(), count);
    assert_eq!(far_user.wait_ends(count).len(), count);
    check_order(pair.user.wait_received(count).iter());
    check_order(far_user.wait_received(count).iter());
    pair.end();
}

/// [M2] [M4] Threads that name no stream have one each; streams that are named are kept apart; a finished thread's is used again.
#[test]
fn threads_have_streams_of_their_own() {
    let pair = Pair::new(2);
    let (threads, each) = (8, 300);
    for round in 0..2u64 {
        // A stream retires when its thread is gone, and everything on it has ended.
        pair.user.wait_ends((round * threads * each) as usize);
        let workers: Vec<_> = (0..threads)
            .map(|t| {
                let port = pair.port.clone();
                std::thread::spawn(move || {
                    for i in 0..each {
                        send(&port, &[t as u8; 100], round << 32 | t << 16 | i).expect("is accepted");
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|w| w.join().expect("sends"));
    }
    let named = SendOptions { stream: Some(StreamId(7)), ..SendOptions::default() };
    pair.port.send(&[IoSlice::new(b"named")], &named).expect("is accepted");
    let reserved = SendOptions { stream: Some(StreamId::FIRST_AUTOMATIC), ..SendOptions::default() };
    assert!(pair.port.send(&[IoSlice::new(b"no")], &reserved).is_err());
    let total = 2 * (threads * each) as usize + 1;
    assert_eq!(pair.user.wait_ends(total).len(), total);
    let got = pair.far().1.wait_received(total);
    check_order(got.iter());
    let mut streams: Vec<StreamId> = got.iter().map(|g| g.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams[0], StreamId(7));
    assert!(streams.len() <= 1 + threads as usize, "streams of finished threads are used again: {streams:?}");
    pair.end();
}

/// [M2] A thread that ends sends from the destructor of something of its own, when what the port kept for the thread is gone already.
#[test]
fn the_end_of_a_thread_sends() {
    struct Last(Option<cdps::Port>);
    impl Drop for Last {
        fn drop(&mut self) {
            let port = self.0.as_ref().expect("is set");
            send(port, b"from the end of the thread", 2).expect("is accepted");
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Last> = const { std::cell::RefCell::new(Last(None)) };
    }
    let pair = Pair::new(1);
    let threads = 50;
    std::thread::scope(|scope| {
        for k in 0..threads {
            let thread = scope.spawn(|| {
                // What is first used first is dropped last.
                LAST.with(|last| last.borrow_mut().0 = Some(pair.port.clone()));
                send(&pair.port, b"from the thread", 1).expect("is accepted");
            });
            thread.join().expect("ends well");
            // So that the path is quiet, and its next message written by the thread that sends it.
            pair.user.wait_ends(2 * (k + 1));
        }
    });
    assert_eq!(pair.user.wait_ends(2 * threads).len(), 2 * threads);
    assert_eq!(pair.far().1.wait_received(2 * threads).len(), 2 * threads);
    pair.end();
}

/// [M2] [M4] Ten thousand threads, each with a message and a stream of its own, though no more than 16 may be open: all arrive. The streams of
/// threads that are gone are gone on with, also while not everything of them has ended.
#[test]
fn threads_come_and_go() {
    let (threads, at_once) = (10_000, 12);
    let pair = Pair::with(1, |_| (), |target| target.max_streams = 16, User::new(), User::acking);
    // Nothing ends while the port is suspended.
    pair.port.suspend().expect("is suspended");
    for first in (0..threads).step_by(at_once) {
        if first == 10 * at_once {
            pair.port.resume().expect("goes on");
        }
        let workers: Vec<_> = (first..threads.min(first + at_once))
            .map(|t| {
                let port = pair.port.clone();
                std::thread::spawn(move || {
                    send(&port, &pattern(10, t as u64), t as u64).map_err(|e| (t, e)).expect("is accepted");
                })
            })
            .collect();
        workers.into_iter().for_each(|w| w.join().expect("sends"));
    }
    let mut done: Vec<u64> = pair.user.wait_ends(threads).iter().map(|end| end.0).collect();
    done.sort_unstable();
    assert!(done.into_iter().eq(0..threads as u64));
    let got = pair.far().1.wait_received(threads);
    check_order(got.iter());
    let streams: std::collections::BTreeSet<StreamId> = got.iter().map(|g| g.stream).collect();
    assert!((at_once..=16).contains(&streams.len()), "{} streams", streams.len());
    // With all 16 in use by threads that live there is none for another one.
    let (pair_port, all) = (pair.port.clone(), Arc::new(std::sync::Barrier::new(17)));
    let crowd: Vec<_> = (0..17)
        .map(|t| {
            let (port, all) = (pair_port.clone(), Arc::clone(&all));
            std::thread::spawn(move || {
                let sent = send(&port, b"one of many", threads as u64 + t);
                all.wait();
                sent
            })
        })
        .collect();
    let results: Vec<_> = crowd.into_iter().map(|w| w.join().expect("sends")).collect();
    let refused: Vec<_> = results.iter().filter(|r| r.is_err()).collect();
    assert_eq!(refused, [&Err(cdps::SendError::TooManyStreams { max: 16 })]);
    pair.user.wait_ends(threads + 16);
    pair.end();
}

/// [L6] A port destroyed inside its own callback, with sends in flight: each ends once, and the final event is the last.
#[test]
fn destroy_in_a_callback() {
    let user = User::reacting(Box::new(|port, event| {
        if matches!(event, PortEvent::Completed { .. }) {
            port.destroy();
            assert!(port.destroy_wait(DEADLINE).is_err(), "no waiting in a callback");
        }
    }));
    let pair = Pair::with(2, |_| (), |_| (), user, User::acking);
    let memory = pattern(50_000, 1);
    let mut accepted = 0;
    let mut lent = 0;
    for i in 0..400u64 {
        let options = SendOptions { context: i, ..SendOptions::default() };
        let parts = [IoSlice::new(&memory)];
        let result = if i % 2 == 0 {
            pair.port.send(&parts, &options)
        } else {
            // SAFETY: `memory` lives until the final event has come, below.
            unsafe { pair.port.send_borrowed(&parts, &options) }
        };
        if result.is_err() {
            break;
        }
        accepted += 1;
        lent += usize::from(i % 2 == 1);
    }
    pair.user.wait_final();
    let seen = pair.user.seen();
    assert_eq!(ends(&seen), accepted);
    assert_eq!(released(&seen).len(), lent);
    assert_eq!(pair.port.state(), State::Destroyed);
    assert!(send(&pair.port, b"late", 0).is_err());
    pair.port.destroy_wait(DEADLINE).expect("is destroyed");
    pair.end();
}

/// [L6] A node destroyed inside a callback of one of its ports takes everything down; its own final callback is the last.
#[test]
fn destroy_the_node_in_a_callback() {
    let slot: std::sync::Arc<std::sync::OnceLock<cdps::Node>> = std::sync::Arc::default();
    let node = slot.clone();
    let user = User::reacting(Box::new(move |_, event| {
        if let (PortEvent::Completed { .. }, Some(node)) = (event, node.get()) {
            node.destroy();
        }
    }));
    let pair = Pair::with(1, |_| (), |_| (), user, User::acking);
    slot.set(pair.source.clone()).expect("once");
    for i in 0..100 {
        let _ = send(&pair.port, b"x", i);
    }
    pair.user.wait_final();
    pair.source.destroy_wait(DEADLINE).expect("ends");
    assert!(pair.source.register("late", Host::new(Default::default(), User::new)).is_err());
    let (_, host) = pair.far();
    host.wait_status("closed", |s| matches!(s, ConnStatus::Closed { .. }));
    pair.end();
}

/// [M6] [M7] Sends past the buffer say so at once, or wait; a target that keeps its messages stops the source, and letting go of them
/// lets it go on.
#[test]
fn full_buffers() {
    let small = |c: &mut cdps::PortConfig| {
        c.send_buffer_max = 256 << 10;
        c.window = 64 << 10;
        c.ack = AckModel::Asynchronous;
    };
    let pair = Pair::with(1, small, small, User::new(), User::keeping);
    let data = pattern(10_000, 3);
    let mut accepted = 0;
    // Long enough for every receipt that is still to come.
    let patient =
        |i| SendOptions { context: i, timeout: Some(Duration::from_millis(500)), ..SendOptions::default() };
    let refused = loop {
        match pair.port.send(&[IoSlice::new(&data)], &patient(accepted)) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "the buffer has a limit");
    };
    assert_eq!(refused, SendError::TimedOut);
    let now = SendOptions { timeout: Some(Duration::ZERO), ..SendOptions::default() };
    assert_eq!(pair.port.send(&[IoSlice::new(&data)], &now), Err(SendError::Again));
    let port = pair.port.clone();
    let waiter = std::thread::spawn(move || send(&port, &pattern(10_000, 4), 9999));
    let (_, host) = pair.far();
    let mut got = 0;
    while got <= accepted as usize {
        got = host.wait_received(got + 1).len();
        host.let_go();
    }
    waiter.join().expect("runs").expect("is accepted in the end");
    assert_eq!(pair.user.wait_ends(accepted as usize + 1).len(), accepted as usize + 1);
    pair.end();
}

/// [L7] [M6] While a port is suspended its sends are taken and wait, and receiving goes on; then they arrive, in order. On the one path an
/// acknowledgment that comes after a send and arrives before it says that the send has not begun.
#[test]
fn suspended_sends_wait() {
    let pair = Pair::with(1, |_| (), |_| (), User::acking(), User::acking);
    let (far, far_user) = pair.far();
    far_user.wait_connected();
    let count = 50;
    pair.port.suspend().expect("is connected");
    for i in 0..count {
        send(&pair.port, &pattern(i * 100, i as u64), i as u64).expect("is accepted");
    }
    for i in 0..count {
        send(&far, b"ping", i as u64).expect("is accepted");
        far_user.wait_ends(i + 1);
    }
    assert_eq!((received(&far_user.seen()).count(), ends(&pair.user.seen())), (0, 0));
    // Acknowledged before it is written down.
    assert_eq!(pair.user.wait_received(count).len(), count);
    pair.port.resume().expect("is connected");
    assert_eq!(pair.user.wait_ends(count).len(), count);
    check_order(far_user.wait_received(count).iter());
    pair.port.stop().expect("is connected");
    let refused = pair.port.suspend().expect_err("is stopped").to_string();
    assert!(refused.contains("suspend") && refused.contains("STOPPED"), "{refused}");
    pair.end();
}

/// [M10] A message that could not begin to travel by its deadline is nacked as not sent, and never arrives; those around it do, in order.
/// One that can go at once does, however short its deadline.
#[test]
fn late_messages_are_given_up() {
    let pair = Pair::with(2, |c| c.ack = AckModel::Asynchronous, |_| (), User::new(), User::new);
    let within = |context: u64, ms: u64| {
        let deadline = Some(Duration::from_millis(ms));
        let options = SendOptions { stream: Some(StreamId(1)), context, deadline, ..SendOptions::default() };
        pair.port.send(&[IoSlice::new(&context.to_le_bytes())], &options).expect("is accepted")
    };
    within(0, 60_000);
    pair.user.wait_ends(1);
    pair.port.suspend().expect("is connected");
    let asked = std::time::Instant::now();
    let numbers: Vec<_> = (1..9).map(|k| (k, within(k, if k % 2 == 0 { 60_000 } else { 30 + k }))).collect();
    let nacks = pair.user.wait("nacks", |seen| (nacked(seen).len() == 4).then(|| nacked(seen)));
    assert!(asked.elapsed() >= Duration::from_millis(37));
    let late = |k: u64| (k, Reason::Timeout, Certainty::NotSent);
    assert_eq!(nacks, [1, 3, 5, 7].map(late));
    pair.port.resume().expect("is connected");
    pair.user.wait_ends(9);
    let got = pair.far().1.wait_received(5);
    let came: Vec<_> = got.iter().map(|g| g.sn).collect();
    let kept: Vec<_> = numbers.iter().filter(|n| n.0 % 2 == 0).map(|n| n.1).collect();
    assert_eq!(came[1..], kept);
    pair.end();
}

/// [M9] [M3] Many streams over four paths, both directions at once: every message arrives on its side of each barrier, and a barrier of no
/// bytes does as well as a large one. The users acknowledge late, and nobody waits for that.
#[test]
fn nothing_passes_a_barrier() {
    let pair = Pair::with(4, |_| (), |_| (), User::keeping(), User::keeping);
    let (far, far_user) = pair.far();
    far_user.wait_connected();
    let count = 400_u64;
    let is_barrier = |i: u64| i % 10 == 9;
    for port in [&pair.port, &far] {
        for i in 0..count {
            let size =
                if is_barrier(i) { (i % 20 / 10) as usize * 90_000 } else { (i % 5) as usize * 11_000 };
            let stream = Some(StreamId((i % 7) as u32));
            let options =
                SendOptions { stream, context: i, barrier: is_barrier(i), ..SendOptions::default() };
            port.send(&[IoSlice::new(&pattern(size, i))], &options).expect("is accepted");
        }
    }
    for user in [&far_user, &pair.user] {
        let got = user.wait_received(count as usize);
        let first = got.iter().map(|g| g.sn.0).min().expect("some came");
        for (at, got) in (0..).zip(&got) {
            let number = got.sn.0 - first;
            assert_eq!(number / 10, at / 10, "{number} came as number {at}");
            assert!(is_barrier(number) == is_barrier(at), "{number} came as number {at}");
        }
    }
    pair.end();
}

/// [M6] A send that would have to wait inside a callback is refused.
#[test]
fn no_waiting_in_callbacks() {
    let (told, answer) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let user = User::reacting(Box::new(move |port, event| {
        if matches!(event, PortEvent::Status(ConnStatus::Connected { .. })) {
            let data = [0; 60_000];
            let refused = (0..100).find_map(|i| send(port, &data, i).err());
            let _ = told.lock().expect("told").send(refused);
        }
    }));
    let pair = Pair::with(1, |c| c.send_buffer_max = 256 << 10, |_| (), user, User::keeping);
    assert_eq!(answer.recv_timeout(DEADLINE).expect("is told"), Some(SendError::InCallback));
    pair.end();
}

/// [M6] Completions count for their limit until the user is told of them, one by one, also those that are on their way to it together; and in
/// the callback that tells it of one this does not count any more.
#[test]
fn completions_count_until_they_are_told() {
    if CALLBACKS == Callbacks::Inline {
        // While a callback is busy nothing is completed.
        return;
    }
    let limit = 8;
    let (enter, entered) = std::sync::mpsc::channel();
    let (go, gate) = std::sync::mpsc::channel();
    let (enter, gate) = (std::sync::Mutex::new(enter), std::sync::Mutex::new(gate));
    let user = User::reacting(Box::new(move |port, event| {
        if let PortEvent::Completed { context, .. } = event {
            // Each says what a send says in it, where it is to try.
            let _ = enter.lock().expect("enter").send(*context);
            if let Ok(true) = gate.lock().expect("gate").recv() {
                let sent = send(port, b"from a callback", 100).map_err(|error| error.to_string());
                let _ = enter.lock().expect("enter").send(if sent.is_ok() { 1000 } else { 2000 });
            }
        }
    }));
    let config = |c: &mut PortConfig| (c.ack, c.max_pending_events) = (AckModel::Asynchronous, limit);
    let pair = Pair::with(1, config, |_| (), user, User::acking);
    let mut sent = 0;
    let mut completed = |count: u64| {
        for _ in 0..count {
            send(&pair.port, b"message", sent).expect("is accepted");
            sent += 1;
            let start = std::time::Instant::now();
            while pair.port.stats().completed < sent {
                assert!(start.elapsed() < DEADLINE, "is completed");
                std::thread::yield_now();
            }
        }
    };
    let tell = |context: u64| assert_eq!(entered.recv_timeout(DEADLINE), Ok(context));
    completed(1);
    tell(0);
    // The user is being told of the first. These are given out together, and then it is being told of the first of them.
    completed(4);
    go.send(false).expect("is waited for");
    tell(1);
    completed(limit as u64 - 3);
    assert_eq!(send(&pair.port, b"too many", 99), Err(SendError::Again));
    go.send(false).expect("is waited for");
    tell(2);
    go.send(true).expect("is waited for");
    tell(1000);
    tell(3);
    // That send took the room that the next one leaves.
    completed(1);
    drop(go);
    pair.user.wait_ends(sent as usize + 1);
    pair.end();
}

/// [M4] [A1] Threads that each wait for an acknowledgment before they send on: no message is forgotten between those who might write
/// it, whatever its size, in either direction.
#[test]
fn lone_messages_are_not_forgotten() {
    let (told, answers) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let user = User::reacting(Box::new(move |_, event| {
        if let PortEvent::Completed { context, .. } = event {
            told.lock().expect("told").send(*context).expect("is waited for");
        }
    }));
    let pair = Pair::patient(2, user, User::acking);
    let threads = 6;
    let rounds = 300;
    let (go, gates): (Vec<_>, Vec<_>) = (0..threads).map(|_| std::sync::mpsc::channel::<()>()).unzip();
    let workers: Vec<_> = gates
        .into_iter()
        .enumerate()
        .map(|(thread, gate)| {
            let port = pair.port.clone();
            std::thread::spawn(move || {
                let data = pattern([8, 64, 1500, 5000, 70_000, 300_000][thread], thread as u64);
                for _ in 0..rounds {
                    send(&port, &data, thread as u64).expect("is accepted");
                    gate.recv_timeout(DEADLINE).expect("is acknowledged in time");
                }
            })
        })
        .collect();
    for _ in 0..threads * rounds {
        let context = answers.recv_timeout(DEADLINE).expect("an acknowledgment in time");
        go[context as usize].send(()).expect("is waited for");
    }
    workers.into_iter().for_each(|w| w.join().expect("ends well"));
    let slow = pair.port.stats().suspicions;
    assert_eq!(slow, 0, "a path stood still");
    pair.end();
}

/// [L5] [A2] A target that closes gracefully tells its user first what it has taken, also while that user is busy in a callback.
#[test]
fn a_closing_target_delivers_what_it_has() {
    if CALLBACKS == Callbacks::Inline {
        // A callback that is busy holds up the receipts that this waits for.
        return;
    }
    let gate = Arc::new(Barrier::new(2));
    let make = {
        let gate = Arc::clone(&gate);
        move || {
            let gate = Arc::clone(&gate);
            User::reacting(Box::new(move |_, event| {
                if matches!(event, PortEvent::Received(message) if message.sn().0 == 1) {
                    gate.wait();
                    gate.wait();
                }
            }))
        }
    };
    let patient = |c: &mut PortConfig| c.close_timeout = 10 * DEADLINE;
    let pair = Pair::with(2, |c| c.ack = AckModel::Asynchronous, patient, User::new(), make);
    let count = 1000;
    for i in 0..count {
        send(&pair.port, &pattern(100, i), i).expect("is accepted");
    }
    assert_eq!(pair.user.wait_ends(count as usize).len(), count as usize, "received is completed");
    gate.wait();
    let (far, host) = pair.far();
    far.close(false).expect("closes");
    assert_eq!(far.state(), State::ConnectedTo);
    gate.wait();
    host.wait_status("closed", |s| matches!(s, ConnStatus::Closed { reason: Reason::Closed }));
    let got = host.wait_received(count as usize);
    check_order(got.iter());
    assert!(
        matches!(host.seen().last(), Some(Seen::Status(ConnStatus::Closed { .. }))),
        "closed is the last"
    );
    pair.user.wait_status("closed", |s| matches!(s, ConnStatus::Closed { reason: Reason::PeerClosed }));
    assert_eq!(nacked(&pair.user.seen()), []);
    pair.end();
}
