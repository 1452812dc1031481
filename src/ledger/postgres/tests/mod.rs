//! What only several workers and a server can show: races, cut connections, crashes, leases; and that the
//! tables are SQLite's.

mod constraints;
mod leases;
mod opening;
mod races;
mod recovery;
mod statements;
pub(crate) mod tables;

use super::local_server::tests::server;
use super::session::{Purpose, connect};
use super::*;
use crate::capture::decide::{Evidence, Note, Reply, Settle, Ticket};
use crate::capture::evidence::Answer;
use crate::capture::tests::support::*;
use crate::ledger::cells::Cells;

/// A database of the test's own.
fn database() -> Address {
    Address::parse(&server().create_database().expect("created").url).expect("an address")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A lease that nobody waits for, and that does not end by itself.
fn options() -> Options {
    Options { lease: Duration::from_hours(1), ..Options::with_few_numbers() }
}

fn open(address: &Address, clock: &ManualClock) -> PostgresLedger {
    let opened = PostgresLedger::open(address, options(), environment(policy(), clock));
    runtime().block_on(opened).expect("the server is there")
}

fn execute(ledger: &PostgresLedger, commands: Vec<Command>) -> Executed {
    runtime().block_on(ledger.execute(commands)).expect("durable")
}

fn tell(ledger: &PostgresLedger, command: Command) -> Reply {
    execute(ledger, vec![command]).replies.remove(0).expect("decided")
}

fn accept(order: &str, amount: &str) -> Command {
    draft(order, "s1").amount(amount).on(authorized(OFTEN, order, 10_000)).command()
}

fn answered(ticket: &Ticket, answer: Answer) -> Command {
    let Asked::Send { capture, epoch, .. } = asked(ticket) else { panic!("{ticket:?}") };
    Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Answer(answer), start: true }))
}

/// Runs a statement beside the ledger; the first column of each row, in words.
fn sql(address: &Address, statement: &str) -> Result<Vec<String>, String> {
    runtime().block_on(async {
        let mut session = connect(address, Purpose::Questions).await.map_err(|trouble| trouble.words())?;
        let rows = session.client_mut().query(statement, &[]).await;
        let rows = rows.map_err(|error| Trouble::from(error).words())?;
        let word = |row: &tokio_postgres::Row| {
            let cell = row.cell(0).expect("a cell");
            cell.as_str().map_or_else(|_| format!("{cell:?}"), str::to_owned)
        };
        Ok(rows.iter().map(word).collect())
    })
}

fn count(address: &Address, statement: &str) -> i64 {
    let counted = sql(address, &format!("SELECT ({statement})::text")).expect("it counts");
    counted[0].parse().expect("a number")
}
