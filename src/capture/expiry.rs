//! What is due because an authorization is dying: a warning at each lead before its expiry, and after
//! it a read, which shows what became of the money. The clock only says when to look; that an
//! authorization is over, and what was captured on it, is the provider's word.
//!
//! Taking earned money in time is not done here, but by `collect` and `due`. What is due next is one
//! instant per authorization, [`Watch::at`]: a ledger finds it by one index, however many are watched.

use std::time::Duration;

use crate::capture::books::Books;
use crate::capture::decide::{Call, Context, Expire, Note, Reply, Subject, Ticket};
use crate::capture::due;
use crate::capture::event::{AuthorizationEnd, AuthorizationWarning, Ending, Event, EventContent};
use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, Reading};
use crate::capture::foreign;
use crate::capture::outcome;
use crate::capture::policy::{OnExpiry, Policy};
use crate::capture::records::{Authorization, AuthorizationKey, Lead, SingleUse, Watch};
use crate::capture::restored;
use crate::capture::retry;
use crate::capture::settle;
use crate::clock::{self, Timestamp};
use crate::ids::{AccountName, EventId};
use crate::money::Money;

/// What a new authorization is watched for. Where nobody has told its expiry, the provider is asked;
/// not at once, for the answer to a first capture may tell it.
pub(super) fn first_watch(
    books: &Books,
    account: &AccountName,
    expires_at: Option<Timestamp>,
    context: Context<'_>,
) -> Watch {
    if let Some(restored) = restored::of_new(books, account, context) {
        return Watch { read_at: Some(context.now.wall), restored: Some(restored), ..Watch::default() };
    }
    let wait = retry::look_delay(&context.policy.look_after, 0, context.jitter);
    let ask_at = expires_at.is_none().then(|| clock::after(context.now.wall, wait));
    Watch { read_at: ask_at, ..Watch::default() }
}

/// Works out anew when something is due about an authorization that a command has changed.
pub(super) fn schedule(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    if !is_watched(books.authorization(authorization)) {
        foreign::forget(books, authorization);
    }
    let record = books.authorization(authorization);
    let watch = &record.watch;
    let read_at = watch.read_at.filter(|_| call_from(record).is_some());
    let lead_at = next_lead(record, context.policy);
    let call_at = call_from(record).map(|from| read_at.map_or(from, |at| at.max(from)));
    let at = [lead_at, call_at].into_iter().flatten().min();
    if (at, lead_at, read_at) != (watch.at, watch.lead_at, watch.read_at) {
        let watch = books.watch_mut(authorization);
        (watch.at, watch.lead_at, watch.read_at) = (at, lead_at, read_at);
    }
}

/// From when on the provider is to be read: because the ledger was restored, for the freeze, for an expiry that nobody has told, for
/// foreign money, or for what became of it after its expiry. Captures that are open then come first, by their own rules;
/// but those that a cap holds end with it.
fn call_from(record: &Authorization) -> Option<Timestamp> {
    let freeze = record.freeze_at.filter(|_| record.waiting > 0 && record.single == SingleUse::Free);
    let end = match record.expires_at {
        _ if !is_watched(record) => None,
        // First it is asked for with what else is not known.
        None => Some(Timestamp::UNIX_EPOCH).filter(|_| record.ask.is_none()),
        Some(at) => Some(at).filter(|_| !has_open(record)),
    };
    // When, is up to the read that was put off.
    let foreign = Some(Timestamp::UNIX_EPOCH).filter(|_| is_watched(record) && foreign::needs_reads(record));
    let restored = Some(Timestamp::UNIX_EPOCH).filter(|_| restored::is_unread(record));
    [freeze, end, foreign, restored].into_iter().flatten().min()
}

/// Is there anything about its end that is not known?
fn is_watched(record: &Authorization) -> bool {
    let is_used_up = record.single == SingleUse::Used && !record.captured.is_zero();
    let is_captured = record.is_amount_known && record.captured.minor() >= record.authorized.minor();
    let is_reported = record.watch.reported.is_some() && record.watch.reported == record.expires_at;
    !(is_used_up || is_captured || is_reported)
}

/// Is anything open on it, besides what a cap holds and what waits for the end of that?
fn has_open(record: &Authorization) -> bool {
    let waits_for_held = record.held > 0 && record.single == SingleUse::Undecided;
    record.planned > record.held || record.in_flight > 0 || (record.waiting > 0 && !waits_for_held)
}

