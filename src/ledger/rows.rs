//! Whole rows to records, whichever store they come from.

use std::time::Duration;

use uuid::Uuid;

use crate::capture::dead_letter::{self, DeadLetter, DeadLetterState};
use crate::capture::event::{CaptureKind, FailureReason, ResolvedBy};
use crate::capture::evidence::ProviderBalance;
use crate::capture::records::{
    AmountMode, Ask, Authorization, AuthorizationKey, Capped, Capture, CaptureKey, CaptureProgress, Fee, Foreign,
    ForeignStanding, JobKey, Kept, KeptKey, NamedBy, Order, OrderKey, Shipment, ShipmentKey, SingleUse, Watch,
};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::usage::Usage;
use crate::capture::why::{LeftOpen, Missing, Since};
use crate::clock::{BootId, BootInstant, Mark};
use crate::ids::{AccountName, CaptureId, DeadLetterId, OrderId, Reference, ShipmentId};
use crate::ledger::cells::Cells;
use crate::ledger::codec::{self, Columns, corrupt};
use crate::money::Currency;

type Result<T> = rusqlite::Result<T>;

/// Reads an order with [`read_order`], by its id.
pub(super) const ORDER_BY_ID: &str =
    "SELECT o.*, p.plan FROM orders o LEFT JOIN plans p USING (order_row) WHERE order_id = ?1";

/// Reads an order with [`read_order`], by its row.
pub(super) const ORDER_BY_ROW: &str =
    "SELECT o.*, p.plan FROM orders o LEFT JOIN plans p USING (order_row) WHERE order_row = ?1";

pub(super) fn read_order(row: &impl Cells) -> Result<Order> {
    let row = &mut Columns::of(row);
    let modes = [AmountMode::Planned, AmountMode::Explicit];
    Ok(Order {
        key: OrderKey::new(row.next()?),
        id: OrderId::parse(row.text()?).map_err(|_| corrupt("an order's id is not an id"))?,
        mode: row.optional_word(&modes, |mode| mode.as_str())?,
        progress: codec::progress_from_json(row.text()?)?,
        is_cancelled: row.next()?,
        is_closed: row.next()?,
        closes_at: row.instant()?,
        stored: row.next()?,
        captured: row.next()?,
        open: row.next()?,
        fees: row.next()?,
        refund_revision: row.next()?,
        newest_authorization: row.next::<Option<i64>>()?.map(AuthorizationKey::new),
        final_at: row.instant()?,
        awaiting: row.next()?,
        kept: row.next()?,
        sequence: row.next()?,
        plan: row.optional_text()?.map(codec::plan_from_json).transpose()?,
    })
}

pub(super) fn read_authorization(row: &impl Cells) -> Result<Authorization> {
    let row = &mut Columns::of(row);
    let uses = [SingleUse::Free, SingleUse::Undecided, SingleUse::Used];
    let key = AuthorizationKey::new(row.next()?);
    let account = AccountName::parse(row.text()?).map_err(|_| corrupt("an account's name is not an id"))?;
    let reference = Reference::parse(row.text()?).map_err(|_| corrupt("a reference is not an id"))?;
    let order = OrderKey::new(row.next()?);
    let currency = row.currency()?;
    Ok(Authorization {
        key,
        account,
        reference,
        order,
        currency,
        authorized: row.money(currency)?,
        is_amount_known: row.next()?,
        captured: row.money(currency)?,
        reserved: row.money(currency)?,
        excess: row.money(currency)?,
        expires_at: row.instant()?,
        expiry_is_derived: row.next()?,
        planned: row.next()?,
        in_flight: row.next()?,
        waiting: row.next()?,
        waiting_amount: row.money(currency)?,
        single: row.word(&uses, |single| single.as_str())?,
        freeze_at: row.instant()?,
        reads: row.next()?,
        ask: read_ask(row)?,
        epoch: row.next()?,
        provider: ProviderBalance {
            captured: row.optional_money(Some(currency))?,
            remaining: row.optional_money(Some(currency))?,
            expires_at: row.instant()?,
            voided: row.optional_money(Some(currency))?,
        },
        unresolved: row.next()?,
        watch: Watch {
            at: row.instant()?,
            lead_at: row.instant()?,
            read_at: row.instant()?,
            leads: row.optional_text()?.map(codec::leads_from_json).transpose()?.unwrap_or_default(),
            reported: row.instant()?,
            foreign: read_foreign(row, currency)?,
            restored: row.optional_text()?.map(|text| codec::restored_from_json(text, currency)).transpose()?,
            over: row.instant()?,
        },
        held: row.next()?,
    })
}

