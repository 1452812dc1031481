//! JSON Schemas of every message, generated from the types that write them.
//!
//! Files under `config/schemas` are kept equal by a test; `holdfast schema --write config/schemas`
//! writes them anew. A schema describes; it is not what checks incoming messages (`message::decode`
//! does, and a test holds the two against each other).

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::envelope::{Incoming, Kind, SPEC_VERSION};
use super::event::{
    Corrected, Deferred, Expired, Expiring, Failed, Outgoing, RefundRequired, Rejected, Succeeded, Unresolved,
};
use super::order_authorized::OrderAuthorized;
use super::order_cancelled::OrderCancelled;
use super::order_shipped::OrderShipped;

/// Every message type, in and out, with its JSON Schema (draft 2020-12).
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        incoming::<OrderShipped<'_>>(Kind::Shipped.as_str()),
        incoming::<OrderAuthorized<'_>>(Kind::Authorized.as_str()),
        incoming::<OrderCancelled<'_>>(Kind::Cancelled.as_str()),
        outgoing::<Succeeded<'_>>("capture.succeeded"),
        outgoing::<Failed<'_>>("capture.failed"),
        outgoing::<Unresolved<'_>>("capture.unresolved"),
        outgoing::<Corrected<'_>>("capture.corrected"),
        outgoing::<Deferred<'_>>("capture.deferred"),
        outgoing::<Rejected<'_>>("notice.rejected"),
        outgoing::<RefundRequired<'_>>("refund_required"),
        outgoing::<Expiring<'_>>("authorization.expiring"),
        outgoing::<Expired<'_>>("authorization.expired"),
    ]
}

/// The text of a schema file: indented JSON and a line break.
pub fn to_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// The name of a message type's schema file.
pub fn file_name(name: &str) -> String {
    format!("{name}.schema.json")
}

/// As the sender must write it: what may be left out is not required.
fn incoming<D: JsonSchema>(name: &'static str) -> (&'static str, Value) {
    named::<Incoming<'_, D>>(name, SchemaSettings::draft2020_12().for_deserialize())
}

/// As we write it: every field is there, null where it is not known.
fn outgoing<D: JsonSchema>(name: &'static str) -> (&'static str, Value) {
    named::<Outgoing<'_, D>>(name, SchemaSettings::draft2020_12().for_serialize())
}

fn named<T: JsonSchema>(name: &'static str, settings: SchemaSettings) -> (&'static str, Value) {
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    schema["title"] = json!(name);
    schema["properties"]["type"]["const"] = json!(name);
    schema["properties"]["specversion"]["const"] = json!(SPEC_VERSION);
    (name, schema)
}

#[cfg(test)]
pub(super) mod tests;