fn next_lead(record: &Authorization, policy: &Policy) -> Option<Timestamp> {
    let expires_at = record.expires_at.filter(|_| is_watched(record))?;
    let leads = policy.expiring_leads.iter().map(|lead| Lead { expires_at, lead: *lead });
    leads.filter(|lead| !record.watch.leads.contains(lead)).map(|lead| clock::before(expires_at, lead.lead)).min()
}

/// Was a wait from now on until this instant set by a clock that has been set back since?
pub(super) fn is_beyond(at: Timestamp, longest: Duration, context: Context<'_>) -> bool {
    at > clock::after(context.now.wall, longest)
}

/// May a read be begun, as far as the one before it is concerned?
pub(super) fn may_read(record: &Authorization, context: Context<'_>) -> bool {
    let longest = if record.waiting > 0 { context.policy.longest_wait() } else { context.policy.longest_rest() };
    record.watch.read_at.is_none_or(|at| at <= context.now.wall || is_beyond(at, longest, context))
}

/// Leads have come: warns of each, once, while there is money to be lost.
pub(super) fn warn(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    let Some(record) = books.authorizations().find(authorization) else { return Reply::nothing(Note::Nothing) };
    let Some(expires_at) = record.expires_at.filter(|_| is_watched(record)) else {
        return Reply::nothing(Note::Nothing);
    };
    let leads = context.policy.expiring_leads.iter().map(|lead| Lead { expires_at, lead: *lead });
    let has_come = |lead: &Lead| clock::before(expires_at, lead.lead) <= context.now.wall;
    let leads: Vec<Lead> = leads.filter(|lead| has_come(lead) && !record.watch.leads.contains(lead)).collect();
    let on_expiry = on_expiry(record, context);
    let is_at_stake = is_at_stake(books, record, on_expiry);
    let subject = subject(books, record);
    books.watch_mut(authorization).leads.extend(&leads);
    if !is_at_stake || leads.is_empty() {
        return Reply::nothing(Note::Nothing).about(subject);
    }
    for lead in leads {
        announce_warning(books, authorization, lead, on_expiry, context);
    }
    Reply::nothing(Note::Expiring(expires_at)).about(subject)
}

fn on_expiry(record: &Authorization, context: Context<'_>) -> OnExpiry {
    context.policy.accounts.get(&record.account).map_or(OnExpiry::Void, |account| account.on_expiry)
}

/// Is there money that is earned or may still be earned? Where a hold that dies may be captured by the
/// provider itself: does it hold anything at all?
fn is_at_stake(books: &Books, record: &Authorization, on_expiry: OnExpiry) -> bool {
    let order = books.order(record.order);
    let may_ship = order.final_at.is_none() && !order.is_complete();
    let left = record.remaining().saturating_sub(record.waiting_amount).expect("one currency per authorization");
    let may_be_left = !record.is_amount_known || !left.is_zero();
    let is_held = record.provider.remaining.is_none_or(|held| !held.is_zero());
    let is_usable = record.single != SingleUse::Used;
    match on_expiry {
        OnExpiry::MayCaptureInFull => is_usable && is_held,
        OnExpiry::Void => !record.earned_uncaptured().is_zero() || (is_usable && may_ship && may_be_left),
    }
}

fn announce_warning(
    books: &mut Books,
    authorization: AuthorizationKey,
    lead: Lead,
    on_expiry: OnExpiry,
    context: Context<'_>,
) {
    let sequence = books.next_sequence(books.authorization(authorization).order);
    let record = books.authorization(authorization);
    let content = EventContent::Expiring(Box::new(AuthorizationWarning {
        order: books.order(record.order).id.clone(),
        account: record.account.clone(),
        reference: record.reference.clone(),
        expires_at: lead.expires_at,
        expiry_is_derived: record.expiry_is_derived,
        lead: lead.lead,
        on_expiry,
        balance: outcome::balance_of(record),
        sequence,
    }));
    let (account, reference) = (&record.account, &record.reference);
    let id = EventId::of_authorization(content.kind(), account, reference, lead.expires_at, Some(lead.lead));
    books.announce(Event { id, time: context.now.wall, traceparent: None, content }, None);
}

