//! What Flex Pay serves: tokens, transactions, captures in parts, voids.
//!
//! Fields, statuses and codes are those of docs.uplift.com (capture-transaction, void-transaction,
//! get-transaction, authorization). How keys behave is not documented: see `keys`. Refunds are beyond
//! the sandbox.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::books::{Authorization, MovementKind, OrderStatus};
use super::exchange::{Moment, Refusal, Reply, body, exchange, json as json_reply};
use super::faults::{Code, Operation, Subject};
use super::flex_pay_codes::ErrorCode;
use super::keys::{Intent, KeyCheck};
use super::server::Line;
use super::world::World;
use super::{Protocol, Shared};
use crate::clock::{self, Timestamp};
use crate::money::{Currency, Money, parse_plain_decimal};

/// `POST /api/auth/v1/oauth/token?grant_type=client_credentials` with Basic authentication.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Reply {
    let (client, secret) = basic(&headers).unwrap_or_default();
    let subject = subject(client.clone(), String::new(), Operation::Token);
    exchange(&shared, &line, subject, move |world, moment| {
        if !query.unwrap_or_default().split('&').any(|pair| pair == "grant_type=client_credentials") {
            return json_reply(StatusCode::BAD_REQUEST, &json!({ "error": "unsupported_grant_type" }));
        }
        let Some((token, lifetime)) = world.issue_token(&client, &secret, moment.now) else {
            return unauthorized();
        };
        json_reply(
            StatusCode::OK,
            &json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs() }),
        )
    })
    .await
}

/// `GET /v1/transactions/{id}`.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let Some(client) = client(&shared, &headers) else { return unauthorized() };
    let subject = subject(client.clone(), id.clone(), Operation::Lookup);
    exchange(&shared, &line, subject, move |world, moment| {
        if let Some(refusal) = &moment.refusal {
            return refused(refusal);
        }
        let found = world.accounts.get_mut(&client).and_then(|account| account.find(&id));
        let Some(transaction) = found else { return error(ErrorCode::TransactionNotFound) };
        transaction.settle(moment.now);
        shown(transaction)
    })
    .await
}

/// `POST /v1/transactions/{id}/capture`.
pub(super) async fn capture(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    write(&shared, &line, MovementKind::Capture, id, headers, body).await
}

/// `POST /v1/transactions/{id}/void`.
pub(super) async fn void(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    write(&shared, &line, MovementKind::Void, id, headers, body).await
}

async fn write(
    shared: &Arc<Shared>,
    line: &Line,
    kind: MovementKind,
    id: String,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let Some(client) = client(shared, &headers) else { return unauthorized() };
    let operation = match kind {
        MovementKind::Capture => Operation::Capture,
        MovementKind::Void => Operation::Void,
    };
    let subject = subject(client.clone(), id.clone(), operation);
    exchange(shared, line, subject, move |world, moment| {
        let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty());
        let Some(key) = key else { return error(ErrorCode::MissingIdempotencyKey) };
        match read_intent(kind, &id, &body).and_then(|intent| move_money(world, &client, key, intent, moment)) {
            Ok(reply) => reply,
            Err(code) => error(code),
        }
    })
    .await
}

#[derive(Deserialize)]
struct WriteBody<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    currency: Option<String>,
    merchant_reference_id: Option<String>,
}

/// Amounts are decimal numbers, read from their text: 0.1 is one tenth, exactly.
fn read_intent(kind: MovementKind, transaction: &str, body: &[u8]) -> Result<Intent, ErrorCode> {
    let read: WriteBody = serde_json::from_slice(body).map_err(|_| ErrorCode::NotReadableInput)?;
    let amount = match (read.amount, read.currency) {
        (None, _) => None,
        (Some(_), None) => return Err(ErrorCode::InvalidInput),
        (Some(number), Some(code)) => {
            let currency = Currency::parse(&code).map_err(|_| ErrorCode::InvalidInput)?;
            let major = parse_plain_decimal(number.get()).map_err(|_| ErrorCode::InvalidInput)?;
            Some(Money::from_major(major, currency).map_err(|_| ErrorCode::InvalidInput)?)
        }
    };
    if amount.is_some_and(Money::is_zero) {
        return Err(ErrorCode::InvalidInput);
    }
    let merchant_reference_id = read.merchant_reference_id;
    Ok(Intent { kind, transaction: transaction.to_owned(), amount, merchant_reference_id })
}

/// Key, limits, movement; key and limits in the order that the settings say.
fn move_money(world: &mut World, client: &str, key: &str, intent: Intent, moment: &Moment) -> Result<Reply, ErrorCode> {
    let rules = &world.settings.keys;
    let account = world.accounts.get_mut(client).ok_or(ErrorCode::TransactionNotFound)?;
    let recalled = account.keys.recall(rules, key, &intent, moment.now);
    let transaction = account.find(&intent.transaction).ok_or(ErrorCode::TransactionNotFound)?;
    transaction.settle(moment.now);
    if rules.check == KeyCheck::KeyFirst
        && let Some(recalled) = recalled
    {
        return recalled.map(|()| shown(transaction));
    }
    let forced = moment.refusal.as_ref().map(|refusal| named(&refusal.code));
    let fitting = forced.map_or_else(|| fitting(transaction, &intent), Err);
    let done = match (fitting, recalled) {
        (Ok(_), Some(recalled)) => return recalled.map(|()| shown(transaction)),
        (Ok(amount), None) => {
            transaction.move_money(intent.kind, amount, intent.merchant_reference_id.clone(), moment.now);
            Ok(shown(transaction))
        }
        // What a known key stands for does not change.
        (Err(code), Some(_)) => return Err(code),
        (Err(code), None) => Err(code),
    };
    account.keys.remember(rules, key.to_owned(), intent, done.as_ref().err().copied(), moment.now);
    done
}

