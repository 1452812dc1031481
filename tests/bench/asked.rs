//! What is to be measured, as the command line says it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::load;
use crate::observed::Observed;
use crate::process::Side;

/// Shipments where the provider answers at once.
const SIZE: usize = 20_000;

/// Shipments for each worker where it does not: a quarter of a minute with 64 calls at a time of 200 ms.
const SIZE_LATE: usize = 5_000;

/// Calls at a time of each worker where the provider takes its time: the default of the settings.
const CONCURRENCY_LATE: usize = 64;

/// How long shipments are published one by one.
const SECONDS_PACED: usize = 20;

/// Where the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerKind {
    /// A file.
    Sqlite,
    /// A server, on the disk of the build.
    Postgres,
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Of everything, so many times.
    pub rounds: usize,
    /// Where the ledger is.
    pub ledger: LedgerKind,
    workers: Vec<usize>,
    latency: Duration,
    concurrency: Option<usize>,
    size: Option<usize>,
    only: Option<Side>,
    /// Settled captures in a ledger that is measured beside an empty one.
    pub filled: Option<usize>,
    rate: Option<u32>,
    /// Are the statements of SQLite counted?
    pub counts_statements: bool,
    /// Shares of traces to be recorded, one worker for each without and with its metrics read.
    observed: Vec<f64>,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// From 1.
    pub round: usize,
    /// Who captures.
    pub side: Side,
    /// Shipments captured.
    pub size: usize,
    /// Processes that capture them.
    pub workers: usize,
    /// What the provider takes for a capture.
    pub latency: Duration,
    /// Calls at a time of each process.
    pub concurrency: usize,
    /// The number of the first order: those before it are in the ledger already.
    pub first: usize,
    /// Shipments a second, published one by one; none: all of them beforehand.
    pub rate: Option<u32>,
    /// What of the worker is watched meanwhile, where that is measured.
    pub observed: Option<Observed>,
}

impl Setup {
    /// What its lines are called.
    pub fn name(&self) -> String {
        self.observed.map_or_else(|| self.side.name().to_owned(), |observed| observed.to_string())
    }
}

impl Asked {
    /// Reads the command line.
    pub fn parse(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut asked = Self {
            rounds: 0,
            ledger: LedgerKind::Sqlite,
            workers: vec![1],
            latency: Duration::ZERO,
            concurrency: None,
            size: None,
            only: None,
            filled: None,
            rate: None,
            counts_statements: false,
            observed: Vec::new(),
        };
        let size = std::env::var("HOLDFAST_TEST_BENCH_SIZE").ok();
        asked.size = size.map(|size| size.parse()).transpose().context("HOLDFAST_TEST_BENCH_SIZE is not a number")?;
        let mut rest = arguments.iter().filter(|argument| **argument != "--bench");
        while let Some(name) = rest.next() {
            let value = rest.next().with_context(|| format!("{name} needs a value"))?;
            asked.take(name, value)?;
        }
        if asked.rounds == 0 {
            asked.rounds = if asked.is_a_race() || asked.is_observed() { 3 } else { 1 };
        }
        ensure!(asked.workers.iter().all(|workers| *workers > 0), "--workers are one at least");
        let is_one = asked.workers == [1];
        ensure!(is_one || asked.ledger == LedgerKind::Postgres, "more workers than one need --ledger postgres");
        ensure!(asked.rate != Some(0), "--rate is one at least");
        let can_be_filled = asked.is_a_race() && asked.ledger == LedgerKind::Sqlite;
        let is_sqlite = asked.ledger == LedgerKind::Sqlite;
        ensure!(!asked.counts_statements || is_sqlite, "PostgreSQL counts its statements by itself, without --count");
        ensure!(asked.filled.is_none() || can_be_filled, "--filled is measured by itself, on SQLite");
        let may_be_observed = is_one && asked.rate.is_none() && asked.filled.is_none() && asked.only.is_none();
        ensure!(!asked.is_observed() || may_be_observed, "--traces is measured by itself, with one worker");
        ensure!(asked.observed.iter().all(|ratio| (0.0..=1.0).contains(ratio)), "--traces are from 0 to 1");
        Ok(asked)
    }

