//! Why something is not decided yet, what would settle it, and what happens next: in words.
//!
//! Words for what the ledger has as labels and instants. Concludes nothing: the rules are the core's.

use serde::Serialize;

use super::{Surroundings, words};
use crate::capture::policy::Captures;
use crate::capture::records::{Authorization, Capped, Capture, Foreign, ForeignStanding, Shipment};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::capture::why::{LeftOpen, Missing, Since};
use crate::cli::text::{self, Instant};
use crate::clock::{self, Timestamp};
use chrono::TimeDelta;

/// So long after it was due, what a worker does at once is late.
const LATE: TimeDelta = TimeDelta::minutes(1);

/// Why something is not decided yet.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Explained {
    /// What it is, for programs.
    pub(super) label: &'static str,
    /// The same in words.
    pub(super) why: String,
    /// What came of it since, for programs.
    pub(super) latest_label: Option<&'static str>,
    /// The same in words, with what was seen.
    pub(super) latest: Option<String>,
    /// What would settle it.
    pub(super) settled_by: String,
    /// What happens next.
    pub(super) next: String,
    /// When.
    pub(super) next_at: Option<Instant>,
    /// What holds that up.
    pub(super) held_up_by: Option<String>,
}

impl Explained {
    /// Question and answer, line by line.
    pub(super) fn lines(&self) -> impl Iterator<Item = [String; 2]> {
        let line = |question: &str, answer: &str| [question.to_owned(), text::harmless(answer, false)];
        [
            Some(line("why", &self.why)),
            self.latest.as_deref().map(|latest| line("since then", latest)),
            Some(line("what settles it", &self.settled_by)),
            self.held_up_by.as_deref().map(|held_up| line("held up", held_up)),
            Some(line("next", &self.next)),
        ]
        .into_iter()
        .flatten()
    }
}

/// Why a capture is not decided; `None` where it is, or is being sent right now.
pub(super) fn capture(capture: &Capture, around: &Surroundings<'_>) -> Option<Explained> {
    match capture.state {
        CaptureState::Planned => Some(planned(capture, around)),
        CaptureState::InDoubt => Some(in_doubt(capture, around)),
        CaptureState::Sending | CaptureState::Captured | CaptureState::Failed | CaptureState::Unresolved => None,
    }
}

/// Why a shipment waits; `None` where it does not, or its capture tells.
pub(super) fn shipment(shipment: &Shipment, around: &Surroundings<'_>) -> Option<Explained> {
    match shipment.state {
        ShipmentState::Awaiting => Some(awaiting(shipment, around)),
        ShipmentState::Waiting => Some(waiting(shipment, around)),
        ShipmentState::Covered | ShipmentState::Settled | ShipmentState::Refused => None,
    }
}

fn in_doubt(capture: &Capture, around: &Surroundings<'_>) -> Explained {
    let progress = &capture.progress;
    let why = progress.left_open.map_or("its money may have moved", words::left_open);
    let since = progress.doubt_since.map(|at| format!("; in doubt since {}", around.instant(at)));
    let looks = match progress.looks {
        0 => "not looked up yet".to_owned(),
        1 => "looked up once".to_owned(),
        looks => format!("looked up {looks} times"),
    };
    let shown = progress.since.map(|since| format!("; {}", words::since(since)));
    let seen = progress.last_seen.as_deref().map(|seen| format!(" (last seen: {seen})"));
    let held_up_by = around.held_up(capture);
    Explained {
        label: progress.left_open.map_or("in_doubt", LeftOpen::as_str),
        why: format!("{why}{}", since.unwrap_or_default()),
        latest_label: progress.since.map(Since::as_str),
        latest: Some(format!("{looks}{}{}", shown.unwrap_or_default(), seen.unwrap_or_default())),
        settled_by: settled_by(capture, around),
        next: around.next("looked up", capture.due_at, held_up_by.is_some()),
        next_at: capture.due_at.map(Instant),
        held_up_by,
    }
}

