//! Named crash points, for tests only: release builds have none.
//!
//! `HOLDFAST_TEST_CRASH_AT=after-T1:3` kills the process with SIGKILL, as a power cut would, the third
//! time it passes the point `after-T1`.

/// Dies here, when the environment says so and this is a debug build.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static WANTED: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let wanted = std::env::var("HOLDFAST_TEST_CRASH_AT").ok()?;
        let (name, passes) = wanted.split_once(':')?;
        Some((name.to_owned(), AtomicI64::new(passes.parse().ok()?)))
    });
    let Some((wanted, passes)) = &*WANTED else { return };
    if wanted == name && passes.fetch_sub(1, Ordering::SeqCst) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way; nothing may happen any more.
        loop {
            std::thread::park();
        }
    }
}

/// Nothing: release builds have no crash points.
#[cfg(not(debug_assertions))]
pub const fn point(_name: &'static str) {}
