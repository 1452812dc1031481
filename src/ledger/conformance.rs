//! What every backend must do alike: one suite, run against each, and a comparison of what they do
//! with the same random commands.

use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::OptionalExtension;
use tempfile::TempDir;

use crate::capture::decide::{
    Call, Closing, Command, Due, Evidence, Expire, Freeze, Intervention, Learn, Note, Operator, Reject, Reply, Settle,
    Ticket,
};
use crate::capture::evidence::{
    Answer, AuthorizationStatus, AuthorizationView, ConfigurationFault, DoubtKind, ProviderBalance, Reading,
    RefusalReason,
};
use crate::capture::notice::{Rejection, RejectionReason};
use crate::capture::policy::Caps;
use crate::capture::records::{AuthorizationKey, CaptureKey, JobKey, ShipmentKey};
use crate::capture::replay::{Replay, Replayed};
use crate::capture::restored::READ_FIRST_FOR;
use crate::capture::tests::support::*;
use crate::clock;
use crate::ids::{CaptureId, DeadLetterId};
use crate::ledger::memory::MemoryLedger;
use crate::ledger::postgres::local_server::tests::server;
use crate::ledger::postgres::tests::tables::{rows_of_postgres, rows_of_sqlite};
use crate::ledger::postgres::{Address, Options, PostgresLedger};
use crate::ledger::sqlite::{SqliteLedger, open_for_reading};
use crate::ledger::{DueNow, Executed, Ledger, LedgerError, OutboxRow, Source, Vitals, testing};
use crate::money::Money;

/// The documented defaults, no capture of less than half a lari where several are allowed, and caps of one
/// account.
fn rules() -> crate::capture::policy::Policy {
    let mut policy = policy();
    let often = policy.accounts.get_mut(&account(OFTEN)).expect("configured");
    often.minimum = Some("0.50".parse().expect("a decimal"));
    let other = policy.accounts.get_mut(&account(OTHER)).expect("configured");
    other.minimum = Some("0.50".parse().expect("a decimal"));
    let (capture, hour, day) = (Some(gel(6_000)), Some(gel(7_000)), Some(gel(9_000)));
    other.caps = vec![Caps { capture, hour, day, ..Caps::none(currency("GEL")) }];
    policy
}

/// A backend under test.
struct Backend {
    name: &'static str,
    clock: ManualClock,
    ledger: Option<Arc<dyn Ledger>>,
    place: Place,
}

/// Where its rows are.
enum Place {
    Memory,
    File { path: PathBuf, _directory: TempDir },
    Database(Box<Address>),
}

impl Backend {
    fn all() -> [Self; 3] {
        let clock = ManualClock::new;
        [Self::memory(clock()), Self::sqlite(clock()), Self::postgres(clock())]
    }

    fn memory(clock: ManualClock) -> Self {
        let ledger = Arc::new(MemoryLedger::new(environment(rules(), &clock)));
        Self { name: "memory", clock, ledger: Some(ledger), place: Place::Memory }
    }

    fn sqlite(clock: ManualClock) -> Self {
        // Syncing costs nothing in memory, and hundreds of random cases sync thousands of times.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let directory = directory.expect("a temporary directory");
        let path = directory.path().join("ledger.db");
        Self::opened("sqlite", clock, Place::File { path, _directory: directory })
    }

    fn postgres(clock: ManualClock) -> Self {
        Self::opened("postgres", clock, Place::Database(Box::new(database())))
    }

    /// The same, as a restore from a backup leaves it: whatever is registered has to be read first.
    fn restored(mut self) -> Self {
        let read_first_until = clock::after(self.clock.now().wall, READ_FIRST_FOR);
        if let Some(source) = self.source() {
            let micros = read_first_until.timestamp_micros();
            testing::batch(&source, &format!("INSERT INTO restores VALUES (1, 0, 0, 0, {micros})"));
            self.reopen();
        } else {
            let ledger = MemoryLedger::new(environment(rules(), &self.clock));
            ledger.tables().read_first_until = Some(read_first_until);
            self.ledger = Some(Arc::new(ledger));
        }
        self
    }

    fn opened(name: &'static str, clock: ManualClock, place: Place) -> Self {
        let mut backend = Self { name, clock, ledger: None, place };
        backend.reopen();
        backend
    }

    /// Closes it and opens it again, as a restarted worker does. Memory stays as it is.
    fn reopen(&mut self) {
        let environment = environment(rules(), &self.clock);
        let opened: Arc<dyn Ledger> = match &self.place {
            Place::Memory => return,
            Place::File { path, .. } => {
                self.ledger = None;
                Arc::new(SqliteLedger::open(path, environment).expect("nobody holds it"))
            }
            Place::Database(address) => {
                self.ledger = None;
                Arc::new(self.ask(PostgresLedger::open(address, Options::with_few_numbers(), environment)))
            }
        };
        self.ledger = Some(opened);
    }

    /// Where it is, unless it is nowhere.
    fn source(&self) -> Option<Source> {
        match &self.place {
            Place::Memory => None,
            Place::File { path, .. } => Some(Source::Sqlite(path.clone())),
            Place::Database(address) => Some(Source::Postgres(address.clone())),
        }
    }

    fn ask<T>(&self, future: impl Future<Output = Result<T, LedgerError>>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(future).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn ledger(&self) -> &dyn Ledger {
        &**self.ledger.as_ref().expect("open")
    }

    fn execute(&self, commands: Vec<Command>) -> Executed {
        self.ask(self.ledger().execute(commands))
    }

    fn tell(&self, command: Command) -> Reply {
        let mut executed = self.execute(vec![command]);
        executed.replies.pop().expect("one reply").unwrap_or_else(|failed| panic!("{}: {failed}", self.name))
    }

    fn due(&self, limit: u32) -> DueNow {
        self.ask(self.ledger().find_due(limit))
    }

    /// The warnings that are due.
    fn warnings(&self) -> Vec<Command> {
        let others = self.due(10).others.into_iter();
        others.filter(|due| matches!(due, Due::Warning(_))).map(Command::Due).collect()
    }

    fn unpublished(&self, limit: u32) -> Vec<OutboxRow> {
        let later = clock::after(self.clock.now().wall, SECOND);
        self.ask(self.ledger().unpublished(0, later, limit))
    }

    fn vitals(&self) -> Vitals {
        self.ask(self.ledger().vitals())
    }

    fn interrupted(&self) -> Vec<(CaptureKey, u32)> {
        let mut interrupted = self.ask(self.ledger().interrupted());
        interrupted.sort_unstable();
        interrupted
    }
}

/// A database of the test's own.
fn database() -> Address {
    let database = server().create_database().expect("created");
    Address::parse(&database.url).expect("an address")
}

fn sent(order: &str, amount: &str) -> Command {
    draft(order, "s1").amount(amount).on(authorized(OFTEN, order, 10_000)).command()
}

fn collecting(order: &str) -> Command {
    draft(order, "s1").line("l1", 1).on(authorized(ONCE, order, 11_900)).plan(worked_plan()).command()
}

fn settle(reply: Reply, answer: Answer) -> Command {
    let Asked::Send { capture, epoch, .. } = asked(&reply.ticket.expect("sent")) else { panic!("a send") };
    Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Answer(answer), start: true }))
}

fn reject(body: &'static str, reason: RejectionReason) -> Command {
    let mut raw = draft("o", "s").arrival().raw;
    raw.body = body.into();
    let (path, message) = ("$".to_owned(), "is not JSON".to_owned());
    let rejection = Rejection { reason, path, message, order: None, shipment: None, event_id: None };
    Command::Reject(Box::new(Reject { rejection, raw }))
}

