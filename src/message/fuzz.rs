//! Any bytes as a message: whatever is decoded can be written and is read as the same, and whatever is not has
//! a reason that names a place.

use chrono::SubsecRound;

use super::{Decoded, Notice, decode as read, order_authorized, order_cancelled, order_shipped};
use crate::capture::notice::{RawMessage, RejectionReason};
use crate::clock::Timestamp;

/// The first byte chooses what surrounds the body, which is the rest.
pub fn decode(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let message = around(*choice, body);
    match read(&message) {
        Ok(decoded) => {
            check(&decoded.notice);
            assert!(!decoded.event_id.is_empty(), "every message has an id");
            read_again(&decoded);
        }
        Err(rejection) => {
            let expected = matches!(rejection.reason, RejectionReason::Undecodable | RejectionReason::Invalid);
            assert!(expected, "{:?} takes the ledger to see", rejection.reason);
            assert!(rejection.path.starts_with('$'), "the path is {:?}", rejection.path);
            assert!(!rejection.message.is_empty(), "it says what is wrong");
            assert!(rejection.message.len() < 2_000, "it says so at a length for people");
        }
    }
}

fn around(choice: u8, body: &[u8]) -> RawMessage {
    let names = ["order.shipped", "order.authorized", "order.cancelled", "order.shiped"];
    let content_types = [None, Some("application/json"), Some("application/cloudevents+json; charset=utf-8"), Some("")];
    let ids = [None, Some("id"), Some(""), Some("a\nb")];
    let part = |shift: u8| usize::from((choice >> shift) & 3);
    RawMessage {
        body: body.to_vec().into(),
        content_type: content_types[part(2)].map(ToOwned::to_owned),
        message_id: ids[part(4)].map(ToOwned::to_owned),
        exchange: "orders".to_owned(),
        routing_key: names[part(0)].to_owned(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    }
}

/// What the types cannot say of a notice, and every reader of one relies on.
fn check(notice: &Notice) {
    match notice {
        Notice::Shipped(notice) => {
            assert!(notice.amount.is_some() || !notice.lines.is_empty(), "it says what has shipped");
            assert!(notice.amount.is_none_or(|amount| !amount.is_sign_negative()), "nobody ships less than nothing");
            assert!(notice.lines.iter().all(|line| !line.quantity.is_zero()), "every line has shipped");
            let facts = notice.authorization.as_ref();
            assert!(facts.and_then(|facts| facts.amount).is_none_or(|amount| !amount.is_zero()), "something is held");
        }
        Notice::Authorized(notice) => {
            let facts = &notice.authorization;
            assert!(facts.amount.is_none_or(|amount| !amount.is_zero()), "something is held");
            assert!(facts.amount.is_none_or(|amount| amount.currency() == facts.currency), "in its currency");
            assert!(notice.plan.as_ref().is_none_or(|plan| plan.revision >= 1 && !plan.lines.is_empty()), "a plan");
        }
        Notice::Cancelled(notice) => {
            let lines = notice.lines.iter().flatten();
            assert!(lines.clone().all(|line| !line.cancelled.is_zero()), "every line is cancelled");
            assert!(notice.lines.as_ref().is_none_or(|lines| !lines.is_empty()), "no lines are not an empty list");
        }
    }
}

/// Written as our own encoder does, it says the same.
fn read_again(decoded: &Decoded) {
    let (id, source, time) = (decoded.event_id.as_str(), "/fuzz", Timestamp::UNIX_EPOCH);
    let notice = rounded(decoded.notice.clone());
    let Some(notice) = notice else { return };
    let body = match &notice {
        Notice::Shipped(notice) => order_shipped::encode(notice, id, source, time),
        Notice::Authorized(notice) => order_authorized::encode(notice, id, source, time),
        Notice::Cancelled(notice) => order_cancelled::encode(notice, id, source, time),
    };
    if body.len() > super::BODY_MAX {
        return;
    }
    let again = read(&around(0, &body));
    let again = again.unwrap_or_else(|rejection| panic!("what we write cannot be read: {rejection:?}"));
    assert_eq!((again.event_id, again.notice), (decoded.event_id.clone(), notice));
}

/// Instants as they are written, to the millisecond; nothing, where one of them ends as it begins then.
fn rounded(mut notice: Notice) -> Option<Notice> {
    let facts = match &mut notice {
        Notice::Shipped(notice) => notice.authorization.as_mut(),
        Notice::Authorized(notice) => Some(&mut notice.authorization),
        Notice::Cancelled(_) => None,
    };
    if let Some(facts) = facts {
        facts.authorized_at = facts.authorized_at.map(|at| at.trunc_subsecs(3));
        facts.expires_at = facts.expires_at.map(|at| at.trunc_subsecs(3));
        if facts.authorized_at.is_some() && facts.authorized_at >= facts.expires_at && facts.expires_at.is_some() {
            return None;
        }
    }
    Some(notice)
}
