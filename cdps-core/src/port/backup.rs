//! Which backup a port goes to when it has given its target up (L2, F5): listed order, round robin, or what the user says.

use thiserror::Error;

use super::event::{Asked, Event, Question, QuestionId};
use super::session::{Attempt, Purpose, ends_role};
use super::{Payload, Port};
use crate::cluster::PeerState;
use crate::config::BackupSelection;
use crate::id::NodeId;
use crate::reason::Reason;
use crate::time::{Duration, Time};

/// A switch that waits for its user to choose.
pub(super) struct Choice {
    question: QuestionId,
    /// What the switch has come to so far.
    attempt: Attempt,
    reason: Reason,
    candidates: Vec<NodeId>,
    /// From then on nobody is waited for.
    pub(super) deadline: Time,
}

/// Why an answer to a question was of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ChoiceError {
    /// The question is over: answered before, or not waited for any longer. Nothing was changed.
    #[error("nobody waits for this answer any more")]
    Over,
    /// The node was not among the candidates. The backup is chosen in listed order.
    #[error("node {node} was not among the candidates")]
    NotACandidate {
        /// The node.
        node: NodeId,
    },
}

impl<S: Payload, R: Clone> Port<S, R> {
    /// Goes on with a switch: to the next backup, or down if there is none.
    pub(super) fn switch_or_go_down(&mut self, now: Time, reason: Reason) {
        let Some(attempt) = self.attempt.take() else { return };
        let candidates = if ends_role(reason) { Vec::new() } else { self.candidates(&attempt.tried) };
        match (candidates.first(), self.config.backup_selection) {
            (None, _) => self.end_switch(now, &attempt, reason),
            (Some(_), BackupSelection::Callback) => self.ask_for_backup(now, attempt, reason, candidates),
            (Some(node), BackupSelection::Listed | BackupSelection::RoundRobin) => {
                self.go_to_backup(now, attempt, *node);
            }
        }
    }

    /// The targets that a switch may go to, in the order in which they come: those not tried and not known to be unreachable.
    pub(super) fn candidates(&self, tried: &[NodeId]) -> Vec<NodeId> {
        let targets = &self.config.targets;
        let after = match self.config.backup_selection {
            BackupSelection::RoundRobin => self.last_backup.or(tried.first().copied()),
            BackupSelection::Listed | BackupSelection::Callback => tried.first().copied(),
        };
        let from = after.and_then(|node| targets.iter().position(|t| t.node == node)).unwrap_or(0);
        let ring = (1..=targets.len()).map(|k| targets[(from + k) % targets.len()].node);
        let gone = |node: NodeId| {
            self.peers.iter().any(|p| p.0 == node && !matches!(p.1, PeerState::Reachable { .. }))
        };
        ring.filter(|node| !tried.contains(node) && !gone(*node)).collect()
    }

    fn go_to_backup(&mut self, now: Time, attempt: Attempt, node: NodeId) {
        let kept = attempt.only_receipted.max(self.sender.only_receipted());
        self.last_backup = Some(node);
        // What it has tried is handed on.
        self.attempt = Some(attempt);
        self.start_attempt(now, node, Purpose::Switch, Duration::ZERO);
        if let Some(attempt) = &mut self.attempt {
            attempt.only_receipted = kept;
        }
    }

    fn end_switch(&mut self, now: Time, attempt: &Attempt, reason: Reason) {
        let node = self.given_up(attempt);
        let reason = if attempt.tried.len() > 1 && !ends_role(reason) { Reason::NoBackup } else { reason };
        self.go_down(now, node, reason, false);
    }

    /// The target that a switch leaves. It is not the first that failed if the switch was a planned one.
    fn given_up(&self, attempt: &Attempt) -> NodeId {
        let recorded = self.decision.as_ref().map(|d| d.node);
        recorded.or(attempt.tried.first().copied()).unwrap_or_default()
    }

    // ---- asking ----

    /// Puts a question to the user.
    pub(super) fn put(&mut self, what: Asked) -> QuestionId {
        self.last_question.0 += 1;
        let id = self.last_question;
        self.events.push(Event::Question(Box::new(Question { id, what })));
        id
    }

    /// Whether an answer to this question is still wanted.
    pub fn is_asked(&self, question: QuestionId) -> bool {
        self.choice.as_ref().is_some_and(|c| c.question == question) || self.asks_to_fence(question)
    }

    fn ask_for_backup(&mut self, now: Time, attempt: Attempt, reason: Reason, candidates: Vec<NodeId>) {
        let failed = attempt.tried.first().copied().unwrap_or_default();
        let what = Asked::Backup { failed, reason, candidates: candidates.clone() };
        let question = self.put(what);
        let deadline = now + self.config.connect_timeout;
        self.choice = Some(Choice { question, attempt, reason, candidates, deadline });
        self.rearm(now);
    }

    /// The user's answer to [`Asked::Backup`]: a candidate, or `None` for none of them. Then the connection is down as with no backup left.
    ///
    /// # Errors
    /// The answer was of no use.
    pub fn choose_backup(
        &mut self,
        now: Time,
        question: QuestionId,
        node: Option<NodeId>,
    ) -> Result<(), ChoiceError> {
        let Some(choice) = self.choice.take_if(|c| c.question == question) else {
            return Err(ChoiceError::Over);
        };
        let Choice { attempt, reason, candidates, .. } = choice;
        match node {
            Some(node) if candidates.contains(&node) => self.go_to_backup(now, attempt, node),
            Some(node) => {
                self.choose_listed(now, attempt, reason);
                return Err(ChoiceError::NotACandidate { node });
            }
            None => {
                let node = self.given_up(&attempt);
                self.go_down(now, node, Reason::NoBackup, false);
            }
        }
        Ok(())
    }

    /// The user has not chosen in time.
    pub(super) fn tend_choice(&mut self, now: Time) {
        if let Some(Choice { attempt, reason, .. }) = self.choice.take_if(|c| now >= c.deadline) {
            self.choose_listed(now, attempt, reason);
        }
    }

    fn choose_listed(&mut self, now: Time, attempt: Attempt, reason: Reason) {
        // As they are now: one of those that were named may have gone meanwhile.
        match self.candidates(&attempt.tried).first() {
            Some(node) => self.go_to_backup(now, attempt, *node),
            None => self.end_switch(now, &attempt, reason),
        }
    }

    /// The target that a switch leaves while its user chooses.
    pub(super) fn left_behind(&self) -> Option<NodeId> {
        self.choice.as_ref().and_then(|c| c.attempt.tried.first().copied())
    }
}
