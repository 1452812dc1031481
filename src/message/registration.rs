//! What messages about orders share: the authorization, the plan, and lists of lines.
//!
//! Checks what can be seen in one message. Not here: whether the plan adds up, or agrees with what was
//! registered before (`capture::register`).

use std::collections::HashSet;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::Serialize;

use super::field::{Field, Fields, Lines, Problem};
use super::wire::{Amount, CurrencyCode, Id, Instant, Quantity};
use crate::capture::notice::{AuthorizationFacts, PlanFacts, PlanLineFacts, ShippingPolicy};
use crate::clock::Timestamp;
use crate::ids::{AccountName, LineId, Reference};
use crate::money::Currency;

const AUTHORIZATION_FIELDS: [&str; 6] = ["account", "reference", "currency", "amount", "authorized_at", "expires_at"];
const PLAN_FIELDS: [&str; 8] =
    ["revision", "lines", "discount", "tax", "shipping", "shipping_policy", "other_tender", "total"];
const PLAN_LINE_FIELDS: [&str; 3] = ["line_id", "quantity", "total"];

pub(super) fn read_authorization(field: Field<'_>) -> Result<AuthorizationFacts, Problem> {
    let fields = field.object()?;
    fields.only(&AUTHORIZATION_FIELDS)?;
    let account = fields.required("account", "name the configured account")?.id(AccountName::parse)?;
    let reference = fields.required("reference", "send the provider's id of the authorization")?;
    let reference = reference.id(Reference::parse)?;
    let currency = fields.required("currency", "send the authorization's ISO 4217 code")?.currency()?;
    let amount = fields.optional("amount").map(|field| field.positive_money(currency)).transpose()?;
    let authorized_at = fields.optional("authorized_at").map(Field::instant).transpose()?;
    let expires_at = fields.optional("expires_at").map(|field| expiry(field, authorized_at)).transpose()?;
    Ok(AuthorizationFacts { account, reference, currency, amount, authorized_at, expires_at })
}

fn expiry(field: Field<'_>, authorized_at: Option<Timestamp>) -> Result<Timestamp, Problem> {
    let expires_at = field.instant()?;
    if authorized_at.is_some_and(|authorized_at| expires_at <= authorized_at) {
        return Err(field.problem("is not after authorized_at", "send the end of the hold, or leave it out"));
    }
    Ok(expires_at)
}

pub(super) fn read_plan(field: Field<'_>, currency: Option<Currency>) -> Result<PlanFacts, Problem> {
    let fields = field.object()?;
    fields.only(&PLAN_FIELDS)?;
    let money = |field: Field<'_>| field.major(currency);
    let or_none = |key| fields.optional(key).map(money).transpose().map(Option::unwrap_or_default);
    let lines = fields.required("lines", "list what the order is made of")?.lines()?;
    Ok(PlanFacts {
        revision: fields.optional("revision").map(Field::ordinal).transpose()?.unwrap_or(1),
        lines: read_plan_lines(&lines, currency)?,
        discount: or_none("discount")?,
        tax: or_none("tax")?,
        shipping: or_none("shipping")?,
        shipping_policy: fields.optional("shipping_policy").map(policy).transpose()?.unwrap_or(ShippingPolicy::Prorate),
        other_tender: or_none("other_tender")?,
        total: money(fields.required("total", "send what this authorization owes for the whole order")?)?,
    })
}

fn read_plan_lines(lines: &Lines<'_>, currency: Option<Currency>) -> Result<Vec<PlanLineFacts>, Problem> {
    each_line(lines, |fields, seen| {
        fields.only(&PLAN_LINE_FIELDS)?;
        let line = seen.read(fields)?;
        let quantity = fields.required("quantity", "send how many units were ordered")?.quantity()?;
        let total: Decimal = fields.required("total", "send what these units cost together")?.major(currency)?;
        Ok(PlanLineFacts { line, quantity, total })
    })
}

fn policy(field: Field<'_>) -> Result<ShippingPolicy, Problem> {
    let way_out = "send \"prorate\", \"first\" or \"last\"";
    match field.text(way_out)? {
        "prorate" => Ok(ShippingPolicy::Prorate),
        "first" => Ok(ShippingPolicy::First),
        "last" => Ok(ShippingPolicy::Last),
        _ => Err(field.problem("is not a policy we know", way_out)),
    }
}