/// How much may be moved: what was asked for, or without an amount all that remains.
fn fitting(transaction: &Authorization, intent: &Intent) -> Result<Money, ErrorCode> {
    if transaction.status == OrderStatus::Expired {
        return Err(ErrorCode::AuthExpiredError);
    }
    let remaining = transaction.remaining();
    let amount = intent.amount.unwrap_or(remaining);
    let fits = amount.fits(remaining).map_err(|_| ErrorCode::CurrencyMismatchError)?;
    match (remaining.is_zero(), fits, intent.kind) {
        (true, _, _) => Err(ErrorCode::NoAmountLeft),
        (false, true, _) => Ok(amount),
        (false, false, MovementKind::Capture) => Err(ErrorCode::OverCaptureError),
        (false, false, MovementKind::Void) => Err(ErrorCode::OverVoidError),
    }
}

/// The `Transaction` object.
#[derive(Serialize)]
struct Transaction<'a> {
    id: &'a str,
    original_amount: Box<RawValue>,
    remaining_amount: Box<RawValue>,
    captured_amount: Box<RawValue>,
    refunded_amount: Box<RawValue>,
    authorization_expiration: String,
    order_id: String,
    created: String,
    currency: &'a str,
    merchant_reference_id: Option<&'a str>,
    status: &'static str,
    events: Vec<Event<'a>>,
}

/// A `TransactionEventAto` object.
#[derive(Serialize)]
struct Event<'a> {
    id: String,
    amount: Box<RawValue>,
    currency: &'a str,
    created: String,
    merchant_reference_id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
}

fn shown(transaction: &Authorization) -> Reply {
    let authorized = transaction.authorized;
    let authorized_currency = authorized.currency();
    let currency = authorized_currency.code();
    let authorization = Event {
        id: transaction.order.to_string(),
        amount: decimal(authorized),
        currency,
        created: stamp(transaction.created_at, SecondsFormat::Micros),
        merchant_reference_id: transaction.merchant_reference_id.as_deref(),
        kind: "AUTHORIZATION",
    };
    let moved = transaction.movements.iter().map(|movement| Event {
        id: movement.id.to_string(),
        amount: decimal(movement.amount),
        currency,
        created: stamp(movement.at, SecondsFormat::Nanos),
        merchant_reference_id: movement.merchant_reference_id.as_deref(),
        kind: match movement.kind {
            MovementKind::Capture => "CAPTURE",
            MovementKind::Void => "VOID",
        },
    });
    let view = Transaction {
        id: &transaction.reference,
        original_amount: decimal(authorized),
        remaining_amount: decimal(transaction.remaining()),
        captured_amount: decimal(transaction.captured()),
        refunded_amount: decimal(Money::zero(authorized_currency)),
        authorization_expiration: stamp(transaction.expires_at, SecondsFormat::Micros),
        order_id: transaction.order.to_string(),
        created: stamp(transaction.created_at, SecondsFormat::Micros),
        currency,
        merchant_reference_id: transaction.merchant_reference_id.as_deref(),
        status: status(transaction),
        events: std::iter::once(authorization).chain(moved).collect(),
    };
    json_reply(StatusCode::OK, &view)
}

fn status(transaction: &Authorization) -> &'static str {
    let (captured, remaining) = (transaction.captured(), transaction.remaining());
    match transaction.status {
        OrderStatus::Declined => "AUTHORIZED_FAILED",
        OrderStatus::Expired => "AUTHORIZATION_EXPIRED",
        OrderStatus::Reversed => "VOIDED",
        OrderStatus::Created | OrderStatus::Processing | OrderStatus::Approved => {
            match (captured.is_zero(), remaining.is_zero()) {
                (true, false) => "AUTHORIZED",
                (true, true) => "VOIDED",
                (false, false) => "PARTIALLY_CAPTURED",
                (false, true) => "CAPTURED",
            }
        }
    }
}

fn decimal(amount: Money) -> Box<RawValue> {
    RawValue::from_string(amount.to_major().to_string()).expect("a plain decimal is JSON")
}

/// The samples carry six and nine fractional digits.
fn stamp(time: Timestamp, digits: SecondsFormat) -> String {
    time.to_rfc3339_opts(digits, true)
}

/// The wording of an error that a fault asked for.
pub(super) fn refused(refusal: &Refusal) -> Reply {
    error(named(&refusal.code))
}

fn named(code: &Code) -> ErrorCode {
    match code {
        Code::Name(name) => ErrorCode::parse(name).expect("the rule was checked when it was armed"),
        Code::Number(_) | Code::About { .. } => unreachable!("a number never meets this protocol"),
    }
}

fn error(code: ErrorCode) -> Reply {
    let message = format!("Sandbox: {}", code.name().to_lowercase().replace('_', " "));
    json_reply(code.status(), &json!({ "codeName": code.name(), "message": message }))
}

/// The body of a 401 is not documented: none.
pub(super) fn unauthorized() -> Reply {
    let mut reply = body(StatusCode::UNAUTHORIZED, "text/plain", Body::empty());
    reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    reply
}

fn subject(account: String, reference: String, operation: Operation) -> Subject {
    Subject { protocol: Protocol::FlexPay, account, reference, operation }
}

/// Whose living token the request bears.
fn client(shared: &Shared, headers: &HeaderMap) -> Option<String> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    shared.world().client_of(token, clock::now()).map(str::to_owned)
}

/// The name and the password of HTTP Basic authentication.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (client, secret) = decoded.split_once(':')?;
    Some((client.to_owned(), secret.to_owned()))
}
