use std::time::Duration;

use crate::settings::{Breaker as BreakerRules, Rate, Suspension as SuspensionRules};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules {
        concurrency: 8,
        rate: None,
        breaker: BreakerRules { failures: 3, wait: 5 * SECOND, wait_max: 15 * SECOND, recovery: 28 * SECOND },
        suspension: SuspensionRules { faults: 3, probe_interval: 60 * SECOND },
        retry_after_max: 100 * SECOND,
    }
}

/// A gate, and the seconds since it was made.
struct Tried {
    gate: Gate,
    start: Instant,
}

impl Tried {
    fn new(rules: Rules) -> Self {
        Self { gate: Gate::new(rules), start: Instant::now() }
    }

    fn at(&self, seconds: u32) -> Instant {
        self.start + seconds * SECOND
    }

    /// As many calls as are let through.
    fn admitted(&mut self, seconds: u32) -> Vec<Pass> {
        let now = self.at(seconds);
        std::iter::from_fn(|| self.gate.admit(now).ok()).collect()
    }

    /// One call, answered at once.
    fn call(&mut self, seconds: u32, about: &str, signal: &Signal) -> Pass {
        let pass = self.gate.admit(self.at(seconds)).expect("a call is let through");
        self.answer(seconds, pass, Operation::Capture, about, signal);
        pass
    }

    fn answer(&mut self, seconds: u32, pass: Pass, operation: Operation, about: &str, signal: &Signal) {
        let now = self.at(seconds);
        self.gate.learn(pass, operation, &reference(about), signal, now);
        self.gate.take_back(pass, true, now);
    }

    /// A look at a suspended account, answered at once.
    fn look(&mut self, seconds: u32, signal: &Signal) {
        let pass = self.gate.admit_look(self.at(seconds)).expect("a look is due");
        self.answer(seconds, pass, Operation::Lookup, "x", signal);
    }

    fn word(&self) -> &'static str {
        self.gate.standing().in_words().0
    }
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("an id")
}

fn failed() -> Signal {
    Signal::Failed { why: "connection refused".to_owned(), hold: None }
}

fn held(hold: Duration) -> Signal {
    Signal::Failed { why: "HTTP status 429".to_owned(), hold: Some(hold) }
}

fn misconfigured() -> Signal {
    Signal::Misconfigured("1014: invalid signature".to_owned())
}

#[test]
fn failures_in_a_row_open_the_breaker_and_one_call_at_a_time_tries() {
    let mut tried = Tried::new(rules());
    tried.call(0, "a", &failed());
    tried.call(0, "b", &failed());
    tried.call(0, "c", &Signal::Worked);
    assert_eq!(tried.word(), "active", "not in a row");
    for about in ["a", "b", "c"] {
        tried.call(0, about, &failed());
    }
    assert_eq!(tried.word(), "breaker_open");
    assert_eq!(tried.gate.wakes_at(), Some(tried.at(5)));
    assert_eq!((tried.admitted(4), tried.gate.room(tried.at(4))), (vec![], 0));
    // Each probe that fails doubles the wait, up to a bound.
    for (at, next) in [(5, 15), (15, 30), (30, 45), (45, 60)] {
        assert_eq!(tried.admitted(at - 1), []);
        assert_eq!(tried.admitted(at), [Pass::Probe], "one");
        assert_eq!(tried.word(), "breaker_open");
        tried.answer(at, Pass::Probe, Operation::Capture, "a", &failed());
        assert_eq!(tried.gate.wakes_at(), Some(tried.at(next)));
    }
    assert_eq!(tried.call(60, "a", &Signal::Worked), Pass::Probe);
    assert_eq!(tried.word(), "active");
}

#[test]
fn a_recovery_is_gradual() {
    let mut tried = Tried::new(rules());
    for about in ["a", "b", "c"] {
        tried.call(0, about, &failed());
    }
    tried.call(5, "a", &Signal::Worked);
    for (seconds, in_flight) in [(5, 1), (8, 1), (9, 2), (19, 4), (32, 7), (33, 8), (100, 8)] {
        tried.admitted(seconds);
        assert_eq!(tried.gate.in_flight(), in_flight, "after {seconds} s");
    }
    // A breaker that opens while it recovers goes on where it was.
    let mut again = Tried::new(rules());
    for about in ["a", "b", "c"] {
        again.call(0, about, &failed());
    }
    again.call(5, "a", &Signal::Worked);
    for about in ["a", "b", "c"] {
        again.call(6, about, &failed());
    }
    assert_eq!(again.gate.wakes_at(), Some(again.at(16)), "ten seconds, not five");
    again.call(16, "a", &Signal::Worked);
    for about in ["a", "b", "c"] {
        again.call(50, about, &failed());
    }
    assert_eq!(again.gate.wakes_at(), Some(again.at(55)), "it had recovered");
}

#[test]
fn calls_that_were_under_way_neither_prolong_nor_repeat_an_opening() {
    let mut tried = Tried::new(rules());
    let passes = tried.admitted(0);
    assert_eq!(passes.len(), 8);
    for pass in passes {
        tried.answer(1, pass, Operation::Capture, "a", &failed());
    }
    assert_eq!(tried.gate.wakes_at(), Some(tried.at(6)));
    assert_eq!(tried.gate.in_flight(), 0);
}

