//! Replays: what one would do, and what became of each.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::dead_letters::Choice;
use super::{Report, ReportError};
use crate::capture::books::Books;
use crate::capture::dead_letter::DeadLetter;
use crate::capture::decide::{self, Command, Context, Note};
use crate::capture::notice::RawMessage;
use crate::capture::policy::{Captures, Policy};
use crate::capture::records::{Authorization, JobKey};
use crate::capture::replay::{Replay, Replayed, WhyNot};
use crate::capture::retry::Jitter;
use crate::clock::{Moment, Timestamp};
use crate::ids::DeadLetterId;
use crate::ledger::sqlite::load;
use crate::ledger::sqlite::replays::{self, ItemOutcome, LETTERS_MAX, ReplayJob, ReplaySummary};
use crate::ledger::sqlite::rows::{DEAD_LETTER, read_dead_letter};
use crate::money::{Currency, Money};

/// Dead letters whose records are loaded together.
const CHUNK: usize = 256;

/// What a replay would do now.
#[derive(Debug)]
pub struct Rehearsal {
    /// Each dead letter, in the order in which it would be tried again.
    pub letters: Vec<Rehearsed>,
    /// The last row that was looked at: what is set aside later is not in it.
    pub up_to: i64,
    /// Were there more than one replay takes?
    pub is_too_much: bool,
}

/// What a replay would do with one dead letter.
#[derive(Debug)]
pub struct Rehearsed {
    /// The dead letter, without its message.
    pub letter: DeadLetter,
    /// What would be begun, or why nothing.
    pub verdict: Result<Replayed, WhyNot>,
}

/// What became of a dead letter in a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOutcome {
    /// The dead letter, without its message.
    pub letter: DeadLetter,
    /// What became of it.
    pub outcome: ItemOutcome,
    /// The kind of reason for which it was not replayed.
    pub why_not: Option<String>,
    /// Why it was not replayed, in words; or the reason for which it failed again.
    pub why: Option<String>,
}

/// A replay, and what became of its dead letters so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// As it was asked for and as it stands.
    pub job: ReplayJob,
    /// How many have become what.
    pub counts: Vec<(ItemOutcome, u64)>,
    /// What was captured, by currency.
    pub captured: Vec<Money>,
}

impl ReplayReport {
    /// How many have become this.
    pub fn count(&self, outcome: ItemOutcome) -> u64 {
        self.counts.iter().find(|(known, _)| *known == outcome).map_or(0, |(_, count)| *count)
    }

    /// Is nothing more to be expected of it soon? What waits for more of its order, and what is in
    /// doubt, is told as that.
    pub fn has_come_to_rest(&self) -> bool {
        self.job.state.has_ended() && self.count(ItemOutcome::Open) == 0
    }
}

impl Report {
    /// What a replay of these would do now, by the very rules that the worker goes by, and without
    /// writing anything.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn rehearse(
        &self,
        choice: &Choice,
        policy: &Policy,
        now: Moment,
        read: impl Fn(RawMessage) -> Command,
    ) -> Result<Rehearsal, ReportError> {
        self.ask(|connection| {
            let sql = "SELECT coalesce(max(dead_letter_row), 0) FROM dead_letters";
            let up_to = connection.query_row(sql, [], |row| row.get(0))?;
            let mut letters = chosen(connection, choice)?;
            let is_too_much = u64::try_from(letters.len()).unwrap_or(u64::MAX) > LETTERS_MAX;
            letters.truncate(usize::try_from(LETTERS_MAX).unwrap_or(usize::MAX));
            let stage = Stage { connection, policy, now };
            Ok(Rehearsal { letters: stage.rehearse(letters, read)?, up_to, is_too_much })
        })
    }

    /// A replay, and what became of it so far.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replay(&self, job: i64, now: Timestamp) -> Result<Option<ReplayReport>, ReportError> {
        self.ask(|connection| {
            let sql = format!("{} WHERE j.job_row = ?1", replays::SELECT_JOB);
            let found = connection.prepare_cached(&sql)?.query_row([job], replays::read_job).optional()?;
            let Some(found) = found else { return Ok(None) };
            let summary = match &found.summary {
                Some(summary) => summary.clone(),
                None => replays::summary(connection, job, now)?,
            };
            summed_up(found, &summary).map(Some)
        })
    }

    /// Every replay, the last one first.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replays(&self) -> Result<Vec<ReplayJob>, ReportError> {
        self.ask(|connection| {
            let sql = format!("{} ORDER BY j.job_row DESC", replays::SELECT_JOB);
            connection.prepare(&sql)?.query_map([], replays::read_job)?.collect()
        })
    }

    /// The replay that a request has started.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replay_of_request(&self, request: i64) -> Result<Option<i64>, ReportError> {
        let sql = "SELECT job_row FROM replay_jobs WHERE request_row = ?1";
        self.ask(|connection| connection.query_row(sql, [request], |row| row.get(0)).optional())
    }

    /// What became of each dead letter of a replay, in its order; of those that became none of `but`.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replay_outcomes(
        &self,
        job: i64,
        but: &[ItemOutcome],
        now: Timestamp,
    ) -> Result<Vec<ReplayOutcome>, ReportError> {
        self.ask(|connection| {
            let but: Vec<String> = but.iter().map(|outcome| format!("'{}'", outcome.as_str())).collect();
            let columns: Vec<String> =
                DEAD_LETTER.split(',').map(|column| format!("d.{}", column.trim())).collect();
            let sql = format!(
                "SELECT {}, NULL, NULL, o.outcome, o.why_not, coalesce(o.why, iif(o.outcome = 'failed', o.reason, NULL)) AS why_so
                 FROM ({}) o JOIN dead_letters d USING (dead_letter_row)
                 WHERE o.outcome NOT IN ({}) ORDER BY o.position",
                columns.join(", "),
                replays::ITEMS,
                but.join(", ")
            );
            let mut statement = connection.prepare(&sql)?;
            statement.query_map((now.timestamp_micros(), job), read_outcome)?.collect()
        })
    }
}

