//! `[ledger]`: where the ledger lives.

use secrecy::ExposeSecret;

use super::problem::Noted;
use super::secret;
use super::section::Section;
use crate::ledger::Source;
use crate::ledger::postgres::Address;

pub(super) fn read(mut section: Section<'_>) -> Result<Source, Noted> {
    let url = secret::or_plain(&mut section, "url", without_password);
    section.finish();
    Ok(source(url?.expose_secret()).expect("it was read a moment ago"))
}

fn without_password(text: &str) -> Result<String, String> {
    Ok(match source(text)? {
        Source::Sqlite(_) => text.to_owned(),
        Source::Postgres(address) => address.shown(),
    })
}

fn source(text: &str) -> Result<Source, String> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Address::parse(&text.into()).map(Source::from);
    }
    // `sqlite:///var/lib/x.db` and `sqlite:/var/lib/x.db` are the same file.
    let path = text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(":memory:") => Err("must be a file: a ledger in memory forgets what was captured".to_owned()),
        Some(path) if !path.is_empty() && !path.contains('?') => Ok(Source::Sqlite(path.into())),
        Some(_) | None => Err("must be sqlite:PATH, such as \"sqlite:/var/lib/holdfast/holdfast.db\", or \
                               postgres://USER@HOST/DATABASE"
            .to_owned()),
    }
}
