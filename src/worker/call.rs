//! One call to a provider: from a ticket to the command that books what it came to.
//!
//! Does not choose which call, and books nothing.

use std::time::Instant;

use crate::capture::decide::{Call, Command, Due, Evidence, Expire, Freeze, Learn, Settle, Ticket};
use crate::capture::evidence::{Answer, Reading};
use crate::crash;
use crate::ids::Reference;
use crate::provider::CaptureRequest;
use crate::telemetry;
use crate::telemetry::trace::{self, Span};
use crate::worker::account::{Lane, Operation, Signal};
use crate::worker::spans::{self, Waiting};

/// What becomes of a request whose answer cannot be booked: it is in doubt, and looked at again.
pub(super) fn interrupted(call: &Call) -> Option<Command> {
    match call {
        Call::Send { capture, epoch, .. } => Some(Command::Settle(Box::new(Settle {
            capture: *capture,
            epoch: *epoch,
            evidence: Evidence::Interrupted,
            start: false,
        }))),
        // The watch finds what was to be looked at again.
        Call::Look { .. } | Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. } => None,
    }
}

/// What waits for another call, should this one be answered by a fault of our configuration.
pub(super) const fn due_of(call: &Call) -> Due {
    match call {
        Call::Send { capture, .. } | Call::Look { capture, .. } => Due::Capture(*capture),
        Call::Read { authorization, .. } | Call::ReadExpiry { authorization, .. } => Due::Authorization(*authorization),
        Call::Ask { authorization } => Due::Ask(*authorization),
    }
}

/// What an answer told of the account.
pub(super) struct Answered<'a> {
    /// What was asked.
    pub(super) operation: Operation,
    /// About what.
    pub(super) reference: &'a Reference,
    /// What the answer told.
    pub(super) signal: Signal,
}

/// Makes one call, and returns the command that books what it came to. Once it has come to something,
/// `start` is told, and says whether the command may begin another call with the same permit.
pub(super) async fn make(
    lane: &Lane,
    ticket: Ticket,
    waiting: &Waiting,
    start: impl FnOnce(Answered<'_>) -> bool + Send,
) -> Command {
    let span = spans::begin_call(lane, &ticket, waiting);
    let Ticket { reference, call, .. } = ticket;
    if let Call::Send { capture, id, amount, epoch, send_by, .. } = call {
        let request = CaptureRequest { capture: id, reference, amount, send_by };
        let answer = send(lane, &request, span).await;
        let signal = Signal::of_answer(&answer);
        let start = start(Answered { operation: Operation::Capture, reference: &request.reference, signal });
        return Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Answer(answer), start }));
    }
    let reading = read(lane, &reference, span).await;
    let signal = Signal::of_reading(&reading);
    let start = start(Answered { operation: Operation::Lookup, reference: &reference, signal });
    match call {
        Call::Look { capture, epoch } => {
            Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Reading(reading), start }))
        }
        Call::Read { authorization, epoch } => {
            Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start }))
        }
        Call::ReadExpiry { authorization, epoch } => {
            Command::Expire(Box::new(Expire { authorization, epoch, reading }))
        }
        Call::Ask { authorization } => Command::Learn(Box::new(Learn { authorization, reading })),
        Call::Send { .. } => unreachable!("it was sent above"),
    }
}

async fn send(lane: &Lane, request: &CaptureRequest, span: Option<Span>) -> Answer {
    let (provider, account) = (lane.provider(), &lane.name);
    let started = Instant::now();
    crash::point("before-send");
    let answer = trace::within(span.as_ref(), provider.capture(request)).await;
    crash::point("after-answer");
    telemetry::note_call(account, "capture", started.elapsed());
    let evidence = evidence_label(&answer);
    telemetry::count_attempt(account, evidence);
    if let Some(span) = span {
        spans::end_capture(span, evidence, &answer);
    }
    answer
}

/// Reads an authorization at its provider, about what messages of these traces told of.
pub(super) async fn lookup(lane: &Lane, reference: &Reference, traces: &[String]) -> Reading {
    read(lane, reference, spans::begin_read(lane, traces)).await
}

async fn read(lane: &Lane, reference: &Reference, span: Option<Span>) -> Reading {
    let provider = lane.provider();
    let started = Instant::now();
    let reading = trace::within(span.as_ref(), provider.lookup(reference)).await;
    telemetry::note_call(&lane.name, "lookup", started.elapsed());
    if let Some(span) = span {
        spans::end_lookup(span, &reading);
    }
    reading
}

const fn evidence_label(answer: &Answer) -> &'static str {
    match answer {
        Answer::Captured(_) => "captured",
        Answer::Pending => "pending",
        Answer::Refused(_) => "refused",
        Answer::Doubt(_) => "doubt",
        Answer::NotExecuted(_) => "not_executed",
        Answer::Misconfigured(_) => "misconfigured",
    }
}
