//! The fields of a reply, by name, each as the text that it was sent as.
//!
//! Does not know what they mean.

use std::borrow::Cow;
use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ids::Reference;

use super::super::answer::{CodedError, Inconclusive};
use super::super::exact;
use super::{codes, signature};

/// Everything inside `{"response": {…}}`.
#[derive(Debug, Deserialize)]
pub(super) struct Fields(BTreeMap<String, Box<RawValue>>);

#[derive(Deserialize)]
struct Envelope {
    response: Fields,
}

impl Fields {
    /// The fields in a reply's body; `None` for anything else than a response in its envelope.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Envelope>(body).ok().map(|envelope| envelope.response)
    }

    /// The fields in a field that is JSON inside a string.
    pub(super) fn nested(&self, name: &str) -> Option<Self> {
        serde_json::from_str(&self.get(name)?).ok()
    }

    /// The field's text. Empty and `null` are as good as missing: the protocol sends any of the three.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).and_then(|raw| exact::scalar(raw)).filter(|text| !text.is_empty())
    }

    /// Is the field there, even if empty or `null`, and without parts?
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|raw| exact::scalar(raw).is_some())
    }

    /// Is the field this very text?
    pub(super) fn is(&self, name: &str, text: &str) -> bool {
        self.get(name).is_some_and(|value| value == text)
    }

    /// The error in `field` (`error_code`: the request was rejected; `response_code`: it was
    /// processed and declined), with the text in `message`.
    pub(super) fn error(&self, field: &str, message: &str) -> Option<CodedError> {
        let code = self.get(field)?;
        let message = self.get(message).unwrap_or_default();
        Some(CodedError::new(&code, &message, codes::meaning(&code, &message)))
    }

    /// Does the signature verify, over all fields?
    pub(super) fn verify(&self, secret: &SecretString) -> bool {
        let texts: Option<Vec<_>> =
            self.0.iter().map(|(name, raw)| Some((name.as_str(), exact::scalar(raw)?.into_owned()))).collect();
        // The documentation has no field with parts, and no rule how one would be signed.
        let (Some(texts), Some(signature)) = (texts, self.get("signature")) else { return false };
        signature::verifies(secret, texts, &signature)
    }

    /// Do order and merchant echo ours?
    pub(super) fn echo(&self, merchant_id: u64, reference: &Reference) -> Result<(), Inconclusive> {
        if self.is("order_id", reference.as_str()) && self.is("merchant_id", &merchant_id.to_string()) {
            Ok(())
        } else {
            Err(Inconclusive::unreadable("the answer names another order_id or merchant_id than ours"))
        }
    }
}
