//! SIGKILL at the beginning of every n-th call of one capture that writes, makes durable or sends. Nothing of
//! the call happens; the one before it has happened. The worker after it brings everything to its end.

use std::os::unix::process::ExitStatusExt;

use crate::points::{Again, Chosen};
use crate::say;
use crate::stage::{Stage, Workload};

/// Of so many points one is tried, unless the environment says otherwise.
const EVERY: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_survives_a_kill_at_every_call() {
    dies_at_every_call(Workload::Often, "a_capture_survives").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_capture_survives_a_kill_at_every_call() {
    dies_at_every_call(Workload::Once, "a_single_capture_survives").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_capture_survives_a_kill_at_every_call() {
    dies_at_every_call(Workload::Declined, "a_declined_capture_survives").await;
}

async fn dies_at_every_call(workload: Workload, test: &'static str) {
    let mut stage = Stage::new(workload).await;
    // The first one makes the ledger; what it writes for that is not of a capture.
    stage.worker().await.stop().await;
    let all = stage.points().await;
    let (count, chosen) = (all.len(), Chosen::or_every(EVERY).of(all));
    let (tried, mut killed) = (chosen.len(), 0);
    for point in &chosen {
        let _again = Again { point, test };
        let mut worker = stage.worker().await;
        let strace = stage.inject(&worker, point, "signal=KILL", None);
        stage.ship().await;
        let died = tokio::select! {
            status = worker.ended() => Some(status),
            () = stage.is_done() => None,
        };
        drop(strace);
        match died {
            Some(status) => {
                assert_eq!(status.signal(), Some(9), "{point}: {status}");
                killed += 1;
            }
            // It made fewer such calls this time. It dies all the same, at its end.
            None => worker.kill9().await,
        }
        stage.recovers().await;
    }
    // Not every run makes as many calls.
    assert!(killed * 4 >= tried, "of {tried} points only {killed} were met");
    say(&format!(
        "proof: syscalls, {workload:?}: one capture has {count} points; {tried} tried, SIGKILL at {killed} of them \
         and at the end of {}; kills: {tried}, and as many restarts; all books agree",
        tried - killed,
    ));
}
