//! Asking the provider for what nobody has told of an authorization: how much it is, and how long it
//! lives. A read of its own, begun under a permit, whose answer comes back through a command.
//!
//! Only facts are taken from the answer; what it shows of captures is `judge`'s, about a capture.

use crate::capture::books::Books;
use crate::capture::decide::{Call, Context, Due, Learn, Note, Ready, Reply, Subject, Ticket};
use crate::capture::due;
use crate::capture::evidence::{AuthorizationStatus, AuthorizationView, Reading};
use crate::capture::expiry;
use crate::capture::foreign;
use crate::capture::notice::AuthorizationFacts;
use crate::capture::outcome;
use crate::capture::records::{Ask, Authorization, AuthorizationKey};
use crate::capture::register;
use crate::capture::retry;
use crate::capture::settle;
use crate::clock;

/// Has the provider asked for what a notice leaves open, where it can tell: for the amount, as long as
/// nobody knows it; for the expiry once, when the authorization is new.
pub(super) fn ask_if_needed(
    books: &mut Books,
    authorization: AuthorizationKey,
    new: Option<&AuthorizationFacts>,
    context: Context<'_>,
) {
    let record = books.authorization(authorization);
    let account = context.policy.accounts.get(&record.account);
    let tells_expiry = account.is_some_and(|account| account.tells_expiry);
    // From when it was made follows when it dies, where the account's settings say how long it lives.
    let derives = account.is_some_and(|account| account.authorization_lifetime.is_some());
    let is_wanted = |facts: &AuthorizationFacts| {
        facts.expires_at.is_none() && (tells_expiry || derives && facts.authorized_at.is_none())
    };
    if record.ask.is_some() || record.is_amount_known && !new.is_some_and(is_wanted) {
        return;
    }
    let now = context.now.wall;
    let ask = Ask { at: now, until: clock::after(now, context.policy.awaiting_max), count: 0 };
    books.authorization_mut(authorization).ask = Some(ask);
}

/// The question, where it is due.
pub(super) fn ready(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> Option<Ready> {
    let record = books.authorization(authorization);
    let is_due = record.ask.is_some_and(|ask| ask.at <= context.now.wall);
    let account = record.account.clone();
    is_due.then_some(Ready { due: Due::Ask(authorization), account, deadline: record.expires_at })
}

/// Begins the question, with the permit that the caller holds.
pub(super) fn due(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    let Some(record) = books.authorizations().find(authorization) else { return Reply::nothing(Note::Nothing) };
    let longest = context.policy.longest_wait();
    let is_due = |ask: &Ask| ask.at <= context.now.wall || expiry::is_beyond(ask.at, longest, context);
    let Some(ask) = record.ask.filter(is_due) else { return Reply::nothing(Note::Nothing) };
    if !context.policy.accounts.contains_key(&record.account) {
        let at = clock::after(context.now.wall, context.policy.awaiting_check);
        books.authorization_mut(authorization).ask = Some(Ask { at, ..ask });
        return Reply::nothing(Note::Parked(due::NOT_CONFIGURED.to_owned())).about(subject(books, authorization));
    }
    let (account, reference) = (record.account.clone(), record.reference.clone());
    // Should the answer never come, the watch finds the question again.
    let at = clock::after(context.now.wall, due::no_answer_after(&account, context));
    books.authorization_mut(authorization).ask = Some(Ask { at, count: ask.count + 1, ..ask });
    let ticket = Ticket { account, reference, call: Call::Ask { authorization }, traces: Vec::new() };
    Reply { ticket: Some(ticket), ..Reply::nothing(Note::Looking) }.about(subject(books, authorization))
}

/// The answer came: takes what it tells, and asks again where that is not enough.
pub(super) fn learn(books: &mut Books, learn: Learn, context: Context<'_>) -> Reply {
    let Learn { authorization, reading } = learn;
    let Some(record) = books.authorizations().find(authorization) else { return Reply::nothing(Note::Nothing) };
    let Some(ask) = record.ask else { return Reply::nothing(Note::Nothing) };
    let now = context.now.wall;
    let wait = retry::look_delay(&context.policy.look_after, ask.count.saturating_sub(1), context.jitter);
    let (wait, note) = match reading {
        Reading::Seen(view) => match take(books, authorization, &view, context) {
            Ok(()) => (None, Note::Nothing),
            Err(why) => (Some(wait), Note::ReadAgain(why.to_owned())),
        },
        Reading::Unclear(doubt) => {
            (Some(wait.max(doubt.retry_after.unwrap_or_default())), Note::ReadAgain(doubt.message))
        }
        Reading::Misconfigured(fault) => (Some(context.policy.parked_for), Note::Parked(fault.message)),
    };
    let again = wait.map(|wait| Ask { at: clock::after(now, wait), ..ask });
    books.authorization_mut(authorization).ask = again.filter(|ask| ask.at <= ask.until);
    Reply::nothing(note).about(subject(books, authorization))
}

/// Takes what a view tells, or says why it does not tell enough.
fn take(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) -> Result<(), &'static str> {
    let record = books.authorization(authorization);
    if view.currency != record.currency {
        return Err("the provider holds the money in another currency");
    }
    let (order, was_known) = (record.order, record.is_amount_known);
    settle::note_provider(books, authorization, view, context);
    foreign::note_view(books, authorization, view, context);
    if view.status == AuthorizationStatus::NotYetApproved {
        return Err("not approved yet");
    }
    if was_known {
        return Ok(());
    }
    let amount =
        view.authorized.filter(|amount| !amount.is_zero()).ok_or("the provider does not say how much it is")?;
    let record = books.authorization_mut(authorization);
    record.authorized = amount;
    record.is_amount_known = true;
    register::wake(books, order, context);
    Ok(())
}

/// A derived expiry counts from the earliest that anybody says of when the authorization was made.
pub(super) fn derive_expiry(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) {
    let record: &Authorization = books.authorization(authorization);
    let lifetime = context.policy.accounts.get(&record.account).and_then(|account| account.authorization_lifetime);
    let Some((made_at, lifetime)) = view.authorized_at.zip(lifetime) else { return };
    let derived = clock::after(made_at, lifetime);
    let is_open = record.expires_at.is_none() || record.expiry_is_derived;
    if is_open && record.expires_at.is_none_or(|known| derived < known) {
        let record = books.authorization_mut(authorization);
        record.expires_at = Some(derived);
        record.expiry_is_derived = true;
        due::move_deadline(books, authorization, context);
    }
}

fn subject(books: &Books, authorization: AuthorizationKey) -> Subject {
    outcome::subject_of_authorization(books, authorization)
}
