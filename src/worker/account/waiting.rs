//! What waits for a permit, the earliest deadline first.

use std::collections::{BinaryHeap, HashSet};

use crate::capture::decide::{Due, Ready};
use crate::clock::Timestamp;

#[derive(Default)]
pub(super) struct Waiting {
    heap: BinaryHeap<Urgent>,
    /// What is in the heap: the watch finds it again and again until it is begun. Not what is being
    /// begun: that may be handed on before its own reply is here, and must not get lost.
    known: HashSet<Due>,
}

/// Ordered so that the earliest deadline is the greatest.
#[derive(PartialEq, Eq)]
struct Urgent {
    deadline: Timestamp,
    due: Due,
}

impl Waiting {
    /// Puts it among the others. `false`: it was there.
    pub(super) fn push(&mut self, ready: &Ready) -> bool {
        let is_new = self.known.insert(ready.due);
        if is_new {
            let deadline = ready.deadline.unwrap_or(Timestamp::MAX_UTC);
            self.heap.push(Urgent { deadline, due: ready.due });
        }
        is_new
    }

    /// Takes out the most urgent, to be begun.
    pub(super) fn pop(&mut self) -> Option<Due> {
        let urgent = self.heap.pop()?;
        self.known.remove(&urgent.due);
        Some(urgent.due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

impl Ord for Urgent {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.deadline.cmp(&self.deadline).then_with(|| other.due.row().cmp(&self.due.row()))
    }
}

impl PartialOrd for Urgent {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
