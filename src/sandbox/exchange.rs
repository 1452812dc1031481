//! One request: the fault that it meets, the work it asks for, the answer it gets.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use chrono::TimeDelta;
use serde::Serialize;
use tokio::time::sleep;

use super::books::Hold;
use super::faults::{Channel, Code, Fault, Subject, When};
use super::flex_pay_codes::ErrorCode;
use super::server::Line;
use super::world::World;
use super::{Protocol, Shared, cloudipsp, flex_pay};
use crate::clock::{self, Timestamp};

/// An HTTP answer.
pub(super) type Reply = Response<Body>;

/// The circumstances under which a request is worked on.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// A capture made now stays unapproved so long.
    pub(super) hold: Option<Hold>,
    /// The request is to be refused with this error.
    pub(super) refusal: Option<Refusal>,
}

/// A provider's error that a fault asked for.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) channel: Channel,
}

/// What an exchange comes to.
enum Ending {
    Answer(Reply),
    /// The connection is reset.
    Cut,
    /// The port refuses connections so long; this one is closed like all others.
    Outage(Duration),
}

/// Does `work` under the fault that the request meets, if it meets one.
pub(super) async fn exchange<W>(shared: &Arc<Shared>, line: &Line, subject: Subject, work: W) -> Reply
where
    W: FnOnce(&mut World, &Moment) -> Reply + Send + 'static,
{
    let fault = {
        let mut world = shared.world();
        let Some(fault) = world.arrive(&subject) else {
            return work(&mut world, &Moment { now: clock::now(), ..Moment::default() });
        };
        fault
    };
    // A task of its own: a provider goes on with the work when its caller has hung up.
    let suffering = suffer(Arc::clone(shared), fault, subject, work);
    let ending = tokio::spawn(line.stopping.clone().run_until_cancelled_owned(suffering)).await;
    match ending.expect("the exchange neither panics nor is aborted") {
        Some(Ending::Answer(reply)) => return reply,
        Some(Ending::Cut) | None => line.cut(),
        Some(Ending::Outage(span)) => shared.refuse_for(span),
    }
    pending().await
}

async fn suffer<W>(shared: Arc<Shared>, fault: Fault, subject: Subject, work: W) -> Ending
where
    W: FnOnce(&mut World, &Moment) -> Reply + Send + 'static,
{
    let work = |moment: Moment| work(&mut shared.world(), &Moment { now: clock::now(), ..moment });
    let calm = Moment::default;
    match fault {
        Fault::Latency { ms, when: When::Before } => {
            sleep(Duration::from_millis(ms)).await;
            Ending::Answer(work(calm()))
        }
        Fault::Latency { ms, when: When::After } => {
            let reply = work(calm());
            sleep(Duration::from_millis(ms)).await;
            Ending::Answer(reply)
        }
        Fault::Refuse { ms } => Ending::Outage(Duration::from_millis(ms)),
        Fault::Reset { when } => {
            done_if(when, || work(calm()));
            Ending::Cut
        }
        Fault::Hang { ms, when } => {
            done_if(when, || work(calm()));
            sleep(Duration::from_millis(ms)).await;
            Ending::Cut
        }
        Fault::Status { status, retry_after_s, when } => {
            done_if(when, || work(calm()));
            Ending::Answer(proxy_page(status, retry_after_s))
        }
        Fault::RetryAt { status, seconds, when } => {
            done_if(when, || work(calm()));
            Ending::Answer(come_back_at(proxy_page(status, None), seconds))
        }
        Fault::Garbage { when } => {
            done_if(when, || work(calm()));
            Ending::Answer(body(StatusCode::OK, "application/json", "{\"response\": {\"capture_sta\u{fffd}"))
        }
        Fault::Hold { lookups, ms } => {
            let until = clock::now() + Duration::from_millis(ms);
            Ending::Answer(work(Moment { hold: Some(Hold { lookups, until }), ..calm() }))
        }
        Fault::Code { code, when: When::Before, channel } => {
            Ending::Answer(work(Moment { refusal: Some(Refusal { code, channel }), ..calm() }))
        }
        Fault::Code { code, when: When::After, channel } => {
            work(calm());
            Ending::Answer(refused(&subject, &Refusal { code, channel }))
        }
        Fault::SoftDecline => {
            let refusal = Refusal { code: declined(subject.protocol), channel: Channel::ResponseCode };
            Ending::Answer(work(Moment { refusal: Some(refusal), ..calm() }))
        }
        Fault::ExpireTokens => {
            shared.world().end_tokens(&subject.account);
            Ending::Answer(flex_pay::unauthorized())
        }
        Fault::ForgetKeys => {
            shared.world().forget_keys(&subject.account);
            Ending::Answer(work(calm()))
        }
        Fault::Expire => {
            shared.world().expire(&subject, clock::now());
            Ending::Answer(work(calm()))
        }
        Fault::ClockSkew { seconds } => Ending::Answer(skewed(work(calm()), seconds)),
    }
}

fn done_if(when: When, work: impl FnOnce() -> Reply) {
    match when {
        When::Before => {}
        When::After => drop(work()),
    }
}

/// The provider's own wording of an error that a fault asked for.
fn refused(subject: &Subject, refusal: &Refusal) -> Reply {
    match subject.protocol {
        Protocol::Flitt | Protocol::Fondy => cloudipsp::refused(&subject.account, &subject.reference, refusal),
        Protocol::FlexPay => flex_pay::refused(refusal),
        #[cfg(test)]
        Protocol::Paper => super::paper::refused(refusal),
    }
}

fn proxy_page(status: u16, retry_after_s: Option<u32>) -> Reply {
    let status = StatusCode::from_u16(status).expect("the rule was checked when it was armed");
    let mut reply = body(status, "text/html", format!("<html><body><h1>{status}</h1></body></html>\n"));
    if let Some(seconds) = retry_after_s {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// Not enough money, in the words of each protocol.
fn declined(protocol: Protocol) -> Code {
    match protocol {
        Protocol::Flitt | Protocol::Fondy => Code::Number(1037),
        Protocol::FlexPay => Code::Name(ErrorCode::InsufficientFunds.name().to_owned()),
        #[cfg(test)]
        Protocol::Paper => Code::Name("no_funds".to_owned()),
    }
}

fn come_back_at(mut reply: Reply, seconds: u32) -> Reply {
    reply.headers_mut().insert(header::RETRY_AFTER, http_date(i64::from(seconds)));
    reply
}

fn skewed(mut reply: Reply, seconds: i64) -> Reply {
    reply.headers_mut().insert(header::DATE, http_date(seconds));
    reply
}

/// So many seconds from now, as HTTP writes instants (RFC 9110, 5.6.7).
fn http_date(seconds: i64) -> HeaderValue {
    let now = clock::now();
    let shown = TimeDelta::try_seconds(seconds).and_then(|span| now.checked_add_signed(span)).unwrap_or(now);
    let date = shown.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::try_from(date).expect("a date is ASCII")
}

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    let text = serde_json::to_vec(value).expect("our own values serialize");
    body(status, "application/json", text)
}

/// An answer.
pub(super) fn body(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
