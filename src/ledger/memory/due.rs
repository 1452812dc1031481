//! What is due, among everything that a memory ledger holds.

use std::collections::HashMap;

use super::Tables;
use crate::capture::decide::{Due, Ready};
use crate::capture::policy::Policy;
use crate::capture::records::{Authorization, AuthorizationKey};
use crate::clock::{self, Timestamp};
use crate::ids::AccountName;
use crate::ledger::DueNow;

impl Tables {
    pub(super) fn find_due(&self, policy: &Policy, now: Timestamp, limit: u32) -> DueNow {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let is_beyond =
            |at: Option<Timestamp>, longest| at.is_some_and(|at: Timestamp| at > clock::after(now, longest));
        let mut due = DueNow::default();
        let mut warnings = Vec::new();
        let mut taken: HashMap<(&'static str, AccountName), usize> = HashMap::new();
        let mut take = |kind, record: &Authorization| {
            let taken = taken.entry((kind, record.account.clone())).or_default();
            *taken += 1;
            *taken <= limit
        };
        for capture in self.captures.values() {
            let is_set_back = !capture.waits_turn && is_beyond(capture.due_at, policy.longest_wait());
            let record = &self.authorizations[&capture.authorization];
            if (is_due(capture.due_at) || is_set_back) && take("capture", record) {
                due.calls.push(self.ready(Due::Capture(capture.key), capture.authorization));
            }
        }
        for record in self.authorizations.values() {
            let watch = &record.watch;
            let longest = if record.waiting > 0 { policy.longest_wait() } else { policy.longest_rest() };
            let is_set_back = is_beyond(watch.read_at, longest);
            if !(is_due(watch.at) || is_set_back) || !take("authorization", record) {
                continue;
            }
            // Where a read is due too, it is found again when the warning is given.
            if is_due(watch.lead_at) {
                warnings.push(Due::Warning(record.key));
            } else {
                due.calls.push(self.ready(Due::Authorization(record.key), record.key));
            }
        }
        for record in self.authorizations.values() {
            let at = record.ask.map(|ask| ask.at);
            if (is_due(at) || is_beyond(at, policy.longest_wait())) && take("ask", record) {
                due.calls.push(self.ready(Due::Ask(record.key), record.key));
            }
        }
        due.calls.sort_by_key(|ready| ready.deadline.unwrap_or(Timestamp::MAX_UTC));
        let shipments = self.shipments.values().filter(|shipment| is_due(shipment.due_at));
        let shipments = shipments.map(|shipment| (shipment.key.row(), Due::Shipment(shipment.key)));
        let kept = self.kept.values().filter(|kept| is_due(kept.due_at));
        let kept = kept.map(|kept| (kept.key.row(), Due::Kept(kept.key)));
        let mut waiting: Vec<_> = shipments.take(limit).chain(kept.take(limit)).collect();
        waiting.sort_unstable_by_key(|(row, _)| *row);
        let closing = self.orders.values().filter(|order| is_due(order.closes_at));
        let closing = closing.map(|order| Due::Order(order.key)).take(limit);
        due.others = waiting.into_iter().map(|(_, due)| due).chain(closing).chain(warnings).collect();
        due
    }

    fn ready(&self, due: Due, authorization: AuthorizationKey) -> Ready {
        let record = &self.authorizations[&authorization];
        Ready { due, account: record.account.clone(), deadline: record.expires_at }
    }
}
