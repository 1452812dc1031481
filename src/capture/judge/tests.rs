//! The rules as tables. A column is what is known of a capture, a row what is seen, a cell the verdict.

use super::*;
use crate::capture::evidence::{ProviderBalance, SeenCapture};
use crate::capture::policy::Policy;
use crate::capture::records::{AuthorizationKey, CaptureKey, NamedBy, OrderKey, ShipmentKey, SingleUse};
use crate::capture::tests::support::{
    MINUTE, OFTEN, ONCE, SECOND, account, at, captured, currency, doubt, gel, not_executed, policy, reference, refusal,
    seen, shown, view,
};
use crate::clock::{BootId, BootInstant, Mark, Moment};
use crate::ids::CaptureId;
use uuid::Uuid;

const EPOCH: u32 = 3;
/// The first send, in seconds; every capture of these tests is of 10.00 GEL on 100.00 GEL.
const SENT: i64 = 0;
const SEND_BY: i64 = 10;
const WINDOW_END: i64 = 900;
const QUIET_FROM: i64 = SEND_BY + 900;

/// On a machine whose clocks agree.
fn moment(wall: Timestamp) -> Moment {
    let since = (wall - at(0)).to_std().unwrap_or_default();
    Moment { wall, boot: BootInstant::from_boot(since) }
}

/// As many seconds after the first send, by clocks that agree.
fn seen_at(seconds: i64) -> Mark {
    moment(at(seconds))
}

fn ours() -> CaptureId {
    CaptureId::from_uuid(Uuid::from_u128(1))
}

fn somebody_elses() -> CaptureId {
    CaptureId::from_uuid(Uuid::from_u128(2))
}

/// What is known, and when it is asked.
#[derive(Clone)]
struct Known {
    account: &'static str,
    capture: Capture,
    authorization: Authorization,
    epoch: u32,
    now: Timestamp,
    /// On both clocks, where they disagree.
    moment: Option<Moment>,
    policy: Policy,
}

impl Known {
    fn new(account_name: &'static str, state: CaptureState) -> Self {
        let (order, shipment) = (OrderKey::new(1), ShipmentKey::new(3));
        let authorization = Authorization {
            key: AuthorizationKey::new(2),
            account: account(account_name),
            reference: reference("r"),
            order,
            currency: currency("GEL"),
            authorized: gel(10_000),
            is_amount_known: true,
            captured: gel(0),
            reserved: gel(1_000),
            excess: gel(0),
            expires_at: None,
            expiry_is_derived: false,
            planned: 0,
            held: 0,
            unresolved: 0,
            in_flight: u32::from(state.is_in_flight()),
            waiting: 0,
            waiting_amount: gel(0),
            single: SingleUse::Undecided,
            freeze_at: None,
            reads: 0,
            ask: None,
            epoch: 0,
            provider: ProviderBalance::default(),
            watch: crate::capture::records::Watch::default(),
        };
        let capture = Capture {
            key: CaptureKey::new(4),
            id: ours(),
            authorization: authorization.key,
            order,
            named_by: NamedBy::Shipment(shipment),
            kind: crate::capture::event::CaptureKind::Shipment,
            generation: 0,
            amount: gel(1_000),
            state,
            planned_at: at(SENT),
            due_at: None,
            waits_turn: false,
            capped: None,
            counted_at: None,
            progress: CaptureProgress {
                attempts: 1,
                epoch: EPOCH,
                doubtful: u32::from(state == CaptureState::InDoubt),
                window_from: Some(moment(at(SENT))),
                send_by: Some(moment(at(SEND_BY))),
                doubt_since: (state == CaptureState::InDoubt).then(|| at(SENT)),
                ..CaptureProgress::default()
            },
            resolved_by: None,
            provider_reference: None,
            settled_at: None,
            corrected_at: None,
        };
        Self {
            account: account_name,
            capture,
            authorization,
            epoch: EPOCH,
            now: at(SENT + 1),
            moment: None,
            policy: policy(),
        }
    }

    /// The first attempt is under way.
    fn sending(account_name: &'static str) -> Self {
        Self::new(account_name, CaptureState::Sending)
    }

    /// One attempt may have been executed, and a look was begun.
    fn in_doubt(account_name: &'static str) -> Self {
        Self::new(account_name, CaptureState::InDoubt)
    }

    fn but(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn progress(self, change: impl FnOnce(&mut CaptureProgress)) -> Self {
        self.but(|known| change(&mut known.capture.progress))
    }

    fn asked_at(self, seconds: i64) -> Self {
        self.but(|known| known.now = at(seconds))
    }

    /// A read is begun when it is asked, where nothing else is said.
    fn judge(&self, evidence: Evidence) -> Verdict {
        let mut capture = self.capture.clone();
        capture.progress.look_begun = capture.progress.look_begun.or(Some(self.context().now));
        let case = Case {
            capture: &capture,
            authorization: &self.authorization,
            account: &self.policy.accounts[&account(self.account)],
            epoch: self.epoch,
            context: self.context(),
        };
        judge(&case, evidence)
    }

    fn context(&self) -> Context<'_> {
        Context {
            policy: &self.policy,
            now: self.moment.unwrap_or_else(|| moment(self.now)),
            jitter: retry::Jitter::NONE,
        }
    }

    fn answered(&self, answer: Answer) -> Verdict {
        self.judge(Evidence::Answer(answer))
    }

    fn shown(&self, view: AuthorizationView) -> Verdict {
        self.judge(Evidence::Reading(seen(view)))
    }
}

