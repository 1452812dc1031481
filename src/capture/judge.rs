//! Step 5, judge: what evidence means for a capture.
//!
//! One pure function from (what is known of the capture, what was seen) to a verdict. It never
//! concludes from absence alone, nor from time alone. The rules, by name:
//!
//! * **E1** captured needs positive evidence that names our authorization and, where the answer
//!   tells them, currency and exact amount. Valid in any epoch, at any time. Where an authorization is
//!   captured once, nothing names a request: a read is about what our books have, or what is under way.
//! * **E2** failed needs positive evidence too: (a) a definitive refusal when no other attempt may
//!   have been executed; (b) two reads at least `quiet` apart that show nothing captured, and the
//!   authorization terminal or less left on it than the capture needs; (c) a definitive refusal of the
//!   latest attempt and then, at least `quiet` after the last `send_by`, a read that shows nothing
//!   captured; (d) on a single-capture authorization, a read that shows another amount captured.
//! * **E3** everything else is doubt.
//! * **E4** the same key is sent again freely within the resend window; after it, a read at least
//!   `quiet` after the last `send_by` that shows none of our captures and a captured amount equal to
//!   our books permits one more, which starts a new window. A read is as old as its beginning, and both are
//!   told by the clock that never steps.
//! * **E5** configuration faults are not outcomes: parked, tried again later.
//! * **E6** what was certainly not executed is sent later, with exponential backoff.

use std::time::Duration;

use crate::capture::decide::{Context, Evidence};
use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, CaptureProof, ConfigurationFault, Doubt, DoubtKind, NotExecuted,
    Reading, Refusal, RefusalReason,
};
use crate::capture::foreign;
use crate::capture::outcome::Cause;
use crate::capture::policy::{AccountPolicy, Captures};
use crate::capture::records::{Authorization, Capture, CaptureProgress};
use crate::capture::restored::found;
use crate::capture::retry;
use crate::capture::states::CaptureState;
use crate::capture::why::{LeftOpen, Since};
use crate::capture::window;
use crate::clock::{self, Mark, Timestamp};
use crate::money::Money;
use crate::mutant::{self, Mutant};

/// What is judged: a capture with its surroundings.
pub(super) struct Case<'a> {
    pub(super) capture: &'a Capture,
    pub(super) authorization: &'a Authorization,
    pub(super) account: &'a AccountPolicy,
    /// The epoch that the evidence comes back with.
    pub(super) epoch: u32,
    pub(super) context: Context<'a>,
}

/// What the evidence means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// E1.
    Captured { resolved_by: ResolvedBy, provider_reference: Option<String> },
    /// E1 after a terminal outcome.
    Corrected { resolved_by: ResolvedBy, provider_reference: Option<String> },
    /// E2.
    Failed(Cause),
    /// E5 or E6 with nothing before it that may have been executed: planned again, due later.
    PutOff { progress: CaptureProgress, wait: Duration, parked: bool, why: String },
    /// E3: to be looked at.
    InDoubt { progress: CaptureProgress, due_at: Timestamp, parked: bool, why: String },
    /// E4: the same key may be sent again now.
    Resend { progress: CaptureProgress },
    /// An old epoch's negative conclusion, or nothing left to conclude.
    Nothing,
}

/// Judges one piece of evidence.
pub(super) fn judge(case: &Case<'_>, evidence: Evidence) -> Verdict {
    if let Some(verdict) = judge_positive(case, &evidence) {
        return verdict;
    }
    let progress = &case.capture.progress;
    if (case.epoch != progress.epoch && !mutant::on(Mutant::NoFence)) || case.capture.state.is_terminal() {
        return Verdict::Nothing;
    }
    match (case.capture.state, evidence) {
        (CaptureState::Sending, Evidence::Answer(answer)) => judge_answer(case, answer),
        (CaptureState::Sending, Evidence::Interrupted) => {
            // Looked at once: at start-up there is no reason to wait.
            let why = "the worker stopped while the request was under way";
            in_doubt_until(with_doubt(case, LeftOpen::Interrupted), case.context.now.wall, why.to_owned())
        }
        (CaptureState::InDoubt, Evidence::Interrupted) => {
            // A new epoch: what the old worker may still be reading was begun nobody knows when.
            let progress = CaptureProgress { epoch: progress.epoch + 1, ..progress.clone() };
            let why = "a new worker took over: looked at once";
            in_doubt_until(progress, case.context.now.wall, why.to_owned())
        }
        (CaptureState::InDoubt, Evidence::Reading(reading)) => judge_reading(case, reading),
        (CaptureState::Sending, Evidence::Reading(_))
        | (CaptureState::InDoubt, Evidence::Answer(_))
        | (
            CaptureState::Planned | CaptureState::Captured | CaptureState::Failed | CaptureState::Unresolved,
            Evidence::Answer(_) | Evidence::Reading(_) | Evidence::Interrupted,
        ) => Verdict::Nothing,
    }
}

