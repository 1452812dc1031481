//! Variables of the form `HOLDFAST_SECTION__KEY` to a tree of values.

use std::collections::BTreeMap;

use super::{Node, Place, Table, Value};
use crate::settings::problem::Problem;

const PREFIX: &str = "HOLDFAST_";

/// Variables that are not settings but arguments of the command line.
const ARGUMENTS: [&str; 3] = ["HOLDFAST_CONFIG", "HOLDFAST_LOG", "HOLDFAST_OUTPUT"];

/// Variables that belong to our own tests and scripts.
const TEST_PREFIX: &str = "HOLDFAST_TEST_";

/// The process's variables, as far as settings and secrets may name them.
pub(in crate::settings) type Environment = BTreeMap<String, String>;

/// The settings among the variables. An empty variable counts as not set: that is what a compose
/// file makes of a variable that it passes on and that nobody has set.
pub(in crate::settings) fn overrides(environment: &Environment) -> (Table, Vec<Problem>) {
    let mut table = Table::new();
    let mut problems = Vec::new();
    for (name, value) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        if value.is_empty() || ARGUMENTS.contains(&name.as_str()) || name.starts_with(TEST_PREFIX) {
            continue;
        }
        if let Err(message) = insert(&mut table, &segments(path), name, value) {
            let place = Some(Place::Variable(name.clone()));
            problems.push(Problem { key: String::new(), place, message: message.to_owned() });
        }
    }
    (table, problems)
}

/// `ACCOUNTS__FLITT_GE__MERCHANT_ID` is `accounts`, `flitt-ge`, `merchant_id`. Names of accounts
/// contain no underscores, so one underscore there can only stand for a dash.
fn segments(path: &str) -> Vec<String> {
    let mut segments: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, account, ..] = segments.as_mut_slice()
        && section == "accounts"
    {
        *account = account.replace('_', "-");
    }
    segments
}

fn insert(table: &mut Table, segments: &[String], name: &str, value: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "is not a setting: write HOLDFAST_SECTION__KEY, with two underscores between section and key";
    const BOTH: &str = "sets a value and a part of it at once: keep one of the two variables";

    let place = || Place::Variable(name.to_owned());
    let Some((last, sections)) = segments.split_last().filter(|(_, sections)| !sections.is_empty()) else {
        return Err(SHAPE);
    };
    if segments.iter().any(String::is_empty) {
        return Err(SHAPE);
    }
    let mut table = table;
    for section in sections {
        let node =
            table.entry(section.clone()).or_insert_with(|| Node { place: place(), value: Value::Table(Table::new()) });
        let Value::Table(inner) = &mut node.value else { return Err(BOTH) };
        table = inner;
    }
    match table.insert(last.clone(), Node { place: place(), value: Value::Text(value.to_owned()) }) {
        None => Ok(()),
        Some(_) => Err(BOTH),
    }
}
