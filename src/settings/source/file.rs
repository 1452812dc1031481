//! TOML text to a tree of values with their lines.

use toml::de::{DeTable, DeValue};

use super::{Node, Place, Table, Value};
use crate::settings::problem::Problem;

/// Reads TOML; `place` makes a place of a line number. Finds every error of syntax, and repeats no
/// part of the text in its messages.
pub(in crate::settings) fn parse(text: &str, place: &dyn Fn(usize) -> Place) -> Result<Table, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let line_of = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        place(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
    };
    if errors.is_empty() {
        return Ok(convert(table.into_inner(), &line_of));
    }
    let problems = errors.iter().map(|error| Problem {
        key: String::new(),
        place: Some(line_of(error.span().map_or(0, |span| span.start))),
        message: format!("is not TOML: {}", error.message()),
    });
    Err(problems.collect())
}

fn convert(table: DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Table {
    let entries = table.into_iter().map(|(key, value)| {
        let place_of_key = place(key.span().start);
        let node = Node { place: place_of_key, value: convert_value(value.into_inner(), place) };
        (key.into_inner().into_owned(), node)
    });
    entries.collect()
}

fn convert_value(value: DeValue<'_>, place: &dyn Fn(usize) -> Place) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        // Hexadecimal, octal and binary numbers keep their prefix and are then refused as numbers.
        DeValue::Integer(integer) => Value::Bare(integer.to_string()),
        DeValue::Float(float) => Value::Bare(float.to_string()),
        DeValue::Boolean(flag) => Value::Bare(flag.to_string()),
        DeValue::Datetime(_) => Value::Unsupported,
        DeValue::Array(items) => {
            let nodes = items
                .into_iter()
                .map(|item| Node { place: place(item.span().start), value: convert_value(item.into_inner(), place) });
            Value::List(nodes.collect())
        }
        DeValue::Table(table) => Value::Table(convert(table, place)),
    }
}
