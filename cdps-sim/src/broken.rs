//! Engines that are broken on purpose, to show that the oracle sees it. The break is put between the production engine and its
//! driver (frames after decoding, events before the user), so that the engine itself stays clean.

use std::fmt;

macro_rules! variants {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $what:literal;)*) => {
        /// A way to be broken.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Broken { $($(#[$doc])* $name,)* }

        impl Broken {
            /// All of them.
            pub const ALL: &[Broken] = &[$(Broken::$name,)*];

            /// Name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Broken::$name => $text,)* }
            }

            /// What it does.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Broken::$name => $what,)* }
            }
        }
    };
}

variants! {
    /// No duplicate detection.
    NoDedup = "no-dedup", "a message that comes again reaches the user again";
    /// Receipt before the message is there.
    EarlyReceipt = "early-receipt", "receipts cover one message more than has arrived";
    /// A send without an end.
    LostNack = "lost-nack", "one nack in eight does not reach the user";
    /// A send without an end.
    LostCompletion = "lost-completion", "one completion in a hundred does not reach the user";
    /// A send with two ends.
    TwoEnds = "two-ends", "one nacked message in eight is completed as well";
    /// A former target goes on.
    NoLease = "no-lease", "a target delivers without a lease";
    /// Two messages change places.
    Reorder = "reorder", "one message in a hundred is delivered after the next one";
    /// Damaged bytes are believed.
    NoChecksum = "no-checksum", "checksums are not verified";
    /// Certainty is a lie.
    NotSentLie = "not-sent-lie", "every nack claims that the message was not sent";
    /// Return codes are mixed up.
    WrongCode = "wrong-code", "one return code in a hundred is another on arrival";
    /// Credit does not come back.
    CreditLeak = "credit-leak", "released messages give no credit back";
    /// A path's class is not heeded.
    NoStandby = "no-standby", "standby paths are taken for normal ones";
    /// One-way loss is not named.
    NoOneWay = "no-one-way", "that a link is one-way does not reach the ports";
    /// What is heard is taken for an answer.
    HalfDeaf = "half-deaf", "a link that is heard counts as good, also when it is one-way";
    /// What was dead is trusted at once.
    NoRejoin = "no-rejoin", "a path that was dead carries as soon as it is connected";
    /// Messages pass barriers.
    NoBarrier = "no-barrier", "that a message is a barrier does not reach the engine";
    /// Messages outlive their deadlines.
    NoDeadline = "no-deadline", "deadlines do not reach the engine";
    /// A user that does not acknowledge is not seen.
    NoOverdue = "no-overdue", "that a message is overdue does not reach the user";
    /// The wrong one is blamed.
    WrongOverdue = "wrong-overdue", "the message after the one that is overdue is named";
    /// The user is not heeded.
    OtherBackup = "other-backup", "another backup than the user's choice is taken";
    /// A fence that is none.
    HastyFence = "hasty-fence", "users say that they have fenced a target, and they have not";
    /// The evidence is not what it was.
    ForgedRecord = "forged-record", "the record of a loss names another target";
    /// A budget that is not kept.
    SlowVerdict = "slow-verdict", "dead time and receipt timeout are four times what the budget leads to";
    /// F2 out of order.
    NackOrder = "nack-order", "nacks after a down come newest first";
    /// The peer's limit is not heeded.
    ManyStreams = "many-streams", "how many streams the target allows does not reach the engine";
    /// A lost target is not waited for.
    NoGrace = "no-grace", "the grace for lost targets does not reach the engine";
    /// The ledger of a reset is a lie.
    LedgerLie = "ledger-lie", "one message in eight is resolved as delivered if it was not, and the other way round";
    /// A path that was removed goes on.
    NoRemoval = "no-removal", "that an address is removed does not reach the engine";
    /// A peer is taken for one of this release.
    NoFeatures = "no-features", "that a peer does not name its features does not reach the ports";
    /// A word of the cluster engine is lost.
    Deaf = "deaf", "that a node is down does not reach the ports";
    /// A restart forgets.
    Forgetful = "forgetful", "what generations were before a restart is not kept";
    /// Nobody asks for the role.
    NoRole = "no-role", "an exclusive client takes sources side by side";
    /// Receipts are not doubled.
    OneReceipt = "one-receipt", "while a path is in doubt, receipts travel on the first good path alone";
    /// Control waits for bulk.
    SharedCredit = "shared-credit", "messages of high priority have no credit of their own";
    /// Nobody sees that the user has changed a buffer.
    NewChecksum = "new-checksum", "what is written gets a checksum of what it is then, not of what was given to send";
    /// Who waits is not told.
    NoSkip = "no-skip", "that a changed message was not written does not reach the engine";
    /// A suspended port goes on.
    NoHold = "no-hold", "suspend does not reach the engine";
}

impl Broken {
    /// The variant of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Broken> {
        Broken::ALL.iter().copied().find(|b| b.name() == name)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
