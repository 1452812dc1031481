//! What two ledgers must have in common to be the same to the core: every field that a rule reads, and no
//! other. Each record is taken apart completely, so that a new field does not compile until somebody has
//! decided whether it counts.
//!
//! Keys are left out (one order, one hold; records stand in the order of acceptance, which is what the rules
//! sort by), instants are told from now in steps, epochs are equal to a ticket's or not, counts that only
//! lengthen a wait are gone with the waits. What is for people only is left out too.

use std::time::Duration;

use holdfast::capture::dead_letter::{DeadLetter, DeadLetterState};
use holdfast::capture::event::{Event, FailureReason};
use holdfast::capture::evidence::{ProviderBalance, RefusalReason};
use holdfast::capture::records::{
    AmountMode, Authorization, Capture, CaptureProgress, ForeignStanding, Kept, NamedBy, Order, Shipment, SingleUse,
    Watch,
};
use holdfast::capture::states::{CaptureState, ShipmentState};
use holdfast::clock::{Moment, Timestamp};
use holdfast::ledger::memory::Tables;
use holdfast::money::Money;

use crate::setup::TICK;

/// An instant this many steps ago is as long ago as any: every rule looks back over fewer.
const LONG_AGO: i64 = -4;
/// An instant this many steps ahead is as far ahead as any.
const FAR_AHEAD: i64 = 12;
const NONE: i64 = i64::MIN;

/// What counts of a ledger.
pub fn canon(tables: &Tables, now: Moment) -> Vec<i64> {
    let mut canon = Canon { now, out: Vec::with_capacity(160) };
    for order in tables.orders.values() {
        canon.order(order);
    }
    for authorization in tables.authorizations.values() {
        canon.authorization(authorization);
    }
    for shipment in tables.shipments.values() {
        canon.shipment(shipment, tables);
    }
    for capture in tables.captures.values() {
        canon.capture(capture, tables);
    }
    for kept in tables.kept.values() {
        canon.kept(kept);
    }
    let mut letters: Vec<&DeadLetter> = tables.dead_letters.values().collect();
    letters.sort_by_key(|letter| letter.id);
    for letter in letters {
        canon.letter(letter);
    }
    let is_unpublished = |row| i64::from(tables.unpublished.contains_key(row));
    let event = |(row, (event, _)): (_, &(Event, _))| (head(event.id.as_uuid().as_bytes()), is_unpublished(row));
    let mut events: Vec<(i64, i64)> = tables.events.iter().map(event).collect();
    events.sort_unstable();
    canon.out.extend(events.into_iter().flat_map(|(id, is_unpublished)| [id, is_unpublished]));
    canon.out
}

struct Canon {
    now: Moment,
    out: Vec<i64>,
}

impl Canon {
    fn order(&mut self, order: &Order) {
        let Order {
            key: _,
            id: _,
            mode,
            plan,
            progress,
            is_cancelled,
            is_closed,
            closes_at,
            stored,
            captured,
            open,
            fees,
            refund_revision,
            newest_authorization,
            final_at,
            awaiting,
            kept,
            sequence: _,
        } = order;
        self.put(mode.map_or(NONE, |mode| i64::from(mode == AmountMode::Planned)));
        self.put(plan.as_ref().map_or(NONE, |plan| i64::from(plan.revision())));
        for line in progress {
            self.put(line.shipped.millionths());
            self.put(line.cancelled.millionths());
        }
        self.put(i64::from(*is_cancelled) + 2 * i64::from(*is_closed));
        self.at(*closes_at);
        self.out.extend([*stored, *captured]);
        self.out.extend([*open, *fees, *refund_revision, *awaiting, *kept].map(i64::from));
        self.put(i64::from(newest_authorization.is_some()));
        self.at(*final_at);
    }

    fn authorization(&mut self, authorization: &Authorization) {
        let Authorization {
            key: _,
            account: _,
            reference: _,
            order: _,
            currency: _,
            authorized,
            is_amount_known,
            captured,
            reserved,
            excess,
            expires_at,
            expiry_is_derived,
            planned,
            // No account has caps.
            held: _,
            in_flight,
            unresolved,
            waiting,
            waiting_amount,
            single,
            freeze_at,
            // Of what is looked at again at once, how often does not count.
            reads: _,
            ask,
            epoch: _,
            provider,
            watch,
        } = authorization;
        self.out.extend([*authorized, *captured, *reserved, *excess, *waiting_amount].map(Money::minor));
        self.out.extend([*planned, *in_flight, *unresolved, *waiting].map(i64::from));
        self.out.extend([*is_amount_known, *expiry_is_derived].map(i64::from));
        self.at(*expires_at);
        self.at(*freeze_at);
        self.put(match single {
            SingleUse::Free => 0,
            SingleUse::Undecided => 1,
            SingleUse::Used => 2,
        });
        assert_eq!(*ask, None, "everything is told");
        let ProviderBalance { captured, voided, remaining, expires_at } = provider;
        for amount in [captured, voided, remaining] {
            self.put(amount.map_or(NONE, Money::minor));
        }
        self.at(*expires_at);
        self.watch(watch);
    }

