//! A ledger file in which nearly everything has happened, for tests: written by the ledger itself
//! from real messages, between 09:00 and 09:30 of one day.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::DateTime;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Report;
use crate::capture::decide::{Arrival, Call, Command, Due, Evidence, Freeze, Reject, Reply, Settle, Ticket};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ConfigurationFault, Doubt, DoubtKind,
    ProviderBalance, Reading, Refusal, RefusalReason,
};
use crate::capture::notice::RawMessage;
use crate::capture::policy::{AccountPolicy, Backoff, Captures, OnExpiry, Policy};
use crate::capture::records::{AuthorizationKey, CaptureKey, JobKey, OrderKey};
use crate::capture::replay::Replay;
use crate::capture::retry::Jitter;
use crate::clock::{BootInstant, Moment, Timestamp};
use crate::ids::{AccountName, DeadLetterId, OrderId, ShipmentId};
use crate::ledger::sqlite::{SqliteLedger, lock};
use crate::ledger::{Environment, Ledger, Source, testing};
use crate::message::{self, Decoded, Notice};
use crate::money::{Currency, Money};

/// The instant on the day of the example.
pub(crate) fn at(time: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(&format!("2026-11-20T{time}Z")).unwrap().to_utc()
}

/// The file. Its ledger is still open, as if a worker were running.
pub(crate) struct Example {
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
    pub(crate) policy: Arc<Policy>,
    clock: Arc<Mutex<Timestamp>>,
    ledger: SqliteLedger,
    runtime: Runtime,
    directory: tempfile::TempDir,
    /// Sees whether the file has changed since it was copied.
    watch: Connection,
    copied: RefCell<Option<(i64, Source)>>,
}

impl Example {
    pub(crate) fn new() -> Self {
        let example = Self::empty();
        example.captured_and_in_doubt();
        example.waiting();
        example.failed_refused_and_zero();
        example.awaiting_and_parked();
        example.collected();
        example.corrected();
        example.in_flight();
        example.set_aside();
        // When an event was published is written by the real clock.
        let file = Connection::open(&example.path).unwrap();
        let published = at("09:00:02").timestamp_micros();
        file.execute("UPDATE outbox SET published_at = ?1 WHERE published_at IS NOT NULL", [published]).unwrap();
        file.execute("UPDATE dead_letters SET state = 'discarded' WHERE reason = 'delivery_limit'", []).unwrap();
        example
    }

    /// A ledger in which nothing has happened.
    pub(crate) fn empty() -> Self {
        Self::under(policy())
    }

    /// The same, where `flex` captures multiples only.
    pub(crate) fn with_quantum(quantum: &str) -> Self {
        let mut policy = policy();
        let flex = AccountName::parse("flex").unwrap();
        policy.accounts.get_mut(&flex).expect("configured").quantum = Some(quantum.parse().unwrap());
        Self::under(policy)
    }

    fn under(policy: Policy) -> Self {
        let policy = Arc::new(policy);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("holdfast.db");
        let clock = Arc::new(Mutex::new(at("09:00:00")));
        let now = Arc::clone(&clock);
        let environment = Environment {
            policy: Arc::clone(&policy),
            clock: Arc::new(move || Moment { wall: *now.lock().unwrap(), boot: BootInstant::now() }),
            jitter: Arc::new(|| Jitter::NONE),
            encode: Arc::new(|event| message::event::encode(event, "/holdfast").into()),
        };
        let ledger = SqliteLedger::open(&path, environment).unwrap();
        let source = Source::from(&path);
        let watch = Connection::open(&path).unwrap();
        let (runtime, copied) = (Runtime::new().unwrap(), RefCell::new(None));
        Self { path, source, policy, clock, ledger, runtime, directory, watch, copied }
    }

    /// The same ledger in both stores.
    pub(crate) fn everywhere(&self) -> [Source; 2] {
        [self.source.clone(), self.in_postgres()]
    }

