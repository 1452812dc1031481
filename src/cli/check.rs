//! `holdfast check`: every problem with the settings at once, or what is in effect.
//!
//! Looks at settings, not at the world: no broker and no provider is asked.

use serde_json::json;

use super::output::{Format, table};
use super::{Context, Exit, Failure, OrExit};
use crate::settings::{Effective, SettingsErrors};

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast check --config holdfast.toml
  HOLDFAST_BROKER__PREFETCH=64 holdfast check --output json";

pub(super) fn run(context: &mut Context) -> Result<Exit, Failure> {
    match context.explain() {
        Ok((_, effective)) => {
            show(&effective, context)?;
            Ok(Exit::Done)
        }
        Err(errors) if context.output.format() == Format::Json => {
            context.output.json(&as_json(&errors))?;
            Ok(Exit::Usage)
        }
        Err(errors) => Err(errors).or_exit(Exit::Usage),
    }
}

fn show(effective: &[Effective], context: &mut Context) -> Result<(), Failure> {
    let settings: Vec<_> = effective
        .iter()
        .map(|one| json!({ "key": one.key, "value": one.value, "from": one.place.to_string() }))
        .collect();
    context.output.show(&json!({ "ok": true, "settings": settings }), |_| {
        let mut table = table(&["KEY", "VALUE", "FROM"]);
        for one in effective {
            table.add_row([one.key.clone(), one.value.clone(), one.place.to_string()]);
        }
        table
    })?;
    if !effective.iter().any(|one| one.key.starts_with("accounts.")) {
        context.output.line("\nno account is configured: shipments will wait until theirs is")?;
    }
    Ok(())
}

fn as_json(errors: &SettingsErrors) -> serde_json::Value {
    let problems: Vec<_> = errors
        .problems
        .iter()
        .map(|problem| {
            let place = problem.place.as_ref().map(ToString::to_string);
            json!({ "key": problem.key, "place": place, "problem": problem.message })
        })
        .collect();
    json!({ "ok": false, "problems": problems })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::super::Output;
    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn check(format: Format, file: &str) -> (Result<Exit, String>, String) {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("holdfast.toml");
        std::fs::write(&config, file).unwrap();
        let written = Written::default();
        let output = Output::to(format, Box::new(written.clone()));
        let ended = run(&mut Context { output, config: Some(config) }).map_err(|failure| {
            let mut said = Vec::new();
            assert_eq!(failure.report(&mut said), Exit::Usage);
            String::from_utf8(said).unwrap()
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        (ended, text)
    }

    #[test]
    fn settings_in_effect_are_shown_with_their_source() {
        let (ended, text) = check(Format::Table, "[events]\nsource = \"/shop\"");
        assert_eq!(ended, Ok(Exit::Done));
        let line = text.lines().find(|line| line.starts_with("events.source")).unwrap();
        assert!(line.contains("/shop") && line.ends_with("holdfast.toml:2"), "{line}");
        assert!(!text.contains("guest"), "{text}");
        assert!(!text.contains('\u{1b}'), "colour in a pipe");
    }

    #[test]
    fn problems_end_with_code_2_in_both_formats() {
        let file = "[retry]\njitter = 2\nmax = 3\n";
        let (ended, text) = check(Format::Table, file);
        let said = ended.unwrap_err();
        assert!(said.contains("2 problems") && said.contains("holdfast.toml:2: retry.jitter"), "{said}");
        assert_eq!(text, "");

        let (ended, text) = check(Format::Json, file);
        assert_eq!(ended, Ok(Exit::Usage));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["problems"].as_array().unwrap().len(), 2);
    }
}
