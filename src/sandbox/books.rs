//! One authorization and what became of its money. Time is an argument.
//!
//! The books know no protocol and no HTTP: whether a capture is allowed is asked before, by
//! `cloudipsp` and `flex_pay`, which also word the refusal.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Protocol;
use crate::clock::Timestamp;
use crate::money::Money;

/// How long an authorization lives where nobody says otherwise: seven days, in milliseconds.
pub(super) const LIFETIME_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// What to authorize; the body of `POST /sandbox/authorizations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAuthorization {
    /// Whose books; may be left out where `account` tells.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Merchant id or client id; default: the protocol's test account.
    #[serde(default)]
    pub account: Option<String>,
    /// The order id (Flitt, Fondy) or transaction id (Flex Pay); default: a fresh one.
    #[serde(default)]
    pub reference: Option<String>,
    /// How much, in minor units of `currency`.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// How long it can be captured, in milliseconds; default: seven days.
    #[serde(default)]
    pub lifetime_ms: Option<u64>,
    /// Flex Pay: comes back in the transaction.
    #[serde(default)]
    pub merchant_reference_id: Option<String>,
    /// Flitt, Fondy: what the shop asked for, where the provider converted it into `amount_minor` and
    /// `currency` (their `actual_amount` and `actual_currency`); default: the same.
    #[serde(default)]
    pub order_amount_minor: Option<i64>,
    /// See `order_amount_minor`.
    #[serde(default)]
    pub order_currency: Option<String>,
    /// Where the order stands; default: approved. Flex Pay shows `declined` as `AUTHORIZED_FAILED` and
    /// `reversed` as `VOIDED`, and has nothing that is unpaid.
    #[serde(default)]
    pub status: OrderStatus,
    /// Flitt, Fondy: `card`, which is the default, or anything else, which is charged in full at once.
    #[serde(default)]
    pub payment_system: Option<String>,
    /// Flitt, Fondy: what becomes of a hold at its end.
    #[serde(default)]
    pub on_expiry: OnExpiry,
}

/// Where an order stands: the `order_status` of Flitt and Fondy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Nobody has paid yet.
    Created,
    /// Being paid.
    Processing,
    /// Held or charged; stays so before and after a capture.
    #[default]
    Approved,
    /// Not paid.
    Declined,
    /// Ran out.
    Expired,
    /// Given back in full.
    Reversed,
}

/// What becomes of a Flitt or Fondy hold at its end. Their API does not say; their shop plug-ins warn
/// of an automatic capture, so that is the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// All of it is captured.
    #[default]
    Capture,
    /// All of it is released, and the order is `expired`.
    Release,
}

/// One authorization.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) protocol: Protocol,
    pub(super) reference: String,
    /// Flex Pay's `order_id`; the number of the payment at Flitt and Fondy is derived from it.
    pub(super) order: Uuid,
    pub(super) merchant_reference_id: Option<String>,
    pub(super) authorized: Money,
    /// What the shop asked for, before conversion.
    pub(super) ordered: Money,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) status: OrderStatus,
    pub(super) payment_system: String,
    pub(super) on_expiry: OnExpiry,
    pub(super) movements: Vec<Movement>,
    /// Capture requests that reached the sandbox, whatever came of them.
    pub(super) capture_requests: u64,
    captured_minor: i64,
    voided_minor: i64,
}

/// What happened to a part of the money.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    pub(super) id: Uuid,
    pub(super) kind: MovementKind,
    pub(super) amount: Money,
    pub(super) at: Timestamp,
    pub(super) merchant_reference_id: Option<String>,
    /// Done by the provider itself: the release of a rest, or a capture at the end of the hold.
    pub(super) automatic: bool,
    /// The capture is not approved yet.
    pub(super) hold: Option<Hold>,
}

/// Captured, or given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MovementKind {
    Capture,
    Void,
}

/// How long a capture stays unapproved: until both are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) lookups: u32,
    pub(super) until: Timestamp,
}

