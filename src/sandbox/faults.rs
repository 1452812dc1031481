//! Which request meets which fault: rules in order, seeded and reproducible.
//!
//! A chance is drawn from the seed, the rule, what the request is about, and how often the rule met
//! that before. So the second capture request of an order meets the same luck in every run, however
//! the requests of different orders are mixed. What a fault does is `exchange`'s business.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use super::Protocol;
use super::flex_pay_codes::ErrorCode;
use super::world::Rejected;

/// The body of `PUT /sandbox/faults`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// What all chances are drawn from.
    #[serde(default)]
    pub seed: u64,
    /// Tried in order; the first that fires is the one.
    pub rules: Vec<Rule>,
}

/// One rule. It meets every request that agrees with all that it names and that its fault makes sense
/// for (a hold on a capture, a `codeName` at Flex Pay).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Only requests of this protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Only requests of this merchant or client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only requests about this order or transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Only requests of this kind.
    #[serde(default)]
    pub operation: Operation,
    /// Fires so many times at most; without it, without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Fires so many times at most for each order or transaction (for tokens: each client).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_each: Option<u32>,
    /// Fires with this chance in a thousand; without it, always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mille: Option<u16>,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// `fault` for every request.
    pub fn new(fault: Fault) -> Self {
        Self {
            protocol: None,
            account: None,
            reference: None,
            operation: Operation::Any,
            times: None,
            times_each: None,
            per_mille: None,
            fault,
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// To take money.
    Capture,
    /// To read an authorization.
    Lookup,
    /// To get a bearer token.
    Token,
    /// To give held money back.
    Void,
    /// All of these.
    #[default]
    Any,
}

/// Whether a fault strikes before or after the work. After the work is the cruel one: the money has
/// moved, and nobody was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The books do not change, or (`latency`) change late, even if the caller has hung up by then.
    #[default]
    Before,
    /// The books have changed.
    After,
}

/// What can go wrong. Times are milliseconds unless named otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The answer is late; the work too, unless `when` is `after`.
    Latency {
        /// How late.
        ms: u64,
        /// Late work, or only a late answer.
        #[serde(default)]
        when: When,
    },
    /// This connection and all others are closed, nothing is done, and the port refuses connections
    /// (of every account: it is one port) for a while.
    Refuse {
        /// How long.
        ms: u64,
    },
    /// The connection is reset (TCP RST).
    Reset {
        /// Before or after the work.
        #[serde(default)]
        when: When,
    },
    /// Nothing comes for a while, then the connection is closed without an answer.
    Hang {
        /// How long.
        ms: u64,
        /// Before: never done. After: done at once.
        #[serde(default)]
        when: When,
    },
    /// An HTTP status with a proxy's page for a body: 503 before or after the work, 429 with
    /// `Retry-After`.
    Status {
        /// 400 to 599.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
        /// Before or after the work.
        #[serde(default)]
        when: When,
    },
    /// The same, with `Retry-After` as an HTTP date instead of seconds (RFC 9110, 10.2.3).
    RetryAt {
        /// 400 to 599.
        status: u16,
        /// The date: so many seconds from now.
        seconds: u32,
        /// Before or after the work.
        #[serde(default)]
        when: When,
    },
    /// 200 with a body that cannot be read.
    Garbage {
        /// Before or after the work.
        #[serde(default)]
        when: When,
    },
    /// Flitt, Fondy: the capture is made but stays `hold` for so many look-ups and so long.
    Hold {
        /// Look-ups that still show `hold`.
        #[serde(default)]
        lookups: u32,
        /// Shortest time on hold.
        #[serde(default)]
        ms: u64,
    },
    /// The provider's own error: a number at Flitt and Fondy, a `codeName` at Flex Pay.
    Code {
        /// Which.
        code: Code,
        /// Before or after the work.
        #[serde(default)]
        when: When,
        /// Flitt, Fondy: rejected, or processed and declined.
        #[serde(default)]
        channel: Channel,
    },
    /// A capture is declined for want of funds, which may be there the next time: 1037 in
    /// `response_code` at Flitt and Fondy, `INSUFFICIENT_FUNDS` at Flex Pay. With `times_each`, every
    /// authorization is declined so often, and then captured.
    SoftDecline,
    /// Flex Pay: all idempotency keys of the client are forgotten, then the request is served.
    ForgetKeys,
    /// Flex Pay: all tokens of the client end now, so that the request is answered with 401.
    ExpireTokens,
    /// The authorization ends now, then the request is served. A Flitt or Fondy hold is captured in
    /// full or released, as it was made to be (`on_expiry`).
    Expire,
    /// The request is served; its answer's `Date` is off by so many seconds.
    ClockSkew {
        /// Positive: the provider's clock is ahead.
        seconds: i64,
    },
}