#[test]
fn a_group_has_one_reply_per_command_in_their_order() {
    for backend in Backend::all() {
        let group =
            vec![sent("a", "1.00"), reject("x", RejectionReason::Undecodable), sent("a", "1.00"), sent("b", "2.00")];
        let executed = backend.execute(group);
        let notes: Vec<Note> = executed.replies.into_iter().map(|reply| reply.expect("decided").note).collect();
        assert_eq!(notes[0], Note::Planned(gel(100)), "{}", backend.name);
        assert!(matches!(notes[1], Note::DeadLettered { .. }));
        assert_eq!((&notes[2], &notes[3]), (&Note::Repeated, &Note::Planned(gel(200))));
        assert_eq!(executed.outbox.len(), 1);
        assert_eq!(executed.outbox, backend.unpublished(10));
        assert!(backend.execute(Vec::new()).replies.is_empty());
    }
}

#[test]
fn a_command_that_breaks_an_invariant_fails_alone() {
    for backend in Backend::all() {
        let unknown = Command::Due(Due::Authorization(AuthorizationKey::new(4_711)));
        let executed = backend.execute(vec![sent("a", "1.00"), unknown.clone(), sent("b", "2.00"), unknown]);
        let decided: Vec<bool> = executed.replies.iter().map(Result::is_ok).collect();
        assert_eq!(decided, [true, false, true, false], "{}", backend.name);
        assert_eq!(backend.vitals().open_captures, 2);
        assert_eq!(backend.tell(sent("a", "1.00")).note, Note::Repeated, "it is there, once");
    }
}

#[test]
fn what_does_not_exist_is_nothing() {
    for backend in Backend::all() {
        let evidence = Evidence::Interrupted;
        for command in [
            Command::Due(Due::Capture(CaptureKey::new(99))),
            Command::Due(Due::Shipment(ShipmentKey::new(99))),
            Command::Recall(Due::Capture(CaptureKey::new(99))),
            Command::Recall(Due::Authorization(AuthorizationKey::new(99))),
            Command::Recall(Due::Ask(AuthorizationKey::new(99))),
            Command::Settle(Box::new(Settle { capture: CaptureKey::new(99), epoch: 0, evidence, start: true })),
        ] {
            assert_eq!(backend.tell(command).note, Note::Nothing, "{}", backend.name);
        }
    }
}

#[test]
fn what_is_parked_can_be_recalled_and_is_due_then() {
    for backend in Backend::all() {
        let reply = backend.tell(sent("a", "1.00"));
        let Call::Send { capture, epoch, .. } = reply.ticket.expect("sent").call else { panic!("a capture") };
        let fault = ConfigurationFault { code: None, message: "a secret".to_owned(), may_have_executed: false };
        let evidence = Evidence::Answer(Answer::Misconfigured(fault));
        backend.tell(Command::Settle(Box::new(Settle { capture, epoch, evidence, start: false })));
        assert!(backend.due(10).calls.is_empty(), "{}", backend.name);
        let reply = backend.tell(Command::Recall(Due::Capture(capture)));
        assert_eq!(reply.ready.map(|ready| ready.due), Some(Due::Capture(capture)), "{}", backend.name);
        let due: Vec<Due> = backend.due(10).calls.into_iter().map(|ready| ready.due).collect();
        assert_eq!(due, [Due::Capture(capture)], "{}", backend.name);
    }
}

#[test]
fn what_is_due_is_found_when_it_is_the_earliest_deadline_first() {
    for backend in Backend::all() {
        let mut early = authorized(OFTEN, "early", 500);
        early.expires_at = Some(at(3 * 24 * 3_600));
        backend.execute(vec![
            draft("late", "s1").amount("1.00").on(authorized(OFTEN, "late", 500)).no_permit().command(),
            draft("early", "s1").amount("1.00").on(early).no_permit().command(),
            draft("o", "s1").amount("1.00").command(),
            collecting("single"),
        ]);
        let due = backend.due(10);
        let deadlines: Vec<_> = due.calls.iter().map(|ready| ready.deadline).collect();
        assert_eq!(deadlines, [Some(at(3 * 24 * 3_600)), Some(at(7 * 24 * 3_600))], "{}", backend.name);
        assert!(due.calls.iter().all(|ready| ready.account == account(OFTEN)));
        assert_eq!(due.others, []);
        assert_eq!(backend.due(1).calls.len(), 1, "a limit for each kind");
        backend.clock.advance(HOUR);
        assert_eq!(backend.due(10).others.len(), 1, "looked at again, by the clock that is given");
        backend.clock.advance_to(at(7 * 24 * 3_600));
        let warnings = backend.warnings();
        assert_eq!(warnings.len(), 3, "each authorization once, however many leads have come");
        backend.execute(warnings);
        assert!(backend.warnings().is_empty(), "each once");
        let due = backend.due(10);
        assert!(due.calls.iter().any(|ready| matches!(ready.due, Due::Authorization(_))), "the deadline margin");
    }
}

#[test]
fn one_accounts_backlog_does_not_crowd_out_anothers() {
    for backend in Backend::all() {
        let later = |order: &str, name: &str| draft(order, "s1").amount("1.00").on(authorized(name, order, 500));
        // Due before everything else, and as much as a tick takes.
        for order in ["a", "b", "c"] {
            backend.tell(later(order, OFTEN).no_permit().command());
        }
        backend.clock.advance(SECOND);
        for order in ["x", "y"] {
            backend.tell(later(order, OTHER).no_permit().command());
        }
        let of = |name: &str, limit| {
            let due = backend.due(limit).calls;
            due.into_iter().filter(|ready| ready.account == account(name)).count()
        };
        assert_eq!((of(OFTEN, 2), of(OTHER, 2)), (2, 2), "{}", backend.name);
        assert_eq!((of(OFTEN, 9), of(OTHER, 9)), (3, 2), "{}", backend.name);
    }
}

#[test]
fn what_is_watched_survives_a_restart_and_leaves_when_its_end_is_known() {
    for mut backend in Backend::all() {
        let mut facts = authorized(OFTEN, "r", 500);
        facts.expires_at = Some(at(24 * 3_600));
        let reply = backend.tell(draft("o", "s1").amount("1.00").on(facts).command());
        backend.tell(settle(reply, captured(Some(gel(100)))));
        backend.reopen();
        let warn = |backend: &Backend, expected: usize| {
            let warnings = backend.warnings();
            assert_eq!(warnings.len(), expected, "{}", backend.name);
            backend.execute(warnings).outbox.len()
        };
        assert_eq!(warn(&backend, 1), 1, "registered inside the longest lead");
        backend.reopen();
        assert_eq!(warn(&backend, 0), 0, "{}: not again", backend.name);
        backend.clock.advance_to(at(12 * 3_600));
        assert_eq!(warn(&backend, 1), 1, "{}: the next lead", backend.name);
        backend.clock.advance_to(at(24 * 3_600));
        backend.reopen();
        let [ready] = &backend.due(10).calls[..] else { panic!("{}: it is to be read", backend.name) };
        let ticket = backend.tell(Command::Due(ready.due)).ticket.expect("read");
        let Call::ReadExpiry { authorization, epoch } = ticket.call else { panic!("{ticket:?}") };
        backend.reopen();
        let reading = seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(500) });
        let reply = backend.tell(Command::Expire(Box::new(Expire { authorization, epoch, reading })));
        assert_eq!(reply.note, Note::Expired { captured_elsewhere: gel(0), released: gel(400) });
        backend.clock.advance_to(at(30 * 24 * 3_600));
        backend.reopen();
        let due = backend.due(10);
        assert!(due.calls.is_empty() && due.others.is_empty(), "{}: {due:?}", backend.name);
    }
}

