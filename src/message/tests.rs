//! Decoding, by tables.
//!
//! `src/message/examples` and `tests/fixtures/messages/*.json` are bodies that decode. `malformed.jsonl` beside them holds what
//! must not, one JSON object per line:
//!
//! * `name`: what is wrong with it, unique
//! * `content_type`: the AMQP content type, or null for none
//! * `routing_key`: the AMQP routing key
//! * `body`: the body as a string, or `body_base64` where it is not UTF-8 or easily spoilt
//! * `reason` and `path`: what the rejection must say
//!
//! `hunter2` in a body stands for what must never be repeated in a rejection.

use base64::Engine as _;
use bytes::Bytes;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::capture::notice::{
    AuthorizationFacts, CancelledLine, PlanFacts, PlanLineFacts, Quantity, ShippedLine, ShippingPolicy,
};
use crate::clock::Timestamp;
use crate::ids::{self, AccountName, LineId, Reference};
use crate::money::{Currency, Money};

pub(super) const CLOUDEVENT: &str = envelope::Kind::Shipped.example();
const PLAIN: &str = include_str!("../../tests/fixtures/messages/plain.json");
const EXPLICIT_AMOUNT: &str = include_str!("../../tests/fixtures/messages/explicit_amount.json");
const THREE_FIELDS: &str = include_str!("../../tests/fixtures/messages/three_fields.json");
const EXTRA_FIELDS: &str = include_str!("../../tests/fixtures/messages/extra_fields.json");
pub(super) const AUTHORIZED: &str = envelope::Kind::Authorized.example();
pub(super) const CANCELLED: &str = envelope::Kind::Cancelled.example();
const MALFORMED: &str = include_str!("../../tests/fixtures/messages/malformed.jsonl");

pub(super) fn raw(body: impl Into<Bytes>) -> RawMessage {
    RawMessage {
        body: body.into(),
        content_type: Some("application/json".to_owned()),
        message_id: None,
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    }
}

fn shipped(body: &'static str) -> (String, ShipmentNotice) {
    let decoded = decode(&raw(body)).unwrap_or_else(|rejection| panic!("{rejection:?}"));
    let Notice::Shipped(notice) = decoded.notice else { panic!("{decoded:?}") };
    (decoded.event_id, *notice)
}

fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

fn example() -> ShipmentNotice {
    let line = |id: &str| LineId::parse(id).expect("an id");
    let currency = Currency::parse("GEL").expect("a currency");
    let planned =
        |id, units, total| PlanLineFacts { line: line(id), quantity: Quantity::units(units), total: decimal(total) };
    ShipmentNotice {
        order: OrderId::parse("ord-10042").expect("an id"),
        shipment: ShipmentId::parse("shp-881").expect("an id"),
        is_final: false,
        lines: vec![
            ShippedLine { line: line("l1"), quantity: Quantity::units(2) },
            ShippedLine { line: line("l3"), quantity: Quantity::units(1) },
        ],
        amount: None,
        authorization: Some(AuthorizationFacts {
            account: AccountName::parse("flitt-ge").expect("an id"),
            reference: Reference::parse("test_12343242113").expect("an id"),
            currency,
            amount: Some(Money::from_minor(11_900, currency).expect("positive")),
            authorized_at: Some(instant("2026-11-19T08:00:00Z")),
            expires_at: Some(instant("2026-11-26T08:00:00Z")),
        }),
        plan: Some(PlanFacts {
            revision: 1,
            lines: vec![planned("l1", 3, "44.97"), planned("l3", 1, "69.13")],
            discount: decimal("0"),
            tax: decimal("0"),
            shipping: decimal("4.90"),
            shipping_policy: ShippingPolicy::Prorate,
            other_tender: decimal("0"),
            total: decimal("119"),
        }),
    }
}

