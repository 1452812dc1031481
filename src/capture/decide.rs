//! `decide`: the one door into the core. A command, the books it touches, the rules and the time go
//! in; changed books and a reply come out.

use crate::capture::accept;
use crate::capture::ask;
use crate::capture::books::Books;
use crate::capture::collect;
use crate::capture::companion;
use crate::capture::due;
use crate::capture::event::FailureReason;
use crate::capture::evidence::{Answer, Reading};
use crate::capture::expiry;
use crate::capture::notice::{
    CancellationNotice, RawMessage, RegistrationNotice, Rejection, RejectionReason, ShipmentNotice,
};
use crate::capture::operator;
use crate::capture::policy::Policy;
use crate::capture::records::{AuthorizationKey, CaptureKey, KeptKey, OrderKey, ShipmentKey};
use crate::capture::reject;
use crate::capture::replay::{self, Replay, Replayed, WhyNot};
use crate::capture::retry::Jitter;
use crate::capture::settle;
use crate::capture::why::Missing;
use crate::clock::{BootInstant, Moment, Timestamp};
use crate::ids::{AccountName, CaptureId, DeadLetterId, OrderId, Reference, ShipmentId};
use crate::money::Money;

pub use crate::capture::operator::{Closing, Intervention, Operator};

/// What can happen.
#[derive(Debug, Clone)]
pub enum Command {
    /// A shipment notice arrived, or is looked at again because it had to wait (T1).
    Accept(Box<Arrival>),
    /// An order's authorization and plan arrived ahead of its shipments, or a revision of the plan (T1).
    Register(Box<Arrival<RegistrationNotice>>),
    /// A cancellation of what has not shipped arrived (T1).
    Cancel(Box<Arrival<CancellationNotice>>),
    /// A message arrived that cannot be processed as it is (T1).
    Reject(Box<Reject>),
    /// The broker gave up on a message and dead-lettered it (T1).
    Collect(Box<Collect>),
    /// Something is due, or it is a capture's turn (T2).
    Due(Due),
    /// What was parked for a fault of its account's configuration is due now: the account works again.
    Recall(Due),
    /// A capture request, or a read about a capture, came to something (T3).
    Settle(Box<Settle>),
    /// The read before a single capture came to something (T3, and T2 of the capture).
    Freeze(Box<Freeze>),
    /// The read of an authorization that is past its expiry, or does not have one yet, came to
    /// something (T3).
    Expire(Box<Expire>),
    /// The provider was asked for what nobody had told of an authorization (T3).
    Learn(Box<Learn>),
    /// An operator asks for something by hand (T2 of a look, T3 of a capture closed by hand).
    Operator(Box<Operator>),
    /// Outbox rows were published (T4).
    Published(Vec<i64>),
    /// An operator tries something again that ended without its money (T1).
    Replay(Box<Replay>),
}

/// A decoded notice.
#[derive(Debug, Clone)]
pub struct Arrival<N = ShipmentNotice> {
    /// What it says.
    pub notice: N,
    /// The id of the incoming event.
    pub event_id: String,
    /// Where `notice` stands in the body, as a JSON path: `$.data`, or `$` for the plain form.
    pub data_path: &'static str,
    /// The message as it came.
    pub raw: RawMessage,
    /// May a provider call be started at once? The caller holds a permit for the account.
    pub start: bool,
}

/// A message that cannot be processed as it is.
#[derive(Debug, Clone)]
pub struct Reject {
    /// Why.
    pub rejection: Rejection,
    /// The message as it came.
    pub raw: RawMessage,
}

/// A message that the broker gave up on.
#[derive(Debug, Clone)]
pub struct Collect {
    /// The message as it came.
    pub raw: RawMessage,
    /// The order, where it can be read.
    pub order: Option<OrderId>,
    /// The shipment, where it can be read.
    pub shipment: Option<ShipmentId>,
}

/// Something to look at, with permission to start a provider call for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Due {
    /// A capture: its turn, its retry, or a look at it in doubt.
    Capture(CaptureKey),
    /// An authorization that has to be read: time to stop collecting, or it is past its expiry.
    Authorization(AuthorizationKey),
    /// An authorization: time to ask the provider for what nobody has told.
    Ask(AuthorizationKey),
    /// A shipment that waits for its plan, authorization or account.
    Shipment(ShipmentKey),
    /// An authorization that is about to expire: time to warn of it. Needs no permit.
    Warning(AuthorizationKey),
    /// Another notice that waits for the same.
    Kept(KeptKey),
    /// An order: the grace after its final notice is over.
    Order(OrderKey),
}

