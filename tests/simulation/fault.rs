//! What can go wrong, how often it did, and in which states.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident,)*) => {
        /// One kind of mishap.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $variant,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }
    };
}

faults! {
    // Between us and a provider.
    /// The request never arrives.
    RequestLost,
    /// The request is processed, the answer never comes.
    ResponseLost,
    /// The request is processed long after we gave up on it.
    ProcessedLate,
    /// A 5xx that was made before the request was processed.
    ErrorBeforeWork,
    /// A 5xx that was made after the request was processed.
    ErrorAfterWork,
    /// The request is processed, the answer cannot be read.
    Garbage,
    /// The request is processed, the answer has a code that says nothing.
    UnknownCode,
    /// The request is processed, the answer names another amount.
    WrongAmount,
    /// Connection refused, or 429: certainly not processed.
    NotExecuted,
    /// A refusal that is not for ever.
    SoftDecline,
    /// The capture is created and approved, or dropped, a while later.
    Hold,
    /// Wrong credentials, for a while.
    Misconfigured,
    /// A read that cannot be relied on.
    ReadFailed,
    /// A permitted request that was not sent, because its time was over.
    SentTooLate,
    // At a provider.
    /// Somebody voids what remains.
    ForeignVoid,
    /// Somebody else captures.
    ForeignCapture,
    // By hand.
    /// An operator has a capture looked at.
    LookedAt,
    /// An operator has found a capture at the provider, and closes it.
    ClosedCaptured,
    /// An operator closes a capture in doubt without an answer.
    ClosedUnresolved,
    /// An operator lets a capture through that a cap holds.
    Released,
    /// An operator lets somebody else's captures be.
    Resumed,
    /// An operator tries again what ended without its money.
    Replayed,
    /// An operator has its order authorized anew before that.
    AuthorizedAnew,
    // Between us and the broker.
    /// A message that is published twice.
    Duplicate,
    /// The same shipment with other content.
    Conflict,
    /// A message that is published much later than it should be.
    Late,
    /// A message that comes again because its acknowledgement was lost with the worker.
    Redelivery,
    /// An event that is published twice.
    PublishedTwice,
    /// A mark of publication that is lost.
    MarkLost,
    // At the workers.
    /// One is gone, and starts anew.
    Crash,
    /// One was believed to be gone, and finishes the calls that it had begun.
    Zombie,
    /// One stands still for longer than its lease, while others go on, and then goes on itself.
    Asleep,
    /// What one had begun is taken over by another.
    TakenOver,
    /// Nothing runs for a long while.
    Suspended,
    /// The machine starts anew: all are gone, and its clock begins at nothing.
    Restarted,
    /// All start anew with settings that lack an account.
    AccountMissing,
    /// The wall clock steps.
    WallStep,
    /// The wall clock jumps by days.
    WallJump,
    // At the ledger.
    /// It goes back to an earlier copy, and everybody else goes on.
    Restored,
}

/// What happened in one world, or in many.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How often each kind happened.
    pub faults: BTreeMap<Fault, u64>,
    /// In which states of captures.
    pub pairs: BTreeSet<(&'static str, Fault)>,
    /// Worlds.
    pub worlds: u64,
    /// Those with several workers.
    pub with_several: u64,
    /// Steps taken.
    pub steps: u64,
    /// Orders.
    pub orders: u64,
    /// Shipments that ended, by their event or reason.
    pub ends: BTreeMap<String, u64>,
    /// Simulated time in seconds.
    pub seconds: u64,
    /// The least faults that a world had.
    pub faults_min: Option<u64>,
    /// How long processors have worked on it.
    pub processor: Duration,
}

impl Tally {
    /// Notes a fault that happened while something was in `state`.
    pub fn note(&mut self, fault: Fault, state: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
        self.pairs.insert((state, fault));
    }

    /// Faults of all kinds.
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds what happened in one world.
    pub fn add_world(&mut self, world: &Self) {
        let faults = world.faults_total();
        self.add(&Self { faults_min: Some(faults), ..world.clone() });
    }

    /// Adds what happened in others.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        self.pairs.extend(&other.pairs);
        self.worlds += other.worlds;
        self.with_several += other.with_several;
        self.steps += other.steps;
        self.orders += other.orders;
        self.seconds += other.seconds;
        self.processor += other.processor;
        self.faults_min = [self.faults_min, other.faults_min].into_iter().flatten().min();
    }
}
