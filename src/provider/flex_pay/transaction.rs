//! Reads a transaction, which is what every successful request is answered with.
//!
//! Source: the object `Transaction` of the reference pages. `original_amount` is the sum of what was
//! captured, voided and remains. Unknown fields and events are ignored; a missing one shows nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Deref;

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ProviderBalance, Reading, SeenCapture,
};
use crate::ids::CaptureId;
use crate::money::{Currency, Money};

use super::super::answer::{CodedError, Inconclusive};
use super::super::exact;
use super::super::http::{Reply, StatusClass};
use super::codes::Code;

/// The evidence in the reply to a capture request: a capture of ours among the events, by its key.
pub(super) fn read_capture(reply: &Reply, id: Uuid, capture: CaptureId) -> Answer {
    match success(reply) {
        Ok(body) => match Transaction::parse(body, id).and_then(|transaction| transaction.proof(capture)) {
            Ok(proof) => Answer::Captured(proof),
            Err(shown) => shown.into(),
        },
        Err(Failure::Coded(error)) => error.judged(reply).map_or_else(Answer::from, Answer::Refused),
        Err(Failure::Uncoded(shown)) => shown.into(),
    }
}

/// The evidence in the reply to a lookup.
pub(super) fn read_lookup(reply: &Reply, id: Uuid) -> Reading {
    match success(reply) {
        Ok(body) => match Transaction::parse(body, id).and_then(|transaction| transaction.view()) {
            Ok(view) => Reading::Seen(Box::new(view)),
            Err(shown) => shown.into(),
        },
        Err(Failure::Coded(error)) => error.judged_read(reply).into(),
        Err(Failure::Uncoded(shown)) => shown.into(),
    }
}

/// No transaction in the reply.
enum Failure {
    Coded(CodedError),
    Uncoded(Inconclusive),
}

fn success(reply: &Reply) -> Result<&[u8], Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ErrorBody {
        code_name: String,
        #[serde(default)]
        message: Option<String>,
    }

    let body = reply.content().map_err(Failure::Uncoded)?;
    if reply.class() == StatusClass::Success {
        return Ok(body);
    }
    let error: ErrorBody = serde_json::from_slice(body).map_err(|_| Failure::Uncoded(reply.uncoded()))?;
    let class = Code::parse(&error.code_name).class();
    Err(Failure::Coded(CodedError::new(&error.code_name, &error.message.unwrap_or_default(), class)))
}

/// Borrows from the body of the reply.
#[derive(Deserialize)]
struct Transaction<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: Option<Text<'a>>,
    currency: Option<Text<'a>>,
    original_amount: Option<&'a RawValue>,
    remaining_amount: Option<&'a RawValue>,
    captured_amount: Option<&'a RawValue>,
    authorization_expiration: Option<Text<'a>>,
    created: Option<Text<'a>>,
    events: Option<Vec<Event<'a>>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(rename = "type")]
    kind: Option<Text<'a>>,
    amount: Option<&'a RawValue>,
    currency: Option<Text<'a>>,
    merchant_reference_id: Option<Text<'a>>,
}

