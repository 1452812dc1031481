//! Secrets: from a file, a variable or a systemd credential; never written in the settings.
//!
//! Never shows, logs or repeats what it read. The one exception to "never written" is the broker's
//! address, whose default has RabbitMQ's public guest password in it.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::problem::Noted;
use super::section::Section;
use super::source::{Environment, Node, Place, Table, Value};
use crate::private_file::{self, Group};

const FORMS: &str = "{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";

/// Reads a secret that has to be there, and says which file it came from, if any.
pub(super) fn required(
    section: &mut Section<'_>,
    key: &'static str,
) -> Result<(SecretString, Option<SecretFile>), Noted> {
    let Some(node) = section.take(key) else { return Err(section.missing(key)) };
    resolve(section, key, node)
}

/// Reads a secret that may also be written in plain text; `shown` hides what nobody should see.
pub(super) fn or_plain(
    section: &mut Section<'_>,
    key: &'static str,
    shown: fn(&str) -> Result<String, String>,
) -> Result<SecretString, Noted> {
    let Some(node) = section.take(key) else { return Err(section.missing(key)) };
    let place = node.place.clone();
    match node.value {
        Value::Text(text) => match shown(&text) {
            Ok(visible) => {
                section.note_effective(key, visible, place);
                Ok(text.into())
            }
            Err(message) => Err(section.problem(key, Some(place), message)),
        },
        value @ (Value::Bare(_) | Value::Unsupported | Value::List(_) | Value::Table(_)) => {
            let (secret, _) = resolve(section, key, Node { place: place.clone(), value })?;
            match shown(secret.expose_secret()) {
                Ok(_) => Ok(secret),
                Err(message) => Err(section.problem(key, Some(place), message)),
            }
        }
    }
}

pub(super) fn resolve(
    section: &mut Section<'_>,
    key: &str,
    node: Node,
) -> Result<(SecretString, Option<SecretFile>), Noted> {
    let place = node.place.clone();
    let found = form(node).and_then(|(place, form)| {
        let secret = form.read(section.environment())?;
        let file = form.file(section.environment());
        Ok((place, secret, file, form.describe()))
    });
    match found {
        Ok((place, secret, file, description)) => {
            section.note_effective(key, description, place);
            Ok((secret, file))
        }
        Err(message) => Err(section.problem(key, Some(place), message)),
    }
}

/// Where a secret is to be found.
enum Form {
    File(PathBuf),
    Variable(String),
    Credential(String),
}

impl Form {
    fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("(secret: file {})", path.display()),
            Self::Variable(name) => format!("(secret: variable {name})"),
            Self::Credential(name) => format!("(secret: credential {name})"),
        }
    }

    fn read(&self, environment: &Environment) -> Result<SecretString, String> {
        let secret = match self {
            Self::Variable(name) => {
                let value = environment.get(name).cloned();
                value.ok_or_else(|| format!("names the variable {name}, which is not set"))?.into()
            }
            Self::File(path) => SecretFile { path: path.clone(), group: Group::Ours }.read()?,
            Self::Credential(name) => SecretFile { path: credential(name, environment)?, group: Group::Any }.read()?,
        };
        if secret.expose_secret().is_empty() {
            return Err(format!("is empty {}", self.describe()));
        }
        Ok(secret)
    }

    /// The file that it is in, if it is in one that is known.
    fn file(&self, environment: &Environment) -> Option<SecretFile> {
        match self {
            Self::File(path) => Some(SecretFile { path: path.clone(), group: Group::Ours }),
            Self::Variable(_) => None,
            Self::Credential(name) => {
                credential(name, environment).ok().map(|path| SecretFile { path, group: Group::Any })
            }
        }
    }
}

fn credential(name: &str, environment: &Environment) -> Result<PathBuf, String> {
    // systemd sets this for a unit with LoadCredential=: systemd.exec(5), "Credentials".
    let directory = environment.get("CREDENTIALS_DIRECTORY").ok_or(
        "names a credential, but CREDENTIALS_DIRECTORY is not set: \
         start the worker from a systemd unit with LoadCredential=",
    )?;
    Ok(Path::new(directory).join(name))
}

/// A file with one secret in it, which may be another one tomorrow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    path: PathBuf,
    group: Group,
}

impl SecretFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The contents, without the last line end.
    ///
    /// # Errors
    /// What is wrong with the file, with its path and without what is in it.
    pub(super) fn read(&self) -> Result<SecretString, String> {
        let text = private_file::read(&self.path, self.group)?;
        let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(line.into())
    }
}

/// The one form that is given. Where two layers give different forms, the upper layer's counts.
fn form(node: Node) -> Result<(Place, Form), String> {
    let table: Table = match node.value {
        Value::Table(table) => table,
        Value::Text(_) | Value::Bare(_) | Value::Unsupported | Value::List(_) => {
            return Err(format!("is a secret and must not be written here: use {FORMS}"));
        }
    };
    let Some(top) = table.values().map(|node| node.place.clone()).max() else {
        return Err(format!("is empty: use {FORMS}"));
    };
    let mut forms = table.into_iter().filter(|(_, node)| node.place.same_layer(&top));
    match (forms.next(), forms.next()) {
        (Some((key, Node { place, value: Value::Text(text) })), None) if !text.is_empty() => {
            let form = match key.as_str() {
                "file" => Form::File(text.into()),
                "env" => Form::Variable(text),
                // A name, not a path: it must not lead out of the directory.
                "credential" if !text.contains('/') && text != ".." => Form::Credential(text),
                _ => return Err(format!("is not a form of secret: use {FORMS}")),
            };
            Ok((place, form))
        }
        _ => Err(format!("must be exactly one of {FORMS}")),
    }
}
