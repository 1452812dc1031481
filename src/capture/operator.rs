//! What an operator asks for by hand: a look at a capture now, the end of a capture in doubt, the end of
//! a halt, a capture let through that a cap holds. Who asked and why is written where it can be found again.
//!
//! A look shortens no rule: what it shows is judged as what any other read shows.

use crate::capture::books::Books;
use crate::capture::cap;
use crate::capture::decide::{Call, Context, Note, Reply};
use crate::capture::due;
use crate::capture::event::{OperatorNote, ResolvedBy};
use crate::capture::foreign;
use crate::capture::outcome;
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, CaptureKey};
use crate::capture::settle;
use crate::capture::states::CaptureState;
use crate::ids::CaptureId;

/// What an operator asks for by hand.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Who asks.
    pub by: String,
    /// Why.
    pub why: String,
    /// For what.
    pub what: Intervention,
}

/// What an operator can do by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intervention {
    /// Read a capture's authorization now. The caller holds a permit for the account.
    Look {
        /// The capture.
        capture: CaptureKey,
        /// Its id: that of another one is refused.
        id: CaptureId,
    },
    /// End a capture in doubt.
    Close {
        /// The capture.
        capture: CaptureKey,
        /// Its id: that of another one is refused.
        id: CaptureId,
        /// As what.
        closing: Closing,
    },
    /// Let a capture through that a cap of its account holds.
    Release {
        /// The capture.
        capture: CaptureKey,
        /// Its id: that of another one is refused.
        id: CaptureId,
    },
    /// End the halt of an authorization on which somebody else has captured money.
    Resume {
        /// The authorization.
        authorization: AuthorizationKey,
    },
}

/// How an operator closes a capture in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// The operator has found it at the provider: booked as captured.
    Captured {
        /// The provider's id of it.
        reference: String,
    },
    /// Nobody knows. It keeps its reservation, and is never replayed.
    Unresolved,
}

/// Carries out what an operator asks for, or says why not.
pub(super) fn carry_out(books: &mut Books, operator: Operator, context: Context<'_>) -> Reply {
    let Operator { by, why, what } = operator;
    let note = OperatorNote { who: by, why };
    match what {
        Intervention::Look { capture, id } => look(books, capture, id, &note, context),
        Intervention::Close { capture, id, closing } => close(books, capture, id, closing, note, context),
        Intervention::Release { capture, id } => release(books, capture, id, &note, context),
        Intervention::Resume { authorization } => resume(books, authorization, &note, context),
    }
}

fn refuse(why: impl Into<String>) -> Reply {
    Reply::nothing(Note::NotDone(why.into()))
}

/// Begins a read of the capture's authorization, with the permit that the caller holds.
fn look(books: &mut Books, capture: CaptureKey, id: CaptureId, by: &OperatorNote, context: Context<'_>) -> Reply {
    if !is_the_one(books, capture, id) {
        return refuse("the ledger has no such capture");
    }
    let subject = outcome::subject_of_capture(books, capture);
    if let Some(why) = may_not_look(books, capture, context) {
        return refuse(why).about(subject);
    }
    due::note(books, capture, "look asked for", format!("by {}", by.who), context);
    let record = books.capture(capture);
    if record.state == CaptureState::InDoubt {
        return due::look(books, capture, context).about(subject);
    }
    // Nothing waits for it: whatever it proves is booked, and nothing else follows from it.
    let call = Call::Look { capture, epoch: record.progress.epoch };
    let ticket = due::ticket(books, capture, call);
    Reply { ticket: Some(ticket), ..Reply::nothing(Note::Looking) }.about(subject)
}

