//! A story for programs: stable field names, instants in RFC 3339, amounts as decimal strings beside
//! their currency. Nothing of a message but its id.

use serde::Serialize;

use super::Surroundings;
use super::explain::{self, Explained};
use super::working::{WorkingView, policy_word};
use crate::capture::dead_letter::DeadLetter;
use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::plan::{LineProgress, Plan, PlanLine};
use crate::capture::records::{AmountMode, Authorization, Order, Shipment};
use crate::cli::text::{Amount, Instant};
use crate::ids::ShipmentId;
use crate::ledger::report::{CaptureStory, FeeStory, HistoryLine, ShipmentStory, Standing, Story, WrittenEvent};
use crate::money::Money;

/// The story, ready to be written as JSON.
pub(super) fn view(around: &Surroundings<'_>) -> impl Serialize {
    let story = around.story;
    let order = &story.order;
    StoryView {
        order_id: order.id.as_str(),
        mode: order.mode.map(AmountMode::as_str),
        plan: order.plan.as_ref().map(|plan| plan_view(plan, order)),
        final_at: order.final_at.map(Instant),
        authorizations: story.authorizations.iter().map(AuthorizationView::from).collect(),
        shipments: story.shipments.iter().map(|shipment| shipment_view(around, shipment)).collect(),
        fees: story.fees.iter().map(|fee| fee_view(story, fee)).collect(),
        captures: story.captures.iter().map(|told| capture_view(around, told)).collect(),
        dead_letters: story.dead_letters.iter().map(DeadLetterView::from).collect(),
    }
}

#[derive(Serialize)]
struct StoryView<'a> {
    order_id: &'a str,
    mode: Option<&'static str>,
    plan: Option<PlanView<'a>>,
    final_at: Option<Instant>,
    authorizations: Vec<AuthorizationView<'a>>,
    shipments: Vec<ShipmentView<'a>>,
    fees: Vec<FeeView<'a>>,
    captures: Vec<CaptureView<'a>>,
    dead_letters: Vec<DeadLetterView<'a>>,
}

#[derive(Serialize)]
struct PlanView<'a> {
    revision: u32,
    total: Amount,
    currency: String,
    shipping: Amount,
    shipping_policy: &'static str,
    lines: Vec<PlanLineView<'a>>,
    is_complete: bool,
}

#[derive(Serialize)]
struct PlanLineView<'a> {
    line_id: &'a str,
    share: Amount,
    ordered: String,
    shipped: String,
    cancelled: String,
}

fn plan_view<'a>(plan: &'a Plan, order: &Order) -> PlanView<'a> {
    let share = |minor| Amount(Money::from_minor(minor, plan.currency()).expect("a plan holds no negative amount"));
    let line = |(line, at): (&'a PlanLine, &LineProgress)| PlanLineView {
        line_id: line.line.as_str(),
        share: share(line.share),
        ordered: line.ordered.to_string(),
        shipped: at.shipped.to_string(),
        cancelled: at.cancelled.to_string(),
    };
    PlanView {
        revision: plan.revision(),
        total: Amount(plan.total()),
        currency: plan.currency().to_string(),
        shipping: Amount(plan.fee()),
        shipping_policy: policy_word(plan.shipping_policy()),
        lines: plan.lines().iter().zip(&order.progress).map(line).collect(),
        is_complete: order.is_complete(),
    }
}

#[derive(Serialize)]
struct AuthorizationView<'a> {
    account: &'a str,
    reference: &'a str,
    currency: String,
    authorized: Amount,
    captured: Amount,
    reserved: Amount,
    waiting: Amount,
    remaining: Amount,
    excess: Amount,
    expires_at: Option<Instant>,
    expiry_is_derived: bool,
    collects_until: Option<Instant>,
    provider_captured: Option<Amount>,
    provider_voided: Option<Amount>,
    provider_remaining: Option<Amount>,
    provider_expires_at: Option<Instant>,
    foreign: Option<ForeignView>,
}