impl Due {
    /// The number of its row.
    pub const fn row(self) -> i64 {
        match self {
            Self::Capture(key) => key.row(),
            Self::Authorization(key) | Self::Ask(key) | Self::Warning(key) => key.row(),
            Self::Shipment(key) => key.row(),
            Self::Kept(key) => key.row(),
            Self::Order(key) => key.row(),
        }
    }
}

/// What a capture request, or a read about a capture, came to.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The capture.
    pub capture: CaptureKey,
    /// The epoch of the ticket; an old one admits positive evidence only.
    pub epoch: u32,
    /// What was seen.
    pub evidence: Evidence,
    /// May the next call on the authorization be started at once, with the same permit?
    pub start: bool,
}

/// What was seen of a capture.
#[derive(Debug, Clone)]
pub enum Evidence {
    /// The answer to a capture request.
    Answer(Answer),
    /// A read of its authorization.
    Reading(Reading),
    /// The worker that had begun the attempt is gone.
    Interrupted,
}

/// What the read before a single capture came to.
#[derive(Debug, Clone)]
pub struct Freeze {
    /// The authorization.
    pub authorization: AuthorizationKey,
    /// The epoch of the ticket.
    pub epoch: u32,
    /// What was seen.
    pub reading: Reading,
    /// May the capture be sent at once, with the same permit?
    pub start: bool,
}

/// What the read of an authorization that is past its expiry, or does not have one yet, came to.
#[derive(Debug, Clone)]
pub struct Expire {
    /// The authorization.
    pub authorization: AuthorizationKey,
    /// The epoch of the ticket.
    pub epoch: u32,
    /// What was seen.
    pub reading: Reading,
}

/// What the provider said when it was asked for what nobody had told of an authorization.
#[derive(Debug, Clone)]
pub struct Learn {
    /// The authorization.
    pub authorization: AuthorizationKey,
    /// What was seen.
    pub reading: Reading,
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Reply {
    /// A provider call to be made now, with the permit that came with the command.
    pub ticket: Option<Ticket>,
    /// Something that is ready for a provider call, as soon as there is a permit.
    pub ready: Option<Ready>,
    /// What happened, for logs and metrics.
    pub note: Note,
    /// What it happened to.
    pub subject: Subject,
}

/// Something that is ready for a provider call.
#[derive(Debug, Clone)]
pub struct Ready {
    /// What.
    pub due: Due,
    /// Whose permit it needs.
    pub account: AccountName,
    /// When its authorization dies; the earliest goes first.
    pub deadline: Option<Timestamp>,
}

/// A provider call to be made.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Whose permit it uses.
    pub account: AccountName,
    /// The authorization at the provider.
    pub reference: Reference,
    /// What to call.
    pub call: Call,
    /// W3C trace contexts of the messages that it is for, the latest last; as far as they are loaded.
    pub traces: Vec<String>,
}

/// What to call.
#[derive(Debug, Clone)]
pub enum Call {
    /// Send attempt `attempt` of a capture.
    Send {
        /// The capture.
        capture: CaptureKey,
        /// Its id and idempotency key.
        id: CaptureId,
        /// How much.
        amount: Money,
        /// From 1.
        attempt: u32,
        /// Comes back with the answer.
        epoch: u32,
        /// Nothing is sent after this instant.
        send_by: BootInstant,
    },
    /// Read the authorization of a capture in doubt.
    Look {
        /// The capture.
        capture: CaptureKey,
        /// Comes back with the reading.
        epoch: u32,
    },
    /// Read an authorization that is past its expiry, or does not have one yet.
    ReadExpiry {
        /// The authorization.
        authorization: AuthorizationKey,
        /// Comes back with the reading.
        epoch: u32,
    },
    /// Read an authorization before its single capture.
    Read {
        /// The authorization.
        authorization: AuthorizationKey,
        /// Comes back with the reading.
        epoch: u32,
    },
    /// Read an authorization for what nobody has told of it.
    Ask {
        /// The authorization.
        authorization: AuthorizationKey,
    },
}

