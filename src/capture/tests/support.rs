//! What the tests of the core, of the judge and of the ledgers share: rules, notices, a clock that
//! only a test moves, and a small world that feeds commands to a ledger and checks the invariants
//! after every step.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::FutureExt as _;

use crate::capture::decide::{
    Arrival, Call, Collect, Command, Due, Evidence, Expire, Freeze, Learn, Note, Reply, Settle, Ticket,
};
use crate::capture::event::Event;
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, Doubt, DoubtKind, NotExecuted, ProviderBalance,
    Reading, Refusal, RefusalReason, SeenCapture,
};
use crate::capture::notice::{
    AuthorizationFacts, CancellationNotice, CancelledLine, PlanFacts, PlanLineFacts, Quantity, RawMessage,
    RegistrationNotice, ShipmentNotice, ShippedLine, ShippingPolicy,
};
use crate::capture::policy::{AccountPolicy, Backoff, Captures, OnExpiry, Policy};
use crate::capture::records::{Authorization, Capture, CaptureKey, Order, Shipment};
use crate::capture::retry::Jitter;
use crate::capture::tests::invariants;
use crate::clock::{BootId, BootInstant, Moment, Timestamp};
use crate::ids::{AccountName, CaptureId, LineId, OrderId, Reference, ShipmentId};
use crate::ledger::memory::{MemoryLedger, Tables};
use crate::ledger::{DueNow, Environment, Executed, Ledger as _};
use crate::money::{Currency, Money, parse_plain_decimal};

/// An account that captures once per authorization.
pub(crate) const ONCE: &str = "flitt-ge";
/// An account that captures several times per authorization.
pub(crate) const OFTEN: &str = "flex";
/// Another such account.
pub(crate) const OTHER: &str = "flex-2";

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// `seconds` after the instant at which every test begins.
pub(crate) fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("within range")
}

pub(crate) fn gel(minor: i64) -> Money {
    Money::from_minor(minor, currency("GEL")).expect("not negative")
}

pub(crate) fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency")
}

pub(crate) fn account(name: &str) -> AccountName {
    AccountName::parse(name).expect("an id")
}

pub(crate) fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("an id")
}

pub(crate) fn order_id(text: &str) -> OrderId {
    OrderId::parse(text).expect("an id")
}

pub(crate) fn shipment_id(text: &str) -> ShipmentId {
    ShipmentId::parse(text).expect("an id")
}

/// The documented defaults.
pub(crate) fn policy() -> Policy {
    let account_policy = |captures, resend_window| AccountPolicy {
        captures,
        resend_window,
        timeout: 30 * SECOND,
        tells_expiry: captures == Captures::Multiple,
        authorization_lifetime: Some(7 * 24 * HOUR),
        on_expiry: if captures == Captures::Single { OnExpiry::MayCaptureInFull } else { OnExpiry::Void },
        quantum: None,
        minimum: None,
        caps: Vec::new(),
    };
    Policy {
        deadline_margin: 2 * HOUR,
        derived_deadline_margin: 24 * HOUR,
        expiring_leads: vec![48 * HOUR, 12 * HOUR],
        final_grace: 15 * MINUTE,
        quiet: 15 * MINUTE,
        awaiting_max: 24 * HOUR,
        awaiting_check: HOUR,
        send_within: 10 * SECOND,
        parked_for: 5 * MINUTE,
        retry_after_max: HOUR,
        backoff: Backoff { initial: SECOND, max: 15 * MINUTE, multiplier: 2.0, jitter: 0.0 },
        look_after: vec![2 * SECOND, 5 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR],
        accounts: BTreeMap::from([
            (account(ONCE), account_policy(Captures::Single, None)),
            (account(OFTEN), account_policy(Captures::Multiple, Some(15 * MINUTE))),
            (account(OTHER), account_policy(Captures::Multiple, Some(15 * MINUTE))),
        ]),
    }
}

/// With this account, too, which is as [`OFTEN`] is.
pub(crate) fn policy_with(name: &str) -> Policy {
    let mut policy = policy();
    let often = policy.accounts[&account(OFTEN)].clone();
    policy.accounts.insert(account(name), often);
    policy
}

