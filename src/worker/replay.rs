//! Replays: tries dead letters again at the pace that was asked for, a few first, and stops by itself
//! when too many fail.
//!
//! Where a replay stands is in the ledger: whatever ends this worker, the next one goes on there. What
//! has failed is counted anew from it then. Nothing here decides whether and how a dead letter is tried
//! again; that is the core's.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio_util::sync::CancellationToken;

use crate::capture::dead_letter::DeadLetterState;
use crate::capture::decide::{Command, Note, Reply};
use crate::capture::records::JobKey;
use crate::capture::replay::Replay;
use crate::crash;
use crate::dead_letter;
use crate::ledger::LedgerError;
use crate::ledger::desk::{Desk, ReplayItem, Request, What};
use crate::ledger::replays::{ItemOutcome, JobState, ReplayJob};
use crate::worker::desk::at_desk;
use crate::worker::executor::Executor;
use crate::worker::{note, spans};

/// How often a replay goes on.
const TICK: Duration = Duration::from_millis(100);

/// How often it is looked for a replay, besides when one was asked for here: another worker may have left
/// it.
const REST: Duration = Duration::from_secs(5);

/// So many of a replay may be on their way at once, however low its rate: what is on its way stands in
/// the account's queue beside ordinary captures, and must not crowd them out.
const OPEN_MIN: u64 = 10;

/// Where nothing went first, so many must be decided before their share of failures says anything.
const DECIDED_MIN: u64 = 10;

/// What holds replays still while one is changed, and wakes them.
#[derive(Debug, Default)]
pub(super) struct Replays {
    changing: Mutex<()>,
    changed: Notify,
}

/// Carries out what an operator asks about replays and dead letters.
pub(super) fn carry_out(executor: &Arc<Executor>, row: i64, request: &Request) -> Result<(), LedgerError> {
    let _held: MutexGuard<'_, ()> = executor.replays.changing.blocking_lock();
    let desk = executor.desk();
    let answer = match &request.what {
        What::StartReplay { chosen, pace } => {
            crash::point("before-job");
            let answer = desk.start_replay(row, chosen, *pace)?;
            crash::point("after-job");
            answer
        }
        What::PauseReplay { job } => desk.change_replay(row, *job, JobState::Paused, request)?,
        What::ResumeReplay { job } => desk.change_replay(row, *job, JobState::Running, request)?,
        What::StopReplay { job } => desk.change_replay(row, *job, JobState::Stopped, request)?,
        What::DiscardDeadLetters { chosen } => {
            desk.change_letters(row, chosen, (DeadLetterState::Open, DeadLetterState::Discarded))?
        }
        What::RestoreDeadLetters { chosen } => {
            desk.change_letters(row, chosen, (DeadLetterState::Discarded, DeadLetterState::Open))?
        }
        What::PauseAccount { .. }
        | What::ResumeAccount { .. }
        | What::LookCapture { .. }
        | What::CloseCapture { .. }
        | What::ReleaseCapture { .. }
        | What::ResumeAuthorization { .. } => unreachable!("asked of something else"),
    };
    tracing::warn!(by = request.by, reason = request.reason, "asked for: {}", answer.message);
    executor.replays.changed.notify_one();
    Ok(())
}

/// Goes on with replays until told to stop.
pub(super) async fn run(executor: Arc<Executor>, stop: CancellationToken) {
    let mut known = HashMap::new();
    loop {
        let went_on = match go_on(&executor, &mut known).await {
            Ok(went_on) => went_on,
            Err(error) => return executor.fail(error),
        };
        let changed = executor.replays.changed.notified();
        let rest = if went_on { TICK } else { REST };
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// One step of every replay that runs. Is there any?
async fn go_on(executor: &Arc<Executor>, known: &mut HashMap<i64, Progress>) -> Result<bool, LedgerError> {
    if executor.is_held() {
        return Ok(true);
    }
    let _held = executor.replays.changing.lock().await;
    at_desk(executor, Desk::begin_step).await?;
    let went_on = step_each(executor, known).await;
    at_desk(executor, Desk::end_step).await?;
    went_on
}

async fn step_each(executor: &Arc<Executor>, known: &mut HashMap<i64, Progress>) -> Result<bool, LedgerError> {
    let jobs = at_desk(executor, Desk::running_replays).await?;
    known.retain(|job, _| jobs.iter().any(|running| running.job == *job));
    for job in &jobs {
        let progress = match known.entry(job.job) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Progress::of(executor, job).await?),
        };
        step(executor, job, progress).await?;
    }
    Ok(!jobs.is_empty())
}

