//! The states of a shipment and of a capture, and which steps between them exist.

/// Where a shipment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ShipmentState {
    /// Acknowledged, but its plan, authorization or account is not known yet. Left when the missing
    /// part arrives, or by refusal after `awaiting_max`.
    Awaiting,
    /// On a single-capture authorization that is still collecting. Left when the set freezes.
    Waiting,
    /// Part of a capture that is not decided yet. Left when the capture is.
    Covered,
    /// Its outcome is known and published. Absorbing.
    Settled,
    /// Refused by our own rules before any call was made for it. Absorbing.
    Refused,
}

impl ShipmentState {
    /// Every state, in the order in which a shipment can go through them.
    pub const ALL: [Self; 5] = [Self::Awaiting, Self::Waiting, Self::Covered, Self::Settled, Self::Refused];

    /// The word in the ledger, listings and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Waiting => "waiting",
            Self::Covered => "covered",
            Self::Settled => "settled",
            Self::Refused => "refused",
        }
    }

    /// Does it wait, for whatever it is, without a capture?
    pub const fn is_waiting(self) -> bool {
        match self {
            Self::Awaiting | Self::Waiting => true,
            Self::Covered | Self::Settled | Self::Refused => false,
        }
    }

    /// Can nothing move it any more, save a replay, which starts a new generation beside it?
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Settled | Self::Refused => true,
            Self::Awaiting | Self::Waiting | Self::Covered => false,
        }
    }

    /// Does a step from `self` to `next` exist?
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Awaiting => !matches!(next, Self::Awaiting),
            Self::Waiting => matches!(next, Self::Covered | Self::Settled | Self::Refused),
            Self::Covered => matches!(next, Self::Settled | Self::Refused),
            Self::Settled | Self::Refused => false,
        }
    }
}

/// Where a capture stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaptureState {
    /// Amount frozen and reserved; no attempt may have been executed.
    Planned,
    /// An attempt was begun and has not been judged. Found at start-up, it is in doubt.
    Sending,
    /// Money may have moved; being found out by reads, and by sending again with the same key.
    InDoubt,
    /// Captured, on the provider's evidence. Absorbing.
    Captured,
    /// Not captured, on evidence. Absorbing.
    Failed,
    /// Closed by an operator without an answer; keeps its reservation. Absorbing.
    Unresolved,
}

impl CaptureState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Planned, Self::Sending, Self::InDoubt, Self::Captured, Self::Failed, Self::Unresolved];

    /// The word in the ledger, listings and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Unresolved => "unresolved",
        }
    }

    /// Can nothing move it any more?
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Captured | Self::Failed | Self::Unresolved => true,
            Self::Planned | Self::Sending | Self::InDoubt => false,
        }
    }

    /// May money be moving for it right now? At most one such capture per authorization.
    pub const fn is_in_flight(self) -> bool {
        match self {
            Self::Sending | Self::InDoubt => true,
            Self::Planned | Self::Captured | Self::Failed | Self::Unresolved => false,
        }
    }

    /// Does a step from `self` to `next` exist?
    ///
    /// Planned to Captured or Failed exists for the read that precedes a single capture: it may show
    /// that the money is already there, or that it never will be.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Planned => matches!(next, Self::Sending | Self::Captured | Self::Failed),
            Self::Sending => !matches!(next, Self::Sending),
            Self::InDoubt => !matches!(next, Self::InDoubt | Self::Planned),
            Self::Captured | Self::Failed | Self::Unresolved => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_states_absorb() {
        for from in CaptureState::ALL {
            for to in CaptureState::ALL {
                assert!(!(from.is_terminal() && from.can_become(to)), "{from:?} to {to:?}");
            }
            let ways_out = CaptureState::ALL.into_iter().filter(|to| from.can_become(*to)).count();
            assert_eq!(ways_out == 0, from.is_terminal(), "{from:?}");
        }
        for from in ShipmentState::ALL {
            let ways_out = ShipmentState::ALL.into_iter().filter(|to| from.can_become(*to)).count();
            assert_eq!(ways_out == 0, from.is_terminal(), "{from:?}");
        }
    }
}
