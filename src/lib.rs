//! Holdfast captures card authorizations as orders ship.

// 1 delivery in, 7 publish out
pub mod broker;

// 2 decode
pub mod message;

// 3 accept, 5 judge
pub mod capture;

// 4 call
pub mod provider;

// 6 remember
pub mod ledger;

// the four loops
pub mod worker;

// what ended without its money
pub mod dead_letter;

// whether the books are right
pub mod audit;

// three pretend providers with real books
pub mod sandbox;

// one file per command
pub mod cli;

// encrypted connections, for broker and ledger
pub mod tls;

// health and metrics
pub mod http;

// files that nobody else can read
pub mod private_file;

// raw settings to checked ones
pub mod settings;

// named crash points, in debug builds
pub mod crash;

// named shortcuts that tests must catch, in debug builds
pub mod mutant;

// what fuzzing tries, and what it once found
#[cfg(any(test, fuzzing))]
pub mod fuzz;

// logs and alarms
pub mod telemetry;

// time
pub mod clock;

// identities
pub mod ids;

// exact money
pub mod money;
