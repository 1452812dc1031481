//! What an order owes beyond its shipments' amounts: a cancellation, a revision or the end of the grace
//! can leave a complete order above the sum of what its shipments were given. Where an authorization
//! can be captured several times, the difference gets a capture of its own, and its own event.
//!
//! Such a capture has no shipment. It is sent, looked at and judged like any other; here is only how it
//! begins and what its end says.

use crate::capture::amount::{self, Rules};
use crate::capture::books::{Books, OutcomeOf};
use crate::capture::collect;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::{
    CaptureKind, Correction, Event, EventContent, FailureReason, OperatorNote, Outcome, ResolvedBy,
};
use crate::capture::evidence::SeenCapture;
use crate::capture::foreign;
use crate::capture::outcome::{self, Cause, Intent, SetAside};
use crate::capture::policy::Captures;
use crate::capture::records::{AmountMode, AuthorizationKey, Capture, CaptureKey, Fee, NamedBy, OrderKey};
use crate::capture::restored::{self, found, republished};
use crate::capture::states::CaptureState;
use crate::clock;
use crate::ids::{CaptureId, DeadLetterId, EventId};
use crate::money::Money;

/// Takes what a complete order owes beyond what its shipments were given, where its newest
/// authorization can be captured several times. Elsewhere the one capture has it, or had.
pub(super) fn take(books: &mut Books, order: OrderKey, caused_by: Option<&str>, context: Context<'_>) -> Reply {
    let nothing = Reply::nothing(Note::Nothing);
    let record = books.order(order);
    let is_owing = record.mode == Some(AmountMode::Planned) && record.is_complete();
    let Some(authorization) = record.newest_authorization.filter(|_| is_owing) else { return nothing };
    let rules = Rules::on(books, authorization, context);
    let Some(amount) = amount::owed(record, rules) else { return nothing };
    let newest = books.authorization(authorization);
    let account = context.policy.accounts.get(&newest.account).filter(|_| newest.is_amount_known);
    match account.map(|account| account.captures) {
        Some(Captures::Single) => return nothing,
        Some(Captures::Multiple)
            if !restored::is_unread(newest) && !republished::may_be_on_unread(books, order, context) => {}
        Some(Captures::Multiple) | None => {
            let again = clock::after(context.now.wall, context.policy.awaiting_check);
            books.order_mut(order).closes_at = Some(again);
            return nothing;
        }
    }
    let number = books.order(order).fees + 1;
    let before = captured_on(books, order, number, 0);
    let earned =
        Money::from_minor(books.order(order).stored + amount.minor(), amount.currency()).expect("not negative");
    let left = found::left_for_fee(books, order, earned);
    let left = left.filter(|left| before.is_none() && left.minor() < amount.minor());
    if let Some(left) = left
        && (left.is_zero() || republished::may_come_again(books, authorization, context))
    {
        // Others of the order, which have not come again, were captured for a part of it.
        let until = [republished::comes_again_until(books), collect::deadline(books, authorization, context)];
        let until = until.into_iter().flatten().filter(|at| *at > context.now.wall).min();
        books.order_mut(order).closes_at = until;
        return nothing;
    }
    let amount = left.unwrap_or(amount);
    let record = books.order_mut(order);
    record.fees = number;
    record.stored += amount.minor();
    let fee = Owed {
        order,
        authorization: before.unwrap_or(authorization),
        fee: Fee { number, caused_by: caused_by.map(ToOwned::to_owned) },
        amount,
        generation: 0,
    };
    if let Some((generation, seen)) = fee.captured_before(books) {
        let reply = claim(books, Owed { generation, ..fee }, seen, context).1;
        // More may be owed since.
        let rest = take(books, order, caused_by, context);
        return Reply { ready: reply.ready.or(rest.ready), ..reply };
    }
    match fee.obstacle(books, rules, context) {
        Some(cause) => refuse(books, &fee, &cause, context),
        None => plan(books, fee, context),
    }
}

/// A fee, whether it comes to a capture or not.
struct Owed {
    order: OrderKey,
    authorization: AuthorizationKey,
    fee: Fee,
    amount: Money,
    generation: u32,
}

impl Owed {
    fn of_capture(books: &Books, capture: CaptureKey) -> Option<Self> {
        let record = books.capture(capture);
        let NamedBy::Fee(fee) = &record.named_by else { return None };
        let (order, authorization, generation) = (record.order, record.authorization, record.generation);
        Some(Self { order, authorization, fee: fee.clone(), amount: record.amount, generation })
    }

