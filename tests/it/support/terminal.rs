//! A real terminal with a command on it. It comes from `script` (util-linux), which passes on what is
//! typed and ends as the command in it does.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::PATIENCE;
use super::world::World;

/// What Ctrl-C types.
pub const CTRL_C: &str = "\u{3}";

/// A command on a terminal.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// Everything that was shown so far.
    shown: String,
}

impl Terminal {
    /// Runs this on one.
    pub fn open(world: &World, arguments: &[&str]) -> Self {
        Self::run(world, "exec", arguments, "")
    }

    /// Runs this on one of so many columns, and shows the result alone.
    pub fn open_wide(world: &World, columns: u16, arguments: &[&str]) -> Self {
        Self::run(world, &format!("stty cols {columns}; exec"), arguments, "2>/dev/null")
    }

    fn run(world: &World, before: &str, arguments: &[&str], after: &str) -> Self {
        let quoted = |word: &str| format!("'{word}'");
        let config = world.config();
        let words = [env!("CARGO_BIN_EXE_holdfast"), "--config", config.to_str().unwrap()];
        let line: Vec<String> = words.iter().chain(arguments).map(|word| quoted(word)).collect();
        let mut command = Command::new("env");
        // Whoever starts tests in the background may have SIGINT ignored, which is handed down; no terminal has.
        command.args(["--default-signal=INT", "script"]);
        // Quiet, flushed after each write, with the exit code of the command, and no typescript.
        command.args(["-q", "-f", "-e", "-c", &format!("{before} {} {after}", line.join(" ")), "/dev/null"]);
        command.current_dir(config.parent().unwrap());
        command.env("TERM", "xterm").env("USER", "olga").env_remove("SUDO_USER");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("`script`, of util-linux");
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, shown: String::new() }
    }

    /// Waits until this is shown.
    pub async fn shows(&mut self, words: &str) {
        let shown = async {
            while !self.shown.contains(words) {
                let mut bytes = [0; 4_096];
                let count = self.screen.read(&mut bytes).await.unwrap();
                assert!(count > 0, "it ended before it showed {words:?}: {}", self.shown);
                self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        let is_shown = tokio::time::timeout(PATIENCE, shown).await.is_ok();
        assert!(is_shown, "{words:?} was never shown: {}", self.shown);
    }

    /// Types.
    pub async fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.unwrap();
        self.keys.flush().await.unwrap();
    }

    /// Waits for its end: its exit code, and everything that it has shown.
    pub async fn ends(self) -> (i32, String) {
        let Self { mut child, keys, mut screen, mut shown } = self;
        // Nothing more is typed: whatever still waits for keys is told so.
        drop(keys);
        let mut rest = Vec::new();
        let ended = async {
            screen.read_to_end(&mut rest).await.unwrap();
            child.wait().await.unwrap()
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        shown.push_str(&String::from_utf8_lossy(&rest));
        let Ok(ended) = ended else { panic!("it did not end, and shows {shown:?}") };
        (ended.code().unwrap(), shown)
    }
}
