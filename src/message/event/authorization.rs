//! What is told of an authorization that dies.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Amount, Balance, CurrencyCode, Id, Instant};
use crate::capture::event::{AuthorizationEnd, AuthorizationWarning, Ending};

/// An authorization is about to expire, with money on it that is not captured.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::message) struct Expiring<'a> {
    /// The order that registered it.
    order_id: Id<'a>,
    /// The configured account.
    account: Id<'a>,
    /// The authorization at the provider.
    reference: Id<'a>,
    /// Of every amount in this event.
    currency: CurrencyCode,
    /// When the authorization dies.
    authorization_expires_at: Instant,
    /// Was that derived from the account's settings rather than told?
    expiry_is_derived: bool,
    /// So long before the expiry it was to be warned of, as configured. Each lead comes once per expiry.
    lead_seconds: u64,
    /// What the provider does with the money then: gives it back, or may capture it in full by itself.
    #[schemars(extend("enum" = ["void", "may_capture_in_full"]))]
    on_expiry: &'static str,
    /// The authorization's balance now.
    balance: Balance,
    /// Counts the events of the order, from 1. No order of arrival is promised.
    #[schemars(range(min = 1))]
    sequence: u64,
}

/// An authorization is over: what became of its money, by the provider's word.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::message) struct Expired<'a> {
    /// The order that registered it.
    order_id: Id<'a>,
    /// The configured account.
    account: Id<'a>,
    /// The authorization at the provider.
    reference: Id<'a>,
    /// Of every amount in this event.
    currency: CurrencyCode,
    /// When the authorization died.
    authorization_expires_at: Instant,
    /// How the provider says that it ended.
    #[schemars(extend("enum" = Ending::ALL.map(Ending::as_str)))]
    ending: &'static str,
    /// How much the provider held.
    authorized: Amount,
    /// Captured by us.
    captured_by_us: Amount,
    /// Captured beyond that: by the provider itself as the hold ended, or by somebody else. Above zero,
    /// somebody should look: it may have to be given back.
    captured_elsewhere: Amount,
    /// Given back to the payer.
    released: Amount,
    /// Counts the events of the order, from 1. No order of arrival is promised.
    #[schemars(range(min = 1))]
    sequence: u64,
}

impl<'a> From<&'a AuthorizationWarning> for Expiring<'a> {
    fn from(warning: &'a AuthorizationWarning) -> Self {
        Self {
            order_id: Id(warning.order.as_str()),
            account: Id(warning.account.as_str()),
            reference: Id(warning.reference.as_str()),
            currency: CurrencyCode(warning.balance.authorized.currency()),
            authorization_expires_at: Instant(warning.expires_at),
            expiry_is_derived: warning.expiry_is_derived,
            lead_seconds: warning.lead.as_secs(),
            on_expiry: warning.on_expiry.as_str(),
            balance: warning.balance.into(),
            sequence: warning.sequence,
        }
    }
}

impl<'a> From<&'a AuthorizationEnd> for Expired<'a> {
    fn from(end: &'a AuthorizationEnd) -> Self {
        Self {
            order_id: Id(end.order.as_str()),
            account: Id(end.account.as_str()),
            reference: Id(end.reference.as_str()),
            currency: CurrencyCode(end.authorized.currency()),
            authorization_expires_at: Instant(end.expires_at),
            ending: end.ending.as_str(),
            authorized: end.authorized.into(),
            captured_by_us: end.captured_by_us.into(),
            captured_elsewhere: end.captured_elsewhere.into(),
            released: end.released.into(),
            sequence: end.sequence,
        }
    }
}
