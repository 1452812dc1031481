//! Several statements on one connection without waiting for each other's answers.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, MaybeDone, maybe_done};

use super::trouble::Trouble;

/// A statement that was not sent yet.
pub(super) type Sending<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// Sends statements in this order and waits for all of them. The server works them off one after the
/// other, each with what those before it have done. What is returned of several errors is the first one:
/// those behind it say only that the transaction has failed.
///
/// The statements have to be prepared: a future that has something to wait for before it sends is
/// overtaken by the next one.
pub(super) async fn in_order<T>(statements: Vec<Sending<'_, T>>) -> Result<Vec<T>, Trouble> {
    let mut statements: Vec<MaybeDone<_>> = statements.into_iter().map(maybe_done).collect();
    poll_fn(|context| {
        let poll = |statement: &mut MaybeDone<_>| usize::from(statement.poll_unpin(context).is_pending());
        if statements.iter_mut().map(poll).sum::<usize>() == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let done = statements.into_iter().map(|statement| match statement {
        MaybeDone::Done(result) => result,
        MaybeDone::Future(_) | MaybeDone::Gone => unreachable!("all of them were waited for"),
    });
    done.collect()
}
