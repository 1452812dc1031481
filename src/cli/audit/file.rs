//! The ledger against a file of shipments.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use serde::Deserialize;

use super::shelf::Shelf;
use super::{Row, Verdict, progress};
use crate::audit::{Difference, Expected, OurShipment, compare_order};
use crate::cli::{Context, Exit, Failure, OrExit};
use crate::clock::Timestamp;
use crate::ids::{OrderId, ShipmentId};
use crate::ledger::report::{Report, ShipmentFilter, ShipmentSummary, Standing};
use crate::money::{Currency, Money, parse_plain_decimal};

/// More shipments than any order has.
const SHIPMENTS_MAX: u32 = 100_000;

/// One row of the file, as it is written.
#[derive(Debug, Deserialize)]
struct Written {
    order_id: String,
    shipment_id: String,
    #[serde(default)]
    amount: Option<String>,
    #[serde(default)]
    currency: Option<String>,
}

/// Shipments that are read together.
const PAGE: u32 = 512;

/// Compares. `complete_since`: the file has every shipment that was accepted then or later.
pub(super) fn audit(path: &Path, complete_since: Option<Timestamp>, context: &Context) -> Result<Verdict, Failure> {
    let expected = read(path)?;
    let report = context.report()?;
    let total = expected.orders().or_exit(Exit::Wrong)?;
    let bar = progress(total, "orders", context.output.is_terminal());
    let mut verdict = Verdict { what: "shipments", other: "in the file", ..Verdict::default() };
    let mut rows = expected.next(None).or_exit(Exit::Wrong)?;
    while let Some(order) = rows.first().map(|row| row.order.clone()) {
        add(&mut verdict, compare_order(&order, &rows, &ours(&report, &order)?));
        bar.inc(1);
        rows = expected.next(Some(&order)).or_exit(Exit::Wrong)?;
    }
    bar.finish_and_clear();
    if let Some(since) = complete_since {
        look_for_others(&expected, since, &report, &mut verdict)?;
    }
    Ok(verdict)
}

fn add(verdict: &mut Verdict, (agreed, open, differences): (u64, u64, Vec<Difference>)) {
    verdict.agreed += agreed;
    verdict.open += open;
    verdict.differences.extend(differences.into_iter().map(|difference| Row::new(None, difference)));
}

/// Orders that the file lacks, each once.
fn look_for_others(expected: &Shelf, since: Timestamp, report: &Report, verdict: &mut Verdict) -> Result<(), Failure> {
    let (mut behind, mut told) = (0, BTreeSet::new());
    loop {
        let page = report.orders_behind(behind, since, PAGE).or_exit(Exit::Ledger)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        behind = *last;
        for (_, order) in page {
            if !told.contains(&order) && !expected.has(&order).or_exit(Exit::Wrong)? {
                add(verdict, compare_order(&order, &[], &ours(report, &order)?));
                told.insert(order);
            }
        }
    }
}

fn ours(report: &Report, order: &OrderId) -> Result<Vec<OurShipment>, Failure> {
    let filter = ShipmentFilter { order: Some(order.clone()), limit: SHIPMENTS_MAX, ..ShipmentFilter::default() };
    let page = report.shipments(&filter).or_exit(Exit::Ledger)?;
    Ok(page.rows.into_iter().map(our_shipment).collect())
}

fn our_shipment(summary: ShipmentSummary) -> OurShipment {
    let has_its_money = match summary.standing {
        Standing::Captured | Standing::Zero | Standing::Corrected => Some(true),
        Standing::Failed | Standing::Refused | Standing::Unresolved => Some(false),
        Standing::Awaiting
        | Standing::Waiting
        | Standing::Planned
        | Standing::Held
        | Standing::Sending
        | Standing::InDoubt => None,
    };
    OurShipment {
        shipment: summary.shipment,
        amount: summary.amount,
        has_its_money,
        standing: summary.standing.as_str(),
    }
}

/// Every shipment in the file, by order. One that cannot be read ends it: a comparison with half a file
/// would look like one with the whole.
fn read(path: &Path) -> Result<Shelf, Failure> {
    let failed = |problem: String| Failure::new(Exit::Usage, format!("cannot read {}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let shelf = Shelf::new().or_exit(Exit::Wrong)?;
    let mut kept = Ok(());
    let put = |line: u64, row: &Written| {
        let row = expected(line, row).map_err(|problem| format!("line {line}: {problem}"))?;
        kept = shelf.put(&row);
        kept.as_ref().copied().map_err(ToString::to_string)
    };
    let read = rows(file, put);
    kept.or_exit(Exit::Wrong)?;
    read.map_err(failed)?;
    Ok(shelf)
}

/// Hands over one row after the other, with its line, until there are no more or one is refused.
fn rows(mut file: File, put: impl FnMut(u64, &Written) -> Result<(), String>) -> Result<(), String> {
    let mut first = [0];
    let is_json = file.read(&mut first).map_err(|error| error.to_string())? == 1 && first == *b"{";
    file.rewind().map_err(|error| error.to_string())?;
    if is_json { json_lines(BufReader::new(file), put) } else { csv(file, put) }
}

fn json_lines(file: impl BufRead, mut put: impl FnMut(u64, &Written) -> Result<(), String>) -> Result<(), String> {
    for (line, text) in (1..).zip(file.lines()) {
        let text = text.map_err(|error| format!("line {line}: {error}"))?;
        if !text.trim().is_empty() {
            let row = serde_json::from_str(&text).map_err(|error| format!("line {line}: {error}"))?;
            put(line, &row)?;
        }
    }
    Ok(())
}

fn csv(file: impl Read, mut put: impl FnMut(u64, &Written) -> Result<(), String>) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().map_err(|error| error.to_string())?.clone();
    for needed in ["order_id", "shipment_id"] {
        if !headers.iter().any(|header| header == needed) {
            return Err(format!(
                "its first line names no column `{needed}`: write order_id,shipment_id,amount,currency"
            ));
        }
    }
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = record.deserialize(Some(&headers)).map_err(|error| format!("line {line}: {error}"))?;
        put(line, &row)?;
    }
    Ok(())
}

