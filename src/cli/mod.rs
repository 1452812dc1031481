//! Placeholder.

/// `holdfast schema`.
pub mod schema;
