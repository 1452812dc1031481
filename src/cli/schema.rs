//! `holdfast schema`: the JSON Schemas of every message and one AsyncAPI document of all of them, to read or to
//! write into files.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Context;
use crate::broker::asyncapi;
use crate::message::schema;

/// How it is used.
pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast schema
  holdfast schema capture.succeeded
  holdfast schema asyncapi --config holdfast.toml > holdfast.asyncapi.json
  holdfast schema --write config/schemas";

/// What the document of all messages is called among them.
const ASYNCAPI: &str = "asyncapi";

/// Print the JSON Schema of a message or the AsyncAPI document of all, list them, or write them into files
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The message type, such as `order.shipped`; or `asyncapi`: exchanges, queues, routing keys and every message, as
    /// the settings name them; without it, all of them
    name: Option<String>,

    /// Write into this directory, one file per message type and one for all, instead of printing
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Runs the command, printing to `out`.
///
/// # Errors
/// When there is no message type of that name, the settings are wrong, or something cannot be written.
pub fn run(args: &Args, context: &Context, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.write.is_none() && args.name.is_none() {
        return list(out);
    }
    let documents = match &args.name {
        Some(name) => vec![document(name, context)?],
        None => every(context)?,
    };
    match &args.write {
        Some(directory) => write_files(&documents, directory, out),
        None => print(&documents, out),
    }
}

fn document(name: &str, context: &Context) -> anyhow::Result<(&'static str, Value)> {
    if name == ASYNCAPI {
        return Ok((ASYNCAPI, of_all(context)?));
    }
    match schema::all().into_iter().find(|(known, _)| *known == name) {
        Some(found) => Ok(found),
        None => bail!("no message type of that name: `holdfast schema` lists them"),
    }
}

fn every(context: &Context) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let mut documents = schema::all();
    documents.push((ASYNCAPI, of_all(context)?));
    Ok(documents)
}

fn of_all(context: &Context) -> anyhow::Result<Value> {
    let settings = context.settings()?;
    Ok(asyncapi::document(&settings.broker, &settings.notices.rules, &settings.event_source)?)
}

fn file_name(name: &str) -> String {
    if name == ASYNCAPI { "holdfast.asyncapi.json".to_owned() } else { schema::file_name(name) }
}

fn write_files(documents: &[(&str, Value)], directory: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    for (name, document) in documents {
        let path = directory.join(file_name(name));
        std::fs::write(&path, schema::to_text(document)).with_context(|| format!("write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}

fn print(documents: &[(&str, Value)], out: &mut dyn Write) -> anyhow::Result<()> {
    for (_, document) in documents {
        write!(out, "{}", schema::to_text(document))?;
    }
    Ok(())
}

fn list(out: &mut dyn Write) -> anyhow::Result<()> {
    for name in schema::all().into_iter().map(|(name, _)| name).chain([ASYNCAPI]) {
        writeln!(out, "{name}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Format, Output};

    fn context() -> Context {
        Context { output: Output::stdout(Format::Table), config: None }
    }

    fn output(name: Option<&str>, write: Option<&Path>) -> anyhow::Result<String> {
        let args = Args { name: name.map(str::to_owned), write: write.map(Path::to_owned) };
        let mut out = Vec::new();
        run(&args, &context(), &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn without_a_name_it_lists_and_with_one_it_prints() {
        let names = output(None, None).expect("lists");
        assert!(names.starts_with("order.shipped\norder.authorized\norder.cancelled\ncapture.succeeded\n"), "{names}");
        for name in names.lines() {
            let text = output(Some(name), None).expect("prints");
            let document: Value = serde_json::from_str(&text).expect("JSON");
            if name == ASYNCAPI {
                assert_eq!(document["info"]["title"], "Holdfast");
            } else {
                assert_eq!(document["title"], name);
            }
        }
        let error = output(Some("order.shiped"), None).expect_err("no such type");
        assert!(error.to_string().contains("`holdfast schema` lists them"), "{error}");
    }

    #[test]
    fn it_writes_one_file_per_message_type_and_one_for_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let nested = directory.path().join("schemas");
        let paths = output(None, Some(&nested)).expect("writes");
        let documents = every(&context()).expect("all of them");
        assert_eq!(paths.lines().count(), documents.len());
        for (name, document) in documents {
            let text = std::fs::read_to_string(nested.join(file_name(name))).expect("written");
            assert_eq!(text, schema::to_text(&document));
        }
        assert_eq!(output(Some("capture.failed"), Some(&nested)).expect("writes").lines().count(), 1);
    }

    #[test]
    fn the_files_are_up_to_date() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schemas");
        let documents = every(&context()).expect("all of them");
        let mut expected: Vec<String> = documents.iter().map(|(name, _)| file_name(name)).collect();
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_string().expect("UTF-8")
        };
        let mut found: Vec<String> = std::fs::read_dir(directory).expect("config/schemas").map(read).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "run `holdfast schema --write config/schemas`, and delete what is gone");
        for (name, document) in documents {
            let text = std::fs::read_to_string(format!("{directory}/{}", file_name(name))).expect("readable");
            let now = schema::to_text(&document);
            assert!(text == now, "{name} has changed: run `holdfast schema --write config/schemas`");
        }
    }
}