/// Money that somebody else has captured.
#[derive(Serialize)]
struct ForeignView {
    captured: Amount,
    standing: &'static str,
    since: Instant,
}

impl<'a> From<&'a Authorization> for AuthorizationView<'a> {
    fn from(record: &'a Authorization) -> Self {
        Self {
            account: record.account.as_str(),
            reference: record.reference.as_str(),
            currency: record.currency.to_string(),
            authorized: Amount(record.authorized),
            captured: Amount(record.captured),
            reserved: Amount(record.reserved),
            waiting: Amount(record.waiting_amount),
            remaining: Amount(record.remaining()),
            excess: Amount(record.excess),
            expires_at: record.expires_at.map(Instant),
            expiry_is_derived: record.expiry_is_derived,
            collects_until: record.freeze_at.map(Instant),
            provider_captured: record.provider.captured.map(Amount),
            provider_voided: record.provider.voided.map(Amount),
            provider_remaining: record.provider.remaining.map(Amount),
            provider_expires_at: record.provider.expires_at.map(Instant),
            foreign: record.watch.foreign.map(|foreign| ForeignView {
                captured: Amount(foreign.amount),
                standing: foreign.standing.as_str(),
                since: Instant(foreign.since),
            }),
        }
    }
}

#[derive(Serialize)]
struct ShipmentView<'a> {
    shipment_id: &'a str,
    generation: u32,
    state: Option<&'static str>,
    reason: Option<&'static str>,
    next_action: Option<&'static str>,
    amount: Option<Amount>,
    currency: Option<String>,
    lines: Vec<LineView<'a>>,
    working: Option<WorkingView<'a>>,
    account: Option<&'a str>,
    reference: Option<&'a str>,
    capture_id: Option<String>,
    accepted_at: Instant,
    caused_by: &'a str,
    next_look_at: Option<Instant>,
    explained: Option<Explained>,
    events: Vec<EventView<'a>>,
}

#[derive(Serialize)]
struct LineView<'a> {
    line_id: &'a str,
    quantity: String,
}

fn shipment_view<'a>(around: &Surroundings<'a>, told: &'a ShipmentStory) -> ShipmentView<'a> {
    let story = around.story;
    let shipment: &Shipment = &told.shipment;
    let authorization = shipment.authorization.and_then(|key| story.authorization(key));
    let capture = shipment.capture.and_then(|key| story.capture(key));
    let lines = shipment.lines.iter();
    ShipmentView {
        shipment_id: shipment.id.as_str(),
        generation: shipment.generation,
        state: story.standing(shipment).map(Standing::as_str),
        reason: shipment.reason.map(FailureReason::as_str),
        next_action: shipment.reason.map(|reason| reason.next_action().as_str()),
        amount: shipment.amount.map(Amount),
        currency: shipment.amount.map(currency),
        lines: lines
            .map(|line| LineView { line_id: line.line.as_str(), quantity: line.quantity.to_string() })
            .collect(),
        working: told.working.as_ref().map(WorkingView::from),
        account: authorization.map(|record| record.account.as_str()),
        reference: authorization.map(|record| record.reference.as_str()),
        capture_id: capture.map(|capture| capture.id.to_string()),
        accepted_at: Instant(shipment.accepted_at),
        caused_by: &shipment.caused_by,
        next_look_at: shipment.due_at.map(Instant),
        explained: explain::shipment(shipment, around),
        events: told.events.iter().map(EventView::from).collect(),
    }
}

#[derive(Serialize)]
struct FeeView<'a> {
    number: u32,
    amount: Amount,
    currency: String,
    working: Option<WorkingView<'a>>,
    capture_id: Option<String>,
    caused_by: Option<&'a str>,
    events: Vec<EventView<'a>>,
}

