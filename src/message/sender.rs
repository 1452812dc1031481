//! Whose message it is: a signature over its body, and the user that the broker has checked.
//!
//! Both are optional, and each by itself. A signature is HMAC-SHA256 (RFC 2104) over the body as it was
//! sent, in a header beside it, with the name of its key in another: several keys are good at a time, so
//! that they can be changed one sender after the other. RabbitMQ lets nobody name another user than its own
//! in the property `user-id` (<https://www.rabbitmq.com/docs/validated-user-id>).
//!
//! A signature says nothing of time, and need not: the same message again changes nothing.

use std::fmt::{self, Write as _};

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header with the signature, in 64 hexadecimal digits.
pub const SIGNATURE_HEADER: &str = "x-holdfast-signature";

/// The header with the name of the signature's key.
pub const KEY_HEADER: &str = "x-holdfast-key-id";

/// Bytes of a signature.
const LENGTH: usize = 32;

/// What a message says of its sender, beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The signature, as its header has it.
    pub signature: Option<String>,
    /// The name of its key.
    pub key: Option<String>,
    /// The user that published it.
    pub user: Option<String>,
}

/// What is asked of signatures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signatures {
    /// They are not looked at.
    #[default]
    Off,
    /// One that is there must be right.
    Accept,
    /// There must be one, and it must be right.
    Require,
}

/// A key that signatures are made with.
#[derive(Clone)]
pub struct Key {
    /// Its name, which messages carry.
    pub id: String,
    /// The secret that both sides know.
    pub secret: SecretString,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What is asked of a sender.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Of its signature.
    pub signatures: Signatures,
    /// The keys that are good.
    pub keys: Vec<Key>,
    /// The users that may send; empty: whoever the broker lets.
    pub users: Vec<String>,
}

impl Rules {
    /// Is nothing asked of a sender?
    pub fn is_off(&self) -> bool {
        self.signatures == Signatures::Off && self.users.is_empty()
    }

    /// Is a message from somebody who may send one? Tells whether its body is signed.
    ///
    /// # Errors
    /// Why not, and what to do, in words that repeat nothing of the message.
    pub fn check(&self, body: &[u8], claims: &Claims) -> Result<bool, String> {
        self.check_user(claims)?;
        match (self.signatures, &claims.signature) {
            (Signatures::Off, _) | (Signatures::Accept, None) => Ok(false),
            (Signatures::Require, None) => {
                Err(format!("it is not signed: send {SIGNATURE_HEADER} and {KEY_HEADER} with it"))
            }
            (Signatures::Accept | Signatures::Require, Some(signature)) => {
                self.check_signature(body, signature, claims.key.as_deref()).map(|()| true)
            }
        }
    }

    fn check_user(&self, claims: &Claims) -> Result<(), String> {
        let is_known = |user: &String| self.users.contains(user);
        match &claims.user {
            _ if self.users.is_empty() => Ok(()),
            Some(user) if is_known(user) => Ok(()),
            Some(_) => {
                Err("its user-id is none of notices.users: send it as one of them, or add its user there".into())
            }
            None => Err("it names no user: set the property user-id to the user that you connect as".to_owned()),
        }
    }

    fn check_signature(&self, body: &[u8], signature: &str, id: Option<&str>) -> Result<(), String> {
        let id = id.ok_or_else(|| format!("its signature names no key: send the key's name in {KEY_HEADER}"))?;
        let key = self.keys.iter().find(|key| key.id == id);
        let key =
            key.ok_or("its signature is by a key that is not in notices.keys: sign with one that is, or add it")?;
        let claimed = from_hex(signature)
            .ok_or_else(|| format!("{SIGNATURE_HEADER} is not 64 hexadecimal digits: send HMAC-SHA256 of the body"))?;
        // Takes as long for a signature that is nearly right as for one that is not at all.
        mac(&key.secret, body).verify_slice(&claimed).map_err(|_| {
            "its signature is not that of its body by that key: sign the very bytes that are sent".to_owned()
        })
    }
}

