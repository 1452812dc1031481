//! Replays in their tables: what of a replay's dead letters has become what.
//!
//! How a replayed shipment ended is not copied into the replay: it is asked of the shipment, so that it
//! is true at every instant and costs an ordinary capture nothing.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ledger::codec::{At, corrupt};
use crate::ledger::report::Choice;
use crate::ledger::session::{self, Row, Session};

/// The most dead letters that one replay, or one change, takes: it is one transaction, and no capture
/// may wait for it noticeably.
pub const LETTERS_MAX: u64 = 50_000;

/// What became of a dead letter in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemOutcome {
    /// Its turn has not come.
    Pending,
    /// On its way: being captured, or about to be.
    Open,
    /// In doubt, and being found out.
    InDoubt,
    /// Accepted, and waits for more of its order, or for what it lacks.
    Waiting,
    /// Its money was captured.
    Captured,
    /// It ended without its money again, which is a dead letter of its own.
    Failed,
    /// A notice was accepted that is about no money, or whose shipment was accepted before.
    Accepted,
    /// An operator closed its capture without an answer.
    Unresolved,
    /// It was not replayed, and stays as it was.
    NotReplayed,
    /// The replay was stopped before its turn.
    Left,
}

impl ItemOutcome {
    /// Every one, in the order in which a summary tells them.
    pub const ALL: [Self; 10] = [
        Self::Captured,
        Self::Accepted,
        Self::Waiting,
        Self::InDoubt,
        Self::Open,
        Self::Failed,
        Self::Unresolved,
        Self::NotReplayed,
        Self::Left,
        Self::Pending,
    ];

    /// The word in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Open => "open",
            Self::InDoubt => "in_doubt",
            Self::Waiting => "waiting",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Accepted => "accepted",
            Self::Unresolved => "unresolved",
            Self::NotReplayed => "not_replayed",
            Self::Left => "left",
        }
    }

    /// Is it still to be found out how it ends?
    pub const fn is_open(self) -> bool {
        match self {
            Self::Open | Self::InDoubt => true,
            Self::Pending
            | Self::Waiting
            | Self::Captured
            | Self::Failed
            | Self::Accepted
            | Self::Unresolved
            | Self::NotReplayed
            | Self::Left => false,
        }
    }

    pub(super) fn parse(word: &str) -> rusqlite::Result<Self> {
        let found = Self::ALL.into_iter().find(|outcome| outcome.as_str() == word);
        found.ok_or_else(|| corrupt("an outcome is not one of ours"))
    }
}

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The worker goes on with it.
    Running,
    /// An operator holds it.
    Paused,
    /// It was stopped, by an operator or by itself: what was left is open again.
    Stopped,
    /// Everything in it had its turn.
    Done,
}

impl JobState {
    const ALL: [Self; 4] = [Self::Running, Self::Paused, Self::Stopped, Self::Done];

    /// The word in the ledger and in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Done => "done",
        }
    }

    /// Is nothing more begun, for good?
    pub const fn has_ended(self) -> bool {
        match self {
            Self::Stopped | Self::Done => true,
            Self::Running | Self::Paused => false,
        }
    }

    /// Reads the word.
    pub(super) fn parse(word: &str) -> rusqlite::Result<Self> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| corrupt("a state is not one of ours"))
    }
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplaySummary {
    /// How many have become what, by the word for it.
    pub counts: BTreeMap<String, u64>,
    /// What was captured, in minor units by currency.
    pub captured: BTreeMap<String, i64>,
}

/// A replay, as it was asked for and as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayJob {
    /// Its number.
    pub job: i64,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub asked_at: Timestamp,
    /// Which dead letters.
    pub choice: Choice,
    /// How many they were.
    pub letters: u64,
    /// So many go first, and their outcomes are awaited.
    pub canary: u64,
    /// How many are begun in a second.
    pub rate: u64,
    /// It stops by itself when more of what is decided has failed, in percent.
    pub failures_max: u64,
    /// Where it stands.
    pub state: JobState,
    /// Why, where that needs saying.
    pub why: Option<String>,
    /// Who brought it there; nobody, where it was by itself.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Timestamp,
    /// What it came to, where retention has taken what is known of each dead letter in it.
    pub summary: Option<ReplaySummary>,
}

/// Replays, with who asked for them.
pub(super) const SELECT_JOB: &str = "
    SELECT j.*, r.asked_by, r.reason, r.asked_at FROM replay_jobs j JOIN requests r USING (request_row)";

pub(super) fn read_job(row: &Row<'_>) -> rusqlite::Result<ReplayJob> {
    let choice = serde_json::from_str(row.get_ref("choice")?.as_str()?).map_err(|_| corrupt("a choice is no JSON"))?;
    let summary: Option<String> = row.get("summary")?;
    let summary = summary.map(|text| serde_json::from_str(&text)).transpose();
    Ok(ReplayJob {
        job: row.get("job_row")?,
        by: row.get("asked_by")?,
        reason: row.get("reason")?,
        asked_at: row.get::<_, At>("asked_at")?.0,
        choice,
        letters: row.get("letters")?,
        canary: row.get("canary")?,
        rate: row.get("rate")?,
        failures_max: row.get("failures_max")?,
        state: JobState::parse(row.get_ref("state")?.as_str()?)?,
        why: row.get("why")?,
        changed_by: row.get("changed_by")?,
        changed_at: row.get::<_, At>("changed_at")?.0,
        summary: summary.map_err(|_| corrupt("a summary is no JSON"))?,
    })
}

