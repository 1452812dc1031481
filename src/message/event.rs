//! What we publish: each outgoing event as a CloudEvents 1.0 message.
//!
//! It decides nothing and computes nothing: the core has said what happened, this gives it its JSON.
//! Fields that are not known are null rather than absent, so that consumers can tell the two apart.

// of authorizations
mod authorization;
/// One of each.
pub mod examples;

use schemars::JsonSchema;
use serde::Serialize;

pub(super) use authorization::{Expired, Expiring};

use super::envelope::SPEC_VERSION;
use super::wire::{Amount, CurrencyCode, Id, Instant, Key};
use crate::capture::event::{
    self, Correction, Deferral, Event, EventContent, Failure, FailureReason, OperatorNote, Outcome, RejectedNotice,
};
use crate::capture::notice::RejectionReason;
use crate::ids::OrderId;

/// An outcome is shorter, with ids of ordinary length.
const USUAL_SIZE: usize = 1_024;

/// Writes `event` as the body of a message; `source` is the configured CloudEvents source.
///
/// The same event always gives the same bytes, so a repetition repeats them.
pub fn encode(event: &Event, source: &str) -> Vec<u8> {
    let write = Writer { event, source };
    match &event.content {
        EventContent::Succeeded(outcome) => write.body(&outcome.order, Succeeded { common: Common::from(&**outcome) }),
        EventContent::Failed(outcome, failure) => write.body(&outcome.order, Failed::new(outcome, failure)),
        EventContent::Unresolved(outcome, note) => write.body(&outcome.order, Unresolved::new(outcome, note)),
        EventContent::Corrected(outcome, correction) => write.body(&outcome.order, Corrected::new(outcome, correction)),
        EventContent::Deferred(deferral) => write.body(&deferral.order, Deferred::from(deferral)),
        EventContent::Rejected(rejected) => write.body(rejected.order.as_ref(), Rejected::from(rejected)),
        EventContent::Expiring(warning) => write.body(&warning.order, Expiring::from(&**warning)),
        EventContent::Expired(end) => write.body(&end.order, Expired::from(&**end)),
        EventContent::RefundRequired(refund) => write.body(&refund.order, RefundRequired::from(refund)),
    }
}

struct Writer<'a> {
    event: &'a Event,
    source: &'a str,
}

impl<'a> Writer<'a> {
    fn body<D: Serialize>(&self, order: impl Into<Option<&'a OrderId>>, data: D) -> Vec<u8> {
        let event = Outgoing {
            specversion: SPEC_VERSION,
            id: Key(self.event.id.as_uuid()),
            source: self.source,
            r#type: self.event.content.kind(),
            subject: order.into().map(|order| Id(order.as_str())),
            time: Instant(self.event.time),
            datacontenttype: "application/json",
            traceparent: self.event.traceparent.as_deref(),
            data,
        };
        let mut body = Vec::with_capacity(USUAL_SIZE);
        serde_json::to_writer(&mut body, &event).expect("strings, integers and lists always have a JSON form");
        body
    }
}

/// A CloudEvents 1.0 event as we publish it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Outgoing<'a, D> {
    /// Always `1.0`.
    specversion: &'static str,
    /// The same in every repetition: deduplicate by it.
    id: Key,
    /// Which deployment published it, as configured.
    source: &'a str,
    /// What happened; the routing key too.
    r#type: &'static str,
    /// The order, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Id<'a>>,
    /// When it became true in the ledger.
    time: Instant,
    /// Always `application/json`.
    datacontenttype: &'static str,
    /// W3C trace context of its publishing or of the message that caused it (CloudEvents distributed tracing extension).
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// What happened, in full.
    data: D,
}

/// The shipment's money was captured.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Succeeded<'a> {
    #[serde(flatten)]
    common: Common<'a>,
}

/// The fields of every outcome.
#[derive(Debug, Serialize, JsonSchema)]
struct Common<'a> {
    /// The order.
    order_id: Id<'a>,
    /// The shipment; null for a fee.
    shipment_id: Option<Id<'a>>,
    /// The capture: our `Idempotency-Key` and `merchant_reference_id` at the provider; where it never
    /// came to one, what its id would have been. Null where the authorization was never known.
    capture_id: Option<Key>,
    /// What kind of capture.
    #[schemars(extend("enum" = ["shipment", "batch", "deadline", "fee", "zero"]))]
    kind: &'static str,
    /// 0, and one more for each replay of a failure.
    generation: u32,
    /// The configured account; null where the authorization was never known.
    account: Option<Id<'a>>,
    /// The authorization at the provider; null where it was never known.
    reference: Option<Id<'a>>,
    /// Of every amount in this event; null where none could be worked out.
    currency: Option<CurrencyCode>,
    /// This shipment's share; null where none could be worked out.
    amount: Option<Amount>,
    /// The whole capture.
    capture_amount: Option<Amount>,
    /// Every shipment that the capture covers.
    capture_shipment_ids: Vec<Id<'a>>,
    /// The authorization's balance after this outcome.
    balance: Option<Balance>,
    /// When the authorization dies.
    authorization_expires_at: Option<Instant>,
    /// Provider calls made for it.
    attempts: u32,
    /// What settled it: the answer to a capture request, a read, our own rules, or a person.
    #[schemars(extend("enum" = ["response", "lookup", "local", "operator"]))]
    resolved_by: &'static str,
    /// The provider's id of the capture, where it has one.
    provider_reference: Option<&'a str>,
    /// The id of the incoming event.
    caused_by: Option<&'a str>,
    /// Counts the events of the order, from 1. No order of arrival is promised.
    #[schemars(range(min = 1))]
    sequence: u64,
}

