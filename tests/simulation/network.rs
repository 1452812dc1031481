//! Between the worker and the providers: requests that are lost, late, or answered with nonsense.

use std::time::Duration;

use chrono::TimeDelta;
use holdfast::capture::decide::Call;
use holdfast::capture::evidence::{
    Answer, CaptureProof, ConfigurationFault, Doubt, DoubtKind, NotExecuted, ProviderBalance, Reading,
};
use holdfast::ids::CaptureId;
use holdfast::money::Money;
use rand::Rng;
use uuid::Uuid;

use crate::clock::truth_at;
use crate::fault::Fault;
use crate::mutant::Mutant;
use crate::provider::{Luck, Request};
use crate::scenario::Name;
use crate::worker::{Job, Outcome, Stage};
use crate::world::{Check, World};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A request is processed at most this long after it left. With what the wall clock can be stepped
/// (4 minutes from end to end) it is less than the core's quiet period of 15 minutes.
const DELAY_MAX: Duration = Duration::from_mins(10);

/// A request on its way.
pub struct Flight {
    /// When it is processed.
    pub arrives_at: Duration,
    job: u64,
    name: Name,
    request: Wire,
    reply: ReplyAs,
}

enum Wire {
    Capture(Request, Luck),
    Read,
}

/// How a reply comes back.
enum ReplyAs {
    /// As it is.
    Itself,
    /// Not at all.
    Nothing,
    /// As something else.
    Instead(Outcome),
}

