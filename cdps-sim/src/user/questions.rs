//! What a user is asked, and what it answers: which backup to use (L2), whether a target was fenced (F8).

use cdps_core::id::{Generation, NodeId};
use cdps_core::port::{Asked, ChoiceError, Question, QuestionId};

use super::Errand;
use crate::broken::Broken;
use crate::env::{Env, MS, note};
use crate::host::{Host, HostEvent};
use crate::net::Machine;

impl Host {
    /// The user is asked which backup to use, and answers after a while, or not, or with what does not help.
    pub(super) fn question(&mut self, env: &mut Env, slot: usize, question: &Question) {
        let vague = self.plan.hosts[self.index].users.vague;
        let node = self.node();
        let Some(s) = self.slots[slot].as_mut() else { return };
        env.oracle.asked(s.session, question);
        if !s.port.is_asked(question.id) {
            return;
        }
        note!(env, "n{node} p{slot}: user: asked {question:?}");
        let (failed, candidates) = match &question.what {
            Asked::Backup { failed, candidates, .. } => (failed, candidates),
            Asked::Fence { node, generation, .. } => {
                return self.fence(env, slot, question.id, (*node, *generation));
            }
        };
        let mut answer = Some(env.rng.pick(candidates));
        if env.rng.chance(vague) {
            match env.rng.below(3) {
                0 => return,
                1 => answer = None,
                _ => answer = Some(*failed),
            }
        }
        let wait = env.rng.magnitude(MS / 10, 500 * MS);
        let mut heard = answer;
        if env.broken == Some(Broken::OtherBackup)
            && let Some(other) = candidates.iter().find(|node| Some(**node) != answer)
        {
            heard = Some(*other);
            env.broke += 1;
        }
        let what = Errand::Choose { question: question.id, node: answer, heard };
        self.later(env, wait, HostEvent::User { slot, what });
    }

    /// The user is asked to fence a node: it can say so if the process is dead.
    fn fence(
        &mut self,
        env: &mut Env,
        slot: usize,
        question: QuestionId,
        (node, generation): (NodeId, Generation),
    ) {
        let host = self.plan.hosts.iter().position(|h| h.node == node);
        let dead = host.is_some_and(|host| env.net.machines[host] != Machine::Up);
        let lies = env.broken == Some(Broken::HastyFence) && !dead;
        env.broke += u64::from(lies);
        let what = Errand::Fence { question, generation, done: dead || lies };
        let wait = env.rng.magnitude(MS / 10, 1000 * MS);
        self.later(env, wait, HostEvent::User { slot, what });
    }

    pub(super) fn choose(
        &mut self,
        env: &mut Env,
        slot: usize,
        question: QuestionId,
        node: Option<NodeId>,
        heard: Option<NodeId>,
    ) {
        let now = self.clock(env);
        let Some(s) = self.slots[slot].as_mut() else { return };
        let taken = s.port.choose_backup(now, question, heard);
        note!(env, "n{} p{slot}: user: chooses {node:?}: {taken:?}", self.plan.hosts[self.index].node);
        match taken {
            Ok(()) => env.oracle.chose(s.session, node),
            Err(ChoiceError::Over | ChoiceError::NotACandidate { .. }) => {}
        }
    }
}
