//! Single-capture authorizations: shipments collect until the order is complete or final, or the
//! authorization is about to die; then one read, and one capture of what has shipped.
//!
//! The read comes first because after it nothing can be taken back: it must show that the money is
//! still held, on a card, in the right currency, and untouched.

use crate::capture::amount::{self, Rules};
use crate::capture::books::Books;
use crate::capture::complete;
use crate::capture::decide::{Call, Context, Due, Freeze, Note, Ready, Reply, Ticket};
use crate::capture::due;
use crate::capture::event::{CaptureKind, Deferral, EventContent, FailureReason, ResolvedBy};
use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, Reading, SeenCapture};
use crate::capture::expiry;
use crate::capture::outcome::{self, Cause};
use crate::capture::policy::Captures;
use crate::capture::records::{AmountMode, Authorization, AuthorizationKey, ShipmentKey, SingleUse};
use crate::capture::restored::{self, republished};
use crate::capture::retry;
use crate::capture::settle;
use crate::capture::small;
use crate::capture::states::ShipmentState;
use crate::clock::{self, Timestamp};
use crate::money::Money;

/// Puts a shipment to the others that wait for the single capture.
pub(super) fn join(
    books: &mut Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    start: bool,
    context: Context<'_>,
) -> Reply {
    books.move_shipment(shipment, ShipmentState::Waiting);
    let record = books.authorization_mut(authorization);
    record.waiting += 1;
    record.waiting_amount = record.waiting_amount.checked_add(amount).expect("one currency per authorization");
    schedule(books, authorization, context);
    let subject = outcome::subject(books, shipment);
    let is_single = small::captures(books, authorization, context) == Some(Captures::Single);
    if is_single && is_due(books.authorization(authorization), context) {
        return begin_read(books, authorization, start, context).with_note(Note::Deferred).about(subject);
    }
    announce_deferral(books, shipment, context);
    Reply::nothing(Note::Deferred).about(subject)
}

/// When to stop collecting: at once when the order is complete, after the grace when it is final,
/// and in any case a margin before the authorization dies. A read that is under way or was put off
/// does not hold that up.
pub(super) fn schedule(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    let record = books.authorization(authorization);
    if small::captures(books, authorization, context) == Some(Captures::Multiple) {
        // What is too little waits for its order, or for the end of the authorization.
        let unknown = record.freeze_at.unwrap_or_else(|| clock::after(context.now.wall, context.policy.awaiting_max));
        let end = deadline(books, authorization, context).unwrap_or(unknown);
        let freeze_at = republished::together_from(books, authorization, context).map_or(end, |from| from.min(end));
        books.authorization_mut(authorization).freeze_at = Some(freeze_at);
        read_by_schedule(books, authorization);
        return;
    }
    let order = books.order(record.order);
    let policy = context.policy;
    let when_complete = order.is_complete().then_some(context.now.wall);
    let when_final = order.final_at.map(|at| clock::after(at, policy.final_grace));
    let when_dying = deadline(books, authorization, context);
    let freeze_at = [when_complete, when_final, when_dying].into_iter().flatten().min();
    books.authorization_mut(authorization).freeze_at = freeze_at;
    read_by_schedule(books, authorization);
}

/// A read that was put off is not waited for any more; one that a restore waits for stays due.
fn read_by_schedule(books: &mut Books, authorization: AuthorizationKey) {
    if !restored::is_unread(books.authorization(authorization)) {
        books.watch_mut(authorization).read_at = None;
    }
}

