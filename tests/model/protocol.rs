//! The protocol as a model: what can happen next in a state, and what comes of it. What the core decides, the
//! core decides; the loops around it, the wire, the provider and everything that goes wrong are here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast::mutant::Mutant;
use stateright::{Model, Property};

use crate::action::{Action, fates};
use crate::ledgers::{Done, Ledgers, Next, Step};
use crate::promise::Promise;
use crate::provider::{Request, Said};
use crate::reach::Graph;
use crate::setup::{Expiry, Setup, Shared};
use crate::shortcut::Shortcut;
use crate::verdict;
use crate::world::{Call, Hand, Place, Sent, World};

/// A state by its number: the same state has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Number(pub u32);

/// The protocol in one configuration, with or without a shortcut. Copies share what they have seen.
#[derive(Clone)]
pub struct Protocol(Arc<Mutex<Explored>>);

/// Everything that was seen so far.
pub struct Explored {
    setup: Shared,
    shortcut: Option<Shortcut>,
    /// The ledgers.
    pub ledgers: Ledgers,
    worlds: Vec<World>,
    numbers: HashMap<World, u32, foldhash::fast::FixedState>,
    /// The steps between the states.
    pub graph: Graph,
}

impl Protocol {
    /// Nothing was seen.
    pub fn new(setup: Setup, shortcut: Option<Shortcut>) -> Self {
        let setup = Arc::new(setup);
        let ledgers = Ledgers::new(Arc::clone(&setup), shortcut);
        let mut explored = Explored {
            setup,
            shortcut,
            ledgers,
            worlds: Vec::new(),
            numbers: HashMap::default(),
            graph: Graph::default(),
        };
        let first = World::new(&explored.setup);
        explored.number(first);
        Self(Arc::new(Mutex::new(explored)))
    }

    /// What was seen so far.
    pub fn explored(&self) -> MutexGuard<'_, Explored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model for Protocol {
    type State = Number;
    type Action = Action;

    fn init_states(&self) -> Vec<Number> {
        vec![Number(0)]
    }

    fn actions(&self, state: &Number, actions: &mut Vec<Action>) {
        self.explored().actions(*state, actions);
    }

    fn next_state(&self, state: &Number, action: Action) -> Option<Number> {
        self.explored().next(*state, &action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! always {
            ($($promise:ident)*) => {
                vec![$(Property::always(Promise::$promise.words(), |model: &Self, state: &Number| {
                    model.explored().world(*state).broken != Some(Promise::$promise)
                })),*]
            };
        }
        always![S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 S12 S13 Core]
    }
}

impl Explored {
    /// A state.
    pub fn world(&self, number: Number) -> &World {
        &self.worlds[usize::try_from(number.0).expect("a number")]
    }

    /// Has everything come to its end?
    fn is_done(&self, world: &World) -> bool {
        let facts = self.ledgers.facts(world.ledger);
        let is_told = facts.written & !world.told == 0;
        facts.is_settled && is_told && world.queue.iter().all(|place| *place == Place::Acknowledged)
    }

    /// The number of a state, which is held against the promises when it is first seen.
    fn number(&mut self, mut world: World) -> Number {
        if let Some(known) = self.numbers.get(&world) {
            return Number(*known);
        }
        let next = u32::try_from(self.worlds.len()).expect("memory ends before");
        self.numbers.insert(world.clone(), next);
        world.broken = world.broken.or_else(|| verdict::of(&world, &self.setup, &self.ledgers));
        let is_done = self.is_done(&world);
        self.worlds.push(world);
        self.graph.add(is_done);
        Number(next)
    }

    fn actions(&self, state: Number, actions: &mut Vec<Action>) {
        let world = self.world(state);
        if world.broken.is_some() {
            return;
        }
        let (facts, setup) = (self.ledgers.facts(world.ledger), &self.setup);
        let is_free = world.hands.contains(&Hand::Free);
        if is_free {
            let ready = (0..world.queue.len()).filter(|number| world.queue[*number] == Place::Ready);
            actions.extend(ready.map(Action::Deliver));
            actions.extend((0..facts.due.len()).map(Action::Begin));
            let in_flight = facts.captures.iter().filter(|capture| capture.state.is_in_flight());
            actions.extend(in_flight.map(|capture| Action::TakeOver(capture.id)));
        }
        for (index, hand) in world.hands.iter().enumerate() {
            // What two hands have alike, one of them does.
            if index == 0 || world.hands[index - 1] != *hand {
                self.actions_of(world, index, hand, actions);
            }
        }
        for index in 0..world.flights.len() {
            actions.push(Action::LoseFlight(index));
            actions.extend(fates(setup, false).map(|fate| Action::Arrive(index, fate)));
        }
        for (number, row) in &facts.unpublished {
            let is_told = world.told & (1 << number) != 0;
            actions.push(if is_told { Action::Mark(*number, *row) } else { Action::Publish(*number) });
        }
        if world.replays > 0 {
            actions.extend((0..facts.letters.len()).map(Action::Replay));
        }
        if setup.expiry == Expiry::AnyTime && !world.hold.is_over {
            actions.push(Action::End);
        }
        if world.may_pass() {
            actions.push(Action::Pass);
        }
    }

