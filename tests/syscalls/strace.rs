//! `strace`, attached to threads of a worker that is running.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A thread of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    pub id: u32,
    pub name: String,
}

/// All threads of a process.
pub fn threads(process: u32) -> Vec<Thread> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().map(Result::unwrap);
    let thread = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim_end().to_owned();
        Some(Thread { id: task.file_name().to_str()?.parse().ok()?, name })
    };
    tasks.filter_map(thread).collect()
}

/// It watches, and does what its arguments say, until it is dropped or the process ends.
pub struct Strace {
    child: Child,
    log: PathBuf,
}

impl Strace {
    /// Attaches to these threads, or with `-f` among the arguments to all threads of a process; returns once
    /// it watches.
    pub fn attach(threads: &[u32], arguments: &[&str], log: &Path) -> Self {
        let mut command = Command::new("strace");
        command.args(["-e", "signal=none", "-o"]).arg(log).args(arguments);
        for thread in threads {
            command.args(["-p", &thread.to_string()]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().expect("strace is installed");
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        for _ in threads {
            let begun = text.len();
            let attached = said.read_line(&mut text).is_ok() && text[begun..].contains("attached");
            // Some systems let only parents watch: kernel.yama.ptrace_scope has to be 0, or we root.
            assert!(attached, "strace did not attach: {text}");
        }
        // What it says later is for nobody, and must not fill the pipe.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        Self { child, log: log.to_owned() }
    }

    /// Lets go of the threads, which go on; everything it has written down.
    pub fn detach(mut self) -> String {
        self.end(Signal::TERM);
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn end(&mut self, signal: Signal) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}