fn read_outcome(row: &Row<'_>) -> rusqlite::Result<ReplayOutcome> {
    Ok(ReplayOutcome {
        letter: read_dead_letter(row)?,
        outcome: super::columns::word(row, "outcome", &ItemOutcome::ALL, |outcome| outcome.as_str())?,
        why_not: row.get("why_not")?,
        why: row.get("why_so")?,
    })
}

fn chosen(connection: &Connection, choice: &Choice) -> rusqlite::Result<Vec<DeadLetter>> {
    let (conditions, values) = choice.conditions().into_sql();
    let sql = replays::in_order(&format!("{DEAD_LETTER}, body, origin"), &conditions);
    let limit = LETTERS_MAX + 1;
    let mut statement = connection.prepare(&format!("{sql} LIMIT {limit}"))?;
    statement.query_map(params_from_iter(values), read_dead_letter)?.collect()
}

fn summed_up(job: ReplayJob, summary: &ReplaySummary) -> rusqlite::Result<ReplayReport> {
    let corrupt = crate::ledger::sqlite::codec::corrupt;
    let count = |(word, count): (&String, &u64)| Ok((ItemOutcome::parse(word)?, *count));
    let money = |(code, minor): (&String, &i64)| {
        let currency = Currency::parse(code).map_err(|_| corrupt("a currency is unknown"))?;
        Money::from_minor(*minor, currency).map_err(|_| corrupt("an amount is negative"))
    };
    let counts = summary.counts.iter().map(count).collect::<rusqlite::Result<_>>()?;
    let captured = summary.captured.iter().map(money).collect::<rusqlite::Result<_>>()?;
    Ok(ReplayReport { job, counts, captured })
}

/// Where a replay is rehearsed: on books that are thrown away.
struct Stage<'a> {
    connection: &'a Connection,
    policy: &'a Policy,
    now: Moment,
}

impl Stage<'_> {
    fn rehearse(
        &self,
        letters: Vec<DeadLetter>,
        read: impl Fn(RawMessage) -> Command,
    ) -> rusqlite::Result<Vec<Rehearsed>> {
        let job = JobKey::new(0);
        let claimed: HashSet<DeadLetterId> = letters.iter().map(|letter| letter.id).collect();
        let command = |letter: &DeadLetter| {
            let message = letter.raw.clone().map(&read);
            Command::Replay(Box::new(Replay { letter: letter.id, job, message }))
        };
        let mut books: Option<Books> = None;
        let mut rehearsed = Vec::with_capacity(letters.len());
        let mut letters = letters.into_iter().peekable();
        while letters.peek().is_some() {
            let chunk: Vec<DeadLetter> = letters.by_ref().take(CHUNK).collect();
            let commands: Vec<Command> = chunk.iter().map(command).collect();
            let mut loaded = load::load(self.connection, books.take(), &commands, &self.is_single())?;
            loaded.claim(&claimed, job);
            for (letter, command) in chunk.into_iter().zip(commands) {
                let verdict = self.decide(&mut loaded, &command);
                rehearsed.push(Rehearsed { letter: DeadLetter { raw: None, ..letter }, verdict });
            }
            books = Some(loaded);
        }
        Ok(rehearsed)
    }

    fn decide(&self, books: &mut Books, command: &Command) -> Result<Replayed, WhyNot> {
        let context = Context { policy: self.policy, now: self.now, jitter: Jitter::NONE };
        let note = decide::decide(books, command, context).note;
        if let Note::Replayed(replayed) = note {
            return Ok(replayed);
        }
        let Note::NotReplayed(why) = note else { unreachable!("what is there is replayed or not: {note:?}") };
        Err(why)
    }

    fn is_single(&self) -> impl Fn(&Authorization) -> bool {
        let accounts = &self.policy.accounts;
        |record| accounts.get(&record.account).is_some_and(|account| account.captures == Captures::Single)
    }
}
