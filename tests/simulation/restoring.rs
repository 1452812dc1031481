//! The ledger goes back to an earlier copy, while the providers, the broker and the consumer go on.
//!
//! As an operator does it: all workers are stopped, the copy is put in its place, and they start with
//! `--after-restore`. What was on its way to a provider has arrived by then. The order system publishes again
//! what was acknowledged since the copy was made, registrations first, and else in the same order; the broker may
//! still give it in another.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use holdfast::capture::notice::RegistrationNotice;
use holdfast::capture::records::{Authorization as Record, AuthorizationKey, Restored, SingleUse};
use holdfast::capture::restored::{ANSWERS_MAX, READ_FIRST_FOR, is_unread};
use holdfast::clock::{self, Timestamp};
use holdfast::ids::{OrderId, ShipmentId};
use holdfast::ledger::memory::{Tables, Touched};
use holdfast::message::Notice;
use rand::Rng;

use crate::fault::Fault;
use crate::invariants::{self, Memory};
use crate::mutant::Mutant;
use crate::scenario::{Message, Name, SimOrder};
use crate::world::{Check, World};

/// From the end of the old workers to the begin of the new ones: longer than anything is under way.
const STOPPED_FOR: Duration = Duration::from_mins(15);
/// The order system takes so long for the registrations, and for everything else.
const PUBLISHED_WITHIN: u64 = 3_600;

/// A copy of the ledger, and what was known when it was made.
pub struct Copied {
    tables: Tables,
    memory: Memory,
    acknowledged: usize,
}

/// Nothing is captured before every open authorization was read: those that were there in the beginning.
pub struct Restoring {
    below: Option<AuthorizationKey>,
}

impl World {
    /// Makes a copy of the ledger; some time later it may be needed.
    pub fn copy_or_restore(&mut self) -> Check {
        if !self.case.has_restores() {
            return Ok(());
        }
        if let Some(copied) = self.copied.take() {
            if self.rng.random_ratio(1, 3) {
                return self.restore(copied);
            }
            self.copied = Some(copied);
            return Ok(());
        }
        if self.restoring.is_none() && self.restores_left > 0 && !self.broker.is_held_back() {
            self.log(|| "the ledger is copied".to_owned());
            let tables = self.ledger.tables().clone();
            self.copied = Some(Copied { tables, memory: self.memory.clone(), acknowledged: self.acknowledged.len() });
        }
        Ok(())
    }

    fn restore(&mut self, copied: Copied) -> Check {
        self.fault_of_worker(Fault::Restored);
        self.restores_left -= 1;
        for worker in self.crew.all() {
            self.broker.lose(worker.unacknowledged());
        }
        self.crew.begin_anew(copied.tables.captures.keys().copied());
        self.ghosts.clear();
        let to = self.clock.elapsed() + STOPPED_FOR;
        self.pass_until(to);
        invariants::check(self)?;
        self.restored_at = Some(self.clock.elapsed());
        if self.case.is_dense {
            self.misconfigured.clear();
        }
        self.memory.go_back_to(copied.memory);
        let registered = if self.case.is_dense { self.registered_since(&copied.tables) } else { Vec::new() };
        let contradicting = if self.case.is_dense { self.contradicting() } else { BTreeSet::new() };
        self.put_in_place(copied.tables);
        if self.case.is_dense && self.missing.is_some() {
            // What its account lacks no registration can be applied to, and it is as if it had not come again.
            self.start_without(None);
        }
        self.note_hurried();
        let lost = self.acknowledged.split_off(copied.acknowledged);
        self.publish_again(registered, lost, &contradicting);
        self.has_changed();
        Ok(())
    }

    /// Which orders have an authorization whose deadline margin comes before everything is published again.
    fn note_hurried(&mut self) {
        let margin = self.policy.deadline_margin + 2 * Duration::from_secs(PUBLISHED_WITHIN);
        let soon = clock::after(self.clock.truth(), margin);
        let dies = self.authorizations.iter().filter(|(_, held)| held.expires_at <= soon);
        let references: Vec<_> = dies.map(|(name, _)| name.1.clone()).collect();
        let is_hurried = |order: &&SimOrder| order.references.iter().any(|reference| references.contains(reference));
        self.hurried.extend(self.orders.iter().filter(is_hurried).map(|order| order.id.clone()));
    }

    fn put_in_place(&mut self, copy: Tables) {
        let below = copy.authorizations.keys().next_back().copied();
        let is_read_first = self.mutant != Some(Mutant::ReadsNothingAfterRestore);
        let now = self.clock.machine().wall;
        *self.ledger.tables() = if is_read_first { marked(copy, now) } else { copy };
        self.ledger.tables().touched = Some(Touched::default());
        self.restoring = is_read_first.then_some(Restoring { below });
    }

    /// A registration of each authorization that the copy does not have: also of those that only the notice of a
    /// shipment has brought, or one that was never acknowledged. On which of them another shipment was captured when
    /// it was replayed, no ledger can know that has not heard of it yet, and dense worlds would find nothing else.
    fn registered_since(&mut self, copy: &Tables) -> Vec<Rc<Message>> {
        let tables = self.ledger.tables();
        let is_lost = |key: &AuthorizationKey| !copy.authorizations.contains_key(key);
        let lost = tables.authorizations.values().filter(|record| is_lost(&record.key));
        let named: Vec<Name> = lost.map(|record| (record.account.clone(), record.reference.clone())).collect();
        drop(tables);
        let messages: Vec<Rc<Message>> =
            named.iter().filter_map(|name| self.registration_of(name)).map(Rc::new).collect();
        self.messages.extend(messages.iter().map(|message| (message.body.clone(), Rc::clone(message))));
        messages
    }

