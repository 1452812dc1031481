//! What is due: sending what was put off, looking at what is in doubt, freezing what has collected,
//! taking up what had to wait. And whose turn it is.

use std::time::Duration;

use crate::capture::ask;
use crate::capture::books::{Books, HistoryNote};
use crate::capture::cap;
use crate::capture::collect;
use crate::capture::complete;
use crate::capture::decide::{Call, Context, Due, Note, Ready, Reply, Ticket};
use crate::capture::expiry;
use crate::capture::foreign;
use crate::capture::kept;
use crate::capture::outcome::{self, Cause};
use crate::capture::records::{Ask, AuthorizationKey, CaptureKey, ShipmentKey};
use crate::capture::restored::{self, found, republished};
use crate::capture::settle;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::window;
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::mutant::{self, Mutant};

/// Why nothing is asked of a provider.
pub(super) const NOT_CONFIGURED: &str = "the account is not configured any more: configure it again";

/// Begins what is due, with the permit that the caller holds. Nothing, where it no longer is.
pub(super) fn due(books: &mut Books, due: Due, context: Context<'_>) -> Reply {
    match due {
        Due::Capture(capture) => due_capture(books, capture, context),
        Due::Authorization(authorization) => due_authorization(books, authorization, context),
        Due::Ask(authorization) => ask::due(books, authorization, context),
        Due::Shipment(shipment) => due_shipment(books, shipment, context),
        Due::Warning(authorization) => expiry::warn(books, authorization, context),
        Due::Kept(kept) => kept::due(books, kept, context),
        Due::Order(order) => complete::due(books, order, context),
    }
}

fn due_capture(books: &mut Books, capture: CaptureKey, context: Context<'_>) -> Reply {
    let Some(record) = books.captures().find(capture) else { return Reply::nothing(Note::Nothing) };
    // A look or a retry that lies farther ahead than any wait is due: the clock has been set back.
    let is_come = |at| at <= context.now.wall || (!record.waits_turn && is_beyond_all_waits(at, context));
    if !record.due_at.is_none_or(is_come) {
        return Reply::nothing(Note::Nothing);
    }
    let (state, authorization) = (record.state, record.authorization);
    let subject = outcome::subject_of_capture(books, capture);
    if !is_configured(books, authorization, context) {
        if !state.is_terminal() {
            let at = clock::after(context.now.wall, context.policy.awaiting_check);
            books.capture_mut(capture).due_at = Some(at);
        }
        return Reply::nothing(Note::Parked(NOT_CONFIGURED.to_owned())).about(subject);
    }
    match state {
        CaptureState::Planned => begin_or_refuse(books, capture, context).about(subject),
        CaptureState::InDoubt if mutant::on(Mutant::ResendAfterHorizon) => {
            books.capture_mut(capture).progress.window_from = None;
            begin(books, capture, context).about(subject)
        }
        CaptureState::InDoubt => match restored::failed_in_lost_time(books, capture) {
            Some(cause) => refuse_in_turn(books, capture, &cause, context).about(subject),
            None => look(books, capture, context).about(subject),
        },
        CaptureState::Sending | CaptureState::Captured | CaptureState::Failed | CaptureState::Unresolved => {
            Reply::nothing(Note::Nothing)
        }
    }
}

