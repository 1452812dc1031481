//! `order.cancelled`: what of an order will never ship.
//!
//! Checks everything that can be seen in one message. Not here: whether the lines are the plan's, and
//! how much of them has shipped already (`capture::cancel`).

use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::{self, Kind};
use super::field::{Fields, Lines, Problem};
use super::registration::each_line;
use super::wire::{Id, Quantity};
use crate::capture::notice::{CancellationNotice, CancelledLine};
use crate::clock::Timestamp;
use crate::ids::OrderId;

/// Writes a notice as a CloudEvents message, for whoever has to send one.
pub fn encode(notice: &CancellationNotice, id: &str, source: &str, time: Timestamp) -> Vec<u8> {
    envelope::write(Kind::Cancelled, &notice.order, OrderCancelled::from(notice), id, source, time)
}

/// Reads the data of an `order.cancelled`.
pub(super) fn read(data: &Fields<'_>) -> Result<CancellationNotice, Problem> {
    let order = data.required("order_id", "send the order's id")?.id(OrderId::parse)?;
    // Without lines everything is cancelled, so a mistyped name must not pass for "no lines".
    data.nothing_like("lines")?;
    let lines = data.optional("lines").map(|field| read_lines(&field.lines()?)).transpose()?;
    Ok(CancellationNotice { order, lines })
}

fn read_lines(lines: &Lines<'_>) -> Result<Vec<CancelledLine>, Problem> {
    each_line(lines, |fields, seen| {
        let line = seen.read(fields)?;
        let cancelled = fields.required("cancelled", "send how many units are cancelled in all")?.quantity()?;
        Ok(CancelledLine { line, cancelled })
    })
}

/// What of an order will never ship. It takes away what has not shipped, never what was earned. Unknown
/// fields are ignored, unless they are nearly called `lines`. `null` is the same as leaving a field
/// out.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OrderCancelled<'a> {
    /// The order.
    order_id: Id<'a>,
    /// What is cancelled so far. Left out: everything that has not shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    lines: Option<Vec<Line<'a>>>,
}

/// One line of a cancellation.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CancelledLine")]
struct Line<'a> {
    /// The line within its order; at most once per list.
    line_id: Id<'a>,
    /// How many units are cancelled so far, in all: the same number again changes nothing, and a lower
    /// one than before is ignored.
    cancelled: Quantity,
}

impl<'a> From<&'a CancellationNotice> for OrderCancelled<'a> {
    fn from(notice: &'a CancellationNotice) -> Self {
        let line = |line: &'a CancelledLine| Line { line_id: Id(line.line.as_str()), cancelled: line.cancelled.into() };
        Self {
            order_id: Id(notice.order.as_str()),
            lines: notice.lines.as_ref().map(|lines| lines.iter().map(line).collect()),
        }
    }
}
