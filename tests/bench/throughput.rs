//! How fast the worker captures, beside a bare loop that promises nothing, or several workers beside one.
//!
//! ```text
//! cargo bench --bench throughput                                 20,000 shipments, 3 rounds
//! cargo bench --bench throughput -- --size 50000 --rounds 5
//! cargo bench --bench throughput -- --ledger postgres --workers 1,2,4 --latency 200ms
//! ```
//!
//! One round measures both, one after the other, and the order changes from round to round, so that
//! what else the machine does hits both alike. The worker is the optimised `holdfast run` with its
//! defaults, save for 512 calls at a time, the prefetch: SQLite on disk, quorum queues on a private
//! RabbitMQ. The bare loop ([`bare`]) makes the same calls with the same crates, in the way it would be
//! written: a task per message, the system's allocator. Both are processes of their own, so that the CPU
//! time of each is its own; so is the provider, the sandbox's Flex Pay without latency.
//!
//! With `--ledger postgres` workers are measured without the bare loop, on a PostgreSQL of their own, on
//! disk and with its syncs; `--workers` says how many, one number for each line of the table. With
//! `--latency` the provider takes so long for a capture, each worker makes 64 calls at a time, the default,
//! and gets 5,000 shipments.
//!
//! Times are wall clock from the first consume to the last event received; CPU is user and system.
//! Statements and transactions are PostgreSQL's own count of all that the workers asked of it from their
//! start to their end, for each shipment.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

// what is to be measured
mod asked;

// what is measured against
mod bare;

// what it runs on
#[path = "../it/support/keeper.rs"]
mod keeper;
mod load;
mod process;
mod provider;
mod server;
mod stage;

// the figures
mod report;

use std::time::Duration;

use asked::Asked;
use report::Measured;
use stage::Stage;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments[..] {
        [bare::ROLE, config] => runtime.block_on(bare::run(config.as_ref())),
        [provider::ROLE, orders, latency] => {
            runtime.block_on(provider::run(orders.parse()?, Duration::from_millis(latency.parse()?)))
        }
        _ if arguments.contains(&"--bench") => runtime.block_on(measure(&Asked::parse(&arguments)?)),
        // `cargo test --all-targets` starts it too.
        _ => {
            println!("nothing measured: run `cargo bench --bench throughput`");
            Ok(())
        }
    }
}

async fn measure(asked: &Asked) -> anyhow::Result<()> {
    let stage = Stage::set_up(asked.ledger).await?;
    let mut measured = Vec::new();
    println!("{}", Measured::HEADING);
    for setup in (1..=asked.rounds).flat_map(|round| asked.setups(round)) {
        let one = stage.measure(setup).await?;
        println!("{one}");
        measured.push(one);
    }
    stage.strike();
    if asked.is_a_race() {
        report::summary(&measured);
    }
    Ok(())
}
