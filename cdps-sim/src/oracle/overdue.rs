//! What the oracle holds against a port that says that its peer's user is late, or that does not say so (A6).

use cdps_core::config::AckModel;
use cdps_core::id::{Generation, Sn, StreamId};

use super::{ACKNOWLEDGED_WITHIN, ARRIVES_WITHIN, Flow, FlowKey, Oracle, Receiver};
use crate::rules::{Invariant, Promise};

/// Clocks that run 0.5 % fast or slow, in percent.
const CLOCKS: u64 = 99;

impl Oracle {
    /// The sender's port says after how long (ns) its peer's user is late; never, if there is none.
    pub(crate) fn late_after(&mut self, flow: FlowKey, timeout: Option<u64>) {
        self.flows.entry(flow).or_default().late_after = timeout;
    }

    /// The sending user was told that a message is overdue, for so long (ns) at least.
    pub(crate) fn overdue(&mut self, flow: FlowKey, sn: Sn, stream: StreamId, waited: u64) {
        self.tally.overdue += 1;
        if let Err(text) = self.judge_overdue(flow, sn, stream, waited) {
            self.fail(
                Invariant::Overdue,
                format!("{flow:?}: {sn} of stream {stream} said to be overdue: {text}"),
            );
        }
    }

    fn judge_overdue(&mut self, flow: FlowKey, sn: Sn, stream: StreamId, waited: u64) -> Result<(), String> {
        let now = self.now;
        let timed = self.promise_of(flow).is_some_and(|p| p.is_timed() && p.prompt);
        let f = self.flows.entry(flow).or_default();
        let (timeout, record) = (f.late_after, f.record_mut(sn));
        let Some(record) = record else { return Err("it was never accepted".into()) };
        if let Some(end) = record.end {
            return Err(format!("it had ended: {end:?}"));
        }
        if std::mem::replace(&mut record.overdue, true) {
            return Err("for the second time".into());
        }
        if record.model != AckModel::Synchronous || record.stream != stream {
            return Err(format!("it is {:?} of stream {}", record.model, record.stream));
        }
        if timeout.is_none_or(|timeout| waited < timeout) {
            return Err(format!("after {waited} ns, with a timeout of {timeout:?}"));
        }
        let Some(since) = f.receivers.values().filter_map(|r| r.arrived_at.get(&sn)).min() else {
            return Err("it has arrived nowhere".into());
        };
        if now - since < waited / 100 * CLOCKS {
            return Err(format!("for {waited} ns, and it arrived {} ns ago", now - since));
        }
        let answered = f.receivers.values().filter_map(|r| r.answers.get(&sn)).map(|a| now - a.1).max();
        if let Some(ago) = answered.filter(|ago| timed && *ago > ACKNOWLEDGED_WITHIN) {
            return Err(format!("it was acknowledged {ago} ns ago"));
        }
        Ok(())
    }

    /// A message was completed that its user had acknowledged late: the sending user has been told of it, or of an older one.
    pub(super) fn check_told_overdue(&mut self, flow: FlowKey, sn: Sn) {
        if !self.promise_of(flow).is_some_and(Promise::is_timed) {
            return;
        }
        let f = &self.flows[&flow];
        let Some(timeout) = f.late_after else { return };
        let kept = f.receivers.iter().filter_map(|(at, r)| {
            let (since, answer) = (*r.arrived_at.get(&sn)?, r.answers.get(&sn)?);
            Some((*at, since, answer.1 - since))
        });
        // An eighth is what the engine may be late; the receipt waits for whatever was sent before, on any stream.
        let due = timeout / 100 * 115 + ARRIVES_WITHIN;
        let untold: Option<(Generation, u64, u64)> = kept
            .filter(|k| k.2 > due)
            // The time counts from when all that was sent before it was there as well: what is urgent may be long before that (M11).
            .filter_map(|(at, since, kept)| {
                let covered = f.covered(&f.receivers[&at], sn)?.max(since);
                Some((at, covered, (since + kept).saturating_sub(covered)))
            })
            .filter(|k| k.2 > due)
            .find(|k| !f.is_told_of(k.1 + timeout));
        if let Some((at, _, kept)) = untold {
            let text = format!("{flow:?}: the user of {at} kept {sn} for {kept} ns, and nobody was told");
            self.fail(Invariant::Overdue, text);
        }
    }

    fn promise_of(&self, flow: FlowKey) -> Option<Promise> {
        match flow {
            FlowKey::Up(session) => self.sessions.get(&session).map(|s| s.promise),
            FlowKey::Down(..) => None,
        }
    }
}

impl Flow {
    /// When everything up to a message that has not ended had arrived; `None`: it has not.
    fn covered(&self, receiver: &Receiver, sn: Sn) -> Option<u64> {
        let mut last = 0;
        for (k, record) in self.sends.iter().enumerate().take_while(|(k, _)| self.first.0 + *k as u64 <= sn.0)
        {
            match receiver.arrived_at.get(&Sn(self.first.0 + k as u64)) {
                Some(at) => last = last.max(*at),
                None if record.end.is_some() => {}
                None => return None,
            }
        }
        Some(last)
    }

    /// A message has been named that was unfinished at this moment.
    fn is_told_of(&self, at: u64) -> bool {
        self.sends.iter().any(|r| r.overdue && (r.end.is_none() || r.ended_at >= at))
    }
}
