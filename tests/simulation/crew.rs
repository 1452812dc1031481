//! The workers that share the ledger, and who takes over what another had begun.
//!
//! As in PostgreSQL, a worker's lease lasts for as long as it runs and a little longer. Nobody is kept from
//! anything by it: a worker that slept goes on with what it had in hand, whoever has taken that over since.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use holdfast::capture::decide::{Command, Evidence, Settle};
use holdfast::capture::records::CaptureKey;
use rand::Rng;

use crate::fault::Fault;
use crate::mutant::Mutant;
use crate::worker::{Act, Worker};
use crate::world::{Check, World};

/// So long after its last sign of life others believe that a worker is gone.
const LEASE: Duration = Duration::from_secs(10);
/// A worker sleeps for so many seconds.
const SLEEP_SECONDS: std::ops::Range<u64> = 15..3_600;

/// All workers. One of them acts; it is what a crew stands for.
pub struct Crew {
    workers: Vec<Worker>,
    acting: usize,
    names: u32,
    /// Who has written a capture last.
    claims: BTreeMap<CaptureKey, u32>,
    gone: Vec<Gone>,
}

/// A worker that gave no sign of life.
struct Gone {
    name: u32,
    lease_until: Duration,
}

impl Deref for Crew {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.workers[self.acting]
    }
}

impl DerefMut for Crew {
    fn deref_mut(&mut self) -> &mut Worker {
        &mut self.workers[self.acting]
    }
}

impl Crew {
    /// So many workers, who begin with nothing.
    pub fn new(count: u32) -> Self {
        let workers = (0..count).map(Worker::named).collect();
        Self { workers, acting: 0, names: count, claims: BTreeMap::new(), gone: Vec::new() }
    }

    /// How many share the ledger.
    pub const fn count(&self) -> usize {
        self.workers.len()
    }

    /// It is this one's turn.
    pub const fn let_act(&mut self, index: usize) {
        self.acting = index;
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter()
    }

    /// All of them, to change.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.workers.iter_mut()
    }

    /// A new one in the place of the one that acts, which loses all that it had in memory.
    fn replace(&mut self) -> Worker {
        let new = Worker::named(self.names);
        self.names += 1;
        std::mem::replace(&mut **self, new)
    }

    /// All are new, on another ledger, with these captures of workers that are gone.
    pub fn begin_anew(&mut self, left: impl Iterator<Item = CaptureKey>) {
        for index in 0..self.workers.len() {
            self.let_act(index);
            self.replace();
        }
        let name = self.names;
        self.names += 1;
        self.claims = left.map(|capture| (capture, name)).collect();
        self.gone = vec![Gone { name, lease_until: Duration::ZERO }];
    }

    /// Who has slept enough goes on, and renews its lease.
    pub fn wake(&mut self, now: Duration) {
        for worker in &mut self.workers {
            if worker.asleep_until.take_if(|until| *until <= now).is_some() {
                self.gone.retain(|gone| gone.name != worker.name);
            }
        }
    }

    /// Can anything be taken over?
    pub fn is_anybody_gone(&self, now: Duration) -> bool {
        self.gone.iter().any(|gone| gone.lease_until <= now)
    }

    /// When somebody wakes, or is believed to be gone.
    pub fn next_at(&self, now: Duration) -> Option<Duration> {
        let waking = self.workers.iter().filter_map(|worker| worker.asleep_until);
        waking.chain(self.gone.iter().map(|gone| gone.lease_until)).filter(|at| *at > now).min()
    }
}

impl World {
    /// What the workers can do now, each for itself.
    pub fn acts(&mut self) -> Vec<(usize, Act)> {
        let now = self.clock.elapsed();
        self.crew.wake(now);
        let due = self.due_now();
        let mut acts = Vec::new();
        for index in 0..self.crew.count() {
            self.crew.let_act(index);
            if self.crew.asleep_until.is_none() {
                acts.extend(self.acts_of_one(&due).map(|act| (index, act)));
            }
        }
        acts
    }