/// A provider's error code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Code {
    /// Flitt, Fondy. Numbers that no list has are possible. Where its text names a parameter, that is
    /// `signature`.
    Number(u16),
    /// Flex Pay: one of its fifteen.
    Name(String),
    /// Flitt, Fondy: a code about another parameter (1007 to 1009, 1011).
    About {
        /// Which code.
        number: u16,
        /// About which parameter.
        parameter: String,
    },
}

/// Where a Flitt or Fondy code is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// `error_code` with `response_status: failure`: the request was rejected.
    #[default]
    ErrorCode,
    /// `response_code` with `response_status: success`: processed, and declined.
    ResponseCode,
}

/// A rule, and what has come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleState {
    /// The rule.
    pub rule: Rule,
    /// Requests that it agreed with.
    pub met: u64,
    /// Times that it fired.
    pub fired: u32,
}

/// What a request is about, as far as it says so.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) protocol: Protocol,
    /// Empty where the request does not tell.
    pub(super) account: String,
    /// Empty where the request does not tell.
    pub(super) reference: String,
    pub(super) operation: Operation,
}

/// The armed rules.
#[derive(Debug, Default)]
pub(super) struct Armed {
    seed: u64,
    rules: Vec<RuleState>,
    /// How often a rule that goes by chance met the same thing.
    met: HashMap<Pair, u64>,
    /// How often a rule with `times_each` fired at the same thing.
    fired: HashMap<Pair, u32>,
}

/// A rule by its number, and what it met: protocol, account, reference.
type Pair = (usize, Protocol, String, String);

impl Armed {
    pub(super) fn new(faults: Faults) -> Result<Self, Rejected> {
        for (number, rule) in faults.rules.iter().enumerate() {
            check(rule).map_err(|problem| Rejected::Fault { number, problem })?;
        }
        let rules = faults.rules.into_iter().map(|rule| RuleState { rule, met: 0, fired: 0 }).collect();
        Ok(Self { seed: faults.seed, rules, met: HashMap::new(), fired: HashMap::new() })
    }

    pub(super) fn state(&self) -> Vec<RuleState> {
        self.rules.clone()
    }

    /// The fault that this request meets.
    pub(super) fn draw(&mut self, subject: &Subject) -> Option<Fault> {
        for (number, state) in self.rules.iter_mut().enumerate() {
            if !agrees(&state.rule, subject) {
                continue;
            }
            state.met += 1;
            if state.rule.times.is_some_and(|times| state.fired >= times) {
                continue;
            }
            let pair = || (number, subject.protocol, subject.account.clone(), subject.reference.clone());
            if let Some(times) = state.rule.times_each
                && self.fired.get(&pair()).is_some_and(|fired| *fired >= times)
            {
                continue;
            }
            if let Some(per_mille) = state.rule.per_mille {
                let met = self.met.entry(pair()).or_default();
                *met += 1;
                if roll(self.seed, number, subject, *met) >= u64::from(per_mille) {
                    continue;
                }
            }
            if state.rule.times_each.is_some() {
                *self.fired.entry(pair()).or_default() += 1;
            }
            state.fired += 1;
            return Some(state.rule.fault.clone());
        }
        None
    }
}

