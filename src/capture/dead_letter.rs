//! What ended without its money: set aside with the reason and, where there is one, the untouched
//! message, until somebody replays or discards it.

use sha2::{Digest, Sha256};

use crate::capture::event::FailureReason;
use crate::capture::notice::RawMessage;
use crate::capture::records::{JobKey, ShipmentKey};
use crate::capture::reject::MESSAGE_REASONS;
use crate::clock::Timestamp;
use crate::ids::{AccountName, DeadLetterId, OrderId, ShipmentId};
use crate::money::Money;

/// How many reasons there are.
const REASONS_COUNT: usize = MESSAGE_REASONS.len() + FailureReason::ALL.len();

/// Every reason for which something is set aside: first those of messages, then those of shipments.
pub const REASONS: [&str; REASONS_COUNT] = reasons();

const fn reasons() -> [&'static str; REASONS_COUNT] {
    let (messages, failures) = (MESSAGE_REASONS, FailureReason::ALL);
    let mut all = [""; REASONS_COUNT];
    let mut next = 0;
    while next < all.len() {
        all[next] = if next < messages.len() { messages[next] } else { failures[next - messages.len()].as_str() };
        next += 1;
    }
    all
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Derived from what it is about: the same one again is seen once more, not kept twice.
    pub id: DeadLetterId,
    /// Why it was set aside, one of [`REASONS`].
    pub reason: &'static str,
    /// Where in the body, for a message that cannot be processed; else empty.
    pub path: String,
    /// What is wrong, in words.
    pub message: String,
    /// The provider's code, where a provider refused.
    pub provider_code: Option<String>,
    /// What groups it with others of the same cause.
    pub fingerprint: String,
    /// The order, where it could be read.
    pub order: Option<OrderId>,
    /// The shipment's id, where it could be read.
    pub shipment: Option<ShipmentId>,
    /// The account, where it is known.
    pub account: Option<AccountName>,
    /// The shipment's row, where it became one.
    pub shipment_key: Option<ShipmentKey>,
    /// The number of the fee in its order, where it is about what an order owes beyond its shipments'
    /// amounts.
    pub fee: Option<u32>,
    /// The generation that ended so; 0 for a message.
    pub generation: u32,
    /// What was not captured, where it was worked out.
    pub amount: Option<Money>,
    /// When it was first seen.
    pub first_seen_at: Timestamp,
    /// When it was last seen.
    pub last_seen_at: Timestamp,
    /// How often it was seen.
    pub count: u32,
    /// What is to become of it.
    pub state: DeadLetterState,
    /// The replay that has taken it, or took it last.
    pub job: Option<JobKey>,
    /// The message as it came, where one is kept and was asked for.
    pub raw: Option<RawMessage>,
}

impl DeadLetter {
    /// Is it about a message, rather than about a shipment or a fee?
    pub const fn is_of_message(&self) -> bool {
        self.shipment_key.is_none() && self.fee.is_none()
    }

    /// Is the kept message only the head of a larger one? The id of a message's dead letter is derived
    /// from the whole.
    pub fn is_cut(&self) -> bool {
        let whole = |raw: &RawMessage| DeadLetterId::of_message(self.reason, &sha256(&raw.body)) == self.id;
        self.is_of_message() && self.raw.as_ref().is_some_and(|raw| !whole(raw))
    }
}

/// What is to become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterState {
    /// Nobody has dealt with it.
    Open,
    /// A replay has taken it, and has not come to it yet.
    Replaying,
    /// It was replayed. What came of that is told of the shipment; should it fail again, that is a dead
    /// letter of its own.
    Replayed,
    /// Somebody decided that it may be forgotten.
    Discarded,
}

impl DeadLetterState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Replaying, Self::Replayed, Self::Discarded];

    /// The word in the ledger and in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replaying => "replaying",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

/// The body's SHA-256, which names a message that never became a shipment.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Groups dead letters of one cause: reason, code and path, and the message with its digits taken
/// out, so that two amounts do not make two causes.
pub fn fingerprint(reason: &str, code: Option<&str>, path: &str, message: &str) -> String {
    let shape = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let mut hash = Sha256::new();
    for part in [reason, code.unwrap_or_default(), &shape(path), &shape(message)] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let head = digest.iter().take(6).fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
    format!("{head:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::records::ShipmentKey;
    use crate::capture::tests::support::*;

    #[test]
    fn every_reason_is_of_a_message_or_of_a_shipment() {
        assert_eq!(REASONS[..5], ["undecodable", "invalid", "unauthenticated", "conflict", "delivery_limit"]);
        assert_eq!(REASONS[5..], FailureReason::ALL.map(FailureReason::as_str));
    }

    #[test]
    fn one_cause_has_one_fingerprint_whatever_the_amounts() {
        let told = fingerprint("conflict", None, "$.data.plan.lines[0].total", "12.00 GEL are missing");
        assert_eq!(told, "a022384c9bb5", "as ledgers have it");
        assert_eq!(told, fingerprint("conflict", None, "$.data.plan.lines[12].total", "3.50 GEL are missing"));
        for other in [
            fingerprint("invalid", None, "$.data.plan.lines[0].total", "12.00 GEL are missing"),
            fingerprint("conflict", Some("1"), "$.data.plan.lines[0].total", "12.00 GEL are missing"),
            fingerprint("conflict", None, "$.data.plan.total", "12.00 GEL are missing"),
            fingerprint("conflict", None, "$.data.plan.lines[0].total", "12.00 EUR are missing"),
        ] {
            assert_ne!(told, other);
        }
    }

    #[test]
    fn what_is_about_a_shipment_or_a_fee_is_about_no_message() {
        let mut world = World::new();
        world.accept(draft("o", "s1").amount("1.00").on(authorized(OFTEN, "r", 500)));
        world.accept(draft("o", "s1").amount("2.00"));
        let letter = world.ledger.tables().dead_letters.values().next().cloned().expect("a conflict");
        assert!(letter.is_of_message() && !letter.is_cut());
        let of_shipment = DeadLetter { shipment_key: Some(ShipmentKey::new(1)), ..letter.clone() };
        let of_fee = DeadLetter { fee: Some(1), ..letter };
        assert!(!of_shipment.is_of_message() && !of_fee.is_of_message());
    }
}
