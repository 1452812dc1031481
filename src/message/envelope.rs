//! What surrounds the data: CloudEvents 1.0 in structured JSON, or nothing at all.
//!
//! In the plain form the body *is* the data, the type is the routing key and the id is the AMQP
//! `message_id`. It does not look into the data. CloudEvents has no binding for AMQP 0-9-1, so
//! binary mode (attributes in headers) is not read. Attributes: CloudEvents 1.0.2, §3.1.

use schemars::JsonSchema;
use serde::Serialize;

use super::field::{Field, Fields, Problem, nearest};
use super::wire::Instant;
use crate::capture::notice::RawMessage;
use crate::clock::Timestamp;
use crate::ids::{self, OrderId};

/// The only version of CloudEvents there is, beside 0.3 and older.
pub(super) const SPEC_VERSION: &str = "1.0";

/// What a message can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Shipped,
    Authorized,
    Cancelled,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Shipped, Self::Authorized, Self::Cancelled];

    /// The event type, which is the routing key too.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "order.shipped",
            Self::Authorized => "order.authorized",
            Self::Cancelled => "order.cancelled",
        }
    }

    /// A message of this kind in full.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Shipped => include_str!("examples/order.shipped.json"),
            Self::Authorized => include_str!("examples/order.authorized.json"),
            Self::Cancelled => include_str!("examples/order.cancelled.json"),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The way out of a type that we do not accept.
    fn way_out(name: &str) -> String {
        let accepted = Self::ALL.map(Self::as_str);
        let suggestion = nearest(name, &accepted).map(|meant| format!(" (did you mean `{meant}`?)"));
        format!("send one of {}{}", accepted.join(", "), suggestion.unwrap_or_default())
    }
}

/// A message with its envelope taken off.
pub(super) struct Envelope<'p> {
    pub(super) kind: Kind,
    pub(super) event_id: String,
    /// Where the data stands in the body.
    pub(super) data_path: &'static str,
    pub(super) data: Fields<'p>,
}

pub(super) fn open<'p>(root: &'p Fields<'p>, message: &RawMessage) -> Result<Envelope<'p>, Problem> {
    if is_cloud_event(root, message) { open_cloud_event(root) } else { open_plain(root, message) }
}

fn open_cloud_event<'p>(root: &'p Fields<'p>) -> Result<Envelope<'p>, Problem> {
    let version = root.required("specversion", "send \"1.0\"")?;
    if version.text("send the string \"1.0\"")? != SPEC_VERSION {
        return Err(version.problem("is another version", "send CloudEvents \"1.0\""));
    }
    let id = root.required("id", "send the event's id, the same in every repetition")?;
    let event_id = usable_id(Some(id.text("send a string")?))
        .ok_or_else(|| id.problem("is empty, too long or not printable", "send 1 to 255 printable characters"))?;
    let source = root.required("source", "send a URI reference that names the sender")?;
    if source.text("send a string")?.is_empty() {
        return Err(source.problem("is empty", "send a URI reference that names the sender"));
    }
    let kind = kind_of(root.optional("type").ok_or_else(|| root.missing("type", &Kind::way_out("")))?)?;
    check_data_is_json(root)?;
    let data = root.required("data", "send the notice as a JSON object")?.object()?;
    Ok(Envelope { kind, event_id: event_id.to_owned(), data_path: "$.data", data })
}

fn kind_of(field: Field<'_>) -> Result<Kind, Problem> {
    let name = field.text("send a string")?;
    Kind::parse(name).ok_or_else(|| field.problem("is not a type we accept", &Kind::way_out(name)))
}