/// A number below 1000 that depends on nothing but its arguments.
fn roll(seed: u64, rule: usize, subject: &Subject, met: u64) -> u64 {
    let text = format!("{seed}|{rule}|{:?}|{}|{}|{met}", subject.protocol, subject.account, subject.reference);
    let digest = Sha1::digest(text);
    let (head, _) = digest.split_first_chunk::<8>().expect("a SHA-1 digest has 20 bytes");
    u64::from_be_bytes(*head) % 1000
}

fn agrees(rule: &Rule, subject: &Subject) -> bool {
    rule.protocol.is_none_or(|protocol| protocol == subject.protocol)
        && rule.account.as_ref().is_none_or(|account| *account == subject.account)
        && rule.reference.as_ref().is_none_or(|reference| *reference == subject.reference)
        && (rule.operation == Operation::Any || rule.operation == subject.operation)
        && makes_sense(&rule.fault, subject)
}

fn makes_sense(fault: &Fault, subject: &Subject) -> bool {
    let flex = subject.protocol == Protocol::FlexPay;
    match fault {
        Fault::Hold { .. } => subject.protocol.is_cloudipsp() && subject.operation == Operation::Capture,
        Fault::SoftDecline => subject.operation == Operation::Capture,
        Fault::Code { code: Code::Number(_) | Code::About { .. }, .. } => subject.protocol.is_cloudipsp(),
        Fault::Code { code: Code::Name(name), .. } => {
            is_name(subject.protocol, name) && subject.operation != Operation::Token
        }
        Fault::ExpireTokens => flex && subject.operation != Operation::Token,
        Fault::ForgetKeys => flex && matches!(subject.operation, Operation::Capture | Operation::Void),
        Fault::Expire => subject.operation != Operation::Token,
        Fault::Latency { .. }
        | Fault::Refuse { .. }
        | Fault::Reset { .. }
        | Fault::Hang { .. }
        | Fault::Status { .. }
        | Fault::RetryAt { .. }
        | Fault::Garbage { .. }
        | Fault::ClockSkew { .. } => true,
    }
}

/// Does this protocol have an error of this name?
fn is_name(protocol: Protocol, name: &str) -> bool {
    match protocol {
        Protocol::Flitt | Protocol::Fondy => false,
        Protocol::FlexPay => ErrorCode::parse(name).is_some(),
        #[cfg(test)]
        Protocol::Paper => super::paper::is_code(name),
    }
}

