//! What must hold in each state, worked out from the provider's book, the ledger's rows and what was told.

use std::collections::BTreeSet;

use holdfast::capture::states::CaptureState;

use crate::facts::{Facts, Says, Told};
use crate::ledgers::Ledgers;
use crate::promise::Promise;
use crate::provider::Request;
use crate::setup::Setup;
use crate::world::{Place, World};

/// The promise that a state breaks.
pub fn of(world: &World, setup: &Setup, ledgers: &Ledgers) -> Option<Promise> {
    let facts = ledgers.facts(world.ledger);
    let told: Vec<&Told> = ledgers.outcomes.of(world.told).collect();
    of_provider(world, setup, facts)
        .or_else(|| of_books(world, setup, facts))
        .or_else(|| of_told(world, setup, &told))
        .or_else(|| of_queue(world, facts))
        .or(facts.broken)
}

/// S4 and S12: a request is made of what was committed, and names an amount.
pub fn of_sending(facts: &Facts, request: Request) -> Option<Promise> {
    let intent = facts.capture(request.capture).filter(|capture| capture.was_begun);
    if intent.is_none_or(|capture| capture.amount != request.amount) {
        return Some(Promise::S4);
    }
    (request.amount <= 0).then_some(Promise::S12)
}

/// S1 to S4, over the provider's book.
fn of_provider(world: &World, setup: &Setup, facts: &Facts) -> Option<Promise> {
    let events = &world.hold.events;
    let ours: Vec<_> = events.iter().filter_map(|event| event.capture).collect();
    let distinct: BTreeSet<_> = ours.iter().collect();
    if distinct.len() < ours.len() || setup.rules.single && events.len() > 1 {
        return Some(Promise::S1);
    }
    for event in events {
        let Some(id) = event.capture else { continue };
        match facts.capture(id) {
            None => return Some(Promise::S4),
            Some(intent) if intent.amount != event.amount => return Some(Promise::S2),
            Some(_) => {}
        }
    }
    (world.hold.captured() > setup.held).then_some(Promise::S3)
}

/// S3 and S7, over the ledger: what it holds back and has captured is no more than is held, and what it says
/// is captured is.
fn of_books(world: &World, setup: &Setup, facts: &Facts) -> Option<Promise> {
    let counting = facts.captures.iter().filter(|capture| capture.state != CaptureState::Failed);
    if counting.map(|capture| capture.amount).sum::<i64>() > setup.held {
        return Some(Promise::S3);
    }
    let mut captured = facts.captures.iter().filter(|capture| capture.state == CaptureState::Captured);
    let is_there = |request| world.hold.view().shows(request, setup.rules);
    let is_missing = captured.any(|c| !is_there(Request { capture: c.id, key: 0, amount: c.amount }));
    is_missing.then_some(Promise::S7)
}

/// S6 and S7, over what a consumer was told.
fn of_told(world: &World, setup: &Setup, told: &[&Told]) -> Option<Promise> {
    let outcomes: Vec<_> = told.iter().filter(|told| told.says != Says::Corrected).map(|told| &told.of).collect();
    let distinct: BTreeSet<_> = outcomes.iter().collect();
    if distinct.len() < outcomes.len() {
        return Some(Promise::S6);
    }
    let is_lie = |told: &&Told| match told.says {
        Says::Succeeded => {
            let capture = told.capture.expect("what was captured has a capture");
            !world.hold.view().shows(Request { capture, key: 0, amount: told.amount }, setup.rules)
        }
        Says::Failed => world.hold.events.iter().any(|event| event.capture.is_some() && event.capture == told.capture),
        // It was told before that it had failed.
        Says::Corrected => true,
        Says::Zero | Says::Elsewhere => false,
    };
    told.iter().any(is_lie).then_some(Promise::S7)
}

/// S8 and S9: what is acknowledged is in the ledger, and so is what was told.
fn of_queue(world: &World, facts: &Facts) -> Option<Promise> {
    let acknowledged = (0..world.queue.len()).filter(|number| world.queue[*number] == Place::Acknowledged);
    if acknowledged.map(|number| 1 << number).any(|bit: u32| facts.accepted & bit == 0) {
        return Some(Promise::S8);
    }
    (world.told & !facts.written != 0).then_some(Promise::S9)
}
