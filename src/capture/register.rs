//! Registering what a notice says of its authorization and plan: all of it is checked before any of
//! it is written, so a rejected notice registers nothing.

use crate::capture::accept::Stop;
use crate::capture::books::Books;
use crate::capture::decide::Context;
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::evidence::ProviderBalance;
use crate::capture::expiry;
use crate::capture::notice::{AuthorizationFacts, PlanFacts, RejectionReason, ShipmentNotice};
use crate::capture::plan::{LineProgress, Plan};
use crate::capture::policy::{Captures, Policy};
use crate::capture::records::{Authorization, AuthorizationKey, Order, OrderKey, SingleUse};
use crate::clock::{self, Timestamp};
use crate::money::{Currency, Money};

/// What a notice will bind to, once it is registered.
pub(super) struct Known {
    authorization: KnownAuthorization,
    /// A plan to register; `None` where the order has it, or needs none.
    plan: Option<Plan>,
    /// What the shipment still waits for, although the rest can be registered.
    pub(super) awaits: Option<FailureReason>,
}

enum KnownAuthorization {
    Registered(AuthorizationKey),
    New(Box<NewAuthorization>),
}

struct NewAuthorization {
    facts: AuthorizationFacts,
    authorized: Money,
    expires_at: Option<Timestamp>,
    expiry_is_derived: bool,
}

/// Checks authorization and plan against what is registered; changes nothing.
pub(super) fn check(books: &Books, notice: &ShipmentNotice, policy: &Policy) -> Result<Known, Stop> {
    let order = books.order_key(&notice.order).map(|key| books.order(key));
    let authorization = check_authorization(books, order, notice.authorization.as_ref(), policy)?;
    let currency = match &authorization {
        KnownAuthorization::Registered(key) => books.authorization(*key).currency,
        KnownAuthorization::New(new) => new.facts.currency,
    };
    let plan = match &notice.plan {
        Some(facts) => check_plan(order, facts, currency)?,
        None => None,
    };
    match notice.amount {
        Some(major) => {
            Money::from_major(major, currency).map_err(|error| Stop::Reject {
                reason: RejectionReason::Invalid,
                path: "amount".to_owned(),
                message: error.to_string(),
            })?;
        }
        None if plan.is_none() && order.is_none_or(|order| order.plan.is_none()) => {
            // The authorization is registered all the same: the plan may come with a shipment that
            // names none.
            return Ok(Known { authorization, plan, awaits: Some(FailureReason::UnknownPlan) });
        }
        None => {}
    }
    Ok(Known { authorization, plan, awaits: None })
}

fn check_authorization(
    books: &Books,
    order: Option<&Order>,
    facts: Option<&AuthorizationFacts>,
    policy: &Policy,
) -> Result<KnownAuthorization, Stop> {
    let Some(facts) = facts else {
        let newest = order.and_then(|order| order.newest_authorization);
        let newest = newest.ok_or(Stop::Await(FailureReason::UnknownAuthorization))?;
        let account = &books.authorization(newest).account;
        return if policy.accounts.contains_key(account) {
            Ok(KnownAuthorization::Registered(newest))
        } else {
            Err(Stop::Await(FailureReason::UnknownAccount))
        };
    };
    let account = policy.accounts.get(&facts.account).ok_or(Stop::Await(FailureReason::UnknownAccount))?;
    if let Some(key) = books.authorization_key(&facts.account, &facts.reference) {
        let is_ours = order.is_some_and(|order| order.key == books.authorization(key).order);
        check_registered(books.authorization(key), facts, is_ours || account.captures == Captures::Multiple)?;
        return Ok(KnownAuthorization::Registered(key));
    }
    let authorized = facts.amount.ok_or(Stop::Await(FailureReason::UnknownAuthorization))?;
    let derived = facts.authorized_at.zip(account.authorization_lifetime);
    let derived = derived.map(|(authorized_at, lifetime)| clock::after(authorized_at, lifetime));
    Ok(KnownAuthorization::New(Box::new(NewAuthorization {
        facts: facts.clone(),
        authorized,
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
    if facts.amount.is_some_and(|amount| amount != known.authorized) {
        let message = "the authorization was registered with another amount, which stands";
        return Err(Stop::conflict("authorization.amount", message));
    }
    Ok(())
}

/// The plan to register, or `None` where the registered one stands.
fn check_plan(order: Option<&Order>, facts: &PlanFacts, currency: Currency) -> Result<Option<Plan>, Stop> {
    let registered = order.and_then(|order| order.plan.as_ref());
    if registered.is_some_and(|plan| facts.revision < plan.revision()) {
        return Ok(None);
    }
    let plan = Plan::register(facts, currency).map_err(|problem| Stop::Reject {
        reason: RejectionReason::Invalid,
        path: format!("plan.{}", problem.path),
        message: problem.message,
    })?;
    match registered {
        None => Ok(Some(plan)),
        Some(registered) if *registered == plan => Ok(None),
        Some(registered) if registered.revision() == plan.revision() => {
            let message = "the same revision was registered with another plan, which stands: raise the revision";
            Err(Stop::conflict("plan", message))
        }
        Some(_) => {
            let message = "a plan cannot be revised once it is registered, in this version";
            Err(Stop::conflict("plan.revision", message))
        }
    }
}

/// Writes what [`check`] found, and wakes what was waiting for it.
pub(super) fn apply(
    books: &mut Books,
    notice: &ShipmentNotice,
    known: Known,
    context: Context<'_>,
) -> (OrderKey, AuthorizationKey) {
    let order = books.open_order(&notice.order);
    let mut is_news = false;
    let authorization = match known.authorization {
        KnownAuthorization::Registered(key) => {
            learn_expiry(books, key, notice.authorization.as_ref(), context);
            key
        }
        KnownAuthorization::New(new) => {
            is_news = true;
            add_authorization(books, order, *new, context)
        }
    };
    if books.order(order).newest_authorization.is_none_or(|newest| newest < authorization) {
        books.order_mut(order).newest_authorization = Some(authorization);
    }
    if let Some(plan) = known.plan {
        is_news = true;
        let record = books.order_mut(order);
        record.progress = vec![LineProgress::default(); plan.lines().len()];
        record.plan = Some(plan);
    }
    if is_news {
        wake(books, order, context);
    }
    (order, authorization)
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

fn add_authorization(
    books: &mut Books,
    order: OrderKey,
    new: NewAuthorization,
    context: Context<'_>,
) -> AuthorizationKey {
    let NewAuthorization { facts, authorized, expires_at, expiry_is_derived } = new;
    books.add_authorization(|key| Authorization {
        key,
        account: facts.account,
        reference: facts.reference,
        order,
        currency: facts.currency,
        authorized,
        captured: Money::zero(facts.currency),
        reserved: Money::zero(facts.currency),
        excess: Money::zero(facts.currency),
        expires_at,
        expiry_is_derived,
        planned: 0,
        in_flight: 0,
        waiting: 0,
        waiting_amount: Money::zero(facts.currency),
        single: SingleUse::Free,
        freeze_at: None,
        reads: 0,
        epoch: 0,
        provider: ProviderBalance::default(),
        watch: expiry::first_watch(expires_at, context),
    })
}

/// Shipments of the order that were waiting are looked at again, in the order of acceptance.
fn wake(books: &mut Books, order: OrderKey, context: Context<'_>) {
    for shipment in books.awaiting_of(order) {
        books.shipment_mut(shipment).due_at = Some(context.now.wall);
    }
}