    fn id(&self, books: &Books) -> CaptureId {
        self.id_in(books, self.generation)
    }

    fn id_in(&self, books: &Books, generation: u32) -> CaptureId {
        id_on(books, self.authorization, self.order, self.fee.number, generation)
    }

    /// The generation in which it was captured, in the time that a restore from a backup has lost.
    fn captured_before(&self, books: &Books) -> Option<(u32, SeenCapture)> {
        found::find_generation(books, self.authorization, self.generation, |number| self.id_in(books, number))
    }

    /// Why it cannot be captured.
    fn obstacle(&self, books: &Books, rules: Rules, context: Context<'_>) -> Option<Cause> {
        let record = books.authorization(self.authorization);
        let (amount, remaining) = (self.amount, foreign::room(record, context));
        match amount.fits(remaining) {
            Ok(true) if rules.is_too_little(amount) => Some(rules.too_little(amount)),
            Ok(true) => None,
            Ok(false) => Some(Cause::exceeds(amount, remaining)),
            Err(_) => {
                let message = format!("the plan is in {}, the authorization in {}", amount.currency(), record.currency);
                Some(Cause::local(FailureReason::CurrencyMismatch, &message))
            }
        }
    }

    /// What its event carries, as the books stand now.
    fn outcome(&self, books: &mut Books, capture: Option<CaptureKey>, resolved_by: ResolvedBy) -> Outcome {
        let sequence = books.next_sequence(self.order);
        let record = books.authorization(self.authorization);
        let capture = capture.map(|key| books.capture(key));
        Outcome {
            order: books.order(self.order).id.clone(),
            shipment: None,
            capture: Some(self.id(books)),
            kind: CaptureKind::Fee,
            generation: self.generation,
            authorization: Some((record.account.clone(), record.reference.clone())),
            amount: Some(self.amount),
            capture_amount: Some(self.amount),
            capture_shipments: Vec::new(),
            balance: Some(outcome::balance_of(record)),
            authorization_expires_at: record.expires_at,
            attempts: capture.map_or(0, |capture| capture.progress.attempts),
            resolved_by,
            provider_reference: capture.and_then(|capture| capture.provider_reference.clone()),
            caused_by: self.fee.caused_by.clone(),
            sequence,
        }
    }

    fn announce(&self, books: &mut Books, content: EventContent, outcome_of: Option<CaptureKey>, context: Context<'_>) {
        let order = &books.order(self.order).id;
        let id = EventId::of_fee(content.kind(), order, self.fee.number, self.generation);
        let outcome_of = outcome_of.map(|capture| (OutcomeOf::Fee(capture), self.generation));
        books.announce(Event { id, time: context.now.wall, traceparent: None, content }, outcome_of);
    }

    fn end_without_money(&self, books: &mut Books, capture: Option<CaptureKey>, cause: &Cause, context: Context<'_>) {
        let outcome = self.outcome(books, capture, cause.resolved_by);
        let id = DeadLetterId::of_fee(&outcome.order, self.fee.number, self.generation);
        let what = SetAside { id, shipment: None, fee: Some(self.fee.number), raw: None };
        let failure = outcome::set_aside(books, &outcome, cause, what, context);
        self.announce(books, EventContent::Failed(Box::new(outcome), failure), capture, context);
    }
}

/// The authorization of the order on which the fee was captured in the lost time, in this generation or a later one.
pub(super) fn captured_on(books: &Books, order: OrderKey, number: u32, generation: u32) -> Option<AuthorizationKey> {
    found::on_any(books, order, generation, |authorization, generation| {
        id_on(books, authorization, order, number, generation)
    })
}

fn id_on(books: &Books, authorization: AuthorizationKey, order: OrderKey, number: u32, generation: u32) -> CaptureId {
    let record = books.authorization(authorization);
    CaptureId::of_fee(&record.account, &record.reference, &books.order(order).id, number, generation)
}

