//! Reading fields out of a JSON tree: each reader checks one shape, and knows where it is.
//!
//! It knows the shapes that messages are made of (ids, money, quantities, instants), but no message.
//! Error texts name the field, the shape that was found and the way out, never the value.

use std::fmt;

use chrono::DateTime;
use rust_decimal::Decimal;

use super::json::{Member, Node};
use crate::capture::notice::{LINES_MAX, Quantity};
use crate::clock::Timestamp;
use crate::ids::InvalidId;
use crate::money::{Currency, Money, MoneyError, parse_plain_decimal};

/// The way out of a wrong amount of money.
const SEND_MONEY: &str = "send a decimal string in major units such as \"119.00\"";
/// The way out of a wrong quantity.
const SEND_QUANTITY: &str = "send a positive integer, or a decimal string such as \"1.250\"";

/// What is wrong with a message, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// JSON path, `$` for the whole body.
    pub(super) path: String,
    /// The field, the shape that was found, and the way out.
    pub(super) message: String,
}

impl Problem {
    pub(super) fn at(path: &Path<'_>, found: &str, way_out: &str) -> Self {
        Self { path: path.to_string(), message: format!("{} {found}: {way_out}", path.name()) }
    }

    pub(super) fn of_body(found: &str, way_out: &str) -> Self {
        Self { path: "$".to_owned(), message: format!("{found}: {way_out}") }
    }
}

/// Where we are in the body. Steps are linked on the stack and spelled out only for a problem.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    const ROOT: Self = Self { parent: None, step: Step::Root };

    pub(super) const fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    pub(super) const fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    /// The field's name for a sentence.
    fn name(&self) -> &'p str {
        match self.step {
            Step::Root => "body",
            Step::Key(key) if is_plain_name(key) => key,
            Step::Key(_) => "a name",
            Step::Index(_) => "entry",
        }
    }
}

/// `$.data.plan.lines[1].total`. A name that is no plain identifier may be data (a map by e-mail
/// address), so it is left out: `$.data["…"]`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => f.write_str("$"),
            Step::Key(key) if is_plain_name(key) => write!(f, ".{key}"),
            Step::Key(_) => f.write_str("[\"…\"]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn is_plain_name(name: &str) -> bool {
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// An object's fields, and where the object is.
#[derive(Clone, Copy)]
pub(super) struct Fields<'p> {
    members: &'p [Member<'p>],
    path: Path<'p>,
}

impl<'p> Fields<'p> {
    pub(super) const fn root(members: &'p [Member<'p>]) -> Self {
        Self { members, path: Path::ROOT }
    }

    pub(super) const fn members(&self) -> &'p [Member<'p>] {
        self.members
    }

    pub(super) const fn path(&self) -> &Path<'p> {
        &self.path
    }

    /// The field, unless it is absent or null.
    pub(super) fn optional(&'p self, key: &'static str) -> Option<Field<'p>> {
        let node = self.node(key).filter(|node| !matches!(node, Node::Null))?;
        Some(Field { node, path: self.path.key(key) })
    }

    /// The field, or a problem with `way_out` where it is absent or null.
    pub(super) fn required(&'p self, key: &'static str, way_out: &str) -> Result<Field<'p>, Problem> {
        self.optional(key).ok_or_else(|| self.missing(key, way_out))
    }

    /// A problem with a field that is not there.
    pub(super) fn missing(&self, key: &'static str, way_out: &str) -> Problem {
        Problem::at(&self.path.key(key), "is missing", way_out)
    }

    /// Refuses any field that is not `known`.
    pub(super) fn only(&self, known: &[&'static str]) -> Result<(), Problem> {
        let Some((name, _)) = self.members.iter().find(|(name, _)| !known.contains(&&**name)) else { return Ok(()) };
        let way_out = match nearest(name, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("send only {}", known.join(", ")),
        };
        Err(Problem::at(&self.path.key(name), "is not a field here", &way_out))
    }

    /// Refuses a field that was probably meant to be `key`.
    pub(super) fn nothing_like(&self, key: &'static str) -> Result<(), Problem> {
        let is_like = |name: &str| name != key && nearest(name, &[key]).is_some();
        match self.members.iter().find(|(name, _)| is_like(name)) {
            Some((name, _)) => {
                let way_out = format!("did you mean `{key}`?");
                Err(Problem::at(&self.path.key(name), "is not a field here", &way_out))
            }
            None => Ok(()),
        }
    }

    /// A text that is certainly what the sender meant by `key`: there, once, a string.
    pub(super) fn sole_text(&self, key: &str) -> Option<&'p str> {
        let mut named = self.members.iter().filter(|(name, _)| name == key);
        let (Some((_, Node::Text(text))), None) = (named.next(), named.next()) else { return None };
        Some(text)
    }

    /// An object that is certainly what the sender meant by `key`.
    pub(super) fn sole_object(&'p self, key: &'static str) -> Option<Self> {
        let mut named = self.members.iter().filter(|(name, _)| name == key);
        let (Some((_, Node::Object(members))), None) = (named.next(), named.next()) else { return None };
        Some(Self { members, path: self.path.key(key) })
    }

    fn node(&self, key: &str) -> Option<&'p Node<'p>> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}

/// The known word that was probably meant.
pub(super) fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    const LONGEST: usize = 40;
    const LEAST: f64 = 0.85;
    if word.len() > LONGEST {
        return None;
    }
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= LEAST)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// One value that is there, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Field<'p> {
    node: &'p Node<'p>,
    path: Path<'p>,
}

impl<'p> Field<'p> {
    pub(super) fn problem(&self, found: &str, way_out: &str) -> Problem {
        Problem::at(&self.path, found, way_out)
    }

