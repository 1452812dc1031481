//! Which shortcut is taken: one in this thread, one in this process.

use std::cell::Cell;
use std::sync::LazyLock;

use super::Mutant;

thread_local! {
    static HERE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Named by the environment of a worker under test.
static EVERYWHERE: LazyLock<Option<Mutant>> = LazyLock::new(|| {
    let name = std::env::var("HOLDFAST_TEST_MUTANT").ok()?;
    Mutant::ALL.iter().copied().find(|mutant| mutant.as_str() == name)
});

/// Is this shortcut taken?
pub fn on(mutant: Mutant) -> bool {
    HERE.get() == Some(mutant) || *EVERYWHERE == Some(mutant)
}

/// Runs `work` with this shortcut in this thread, and then without.
pub fn with<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> T {
    let before = HERE.replace(mutant);
    let result = work();
    HERE.set(before);
    result
}