fn check_data_is_json(root: &Fields<'_>) -> Result<(), Problem> {
    if let Some(field) = root.optional("datacontenttype") {
        let media_type = media_type(field.text("send \"application/json\"")?);
        if !media_type.eq_ignore_ascii_case("application/json") && !ends_with_ignoring_case(media_type, "+json") {
            return Err(field.problem("is not a JSON type", "send \"application/json\" or leave it out"));
        }
    }
    match root.optional("data_base64") {
        Some(field) => Err(field.problem("is not accepted", "send `data` as a JSON object")),
        None => Ok(()),
    }
}

fn open_plain<'p>(root: &'p Fields<'p>, message: &RawMessage) -> Result<Envelope<'p>, Problem> {
    let name = &message.routing_key;
    let kind = Kind::parse(name)
        .ok_or_else(|| Problem::of_body("routing key is not a type we accept", &Kind::way_out(name)))?;
    Ok(Envelope { kind, event_id: plain_id(message), data_path: "$", data: *root })
}

/// The event's id and its data as far as they can be told, for a message that is being rejected.
pub(super) fn glance<'p>(root: &'p Fields<'p>, message: &RawMessage) -> (Option<String>, Option<Fields<'p>>) {
    if !is_cloud_event(root, message) {
        return (Some(plain_id(message)), Some(*root));
    }
    let id = usable_id(root.sole_text("id")).or_else(|| usable_id(message.message_id.as_deref()));
    (id.map(ToOwned::to_owned), root.sole_object("data"))
}

fn is_cloud_event(root: &Fields<'_>, message: &RawMessage) -> bool {
    let says_so = |content_type: &str| media_type(content_type).eq_ignore_ascii_case("application/cloudevents+json");
    message.content_type.as_deref().is_some_and(says_so) || root.members().iter().any(|(name, _)| name == "specversion")
}

/// The type and subtype without parameters. Upper and lower case are the same in it (RFC 9110, 8.3.1).
fn media_type(content_type: &str) -> &str {
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    media_type.trim()
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    let tail = text.len().checked_sub(end.len()).and_then(|start| text.get(start..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

fn plain_id(message: &RawMessage) -> String {
    match usable_id(message.message_id.as_deref()) {
        Some(id) => id.to_owned(),
        None => ids::message_id_of_bytes(&message.body).to_string(),
    }
}

/// An event id that can be shown in logs and events: 1 to 255 characters, none of them a control
/// character. It is only ever repeated, never looked up, so it need not be one of our own ids.
pub(super) fn usable_id(id: Option<&str>) -> Option<&str> {
    id.filter(|id| (1..=255).contains(&id.len()) && !id.chars().any(char::is_control))
}

/// Writes a notice as a CloudEvents message.
pub(super) fn write<D: Serialize>(
    kind: Kind,
    order: &OrderId,
    data: D,
    id: &str,
    source: &str,
    time: Timestamp,
) -> Vec<u8> {
    let event = Incoming {
        specversion: SPEC_VERSION,
        id,
        source,
        r#type: kind.as_str(),
        subject: Some(order.as_str()),
        time: Some(Instant(time)),
        datacontenttype: Some("application/json"),
        data,
    };
    serde_json::to_vec(&event).expect("strings, integers and lists always have a JSON form")
}

/// A CloudEvents 1.0 event as we accept it. The plain form is `data` alone.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Incoming<'a, D> {
    /// Always `1.0`.
    pub(super) specversion: &'static str,
    /// The event's id, the same in every repetition. Outgoing events name it as `caused_by`.
    #[schemars(length(min = 1, max = 255))]
    pub(super) id: &'a str,
    /// Who sent it, as a URI reference.
    #[schemars(length(min = 1))]
    pub(super) source: &'a str,
    /// What it is about. In the plain form: the routing key.
    pub(super) r#type: &'static str,
    /// What it is about, for people; not read.
    pub(super) subject: Option<&'a str>,
    /// When it was sent, for people; not read.
    pub(super) time: Option<Instant>,
    /// `application/json` or another JSON type.
    pub(super) datacontenttype: Option<&'static str>,
    /// The notice.
    pub(super) data: D,
}
