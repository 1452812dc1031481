//! How fast the worker captures, beside a bare loop that promises nothing, or several workers beside one.
//!
//! ```text
//! cargo bench --bench throughput                                 20,000 shipments, 3 rounds
//! cargo bench --bench throughput -- --size 50000 --rounds 5
//! cargo bench --bench throughput -- --ledger postgres
//! cargo bench --bench throughput -- --ledger postgres --workers 1,2,4 --latency 200ms
//! cargo bench --bench throughput -- --latency 200ms --concurrency 2048 --size 60000
//! cargo bench --bench throughput -- --rate 50                    one by one: what each takes
//! cargo bench --bench throughput -- --filled 1000000             a full ledger beside an empty one
//! cargo bench --bench throughput -- --traces 0,0.01,1            what watching a worker costs it
//! cargo bench --bench throughput -- --count statements           of SQLite; the worker is slower for it
//! ```
//!
//! One round measures both, one after the other, and the order changes from round to round, so that
//! what else the machine does hits both alike. The worker is the optimised `holdfast run` with its
//! defaults, save for 512 calls at a time, the prefetch: SQLite on disk, quorum queues on a private
//! RabbitMQ. The bare loop ([`bare`]) makes the same calls with the same crates, in the way it would be
//! written: a task per message, the system's allocator. Both are processes of their own, so that the CPU
//! time of each is its own; so is the provider, the sandbox's Flex Pay without latency.
//!
//! With `--ledger postgres` the ledger is in a PostgreSQL of its own, on disk and with its syncs; `--workers`
//! says how many share it, one number for each line of the table, without the bare loop. With `--latency`
//! the provider takes so long for a capture, each worker makes 64 calls at a time, the default, and gets
//! 5,000 shipments. With `--rate` so many shipments a second come one by one for twenty seconds, and the
//! memory of the worker is looked at before the first. `--filled` captures so many in a ledger beforehand,
//! watches their authorizations, and measures the worker on it beside one on an empty ledger.
//! `--traces` names shares of traces that are recorded, 0 for a worker whose traces are off, and measures a worker
//! for each, without and with (`+read`) its metrics read every second; all are compared with the first.
//!
//! Times are wall clock from the first consume to the last event received; CPU is user and system.
//! Statements and transactions are PostgreSQL's own count of all that the workers asked of it from their
//! start to their end, for each shipment; on SQLite transactions are those of the worker's own metrics, and
//! statements what `perf` counts while it captures, with `--count statements` and as root.
//! Syncs are what `perf` counts of the workers' fdatasync and fsync while they capture, or PostgreSQL of its
//! log. Memory is the largest that the process had, start the time from its start until it consumes.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

// what is to be measured
mod asked;

// what is measured against
mod bare;

// what it runs on
mod counted;
#[path = "../it/support/keeper.rs"]
mod keeper;
mod load;
mod made;
mod observed;
mod paced;
mod process;
mod provider;
mod server;
mod stage;
mod work;

// the figures
mod report;

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use asked::Asked;
use report::Measured;
use stage::Stage;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // As many threads as cores, which is what a program has that does not think of it.
        [bare::ROLE, config] => Runtime::new()?.block_on(bare::run(config.as_ref())),
        [provider::ROLE, first, end, latency] => {
            let orders = first.parse()?..end.parse()?;
            one_thread()?.block_on(provider::run(orders, Duration::from_millis(latency.parse()?)))
        }
        _ if arguments.contains(&"--bench") => one_thread()?.block_on(measure(&Asked::parse(&arguments)?)),
        // `cargo test --all-targets` starts it too.
        _ => {
            println!("nothing measured: run `cargo bench --bench throughput`");
            Ok(())
        }
    }
}

/// What is not measured takes no more of the machine than it must.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

async fn measure(asked: &Asked) -> anyhow::Result<()> {
    // Whoever asks for metrics over HTTP needs one, though nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stage = Stage::set_up(asked).await?;
    let mut measured = Vec::new();
    println!("{}", Measured::HEADING);
    for setup in (1..=asked.rounds).flat_map(|round| asked.setups(round)) {
        let one = stage.measure(setup).await?;
        println!("{one}");
        measured.push(one);
    }
    stage.strike();
    if asked.is_a_race() {
        report::summary(&measured, asked.rival());
    }
    if asked.is_observed() {
        report::observed(&measured);
    }
    Ok(())
}