/// The dead letters of a replay, each with what became of it by the instant `?1`, of the replay `?2`.
pub(super) const ITEMS: &str = "
    SELECT i.position, i.dead_letter_row, i.why_not, i.why, coalesce(f.amount, s.amount) AS amount, a.currency,
           s.reason, CASE
      WHEN i.state <> 'done' THEN i.state
      WHEN i.result <> 'replayed' THEN i.result
      WHEN i.capture_row IS NOT NULL THEN CASE
        WHEN f.state = 'captured' OR f.corrected_at IS NOT NULL THEN 'captured'
        WHEN f.state IN ('failed', 'in_doubt', 'unresolved') THEN f.state
        ELSE 'open' END
      WHEN s.generation > i.generation THEN 'failed'
      WHEN c.state = 'unresolved' AND c.corrected_at IS NULL THEN 'unresolved'
      WHEN s.state IN ('settled', 'refused') THEN
        CASE WHEN s.reason IS NULL OR c.corrected_at IS NOT NULL THEN 'captured' ELSE 'failed' END
      WHEN s.state = 'covered' THEN CASE WHEN c.state = 'in_doubt' THEN 'in_doubt' ELSE 'open' END
      WHEN s.state = 'waiting' AND (a.freeze_at <= ?1 OR a.single = 'undecided') THEN 'open'
      ELSE 'waiting' END AS outcome
    FROM replay_items i
    LEFT JOIN shipments s ON s.shipment_row = i.shipment_row
    LEFT JOIN captures c ON c.capture_row = s.capture_row
    LEFT JOIN captures f ON f.capture_row = i.capture_row
    LEFT JOIN authorizations a ON a.authorization_row = coalesce(f.authorization_row, s.authorization_row)
    WHERE i.job_row = ?2";

/// What became of these positions of a replay; of all, where none is given.
pub(super) fn outcomes(
    session: &Session,
    job: i64,
    positions: &[i64],
    now: Timestamp,
) -> session::Result<Vec<(i64, ItemOutcome)>> {
    let mut values = vec![Value::Integer(now.timestamp_micros()), Value::Integer(job)];
    let mut sql = ITEMS.to_owned();
    if !positions.is_empty() {
        sql += " AND i.position IN (";
        sql += &vec!["?"; positions.len()].join(", ");
        sql += ")";
        values.extend(positions.iter().map(|position| Value::Integer(*position)));
    }
    session
        .query(&sql, values, |row| Ok((row.get("position")?, ItemOutcome::parse(row.get_ref("outcome")?.as_str()?)?)))
}

/// How many of a replay have become what.
pub(super) fn counts(session: &Session, job: i64, now: Timestamp) -> session::Result<Vec<(ItemOutcome, u64)>> {
    let sql = format!("SELECT outcome, count(*) FROM ({ITEMS}) items GROUP BY outcome ORDER BY outcome");
    let read = |row: &Row<'_>| Ok((ItemOutcome::parse(row.get_ref(0usize)?.as_str()?)?, row.get(1usize)?));
    session.query(&sql, [now.timestamp_micros(), job], read)
}

/// The column that tells what was set aside later than what was seen. In a file that is the row; in
/// PostgreSQL every worker has rows of its own.
pub(super) fn mark(session: &Session) -> &'static str {
    session.pick("dead_letter_row", "first_seen_at")
}

/// What a replay came to, with what was captured in minor units by currency.
pub(super) fn summary(session: &Session, job: i64, now: Timestamp) -> session::Result<ReplaySummary> {
    let counts = counts(session, job, now)?;
    let counts = counts.into_iter().map(|(outcome, count)| (outcome.as_str().to_owned(), count)).collect();
    let sql = format!(
        "SELECT currency, CAST(sum(amount) AS BIGINT) FROM ({ITEMS}) items
         WHERE outcome = 'captured' AND amount IS NOT NULL GROUP BY currency"
    );
    let captured = session.query(&sql, [now.timestamp_micros(), job], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(ReplaySummary { counts, captured: captured.into_iter().collect() })
}

/// Chosen dead letters that nobody has dealt with, in the order in which they are tried again: orders by
/// their first arrival, each in its own sequence. Which those are say the conditions `chosen`.
pub(super) fn in_order(select: &str, chosen: &str) -> String {
    format!(
        "SELECT {select} FROM (
           SELECT d.*, coalesce(s.accepted_at, d.first_seen_at) AS arrived_at,
             min(coalesce(s.accepted_at, d.first_seen_at))
               OVER (PARTITION BY coalesce(d.order_id, '|' || d.dead_letter_row)) AS order_arrived_at
           FROM (SELECT * FROM dead_letters WHERE {chosen} AND state = 'open') d
           LEFT JOIN shipments s ON s.shipment_row = d.shipment_row) chosen
         ORDER BY {SEQUENCE}"
    )
}

/// The sequence of [`in_order`].
pub(super) const SEQUENCE: &str =
    "order_arrived_at, order_id NULLS FIRST, arrived_at, shipment_row NULLS FIRST, dead_letter_row";
