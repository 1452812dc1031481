//! The phase in which everything may go wrong, one step at a time.

use std::time::Duration;

use chrono::TimeDelta;
use holdfast::ids::AccountName;
use rand::Rng;

use crate::clock::WALL_ERROR_MAX;
use crate::fault::Fault;
use crate::scenario::Name;
use crate::worker::Stage;
use crate::world::{Check, World};

/// At once nothing happens for so long at most.
const PAUSE_MAX: Duration = Duration::from_hours(3);
/// The ledger waits so long, from a restore, for what was published since the copy: longer is not promised.
const REPUBLISHED_WITHIN: Duration = Duration::from_hours(6);

impl World {
    /// One step among faults.
    pub fn chaos_step(&mut self) -> Check {
        if self.case.is_dense && self.happens(self.case.dials().rare) {
            return self.rare_step();
        }
        match self.rng.random_range(0..1_000) {
            0..10 if self.may(Fault::Crash) => self.crash(),
            10..16 if self.may(Fault::Suspended) => {
                self.suspend();
                Ok(())
            }
            16..21 if self.may(Fault::Asleep) => {
                self.fall_asleep();
                Ok(())
            }
            21..27 if self.may(Fault::WallStep) => {
                self.step_clock();
                Ok(())
            }
            27..30 if self.may(Fault::Misconfigured) && !self.has_to_be_readable() => {
                self.break_account();
                Ok(())
            }
            30..33 => {
                self.meddle();
                Ok(())
            }
            33..38 => self.operate(),
            38..43 if self.may(Fault::Replayed) => self.replay_some(),
            43..47 if self.may(Fault::Restored) => self.copy_or_restore(),
            47..80 => self.ghost_step(),
            80..84 if self.case.has_restarts() && self.may(Fault::Restarted) => self.restart_machine(),
            80..250 => {
                self.tick_randomly();
                Ok(())
            }
            _ => self.act_randomly(),
        }
    }

    /// One of those that are rare in a world of many orders.
    fn rare_step(&mut self) -> Check {
        match self.rng.random_range(0..16) {
            0..5 if self.may(Fault::Restored) => self.copy_or_restore(),
            5..10 if self.may(Fault::Replayed) => self.replay_some(),
            10 if self.may(Fault::Crash) => self.crash(),
            11 if self.may(Fault::Restarted) => self.restart_machine(),
            12 => self.operate(),
            13 if self.may(Fault::AccountMissing) => {
                self.change_settings();
                Ok(())
            }
            _ => {
                self.tick_randomly();
                Ok(())
            }
        }
    }

    fn act_randomly(&mut self) -> Check {
        let acts = self.acts();
        if acts.is_empty() {
            self.tick_randomly();
            return Ok(());
        }
        let act = acts[self.rng.random_range(0..acts.len())];
        self.log(|| format!("{act:?}"));
        self.act(act)
    }

    fn suspend(&mut self) {
        self.fault_of_worker(Fault::Suspended);
        let minutes = self.rng.random_range(5..60);
        self.tick(Duration::from_mins(minutes));
    }

    /// As after a power cut: nobody is left who had begun anything, and what was on its way goes on.
    fn restart_machine(&mut self) -> Check {
        self.fault_of_worker(Fault::Restarted);
        self.lose_everybody();
        let seconds = self.rng.random_range(5..300);
        self.tick(Duration::from_secs(seconds));
        self.clock.restart();
        if self.crew.count() == 1 { self.take_over() } else { Ok(()) }
    }

    /// All workers start anew with other settings: without an account, or with all of them again.
    fn change_settings(&mut self) {
        let may_lack_one = self.missing.is_none() && !self.waits_for_registrations();
        let accounts = self.policy.accounts.keys().filter(|_| may_lack_one);
        let accounts: Vec<AccountName> = accounts.cloned().collect();
        let missing = accounts.get(self.rng.random_range(0..accounts.len().max(1))).cloned();
        if let Some(account) = &missing {
            self.fault_of_worker(Fault::AccountMissing);
            self.log(|| format!("{account} is missing in the settings"));
        }
        self.start_without(missing);
    }

