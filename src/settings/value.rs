//! Text to checked values: durations, sizes, numbers, addresses.
//!
//! Every message is a lowercase fragment that says what is expected and never what was found.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;
use url::{Host, Url};

use super::Rate;
use super::source::Value;
use crate::money::{Currency, Money, parse_plain_decimal};
use crate::private_file::{self, Group};

/// Longer than any sensible setting, and short enough that adding it to a date never overflows.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A duration of any length, zero included.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    let parsed = text_of(value).and_then(|text| humantime::parse_duration(text).ok());
    match parsed {
        Some(duration) if duration <= LONGEST => Ok(duration),
        Some(_) => Err("is too long: at most 3650d".to_owned()),
        None => {
            Err("is not a duration: write a number and a unit, such as \"500ms\", \"30s\", \"15m\" or \"7d\"".into())
        }
    }
}

/// A duration longer than zero.
pub(super) fn span(value: &Value) -> Result<Duration, String> {
    match duration(value)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration in whole seconds, as AMQP counts its heartbeats (16 bits).
pub(super) fn heartbeat(value: &Value) -> Result<Duration, String> {
    let duration = duration(value)?;
    if duration.subsec_nanos() == 0 && (1..=u64::from(u16::MAX)).contains(&duration.as_secs()) {
        Ok(duration)
    } else {
        Err("must be 1 to 65535 whole seconds".to_owned())
    }
}

/// At least one span; from the environment, separated by commas.
pub(super) fn spans(value: &Value) -> Result<Vec<Duration>, String> {
    let spans: Vec<Duration> = match value {
        Value::List(items) => items.iter().map(|item| span(&item.value)).collect::<Result<_, _>>()?,
        Value::Text(text) => {
            let one = |part: &str| span(&Value::Text(part.trim().to_owned()));
            text.split(',').map(one).collect::<Result<_, _>>()?
        }
        Value::Bare(_) | Value::Unsupported | Value::Table(_) => {
            return Err("is not a list of durations, such as [\"2s\", \"1m\"]".to_owned());
        }
    };
    if spans.is_empty() { Err("must name at least one duration".to_owned()) } else { Ok(spans) }
}

/// Bytes, written with a unit.
pub(super) fn bytes(value: &Value) -> Result<u64, String> {
    let parsed = text_of(value).and_then(|text| bytesize::ByteSize::from_str(text).ok());
    parsed.map(|size| size.as_u64()).ok_or_else(|| "is not a size: write \"512MiB\" or \"1GiB\"".to_owned())
}

/// A whole number between two bounds, both included.
pub(super) fn integer<T>(least: T, most: T) -> impl Fn(&Value) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    move |value| {
        let parsed = number_of(value).and_then(|text| T::from_str(text).ok());
        parsed
            .filter(|number| *number >= least && *number <= most)
            .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
    }
}

/// A decimal number between two bounds, both included; `expected` says so in words.
pub(super) fn decimal(least: f64, most: f64, expected: &'static str) -> impl Fn(&Value) -> Result<f64, String> {
    move |value| {
        let parsed = number_of(value).and_then(|text| f64::from_str(text).ok());
        parsed.filter(|number| (least..=most).contains(number)).ok_or_else(|| expected.to_owned())
    }
}

/// So many in a second, a minute or an hour.
pub(super) fn rate(value: &Value) -> Result<Rate, String> {
    let rate = text_of(value).and_then(|text| {
        let (calls, unit) = text.split_once('/')?;
        let per = match unit {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            _ => return None,
        };
        let calls = calls.parse().ok().filter(|calls| (1..=1_000_000).contains(calls))?;
        Some(Rate { calls, per })
    });
    rate.ok_or_else(|| "must be a rate such as \"50/s\", \"600/m\" or \"1000/h\"".to_owned())
}

/// Money in major units, as a decimal text like those of messages: more than nothing.
pub(super) fn money(value: &Value) -> Result<Decimal, String> {
    let parsed = text_of(value).and_then(|text| parse_plain_decimal(text).ok());
    let positive = parsed.filter(|major| !major.is_zero() && major.normalize().scale() <= 6);
    positive.ok_or_else(|| "must be an amount in major units, such as \"0.05\" or \"1.00\", and not zero".to_owned())
}