/// What would settle a capture in doubt.
fn settled_by(capture: &Capture, around: &Surroundings<'_>) -> String {
    let progress = &capture.progress;
    let quiet_over = |from: Option<Timestamp>| {
        let at = from.map(|from| around.instant(clock::after(from, around.policy.quiet)));
        at.map_or_else(|| "later".to_owned(), |at| format!("from {at} on"))
    };
    let quiet = || quiet_over(progress.send_by.map(|by| by.wall));
    let sent_again = || {
        "a look that shows it, and it is captured; one that shows none, and the same is sent again under the same key \
         as soon as that is safe"
            .to_owned()
    };
    let refused = || {
        format!(
            "a look that shows it, and it is captured; one {} that shows none, and it has failed as refused",
            quiet()
        )
    };
    let approved = || "the provider's approval, or its refusal".to_owned();
    let settings_right = || "the account's settings put right: it is looked up again then".to_owned();
    match progress.since {
        None => match progress.left_open {
            Some(LeftOpen::Pending) => approved(),
            Some(LeftOpen::Refused) => refused(),
            Some(LeftOpen::Misconfigured) => settings_right(),
            None
            | Some(
                LeftOpen::NoAnswer
                | LeftOpen::ConnectionLost
                | LeftOpen::HttpStatus
                | LeftOpen::Unreadable
                | LeftOpen::Ambiguous
                | LeftOpen::Interrupted,
            ) => sent_again(),
        },
        Some(Since::NotExecuted | Since::LookFailed) => sent_again(),
        Some(Since::Parked) => settings_right(),
        Some(Since::StillPending) => approved(),
        Some(Since::OverOnce) => format!(
            "a look that shows it, and it is captured; one {} that shows the same again, and it has failed",
            quiet_over(progress.terminal_seen_at.map(|at| at.wall))
        ),
        Some(Since::OtherAmount) => {
            "a person: ask the provider what it captured under the key, which is the capture's id, and close it with \
             `holdfast captures close`"
                .to_owned()
        }
        Some(Since::OtherCurrency) => {
            "a look that shows it in our currency: ask the provider what the authorization is in".to_owned()
        }
        Some(Since::NothingYet) => format!(
            "a look that shows it, and it is captured; one {} that shows none, and the same is sent again under the \
             same key",
            quiet()
        ),
        Some(Since::RefusedNothingYet) => refused(),
        Some(Since::BalanceDiffers) => {
            "a look that shows it, and it is captured; or a balance as in our books, and the same is sent again under \
             the same key: find out who else captures on the authorization"
                .to_owned()
        }
        Some(Since::OthersUnderWay) => {
            "a look that shows it, and it is captured; or the end of the others, and a look after it".to_owned()
        }
        Some(Since::Halted) => {
            "a look that shows it, and it is captured; or the end of the halt, and a look after it: `holdfast \
             authorizations show` says how it ends"
                .to_owned()
        }
    }
}

fn planned(capture: &Capture, around: &Surroundings<'_>) -> Explained {
    let progress = &capture.progress;
    let seen = progress.last_seen.as_deref().map(|seen| format!(": {seen}")).unwrap_or_default();
    let held_up_by = around.held_up(capture);
    let (label, why, settled_by, what) = if let Some(foreign) = around.halted(capture) {
        (
            "halted",
            format!(
                "{} was captured by somebody else on its authorization, on which nothing is sent since {}",
                foreign.amount,
                around.instant(foreign.since)
            ),
            "the end of the halt, and what fits then is sent: `holdfast authorizations resume`, a read that agrees with \
             our books, or the deadline margin of the authorization",
            "sent, or refused if it does not fit,",
        )
    } else if let Some(capped) = capture.capped.filter(|_| capture.is_held() && !capture.waits_turn) {
        held(capped, progress.last_seen.as_deref())
    } else if capture.waits_turn {
        (
            "waits_turn",
            "another capture of its authorization is being sent or in doubt, and they go one at a time".to_owned(),
            "the end of that one; or the deadline margin of the authorization, where it is allowed several captures",
            "sent in any case",
        )
    } else {
        match progress.since.filter(|_| progress.attempts > 0) {
            Some(Since::Parked) => (
                "parked",
                format!("it rests, because the account's settings do not work, and has not failed{seen}"),
                "the account's settings put right: it is sent again then",
                "sent again",
            ),
            Some(Since::NotExecuted) => (
                "not_executed",
                format!("its last attempt, of {}, was certainly not executed{seen}", progress.attempts),
                "its next attempt: it is sent again until the provider answers",
                "sent again",
            ),
            None
            | Some(
                Since::LookFailed
                | Since::StillPending
                | Since::OverOnce
                | Since::OtherAmount
                | Since::OtherCurrency
                | Since::NothingYet
                | Since::RefusedNothingYet
                | Since::BalanceDiffers
                | Since::OthersUnderWay
                | Since::Halted,
            ) => ("ready", "it has not been sent yet".to_owned(), "the provider's answer", "sent"),
        }
    };
    let next = match (capture.waits_turn, capture.due_at) {
        (true, None) => "it is sent when its turn comes".to_owned(),
        (false, None) if held_up_by.is_none() => "it is sent as soon as there is a permit for its account".to_owned(),
        (true | false, at) => around.next(what, at, held_up_by.is_some()),
    };
    Explained {
        label,
        why,
        latest_label: None,
        latest: None,
        settled_by: settled_by.to_owned(),
        next,
        next_at: capture.due_at.map(Instant),
        held_up_by,
    }
}

/// Label, reason, what settles it and what comes next of a capture that a cap holds.
fn held(by: Capped, seen: Option<&str>) -> (&'static str, String, &'static str, &'static str) {
    let (label, settled_by) = match by {
        Capped::Capture => ("held_by_cap_per_capture", BY_A_PERSON),
        Capped::Currency => ("held_by_currency_without_cap", BY_A_PERSON),
        Capped::Hour => ("held_by_cap_per_hour", "room in the hour, or `holdfast captures release`"),
        Capped::Day => ("held_by_cap_per_day", "room in the day, or `holdfast captures release`"),
        Capped::Released => ("released", "the provider's answer"),
    };
    let seen = seen.map(|seen| format!(": {seen}")).unwrap_or_default();
    (label, format!("a cap of its account holds it, and it has not failed{seen}"), settled_by, "looked at again")
}

