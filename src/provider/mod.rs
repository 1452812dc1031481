//! Step 4, call: turns a capture request into HTTP, and the answer into evidence.
//!
//! An adapter translates; it does not decide. What evidence means for the money is the core's
//! business (`capture::judge`). A new provider is one file, one line in [`connect`], and fixtures.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::capture::evidence::{Answer, Reading};
use crate::capture::policy::Captures;
use crate::clock::BootInstant;
use crate::ids::{CaptureId, Reference};
use crate::money::Money;

/// One attempt at one capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRequest {
    /// The idempotency key and the reference that comes back in the provider's events.
    pub capture: CaptureId,
    /// The authorization at the provider.
    pub reference: Reference,
    /// What to capture; always sent, always positive.
    pub amount: Money,
    /// Nothing is sent after this instant. Checked last, in the first poll of the request.
    pub send_by: BootInstant,
}

/// What a protocol can do; facts about the provider, not settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// One capture per authorization, or several.
    pub captures: Captures,
    /// What makes sending the same capture again safe.
    pub idempotency: Idempotency,
    /// Does the provider tell when an authorization dies?
    pub tells_expiry: bool,
    /// What happens to a hold that dies.
    pub on_expiry: OnExpiry,
}

/// What makes sending the same capture again safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// Repeating the same amount returns the current status, for ever.
    SameAmount,
    /// A key that the provider remembers for a while; the default window for resending without a
    /// read before.
    Key {
        /// Counted from the first send.
        resend_window: Duration,
    },
}

/// What happens to a hold that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    /// The rest is voided.
    Void,
    /// May be captured in full by the provider itself.
    MayCaptureInFull,
}

/// One account at one provider.
pub trait Provider: Send + Sync {
    /// What the protocol can do.
    fn capabilities(&self) -> Capabilities;

    /// Sends one capture request, once. Never fails: silence is evidence too.
    fn capture<'a>(&'a self, request: &'a CaptureRequest) -> BoxFuture<'a, Answer>;

    /// Reads the authorization's truth. Moves no money.
    fn lookup<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Reading>;
}
