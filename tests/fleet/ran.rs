//! How a run ends: it comes to rest, the workers drain, and both verdicts must be clean.

use std::time::Instant;

use serde_json::Value;

use crate::orders::Order;
use crate::stage::Stage;
use crate::support::worker::Worker;
use crate::trouble::{self, Consequences, Trouble};
use crate::{say, verdict};

/// A run that was published whole.
pub struct Ran<'a> {
    /// What it is called in a report.
    pub name: &'static str,
    /// What repeats it.
    pub seed: u64,
    /// Where it ran.
    pub stage: &'a Stage,
    /// What happened meanwhile.
    pub trouble: &'a Trouble,
    /// Was the network cut as well?
    pub is_cut: bool,
    /// When it began.
    pub began: Instant,
    /// What was ordered.
    pub orders: &'a [Order],
    /// What was published of it.
    pub published: &'a [Value],
    /// Those that are left.
    pub workers: Vec<Worker>,
}

impl Ran<'_> {
    /// Waits for its end, and judges it.
    pub async fn judge(self) {
        let Self { name, seed, stage, trouble, is_cut, began, orders, published, workers } = self;
        let shipments: usize = orders.iter().map(|order| order.shipments.len()).sum();
        let progress = stage.until(|progress| progress.is_at_rest(shipments)).await;
        let took = began.elapsed();
        for worker in workers {
            trouble::assert_no_fault_of_ours(&worker);
            worker.stop().await;
        }
        stage.is_over().await;
        let found = verdict::reach(stage, orders, published).await;
        let consequences = Consequences::of(stage, trouble, is_cut);
        say(&format!(
            "{} orders, {shipments} shipments, {} messages; {} captured by {} requests\n\
             in {took:.0?}, by four workers at a time\n{}\n{}\n{}",
            orders.len(),
            published.len(),
            found.captured,
            progress.attempts,
            found.told,
            consequences.told(),
            stage.audit(published),
        ));
        assert!(found.differences.is_empty(), "{} differences:\n{}", found.differences.len(), found.shown());
        consequences.assert_all_came();
        say(&format!(
            "proof: {name}, seed {seed}: {took:.0?}, {shipments} shipments, {} captured; {}; nothing lost, nothing \
             doubled, both verdicts clean",
            found.captured,
            trouble.told(),
        ));
    }
}