const BY_A_PERSON: &str =
    "a person: `holdfast captures release`, or another cap in the settings; or the end of its authorization";

fn awaiting(shipment: &Shipment, around: &Surroundings<'_>) -> Explained {
    let (why, settled_by) = match shipment.awaits {
        None => ("something that it needs is not known yet", "a notice that brings what is missing"),
        Some(missing) => words::missing(missing),
    };
    let ends_at = clock::after(shipment.accepted_at, around.policy.awaiting_max);
    let ends_as = shipment.awaits.map(|missing| format!(" as unknown_{}", missing.as_str()));
    let look = around.next("taken up again", shipment.due_at, false);
    Explained {
        label: shipment.awaits.map_or("awaiting", Missing::as_str),
        why: format!("it is acknowledged, and {why}"),
        latest_label: None,
        latest: None,
        settled_by: settled_by.to_owned(),
        next: format!("{look}; it is refused{} at {}", ends_as.unwrap_or_default(), around.instant(ends_at)),
        next_at: shipment.due_at.map(Instant),
        held_up_by: None,
    }
}

fn waiting(shipment: &Shipment, around: &Surroundings<'_>) -> Explained {
    let authorization = shipment.authorization.and_then(|key| around.story.authorization(key));
    let held_up_by = authorization.and_then(|record| around.account_held_up(record));
    let captures = authorization.and_then(|record| around.policy.accounts.get(&record.account));
    let (label, why, settled_by) = match captures.map(|account| account.captures) {
        Some(Captures::Multiple) => (
            "below_minimum",
            "it comes to less than the least that its account captures at once",
            "the next shipment of its order, with which it is captured; or the end of the order, when it is refused as \
             below_minimum",
        ),
        Some(Captures::Single) | None => (
            "collects",
            "it collects with others, since its authorization can be captured once",
            "the order complete or final, or the deadline margin of its authorization: all of it is captured then",
        ),
    };
    let next_at = authorization.and_then(reads_at);
    Explained {
        label,
        why: why.to_owned(),
        latest_label: None,
        latest: None,
        settled_by: settled_by.to_owned(),
        next: match next_at {
            None => "it waits".to_owned(),
            Some(at) => around.next("captured, after a read of its authorization,", Some(at), held_up_by.is_some()),
        },
        next_at: next_at.map(Instant),
        held_up_by,
    }
}

/// When the authorization is read to be captured; later again, where a read did not permit it.
fn reads_at(record: &Authorization) -> Option<Timestamp> {
    let freeze_at = record.freeze_at?;
    Some(record.watch.read_at.map_or(freeze_at, |read_at| read_at.max(freeze_at)))
}

impl Surroundings<'_> {
    fn instant(&self, at: Timestamp) -> String {
        text::instant_and_distance(at, self.now)
    }

    /// When something is done next; and a hint where nobody seems to be there to do it.
    fn next(&self, what: &str, at: Option<Timestamp>, is_held_up: bool) -> String {
        let Some(at) = at else { return format!("it is {what} as soon as it can be") };
        let instant = self.instant(at);
        if is_held_up {
            format!("it is {what} when that is over, not before {instant}")
        } else if at > self.now {
            format!("it is {what} at {instant}")
        } else if self.now.signed_duration_since(at) < LATE {
            format!("it is {what} now, due at {instant}")
        } else {
            format!("it was to be {what} at {instant}: is a worker running?")
        }
    }

    fn held_up(&self, capture: &Capture) -> Option<String> {
        self.account_held_up(self.story.authorization(capture.authorization)?)
    }

    /// What somebody else has captured on its authorization, where nothing is sent on that.
    fn halted(&self, capture: &Capture) -> Option<Foreign> {
        let foreign = self.story.authorization(capture.authorization)?.watch.foreign?;
        (foreign.standing == ForeignStanding::Halted).then_some(foreign)
    }

    /// Why nothing is asked of an authorization's account, where nothing is.
    fn account_held_up(&self, authorization: &Authorization) -> Option<String> {
        let name = &authorization.account;
        if !self.policy.accounts.contains_key(name) {
            return Some(format!("its account {name} is not in the settings: nothing is asked or sent until it is"));
        }
        let status = self.accounts.get(name)?.status.as_ref()?;
        let why = status.why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
        let since = self.instant(status.since);
        match status.state.as_str() {
            "paused" => Some(format!(
                "its account {name} is paused since {since}{why}: nothing is asked or sent until `holdfast accounts \
                 resume {name}`"
            )),
            "suspended" => Some(format!(
                "its account {name} is suspended since {since}{why}: nothing is asked or sent until its settings work, \
                 which is tried by itself"
            )),
            "breaker_open" => Some(format!(
                "the provider of its account {name} does not work since {since}{why}: nothing is asked or sent until \
                 it does, which is tried by itself"
            )),
            _ => None,
        }
    }
}
