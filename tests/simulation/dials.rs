//! How often what is rare happens: in worlds of many orders, and in dense ones of one or two, where several rare
//! things have to meet the same order.

use std::time::Duration;

use crate::fault::Fault;

/// So often: once in so many times.
pub type Odds = (u32, u32);

/// How often what is rare happens.
pub struct Dials {
    /// Steps in which everything may go wrong.
    pub steps: u64,
    /// One step in so many is a rare one.
    pub rare: Odds,
    /// How often the ledger goes back to an earlier copy at most.
    pub restores_max: u32,
    /// How often an operator tries something again at most.
    pub replays_max: u32,
    /// The first messages are published within this span,
    pub published_within: Duration,
    /// and the next shipment leaves within so many seconds.
    pub leaves_within: u64,
    /// What a line of a plan comes to at most, in minor units.
    pub line_max: i64,
    /// Shipments name their amounts.
    pub explicit: Odds,
    /// The last notice says that nothing more ships.
    pub says_final: Odds,
    /// There is a second authorization, where each can be captured several times.
    pub second: Odds,
    /// The first notice alone tells of authorization and plan.
    pub tells_early: Odds,
    /// `order.authorized` tells of them, and no notice of a shipment.
    pub registered: Odds,
    /// Half of the holds are twice as much as the order owes.
    pub has_room: bool,
    /// The plan is revised, and once more.
    pub revised: Odds,
    /// With these numbers, as far as it is.
    pub revisions: &'static [u32],
    /// Something is cancelled.
    pub cancelled: Odds,
    /// A message is published twice,
    pub duplicate: Odds,
    /// contradicted,
    pub conflict: Odds,
    /// or late.
    pub late: Odds,
    /// What happens to a request, where anything does.
    pub of_request: &'static [Fault],
    /// A replay goes before the payer's new agreement.
    pub anew: Odds,
}

/// What happens to requests, each as often as it is here.
const OF_REQUEST: [Fault; 11] = [
    Fault::RequestLost,
    Fault::ResponseLost,
    Fault::ProcessedLate,
    Fault::ProcessedLate,
    Fault::ErrorBeforeWork,
    Fault::ErrorAfterWork,
    Fault::Garbage,
    Fault::UnknownCode,
    Fault::NotExecuted,
    Fault::SoftDecline,
    Fault::Misconfigured,
];

/// Worlds of many orders.
pub const WIDE: Dials = Dials {
    steps: 700,
    rare: (0, 1),
    restores_max: 1,
    replays_max: 60,
    published_within: Duration::from_hours(8),
    leaves_within: 7_200,
    line_max: 9_999,
    explicit: (1, 8),
    says_final: (1, 3),
    second: (1, 8),
    tells_early: (1, 4),
    registered: (1, 4),
    has_room: false,
    revised: (1, 6),
    revisions: &[2],
    cancelled: (1, 6),
    duplicate: (1, 6),
    conflict: (1, 12),
    late: (1, 10),
    of_request: &OF_REQUEST,
    anew: (1, 3),
};

/// Worlds of one or two orders.
pub const DENSE: Dials = Dials {
    steps: 250,
    rare: (1, 6),
    restores_max: 2,
    replays_max: 12,
    published_within: Duration::from_hours(1),
    leaves_within: 1_200,
    line_max: 2_999,
    explicit: (1, 4),
    says_final: (1, 2),
    second: (1, 2),
    tells_early: (1, 2),
    registered: (1, 2),
    has_room: true,
    revised: (1, 3),
    revisions: &[2, 3],
    cancelled: (1, 2),
    duplicate: (1, 4),
    conflict: (1, 24),
    late: (1, 8),
    of_request: &[
        Fault::RequestLost,
        Fault::ResponseLost,
        Fault::ProcessedLate,
        Fault::ErrorAfterWork,
        Fault::NotExecuted,
        Fault::SoftDecline,
        Fault::SoftDecline,
        Fault::SoftDecline,
    ],
    anew: (1, 2),
};
