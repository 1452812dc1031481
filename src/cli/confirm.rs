//! Asks a person before something is done that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

use super::{Exit, Failure, OrExit};

/// Shows what is about to happen, and goes on only if somebody types `yes`. With `--yes` nobody is asked.
pub(super) fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let message = "there is nobody to be asked, and nothing was changed: run it on a terminal, or add --yes";
        return Err(Failure::new(Exit::Usage, message));
    }
    ask(what, &mut std::io::stdin().lock(), &mut std::io::stderr())
}

fn ask(what: &str, from: &mut dyn BufRead, to: &mut dyn Write) -> Result<(), Failure> {
    write!(to, "{what}\n\nType yes to go on: ").and_then(|()| to.flush()).or_exit(Exit::Wrong)?;
    let mut typed = String::new();
    from.read_line(&mut typed).or_exit(Exit::Wrong)?;
    if typed.trim() == "yes" { Ok(()) } else { Err(Failure::new(Exit::Wrong, "not confirmed: nothing was changed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for (typed, expected) in [("yes\n", true), ("  yes  \n", true), ("y\n", false), ("YES\n", false), ("", false)] {
            let mut shown = Vec::new();
            let ended = ask("this and that", &mut typed.as_bytes(), &mut shown);
            assert_eq!(ended.is_ok(), expected, "{typed:?}");
            assert!(String::from_utf8(shown).unwrap().starts_with("this and that\n"));
        }
    }
}
