//! The figures, in whole numbers.

use std::fmt;
use std::time::Duration;

use crate::asked::Setup;
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
}

impl Measured {
    /// Over the lines.
    pub const HEADING: &str = "\
round  side       workers  calls   captures/s   CPU µs per capture   PostgreSQL   provider   broker   \
statements   transactions";

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
        let Setup { round, side, workers, concurrency, .. } = self.setup;
        let (side, rate) = (side.name(), self.per_second());
        let (own, provider, broker) = (self.each(self.own), self.each(self.provider), self.each(self.broker));
        let of_postgres = |figure: &dyn Fn(Done) -> String| self.postgres.map_or_else(|| "-".to_owned(), figure);
        let cpu = of_postgres(&|done| self.each(done.cpu).to_string());
        let statements = of_postgres(&|done| self.hundredths(done.statements));
        let transactions = of_postgres(&|done| self.hundredths(done.transactions));
        write!(
            f,
            "{round:>5}  {side:<9}  {workers:>7}  {concurrency:>5}   {rate:>10}   {own:>18}   {cpu:>10}   \
             {provider:>8}   {broker:>6}   {statements:>10}   {transactions:>12}"
        )
    }
}

/// Medians, and what they come to beside each other.
pub fn summary(measured: &[Measured]) {
    let of = |side| measured.iter().filter(move |one| one.setup.side == side);
    let rate = |side| median(of(side).map(Measured::per_second));
    let cpu = |side| median(of(side).map(|one| one.each(one.own)));
    for side in [Side::Holdfast, Side::Bare] {
        if let (Some(rate), Some(cpu)) = (rate(side), cpu(side)) {
            println!("median {:<9}  {rate:>10}   {cpu:>18}", side.name());
        }
    }
    let ratio = |ours: Option<u128>, bare: Option<u128>| Some((ours?, bare.filter(|bare| *bare > 0)?));
    if let Some((ours, bare)) = ratio(rate(Side::Holdfast), rate(Side::Bare)) {
        println!("throughput, holdfast / bare loop: {}", Hundredths(ours * 100 / bare));
    }
    if let Some((ours, bare)) = ratio(cpu(Side::Holdfast), cpu(Side::Bare)) {
        println!("CPU per capture, holdfast / bare loop: {}", Hundredths(ours * 100 / bare));
    }
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
