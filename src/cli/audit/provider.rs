//! The ledger against the providers' books, authorization by authorization.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use indicatif::ProgressBar;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::{Interval, interval, sleep};

use super::{Args, Row, Unread, Verdict, progress};
use crate::audit::{Compared, OurAuthorization, compare_authorization};
use crate::capture::evidence::{AuthorizationView, Reading};
use crate::cli::sums::add_up;
use crate::cli::{Exit, Failure, OrExit, Output};
use crate::ids::AccountName;
use crate::ledger::report::{Books, Report};
use crate::provider::{self, Provider};
use crate::settings::{Account, Settings};

/// Authorizations that are read together.
const PAGE: u32 = 512;

/// How often one is read before it counts as not read, and how long the pause before the second time is;
/// it doubles.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// After so many in a row that could not be read, an account is given up.
const GIVEN_UP_AFTER: u32 = 10;

/// How often it is said how far it is, where no bar is seen.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What a provider showed of an authorization: `None` where it does not know it.
type Seen = Result<Option<Box<AuthorizationView>>, String>;

/// Compares.
pub(super) async fn audit(
    args: &Args,
    settings: &Settings,
    report: Report,
    is_terminal: bool,
) -> Result<Verdict, Failure> {
    let readers = readers(args, settings, &report)?;
    let books = report.into_books().or_exit(Exit::Ledger)?;
    let account = args.account.as_ref();
    let total = books.count(args.after, account).or_exit(Exit::Ledger)?;
    let bar = progress(total, "authorizations", is_terminal);
    let mut told = Told::new(total, is_terminal);
    let mut stop = Stop::new()?;
    let mut verdict = Verdict { what: "captures", other: "provider", ..Verdict::default() };
    let mut after = args.after;
    loop {
        let page = books.behind(after, account, PAGE).or_exit(Exit::Ledger)?;
        let Some(last) = page.last().map(|ours| ours.row) else { break };
        let found = tokio::select! {
            found = look_at(page, &readers, &books, usize::from(args.concurrency), &bar) => found?,
            () = stop.asked() => {
                verdict.stopped_after = Some(after);
                break;
            }
        };
        found.add_to(&mut verdict);
        after = last;
        told.tell(after, &bar);
    }
    bar.finish_and_clear();
    Ok(verdict)
}

/// Says from time to time how far it is, so that whoever has to begin anew knows where. On a terminal the
/// bar says it.
struct Told {
    total: u64,
    is_terminal: bool,
    last: Instant,
}

impl Told {
    fn new(total: u64, is_terminal: bool) -> Self {
        Self { total, is_terminal, last: Instant::now() }
    }

    fn tell(&mut self, after: i64, bar: &ProgressBar) {
        bar.set_message(format!("--after {after}"));
        if self.is_terminal || self.last.elapsed() < TOLD_EVERY {
            return;
        }
        self.last = Instant::now();
        let (read, of) = (bar.position(), self.total);
        Output::say(&format!("{read} of {of} authorizations are compared; to go on from here: --after {after}"));
    }
}

/// Ctrl-C and SIGTERM, from its making on: what was found so far is told.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).or_exit(Exit::Wrong);
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What a page of authorizations came to.
#[derive(Default)]
struct Found {
    compared: Compared,
    rows: Vec<Row>,
    unread: Vec<Unread>,
}

impl Found {
    fn add(&mut self, ours: &OurAuthorization, compared: Compared) {
        self.compared.agreed.extend(compared.agreed);
        self.compared.open += compared.open;
        let at = Some((&ours.account, &ours.reference));
        self.rows.extend(compared.differences.into_iter().map(|difference| Row::new(at, difference)));
    }

    fn add_unread(&mut self, ours: &OurAuthorization, why: String) {
        self.unread.push(Unread { account: ours.account.to_string(), reference: ours.reference.to_string(), why });
    }

    fn add_to(self, verdict: &mut Verdict) {
        verdict.agreed += u64::try_from(self.compared.agreed.len()).unwrap_or(u64::MAX);
        let before = verdict.agreed_amounts.iter().map(|sum| sum.amount.0);
        verdict.agreed_amounts = add_up(before.chain(self.compared.agreed));
        verdict.open += self.compared.open;
        verdict.differences.extend(self.rows);
        verdict.unread.extend(self.unread);
    }
}

