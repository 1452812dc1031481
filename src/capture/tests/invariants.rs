//! What must hold in every committed state, as far as a ledger alone can show it.
//!
//! Every list is recounted here from the records, without the running totals that it checks.

use std::collections::{HashMap, HashSet};

use crate::capture::books::MovementKind;
use crate::capture::event::{CaptureKind, EventContent, Outcome};
use crate::capture::notice::Quantity;
use crate::capture::policy::{Captures, Policy};
use crate::capture::records::{
    AmountMode, Authorization, AuthorizationKey, Capped, Capture, Fee, ForeignStanding, NamedBy, Order, Restored,
    Shipment, ShipmentKey, SingleUse,
};
use crate::capture::restored;
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::usage::Window;
use crate::clock::{self, Timestamp};
use crate::ids::{DeadLetterId, EventId};
use crate::ledger::memory::Tables;
use crate::money::Money;

/// Checks a state, and the step that led to it.
pub(crate) fn check(before: &Tables, tables: &Tables, policy: &Policy, now: Timestamp) {
    for record in tables.authorizations.values() {
        end_is_not_forgotten(record);
        balance_is_the_sum_of_its_movements(tables, record);
        counts_are_right(tables, record);
        one_at_a_time(tables, record, policy, now);
    }
    for order in tables.orders.values() {
        let shipments = || tables.shipments.values().filter(|shipment| shipment.order == order.key);
        let awaiting = shipments().filter(|shipment| shipment.state == ShipmentState::Awaiting).count();
        assert_eq!(u32::try_from(awaiting), Ok(order.awaiting), "awaiting of {}", order.id);
        let stored: i64 = shipments().filter_map(|shipment| shipment.amount).map(Money::minor).sum();
        assert_eq!(stored + fees(tables, order), order.stored, "stored of {}", order.id);
        let captures = || tables.captures.values().filter(|capture| capture.order == order.key);
        let open = captures().filter(|capture| !capture.state.is_terminal()).count();
        assert_eq!(u32::try_from(open), Ok(order.open), "open of {}", order.id);
        let is_captured = |c: &&Capture| c.state == CaptureState::Captured || c.corrected_at.is_some();
        let captured: i64 = captures().filter(is_captured).map(|capture| capture.amount.minor()).sum();
        assert_eq!(captured, order.captured, "captured of {}", order.id);
        let kept = tables.kept.values().filter(|kept| kept.order == order.key && kept.due_at.is_some()).count();
        assert_eq!(u32::try_from(kept), Ok(order.kept), "kept of {}", order.id);
        progress_is_what_shipped(tables, order);
    }
    assert!(tables.kept.values().all(|kept| kept.due_at.is_some() == kept.message.is_some()));
    intents_never_change(before, tables);
    outcomes_stand(before, tables);
    one_true_outcome_each(tables);
    events_are_numbered(tables);
    for shipment in tables.shipments.values() {
        shipment_is_not_forgotten(tables, shipment);
    }
    assert!(tables.captures.values().all(|capture| !capture.is_held() || capture.state == CaptureState::Planned));
    for capture in tables.captures.values() {
        capture_is_not_forgotten(tables, capture, now);
        caps_hold(tables, capture, policy);
    }
}