/// An authorization's balance, over our own movements.
#[derive(Debug, Serialize, JsonSchema)]
struct Balance {
    /// Authorized.
    authorized: Amount,
    /// Captured.
    captured: Amount,
    /// Authorized, less captured and reserved.
    remaining: Amount,
    /// Shipped but not captured yet.
    earned_uncaptured: Amount,
}

/// The shipment's money was not captured, on evidence.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failed<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    /// Why, from a closed list.
    #[schemars(extend("enum" = FailureReason::ALL.map(FailureReason::as_str)))]
    reason: &'static str,
    /// The provider's own code, where it sent one.
    provider_code: Option<&'a str>,
    /// Why, for people; redacted.
    #[schemars(length(max = 200))]
    message: &'a str,
    /// Would a replay make sense, now or once a new authorization is there?
    retryable: bool,
    /// False, except with `captured_elsewhere`.
    money_may_have_moved: bool,
    /// What somebody should do.
    #[schemars(extend("enum" = ["replay", "reauthorize", "review", "none"]))]
    next_action: &'static str,
    /// The dead letter that keeps it.
    dead_letter_id: Key,
}

/// An operator closed a capture in doubt by hand.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Unresolved<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    /// Who closed it.
    who: &'a str,
    /// Why.
    why: &'a str,
    /// Always true: nobody found out.
    money_may_have_moved: bool,
}

/// Evidence arrived after a terminal outcome.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Corrected<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    /// The outcome that was published before: `failed` or `unresolved`.
    was: &'static str,
    /// What it turned out to be: `captured`.
    now: &'static str,
}

/// A shipment was accepted, and waits to be captured with others.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deferred<'a> {
    /// The order.
    order_id: Id<'a>,
    /// The shipment.
    shipment_id: Id<'a>,
    /// The configured account.
    account: Id<'a>,
    /// The authorization at the provider.
    reference: Id<'a>,
    /// Of the amount.
    currency: CurrencyCode,
    /// What the order has earned so far on this authorization.
    amount_so_far: Amount,
    /// The latest instant at which it is captured; null while the expiry is unknown.
    capture_by: Option<Instant>,
    /// The id of the incoming event.
    caused_by: Option<&'a str>,
    /// Counts the events of the order, from 1. No order of arrival is promised.
    #[schemars(range(min = 1))]
    sequence: u64,
}

/// A message cannot be processed as it is. It registered nothing, so a corrected one simply works.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Rejected<'a> {
    /// The id of the incoming event, where it could be read.
    caused_by: Option<&'a str>,
    /// The order, where it could be read.
    order_id: Option<Id<'a>>,
    /// The shipment, where it could be read.
    shipment_id: Option<Id<'a>>,
    /// Which kind of problem.
    #[schemars(extend("enum" = RejectionReason::ALL.map(RejectionReason::as_str)))]
    reason: &'static str,
    /// Where in the body, as a JSON path; `$` for the whole.
    path: &'a str,
    /// What is wrong and what to do, without values.
    message: &'a str,
    /// The dead letter that keeps the body.
    dead_letter_id: Key,
}

/// A revised plan is below what was captured. Holdfast reports it, and refunds nobody.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RefundRequired<'a> {
    /// The order.
    order_id: Id<'a>,
    /// The configured account of the order's newest authorization.
    account: Id<'a>,
    /// The order's newest authorization at the provider.
    reference: Id<'a>,
    /// Of every amount in this event.
    currency: CurrencyCode,
    /// The plan's revision.
    #[schemars(range(min = 1))]
    revision: u32,
    /// Captured for the order, on all its authorizations.
    captured: Amount,
    /// What the revised plan comes to.
    plan_total: Amount,
    /// Captured, less what the plan comes to.
    difference: Amount,
    /// The id of the incoming event; null where a capture that was under way when the revision came has
    /// called for it.
    caused_by: Option<&'a str>,
    /// Counts the events of the order, from 1. No order of arrival is promised.
    #[schemars(range(min = 1))]
    sequence: u64,
}

