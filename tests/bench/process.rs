//! Child processes, and what they cost.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::keeper::Keeper;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `holdfast run`.
    Holdfast,
    /// The same, with a ledger that has captured much before.
    Filled,
    /// The bare loop.
    Bare,
}

impl Side {
    /// From its name.
    pub fn parse(name: &str) -> anyhow::Result<Self> {
        match name {
            "holdfast" => Ok(Self::Holdfast),
            "bare" => Ok(Self::Bare),
            other => bail!("{other} is neither holdfast nor bare"),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Holdfast => "holdfast",
            Self::Filled => "filled",
            Self::Bare => "bare loop",
        }
    }
}

/// A child that is measured. It writes its log to standard error, and ends by SIGTERM, or with us.
pub struct Measuring {
    child: Child,
    keeper: Keeper,
    log: Lines<BufReader<ChildStderr>>,
    pid: u32,
    /// Where it serves its metrics, once it has said so.
    http: Option<String>,
}

impl Measuring {
    /// Starts it.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().context("cannot start a child")?;
        let log = BufReader::new(child.stderr.take().context("its log is piped")?).lines();
        let pid = child.id().context("it has just been started")?;
        let keeper = Keeper::of(pid).context("cannot start a shell")?;
        Ok(Self { child, keeper, log, pid, http: None })
    }

    /// Its process.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it serves its metrics, once it has said so.
    pub fn http(&self) -> Option<&str> {
        self.http.as_deref()
    }

    /// Waits until its log says this.
    pub async fn says(&mut self, words: &str) -> anyhow::Result<()> {
        let mut seen = Vec::new();
        while let Some(line) = self.log.next_line().await? {
            if line.contains("health and metrics are served") {
                let said: serde_json::Value = serde_json::from_str(&line)?;
                self.http = said["http"].as_str().map(str::to_owned);
            }
            if line.contains(words) {
                return Ok(());
            }
            seen.push(line);
        }
        bail!("it ended without saying {words}:\n{}", seen.join("\n"))
    }

    /// Transactions of its ledger so far, where it counts them.
    pub async fn commits(&self) -> anyhow::Result<Option<u64>> {
        let Some(http) = &self.http else { return Ok(None) };
        let metrics = reqwest::get(format!("http://{http}/metrics")).await?.error_for_status()?.text().await?;
        let count =
            metrics.lines().find_map(|line| line.strip_prefix("holdfast_ledger_commit_duration_seconds_count "));
        Ok(Some(count.context("the metrics count commits")?.parse()?))
    }

    /// Ends it in order, and returns all the CPU time it has used.
    pub async fn end(mut self) -> anyhow::Result<Duration> {
        let pid = Pid::from_raw(self.pid.try_into()?).context("a process has a positive id")?;
        kill_process(pid, Signal::TERM)?;
        // Its end of the pipe closes when it is gone; until it is waited for, its times stay readable.
        while let Some(line) = self.log.next_line().await? {
            if line.contains("panicked") || line.starts_with("ERROR") {
                bail!("it ended badly: {line}");
            }
        }
        let used = cpu(self.pid)?;
        self.child.wait().await?;
        self.keeper.let_go();
        Ok(used)
    }
}

/// User and system time of a process, threads that have ended included.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = fields(&stat).context("/proc/PID/stat has a name in parentheses")?;
    let ticks = |field: usize| anyhow::Ok(fields.get(field).context("/proc/PID/stat has 52 fields")?.parse::<u64>()?);
    // Fields 14 and 15 of proc(5), in clock ticks, of which there are 100 in a second on every Linux.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// The same of a process and its children, those that are gone included.
pub fn family_cpu(pid: u32) -> anyhow::Result<Duration> {
    let entries = std::fs::read_dir("/proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
        stat.and_then(|stat| fields(&stat)?.get(1)?.parse::<u32>().ok()) == Some(pid)
    };
    // One that ends in between is with those that are gone the next time.
    let living: Duration = pids.filter(is_child).filter_map(|child| cpu(child).ok()).sum();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = fields(&stat).context("/proc/PID/stat has a name in parentheses")?;
    // Fields 14 to 17 of proc(5): its own, and of children that it has waited for.
    let ticks = fields.get(11..15).context("/proc/PID/stat has 52 fields")?;
    let ticks: Vec<u64> = ticks.iter().map(|ticks| ticks.parse()).collect::<Result<_, _>>()?;
    Ok(living + Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// What a process has in memory, in bytes: now (`VmRSS`), or at its largest (`VmHWM`).
pub fn memory(pid: u32, which: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("/proc/PID/status tells memory")?;
    Ok(kibibytes.parse::<u64>()? << 10)
}

/// The descendant of this process with that name, if there is one.
pub fn descendant(name: &str) -> Option<u32> {
    let own = std::process::id();
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        fields(&stat)?.get(1)?.parse::<u32>().ok()
    };
    let is_ours = |pid: u32| {
        std::iter::successors(Some(pid), |pid| parent(*pid)).take_while(|pid| *pid > 1).any(|pid| pid == own)
    };
    let is_named =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|found| found.trim_end() == name);
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(is_named).find(|pid| is_ours(*pid))
}

/// What follows the name: from the third field of proc(5) on.
fn fields(stat: &str) -> Option<Vec<&str>> {
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().collect())
}