    fn step_clock(&mut self) {
        let is_jump = self.is_jumping() && self.may(Fault::WallJump) && self.rng.random_ratio(1, 2);
        self.fault_of_worker(if is_jump { Fault::WallJump } else { Fault::WallStep });
        let limit = if is_jump { self.wall_error_max } else { WALL_ERROR_MAX };
        let error = TimeDelta::seconds(self.rng.random_range(-limit.num_seconds()..=limit.num_seconds()));
        self.log(|| format!("the wall clock is wrong by {error}"));
        self.clock.set_wall_error(error, limit);
    }

    /// Workers with something to do are rarely slow; those without wait for what comes next.
    fn tick_randomly(&mut self) {
        let now = self.clock.elapsed();
        let is_idle = self.acts().is_empty();
        let by = match self.rng.random_range(0..20) {
            0..1 => Duration::from_secs(self.rng.random_range(5..300)),
            1..15 if !is_idle => Duration::from_millis(self.rng.random_range(1..1_000)),
            _ => self.next_event().map_or(Duration::ZERO, |at| at.saturating_sub(now)).min(self.longest_pause(is_idle)),
        };
        self.tick(by);
    }

    /// For how long nothing happens at most. In dense worlds workers do not lie still so long after a restore that
    /// what comes again is accepted after the time that the ledger waits for it.
    fn longest_pause(&self, is_idle: bool) -> Duration {
        let Some(restored_at) = self.restored_at.filter(|_| self.case.is_dense && !is_idle) else { return PAUSE_MAX };
        let left = (restored_at + REPUBLISHED_WITHIN).checked_sub(self.clock.elapsed());
        left.map_or(PAUSE_MAX, |left| PAUSE_MAX.min(left / 2))
    }

    /// After three answers that say nothing an authorization is not waited for, and what was captured on it in the lost
    /// time, replayed, is captured on another one. Dense worlds let each be read sooner or later.
    const fn has_to_be_readable(&self) -> bool {
        self.case.is_dense && self.is_restored()
    }

    fn break_account(&mut self) {
        let names: Vec<&Name> = self.authorizations.keys().collect();
        if names.is_empty() {
            return;
        }
        let account = names[self.rng.random_range(0..names.len())].0.clone();
        let until = self.clock.elapsed() + Duration::from_mins(self.rng.random_range(1..30));
        self.log(|| format!("the credentials of {account} are rejected"));
        self.misconfigured.insert(account, until);
    }

    /// Somebody else has to do with an authorization.
    fn meddle(&mut self) {
        let voids = self.rng.random();
        let fault = if voids { Fault::ForeignVoid } else { Fault::ForeignCapture };
        if self.authorizations.is_empty() || !self.may(fault) {
            return;
        }
        let index = self.rng.random_range(0..self.authorizations.len());
        let part = self.rng.random_range(1..=2);
        let now = self.clock.truth();
        let (name, authorization) = self.authorizations.iter_mut().nth(index).expect("it is in range");
        let happened = if voids { authorization.void(now) } else { authorization.capture_by_somebody(part, now) };
        self.memory.look_at(name);
        if happened {
            let reference = name.1.clone();
            self.log(|| format!("somebody meddles with {reference}"));
            self.fault(fault, "authorization");
        }
    }

    /// A worker that was believed to be gone does one thing.
    pub fn ghost_step(&mut self) -> Check {
        if self.ghosts.is_empty() {
            return Ok(());
        }
        let index = self.rng.random_range(0..self.ghosts.len());
        let mut job = self.ghosts.swap_remove(index);
        self.log(|| format!("a ghost goes on with {:?}", job.stage));
        match job.stage {
            Stage::Permitted => self.send(&mut job)?,
            Stage::Sent { .. } if job.is_overdue(self.clock.elapsed()) => job.give_up(),
            Stage::Sent { .. } => {}
            Stage::Answered(_) => return self.settle_ghost(&job),
        }
        self.ghosts.push(job);
        Ok(())
    }
}
