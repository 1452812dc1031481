//! Two pretend providers with books of their own: one that captures an authorization several times
//! and remembers keys for a while (as Flex Pay), one that captures it once (as Flitt and Fondy).
//!
//! They share no code with the core, and know nothing of it but what stands in a request.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use holdfast::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, Doubt, DoubtKind, ProviderBalance, Refusal,
    RefusalReason, SeenCapture,
};
use holdfast::clock::Timestamp;
use holdfast::ids::CaptureId;
use holdfast::money::Money;
use rand::Rng;

/// How long a key is remembered: longer than the core's window for resending (15 minutes) with all
/// that can delay a request (10 minutes) and shift a clock (4 minutes), and not by much.
const KEY_RETENTION: TimeDelta = TimeDelta::minutes(30);

/// How one account's provider behaves, where their documentation leaves it open.
#[derive(Debug, Clone, Copy)]
pub enum Rules {
    /// Several captures per authorization.
    Several {
        /// Are keys looked up before limits are checked?
        key_first: bool,
        /// Does a key remember a refusal?
        remembers_failures: bool,
        /// Is a repeated key answered as it was the first time, or as used?
        replays: bool,
        /// Is "no amount left" a refusal that asks for a read, or a code that says nothing?
        over_is_refusal: bool,
    },
    /// One capture per authorization.
    Once {
        /// Does a hold that dies end in a full capture by the provider itself?
        captures_on_expiry: bool,
        /// Does a read show that a hold has died?
        shows_expiry: bool,
        /// Is a capture after the expiry refused, or answered with a code that says nothing?
        expiry_is_refusal: bool,
    },
}

impl Rules {
    /// Any rules of the kind with several captures.
    pub fn several(rng: &mut impl Rng) -> Self {
        Self::Several {
            key_first: rng.random(),
            remembers_failures: rng.random(),
            replays: rng.random(),
            over_is_refusal: rng.random(),
        }
    }

    /// Any rules of the kind with one capture.
    pub fn once(rng: &mut impl Rng) -> Self {
        Self::Once { captures_on_expiry: rng.random(), shows_expiry: rng.random(), expiry_is_refusal: rng.random() }
    }
}

/// A capture request, as it arrives.
#[derive(Debug, Clone)]
pub struct Request {
    /// The idempotency key.
    pub key: CaptureId,
    /// The merchant's reference.
    pub capture: CaptureId,
    /// How much; without it, everything that remains.
    pub amount: Option<Money>,
}

/// What chance does to a request that would succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Luck {
    /// Nothing.
    Good,
    /// It is declined, this time.
    Declined,
    /// It is created, and approved or dropped at the instant.
    Held { until: Timestamp, approved: bool },
}

/// One capture in the provider's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureEvent {
    /// The merchant's reference; `None` for somebody else's, or the provider's own of a hold that died.
    pub capture: Option<CaptureId>,
    /// How much.
    pub amount: Money,
}

/// One authorization in the provider's books.
#[derive(Debug, Clone)]
pub struct Authorization {
    rules: Rules,
    /// How much is held.
    pub held: Money,
    /// From when on the payer's bank holds it.
    pub approved_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// What was captured.
    pub events: Vec<CaptureEvent>,
    is_voided: bool,
    pending: Option<Pending>,
    keys: BTreeMap<CaptureId, Remembered>,
}

#[derive(Debug, Clone)]
struct Pending {
    event: CaptureEvent,
    until: Timestamp,
    approved: bool,
}

#[derive(Debug, Clone)]
struct Remembered {
    until: Timestamp,
    answer: Answer,
}

