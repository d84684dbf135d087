//! From JSON text to a [`Document`], or one short line that says why not.
//!
//! What must stay true: a text that IAM and this program could read differently is refused. `serde_json` keeps the
//! last of two equal keys, so keys are checked here, at every depth; its depth limit keeps the stack whole.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Clause, Constraint, Document, DocumentError, Effect, Elements, Statement, Texts, Version};

/// Errors are shown in logs and tables: they stay short, whatever the document holds.
const LONGEST_ERROR: usize = 160;

impl DocumentError {
    fn new(what: impl fmt::Display) -> Self {
        let line = what.to_string().replace(char::is_control, " ");
        match line.char_indices().nth(LONGEST_ERROR) {
            None => Self(line),
            Some((end, _)) => Self(format!("{}…", &line[..end])),
        }
    }
}

impl Document {
    /// Reads a policy document.
    ///
    /// # Errors
    /// Text that is not JSON, the same key twice, a Version that IAM does not know, a statement without exactly one
    /// of `Action` and `NotAction`, with both `Resource` and `NotResource`, or with an element of the wrong type.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let Strict(value) = serde_json::from_str(text).map_err(DocumentError::new)?;
        let Value::Object(mut object) = value else {
            return Err(DocumentError::new("the document is not a JSON object"));
        };
        let version = match object.remove("Version") {
            None => Version::Absent,
            Some(Value::String(version)) if version == "2008-10-17" => Version::V2008,
            Some(Value::String(version)) if version == "2012-10-17" => Version::V2012,
            Some(other) => return Err(DocumentError::new(format!("Version {other} is not a version that IAM knows"))),
        };
        let id = optional_text(&mut object, "Id")?;
        let statements = match object.remove("Statement") {
            Some(Value::Array(statements)) => statements,
            Some(statement @ Value::Object(_)) => vec![statement],
            Some(_) => return Err(DocumentError::new("Statement is neither an object nor a list of objects")),
            None => return Err(DocumentError::new("Statement is missing")),
        };
        let statements = statements
            .into_iter()
            .enumerate()
            .map(|(index, value)| {
                statement(value)
                    .map_err(|DocumentError(what)| DocumentError::new(format!("statement {}: {what}", index + 1)))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { version, id, statements, unknown: Elements::new(object) })
    }
}

fn statement(value: Value) -> Result<Statement, DocumentError> {
    let Value::Object(mut object) = value else {
        return Err(DocumentError::new("it is not a JSON object"));
    };
    let effect = match object.remove("Effect") {
        Some(Value::String(effect)) if effect == "Allow" => Effect::Allow,
        Some(Value::String(effect)) if effect == "Deny" => Effect::Deny,
        Some(other) => return Err(DocumentError::new(format!("Effect is {other}, not \"Allow\" or \"Deny\""))),
        None => return Err(DocumentError::new("Effect is missing")),
    };
    let action = clause(&mut object, "Action", "NotAction")?;
    Ok(Statement {
        sid: optional_text(&mut object, "Sid")?,
        effect,
        action: action.ok_or_else(|| DocumentError::new("it has neither Action nor NotAction"))?,
        resource: clause(&mut object, "Resource", "NotResource")?,
        conditions: conditions(object.remove("Condition"))?,
        unknown: Elements::new(object),
    })
}

fn clause(object: &mut Map<String, Value>, only: &str, except: &str) -> Result<Option<Clause>, DocumentError> {
    match (object.remove(only), object.remove(except)) {
        (None, None) => Ok(None),
        (Some(value), None) => texts(value, only).map(|texts| Some(Clause::Only(texts))),
        (None, Some(value)) => texts(value, except).map(|texts| Some(Clause::Except(texts))),
        (Some(_), Some(_)) => Err(DocumentError::new(format!("it has both {only} and {except}"))),
    }
}

fn texts(value: Value, name: &str) -> Result<Texts, DocumentError> {
    one_or_many(value)
        .map(|value| match value {
            Value::String(text) => Ok(text.into()),
            _ => Err(DocumentError::new(format!("{name} is neither a string nor a list of strings"))),
        })
        .collect()
}

fn one_or_many(value: Value) -> impl Iterator<Item = Value> {
    let values = if let Value::Array(values) = value { values } else { vec![value] };
    values.into_iter()
}

fn optional_text(object: &mut Map<String, Value>, name: &str) -> Result<Option<Box<str>>, DocumentError> {
    match object.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.into())),
        Some(_) => Err(DocumentError::new(format!("{name} is not a string"))),
    }
}

/// IAM reads `true` and `"true"`, `5` and `"5"` alike, so values are kept as text.
fn conditions(value: Option<Value>) -> Result<Box<[Constraint]>, DocumentError> {
    let operators = match value {
        None => return Ok(Box::default()),
        Some(Value::Object(operators)) => operators,
        Some(_) => return Err(DocumentError::new("Condition is not a JSON object")),
    };
    let mut constraints = Vec::new();
    // IAM ignores the case of these names, so two spellings of one name are the same key twice.
    let mut seen = BTreeSet::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else {
            return Err(DocumentError::new(format!("Condition {operator} is not a JSON object")));
        };
        for (key, values) in keys {
            if !seen.insert((operator.to_ascii_lowercase(), key.to_ascii_lowercase())) {
                return Err(DocumentError::new(format!("Condition {operator} names {key} twice")));
            }
            let values = one_or_many(values)
                .map(|value| match value {
                    Value::String(text) => Ok(text.into()),
                    Value::Bool(_) | Value::Number(_) => Ok(value.to_string().into()),
                    _ => Err(DocumentError::new(format!("Condition {key} has a value that is not a string"))),
                })
                .collect::<Result<_, _>>()?;
            constraints.push(Constraint { operator: operator.as_str().into(), key: key.into(), values });
        }
    }
    Ok(constraints.into())
}

/// A JSON value whose objects hold no key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key `{key}` stands twice in one object")));
            }
            let Strict(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}