#[test]
fn a_wait_that_was_set_by_a_clock_that_went_back_is_over() {
    for backend in Backend::all() {
        let days = 24 * HOUR;
        let reply = backend.tell(sent("a", "1.00"));
        let mut told = authorized(ONCE, "b", 11_900);
        told.expires_at = Some(at(10 * 24 * 3_600));
        backend.tell(draft("b", "s1").line("l1", 1).on(told).plan(worked_plan()).last().command());
        // The clock is wrong by three days, for a moment in which everything is looked at.
        backend.clock.advance(3 * days);
        backend.tell(settle(reply, Answer::Doubt(doubt(DoubtKind::Timeout))));
        let [freeze] = &backend.due(10).calls[..] else { panic!("{}: the grace is over", backend.name) };
        assert!(backend.tell(Command::Due(freeze.due)).ticket.is_some());
        backend.clock.set_back(3 * days);
        let due = backend.due(10);
        assert_eq!(due.calls.len(), 2, "{}: {due:?}", backend.name);
        let looking = due.calls.iter().map(|ready| backend.tell(Command::Due(ready.due)).ticket);
        let looking = looking.filter(|ticket| matches!(ticket, Some(Ticket { call: Call::Look { .. }, .. }))).count();
        assert_eq!(looking, 1, "{}: in doubt, and looked at", backend.name);
        assert!(backend.due(10).calls.is_empty(), "{}: by the clock as it is now", backend.name);
    }
}

#[test]
fn events_are_kept_until_they_are_published() {
    for mut backend in Backend::all() {
        for (order, amount) in [("a", "1.00"), ("b", "2.00"), ("c", "3.00")] {
            let reply = backend.tell(sent(order, amount));
            backend.tell(settle(reply, captured(Some(major(amount)))));
        }
        let rows = backend.unpublished(10);
        assert_eq!(rows.iter().map(|row| &*row.kind).collect::<Vec<_>>(), ["capture.succeeded"; 3], "{}", backend.name);
        assert!(rows.is_sorted_by_key(|row| row.row));
        assert_eq!(backend.unpublished(2), rows[..2], "the oldest first");
        let behind = backend.ledger().unpublished(rows[0].row, clock::Timestamp::MAX_UTC, 10);
        assert_eq!(backend.ask(behind), rows[1..], "only what is behind the row");
        let now = backend.clock.now().wall;
        assert_eq!(backend.ask(backend.ledger().unpublished(0, now, 10)), [], "written just now");
        backend.reopen();
        assert_eq!(backend.unpublished(10), rows, "the same bytes after a restart");
        assert_eq!(backend.tell(Command::Published(vec![rows[0].row, rows[2].row])).note, Note::Published);
        assert_eq!(backend.unpublished(10), rows[1..2]);
        backend.tell(Command::Published(vec![rows[0].row, 4_711]));
        assert_eq!(backend.unpublished(10), rows[1..2], "published twice, or never written: nothing");
    }
}

fn major(text: &str) -> Money {
    Money::from_major(crate::money::parse_plain_decimal(text).expect("plain"), currency("GEL")).expect("fits")
}

#[test]
fn what_was_being_sent_or_in_doubt_is_found_with_its_epoch() {
    for mut backend in Backend::all() {
        let reply = backend.tell(sent("a", "1.00"));
        let settled = backend.tell(sent("b", "1.00"));
        backend.tell(settle(settled, captured(Some(gel(100)))));
        backend.tell(collecting("c"));
        let Asked::Send { capture, epoch, .. } = asked(&reply.ticket.expect("sent")) else { panic!() };
        let reply = backend.tell(sent("d", "1.00"));
        let Asked::Send { capture: doubted, epoch: then, .. } = asked(reply.ticket.as_ref().expect("sent")) else {
            panic!()
        };
        backend.tell(settle(reply, Answer::Doubt(doubt(DoubtKind::Timeout))));
        backend.reopen();
        assert_eq!(backend.interrupted(), [(capture, epoch), (doubted, then)], "{}", backend.name);
    }
}

#[test]
fn the_vitals_are_counted() {
    for mut backend in Backend::all() {
        assert_eq!(backend.vitals(), Vitals::default(), "{}", backend.name);
        let reply = backend.tell(sent("a", "1.00"));
        backend.clock.advance(SECOND);
        let doubted = backend.clock.now().wall;
        backend.tell(settle(reply, Answer::Doubt(doubt(DoubtKind::Timeout))));
        backend.tell(sent("b", "2.00"));
        backend.tell(collecting("c"));
        let mut unknown_expiry = authorized(ONCE, "d", 500);
        unknown_expiry.expires_at = None;
        unknown_expiry.authorized_at = None;
        backend.tell(draft("d", "s1").amount("3.00").on(unknown_expiry).command());
        backend.tell(cancellation("e", &[]));
        backend.clock.advance(SECOND);
        backend.tell(draft("e", "s1").amount("4.00").command());
        backend.tell(reject("x", RejectionReason::Undecodable));
        backend.tell(reject("y", RejectionReason::Invalid));
        backend.tell(reject("z", RejectionReason::Invalid));
        backend.reopen();
        let expected = Vitals {
            open_captures: 2,
            in_doubt: vec![(account(OFTEN), 1)],
            oldest_doubt: Some(doubted),
            oldest_awaiting: Some(doubted),
            // Of l1, one of three: 14.99 and its part of the fee.
            earned_uncaptured: vec![
                (account(OFTEN), "GEL".to_owned(), 300),
                (account(ONCE), "GEL".to_owned(), 1_499 + 64 + 300),
            ],
            nearest_deadline: Some(at(7 * 24 * 3_600)),
            outbox_pending: 5,
            outbox_oldest: Some(doubted),
            dead_letters: vec![("invalid".to_owned(), 2), ("undecodable".to_owned(), 1)],
            halted: Vec::new(),
            held: Vec::new(),
            corrected: Vec::new(),
        };
        assert_eq!(backend.vitals(), expected, "{}", backend.name);
    }
}

#[test]
fn a_message_set_aside_again_is_announced_once() {
    for mut backend in Backend::all() {
        backend.tell(sent("a", "1.00"));
        let conflict = || draft("a", "s1").amount("2.00").command();
        for again in 0..3 {
            assert!(matches!(backend.tell(conflict()).note, Note::DeadLettered { .. }), "{} {again}", backend.name);
            backend.reopen();
        }
        backend.execute(vec![conflict(), conflict(), reject("x", RejectionReason::Invalid)]);
        backend.tell(reject("x", RejectionReason::Invalid));
        assert_eq!(backend.unpublished(10).len(), 2, "{}: one for each message", backend.name);
    }
}

