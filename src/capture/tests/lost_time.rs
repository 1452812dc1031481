//! What happened in the time that a restore has lost, played through with a provider that has books: whatever comes
//! again, and whatever is tried again, each is captured once, and an order comes to its total.

use std::collections::{BTreeMap, BTreeSet};

use crate::capture::decide::{Call, Command, Note, Reply, Ticket};
use crate::capture::event::{EventContent, FailureReason};
use crate::capture::evidence::{
    Answer, AuthorizationView, CaptureProof, DoubtKind, ProviderBalance, Reading, RefusalReason,
};
use crate::capture::notice::{AuthorizationFacts, PlanFacts, ShippingPolicy};
use crate::capture::policy::Policy;
use crate::capture::records::JobKey;
use crate::capture::tests::republishing::with_minimum;
use crate::capture::tests::restoring::{id_in, now, restore};
use crate::capture::tests::support::*;
use crate::ids::CaptureId;
use crate::ledger::memory::Tables;
use crate::money::Money;

/// A world, and a provider that answers in it.
pub(super) struct Lived {
    pub(super) world: World,
    /// What was captured on each authorization of 100.00, by key.
    captured: BTreeMap<&'static str, Vec<(CaptureId, i64)>>,
    pub(super) declines: bool,
    pub(super) unreadable: BTreeSet<&'static str>,
}

impl Lived {
    pub(super) fn new() -> Self {
        Self::with(policy())
    }

    pub(super) fn with(policy: Policy) -> Self {
        let captured = ["r", "r2"].map(|name| (name, Vec::new())).into();
        Self { world: World::with(policy), captured, declines: false, unreadable: BTreeSet::new() }
    }

    /// It was captured in the lost time.
    pub(super) fn lost(&mut self, authorization: &'static str, id: CaptureId, minor: i64) {
        self.captured.get_mut(authorization).expect("it is known").push((id, minor));
    }

    pub(super) fn restore(&mut self, backup: Tables) {
        restore(&mut self.world, backup);
    }

    pub(super) fn on(&self, authorization: &str) -> i64 {
        self.captured[authorization].iter().map(|(_, minor)| minor).sum()
    }

    /// What was captured in all.
    pub(super) fn total(&self) -> i64 {
        self.captured.keys().map(|name| self.on(name)).sum()
    }

