//! The orders that the demo ships: what is in them, how they ship, and what goes wrong on the way.

use std::time::Duration;

use crate::sandbox::{Fault, Operation, Protocol, Rule, When};

/// One order and its shipments.
pub(super) struct Scene {
    pub(super) order: &'static str,
    pub(super) account: &'static str,
    pub(super) protocol: Protocol,
    pub(super) currency: &'static str,
    /// Authorized at the provider.
    pub(super) authorized: &'static str,
    /// For how long, where it is shorter than usual.
    pub(super) held_for: Option<Duration>,
    pub(super) plan: PlanText,
    pub(super) shipments: Vec<ShipmentText>,
    /// What goes wrong with its capture requests.
    pub(super) fault: Option<Fault>,
}

/// What the order owes.
pub(super) struct PlanText {
    /// Line, units, total.
    pub(super) lines: &'static [(&'static str, &'static str, &'static str)],
    pub(super) discount: &'static str,
    pub(super) tax: &'static str,
    pub(super) shipping: &'static str,
    pub(super) total: &'static str,
}

/// One shipment, and why its outcome is what it is.
pub(super) struct ShipmentText {
    pub(super) id: &'static str,
    pub(super) lines: &'static [(&'static str, &'static str)],
    pub(super) is_final: bool,
    pub(super) why: &'static str,
}

impl Scene {
    /// The rule that makes its captures go wrong.
    pub(super) fn rule(&self, reference: &str) -> Option<Rule> {
        let fault = self.fault.clone()?;
        Some(Rule {
            reference: Some(reference.to_owned()),
            operation: Operation::Capture,
            times: Some(1),
            ..Rule::new(fault)
        })
    }
}

const fn shipment(id: &'static str, lines: &'static [(&'static str, &'static str)], why: &'static str) -> ShipmentText {
    ShipmentText { id, lines, is_final: false, why }
}

const fn last(id: &'static str, lines: &'static [(&'static str, &'static str)], why: &'static str) -> ShipmentText {
    ShipmentText { id, lines, is_final: true, why }
}

/// Orders that are shipped together.
pub(super) struct Act {
    pub(super) title: &'static str,
    pub(super) scenes: Vec<Scene>,
}

/// The demo, one act after the other: an outage strikes whatever is in flight, so it has its own.
pub(super) fn acts() -> Vec<Act> {
    let everyday = single_capture().into_iter().chain([near_its_deadline()]).chain(several_captures()).collect();
    vec![
        Act {
            title: "Orders ship, in parts. One notice comes twice, one message is no message, one hold ends soon.",
            scenes: everyday,
        },
        Act { title: "Things go wrong: lost answers, silence, a refusal, a wrong notice.", scenes: trouble() },
        Act { title: "The provider goes down for three seconds, under a capture.", scenes: outage() },
        Act { title: "An order ships while it is still down.", scenes: while_down() },
    ]
}

fn single_capture() -> Vec<Scene> {
    vec![
        Scene {
            order: "ord-1001",
            account: "flitt-ge",
            protocol: Protocol::Flitt,
            currency: "GEL",
            authorized: "119.00",
            held_for: None,
            plan: PlanText {
                lines: &[("mug", "3", "44.97"), ("lamp", "1", "69.13")],
                discount: "0.00",
                tax: "0.00",
                shipping: "4.90",
                total: "119.00",
            },
            shipments: vec![
                shipment("a", &[("mug", "2"), ("lamp", "1")], "one capture per hold: waited for the rest"),
                shipment("b", &[("mug", "1")], "completed the order: all of it captured at once"),
            ],
            fault: None,
        },
        Scene {
            order: "ord-1002",
            account: "fondy-eu",
            protocol: Protocol::Fondy,
            currency: "EUR",
            authorized: "90.00",
            held_for: None,
            plan: PlanText {
                lines: &[("shirt", "3", "90.00")],
                discount: "9.00",
                tax: "0.00",
                shipping: "0.00",
                total: "81.00",
            },
            shipments: vec![last(
                "a",
                &[("shirt", "2")],
                "final with one shirt missing: captured what shipped, the rest released",
            )],
            fault: None,
        },
        Scene {
            order: "ord-1003",
            account: "fondy-eu",
            protocol: Protocol::Fondy,
            currency: "EUR",
            authorized: "25.00",
            held_for: None,
            plan: PlanText {
                lines: &[("book", "1", "25.00")],
                discount: "0.00",
                tax: "0.00",
                shipping: "0.00",
                total: "25.00",
            },
            shipments: vec![shipment(
                "a",
                &[("book", "1")],
                "the provider said hold first: asked until it was captured",
            )],
            fault: Some(Fault::Hold { lookups: 1, ms: 500 }),
        },
    ]
}

