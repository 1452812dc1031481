//! Rows to records and back. Reading is checked: what the tables cannot have held is an error, never
//! a guess.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::capture::evidence::{Refusal, RefusalReason, SeenCapture};
use crate::capture::notice::{Quantity, RawMessage, ShippedLine, ShippingPolicy};
use crate::capture::plan::{LineProgress, Plan, PlanLine};
use crate::capture::records::{Lead, Restored};
use crate::capture::replay::{ReplayResult, WhyNot};
use crate::capture::usage::Tally;
use crate::clock::{Mark, Timestamp};
use crate::ids::{CaptureId, LineId};
use crate::ledger::cells::Cells;
use crate::money::{Currency, Money};

/// Something a row holds that no version of Holdfast writes.
pub(super) fn corrupt(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, what.into())
}

/// An instant in a column: microseconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct At(pub(super) Timestamp);

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.timestamp_micros().into())
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        DateTime::from_timestamp_micros(value.as_i64()?).map(Self).ok_or(FromSqlError::OutOfRange(value.as_i64()?))
    }
}

/// An optional instant, for a parameter.
pub(super) fn at(instant: Option<Timestamp>) -> Option<At> {
    instant.map(At)
}

/// An optional instant on both clocks, for three parameters.
#[derive(Clone, Copy, Default)]
pub(super) struct MarkCells {
    /// By the wall clock.
    pub(super) wall: Option<At>,
    /// Which run of the machine.
    pub(super) boot: Option<[u8; 16]>,
    /// Microseconds after its start.
    pub(super) since_boot: Option<i64>,
}

impl MarkCells {
    pub(super) fn of(mark: Option<Mark>) -> Self {
        mark.map_or_else(Self::default, |mark| Self {
            wall: Some(At(mark.wall)),
            boot: Some(*mark.boot.boot().as_uuid().as_bytes()),
            since_boot: Some(i64::try_from(mark.boot.since_boot().as_micros()).unwrap_or(i64::MAX)),
        })
    }

    /// Which run of the machine, as bytes of any number.
    pub(super) fn boot(&self) -> Option<&[u8]> {
        self.boot.as_ref().map(|boot| &boot[..])
    }
}

/// An optional instant, from a column.
pub(super) fn instant(row: &impl Cells, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.named::<Option<At>>(column)?.map(|at| at.0))
}

/// The columns of a row, one after the other as the tables have them. By name each would be searched
/// for among all of them, with every row.
pub(super) struct Columns<'a, R> {
    row: &'a R,
    next: usize,
}

impl<'a, R: Cells> Columns<'a, R> {
    /// From the first on.
    pub(super) fn of(row: &'a R) -> Self {
        Self { row, next: 0 }
    }

    fn take(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    /// Passes over one.
    pub(super) fn skip(&mut self) -> &mut Self {
        self.next += 1;
        self
    }

    /// The next one.
    pub(super) fn next<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.take();
        self.row.read(index)
    }

    /// A text, where it stands.
    pub(super) fn text(&mut self) -> rusqlite::Result<&'a str> {
        let index = self.take();
        Ok(self.row.cell(index)?.as_str()?)
    }

    /// A text or null.
    pub(super) fn optional_text(&mut self) -> rusqlite::Result<Option<&'a str>> {
        let index = self.take();
        Ok(self.row.cell(index)?.as_str_or_null()?)
    }

    /// An instant or null.
    pub(super) fn instant(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.next::<Option<At>>()?.map(|at| at.0))
    }

    /// An amount in minor units.
    pub(super) fn money(&mut self, currency: Currency) -> rusqlite::Result<Money> {
        Money::from_minor(self.next()?, currency).map_err(|_| corrupt("an amount is negative"))
    }

    /// An amount or null. One without a currency was never written.
    pub(super) fn optional_money(&mut self, currency: Option<Currency>) -> rusqlite::Result<Option<Money>> {
        let minor: Option<i64> = self.next()?;
        let money = |minor| {
            let currency = currency.ok_or_else(|| corrupt("an amount has no currency"))?;
            Money::from_minor(minor, currency).map_err(|_| corrupt("an amount is negative"))
        };
        minor.map(money).transpose()
    }

    /// A currency.
    pub(super) fn currency(&mut self) -> rusqlite::Result<Currency> {
        self.optional_currency()?.ok_or_else(|| corrupt("a currency is missing"))
    }

    /// A currency or null.
    pub(super) fn optional_currency(&mut self) -> rusqlite::Result<Option<Currency>> {
        let code = self.optional_text()?;
        code.map(|code| Currency::parse(code).map_err(|_| corrupt("a currency is unknown"))).transpose()
    }

    /// One of our closed words.
    pub(super) fn word<T: Copy>(&mut self, all: &[T], as_str: impl Fn(&T) -> &'static str) -> rusqlite::Result<T> {
        self.optional_word(all, as_str)?.ok_or_else(|| corrupt("a word is missing"))
    }

    /// One of our closed words or null.
    pub(super) fn optional_word<T: Copy>(
        &mut self,
        all: &[T],
        as_str: impl Fn(&T) -> &'static str,
    ) -> rusqlite::Result<Option<T>> {
        let Some(text) = self.optional_text()? else { return Ok(None) };
        let found = all.iter().find(|value| as_str(value) == text).copied();
        found.map(Some).ok_or_else(|| corrupt("a word is not one of ours"))
    }

    /// A message or null: body and origin.
    pub(super) fn message(&mut self) -> rusqlite::Result<Option<RawMessage>> {
        let body: Option<Vec<u8>> = self.next()?;
        let origin = self.optional_text()?;
        body.map(|body| message(body, origin.ok_or_else(|| corrupt("a message has no origin"))?)).transpose()
    }
}

