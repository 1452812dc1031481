//! `[ledger]`: where the ledger lives.

use super::problem::Noted;
use super::section::Section;
use super::source::Value;
use super::value;
use crate::ledger::Source;
use crate::ledger::postgres::Address;

pub(super) fn read(mut section: Section<'_>) -> Result<Source, Noted> {
    let url = section.required("url", ledger_url);
    section.finish();
    url
}

fn ledger_url(value: &Value) -> Result<Source, String> {
    let text = value::text(value).unwrap_or_default();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Address::parse(&text.into()).map(Source::Postgres);
    }
    // `sqlite:///var/lib/x.db` and `sqlite:/var/lib/x.db` are the same file.
    let path = text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(":memory:") => Err("must be a file: a ledger in memory forgets what was captured".to_owned()),
        Some(path) if !path.is_empty() && !path.contains('?') => Ok(Source::Sqlite(path.into())),
        Some(_) | None => Err("must be sqlite:PATH, such as \"sqlite:/var/lib/holdfast/holdfast.db\"".to_owned()),
    }
}
