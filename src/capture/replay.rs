//! Trying again what ended without its money. Nothing is copied and nothing is sent round: a shipment
//! begins its next generation, and a message that never became one is accepted as if it came now.
//!
//! Whether it may be tried again is `way`'s; here is what is done then. Replaying twice is harmless:
//! whatever a replay has come to is not open any more.

mod room;
mod way;

use crate::capture::accept;
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::dead_letter::{DeadLetter, DeadLetterState};
use crate::capture::decide::{self, Arrival, Command, Context, Note, Reply, Subject};
use crate::capture::due;
use crate::capture::fee;
use crate::capture::outcome;
use crate::capture::policy::Captures;
use crate::capture::records::{AuthorizationKey, CaptureKey, JobKey, ShipmentKey};
use crate::capture::restored::found;
use crate::capture::small;
use crate::ids::DeadLetterId;
use crate::money::Money;
use way::Way;

/// A dead letter to be tried again.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Which.
    pub letter: DeadLetterId,
    /// For which replay.
    pub job: JobKey,
    /// What its message comes to when it is read today; `None` where none is kept.
    pub message: Option<Command>,
    /// W3C trace context of the replay, where it is traced: what follows belongs there.
    pub traceparent: Option<String>,
}

/// What a replay of a dead letter has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// What may be captured now; `None` where that is told of another dead letter of the same batch, or
    /// where the message is not about money.
    pub amount: Option<Money>,
    /// How many shipments began anew with it.
    pub shipments: usize,
}

/// Why a dead letter is not replayed. It stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyNot {
    /// Which kind of reason.
    pub kind: WhyNotKind,
    /// In words, with what to do instead.
    pub message: String,
}

/// The closed list of reasons for which a dead letter is not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WhyNotKind {
    /// Somebody decided that it may be forgotten.
    Discarded,
    /// It was replayed before.
    AlreadyReplayed,
    /// Another replay has taken it.
    InAnotherReplay,
    /// Its money was captured after all.
    Captured,
    /// Somebody else captured on its authorization, or may have.
    CapturedElsewhere,
    /// An operator closed its capture without an answer.
    Unresolved,
    /// What it is about is not known here.
    Unknown,
    /// The whole message is not kept.
    MessageLost,
    /// It would be set aside again.
    StillRejected,
    /// What it lacked is still not known.
    StillUnknown,
    /// It would be refused again.
    StillRefused,
    /// No authorization is left to take it from.
    NoOpenAuthorization,
    /// What became of its authorization is not known yet.
    EndUnknown,
    /// The authorization's one capture is under way.
    CaptureUnderWay,
    /// The open authorization has too little left.
    ExceedsAuthorization,
    /// The open authorization is in another currency.
    CurrencyMismatch,
    /// It is less than the account's minimum.
    BelowMinimum,
    /// Other shipments would be left out for ever.
    OthersLeftOut,
    /// A part of its batch was discarded.
    BatchDiscarded,
}

impl WhyNotKind {
    /// The word in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::AlreadyReplayed => "already_replayed",
            Self::InAnotherReplay => "in_another_replay",
            Self::Captured => "captured",
            Self::CapturedElsewhere => "captured_elsewhere",
            Self::Unresolved => "unresolved",
            Self::Unknown => "unknown",
            Self::MessageLost => "message_lost",
            Self::StillRejected => "still_rejected",
            Self::StillUnknown => "still_unknown",
            Self::StillRefused => "still_refused",
            Self::NoOpenAuthorization => "no_open_authorization",
            Self::EndUnknown => "end_unknown",
            Self::CaptureUnderWay => "capture_under_way",
            Self::ExceedsAuthorization => "exceeds_authorization",
            Self::CurrencyMismatch => "currency_mismatch",
            Self::BelowMinimum => "below_minimum",
            Self::OthersLeftOut => "others_left_out",
            Self::BatchDiscarded => "batch_discarded",
        }
    }
}

impl WhyNot {
    fn new(kind: WhyNotKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// What became of one dead letter in a replay, for the replay's own record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRecord {
    /// The replay.
    pub job: JobKey,
    /// The dead letter.
    pub letter: DeadLetterId,
    /// What became of it.
    pub result: ReplayResult,
}

/// What became of a dead letter in a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayResult {
    /// A shipment, in the generation that tells how it ends.
    Shipment(ShipmentKey, u32),
    /// A capture of what an order owes beyond its shipments' amounts.
    Fee(CaptureKey),
    /// A notice was accepted that is about no money, or whose shipment was accepted before.
    Accepted,
    /// Nothing.
    Not(WhyNot),
}