fn fee_view<'a>(story: &'a Story, fee: &'a FeeStory) -> FeeView<'a> {
    FeeView {
        number: fee.number,
        amount: Amount(fee.amount),
        currency: currency(fee.amount),
        working: fee.working.as_ref().map(WorkingView::from),
        capture_id: fee.capture.and_then(|key| story.capture(key)).map(|capture| capture.id.to_string()),
        caused_by: fee.caused_by.as_deref(),
        events: fee.events.iter().map(EventView::from).collect(),
    }
}

fn currency(amount: Money) -> String {
    amount.currency().to_string()
}

#[derive(Serialize)]
struct EventView<'a> {
    event_id: String,
    r#type: &'a str,
    written_at: Instant,
    published_at: Option<Instant>,
}

impl<'a> From<&'a WrittenEvent> for EventView<'a> {
    fn from(event: &'a WrittenEvent) -> Self {
        Self {
            event_id: event.id.to_string(),
            r#type: &event.kind,
            written_at: Instant(event.written_at),
            published_at: event.published_at.map(Instant),
        }
    }
}

#[derive(Serialize)]
struct CaptureView<'a> {
    capture_id: String,
    kind: &'static str,
    generation: u32,
    amount: Amount,
    currency: String,
    shipment_ids: Vec<&'a str>,
    state: &'static str,
    is_corrected: bool,
    attempts: u32,
    planned_at: Instant,
    next_at: Option<Instant>,
    waits_turn: bool,
    in_doubt_since: Option<Instant>,
    looks: u32,
    last_seen: Option<&'a str>,
    explained: Option<Explained>,
    resolved_by: Option<&'static str>,
    provider_reference: Option<&'a str>,
    settled_at: Option<Instant>,
    history: Vec<HistoryView<'a>>,
    history_pruned: bool,
}

fn capture_view<'a>(around: &Surroundings<'a>, told: &'a CaptureStory) -> CaptureView<'a> {
    let capture = &told.capture;
    CaptureView {
        capture_id: capture.id.to_string(),
        kind: capture.kind.as_str(),
        generation: capture.generation,
        amount: Amount(capture.amount),
        currency: currency(capture.amount),
        shipment_ids: told.shipments.iter().map(ShipmentId::as_str).collect(),
        state: capture.state.as_str(),
        is_corrected: capture.corrected_at.is_some(),
        attempts: capture.progress.attempts,
        planned_at: Instant(capture.planned_at),
        next_at: capture.due_at.map(Instant),
        waits_turn: capture.waits_turn,
        in_doubt_since: capture.progress.doubt_since.filter(|_| !capture.state.is_terminal()).map(Instant),
        looks: capture.progress.looks,
        last_seen: capture.progress.last_seen.as_deref(),
        explained: explain::capture(capture, around),
        resolved_by: capture.resolved_by.map(ResolvedBy::as_str),
        provider_reference: capture.provider_reference.as_deref(),
        settled_at: capture.settled_at.map(Instant),
        history: told.history.iter().map(HistoryView::from).collect(),
        history_pruned: told.is_pruned,
    }
}

#[derive(Serialize)]
struct HistoryView<'a> {
    at: Instant,
    attempt: u32,
    what: &'a str,
    detail: &'a str,
}

impl<'a> From<&'a HistoryLine> for HistoryView<'a> {
    fn from(line: &'a HistoryLine) -> Self {
        Self { at: Instant(line.at), attempt: line.attempt, what: &line.what, detail: &line.detail }
    }
}

#[derive(Serialize)]
struct DeadLetterView<'a> {
    dead_letter_id: String,
    shipment_id: Option<&'a str>,
    reason: &'static str,
    message: &'a str,
    state: &'static str,
    first_seen_at: Instant,
}

impl<'a> From<&'a DeadLetter> for DeadLetterView<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        Self {
            dead_letter_id: letter.id.to_string(),
            shipment_id: letter.shipment.as_ref().map(ShipmentId::as_str),
            reason: letter.reason,
            message: &letter.message,
            state: letter.state.as_str(),
            first_seen_at: Instant(letter.first_seen_at),
        }
    }
}
