//! `order.shipped`: a shipment notice.
//!
//! Checks everything that can be seen in one message. Not here: whether the plan adds up, whether
//! the lines are the plan's, whether what is missing was registered before (`capture::accept`).

use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::{self, Kind};
use super::field::{Field, Fields, Lines, Problem};
use super::registration::{Authorization, Plan, each_line, read_authorization, read_plan};
use super::wire::{Amount, Id, Instant, Quantity};
use crate::capture::notice::{ShipmentNotice, ShippedLine};
use crate::clock::Timestamp;
use crate::ids::{OrderId, ShipmentId};

/// Writes a notice as a CloudEvents message, for whoever has to send one.
pub fn encode(notice: &ShipmentNotice, id: &str, source: &str, time: Timestamp) -> Vec<u8> {
    let data = OrderShipped::from(notice);
    envelope::write(Kind::Shipped, &notice.order, data, id, source, time)
}

/// Reads the data of an `order.shipped`.
pub(super) fn read(data: &Fields<'_>) -> Result<ShipmentNotice, Problem> {
    let order = data.required("order_id", "send the order's id")?.id(OrderId::parse)?;
    let shipment = data.required("shipment_id", "send the shipment's id")?.id(ShipmentId::parse)?;
    let is_final = data.optional("final").map(Field::flag).transpose()?.unwrap_or(false);
    let authorization = data.optional("authorization").map(read_authorization).transpose()?;
    // Without an authorization in the message the currency is known only to the ledger.
    let currency = authorization.as_ref().map(|authorization| authorization.currency);
    let amount = data.optional("amount").map(|field| field.major(currency)).transpose()?;
    let lines = match data.optional("lines") {
        Some(field) => read_lines(&field.lines()?)?,
        None if amount.is_some() => Vec::new(),
        None => return Err(data.missing("lines", "list what has shipped, or send `amount`")),
    };
    let plan = data.optional("plan").map(|field| read_plan(field, currency)).transpose()?;
    Ok(ShipmentNotice { order, shipment, is_final, lines, amount, authorization, plan })
}

fn read_lines(lines: &Lines<'_>) -> Result<Vec<ShippedLine>, Problem> {
    each_line(lines, |fields, seen| {
        let line = seen.read(fields)?;
        let quantity = fields.required("quantity", "send how many units are in this shipment")?.quantity()?;
        Ok(ShippedLine { line, quantity })
    })
}

/// What shipped, and what is needed to capture exactly its share. Unknown fields are ignored, except
/// in `authorization` and `plan`. `null` is the same as leaving a field out.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    { "required": ["lines"], "properties": { "lines": { "type": "array" } } },
    { "required": ["amount"], "properties": { "amount": { "type": "string" } } },
]))]
pub(super) struct OrderShipped<'a> {
    /// The order; unique across everything that one deployment serves.
    order_id: Id<'a>,
    /// The shipment within its order.
    shipment_id: Id<'a>,
    /// When it left, for people and reports; decides nothing, and is not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    shipped_at: Option<Instant>,
    /// True: nothing more will ship. Absent: derived from the quantities. False never overrides
    /// "everything has shipped".
    r#final: Option<bool>,
    /// What left the warehouse. Needed unless `amount` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    lines: Option<Vec<Line<'a>>>,
    /// What to capture, where the sender has worked it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    /// The authorization to capture from. Needed unless registered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<Authorization<'a>>,
    /// What the whole order owes. Needed unless registered before, or `amount` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan<'a>>,
}

/// One line of a shipment.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ShippedLine")]
struct Line<'a> {
    /// The line within its order; at most once per list.
    line_id: Id<'a>,
    /// The quantity in this shipment.
    quantity: Quantity,
}

impl<'a> From<&'a ShipmentNotice> for OrderShipped<'a> {
    fn from(notice: &'a ShipmentNotice) -> Self {
        let line = |line: &'a ShippedLine| Line { line_id: Id(line.line.as_str()), quantity: line.quantity.into() };
        Self {
            order_id: Id(notice.order.as_str()),
            shipment_id: Id(notice.shipment.as_str()),
            shipped_at: None,
            r#final: Some(notice.is_final),
            lines: (!notice.lines.is_empty()).then(|| notice.lines.iter().map(line).collect()),
            amount: notice.amount.map(Amount::major),
            authorization: notice.authorization.as_ref().map(Authorization::from),
            plan: notice.plan.as_ref().map(Plan::from),
        }
    }
}
