//! What it costs to watch a million authorizations, beside a thousand.
//!
//! ```text
//! cargo bench --bench watch                      1,000 and 1,000,000
//! cargo bench --bench watch -- --many 100000
//! ```
//!
//! Two ledgers on disk, filled by SQL with authorizations of three accounts that all are watched; in
//! each, ten are due. Measured in turn, so that what else the machine does hits both alike: a tick of
//! the watch (everything that is due is asked for), and accepting shipments of new orders on new
//! authorizations, in groups as the worker does, each group with its sync. Medians.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

// the same ledger
#[path = "made.rs"]
mod made;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use holdfast::capture::decide::{Arrival, Command};
use holdfast::capture::notice::{AuthorizationFacts, ShipmentNotice};
use holdfast::clock::{self, Timestamp};
use holdfast::ids::{AccountName, OrderId, Reference, ShipmentId};
use holdfast::ledger::Ledger;
use holdfast::ledger::sqlite::SqliteLedger;
use holdfast::money::{Currency, Money};
use rusqlite::{Connection, params};

const ACCOUNTS: [&str; 3] = ["flex-1", "flex-2", "flex-3"];
/// Authorizations that are due.
const DUE: usize = 10;
/// As the worker asks.
const DUE_MAX: u32 = 4_096;
const ROUNDS: usize = 20;
const TICKS: usize = 50;
const GROUPS: usize = 5;
const GROUP: usize = 64;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut arguments = arguments.iter().map(String::as_str).peekable();
    let mut many = None;
    while let Some(argument) = arguments.next() {
        match argument {
            "--bench" => many = many.or(Some(1_000_000)),
            "--many" => many = Some(arguments.next().context("--many needs a number")?.parse()?),
            other => bail!("{other} is unknown: there is --many"),
        }
    }
    let Some(many) = many else {
        // `cargo test --all-targets` starts it too.
        println!("nothing measured: run `cargo bench --bench watch`");
        return Ok(());
    };
    tokio::runtime::Runtime::new()?.block_on(measure([1_000, many]))
}

async fn measure(sizes: [usize; 2]) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("holdfast-bench-").tempdir()?;
    let mut sides = Vec::new();
    for size in sizes {
        let path = directory.path().join(format!("{size}.db"));
        let started = Instant::now();
        let ledger = filled(&path, size)?;
        println!("{size} authorizations written in {:.1} s", started.elapsed().as_secs_f32());
        sides.push(Side { size, ledger, ticks: Vec::new(), accepts: Vec::new(), accepted: 0 });
    }
    for round in 0..ROUNDS {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            sides[side].round().await?;
        }
    }
    println!("{:>14}  {:>16}  {:>26}", "authorizations", "tick, median µs", "accept a shipment, median µs");
    let medians: Vec<(u128, u128)> = sides.iter_mut().map(Side::medians).collect();
    for (side, (tick, accept)) in sides.iter().zip(&medians) {
        println!("{:>14}  {tick:>16}  {accept:>26}", side.size);
    }
    let [(few_tick, few_accept), (many_tick, many_accept)] = medians[..] else { bail!("two sides") };
    println!(
        "{:>14}  {:>16}  {:>26}",
        "ratio",
        Hundredths::of(many_tick, few_tick),
        Hundredths::of(many_accept, few_accept)
    );
    Ok(())
}

/// One of the two ledgers, and what was measured.
struct Side {
    size: usize,
    ledger: SqliteLedger,
    ticks: Vec<Duration>,
    accepts: Vec<Duration>,
    accepted: usize,
}

impl Side {
    async fn round(&mut self) -> anyhow::Result<()> {
        for _ in 0..TICKS {
            let started = Instant::now();
            let due = self.ledger.find_due(DUE_MAX).await?;
            self.ticks.push(started.elapsed());
            ensure!(due.others.len() == DUE, "{} are due", due.others.len());
        }
        for _ in 0..GROUPS {
            let commands = (0..GROUP).map(|number| shipment(self.accepted + number)).collect();
            self.accepted += GROUP;
            let started = Instant::now();
            let executed = self.ledger.execute(commands).await?;
            self.accepts.push(started.elapsed() / u32::try_from(GROUP)?);
            ensure!(executed.replies.iter().all(Result::is_ok), "a shipment was not accepted");
        }
        Ok(())
    }