impl Authorization {
    /// A hold of `held`.
    pub const fn new(rules: Rules, held: Money, approved_at: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            rules,
            held,
            approved_at,
            expires_at,
            events: Vec::new(),
            is_voided: false,
            pending: None,
            keys: BTreeMap::new(),
        }
    }

    /// Another hold of as much, for as long, at the same provider.
    pub fn again(&self, now: Timestamp) -> Self {
        Self::new(self.rules, self.held, now, now + (self.expires_at - self.approved_at))
    }

    /// Everything captured, by anybody.
    pub fn captured(&self) -> Money {
        let zero = Money::zero(self.held.currency());
        self.events.iter().fold(zero, |sum, event| sum.checked_add(event.amount).expect("one currency"))
    }

    /// Somebody voids what remains. `false` where nothing does.
    pub fn void(&mut self, now: Timestamp) -> bool {
        self.pass(now);
        if self.is_voided || self.is_expired(now) || self.pending.is_some() || self.remaining(now).is_zero() {
            return false;
        }
        // Where there is one capture, it released the rest.
        let can = matches!(self.rules, Rules::Several { .. }) || self.events.is_empty();
        self.is_voided = can;
        can
    }

    /// Somebody captures a part of what remains, or all of it. `false` where nothing does, and where
    /// a second capture cannot be.
    pub fn capture_by_somebody(&mut self, part: u8, now: Timestamp) -> bool {
        self.pass(now);
        let remaining = self.remaining(now).minor();
        let is_several = matches!(self.rules, Rules::Several { .. });
        if !is_several || remaining == 0 {
            return false;
        }
        let amount = Money::from_minor((remaining / i64::from(part)).max(1), self.held.currency()).expect("positive");
        self.events.push(CaptureEvent { capture: None, amount });
        true
    }

    /// Lets pass what happens by itself: a held capture is approved or dropped, a hold dies. Was anything
    /// captured?
    pub fn pass(&mut self, now: Timestamp) -> bool {
        let before = self.events.len();
        if let Some(pending) = self.pending.take_if(|pending| pending.until <= now)
            && pending.approved
        {
            self.events.push(pending.event);
        }
        let captures = matches!(self.rules, Rules::Once { captures_on_expiry: true, .. });
        if captures && self.is_expired(now) && self.events.is_empty() && self.pending.is_none() && !self.is_voided {
            self.events.push(CaptureEvent { capture: None, amount: self.held });
        }
        self.events.len() > before
    }

    /// Processes a capture request.
    pub fn capture(&mut self, request: &Request, luck: Luck, now: Timestamp) -> Answer {
        self.pass(now);
        match self.rules {
            Rules::Several { key_first, remembers_failures, replays, over_is_refusal } => {
                let by_key = self.by_key(request, replays, now);
                let by_limits = self.by_limits(request, over_is_refusal, now);
                let stopped = if key_first { by_key.or(by_limits) } else { by_limits.or(by_key) };
                let answer = stopped.unwrap_or_else(|| self.capture_one_of_several(request, luck, now));
                if matches!(answer, Answer::Captured(_)) || remembers_failures {
                    let until = now + KEY_RETENTION;
                    self.keys.entry(request.key).or_insert_with(|| Remembered { until, answer: answer.clone() });
                }
                answer
            }
            Rules::Once { expiry_is_refusal, .. } => self.capture_once(request, expiry_is_refusal, luck, now),
        }
    }

    fn by_key(&mut self, request: &Request, replays: bool, now: Timestamp) -> Option<Answer> {
        self.keys.retain(|_, remembered| remembered.until > now);
        let remembered = self.keys.get(&request.key)?;
        Some(if replays { remembered.answer.clone() } else { coded("IDEMPOTENCY_KEY_ALREADY_USED") })
    }

    fn by_limits(&self, request: &Request, over_is_refusal: bool, now: Timestamp) -> Option<Answer> {
        if self.is_expired(now) {
            return Some(refused(RefusalReason::AuthorizationExpired, "AUTH_EXPIRED_ERROR", false));
        }
        let amount = request.amount.unwrap_or_else(|| self.remaining(now));
        if amount.is_zero() || amount.minor() > self.remaining(now).minor() {
            return Some(if over_is_refusal {
                refused(RefusalReason::ExceedsAuthorization, "NO_AMOUNT_LEFT", true)
            } else {
                coded("NO_AMOUNT_LEFT")
            });
        }
        None
    }

    fn capture_one_of_several(&mut self, request: &Request, luck: Luck, now: Timestamp) -> Answer {
        if luck == Luck::Declined {
            return refused(RefusalReason::InsufficientFunds, "INSUFFICIENT_FUNDS", false);
        }
        let amount = request.amount.unwrap_or_else(|| self.remaining(now));
        self.events.push(CaptureEvent { capture: Some(request.capture), amount });
        Answer::Captured(CaptureProof {
            amount: Some(amount),
            provider_reference: Some(format!("event-{}", self.events.len())),
            balance: self.balance(now),
        })
    }

    fn capture_once(&mut self, request: &Request, expiry_is_refusal: bool, luck: Luck, now: Timestamp) -> Answer {
        let amount = request.amount.unwrap_or(self.held);
        let captured = CaptureProof { amount: None, provider_reference: None, balance: ProviderBalance::default() };
        if let Some(event) = self.events.first() {
            return if event.amount == amount { Answer::Captured(captured) } else { coded("1109") };
        }
        if let Some(pending) = &self.pending {
            return if pending.event.amount == amount { Answer::Pending } else { coded("1109") };
        }
        if self.is_voided {
            return coded("1123");
        }
        if self.is_expired(now) {
            let expired = refused(RefusalReason::AuthorizationExpired, "1052", false);
            return if expiry_is_refusal { expired } else { coded("1000") };
        }
        if now < self.approved_at || amount.minor() > self.held.minor() {
            return coded("1000");
        }
        let event = CaptureEvent { capture: Some(request.capture), amount };
        match luck {
            Luck::Good => {
                self.events.push(event);
                Answer::Captured(captured)
            }
            Luck::Declined => refused(RefusalReason::Declined, "1040", false),
            Luck::Held { until, approved } => {
                self.pending = Some(Pending { event, until, approved });
                Answer::Pending
            }
        }
    }

    /// What a read shows.
    pub fn view(&mut self, now: Timestamp) -> AuthorizationView {
        self.pass(now);
        let keeps_keys = matches!(self.rules, Rules::Several { .. });
        let seen = |event: &CaptureEvent| SeenCapture {
            capture: event.capture.filter(|_| keeps_keys),
            amount: event.amount,
            provider_reference: None,
        };
        AuthorizationView {
            status: self.status(now),
            is_card: true,
            currency: self.held.currency(),
            authorized: Some(self.held),
            balance: self.balance(now),
            captures: self.events.iter().map(seen).collect(),
            has_pending_capture: self.pending.is_some(),
            authorized_at: None,
        }
    }

    fn status(&self, now: Timestamp) -> AuthorizationStatus {
        let shows_expiry = match self.rules {
            Rules::Several { .. } => true,
            Rules::Once { shows_expiry, .. } => shows_expiry && self.events.is_empty(),
        };
        if now < self.approved_at {
            AuthorizationStatus::NotYetApproved
        } else if self.captured() == self.held {
            AuthorizationStatus::FullyCaptured
        } else if self.is_voided {
            AuthorizationStatus::Voided
        } else if self.is_expired(now) && shows_expiry {
            AuthorizationStatus::Expired
        } else {
            AuthorizationStatus::Open
        }
    }

    fn balance(&self, now: Timestamp) -> ProviderBalance {
        let tells_expiry = matches!(self.rules, Rules::Several { .. });
        ProviderBalance {
            captured: Some(self.captured()),
            voided: None,
            remaining: Some(self.remaining(now)),
            expires_at: tells_expiry.then_some(self.expires_at),
        }
    }

    /// Has it died without anything that a read would show?
    pub fn is_over_in_silence(&self, now: Timestamp) -> bool {
        let shows = matches!(self.rules, Rules::Several { .. } | Rules::Once { shows_expiry: true, .. });
        self.is_expired(now) && !shows && self.events.is_empty() && !self.is_voided
    }

    fn remaining(&self, now: Timestamp) -> Money {
        if self.is_voided || self.is_expired(now) {
            return Money::zero(self.held.currency());
        }
        self.held.checked_sub(self.captured()).expect("limits are checked before a capture")
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }
}

fn refused(reason: RefusalReason, code: &str, read_first: bool) -> Answer {
    Answer::Refused(Refusal { reason, code: Some(code.to_owned()), message: "refused".to_owned(), read_first })
}

fn coded(code: &str) -> Answer {
    Answer::Doubt(Doubt {
        kind: DoubtKind::Coded,
        code: Some(code.to_owned()),
        message: "says nothing".to_owned(),
        retry_after: None,
    })
}
