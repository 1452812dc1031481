//! What is to happen in one world: accounts, orders with their authorizations, and the messages about
//! their shipments, with everything that shipment pipelines get wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use holdfast::capture::decide::{Arrival, Command};
use holdfast::capture::notice::{
    AuthorizationFacts, CancellationNotice, CancelledLine, PlanFacts, PlanLineFacts, Quantity, RawMessage,
    RegistrationNotice, ShipmentNotice, ShippedLine, ShippingPolicy,
};
use holdfast::capture::policy::{AccountPolicy, Backoff, Captures, OnExpiry, Policy};
use holdfast::ids::{AccountName, LineId, OrderId, Reference, ShipmentId};
use holdfast::message::Notice;
use holdfast::money::{Currency, Money};
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;

use crate::caps;
use crate::case::{Case, ORDERS};
use crate::clock::truth_at;
use crate::dials::{Dials, Odds};
use crate::fault::{Fault, Tally};
use crate::provider::{Authorization, Rules};

/// The accounts of orders, each as often as it is here: those with an odd number capture once, and those from 2 on take
/// no little amounts.
const WIDE_ON: [usize; 4] = [0, 1, 2, 3];
const DENSE_ON: [usize; 8] = [0, 0, 1, 2, 2, 2, 2, 3];
/// How long a hold lives where nobody says so, at the accounts that capture once.
const LIFETIME: Duration = Duration::from_hours(72);

/// An authorization's name.
pub type Name = (AccountName, Reference);

/// What is to happen.
pub struct Scenario {
    /// The core's rules.
    pub policy: Policy,
    /// The providers' books, as they begin.
    pub authorizations: BTreeMap<Name, Authorization>,
    /// The orders.
    pub orders: Vec<SimOrder>,
    /// The messages, in the order of their publication.
    pub messages: Vec<Message>,
}

/// An order.
pub struct SimOrder {
    /// Its id.
    pub id: OrderId,
    /// What it owes, where its amounts come from a plan that is neither revised nor cancelled.
    pub total: Option<Money>,
    /// What it owes at most, whatever of it is cancelled and whichever of its plans and notices comes first.
    pub most: Money,
    /// Its shipments, those that cannot be captured included.
    pub shipments: Vec<ShipmentId>,
    /// Its authorizations.
    pub references: Vec<Reference>,
    /// Does everything that was ordered ship?
    pub ships_completely: bool,
    /// Can its authorizations be captured several times?
    pub captures_often: bool,
    /// Do its shipments name their amounts?
    pub is_explicit: bool,
}

/// A message on the queue.
#[derive(Clone)]
pub struct Message {
    /// When it is published.
    pub at: Duration,
    /// Its bytes; the same message repeated has the same.
    pub body: Bytes,
    /// What it says.
    pub notice: Notice,
}

impl Message {
    /// The message as it comes to the core.
    pub fn command(&self, start: bool) -> Command {
        match &self.notice {
            Notice::Shipped(notice) => Command::Accept(Box::new(self.arrival(notice, start))),
            Notice::Authorized(notice) => Command::Register(Box::new(self.arrival(notice, false))),
            Notice::Cancelled(notice) => Command::Cancel(Box::new(self.arrival(notice, false))),
        }
    }

    /// Whose permit may be used at once.
    pub fn account(&self) -> Option<&AccountName> {
        match &self.notice {
            Notice::Shipped(notice) => notice.authorization.as_ref().map(|facts| &facts.account),
            Notice::Authorized(_) | Notice::Cancelled(_) => None,
        }
    }

    fn arrival<N: Clone>(&self, notice: &N, start: bool) -> Arrival<N> {
        Arrival {
            notice: notice.clone(),
            event_id: String::from_utf8_lossy(&self.body).into_owned(),
            data_path: "$.data",
            raw: self.raw(),
            start,
        }
    }

    fn raw(&self) -> RawMessage {
        RawMessage {
            body: self.body.clone(),
            content_type: None,
            message_id: None,
            exchange: "orders".to_owned(),
            routing_key: "order.shipped".to_owned(),
            traceparent: None,
            tracestate: None,
            redelivered: false,
        }
    }
}

