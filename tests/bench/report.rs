//! The figures, in whole numbers.

use std::fmt;
use std::time::Duration;

use crate::asked::Setup;
use crate::counted::Counts;
use crate::paced::Latency;
use crate::process::Side;
use crate::server::Done;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Of what.
    pub setup: Setup,
    /// From the first consume to the last event received.
    pub took: Duration,
    /// CPU time of the side itself, all its processes.
    pub own: Duration,
    /// CPU time of the provider.
    pub provider: Duration,
    /// CPU time of the broker.
    pub broker: Duration,
    /// What PostgreSQL did, where the ledger is there.
    pub postgres: Option<Done>,
    /// The most that a process of the side had in memory, in bytes.
    pub memory: u64,
    /// Transactions that its ledger committed, where it counts them.
    pub commits: Option<u64>,
    /// What its workers asked of disk and SQLite.
    pub counts: Counts,
    /// From its start until it consumed.
    pub start: Duration,
    /// What one shipment took, where they came one by one.
    pub latency: Option<Latency>,
}

impl Measured {
    /// Over the lines.
    pub const HEADING: &str = "\
round  side       workers  calls   captures/s   CPU µs per capture   PostgreSQL   provider   broker   \
statements   transactions   syncs   memory MiB   start ms   p50 ms   p99 ms";

    fn per_second(&self) -> u128 {
        count(self.setup.size) * 1_000_000 / self.took.as_micros().max(1)
    }

    fn each(&self, cpu: Duration) -> u128 {
        cpu.as_micros() / count(self.setup.size)
    }

    fn hundredths(&self, number: u64) -> String {
        Hundredths(u128::from(number) * 100 / count(self.setup.size)).to_string()
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { round, workers, concurrency, .. } = self.setup;
        let (side, rate) = (self.setup.name(), self.per_second());
        let (own, provider, broker) = (self.each(self.own), self.each(self.provider), self.each(self.broker));
        let cpu = self.postgres.map_or_else(|| "-".to_owned(), |done| self.each(done.cpu).to_string());
        let counted = |by_postgres: fn(Done) -> u64, by_us: Option<u64>| {
            let count = self.postgres.map(by_postgres).or(by_us);
            count.map_or_else(|| "-".to_owned(), |count| self.hundredths(count))
        };
        let statements = counted(|done| done.statements, self.counts.statements);
        let transactions = counted(|done| done.transactions, self.commits);
        let syncs = counted(|done| done.syncs, self.counts.syncs);
        let (memory, start) = (self.memory >> 20, self.start.as_millis());
        let of_latency = |figure: fn(Latency) -> Duration| {
            self.latency
                .map_or_else(|| "-".to_owned(), |latency| Hundredths(figure(latency).as_micros() / 10).to_string())
        };
        let (p50, p99) = (of_latency(|latency| latency.p50), of_latency(|latency| latency.p99));
        write!(
            f,
            "{round:>5}  {side:<9}  {workers:>7}  {concurrency:>5}   {rate:>10}   {own:>18}   {cpu:>10}   \
             {provider:>8}   {broker:>6}   {statements:>10}   {transactions:>12}   {syncs:>5}   {memory:>10}   {start:>8}   {p50:>6}   {p99:>6}"
        )
    }
}

/// What workers have in memory while nothing is to be done.
pub fn idle(memory: &[u64]) {
    let largest = memory.iter().max().copied().unwrap_or_default();
    println!("idle: {} MiB", Hundredths((u128::from(largest) * 100) >> 20));
}

/// What a ledger holds before it is measured.
pub fn filled(captures: usize, bytes: u64, took: Duration) {
    println!("filled: {captures} captures in {} MiB, in {} s", bytes >> 20, took.as_secs());
}

/// Medians, and what they come to beside each other.
pub fn summary(measured: &[Measured], rival: Side) {
    let of = |side| measured.iter().filter(move |one| one.setup.side == side);
    let rate = |side| median(of(side).map(Measured::per_second));
    let cpu = |side| median(of(side).map(|one| one.each(one.own)));
    for side in [Side::Holdfast, rival] {
        if let (Some(rate), Some(cpu)) = (rate(side), cpu(side)) {
            println!("median {:<9}  {rate:>10} captures/s, {cpu} µs of CPU each", side.name());
        }
    }
    let ratio = |what: &str, left: Option<u128>, right: Option<u128>| {
        if let (Some(left), Some(right)) = (left, right.filter(|right| *right > 0)) {
            println!("{what}: {}", Hundredths(left * 100 / right));
        }
    };
    // What is compared with what stands in the README: ours by the bare loop's, and the full ledger's by ours.
    let (left, right) = if rival == Side::Filled { (rival, Side::Holdfast) } else { (Side::Holdfast, rival) };
    let names = format!("{} / {}", left.name(), right.name());
    ratio(&format!("throughput, {names}"), rate(left), rate(right));
    ratio(&format!("CPU per capture, {names}"), cpu(left), cpu(right));
}

/// Medians of each way to watch a worker, beside the first.
pub fn observed(measured: &[Measured]) {
    let names: Vec<String> = measured.iter().filter(|one| one.setup.round == 1).map(|one| one.setup.name()).collect();
    let of = |name: &str| {
        let ones = measured.iter().filter(|one| one.setup.name() == name);
        let rate = median(ones.clone().map(Measured::per_second))?;
        Some((rate.max(1), median(ones.map(|one| one.each(one.own)))?.max(1)))
    };
    let Some((rate_first, cpu_first)) = names.first().and_then(|first| of(first)) else { return };
    for name in &names {
        if let Some((rate, cpu)) = of(name) {
            let (faster, dearer) = (Hundredths(rate * 100 / rate_first), Hundredths(cpu * 100 / cpu_first));
            println!("median traces {name:<9}  {rate:>10} captures/s ({faster}), {cpu} µs of CPU each ({dearer})");
        }
    }
}

/// What came to the collector of traces.
pub fn exported(name: &str, bytes: u64) {
    println!("traces {name}: {} KiB came to the collector", bytes >> 10);
}

struct Hundredths(u128);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

fn median(values: impl Iterator<Item = u128>) -> Option<u128> {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn count(size: usize) -> u128 {
    u128::try_from(size).unwrap_or(u128::MAX)
}
