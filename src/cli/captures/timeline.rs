//! A story for people: the money, then what happened line by line, how the amounts came about, and
//! how things stand and what happens next, in words.

use super::Surroundings;
use super::explain;
use super::working;
use crate::capture::event::{FailureReason, NextAction};
use crate::capture::records::{Authorization, Capture, Shipment};
use crate::capture::states::CaptureState;
use crate::cli::output::{Output, aligned, table};
use crate::cli::{Failure, text};
use crate::clock::Timestamp;
use crate::ledger::report::{CaptureStory, FeeStory, ShipmentStory, Standing, Story, WrittenEvent};

/// Writes the story.
pub(super) fn show(around: &Surroundings<'_>, output: &mut Output) -> Result<(), Failure> {
    let (story, now) = (around.story, around.now);
    let authorizations = story.authorizations.iter().map(|record| authorization_facts(record, now));
    output.table(aligned(order_facts(story).into_iter().chain(authorizations)))?;
    output.line("")?;
    let mut rows = table(&["TIME (UTC)", "ABOUT", "WHAT HAPPENED", "DETAIL"]);
    for step in steps(story) {
        rows.add_row([text::instant(step.at), step.about, text::harmless(&step.what, false), step.detail]);
    }
    output.table(rows)?;
    output.line("")?;
    if let Some(amounts) = working::amounts(story) {
        output.table(amounts)?;
        output.line("")?;
    }
    let mut rows = table(&["ABOUT", "NOW", ""]);
    rows.add_rows(story.shipments.iter().map(|told| shipment_now(story, &told.shipment)));
    rows.add_rows(story.fees.iter().filter(|fee| fee.capture.is_none()).map(refused_now));
    rows.add_rows(story.captures.iter().map(|told| capture_now(&told.capture, now)));
    output.table(rows)?;
    let open = what_is_open(around);
    if open.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let mut rows = table(&["ABOUT", "QUESTION", "ANSWER"]);
    rows.add_rows(open);
    output.table(rows)
}

/// What is not decided: why, what would settle it, and what happens next.
fn what_is_open(around: &Surroundings<'_>) -> Vec<[String; 3]> {
    let shipments = around.story.shipments.iter().filter_map(|told| {
        Some((format!("shipment {}", told.shipment.id), explain::shipment(&told.shipment, around)?))
    });
    let captures = around.story.captures.iter();
    let captures = captures.filter_map(|told| Some((about(&told.capture), explain::capture(&told.capture, around)?)));
    let mut lines = Vec::new();
    for (about, explained) in shipments.chain(captures) {
        for (number, [question, answer]) in explained.lines().enumerate() {
            lines.push([if number == 0 { about.clone() } else { String::new() }, question, answer]);
        }
    }
    lines
}

fn order_facts(story: &Story) -> Vec<[String; 2]> {
    let order = &story.order;
    let fact = |name: &str, value: String| [name.to_owned(), value];
    let plan = order.plan.as_ref().map(|plan| {
        let delivery = Some(plan.fee()).filter(|fee| !fee.is_zero());
        let words = working::policy_words(plan.shipping_policy());
        let delivery = delivery.map(|fee| format!(", of which {fee} for the delivery, {words}"));
        let shipped = if order.is_complete() { "everything has shipped" } else { "not everything has shipped" };
        format!("revision {}: {}{}; {shipped}", plan.revision(), plan.total(), delivery.unwrap_or_default())
    });
    let plan = plan.unwrap_or_else(|| "none".to_owned());
    let last = order.final_at.map(|at| fact("final", format!("so it was said at {}", text::instant(at))));
    [fact("order", order.id.to_string()), fact("plan", plan)].into_iter().chain(last).collect()
}

fn authorization_facts(record: &Authorization, now: Timestamp) -> [String; 2] {
    let (what, when) = match record.expires_at {
        Some(at) if at <= now => ("expired", text::instant_and_distance(at, now)),
        Some(at) => ("expires", text::instant_and_distance(at, now)),
        None => ("expires", "at an unknown time".to_owned()),
    };
    let derived = if record.expiry_is_derived { ", by the account's settings" } else { "" };
    let parts = [(record.captured, "captured"), (record.reserved, "reserved"), (record.waiting_amount, "waiting")];
    let parts = parts.into_iter().filter(|(amount, _)| !amount.is_zero());
    let parts: Vec<_> = parts.map(|(amount, word)| format!(", {amount} {word}")).collect();
    let excess = if record.excess.is_zero() {
        String::new()
    } else {
        format!("; {} captured beyond what was authorized", record.excess)
    };
    let facts = format!(
        "{} {}: {} authorized{}, {} remaining; {what} {when}{derived}{excess}",
        record.account,
        record.reference,
        record.authorized,
        parts.concat(),
        record.remaining(),
    );
    ["authorization".to_owned(), facts]
}

