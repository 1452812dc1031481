//! What processes ask of the disk and of SQLite, as `perf` counts it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// The system calls that have the disk's cache written out.
const SYNCS: [&str; 2] = ["syscalls:sys_enter_fdatasync", "syscalls:sys_enter_fsync"];

/// Where statements are counted. Each that has run is reset once, `BEGIN` and `COMMIT` too.
const STATEMENTS: &str = "probe_holdfast_bench:statement";

/// How often each was done; `None` where it was not counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// The disk's cache was written out.
    pub syncs: Option<u64>,
    /// A statement of SQLite was run.
    pub statements: Option<u64>,
}

/// A place in a program where the kernel counts statements. Taken away again when it is dropped.
pub struct Probe(());

impl Probe {
    /// Puts it there.
    ///
    /// # Errors
    /// Where there is no `perf`, or it may not: the kernel lets root alone.
    pub fn of_statements(program: &Path) -> anyhow::Result<Self> {
        // What an earlier run has left that was killed.
        let _ = probe(&["--del", STATEMENTS]);
        let program = program.to_str().context("the program's path is not UTF-8")?;
        probe(&["--exec", program, "--add", &format!("{STATEMENTS}=sqlite3_reset")])?;
        Ok(Self(()))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = probe(&["--del", STATEMENTS]);
    }
}

fn probe(arguments: &[&str]) -> anyhow::Result<()> {
    let mut perf = std::process::Command::new("perf");
    let done = perf.arg("probe").arg("--quiet").args(arguments).output().context("there is no perf")?;
    ensure!(done.status.success(), "perf cannot count statements: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

/// `perf`, counting.
pub struct Counting(Child);

impl Counting {
    /// Counts from now on what these processes do, statements only where there is a probe; `None` where there
    /// is no `perf`.
    pub fn of(pids: &[u32], probe: Option<&Probe>) -> Option<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let counted = SYNCS.into_iter().chain(probe.map(|_| STATEMENTS));
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", &counted.collect::<Vec<_>>().join(","), "-p", &pids.join(",")]);
        perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        perf.kill_on_drop(true).spawn().ok().map(Self)
    }

    /// Stops, and says how many there were.
    pub async fn end(self) -> anyhow::Result<Counts> {
        if let Some(pid) = self.0.id() {
            kill_process(Pid::from_raw(pid.try_into()?).context("a process has a positive id")?, Signal::INT)?;
        }
        let output = self.0.wait_with_output().await?;
        let lines = String::from_utf8_lossy(&output.stderr);
        // A line for each: the number, a unit that there is none of, and the name.
        let count = |name: &str| {
            let line = lines.lines().find(|line| line.split(',').nth(2) == Some(name))?;
            line.split(',').next()?.parse::<u64>().ok()
        };
        let syncs = SYNCS.into_iter().filter_map(count).reduce(|sum, more| sum + more);
        Ok(Counts { syncs, statements: count(STATEMENTS) })
    }
}