/// In the hour and in the day that end with this capture, and in itself, no more was let through than the caps
/// of its account allow, save by an operator. What was found in a read was not let through.
fn caps_hold(tables: &Tables, capture: &Capture, policy: &Policy) {
    let account = |capture: &Capture| &tables.authorizations[&capture.authorization].account;
    let Some(policy) = policy.accounts.get(account(capture)).filter(|policy| !policy.caps.is_empty()) else { return };
    let was_let_through = |c: &Capture| {
        let is_held_to_it = c.capped != Some(Capped::Released) && c.progress.attempts > 0 && c.corrected_at.is_none();
        is_held_to_it && !matches!(c.state, CaptureState::Planned | CaptureState::Failed)
    };
    if !was_let_through(capture) {
        return;
    }
    let caps = policy.caps_in(capture.amount.currency()).unwrap_or_else(|| panic!("no cap names {capture:?}"));
    assert!(caps.capture.is_none_or(|cap| capture.amount.minor() <= cap.minor()), "{capture:?}");
    for window in Window::ALL {
        let Some((cap, at)) = caps.of(window).zip(capture.counted_at) else { continue };
        let is_in = |c: &&Capture| {
            let is_recent = c.counted_at.is_some_and(|then| then <= at && then > clock::before(at, window.length()));
            is_recent && account(c) == account(capture) && c.amount.currency() == cap.currency() && was_let_through(c)
        };
        let sum: i64 = tables.captures.values().filter(is_in).map(|c| c.amount.minor()).sum();
        assert!(sum <= cap.minor(), "{sum} of {cap} {}, with {capture:?}", window.in_words());
    }
}

/// What the order's fees were given: those with a capture, and those that were refused before.
fn fees(tables: &Tables, order: &Order) -> i64 {
    // A replay takes what was given before. Of one that a read has found after a restore, nothing was.
    let is_again = |capture: &Capture, fee: &Fee| {
        // A replay after a restore may find a later generation than the next.
        let failed = |before| EventId::of_fee("capture.failed", &order.id, fee.number, before);
        let has_failed = |before| tables.events.values().any(|(event, _)| event.id == failed(before));
        (0..capture.generation).any(has_failed)
    };
    let of_order = |capture: &&Capture| match &capture.named_by {
        NamedBy::Fee(fee) => capture.order == order.key && !is_again(capture, fee),
        NamedBy::Shipment(_) => false,
    };
    let captured: i64 = tables.captures.values().filter(of_order).map(|capture| capture.amount.minor()).sum();
    let refused = tables.events.values().filter_map(|(event, _)| {
        let EventContent::Failed(outcome, _) = &event.content else { return None };
        let is_fee = outcome.order == order.id && outcome.kind == CaptureKind::Fee && outcome.generation == 0;
        let has_capture = tables.captures.values().any(|capture| Some(capture.id) == outcome.capture);
        outcome.amount.filter(|_| is_fee && !has_capture)
    });
    captured + refused.map(Money::minor).sum::<i64>()
}

/// Line by line, what has shipped is what the shipments with an amount have, and with what is cancelled
/// it is no more than was ordered.
fn progress_is_what_shipped(tables: &Tables, order: &Order) {
    let Some(plan) = order.plan.as_ref().filter(|_| order.mode == Some(AmountMode::Planned)) else { return };
    for (line, at) in plan.lines().iter().zip(&order.progress) {
        let of_order = tables.shipments.values().filter(|s| s.order == order.key && s.amount.is_some());
        let units = of_order.flat_map(|shipment| &shipment.lines).filter(|shipped| shipped.line == line.line);
        let shipped = units.fold(Quantity::ZERO, |sum, shipped| sum.plus(shipped.quantity));
        assert_eq!(shipped, at.shipped, "{} of {}", line.line, order.id);
        assert!(at.shipped.plus(at.cancelled) <= line.ordered, "{} of {}", line.line, order.id);
    }
}