#[test]
fn a_halt_and_what_was_closed_by_hand_survive_a_restart() {
    let by_hand =
        |what| Command::Operator(Box::new(Operator { by: "olga".to_owned(), why: "ticket".to_owned(), what }));
    let theirs = || {
        let balance = ProviderBalance { captured: Some(gel(3_000)), remaining: Some(gel(7_000)), ..view(0).balance };
        AuthorizationView { balance, ..view(10_000) }
    };
    for mut backend in Backend::all() {
        let reply = backend.tell(sent("a", "1.00"));
        let Some(Ticket { call: Call::Send { capture, id, .. }, .. }) = reply.ticket.clone() else { panic!() };
        backend.tell(settle(reply, Answer::Doubt(doubt(DoubtKind::Timeout))));
        look(&mut backend, 16 * MINUTE, seen(theirs()));
        let closing = Closing::Unresolved;
        let closed = backend.tell(by_hand(Intervention::Close { capture, id, closing }));
        assert_eq!(closed.note, Note::Unresolved(gel(100)), "{}", backend.name);
        backend.clock.advance(15 * MINUTE);
        backend.reopen();
        let read = |backend: &mut Backend, view: AuthorizationView| {
            let [ready] = &backend.due(10).calls[..] else { panic!("{}: it is to be read", backend.name) };
            let ticket = backend.tell(Command::Due(ready.due)).ticket.expect("read");
            let Call::ReadExpiry { authorization, epoch } = ticket.call else { panic!("{ticket:?}") };
            backend.reopen();
            let expire = Expire { authorization, epoch, reading: seen(view) };
            (backend.tell(Command::Expire(Box::new(expire))).note, authorization)
        };
        let (note, authorization) = read(&mut backend, theirs());
        assert_eq!(note, Note::Halted(gel(3_000)), "{}: the second of two reads", backend.name);
        backend.reopen();
        assert_eq!(backend.vitals().halted, [(account(OFTEN), 1)], "{}", backend.name);
        let waits = backend.tell(draft("a", "s2").amount("2.00").command());
        assert!(waits.ticket.is_none() && waits.ready.is_none(), "{}", backend.name);
        backend.reopen();
        let resumed = backend.tell(by_hand(Intervention::Resume { authorization }));
        assert_eq!(resumed.note, Note::Resumed("by olga: ticket".to_owned()), "{}", backend.name);
        assert_eq!(backend.vitals().halted, [], "{}", backend.name);
        backend.reopen();
        // A read about another capture proves the one that was closed.
        let reply = backend.tell(Command::Due(resumed.ready.expect("what waited").due));
        backend.tell(settle(reply, Answer::Doubt(doubt(DoubtKind::Timeout))));
        let proven = AuthorizationView { captures: vec![shown(Some(id), gel(100))], ..theirs() };
        let corrected = look(&mut backend, 2 * SECOND, seen(proven));
        assert_eq!(corrected.note, Note::Corrected, "{}", backend.name);
        backend.reopen();
        assert_eq!(backend.vitals().corrected, [(account(OFTEN), backend.clock.now().wall)], "{}", backend.name);
        let kinds: Vec<String> = backend.unpublished(10).into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["capture.unresolved", "capture.corrected"], "{}", backend.name);
    }
}

#[test]
fn what_counts_against_caps_survives_a_restart() {
    let by_hand =
        |what| Command::Operator(Box::new(Operator { by: "olga".to_owned(), why: "ticket".to_owned(), what }));
    let send = |name: &str, amount| draft(name, "s1").amount(amount).on(authorized(OTHER, name, 10_000)).command();
    for mut backend in Backend::all() {
        let name = backend.name;
        for (order, amount, answer) in [
            ("a", "40.00", captured(Some(gel(4_000)))),
            ("b", "20.00", Answer::Doubt(doubt(DoubtKind::Timeout))),
            ("c", "10.00", Answer::Refused(refusal(RefusalReason::Declined))),
            ("d", "10.00", captured(Some(gel(1_000)))),
        ] {
            let reply = backend.tell(send(order, amount));
            assert!(reply.ticket.is_some(), "{name}: {order} has room");
            backend.reopen();
            backend.tell(settle(reply, answer));
            backend.reopen();
        }
        let held = backend.tell(send("e", "0.50"));
        assert!(held.ticket.is_none() && held.ready.is_none(), "{name}: {held:?}");
        assert_eq!(backend.vitals().held, [(account(OTHER), 1)], "{name}");
        backend.clock.advance(HOUR);
        backend.reopen();
        let is_held = |ready: &&crate::capture::decide::Ready| {
            let Due::Capture(_) = ready.due else { return false };
            let reply = backend.tell(Command::Due(ready.due));
            reply.subject.order == Some(order_id("e"))
        };
        let due = backend.due(10).calls;
        let ready = due.iter().find(is_held).unwrap_or_else(|| panic!("{name}: it is looked at again"));
        let Due::Capture(capture) = ready.due else { panic!("{name}: {ready:?}") };
        assert_eq!(backend.vitals().held, [(account(OTHER), 1)], "{name}: a sixtieth of an hour early");
        backend.reopen();
        let what = Intervention::Release { capture, id: held.subject.capture.expect("planned") };
        let released = backend.tell(by_hand(what));
        assert_eq!(released.note, Note::Released(gel(50)), "{name}");
        assert_eq!(backend.vitals().held, [], "{name}");
        backend.reopen();
        assert!(backend.tell(Command::Due(ready.due)).ticket.is_some(), "{name}: and is sent");
        // What has left the hour leaves room, until the day has none.
        backend.clock.advance(2 * MINUTE);
        backend.reopen();
        assert!(backend.tell(send("f", "19.50")).ticket.is_some(), "{name}");
        assert!(backend.tell(send("g", "0.50")).ticket.is_none(), "{name}");
    }
}

#[test]
fn what_does_not_fit_any_more_is_refused_with_its_shipments_after_a_restart() {
    for mut backend in Backend::all() {
        let reply = backend.tell(sent("a", "1.00"));
        backend.tell(draft("a", "s2").amount("20.00").command());
        backend.reopen();
        let proof = crate::capture::evidence::CaptureProof {
            amount: Some(gel(100)),
            provider_reference: None,
            balance: ProviderBalance { captured: Some(gel(100)), remaining: Some(gel(900)), ..view(0).balance },
        };
        let next = backend.tell(settle(reply, Answer::Captured(proof)));
        backend.reopen();
        let refused = backend.tell(Command::Due(next.ready.expect("taken up by itself").due));
        let expected = Note::Refused(crate::capture::event::FailureReason::ExceedsAuthorization);
        assert_eq!(refused.note, expected, "{}", backend.name);
        let kinds: Vec<String> = backend.unpublished(10).into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["capture.succeeded", "capture.failed"], "{}", backend.name);
    }
}

#[test]
fn a_batch_is_loaded_with_all_its_shipments() {
    for mut backend in Backend::all() {
        let plan = plan(&[("l1", 3, "30.00")], "0.00", "30.00");
        let first = draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 3_000)).plan(plan).command();
        backend.execute(vec![first, draft("o", "s2").line("l1", 1).command()]);
        backend.reopen();
        let read = backend.tell(draft("o", "s3").line("l1", 1).command());
        let Some(Ticket { call: Call::Read { authorization, epoch }, .. }) = read.ticket else { panic!("{read:?}") };
        backend.reopen();
        let reading = seen(view(3_000));
        let frozen = backend.tell(Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: true })));
        assert_eq!(frozen.note, Note::Frozen, "{}", backend.name);
        backend.reopen();
        assert_eq!(backend.tell(settle(frozen, captured(None))).note, Note::Captured(gel(3_000)));
        let outcomes = backend.unpublished(10).iter().filter(|row| row.kind == "capture.succeeded").count();
        assert_eq!(outcomes, 3, "{}", backend.name);
    }
}

#[test]
fn what_was_too_little_is_loaded_with_the_next_shipment() {
    for mut backend in Backend::all() {
        let of = |shipment: &str, amount: &str| draft("o", shipment).amount(amount);
        let first = of("s1", "0.20").on(authorized(OFTEN, "r", 3_000));
        assert_eq!(backend.tell(first.command()).note, Note::Deferred, "{}", backend.name);
        backend.reopen();
        let ready = backend.tell(of("s2", "0.40").no_permit().command());
        assert_eq!(ready.note, Note::Planned(gel(60)), "{}", backend.name);
        backend.reopen();
        let sent = backend.tell(Command::Due(ready.ready.expect("ready").due));
        backend.reopen();
        assert_eq!(backend.tell(settle(sent, captured(Some(gel(60))))).note, Note::Captured(gel(60)));
        let outcomes = backend.unpublished(10).iter().filter(|row| row.kind == "capture.succeeded").count();
        assert_eq!(outcomes, 2, "{}", backend.name);
    }
}

