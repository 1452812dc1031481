//! Reads a section key by key, and notes every problem instead of stopping at the first.
//!
//! Each reader of a section asks for the keys it knows; what nobody asked for is an unknown key. So
//! the list of known keys cannot drift from the code. Knows nothing of what a key means.

use super::problem::{Noted, Problem};
use super::source::{Environment, Node, Place, Table, Value};

/// One setting in effect, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Path of the key.
    pub key: String,
    /// The value as it was written; for a secret, where it comes from.
    pub value: String,
    /// Where it was written.
    pub place: Place,
}

/// What is collected while all sections are read.
#[derive(Debug)]
pub(super) struct Findings {
    pub environment: Environment,
    pub problems: Vec<Problem>,
    pub effective: Vec<Effective>,
    /// Path of every key that was asked for, given or not.
    pub asked: Vec<String>,
}

impl Findings {
    pub(super) fn new(environment: Environment) -> Self {
        Self { environment, problems: Vec::new(), effective: Vec::new(), asked: Vec::new() }
    }
}

/// A section that is being read.
pub(super) struct Section<'a> {
    path: String,
    place: Option<Place>,
    /// Something else stood in its place; that is noted, and its keys are not missed one by one.
    replaced: bool,
    rest: Table,
    known: Vec<&'static str>,
    findings: &'a mut Findings,
}

impl<'a> Section<'a> {
    /// The whole of the settings.
    pub(super) fn root(tree: Table, findings: &'a mut Findings) -> Self {
        Self { path: String::new(), place: None, replaced: false, rest: tree, known: Vec::new(), findings }
    }

    /// A section of this one; an absent one is empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'_> {
        self.known.push(key);
        let node = self.rest.remove(key);
        self.enter(key, node)
    }

    /// Every section that is left in this one, by name.
    pub(super) fn names(&self) -> Vec<String> {
        self.rest.keys().cloned().collect()
    }

    /// The section with this name, which the settings chose.
    pub(super) fn named(&mut self, name: &str) -> Section<'_> {
        let node = self.rest.remove(name);
        self.enter(name, node)
    }

    fn enter(&mut self, key: &str, node: Option<Node>) -> Section<'_> {
        let path = self.path_of(key);
        let (place, replaced, rest) = match node {
            None => (None, false, Table::new()),
            Some(Node { place, value: Value::Table(table) }) => (Some(place), false, table),
            Some(Node { place, .. }) => {
                let message = "is a section: write its keys below it".to_owned();
                self.findings.problems.push(Problem { key: path.clone(), place: Some(place.clone()), message });
                (Some(place), true, Table::new())
            }
        };
        Section { path, place, replaced, rest, known: Vec::new(), findings: self.findings }
    }

    /// A value that has to be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<T, Noted> {
        self.optional(key, check)?.ok_or_else(|| self.missing(key))
    }

    /// A value that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, Noted> {
        let Some(node) = self.take(key) else { return Ok(None) };
        match check(&node.value) {
            Ok(value) => {
                self.note_effective(key, written(&node.value), node.place);
                Ok(Some(value))
            }
            Err(message) => Err(self.problem(key, Some(node.place), message)),
        }
    }

    /// A value with a default that is not in the default file, because it belongs to every account.
    pub(super) fn with_default<T>(
        &mut self,
        key: &'static str,
        default: &str,
        check: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<T, Noted> {
        if let Some(value) = self.optional(key, &check)? {
            return Ok(value);
        }
        self.note_effective(key, default.to_owned(), Place::AccountDefault);
        check(&Value::Text(default.to_owned()))
            .map_err(|message| self.problem(key, Some(Place::AccountDefault), message))
    }

    /// The node itself, which counts as known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let path = self.path_of(key);
        self.findings.asked.push(path);
        self.rest.remove(key)
    }

    /// A node of a name that the settings chose, one of [`Section::names`].
    pub(super) fn take_named(&mut self, name: &str) -> Node {
        let path = self.path_of(name);
        self.findings.asked.push(path);
        self.rest.remove(name).expect("it is one of the names")
    }

    /// Is this key given? Asking does not make it known.
    pub(super) fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.findings.environment
    }

    pub(super) fn note_effective(&mut self, key: &str, value: String, place: Place) {
        let key = self.path_of(key);
        self.findings.effective.push(Effective { key, value, place });
    }

    pub(super) fn missing(&mut self, key: &str) -> Noted {
        if self.replaced {
            return Noted;
        }
        self.problem(key, self.place.clone(), "is missing".to_owned())
    }

    /// Notes a problem with a key of this section, or with the section itself if the key is empty.
    pub(super) fn problem(&mut self, key: &str, place: Option<Place>, message: String) -> Noted {
        let key = self.path_of(key);
        self.findings.problems.push(Problem { key, place, message });
        Noted
    }

    /// The same where only the key is known: the place is looked up among what was read.
    pub(super) fn contradiction(&mut self, key: &str, message: String) -> Noted {
        let path = self.path_of(key);
        let place = self.findings.effective.iter().find(|one| one.key == path).map(|one| one.place.clone());
        self.problem(key, place, message)
    }

    pub(super) fn place(&self) -> Option<Place> {
        self.place.clone()
    }

    /// Gives the rest of the section up: whether its keys are known cannot be said.
    pub(super) fn abandon(mut self) {
        self.rest.clear();
    }

    /// Everything is read: what is left is unknown.
    pub(super) fn finish(mut self) {
        for (key, node) in std::mem::take(&mut self.rest) {
            let message = unknown(&key, &self.known);
            self.problem(&key, Some(node.place), message);
        }
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

fn unknown(key: &str, known: &[&'static str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= 3 && *distance * 2 < candidate.len());
    match nearest {
        Some((_, candidate)) => format!("is not a setting: did you mean `{candidate}`?"),
        None => format!("is not a setting: known here are {}", known.join(", ")),
    }
}

/// The value as it was written, for people.
fn written(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Bare(text) => text.clone(),
        Value::Unsupported | Value::Table(_) => String::new(),
        Value::List(items) => items.iter().map(|item| written(&item.value)).collect::<Vec<_>>().join(", "),
    }
}
