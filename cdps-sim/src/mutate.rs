//! How the broken variants break things, where the driver and the engines meet.

use cdps_core::id::{Generation, Sn};
use cdps_core::port::{ConnStatus, Event, Inbound, Verdict};
use cdps_core::wire::{Frame, Item, item};

use crate::broken::Broken;
use crate::env::Env;
use crate::host::Slot;
use crate::oracle::Delivery;
use crate::payload::{Received, SentHandle};

/// Changes what was decoded before the engine sees it.
pub(crate) fn inbound(env: &mut Env, items: &mut [Inbound<Received>]) {
    for inbound in items {
        let Inbound::Frame(frame) = inbound else { continue };
        match (env.broken, &mut **frame) {
            (Some(Broken::EarlyReceipt), Frame::Receipt(receipt)) if receipt.gaps.is_empty() => {
                env.broke += 1;
                receipt.cumulative = Sn(receipt.cumulative.0 + 1);
            }
            (Some(Broken::WrongCode), Frame::Completions(completions)) => {
                if let Some(record) = completions.records.first_mut()
                    && env.rng.chance(5)
                {
                    env.broke += 1;
                    record.rc ^= 1 << 20;
                }
            }
            _ => {}
        }
    }
}

/// A message that came again goes to the user again.
pub(crate) fn deliver_again(env: &mut Env, s: &Slot, generation: Generation, it: &Item, payload: &Received) {
    env.oracle.delivered(Delivery {
        flow: s.flow_in(generation),
        generation,
        node: cdps_core::id::NodeId(0),
        sn: it.sn,
        stream: it.stream,
        ssn: it.ssn,
        bytes: &payload.bytes.borrow(),
        redelivered: it.flags & item::REDELIVERED != 0,
        wants_ack: it.flags & item::SYNC != 0,
    });
}

/// What becomes of an event on its way to the user.
pub(crate) enum Fate {
    Pass(Event<SentHandle, Received>),
    Lose,
    Twice(Event<SentHandle, Received>),
    /// Comes after the next of its kind.
    Later(Event<SentHandle, Received>),
}

/// Changes what the engine says before the user hears it.
pub(crate) fn event(env: &mut Env, event: Event<SentHandle, Received>) -> Fate {
    let Some(broken) = env.broken else { return Fate::Pass(event) };
    let mut hit = |percent: u64| {
        let hit = env.rng.chance(percent);
        env.broke += u64::from(hit);
        hit
    };
    match (broken, event) {
        (Broken::LostNack, Event::Nacked { .. }) if hit(12) => Fate::Lose,
        (Broken::LostCompletion, Event::Completed { .. }) if hit(1) => Fate::Lose,
        (Broken::TwoEnds, event @ Event::Nacked { .. }) if hit(12) => Fate::Twice(event),
        (Broken::Reorder, event @ Event::Received(_)) if hit(1) => Fate::Later(event),
        (Broken::NackOrder, event @ Event::Nacked { .. }) if hit(30) => Fate::Later(event),
        (Broken::NoOverdue, Event::Overdue { .. }) if hit(100) => Fate::Lose,
        (Broken::WrongOverdue, Event::Overdue { sn, stream, waited }) if hit(100) => {
            Fate::Pass(Event::Overdue { sn: sn.next(), stream, waited })
        }
        (Broken::ForgedRecord, Event::Status(ConnStatus::Switching { from, reason, mut decision }))
            if hit(100) =>
        {
            decision.node.0 += 1;
            Fate::Pass(Event::Status(ConnStatus::Switching { from, reason, decision }))
        }
        (Broken::NotSentLie, Event::Nacked { sn, reason, payload, .. }) if hit(100) => {
            Fate::Pass(Event::Nacked { sn, reason, certainty: cdps_core::port::Certainty::NotSent, payload })
        }
        (Broken::LedgerLie, Event::Resolved { sn, verdict }) if hit(12) => {
            let verdict = match verdict {
                Verdict::NotDelivered => Verdict::Delivered,
                Verdict::Delivered | Verdict::Acknowledged(_) => Verdict::NotDelivered,
            };
            Fate::Pass(Event::Resolved { sn, verdict })
        }
        (_, event) => Fate::Pass(event),
    }
}