struct Step {
    at: Timestamp,
    about: String,
    what: String,
    detail: String,
}

/// Everything that happened, in the order of time. What one transaction wrote has one instant; there
/// the cause stands before its effect (the sort is stable).
fn steps(story: &Story) -> Vec<Step> {
    let mut steps = Vec::new();
    steps.extend(story.shipments.iter().map(accepted));
    for told in &story.captures {
        steps.push(planned(story, told));
        steps.extend(history(told));
    }
    steps.extend(story.dead_letters.iter().map(|letter| Step {
        at: letter.first_seen_at,
        about: letter.shipment.as_ref().map_or_else(|| text::NOTHING.to_owned(), |id| format!("shipment {id}")),
        what: "set aside".to_owned(),
        detail: text::harmless(
            &format!("dead letter {}: {}: {}", text::short(letter.id.as_uuid()), letter.reason, letter.message),
            false,
        ),
    }));
    let of_shipments = story.shipments.iter().map(|told| (format!("shipment {}", told.shipment.id), &told.events));
    let of_fees = story.fees.iter().map(|fee| (name(fee), &fee.events));
    steps.extend(of_shipments.chain(of_fees).flat_map(|(about, written)| events(about, written)));
    steps.sort_by_key(|step| step.at);
    steps
}

fn accepted(told: &ShipmentStory) -> Step {
    let shipment = &told.shipment;
    let lines: Vec<_> = shipment.lines.iter().map(|line| format!("{} of {}", line.quantity, line.line)).collect();
    let shipped = if lines.is_empty() { "amount given by the sender".to_owned() } else { lines.join(", ") };
    let earned = shipment.amount.map_or_else(|| "no amount".to_owned(), |it| format!("earned {it}"));
    Step {
        at: shipment.accepted_at,
        about: format!("shipment {}", shipment.id),
        what: "accepted".to_owned(),
        detail: text::harmless(&format!("{shipped}; {earned}; caused by event {}", shipment.caused_by), false),
    }
}

fn planned(story: &Story, told: &CaptureStory) -> Step {
    let capture = &told.capture;
    let shipments = || {
        let shipments: Vec<_> = told.shipments.iter().map(ToString::to_string).collect();
        format!("{} ({})", shipments.join(", "), capture.kind.as_str())
    };
    let owed = |fee: &FeeStory| {
        let cause = fee.caused_by.as_deref().map_or("the end of the grace".to_owned(), |id| format!("event {id}"));
        format!("what is owed beyond the shipments' amounts ({}); caused by {cause}", name(fee))
    };
    let fee = story.fees.iter().find(|fee| fee.capture == Some(capture.key));
    let whose = fee.map_or_else(shipments, owed);
    Step {
        at: capture.planned_at,
        about: about(capture),
        what: "planned".to_owned(),
        detail: text::harmless(&format!("{} frozen and reserved, for {whose}", capture.amount), false),
    }
}

fn history(told: &CaptureStory) -> impl Iterator<Item = Step> {
    let pruned = told.capture.settled_at.filter(|_| told.is_pruned).map(|at| Step {
        at,
        about: about(&told.capture),
        what: told.capture.state.as_str().to_owned(),
        detail: "details were pruned: older than retention.details_for".to_owned(),
    });
    pruned.into_iter().chain(told.history.iter().map(|line| Step {
        at: line.at,
        about: about(&told.capture),
        what: if line.attempt == 0 { line.what.clone() } else { format!("attempt {}: {}", line.attempt, line.what) },
        detail: text::harmless(&line.detail, false),
    }))
}

fn events(about: String, written: &[WrittenEvent]) -> impl Iterator<Item = Step> {
    written.iter().flat_map(move |event| {
        let step = |at, what: &str, detail: String| Step { at, about: about.clone(), what: what.to_owned(), detail };
        let id = text::short(event.id.as_uuid());
        let unpublished = if event.published_at.is_none() { ", not published yet" } else { "" };
        let written = step(event.written_at, "event written", format!("{} {id}{unpublished}", event.kind));
        let published = event.published_at.map(|at| step(at, "event published", format!("{} {id}", event.kind)));
        std::iter::once(written).chain(published)
    })
}

