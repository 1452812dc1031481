//! A ledger's work by itself: groups of commands as a busy worker's, with the provider's answers made up.

use std::collections::VecDeque;

use anyhow::{bail, ensure};
use holdfast::broker::publisher::Outgoing;
use holdfast::capture::decide::{Call, Command, Evidence, Settle};
use holdfast::capture::evidence::{Answer, CaptureProof, ProviderBalance};
use holdfast::dead_letter;
use holdfast::ledger::sqlite::SqliteLedger;
use holdfast::ledger::{Executed, Ledger};

use crate::made;

/// The commands that accept these notices and begin their captures.
pub fn accept_all(notices: Vec<Outgoing>) -> VecDeque<Command> {
    notices.into_iter().map(|outgoing| accept(outgoing.body)).collect()
}

/// Captures what is accepted, in groups of this size.
pub async fn capture(ledger: &SqliteLedger, mut notices: VecDeque<Command>, group: usize) -> anyhow::Result<()> {
    let size = notices.len();
    let (mut answers, mut events, mut captured) = (Vec::new(), Vec::new(), 0);
    while captured < size || !events.is_empty() {
        let mut commands = std::mem::take(&mut answers);
        commands.push(Command::Published(std::mem::take(&mut events)));
        commands.extend(notices.drain(..group.min(notices.len())));
        let Executed { replies, outbox } = ledger.execute(commands).await?;
        captured += outbox.len();
        events.extend(outbox.iter().map(|event| event.row));
        for reply in replies {
            answers.extend(reply?.ticket.map(|ticket| answer(&ticket.call)).transpose()?);
        }
        ensure!(!answers.is_empty() || captured == size, "only {captured} of {size} were captured");
    }
    Ok(())
}

fn accept(body: bytes::Bytes) -> Command {
    let mut command = dead_letter::command_of(made::raw(body));
    if let Command::Accept(arrival) = &mut command {
        arrival.start = true;
    }
    command
}

/// The command that books that it was captured.
fn answer(call: &Call) -> anyhow::Result<Command> {
    let Call::Send { capture, amount, epoch, .. } = *call else { bail!("only captures are sent: {call:?}") };
    let proof = CaptureProof {
        amount: Some(amount),
        provider_reference: Some(format!("evt_{:032}", capture.row())),
        balance: ProviderBalance::default(),
    };
    let evidence = Evidence::Answer(Answer::Captured(proof));
    Ok(Command::Settle(Box::new(Settle { capture, epoch, evidence, start: false })))
}
