//! Identities: what the outside world calls things, and the ids that Holdfast derives from them.
//!
//! Derived ids are UUIDv5 over length-prefixed, tagged fields. They contain no amount, no attempt
//! number, no time and no worker, so they can be computed again after the loss of every disk, and a
//! repeated message or a second worker arrives at the same key.

use std::fmt;
use std::time::Duration;

use sha1::{Digest as _, Sha1};
use thiserror::Error;
use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// The namespace of every id that Holdfast derives (UUIDv5 of the URL namespace and `holdfast:v1`).
const NAMESPACE: Uuid = Uuid::from_u128(0xd4f9_d6cb_c3ed_53bf_bd2a_cb8f_00f0_6317);

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("is not an id: use 1 to 128 printable ASCII characters without spaces or `|`")]
pub struct InvalidId;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks the text: 1 to 128 printable ASCII characters without spaces or `|`.
            ///
            /// # Errors
            /// [`InvalidId`], which does not repeat the value.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let printable = text.bytes().all(|b| b.is_ascii_graphic() && b != b'|');
                if printable && (1..=128).contains(&text.len()) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId)
                }
            }

            /// The text, as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_id!(
    /// An order, as the order system calls it. Unique across everything one deployment serves.
    OrderId
);
text_id!(
    /// A shipment within its order.
    ShipmentId
);
text_id!(
    /// A line within its order.
    LineId
);
text_id!(
    /// A configured account: one set of credentials at one provider. Permanent.
    AccountName
);
text_id!(
    /// An authorization at the provider: its order id (Flitt, Fondy) or transaction id (Flex Pay).
    Reference
);

/// One capture: the ledger's key, the `Idempotency-Key` and the `merchant_reference_id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaptureId(Uuid);

impl CaptureId {
    /// The id of the capture whose last shipment is `shipment`, in `generation` (0 until an operator
    /// replays a shipment that failed on evidence or was refused).
    pub fn of_shipment(
        account: &AccountName,
        reference: &Reference,
        order: &OrderId,
        shipment: &ShipmentId,
        generation: u32,
    ) -> Self {
        let generation = generation.to_string();
        Self(derive(&[
            ("account", account.as_str()),
            ("reference", reference.as_str()),
            ("order", order.as_str()),
            ("shipment", shipment.as_str()),
            ("generation", &generation),
        ]))
    }

    /// The id of the capture of what an order owes beyond its shipments' amounts; `number` counts such
    /// captures of the order, from 1.
    pub fn of_fee(account: &AccountName, reference: &Reference, order: &OrderId, number: u32, generation: u32) -> Self {
        let (number, generation) = (number.to_string(), generation.to_string());
        Self(derive(&[
            ("account", account.as_str()),
            ("reference", reference.as_str()),
            ("order", order.as_str()),
            ("fee", &number),
            ("generation", &generation),
        ]))
    }

    /// An id read back from the ledger or from a provider's answer.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID itself.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One published event. Publishing it twice changes nothing for a consumer that deduplicates by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Uuid);

impl EventId {
    /// The id of an event of `kind` (its type, such as `capture.succeeded`) about a shipment.
    pub fn of_shipment(kind: &str, order: &OrderId, shipment: &ShipmentId, generation: u32) -> Self {
        let generation = generation.to_string();
        Self(derive(&[
            ("event", kind),
            ("order", order.as_str()),
            ("shipment", shipment.as_str()),
            ("generation", &generation),
        ]))
    }

    /// The id of an event of `kind` about a fee.
    pub fn of_fee(kind: &str, order: &OrderId, number: u32, generation: u32) -> Self {
        let (number, generation) = (number.to_string(), generation.to_string());
        Self(derive(&[("event", kind), ("order", order.as_str()), ("fee", &number), ("generation", &generation)]))
    }

    /// The id of an event of `kind` about a revision of an order's plan.
    pub fn of_revision(kind: &str, order: &OrderId, revision: u32) -> Self {
        Self(derive(&[("event", kind), ("order", order.as_str()), ("revision", &revision.to_string())]))
    }

    /// The id of the `notice.rejected` about a dead letter.
    pub fn of_dead_letter(kind: &str, dead_letter: &DeadLetterId) -> Self {
        Self(derive(&[("event", kind), ("dead_letter", &dead_letter.to_string())]))
    }

    /// The id of an event of `kind` about an authorization that expires at `expires_at`; of a warning,
    /// with how long before.
    pub fn of_authorization(
        kind: &str,
        account: &AccountName,
        reference: &Reference,
        expires_at: Timestamp,
        lead: Option<Duration>,
    ) -> Self {
        let expires_at = expires_at.timestamp_micros().to_string();
        let lead = lead.map_or_else(String::new, |lead| lead.as_millis().to_string());
        Self(derive(&[
            ("event", kind),
            ("account", account.as_str()),
            ("reference", reference.as_str()),
            ("expires_at", &expires_at),
            ("lead", &lead),
        ]))
    }

