//! A thread that serves requests one after the other, and ends with whoever asks it.

use std::fmt;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::ledger::LedgerError;

/// What is said of a thread that has ended.
pub(super) fn stopped() -> LedgerError {
    LedgerError::Failed("its writer has stopped after an earlier failure".to_owned())
}

/// Requests that may queue up for a thread.
const QUEUE_MAX: usize = 4_096;

/// A thread, and the way to it. Dropping it waits until the thread has ended, and with it everything
/// that it owns.
pub(super) struct Thread<R> {
    requests: Option<mpsc::Sender<R>>,
    handle: Option<JoinHandle<()>>,
}

impl<R: Send + 'static> Thread<R> {
    /// Starts it. `serve` returns when there is nothing more to receive, or earlier, for good.
    pub(super) fn start(name: &str, serve: impl FnOnce(mpsc::Receiver<R>) + Send + 'static) -> std::io::Result<Self> {
        let (requests, received) = mpsc::channel(QUEUE_MAX);
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(received))?;
        Ok(Self { requests: Some(requests), handle: Some(handle) })
    }

    /// Queues a request.
    ///
    /// # Errors
    /// [`LedgerError::Failed`] when the thread has ended.
    pub(super) async fn send(&self, request: R) -> Result<(), LedgerError> {
        self.requests().send(request).await.map_err(|_| stopped())
    }

    /// The same for whoever cannot wait. There must be room: few requests are under way at a time.
    ///
    /// # Errors
    /// [`LedgerError::Failed`] when the thread has ended.
    pub(super) fn send_now(&self, request: R) -> Result<(), LedgerError> {
        self.requests().try_send(request).map_err(|_| stopped())
    }

    /// Takes it nothing more?
    pub(super) fn has_ended(&self) -> bool {
        self.requests().is_closed()
    }

    fn requests(&self) -> &mpsc::Sender<R> {
        self.requests.as_ref().expect("only a drop takes it")
    }
}

impl<R> fmt::Debug for Thread<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").finish_non_exhaustive()
    }
}

impl<R> Drop for Thread<R> {
    fn drop(&mut self) {
        drop(self.requests.take());
        // A thread that panicked has let go of what it owned too.
        let _ = self.handle.take().map(JoinHandle::join);
    }
}
