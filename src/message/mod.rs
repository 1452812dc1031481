//! Step 2, decode: the wire contract. Bytes to a checked notice, and an event to bytes.
//!
//! It knows what one message says, and nothing else: not the ledger (is the authorization known, was
//! this shipment seen before with other content?), not the settings (does the account exist?), not
//! the arithmetic of a plan. Those are `capture::accept`'s.
//!
//! Strict where money is, tolerant elsewhere. Unknown fields are ignored, since real shipment events
//! carry carriers, addresses and more, but not inside `authorization` and `plan`, where a mistyped
//! name would silently mean "none". `null` is the same as leaving the field out.

/// What we publish.
pub mod event;
/// `order.authorized`.
pub mod order_authorized;
/// `order.cancelled`.
pub mod order_cancelled;
/// `order.shipped`.
pub mod order_shipped;
/// JSON Schemas of every message, in and out.
pub mod schema;
/// Whose message it is.
pub mod sender;

mod envelope;
mod field;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod json;
mod registration;
mod wire;

use crate::capture::notice::{
    CancellationNotice, RawMessage, RegistrationNotice, Rejection, RejectionReason, ShipmentNotice,
};
use crate::ids::{OrderId, ShipmentId};
use field::{Fields, Problem};

/// The largest body that is read, in bytes.
pub const BODY_MAX: usize = 64 * 1024;

/// The AMQP `content_type` of what we publish: CloudEvents 1.0, structured mode, JSON format.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// A message that says something we understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The incoming event's id: what outgoing events name as `caused_by`.
    pub event_id: String,
    /// Where the notice stands in the body, as a JSON path: `$.data`, or `$` for the plain form.
    pub data_path: &'static str,
    /// What it says.
    pub notice: Notice,
}

/// What an incoming message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `order.shipped`.
    Shipped(Box<ShipmentNotice>),
    /// `order.authorized`.
    Authorized(Box<RegistrationNotice>),
    /// `order.cancelled`.
    Cancelled(Box<CancellationNotice>),
}

/// Reads one message.
///
/// # Errors
/// The first problem, as a [`Rejection`]: `undecodable` where the bytes are not one JSON object that
/// can be read in only one way, `invalid` where that object does not say what it must. Never
/// `conflict`, which takes the ledger to see.
pub fn decode(message: &RawMessage) -> Result<Decoded, Rejection> {
    let members = json::parse(&message.body).map_err(|problem| Rejection {
        reason: RejectionReason::Undecodable,
        path: problem.path,
        message: problem.message,
        order: None,
        shipment: None,
        event_id: envelope::usable_id(message.message_id.as_deref()).map(ToOwned::to_owned),
    })?;
    let root = Fields::root(&members);
    let reject = |reason, problem| reject(reason, problem, &root, message);
    json::refuse_duplicates(&root).map_err(|problem| reject(RejectionReason::Undecodable, problem))?;
    read(&root, message).map_err(|problem| reject(RejectionReason::Invalid, problem))
}

/// Does the body itself say what it is about? In the plain form only its routing key does.
pub fn says_its_type(message: &RawMessage) -> bool {
    let members = json::parse(&message.body);
    members.is_ok_and(|members| Fields::root(&members).sole_text("specversion").is_some())
}

/// The rejection of a message that is not from somebody who may send one, with what it says of whose it is.
pub fn unauthenticated(message: &RawMessage, why: String) -> Rejection {
    let problem = Problem { path: "$".to_owned(), message: why };
    match json::parse(&message.body) {
        Ok(members) => reject(RejectionReason::Unauthenticated, problem, &Fields::root(&members), message),
        Err(_) => Rejection {
            reason: RejectionReason::Unauthenticated,
            path: problem.path,
            message: problem.message,
            order: None,
            shipment: None,
            event_id: envelope::usable_id(message.message_id.as_deref()).map(ToOwned::to_owned),
        },
    }
}

fn read(root: &Fields<'_>, message: &RawMessage) -> Result<Decoded, Problem> {
    let envelope = envelope::open(root, message)?;
    let notice = match envelope.kind {
        envelope::Kind::Shipped => Notice::Shipped(Box::new(order_shipped::read(&envelope.data)?)),
        envelope::Kind::Authorized => Notice::Authorized(Box::new(order_authorized::read(&envelope.data)?)),
        envelope::Kind::Cancelled => Notice::Cancelled(Box::new(order_cancelled::read(&envelope.data)?)),
    };
    Ok(Decoded { event_id: envelope.event_id, data_path: envelope.data_path, notice })
}

/// A second look, only when something is wrong: whose message was it?
fn reject(reason: RejectionReason, problem: Problem, root: &Fields<'_>, message: &RawMessage) -> Rejection {
    let (event_id, data) = envelope::glance(root, message);
    let text = |name| data.and_then(|data| data.sole_text(name));
    Rejection {
        reason,
        path: problem.path,
        message: problem.message,
        order: text("order_id").and_then(|text| OrderId::parse(text).ok()),
        shipment: text("shipment_id").and_then(|text| ShipmentId::parse(text).ok()),
        event_id,
    }
}

#[cfg(test)]
mod tests;