/// It was captured in the time that a restore from a backup has lost: booked with that amount.
fn claim(books: &mut Books, owed: Owed, seen: SeenCapture, context: Context<'_>) -> (CaptureKey, Reply) {
    books.order_mut(owed.order).stored += seen.amount.minor() - owed.amount.minor();
    let capture = add_capture(books, Owed { amount: seen.amount, ..owed }, context);
    let subject = outcome::subject_of_capture(books, capture);
    (capture, found::settle(books, capture, seen, context).about(subject))
}

/// A fee that ended without its money, in its next generation.
pub(super) struct FeeAgain {
    pub(super) order: OrderKey,
    pub(super) number: u32,
    pub(super) caused_by: Option<String>,
    pub(super) amount: Money,
    pub(super) generation: u32,
}

impl FeeAgain {
    /// The incoming event that brought a fee's capture.
    pub(super) fn caused_by(capture: &Capture) -> Option<String> {
        match &capture.named_by {
            NamedBy::Fee(fee) => fee.caused_by.clone(),
            NamedBy::Shipment(_) => None,
        }
    }
}

/// Plans a fee again, on an authorization that has room for it.
pub(super) fn replay(
    books: &mut Books,
    authorization: AuthorizationKey,
    again: FeeAgain,
    context: Context<'_>,
) -> (CaptureKey, Reply) {
    let FeeAgain { order, number, caused_by, amount, generation } = again;
    let owed = Owed { order, authorization, fee: Fee { number, caused_by }, amount, generation };
    match owed.captured_before(books) {
        Some((generation, seen)) => claim(books, Owed { generation, ..owed }, seen, context),
        None => add(books, owed, context),
    }
}

fn plan(books: &mut Books, owed: Owed, context: Context<'_>) -> Reply {
    add(books, owed, context).1
}

fn add(books: &mut Books, owed: Owed, context: Context<'_>) -> (CaptureKey, Reply) {
    let planned = Note::Planned(owed.amount);
    let capture = add_capture(books, owed, context);
    let subject = outcome::subject_of_capture(books, capture);
    (capture, due::begin_in_turn(books, capture, false, context).with_note(planned).about(subject))
}

fn add_capture(books: &mut Books, owed: Owed, context: Context<'_>) -> CaptureKey {
    let intent = Intent {
        id: owed.id(books),
        authorization: owed.authorization,
        order: owed.order,
        named_by: NamedBy::Fee(owed.fee),
        kind: CaptureKind::Fee,
        generation: owed.generation,
        amount: owed.amount,
    };
    outcome::add_capture(books, intent, context)
}

fn refuse(books: &mut Books, owed: &Owed, cause: &Cause, context: Context<'_>) -> Reply {
    owed.end_without_money(books, None, cause, context);
    Reply::nothing(Note::Refused(cause.reason)).about(outcome::subject_of_order(books, owed.order))
}

/// The capture was captured: where it is a fee's, its event says so.
pub(super) fn captured(books: &mut Books, capture: CaptureKey, resolved_by: ResolvedBy, context: Context<'_>) {
    let Some(owed) = Owed::of_capture(books, capture) else { return };
    let outcome = owed.outcome(books, Some(capture), resolved_by);
    owed.announce(books, EventContent::Succeeded(Box::new(outcome)), Some(capture), context);
}

/// The capture was not captured, on evidence.
pub(super) fn failed(books: &mut Books, capture: CaptureKey, cause: &Cause, context: Context<'_>) {
    if let Some(owed) = Owed::of_capture(books, capture) {
        owed.end_without_money(books, Some(capture), cause, context);
    }
}

/// An operator has closed it without an answer.
pub(super) fn unresolved(books: &mut Books, capture: CaptureKey, by: OperatorNote, context: Context<'_>) {
    let Some(owed) = Owed::of_capture(books, capture) else { return };
    let outcome = owed.outcome(books, Some(capture), ResolvedBy::Operator);
    owed.announce(books, EventContent::Unresolved(Box::new(outcome), by), Some(capture), context);
}

/// Positive evidence after a terminal outcome.
pub(super) fn corrected(
    books: &mut Books,
    capture: CaptureKey,
    was: CaptureState,
    resolved_by: ResolvedBy,
    context: Context<'_>,
) {
    let Some(owed) = Owed::of_capture(books, capture) else { return };
    let outcome = owed.outcome(books, Some(capture), resolved_by);
    let correction = Correction { was: was.as_str(), now: CaptureState::Captured.as_str() };
    owed.announce(books, EventContent::Corrected(Box::new(outcome), correction), None, context);
}
