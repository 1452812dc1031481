//! One hold in a provider's books, as far as the protocol can tell providers apart. It shares no code with
//! the core.

use holdfast::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, Doubt, DoubtKind, NotExecuted, ProviderBalance,
    Refusal, RefusalReason, SeenCapture,
};
use holdfast::ids::CaptureId;

use crate::setup::{Expiry, Rules, Setup, currency, money};

/// After so many steps a key is forgotten: when the last request of its window must have arrived.
const RETENTION: u8 = 2;

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hold {
    /// What was captured on it.
    pub events: Vec<Taken>,
    /// Is it over?
    pub is_over: bool,
    /// Steps until it is over by itself.
    ends_in: Option<u8>,
    keys: Vec<(CaptureId, u8, u8)>,
}

/// What was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Taken {
    /// Under which key; `None` for what the provider has captured by itself.
    pub capture: Option<CaptureId>,
    /// In minor units.
    pub amount: i64,
}

/// A capture request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// The merchant's reference.
    pub capture: CaptureId,
    /// 0, and more only where a new key is made for the same reference.
    pub key: u8,
    /// In minor units.
    pub amount: i64,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    /// It is captured, and so the hold stands.
    Captured(View),
    /// The key was used before.
    Used,
    /// A code that says nothing.
    Coded,
    /// The hold is over.
    Over,
    /// More than the hold has left.
    TooMuch,
    /// Declined, this time.
    Declined,
    /// It was never sent: its time was over.
    NotSent,
    /// Nothing.
    Silence,
}

/// What a read shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View {
    events: Vec<Taken>,
    is_over: bool,
}

impl Hold {
    /// An untouched one.
    pub const fn new(setup: &Setup) -> Self {
        let ends_in = match setup.expiry {
            Expiry::Never | Expiry::AnyTime => None,
            Expiry::After(ticks) => Some(ticks),
        };
        Self { events: Vec::new(), is_over: false, ends_in, keys: Vec::new() }
    }

    /// What was captured on it in all.
    pub fn captured(&self) -> i64 {
        self.events.iter().map(|event| event.amount).sum()
    }

    /// Processes a capture request. A decline meets only what would succeed.
    pub fn capture(&mut self, request: Request, is_declined: bool, setup: &Setup) -> Option<Said> {
        let rules = setup.rules;
        let by_key = self.by_key(request, rules);
        let by_limits = self.by_limits(request, setup);
        let stopped = if rules.limits_first { by_limits.or(by_key) } else { by_key.or(by_limits) };
        if stopped.is_some() && is_declined {
            return None;
        }
        let stopped = stopped.or(is_declined.then_some(Said::Declined));
        let is_refusal = matches!(stopped, Some(Said::Over | Said::TooMuch | Said::Declined));
        if !rules.single && (stopped.is_none() || is_refusal && rules.remembers_refusals) {
            self.remember(request);
        }
        Some(stopped.unwrap_or_else(|| {
            self.events.push(Taken { capture: Some(request.capture), amount: request.amount });
            self.events.sort_unstable();
            Said::Captured(self.view())
        }))
    }

    fn remember(&mut self, request: Request) {
        let is_it = |(capture, key, _): &&(CaptureId, u8, u8)| (*capture, *key) == (request.capture, request.key);
        if self.keys.iter().find(is_it).is_none() {
            self.keys.push((request.capture, request.key, 0));
            self.keys.sort_unstable();
        }
    }

    fn by_key(&self, request: Request, rules: Rules) -> Option<Said> {
        if rules.single {
            let event = self.events.first()?;
            let is_same = event.amount == request.amount;
            return Some(if is_same { Said::Captured(self.view()) } else { Said::Coded });
        }
        let is_used = |(capture, key, _): &(CaptureId, u8, u8)| (*capture, *key) == (request.capture, request.key);
        self.keys.iter().any(is_used).then_some(Said::Used)
    }

    fn by_limits(&self, request: Request, setup: &Setup) -> Option<Said> {
        if self.is_over {
            return Some(if setup.rules.codes_expiry { Said::Coded } else { Said::Over });
        }
        (request.amount > setup.held - self.captured()).then_some(Said::TooMuch)
    }

    /// It ends, and its provider may take it all.
    pub fn end(&mut self, setup: &Setup) {
        self.is_over = true;
        self.ends_in = None;
        if setup.rules.captures_on_expiry && self.events.is_empty() {
            self.events.push(Taken { capture: None, amount: setup.held });
        }
    }

