//! Nodes that are of the first release of version 1 (U7), as far as the wire shows: they name no features, ask for no reset and serve none, and
//! would drop a connection on which one of the frames and values comes that were added since.

use cdps_core::id::NodeId;
use cdps_core::port::Inbound;
use cdps_core::reason::Reason;
use cdps_core::wire::{Connect, Frame, NodeBody, Opinion, feature, item};

use crate::broken::Broken;
use crate::env::Env;
use crate::host::Host;
use crate::payload::Received;
use crate::rules::Invariant;

impl Host {
    fn is_first(&self) -> bool {
        self.plan.hosts[self.index].first
    }

    /// A node message as this release says it; `None`: it has none of that kind.
    pub(crate) fn as_said(&self, mut body: NodeBody) -> Option<NodeBody> {
        match &mut body {
            NodeBody::Connect(connect) if self.is_first() => {
                if connect.resets() {
                    return None;
                }
                connect.features = 0;
            }
            NodeBody::Answer(answer) if self.is_first() => answer.features = 0,
            _ => {}
        }
        Some(body)
    }

    /// A node message as this release understands it.
    pub(crate) fn as_heard(&self, env: &mut Env, mut body: NodeBody) -> NodeBody {
        let (NodeBody::Connect(Connect { features, .. })
        | NodeBody::Answer(cdps_core::wire::Answer { features, .. })) = &mut body
        else {
            return body;
        };
        if self.is_first() {
            *features = 0;
        } else if env.broken == Some(Broken::NoFeatures) && *features != feature::ALL {
            env.broke += 1;
            *features = feature::ALL;
        } else if env.broken == Some(Broken::SharedCredit) && *features & feature::CLASSES != 0 {
            env.broke += 1;
            *features &= !feature::CLASSES;
        }
        body
    }

    /// Why this release refuses what a CONNECT asks for, if it does.
    pub(crate) fn judge(&self, connect: &Connect) -> Result<(), Reason> {
        if self.is_first() && connect.flags != 0 {
            return Err(Reason::UnsupportedFeature);
        }
        connect.judge()
    }

    /// Nothing may come that the first release refuses.
    pub(crate) fn check_release(&self, env: &mut Env, items: &[Inbound<Received>]) {
        if !self.is_first() {
            return;
        }
        let node: NodeId = self.node();
        for sent in items {
            let is_new = match sent {
                Inbound::Frame(frame) => match &**frame {
                    Frame::PathStatus(status) => status.opinion == Opinion::Unheard,
                    Frame::Receipt(receipt) => receipt.high_credit.is_some(),
                    frame => matches!(frame, Frame::ResetAck(_) | Frame::Skip(_)),
                },
                Inbound::Message { item, .. } => item.flags & item::HIGH != 0,
                Inbound::Fragment { .. } | Inbound::Aside { .. } => false,
            };
            if is_new {
                let text = format!("node {node} is of the first release, and was sent {sent:?}");
                env.oracle.fail(Invariant::Releases, text);
            }
        }
    }
}