fn name(fee: &FeeStory) -> String {
    format!("fee {}", fee.number)
}

fn about(capture: &Capture) -> String {
    format!("capture {}", text::short(capture.id.as_uuid()))
}

fn shipment_now(story: &Story, shipment: &Shipment) -> [String; 3] {
    let standing = story.standing(shipment);
    let words = match standing {
        None => "its capture cannot be found".to_owned(),
        Some(Standing::Awaiting) => "acknowledged, and waits for something to become known".to_owned(),
        Some(Standing::Waiting) => "accepted, and waits to be captured with others".to_owned(),
        Some(Standing::Planned) => "its money is about to be captured".to_owned(),
        Some(Standing::Held) => "a cap of its account holds it".to_owned(),
        Some(Standing::Sending) => "its money is being captured".to_owned(),
        Some(Standing::InDoubt) => "its money may have moved; that is being found out".to_owned(),
        Some(Standing::Captured) => "its money was captured".to_owned(),
        Some(Standing::Zero) => "it owed nothing, and succeeded without a call".to_owned(),
        Some(Standing::Refused | Standing::Failed) => ended_without_money(shipment),
        Some(Standing::Unresolved) => "closed by hand without an answer; its money may have moved".to_owned(),
        Some(Standing::Corrected) => "its money was captured after all, and a correction was published".to_owned(),
    };
    let state = standing.map_or(text::NOTHING, Standing::as_str);
    [format!("shipment {}", shipment.id), state.to_owned(), words]
}

fn ended_without_money(shipment: &Shipment) -> String {
    let Some(reason) = shipment.reason else { return "it ended without its money".to_owned() };
    let action = match reason.next_action() {
        NextAction::Replay => "replay its dead letter once the cause is gone",
        NextAction::Reauthorize => "get a new authorization, then replay its dead letter",
        NextAction::Review => "look at it: a replay alone does not help",
        NextAction::None => "nothing is left to do",
    };
    let money = if reason == FailureReason::CapturedElsewhere { "money may have moved" } else { "no money moved" };
    format!("{}, {money}; {action}", reason.as_str())
}

fn refused_now(fee: &FeeStory) -> [String; 3] {
    let words = format!("{}: no money moved; its dead letter says why", fee.amount);
    [name(fee), Standing::Refused.as_str().to_owned(), words]
}

fn capture_now(capture: &Capture, now: Timestamp) -> [String; 3] {
    let words = match capture.state {
        CaptureState::Planned if capture.is_held() => "held by a cap of its account".to_owned(),
        CaptureState::Planned => "it is to be sent".to_owned(),
        CaptureState::Sending => format!("attempt {} is under way", capture.progress.attempts),
        CaptureState::InDoubt => {
            let since =
                capture.progress.doubt_since.map(|at| format!(" since {}", text::instant_and_distance(at, now)));
            format!("money may have moved{}", since.unwrap_or_default())
        }
        CaptureState::Captured => format!("the provider captured it{}", settled(capture)),
        CaptureState::Failed if capture.corrected_at.is_some() => {
            format!("so it was booked, but later evidence shows that it was captured{}", settled(capture))
        }
        CaptureState::Unresolved if capture.corrected_at.is_some() => {
            format!("so it was closed by hand, but later evidence shows that it was captured{}", settled(capture))
        }
        CaptureState::Failed => format!("there is evidence that it was not captured{}", settled(capture)),
        CaptureState::Unresolved => format!("closed by hand, its amount stays reserved{}", settled(capture)),
    };
    [about(capture), capture.state.as_str().to_owned(), format!("{}: {words}", capture.amount)]
}

fn settled(capture: &Capture) -> String {
    let at = capture.settled_at.map(|at| format!("; settled at {}", text::instant(at))).unwrap_or_default();
    let way = capture.resolved_by.map(|way| format!(" by {}", way.as_str())).unwrap_or_default();
    let reference = capture.provider_reference.as_deref();
    let reference = reference.map(|it| format!("; the provider calls it {}", text::harmless(it, false)));
    format!("{at}{way}{}", reference.unwrap_or_default())
}
