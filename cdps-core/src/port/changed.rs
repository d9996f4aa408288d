//! A user that changes a borrowed buffer before it is given back (M8): the message ends, and its stream goes on without it. Nobody else is to
//! blame: the connection that should have carried it goes on as well.

use super::decision::Trigger;
use super::{Changed, Payload, Port};
use crate::id::{ConnId, PathId, Side};
use crate::reason::Reason;
use crate::time::Time;
use crate::wire::feature;

impl<S: Payload, R: Clone> Port<S, R> {
    /// These fragments of the batch that was polled last for the connection were not written, since their messages' bytes are not those any
    /// more that were given to send. In the place of each a PROBE was put, so that frames are counted as before. To be called before
    /// the connection is polled again.
    ///
    /// Each message is nacked, unless all of it has arrived; the peer is told not to wait for it. Who does not understand that has the
    /// session taken away: a source is down, a target's session ends.
    pub fn handle_changed(&mut self, now: Time, path: PathId, conn: ConnId, changed: &[Changed]) {
        if self.path_index(path).is_none_or(|at| self.paths[at].live(conn).is_none()) {
            // What was on it goes again elsewhere, and is found there.
            return;
        }
        let mut skipped = false;
        for run in changed.chunk_by(|a, b| a.sn == b.sn) {
            let refused = run.iter().map(|c| u64::from(c.len)).sum();
            skipped |= self.sender.skip(run[0].sn, refused, &mut self.events);
        }
        if !skipped {
            return;
        }
        self.watch_flow();
        if self.peer_features & feature::SKIP == 0 {
            match self.side {
                Side::Source => self.lose_target(now, Trigger::BufferChanged),
                Side::Target => {
                    self.finish_everything(Reason::BufferChanged);
                    self.end_session(now, Reason::BufferChanged, true);
                }
            }
            return;
        }
        self.touch(now);
        self.offer(now);
    }
}