/// The lock of one order is not enough then: what is captured for one changes what is left for the other.
#[test]
fn orders_that_share_an_authorization_are_loaded_together() {
    for mut backend in Backend::all() {
        let on = || authorized(OFTEN, "shared", 500);
        let first = backend.tell(draft("a", "s1").amount("1.00").on(on()).command());
        backend.reopen();
        let waits = backend.tell(draft("b", "s1").amount("2.00").on(on()).command());
        assert!(waits.ticket.is_none() && waits.ready.is_none(), "{}: {waits:?}", backend.name);
        backend.reopen();
        let next = backend.tell(settle(first, captured(Some(gel(100)))));
        backend.reopen();
        let settled = backend.tell(settle(next, captured(Some(gel(200)))));
        assert_eq!(settled.note, Note::Captured(gel(200)), "{}", backend.name);
        // Neither names it any more, and both come in one group.
        backend.reopen();
        let more = |order: &str| draft(order, "s2").amount("1.50").command();
        let replies = backend.execute(vec![more("b"), more("a")]).replies;
        let notes: Vec<Note> = replies.into_iter().map(|reply| reply.expect("decided").note).collect();
        let too_much = Note::Refused(crate::capture::event::FailureReason::ExceedsAuthorization);
        assert_eq!(notes, [Note::Planned(gel(150)), too_much], "{}", backend.name);
    }
}

/// Reads the capture that is due, after a restart.
fn look(backend: &mut Backend, after: std::time::Duration, reading: Reading) -> Reply {
    backend.clock.advance(after);
    backend.reopen();
    let due = backend.due(10).calls;
    let [ready] = &due[..] else { panic!("{}: {due:?}", backend.name) };
    let ticket = backend.tell(Command::Due(ready.due)).ticket.expect("looked at");
    let Call::Look { capture, epoch } = ticket.call else { panic!("{ticket:?}") };
    backend.reopen();
    let evidence = Evidence::Reading(reading);
    backend.tell(Command::Settle(Box::new(Settle { capture, epoch, evidence, start: true })))
}

/// E4: how long ago the first send was is known after a restart of the worker, and not after one of the
/// machine, nor when its clock was stepped meanwhile.
#[test]
fn a_resend_window_outlives_the_worker_and_not_the_machine() {
    type Restart = fn(&ManualClock);
    let restarts: [(&str, Restart, bool); 4] = [
        ("the worker alone", |_| {}, true),
        ("the machine", |clock| clock.reboot(SECOND), false),
        ("the machine, which is up for as long again", |clock| clock.reboot(clock.now().boot.since_boot()), false),
        ("the worker, and the clock was set back", |clock| clock.set_back(20 * SECOND), false),
    ];
    for (what, restart, is_open) in restarts {
        for mut backend in Backend::all() {
            let begun = backend.tell(sent("o", "10.00"));
            backend.tell(settle(begun, Answer::Doubt(doubt(DoubtKind::Timeout))));
            restart(&backend.clock);
            backend.reopen();
            let reply = look(&mut backend, MINUTE, seen(view(10_000)));
            let name = backend.name;
            assert_eq!(reply.ticket.is_some(), is_open, "{what}, {name}: {reply:?}");
            if !is_open {
                let reply = look(&mut backend, 16 * MINUTE, seen(view(10_000)));
                assert!(reply.ticket.is_some(), "{what}, {name}: the read of E4 permits it: {reply:?}");
            }
        }
    }
}

#[test]
fn what_was_seen_before_a_restart_counts_after_it() {
    for mut backend in Backend::all() {
        let expired = || seen(AuthorizationView { status: AuthorizationStatus::Expired, ..view(10_000) });
        let reply = backend.tell(sent("a", "1.00"));
        backend.tell(settle(reply, Answer::Doubt(doubt(DoubtKind::Timeout))));
        look(&mut backend, 2 * SECOND, expired());
        let failed = look(&mut backend, 15 * MINUTE, expired());
        let expected = Note::Failed(crate::capture::event::FailureReason::AuthorizationExpired);
        assert_eq!(failed.note, expected, "{}: the second of two reads", backend.name);

        let reply = backend.tell(sent("b", "1.00"));
        let declined = crate::capture::evidence::Refusal { read_first: true, ..refusal(RefusalReason::Declined) };
        backend.tell(settle(reply, Answer::Refused(declined)));
        let failed = look(&mut backend, 2 * SECOND, seen(view(10_000)));
        let expected = Note::Failed(crate::capture::event::FailureReason::Declined);
        assert_eq!(failed.note, expected, "{}: the refusal that waited for a read", backend.name);
    }
}

#[test]
fn what_failed_begins_anew_after_a_restart_and_keeps_its_message() {
    for mut backend in Backend::all() {
        let command = sent("a", "1.00");
        let reply = backend.tell(command.clone());
        backend.tell(settle(reply, Answer::Refused(refusal(RefusalReason::Declined))));
        for generation in 0..3 {
            if generation != 1 {
                backend.reopen();
            }
            let letter = DeadLetterId::of_shipment(&order_id("a"), &shipment_id("s1"), generation);
            let replay = || {
                let message = Some(command.clone());
                Command::Replay(Box::new(Replay { letter, job: JobKey::new(1), message, traceparent: None }))
            };
            let reply = backend.tell(replay());
            let expected = Note::Replayed(Replayed { amount: Some(gel(100)), shipments: 1 });
            assert_eq!(reply.note, expected, "{}", backend.name);
            let again = backend.tell(replay());
            assert!(again.ready.is_none(), "{}: twice is once", backend.name);
            let begun = backend.tell(Command::Due(reply.ready.expect("ready").due));
            // What has begun anew needs its message until it has ended, however many end meanwhile.
            if generation == 1 {
                let free = |number| draft("free", &format!("f{number}")).amount("0.00");
                let first = free(0).on(authorized(OFTEN, "free", 100)).command();
                backend.execute(std::iter::once(first).chain((1..2_100).map(|n| free(n).command())).collect());
                backend.tell(sent("b", "1.00"));
                backend.reopen();
            }
            backend.tell(settle(begun, Answer::Refused(refusal(RefusalReason::Declined))));
        }
        assert_eq!(backend.vitals().dead_letters, [("declined".to_owned(), 1)], "{}", backend.name);
        let rows = backend.unpublished(3_000);
        assert_eq!(rows.iter().filter(|row| row.kind == "capture.failed").count(), 4, "{}", backend.name);
    }
}

#[test]
fn a_failed_batch_is_loaded_whole_to_begin_anew() {
    for mut backend in Backend::all() {
        let plan = plan(&[("l1", 2, "20.00")], "0.00", "20.00");
        let first = draft("o", "s1").line("l1", 1).on(authorized(ONCE, "r", 2_000)).plan(plan).command();
        backend.execute(vec![first.clone()]);
        let read = backend.tell(draft("o", "s2").line("l1", 1).command());
        let Some(Ticket { call: Call::Read { authorization, epoch }, .. }) = read.ticket else { panic!("{read:?}") };
        let reading = seen(view(2_000));
        let frozen = backend.tell(Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: true })));
        backend.tell(settle(frozen, Answer::Refused(refusal(RefusalReason::Declined))));
        backend.reopen();
        let letter = DeadLetterId::of_shipment(&order_id("o"), &shipment_id("s1"), 0);
        let replay = Replay { letter, job: JobKey::new(1), message: Some(first), traceparent: None };
        let reply = backend.tell(Command::Replay(Box::new(replay)));
        let expected = Note::Replayed(Replayed { amount: Some(gel(2_000)), shipments: 2 });
        assert_eq!(reply.note, expected, "{}", backend.name);
        backend.reopen();
        let read = backend.tell(Command::Due(reply.ready.expect("ready").due));
        let Some(Ticket { call: Call::Read { authorization, epoch }, .. }) = read.ticket else { panic!("{read:?}") };
        let reading = seen(view(2_000));
        let frozen = backend.tell(Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: true })));
        backend.reopen();
        assert_eq!(backend.tell(settle(frozen, captured(None))).note, Note::Captured(gel(2_000)), "{}", backend.name);
        let rows = backend.unpublished(20);
        assert_eq!(rows.iter().filter(|row| row.kind == "capture.succeeded").count(), 2, "{}", backend.name);
    }
}

