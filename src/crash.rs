//! Named crash points, for tests only: release builds have none.
//!
//! `HOLDFAST_TEST_CRASH_AT=after-T1:3` kills the process with SIGKILL, as a power cut would, the third
//! time it passes the point `after-T1`.

//!
//! The points, in the order of the flow: before and after `T1`, `ack`, `send`, `answer`, `T3`,
//! `publish`, `confirm` and `T4`.

/// How long a request is given to leave the process before it dies "after sending".
#[cfg(debug_assertions)]
const ON_THE_WIRE: std::time::Duration = std::time::Duration::from_millis(30);

/// Dies here, when the environment says so and this is a debug build.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    if is_wanted(name) {
        die();
    }
}

/// Dies a moment later: what was just handed over has left the process by then.
#[cfg(debug_assertions)]
pub fn point_soon(name: &'static str) {
    if is_wanted(name) {
        std::thread::spawn(|| {
            std::thread::sleep(ON_THE_WIRE);
            die();
        });
    }
}

#[cfg(debug_assertions)]
fn is_wanted(name: &'static str) -> bool {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static WANTED: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let wanted = std::env::var("HOLDFAST_TEST_CRASH_AT").ok()?;
        let (name, passes) = wanted.split_once(':')?;
        Some((name.to_owned(), AtomicI64::new(passes.parse().ok()?)))
    });
    WANTED.as_ref().is_some_and(|(wanted, passes)| wanted == name && passes.fetch_sub(1, Ordering::SeqCst) == 1)
}

#[cfg(debug_assertions)]
fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal is on its way; nothing may happen any more.
    loop {
        std::thread::park();
    }
}

/// Nothing: release builds have no crash points.
#[cfg(not(debug_assertions))]
pub const fn point(_name: &'static str) {}

/// Nothing: release builds have no crash points.
#[cfg(not(debug_assertions))]
pub const fn point_soon(_name: &'static str) {}