/// E1: positive evidence, whoever brings it and whenever it comes.
pub(super) fn judge_positive(case: &Case<'_>, evidence: &Evidence) -> Option<Verdict> {
    let capture = case.capture;
    if is_about_another(case) {
        return None;
    }
    let (resolved_by, provider_reference) = match evidence {
        Evidence::Answer(Answer::Captured(proof)) if amount_agrees(case, proof) => {
            (ResolvedBy::Response, proof.provider_reference.clone())
        }
        Evidence::Reading(Reading::Seen(view)) if !may_show_another(case) => {
            let ours =
                view.captures.iter().find(|seen| is_ours(case, seen.capture) && seen.amount == capture.amount)?;
            (ResolvedBy::Lookup, ours.provider_reference.clone())
        }
        Evidence::Answer(_) | Evidence::Reading(_) | Evidence::Interrupted => return None,
    };
    match capture.state {
        CaptureState::Captured => Some(Verdict::Nothing),
        CaptureState::Failed | CaptureState::Unresolved if capture.corrected_at.is_some() => Some(Verdict::Nothing),
        CaptureState::Failed | CaptureState::Unresolved => Some(Verdict::Corrected { resolved_by, provider_reference }),
        CaptureState::Planned | CaptureState::Sending | CaptureState::InDoubt => {
            Some(Verdict::Captured { resolved_by, provider_reference })
        }
    }
}

/// Protocols with several captures name the amount of each; the others only say that it is done.
fn amount_agrees(case: &Case<'_>, proof: &CaptureProof) -> bool {
    match case.account.captures {
        Captures::Single => proof.amount.is_none_or(|amount| amount == case.capture.amount),
        Captures::Multiple => proof.amount == Some(case.capture.amount),
    }
}

/// On a single-capture authorization nothing but the amount tells captures apart. Where our books
/// have the one that the provider can have, evidence that is brought for another one is about it.
fn is_about_another(case: &Case<'_>) -> bool {
    match case.account.captures {
        Captures::Single => !case.authorization.captured.is_zero() && case.capture.state != CaptureState::Captured,
        Captures::Multiple => false,
    }
}

/// May what a read shows of a single-capture authorization be a later capture of the same amount that is under
/// way, or was closed by hand without an answer? Then it is left to that one's own answer and looks: a read that was
/// begun for the one before may be made long after its end, by a worker that stood still.
fn may_show_another(case: &Case<'_>) -> bool {
    let (capture, authorization) = (case.capture, case.authorization);
    let is_open =
        authorization.in_flight > 0 || authorization.unresolved > 0 && capture.state != CaptureState::Unresolved;
    let is_under_way = is_open && authorization.reserved == capture.amount;
    case.account.captures == Captures::Single && capture.state.is_terminal() && is_under_way
}

/// On several captures per authorization only the one under our key is ours; where there is one, it
/// is ours if the amount says so.
fn is_ours(case: &Case<'_>, key: Option<crate::ids::CaptureId>) -> bool {
    match case.account.captures {
        Captures::Single => true,
        Captures::Multiple => key == Some(case.capture.id),
    }
}

fn judge_answer(case: &Case<'_>, answer: Answer) -> Verdict {
    match answer {
        Answer::Captured(_) => doubted(
            case,
            &Doubt {
                kind: DoubtKind::Unreadable,
                code: None,
                message: "the provider says captured, and it is not the one that was asked for".to_owned(),
                retry_after: None,
            },
        ),
        Answer::Pending => pending(case),
        Answer::Refused(refusal) => refused(case, refusal),
        Answer::Doubt(doubt) => shortcuts::of_doubt(&doubt).unwrap_or_else(|| doubted(case, &doubt)),
        Answer::NotExecuted(reason) => not_executed(case, reason),
        Answer::Misconfigured(fault) => misconfigured(case, &fault),
    }
}

