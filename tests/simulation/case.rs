//! What makes a world: its seed, and what of it is left out. The same case is the same world, step by step.

use std::collections::BTreeSet;

use crate::dials::{DENSE, Dials, WIDE};
use crate::fault::Fault;
use crate::setting;

/// Orders in a world.
pub const ORDERS: usize = 20;

/// One world, before it is lived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Decides everything.
    pub seed: u64,
    /// Another way through what the seed has set up.
    pub way: u64,
    /// The orders that take part, by their number.
    pub orders: BTreeSet<usize>,
    /// Faults that do not happen.
    pub without: BTreeSet<Fault>,
    /// Steps in which everything may go wrong.
    pub steps: u64,
    /// Does the wall clock jump by days?
    pub is_jumping: bool,
    /// Is what is rare elsewhere frequent?
    pub is_dense: bool,
}

impl Case {
    /// The whole world of a seed.
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            way: 0,
            orders: (0..ORDERS).collect(),
            without: BTreeSet::new(),
            steps: WIDE.steps,
            is_jumping: false,
            is_dense: false,
        }
    }

    /// One order, or two in each third world, to which what is rare elsewhere happens all the time: what goes wrong
    /// only where two or three such things meet one order, is found in these.
    pub fn dense(self) -> Self {
        let orders = (0..if self.seed.is_multiple_of(3) { 2 } else { 1 }).collect();
        Self { orders, steps: DENSE.steps, is_dense: true, ..self }
    }

    /// How often what is rare happens.
    pub const fn dials(&self) -> &'static Dials {
        if self.is_dense { &DENSE } else { &WIDE }
    }

    /// The wall clock jumps by days, there and back, which is outside of the fault model: how long ago
    /// something was is worth nothing then. What must hold all the same is that no deadline is lost or
    /// repeated, and that nothing is captured twice.
    pub fn jumping(mut self) -> Self {
        self.is_jumping = true;
        self
    }

    /// May its ledger go back to an earlier copy? Each second world, and most of the dense ones.
    pub fn has_restores(&self) -> bool {
        let has_any = self.seed % 2 == 1 || self.is_dense && !self.seed.is_multiple_of(8);
        !self.is_jumping && has_any && !self.without.contains(&Fault::Restored)
    }

    /// May the machine of the workers start anew? In each fifth world, and wherever the clock jumps, or dense it is.
    pub fn has_restarts(&self) -> bool {
        self.is_jumping || self.is_dense || self.seed % 5 == 2
    }

    /// What the environment asks to be repeated, of worlds that are dense or that it says of.
    pub fn asked_for(is_dense: bool) -> Option<Self> {
        let case = Self::of(setting("HOLDFAST_TEST_SEED")?);
        let is_dense = is_dense || setting("HOLDFAST_TEST_DENSE").is_some();
        let case = if is_dense { case.dense() } else { case }.limited();
        let way = setting("HOLDFAST_TEST_WAY").unwrap_or_default();
        Some(Self { way, is_jumping: setting("HOLDFAST_TEST_JUMPING").is_some(), ..case })
    }

    /// Without what the environment asks to leave out.
    pub fn limited(mut self) -> Self {
        self.steps = setting("HOLDFAST_TEST_STEPS").unwrap_or(self.steps);
        if let Some(orders) = list("HOLDFAST_TEST_ORDERS") {
            self.orders = orders.iter().map(|number| number.parse().expect("numbers of orders")).collect();
        }
        if let Some(names) = list("HOLDFAST_TEST_WITHOUT") {
            self.without = names.iter().map(|name| fault(name)).collect();
        }
        self
    }

    /// The command that repeats it.
    pub fn command(&self) -> String {
        let mut words = vec![format!("HOLDFAST_TEST_SEED={}", self.seed)];
        if self.way > 0 {
            words.push(format!("HOLDFAST_TEST_WAY={}", self.way));
        }
        if self.is_dense {
            words.push("HOLDFAST_TEST_DENSE=1".to_owned());
        }
        if self.orders.len() < ORDERS {
            words.push(format!("HOLDFAST_TEST_ORDERS={}", joined(self.orders.iter())));
        }
        if !self.without.is_empty() {
            words.push(format!("HOLDFAST_TEST_WITHOUT={}", joined(self.without.iter().map(|fault| fault.as_str()))));
        }
        if self.steps != self.dials().steps {
            words.push(format!("HOLDFAST_TEST_STEPS={}", self.steps));
        }
        if self.is_jumping {
            words.push("HOLDFAST_TEST_JUMPING=1".to_owned());
        }
        words.push("cargo test --test simulation every_world".to_owned());
        words.join(" ")
    }
}

fn joined(things: impl Iterator<Item = impl ToString>) -> String {
    things.map(|thing| thing.to_string()).collect::<Vec<_>>().join(",")
}

fn list(name: &str) -> Option<Vec<String>> {
    let text = std::env::var(name).ok()?;
    Some(text.split(',').map(str::to_owned).collect())
}

fn fault(name: &str) -> Fault {
    let known = Fault::ALL.iter().copied().find(|fault| fault.as_str() == name);
    known.unwrap_or_else(|| panic!("there is no fault {name}"))
}
