//! Sends that have not ended.

use cdps_core::id::Sn;

use super::{FlowKey, Oracle};

impl Oracle {
    /// The sending process is gone, and with it what was nacked by a reset and has not been told: that is of the flows from `told` on.
    pub(crate) fn void(&mut self, told: FlowKey, flow: FlowKey) {
        self.flows.entry(flow).or_default().void = true;
        self.flows.range_mut(told..flow).for_each(|(_, before)| before.void = true);
    }

    /// Sends of a flow that have not ended.
    pub(crate) fn open(&self, flow: FlowKey) -> u64 {
        self.flows.get(&flow).map_or(0, |f| if f.void { 0 } else { f.open })
    }

    /// The lowest few numbers of a flow that have not ended, for reports.
    pub(crate) fn oldest_open(&self, flow: FlowKey) -> String {
        let Some(f) = self.flows.get(&flow) else { return String::new() };
        let open = f.sends.iter().enumerate().filter(|(_, r)| r.end.is_none());
        let list: Vec<String> = open
            .take(3)
            .map(|(i, r)| {
                let sn = Sn(f.first.0 + i as u64);
                let arrived: Vec<_> = f
                    .receivers
                    .iter()
                    .filter(|(_, r)| r.arrived.contains(&sn))
                    .map(|x| x.0.counter)
                    .collect();
                let delivered: Vec<_> = f
                    .receivers
                    .iter()
                    .filter(|(_, r)| r.delivered.contains(&sn))
                    .map(|x| x.0.counter)
                    .collect();
                format!(
                    "{sn} ({:?}, {} bytes, handed {}, arrived {arrived:?}, delivered {delivered:?})",
                    r.model, r.len, r.handed
                )
            })
            .collect();
        list.join(", ")
    }
}
