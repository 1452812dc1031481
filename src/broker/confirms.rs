//! The rule that decides which messages of a batch count as published.
//!
//! A function over values: no connection, no waiting.

use std::collections::HashSet;

use crate::broker::publisher::PublishOutcome;

/// One message as the broker confirmed it.
#[derive(Debug)]
pub(super) struct Confirm {
    /// What it says.
    pub verdict: Verdict,
    /// A message that came back with this confirm: of this batch, not always of this row.
    pub returned: Option<Returned>,
}

/// What the broker says of one message.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The broker has it.
    Ack,
    /// The broker refused it.
    Nack,
    /// No answer came, and why.
    Unknown(String),
}

/// A message that came back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Returned {
    /// The row that its header names.
    Row(i64),
    /// Its header cannot be read.
    Unreadable,
}

/// What became of each row of a batch that was joined whole.
///
/// RabbitMQ returns a message before it confirms it, but the client hands the return out with
/// whichever confirm completes next. So it belongs to a row of this batch, and only the whole batch
/// tells to which: a row counts as published if its own confirm is an ack and nobody's return is its.
pub(super) fn settle(rows: &[i64], confirms: &[Confirm]) -> Vec<PublishOutcome> {
    let mut came_back = HashSet::new();
    let mut unreadable = false;
    for returned in confirms.iter().filter_map(|confirm| confirm.returned) {
        match returned {
            Returned::Row(row) => unreadable |= !(rows.contains(&row) && came_back.insert(row)),
            Returned::Unreadable => unreadable = true,
        }
    }
    let outcome = |(row, confirm): (&i64, &Confirm)| match &confirm.verdict {
        _ if came_back.contains(row) => PublishOutcome::Returned,
        Verdict::Ack if unreadable => PublishOutcome::Failed(
            "a message of the same batch came back and cannot be told from the others".to_owned(),
        ),
        Verdict::Ack => PublishOutcome::Published,
        Verdict::Nack => PublishOutcome::Failed("RabbitMQ refused it (nack): a queue is full or lost".to_owned()),
        Verdict::Unknown(reason) => PublishOutcome::Failed(reason.clone()),
    };
    rows.iter().zip(confirms).map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirm(verdict: Verdict, returned: Option<Returned>) -> Confirm {
        Confirm { verdict, returned }
    }

    #[test]
    fn a_return_counts_for_its_own_row_whichever_confirm_carries_it() {
        let confirms =
            [confirm(Verdict::Ack, Some(Returned::Row(3))), confirm(Verdict::Ack, None), confirm(Verdict::Ack, None)];
        assert_eq!(
            settle(&[1, 2, 3], &confirms),
            [PublishOutcome::Published, PublishOutcome::Published, PublishOutcome::Returned]
        );
    }

    #[test]
    fn only_an_ack_counts() {
        let confirms =
            [confirm(Verdict::Ack, None), confirm(Verdict::Nack, None), confirm(Verdict::Unknown("gone".into()), None)];
        let outcomes = settle(&[1, 2, 3], &confirms);
        assert_eq!(outcomes[0], PublishOutcome::Published);
        assert!(matches!(outcomes[1], PublishOutcome::Failed(_)));
        assert_eq!(outcomes[2], PublishOutcome::Failed("gone".into()));
    }

    #[test]
    fn a_return_that_names_no_row_of_the_batch_spoils_every_ack() {
        for stranger in [Returned::Unreadable, Returned::Row(77)] {
            let confirms = [confirm(Verdict::Ack, Some(stranger)), confirm(Verdict::Ack, None)];
            let outcomes = settle(&[1, 2], &confirms);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Failed(_))), "{outcomes:?}");
        }
    }
}