/// S3, S10.
fn balance_is_the_sum_of_its_movements(tables: &Tables, record: &Authorization) {
    let (mut reserved, mut captured) = (0, 0);
    for movement in tables.movements.iter().filter(|movement| movement.authorization == record.key) {
        assert!(movement.amount.minor() > 0, "{movement:?}");
        assert_eq!(movement.amount, tables.captures[&movement.capture].amount, "{movement:?}");
        match movement.kind {
            MovementKind::Reserve => reserved += movement.amount.minor(),
            MovementKind::Release => reserved -= movement.amount.minor(),
            MovementKind::Capture => {
                reserved -= movement.amount.minor();
                captured += movement.amount.minor();
            }
            MovementKind::Correct => captured += movement.amount.minor(),
        }
    }
    assert_eq!((record.reserved.minor(), record.captured.minor()), (reserved, captured), "{record:?}");
    let excess = (captured + reserved - record.authorized.minor()).max(0);
    assert!(record.excess.minor() >= excess, "{record:?}");
    let is_corrected = tables.captures.values().any(|c| c.authorization == record.key && c.corrected_at.is_some());
    // After a restore, what was captured in the lost time may not fit beside what is in doubt by the books.
    let is_adopted = matches!(record.watch.restored, Some(Restored::Read { adopted: 1.., .. }));
    assert!(record.excess.is_zero() || is_corrected || is_adopted, "{record:?}");
}

fn counts_are_right(tables: &Tables, record: &Authorization) {
    let captures = |wanted: fn(&Capture) -> bool| {
        let of_it = tables.captures.values().filter(|capture| capture.authorization == record.key);
        u32::try_from(of_it.filter(|capture| wanted(capture)).count()).expect("few")
    };
    assert_eq!(captures(|capture| capture.state == CaptureState::Planned), record.planned, "planned of {record:?}");
    assert_eq!(captures(Capture::is_held), record.held, "held on {record:?}");
    assert_eq!(captures(|capture| capture.state.is_in_flight()), record.in_flight, "in flight on {record:?}");
    let unresolved = captures(|capture| capture.state == CaptureState::Unresolved && capture.corrected_at.is_none());
    assert_eq!(unresolved, record.unresolved, "unresolved on {record:?}");
    let waiting: Vec<&Shipment> = waiting_on(tables, record.key).collect();
    assert_eq!(u32::try_from(waiting.len()), Ok(record.waiting), "waiting on {record:?}");
    let amount: i64 = waiting.iter().filter_map(|shipment| shipment.amount).map(Money::minor).sum();
    assert_eq!(amount, record.waiting_amount.minor(), "waiting on {record:?}");
}

fn waiting_on(tables: &Tables, key: AuthorizationKey) -> impl Iterator<Item = &Shipment> {
    let of_it = tables.shipments.values().filter(move |shipment| shipment.authorization == Some(key));
    of_it.filter(|shipment| shipment.state == ShipmentState::Waiting)
}

/// S1 where there is one capture, and one at a time elsewhere, until the deadline margin.
fn one_at_a_time(tables: &Tables, record: &Authorization, policy: &Policy, now: Timestamp) {
    let Some(account) = policy.accounts.get(&record.account) else { return };
    let of_it = || tables.captures.values().filter(|capture| capture.authorization == record.key);
    match account.captures {
        Captures::Single => {
            let open = of_it().filter(|capture| !capture.state.is_terminal()).count();
            let captured = of_it().filter(|capture| capture.state == CaptureState::Captured).count();
            assert!(open + captured <= 1, "one capture of {record:?}");
            assert_eq!(record.single == SingleUse::Undecided, open == 1, "{record:?}");
            assert!(captured == 0 || record.single == SingleUse::Used, "{record:?}");
        }
        Captures::Multiple => {
            let margin = if record.expiry_is_derived { policy.derived_deadline_margin } else { policy.deadline_margin };
            let is_dying = record.expires_at.is_some_and(|at| clock::before(at, margin) <= now);
            assert!(record.in_flight <= 1 || is_dying, "one at a time: {record:?}");
        }
    }
}

/// S5, S12.
fn intents_never_change(before: &Tables, tables: &Tables) {
    let intent = |c: &Capture| {
        (c.id, c.authorization, c.order, c.named_by.clone(), c.generation, c.kind, c.amount, c.planned_at)
    };
    for (key, old) in &before.captures {
        assert_eq!(intent(old), intent(&tables.captures[key]));
    }
    let mut ids = HashSet::new();
    for capture in tables.captures.values() {
        assert!(capture.amount.minor() > 0, "{capture:?}");
        assert!(ids.insert(capture.id), "one intent per key: {capture:?}");
        let reservations =
            tables.movements.iter().filter(|m| m.capture == capture.key && m.kind == MovementKind::Reserve).count();
        assert_eq!(reservations, 1, "{capture:?}");
    }
}

