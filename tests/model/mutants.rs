//! Shortcuts, each in a configuration that holds without it, and the promise that breaks.
//!
//! Fourteen are taken by the core itself, at the lines where `src/mutant.rs` has them. Three are mistakes of the
//! loops and the adapter around it, and are made by the model's own: `ack_early`, `send_before_intent` (as
//! there: a ledger that answers before it commits) and `new_key_on_used`.

use std::fmt::Write as _;

use holdfast::mutant::Mutant;

use crate::setup::Setup;
use crate::setups::{self, Bound};
use crate::{Run, STUCK, say};

/// Each shortcut, the beginning of what is said when it is caught, and the configurations that catch it.
const CAUGHT: [(Mutant, &str, &[&str]); 18] = [
    (Mutant::NewKeyOnUsed, "S1", &["A changed payload, keys first", "P a part, keys forgotten"]),
    (Mutant::RejectIsFinal, "S7", &["C all of it twice, limits first"]),
    (Mutant::AbsenceIsFailure, "S7", &["A changed payload, keys first"]),
    (Mutant::TimeoutIsFailure, "S7", &["A changed payload, keys first"]),
    (Mutant::UsedIsSuccess, "S7", &["A refusals remembered"]),
    (Mutant::AckEarly, "S8", &["A changed payload, keys first"]),
    (Mutant::NoReserve, "S3", &["B 1 + 2 of 2, keys first"]),
    (Mutant::ReplanOnChange, "S5", &["A changed payload, keys first"]),
    (Mutant::ReplanWithNewKey, "S5", &["A changed payload, keys first"]),
    (Mutant::SendBeforeIntent, "S4", &["C all of it twice, limits first"]),
    (Mutant::ResendAfterHorizon, "S1", &["P a part, keys forgotten"]),
    (Mutant::NoSendDeadline, "S1", &["P two workers"]),
    (Mutant::NoFence, "S11", &["C two workers"]),
    (Mutant::ReadOnlyAfterWindow, STUCK, &["F a part, never dies", "F keys forgotten"]),
    (Mutant::RefusalStaysOpen, STUCK, &["S a read does not show it"]),
    (Mutant::ForeignStaysOpen, STUCK, &["S the provider captures in full"]),
    (Mutant::NoQuiet, "S1", &["F declines, two requests"]),
    (Mutant::NoQuiet, "S7", &["S declines"]),
];

#[test]
fn every_shortcut_breaks_its_promise() {
    let setups = setups::all(Bound::Small);
    assert!(Mutant::ALL.iter().all(|mutant| CAUGHT.iter().any(|(known, ..)| known == mutant)), "one is missing");
    say(&format!("{:<34} {:<46} {:>8}  {}", "shortcut", "configuration", "states", "what breaks"));
    let mut wrong = String::new();
    for (mutant, promise, names) in CAUGHT {
        for name in names {
            let setup: &Setup = setups.iter().find(|setup| setup.name == *name).expect("a configuration");
            // That it holds without is `every_configuration_keeps_the_promises`.
            let run = Run::of(setup.clone(), Some(mutant));
            let breaks = run.verdict.unwrap_or("holds");
            say(&format!("{:<34} {name:<46} {:>8}  {breaks}", mutant.as_str(), run.states));
            if !breaks.starts_with(promise) {
                writeln!(wrong, "{} in {name}: {breaks}, not {promise}\n{}", mutant.as_str(), run.story).expect("text");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
