//! `holdfast completions` and `holdfast man`: what shells and `man` want to know of the commands.

use std::io::Write;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, Failure, OrExit};

/// How completions are used.
pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  holdfast completions bash > /etc/bash_completion.d/holdfast
  holdfast completions zsh > \"${fpath[1]}/_holdfast\"";

/// How the manual is used.
pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  holdfast man | man -l -
  holdfast man --write /usr/local/share/man/man1";

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Where to.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for every command into this directory, instead of printing the first one
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "holdfast", &mut script);
    out.write_all(&script).or_exit(Exit::Wrong).map(|()| Exit::Done)
}

pub(super) fn man(args: &ManArgs, out: &mut dyn Write) -> Result<Exit, Failure> {
    let command: Command = Cli::command();
    match &args.write {
        Some(directory) => {
            std::fs::create_dir_all(directory).or_exit(Exit::Usage)?;
            clap_mangen::generate_to(command, directory).or_exit(Exit::Wrong)?;
        }
        None => clap_mangen::Man::new(command).render(out).or_exit(Exit::Wrong)?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_its_completions_and_every_command_its_page() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            completions(&CompletionsArgs { shell: *shell }, &mut script).unwrap();
            assert!(String::from_utf8(script).unwrap().contains("dead-letters"), "{shell}");
        }
        let directory = tempfile::tempdir().unwrap();
        man(&ManArgs { write: Some(directory.path().to_owned()) }, &mut Vec::new()).unwrap();
        for page in ["holdfast.1", "holdfast-run.1", "holdfast-captures-show.1"] {
            assert!(directory.path().join(page).exists(), "{page}");
        }
        let mut first = Vec::new();
        man(&ManArgs { write: None }, &mut first).unwrap();
        assert!(String::from_utf8(first).unwrap().contains(".TH holdfast 1"));
    }
}
