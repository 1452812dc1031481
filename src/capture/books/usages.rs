//! What counts against the caps of accounts, while it is in the books.

use std::collections::HashSet;

use super::{Books, Change, Entry};
use crate::capture::records::{Capped, CaptureKey};
use crate::capture::usage::Usage;
use crate::clock::Timestamp;
use crate::ids::AccountName;
use crate::money::Currency;

impl Books {
    /// Puts what counts for an account from the ledger into the books, unless it is there.
    pub fn load_usage(&mut self, usage: Usage) {
        if self.usage(&usage.account, usage.currency).is_none() {
            self.usages.push(Entry { value: usage, before: None, change: Change::None });
        }
    }

    /// Is anything that counts for the account in the books? Then all of it is.
    pub fn knows_usage_of(&self, account: &AccountName) -> bool {
        self.usages.iter().any(|entry| entry.value.account == *account)
    }

    /// The accounts of the authorizations in the books.
    pub fn accounts(&self) -> HashSet<&AccountName> {
        self.references.keys().map(|(account, _)| account).collect()
    }

    /// What counts for an account in a currency, where anything ever did.
    pub fn usage(&self, account: &AccountName, currency: Currency) -> Option<&Usage> {
        let is_it = |usage: &&Usage| usage.account == *account && usage.currency == currency;
        self.usages.iter().map(|entry| &entry.value).find(is_it)
    }

    /// What counts for an account in a currency, to be changed.
    pub fn usage_mut(&mut self, account: &AccountName, currency: Currency) -> &mut Usage {
        let is_it = |entry: &Entry<Usage>| entry.value.account == *account && entry.value.currency == currency;
        let place = self.usages.iter().position(is_it).unwrap_or_else(|| {
            let value = Usage::new(account.clone(), currency);
            self.usages.push(Entry { value, before: None, change: Change::Inserted });
            self.usages.len() - 1
        });
        let entry = &mut self.usages[place];
        if entry.change == Change::None {
            entry.change = Change::Updated;
        }
        &mut entry.value
    }

    /// Everything that has to be written of what counts.
    pub fn changed_usages(&self) -> Vec<&Entry<Usage>> {
        self.usages.iter().filter(|entry| entry.change != Change::None).collect()
    }

    pub(super) fn usages_written(&mut self) {
        for entry in &mut self.usages {
            entry.change = Change::None;
        }
    }

    /// Counts a capture against the caps of its account, once.
    pub fn count(&mut self, key: CaptureKey, now: Timestamp) {
        let capture = self.capture(key);
        if capture.counted_at.is_some() {
            return;
        }
        let (amount, account) = (capture.amount, self.authorization(capture.authorization).account.clone());
        self.usage_mut(&account, amount.currency()).count(amount, now);
        self.capture_mut(key).counted_at = Some(now);
    }

    /// Gives back the room of a capture that was counted.
    pub(super) fn take_back(&mut self, key: CaptureKey) {
        let capture = self.capture(key);
        let Some(at) = capture.counted_at else { return };
        let (amount, account) = (capture.amount, self.authorization(capture.authorization).account.clone());
        self.capture_mut(key).counted_at = None;
        // Where the account has no caps any more, what counts is not loaded.
        if self.usage(&account, amount.currency()).is_some() {
            self.usage_mut(&account, amount.currency()).take_back(amount, at);
        }
    }

    /// No cap holds it any more.
    pub fn let_go(&mut self, key: CaptureKey) {
        if self.capture(key).is_held() {
            self.capture_mut(key).progress.last_seen = None;
            self.set_capped(key, None);
        }
    }

    /// Holds a planned capture, releases it or lets it go, and counts it where its authorization counts.
    pub fn set_capped(&mut self, key: CaptureKey, capped: Option<Capped>) {
        let capture = self.capture_mut(key);
        let was_held = capture.is_held();
        capture.capped = capped;
        let (is_held, authorization) = (capture.is_held(), capture.authorization);
        if was_held != is_held {
            let record = self.authorization_mut(authorization);
            record.held = if is_held { record.held + 1 } else { record.held - 1 };
        }
    }
}
