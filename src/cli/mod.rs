//! Placeholder.

/// `holdfast topology`.
pub mod topology;
