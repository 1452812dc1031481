//! JSON Schemas of every message, generated from the types that write them.
//!
//! Files under `config/schemas` are kept equal by a test (`cli::schema`); `holdfast schema --write config/schemas`
//! writes them anew. A schema describes; it is not what checks incoming messages (`message::decode`
//! does, and a test holds the two against each other).

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::envelope::{Incoming, Kind, SPEC_VERSION};
use super::event::{
    self, Corrected, Deferred, Expired, Expiring, Failed, Outgoing, RefundRequired, Rejected, Succeeded, Unresolved,
};
use super::order_authorized::OrderAuthorized;
use super::order_cancelled::OrderCancelled;
use super::order_shipped::OrderShipped;

/// Every message type, in and out, with its JSON Schema (draft 2020-12).
pub fn all() -> Vec<(&'static str, Value)> {
    each(&SchemaSettings::draft2020_12())
}

/// The same in draft 07 and under `path` of one document, such as `/components/schemas`: every message type by
/// its name, and what they have in common beside them.
pub fn components(path: &'static str) -> Map<String, Value> {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = path.into();
    });
    let mut components = Map::new();
    for (name, mut schema) in each(&settings) {
        let shared = schema.pointer_mut(path).and_then(Value::as_object_mut).map(std::mem::take);
        for (name, definition) in shared.unwrap_or_default() {
            let before = components.insert(name.clone(), definition.clone());
            assert!(before.is_none_or(|before| before == definition), "two types are called {name}");
        }
        let around = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        schema.as_object_mut().and_then(|schema| schema.remove(around));
        components.insert(name.to_owned(), schema);
    }
    components
}

/// An example of every message type, in and out; `source` is the CloudEvents source of what goes out.
pub fn examples(source: &str) -> Vec<(&'static str, Value)> {
    let read = |body: &[u8]| serde_json::from_slice(body).expect("examples are JSON");
    let incoming = Kind::ALL.map(|kind| (kind.as_str(), read(kind.example().as_bytes())));
    let outgoing = event::examples::each().map(|event| (event.content.kind(), read(&event::encode(&event, source))));
    incoming.into_iter().chain(outgoing).collect()
}

fn each(settings: &SchemaSettings) -> Vec<(&'static str, Value)> {
    vec![
        incoming::<OrderShipped<'_>>(settings, Kind::Shipped.as_str()),
        incoming::<OrderAuthorized<'_>>(settings, Kind::Authorized.as_str()),
        incoming::<OrderCancelled<'_>>(settings, Kind::Cancelled.as_str()),
        outgoing::<Succeeded<'_>>(settings, "capture.succeeded"),
        outgoing::<Failed<'_>>(settings, "capture.failed"),
        outgoing::<Unresolved<'_>>(settings, "capture.unresolved"),
        outgoing::<Corrected<'_>>(settings, "capture.corrected"),
        outgoing::<Deferred<'_>>(settings, "capture.deferred"),
        outgoing::<Rejected<'_>>(settings, "notice.rejected"),
        outgoing::<RefundRequired<'_>>(settings, "refund_required"),
        outgoing::<Expiring<'_>>(settings, "authorization.expiring"),
        outgoing::<Expired<'_>>(settings, "authorization.expired"),
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
fn incoming<D: JsonSchema>(settings: &SchemaSettings, name: &'static str) -> (&'static str, Value) {
    named::<Incoming<'_, D>>(name, settings.clone().for_deserialize())
}

/// As we write it: every field is there, null where it is not known.
fn outgoing<D: JsonSchema>(settings: &SchemaSettings, name: &'static str) -> (&'static str, Value) {
    named::<Outgoing<'_, D>>(name, settings.clone().for_serialize())
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