/// JSON from a column.
fn json<'a, T: Deserialize<'a>>(text: &'a str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|_| corrupt("a column is not the JSON that is written there"))
}

/// JSON for a column.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("rows are plain data")
}

#[derive(Serialize, Deserialize)]
struct PlanRow {
    revision: u32,
    currency: String,
    policy: PolicyRow,
    fee: i64,
    total: i64,
    lines: Vec<(String, i64, i64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PolicyRow {
    Prorate,
    First,
    Last,
}

/// Leads as JSON: microseconds since 1970, and milliseconds before. Nothing where there are none.
pub(super) fn leads_to_json(leads: &[Lead]) -> Option<String> {
    let row = |lead: &Lead| (lead.expires_at.timestamp_micros(), lead.lead.as_millis());
    (!leads.is_empty()).then(|| to_json(&leads.iter().map(row).collect::<Vec<_>>()))
}

/// Leads from JSON.
pub(super) fn leads_from_json(text: &str) -> rusqlite::Result<Vec<Lead>> {
    let rows: Vec<(i64, u64)> = json(text)?;
    let lead = |(micros, millis)| {
        let expires_at = DateTime::from_timestamp_micros(micros).ok_or_else(|| corrupt("a lead has no expiry"))?;
        Ok(Lead { expires_at, lead: Duration::from_millis(millis) })
    };
    rows.into_iter().map(lead).collect()
}

/// What `restored` says of an authorization that has to be read.
const UNREAD: &str = "unread";

#[derive(Serialize, Deserialize)]
struct RestoredRow {
    adopted: u32,
    /// Key, minor units, the provider's id.
    found: Vec<(String, i64, Option<String>)>,
}

/// What is known of an authorization since a restore: a word, or JSON.
pub(super) fn restored_to_json(restored: &Restored) -> String {
    match restored {
        Restored::Unread => UNREAD.to_owned(),
        Restored::Read { adopted, found } => {
            let row = |seen: &SeenCapture| {
                Some((seen.capture?.to_string(), seen.amount.minor(), seen.provider_reference.clone()))
            };
            to_json(&RestoredRow { adopted: *adopted, found: found.iter().filter_map(row).collect() })
        }
    }
}

/// The same from its column.
pub(super) fn restored_from_json(text: &str, currency: Currency) -> rusqlite::Result<Restored> {
    if text == UNREAD {
        return Ok(Restored::Unread);
    }
    let RestoredRow { adopted, found } = json(text)?;
    let seen = |(id, minor, provider_reference): (String, i64, Option<String>)| {
        let id = Uuid::try_parse(&id).map_err(|_| corrupt("a key is no UUID"))?;
        let amount = Money::from_minor(minor, currency).map_err(|_| corrupt("an amount is negative"))?;
        Ok(SeenCapture { capture: Some(CaptureId::from_uuid(id)), amount, provider_reference })
    };
    Ok(Restored::Read { adopted, found: found.into_iter().map(seen).collect::<rusqlite::Result<_>>()? })
}

/// A plan as JSON.
pub(super) fn plan_to_json(plan: &Plan) -> String {
    to_json(&PlanRow {
        revision: plan.revision(),
        currency: plan.currency().code().to_owned(),
        policy: match plan.shipping_policy() {
            ShippingPolicy::Prorate => PolicyRow::Prorate,
            ShippingPolicy::First => PolicyRow::First,
            ShippingPolicy::Last => PolicyRow::Last,
        },
        fee: plan.fee().minor(),
        total: plan.total().minor(),
        lines: plan
            .lines()
            .iter()
            .map(|line| (line.line.as_str().to_owned(), line.ordered.millionths(), line.share))
            .collect(),
    })
}

/// A plan from JSON.
pub(super) fn plan_from_json(text: &str) -> rusqlite::Result<Plan> {
    let row: PlanRow = json(text)?;
    let currency = Currency::parse(&row.currency).map_err(|_| corrupt("a plan's currency is unknown"))?;
    let amount = |minor| Money::from_minor(minor, currency).map_err(|_| corrupt("a plan's amount is negative"));
    let policy = match row.policy {
        PolicyRow::Prorate => ShippingPolicy::Prorate,
        PolicyRow::First => ShippingPolicy::First,
        PolicyRow::Last => ShippingPolicy::Last,
    };
    let line = |(line, ordered, share): (String, i64, i64)| {
        Ok(PlanLine { line: line_id(&line)?, ordered: quantity(ordered)?, share })
    };
    let lines = row.lines.into_iter().map(line).collect::<rusqlite::Result<_>>()?;
    Plan::from_parts(row.revision, policy, amount(row.fee)?, amount(row.total)?, lines)
        .map_err(|_| corrupt("a plan does not add up"))
}

/// Progress as JSON.
pub(super) fn progress_to_json(progress: &[LineProgress]) -> String {
    let rows: Vec<_> = progress.iter().map(|at| (at.shipped.millionths(), at.cancelled.millionths())).collect();
    to_json(&rows)
}

/// Progress from JSON.
pub(super) fn progress_from_json(text: &str) -> rusqlite::Result<Vec<LineProgress>> {
    let rows: Vec<(i64, i64)> = json(text)?;
    let line = |(shipped, cancelled)| Ok(LineProgress { shipped: quantity(shipped)?, cancelled: quantity(cancelled)? });
    rows.into_iter().map(line).collect()
}

/// Shipped lines as JSON.
pub(super) fn lines_to_json(lines: &[ShippedLine]) -> String {
    let rows: Vec<_> = lines.iter().map(|line| (line.line.as_str(), line.quantity.millionths())).collect();
    to_json(&rows)
}

/// Shipped lines from JSON.
pub(super) fn lines_from_json(text: &str) -> rusqlite::Result<Vec<ShippedLine>> {
    let rows: Vec<(String, i64)> = json(text)?;
    let line = |(line, units): (String, i64)| Ok(ShippedLine { line: line_id(&line)?, quantity: quantity(units)? });
    rows.into_iter().map(line).collect()
}

fn line_id(text: &str) -> rusqlite::Result<LineId> {
    LineId::parse(text).map_err(|_| corrupt("a line's id is not an id"))
}

fn quantity(millionths: i64) -> rusqlite::Result<Quantity> {
    Quantity::from_millionths(millionths).ok_or_else(|| corrupt("a quantity is negative"))
}

#[derive(Serialize, Deserialize)]
struct OriginRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    exchange: String,
    routing_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    redelivered: bool,
}

/// Where a message came from, as JSON.
pub(super) fn origin_to_json(raw: &RawMessage) -> String {
    to_json(&OriginRow {
        content_type: raw.content_type.clone(),
        message_id: raw.message_id.clone(),
        exchange: raw.exchange.clone(),
        routing_key: raw.routing_key.clone(),
        traceparent: raw.traceparent.clone(),
        tracestate: raw.tracestate.clone(),
        redelivered: raw.redelivered,
    })
}

/// A message from its body and origin.
pub(super) fn message(body: Vec<u8>, origin: &str) -> rusqlite::Result<RawMessage> {
    let row: OriginRow = json(origin)?;
    Ok(RawMessage {
        body: Bytes::from(body),
        content_type: row.content_type,
        message_id: row.message_id,
        exchange: row.exchange,
        routing_key: row.routing_key,
        traceparent: row.traceparent,
        tracestate: row.tracestate,
        redelivered: row.redelivered,
    })
}

/// What counts in a window, as JSON.
pub(super) fn tally_to_json(tally: &Tally) -> String {
    to_json(&tally.0)
}

/// The same from JSON.
pub(super) fn tally_from_json(text: &str) -> rusqlite::Result<Tally> {
    let slots: Vec<(i64, i64)> = json(text)?;
    if slots.iter().any(|(_, minor)| *minor < 0) {
        return Err(corrupt("what counts against a cap is negative"));
    }
    Ok(Tally(slots))
}

#[derive(Serialize, Deserialize)]
struct RefusalRow {
    reason: String,
    code: Option<String>,
    message: String,
    read_first: bool,
}

/// A refusal as JSON.
pub(super) fn refusal_to_json(refusal: &Refusal) -> String {
    to_json(&RefusalRow {
        reason: refusal.reason.as_str().to_owned(),
        code: refusal.code.clone(),
        message: refusal.message.clone(),
        read_first: refusal.read_first,
    })
}

/// A refusal from JSON.
pub(super) fn refusal_from_json(text: &str) -> rusqlite::Result<Refusal> {
    let row: RefusalRow = json(text)?;
    let reason = RefusalReason::ALL.into_iter().find(|reason| reason.as_str() == row.reason);
    Ok(Refusal {
        reason: reason.ok_or_else(|| corrupt("a refusal's reason is not one of ours"))?,
        code: row.code,
        message: row.message,
        read_first: row.read_first,
    })
}

/// What a replay has come to with a dead letter: the word, why not, and the shipment with its generation or
/// the fee's capture.
pub(super) fn replay_columns(
    result: &ReplayResult,
) -> (&'static str, Option<&WhyNot>, Option<i64>, Option<u32>, Option<i64>) {
    match result {
        ReplayResult::Shipment(key, generation) => ("replayed", None, Some(key.row()), Some(*generation), None),
        ReplayResult::Fee(capture) => ("replayed", None, None, None, Some(capture.row())),
        ReplayResult::Accepted => ("accepted", None, None, None, None),
        ReplayResult::Not(why) => ("not_replayed", Some(why), None, None, None),
    }
}
