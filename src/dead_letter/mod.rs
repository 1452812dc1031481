//! What ended without its money: how its message is read again.
//!
//! Why something is set aside, and whether it may be tried again, is the core's; where it is kept is the
//! ledger's; and what tries it again, at which pace, is the worker's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::capture::decide::{Arrival, Collect, Command, Reject};
use crate::capture::notice::{RawMessage, Rejection, RejectionReason};
use crate::message::{self, Decoded, Notice};

/// The command that a message comes to. It never starts a provider call by itself.
pub fn command_of(raw: RawMessage) -> Command {
    let decoded = catch_unwind(AssertUnwindSafe(|| message::decode(&raw)));
    let decoded = decoded.unwrap_or_else(|_| Err(broken("decoding it failed")));
    let Decoded { event_id, data_path, notice } = match decoded {
        Ok(decoded) => decoded,
        Err(rejection) => return Command::Reject(Box::new(Reject { rejection, raw })),
    };
    match notice {
        Notice::Shipped(notice) => {
            Command::Accept(Box::new(Arrival { notice: *notice, event_id, data_path, raw, start: false }))
        }
        Notice::Authorized(notice) => {
            Command::Register(Box::new(Arrival { notice: *notice, event_id, data_path, raw, start: false }))
        }
        Notice::Cancelled(notice) => {
            Command::Cancel(Box::new(Arrival { notice: *notice, event_id, data_path, raw, start: false }))
        }
    }
}

/// The command that keeps a message which the broker gave up on, with what can be read of whose it is.
pub fn collect(raw: RawMessage) -> Command {
    let (order, shipment) = match command_of(raw.clone()) {
        Command::Accept(arrival) => (Some(arrival.notice.order), Some(arrival.notice.shipment)),
        Command::Register(arrival) => (Some(arrival.notice.order), None),
        Command::Cancel(arrival) => (Some(arrival.notice.order), None),
        Command::Reject(reject) => (reject.rejection.order, reject.rejection.shipment),
        Command::Collect(_)
        | Command::Due(_)
        | Command::Recall(_)
        | Command::Settle(_)
        | Command::Freeze(_)
        | Command::Expire(_)
        | Command::Learn(_)
        | Command::Operator(_)
        | Command::Published(_)
        | Command::Replay(_) => (None, None),
    };
    Command::Collect(Box::new(Collect { raw, order, shipment }))
}

/// A message that cannot be processed for a fault of ours.
pub fn broken(what: &str) -> Rejection {
    Rejection {
        reason: RejectionReason::Invalid,
        path: "$".to_owned(),
        message: format!("{what}: kept as it came, replay it after an upgrade"),
        order: None,
        shipment: None,
        event_id: None,
    }
}
