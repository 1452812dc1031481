//! Cancellations and registrations that come before what they need: kept, acknowledged, and looked at
//! again when the missing part arrives, in the order in which they and the order's shipments came. They
//! do not wait for ever: they end as dead letters.

use crate::capture::books::Books;
use crate::capture::dead_letter;
use crate::capture::decide::{Arrival, Context, Note, Reply};
use crate::capture::notice::{RawMessage, RejectionReason};
use crate::capture::outcome;
use crate::capture::records::{Kept, KeptKey, OrderKey};
use crate::capture::reject;
use crate::capture::restored::republished;
use crate::capture::why::Missing;
use crate::clock;
use crate::ids::OrderId;

/// Keeps a notice until what it lacks is known, or sets it aside when it has waited long enough.
pub(super) fn wait<N>(
    books: &mut Books,
    arrival: Arrival<N>,
    order: &OrderId,
    missing: Missing,
    context: Context<'_>,
) -> Reply {
    let now = context.now.wall;
    let key = books.open_order(order);
    let kept = find(books, key, &arrival.raw).unwrap_or_else(|| {
        books.order_mut(key).kept += 1;
        let body_sha256 = dead_letter::sha256(&arrival.raw.body);
        books.add_kept(|row| Kept { key: row, order: key, body_sha256, kept_at: now, due_at: Some(now), message: None })
    });
    let since = republished::waits_since(books, books.kept().find(kept).expect("just found").kept_at);
    let give_up_at = clock::after(since, context.policy.awaiting_max);
    if now >= give_up_at {
        let message = "it did not become known in time: send what is missing, then this notice again".to_owned();
        return reject(books, arrival, order.clone(), (missing.as_rejection(), "order_id", message), context);
    }
    let waiting = books.kept_mut(kept);
    waiting.due_at = Some(clock::after(now, context.policy.awaiting_check).min(give_up_at));
    waiting.message = Some(arrival.raw);
    Reply::nothing(Note::Kept(missing.as_failure())).about(outcome::subject_of_order(books, key))
}

/// The notice was applied: where it had waited, it waits no more.
pub(super) fn done(books: &mut Books, order: OrderKey, raw: &RawMessage) {
    let Some(key) = find(books, order, raw) else { return };
    let kept = books.kept_mut(key);
    kept.due_at = None;
    kept.message = None;
    books.order_mut(order).kept -= 1;
}

/// Sets a notice aside, where it had waited too.
pub(super) fn reject<N>(
    books: &mut Books,
    arrival: Arrival<N>,
    order: OrderId,
    why: (RejectionReason, &str, String),
    context: Context<'_>,
) -> Reply {
    if let Some(key) = books.order_key(&order) {
        done(books, key, &arrival.raw);
    }
    reject::reject_notice(books, arrival, (order, None), why, context)
}

/// Tells which rows came before the notice: all of them, unless it had to wait.
pub(super) fn before(books: &Books, order: OrderKey, raw: &RawMessage) -> impl Fn(i64) -> bool + use<> {
    let kept = find(books, order, raw);
    move |row| kept.is_none_or(|kept| row < kept.row())
}

/// Time to look at a kept notice again.
pub(super) fn due(books: &mut Books, key: KeptKey, context: Context<'_>) -> Reply {
    let Some(kept) = books.kept().find(key) else { return Reply::nothing(Note::Nothing) };
    let (order, raw) = (kept.order, kept.message.clone());
    // Of several workers that find it due, the first looks at it: the others would come after its end, where
    // it would be kept anew.
    let is_due = kept.due_at.is_some_and(|at| at <= context.now.wall);
    let Some(raw) = raw.filter(|_| is_due) else { return Reply::nothing(Note::Nothing) };
    // Should it not come back, it is looked at again.
    let next = clock::after(context.now.wall, context.policy.awaiting_check);
    books.kept_mut(key).due_at = Some(next);
    Reply::nothing(Note::LookAgain(Box::new(raw))).about(outcome::subject_of_order(books, order))
}

fn find(books: &Books, order: OrderKey, raw: &RawMessage) -> Option<KeptKey> {
    let kept = books.kept_of(order);
    if kept.is_empty() {
        return None;
    }
    let body_sha256 = dead_letter::sha256(&raw.body);
    kept.into_iter().find(|key| books.kept().find(*key).is_some_and(|kept| kept.body_sha256 == body_sha256))
}