impl Scenario {
    /// The scenario of a case. Each order is as it is whether the others take part or not.
    pub fn random(case: &Case, tally: &mut Tally) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(case.seed);
        let accounts = accounts(&mut rng);
        let mut caps = caps::of_world(case.seed);
        let configured = accounts.iter().filter(|account| account.is_configured);
        let policies = configured.map(|account| {
            let policy = AccountPolicy { caps: caps(), ..account.policy() };
            (account.name.clone(), policy)
        });
        let policies = policies.collect();
        let mut scenario = Self {
            policy: policy(policies),
            authorizations: BTreeMap::new(),
            orders: Vec::new(),
            messages: Vec::new(),
        };
        for number in 0..ORDERS {
            let mut rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
            if !case.orders.contains(&number) {
                continue;
            }
            let unusual = rng.random_ratio(1, 40);
            let usual = if case.is_dense { &DENSE_ON[..] } else { &WIDE_ON };
            let account = &accounts[if unusual { 4 } else { usual[rng.random_range(0..usual.len())] }];
            // The second authorization of a dense world may be on another account.
            let second = if case.is_dense && rng.random_ratio(1, 4) { &accounts[0] } else { account };
            let order = Draft::random(&mut rng, number, [account, second], case.dials());
            let faults = Disturbance { tally, without: &case.without, dials: case.dials() };
            scenario.add_order(&mut rng, order, account, faults);
        }
        scenario.messages.sort_by_key(|message| message.at);
        scenario
    }

    fn add_order(&mut self, rng: &mut impl Rng, mut order: Draft, account: &SimAccount, mut faults: Disturbance<'_>) {
        let mut messages = order.messages(rng);
        for (name, authorization) in order.holds.drain(..) {
            self.authorizations.insert(name, authorization);
        }
        faults.disturb(rng, &mut messages);
        let most = most(&messages);
        let most = Money::from_major(most, order.currency).expect("amounts of the currency");
        self.messages.append(&mut messages);
        self.orders.push(SimOrder {
            id: order.id,
            total: (!order.is_explicit && order.changes == 0).then_some(order.total),
            most,
            shipments: order.shipments,
            references: order.facts.into_iter().map(|facts| facts.reference).collect(),
            ships_completely: order.ships_completely,
            captures_often: account.captures() == Captures::Multiple,
            is_explicit: order.is_explicit,
        });
    }
}

/// What the notices of an order come to: by the most of its plans, or with amounts of their own.
fn most(messages: &[Message]) -> Decimal {
    let mut amounts: BTreeMap<&ShipmentId, Decimal> = BTreeMap::new();
    let mut by_plan = Decimal::ZERO;
    for message in messages {
        let plan = match &message.notice {
            Notice::Shipped(notice) => {
                let known = amounts.entry(&notice.shipment).or_default();
                *known = (*known).max(notice.amount.unwrap_or_default());
                notice.plan.as_ref()
            }
            Notice::Authorized(notice) => notice.plan.as_ref(),
            Notice::Cancelled(_) => None,
        };
        by_plan = by_plan.max(plan.map_or(Decimal::ZERO, |plan| plan.total));
    }
    by_plan.max(amounts.values().sum())
}

fn policy(accounts: BTreeMap<AccountName, AccountPolicy>) -> Policy {
    Policy {
        deadline_margin: Duration::from_hours(2),
        derived_deadline_margin: Duration::from_hours(24),
        expiring_leads: [48, 12, 1].map(Duration::from_hours).to_vec(),
        final_grace: Duration::from_mins(15),
        quiet: Duration::from_mins(15),
        awaiting_max: Duration::from_hours(24),
        awaiting_check: Duration::from_mins(15),
        send_within: Duration::from_secs(10),
        parked_for: Duration::from_mins(5),
        retry_after_max: Duration::from_hours(1),
        backoff: Backoff {
            initial: Duration::from_millis(500),
            max: Duration::from_mins(15),
            multiplier: 2.0,
            jitter: 0.5,
        },
        look_after: [2, 5, 15, 60, 300, 900, 3_600].map(Duration::from_secs).to_vec(),
        accounts,
    }
}

/// An account, and how its provider behaves.
struct SimAccount {
    name: AccountName,
    rules: Rules,
    is_configured: bool,
    minimum: Option<Decimal>,
}

impl SimAccount {
    const fn captures(&self) -> Captures {
        match self.rules {
            Rules::Several { .. } => Captures::Multiple,
            Rules::Once { .. } => Captures::Single,
        }
    }

    fn policy(&self) -> AccountPolicy {
        let (resend_window, authorization_lifetime) = match self.captures() {
            Captures::Multiple => (Some(Duration::from_mins(15)), None),
            Captures::Single => (None, Some(LIFETIME)),
        };
        AccountPolicy {
            captures: self.captures(),
            resend_window,
            timeout: Duration::from_secs(30),
            tells_expiry: self.captures() == Captures::Multiple,
            authorization_lifetime,
            on_expiry: match self.captures() {
                Captures::Multiple => OnExpiry::Void,
                Captures::Single => OnExpiry::MayCaptureInFull,
            },
            quantum: None,
            minimum: self.minimum,
            caps: Vec::new(),
        }
    }
}

