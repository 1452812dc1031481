use std::collections::BTreeSet;

use super::*;

const PROOF: &str = include_str!("../../docs/proof.md");

/// Where the tests are, by the name that the table gives the file.
const TESTS: [(&str, &str); 2] = [
    ("tests/simulation/mutants.rs", include_str!("../../tests/simulation/mutants.rs")),
    ("tests/it/mutants.rs", include_str!("../../tests/it/mutants.rs")),
];

#[test]
fn every_shortcut_is_in_the_table_with_a_test_of_its_name() {
    let rows = PROOF.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut listed = BTreeSet::new();
    for (name, rest) in rows {
        assert!(listed.insert(name), "{name} is listed twice");
        let (_, source) = TESTS
            .iter()
            .find(|(file, _)| rest.contains(&format!("`{file}`")))
            .unwrap_or_else(|| panic!("{name}: no file of tests is named: {rest}"));
        let test = [format!("fn {name}("), format!("    {name}:")];
        assert!(test.iter().any(|test| source.contains(test)), "{name} has no test of its name there");
    }
    let known: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.as_str()).collect();
    assert_eq!(listed, known);
}

#[test]
#[cfg(debug_assertions)]
fn a_shortcut_is_taken_here_and_only_for_a_while() {
    let taken = || Mutant::ALL.iter().filter(|mutant| on(**mutant)).count();
    assert_eq!(taken(), 0);
    for mutant in Mutant::ALL {
        let (this, all) = with(Some(*mutant), || (on(*mutant), taken()));
        assert!(this && all == 1, "{}", mutant.as_str());
        let elsewhere = with(Some(*mutant), || std::thread::scope(|scope| scope.spawn(taken).join().expect("it ends")));
        assert_eq!(elsewhere, 0);
    }
    assert_eq!(taken(), 0);
}
