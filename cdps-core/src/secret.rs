//! The session secret (docs/protocol.md, section 3), which nothing prints.

use std::fmt;

/// Key of the proofs of one generation's data connections. `Debug` hides it, so that whatever carries one can be logged.
///
/// Equality is for tests and for values that contain one; who proves something is judged by a MAC, in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// What an answer carries that accepts nothing.
    pub const NONE: Secret = Secret([0; 32]);

    /// A secret of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// The bytes: for the wire, and for a MAC.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ConnId, Generation, Incarnation, NodeId, PathId, SessionId, Sn};
    use crate::port::Action;
    use crate::reason::Reason;
    use crate::wire::{Answer, Connect, Frame, NodeBody, NodeMessage};

    /// [L3] Whatever carries the secret can be printed in any form without giving it away.
    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new([0xad; 32]);
        let session = SessionId::default();
        let generation = Generation::default();
        let connect = Connect {
            session,
            generation,
            version: 1,
            flags: 0,
            paths: 1,
            features: 0,
            window: 0,
            high_window: 0,
            max_message: 0,
            max_streams: 0,
            session_timeout_ms: 0,
            first: Sn(1),
            client: String::new(),
        };
        let refusal = Answer::refusal(&connect, Reason::None, generation, String::new());
        let message = NodeMessage {
            from: NodeId(2),
            from_incarnation: Incarnation(2),
            to: NodeId(1),
            to_incarnation: Incarnation(1),
            body: NodeBody::Answer(Answer { secret, ..refusal }),
        };
        let dial = Action::Dial {
            path: PathId(0),
            conn: ConnId(1),
            session,
            generation,
            node: NodeId(2),
            local: None,
            remote: ([127, 0, 0, 1], 1).into(),
            secret,
        };
        let frame = Frame::NodeMessage(message);
        for text in [
            format!("{frame:?} {dial:?}"),
            format!("{frame:#?} {dial:#?}"),
            format!("{frame:x?} {dial:02X?}"),
        ] {
            assert_eq!(text.matches("secret: Secret(..)").count(), 2, "{text}");
            let byte = ["173", "ad,", "AD,"].into_iter().find(|byte| text.contains(byte));
            assert_eq!(byte, None, "{text}");
        }
    }
}
