//! Step 3 for what is told of an order beside its shipments: `order.authorized` registers, or revises;
//! `order.cancelled` takes away what has not shipped. Either waits for what it lacks.

use crate::capture::accept::Stop;
use crate::capture::books::Books;
use crate::capture::complete;
use crate::capture::decide::{Arrival, Context, Note, Reply};
use crate::capture::kept;
use crate::capture::notice::{CancellationNotice, CancelledLine, Quantity, RegistrationNotice, RejectionReason};
use crate::capture::outcome;
use crate::capture::plan::{LineProgress, Plan};
use crate::capture::records::{AmountMode, Order, OrderKey};
use crate::capture::register::{self, Told};
use crate::capture::why::Missing;

/// Registers an order's authorization and plan, or a revision of its plan.
pub(super) fn register(books: &mut Books, arrival: Arrival<RegistrationNotice>, context: Context<'_>) -> Reply {
    let id = &arrival.notice.order;
    match register::check(books, Told::by_registration(&arrival.notice), context) {
        Ok(known) => {
            let applied = register::apply(books, id, Some(&arrival.notice.authorization), known, context);
            kept::done(books, applied.order, &arrival.raw);
            let note = if applied.is_news { Note::Registered } else { Note::Repeated };
            let reply = Reply::nothing(note).about(outcome::subject_of_order(books, applied.order));
            applied.follow_up(books, reply, Some(&arrival.event_id), context)
        }
        Err(stop) => {
            let id = id.clone();
            stopped(books, arrival, id, stop, context)
        }
    }
}

/// Cancels what of an order has not shipped.
pub(super) fn cancel(books: &mut Books, arrival: Arrival<CancellationNotice>, context: Context<'_>) -> Reply {
    let order = books.open_order(&arrival.notice.order);
    let lines = arrival.notice.lines.as_deref();
    match cancelled(books, order, lines, kept::before(books, order, &arrival.raw)) {
        Ok(progress) => {
            kept::done(books, order, &arrival.raw);
            let record = books.order(order);
            let is_cancelled = record.is_cancelled || lines.is_none();
            let subject = outcome::subject_of_order(books, order);
            if record.is_cancelled == is_cancelled && record.progress == progress {
                return Reply::nothing(Note::Repeated).about(subject);
            }
            let record = books.order_mut(order);
            record.is_cancelled = is_cancelled;
            record.progress = progress;
            let followed = complete::follow_up(books, order, Some(&arrival.event_id), context);
            Reply { ready: followed.ready, ..Reply::nothing(Note::Cancelled) }.about(subject)
        }
        Err(stop) => {
            let id = arrival.notice.order.clone();
            stopped(books, arrival, id, stop, context)
        }
    }
}

fn stopped<N>(
    books: &mut Books,
    arrival: Arrival<N>,
    order: crate::ids::OrderId,
    stop: Stop,
    context: Context<'_>,
) -> Reply {
    match stop {
        Stop::Await(missing) => kept::wait(books, arrival, &order, missing, context),
        Stop::Reject { reason, path, message } => {
            kept::reject(books, arrival, order, (reason, &path, message), context)
        }
        // Of a shipment it would be the end; a registration contradicts what is registered.
        Stop::Refuse { message, .. } => {
            let conflict = (RejectionReason::Conflict, "authorization", message);
            kept::reject(books, arrival, order, conflict, context)
        }
    }
}

/// The order's progress once `lines` are cancelled, or everything where there are none. What has left
/// the warehouse is not touched, even if its notice still waits for something: `awaiting` are such
/// units.
fn cancelled(
    books: &Books,
    order: OrderKey,
    lines: Option<&[CancelledLine]>,
    is_before: impl Fn(i64) -> bool,
) -> Result<Vec<LineProgress>, Stop> {
    let record = books.order(order);
    let plan = match (record.mode, &record.plan, lines) {
        (Some(AmountMode::Explicit), _, None) => {
            // What came before it has left the warehouse, and is not refused: it goes first.
            let before = books.awaiting_of(order).into_iter().find(|key| is_before(key.row()));
            return match before.filter(|_| !record.is_cancelled) {
                Some(shipment) => Err(Stop::Await(books.shipment(shipment).awaits.unwrap_or(Missing::Authorization))),
                None => Ok(record.progress.clone()),
            };
        }
        (Some(AmountMode::Explicit), _, Some(_)) => {
            let message = "the order's shipments name their own amounts, not units: cancel all of what has not shipped";
            return Err(Stop::conflict("lines", message));
        }
        (Some(AmountMode::Planned) | None, None, _) => return Err(Stop::Await(Missing::Plan)),
        (Some(AmountMode::Planned) | None, Some(plan), _) => plan,
    };
    let left = left_over(books, record, plan, is_before);
    let mut progress = record.progress.clone();
    let Some(lines) = lines else {
        for (at, left) in progress.iter_mut().zip(left) {
            at.cancelled = at.cancelled.max(left);
        }
        return Ok(progress);
    };
    for told in lines {
        // A line that the plan does not have yet may come with a revision.
        let index = plan.line_index(&told.line).ok_or(Stop::Await(Missing::Plan))?;
        let at = &mut progress[index];
        at.cancelled = at.cancelled.max(told.cancelled.min(left[index]));
    }
    Ok(progress)
}

/// What has not left the warehouse, line by line.
fn left_over(books: &Books, order: &Order, plan: &Plan, is_before: impl Fn(i64) -> bool) -> Vec<Quantity> {
    let shipped = order.progress.iter().map(|at| at.shipped);
    let mut left: Vec<Quantity> = plan.lines().iter().zip(shipped).map(|(l, units)| l.ordered.minus(units)).collect();
    for shipment in books.awaiting_of(order.key).into_iter().filter(|key| is_before(key.row())) {
        for line in &books.shipment(shipment).lines {
            if let Some(index) = plan.line_index(&line.line) {
                left[index] = left[index].minus(line.quantity);
            }
        }
    }
    left
}
