//! Ends: what is written when a shipment's outcome is known. Balance, movement, event and dead letter
//! belong together and are written together.

use crate::capture::books::{Books, Movement, MovementKind, OutcomeOf};
use crate::capture::cap;
use crate::capture::complete;
use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::capture::decide::Context;
use crate::capture::event::{
    Balance, CaptureKind, Correction, Event, EventContent, Failure, FailureReason, OperatorNote, Outcome, ResolvedBy,
};
use crate::capture::evidence::Refusal;
use crate::capture::fee;
use crate::capture::notice::RawMessage;
use crate::capture::records::{
    Authorization, AuthorizationKey, Capture, CaptureKey, CaptureProgress, NamedBy, OrderKey, ShipmentKey,
};
use crate::capture::restored::republished;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::ids::{CaptureId, DeadLetterId, EventId, ShipmentId};
use crate::money::Money;

pub(super) use crate::capture::subject::{subject, subject_of_authorization, subject_of_capture, subject_of_order};

/// Why a shipment ends without its money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) reason: FailureReason,
    pub(super) provider_code: Option<String>,
    pub(super) message: String,
    pub(super) resolved_by: ResolvedBy,
}

impl Cause {
    pub(super) fn local(reason: FailureReason, message: &str) -> Self {
        Self { reason, provider_code: None, message: message.to_owned(), resolved_by: ResolvedBy::Local }
    }

    /// More was earned than remains.
    pub(super) fn exceeds(earned: Money, remaining: Money) -> Self {
        let message = format!("{earned} was earned, {remaining} remains on the authorization");
        Self::local(FailureReason::ExceedsAuthorization, &message)
    }

    pub(super) fn lookup(reason: FailureReason, message: &str) -> Self {
        Self { reason, provider_code: None, message: message.to_owned(), resolved_by: ResolvedBy::Lookup }
    }

    pub(super) fn refusal(refusal: Refusal, resolved_by: ResolvedBy) -> Self {
        let reason = refusal.reason.as_failure();
        Self { reason, provider_code: refusal.code, message: refusal.message, resolved_by }
    }
}

/// Freezes the intent to capture `amount` for `shipments`, and reserves it.
///
/// The shipments are given in the order of acceptance; the last one names the capture.
pub(super) fn plan_capture(
    books: &mut Books,
    shipments: &[ShipmentKey],
    kind: CaptureKind,
    amount: Money,
    context: Context<'_>,
) -> CaptureKey {
    let last = *shipments.last().expect("a capture covers at least one shipment");
    let shipment = books.shipment(last);
    let intent = Intent {
        id: would_be_id(books, last).expect("bound before it is planned"),
        authorization: shipment.authorization.expect("bound before it is planned"),
        order: shipment.order,
        named_by: NamedBy::Shipment(last),
        kind,
        generation: shipment.generation,
        amount,
    };
    let capture = add_capture(books, intent, context);
    for shipment in shipments {
        books.move_shipment(*shipment, ShipmentState::Covered);
        books.shipment_mut(*shipment).capture = Some(capture);
    }
    capture
}

/// The kind of a capture of what has been earned, where each shipment may be captured by itself.
pub(super) const fn kind_of(shipments: &[ShipmentKey]) -> CaptureKind {
    if shipments.len() == 1 { CaptureKind::Shipment } else { CaptureKind::Batch }
}

/// What never changes about a capture.
pub(super) struct Intent {
    pub(super) id: CaptureId,
    pub(super) authorization: AuthorizationKey,
    pub(super) order: OrderKey,
    pub(super) named_by: NamedBy,
    pub(super) kind: CaptureKind,
    pub(super) generation: u32,
    pub(super) amount: Money,
}

/// Writes an intent and reserves its amount.
pub(super) fn add_capture(books: &mut Books, intent: Intent, context: Context<'_>) -> CaptureKey {
    let Intent { id, authorization, order, named_by, kind, generation, amount } = intent;
    let capture = books.add_capture(|key| Capture {
        key,
        id,
        authorization,
        order,
        named_by,
        kind,
        generation,
        amount,
        state: CaptureState::Planned,
        planned_at: context.now.wall,
        due_at: None,
        waits_turn: false,
        capped: None,
        counted_at: None,
        progress: CaptureProgress::default(),
        resolved_by: None,
        provider_reference: None,
        settled_at: None,
        corrected_at: None,
    });
    books.authorization_mut(authorization).planned += 1;
    books.order_mut(order).open += 1;
    books.add_movement(Movement { authorization, capture, kind: MovementKind::Reserve, amount, at: context.now.wall });
    capture
}

