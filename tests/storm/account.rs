//! The accounts: a protocol at one of the providers.

use holdfast::sandbox::Protocol;

/// A protocol at one of the providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub protocol: Protocol,
    pub provider: usize,
}

impl Account {
    /// As configured.
    pub fn name(self) -> String {
        let protocol = match self.protocol {
            Protocol::Flitt => "flitt",
            Protocol::Fondy => "fondy",
            Protocol::FlexPay => "flex",
        };
        format!("{protocol}-{}", self.provider)
    }

    /// May an authorization be captured once only?
    pub const fn is_single(self) -> bool {
        match self.protocol {
            Protocol::Flitt | Protocol::Fondy => true,
            Protocol::FlexPay => false,
        }
    }
}