    /// The same ledger in PostgreSQL, as it is now.
    pub(crate) fn in_postgres(&self) -> Source {
        let version = self.watch.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap();
        if let Some((copied, source)) = &*self.copied.borrow()
            && *copied == version
        {
            return source.clone();
        }
        let copy = self.directory.path().join("copy.db");
        self.report().copy_to(&copy).unwrap();
        let source = testing::moved(&copy);
        std::fs::remove_file(&copy).unwrap();
        testing::enter_worker(&source, "w1");
        *self.copied.borrow_mut() = Some((version, source.clone()));
        source
    }

    pub(crate) fn report(&self) -> Report {
        Report::open(&self.source).unwrap()
    }

    /// The file after its worker has ended, and the directory that keeps it.
    pub(crate) fn end_worker(self) -> (Source, tempfile::TempDir) {
        drop(self.ledger);
        // The writer thread lets go of the lock when it has closed the file.
        std::fs::File::open(lock::lock_path(&self.path)).unwrap().lock().unwrap();
        (self.source, self.directory)
    }

    fn captured_and_in_doubt(&self) {
        let reply = self.ship("09:00:00", "ord-1001", "s1", &planned(&[("l1", 2)]));
        let proof = CaptureProof {
            amount: Some(eur(2_000)),
            provider_reference: Some("cap-771".to_owned()),
            balance: ProviderBalance {
                captured: Some(eur(2_000)),
                voided: Some(eur(0)),
                remaining: Some(eur(3_500)),
                expires_at: Some(at("20:00:00")),
            },
        };
        self.settle("09:00:01", reply, Evidence::Answer(Answer::Captured(proof)));
        let first_event = self.runtime.block_on(self.ledger.unpublished(0, at("23:00:00"), 10)).unwrap().remove(0);
        self.execute("09:00:02", Command::Published(vec![first_event.row]));

        let reply = self.ship("09:05:00", "ord-1001", "s2", &planned(&[("l1", 1), ("l2", 1)]));
        let looked_at = self.settle("09:05:30", reply, Evidence::Answer(Answer::Doubt(timeout())));
        assert!(looked_at.ticket.is_none());
        let capture = self.open_capture();
        let reply = self.execute("09:06:00", Command::Due(Due::Capture(capture)));
        let unclear = Doubt { code: Some("503".to_owned()), message: "service unavailable".to_owned(), ..timeout() };
        self.settle("09:06:01", reply, Evidence::Reading(Reading::Unclear(unclear)));
    }

    fn waiting(&self) {
        self.ship("09:07:00", "ord-1002", "s1", &collecting("test-1002", &[("l1", 1)]));
    }

    fn failed_refused_and_zero(&self) {
        let reply = self.ship("09:08:00", "ord-1003", "s1", &explicit("txn-1003", "12.50"));
        self.settle("09:08:01", reply, Evidence::Answer(Answer::Refused(declined())));
        let mut more = planned(&[("l1", 4)]);
        more["authorization"]["reference"] = json!("txn-1004");
        self.ship("09:09:00", "ord-1004", "s1", &more);
        self.ship("09:10:00", "ord-1005", "s1", &explicit("txn-1005", "0.00"));
    }

    fn awaiting_and_parked(&self) {
        self.ship("09:11:00", "ord-1006", "s1", &json!({ "lines": [{ "line_id": "l1", "quantity": 1 }] }));
        let reply = self.ship("09:12:00", "ord-1007", "s1", &explicit("txn-1007", "7.00"));
        let fault = ConfigurationFault {
            code: Some("401".to_owned()),
            message: "the credentials were rejected: check client_id and client_secret".to_owned(),
            may_have_executed: false,
        };
        self.settle("09:12:01", reply, Evidence::Answer(Answer::Misconfigured(fault)));
    }

    fn collected(&self) {
        self.ship("09:13:00", "ord-1008", "s1", &collecting("test-1008", &[("l1", 2)]));
        let mut last = collecting("test-1008", &[("l1", 1), ("l2", 1)]);
        last["final"] = json!(true);
        let reply = self.ship("09:14:00", "ord-1008", "s2", &last);
        let reply = self.read_untouched("09:14:01", &reply);
        let proof = CaptureProof { amount: None, provider_reference: None, balance: ProviderBalance::default() };
        self.settle("09:14:02", reply, Evidence::Answer(Answer::Captured(proof)));
    }

