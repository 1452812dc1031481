//! Who may send: what is asked of a message before it is read, and the keys for it, which may be changed
//! while the worker runs.

use std::sync::{Arc, PoisonError, RwLock};

use crate::broker::consumer::Delivered;
use crate::capture::decide::{Command, Reject};
use crate::capture::notice::RawMessage;
use crate::dead_letter;
use crate::message;
use crate::message::sender::Rules;
use crate::settings::Notices;

/// What is asked of senders.
pub(super) struct Gate {
    notices: Notices,
    rules: RwLock<Arc<Rules>>,
}

impl Gate {
    /// As the settings have it.
    pub(super) fn new(notices: Notices) -> Self {
        let rules = RwLock::new(Arc::new(notices.rules.clone()));
        Self { notices, rules }
    }

    /// The rules for the next group.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads every key anew that is in a file. One that cannot be used is said aloud, and the one before stays
    /// in use.
    pub(super) fn renew(&self) {
        let (rules, problems) = self.notices.renewed(&self.rules());
        for problem in problems {
            tracing::error!(problem, "a key of notices cannot be read anew: the one before stays in use");
        }
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}

/// The command for a message, where it is from somebody who may send one; else the one that sets it aside.
pub(super) fn command_for(rules: &Rules, delivered: Delivered, read: impl FnOnce(RawMessage) -> Command) -> Command {
    let Delivered { message, claims } = delivered;
    if rules.is_off() {
        return read(message);
    }
    match rules.check(&message.body, &claims) {
        Ok(is_signed) if is_signed && !message::says_its_type(&message) => {
            let why = "a signature is over the body, and the type of plain JSON is outside it: send a CloudEvent";
            refuse(message, why.to_owned())
        }
        Ok(_) => read(message),
        Err(why) => refuse(message, why),
    }
}

fn refuse(raw: RawMessage, why: String) -> Command {
    Command::Reject(Box::new(Reject { rejection: message::unauthenticated(&raw, why), raw }))
}

/// What the broker gave up on, where it is from somebody who may send one.
pub(super) fn collect(rules: &Rules, delivered: Delivered) -> Command {
    command_for(rules, delivered, dead_letter::collect)
}
