//! What is wrong with the settings: every problem, each with its key and where it was written.
//!
//! Says what was expected, never what was found: a value in the wrong place may be a secret.

use std::fmt;

use super::source::Place;

/// Everything that is wrong with the settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsErrors {
    /// In the order in which the settings are read.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `accounts.flitt-ge.secret`; empty where no key can be named.
    pub key: String,
    /// Where it was written; for a missing key, its section, where there is one.
    pub place: Option<Place>,
    /// What was expected, and the way out.
    pub message: String,
}

impl std::error::Error for SettingsErrors {}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "the settings have {count} problem{}", if count == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The problem was noted by the reader; there is nothing more to say.
///
/// Lets a section be read to its end, so that every problem in it is found, and then be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted;
