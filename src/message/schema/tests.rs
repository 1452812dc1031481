//! Schemas against their files, against what is written, and against what decoding really takes.

use serde_json::{Map, Value, json};

use super::*;
use crate::capture::event::EventContent;
use crate::message::decode;
use crate::message::tests::{AUTHORIZED, CANCELLED, CLOUDEVENT, raw};

#[test]
fn every_message_type_has_a_schema_and_an_example() {
    let known: Vec<&str> = Kind::ALL.map(Kind::as_str).into_iter().chain(EventContent::KINDS).collect();
    assert_eq!(all().iter().map(|(name, _)| *name).collect::<Vec<_>>(), known);
    let examples = examples("/holdfast");
    assert_eq!(examples.iter().map(|(name, _)| *name).collect::<Vec<_>>(), known);
    for ((_, schema), (_, example)) in all().iter().zip(&examples) {
        assert_conforms(schema, example);
    }
}

/// Removes, mistypes, nulls and adds every field that the schemas of incoming messages know, and
/// expects decoding to agree with them each time.
#[test]
fn decoding_agrees_with_the_schemas() {
    let example = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let mut shipped = example(CLOUDEVENT);
    shipped["data"]["amount"] = json!("103.37");
    for (name, complete, fields) in [
        ("order.shipped", shipped, 30),
        ("order.authorized", example(AUTHORIZED), 25),
        ("order.cancelled", example(CANCELLED), 10),
    ] {
        let (_, schema) = all().into_iter().find(|(known, _)| *known == name).expect("there");
        assert_conforms(&schema, &complete);
        let checked = agreements(&schema, &complete);
        assert!(checked >= fields, "{name}: {checked}");
    }
}

fn agreements(schema: &Value, complete: &Value) -> usize {
    // Documented and never read, whatever they hold.
    const NOT_READ: [&str; 3] = ["$.subject", "$.time", "$.data.shipped_at"];
    let rejected_at = |value: &Value| decode(&raw(value.to_string())).err().map(|rejection| rejection.path);
    let mut checked = 0;
    for site in objects(schema, schema, "", "$") {
        for (name, is_required) in &site.fields {
            let path = format!("{}.{name}", site.path);
            let with = |value: Option<Value>| {
                let mut changed = complete.clone();
                let object = changed.pointer_mut(&site.pointer).and_then(Value::as_object_mut).expect("in the example");
                match value {
                    Some(value) => object.insert(name.clone(), value),
                    None => object.remove(name),
                };
                rejected_at(&changed)
            };
            let expected = is_required.then(|| path.clone());
            // Without `specversion` it is no CloudEvent, and then its own fields are missing.
            if path != "$.specversion" {
                assert_eq!(with(None), expected, "{path} left out");
            }
            assert_eq!(with(Some(Value::Null)), expected, "{path} null");
            let expected = (!NOT_READ.contains(&&*path)).then_some(path.clone());
            assert_eq!(with(Some(json!([]))), expected, "{path} mistyped");
            checked += 1;
        }
        let mut extended = complete.clone();
        extended.pointer_mut(&site.pointer).expect("in the example")["unheard_of"] = json!(1);
        let expected = site.is_closed.then(|| format!("{}.unheard_of", site.path));
        assert_eq!(rejected_at(&extended), expected, "{} extended", site.path);
    }
    checked
}

/// An object of the example, and what its schema says about it.
struct Site {
    /// JSON pointer into the example.
    pointer: String,
    /// The JSON path of a rejection there.
    path: String,
    /// Names, and whether they are required.
    fields: Vec<(String, bool)>,
    /// Are other names refused?
    is_closed: bool,
}

fn objects(root: &Value, schema: &Value, pointer: &str, path: &str) -> Vec<Site> {
    let schema = resolve(root, schema);
    if schema["items"].is_object() {
        return objects(root, &schema["items"], &format!("{pointer}/0"), &format!("{path}[0]"));
    }
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.contains(&name.into()));
    let mut sites = vec![Site {
        pointer: pointer.to_owned(),
        path: path.to_owned(),
        fields: properties.keys().map(|name| (name.clone(), required(name))).collect(),
        is_closed: schema["additionalProperties"] == false,
    }];
    for (name, inner) in properties {
        sites.extend(objects(root, inner, &format!("{pointer}/{name}"), &format!("{path}.{name}")));
    }
    sites
}

/// Follows a reference, and the first branch of "this or null".
fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        return resolve(root, target);
    }
    match schema["anyOf"].as_array() {
        Some(branches) if !schema["properties"].is_object() => resolve(root, &branches[0]),
        _ => schema,
    }
}

/// Panics unless `value` conforms to `root`, as far as the keywords go that our schemas use for
/// structure. Every name of the value must be one that the schema knows.
pub(in crate::message) fn assert_conforms(root: &Value, value: &Value) {
    if let Err(problem) = conforms(root, root, value, "$") {
        panic!("{problem}\n{value:#}");
    }
}

fn conforms(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
        conforms(root, target, value, path)?;
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        let results: Vec<_> = branches.iter().map(|branch| conforms(root, branch, value, path)).collect();
        if results.iter().all(Result::is_err) {
            return Err(format!("{path} is none of {branches:?}: {results:?}"));
        }
    }
    let allowed =
        |word: &Value| word == &schema["type"] || schema["type"].as_array().is_some_and(|list| list.contains(word));
    if !schema["type"].is_null() && !allowed(&type_of(value).into()) {
        return Err(format!("{path} is {} instead of {}", type_of(value), schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{path} is none of {}", schema["enum"]));
    }
    if !schema["const"].is_null() && value != &schema["const"] {
        return Err(format!("{path} is not {}", schema["const"]));
    }
    if let (Some(items), true) = (value.as_array(), schema["items"].is_object()) {
        let check = |(index, item)| conforms(root, &schema["items"], item, &format!("{path}[{index}]"));
        items.iter().enumerate().try_for_each(check)?;
    }
    match value.as_object() {
        Some(object) if schema["type"] == "object" => object_conforms(root, schema, object, path),
        _ => Ok(()),
    }
}

fn object_conforms(root: &Value, schema: &Value, object: &Map<String, Value>, path: &str) -> Result<(), String> {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let missing = required.iter().filter_map(Value::as_str).find(|name| !object.contains_key(*name));
    if let Some(name) = missing {
        return Err(format!("{path}.{name} is missing"));
    }
    object.iter().try_for_each(|(name, value)| match schema["properties"].get(name) {
        Some(property) => conforms(root, property, value, &format!("{path}.{name}")),
        None => Err(format!("{path}.{name} is not in the schema")),
    })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
