//! `holdfast health`: asks a running worker over HTTP whether it lives, or whether work moves. For containers
//! without a shell, and for people.
//!
//! Reads no settings: a file that is being changed must not make a living worker look dead.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Context, Exit, Failure, Format, OrExit, text};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast health
  holdfast health --ready
  holdfast health --at 127.0.0.1:9465 --output json

Without --ready it asks /livez: does the event loop turn? With it /readyz: is the ledger written, are
deliveries consumed, are events published? Exit codes: 0 yes, 1 no, 3 nobody answers there.";

/// Longest wait for the whole answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What to ask, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ask whether work moves, and not only whether the worker lives
    #[arg(long)]
    ready: bool,

    /// Address and port that the worker serves health on, as in http.listen
    #[arg(long, value_name = "ADDRESS", env = "HOLDFAST_HTTP__LISTEN", default_value = "127.0.0.1:9464")]
    at: SocketAddr,
}

pub(super) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let path = if args.ready { "readyz" } else { "livez" };
    let url = format!("http://{}/{path}", reachable(args.at));
    let nobody = || format!("no worker answers at {}: start it, or name its http.listen with --at", args.at);
    let (is_well, said) = ask(&url).await.with_context(nobody).or_exit(Exit::Unreachable)?;
    let report = json!({ "ok": is_well, "asked": url, "said": said });
    match context.output.format() {
        Format::Json => context.output.json(&report)?,
        Format::Table => context.output.line(&text::harmless(&words(&said), false))?,
    }
    Ok(if is_well { Exit::Done } else { Exit::Wrong })
}

/// Where a worker that listens on every address is reached from its own machine.
fn reachable(mut at: SocketAddr) -> SocketAddr {
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) });
    }
    at
}

/// Is the answer a good one, and what does it say?
async fn ask(url: &str) -> anyhow::Result<(bool, Value)> {
    // Somebody else may have installed it before; either way there is one now.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?;
    let response = client.get(url).send().await?;
    let is_well = response.status().is_success();
    let body = response.text().await?;
    let said = serde_json::from_str(&body).unwrap_or_else(|_| Value::from(body.trim_end()));
    Ok((is_well, said))
}

/// The answer for people: what is not as it should be, or one word.
fn words(said: &Value) -> String {
    let Some(checks) = said["checks"].as_object() else { return said.as_str().unwrap_or_default().to_owned() };
    let wrong = checks.iter().filter_map(|(name, check)| Some(format!("{name}: {}", check["reason"].as_str()?)));
    let wrong: Vec<String> = wrong.collect();
    if wrong.is_empty() { "ready".to_owned() } else { format!("not ready: {}", wrong.join("; ")) }
}
