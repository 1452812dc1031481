//! Ends a worker whose test run is gone, as the private servers end: a shell beside it waits for the end of
//! its standard input, which comes even when we are killed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Runs beside the worker. What is said to it says that the worker has ended.
const KEEPER: &str = r#"read -r word; [ "$word" = ended ] || kill -KILL "$1""#;

/// A shell beside a process.
pub struct Keeper(Child);

impl Keeper {
    /// Beside this process, a child of ours. In a group of its own: what ends the test run from a terminal does
    /// not end it first.
    pub fn of(pid: u32) -> std::io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh", &pid.to_string()]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }

    /// The process has ended, or was told to: its number may be somebody else's soon.
    pub fn let_go(&mut self) {
        if let Some(mut word) = self.0.stdin.take() {
            // One that is gone kills nobody.
            let _ = word.write_all(b"ended\n");
            let _ = self.0.wait();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.let_go();
    }
}
