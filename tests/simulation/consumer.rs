//! A consumer of our events: it reads the bytes on the wire, deduplicates by id, and knows nothing
//! else. What it has seen is what Holdfast has told the world.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast::ids::{AccountName, CaptureId, Reference};
use holdfast::ledger::OutboxRow;
use serde_json::Value;
use uuid::Uuid;

use crate::scenario::Name;

/// Everything that was published.
#[derive(Default)]
pub struct Consumer {
    seen: BTreeMap<Uuid, Bytes>,
    told: Vec<Told>,
}

/// One event, as the consumer reads it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its type.
    pub kind: String,
    /// Its data.
    pub data: Value,
}

impl Told {
    /// A text field; empty where it is null.
    pub fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }

    /// The capture's id.
    pub fn capture(&self) -> Option<CaptureId> {
        Uuid::parse_str(self.text("capture_id")).ok().map(CaptureId::from_uuid)
    }

    /// Account and reference.
    pub fn authorization(&self) -> Option<Name> {
        let account = AccountName::parse(self.text("account")).ok()?;
        Some((account, Reference::parse(self.text("reference")).ok()?))
    }

    /// One of the events of which a shipment has one.
    pub fn is_outcome(&self) -> bool {
        matches!(&*self.kind, "capture.succeeded" | "capture.failed" | "capture.unresolved")
    }

    /// Is it about what an order owes beyond its shipments' amounts?
    pub fn is_fee(&self) -> bool {
        self.text("kind") == "fee"
    }

    /// Order, shipment (of a fee: its capture) and generation.
    pub fn shipment(&self) -> (String, String, u64) {
        let generation = self.data["generation"].as_u64().unwrap_or_default();
        let about = self.text(if self.is_fee() { "capture_id" } else { "shipment_id" });
        (self.text("order_id").to_owned(), about.to_owned(), generation)
    }
}

impl Consumer {
    /// An event arrives. After a restore from a backup it may be one of the time that was lost, told otherwise.
    ///
    /// # Errors
    /// It was seen before with other bytes.
    pub fn receive(&mut self, row: &OutboxRow, is_restored: bool) -> Result<(), String> {
        if let Some(before) = self.seen.get(&row.event_id) {
            let is_right = is_restored || *before == row.body;
            return if is_right { Ok(()) } else { Err(format!("S9: event {} changed", row.event_id)) };
        }
        let body: Value = serde_json::from_slice(&row.body).map_err(|error| format!("S9: not JSON: {error}"))?;
        self.seen.insert(row.event_id, row.body.clone());
        self.told.push(Told { kind: row.kind.clone(), data: body["data"].clone() });
        Ok(())
    }

    /// Has it seen the event?
    pub fn has_seen(&self, id: Uuid) -> bool {
        self.seen.contains_key(&id)
    }

    /// Everything it was told, each once, in the order in which it came.
    pub fn told(&self) -> &[Told] {
        &self.told
    }
}
