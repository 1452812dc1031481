//! The signature over a message's fields.
//!
//! Source: <https://docs.flitt.com/api/building-signature>, and the vectors printed in the providers'
//! own pages and SDKs. SHA-1 is what the protocol prescribes; with the secret in front it
//! authenticates, and nothing here relies on it against collisions.

use std::collections::BTreeMap;
use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// Fields of a message that its signature does not cover. The second is a hint of test merchants.
const NOT_SIGNED: [&str; 2] = ["signature", "response_signature_string"];

/// Lower-case hexadecimal SHA-1 of the secret and all non-empty values, ordered by the names of their
/// fields, joined by `|`.
pub(super) fn of<'a>(secret: &SecretString, fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let ordered: BTreeMap<&str, String> =
        fields.into_iter().filter(|(name, value)| !NOT_SIGNED.contains(name) && !value.is_empty()).collect();
    let mut hash = Sha1::new_with_prefix(secret.expose_secret());
    for value in ordered.values() {
        hash.update(b"|");
        hash.update(value);
    }
    hash.finalize().iter().fold(String::with_capacity(40), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes whatever is written");
        hex
    })
}

/// Is `signature` the one over `fields`? Takes the same time wherever they differ.
pub(super) fn verifies<'a>(
    secret: &SecretString,
    fields: impl IntoIterator<Item = (&'a str, String)>,
    signature: &str,
) -> bool {
    of(secret, fields).as_bytes().ct_eq(signature.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        id: String,
        secret: String,
        params: BTreeMap<String, Value>,
        signature: String,
    }

    impl Vector {
        fn secret(&self) -> SecretString {
            SecretString::from(self.secret.clone())
        }

        fn fields(&self) -> Vec<(&str, String)> {
            self.params.iter().map(|(name, value)| (name.as_str(), super::super::text(value))).collect()
        }
    }

    fn vectors() -> Vec<Vector> {
        let text = include_str!("../../../tests/fixtures/providers/signatures.json");
        serde_json::from_str::<Vectors>(text).expect("the fixture is JSON").vectors
    }

    #[test]
    fn every_known_signature_is_made_and_verified() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 23);
        for vector in &vectors {
            assert_eq!(of(&vector.secret(), vector.fields()), vector.signature, "{}", vector.id);
            assert!(verifies(&vector.secret(), vector.fields(), &vector.signature), "{}", vector.id);
        }
    }

    #[test]
    fn any_change_breaks_a_signature() {
        for vector in &vectors() {
            let verifies = |fields, signature: &str| verifies(&vector.secret(), fields, signature);
            for changed in 0..vector.params.len() {
                let mut fields = vector.fields();
                fields[changed].1.push('0');
                assert!(!verifies(fields, &vector.signature), "{}: field {changed}", vector.id);
            }
            assert!(!verifies(vector.fields(), &vector.signature.to_uppercase()), "{}", vector.id);
            assert!(!verifies(vector.fields(), &vector.signature[..39]), "{}", vector.id);
            assert!(!verifies(vector.fields(), ""), "{}", vector.id);
        }
    }
}
