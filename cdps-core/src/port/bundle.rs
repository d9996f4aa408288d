//! Small messages put into frames: long runs under one head (architecture, point 4).

use std::collections::VecDeque;

use super::path::Flight;
use super::{Batch, OutItem, Outgoing};
use crate::id::{Sn, Ssn, StreamId};
use crate::time::Time;
use crate::wire::{self, BundleHead};

/// The bundle that a take is filling.
#[derive(Default)]
pub(super) struct OpenBundle {
    /// Index of its frame in the batch, its next SN, and the (stream, SSN) that follows without being named.
    open: Option<(usize, Sn, (StreamId, Ssn))>,
}

impl OpenBundle {
    /// What comes next is not a small message that follows.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one call site; a struct for it would only rename the arguments"
    )]
    pub(super) fn add<S>(
        &mut self,
        sn: Sn,
        mut out: OutItem<S>,
        counted: bool,
        now: Time,
        frames_out: &mut u64,
        flights: &mut VecDeque<Flight>,
        batch: &mut Batch<S>,
    ) -> u64 {
        let Some(named) = out.stream else { return 0 };
        let len = out.len;
        if let Some((frame, expected, follows)) = self.open
            && expected == sn
            && let Some(Outgoing::Bundle { head, items, body_len }) = batch.frames.get_mut(frame)
            && flights.back().is_some_and(|f| f.counted == counted)
        {
            let switch = named != follows;
            let size = len + 4 + if switch { 12 } else { 0 };
            if (head.count as usize) < wire::MAX_BUNDLE_ITEMS
                && (*body_len + size) as usize <= wire::MAX_BUNDLE_BODY
            {
                if !switch {
                    out.stream = None;
                }
                head.count += 1;
                items.end += 1;
                *body_len += size;
                batch.items.push(out);
                if let Some(flight) = flights.back_mut() {
                    flight.count += 1;
                    flight.bytes += u64::from(size);
                }
                self.open = Some((frame, sn.next(), (named.0, named.1.next())));
                return u64::from(size);
            }
        }
        out.stream = None;
        let at = batch.items.len();
        batch.items.push(out);
        let head = BundleHead { sn, ssn: named.1, stream: named.0, count: 1 };
        batch.frames.push(Outgoing::Bundle { head, items: at..at + 1, body_len: len + 4 });
        *frames_out += 1;
        let bytes = u64::from(len) + 4;
        flights.push_back(Flight {
            frame: *frames_out,
            sn,
            count: 1,
            offset: 0,
            len,
            bytes,
            at: now,
            counted,
            moved: false,
        });
        self.open = Some((batch.frames.len() - 1, sn.next(), (named.0, named.1.next())));
        bytes
    }
}
