//! Registering what a notice says of its authorization and plan: all of it is checked before any of
//! it is written, so a rejected notice registers nothing.

use rust_decimal::Decimal;

use crate::capture::accept::Stop;
use crate::capture::amount::Rules;
use crate::capture::ask;
use crate::capture::books::Books;
use crate::capture::complete;
use crate::capture::decide::{Context, Reply};
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::evidence::ProviderBalance;
use crate::capture::expiry;
use crate::capture::notice::{AuthorizationFacts, PlanFacts, Quantity, RegistrationNotice, ShipmentNotice};
use crate::capture::plan::{LineProgress, Plan};
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, AuthorizationKey, Order, OrderKey, SingleUse};
use crate::capture::restored;
use crate::capture::why::Missing;
use crate::clock::{self, Timestamp};
use crate::ids::OrderId;
use crate::money::Money;

/// What a notice says of its order's authorization and plan.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    order: &'a OrderId,
    authorization: Option<&'a AuthorizationFacts>,
    plan: Option<&'a PlanFacts>,
    amount: Option<Decimal>,
}

impl<'a> Told<'a> {
    pub(super) const fn by_shipment(notice: &'a ShipmentNotice) -> Self {
        let (authorization, plan) = (notice.authorization.as_ref(), notice.plan.as_ref());
        Self { order: &notice.order, authorization, plan, amount: notice.amount }
    }

    pub(super) const fn by_registration(notice: &'a RegistrationNotice) -> Self {
        let (authorization, plan) = (Some(&notice.authorization), notice.plan.as_ref());
        Self { order: &notice.order, authorization, plan, amount: None }
    }
}

/// What a notice will bind to, once it is registered.
pub(super) struct Known {
    authorization: KnownAuthorization,
    /// Is it known how much was authorized, or told now?
    is_amount_told: bool,
    /// A plan to register, with the order's progress in its lines; `None` where the order has it, or
    /// needs none.
    plan: Option<(Plan, Vec<LineProgress>)>,
}

enum KnownAuthorization {
    Registered(AuthorizationKey),
    New(Box<NewAuthorization>),
}

struct NewAuthorization {
    facts: AuthorizationFacts,
    expires_at: Option<Timestamp>,
    expiry_is_derived: bool,
}

impl Known {
    /// The authorization, where it is registered already.
    pub(super) const fn registered(&self) -> Option<AuthorizationKey> {
        match &self.authorization {
            KnownAuthorization::Registered(key) => Some(*key),
            KnownAuthorization::New(_) => None,
        }
    }

    /// Does it bring a plan to be registered?
    pub(super) const fn has_plan(&self) -> bool {
        self.plan.is_some()
    }

    /// What a shipment still waits for, although the rest can be registered: the missing part may come
    /// with another notice.
    pub(super) fn missing(&self, books: &Books, order: &OrderId, is_explicit: bool) -> Option<Missing> {
        let has_plan = || books.order_key(order).is_some_and(|key| books.order(key).plan.is_some());
        if !self.is_amount_told {
            Some(Missing::Authorization)
        } else if !is_explicit && self.plan.is_none() && !has_plan() {
            Some(Missing::Plan)
        } else {
            None
        }
    }
}

/// Checks authorization and plan against what is registered; changes nothing.
pub(super) fn check(books: &Books, told: Told<'_>, context: Context<'_>) -> Result<Known, Stop> {
    let order = books.order_key(told.order).map(|key| books.order(key));
    let authorization = check_authorization(books, order, told.authorization, context)?;
    let (rules, was_known) = match &authorization {
        KnownAuthorization::Registered(key) => {
            (Rules::on(books, *key, context), books.authorization(*key).is_amount_known)
        }
        KnownAuthorization::New(new) => (Rules::of(&new.facts.account, new.facts.currency, context), false),
    };
    let is_amount_told = was_known || told.authorization.is_some_and(|facts| facts.amount.is_some());
    let plan = match told.plan {
        Some(facts) => check_plan(order, facts, rules)?,
        None => None,
    };
    if let Some(major) = told.amount {
        let amount = Money::from_major(major, rules.currency).map_err(|error| Stop::invalid("amount", &error))?;
        check_multiple(amount, "amount", rules)?;
    }
    Ok(Known { authorization, is_amount_told, plan })
}

