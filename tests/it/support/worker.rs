//! The worker as what it is in production: a process of its own, with a settings file.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::PATIENCE;
use super::keeper::Keeper;

/// Lines of its log shown when a test fails.
const SHOWN: usize = 30;

/// Characters of each.
const WIDTH: usize = 400;

/// A `holdfast run`. Dropping it kills it, and so does our own end.
pub struct Worker {
    // Dropped in this order: it is told to end before nobody watches it any more.
    child: Child,
    keeper: Keeper,
    log: PathBuf,
}

impl Worker {
    /// Starts one. `environment` overrides settings, and names crash points.
    pub fn spawn(config: &Path, log: PathBuf, environment: &[(&str, &str)]) -> Self {
        Self::spawn_with(config, log, environment, &[])
    }

    /// The same, with more on its command line.
    pub fn spawn_with(config: &Path, log: PathBuf, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        Self::spawn_as(Command::new(env!("CARGO_BIN_EXE_holdfast")), config, log, environment, arguments)
    }

    /// One that is not killed by a limit on the size of its files, but told: see [`Worker::fill_disk`].
    #[cfg(target_os = "linux")]
    pub fn spawn_on_a_small_disk(config: &Path, log: PathBuf, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_holdfast")]);
        Self::spawn_as(command, config, log, environment, &[])
    }

    fn spawn_as(
        mut command: Command,
        config: &Path,
        log: PathBuf,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        command.arg("run").args(arguments).arg("--config").arg(config).envs(environment.iter().copied());
        Self::spawn_command(command, log)
    }

    /// One that somebody else's command line starts, with nothing of ours in its environment but what the
    /// command itself names.
    pub fn spawn_command(mut command: Command, log: PathBuf) -> Self {
        let named: Vec<_> = command.as_std().get_envs().map(|(name, _)| name.to_owned()).collect();
        let stderr = std::fs::File::create(&log).unwrap();
        let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("HOLDFAST_") && !named.contains(name);
        for name in std::env::vars_os().map(|(name, _)| name).filter(ours) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
        let child = command.spawn().unwrap();
        let keeper = Keeper::of(child.id().unwrap()).unwrap();
        Self { child, keeper, log }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has logged a message, and returns the line.
    pub async fn says(&mut self, message: &str) -> Value {
        let said = async {
            loop {
                let log = self.log();
                let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                if let Some(line) = lines.find(|line| line["message"].as_str().is_some_and(|m| m.contains(message))) {
                    return line;
                }
                if let Some(status) = self.has_ended() {
                    panic!("the worker ended ({status}) before it said {message:?}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("the worker never said {message:?}"))
    }

    /// Waits until it consumes.
    pub async fn consuming(&mut self) {
        self.says("consuming").await;
    }

    /// A page of its HTTP server: status and body.
    pub async fn get(&mut self, path: &str) -> (u16, String) {
        let address = self.says("health and metrics are served").await["http"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// One number of `/metrics`, by the beginning of its line; none where there is no such line.
    pub async fn metric(&mut self, line: &str) -> Option<f64> {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let found = body.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '))?;
        Some(found.parse().unwrap())
    }

    /// Waits until a number of `/metrics` is as wanted.
    pub async fn metric_becomes(&mut self, line: &str, wanted: impl Fn(f64) -> bool) {
        let reached = async {
            while !self.metric(line).await.is_some_and(&wanted) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(reached, "{line} never became so: {:?}", self.metric(line).await);
    }

    /// Waits until `/readyz` says so.
    pub async fn readiness(&mut self, wanted: &str) {
        let mut last = String::new();
        let said = async {
            while !last.contains(wanted) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let (status, body) = self.get("/readyz").await;
                assert_eq!(status == 200, body.contains("\"ready\":true"), "{status} {body}");
                last = body;
            }
        };
        let said = tokio::time::timeout(PATIENCE, said).await.is_ok();
        assert!(said, "readiness never said {wanted:?}, but {last}");
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the worker has not ended")
    }

    /// SIGTERM; does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP: secrets are read anew.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGABRT: it dies as at a fault of its own.
    pub fn abort(&self) {
        self.signal(Signal::ABORT);
    }

    /// SIGSTOP: it stands still, wherever it is.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on, and does not know that it stood still.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it stands still.
    pub async fn stands_still(&mut self) {
        let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
        let stopped = async {
            loop {
                if let Some((_, status)) = waitpid(Some(self.pid()), options).unwrap() {
                    assert!(status.stopped(), "it ended instead");
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, stopped).await.expect("it stands still in time");
    }

    /// SIGKILL, at once.
    pub async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended().await.signal(), Some(9));
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().unwrap();
        if ended.is_some() {
            self.keeper.let_go();
        }
        ended
    }

    /// From now on no file of its can be written beyond so many bytes, as on a disk that is full.
    #[cfg(target_os = "linux")]
    pub fn fill_disk(&self, bytes: u64) {
        let limit = Rlimit { current: Some(bytes), maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the worker ends in time");
        self.keeper.let_go();
        ended.unwrap()
    }

    /// Waits until it was killed at its crash point.
    pub async fn dies_at(&mut self, point: &str) {
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(9), "the worker should have died at {point}, it ended with {status}");
    }

    /// Drains it: it ends with 0.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert_eq!(status.code(), Some(0), "a drain ends with {status}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id().try_into().unwrap()).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<String> = log.lines().map(|line| line.chars().take(WIDTH).collect()).collect();
            let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            let _ = writeln!(std::io::stderr(), "--- {}, the end ---\n{end}\n---", self.log.display());
        }
    }
}