    /// One worker dies at this very point. It may be that others only believe so.
    pub fn crash(&mut self) -> Check {
        let index = self.rng.random_range(0..self.crew.count());
        self.crew.let_act(index);
        let worker = self.crew.replace();
        self.fault_of_worker(Fault::Crash);
        self.log(|| format!("worker {} crashes", worker.name));
        self.lose_deliveries(worker.unacknowledged());
        // Where there is one, the next may begin as soon as it is gone, and looks at once.
        let is_alone = self.crew.count() == 1;
        let lease_until = self.clock.elapsed() + if is_alone { Duration::ZERO } else { LEASE };
        self.crew.gone.push(Gone { name: worker.name, lease_until });
        if self.may(Fault::Zombie) && self.rng.random_ratio(1, 3) && !worker.jobs.is_empty() {
            self.fault_of_worker(Fault::Zombie);
            self.ghosts.extend(worker.jobs);
        }
        if is_alone { self.take_over() } else { Ok(()) }
    }

    /// All workers are gone, those included that were believed to be.
    pub fn lose_everybody(&mut self) {
        self.ghosts.clear();
        for index in 0..self.crew.count() {
            self.crew.let_act(index);
            let worker = self.crew.replace();
            self.lose_deliveries(worker.unacknowledged());
            self.crew.gone.push(Gone { name: worker.name, lease_until: self.clock.elapsed() });
        }
    }

    /// What a worker has not acknowledged comes again.
    fn lose_deliveries(&mut self, unacknowledged: impl Iterator<Item = u64>) {
        let lost = self.broker.lose(unacknowledged);
        for _ in 0..lost {
            self.fault(Fault::Redelivery, "broker");
        }
    }

    /// One worker stands still for longer than its lease, while others go on.
    pub fn fall_asleep(&mut self) {
        let index = self.rng.random_range(0..self.crew.count());
        self.crew.let_act(index);
        if self.crew.count() == 1 || self.crew.asleep_until.is_some() {
            return;
        }
        self.fault_of_worker(Fault::Asleep);
        let (name, now) = (self.crew.name, self.clock.elapsed());
        self.log(|| format!("worker {name} falls asleep"));
        self.crew.asleep_until = Some(now + Duration::from_secs(self.rng.random_range(SLEEP_SECONDS)));
        self.crew.gone.push(Gone { name, lease_until: now + LEASE });
        if self.rng.random() {
            // The broker does not hear of it for too long.
            self.lose_deliveries(self.crew.unacknowledged());
        }
    }

    /// What a worker writes is its own, until another one does.
    pub fn claim_what_was_written(&mut self) {
        let tables = self.ledger.tables();
        let touched = tables.touched.as_ref().expect("it is asked for");
        let name = self.crew.name;
        // What was written since the invariants were checked, by the same worker.
        self.crew.claims.extend(touched.captures.iter().map(|capture| (*capture, name)));
    }

    /// What those had begun who are gone is looked into by the worker that acts.
    pub fn take_over(&mut self) -> Check {
        let now = self.clock.elapsed();
        let (gone, lasting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.crew.gone).into_iter().partition(|gone| gone.lease_until <= now);
        self.crew.gone = lasting;
        if self.mutant == Some(Mutant::ForgetsInterrupted) {
            return Ok(());
        }
        let left = self.left_by(&gone);
        if self.crew.count() > 1 && !left.is_empty() {
            self.fault_of_worker(Fault::TakenOver);
        }
        let command = |(capture, epoch)| {
            Command::Settle(Box::new(Settle { capture, epoch, evidence: Evidence::Interrupted, start: false }))
        };
        self.run(left.into_iter().map(command).collect())
    }

    fn left_by(&self, gone: &[Gone]) -> Vec<(CaptureKey, u32)> {
        let tables = self.ledger.tables();
        let is_theirs = |key: &CaptureKey| {
            self.crew.claims.get(key).is_some_and(|claimed| gone.iter().any(|gone| gone.name == *claimed))
        };
        let theirs = self.crew.claims.keys().filter(|key| is_theirs(key)).map(|key| &tables.captures[key]);
        let open = theirs.filter(|capture| capture.state.is_in_flight());
        open.map(|capture| (capture.key, capture.progress.epoch)).collect()
    }
}
