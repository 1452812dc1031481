//! Replays: what one would do, and what became of each.

use std::collections::HashSet;

use rusqlite::params;

use super::dead_letters::Choice;
use super::{Report, ReportError};
use crate::capture::books::Books;
use crate::capture::dead_letter::DeadLetter;
use crate::capture::decide::{self, Command, Context, Note};
use crate::capture::notice::RawMessage;
use crate::capture::policy::Policy;
use crate::capture::records::JobKey;
use crate::capture::replay::{Replay, Replayed, WhyNot};
use crate::capture::retry::Jitter;
use crate::clock::{Moment, Timestamp};
use crate::ids::DeadLetterId;
use crate::ledger::codec::corrupt;
use crate::ledger::replays::{self, ItemOutcome, LETTERS_MAX, ReplayJob, ReplaySummary};
use crate::ledger::rows::{DEAD_LETTER, read_dead_letter};
use crate::ledger::session::{self, Row, Session};
use crate::money::{Currency, Money};

/// Dead letters whose records are loaded together.
const CHUNK: usize = 256;

/// What a replay would do now.
#[derive(Debug)]
pub struct Rehearsal {
    /// Each dead letter, in the order in which it would be tried again.
    pub letters: Vec<Rehearsed>,
    /// The last mark that was looked at: what is set aside later is not in it.
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
        let rehearse = |session: &Session| {
            let sql = format!("SELECT coalesce(max({}), 0) FROM dead_letters", replays::mark(session));
            let up_to = session.number(&sql, params![])?;
            let mut letters = chosen(session, choice)?;
            let is_too_much = u64::try_from(letters.len()).unwrap_or(u64::MAX) > LETTERS_MAX;
            letters.truncate(usize::try_from(LETTERS_MAX).unwrap_or(usize::MAX));
            let stage = Stage { session, policy, now };
            Ok(Rehearsal { letters: stage.rehearse(letters, read)?, up_to, is_too_much })
        };
        // In PostgreSQL what is decided on is locked meanwhile, a few orders at a time.
        if self.source.path().is_some() { self.ask(rehearse) } else { self.ask_outside(rehearse) }
    }

    /// A replay, and what became of it so far.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replay(&self, job: i64, now: Timestamp) -> Result<Option<ReplayReport>, ReportError> {
        self.ask(|session| {
            let sql = format!("{} WHERE j.job_row = ?1", replays::SELECT_JOB);
            let Some(found) = session.find(&sql, [job], replays::read_job)? else { return Ok(None) };
            let summary = match &found.summary {
                Some(summary) => summary.clone(),
                None => replays::summary(session, job, now)?,
            };
            Ok(Some(summed_up(found, &summary)?))
        })
    }

    /// Every replay, the last one first.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replays(&self) -> Result<Vec<ReplayJob>, ReportError> {
        let sql = format!("{} ORDER BY j.job_row DESC", replays::SELECT_JOB);
        self.ask(|session| session.query(&sql, params![], replays::read_job))
    }

    /// The replay that a request has started.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn replay_of_request(&self, request: i64) -> Result<Option<i64>, ReportError> {
        let sql = "SELECT job_row FROM replay_jobs WHERE request_row = ?1";
        self.ask(|session| session.find(sql, [request], |row| row.get(0)))
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
        self.ask(|session| {
            // There is always one: an empty list is no SQL.
            let nothing = std::iter::once("''".to_owned());
            let but = but.iter().map(|outcome| format!("'{}'", outcome.as_str()));
            let columns: Vec<String> = DEAD_LETTER.split(',').map(|column| format!("d.{}", column.trim())).collect();
            let sql = format!(
                "SELECT {}, NULL AS body, NULL AS origin, o.outcome, o.why_not,
                   coalesce(o.why, CASE WHEN o.outcome = 'failed' THEN o.reason END) AS why_so
                 FROM ({}) o JOIN dead_letters d USING (dead_letter_row)
                 WHERE o.outcome NOT IN ({}) ORDER BY o.position",
                columns.join(", "),
                replays::ITEMS,
                but.chain(nothing).collect::<Vec<_>>().join(", ")
            );
            session.query(&sql, [now.timestamp_micros(), job], read_outcome)
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

fn chosen(session: &Session, choice: &Choice) -> session::Result<Vec<DeadLetter>> {
    let (conditions, values) = choice.conditions().into_sql();
    let sql = replays::in_order(&format!("{DEAD_LETTER}, body, origin"), &conditions);
    let limit = LETTERS_MAX + 1;
    session.query(&format!("{sql} LIMIT {limit}"), values, |row| read_dead_letter(row))
}

fn summed_up(job: ReplayJob, summary: &ReplaySummary) -> rusqlite::Result<ReplayReport> {
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
    session: &'a Session,
    policy: &'a Policy,
    now: Moment,
}

impl Stage<'_> {
    fn rehearse(
        &self,
        letters: Vec<DeadLetter>,
        read: impl Fn(RawMessage) -> Command,
    ) -> session::Result<Vec<Rehearsed>> {
        let job = JobKey::new(0);
        let claimed: HashSet<DeadLetterId> = letters.iter().map(|letter| letter.id).collect();
        let command = |letter: &DeadLetter| {
            let message = letter.raw.clone().map(&read);
            Command::Replay(Box::new(Replay { letter: letter.id, job, message, traceparent: None }))
        };
        let mut books: Option<Books> = None;
        let mut rehearsed = Vec::with_capacity(letters.len());
        let mut letters = letters.into_iter().peekable();
        while letters.peek().is_some() {
            let mut chunk: Vec<DeadLetter> = letters.by_ref().take(CHUNK).collect();
            // What belongs to one order is decided together.
            let order = chunk.last().and_then(|last| last.order.clone());
            while let Some(next) = letters.next_if(|next| order.is_some() && next.order == order) {
                chunk.push(next);
            }
            let commands: Vec<Command> = chunk.iter().map(command).collect();
            let (mut loaded, commands) = self.session.load(books.take(), commands, self.policy)?;
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
}
