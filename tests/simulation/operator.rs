//! Operators, who know more than the worker, and never say what they do not know: they close as captured
//! what they have found at the provider, and give up what they have not.

use holdfast::capture::decide::{Closing, Command, Intervention, Operator};
use holdfast::capture::records::{AuthorizationKey, Capped, Capture, ForeignStanding};
use holdfast::capture::states::CaptureState;
use rand::Rng;

use crate::fault::Fault;
use crate::world::{Check, World};

impl World {
    /// Somebody does something by hand: mostly looks, sometimes closes what is in doubt, sometimes lifts a
    /// halt.
    pub fn operate(&mut self) -> Check {
        let halted = self.halted();
        if !halted.is_empty() && self.may(Fault::Resumed) && self.rng.random_ratio(1, 2) {
            let authorization = halted[self.rng.random_range(0..halted.len())];
            self.fault(Fault::Resumed, "halted");
            return self.by_hand(Intervention::Resume { authorization });
        }
        let captures: Vec<Capture> = self.ledger.tables().captures.values().cloned().collect();
        let held: Vec<&Capture> = captures.iter().filter(|capture| capture.is_held()).collect();
        // Where nothing is held, chance is not asked: a world without caps is as it was.
        if !held.is_empty()
            && self.may(Fault::Released)
            && let Some(capture) = held.get(self.rng.random_range(0..held.len().max(4)))
        {
            self.fault(Fault::Released, "held");
            return self.by_hand(Intervention::Release { capture: capture.key, id: capture.id });
        }
        let in_doubt: Vec<&Capture> =
            captures.iter().filter(|capture| capture.state == CaptureState::InDoubt).collect();
        if let Some(capture) = in_doubt.get(self.rng.random_range(0..in_doubt.len().max(4)))
            && self.rng.random_ratio(1, 2)
            && self.may(Fault::ClosedUnresolved)
        {
            return self.close(capture);
        }
        if captures.is_empty() || !self.may(Fault::LookedAt) {
            return Ok(());
        }
        let capture = &captures[self.rng.random_range(0..captures.len())];
        self.fault(Fault::LookedAt, capture.state.as_str());
        self.by_hand(Intervention::Look { capture: capture.key, id: capture.id })
    }

    /// Somebody looks at what waits for an operator, and lets one through now and then; `false` where not. What
    /// waits for time goes on by itself.
    pub fn release_one(&mut self) -> Result<bool, String> {
        let waits = |capture: &&Capture| matches!(capture.capped, Some(Capped::Capture | Capped::Currency));
        let held = self.ledger.tables().captures.values().find(waits).map(|capture| (capture.key, capture.id));
        let Some((capture, id)) = held.filter(|_| self.restoring.is_none()) else { return Ok(false) };
        if !self.rng.random_ratio(1, 32) {
            return Ok(false);
        }
        self.by_hand(Intervention::Release { capture, id }).map(|()| true)
    }

    fn close(&mut self, capture: &Capture) -> Check {
        let name = {
            let tables = self.ledger.tables();
            let record = &tables.authorizations[&capture.authorization];
            (record.account.clone(), record.reference.clone())
        };
        let is_there = self.authorizations[&name].events.iter().any(|event| event.capture == Some(capture.id));
        let closing = if is_there && self.may(Fault::ClosedCaptured) && self.rng.random() {
            self.fault(Fault::ClosedCaptured, "in doubt");
            Closing::Captured { reference: "found".to_owned() }
        } else {
            self.fault(Fault::ClosedUnresolved, if is_there { "in doubt, captured" } else { "in doubt" });
            Closing::Unresolved
        };
        self.by_hand(Intervention::Close { capture: capture.key, id: capture.id, closing })
    }

    fn by_hand(&mut self, what: Intervention) -> Check {
        self.log(|| format!("an operator: {what:?}"));
        let (by, why) = ("olga".to_owned(), "a reason".to_owned());
        self.run(vec![Command::Operator(Box::new(Operator { by, why, what }))])
    }

    fn halted(&self) -> Vec<AuthorizationKey> {
        let tables = self.ledger.tables();
        let is_halted = |standing| standing == Some(ForeignStanding::Halted);
        let halted = tables.authorizations.values();
        let halted = halted.filter(|record| is_halted(record.watch.foreign.map(|foreign| foreign.standing)));
        halted.map(|record| record.key).collect()
    }
}
