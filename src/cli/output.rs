//! Where results go: tables for people, JSON for programs. The only place that writes to standard
//! output.

use std::io::{ErrorKind, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::failure::{Exit, Failure, OrExit};

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
    writer: Box<dyn Write + Send>,
}

impl Output {
    /// Writes to standard output.
    pub fn stdout(format: Format) -> Self {
        let stdout = std::io::stdout();
        Self { format, terminal: stdout.is_terminal(), writer: Box::new(stdout) }
    }

    /// Writes elsewhere, as if piped.
    pub fn to(format: Format, writer: Box<dyn Write + Send>) -> Self {
        Self { format, terminal: false, writer }
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
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        }
        let text = table.trim_fmt();
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

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = writeln!(self.writer, "{text}").and_then(|()| self.writer.flush());
        unless_broken_pipe(written)
    }
}

/// `holdfast … | head` has seen enough.
fn unless_broken_pipe(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.or_exit(Exit::Wrong),
    }
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
