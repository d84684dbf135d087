//! An IAM policy document as a typed value: what it says, and what of it is not understood.
//!
//! Knows IAM's policy grammar and no service. What must stay true: nothing that was written is lost. An element that
//! is not understood is kept and takes part in comparison; a document that is ambiguous (the same key twice, an
//! action clause twice) is an error, never a guess.
//!
//! Sources: IAM User Guide, "Grammar of the IAM JSON policy language" and "IAM JSON policy elements reference".

mod canonical;
mod parse;
#[cfg(test)]
mod tests;

use std::{cmp::Ordering, fmt};

use serde::Serialize;
use serde_json::{Map, Value};

use super::pattern::Pattern;

/// Why a text is not a policy document: one short line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DocumentError(String);

/// A policy document. Equal means equal as written: the order of statements and of lists, the case of names, Sids
/// and the Version all count; white space, the order of keys, and a single value against a list of one do not.
///
/// Held for every managed role of an account, so it keeps nothing but its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) version: Version,
    pub(super) id: Option<Box<str>>,
    pub(super) statements: Box<[Statement]>,
    pub(super) unknown: Elements,
}

/// What a statement does to the requests that it matches. IAM reads it case-sensitively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Effect {
    /// It grants.
    Allow,
    /// It forbids, whatever else grants.
    Deny,
}

/// The language version. Only the newest one knows policy variables; an absent one means 2008-10-17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Absent,
    V2008,
    V2012,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Statement {
    pub(super) sid: Option<Box<str>>,
    pub(super) effect: Effect,
    pub(super) action: Clause,
    /// Trust policies have none.
    pub(super) resource: Option<Clause>,
    /// All of them must hold.
    pub(super) conditions: Box<[Constraint]>,
    pub(super) unknown: Elements,
}

pub(super) type Texts = Box<[Box<str>]>;

/// `Action` and `Resource`, or `NotAction` and `NotResource`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Clause {
    Only(Texts),
    Except(Texts),
}

/// One line of a `Condition`: the key must stand in this relation to one of the values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Constraint {
    pub(super) operator: Box<str>,
    pub(super) key: Box<str>,
    pub(super) values: Texts,
}

/// Elements that this program does not understand, as they were read (a trust policy's `Principal`, for one).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Elements(Option<Box<Map<String, Value>>>);

impl Document {
    /// Whether any statement is a Deny.
    #[must_use]
    pub fn denies(&self) -> bool {
        self.statements.iter().any(|statement| statement.effect == Effect::Deny)
    }

    /// Whether some Allow statement's action clause admits one of these actions, as a pattern or through `NotAction`.
    /// Resources and conditions are not asked.
    #[must_use]
    pub fn allows_any_of(&self, actions: &[&str]) -> bool {
        let actions: Vec<Pattern> = actions.iter().map(|action| Pattern::action(action)).collect();
        self.statements
            .iter()
            .filter(|statement| statement.effect == Effect::Allow)
            .any(|statement| statement.action.admits_any_of(&actions))
    }

    /// What of the document bears on these actions: in its place each statement that names one of them, whether it grants or
    /// denies, or that is not understood; for each other one a statement that names nothing. None where nothing is left:
    /// then no question about these actions is answered otherwise without the document.
    #[must_use]
    pub fn about(&self, actions: &[&str]) -> Option<Self> {
        let actions: Vec<Pattern> =
            actions.iter().map(|action| Pattern::text(&action.to_ascii_lowercase(), false)).collect();
        let bears = |statement: &Statement| statement.is_strange() || statement.action.admits_any_of(&actions);
        if self.unknown.is_empty() && !self.statements.iter().any(bears) {
            return None;
        }
        let kept = |statement: &Statement| if bears(statement) { statement.clone() } else { Statement::of_nothing() };
        Some(Self { statements: self.statements.iter().map(kept).collect(), ..self.clone() })
    }

    /// Whether `${…}` is a policy variable here.
    pub(super) fn has_variables(&self) -> bool {
        self.version == Version::V2012
    }
}

impl Statement {
    /// One that no request is about.
    fn of_nothing() -> Self {
        let nothing = || Clause::Only(Box::new(["-".into()]));
        Self {
            sid: None,
            effect: Effect::Allow,
            action: nothing(),
            resource: Some(nothing()),
            conditions: Box::default(),
            unknown: Elements::default(),
        }
    }

    /// Whether it may be about anything, since the grammar does not say what it means.
    fn is_strange(&self) -> bool {
        let lists_nothing = |clause: &Clause| clause.texts().is_empty();
        !self.unknown.is_empty() || lists_nothing(&self.action) || self.resource.as_ref().is_none_or(lists_nothing)
    }
}

