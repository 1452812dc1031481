//! How often processes have the disk's cache written out, by the kernel's own count of the system calls.

use std::process::Stdio;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// `perf`, counting.
pub struct Syncs(Child);

impl Syncs {
    /// Counts from now on what these processes do; `None` where there is no `perf`.
    pub fn of(pids: &[u32]) -> Option<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync", "-p"]);
        perf.arg(pids.join(",")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        perf.kill_on_drop(true).spawn().ok().map(Self)
    }

    /// Stops, and says how many there were; `None` where it may not count.
    pub async fn end(self) -> anyhow::Result<Option<u64>> {
        if let Some(pid) = self.0.id() {
            kill_process(Pid::from_raw(pid.try_into()?).context("a process has a positive id")?, Signal::INT)?;
        }
        let output = self.0.wait_with_output().await?;
        // A line for each system call that it has counted; the first field is the number.
        let numbers = String::from_utf8_lossy(&output.stderr);
        Ok(numbers
            .lines()
            .filter_map(|line| line.split(',').next()?.parse::<u64>().ok())
            .reduce(|sum, more| sum + more))
    }
}
