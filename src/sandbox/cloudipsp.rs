//! What Flitt and Fondy serve: capture, status and reverse by order id.
//!
//! One protocol, two brands; the merchant id decides. Errors come inside HTTP 200. How requests and
//! answers are written is `cloudipsp_format`'s business. Where the
//! documentation is silent (what a capture of an expired, reversed or too small hold is answered
//! with), the sandbox had to choose; `capture_order` says what.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::books::{Authorization, Movement, MovementKind, OrderStatus};
use super::cloudipsp_format::Format;
use super::exchange::{Moment, Refusal, Reply, exchange, json as json_reply};
use super::faults::{Channel, Code, Operation, Subject};
use super::server::Line;
use super::signature::{Parameters, sign, text};
use super::world::World;
use super::{Protocol, Shared, cloudipsp_codes};
use crate::clock::Timestamp;
use crate::money::{Currency, Money};

/// `POST /api/capture/order_id` (docs.flitt.com/api/create-capture).
pub(super) async fn capture(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    serve(&shared, &line, Operation::Capture, &headers, &body, capture_order).await
}

/// `POST /api/status/order_id` (docs.flitt.com/api/order-status, get-capture-status).
pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    serve(&shared, &line, Operation::Lookup, &headers, &body, order_status).await
}

/// `POST /api/reverse/order_id` (docs.flitt.com/api/create-reversal), of whole holds only.
pub(super) async fn reverse(
    State(shared): State<Arc<Shared>>,
    Extension(line): Extension<Arc<Line>>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    serve(&shared, &line, Operation::Void, &headers, &body, reverse_order).await
}

type Work = fn(&mut World, &Request, &Moment) -> Result<Reply, Rejection>;

async fn serve(
    shared: &Arc<Shared>,
    line: &Line,
    operation: Operation,
    headers: &HeaderMap,
    body: &[u8],
    work: Work,
) -> Reply {
    let Some(format) = Format::of(headers) else { return rejected(1021).reply() };
    let request = match Request::read(format, body) {
        Ok(request) => request,
        Err(rejection) => return format.worded(rejection.reply()).await,
    };
    let subject = request.subject(shared, operation);
    let reply = exchange(shared, line, subject, move |world, moment| {
        if let Some(refusal) = &moment.refusal {
            return refused(&request.merchant, &request.order, refusal);
        }
        work(world, &request, moment).unwrap_or_else(Rejection::reply)
    });
    format.worded(reply.await).await
}

/// The wording of an error that a fault asked for.
pub(super) fn refused(merchant: &str, order: &str, refusal: &Refusal) -> Reply {
    let (code, parameter) = match &refusal.code {
        Code::Number(code) => (*code, "signature"),
        Code::About { number, parameter } => (*number, parameter.as_str()),
        Code::Name(_) => unreachable!("a codeName never meets this protocol"),
    };
    match refusal.channel {
        Channel::ErrorCode => failure(code, parameter),
        Channel::ResponseCode => enveloped(&json!({
            "order_id": order,
            "merchant_id": merchant_number(merchant),
            "response_status": "success",
            "response_code": code,
            "response_description": cloudipsp_codes::text(code, parameter),
        })),
    }
}

/// A rejected request.
#[derive(Debug, Clone, Copy)]
struct Rejection {
    code: u16,
    /// The parameter that it is about, where the code's text names one.
    parameter: &'static str,
}

const fn rejected(code: u16) -> Rejection {
    Rejection { code, parameter: "" }
}

impl Rejection {
    fn reply(self) -> Reply {
        failure(self.code, self.parameter)
    }
}

fn failure(code: u16, parameter: &str) -> Reply {
    // The documentation prints 1007 as a number and "1008" as a string: be ready for both.
    let shown = if code.is_multiple_of(2) { Value::from(code.to_string()) } else { Value::from(code) };
    let request_id: String = Uuid::new_v4().simple().to_string().chars().take(13).collect();
    enveloped(&json!({
        "response_status": "failure",
        "error_code": shown,
        "error_message": cloudipsp_codes::text(code, parameter),
        "request_id": request_id,
    }))
}

/// A request that can be read; whether it is signed is for the work to find out.
struct Request {
    merchant: String,
    order: String,
    parameters: Parameters,
}

impl Request {
    fn read(format: Format, body: &[u8]) -> Result<Self, Rejection> {
        let body = std::str::from_utf8(body).map_err(|_| rejected(1046))?;
        let parameters = format.parameters(body).ok_or(rejected(1010))?;
        if parameters.values().filter_map(text).any(|text| text.contains('|')) {
            return Err(rejected(1034));
        }
        // Protocol 2.0 has everything else inside `data`.
        if let Some(version) = parameters.get("version").and_then(text)
            && !matches!(version.as_str(), "" | "1.0" | "1.0.1")
        {
            return Err(Rejection { code: 1007, parameter: "version" });
        }
        let merchant = mandatory(&parameters, "merchant_id")?;
        let order = mandatory(&parameters, "order_id")?;
        Ok(Self { merchant, order, parameters })
    }

