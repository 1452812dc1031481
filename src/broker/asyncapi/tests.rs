//! The document against code and settings. That AsyncAPI's own parser takes it, `tests/it/contract.rs` shows.

use super::*;
use crate::settings::Settings;

/// The document for the defaults with these settings in the environment.
fn with(settings: &[(&str, &str)]) -> Value {
    let environment = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::load(None, environment).expect("settings");
    document(&settings.broker, &settings.notices.rules, &settings.event_source).expect("an address")
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn every_message_of_the_code_is_an_operation_with_its_channel() {
    let document = with(&[]);
    let mut known: Vec<_> = schema::all().into_iter().map(|(kind, _)| kind).collect();
    known.sort_unstable();
    assert_eq!(names(&document["operations"]), known);
    for (kind, operation) in document["operations"].as_object().expect("operations") {
        let (action, exchange, forms) = if BOUND_KEYS.contains(&kind.as_str()) {
            ("receive", "orders", vec![kind.clone(), format!("{kind}.plain")])
        } else {
            ("send", "payments", vec![kind.clone()])
        };
        assert_eq!(operation["action"], action, "{kind}");
        let channel = &document["channels"][kind];
        assert_eq!(
            (&channel["address"], names(&channel["messages"])),
            (&json!(kind), forms.iter().map(|it| &**it).collect())
        );
        assert_eq!(channel["bindings"]["amqp"]["exchange"]["name"], exchange, "{kind}");
        for form in forms {
            assert!(document["components"]["messages"][&form]["summary"].as_str().is_some_and(|it| it.ends_with('.')));
        }
    }
    let summary = &document["operations"]["order.shipped"]["summary"];
    assert_eq!(summary, "What shipped, and what is needed to capture exactly its share.");
}

#[test]
fn names_and_arguments_are_those_in_effect() {
    let document = with(&[
        ("HOLDFAST_BROKER__URL", "amqp://guest:guest@127.0.0.1/shop"),
        ("HOLDFAST_BROKER__ORDERS_EXCHANGE", "warehouse"),
        ("HOLDFAST_BROKER__PAYMENTS_EXCHANGE", "money"),
        ("HOLDFAST_BROKER__WORK_QUEUE", "work.v7"),
        ("HOLDFAST_EVENTS__SOURCE", "/holdfast/eu-1"),
    ]);
    let amqp = |channel: &str| document["channels"][channel]["bindings"]["amqp"].clone();
    assert_eq!(amqp("order.shipped")["exchange"]["name"], "warehouse");
    assert_eq!(amqp("refund_required")["exchange"]["name"], "money");
    let queue = amqp("work_queue");
    assert_eq!((&queue["queue"]["name"], &queue["queue"]["vhost"]), (&json!("work.v7"), &json!("shop")));
    assert_eq!(
        (&queue["x-arguments"]["x-queue-type"], &queue["x-arguments"]["x-delivery-limit"]),
        (&json!("quorum"), &json!(20))
    );
    let example = &document["components"]["messages"]["capture.failed"]["examples"][0]["payload"];
    assert_eq!(example["source"], "/holdfast/eu-1");
    assert!(!document.to_string().contains("guest"), "no credentials");
}

#[test]
fn what_is_asked_of_senders_is_what_is_said() {
    let headers = |document: &Value| document["components"]["schemas"][NOTICE_HEADERS].clone();
    let off = with(&[]);
    assert!(headers(&off)["properties"].get(SIGNATURE_HEADER).is_none(), "nobody looks at it");

    let key = ("HOLDFAST_NOTICES__KEYS__SHOP__ENV", "SHOP_KEY");
    let secret = ("SHOP_KEY", "0123456789abcdef0123456789abcdef");
    let accepted = with(&[("HOLDFAST_NOTICES__SIGNATURES", "accept"), key, secret]);
    assert_eq!(headers(&accepted)["dependencies"][SIGNATURE_HEADER], json!([KEY_HEADER]));
    assert!(headers(&accepted)["required"].is_null());
    assert!(accepted["components"]["messages"]["order.shipped.plain"].is_object());

    let required =
        with(&[("HOLDFAST_NOTICES__SIGNATURES", "require"), ("HOLDFAST_NOTICES__USERS", "shop"), key, secret]);
    assert_eq!(headers(&required)["required"], json!([KEY_HEADER, SIGNATURE_HEADER]));
    let forms = names(&required["channels"]["order.shipped"]["messages"]);
    assert_eq!(forms, ["order.shipped"], "plain JSON cannot be signed");
    assert_eq!(names(&required["components"]["messages"]).len(), schema::all().len());
    assert!(!required.to_string().contains(secret.1));
    let description = &required["components"]["messages"]["order.shipped"]["description"];
    assert!(description.as_str().is_some_and(|it| it.ends_with("has to be one of: shop.")), "{description}");
}
