//! `order.authorized`: what an order's authorization and plan are, ahead of its shipments, and every
//! revision of the plan.
//!
//! Checks everything that can be seen in one message. Not here: whether the plan adds up, whether it
//! agrees with what was registered and shipped before (`capture::register`).

use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::{self, Kind};
use super::field::{Fields, Problem};
use super::registration::{Authorization, Plan, read_authorization, read_plan};
use super::wire::Id;
use crate::capture::notice::RegistrationNotice;
use crate::clock::Timestamp;
use crate::ids::OrderId;

/// Writes a notice as a CloudEvents message, for whoever has to send one.
pub fn encode(notice: &RegistrationNotice, id: &str, source: &str, time: Timestamp) -> Vec<u8> {
    envelope::write(Kind::Authorized, &notice.order, OrderAuthorized::from(notice), id, source, time)
}

/// Reads the data of an `order.authorized`.
pub(super) fn read(data: &Fields<'_>) -> Result<RegistrationNotice, Problem> {
    let order = data.required("order_id", "send the order's id")?.id(OrderId::parse)?;
    let authorization = data.required("authorization", "send the authorization that the order is paid from")?;
    let authorization = read_authorization(authorization)?;
    let currency = Some(authorization.currency);
    let plan = data.optional("plan").map(|field| read_plan(field, currency)).transpose()?;
    Ok(RegistrationNotice { order, authorization, plan })
}

/// What an order is paid from, and what it owes. Sent early, it lets expiry be watched from the day of
/// the authorization, and `order.shipped` can be three fields long. Sent again with a higher
/// `plan.revision`, it replaces the plan. Unknown fields are ignored, except in `authorization` and
/// `plan`. `null` is the same as leaving a field out.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OrderAuthorized<'a> {
    /// The order; unique across everything that one deployment serves.
    order_id: Id<'a>,
    /// The authorization to capture from.
    authorization: Authorization<'a>,
    /// What the whole order owes. Left out where every shipment names its own `amount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan<'a>>,
}

impl<'a> From<&'a RegistrationNotice> for OrderAuthorized<'a> {
    fn from(notice: &'a RegistrationNotice) -> Self {
        Self {
            order_id: Id(notice.order.as_str()),
            authorization: Authorization::from(&notice.authorization),
            plan: notice.plan.as_ref().map(Plan::from),
        }
    }
}
