//! Shortcuts: those of `src/mutant.rs`. Most are taken by the core itself, through its own switch; three
//! stand outside of the core, and the model's own loops take them.

use holdfast::mutant::Mutant;

/// A shortcut.
pub type Shortcut = Mutant;

/// Runs `work` with it.
#[cfg(debug_assertions)]
pub fn with<T>(shortcut: Option<Shortcut>, work: impl FnOnce() -> T) -> T {
    holdfast::mutant::with(shortcut, work)
}

/// Release builds have none.
#[cfg(not(debug_assertions))]
pub fn with<T>(_: Option<Shortcut>, work: impl FnOnce() -> T) -> T {
    work()
}
