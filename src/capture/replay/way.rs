//! May a dead letter be tried again, and how. Changes nothing: whatever speaks against it is found
//! before a generation is raised or an event is published.

use crate::capture::accept::Stop;
use crate::capture::amount::{self, Rules};
use crate::capture::books::Books;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::{Arrival, Command, Context};
use crate::capture::event::FailureReason;
use crate::capture::fee::{self, FeeAgain};
use crate::capture::notice::{AuthorizationFacts, RejectionReason};
use crate::capture::policy::{Captures, OnExpiry};
use crate::capture::records::{
    Authorization, AuthorizationKey, Capture, ForeignStanding, OrderKey, Shipment, ShipmentKey, SingleUse,
};
use crate::capture::register::{self, Told};
use crate::capture::reject;
use crate::capture::replay::room;
use crate::capture::replay::{WhyNot, WhyNotKind};
use crate::capture::restored::{self, found};
use crate::capture::states::CaptureState;
use crate::money::Money;

/// How a dead letter is tried again.
pub(super) enum Way {
    /// What was earned before is taken from this authorization. A failed batch goes whole.
    Stored { shipments: Vec<ShipmentKey>, authorization: AuthorizationKey, total: Money },
    /// A shipment that was refused before it was given anything is accepted anew.
    Anew { shipment: ShipmentKey, arrival: Box<Arrival> },
    /// What an order owes beyond its shipments' amounts is taken from this authorization.
    Fee { authorization: AuthorizationKey, fee: FeeAgain },
    /// The message is accepted as if it came now.
    Fresh(Box<Command>),
}

/// Finds the way, or why there is none.
pub(super) fn find(
    books: &Books,
    letter: &DeadLetter,
    message: Option<Command>,
    context: Context<'_>,
) -> Result<Way, WhyNot> {
    let order = letter.order.as_ref().and_then(|id| books.order_key(id));
    if order.is_some_and(|order| restored::is_any_unread(books, order)) {
        let message = "an authorization of its order is read first, after the restore from a backup: replay it then";
        return Err(WhyNot::new(WhyNotKind::EndUnknown, message));
    }
    match (letter.shipment_key, letter.fee) {
        (Some(shipment), _) => of_shipment(books, letter, shipment, message, context),
        (None, Some(number)) => of_fee(books, letter, number, context),
        (None, None) => of_message(letter, message),
    }
}

/// What never became a shipment is a fresh delivery of the whole message, and of nothing less.
fn of_message(letter: &DeadLetter, message: Option<Command>) -> Result<Way, WhyNot> {
    if letter.is_cut() {
        let message = "only the beginning of its message is kept: have it sent again, smaller";
        return Err(WhyNot::new(WhyNotKind::MessageLost, message));
    }
    if letter.reason == RejectionReason::Unauthenticated.as_str() {
        // Its signature came beside it, and is not kept: to take it now would be to take it from anybody.
        let message = "it is not from somebody who may send one: have it sent again by somebody who may, signed";
        return Err(WhyNot::new(WhyNotKind::StillRejected, message));
    }
    match message {
        Some(Command::Reject(reject)) => {
            let (path, message) = (&reject.rejection.path, &reject.rejection.message);
            let message = format!("it would be set aside again: {path} {message}");
            Err(WhyNot::new(WhyNotKind::StillRejected, message))
        }
        Some(command @ (Command::Accept(_) | Command::Register(_) | Command::Cancel(_))) => {
            Ok(Way::Fresh(Box::new(command)))
        }
        Some(
            Command::Collect(_)
            | Command::Due(_)
            | Command::Recall(_)
            | Command::Settle(_)
            | Command::Freeze(_)
            | Command::Expire(_)
            | Command::Learn(_)
            | Command::Operator(_)
            | Command::Published(_)
            | Command::Replay(_),
        )
        | None => Err(WhyNot::new(WhyNotKind::MessageLost, "its message is not kept: have it sent again")),
    }
}

