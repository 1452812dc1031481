//! The configurations: those of the two models that the protocol was designed with, and what they left out.

use crate::setup::Message::{Authorized, CancelsLine, Ships, ShipsLine};
use crate::setup::{Expiry, Message, Rules, Setup};

/// How large a configuration is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// In a minute, all of them.
    Small,
    /// In as long as it takes.
    Large,
}

impl Bound {
    /// `HOLDFAST_MODEL_BOUND=large`, or the small one.
    pub fn chosen() -> Self {
        match std::env::var("HOLDFAST_MODEL_BOUND").as_deref() {
            Err(_) | Ok("small") => Self::Small,
            Ok("large") => Self::Large,
            Ok(other) => panic!("HOLDFAST_MODEL_BOUND is `{other}`: give small or large"),
        }
    }
}

const KEYS_FIRST: Rules = Rules {
    single: false,
    limits_first: false,
    remembers_refusals: false,
    forgets: false,
    hides_expiry: false,
    captures_on_expiry: false,
    codes_expiry: false,
    declines: false,
};
const LIMITS_FIRST: Rules = Rules { limits_first: true, ..KEYS_FIRST };
const REMEMBERS: Rules = Rules { remembers_refusals: true, ..KEYS_FIRST };
const FORGETS: Rules = Rules { forgets: true, ..KEYS_FIRST };
/// Flitt and Fondy: one capture, and a read that does not show that a hold has died.
const SINGLE: Rules = Rules { single: true, limits_first: true, hides_expiry: true, ..KEYS_FIRST };

fn setup(name: &'static str, held: i64, rules: Rules, messages: Vec<Message>) -> Setup {
    Setup {
        name,
        messages,
        given: 0,
        held,
        rules,
        expiry: Expiry::AnyTime,
        margin: 0,
        hands: 1,
        crashes: 0,
        flights: 1,
        replays: 0,
        permits: false,
    }
}

/// The same shipment again, with another amount.
fn changed() -> Vec<Message> {
    vec![Ships(0, 1), Ships(0, 2)]
}

/// All of the hold, told twice.
fn repeated() -> Vec<Message> {
    vec![Ships(0, 2), Ships(0, 2)]
}

/// A part of the hold.
fn part() -> Vec<Message> {
    vec![Ships(0, 1)]
}

/// Two shipments.
fn two(second: i64) -> Vec<Message> {
    vec![Ships(0, 1), Ships(1, second)]
}

/// Two lines of a plan that is registered first, and what comes after.
fn planned(fee: i64, then: &[Message]) -> Vec<Message> {
    [&[Authorized(1, vec![1, 2], fee)], then].concat()
}

/// Every configuration, within a bound.
pub fn all(bound: Bound) -> Vec<Setup> {
    let mut all = [several(), lively(), single(), beyond()].concat();
    match bound {
        Bound::Small => all.retain(|setup| !LARGE_ONLY.contains(&setup.name)),
        Bound::Large => {
            for setup in all.iter_mut().filter(|setup| !AS_IT_IS.contains(&setup.name)) {
                setup.hands = setup.hands.max(2);
                if !TWO_AT_A_TIME.contains(&setup.name) {
                    setup.flights = 2;
                    setup.crashes += 1;
                }
            }
        }
    }
    all
}

/// Left out of the small bound: another of the same kind is in it.
const LARGE_ONLY: [&str; 11] = [
    "A single capture",
    "A limits first",
    "B limits first",
    "C keys forgotten",
    "C single capture, limits first",
    "C refusals remembered",
    "E 1 + 1 of 2",
    "revision up",
    "revision, and the hold dies",
    "deadline: past one in doubt",
    "generations: single capture",
];

/// Nothing else is more of these in the large bound: of the first, all of it would need more than 23 GiB, and the others
/// have as much to choose from.
const TWO_AT_A_TIME: [&str; 3] = ["E 1 + 1 of 2", "revision down", "revision up"];

/// Not more of anything in the large bound: with two at a time they need more than 10 GiB.
const AS_IT_IS: [&str; 2] = ["deadline: past one in doubt", "revision, and the hold dies"];

