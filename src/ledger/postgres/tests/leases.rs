//! Whose work it is, and who takes it over.

use super::*;
use crate::capture::decide::{Call, Due};
use crate::capture::evidence::{AuthorizationView, DoubtKind, RefusalReason};

impl PostgresLedger {
    /// Ends as a killed process does: it takes no leave. Its row is returned.
    fn kill(self) -> i64 {
        let Self { readers, groups, worker, .. } = self;
        drop(readers);
        std::mem::forget(groups);
        worker
    }
}

/// The lease of a worker that is gone has run out.
fn end_lease(address: &Address, worker: i64) {
    let ended = format!("UPDATE workers SET lease_until = now() - interval '1 second' WHERE worker_row = {worker}");
    sql(address, &ended).expect("ended");
}

fn due(ledger: &PostgresLedger) -> Vec<Due> {
    let due = runtime().block_on(ledger.find_due(100)).expect("it reads");
    due.calls.into_iter().map(|ready| ready.due).collect()
}

fn interrupted(ledger: &PostgresLedger) -> Vec<(CaptureKey, u32)> {
    runtime().block_on(ledger.interrupted()).expect("it reads")
}

fn unpublished(ledger: &PostgresLedger) -> usize {
    runtime().block_on(ledger.unpublished(0, at(3_600), 100)).expect("it reads").len()
}

#[test]
fn the_work_of_a_dead_worker_is_taken_over_after_its_lease_and_that_of_a_live_one_never() {
    let (address, clock) = (database(), ManualClock::new());
    let (dead, live, heir) = (open(&address, &clock), open(&address, &clock), open(&address, &clock));
    assert_eq!(interrupted(&heir), [], "the first question, before anything");
    let mut sending = Vec::new();
    for (worker, name) in [(&dead, "dead"), (&live, "live")] {
        let begun = tell(worker, accept(&format!("{name}-sending"), "1.00"));
        let Asked::Send { capture, epoch, .. } = asked(&begun.ticket.expect("sent")) else { panic!() };
        sending.push((capture, epoch));
        let planned = draft(&format!("{name}-planned"), "s1").amount("1.00");
        tell(worker, planned.on(authorized(OFTEN, &format!("{name}-planned"), 100)).no_permit().command());
        let begun = tell(worker, accept(&format!("{name}-done"), "1.00"));
        tell(worker, answered(&begun.ticket.expect("sent"), captured(Some(gel(100)))));
    }
    assert_eq!((due(&dead).len(), due(&live).len(), due(&heir).len()), (1, 1, 0), "each its own");
    assert_eq!((unpublished(&dead), unpublished(&live), unpublished(&heir)), (1, 1, 0), "each its own");
    let dead = dead.kill();
    assert_eq!((due(&heir).len(), interrupted(&heir).len(), unpublished(&heir)), (0, 0, 0), "its lease goes on");
    end_lease(&address, dead);
    assert_eq!(interrupted(&heir), [sending[0]]);
    assert_eq!(interrupted(&heir), [], "told once");
    assert_eq!(interrupted(&live), [], "and to one of them");
    assert_eq!((due(&heir).len(), due(&live).len()), (1, 1));
    assert_eq!((unpublished(&heir), unpublished(&live)), (1, 1));
    // A worker that takes its leave is not waited for.
    drop(live);
    assert_eq!(interrupted(&heir), [sending[1]]);
    assert_eq!((due(&heir).len(), unpublished(&heir)), (2, 2));
}

