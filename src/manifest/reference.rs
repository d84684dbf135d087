//! The manifest reference in the documentation, from the schema that editors use.
//!
//! What must stay true: `docs/manifests.md` says of every key what the schema says.

use serde_json::{Map, Value};

use crate::documentation;

/// One row for each key, outer keys first.
fn rows(path: &str, schema: &Value, table: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, about) in properties {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let mut notes = Vec::new();
        if required.contains(&key.as_str()) {
            notes.push("required".to_owned());
        }
        notes.extend(about.get("default").filter(|value| !value.is_null()).map(|value| format!("default `{value}`")));
        notes.extend(
            about.get("pattern").and_then(Value::as_str).map(|pattern| format!("`{}`", pattern.replace('|', "\\|"))),
        );
        for (bound, word) in [
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("minItems", "items at least"),
            ("maxItems", "items at most"),
            ("maxLength", "characters at most"),
        ] {
            notes.extend(about.get(bound).map(|value| format!("{word} {value}")));
        }
        let said = about["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        table.push_str(&format!("| `{path}` | {} | {said} | {} |\n", kind(about), notes.join("; ")));
        rows(&path, about, table);
        if let Some(item) = about.get("items") {
            rows(&format!("{path}[]"), item, table);
        }
        if let Some(values) = about.get("additionalProperties").filter(|values| values.is_object()) {
            rows(&format!("{path}.*"), values, table);
        }
        for option in about["anyOf"].as_array().into_iter().chain(about["oneOf"].as_array()).flatten() {
            rows(&path, option, table);
        }
    }
}

fn kind(about: &Value) -> String {
    if let Some(word) = about.get("const") {
        return format!("`{word}`");
    }
    let words = |values: &Vec<Value>| values.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if let Some(values) = about["enum"].as_array() {
        return words(values);
    }
    let options = about["oneOf"].as_array().or(about["anyOf"].as_array());
    let named = |types: &Value| match types {
        Value::String(one) => one.clone(),
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    };
    match (named(&about["type"]), options) {
        (kind, _) if kind == "array" && !named(&about["items"]["type"]).is_empty() => {
            format!("list of {}", named(&about["items"]["type"]))
        }
        (kind, _) if !kind.is_empty() => kind,
        (_, Some(options)) => {
            let mut kinds: Vec<String> = options.iter().map(kind).filter(|kind| !kind.is_empty()).collect();
            kinds.dedup();
            kinds.join(" or ")
        }
        _ => String::new(),
    }
}

fn reference(kind: &Map<String, Value>) -> String {
    let name = kind["properties"]["kind"]["const"].as_str().unwrap();
    let mut text = format!(
        "## {name}\n\n{}\n\n| key | type | what it says | |\n|---|---|---|---|\n",
        kind["description"].as_str().unwrap()
    );
    rows("", &Value::Object(kind.clone()), &mut text);
    text
}

#[test]
fn the_documentation_lists_every_key_of_the_manifests_as_the_schema_has_it() {
    let schema = serde_json::to_value(super::schema()).unwrap();
    let kinds: Vec<String> =
        schema["oneOf"].as_array().unwrap().iter().map(|kind| reference(kind.as_object().unwrap())).collect();
    documentation::hold("manifests.md", "schema", &kinds.join("\n"));
}
