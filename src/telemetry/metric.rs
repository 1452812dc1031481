//! The metrics: name, kind, labels and help, in one table.
//!
//! Names follow the Prometheus conventions (<https://prometheus.io/docs/practices/naming/>). Labels
//! are bounded: account, reason, state; never an id. The first rows are the first on the dashboard.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name; one of the constants of this module.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The labels it always carries.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets; empty for everything else.
    pub buckets: &'static [f64],
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Age of the oldest capture in doubt.
pub const IN_DOUBT_OLDEST: &str = "holdfast_in_doubt_oldest_age_seconds";
/// Captures in doubt.
pub const IN_DOUBT: &str = "holdfast_in_doubt";
/// Captures that a cap of their account holds.
pub const CAPPED: &str = "holdfast_capped";
/// Money earned and not captured yet.
pub const EARNED_UNCAPTURED: &str = "holdfast_earned_uncaptured_minor_units";
/// Time to the nearest deadline.
pub const NEAREST_DEADLINE: &str = "holdfast_nearest_deadline_seconds";
/// Open dead letters.
pub const DEAD_LETTERS: &str = "holdfast_dead_letters";
/// Age of the oldest unpublished event.
pub const OUTBOX_OLDEST: &str = "holdfast_outbox_oldest_age_seconds";
/// Unpublished events.
pub const OUTBOX_PENDING: &str = "holdfast_outbox_pending";
/// Alarms.
pub const ALARM: &str = "holdfast_alarm";
/// Whether work moves, as `/readyz` says it.
pub const READY: &str = "holdfast_ready";
/// Where accounts stand.
pub const ACCOUNT_STATE: &str = "holdfast_account_state";
/// What is due and waits for a call.
pub const ACCOUNT_WAITING: &str = "holdfast_account_waiting";
/// Calls under way.
pub const ACCOUNT_IN_FLIGHT: &str = "holdfast_account_in_flight";
/// How far providers' clocks are ahead of ours.
pub const CLOCK_SKEW: &str = "holdfast_clock_skew_seconds";
/// When the worker was started.
pub const START_TIME: &str = "holdfast_start_time_seconds";
/// Which worker it is.
pub const BUILD_INFO: &str = "holdfast_build_info";
/// Captures without an outcome.
pub const OPEN_CAPTURES: &str = "holdfast_open_captures";
/// Deliveries received.
pub const DELIVERIES: &str = "holdfast_deliveries_total";
/// Deliveries that were rejected.
pub const REJECTED: &str = "holdfast_deliveries_rejected_total";
/// Dead letters that a replay came to.
pub const REPLAYED: &str = "holdfast_dead_letters_replayed_total";
/// Captures that reached an outcome.
pub const CAPTURES: &str = "holdfast_captures_total";
/// Attempts, by what their answer showed.
pub const ATTEMPTS: &str = "holdfast_attempts_total";
/// Duration of calls to a provider.
pub const PROVIDER_CALL: &str = "holdfast_provider_call_duration_seconds";
/// Events handed to the broker, by what became of them.
pub const PUBLISHED: &str = "holdfast_published_total";
/// Acknowledgements that did not arrive.
pub const ACKS_LOST: &str = "holdfast_acks_lost_total";
/// Connections to the broker.
pub const BROKER_CONNECTED: &str = "holdfast_broker_connected";
/// Spans of traces, by what became of them.
pub const SPANS: &str = "holdfast_spans_total";
/// Duration of the ledger's transactions.
pub const LEDGER_COMMIT: &str = "holdfast_ledger_commit_duration_seconds";
/// Commands in one transaction of the ledger.
pub const GROUP_SIZE: &str = "holdfast_group_size";

const CALLS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const COMMITS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Every metric, the most important first.
pub const TABLE: &[Metric] = &[
    gauge(IN_DOUBT_OLDEST, &[], "Age of the oldest capture in doubt, 0 without one."),
    gauge(IN_DOUBT, &["account"], "Captures whose outcome the provider has not shown yet."),
    gauge(CAPPED, &["account"], "Captures that a cap of their account holds, neither sent nor failed."),
    gauge(
        EARNED_UNCAPTURED,
        &["account", "currency"],
        "Money earned by shipments and not captured yet, in minor units.",
    ),
    gauge(
        NEAREST_DEADLINE,
        &[],
        "Time until the nearest authorization with uncaptured money expires, +Inf without one.",
    ),
    gauge(DEAD_LETTERS, &["reason"], "Open dead letters."),
    gauge(OUTBOX_OLDEST, &[], "Age of the oldest event that is not published yet, 0 without one."),
    gauge(OUTBOX_PENDING, &[], "Events that are not published yet."),
    gauge(ALARM, &["name", "account"], "1 while the alarm lasts."),
    gauge(READY, &["check"], "1 while the check of /readyz is as it should be."),
    gauge(ACCOUNT_STATE, &["account", "state"], "1 for where the account stands, 0 for the other states."),
    gauge(ACCOUNT_WAITING, &["account"], "What is due and waits until the account can make another call."),
    gauge(CLOCK_SKEW, &["account"], "How far the provider's clock is ahead of ours, by its answers; below 0: behind."),
    gauge(ACCOUNT_IN_FLIGHT, &["account"], "Calls to the account's provider that are under way."),
    gauge(OPEN_CAPTURES, &[], "Captures without an outcome."),
    counter(DELIVERIES, &[], "Deliveries received from the broker."),
    counter(REJECTED, &["reason"], "Deliveries that became dead letters."),
    counter(REPLAYED, &["result"], "Dead letters that a replay came to."),
    counter(CAPTURES, &["account", "outcome"], "Captures that reached an outcome."),
    counter(ATTEMPTS, &["account", "evidence"], "Capture requests, by what their answer showed."),
    histogram(PROVIDER_CALL, &["account", "operation"], CALLS, "Duration of calls to the provider."),
    counter(PUBLISHED, &["result"], "Events handed to the broker, by what became of them."),
    counter(ACKS_LOST, &[], "Acknowledgements that may not have reached the broker; the deliveries come again."),
    gauge(BROKER_CONNECTED, &["connection"], "1 while the connection to the broker stands."),
    histogram(LEDGER_COMMIT, &[], COMMITS, "Duration of the ledger's transactions."),
    counter(SPANS, &["result"], "Spans of traces, by whether the collector has them or they were dropped."),
    gauge(START_TIME, &[], "When the worker was started, in seconds since 1970."),
    gauge(BUILD_INFO, &["version"], "1, with the version of the worker."),
    histogram(GROUP_SIZE, &[], SIZES, "Commands in one transaction of the ledger."),
];

/// Tells the recorder what every metric means.
pub(super) fn describe() {
    for metric in TABLE {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help, buckets: &[] }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help, buckets: &[] }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help, buckets }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_in_the_table_and_follows_the_conventions() {
        let names: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), TABLE.len(), "a name is there twice");
        let constants = include_str!("metric.rs")
            .lines()
            .filter(|line| line.starts_with("pub const ") && line.contains(": &str = \"holdfast_"));
        assert_eq!(constants.count(), TABLE.len(), "a constant is not in the table");
        for metric in TABLE {
            assert!(metric.name.starts_with("holdfast_"));
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert_eq!(metric.buckets.is_empty(), metric.kind != Kind::Histogram, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(metric.labels.iter().all(|label| !label.ends_with("id")), "{}", metric.name);
        }
    }
}