/// S6: terminal states absorb, in this step.
fn outcomes_stand(before: &Tables, tables: &Tables) {
    for (key, old) in before.captures.iter().filter(|(_, old)| old.state.is_terminal()) {
        let new = &tables.captures[key];
        assert_eq!((old.state, old.settled_at, old.resolved_by), (new.state, new.settled_at, new.resolved_by));
    }
    for (key, old) in before.shipments.iter().filter(|(_, old)| old.state.is_terminal()) {
        let new = &tables.shipments[key];
        if new.generation != old.generation {
            assert!(
                new.generation > old.generation && old.reason.is_some(),
                "only what has failed begins anew: {new:?}"
            );
            assert!(old.amount.is_none() || !old.state.is_terminal() || new.amount.is_some(), "{new:?}");
            continue;
        }
        assert_eq!((old.state, old.amount, old.reason, old.capture), (new.state, new.amount, new.reason, new.capture));
    }
    assert_eq!(before.movements, tables.movements[..before.movements.len()], "append-only");
    assert_eq!(before.history, tables.history[..before.history.len()], "append-only");
    assert!(before.events.iter().all(|(row, event)| tables.events.get(row) == Some(event)), "written once");
}

/// S6, S7: one outcome per shipment, when it has ended and not before, and it says what happened.
fn one_true_outcome_each(tables: &Tables) {
    let mut outcomes: HashMap<(ShipmentKey, u32), &EventContent> = HashMap::new();
    for (event, _) in tables.events.values() {
        let outcome = match &event.content {
            EventContent::Succeeded(outcome)
            | EventContent::Failed(outcome, _)
            | EventContent::Unresolved(outcome, _) => outcome,
            EventContent::Corrected(..)
            | EventContent::Deferred(_)
            | EventContent::Rejected(_)
            | EventContent::RefundRequired(_)
            | EventContent::Expiring(_)
            | EventContent::Expired(_) => continue,
        };
        if outcome.kind == CaptureKind::Fee {
            fee_outcome_is_true(tables, outcome, &event.content);
            continue;
        }
        let previous = outcomes.insert((shipment_of(tables, outcome).key, outcome.generation), &event.content);
        assert!(previous.is_none(), "two outcomes of one shipment: {event:?}");
    }
    for shipment in tables.shipments.values() {
        let before = (0..shipment.generation).map(|earlier| outcomes.get(&(shipment.key, earlier)));
        // In the time that a restore from a backup has lost it may have failed without a trace.
        let is_lost = shipment.authorization.is_some_and(|key| tables.authorizations[&key].watch.restored.is_some());
        let all_failed = before.into_iter().all(|outcome| match outcome {
            Some(outcome) => matches!(outcome, EventContent::Failed(..)),
            None => is_lost,
        });
        assert!(all_failed, "only what has failed begins anew: {shipment:?}");
        let outcome = outcomes.get(&(shipment.key, shipment.generation)).copied();
        assert_eq!(outcome.is_some(), shipment.state.is_terminal(), "{shipment:?}");
        assert_eq!(
            shipment.message.is_some(),
            !shipment.state.is_terminal(),
            "the body is kept while it may be needed"
        );
        if let Some(outcome) = outcome {
            outcome_is_true(tables, shipment, outcome);
        }
    }
}

fn fee_outcome_is_true(tables: &Tables, outcome: &Outcome, content: &EventContent) {
    assert_eq!((&outcome.shipment, outcome.capture_shipments.len()), (&None, 0), "{outcome:?}");
    let capture = tables.captures.values().find(|capture| Some(capture.id) == outcome.capture);
    let state = capture.map(|capture| capture.state);
    if matches!(content, EventContent::Succeeded(_)) {
        assert_eq!(state, Some(CaptureState::Captured), "{outcome:?}");
    } else {
        let expected =
            if matches!(content, EventContent::Failed(..)) { CaptureState::Failed } else { CaptureState::Unresolved };
        assert!(state.is_none_or(|state| state == expected), "{outcome:?}");
    }
}

