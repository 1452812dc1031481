//! Flitt, `pay.flitt.com`: the cloudipsp protocol under the brand for Georgia and its neighbours.
//!
//! Nothing in the protocol is Flitt's own; see [`cloudipsp`](super::cloudipsp).
//! Documentation: <https://docs.flitt.com/api/create-capture>.

use crate::settings::{self, Account};

use super::ConnectError;
use super::cloudipsp::Cloudipsp;

/// One account at Flitt.
pub(super) fn connect(account: &Account, credentials: &settings::Cloudipsp) -> Result<Cloudipsp, ConnectError> {
    Cloudipsp::connect(account, credentials)
}
