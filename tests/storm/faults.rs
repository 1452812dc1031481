//! What goes wrong at the providers, and how often it did.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use holdfast::sandbox::{
    Channel, Code, Fault, Faults, KeyCheck, KeyFailures, KeyReuse, KeyRules, Operation, Protocol, Rule, When,
};

use crate::stage::{LATE_MS, SILENT_MS, Stage};

/// A day: longer than any run.
const FOR_EVER_MS: u64 = 24 * 60 * 60 * 1_000;

/// How one of the pretend providers treats idempotency keys, and what the account's settings make of it.
pub struct Keys {
    pub rules: KeyRules,
    /// `resend_window`: shorter than the provider remembers, or than anything takes where it may forget.
    pub resend_window: &'static str,
    /// Are all keys forgotten now and then?
    pub forgets: bool,
}

/// One way for each provider.
pub fn keys() -> [Keys; 4] {
    let keys = |check, failures, reuse, retention_ms, resend_window, forgets| Keys {
        rules: KeyRules { check, failures, reuse, retention_ms },
        resend_window,
        forgets,
    };
    [
        keys(KeyCheck::KeyFirst, KeyFailures::Forget, KeyReuse::StoredReply, FOR_EVER_MS, "15m", false),
        keys(KeyCheck::LimitsFirst, KeyFailures::Remember, KeyReuse::StoredReply, 6_000, "2s", false),
        keys(KeyCheck::KeyFirst, KeyFailures::Remember, KeyReuse::AlreadyUsed, 6_000, "2s", false),
        keys(KeyCheck::LimitsFirst, KeyFailures::Forget, KeyReuse::AlreadyUsed, FOR_EVER_MS, "300ms", true),
    ]
}

/// Everything that a provider does wrong, each request at most one of them.
pub fn rules(seed: u64, forgets: bool) -> Faults {
    use Operation::{Capture, Lookup, Token};
    let status = |status, retry_after_s, when| Fault::Status { status, retry_after_s, when };
    let rule = |operation, per_mille, fault| Rule { operation, per_mille: Some(per_mille), ..Rule::new(fault) };
    let some = |operation, times, per_mille, fault| Rule { times: Some(times), ..rule(operation, per_mille, fault) };
    let (before, after) = (When::Before, When::After);
    let code = |code, when| Fault::Code { code, when, channel: Channel::ErrorCode };
    let unexpected = || Code::Name("UNEXPECTED_ERROR".to_owned());
    let mut rules = vec![
        some(Capture, 10, 3, Fault::Refuse { ms: 60 }),
        some(Capture, 8, 4, Fault::ExpireTokens),
        rule(Capture, 20, Fault::Reset { when: before }),
        rule(Capture, 25, Fault::Reset { when: after }),
        rule(Capture, 10, Fault::Hang { ms: SILENT_MS, when: before }),
        rule(Capture, 15, Fault::Hang { ms: SILENT_MS, when: after }),
        rule(Capture, 10, status(500, None, before)),
        rule(Capture, 10, status(502, None, after)),
        rule(Capture, 8, status(503, Some(1), before)),
        rule(Capture, 15, status(503, None, after)),
        rule(Capture, 15, status(429, Some(1), before)),
        rule(Capture, 6, Fault::RetryAt { status: 429, seconds: 1, when: before }),
        rule(Capture, 10, Fault::Garbage { when: before }),
        rule(Capture, 15, Fault::Garbage { when: after }),
        rule(Capture, 15, Fault::Latency { ms: LATE_MS, when: before }),
        rule(Capture, 15, Fault::Latency { ms: 200, when: after }),
        rule(Capture, 20, Fault::Hold { lookups: 2, ms: 150 }),
        rule(Capture, 20, Fault::SoftDecline),
        rule(Capture, 8, code(Code::Number(1_000), before)),
        rule(Capture, 8, code(Code::Number(1_002), after)),
        rule(Capture, 10, code(unexpected(), before)),
        rule(Capture, 10, code(unexpected(), after)),
        rule(Capture, 8, Fault::Expire),
        rule(Capture, 10, Fault::ClockSkew { seconds: 120 }),
        rule(Lookup, 20, Fault::Reset { when: before }),
        rule(Lookup, 10, Fault::Hang { ms: SILENT_MS, when: before }),
        rule(Lookup, 20, status(500, None, before)),
        rule(Lookup, 10, status(429, Some(1), before)),
        rule(Lookup, 20, Fault::Garbage { when: before }),
        rule(Lookup, 10, Fault::Latency { ms: 200, when: before }),
        rule(Lookup, 8, Fault::Expire),
        some(Token, 2, 1_000, status(503, None, before)),
        some(Token, 1, 1_000, Fault::Garbage { when: before }),
        some(Token, 1, 1_000, Fault::Reset { when: before }),
    ];
    if forgets {
        rules.push(rule(Capture, 15, Fault::ForgetKeys));
    }
    Faults { seed, rules }
}