impl World {
    /// Makes a call that may be made: what it comes to, comes later.
    pub fn send(&mut self, job: &mut Job) -> Check {
        let name = (job.ticket.account.clone(), job.ticket.reference.clone());
        let elapsed = self.clock.elapsed();
        job.stage = Stage::Sent { gives_up_at: elapsed + TIMEOUT };
        let is_misconfigured = self.misconfigured.get(&name.0).is_some_and(|until| *until > elapsed);
        let call = job.ticket.call.clone();
        match call {
            Call::Send { id, amount, attempt, send_by, .. } => {
                if self.clock.machine().boot >= send_by && self.mutant != Some(Mutant::IgnoresSendBy) {
                    self.fault(Fault::SentTooLate, "sending");
                    job.stage = Stage::Answered(Outcome::Answer(not_executed("its time was over")));
                    return Ok(());
                }
                self.check_intent(&name, id, amount, attempt)?;
                let new_key = self.mutant == Some(Mutant::NewKeyPerAttempt);
                let key = if new_key { CaptureId::from_uuid(Uuid::from_u128(self.rng.random())) } else { id };
                let amount = (self.mutant != Some(Mutant::NoAmount)).then_some(amount);
                let request = Request { key, capture: id, amount };
                self.send_capture(job, name, request, is_misconfigured);
            }
            Call::Look { .. } | Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. } => {
                self.send_read(job, name, is_misconfigured);
            }
        }
        Ok(())
    }

    /// S4 and S12: what is on the wire was committed, and names a positive amount.
    fn check_intent(&self, name: &Name, id: CaptureId, amount: Money, attempt: u32) -> Check {
        let tables = self.ledger.tables();
        let capture = tables.captures.values().find(|capture| capture.id == id);
        let Some(capture) = capture else { return Err(format!("S4: {id} is sent and not in the ledger")) };
        let record = &tables.authorizations[&capture.authorization];
        let is_same = record.account == name.0 && record.reference == name.1 && capture.amount == amount;
        if !is_same || capture.progress.attempts < attempt {
            return Err(format!("S4: attempt {attempt} of {id} is sent other than it was committed"));
        }
        if amount.is_zero() { Err(format!("S12: {id} is sent without an amount")) } else { Ok(()) }
    }

    fn send_capture(&mut self, job: &mut Job, name: Name, request: Request, is_misconfigured: bool) {
        let fault = if is_misconfigured { Some(Fault::Misconfigured) } else { self.pick_fault(&name) };
        if let Some(fault) = fault {
            let state = self.state_of(request.capture);
            self.fault(fault, state);
        }
        let amount = request.amount;
        let soon = Duration::from_millis(self.rng.random_range(20..4_000));
        let mut flight = Flight {
            arrives_at: self.clock.elapsed() + soon,
            job: job.id,
            name,
            request: Wire::Capture(request, Luck::Good),
            reply: ReplyAs::Itself,
        };
        let instead = |answer| ReplyAs::Instead(Outcome::Answer(answer));
        match fault {
            None => {}
            Some(Fault::RequestLost) => return self.maybe_lose_connection(job),
            Some(Fault::ErrorBeforeWork) => {
                job.stage = Stage::Answered(Outcome::Answer(self.doubt(DoubtKind::HttpStatus)));
                return;
            }
            Some(Fault::NotExecuted) => {
                job.stage = Stage::Answered(Outcome::Answer(not_executed("connection refused")));
                return;
            }
            Some(Fault::Misconfigured) => {
                job.stage = Stage::Answered(Outcome::Answer(Answer::Misconfigured(misconfigured())));
                return;
            }
            Some(Fault::ResponseLost) => flight.reply = ReplyAs::Nothing,
            Some(Fault::ProcessedLate) => {
                flight.arrives_at += Duration::from_secs(self.rng.random_range(1..DELAY_MAX.as_secs() - 4));
                flight.reply = ReplyAs::Nothing;
                self.maybe_lose_connection(job);
            }
            Some(Fault::ErrorAfterWork) => flight.reply = instead(self.doubt(DoubtKind::HttpStatus)),
            Some(Fault::Garbage) => flight.reply = instead(self.doubt(DoubtKind::Unreadable)),
            Some(Fault::UnknownCode) => flight.reply = instead(self.doubt(DoubtKind::Coded)),
            Some(Fault::WrongAmount) => {
                let other = amount.map(|amount| {
                    Money::from_minor(amount.minor() + 1, amount.currency()).expect("more than a positive amount")
                });
                flight.reply = instead(Answer::Captured(proof_of(other)));
            }
            Some(Fault::SoftDecline) => flight.luck(Luck::Declined),
            Some(Fault::Hold) => {
                let until = self.clock.truth() + TimeDelta::seconds(self.rng.random_range(1..2_700));
                let approved = self.rng.random_ratio(2, 3);
                flight.luck(Luck::Held { until, approved });
            }
            Some(other) => unreachable!("{other:?} does not happen to a capture request"),
        }
        self.flights.push(flight);
    }

    fn send_read(&mut self, job: &mut Job, name: Name, is_misconfigured: bool) {
        if is_misconfigured {
            self.fault(Fault::Misconfigured, "read");
            job.stage = Stage::Answered(Outcome::Reading(Reading::Misconfigured(misconfigured())));
            return;
        }
        if self.may(Fault::ReadFailed) && self.rng.random_ratio(1, 6) {
            self.fault(Fault::ReadFailed, "read");
            return self.maybe_lose_connection(job);
        }
        let soon = Duration::from_millis(self.rng.random_range(20..4_000));
        let arrives_at = self.clock.elapsed() + soon;
        self.flights.push(Flight { arrives_at, job: job.id, name, request: Wire::Read, reply: ReplyAs::Itself });
    }

    /// Nothing will come: the connection breaks at once, or nobody says a word.
    fn maybe_lose_connection(&mut self, job: &mut Job) {
        if self.rng.random() {
            job.stage = Stage::Answered(silence(&job.ticket.call, true));
        }
    }

    fn pick_fault(&mut self, name: &Name) -> Option<Fault> {
        if self.rng.random_ratio(2, 5) {
            return None;
        }
        let captures_once = name.0.as_str().starts_with("once");
        let faults = self.case.dials().of_request;
        let of_kind = if captures_once { Fault::Hold } else { Fault::WrongAmount };
        let fault = faults.get(self.rng.random_range(0..faults.len() + 1)).copied().unwrap_or(of_kind);
        Some(fault).filter(|fault| self.may(*fault))
    }

    fn doubt(&mut self, kind: DoubtKind) -> Answer {
        let retry_after = self.rng.random_ratio(1, 4).then(|| Duration::from_secs(self.rng.random_range(1..600)));
        Answer::Doubt(Doubt { kind, code: None, message: "it broke".to_owned(), retry_after })
    }

    /// Time passes until `to`, and everything arrives that is under way until then.
    pub fn pass_until(&mut self, to: Duration) {
        while let Some(index) = (0..self.flights.len()).min_by_key(|index| self.flights[*index].arrives_at) {
            if self.flights[index].arrives_at > to {
                break;
            }
            let flight = self.flights.swap_remove(index);
            self.clock.advance_to(flight.arrives_at);
            self.arrive(flight);
        }
        self.clock.advance_to(to);
        self.broker.pass(to);
        for (name, authorization) in &mut self.authorizations {
            if authorization.pass(truth_at(to)) {
                self.memory.look_at(name);
            }
        }
    }

    fn arrive(&mut self, flight: Flight) {
        self.is_news = true;
        self.memory.look_at(&flight.name);
        let Flight { job, name, request, reply, .. } = flight;
        let now = self.clock.truth();
        let authorization = self.authorizations.get_mut(&name).expect("the provider knows every authorization");
        let outcome = match request {
            Wire::Capture(request, luck) => Outcome::Answer(authorization.capture(&request, luck, now)),
            Wire::Read => Outcome::Reading(Reading::Seen(Box::new(authorization.view(now)))),
        };
        let outcome = match reply {
            ReplyAs::Itself => outcome,
            ReplyAs::Nothing => return,
            ReplyAs::Instead(outcome) => outcome,
        };
        let jobs = self.crew.all_mut().flat_map(|worker| &mut worker.jobs).chain(&mut self.ghosts);
        let waiting = jobs.filter(|waiting| waiting.id == job).find(|job| matches!(job.stage, Stage::Sent { .. }));
        if let Some(waiting) = waiting {
            waiting.stage = Stage::Answered(outcome);
        }
    }
}

/// What silence is: a request in doubt, or a read that shows nothing.
pub fn silence(call: &Call, is_broken: bool) -> Outcome {
    let kind = if is_broken { DoubtKind::ConnectionLost } else { DoubtKind::Timeout };
    let doubt = Doubt { kind, code: None, message: "no answer".to_owned(), retry_after: None };
    match call {
        Call::Send { .. } => Outcome::Answer(Answer::Doubt(doubt)),
        Call::Look { .. } | Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. } => {
            Outcome::Reading(Reading::Unclear(doubt))
        }
    }
}

impl Flight {
    fn luck(&mut self, luck: Luck) {
        if let Wire::Capture(_, of_request) = &mut self.request {
            *of_request = luck;
        }
    }
}

fn proof_of(amount: Option<Money>) -> CaptureProof {
    CaptureProof { amount, provider_reference: None, balance: ProviderBalance::default() }
}

fn not_executed(message: &str) -> Answer {
    Answer::NotExecuted(NotExecuted { message: message.to_owned(), retry_after: None })
}

fn misconfigured() -> ConfigurationFault {
    let message = "the credentials are rejected".to_owned();
    ConfigurationFault { code: None, message, may_have_executed: false }
}
