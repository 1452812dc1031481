//! `holdfast run`: the worker, until it is told to end.

use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cli::{Context, Exit, Failure, OrExit};
use crate::http::{Readiness, Server};
use crate::ledger::LedgerError;
use crate::telemetry;
use crate::worker::{self, Stop, WorkerError};

mod service;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast run --config holdfast.toml
  HOLDFAST_BROKER__URL=amqp://guest:guest@127.0.0.1:5672/%2f holdfast run
  holdfast run --after-restore

SIGTERM or SIGINT drains: nothing new is taken, calls in flight are settled, events are published.
A second one ends at once, which is safe. SIGHUP reads the secrets anew that are in files.

--after-restore is for the first start on a ledger that was restored from a backup, once: until every
open authorization was read from its provider, messages are accepted and nothing is captured. The ledger
remembers: a worker that is started again without it goes on reading first. See holdfast backup --help.";

/// How to start.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The ledger was restored from a backup: read every open authorization before anything is captured
    #[arg(long)]
    after_restore: bool,
}

/// Runs the worker until SIGTERM or SIGINT, or until the ledger fails. Never ends because the broker
/// is away.
pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let metrics = telemetry::start_metrics().or_exit(Exit::Wrong)?;
    let traces = telemetry::trace::start(&settings.traces).or_exit(Exit::Wrong)?;
    // Taken before anything is started, so that a drain is a drain from the first moment.
    let mut signals = Signals::take().or_exit(Exit::Wrong)?;
    let mut hang_up = signal(SignalKind::hangup()).or_exit(Exit::Wrong)?;
    let server = Server::bind(settings.http_listen).await.or_exit(Exit::Usage)?;
    let address = server.address();
    let (readiness, is_ready) = watch::channel(Readiness::starting());
    let _told = service::tell_how_it_is(is_ready.clone());
    let stop_http = CancellationToken::new();
    let http = tokio::spawn(server.serve(is_ready, metrics, stop_http.clone()));
    tracing::info!(http = %address, "health and metrics are served");
    let starting = worker::start(&settings, args.after_restore, readiness);
    let worker = tokio::select! {
        worker = starting => worker.map_err(|error| failure(&error))?,
        () = signals.next() => {
            tracing::info!("told to end before the ledger could be opened: nothing was begun");
            return Ok(Exit::Done);
        }
    };
    tracing::info!(http = %address, accounts = settings.accounts.len(), "worker started");
    service::has_started();
    let failed = loop {
        tokio::select! {
            () = signals.next() => break false,
            _ = worker.failed() => break true,
            _ = hang_up.recv() => {
                tracing::info!("told by SIGHUP: secrets that are in files are read anew");
                worker.renew_secrets();
            }
        }
    };
    let draining = Instant::now();
    service::draining(settings.worker.drain_grace);
    if failed {
        tracing::error!("the ledger has failed: ending at once; what was in flight is in doubt until the next start");
    }
    let ended = tokio::select! {
        ended = worker.drain() => ended,
        () = signals.next() => {
            tracing::warn!("told twice: ending at once; what is in flight is in doubt until the next start");
            Ok(Stop::CallsLeft)
        }
    };
    if let Some(traces) = traces {
        traces.end(settings.worker.drain_grace.saturating_sub(draining.elapsed())).await;
    }
    stop_http.cancel();
    let _ = http.await;
    match ended.map_err(|error| failure(&error))? {
        Stop::Clean => tracing::info!("drained"),
        Stop::CallsLeft => tracing::info!("ended with calls in flight"),
        Stop::LedgerAway => tracing::warn!(
            "the ledger has not answered within worker.drain_grace: ended without it; what was in flight is in doubt \
             until the next start, and what was not acknowledged comes again"
        ),
    }
    Ok(Exit::Done)
}

fn failure(error: &WorkerError) -> Failure {
    let exit = match error {
        WorkerError::Ledger(LedgerError::Held { .. }) => Exit::LedgerHeld,
        WorkerError::Ledger(
            LedgerError::Open { .. } | LedgerError::Moved { .. } | LedgerError::Away(_) | LedgerError::Failed(_),
        ) => Exit::Ledger,
        WorkerError::Account(_) => Exit::Usage,
    };
    Failure::new(exit, error.to_string())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
