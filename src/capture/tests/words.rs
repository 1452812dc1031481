//! The words that ledgers, events and listings have for what the core knows: whoever reads them goes by them.

use crate::capture::books::{MovementKind, OutcomeOf};
use crate::capture::evidence::RefusalReason;
use crate::capture::policy::OnExpiry;
use crate::capture::records::{AmountMode, CaptureKey, ShipmentKey};
use crate::capture::states::ShipmentState;
use crate::capture::tests::support::*;
use crate::money::parse_plain_decimal;

#[test]
fn every_word_is_the_one_that_is_documented() {
    let movements = [MovementKind::Reserve, MovementKind::Release, MovementKind::Capture, MovementKind::Correct];
    assert_eq!(movements.map(MovementKind::as_str), ["reserve", "release", "capture", "correct"]);
    assert_eq!([AmountMode::Planned, AmountMode::Explicit].map(AmountMode::as_str), ["planned", "explicit"]);
    assert_eq!([OnExpiry::Void, OnExpiry::MayCaptureInFull].map(OnExpiry::as_str), ["void", "may_capture_in_full"]);
    let refusals = [
        "declined",
        "insufficient_funds",
        "authorization_expired",
        "authorization_voided",
        "exceeds_authorization",
        "capture_already_used",
        "currency_mismatch",
        "provider_rejected",
    ];
    assert_eq!(RefusalReason::ALL.map(RefusalReason::as_str), refusals);
    assert_eq!(format!("{:?}", gel(1_005)), "10.05 GEL", "in failures of tests and nowhere else");
}

#[test]
fn a_shipment_waits_before_it_is_covered_and_no_longer() {
    let waits = ShipmentState::ALL.map(ShipmentState::is_waiting);
    assert_eq!(waits, [true, true, false, false, false]);
}

#[test]
fn an_outcome_is_told_by_its_row() {
    assert_eq!(OutcomeOf::Shipment(ShipmentKey::new(7)).row(), 7);
    assert_eq!(OutcomeOf::Fee(CaptureKey::new(8)).row(), 8);
}

#[test]
fn twelve_integer_digits_are_read_and_not_one_more() {
    assert!(parse_plain_decimal("123456789012").is_ok());
    assert_eq!(parse_plain_decimal("1234567890123"), Err("has more than 12 integer digits"));
    assert!(parse_plain_decimal("000123456789012.5").is_ok(), "zeros in front are no digits");
}