    fn balance(&self, authorization: &str) -> ProviderBalance {
        let captured = self.on(authorization);
        let (captured, remaining) = (Some(gel(captured)), Some(gel(10_000 - captured)));
        ProviderBalance { captured, remaining, ..ProviderBalance::default() }
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Ticket> {
        let name = *self.captured.keys().find(|name| ticket.reference.as_str() == **name).expect("it is known");
        let Call::Send { id, amount, .. } = ticket.call else {
            let captures = self.captured[name].iter().map(|(id, minor)| shown(Some(*id), gel(*minor))).collect();
            let view = AuthorizationView { balance: self.balance(name), captures, ..view(10_000) };
            let is_readable = !self.unreadable.contains(name);
            let reading = if is_readable { seen(view) } else { Reading::Unclear(doubt(DoubtKind::Unreadable)) };
            return self.world.show(Some(ticket), reading).ticket;
        };
        let known = self.captured[name].iter().find(|(known, _)| *known == id).map(|(_, minor)| gel(*minor));
        if known.is_none() && self.declines {
            return self.world.answer(Some(ticket), Answer::Refused(refusal(RefusalReason::Declined))).ticket;
        }
        if known.is_none() {
            self.lost(name, id, amount.minor());
        }
        let amount = Some(known.unwrap_or(amount));
        let proof = CaptureProof { amount, provider_reference: None, balance: self.balance(name) };
        self.world.answer(Some(ticket), Answer::Captured(proof)).ticket
    }

    fn finish(&mut self, reply: Reply) {
        let mut ticket = reply.ticket;
        while let Some(next) = ticket {
            ticket = self.answer(next);
        }
    }

    /// Does what is due, and what follows from that.
    pub(super) fn go_on(&mut self) {
        for _ in 0..20 {
            let replies = self.world.do_due();
            let is_over = replies.iter().all(|reply| reply.ticket.is_none() && reply.note == Note::Nothing);
            for reply in replies {
                self.finish(reply);
            }
            if is_over {
                return;
            }
        }
    }

    pub(super) fn take(&mut self, message: Command) {
        let reply = self.world.receive(message);
        self.finish(reply);
        self.go_on();
    }

    /// The provider declines what comes of this message.
    pub(super) fn decline(&mut self, message: Command) {
        self.declines = true;
        self.take(message);
        self.declines = false;
    }

    /// The worker starts again, and its settings lack the account.
    pub(super) fn restart_without_account(&mut self) {
        let mut without = policy();
        without.accounts.remove(&account(OFTEN));
        self.world.restart_with(without);
    }

    pub(super) fn replay(&mut self, shipment: &str) {
        let reply = self.world.replay(shipment, 0);
        self.finish(reply);
        self.go_on();
    }

    pub(super) fn wait(&mut self, hours: u32) {
        for _ in 0..hours {
            self.world.clock.advance(HOUR);
            self.go_on();
        }
    }

    /// Reasons, and whether money may have moved.
    pub(super) fn failures(&mut self) -> Vec<(FailureReason, bool)> {
        let mut failures = Vec::new();
        for event in self.world.news() {
            if let EventContent::Failed(_, failure) = event.content {
                failures.push((failure.reason, failure.money_may_have_moved));
            }
        }
        failures
    }
}

pub(super) fn on(name: &str) -> AuthorizationFacts {
    authorized(OFTEN, name, 10_000)
}

pub(super) fn id_on(on: &str, shipment: &str, generation: u32) -> CaptureId {
    CaptureId::of_shipment(&account(OFTEN), &reference(on), &order_id("o"), &shipment_id(shipment), generation)
}

fn fee_on(on: &str, number: u32, generation: u32) -> CaptureId {
    CaptureId::of_fee(&account(OFTEN), &reference(on), &order_id("o"), number, generation)
}

/// One of two units at 5.00, and 5.00 for the delivery.
pub(super) fn one_of_two() -> Draft {
    draft("o", "s1").line("l1", 1).plan(plan(&[("l1", 2, "10.00")], "5.00", "15.00")).on(on("r"))
}

#[test]
fn what_was_open_in_the_backup_and_captured_in_a_replay_is_not_sent() {
    for is_sent in [false, true] {
        for later in ["r", "r2"] {
            let mut lived = Lived::new();
            lived.take(registration("o", on("r2"), None));
            lived.world.receive(draft("o", "s1").amount("20.00").on(on("r")).no_permit().command());
            if is_sent {
                let reply = lived.world.do_due().into_iter().find(|reply| reply.ticket.is_some()).expect("it is sent");
                lived.world.answer(reply.ticket, Answer::Doubt(doubt(DoubtKind::Timeout)));
            }
            let backup = now(&lived.world);
            lived.lost(later, id_on(later, "s1", 1), 2_000);
            lived.restore(backup);
            lived.go_on();
            lived.wait(30);
            assert_eq!((lived.total(), lived.on(later)), (2_000, 2_000), "{is_sent} {later}");
            assert_eq!(lived.failures().first(), Some(&(FailureReason::Declined, true)), "{is_sent} {later}");
            lived.replay("s1");
            assert_eq!((lived.total(), lived.world.balance(later)), (2_000, (10_000, 2_000, 0)), "a replay books it");
        }
    }
}

#[test]
fn what_was_captured_in_a_replay_takes_no_room_twice() {
    let mut lived = Lived::new();
    for (shipment, amount) in [("s1", "20.00"), ("s2", "70.00")] {
        lived.world.receive(draft("o", shipment).amount(amount).on(on("r")).no_permit().command());
    }
    let backup = now(&lived.world);
    lived.lost("r", id_on("r", "s1", 1), 2_000);
    lived.restore(backup);
    lived.go_on();
    lived.wait(30);
    assert_eq!(lived.total(), 9_000, "once in the lost time, and the other one now");
}

#[test]
fn a_fee_that_was_planned_in_the_backup_and_captured_in_a_replay_is_not_sent() {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    lived.world.receive(cancellation("o", &[("l1", 1)]));
    let backup = now(&lived.world);
    lived.lost("r", fee_on("r", 1, 1), 250);
    lived.restore(backup);
    lived.go_on();
    lived.wait(30);
    assert_eq!(lived.total(), 1_000);
}

#[test]
fn what_was_captured_together_is_found_where_a_newer_authorization_is_registered_first() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    for (shipment, amount) in [("s1", "20.00"), ("s2", "25.00")] {
        lived.take(draft("o", shipment).amount(amount).command());
    }
    assert_eq!(lived.on("r"), 4_500, "together; then the order was authorized anew");
    lived.restore(backup);
    lived.take(registration("o", on("r2"), None));
    for (shipment, amount) in [("s1", "20.00"), ("s2", "25.00"), ("s3", "15.00")] {
        lived.take(draft("o", shipment).amount(amount).command());
    }
    lived.wait(30);
    assert_eq!(lived.total(), 4_500, "what is new is too little by itself");
    assert_eq!(lived.world.shipment("s1").capture, lived.world.shipment("s2").capture);
}

