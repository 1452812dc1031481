//! Fondy, `pay.fondy.eu`: the cloudipsp protocol under its older brand.
//!
//! Nothing in the protocol is Fondy's own; see [`cloudipsp`](super::cloudipsp).
//! Documentation: <https://docs.fondy.io/gateway/direct-integration/capture/create-capture>.

use crate::settings::{self, Account};

use super::ConnectError;
use super::cloudipsp::Cloudipsp;

/// One account at Fondy.
pub(super) fn connect(account: &Account, credentials: &settings::Cloudipsp) -> Result<Cloudipsp, ConnectError> {
    Cloudipsp::connect(account, credentials)
}