fn accounts(rng: &mut impl Rng) -> Vec<SimAccount> {
    let mut accounts = Vec::new();
    for number in 0..2 {
        let name = |kind: &str| AccountName::parse(&format!("{kind}-{number}")).expect("an id");
        // The second of each takes no less than 20 of whatever it is.
        let minimum = (number == 1).then(|| Decimal::from(20));
        accounts.push(SimAccount { name: name("several"), rules: Rules::several(rng), is_configured: true, minimum });
        accounts.push(SimAccount { name: name("once"), rules: Rules::once(rng), is_configured: true, minimum });
    }
    let name = AccountName::parse("nobody").expect("an id");
    accounts.push(SimAccount { name, rules: Rules::several(rng), is_configured: false, minimum: None });
    accounts
}

/// An order in the making.
struct Draft {
    dials: &'static Dials,
    id: OrderId,
    is_explicit: bool,
    ships_completely: bool,
    says_final: bool,
    /// Revisions and cancellations.
    changes: u32,
    currency: Currency,
    total: Money,
    plan: PlanFacts,
    facts: Vec<AuthorizationFacts>,
    holds: Vec<(Name, Authorization)>,
    shipments: Vec<ShipmentId>,
}

impl Draft {
    fn random(rng: &mut impl Rng, number: usize, [account, second]: [&SimAccount; 2], dials: &'static Dials) -> Self {
        let code = ["EUR", "EUR", "JPY", "KWD"][rng.random_range(0..4)];
        let currency = Currency::parse(code).expect("a currency");
        let (plan, total) = random_plan(rng, currency, dials.line_max);
        let mut draft = Self {
            dials,
            id: OrderId::parse(&format!("ord-{number}")).expect("an id"),
            is_explicit: happens(rng, dials.explicit),
            ships_completely: rng.random_ratio(3, 4),
            says_final: happens(rng, dials.says_final),
            changes: 0,
            currency,
            total,
            plan,
            facts: Vec::new(),
            holds: Vec::new(),
            shipments: Vec::new(),
        };
        draft.authorize(rng, number, account);
        if account.captures() == Captures::Multiple && happens(rng, dials.second) {
            draft.authorize(rng, number, second);
        }
        draft
    }

    /// Holds money for the order: what it owes, mostly.
    fn authorize(&mut self, rng: &mut impl Rng, number: usize, account: &SimAccount) {
        let reference = Reference::parse(&format!("auth-{number}-{}", self.facts.len())).expect("an id");
        let minor = self.total.minor();
        let held = match rng.random_range(0..8) {
            0 => minor + 1 + minor / 10,
            1 => (minor - minor / 3).max(1),
            // What is captured twice is not to be kept from it by the hold.
            2..6 if self.dials.has_room => 2 * minor.max(1),
            _ => minor.max(1),
        };
        let held = Money::from_minor(held, self.currency).expect("positive");
        let authorized_at = truth_at(Duration::ZERO) - TimeDelta::minutes(rng.random_range(0..60));
        let is_derived = account.captures() == Captures::Single && rng.random_ratio(1, 4);
        let expires_at = if is_derived {
            authorized_at + TimeDelta::from_std(LIFETIME).expect("72 h")
        } else {
            truth_at(Duration::ZERO) + TimeDelta::minutes(rng.random_range(30..72 * 60))
        };
        let told = match account.captures() {
            Captures::Multiple if rng.random_ratio(1, 3) => None,
            // What the shop believes is a little off; the provider tells the truth later.
            Captures::Multiple if rng.random_ratio(1, 3) => {
                Some(expires_at + TimeDelta::minutes(rng.random_range(-30..30)))
            }
            Captures::Single if is_derived => None,
            Captures::Multiple | Captures::Single => Some(expires_at),
        };
        let approved_at = if rng.random_ratio(1, 10) { TimeDelta::minutes(20) } else { TimeDelta::minutes(-60) };
        let approved_at = truth_at(Duration::ZERO) + approved_at;
        if account.is_configured {
            let name = (account.name.clone(), reference.clone());
            self.holds.push((name, Authorization::new(account.rules, held, approved_at, expires_at)));
        }
        self.facts.push(AuthorizationFacts {
            account: account.name.clone(),
            reference,
            currency: self.currency,
            amount: rng.random_ratio(9, 10).then_some(held),
            authorized_at: Some(authorized_at),
            expires_at: told,
        });
    }

