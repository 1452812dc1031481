//! Events out: from the outbox to the broker, in pipelined batches.
//!
//! Events are handed over in memory by the transaction that wrote them. What memory loses (a restart,
//! a full queue, a batch that was not confirmed) is found in the ledger. An event is marked as
//! published only by the broker's own word; at worst it goes out twice, under the same id.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::publisher::{Outgoing, PublishOutcome, Publisher, PublisherState};
use crate::capture::decide::Command;
use crate::clock;
use crate::crash;
use crate::ledger::OutboxRow;
use crate::message;
use crate::message::sender::Claims;
use crate::telemetry::{self, metric};
use crate::worker::executor::Executor;
use crate::worker::spans;

/// Groups of events that may wait in memory; more wait in the ledger.
const GROUPS_MAX: usize = 1_024;

/// Where transactions hand over their events.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Vec<OutboxRow>>,
}

impl Outbox {
    /// A hand-over and its other end.
    pub(super) fn new() -> (Self, mpsc::Receiver<Vec<OutboxRow>>) {
        let (sender, receiver) = mpsc::channel(GROUPS_MAX);
        (Self { sender }, receiver)
    }

    /// Hands events over. What does not fit is found in the ledger later.
    pub(super) fn offer(&self, rows: Vec<OutboxRow>) {
        if !rows.is_empty() {
            let _ = self.sender.try_send(rows);
        }
    }
}

/// Publishes what the outbox holds.
pub(super) struct Relay {
    pub(super) executor: Arc<Executor>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) offered: mpsc::Receiver<Vec<OutboxRow>>,
    pub(super) exchange: String,
    pub(super) batch: usize,
    /// How often the ledger is asked for what memory has lost.
    pub(super) interval: Duration,
    /// Told to stop: publishes what is left, then ends.
    pub(super) stop: CancellationToken,
    /// How far the ledger was searched: events that no queue wants must not hide those behind them.
    pub(super) searched: i64,
}

impl Relay {
    /// Publishes until told to stop.
    pub(super) async fn run(mut self) {
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut marking: Option<JoinHandle<()>> = None;
        let stop = self.stop.clone();
        loop {
            let rows = tokio::select! {
                rows = self.offered.recv() => match rows {
                    Some(rows) => self.gather(rows),
                    None => break,
                },
                () = stop.cancelled() => break,
                _ = tick.tick() => match self.offered.try_recv() {
                    // While we are behind, what is old is not lost: it waits here.
                    Ok(rows) => self.gather(rows),
                    Err(_) => self.lost(clock::before(clock::now(), self.interval), &mut marking).await,
                },
            };
            self.publish(rows, &mut marking).await;
        }
        // Batch by batch, to the end: what the broker does not take is for whoever starts next.
        self.searched = 0;
        loop {
            let rest = self.lost(clock::now(), &mut marking).await;
            self.publish(rest, &mut marking).await;
            let is_away = !matches!(self.publisher.status().borrow().state, PublisherState::Connected);
            if self.searched == 0 || is_away || self.executor.failure().is_some() {
                break;
            }
        }
        if let Some(marking) = marking {
            let _ = marking.await;
        }
    }

    /// What has been handed over meanwhile, up to a batch.
    fn gather(&mut self, mut rows: Vec<OutboxRow>) -> Vec<OutboxRow> {
        while rows.len() < self.batch {
            match self.offered.try_recv() {
                Ok(more) => rows.extend(more),
                Err(_) => break,
            }
        }
        rows
    }

    /// The next events that are older than what is on its way through memory, and not published.
    async fn lost(&mut self, written_before: clock::Timestamp, marking: &mut Option<JoinHandle<()>>) -> Vec<OutboxRow> {
        // Else what was published a moment ago would look unpublished, and go out a second time.
        if let Some(marking) = marking.take() {
            let _ = marking.await;
        }
        let limit = u32::try_from(self.batch).unwrap_or(u32::MAX);
        match self.executor.ledger().unpublished(self.searched, written_before, limit).await {
            Ok(rows) => {
                let is_full = rows.len() == self.batch;
                self.searched = rows.last().filter(|_| is_full).map_or(0, |row| row.row);
                rows
            }
            Err(error) => {
                self.executor.fail(error);
                Vec::new()
            }
        }
    }

    async fn publish(&self, rows: Vec<OutboxRow>, marking: &mut Option<JoinHandle<()>>) {
        if rows.is_empty() {
            return;
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.row).collect();
        let spans = spans::begin_events(&self.exchange, &rows);
        let outgoing = rows.into_iter().map(|row| self.outgoing(row)).collect();
        let outcomes = self.publisher.publish(outgoing).await;
        spans::end_events(spans, &outcomes);
        let published = note_outcomes(&ids, &outcomes);
        if published.is_empty() {
            return;
        }
        if let Some(before) = marking.take() {
            let _ = before.await;
        }
        let executor = Arc::clone(&self.executor);
        *marking = Some(tokio::spawn(async move {
            crash::point("before-T4");
            executor.execute(vec![Command::Published(published)]).await;
            crash::point("after-T4");
        }));
    }

    fn outgoing(&self, row: OutboxRow) -> Outgoing {
        let traceparent = spans::event_header(row.traceparent.as_deref(), row.event_id);
        Outgoing {
            row: row.row,
            exchange: self.exchange.clone(),
            event_id: row.event_id,
            routing_key: row.kind,
            body: row.body,
            content_type: message::CONTENT_TYPE.to_owned(),
            traceparent: traceparent.or(row.traceparent),
            claims: Claims::default(),
        }
    }
}

/// Counts what became of a batch, and returns the rows that were published.
fn note_outcomes(rows: &[i64], outcomes: &[PublishOutcome]) -> Vec<i64> {
    let mut published = Vec::with_capacity(rows.len());
    let (mut returned, mut failed) = (0_u64, HashSet::new());
    let mut failures = 0_u64;
    for (row, outcome) in rows.iter().zip(outcomes) {
        match outcome {
            PublishOutcome::Published => published.push(*row),
            PublishOutcome::Returned => returned += 1,
            PublishOutcome::Failed(why) => {
                failures += 1;
                failed.insert(why.as_str());
            }
        }
    }
    let count = |result, number| metrics::counter!(metric::PUBLISHED, "result" => result).increment(number);
    count("published", u64::try_from(published.len()).unwrap_or(u64::MAX));
    count("returned", returned);
    count("failed", failures);
    if returned > 0 {
        let message = "events come back unroutable: bind a queue to the payments exchange; they are kept";
        telemetry::alarm("unroutable", None, message);
    } else if !published.is_empty() {
        telemetry::clear("unroutable", None);
    }
    for why in failed {
        tracing::warn!(events = failures, "not confirmed, will be published again with the same ids: {why}");
    }
    published
}