/// A text that is borrowed unless it has escapes. (`serde` borrows a `Cow` in no other type.)
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> Transaction<'a> {
    /// A transaction that is ours.
    fn parse(body: &'a [u8], id: Uuid) -> Result<Self, Inconclusive> {
        // From bytes, not from text: what is ignored need not be UTF-8.
        let transaction: Self =
            serde_json::from_slice(body).map_err(|_| Inconclusive::unreadable("the answer is not a transaction"))?;
        if Uuid::try_parse(&transaction.id) == Ok(id) {
            Ok(transaction)
        } else {
            Err(Inconclusive::unreadable("the answer is about another transaction"))
        }
    }

    /// The capture of ours in it. Several events under one key would be several captures: their sum is
    /// shown, and is not what was asked for.
    fn proof(&self, capture: CaptureId) -> Result<CaptureProof, Inconclusive> {
        let ours: Vec<SeenCapture> = self
            .capture_events()?
            .filter(|event| event.key() == Some(capture))
            .map(|event| self.seen(event))
            .collect::<Result<_, _>>()?;
        let (first, more) = ours
            .split_first()
            .ok_or_else(|| Inconclusive::unreadable("the answer has no capture under our merchant_reference_id"))?;
        let amount = more
            .iter()
            .try_fold(first.amount, |sum, seen| sum.checked_add(seen.amount))
            .map_err(|error| Inconclusive::unreadable(format!("several captures under our key: {error}")))?;
        Ok(CaptureProof {
            amount: Some(amount),
            provider_reference: first.provider_reference.clone(),
            // Good to know, and no reason to doubt the capture where it cannot be read.
            balance: self.currency().and_then(|currency| self.balance(currency)).unwrap_or_default(),
        })
    }

    fn view(&self) -> Result<AuthorizationView, Inconclusive> {
        let currency = self.currency()?;
        let balance = self.balance(currency)?;
        Ok(AuthorizationView {
            status: self.status(balance.remaining)?,
            // There is no card, and it is captured as one.
            is_card: true,
            currency,
            authorized: amount("original_amount", self.original_amount, currency)?,
            balance,
            captures: self.capture_events()?.map(|event| self.seen(event)).collect::<Result<_, _>>()?,
            has_pending_capture: false,
            authorized_at: self.created.as_deref().and_then(exact::rfc3339),
        })
    }

    fn currency(&self) -> Result<Currency, Inconclusive> {
        currency(self.currency.as_deref())
    }

    fn balance(&self, currency: Currency) -> Result<ProviderBalance, Inconclusive> {
        let original = amount("original_amount", self.original_amount, currency)?;
        let captured = amount("captured_amount", self.captured_amount, currency)?;
        let remaining = amount("remaining_amount", self.remaining_amount, currency)?;
        // There is no field of its own: it is what is in neither of the others.
        let rest = |original: Money, part: Option<Money>| original.checked_sub(part?).ok();
        let voided = original.and_then(|original| rest(rest(original, captured)?, remaining));
        Ok(ProviderBalance {
            captured,
            voided,
            remaining,
            expires_at: self.authorization_expiration.as_deref().and_then(exact::rfc3339),
        })
    }

    /// A refund changes the status but not what can still be captured: the remaining amount tells.
    fn status(&self, remaining: Option<Money>) -> Result<AuthorizationStatus, Inconclusive> {
        let left = remaining.map(|remaining| !remaining.is_zero());
        match (self.status.as_deref(), left) {
            (Some("AUTHORIZED" | "PARTIALLY_CAPTURED"), _)
            | (Some("CAPTURED" | "REFUNDED" | "PARTIALLY_REFUNDED"), Some(true))
            | (Some("REFUNDED" | "PARTIALLY_REFUNDED"), None) => Ok(AuthorizationStatus::Open),
            (Some("CAPTURED"), Some(false) | None) | (Some("REFUNDED" | "PARTIALLY_REFUNDED"), Some(false)) => {
                Ok(AuthorizationStatus::FullyCaptured)
            }
            (Some("AUTHORIZED_FAILED"), _) => Ok(AuthorizationStatus::Declined),
            (Some("AUTHORIZATION_EXPIRED"), _) => Ok(AuthorizationStatus::Expired),
            (Some("VOIDED"), _) => Ok(AuthorizationStatus::Voided),
            (Some(_) | None, _) => Err(Inconclusive::unreadable("the transaction has no status that we know")),
        }
    }

    /// Every capture, each once. Without a list of events nothing can be said to be missing from it.
    fn capture_events(&self) -> Result<impl Iterator<Item = &Event<'a>>, Inconclusive> {
        let events =
            self.events.as_ref().ok_or_else(|| Inconclusive::unreadable("the transaction has no list of events"))?;
        let mut known = BTreeSet::new();
        Ok(events
            .iter()
            .filter(|event| event.kind.as_deref() == Some("CAPTURE"))
            .filter(move |event| event.id.as_deref().is_none_or(|id| known.insert(id))))
    }

    fn seen(&self, event: &Event<'_>) -> Result<SeenCapture, Inconclusive> {
        let currency = currency(event.currency.as_deref().or(self.currency.as_deref()))?;
        let amount = amount("a capture's amount", event.amount, currency)?
            .ok_or_else(|| Inconclusive::unreadable("a capture has no amount"))?;
        Ok(SeenCapture {
            capture: event.key(),
            amount,
            provider_reference: event.id.as_ref().map(|id| id.chars().take(64).collect()),
        })
    }
}

impl Event<'_> {
    /// Our key, where the event has one of that form.
    fn key(&self) -> Option<CaptureId> {
        let key = Uuid::try_parse(self.merchant_reference_id.as_deref()?).ok()?;
        Some(CaptureId::from_uuid(key))
    }
}

fn currency(code: Option<&str>) -> Result<Currency, Inconclusive> {
    code.and_then(|code| Currency::parse(code).ok())
        .ok_or_else(|| Inconclusive::unreadable("the transaction has no currency that we know"))
}

fn amount(name: &str, raw: Option<&RawValue>, currency: Currency) -> Result<Option<Money>, Inconclusive> {
    raw.map(|raw| exact::scalar(raw).ok_or("is not a number".to_owned()).and_then(|text| exact::major(&text, currency)))
        .transpose()
        .map_err(|problem| Inconclusive::unreadable(format!("{name} {problem}")))
}
