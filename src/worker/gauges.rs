//! The first numbers on the dashboard, as gauges. What was shown once and is gone is shown as zero.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::http::Readiness;
use crate::ids::AccountName;
use crate::ledger::Vitals;
use crate::telemetry::{gauge_value, metric};

/// The labels that were shown so far.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    in_doubt: HashSet<AccountName>,
    capped: HashSet<AccountName>,
    earned: HashSet<(AccountName, String)>,
    dead_letters: HashSet<String>,
}

impl Gauges {
    /// Shows the numbers as of `now`.
    pub(super) fn report(&mut self, vitals: &Vitals, now: Timestamp) {
        metrics::gauge!(metric::OPEN_CAPTURES).set(gauge_value(vitals.open_captures));
        metrics::gauge!(metric::IN_DOUBT_OLDEST).set(age(vitals.oldest_doubt, now).as_secs_f64());
        metrics::gauge!(metric::OUTBOX_PENDING).set(gauge_value(vitals.outbox_pending));
        metrics::gauge!(metric::OUTBOX_OLDEST).set(age(vitals.outbox_oldest, now).as_secs_f64());
        let left = vitals.nearest_deadline.map(|at| at.signed_duration_since(now).to_std().unwrap_or_default());
        // Without anything to capture no deadline is near.
        metrics::gauge!(metric::NEAREST_DEADLINE).set(left.map_or(f64::INFINITY, |left| left.as_secs_f64()));
        let in_doubt = vitals.in_doubt.iter().cloned();
        show(&mut self.in_doubt, in_doubt, |account, count| {
            metrics::gauge!(metric::IN_DOUBT, "account" => account.to_string()).set(gauge_value(count));
        });
        show(&mut self.capped, vitals.held.iter().cloned(), |account, count| {
            metrics::gauge!(metric::CAPPED, "account" => account.to_string()).set(gauge_value(count));
        });
        let earned = vitals.earned_uncaptured.iter().map(|(account, currency, minor)| {
            ((account.clone(), currency.clone()), u64::try_from(*minor).unwrap_or_default())
        });
        show(&mut self.earned, earned, |(account, currency), minor| {
            let labels = [("account", account.to_string()), ("currency", currency.clone())];
            metrics::gauge!(metric::EARNED_UNCAPTURED, &labels).set(gauge_value(minor));
        });
        let dead_letters = vitals.dead_letters.iter().cloned();
        show(&mut self.dead_letters, dead_letters, |reason, count| {
            metrics::gauge!(metric::DEAD_LETTERS, "reason" => reason.clone()).set(gauge_value(count));
        });
    }
}

/// Shows whether work moves.
pub(super) fn show_readiness(readiness: &Readiness) {
    for (check, found) in readiness.checks() {
        metrics::gauge!(metric::READY, "check" => check).set(f64::from(u8::from(found.is_ok())));
    }
}

fn show<L: Hash + Eq + Clone>(shown: &mut HashSet<L>, now: impl Iterator<Item = (L, u64)>, set: impl Fn(&L, u64)) {
    let mut gone = shown.clone();
    for (label, value) in now {
        set(&label, value);
        gone.remove(&label);
        shown.insert(label);
    }
    for label in &gone {
        set(label, 0);
    }
}

/// How long ago, and nothing where there is none.
pub(super) fn age(since: Option<Timestamp>, now: Timestamp) -> Duration {
    since.and_then(|since| now.signed_duration_since(since).to_std().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_is_gone_is_shown_as_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let vitals = Vitals { dead_letters: vec![("conflict".to_owned(), 3)], ..Vitals::default() };
        metrics::with_local_recorder(&recorder, || {
            let mut gauges = Gauges::default();
            gauges.report(&vitals, crate::clock::now());
            assert!(handle.render().contains("holdfast_dead_letters{reason=\"conflict\"} 3"), "{}", handle.render());
            gauges.report(&Vitals::default(), crate::clock::now());
            assert!(handle.render().contains("holdfast_dead_letters{reason=\"conflict\"} 0"), "{}", handle.render());
        });
    }
}