async fn look_at(
    page: Vec<OurAuthorization>,
    readers: &Readers,
    books: &Books,
    concurrency: usize,
    bar: &ProgressBar,
) -> Result<Found, Failure> {
    let read = |ours: OurAuthorization| async move {
        let compared = compare(ours, readers, books).await;
        bar.inc(1);
        compared
    };
    let mut compared = stream::iter(page).map(read).buffered(concurrency);
    let mut found = Found::default();
    while let Some(one) = compared.next().await {
        match one? {
            (ours, Ok(compared)) => found.add(&ours, compared),
            (ours, Err(why)) => found.add_unread(&ours, why),
        }
    }
    Ok(found)
}

/// Compares one authorization. The worker goes on meanwhile: what differs only because one side was read
/// before the other is gone when both are read again, while the ledger says the same before and after.
async fn compare(
    ours: OurAuthorization,
    readers: &Readers,
    books: &Books,
) -> Result<(OurAuthorization, Result<Compared, String>), Failure> {
    let mut compared = match readers.read(&ours).await {
        Ok(seen) => compare_authorization(&ours, seen.as_deref()),
        Err(why) => return Ok((ours, Err(why))),
    };
    if compared.differences.is_empty() {
        return Ok((ours, Ok(compared)));
    }
    let mut ours = books.again(&ours).or_exit(Exit::Ledger)?;
    for _ in 0..TRIES {
        compared = match readers.read(&ours).await {
            Ok(seen) => compare_authorization(&ours, seen.as_deref()),
            Err(why) => return Ok((ours, Err(why))),
        };
        let now = books.again(&ours).or_exit(Exit::Ledger)?;
        if now == ours {
            break;
        }
        ours = now;
    }
    Ok((ours, Ok(compared)))
}

/// The accounts' readers, at the pace that was asked for.
struct Readers {
    accounts: BTreeMap<AccountName, Reader>,
    pace: Mutex<Interval>,
}

enum Reader {
    Reads {
        provider: Arc<dyn Provider>,
        /// How many in a row could not be read.
        failures: AtomicU32,
    },
    /// An operator has paused it, and nothing is sent to it, not even reads.
    Paused,
}

fn readers(args: &Args, settings: &Settings, report: &Report) -> Result<Readers, Failure> {
    let known = report.accounts().or_exit(Exit::Ledger)?;
    let is_paused = |name: &AccountName| {
        let status = known.get(name).and_then(|summary| summary.status.as_ref());
        status.is_some_and(|status| status.state == "paused")
    };
    let reader = |account: &Account| {
        let reader = if is_paused(&account.name) {
            Reader::Paused
        } else {
            let provider = provider::connect(account).or_exit(Exit::Usage)?;
            Reader::Reads { provider, failures: AtomicU32::new(0) }
        };
        Ok((account.name.clone(), reader))
    };
    let accounts = settings.accounts.iter().map(reader).collect::<Result<_, Failure>>()?;
    let pace = Mutex::new(interval(Duration::from_secs(1) / args.rate));
    Ok(Readers { accounts, pace })
}

impl Readers {
    /// Reads one authorization, and again where the answer shows nothing.
    async fn read(&self, ours: &OurAuthorization) -> Seen {
        let (provider, failures) = match self.accounts.get(&ours.account) {
            Some(Reader::Reads { provider, failures }) => (provider, failures),
            Some(Reader::Paused) => return Err("the account is paused: resume it, and audit again".to_owned()),
            None => return Err("the account is not configured: put it back into the settings".to_owned()),
        };
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            if failures.load(Ordering::Relaxed) >= GIVEN_UP_AFTER {
                return Err(format!("the account was given up after {GIVEN_UP_AFTER} that could not be read"));
            }
            self.pace.lock().await.tick().await;
            match seen(provider.lookup(&ours.reference).await) {
                Ok(seen) => {
                    failures.store(0, Ordering::Relaxed);
                    return Ok(seen);
                }
                Err(why) if attempt == TRIES => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    return Err(why);
                }
                Err(_) => sleep(pause).await,
            }
            pause *= 2;
        }
        unreachable!("the last try returns")
    }
}

/// Answers that say that there is no such authorization. Sources: Flitt and Fondy, "Response codes"; Flex
/// Pay, "Error codes".
const UNKNOWN_THERE: [&str; 2] = ["1018", "TRANSACTION_NOT_FOUND"];

fn seen(reading: Reading) -> Seen {
    let (code, why) = match reading {
        Reading::Seen(view) => return Ok(Some(view)),
        Reading::Unclear(doubt) => (doubt.code, doubt.message),
        Reading::Misconfigured(fault) => (fault.code, fault.message),
    };
    if code.as_deref().is_some_and(|code| UNKNOWN_THERE.contains(&code)) {
        return Ok(None);
    }
    Err(code.map_or(why.clone(), |code| format!("{code}: {why}")))
}
