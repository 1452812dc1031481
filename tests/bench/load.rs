//! What is captured: orders of two lines, each shipped by itself. First the first shipment of every
//! order, then the second one of every order.

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use holdfast::broker::publisher::Outgoing;
use serde_json::json;
use uuid::Uuid;

use crate::provider;

/// The account that everything is captured on.
pub const ACCOUNT: &str = "flex";

/// Calls at a time, for both sides. The provider answers at once, so with few calls under way the worker
/// would only be measured waiting for its disk; a real provider takes a hundred times as long.
pub const CONCURRENCY: usize = 512;

/// Notices of `size` shipments of half as many orders, from this one on, to be published.
pub fn notices(first: usize, size: usize, exchange: &str) -> Vec<Outgoing> {
    let shipments = (0..size).map(|number| numbered(first, size, number));
    let outgoing = |(row, (order, shipment))| Outgoing {
        row,
        exchange: exchange.to_owned(),
        event_id: Uuid::new_v4(),
        routing_key: "order.shipped".to_owned(),
        body: notice(order, shipment),
        content_type: "application/cloudevents+json".to_owned(),
        traceparent: None,
        claims: holdfast::message::sender::Claims::default(),
    };
    (1..).zip(shipments).map(outgoing).collect()
}

/// The id of the shipment of which the notice comes at that place.
pub fn shipment(first: usize, size: usize, number: usize) -> String {
    let (order, shipment) = numbered(first, size, number);
    id(order, shipment)
}

/// Its order, and which of the order's shipments it is.
const fn numbered(first: usize, size: usize, number: usize) -> (usize, usize) {
    let orders = size / 2;
    (first + number % orders, 1 + number / orders)
}

fn id(order: usize, shipment: usize) -> String {
    format!("shp-{order:07}-{shipment}")
}

fn notice(order: usize, shipment: usize) -> Bytes {
    let now = Utc::now();
    let order_id = format!("ord-{order:07}");
    let body = json!({
        "specversion": "1.0",
        "id": format!("evt-{order:07}-{shipment}"),
        "source": "/bench/warehouse",
        "type": "order.shipped",
        "subject": order_id,
        "time": now,
        "datacontenttype": "application/json",
        "data": {
            "order_id": order_id,
            "shipment_id": id(order, shipment),
            "final": shipment == 2,
            "lines": [{ "line_id": format!("line-{shipment}"), "quantity": 1 }],
            "authorization": {
                "account": ACCOUNT,
                "reference": provider::reference(order).to_string(),
                "currency": "USD",
                "amount": "100.00",
                "authorized_at": now,
                "expires_at": now + TimeDelta::days(7),
            },
            "plan": {
                "lines": [
                    { "line_id": "line-1", "quantity": 1, "total": "40.00" },
                    { "line_id": "line-2", "quantity": 1, "total": "50.00" },
                ],
                "discount": "0.00",
                "tax": "7.00",
                "shipping": "3.00",
                "total": "100.00",
            },
        },
    });
    Bytes::from(body.to_string())
}