impl Authorization {
    pub(super) fn new(
        protocol: Protocol,
        reference: String,
        authorized: Money,
        ordered: Money,
        now: Timestamp,
        new: NewAuthorization,
    ) -> Self {
        let lifetime = TimeDelta::milliseconds(new.lifetime_ms.unwrap_or(LIFETIME_MS).try_into().unwrap_or(i64::MAX));
        let mut made = Self {
            protocol,
            reference,
            order: Uuid::new_v4(),
            merchant_reference_id: new.merchant_reference_id,
            authorized,
            ordered,
            created_at: now,
            expires_at: now.checked_add_signed(lifetime).unwrap_or(Timestamp::MAX_UTC),
            status: new.status,
            payment_system: new.payment_system.unwrap_or_else(|| "card".to_owned()),
            on_expiry: new.on_expiry,
            movements: Vec::new(),
            capture_requests: 0,
            captured_minor: 0,
            voided_minor: 0,
        };
        match made.status {
            OrderStatus::Approved if !made.is_card() => {
                made.book(MovementKind::Capture, authorized, None, now, true, None);
            }
            OrderStatus::Declined | OrderStatus::Expired | OrderStatus::Reversed => {
                made.book(MovementKind::Void, authorized, None, now, true, None);
            }
            OrderStatus::Created | OrderStatus::Processing | OrderStatus::Approved => {}
        }
        made
    }

    /// Only cards can be held and captured later (Flitt, Fondy).
    pub(super) fn is_card(&self) -> bool {
        self.payment_system == "card"
    }

    /// Captured, or on the way to it.
    pub(super) fn captured(&self) -> Money {
        self.money(self.captured_minor)
    }

    pub(super) fn voided(&self) -> Money {
        self.money(self.voided_minor)
    }

    /// What can still be captured: authorized = captured + voided + remaining.
    pub(super) fn remaining(&self) -> Money {
        self.money(self.authorized.minor() - self.captured_minor - self.voided_minor)
    }

    /// The capture of a single-capture authorization.
    pub(super) fn single_capture(&self) -> Option<&Movement> {
        self.movements.iter().find(|movement| movement.kind == MovementKind::Capture)
    }

    /// Lets happen what time brings: approval of a capture on hold, the end of the authorization.
    pub(super) fn settle(&mut self, now: Timestamp) {
        for movement in &mut self.movements {
            movement.hold = movement.hold.filter(|hold| hold.lookups > 0 || now < hold.until);
        }
        if now < self.expires_at || self.remaining().is_zero() || self.status != OrderStatus::Approved {
            return;
        }
        let (rest, end) = (self.remaining(), self.expires_at);
        if self.protocol.is_cloudipsp() && self.on_expiry == OnExpiry::Capture {
            self.book(MovementKind::Capture, rest, None, end, true, None);
        } else {
            self.status = OrderStatus::Expired;
            self.book(MovementKind::Void, rest, None, end, true, None);
        }
    }

    /// A look-up came: one fewer until a capture on hold is approved.
    pub(super) fn looked_up(&mut self) {
        for hold in self.movements.iter_mut().filter_map(|movement| movement.hold.as_mut()) {
            hold.lookups = hold.lookups.saturating_sub(1);
        }
    }

    /// Books a capture or a void by the merchant. The caller has checked that it fits.
    pub(super) fn move_money(
        &mut self,
        kind: MovementKind,
        amount: Money,
        merchant_reference_id: Option<String>,
        now: Timestamp,
    ) {
        self.book(kind, amount, merchant_reference_id, now, false, None);
    }

    /// Books the one capture that there can be, and releases the rest.
    pub(super) fn capture_once(&mut self, amount: Money, hold: Option<Hold>, now: Timestamp) {
        self.book(MovementKind::Capture, amount, None, now, false, hold);
        let rest = self.remaining();
        if !rest.is_zero() {
            self.book(MovementKind::Void, rest, None, now, true, None);
        }
    }

    fn book(
        &mut self,
        kind: MovementKind,
        amount: Money,
        merchant_reference_id: Option<String>,
        at: Timestamp,
        automatic: bool,
        hold: Option<Hold>,
    ) {
        assert!(amount.minor() <= self.remaining().minor(), "the books never give more than they hold");
        match kind {
            MovementKind::Capture => self.captured_minor += amount.minor(),
            MovementKind::Void => self.voided_minor += amount.minor(),
        }
        let id = Uuid::new_v4();
        self.movements.push(Movement { id, kind, amount, at, merchant_reference_id, automatic, hold });
    }

    fn money(&self, minor: i64) -> Money {
        Money::from_minor(minor, self.authorized.currency()).expect("the books never give more than they hold")
    }
}