/// Money with its currency, of each currency once; from the environment, separated by commas.
pub(super) fn amounts(value: &Value) -> Result<Vec<Money>, String> {
    let parsed: Option<Vec<Money>> = match value {
        Value::List(items) => items.iter().map(|item| amount(text_of(&item.value)?)).collect(),
        Value::Text(text) => text.split(',').map(amount).collect(),
        Value::Bare(_) | Value::Unsupported | Value::Table(_) => None,
    };
    let is_first = |(place, of): (usize, &Money), all: &[Money]| {
        all[..place].iter().all(|before| before.currency() != of.currency())
    };
    let parsed = parsed.filter(|all| !all.is_empty() && all.iter().enumerate().all(|one| is_first(one, all)));
    parsed.ok_or_else(|| {
        "must be an amount with its currency, such as \"500.00 EUR\", or several as a list, each in another currency: \
         not zero, and with no more decimals than the currency has"
            .to_owned()
    })
}

fn amount(text: &str) -> Option<Money> {
    let (major, code) = text.trim().split_once(' ')?;
    let (major, currency) = (parse_plain_decimal(major).ok()?, Currency::parse(code.trim()).ok()?);
    Money::from_major(major, currency).ok().filter(|amount| !amount.is_zero())
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    number_of(value).and_then(|text| bool::from_str(text).ok()).ok_or_else(|| "must be true or false".to_owned())
}

/// Text that is not empty.
pub(super) fn text(value: &Value) -> Result<String, String> {
    text_of(value).map(str::to_owned).ok_or_else(|| "must be text, and not empty".to_owned())
}

/// Names, each once; from the environment, separated by commas.
pub(super) fn names(value: &Value) -> Result<Vec<String>, String> {
    let names: Result<Vec<String>, String> = match value {
        Value::List(items) => items.iter().map(|item| text(&item.value)).collect(),
        Value::Text(list) => list.split(',').map(|one| text(&Value::Text(one.trim().to_owned()))).collect(),
        Value::Bare(_) | Value::Unsupported | Value::Table(_) => Err(String::new()),
    };
    names.map_err(|_| "is not a list of names, such as [\"shop\", \"warehouse\"]".to_owned())
}

/// The name of an exchange or a queue: AMQP gives it one byte for its length, and RabbitMQ keeps
/// `amq.` for itself.
pub(super) fn broker_name(value: &Value) -> Result<String, String> {
    match text_of(value) {
        Some(name) if name.len() <= 255 && !name.starts_with("amq.") => Ok(name.to_owned()),
        _ => Err("must be a name of 1 to 255 bytes that does not begin with `amq.`".to_owned()),
    }
}

/// A file that can be read now.
pub(super) fn readable_file(value: &Value) -> Result<PathBuf, String> {
    let path = text(value).map(PathBuf::from)?;
    match std::fs::File::open(&path) {
        Ok(_) => Ok(path),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// A file that can be read now, and by nobody else.
pub(super) fn private_file(value: &Value) -> Result<PathBuf, String> {
    let path = text(value).map(PathBuf::from)?;
    private_file::open(&path, Group::Ours).map(|_| path)
}

/// An address and a port.
pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    let parsed = text_of(value).and_then(|text| SocketAddr::from_str(text).ok());
    parsed.ok_or_else(|| "must be an address and a port, such as \"127.0.0.1:9464\"".to_owned())
}

/// An address of a provider.
pub(super) fn provider_url(value: &Value) -> Result<String, String> {
    web_url(value, "https://pay.flitt.com")
}

/// The address of RabbitMQ's management.
pub(super) fn management_url(value: &Value) -> Result<String, String> {
    web_url(value, "https://rabbit.example.com:15671")
}

/// The address of a collector of traces. No credentials travel there, so http may lead anywhere.
pub(super) fn collector_url(value: &Value) -> Result<String, String> {
    Ok(plain_url(value, "http://127.0.0.1:4318")?.as_str().trim_end_matches('/').to_owned())
}

/// An address, without a slash at its end. Credentials travel there, so anything but https is refused
/// outside loopback.
fn web_url(value: &Value, example: &str) -> Result<String, String> {
    let url = plain_url(value, example)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err("must use https: http is for loopback only".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// An address of the web with nothing in it but scheme, host and path.
fn plain_url(value: &Value, example: &str) -> Result<Url, String> {
    let url = text_of(value).and_then(|text| Url::parse(text).ok()).filter(Url::has_host);
    let Some(url) = url.filter(|url| matches!(url.scheme(), "https" | "http")) else {
        return Err(format!("must be an address such as \"{example}\""));
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must be an address without user name, password, query or fragment".to_owned());
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) if !text.is_empty() => Some(text),
        Value::Text(_) | Value::Bare(_) | Value::Unsupported | Value::List(_) | Value::Table(_) => None,
    }
}

/// Numbers and flags are bare in a file and text in the environment. A number in quotes is accepted
/// in a file too: there is only one thing it can mean.
fn number_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Bare(text) => Some(text),
        Value::Unsupported | Value::List(_) | Value::Table(_) => None,
    }
}