/// A clock that only a test moves.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<Mutex<Moment>>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        // In whole microseconds, which is what a ledger keeps: what it is asked for is compared to the letter.
        let now = BootInstant::now();
        let since = Duration::from_micros(u64::try_from(now.since_boot().as_micros()).expect("some years"));
        let boot = BootInstant::of(now.boot(), since);
        Self(Arc::new(Mutex::new(Moment { wall: at(0), boot })))
    }

    pub(crate) fn now(&self) -> Moment {
        *self.0.lock().expect("no test panics while it reads the clock")
    }

    pub(crate) fn advance(&self, span: Duration) {
        let mut now = self.0.lock().expect("no test panics while it moves the clock");
        *now = Moment { wall: crate::clock::after(now.wall, span), boot: now.boot.plus(span) };
    }

    /// Sets the wall clock back; the other one never goes back.
    pub(crate) fn set_back(&self, span: Duration) {
        let mut now = self.0.lock().expect("no test panics while it moves the clock");
        now.wall = crate::clock::before(now.wall, span);
    }

    /// The machine is started anew, and is up for `since` already. The wall clock goes on.
    pub(crate) fn reboot(&self, since: Duration) {
        let mut now = self.0.lock().expect("no test panics while it moves the clock");
        now.boot = BootInstant::of(BootId::from_uuid(uuid::Uuid::new_v4()), since);
    }

    pub(crate) fn advance_to(&self, wall: Timestamp) {
        self.advance((wall - self.now().wall).to_std().expect("time goes forward"));
    }
}

/// Rules, a manual clock, no chance, and events written as their `Debug` form.
pub(crate) fn environment(policy: Policy, clock: &ManualClock) -> Environment {
    let clock = clock.clone();
    Environment {
        policy: Arc::new(policy),
        clock: Arc::new(move || clock.now()),
        jitter: Arc::new(|| Jitter::NONE),
        encode: Arc::new(|event: &Event| Bytes::from(format!("{event:?}"))),
    }
}

/// A notice in the making.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) notice: ShipmentNotice,
    start: bool,
}

pub(crate) fn draft(order: &str, shipment: &str) -> Draft {
    let notice = ShipmentNotice {
        order: order_id(order),
        shipment: shipment_id(shipment),
        is_final: false,
        lines: Vec::new(),
        amount: None,
        authorization: None,
        plan: None,
    };
    Draft { notice, start: true }
}

impl Draft {
    pub(crate) fn line(mut self, line: &str, units: u32) -> Self {
        let line = LineId::parse(line).expect("an id");
        self.notice.lines.push(ShippedLine { line, quantity: Quantity::units(units) });
        self
    }

    pub(crate) fn amount(mut self, major: &str) -> Self {
        self.notice.amount = Some(parse_plain_decimal(major).expect("plain"));
        self
    }

    pub(crate) fn on(mut self, authorization: AuthorizationFacts) -> Self {
        self.notice.authorization = Some(authorization);
        self
    }

    pub(crate) fn plan(mut self, plan: PlanFacts) -> Self {
        self.notice.plan = Some(plan);
        self
    }

    pub(crate) fn last(mut self) -> Self {
        self.notice.is_final = true;
        self
    }

    /// No permit is held for it.
    pub(crate) fn no_permit(mut self) -> Self {
        self.start = false;
        self
    }

    /// The notice as it arrives.
    pub(crate) fn arrival(self) -> Arrival {
        let event_id = format!("evt-{}-{}", self.notice.order, self.notice.shipment);
        Arrival { start: self.start, ..arrival(self.notice, event_id) }
    }

    pub(crate) fn command(self) -> Command {
        Command::Accept(Box::new(self.arrival()))
    }
}

/// A notice as it arrives. Its body is as particular to it as a real one.
fn arrival<N: std::fmt::Debug>(notice: N, event_id: String) -> Arrival<N> {
    let mut body = String::new();
    write!(body, "{notice:?}").expect("a string takes everything");
    let raw = RawMessage {
        body: Bytes::from(body),
        content_type: Some("application/json".to_owned()),
        message_id: None,
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        tracestate: None,
        redelivered: false,
    };
    Arrival { notice, event_id, data_path: "$.data", raw, start: false }
}

