//! What the settings say, as far as the core needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::capture::usage::Window;
use crate::ids::AccountName;
use crate::money::{Currency, Money};

/// Rules that hold for every decision.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long before `expires_at` earned money is taken whatever else is missing.
    pub deadline_margin: Duration,
    /// The same where `expires_at` was derived from the account's settings rather than told.
    pub derived_deadline_margin: Duration,
    /// How long before `expires_at` to warn of money that is not captured yet, the longest first.
    pub expiring_leads: Vec<Duration>,
    /// How long a single-capture authorization goes on collecting after a final notice.
    pub final_grace: Duration,
    /// How long after the last moment a request could have left its absence starts to mean anything.
    pub quiet: Duration,
    /// How long a shipment may wait for its plan, authorization or account.
    pub awaiting_max: Duration,
    /// How often a shipment that waits for its account is looked at again.
    pub awaiting_check: Duration,
    /// How long after an attempt began its request may still be sent.
    pub send_within: Duration,
    /// How long a parked capture waits before the next try after a configuration fault.
    pub parked_for: Duration,
    /// Longest wait that a provider's `Retry-After` can impose.
    pub retry_after_max: Duration,
    /// Exponential backoff for what was certainly not executed.
    pub backoff: Backoff,
    /// When to look at a capture in doubt: the wait before each look, the last one repeating.
    pub look_after: Vec<Duration>,
    /// The configured accounts.
    pub accounts: BTreeMap<AccountName, AccountPolicy>,
}

/// Parameters of the exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Each wait is this many times the one before.
    pub multiplier: f64,
    /// A wait is spread over plus or minus this share of itself, 0 to 1.
    pub jitter: f64,
}

/// What the core needs to know of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPolicy {
    /// One capture per authorization, or several.
    pub captures: Captures,
    /// How long after the first send the same key may be sent again without a read before;
    /// `None` where repeating the same amount is safe for ever (Flitt, Fondy).
    pub resend_window: Option<Duration>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Does the provider say when an authorization dies?
    pub tells_expiry: bool,
    /// How long an authorization lives where neither message nor provider says so.
    pub authorization_lifetime: Option<Duration>,
    /// What happens to a hold that dies.
    pub on_expiry: OnExpiry,
    /// Amounts must be multiples of it, in major units.
    pub quantum: Option<Decimal>,
    /// The least that is captured at once, in major units.
    pub minimum: Option<Decimal>,
    /// How much is captured before a person is asked, by currency; empty for no bounds at all.
    pub caps: Vec<Caps>,
}

/// How much of an account is captured in one currency before a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The currency.
    pub currency: Currency,
    /// The most in one capture.
    pub capture: Option<Money>,
    /// The most in any hour.
    pub hour: Option<Money>,
    /// The most in any day.
    pub day: Option<Money>,
}

impl Caps {
    /// None, in a currency.
    pub const fn none(currency: Currency) -> Self {
        Self { currency, capture: None, hour: None, day: None }
    }

    /// The most in a window.
    pub const fn of(&self, window: Window) -> Option<Money> {
        match window {
            Window::Hour => self.hour,
            Window::Day => self.day,
        }
    }
}

impl AccountPolicy {
    /// The caps in a currency, where any names it.
    pub fn caps_in(&self, currency: Currency) -> Option<&Caps> {
        self.caps.iter().find(|caps| caps.currency == currency)
    }

    /// Has what is captured to be counted, by the hour or by the day?
    pub fn is_counted(&self) -> bool {
        self.caps.iter().any(|caps| caps.hour.is_some() || caps.day.is_some())
    }

    /// What amounts must be multiples of, in minor units: the least that is a multiple of the quantum
    /// and of the minor unit, so that 0.05 is 5 cents and one yen.
    pub fn quantum_in(&self, currency: Currency) -> i64 {
        let (whole, parts) = self.quantum.map_or((1, 1), |quantum| in_minor_units(quantum, currency));
        let (mut greatest, mut rest) = (whole, parts);
        while rest != 0 {
            (greatest, rest) = (rest, greatest % rest);
        }
        i64::try_from(whole / greatest.max(1)).unwrap_or(i64::MAX).max(1)
    }

