//! Where accounts stand: says it aloud, keeps it for operators, renews secrets.
//!
//! Does not decide where an account stands: `worker::account` does.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::ids::AccountName;
use crate::ledger::desk::Desk;
use crate::telemetry::{self, gauge_value, metric};
use crate::worker::account::{Change, Lane, Standing};

/// The alarm of a standing, and what it says.
fn alarm(standing: &Standing) -> Option<(&'static str, String)> {
    match standing {
        Standing::Active => None,
        Standing::Paused(why) => {
            Some(("account_paused", format!("an operator has paused the account, nothing is sent for it: {why}")))
        }
        Standing::Suspended(why) => Some((
            "account_suspended",
            format!("the account's own settings do not work, nothing is sent for it and nothing failed: {why}"),
        )),
        Standing::BreakerOpen(why) => Some((
            "account_breaker_open",
            format!("the account's provider does not work, nothing is sent to it and nothing failed: {why}"),
        )),
    }
}

/// Says that an account stands elsewhere now.
pub(super) fn tell(account: &AccountName, change: &Change) {
    if let Some((name, _)) = alarm(&change.before) {
        telemetry::clear(name, Some(account));
    }
    if let Some((name, message)) = alarm(&change.now) {
        telemetry::alarm(name, Some(account), &message);
    }
}

/// Shows the numbers of an account.
pub(super) fn show(lane: &Lane) {
    let now = lane.status().state;
    for state in Standing::WORDS {
        let labels = [("account", lane.name.to_string()), ("state", state.to_owned())];
        metrics::gauge!(metric::ACCOUNT_STATE, &labels).set(f64::from(u8::from(state == now)));
    }
    let (waiting, in_flight) = lane.numbers();
    let count = |number: usize| gauge_value(u64::try_from(number).unwrap_or(u64::MAX));
    metrics::gauge!(metric::ACCOUNT_WAITING, "account" => lane.name.to_string()).set(count(waiting));
    metrics::gauge!(metric::ACCOUNT_IN_FLIGHT, "account" => lane.name.to_string()).set(count(in_flight));
}

/// Shows how far the provider's clock is from ours, and says so aloud where that is far. Nothing, while
/// it is not known.
pub(super) fn watch_clock(lane: &Lane, max: Duration) {
    let Some(ahead) = lane.clock_skew() else { return };
    metrics::gauge!(metric::CLOCK_SKEW, "account" => lane.name.to_string()).set(ahead.as_seconds_f64());
    if ahead.abs().to_std().is_ok_and(|skew| skew <= max) {
        return telemetry::clear("clock_skew", Some(&lane.name));
    }
    let seconds = ahead.num_seconds().unsigned_abs();
    let where_it_is = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
    let message = format!(
        "the clock of the account's provider is {seconds} s {where_it_is} ours: check this machine's time \
         synchronisation; deadlines are kept by its clock"
    );
    telemetry::alarm("clock_skew", Some(&lane.name), &message);
}

/// Keeps for operators where an account stands. They can do without it for once: a failure is only said.
pub(super) fn keep(desk: &Arc<Desk>, lane: &Arc<Lane>) {
    let (desk, lane) = (Arc::clone(desk), Arc::clone(lane));
    tokio::task::spawn_blocking(move || {
        if let Err(error) = desk.set_status(&lane.status()) {
            tracing::warn!(%error, account = lane.name.as_str(), "where the account stands could not be written down");
        }
    });
}

/// Reads an account's secret anew, if it is in a file, and says what came of it.
pub(super) fn renew_secret(lane: &Lane) {
    match lane.renew_secret() {
        Ok(true) => tracing::info!(account = lane.name.as_str(), "another secret is in use from now on"),
        Ok(false) => {}
        Err(error) => {
            let account = lane.name.as_str();
            tracing::error!(%error, account, "the secret cannot be read anew: the one before stays in use");
        }
    }
}