    fn take(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        match name {
            "--size" => self.size = Some(value.parse()?),
            "--rounds" => self.rounds = value.parse()?,
            "--only" => self.only = Some(Side::parse(value)?),
            "--workers" => self.workers = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--latency" => self.latency = humantime::parse_duration(value)?,
            "--concurrency" => self.concurrency = Some(value.parse()?),
            "--filled" => self.filled = Some(value.parse()?),
            "--rate" => self.rate = Some(value.parse()?),
            "--count" => {
                ensure!(value == "statements", "{value} cannot be counted: there are statements");
                self.counts_statements = true;
            }
            "--traces" => self.observed = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--ledger" => {
                self.ledger = match value {
                    "sqlite" => LedgerKind::Sqlite,
                    "postgres" => LedgerKind::Postgres,
                    other => bail!("{other} is neither sqlite nor postgres"),
                }
            }
            other => bail!(
                "{other} is unknown: there are --size, --rounds, --only holdfast|bare, --ledger sqlite|postgres, \
                 --workers (such as 1,2,4), --latency (such as 200ms), --concurrency, --filled, --rate, --count statements \
                 and --traces (such as 0,0.01,1)"
            ),
        }
        Ok(())
    }

    /// Holdfast beside another, rather than by itself.
    pub fn is_a_race(&self) -> bool {
        self.workers == [1] && self.latency.is_zero() && self.rate.is_none() && !self.is_observed()
    }

    /// What watching a worker costs it.
    pub fn is_observed(&self) -> bool {
        !self.observed.is_empty()
    }

    /// Whom Holdfast is measured beside.
    pub fn rival(&self) -> Side {
        if self.filled.is_some() { Side::Filled } else { Side::Bare }
    }

    /// The measurements of a round, in their order.
    pub fn setups(&self, round: usize) -> Vec<Setup> {
        if self.is_observed() {
            return self.observations(round);
        }
        let sides = match (self.is_a_race(), round % 2 == 1) {
            (true, true) => vec![Side::Holdfast, self.rival()],
            (true, false) => vec![self.rival(), Side::Holdfast],
            (false, _) => vec![self.only.unwrap_or(Side::Holdfast)],
        };
        let sides = sides.into_iter().filter(|side| self.only.is_none_or(|only| only == *side));
        let setup = |side| self.workers.iter().map(move |workers| self.setup(round, side, *workers));
        sides.flat_map(setup).collect()
    }

    /// The same, one after the other and back again in the next round.
    fn observations(&self, round: usize) -> Vec<Setup> {
        let both = |ratio: &f64| [false, true].map(|is_read| Observed { ratio: *ratio, is_read });
        let setup = |observed| Setup { observed: Some(observed), ..self.setup(round, Side::Holdfast, 1) };
        let mut setups: Vec<Setup> = self.observed.iter().flat_map(both).map(setup).collect();
        if round.is_multiple_of(2) {
            setups.reverse();
        }
        setups
    }

    fn setup(&self, round: usize, side: Side, workers: usize) -> Setup {
        let is_late = !self.latency.is_zero();
        let usual = match self.rate {
            Some(rate) => usize::try_from(rate).unwrap_or(usize::MAX).saturating_mul(SECONDS_PACED),
            None if is_late => SIZE_LATE * workers,
            None => SIZE,
        };
        // Two shipments of each order.
        let size = self.size.unwrap_or(usual).next_multiple_of(2).max(2);
        let settled = self.filled.unwrap_or(0) + (round - 1) * size;
        let concurrency = if is_late { CONCURRENCY_LATE } else { load::CONCURRENCY };
        Setup {
            round,
            side,
            size,
            workers,
            latency: self.latency,
            concurrency: self.concurrency.unwrap_or(concurrency),
            first: if side == Side::Filled { settled / 2 } else { 0 },
            rate: self.rate,
            observed: None,
        }
    }
}