/// Brings forward what was parked, and says that it is ready. What is due for another reason by now
/// comes early, which is harmless: nothing is concluded from when it is looked at.
pub(super) fn recall(books: &mut Books, due: Due, context: Context<'_>) -> Reply {
    let now = context.now.wall;
    let authorization = match due {
        Due::Capture(capture) => {
            let Some(record) = books.captures().find(capture) else { return Reply::nothing(Note::Nothing) };
            let rests = matches!(record.state, CaptureState::Planned | CaptureState::InDoubt);
            if !rests || record.waits_turn {
                return Reply::nothing(Note::Nothing);
            }
            let authorization = record.authorization;
            let record = books.capture_mut(capture);
            record.due_at = record.due_at.map(|at| at.min(now));
            authorization
        }
        Due::Authorization(authorization) if books.authorizations().find(authorization).is_some() => {
            let watch = books.watch_mut(authorization);
            watch.read_at = watch.read_at.map(|at| at.min(now));
            authorization
        }
        Due::Ask(authorization) if books.authorizations().find(authorization).is_some() => {
            let record = books.authorization_mut(authorization);
            record.ask = record.ask.map(|ask| Ask { at: ask.at.min(now), ..ask });
            authorization
        }
        // Nothing of these is ever parked.
        Due::Authorization(_) | Due::Ask(_) | Due::Shipment(_) | Due::Warning(_) | Due::Kept(_) | Due::Order(_) => {
            return Reply::nothing(Note::Nothing);
        }
    };
    let record = books.authorization(authorization);
    let ready = Ready { due, account: record.account.clone(), deadline: record.expires_at };
    Reply { ready: Some(ready), ..Reply::nothing(Note::Nothing) }
}

fn is_beyond_all_waits(at: Timestamp, context: Context<'_>) -> bool {
    expiry::is_beyond(at, context.policy.longest_wait(), context)
}

fn is_configured(books: &Books, authorization: AuthorizationKey, context: Context<'_>) -> bool {
    context.policy.accounts.contains_key(&books.authorization(authorization).account)
}

fn due_authorization(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) -> Reply {
    if !is_configured(books, authorization, context) {
        return expiry::park(books, authorization, context);
    }
    // Where it has to be read first, that is what `expiry` does.
    if collect::is_due(books.authorization(authorization), context) {
        return collect::due(books, authorization, true, context);
    }
    expiry::due(books, authorization, context)
}

fn due_shipment(books: &mut Books, shipment: ShipmentKey, context: Context<'_>) -> Reply {
    let Some(record) = books.shipments().find(shipment) else { return Reply::nothing(Note::Nothing) };
    if record.state != ShipmentState::Awaiting {
        return Reply::nothing(Note::Nothing);
    }
    let subject = outcome::subject(books, shipment);
    let raw = record.message.clone().expect("a shipment that waits keeps its message");
    // Should it not come back, it is looked at again.
    let next = clock::after(context.now.wall, context.policy.awaiting_check);
    books.shipment_mut(shipment).due_at = Some(next);
    Reply::nothing(Note::LookAgain(Box::new(raw))).about(subject)
}

/// Sends a planned capture where it is its turn, or refuses it where it does not fit any more.
fn begin_or_refuse(books: &mut Books, capture: CaptureKey, context: Context<'_>) -> Reply {
    let authorization = books.capture(capture).authorization;
    foreign::end_at_deadline(books, authorization, context);
    let obstacle = foreign::obstacle(books, capture, context)
        .or_else(|| cap::obstacle(books, capture, context))
        .or_else(|| found::obstacle(books, capture))
        .or_else(|| found::beyond_plan(books, capture, context));
    let Some(cause) = obstacle.filter(|_| is_its_turn(books, capture, context)) else {
        let reply = begin_in_turn(books, capture, true, context);
        // It has not taken the turn that it was handed.
        let is_held = books.capture(capture).is_held();
        return if is_held { hand_on(books, authorization, true, context).with_note(reply.note) } else { reply };
    };
    refuse_in_turn(books, capture, &cause, context)
}

/// Refuses it, and hands on its turn.
fn refuse_in_turn(books: &mut Books, capture: CaptureKey, cause: &Cause, context: Context<'_>) -> Reply {
    refuse(books, capture, cause, context);
    settle::after_single(books, capture, context);
    let authorization = books.capture(capture).authorization;
    hand_on(books, authorization, true, context).with_note(Note::Refused(cause.reason))
}

/// Ends an open capture without a call, and notes why.
pub(super) fn refuse(books: &mut Books, capture: CaptureKey, cause: &Cause, context: Context<'_>) {
    note(books, capture, "refused", cause.message.clone(), context);
    outcome::failed(books, capture, cause, context);
}

