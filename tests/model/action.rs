//! What can happen next, and which of it is something that goes wrong.

use holdfast::ids::CaptureId;

use crate::setup::Setup;

/// What happens next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A message is delivered to a free hand.
    Deliver(usize),
    /// A hand does what it has to do next.
    Work(usize),
    /// A hand gives up waiting for an answer.
    GiveUp(usize),
    /// A request that a hand waits for is processed.
    Process(usize, Fate),
    /// A request that nobody waits for is processed.
    Arrive(usize, Fate),
    /// The request that a hand waits for is lost.
    Lose(usize),
    /// One that nobody waits for is.
    LoseFlight(usize),
    /// A read comes to nothing.
    ReadFails(usize),
    /// A free hand begins what is due.
    Begin(usize),
    /// A free hand takes over a capture that another one has begun, dead or alive.
    TakeOver(CaptureId),
    /// An outcome is published.
    Publish(u32),
    /// It is marked as published.
    Mark(u32, i64),
    /// A dead letter is tried again.
    Replay(usize),
    /// A worker is killed.
    Kill(usize),
    /// The hold dies before its time.
    End,
    /// Time passes.
    Pass,
}

/// What becomes of a request that is processed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fate {
    /// Is it declined, where it would succeed?
    pub is_declined: bool,
    /// Does the answer come back?
    pub is_answered: bool,
}

impl Action {
    /// Is it something that goes wrong?
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Process(_, fate) => fate.is_declined || !fate.is_answered,
            // Nobody waits for it: that went wrong before.
            Self::Arrive(_, fate) => fate.is_declined,
            Self::Lose(_) | Self::LoseFlight(_) | Self::ReadFails(_) | Self::Kill(_) | Self::End => true,
            Self::Deliver(_)
            | Self::Work(_)
            | Self::GiveUp(_)
            | Self::Begin(_)
            | Self::TakeOver(_)
            | Self::Publish(_)
            | Self::Mark(..)
            | Self::Replay(_)
            | Self::Pass => false,
        }
    }
}

/// What can become of a request.
pub fn fates(setup: &Setup, may_be_answered: bool) -> impl Iterator<Item = Fate> {
    let declines = if setup.rules.declines { &[false, true][..] } else { &[false] };
    let answers = if may_be_answered { &[true, false][..] } else { &[false] };
    declines.iter().flat_map(move |is_declined| {
        answers.iter().map(move |is_answered| Fate { is_declined: *is_declined, is_answered: *is_answered })
    })
}
