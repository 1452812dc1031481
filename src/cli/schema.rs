//! `holdfast schema`: the JSON Schemas of every message, to read or to write into files.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::message::schema;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast schema
  holdfast schema capture.succeeded
  holdfast schema --write config/schemas";

/// Print the JSON Schema of a message, list them all, or write them into files
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The message type, such as `order.shipped`; without it, all of them
    name: Option<String>,

    /// Write into this directory, one file per message type, instead of printing
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Runs the command, printing to `out`.
///
/// # Errors
/// When there is no message type of that name, or something cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut schemas = schema::all();
    if let Some(wanted) = &args.name {
        schemas.retain(|(name, _)| name == wanted);
        if schemas.is_empty() {
            bail!("no message type of that name: `holdfast schema` lists them");
        }
    }
    match (&args.write, &args.name) {
        (Some(directory), _) => write_files(&schemas, directory, out),
        (None, Some(_)) => print(&schemas, out),
        (None, None) => list(&schemas, out),
    }
}

fn write_files(schemas: &[(&str, serde_json::Value)], directory: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    for (name, schema) in schemas {
        let path = directory.join(schema::file_name(name));
        std::fs::write(&path, schema::to_text(schema)).with_context(|| format!("write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn print(schemas: &[(&str, serde_json::Value)], out: &mut dyn Write) -> anyhow::Result<()> {
    for (_, schema) in schemas {
        write!(out, "{}", schema::to_text(schema))?;
    }
    Ok(())
}

fn list(schemas: &[(&str, serde_json::Value)], out: &mut dyn Write) -> anyhow::Result<()> {
    for (name, _) in schemas {
        writeln!(out, "{name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: Option<&str>, write: Option<&Path>) -> anyhow::Result<String> {
        let args = Args { name: name.map(str::to_owned), write: write.map(Path::to_owned) };
        let mut out = Vec::new();
        run(&args, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn without_a_name_it_lists_and_with_one_it_prints() {
        let names = output(None, None).expect("lists");
        assert!(names.starts_with("order.shipped\norder.authorized\norder.cancelled\ncapture.succeeded\n"), "{names}");
        for name in names.lines() {
            let text = output(Some(name), None).expect("prints");
            let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(schema["title"], name);
        }
        let error = output(Some("order.shiped"), None).expect_err("no such type");
        assert!(error.to_string().contains("`holdfast schema` lists them"), "{error}");
    }

    #[test]
    fn it_writes_one_file_per_message_type() {
        let directory = tempfile::tempdir().expect("a directory");
        let nested = directory.path().join("schemas");
        let paths = output(None, Some(&nested)).expect("writes");
        assert_eq!(paths.lines().count(), schema::all().len());
        for (name, schema) in schema::all() {
            let text = std::fs::read_to_string(nested.join(schema::file_name(name))).expect("written");
            assert_eq!(text, schema::to_text(&schema));
        }
        assert_eq!(output(Some("capture.failed"), Some(&nested)).expect("writes").lines().count(), 1);
    }
}