/// Sends a planned capture where it is its turn and the caller has a permit; says that it is ready
/// where only the permit lacks; else leaves it to wait for its turn, or to be held by a cap of its account.
pub(super) fn begin_in_turn(books: &mut Books, capture: CaptureKey, start: bool, context: Context<'_>) -> Reply {
    if !is_its_turn(books, capture, context) {
        // What is in flight ahead of it hands on the turn, or the end of the halt does; at the deadline
        // margin it goes anyway.
        foreign::hold_back(books, capture, context);
        wait_for_turn(books, capture, context);
        return Reply::nothing(Note::Nothing);
    }
    if let Some(reply) = cap::hold(books, capture, context) {
        return reply;
    }
    // What does not fit any more is refused when it is taken up by itself, with its shipments.
    let may_begin = foreign::obstacle(books, capture, context).is_none()
        && found::excludes_later(books, capture)
        && found::beyond_plan(books, capture, context).is_none();
    if start && may_begin {
        return begin(books, capture, context);
    }
    let record = books.capture_mut(capture);
    record.due_at = Some(record.due_at.map_or(context.now.wall, |at| at.min(context.now.wall)));
    record.waits_turn = false;
    let authorization = books.authorization(books.capture(capture).authorization);
    let (account, deadline) = (authorization.account.clone(), authorization.expires_at);
    let ready = Ready { due: Due::Capture(capture), account, deadline };
    Reply { ready: Some(ready), ..Reply::nothing(Note::Nothing) }
}

/// Leaves a capture to wait for what is in flight before it, or for the read of its authorization, which hand on the
/// turn. The read of another one of its order hands on none, nor does what comes again: after that it is looked at again by
/// itself.
fn wait_for_turn(books: &mut Books, capture: CaptureKey, context: Context<'_>) {
    let authorization = books.capture(capture).authorization;
    let is_read = !restored::is_unread(books.authorization(authorization));
    let deadline = collect::deadline(books, authorization, context).filter(|_| is_read);
    let is_for_another = is_read && republished::holds_back(books, capture, context);
    let again = is_for_another.then(|| clock::after(context.now.wall, context.policy.awaiting_check));
    let record = books.capture_mut(capture);
    record.due_at = [deadline, again].into_iter().flatten().min();
    record.waits_turn = !is_for_another;
}

/// The deadline of an authorization has moved, and with it that of the captures that wait their turn
/// and of the shipments that collect.
pub(super) fn move_deadline(books: &mut Books, authorization: AuthorizationKey, context: Context<'_>) {
    let deadline = collect::deadline(books, authorization, context);
    for capture in books.planned_on(authorization) {
        let record = books.capture(capture);
        if record.waits_turn {
            books.capture_mut(capture).due_at = deadline;
        }
    }
    if books.authorization(authorization).waiting > 0 {
        collect::schedule(books, authorization, context);
    }
}

/// One at a time: nothing else in flight on the authorization; and none while it is halted, or has to be read first, or
/// another one of its order has, or while more than its order's plan was found and a revision may come again. From the
/// deadline margin on, an authorization that allows several captures does not let doubt about one hold up the others.
fn is_its_turn(books: &Books, capture: CaptureKey, context: Context<'_>) -> bool {
    let record = books.authorization(books.capture(capture).authorization);
    if restored::is_unread(record) {
        return false;
    }
    let is_free = record.in_flight == 0
        && !foreign::is_halted(record, context)
        && !republished::holds_back(books, capture, context);
    is_free || foreign::is_hurried(record, context)
}

/// May what is in doubt be sent again, as far as the lost time goes? It may have failed then, and have been captured in a
/// replay on another authorization of its order.
pub(super) fn may_send_again(books: &Books, capture: CaptureKey, context: Context<'_>) -> bool {
    let record = books.capture(capture);
    let is_hurried = foreign::is_hurried(books.authorization(record.authorization), context);
    (is_hurried || !republished::may_be_on_unread(books, record.order, context))
        && found::excludes_later(books, capture)
}