/// Begins the read of an authorization whose expiry has passed, or is not known.
pub(super) fn due(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    let record = books.authorization(authorization);
    let is_due = call_from(record).is_some_and(|from| from <= context.now.wall) && may_read(record, context);
    if !is_due {
        // Nothing is under way that is worth waiting for.
        if may_read(record, context) && record.watch.read_at.is_some() {
            books.watch_mut(authorization).read_at = None;
        }
        return Reply::nothing(Note::Nothing);
    }
    let (account, reference) = (record.account.clone(), record.reference.clone());
    let subject = subject(books, record);
    let record = books.authorization_mut(authorization);
    record.epoch += 1;
    let call = Call::ReadExpiry { authorization, epoch: record.epoch };
    // Should the answer never come, the watch finds the authorization again.
    let again = clock::after(context.now.wall, due::no_answer_after(&account, context));
    books.watch_mut(authorization).read_at = Some(again);
    let ticket = Ticket { account, reference, call, traces: Vec::new() };
    Reply { ticket: Some(ticket), ..Reply::nothing(Note::Looking) }.about(subject)
}

/// The read came: says what became of the money, or reads again.
pub(super) fn expire(books: &mut Books, expire: Expire, context: Context<'_>) -> Reply {
    let Expire { authorization, epoch, reading } = expire;
    let record = books.authorization(authorization);
    if record.epoch != epoch {
        return Reply::nothing(Note::Nothing);
    }
    let subject = subject(books, record);
    let is_unread = restored::is_unread(record);
    match reading {
        Reading::Unclear(doubt) if is_unread => restored::again(books, authorization, doubt, context),
        Reading::Unclear(doubt) => read_again(books, authorization, 0, doubt.message, context),
        Reading::Misconfigured(fault) => {
            let at = clock::after(context.now.wall, context.policy.parked_for);
            books.watch_mut(authorization).read_at = Some(at);
            if is_unread {
                restored::parked(books, authorization);
            }
            Reply::nothing(Note::Parked(fault.message))
        }
        Reading::Seen(view) if is_unread => {
            settle::note_provider(books, authorization, &view, context);
            restored::read(books, authorization, &view, context)
        }
        Reading::Seen(view) => {
            // `due` had it read again when no answer would come any more.
            let no_answer_after = due::no_answer_after(&record.account, context);
            let begun = record.watch.read_at.map_or(context.now.wall, |at| clock::before(at, no_answer_after));
            settle::note_provider(books, authorization, &view, context);
            if let Some(corrected) = settle::adopt(books, authorization, &view, context) {
                // Read again by the schedule: what the books had of it is another matter now.
                read_again(books, authorization, 0, String::new(), context);
                return corrected;
            }
            foreign::read(books, authorization, &view, begun, context)
                .unwrap_or_else(|| conclude(books, authorization, &view, context))
        }
    }
    .about(subject)
}

/// Reads again by the resolver's schedule; each read beyond it that shows money still held doubles
/// the rest before the next, up to a bound.
pub(super) fn read_again(
    books: &mut Books,
    authorization: AuthorizationKey,
    doublings: u32,
    why: String,
    context: Context<'_>,
) -> Reply {
    let schedule = &context.policy.look_after;
    let record = books.authorization_mut(authorization);
    let wait = retry::look_delay(schedule, record.reads, context.jitter);
    let wait = wait.saturating_mul(1 << doublings.min(16)).min(Policy::REST_MAX.max(wait));
    record.reads = record.reads.saturating_add(1);
    books.watch_mut(authorization).read_at = Some(clock::after(context.now.wall, wait));
    Reply::nothing(Note::ReadAgain(why))
}

fn rest(books: &mut Books, authorization: AuthorizationKey, why: &str, context: Context<'_>) -> Reply {
    let scheduled = u32::try_from(context.policy.look_after.len()).unwrap_or(u32::MAX);
    let doublings = books.authorization(authorization).reads.saturating_sub(scheduled);
    read_again(books, authorization, doublings, why.to_owned(), context)
}

fn conclude(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) -> Reply {
    let record = books.authorization(authorization);
    let Some(expires_at) = record.expires_at else {
        return rest(books, authorization, "the provider does not say when it expires", context);
    };
    let is_over = expires_at <= context.now.wall;
    if !is_over || has_open(record) || !is_watched(record) {
        books.authorization_mut(authorization).reads = 0;
        books.watch_mut(authorization).read_at = None;
        return Reply::nothing(Note::Nothing);
    }
    if view.currency != record.currency {
        return rest(books, authorization, "the provider shows it in another currency", context);
    }
    match ending(view) {
        Some(_) if record.held > 0 => end_held(books, authorization, view, context),
        Some(ending) => report(books, authorization, view, expires_at, ending, context),
        None => rest(books, authorization, "past its expiry, and the provider still holds it", context),
    }
}

