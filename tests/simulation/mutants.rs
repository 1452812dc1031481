//! Shortcuts in the core itself, each in the same worlds that hold without it: a test of its own for every
//! one, and the promise that breaks.

use holdfast::mutant::{self, Mutant};

use crate::case::Case;
use crate::say;
use crate::world::{Failure, World};

/// Worlds in which a shortcut has to be caught. Most are in the first few; those that lose money only by
/// a coincidence of two rare things take some hundred.
const WORLDS: u64 = 2_000;

macro_rules! is_caught {
    ($($name:ident: $mutant:ident breaks $promises:expr, near $seed:literal;)*) => {
        $(#[test]
        fn $name() {
            catch(Mutant::$mutant, &$promises, $seed);
        })*
    };
}

is_caught! {
    reject_is_final: RejectIsFinal breaks ["S7"], near 107;
    absence_is_failure: AbsenceIsFailure breaks ["S7"], near 2;
    timeout_is_failure: TimeoutIsFailure breaks ["S7"], near 0;
    used_is_success: UsedIsSuccess breaks ["S7"], near 489;
    no_reserve: NoReserve breaks ["captured and reserved exceed what was authorized"], near 0;
    replan_on_change: ReplanOnChange breaks ["an intent never changes"], near 18;
    replan_on_change_key_has_amount: ReplanWithNewKey breaks ["an intent never changes"], near 18;
    resend_after_horizon: ResendAfterHorizon breaks ["S1"], near 0;
    no_send_deadline: NoSendDeadline breaks ["S1", "S7"], near 542;
    no_fence: NoFence breaks ["S11"], near 0;
    read_only_after_window: ReadOnlyAfterWindow breaks ["L1"], near 8;
    refusal_stays_open: RefusalStaysOpen breaks ["L1"], near 7;
    foreign_stays_open: ForeignStaysOpen breaks ["L1"], near 1194;
    no_quiet: NoQuiet breaks ["S7", "S1"], near 109;
}

/// The first world in which the shortcut breaks a promise, for the right reason; without it, it holds.
/// It was last found near this seed.
fn catch(mutant: Mutant, promises: &[&str], near: u64) {
    let live = |seed| World::new(&Case::of(seed), None).live();
    let is_right = |caught: &Failure| promises.iter().any(|promise| caught.what.contains(promise));
    let mut worlds =
        (near..near + WORLDS).filter_map(|seed| mutant::with(Some(mutant), || live(seed)).err().map(|caught| *caught));
    let name = mutant.as_str();
    let caught =
        worlds.find(is_right).unwrap_or_else(|| panic!("{name} breaks none of {promises:?} in {WORLDS} worlds"));
    let control = live(caught.case.seed);
    assert!(control.is_ok(), "the same world without {name} fails too");
    say(&format!("{name}: seed {}: {:.200}", caught.case.seed, caught.what));
}
