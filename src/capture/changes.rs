//! What a group of commands changes: records by key with a note of what has to be written, and the
//! lines that are only ever added.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::hash::Hash;

use crate::capture::event::Event;
use crate::capture::records::{AuthorizationKey, CaptureKey, ShipmentKey};
use crate::clock::Timestamp;
use crate::money::Money;

/// Hashed faster than the standard library does, with a seed of its own in every process.
pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What is kept in the books.
pub trait Record: Clone {
    /// Is it kept as it was loaded, too, once it is changed? Then no more need be written of it than has
    /// changed. That pays where it has many parts that seldom change.
    const KEEPS_BEFORE: bool = false;
}

/// A record, and whether the ledger has it as it is here.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// The record.
    pub value: T,
    /// As the ledger has it, where that is another and is kept.
    pub before: Option<Box<T>>,
    /// What has to be written.
    pub change: Change,
}

/// What has to be written of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it is as it was loaded.
    None,
    /// An update.
    Updated,
    /// An insert.
    Inserted,
}

/// One kind of record, by key.
#[derive(Debug)]
pub struct Table<K, V> {
    entries: Map<K, Entry<V>>,
    /// The keys of those that changed, each once.
    changed: Vec<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: Map::default(), changed: Vec::new() }
    }
}

impl<K: Hash + Eq + Copy + Ord, V: Record> Table<K, V> {
    /// A record, where it exists.
    pub fn find(&self, key: K) -> Option<&V> {
        self.entries.get(&key).map(|entry| &entry.value)
    }

    pub(super) fn mark(&mut self, key: K) -> Option<&mut V> {
        let entry = self.entries.get_mut(&key)?;
        if entry.change == Change::None {
            entry.change = Change::Updated;
            entry.before = V::KEEPS_BEFORE.then(|| Box::new(entry.value.clone()));
            self.changed.push(key);
        }
        Some(&mut entry.value)
    }

    /// Puts a record from the ledger into the books, unless it is there. Was it new?
    pub(super) fn load(&mut self, key: K, value: V) -> bool {
        match self.entries.entry(key) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(Entry { value, before: None, change: Change::None });
                true
            }
            MapEntry::Occupied(_) => false,
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.entries.insert(key, Entry { value, before: None, change: Change::Inserted });
        self.changed.push(key);
    }

    /// Is the record loaded?
    pub fn contains(&self, key: K) -> bool {
        self.entries.contains_key(&key)
    }

    /// How many records are loaded.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every record that has to be written, in the order of its key.
    pub fn changed(&self) -> Vec<&Entry<V>> {
        let mut changed = self.changed.clone();
        changed.sort_unstable();
        changed.iter().filter_map(|key| self.entries.get(key)).collect()
    }

    /// Everything was written: takes out what is at its end, and returns it.
    pub(super) fn written(&mut self, is_at_its_end: impl Fn(&V) -> bool) -> Vec<V> {
        let mut ended = Vec::new();
        for key in self.changed.drain(..) {
            let MapEntry::Occupied(mut entry) = self.entries.entry(key) else { continue };
            entry.get_mut().change = Change::None;
            entry.get_mut().before = None;
            if is_at_its_end(&entry.get().value) {
                ended.push(entry.remove().value);
            }
        }
        ended
    }

    pub(super) fn keys_where(&self, keys: Option<&Vec<K>>, mut wanted: impl FnMut(&V) -> bool) -> Vec<K> {
        let loaded = keys.into_iter().flatten().copied();
        let mut keys: Vec<K> = loaded.filter(|key| self.find(*key).is_some_and(&mut wanted)).collect();
        keys.sort_unstable();
        keys
    }
}

/// One line of an authorization's history: append-only, and its balance is their sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The authorization.
    pub authorization: AuthorizationKey,
    /// The capture that caused it.
    pub capture: CaptureKey,
    /// What it is.
    pub kind: MovementKind,
    /// How much; always positive.
    pub amount: Money,
    /// When.
    pub at: Timestamp,
}

