//! Wrong conclusions that tests switch on, to see them caught: see [`crate::mutant`]. None is ever drawn in
//! a release build.

use crate::capture::event::{FailureReason, ResolvedBy};
use crate::capture::evidence::{Doubt, DoubtKind};
use crate::capture::outcome::Cause;
use crate::capture::policy::Captures;
use crate::mutant::{self, Mutant};

use super::Verdict;

/// What Flex Pay says of a key that it knows.
const KEY_USED: &str = "IDEMPOTENCY_KEY_ALREADY_USED";

/// Silence is no failure, and a used key no success.
pub(super) fn of_doubt(doubt: &Doubt) -> Option<Verdict> {
    if mutant::on(Mutant::TimeoutIsFailure) && doubt.kind == DoubtKind::Timeout {
        return Some(failed("there was no answer"));
    }
    let is_used = doubt.code.as_deref() == Some(KEY_USED);
    (mutant::on(Mutant::UsedIsSuccess) && is_used)
        .then_some(Verdict::Captured { resolved_by: ResolvedBy::Response, provider_reference: None })
}

/// Absence is no failure.
pub(super) fn of_absence() -> Option<Verdict> {
    mutant::on(Mutant::AbsenceIsFailure).then(|| failed("it is not there"))
}

/// Another amount on a single-capture authorization is its end; on any other it says nothing.
pub(super) fn captures(captures: Captures) -> Captures {
    if mutant::on(Mutant::ForeignStaysOpen) { Captures::Multiple } else { captures }
}

fn failed(message: &str) -> Verdict {
    Verdict::Failed(Cause::lookup(FailureReason::Declined, message))
}
