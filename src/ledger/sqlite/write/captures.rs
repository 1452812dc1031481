//! Writes captures in parts: most are captured by the answer to their first attempt, and have nothing to
//! tell of doubts, caps or corrections.

use rusqlite::{Connection, params};

use super::{Prepared, Result};
use crate::capture::books::{Change, Entry};
use crate::capture::evidence::Refusal;
use crate::capture::records::{Capped, Capture, CaptureProgress, NamedBy, ShipmentKey};
use crate::capture::why::{LeftOpen, Since};
use crate::clock::{Mark, Timestamp};
use crate::ids::AccountName;
use crate::ledger::codec::{self, At, MarkCells, at};

const INSERT: &str = "INSERT INTO captures (
     capture_row, state, is_open, due_at, waits_turn, attempts, epoch, window_from, window_boot, window_since_boot,
     send_by, send_by_boot, send_by_since_boot, resolved_by, provider_reference, settled_at, capture_id,
     authorization_row, order_row, shipment_row, fee, fee_caused_by, kind, generation, amount, planned_at, account)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
     ?24, ?25, ?26, ?27)";

const UPDATE: &str =
    "UPDATE OR ROLLBACK captures SET state = ?2, is_open = ?3, due_at = ?4, waits_turn = ?5, attempts = ?6, epoch = ?7,
     window_from = ?8, window_boot = ?9, window_since_boot = ?10, send_by = ?11, send_by_boot = ?12,
     send_by_since_boot = ?13, resolved_by = ?14, provider_reference = ?15, settled_at = ?16
     WHERE capture_row = ?1";

/// The parameters of the key and of what changes: the first of all.
const IN_UPDATE: usize = 16;

const DOUBT: &str =
    "UPDATE OR ROLLBACK captures SET doubtful = ?2, failures = ?3, looks = ?4, doubt_since = ?5, is_pending = ?6,
     refused = ?7, terminal_seen_at = ?8, terminal_seen_boot = ?9, terminal_seen_since_boot = ?10, look_begun = ?11,
     look_begun_boot = ?12, look_begun_since_boot = ?13, left_open = ?14, since = ?15, last_seen = ?16
     WHERE capture_row = ?1";

const SELDOM: &str =
    "UPDATE OR ROLLBACK captures SET capped = ?2, counted_at = ?3, corrected_at = ?4 WHERE capture_row = ?1";

/// The statements for captures.
pub(super) struct Captures<'a> {
    insert: Prepared<'a>,
    update: Prepared<'a>,
    doubt: Prepared<'a>,
    seldom: Prepared<'a>,
}

impl<'a> Captures<'a> {
    pub(super) const fn new(connection: &'a Connection) -> Self {
        Self {
            insert: Prepared::new(connection, INSERT),
            update: Prepared::new(connection, UPDATE),
            doubt: Prepared::new(connection, DOUBT),
            seldom: Prepared::new(connection, SELDOM),
        }
    }

    /// Inserts one, or updates what has changed of it.
    pub(super) fn put(&mut self, entry: &Entry<Capture>, account: &AccountName) -> Result<()> {
        let capture = &entry.value;
        match entry.change {
            Change::None => return Ok(()),
            Change::Inserted | Change::Updated => self.write(capture, account, entry.change == Change::Inserted)?,
        }
        let nothing = CaptureProgress::default();
        let before = entry.before.as_ref().map_or(&nothing, |before| &before.progress);
        if Doubt::of(before) != Doubt::of(&capture.progress) {
            self.write_doubt(capture)?;
        }
        let seldom = |capture: &Capture| (capture.capped, capture.counted_at, capture.corrected_at);
        let before = entry.before.as_deref().map_or((None, None, None), seldom);
        if before == seldom(capture) { Ok(()) } else { self.write_seldom(capture) }
    }

    fn write_seldom(&mut self, capture: &Capture) -> Result<()> {
        let columns = params![
            capture.key.row(),
            capture.capped.map(Capped::as_str),
            at(capture.counted_at),
            at(capture.corrected_at),
        ];
        self.seldom.get()?.execute(columns).map(drop)
    }

    fn write(&mut self, capture: &Capture, account: &AccountName, is_new: bool) -> Result<()> {
        let (id, progress) = (capture.id.as_uuid(), &capture.progress);
        let (window, send_by) = (MarkCells::of(progress.window_from), MarkCells::of(progress.send_by));
        let fee = match &capture.named_by {
            NamedBy::Shipment(_) => None,
            NamedBy::Fee(fee) => Some(fee),
        };
        let columns = params![
            capture.key.row(),
            capture.state.as_str(),
            !capture.state.is_terminal(),
            at(capture.due_at),
            capture.waits_turn,
            progress.attempts,
            progress.epoch,
            window.wall,
            window.boot,
            window.since_boot,
            send_by.wall,
            send_by.boot,
            send_by.since_boot,
            capture.resolved_by.map(crate::capture::event::ResolvedBy::as_str),
            capture.provider_reference,
            at(capture.settled_at),
            id.as_bytes(),
            capture.authorization.row(),
            capture.order.row(),
            capture.shipment().map(ShipmentKey::row),
            fee.map(|fee| fee.number),
            fee.and_then(|fee| fee.caused_by.as_deref()),
            capture.kind.as_str(),
            capture.generation,
            capture.amount.minor(),
            At(capture.planned_at),
            account.as_str(),
        ];
        let (statement, count) = if is_new { (&mut self.insert, columns.len()) } else { (&mut self.update, IN_UPDATE) };
        statement.get()?.execute(&columns[..count]).map(drop)
    }

    fn write_doubt(&mut self, capture: &Capture) -> Result<()> {
        let progress = &capture.progress;
        let (terminal, look) = (MarkCells::of(progress.terminal_seen_at), MarkCells::of(progress.look_begun));
        let columns = params![
            capture.key.row(),
            progress.doubtful,
            progress.failures,
            progress.looks,
            at(progress.doubt_since),
            progress.is_pending,
            progress.refused.as_ref().map(codec::refusal_to_json),
            terminal.wall,
            terminal.boot,
            terminal.since_boot,
            look.wall,
            look.boot,
            look.since_boot,
            progress.left_open.map(LeftOpen::as_str),
            progress.since.map(Since::as_str),
            progress.last_seen,
        ];
        self.doubt.get()?.execute(columns).map(drop)
    }
}

/// What is known of attempts beyond when they were made.
#[derive(PartialEq)]
struct Doubt<'a> {
    counts: (u32, u32, u32),
    since: (Option<Timestamp>, bool, Option<&'a Refusal>),
    seen: (Option<Mark>, Option<Mark>),
    told: (Option<LeftOpen>, Option<Since>, Option<&'a str>),
}

impl<'a> Doubt<'a> {
    /// Every field is named, so that a new one is not forgotten.
    fn of(progress: &'a CaptureProgress) -> Self {
        let CaptureProgress {
            // These are written with the capture.
            attempts: _,
            epoch: _,
            window_from: _,
            send_by: _,
            doubtful,
            failures,
            looks,
            look_begun,
            doubt_since,
            is_pending,
            refused,
            terminal_seen_at,
            left_open,
            since,
            last_seen,
        } = progress;
        Self {
            counts: (*doubtful, *failures, *looks),
            since: (*doubt_since, *is_pending, refused.as_ref()),
            seen: (*terminal_seen_at, *look_begun),
            told: (*left_open, *since, last_seen.as_deref()),
        }
    }
}
