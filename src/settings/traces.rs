//! `[traces]`: where spans go, and how many.

use super::problem::Noted;
use super::section::Section;
use super::{Traces, value};

pub(super) fn read(mut section: Section<'_>) -> Result<Traces, Noted> {
    let endpoint = section.optional("endpoint", value::collector_url);
    let sample_ratio = section.required("sample_ratio", value::decimal(0.0, 1.0, "must be a number from 0 to 1"));
    section.finish();
    Ok(Traces { endpoint: endpoint?, sample_ratio: sample_ratio? })
}
