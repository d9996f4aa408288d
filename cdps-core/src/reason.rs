//! Why something ended or was refused: the numbers of docs/protocol.md section 10.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why something ended or was refused. The numbers are stable: they travel on the wire and reach the user.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum Reason { $($(#[$doc])* $name = $number,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// The reason of a number from the wire; `None` for a number this version does not know.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Reason> {
                match number { $($number => Some(Reason::$name),)* _ => None }
            }

            /// One phrase, for messages and logs.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// No error.
    None = 0, "no error";
    /// Closed by its user.
    Closed = 1, "closed by its user";
    /// The peer broke the protocol.
    ProtocolError = 2, "the peer broke the protocol";
    /// A checksum did not match.
    BadChecksum = 3, "a checksum did not match";
    /// No common protocol version.
    UnsupportedVersion = 4, "no common protocol version";
    /// A feature was used that this version reserves.
    UnsupportedFeature = 5, "a feature that this version only reserves";
    /// Another node was meant.
    WrongNode = 6, "another node was meant";
    /// No client of that name on the target.
    NoSuchClient = 7, "no client of this name is registered on the target";
    /// The target's user refused.
    Refused = 8, "refused by the target's user";
    /// The generation is not the newest.
    StaleGeneration = 9, "a generation that is not the newest";
    /// The target does not know the session.
    UnknownSession = 10, "the target does not know the session";
    /// The connection did not prove the session secret.
    BadProof = 11, "the connection did not prove the session secret";
    /// A limit would be passed.
    Limit = 12, "a limit would be passed";
    /// A newer generation took the session's place.
    Superseded = 13, "a newer generation took its place";
    /// The source took the lease away.
    Revoked = 14, "the source took the lease away";
    /// The peer is another incarnation now.
    PeerRestarted = 15, "the peer was restarted";
    /// No contact on any path.
    Unreachable = 16, "no contact on any path";
    /// An answer did not come in time.
    Timeout = 17, "no answer in time";
    /// The node is closing.
    Shutdown = 18, "the node is closing";
    /// A connection ended without a word.
    ConnectionLost = 19, "the connection was lost";
    /// A connection could not be made.
    DialFailed = 20, "the connection could not be made";
    /// The peer closed the session.
    PeerClosed = 21, "closed by the peer";
    /// No backup is left to switch to.
    NoBackup = 22, "no backup target is left";
    /// The port was stopped before the message was sent.
    Stopped = 23, "the port was stopped before the message was sent";
    /// One-way loss: the peer is heard, and does not hear this end.
    OneWayOut = 24, "one-way loss: the peer does not hear this end";
    /// One-way loss: the peer hears this end, and is not heard.
    OneWayIn = 25, "one-way loss: this end does not hear the peer";
    /// A path that was dead is connected again, and has yet to prove itself.
    Rejoining = 26, "back after it was dead, and not trusted yet";
    /// One end takes the client for exclusive, the other does not.
    RoleMismatch = 27, "one end takes the client for exclusive, the other does not";
    /// Another source has the role of the exclusive client.
    RoleTaken = 28, "another source has the role of the exclusive client";
    /// The user changed a borrowed buffer before it was given back.
    BufferChanged = 29, "the borrowed buffer was changed after the send";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
