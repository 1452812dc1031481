//! One integration binary: real brokers, real servers, real files. A file per behaviour.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod both;

mod accounts;
mod adapters;
mod audit;
mod backlog;
mod bad_input;
mod broker;
mod by_hand;
mod canary;
mod caps;
mod clocks;
mod companions;
mod contract;
mod crash;
mod deadline;
mod doctor;
mod flow;
#[cfg(debug_assertions)]
mod mutants;
mod official_client;
mod orders;
mod orphans;
mod outage;
mod overload;
mod postgres_away;
mod producers;
mod replay;
mod restore;
mod retention;
mod runbook;
mod senders;
mod service;
mod support;
mod threat_model;
mod tls;
mod traces;
mod workers;

// Of a process only Linux tells its peak of memory and lets others bound its files; and `script`, which
// makes terminals, differs elsewhere.
#[cfg(target_os = "linux")]
mod alerts;
#[cfg(target_os = "linux")]
mod replay_through_failures;
#[cfg(target_os = "linux")]
mod screens;
#[cfg(target_os = "linux")]
mod terminal;
