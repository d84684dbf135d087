//! The shape of a document: unknown keys, missing keys, wrong types, words that are not among those allowed.
//!
//! Knows the schema and the positioned tree, not what a value means. What must stay true: it finds all of them at
//! once, and what it yields has the shape of the types in `types`, so that sense can be judged of a document that is
//! partly out of shape.

use std::collections::BTreeSet;

use serde_json::Value as Schema;
use serde_yaml::Value as Sound;

use super::{
    fault::{Faults, KeyPath, shown},
    source::{Mark, Source},
    tree::{Node, Value},
};

pub(super) struct Shape<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) faults: &'a mut Faults,
    /// Where something stands in for what is missing or out of shape: nothing more is to be told of these places.
    pub(super) stand_ins: BTreeSet<String>,
}

impl Shape<'_> {
    /// Checks `node` against `schema`, and yields what of it has the right shape. `mark` is the place for what is
    /// missing in it.
    pub(super) fn check(&mut self, node: &Node, mark: Mark, schema: &Schema, path: &KeyPath) -> Option<Sound> {
        if matches!(*node.value, Value::Null) {
            return None; // told already, wherever it stands
        }
        let admitted = types(schema);
        if !admitted.iter().any(|kind| is(node, kind)) {
            self.wrong_type(node, &admitted, path);
            return None;
        }
        let words = words(schema);
        match &*node.value {
            Value::Map(_) => self.check_map(node, mark, schema, path),
            Value::List(items) => {
                let schema = schema.get("items")?;
                let checked = items.iter().enumerate().map(|(index, item)| {
                    let path = path.index(index);
                    let sound = self.check(item, item.mark, schema, &path);
                    // The items after it keep their numbers.
                    sound.unwrap_or_else(|| self.stand_in(schema, &path))
                });
                Some(Sound::Sequence(checked.collect()))
            }
            Value::Text(text) if !words.is_empty() && !words.contains(&text.as_str()) => {
                self.wrong_word(node.mark, text, &words, path);
                None
            }
            Value::Text(text) | Value::Integer(text) => Some(Sound::String(text.clone())),
            Value::Bool(value) => Some(Sound::Bool(*value)),
            Value::Null | Value::Float => None,
        }
    }

    /// Something of the right type, where the manifest's types need something.
    fn stand_in(&mut self, schema: &Schema, path: &KeyPath) -> Sound {
        self.stand_ins.insert(path.to_string());
        match types(schema).first().copied() {
            Some("array") => Sound::Sequence(Vec::new()),
            Some("object") => {
                let mut map = serde_yaml::Mapping::new();
                for (key, below) in required(schema) {
                    map.insert(key.into(), self.stand_in(below, &path.key(key)));
                }
                Sound::Mapping(map)
            }
            _ => Sound::String(String::new()),
        }
    }

    fn check_map(&mut self, node: &Node, mark: Mark, schema: &Schema, path: &KeyPath) -> Option<Sound> {
        if path.to_string() == "spec.sessionPreferences"
            && let Some(inputs) = node.entry("inputs")
        {
            let message = "this is the whole preferences document: only its `inputs` belong here";
            let hint =
                "paste what stands under `inputs`, without `schemaVersion`, `sessionType` and `inputs` themselves";
            self.tell(inputs.key_mark, &path.key("inputs"), message, hint);
            return None;
        }
        let mut map = serde_yaml::Mapping::new();
        let properties = schema.get("properties").and_then(Schema::as_object);
        let known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let is_pasted = is_pasted(path);
        for entry in node.entries() {
            let path = path.key(&entry.key);
            let below = properties.and_then(|properties| properties.get(&entry.key));
            match below.or_else(|| schema.get("additionalProperties").filter(|below| below.is_object())) {
                Some(_) if is_pasted && matches!(&*entry.value.value, Value::Text(text) if text.is_empty()) => {}
                Some(below) => {
                    let sound = self.check(&entry.value, entry.key_mark, below, &path);
                    match sound {
                        Some(sound) if !map.contains_key(&entry.key) => {
                            map.insert(entry.key.as_str().into(), sound);
                        }
                        Some(_) => {}
                        // Its default stands in for it.
                        None => _ = self.stand_ins.insert(path.to_string()),
                    }
                }
                None => self.unknown_key(entry.key_mark, &entry.key, &known, &path),
            }
        }
        for (key, below) in required(schema) {
            let about = |what: &str| below.get(what)?.as_str();
            if node.entry(key).is_none() {
                let hint = match about("const") {
                    Some(only) => format!("write `{key}: {only}`"),
                    None => {
                        format!("add `{key}`: {}", uncapitalised(about("description").unwrap_or("it has no default")))
                    }
                };
                self.tell(mark, path, &format!("missing key `{key}`"), &hint);
            }
            if !map.contains_key(key) {
                map.insert(key.into(), self.stand_in(below, &path.key(key)));
            }
        }
        Some(Sound::Mapping(map))
    }

    fn unknown_key(&mut self, mark: Mark, key: &str, known: &[&str], path: &KeyPath) {
        self.faults.tell(|| {
            let hint = match nearest(key, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            self.source.fault(mark, path, format!("unknown key `{}`", shown(key)), Some(hint))
        });
    }

    fn wrong_word(&mut self, mark: Mark, word: &str, words: &[&str], path: &KeyPath) {
        let hint = match nearest(word, words) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", words.join(", ")),
        };
        self.tell(mark, path, &format!("`{}` is not one of {}", shown(word), words.join(", ")), &hint);
    }

    fn wrong_type(&mut self, node: &Node, admitted: &[&str], path: &KeyPath) {
        let found = match &*node.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        let key = path.last_key().map_or_else(|| "key".to_owned(), shown);
        let scalar = !matches!(*node.value, Value::List(_) | Value::Map(_));
        let (wanted, hint) = match admitted.first().copied() {
            Some("string") if admitted.len() > 1 => ("digits", format!("write `{key}: \"…\"` with digits only")),
            Some("string") if scalar => ("text", "put it in quotes".to_owned()),
            Some("string") => ("text", "write a single value in quotes".to_owned()),
            Some("integer") => ("a whole number", "write it in digits, without quotes".to_owned()),
            Some("boolean") => ("true or false", "write true or false, without quotes".to_owned()),
            Some("array") if scalar => ("a list", format!("write it as a list: `{key}: [a, b]`")),
            Some("array") => ("a list", "begin each item with `- `".to_owned()),
            _ => ("a map", "write `key: value` lines, indented below it".to_owned()),
        };
        let mark = node.mark;
        self.tell(mark, path, &format!("expected {wanted}, found {found}"), &hint);
    }

    fn tell(&mut self, mark: Mark, path: &KeyPath, message: &str, hint: &str) {
        self.faults.tell(|| self.source.fault(mark, path, message, Some(hint.to_owned())));
    }
}

