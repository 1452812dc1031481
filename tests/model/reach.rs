//! L1: from every state, everything can still come to its end once faults stop.
//!
//! That is `AG EF done`, which `stateright` has no property for: its `eventually` means that *every* path
//! gets there, which is not so where a worker may look at a capture again and again, and it counts on paths
//! without cycles, which retrying is. So the checker explores, the steps are noted while it does, and this
//! walks them backwards from the ends, over steps without faults only.

use crate::protocol::Number;

/// The states by their numbers, and the steps between them.
#[derive(Debug, Default)]
pub struct Graph {
    ends: Vec<u32>,
    /// From where a state can be reached without a fault.
    before: Vec<Vec<u32>>,
    steps: usize,
}

impl Graph {
    /// The next state, and whether it is an end.
    pub fn add(&mut self, is_end: bool) {
        if is_end {
            self.ends.push(u32::try_from(self.before.len()).expect("a number"));
        }
        self.before.push(Vec::new());
    }

    /// A step.
    pub fn link(&mut self, from: Number, to: Number, is_fault: bool) {
        self.steps += 1;
        if !is_fault {
            self.before[at(to.0)].push(from.0);
        }
    }

    /// How many states and steps there are.
    pub const fn counts(&self) -> (usize, usize) {
        (self.before.len(), self.steps)
    }

    /// States from which no end can be reached without a fault.
    pub fn stuck(&self) -> Vec<Number> {
        let mut reaches = vec![false; self.before.len()];
        let mut next = self.ends.clone();
        while let Some(state) = next.pop() {
            if !std::mem::replace(&mut reaches[at(state)], true) {
                next.extend(self.before[at(state)].iter().filter(|before| !reaches[at(**before)]));
            }
        }
        (0..).zip(reaches).filter(|(_, reaches)| !reaches).map(|(number, _)| Number(number)).collect()
    }
}

fn at(number: u32) -> usize {
    usize::try_from(number).expect("a number")
}