/// A shipment that owes nothing has succeeded: no call is made.
pub(super) fn succeed_zero(books: &mut Books, shipment: ShipmentKey, context: Context<'_>) {
    books.move_shipment(shipment, ShipmentState::Settled);
    let outcome = outcome_of(books, shipment, ResolvedBy::Local);
    announce_outcome(books, shipment, EventContent::Succeeded(Box::new(outcome)), context);
    books.shipment_mut(shipment).message = None;
}

/// Refuses a shipment by our own rules, or by what a read before any call has shown.
pub(super) fn refuse(books: &mut Books, shipment: ShipmentKey, cause: &Cause, context: Context<'_>) {
    books.move_shipment(shipment, ShipmentState::Refused);
    end_without_money(books, shipment, cause, context);
}

/// The capture was captured: reserved money becomes captured money, each shipment has its event.
pub(super) fn captured(
    books: &mut Books,
    capture: CaptureKey,
    resolved_by: ResolvedBy,
    provider_reference: Option<String>,
    context: Context<'_>,
) {
    books.move_capture(capture, CaptureState::Captured);
    cap::count(books, capture, context);
    close(books, capture, resolved_by, context);
    books.capture_mut(capture).provider_reference = provider_reference;
    move_money(books, capture, MovementKind::Capture, context);
    for shipment in books.covered_by(capture) {
        books.move_shipment(shipment, ShipmentState::Settled);
        let outcome = outcome_of(books, shipment, resolved_by);
        announce_outcome(books, shipment, EventContent::Succeeded(Box::new(outcome)), context);
        books.shipment_mut(shipment).message = None;
    }
    fee::captured(books, capture, resolved_by, context);
    complete::call_for_refund(books, books.capture(capture).order, None, context);
}

/// The capture was not captured, on evidence: its reservation is released, each shipment has its
/// event and its dead letter.
pub(super) fn failed(books: &mut Books, capture: CaptureKey, cause: &Cause, context: Context<'_>) {
    books.move_capture(capture, CaptureState::Failed);
    close(books, capture, cause.resolved_by, context);
    move_money(books, capture, MovementKind::Release, context);
    for shipment in books.covered_by(capture) {
        books.move_shipment(shipment, ShipmentState::Settled);
        end_without_money(books, shipment, cause, context);
    }
    fee::failed(books, capture, cause, context);
    complete::call_for_refund(books, books.capture(capture).order, None, context);
}

/// An operator has closed it without an answer: its reservation stays, and nothing is left to be replayed.
pub(super) fn unresolved(books: &mut Books, capture: CaptureKey, by: OperatorNote, context: Context<'_>) {
    books.move_capture(capture, CaptureState::Unresolved);
    close(books, capture, ResolvedBy::Operator, context);
    for shipment in books.covered_by(capture) {
        books.move_shipment(shipment, ShipmentState::Settled);
        let outcome = outcome_of(books, shipment, ResolvedBy::Operator);
        announce_outcome(books, shipment, EventContent::Unresolved(Box::new(outcome), by.clone()), context);
        books.shipment_mut(shipment).message = None;
    }
    fee::unresolved(books, capture, by, context);
    complete::call_for_refund(books, books.capture(capture).order, None, context);
}

/// Positive evidence after a terminal outcome: booked, and said aloud.
pub(super) fn corrected(
    books: &mut Books,
    capture: CaptureKey,
    resolved_by: ResolvedBy,
    provider_reference: Option<String>,
    context: Context<'_>,
) {
    let record = books.capture_mut(capture);
    let was = record.state;
    record.corrected_at = Some(context.now.wall);
    record.provider_reference = provider_reference;
    let authorization = record.authorization;
    cap::count(books, capture, context);
    let kind = match was {
        CaptureState::Unresolved => {
            books.authorization_mut(authorization).unresolved -= 1;
            MovementKind::Capture
        }
        CaptureState::Planned
        | CaptureState::Sending
        | CaptureState::InDoubt
        | CaptureState::Captured
        | CaptureState::Failed => MovementKind::Correct,
    };
    move_money(books, capture, kind, context);
    let shipments = books.shipments_of(capture);
    if shipments.is_empty()
        && let Some(shipment) = books.capture(capture).shipment()
    {
        announce_former(books, capture, shipment, was, resolved_by, context);
    }
    for shipment in shipments {
        let outcome = outcome_of(books, shipment, resolved_by);
        let correction = Correction { was: was.as_str(), now: CaptureState::Captured.as_str() };
        let content = EventContent::Corrected(Box::new(outcome), correction);
        announce_about(books, shipment, content, None, context);
    }
    fee::corrected(books, capture, was, resolved_by, context);
    complete::call_for_refund(books, books.capture(capture).order, None, context);
}

