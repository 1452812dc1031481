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
#[path = "provider.rs"]
#[expect(dead_code, reason = "only the names of its authorizations are needed")]
mod provider;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use holdfast::capture::decide::{Call, Command, Evidence, Settle};
use holdfast::capture::evidence::{Answer, CaptureProof, ProviderBalance};
use holdfast::capture::notice::RawMessage;
use holdfast::capture::policy::{AccountPolicy, Captures, OnExpiry, Policy};
use holdfast::capture::retry::Jitter;
use holdfast::clock::Moment;
use holdfast::dead_letter;
use holdfast::ids::AccountName;
use holdfast::ledger::sqlite::SqliteLedger;
use holdfast::ledger::{Environment, Executed, Ledger};
use holdfast::message;
use holdfast::settings::Settings;
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
    let ledger = open(&directory.path().join("ledger.db"))?;
    let mut notices: VecDeque<Command> =
        load::notices(size, "orders").into_iter().map(|outgoing| accept(outgoing.body)).collect();
    let (mut answers, mut events, mut captured) = (Vec::new(), Vec::new(), 0);
    let (started, wrote) = (cpu(), written()?);
    while captured < size {
        let mut commands = std::mem::take(&mut answers);
        commands.push(Command::Published(std::mem::take(&mut events)));
        commands.extend(notices.drain(..group.min(notices.len())));
        let Executed { replies, outbox } = ledger.execute(commands).await?;
        captured += outbox.len();
        events.extend(outbox.iter().map(|event| event.row));
        for reply in replies {
            answers.extend(reply?.ticket.map(|ticket| answer(&ticket.call)).transpose()?);
        }
        ensure!(!answers.is_empty() || captured == size, "only {captured} of {size} were captured");
    }
    let (spent, wrote) = (cpu().saturating_sub(started), written()? - wrote);
    let size = u128::try_from(size)?;
    Ok(format!("{:>18}  {:>21}", spent.as_micros() / size, u128::from(wrote) / size))
}

/// The command that accepts a notice and begins its capture.
fn accept(body: bytes::Bytes) -> Command {
    let raw = RawMessage {
        body,
        content_type: Some("application/cloudevents+json".to_owned()),
        message_id: None,
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    };
    let mut command = dead_letter::command_of(raw);
    if let Command::Accept(arrival) = &mut command {
        arrival.start = true;
    }
    command
}

/// The command that books that it was captured.
fn answer(call: &Call) -> anyhow::Result<Command> {
    let Call::Send { capture, amount, epoch, .. } = *call else { bail!("only captures are sent: {call:?}") };
    let proof = CaptureProof {
        amount: Some(amount),
        provider_reference: Some(format!("evt_{:032}", capture.row())),
        balance: ProviderBalance::default(),
    };
    let evidence = Evidence::Answer(Answer::Captured(proof));
    Ok(Command::Settle(Box::new(Settle { capture, epoch, evidence, start: false })))
}

fn open(path: &Path) -> anyhow::Result<SqliteLedger> {
    let mut policy: Policy = Settings::load(None, std::iter::empty())?.policy;
    let account = AccountPolicy {
        captures: Captures::Multiple,
        resend_window: Some(Duration::from_mins(15)),
        timeout: Duration::from_secs(30),
        authorization_lifetime: None,
        tells_expiry: true,
        on_expiry: OnExpiry::Void,
        quantum: None,
        minimum: None,
    };
    policy.accounts.insert(AccountName::parse(load::ACCOUNT)?, account);
    let environment = Environment {
        policy: Arc::new(policy),
        clock: Arc::new(Moment::now),
        jitter: Arc::new(|| Jitter::NONE),
        encode: Arc::new(|event| message::event::encode(event, "/bench").into()),
    };
    Ok(SqliteLedger::open(path, environment)?)
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