/// Restored to before what the order owes was captured on "r".
fn fee_of_the_lost_time() -> Lived {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    let backup = now(&lived.world);
    lived.lost("r", fee_on("r", 1, 0), 250);
    lived.restore(backup);
    lived
}

#[test]
fn a_fee_is_recognised_on_an_authorization_before_the_newest() {
    let mut lived = fee_of_the_lost_time();
    lived.take(registration("o", on("r2"), None));
    lived.take(cancellation("o", &[("l1", 1)]));
    lived.wait(3);
    assert_eq!((lived.total(), lived.world.balance("r")), (1_000, (10_000, 1_000, 0)));
}

#[test]
fn a_fee_waits_for_the_read_of_every_authorization_of_its_order() {
    let mut lived = fee_of_the_lost_time();
    lived.unreadable.insert("r");
    lived.take(registration("o", on("r2"), None));
    lived.take(cancellation("o", &[("l1", 1)]));
    lived.unreadable.clear();
    lived.wait(3);
    assert_eq!((lived.total(), lived.world.balance("r")), (1_000, (10_000, 1_000, 0)));
}

#[test]
fn a_fee_that_is_replayed_is_recognised_there_too() {
    let mut lived = Lived::new();
    lived.take(one_of_two().command());
    lived.decline(cancellation("o", &[("l1", 1)]));
    let (backup, letter) = (now(&lived.world), lived.world.letter_for("declined").id);
    lived.lost("r", fee_on("r", 1, 1), 250);
    lived.restore(backup);
    lived.take(registration("o", on("r2"), None));
    let reply = lived.world.replay_for(letter, JobKey::new(1));
    lived.finish(reply);
    lived.go_on();
    assert_eq!((lived.total(), lived.world.balance("r")), (1_000, (10_000, 1_000, 0)));
}

#[test]
fn what_was_replayed_on_another_authorization_than_its_notice_names_is_recognised() {
    let mut lived = Lived::new();
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    lived.lost("r2", id_on("r2", "s1", 1), 2_000);
    lived.restore(backup);
    lived.unreadable.insert("r2");
    lived.world.receive(registration("o", on("r2"), None));
    let notice = || draft("o", "s1").amount("20.00").on(on("r")).command();
    lived.take(notice());
    assert_eq!(lived.total(), 2_000, "it waits for the read of the other one");
    lived.unreadable.clear();
    lived.wait(1);
    lived.take(notice());
    assert_eq!((lived.total(), lived.world.balance("r2")), (2_000, (10_000, 2_000, 0)));
}