/// The shipments of the capture have been replayed meanwhile: what is corrected is the outcome of an
/// earlier generation, told of the shipment that the capture is named after.
fn announce_former(
    books: &mut Books,
    capture: CaptureKey,
    shipment: ShipmentKey,
    was: CaptureState,
    resolved_by: ResolvedBy,
    context: Context<'_>,
) {
    let now = outcome_of(books, shipment, resolved_by);
    let record = books.capture(capture);
    let authorization = books.authorization(record.authorization);
    let outcome = Outcome {
        capture: Some(record.id),
        kind: record.kind,
        generation: record.generation,
        authorization: Some((authorization.account.clone(), authorization.reference.clone())),
        capture_amount: Some(record.amount),
        capture_shipments: now.shipment.iter().cloned().collect(),
        balance: Some(balance_of(authorization)),
        authorization_expires_at: authorization.expires_at,
        attempts: record.progress.attempts,
        provider_reference: record.provider_reference.clone(),
        ..now
    };
    let correction = Correction { was: was.as_str(), now: CaptureState::Captured.as_str() };
    let generation = outcome.generation;
    let content = EventContent::Corrected(Box::new(outcome), correction);
    let record = books.shipment(shipment);
    let id = EventId::of_shipment(content.kind(), &books.order(record.order).id, &record.id, generation);
    books.announce(Event { id, time: context.now.wall, traceparent: None, content }, None);
}

fn close(books: &mut Books, capture: CaptureKey, resolved_by: ResolvedBy, context: Context<'_>) {
    let record = books.capture_mut(capture);
    record.due_at = None;
    record.resolved_by = Some(resolved_by);
    record.settled_at = Some(context.now.wall);
}

fn move_money(books: &mut Books, capture: CaptureKey, kind: MovementKind, context: Context<'_>) {
    let record = books.capture(capture);
    let (order, authorization, amount) = (record.order, record.authorization, record.amount);
    match kind {
        MovementKind::Capture | MovementKind::Correct => books.order_mut(order).captured += amount.minor(),
        MovementKind::Reserve | MovementKind::Release => {}
    }
    books.add_movement(Movement { authorization, capture, kind, amount, at: context.now.wall });
}

fn end_without_money(books: &mut Books, shipment: ShipmentKey, cause: &Cause, context: Context<'_>) {
    let raw = books.shipment_mut(shipment).message.take();
    let traceparent = raw.as_ref().and_then(|raw| raw.traceparent.clone());
    books.shipment_mut(shipment).reason = Some(cause.reason);
    let outcome = outcome_of(books, shipment, cause.resolved_by);
    let id = DeadLetterId::of_shipment(&outcome.order, &books.shipment(shipment).id, outcome.generation);
    let failure = set_aside(books, &outcome, cause, SetAside { id, shipment: Some(shipment), fee: None, raw }, context);
    let content = EventContent::Failed(Box::new(outcome), failure);
    let generation = books.shipment(shipment).generation;
    announce_with_trace(
        books,
        shipment,
        content,
        Some((OutcomeOf::Shipment(shipment), generation)),
        traceparent,
        context,
    );
}

/// What is kept of what ended without its money.
pub(super) struct SetAside {
    pub(super) id: DeadLetterId,
    pub(super) shipment: Option<ShipmentKey>,
    pub(super) fee: Option<u32>,
    pub(super) raw: Option<RawMessage>,
}

/// Writes the dead letter of what ended without its money, and says what its event says of it.
pub(super) fn set_aside(
    books: &mut Books,
    outcome: &Outcome,
    cause: &Cause,
    what: SetAside,
    context: Context<'_>,
) -> Failure {
    let reason = cause.reason.as_str();
    let code = cause.provider_code.as_deref();
    let authorization =
        outcome.authorization.as_ref().and_then(|(account, name)| books.authorization_key(account, name));
    let (order, is_ours) = (books.order_key(&outcome.order), cause.resolved_by == ResolvedBy::Local);
    let is_unsure = republished::may_have_captured(books, order, authorization, is_ours, context);
    books.add_dead_letter(DeadLetter {
        id: what.id,
        reason,
        path: String::new(),
        message: cause.message.clone(),
        provider_code: cause.provider_code.clone(),
        fingerprint: dead_letter::fingerprint(reason, code, "", &cause.message),
        order: Some(outcome.order.clone()),
        shipment: outcome.shipment.clone(),
        account: outcome.authorization.as_ref().map(|(account, _)| account.clone()),
        shipment_key: what.shipment,
        fee: what.fee,
        generation: outcome.generation,
        amount: outcome.amount,
        first_seen_at: context.now.wall,
        last_seen_at: context.now.wall,
        count: 1,
        state: DeadLetterState::Open,
        job: None,
        raw: what.raw,
    });
    Failure {
        reason: cause.reason,
        provider_code: cause.provider_code.clone(),
        message: cause.message.clone(),
        retryable: cause.reason.is_retryable(),
        money_may_have_moved: cause.reason == FailureReason::CapturedElsewhere || is_unsure,
        next_action: cause.reason.next_action(),
        dead_letter: what.id,
    }
}