/// `order.authorized`.
pub(crate) fn registration(order: &str, authorization: AuthorizationFacts, plan: Option<PlanFacts>) -> Command {
    let notice = RegistrationNotice { order: order_id(order), authorization, plan };
    Command::Register(Box::new(arrival(notice, format!("evt-{order}-authorized"))))
}

/// `order.cancelled`, of these lines or of everything.
pub(crate) fn cancellation(order: &str, lines: &[(&str, u32)]) -> Command {
    let line = |(line, units): &(&str, u32)| CancelledLine {
        line: LineId::parse(line).expect("an id"),
        cancelled: Quantity::units(*units),
    };
    let lines = (!lines.is_empty()).then(|| lines.iter().map(line).collect());
    let notice = CancellationNotice { order: order_id(order), lines };
    Command::Cancel(Box::new(arrival(notice, format!("evt-{order}-cancelled"))))
}

/// What the broker gave up on.
pub(crate) fn collect(raw: RawMessage) -> Command {
    Command::Collect(Box::new(Collect { raw, order: None, shipment: None }))
}

/// The body of a command that a message became.
pub(crate) fn body_of(command: &Command) -> Option<&Bytes> {
    match command {
        Command::Accept(arrival) => Some(&arrival.raw.body),
        Command::Register(arrival) => Some(&arrival.raw.body),
        Command::Cancel(arrival) => Some(&arrival.raw.body),
        Command::Reject(_)
        | Command::Collect(_)
        | Command::Due(_)
        | Command::Recall(_)
        | Command::Settle(_)
        | Command::Freeze(_)
        | Command::Expire(_)
        | Command::Learn(_)
        | Command::Operator(_)
        | Command::Published(_)
        | Command::Replay(_) => None,
    }
}

/// What a message says of an authorization of `minor` GEL that lives for seven days.
pub(crate) fn authorized(name: &str, named: &str, minor: i64) -> AuthorizationFacts {
    AuthorizationFacts {
        account: account(name),
        reference: reference(named),
        currency: currency("GEL"),
        amount: Some(gel(minor)),
        authorized_at: Some(at(0)),
        expires_at: Some(at(7 * 24 * 3_600)),
    }
}

/// The same authorization, in EUR.
pub(crate) fn in_euro(facts: AuthorizationFacts) -> AuthorizationFacts {
    let currency = currency("EUR");
    let amount = facts.amount.map(|amount| Money::from_minor(amount.minor(), currency).expect("not negative"));
    AuthorizationFacts { currency, amount, ..facts }
}

/// The documented example: 3 of l1 at 44.97, 1 of l3 at 69.13, delivery 4.90, total 119.00.
pub(crate) fn worked_plan() -> PlanFacts {
    plan(&[("l1", 3, "44.97"), ("l3", 1, "69.13")], "4.90", "119.00")
}

pub(crate) fn plan(lines: &[(&str, u32, &str)], shipping: &str, total: &str) -> PlanFacts {
    let major = |text: &str| parse_plain_decimal(text).expect("plain");
    let line = |(line, units, total): &(&str, u32, &str)| PlanLineFacts {
        line: LineId::parse(line).expect("an id"),
        quantity: Quantity::units(*units),
        total: major(total),
    };
    PlanFacts {
        revision: 1,
        lines: lines.iter().map(line).collect(),
        discount: major("0"),
        tax: major("0"),
        shipping: major(shipping),
        shipping_policy: ShippingPolicy::Prorate,
        other_tender: major("0"),
        total: major(total),
    }
}

// What providers say.

pub(crate) fn captured(amount: Option<Money>) -> Answer {
    Answer::Captured(CaptureProof {
        amount,
        provider_reference: Some("pay-1".to_owned()),
        balance: ProviderBalance::default(),
    })
}

pub(crate) fn refusal(reason: RefusalReason) -> Refusal {
    Refusal { reason, code: Some("1".to_owned()), message: "no".to_owned(), read_first: false }
}

pub(crate) fn doubt(kind: DoubtKind) -> Doubt {
    Doubt { kind, code: None, message: "who knows".to_owned(), retry_after: None }
}

pub(crate) fn not_executed() -> Answer {
    Answer::NotExecuted(NotExecuted { message: "connection refused".to_owned(), retry_after: None })
}