    fn corrected(&self) {
        let reply = self.ship("09:15:00", "ord-1009", "s1", &explicit("txn-1009", "3.30"));
        let ticket = reply.ticket.clone();
        self.settle("09:15:01", reply.clone(), Evidence::Answer(Answer::Refused(declined())));
        let proof = CaptureProof {
            amount: Some(eur(330)),
            provider_reference: Some("cap-900".to_owned()),
            balance: ProviderBalance::default(),
        };
        self.settle("09:20:00", Reply { ticket, ..reply }, Evidence::Answer(Answer::Captured(proof)));
    }

    fn in_flight(&self) {
        self.ship("09:16:00", "ord-1013", "s1", &explicit("txn-1013", "1.00"));
        self.ship("09:17:00", "ord-1013", "s2", &explicit("txn-1013", "2.00"));
    }

    fn set_aside(&self) {
        self.message("09:21:00", br#"{"order_id":"ord-1010","order_id":"ord-1011","amount":1.10}"#);
        self.message("09:22:00", b"order\x1b[31m ord-1012 has shipped");
        self.message("09:23:00", b"order\x1b[31m ord-1012 has shipped");
        // s1 of ord-1001 was accepted with two units.
        self.ship("09:24:00", "ord-1001", "s1", &planned(&[("l1", 1)]));
        let raw = raw("evt-poison", br#"{"poison":true}"#);
        self.execute("09:25:00", crate::dead_letter::collect(raw));
    }

    /// A notice comes, and the provider captures what is asked of it.
    pub(crate) fn ship_and_capture(&self, sent: &str, answered: &str, notice: &Value) {
        let id = |field: &str| notice[field].as_str().unwrap();
        let reply = self.ship(sent, id("order_id"), id("shipment_id"), notice);
        let Some(Ticket { call: Call::Send { amount, .. }, .. }) = reply.ticket else { panic!("{reply:?}") };
        let provider_reference = Some(format!("cap-{}", id("shipment_id")));
        let proof = CaptureProof { amount: Some(amount), provider_reference, balance: ProviderBalance::default() };
        self.settle(answered, reply, Evidence::Answer(Answer::Captured(proof)));
    }

    /// It is time to capture what collects on the only authorization, and the provider is read.
    pub(crate) fn freeze_what_collects(&self, due: &str, read: &str) -> Reply {
        let file = Connection::open(&self.path).unwrap();
        let row = file.query_row("SELECT authorization_row FROM authorizations", [], |row| row.get(0)).unwrap();
        let reply = self.execute(due, Command::Due(Due::Authorization(AuthorizationKey::new(row))));
        self.read_untouched(read, &reply)
    }

    /// The read before a single capture shows the whole amount held.
    fn read_untouched(&self, time: &str, before: &Reply) -> Reply {
        let Some(Ticket { call: Call::Read { authorization, epoch }, .. }) = before.ticket else {
            panic!("what collects is read first: {before:?}")
        };
        let reading = Reading::Seen(Box::new(untouched()));
        self.execute(time, Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: true })))
    }

    /// `order.cancelled` comes, of everything that has not shipped.
    pub(crate) fn cancel(&self, time: &str, order: &str) -> Reply {
        let raw = raw(&format!("evt-{order}-cancelled"), json!({ "order_id": order }).to_string().as_bytes());
        let raw = RawMessage { routing_key: "order.cancelled".to_owned(), ..raw };
        let Decoded { event_id, data_path, notice } = message::decode(&raw).unwrap();
        let Notice::Cancelled(notice) = notice else { panic!("{notice:?}") };
        let arrival = Arrival { notice: *notice, event_id, data_path, raw, start: true };
        self.execute(time, Command::Cancel(Box::new(arrival)))
    }

    /// The grace after the final notice of the only order is over.
    pub(crate) fn close_order(&self, time: &str) -> Reply {
        let file = Connection::open(&self.path).unwrap();
        let row = file.query_row("SELECT order_row FROM orders", [], |row| row.get(0)).unwrap();
        self.execute(time, Command::Due(Due::Order(OrderKey::new(row))))
    }

    /// The one capture that is open is sent, and captured.
    pub(crate) fn capture_what_is_open(&self, sent: &str, answered: &str) {
        let reply = self.execute(sent, Command::Due(Due::Capture(self.open_capture())));
        let Some(Ticket { call: Call::Send { amount, .. }, .. }) = reply.ticket else { panic!("{reply:?}") };
        let provider_reference = Some("cap-fee".to_owned());
        let proof = CaptureProof { amount: Some(amount), provider_reference, balance: ProviderBalance::default() };
        self.settle(answered, reply, Evidence::Answer(Answer::Captured(proof)));
    }

    /// The broker has confirmed every event.
    pub(crate) fn publish_all(&self, time: &str) {
        let file = Connection::open(&self.path).unwrap();
        let published = at(time).timestamp_micros();
        file.execute("UPDATE outbox SET published_at = ?1 WHERE published_at IS NULL", [published]).unwrap();
    }

    pub(crate) fn ship(&self, time: &str, order: &str, shipment: &str, notice: &Value) -> Reply {
        let mut body = notice.clone();
        body["order_id"] = json!(order);
        body["shipment_id"] = json!(shipment);
        let raw = raw(&format!("evt-{order}-{shipment}"), body.to_string().as_bytes());
        let Decoded { event_id, data_path, notice } = message::decode(&raw).unwrap();
        let Notice::Shipped(notice) = notice else { panic!("{notice:?}") };
        let arrival = Arrival { notice: *notice, event_id, data_path, raw, start: true };
        self.execute(time, Command::Accept(Box::new(arrival)))
    }

    /// A message arrives that cannot be processed as it is.
    pub(crate) fn message(&self, time: &str, body: &[u8]) {
        let raw = raw("evt-bad", body);
        let rejection = message::decode(&raw).unwrap_err();
        self.execute(time, Command::Reject(Box::new(Reject { rejection, raw })));
    }

    fn settle(&self, time: &str, before: Reply, evidence: Evidence) -> Reply {
        let (capture, epoch) = match before.ticket.expect("a call was begun").call {
            Call::Send { capture, epoch, .. } | Call::Look { capture, epoch } => (capture, epoch),
            Call::Read { authorization, .. } | Call::ReadExpiry { authorization, .. } | Call::Ask { authorization } => {
                panic!("{authorization:?} is read, not captured")
            }
        };
        self.execute(time, Command::Settle(Box::new(Settle { capture, epoch, evidence, start: false })))
    }

    /// The declined shipment of `ord-1003` is replayed, and captured.
    pub(crate) fn replayed(&self) {
        let order = OrderId::parse("ord-1003").unwrap();
        let letter = DeadLetterId::of_shipment(&order, &ShipmentId::parse("s1").unwrap(), 0);
        let whole = self.report().dead_letter(letter).unwrap().expect("it was set aside");
        let message = whole.letter.raw.map(crate::dead_letter::command_of);
        let replay = Replay { letter, job: JobKey::new(1), message, traceparent: None };
        let reply = self.execute("09:26:00", Command::Replay(Box::new(replay)));
        let reply = self.execute("09:26:01", Command::Due(reply.ready.expect("ready for a call").due));
        let proof = CaptureProof {
            amount: Some(eur(1_250)),
            provider_reference: Some("cap-900".to_owned()),
            balance: ProviderBalance::default(),
        };
        self.settle("09:26:02", reply, Evidence::Answer(Answer::Captured(proof)));
    }

    fn execute(&self, time: &str, command: Command) -> Reply {
        *self.clock.lock().unwrap() = at(time);
        let executed = self.runtime.block_on(self.ledger.execute(vec![command])).unwrap();
        executed.replies.into_iter().next().unwrap().unwrap()
    }

    fn open_capture(&self) -> CaptureKey {
        let file = Connection::open(&self.path).unwrap();
        let row = file.query_row("SELECT capture_row FROM captures WHERE is_open = 1", [], |row| row.get(0));
        CaptureKey::new(row.unwrap())
    }
}