fn of_shipment(
    books: &Books,
    letter: &DeadLetter,
    key: ShipmentKey,
    message: Option<Command>,
    context: Context<'_>,
) -> Result<Way, WhyNot> {
    let Some(shipment) = books.shipments().find(key) else {
        return Err(WhyNot::new(WhyNotKind::Unknown, "its shipment is not in the ledger"));
    };
    let has_ended = shipment.state.is_terminal() && shipment.reason.is_some();
    if shipment.generation != letter.generation || !has_ended {
        let message = format!("it was replayed before, as generation {}: see its order", shipment.generation);
        return Err(WhyNot::new(WhyNotKind::AlreadyReplayed, message));
    }
    if shipment.reason == Some(FailureReason::CapturedElsewhere) {
        let message = "somebody else captured on its authorization, perhaps this very money: look at the order at the \
                       provider; if money is missing, collect it there";
        return Err(WhyNot::new(WhyNotKind::CapturedElsewhere, message));
    }
    let capture = shipment.capture.map(|capture| books.capture(capture));
    if let Some(why) = capture.and_then(why_not_after) {
        return Err(why);
    }
    let shipments = capture.map_or_else(|| vec![key], |capture| books.shipments_of(capture.key));
    whole_batch(books, &shipments)?;
    match sum(books, &shipments) {
        Some(total) => {
            if let Some((shipments, authorization)) = as_captured(books, &shipments) {
                is_configured(books, authorization, context)?;
                return Ok(Way::Stored { shipments, authorization, total });
            }
            let authorization = open_authorization(books, shipment.order, shipment.authorization, context)?;
            fits_plan(books, shipment.order, total)?;
            foreign_money(books, shipment, total, authorization, context)?;
            room::has_room(books, &shipments, authorization, total, context)?;
            Ok(Way::Stored { shipments, authorization, total })
        }
        None => anew(books, shipment, message, context),
    }
}

/// In the order in which they were captured together in the lost time, and on which authorization: the last one that
/// owes anything names their capture, and they may have come in another order then.
fn as_captured(books: &Books, shipments: &[ShipmentKey]) -> Option<(Vec<ShipmentKey>, AuthorizationKey)> {
    let owes = |key: &ShipmentKey| books.shipment(*key).amount.is_some_and(|amount| !amount.is_zero());
    let on = |key: ShipmentKey| found::captured_on(books, key, books.shipment(key).generation + 1);
    let named_by = |key: &ShipmentKey| Some((*key, on(*key).filter(|_| owes(key))?));
    let (last, authorization) = shipments.iter().rev().find_map(named_by)?;
    let others = shipments.iter().copied().filter(|key| *key != last);
    Some((others.chain([last]).collect(), authorization))
}

/// What the end of its capture says against it.
pub(super) fn why_not_after(capture: &Capture) -> Option<WhyNot> {
    if capture.corrected_at.is_some() || capture.state == CaptureState::Captured {
        let message = "its money was captured after all, as capture.corrected said: nothing is left to do";
        return Some(WhyNot::new(WhyNotKind::Captured, message));
    }
    match capture.state {
        CaptureState::Unresolved => {
            let message = "an operator closed its capture without an answer, so its money may have moved: settle it \
                           with the payer by hand";
            Some(WhyNot::new(WhyNotKind::Unresolved, message))
        }
        CaptureState::Failed => None,
        CaptureState::Planned | CaptureState::Sending | CaptureState::InDoubt | CaptureState::Captured => {
            let message = "its capture is not decided: it is looked at by itself until it is";
            Some(WhyNot::new(WhyNotKind::CaptureUnderWay, message))
        }
    }
}

/// A batch was captured as one amount, and is tried again as one.
fn whole_batch(books: &Books, shipments: &[ShipmentKey]) -> Result<(), WhyNot> {
    for shipment in shipments {
        let letter = books.dead_letter_of(*shipment);
        let id = &books.shipment(*shipment).id;
        if letter.is_none_or(|letter| letter.raw.is_none()) {
            let message = format!("the message of shipment {id} is not kept");
            return Err(WhyNot::new(WhyNotKind::MessageLost, message));
        }
        if letter.is_some_and(|letter| letter.state == DeadLetterState::Discarded) {
            let message =
                format!("shipment {id} of its batch was discarded: a batch goes whole, restore that one first");
            return Err(WhyNot::new(WhyNotKind::BatchDiscarded, message));
        }
    }
    Ok(())
}

/// What they were given together; `None` where one was refused before it was given anything.
fn sum(books: &Books, shipments: &[ShipmentKey]) -> Option<Money> {
    let mut amounts = shipments.iter().map(|key| books.shipment(*key).amount);
    let first = amounts.next().flatten()?;
    amounts.try_fold(first, |sum, amount| sum.checked_add(amount?).ok())
}

/// The order's newest authorization on which money is still held for us, so that authorizing anew helps.
fn open_authorization(
    books: &Books,
    order: OrderKey,
    former: Option<AuthorizationKey>,
    context: Context<'_>,
) -> Result<AuthorizationKey, WhyNot> {
    let mut keys = books.authorizations_of(order);
    // One that several orders share belongs to the first of them.
    keys.extend(former.filter(|key| !keys.contains(key)));
    keys.sort_unstable_by(|one, other| other.cmp(one));
    let mut why = "the order has no authorization".to_owned();
    for (number, key) in keys.into_iter().enumerate() {
        match why_closed(books.authorization(key), context) {
            None => return Ok(key),
            Some(closed) if number == 0 => why = format!("the order's newest authorization {closed}"),
            Some(_) => {}
        }
    }
    let message = format!("{why}: authorize anew, tell of it by order.authorized, and replay then");
    Err(WhyNot::new(WhyNotKind::NoOpenAuthorization, message))
}