    /// Of a tick, and of accepting a shipment, in microseconds.
    fn medians(&mut self) -> (u128, u128) {
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2].as_micros()
        };
        (median(&mut self.ticks), median(&mut self.accepts))
    }
}

/// A ledger that watches so many authorizations.
fn filled(path: &Path, size: usize) -> anyhow::Result<SqliteLedger> {
    drop(made::ledger(path, &ACCOUNTS)?);
    drop(made::ledger(path, &ACCOUNTS)?);
    let file = Connection::open(path)?;
    let now = clock::now();
    let micros = |span: Duration| i64::try_from(span.as_micros());
    file.execute_batch("PRAGMA synchronous = OFF; BEGIN")?;
    file.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
         INSERT INTO orders (order_row, order_id, progress, is_cancelled, is_closed, stored, captured, open, fees,
           refund_revision, awaiting, kept, sequence)
         SELECT 2 * i + 1, 'watched-' || i, '[]', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM n",
        [i64::try_from(size)?],
    )?;
    file.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
         INSERT INTO authorizations (authorization_row, account, reference, order_row, currency, authorized,
           is_amount_known, captured, reserved, excess, expires_at, expiry_is_derived, planned, in_flight, waiting, waiting_amount, single, reads,
           epoch, unresolved, held, watch_at, lead_at)
         SELECT 2 * i + 2, 'flex-' || (1 + i % 3), 'watched-' || i, 2 * i + 1, 'EUR', 10000, 1, 0, 0, 0,
           ?2 + i, 0, 0, 0, 0, 0, 'free', 0, 0, 0, 0, ?2 + i - ?3, ?2 + i - ?3 FROM n",
        params![
            i64::try_from(size)?,
            now.timestamp_micros() + micros(Duration::from_hours(7 * 24))?,
            micros(Duration::from_hours(48))?
        ],
    )?;
    file.execute(
        "UPDATE authorizations SET watch_at = ?1, lead_at = ?1 WHERE authorization_row <= ?2",
        [now.timestamp_micros(), i64::try_from(2 * DUE)?],
    )?;
    file.execute("UPDATE sequence SET next_row = ?1", [i64::try_from(2 * size + 10)?])?;
    file.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    drop(file);
    made::ledger(path, &ACCOUNTS)
}

/// The only shipment of a new order, worth a part of its new authorization.
fn shipment(number: usize) -> Command {
    let id = format!("new-{number}");
    let currency = Currency::parse("EUR").expect("a currency");
    let ten = Money::from_minor(1_000, currency).expect("positive");
    let notice = ShipmentNotice {
        order: OrderId::parse(&id).expect("an id"),
        shipment: ShipmentId::parse("s1").expect("an id"),
        is_final: false,
        lines: Vec::new(),
        amount: Some(ten.to_major()),
        authorization: Some(AuthorizationFacts {
            account: AccountName::parse(ACCOUNTS[number % ACCOUNTS.len()]).expect("an id"),
            reference: Reference::parse(&id).expect("an id"),
            currency,
            amount: Some(Money::from_minor(5_000, currency).expect("positive")),
            authorized_at: None,
            expires_at: Some(expiry(number)),
        }),
        plan: None,
    };
    let raw = made::raw(format!("{{\"shipment\": {number}}}").into());
    let arrival = Arrival { notice, event_id: id, data_path: "$", raw, start: true };
    Command::Accept(Box::new(arrival))
}

/// Somewhere among those that are watched.
fn expiry(number: usize) -> Timestamp {
    let spread = Duration::from_secs(u64::try_from(number % 86_400).unwrap_or_default());
    clock::after(clock::now(), Duration::from_hours(6 * 24) + spread)
}

/// A ratio, with two decimals.
struct Hundredths(u128);

impl Hundredths {
    fn of(many: u128, few: u128) -> Self {
        Self(many * 100 / few.max(1))
    }
}

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:02}", self.0 / 100, self.0 % 100))
    }
}
