//! The provider: the sandbox in a process of its own, with every authorization made beforehand.

use std::io::Write as _;
use std::ops::Range;
use std::time::Duration;

use anyhow::anyhow;
use holdfast::sandbox::{Fault, Faults, NewAuthorization, Operation, Protocol, Rule, Sandbox, When};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

/// The argument that makes this program the provider.
pub const ROLE: &str = "--as-provider";

/// What each order may take, in cents: as its plan says.
const AUTHORIZED: i64 = 10_000;

/// The authorization of an order.
pub fn reference(order: usize) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &order.to_be_bytes())
}

/// Serves until its standard input ends, as it does when whoever started it is gone. A capture takes so long.
pub async fn run(orders: Range<usize>, latency: Duration) -> anyhow::Result<()> {
    let running = Sandbox::start(([127, 0, 0, 1], 0).into()).await?;
    if !latency.is_zero() {
        let late = Fault::Latency { ms: latency.as_millis().try_into()?, when: When::Before };
        let rule = Rule { operation: Operation::Capture, ..Rule::new(late) };
        running.sandbox().set_faults(Faults { seed: 1, rules: vec![rule] }).map_err(|why| anyhow!("{why}"))?;
    }
    for order in orders {
        let new = NewAuthorization {
            protocol: Some(Protocol::FlexPay),
            reference: Some(reference(order).to_string()),
            amount_minor: AUTHORIZED,
            currency: "USD".to_owned(),
            ..NewAuthorization::default()
        };
        running.sandbox().authorize(new).map_err(|why| anyhow!("{why}"))?;
    }
    println!("{}", running.base_url());
    std::io::stdout().flush()?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    running.stop().await?;
    Ok(())
}
