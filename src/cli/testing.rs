//! Runs commands over an example ledger and keeps what they write.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Context, Exit, Failure, Format, Output};

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

/// Runs `command` with settings that name the ledger at `path`.
pub(super) fn run(path: &Path, format: Format, command: impl FnOnce(&mut Context) -> Result<Exit, Failure>) -> Ended {
    run_with("", path, format, command)
}

/// The same with more in the settings.
pub(super) fn run_with(
    settings: &str,
    path: &Path,
    format: Format,
    command: impl FnOnce(&mut Context) -> Result<Exit, Failure>,
) -> Ended {
    run_at_width(None, settings, path, format, command)
}

/// The same before a terminal of so many columns.
pub(super) fn run_at_width(
    width: Option<u16>,
    settings: &str,
    path: &Path,
    format: Format,
    command: impl FnOnce(&mut Context) -> Result<Exit, Failure>,
) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("holdfast.toml");
    std::fs::write(&config, format!("[ledger]\nurl = \"sqlite:{}\"\n{settings}", path.display())).unwrap();
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