/// Tries a dead letter again, or says why not.
pub(super) fn replay(books: &mut Books, replay: Replay, context: Context<'_>) -> Reply {
    let Replay { letter: id, job, message, traceparent } = replay;
    let Some(letter) = books.dead_letter(id).cloned() else { return Reply::nothing(Note::Nothing) };
    let subject = subject(&letter);
    let (result, reply) = match try_again(books, &letter, message, &Again { job, traceparent }, context) {
        Ok(done) => done,
        Err(why) => {
            if letter.state == DeadLetterState::Replaying && letter.job == Some(job) {
                settle_letter(books, id, DeadLetterState::Open, None);
            }
            (ReplayResult::Not(why.clone()), Reply::nothing(Note::NotReplayed(why)))
        }
    };
    books.replays.push(ReplayRecord { job, letter: id, result });
    reply.about(subject)
}

/// What begins anew with a replay is marked with.
struct Again {
    job: JobKey,
    traceparent: Option<String>,
}

fn try_again(
    books: &mut Books,
    letter: &DeadLetter,
    message: Option<Command>,
    again: &Again,
    context: Context<'_>,
) -> Result<(ReplayResult, Reply), WhyNot> {
    let job = again.job;
    match letter.state {
        DeadLetterState::Discarded => {
            return Err(WhyNot::new(WhyNotKind::Discarded, "it was discarded: restore it first"));
        }
        DeadLetterState::Replayed if letter.job == Some(job) => return Ok(with_its_batch(letter)),
        DeadLetterState::Replayed => {
            return Err(WhyNot::new(WhyNotKind::AlreadyReplayed, "it was replayed before: see its order"));
        }
        DeadLetterState::Replaying if letter.job != Some(job) => {
            return Err(WhyNot::new(
                WhyNotKind::InAnotherReplay,
                "another replay has taken it: watch or stop that one",
            ));
        }
        DeadLetterState::Open | DeadLetterState::Replaying => {}
    }
    match way::find(books, letter, message, context)? {
        Way::Stored { shipments, authorization, total } => {
            let last = letter.shipment_key.expect("a way for shipments is found for a shipment");
            let count = shipments.len();
            for shipment in &shipments {
                begin_anew(books, *shipment, again);
            }
            let ready = bind(books, &shipments, authorization, total, context);
            let generation = books.shipment(last).generation;
            let note = Note::Replayed(Replayed { amount: Some(total), shipments: count });
            Ok((ReplayResult::Shipment(last, generation), Reply { ready: ready.ready, ..Reply::nothing(note) }))
        }
        Way::Anew { shipment, arrival } => Ok(accept_anew(books, shipment, &arrival, again, context)),
        Way::Fee { authorization, fee } => {
            settle_letter(books, letter.id, DeadLetterState::Replayed, Some(job));
            let amount = fee.amount;
            let (capture, planned) = fee::replay(books, authorization, fee, context);
            let note = Note::Replayed(Replayed { amount: Some(amount), shipments: 0 });
            Ok((ReplayResult::Fee(capture), Reply { ready: planned.ready, ..Reply::nothing(note) }))
        }
        Way::Fresh(command) => deliver(books, letter, job, &command, context),
    }
}

/// Another dead letter of the same batch has brought it along.
fn with_its_batch(letter: &DeadLetter) -> (ReplayResult, Reply) {
    let result = letter.shipment_key.map_or(ReplayResult::Accepted, |shipment| {
        let generation = letter.generation.saturating_add(1);
        ReplayResult::Shipment(shipment, generation)
    });
    (result, Reply::nothing(Note::Replayed(Replayed { amount: None, shipments: 0 })))
}

/// The shipment's dead letter is dealt with, and its next generation begins.
fn begin_anew(books: &mut Books, shipment: ShipmentKey, again: &Again) {
    let letter = books.dead_letter_of(shipment).expect("looked for when the way was found");
    let (id, mut raw) = (letter.id, letter.raw.clone().expect("looked for when the way was found"));
    if again.traceparent.is_some() {
        raw.traceparent.clone_from(&again.traceparent);
    }
    settle_letter(books, id, DeadLetterState::Replayed, Some(again.job));
    books.start_generation(shipment, raw);
}

