//! Calls that make durable or write fail, as of a disk that is broken or full. The worker ends at once with
//! exit code 4: what is durable then nobody knows but the one that opens the ledger next.

use crate::points::{Again, Chosen};
use crate::say;
use crate::stage::{Stage, Workload};

/// Of so many points one is tried, unless the environment says otherwise.
const EVERY: usize = 10;

/// Which calls fail, and how.
const FAILURES: [(&str, &str); 4] =
    [("fdatasync", "EIO"), ("fdatasync", "ENOSPC"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_cannot_write_ends_the_worker_and_loses_nothing() {
    let mut stage = Stage::new(Workload::Often).await;
    stage.worker().await.stop().await;
    // Not the other files: what is written to them need not be durable.
    let journal = format!("{}-wal", stage.ledger().display());
    let all = stage.points().await;
    let (mut tried, mut failed) = (0, 0);
    for (call, error) in FAILURES {
        let of_call: Vec<_> =
            all.iter().filter(|point| point.call == call && point.thread == "ledger").cloned().collect();
        let chosen = Chosen::or_every(EVERY.min(of_call.len())).of(of_call);
        for point in chosen.iter().filter(|point| point.call == call) {
            let _again = Again { point, test: "a_ledger_that_cannot_write" };
            let mut worker = stage.worker().await;
            let strace = stage.inject(&worker, point, &format!("error={error}"), Some(&journal));
            stage.ship().await;
            tried += 1;
            let ended = tokio::select! {
                status = worker.ended() => Some(status),
                () = stage.is_done() => None,
            };
            drop(strace);
            match ended {
                Some(status) => {
                    assert_eq!(status.code(), Some(4), "{error} at {point}: {status}");
                    let log = worker.log();
                    assert!(log.contains("the ledger has failed"), "{error} at {point}: {log}");
                    failed += 1;
                }
                None => worker.stop().await,
            }
            stage.recovers().await;
        }
    }
    assert!(failed * 4 >= tried, "of {tried} points only {failed} were met");
    say(&format!(
        "proof: syscalls, errors: EIO and ENOSPC at {failed} of {tried} points of the journal; each time the worker \
         ended with exit code 4, and all books agree"
    ));
}