/// Why nothing can be taken from it any more, or not yet.
fn why_closed(record: &Authorization, context: Context<'_>) -> Option<String> {
    let Some(account) = context.policy.accounts.get(&record.account) else {
        return Some(format!("is on account {}, which is not configured", record.account));
    };
    if restored::is_unread(record) {
        return Some("has to be read first, after the restore".to_owned());
    }
    let is_reported = record.watch.reported.is_some() && record.watch.reported == record.expires_at;
    if is_reported || record.expires_at.is_some_and(|at| at <= context.now.wall) {
        return Some("has expired".to_owned());
    }
    if record.is_over() {
        return Some("has ended before its time, says its provider".to_owned());
    }
    if account.captures == Captures::Single && record.single == SingleUse::Used {
        return Some("has been captured, and can be captured only once".to_owned());
    }
    if !record.is_amount_known {
        return Some("has no amount yet: the provider is being asked for it".to_owned());
    }
    let holds_nothing = record.provider.remaining.is_some_and(Money::is_zero);
    holds_nothing.then(|| "holds nothing any more, says its provider".to_owned())
}

/// Money that somebody else took from its former authorization may be this very money.
fn foreign_money(
    books: &Books,
    shipment: &Shipment,
    total: Money,
    target: AuthorizationKey,
    context: Context<'_>,
) -> Result<(), WhyNot> {
    let Some(former) = shipment.authorization.map(|key| books.authorization(key)) else { return Ok(()) };
    let account = context.policy.accounts.get(&former.account);
    let ours = former.captured.checked_add(former.reserved).expect("one currency per authorization");
    // Those are other shipments': this one's own was looked for before.
    let found = Money::from_minor(found::in_all(former), former.currency).expect("captures are positive");
    let ours = ours.checked_add(found).expect("one currency per authorization");
    let shown = former.provider.captured.unwrap_or(Money::zero(former.currency));
    let foreign = shown.saturating_sub(ours).expect("one currency per authorization");
    // Whoever has let it be has found out that it is not this money.
    let let_be = former.watch.foreign.filter(|foreign| foreign.standing == ForeignStanding::LetBe);
    let let_be = let_be.map_or(Money::zero(former.currency), |foreign| foreign.amount);
    let foreign = foreign.saturating_sub(let_be).expect("one currency per authorization");
    let is_single = account.is_none_or(|account| account.captures == Captures::Single);
    if !foreign.is_zero() && (is_single || foreign.minor() >= total.minor()) {
        let otherwise = if is_single {
            "collect what is missing there".to_owned()
        } else {
            format!("where it is not, `holdfast authorizations resume {}`", former.reference)
        };
        let message = format!(
            "{foreign} was captured on its authorization, and not by us, perhaps this very money: find out at the \
             provider whose it is; then discard this, or {otherwise}"
        );
        return Err(WhyNot::new(WhyNotKind::CapturedElsewhere, message));
    }
    let is_reported = former.watch.reported.is_some() && former.watch.reported == former.expires_at;
    let is_over = former.expires_at.is_some_and(|at| at <= context.now.wall);
    let may_be_captured = account.is_none_or(|account| account.on_expiry == OnExpiry::MayCaptureInFull);
    let is_settled = is_reported || former.single == SingleUse::Used;
    if former.key != target && is_over && may_be_captured && !is_settled {
        let message = "its authorization has expired, and its provider may have captured it in full: wait until \
                       authorization.expired says what became of it";
        return Err(WhyNot::new(WhyNotKind::EndUnknown, message));
    }
    Ok(())
}

