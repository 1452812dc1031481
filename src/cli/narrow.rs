//! Tables on a terminal that is narrower than they are.
//!
//! No id, amount or time is ever broken in two: only sentences wrap, in the last column or the widest one,
//! and where there is no room for them, what does not fit stands on further lines below its row. Where no width is given, nothing here
//! is asked.

use std::fmt::Write as _;

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table};

/// Between two columns.
const GAP: usize = 2;

/// Before what stands below its row.
const INDENT: usize = 2;

/// Less than this is no room for a sentence.
const SENTENCE: usize = 24;

/// The table in lines of at most `width` columns, but for words that are longer.
pub(super) fn fitted(mut table: Table, width: u16) -> String {
    let widths: Vec<usize> = table.column_max_content_widths().into_iter().map(usize::from).collect();
    let Some((_, others)) = widths.split_last() else { return table.trim_fmt() };
    let before_last: usize = others.iter().map(|width| width + GAP).sum();
    let all = before_last + widths.last().copied().unwrap_or_default();
    table.force_no_tty();
    if all <= usize::from(width) {
        table.set_content_arrangement(ContentArrangement::Disabled);
        return table.trim_fmt();
    }
    let longest = longest_word(&table, others.len());
    let wraps = if before_last + SENTENCE.max(longest + GAP) <= usize::from(width) {
        Some(others.len())
    } else {
        sentence(&table, &widths, (all - usize::from(width)) + SENTENCE)
    };
    if let Some(wraps) = wraps {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        for (_, column) in table.column_iter_mut().enumerate().filter(|(number, _)| *number != wraps) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        return table.trim_fmt();
    }
    folded(&table, &widths, usize::from(width))
}

/// The longest word in a column: it is not broken either.
fn longest_word(table: &Table, column: usize) -> usize {
    let cells = table.row_iter().filter_map(|row| row.cell_iter().nth(column));
    let words = cells.map(comfy_table::Cell::content);
    words.filter_map(|text| text.split(' ').map(|word| word.chars().count()).max()).max().unwrap_or_default()
}

/// The widest column, if it has words and so many columns that the table fits without some of them.
fn sentence(table: &Table, widths: &[usize], needed: usize) -> Option<usize> {
    let (number, width) = widths.iter().copied().enumerate().max_by_key(|(_, width)| *width)?;
    let is_words = |row: &Row| {
        let text = row.cell_iter().nth(number).map(comfy_table::Cell::content).unwrap_or_default();
        text.split(' ').all(|word| word.chars().count() < SENTENCE)
    };
    (width >= needed && table.row_iter().all(is_words)).then_some(number)
}

/// Every row on as many lines as it takes, headings alike.
fn folded(table: &Table, widths: &[usize], width: usize) -> String {
    let lines = lines(widths, width);
    let cells = |row: &Row| row.cell_iter().map(comfy_table::Cell::content).collect::<Vec<_>>();
    let rows = table.header().into_iter().chain(table.row_iter()).map(cells);
    let mut text = Vec::new();
    for row in rows {
        for (number, columns) in lines.iter().enumerate() {
            let mut line = " ".repeat(if number == 0 { 0 } else { INDENT });
            let Some((last, others)) = columns.split_last() else { continue };
            for column in others {
                let cell = row.get(*column).map_or("", String::as_str);
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:<fill$}", fill = widths[*column] + GAP);
            }
            let start = line.chars().count();
            let cell = row.get(*last).map_or("", String::as_str);
            if cell.is_empty() && line.trim().is_empty() {
                continue;
            }
            let room = width.saturating_sub(start);
            // What is wider than a line of its own is a sentence, too.
            let is_sentence = *last + 1 == widths.len() || widths[*last] > room.max(SENTENCE);
            let room = if is_sentence { room } else { usize::MAX };
            for part in wrapped(cell, room) {
                line.push_str(&part);
                text.push(line.trim_end().to_owned());
                line = " ".repeat(start);
            }
        }
    }
    text.join("\n")
}

/// Which columns stand on which line of a row.
fn lines(widths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let mut lines: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for (column, own) in widths.iter().enumerate() {
        // A sentence wraps; an id does not.
        let needed = if column + 1 == widths.len() { (*own).min(SENTENCE) } else { *own };
        match lines.last_mut() {
            Some(line) if needed <= room => line.push(column),
            Some(_) | None => {
                room = width.saturating_sub(if lines.is_empty() { 0 } else { INDENT });
                lines.push(vec![column]);
            }
        }
        room = room.saturating_sub(own + GAP);
    }
    lines
}

/// A text in parts of at most `width`, but for words that are longer. At least one, perhaps empty.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in text.split(' ') {
        let part = parts.last_mut().expect("there is one from the beginning");
        if part.is_empty() {
            part.push_str(word);
        } else if part.chars().count() + 1 + word.chars().count() <= width {
            part.push(' ');
            part.push_str(word);
        } else {
            parts.push(word.to_owned());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table;

    fn example() -> Table {
        let mut table = table(&["ORDER", "AMOUNT", "REFERENCE", "WHAT TO KNOW"]);
        table.add_row(["ord-1", "19.99 EUR", "3f0f8c4e-6f0b-4b52-9c0e", "a line with words enough for two"]);
        table.add_row(["ord-2", "5.00 EUR", "txn-2", "-"]);
        table
    }

    #[test]
    fn what_is_found_wraps_and_what_is_empty_takes_no_line() {
        let mut table = table(&["ABOUT", "FOUND", "WAY OUT"]);
        table.add_row(["ledger", "/var/lib/holdfast/holdfast.db is there, and a worker holds it now", ""]);
        table.add_row(["clock", "two hours ahead, which is more than it may be", "set it"]);
        let expected = "\
ABOUT
  FOUND
  WAY OUT
ledger
  /var/lib/holdfast/holdfast.db is there,
  and a worker holds it now
clock
  two hours ahead, which is more than it may
  be
  set it";
        assert_eq!(fitted(table, 44), expected);
    }

    #[test]
    fn a_long_word_in_a_sentence_is_whole() {
        let mut table = table(&["WHERE", "WHAT"]);
        table.add_row(["somewhere", "at the provider: 3f0f8c4e-6f0b-4b52-9c0e-111122223333"]);
        let text = fitted(table, 40);
        assert!(text.contains("3f0f8c4e-6f0b-4b52-9c0e-111122223333"), "{text}");
    }

    #[test]
    fn nothing_is_broken_but_sentences() {
        let wide = fitted(example(), 160);
        assert_eq!(wide.lines().count(), 3, "{wide}");
        let last_wraps = fitted(example(), 70);
        assert_eq!(last_wraps.lines().count(), 4, "{last_wraps}");
        let expected = "\
ORDER  AMOUNT     REFERENCE
  WHAT TO KNOW
ord-1  19.99 EUR  3f0f8c4e-6f0b-4b52-9c0e
  a line with words enough for two
ord-2  5.00 EUR   txn-2
  -";
        assert_eq!(fitted(example(), 45), expected);
        for width in 1..120 {
            let text = fitted(example(), width);
            for whole in ["ord-1", "19.99 EUR", "3f0f8c4e-6f0b-4b52-9c0e", "txn-2"] {
                assert!(text.contains(whole), "{width}: {text}");
            }
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(longest <= usize::from(width).max(INDENT + 24), "{width}: {text}");
        }
    }
}