/// The next planned capture of an authorization whose turn has come, with the permit of the one
/// before it. What a cap holds does not take the turn.
pub(super) fn hand_on(books: &mut Books, authorization: AuthorizationKey, start: bool, context: Context<'_>) -> Reply {
    let is_ready = |key: &CaptureKey| {
        let record = books.capture(*key);
        record.waits_turn || record.due_at.is_none_or(|at| at <= context.now.wall)
    };
    let mut ready = books.planned_on(authorization);
    ready.retain(is_ready);
    for capture in ready {
        let reply = begin_in_turn(books, capture, start, context);
        if !books.capture(capture).is_held() {
            return reply;
        }
    }
    Reply::nothing(Note::Nothing)
}

/// Writes the attempt before its request: number, epoch, and until when it may be sent (T2).
pub(super) fn begin(books: &mut Books, capture: CaptureKey, context: Context<'_>) -> Reply {
    let record = books.capture(capture);
    let account = &books.authorization(record.authorization).account;
    let window = context.policy.accounts.get(account).and_then(|account| account.resend_window);
    let window_from = record.progress.window_from.unwrap_or(context.now);
    let left = context.policy.send_within.min(window::left(Some(window_from), window, context.now));
    let send_by = context.now.plus(left);
    books.move_capture(capture, CaptureState::Sending);
    cap::count(books, capture, context);
    let record = books.capture_mut(capture);
    record.due_at = None;
    record.waits_turn = false;
    let progress = &mut record.progress;
    progress.attempts += 1;
    progress.epoch += 1;
    progress.refused = None;
    progress.window_from = Some(window_from);
    progress.send_by = Some(progress.send_by.map_or(send_by, |before| send_by.or_later(before)));
    let left = if mutant::on(Mutant::NoSendDeadline) { Duration::MAX } else { left };
    let call = Call::Send {
        capture,
        id: record.id,
        amount: record.amount,
        attempt: record.progress.attempts,
        epoch: record.progress.epoch,
        send_by: context.now.boot.plus(left),
    };
    Reply { ticket: Some(ticket(books, capture, call)), ..Reply::nothing(Note::Begun) }
}

/// Begins a look at a capture in doubt.
pub(super) fn look(books: &mut Books, capture: CaptureKey, context: Context<'_>) -> Reply {
    let no_answer_after = no_answer_after(&books.authorization(books.capture(capture).authorization).account, context);
    let record = books.capture_mut(capture);
    record.progress.epoch += 1;
    record.progress.look_begun = Some(context.now);
    // Should the answer never come, the watch finds the capture again.
    record.due_at = Some(clock::after(context.now.wall, no_answer_after));
    let call = Call::Look { capture, epoch: record.progress.epoch };
    Reply { ticket: Some(ticket(books, capture, call)), ..Reply::nothing(Note::Looking) }
}

/// Asks for a call about a capture.
pub(super) fn ticket(books: &Books, capture: CaptureKey, call: Call) -> Ticket {
    let authorization = books.authorization(books.capture(capture).authorization);
    let (account, reference) = (authorization.account.clone(), authorization.reference.clone());
    Ticket { account, reference, call, traces: books.traces_of(&books.shipments_of(capture)) }
}

/// When a read that was begun will not be answered any more.
pub(super) fn no_answer_after(account: &AccountName, context: Context<'_>) -> Duration {
    let timeout = context.policy.accounts.get(account).map(|account| account.timeout);
    timeout.unwrap_or_default().saturating_add(context.policy.send_within)
}

/// Writes a line of a capture's history.
pub(super) fn note(books: &mut Books, capture: CaptureKey, what: &'static str, detail: String, context: Context<'_>) {
    let attempt = books.capture(capture).progress.attempts;
    books.add_history(|number| HistoryNote { number, capture, attempt, what, detail, at: context.now.wall });
}
