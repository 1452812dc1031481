//! The words that ledgers, events and listings have for what the core knows: whoever reads them goes by them.

use crate::capture::books::{MovementKind, OutcomeOf};
use crate::capture::dead_letter::DeadLetterState;
use crate::capture::decide::Due;
use crate::capture::event::{CaptureKind, Ending, FailureReason, NextAction, ResolvedBy};
use crate::capture::evidence::{DoubtKind, RefusalReason};
use crate::capture::notice::{Quantity, RejectionReason};
use crate::capture::policy::OnExpiry;
use crate::capture::records::{
    AmountMode, AuthorizationKey, Capped, CaptureKey, CaptureProgress, ForeignStanding, KeptKey, OrderKey, ShipmentKey,
    SingleUse,
};
use crate::capture::replay::WhyNotKind;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::tests::support::*;
use crate::capture::why::{LeftOpen, Missing, Since};
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
fn the_words_of_what_happens_to_shipments_and_captures_are_those_that_are_documented() {
    let shipments = ["awaiting", "waiting", "covered", "settled", "refused"];
    assert_eq!(ShipmentState::ALL.map(ShipmentState::as_str), shipments);
    let captures = ["planned", "sending", "in_doubt", "captured", "failed", "unresolved"];
    assert_eq!(CaptureState::ALL.map(CaptureState::as_str), captures);
    let kinds = [CaptureKind::Shipment, CaptureKind::Batch, CaptureKind::Deadline, CaptureKind::Fee, CaptureKind::Zero];
    assert_eq!(kinds.map(CaptureKind::as_str), ["shipment", "batch", "deadline", "fee", "zero"]);
    let by = [ResolvedBy::Response, ResolvedBy::Lookup, ResolvedBy::Local, ResolvedBy::Operator];
    assert_eq!(by.map(ResolvedBy::as_str), ["response", "lookup", "local", "operator"]);
    let actions = [NextAction::Replay, NextAction::Reauthorize, NextAction::Review, NextAction::None];
    assert_eq!(actions.map(NextAction::as_str), ["replay", "reauthorize", "review", "none"]);
    let endings = [Ending::Expired, Ending::Voided, Ending::Declined, Ending::Captured];
    assert_eq!(endings.map(Ending::as_str), ["expired", "voided", "declined", "captured"]);
    let uses = [SingleUse::Free, SingleUse::Undecided, SingleUse::Used];
    assert_eq!(uses.map(SingleUse::as_str), ["free", "undecided", "used"]);
    assert_eq!(Capped::ALL.map(Capped::as_str), ["capture", "hour", "day", "currency", "released"]);
    assert_eq!(ForeignStanding::ALL.map(ForeignStanding::as_str), ["suspected", "seen", "halted", "let_be"]);
}

#[test]
fn the_words_that_say_why_something_waits_are_those_that_are_documented() {
    let doubts =
        [DoubtKind::Timeout, DoubtKind::ConnectionLost, DoubtKind::HttpStatus, DoubtKind::Unreadable, DoubtKind::Coded];
    assert_eq!(doubts.map(DoubtKind::as_str), ["timeout", "connection_lost", "http_status", "unreadable", "coded"]);
    let left_open = [
        "no_answer",
        "connection_lost",
        "http_status",
        "unreadable",
        "ambiguous",
        "interrupted",
        "pending",
        "refused",
        "misconfigured",
    ];
    assert_eq!(LeftOpen::ALL.map(LeftOpen::as_str), left_open);
    assert_eq!(doubts.map(LeftOpen::from).map(LeftOpen::as_str), left_open[..5], "each doubt has a word of its own");
    let since = [
        "not_executed",
        "parked",
        "look_failed",
        "still_pending",
        "over_once",
        "other_amount",
        "other_currency",
        "nothing_yet",
        "refused_nothing_yet",
        "balance_differs",
        "others_under_way",
        "halted",
    ];
    assert_eq!(Since::ALL.map(Since::as_str), since);
    assert_eq!(Missing::ALL.map(Missing::as_str), ["authorization", "plan", "account", "reading", "republication"]);
}

#[test]
fn what_never_became_known_ends_a_shipment_and_any_other_notice_in_the_same_words() {
    let words = Missing::ALL.map(|missing| (missing.as_failure().as_str(), missing.as_rejection().as_str()));
    let same = |word: &'static str| (word, word);
    let authorization = "unknown_authorization";
    let expected = [authorization, "unknown_plan", "unknown_account", authorization, authorization];
    assert_eq!(words, expected.map(same));
}