/// An approved card authorization of `held` GEL, untouched.
pub(crate) fn view(held: i64) -> AuthorizationView {
    AuthorizationView {
        status: AuthorizationStatus::Open,
        is_card: true,
        currency: currency("GEL"),
        authorized: Some(gel(held)),
        balance: ProviderBalance { captured: Some(gel(0)), remaining: Some(gel(held)), ..ProviderBalance::default() },
        captures: Vec::new(),
        has_pending_capture: false,
        authorized_at: None,
    }
}

pub(crate) fn seen(view: AuthorizationView) -> Reading {
    Reading::Seen(Box::new(view))
}

pub(crate) fn shown(capture: Option<CaptureId>, amount: Money) -> SeenCapture {
    SeenCapture { capture, amount, provider_reference: Some("pay-2".to_owned()) }
}

/// A call that a reply asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Send { capture: CaptureKey, amount: Money, epoch: u32 },
    Look { capture: CaptureKey, epoch: u32 },
    Read { epoch: u32 },
    ReadExpiry { epoch: u32 },
    Ask,
}

pub(crate) fn asked(ticket: &Ticket) -> Asked {
    match ticket.call {
        Call::Send { capture, amount, epoch, .. } => Asked::Send { capture, amount, epoch },
        Call::Look { capture, epoch } => Asked::Look { capture, epoch },
        Call::Read { epoch, .. } => Asked::Read { epoch },
        Call::ReadExpiry { epoch, .. } => Asked::ReadExpiry { epoch },
        Call::Ask { .. } => Asked::Ask,
    }
}

