//! Any bytes as an answer of Flitt or Fondy, and any fields as what is signed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::{capture, signature, status};
use crate::capture::evidence::{Answer, AuthorizationStatus, Reading};
use crate::ids::Reference;
use crate::provider::exact;
use crate::provider::fuzz::{check_answer, check_reading, plain, reply, text};
use crate::provider::http::Reply;

const MERCHANT: u64 = 1_396_424;
const SECRET: &str = "test";

fn reference() -> Reference {
    Reference::parse("order-1").expect("a reference")
}

/// Any reply to a capture request.
pub fn capture(data: &[u8]) {
    let Some((reply, body)) = reply(data) else { return };
    let answer = capture::read(&reply, MERCHANT, &reference());
    check_answer(&answer, &reply);
    let plain = plain(body);
    if plain.is_null() {
        return;
    }
    let said = |field: &str| text(&plain["response"][field]);
    let names_ours = said("order_id") == reference().as_str() && said("merchant_id") == MERCHANT.to_string();
    match answer {
        Answer::Captured(proof) => {
            assert!(names_ours, "it names another order");
            assert_eq!((said("response_status").as_str(), said("capture_status").as_str()), ("success", "captured"));
            assert_eq!(proof.amount, None, "this protocol names none");
        }
        Answer::Pending => assert!(names_ours && said("capture_status") == "hold", "it is not on hold"),
        Answer::Refused(_) => assert_ne!(said("capture_status"), "captured", "refused and captured at once"),
        Answer::Doubt(_) | Answer::NotExecuted(_) | Answer::Misconfigured(_) => {}
    }
}

/// Any reply to a read: as it is, and with the signature that would make it authentic.
pub fn lookup(data: &[u8]) {
    let Some((unsigned, body)) = reply(data) else { return };
    let secret = SecretString::from(SECRET);
    let read = |reply: &Reply| status::read(reply, MERCHANT, &reference(), &secret);
    let plain = plain(body);
    let reading = read(&unsigned);
    check_reading(&reading, &unsigned);
    if let Reading::Seen(_) = reading
        && !plain.is_null()
    {
        let known = signed(&plain).map(|body| self::plain(&body));
        let theirs = text(&plain["response"]["signature"]);
        assert!(known.is_some_and(|known| text(&known["response"]["signature"]) == theirs), "it is not signed");
    }
    let Some(body) = signed(&plain) else { return };
    let data = [&data[..1], &body[..]].concat();
    let Some((reply, body)) = reply(&data) else { return };
    let reading = read(&reply);
    check_reading(&reading, &reply);
    if let Reading::Seen(view) = reading {
        check_view(&self::plain(body)["response"], &view.captures, view.status);
    }
}

fn check_view(response: &Value, captures: &[crate::capture::evidence::SeenCapture], status: AuthorizationStatus) {
    assert_eq!(text(&response["order_id"]), reference().as_str(), "it is about another order");
    let info: Value = serde_json::from_str(&text(&response["additional_info"])).unwrap_or(Value::Null);
    let is_captured = text(&info["capture_status"]) == "captured";
    assert_eq!(!captures.is_empty(), is_captured, "captured where capture_status says so, and only there");
    assert!(captures.len() <= 1, "there is one capture");
    if let Some(seen) = captures.first() {
        assert_eq!(status, AuthorizationStatus::FullyCaptured, "one capture uses it up");
        assert!(!seen.amount.is_zero(), "a capture of nothing");
        let told: Result<rust_decimal::Decimal, _> = text(&info["capture_amount"]).parse();
        // What plain JSON makes a float of is not compared.
        if info["capture_amount"].is_string()
            && let Ok(told) = told
        {
            assert_eq!(told.normalize(), seen.amount.to_major().normalize(), "to the cent");
        }
    }
}

/// The same answer, signed.
fn signed(plain: &Value) -> Option<Vec<u8>> {
    let mut fields = plain["response"].as_object()?.clone();
    let is_flat = |value: &Value| !value.is_object() && !value.is_array();
    if !fields.values().all(is_flat) {
        return None;
    }
    let raw = |value: &Value| exact::scalar(&to_raw_value(value).ok()?).map(Cow::into_owned);
    let texts: Option<Vec<(&str, String)>> =
        fields.iter().map(|(name, value)| Some((name.as_str(), raw(value)?))).collect();
    let signature = signature::of(&SecretString::from(SECRET), texts?);
    fields.insert("signature".to_owned(), json!(signature));
    serde_json::to_vec(&json!({ "response": fields })).ok()
}

/// Any fields, one to a line as `name=value`; the first line is the secret. The signature verifies, and with
/// any one field changed, or another secret, it does not.
pub fn signature(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let secret = lines.next().unwrap_or_default().to_owned();
    let fields: BTreeMap<&str, &str> = lines.filter_map(|line| line.split_once('=')).collect();
    let owned = |fields: &BTreeMap<&str, &str>| -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let verifies = |secret: &str, fields: &[(String, String)], signature: &str| {
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.clone()));
        signature::verifies(&SecretString::from(secret.to_owned()), fields, signature)
    };
    let fields = owned(&fields);
    let borrowed = fields.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let signature = signature::of(&SecretString::from(secret.clone()), borrowed);
    assert!(signature.len() == 40 && signature.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    assert!(verifies(&secret, &fields, &signature), "what we sign verifies");
    assert!(!verifies(&format!("{secret}x"), &fields, &signature), "with another secret");
    assert!(!verifies(&secret, &fields, &signature[..39]) && !verifies(&secret, &fields, ""), "cut off");
    for (index, (name, value)) in fields.iter().enumerate() {
        let with = |value: String| {
            let mut changed = fields.clone();
            changed[index].1 = value;
            changed
        };
        let is_signed = name != "signature" && name != "response_signature_string";
        assert_eq!(verifies(&secret, &with(format!("{value}0")), &signature), !is_signed, "{name} with a digit more");
        assert_eq!(
            verifies(&secret, &with(String::new()), &signature),
            !is_signed || value.is_empty(),
            "without {name}"
        );
    }
}
