//! Asks the worker to do something, waits, and says what came of it.
//!
//! On SQLite only the worker writes the books; a command puts a request into the ledger instead, with
//! who asks and why, and the worker carries it out.

use std::time::{Duration, Instant};

use super::interrupt::Interrupts;
use super::{Context, Exit, Failure, Format, OrExit};
use crate::ledger::desk::{Answer, Desk, Request, What};

/// How often it is looked for the answer.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks, and shows the answer.
pub(super) fn ask(what: What, reason: &str, context: &mut Context) -> Result<Exit, Failure> {
    let (_, answer) = request(what, reason, context)?;
    match context.output.format() {
        Format::Json => context.output.json(&answer)?,
        Format::Table => context.output.line(&answer.message)?,
    }
    Ok(if answer.done { Exit::Done } else { Exit::Wrong })
}

/// Asks, and returns the request's row with the answer.
pub(super) fn request(what: What, reason: &str, context: &Context) -> Result<(i64, Answer), Failure> {
    request_unless(&mut Interrupts::listen()?, what, reason, context)
}

/// The same. Ctrl-C withdraws the request; where it was answered before, that is the answer.
pub(super) fn request_unless(
    interrupts: &mut Interrupts,
    what: What,
    reason: &str,
    context: &Context,
) -> Result<(i64, Answer), Failure> {
    let desk = Desk::open(&context.settings()?.ledger).or_exit(Exit::Ledger)?;
    ask_at(&desk, &Request { by: who(), reason: reason.to_owned(), what }, interrupts)
}

/// Why nobody waits for an answer any more.
enum GaveUp {
    Unserved,
    Late,
    Interrupted,
}

fn ask_at(desk: &Desk, request: &Request, interrupts: &mut Interrupts) -> Result<(i64, Answer), Failure> {
    if !desk.is_served().or_exit(Exit::Ledger)? {
        return Err(nobody("so nothing was changed"));
    }
    let row = desk.put(request).or_exit(Exit::Ledger)?;
    let asked = Instant::now();
    loop {
        if let Some(answer) = desk.answer_to(row).or_exit(Exit::Ledger)? {
            return Ok((row, answer));
        }
        let gave_up = if interrupts.take() {
            GaveUp::Interrupted
        } else if asked.elapsed() > PATIENCE {
            GaveUp::Late
        } else if desk.is_served().or_exit(Exit::Ledger)? {
            std::thread::sleep(PAUSE);
            continue;
        } else {
            GaveUp::Unserved
        };
        let withdrawn = Answer { done: false, message: "withdrawn: nobody waits for it any more".to_owned() };
        // Answered in this very moment: that is the answer.
        if desk.answer(row, &withdrawn).or_exit(Exit::Ledger)? {
            return Err(match gave_up {
                GaveUp::Unserved => nobody("any more, and the request is withdrawn"),
                GaveUp::Late => {
                    let message = "the worker has not answered in time, and the request is withdrawn: look at its logs";
                    Failure::new(Exit::Unreachable, message)
                }
                GaveUp::Interrupted => {
                    let message = format!("interrupted, and the request is withdrawn: {}", unless(&request.what));
                    Failure::new(Exit::Wrong, message)
                }
            });
        }
    }
}

fn nobody(then: &str) -> Failure {
    let message = format!("no worker runs on this ledger, {then}: start it with `holdfast run`, and ask again");
    Failure::new(Exit::Unreachable, message)
}

/// What a withdrawn request has done. What the worker writes down together with its answer it has not done;
/// anything else it may have begun.
fn unless(what: &What) -> String {
    let or_look = |look: String| format!("the worker may have begun it all the same; `holdfast {look}` tells");
    match what {
        What::StartReplay { .. }
        | What::PauseReplay { .. }
        | What::ResumeReplay { .. }
        | What::StopReplay { .. }
        | What::DiscardDeadLetters { .. }
        | What::RestoreDeadLetters { .. } => "nothing was changed".to_owned(),
        What::PauseAccount { .. } | What::ResumeAccount { .. } => or_look("accounts list".to_owned()),
        What::LookCapture { capture, .. }
        | What::CloseCapture { capture, .. }
        | What::ReleaseCapture { capture, .. } => or_look(format!("captures show {capture}")),
        What::ResumeAuthorization { reference, .. } => or_look(format!("authorizations show {reference}")),
    }
}

/// Who asks, as the system knows them.
fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let uid = || format!("user {}", rustix::process::getuid().as_raw());
    named.filter(|name| !name.is_empty()).unwrap_or_else(uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::desk::{Chosen, Pace};
    use crate::ledger::report::Choice;
    use crate::ledger::report::example::Example;

    fn replay() -> Request {
        let chosen = Chosen { choice: Choice::default(), up_to: 1, letters: 1 };
        let what = What::StartReplay { chosen, pace: Pace { canary: 1, rate: 1, failures_max: 1 } };
        Request { by: "olga".to_owned(), reason: "a test".to_owned(), what }
    }

    /// A desk that somebody serves, and never answers at.
    fn served() -> (Example, Desk) {
        let example = Example::new();
        let desk = Desk::open(&example.source).expect("a desk");
        (example, desk)
    }

    #[test]
    fn who_interrupts_is_told_what_becomes_of_the_request() {
        let (_example, desk) = served();
        let (mut interrupts, count) = Interrupts::never();
        count.send_modify(|count| *count += 1);
        let failure = ask_at(&desk, &replay(), &mut interrupts).expect_err("withdrawn");
        let mut said = Vec::new();
        failure.report(&mut said);
        let said = String::from_utf8(said).expect("text");
        assert!(said.contains("interrupted, and the request is withdrawn: nothing was changed"), "{said}");
        let row = desk.put(&replay()).expect("put") - 1;
        let Request { what: What::StartReplay { chosen, pace }, .. } = replay() else { unreachable!("it is one") };
        let too_late = desk.start_replay(row, &chosen, pace).expect("answered");
        assert!(!too_late.done && too_late.message.starts_with("withdrawn"), "{too_late:?}");
        assert!(desk.running_replays().expect("read").is_empty(), "nobody begins what was withdrawn");
    }

    #[test]
    fn what_was_answered_in_the_same_moment_is_the_answer() {
        let (_example, desk) = served();
        let (mut interrupts, count) = Interrupts::never();
        let answer = Answer { done: true, message: "replay 1 has begun".to_owned() };
        let asked = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask_at(&desk, &replay(), &mut interrupts));
            let row = loop {
                if let Some((row, _)) = desk.open_requests().expect("read").pop() {
                    break row;
                }
            };
            assert!(desk.answer(row, &answer).expect("answered"));
            count.send_modify(|count| *count += 1);
            asking.join().expect("it does not panic")
        });
        assert_eq!(asked.map(|(_, answer)| answer).ok(), Some(answer));
    }
}
