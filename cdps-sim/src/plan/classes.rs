//! Streams of high priority (M11).

use cdps_core::config::{AckModel, Priority, StreamContract};
use cdps_core::id::StreamId;

use super::{HostPlan, SourcePlan};
use crate::rng::Rng;

/// Some streams are of high priority (M11), and some targets' users keep all that is not.
pub(super) fn plan(rng: &mut Rng, hosts: &mut [HostPlan], sources: &mut [SourcePlan]) {
    if !rng.chance(40) {
        return;
    }
    for source in sources.iter_mut() {
        for config in [&mut source.config, &mut source.target_config] {
            config.high_window = rng.magnitude(64 << 10, 1 << 20);
        }
        let high = rng.pick(&[1, 1, 2, 3_u32]);
        for stream in (0..high).map(StreamId) {
            let ack = rng.chance(30).then(|| rng.pick(&[AckModel::Synchronous, AckModel::Asynchronous]));
            source.contracts.push((stream, StreamContract { ack, priority: Priority::High }));
        }
        if rng.chance(40) && source.verbs.is_empty() {
            source.hoards = true;
            source.target_config.window = rng.magnitude(64 << 10, 128 << 10);
            source.config.send_buffer_max = 4 << 20;
            // Bulk has streams of its own, and what is urgent is short and waits for nothing else.
            for send in &mut source.up {
                (send.barrier, send.deadline) = (false, None);
                if send.stream.0 < high {
                    send.len = send.len.min(3000);
                    if rng.chance(80) {
                        send.stream = StreamId(100 + send.stream.0);
                    }
                }
                if send.stream.0 >= high {
                    send.len = send.len.max(4000);
                }
            }
        }
    }
    if sources.iter().any(|s| s.hoards) {
        for host in hosts {
            (host.users.stalls, host.users.dispatch_delay, host.users.refuse) = (0, 0, 0);
            host.users.busy.clear();
        }
    }
}
