//! A configuration: what is told of one order, how its provider behaves, and how much may go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use holdfast::capture::decide::{Arrival, Command};
use holdfast::capture::notice::{
    AuthorizationFacts, CancellationNotice, CancelledLine, PlanFacts, PlanLineFacts, Quantity, RawMessage,
    RegistrationNotice, ShipmentNotice, ShippedLine, ShippingPolicy,
};
use holdfast::capture::policy::{AccountPolicy, Backoff, Captures, OnExpiry, Policy};
use holdfast::clock::{BootInstant, Moment, Timestamp};
use holdfast::ids::{AccountName, LineId, OrderId, Reference, ShipmentId};
use holdfast::money::{Currency, Money};
use rust_decimal::Decimal;

/// One step of time. Sending must be over one step after it was begun, the resend window lasts one, and
/// `quiet` is one: three instants tell everything apart that the rules do.
pub const TICK: Duration = Duration::from_hours(1);
/// So far ahead that it never comes.
pub const FAR: u32 = 50_000;

/// A configuration.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What it is, in the table.
    pub name: &'static str,
    /// What the order system tells.
    pub messages: Vec<Message>,
    /// The first so many messages are in the ledger from the beginning.
    pub given: usize,
    /// How much is held, in minor units.
    pub held: i64,
    /// The provider.
    pub rules: Rules,
    /// When the hold dies.
    pub expiry: Expiry,
    /// So many steps before that, earned money is taken whatever else is missing.
    pub margin: u32,
    /// How many things workers can do at a time, in however many processes.
    pub hands: usize,
    /// How often one of them may be killed.
    pub crashes: u8,
    /// How many requests can be on their way at a time.
    pub flights: usize,
    /// How many dead letters may be replayed.
    pub replays: u8,
    /// Does a command come with a permit, so that the call is begun in the same transaction?
    pub permits: bool,
}

/// How a provider behaves, where their documentation leaves it open.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own that the documentation does not give")]
pub struct Rules {
    /// One capture per authorization, as Flitt and Fondy have it; else several, as Flex Pay.
    pub single: bool,
    /// Are limits looked at before keys?
    pub limits_first: bool,
    /// Does a key remember a refusal?
    pub remembers_refusals: bool,
    /// Are keys forgotten, as early as the resend window allows?
    pub forgets: bool,
    /// Does a read not show that a hold has died?
    pub hides_expiry: bool,
    /// Does the provider capture a hold that dies by itself, in full?
    pub captures_on_expiry: bool,
    /// Is a capture after the expiry answered with a code that says nothing?
    pub codes_expiry: bool,
    /// Can a capture be declined that another time would succeed?
    pub declines: bool,
}

/// When a hold dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// At any time, whatever we were told.
    AnyTime,
    /// After so many steps, as we were told.
    After(u8),
}

/// A message on the queue.
#[derive(Debug, Clone)]
pub enum Message {
    /// A shipment that names its amount; the last one of its order.
    Ships(u8, i64),
    /// A shipment of one whole line of the plan.
    ShipsLine(u8),
    /// The authorization, with a plan in this revision: what the lines cost, and the delivery fee, which is
    /// earned with the last of them.
    Authorized(u32, Vec<i64>, i64),
    /// What has not shipped of a line is cancelled.
    CancelsLine(u8),
}

impl Setup {
    /// The account, as the core sees it.
    fn account(&self) -> AccountPolicy {
        AccountPolicy {
            captures: if self.rules.single { Captures::Single } else { Captures::Multiple },
            resend_window: (!self.rules.single).then_some(TICK),
            timeout: Duration::ZERO,
            tells_expiry: false,
            authorization_lifetime: None,
            on_expiry: if self.rules.captures_on_expiry { OnExpiry::MayCaptureInFull } else { OnExpiry::Void },
            quantum: None,
            minimum: None,
            caps: Vec::new(),
        }
    }

    /// The core's rules: everything that is looked at again is looked at again at once.
    pub fn policy(&self) -> Policy {
        Policy {
            deadline_margin: TICK * self.margin,
            derived_deadline_margin: TICK * self.margin,
            expiring_leads: Vec::new(),
            final_grace: Duration::ZERO,
            quiet: TICK,
            awaiting_max: TICK * FAR,
            awaiting_check: TICK,
            send_within: TICK,
            parked_for: Duration::ZERO,
            retry_after_max: Duration::ZERO,
            backoff: Backoff { initial: Duration::ZERO, max: Duration::ZERO, multiplier: 1.0, jitter: 0.0 },
            look_after: vec![Duration::ZERO],
            accounts: BTreeMap::from([(account(), self.account())]),
        }
    }

