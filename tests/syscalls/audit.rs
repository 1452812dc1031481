//! The auditor has tests of its own, in its own language.

use crate::auditor::python;

#[test]
fn the_auditor_finds_every_violation_that_is_planted() {
    passes("test_audit.py");
}

#[test]
fn what_strace_writes_down_is_understood() {
    passes("test_power_loss.py");
}

fn passes(program: &str) {
    let output = python(program).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("\nOK\n"), "{said}");
}
