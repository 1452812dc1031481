//! Ctrl-C, from the making of one listener to its end, however often and for whatever is waited meanwhile.

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Exit, Failure, OrExit};

/// Counts what comes. From its making on, Ctrl-C ends the process no more.
pub(super) struct Interrupts {
    come: watch::Receiver<u32>,
    /// Listens, so that nothing is missed between two waits.
    listening: Option<Runtime>,
}

impl Interrupts {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listening = Builder::new_multi_thread().worker_threads(1).enable_io().build().or_exit(Exit::Wrong)?;
        let (count, come) = watch::channel(0);
        let mut signals = {
            let _entered = listening.enter();
            signal(SignalKind::interrupt()).or_exit(Exit::Wrong)?
        };
        listening.spawn(async move {
            while signals.recv().await.is_some() {
                count.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { come, listening: Some(listening) })
    }

    /// One that never comes, for tests.
    #[cfg(test)]
    pub(super) fn never() -> (Self, watch::Sender<u32>) {
        let (count, come) = watch::channel(0);
        (Self { come, listening: None }, count)
    }

    /// Has one come since the last that was taken?
    pub(super) fn take(&mut self) -> bool {
        let has_come = self.come.has_changed().unwrap_or(false);
        self.come.mark_unchanged();
        has_come
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if self.come.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.shutdown_background();
        }
    }
}
