//! Asks the worker to do something, waits, and says what came of it.
//!
//! On SQLite only the worker writes the books; a command puts a request into the ledger instead, with
//! who asks and why, and the worker carries it out.

use std::time::{Duration, Instant};

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
    let desk = Desk::open(&context.settings()?.ledger).or_exit(Exit::Ledger)?;
    ask_at(&desk, &Request { by: who(), reason: reason.to_owned(), what })
}

fn ask_at(desk: &Desk, request: &Request) -> Result<(i64, Answer), Failure> {
    let nobody = |then: &str| {
        let message = format!("no worker runs on this ledger, {then}: start it with `holdfast run`, and ask again");
        Failure::new(Exit::Unreachable, message)
    };
    if !desk.is_served().or_exit(Exit::Ledger)? {
        return Err(nobody("so nothing was changed"));
    }
    let row = desk.put(request).or_exit(Exit::Ledger)?;
    let asked = Instant::now();
    loop {
        if let Some(answer) = desk.answer_to(row).or_exit(Exit::Ledger)? {
            return Ok((row, answer));
        }
        let is_late = asked.elapsed() > PATIENCE;
        if is_late || !desk.is_served().or_exit(Exit::Ledger)? {
            let withdrawn = Answer { done: false, message: "withdrawn: nobody answered in time".to_owned() };
            // Answered in this very moment: that is the answer.
            if desk.answer(row, &withdrawn).or_exit(Exit::Ledger)? {
                return Err(if is_late {
                    let message = "the worker has not answered in time, and the request is withdrawn: look at its logs";
                    Failure::new(Exit::Unreachable, message)
                } else {
                    nobody("any more, and the request is withdrawn")
                });
            }
            continue;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Who asks, as the system knows them.
fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let uid = || format!("user {}", rustix::process::getuid().as_raw());
    named.filter(|name| !name.is_empty()).unwrap_or_else(uid)
}
