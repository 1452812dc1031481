//! Numbers in providers' JSON, read from their text and never through floating point.
//!
//! Does not know which field is in which unit; the callers do.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::money::{Currency, Money, parse_plain_decimal};

/// The text of a string or number; `None` for anything that has parts.
///
/// Providers send the same field as a number here and as a string there; both read alike.
pub(super) fn scalar(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
        b'{' | b'[' => None,
        _ if text == "null" => Some(Cow::Borrowed("")),
        _ => Some(Cow::Borrowed(text)),
    }
}

/// An amount in major units, from the text of a number such as `151.18`.
pub(super) fn major(text: &str, currency: Currency) -> Result<Money, String> {
    Money::from_major(decimal(text)?, currency).map_err(|error| error.to_string())
}

/// An amount in minor units, such as the text `15118`.
pub(super) fn minor(text: &str, currency: Currency) -> Result<Money, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is not a whole number of minor units".to_owned());
    }
    let minor = text.parse().map_err(|_| "is too large")?;
    Money::from_minor(minor, currency).map_err(|error| error.to_string())
}

/// An RFC 3339 instant with up to nine decimals of a second.
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.with_timezone(&Utc))
}

/// A number as JSON writes it. An exponent moves the point and changes no digit: Java prints some
/// decimals so, `1E+2` for 100.
fn decimal(text: &str) -> Result<Decimal, &'static str> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return parse_plain_decimal(text) };
    let mantissa = parse_plain_decimal(mantissa)?;
    let far = "has an exponent that no amount has";
    let exponent = exponent.parse::<i8>().map_err(|_| far)?;
    let (zeros, places) = (exponent.max(0).unsigned_abs(), exponent.min(0).unsigned_abs());
    let digits =
        10_i128.checked_pow(zeros.into()).and_then(|power| mantissa.mantissa().checked_mul(power)).ok_or(far)?;
    Decimal::try_from_i128_with_scale(digits, mantissa.scale() + u32::from(places)).map_err(|_| far)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An amount in major units, from JSON.
    fn read(json: &str, currency: Currency) -> Option<i64> {
        let raw: Box<RawValue> = serde_json::from_str(json).expect("the table is JSON");
        major(&scalar(&raw)?, currency).ok().map(Money::minor)
    }

    #[test]
    fn major_units_are_read_exactly_or_not_at_all() {
        let gel = Currency::parse("GEL").expect("known");
        for (json, minor) in [
            ("1.0", 100),
            ("0.1", 10),
            ("151.18", 15_118),
            ("\"151.180\"", 15_118),
            ("1000.00", 100_000),
            ("0", 0),
            // Not what a double would make of it times a hundred: 28.999…
            ("0.29", 29),
            ("999999999999.99", 99_999_999_999_999),
            ("1e2", 10_000),
            ("1E+2", 10_000),
            ("1.5118E2", 15_118),
            ("15118e-2", 15_118),
            ("2.9e-1", 29),
            ("0E+10", 0),
        ] {
            assert_eq!(read(json, gel), Some(minor), "{json}");
        }
        for json in ["-1.0", "-1e2", "0.001", "1e-3", "1.001e0", "1e12", "1e127", "1e-127", "1e128", "\"1e\"", "\"e2\""]
        {
            assert_eq!(read(json, gel), None, "{json}");
        }
        for json in ["0.30000000000000004", "null", "true", "{}", "[1]", "\"\"", "\"1,0\""] {
            assert_eq!(read(json, gel), None, "{json}");
        }
        // Floats of currencies without decimals, or with three.
        for (json, code, minor) in [("15118.0", "JPY", 15_118), ("0.001", "KWD", 1), ("1.5e-2", "KWD", 15)] {
            assert_eq!(read(json, Currency::parse(code).expect("known")), Some(minor), "{json} {code}");
        }
    }

    #[test]
    fn minor_units_are_whole() {
        let uah = Currency::parse("UAH").expect("known");
        assert_eq!(minor("15118", uah).map(Money::minor), Ok(15_118));
        assert_eq!(minor("0", uah).map(Money::minor), Ok(0));
        for text in ["", "-1", "+1", "1.0", "1e2", "15118 ", "99999999999999999999"] {
            assert!(minor(text, uah).is_err(), "{text:?}");
        }
    }

    #[test]
    fn instants_have_up_to_nine_decimals() {
        for digits in 0..=9 {
            let fraction = "200431691".get(..digits).expect("ASCII");
            let nanos: u32 = format!("{fraction:0<9}").parse().expect("digits");
            let point = if digits == 0 { "" } else { "." };
            for (hour, zone) in [("08", "Z"), ("10", "+02:00"), ("07", "-01:00")] {
                let text = format!("2026-11-26T{hour}:00:15{point}{fraction}{zone}");
                let instant = rfc3339(&text).unwrap_or_else(|| panic!("{text}"));
                let seen = (instant.timestamp(), instant.timestamp_subsec_nanos());
                assert_eq!(seen, (1_795_680_015, nanos), "{text}");
            }
        }
        for text in ["", "2026-11-26", "2026-11-26T08:00:15", "26.11.2026 08:00:15"] {
            assert_eq!(rfc3339(text), None, "{text:?}");
        }
    }
}
