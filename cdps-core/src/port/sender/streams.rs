//! The streams of what is sent (M2): their numbers go on for as long as the port lives, and a limited number is open in a generation.

use std::collections::{BTreeMap, BTreeSet};

use super::Sender;
use crate::config::StreamContract;
use crate::id::{Sn, Ssn, StreamId};
use crate::port::{ContractError, Payload};

/// Streams that are remembered, whatever the generations allow.
const KNOWN: usize = 1 << 20;

pub(super) struct Stream {
    pub(super) next_ssn: Ssn,
    pub(super) last: Sn,
    /// Its next message is its first in this generation.
    pub(super) fresh: bool,
    pub(super) contract: StreamContract,
}

/// All that were sent on.
pub(super) struct Streams {
    known: Vec<(StreamId, Stream)>,
    index: BTreeMap<StreamId, usize>,
    /// That of the latest message on one without a contract.
    latest: usize,
    /// Open in this generation.
    open: u32,
    /// As many may be.
    pub(super) max: u32,
}

impl Streams {
    pub(super) fn new(max: u32) -> Streams {
        Streams { known: Vec::new(), index: BTreeMap::new(), latest: usize::MAX, open: 0, max }
    }

    #[inline]
    pub(super) fn at(&mut self, at: usize) -> &mut Stream {
        &mut self.known[at].1
    }

    /// The place of a stream that the message before was sent on as well, that is open, and that has no contract.
    #[inline]
    pub(super) fn latest(&self, id: StreamId) -> Option<usize> {
        self.known.get(self.latest).filter(|(last, stream)| *last == id && !stream.fresh).map(|_| self.latest)
    }

    /// The place of a stream for a message that is sent now; `None`: it would be one too many.
    pub(super) fn open(&mut self, id: StreamId) -> Option<usize> {
        let known = self.index.get(&id).copied();
        let opens = known.is_none_or(|at| self.known[at].1.fresh);
        if opens && (self.open >= self.max || (known.is_none() && self.known.len() >= KNOWN)) {
            return None;
        }
        self.open += u32::from(opens);
        let at = known.unwrap_or_else(|| self.add(id));
        if self.known[at].1.contract == StreamContract::default() {
            self.latest = at;
        }
        Some(at)
    }

    fn add(&mut self, id: StreamId) -> usize {
        let contract = StreamContract::default();
        self.known.push((id, Stream { next_ssn: Ssn(1), last: Sn(0), fresh: true, contract }));
        self.index.insert(id, self.known.len() - 1);
        self.known.len() - 1
    }

    /// Says what holds for a stream, before its first message.
    pub(super) fn set_contract(
        &mut self,
        id: StreamId,
        contract: StreamContract,
    ) -> Result<(), ContractError> {
        let at = match self.index.get(&id) {
            Some(at) => *at,
            None if self.known.len() >= KNOWN => {
                return Err(ContractError::TooManyStreams { stream: id, max: KNOWN as u32 });
            }
            None => self.add(id),
        };
        let stream = &mut self.known[at].1;
        if stream.last != Sn(0) {
            return Err(ContractError::InUse { stream: id });
        }
        stream.contract = contract;
        Ok(())
    }

    fn is_open(&self, id: StreamId) -> bool {
        self.index.get(&id).is_some_and(|at| !self.known[*at].1.fresh)
    }

    /// A new generation begins, in which none is open.
    pub(super) fn restart(&mut self, max: u32) {
        self.max = max;
        self.open = 0;
        for (_, stream) in &mut self.known {
            stream.fresh = true;
        }
    }

    /// A message of the former generation goes again. True: it is the first of its stream.
    pub(super) fn reopen(&mut self, id: StreamId) -> bool {
        let Some(at) = self.index.get(&id) else { return false };
        let fresh = std::mem::take(&mut self.known[*at].1.fresh);
        self.open += u32::from(fresh);
        fresh
    }
}

impl<S: Payload> Sender<S> {
    /// Whether it was sent on in this generation.
    pub(in crate::port) fn has_open_stream(&self, id: StreamId) -> bool {
        self.streams.is_open(id)
    }

    /// How many streams a target needs that is sent everything unfinished.
    pub(in crate::port) fn streams_needed(&self) -> usize {
        self.entries.iter().map(|e| e.stream).collect::<BTreeSet<_>>().len()
    }
}
