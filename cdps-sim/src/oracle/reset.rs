//! What the oracle holds against a port whose target came back (F3).

use cdps_core::id::{Generation, SessionId, Sn};
use cdps_core::port::Verdict;

use super::{Flow, FlowKey, Oracle};
use crate::rules::Invariant;

impl Oracle {
    /// A target port goes on under a new generation. Its own numbers go on too; what it had not finished has been nacked.
    pub(crate) fn reset(&mut self, session: SessionId, from: Generation, to: Generation) {
        self.drop_waiting(session, from);
        let before = self.flows.entry(FlowKey::Down(session, from)).or_default();
        let after = Flow {
            streams: before.streams.clone(),
            held: before.held,
            late_after: before.late_after,
            ..Flow::default()
        };
        self.flows.insert(FlowKey::Down(session, to), after);
    }

    /// The source's user hears what became of a message.
    pub(crate) fn resolved(&mut self, session: SessionId, sn: Sn, verdict: Verdict) {
        if let Err(text) = self.judge_verdict(session, sn, verdict) {
            self.fail(Invariant::Ledger, format!("{session}: {sn} resolved as {verdict:?}: {text}"));
        }
    }

    fn judge_verdict(&mut self, session: SessionId, sn: Sn, verdict: Verdict) -> Result<(), String> {
        let s = self.sessions.entry(session).or_default();
        // Another target may have had it before.
        let since = s.since;
        match s.unresolved.pop_first() {
            Some(first) if first == sn => {}
            Some(first) => return Err(format!("{first} is next")),
            None => return Err("nothing was to be resolved".into()),
        }
        let flow = self.flows.entry(FlowKey::Up(session)).or_default();
        let Some(record) = flow.record_mut(sn) else { return Err("it was never accepted".into()) };
        record.undelivered = verdict == Verdict::NotDelivered;
        match verdict {
            Verdict::NotDelivered => {
                self.tally.resolved[0] += 1;
                match flow.receivers.range(since..).find(|(_, r)| r.delivered.contains(&sn)) {
                    Some((generation, _)) => Err(format!("generation {generation} has delivered it")),
                    None => Ok(()),
                }
            }
            Verdict::Delivered => {
                self.tally.resolved[1] += 1;
                let has = flow.receivers.range(since..).any(|(_, r)| flow.received(r, sn));
                if has { Ok(()) } else { Err("no target has it and all before it in its stream".into()) }
            }
            Verdict::Acknowledged(rc) => {
                self.tally.resolved[2] += 1;
                let mut here = flow.receivers.range(since..);
                let answered = here.any(|(_, r)| r.answers.get(&sn).is_some_and(|a| a.0 == rc));
                if answered { Ok(()) } else { Err("its user never answered so".into()) }
            }
        }
    }
}
