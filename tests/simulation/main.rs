//! The core under everything that can go wrong, in thousands of small worlds.
//!
//! A world has a queue that repeats, reorders and changes messages; one to three workers in miniature that share a
//! ledger, crash at any step, sleep longer than their leases, are suspended, and whose machine has a wall clock
//! that steps, and starts anew; two kinds of providers with books of their own, behind a network that loses, delays
//! and garbles; a consumer that remembers what it was told; and operators, who look, close, try again, and put a
//! copy of the ledger in its place. The ledger and every decision are the real ones. One seeded scheduler owns the
//! time: the same seed is the same world, step by step. After every step the invariants are checked; then faults
//! stop, and everything has to come to an end, with books that agree.
//!
//! Dense worlds have one or two orders, to which what is rare elsewhere happens all the time.
//!
//! `cargo test --test simulation` runs some hundred worlds, and some thousand dense ones, on all cores.
//! `HOLDFAST_TEST_SEEDS=100000` runs more, from `HOLDFAST_TEST_FROM` on. What fails is made smaller, and the command
//! that repeats it is printed.

mod at_rest;
mod broker;
mod caps;
mod case;
mod chaos;
mod clock;
mod consumer;
mod crew;
mod deadlines;
mod dials;
mod fault;
mod invariants;
mod mutant;
#[cfg(debug_assertions)]
mod mutants;
mod network;
mod operator;
mod pace;
mod provider;
mod relay;
mod replays;
mod restoring;
mod run;
mod scenario;
mod shrink;
mod worker;
mod world;

use std::fmt::Write as _;

use case::Case;
use mutant::Mutant;
use world::{Failure, World};

/// Worlds in a run, where nobody says otherwise.
const SEEDS: u64 = 300;
/// So many dense worlds for each other one, which take as long.
const DENSE: u64 = 10;
/// Worlds in which a mutant has to be caught.
const MUTANT_SEEDS: u64 = 200;

#[test]
fn every_world_keeps_the_promises() {
    if let Some(case) = Case::asked_for(false) {
        return live_again(&case);
    }
    let total = run::live_all(seeds(), Case::of);
    assert!(total.faults_min >= Some(10), "a world had {:?} faults only", total.faults_min);
    say(&run::report(&total));
}

#[test]
fn every_dense_world_keeps_the_promises() {
    if let Some(case) = Case::asked_for(true) {
        return live_again(&case);
    }
    let seeds = setting("HOLDFAST_TEST_SEEDS").unwrap_or(SEEDS * DENSE);
    say(&run::report(&run::live_all(seeds, |seed| Case::of(seed).dense())));
}

#[test]
fn every_wrong_loop_is_caught() {
    let mut table = String::new();
    for (mutant, rules) in Mutant::ALL {
        let caught = (0..MUTANT_SEEDS).find_map(|seed| World::new(&Case::of(seed), Some(mutant)).live().err());
        let caught = caught.unwrap_or_else(|| panic!("{mutant:?} survives {MUTANT_SEEDS} worlds"));
        let Failure { case, what, .. } = &*caught;
        assert!(rules.contains(&caught.rule()), "{mutant:?} is caught for {what}, not for {rules:?}");
        let control = World::new(case, None).live();
        assert!(control.is_ok(), "the same world without {mutant:?} fails too");
        writeln!(table, "{mutant:?}: seed {}: {what}", case.seed).expect("a string takes everything");
    }
    say(&table);
}

#[test]
fn a_clock_that_jumps_loses_no_deadline_and_repeats_none() {
    let total = run::live_all(seeds() / 3, |seed| Case::of(seed).jumping());
    say(&run::report(&total));
}

#[test]
fn a_failure_is_shrunk_to_what_it_takes() {
    let mutant = Some(Mutant::NoAmount);
    let failure = (0..MUTANT_SEEDS).find_map(|seed| World::new(&Case::of(seed), mutant).live().err());
    let failure = *failure.expect("it is caught");
    let rule = failure.rule().to_owned();
    let shrunk = shrink::shrink(failure, mutant);
    assert_eq!((shrunk.rule(), shrunk.case.orders.len()), (&*rule, 1), "{:?}", shrunk.case);
    let again = World::new(&shrunk.case, mutant).live().expect_err("the same case is the same world");
    assert_eq!(again.what, shrunk.what);
    let command = shrunk.case.command();
    assert!(command.contains("HOLDFAST_TEST_ORDERS=") && command.contains("HOLDFAST_TEST_WITHOUT="), "{command}");
    say(&command);
}

fn live_again(case: &Case) {
    let lived = World::new(case, None).tracing().live();
    say(&lived.map_or_else(|failure| panic!("{}", run::describe(&failure)), |tally| run::report(&tally)));
}

fn seeds() -> u64 {
    setting("HOLDFAST_TEST_SEEDS").unwrap_or(SEEDS)
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: give a seed, or how many")))
}

#[expect(clippy::print_stderr, reason = "what a run covered is shown with --nocapture")]
fn say(text: &str) {
    eprintln!("{text}");
}
