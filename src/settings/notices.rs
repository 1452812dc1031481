//! `[notices]`: who may send one.

use secrecy::{ExposeSecret, SecretString};

use super::problem::Noted;
use super::secret::SecretFile;
use super::section::Section;
use super::source::Value;
use super::{secret, value};
use crate::message::sender::{Key, Rules, Signatures};

/// Bytes of a key, at least: fewer than the hash has make it weaker (RFC 2104, 3).
const KEY_MIN: usize = 32;

/// Who may send a notice, and where the keys were read from.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    /// What is asked of a sender.
    pub rules: Rules,
    /// The file of each key in `rules`, by the same index; none for a variable.
    files: Vec<Option<SecretFile>>,
}

pub(super) fn read(mut section: Section<'_>) -> Result<Notices, Noted> {
    let signatures = section.required("signatures", signatures);
    let users = section.required("users", value::names);
    let keys = read_keys(section.section("keys"));
    if let (Ok(Signatures::Accept | Signatures::Require), Ok(keys)) = (&signatures, &keys)
        && keys.is_empty()
    {
        section.contradiction("signatures", "needs a key in [notices.keys]".to_owned());
    }
    section.finish();
    let (keys, files) = keys?.into_iter().unzip();
    Ok(Notices { rules: Rules { signatures: signatures?, keys, users: users? }, files })
}

type Keys = Vec<(Key, Option<SecretFile>)>;

fn read_keys(mut section: Section<'_>) -> Result<Keys, Noted> {
    let mut keys = Ok(Vec::new());
    for id in section.names() {
        match (read_key(&mut section, &id), &mut keys) {
            (Ok(key), Ok(keys)) => keys.push(key),
            (Err(noted), _) => keys = Err(noted),
            (Ok(_), Err(_)) => {}
        }
    }
    section.finish();
    keys
}

fn read_key(section: &mut Section<'_>, id: &str) -> Result<(Key, Option<SecretFile>), Noted> {
    let node = section.take_named(id);
    let place = node.place.clone();
    let (secret, file) = secret::resolve(section, id, node)?;
    match check(id, &secret) {
        Ok(()) => Ok((Key { id: id.to_owned(), secret }, file)),
        Err(message) => Err(section.problem(id, Some(place), message)),
    }
}

fn check(id: &str, secret: &SecretString) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.len() > 64 || !id.bytes().all(is_plain) {
        return Err("is not a name for a key: use up to 64 letters, digits, dashes and underscores".to_owned());
    }
    if secret.expose_secret().len() < KEY_MIN {
        return Err(format!("is shorter than {KEY_MIN} characters: make one with `openssl rand -hex 32`"));
    }
    Ok(())
}

fn signatures(value: &Value) -> Result<Signatures, String> {
    match value::text(value).as_deref() {
        Ok("off") => Ok(Signatures::Off),
        Ok("accept") => Ok(Signatures::Accept),
        Ok("require") => Ok(Signatures::Require),
        Ok(_) | Err(_) => Err("must be \"off\", \"accept\" or \"require\"".to_owned()),
    }
}

impl Notices {
    /// The rules that hold `now` with the keys that their files hold, and what is wrong with those that cannot be
    /// used: of these the ones before stay.
    pub fn renewed(&self, now: &Rules) -> (Rules, Vec<String>) {
        let mut rules = now.clone();
        let mut problems = Vec::new();
        for (key, file) in rules.keys.iter_mut().zip(&self.files) {
            let Some(file) = file else { continue };
            match file.read().and_then(|secret| check(&key.id, &secret).map(|()| secret)) {
                Ok(secret) => key.secret = secret,
                Err(why) => problems.push(format!("notices.keys.{} {why}", key.id)),
            }
        }
        (rules, problems)
    }
}
