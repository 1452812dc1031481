//! What follows when an order's plan, or what of it will ever ship, has changed: what collects may be
//! complete, a complete order may owe more than its shipments were given, and a plan may be below what
//! was captured.

use crate::capture::amount::{self, Rules};
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::decide::{Context, Note, Reply};
use crate::capture::event::{Event, EventContent, RefundRequired};
use crate::capture::fee;
use crate::capture::outcome;
use crate::capture::records::{AmountMode, OrderKey};
use crate::capture::small;
use crate::clock;
use crate::ids::EventId;
use crate::money::Money;

/// The order has changed: does what follows. Begins no call; what is ready is in the reply, or found by
/// the watch.
pub(super) fn follow_up(books: &mut Books, order: OrderKey, caused_by: Option<&str>, context: Context<'_>) -> Reply {
    schedule_closing(books, order, context);
    let mut reply = Reply::nothing(Note::Nothing);
    for authorization in books.collecting_for(order) {
        small::end(books, order, authorization, context);
        if books.authorization(authorization).waiting == 0 {
            continue;
        }
        collect::schedule(books, authorization, context);
        let next = collect::due(books, authorization, false, context);
        reply.ready = reply.ready.or(next.ready);
    }
    let fee = fee::take(books, order, caused_by, context);
    call_for_refund(books, order, caused_by, context);
    if fee.note == Note::Nothing { reply } else { fee }
}

/// After a final notice, what has not shipped by the end of the grace counts as cancelled. Where
/// everything has shipped, nothing is left to be counted so.
pub(super) fn schedule_closing(books: &mut Books, order: OrderKey, context: Context<'_>) {
    let record = books.order(order);
    let Some(final_at) = record.final_at.filter(|_| !record.is_closed) else { return };
    let is_complete = record.is_complete();
    let owes = |key| amount::owed(record, Rules::on(books, key, context)).is_some();
    if is_complete && record.newest_authorization.is_some_and(owes) {
        // What it owes may be taken up again then.
        return;
    }
    let closes_at = (!is_complete).then(|| clock::after(final_at, context.policy.final_grace));
    if record.closes_at != closes_at {
        books.order_mut(order).closes_at = closes_at;
    }
}

/// Closes the order, if the grace after its final notice is over.
pub(super) fn close(books: &mut Books, order: OrderKey, context: Context<'_>) {
    let record = books.order(order);
    let grace = context.policy.final_grace;
    let is_over = record.final_at.is_some_and(|at| clock::after(at, grace) <= context.now.wall);
    if is_over && !record.is_closed {
        let record = books.order_mut(order);
        record.is_closed = true;
        record.closes_at = None;
    }
}

/// The grace after a final notice is over.
pub(super) fn due(books: &mut Books, order: OrderKey, context: Context<'_>) -> Reply {
    let Some(record) = books.orders().find(order) else { return Reply::nothing(Note::Nothing) };
    if record.closes_at.is_none_or(|at| at > context.now.wall) {
        return Reply::nothing(Note::Nothing);
    }
    books.order_mut(order).closes_at = None;
    close(books, order, context);
    follow_up(books, order, None, context).about(outcome::subject_of_order(books, order))
}

/// Says, once for each revision, that the plan is below what was captured: as soon as nothing of the
/// order is under way any more, so that the difference is the last word.
pub(super) fn call_for_refund(books: &mut Books, order: OrderKey, caused_by: Option<&str>, context: Context<'_>) {
    let record = books.order(order);
    let planned = record.plan.as_ref().filter(|_| record.mode == Some(AmountMode::Planned) && record.open == 0);
    let Some((plan, newest)) = planned.zip(record.newest_authorization) else { return };
    let (revision, plan_total) = (plan.revision(), plan.total());
    let captured = Money::from_minor(record.captured, plan.currency()).expect("a sum of amounts is not negative");
    let difference = captured.saturating_sub(plan_total).expect("one currency per plan");
    if difference.is_zero() || record.refund_revision >= revision {
        return;
    }
    books.order_mut(order).refund_revision = revision;
    let sequence = books.next_sequence(order);
    let (record, newest) = (books.order(order), books.authorization(newest));
    let content = EventContent::RefundRequired(RefundRequired {
        order: record.id.clone(),
        account: newest.account.clone(),
        reference: newest.reference.clone(),
        revision,
        captured,
        plan_total,
        difference,
        caused_by: caused_by.map(ToOwned::to_owned),
        sequence,
    });
    let id = EventId::of_revision(content.kind(), &record.id, revision);
    books.announce(Event { id, time: context.now.wall, traceparent: None, content }, None);
}
