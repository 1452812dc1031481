//! Many worlds on all cores, and what is said of them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::case::Case;
use crate::fault::Tally;
use crate::shrink::shrink;
use crate::world::{Failure, World};
use crate::{say, setting};

/// A run says so often how far it is.
const SAID_EVERY: u64 = 10_000;

/// Lives so many worlds, on all cores, and adds up what happened. The first that fails is made smaller, and told.
pub fn live_all(seeds: u64, case: impl Fn(u64) -> Case + Sync) -> Tally {
    let case = |seed| case(seed).limited();
    let from = setting("HOLDFAST_TEST_FROM").unwrap_or(0);
    let keeps_going = setting("HOLDFAST_TEST_KEEP_GOING").is_some();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, has_failed) = (AtomicU64::new(from), AtomicBool::new(false));
    let (total, failures) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let work = || {
        let mut tally = Tally::default();
        while keeps_going || !has_failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                break;
            }
            if seed > from && seed.is_multiple_of(SAID_EVERY) {
                say(&format!("proof: seed {seed}"));
            }
            match World::new(&case(seed), None).live() {
                Ok(lived) => tally.add_world(&lived),
                Err(failure) => {
                    has_failed.store(true, Ordering::Relaxed);
                    if keeps_going {
                        say(&format!("seed {seed}: {:.300}", failure.what));
                    }
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                }
            }
        }
        tally.processor += processor_time();
        total.lock().unwrap_or_else(PoisonError::into_inner).add(&tally);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.case.seed);
    if let Some(failure) = failures.into_iter().next() {
        fail(*failure);
    }
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of a failure: as it was, and as small as it could be made.
fn fail(failure: Failure) -> ! {
    let (what, command) = (failure.what.clone(), failure.case.command());
    let shrunk = shrink(failure, None);
    // Lived again, this time with a record of its steps.
    let again = World::new(&shrunk.case, None).tracing().live();
    let again = again.expect_err("the same case is the same world");
    panic!("{what}\n\nrepeat with: {command}\n\nmade smaller:\n\n{}", describe(&again))
}

/// What failed, after which steps, and how to see it again.
pub fn describe(failure: &Failure) -> String {
    let steps: Vec<&str> = failure.log.iter().map(String::as_str).collect();
    format!("{}\n\n{}\n\nrepeat with: {}", steps.join("\n"), failure.what, failure.case.command())
}

/// What happened in all worlds.
pub fn report(total: &Tally) -> String {
    let days = total.seconds / 86_400;
    let mut text = format!(
        "proof: {} worlds held, {} of them with several workers: {} orders, {} steps, {} faults ({} at least in one), \
         {} pairs of state and fault, {days} days\n",
        total.worlds,
        total.with_several,
        total.orders,
        total.steps,
        total.faults_total(),
        total.faults_min.unwrap_or_default(),
        total.pairs.len(),
    );
    let milliseconds = total.processor.as_millis();
    if let Some(an_hour) = (u128::from(total.worlds) * 3_600_000).checked_div(milliseconds) {
        let seconds = total.processor.as_secs();
        let line = format!("proof: {seconds} s of processor time, {an_hour} worlds an hour on one core");
        writeln!(text, "{line}").expect("a string takes everything");
    }
    for (fault, count) in &total.faults {
        writeln!(text, "  {fault:?}: {count}").expect("a string takes everything");
    }
    for (end, count) in &total.ends {
        writeln!(text, "  -> {end}: {count}").expect("a string takes everything");
    }
    text
}

/// How long this thread has run.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.expect("not negative"), nanoseconds.expect("less than a second"))
}
