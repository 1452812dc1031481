//! The screens of commands on a ledger in which nearly everything has happened, before terminals of 80
//! and 160 columns and for programs: kept, so that whoever changes one sees what becomes of it.

use super::*;
use crate::ledger::Source;
use crate::ledger::report::example::{self, Example};
use crate::ledger::testing::batch;

/// Nobody listens there.
const ACCOUNTS: &str = "
[accounts.flex]
protocol = \"flex_pay\"
base_url = \"http://127.0.0.1:1/api\"
token_url = \"http://127.0.0.1:1/token\"
client_id = \"c\"
client_secret = { env = \"PATH\" }
[accounts.flitt-ge]
protocol = \"flitt\"
base_url = \"http://127.0.0.1:1\"
merchant_id = 1
secret = { env = \"PATH\" }
cap_per_hour = \"500.00 GEL\"
cap_per_day = [\"5000.00 GEL\", \"900.00 EUR\"]
";

/// What the order system says has shipped.
const SHIPMENTS: &str = "\
order_id,shipment_id,amount,currency
ord-1001,s1,20.00,EUR
ord-1003,s1,12.50,EUR
ord-1008,s1,20.10,EUR
ord-1008,s2,35.00,EUR
ord-2222,s1,5.00,EUR
";

/// Accounts that are looked after, one of them with caps, and a replay that stopped by itself.
const MORE: &str = "
INSERT INTO accounts (account, state, why, since, last_success_at, clock_skew_ms) VALUES
  ('flex', 'breaker_open', '10 calls in a row have failed, the last one: 503: service unavailable', :at, :at, -61250),
  ('flitt-ge', 'active', NULL, :at, :at, 12);
INSERT INTO cap_usage VALUES
  ('flitt-ge', 'GEL', '[[' || (:at / 60000000) || ',41550]]', '[[' || (:at / 1440000000) || ',233100]]');
INSERT INTO requests (request_row, asked_at, asked_by, reason, what, answered_at, answer) VALUES
  (1, :at, 'olga', 'the bank says it was their fault', '{}', :at, '{}');
INSERT INTO replay_jobs (job_row, request_row, choice, letters, canary, rate, failures_max, state, why, changed_at)
VALUES (1, 1, '{\"reason\":\"declined\"}', 2, 1, 20, 10, 'stopped',
  'it stopped by itself: 1 of 1 have failed again, more than 10 %', :at);
INSERT INTO replay_items (job_row, position, dead_letter_row, order_id, state, result, why_not, why)
  SELECT 1, row_number() OVER (ORDER BY dead_letter_row), dead_letter_row, order_id, 'done', 'not_replayed',
  'captured', 'its money was captured after all, as capture.corrected said: nothing is left to do'
  FROM dead_letters WHERE reason = 'declined';
";

/// The time that it took is another one each time.
fn timeless(line: &str) -> &str {
    match line {
        line if line.starts_with("time ") => "time         1s",
        line if line.starts_with("  \"seconds\": ") => "  \"seconds\": 1.0",
        line => line,
    }
}

/// What a command writes before a terminal of so many columns, or for programs.
fn screen(source: &Source, width: Option<u16>, line: &str) -> String {
    let format = if width.is_some() { Format::Table } else { Format::Json };
    let line = Cli::try_parse_from(std::iter::once("holdfast").chain(line.split(' '))).unwrap();
    let command = |context: &mut Context| line.command.run(example::at("09:30:00"), context);
    let (ended, written) = testing::run_at_width(width, ACCOUNTS, source, format, command);
    assert!(ended.is_ok(), "{ended:?}");
    let written = String::from_utf8(written).unwrap();
    written.lines().map(timeless).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn screens_read_well_at_80_and_160_columns() {
    let example = Example::new();
    let at = example::at("09:25:00").timestamp_micros().to_string();
    batch(&example.source, &MORE.replace(":at", &at));
    let shipments = example.path.with_file_name("shipments.csv");
    std::fs::write(&shipments, SHIPMENTS).unwrap();
    let audit = format!("audit --shipments {}", shipments.display());
    for (name, line) in [
        ("accounts-list", "accounts list"),
        ("audit-shipments", audit.as_str()),
        ("authorizations-list", "authorizations list"),
        ("authorizations-show", "authorizations show txn-1001"),
        ("captures-list", "captures list"),
        ("captures-show", "captures show ord-1001"),
        ("dead-letters-groups", "dead-letters groups"),
        ("dead-letters-list", "dead-letters list"),
        ("dead-letters-dry-run", "dead-letters replay --all --dry-run"),
        ("dead-letters-replays", "dead-letters replays"),
        ("dead-letters-watch", "dead-letters replay --watch 1"),
        ("doctor-account", "doctor --account flitt-ge"),
    ] {
        for source in example.everywhere() {
            for width in [80, 160] {
                let screen = screen(&source, Some(width), line);
                insta::assert_snapshot!(format!("{name}.{width}"), screen);
            }
            insta::assert_snapshot!(format!("{name}.json"), screen(&source, None, line));
        }
    }
}