/// Safety, at providers with several captures.
fn several() -> Vec<Setup> {
    let limits_forget = Rules { forgets: true, ..LIMITS_FIRST };
    let limits_remember = Rules { remembers_refusals: true, ..LIMITS_FIRST };
    vec![
        setup("A changed payload, keys first", 2, KEYS_FIRST, changed()),
        setup("A limits first", 2, LIMITS_FIRST, changed()),
        setup("A refusals remembered", 2, REMEMBERS, changed()),
        setup("A single capture", 2, Rules { single: true, ..KEYS_FIRST }, changed()),
        setup("C all of it twice, limits first", 2, LIMITS_FIRST, repeated()),
        setup("C keys forgotten", 2, limits_forget, repeated()),
        setup("C refusals remembered", 2, limits_remember, repeated()),
        Setup { crashes: 2, expiry: Expiry::Never, ..setup("C two crashes", 2, LIMITS_FIRST, vec![Ships(0, 2)]) },
        Setup { hands: 2, expiry: Expiry::Never, ..setup("C two workers", 2, LIMITS_FIRST, vec![Ships(0, 2)]) },
        setup("C single capture, limits first", 2, SINGLE, repeated()),
        Setup { expiry: Expiry::Never, ..setup("B 1 + 2 of 2, keys first", 2, KEYS_FIRST, two(2)) },
        setup("B limits first", 2, LIMITS_FIRST, two(2)),
        setup("E 1 + 1 of 2", 2, LIMITS_FIRST, two(1)),
        Setup { crashes: 1, flights: 2, ..setup("P a part, keys forgotten", 4, FORGETS, part()) },
        Setup { hands: 2, expiry: Expiry::Never, ..setup("P two workers", 4, FORGETS, part()) },
    ]
}

/// Liveness, at providers with several captures.
fn lively() -> Vec<Setup> {
    let never = |setup| Setup { expiry: Expiry::Never, ..setup };
    let declines = Rules { declines: true, ..FORGETS };
    vec![
        never(setup("F a part, never dies", 4, KEYS_FIRST, part())),
        never(setup("F keys forgotten", 4, FORGETS, part())),
        never(Setup { given: 2, ..setup("F two shipments, one at a time", 4, FORGETS, two(1)) }),
        setup("F dies, limits first", 4, Rules { limits_first: true, ..FORGETS }, part()),
        never(setup("F declines, keys forgotten", 4, declines, part())),
        never(Setup { flights: 2, ..setup("F declines, two requests", 4, declines, part()) }),
    ]
}

/// Providers with one capture.
fn single() -> Vec<Setup> {
    let captures = Rules { captures_on_expiry: true, ..SINGLE };
    vec![
        setup("S a read shows the end", 4, Rules { hides_expiry: false, ..SINGLE }, part()),
        setup("S a read does not show it", 4, SINGLE, part()),
        setup("S the provider captures in full", 4, captures, part()),
        Setup { flights: 2, ..setup("S declines", 4, Rules { declines: true, ..SINGLE }, part()) },
        Setup {
            expiry: Expiry::After(3),
            ..setup("S its answers say nothing", 4, Rules { codes_expiry: true, ..SINGLE }, part())
        },
    ]
}

/// What those models left out: batches, generations, cancellations, revisions, deadlines.
fn beyond() -> Vec<Setup> {
    let (one, both) = ([ShipsLine(0), ShipsLine(1)], [ShipsLine(0), ShipsLine(1), CancelsLine(1)]);
    let revised = |lines| [ShipsLine(0), Authorized(2, lines, 0), ShipsLine(1)];
    let (down, up) = (revised(vec![1, 1]), revised(vec![1, 3]));
    let never = |setup| Setup { expiry: Expiry::Never, ..setup };
    let batch = |name, rules| Setup { given: 1, permits: true, ..setup(name, 3, rules, planned(0, &one)) };
    let declines = Rules { declines: true, ..KEYS_FIRST };
    let declines_once = Rules { declines: true, ..SINGLE };
    let given = |name, held, rules, messages| Setup { given: 1, ..setup(name, held, rules, messages) };
    // The first shipment too is in the ledger from the beginning.
    let shipped = |name, held, rules, messages| Setup { given: 2, ..given(name, held, rules, messages) };
    vec![
        batch("batch of two", SINGLE),
        batch("batch of two, the provider captures in full", Rules { captures_on_expiry: true, ..SINGLE }),
        Setup { expiry: Expiry::After(3), margin: 1, ..batch("batch, its deadline comes first", SINGLE) },
        Setup { replays: 1, ..setup("generations: declined and replayed", 4, declines, part()) },
        Setup { replays: 1, ..setup("generations: single capture", 4, declines_once, part()) },
        Setup { replays: 1, ..batch("generations: a batch replayed whole", declines_once) },
        never(shipped("cancellation and shipment race, with a fee", 4, KEYS_FIRST, planned(1, &both))),
        Setup { permits: true, ..given("cancellation, single capture", 4, SINGLE, planned(1, &both)) },
        never(shipped("revision down", 3, KEYS_FIRST, planned(0, &down))),
        never(shipped("revision up", 4, KEYS_FIRST, planned(0, &up))),
        given("revision, and the hold dies", 4, KEYS_FIRST, planned(0, &up)),
        Setup {
            given: 2,
            expiry: Expiry::After(3),
            margin: 2,
            ..setup("deadline: past one in doubt", 4, KEYS_FIRST, two(1))
        },
    ]
}
