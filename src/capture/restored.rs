//! After a restore from a backup the provider knows more than the ledger. Until an authorization was read
//! nothing is sent on it, and notices about it wait. The read books what is ours and open here, and notes
//! what stands under keys that the ledger does not have: captures of the lost time. A notice that comes
//! again computes the same key, finds it there, and is booked with the provider's amount, without a call.
//!
//! Which authorizations have to be read is the ledger's to say, as it is restored. Where there is one
//! capture per authorization there are no keys: the read before it finds it (`collect`).

pub(in crate::capture) mod found;
pub(in crate::capture) mod republished;

use std::time::Duration;

use crate::capture::books::Books;
use crate::capture::decide::{Context, Due, Evidence, Note, Ready, Reply};
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::evidence::{AuthorizationView, Doubt, DoubtKind, Reading, SeenCapture};
use crate::capture::foreign;
use crate::capture::outcome::Cause;
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, AuthorizationKey, CaptureKey, OrderKey, Restored};
use crate::capture::register;
use crate::capture::retry;
use crate::capture::settle;
use crate::capture::small;
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;

/// For so long after a restore the first capture on a new authorization is preceded by a read: its notice
/// may have come before, in the time that was lost. No card authorization lives longer.
pub const READ_FIRST_FOR: Duration = Duration::from_hours(24 * 90);

/// Answers that cannot be relied on, after which a restore waits for an authorization no longer. Nothing
/// is sent on it until it can be read.
pub const ANSWERS_MAX: u32 = 3;

/// Has the provider to be read first?
pub fn is_unread(record: &Authorization) -> bool {
    record.watch.restored == Some(Restored::Unread)
}

/// What a new authorization needs. Where the ledger was restored not long ago, a notice may have come before,
/// in the time that was lost, and was captured: under its key, where there are keys.
pub(super) fn of_new(books: &Books, account: &AccountName, context: Context<'_>) -> Option<Restored> {
    let is_several = context.policy.accounts.get(account).is_some_and(|it| it.captures == Captures::Multiple);
    (is_recent(books, context) && is_several).then_some(Restored::Unread)
}

/// Was the ledger restored not long ago?
pub(super) fn is_recent(books: &Books, context: Context<'_>) -> bool {
    books.read_first_until.is_some_and(|until| context.now.wall < until)
}

fn restored_at(books: &Books) -> Option<Timestamp> {
    books.read_first_until.map(|until| clock::before(until, READ_FIRST_FOR))
}

/// What is ready of an authorization that has to be read first.
pub(super) fn ready(books: &Books, authorization: AuthorizationKey) -> Option<Ready> {
    let record = books.authorization(authorization);
    let due = Due::Authorization(authorization);
    is_unread(record).then(|| Ready { due, account: record.account.clone(), deadline: record.expires_at })
}

/// The read came to nothing that can be relied on: it is made again, soon. An answer counts; that the
/// provider cannot be reached does not.
pub(super) fn again(books: &mut Books, authorization: AuthorizationKey, doubt: Doubt, context: Context<'_>) -> Reply {
    let is_answer = match doubt.kind {
        DoubtKind::Unreadable | DoubtKind::Coded => true,
        DoubtKind::Timeout | DoubtKind::ConnectionLost | DoubtKind::HttpStatus => false,
    };
    let record = books.authorization_mut(authorization);
    record.reads = record.reads.saturating_add(u32::from(is_answer));
    let wait = retry::look_delay(&context.policy.look_after, record.reads, context.jitter);
    let hint = doubt.retry_after.unwrap_or(Duration::ZERO).min(context.policy.retry_after_max);
    books.watch_mut(authorization).read_at = Some(clock::after(context.now.wall, wait.max(hint)));
    Reply::nothing(Note::ReadAgain(doubt.message))
}

/// The provider does not let us read, because of our configuration. It is an answer, too: others may be
/// readable.
pub(super) fn parked(books: &mut Books, authorization: AuthorizationKey) {
    let record = books.authorization_mut(authorization);
    record.reads = record.reads.saturating_add(1);
}

