//! Which dead letters: the arguments that several commands share.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::{Exit, Failure, text};
use crate::capture::dead_letter::{self, DeadLetterState};
use crate::clock::{self, Timestamp};
use crate::ids::{AccountName, OrderId};
use crate::ledger::report::{Choice, Report};

/// What narrows a choice.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Filter {
    /// Only those of this cause, as `list` and `groups` show it
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<String>,
    /// Only this order
    #[arg(long, value_name = "ID", value_parser = OrderId::parse)]
    pub(super) order: Option<OrderId>,
    /// Only this account
    #[arg(long, value_name = "NAME", value_parser = AccountName::parse)]
    account: Option<AccountName>,
    /// Only those last seen within this span, such as 24h
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    since: Option<Duration>,
    /// Only those last seen longer ago than this span
    #[arg(long, value_name = "SPAN", value_parser = text::parse_span)]
    until: Option<Duration>,
}

impl Filter {
    /// As the ledger is asked.
    pub(super) fn choice(&self, set_aside_for: Option<&'static str>, now: Timestamp) -> Choice {
        Choice {
            reason: set_aside_for.map(str::to_owned),
            fingerprint: self.fingerprint.clone(),
            order: self.order.as_ref().map(ToString::to_string),
            account: self.account.as_ref().map(ToString::to_string),
            since: self.since.map(|span| clock::before(now, span)),
            until: self.until.map(|span| clock::before(now, span)),
            ids: Vec::new(),
        }
    }
}

/// Which dead letters a command is about: some by their ids, those that a filter leaves, or all.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Which {
    /// Their UUIDs or the beginnings of them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Those set aside for this reason
    #[arg(long = "for", value_name = "REASON", value_parser = reason())]
    set_aside_for: Option<&'static str>,
    #[command(flatten)]
    pub(super) filter: Filter,
    /// All of them
    #[arg(long)]
    all: bool,
}

impl Which {
    /// As the ledger is asked.
    pub(super) fn choice(&self, state: DeadLetterState, now: Timestamp, report: &Report) -> Result<Choice, Failure> {
        let mut choice = self.filter.choice(self.set_aside_for, now);
        for id in &self.ids {
            let letter = super::find(id, report)?.letter;
            if letter.state != state {
                let message = format!(
                    "dead letter {} is {}, not {}: {}",
                    letter.id,
                    letter.state.as_str(),
                    state.as_str(),
                    way_out(letter.state)
                );
                return Err(Failure::new(Exit::Wrong, message));
            }
            choice.ids.push(letter.id.to_string());
        }
        if choice == Choice::default() && !self.all {
            let message = "say which dead letters: by their ids, by --for, --fingerprint, --order, --account, --since \
                           or --until, or --all of them";
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(choice)
    }
}

const fn way_out(state: DeadLetterState) -> &'static str {
    match state {
        DeadLetterState::Open => "there is nothing to be done first",
        DeadLetterState::Replaying => "a replay has taken it: see `holdfast dead-letters replays`",
        DeadLetterState::Replayed => "what came of it is told of its order, by `holdfast captures show`",
        DeadLetterState::Discarded => "`holdfast dead-letters restore` takes it back",
    }
}

/// One state, or all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct States(pub(super) Option<DeadLetterState>);

pub(super) fn states() -> impl TypedValueParser<Value = States> {
    let words = DeadLetterState::ALL.map(DeadLetterState::as_str).into_iter().chain(["all"]);
    PossibleValuesParser::new(words)
        .map(|word| States(DeadLetterState::ALL.into_iter().find(|state| state.as_str() == word)))
}

pub(super) fn reason() -> impl TypedValueParser<Value = &'static str> {
    PossibleValuesParser::new(dead_letter::REASONS).map(|word| {
        let reason = dead_letter::REASONS.into_iter().find(|reason| *reason == word);
        reason.expect("clap lets only these words through")
    })
}