fn check_authorization(
    books: &Books,
    order: Option<&Order>,
    facts: Option<&AuthorizationFacts>,
    context: Context<'_>,
) -> Result<KnownAuthorization, Stop> {
    let accounts = &context.policy.accounts;
    let Some(facts) = facts else {
        let newest = order.and_then(|order| order.newest_authorization);
        let newest = newest.ok_or(Stop::Await(Missing::Authorization))?;
        return if accounts.contains_key(&books.authorization(newest).account) {
            Ok(KnownAuthorization::Registered(newest))
        } else {
            Err(Stop::Await(Missing::Account))
        };
    };
    let account = accounts.get(&facts.account).ok_or(Stop::Await(Missing::Account))?;
    if let Some(key) = books.authorization_key(&facts.account, &facts.reference) {
        let is_ours = order.is_some_and(|order| order.key == books.authorization(key).order);
        check_registered(books.authorization(key), facts, is_ours || account.captures == Captures::Multiple)?;
        return Ok(KnownAuthorization::Registered(key));
    }
    // Without a word on when it was made: it was before it was told of.
    let made_at = facts.authorized_at.unwrap_or(context.now.wall);
    let derived = account.authorization_lifetime.map(|lifetime| clock::after(made_at, lifetime));
    Ok(KnownAuthorization::New(Box::new(NewAuthorization {
        facts: facts.clone(),
        expires_at: facts.expires_at.or(derived),
        expiry_is_derived: facts.expires_at.is_none() && derived.is_some(),
    })))
}

/// An authorization that is registered stays as it was registered.
fn check_registered(known: &Authorization, facts: &AuthorizationFacts, may_share: bool) -> Result<(), Stop> {
    if !may_share {
        let message = "the authorization belongs to another order: an authorization that is captured once \
                       has one order";
        return Err(Stop::conflict("authorization.reference", message));
    }
    if known.currency != facts.currency {
        let message = format!("the authorization is in {}, the notice says {}", known.currency, facts.currency);
        return Err(Stop::refuse(FailureReason::CurrencyMismatch, message));
    }
    if known.is_amount_known && facts.amount.is_some_and(|amount| amount != known.authorized) {
        let message = "the authorization was registered with another amount, which stands";
        return Err(Stop::conflict("authorization.amount", message));
    }
    Ok(())
}

/// The plan to register and the order's progress in its lines, or `None` where the registered one
/// stands.
fn check_plan(
    order: Option<&Order>,
    facts: &PlanFacts,
    rules: Rules,
) -> Result<Option<(Plan, Vec<LineProgress>)>, Stop> {
    let registered = order.and_then(|order| order.plan.as_ref().zip(Some(order)));
    if registered.is_some_and(|(plan, _)| facts.revision < plan.revision()) {
        return Ok(None);
    }
    let plan = Plan::register(facts, rules.currency)
        .map_err(|problem| Stop::invalid(&format!("plan.{}", problem.path), &problem.message))?;
    if registered.is_none_or(|(registered, _)| *registered != plan) {
        check_multiple(plan.total(), "plan.total", rules)?;
    }
    match registered {
        None => {
            let progress = vec![LineProgress::default(); plan.lines().len()];
            Ok(Some((plan, progress)))
        }
        Some((registered, _)) if *registered == plan => Ok(None),
        Some((registered, _)) if registered.revision() == plan.revision() => {
            let message = "the same revision was registered with another plan, which stands: raise the revision";
            Err(Stop::conflict("plan", message))
        }
        Some((registered, order)) => {
            let progress = revise(registered, &order.progress, &plan)?;
            Ok(Some((plan, progress)))
        }
    }
}

/// Where an account's amounts must be multiples of something, so must what they add up to.
fn check_multiple(amount: Money, path: &str, rules: Rules) -> Result<(), Stop> {
    if rules.allows(amount) {
        return Ok(());
    }
    let quantum = Money::from_minor(rules.quantum, rules.currency).expect("positive");
    Err(Stop::invalid(path, &format!("is no multiple of {quantum}, which the account's amounts must be")))
}

/// The order's progress in the lines of a revised plan, which must have room for what has shipped.
fn revise(registered: &Plan, progress: &[LineProgress], plan: &Plan) -> Result<Vec<LineProgress>, Stop> {
    if registered.currency() != plan.currency() {
        let message = format!("the order's plan is in {}: a revision keeps its currency", registered.currency());
        return Err(Stop::conflict("plan", &message));
    }
    let mut revised = vec![LineProgress::default(); plan.lines().len()];
    for (line, at) in registered.lines().iter().zip(progress) {
        let index = plan.line_index(&line.line);
        let ordered = index.map_or(Quantity::ZERO, |index| plan.lines()[index].ordered);
        if at.shipped > ordered {
            let message = format!(
                "line {}: {} have shipped, the revision has {ordered}: the registered plan stands",
                line.line, at.shipped
            );
            return Err(Stop::conflict("plan.lines", &message));
        }
        if let Some(index) = index {
            let cancelled = at.cancelled.min(ordered.minus(at.shipped));
            revised[index] = LineProgress { shipped: at.shipped, cancelled };
        }
    }
    Ok(revised)
}

