//! May a call to the account be made now? A machine of what its answers told, and of given times.
//!
//! Five things hold calls back: an operator's pause, suspension, the breaker, the provider's own word
//! (`Retry-After`), and the numbers of the settings. None of them fails anything or counts an attempt:
//! what is held back waits. Does no I/O and reads no clock.

use std::time::Instant;

use crate::ids::Reference;

use super::rate::Bucket;
use super::rules::Rules;
use super::signal::{Operation, Signal};
use super::standing::Standing;

/// One account's gate.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Rules,
    in_flight: usize,
    bucket: Option<Bucket>,
    held_until: Option<Instant>,
    paused: Option<String>,
    breaker: Breaker,
    /// Times that the breaker opened since the last whole recovery.
    openings: u32,
    suspension: Option<Suspension>,
    /// Configuration faults with no success since, each with another authorization.
    faults: Vec<(Operation, Reference)>,
    /// Since when, or from when on, calls at the same time rise from one.
    recovers_from: Option<Instant>,
}

#[derive(Debug)]
enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        why: String,
    },
    /// One call is under way; its answer decides.
    HalfOpen {
        why: String,
    },
}

#[derive(Debug)]
struct Suspension {
    /// What does not work: reading, or only taking money.
    operation: Operation,
    why: String,
    probe: Probe,
}

/// How far the search for an end of a suspension is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Rests {
        until: Instant,
    },
    UnderWay,
    /// Reading works again; one capture may try.
    Trial,
}

/// What a call was let through as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// One of many.
    Ordinary,
    /// The one whose answer decides.
    Probe,
}