/// What to send beside a body that is signed with a key.
pub fn sign(key: &Key, body: &[u8]) -> Claims {
    let signature = mac(&key.secret, body).finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Claims { signature: Some(signature), key: Some(key.id.clone()), user: None }
}

fn mac(secret: &SecretString, body: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes());
    mac.expect("a key of any length is one").chain_update(body)
}

fn from_hex(text: &str) -> Option<[u8; LENGTH]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut bytes = [0; LENGTH];
    if pairs.len() != LENGTH || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, secret: &str) -> Key {
        Key { id: id.to_owned(), secret: secret.into() }
    }

    fn rules(signatures: Signatures) -> Rules {
        Rules { signatures, keys: vec![key("old", "Jefe"), key("new", "another")], users: Vec::new() }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn a_signature_is_the_one_of_the_standard() {
        let claims = sign(&key("old", "Jefe"), b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!((claims.signature.as_deref(), claims.key.as_deref()), (Some(expected), Some("old")));
    }

    #[test]
    fn what_is_asked_of_signatures_is_what_is_looked_at() {
        let signed = sign(&key("new", "another"), b"body");
        let forged = Claims { key: Some("old".to_owned()), ..signed.clone() };
        let none = Claims::default();
        for (signatures, unsigned, good, bad) in [
            (Signatures::Off, Ok(false), Ok(false), Ok(false)),
            (Signatures::Accept, Ok(false), Ok(true), Err(())),
            (Signatures::Require, Err(()), Ok(true), Err(())),
        ] {
            let of = |claims| rules(signatures).check(b"body", claims).map_err(drop);
            assert_eq!((of(&none), of(&signed), of(&forged)), (unsigned, good, bad), "{signatures:?}");
        }
    }

    #[test]
    fn every_way_of_being_wrong_says_what_to_do_and_repeats_nothing() {
        let good = sign(&key("old", "Jefe"), b"body");
        let with = |signature: &str, key: Option<&str>| Claims {
            signature: Some(signature.to_owned()),
            key: key.map(str::to_owned),
            user: None,
        };
        let hex = good.signature.clone().expect("signed");
        for (claims, body, word) in [
            (Claims::default(), &b"body"[..], "not signed"),
            (with(&hex, None), b"body", KEY_HEADER),
            (with(&hex, Some("hunter2")), b"body", "not in notices.keys"),
            (with("hunter2", Some("old")), b"body", "64 hexadecimal digits"),
            (with(&hex[1..], Some("old")), b"body", "64 hexadecimal digits"),
            (with(&format!("{hex}00"), Some("old")), b"body", "64 hexadecimal digits"),
            (with(&"é".repeat(32), Some("old")), b"body", "64 hexadecimal digits"),
            (good.clone(), b"Body", "not that of its body"),
            (with(&"0".repeat(64), Some("old")), b"body", "not that of its body"),
        ] {
            let why = rules(Signatures::Require).check(body, &claims).expect_err("it is wrong");
            assert!(why.contains(word) && !why.contains("hunter2"), "{why}");
        }
        let loud = Claims { signature: Some(hex.to_uppercase()), ..good };
        assert_eq!(rules(Signatures::Require).check(b"body", &loud), Ok(true));
    }

    #[test]
    fn a_user_is_asked_for_by_itself() {
        let rules = Rules { users: vec!["wms".to_owned()], ..Rules::default() };
        let of = |user: Option<&str>| rules.check(b"", &Claims { user: user.map(str::to_owned), ..Claims::default() });
        assert_eq!(of(Some("wms")), Ok(false));
        assert!(of(Some("hunter2")).is_err_and(|why| !why.contains("hunter2")));
        assert!(of(None).is_err_and(|why| why.contains("user-id")));
        assert!(!rules.is_off() && Rules::default().is_off());
        assert!(!format!("{:?}", key("old", "hunter2")).contains("hunter2"));
    }
}