    fn wrong_shape(&self, way_out: &str) -> Problem {
        self.problem(self.node.shape(), way_out)
    }

    pub(super) fn object(self) -> Result<Fields<'p>, Problem> {
        let Node::Object(members) = self.node else { return Err(self.wrong_shape("send a JSON object")) };
        Ok(Fields { members, path: self.path })
    }

    /// A list of 1 to [`LINES_MAX`] objects.
    pub(super) fn lines(self) -> Result<Lines<'p>, Problem> {
        let Node::List(items) = self.node else { return Err(self.wrong_shape("send a list of objects")) };
        match items.len() {
            0 => Err(self.problem("is empty", "list at least one line")),
            1..=LINES_MAX => Ok(Lines { items, path: self.path }),
            count => Err(self.problem(&format!("has {count} lines"), "send at most 1000")),
        }
    }

    pub(super) fn text(self, way_out: &str) -> Result<&'p str, Problem> {
        let Node::Text(text) = self.node else { return Err(self.wrong_shape(way_out)) };
        Ok(text)
    }

    pub(super) fn id<T>(self, parse: fn(&str) -> Result<T, InvalidId>) -> Result<T, Problem> {
        let way_out = "use 1 to 128 printable ASCII characters without spaces or `|`";
        parse(self.text("send a string")?).map_err(|InvalidId| self.problem("is not an id", way_out))
    }

    pub(super) fn flag(self) -> Result<bool, Problem> {
        let Node::Bool(flag) = self.node else { return Err(self.wrong_shape("send true or false")) };
        Ok(*flag)
    }

    /// A positive integer, for counting.
    pub(super) fn ordinal(self) -> Result<u32, Problem> {
        let way_out = "send an integer from 1 to 4294967295";
        let Node::Integer(number) = self.node else { return Err(self.wrong_shape(way_out)) };
        match u32::try_from(*number) {
            Ok(0) => Err(self.problem("is zero", way_out)),
            Ok(number) => Ok(number),
            Err(_) => Err(self.problem("is too large", way_out)),
        }
    }

    pub(super) fn quantity(self) -> Result<Quantity, Problem> {
        let number = match self.node {
            Node::Integer(units) => Decimal::from(*units),
            Node::Text(text) => parse_plain_decimal(text).map_err(|found| self.problem(found, SEND_QUANTITY))?,
            Node::Null | Node::Bool(_) | Node::Negative | Node::Fractional | Node::List(_) | Node::Object(_) => {
                return Err(self.wrong_shape(SEND_QUANTITY));
            }
        };
        let quantity = Quantity::from_decimal(number).map_err(|found| self.problem(found, SEND_QUANTITY))?;
        if quantity.is_zero() {
            return Err(self.problem("is zero", SEND_QUANTITY));
        }
        Ok(quantity)
    }

    pub(super) fn currency(self) -> Result<Currency, Problem> {
        let way_out = "send an ISO 4217 code of a currency with a minor unit, such as \"EUR\"";
        Currency::parse(self.text(way_out)?).map_err(|_| self.problem("is not a currency we know", way_out))
    }

    /// Money in major units, normalised: written as 5, 5.0 or 5.00 it is the same value, also where
    /// somebody goes by its digits. With a currency, it must be a whole number of its minor units; without
    /// one, the currency was registered before and the core checks it there.
    pub(super) fn major(self, currency: Option<Currency>) -> Result<Decimal, Problem> {
        // Not even an integer will do: too many senders' numbers have been through floating point.
        let text = self.text(SEND_MONEY)?;
        let major = parse_plain_decimal(text).map_err(|found| self.problem(found, SEND_MONEY))?;
        if let Some(currency) = currency {
            self.to_money(major, currency)?;
        }
        Ok(major.normalize())
    }

    /// Money of a known currency, more than none of it.
    pub(super) fn positive_money(self, currency: Currency) -> Result<Money, Problem> {
        let money = self.to_money(self.major(None)?, currency)?;
        if money.is_zero() {
            return Err(self.problem("is zero", "send the amount that was authorized, or leave it out"));
        }
        Ok(money)
    }

    fn to_money(self, major: Decimal, currency: Currency) -> Result<Money, Problem> {
        Money::from_major(major, currency).map_err(|error| {
            let found = match error {
                MoneyError::TooManyDecimals { exponent, .. } => {
                    format!("has more than the {exponent} decimals of its currency")
                }
                MoneyError::Negative
                | MoneyError::TooLarge
                | MoneyError::UnknownCurrency(_)
                | MoneyError::CurrencyMismatch { .. } => "is out of range".to_owned(),
            };
            self.problem(&found, "send a whole number of minor units, in major units")
        })
    }

    /// An instant, cut to the millisecond, which is as fine as anything here is kept: a repeated
    /// message must not differ from its own record.
    pub(super) fn instant(self) -> Result<Timestamp, Problem> {
        let way_out = "send RFC 3339 with an offset, such as \"2026-11-26T08:00:00Z\"";
        DateTime::parse_from_rfc3339(self.text(way_out)?)
            .ok()
            .and_then(|instant| DateTime::from_timestamp_millis(instant.timestamp_millis()))
            .ok_or_else(|| self.problem("is not an instant", way_out))
    }
}

/// The entries of a list of lines.
pub(super) struct Lines<'p> {
    items: &'p [Node<'p>],
    path: Path<'p>,
}

impl<'p> Lines<'p> {
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&'p self) -> impl Iterator<Item = Field<'p>> {
        self.items.iter().enumerate().map(|(index, node)| Field { node, path: self.path.index(index) })
    }
}
