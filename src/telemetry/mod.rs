//! What an operator sees without asking: logs, alarms, metrics, and traces where they are wanted.
//!
//! A log line can be read alone and carries `order.id`, `shipment.id`, `capture.id` and `account`
//! where it has them; it never carries a body, a token or a secret. A failure is logged once, where
//! it is handled. `error` is for what a person should act on.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing_subscriber::EnvFilter;

mod alarm;
mod meter;
/// The names of all metrics, in one table.
pub mod metric;
pub mod trace;

pub use alarm::{NAMES as ALARMS, alarm, clear};
pub use meter::{count_attempt, count_outcome, note_call};

/// Why telemetry did not start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter given by `--log` or `HOLDFAST_LOG`.
    #[error(
        "the log filter is not one: write a level or target=level, separated by commas, such as `info,holdfast=debug`"
    )]
    Filter,
    /// Bounds of histograms that the exporter refuses.
    #[error("cannot build the metrics exporter")]
    Exporter(#[from] BuildError),
    /// Metrics or traces were started before.
    #[error("metrics and traces are started already")]
    Started,
    /// The HTTP client cannot be made; on a bare machine, usually for want of CA certificates.
    #[error("cannot set up https to `traces.endpoint`: install the system's CA certificates")]
    Collector(#[source] reqwest::Error),
}

/// lapin logs the bodies of returned messages below this level.
const ALWAYS: &str = "lapin=error";

/// Starts the logs, on standard error: for people on a terminal, JSON otherwise. Without a filter:
/// `info`. Starting them a second time changes nothing.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn start_logs(filter: Option<&str>) -> Result<(), TelemetryError> {
    let filter = format!("{ALWAYS},{}", filter.unwrap_or("info"));
    let filter = EnvFilter::builder().parse(filter).map_err(|_| TelemetryError::Filter)?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    // Fails only where a subscriber is set already.
    let _started_before = if terminal {
        tracing::subscriber::set_global_default(subscriber.with_target(false).finish())
    } else {
        tracing::subscriber::set_global_default(subscriber.json().flatten_event(true).finish())
    };
    Ok(())
}

/// Starts the metrics of this process; the handle renders them.
///
/// # Errors
/// [`TelemetryError::Started`] the second time.
pub fn start_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::Started)?;
    metric::describe();
    let now = u64::try_from(crate::clock::now().timestamp()).unwrap_or_default();
    metrics::gauge!(metric::START_TIME).set(gauge_value(now));
    metrics::gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, TelemetryError> {
    let mut builder = PrometheusBuilder::new();
    for metric in metric::TABLE {
        if !metric.buckets.is_empty() {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)?;
        }
    }
    Ok(builder)
}

/// Notes one transaction of the ledger: how many commands it took, and how long.
pub fn note_commit(commands: usize, took: std::time::Duration) {
    metrics::histogram!(metric::LEDGER_COMMIT).record(took);
    metrics::histogram!(metric::GROUP_SIZE).record(gauge_value(u64::try_from(commands).unwrap_or(u64::MAX)));
}

/// A whole number as the value of a gauge. Exact up to 2^53, which as minor units is more than any
/// account holds; metrics are for looking, the ledger is for counting.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float by its protocol")]
pub fn gauge_value(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_refused() {
        assert!(matches!(start_logs(Some("holdfast=loud")), Err(TelemetryError::Filter)));
    }

    #[test]
    fn metrics_are_rendered_with_help_and_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metric::describe();
            metrics::counter!(metric::CAPTURES, "account" => "a", "outcome" => "captured").increment(2);
            metrics::histogram!(metric::GROUP_SIZE).record(3.0);
            metrics::gauge!(metric::EARNED_UNCAPTURED, "account" => "a", "currency" => "GEL").set(gauge_value(1050));
        });
        let text = handle.render();
        for expected in [
            "# TYPE holdfast_captures_total counter",
            "holdfast_captures_total{account=\"a\",outcome=\"captured\"} 2",
            "holdfast_group_size_bucket{le=\"4\"} 1",
            "holdfast_earned_uncaptured_minor_units{account=\"a\",currency=\"GEL\"} 1050",
        ] {
            assert!(text.contains(expected), "no {expected} in\n{text}");
        }
    }
}