impl<'a> From<&'a Outcome> for Common<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let authorization = outcome.authorization.as_ref();
        Self {
            order_id: Id(outcome.order.as_str()),
            shipment_id: outcome.shipment.as_ref().map(|id| Id(id.as_str())),
            capture_id: outcome.capture.map(|capture| Key(capture.as_uuid())),
            kind: outcome.kind.as_str(),
            generation: outcome.generation,
            account: authorization.map(|(name, _)| Id(name.as_str())),
            reference: authorization.map(|(_, id)| Id(id.as_str())),
            currency: currency_of(outcome),
            amount: outcome.amount.map(Amount::from),
            capture_amount: outcome.capture_amount.map(Amount::from),
            capture_shipment_ids: outcome.capture_shipments.iter().map(|id| Id(id.as_str())).collect(),
            balance: outcome.balance.map(Balance::from),
            authorization_expires_at: outcome.authorization_expires_at.map(Instant),
            attempts: outcome.attempts,
            resolved_by: outcome.resolved_by.as_str(),
            provider_reference: outcome.provider_reference.as_deref(),
            caused_by: outcome.caused_by.as_deref(),
            sequence: outcome.sequence,
        }
    }
}

/// All amounts of an outcome are in its authorization's currency, so any of them tells it.
fn currency_of(outcome: &Outcome) -> Option<CurrencyCode> {
    let balance = outcome.balance.map(|balance| balance.authorized);
    outcome.amount.or(outcome.capture_amount).or(balance).map(|money| CurrencyCode(money.currency()))
}

impl From<event::Balance> for Balance {
    fn from(balance: event::Balance) -> Self {
        Self {
            authorized: balance.authorized.into(),
            captured: balance.captured.into(),
            remaining: balance.remaining.into(),
            earned_uncaptured: balance.earned_uncaptured.into(),
        }
    }
}

impl<'a> Failed<'a> {
    fn new(outcome: &'a Outcome, failure: &'a Failure) -> Self {
        Self {
            common: outcome.into(),
            reason: failure.reason.as_str(),
            provider_code: failure.provider_code.as_deref(),
            message: &failure.message,
            retryable: failure.retryable,
            money_may_have_moved: failure.money_may_have_moved,
            next_action: failure.next_action.as_str(),
            dead_letter_id: Key(failure.dead_letter.as_uuid()),
        }
    }
}

impl<'a> Unresolved<'a> {
    fn new(outcome: &'a Outcome, note: &'a OperatorNote) -> Self {
        Self { common: outcome.into(), who: &note.who, why: &note.why, money_may_have_moved: true }
    }
}

impl<'a> Corrected<'a> {
    fn new(outcome: &'a Outcome, correction: &Correction) -> Self {
        Self { common: outcome.into(), was: correction.was, now: correction.now }
    }
}

impl<'a> From<&'a Deferral> for Deferred<'a> {
    fn from(deferral: &'a Deferral) -> Self {
        Self {
            order_id: Id(deferral.order.as_str()),
            shipment_id: Id(deferral.shipment.as_str()),
            account: Id(deferral.account.as_str()),
            reference: Id(deferral.reference.as_str()),
            currency: CurrencyCode(deferral.amount_so_far.currency()),
            amount_so_far: deferral.amount_so_far.into(),
            capture_by: deferral.capture_by.map(Instant),
            caused_by: deferral.caused_by.as_deref(),
            sequence: deferral.sequence,
        }
    }
}

impl<'a> From<&'a RejectedNotice> for Rejected<'a> {
    fn from(rejected: &'a RejectedNotice) -> Self {
        Self {
            caused_by: rejected.caused_by.as_deref(),
            order_id: rejected.order.as_ref().map(|id| Id(id.as_str())),
            shipment_id: rejected.shipment.as_ref().map(|id| Id(id.as_str())),
            reason: rejected.reason.as_str(),
            path: &rejected.path,
            message: &rejected.message,
            dead_letter_id: Key(rejected.dead_letter.as_uuid()),
        }
    }
}

impl<'a> From<&'a event::RefundRequired> for RefundRequired<'a> {
    fn from(refund: &'a event::RefundRequired) -> Self {
        Self {
            order_id: Id(refund.order.as_str()),
            account: Id(refund.account.as_str()),
            reference: Id(refund.reference.as_str()),
            currency: CurrencyCode(refund.captured.currency()),
            revision: refund.revision,
            captured: refund.captured.into(),
            plan_total: refund.plan_total.into(),
            difference: refund.difference.into(),
            caused_by: refund.caused_by.as_deref(),
            sequence: refund.sequence,
        }
    }
}

#[cfg(test)]
mod tests;