    /// A step of time passes.
    pub fn pass(&mut self, setup: &Setup) {
        if setup.rules.forgets {
            self.keys.iter_mut().for_each(|(_, _, age)| *age += 1);
            self.keys.retain(|(_, _, age)| *age < RETENTION);
        }
        self.ends_in = self.ends_in.map(|left| left - 1);
        if self.ends_in == Some(0) {
            self.end(setup);
        }
    }

    /// What a read shows now.
    pub fn view(&self) -> View {
        View { events: self.events.clone(), is_over: self.is_over }
    }
}

impl View {
    /// Does it show a capture under this key, or, where there is only one, of this amount?
    pub fn shows(&self, request: Request, rules: Rules) -> bool {
        let is_its = |event: &Taken| event.amount == request.amount;
        let is_ours = |event: &Taken| rules.single || event.capture == Some(request.capture);
        self.events.iter().any(|event| is_its(event) && is_ours(event))
    }

    /// As the adapter would say it.
    pub fn reading(&self, setup: &Setup) -> AuthorizationView {
        let rules = setup.rules;
        let captured: i64 = self.events.iter().map(|event| event.amount).sum();
        let shows_end = self.is_over && (!rules.single || !rules.hides_expiry && self.events.is_empty());
        let status = if captured == setup.held {
            AuthorizationStatus::FullyCaptured
        } else if shows_end && !rules.hides_expiry {
            AuthorizationStatus::Expired
        } else {
            AuthorizationStatus::Open
        };
        let seen = |event: &Taken| SeenCapture {
            capture: event.capture.filter(|_| !rules.single),
            amount: money(event.amount),
            provider_reference: None,
        };
        AuthorizationView {
            status,
            is_card: true,
            currency: currency(),
            authorized: Some(money(setup.held)),
            balance: self.balance(setup),
            captures: self.events.iter().map(seen).collect(),
            has_pending_capture: false,
            authorized_at: None,
        }
    }

    fn balance(&self, setup: &Setup) -> ProviderBalance {
        let captured: i64 = self.events.iter().map(|event| event.amount).sum();
        let remaining = if self.is_over { 0 } else { setup.held - captured };
        // Where a read hides the end, so does its balance.
        let remaining = (!setup.rules.hides_expiry).then(|| money(remaining.max(0)));
        ProviderBalance { captured: Some(money(captured)), voided: None, remaining, expires_at: None }
    }
}

impl Said {
    /// As the adapter would say it.
    pub fn answer(&self, request: Request, setup: &Setup) -> Answer {
        match self {
            Self::Captured(view) if !setup.rules.single => Answer::Captured(CaptureProof {
                amount: Some(money(request.amount)),
                provider_reference: None,
                balance: view.balance(setup),
            }),
            Self::Captured(_) => Answer::Captured(CaptureProof {
                amount: None,
                provider_reference: None,
                balance: ProviderBalance::default(),
            }),
            Self::Used => coded("IDEMPOTENCY_KEY_ALREADY_USED"),
            Self::Coded => coded("1000"),
            Self::Over => refused(RefusalReason::AuthorizationExpired, false),
            Self::TooMuch => refused(RefusalReason::ExceedsAuthorization, true),
            Self::Declined => refused(RefusalReason::InsufficientFunds, false),
            Self::NotSent => Answer::NotExecuted(NotExecuted { message: "too late".to_owned(), retry_after: None }),
            Self::Silence => Answer::Doubt(silence()),
        }
    }

    /// Does it say that the money was captured?
    pub const fn is_positive(&self) -> bool {
        match self {
            Self::Captured(_) => true,
            Self::Used | Self::Coded | Self::Over | Self::TooMuch | Self::Declined | Self::NotSent | Self::Silence => {
                false
            }
        }
    }
}

/// No answer.
pub fn silence() -> Doubt {
    Doubt { kind: DoubtKind::Timeout, code: None, message: "no answer".to_owned(), retry_after: None }
}

fn coded(code: &str) -> Answer {
    Answer::Doubt(Doubt { kind: DoubtKind::Coded, code: Some(code.to_owned()), ..silence() })
}

fn refused(reason: RefusalReason, read_first: bool) -> Answer {
    Answer::Refused(Refusal { reason, code: None, message: "refused".to_owned(), read_first })
}
