//! Where results go: tables for people, JSON for programs. The only place that writes to standard
//! output.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::failure::{Exit, Failure, OrExit};
use super::narrow;

/// How to write results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, in the terminal's width.
    Table,
    /// For programs.
    Json,
}

/// A writer of results.
pub struct Output {
    format: Format,
    terminal: bool,
    /// Columns that a table may have; the terminal's own where none are given.
    width: Option<u16>,
    writer: Box<dyn Write + Send>,
}

impl Output {
    /// Writes to standard output.
    pub fn stdout(format: Format) -> Self {
        let stdout = std::io::stdout();
        Self { format, terminal: stdout.is_terminal(), width: None, writer: Box::new(stdout) }
    }

    /// Writes elsewhere, as if piped.
    pub fn to(format: Format, writer: Box<dyn Write + Send>) -> Self {
        Self { format, terminal: false, width: None, writer }
    }

    /// Writes elsewhere, in as many columns as a terminal has.
    #[cfg(test)]
    pub fn to_width(format: Format, width: Option<u16>, writer: Box<dyn Write + Send>) -> Self {
        Self { format, terminal: false, width, writer }
    }

    /// How results are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Is somebody looking? Then progress may be shown, on standard error.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a result: as JSON, or as the table that `rows` makes of it.
    ///
    /// # Errors
    /// Where the output cannot be written to.
    pub fn show<T: Serialize + ?Sized>(&mut self, result: &T, rows: impl FnOnce(&T) -> Table) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(result),
            Format::Table => {
                let table = rows(result);
                self.table(table)
            }
        }
    }

    /// Writes the first rows of an answer as a result, `nothing` where there are none, and for people a
    /// hint where there are more than `limit`.
    ///
    /// # Errors
    /// Where the output cannot be written to.
    pub fn list<T: Serialize>(
        &mut self,
        listing: &Listing<T>,
        limit: u32,
        nothing: &str,
        rows: impl FnOnce(&[T]) -> Table,
    ) -> Result<(), Failure> {
        if listing.rows.is_empty() && self.format == Format::Table {
            return self.line(nothing);
        }
        self.show(listing, |listing| rows(&listing.rows))?;
        if listing.has_more {
            self.line(&format!("\nthere are more than these {limit}: narrow the search, or raise --limit"))?;
        }
        Ok(())
    }

    /// Writes a result as JSON, on as many lines as it takes to be read.
    ///
    /// # Errors
    /// Where the output cannot be written to.
    pub fn json<T: Serialize + ?Sized>(&mut self, result: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(result).or_exit(Exit::Wrong)?;
        self.write(&text)
    }

    /// Writes a table: columns divided by space, in the terminal's width, never cut off when piped.
    ///
    /// # Errors
    /// Where the output cannot be written to.
    pub fn table(&mut self, mut table: Table) -> Result<(), Failure> {
        let width = self.width.or_else(|| table.width().filter(|_| self.terminal));
        let text = if let Some(width) = width {
            narrow::fitted(table, width)
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
            table.trim_fmt()
        };
        self.write(&text)
    }

    /// Writes a line for people; nothing where the output is JSON.
    ///
    /// # Errors
    /// Where the output cannot be written to.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(text),
            Format::Json => Ok(()),
        }
    }

    /// Writes bytes as they are, with nothing before or after them.
    ///
    /// # Errors
    /// Where the output cannot be written to.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.writer.write_all(bytes).and_then(|()| self.writer.flush());
        unless_broken_pipe(written)
    }

    /// Says something about what is going on, on standard error: no part of the result.
    pub fn notice(&self, text: &str) {
        Self::say(text);
    }

    /// The same, where the output itself is not at hand.
    pub fn say(text: &str) {
        // Nobody is left to tell if this cannot be written.
        let _unwritable = writeln!(std::io::stderr(), "holdfast: {text}");
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush());
        unless_broken_pipe(written)
    }
}

/// The first rows of an answer. In JSON they have the name of what they are.
#[derive(Debug)]
pub struct Listing<T> {
    /// What they are, such as `shipments`.
    pub name: &'static str,
    /// At most as many as were asked for.
    pub rows: Vec<T>,
    /// Are there more?
    pub has_more: bool,
}

impl<T: Serialize> Serialize for Listing<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.name, &self.rows)?;
        map.serialize_entry("has_more", &self.has_more)?;
        map.end()
    }
}

/// `holdfast … | head` has seen enough.
fn unless_broken_pipe(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.or_exit(Exit::Wrong),
    }
}

/// A progress bar on standard error, where somebody looks. `total` is `None` where it is not known yet.
pub fn progress_bar(total: Option<u64>, template: &str, is_terminal: bool) -> ProgressBar {
    let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(total, target);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Rows without headings.
pub fn aligned<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// An empty table with these headings.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(headings);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}
