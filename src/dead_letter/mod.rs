//! Collecting what the broker gave up on.