fn read_foreign(row: &mut Columns<'_, impl Cells>, currency: Currency) -> Result<Option<Foreign>> {
    let standing = row.optional_word(&ForeignStanding::ALL, |standing| standing.as_str())?;
    let (amount, since) = (row.optional_money(Some(currency))?, row.instant()?);
    Ok(standing.zip(amount).zip(since).map(|((standing, amount), since)| Foreign { amount, standing, since }))
}

fn read_ask(row: &mut Columns<'_, impl Cells>) -> Result<Option<Ask>> {
    let (at, until, count): (_, _, Option<u32>) = (row.instant()?, row.instant()?, row.next()?);
    Ok(at.zip(until).zip(count).map(|((at, until), count)| Ask { at, until, count }))
}

pub(super) fn read_kept(row: &impl Cells) -> Result<Kept> {
    let row = &mut Columns::of(row);
    Ok(Kept {
        key: KeptKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        body_sha256: row.next()?,
        kept_at: row.instant()?.ok_or_else(|| corrupt("a kept notice has no time"))?,
        due_at: row.instant()?,
        message: row.message()?,
    })
}

/// The currency of its authorization, then the shipment, then its message.
pub(super) fn read_shipment(row: &impl Cells) -> Result<Shipment> {
    let row = &mut Columns::of(row);
    let currency = row.optional_currency()?;
    let mut shipment = Shipment {
        key: ShipmentKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        id: ShipmentId::parse(row.text()?).map_err(|_| corrupt("a shipment's id is not an id"))?,
        generation: row.next()?,
        content: row.next()?,
        state: row.word(&ShipmentState::ALL, |state| state.as_str())?,
        awaits: row.optional_word(&Missing::ALL, |missing| missing.as_str())?,
        says_final: row.next()?,
        lines: codec::lines_from_json(row.text()?)?,
        amount: row.optional_money(currency)?,
        authorization: row.next::<Option<i64>>()?.map(AuthorizationKey::new),
        capture: row.next::<Option<i64>>()?.map(CaptureKey::new),
        reason: row.skip().optional_word(&FailureReason::ALL, |reason| reason.as_str())?,
        accepted_at: row.instant()?.ok_or_else(|| corrupt("a shipment has no time"))?,
        caused_by: row.next()?,
        due_at: row.instant()?,
        message: row.message()?,
    };
    if shipment.state.is_terminal() {
        // Not deleted yet.
        shipment.message = None;
    }
    Ok(shipment)
}

/// The currency of its authorization, then the capture.
pub(super) fn read_capture(row: &impl Cells) -> Result<Capture> {
    let row = &mut Columns::of(row);
    let kinds = [CaptureKind::Shipment, CaptureKind::Batch, CaptureKind::Deadline, CaptureKind::Fee];
    let ways = [ResolvedBy::Response, ResolvedBy::Lookup, ResolvedBy::Local, ResolvedBy::Operator];
    let currency = row.currency()?;
    Ok(Capture {
        key: CaptureKey::new(row.next()?),
        id: CaptureId::from_uuid(Uuid::from_bytes(row.next()?)),
        authorization: AuthorizationKey::new(row.next()?),
        order: OrderKey::new(row.next()?),
        named_by: read_name(row)?,
        kind: row.word(&kinds, |kind| kind.as_str())?,
        generation: row.next()?,
        amount: row.money(currency)?,
        state: row.word(&CaptureState::ALL, |state| state.as_str())?,
        planned_at: row.skip().instant()?.ok_or_else(|| corrupt("a capture has no time"))?,
        due_at: row.instant()?,
        waits_turn: row.next()?,
        progress: read_progress(row)?,
        resolved_by: row.optional_word(&ways, |way| way.as_str())?,
        provider_reference: row.next()?,
        settled_at: row.instant()?,
        corrected_at: row.skip().instant()?,
        capped: row.optional_word(&Capped::ALL, |capped| capped.as_str())?,
        counted_at: row.instant()?,
    })
}

