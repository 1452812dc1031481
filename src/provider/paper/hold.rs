//! Reads the forms that Paper answers with.
//!
//! A form has no end of its own: one that was cut off is a shorter form, with a smaller number in it. So the last field
//! has to be there, and what a read shows has to add up.

use url::form_urlencoded;
use uuid::Uuid;

use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ProviderBalance, Reading, SeenCapture,
};
use crate::ids::{CaptureId, Reference};
use crate::money::{Currency, Money};

use super::super::answer::{CodedError, Inconclusive};
use super::super::exact;
use super::super::http::{Reply, StatusClass};
use super::codes;

/// The evidence in the reply to a capture request.
pub(super) fn read_capture(reply: &Reply, reference: &Reference, capture: CaptureId) -> Answer {
    match success(reply) {
        Ok(form) => form.taking(reference, capture).unwrap_or_else(Answer::from),
        Err(Failure::Coded(error)) => error.judged(reply).map_or_else(Answer::from, Answer::Refused),
        Err(Failure::Uncoded(shown)) => shown.into(),
    }
}

/// The evidence in the reply to a lookup.
pub(super) fn read_lookup(reply: &Reply, reference: &Reference) -> Reading {
    match success(reply) {
        Ok(form) => form.view(reference).map_or_else(Reading::from, |view| Reading::Seen(Box::new(view))),
        Err(Failure::Coded(error)) => error.judged_read(reply).into(),
        Err(Failure::Uncoded(shown)) => shown.into(),
    }
}

enum Failure {
    Coded(CodedError),
    Uncoded(Inconclusive),
}

fn success(reply: &Reply) -> Result<Form, Failure> {
    let form = Form::parse(reply.content().map_err(Failure::Uncoded)?);
    if reply.class() == StatusClass::Success {
        return Ok(form);
    }
    let code = form.sole("error").map_err(|_| Failure::Uncoded(reply.uncoded()))?;
    Err(Failure::Coded(CodedError::new(code, form.sole("text").unwrap_or_default(), codes::class(code))))
}

/// The fields of an answer, in their order.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Self {
        // What is not UTF-8 becomes a character that no value has.
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// A field that is there once.
    fn sole(&self, name: &str) -> Result<&str, Inconclusive> {
        let mut found = self.all(name);
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            (None | Some(_), _) => Err(Inconclusive::unreadable(format!("the answer does not have `{name}` once"))),
        }
    }

    fn all<'f>(&'f self, name: &str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_about(&self, reference: &Reference) -> Result<(), Inconclusive> {
        if self.sole("hold")? == reference.as_str() {
            Ok(())
        } else {
            Err(Inconclusive::unreadable("the answer is about another hold"))
        }
    }

    /// What became of our capture.
    fn taking(&self, reference: &Reference, capture: CaptureId) -> Result<Answer, Inconclusive> {
        self.is_about(reference)?;
        if key(self.sole("memo")?) != Some(capture) {
            return Err(Inconclusive::unreadable("the answer is about another memo"));
        }
        let amount = self.money("amount", self.currency()?)?;
        match self.state()? {
            "taken" => Ok(Answer::Captured(CaptureProof {
                amount: Some(amount),
                provider_reference: None,
                balance: ProviderBalance::default(),
            })),
            "queued" => Ok(Answer::Pending),
            _ => Err(Inconclusive::unreadable("the taking has no state that we know")),
        }
    }

    fn view(&self, reference: &Reference) -> Result<AuthorizationView, Inconclusive> {
        self.is_about(reference)?;
        let currency = self.currency()?;
        let status = match self.state()? {
            "open" => AuthorizationStatus::Open,
            "emptied" => AuthorizationStatus::FullyCaptured,
            "ended" => AuthorizationStatus::Expired,
            "returned" => AuthorizationStatus::Voided,
            "refused" => AuthorizationStatus::Declined,
            _ => return Err(Inconclusive::unreadable("the hold has no state that we know")),
        };
        let captures: Vec<_> = self.all("taking").map(|taking| seen(taking, currency)).collect::<Result<_, _>>()?;
        let [held, returned, left] = ["held", "returned", "left"].map(|name| self.money(name, currency));
        let (held, returned, left) = (held?, returned?, left?);
        let no_sum = |_| Inconclusive::unreadable("the amounts of the hold are too large");
        let zero = Money::zero(currency);
        let captured = captures.iter().try_fold(zero, |sum, taking| sum.checked_add(taking.amount)).map_err(no_sum)?;
        let told = captured.checked_add(returned).and_then(|sum| sum.checked_add(left)).map_err(no_sum)?;
        if told != held {
            return Err(Inconclusive::unreadable("what the hold shows does not add up"));
        }
        Ok(AuthorizationView {
            status,
            is_card: true,
            currency,
            authorized: Some(held),
            balance: ProviderBalance {
                captured: Some(captured),
                voided: Some(returned),
                remaining: Some(left),
                expires_at: exact::rfc3339(self.sole("ends")?),
            },
            captures,
            has_pending_capture: false,
            authorized_at: None,
        })
    }

    /// The last field. Where another one is, something is missing.
    fn state(&self) -> Result<&str, Inconclusive> {
        let state = self.sole("state")?;
        match self.0.last() {
            Some((name, _)) if name == "state" => Ok(state),
            Some(_) | None => Err(Inconclusive::unreadable("the answer does not end with `state`")),
        }
    }

    fn currency(&self) -> Result<Currency, Inconclusive> {
        let no_currency = |_| Inconclusive::unreadable("the answer has no currency that we know");
        Currency::parse(self.sole("currency")?).map_err(no_currency)
    }

    fn money(&self, name: &str, currency: Currency) -> Result<Money, Inconclusive> {
        exact::minor(self.sole(name)?, currency)
            .map_err(|problem| Inconclusive::unreadable(format!("`{name}` {problem}")))
    }
}

/// `MEMO:AMOUNT`.
fn seen(taking: &str, currency: Currency) -> Result<SeenCapture, Inconclusive> {
    let (memo, minor) =
        taking.rsplit_once(':').ok_or_else(|| Inconclusive::unreadable("a taking is not a memo and an amount"))?;
    let amount =
        exact::minor(minor, currency).map_err(|problem| Inconclusive::unreadable(format!("a taking {problem}")))?;
    Ok(SeenCapture { capture: key(memo), amount, provider_reference: None })
}

/// Our key, where the memo has that form: somebody else's may say anything.
fn key(memo: &str) -> Option<CaptureId> {
    Uuid::try_parse(memo).ok().map(CaptureId::from_uuid)
}
