//! Every test that the threat model names is there, by its file and its name.

use std::path::Path;

const PAGE: &str = include_str!("../../docs/threat-model.md");

/// Everything in code spans that looks like `FILE::TEST`.
fn named() -> Vec<(&'static str, &'static str)> {
    PAGE.split('`').skip(1).step_by(2).filter_map(|span| span.split_once(".rs::")).collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let named = named();
    assert!(named.len() > 20, "only {} are found", named.len());
    for (file, test) in named {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{file}.rs"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let at = lines.iter().position(|line| line.contains(&format!("fn {test}(")));
        let at = at.unwrap_or_else(|| panic!("{file}.rs has no {test}"));
        let is_marked = |line: &&str| line.starts_with("#[") && line.contains("test");
        // A list of names makes tests of functions that run on both ledgers.
        let is_listed = |line: &&str| line.trim_end_matches(',') == test;
        let is_test = lines[at.saturating_sub(3)..at].iter().any(is_marked) || lines.iter().any(is_listed);
        assert!(is_test, "{test} of {file}.rs is no test");
    }
}

/// A threat without a test says so.
#[test]
fn every_threat_has_a_test_or_a_dash() {
    let table = PAGE.split("## Threats, controls, tests").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "only {} are found", rows.len());
    for row in rows {
        let last = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(last == "-" || last.contains(".rs::"), "{row}");
    }
}