    /// One message per shipment, in the order in which they leave.
    fn messages(&mut self, rng: &mut impl Rng) -> Vec<Message> {
        let parcels = self.pack(rng);
        let registers_early = happens(rng, self.dials.tells_early);
        let is_registered = happens(rng, self.dials.registered);
        let last = parcels.len() - 1;
        let mut at = Duration::from_secs(rng.random_range(0..self.dials.published_within.as_secs()));
        let mut messages = Vec::new();
        for (index, lines) in parcels.into_iter().enumerate() {
            let shipment = ShipmentId::parse(&format!("shp-{index}")).expect("an id");
            self.shipments.push(shipment.clone());
            let tells = !is_registered && (index == 0 || !registers_early);
            let facts = if index == last { self.facts.last() } else { self.facts.first() };
            let amount = self.is_explicit.then(|| self.total.minor() / i64::try_from(last + 2).expect("a few"));
            let amount = amount.map(|minor| Money::from_minor(minor, self.currency).expect("positive").to_major());
            messages.push(Message {
                at,
                body: Bytes::from(format!("{}/{shipment}", self.id)),
                notice: Notice::Shipped(Box::new(ShipmentNotice {
                    order: self.id.clone(),
                    shipment,
                    is_final: self.says_final && index == last,
                    lines: if amount.is_some() { Vec::new() } else { lines },
                    amount,
                    authorization: facts.filter(|_| tells).cloned(),
                    plan: (tells && amount.is_none()).then(|| self.plan.clone()),
                })),
            });
            at += Duration::from_secs(rng.random_range(0..self.dials.leaves_within));
        }
        if is_registered {
            for (number, facts) in self.facts.clone().into_iter().enumerate() {
                let plan = (!self.is_explicit).then(|| self.plan.clone());
                let notice = RegistrationNotice { order: self.id.clone(), authorization: facts, plan };
                let notice = Notice::Authorized(Box::new(notice));
                messages.push(self.companion(rng, at, &format!("authorized-{number}"), notice));
            }
        }
        for revision in self.dials.revisions {
            if self.is_explicit || !happens(rng, self.dials.revised) {
                break;
            }
            self.changes += 1;
            let (authorization, plan) = (self.facts[0].clone(), Some(self.revised(rng, *revision)));
            let notice = RegistrationNotice { order: self.id.clone(), authorization, plan };
            let what = format!("revised-{revision}");
            messages.push(self.companion(rng, at, &what, Notice::Authorized(Box::new(notice))));
        }
        if happens(rng, self.dials.cancelled) {
            self.changes += 1;
            let line = |line: &PlanLineFacts, units| CancelledLine { line: line.line.clone(), cancelled: units };
            let some =
                |rng: &mut _| self.plan.lines.iter().map(|l| line(l, Quantity::units(random_units(rng)))).collect();
            let lines = rng.random::<bool>().then(|| some(rng));
            let notice = CancellationNotice { order: self.id.clone(), lines };
            messages.push(self.companion(rng, at, "cancelled", Notice::Cancelled(Box::new(notice))));
        }
        messages
    }

    /// A message beside those of the shipments, some time before the last of them or a little later.
    fn companion(&self, rng: &mut impl Rng, last: Duration, what: &str, notice: Notice) -> Message {
        let at = Duration::from_secs(rng.random_range(0..last.as_secs() + self.dials.leaves_within));
        Message { at, body: Bytes::from(format!("{}/{what}", self.id)), notice }
    }

    /// The plan with other prices, and perhaps with more or fewer units of a line.
    fn revised(&self, rng: &mut impl Rng, revision: u32) -> PlanFacts {
        let major = |minor: i64| Money::from_minor(minor, self.currency).expect("not negative").to_major();
        let mut plan = PlanFacts { revision, discount: Decimal::ZERO, ..self.plan.clone() };
        for line in &mut plan.lines {
            line.total = major(rng.random_range(1..self.dials.line_max));
            if rng.random_ratio(1, 4) {
                line.quantity = Quantity::units(random_units(rng));
            }
        }
        plan.total = plan.lines.iter().map(|line| line.total).sum::<Decimal>() + plan.shipping;
        plan
    }

