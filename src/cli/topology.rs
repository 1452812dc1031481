//! `holdfast topology`: shows what has to exist in RabbitMQ. Connects to nothing and changes nothing.

use std::io::Write;

use comfy_table::{Table, presets};

use crate::broker::address::Address;
use crate::broker::topology::{self, Argument, Owner, Topology};
use crate::settings::{Broker, TopologyMode};

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast topology --config holdfast.toml
  holdfast topology --definitions > definitions.json && rabbitmqctl import_definitions definitions.json";

/// Exchanges, queues and bindings that have to exist.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print a definitions file instead, for `rabbitmqctl import_definitions`
    #[arg(long)]
    pub definitions: bool,
}

/// Prints the topology that these settings ask for.
///
/// # Errors
/// `broker.url` cannot be read, or nothing can be written.
pub fn run(args: &Args, settings: &Broker, out: &mut impl Write) -> anyhow::Result<()> {
    if args.definitions {
        serde_json::to_writer_pretty(&mut *out, &topology::definitions(settings)?)?;
        writeln!(out)?;
        return Ok(());
    }
    let topology = Topology::of(settings);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["OBJECT", "NAME", "PROPERTIES"]);
    for exchange in &topology.exchanges {
        let properties = match exchange.owner {
            Owner::Ours => "topic, durable",
            Owner::Theirs => "topic; the shipment side declares it",
        };
        table.add_row(["exchange", &exchange.name, properties]);
    }
    for queue in &topology.queues {
        let arguments: Vec<String> = queue.arguments.iter().map(|(name, value)| argument(name, value)).collect();
        table.add_row(["queue", &queue.name, &format!("durable\n{}", arguments.join("\n"))]);
    }
    for binding in &topology.bindings {
        table.add_row(["binding", &binding.queue, &format!("to `{}` with `{}`", binding.exchange, binding.key)]);
    }
    let mode = match settings.topology {
        TopologyMode::Declare => "declares what is ours and looks for the rest",
        TopologyMode::Verify => "looks whether all of it is there",
        TopologyMode::None => "does not look at it",
    };
    let addresses: Vec<_> = Address::all(settings)?.iter().map(ToString::to_string).collect();
    writeln!(out, "{table}\n\nAt {}. The worker {mode}, each time it connects.", addresses.join(" or "))?;
    Ok(())
}

fn argument(name: &str, value: &Argument) -> String {
    match value {
        Argument::Text(text) => format!("{name} = {text:?}"),
        Argument::Number(number) => format!("{name} = {number}"),
    }
}