#[test]
fn what_had_no_amount_and_was_replayed_is_recognised_on_any_of_its_order() {
    let mut lived = Lived::new();
    lived.take(draft("o", "s1").line("l1", 1).on(on("r")).command());
    lived.wait(25);
    assert_eq!(lived.world.shipment("s1").reason, Some(FailureReason::UnknownPlan));
    let backup = now(&lived.world);
    lived.lost("r", id_on("r", "s1", 1), 10_000);
    lived.restore(backup);
    lived.take(registration("o", on("r"), Some(plan(&[("l1", 1, "100.00")], "0", "100.00"))));
    lived.take(registration("o", on("r2"), None));
    lived.replay("s1");
    assert_eq!(
        (lived.total(), lived.world.balance("r")),
        (10_000, (10_000, 10_000, 0)),
        "whether there is room or not"
    );
}

#[test]
fn a_batch_that_was_replayed_is_recognised_by_any_of_its_letters() {
    for letter in ["s2", "s1"] {
        let mut lived = Lived::with(with_minimum("30.00"));
        lived.declines = true;
        lived.take(draft("o", "s1").amount("20.00").on(on("r")).command());
        lived.take(draft("o", "s2").amount("25.00").on(on("r")).command());
        lived.declines = false;
        let backup = now(&lived.world);
        lived.lost("r", id_in("s2", 1), 4_500);
        lived.restore(backup);
        lived.take(registration("o", on("r2"), None));
        lived.replay(letter);
        assert_eq!((lived.total(), lived.world.balance("r")), (4_500, (10_000, 4_500, 0)), "{letter}");
    }
}

#[test]
fn nothing_is_replayed_before_the_read() {
    let mut lived = Lived::new();
    lived.decline(draft("o", "s1").amount("20.00").on(on("r")).command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 2), 2_000);
    lived.restore(backup);
    lived.unreadable.insert("r");
    lived.replay("s1");
    lived.wait(1);
    lived.replay("s1");
    assert_eq!(lived.total(), 2_000, "however often it cannot be read");
    lived.unreadable.clear();
    lived.wait(3);
    lived.replay("s1");
    assert_eq!((lived.total(), lived.world.balance("r")), (2_000, (10_000, 2_000, 0)));
}

#[test]
fn what_two_revisions_have_left_owing_is_captured_beside_what_was_found() {
    for is_second_found in [false, true] {
        let mut lived = Lived::new();
        let revised = |revision, total: &str| PlanFacts { revision, ..plan(&[("l1", 1, total)], "0", total) };
        lived.take(draft("o", "s1").line("l1", 1).plan(revised(1, "10.00")).on(on("r")).command());
        let backup = now(&lived.world);
        lived.lost("r", fee_on("r", 1, 0), 200);
        if is_second_found {
            lived.lost("r", fee_on("r", 2, 0), 300);
        }
        lived.restore(backup);
        lived.world.receive(registration("o", on("r"), Some(revised(2, "12.00"))));
        lived.world.receive(registration("o", on("r"), Some(revised(3, "15.00"))));
        lived.go_on();
        lived.wait(30);
        assert_eq!((lived.total(), lived.world.balance("r")), (1_500, (10_000, 1_500, 0)), "{is_second_found}");
    }
}

#[test]
fn what_failed_and_was_captured_in_a_replay_leaves_the_others_their_part_of_the_plan() {
    let mut lived = Lived::new();
    let whole = plan(&[("l1", 1, "80.00"), ("l2", 1, "10.00"), ("l3", 1, "10.00")], "0", "100.00");
    lived.decline(draft("o", "s1").line("l1", 1).plan(whole).on(on("r")).command());
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 1), 8_000);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s2").line("l2", 1).command());
    assert_eq!((lived.total(), lived.world.shipment("s2").amount), (9_000, Some(gel(1_000))));
}

