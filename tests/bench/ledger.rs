//! What a capture costs the ledger by itself: its CPU time, and what it writes.
//!
//! ```text
//! cargo bench --bench ledger                                     20,000 shipments, groups of 16, 64 and 256
//! cargo bench --bench ledger -- --size 50000 --groups 64,512
//! ```
//!
//! The notices are those of the `throughput` benchmark, decoded beforehand. Each group of commands
//! accepts and begins as many shipments as it says, books the answers to those of the group before, and
//! notes that the events of the one before that are published: what a busy worker's groups look like.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

// the same notices
#[path = "load.rs"]
#[expect(dead_code, reason = "nothing is called")]
mod load;
#[path = "made.rs"]
mod made;
#[path = "provider.rs"]
#[expect(dead_code, reason = "only the names of its authorizations are needed")]
mod provider;
#[path = "work.rs"]
mod work;

use std::time::Duration;

use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter().map(String::as_str);
    let (mut is_asked, mut size, mut groups) = (false, 20_000, vec![16, 64, 256]);
    while let Some(argument) = arguments.next() {
        match argument {
            "--bench" => is_asked = true,
            "--size" => size = arguments.next().context("--size needs a number")?.parse()?,
            "--groups" => {
                let sizes = arguments.next().context("--groups needs numbers, such as 64,512")?;
                groups = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            other => bail!("{other} is unknown: there are --size and --groups"),
        }
    }
    if !is_asked {
        // `cargo test --all-targets` starts it too.
        println!("nothing measured: run `cargo bench --bench ledger`");
        return Ok(());
    }
    println!("{:>6}  {:>18}  {:>21}", "group", "CPU µs per capture", "bytes written of each");
    for group in groups {
        let measured = tokio::runtime::Builder::new_current_thread().build()?.block_on(measure(size, group))?;
        println!("{group:>6}  {measured}");
    }
    Ok(())
}

/// Captures so many shipments in a new ledger on disk, in groups of this size.
async fn measure(size: usize, group: usize) -> anyhow::Result<String> {
    let directory = tempfile::Builder::new().prefix("holdfast-bench-").tempdir()?;
    let ledger = made::ledger(&directory.path().join("ledger.db"), &[load::ACCOUNT])?;
    let notices = work::accept_all(load::notices(0, size, "orders"));
    let (started, wrote) = (cpu(), written()?);
    work::capture(&ledger, notices, group).await?;
    let (spent, wrote) = (cpu().saturating_sub(started), written()? - wrote);
    let size = u128::try_from(size)?;
    Ok(format!("{:>18}  {:>21}", spent.as_micros() / size, u128::from(wrote) / size))
}

/// CPU time of this process, in which only the ledger works.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// Bytes that this process has written so far.
fn written() -> anyhow::Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let bytes = io.lines().find_map(|line| line.strip_prefix("wchar: ")).context("/proc/self/io counts writes")?;
    Ok(bytes.parse()?)
}