    fn subject(&self, shared: &Shared, operation: Operation) -> Subject {
        let protocol = match shared.world().accounts.get(&self.merchant).map(|account| account.protocol) {
            Some(Protocol::Fondy) => Protocol::Fondy,
            Some(_) | None => Protocol::Flitt,
        };
        Subject { protocol, account: self.merchant.clone(), reference: self.order.clone(), operation }
    }

    /// The order and the merchant's secret, if the request is signed with it. The capture page prints
    /// a bad signature as 1007, other pages as 1014: `code` says which.
    fn order<'a>(&self, world: &'a mut World, code: u16) -> Result<(&'a mut Authorization, &'a str), Rejection> {
        let account = world.accounts.get_mut(&self.merchant).filter(|account| account.protocol.is_cloudipsp());
        let account = account.ok_or(rejected(1016))?;
        let bad_signature = Rejection { code, parameter: "signature" };
        let expected = sign(&account.secret, &self.parameters).ok_or(bad_signature)?;
        if mandatory(&self.parameters, "signature")? != expected {
            return Err(bad_signature);
        }
        account.find_and_secret(&self.order).ok_or(rejected(1018))
    }

    fn amount(&self) -> Result<Money, Rejection> {
        let incorrect = Rejection { code: 1007, parameter: "amount" };
        let digits = mandatory(&self.parameters, "amount")?;
        if digits.len() > 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(incorrect);
        }
        let minor: i64 = digits.parse().map_err(|_| incorrect)?;
        if minor == 0 {
            return Err(rejected(1023));
        }
        let currency = Currency::parse(&mandatory(&self.parameters, "currency")?)
            .map_err(|_| Rejection { code: 1007, parameter: "currency" })?;
        Money::from_minor(minor, currency).map_err(|_| incorrect)
    }
}

fn mandatory(parameters: &Parameters, name: &'static str) -> Result<String, Rejection> {
    let value = parameters.get(name).ok_or(Rejection { code: 1011, parameter: name })?;
    let text = text(value).ok_or(Rejection { code: 1007, parameter: name })?;
    if text.is_empty() { Err(Rejection { code: 1009, parameter: name }) } else { Ok(text) }
}

/// One capture per order; the same amount again is answered with how it stands (docs.flitt.com).
///
/// Chosen by the sandbox: not approved or declined 1065, reversed 1086, expired 1052, not a card 1027,
/// another currency 1007, more than is held 1023.
fn capture_order(world: &mut World, request: &Request, moment: &Moment) -> Result<Reply, Rejection> {
    let (order, _) = request.order(world, 1007)?;
    let amount = request.amount()?;
    order.settle(moment.now);
    if !order.is_card() {
        return Err(rejected(1027));
    }
    if order.single_capture().is_none() {
        match order.status {
            OrderStatus::Created | OrderStatus::Processing | OrderStatus::Declined => return Err(rejected(1065)),
            OrderStatus::Expired => return Err(rejected(1052)),
            OrderStatus::Reversed => return Err(rejected(1086)),
            OrderStatus::Approved => {}
        }
        if !amount.fits(order.remaining()).map_err(|_| Rejection { code: 1007, parameter: "currency" })? {
            return Err(rejected(1023));
        }
        order.capture_once(amount, moment.hold, moment.now);
    }
    let capture = order.single_capture().expect("it was made now or before");
    if capture.amount != amount {
        return Err(rejected(1109));
    }
    Ok(enveloped(&json!({
        "capture_status": capture_status(Some(capture)),
        "order_id": request.order,
        "response_description": "",
        "response_code": "",
        "merchant_id": merchant_number(&request.merchant),
        "response_status": "success",
    })))
}

/// Before a capture, the whole hold and nothing less (docs.flitt.com/api/create-reversal). Refunds
/// after a capture are beyond the sandbox: 1100.
fn reverse_order(world: &mut World, request: &Request, moment: &Moment) -> Result<Reply, Rejection> {
    let (order, secret) = request.order(world, 1014)?;
    let amount = request.amount()?;
    order.settle(moment.now);
    if order.single_capture().is_some() || order.status != OrderStatus::Approved {
        return Err(rejected(1100));
    }
    if amount != order.remaining() {
        return Err(rejected(1084));
    }
    order.move_money(MovementKind::Void, amount, None, moment.now);
    order.status = OrderStatus::Reversed;
    let reply = json!({
        "reverse_status": "approved",
        "order_id": request.order,
        "merchant_id": merchant_number(&request.merchant),
        "reversal_amount": amount.minor().to_string(),
        "transaction_id": payment_number(order.order).to_string(),
        "reverse_id": request.parameters.get("reverse_id").and_then(text).unwrap_or_default(),
        "response_description": "",
        "response_code": "",
        "response_status": "success",
    });
    Ok(signed(secret, reply))
}