/// What a reply is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The order.
    pub order: Option<OrderId>,
    /// The shipment.
    pub shipment: Option<ShipmentId>,
    /// The capture.
    pub capture: Option<CaptureId>,
    /// The account.
    pub account: Option<AccountName>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A shipment was accepted and its capture planned.
    Planned(Money),
    /// A shipment was accepted and collects with others.
    Deferred,
    /// A shipment owes nothing and succeeded without a call.
    Zero,
    /// A shipment waits for this.
    Awaiting(Missing),
    /// Another notice waits for something to become known.
    Kept(FailureReason),
    /// An authorization was read for the first time since the ledger was restored from a backup.
    Restored {
        /// Captures of ours that the provider showed, and that are booked now.
        adopted: u32,
        /// Captures under keys of which the ledger has no notice.
        found: u32,
    },
    /// An authorization, a plan or a revision was registered.
    Registered,
    /// What has not shipped was cancelled.
    Cancelled,
    /// A shipment was refused.
    Refused(FailureReason),
    /// The same notice again, or one that brings nothing new: nothing else happens.
    Repeated,
    /// A message was set aside.
    DeadLettered {
        /// Its dead letter.
        id: DeadLetterId,
        /// Why.
        reason: RejectionReason,
        /// Where in the body.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A message that the broker had given up on was collected.
    Collected(DeadLetterId),
    /// A kept notice has to be decoded and accepted again.
    LookAgain(Box<RawMessage>),
    /// An attempt was begun.
    Begun,
    /// A look or a read was begun.
    Looking,
    /// A capture was captured.
    Captured(Money),
    /// A capture failed.
    Failed(FailureReason),
    /// A capture is in doubt.
    InDoubt(String),
    /// A capture was certainly not executed and will be sent later.
    PutOff(String),
    /// A cap of its account holds a capture, for this reason.
    Held(String),
    /// An operator has let through so much that a cap held.
    Released(Money),
    /// A fault of our configuration: parked.
    Parked(String),
    /// Positive evidence after a terminal outcome was booked.
    Corrected,
    /// A set of shipments stopped collecting.
    Frozen,
    /// The read of an authorization has to be repeated.
    ReadAgain(String),
    /// An authorization with money to be lost expires at this instant: it was warned of.
    Expiring(Timestamp),
    /// An authorization is over, and what became of its money is known.
    Expired {
        /// Captured by the provider itself, or by somebody else.
        captured_elsewhere: Money,
        /// Given back to the payer.
        released: Money,
    },
    /// Two reads have shown so much captured by somebody else: nothing is sent on the authorization.
    Halted(Money),
    /// That is over, for this reason.
    Resumed(String),
    /// An operator closed a capture in doubt without an answer.
    Unresolved(Money),
    /// What an operator asked for was not done, for this reason.
    NotDone(String),
    /// Nothing: another turn, an old epoch, or already done.
    Nothing,
    /// Events were marked as published.
    Published,
    /// A dead letter was replayed.
    Replayed(Replayed),
    /// A dead letter was not replayed, and stays as it was.
    NotReplayed(WhyNot),
}

/// What the core decides with: rules, time, chance.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The rules.
    pub policy: &'a Policy,
    /// Now.
    pub now: Moment,
    /// Chance, given.
    pub jitter: Jitter,
}

/// Decides one command over the books that it touches.
pub fn decide(books: &mut Books, command: &Command, context: Context<'_>) -> Reply {
    let reply = carry_out(books, command, context);
    for authorization in books.take_touched() {
        expiry::schedule(books, authorization, context);
    }
    reply
}

pub(super) fn carry_out(books: &mut Books, command: &Command, context: Context<'_>) -> Reply {
    match command {
        Command::Accept(arrival) => accept::accept(books, arrival, context),
        Command::Register(arrival) => companion::register(books, (**arrival).clone(), context),
        Command::Cancel(arrival) => companion::cancel(books, (**arrival).clone(), context),
        Command::Reject(reject) => reject::reject(books, reject.rejection.clone(), reject.raw.clone(), context),
        Command::Collect(dead) => reject::collect(books, (**dead).clone(), context),
        Command::Due(due) => due::due(books, *due, context),
        Command::Recall(due) => due::recall(books, *due, context),
        Command::Settle(settle) => settle::settle(books, (**settle).clone(), context),
        Command::Freeze(freeze) => collect::freeze(books, (**freeze).clone(), context),
        Command::Expire(expire) => expiry::expire(books, (**expire).clone(), context),
        Command::Learn(learn) => ask::learn(books, (**learn).clone(), context),
        Command::Operator(operator) => operator::carry_out(books, (**operator).clone(), context),
        Command::Published(rows) => {
            books.published.extend(rows);
            Reply::nothing(Note::Published)
        }
        Command::Replay(again) => replay::replay(books, (**again).clone(), context),
    }
}

impl Reply {
    /// A reply without a call.
    pub fn nothing(note: Note) -> Self {
        Self { ticket: None, ready: None, note, subject: Subject::default() }
    }

    /// The same reply, about `subject`.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }
}
