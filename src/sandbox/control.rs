//! The sandbox's own pages under `/sandbox`: make authorizations, read the books, arm faults.
//!
//! No authentication: it is for loopback. Every page says that this is not a payment provider.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::exchange::{Reply, body, json as json_reply};
use super::faults::Faults;
use super::{ByHand, NOTICE, NewAccount, NewAuthorization, Rejected, Settings, Shared};
use crate::clock;

/// The control's routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(page))
        .route("/sandbox", get(page))
        .route("/sandbox/authorizations", post(authorize))
        .route("/sandbox/accounts", post(register))
        .route("/sandbox/movements", post(meddle))
        .route("/sandbox/books", get(books))
        .route("/sandbox/faults", get(faults).put(arm).delete(disarm))
        .route("/sandbox/settings", get(settings).put(set))
}

async fn page() -> Reply {
    body(StatusCode::OK, "text/html; charset=utf-8", include_str!("page.html"))
}

/// The answer to anything that is not served.
pub(super) async fn nothing_here() -> Reply {
    problem(StatusCode::NOT_FOUND, "no such page or method: GET /sandbox says what there is")
}

async fn authorize(State(shared): State<Arc<Shared>>, body: Bytes) -> Reply {
    control(&body, StatusCode::CREATED, "authorization", |new: NewAuthorization| {
        shared.world().authorize(new, clock::now())
    })
}

async fn meddle(State(shared): State<Arc<Shared>>, body: Bytes) -> Reply {
    control(&body, StatusCode::CREATED, "authorization", |by_hand: ByHand| {
        shared.world().meddle(&by_hand, clock::now())
    })
}

async fn register(State(shared): State<Arc<Shared>>, body: Bytes) -> Reply {
    control(&body, StatusCode::CREATED, "registered", |new: NewAccount| {
        let account = new.account.clone();
        shared.world().register(new).map(|()| account)
    })
}

async fn books(State(shared): State<Arc<Shared>>) -> Reply {
    let books = shared.world().report(clock::now());
    json_reply(StatusCode::OK, &books)
}

async fn faults(State(shared): State<Arc<Shared>>) -> Reply {
    noted(StatusCode::OK, "rules", &shared.world().faults())
}

async fn arm(State(shared): State<Arc<Shared>>, body: Bytes) -> Reply {
    control(&body, StatusCode::OK, "rules", |faults: Faults| {
        let mut world = shared.world();
        world.arm(faults).map(|()| world.faults())
    })
}

async fn disarm(State(shared): State<Arc<Shared>>) -> Reply {
    let mut world = shared.world();
    world.arm(Faults::default()).expect("no rules make sense");
    noted(StatusCode::OK, "rules", &world.faults())
}

async fn settings(State(shared): State<Arc<Shared>>) -> Reply {
    noted(StatusCode::OK, "settings", &shared.world().settings)
}

async fn set(State(shared): State<Arc<Shared>>, body: Bytes) -> Reply {
    control(&body, StatusCode::OK, "settings", |settings: Settings| {
        shared.world().settings = settings.clone();
        Ok(settings)
    })
}

fn control<A: DeserializeOwned, B: Serialize>(
    body: &[u8],
    done: StatusCode,
    what: &str,
    act: impl FnOnce(A) -> Result<B, Rejected>,
) -> Reply {
    let asked = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("body: {error}")),
    };
    match act(asked) {
        Ok(result) => noted(done, what, &result),
        Err(rejected) => problem(StatusCode::BAD_REQUEST, &rejected.to_string()),
    }
}

fn noted(status: StatusCode, what: &str, value: &impl Serialize) -> Reply {
    json_reply(status, &json!({ "notice": NOTICE, what: value }))
}

fn problem(status: StatusCode, error: &str) -> Reply {
    noted(status, "error", &error)
}
