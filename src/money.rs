//! Exact money: integer minor units with their currency, and nothing else.
//!
//! There is no floating point here and no operator that could overflow quietly: every sum is a
//! checked operation whose failure is a value. Exponents (how many decimals a currency has) come
//! from ISO 4217 through the `iso_currency` crate.

use std::fmt;

use rust_decimal::Decimal;
use thiserror::Error;

/// The most integer digits an amount in a message may have.
pub const INTEGER_DIGITS_MAX: usize = 12;

/// The first integer with more than [`INTEGER_DIGITS_MAX`] digits.
const MAJOR_LIMIT: i64 = 1_000_000_000_000;

/// An ISO 4217 currency with a known number of decimals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency {
    code: [u8; 3],
    exponent: u8,
}

impl Currency {
    /// Reads an ISO 4217 alphabetic code in upper case, such as `EUR`.
    ///
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] for anything that ISO 4217 does not list, and for the codes
    /// that have no minor unit (precious metals, `XXX`): money cannot be captured in them.
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency(code.chars().take(8).collect());
        let bytes: [u8; 3] = code.as_bytes().try_into().map_err(|_| unknown())?;
        let iso = iso_currency::Currency::from_code(code).ok_or_else(unknown)?;
        let exponent = iso.exponent().ok_or_else(unknown)?;
        let exponent = u8::try_from(exponent).map_err(|_| unknown())?;
        Ok(Self { code: bytes, exponent })
    }

    /// The alphabetic code, three upper-case letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).expect("a currency code is ASCII by construction")
    }

    /// How many decimals one major unit has: 2 for EUR, 0 for JPY, 3 for KWD, 4 for CLF.
    pub fn exponent(&self) -> u32 {
        u32::from(self.exponent)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount of money, never negative: integer minor units of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// No money at all, in `currency`.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// `minor` minor units (cents, for EUR).
    ///
    /// # Errors
    /// [`MoneyError::Negative`] below zero.
    pub const fn from_minor(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if minor < 0 {
            return Err(MoneyError::Negative);
        }
        Ok(Self { minor, currency })
    }

    /// The exact amount that a decimal in major units stands for: `119.00` EUR is 11 900 minor units.
    ///
    /// # Errors
    /// [`MoneyError::Negative`], [`MoneyError::TooManyDecimals`] when the value has a non-zero digit
    /// below the currency's minor unit, [`MoneyError::TooLarge`] beyond 12 integer digits.
    pub fn from_major(major: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        if major.is_sign_negative() && !major.is_zero() {
            return Err(MoneyError::Negative);
        }
        let exponent = currency.exponent();
        // Trailing zeros change nothing.
        let major = major.normalize();
        let Some(zeros) = exponent.checked_sub(major.scale()) else {
            return Err(MoneyError::TooManyDecimals { currency, exponent });
        };
        let minor = major.mantissa().checked_mul(10_i128.pow(zeros)).ok_or(MoneyError::TooLarge)?;
        if minor >= i128::from(MAJOR_LIMIT) * 10_i128.pow(exponent) {
            return Err(MoneyError::TooLarge);
        }
        let minor = i64::try_from(minor).map_err(|_| MoneyError::TooLarge)?;
        Self::from_minor(minor, currency)
    }

    /// Minor units, zero or more.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Is this no money at all?
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// The same amount as a decimal in major units, with exactly as many decimals as the currency has.
    pub fn to_major(self) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(self.minor), self.currency.exponent())
    }

    /// The sum of two amounts of one currency.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`], [`MoneyError::TooLarge`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::TooLarge)?;
        Self::from_minor(minor, self.currency)
    }

    /// The difference of two amounts of one currency.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`]; [`MoneyError::Negative`] when `other` is more.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::Negative)?;
        Self::from_minor(minor, self.currency)
    }

    /// What is left of `self` after `other`, and nothing where `other` is as much or more.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`].
    pub fn saturating_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Ok(Self { minor: (self.minor - other.minor).max(0), currency: self.currency })
    }

    /// Is `self` at most `other`?
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`].
    pub fn fits(self, other: Self) -> Result<bool, MoneyError> {
        self.same_currency(other)?;
        Ok(self.minor <= other.minor)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
        }
    }
}

/// `119.00 EUR`: major units with all the currency's decimals.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_major(), self.currency)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an amount of money cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Not an ISO 4217 code with a minor unit.
    #[error("unknown currency `{0}`: use an ISO 4217 code such as EUR")]
    UnknownCurrency(String),
    /// Below zero.
    #[error("amount is negative")]
    Negative,
    /// More decimals than the currency has.
    #[error("more than the {exponent} decimals that {currency} has")]
    TooManyDecimals {
        /// The currency.
        currency: Currency,
        /// How many decimals it has.
        exponent: u32,
    },
    /// Beyond 12 integer digits, or beyond what a sum can hold.
    #[error("amount is larger than {INTEGER_DIGITS_MAX} integer digits")]
    TooLarge,
    /// Two currencies in one sum.
    #[error("currencies differ: {left} and {right}")]
    CurrencyMismatch {
        /// The one.
        left: Currency,
        /// The other.
        right: Currency,
    },
}

/// Reads a decimal in plain notation: digits, at most one point, no sign, no exponent.
///
/// This is the only way text becomes an amount; it never goes through floating point.
///
/// # Errors
/// A lowercase fragment that says what is wrong, without repeating the value.
pub fn parse_plain_decimal(text: &str) -> Result<Decimal, &'static str> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if text.starts_with(['-', '+']) {
        return Err("has a sign");
    }
    if text.contains(['e', 'E']) {
        return Err("has an exponent");
    }
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(integer) || !digits(fraction) {
        return Err("is not a plain decimal such as \"119.00\"");
    }
    if integer.trim_start_matches('0').len() > INTEGER_DIGITS_MAX {
        return Err("has more than 12 integer digits");
    }
    if fraction.len() > 12 {
        return Err("has too many decimals");
    }
    Decimal::from_str_exact(text).map_err(|_| "is not a plain decimal such as \"119.00\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn exponents_are_those_of_iso_4217() {
        for (exponent, codes) in [
            (0, &["JPY", "KRW", "VND", "CLP", "ISK", "UGX", "XAF"][..]),
            (2, &["EUR", "USD", "GEL", "UAH", "UZS", "HUF", "TWD", "MGA"]),
            (3, &["KWD", "BHD", "OMR", "JOD", "TND", "IQD", "LYD"]),
            (4, &["CLF", "UYW"]),
        ] {
            for code in codes {
                assert_eq!(currency(code).exponent(), exponent, "{code}");
                let minor = Money::from_minor(12_345, currency(code)).expect("positive");
                assert_eq!(Money::from_major(minor.to_major(), currency(code)), Ok(minor), "there and back: {code}");
            }
        }
        assert_eq!(
            Money::from_minor(12_345, currency("JPY")).map(|money| money.to_string()).as_deref(),
            Ok("12345 JPY")
        );
        assert_eq!(
            Money::from_minor(12_345, currency("BHD")).map(|money| money.to_string()).as_deref(),
            Ok("12.345 BHD")
        );
        assert_eq!(
            Money::from_minor(12_345, currency("CLF")).map(|money| money.to_string()).as_deref(),
            Ok("1.2345 CLF")
        );
    }

    #[test]
    fn what_iso_4217_does_not_list_or_gives_no_minor_unit_is_refused() {
        for code in ["", "eur", "Eur", "EU", "EURO", "€€€", "€", "ABC", "EU ", "978", "BTC", "XAU", "XDR", "XTS", "XXX"]
        {
            assert!(matches!(Currency::parse(code), Err(MoneyError::UnknownCurrency(_))), "{code}");
        }
    }

    #[test]
    fn major_units_become_minor_units_exactly() {
        let minor = |text: &str, code: &str| {
            Money::from_major(parse_plain_decimal(text).expect("plain"), currency(code)).map(Money::minor)
        };
        assert_eq!(minor("119.00", "EUR"), Ok(11_900));
        assert_eq!(minor("119", "EUR"), Ok(11_900));
        assert_eq!(minor("0.1", "EUR"), Ok(10));
        assert_eq!(minor("119.000", "EUR"), Ok(11_900), "trailing zeros change nothing");
        assert_eq!(minor("15118", "JPY"), Ok(15_118));
        assert_eq!(minor("1.234", "KWD"), Ok(1_234));
        assert_eq!(minor("1.2345", "CLF"), Ok(12_345));
        assert_eq!(minor("999999999999.99", "EUR"), Ok(99_999_999_999_999));
        assert!(matches!(minor("1.001", "EUR"), Err(MoneyError::TooManyDecimals { .. })));
        assert!(matches!(minor("0.5", "JPY"), Err(MoneyError::TooManyDecimals { .. })));
    }

    #[test]
    fn amounts_have_twelve_integer_digits_and_no_sign() {
        let major = |text: &str, code: &str| Money::from_major(text.parse().expect("a decimal"), currency(code));
        assert_eq!(major("-0.01", "EUR"), Err(MoneyError::Negative));
        assert_eq!(major("-0.001", "EUR"), Err(MoneyError::Negative), "whatever else is wrong with it");
        assert_eq!(major("-0", "EUR"), Ok(Money::zero(currency("EUR"))), "zero has no sign");
        assert_eq!(major("1000000000000", "EUR"), Err(MoneyError::TooLarge));
        assert_eq!(major("79228162514264337593543950335", "CLF"), Err(MoneyError::TooLarge), "the most there is");
        assert_eq!(major("999999999999.9999", "CLF").map(Money::minor), Ok(9_999_999_999_999_999));
    }

    #[test]
    fn only_plain_decimals_are_read() {
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,00",
            " 1",
            "1 ",
            "0x1",
            "NaN",
            "١",
            "1.2.3",
            "1_0",
            "1000000000000",
        ] {
            assert!(parse_plain_decimal(bad).is_err(), "{bad:?}");
        }
        assert!(parse_plain_decimal("000000000000000001.10").is_ok());
    }

    #[test]
    fn sums_are_checked() {
        let (eur, usd) = (currency("EUR"), currency("USD"));
        let one = Money::from_minor(1, eur).expect("positive");
        assert_eq!(one.checked_sub(one).map(Money::minor), Ok(0));
        assert_eq!(Money::zero(eur).checked_sub(one), Err(MoneyError::Negative));
        let (dollar, mismatch) = (Money::zero(usd), MoneyError::CurrencyMismatch { left: eur, right: usd });
        for sum in [one.checked_add(dollar), one.checked_sub(dollar), one.saturating_sub(dollar)] {
            assert_eq!(sum, Err(mismatch.clone()));
        }
        assert_eq!(one.fits(dollar), Err(mismatch));
        assert_eq!((one.fits(one), one.fits(Money::zero(eur))), (Ok(true), Ok(false)));
        assert_eq!(Money::zero(eur).saturating_sub(one).map(Money::minor), Ok(0));
        let most = Money::from_minor(i64::MAX, eur).expect("positive");
        assert_eq!(most.checked_add(one), Err(MoneyError::TooLarge));
        assert_eq!((one.to_string(), format!("{eur:?}")), ("0.01 EUR".to_owned(), "EUR".to_owned()));
    }
}
