//! Receipts while a path is in doubt (A5): they travel on two.

use cdps_core::cluster::Health;
use cdps_core::id::{Generation, PathId, Sn};
use cdps_core::port::Outgoing;
use cdps_core::wire::Frame;

use crate::env::{MS, SECOND};
use crate::host::Slot;
use crate::payload::SentHandle;

/// More receipts with news than that do not go one way for [`LONG`], while another one is good: the second copy of each is due at once, and
/// only a full socket can delay it.
const MANY: u32 = 8;
/// See [`MANY`] (ns): longer than a path may be stuck and good.
const LONG: u64 = SECOND / 2;

/// Receipts with news that have gone one way without a copy on another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone {
    generation: Generation,
    path: PathId,
    /// The good path that had none of them.
    other: PathId,
    count: u32,
    since: u64,
    news: Sn,
}

impl Slot {
    /// What is wrong with the receipts on a path, if any are in what is about to be written there.
    pub(crate) fn lacks_a_copy(
        &mut self,
        path: PathId,
        frames: &[Outgoing<SentHandle>],
        now: u64,
    ) -> Option<String> {
        let receipts = frames.iter().filter_map(|frame| match frame {
            Outgoing::Control(Frame::Receipt(receipt)) => Some(receipt.cumulative),
            Outgoing::Control(_) | Outgoing::Bundle { .. } | Outgoing::Fragment { .. } => None,
        });
        let news = receipts.max()?;
        let generation = self.port.generation();
        let before = self.alone.filter(|a| a.generation == generation);
        let good = |k: &PathId| *k != path && self.health(*k) == Some(Health::Good);
        let other = match before.filter(|a| a.path == path) {
            Some(a) => Some(a.other).filter(good),
            None => self.port.path_ids().find(good),
        };
        let (Some(other), true) = (other, self.doubts()) else {
            self.alone = None;
            return None;
        };
        let fresh = Alone { generation, path, other, count: 0, since: now, news };
        let mut alone = before.filter(|a| a.path == path).unwrap_or(fresh);
        if news > alone.news {
            (alone.count, alone.news) = (alone.count + 1, news);
        }
        self.alone = Some(alone);
        let long = now - alone.since;
        (alone.count > MANY && long > LONG).then(|| {
            format!(
                "{}: {} receipts in {} ms on path {path} alone, one path in doubt and path {other} good",
                self.session,
                alone.count,
                long / MS
            )
        })
    }

    /// Takes the copies away, so that it can be seen that they are missed.
    pub(crate) fn drop_copies(&self, path: PathId, frames: &mut Vec<Outgoing<SentHandle>>) {
        let first = self.port.path_ids().find(|k| self.health(*k) == Some(Health::Good));
        if self.doubts() && first.is_some_and(|k| k != path) {
            frames.retain(|frame| !matches!(frame, Outgoing::Control(Frame::Receipt(_))));
        }
    }

    /// Of a path that is connected.
    fn health(&self, path: PathId) -> Option<Health> {
        self.port.path_stats(path).filter(|stats| stats.up).map(|stats| stats.health)
    }

    /// A connected path is in doubt here.
    fn doubts(&self) -> bool {
        self.port.path_ids().any(|path| self.health(path).is_some_and(|health| health != Health::Good))
    }
}