fn outcome_is_true(tables: &Tables, shipment: &Shipment, content: &EventContent) {
    let capture = shipment.capture.map(|key| &tables.captures[&key]);
    match content {
        EventContent::Succeeded(outcome) => {
            assert_eq!((shipment.state, shipment.reason), (ShipmentState::Settled, None));
            match capture {
                Some(capture) => assert_eq!(capture.state, CaptureState::Captured, "{outcome:?}"),
                None => assert!(outcome.kind == CaptureKind::Zero && outcome.amount.is_some_and(Money::is_zero)),
            }
        }
        EventContent::Failed(outcome, failure) => {
            assert_eq!(shipment.reason, Some(failure.reason));
            assert!(capture.is_none_or(|capture| capture.state == CaptureState::Failed), "{outcome:?}");
            let letter = &tables.dead_letters[&failure.dead_letter];
            assert_eq!(letter.shipment_key, Some(shipment.key));
            assert!(letter.raw.is_some(), "a dead letter keeps the message: {letter:?}");
        }
        EventContent::Unresolved(outcome, _) => {
            assert_eq!((shipment.state, shipment.reason), (ShipmentState::Settled, None));
            assert_eq!(capture.map(|capture| capture.state), Some(CaptureState::Unresolved), "{outcome:?}");
            let id = DeadLetterId::of_shipment(&outcome.order, &shipment.id, shipment.generation);
            assert!(!tables.dead_letters.contains_key(&id), "nothing is left to be replayed: {outcome:?}");
        }
        EventContent::Corrected(..)
        | EventContent::Deferred(_)
        | EventContent::Rejected(_)
        | EventContent::RefundRequired(_)
        | EventContent::Expiring(_)
        | EventContent::Expired(_) => {}
    }
}

fn shipment_of<'a>(tables: &'a Tables, outcome: &Outcome) -> &'a Shipment {
    let of_order = |shipment: &&Shipment| tables.orders[&shipment.order].id == outcome.order;
    let mut shipments = tables.shipments.values().filter(of_order);
    shipments.find(|shipment| Some(&shipment.id) == outcome.shipment.as_ref()).expect("an outcome is of a shipment")
}

/// Ids are unique, and the events of one order are numbered from 1 without a gap.
fn events_are_numbered(tables: &Tables) {
    let mut ids = HashSet::new();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (event, _) in tables.events.values() {
        assert!(ids.insert(event.id), "one event per id: {event:?}");
        let (order, sequence) = match &event.content {
            EventContent::Succeeded(outcome)
            | EventContent::Failed(outcome, _)
            | EventContent::Unresolved(outcome, _)
            | EventContent::Corrected(outcome, _) => (&outcome.order, outcome.sequence),
            EventContent::Deferred(deferral) => (&deferral.order, deferral.sequence),
            EventContent::Expiring(warning) => (&warning.order, warning.sequence),
            EventContent::Expired(end) => (&end.order, end.sequence),
            EventContent::RefundRequired(refund) => (&refund.order, refund.sequence),
            EventContent::Rejected(_) => continue,
        };
        let last = last.entry(order.as_str()).or_default();
        assert_eq!(sequence, *last + 1, "{event:?}");
        *last = sequence;
    }
    for order in tables.orders.values() {
        assert_eq!(order.sequence, last.get(order.id.as_str()).copied().unwrap_or_default(), "{}", order.id);
    }
}