/// It is over, and a cap still holds captures on it: they are taken up by themselves, and end.
fn end_held(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) -> Reply {
    settle::note_over(books, authorization, true);
    let shown = captured_in_all(view, books.authorization(authorization));
    books.authorization_mut(authorization).provider.captured = Some(shown);
    for capture in books.planned_on(authorization) {
        books.capture_mut(capture).due_at = Some(context.now.wall);
    }
    read_again(books, authorization, 0, "it is over, and what a cap held ends".to_owned(), context)
}

/// How it ended; `None` while it may still be captured.
fn ending(view: &AuthorizationView) -> Option<Ending> {
    if view.has_pending_capture {
        return None;
    }
    let holds_nothing = view.balance.remaining.is_some_and(Money::is_zero);
    match view.status {
        AuthorizationStatus::Expired => Some(Ending::Expired),
        AuthorizationStatus::Voided => Some(Ending::Voided),
        AuthorizationStatus::Declined => Some(Ending::Declined),
        AuthorizationStatus::FullyCaptured => Some(Ending::Captured),
        AuthorizationStatus::Open if holds_nothing => Some(Ending::Expired),
        AuthorizationStatus::Open | AuthorizationStatus::NotYetApproved => None,
    }
}

/// Records and publishes what became of the money: ours, captured by somebody else, released.
fn report(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    expires_at: Timestamp,
    ending: Ending,
    context: Context<'_>,
) -> Reply {
    let one = "one currency per authorization";
    let sequence = books.next_sequence(books.authorization(authorization).order);
    let record = books.authorization(authorization);
    let held = view.authorized.unwrap_or(record.authorized);
    let shown = captured_in_all(view, record);
    let captured = if shown.minor() < record.captured.minor() { record.captured } else { shown };
    let captured_elsewhere = captured.saturating_sub(record.captured).expect(one);
    let released = held.saturating_sub(captured).expect(one);
    let content = EventContent::Expired(Box::new(AuthorizationEnd {
        order: books.order(record.order).id.clone(),
        account: record.account.clone(),
        reference: record.reference.clone(),
        expires_at,
        ending,
        authorized: held,
        captured_by_us: record.captured,
        captured_elsewhere,
        released,
        sequence,
    }));
    let id = EventId::of_authorization(content.kind(), &record.account, &record.reference, expires_at, None);
    books.announce(Event { id, time: context.now.wall, traceparent: None, content }, None);
    let record = books.authorization_mut(authorization);
    record.provider.captured = Some(shown);
    record.provider.remaining = Some(Money::zero(record.currency));
    record.reads = 0;
    books.watch_mut(authorization).reported = Some(expires_at);
    Reply::nothing(Note::Expired { captured_elsewhere, released })
}

/// What the provider shows as captured, by anybody.
pub(super) fn captured_in_all(view: &AuthorizationView, record: &Authorization) -> Money {
    let zero = Money::zero(record.currency);
    // A capture in another currency than the authorization's is not ours, and cannot be summed up.
    let events = view.captures.iter().fold(zero, |sum, seen| sum.checked_add(seen.amount).unwrap_or(sum));
    let told = view.balance.captured.unwrap_or(zero);
    let in_full = view.status == AuthorizationStatus::FullyCaptured && events.is_zero() && told.is_zero();
    if in_full {
        return view.authorized.unwrap_or(record.authorized);
    }
    if told.minor() > events.minor() { told } else { events }
}

/// The account of an authorization is not configured: it can be warned of, and not read.
pub(super) fn park(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    let at = clock::after(context.now.wall, context.policy.awaiting_check);
    books.watch_mut(authorization).read_at = Some(at);
    let subject = subject(books, books.authorization(authorization));
    Reply::nothing(Note::Parked(due::NOT_CONFIGURED.to_owned())).about(subject)
}

fn subject(books: &Books, record: &Authorization) -> Subject {
    outcome::subject_of_authorization(books, record.key)
}