// The same random commands on both.

#[derive(Debug, Clone)]
enum Step {
    Accept {
        order: u8,
        shipment: u8,
        single: bool,
        lines: u8,
        explicit: bool,
        whole: bool,
        last: bool,
        start: bool,
    },
    /// `order.authorized`, or a revision of the plan; without an amount, the provider is asked.
    Register {
        order: u8,
        single: bool,
        revision: u32,
        amount: bool,
    },
    /// `order.cancelled`.
    Cancel {
        order: u8,
        single: bool,
        lines: u8,
    },
    /// Answers one of the calls under way, or one that was answered before.
    Answer {
        call: usize,
        kind: u8,
    },
    Due,
    /// An operator, at one of the captures that were sent: looks, closes it, or lifts a halt; or releases one
    /// that is held.
    Operator {
        call: usize,
        kind: u8,
    },
    Again,
    /// An operator tries the dead letter of a shipment again, if there is one.
    Replay {
        order: u8,
        shipment: u8,
        single: bool,
        generation: u32,
    },
    /// Or that of one of the last messages.
    ReplayMessage(usize),
    Interrupt,
    Publish,
    Advance(u32),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let accept = (0..3_u8, 0..4_u8, any::<bool>(), 0..4_u8, any::<bool>(), 0..3_u8, any::<bool>(), any::<bool>());
    let accept = accept.prop_map(|(order, shipment, single, lines, explicit, whole, last, start)| Step::Accept {
        order,
        shipment,
        single,
        lines,
        explicit: explicit && order == 2,
        whole: whole > 0,
        last: last && shipment > 1,
        start,
    });
    prop_oneof![
        6 => accept,
        2 => (0..3_u8, any::<bool>(), 1..5_u32, any::<bool>())
            .prop_map(|(order, single, revision, amount)| Step::Register { order, single, revision, amount }),
        2 => (0..3_u8, any::<bool>(), 0..4_u8).prop_map(|(order, single, lines)| Step::Cancel { order, single, lines }),
        8 => (0..8_usize, 0..14_u8).prop_map(|(call, kind)| Step::Answer { call, kind }),
        4 => Just(Step::Due),
        2 => (0..6_usize, 0..8_u8).prop_map(|(call, kind)| Step::Operator { call, kind }),
        1 => Just(Step::Again),
        4 => (0..3_u8, 0..4_u8, any::<bool>(), 0..2_u32)
            .prop_map(|(order, shipment, single, generation)| Step::Replay { order, shipment, single, generation }),
        1 => (0..6_usize).prop_map(Step::ReplayMessage),
        1 => Just(Step::Interrupt),
        1 => Just(Step::Publish),
        4 => prop_oneof![1..10_u32, 600..1_200_u32, 3_000..90_000_u32, Just(600_000)].prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

/// The plan as its revisions have it: dearer, without a line, cheaper.
fn revised(revision: u32) -> crate::capture::notice::PlanFacts {
    let plan = match revision {
        2 => plan(&[("l1", 3, "50.00"), ("l3", 1, "69.13")], "4.90", "124.03"),
        3 => plan(&[("l1", 2, "29.98")], "4.90", "34.88"),
        _ => worked_plan(),
    };
    crate::capture::notice::PlanFacts { revision, ..plan }
}

/// What the reference of an order's second authorization ends with.
const ANEW: &str = "-anew";

/// What a read shows after a restore: captures of the lost time.
fn lost(ticket: &Ticket, kind: u8) -> Reading {
    let order = order_id(ticket.reference.as_str().trim_end_matches(ANEW));
    let of = |shipment, generation| {
        CaptureId::of_shipment(&ticket.account, &ticket.reference, &order, &shipment_id(shipment), generation)
    };
    let fee = CaptureId::of_fee(&ticket.account, &ticket.reference, &order, 1, u32::from(kind % 2));
    let captures: &[(CaptureId, i64)] = match kind {
        0 => &[(of("s0", 0), 1_499)],
        1 => &[(of("s0", 1), 1_499), (of("s1", 0), 30)],
        2 => &[(of("s1", 1), 2_000), (fee, 245)],
        3 => &[(of("s2", 0), 100), (fee, 200)],
        4 => &[(of("s3", 2), 7_420)],
        _ => return reading_of(kind, None, gel(100)),
    };
    let sum: i64 = captures.iter().map(|(_, minor)| minor).sum();
    let (captured, remaining) = (Some(gel(sum)), Some(gel(11_000 - sum)));
    let balance = ProviderBalance { captured, remaining, ..ProviderBalance::default() };
    let captures = captures.iter().map(|(id, minor)| shown(Some(*id), gel(*minor))).collect();
    seen(AuthorizationView { balance, captures, ..view(11_000) })
}

fn account_of(order: &str) -> &'static str {
    match order {
        "o2false" => OTHER,
        _ if order.ends_with("true") => ONCE,
        _ => OFTEN,
    }
}

fn message(step: &Step) -> Option<Command> {
    let (order, shipment, single, lines, explicit, whole, last, start) = match step {
        Step::Accept { order, shipment, single, lines, explicit, whole, last, start } => {
            (order, shipment, single, lines, explicit, whole, last, start)
        }
        Step::Register { order, single, revision, amount } => {
            let order = format!("o{order}{single}");
            // The last revision comes with another authorization.
            let reference = if *revision < 4 { order.clone() } else { format!("{order}{ANEW}") };
            let mut facts = authorized(account_of(&order), &reference, 11_000);
            if !amount {
                (facts.amount, facts.authorized_at, facts.expires_at) = (None, None, None);
            }
            return Some(registration(&order, facts, Some(revised(*revision))));
        }
        Step::Cancel { order, single, lines } => {
            let lines: &[(&str, u32)] = match lines {
                0 => &[],
                1 => &[("l1", 1)],
                2 => &[("l1", 3), ("l3", 1)],
                _ => &[("l9", 1)],
            };
            return Some(cancellation(&format!("o{order}{single}"), lines));
        }
        Step::Answer { .. }
        | Step::Operator { .. }
        | Step::Due
        | Step::Again
        | Step::Replay { .. }
        | Step::ReplayMessage(_)
        | Step::Interrupt
        | Step::Publish
        | Step::Advance(_)
        | Step::Reopen => return None,
    };
    let order_id = format!("o{order}{single}");
    let mut notice = draft(&order_id, &format!("s{shipment}"));
    notice = match lines {
        _ if *explicit => notice.amount(["1.00", "20.00", "0.00", "0.30"][usize::from(*lines)]),
        0 => notice.line("l1", 1),
        1 => notice.line("l1", 2).line("l3", 1),
        2 => notice.line("l3", 1),
        _ => notice.line("l1", 3),
    };
    if *whole {
        notice = notice.on(authorized(account_of(&order_id), &order_id, 11_000));
    }
    if *whole != *explicit || *order == 1 {
        notice = notice.plan(worked_plan());
    }
    if *last {
        notice = notice.last();
    }
    Some(if *start { notice } else { notice.no_permit() }.command())
}

fn answer_of(kind: u8, amount: Money) -> Answer {
    let fault = ConfigurationFault { code: None, message: "token".to_owned(), may_have_executed: kind == 13 };
    match kind {
        0 | 1 => captured(Some(amount)),
        2 => captured(Some(gel(1))),
        3 => Answer::Pending,
        4 => Answer::Refused(refusal(RefusalReason::Declined)),
        5 => Answer::Refused(crate::capture::evidence::Refusal {
            read_first: true,
            ..refusal(RefusalReason::ExceedsAuthorization)
        }),
        6..=8 => Answer::Doubt(doubt(DoubtKind::Timeout)),
        9 => Answer::Doubt(doubt(DoubtKind::Coded)),
        10 | 11 => not_executed(),
        _ => Answer::Misconfigured(fault),
    }
}

fn reading_of(kind: u8, id: Option<CaptureId>, amount: Money) -> Reading {
    let of = |status| seen(AuthorizationView { status, ..view(11_000) });
    let foreign = ProviderBalance {
        captured: Some(gel(4_000)),
        voided: Some(gel(1_000)),
        remaining: Some(gel(6_000)),
        expires_at: None,
    };
    let told = ProviderBalance { expires_at: Some(at(300_000)), ..view(11_000).balance };
    match kind {
        0 | 1 => seen(AuthorizationView { captures: vec![shown(id, amount)], ..view(11_000) }),
        2 => seen(AuthorizationView { captures: vec![shown(id, gel(1))], ..view(11_000) }),
        3 => seen(AuthorizationView { has_pending_capture: true, ..view(11_000) }),
        4 => of(AuthorizationStatus::Expired),
        5 => of(AuthorizationStatus::Voided),
        6 => of(AuthorizationStatus::NotYetApproved),
        7 => Reading::Unclear(doubt(DoubtKind::Timeout)),
        8 => seen(AuthorizationView { balance: told, ..view(11_000) }),
        9..=11 => seen(AuthorizationView { balance: foreign, ..view(11_000) }),
        _ => of(AuthorizationStatus::Open),
    }
}

/// Memory and others beside it, the calls that were asked for, and the notices that were sent.
struct Beside {
    memory: Backend,
    others: Vec<Backend>,
    calls: Vec<(Ticket, Option<CaptureId>, Money)>,
    accepted: Vec<Command>,
    is_restored: bool,
}

impl Beside {
    fn new(others: &[fn(ManualClock) -> Backend]) -> Self {
        let clock = ManualClock::new();
        let others = others.iter().map(|other| other(clock.clone())).collect();
        let (calls, accepted) = (Vec::new(), Vec::new());
        Self { memory: Backend::memory(clock), others, calls, accepted, is_restored: false }
    }