/// Whether the keys here are pasted from elsewhere, where empty text means that nothing is given.
fn is_pasted(path: &KeyPath) -> bool {
    let path = path.to_string();
    ["spec.sessionPreferences", "spec.logDelivery"]
        .into_iter()
        .filter_map(|top| path.strip_prefix(top))
        .any(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The keys that a map must have, each with its schema.
fn required(schema: &Schema) -> impl Iterator<Item = (&str, &Schema)> {
    let keys = schema.get("required").and_then(Schema::as_array).into_iter().flatten();
    keys.filter_map(|key| Some((key.as_str()?, schema.get("properties")?.get(key.as_str()?)?)))
}

fn types(schema: &Schema) -> Vec<&str> {
    match schema.get("type") {
        Some(Schema::String(one)) => vec![one],
        Some(Schema::Array(several)) => several.iter().filter_map(Schema::as_str).collect(),
        // A choice of words with a description each has its type inside.
        _ => vec!["string"],
    }
}

fn is(node: &Node, kind: &str) -> bool {
    match &*node.value {
        Value::Text(_) => kind == "string",
        Value::Bool(_) => kind == "boolean",
        Value::Integer(_) => kind == "integer",
        Value::List(_) => kind == "array",
        Value::Map(_) => kind == "object",
        Value::Null | Value::Float => false,
    }
}

/// The words that a text may be, if it is a choice.
fn words(schema: &Schema) -> Vec<&str> {
    let choices = schema.get("enum").or_else(|| schema.get("oneOf")).and_then(Schema::as_array);
    choices.into_iter().flatten().filter_map(|choice| choice.get("const").unwrap_or(choice).as_str()).collect()
}

fn uncapitalised(text: &str) -> String {
    let mut characters = text.trim_end_matches('.').chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// The known word that is nearest to what was written, if it is near enough to have been meant.
pub(super) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let near = known.iter().map(|word| (distance(&written.to_lowercase(), &word.to_lowercase()), *word)).min()?;
    let meant = near.0 <= near.1.len().max(written.len()) / 3;
    meant.then_some(near.1)
}

/// How many letters have to be put in, taken out or replaced to turn one word into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (at, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_offered_and_nothing_far_fetched() {
        let known = ["roles", "mode", "policyName", "sessionPreferences"];
        assert_eq!(nearest("role", &known), Some("roles"));
        assert_eq!(nearest("PolicyNmae", &known), Some("policyName"));
        assert_eq!(nearest("session_preferences", &known), Some("sessionPreferences"));
        assert_eq!(nearest("replicas", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
    }

    #[test]
    fn distance_counts_single_letters() {
        for (one, other, expected) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!(distance(one, other), expected);
        }
    }
}
