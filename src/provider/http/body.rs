//! A request body that knows whether it was taken, and refuses to be taken too late.
//!
//! hyper asks for a body only when it has a connection to write it to, and flushes nothing of the
//! request before it has asked (`proto/h1/dispatch.rs`, `poll_write`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;

use crate::clock::BootInstant;
use crate::crash;

/// The moment for sending is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("send_by passed before the request was written")]
pub(super) struct SendByPassed;

/// The body, held back until it is written.
pub(super) struct GuardedBody {
    bytes: Option<Bytes>,
    send_by: Option<BootInstant>,
    handed_over: Arc<AtomicBool>,
}

impl GuardedBody {
    /// `handed_over` becomes true before the first byte of the body can leave.
    pub(super) fn new(bytes: Bytes, send_by: Option<BootInstant>, handed_over: Arc<AtomicBool>) -> Self {
        Self { bytes: Some(bytes), send_by, handed_over }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = SendByPassed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SendByPassed>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        if self.send_by.is_some_and(BootInstant::is_past) {
            return Poll::Ready(Some(Err(SendByPassed)));
        }
        self.handed_over.store(true, Ordering::SeqCst);
        crash::point_soon("after-send");
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