#[test]
fn a_probe_that_was_not_used_is_given_to_the_next() {
    let mut tried = Tried::new(rules());
    for about in ["a", "b", "c"] {
        tried.call(0, about, &failed());
    }
    assert_eq!(tried.admitted(5), [Pass::Probe]);
    tried.gate.take_back(Pass::Probe, false, tried.at(5));
    assert_eq!(tried.admitted(5), [Pass::Probe]);
}

#[test]
fn configuration_faults_of_different_authorizations_suspend_and_one_odd_order_does_not() {
    let mut tried = Tried::new(rules());
    for _ in 0..9 {
        tried.call(0, "odd", &misconfigured());
    }
    assert_eq!(tried.word(), "active", "one odd order");
    tried.call(0, "b", &misconfigured());
    tried.call(0, "c", &Signal::Worked);
    tried.call(0, "d", &misconfigured());
    tried.call(0, "e", &misconfigured());
    assert_eq!(tried.word(), "active", "a success in between");
    tried.call(0, "odd", &misconfigured());
    assert_eq!(tried.word(), "suspended");
    assert_eq!(tried.admitted(59), []);
    assert_eq!(tried.gate.admit_look(tried.at(59)), None);
    // Still wrong, then right: reading alone permits one capture to try.
    tried.look(60, &misconfigured());
    assert_eq!(tried.gate.wakes_at(), Some(tried.at(120)));
    tried.look(120, &Signal::Worked);
    assert_eq!(tried.word(), "suspended");
    assert_eq!(tried.admitted(120), [Pass::Probe], "one may try");
    tried.answer(120, Pass::Probe, Operation::Capture, "a", &misconfigured());
    assert_eq!(tried.admitted(179), []);
    tried.look(180, &Signal::Worked);
    tried.call(180, "b", &Signal::Worked);
    assert_eq!(tried.word(), "active");
    assert_eq!(tried.admitted(180).len(), 1, "and the others come gradually");
}

#[test]
fn reads_that_work_do_not_hide_that_captures_do_not() {
    let mut tried = Tried::new(rules());
    for about in ["a", "b", "c"] {
        let pass = tried.gate.admit(tried.at(0)).expect("let through");
        tried.answer(0, pass, Operation::Lookup, about, &Signal::Worked);
        tried.call(0, about, &misconfigured());
    }
    assert_eq!(tried.word(), "suspended");
    // Where only reading did not work, reading is enough.
    let mut reading = Tried::new(rules());
    for about in ["a", "b", "c"] {
        let pass = reading.gate.admit(reading.at(0)).expect("let through");
        reading.answer(0, pass, Operation::Lookup, about, &misconfigured());
    }
    assert_eq!(reading.word(), "suspended");
    reading.gate.look_now(reading.at(1));
    reading.look(1, &Signal::Worked);
    assert_eq!(reading.word(), "active");
}

#[test]
fn a_suspended_account_that_nothing_can_try_resumes() {
    let mut tried = Tried::new(rules());
    for about in ["a", "b", "c"] {
        tried.call(0, about, &misconfigured());
    }
    tried.gate.resume_untried(tried.at(1));
    assert_eq!(tried.word(), "suspended", "reading does not work yet");
    tried.look(60, &Signal::Answered);
    assert!(tried.gate.awaits_trial());
    tried.gate.resume_untried(tried.at(60));
    assert_eq!(tried.word(), "active");
}

#[test]
fn retry_after_holds_the_whole_account_for_as_long_as_is_allowed() {
    let mut tried = Tried::new(rules());
    tried.call(0, "a", &held(10 * SECOND));
    assert_eq!((tried.word(), tried.gate.admit(tried.at(9))), ("active", Err(Some(tried.at(10)))));
    assert_eq!(tried.admitted(10).len(), 1, "gradually");
    let mut long = Tried::new(rules());
    long.call(0, "a", &held(3_600 * SECOND));
    assert_eq!(long.gate.admit(long.at(99)), Err(Some(long.at(100))), "capped");
}

#[test]
fn a_pause_holds_everything_until_it_ends() {
    let mut tried = Tried::new(rules());
    tried.gate.pause("maintenance".to_owned());
    assert_eq!((tried.word(), tried.gate.admit(tried.at(0)), tried.gate.wakes_at()), ("paused", Err(None), None));
    for about in ["a", "b", "c"] {
        tried.gate.learn(Pass::Ordinary, Operation::Capture, &reference(about), &misconfigured(), tried.at(0));
    }
    assert_eq!((tried.word(), tried.gate.admit_look(tried.at(60))), ("paused", None), "not even a look");
    tried.gate.resume(tried.at(61));
    assert_eq!(tried.word(), "suspended");
    assert!(tried.gate.admit_look(tried.at(61)).is_some());
}

#[test]
fn the_numbers_of_the_settings_hold_too() {
    let rate = Some(Rate { calls: 1, per: SECOND });
    let mut tried = Tried::new(Rules { rate, ..rules() });
    assert_eq!(tried.admitted(0), [Pass::Ordinary]);
    assert_eq!(tried.gate.admit(tried.at(0)), Err(Some(tried.at(1))));
    assert_eq!(tried.admitted(1), [Pass::Ordinary]);
    tried.gate.take_back(Pass::Ordinary, false, tried.at(1));
    assert_eq!(tried.admitted(1), [Pass::Ordinary], "what was not used is not counted");
    let mut wide = Tried::new(rules());
    assert_eq!(wide.admitted(0).len(), 8);
}