/// A verdict in one word.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Captured { .. } => "captured",
        Verdict::Corrected { .. } => "corrected",
        Verdict::Failed(_) => "failed",
        Verdict::PutOff { parked: false, .. } => "put off",
        Verdict::PutOff { parked: true, .. } => "parked",
        Verdict::InDoubt { parked: true, .. } => "doubt, parked",
        Verdict::InDoubt { progress, parked: false, .. } if progress.refused.is_some() => "doubt, refused",
        Verdict::InDoubt { parked: false, .. } => "doubt",
        Verdict::Resend { .. } => "resend",
        Verdict::Nothing => "-",
    }
}

fn reason(verdict: &Verdict) -> Option<(FailureReason, ResolvedBy)> {
    match verdict {
        Verdict::Failed(cause) => Some((cause.reason, cause.resolved_by)),
        Verdict::Captured { .. }
        | Verdict::Corrected { .. }
        | Verdict::PutOff { .. }
        | Verdict::InDoubt { .. }
        | Verdict::Resend { .. }
        | Verdict::Nothing => None,
    }
}

/// The progress that a verdict keeps.
fn progress_of(verdict: &Verdict) -> &CaptureProgress {
    match verdict {
        Verdict::PutOff { progress, .. } | Verdict::InDoubt { progress, .. } | Verdict::Resend { progress } => progress,
        Verdict::Captured { .. } | Verdict::Corrected { .. } | Verdict::Failed(_) | Verdict::Nothing => {
            panic!("{verdict:?} keeps no progress")
        }
    }
}

fn due_at(verdict: &Verdict) -> Timestamp {
    match verdict {
        Verdict::InDoubt { due_at, .. } => *due_at,
        Verdict::Captured { .. }
        | Verdict::Corrected { .. }
        | Verdict::Failed(_)
        | Verdict::PutOff { .. }
        | Verdict::Resend { .. }
        | Verdict::Nothing => panic!("{verdict:?} is no doubt"),
    }
}

/// Every answer there is, by the name that its row has. A new kind of answer does not compile here.
fn answer_name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Captured(proof) => match proof.amount {
            None => "captured",
            Some(amount) if amount == gel(1_000) => "captured, our amount",
            Some(_) => "captured, another amount",
        },
        Answer::Pending => "pending",
        Answer::Refused(Refusal { read_first: false, .. }) => "refused",
        Answer::Refused(Refusal { read_first: true, .. }) => "refused, read first",
        Answer::Doubt(doubt) => match doubt.kind {
            DoubtKind::Timeout => "timeout",
            DoubtKind::ConnectionLost => "connection lost",
            DoubtKind::HttpStatus => "http status",
            DoubtKind::Unreadable => "unreadable",
            DoubtKind::Coded => "coded",
        },
        Answer::NotExecuted(_) => "not executed",
        Answer::Misconfigured(ConfigurationFault { may_have_executed: false, .. }) => "misconfigured",
        Answer::Misconfigured(ConfigurationFault { may_have_executed: true, .. }) => "misconfigured, maybe executed",
    }
}

fn fault(may_have_executed: bool) -> ConfigurationFault {
    ConfigurationFault { code: Some("1014".to_owned()), message: "signature".to_owned(), may_have_executed }
}

fn answers() -> Vec<Answer> {
    vec![
        captured(None),
        captured(Some(gel(1_000))),
        captured(Some(gel(999))),
        Answer::Pending,
        Answer::Refused(refusal(RefusalReason::Declined)),
        Answer::Refused(Refusal { read_first: true, ..refusal(RefusalReason::ExceedsAuthorization) }),
        Answer::Doubt(doubt(DoubtKind::Timeout)),
        Answer::Doubt(doubt(DoubtKind::ConnectionLost)),
        Answer::Doubt(doubt(DoubtKind::HttpStatus)),
        Answer::Doubt(doubt(DoubtKind::Unreadable)),
        Answer::Doubt(doubt(DoubtKind::Coded)),
        not_executed(),
        Answer::Misconfigured(fault(false)),
        Answer::Misconfigured(fault(true)),
    ]
}

#[test]
fn every_answer_in_every_state_of_knowledge() {
    let columns: [(&str, Known); 9] = [
        ("first", Known::sending(ONCE)),
        ("again", Known::sending(ONCE).progress(|p| p.doubtful = 1)),
        ("expired", Known::sending(ONCE).but(|k| k.authorization.expires_at = Some(at(SENT)))),
        ("stale", Known::sending(ONCE).but(|k| k.epoch = EPOCH - 1)),
        ("in doubt", Known::in_doubt(ONCE)),
        ("planned", Known::new(ONCE, CaptureState::Planned)),
        ("captured", Known::new(ONCE, CaptureState::Captured)),
        ("failed", Known::new(ONCE, CaptureState::Failed)),
        ("unresolved", Known::new(ONCE, CaptureState::Unresolved)),
    ];
    #[rustfmt::skip]
    let rows: [(&str, [&str; 9]); 14] = [
        //                                first             again            expired           stale       in doubt    planned     captured failed       unresolved
        ("captured",                      ["captured",      "captured",      "captured",       "captured", "captured", "captured", "-",     "corrected", "corrected"]),
        ("captured, our amount",          ["captured",      "captured",      "captured",       "captured", "captured", "captured", "-",     "corrected", "corrected"]),
        ("captured, another amount",      ["doubt",         "doubt",         "doubt",          "-",        "-",        "-",        "-",     "-",         "-"]),
        ("pending",                       ["doubt",         "doubt",         "doubt",          "-",        "-",        "-",        "-",     "-",         "-"]),
        ("refused",                       ["failed",        "doubt, refused", "failed",        "-",        "-",        "-",        "-",     "-",         "-"]),
        ("refused, read first",           ["doubt, refused", "doubt, refused", "doubt, refused", "-",      "-",        "-",        "-",     "-",         "-"]),
        ("timeout",                       ["doubt",         "doubt",         "doubt",          "-",        "-",        "-",        "-",     "-",         "-"]),
        ("connection lost",               ["doubt",         "doubt",         "doubt",          "-",        "-",        "-",        "-",     "-",         "-"]),
        ("http status",                   ["doubt",         "doubt",         "doubt",          "-",        "-",        "-",        "-",     "-",         "-"]),
        ("unreadable",                    ["doubt",         "doubt",         "doubt",          "-",        "-",        "-",        "-",     "-",         "-"]),
        ("coded",                         ["doubt",         "doubt",         "doubt, refused", "-",        "-",        "-",        "-",     "-",         "-"]),
        ("not executed",                  ["put off",       "doubt",         "put off",        "-",        "-",        "-",        "-",     "-",         "-"]),
        ("misconfigured",                 ["parked",        "doubt, parked", "parked",         "-",        "-",        "-",        "-",     "-",         "-"]),
        ("misconfigured, maybe executed", ["doubt, parked", "doubt, parked", "doubt, parked",  "-",        "-",        "-",        "-",     "-",         "-"]),
    ];
    let answers = answers();
    assert_eq!(answers.iter().map(answer_name).collect::<Vec<_>>(), rows.map(|(name, _)| name));
    for (answer, (name, cells)) in answers.iter().zip(&rows) {
        for ((column, known), expected) in columns.iter().zip(cells) {
            let verdict = known.answered(answer.clone());
            assert_eq!(word(&verdict), *expected, "{name}, {column}: {verdict:?}");
        }
    }
}