impl Clause {
    fn admits_any_of(&self, actions: &[Pattern]) -> bool {
        let mut patterns = self.texts().iter().map(|text| Pattern::action(text));
        match self {
            Self::Only(_) => patterns.any(|pattern| actions.iter().any(|action| pattern.covers(action))),
            Self::Except(_) => {
                let excluded: Vec<Pattern> = patterns.collect();
                actions.iter().any(|action| !excluded.iter().any(|pattern| pattern.covers(action)))
            }
        }
    }

    /// What stands in the list, on whichever side.
    pub(super) fn texts(&self) -> &Texts {
        let (Self::Only(texts) | Self::Except(texts)) = self;
        texts
    }
}

impl Elements {
    fn new(elements: Map<String, Value>) -> Self {
        Self((!elements.is_empty()).then(|| Box::new(elements)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().flat_map(|elements| elements.iter())
    }
}

/// JSON values have no order of their own; that of their text serves.
impl Ord for Elements {
    fn cmp(&self, other: &Self) -> Ordering {
        let text = |elements: &Self| elements.0.as_ref().map(|map| Value::Object(map.as_ref().clone()).to_string());
        if self == other { Ordering::Equal } else { text(self).cmp(&text(other)) }
    }
}

impl PartialOrd for Elements {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        })
    }
}

/// Compact JSON, its keys in the order in which AWS's documentation writes them. Actions are always a list; a single
/// resource or condition value stands alone.
impl fmt::Display for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut object = Keys::open(formatter)?;
        match self.version {
            Version::Absent => {}
            Version::V2008 => object.member("Version", &quoted("2008-10-17"))?,
            Version::V2012 => object.member("Version", &quoted("2012-10-17"))?,
        }
        if let Some(id) = &self.id {
            object.member("Id", &quoted(id))?;
        }
        object.member("Statement", &Listed(&self.statements))?;
        object.close(&self.unknown)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut object = Keys::open(formatter)?;
        if let Some(sid) = &self.sid {
            object.member("Sid", &quoted(sid))?;
        }
        object.member("Effect", &quoted(&self.effect.to_string()))?;
        match &self.action {
            Clause::Only(texts) => object.member("Action", &list(texts))?,
            Clause::Except(texts) => object.member("NotAction", &list(texts))?,
        }
        match &self.resource {
            None => {}
            Some(Clause::Only(texts)) => object.member("Resource", &one_or_list(texts))?,
            Some(Clause::Except(texts)) => object.member("NotResource", &one_or_list(texts))?,
        }
        if let Some(condition) = condition(&self.conditions, str::to_owned) {
            object.member("Condition", &condition)?;
        }
        object.close(&self.unknown)
    }
}

/// The `Condition` element that these constraints make up, each name spelled by `spell`; none where there are none.
pub(super) fn condition(constraints: &[Constraint], spell: impl Fn(&str) -> String) -> Option<Value> {
    let mut operators = Map::new();
    for Constraint { operator, key, values } in constraints {
        let keys = operators.entry(spell(operator)).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(keys) = keys {
            keys.insert(spell(key), one_or_list(values));
        }
    }
    (!operators.is_empty()).then_some(Value::Object(operators))
}

fn quoted(text: &str) -> Value {
    Value::from(text)
}

fn list(texts: &Texts) -> Value {
    texts.iter().map(|text| quoted(text)).collect()
}

fn one_or_list(texts: &Texts) -> Value {
    if let [text] = &**texts { quoted(text) } else { list(texts) }
}

/// A JSON object under way, its keys in the order in which they are given.
struct Keys<'a, 'b> {
    formatter: &'a mut fmt::Formatter<'b>,
    separator: &'static str,
}

impl<'a, 'b> Keys<'a, 'b> {
    fn open(formatter: &'a mut fmt::Formatter<'b>) -> Result<Self, fmt::Error> {
        formatter.write_str("{")?;
        Ok(Self { formatter, separator: "" })
    }

    fn member(&mut self, key: &str, value: &dyn fmt::Display) -> fmt::Result {
        write!(self.formatter, "{}{}:{value}", self.separator, quoted(key))?;
        self.separator = ",";
        Ok(())
    }

    fn close(mut self, rest: &Elements) -> fmt::Result {
        for (key, value) in rest.iter() {
            self.member(key, value)?;
        }
        self.formatter.write_str("}")
    }
}

struct Listed<'a>(&'a [Statement]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "[";
        for statement in self.0 {
            write!(formatter, "{separator}{statement}")?;
            separator = ",";
        }
        formatter.write_str(if self.0.is_empty() { "[]" } else { "]" })
    }
}