/// What was registered, and what of it is news.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied {
    pub(super) order: OrderKey,
    pub(super) authorization: AuthorizationKey,
    /// A plan took the place of another.
    is_revised: bool,
    /// Something was registered that was not known before.
    pub(super) is_news: bool,
}

impl Applied {
    /// The reply, with what follows from what was registered.
    pub(super) fn follow_up(
        self,
        books: &mut Books,
        mut reply: Reply,
        caused_by: Option<&str>,
        context: Context<'_>,
    ) -> Reply {
        if self.is_revised {
            let followed = complete::follow_up(books, self.order, caused_by, context);
            reply.ready = reply.ready.or(followed.ready);
        }
        if reply.ticket.is_none() && reply.ready.is_none() {
            let restored = restored::ready(books, self.authorization);
            reply.ready = restored.or_else(|| ask::ready(books, self.authorization, context));
        }
        reply
    }
}

/// Writes what [`check`] found, and wakes what was waiting for it.
pub(super) fn apply(
    books: &mut Books,
    order: &OrderId,
    facts: Option<&AuthorizationFacts>,
    known: Known,
    context: Context<'_>,
) -> Applied {
    let order = books.open_order(order);
    let mut is_news = false;
    let authorization = match known.authorization {
        KnownAuthorization::Registered(key) => {
            learn_expiry(books, key, facts, context);
            is_news |= learn_amount(books, key, facts);
            ask::ask_if_needed(books, key, None, context);
            key
        }
        KnownAuthorization::New(new) => {
            is_news = true;
            let key = add_authorization(books, order, *new, context);
            ask::ask_if_needed(books, key, facts, context);
            key
        }
    };
    if books.order(order).newest_authorization.is_none_or(|newest| newest < authorization) {
        books.order_mut(order).newest_authorization = Some(authorization);
    }
    let mut is_revised = false;
    if let Some((plan, progress)) = known.plan {
        is_news = true;
        let record = books.order_mut(order);
        is_revised = record.plan.is_some();
        record.progress = progress;
        books.set_plan(order, plan);
    }
    if is_news {
        wake(books, order, context);
    }
    Applied { order, authorization, is_revised, is_news }
}

fn learn_expiry(books: &mut Books, key: AuthorizationKey, facts: Option<&AuthorizationFacts>, context: Context<'_>) {
    let told = facts.and_then(|facts| facts.expires_at);
    if books.authorization(key).learns_expiry(told) {
        let known = books.authorization_mut(key);
        known.expires_at = told;
        known.expiry_is_derived = false;
        due::move_deadline(books, key, context);
    }
}

/// A registered amount stands, unless it was not known at all. Is it news?
fn learn_amount(books: &mut Books, key: AuthorizationKey, facts: Option<&AuthorizationFacts>) -> bool {
    match facts.and_then(|facts| facts.amount) {
        Some(amount) if !books.authorization(key).is_amount_known => {
            let known = books.authorization_mut(key);
            known.authorized = amount;
            known.is_amount_known = true;
            known.ask = None;
            true
        }
        Some(_) | None => false,
    }
}

fn add_authorization(
    books: &mut Books,
    order: OrderKey,
    new: NewAuthorization,
    context: Context<'_>,
) -> AuthorizationKey {
    let NewAuthorization { facts, expires_at, expiry_is_derived } = new;
    let watch = expiry::first_watch(books, &facts.account, expires_at, context);
    books.add_authorization(|key| Authorization {
        key,
        account: facts.account,
        reference: facts.reference,
        order,
        currency: facts.currency,
        authorized: facts.amount.unwrap_or(Money::zero(facts.currency)),
        is_amount_known: facts.amount.is_some(),
        captured: Money::zero(facts.currency),
        reserved: Money::zero(facts.currency),
        excess: Money::zero(facts.currency),
        expires_at,
        expiry_is_derived,
        planned: 0,
        held: 0,
        in_flight: 0,
        unresolved: 0,
        waiting: 0,
        waiting_amount: Money::zero(facts.currency),
        single: SingleUse::Free,
        freeze_at: None,
        reads: 0,
        ask: None,
        epoch: 0,
        provider: ProviderBalance::default(),
        watch,
    })
}

/// Shipments and notices of the order that were waiting are looked at again, in the order of arrival.
pub(super) fn wake(books: &mut Books, order: OrderKey, context: Context<'_>) {
    for shipment in books.awaiting_of(order) {
        books.shipment_mut(shipment).due_at = Some(context.now.wall);
    }
    for kept in books.kept_of(order) {
        books.kept_mut(kept).due_at = Some(context.now.wall);
    }
}