fn policy() -> Policy {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let account = |captures, resend_window| AccountPolicy {
        captures,
        resend_window,
        timeout: Duration::from_secs(30),
        tells_expiry: false,
        authorization_lifetime: None,
        on_expiry: if captures == Captures::Single { OnExpiry::MayCaptureInFull } else { OnExpiry::Void },
        quantum: None,
        minimum: None,
        caps: Vec::new(),
    };
    let accounts =
        [("flex", account(Captures::Multiple, Some(minutes(60)))), ("flitt-ge", account(Captures::Single, None))];
    Policy {
        deadline_margin: minutes(120),
        derived_deadline_margin: minutes(240),
        expiring_leads: vec![minutes(48 * 60), minutes(12 * 60)],
        final_grace: minutes(15),
        quiet: minutes(15),
        awaiting_max: minutes(24 * 60),
        awaiting_check: minutes(15),
        send_within: Duration::from_secs(5),
        parked_for: minutes(15),
        retry_after_max: minutes(60),
        backoff: Backoff { initial: Duration::from_millis(500), max: minutes(15), multiplier: 2.0, jitter: 0.0 },
        look_after: vec![Duration::from_secs(30), minutes(2), minutes(15)],
        accounts: accounts.map(|(name, policy)| (AccountName::parse(name).unwrap(), policy)).into(),
    }
}

