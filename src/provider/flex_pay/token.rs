//! The bearer token: fetched once, kept in memory, renewed before it expires.
//!
//! At most one fetch is under way at a time; whoever needs its token waits for it, and whoever still
//! has a valid one goes on with that. No token is ever logged or stored. Source: the page
//! "Authorization" of <https://docs.uplift.com/apidocs>.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::capture::evidence::{Doubt, NotExecuted};
use crate::clock::BootInstant;

use super::super::answer::Inconclusive;
use super::super::exact;
use super::super::http::{Client, Outgoing, Reply, StatusClass};

/// How long a token lives where the answer does not say.
const LIFETIME: Duration = Duration::from_mins(30);

/// How long to wait after a renewal that failed, while the old token is still valid.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);

/// Where tokens come from.
pub(super) enum Tokens {
    /// The settings.
    Fixed(HeaderValue),
    /// The token endpoint.
    Fetched(Arc<Fetched>),
}

/// Tokens of one token endpoint.
pub(super) struct Fetched {
    client: Client,
    url: Url,
    credentials: HeaderValue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    flight: Option<Flight>,
}

struct Held {
    bearer: HeaderValue,
    renew_at: BootInstant,
    expires_at: BootInstant,
}

/// A fetch under way, and everybody who waits for it.
type Flight = Shared<BoxFuture<'static, Result<HeaderValue, Inconclusive>>>;

impl Tokens {
    /// A token given once and for all.
    ///
    /// # Errors
    /// What is wrong with it, to follow the name of the setting.
    pub(super) fn fixed(token: &SecretString) -> Result<Self, &'static str> {
        bearer(token.expose_secret()).map(Self::Fixed).ok_or("is not a bearer token: it is empty or not plain ASCII")
    }

    /// Tokens fetched with client credentials.
    pub(super) fn fetched(client: Client, mut url: Url, client_id: &str, client_secret: &SecretString) -> Self {
        url.query_pairs_mut().append_pair("grant_type", "client_credentials");
        let pair = format!("{client_id}:{}", client_secret.expose_secret());
        let mut credentials =
            HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(pair))).expect("base64 is ASCII");
        credentials.set_sensitive(true);
        Self::Fetched(Arc::new(Fetched { client, url, credentials, state: Mutex::default() }))
    }

    /// The value of the `Authorization` header.
    ///
    /// # Errors
    /// Why there is no token. Never a doubt: without a token nothing was sent.
    pub(super) async fn bearer(&self) -> Result<HeaderValue, Inconclusive> {
        match self {
            Self::Fixed(bearer) => Ok(bearer.clone()),
            Self::Fetched(fetched) => fetched.bearer().await,
        }
    }

    /// Another token than the rejected one, if there can be one.
    ///
    /// # Errors
    /// As [`Tokens::bearer`].
    pub(super) async fn after_rejection(&self, rejected: &HeaderValue) -> Result<Option<HeaderValue>, Inconclusive> {
        match self {
            Self::Fixed(_) => Ok(None),
            Self::Fetched(fetched) => {
                fetched.forget(rejected);
                fetched.bearer().await.map(Some)
            }
        }
    }
}

impl Fetched {
    async fn bearer(self: &Arc<Self>) -> Result<HeaderValue, Inconclusive> {
        let flight = {
            let mut state = self.state();
            let valid = state.held.as_ref().filter(|held| !held.expires_at.is_past());
            if let Some((bearer, renew)) = valid.map(|held| (held.bearer.clone(), held.renew_at.is_past())) {
                if renew {
                    // Its own task fetches; nobody waits.
                    drop(self.board(&mut state));
                }
                return Ok(bearer);
            }
            self.board(&mut state)
        };
        flight.await
    }

    fn forget(&self, rejected: &HeaderValue) {
        let mut state = self.state();
        if state.held.as_ref().is_some_and(|held| held.bearer == rejected) {
            state.held = None;
        }
    }

    /// The fetch under way, or a new one. Its own task drives it, so that it ends even where nobody
    /// waits for it any more.
    fn board(self: &Arc<Self>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let fetched = Arc::clone(self);
        let flight = async move {
            let result = fetched.fetch().await;
            fetched.land(result)
        };
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        tokio::spawn(flight.clone());
        flight
    }

    fn land(&self, result: Result<Held, Inconclusive>) -> Result<HeaderValue, Inconclusive> {
        let mut state = self.state();
        state.flight = None;
        match result {
            Ok(held) => {
                let bearer = held.bearer.clone();
                state.held = Some(held);
                Ok(bearer)
            }
            Err(shown) => {
                if let Some(held) = &mut state.held {
                    held.renew_at = BootInstant::now().plus(RENEWAL_PAUSE);
                }
                Err(shown)
            }
        }
    }

