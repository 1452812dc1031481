//! What a service manager is told of the worker (systemd's `sd_notify` protocol): that it has started, that
//! its event loop turns, how ready it is, that it drains.
//!
//! Started means: the ledger is open, and what an earlier worker left is taken up. It does not mean that
//! messages are consumed: a broker that is away is waited for, and a manager that waited with us would end
//! the worker for an outage of somebody else, again and again. How ready it is stands in the status, as
//! `/readyz` says it, from the first moment: a PostgreSQL that is away is waited for before it has started.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{Interval, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::http::Readiness;

/// What closing takes at most after the grace of a drain: the last events, and the connections.
const CLOSING: Duration = Duration::from_secs(45);

/// Says that the event loop turns and how ready the worker is, for as long as the handle is kept.
pub(super) fn tell_how_it_is(readiness: watch::Receiver<Readiness>) -> AbortOnDropHandle<()> {
    // A task as any other, so that it stands still when they do.
    AbortOnDropHandle::new(tokio::spawn(keep_telling(readiness)))
}

/// The worker has started.
pub(super) fn has_started() {
    tell(&[NotifyState::Ready]);
}

/// The worker drains: whoever waits for its end has to wait for so long.
pub(super) fn draining(grace: Duration) {
    let longest = u32::try_from(grace.saturating_add(CLOSING).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::Status("draining"), NotifyState::ExtendTimeoutUsec(longest)]);
}

async fn keep_telling(mut readiness: watch::Receiver<Readiness>) {
    // Twice as often as asked for.
    let limit = sd_notify::watchdog_enabled().filter(|limit| limit.as_micros() > 1);
    let mut beats = limit.map(|limit| interval(limit / 2));
    let mut said = String::new();
    let mut is_running = true;
    loop {
        tokio::select! {
            () = next(&mut beats) => tell(&[NotifyState::Watchdog]),
            changed = readiness.changed(), if is_running => {
                // Without a worker the beats go on: it drains.
                is_running = changed.is_ok();
                let status = readiness.borrow_and_update().to_string();
                if is_running && status != said {
                    tell(&[NotifyState::Status(&status)]);
                    said = status;
                }
            }
        }
    }
}

/// The next beat; never where nobody asked for one.
async fn next(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

/// Nothing happens where no manager listens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how the worker is");
    }
}
