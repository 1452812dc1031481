//! Several workers at the same orders at the same time.

use std::sync::Barrier;

use super::*;
use crate::capture::policy::Caps;

const ROUNDS: usize = 60;

/// In every round, two workers are told of the same shipment, and each of one more that no longer fits
/// beside the other's on the same authorization; and of many orders, each in its own sequence. In every
/// other round both have to make the order; else it is there, and only its lock keeps them apart.
#[test]
fn two_workers_never_take_more_than_was_authorized_and_never_wait_for_each_other() {
    let (address, clock) = (database(), ManualClock::new());
    let workers = [open(&address, &clock), open(&address, &clock)];
    let barrier = Barrier::new(workers.len());
    let round = |round: usize, number: usize, ledger: &PostgresLedger| {
        let (order, shared) = (format!("o{round}"), format!("r{round}"));
        let on = || authorized(OFTEN, &shared, 10_000);
        let own = |shipment: &str, amount| draft(&order, shipment).amount(amount).on(on()).command();
        let mut commands = vec![own("same", "30.00"), own(&format!("of{number}"), "50.00")];
        // Another order on the same authorization.
        commands.push(draft(&format!("{order}b{number}"), "s").amount("15.00").on(on()).command());
        // Orders of before, from both ends.
        let others = (0..8).map(|other| draft(&format!("many{other}"), &format!("s{round}")).amount("0.10"));
        let others =
            others.enumerate().map(|(other, d)| d.on(authorized(OFTEN, &format!("m{other}"), 10_000)).command());
        let mut others: Vec<Command> = others.collect();
        if number == 1 {
            others.reverse();
        }
        commands.extend(others);
        if number == 1 {
            commands.reverse();
        }
        if round % 2 == 1 && number == 0 {
            tell(ledger, own("first", "0.10"));
        }
        barrier.wait();
        let mut replies = execute(ledger, commands).replies;
        if number == 1 {
            replies.reverse();
            replies[3..].reverse();
        }
        replies.into_iter().map(|reply| reply.expect("decided")).collect::<Vec<Reply>>()
    };
    let work = |number: usize| {
        let (round, ledger) = (&round, &workers[number]);
        move || (0..ROUNDS).map(|n| round(n, number, ledger)).collect::<Vec<_>>()
    };
    let [first, second] = std::thread::scope(|scope| {
        let running = [scope.spawn(work(0)), scope.spawn(work(1))];
        running.map(|thread| thread.join().expect("it works"))
    });
    for (first, second) in first.iter().zip(&second) {
        for (one, other) in first.iter().zip(second).skip(3).chain([(&first[0], &second[0])]) {
            let planned = [one, other].into_iter().filter(|reply| matches!(reply.note, Note::Planned(_))).count();
            let repeated = [one, other].into_iter().filter(|reply| reply.note == Note::Repeated).count();
            assert_eq!((planned, repeated), (1, 1), "{one:?} {other:?}");
            assert_eq!(one.subject.capture.or(other.subject.capture), other.subject.capture.or(one.subject.capture));
        }
        let amount = |reply: &Reply| if let Note::Planned(amount) = reply.note { amount.minor() } else { 0 };
        let fit = |replies: &[Reply]| replies[..3].iter().map(amount).sum::<i64>();
        let taken = fit(first) + fit(second);
        assert!((8_000..=10_000).contains(&taken), "30 and 50, and what else fits: {taken}");
    }
    let off = count(&address, "SELECT count(*) FROM authorizations WHERE captured + reserved > authorized");
    assert_eq!(off, 0);
    let sum =
        "SELECT count(*) FROM authorizations a WHERE reserved <> (SELECT coalesce(sum(m.amount), 0) FROM movements m
        WHERE m.authorization_row = a.authorization_row AND m.kind = 'reserve')";
    assert_eq!(count(&address, sum), 0, "the movements add up to the balance");
    // Locks are taken in one order: nobody waits in a circle, which takes a second each time.
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(count(&address, deadlocks), 0);
    let started = "SELECT count(*) FROM captures WHERE state = 'sending'";
    let orders = i64::try_from(ROUNDS).expect("few") + 8;
    assert_eq!(count(&address, started), orders, "one at a time on each authorization");
}