    async fn fetch(&self) -> Result<Held, Inconclusive> {
        let asked_at = BootInstant::now();
        let outgoing = Outgoing {
            method: Method::POST,
            url: self.url.clone(),
            headers: HeaderMap::from_iter([(AUTHORIZATION, self.credentials.clone())]),
            body: Some(Bytes::new()),
            send_by: None,
        };
        let reply = self.client.send(outgoing).await.map_err(nothing_sent)?;
        let (bearer, lifetime) = read(&reply)?;
        let renew_at = asked_at.plus(lifetime / 5 * 4);
        Ok(Held { bearer, renew_at, expires_at: asked_at.plus(lifetime) })
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token in an answer, and how long it lives.
pub(super) fn read(reply: &Reply) -> Result<(HeaderValue, Duration), Inconclusive> {
    #[derive(Deserialize)]
    struct Token {
        access_token: String,
        expires_in: Option<Box<RawValue>>,
    }

    if reply.status == StatusCode::BAD_REQUEST {
        let message = "the token endpoint refuses the client credentials: check client_id and client_secret";
        return Err(Inconclusive::misconfigured(Some("400".to_owned()), message));
    }
    if reply.class() != StatusClass::Success {
        return Err(nothing_sent(reply.uncoded()));
    }
    let body = reply.content().map_err(nothing_sent)?;
    let token = serde_json::from_slice::<Token>(body).ok();
    let seconds = token.as_ref().and_then(|token| exact::scalar(token.expires_in.as_deref()?)?.parse().ok());
    let bearer = token.and_then(|token| bearer(&token.access_token)).ok_or_else(|| {
        Inconclusive::misconfigured(None, "the token endpoint's answer has no access_token: check token_url")
    })?;
    Ok((bearer, seconds.map_or(LIFETIME, Duration::from_secs)))
}

/// Whatever became of the request for a token, the request that needed it was not sent.
fn nothing_sent(shown: Inconclusive) -> Inconclusive {
    let not_executed = |message, retry_after| {
        Inconclusive::NotExecuted(NotExecuted { message: format!("no token: {message}"), retry_after })
    };
    match shown {
        Inconclusive::Doubt(Doubt { message, retry_after, .. })
        | Inconclusive::NotExecuted(NotExecuted { message, retry_after }) => not_executed(message, retry_after),
        Inconclusive::Misconfigured(fault) => Inconclusive::Misconfigured(fault),
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

#[cfg(test)]
mod tests {
    use crate::provider::http;
    use crate::provider::test_server::{Server, account, secret};
    use crate::settings::{self, FlexPayToken, Protocol};

    use super::*;

    /// A source that holds the token `old`, due for renewal now and valid for another minute.
    fn due(server: &Server) -> Arc<Fetched> {
        let url = http::checked_url(&server.url("/token")).expect("a URL");
        let token = FlexPayToken::Fixed(secret("unused"));
        let settings = Protocol::FlexPay(settings::FlexPay { base_url: server.url(""), token });
        let client = Client::new(&account(settings), &[&url]).expect("a client");
        let Tokens::Fetched(fetched) = Tokens::fetched(client, url, "id", &secret("s3cret")) else {
            panic!("a fetched token")
        };
        let now = BootInstant::now();
        let held =
            Held { bearer: bearer("old").expect("plain"), renew_at: now, expires_at: now.plus(Duration::from_mins(1)) };
        fetched.state().held = Some(held);
        fetched
    }

    async fn landed(fetched: &Fetched) {
        let flight = fetched.state().flight.clone();
        if let Some(flight) = flight {
            drop(flight.await);
        }
    }

    #[tokio::test]
    async fn a_token_is_renewed_while_the_old_one_serves() {
        let server = Server::start(|_| (200, r#"{"access_token": "new"}"#.to_owned())).await;
        let fetched = due(&server);
        for _ in 0..3 {
            assert_eq!(fetched.bearer().await.expect("a token"), "Bearer old");
        }
        landed(&fetched).await;
        assert_eq!(fetched.bearer().await.expect("a token"), "Bearer new");
        assert_eq!(server.arrived().len(), 1);
    }

    #[tokio::test]
    async fn a_renewal_that_fails_pauses_and_leaves_the_old_token() {
        let server = Server::start(|_| (503, String::new())).await;
        let fetched = due(&server);
        for _ in 0..3 {
            assert_eq!(fetched.bearer().await.expect("a token"), "Bearer old");
            landed(&fetched).await;
        }
        assert_eq!(server.arrived().len(), 1);
    }

    #[tokio::test]
    async fn no_token_shows_in_what_is_printed() {
        let shown = format!("{:?}", bearer("t0psecret"));
        assert!(!shown.contains("t0psecret"), "{shown}");
    }
}