    /// An id read back from the ledger.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID itself.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One dead letter: derived from its reason and the message it holds, so that the same message set
/// aside again for the same reason is the same dead letter, seen once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId(Uuid);

impl DeadLetterId {
    /// The dead letter of a message that never became a shipment.
    pub fn of_message(reason: &str, body_sha256: &[u8; 32]) -> Self {
        Self(derive_bytes(&[("reason", reason.as_bytes()), ("body", body_sha256)]))
    }

    /// The dead letter of a shipment that ended without its money.
    pub fn of_shipment(order: &OrderId, shipment: &ShipmentId, generation: u32) -> Self {
        let generation = generation.to_string();
        Self(derive(&[
            ("dead_letter", "shipment"),
            ("order", order.as_str()),
            ("shipment", shipment.as_str()),
            ("generation", &generation),
        ]))
    }

    /// The dead letter of a fee that ended without its money.
    pub fn of_fee(order: &OrderId, number: u32, generation: u32) -> Self {
        let (number, generation) = (number.to_string(), generation.to_string());
        Self(derive(&[
            ("dead_letter", "fee"),
            ("order", order.as_str()),
            ("fee", &number),
            ("generation", &generation),
        ]))
    }

    /// An id read back from the ledger.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID itself.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a message that carries none: UUIDv5 of its bytes.
pub fn message_id_of_bytes(body: &[u8]) -> Uuid {
    derive_bytes(&[("message", body)])
}

fn derive(fields: &[(&str, &str)]) -> Uuid {
    let mut name = name_of_ours();
    for (tag, value) in fields {
        push_field(&mut name, tag, value.as_bytes());
    }
    uuid_v5(name)
}

fn derive_bytes(fields: &[(&str, &[u8])]) -> Uuid {
    let mut name = name_of_ours();
    for (tag, value) in fields {
        push_field(&mut name, tag, value);
    }
    uuid_v5(name)
}

/// The beginning of every name that a `UUIDv5` of ours is made from (RFC 9562, 5.5). By `sha1` rather than
/// `Uuid::new_v5`: it uses the processor's own instructions, and every capture has three such ids.
fn name_of_ours() -> Sha1 {
    Sha1::new().chain_update(NAMESPACE.as_bytes())
}

fn uuid_v5(name: Sha1) -> Uuid {
    let hash: [u8; 20] = name.finalize().into();
    let (bytes, _) = hash.split_first_chunk().expect("20 bytes are more than 16");
    Builder::from_sha1_bytes(*bytes).into_uuid()
}

/// Tag, length and value: no two different lists of fields ever spell the same name.
fn push_field(name: &mut Sha1, tag: &str, value: &[u8]) {
    name.update(tag);
    name.update(b"=");
    name.update(value.len().to_string());
    name.update(b":");
    name.update(value);
    name.update(b";");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_id_is_the_uuid_v5_of_its_tagged_fields() {
        let name = b"account=4:flex;reference=2:t1;";
        assert_eq!(derive(&[("account", "flex"), ("reference", "t1")]), Uuid::new_v5(&NAMESPACE, name));
        assert_eq!(message_id_of_bytes(b"{}"), Uuid::new_v5(&NAMESPACE, b"message=2:{};"));
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"holdfast:v1"));
        assert_eq!(derive(&[("a", "1;b=1:2")]).get_version_num(), 5);
        assert_ne!(derive(&[("a", "1;b=1:2")]), derive(&[("a", "1"), ("b", "2")]));
    }

    #[test]
    fn an_id_is_shown_as_the_uuid_that_it_was_read_from() {
        let text = "0f6e1a2b-3c4d-5e6f-8a9b-0c1d2e3f4a5b";
        let uuid: Uuid = text.parse().expect("a UUID");
        let (capture, event, letter) =
            (CaptureId::from_uuid(uuid), EventId::from_uuid(uuid), DeadLetterId::from_uuid(uuid));
        assert_eq!([capture.as_uuid(), event.as_uuid(), letter.as_uuid()], [uuid; 3]);
        assert_eq!([capture.to_string(), event.to_string(), letter.to_string()], [text; 3]);
        assert_eq!(format!("{capture:?}"), text, "a key is written into messages of faults as it is");
    }

    #[test]
    fn a_text_id_is_printable_short_and_without_what_separates_ids() {
        for good in ["o", "A-1_2.3:/", &"x".repeat(128)] {
            assert_eq!(OrderId::parse(good).map(|id| id.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "a|b", "a\n", "\u{e4}", &"x".repeat(129)] {
            assert_eq!(OrderId::parse(bad), Err(InvalidId), "{bad:?}");
        }
    }
}
