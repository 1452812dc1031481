//! A state of the model: a ledger, what workers have in hand, what is on the wire, the provider's book, and
//! what a consumer was told.

use holdfast::ids::CaptureId;

use crate::promise::Promise;
use crate::provider::{Hold, Request, Said, View};
use crate::setup::Setup;

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The number of its ledger.
    pub ledger: u32,
    /// Where each message is.
    pub queue: Vec<Place>,
    /// What workers have in hand, sorted: no hand is another's better.
    pub hands: Vec<Hand>,
    /// Requests that nobody waits for any more, and since how many steps they are on their way; sorted.
    pub flights: Vec<(Request, u8)>,
    /// The provider's book.
    pub hold: Hold,
    /// What a consumer was told, as bits of the model's outcomes.
    pub told: u32,
    /// How often a worker may still be killed.
    pub crashes: u8,
    /// How many dead letters may still be replayed.
    pub replays: u8,
    /// What this state broke.
    pub broken: Option<Promise>,
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the queue.
    Ready,
    /// With a worker.
    Delivered,
    /// Acknowledged.
    Acknowledged,
}

/// What a worker has in hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hand {
    /// Nothing.
    Free,
    /// A message that is not in the ledger yet.
    Message(u8),
    /// A message that is, and a call that was begun with it.
    Accepted(u8, Option<Call>),
    /// A message that was kept, and is looked at again.
    Again(u8),
    /// A call that may be made.
    Call(Call),
    /// A request that is out, and since when it is on its way, where it still is.
    Sent(Sent, Option<u8>),
    /// A request that came to something.
    Answered(Sent, Said),
    /// A read that came to something.
    Read(Call, View),
}

/// A provider call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// To send a request, while steps are left; always, where there is no end to them.
    Send(Sent, u32),
    /// To look at a capture, begun so many steps ago.
    Look(CaptureId, bool, u8),
    /// To read before the single capture.
    Freeze(bool, u8),
    /// To read what became of it.
    Expiry(bool, u8),
}

/// A request, and whether its epoch is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sent {
    /// The request.
    pub request: Request,
    /// Has nobody begun anything about the capture since?
    pub is_current: bool,
}

/// A read that the books still wait for is settled at most so many steps after it was begun. Longer ones are
/// overtaken by others first.
const READ_WITHIN: u8 = 2;

impl World {
    /// The first state.
    pub fn new(setup: &Setup) -> Self {
        let place = |number| if number < setup.given { Place::Acknowledged } else { Place::Ready };
        Self {
            ledger: 0,
            queue: (0..setup.messages.len()).map(place).collect(),
            hands: vec![Hand::Free; setup.hands],
            flights: Vec::new(),
            hold: Hold::new(setup),
            told: 0,
            crashes: setup.crashes,
            replays: setup.replays,
            broken: None,
        }
    }

    /// The same state, with its hands and flights in order.
    pub fn sorted(mut self) -> Self {
        self.hands.sort_unstable();
        self.flights.sort_unstable();
        self
    }

    /// How many requests are on their way.
    pub fn flying(&self) -> usize {
        self.flights.len() + self.hands.iter().filter(|hand| matches!(hand, Hand::Sent(_, Some(_)))).count()
    }

    /// May a step of time pass? Everything that was sent arrives in the step in which it was, or in the next:
    /// that is what the core's `quiet` counts on.
    pub fn may_pass(&self) -> bool {
        let is_late = |age: &u8| *age > 0;
        let flies = self.flights.iter().any(|(_, age)| is_late(age));
        !flies
            && !self.hands.iter().any(|hand| match hand {
                Hand::Sent(_, age) => age.as_ref().is_some_and(is_late),
                Hand::Call(call) | Hand::Read(call, _) | Hand::Accepted(_, Some(call)) => call.is_slow_read(),
                Hand::Free | Hand::Message(_) | Hand::Accepted(_, None) | Hand::Again(_) | Hand::Answered(..) => false,
            })
    }

    /// A step of time passes.
    pub fn pass(&mut self, setup: &Setup) {
        self.hold.pass(setup);
        self.flights.iter_mut().for_each(|(_, age)| *age += 1);
        for hand in &mut self.hands {
            match hand {
                Hand::Sent(_, Some(age)) => *age += 1,
                Hand::Call(call) | Hand::Read(call, _) | Hand::Accepted(_, Some(call)) => call.pass(),
                Hand::Free
                | Hand::Message(_)
                | Hand::Accepted(_, None)
                | Hand::Again(_)
                | Hand::Sent(_, None)
                | Hand::Answered(..) => {}
            }
        }
    }

    /// Epochs have risen: what was begun under the one before is of an earlier one.
    pub fn overtake(&mut self, captures: &[CaptureId], reads: bool) {
        for hand in &mut self.hands {
            match hand {
                Hand::Sent(sent, _) | Hand::Answered(sent, _) => sent.overtake(captures),
                Hand::Call(call) | Hand::Read(call, _) | Hand::Accepted(_, Some(call)) => {
                    call.overtake(captures, reads);
                }
                Hand::Free | Hand::Message(_) | Hand::Accepted(_, None) | Hand::Again(_) => {}
            }
        }
    }
}

impl Sent {
    fn overtake(&mut self, captures: &[CaptureId]) {
        self.is_current &= !captures.contains(&self.request.capture);
    }
}

impl Call {
    const fn is_slow_read(&self) -> bool {
        match self {
            Self::Send(..) => false,
            Self::Look(_, is_current, age) | Self::Freeze(is_current, age) | Self::Expiry(is_current, age) => {
                *is_current && *age >= READ_WITHIN
            }
        }
    }

    fn pass(&mut self) {
        match self {
            // What has no end has none.
            Self::Send(_, u32::MAX) => {}
            Self::Send(_, left) => *left = left.saturating_sub(1),
            Self::Look(_, is_current, age) | Self::Freeze(is_current, age) | Self::Expiry(is_current, age) => {
                *age += u8::from(*is_current);
            }
        }
    }

    fn overtake(&mut self, captures: &[CaptureId], reads: bool) {
        match self {
            Self::Send(sent, _) => sent.overtake(captures),
            Self::Look(capture, is_current, age) if captures.contains(capture) => (*is_current, *age) = (false, 0),
            Self::Freeze(is_current, age) | Self::Expiry(is_current, age) if reads => (*is_current, *age) = (false, 0),
            Self::Look(..) | Self::Freeze(..) | Self::Expiry(..) => {}
        }
    }
}
