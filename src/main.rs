//! Entry: arguments, settings, telemetry, command, exit code.

fn main() {}