/// The read came: books what is ours and open here, and notes what else is under keys.
pub(super) fn read(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) -> Reply {
    let found = unknown(books, authorization, view);
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    books.authorization_mut(authorization).reads = 0;
    let watch = books.watch_mut(authorization);
    watch.read_at = None;
    watch.restored = Some(Restored::Read { adopted: 0, found });
    let adopted = adopt(books, authorization, view, context);
    end_earlier_generations(books, authorization, context);
    make_room(books, authorization, context);
    for capture in books.planned_on(authorization) {
        // An attempt of the lost time may have been executed, or be on its way: a refusal proves nothing
        // before a later read does.
        let progress = &mut books.capture_mut(capture).progress;
        progress.doubtful = progress.doubtful.max(1);
    }
    let order = books.authorization(authorization).order;
    for collecting in books.collecting_for(order) {
        // What waited in the backup, and whose order has ended since: only what was found holds it up now.
        small::end(books, order, collecting, context);
    }
    register::wake(books, order, context);
    due::hand_on(books, authorization, false, context).with_note(Note::Restored { adopted, found: count })
}

/// Captures under keys that the ledger does not have.
fn unknown(books: &Books, authorization: AuthorizationKey, view: &AuthorizationView) -> Vec<SeenCapture> {
    let known = books.ids_on(authorization);
    let currency = books.authorization(authorization).currency;
    let is_unknown =
        |seen: &&SeenCapture| seen.capture.is_some_and(|id| !known.contains(&id)) && seen.amount.currency() == currency;
    view.captures.iter().filter(is_unknown).cloned().collect()
}

/// Books what the read proves of captures whose end was not known. How many they are.
fn adopt(books: &mut Books, authorization: AuthorizationKey, view: &AuthorizationView, context: Context<'_>) -> u32 {
    let mut adopted = 0;
    for capture in books.undecided_on(authorization) {
        let evidence = Evidence::Reading(Reading::Seen(Box::new(view.clone())));
        if settle::apply_positive(books, capture, &evidence, context).is_some() {
            let words = "found at the provider after a restore from a backup".to_owned();
            due::note(books, capture, "adopted", words, context);
            adopted += 1;
            found::count_adopted(books, authorization);
        }
    }
    adopted
}

fn end_earlier_generations(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    for capture in books.undecided_on(authorization) {
        let is_open = !books.capture(capture).state.is_terminal();
        let Some(cause) = failed_in_lost_time(books, capture).filter(|_| is_open) else { continue };
        due::refuse(books, capture, &cause, context);
    }
}

/// Only what has failed is replayed: what is open by the books of that day, and was captured in a later generation,
/// has failed in the lost time. It is not sent again; a replay books what was captured. What was sent since the restore
/// may have been captured all the same.
pub(super) fn failed_in_lost_time(books: &Books, capture: CaptureKey) -> Option<Cause> {
    let sent = books.capture(capture).progress.window_from;
    let is_sent_since = restored_at(books).is_some_and(|restored_at| sent.is_some_and(|mark| mark.wall > restored_at));
    found::obstacle(books, capture).filter(|_| !is_sent_since)
}

/// What the books of that day had planned, and what no longer fits beside what was captured since, is
/// refused: else there would be no room in the books for what was captured.
fn make_room(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    let record = books.authorization(authorization);
    let Some(left) = foreign::left(record, context).filter(|_| !found::all(record).is_empty()) else { return };
    let planned = books.planned_on(authorization);
    let amount_of = |books: &Books, key: &CaptureKey| books.capture(*key).amount.minor();
    let in_doubt = record.reserved.minor() - planned.iter().map(|key| amount_of(books, key)).sum::<i64>();
    let mut room = left.minor() - in_doubt;
    for capture in planned {
        let amount = amount_of(books, &capture);
        if amount <= room {
            room -= amount;
            continue;
        }
        let message = format!(
            "{} was earned; what was captured since the backup leaves no room for it",
            books.capture(capture).amount
        );
        due::refuse(books, capture, &Cause::lookup(FailureReason::ExceedsAuthorization, &message), context);
    }
}

/// The authorizations of an order on which something may have been captured in the lost time; none in a ledger
/// that was never restored.
fn of_order(books: &Books, order: OrderKey) -> impl Iterator<Item = AuthorizationKey> {
    let keys = books.read_first_until.map(|_| books.authorizations_of(order));
    keys.into_iter().flatten()
}

/// Has anything of the order to be read, on which a shipment may have been captured whose notice names no
/// authorization? One that cannot be read is not waited for.
pub(super) fn is_any_unread(books: &Books, order: OrderKey) -> bool {
    let is_waited_for = |key: AuthorizationKey| {
        let record = books.authorization(key);
        is_unread(record) && record.reads < ANSWERS_MAX
    };
    of_order(books, order).any(is_waited_for)
}
