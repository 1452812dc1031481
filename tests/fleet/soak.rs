//! The same for as long as one likes: new orders all the while, and everything fails at random moments.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::orders::{self, Order};
use crate::ran::Ran;
use crate::stage::Stage;
use crate::trouble::{self, Trouble};
use crate::{ALONE, Again, OF_ORDER, seed};

/// How long, unless `HOLDFAST_SOAK` says otherwise.
const DURATION: Duration = Duration::from_secs(45);

/// Between two shipments of an order.
const TICK: Duration = Duration::from_secs(2);

/// New orders with each tick, at each account.
const NEW: usize = 4;

/// Shipments that may be under way before there are more.
const UNDER_WAY: usize = 1_500;

/// Between two kills of workers.
const KILLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// Between two crashes of servers.
const CRASHES: std::ops::Range<Duration> = Duration::from_secs(6)..Duration::from_secs(18);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_loses_nothing_however_long_it_takes() {
    let _alone = ALONE.lock().await;
    let seed = seed();
    let _again = Again(seed, "soak");
    let duration = std::env::var("HOLDFAST_SOAK").map_or(DURATION, |told| humantime::parse_duration(&told).unwrap());
    let stage = Stage::new(seed).await;
    let (trouble, stop) = (Trouble::default(), CancellationToken::new());
    let began = Instant::now();
    let feeding = async {
        let fed = feed(&stage, seed, duration).await;
        stop.cancel();
        fed
    };
    let ((orders, published), workers, (), ()) = tokio::join!(
        feeding,
        trouble::kill(&stage, seed, &trouble, KILLS, &stop),
        trouble::keep_restarting(&stage, seed, &trouble, CRASHES, &stop),
        trouble::cut(&stage, seed, &trouble, &stop),
    );
    let (stage, trouble, orders, published) = (&stage, &trouble, &orders, &published);
    Ran { name: "soak", seed, stage, trouble, is_cut: true, began, orders, published, workers }.judge().await;
}

/// New orders until the time is over, and a shipment of each with every tick until it has shipped; some come
/// twice. Then all that is left.
async fn feed(stage: &Stage, seed: u64, duration: Duration) -> (Vec<Order>, Vec<Value>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let accounts = Stage::accounts();
    let (mut orders, mut published, mut shipped) = (Vec::<Order>::new(), Vec::new(), 0);
    // Orders before this one have shipped. Each tick begins as many, so each is as far as its age.
    let mut next = vec![];
    let mut pace = tokio::time::interval(TICK);
    let began = Instant::now();
    for tick in 0.. {
        pace.tick().await;
        let is_over = began.elapsed() >= duration;
        if !is_over {
            let new = orders::more(&mut rng, &accounts, tick * NEW..(tick + 1) * NEW, OF_ORDER);
            stage.hold(&new);
            orders.extend(new);
            next.resize(orders.len(), 0_usize);
        }
        let mut notices = Vec::new();
        for (order, next) in orders.iter().zip(&mut next).filter(|(order, next)| **next < order.shipments.len()) {
            notices.push(order.shipped(*next));
            *next += 1;
            shipped += 1;
            if shipped % 40 == 0 {
                notices.extend(notices.last().cloned());
            }
        }
        if notices.is_empty() && is_over {
            break;
        }
        stage.confirm(&notices).await;
        published.extend(notices);
        stage.until(|progress| progress.ended + UNDER_WAY >= shipped).await;
    }
    (orders, published)
}
