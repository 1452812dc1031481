//! What is still to be asked of the tables.

use std::collections::{BTreeSet, HashSet};

use super::question::Scope;

/// Keys to ask for, and those that were asked for.
pub(super) struct Wanted<K> {
    next: BTreeSet<K>,
    pub(super) known: HashSet<K>,
}

impl<K> Default for Wanted<K> {
    fn default() -> Self {
        Self { next: BTreeSet::new(), known: HashSet::new() }
    }
}

impl<K: Ord + std::hash::Hash + Clone> Wanted<K> {
    /// Was it asked for? If not, it will be.
    pub(super) fn ask(&mut self, key: K) -> bool {
        let is_known = self.known.contains(&key);
        if !is_known {
            self.next.insert(key);
        }
        is_known
    }

    pub(super) fn take(&mut self) -> Vec<K> {
        let next = std::mem::take(&mut self.next);
        self.known.extend(next.iter().cloned());
        next.into_iter().collect()
    }
}

/// What is to be asked for.
#[derive(Default)]
pub(super) struct Wants {
    pub(super) restore: bool,
    /// Orders to lock: by row. The first round locks whatever it asks for.
    pub(super) locks: Wanted<i64>,
    pub(super) orders: Wanted<i64>,
    pub(super) order_ids: Wanted<String>,
    pub(super) authorizations: Wanted<i64>,
    pub(super) authorization_names: Wanted<(String, String)>,
    pub(super) shipments: Wanted<i64>,
    pub(super) shipment_ids: Wanted<(i64, String)>,
    pub(super) captures: Wanted<i64>,
    pub(super) kept: Wanted<i64>,
    pub(super) scopes: Wanted<(Scope, i64)>,
    pub(super) letters: Wanted<[u8; 16]>,
    pub(super) fees: Wanted<(i64, i64, i64)>,
}
