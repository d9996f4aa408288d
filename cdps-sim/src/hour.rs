//! An hour in which nothing stays as it is: every path flaps, and one target after the other fails, while messages go on.

use crate::env::{MS, SECOND};
use crate::fault::{Fault, FaultKind};
use crate::net::{ACCEPTOR, DIALLER};
use crate::plan::{Plan, Send};
use crate::rng::Rng;
use crate::rules::Promise;

const HOUR: u64 = 3600 * SECOND;
/// Messages in it, at least.
const MESSAGES: usize = 3000;

/// The same cluster, with an hour of work and of faults.
pub(crate) fn lengthen(mut plan: Plan, seed: u64) -> Plan {
    let mut rng = Rng::new(seed ^ HOUR);
    plan.faults = (0..plan.routes.len()).flat_map(|route| flapping(&mut rng, route)).collect();
    let targets: Vec<usize> = (0..plan.hosts.len()).filter(|h| plan.hosts[*h].target).collect();
    plan.faults.extend(failing(&mut rng, &targets));
    for host in &mut plan.hosts {
        host.users.busy.clear();
    }
    for source in &mut plan.sources {
        source.verbs.clear();
        source.promises.fill(Promise::default());
        // Half of them switch by themselves, the others go down, and their users connect again.
        let given: Vec<Send> = source.up.iter().copied().take(500).collect();
        let mut sends: Vec<Send> = given.iter().copied().cycle().take(MESSAGES.max(given.len())).collect();
        for send in &mut sends {
            send.at = rng.below(HOUR);
            send.len = send.len.min(20_000);
        }
        sends.sort_by_key(|send| send.at);
        source.up = sends;
    }
    plan.quiet_at = HOUR + 20 * SECOND;
    plan
}

/// A route that comes and goes: at times every second, at times well for a minute.
fn flapping(rng: &mut Rng, route: usize) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = rng.within(SECOND, 20 * SECOND);
    while at < HOUR {
        let long = rng.pick(&[2, 5, 60]) * SECOND;
        for _ in 0..rng.within(1, 12) {
            let until = at + rng.magnitude(20, 4000) * MS;
            let direction = rng.pick(&[DIALLER, ACCEPTOR]);
            let kind = match rng.below(5) {
                0 | 1 => FaultKind::RelayKilled { route },
                2 | 3 => FaultKind::Stall { route },
                _ => FaultKind::OneWay { route, direction, reset: rng.chance(50) },
            };
            faults.push(Fault { at, until, kind });
            at = until + rng.within(100 * MS, long);
        }
    }
    faults
}

/// One target after the other is killed, frozen or cut off, never two at a time.
fn failing(rng: &mut Rng, targets: &[usize]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut at = rng.within(10 * SECOND, 60 * SECOND);
    while at < HOUR {
        let host = rng.pick(targets);
        let until = at + rng.within(500, 8000) * MS;
        let kind = match rng.below(3) {
            0 => FaultKind::Kill { host, process_only: rng.chance(50), restart: true },
            1 => FaultKind::Freeze { host },
            _ => FaultKind::Partition { host, to: true, from: rng.chance(50) },
        };
        faults.push(Fault { at, until, kind });
        at = until + rng.within(10 * SECOND, 90 * SECOND);
    }
    faults
}
