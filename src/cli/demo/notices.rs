//! The messages of the demo: authorizations are made at the sandbox, notices are written as the
//! shipment side would.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::demo::scenes::{Scene, ShipmentText};
use crate::cli::demo::stage::Stage;
use crate::clock;
use crate::money::{Currency, Money, parse_plain_decimal};
use crate::sandbox::{BookedAuthorization, Faults, NewAuthorization, Protocol};

/// The order whose first notice is sent twice.
const SENT_TWICE: &str = "ord-2001";

/// What the message that is no message says.
const NO_MESSAGE: &[u8] = b"{\"order_id\": \"ord-9999\", ";

/// Authorizations by order.
pub(super) type References = BTreeMap<&'static str, BookedAuthorization>;

/// Holds the pretend money of an act's orders, and arms what goes wrong.
pub(super) fn authorize(stage: &Stage, scenes: &[Scene]) -> anyhow::Result<References> {
    let sandbox = stage.sandbox.sandbox();
    let mut references = References::new();
    let mut rules = Vec::new();
    for scene in scenes {
        let booked = sandbox.authorize(new_authorization(scene)?).map_err(|why| anyhow::anyhow!("{why}"))?;
        rules.extend(scene.rule(&booked.reference));
        references.insert(scene.order, booked);
    }
    if !rules.is_empty() {
        sandbox.set_faults(Faults { rules, ..Faults::default() }).map_err(|why| anyhow::anyhow!("{why}"))?;
    }
    Ok(references)
}

fn new_authorization(scene: &Scene) -> anyhow::Result<NewAuthorization> {
    let currency = Currency::parse(scene.currency)?;
    let major = parse_plain_decimal(scene.authorized).map_err(|why| anyhow::anyhow!(why))?;
    let reference = match scene.protocol {
        Protocol::Flitt | Protocol::Fondy => format!("{}-{}", scene.order, Uuid::new_v4().simple()),
        Protocol::FlexPay => Uuid::new_v4().to_string(),
        #[cfg(test)]
        Protocol::Paper => scene.order.to_owned(),
    };
    let new = json!({
        "protocol": scene.protocol,
        "reference": reference,
        "amount_minor": Money::from_major(major, currency)?.minor(),
        "currency": scene.currency,
        "lifetime_ms": scene.held_for.map(|held_for| held_for.as_millis()),
    });
    serde_json::from_value(new).context("the sandbox reads what the demo writes")
}

/// Every message of an act.
pub(super) fn write(scenes: &[Scene], references: &References) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for scene in scenes {
        for shipment in &scene.shipments {
            let body = notice(scene, shipment, &references[scene.order]).to_string().into_bytes();
            if scene.order == SENT_TWICE && shipment.id == "a" {
                bodies.push(body.clone());
                bodies.push(NO_MESSAGE.to_vec());
            }
            bodies.push(body);
        }
    }
    bodies
}

fn notice(scene: &Scene, shipment: &ShipmentText, booked: &BookedAuthorization) -> Value {
    let lines = shipment.lines.iter().map(|(line, quantity)| json!({"line_id": line, "quantity": quantity}));
    let plan = &scene.plan;
    let plan_lines =
        plan.lines.iter().map(|(line, units, total)| json!({"line_id": line, "quantity": units, "total": total}));
    json!({
        "specversion": "1.0",
        "id": format!("{}-{}", scene.order, shipment.id),
        "source": "/demo/warehouse",
        "type": "order.shipped",
        "subject": scene.order,
        "time": clock::now(),
        "datacontenttype": "application/json",
        "data": {
            "order_id": scene.order,
            "shipment_id": shipment.id,
            "final": shipment.is_final,
            "lines": lines.collect::<Vec<_>>(),
            "authorization": {
                "account": scene.account,
                "reference": booked.reference,
                "currency": scene.currency,
                "amount": scene.authorized,
                "authorized_at": booked.created_at,
                "expires_at": booked.expires_at,
            },
            "plan": {
                "lines": plan_lines.collect::<Vec<_>>(),
                "discount": plan.discount,
                "tax": plan.tax,
                "shipping": plan.shipping,
                "total": plan.total,
            },
        },
    })
}
