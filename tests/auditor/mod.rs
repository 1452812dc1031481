//! Writes down what the auditor reads, and runs it. It is not of Rust, and knows nothing of us.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use holdfast::sandbox::Books;
use serde_json::json;

use crate::support::listener::Received;

/// What it is given.
pub struct Evidence<'a> {
    /// Where it is written down.
    pub dir: &'a Path,
    /// A file of SQLite, or an address of PostgreSQL.
    pub ledger: String,
    /// Of each provider, with what its accounts are called in the settings: name and merchant.
    pub books: Vec<(Books, Vec<(String, &'static str)>)>,
    pub received: &'a [Received],
    /// The bodies of messages that were confirmed to their sender, and so are ours to keep.
    pub messages: Vec<Vec<u8>>,
    /// What must not be anywhere.
    pub secrets: &'a [&'a str],
    /// The same ledger, earlier.
    pub before: Option<&'a Path>,
}

impl Evidence<'_> {
    /// Its verdict: everything it said. Panics where it is not that everything holds.
    pub fn assert_holds(&self, more: &[&str]) -> String {
        let output = self.command().args(more).output().expect("python3 runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the auditor's verdict ({}):\n{said}{wrong}", output.status);
        said
    }

    fn command(&self) -> Command {
        let mut command = python("audit.py");
        command.args(["--ledger", &self.ledger]);
        for (number, (books, accounts)) in self.books.iter().enumerate() {
            let file = self.write(&format!("books-{number}.json"), &json!(books).to_string());
            command.arg("--books").arg(file);
            command.args(accounts.iter().map(|(name, merchant)| format!("{name}={merchant}")));
        }
        let line = |event: &Received| {
            let body = BASE64_STANDARD.encode(&event.body);
            json!({ "message_id": event.message_id, "type": event.kind, "body_base64": body }).to_string()
        };
        command.arg("--events").arg(self.write_lines("events.jsonl", self.received.iter().map(line)));
        let line = |body: &Vec<u8>| json!({ "body_base64": BASE64_STANDARD.encode(body) }).to_string();
        command.arg("--messages").arg(self.write_lines("messages.jsonl", self.messages.iter().map(line)));
        command.arg("--secrets").arg(self.write("not-to-be-found.txt", &self.secrets.join("\n")));
        if let Some(before) = self.before {
            command.arg("--before").arg(before);
        }
        command
    }

    fn write_lines(&self, name: &str, lines: impl Iterator<Item = String>) -> PathBuf {
        self.write(name, &lines.collect::<Vec<_>>().join("\n"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// One of the auditor's programs.
pub fn python(program: &str) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/auditor").join(program));
    command
}