fn check(rule: &Rule) -> Result<(), &'static str> {
    if rule.per_mille.is_some_and(|chance| chance > 1000) {
        return Err("per_mille is more than 1000");
    }
    match &rule.fault {
        Fault::Status { status, .. } | Fault::RetryAt { status, .. } if !(400..=599).contains(status) => {
            Err("status is not within 400 to 599")
        }
        Fault::Hold { lookups: 0, ms: 0 } => Err("hold needs lookups or ms"),
        Fault::Code { code: Code::Name(name), .. }
            if !Protocol::ALL.iter().any(|protocol| is_name(*protocol, name)) =>
        {
            Err("code is neither a number nor a codeName of Flex Pay")
        }
        Fault::Latency { .. }
        | Fault::Refuse { .. }
        | Fault::Reset { .. }
        | Fault::Hang { .. }
        | Fault::Status { .. }
        | Fault::RetryAt { .. }
        | Fault::Garbage { .. }
        | Fault::Hold { .. }
        | Fault::Code { .. }
        | Fault::SoftDecline
        | Fault::ForgetKeys
        | Fault::ExpireTokens
        | Fault::Expire
        | Fault::ClockSkew { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(reference: &str) -> Subject {
        Subject {
            protocol: Protocol::Flitt,
            account: "1549901".to_owned(),
            reference: reference.to_owned(),
            operation: Operation::Capture,
        }
    }

    fn luck(seed: u64, references: &[&str]) -> Vec<(String, bool)> {
        let rule = Rule { per_mille: Some(500), ..Rule::new(Fault::Expire) };
        let mut armed = Armed::new(Faults { seed, rules: vec![rule] }).expect("makes sense");
        let mut drawn: Vec<_> =
            references.iter().map(|name| ((*name).to_owned(), armed.draw(&subject(name)).is_some())).collect();
        drawn.sort_by(|left, right| left.0.cmp(&right.0));
        drawn
    }

    #[test]
    fn the_same_seed_gives_an_order_the_same_luck_however_orders_mix() {
        let apart = ["a", "a", "a", "a", "b", "b", "b", "b", "c", "c", "c", "c"];
        let mixed = ["c", "a", "b", "a", "b", "c", "a", "b", "c", "c", "a", "b"];
        assert_eq!(luck(7, &apart), luck(7, &mixed));
        assert!((8..40).any(|seed| luck(seed, &apart) != luck(7, &apart)), "the seed matters");
        let fired = luck(7, &apart).iter().filter(|(_, fired)| *fired).count();
        assert!((1..12).contains(&fired), "half of them, more or less: {fired}");
    }

    #[test]
    fn a_rule_fires_so_many_times_and_then_lets_the_next_one() {
        let rules = vec![
            Rule { times: Some(2), ..Rule::new(Fault::Expire) },
            Rule { reference: Some("a".to_owned()), ..Rule::new(Fault::Hold { lookups: 1, ms: 0 }) },
        ];
        let mut armed = Armed::new(Faults { seed: 0, rules }).expect("makes sense");
        assert_eq!(armed.draw(&subject("a")), Some(Fault::Expire));
        assert_eq!(armed.draw(&subject("b")), Some(Fault::Expire));
        assert_eq!(armed.draw(&subject("a")), Some(Fault::Hold { lookups: 1, ms: 0 }));
        assert_eq!(armed.draw(&subject("b")), None);
        let state = armed.state();
        assert_eq!((state[0].met, state[0].fired, state[1].met, state[1].fired), (4, 2, 1, 1));
    }

    #[test]
    fn a_rule_may_fire_so_often_for_each_order() {
        let rule = Rule { times_each: Some(2), ..Rule::new(Fault::SoftDecline) };
        let mut armed = Armed::new(Faults { seed: 0, rules: vec![rule] }).expect("makes sense");
        let mut fires = |reference| armed.draw(&subject(reference)).is_some();
        let drawn: Vec<_> = ["a", "b", "a", "a", "b", "b"].into_iter().map(&mut fires).collect();
        assert_eq!(drawn, [true, true, true, false, true, false]);
        let token = Subject { operation: Operation::Token, ..subject("c") };
        assert_eq!(armed.draw(&token), None, "only captures are declined");
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let named = |name: &str| Fault::Code {
            code: Code::Name(name.to_owned()),
            when: When::Before,
            channel: Channel::ErrorCode,
        };
        for bad in [
            Rule { per_mille: Some(1001), ..Rule::new(Fault::Expire) },
            Rule::new(Fault::Status { status: 200, retry_after_s: None, when: When::Before }),
            Rule::new(Fault::Hold { lookups: 0, ms: 0 }),
            Rule::new(named("NO_SUCH_CODE")),
        ] {
            assert!(Armed::new(Faults { seed: 0, rules: vec![bad.clone()] }).is_err(), "{bad:?}");
        }
        let flex_code = Rule::new(named("NO_AMOUNT_LEFT"));
        let mut armed = Armed::new(Faults { seed: 0, rules: vec![flex_code] }).expect("makes sense");
        assert_eq!(armed.draw(&subject("a")), None, "a codeName means nothing to Flitt");
    }
}
