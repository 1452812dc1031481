//! Flitt's and Fondy's signature, written a second time on purpose.
//!
//! The adapter has its own function. A checker that shares the code of what it checks approves its
//! mistakes, so this one must not be merged with it. Both are held against the published vectors.
//!
//! Rule: SHA-1, in lower-case hex, over the secret and all non-empty values in the order of their
//! names, joined by `|`; without `signature` and `response_signature_string`; zero is kept
//! (docs.flitt.com/api/building-signature).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use sha1::{Digest as _, Sha1};

/// The parameters of one request or response.
pub(super) type Parameters = BTreeMap<String, Value>;

/// The signature over `parameters`; nothing where one of them is a list or an object.
pub(super) fn sign(secret: &str, parameters: &Parameters) -> Option<String> {
    let mut hash = Sha1::new();
    hash.update(secret);
    for (name, value) in parameters {
        if name == "signature" || name == "response_signature_string" {
            continue;
        }
        let text = text(value)?;
        if !text.is_empty() {
            hash.update("|");
            hash.update(text.as_bytes());
        }
    }
    let mut hex = String::with_capacity(40);
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}").expect("a String takes everything");
    }
    Some(hex)
}

/// A parameter as the text that is signed; nothing for lists and objects.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signed(parameters: Value) -> Option<String> {
        sign("test", &serde_json::from_value(parameters).expect("an object"))
    }

    /// Printed in the providers' documentation (the capture with the values that it was signed with),
    /// and three that follow from the rule: zero is kept, empty is dropped, text is UTF-8.
    #[test]
    fn the_published_vectors_verify() {
        let vectors = [
            (
                json!({"order_id": "test_subscription11", "merchant_id": 1_549_901, "action": "start"}),
                "a7adf395dae783a4676abbafe7f2479b2f6cfbca",
            ),
            (
                json!({"version": "1.0.1", "order_id": "test_12343242113", "currency": "UAH",
                       "merchant_id": 1_396_424, "amount": 100}),
                "1efcb015c89da38977ae1e734aade413b95ca900",
            ),
            (
                json!({"reverse_status": "approved", "order_id": "test_12343242111", "response_description": "",
                       "response_code": "", "merchant_id": 1_396_424, "response_status": "success",
                       "reverse_id": "", "reversal_amount": "16", "transaction_id": "2011080263",
                       "signature": "not signed", "response_signature_string": "not signed"}),
                "3656398d3e2aaf83138223cf97ce497871495904",
            ),
            (
                json!({"version": "1.0.1", "order_id": "test_12343242113", "currency": "GEL",
                       "merchant_id": 1_549_901, "amount": 0}),
                "8df15e3f7dbccfdfba5043b4e3bd87c48fa107d5",
            ),
            (
                json!({"version": "1.0.1", "order_id": "test_12343242113", "currency": "GEL",
                       "merchant_id": 1_549_901, "amount": "100", "comment": null}),
                "281b215fe86518fe0fc99c1676b73c57b420e569",
            ),
            (
                json!({"version": "1.0.1", "order_id": "test_12343242113", "currency": "GEL",
                       "merchant_id": 1_549_901, "amount": 100, "comment": "частичное списание"}),
                "192a601de7623c231b3a14bd6b595038970928d4",
            ),
        ];
        for (parameters, expected) in vectors {
            assert_eq!(signed(parameters.clone()).as_deref(), Some(expected), "{parameters}");
        }
        assert_eq!(signed(json!({"receiver": []})), None);
    }
}