/// L1, the part that a state can show: something will come back to it.
fn shipment_is_not_forgotten(tables: &Tables, shipment: &Shipment) {
    match shipment.state {
        ShipmentState::Awaiting => assert!(shipment.due_at.is_some(), "forgotten: {shipment:?}"),
        ShipmentState::Waiting => {
            let record = &tables.authorizations[&shipment.authorization.expect("bound before it waits")];
            let comes_back = match record.single {
                SingleUse::Free => record.watch.at.is_some(),
                SingleUse::Undecided => true,
                SingleUse::Used => false,
            };
            assert!(comes_back, "forgotten: {shipment:?} on {record:?}");
        }
        ShipmentState::Covered => {
            let capture = &tables.captures[&shipment.capture.expect("covered by a capture")];
            assert!(!capture.state.is_terminal(), "forgotten: {shipment:?}");
        }
        ShipmentState::Settled | ShipmentState::Refused => assert!(shipment.due_at.is_none(), "{shipment:?}"),
    }
}

/// What may still be held is watched, until its end is known. An instant to read it is kept only where
/// it is to be read.
fn end_is_not_forgotten(record: &Authorization) {
    let watch = &record.watch;
    let is_captured = record.is_amount_known && record.captured.minor() >= record.authorized.minor();
    let is_used_up = record.single == SingleUse::Used && !record.captured.is_zero();
    let is_reported = watch.reported.is_some() && watch.reported == record.expires_at;
    let is_open = record.planned + record.in_flight + record.waiting > 0;
    let has_ended = is_captured || is_used_up || is_reported;
    // A question comes first, and what it leaves open is asked for then.
    let is_asked_for = record.ask.is_some();
    assert!(watch.at.is_some() || has_ended || is_open || is_asked_for, "forgotten: {record:?}");
    assert!(watch.at.is_none() || !has_ended || is_open, "watched for nothing: {record:?}");
    assert!(watch.at.is_some() || watch.read_at.is_none(), "read for nothing: {record:?}");
    assert!(watch.lead_at.is_none_or(|at| watch.at.is_some_and(|next| next <= at)), "a lead is missed: {record:?}");
}

fn is_halted(record: &Authorization) -> bool {
    record.watch.foreign.is_some_and(|foreign| foreign.standing == ForeignStanding::Halted)
}

fn capture_is_not_forgotten(tables: &Tables, capture: &Capture, now: Timestamp) {
    let record = &tables.authorizations[&capture.authorization];
    let is_due = capture.due_at.is_some_and(|at| at <= now);
    match capture.state {
        // Nothing has its turn before the read after a restore.
        CaptureState::Planned if restored::is_unread(record) => {
            assert!(record.watch.at.is_some(), "never read: {capture:?} on {record:?}");
        }
        // Its turn comes when what is in flight is settled. With nothing in flight it must be due, or
        // put off after a try.
        CaptureState::Planned if record.in_flight == 0 && !is_halted(record) => {
            let is_put_off = capture.due_at.is_some() && !capture.waits_turn;
            let another_is_due = tables.captures.values().any(|other| {
                let is_planned = other.authorization == record.key && other.state == CaptureState::Planned;
                is_planned && other.due_at.is_some_and(|at| at <= now)
            });
            assert!(is_due || is_put_off || another_is_due, "forgotten: {capture:?} on {record:?}");
        }
        CaptureState::Planned => {
            assert!(!is_halted(record) || record.watch.at.is_some(), "halted for ever: {capture:?} on {record:?}");
            assert!(capture.due_at.is_some() || record.expires_at.is_none(), "forgotten at the deadline: {capture:?}");
        }
        CaptureState::InDoubt => assert!(capture.due_at.is_some(), "forgotten: {capture:?}"),
        CaptureState::Sending => {
            assert!(capture.progress.attempts > 0 && capture.progress.send_by.is_some(), "{capture:?}");
        }
        CaptureState::Captured | CaptureState::Failed | CaptureState::Unresolved => {
            assert!(capture.due_at.is_none() && capture.settled_at.is_some(), "{capture:?}");
        }
    }
}