/// From when on earned money is taken whatever else is missing: a margin before the expiry, a wider
/// one where the expiry was derived rather than told.
pub(super) fn deadline(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Option<Timestamp> {
    deadline_of(books.authorization(authorization), context)
}

/// The same, of a record.
pub(super) fn deadline_of(record: &Authorization, context: Context<'_>) -> Option<Timestamp> {
    let margin =
        if record.expiry_is_derived { context.policy.derived_deadline_margin } else { context.policy.deadline_margin };
    record.expires_at.map(|at| clock::before(at, margin))
}

fn announce_deferral(books: &mut Books, shipment: ShipmentKey, context: Context<'_>) {
    let sequence = books.next_sequence(books.shipment(shipment).order);
    let record = books.shipment(shipment);
    let authorization = books.authorization(record.authorization.expect("bound before it waits"));
    let deferral = Deferral {
        order: books.order(record.order).id.clone(),
        shipment: record.id.clone(),
        account: authorization.account.clone(),
        reference: authorization.reference.clone(),
        amount_so_far: authorization.waiting_amount,
        capture_by: deadline(books, authorization.key, context),
        caused_by: Some(record.caused_by.clone()),
        sequence,
    };
    outcome::announce_about(books, shipment, EventContent::Deferred(deferral), None, context);
}

/// Time to stop collecting: begins the read, where nothing speaks against it.
pub(super) fn due(books: &mut Books, authorization: AuthorizationKey, start: bool, context: Context<'_>) -> Reply {
    if !is_due(books.authorization(authorization), context) {
        return Reply::nothing(Note::Nothing);
    }
    match small::captures(books, authorization, context) {
        Some(Captures::Multiple) => small::end_on(books, authorization, context),
        Some(Captures::Single) | None => begin_read(books, authorization, start, context),
    }
}

/// Is it time to stop collecting?
pub(super) fn is_due(record: &Authorization, context: Context<'_>) -> bool {
    let has_come = record.freeze_at.is_some_and(|at| at <= context.now.wall) && expiry::may_read(record, context);
    has_come && !restored::is_unread(record) && record.waiting > 0 && record.single == SingleUse::Free
}

fn begin_read(books: &mut Books, authorization: AuthorizationKey, start: bool, context: Context<'_>) -> Reply {
    let record = books.authorization_mut(authorization);
    let (account, reference) = (record.account.clone(), record.reference.clone());
    if !start {
        let ready = Ready { due: Due::Authorization(authorization), account, deadline: record.expires_at };
        return Reply { ready: Some(ready), ..Reply::nothing(Note::Nothing) };
    }
    record.epoch += 1;
    let call = Call::Read { authorization, epoch: record.epoch };
    // Should the answer never come, the watch finds the authorization again.
    let again = clock::after(context.now.wall, due::no_answer_after(&account, context));
    books.watch_mut(authorization).read_at = Some(again);
    let traces = books.traces_of(&books.waiting_on(authorization));
    Reply { ticket: Some(Ticket { account, reference, call, traces }), ..Reply::nothing(Note::Looking) }
}

/// The read came: freeze the set and capture it, or end it as the read shows, or read again.
pub(super) fn freeze(books: &mut Books, freeze: Freeze, context: Context<'_>) -> Reply {
    let Freeze { authorization, epoch, reading, start } = freeze;
    let record = books.authorization(authorization);
    if record.epoch != epoch || record.single != SingleUse::Free || record.waiting == 0 {
        return Reply::nothing(Note::Nothing);
    }
    let subject = outcome::subject(books, *books.waiting_on(authorization).last().expect("waiting is counted"));
    match reading {
        Reading::Unclear(doubt) => read_again(books, authorization, doubt.message, context).about(subject),
        Reading::Misconfigured(fault) => {
            let at = clock::after(context.now.wall, context.policy.parked_for);
            books.watch_mut(authorization).read_at = Some(at);
            Reply::nothing(Note::Parked(fault.message)).about(subject)
        }
        Reading::Seen(view) => {
            settle::note_provider(books, authorization, &view, context);
            freeze_seen(books, authorization, &view, start, context).about(subject)
        }
    }
}

fn read_again(books: &mut Books, authorization: AuthorizationKey, why: String, context: Context<'_>) -> Reply {
    let record = books.authorization_mut(authorization);
    let wait = retry::look_delay(&context.policy.look_after, record.reads, context.jitter);
    record.reads = record.reads.saturating_add(1);
    books.watch_mut(authorization).read_at = Some(clock::after(context.now.wall, wait));
    Reply::nothing(Note::ReadAgain(why))
}

fn freeze_seen(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    start: bool,
    context: Context<'_>,
) -> Reply {
    let amounts = final_amounts(books, authorization, context);
    if amounts.is_empty() {
        leave_waiting(books, authorization);
        return Reply::nothing(Note::Refused(FailureReason::ExceedsAuthorization));
    }
    let total = books.authorization(authorization).waiting_amount;
    let rules = Rules::on(books, authorization, context);
    if rules.is_too_little(total) {
        end_set(books, authorization, &rules.too_little(total), context);
        return Reply::nothing(Note::Refused(FailureReason::BelowMinimum));
    }
    match find(books.authorization(authorization), view, total) {
        Finding::Unsettled(why) => read_again(books, authorization, why.to_owned(), context),
        Finding::Untouched => capture_set(books, authorization, &amounts, total, None, start, context),
        Finding::Captured(seen) => capture_set(books, authorization, &amounts, total, Some(seen), start, context),
        Finding::Ended(reason, message) => {
            end_set(books, authorization, &Cause::lookup(reason, &message), context);
            Reply::nothing(Note::Refused(reason))
        }
    }
}

/// What the read before a single capture found.
enum Finding {
    /// Nothing that can be acted upon yet.
    Unsettled(&'static str),
    /// Approved, on a card, enough, and untouched.
    Untouched,
    /// Our capture is there already.
    Captured(SeenCapture),
    /// The money is not there for us.
    Ended(FailureReason, String),
}

fn find(record: &Authorization, view: &AuthorizationView, total: Money) -> Finding {
    let ended = |reason, message: &str| Finding::Ended(reason, message.to_owned());
    if !view.captures.is_empty() {
        let ours = view.captures.iter().find(|seen| seen.amount == total);
        return match ours.filter(|_| total.fits(record.remaining()) == Ok(true)) {
            Some(ours) => Finding::Captured(ours.clone()),
            None => ended(FailureReason::CapturedElsewhere, "another amount was captured before ours was sent"),
        };
    }
    if view.has_pending_capture {
        // Over or not: after a restore from a backup it may be ours.
        return Finding::Unsettled("a capture is on its way");
    }
    match view.status {
        AuthorizationStatus::NotYetApproved => Finding::Unsettled("not approved yet"),
        AuthorizationStatus::Open => find_open(record, view, total),
        AuthorizationStatus::Declined => ended(FailureReason::Declined, "the authorization was declined"),
        AuthorizationStatus::Expired => ended(FailureReason::AuthorizationExpired, "the authorization has expired"),
        AuthorizationStatus::Voided => ended(FailureReason::AuthorizationVoided, "the authorization was reversed"),
        AuthorizationStatus::FullyCaptured => {
            ended(FailureReason::CapturedElsewhere, "it was captured in full before ours was sent")
        }
    }
}

/// Approved, and nothing captured.
fn find_open(record: &Authorization, view: &AuthorizationView, total: Money) -> Finding {
    let ended = |reason, message: &str| Finding::Ended(reason, message.to_owned());
    if !view.is_card {
        return ended(FailureReason::CapturedElsewhere, "not a card payment: the provider has charged it in full");
    }
    if view.currency != record.currency {
        return ended(FailureReason::CurrencyMismatch, "the provider holds the money in another currency");
    }
    // Whichever is less: what the provider holds, and what we were told.
    let ours = record.remaining();
    let held = view.authorized.filter(|held| held.minor() < ours.minor()).unwrap_or(ours);
    if total.minor() > held.minor() {
        return Finding::Ended(
            FailureReason::ExceedsAuthorization,
            format!("{total} was earned, {held} remains on the authorization"),
        );
    }
    Finding::Untouched
}

/// The amounts of the waiting shipments, worked out anew in the order of acceptance. After the grace
/// of a final notice, what has not shipped counts as cancelled. What then no longer fits what was
/// authorized, because a revision or the fee has raised it, is refused; what comes after it may fit.
fn final_amounts(
    books: &mut Books,
    authorization: AuthorizationKey,
    context: Context<'_>,
) -> Vec<(ShipmentKey, Money)> {
    let mut waiting = books.waiting_on(authorization);
    let order = books.authorization(authorization).order;
    if books.order(order).mode == Some(AmountMode::Planned) {
        complete::close(books, order, context);
        let rules = Rules::on(books, authorization, context);
        amount::recompute(books, order, &waiting, rules);
    }
    let record = books.authorization(authorization);
    let (room, mut total) = (record.remaining(), Money::zero(record.currency));
    waiting.retain(|shipment| {
        let amount = amount_of(books, *shipment);
        let with_it = total.checked_add(amount).expect("one currency per authorization");
        let fits = with_it.fits(room) == Ok(true);
        if fits {
            total = with_it;
        } else {
            let message = format!("{with_it} was earned, {room} remains on the authorization");
            outcome::refuse(books, *shipment, &Cause::local(FailureReason::ExceedsAuthorization, &message), context);
        }
        fits
    });
    let record = books.authorization_mut(authorization);
    record.waiting = u32::try_from(waiting.len()).expect("no more than there were");
    record.waiting_amount = total;
    waiting.into_iter().map(|shipment| (shipment, amount_of(books, shipment))).collect()
}

fn amount_of(books: &Books, shipment: ShipmentKey) -> Money {
    books.shipment(shipment).amount.expect("given before it waits")
}

/// Set and amount are frozen; captured once, unless the read has seen that it was.
fn capture_set(
    books: &mut Books,
    authorization: AuthorizationKey,
    amounts: &[(ShipmentKey, Money)],
    total: Money,
    seen: Option<SeenCapture>,
    start: bool,
    context: Context<'_>,
) -> Reply {
    let kind = kind_of_set(books, authorization, amounts, context);
    leave_waiting(books, authorization);
    let (free, paid): (Vec<_>, Vec<_>) = amounts.iter().partition(|(_, amount)| amount.is_zero());
    for (shipment, _) in free {
        outcome::succeed_zero(books, shipment, context);
    }
    if paid.is_empty() {
        return Reply::nothing(Note::Zero);
    }
    let paid: Vec<ShipmentKey> = paid.into_iter().map(|(shipment, _)| shipment).collect();
    let capture = outcome::plan_capture(books, &paid, kind, total, context);
    books.authorization_mut(authorization).single = SingleUse::Undecided;
    if let Some(seen) = seen {
        outcome::captured(books, capture, ResolvedBy::Lookup, seen.provider_reference, context);
        settle::after_single(books, capture, context);
        return Reply::nothing(Note::Captured(total));
    }
    due::begin_in_turn(books, capture, start, context).with_note(Note::Frozen)
}

fn kind_of_set(
    books: &Books,
    authorization: AuthorizationKey,
    amounts: &[(ShipmentKey, Money)],
    context: Context<'_>,
) -> CaptureKind {
    let order = books.order(books.authorization(authorization).order);
    let is_dying = deadline(books, authorization, context).is_some_and(|at| at <= context.now.wall);
    if is_dying && !order.is_complete() {
        CaptureKind::Deadline
    } else if amounts.len() == 1 {
        CaptureKind::Shipment
    } else {
        CaptureKind::Batch
    }
}

fn leave_waiting(books: &mut Books, authorization: AuthorizationKey) {
    let record = books.authorization_mut(authorization);
    record.waiting = 0;
    record.waiting_amount = Money::zero(record.currency);
    record.freeze_at = None;
    record.reads = 0;
    books.watch_mut(authorization).read_at = None;
}

/// Everything that waits is refused with one cause, save what owes nothing; what was captured
/// elsewhere uses the authorization up.
pub(super) fn end_set(books: &mut Books, authorization: AuthorizationKey, cause: &Cause, context: Context<'_>) {
    let waiting = books.waiting_on(authorization);
    leave_waiting(books, authorization);
    if cause.reason == FailureReason::CapturedElsewhere {
        books.authorization_mut(authorization).single = SingleUse::Used;
    }
    for shipment in waiting {
        if books.shipment(shipment).amount.is_some_and(Money::is_zero) {
            outcome::succeed_zero(books, shipment, context);
        } else {
            outcome::refuse(books, shipment, cause, context);
        }
    }
}
