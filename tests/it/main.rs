//! One integration binary: real brokers, real servers, real files. A file per behaviour.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod adapters;
mod audit;
mod backlog;
mod bad_input;
mod broker;
mod by_hand;
mod clocks;
mod companions;
mod crash;
mod deadline;
mod doctor;
mod flow;
#[cfg(debug_assertions)]
mod mutants;
mod official_client;
mod orders;
mod outage;
mod overload;
mod replay;
mod restore;
mod retention;
mod runbook;
mod support;
mod workers;
