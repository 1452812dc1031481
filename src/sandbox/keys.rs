//! Flex Pay's `Idempotency-Key`, in every way that its documentation leaves open.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::books::MovementKind;
use super::flex_pay_codes::ErrorCode;
use crate::clock::Timestamp;
use crate::money::Money;

/// How keys behave. The documentation only says "to prevent duplicate requests".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyRules {
    /// Is the key looked at before the amount is held against what remains, or after?
    pub check: KeyCheck,
    /// Does a refused request use its key up?
    pub failures: KeyFailures,
    /// What a known key with the same content is answered with.
    pub reuse: KeyReuse,
    /// How long a key is remembered, in milliseconds; default: a day.
    pub retention_ms: u64,
}

impl Default for KeyRules {
    fn default() -> Self {
        Self {
            check: KeyCheck::default(),
            failures: KeyFailures::default(),
            reuse: KeyReuse::default(),
            retention_ms: 24 * 60 * 60 * 1000,
        }
    }
}

/// When the key is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyCheck {
    /// Before anything else: a repeated capture of everything is recognised.
    #[default]
    KeyFirst,
    /// After expiry, currency and amount: a repeated capture of everything meets `NO_AMOUNT_LEFT`.
    LimitsFirst,
}

/// Whether a refused request uses its key up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyFailures {
    /// The same key may try again.
    #[default]
    Forget,
    /// The same key gets the same refusal.
    Remember,
}

/// What a known key with the same content is answered with. Other content is always
/// `IDEMPOTENCY_KEY_ALREADY_USED`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyReuse {
    /// 200 with the transaction as it is now (or the remembered refusal).
    #[default]
    StoredReply,
    /// `IDEMPOTENCY_KEY_ALREADY_USED`.
    AlreadyUsed,
}

/// What a request asks for; the same key with another intent is a mistake of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Intent {
    pub(super) kind: MovementKind,
    pub(super) transaction: String,
    /// Nothing: all that remains.
    pub(super) amount: Option<Money>,
    pub(super) merchant_reference_id: Option<String>,
}

/// The keys that one client has used.
#[derive(Debug, Default)]
pub(super) struct Keys {
    used: HashMap<String, Used>,
}

#[derive(Debug)]
struct Used {
    intent: Intent,
    refusal: Option<ErrorCode>,
    at: Timestamp,
}

impl Keys {
    /// Was this key used? Then how to answer: as then, or with the refusal inside.
    pub(super) fn recall(
        &self,
        rules: &KeyRules,
        key: &str,
        intent: &Intent,
        now: Timestamp,
    ) -> Option<Result<(), ErrorCode>> {
        let used = self.used.get(key)?;
        let age = now.signed_duration_since(used.at).to_std().unwrap_or_default();
        if age >= Duration::from_millis(rules.retention_ms) {
            return None;
        }
        if used.intent != *intent {
            return Some(Err(ErrorCode::IdempotencyKeyAlreadyUsed));
        }
        Some(match (rules.reuse, used.refusal) {
            (KeyReuse::StoredReply, None) => Ok(()),
            (KeyReuse::StoredReply, Some(refusal)) => Err(refusal),
            (KeyReuse::AlreadyUsed, _) => Err(ErrorCode::IdempotencyKeyAlreadyUsed),
        })
    }

    pub(super) fn remember(
        &mut self,
        rules: &KeyRules,
        key: String,
        intent: Intent,
        refusal: Option<ErrorCode>,
        now: Timestamp,
    ) {
        if refusal.is_none() || rules.failures == KeyFailures::Remember {
            self.used.insert(key, Used { intent, refusal, at: now });
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.used.clear();
    }
}