/// The progress after the attempt under way may have been executed.
fn with_doubt(case: &Case<'_>, how: LeftOpen) -> CaptureProgress {
    let mut progress = case.capture.progress.clone().left_open(how);
    progress.doubtful += 1;
    progress.failures = 0;
    progress.looks = 0;
    progress.terminal_seen_at = None;
    progress.doubt_since = progress.doubt_since.or(Some(case.context.now.wall));
    progress
}

fn doubted(case: &Case<'_>, doubt: &Doubt) -> Verdict {
    let mut progress = with_doubt(case, doubt.kind.into());
    let is_over = case.authorization.expires_at.is_some_and(|at| at <= case.context.now.wall);
    // E2 (c): after the expiry, any coded answer counts as the authorization's end.
    progress.refused = (is_over && doubt.kind == DoubtKind::Coded).then(|| Refusal {
        reason: RefusalReason::AuthorizationExpired,
        code: doubt.code.clone(),
        message: doubt.message.clone(),
        read_first: false,
    });
    in_doubt(case, progress, doubt.retry_after, words(doubt.code.as_deref(), &doubt.message))
}

fn pending(case: &Case<'_>) -> Verdict {
    let mut progress = with_doubt(case, LeftOpen::Pending);
    progress.is_pending = true;
    in_doubt(case, progress, None, "created at the provider, not approved yet".to_owned())
}

/// E2 (a), where nothing else may have been executed; else it waits for (c).
fn refused(case: &Case<'_>, refusal: Refusal) -> Verdict {
    if (case.capture.progress.doubtful == 0 && !refusal.read_first) || mutant::on(Mutant::RejectIsFinal) {
        return Verdict::Failed(Cause::refusal(refusal, ResolvedBy::Response));
    }
    let mut progress = CaptureProgress { looks: 0, ..case.capture.progress.clone().left_open(LeftOpen::Refused) };
    progress.doubt_since = progress.doubt_since.or(Some(case.context.now.wall));
    let why = words(refusal.code.as_deref(), &refusal.message);
    progress.refused = Some(refusal);
    in_doubt(case, progress, None, why)
}

/// E6: sent later; still in doubt where an earlier attempt may have been executed.
fn not_executed(case: &Case<'_>, reason: NotExecuted) -> Verdict {
    let mut progress = case.capture.progress.clone().then(Since::NotExecuted);
    let policy = case.context.policy;
    let (jitter, most) = (case.context.jitter, policy.retry_after_max);
    let wait = retry::delay(&policy.backoff, progress.failures, jitter, reason.retry_after, most);
    progress.failures += 1;
    progress.last_seen = Some(reason.message.clone());
    if progress.doubtful == 0 {
        return Verdict::PutOff { progress: unsent(progress), wait, parked: false, why: reason.message };
    }
    in_doubt_until(progress, clock::after(case.context.now.wall, wait), reason.message)
}

/// E5: parked, and tried again later.
fn misconfigured(case: &Case<'_>, fault: &ConfigurationFault) -> Verdict {
    let may_have = fault.may_have_executed.then(|| with_doubt(case, LeftOpen::Misconfigured));
    let mut progress = may_have.unwrap_or_else(|| case.capture.progress.clone()).then(Since::Parked);
    let wait = case.context.policy.parked_for;
    let why = words(fault.code.as_deref(), &fault.message);
    progress.last_seen = Some(why.clone());
    if progress.doubtful == 0 {
        return Verdict::PutOff { progress: unsent(progress), wait, parked: true, why };
    }
    Verdict::InDoubt { progress, due_at: clock::after(case.context.now.wall, wait), parked: true, why }
}

/// Nothing of the capture can have arrived, so that its resend window has not begun: kept, it would
/// end while the capture rests, and no attempt after it could be sent.
fn unsent(progress: CaptureProgress) -> CaptureProgress {
    CaptureProgress { window_from: None, ..progress }
}

/// E3: in doubt, to be looked at by the schedule.
fn in_doubt(case: &Case<'_>, progress: CaptureProgress, hint: Option<Duration>, why: String) -> Verdict {
    let due_at = next_look(case, &progress, hint);
    in_doubt_until(progress, due_at, why)
}

