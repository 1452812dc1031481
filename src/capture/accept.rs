//! Step 3, accept: a shipment notice becomes a planned capture, a shipment that waits, a refusal
//! with its event, or a dead letter. Nothing of it depends on a clock or on the order of arrival.
//!
//! Start reading at [`accept`]. Registration of authorization and plan is in `register`, what happens
//! to a notice that comes too early in `awaiting`, what a single-capture authorization does with its shipments in `collect`, sending in `due`.

use sha2::{Digest, Sha256};

use crate::capture::amount::{self, Rules};
use crate::capture::awaiting;
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::complete;
use crate::capture::decide::{Arrival, Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::fee;
use crate::capture::foreign;
use crate::capture::notice::{RejectionReason, ShipmentNotice};
use crate::capture::outcome;
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, OrderKey, Shipment, ShipmentKey, SingleUse};
use crate::capture::register::{self, Applied, Told};
use crate::capture::reject;
use crate::capture::restored::{self, found, republished};
use crate::capture::small;
use crate::capture::states::ShipmentState;
use crate::capture::why::Missing;
use crate::money::Money;
use crate::mutant::{self, Mutant, replan};

/// Why a notice goes no further.
pub(super) enum Stop {
    /// It cannot be processed as it is: a dead letter, and nothing is registered.
    Reject {
        /// Which kind.
        reason: RejectionReason,
        /// Where, below the notice.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Something is not known yet.
    Await(Missing),
    /// Our own rules say no.
    Refuse {
        /// From the closed list.
        reason: FailureReason,
        /// With the numbers.
        message: String,
    },
}

impl Stop {
    pub(super) fn conflict(path: &str, message: &str) -> Self {
        Self::Reject { reason: RejectionReason::Conflict, path: path.to_owned(), message: message.to_owned() }
    }

    pub(super) fn invalid(path: &str, message: &impl ToString) -> Self {
        Self::Reject { reason: RejectionReason::Invalid, path: path.to_owned(), message: message.to_string() }
    }

