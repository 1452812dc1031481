//! One capture after the other on one ledger that grows, each by a worker of its own, and both verdicts.

use std::path::{Path, PathBuf};

use holdfast::sandbox::{Channel, Code, Fault, NewAccount, Operation, Rule, When};

use crate::auditor::Evidence;
use crate::calls::{self, CALLS, Point};
use crate::strace::{Strace, threads};
use crate::support::order::{Account, Order};
use crate::support::worker::Worker;
use crate::support::world::World;

/// Shorter, because a read that was cut off is begun again only when it can be answered no more, and an
/// event that memory has lost is looked for only once in a while.
pub const IMPATIENT: [(&str, &str); 4] = [
    ("HOLDFAST_WORKER__RELAY_INTERVAL", "200ms"),
    ("HOLDFAST_CAPTURE__SEND_WITHIN", "1s"),
    ("HOLDFAST_ACCOUNTS__FLITT_GE__TIMEOUT", "1s"),
    ("HOLDFAST_ACCOUNTS__FLEX__TIMEOUT", "1s"),
];

/// Every account's.
pub const SECRET: &str = "s-7Qp4xV0nRk2Lw9";

/// What each order owes.
const OWED: i64 = 3_333;

/// What goes through the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// A shipment on an authorization that is captured several times.
    Often,
    /// Two shipments on one that is captured once.
    Once,
    /// A shipment of which the provider declines the capture.
    Declined,
}

impl Workload {
    const fn shipments(self) -> &'static [&'static str] {
        match self {
            Self::Often | Self::Declined => &["a"],
            Self::Once => &["a", "b"],
        }
    }
}

/// A world, and what has gone through it.
pub struct Stage {
    pub world: World,
    workload: Workload,
    shipped: usize,
    rounds: usize,
}

impl Stage {
    pub async fn new(workload: Workload) -> Self {
        let world = world().await;
        if workload == Workload::Declined {
            let code = Code::Name("INSUFFICIENT_FUNDS".to_owned());
            let fault = Fault::Code { code, when: When::Before, channel: Channel::ResponseCode };
            world.faults(vec![Rule { operation: Operation::Capture, ..Rule::new(fault) }]);
        }
        Self { world, workload, shipped: 0, rounds: 0 }
    }

    /// A worker that waits for something to do. A shortcut may be switched on in it, to see that the verdicts
    /// find it.
    pub async fn worker(&self) -> Worker {
        let mutant = std::env::var("HOLDFAST_TEST_MUTANT").unwrap_or_default();
        let environment = [&IMPATIENT[..], &[("HOLDFAST_TEST_MUTANT", &mutant)]].concat();
        let mut worker = self.world.worker_with(&environment);
        worker.readiness("\"ready\":true").await;
        worker
    }

    /// The next order ships.
    pub async fn ship(&mut self) {
        self.rounds += 1;
        let account = if self.workload == Workload::Once { Account::Flitt } else { Account::Flex };
        let shipments = self.workload.shipments();
        let units = u32::try_from(shipments.len()).unwrap();
        let order: Order = self.world.order(&format!("ord-{}", self.rounds), account, &[("l1", units, OWED)]);
        self.shipped += shipments.len();
        self.world.publish(shipments.iter().map(|shipment| order.shipped(shipment, &[("l1", 1)]))).await;
    }

    /// Everything that has shipped has its outcome, and the ledger knows that it is published.
    pub async fn is_done(&self) {
        self.world.outcomes(self.shipped).await;
        self.world.count_becomes("SELECT count(*) FROM outbox WHERE published_at IS NULL", 0).await;
    }

    /// A worker as it is comes after one that has ended; then everything has ended well, says the verdict of
    /// the integration tests, and the auditor says so too.
    pub async fn recovers(&self) {
        let before = self.snapshot();
        let mut worker = self.world.worker_with(&IMPATIENT);
        worker.consuming().await;
        self.is_done().await;
        self.world.check_books().await;
        worker.stop().await;
        self.audit(&before);
    }

    /// The ledger as the last worker has left it.
    fn snapshot(&self) -> PathBuf {
        let copy = self.world.config().with_file_name("before.db");
        for suffix in ["", "-wal"] {
            let of = |path: PathBuf| format!("{}{suffix}", path.display());
            let (from, to) = (of(self.ledger()), of(copy.clone()));
            let _ = std::fs::remove_file(&to);
            if let Err(error) = std::fs::copy(&from, &to) {
                assert_eq!(suffix, "-wal", "{from}: {error}");
            }
        }
        copy
    }

    /// The ledger's file, wherever it really is.
    pub fn ledger(&self) -> PathBuf {
        let file = self.world.config().with_file_name("holdfast.db");
        file.canonicalize().unwrap_or(file)
    }

    /// The auditor finds nothing.
    pub fn audit(&self, before: &Path) -> String {
        let config = self.world.config();
        let received = self.world.listener.received();
        let evidence = Evidence {
            dir: config.parent().unwrap(),
            ledger: self.ledger().display().to_string(),
            books: vec![(self.world.books(), accounts())],
            received: &received,
            messages: self.world.sent().into_iter().map(|message| message.body).collect(),
            secrets: &[SECRET],
            before: Some(before),
        };
        evidence.assert_holds(&[])
    }

    /// Every call of one capture from beginning to end, once the worker is ready.
    pub async fn points(&mut self) -> Vec<Point> {
        let worker = self.worker().await;
        let threads = threads(worker.id());
        let trace = format!("trace={}", CALLS.join(","));
        let log = self.world.config().with_file_name("strace.log");
        let strace = Strace::attach(&[worker.id()], &["-f", "-e", &trace], &log);
        self.ship().await;
        self.is_done().await;
        let log = strace.detach();
        worker.stop().await;
        let points = calls::points(&log, &threads);
        assert!(points.iter().any(|point| point.call == "fdatasync"), "nothing was made durable: {log}");
        points
    }

    /// `strace` on the threads of a point, doing to its call what `what` says.
    pub fn inject(&self, worker: &Worker, point: &Point, what: &str, only: Option<&str>) -> Strace {
        let threads = threads(worker.id()).into_iter().filter(|thread| thread.name == point.thread);
        let ids: Vec<u32> = threads.map(|thread| thread.id).collect();
        assert!(!ids.is_empty(), "no thread of the worker is called {:?}", point.thread);
        let (trace, inject) =
            (format!("trace={}", point.call), format!("inject={}:{what}:when={}", point.call, point.number));
        let mut arguments = vec!["-e", trace.as_str(), "-e", inject.as_str()];
        arguments.extend(only.into_iter().flat_map(|path| ["-P", path]));
        Strace::attach(&ids, &arguments, &self.world.config().with_file_name("strace.log"))
    }
}

/// A world of which the accounts have a secret that can be told from other words.
pub async fn world() -> World {
    let world = World::new().await;
    for account in Account::ALL {
        let (protocol, name, secret) = (account.protocol(), account.merchant().to_owned(), SECRET.to_owned());
        let new = NewAccount { protocol, account: name, secret, token_lifetime_ms: None };
        world.sandbox.sandbox().register(new).unwrap();
        world.give_secret(account, SECRET);
    }
    world
}

/// What the accounts are called, and their merchants.
pub fn accounts() -> Vec<(String, &'static str)> {
    Account::ALL.map(|account| (account.name().to_owned(), account.merchant())).into()
}