fn read_name(row: &mut Columns<'_, impl Cells>) -> Result<NamedBy> {
    let (shipment, number, caused_by): (Option<i64>, Option<u32>, _) = (row.next()?, row.next()?, row.next()?);
    match (shipment, number) {
        (Some(shipment), None) => Ok(NamedBy::Shipment(ShipmentKey::new(shipment))),
        (None, Some(number)) => Ok(NamedBy::Fee(Fee { number, caused_by })),
        (Some(_), Some(_)) | (None, None) => Err(corrupt("a capture is of a shipment or of a fee")),
    }
}

fn read_progress(row: &mut Columns<'_, impl Cells>) -> Result<CaptureProgress> {
    Ok(CaptureProgress {
        attempts: row.next()?,
        epoch: row.next()?,
        doubtful: row.next()?,
        failures: row.next()?,
        looks: row.next()?,
        window_from: read_mark(row)?,
        send_by: read_mark(row)?,
        look_begun: read_mark(row)?,
        doubt_since: row.instant()?,
        is_pending: row.next()?,
        refused: row.optional_text()?.map(codec::refusal_from_json).transpose()?,
        terminal_seen_at: read_mark(row)?,
        left_open: row.optional_word(&LeftOpen::ALL, |how| how.as_str())?,
        since: row.optional_word(&Since::ALL, |since| since.as_str())?,
        last_seen: row.next()?,
    })
}

fn read_mark(row: &mut Columns<'_, impl Cells>) -> Result<Option<Mark>> {
    let (wall, boot, since_boot): (_, Option<[u8; 16]>, Option<u64>) = (row.instant()?, row.next()?, row.next()?);
    Ok(wall.zip(boot).zip(since_boot).map(|((wall, boot), micros)| {
        let boot = BootInstant::of(BootId::from_uuid(Uuid::from_bytes(boot)), Duration::from_micros(micros));
        Mark { wall, boot }
    }))
}

/// What counts against the caps of an account, in one currency.
pub(super) fn read_usage(row: &impl Cells) -> Result<Usage> {
    let row = &mut Columns::of(row);
    Ok(Usage {
        account: AccountName::parse(row.text()?).map_err(|_| corrupt("an account's name is not an id"))?,
        currency: row.currency()?,
        hour: codec::tally_from_json(row.text()?)?,
        day: codec::tally_from_json(row.text()?)?,
    })
}

/// Reads dead letters with [`read_dead_letter`], followed by body and origin, or by two nulls.
pub(super) const DEAD_LETTER: &str = "dead_letter_id, reason, path, message, provider_code, fingerprint, order_id,
     shipment_id, account, shipment_row, fee, generation, currency, amount, first_seen_at, last_seen_at, count, state,
     job_row";
pub(super) fn read_dead_letter(row: &impl Cells) -> Result<DeadLetter> {
    let row = &mut Columns::of(row);
    Ok(DeadLetter {
        id: DeadLetterId::from_uuid(Uuid::from_bytes(row.next()?)),
        reason: row.word(&dead_letter::REASONS, |reason| reason)?,
        path: row.next()?,
        message: row.next()?,
        provider_code: row.next()?,
        fingerprint: row.next()?,
        order: row.optional_text()?.and_then(|text| OrderId::parse(text).ok()),
        shipment: row.optional_text()?.and_then(|text| ShipmentId::parse(text).ok()),
        account: row.optional_text()?.and_then(|text| AccountName::parse(text).ok()),
        shipment_key: row.next::<Option<i64>>()?.map(ShipmentKey::new),
        fee: row.next()?,
        generation: row.next()?,
        amount: {
            let currency = row.optional_currency()?;
            row.optional_money(currency)?
        },
        first_seen_at: row.instant()?.ok_or_else(|| corrupt("a dead letter has no time"))?,
        last_seen_at: row.instant()?.ok_or_else(|| corrupt("a dead letter has no time"))?,
        count: row.next()?,
        state: row.word(&DeadLetterState::ALL, |state| state.as_str())?,
        job: row.next::<Option<i64>>()?.map(JobKey::new),
        raw: row.message()?,
    })
}
