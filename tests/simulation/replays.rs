//! Operators who try again what ended without its money: one dead letter, or all of an order together,
//! once more what was tried before, and sometimes after the order was authorized anew.

use std::rc::Rc;

use holdfast::capture::dead_letter::{DeadLetter, DeadLetterState};
use holdfast::capture::decide::Command;
use holdfast::capture::notice::{AuthorizationFacts, RegistrationNotice};
use holdfast::capture::records::{Authorization as Record, JobKey};
use holdfast::capture::replay::Replay;
use holdfast::ids::{OrderId, Reference};
use holdfast::message::Notice;
use rand::Rng;

use crate::fault::Fault;
use crate::scenario::Message;
use crate::world::{Check, World};

impl World {
    /// An operator tries something again.
    pub fn replay_some(&mut self) -> Check {
        if self.case.without.contains(&Fault::Replayed) || self.waits_for_registrations() {
            return Ok(());
        }
        let mut letters = self.letters();
        letters.retain(|letter| !self.is_to_be_looked_at(letter));
        if letters.is_empty() || self.replays_left == 0 {
            return Ok(());
        }
        self.replays_left -= 1;
        let chosen = &letters[self.rng.random_range(0..letters.len())];
        let together = self.rng.random_ratio(2, 3);
        let of_order = |letter: &&DeadLetter| {
            letter.id == chosen.id || together && letter.order.is_some() && letter.order == chosen.order
        };
        let chosen: Vec<DeadLetter> = letters.iter().filter(of_order).cloned().collect();
        if let Some(order) = chosen[0].order.clone()
            && self.happens(self.case.dials().anew)
            && !self.case.without.contains(&Fault::AuthorizedAnew)
        {
            self.authorize_anew(&order)?;
        }
        self.fault(Fault::Replayed, chosen[0].state.as_str());
        let job = JobKey::new(i64::from(self.replays_left));
        self.take(&chosen, job);
        self.has_changed();
        let command = |letter: &DeadLetter| {
            let message = letter.raw.as_ref().map(|raw| self.messages[&raw.body].command(false));
            Command::Replay(Box::new(Replay { letter: letter.id, job, message, traceparent: None }))
        };
        let commands = chosen.iter().map(command).collect();
        self.run(commands)
    }

    /// Most often what nobody has dealt with, sometimes anything; in the order of arrival.
    fn letters(&mut self) -> Vec<DeadLetter> {
        let anything = self.rng.random_ratio(1, 6);
        let tables = self.ledger.tables();
        let letters = tables.dead_letters.values();
        let open = letters.filter(|letter| anything || letter.state == DeadLetterState::Open);
        let mut open: Vec<DeadLetter> = open.cloned().collect();
        open.sort_by_key(|letter| (letter.shipment_key, letter.first_seen_at, letter.id));
        open
    }

    /// Of which it is said that its money may have moved, and where no plan says what is left: that was captured together
    /// with others in the lost time, perhaps, and whoever tries it again has to look first. Dense worlds would find nothing
    /// else.
    fn is_to_be_looked_at(&self, letter: &DeadLetter) -> bool {
        let id = letter.id.as_uuid().to_string();
        let told = self.consumer.told().iter().rfind(|told| told.text("dead_letter_id") == id);
        let may_have_moved = told.is_some_and(|told| told.data["money_may_have_moved"] == true);
        let order = self.orders.iter().find(|known| Some(&known.id) == letter.order.as_ref());
        self.case.is_dense && self.is_restored() && may_have_moved && order.is_some_and(|order| order.is_explicit)
    }

    /// As a replay does that begins.
    fn take(&self, chosen: &[DeadLetter], job: JobKey) {
        let mut tables = self.ledger.tables();
        for letter in chosen {
            let known = tables.dead_letters.get_mut(&letter.id).expect("it was found a moment ago");
            if known.state == DeadLetterState::Open {
                (known.state, known.job) = (DeadLetterState::Replaying, Some(job));
            }
        }
    }

    /// Where there are no keys, what was captured in the lost time of a shipment whose notice names no authorization is
    /// not found any more, once the order has a newer one. Dense worlds would find nothing else.
    fn may_be_captured_unknown(&self, order: &OrderId) -> bool {
        let names_none = |message: &Rc<Message>| match &message.notice {
            Notice::Shipped(notice) => notice.order == *order && notice.authorization.is_none(),
            Notice::Authorized(_) | Notice::Cancelled(_) => false,
        };
        let is_once = self.orders.iter().any(|known| known.id == *order && !known.captures_often);
        self.case.is_dense && self.case.has_restores() && is_once && self.messages.values().any(names_none)
    }

    /// The payer has agreed once more: to as much as before, on the same account.
    fn authorize_anew(&mut self, order: &OrderId) -> Check {
        let newest = {
            let tables = self.ledger.tables();
            let known = tables.orders.values().find(|known| known.id == *order);
            known.and_then(|known| known.newest_authorization).map(|key| tables.authorizations[&key].clone())
        };
        let newest = newest.filter(|record| record.is_amount_known && !self.may_be_captured_unknown(order));
        let Some(newest): Option<Record> = newest else { return Ok(()) };
        let name = (newest.account.clone(), newest.reference.clone());
        let Some(held) = self.authorizations.get(&name) else { return Ok(()) };
        let again = held.again(self.clock.truth());
        let reference = Reference::parse(&format!("{}-{}", newest.reference, self.replays_left)).expect("an id");
        self.fault(Fault::AuthorizedAnew, "authorization");
        let facts = AuthorizationFacts {
            account: newest.account.clone(),
            reference: reference.clone(),
            currency: newest.currency,
            amount: Some(again.held),
            authorized_at: Some(self.clock.truth()),
            expires_at: Some(again.expires_at),
        };
        self.authorizations.insert((newest.account, reference.clone()), again);
        let known = self.orders.iter_mut().find(|known| known.id == *order);
        known.expect("it is one of them").references.push(reference.clone());
        let notice = RegistrationNotice { order: order.clone(), authorization: facts, plan: None };
        let notice = Notice::Authorized(Box::new(notice));
        let body = format!("{order} was authorized anew as {reference}");
        let message = Rc::new(Message { at: self.clock.elapsed(), body: body.into(), notice });
        self.messages.insert(message.body.clone(), Rc::clone(&message));
        self.run(vec![message.command(false)])?;
        self.acknowledged.push(message);
        Ok(())
    }
}