#[test]
fn a_cloudevent_and_a_plain_body_say_the_same() {
    assert_eq!(shipped(CLOUDEVENT), ("evt-7f3a".to_owned(), example()));
    let (id, notice) = shipped(PLAIN);
    assert_eq!(notice, example());
    assert_eq!(id, ids::message_id_of_bytes(PLAIN.as_bytes()).to_string(), "no message id: derived from the bytes");

    let named = RawMessage { message_id: Some("msg-1".to_owned()), ..raw(PLAIN) };
    assert_eq!(decode(&named).expect("decodes").event_id, "msg-1");
    let unusable = RawMessage { message_id: Some("msg\n1".to_owned()), ..raw(PLAIN) };
    assert_eq!(decode(&unusable).expect("decodes").event_id, id);
    let elsewhere = RawMessage { content_type: None, routing_key: "anything".to_owned(), ..raw(CLOUDEVENT) };
    assert_eq!(decode(&elsewhere).expect("the event says its type").event_id, "evt-7f3a");
}

#[test]
fn an_explicit_amount_needs_neither_lines_nor_plan() {
    let (_, notice) = shipped(EXPLICIT_AMOUNT);
    assert_eq!(notice.amount, Some(decimal("15.63")));
    assert!(notice.is_final);
    assert!(notice.lines.is_empty() && notice.plan.is_none());
    let authorization = notice.authorization.expect("given");
    assert_eq!((authorization.amount, authorization.expires_at), (None, None));

    let nothing = EXPLICIT_AMOUNT.replace("15.63", "0");
    assert!(decode(&raw(nothing)).is_ok(), "free goods are an amount too");
}

#[test]
fn three_fields_are_enough_for_what_was_registered_before() {
    let (_, notice) = shipped(THREE_FIELDS);
    assert_eq!(notice.lines.len(), 1);
    assert_eq!(notice.lines[0].quantity.millionths(), 250_000);
    assert!(notice.authorization.is_none() && notice.plan.is_none() && notice.amount.is_none());
}

