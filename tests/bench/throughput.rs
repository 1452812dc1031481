//! How fast the worker captures, beside a bare loop that promises nothing.
//!
//! ```text
//! cargo bench --bench throughput                                 20,000 shipments, 3 rounds
//! cargo bench --bench throughput -- --size 50000 --rounds 5
//! ```
//!
//! One round measures both, one after the other, and the order changes from round to round, so that
//! what else the machine does hits both alike. The worker is the optimised `holdfast run` with its
//! defaults, save for 512 calls at a time, the prefetch: SQLite on disk, quorum queues on a private
//! RabbitMQ. The bare loop ([`bare`]) makes the same calls with the same crates, in the way it would be
//! written: a task per message, the system's allocator. Both are processes of their own, so that the CPU
//! time of each is its own; so is the provider, the sandbox's Flex Pay without latency.
//!
//! Times are wall clock from the first consume to the last event received; CPU is user and system.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

// what is measured against
mod bare;

// what both run on
mod load;
mod process;
mod provider;
mod stage;

// the figures
mod report;

use anyhow::{Context, bail};

use process::Side;
use report::Measured;
use stage::Stage;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    size: usize,
    rounds: usize,
    only: Option<Side>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments[..] {
        [bare::ROLE, config] => runtime.block_on(bare::run(config.as_ref())),
        [provider::ROLE, orders] => runtime.block_on(provider::run(orders.parse()?)),
        _ if arguments.contains(&"--bench") => runtime.block_on(measure(asked(&arguments)?)),
        // `cargo test --all-targets` starts it too.
        _ => {
            println!("nothing measured: run `cargo bench --bench throughput`");
            Ok(())
        }
    }
}

fn asked(arguments: &[&str]) -> anyhow::Result<Asked> {
    let size = std::env::var("HOLDFAST_TEST_BENCH_SIZE").ok();
    let size = size.map(|size| size.parse()).transpose().context("HOLDFAST_TEST_BENCH_SIZE is not a number")?;
    let mut asked = Asked { size: size.unwrap_or(20_000), rounds: 3, only: None };
    let mut rest = arguments.iter().filter(|argument| **argument != "--bench");
    while let Some(name) = rest.next() {
        let value = rest.next().with_context(|| format!("{name} needs a value"))?;
        match *name {
            "--size" => asked.size = value.parse()?,
            "--rounds" => asked.rounds = value.parse()?,
            "--only" => asked.only = Some(Side::parse(value)?),
            other => bail!("{other} is unknown: there are --size, --rounds and --only holdfast|bare"),
        }
    }
    // Two shipments of each order.
    asked.size = asked.size.next_multiple_of(2).max(2);
    asked.rounds = asked.rounds.max(1);
    Ok(asked)
}

async fn measure(asked: Asked) -> anyhow::Result<()> {
    println!("{} shipments of {} orders, {} rounds", asked.size, asked.size / 2, asked.rounds);
    let stage = Stage::set_up().await?;
    let mut measured = Vec::new();
    println!("{}", Measured::HEADING);
    for round in 1..=asked.rounds {
        let sides = if round % 2 == 1 { [Side::Holdfast, Side::Bare] } else { [Side::Bare, Side::Holdfast] };
        for side in sides.into_iter().filter(|side| asked.only.is_none_or(|only| only == *side)) {
            let one = stage.measure(round, side, asked.size).await?;
            println!("{one}");
            measured.push(one);
        }
    }
    stage.strike();
    report::summary(&measured);
    Ok(())
}
