//! Alarms: conditions that a person should look at, for as long as they last.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::metric;
use crate::ids::AccountName;

/// Every alarm there is. `deploy/prometheus/alerts.yml` has a rule for each, `docs/operations.md` what to do.
pub const NAMES: &[&str] = &[
    "account_breaker_open",
    "account_capped",
    "account_misconfigured",
    "account_paused",
    "account_suspended",
    "authorization_halted",
    "awaiting",
    "broker_unusable",
    "clock_skew",
    "conflict",
    "corrected",
    "disk_nearly_full",
    "expiring",
    "in_doubt",
    "ledger_silent",
    "restore_stalled",
    "too_many_open_captures",
    "unroutable",
];

static RAISED: Alarms = Alarms(Mutex::new(BTreeSet::new()));

/// Raises an alarm: one error line when it begins, and `holdfast_alarm{name,account}` at 1 until
/// [`clear`]. While it lasts, raising it again says nothing.
///
/// `name` is one of [`NAMES`], because it is a metric's label and a rule's.
pub fn alarm(name: &'static str, account: Option<&AccountName>, message: &str) {
    debug_assert!(cfg!(test) || NAMES.contains(&name), "{name} is not in the table of alarms");
    if RAISED.raise(name, account) {
        tracing::error!(alarm = name, account = account.map(AccountName::as_str), "{message}");
        gauge(name, account).set(1.0);
    }
}

/// Ends an alarm, with one line. Says nothing if it was not raised.
pub fn clear(name: &'static str, account: Option<&AccountName>) {
    if RAISED.clear(name, account) {
        tracing::info!(alarm = name, account = account.map(AccountName::as_str), "alarm is over");
        gauge(name, account).set(0.0);
    }
}

fn gauge(name: &'static str, account: Option<&AccountName>) -> metrics::Gauge {
    let account = account.map_or_else(String::new, ToString::to_string);
    metrics::gauge!(metric::ALARM, "name" => name, "account" => account)
}

/// The alarms that are raised now.
struct Alarms(Mutex<BTreeSet<(&'static str, Option<AccountName>)>>);

impl Alarms {
    /// Was it down before?
    fn raise(&self, name: &'static str, account: Option<&AccountName>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((name, account.cloned()))
    }

    /// Was it up before?
    fn clear(&self, name: &'static str, account: Option<&AccountName>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(name, account.cloned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_alarm_says_one_line_until_it_is_cleared() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let account = AccountName::parse("flitt-ge").unwrap();
        let count = |text: &str| {
            String::from_utf8(lines.0.lock().unwrap().clone()).unwrap().lines().filter(|l| l.contains(text)).count()
        };
        metrics::with_local_recorder(&recorder, || {
            tracing::subscriber::with_default(subscriber, || {
                let gauge = r#"holdfast_alarm{name="test_alarm",account="flitt-ge"}"#;
                clear("test_alarm", Some(&account));
                assert_eq!(count("test_alarm"), 0);
                alarm("test_alarm", Some(&account), "three wrong signatures in a row");
                alarm("test_alarm", Some(&account), "three wrong signatures in a row");
                assert_eq!(count("ERROR"), 1);
                assert!(handle.render().contains(&format!("{gauge} 1")), "{}", handle.render());
                alarm("test_alarm", None, "another account, another alarm");
                assert_eq!(count("ERROR"), 2);
                clear("test_alarm", Some(&account));
                assert!(handle.render().contains(&format!("{gauge} 0")), "{}", handle.render());
                alarm("test_alarm", Some(&account), "again");
                assert_eq!(count("ERROR"), 3);
            });
        });
    }
}
