//! What stands around one account: who waits for a call, and whether one can be made now.
//!
//! Decides nothing about money and makes no calls: the executor does, with a [`Permit`].

// what is due, by deadline
mod waiting;

// may a call be made now
mod gate;

// so many calls in a span of time
mod rate;

// what the settings say
mod rules;

// where the account stands
mod standing;

// what an answer tells of the account
mod signal;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::TimeDelta;

use crate::capture::decide::{Due, Ready};
use crate::clock::{self, Moment, Timestamp};
use crate::ids::{AccountName, Reference};
use crate::ledger::desk::AccountStatus;
use crate::provider::{self, ClockSkew, Provider};
use crate::settings;

use gate::{Gate, Pass};
pub(super) use rules::Rules;
pub(super) use signal::{Operation, Signal};
pub(super) use standing::Standing;
use waiting::Waiting;

/// A last success is written down only where it is so much later than what was written: it is for
/// people, and costs a sync of the disk.
const KEPT_EVERY: TimeDelta = TimeDelta::seconds(10);

/// The same for how far its provider's clock is from ours.
const KEPT_SKEW: TimeDelta = TimeDelta::seconds(1);

/// One account's calls.
pub(super) struct Lane {
    pub(super) name: AccountName,
    pub(super) protocol: &'static str,
    state: Mutex<State>,
}

struct State {
    account: settings::Account,
    provider: Arc<dyn Provider>,
    gate: Gate,
    waiting: Waiting,
    /// What rests after a configuration fault, to be recalled once the account works again.
    parked: HashSet<Due>,
    is_recalling: bool,
    /// What a look can ask about.
    last_reference: Option<Reference>,
    last_success: Option<Timestamp>,
    /// As it was last given to be kept.
    kept_success: Option<Timestamp>,
    /// As it was last known: another secret makes another adapter, which has heard no answer yet.
    clock_skew: Option<TimeDelta>,
    kept_skew: Option<TimeDelta>,
    /// As it was last told.
    told: Standing,
    since: Timestamp,
    timer: Option<Instant>,
}

/// Permission for one call under way. Given back when dropped.
pub(super) struct Permit {
    lane: Arc<Lane>,
    pass: Pass,
    is_answered: bool,
}

/// What to do next for an account.
pub(super) enum Step {
    /// Begin what is most urgent.
    Begin(Due, Permit),
    /// Look whether the account works, by a read that is not booked.
    Look(Reference, Permit),
    /// Bring forward what is parked, so that it can try; then say so by [`Lane::has_recalled`].
    Recall(Vec<Due>),
    /// A suspension ended for want of anything that could try: say so.
    Resumed,
    /// Ask again at this instant.
    WakeAt(Instant),
    /// Nothing.
    Nothing,
}

/// A standing that was not told yet.
pub(super) struct Change {
    pub(super) before: Standing,
    pub(super) now: Standing,
}

impl Lane {
    /// The lane of an account, paused if an operator has paused it.
    pub(super) fn new(
        account: settings::Account,
        provider: Arc<dyn Provider>,
        rules: Rules,
        paused: Option<String>,
        last_success: Option<Timestamp>,
    ) -> Self {
        let mut gate = Gate::new(rules);
        if let Some(why) = paused {
            gate.pause(why);
        }
        let state = State {
            provider,
            gate,
            waiting: Waiting::default(),
            parked: HashSet::new(),
            is_recalling: false,
            last_reference: None,
            last_success,
            kept_success: last_success,
            clock_skew: None,
            kept_skew: None,
            told: Standing::Active,
            since: clock::now(),
            timer: None,
            account,
        };
        let (name, protocol) = (state.account.name.clone(), state.account.protocol.as_str());
        Self { name, protocol, state: Mutex::new(state) }
    }

    /// Its adapter, with the secrets of now.
    pub(super) fn provider(&self) -> Arc<dyn Provider> {
        Arc::clone(&self.state().provider)
    }