/// Of a plan that totals 55.00: three of l1 at 10.00, one of l2 at 20.00, and 5.00 for the delivery.
pub(crate) fn planned(lines: &[(&str, u32)]) -> Value {
    let lines: Vec<_> = lines.iter().map(|(id, quantity)| json!({ "line_id": id, "quantity": quantity })).collect();
    json!({
        "lines": lines,
        "authorization": { "account": "flex", "reference": "txn-1001", "currency": "EUR", "amount": "55.00",
                           "expires_at": "2026-11-21T08:00:00Z" },
        "plan": { "lines": [{ "line_id": "l1", "quantity": 3, "total": "30.00" },
                            { "line_id": "l2", "quantity": 1, "total": "20.00" }],
                  "shipping": "5.00", "shipping_policy": "last", "total": "55.00" },
    })
}

/// The same, where the authorization can be captured once.
pub(crate) fn collecting(reference: &str, lines: &[(&str, u32)]) -> Value {
    let mut notice = planned(lines);
    notice["authorization"]["account"] = json!("flitt-ge");
    notice["authorization"]["reference"] = json!(reference);
    notice
}

fn explicit(reference: &str, amount: &str) -> Value {
    let mut notice = planned(&[]);
    notice["authorization"]["reference"] = json!(reference);
    notice["amount"] = json!(amount);
    for absent in ["lines", "plan"] {
        notice.as_object_mut().unwrap().remove(absent);
    }
    notice
}

fn raw(message_id: &str, body: &[u8]) -> RawMessage {
    RawMessage {
        body: body.to_vec().into(),
        content_type: Some("application/json".to_owned()),
        message_id: Some(message_id.to_owned()),
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    }
}

fn timeout() -> Doubt {
    Doubt { kind: DoubtKind::Timeout, code: None, message: "no answer within 30s".to_owned(), retry_after: None }
}

fn declined() -> Refusal {
    Refusal {
        reason: RefusalReason::Declined,
        code: Some("CARD_DECLINED".to_owned()),
        message: "the issuer declined".to_owned(),
        read_first: false,
    }
}

fn untouched() -> AuthorizationView {
    AuthorizationView {
        status: AuthorizationStatus::Open,
        is_card: true,
        currency: currency(),
        authorized: Some(eur(5_500)),
        balance: ProviderBalance { captured: Some(eur(0)), remaining: Some(eur(5_500)), ..ProviderBalance::default() },
        captures: Vec::new(),
        has_pending_capture: false,
        authorized_at: None,
    }
}

fn currency() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn eur(minor: i64) -> Money {
    Money::from_minor(minor, currency()).unwrap()
}
