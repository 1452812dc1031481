//! The books, read out: every authorization with its captures, and sums per account and currency.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::books::{Authorization, Movement, MovementKind, OrderStatus};
use super::{NOTICE, Protocol};
use crate::clock::Timestamp;

/// All pretend money, as of one instant; the body of `GET /sandbox/books`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// That this is not a payment provider.
    pub notice: String,
    /// By account, oldest first.
    pub authorizations: Vec<BookedAuthorization>,
    /// By account and currency.
    pub totals: Vec<Total>,
}

/// One authorization. Amounts are minor units of `currency`;
/// authorized = captured + on hold + voided + remaining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedAuthorization {
    /// Whose books.
    pub protocol: Protocol,
    /// Merchant or client.
    pub account: String,
    /// Order id (Flitt, Fondy) or transaction id (Flex Pay).
    pub reference: String,
    /// Authorized.
    pub amount_minor: i64,
    /// Of all its amounts.
    pub currency: String,
    /// Made.
    pub created_at: Timestamp,
    /// Cannot be captured from then on.
    pub expires_at: Timestamp,
    /// Flitt's and Fondy's `order_status`. At Flex Pay: `declined` or `reversed` if it was made so,
    /// `expired` if it ran out, else `approved`.
    pub status: OrderStatus,
    /// Taken.
    pub captured_minor: i64,
    /// Captured, but not approved yet.
    pub on_hold_minor: i64,
    /// Given back.
    pub voided_minor: i64,
    /// Can still be captured.
    pub remaining_minor: i64,
    /// Capture requests that arrived, whatever came of them.
    pub capture_requests: u64,
    /// What was taken, oldest first.
    pub captures: Vec<BookedMovement>,
    /// What was given back, oldest first.
    pub voids: Vec<BookedMovement>,
}

/// One capture or void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedMovement {
    /// The provider's id of it (Flex Pay: the event's id).
    pub id: String,
    /// How much, in minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// When.
    pub at: Timestamp,
    /// Flex Pay: what the caller called it.
    pub merchant_reference_id: Option<String>,
    /// Is it final?
    pub status: MovementStatus,
    /// Done by the provider itself.
    pub automatic: bool,
}

/// Is a movement final?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementStatus {
    /// A capture that is not approved yet.
    Hold,
    /// Final.
    Done,
}

/// Sums of one account in one currency, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Whose books.
    pub protocol: Protocol,
    /// Merchant or client.
    pub account: String,
    /// ISO 4217.
    pub currency: String,
    /// How many.
    pub authorizations: u64,
    /// How many captures, those on hold included.
    pub captures: u64,
    /// How many capture requests arrived.
    pub capture_requests: u64,
    /// Sum of the authorizations.
    pub authorized_minor: i64,
    /// Sum of the final captures.
    pub captured_minor: i64,
    /// Sum of what was given back.
    pub voided_minor: i64,
}

impl Books {
    pub(super) fn of(authorizations: impl Iterator<Item = BookedAuthorization>) -> Self {
        let authorizations: Vec<_> = authorizations.collect();
        let mut totals: BTreeMap<(&str, &str), Total> = BTreeMap::new();
        for booked in &authorizations {
            let total = totals.entry((&booked.account, &booked.currency)).or_insert_with(|| Total::none_of(booked));
            total.authorizations += 1;
            total.captures += u64::try_from(booked.captures.len()).unwrap_or(u64::MAX);
            total.capture_requests += booked.capture_requests;
            total.authorized_minor = total.authorized_minor.saturating_add(booked.amount_minor);
            total.captured_minor = total.captured_minor.saturating_add(booked.captured_minor);
            total.voided_minor = total.voided_minor.saturating_add(booked.voided_minor);
        }
        let totals = totals.into_values().collect();
        Self { notice: NOTICE.to_owned(), authorizations, totals }
    }

    /// The authorization by this reference.
    pub fn find(&self, reference: &str) -> Option<&BookedAuthorization> {
        self.authorizations.iter().find(|booked| booked.reference == reference)
    }
}

impl Total {
    fn none_of(booked: &BookedAuthorization) -> Self {
        Self {
            protocol: booked.protocol,
            account: booked.account.clone(),
            currency: booked.currency.clone(),
            authorizations: 0,
            captures: 0,
            capture_requests: 0,
            authorized_minor: 0,
            captured_minor: 0,
            voided_minor: 0,
        }
    }
}

impl BookedAuthorization {
    pub(super) fn of(account: &str, authorization: &Authorization) -> Self {
        let (captures, voids): (Vec<_>, Vec<_>) =
            authorization.movements.iter().partition(|movement| movement.kind == MovementKind::Capture);
        let on_hold_minor: i64 =
            captures.iter().filter(|capture| capture.hold.is_some()).map(|capture| capture.amount.minor()).sum();
        Self {
            protocol: authorization.protocol,
            account: account.to_owned(),
            reference: authorization.reference.clone(),
            amount_minor: authorization.authorized.minor(),
            currency: authorization.authorized.currency().code().to_owned(),
            created_at: authorization.created_at,
            expires_at: authorization.expires_at,
            status: authorization.status,
            captured_minor: authorization.captured().minor() - on_hold_minor,
            on_hold_minor,
            voided_minor: authorization.voided().minor(),
            remaining_minor: authorization.remaining().minor(),
            capture_requests: authorization.capture_requests,
            captures: captures.into_iter().map(BookedMovement::of).collect(),
            voids: voids.into_iter().map(BookedMovement::of).collect(),
        }
    }
}

impl BookedMovement {
    fn of(movement: &Movement) -> Self {
        Self {
            id: movement.id.to_string(),
            amount_minor: movement.amount.minor(),
            currency: movement.amount.currency().code().to_owned(),
            at: movement.at,
            merchant_reference_id: movement.merchant_reference_id.clone(),
            status: if movement.hold.is_some() { MovementStatus::Hold } else { MovementStatus::Done },
            automatic: movement.automatic,
        }
    }
}