/// The same message set aside by both: seen twice, announced once.
#[test]
fn what_two_workers_set_aside_is_announced_once() {
    let (address, clock) = (database(), ManualClock::new());
    let workers = [open(&address, &clock), open(&address, &clock)];
    tell(&workers[0], accept("a", "1.00"));
    let barrier = Barrier::new(workers.len());
    let work = |ledger: &PostgresLedger| {
        for round in 0..ROUNDS {
            let conflict = draft("a", "s1").amount(&format!("2.{round:02}")).command();
            barrier.wait();
            let reply = tell(ledger, conflict);
            assert!(matches!(reply.note, Note::DeadLettered { .. }), "{reply:?}");
        }
    };
    std::thread::scope(|scope| workers.each_ref().map(|ledger| scope.spawn(|| work(ledger)).thread().id()));
    let rounds = i64::try_from(ROUNDS).expect("few");
    assert_eq!(count(&address, "SELECT count(*) FROM events"), rounds);
    assert_eq!(count(&address, "SELECT count(*) FROM dead_letters WHERE count = 2"), rounds);
}

/// Rows of two workers never have the same number, and a group that needs more than were taken gets them.
#[test]
fn numbers_are_taken_in_blocks_and_a_large_group_gets_enough() {
    let (address, clock) = (database(), ManualClock::new());
    let workers = [open(&address, &clock), open(&address, &clock)];
    for round in 0..3 {
        for (number, ledger) in workers.iter().enumerate() {
            let order = |n: usize| draft(&format!("o{number}"), &format!("r{round}s{n}")).amount("0.00");
            let first = order(0).on(authorized(OFTEN, &format!("o{number}"), 100)).command();
            let group = std::iter::once(first).chain((1..700).map(|n| order(n).command())).collect();
            assert!(execute(ledger, group).replies.iter().all(Result::is_ok));
        }
    }
    assert_eq!(count(&address, "SELECT count(*) FROM shipments WHERE state = 'settled'"), 2 * 3 * 700);
}

/// Two workers begin captures of one account whose cap lets some of them through: it is used to the last unit,
/// and not once more. The first group of each finds nothing that was counted.
#[test]
fn two_workers_never_use_the_same_room_of_a_cap() {
    let (address, clock) = (database(), ManualClock::new());
    let mut rules = policy();
    let caps = Caps { hour: Some(gel(10_000)), ..Caps::none(currency("GEL")) };
    rules.accounts.get_mut(&account(OFTEN)).expect("configured").caps = vec![caps];
    let open = || {
        let opened = PostgresLedger::open(&address, options(), environment(rules.clone(), &clock));
        runtime().block_on(opened).expect("the server is there")
    };
    let (workers, barrier) = ([open(), open()], Barrier::new(2));
    let work = |number: usize| {
        let (ledger, barrier) = (&workers[number], &barrier);
        move || {
            let sent = (0..ROUNDS).map(|round| {
                barrier.wait();
                let some = (0..3).map(|n| accept(&format!("o{number}-{round}-{n}"), "0.70")).collect();
                let replies = execute(ledger, some).replies.into_iter().map(|reply| reply.expect("decided"));
                replies.filter(|reply| reply.ticket.is_some()).count()
            });
            sent.sum::<usize>()
        }
    };
    let sent: usize = std::thread::scope(|scope| {
        let running = [scope.spawn(work(0)), scope.spawn(work(1))];
        running.map(|thread| thread.join().expect("it works")).iter().sum()
    });
    assert_eq!(sent, 142, "142 times 0.70 of 100.00");
    assert_eq!(count(&address, "SELECT count(*) FROM captures WHERE state = 'sending'"), 142);
    let held = i64::try_from(ROUNDS * 6).expect("few") - 142;
    assert_eq!(count(&address, "SELECT sum(held) FROM authorizations"), held);
    assert_eq!(sql(&address, "SELECT hour FROM cap_usage").expect("one"), [format!("[[30000000,{}]]", 142 * 70)]);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(count(&address, deadlocks), 0);
}
