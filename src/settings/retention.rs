//! `[retention]`: how long the ledger keeps details.

use super::problem::Noted;
use super::section::Section;
use super::{Retention, value};

pub(super) fn read(mut section: Section<'_>) -> Result<Retention, Noted> {
    let details_for = section.required("details_for", value::span);
    section.finish();
    Ok(Retention { details_for: details_for? })
}