    pub(super) fn refuse(reason: FailureReason, message: impl Into<String>) -> Self {
        Self::Refuse { reason, message: message.into() }
    }
}

/// Accepts a shipment notice, once.
///
/// The same shipment with the same content changes nothing, save that `final` may rise. With other
/// content the first stands, and the message is a dead letter: what may be on its way is never
/// planned anew.
pub(super) fn accept(books: &mut Books, arrival: &Arrival, context: Context<'_>) -> Reply {
    let content = content_hash(&arrival.notice);
    replan::on_change(books, &arrival.notice, content);
    let known =
        books.order_key(&arrival.notice.order).and_then(|order| books.shipment_key(order, &arrival.notice.shipment));
    let known = known.map(|key| books.shipment(key));
    let is_awaiting = known.is_some_and(|shipment| shipment.state == ShipmentState::Awaiting);
    match known {
        Some(shipment) if shipment.content != content => {
            let conflict = Stop::conflict("", "the same shipment was accepted before with other content, which stands");
            return stop_rejected(books, arrival, conflict, context);
        }
        Some(shipment) if !is_awaiting => return repeat(books, arrival, shipment.key, context),
        Some(shipment) if shipment.says_final && !arrival.notice.is_final => {
            let mut final_arrival = arrival.clone();
            final_arrival.notice.is_final = true;
            return accept_new(books, &final_arrival, content, is_awaiting, context);
        }
        Some(_) | None => {}
    }
    accept_new(books, arrival, content, is_awaiting, context)
}

/// A shipment that is new, or is still waiting for what it lacks.
fn accept_new(
    books: &mut Books,
    arrival: &Arrival,
    content: [u8; 32],
    is_awaiting: bool,
    context: Context<'_>,
) -> Reply {
    let known = match register::check(books, Told::by_shipment(&arrival.notice), context) {
        Ok(known) => known,
        Err(Stop::Reject { reason, path, message }) => {
            if is_awaiting && let Some(reply) = awaiting::give_up_rejected(books, arrival, &path, &message, context) {
                return reply;
            }
            return stop_rejected(books, arrival, Stop::Reject { reason, path, message }, context);
        }
        Err(Stop::Await(missing)) => return awaiting::wait(books, arrival.clone(), content, missing, context),
        Err(Stop::Refuse { reason, message }) => {
            let order = books.open_order(&arrival.notice.order);
            let shipment = write_shipment(books, arrival, order, content, context);
            return refuse(books, shipment, reason, &message, context);
        }
    };
    let missing = known.missing(books, &arrival.notice.order, arrival.notice.amount.is_some());
    let applied = register::apply(books, &arrival.notice.order, arrival.notice.authorization.as_ref(), known, context);
    let caused_by = arrival.event_id.as_str();
    let missing = missing.or_else(|| missing_of_lost_time(books, arrival, &applied, is_awaiting, context));
    let mut reply = match missing {
        Some(missing) => awaiting::wait(books, arrival.clone(), content, missing, context),
        None => take_up(books, arrival, applied, content, context),
    };
    if restored::is_recent(books, context) {
        // What shipments were given less for what was captured in the lost time comes when all have shipped.
        reply.ready = reply.ready.or(fee::take(books, applied.order, Some(caused_by), context).ready);
    }
    complete::schedule_closing(books, applied.order, context);
    small::end(books, applied.order, applied.authorization, context);
    applied.follow_up(books, reply, Some(caused_by), context)
}

/// What a notice waits for after a restore: to know whether its shipment was captured in the lost time, and with what.
fn missing_of_lost_time(
    books: &Books,
    arrival: &Arrival,
    applied: &Applied,
    is_awaiting: bool,
    context: Context<'_>,
) -> Option<Missing> {
    let (notice, order) = (&arrival.notice, applied.order);
    let names_none = notice.authorization.is_none();
    if restored::is_unread(books.authorization(applied.authorization))
        || names_none && restored::is_any_unread(books, order)
        || republished::may_be_on_unread(books, order, context)
    {
        return Some(Missing::Reading);
    }
    let (on, _) = found::of_id(books, order, &notice.shipment).unzip();
    if on.is_some_and(|key| small::captures(books, key, context).is_none()) {
        return Some(Missing::Account);
    }
    let waiting = books.shipment_key(order, &notice.shipment).filter(|_| is_awaiting && names_none && on.is_none());
    // What is too little by itself waits all the same, to be booked with what it is a part of.
    let waiting = waiting.filter(|_| !small::may_be_part(books, order, notice, applied.authorization, context));
    let may_lack_one = waiting.is_some_and(|shipment| republished::may_lack_authorization(books, shipment, context));
    let lacks_others = |amount| republished::lacks_others(books, order, &notice.shipment, amount, context);
    (may_lack_one || notice.amount.is_some_and(lacks_others)).then_some(Missing::Republication)
}

/// Everything is known: the shipment is given its amount, and captured or refused.
fn take_up(books: &mut Books, arrival: &Arrival, applied: Applied, content: [u8; 32], context: Context<'_>) -> Reply {
    let Applied { order, mut authorization, .. } = applied;
    note_final(books, order, arrival, context);
    let shipment = write_shipment(books, arrival, order, content, context);
    // Where it was captured in the lost time: it may have been replayed, on another one than its notice names.
    let generation = books.shipment(shipment).generation;
    authorization = found::captured_on(books, shipment, generation).unwrap_or(authorization);
    books.shipment_mut(shipment).authorization = Some(authorization);
    let rules = Rules::on(books, authorization, context);
    match amount::give(books, &arrival.notice, shipment, rules) {
        Ok(amount) => {
            books.shipment_mut(shipment).amount = Some(amount);
            bind(books, shipment, authorization, amount, arrival.start, context)
        }
        Err(Stop::Refuse { reason, message }) => refuse(books, shipment, reason, &message, context),
        Err(Stop::Await(missing)) => unreachable!("{missing:?} is found before anything is registered"),
        Err(Stop::Reject { path, .. }) => unreachable!("{path} is found before anything is registered"),
    }
}

fn stop_rejected(books: &mut Books, arrival: &Arrival, stop: Stop, context: Context<'_>) -> Reply {
    let Stop::Reject { reason, path, message } = stop else { unreachable!("only rejections come here") };
    let (order, shipment) = (arrival.notice.order.clone(), Some(arrival.notice.shipment.clone()));
    reject::reject_notice(books, arrival.clone(), (order, shipment), (reason, &path, message), context)
}

/// The same shipment again: acknowledged, and nothing else happens, save that `final` may rise. It names the
/// authorization that it was on, as long as no replay has taken it to another one.
fn repeat(books: &mut Books, arrival: &Arrival, shipment: ShipmentKey, context: Context<'_>) -> Reply {
    let known = books.shipment(shipment);
    let bound = known.authorization.map(|key| books.authorization(key));
    if let (Some(bound), Some(named)) = (bound, &arrival.notice.authorization)
        && (bound.account != named.account || bound.reference != named.reference)
        && known.generation == 0
    {
        let message = "the same shipment was accepted before on another authorization, which stands";
        return stop_rejected(books, arrival, Stop::conflict("authorization.reference", message), context);
    }
    let subject = outcome::subject(books, shipment);
    let order = known.order;
    note_final(books, order, arrival, context);
    complete::schedule_closing(books, order, context);
    Reply::nothing(Note::Repeated).about(subject)
}

/// A notice said that nothing more will ship: what collects on the order's authorizations is taken
/// after the grace.
fn note_final(books: &mut Books, order: OrderKey, arrival: &Arrival, context: Context<'_>) {
    if !arrival.notice.is_final || books.order(order).final_at.is_some() {
        return;
    }
    books.order_mut(order).final_at = Some(context.now.wall);
    if let Some(authorization) = books.order(order).newest_authorization
        && books.authorization(authorization).waiting > 0
    {
        collect::schedule(books, authorization, context);
    }
}

/// The shipment's row: the one that was waiting for this, or a new one.
fn write_shipment(
    books: &mut Books,
    arrival: &Arrival,
    order: OrderKey,
    content: [u8; 32],
    context: Context<'_>,
) -> ShipmentKey {
    let known = books.shipment_key(order, &arrival.notice.shipment);
    if let Some(key) = known {
        books.order_mut(order).awaiting -= 1;
        let shipment = books.shipment_mut(key);
        shipment.due_at = None;
        shipment.message = Some(arrival.raw.clone());
        return key;
    }
    insert_shipment(books, arrival, order, content, context)
}

pub(super) fn insert_shipment(
    books: &mut Books,
    arrival: &Arrival,
    order: OrderKey,
    content: [u8; 32],
    context: Context<'_>,
) -> ShipmentKey {
    books.add_shipment(|key| Shipment {
        key,
        order,
        id: arrival.notice.shipment.clone(),
        generation: 0,
        content,
        state: ShipmentState::Awaiting,
        awaits: None,
        says_final: false,
        lines: arrival.notice.lines.clone(),
        amount: None,
        authorization: None,
        capture: None,
        reason: None,
        accepted_at: context.now.wall,
        due_at: None,
        caused_by: arrival.event_id.clone(),
        message: Some(arrival.raw.clone()),
    })
}

pub(super) fn refuse(
    books: &mut Books,
    shipment: ShipmentKey,
    reason: FailureReason,
    message: &str,
    context: Context<'_>,
) -> Reply {
    outcome::refuse(books, shipment, &outcome::Cause::local(reason, message), context);
    Reply::nothing(Note::Refused(reason)).about(outcome::subject(books, shipment))
}

/// Puts a shipment with its amount on its authorization.
fn bind(
    books: &mut Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    start: bool,
    context: Context<'_>,
) -> Reply {
    let account = &books.authorization(authorization).account;
    let captures = context.policy.accounts.get(account).map(|account| account.captures);
    match captures.expect("an unknown account makes a notice wait") {
        Captures::Single => bind_single(books, shipment, authorization, amount, start, context),
        Captures::Multiple => bind_multiple(books, shipment, authorization, amount, start, context),
    }
}

fn bind_multiple(
    books: &mut Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    start: bool,
    context: Context<'_>,
) -> Reply {
    if let Some(reply) = found::claim(books, shipment, authorization, amount, context) {
        return reply;
    }
    if amount.is_zero() {
        outcome::succeed_zero(books, shipment, context);
        return Reply::nothing(Note::Zero).about(outcome::subject(books, shipment));
    }
    let (waiting, total) = if republished::together_from(books, authorization, context).is_some() {
        // Those that wait may have been captured with others, which have not come again.
        (Vec::new(), amount)
    } else {
        small::with_waiting(books, shipment, authorization, amount)
    };
    if let Some(message) = does_not_fit(total, foreign::room(books.authorization(authorization), context)) {
        return refuse(books, shipment, FailureReason::ExceedsAuthorization, &message, context);
    }
    let is_too_little = Rules::on(books, authorization, context).is_too_little(total);
    if is_too_little || small::is_perhaps_part(books, shipment, authorization, amount, context) {
        return collect::join(books, shipment, authorization, amount, start, context);
    }
    small::leave(books, authorization, &waiting);
    let shipments = [&waiting[..], &[shipment]].concat();
    let capture = outcome::plan_capture(books, &shipments, outcome::kind_of(&shipments), total, context);
    let subject = outcome::subject(books, shipment);
    due::begin_in_turn(books, capture, start, context).with_note(Note::Planned(total)).about(subject)
}

fn bind_single(
    books: &mut Books,
    shipment: ShipmentKey,
    authorization: AuthorizationKey,
    amount: Money,
    start: bool,
    context: Context<'_>,
) -> Reply {
    let record = books.authorization(authorization);
    if record.single == SingleUse::Used {
        let message = "the authorization's one capture was used before this shipment arrived";
        return refuse(books, shipment, FailureReason::CaptureAlreadyUsed, message, context);
    }
    // What is reserved is either captured, and then this shipment is refused for that, or released.
    let room =
        record.authorized.saturating_sub(record.captured).and_then(|room| room.saturating_sub(record.waiting_amount));
    if let Some(message) = does_not_fit(amount, room.expect("one currency per authorization")) {
        // Its units have shipped all the same, and may be the last that the others waited for.
        if record.waiting > 0 {
            collect::schedule(books, authorization, context);
        }
        return refuse(books, shipment, FailureReason::ExceedsAuthorization, &message, context);
    }
    collect::join(books, shipment, authorization, amount, start, context)
}

/// Both numbers, where `amount` is more than what remains.
fn does_not_fit(amount: Money, remaining: Money) -> Option<String> {
    let fits = amount.fits(remaining).expect("one currency per authorization") || mutant::on(Mutant::NoReserve);
    (!fits).then(|| format!("{amount} was earned, {remaining} remains on the authorization"))
}

impl Reply {
    /// The same reply with another note, unless a call was begun.
    #[must_use]
    pub(super) fn with_note(mut self, note: Note) -> Self {
        self.note = note;
        self
    }
}

/// What makes two notices of one shipment the same: lines and quantities, or the amount.
fn content_hash(notice: &ShipmentNotice) -> [u8; 32] {
    let mut lines: Vec<_> = notice.lines.iter().collect();
    lines.sort_by(|a, b| a.line.cmp(&b.line));
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.line.as_str());
        hash.update([0]);
        hash.update(line.quantity.millionths().to_be_bytes());
    }
    if let Some(amount) = notice.amount {
        hash.update([1]);
        hash.update(amount.normalize().to_string());
    }
    hash.finalize().into()
}