impl Gate {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            in_flight: 0,
            bucket: rules.rate.map(Bucket::new),
            held_until: None,
            paused: None,
            breaker: Breaker::Closed { failures: 0 },
            openings: 0,
            suspension: None,
            faults: Vec::new(),
            recovers_from: None,
        }
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// When to ask again; `None` where time alone changes nothing.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Option<Instant>> {
        let pass = self.may_admit(now)?;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now).map_err(Some)?;
        }
        Ok(self.let_through(pass))
    }

    /// Lets a second call about the same through: what a look permits to be sent. It does not wait for the
    /// rate, or the permission would be lost; what comes after it waits longer instead.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(super) fn admit_second(&mut self, now: Instant) -> Result<Pass, Option<Instant>> {
        let pass = self.may_admit(now)?;
        if let Some(bucket) = &mut self.bucket {
            bucket.overdraw(now);
        }
        Ok(self.let_through(pass))
    }

    fn let_through(&mut self, pass: Pass) -> Pass {
        if pass == Pass::Probe {
            self.begin_probe();
        }
        self.in_flight += 1;
        pass
    }

    fn may_admit(&self, now: Instant) -> Result<Pass, Option<Instant>> {
        if self.paused.is_some() {
            return Err(None);
        }
        if let Some(suspension) = &self.suspension {
            return match suspension.probe {
                Probe::Trial => Ok(Pass::Probe),
                Probe::Rests { until } => Err(Some(until)),
                Probe::UnderWay => Err(None),
            };
        }
        if let Some(until) = self.held_until.filter(|until| *until > now) {
            return Err(Some(until));
        }
        match &self.breaker {
            Breaker::Open { until, .. } if *until > now => Err(Some(*until)),
            Breaker::Open { .. } => Ok(Pass::Probe),
            Breaker::HalfOpen { .. } => Err(None),
            Breaker::Closed { .. } if self.in_flight < self.limit(now) => Ok(Pass::Ordinary),
            Breaker::Closed { .. } => Err(self.next_rise(now)),
        }
    }

    fn begin_probe(&mut self) {
        if let Some(suspension) = &mut self.suspension {
            suspension.probe = Probe::UnderWay;
        } else if let Breaker::Open { why, .. } = &mut self.breaker {
            self.breaker = Breaker::HalfOpen { why: std::mem::take(why) };
        }
    }

    /// Lets the look through that a suspended account is due for.
    pub(super) fn admit_look(&mut self, now: Instant) -> Option<Pass> {
        let is_held = self.paused.is_some() || self.held_until.is_some_and(|until| until > now);
        let suspension = self.suspension.as_mut().filter(|_| !is_held)?;
        match suspension.probe {
            Probe::Rests { until } if until <= now => {}
            Probe::Rests { .. } | Probe::UnderWay | Probe::Trial => return None,
        }
        suspension.probe = Probe::UnderWay;
        self.in_flight += 1;
        Some(Pass::Probe)
    }

    /// Is the breaker due for its one call?
    pub(super) fn awaits_call(&self, now: Instant) -> bool {
        let is_open = matches!(&self.breaker, Breaker::Open { until, .. } if *until <= now);
        is_open && self.may_admit(now).is_ok()
    }

    /// May one capture try whether a suspended account works?
    pub(super) fn awaits_trial(&self) -> bool {
        let is_trial = |suspension: &Suspension| suspension.probe == Probe::Trial;
        self.paused.is_none() && self.suspension.as_ref().is_some_and(is_trial)
    }

    /// When to ask again although nothing waits; `None` where nothing will have changed by itself.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        if self.paused.is_some() {
            return None;
        }
        match (&self.suspension, &self.breaker) {
            (Some(Suspension { probe: Probe::Rests { until }, .. }), _) | (None, Breaker::Open { until, .. }) => {
                Some(self.held_until.map_or(*until, |held| held.max(*until)))
            }
            (Some(_), _) | (None, Breaker::Closed { .. } | Breaker::HalfOpen { .. }) => None,
        }
    }

    /// Takes a call back: after its answer, or without one.
    pub(super) fn take_back(&mut self, pass: Pass, is_answered: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if is_answered {
            return;
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.put_back();
        }
        if pass == Pass::Ordinary {
            return;
        }
        if let Some(suspension) = &mut self.suspension {
            if suspension.probe == Probe::UnderWay {
                suspension.probe = Probe::Trial;
            }
        } else if let Breaker::HalfOpen { why } = &mut self.breaker {
            self.breaker = Breaker::Open { until: now, why: std::mem::take(why) };
        }
    }

    /// Counts a call again that goes on being held after its answer.
    pub(super) fn keep(&mut self) {
        self.in_flight += 1;
    }

    /// How many calls would be let through now.
    pub(super) fn room(&self, now: Instant) -> usize {
        match self.may_admit(now) {
            Ok(Pass::Ordinary) => self.limit(now).saturating_sub(self.in_flight),
            Ok(Pass::Probe) => 1,
            Err(_) => 0,
        }
    }

    /// Calls under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Learns from an answer.
    pub(super) fn learn(
        &mut self,
        pass: Pass,
        operation: Operation,
        reference: &Reference,
        signal: &Signal,
        now: Instant,
    ) {
        match signal {
            Signal::Worked => {
                self.faults.retain(|(at_fault, _)| *at_fault == Operation::Capture && operation == Operation::Lookup);
                self.close(now);
                self.end_suspension(pass, operation, true, now);
            }
            Signal::Answered => {
                self.close(now);
                self.end_suspension(pass, operation, false, now);
            }
            Signal::Failed { why, hold } => {
                if let Some(hold) = hold {
                    let until = now + (*hold).min(self.rules.retry_after_max);
                    self.held_until = Some(self.held_until.map_or(until, |before| before.max(until)));
                    self.recovers_from = self.held_until;
                }
                self.rest_probe(pass, now);
                self.count_failure(pass, why, now);
            }
            Signal::Misconfigured(why) => {
                self.close(now);
                self.rest_probe(pass, now);
                self.count_fault(operation, reference, why, now);
            }
        }
    }

    /// A provider that answers is not down.
    fn close(&mut self, now: Instant) {
        match self.breaker {
            Breaker::Closed { .. } => {}
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => self.recovers_from = Some(now),
        }
        self.breaker = Breaker::Closed { failures: 0 };
    }

    fn count_failure(&mut self, pass: Pass, why: &str, now: Instant) {
        match &mut self.breaker {
            Breaker::Closed { failures } => {
                *failures += 1;
                if *failures >= self.rules.breaker.failures {
                    self.open(why, now);
                }
            }
            Breaker::HalfOpen { .. } if pass == Pass::Probe => self.open(why, now),
            // Calls that were under way when it opened.
            Breaker::HalfOpen { .. } | Breaker::Open { .. } => {}
        }
    }

    fn open(&mut self, why: &str, now: Instant) {
        let was_closed = matches!(self.breaker, Breaker::Closed { .. });
        if was_closed && !self.is_recovering(now) {
            self.openings = 0;
        }
        let doubled = self.rules.breaker.wait.saturating_mul(1 << self.openings.min(16));
        self.openings = self.openings.saturating_add(1);
        let until = now + doubled.min(self.rules.breaker.wait_max);
        self.breaker = Breaker::Open { until, why: why.to_owned() };
    }

    fn count_fault(&mut self, operation: Operation, reference: &Reference, why: &str, now: Instant) {
        if self.suspension.is_some() {
            return;
        }
        if !self.faults.iter().any(|(_, known)| known == reference) {
            self.faults.push((operation, reference.clone()));
        }
        if self.faults.len() < self.rules.suspension.faults {
            return;
        }
        let only_captures = self.faults.iter().any(|(at_fault, _)| *at_fault == Operation::Capture);
        let operation = if only_captures { Operation::Capture } else { Operation::Lookup };
        let probe = Probe::Rests { until: now + self.rules.suspension.probe_interval };
        self.suspension = Some(Suspension { operation, why: why.to_owned(), probe });
    }

    /// A success ends a suspension if it is of what did not work. Reading alone permits one trial.
    fn end_suspension(&mut self, pass: Pass, operation: Operation, worked: bool, now: Instant) {
        let Some(suspension) = &mut self.suspension else { return };
        let counts = worked || pass == Pass::Probe;
        if counts && (operation == Operation::Capture || suspension.operation == Operation::Lookup) {
            self.suspension = None;
            self.faults.clear();
            self.recovers_from = Some(now);
        } else if pass == Pass::Probe {
            suspension.probe = Probe::Trial;
        }
    }

    fn rest_probe(&mut self, pass: Pass, now: Instant) {
        if let Some(suspension) = self.suspension.as_mut().filter(|_| pass == Pass::Probe) {
            suspension.probe = Probe::Rests { until: now + self.rules.suspension.probe_interval };
        }
    }

    /// Nothing is left that could try a suspended account: it counts as working.
    pub(super) fn resume_untried(&mut self, now: Instant) {
        if self.awaits_trial() {
            self.suspension = None;
            self.faults.clear();
            self.recovers_from = Some(now);
        }
    }

    /// A suspended account is looked at now: something about it has changed.
    pub(super) fn look_now(&mut self, now: Instant) {
        if let Some(Suspension { probe: probe @ Probe::Rests { .. }, .. }) = &mut self.suspension {
            *probe = Probe::Rests { until: now };
        }
    }

    /// An operator's pause: nothing is let through.
    pub(super) fn pause(&mut self, why: String) {
        self.paused = Some(why);
    }

    /// The end of a pause. What it held back is let through gradually.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.paused.take().is_some() {
            self.recovers_from = Some(self.held_until.map_or(now, |held| held.max(now)));
        }
    }

    /// Where the account stands.
    pub(super) fn standing(&self) -> Standing {
        match (&self.paused, &self.suspension, &self.breaker) {
            (Some(why), _, _) => Standing::Paused(why.clone()),
            (None, Some(suspension), _) => Standing::Suspended(suspension.why.clone()),
            (None, None, Breaker::Open { why, .. } | Breaker::HalfOpen { why }) => Standing::BreakerOpen(why.clone()),
            (None, None, Breaker::Closed { .. }) => Standing::Active,
        }
    }

    fn is_recovering(&self, now: Instant) -> bool {
        self.recovers_from.is_some_and(|from| now.saturating_duration_since(from) < self.rules.breaker.recovery)
    }

    /// Calls at the same time that are allowed now.
    fn limit(&self, now: Instant) -> usize {
        let most = self.rules.concurrency;
        let Some(from) = self.recovers_from.filter(|_| self.is_recovering(now)) else { return most };
        let elapsed = now.saturating_duration_since(from).as_micros();
        let whole = self.rules.breaker.recovery.as_micros().max(1);
        let more = u128::try_from(most.saturating_sub(1)).unwrap_or(u128::MAX).saturating_mul(elapsed) / whole;
        usize::try_from(more).unwrap_or(most).saturating_add(1).min(most)
    }

    fn next_rise(&self, now: Instant) -> Option<Instant> {
        let steps = u32::try_from(self.rules.concurrency).unwrap_or(u32::MAX).max(1);
        self.is_recovering(now).then(|| now + self.rules.breaker.recovery / steps)
    }
}

#[cfg(test)]
mod tests;