fn in_doubt_until(mut progress: CaptureProgress, due_at: Timestamp, why: String) -> Verdict {
    progress.last_seen = Some(why.clone());
    Verdict::InDoubt { progress, due_at, parked: false, why }
}

/// The next look by the schedule, not before the provider's `Retry-After`.
fn next_look(case: &Case<'_>, progress: &CaptureProgress, hint: Option<Duration>) -> Timestamp {
    let policy = case.context.policy;
    let wait = retry::look_delay(&policy.look_after, progress.looks, case.context.jitter);
    let hint = hint.unwrap_or_default().min(policy.retry_after_max);
    clock::after(case.context.now.wall, wait.max(hint))
}

fn judge_reading(case: &Case<'_>, reading: Reading) -> Verdict {
    let mut progress = case.capture.progress.clone();
    match reading {
        Reading::Unclear(doubt) => {
            progress.looks += 1;
            let why = words(doubt.code.as_deref(), &doubt.message);
            in_doubt(case, progress.then(Since::LookFailed), doubt.retry_after, why)
        }
        Reading::Misconfigured(fault) => {
            let why = words(fault.code.as_deref(), &fault.message);
            let progress = CaptureProgress { last_seen: Some(why.clone()), ..progress.then(Since::Parked) };
            let due_at = clock::after(case.context.now.wall, case.context.policy.parked_for);
            Verdict::InDoubt { progress, due_at, parked: true, why }
        }
        Reading::Seen(view) => judge_view(case, progress, &view),
    }
}

/// A readable view that does not show our capture as we sent it.
fn judge_view(case: &Case<'_>, mut progress: CaptureProgress, view: &AuthorizationView) -> Verdict {
    progress.looks += 1;
    progress.is_pending = view.has_pending_capture;
    if let Some(other) = view.captures.iter().find(|seen| is_ours(case, seen.capture)) {
        return match shortcuts::captures(case.account.captures) {
            Captures::Single if is_about_another(case) => {
                let message = "the authorization's one capture was used for the shipments before it";
                Verdict::Failed(Cause::lookup(FailureReason::CaptureAlreadyUsed, message))
            }
            Captures::Single => {
                let message = format!("{} was captured on it, not our {}", other.amount, case.capture.amount);
                Verdict::Failed(Cause::lookup(FailureReason::CapturedElsewhere, &message))
            }
            Captures::Multiple => {
                let why = format!("captured under our key with {} instead of {}", other.amount, case.capture.amount);
                in_doubt(case, progress.then(Since::OtherAmount), None, why)
            }
        };
    }
    if view.currency != case.authorization.currency {
        let why = format!("the provider shows it in {}", view.currency);
        return in_doubt(case, progress.then(Since::OtherCurrency), None, why);
    }
    if view.has_pending_capture {
        progress.terminal_seen_at = None;
        let why = "created at the provider, not approved yet".to_owned();
        return in_doubt(case, progress.then(Since::StillPending), None, why);
    }
    // Captured in full, and not by us: nothing remains that a request of ours could still take.
    if view.status.is_terminal() || view.status == AuthorizationStatus::FullyCaptured {
        return judge_terminal(case, progress, view.status);
    }
    shortcuts::of_absence().unwrap_or_else(|| judge_absence(case, progress, view))
}

/// Had `span` passed since `mark` when the read that is judged was begun? That is what absence in it is worth: it
/// may be settled much later (a worker that was suspended), and what it does not show may have arrived in between.
fn had_passed(case: &Case<'_>, mark: Mark, span: Duration) -> bool {
    case.capture.progress.look_begun.is_some_and(|begun| begun.until(mark, span).is_zero())
}

