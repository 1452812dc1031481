//! Runs commands over an example ledger and keeps what they write.

use std::io::Write;
use std::sync::{Arc, Mutex};

use secrecy::ExposeSecret;

use super::{Context, Exit, Failure, Format, Output};
use crate::ledger::Source;
use crate::ledger::report::example::Example;

/// How a command ended, and what it wrote. A failure is its exit code and its words.
pub(super) type Ended = (Result<Exit, (Exit, String)>, Vec<u8>);

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// As settings name it.
fn url(source: &Source) -> String {
    match source {
        Source::Sqlite(path) => format!("sqlite:{}", path.display()),
        Source::Postgres(address) => address.url().expose_secret().to_owned(),
    }
}

/// How a command ends over the example, and what it writes: the same in both stores.
pub(super) fn alike(example: &Example, run: impl Fn(&Source) -> Ended) -> Ended {
    let [file, database] = example.everywhere().map(|source| run(&source));
    let text = |ended: &Ended| format!("{:?} {}", ended.0, String::from_utf8_lossy(&ended.1));
    assert_eq!(text(&database), text(&file), "in PostgreSQL, and in the file");
    file
}

/// Runs `command` with settings that name this ledger.
pub(super) fn run(
    source: impl Into<Source>,
    format: Format,
    command: impl FnOnce(&mut Context) -> Result<Exit, Failure>,
) -> Ended {
    run_with("", source, format, command)
}

/// The same with more in the settings.
pub(super) fn run_with(
    settings: &str,
    source: impl Into<Source>,
    format: Format,
    command: impl FnOnce(&mut Context) -> Result<Exit, Failure>,
) -> Ended {
    run_at_width(None, settings, source, format, command)
}

/// The same before a terminal of so many columns.
pub(super) fn run_at_width(
    width: Option<u16>,
    settings: &str,
    source: impl Into<Source>,
    format: Format,
    command: impl FnOnce(&mut Context) -> Result<Exit, Failure>,
) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("holdfast.toml");
    std::fs::write(&config, format!("[ledger]\nurl = \"{}\"\n{settings}", url(&source.into()))).unwrap();
    let written = Written::default();
    let mut context =
        Context { output: Output::to_width(format, width, Box::new(written.clone())), config: Some(config) };
    let ended = command(&mut context).map_err(|failure| {
        let mut said = Vec::new();
        (failure.report(&mut said), String::from_utf8(said).unwrap())
    });
    let bytes = written.0.lock().unwrap().clone();
    (ended, bytes)
}
