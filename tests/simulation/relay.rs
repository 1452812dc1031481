//! The relay in miniature: from the outbox to the consumer, at least once.

use holdfast::capture::decide::Command;
use holdfast::clock::Timestamp;
use holdfast::ledger::Ledger;
use rand::Rng;

use crate::fault::Fault;
use crate::mutant::Mutant;
use crate::worker::now;
use crate::world::{Check, World};

impl World {
    /// Are there events that were not marked as published?
    pub fn has_unpublished(&self) -> bool {
        !self.ledger.tables().unpublished.is_empty()
    }

    /// Looks for them.
    pub fn collect(&mut self) {
        self.crew.to_publish = now(self.ledger.unpublished(0, Timestamp::MAX_UTC, 8)).into();
    }

    /// Publishes one.
    pub fn publish(&mut self) -> Check {
        let row = self.crew.to_publish.pop_front().expect("it can be done");
        if self.mutant == Some(Mutant::MarksFirst) && self.ledger.tables().unpublished.contains_key(&row.row) {
            self.crew.to_mark.push(row.row);
            self.crew.to_publish.push_front(row);
            return self.mark();
        }
        if self.may(Fault::PublishedTwice) && self.rng.random_ratio(1, 30) {
            self.fault(Fault::PublishedTwice, "relay");
            self.consumer.receive(&row, self.is_restored())?;
        }
        self.consumer.receive(&row, self.is_restored())?;
        self.is_news = true;
        self.crew.to_mark.push(row.row);
        Ok(())
    }

    /// Marks what was published, unless the mark is lost.
    pub fn mark(&mut self) -> Check {
        let rows = std::mem::take(&mut self.crew.to_mark);
        if self.may(Fault::MarkLost) && self.rng.random_ratio(1, 15) {
            self.fault(Fault::MarkLost, "relay");
            return Ok(());
        }
        self.run(vec![Command::Published(rows)])
    }
}
