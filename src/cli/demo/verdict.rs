//! The sandbox's books against the ledger: every capture that the provider has, and every capture
//! that the ledger calls captured, must be the same, to the minor unit.

use std::collections::BTreeMap;

use crate::cli::demo::stage::Struck;
use crate::cli::{Output, table};
use crate::ledger::report::Report;
use crate::money::{Currency, Money};
use crate::sandbox::{BookedAuthorization, MovementStatus, Protocol};

/// Captures by reference: how many, and how much in minor units.
type Sums = BTreeMap<String, (u64, i64)>;

/// Shows both sides, and says whether they agree.
pub(super) fn show(struck: &Struck, output: &mut Output) -> anyhow::Result<bool> {
    let ours = Report::open(&struck.settings.ledger)?.captured_by_reference()?;
    let theirs: Sums = struck.books.authorizations.iter().map(at_provider).collect();
    let mut rows = table(&["PROVIDER", "CURRENCY", "AUTHORIZED", "CAPTURES", "CAPTURED", "IN THE LEDGER", "AGREE"]);
    let mut agrees = true;
    for total in &struck.books.totals {
        let references = struck
            .books
            .authorizations
            .iter()
            .filter(|booked| booked.account == total.account && booked.currency == total.currency);
        let (mut sum, mut same) = (0, true);
        for booked in references {
            let ours = ours.get(&booked.reference).copied().unwrap_or_default();
            same &= Some(&ours) == theirs.get(&booked.reference);
            sum += ours.1;
        }
        agrees &= same;
        let currency = Currency::parse(&total.currency)?;
        let money = |minor| Money::from_minor(minor, currency).map(|money| money.to_major().to_string());
        rows.add_row([
            provider_name(total.protocol).to_owned(),
            total.currency.clone(),
            money(total.authorized_minor)?,
            total.captures.to_string(),
            money(total.captured_minor)?,
            money(sum)?,
            if same { "yes".to_owned() } else { "NO".to_owned() },
        ]);
    }
    agrees &= ours.keys().all(|reference| theirs.contains_key(reference));
    output.line("\nThe provider's books against the ledger, authorization by authorization:\n")?;
    output.table(rows)?;
    output.line(if agrees {
        "\nThe books agree: every capture at the provider is in the ledger, once, to the minor unit."
    } else {
        "\nTHE BOOKS DO NOT AGREE."
    })?;
    Ok(agrees)
}

const fn provider_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Flitt => "Flitt",
        Protocol::Fondy => "Fondy",
        Protocol::FlexPay => "Flex Pay",
        #[cfg(test)]
        Protocol::Paper => "Paper",
    }
}

fn at_provider(booked: &BookedAuthorization) -> (String, (u64, i64)) {
    let done = booked.captures.iter().filter(|capture| capture.status == MovementStatus::Done);
    let sum = done.fold((0, 0), |(count, sum), capture| (count + 1, sum + capture.amount_minor));
    (booked.reference.clone(), sum)
}
