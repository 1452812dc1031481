//! `holdfast sandbox`: serves three pretend providers until told to end.
//!
//! What they are and how they behave is `crate::sandbox`'s business.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, NOTICE, Sandbox, TEST_SECRET, serve};

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Example:
  holdfast sandbox --listen 127.0.0.1:9900

Then, for what can go wrong and how to make it go wrong: http://127.0.0.1:9900/sandbox";

const AUTHORIZATION: &str = r#"{"protocol": "flitt", "amount_minor": 11900, "currency": "GEL"}"#;
const FAULTS: &str =
    r#"{"rules": [{"operation": "capture", "times": 1, "fault": {"kind": "reset", "when": "after"}}]}"#;

/// Serve three pretend providers with real books, for demos and tests
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to serve; port 0 takes any free one. There is no authentication: keep it on loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    pub listen: SocketAddr,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// Where the address cannot be bound, or nothing can be written to standard output.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}: choose another address with --listen", args.listen))?;
    // Asked for before the address is announced, so that whoever read it can end us properly.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let ended = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    announce(&mut std::io::stdout().lock(), listener.local_addr()?)?;
    serve(listener, Sandbox::new(), ended).await.context("the sandbox cannot go on serving")
}

fn announce(out: &mut impl Write, address: SocketAddr) -> std::io::Result<()> {
    writeln!(
        out,
        "{NOTICE}

  Flitt     http://{address}               merchant {FLITT_MERCHANT}, secret {TEST_SECRET}
  Fondy     http://{address}               merchant {FONDY_MERCHANT}, secret {TEST_SECRET}
  Flex Pay  http://{address}/api/flexpay   client {FLEX_CLIENT}, secret {FLEX_CLIENT}
            tokens: http://{address}/api/auth/v1/oauth/token

Make an authorization, let the next answer to a capture be lost, and read the books:

  curl http://{address}/sandbox/authorizations -d '{AUTHORIZATION}'
  curl -X PUT http://{address}/sandbox/faults -d '{FAULTS}'
  curl http://{address}/sandbox/books

Everything else: http://{address}/sandbox
All of it is in memory, and gone when this ends (Ctrl-C)."
    )?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_is_not_and_how_to_begin() {
        let mut out = Vec::new();
        announce(&mut out, ([127, 0, 0, 1], 9900).into()).expect("a Vec takes everything");
        let text = String::from_utf8(out).expect("text");
        for part in
            ["NOT a payment provider", "1549901", "1396424", "curl http://127.0.0.1:9900/sandbox/authorizations"]
        {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn what_it_says_can_be_sent() {
        let sandbox = Sandbox::new();
        sandbox.authorize(serde_json::from_str(AUTHORIZATION).expect("JSON")).expect("a good authorization");
        sandbox.set_faults(serde_json::from_str(FAULTS).expect("JSON")).expect("a good rule");
    }
}