    fn actions_of(&self, world: &World, index: usize, hand: &Hand, actions: &mut Vec<Action>) {
        if *hand != Hand::Free && world.crashes > 0 {
            actions.push(Action::Kill(index));
        }
        match hand {
            Hand::Free => {}
            Hand::Message(_) | Hand::Accepted(..) | Hand::Again(_) | Hand::Answered(..) | Hand::Read(..) => {
                actions.push(Action::Work(index));
            }
            Hand::Call(Call::Send(_, left)) => {
                if *left == 0 || world.flying() < self.setup.flights {
                    actions.push(Action::Work(index));
                }
            }
            Hand::Call(Call::Look(..) | Call::Freeze(..) | Call::Expiry(..)) => {
                actions.extend([Action::Work(index), Action::ReadFails(index)]);
            }
            Hand::Sent(_, on_its_way) => {
                actions.push(Action::GiveUp(index));
                if on_its_way.is_some() {
                    actions.push(Action::Lose(index));
                    actions.extend(fates(&self.setup, true).map(|fate| Action::Process(index, fate)));
                }
            }
        }
    }

    fn next(&mut self, state: Number, action: &Action) -> Option<Number> {
        let mut world = self.world(state).clone();
        self.act(&mut world, action)?;
        let next = self.number(world.sorted());
        if next == state {
            return None;
        }
        self.graph.link(state, next, action.is_fault());
        Some(next)
    }

    fn act(&mut self, world: &mut World, action: &Action) -> Option<()> {
        match action {
            Action::Deliver(number) => {
                let early = self.shortcut == Some(Mutant::AckEarly);
                world.queue[*number] = if early { Place::Acknowledged } else { Place::Delivered };
                put(world, Hand::Message(small(*number)));
            }
            Action::Work(index) => {
                let hand = std::mem::replace(&mut world.hands[*index], Hand::Free);
                let hand = self.work(world, hand);
                world.hands[*index] = hand;
            }
            Action::GiveUp(index) => {
                let Hand::Sent(sent, age) = world.hands[*index].clone() else { unreachable!("it waits") };
                world.flights.extend(age.map(|age| (sent.request, age)));
                world.hands[*index] = Hand::Free;
                let next = self.settle(world, sent, Said::Silence);
                world.hands[*index] = next;
            }
            Action::Process(index, fate) => {
                let Hand::Sent(sent, _) = world.hands[*index].clone() else { unreachable!("it waits") };
                let said = world.hold.capture(sent.request, fate.is_declined, &self.setup)?;
                world.hands[*index] =
                    if fate.is_answered { Hand::Answered(sent, said) } else { Hand::Sent(sent, None) };
            }
            Action::Arrive(index, fate) => {
                let (request, _) = world.flights.remove(*index);
                world.hold.capture(request, fate.is_declined, &self.setup)?;
            }
            Action::Lose(index) => {
                let Hand::Sent(sent, _) = world.hands[*index].clone() else { unreachable!("it waits") };
                world.hands[*index] = Hand::Sent(sent, None);
            }
            Action::LoseFlight(index) => {
                world.flights.remove(*index);
            }
            Action::ReadFails(index) => {
                let Hand::Call(call) = world.hands[*index].clone() else { unreachable!("it reads") };
                world.hands[*index] = Hand::Free;
                let next = self.settle_read(world, call, None);
                world.hands[*index] = next;
            }
            Action::Begin(index) => {
                let due = self.ledgers.facts(world.ledger).due[*index];
                let next = self.begin(world, &Step::Due(due));
                put(world, next);
            }
            Action::TakeOver(id) => {
                let next = self.step(world, &Step::Interrupted(*id));
                put(world, next);
            }
            Action::Publish(number) => world.told |= 1 << number,
            Action::Mark(_, row) => {
                self.step(world, &Step::Published(*row));
            }
            Action::Replay(index) => {
                world.replays -= 1;
                let letter = self.ledgers.facts(world.ledger).letters[*index];
                self.step(world, &Step::Replay(letter));
            }
            Action::Kill(index) => kill(world, *index),
            Action::End => world.hold.end(&self.setup),
            Action::Pass => {
                self.step(world, &Step::Pass);
                let setup = Arc::clone(&self.setup);
                world.pass(&setup);
            }
        }
        Some(())
    }

