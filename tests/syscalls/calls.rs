//! The system calls that matter: those that write, make durable, or send.

use std::collections::BTreeMap;

use crate::strace::Thread;

/// What they are called.
pub const CALLS: [&str; 5] = ["fdatasync", "pwrite64", "sendto", "writev", "write"];

/// The n-th call of a kind by a thread of that name, counted from when the worker is ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub thread: String,
    pub call: &'static str,
    pub number: usize,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.thread, self.call, self.number)
    }
}

impl Point {
    /// A point by its name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(':');
        let (thread, call, number) = (parts.next()?.to_owned(), parts.next()?, parts.next()?.parse().ok()?);
        Some(Self { thread, call: CALLS.into_iter().find(|known| *known == call)?, number })
    }
}

/// Every point of a run that `strace` has written down: the most calls that any thread of a name made.
pub fn points(log: &str, threads: &[Thread]) -> Vec<Point> {
    let mut counts: BTreeMap<(u32, &'static str), usize> = BTreeMap::new();
    for line in log.lines() {
        let Some((id, rest)) = line.split_once(' ') else { continue };
        let call = CALLS.into_iter().find(|call| {
            let arguments = rest.trim_start().strip_prefix(call);
            arguments.is_some_and(|arguments| arguments.starts_with('('))
        });
        if let Some((id, call)) = id.parse().ok().zip(call) {
            *counts.entry((id, call)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    for ((id, call), count) in counts {
        let Some(thread) = threads.iter().find(|thread| thread.id == id) else { continue };
        let known = most.entry((thread.name.clone(), call)).or_default();
        *known = count.max(*known);
    }
    let each = |((thread, call), count): ((String, &'static str), usize)| {
        (1..=count).map(move |number| Point { thread: thread.clone(), call, number })
    };
    most.into_iter().flat_map(each).collect()
}

#[test]
fn calls_are_counted_by_thread_and_kind_and_those_resumed_are_not_counted_again() {
    let threads = [(7, "ledger"), (8, "tokio-rt-worker"), (9, "tokio-rt-worker")];
    let threads = threads.map(|(id, name)| Thread { id, name: name.to_owned() });
    let log = "7 fdatasync(12) = 0\n7   write(3, \"x\", 1 <unfinished ...>\n8 writev(9, [], 2) = 4\n\
               7 <... write resumed>) = 1\n9 writev(9, [], 2) = 4\n9 writev(9, [], 2) = 4\n1 write(1, \"\", 0) = 0\n";
    let names: Vec<String> = points(log, &threads).iter().map(ToString::to_string).collect();
    let expected = ["ledger:fdatasync:1", "ledger:write:1", "tokio-rt-worker:writev:1", "tokio-rt-worker:writev:2"];
    assert_eq!(names, expected);
    assert_eq!(Point::parse("ledger:write:1"), Some(points(log, &threads)[1].clone()));
}