fn settle_letter(books: &mut Books, id: DeadLetterId, state: DeadLetterState, job: Option<JobKey>) {
    if let Some(letter) = books.dead_letter_mut(id) {
        letter.state = state;
        letter.job = job;
    }
}

/// Puts what was earned before on an authorization: as one capture, or to the others that wait for the
/// single one. What owes nothing has succeeded.
fn bind(
    books: &mut Books,
    shipments: &[ShipmentKey],
    authorization: AuthorizationKey,
    total: Money,
    context: Context<'_>,
) -> Reply {
    let is_free = |key: &ShipmentKey| books.shipment(*key).amount.is_none_or(Money::is_zero);
    let (free, paid): (Vec<_>, Vec<_>) = shipments.iter().copied().partition(is_free);
    for shipment in shipments {
        books.shipment_mut(*shipment).authorization = Some(authorization);
    }
    for shipment in free {
        outcome::succeed_zero(books, shipment, context);
    }
    if paid.is_empty() {
        return Reply::nothing(Note::Zero);
    }
    if small::captures(books, authorization, context) == Some(Captures::Multiple) {
        let last = *paid.last().expect("there is one");
        if let Some(seen) = found::claim_generation(books, last) {
            // It was replayed before, in the time that a restore from a backup has lost.
            let reply = found::book(books, &paid, total, seen, context);
            return found::follow_up(books, last, reply, context);
        }
        let capture = outcome::plan_capture(books, &paid, outcome::kind_of(&paid), total, context);
        return due::begin_in_turn(books, capture, false, context);
    }
    let mut reply = Reply::nothing(Note::Deferred);
    for shipment in paid {
        let amount = books.shipment(shipment).amount.expect("it was given before");
        reply = collect::join(books, shipment, authorization, amount, false, context);
    }
    reply
}

/// A shipment that was refused before it was given anything is given its amount now.
fn accept_anew(
    books: &mut Books,
    shipment: ShipmentKey,
    arrival: &Arrival,
    again: &Again,
    context: Context<'_>,
) -> (ReplayResult, Reply) {
    begin_anew(books, shipment, again);
    let record = books.shipment(shipment);
    let (order, generation) = (record.order, record.generation);
    // As one that has waited for what it lacked.
    books.order_mut(order).awaiting += 1;
    let reply = accept::accept(books, arrival, context);
    let amount = books.shipment(shipment).amount;
    let note = Note::Replayed(Replayed { amount, shipments: 1 });
    (ReplayResult::Shipment(shipment, generation), Reply { ready: reply.ready, ..Reply::nothing(note) })
}

/// A message that never became a shipment is accepted as if it came now.
fn deliver(
    books: &mut Books,
    letter: &DeadLetter,
    job: JobKey,
    command: &Command,
    context: Context<'_>,
) -> Result<(ReplayResult, Reply), WhyNot> {
    let reply = decide::carry_out(books, command, context);
    if let Note::DeadLettered { id, path, message, .. } = &reply.note {
        if *id == letter.id {
            // To look at it again is not to see it again.
            let known = books.dead_letter_mut(*id).expect("it is being replayed");
            (known.count, known.last_seen_at) = (letter.count, letter.last_seen_at);
        } else {
            settle_letter(books, letter.id, DeadLetterState::Replayed, Some(job));
        }
        let message = format!("it would be set aside again: {path} {message}");
        return Err(WhyNot::new(WhyNotKind::StillRejected, message));
    }
    settle_letter(books, letter.id, DeadLetterState::Replayed, Some(job));
    let order = reply.subject.order.as_ref().and_then(|order| books.order_key(order));
    let shipment = order.zip(reply.subject.shipment.as_ref()).and_then(|(order, id)| books.shipment_key(order, id));
    // What was accepted before is not accepted twice, and its money is not this replay's.
    let record = shipment.filter(|_| reply.note != Note::Repeated).map(|key| books.shipment(key));
    let amount = record.filter(|record| !record.state.is_terminal()).and_then(|record| record.amount);
    let result = record.map_or(ReplayResult::Accepted, |record| ReplayResult::Shipment(record.key, record.generation));
    let note = Note::Replayed(Replayed { amount, shipments: usize::from(record.is_some()) });
    Ok((result, Reply { ready: reply.ready, ..Reply::nothing(note) }))
}

fn subject(letter: &DeadLetter) -> Subject {
    Subject {
        order: letter.order.clone(),
        shipment: letter.shipment.clone(),
        capture: None,
        account: letter.account.clone(),
    }
}