    /// A hand does what it has to do next, and has something else then.
    fn work(&mut self, world: &mut World, hand: Hand) -> Hand {
        match hand {
            Hand::Message(number) => match self.step(world, &Step::Accept(usize::from(number))) {
                Hand::Call(call) => Hand::Accepted(number, Some(call)),
                Hand::Free
                | Hand::Message(_)
                | Hand::Accepted(..)
                | Hand::Again(_)
                | Hand::Sent(..)
                | Hand::Answered(..)
                | Hand::Read(..) => Hand::Accepted(number, None),
            },
            Hand::Again(number) => self.step(world, &Step::Accept(usize::from(number))),
            Hand::Accepted(number, call) => {
                world.queue[usize::from(number)] = Place::Acknowledged;
                call.map_or(Hand::Free, Hand::Call)
            }
            Hand::Call(Call::Send(sent, 0)) => self.settle(world, sent, Said::NotSent),
            Hand::Call(Call::Send(sent, _)) => {
                world.broken = verdict::of_sending(self.ledgers.facts(world.ledger), sent.request);
                Hand::Sent(sent, Some(0))
            }
            Hand::Call(call) => Hand::Read(call, world.hold.view()),
            Hand::Answered(sent, Said::Used)
                if self.shortcut == Some(Mutant::NewKeyOnUsed) && sent.request.key == 0 =>
            {
                let request = Request { key: 1, ..sent.request };
                Hand::Call(Call::Send(Sent { request, ..sent }, 1))
            }
            Hand::Answered(sent, said) => self.settle(world, sent, said),
            Hand::Read(call, view) => self.settle_read(world, call, Some(view)),
            Hand::Free | Hand::Sent(..) => unreachable!("there is nothing to do"),
        }
    }

    fn settle(&mut self, world: &mut World, sent: Sent, said: Said) -> Hand {
        self.begin(world, &Step::Answered(sent.request, sent.is_current, said))
    }

    fn settle_read(&mut self, world: &mut World, call: Call, view: Option<crate::provider::View>) -> Hand {
        let step = match call {
            Call::Send(..) => unreachable!("it is no read"),
            Call::Look(capture, is_current, _) => Step::Looked(capture, is_current, view),
            Call::Freeze(is_current, _) => Step::Froze(is_current, view),
            Call::Expiry(is_current, _) => Step::Expired(is_current, view),
        };
        self.begin(world, &step)
    }

    /// A step that may begin a call. With the shortcut, the ledger answers before it commits.
    fn begin(&mut self, world: &mut World, step: &Step) -> Hand {
        let before = world.ledger;
        let hand = self.step(world, step);
        if self.shortcut == Some(Mutant::SendBeforeIntent) && matches!(hand, Hand::Call(Call::Send(..))) {
            world.ledger = before;
        }
        hand
    }

    /// What the core makes of a step, and what is in hand then.
    fn step(&mut self, world: &mut World, step: &Step) -> Hand {
        let Done { ledger, next, overtaken, reads_overtaken, broken } = self.ledgers.step(world.ledger, step);
        world.ledger = ledger;
        world.broken = broken;
        world.overtake(&overtaken, reads_overtaken);
        match next {
            None => Hand::Free,
            Some(Next::Send(request, left)) => Hand::Call(Call::Send(Sent { request, is_current: true }, left)),
            Some(Next::Look(capture)) => Hand::Call(Call::Look(capture, true, 0)),
            Some(Next::Freeze) => Hand::Call(Call::Freeze(true, 0)),
            Some(Next::Expiry) => Hand::Call(Call::Expiry(true, 0)),
            Some(Next::Again(number)) => Hand::Again(small(number)),
        }
    }
}

/// Puts something into a free hand.
fn put(world: &mut World, hand: Hand) {
    let free = world.hands.iter_mut().find(|hand| **hand == Hand::Free).expect("one is free");
    *free = hand;
}

/// A worker ends: what was not acknowledged comes again, what was sent is on its way.
fn kill(world: &mut World, index: usize) {
    world.crashes -= 1;
    match std::mem::replace(&mut world.hands[index], Hand::Free) {
        Hand::Message(number) | Hand::Accepted(number, _) => {
            let place = &mut world.queue[usize::from(number)];
            if *place == Place::Delivered {
                *place = Place::Ready;
            }
        }
        Hand::Sent(sent, Some(age)) => world.flights.push((sent.request, age)),
        Hand::Sent(_, None) | Hand::Free | Hand::Again(_) | Hand::Call(_) | Hand::Answered(..) | Hand::Read(..) => {}
    }
}

fn small(number: usize) -> u8 {
    u8::try_from(number).expect("a few messages")
}