/// A shipment that was refused before it was given anything: would it be given something today?
fn anew(books: &Books, shipment: &Shipment, message: Option<Command>, context: Context<'_>) -> Result<Way, WhyNot> {
    let Some(Command::Accept(mut arrival)) = message else {
        return Err(WhyNot::new(WhyNotKind::StillRejected, "its message cannot be read any more: have it sent again"));
    };
    arrival.start = false;
    let order = shipment.order;
    if let Some(key) = found::captured_on(books, shipment.key, shipment.generation + 1) {
        is_configured(books, key, context)?;
        arrival.notice.authorization = Some(named_as(books.authorization(key)));
        return Ok(Way::Anew { shipment: shipment.key, arrival });
    }
    let open = open_authorization(books, order, shipment.authorization, context);
    let named = arrival.notice.authorization.as_ref();
    let is_registered = named.is_none_or(|facts| books.authorization_key(&facts.account, &facts.reference).is_some());
    match open {
        Ok(open) => arrival.notice.authorization = Some(named_as(books.authorization(open))),
        // What it names itself is not registered yet: it may be today.
        Err(_) if !is_registered => {}
        Err(_) if books.authorizations_of(order).is_empty() => {
            let message = "its authorization is still not known: tell of it by order.authorized, and replay then";
            return Err(WhyNot::new(WhyNotKind::StillUnknown, message));
        }
        Err(why) => return Err(why),
    }
    let would_stop = |stop| would_stop(&arrival, stop);
    let known = register::check(books, Told::by_shipment(&arrival.notice), context).map_err(would_stop)?;
    let is_explicit = arrival.notice.amount.is_some();
    if let Some(missing) = known.missing(books, &arrival.notice.order, is_explicit) {
        return Err(would_stop(Stop::Await(missing)));
    }
    if let Some(authorization) = known.registered().filter(|_| is_explicit || !known.has_plan()) {
        let rules = Rules::on(books, authorization, context);
        let given = amount::work_out(books.order(order), &arrival.notice, rules).map_err(would_stop)?;
        foreign_money(books, shipment, given.amount, authorization, context)?;
        room::has_room(books, &[shipment.key], authorization, given.amount, context)?;
    }
    Ok(Way::Anew { shipment: shipment.key, arrival })
}

/// It was captured there in the time that a restore has lost: that is booked only by what its account is said to be.
fn is_configured(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Result<(), WhyNot> {
    let account = &books.authorization(authorization).account;
    if context.policy.accounts.contains_key(account) {
        return Ok(());
    }
    let message =
        format!("it was captured on account {account}, which is not configured: configure it, and replay then");
    Err(WhyNot::new(WhyNotKind::NoOpenAuthorization, message))
}

/// After a restore others of its order may have been captured for what it was given.
fn fits_plan(books: &Books, order: OrderKey, amount: Money) -> Result<(), WhyNot> {
    if !found::exceeds_plan(books, order, amount) {
        return Ok(());
    }
    let message = format!(
        "with {amount} more its order would be captured for more than its plan: others of it were captured for a part of \
         this in the time that a restore has lost; look at the order at the provider, and collect there what is missing"
    );
    Err(WhyNot::new(WhyNotKind::ExceedsAuthorization, message))
}

/// A registered authorization, as a notice names it.
fn named_as(record: &Authorization) -> AuthorizationFacts {
    AuthorizationFacts {
        account: record.account.clone(),
        reference: record.reference.clone(),
        currency: record.currency,
        amount: None,
        authorized_at: None,
        expires_at: None,
    }
}

fn would_stop(arrival: &Arrival, stop: Stop) -> WhyNot {
    match stop {
        Stop::Reject { path, message, .. } => {
            let message = format!("it would be set aside: {} {message}", reject::path_in(arrival, &path));
            WhyNot::new(WhyNotKind::StillRejected, message)
        }
        Stop::Await(missing) => {
            let what = missing.as_failure().as_str().replace('_', " ");
            WhyNot::new(
                WhyNotKind::StillUnknown,
                format!("still {what}: send or configure what is missing, then replay"),
            )
        }
        Stop::Refuse { reason, message } => {
            let message = format!("it would be refused again, as {}: {message}", reason.as_str());
            WhyNot::new(WhyNotKind::StillRefused, message)
        }
    }
}

fn of_fee(books: &Books, letter: &DeadLetter, number: u32, context: Context<'_>) -> Result<Way, WhyNot> {
    let order = letter.order.as_ref().and_then(|id| books.order_key(id));
    let Some((order, amount)) = order.zip(letter.amount) else {
        return Err(WhyNot::new(WhyNotKind::Unknown, "what it is about is not in the ledger"));
    };
    let capture = books.fee_of(order, number, letter.generation);
    if let Some(why) = capture.and_then(why_not_after) {
        return Err(why);
    }
    let former = capture.map(|capture| capture.authorization);
    let caused_by = capture.and_then(FeeAgain::caused_by);
    let generation = letter.generation.saturating_add(1);
    if let Some(authorization) = fee::captured_on(books, order, number, generation) {
        is_configured(books, authorization, context)?;
        return Ok(Way::Fee { authorization, fee: FeeAgain { order, number, caused_by, amount, generation } });
    }
    fits_plan(books, order, amount)?;
    let authorization = open_authorization(books, order, former, context)?;
    let record = books.authorization(authorization);
    let account = context.policy.accounts.get(&record.account);
    if account.is_some_and(|account| account.captures == Captures::Single) {
        let message =
            "the order's newest open authorization is captured only once, for shipments: collect it otherwise";
        return Err(WhyNot::new(WhyNotKind::NoOpenAuthorization, message));
    }
    room::fee_has_room(record, amount, Rules::on(books, authorization, context))?;
    Ok(Way::Fee { authorization, fee: FeeAgain { order, number, caused_by, amount, generation } })
}