    /// The least that is captured at once, in minor units, rounded up to a whole one.
    pub fn minimum_in(&self, currency: Currency) -> i64 {
        let (whole, parts) = self.minimum.map_or((0, 1), |minimum| in_minor_units(minimum, currency));
        i64::try_from((whole + parts - 1) / parts).unwrap_or(i64::MAX)
    }
}

/// An amount in minor units as an exact fraction: what, and of how many parts. Settings allow six
/// decimals, and no currency has more than four, so neither overflows.
fn in_minor_units(major: Decimal, currency: Currency) -> (i128, i128) {
    let major = major.normalize();
    let (scale, exponent) = (major.scale(), currency.exponent());
    let tens = |power: u32| 10_i128.pow(power);
    (major.mantissa() * tens(exponent.saturating_sub(scale)), tens(scale.saturating_sub(exponent)))
}

/// How often an authorization can be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Captures {
    /// Once; the rest of the hold is released.
    Single,
    /// Several times, until it expires.
    Multiple,
}

/// What happens to a hold that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnExpiry {
    /// The rest is voided.
    Void,
    /// May be captured in full by the provider itself.
    MayCaptureInFull,
}

impl OnExpiry {
    /// The word in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::MayCaptureInFull => "may_capture_in_full",
        }
    }
}

impl Policy {
    /// The longest rest between two reads of an authorization that is over by our clock, and that its
    /// provider still holds. The longest look, where that is longer.
    pub const REST_MAX: Duration = Duration::from_hours(12);

    /// The accounts of which it has to be counted what is captured.
    pub fn counted(&self) -> Vec<AccountName> {
        let counted = self.accounts.iter().filter(|(_, account)| account.is_counted());
        counted.map(|(name, _)| name.clone()).collect()
    }

    /// No wait that is counted from now is longer. An instant farther ahead that was such a wait was
    /// set by a clock that has been set back since.
    pub fn longest_wait(&self) -> Duration {
        let looks = self.look_after.iter().copied().max().unwrap_or_default();
        let timeouts = self.accounts.values().map(|account| account.timeout).max().unwrap_or_default();
        let waits = [looks, timeouts, self.quiet, self.parked_for, self.backoff.max, self.retry_after_max];
        let longest = waits.into_iter().max().unwrap_or_default().max(self.awaiting_check);
        // Twice: waits are spread by up to their own length, and some have `send_within` on top.
        longest.saturating_add(self.send_within).saturating_mul(2)
    }

    /// The same for reads of an authorization on which nothing collects.
    pub fn longest_rest(&self) -> Duration {
        self.longest_wait().saturating_add(Self::REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_major_units_hold_in_every_currency() {
        for (text, code, quantum, minimum) in [
            ("0.05", "CHF", 5, 5),
            ("0.05", "JPY", 1, 1),
            ("0.05", "KWD", 50, 50),
            ("1", "EUR", 100, 100),
            ("1.00", "JPY", 1, 1),
            ("0.075", "EUR", 15, 8),
            ("0.001", "EUR", 1, 1),
            ("1.5", "JPY", 3, 2),
            ("1000", "CLF", 10_000_000, 10_000_000),
        ] {
            let value = Some(text.parse().expect("a decimal"));
            let account = AccountPolicy {
                captures: Captures::Single,
                resend_window: None,
                timeout: Duration::ZERO,
                tells_expiry: false,
                authorization_lifetime: None,
                on_expiry: OnExpiry::Void,
                quantum: value,
                minimum: value,
                caps: Vec::new(),
            };
            let currency = Currency::parse(code).expect("a currency");
            assert_eq!(account.quantum_in(currency), quantum, "{text} {code}");
            assert_eq!(account.minimum_in(currency), minimum, "{text} {code}");
            let none = AccountPolicy { quantum: None, minimum: None, ..account };
            assert_eq!((none.quantum_in(currency), none.minimum_in(currency)), (1, 0));
        }
    }
}
