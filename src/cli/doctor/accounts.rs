//! Accounts: reached, let in, and what time it is there.

use std::time::Duration;

use super::{Check, Outcome};
use crate::cli::text;
use crate::clock::Moment;
use crate::provider::{self, ClockSkew, Provider, Trial};
use crate::settings::Account;

/// Tries all of them out at once; they are told in the order of the settings.
pub(super) async fn check(accounts: &[&Account], skew_max: Duration) -> Vec<Check> {
    if accounts.is_empty() {
        let way_out = "add an [accounts.NAME] section to the settings";
        return vec![Check::wrong("accounts", "none is configured, so that every shipment waits", way_out)];
    }
    let tried = accounts.iter().map(|account| check_one(account, skew_max));
    futures_util::future::join_all(tried).await.into_iter().flatten().collect()
}

async fn check_one(account: &Account, skew_max: Duration) -> Vec<Check> {
    let about = format!("account {}", account.name);
    let provider = match provider::connect(account) {
        Ok(provider) => provider,
        Err(error) => return vec![Check::from_words(Outcome::Problem, about, &error.to_string())],
    };
    let tried = match provider.try_out().await {
        Trial::LetIn => Check::ok(about, "reached, and its credentials are accepted"),
        Trial::Unreachable { why } => {
            Check::unreachable(about, why, "check the account's URLs, the network and the provider's own status")
        }
        Trial::Misconfigured(fault) => {
            let code = fault.code.map(|code| format!("{code}: ")).unwrap_or_default();
            let (found, way_out) = fault.message.split_once(": ").unwrap_or((
                fault.message.as_str(),
                "check the account's secret, merchant or client, and URLs; a new secret in a file counts at once",
            ));
            Check::wrong(about, format!("not let in: {code}{found}"), way_out)
        }
        Trial::Unclear { why } => {
            let way_out = "ask the provider: captures would be in doubt";
            Check::wrong(about, format!("reached, and the answer says nothing that we know: {why}"), way_out)
        }
    };
    let clock = clock(account, &*provider, skew_max);
    vec![tried, clock]
}

fn clock(account: &Account, provider: &dyn Provider, skew_max: Duration) -> Check {
    let about = format!("clock of {}", account.name);
    let Some(ClockSkew(ahead)) = provider.clock().last_skew(Moment::now()) else {
        return Check::unknown(about, "no answer told what time it is there");
    };
    let found = if ahead.num_seconds() == 0 {
        "the provider's clock agrees with ours".to_owned()
    } else {
        format!("the provider's clock is {}", text::skew(ahead))
    };
    if ahead.abs().to_std().is_ok_and(|skew| skew <= skew_max) {
        return Check::ok(about, found);
    }
    Check::wrong(about, found, "check this machine's time synchronisation: deadlines are kept by its clock")
}
