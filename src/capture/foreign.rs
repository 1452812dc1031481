//! Money that somebody else has captured on an authorization which we capture several times. What the
//! provider shows as captured beyond our books is not ours: two reads at least `quiet` apart that show it
//! halt that one authorization, and no other. Nothing is sent on it until a read agrees with our books,
//! an operator lets it be, or the deadline margin comes; then what fits is sent, and the rest refused.
//!
//! It books no money and concludes nothing about a capture: that is `judge`'s. On an authorization with
//! one capture, somebody else's is found by `collect` and `judge`.

use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::evidence::{AuthorizationView, ProviderBalance};
use crate::capture::expiry;
use crate::capture::outcome::Cause;
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, AuthorizationKey, CaptureKey, Foreign, ForeignStanding};
use crate::capture::restored::found;
use crate::capture::retry;
use crate::clock::{self, Timestamp};
use crate::ids::CaptureId;
use crate::money::Money;

/// Is nothing to be sent on the authorization?
pub(super) fn is_halted(record: &Authorization, context: Context<'_>) -> bool {
    standing(record) == Some(ForeignStanding::Halted) && !is_hurried(record, context)
}

/// Has the deadline margin come of an authorization that can be captured several times?
pub(super) fn is_hurried(record: &Authorization, context: Context<'_>) -> bool {
    is_several(record, context) && collect::deadline_of(record, context).is_some_and(|at| at <= context.now.wall)
}

/// Has the provider to be read because of it?
pub(super) fn needs_reads(record: &Authorization) -> bool {
    match standing(record) {
        Some(ForeignStanding::Suspected | ForeignStanding::Seen | ForeignStanding::Halted) => true,
        Some(ForeignStanding::LetBe) | None => false,
    }
}

/// What can still be captured: by our books, and by the provider's last word, whichever is less.
pub(super) fn room(record: &Authorization, context: Context<'_>) -> Money {
    let ours = record.remaining();
    left(record, context).filter(|held| held.minor() < ours.minor()).unwrap_or(ours)
}

/// What remains at the provider by its last word, where that can be relied on: not while foreign money is
/// being found out about, and not after the expiry, of which its answer to a capture says more.
pub(super) fn left(record: &Authorization, context: Context<'_>) -> Option<Money> {
    let is_over = record.expires_at.is_some_and(|at| at <= context.now.wall);
    record.provider.remaining.filter(|_| !is_over && !needs_reads(record) && is_several(record, context))
}

/// Why a planned capture cannot be captured any more: somebody has voided or captured what it was to be
/// taken from.
pub(super) fn obstacle(books: &Books, capture: CaptureKey, context: Context<'_>) -> Option<Cause> {
    let capture = books.capture(capture);
    let record = books.authorization(capture.authorization);
    let held = left(record, context)?;
    (capture.amount.fits(held) == Ok(false)).then(|| {
        let message = format!(
            "{} was earned, {held} remains at the provider: somebody else has voided or captured the rest",
            capture.amount
        );
        Cause::lookup(FailureReason::ExceedsAuthorization, &message)
    })
}

/// The answer to a capture of ours, which is booked, tells a balance: where that is more than our books
/// have, the authorization is read.
pub(super) fn note_answer(
    books: &mut Books,
    authorization: AuthorizationKey,
    balance: ProviderBalance,
    context: Context<'_>,
) {
    let record = books.authorization(authorization);
    let Some(shown) = balance.captured.filter(|shown| shown.currency() == record.currency) else { return };
    let Some(amount) = positive(record, shown.minor() - found::captured_by_us(record)) else { return };
    if is_known(record, amount) || !is_several(record, context) {
        return;
    }
    let wait = retry::look_delay(&context.policy.look_after, 0, context.jitter);
    stand(books, authorization, ForeignStanding::Suspected, amount, context);
    books.authorization_mut(authorization).reads = 0;
    books.watch_mut(authorization).read_at = Some(clock::after(context.now.wall, wait));
}

/// A read about something else has shown the authorization: a first sight, where it shows foreign money.
pub(super) fn note_view(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    context: Context<'_>,
) {
    let record = books.authorization(authorization);
    let Some(difference) = difference(books, record, view, context) else { return };
    let Some(amount) = positive(record, difference) else { return };
    if !is_known(record, amount) || standing(record) == Some(ForeignStanding::Suspected) {
        see(books, authorization, amount, context);
    }
}

