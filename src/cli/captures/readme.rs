//! The README's worked example is what the program makes of the README's own messages.

use clap::Parser;

use super::super::testing;
use super::*;
use crate::ledger::report::example::{self, Example};

const README: &str = include_str!("../../../README.md");

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// The code blocks of one language in one section.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let heading = format!("\n### {section}\n");
    let section = README.split_once(&heading).expect("the README has this section").1;
    let section = section.split_once("\n### ").map_or(section, |(section, _)| section);
    let opening = format!("```{language}\n");
    section
        .split(&opening)
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block is closed").0.to_owned())
        .collect()
}

#[test]
fn the_worked_example_is_what_the_program_prints() {
    let section = "How an amount comes about";
    let messages = blocks(section, "json");
    let [first, second] = messages.as_slice() else { panic!("two notices: {messages:?}") };
    let example = Example::empty();
    for (sent, answered, published, message) in
        [("09:12:03", "09:12:04", "09:12:05", first), ("14:40:10", "14:40:11", "14:40:12", second)]
    {
        let notice = serde_json::from_str(message).unwrap();
        example.ship_and_capture(sent, answered, &notice);
        example.publish_all(published);
    }
    let line = Line::try_parse_from(["captures", "show", "ord-2001"]).unwrap();
    let now = example::at("15:00:00");
    let show = |context: &mut Context| run(line.command, now, context);
    let (ended, written) = testing::run(&example.source, Format::Table, show);
    assert_eq!(ended, Ok(Exit::Done));
    let written = String::from_utf8(written).unwrap();
    let shown = blocks(section, "text").concat();
    assert_eq!(shown, written, "the program prints:\n{written}");
}