/// What a movement does to the balance of its authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MovementKind {
    /// Reserved rises.
    Reserve,
    /// Reserved falls.
    Release,
    /// Reserved falls, captured rises.
    Capture,
    /// Captured rises without a reservation: evidence after a failure.
    Correct,
}

impl MovementKind {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Capture => "capture",
            Self::Correct => "correct",
        }
    }
}

/// One line of a capture's history, for people: what an attempt or a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryNote {
    /// Rises from line to line.
    pub number: i64,
    /// The capture.
    pub capture: CaptureKey,
    /// The attempt it belongs to.
    pub attempt: u32,
    /// `sent`, or what kind of evidence came.
    pub what: &'static str,
    /// In words; redacted.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// An event to be written to the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Its outbox row.
    pub row: i64,
    /// The event.
    pub event: Event,
    /// Whose one outcome it is, and of which generation; the ledger refuses a second.
    pub outcome_of: Option<(OutcomeOf, u32)>,
}

/// Who has one outcome per generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeOf {
    /// A shipment.
    Shipment(ShipmentKey),
    /// A fee, by its capture.
    Fee(CaptureKey),
}

impl OutcomeOf {
    /// The row's number. All rows are numbered together, so it tells a shipment from a fee.
    pub const fn row(self) -> i64 {
        match self {
            Self::Shipment(key) => key.row(),
            Self::Fee(key) => key.row(),
        }
    }
}

/// Takes a key out of what belongs to `owner`.
pub(super) fn forget<O: Hash + Eq, K: Copy + Eq>(index: &mut Map<O, Vec<K>>, owner: O, key: K) {
    if let MapEntry::Occupied(mut owned) = index.entry(owner) {
        owned.get_mut().retain(|known| *known != key);
        if owned.get().is_empty() {
            owned.remove();
        }
    }
}

/// Adds a key to a few, unless it is among them.
pub(super) fn push_once<K: Copy + Eq>(keys: &mut Vec<K>, key: K) {
    if !keys.contains(&key) {
        keys.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Record for &str {
        const KEEPS_BEFORE: bool = true;
    }

    impl Record for bool {}

    #[test]
    fn what_was_written_is_kept_unchanged_and_what_has_ended_is_gone() {
        let mut table: Table<u32, &str> = Table::default();
        assert!(table.load(2, "open"));
        assert!(!table.load(2, "other"), "what is loaded stays as it is");
        table.insert(1, "new");
        *table.mark(2).unwrap() = "ended";
        table.mark(2).unwrap();
        assert!(table.mark(9).is_none(), "what is not there cannot be changed");
        assert_eq!(table.changed()[1].before.as_deref(), Some(&"open"));
        let changed: Vec<_> = table.changed().iter().map(|entry| (entry.value, entry.change)).collect();
        assert_eq!(changed, [("new", Change::Inserted), ("ended", Change::Updated)]);

        assert_eq!(table.written(|value| *value == "ended"), ["ended"]);
        assert!(table.changed().is_empty());
        assert_eq!((table.find(1), table.find(2)), (Some(&"new"), None));
        // The next group inserts nothing twice.
        table.mark(1).unwrap();
        assert_eq!((table.changed()[0].change, table.changed()[0].before.as_deref()), (Change::Updated, Some(&"new")));
    }

    #[test]
    fn what_is_forgotten_leaves_the_others_of_its_owner_and_no_owner_of_nothing() {
        let mut index = Map::from_iter([(1, vec![7, 8])]);
        forget(&mut index, 2, 7);
        forget(&mut index, 1, 7);
        assert_eq!(index, Map::from_iter([(1, vec![8])]));
        forget(&mut index, 1, 8);
        assert!(index.is_empty());
    }

    #[test]
    fn only_the_given_keys_are_looked_through() {
        let mut table: Table<u32, bool> = Table::default();
        for key in [3, 1, 2] {
            table.insert(key, key != 2);
        }
        assert_eq!(table.keys_where(Some(&vec![3, 2, 1, 9]), |wanted| *wanted), [1, 3]);
        assert!(table.keys_where(None, |_| true).is_empty());
    }
}