/// E2 (b): terminal and nothing captured, seen twice.
fn judge_terminal(case: &Case<'_>, mut progress: CaptureProgress, status: AuthorizationStatus) -> Verdict {
    let (now, quiet) = (case.context.now, case.context.policy.quiet);
    let (reason, words) = match status {
        AuthorizationStatus::Expired => (FailureReason::AuthorizationExpired, "expired without our capture"),
        AuthorizationStatus::Voided => (FailureReason::AuthorizationVoided, "voided without our capture"),
        AuthorizationStatus::FullyCaptured => {
            (FailureReason::ExceedsAuthorization, "too little remains, without our capture")
        }
        AuthorizationStatus::Declined | AuthorizationStatus::NotYetApproved | AuthorizationStatus::Open => {
            (FailureReason::Declined, "declined")
        }
    };
    // Seen in another run of the machine, in what is the future now: the clock was set back, and it counts from now on.
    let is_told = |first: &Mark| first.boot.boot() == now.boot.boot() || first.wall <= now.wall;
    let first = progress.terminal_seen_at.filter(is_told).unwrap_or(now);
    progress.terminal_seen_at = Some(first);
    if had_passed(case, first, quiet) {
        return Verdict::Failed(Cause::lookup(reason, words));
    }
    let conclusive_at = clock::after(now.wall, now.until(first, quiet));
    in_doubt_until(progress.then(Since::OverOnce), conclusive_at, words.to_owned())
}

/// Does less remain than the capture needs? Then a request could not be met any more, whoever took the rest.
/// Unless so much is gone that is not in our books that it may be this very capture, shown late.
fn holds_too_little(case: &Case<'_>, view: &AuthorizationView) -> bool {
    let Some(remaining) = view.balance.remaining else { return false };
    let needs = case.capture.amount.minor();
    let held = view.authorized.unwrap_or(case.authorization.authorized).minor();
    let gone = view.balance.captured.map_or(held - remaining.minor(), Money::minor);
    remaining.minor() < needs && gone - found::captured_by_us(case.authorization) < needs
}

/// Nothing of ours is there, and the authorization is not terminal. That alone proves nothing.
fn judge_absence(case: &Case<'_>, mut progress: CaptureProgress, view: &AuthorizationView) -> Verdict {
    let holds_too_little = holds_too_little(case, view);
    if !holds_too_little {
        progress.terminal_seen_at = None;
    }
    let (now, quiet) = (case.context.now, case.context.policy.quiet);
    let is_quiet = progress.send_by.is_some_and(|by| had_passed(case, by, quiet)) || mutant::on(Mutant::NoQuiet);
    let quiet_from = clock::after(now.wall, progress.send_by.map_or(Duration::ZERO, |by| now.until(by, quiet)));
    if let Some(refusal) = progress.refused.clone().filter(|_| !mutant::on(Mutant::RefusalStaysOpen)) {
        // (a) confirmed by the read that it asked for, or (c).
        if progress.doubtful == 0 || is_quiet {
            return Verdict::Failed(Cause::refusal(refusal, ResolvedBy::Lookup));
        }
        let why = words(refusal.code.as_deref(), &refusal.message);
        return in_doubt_until(progress.then(Since::RefusedNothingYet), quiet_from, why);
    }
    // A refusal has its own end, above.
    if progress.refused.is_none() && holds_too_little {
        return judge_terminal(case, progress, AuthorizationStatus::FullyCaptured);
    }
    if case.authorization.in_flight > 1 {
        // Others were sent past it, so the balance means nothing for it: it is only read.
        let why = "nothing captured yet; others are being sent".to_owned();
        return in_doubt(case, progress.then(Since::OthersUnderWay), None, why);
    }
    if foreign::is_halted(case.authorization, case.context) {
        return in_doubt(case, progress.then(Since::Halted), None, "nothing captured yet; halted".to_owned());
    }
    // A permit that was not used opens no window.
    if !window::left(progress.window_from, case.account.resend_window, case.context.now).is_zero() {
        return Verdict::Resend { progress };
    }
    let ours = found::captured_by_us(case.authorization);
    let agrees = view.balance.captured.is_some_and(|shown| shown.minor() == ours);
    if is_quiet && agrees && !mutant::on(Mutant::ReadOnlyAfterWindow) {
        let progress = CaptureProgress { window_from: None, ..progress };
        return Verdict::Resend { progress };
    }
    let next = next_look(case, &progress, None);
    if agrees {
        let progress = progress.then(Since::NothingYet);
        return in_doubt_until(progress, next.min(quiet_from), "nothing captured yet".to_owned());
    }
    let why = "nothing captured yet; the balance differs from our books".to_owned();
    in_doubt_until(progress.then(Since::BalanceDiffers), next, why)
}

fn words(code: Option<&str>, message: &str) -> String {
    code.map_or_else(|| message.to_owned(), |code| format!("{code}: {message}"))
}

mod shortcuts;
#[cfg(test)]
mod tests;
