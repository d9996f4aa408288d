//! What the users of a plan send, and what they do in the middle.

use cdps_core::config::{AckModel, PortConfig};
use cdps_core::id::{Side, StreamId};
use cdps_core::time::Duration;
use cdps_core::wire::MAX_BUNDLED;

use super::{HostPlan, SourcePlan};
use crate::env::{MS, SECOND};
use crate::rng::Rng;
use crate::rules::Promise;

/// A message that a workload will send. `at` counts from the moment that the port is first connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) at: u64,
    pub(crate) stream: StreamId,
    pub(crate) len: u32,
    pub(crate) ack: Option<AckModel>,
    /// It is given up after so long, if it has not begun to travel.
    pub(crate) deadline: Option<u64>,
    pub(crate) barrier: bool,
    /// Its user changes the buffer so long after, at this byte.
    pub(crate) changes: Option<(u64, u32)>,
}

/// What a user does in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verb {
    /// The source stops, and connects again later.
    Stop,
    /// The source closes, and connects again later.
    Close { immediate: bool },
    /// The source connects once more: use count 2.
    ConnectAgain,
    /// The source goes over to another target (F6).
    Switch,
    /// The source destroys its port.
    Destroy,
    /// The target's user closes.
    TargetClose { immediate: bool },
    /// The target's user destroys its port.
    TargetDestroy,
    /// The user of one side holds traffic.
    Suspend(Side),
    /// It lets traffic go.
    Resume(Side),
    /// The source gives an address of a target up (L8).
    RemoveAddress,
    /// It adds one again that was removed.
    AddAddress,
    /// It sets timeouts and policies anew.
    Reconfigure,
}

pub(super) fn workload(rng: &mut Rng, work: u64, config: &PortConfig, scale: u64) -> Vec<Send> {
    let count = if rng.chance(20) { rng.magnitude(1, scale) } else { rng.within(scale, 4 * scale) };
    let streams = rng.pick(&[1, 1, 2, 5, 16]);
    let (low, high) = rng.pick(&[(1, 200), (1, 4096), (1, 60_000), (1500, 2600), (20_000, 200_000)]);
    let bursts = rng.pick(&[1, 10, 100, 1000, 1000]);
    let models = rng.chance(30);
    let mut left: u64 = 3 << 20;
    let mut sends: Vec<Send> = (0..count)
        .map(|_| {
            let len = if rng.chance(5) { 0 } else { rng.magnitude(low, high) };
            let len = len.min(u64::from(config.max_message)).min(left);
            left -= len;
            Send {
                at: rng.below(bursts) * work / bursts,
                stream: StreamId(rng.below(streams) as u32),
                len: len as u32,
                ack: models
                    .then(|| rng.pick(&[AckModel::Synchronous, AckModel::Asynchronous, AckModel::Sent])),
                deadline: None,
                barrier: false,
                changes: None,
            }
        })
        .collect();
    sends.sort_by_key(|s| s.at);
    sends
}

pub(super) fn verbs(rng: &mut Rng, work: u64) -> Vec<(u64, Verb)> {
    let mut verbs: Vec<(u64, Verb)> = (0..rng.within(1, 3))
        .map(|_| {
            let verb = rng.pick(&[
                Verb::Stop,
                Verb::Close { immediate: false },
                Verb::Close { immediate: true },
                Verb::ConnectAgain,
                Verb::Destroy,
                Verb::TargetClose { immediate: false },
                Verb::TargetClose { immediate: true },
                Verb::TargetDestroy,
            ]);
            (rng.within(100 * MS, work + SECOND), verb)
        })
        .collect();
    verbs.sort_by_key(|v| v.0);
    verbs
}

/// In some runs some messages, or all, are worth nothing after a while (M10).
pub(super) fn deadlines(rng: &mut Rng, sources: &mut [SourcePlan]) {
    if !rng.chance(30) {
        return;
    }
    let percent = rng.pick(&[5, 30, 30, 100]);
    let (low, high) = rng.pick(&[(MS / 10, 20 * MS), (MS, 500 * MS), (10 * MS, 3 * SECOND)]);
    for send in sources.iter_mut().flat_map(|s| s.up.iter_mut().chain(&mut s.down)) {
        if rng.chance(percent) {
            send.deadline = Some(rng.magnitude(low, high));
        }
    }
}

/// In some runs some messages are barriers (M9), often many in a row.
pub(super) fn barriers(rng: &mut Rng, sources: &mut [SourcePlan]) {
    if !rng.chance(30) {
        return;
    }
    let percent = rng.pick(&[1, 5, 5, 50]);
    for send in sources.iter_mut().flat_map(|s| s.up.iter_mut().chain(&mut s.down)) {
        send.barrier = rng.chance(percent);
        if send.barrier && rng.chance(30) {
            send.len = 0;
        }
    }
}

/// In some runs some users change buffers before they have them back (M8).
pub(super) fn buffers(rng: &mut Rng, hosts: &[HostPlan], sources: &mut [SourcePlan]) {
    if !rng.chance(25) {
        return;
    }
    let percent = rng.pick(&[2, 10, 60]);
    let longest = rng.pick(&[MS / 100, 20 * MS, 3 * SECOND]);
    for send in sources.iter_mut().flat_map(|s| s.up.iter_mut().chain(&mut s.down)) {
        // What is shorter is copied at the send.
        if send.len as usize > MAX_BUNDLED && rng.chance(percent) {
            send.changes = Some((rng.magnitude(1, longest), rng.below(u64::from(send.len)) as u32));
        }
    }
    if hosts.iter().any(|host| host.first) {
        // Who cannot be told not to wait loses the session.
        sources.iter_mut().for_each(|source| source.promises.fill(Promise::default()));
    }
}

/// Users hold traffic now and then. What the faults leave to the session is promised all the same.
pub(super) fn suspensions(rng: &mut Rng, sources: &mut [SourcePlan]) {
    for source in sources {
        if !rng.chance(30) {
            continue;
        }
        let last = source.up.iter().chain(&source.down).map(|s| s.at).max().unwrap_or(0);
        for _ in 0..rng.within(1, 4) {
            let side = if source.down.is_empty() || rng.chance(60) { Side::Source } else { Side::Target };
            let from = rng.below(last + 200 * MS);
            let to = from + rng.magnitude(MS / 10, 4 * SECOND);
            source.verbs.extend([(from, Verb::Suspend(side)), (to, Verb::Resume(side))]);
        }
        source.verbs.sort_by_key(|v| v.0);
    }
}

/// Users go over to another target now and then (F6).
pub(super) fn switches(rng: &mut Rng, sources: &mut [SourcePlan]) {
    for source in sources.iter_mut().filter(|s| s.config.targets.len() > 1) {
        let timeout = Duration::from_millis(rng.magnitude(200, 20_000));
        source.config.switch_timeout = timeout.max(source.config.liveness.heartbeat * 2);
        if !rng.chance(30) {
            continue;
        }
        let last = source.up.iter().chain(&source.down).map(|s| s.at).max().unwrap_or(0);
        for _ in 0..rng.within(1, 4) {
            source.verbs.push((rng.below(last + 500 * MS), Verb::Switch));
        }
        source.verbs.sort_by_key(|v| v.0);
    }
}