    /// A message as it comes to the core.
    pub fn command(&self, number: usize) -> Command {
        let start = self.permits;
        match &self.messages[number] {
            Message::Ships(shipment, minor) => {
                let notice = self.shipped(*shipment, Vec::new(), Some(money(*minor).to_major()));
                Command::Accept(Box::new(arrival(number, notice, start)))
            }
            Message::ShipsLine(which) => {
                let lines = vec![ShippedLine { line: line(*which), quantity: Quantity::units(1) }];
                Command::Accept(Box::new(arrival(number, self.shipped(*which, lines, None), start)))
            }
            Message::Authorized(revision, lines, fee) => {
                let plan = Some(plan(*revision, lines, *fee));
                let notice = RegistrationNotice { order: order(), authorization: self.facts(), plan };
                Command::Register(Box::new(arrival(number, notice, false)))
            }
            Message::CancelsLine(which) => {
                let lines = vec![CancelledLine { line: line(*which), cancelled: Quantity::units(1) }];
                let notice = CancellationNotice { order: order(), lines: Some(lines) };
                Command::Cancel(Box::new(arrival(number, notice, false)))
            }
        }
    }

    /// Which message has this body?
    pub fn number_of(&self, body: &[u8]) -> usize {
        (0..self.messages.len()).find(|number| raw(*number).body == body).expect("a message of this configuration")
    }

    fn shipped(&self, which: u8, lines: Vec<ShippedLine>, amount: Option<Decimal>) -> ShipmentNotice {
        let is_planned = amount.is_none();
        ShipmentNotice {
            order: order(),
            shipment: shipment(which),
            is_final: !is_planned,
            lines,
            amount,
            // What is planned was registered before.
            authorization: (!is_planned).then(|| self.facts()),
            plan: None,
        }
    }

    fn facts(&self) -> AuthorizationFacts {
        let expires_in = match self.expiry {
            Expiry::Never | Expiry::AnyTime => FAR,
            Expiry::After(ticks) => u32::from(ticks),
        };
        AuthorizationFacts {
            account: account(),
            reference: Reference::parse("hold").expect("a reference"),
            currency: currency(),
            amount: Some(money(self.held)),
            authorized_at: None,
            expires_at: Some(moment(expires_in).wall),
        }
    }
}

fn plan(revision: u32, lines: &[i64], fee: i64) -> PlanFacts {
    let priced = |(which, minor): (u8, &i64)| PlanLineFacts {
        line: line(which),
        quantity: Quantity::units(1),
        total: money(*minor).to_major(),
    };
    PlanFacts {
        revision,
        lines: (0..).zip(lines).map(priced).collect(),
        discount: Decimal::ZERO,
        tax: Decimal::ZERO,
        shipping: money(fee).to_major(),
        shipping_policy: ShippingPolicy::Last,
        other_tender: Decimal::ZERO,
        total: money(lines.iter().sum::<i64>() + fee).to_major(),
    }
}

fn arrival<N>(number: usize, notice: N, start: bool) -> Arrival<N> {
    Arrival { notice, event_id: format!("event-{number}"), data_path: "$", raw: raw(number), start }
}

/// The bytes of a message.
pub fn raw(number: usize) -> RawMessage {
    RawMessage {
        body: Bytes::from(format!("message {number}")),
        content_type: None,
        message_id: None,
        exchange: "orders".to_owned(),
        routing_key: "order.shipped".to_owned(),
        traceparent: None,
        tracestate: None,
        redelivered: false,
    }
}

/// So many steps after the beginning, on both clocks.
pub fn moment(ticks: u32) -> Moment {
    let beginning: Timestamp = DateTime::from_timestamp(1_767_225_600, 0).expect("the year 2026 can be written");
    let passed = TICK * ticks;
    let wall = beginning + TimeDelta::from_std(passed).expect("some years");
    // The machine has been up for long: an instant before the beginning can be told.
    Moment { wall, boot: BootInstant::from_boot(TICK * FAR + passed) }
}

/// The one account.
pub fn account() -> AccountName {
    AccountName::parse("shop").expect("a name")
}

/// The one order.
pub fn order() -> OrderId {
    OrderId::parse("order").expect("an id")
}

/// A shipment's id.
pub fn shipment(which: u8) -> ShipmentId {
    ShipmentId::parse(&format!("shipment-{which}")).expect("an id")
}

fn line(which: u8) -> LineId {
    LineId::parse(&format!("line-{which}")).expect("an id")
}

/// The one currency.
pub fn currency() -> Currency {
    Currency::parse("EUR").expect("a currency")
}

/// So many cents.
pub fn money(minor: i64) -> Money {
    Money::from_minor(minor, currency()).expect("no amount is negative here")
}

/// The same configuration, to be shared.
pub type Shared = Arc<Setup>;
