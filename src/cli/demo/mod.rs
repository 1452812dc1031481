//! `holdfast demo`, the whole job to look at: real shipments of several orders over all three protocols, through a
//! real RabbitMQ, into a real ledger, with the things that go wrong in real life. Only the provider
//! is pretended.
//!
//! It ends with what was captured for each shipment and why, and with the sandbox's books held
//! against the ledger, capture by capture.

mod notices;
mod scenes;
mod stage;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::cli::audit;
use crate::cli::demo::scenes::Act;
use crate::cli::demo::stage::Stage;
use crate::cli::{Exit, Failure, OrExit, Output, progress_bar, table};

/// How long the demo waits for the next outcome before it gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast demo
  HOLDFAST_BROKER__URL=amqp://guest:guest@127.0.0.1:5672/%2f holdfast demo

Needs an installed rabbitmq-server, or a broker named by HOLDFAST_BROKER__URL.
Ends with 0 when the provider's books and the ledger agree, else with 1.";

/// Plays the demo.
pub(super) async fn run(context: &mut super::Context) -> Result<Exit, Failure> {
    let agrees = play(&mut context.output).await.or_exit(Exit::Unreachable)?;
    Ok(if agrees { Exit::Done } else { Exit::Wrong })
}

/// Returns whether the books agree.
async fn play(output: &mut Output) -> anyhow::Result<bool> {
    let progress = progress(output.is_terminal());
    let mut say = |text: &str| progress.suspend(|| output.line(text)).unwrap_or_default();
    say("Holdfast captures card authorizations as orders ship. This shows the whole job in about half a minute.\n");
    let mut stage = Stage::set_up(&mut say).await?;
    let acts = scenes::acts();
    let shipments: usize = acts.iter().flat_map(|act| &act.scenes).map(|scene| scene.shipments.len()).sum();
    progress.set_length(u64::try_from(shipments)?);
    let mut outcomes = Outcomes::new();
    for (number, act) in acts.iter().enumerate() {
        say(&format!("\n{}. {}\n", number + 1, act.title));
        let references = notices::authorize(&stage, &act.scenes)?;
        stage.publish(notices::write(&act.scenes, &references)).await?;
        // The last act begins while the one before it is still going on.
        if number + 2 == acts.len() {
            until_down(&stage).await?;
        } else {
            let so_far = acts[..=number].iter().flat_map(|act| &act.scenes).map(|scene| scene.shipments.len()).sum();
            collect(&mut stage, &progress, &mut say, so_far, &mut outcomes).await?;
        }
    }
    progress.finish_and_clear();
    output.line("\nWhat became of each shipment, and why:\n")?;
    output.table(outcome_table(&acts, &outcomes))?;
    output.line("\n`holdfast audit`, which reads every authorization from its provider, says:\n")?;
    let is_right = audit::audit_all(&stage.settings, output).await?;
    let struck = stage.strike().await?;
    let agrees = verdict::show(&struck, output)? && is_right;
    let kept = keep(struck.dir)?;
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let program = program.display();
    output.line(&format!(
        "\nWhere to look next (the ledger stays in {kept}; delete it when you have seen enough):\n\
         \n  {program} captures list --config {kept}/holdfast.toml\
         \n  {program} captures show ord-3001/a --config {kept}/holdfast.toml\
         \n  {program} dead-letters list --config {kept}/holdfast.toml"
    ))?;
    Ok(agrees)
}

/// Outcomes by order and shipment.
type Outcomes = BTreeMap<(String, String), Value>;

/// Waits until so many shipments have their outcome.
async fn collect(
    stage: &mut Stage,
    progress: &ProgressBar,
    say: &mut dyn FnMut(&str),
    shipments: usize,
    outcomes: &mut Outcomes,
) -> anyhow::Result<()> {
    while outcomes.len() < shipments {
        let next = tokio::time::timeout(PATIENCE, stage.events.next()).await;
        let event = next.context("no further outcome came in time")?.context("the connection for events ended")?;
        let body: Value = serde_json::from_slice(&event.body).context("an event is not JSON")?;
        let data = &body["data"];
        say(&live_line(&event.routing_key, data));
        if matches!(event.routing_key.as_str(), "capture.succeeded" | "capture.failed") {
            let key = (text(&data["order_id"]), text(&data["shipment_id"]));
            outcomes.insert(key, body.clone());
            progress.set_position(u64::try_from(outcomes.len())?);
        }
    }
    Ok(())
}

/// Waits until the provider's port refuses connections.
async fn until_down(stage: &Stage) -> anyhow::Result<()> {
    let down = async {
        while tokio::net::TcpStream::connect(stage.sandbox.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, down).await.context("the outage did not begin")
}

fn live_line(kind: &str, data: &Value) -> String {
    let what = match kind {
        "capture.succeeded" => format!("{} {}", text(&data["amount"]), text(&data["currency"])),
        "capture.failed" => text(&data["reason"]),
        "capture.deferred" => format!("{} so far, waits for the rest", text(&data["amount_so_far"])),
        "authorization.expiring" => format!("the hold of {} ends soon", text(&data["order_id"])),
        "authorization.expired" => format!("the hold of {} has ended", text(&data["order_id"])),
        _ => format!("{} {}", text(&data["reason"]), text(&data["message"])),
    };
    let shipment = match (data["order_id"].as_str(), data["shipment_id"].as_str()) {
        (Some(order), Some(shipment)) => format!("{order}/{shipment}"),
        _ => "-".to_owned(),
    };
    format!("  {kind:<22} {shipment:<11} {what}")
}

/// A JSON value as a person writes it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, ToOwned::to_owned)
}

fn outcome_table(acts: &[Act], outcomes: &Outcomes) -> comfy_table::Table {
    let mut rows = table(&["ORDER", "SHIPMENT", "ACCOUNT", "OUTCOME", "AMOUNT", "OF CAPTURE", "ATTEMPTS", "BY", "WHY"]);
    for scene in acts.iter().flat_map(|act| &act.scenes) {
        for shipment in &scene.shipments {
            let body = outcomes.get(&(scene.order.to_owned(), shipment.id.to_owned())).unwrap_or(&Value::Null);
            let data = &body["data"];
            let is_captured = body["type"] == "capture.succeeded";
            let outcome = if is_captured { "captured".to_owned() } else { text(&data["reason"]) };
            let amount =
                if is_captured { format!("{} {}", text(&data["amount"]), scene.currency) } else { "-".to_owned() };
            let whole = if is_captured { text(&data["capture_amount"]) } else { "-".to_owned() };
            let cells = [
                scene.order.to_owned(),
                shipment.id.to_owned(),
                scene.account.to_owned(),
                outcome,
                amount,
                whole,
                text(&data["attempts"]),
                text(&data["resolved_by"]),
                shipment.why.to_owned(),
            ];
            rows.add_row(cells);
        }
    }
    rows
}

fn progress(is_terminal: bool) -> ProgressBar {
    progress_bar(None, "{spinner} {bar:40} {pos}/{len} outcomes, {elapsed}", is_terminal)
}

/// The ledger and its settings stay where an operator can look at them; the credentials of the demo
/// are the sandbox's public ones.
fn keep(dir: tempfile::TempDir) -> anyhow::Result<String> {
    let path = dir.keep();
    path.to_str().map(ToOwned::to_owned).context("the temporary directory's path is not UTF-8")
}
