//! How far a run is.

/// How far it all is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Shipments that have ended.
    pub ended: usize,
    /// Captures that have not.
    pub open: usize,
    /// Events that are not published.
    pub unpublished: usize,
    /// Orders of which something may still become due.
    pub closing: usize,
    /// Capture requests.
    pub attempts: usize,
}

impl Progress {
    /// Is nothing under way any more?
    pub const fn is_at_rest(&self, shipments: usize) -> bool {
        self.ended == shipments && self.open == 0 && self.unpublished == 0 && self.closing == 0
    }
}
