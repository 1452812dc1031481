//! The queue of shipment notices: at least once, in any order.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;

use crate::scenario::Message;

/// A queue with any number of consumers.
#[derive(Default)]
pub struct Broker {
    /// What is published later, the next one first.
    upcoming: VecDeque<Rc<Message>>,
    ready: Vec<Rc<Message>>,
    /// Delivered and not acknowledged, by delivery tag.
    unacknowledged: BTreeMap<u64, Rc<Message>>,
    next_tag: u64,
    now: Duration,
    held_back: Option<HeldBack>,
}

/// What whoever publishes again publishes only then.
struct HeldBack {
    /// When all of these are taken over for good.
    after: Vec<Bytes>,
    /// So long after that.
    messages: Vec<(Duration, Rc<Message>)>,
}

impl Broker {
    /// A queue to which `messages` will be published.
    pub fn new(messages: Vec<Rc<Message>>) -> Self {
        Self { upcoming: messages.into(), ..Self::default() }
    }

    /// Publishes what is due.
    pub fn pass(&mut self, elapsed: Duration) {
        self.now = elapsed;
        while self.upcoming.front().is_some_and(|message| message.at <= elapsed) {
            self.ready.extend(self.upcoming.pop_front());
        }
    }

    /// When the next message is published.
    pub fn next_at(&self) -> Option<Duration> {
        self.upcoming.front().map(|message| message.at)
    }

    /// Can a message be delivered?
    pub const fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Delivers any message.
    pub fn deliver(&mut self, rng: &mut impl Rng) -> (u64, Rc<Message>) {
        let message = self.ready.swap_remove(rng.random_range(0..self.ready.len()));
        self.next_tag += 1;
        self.unacknowledged.insert(self.next_tag, Rc::clone(&message));
        (self.next_tag, message)
    }

    /// A consumer has taken a message over for good; nothing, where the broker had lost it before.
    pub fn acknowledge(&mut self, tag: u64) -> Option<Rc<Message>> {
        let message = self.unacknowledged.remove(&tag)?;
        if let Some(held_back) = &mut self.held_back {
            held_back.after.retain(|body| *body != message.body);
        }
        self.publish_held_back();
        Some(message)
    }

    /// A consumer is gone: what it had not acknowledged comes again. Returns how many messages.
    pub fn lose(&mut self, tags: impl Iterator<Item = u64>) -> usize {
        let before = self.ready.len();
        for tag in tags {
            self.ready.extend(self.unacknowledged.remove(&tag));
        }
        self.ready.len() - before
    }

    /// Publishes again what was published before, so long after now: `first`, and when all of that is taken over,
    /// `then`.
    pub fn publish_again(&mut self, first: Vec<(Duration, Rc<Message>)>, then: Vec<(Duration, Rc<Message>)>) {
        let after = first.iter().map(|(_, message)| message.body.clone()).collect();
        self.publish_in(first);
        self.held_back = Some(HeldBack { after, messages: then });
        self.publish_held_back();
    }

    /// Takes back what was published and not delivered, and what would be, with how long from now that is.
    pub fn hold_back(&mut self) -> Vec<(Duration, Rc<Message>)> {
        let ready = std::mem::take(&mut self.ready).into_iter().chain(std::mem::take(&mut self.upcoming));
        ready.map(|message| (message.at.saturating_sub(self.now), message)).collect()
    }

    /// Waits anything for what is published again first?
    pub const fn is_held_back(&self) -> bool {
        self.held_back.is_some()
    }

    fn publish_held_back(&mut self) {
        if let Some(held_back) = self.held_back.take_if(|held_back| held_back.after.is_empty()) {
            self.publish_in(held_back.messages);
        }
    }

    fn publish_in(&mut self, messages: Vec<(Duration, Rc<Message>)>) {
        let now = self.now;
        let again = messages.into_iter().map(|(span, message)| Message { at: now + span, ..(*message).clone() });
        self.upcoming.extend(again.map(Rc::new));
        self.upcoming.make_contiguous().sort_by_key(|message| message.at);
    }

    /// Is everything published and acknowledged?
    pub fn is_done(&self) -> bool {
        self.upcoming.is_empty() && self.ready.is_empty() && self.unacknowledged.is_empty() && self.held_back.is_none()
    }
}