#[test]
fn companions_are_told_by_their_type_or_their_routing_key() {
    let expected = example();
    let registration = RegistrationNotice {
        order: expected.order.clone(),
        authorization: expected.authorization.expect("given"),
        plan: expected.plan,
    };
    let line = CancelledLine { line: LineId::parse("l1").expect("an id"), cancelled: Quantity::units(1) };
    let cancellation = CancellationNotice { order: expected.order, lines: Some(vec![line]) };
    for (body, key, notice) in [
        (AUTHORIZED, "order.authorized", Notice::Authorized(Box::new(registration))),
        (CANCELLED, "order.cancelled", Notice::Cancelled(Box::new(cancellation))),
    ] {
        let event = decode(&raw(body)).expect("a CloudEvent");
        assert_eq!((&event.notice, event.data_path), (&notice, "$.data"));
        let value: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let plain = RawMessage { routing_key: key.to_owned(), ..raw(value["data"].to_string()) };
        assert_eq!(decode(&plain).expect("plain").notice, notice);
    }
    let everything = RawMessage { routing_key: "order.cancelled".to_owned(), ..raw(r#"{"order_id":"o"}"#) };
    let Notice::Cancelled(notice) = decode(&everything).expect("an order is enough").notice else { panic!() };
    assert_eq!(notice.lines, None);
}

#[test]
fn the_work_queue_is_bound_to_every_type_that_is_accepted() {
    assert_eq!(crate::broker::topology::BOUND_KEYS, envelope::Kind::ALL.map(envelope::Kind::as_str));
}

#[test]
fn unknown_fields_change_nothing_outside_the_money() {
    let (_, notice) = shipped(EXTRA_FIELDS);
    let mut expected = example();
    let authorization = expected.authorization.as_mut().expect("given");
    authorization.expires_at = Some(instant("2026-11-26T08:00:00.123Z"));
    assert_eq!(notice, expected);
}

struct Malformed {
    name: String,
    message: RawMessage,
    reason: String,
    path: String,
}

fn malformed() -> Vec<Malformed> {
    let read = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("a fixture is JSON");
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let decode_base64 = |text: String| base64::prelude::BASE64_STANDARD.decode(text).expect("base64");
        let body = text("body").map(String::into_bytes).or_else(|| text("body_base64").map(decode_base64));
        Malformed {
            name: text("name").expect("a name"),
            message: RawMessage {
                content_type: text("content_type"),
                routing_key: text("routing_key").expect("a routing key"),
                ..raw(body.expect("a body"))
            },
            reason: text("reason").expect("a reason"),
            path: text("path").expect("a path"),
        }
    };
    MALFORMED.lines().map(read).collect()
}

#[test]
fn each_malformed_message_is_rejected_for_its_own_reason() {
    let cases = malformed();
    assert!(cases.len() >= 100, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let name = &case.name;
        let rejection = match decode(&case.message) {
            Ok(decoded) => {
                wrong.push(format!("{name}: decoded as {decoded:?}"));
                continue;
            }
            Err(rejection) => rejection,
        };
        let found = (rejection.reason.as_str(), rejection.path.as_str());
        if found != (&*case.reason, &*case.path) {
            wrong.push(format!("{name}: {found:?} instead of {:?}, {}", (&case.reason, &case.path), rejection.message));
        }
        if format!("{rejection:?}").contains("hunter2") {
            wrong.push(format!("{name}: repeats what it must not: {rejection:?}"));
        }
        if !rejection.message.contains(": ") || rejection.message.contains('\n') {
            wrong.push(format!("{name}: no way out in {:?}", rejection.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bounds_hold_at_their_edges() {
    let padded = |size: usize| format!("{PLAIN}{}", " ".repeat(size - PLAIN.len()));
    assert!(decode(&raw(padded(BODY_MAX))).is_ok());
    let rejection = decode(&raw(padded(BODY_MAX + 1))).expect_err("too large");
    assert_eq!((rejection.reason, &*rejection.path), (RejectionReason::Undecodable, "$"));
    assert_eq!(rejection.message, "body has 65537 bytes: send at most 65536; leave out what capturing does not need");

    let lines = |count: usize| {
        let lines: Vec<_> = (0..count).map(|n| format!(r#"{{"line_id":"l{n}","quantity":1}}"#)).collect();
        raw(format!(r#"{{"order_id":"o","shipment_id":"s","lines":[{}]}}"#, lines.join(",")))
    };
    let Notice::Shipped(notice) = decode(&lines(1_000)).expect("just fits").notice else { panic!() };
    assert_eq!(notice.lines.len(), 1_000);
    let rejection = decode(&lines(1_001)).expect_err("too many");
    assert_eq!((rejection.reason, &*rejection.path), (RejectionReason::Invalid, "$.lines"));
    assert_eq!(rejection.message, "lines has 1001 lines: send at most 1000");
}

#[test]
fn a_rejection_says_whose_message_it_was() {
    let check = |message: &RawMessage, expected: [Option<&str>; 3]| {
        let rejection = decode(message).expect_err("malformed");
        let order = rejection.order.as_ref().map(OrderId::as_str);
        let shipment = rejection.shipment.as_ref().map(ShipmentId::as_str);
        assert_eq!([rejection.event_id.as_deref(), order, shipment], expected, "{rejection:?}");
    };
    let whole = [Some("evt-7f3a"), Some("ord-10042"), Some("shp-881")];
    check(&raw(CLOUDEVENT.replace("\"69.13\"", "69.13")), whole);
    check(&raw(CLOUDEVENT.replace("order.shipped", "order.other")), whole);
    check(&raw(CLOUDEVENT.replace("\"tax\"", "\"total\"")), whole);
    check(&raw(CLOUDEVENT.replace("\"shp-881\"", "881")), [whole[0], whole[1], None]);
    check(&raw(CLOUDEVENT.replace("\"shp-881\"", "\"a b\"")), [whole[0], whole[1], None]);

    let twice = CLOUDEVENT.replace("\"shipment_id\"", "\"order_id\": \"other\", \"shipment_id\"");
    check(&raw(twice), [whole[0], None, whole[2]]);
    let cut = RawMessage { message_id: Some("msg-1".to_owned()), ..raw(&CLOUDEVENT[..200]) };
    check(&cut, [Some("msg-1"), None, None]);
    let no_id = RawMessage { message_id: Some("msg-1".to_owned()), ..raw(CLOUDEVENT.replace("\"id\"", "\"ident\"")) };
    check(&no_id, [Some("msg-1"), whole[1], whole[2]]);
    check(&raw("[]"), [None, None, None]);
}

#[test]
fn a_message_says_what_was_found_and_the_way_out() {
    let check = |old: &str, new: &str, path: &str, expected: &str| {
        let rejection = decode(&raw(CLOUDEVENT.replacen(old, new, 1))).expect_err("malformed");
        assert_eq!((&*rejection.path, &*rejection.message), (path, expected));
    };
    let send_money = "send a decimal string in major units such as \"119.00\"";
    check(
        "\"69.13\"",
        "69.13",
        "$.data.plan.lines[1].total",
        &format!("total is a number with a fraction, an exponent or too many digits: {send_money}"),
    );
    check("\"69.13\"", "69", "$.data.plan.lines[1].total", &format!("total is a number: {send_money}"));
    check("\"69.13\"", "\"-69.13\"", "$.data.plan.lines[1].total", &format!("total has a sign: {send_money}"));
    check(
        "\"69.13\"",
        "\"69.131\"",
        "$.data.plan.lines[1].total",
        "total has more than the 2 decimals of its currency: send a whole number of minor units, in major units",
    );
    check(
        "\"discount\"",
        "\"discuont\"",
        "$.data.plan.discuont",
        "discuont is not a field here: did you mean `discount`?",
    );
    check(
        "\"expires_at\"",
        "\"cvv\"",
        "$.data.authorization.cvv",
        "cvv is not a field here: send only account, reference, currency, amount, authorized_at, expires_at",
    );
    check(
        "order.shipped",
        "order.shiped",
        "$.type",
        "type is not a type we accept: send one of order.shipped, order.authorized, order.cancelled \
         (did you mean `order.shipped`?)",
    );
    check(
        "\"quantity\": 2",
        "\"quantity\": 2.0",
        "$.data.lines[0].quantity",
        "quantity is a number with a fraction, an exponent or too many digits: \
         send a positive integer, or a decimal string such as \"1.250\"",
    );
}

fn id_text() -> impl Strategy<Value = String> {
    "[!-{}~]{1,24}"
}

fn quantity() -> impl Strategy<Value = Quantity> {
    (1..=Quantity::UNITS_MAX * 1_000_000)
        .prop_map(|millionths| Quantity::from_millionths(millionths).expect("positive"))
}

fn lines<T: std::fmt::Debug>(line: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<(String, T)>> {
    proptest::collection::btree_map(id_text(), line, 1..6).prop_map(|lines| lines.into_iter().collect())
}

prop_compose! {
    fn plan(scale: u32)(
        lines in lines((quantity(), 0..1_000_000_i64)),
        (discount, tax, shipping, other, total) in
            (0..1_000_000_i64, 0..1_000_000_i64, 0..1_000_000_i64, 0..1_000_000_i64, 0..999_999_999_999_i64),
        revision in 1..=u32::MAX,
        policy in prop::sample::select(vec![ShippingPolicy::Prorate, ShippingPolicy::First, ShippingPolicy::Last]),
    ) -> PlanFacts {
        let money = |minor| Decimal::new(minor, scale);
        let line = |(id, (quantity, total)): (String, (Quantity, i64))| PlanLineFacts {
            line: LineId::parse(&id).expect("an id"),
            quantity,
            total: money(total),
        };
        PlanFacts {
            revision,
            lines: lines.into_iter().map(line).collect(),
            discount: money(discount),
            tax: money(tax),
            shipping: money(shipping),
            shipping_policy: policy,
            other_tender: money(other),
            total: money(total),
        }
    }
}

prop_compose! {
    fn authorization(code: &'static str)(
        account in id_text(),
        reference in id_text(),
        amount in prop::option::of(1..i64::from(u32::MAX)),
        authorized_at in prop::option::of(0..4_000_000_000_000_i64),
        expires_after in prop::option::of(1..4_000_000_000_i64),
    ) -> AuthorizationFacts {
        let currency = Currency::parse(code).expect("a currency");
        let instant = |millis| Timestamp::from_timestamp_millis(millis).expect("in range");
        AuthorizationFacts {
            account: AccountName::parse(&account).expect("an id"),
            reference: Reference::parse(&reference).expect("an id"),
            currency,
            amount: amount.map(|minor| Money::from_minor(minor, currency).expect("positive")),
            authorized_at: authorized_at.map(instant),
            expires_at: expires_after.map(|after| instant(authorized_at.unwrap_or_default() + after)),
        }
    }
}

fn notice() -> impl Strategy<Value = ShipmentNotice> {
    let currencies = vec![("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)];
    prop::sample::select(currencies).prop_flat_map(|(code, scale)| {
        let amount = (0..1_000_000_i64).prop_map(move |minor| Decimal::new(minor, scale));
        let authorization = prop::option::of(authorization(code));
        let given =
            (prop::option::of(lines(quantity())), amount, any::<bool>(), authorization, prop::option::of(plan(scale)));
        ((id_text(), id_text(), any::<bool>()), given).prop_map(
            |((order, shipment, is_final), (lines, amount, explicit, authorization, plan))| ShipmentNotice {
                order: OrderId::parse(&order).expect("an id"),
                shipment: ShipmentId::parse(&shipment).expect("an id"),
                is_final,
                amount: (explicit || lines.is_none()).then_some(amount),
                lines: lines
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(id, quantity)| ShippedLine { line: LineId::parse(&id).expect("an id"), quantity })
                    .collect(),
                authorization,
                plan,
            },
        )
    })
}

/// Bytes that are likely to hit something when they are put into JSON.
const SPLINTERS: [&str; 14] =
    ["\"", "{", "}", "[", "]", ",", ":", "null", "-1", "1e9", "\"\"", "\\u0000", "\"total\":\"1\",", "\u{feff}"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read_back(notice in notice(), id in "[ -~]{1,64}", source in "[!-~]{1,64}") {
        let body = order_shipped::encode(&notice, &id, &source, instant("2026-11-20T09:12:03Z"));
        let decoded = decode(&raw(body));
        prop_assert_eq!(decoded, Ok(Decoded { event_id: id, data_path: "$.data", notice: Notice::Shipped(Box::new(notice)) }));
    }

    #[test]
    fn what_is_written_of_an_order_is_read_back(
        order in id_text(), authorization in authorization("KWD"), plan in prop::option::of(plan(3)),
        cancelled in prop::option::of(lines(quantity())),
    ) {
        let order = OrderId::parse(&order).expect("an id");
        let now = instant("2026-11-20T09:12:03Z");
        let notice = RegistrationNotice { order: order.clone(), authorization, plan };
        let decoded = decode(&raw(order_authorized::encode(&notice, "e", "/shop", now))).map(|decoded| decoded.notice);
        prop_assert_eq!(decoded, Ok(Notice::Authorized(Box::new(notice))));
        let line = |(id, cancelled): (String, Quantity)| CancelledLine { line: LineId::parse(&id).expect("an id"), cancelled };
        let lines = cancelled.map(|lines| lines.into_iter().map(line).collect());
        let notice = CancellationNotice { order, lines };
        let decoded = decode(&raw(order_cancelled::encode(&notice, "e", "/shop", now))).map(|decoded| decoded.notice);
        prop_assert_eq!(decoded, Ok(Notice::Cancelled(Box::new(notice))));
    }

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..512), cloud_event: bool) {
        let content_type = cloud_event.then(|| CONTENT_TYPE.to_owned());
        let _ = decode(&RawMessage { content_type, ..raw(body) });
    }

    #[test]
    fn no_mutation_of_a_good_notice_makes_it_panic(
        body in prop::sample::select(vec![
            CLOUDEVENT, PLAIN, EXPLICIT_AMOUNT, THREE_FIELDS, EXTRA_FIELDS, AUTHORIZED, CANCELLED,
        ]),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_usize, prop::sample::select(&SPLINTERS[..])), 1..4),
    ) {
        let mut body = body.as_bytes().to_vec();
        for (at, removed, splinter) in cuts {
            let start = at.index(body.len());
            let end = (start + removed).min(body.len());
            body.splice(start..end, splinter.bytes());
        }
        let _ = decode(&raw(body));
    }
}