#[test]
fn what_an_order_owes_is_not_forgotten_while_it_waits_for_a_read() {
    let mut lived = Lived::new();
    lived.take(one_of_two().last().command());
    let backup = now(&lived.world);
    lived.restore(backup);
    lived.world.receive(cancellation("o", &[("l1", 1)]));
    lived.world.receive(one_of_two().last().command());
    lived.go_on();
    lived.wait(30);
    assert_eq!(lived.total(), 1_000, "though its notice came once more");

    let whole = PlanFacts { shipping_policy: ShippingPolicy::Last, ..plan(&[("l1", 2, "10.00")], "5.00", "15.00") };
    let mut lived = Lived::new();
    lived.take(registration("o", on("r"), Some(whole)));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s1", 0), 500);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s2").line("l1", 1).on(on("r")).command());
    lived.unreadable.insert("r2");
    lived.world.receive(registration("o", on("r2"), None));
    lived.take(draft("o", "s1").line("l1", 1).on(on("r")).last().command());
    lived.unreadable.clear();
    lived.wait(30);
    assert_eq!(lived.total(), 1_500, "though its newest authorization was unread when it was complete");
}

#[test]
fn a_refusal_says_that_money_may_have_moved_while_another_authorization_of_its_order_cannot_be_read() {
    let mut lived = Lived::new();
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    lived.lost("r", id_on("r", "s1", 0), 2_000);
    lived.restore(backup);
    lived.unreadable.insert("r");
    lived.declines = true;
    lived.take(registration("o", on("r2"), None));
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.wait(30);
    assert_eq!(lived.failures(), [(FailureReason::Declined, true)]);
}

#[test]
fn what_was_replayed_together_has_one_generation() {
    let mut lived = Lived::with(with_minimum("30.00"));
    lived.take(registration("o", on("r"), None));
    let backup = now(&lived.world);
    lived.lost("r", id_in("s2", 1), 4_500);
    lived.restore(backup);
    lived.go_on();
    lived.take(draft("o", "s1").amount("20.00").command());
    lived.take(draft("o", "s2").amount("25.00").command());
    let generations = ["s1", "s2"].map(|shipment| lived.world.shipment(shipment).generation);
    assert_eq!(generations, [1, 1], "as their events of that day");
}

#[test]
fn a_cancellation_does_not_refuse_what_waits_for_the_read() {
    for is_found in [true, false] {
        let mut lived = Lived::new();
        lived.take(draft("o", "s0").amount("5.00").on(on("r")).command());
        let backup = now(&lived.world);
        if is_found {
            lived.lost("r", id_in("s1", 0), 2_000);
        }
        lived.restore(backup);
        lived.world.receive(draft("o", "s1").amount("20.00").command());
        lived.world.receive(cancellation("o", &[]));
        lived.go_on();
        lived.wait(2);
        assert_eq!((lived.total(), lived.world.shipment("s1").reason), (2_500, None), "{is_found}");
        let after = lived.world.receive(draft("o", "s2").amount("1.00").command());
        assert_eq!(after.note, Note::Refused(FailureReason::OrderCancelled), "what comes after it is refused");
    }
}

#[test]
fn an_amount_that_the_currency_of_where_it_was_captured_does_not_have_is_refused() {
    let mut lived = Lived::new();
    let yen = |minor| Money::from_minor(minor, currency("JPY")).expect("it is positive");
    let facts = AuthorizationFacts { currency: currency("JPY"), amount: Some(yen(10_000)), ..on("r") };
    lived.take(registration("o", facts, None));
    let backup = now(&lived.world);
    lived.restore(backup);
    let ticket = lived.world.due_call();
    let (captured, remaining) = (Some(yen(20)), Some(yen(9_980)));
    let shown = AuthorizationView {
        currency: currency("JPY"),
        authorized: Some(yen(10_000)),
        balance: ProviderBalance { captured, remaining, ..ProviderBalance::default() },
        captures: vec![shown(Some(id_on("r", "s1", 0)), yen(20))],
        ..view(10_000)
    };
    lived.world.show(ticket, seen(shown));
    lived.take(registration("o", on("r2"), None));
    lived.take(draft("o", "s1").amount("20.5").command());
    assert_eq!(lived.failures(), [(FailureReason::CurrencyMismatch, true)]);
}