    fn restored(self) -> Self {
        let others = self.others.into_iter().map(Backend::restored).collect();
        Self { memory: self.memory.restored(), others, is_restored: true, ..self }
    }

    fn reopen(&mut self) {
        self.others.iter_mut().for_each(Backend::reopen);
    }

    fn take(&mut self, step: &Step) {
        let commands = match step {
            Step::Accept { .. } | Step::Register { .. } | Step::Cancel { .. } => {
                let command = message(step).expect("a message");
                self.accepted.push(command.clone());
                vec![command]
            }
            Step::Answer { call, kind } => self.answer(*call, *kind).into_iter().collect(),
            Step::Operator { call, kind } => self.operator(*call, *kind).into_iter().collect(),
            Step::Due => self.due(),
            Step::Replay { order, shipment, single, generation } => {
                let (order, shipment) = (format!("o{order}{single}"), format!("s{shipment}"));
                let letter = DeadLetterId::of_shipment(&order_id(&order), &shipment_id(&shipment), *generation);
                let is_its = |command: &&Command| {
                    let Command::Accept(arrival) = command else { return false };
                    arrival.notice.order.as_str() == order && arrival.notice.shipment.as_str() == shipment
                };
                let message = self.accepted.iter().find(is_its).cloned();
                vec![Command::Replay(Box::new(Replay { letter, job: JobKey::new(1), message, traceparent: None }))]
            }
            Step::ReplayMessage(number) => {
                let Some(index) = self.accepted.len().checked_sub(1 + number) else { return };
                let message = self.accepted[index].clone();
                let hash = crate::capture::dead_letter::sha256(body_of(&message).expect("a message"));
                let again = |reason| {
                    let letter = DeadLetterId::of_message(reason, &hash);
                    Command::Replay(Box::new(Replay {
                        letter,
                        job: JobKey::new(2),
                        message: Some(message.clone()),
                        traceparent: None,
                    }))
                };
                ["conflict", "invalid", "unknown_plan"].map(again).to_vec()
            }
            Step::Again => self.accepted.iter().rev().take(3).cloned().collect(),
            Step::Interrupt => self.interrupt(),
            Step::Publish => {
                let rows = self.memory.unpublished(3);
                vec![Command::Published(rows.iter().map(|row| row.row).collect())]
            }
            Step::Advance(seconds) => return self.memory.clock.advance(*seconds * SECOND),
            Step::Reopen => return self.reopen(),
        };
        self.execute(&commands);
    }

    fn answer(&self, call: usize, kind: u8) -> Option<Command> {
        let index = self.calls.len().checked_sub(1 + call)?;
        let (ticket, id, amount) = &self.calls[index];
        let settle = |capture, epoch, evidence| {
            Command::Settle(Box::new(Settle { capture, epoch, evidence, start: kind.is_multiple_of(2) }))
        };
        Some(match ticket.call {
            Call::Send { capture, epoch, .. } => settle(capture, epoch, Evidence::Answer(answer_of(kind, *amount))),
            Call::Look { capture, epoch } => settle(capture, epoch, Evidence::Reading(reading_of(kind, *id, *amount))),
            Call::Read { authorization, epoch } => {
                let reading = reading_of(kind, None, *amount);
                Command::Freeze(Box::new(Freeze { authorization, epoch, reading, start: kind.is_multiple_of(2) }))
            }
            Call::ReadExpiry { authorization, epoch } => {
                let reading = if self.is_restored { lost(ticket, kind) } else { reading_of(kind, None, *amount) };
                Command::Expire(Box::new(Expire { authorization, epoch, reading }))
            }
            Call::Ask { authorization } => {
                Command::Learn(Box::new(Learn { authorization, reading: reading_of(kind, None, *amount) }))
            }
        })
    }

    /// A capture that a cap holds.
    fn held(&self) -> Option<(CaptureKey, CaptureId)> {
        let path = self.others.iter().find_map(|other| match &other.place {
            Place::File { path, .. } => Some(path),
            Place::Memory | Place::Database(_) => None,
        });
        let file = open_for_reading(path.expect("a file is among them")).expect("a ledger");
        let sql = "SELECT capture_row, capture_id FROM captures WHERE capped <> 'released' ORDER BY 1 LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(i64, [u8; 16])> = file.query_row(sql, [], read).optional().expect("asked");
        found.map(|(row, id)| (CaptureKey::new(row), CaptureId::from_uuid(uuid::Uuid::from_bytes(id))))
    }