    fn watch(&mut self, watch: &Watch) {
        let Watch { at, lead_at, read_at, leads, reported, foreign, restored, over } = watch;
        assert!(leads.is_empty() && lead_at.is_none() && restored.is_none(), "not a part of this model");
        for instant in [at, read_at, reported, over] {
            self.at(*instant);
        }
        self.at(foreign.map(|foreign| foreign.since));
        self.put(foreign.map_or(NONE, |foreign| foreign.amount.minor()));
        self.put(foreign.map_or(NONE, |foreign| place(&ForeignStanding::ALL, &foreign.standing)));
    }

    fn shipment(&mut self, shipment: &Shipment, tables: &Tables) {
        let Shipment {
            key: _,
            order: _,
            id,
            generation,
            content,
            state,
            awaits: _,
            says_final,
            lines: _,
            amount,
            authorization,
            capture,
            reason,
            accepted_at: _,
            due_at,
            caused_by: _,
            message,
        } = shipment;
        self.put(i64::from(id.as_str().bytes().next_back().unwrap_or_default()));
        self.put(i64::from(*generation));
        self.put(head(content));
        self.put(place(&ShipmentState::ALL, state));
        self.out.extend([*says_final, message.is_some(), authorization.is_some()].map(i64::from));
        self.put(amount.map_or(NONE, Money::minor));
        let number = |key| tables.captures.keys().position(|known| *known == key);
        self.put(capture.and_then(number).map_or(NONE, whole));
        self.put(reason.map_or(NONE, |reason| place(&FailureReason::ALL, &reason)));
        self.at(*due_at);
    }

    fn capture(&mut self, capture: &Capture, tables: &Tables) {
        let Capture {
            key: _,
            // It follows from what it is named after.
            id: _,
            authorization: _,
            order: _,
            named_by,
            kind: _,
            generation,
            amount,
            state,
            planned_at: _,
            due_at,
            waits_turn,
            capped: _,
            counted_at: _,
            progress,
            resolved_by: _,
            provider_reference: _,
            settled_at: _,
            corrected_at,
        } = capture;
        let number = |shipment| tables.shipments.keys().position(|known| known == shipment).map_or(NONE, whole);
        self.put(match named_by {
            NamedBy::Shipment(shipment) => number(shipment),
            NamedBy::Fee(fee) => -1 - i64::from(fee.number),
        });
        self.put(i64::from(*generation));
        self.put(amount.minor());
        self.put(place(&CaptureState::ALL, state));
        self.out.extend([*waits_turn, corrected_at.is_some()].map(i64::from));
        self.at(*due_at);
        // Whether it was ever begun, at its end too: a request may be on its way still.
        self.put(i64::from(progress.attempts.min(1)));
        if !state.is_terminal() {
            self.progress(progress);
        }
    }

    fn progress(&mut self, progress: &CaptureProgress) {
        let CaptureProgress {
            // Above.
            attempts: _,
            epoch: _,
            doubtful,
            failures: _,
            looks: _,
            window_from,
            send_by,
            // While it counts, it is what the capture is due at, less a constant.
            look_begun: _,
            doubt_since: _,
            is_pending,
            refused,
            terminal_seen_at,
            left_open: _,
            since: _,
            last_seen: _,
        } = progress;
        // Whether, and not how often.
        self.put(i64::from((*doubtful).min(1)));
        self.put(i64::from(*is_pending));
        self.at(window_from.map(|mark| mark.wall));
        let boot = window_from.map(|mark| self.now.since(mark).expect("no clock is stepped here"));
        self.put(boot.map_or(NONE, |passed| steps(passed).min(-LONG_AGO)));
        self.at(send_by.map(|mark| mark.wall));
        self.at(terminal_seen_at.map(|mark| mark.wall));
        let refused = refused.as_ref();
        self.put(refused.map_or(NONE, |refusal| place(&RefusalReason::ALL, &refusal.reason)));
        self.put(refused.map_or(NONE, |refusal| i64::from(refusal.read_first)));
    }

    fn kept(&mut self, kept: &Kept) {
        let Kept { key: _, order: _, body_sha256, kept_at: _, due_at, message: _ } = kept;
        self.put(head(body_sha256));
        self.at(*due_at);
    }

    fn letter(&mut self, letter: &DeadLetter) {
        // How often it was seen, and all its words, are for people.
        self.put(head(letter.id.as_uuid().as_bytes()));
        self.put(place(&DeadLetterState::ALL, &letter.state));
        self.put(i64::from(letter.generation));
    }

    fn put(&mut self, value: i64) {
        self.out.push(value);
    }

    fn at(&mut self, instant: Option<Timestamp>) {
        let from_now = |at: Timestamp| {
            let ahead = (at - self.now.wall).to_std();
            let ago = (self.now.wall - at).to_std().unwrap_or_default();
            ahead.map_or_else(|_| (-steps(ago)).max(LONG_AGO), |ahead| steps(ahead).min(FAR_AHEAD))
        };
        let value = instant.map_or(NONE, from_now);
        self.put(value);
    }
}

/// Whole steps: nothing here lies between two.
fn steps(span: Duration) -> i64 {
    assert_eq!(span.as_secs() % TICK.as_secs(), 0, "everything happens at a step");
    i64::try_from(span.as_secs() / TICK.as_secs()).expect("some years")
}

fn place<T: PartialEq>(all: &[T], one: &T) -> i64 {
    all.iter().position(|known| known == one).map(whole).expect("all are all")
}

/// Enough of a hash to tell it from others.
fn head(hash: &[u8]) -> i64 {
    i64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"))
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).expect("a few")
}