#[test]
fn a_worker_that_wakes_after_its_lease_changes_nothing_it_should_not() {
    let (address, clock) = (database(), ManualClock::new());
    let (sleeper, heir) = (open(&address, &clock), open(&address, &clock));
    let begun = tell(&sleeper, accept("a", "1.00")).ticket.expect("sent");
    let Asked::Send { capture, epoch, .. } = asked(&begun) else { panic!("{begun:?}") };
    end_lease(&address, sleeper.worker);
    let [(taken, of)] = interrupted(&heir)[..] else { panic!("it is taken over") };
    assert_eq!((taken, of), (capture, epoch));
    let left = Settle { capture, epoch, evidence: Evidence::Interrupted, start: false };
    tell(&heir, Command::Settle(Box::new(left)));
    let look = tell(&heir, Command::Due(Due::Capture(capture))).ticket.expect("looked at");
    let Call::Look { epoch: newer, .. } = look.call else { panic!("{look:?}") };
    assert!(newer > epoch);
    // It wakes: what it still has in hand begins nothing, and what it concludes is too old.
    assert!(tell(&sleeper, Command::Due(Due::Capture(capture))).ticket.is_none());
    for answer in [Answer::Refused(refusal(RefusalReason::Declined)), Answer::Doubt(doubt(DoubtKind::Timeout))] {
        assert_eq!(tell(&sleeper, answered(&begun, answer)).note, Note::Nothing);
    }
    let of_heir = format!("SELECT count(*) FROM captures WHERE state = 'in_doubt' AND claimed_by = {}", heir.worker);
    assert_eq!(count(&address, &of_heir), 1);
    // It is heard of again: nothing else of its own is taken from it.
    tell(&sleeper, accept("b", "1.00"));
    assert_eq!(interrupted(&heir), []);
    // What it has seen with its own eyes counts, whoever has it now.
    assert_eq!(tell(&sleeper, answered(&begun, captured(Some(gel(100))))).note, Note::Captured(gel(100)));
    let shows = seen(AuthorizationView { captures: Vec::new(), ..view(10_000) });
    let late = Settle { capture, epoch: newer, evidence: Evidence::Reading(shows), start: false };
    assert_eq!(tell(&heir, Command::Settle(Box::new(late))).note, Note::Nothing, "the outcome stands");
}

/// What is due, was never claimed, and several workers ask for, goes to one of them.
#[test]
fn what_nobody_has_claimed_goes_to_one_worker() {
    let (address, clock) = (database(), ManualClock::new());
    let first = open(&address, &clock);
    let planned = |n: usize| {
        let order = format!("o{n}");
        draft(&order, "s1").amount("1.00").on(authorized(OFTEN, &order, 100)).no_permit().command()
    };
    execute(&first, (0..50).map(planned).collect());
    drop(first);
    let workers = [open(&address, &clock), open(&address, &clock), open(&address, &clock)];
    let found = std::thread::scope(|scope| {
        let asked = workers.each_ref().map(|ledger| scope.spawn(|| due(ledger)));
        asked.map(|thread| thread.join().expect("it asks"))
    });
    // What another one was just taking is not waited for; it may be nobody's until the next question.
    let again = workers.each_ref().map(due);
    assert!(found.iter().zip(&again).all(|(before, now)| before.iter().all(|due| now.contains(due))), "it stays");
    let mut all: Vec<i64> = again.iter().flatten().map(|due| due.row()).collect();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((all.len(), count), (50, 50), "each with one worker");
}

/// The heartbeat keeps an idle worker's lease.
#[test]
fn an_idle_worker_keeps_its_lease() {
    let (address, clock) = (database(), ManualClock::new());
    let options = Options { lease: Duration::from_millis(300), ..Options::named("idle".to_owned()) };
    let opened = PostgresLedger::open(&address, options, environment(policy(), &clock));
    let ledger = runtime().block_on(opened).expect("the server is there");
    let lease = "SELECT (extract(epoch FROM lease_until) * 1000)::bigint FROM workers";
    let began = count(&address, lease);
    while count(&address, lease) < began + 900 {
        assert_eq!(count(&address, "SELECT count(*) FROM workers WHERE lease_until < now()"), 0);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(ledger);
    assert_eq!(count(&address, "SELECT count(*) FROM workers WHERE lease_until = '-infinity'"), 1);
}
