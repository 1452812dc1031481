//! One authorization: the captures in the ledger against those that the provider shows.
//!
//! Both sides are listed, and what belongs together is taken off both lists: by our key where the
//! provider keeps one, else by the provider's own reference, else, where there can be only one capture,
//! because there is only one. What remains on either list is a difference. What is open in the ledger is
//! not at rest, and excuses what the provider shows of it.

use crate::audit::{Difference, Kind};
use crate::capture::evidence::{AuthorizationView, SeenCapture};
use crate::ids::{AccountName, CaptureId, OrderId, Reference};
use crate::money::Money;

/// An authorization as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurAuthorization {
    /// Its place in the ledger; rises.
    pub row: i64,
    /// The account.
    pub account: AccountName,
    /// The authorization at the provider.
    pub reference: Reference,
    /// Every capture that was planned on it.
    pub captures: Vec<OurCapture>,
}

/// A capture as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurCapture {
    /// Its id: the key at the provider.
    pub id: CaptureId,
    /// The order.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// Where it stands.
    pub state: OurState,
    /// The provider's id of it, where one was told.
    pub provider_reference: Option<String>,
}

/// Where a capture stands, as far as the books are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OurState {
    /// Captured, or corrected to it.
    Captured,
    /// Planned, being sent or in doubt.
    Open,
    /// Ended without its money.
    Ended,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    /// Captures that agree.
    pub agreed: Vec<Money>,
    /// Captures that are open in the ledger: nothing can be said of them yet.
    pub open: u64,
    /// What does not agree.
    pub differences: Vec<Difference>,
}

/// Compares one authorization. `seen` is `None` where the provider does not know it.
pub fn compare_authorization(ours: &OurAuthorization, seen: Option<&AuthorizationView>) -> Compared {
    let mut compared = Compared::default();
    let mut theirs: Vec<&SeenCapture> = seen.map(|view| view.captures.iter().collect()).unwrap_or_default();
    for capture in &ours.captures {
        let matching = take(&mut theirs, capture, ours);
        match (capture.state, matching.as_slice()) {
            (OurState::Open, _) => compared.open += 1,
            (OurState::Captured, []) => {
                compared.differences.push(of(
                    capture,
                    Kind::MissingAtProvider,
                    None,
                    "no such capture there".to_owned(),
                ));
            }
            (OurState::Captured, [one]) if one.amount == capture.amount => compared.agreed.push(capture.amount),
            (OurState::Captured, [one]) => {
                compared.differences.push(of(capture, Kind::AmountDiffers, Some(one.amount), reference_of(one)));
            }
            (OurState::Ended, []) => {}
            (OurState::Ended, [one]) => {
                compared.differences.push(of(capture, Kind::MissingInLedger, Some(one.amount), reference_of(one)));
            }
            (OurState::Captured | OurState::Ended, [first, more @ ..]) => {
                let sum = more.iter().try_fold(first.amount, |sum, seen| sum.checked_add(seen.amount)).ok();
                let detail = format!("captured {} times under one key", matching.len());
                compared.differences.push(of(capture, Kind::Duplicate, sum, detail));
            }
        }
    }
    // Where a capture of ours is open, one without a key may be its own.
    let may_be_open = compared.open > 0;
    let foreign = theirs.into_iter().filter(|seen| seen.capture.is_some() || !may_be_open);
    compared.differences.extend(foreign.map(|seen| foreign_capture(ours, seen)));
    compared
}

/// Takes what is this capture's off the list.
fn take<'a>(theirs: &mut Vec<&'a SeenCapture>, capture: &OurCapture, ours: &OurAuthorization) -> Vec<&'a SeenCapture> {
    let by_key = |seen: &&SeenCapture| seen.capture == Some(capture.id);
    let by_reference = |seen: &&SeenCapture| {
        seen.provider_reference.is_some() && seen.provider_reference == capture.provider_reference
    };
    let mut taken: Vec<_> = theirs.extract_if(.., |seen| by_key(seen)).collect();
    if taken.is_empty() && capture.state == OurState::Captured {
        taken = theirs.extract_if(.., |seen| by_reference(seen)).collect();
    }
    if taken.is_empty() && is_the_only_one(capture, ours) {
        taken = theirs.extract_if(.., |seen| seen.capture.is_none()).collect();
    }
    taken
}

/// Where the provider keeps no key: is this the one capture that it can mean? The one that was captured;
/// or, if none was, one that ended.
fn is_the_only_one(capture: &OurCapture, ours: &OurAuthorization) -> bool {
    let captured = ours.captures.iter().find(|other| other.state == OurState::Captured);
    let has_open = ours.captures.iter().any(|other| other.state == OurState::Open);
    match captured {
        Some(captured) => captured.id == capture.id,
        None => capture.state == OurState::Ended && !has_open,
    }
}

fn of(capture: &OurCapture, kind: Kind, theirs: Option<Money>, detail: String) -> Difference {
    Difference {
        kind,
        order: Some(capture.order.clone()),
        shipment: None,
        capture: Some(capture.id),
        ours: Some(capture.amount),
        theirs,
        detail,
    }
}

fn foreign_capture(ours: &OurAuthorization, seen: &SeenCapture) -> Difference {
    Difference {
        kind: Kind::Foreign,
        order: ours.captures.first().map(|capture| capture.order.clone()),
        shipment: None,
        capture: None,
        ours: None,
        theirs: Some(seen.amount),
        detail: reference_of(seen),
    }
}

