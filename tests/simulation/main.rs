//! The core under everything that can go wrong, in thousands of small worlds.
//!
//! A world has a queue that repeats, reorders and changes messages; a worker in miniature that crashes
//! at any step, is suspended, and whose wall clock steps; two kinds of providers with books of their
//! own, behind a network that loses, delays and garbles; and a consumer that remembers what it was
//! told. The ledger and every decision are the real ones. One seeded scheduler owns the time: the same
//! seed is the same world, step by step. After every step the invariants are checked; then faults
//! stop, and everything has to come to an end, with books that agree.
//!
//! `cargo test --test simulation` runs some hundred worlds. `HOLDFAST_TEST_SEEDS=10000` runs more,
//! `HOLDFAST_TEST_SEED=42` repeats one and tells its last steps if it fails.

mod broker;
mod clock;
mod consumer;
mod deadlines;
mod fault;
mod invariants;
mod mutant;
#[cfg(debug_assertions)]
mod mutants;
mod network;
mod operator;
mod provider;
mod relay;
mod replays;
mod scenario;
mod worker;
mod world;

use std::fmt::Write as _;
use std::time::Duration;

use fault::Tally;
use mutant::Mutant;
use world::{Failure, World};

/// Worlds in a run, where nobody says otherwise.
const SEEDS: u64 = 300;
/// Orders in a world.
const ORDERS: usize = 20;
/// Worlds in which a mutant has to be caught.
const MUTANT_SEEDS: u64 = 200;

#[test]
fn every_world_keeps_the_promises() {
    if let Some(seed) = setting("HOLDFAST_TEST_SEED") {
        let tally = World::new(seed, ORDERS, None).tracing().live(seed);
        say(&tally.map_or_else(|failure| panic!("{}", describe(&failure)), |tally| report(1, &tally)));
        return;
    }
    let seeds = setting("HOLDFAST_TEST_SEEDS").unwrap_or(SEEDS);
    let mut total = Tally::default();
    for seed in 0..seeds {
        let Ok(tally) = World::new(seed, ORDERS, None).live(seed) else {
            // Lived again, this time with a record of its steps.
            let again = World::new(seed, ORDERS, None).tracing().live(seed);
            panic!("{}", describe(&again.expect_err("the same seed is the same world")));
        };
        assert!(tally.faults_total() >= 10, "seed {seed} had {} faults only", tally.faults_total());
        total.add(&tally);
    }
    say(&report(seeds, &total));
}

#[test]
fn every_wrong_loop_is_caught() {
    let mut table = String::new();
    for (mutant, rules) in Mutant::ALL {
        let caught = (0..MUTANT_SEEDS).find_map(|seed| World::new(seed, ORDERS, Some(mutant)).live(seed).err());
        let caught = caught.unwrap_or_else(|| panic!("{mutant:?} survives {MUTANT_SEEDS} worlds"));
        let Failure { seed, what, .. } = caught;
        assert!(rules.iter().any(|rule| what.starts_with(rule)), "{mutant:?} is caught for {what}, not for {rules:?}");
        let control = World::new(seed, ORDERS, None).live(seed);
        assert!(control.is_ok(), "the same world without {mutant:?} fails too");
        writeln!(table, "{mutant:?}: seed {seed}: {what}").expect("a string takes everything");
    }
    say(&table);
}

#[test]
fn a_clock_that_jumps_loses_no_deadline_and_repeats_none() {
    let mut total = Tally::default();
    let seeds = setting("HOLDFAST_TEST_SEEDS").unwrap_or(SEEDS) / 3;
    for seed in 0..seeds {
        let world = || World::new(seed, ORDERS, None).jumping();
        let Ok(tally) = world().live(seed) else {
            panic!("{}", describe(&world().tracing().live(seed).expect_err("the same seed is the same world")));
        };
        total.add(&tally);
    }
    say(&report(seeds, &total));
}

fn report(seeds: u64, total: &Tally) -> String {
    let time = Duration::from_secs(total.seconds).as_secs() / 86_400;
    let mut text = format!(
        "{seeds} worlds held: {} orders, {} steps, {} faults, {} pairs of state and fault, {time} days\n",
        total.orders,
        total.steps,
        total.faults_total(),
        total.pairs.len(),
    );
    for (fault, count) in &total.faults {
        writeln!(text, "  {fault:?}: {count}").expect("a string takes everything");
    }
    for (end, count) in &total.ends {
        writeln!(text, "  -> {end}: {count}").expect("a string takes everything");
    }
    text
}

fn describe(failure: &Failure) -> String {
    let Failure { seed, what, log } = failure;
    let steps: Vec<&str> = log.iter().map(String::as_str).collect();
    format!(
        "{}\n\n{what}\n\nrepeat with: HOLDFAST_TEST_SEED={seed} cargo test --test simulation every_world",
        steps.join("\n")
    )
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: give a seed, or how many")))
}

#[expect(clippy::print_stderr, reason = "what a run covered is shown with --nocapture")]
fn say(text: &str) {
    eprintln!("{text}");
}