fn order_status(world: &mut World, request: &Request, moment: &Moment) -> Result<Reply, Rejection> {
    let (order, secret) = request.order(world, 1014)?;
    order.settle(moment.now);
    let reply = payment(order, &request.merchant);
    order.looked_up();
    Ok(signed(secret, reply))
}

/// All that a status reply tells. Amounts are strings of minor units, but for the one inside
/// `additional_info`.
fn payment(order: &Authorization, merchant: &str) -> Value {
    let paid = matches!(order.status, OrderStatus::Approved | OrderStatus::Reversed);
    let reversed = if order.status == OrderStatus::Reversed { order.voided().minor() } else { 0 };
    let mut reply = json!({
        "order_id": order.reference,
        "merchant_id": merchant_number(merchant),
        "order_status": order.status,
        "order_time": day_first(order.created_at),
        "amount": order.ordered.minor().to_string(),
        "currency": order.ordered.currency().code(),
        "actual_amount": "",
        "actual_currency": "",
        "reversal_amount": reversed.to_string(),
        "settlement_amount": "0",
        "fee": "",
        "fee_oplata": "0",
        "payment_id": payment_number(order.order),
        "tran_type": "purchase",
        "response_status": "success",
        "response_code": "",
        "response_description": "",
        "additional_info": additional_info(order),
    });
    if paid {
        reply["actual_amount"] = Value::from(order.authorized.minor().to_string());
        reply["actual_currency"] = Value::from(order.authorized.currency().code());
        reply["payment_system"] = Value::from(order.payment_system.as_str());
        reply["approval_code"] = Value::from("123456");
        reply["rrn"] = Value::from("111111111111");
    }
    if paid && order.is_card() {
        reply["masked_card"] = Value::from("444455XXXXXX6666");
        reply["card_bin"] = Value::from(444_455);
        reply["card_type"] = Value::from("VISA");
        reply["eci"] = Value::from("7");
    }
    reply
}

/// A JSON text inside a JSON string, spaced like the documentation's samples, with `capture_amount` a
/// float in *major* units.
fn additional_info(order: &Authorization) -> String {
    // What is no card payment was charged, not captured.
    let capture = order.single_capture().filter(|_| order.is_card());
    let status = capture_status(capture);
    let amount = capture.map_or_else(|| "null".to_owned(), |capture| float(capture.amount));
    let timeend = capture.map_or_else(|| "null".to_owned(), |capture| format!("\"{}\"", day_first(capture.at)));
    format!(
        "{{\"capture_status\": {status}, \"capture_amount\": {amount}, \"reservation_data\": null, \
         \"transaction_id\": {}, \"bank_response_code\": null, \"bank_response_description\": null, \
         \"client_fee\": 0.0, \"settlement_fee\": 0.0, \"timeend\": {timeend}, \"payment_method\": {}, \
         \"is_test\": true}}",
        payment_number(order.order),
        Value::from(order.payment_system.as_str()),
    )
}

fn capture_status(capture: Option<&Movement>) -> Value {
    match capture {
        None => Value::Null,
        Some(capture) if capture.hold.is_some() => Value::from("hold"),
        Some(_) => Value::from("captured"),
    }
}

/// As the provider's language prints a float: `1.0`, `151.18`, `0.1`.
fn float(amount: Money) -> String {
    let text = amount.to_major().normalize().to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

fn day_first(time: Timestamp) -> String {
    time.format("%d.%m.%Y %H:%M:%S").to_string()
}

/// Payment and transaction numbers do not fit 32 bits.
fn payment_number(order: Uuid) -> u64 {
    let (high, _) = order.as_u64_pair();
    9_000_000_000 + high % 1_000_000_000
}

/// Merchant ids are numbers in answers, whatever they were in the request.
fn merchant_number(merchant: &str) -> Value {
    merchant.parse::<u64>().map_or_else(|_| Value::from(merchant), Value::from)
}

fn signed(secret: &str, mut reply: Value) -> Reply {
    let parameters: Parameters = serde_json::from_value(reply.clone()).expect("a reply is an object");
    let signature = sign(secret, &parameters).expect("a reply has neither lists nor objects");
    reply["signature"] = Value::from(signature);
    enveloped(&reply)
}

fn enveloped(response: &Value) -> Reply {
    json_reply(StatusCode::OK, &json!({ "response": response }))
}
