//! Any bytes as an answer of Flex Pay, or of its token endpoint.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde_json::Value;
use uuid::Uuid;

use super::{token, transaction};
use crate::capture::evidence::{Answer, Reading};
use crate::ids::CaptureId;
use crate::provider::fuzz::{check_answer, check_reading, plain, reply, text};

const ID: Uuid = Uuid::from_u128(0x0de9_6b3a_2c9c_4b8e_9f4f_0c5a_1f2e_3d4c);
const KEY: Uuid = Uuid::from_u128(0x1f2e_3d4c_0c5a_4f4f_8b8e_2c9c_6b3a_0de9);

/// Any reply to a capture request.
pub fn capture(data: &[u8]) {
    let Some((reply, body)) = reply(data) else { return };
    let answer = transaction::read_capture(&reply, ID, CaptureId::from_uuid(KEY));
    check_answer(&answer, &reply);
    let plain = plain(body);
    if let Answer::Captured(proof) = answer
        && !plain.is_null()
    {
        assert_eq!(Uuid::try_parse(&text(&plain["id"])), Ok(ID), "it names another transaction");
        let ours: Vec<&Value> = captures(&plain).into_iter().filter(|event| key(event) == Some(KEY)).collect();
        assert!(!ours.is_empty(), "it names no capture of ours");
        let amount = proof.amount.expect("this protocol names the amount");
        // What plain JSON makes a float of is not compared.
        let told: Option<Vec<Decimal>> = ours.iter().map(|event| event["amount"].as_str()?.parse().ok()).collect();
        if let Some(told) = told {
            assert_eq!(told.iter().sum::<Decimal>().normalize(), amount.to_major().normalize(), "to the cent");
        }
    }
}

/// Any reply to a read.
pub fn lookup(data: &[u8]) {
    let Some((reply, body)) = reply(data) else { return };
    let reading = transaction::read_lookup(&reply, ID);
    check_reading(&reading, &reply);
    let plain = plain(body);
    if let Reading::Seen(view) = reading
        && !plain.is_null()
    {
        assert_eq!(Uuid::try_parse(&text(&plain["id"])), Ok(ID), "it is about another transaction");
        let told = captures(&plain);
        assert_eq!(view.captures.len(), told.len(), "every capture once");
        for (seen, event) in view.captures.iter().zip(told) {
            assert_eq!(seen.capture.map(|id| id.as_uuid()), key(event), "under its key");
        }
    }
}

/// Any answer of the token endpoint.
pub fn token(data: &[u8]) {
    let Some((reply, body)) = reply(data) else { return };
    if let Ok((bearer, _)) = token::read(&reply) {
        assert!(reply.status.is_success(), "{} is no success", reply.status);
        assert!(bearer.is_sensitive(), "a token that would be printed");
        let plain = plain(body);
        let told = text(&plain["access_token"]);
        let is_it = bearer.to_str().ok() == Some(format!("Bearer {told}").as_str());
        assert!(plain.is_null() || is_it, "another token than was told");
    }
}

/// The captures in a transaction, each once.
fn captures(plain: &Value) -> Vec<&Value> {
    let mut known = BTreeSet::new();
    let events = plain["events"].as_array().into_iter().flatten();
    let captures = events.filter(|event| event["type"] == "CAPTURE");
    captures.filter(|event| event["id"].as_str().is_none_or(|id| known.insert(id))).collect()
}

fn key(event: &Value) -> Option<Uuid> {
    Uuid::try_parse(event["merchant_reference_id"].as_str()?).ok()
}