/// Reads every entry of a list of lines.
pub(super) fn each_line<T>(
    lines: &Lines<'_>,
    mut read: impl FnMut(&Fields<'_>, &mut LineIds) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let mut seen = LineIds(HashSet::with_capacity(lines.len()));
    lines.iter().map(|entry| read(&entry.object()?, &mut seen)).collect()
}

/// The line ids of one list, each at most once.
pub(super) struct LineIds(HashSet<LineId>);

impl LineIds {
    pub(super) fn read(&mut self, line: &Fields<'_>) -> Result<LineId, Problem> {
        let field = line.required("line_id", "send the line's id within the order")?;
        let id = field.id(LineId::parse)?;
        if !self.0.insert(id.clone()) {
            return Err(field.problem("occurs on an earlier line too", "send each line once, with its sum"));
        }
        Ok(id)
    }
}

/// Funds held at the provider for an order.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Authorization<'a> {
    /// The configured account.
    account: Id<'a>,
    /// The provider's order id (Flitt, Fondy) or transaction id (Flex Pay).
    reference: Id<'a>,
    /// The currency it was made in.
    currency: CurrencyCode,
    /// How much was authorized; positive. May be left out where the provider can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    /// When it was made. May be left out where the provider can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_at: Option<Instant>,
    /// When it dies; after `authorized_at`. May be left out where the provider can be asked, or the
    /// account's settings say how long authorizations live.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Instant>,
}

/// What the whole order owes, line by line, frozen when it is registered. `total` must equal the sum
/// of the line totals − `discount` + `tax` + `shipping` − `other_tender`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Plan<'a> {
    /// Rises with each revision; default 1.
    #[schemars(range(min = 1))]
    revision: Option<u32>,
    /// The order's lines.
    #[schemars(length(min = 1, max = 1000))]
    lines: Vec<PlanLine<'a>>,
    /// Taken off the goods; default zero.
    discount: Option<Amount>,
    /// Added on top of the goods; default zero.
    tax: Option<Amount>,
    /// The delivery fee; default zero.
    shipping: Option<Amount>,
    /// When the fee is earned: in proportion to the goods, with the first shipment, or with the
    /// last; default `prorate`.
    #[schemars(extend("enum" = ["prorate", "first", "last", null]))]
    shipping_policy: Option<&'static str>,
    /// Paid by other means (gift card); default zero.
    other_tender: Option<Amount>,
    /// What this authorization owes for the whole order.
    total: Amount,
}

/// One line of a plan.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct PlanLine<'a> {
    /// The line within its order; at most once per list.
    line_id: Id<'a>,
    /// The quantity ordered.
    quantity: Quantity,
    /// What these units cost together.
    total: Amount,
}

impl<'a> From<&'a AuthorizationFacts> for Authorization<'a> {
    fn from(facts: &'a AuthorizationFacts) -> Self {
        Self {
            account: Id(facts.account.as_str()),
            reference: Id(facts.reference.as_str()),
            currency: CurrencyCode(facts.currency),
            amount: facts.amount.map(Amount::from),
            authorized_at: facts.authorized_at.map(Instant),
            expires_at: facts.expires_at.map(Instant),
        }
    }
}

impl<'a> From<&'a PlanFacts> for Plan<'a> {
    fn from(facts: &'a PlanFacts) -> Self {
        let line = |line: &'a PlanLineFacts| PlanLine {
            line_id: Id(line.line.as_str()),
            quantity: line.quantity.into(),
            total: Amount::major(line.total),
        };
        Self {
            revision: Some(facts.revision),
            lines: facts.lines.iter().map(line).collect(),
            discount: Some(Amount::major(facts.discount)),
            tax: Some(Amount::major(facts.tax)),
            shipping: Some(Amount::major(facts.shipping)),
            shipping_policy: Some(match facts.shipping_policy {
                ShippingPolicy::Prorate => "prorate",
                ShippingPolicy::First => "first",
                ShippingPolicy::Last => "last",
            }),
            other_tender: Some(Amount::major(facts.other_tender)),
            total: Amount::major(facts.total),
        }
    }
}