    /// As the first notice tells of it that does.
    fn registration_of(&self, (account, reference): &Name) -> Option<Message> {
        let told = self.messages.values().find_map(|message| {
            let (order, facts) = match &message.notice {
                Notice::Shipped(notice) => (&notice.order, notice.authorization.as_ref()?),
                Notice::Authorized(notice) => (&notice.order, &notice.authorization),
                Notice::Cancelled(_) => return None,
            };
            (facts.account == *account && facts.reference == *reference).then(|| (order.clone(), facts.clone()))
        });
        let (order, authorization) = told?;
        let body = format!("{order} was authorized as {reference}").into();
        let notice = Notice::Authorized(Box::new(RegistrationNotice { order, authorization, plan: None }));
        Some(Message { at: self.clock.elapsed(), body, notice })
    }

    /// Messages of shipments that were known with other content.
    fn contradicting(&self) -> BTreeSet<Bytes> {
        let tables = self.ledger.tables();
        let is_known = |order: &OrderId, id: &ShipmentId, cause: Option<&Bytes>| {
            tables.shipments.values().any(|shipment| {
                let is_of = tables.orders[&shipment.order].id == *order && shipment.id == *id;
                is_of && cause.is_none_or(|body| shipment.caused_by.as_bytes() == &**body)
            })
        };
        let contradicts = |message: &&Rc<Message>| match &message.notice {
            Notice::Shipped(notice) => {
                is_known(&notice.order, &notice.shipment, None)
                    && !is_known(&notice.order, &notice.shipment, Some(&message.body))
            }
            Notice::Authorized(_) | Notice::Cancelled(_) => false,
        };
        self.messages.values().filter(contradicts).map(|message| message.body.clone()).collect()
    }

    fn publish_again(
        &mut self,
        registered_since: Vec<Rc<Message>>,
        messages: Vec<Rc<Message>>,
        contradicting: &BTreeSet<Bytes>,
    ) {
        let registered = |message: &Rc<Message>| match &message.notice {
            Notice::Authorized(notice) => Some(notice.order.clone()),
            Notice::Shipped(_) | Notice::Cancelled(_) => None,
        };
        let brought = messages.iter().filter_map(|message| self.brings_authorization(message));
        let again: Vec<OrderId> = messages.iter().filter_map(registered).chain(brought).collect();
        self.registered_again.extend(again);
        let (mut first, then): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| registered(message).is_some());
        first.extend(registered_since);
        let (first, mut then) = (self.spread(first), self.spread(then));
        if self.case.is_dense {
            // Nothing else comes before the registrations either.
            then.extend(self.broker.hold_back());
            // Which of two contents was captured, no ledger can know that has heard of neither.
            for (span, _) in then.iter_mut().filter(|(_, message)| contradicting.contains(&message.body)) {
                *span += Duration::from_secs(PUBLISHED_WITHIN);
            }
        }
        self.broker.publish_again(first, then);
    }

    /// The order of a shipment whose notice brings an authorization that the copy does not have.
    fn brings_authorization(&self, message: &Message) -> Option<OrderId> {
        let Notice::Shipped(notice) = &message.notice else { return None };
        let facts = notice.authorization.as_ref()?;
        let tables = self.ledger.tables();
        let is_it = |record: &Record| record.account == facts.account && record.reference == facts.reference;
        (!tables.authorizations.values().any(is_it)).then(|| notice.order.clone())
    }

    /// With how long after the first of them each is published.
    fn spread(&mut self, messages: Vec<Rc<Message>>) -> Vec<(Duration, Rc<Message>)> {
        let rng = &mut self.rng;
        let mut spans: Vec<Duration> =
            messages.iter().map(|_| Duration::from_secs(rng.random_range(0..PUBLISHED_WITHIN))).collect();
        spans.sort_unstable();
        spans.into_iter().zip(messages).collect()
    }

    /// Is a restore under way, with nothing left to be waited for?
    pub fn is_everything_read(&self) -> bool {
        let Some(Restoring { below }) = self.restoring else { return false };
        if self.waits_for_registrations() {
            return false;
        }
        let tables = self.ledger.tables();
        let mut marked = tables.authorizations.values().filter(|record| Some(record.key) <= below);
        !marked.any(|record| is_unread(record) && record.reads < ANSWERS_MAX)
    }

    /// Dense worlds capture nothing, and nobody replays anything, before all authorizations are registered again.
    pub fn waits_for_registrations(&self) -> bool {
        self.case.is_dense && self.broker.is_held_back()
    }

    /// The restore is over.
    pub fn let_go(&mut self) {
        self.log(|| "the restore is over".to_owned());
        self.restoring = None;
        self.has_changed();
    }
}

/// The copy, with everything that is open marked to be read first. An account that nobody has configured is
/// read when somebody does, which never happens here.
fn marked(mut copy: Tables, now: Timestamp) -> Tables {
    for record in copy.authorizations.values_mut().filter(|record| record.account.as_str() != "nobody") {
        let is_open = record.planned > 0 || record.in_flight > 0 || record.unresolved > 0 || record.waiting > 0;
        let has_room = !record.is_amount_known || record.captured.minor() < record.authorized.minor();
        let is_reported = record.watch.reported.is_some() && record.watch.reported == record.expires_at;
        if is_open || (record.single != SingleUse::Used && has_room && !is_reported) {
            let watch = &mut record.watch;
            (watch.restored, watch.at, watch.read_at) = (Some(Restored::Unread), Some(now), Some(now));
            record.reads = 0;
        }
    }
    copy.read_first_until = Some(clock::after(now, READ_FIRST_FOR));
    copy
}
