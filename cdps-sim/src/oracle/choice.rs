//! What the oracle holds against a port that asks its user which backup to use (L2).

use std::collections::BTreeSet;

use cdps_core::id::{Generation, NodeId, SessionId};
use cdps_core::port::{Asked, Question, QuestionId};

use super::Oracle;
use crate::rules::Invariant;

/// What a port's user was asked, and said.
#[derive(Default)]
pub(super) struct Choice {
    last: QuestionId,
    /// The last question was answered so, and the answer was taken.
    said: Option<Option<NodeId>>,
    /// What it was asked to fence.
    fences: BTreeSet<Generation>,
    /// What it said that it has fenced.
    fenced: BTreeSet<Generation>,
}

impl Choice {
    pub(super) fn has_fenced(&self, generation: Generation) -> bool {
        self.fenced.contains(&generation)
    }

    /// The port has gone down: what was said has been done.
    pub(super) fn forget(&mut self) {
        self.said = None;
    }

    /// The port has gone to a backup.
    pub(super) fn check_switch(&mut self, node: NodeId) -> Result<(), String> {
        // What was said counts for one switch.
        match self.said.take() {
            Some(said) if said != Some(node) => {
                Err(format!("switched to {node}, and the user said {said:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Oracle {
    /// A source's user is asked something.
    pub(crate) fn asked(&mut self, session: SessionId, question: &Question) {
        let s = self.sessions.entry(session).or_default();
        let mut fault = None;
        if question.id <= s.choice.last {
            fault = Some(format!("question {:?} after {:?}", question.id, s.choice.last));
        }
        s.choice.last = question.id;
        match &question.what {
            Asked::Backup { failed, candidates, .. } => {
                self.tally.questions += 1;
                s.choice.said = None;
                if candidates.is_empty() || candidates.contains(failed) {
                    fault =
                        Some(format!("nothing to choose from, or the target that was lost: {question:?}"));
                }
            }
            Asked::Fence { node, generation, .. } => {
                if !s.choice.fences.insert(*generation) {
                    fault = Some(format!("asked twice to fence node {node}: {question:?}"));
                }
            }
        }
        if let Some(text) = fault {
            self.fail(Invariant::Choice, format!("{session}: {text}"));
        }
    }

    /// It has said that a target is fenced, and the port has taken that.
    pub(crate) fn fenced(&mut self, session: SessionId, generation: Generation) {
        self.tally.fenced += 1;
        self.sessions.entry(session).or_default().choice.fenced.insert(generation);
    }

    /// It has said which backup to use, and the port has taken that.
    pub(crate) fn chose(&mut self, session: SessionId, node: Option<NodeId>) {
        self.sessions.entry(session).or_default().choice.said = Some(node);
    }
}