fn reference_of(seen: &SeenCapture) -> String {
    seen.provider_reference.as_ref().map_or_else(String::new, |reference| format!("at the provider: {reference}"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::capture::evidence::{AuthorizationStatus, ProviderBalance};
    use crate::money::Currency;

    fn money(minor: i64) -> Money {
        Money::from_minor(minor, Currency::parse("EUR").unwrap()).unwrap()
    }

    fn id(number: u128) -> CaptureId {
        CaptureId::from_uuid(Uuid::from_u128(number))
    }

    fn ours(captures: &[(u128, i64, OurState)]) -> OurAuthorization {
        let capture = |&(number, minor, state): &(u128, i64, OurState)| OurCapture {
            id: id(number),
            order: OrderId::parse("ord-1").unwrap(),
            amount: money(minor),
            state,
            provider_reference: Some(format!("p{number}")),
        };
        OurAuthorization {
            row: 1,
            account: AccountName::parse("flex").unwrap(),
            reference: Reference::parse("ref-1").unwrap(),
            captures: captures.iter().map(capture).collect(),
        }
    }

    fn seen(captures: &[(Option<u128>, i64, &str)]) -> AuthorizationView {
        let capture = |&(key, minor, reference): &(Option<u128>, i64, &str)| SeenCapture {
            capture: key.map(id),
            amount: money(minor),
            provider_reference: (!reference.is_empty()).then(|| reference.to_owned()),
        };
        AuthorizationView {
            status: AuthorizationStatus::Open,
            is_card: true,
            currency: Currency::parse("EUR").unwrap(),
            authorized: None,
            balance: ProviderBalance::default(),
            captures: captures.iter().map(capture).collect(),
            has_pending_capture: false,
            authorized_at: None,
        }
    }

    #[test]
    fn each_difference_has_its_name_and_agreement_has_none() {
        use Kind::{AmountDiffers, Duplicate, Foreign, MissingAtProvider, MissingInLedger};
        use OurState::{Captured, Ended, Open};
        type Row<'a> =
            (&'a str, &'a [(u128, i64, OurState)], &'a [(Option<u128>, i64, &'a str)], usize, u64, &'a [Kind]);
        let table: &[Row<'_>] = &[
            (
                "agrees by key",
                &[(1, 500, Captured), (2, 300, Captured)],
                &[(Some(2), 300, "p2"), (Some(1), 500, "p1")],
                2,
                0,
                &[],
            ),
            ("agrees without keys", &[(1, 500, Captured)], &[(None, 500, "")], 1, 0, &[]),
            ("agrees after an earlier failure", &[(1, 400, Ended), (2, 500, Captured)], &[(None, 500, "")], 1, 0, &[]),
            ("closed by hand, by the provider's reference", &[(1, 500, Captured)], &[(Some(77), 500, "p1")], 1, 0, &[]),
            ("nothing anywhere", &[(1, 500, Ended)], &[], 0, 0, &[]),
            ("not there", &[(1, 500, Captured)], &[], 0, 0, &[MissingAtProvider]),
            ("another amount", &[(1, 500, Captured)], &[(Some(1), 499, "p1")], 0, 0, &[AmountDiffers]),
            ("another amount without keys", &[(1, 500, Captured)], &[(None, 501, "")], 0, 0, &[AmountDiffers]),
            (
                "twice under one key",
                &[(1, 500, Captured)],
                &[(Some(1), 500, "p1"), (Some(1), 500, "q1")],
                0,
                0,
                &[Duplicate],
            ),
            ("failed, and captured", &[(1, 500, Ended)], &[(Some(1), 500, "p1")], 0, 0, &[MissingInLedger]),
            ("failed, and captured, without keys", &[(1, 500, Ended)], &[(None, 500, "")], 0, 0, &[MissingInLedger]),
            ("somebody else's", &[(1, 500, Captured)], &[(Some(1), 500, "p1"), (Some(9), 100, "p9")], 1, 0, &[Foreign]),
            (
                "somebody else's without a key",
                &[(1, 500, Captured)],
                &[(Some(1), 500, "p1"), (None, 100, "p9")],
                1,
                0,
                &[Foreign],
            ),
            ("somebody else's, and nothing of ours", &[], &[(None, 100, "p9")], 0, 0, &[Foreign]),
            ("open, and captured meanwhile", &[(1, 500, Open)], &[(Some(1), 500, "p1")], 0, 1, &[]),
            ("open, and captured meanwhile, without keys", &[(1, 500, Open)], &[(None, 500, "")], 0, 1, &[]),
            ("open, and somebody else's", &[(1, 500, Open)], &[(Some(9), 100, "p9")], 0, 1, &[Foreign]),
        ];
        for (name, ledger, provider, agreed, open, kinds) in table {
            let compared = compare_authorization(&ours(ledger), Some(&seen(provider)));
            assert_eq!(compared.agreed.len(), *agreed, "{name}");
            assert_eq!(compared.open, *open, "{name}");
            let found: Vec<Kind> = compared.differences.iter().map(|difference| difference.kind).collect();
            assert_eq!(found, *kinds, "{name}");
        }
    }

    #[test]
    fn an_authorization_that_the_provider_does_not_know_lacks_every_capture() {
        let compared = compare_authorization(&ours(&[(1, 500, OurState::Captured), (2, 1, OurState::Ended)]), None);
        assert_eq!(compared.differences.len(), 1);
        assert_eq!(compared.differences[0].kind, Kind::MissingAtProvider);
    }
}
