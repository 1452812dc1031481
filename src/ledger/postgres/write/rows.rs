//! Records to the cells of their tables, in the order of the columns.

use crate::capture::dead_letter::{self, DeadLetter};
use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::records::{
    AmountMode, Authorization, AuthorizationKey, Capped, Capture, CaptureKey, JobKey, Kept, NamedBy, Order, Shipment,
    ShipmentKey,
};
use crate::capture::usage::Usage;
use crate::capture::why::{LeftOpen, Missing, Since};
use crate::ids::{AccountName, OrderId, ShipmentId};
use crate::ledger::codec::{self, At, MarkCells, at};
use crate::money::Money;

use super::batch::{Cell, row};

pub(super) fn order(order: &Order) -> Vec<Cell> {
    row![
        order.key.row(),
        order.id.as_str(),
        order.mode.map(AmountMode::as_str),
        codec::progress_to_json(&order.progress),
        order.is_cancelled,
        order.is_closed,
        at(order.closes_at),
        order.stored,
        order.captured,
        order.open,
        order.fees,
        order.refund_revision,
        order.newest_authorization.map(AuthorizationKey::row),
        at(order.final_at),
        order.awaiting,
        order.kept,
        order.sequence,
    ]
}

pub(super) fn authorization(record: &Authorization) -> Vec<Cell> {
    let watch = &record.watch;
    row![
        record.key.row(),
        record.account.as_str(),
        record.reference.as_str(),
        record.order.row(),
        record.currency.code(),
        record.authorized.minor(),
        record.is_amount_known,
        record.captured.minor(),
        record.reserved.minor(),
        record.excess.minor(),
        at(record.expires_at),
        record.expiry_is_derived,
        record.planned,
        record.in_flight,
        record.waiting,
        record.waiting_amount.minor(),
        record.single.as_str(),
        at(record.freeze_at),
        record.reads,
        at(record.ask.map(|ask| ask.at)),
        at(record.ask.map(|ask| ask.until)),
        record.ask.map(|ask| ask.count),
        record.epoch,
        record.provider.captured.map(Money::minor),
        record.provider.remaining.map(Money::minor),
        at(record.provider.expires_at),
        record.provider.voided.map(Money::minor),
        record.unresolved,
        at(watch.at),
        at(watch.lead_at),
        at(watch.read_at),
        codec::leads_to_json(&watch.leads),
        at(watch.reported),
        watch.foreign.map(|foreign| foreign.standing.as_str()),
        watch.foreign.map(|foreign| foreign.amount.minor()),
        at(watch.foreign.map(|foreign| foreign.since)),
        watch.restored.as_ref().map(codec::restored_to_json),
        at(watch.over),
        record.held,
    ]
}

pub(super) fn shipment(shipment: &Shipment, collected_on: Option<i64>) -> Vec<Cell> {
    row![
        shipment.key.row(),
        shipment.order.row(),
        shipment.id.as_str(),
        shipment.generation,
        &shipment.content[..],
        shipment.state.as_str(),
        shipment.awaits.map(Missing::as_str),
        shipment.says_final,
        codec::lines_to_json(&shipment.lines),
        shipment.amount.map(Money::minor),
        shipment.authorization.map(AuthorizationKey::row),
        shipment.capture.map(CaptureKey::row),
        collected_on,
        shipment.reason.map(FailureReason::as_str),
        At(shipment.accepted_at),
        shipment.caused_by.as_str(),
        at(shipment.due_at),
    ]
}

pub(super) fn capture(capture: &Capture, account: &AccountName) -> Vec<Cell> {
    let (id, progress) = (capture.id.as_uuid(), &capture.progress);
    let [window, send_by, look, terminal] =
        [progress.window_from, progress.send_by, progress.look_begun, progress.terminal_seen_at].map(MarkCells::of);
    let fee = match &capture.named_by {
        NamedBy::Shipment(_) => None,
        NamedBy::Fee(fee) => Some(fee),
    };
    row![
        capture.key.row(),
        &id.as_bytes()[..],
        capture.authorization.row(),
        capture.order.row(),
        capture.shipment().map(ShipmentKey::row),
        fee.map(|fee| fee.number),
        fee.and_then(|fee| fee.caused_by.as_deref()),
        capture.kind.as_str(),
        capture.generation,
        capture.amount.minor(),
        capture.state.as_str(),
        !capture.state.is_terminal(),
        At(capture.planned_at),
        at(capture.due_at),
        capture.waits_turn,
        progress.attempts,
        progress.epoch,
        progress.doubtful,
        progress.failures,
        progress.looks,
        window.wall,
        window.boot(),
        window.since_boot,
        send_by.wall,
        send_by.boot(),
        send_by.since_boot,
        look.wall,
        look.boot(),
        look.since_boot,
        at(progress.doubt_since),
        progress.is_pending,
        progress.refused.as_ref().map(codec::refusal_to_json),
        terminal.wall,
        terminal.boot(),
        terminal.since_boot,
        progress.left_open.map(LeftOpen::as_str),
        progress.since.map(Since::as_str),
        progress.last_seen.as_deref(),
        capture.resolved_by.map(ResolvedBy::as_str),
        capture.provider_reference.as_deref(),
        at(capture.settled_at),
        account.as_str(),
        at(capture.corrected_at),
        capture.capped.map(Capped::as_str),
        at(capture.counted_at),
    ]
}

pub(super) fn usage(usage: &Usage) -> Vec<Cell> {
    let (hour, day) = (codec::tally_to_json(&usage.hour), codec::tally_to_json(&usage.day));
    row![usage.account.as_str(), usage.currency.code(), hour, day]
}

pub(super) fn kept(kept: &Kept) -> Vec<Cell> {
    row![
        kept.key.row(),
        kept.order.row(),
        &kept.body_sha256[..],
        At(kept.kept_at),
        at(kept.due_at),
        kept.message.as_ref().map(|raw| &*raw.body),
        kept.message.as_ref().map(codec::origin_to_json),
    ]
}

pub(super) fn dead_letter(letter: &DeadLetter) -> Vec<Cell> {
    let raw = letter.raw.as_ref();
    // The body, untouched up to 64 KiB; of a larger one, its head.
    let body = raw.map(|raw| &raw.body[..raw.body.len().min(crate::message::BODY_MAX)]);
    row![
        &letter.id.as_uuid().as_bytes()[..],
        letter.reason,
        letter.path.as_str(),
        letter.message.as_str(),
        letter.provider_code.as_deref(),
        letter.fingerprint.as_str(),
        letter.order.as_ref().map(OrderId::as_str),
        letter.shipment.as_ref().map(ShipmentId::as_str),
        letter.account.as_ref().map(AccountName::as_str),
        letter.shipment_key.map(ShipmentKey::row),
        letter.fee,
        letter.generation,
        letter.amount.map(|amount| amount.currency().code().to_owned()),
        letter.amount.map(Money::minor),
        At(letter.first_seen_at),
        At(letter.last_seen_at),
        letter.count,
        letter.state.as_str(),
        letter.job.map(JobKey::row),
        body,
        raw.map(|raw| dead_letter::sha256(&raw.body)).as_ref().map(|hash| &hash[..]),
        raw.map(codec::origin_to_json),
    ]
}
