//! Caps of an account: the most that is captured at once, in any hour and in any day, before a person is
//! asked. What would be more is held: planned, reserved and visible, neither sent nor failed.
//!
//! It is decided where an attempt is begun, in the transaction that begins it, on what the ledger has counted.
//! A capture counts from the moment at which its first request was begun, in doubt or captured; a refusal and
//! an attempt that was certainly not executed give its room back, and only then is it held to the caps again. What was
//! captured without being begun by these books (found in a read, or corrected) is counted when it is booked,
//! whether there is room or not.
//!
//! A capture that is held does not hold up others: what fits goes on.

use crate::capture::books::Books;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::{FailureReason, OperatorNote};
use crate::capture::outcome::Cause;
use crate::capture::policy::{AccountPolicy, Captures};
use crate::capture::records::{Authorization, Capped, Capture, CaptureKey};
use crate::capture::usage::Window;
use crate::clock::{self, Timestamp};

/// Why a capture is held, and until when at most.
struct Hold {
    by: Capped,
    words: String,
    room_at: Option<Timestamp>,
}

/// Holds a planned capture whose turn has come, where a cap does not let it through. `None`: nothing holds it.
pub(super) fn hold(books: &mut Books, capture: CaptureKey, context: Context<'_>) -> Option<Reply> {
    let record = books.capture(capture);
    let policy = account_of(books, record, context).filter(|policy| !policy.caps.is_empty())?;
    if record.capped == Some(Capped::Released) {
        return None;
    }
    let (account, currency) = (&books.authorization(record.authorization).account, record.amount.currency());
    if books.usage(account, currency).is_some_and(|usage| usage.is_ahead(context.now.wall)) {
        let account = account.clone();
        books.usage_mut(&account, currency).come_to(context.now.wall);
    }
    let Some(Hold { by, words, room_at }) = find(books, capture, policy, context) else {
        books.let_go(capture);
        return None;
    };
    // A raised cap and room that others give back are found before it comes by itself.
    let look_at = clock::after(context.now.wall, context.policy.awaiting_check);
    let is_new = books.capture(capture).capped != Some(by);
    if is_new {
        due::note(books, capture, "held", words.clone(), context);
        books.set_capped(capture, Some(by));
    }
    let record = books.capture_mut(capture);
    record.due_at = Some(room_at.map_or(look_at, |at| at.min(look_at)));
    record.waits_turn = false;
    record.progress.last_seen = Some(words.clone());
    Some(Reply::nothing(if is_new { Note::Held(words) } else { Note::Nothing }))
}

fn find(books: &Books, capture: CaptureKey, policy: &AccountPolicy, context: Context<'_>) -> Option<Hold> {
    let (amount, now) = (books.capture(capture).amount, context.now.wall);
    let account = &books.authorization(books.capture(capture).authorization).account;
    let never = |by, words| Some(Hold { by, words, room_at: None });
    let Some(caps) = policy.caps_in(amount.currency()) else {
        let words = format!("{account} has caps, and none in {}, of which this is {amount}", amount.currency());
        return never(Capped::Currency, words);
    };
    if let Some(cap) = caps.capture.filter(|cap| amount.minor() > cap.minor()) {
        return never(Capped::Capture, format!("{amount} is more than the {cap} that {account} captures at once"));
    }
    let mut latest: Option<Hold> = None;
    for window in Window::ALL {
        let Some(cap) = caps.of(window) else { continue };
        let span = window.in_words();
        if amount.minor() > cap.minor() {
            let words = format!("{amount} is more than the {cap} that {account} captures {span}, and never has room");
            return never(Capped::Capture, words);
        }
        let Some(usage) = books.usage(account, amount.currency()) else { continue };
        let used = usage.used(window, now);
        if used.minor().saturating_add(amount.minor()) <= cap.minor() {
            continue;
        }
        let room_at = usage.room_at(window, amount, cap, now);
        if latest.as_ref().is_some_and(|before| before.room_at >= room_at) {
            continue;
        }
        let about = room_at.map(|at| at.format("; room at about %Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
        let words = format!("{used} of the {cap} that {account} captures {span} are used, it needs {amount}{about}");
        let by = match window {
            Window::Hour => Capped::Hour,
            Window::Day => Capped::Day,
        };
        latest = Some(Hold { by, words, room_at });
    }
    latest
}

/// Counts a capture that may be captured from now on, or was, unless it is counted.
pub(super) fn count(books: &mut Books, capture: CaptureKey, context: Context<'_>) {
    let record = books.capture(capture);
    let policy = account_of(books, record, context);
    let caps = policy.and_then(|policy| policy.caps_in(record.amount.currency()));
    if caps.is_some_and(|caps| Window::ALL.into_iter().any(|window| caps.of(window).is_some())) {
        books.count(capture, context.now.wall);
    }
}

/// Why a capture that is held can never be sent any more: its provider has said that nothing can be taken from
/// its authorization.
pub(super) fn obstacle(books: &Books, capture: CaptureKey, context: Context<'_>) -> Option<Cause> {
    let capture = books.capture(capture);
    let record = books.authorization(capture.authorization);
    if !capture.is_held() || !record.is_over() {
        return None;
    }
    let (reason, what) = how_it_ended(record, account_of(books, capture, context)?.captures, context);
    let words = capture.progress.last_seen.as_deref().unwrap_or("it was over a cap of its account");
    Some(Cause::lookup(reason, &format!("{what} while a cap held it: {words}")))
}

fn how_it_ended(record: &Authorization, captures: Captures, context: Context<'_>) -> (FailureReason, &'static str) {
    let is_elsewhere = record.provider.captured.is_some_and(|shown| shown.minor() > record.captured.minor());
    let is_past = record.expires_at.is_some_and(|at| at <= context.now.wall);
    match captures {
        Captures::Single if is_elsewhere => {
            (FailureReason::CapturedElsewhere, "the authorization was captured by somebody else")
        }
        Captures::Single | Captures::Multiple if is_past => {
            (FailureReason::AuthorizationExpired, "the authorization has expired")
        }
        Captures::Single | Captures::Multiple => (FailureReason::AuthorizationVoided, "the authorization was ended"),
    }
}

/// An operator lets a held capture through. `None`: no cap holds it.
pub(super) fn release(
    books: &mut Books,
    capture: CaptureKey,
    by: &OperatorNote,
    context: Context<'_>,
) -> Option<Reply> {
    let record = books.capture(capture);
    if !record.is_held() {
        return None;
    }
    let amount = record.amount;
    due::note(books, capture, "released", format!("by {}: {}", by.who, by.why), context);
    books.set_capped(capture, Some(Capped::Released));
    books.capture_mut(capture).progress.last_seen = None;
    Some(due::begin_in_turn(books, capture, false, context).with_note(Note::Released(amount)))
}

fn account_of<'a>(books: &Books, capture: &Capture, context: Context<'a>) -> Option<&'a AccountPolicy> {
    context.policy.accounts.get(&books.authorization(capture.authorization).account)
}