/// The read that was made because of foreign money, or of the expiry, which began at `begun`. `None`:
/// there is nothing to say or to wait for.
pub(super) fn read(
    books: &mut Books,
    authorization: AuthorizationKey,
    view: &AuthorizationView,
    begun: Timestamp,
    context: Context<'_>,
) -> Option<Reply> {
    let record = books.authorization(authorization);
    let difference = difference(books, record, view, context)?;
    let Some(amount) = positive(record, difference) else {
        return agree(books, authorization, difference == 0, context);
    };
    if is_hurried(record, context) {
        let was_halted = standing(record) == Some(ForeignStanding::Halted);
        stand(books, authorization, ForeignStanding::LetBe, amount, context);
        return was_halted.then(|| lift(books, authorization, "its deadline margin has come", context));
    }
    match record.watch.foreign {
        Some(Foreign { standing: ForeignStanding::Halted, .. }) => Some(stay(books, authorization, amount, context)),
        Some(Foreign { standing: ForeignStanding::Seen, since, .. }) => {
            // Seen in what is the future now: the clock was set back, and it counts from now on.
            let first = since.min(context.now.wall);
            if begun >= clock::after(first, context.policy.quiet) {
                return Some(halt(books, authorization, amount, context));
            }
            let at = clock::after(first, context.policy.quiet);
            let watch = books.watch_mut(authorization);
            watch.foreign = Some(Foreign { amount, standing: ForeignStanding::Seen, since: first });
            watch.read_at = Some(at);
            Some(Reply::nothing(Note::ReadAgain(words(amount))))
        }
        Some(Foreign { standing: ForeignStanding::LetBe, amount: known, .. }) if amount.minor() <= known.minor() => {
            None
        }
        Some(Foreign { standing: ForeignStanding::LetBe | ForeignStanding::Suspected, .. }) | None => {
            see(books, authorization, amount, context);
            Some(Reply::nothing(Note::ReadAgain(words(amount))))
        }
    }
}

/// A capture is planned, or due, and waits for the end of a halt: its history says so, once.
pub(super) fn hold_back(books: &mut Books, capture: CaptureKey, context: Context<'_>) {
    let (record, authorization) = (books.capture(capture), books.capture(capture).authorization);
    let foreign = books.authorization(authorization).watch.foreign;
    let foreign = foreign.filter(|_| is_halted(books.authorization(authorization), context) && !record.waits_turn);
    if let Some(foreign) = foreign {
        due::note(books, capture, "halted", words(foreign.amount), context);
    }
}

/// The deadline margin has come: a halt is over.
pub(super) fn end_at_deadline(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    let record = books.authorization(authorization);
    if let Some(Foreign { amount, standing: ForeignStanding::Halted, .. }) = record.watch.foreign
        && is_hurried(record, context)
    {
        stand(books, authorization, ForeignStanding::LetBe, amount, context);
    }
}

/// An operator lets foreign money be. `None`: the authorization is not halted.
pub(super) fn resume(
    books: &mut Books,
    authorization: AuthorizationKey,
    why: &str,
    context: Context<'_>,
) -> Option<Reply> {
    let foreign = books.authorization(authorization).watch.foreign;
    let foreign = foreign.filter(|foreign| foreign.standing == ForeignStanding::Halted)?;
    stand(books, authorization, ForeignStanding::LetBe, foreign.amount, context);
    Some(lift(books, authorization, why, context))
}

/// Nothing is left to be taken: nothing more is asked about foreign money.
pub(super) fn forget(books: &mut Books, authorization: AuthorizationKey) {
    if needs_reads(books.authorization(authorization)) {
        books.watch_mut(authorization).foreign = None;
    }
}

fn standing(record: &Authorization) -> Option<ForeignStanding> {
    record.watch.foreign.map(|foreign| foreign.standing)
}

fn is_several(record: &Authorization, context: Context<'_>) -> bool {
    let account = context.policy.accounts.get(&record.account);
    account.is_some_and(|account| account.captures == Captures::Multiple)
}