/// What a worker knows of a replay beside what the ledger keeps.
struct Progress {
    /// Dead letters whose outcome is still to be found out.
    open: BTreeSet<i64>,
    /// Have those that went first all come to something?
    is_canary_over: bool,
    /// Begun, and how they ended.
    begun: u64,
    decided: u64,
    failed: u64,
    /// How many may be begun now, in thousandths.
    credit: u64,
    last: Instant,
}

impl Progress {
    /// As the ledger has it: of a new replay nothing, of one that an earlier worker has begun all of it.
    async fn of(executor: &Arc<Executor>, job: &ReplayJob) -> Result<Self, LedgerError> {
        let id = job.job;
        let outcomes = at_desk(executor, move |desk| desk.replay_outcomes(id, &[])).await?;
        let mut progress = Self {
            open: BTreeSet::new(),
            is_canary_over: false,
            begun: 0,
            decided: 0,
            failed: 0,
            credit: 1_000,
            last: Instant::now(),
        };
        for (position, outcome) in outcomes {
            if !matches!(outcome, ItemOutcome::Pending | ItemOutcome::Left | ItemOutcome::NotReplayed) {
                progress.begun += 1;
            }
            if outcome.is_open() {
                progress.open.insert(position);
            }
            progress.count(outcome);
        }
        progress.is_canary_over = progress.begun > job.canary;
        if progress.begun > 0 {
            tracing::info!(replay = id, begun = progress.begun, "a replay goes on where it was");
        }
        Ok(progress)
    }

    fn count(&mut self, outcome: ItemOutcome) {
        match outcome {
            ItemOutcome::Captured | ItemOutcome::Accepted => self.decided += 1,
            ItemOutcome::Failed => {
                self.decided += 1;
                self.failed += 1;
            }
            ItemOutcome::Pending
            | ItemOutcome::Open
            | ItemOutcome::InDoubt
            | ItemOutcome::Waiting
            | ItemOutcome::Unresolved
            | ItemOutcome::NotReplayed
            | ItemOutcome::Left => {}
        }
    }

    /// Have too many of those that are decided failed?
    fn is_too_bad(&self, job: &ReplayJob) -> bool {
        let enough = if job.canary == 0 { DECIDED_MIN.min(job.letters) } else { job.canary };
        let share_is_too_great = self.failed * 100 > job.failures_max * self.decided;
        // Those that went first are enough, however few of them are decided.
        let has_gone_first = job.canary > 0 && self.begun >= job.canary && self.open.is_empty();
        share_is_too_great && (self.decided >= enough || has_gone_first)
    }

    /// How many may be begun now.
    fn room(&mut self, job: &ReplayJob) -> u64 {
        let now = Instant::now();
        let passed = u64::try_from((now - self.last).as_millis()).unwrap_or(u64::MAX);
        self.last = now;
        // Never more than a fifth of a second's worth at once, and always one.
        let most = (job.rate * 200).max(1_000);
        self.credit = self.credit.saturating_add(passed.saturating_mul(job.rate)).min(most);
        let open = u64::try_from(self.open.len()).unwrap_or(u64::MAX);
        let goes_first = job.canary.saturating_sub(self.begun);
        if goes_first > 0 {
            return goes_first;
        }
        self.is_canary_over |= open == 0;
        if !self.is_canary_over {
            return 0;
        }
        (self.credit / 1_000).min(job.rate.max(OPEN_MIN).saturating_sub(open))
    }
}