#[test]
fn the_words_of_dead_letters_and_their_replays_are_those_that_are_documented() {
    let states =
        [DeadLetterState::Open, DeadLetterState::Replaying, DeadLetterState::Replayed, DeadLetterState::Discarded];
    assert_eq!(states.map(DeadLetterState::as_str), ["open", "replaying", "replayed", "discarded"]);
    let rejections = [
        "undecodable",
        "invalid",
        "unauthenticated",
        "conflict",
        "unknown_authorization",
        "unknown_plan",
        "unknown_account",
    ];
    assert_eq!(RejectionReason::ALL.map(RejectionReason::as_str), rejections);
    let why_not = [
        (WhyNotKind::Discarded, "discarded"),
        (WhyNotKind::AlreadyReplayed, "already_replayed"),
        (WhyNotKind::InAnotherReplay, "in_another_replay"),
        (WhyNotKind::Captured, "captured"),
        (WhyNotKind::CapturedElsewhere, "captured_elsewhere"),
        (WhyNotKind::Unresolved, "unresolved"),
        (WhyNotKind::Unknown, "unknown"),
        (WhyNotKind::MessageLost, "message_lost"),
        (WhyNotKind::StillRejected, "still_rejected"),
        (WhyNotKind::StillUnknown, "still_unknown"),
        (WhyNotKind::StillRefused, "still_refused"),
        (WhyNotKind::NoOpenAuthorization, "no_open_authorization"),
        (WhyNotKind::EndUnknown, "end_unknown"),
        (WhyNotKind::CaptureUnderWay, "capture_under_way"),
        (WhyNotKind::ExceedsAuthorization, "exceeds_authorization"),
        (WhyNotKind::CurrencyMismatch, "currency_mismatch"),
        (WhyNotKind::BelowMinimum, "below_minimum"),
        (WhyNotKind::OthersLeftOut, "others_left_out"),
        (WhyNotKind::BatchDiscarded, "batch_discarded"),
    ];
    for (kind, word) in why_not {
        assert_eq!(kind.as_str(), word);
    }
}

#[test]
fn what_can_still_be_captured_is_worth_a_replay() {
    let retryable = [
        "declined",
        "insufficient_funds",
        "authorization_expired",
        "authorization_voided",
        "exceeds_authorization",
        "unknown_authorization",
        "unknown_plan",
        "unknown_account",
        "provider_rejected",
    ];
    let expected = FailureReason::ALL.into_iter().filter(|reason| reason.is_retryable()).map(FailureReason::as_str);
    assert_eq!(expected.collect::<Vec<_>>(), retryable);
}

#[test]
fn an_attempt_leaves_a_capture_open_and_forgets_what_came_of_the_one_before() {
    let pending = CaptureProgress::default().left_open(LeftOpen::Pending).then(Since::LookFailed);
    assert_eq!((pending.left_open, pending.since), (Some(LeftOpen::Pending), Some(Since::LookFailed)));
    let again = pending.left_open(LeftOpen::Refused);
    assert_eq!((again.left_open, again.since), (Some(LeftOpen::Refused), None));
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
fn what_is_due_is_told_by_the_row_of_what_it_is_about() {
    let due = [
        Due::Capture(CaptureKey::new(1)),
        Due::Authorization(AuthorizationKey::new(2)),
        Due::Ask(AuthorizationKey::new(3)),
        Due::Warning(AuthorizationKey::new(4)),
        Due::Shipment(ShipmentKey::new(5)),
        Due::Kept(KeptKey::new(6)),
        Due::Order(OrderKey::new(7)),
    ];
    assert_eq!(due.map(Due::row), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_quantity_has_six_decimals_and_a_thousand_million_units_at_most() {
    let read = |text: &str| Quantity::from_decimal(text.parse().expect("a decimal")).map(Quantity::millionths);
    assert_eq!(read("0.000001"), Ok(1));
    assert_eq!(read("1.5000000"), Ok(1_500_000), "zeros behind are no decimals");
    assert_eq!(read("1000000000"), Ok(1_000_000_000_000_000));
    assert_eq!(read("0.0000001"), Err("has more than 6 decimals"));
    assert_eq!(read("1000000000.000001"), Err("is more than 1000000000 units"));
    assert_eq!(read("-0.000001"), Err("is negative"));
}

#[test]
fn of_a_quantity_no_less_than_nothing_is_left() {
    let (two, five) = (Quantity::units(2), Quantity::units(5));
    assert_eq!(
        (five.minus(two), two.minus(five), two.minus(two)),
        (Quantity::units(3), Quantity::ZERO, Quantity::ZERO)
    );
    assert_eq!(format!("{two:?}"), "2", "in failures of tests, and in what makes two messages the same there");
}

#[test]
fn twelve_integer_digits_are_read_and_not_one_more() {
    assert!(parse_plain_decimal("123456789012").is_ok());
    assert_eq!(parse_plain_decimal("1234567890123"), Err("has more than 12 integer digits"));
    assert!(parse_plain_decimal("000123456789012.5").is_ok(), "zeros in front are no digits");
    assert!(parse_plain_decimal("0.123456789012").is_ok());
    assert_eq!(parse_plain_decimal("0.1234567890120"), Err("has too many decimals"));
}