    /// A permit for a call, if one can be made now and nothing waits for it.
    pub(super) fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state();
        if !state.waiting.is_empty() {
            return None;
        }
        let pass = state.gate.admit(Instant::now()).ok()?;
        Some(self.permit(pass))
    }

    /// A permit for a call that an operator waits for: ahead of what waits, within what the account
    /// allows.
    pub(super) fn permit_ahead(self: &Arc<Self>) -> Option<Permit> {
        let pass = self.state().gate.admit(Instant::now()).ok()?;
        Some(self.permit(pass))
    }

    fn permit(self: &Arc<Self>, pass: Pass) -> Permit {
        Permit { lane: Arc::clone(self), pass, is_answered: false }
    }

    /// Lets what is ready wait for a permit. `false`: it does already.
    pub(super) fn enqueue(&self, ready: &Ready) -> bool {
        self.state().waiting.push(ready)
    }

    /// What to do next.
    pub(super) fn next(self: &Arc<Self>) -> Step {
        let now = Instant::now();
        let state = &mut *self.state();
        if let Some(reference) = &state.last_reference
            && let Some(pass) = state.gate.admit_look(now)
        {
            return Step::Look(reference.clone(), self.permit(pass));
        }
        if state.waiting.is_empty() {
            return self.next_of_none(state, now);
        }
        match state.gate.admit(now) {
            Ok(pass) => {
                let due = state.waiting.pop().expect("it is not empty");
                state.parked.remove(&due);
                Step::Begin(due, self.permit(pass))
            }
            Err(at) => state.wake_at(at),
        }
    }

    /// What to do while nothing waits: find out whether the account works.
    fn next_of_none(self: &Arc<Self>, state: &mut State, now: Instant) -> Step {
        if state.gate.awaits_trial() {
            return if state.is_recalling {
                Step::Nothing
            } else if state.parked.is_empty() {
                state.gate.resume_untried(now);
                Step::Resumed
            } else {
                state.is_recalling = true;
                Step::Recall(state.parked.drain().collect())
            };
        }
        if let Some(reference) = state.last_reference.clone().filter(|_| state.gate.awaits_call(now))
            && let Ok(pass) = state.gate.admit(now)
        {
            return Step::Look(reference, self.permit(pass));
        }
        let at = state.gate.wakes_at();
        state.wake_at(at)
    }

    /// The timer for [`Step::WakeAt`] went off.
    pub(super) fn has_woken(&self) {
        self.state().timer = None;
    }

    /// What was to be recalled waits now, if it still has to.
    pub(super) fn has_recalled(&self) {
        self.state().is_recalling = false;
    }

    /// How many calls could be begun now.
    pub(super) fn room(&self) -> usize {
        self.state().gate.room(Instant::now())
    }

    /// Something rests after a configuration fault.
    pub(super) fn park(&self, due: Due) {
        self.state().parked.insert(due);
    }

    /// Everything that rests, to be recalled.
    pub(super) fn take_parked(&self) -> Vec<Due> {
        self.state().parked.drain().collect()
    }

    /// An operator's pause.
    pub(super) fn pause(&self, why: String) {
        self.state().gate.pause(why);
    }

    /// The end of an operator's pause. `false`: it was not paused.
    pub(super) fn resume(&self) -> bool {
        let mut state = self.state();
        let was_paused = matches!(state.gate.standing(), Standing::Paused(_));
        state.gate.resume(Instant::now());
        was_paused
    }

    /// Reads the account's secret anew. Whether there was another one.
    ///
    /// # Errors
    /// Why it cannot be used; the one before stays.
    pub(super) fn renew_secret(&self) -> Result<bool, String> {
        let held = self.state().account.clone();
        let Some(account) = held.with_new_secret()? else { return Ok(false) };
        let provider = provider::connect(&account).map_err(|error| error.to_string())?;
        let mut state = self.state();
        state.account = account;
        state.provider = provider;
        state.gate.look_now(Instant::now());
        Ok(true)
    }

    /// How many wait, and how many are under way.
    pub(super) fn numbers(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.gate.in_flight())
    }

    /// Where the account stands, if that was not told yet.
    pub(super) fn change(&self) -> Option<Change> {
        let mut state = self.state();
        let now = state.gate.standing();
        if std::mem::discriminant(&now) == std::mem::discriminant(&state.told) {
            return None;
        }
        state.since = clock::now();
        let before = std::mem::replace(&mut state.told, now.clone());
        Some(Change { before, now })
    }

    /// Where the account stands, for operators.
    pub(super) fn status(&self) -> AccountStatus {
        let state = self.state();
        let (word, why) = state.gate.standing().in_words();
        AccountStatus {
            account: self.name.clone(),
            state: word.to_owned(),
            why,
            since: state.since,
            last_success: state.last_success,
            clock_skew: state.clock_skew,
        }
    }

    /// How far the provider's clock is ahead of ours, by its last answers.
    pub(super) fn clock_skew(&self) -> Option<TimeDelta> {
        let mut state = self.state();
        let ClockSkew(skew) = state.provider.clock().skew(Moment::now())?;
        state.clock_skew = Some(skew);
        Some(skew)
    }

    /// Has anything worked so much later than what is kept says, or has a clock gone so far from it, that
    /// it is worth keeping?
    pub(super) fn takes_news(&self) -> bool {
        let mut state = self.state();
        let State { last_success, kept_success, clock_skew, kept_skew, .. } = *state;
        let is_later = |last: Timestamp| kept_success.is_none_or(|kept| last - kept > KEPT_EVERY);
        let is_off = |skew: TimeDelta| kept_skew.is_none_or(|kept| (skew - kept).abs() > KEPT_SKEW);
        let is_news = last_success.is_some_and(is_later) || clock_skew.is_some_and(is_off);
        if is_news {
            (state.kept_success, state.kept_skew) = (last_success, clock_skew);
        }
        is_news
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sets the timer, unless one goes off early enough.
    fn wake_at(&mut self, at: Option<Instant>) -> Step {
        let Some(at) = at.filter(|at| self.timer.is_none_or(|set| set > *at)) else { return Step::Nothing };
        self.timer = Some(at);
        Step::WakeAt(at)
    }
}

