//! What ended without its money, taken up again.

use std::collections::HashSet;

use super::Books;
use crate::capture::changes::Change;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::notice::RawMessage;
use crate::capture::records::{AuthorizationKey, Capture, JobKey, NamedBy, OrderKey, Shipment, ShipmentKey};
use crate::capture::states::ShipmentState;
use crate::ids::DeadLetterId;

impl Books {
    /// A dead letter that a command names, or that is about a shipment which ended without its money.
    pub fn dead_letter(&self, id: DeadLetterId) -> Option<&DeadLetter> {
        self.dead_letters.get(&id).map(|entry| &entry.value)
    }

    /// The same, to be changed.
    pub fn dead_letter_mut(&mut self, id: DeadLetterId) -> Option<&mut DeadLetter> {
        let entry = self.dead_letters.get_mut(&id)?;
        if entry.change == Change::None {
            entry.change = Change::Updated;
        }
        Some(&mut entry.value)
    }

    /// The dead letter of a shipment in its present generation.
    pub fn dead_letter_of(&self, shipment: ShipmentKey) -> Option<&DeadLetter> {
        let record = self.shipment(shipment);
        let order = &self.order(record.order).id;
        self.dead_letter(DeadLetterId::of_shipment(order, &record.id, record.generation))
    }

    /// Takes those of these dead letters for a replay that nobody has dealt with, so that each knows of
    /// the others.
    pub fn claim(&mut self, letters: &HashSet<DeadLetterId>, job: JobKey) {
        let open = |entry: &&mut super::Entry<DeadLetter>| {
            entry.value.state == DeadLetterState::Open && letters.contains(&entry.value.id)
        };
        for entry in self.dead_letters.values_mut().filter(open) {
            entry.value.state = DeadLetterState::Replaying;
            entry.value.job = Some(job);
        }
    }

    /// Shipments of an order that ended without their money, in the order of acceptance.
    pub fn ended_without_money(&self, order: OrderKey) -> Vec<ShipmentKey> {
        let has_ended = |s: &Shipment| s.state.is_terminal() && s.reason.is_some();
        self.shipments.keys_where(self.shipments_of_orders.get(&order), has_ended)
    }

    /// The authorizations of an order, the newest first.
    pub fn authorizations_of(&self, order: OrderKey) -> Vec<AuthorizationKey> {
        let mut keys = self.authorizations_of_orders.get(&order).cloned().unwrap_or_default();
        // One that several orders share belongs to the first of them.
        keys.extend(self.order(order).newest_authorization);
        keys.sort_unstable_by(|one, other| other.cmp(one));
        keys.dedup();
        keys
    }

    /// The capture of a fee in a generation, where it came to one.
    pub fn fee_of(&self, order: OrderKey, number: u32, generation: u32) -> Option<&Capture> {
        let captures = self.captures_of_authorizations.values().flatten().filter_map(|key| self.captures.find(*key));
        let is_it = |capture: &&Capture| {
            let is_fee = matches!(&capture.named_by, NamedBy::Fee(fee) if fee.number == number);
            capture.order == order && capture.generation == generation && is_fee
        };
        captures.filter(is_it).max_by_key(|capture| capture.key)
    }

    /// A shipment that ended without its money begins anew: under the next generation, with the message
    /// that it came with, and what it was given.
    ///
    /// # Panics
    /// When it has not ended so: an outcome stands.
    pub fn start_generation(&mut self, key: ShipmentKey, message: RawMessage) {
        let shipment = self.shipment_mut(key);
        let has_ended = shipment.state.is_terminal() && shipment.reason.is_some();
        assert!(has_ended, "a shipment that is {:?} does not begin anew", shipment.state);
        shipment.generation += 1;
        shipment.state = ShipmentState::Awaiting;
        shipment.capture = None;
        shipment.reason = None;
        shipment.message = Some(message);
    }
}