async fn step(executor: &Arc<Executor>, job: &ReplayJob, progress: &mut Progress) -> Result<(), LedgerError> {
    look(executor, job, progress).await?;
    if progress.is_too_bad(job) {
        let Progress { failed, decided, .. } = progress;
        let limit = job.failures_max;
        let why = format!("it stopped by itself: {failed} of {decided} have failed again, more than {limit} %");
        tracing::error!(replay = job.job, "{why}");
        return end(executor, job.job, JobState::Stopped, Some(why)).await;
    }
    let room = progress.room(job);
    if room == 0 {
        return Ok(());
    }
    let id = job.job;
    let items = at_desk(executor, move |desk| desk.next_replayed(id, room)).await?;
    if items.is_empty() {
        tracing::info!(replay = id, "everything in the replay had its turn");
        return end(executor, id, JobState::Done, None).await;
    }
    begin(executor, job, items, progress).await
}

/// Looks what became of those that were on their way.
async fn look(executor: &Arc<Executor>, job: &ReplayJob, progress: &mut Progress) -> Result<(), LedgerError> {
    if progress.open.is_empty() {
        return Ok(());
    }
    let (id, open) = (job.job, progress.open.iter().copied().collect::<Vec<_>>());
    for (position, outcome) in at_desk(executor, move |desk| desk.replay_outcomes(id, &open)).await? {
        if !outcome.is_open() {
            progress.open.remove(&position);
            progress.count(outcome);
        }
    }
    Ok(())
}

/// Tries these again, in one transaction with what became of each.
async fn begin(
    executor: &Arc<Executor>,
    job: &ReplayJob,
    mut items: Vec<ReplayItem>,
    progress: &mut Progress,
) -> Result<(), LedgerError> {
    let key = JobKey::new(job.job);
    let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
    progress.credit = progress.credit.saturating_sub(count.saturating_mul(1_000));
    let letters: Vec<_> = items.iter().map(|item| (item.position, item.letter.id)).collect();
    let spans = spans::begin_replays(&mut items);
    let mut traceparents = spans.iter().map(|span| span.context().to_string());
    let command = |item: ReplayItem| {
        let message = item.letter.raw.map(dead_letter::command_of);
        let traceparent = traceparents.next();
        Command::Replay(Box::new(Replay { letter: item.letter.id, job: key, message, traceparent }))
    };
    crash::point("before-replay");
    let Some(replies) = executor.execute(items.into_iter().map(command).collect()).await else { return Ok(()) };
    crash::point("after-replay");
    let mut spans = spans.into_iter();
    for ((position, letter), reply) in letters.into_iter().zip(replies) {
        let span = spans.next();
        let fault = match reply {
            Ok(reply) => {
                note::note(&reply);
                if let Some(span) = span {
                    spans::end_replay(span, &reply);
                }
                let fault = fault(&reply);
                if matches!(reply.note, Note::Replayed(_)) {
                    progress.begun += 1;
                    progress.open.insert(position);
                }
                executor.carry_on(reply, None);
                fault
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = fault {
            tracing::error!(error = %why, "a dead letter could not be replayed: a fault of Holdfast's, please report it");
            let id = job.job;
            at_desk(executor, move |desk| desk.give_up_replayed(id, letter, &why)).await?;
        }
    }
    Ok(())
}

/// A reply that says neither: the dead letter is gone.
fn fault(reply: &Reply) -> Option<String> {
    let is_one = matches!(reply.note, Note::Replayed(_) | Note::NotReplayed(_));
    (!is_one).then(|| format!("it came to {:?}", reply.note))
}

async fn end(executor: &Arc<Executor>, job: i64, state: JobState, why: Option<String>) -> Result<(), LedgerError> {
    crash::point("before-end");
    at_desk(executor, move |desk| desk.end_replay(job, state, why.as_deref())).await?;
    crash::point("after-end");
    Ok(())
}
