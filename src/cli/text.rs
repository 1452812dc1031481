//! How instants, spans, ids and foreign text are written for people, and instants and money for
//! programs.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::money::Money;

/// What stands in a table where there is nothing.
pub(super) const NOTHING: &str = "-";

/// An instant in a table, in UTC, to the second.
pub(super) fn instant(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The largest unit of a span, rounded down: `12s`, `5m`, `3h`, `2d`. Nothing is younger than now.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.signed_duration_since(from).num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How far another clock is ahead of ours, in whole seconds.
pub(super) fn skew(ahead: TimeDelta) -> String {
    match ahead.num_seconds() {
        0 => "agrees".to_owned(),
        seconds @ 1.. => format!("{seconds}s ahead"),
        seconds @ ..0 => format!("{}s behind", seconds.unsigned_abs()),
    }
}

/// An instant and how far away it is: `2026-11-20 09:12:03 (in 5m)`.
pub(super) fn instant_and_distance(at: Timestamp, now: Timestamp) -> String {
    let distance = if at > now { format!("in {}", span(now, at)) } else { format!("{} ago", span(at, now)) };
    format!("{} ({distance})", instant(at))
}

/// The first eight digits of an id, which commands take for all of it.
pub(super) fn short(id: Uuid) -> String {
    id.simple().to_string().chars().take(8).collect()
}

/// Text in a table: its own, or a dash.
pub(super) fn or_nothing(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), |text| text.to_string())
}

/// Foreign text, harmless to a terminal: control characters are written out, line ends and tabs too
/// unless `lines` lets them stand.
pub(super) fn harmless(text: &str, lines: bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut clean, c| {
        if c.is_control() && !(lines && matches!(c, '\n' | '\t')) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
        clean
    })
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// JSON with one member on each line, and otherwise as it came: no number rounded, no duplicate key
/// dropped, no escape undone. `None` where the bytes are not JSON.
pub(super) fn indented_json(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).ok()?;
    let mut text = String::new();
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let mut last = ' ';
    for c in str::from_utf8(bytes).ok()?.chars() {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            text.push(c);
            continue;
        }
        match c {
            ' ' | '\t' | '\r' | '\n' => continue,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !matches!(last, '{' | '[') {
                    new_line(&mut text, depth);
                }
            }
            _ if matches!(last, '{' | '[' | ',') => new_line(&mut text, depth),
            _ => {}
        }
        text.push(c);
        match c {
            '{' | '[' => depth += 1,
            ':' => text.push(' '),
            '"' => in_string = true,
            _ => {}
        }
        last = c;
    }
    Some(text)
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

/// Reads `24h`, `7d`, `90m` from the command line.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "is not a span of time such as 24h, 7d or 90m".to_owned())
}

/// An instant for programs: RFC 3339 in UTC, to the millisecond, as in our events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant(pub(super) Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// An amount for programs: a decimal string in major units. Its currency stands beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount(pub(super) Money);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.to_major())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_its_largest_unit() {
        let from = Timestamp::UNIX_EPOCH;
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_599, "59m"),
            (3_600, "1h"),
            (86_399, "23h"),
            (86_400, "1d"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(span(from, from + TimeDelta::seconds(seconds)), text);
        }
    }

    #[test]
    fn a_skew_is_in_words() {
        for (milliseconds, text) in
            [(0, "agrees"), (-999, "agrees"), (999, "agrees"), (61_400, "61s ahead"), (-61_400, "61s behind")]
        {
            assert_eq!(skew(TimeDelta::milliseconds(milliseconds)), text);
        }
    }

    #[test]
    fn foreign_text_cannot_speak_to_the_terminal() {
        assert_eq!(harmless("a\x1b[31m\u{9b}b\nc\u{7f}", false), r"a\u{1b}[31m\u{9b}b\nc\u{7f}");
        assert_eq!(harmless("a\n\tb\r", true), "a\n\tb\\r");
    }

    #[test]
    fn json_is_indented_and_nothing_else() {
        for (body, text) in [
            (
                r#"{"a":1.10,"a":[1,{}],"b":{"c":"}{,: \"\\"},"d":[]}"#,
                "{\n  \"a\": 1.10,\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": \"}{,: \\\"\\\\\"\n  },\n  \"d\": []\n}",
            ),
            ("  \"text\" ", "\"text\""),
            ("{ }", "{}"),
        ] {
            assert_eq!(indented_json(body.as_bytes()).as_deref(), Some(text));
        }
        for body in [b"{".as_slice(), b"", b"{} {}", b"\"\xff\""] {
            assert_eq!(indented_json(body), None);
        }
    }
}
