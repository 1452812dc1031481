//! W3C trace context: what of a message's headers is taken, and passed on.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, 3.2 and 3.3. A `traceparent` that breaks the rules is as
//! good as none, and the `tracestate` beside it is not looked at then. Knows nothing of spans.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The length of a `traceparent` of version 00, in bytes: the only one there is.
const LENGTH: usize = 55;

/// The longest `tracestate` that is kept, in bytes: as much as everybody should be able to pass on (3.3.1.5).
const STATE_MAX: usize = 512;

/// The flag of a trace that is recorded (3.2.2.5.1).
const SAMPLED: u8 = 0x01;

/// One span of one trace, as `traceparent` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceParent {
    /// A span of a trace. Neither id may be zero.
    pub fn new(trace: u128, span: u64, is_sampled: bool) -> Self {
        Self { trace, span, flags: if is_sampled { SAMPLED } else { 0 } }
    }

    /// Another span of the same trace, recorded where this one is.
    #[must_use]
    pub fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// Is the trace recorded?
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// As the types of OpenTelemetry have it. `is_remote`: it came from another process.
    pub(super) fn span_context(self, is_remote: bool, state: TraceState) -> SpanContext {
        let (trace, span) = (TraceId::from(self.trace), SpanId::from(self.span));
        SpanContext::new(trace, span, TraceFlags::new(self.flags), is_remote, state)
    }

    pub(super) fn span(self) -> SpanId {
        SpanId::from(self.span)
    }
}

/// The header that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Reads version 00; of a later one what it has in common with 00, which is all that may be passed on.
    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let (head, rest) = text.split_at_checked(LENGTH).ok_or(NoTraceParent)?;
        let mut parts = head.split('-');
        let mut part = |digits| parts.next().filter(|part| part.len() == digits && is_hex(part)).ok_or(NoTraceParent);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let has_right_end = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        if parts.next().is_some() || version == "ff" || !has_right_end {
            return Err(NoTraceParent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NoTraceParent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NoTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceParent)?;
        if trace == 0 || span == 0 {
            return Err(NoTraceParent);
        }
        Ok(Self { trace, span, flags: if version == "00" { flags } else { flags & SAMPLED } })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// What is taken of a message's two headers, and passed on: nothing that breaks a rule.
pub fn taken(parent: Option<&str>, state: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(parent) = parent.and_then(|text| text.parse::<TraceParent>().ok()) else { return (None, None) };
    let state = state.filter(|text| text.len() <= STATE_MAX && TraceState::from_str(text).is_ok());
    (Some(parent.to_string()), state.map(str::to_owned))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_one_is_read_and_written_as_it_was() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert!(parent.is_sampled());
        let off = GOOD.replace("-01", "-00");
        assert!(!off.parse::<TraceParent>().unwrap().is_sampled());
        assert_eq!(taken(Some(&off), None), (Some(off), None));
    }

    #[test]
    fn one_that_breaks_a_rule_is_none() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &format!(" {GOOD}"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00-", "0-", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace("00f067aa0ba902b7", "0000000000000000"),
            &GOOD.replace("4bf9", "4bg9"),
            &GOOD.replace("4bf9", "4b-9"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf92f35", "é92f35"),
            &"0".repeat(70_000),
            zeros,
        ] {
            assert_eq!(taken(Some(bad), Some("vendor=1")), (None, None), "{bad}");
        }
        assert_eq!(taken(None, Some("vendor=1")), (None, None));
    }

    #[test]
    fn of_a_later_version_what_it_shares_with_the_first_is_passed_on() {
        let shared = GOOD.replacen("00", "cc", 1).replace("-01", "-ff");
        for later in [shared.clone(), format!("{shared}-what-will-be")] {
            assert_eq!(taken(Some(&later), None).0.as_deref(), Some(GOOD), "{later}");
        }
        assert_eq!(taken(Some(&format!("{shared}.what")), None).0, None);
    }

    #[test]
    fn a_state_is_passed_on_beside_a_parent_where_it_is_one() {
        let state = |text: &str| taken(Some(GOOD), Some(text)).1;
        assert_eq!(state("congo=t61rcWkgMzE,rojo=00f0").as_deref(), Some("congo=t61rcWkgMzE,rojo=00f0"));
        assert_eq!(state("no state"), None);
        assert_eq!(state(&format!("a={}", "b".repeat(511))), None);
        assert_eq!(taken(Some(GOOD), Some("no state")).0.as_deref(), Some(GOOD));
    }
}
