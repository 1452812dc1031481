//! What a replay would do, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Context, Failure, Format, table, text};
use crate::capture::replay::Replayed;
use crate::cli::sums::{Sum, add_up, sums_in_words};
use crate::ids::{OrderId, ShipmentId};
use crate::ledger::report::{Rehearsal, Rehearsed};
use crate::money::Money;

/// What a replay would do.
#[derive(Debug, Serialize)]
pub(super) struct Verdict<'a> {
    pub(super) dead_letters: usize,
    pub(super) would_replay: usize,
    pub(super) amounts: Vec<Sum>,
    groups: Vec<Group<'a>>,
    would_not: Vec<WouldNot<'a>>,
    each: Vec<Each<'a>>,
}

#[derive(Debug, Serialize)]
struct Group<'a> {
    fingerprint: &'a str,
    reason: &'static str,
    dead_letters: usize,
    would_replay: usize,
    amounts: Vec<Sum>,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct WouldNot<'a> {
    why_not: &'static str,
    dead_letters: usize,
    /// In the words of the first one.
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct Each<'a> {
    dead_letter_id: String,
    order_id: Option<&'a str>,
    shipment_id: Option<&'a str>,
    would_replay: bool,
    why_not: Option<&'static str>,
    why: Option<&'a str>,
}

fn amount(rehearsed: &Rehearsed) -> Option<Money> {
    rehearsed.verdict.as_ref().ok().and_then(|Replayed { amount, .. }| *amount)
}

impl<'a> Verdict<'a> {
    pub(super) fn of(rehearsal: &'a Rehearsal) -> Self {
        let letters = &rehearsal.letters;
        let mut groups: BTreeMap<&str, Vec<&Rehearsed>> = BTreeMap::new();
        // Two amounts do not make two reasons.
        let mut would_not: BTreeMap<(&'static str, String), (usize, &str)> = BTreeMap::new();
        for rehearsed in letters {
            groups.entry(&rehearsed.letter.fingerprint).or_default().push(rehearsed);
            if let Err(why) = &rehearsed.verdict {
                let shape = why.message.chars().filter(|c| !c.is_ascii_digit()).collect();
                would_not.entry((why.kind.as_str(), shape)).or_insert((0, &why.message)).0 += 1;
            }
        }
        let mut groups: Vec<Group<'a>> =
            groups.into_iter().map(|(fingerprint, letters)| group(fingerprint, &letters)).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.dead_letters));
        Self {
            dead_letters: letters.len(),
            would_replay: letters.iter().filter(|rehearsed| rehearsed.verdict.is_ok()).count(),
            amounts: add_up(letters.iter().filter_map(amount)),
            groups,
            would_not: would_not
                .into_iter()
                .map(|((why_not, _), (dead_letters, why))| WouldNot { why_not, dead_letters, why })
                .collect(),
            each: letters.iter().map(each).collect(),
        }
    }

    /// `3 of 4 dead letters, 12.00 EUR`.
    pub(super) fn in_words(&self) -> String {
        let some =
            if self.would_replay == self.dead_letters { String::new() } else { format!(" of {}", self.dead_letters) };
        let sums = if self.amounts.is_empty() { String::new() } else { format!(", {}", sums_in_words(&self.amounts)) };
        format!("{}{some} dead letters{sums}", self.would_replay)
    }

    pub(super) fn show(&self, context: &mut Context) -> Result<(), Failure> {
        let output = &mut context.output;
        if output.format() == Format::Json {
            return output.json(self);
        }
        let mut groups = table(&["REASON", "DEAD LETTERS", "WOULD BE REPLAYED", "AMOUNT", "FINGERPRINT", "MESSAGE"]);
        for group in &self.groups {
            groups.add_row([
                group.reason.to_owned(),
                group.dead_letters.to_string(),
                group.would_replay.to_string(),
                sums_in_words(&group.amounts),
                group.fingerprint.to_owned(),
                text::harmless(group.message, false),
            ]);
        }
        output.table(groups)?;
        output.line(&format!("\nwould be replayed: {}", self.in_words()))?;
        if self.would_not.is_empty() {
            return Ok(());
        }
        output.line("\nwould not be replayed, and stay as they are:")?;
        let mut reasons = table(&["DEAD LETTERS", "WHY NOT", "WHAT TO KNOW"]);
        for why in &self.would_not {
            reasons.add_row([
                why.dead_letters.to_string(),
                why.why_not.replace('_', " "),
                text::harmless(why.why, false),
            ]);
        }
        output.table(reasons)
    }
}

fn group<'a>(fingerprint: &'a str, letters: &[&'a Rehearsed]) -> Group<'a> {
    let first = &letters[0].letter;
    Group {
        fingerprint,
        reason: first.reason,
        dead_letters: letters.len(),
        would_replay: letters.iter().filter(|rehearsed| rehearsed.verdict.is_ok()).count(),
        amounts: add_up(letters.iter().copied().filter_map(amount)),
        message: &first.message,
    }
}

fn each(rehearsed: &Rehearsed) -> Each<'_> {
    let why = rehearsed.verdict.as_ref().err();
    Each {
        dead_letter_id: rehearsed.letter.id.to_string(),
        order_id: rehearsed.letter.order.as_ref().map(OrderId::as_str),
        shipment_id: rehearsed.letter.shipment.as_ref().map(ShipmentId::as_str),
        would_replay: why.is_none(),
        why_not: why.map(|why| why.kind.as_str()),
        why: why.map(|why| why.message.as_str()),
    }
}