    /// Splits the order's units over parcels; some orders never ship completely, some too much.
    fn pack(&self, rng: &mut impl Rng) -> Vec<Vec<ShippedLine>> {
        let mut units: Vec<LineId> = Vec::new();
        for line in &self.plan.lines {
            let count = usize::try_from(line.quantity.millionths() / 1_000_000).expect("a few units");
            units.extend(std::iter::repeat_n(line.line.clone(), count));
        }
        units.shuffle(rng);
        if !self.ships_completely && units.len() > 1 {
            units.pop();
        }
        let parcels = rng.random_range(1..=units.len().min(4));
        let mut packed = vec![BTreeMap::<LineId, u32>::new(); parcels];
        for (index, unit) in units.iter().enumerate() {
            let parcel = if index < parcels { index } else { rng.random_range(0..parcels) };
            *packed[parcel].entry(unit.clone()).or_default() += 1;
        }
        if !self.ships_completely && rng.random_ratio(1, 3) {
            *packed[parcels - 1].entry(units[0].clone()).or_default() += 9;
        }
        let line = |(line, units)| ShippedLine { line, quantity: Quantity::units(units) };
        packed.into_iter().map(|parcel| parcel.into_iter().map(line).collect()).collect()
    }
}

fn happens(rng: &mut impl Rng, (times, of): Odds) -> bool {
    rng.random_ratio(times, of)
}

fn random_units(rng: &mut impl Rng) -> u32 {
    rng.random_range(1..=4)
}

fn random_plan(rng: &mut impl Rng, currency: Currency, line_max: i64) -> (PlanFacts, Money) {
    let major = |minor: i64| Money::from_minor(minor, currency).expect("not negative").to_major();
    let mut goods = 0;
    let lines = (0..rng.random_range(1..=3)).map(|index| {
        let total = if rng.random_ratio(1, 10) { 0 } else { rng.random_range(1..line_max) };
        goods += total;
        let line = LineId::parse(&format!("l{index}")).expect("an id");
        PlanLineFacts { line, quantity: Quantity::units(rng.random_range(1..=4)), total: major(total) }
    });
    let lines: Vec<PlanLineFacts> = lines.collect();
    let discount = if goods > 0 && rng.random_ratio(1, 3) { rng.random_range(0..goods) } else { 0 };
    let shipping = if rng.random_ratio(1, 2) { rng.random_range(0..900) } else { 0 };
    let total = goods - discount + shipping;
    let plan = PlanFacts {
        revision: 1,
        lines,
        discount: major(discount),
        tax: Decimal::ZERO,
        shipping: major(shipping),
        shipping_policy: [ShippingPolicy::Prorate, ShippingPolicy::First, ShippingPolicy::Last][rng.random_range(0..3)],
        other_tender: Decimal::ZERO,
        total: major(total),
    };
    (plan, Money::from_minor(total, currency).expect("not negative"))
}

/// Adds what pipelines do: messages twice, late, and with other content.
struct Disturbance<'a> {
    tally: &'a mut Tally,
    without: &'a BTreeSet<Fault>,
    dials: &'a Dials,
}

impl Disturbance<'_> {
    fn disturb(&mut self, rng: &mut impl Rng, messages: &mut Vec<Message>) {
        for index in 0..messages.len() {
            if happens(rng, self.dials.duplicate) {
                let again = messages[index].clone();
                let at = again.at + Duration::from_secs(rng.random_range(0..90_000));
                if self.happens(Fault::Duplicate) {
                    messages.push(Message { at, ..again });
                }
            }
            if happens(rng, self.dials.conflict) {
                let by = Duration::from_secs(rng.random_range(0..7_200));
                if let Some(other) = contradicting(&messages[index], by)
                    && self.happens(Fault::Conflict)
                {
                    messages.push(other);
                }
            }
            if happens(rng, self.dials.late) {
                let by = Duration::from_secs(rng.random_range(0..90_000));
                if self.happens(Fault::Late) {
                    messages[index].at += by;
                }
            }
        }
    }

    fn happens(&mut self, fault: Fault) -> bool {
        let happens = !self.without.contains(&fault);
        if happens {
            self.tally.note(fault, "broker");
        }
        happens
    }
}

/// The same shipment with other content, a while later.
fn contradicting(message: &Message, by: Duration) -> Option<Message> {
    let mut other = message.clone();
    let Notice::Shipped(notice) = &mut other.notice else { return None };
    match (&mut notice.amount, notice.lines.first_mut()) {
        (Some(amount), _) => *amount += *amount,
        (None, Some(line)) => line.quantity = line.quantity.plus(Quantity::units(1)),
        (None, None) => return None,
    }
    other.body = Bytes::from([&other.body[..], b"/changed"].concat());
    other.at += by;
    Some(other)
}
