//! Which records of the books belong together.

use std::collections::HashSet;

use super::Books;
use crate::capture::records::{AuthorizationKey, Capture, CaptureKey, KeptKey, OrderKey, Shipment, ShipmentKey};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::ids::CaptureId;

impl Books {
    /// Shipments that wait for the single capture of an authorization, in the order of acceptance.
    pub fn waiting_on(&self, authorization: AuthorizationKey) -> Vec<ShipmentKey> {
        self.waiting_for(self.authorization(authorization).order, authorization)
    }

    /// Shipments that a capture covers, in the order of acceptance.
    pub fn covered_by(&self, capture: CaptureKey) -> Vec<ShipmentKey> {
        let order = self.capture(capture).order;
        let is_covered = |s: &Shipment| s.capture == Some(capture) && s.state == ShipmentState::Covered;
        self.shipments.keys_where(self.shipments_of_orders.get(&order), is_covered)
    }

    /// Every shipment of a capture, whatever became of it.
    pub fn shipments_of(&self, capture: CaptureKey) -> Vec<ShipmentKey> {
        let order = self.capture(capture).order;
        self.shipments.keys_where(self.shipments_of_orders.get(&order), |s| s.capture == Some(capture))
    }

    /// W3C trace contexts of the messages of these shipments, in their order.
    pub fn traces_of(&self, shipments: &[ShipmentKey]) -> Vec<String> {
        let message = |key: &ShipmentKey| self.shipment(*key).message.as_ref();
        shipments.iter().filter_map(|key| message(key)?.traceparent.clone()).collect()
    }

    /// Shipments of an order that wait for something to become known.
    pub fn awaiting_of(&self, order: OrderKey) -> Vec<ShipmentKey> {
        self.shipments.keys_where(self.shipments_of_orders.get(&order), |s| s.state == ShipmentState::Awaiting)
    }

    /// The authorizations on which shipments of an order wait to be captured with others.
    pub fn collecting_for(&self, order: OrderKey) -> Vec<AuthorizationKey> {
        let is_waiting = |s: &Shipment| s.state == ShipmentState::Waiting;
        let waiting = self.shipments.keys_where(self.shipments_of_orders.get(&order), is_waiting);
        let mut keys: Vec<_> = waiting.into_iter().filter_map(|key| self.shipment(key).authorization).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Shipments of an order that wait on an authorization, in the order of acceptance.
    pub fn waiting_for(&self, order: OrderKey, authorization: AuthorizationKey) -> Vec<ShipmentKey> {
        let is_waiting = |s: &Shipment| s.authorization == Some(authorization) && s.state == ShipmentState::Waiting;
        self.shipments.keys_where(self.shipments_of_orders.get(&order), is_waiting)
    }

    /// Shipments of whichever order that wait on an authorization, in the order of acceptance.
    pub fn all_waiting_on(&self, authorization: AuthorizationKey) -> Vec<ShipmentKey> {
        let orders: Vec<OrderKey> = self.shipments_of_orders.keys().copied().collect();
        let mut keys: Vec<_> = orders.into_iter().flat_map(|order| self.waiting_for(order, authorization)).collect();
        keys.sort_unstable();
        keys
    }

    /// Notices about an order that wait, in the order of arrival.
    pub fn kept_of(&self, order: OrderKey) -> Vec<KeptKey> {
        self.kept.keys_where(self.kept_of_orders.get(&order), |kept| kept.due_at.is_some())
    }

    /// Captures of an authorization whose end is not known: open, or closed by hand without an answer.
    pub fn undecided_on(&self, authorization: AuthorizationKey) -> Vec<CaptureKey> {
        let is_unresolved = |c: &Capture| c.state == CaptureState::Unresolved && c.corrected_at.is_none();
        let captures = self.captures_of_authorizations.get(&authorization);
        self.captures.keys_where(captures, |c| !c.state.is_terminal() || is_unresolved(c))
    }

    /// Captures of an authorization that were closed by hand without an answer, and of which none has
    /// come since.
    pub fn unresolved_on(&self, authorization: AuthorizationKey) -> Vec<CaptureKey> {
        let captures = self.captures_of_authorizations.get(&authorization);
        self.captures.keys_where(captures, |c| c.state == CaptureState::Unresolved && c.corrected_at.is_none())
    }

    /// The ids of all loaded captures of an authorization.
    pub fn ids_on(&self, authorization: AuthorizationKey) -> HashSet<CaptureId> {
        let captures = self.captures_of_authorizations.get(&authorization).into_iter().flatten();
        captures.filter_map(|key| self.captures.find(*key)).map(|capture| capture.id).collect()
    }

    /// How many open captures of an authorization are loaded.
    pub fn open_on(&self, authorization: AuthorizationKey) -> usize {
        let captures = self.captures_of_authorizations.get(&authorization).into_iter().flatten();
        captures.filter(|key| self.captures.find(**key).is_some_and(|c| !c.state.is_terminal())).count()
    }

    /// Planned captures of an authorization, in their turn.
    pub fn planned_on(&self, authorization: AuthorizationKey) -> Vec<CaptureKey> {
        let captures = self.captures_of_authorizations.get(&authorization);
        self.captures.keys_where(captures, |c| c.state == CaptureState::Planned)
    }
}