/// How often each fault struck, over all providers: by name, and what it was asked.
fn struck(stage: &Stage) -> BTreeMap<String, u64> {
    let mut struck = BTreeMap::new();
    for sandbox in &stage.sandboxes {
        for state in sandbox.sandbox().faults() {
            let name = format!("{:?}: {}", state.rule.operation, name(&state.rule.fault));
            *struck.entry(name).or_default() += u64::from(state.fired);
        }
    }
    for (number, keys) in keys().iter().enumerate() {
        let KeyRules { check, failures, reuse, .. } = &keys.rules;
        let name = format!("the same key again: {check:?}, {failures:?}, {reuse:?}, forgets: {}", keys.forgets);
        struck.insert(name, repeated(stage, number));
    }
    struck.insert("captured by the provider itself".to_owned(), automatic(stage));
    struck
}

fn name(fault: &Fault) -> String {
    match fault {
        Fault::Latency { when: When::Before, .. } => "late work".to_owned(),
        Fault::Latency { when: When::After, .. } => "late answer".to_owned(),
        Fault::Refuse { .. } => "connections refused".to_owned(),
        Fault::Reset { when } => format!("reset {when:?}"),
        Fault::Hang { when, .. } => format!("hang {when:?}"),
        Fault::Status { status, when, .. } => format!("{status} {when:?}"),
        Fault::RetryAt { status, .. } => format!("{status} until a date"),
        Fault::Garbage { when } => format!("garbage {when:?}"),
        Fault::Hold { .. } => "hold".to_owned(),
        Fault::Code { code, when, .. } => format!("{code:?} {when:?}"),
        Fault::SoftDecline => "soft decline".to_owned(),
        Fault::ForgetKeys => "keys forgotten".to_owned(),
        Fault::ExpireTokens => "tokens end".to_owned(),
        Fault::Expire => "early expiry".to_owned(),
        Fault::ClockSkew { .. } => "clock skew".to_owned(),
    }
}

/// Capture requests at Flex Pay beyond one for each capture.
fn repeated(stage: &Stage, provider: usize) -> u64 {
    let totals = stage.books(provider).totals;
    let several = totals.iter().filter(|total| total.protocol == Protocol::FlexPay);
    several.map(|total| total.capture_requests.saturating_sub(total.captures)).sum()
}

fn automatic(stage: &Stage) -> u64 {
    let books = (0..stage.sandboxes.len()).map(|number| stage.books(number));
    let captures = books.flat_map(|books| books.authorizations).flat_map(|booked| booked.captures);
    u64::try_from(captures.filter(|capture| capture.automatic).count()).unwrap()
}

/// Reads that arrived at the providers.
pub fn lookups(stage: &Stage) -> u64 {
    let states = stage.sandboxes.iter().flat_map(|sandbox| sandbox.sandbox().faults());
    // Every read meets every rule before the one that strikes it: the first one meets all.
    let mut of_lookups = BTreeMap::new();
    for state in states.filter(|state| state.rule.operation == Operation::Lookup) {
        let met = of_lookups.entry(name(&state.rule.fault)).or_insert(0);
        *met += state.met;
    }
    of_lookups.into_values().max().unwrap_or_default()
}

/// The table of them.
pub fn told(stage: &Stage) -> String {
    let mut text = String::new();
    for (name, times) in struck(stage) {
        writeln!(text, "{times:>7}  {name}").unwrap();
    }
    text
}

/// No fault counts that never happened.
pub fn assert_all_struck(stage: &Stage) {
    for (name, times) in struck(stage) {
        assert!(times > 0, "never struck: {name}");
    }
}