impl Permit {
    /// The account.
    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// The call about `reference` was answered.
    pub(super) fn answered(&mut self, operation: Operation, reference: &Reference, signal: &Signal) {
        self.is_answered = true;
        let mut state = self.lane.state();
        state.gate.learn(self.pass, operation, reference, signal, Instant::now());
        match signal {
            Signal::Worked => {
                state.last_reference = Some(reference.clone());
                state.last_success = Some(clock::now());
            }
            Signal::Answered | Signal::Failed { .. } | Signal::Misconfigured(_) => {
                state.last_reference.get_or_insert_with(|| reference.clone());
            }
        }
    }

    /// May another call be made with it? And which one waits for it, where it is `for_another`?
    pub(super) fn go_on(&mut self, for_another: bool) -> (bool, Option<Due>) {
        let mut state = self.lane.state();
        state.gate.take_back(self.pass, self.is_answered, Instant::now());
        let now = Instant::now();
        let admitted = if for_another { state.gate.admit(now) } else { state.gate.admit_second(now) };
        let Ok(pass) = admitted else {
            state.gate.keep();
            (self.pass, self.is_answered) = (Pass::Ordinary, true);
            return (false, None);
        };
        (self.pass, self.is_answered) = (pass, false);
        let due = if for_another { state.waiting.pop() } else { None };
        if let Some(due) = &due {
            state.parked.remove(due);
        }
        (true, due)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lane.state().gate.take_back(self.pass, self.is_answered, Instant::now());
    }
}
