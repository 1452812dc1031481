//! Numbers of the hot path: each is looked up once per thread, because a look-up costs more than
//! what it is looked up for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::metric;
use crate::ids::AccountName;

type Key = (AccountName, &'static str);

thread_local! {
    static CAPTURES: RefCell<HashMap<Key, Counter>> = RefCell::default();
    static ATTEMPTS: RefCell<HashMap<Key, Counter>> = RefCell::default();
    static CALLS: RefCell<HashMap<Key, Histogram>> = RefCell::default();
}

/// Counts an outcome.
pub fn count_outcome(account: &AccountName, outcome: &'static str) {
    let new = || metrics::counter!(metric::CAPTURES, "account" => account.to_string(), "outcome" => outcome);
    CAPTURES.with_borrow_mut(|known| known.entry((account.clone(), outcome)).or_insert_with(new).increment(1));
}

/// Counts an answer to a capture request, or its absence, by what it shows.
pub fn count_attempt(account: &AccountName, evidence: &'static str) {
    let new = || metrics::counter!(metric::ATTEMPTS, "account" => account.to_string(), "evidence" => evidence);
    ATTEMPTS.with_borrow_mut(|known| known.entry((account.clone(), evidence)).or_insert_with(new).increment(1));
}

/// Notes how long a call to a provider took.
pub fn note_call(account: &AccountName, operation: &'static str, took: Duration) {
    let new = || metrics::histogram!(metric::PROVIDER_CALL, "account" => account.to_string(), "operation" => operation);
    CALLS.with_borrow_mut(|known| known.entry((account.clone(), operation)).or_insert_with(new).record(took));
}
