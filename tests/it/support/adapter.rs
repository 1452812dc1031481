//! The worker's own adapters, called directly, at the sandbox.

use std::sync::Arc;
use std::time::Duration;

use holdfast::clock::BootInstant;
use holdfast::ids::{AccountName, CaptureId, Reference};
use holdfast::money::{Currency, Money};
use holdfast::provider::{self, CaptureRequest, Provider};
use holdfast::sandbox::{self, FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, Running, TEST_SECRET};
use holdfast::settings::{Account, Cloudipsp, FlexPay, FlexPayToken, Protocol};
use secrecy::SecretString;
use uuid::Uuid;

use super::PATIENCE;

/// The adapter of the sandbox's test account.
pub fn connect(sandbox: &Running, protocol: sandbox::Protocol) -> Arc<dyn Provider> {
    let base = sandbox.base_url();
    let cloudipsp = |merchant: &str| Cloudipsp {
        base_url: base.clone(),
        merchant_id: merchant.parse().unwrap(),
        secret: SecretString::from(TEST_SECRET),
    };
    connect_as(match protocol {
        sandbox::Protocol::Flitt => Protocol::Flitt(cloudipsp(FLITT_MERCHANT)),
        sandbox::Protocol::Fondy => Protocol::Fondy(cloudipsp(FONDY_MERCHANT)),
        sandbox::Protocol::FlexPay => Protocol::FlexPay(FlexPay {
            base_url: format!("{base}/api/flexpay"),
            token: FlexPayToken::Fetched {
                token_url: format!("{base}/api/auth/v1/oauth/token"),
                client_id: FLEX_CLIENT.to_owned(),
                client_secret: SecretString::from(FLEX_CLIENT),
            },
        }),
    })
}

/// The adapter of an account with these credentials.
pub fn connect_as(protocol: Protocol) -> Arc<dyn Provider> {
    let account = Account {
        name: AccountName::parse("test").unwrap(),
        concurrency: 4,
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        resend_window: None,
        authorization_lifetime: None,
        rate_limit: None,
        secret_file: None,
        protocol,
    };
    provider::connect(&account).unwrap()
}

/// A capture by a key of its own.
pub fn request(reference: &str, minor: i64, currency: &str) -> CaptureRequest {
    CaptureRequest {
        capture: CaptureId::from_uuid(Uuid::new_v4()),
        reference: Reference::parse(reference).unwrap(),
        amount: Money::from_minor(minor, Currency::parse(currency).unwrap()).unwrap(),
        send_by: BootInstant::now().plus(Duration::from_mins(1)),
    }
}