fn expected(line: u64, row: &Written) -> Result<Expected, String> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let amount = match (some(&row.amount), some(&row.currency)) {
        (None, _) => None,
        (Some(_), None) => return Err("has an amount without a currency".to_owned()),
        (Some(amount), Some(currency)) => {
            let currency = Currency::parse(&currency).map_err(|error| error.to_string())?;
            let major = parse_plain_decimal(&amount).map_err(|problem| format!("amount {problem}"))?;
            Some(Money::from_major(major, currency).map_err(|error| format!("amount: {error}"))?)
        }
    };
    Ok(Expected {
        line,
        order: OrderId::parse(&row.order_id).map_err(|error| format!("order_id {error}"))?,
        shipment: ShipmentId::parse(&row.shipment_id).map_err(|error| format!("shipment_id {error}"))?,
        amount,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_text(text: &str) -> Result<Vec<Expected>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let shelf = read(file.path()).map_err(|failure| {
            let mut said = Vec::new();
            failure.report(&mut said);
            String::from_utf8(said).unwrap()
        })?;
        let mut all: Vec<Expected> = Vec::new();
        loop {
            let rows = shelf.next(all.last().map(|row| &row.order)).unwrap();
            if rows.is_empty() {
                return Ok(all);
            }
            all.extend(rows);
        }
    }

    #[test]
    fn csv_and_json_lines_say_the_same() {
        let csv = "shipment_id,order_id,warehouse,amount,currency\ns1,ord-1,berlin,10.50,EUR\ns2,ord-1,,,\ns1,ord-2,x,3,JPY\n";
        let json = r#"{"order_id":"ord-1","shipment_id":"s1","amount":"10.50","currency":"EUR"}
{"order_id":"ord-1","shipment_id":"s2"}
{"order_id":"ord-2","shipment_id":"s1","amount":"3","currency":"JPY","warehouse":"x"}
"#;
        let line = |rows: Vec<Expected>| -> Vec<_> {
            rows.into_iter().map(|row| (row.order, row.shipment, row.amount)).collect()
        };
        let (csv, json) = (line(read_text(csv).unwrap()), line(read_text(json).unwrap()));
        assert_eq!(csv, json);
        assert_eq!(csv.len(), 3);
        assert_eq!(csv[0].2.unwrap().minor(), 1050);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_named() {
        for (text, expected) in [
            ("order,shipment\n1,2\n", "no column `order_id`"),
            ("order_id,shipment_id,amount,currency\no,s,10.505,EUR\n", "line 2: amount"),
            ("order_id,shipment_id,amount,currency\no,s,1e3,EUR\n", "line 2: amount has an exponent"),
            ("order_id,shipment_id,amount\no,s,10\n", "line 2: has an amount without a currency"),
            ("order_id,shipment_id\no,s\na b,s\n", "line 3: order_id"),
            ("{\"order_id\":\"o\"}\n", "line 1: missing field `shipment_id`"),
        ] {
            let said = read_text(text).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    /// The most memory that this process has had, in KiB.
    #[cfg(target_os = "linux")]
    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// In a process of its own, because others need memory too.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_long_file_takes_the_memory_of_a_short_one() {
        const ALONE: &str = "HOLDFAST_TEST_ALONE";
        const KIB_MAX: u64 = 16 << 10;
        if std::env::var_os(ALONE).is_none() {
            let this = "cli::audit::file::tests::a_long_file_takes_the_memory_of_a_short_one";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            let output = alone.args(["--exact", this]).env(ALONE, "1").output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let mut file = std::io::BufWriter::new(tempfile::NamedTempFile::new().unwrap());
        file.write_all(b"order_id,shipment_id,amount,currency\n").unwrap();
        for order in 0..200_000 {
            writeln!(file, "order-{},shipment-1,19.99,EUR", (order * 7_919) % 200_000).unwrap();
        }
        let file = file.into_inner().unwrap();
        let before = peak();
        let shelf = read(file.path()).unwrap();
        assert_eq!(shelf.orders().unwrap(), 200_000);
        let grown = peak() - before;
        assert!(grown < KIB_MAX, "{grown} KiB");
    }
}
