//! Fencing by the user (F8): a third way, besides the end of its lease and its release, to be sure that a target that was given up delivers
//! nothing more.

use super::decision::LeaseEnd;
use super::event::{Asked, QuestionId};
use super::session::Lease;
use super::{ChoiceError, Payload, Port};
use crate::time::Time;

impl<S: Payload, R: Clone> Port<S, R> {
    /// When the user is to be asked: only if another target waits, and if it is not known that the lease is over.
    pub(super) fn fence_deadline(&self) -> Time {
        match (&self.former, &self.attempt) {
            (Some(former), Some(attempt))
                if self.config.fence && former.question.is_none() && attempt.node != former.node =>
            {
                former.ask_at
            }
            (Some(_) | None, Some(_) | None) => Time::NEVER,
        }
    }

    /// Asks the user to fence the target that was given up, once, if it is time.
    pub(super) fn tend_fence(&mut self, now: Time) {
        if now < self.fence_deadline() {
            return;
        }
        let Some(former) = &self.former else { return };
        let Lease::Until(end) = former.lease else { return };
        let what = Asked::Fence { node: former.node, generation: former.generation, left: end.since(now) };
        let question = self.put(what);
        if let Some(former) = &mut self.former {
            former.question = Some(question);
        }
    }

    pub(super) fn asks_to_fence(&self, question: QuestionId) -> bool {
        self.former.as_ref().is_some_and(|f| f.question == Some(question))
    }

    /// The user's answer to [`Asked::Fence`]. True: the target delivers nothing more, and nothing that its user was given will have an effect;
    /// a backup that is connected takes over at once. False: the end of the lease is waited for.
    ///
    /// # Errors
    /// Nobody waits for it any more, because the lease is over.
    pub fn fenced(&mut self, now: Time, question: QuestionId, done: bool) -> Result<(), ChoiceError> {
        let Some(former) = self.former.as_mut().filter(|f| f.question == Some(question)) else {
            return Err(ChoiceError::Over);
        };
        if done {
            former.lease = Lease::Over(LeaseEnd::Fenced);
            self.tend_former(now);
            self.rearm(now);
        }
        Ok(())
    }
}
