//! Messages of one stream that have come before their turn, as runs of consecutive ones: paths bring them in runs.

use std::collections::BTreeMap;

use crate::id::Ssn;

/// What waits in a stream.
pub(super) struct Early<T> {
    /// By the SSN of the first. No two overlap.
    runs: BTreeMap<Ssn, Vec<T>>,
    /// The run that was added to last.
    last: Option<Last>,
    /// Memory of a run that was taken.
    spare: Vec<T>,
}

struct Last {
    first: Ssn,
    /// What would come next in it, and where the run behind it begins.
    next: Ssn,
    limit: Option<Ssn>,
}

impl<T> Early<T> {
    pub(super) fn new() -> Early<T> {
        Early { runs: BTreeMap::new(), last: None, spare: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What waits, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.runs.values().flatten()
    }

    /// The lowest SSN.
    pub(super) fn first(&self) -> Option<Ssn> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    /// Adds a message. False: there is one with this SSN.
    pub(super) fn insert(&mut self, ssn: Ssn, message: T) -> bool {
        if let Some(last) = &mut self.last
            && last.next == ssn
            && last.limit != Some(ssn)
            && let Some(run) = self.runs.get_mut(&last.first)
        {
            run.push(message);
            last.next = ssn.next();
            return true;
        }
        self.insert_elsewhere(ssn, message)
    }

    fn insert_elsewhere(&mut self, ssn: Ssn, message: T) -> bool {
        let before = self.runs.range_mut(..=ssn).next_back().map(|(first, run)| (*first, run));
        let first = match before {
            Some((first, run)) if ssn.0 - first.0 < run.len() as u64 => return false,
            Some((first, run)) if ssn.0 - first.0 == run.len() as u64 => {
                run.push(message);
                first
            }
            Some(_) | None => {
                let mut run = std::mem::take(&mut self.spare);
                run.push(message);
                self.runs.insert(ssn, run);
                ssn
            }
        };
        let limit = self.runs.range(ssn.next()..).next().map(|(first, _)| *first);
        self.last = Some(Last { first, next: ssn.next(), limit });
        true
    }

    /// Takes the run that begins with this SSN.
    pub(super) fn take(&mut self, first: Ssn) -> Option<Vec<T>> {
        let run = self.runs.remove(&first)?;
        self.last = None;
        Some(run)
    }

    /// Takes back the memory of a run.
    pub(super) fn recycle(&mut self, mut run: Vec<T>) {
        run.clear();
        self.spare = if self.runs.is_empty() { Vec::new() } else { run };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;
    use std::collections::BTreeMap;

    /// [M3] Whatever the order and the repetitions, each SSN is taken once, in order, as far as there is no gap.
    #[test]
    fn as_a_map_would_do() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let (mut early, mut map) = (Early::new(), BTreeMap::new());
            let mut next = 1;
            for _ in 0..300 {
                let start = next + prng.below(60);
                for ssn in start..start + 1 + prng.below(10) {
                    let new = !map.contains_key(&ssn);
                    assert_eq!(early.insert(Ssn(ssn), ssn), new, "seed {seed}: {ssn}");
                    map.insert(ssn, ssn);
                }
                assert_eq!(early.first().map(|s| s.0), map.first_key_value().map(|(s, _)| *s));
                if prng.below(3) == 0 {
                    next = early.first().map_or(next, |first| first.0);
                }
                while let Some(run) = early.take(Ssn(next)) {
                    for ssn in &run {
                        assert_eq!((*ssn, map.remove(ssn)), (next, Some(next)), "seed {seed}");
                        next += 1;
                    }
                    early.recycle(run);
                }
                assert!(!map.contains_key(&next), "seed {seed}: {next} was left");
                assert_eq!(early.is_empty(), map.is_empty());
            }
        }
    }
}
