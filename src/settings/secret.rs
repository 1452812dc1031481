//! Secrets: from a file, a variable or a systemd credential; never written in the settings.
//!
//! Never shows, logs or repeats what it read. The one exception to "never written" is the broker's
//! address, whose default has RabbitMQ's public guest password in it.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::problem::Noted;
use super::section::Section;
use super::source::{Environment, Node, Place, Table, Value};

const FORMS: &str = "{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";

/// Reads a secret that has to be there, and says which file it came from, if any.
pub(super) fn required(section: &mut Section<'_>, key: &'static str) -> Result<(SecretString, Option<PathBuf>), Noted> {
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
            match shown(secrecy::ExposeSecret::expose_secret(&secret)) {
                Ok(_) => Ok(secret),
                Err(message) => Err(section.problem(key, Some(place), message)),
            }
        }
    }
}

fn resolve(section: &mut Section<'_>, key: &'static str, node: Node) -> Result<(SecretString, Option<PathBuf>), Noted> {
    let place = node.place.clone();
    let found = form(node).and_then(|(place, form)| Ok((place, form.read(section.environment())?, form)));
    match found {
        Ok((place, secret, form)) => {
            section.note_effective(key, form.describe(), place);
            let file = form.file(section.environment());
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
                environment.get(name).cloned().ok_or_else(|| format!("names the variable {name}, which is not set"))?
            }
            Self::File(path) => read_file(path)?,
            Self::Credential(name) => read_file(&credential(name, environment)?)?,
        };
        if secret.is_empty() {
            return Err(format!("is empty {}", self.describe()));
        }
        Ok(secret.into())
    }

    /// The file that it is in, if it is in one that is known.
    fn file(&self, environment: &Environment) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Variable(_) => None,
            Self::Credential(name) => credential(name, environment).ok(),
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

/// The contents of a file, without the last line end.
pub(super) fn read_file(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("names the file {}, which cannot be read: {error}", path.display()))?;
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned())
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