    fn operator(&self, call: usize, kind: u8) -> Option<Command> {
        let by_hand =
            |what| Command::Operator(Box::new(Operator { by: "olga".to_owned(), why: "because".to_owned(), what }));
        if kind > 5 {
            return self.held().map(|(capture, id)| by_hand(Intervention::Release { capture, id }));
        }
        let sent = self.calls.iter().rev().filter_map(|(ticket, id, _)| match ticket.call {
            Call::Send { capture, .. } => Some((capture, (*id)?)),
            Call::Look { .. } | Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. } => None,
        });
        let (capture, id) = sent.into_iter().nth(call)?;
        let close = |closing| Intervention::Close { capture, id, closing };
        let what = match kind {
            0 | 1 => Intervention::Look { capture, id },
            2 => close(Closing::Captured { reference: "pay-3".to_owned() }),
            3 | 4 => close(Closing::Unresolved),
            _ => {
                let halted = self.calls.iter().rev().find_map(|(ticket, _, _)| match ticket.call {
                    Call::ReadExpiry { authorization, .. } => Some(authorization),
                    Call::Send { .. } | Call::Look { .. } | Call::Read { .. } | Call::Ask { .. } => None,
                });
                Intervention::Resume { authorization: halted? }
            }
        };
        Some(by_hand(what))
    }

    fn due(&self) -> Vec<Command> {
        let sorted = |due: DueNow| {
            let mut all: Vec<_> = due.calls.into_iter().map(|r| (r.due, r.account, r.deadline)).collect();
            all.extend(due.others.into_iter().map(|due| (due, account("-"), None)));
            all.sort_by_key(|(due, _, _)| format!("{due:?}"));
            all
        };
        let memory = sorted(self.memory.due(100));
        for other in &self.others {
            assert_eq!(memory, sorted(other.due(100)), "what is due: {}", other.name);
        }
        memory.into_iter().map(|(due, _, _)| Command::Due(due)).collect()
    }

    /// The worker dies, and another one starts.
    fn interrupt(&mut self) -> Vec<Command> {
        self.reopen();
        let interrupted = self.memory.interrupted();
        for other in &self.others {
            assert_eq!(interrupted, other.interrupted(), "{}", other.name);
        }
        let settle = |(capture, epoch)| Settle { capture, epoch, evidence: Evidence::Interrupted, start: true };
        interrupted.into_iter().map(|sending| Command::Settle(Box::new(settle(sending)))).collect()
    }

    /// Executes a group on all of them. What they reply, and what they publish, is the same.
    fn execute(&mut self, commands: &[Command]) {
        let memory = self.memory.execute(commands.to_vec());
        // Which messages' traces a ticket names depends on what is loaded.
        let word = |reply: &Reply| {
            let ticket = reply.ticket.clone().map(|ticket| Ticket { traces: Vec::new(), ..ticket });
            format!("{:?}", Reply { ticket, ..reply.clone() })
        };
        let words = |executed: &Executed| -> Vec<Option<String>> {
            executed.replies.iter().map(|reply| reply.as_ref().ok().map(word)).collect()
        };
        for other in &self.others {
            let executed = other.execute(commands.to_vec());
            assert_eq!(words(&memory), words(&executed), "{}: {commands:?}", other.name);
            assert_eq!(memory.outbox, executed.outbox, "{}: {commands:?}", other.name);
        }
        assert!(memory.replies.iter().all(Result::is_ok), "{:?}", memory.replies);
        let again: Vec<Command> = memory
            .replies
            .iter()
            .filter_map(|reply| {
                let Note::LookAgain(raw) = &reply.as_ref().ok()?.note else { return None };
                self.accepted.iter().find(|known| body_of(known) == Some(&raw.body)).cloned()
            })
            .collect();
        for reply in memory.replies.into_iter().flatten() {
            if let Some(ticket) = reply.ticket {
                let amount = match ticket.call {
                    Call::Send { amount, .. } => amount,
                    Call::Look { .. } | Call::Read { .. } | Call::ReadExpiry { .. } | Call::Ask { .. } => {
                        self.calls.last().map_or(gel(100), |known| known.2)
                    }
                };
                self.calls.push((ticket, reply.subject.capture, amount));
            }
        }
        if !again.is_empty() {
            self.execute(&again);
        }
    }
}

fn all_do_the_same(steps: &[Step], mut beside: Beside) {
    for step in steps {
        beside.take(step);
    }
    beside.reopen();
    for other in &beside.others {
        assert_eq!(beside.memory.unpublished(1_000), other.unpublished(1_000), "{}", other.name);
        assert_eq!(beside.memory.vitals(), other.vitals(), "{}", other.name);
    }
    // Row by row, so that a ledger can move from one to the other.
    let mut rows = beside.others.iter().filter_map(|other| match &other.place {
        Place::Memory => None,
        Place::File { path, .. } => Some(rows_of_sqlite(path)),
        Place::Database(address) => Some(rows_of_postgres(address)),
    });
    let first = rows.next().expect("something is kept");
    for others in rows {
        for (table, rows) in &first {
            assert_eq!(Some(rows), others.get(table), "{table}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn both_do_the_same_with_the_same_commands(steps in prop::collection::vec(step(), 1..60)) {
        all_do_the_same(&steps, Beside::new(&[Backend::sqlite]));
    }

    #[test]
    fn both_do_the_same_after_a_restore(steps in prop::collection::vec(step(), 1..60)) {
        all_do_the_same(&steps, Beside::new(&[Backend::sqlite]).restored());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn all_do_the_same_with_the_same_commands(steps in prop::collection::vec(step(), 1..60)) {
        all_do_the_same(&steps, Beside::new(&[Backend::sqlite, Backend::postgres]));
    }

    #[test]
    fn all_do_the_same_after_a_restore(steps in prop::collection::vec(step(), 1..60)) {
        all_do_the_same(&steps, Beside::new(&[Backend::sqlite, Backend::postgres]).restored());
    }
}

#[test]
fn after_a_restore_a_capture_is_found_on_any_authorization_of_its_order() {
    for mut backend in Backend::all() {
        let Some(source) = backend.source() else { continue };
        let unnamed = |shipment, amount| draft("o", shipment).amount(amount).command();
        testing::batch(&source, "INSERT INTO restores VALUES (1, 0, 0, 0, 9000000000000000)");
        backend.reopen();
        for reference in ["r", "r2"] {
            backend.tell(registration("o", authorized(OFTEN, reference, 10_000), None));
        }
        for ready in backend.due(10).calls {
            let ticket = backend.tell(Command::Due(ready.due)).ticket.expect("it is read");
            let Call::ReadExpiry { authorization, epoch } = ticket.call else { panic!("{ticket:?}") };
            let is_older = ticket.reference == reference("r");
            let of = |shipment, minor| {
                let shipment = shipment_id(shipment);
                let id = CaptureId::of_shipment(&account(OFTEN), &ticket.reference, &order_id("o"), &shipment, 0);
                shown(Some(id), gel(minor))
            };
            let captures = if is_older { vec![of("s1", 2_000), of("s3", 55)] } else { Vec::new() };
            let captured = if is_older { 2_055 } else { 0 };
            let (captured, remaining) = (Some(gel(captured)), Some(gel(10_000 - captured)));
            let balance = ProviderBalance { captured, remaining, ..ProviderBalance::default() };
            let reading = seen(AuthorizationView { balance, captures, ..view(10_000) });
            backend.tell(Command::Expire(Box::new(Expire { authorization, epoch, reading })));
        }
        backend.reopen();
        // The newest is "r2".
        assert_eq!(backend.tell(unnamed("s1", "20.00")).note, Note::Captured(gel(2_000)), "{}", backend.name);
        // Too little by itself, it waits on that one; it was captured with the next one, on the one that this names.
        assert_eq!(backend.tell(unnamed("s2", "0.30")).note, Note::Deferred, "{}", backend.name);
        backend.reopen();
        let named = draft("o", "s3").amount("0.25").on(authorized(OFTEN, "r", 10_000)).command();
        assert_eq!(backend.tell(named).note, Note::Captured(gel(55)), "{}", backend.name);
        assert_eq!(backend.vitals().earned_uncaptured, [], "{}: nothing waits any more", backend.name);
    }
}