#[test]
fn only_a_request_that_may_have_been_executed_adds_to_the_doubt() {
    for (name, doubtful) in [
        ("pending", 2),
        ("refused", 1),
        ("refused, read first", 1),
        ("timeout", 2),
        ("coded", 2),
        ("captured, another amount", 2),
        ("not executed", 1),
        ("misconfigured", 1),
        ("misconfigured, maybe executed", 2),
    ] {
        let answer = answers().into_iter().find(|answer| answer_name(answer) == name).expect("a row");
        let verdict = Known::sending(ONCE).progress(|p| p.doubtful = 1).answered(answer);
        assert_eq!(progress_of(&verdict).doubtful, doubtful, "{name}");
    }
}

/// Every view of an authorization that a provider can give, by the name of its row.
fn views() -> Vec<(&'static str, AuthorizationView)> {
    let of = |status| AuthorizationView { status, ..view(10_000) };
    let with = |captures: Vec<SeenCapture>| AuthorizationView { captures, ..of(AuthorizationStatus::Open) };
    vec![
        ("ours", with(vec![shown(Some(ours()), gel(1_000))])),
        ("under our key, another amount", with(vec![shown(Some(ours()), gel(999))])),
        ("without a key, our amount", with(vec![shown(None, gel(1_000))])),
        ("without a key, another amount", with(vec![shown(None, gel(999))])),
        ("somebody else's", with(vec![shown(Some(somebody_elses()), gel(1_000))])),
        ("not yet approved", of(AuthorizationStatus::NotYetApproved)),
        ("open", of(AuthorizationStatus::Open)),
        ("fully captured", of(AuthorizationStatus::FullyCaptured)),
        ("declined", of(AuthorizationStatus::Declined)),
        ("expired", of(AuthorizationStatus::Expired)),
        ("voided", of(AuthorizationStatus::Voided)),
        ("pending", AuthorizationView { has_pending_capture: true, ..of(AuthorizationStatus::Open) }),
        ("another currency", AuthorizationView { currency: currency("EUR"), ..of(AuthorizationStatus::Open) }),
    ]
}

fn check_views(columns: &[(&str, Known)], rows: &[(&str, &[&str])]) {
    let views = views();
    assert_eq!(views.iter().map(|(name, _)| *name).collect::<Vec<_>>(), rows.iter().map(|r| r.0).collect::<Vec<_>>());
    for ((name, view), (_, cells)) in views.iter().zip(rows) {
        assert_eq!(cells.len(), columns.len(), "{name}");
        for ((column, known), expected) in columns.iter().zip(*cells) {
            let verdict = known.shown(view.clone());
            assert_eq!(word(&verdict), *expected, "{name}, {column}: {verdict:?}");
        }
    }
}

