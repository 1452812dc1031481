//! Named crash points, for tests only: release builds have none.
//!
//! `HOLDFAST_TEST_CRASH_AT=after-T1:3` kills the process with SIGKILL, as a power cut would, the third
//! time it passes the point `after-T1`. `HOLDFAST_TEST_STOP_AT` does the same with SIGSTOP: the process
//! stands still there until somebody sends SIGCONT.
//!
//! The points, in the order of the flow: before and after `T1`, `ack`, `send`, `answer`, `T3`,
//! `publish`, `confirm` and `T4`. Of a replay, before and after `job` (it is written down with what it
//! takes), `replay` (dead letters begin anew) and `end`.

/// How long a request is given to leave the process before it dies "after sending".
#[cfg(debug_assertions)]
const ON_THE_WIRE: std::time::Duration = std::time::Duration::from_millis(30);

/// How long it takes at most until a process that has sent itself SIGSTOP stands still.
#[cfg(debug_assertions)]
const STANDING_STILL: std::time::Duration = std::time::Duration::from_millis(30);

/// Dies or stands still here, when the environment says so and this is a debug build.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    if CRASH.is_at(name) {
        die();
    }
    if STOP.is_at(name) {
        stop();
    }
}

/// Dies or stands still a moment later: what was just handed over has left the process by then.
#[cfg(debug_assertions)]
pub fn point_soon(name: &'static str) {
    let (dies, stops) = (CRASH.is_at(name), STOP.is_at(name));
    if dies || stops {
        std::thread::spawn(move || {
            std::thread::sleep(ON_THE_WIRE);
            if dies {
                die();
            }
            stop();
        });
    }
}

#[cfg(debug_assertions)]
static CRASH: Wanted = Wanted(std::sync::LazyLock::new(|| Wanted::read("HOLDFAST_TEST_CRASH_AT")));

#[cfg(debug_assertions)]
static STOP: Wanted = Wanted(std::sync::LazyLock::new(|| Wanted::read("HOLDFAST_TEST_STOP_AT")));

/// A point, and how often it is still to be passed.
#[cfg(debug_assertions)]
struct Wanted(std::sync::LazyLock<Option<(String, std::sync::atomic::AtomicI64)>>);

#[cfg(debug_assertions)]
impl Wanted {
    fn read(variable: &str) -> Option<(String, std::sync::atomic::AtomicI64)> {
        let wanted = std::env::var(variable).ok()?;
        let (name, passes) = wanted.split_once(':')?;
        Some((name.to_owned(), passes.parse().ok().map(std::sync::atomic::AtomicI64::new)?))
    }

    fn is_at(&self, name: &str) -> bool {
        let passes = |passes: &std::sync::atomic::AtomicI64| passes.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        self.0.as_ref().is_some_and(|(wanted, left)| wanted == name && passes(left) == 1)
    }
}

#[cfg(debug_assertions)]
fn stop() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    std::thread::sleep(STANDING_STILL);
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
