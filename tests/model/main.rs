//! The protocol as a model: everything that can happen in it, within small bounds, every order of it.
//!
//! A state has a ledger, which is the memory ledger's own tables; every change of it is made by the core, from
//! `decide` down. Around it are a queue that repeats, workers that are killed between any two steps or are
//! taken for dead and are not, requests that are lost or late, and a provider that treats keys and limits in
//! whichever way its documentation leaves open. `stateright` explores it and holds the promises against every
//! state; that everything can still come to its end from every state is found out by a walk back.
//!
//! `cargo test --test model -- --nocapture` prints what was explored.
//! `HOLDFAST_MODEL_ONLY=batch` explores the configurations with that in their name,
//! `HOLDFAST_MODEL_BOUND=large cargo test --release --test model -- --nocapture` explores more.

mod action;
mod canon;
mod facts;
mod ledgers;
#[cfg(debug_assertions)]
mod mutants;
mod promise;
mod protocol;
mod provider;
mod reach;
mod setup;
mod setups;
mod shortcut;
mod verdict;
mod world;

use std::fmt::Write as _;

use stateright::{Checker, HasDiscoveries, Model};

use promise::Promise;
use protocol::Protocol;
use setup::Setup;
use setups::Bound;
use shortcut::Shortcut;

#[test]
fn every_configuration_keeps_the_promises() {
    let (mut total, mut broken) = (0, String::new());
    say(&format!("{:<46} {:>8} {:>9} {:>8} {:>9}", "configuration", "states", "steps", "ledgers", "commands"));
    let only = std::env::var("HOLDFAST_MODEL_ONLY").unwrap_or_default();
    for setup in setups::all(Bound::chosen()).into_iter().filter(|setup| setup.name.contains(&only)) {
        let name = setup.name;
        let Run { states, steps, ledgers, commands, verdict, story } = Run::of(setup, None);
        let words = verdict.unwrap_or("holds");
        say(&format!("{name:<46} {states:>8} {steps:>9} {ledgers:>8} {commands:>9}  {words}"));
        total += states;
        if verdict.is_some() {
            writeln!(broken, "{name}: {words}\n{story}").expect("text");
        }
    }
    say(&format!("{total} states in all"));
    assert!(broken.is_empty(), "{broken}");
}

/// What exploring a configuration came to.
struct Run {
    verdict: Option<&'static str>,
    story: String,
    states: usize,
    steps: usize,
    ledgers: usize,
    commands: usize,
}

/// What is said when everything cannot come to its end any more.
const STUCK: &str = "L1 cannot come to its end";

impl Run {
    fn of(setup: Setup, shortcut: Option<Shortcut>) -> Self {
        let protocol = Protocol::new(setup, shortcut);
        let builder = protocol.clone().checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
        let checker = builder.spawn_bfs().join();
        let discoveries = checker.discoveries().into_iter().map(|(name, path)| (name, path.into_vec()));
        let first = discoveries.min_by_key(|(_, path)| path.len());
        let mut story = String::new();
        let mut verdict = None;
        if let Some((name, path)) = first {
            verdict = Promise::ALL.iter().map(|(_, words)| *words).find(|words| *words == name);
            for (state, action) in path {
                let explored = protocol.explored();
                writeln!(story, "{:?}\n  -> {action:?}", explored.world(state)).expect("text");
            }
        } else {
            let explored = protocol.explored();
            let stuck = explored.graph.stuck();
            if let Some(state) = stuck.first() {
                verdict = Some(STUCK);
                writeln!(story, "{} of {:?} states", stuck.len(), explored.graph.counts()).expect("text");
                for state in [state, stuck.last().expect("there is one")] {
                    let world = explored.world(*state);
                    writeln!(story, "{world:?} {:?}", explored.ledgers.facts(world.ledger)).expect("text");
                }
            }
        }
        let explored = protocol.explored();
        let ((states, steps), (ledgers, commands)) = (explored.graph.counts(), explored.ledgers.counts());
        Self { verdict, story, states, steps, ledgers, commands }
    }
}

#[expect(clippy::print_stderr, reason = "what was explored is shown with --nocapture")]
fn say(text: &str) {
    eprintln!("{text}");
}
