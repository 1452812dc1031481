//! Reads the reply to a capture request.
//!
//! Source: <https://docs.flitt.com/api/capture-parameters>. `response_status` describes the request
//! alone: money was captured only where `capture_status` says so.

use crate::capture::evidence::{Answer, CaptureProof, ProviderBalance, Refusal};
use crate::ids::Reference;

use super::super::answer::Inconclusive;
use super::super::http::{Reply, StatusClass};
use super::fields::Fields;

/// The evidence in the reply.
pub(super) fn read(reply: &Reply, merchant_id: u64, reference: &Reference) -> Answer {
    let (fields, refused) = match refusal(reply) {
        Ok(read) => read,
        Err(shown) => return shown.into(),
    };
    let status = fields.get("capture_status");
    if let Some(refusal) = refused {
        return match status.as_deref() {
            Some("captured" | "hold") => {
                Inconclusive::unreadable("the answer says captured and refused at once").into()
            }
            _ => Answer::Refused(refusal),
        };
    }
    if let Err(shown) = fields.echo(merchant_id, reference) {
        return shown.into();
    }
    match status.as_deref() {
        Some("captured") => Answer::Captured(CaptureProof {
            // The reply names none; the amount is read back later, signed.
            amount: None,
            provider_reference: None,
            balance: ProviderBalance::default(),
        }),
        Some("hold") => Answer::Pending,
        _ => Inconclusive::unreadable("the answer has no capture_status that we know").into(),
    }
}

/// The fields of a reply, and the definitive refusal in them.
fn refusal(reply: &Reply) -> Result<(Fields, Option<Refusal>), Inconclusive> {
    let fields = Fields::parse(reply.content()?).ok_or_else(|| reply.uncoded())?;
    let coded =
        fields.error("error_code", "error_message").or_else(|| fields.error("response_code", "response_description"));
    let refusal = match coded {
        Some(error) => Some(error.judged(reply)?),
        None if reply.class() != StatusClass::Success => return Err(reply.uncoded()),
        None if !fields.is("response_status", "success") => {
            return Err(Inconclusive::unreadable("the answer is neither a success nor a coded failure"));
        }
        None => None,
    };
    Ok((fields, refusal))
}