/// A ledger, its clock, and every message that was sent to it.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) ledger: MemoryLedger,
    policy: Policy,
    messages: HashMap<Bytes, Command>,
    before: Tables,
    told: i64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(policy())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let clock = ManualClock::new();
        let ledger = MemoryLedger::new(environment(policy.clone(), &clock));
        let before = ledger.tables().clone();
        Self { clock, ledger, policy, messages: HashMap::new(), before, told: 0 }
    }

    /// The same ledger under other settings: the worker was restarted.
    pub(crate) fn restart_with(&mut self, policy: Policy) {
        let ledger = MemoryLedger::new(environment(policy.clone(), &self.clock));
        *ledger.tables() = self.ledger.tables().clone();
        self.ledger = ledger;
        self.policy = policy;
    }

    /// The ledger as it was: everything since is forgotten.
    pub(crate) fn go_back_to(&mut self, tables: Tables) {
        self.told = tables.events.keys().last().copied().unwrap_or_default();
        self.before = tables.clone();
        *self.ledger.tables() = tables;
    }

    /// Executes a group, and checks every invariant afterwards.
    pub(crate) fn execute(&mut self, commands: &[Command]) -> Executed {
        let executed = self.ledger.execute_now(commands).expect("memory does not fail");
        let tables = self.ledger.tables().clone();
        invariants::check(&self.before, &tables, &self.policy, self.clock.now().wall);
        self.before = tables;
        executed
    }

    pub(crate) fn tell(&mut self, command: Command) -> Reply {
        let mut executed = self.execute(&[command]);
        executed.replies.pop().expect("one reply").unwrap_or_else(|failed| panic!("{failed}"))
    }

    pub(crate) fn remember(&mut self, message: &Command) {
        let body = body_of(message).expect("a message").clone();
        self.messages.insert(body, message.clone());
    }

    /// The command that a message came to.
    pub(crate) fn messages_by_body(&self, body: &Bytes) -> Command {
        self.messages.get(body).cloned().expect("every message is remembered")
    }

    /// A test has changed the tables by hand.
    pub(crate) fn forget_before(&mut self) {
        self.before = self.ledger.tables().clone();
    }

    pub(crate) fn accept(&mut self, draft: Draft) -> Reply {
        self.receive(draft.command())
    }

    pub(crate) fn receive(&mut self, message: Command) -> Reply {
        self.remember(&message);
        self.tell(message)
    }

    pub(crate) fn settle(&mut self, capture: CaptureKey, epoch: u32, evidence: Evidence) -> Reply {
        self.tell(Command::Settle(Box::new(Settle { capture, epoch, evidence, start: true })))
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, ticket: Option<Ticket>, answer: Answer) -> Reply {
        match asked(&ticket.expect("a call was asked for")) {
            Asked::Send { capture, epoch, .. } => self.settle(capture, epoch, Evidence::Answer(answer)),
            other @ (Asked::Look { .. } | Asked::Read { .. } | Asked::ReadExpiry { .. } | Asked::Ask) => {
                panic!("asked for {other:?}")
            }
        }
    }

    /// Answers a read, of a capture in doubt or before a single capture.
    pub(crate) fn show(&mut self, ticket: Option<Ticket>, reading: Reading) -> Reply {
        let ticket = ticket.expect("a call was asked for");
        match ticket.call {
            Call::Look { capture, epoch } => self.settle(capture, epoch, Evidence::Reading(reading)),
            Call::Read { authorization, epoch } => {
                self.tell(Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: true })))
            }
            Call::ReadExpiry { authorization, epoch } => {
                self.tell(Command::Expire(Box::new(Expire { authorization, epoch, reading })))
            }
            Call::Ask { authorization } => self.tell(Command::Learn(Box::new(Learn { authorization, reading }))),
            Call::Send { .. } => panic!("asked for a capture"),
        }
    }

    fn find_due(&self) -> DueNow {
        self.ledger.find_due(100).now_or_never().expect("memory answers at once").expect("it does not fail")
    }

    /// Gives the warnings that are due, and nothing else.
    pub(crate) fn warn(&mut self) -> Vec<Reply> {
        let warnings = self.find_due().others.into_iter().filter(|due| matches!(due, Due::Warning(_)));
        warnings.map(|due| self.tell(Command::Due(due))).collect()
    }

    /// Does everything that is due, warnings first, with a permit for each call, and returns the replies. Kept notices
    /// are accepted again, as intake does.
    pub(crate) fn do_due(&mut self) -> Vec<Reply> {
        // Where a read is due too, it is found after the warning.
        let mut replies = self.warn();
        let due = self.find_due();
        for ready in due.calls {
            replies.push(self.tell(Command::Due(ready.due)));
        }
        for due in due.others {
            let reply = self.tell(Command::Due(due));
            let Note::LookAgain(raw) = reply.note else {
                replies.push(reply);
                continue;
            };
            let kept = self.messages.get(&raw.body).cloned().expect("every message is remembered");
            replies.push(self.tell(kept));
        }
        replies
    }

    /// Does what is due, which is one call, and returns it.
    pub(crate) fn due_call(&mut self) -> Option<Ticket> {
        let mut calls: Vec<Ticket> = self.do_due().into_iter().filter_map(|reply| reply.ticket).collect();
        assert!(calls.len() <= 1, "{calls:?}");
        calls.pop()
    }

    /// The events since the last time somebody asked.
    pub(crate) fn news(&mut self) -> Vec<Event> {
        let tables = self.ledger.tables();
        let news: Vec<_> =
            tables.events.range(self.told + 1..).map(|(row, (event, _))| (*row, event.clone())).collect();
        drop(tables);
        self.told = news.last().map_or(self.told, |(row, _)| *row);
        news.into_iter().map(|(_, event)| event).collect()
    }

    pub(crate) fn authorization(&self, named: &str) -> Authorization {
        let tables = self.ledger.tables();
        let found = tables.authorizations.values().find(|record| record.reference.as_str() == named);
        found.cloned().expect("it was registered")
    }

    /// Authorized, captured, reserved, in minor units.
    pub(crate) fn balance(&self, named: &str) -> (i64, i64, i64) {
        let record = self.authorization(named);
        (record.authorized.minor(), record.captured.minor(), record.reserved.minor())
    }

    pub(crate) fn order(&self, id: &str) -> Order {
        let tables = self.ledger.tables();
        tables.orders.values().find(|order| order.id.as_str() == id).cloned().expect("it is known")
    }

    pub(crate) fn shipment(&self, id: &str) -> Shipment {
        let tables = self.ledger.tables();
        tables.shipments.values().find(|shipment| shipment.id.as_str() == id).cloned().expect("it was accepted")
    }

    pub(crate) fn capture_of(&self, id: &str) -> Capture {
        let key = self.shipment(id).capture.expect("a capture covers it");
        self.ledger.tables().captures[&key].clone()
    }
}