#[test]
fn every_view_of_an_authorization_that_is_captured_once() {
    let refused = |p: &mut CaptureProgress| p.refused = Some(refusal(RefusalReason::Declined));
    let columns = [
        ("soon", Known::in_doubt(ONCE)),
        ("later", Known::in_doubt(ONCE).asked_at(QUIET_FROM)),
        (
            "seen terminal",
            Known::in_doubt(ONCE).asked_at(QUIET_FROM).progress(|p| p.terminal_seen_at = Some(seen_at(10))),
        ),
        ("refused, soon", Known::in_doubt(ONCE).progress(refused)),
        ("refused, quiet", Known::in_doubt(ONCE).progress(refused).asked_at(QUIET_FROM)),
        ("stale", Known::in_doubt(ONCE).but(|k| k.epoch = EPOCH - 1)),
        ("sending", Known::sending(ONCE)),
        ("failed", Known::new(ONCE, CaptureState::Failed)),
    ];
    #[rustfmt::skip]
    let rows: [(&str, &[&str]); 13] = [
        //                                 soon        later       seen terminal refused, soon     refused, quiet    stale       sending     failed
        ("ours",                          &["captured", "captured", "captured", "captured",       "captured",       "captured", "captured", "corrected"]),
        ("under our key, another amount", &["failed",   "failed",   "failed",   "failed",         "failed",         "-",        "-",        "-"]),
        ("without a key, our amount",     &["captured", "captured", "captured", "captured",       "captured",       "captured", "captured", "corrected"]),
        ("without a key, another amount", &["failed",   "failed",   "failed",   "failed",         "failed",         "-",        "-",        "-"]),
        ("somebody else's",               &["captured", "captured", "captured", "captured",       "captured",       "captured", "captured", "corrected"]),
        ("not yet approved",              &["resend",   "resend",   "resend",   "doubt, refused", "failed",         "-",        "-",        "-"]),
        ("open",                          &["resend",   "resend",   "resend",   "doubt, refused", "failed",         "-",        "-",        "-"]),
        ("fully captured",                &["doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "-",        "-",        "-"]),
        ("declined",                      &["doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "-",        "-",        "-"]),
        ("expired",                       &["doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "-",        "-",        "-"]),
        ("voided",                        &["doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "-",        "-",        "-"]),
        ("pending",                       &["doubt",    "doubt",    "doubt",    "doubt, refused", "doubt, refused", "-",        "-",        "-"]),
        ("another currency",              &["doubt",    "doubt",    "doubt",    "doubt, refused", "doubt, refused", "-",        "-",        "-"]),
    ];
    check_views(&columns, &rows);
}

#[test]
fn every_view_of_an_authorization_that_is_captured_several_times() {
    let refused = |p: &mut CaptureProgress| p.refused = Some(refusal(RefusalReason::Declined));
    let columns = [
        ("in the window", Known::in_doubt(OFTEN).asked_at(WINDOW_END - 1)),
        ("after it", Known::in_doubt(OFTEN).asked_at(WINDOW_END)),
        ("after it and quiet", Known::in_doubt(OFTEN).asked_at(QUIET_FROM)),
        (
            "seen terminal",
            Known::in_doubt(OFTEN).asked_at(QUIET_FROM).progress(|p| p.terminal_seen_at = Some(seen_at(10))),
        ),
        ("refused, soon", Known::in_doubt(OFTEN).progress(refused)),
        ("refused, quiet", Known::in_doubt(OFTEN).progress(refused).asked_at(QUIET_FROM)),
        ("others in flight", Known::in_doubt(OFTEN).but(|k| k.authorization.in_flight = 2)),
        ("stale", Known::in_doubt(OFTEN).but(|k| k.epoch = EPOCH - 1)),
    ];
    #[rustfmt::skip]
    let rows: [(&str, &[&str]); 13] = [
        //                                 in the window after it   and quiet   terminal    refused, soon     refused, quiet    others      stale
        ("ours",                          &["captured", "captured", "captured", "captured", "captured",       "captured",       "captured", "captured"]),
        ("under our key, another amount", &["doubt",    "doubt",    "doubt",    "doubt",    "doubt, refused", "doubt, refused", "doubt",    "-"]),
        ("without a key, our amount",     &["resend",   "doubt",    "resend",   "resend",   "doubt, refused", "failed",         "doubt",    "-"]),
        ("without a key, another amount", &["resend",   "doubt",    "resend",   "resend",   "doubt, refused", "failed",         "doubt",    "-"]),
        ("somebody else's",               &["resend",   "doubt",    "resend",   "resend",   "doubt, refused", "failed",         "doubt",    "-"]),
        ("not yet approved",              &["resend",   "doubt",    "resend",   "resend",   "doubt, refused", "failed",         "doubt",    "-"]),
        ("open",                          &["resend",   "doubt",    "resend",   "resend",   "doubt, refused", "failed",         "doubt",    "-"]),
        ("fully captured",                &["doubt",    "doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "doubt",    "-"]),
        ("declined",                      &["doubt",    "doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "doubt",    "-"]),
        ("expired",                       &["doubt",    "doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "doubt",    "-"]),
        ("voided",                        &["doubt",    "doubt",    "doubt",    "failed",   "doubt, refused", "doubt, refused", "doubt",    "-"]),
        ("pending",                       &["doubt",    "doubt",    "doubt",    "doubt",    "doubt, refused", "doubt, refused", "doubt",    "-"]),
        ("another currency",              &["doubt",    "doubt",    "doubt",    "doubt",    "doubt, refused", "doubt, refused", "doubt",    "-"]),
    ];
    check_views(&columns, &rows);
}

#[test]
fn readings_that_show_nothing_conclude_nothing() {
    for account in [ONCE, OFTEN] {
        for now in [1, WINDOW_END, QUIET_FROM, 10_000_000] {
            let known = Known::in_doubt(account).asked_at(now);
            let unclear = known.judge(Evidence::Reading(Reading::Unclear(doubt(DoubtKind::Timeout))));
            assert_eq!((word(&unclear), progress_of(&unclear).looks), ("doubt", 1));
            let faulty = known.judge(Evidence::Reading(Reading::Misconfigured(fault(true))));
            assert_eq!(word(&faulty), "doubt, parked");
            assert_eq!(progress_of(&faulty).last_seen.as_deref(), Some("1014: signature"));
            assert_eq!(due_at(&faulty), at(now) + known.policy.parked_for);
        }
    }
}

#[test]
fn what_remains_is_enough_where_it_is_just_what_the_capture_needs() {
    for (remaining, expected) in [(1_000, None), (999, Some(seen_at(3_600)))] {
        let known = Known::in_doubt(OFTEN).asked_at(3_600).but(|k| k.authorization.captured = gel(10_000 - remaining));
        let balance = ProviderBalance {
            captured: Some(gel(9_001)),
            remaining: Some(gel(remaining)),
            ..ProviderBalance::default()
        };
        let verdict = known.shown(AuthorizationView { balance, ..view(10_000) });
        let progress = progress_of(&verdict);
        assert_eq!((progress.terminal_seen_at, progress.looks), (expected, 1), "{remaining}");
    }
}

#[test]
fn an_interrupted_attempt_is_in_doubt_and_looked_at_at_once() {
    let verdict = Known::sending(ONCE).asked_at(100).judge(Evidence::Interrupted);
    assert_eq!((word(&verdict), due_at(&verdict)), ("doubt", at(100)));
    assert_eq!(progress_of(&verdict).doubtful, 1);
    let again = Known::new(ONCE, CaptureState::InDoubt).asked_at(100).judge(Evidence::Interrupted);
    assert_eq!((word(&again), due_at(&again)), ("doubt", at(100)), "at start-up it does not wait for its next look");
    let before = Known::new(ONCE, CaptureState::InDoubt).capture.progress;
    assert_eq!(progress_of(&again).doubtful, before.doubtful, "no attempt was added");
    assert_eq!(progress_of(&again).epoch, before.epoch + 1, "what the old worker is still reading is too old");
    for state in CaptureState::ALL.into_iter().filter(|state| !state.is_in_flight()) {
        assert_eq!(word(&Known::new(ONCE, state).judge(Evidence::Interrupted)), "-", "{state:?}");
    }
    let stale = Known::sending(ONCE).but(|k| k.epoch = EPOCH - 1);
    assert_eq!(word(&stale.judge(Evidence::Interrupted)), "-");
}

#[test]
fn e1_says_how_it_is_known_and_is_corrected_once() {
    let response = Known::sending(ONCE).answered(captured(None));
    let lookup = Known::in_doubt(OFTEN)
        .shown(AuthorizationView { captures: vec![shown(Some(ours()), gel(1_000))], ..view(10_000) });
    let by = |resolved_by, provider_reference: &str| Verdict::Captured {
        resolved_by,
        provider_reference: Some(provider_reference.to_owned()),
    };
    assert_eq!(response, by(ResolvedBy::Response, "pay-1"));
    assert_eq!(lookup, by(ResolvedBy::Lookup, "pay-2"));
    for state in [CaptureState::Failed, CaptureState::Unresolved] {
        let corrected = Known::new(ONCE, state).but(|k| k.capture.corrected_at = Some(at(0)));
        assert_eq!(corrected.answered(captured(None)), Verdict::Nothing);
    }
}

#[test]
fn e1_in_another_currency_is_no_proof() {
    let euros = Money::from_minor(1_000, currency("EUR")).expect("positive");
    assert_eq!(word(&Known::sending(OFTEN).answered(captured(Some(euros)))), "doubt");
    let view = AuthorizationView { captures: vec![shown(Some(ours()), euros)], ..view(10_000) };
    assert_eq!(word(&Known::in_doubt(OFTEN).shown(view)), "doubt");
}

#[test]
fn e1_of_several_captures_is_not_ours_without_our_amount() {
    assert_eq!(word(&Known::sending(OFTEN).answered(captured(None))), "doubt", "that protocol always names the amount");
}

#[test]
fn e1_after_a_failure_is_not_the_capture_that_came_after_it() {
    // The one capture was taken for the shipments that came after this one failed.
    let later = Known::new(ONCE, CaptureState::Failed).but(|k| k.authorization.captured = gel(1_000));
    let view = AuthorizationView { captures: vec![shown(None, gel(1_000))], ..view(10_000) };
    assert_eq!(later.shown(view.clone()), Verdict::Nothing);
    // The one that came after it was closed by hand, and nobody knows whether it was captured.
    let closed = |state| Known::new(ONCE, state).but(|k| k.authorization.unresolved = 1);
    assert_eq!(closed(CaptureState::Failed).shown(view.clone()), Verdict::Nothing);
    assert_eq!(word(&closed(CaptureState::Unresolved).shown(view.clone())), "corrected", "it is this one");
    let of_another_amount = closed(CaptureState::Failed).but(|k| k.authorization.reserved = gel(999));
    assert_eq!(word(&of_another_amount.shown(view.clone())), "corrected");
    // The failed one was captured after all, while another was under way for the rest.
    let used = |state| Known::new(ONCE, state).but(|k| k.authorization.captured = gel(1_000));
    assert_eq!(word(&used(CaptureState::Sending).answered(captured(None))), "doubt");
    let verdict = used(CaptureState::InDoubt).shown(view);
    assert_eq!(reason(&verdict), Some((FailureReason::CaptureAlreadyUsed, ResolvedBy::Lookup)));
}

#[test]
fn e2a_needs_that_no_other_attempt_may_have_been_executed() {
    let refused = Answer::Refused(refusal(RefusalReason::InsufficientFunds));
    let alone = Known::sending(OFTEN).answered(refused.clone());
    assert_eq!(reason(&alone), Some((FailureReason::InsufficientFunds, ResolvedBy::Response)));
    let again = Known::sending(OFTEN).progress(|p| p.doubtful = 1).answered(refused);
    assert_eq!(word(&again), "doubt, refused");
}

#[test]
fn e2a_that_may_mean_an_earlier_request_waits_for_one_read() {
    let read_first = Refusal { read_first: true, ..refusal(RefusalReason::ExceedsAuthorization) };
    let refused = Known::sending(OFTEN).answered(Answer::Refused(read_first.clone()));
    assert_eq!((word(&refused), progress_of(&refused).doubtful), ("doubt, refused", 0));
    let looking = Known::in_doubt(OFTEN).progress(|p| {
        p.doubtful = 0;
        p.refused = Some(read_first);
    });
    assert_eq!(
        reason(&looking.shown(view(10_000))),
        Some((FailureReason::ExceedsAuthorization, ResolvedBy::Lookup)),
        "no other attempt: one read is enough"
    );
    let ours = AuthorizationView { captures: vec![shown(Some(ours()), gel(1_000))], ..view(10_000) };
    assert_eq!(word(&looking.shown(ours)), "captured");
}

#[test]
fn e2b_needs_two_reads_that_far_apart() {
    let first_seen = 100;
    let expired = AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) };
    let first = Known::in_doubt(OFTEN).asked_at(first_seen).shown(expired.clone());
    assert_eq!(word(&first), "doubt");
    assert_eq!(progress_of(&first).terminal_seen_at, Some(seen_at(first_seen)));
    assert_eq!(due_at(&first), at(first_seen + 900), "the second read is taken when it can conclude");
    let second = |after: i64| {
        let known = Known::in_doubt(OFTEN).progress(|p| p.terminal_seen_at = Some(seen_at(first_seen)));
        known.asked_at(first_seen + after).shown(expired.clone())
    };
    assert_eq!(word(&second(899)), "doubt");
    for (status, expected) in [
        (AuthorizationStatus::Expired, FailureReason::AuthorizationExpired),
        (AuthorizationStatus::Voided, FailureReason::AuthorizationVoided),
        (AuthorizationStatus::Declined, FailureReason::Declined),
        (AuthorizationStatus::FullyCaptured, FailureReason::ExceedsAuthorization),
    ] {
        let known = Known::in_doubt(OFTEN).progress(|p| p.terminal_seen_at = Some(seen_at(first_seen)));
        let verdict = known.asked_at(first_seen + 900).shown(AuthorizationView { status, ..view(10_000) });
        assert_eq!(reason(&verdict), Some((expected, ResolvedBy::Lookup)));
    }
}

#[test]
fn e2b_begins_anew_when_something_else_was_seen_between() {
    let seen_before = || Known::in_doubt(OFTEN).progress(|p| p.terminal_seen_at = Some(seen_at(10)));
    let pending = AuthorizationView { has_pending_capture: true, ..view(10_000) };
    for (what, verdict) in [
        ("open", seen_before().asked_at(20).shown(view(10_000))),
        ("pending", seen_before().asked_at(20).shown(pending)),
        ("a further attempt", {
            let sending = Known::sending(OFTEN).progress(|p| p.terminal_seen_at = Some(seen_at(10)));
            sending.answered(Answer::Doubt(doubt(DoubtKind::Timeout)))
        }),
    ] {
        assert_eq!(progress_of(&verdict).terminal_seen_at, None, "{what}");
    }
}

#[test]
fn e2c_needs_the_refusal_the_quiet_and_the_read() {
    let refused = |p: &mut CaptureProgress| p.refused = Some(refusal(RefusalReason::Declined));
    let quiet = Known::in_doubt(OFTEN).progress(refused).asked_at(QUIET_FROM);
    assert_eq!(reason(&quiet.shown(view(10_000))), Some((FailureReason::Declined, ResolvedBy::Lookup)));
    let early = Known::in_doubt(OFTEN).progress(refused).asked_at(QUIET_FROM - 1).shown(view(10_000));
    assert_eq!((word(&early), due_at(&early)), ("doubt, refused", at(QUIET_FROM)));
    let unrefused = Known::in_doubt(OFTEN).asked_at(QUIET_FROM).shown(view(10_000));
    assert_eq!(word(&unrefused), "resend");
    let unread = Known::in_doubt(OFTEN).progress(refused).asked_at(10_000_000);
    let unclear = unread.judge(Evidence::Reading(Reading::Unclear(doubt(DoubtKind::Timeout))));
    assert_eq!(word(&unclear), "doubt, refused");
}

#[test]
fn e2c_is_about_the_latest_attempt() {
    let refused_before = Known::sending(OFTEN).progress(|p| {
        p.doubtful = 1;
        p.refused = Some(refusal(RefusalReason::Declined));
    });
    let verdict = refused_before.answered(Answer::Doubt(doubt(DoubtKind::Timeout)));
    assert_eq!(word(&verdict), "doubt", "a later attempt was not refused");
}

#[test]
fn e2c_takes_any_coded_answer_after_the_expiry_for_its_end() {
    let expires = |at_seconds| Known::sending(OFTEN).but(|k| k.authorization.expires_at = Some(at(at_seconds)));
    let coded = Answer::Doubt(doubt(DoubtKind::Coded));
    let over = expires(1).answered(coded.clone());
    let refusal = progress_of(&over).refused.clone().expect("it counts as refused");
    assert_eq!((refusal.reason, refusal.read_first), (RefusalReason::AuthorizationExpired, false));
    assert_eq!(word(&expires(2).answered(coded)), "doubt", "a second before");
    for kind in [DoubtKind::Timeout, DoubtKind::ConnectionLost, DoubtKind::HttpStatus, DoubtKind::Unreadable] {
        assert_eq!(word(&expires(1).answered(Answer::Doubt(doubt(kind)))), "doubt", "{kind:?} is not coded");
    }
}

#[test]
fn absence_is_worth_what_it_was_when_the_read_was_begun() {
    // A worker was suspended between the read and its settling; a request may have arrived meanwhile.
    let begun_at = |known: Known, seconds: i64| known.progress(|p| p.look_begun = Some(seen_at(seconds)));
    let late = || Known::in_doubt(OFTEN).asked_at(10_000_000);
    let refused = |p: &mut CaptureProgress| p.refused = Some(refusal(RefusalReason::Declined));
    let terminal = |p: &mut CaptureProgress| p.terminal_seen_at = Some(seen_at(10));
    let expired = || AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) };
    for (begun, resent, ended, second) in
        [(QUIET_FROM - 1, "doubt", "doubt, refused", "doubt"), (QUIET_FROM, "resend", "failed", "failed")]
    {
        assert_eq!(word(&begun_at(late(), begun).shown(view(10_000))), resent, "E4");
        assert_eq!(word(&begun_at(late().progress(refused), begun).shown(view(10_000))), ended, "E2 (c)");
        assert_eq!(word(&begun_at(late().progress(terminal), begun).shown(expired())), second, "E2 (b)");
    }
}

#[test]
fn e2d_is_for_authorizations_that_are_captured_once() {
    let other = AuthorizationView { captures: vec![shown(None, gel(999))], ..view(10_000) };
    let verdict = Known::in_doubt(ONCE).shown(other.clone());
    assert_eq!(reason(&verdict), Some((FailureReason::CapturedElsewhere, ResolvedBy::Lookup)));
    assert_eq!(word(&Known::in_doubt(OFTEN).shown(other)), "resend", "somebody else's; ours is not there");
}

#[test]
fn e4_resends_freely_within_the_window_and_not_a_second_longer() {
    for (now, expected) in [(1, "resend"), (WINDOW_END - 1, "resend"), (WINDOW_END, "doubt"), (QUIET_FROM, "resend")] {
        assert_eq!(word(&Known::in_doubt(OFTEN).asked_at(now).shown(view(10_000))), expected, "at {now}");
    }
    let kept = Known::in_doubt(OFTEN).asked_at(WINDOW_END - 1).shown(view(10_000));
    assert_eq!(progress_of(&kept).window_from, Some(moment(at(SENT))), "the window does not move");
    let unlimited = Known::in_doubt(ONCE).asked_at(10_000_000).shown(view(10_000));
    assert_eq!(word(&unlimited), "resend");
}

#[test]
fn e4_after_a_permitting_read_a_new_window_begins() {
    let permitted = Known::in_doubt(OFTEN).asked_at(QUIET_FROM).shown(view(10_000));
    assert_eq!(progress_of(&permitted).window_from, None, "the next send opens it");
    let early = Known::in_doubt(OFTEN).asked_at(QUIET_FROM - 1).shown(view(10_000));
    assert_eq!(word(&early), "doubt");
    assert!(due_at(&early) <= at(QUIET_FROM), "the read that can permit is not missed");
}

#[test]
fn e4_permits_nothing_while_the_balance_differs_from_our_books() {
    for (captured, expected) in [(Some(gel(0)), "resend"), (Some(gel(1_000)), "doubt"), (None, "doubt")] {
        let balance = ProviderBalance { captured, ..ProviderBalance::default() };
        let view = AuthorizationView { balance, ..view(10_000) };
        let verdict = Known::in_doubt(OFTEN).asked_at(QUIET_FROM).shown(view);
        assert_eq!(word(&verdict), expected, "{captured:?}");
    }
    let before = Known::in_doubt(OFTEN).but(|k| k.authorization.captured = gel(500)).asked_at(QUIET_FROM);
    let balance = ProviderBalance { captured: Some(gel(500)), ..ProviderBalance::default() };
    assert_eq!(word(&before.shown(AuthorizationView { balance, ..view(10_000) })), "resend", "ours from before");
}

#[test]
fn e4_a_permit_that_was_not_used_is_no_window() {
    // The read permitted a resend, but there was no room to send; another read has to permit it.
    let unused = Known::in_doubt(OFTEN).progress(|p| p.window_from = None);
    assert_eq!(word(&unused.clone().asked_at(QUIET_FROM - 1).shown(view(10_000))), "doubt");
    assert_eq!(word(&unused.asked_at(QUIET_FROM).shown(view(10_000))), "resend");
}

#[test]
fn e4_a_clock_that_stepped_or_a_machine_that_started_anew_opens_no_window() {
    let boot = |id, since| BootInstant::of(BootId::from_uuid(Uuid::from_u128(id)), SECOND * since);
    // A minute after the first send, in truth.
    for (wall, now, expected) in [
        (SENT + 60, boot(0, 60), "resend"),
        (SENT - 3_600, boot(0, 60), "doubt"),
        (SENT + 30, boot(0, 60), "doubt"),
        (SENT + 90, boot(0, 60), "doubt"),
        (SENT + 60, boot(1, 60), "doubt"),
        (SENT + 60, boot(1, 5), "doubt"),
        // The read of E4, after it: no more is believed than the machine has been up for.
        (QUIET_FROM, boot(1, 5), "doubt"),
        (QUIET_FROM, boot(1, 899), "doubt"),
        (QUIET_FROM, boot(1, 900), "resend"),
        (QUIET_FROM - 1, boot(1, 900), "doubt"),
    ] {
        let known = Known::in_doubt(OFTEN).asked_at(wall);
        let known = known.but(|known| known.moment = Some(Moment { wall: known.now, boot: now }));
        assert_eq!(word(&known.shown(view(10_000))), expected, "at {wall} by the wall, {now:?}");
        let same_amount = known.but(|known| known.account = ONCE);
        assert_eq!(word(&same_amount.shown(view(10_000))), "resend", "safe for ever");
    }
}

#[test]
fn quiet_is_as_long_as_the_machine_itself_counts_however_its_wall_clock_is_stepped() {
    let boot = |since| BootInstant::of(BootId::from_uuid(Uuid::nil()), SECOND * since);
    let expired = || AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) };
    let refused = |p: &mut CaptureProgress| p.refused = Some(refusal(RefusalReason::Declined));
    let terminal = |p: &mut CaptureProgress| p.terminal_seen_at = Some(seen_at(SEND_BY));
    for stepped in [-86_400, -3_600, 3_600, 86_400] {
        for (passed, resent, ended, second) in
            [(909, "doubt", "doubt, refused", "doubt"), (910, "resend", "failed", "failed")]
        {
            let known = Known::in_doubt(OFTEN).but(|known| {
                known.moment = Some(Moment { wall: at(SENT + i64::from(passed) + stepped), boot: boot(passed) });
            });
            let known = |change: &dyn Fn(&mut CaptureProgress)| known.clone().progress(change);
            let what = format!("{passed} s later, the wall clock stepped by {stepped} s");
            let left = i64::from(910 - passed);
            let due_in = |verdict: &Verdict| due_at(verdict) - at(SENT + i64::from(passed) + stepped);
            for (rule, known, view, expected) in [
                ("E4", known(&|_| ()), view(10_000), resent),
                ("E2 (c)", known(&refused), view(10_000), ended),
                ("E2 (b)", known(&terminal), expired(), second),
            ] {
                let verdict = known.shown(view);
                assert_eq!(word(&verdict), expected, "{rule}, {what}");
                if left > 0 {
                    assert_eq!(
                        due_in(&verdict),
                        chrono::TimeDelta::seconds(left),
                        "{rule}: as soon as it can conclude"
                    );
                }
            }
        }
    }
}

#[test]
fn what_was_seen_over_in_the_future_of_a_clock_that_was_set_back_counts_from_now_on() {
    let there = BootInstant::of(BootId::from_uuid(Uuid::from_u128(1)), SECOND * 5_000);
    let seen = |seconds| Mark { wall: at(seconds), boot: there };
    let expired = || AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) };
    for (first, expected) in [(10_000, Some(seen_at(5_000))), (5_000, Some(seen(5_000))), (4_500, Some(seen(4_500)))] {
        let known = Known::in_doubt(OFTEN).progress(|p| p.terminal_seen_at = Some(seen(first))).asked_at(5_000);
        let verdict = known.shown(expired());
        assert_eq!((word(&verdict), progress_of(&verdict).terminal_seen_at), ("doubt", expected), "{first}");
    }
    let known = Known::in_doubt(OFTEN).progress(|p| p.terminal_seen_at = Some(seen(4_100))).asked_at(5_000);
    assert_eq!(word(&known.shown(expired())), "failed");
}

#[test]
fn e4_others_in_flight_leave_a_doubtful_capture_to_be_read_only() {
    for now in [1, WINDOW_END - 1, QUIET_FROM, 10_000_000] {
        let hurried = Known::in_doubt(OFTEN).but(|k| k.authorization.in_flight = 2).asked_at(now);
        assert_eq!(word(&hurried.shown(view(10_000))), "doubt", "at {now}");
    }
}

#[test]
fn e5_is_tried_again_later_and_forgets_no_doubt() {
    let first = Known::sending(ONCE).answered(Answer::Misconfigured(fault(false)));
    let Verdict::PutOff { wait, parked: true, progress, .. } = &first else { panic!("{first:?}") };
    assert_eq!((*wait, progress.doubtful), (policy().parked_for, 0));
    let again = Known::sending(ONCE).progress(|p| p.doubtful = 1).answered(Answer::Misconfigured(fault(false)));
    assert_eq!((word(&again), progress_of(&again).doubtful), ("doubt, parked", 1));
    assert_eq!(due_at(&again), at(1) + policy().parked_for);
}

#[test]
fn e6_backs_off_and_honours_what_the_provider_asks() {
    let wait = |failures: u32, retry_after: Option<Duration>| {
        let answer = Answer::NotExecuted(NotExecuted { message: "429".to_owned(), retry_after });
        match Known::sending(ONCE).progress(|p| p.failures = failures).answered(answer) {
            Verdict::PutOff { wait, progress, parked: false, .. } => {
                assert_eq!(progress.failures, failures + 1);
                wait
            }
            other @ (Verdict::Captured { .. }
            | Verdict::Corrected { .. }
            | Verdict::Failed(_)
            | Verdict::PutOff { .. }
            | Verdict::InDoubt { .. }
            | Verdict::Resend { .. }
            | Verdict::Nothing) => panic!("{other:?}"),
        }
    };
    assert_eq!(wait(0, None), SECOND);
    assert!(wait(5, None) > wait(1, None));
    assert_eq!(wait(0, Some(2 * MINUTE)), 2 * MINUTE);
    assert_eq!(wait(0, Some(1_000 * MINUTE)), policy().retry_after_max, "bounded");
    assert_eq!(wait(1_000, None), policy().backoff.max);
}

#[test]
fn e6_counts_failures_in_a_row() {
    let doubted = Known::sending(ONCE).progress(|p| p.failures = 9).answered(Answer::Doubt(doubt(DoubtKind::Timeout)));
    assert_eq!(progress_of(&doubted).failures, 0);
}

#[test]
fn e3_waits_as_long_as_the_provider_asks() {
    let asking = |retry_after| Answer::Doubt(Doubt { retry_after, ..doubt(DoubtKind::HttpStatus) });
    let due = |retry_after| due_at(&Known::sending(ONCE).answered(asking(retry_after)));
    assert_eq!(due(None), at(1 + 2), "the first look");
    assert_eq!(due(Some(MINUTE)), at(1 + 60));
    assert_eq!(due(Some(1_000 * MINUTE)), at(1) + policy().retry_after_max);
}

#[test]
fn pending_has_its_own_label_while_it_lasts() {
    let verdict = Known::sending(ONCE).answered(Answer::Pending);
    assert!(progress_of(&verdict).is_pending);
    let pending = Known::in_doubt(ONCE).progress(|p| p.is_pending = true);
    let still = pending.shown(AuthorizationView { has_pending_capture: true, ..view(10_000) });
    assert!(progress_of(&still).is_pending);
    let gone = pending.shown(view(10_000));
    assert!(!progress_of(&gone).is_pending);
}

#[test]
fn doubt_lasts_from_its_beginning() {
    let since = |known: Known| progress_of(&known.answered(Answer::Doubt(doubt(DoubtKind::Timeout)))).doubt_since;
    assert_eq!(since(Known::sending(ONCE).asked_at(5)), Some(at(5)));
    let before = Known::sending(ONCE).progress(|p| p.doubt_since = Some(at(2)));
    assert_eq!(since(before.asked_at(5)), Some(at(2)));
}
