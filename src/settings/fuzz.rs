//! Any text as settings: every problem names its key, and no message repeats a value, for that may be a secret
//! in the wrong place.

use std::path::PathBuf;

use super::problem::Noted;
use super::section::Findings;
use super::source::{self, Place};
use super::{DEFAULTS, Settings, SettingsErrors, read};

/// What an input writes where it wants a value to be followed.
const MARK: &str = "m4rk3d";

/// The text of a file.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load(text) {
        Ok(settings) => check(&settings),
        Err(SettingsErrors { problems }) => {
            assert!(!problems.is_empty(), "refused for no reason");
            for problem in problems {
                assert!(!problem.key.is_empty() || problem.place.is_some(), "no key and no line: {problem}");
                assert!(!problem.message.is_empty(), "{} has a problem without words", problem.key);
                let is_key = problem.key.contains(MARK);
                assert!(is_key || !problem.message.contains(MARK), "a value is repeated: {problem}");
            }
        }
    }
}

/// As [`Settings::load`] does with a file and an environment without settings.
fn load(text: &str) -> Result<Settings, SettingsErrors> {
    let refused = |problems| SettingsErrors { problems };
    let mut findings = Findings::new(std::iter::empty::<(String, String)>().collect());
    let mut tree = source::parse(DEFAULTS, &|line| Place::Default { line }).expect("the defaults are TOML");
    let path = PathBuf::from("holdfast.toml");
    let file = source::parse(text, &|line| Place::File { path: path.clone(), line }).map_err(refused)?;
    source::overlay(&mut tree, file);
    match read(tree, &mut findings) {
        Ok(settings) if findings.problems.is_empty() => Ok(settings),
        Ok(_) | Err(Noted) => Err(SettingsErrors { problems: findings.problems }),
    }
}

/// What everything relies on that is given settings.
fn check(settings: &Settings) {
    let policy = &settings.policy;
    assert!(!policy.look_after.is_empty(), "what is in doubt is looked at");
    assert!(!policy.quiet.is_zero() && !policy.send_within.is_zero(), "a wait that is none");
    assert!(policy.backoff.initial <= policy.backoff.max, "the first wait is the longest");
    assert_eq!(policy.accounts.len(), settings.accounts.len(), "every account has its rules");
    for account in &settings.accounts {
        assert!(policy.accounts.contains_key(&account.name), "{} has no rules", account.name);
        assert!(account.concurrency > 0, "{} makes no calls", account.name);
    }
}
