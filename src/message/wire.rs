//! The values that messages are made of, as they are written and as their schemas describe them.
//!
//! Only for writing: what comes in is read by `field`, which knows what to say when it is wrong.

use chrono::SecondsFormat;
use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::capture::notice;
use crate::clock::Timestamp;
use crate::money::{Currency, Money};

/// Money as a decimal string in major units, such as `"119.00"`: at most 12 integer digits and no
/// more decimals than the currency has, without a sign or an exponent.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Amount(#[schemars(with = "String", regex(pattern = r"^0*[0-9]{1,12}(\.[0-9]{1,12})?$"))] Decimal);

impl Amount {
    pub(super) const fn major(major: Decimal) -> Self {
        Self(major)
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money.to_major())
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A positive number of units: an integer, or a decimal string with at most 6 decimals.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Quantity {
    /// Whole units.
    Units(#[schemars(range(min = 1, max = 1_000_000_000))] i64),
    /// Such as `"1.250"`, of what is sold by weight or length.
    Decimal(#[schemars(regex(pattern = r"^0*[0-9]{1,10}(\.[0-9]{1,12})?$"))] String),
}

impl From<notice::Quantity> for Quantity {
    fn from(quantity: notice::Quantity) -> Self {
        let text = quantity.to_string();
        text.parse().map_or(Self::Decimal(text), Self::Units)
    }
}

/// 1 to 128 printable ASCII characters without spaces or `|`.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Id<'a>(#[schemars(length(min = 1, max = 128), regex(pattern = r"^[!-{}~]+$"))] pub(super) &'a str);

/// A UUID in lower case with hyphens.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Key(#[schemars(with = "String", extend("format" = "uuid"))] pub(super) Uuid);

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An instant in RFC 3339. What we write is in UTC with milliseconds.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(transparent)]
pub(super) struct Instant(#[schemars(with = "String", extend("format" = "date-time"))] pub(super) Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// An ISO 4217 alphabetic code.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(transparent)]
pub(super) struct CurrencyCode(#[schemars(with = "String", regex(pattern = r"^[A-Z]{3}$"))] pub(super) Currency);

impl Serialize for CurrencyCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.code())
    }
}