/// Is so much known already, whatever follows from it?
fn is_known(record: &Authorization, amount: Money) -> bool {
    record.watch.foreign.is_some_and(|foreign| match foreign.standing {
        ForeignStanding::Suspected | ForeignStanding::Seen | ForeignStanding::Halted => true,
        ForeignStanding::LetBe => amount.minor() <= foreign.amount.minor(),
    })
}

/// What the provider shows as captured, less what is ours: booked, or shown under the key of a capture
/// that is not decided yet, or of one that was lost with the time before a restore. Below zero where the view is older than our books. `None` where the two
/// cannot be compared.
fn difference(books: &Books, record: &Authorization, view: &AuthorizationView, context: Context<'_>) -> Option<i64> {
    if view.currency != record.currency || !is_several(record, context) {
        return None;
    }
    let undecided = books.undecided_on(record.key);
    let found = found::all(record);
    let is_ours = |id: Option<CaptureId>| {
        let is_open = undecided.iter().any(|key| Some(books.capture(*key).id) == id);
        is_open || found.iter().any(|seen| id.is_some() && seen.capture == id)
    };
    let ours = view.captures.iter().filter(|seen| is_ours(seen.capture));
    let shown: i64 = ours.map(|seen| seen.amount.minor()).sum();
    Some(expiry::captured_in_all(view, record).minor() - record.captured.minor() - shown)
}

fn positive(record: &Authorization, difference: i64) -> Option<Money> {
    let amount = (difference > 0).then_some(difference)?;
    Some(Money::from_minor(amount, record.currency).expect("it is more than nothing"))
}

/// No foreign money is shown.
fn agree(books: &mut Books, authorization: AuthorizationKey, agrees: bool, context: Context<'_>) -> Option<Reply> {
    let foreign = books.authorization(authorization).watch.foreign?;
    let is_halted = foreign.standing == ForeignStanding::Halted;
    if is_halted && !agrees {
        // Older than our books: it says nothing about what others have captured.
        return Some(stay(books, authorization, foreign.amount, context));
    }
    books.watch_mut(authorization).foreign = None;
    is_halted.then(|| lift(books, authorization, "a read agrees with our books", context))
}

/// A first read has shown it: a second one is made, `quiet` later.
fn see(books: &mut Books, authorization: AuthorizationKey, amount: Money, context: Context<'_>) {
    stand(books, authorization, ForeignStanding::Seen, amount, context);
    books.watch_mut(authorization).read_at = Some(clock::after(context.now.wall, context.policy.quiet));
}

fn halt(books: &mut Books, authorization: AuthorizationKey, amount: Money, context: Context<'_>) -> Reply {
    stand(books, authorization, ForeignStanding::Halted, amount, context);
    books.authorization_mut(authorization).reads = 0;
    for capture in books.planned_on(authorization) {
        if books.capture(capture).waits_turn {
            due::note(books, capture, "halted", words(amount), context);
        }
    }
    // When to read it next.
    expiry::read_again(books, authorization, 0, String::new(), context).with_note(Note::Halted(amount))
}

fn stay(books: &mut Books, authorization: AuthorizationKey, amount: Money, context: Context<'_>) -> Reply {
    if let Some(foreign) = &mut books.watch_mut(authorization).foreign {
        foreign.amount = amount;
    }
    let why = format!("{}: nothing is sent on it", words(amount));
    expiry::read_again(books, authorization, 0, why, context)
}

/// What is planned may be sent from now on, as far as it fits.
fn lift(books: &mut Books, authorization: AuthorizationKey, why: &str, context: Context<'_>) -> Reply {
    books.watch_mut(authorization).read_at = None;
    for capture in books.planned_on(authorization) {
        due::note(books, capture, "resumed", why.to_owned(), context);
    }
    due::hand_on(books, authorization, false, context).with_note(Note::Resumed(why.to_owned()))
}

fn stand(
    books: &mut Books,
    authorization: AuthorizationKey,
    standing: ForeignStanding,
    amount: Money,
    context: Context<'_>,
) {
    let since = context.now.wall;
    books.watch_mut(authorization).foreign = Some(Foreign { amount, standing, since });
}

fn words(amount: Money) -> String {
    format!("{amount} was captured by somebody else")
}
