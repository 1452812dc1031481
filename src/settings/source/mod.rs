//! Where settings come from: layers of values that remember where they were written.
//!
//! Knows nothing of what a key means.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Environment to tree.
mod environment;
/// TOML to tree.
mod file;

pub(super) use environment::{Environment, overrides};
pub(super) use file::parse;

/// Where a value was written. Ordered by layer: what is greater wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Holds for every account of its protocol that does not say otherwise.
    AccountDefault,
    /// In the compiled-in `config/holdfast.toml`.
    Default {
        /// Counted from 1.
        line: usize,
    },
    /// In the file named by `--config`.
    File {
        /// As it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// In the environment.
    Variable(String),
}

impl Place {
    /// Do both belong to the same layer?
    pub(super) fn same_layer(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountDefault => f.write_str("default of accounts"),
            Self::Default { line } => write!(f, "default (config/holdfast.toml:{line})"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
        }
    }
}

/// A value, and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// A value as its source wrote it. Numbers keep their digits: no float is made on the way.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text; everything from the environment is text.
    Text(String),
    /// Digits of a decimal number, or `true`, or `false`.
    Bare(String),
    /// A date, or anything else that no setting is.
    Unsupported,
    List(Vec<Node>),
    Table(Table),
}

/// A table of a layer, or of all layers together.
pub(super) type Table = BTreeMap<String, Node>;

/// Lays `upper` over `lower`: tables are merged, everything else is replaced.
pub(super) fn overlay(lower: &mut Table, upper: Table) {
    for (key, node) in upper {
        let Node { place, value } = node;
        let Some(below) = lower.get_mut(&key) else {
            lower.insert(key, Node { place, value });
            continue;
        };
        match (&mut below.value, value) {
            (Value::Table(under), Value::Table(over)) => {
                overlay(under, over);
                // A section is where the file begins it; a variable only reaches into it.
                if !matches!(place, Place::Variable(_)) {
                    below.place = place;
                }
            }
            (_, value) => *below = Node { place, value },
        }
    }
}