/// One that cannot wait for the rest of its order.
fn near_its_deadline() -> Scene {
    Scene {
        order: "ord-1004",
        account: "flitt-ge",
        protocol: Protocol::Flitt,
        currency: "GEL",
        authorized: "42.00",
        held_for: Some(Duration::from_secs(9)),
        plan: one(&[("vase", "2", "42.00")], "42.00"),
        shipments: vec![shipment(
            "a",
            &[("vase", "1")],
            "the hold was about to end: captured what had shipped, and waited for no more",
        )],
        fault: None,
    }
}

fn several_captures() -> Vec<Scene> {
    vec![
        Scene {
            order: "ord-2001",
            account: "flex",
            protocol: Protocol::FlexPay,
            currency: "USD",
            authorized: "100.00",
            held_for: None,
            plan: PlanText {
                lines: &[("chair", "3", "89.99")],
                discount: "0.00",
                tax: "7.20",
                shipping: "2.81",
                total: "100.00",
            },
            shipments: vec![
                shipment("a", &[("chair", "1")], "a third of 100.00, to the cent; sent twice, captured once"),
                shipment("b", &[("chair", "1")], "the second third"),
                shipment("c", &[("chair", "1")], "the last third: the three add up exactly"),
            ],
            fault: None,
        },
        Scene {
            order: "ord-2002",
            account: "flex",
            protocol: Protocol::FlexPay,
            currency: "USD",
            authorized: "40.00",
            held_for: None,
            plan: PlanText {
                lines: &[("pan", "1", "40.00"), ("spare-handle", "1", "0.00")],
                discount: "0.00",
                tax: "0.00",
                shipping: "0.00",
                total: "40.00",
            },
            shipments: vec![
                shipment("a", &[("spare-handle", "1")], "free of charge: succeeded without a call"),
                shipment("b", &[("pan", "1")], "everything that was owed"),
            ],
            fault: None,
        },
    ]
}

/// A Flex Pay order of one line.
fn single_flex(
    order: &'static str,
    amount: &'static str,
    plan: PlanText,
    shipment: ShipmentText,
    fault: Option<Fault>,
) -> Scene {
    Scene {
        order,
        account: "flex",
        protocol: Protocol::FlexPay,
        currency: "USD",
        authorized: amount,
        held_for: None,
        plan,
        shipments: vec![shipment],
        fault,
    }
}

/// A plan of goods alone.
const fn one(lines: &'static [(&'static str, &'static str, &'static str)], total: &'static str) -> PlanText {
    PlanText { lines, discount: "0.00", tax: "0.00", shipping: "0.00", total }
}

fn outage() -> Vec<Scene> {
    vec![single_flex(
        "ord-4001",
        "33.33",
        one(&[("vase", "1", "33.33")], "33.33"),
        shipment(
            "a",
            &[("vase", "1")],
            "the provider went down under the call: looked when it was back, then sent again",
        ),
        Some(Fault::Refuse { ms: 3_000 }),
    )]
}

fn while_down() -> Vec<Scene> {
    vec![single_flex(
        "ord-4002",
        "8.80",
        one(&[("plate", "1", "8.80")], "8.80"),
        shipment(
            "a",
            &[("plate", "1")],
            "the provider refused connections: certainly not captured, so sent until it was back",
        ),
        None,
    )]
}

fn trouble() -> Vec<Scene> {
    vec![
        single_flex(
            "ord-3001",
            "60.00",
            one(&[("clock", "2", "60.00")], "60.00"),
            shipment("a", &[("clock", "1")], "connection lost after the capture: looked it up, not sent again"),
            Some(Fault::Reset { when: When::After }),
        ),
        single_flex(
            "ord-3002",
            "75.50",
            one(&[("desk", "1", "75.50")], "75.50"),
            shipment(
                "a",
                &[("desk", "1")],
                "no answer in time, nothing captured: looked, then sent again with the same key",
            ),
            Some(Fault::Hang { ms: 6_000, when: When::Before }),
        ),
        single_flex(
            "ord-3003",
            "12.00",
            one(&[("soap", "4", "12.00")], "12.00"),
            shipment("a", &[("soap", "4")], "the card had no money left: failed on the provider's word"),
            Some(Fault::Code {
                code: crate::sandbox::Code::Name("INSUFFICIENT_FUNDS".to_owned()),
                when: When::Before,
                channel: crate::sandbox::Channel::ErrorCode,
            }),
        ),
        Scene {
            order: "ord-3004",
            account: "flitt-ge",
            protocol: Protocol::Flitt,
            currency: "GEL",
            authorized: "50.00",
            held_for: None,
            plan: one(&[("tea", "2", "50.00")], "50.00"),
            shipments: vec![last("a", &[("tea", "3")], "three shipped, two were ordered: refused, nothing captured")],
            fault: None,
        },
    ]
}