fn may_not_look(books: &Books, capture: CaptureKey, context: Context<'_>) -> Option<&'static str> {
    let record = books.capture(capture);
    let authorization = books.authorization(record.authorization);
    let Some(account) = context.policy.accounts.get(&authorization.account) else { return Some(due::NOT_CONFIGURED) };
    // Where there is one capture, only its amount tells whose it is.
    let is_about_another = authorization.planned + authorization.in_flight > 0 && record.state.is_terminal();
    (account.captures == Captures::Single && is_about_another)
        .then_some("another capture of its authorization is under way, and a read would be about that: look at it")
}

/// Ends a capture in doubt by hand.
fn close(
    books: &mut Books,
    capture: CaptureKey,
    id: CaptureId,
    closing: Closing,
    by: OperatorNote,
    context: Context<'_>,
) -> Reply {
    if !is_the_one(books, capture, id) {
        return refuse("the ledger has no such capture");
    }
    let subject = outcome::subject_of_capture(books, capture);
    if let Some(why) = may_not_close(books, capture, &closing, context) {
        return refuse(why).about(subject);
    }
    let (authorization, amount) = (books.capture(capture).authorization, books.capture(capture).amount);
    let note = match closing {
        Closing::Captured { reference } => {
            let detail = format!("as captured, with the provider's {reference}, by {}: {}", by.who, by.why);
            due::note(books, capture, "closed", detail, context);
            outcome::captured(books, capture, ResolvedBy::Operator, Some(reference), context);
            Note::Captured(amount)
        }
        Closing::Unresolved => {
            due::note(books, capture, "closed", format!("as unresolved, by {}: {}", by.who, by.why), context);
            outcome::unresolved(books, capture, by, context);
            Note::Unresolved(amount)
        }
    };
    settle::after_single(books, capture, context);
    due::hand_on(books, authorization, false, context).with_note(note).about(subject)
}

fn may_not_close(books: &Books, capture: CaptureKey, closing: &Closing, context: Context<'_>) -> Option<String> {
    let record = books.capture(capture);
    let authorization = books.authorization(record.authorization);
    let Some(account) = context.policy.accounts.get(&authorization.account) else {
        return Some(due::NOT_CONFIGURED.to_owned());
    };
    let no_answer_after = due::no_answer_after(&authorization.account, context);
    let is_over = record.progress.send_by.is_some_and(|by| context.now.until(by, no_answer_after).is_zero());
    match record.state {
        CaptureState::InDoubt => {}
        CaptureState::Sending if is_over => {}
        CaptureState::Sending => return Some("its request is under way: wait for the answer".to_owned()),
        CaptureState::Planned => return Some("nothing was sent for it: there is no doubt to end".to_owned()),
        CaptureState::Captured | CaptureState::Failed | CaptureState::Unresolved => {
            return Some(format!("its outcome stands: it is {}", record.state.as_str()));
        }
    }
    let is_used = account.captures == Captures::Single && !authorization.captured.is_zero();
    (is_used && matches!(closing, Closing::Captured { .. }))
        .then(|| "its authorization can be captured once, and that capture is in the books".to_owned())
}

/// Lets a capture through that a cap holds.
fn release(books: &mut Books, capture: CaptureKey, id: CaptureId, by: &OperatorNote, context: Context<'_>) -> Reply {
    if !is_the_one(books, capture, id) {
        return refuse("the ledger has no such capture");
    }
    let subject = outcome::subject_of_capture(books, capture);
    let released = cap::release(books, capture, by, context);
    released.unwrap_or_else(|| refuse("no cap holds it: there is nothing to release")).about(subject)
}

/// Ends a halt.
fn resume(books: &mut Books, authorization: AuthorizationKey, by: &OperatorNote, context: Context<'_>) -> Reply {
    if books.authorizations().find(authorization).is_none() {
        return refuse("the ledger has no such authorization");
    }
    let subject = outcome::subject_of_authorization(books, authorization);
    let resumed = foreign::resume(books, authorization, &format!("by {}: {}", by.who, by.why), context);
    resumed.unwrap_or_else(|| refuse("it is not halted: there is nothing to resume")).about(subject)
}

fn is_the_one(books: &Books, capture: CaptureKey, id: CaptureId) -> bool {
    books.captures().find(capture).is_some_and(|record| record.id == id)
}