fn announce_outcome(books: &mut Books, shipment: ShipmentKey, content: EventContent, context: Context<'_>) {
    let generation = books.shipment(shipment).generation;
    announce_about(books, shipment, content, Some((OutcomeOf::Shipment(shipment), generation)), context);
}

/// Writes an event about a shipment to the outbox, under its deterministic id.
pub(super) fn announce_about(
    books: &mut Books,
    shipment: ShipmentKey,
    content: EventContent,
    outcome_of: Option<(OutcomeOf, u32)>,
    context: Context<'_>,
) {
    let traceparent = books.shipment(shipment).message.as_ref().and_then(|raw| raw.traceparent.clone());
    announce_with_trace(books, shipment, content, outcome_of, traceparent, context);
}

fn announce_with_trace(
    books: &mut Books,
    shipment: ShipmentKey,
    content: EventContent,
    outcome_of: Option<(OutcomeOf, u32)>,
    traceparent: Option<String>,
    context: Context<'_>,
) {
    let record = books.shipment(shipment);
    let order = &books.order(record.order).id;
    let id = EventId::of_shipment(content.kind(), order, &record.id, record.generation);
    books.announce(Event { id, time: context.now.wall, traceparent, content }, outcome_of);
}

/// The fields that every outcome of a shipment carries, as the books stand now.
fn outcome_of(books: &mut Books, shipment: ShipmentKey, resolved_by: ResolvedBy) -> Outcome {
    let sequence = books.next_sequence(books.shipment(shipment).order);
    let record = books.shipment(shipment);
    let capture = record.capture.map(|key| books.capture(key));
    let authorization = record.authorization.map(|key| books.authorization(key));
    let is_zero = record.amount.is_some_and(Money::is_zero);
    Outcome {
        order: books.order(record.order).id.clone(),
        shipment: Some(record.id.clone()),
        capture: capture.map(|capture| capture.id).or_else(|| would_be_id(books, shipment)),
        kind: capture.map_or(if is_zero { CaptureKind::Zero } else { CaptureKind::Shipment }, |c| c.kind),
        generation: record.generation,
        authorization: authorization.map(|a| (a.account.clone(), a.reference.clone())),
        amount: record.amount,
        capture_amount: capture.map(|capture| capture.amount).or(record.amount),
        capture_shipments: capture.map_or_else(|| vec![record.id.clone()], |c| shipment_ids(books, c.key)),
        balance: authorization.map(balance_of),
        authorization_expires_at: authorization.and_then(|a| a.expires_at),
        attempts: capture.map_or(0, |capture| capture.progress.attempts),
        resolved_by,
        provider_reference: capture.and_then(|capture| capture.provider_reference.clone()),
        caused_by: Some(record.caused_by.clone()),
        sequence,
    }
}

/// An authorization's balance as the books stand now.
pub(super) fn balance_of(record: &Authorization) -> Balance {
    Balance {
        authorized: record.authorized,
        captured: record.captured,
        remaining: record.remaining(),
        earned_uncaptured: record.earned_uncaptured(),
    }
}

fn shipment_ids(books: &Books, capture: CaptureKey) -> Vec<ShipmentId> {
    books.shipments_of(capture).into_iter().map(|key| books.shipment(key).id.clone()).collect()
}

/// The id of the capture that would have this shipment as its last one.
pub(super) fn would_be_id(books: &Books, shipment: ShipmentKey) -> Option<CaptureId> {
    let record = books.shipment(shipment);
    record.authorization.map(|authorization| id_in(books, shipment, authorization, record.generation))
}

/// The same in another generation, on this authorization.
pub(super) fn id_in(
    books: &Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    generation: u32,
) -> CaptureId {
    let (record, authorization) = (books.shipment(shipment), books.authorization(authorization));
    let order = &books.order(record.order).id;
    CaptureId::of_shipment(&authorization.account, &authorization.reference, order, &record.id, generation)
}
