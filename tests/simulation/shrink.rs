//! A world that fails is made smaller: fewer orders, fewer faults, fewer steps, as long as the same rule breaks.
//! What is left out changes what comes after it, so that each smaller world is tried in several ways.

use std::collections::BTreeSet;

use crate::case::Case;
use crate::fault::Fault;
use crate::mutant::Mutant;
use crate::world::{Failure, World};

/// Ways through each smaller world.
const WAYS: u64 = 6;
/// Worlds that are tried in all.
const WORLDS_MAX: u32 = 3_000;

/// The smallest world in which the same rule breaks that was found.
pub fn shrink(failure: Failure, mutant: Option<Mutant>) -> Failure {
    let mut search = Search { best: failure, mutant, left: WORLDS_MAX };
    loop {
        let before = search.best.case.clone();
        search.fewer_orders();
        search.fewer_faults();
        search.fewer_steps();
        if search.best.case == before || search.left == 0 {
            return search.best;
        }
    }
}

struct Search {
    best: Failure,
    mutant: Option<Mutant>,
    left: u32,
}

impl Search {
    /// Halves, quarters, and so on, down to single orders.
    fn fewer_orders(&mut self) {
        let mut size = self.best.case.orders.len().div_ceil(2);
        while size > 0 {
            let orders: Vec<usize> = self.best.case.orders.iter().copied().collect();
            for part in orders.chunks(size) {
                let rest: BTreeSet<usize> =
                    self.best.case.orders.iter().copied().filter(|order| !part.contains(order)).collect();
                if !rest.is_empty() && rest.len() < self.best.case.orders.len() {
                    self.attempt(&Case { orders: rest, ..self.best.case.clone() });
                }
            }
            size /= 2;
        }
    }

    fn fewer_faults(&mut self) {
        for fault in Fault::ALL {
            let mut case = self.best.case.clone();
            if case.without.insert(*fault) {
                self.attempt(&case);
            }
        }
    }

    fn fewer_steps(&mut self) {
        for part in [2, 4, 8] {
            let steps = self.best.case.steps - self.best.case.steps / part;
            self.attempt(&Case { steps, ..self.best.case.clone() });
        }
    }

    /// Keeps the case, if the same rule breaks in any way through it.
    fn attempt(&mut self, case: &Case) {
        for way in 0..WAYS {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let case = Case { way, ..case.clone() };
            let Err(failure) = World::new(&case, self.mutant).live() else { continue };
            if failure.rule() == self.best.rule() {
                self.best = *failure;
                return;
            }
        }
    }
}
