//! How a live document departs from the desired one, and in which direction.
//!
//! Knows documents and patterns, and neither services nor roles. Both documents are sets of single grants and denials
//! (one action pattern on one resource pattern under some conditions); each one that no single entry of the other
//! document covers is a difference. What must stay true: where it cannot be told that an entry is covered, it counts
//! as different. So a doubt is shown as drift, and never hides any.
//!
//! The pairs of actions and resources are never listed: whether a statement covers a pair is whether it covers the
//! action and the resource, so each pattern is asked once for each pattern of its own kind. Two ordinary documents take
//! microseconds, and two that fill IAM's quota with what is worst for this take a fraction of a second (see the tests).
//!
//! Source: IAM User Guide, "Policy evaluation logic" (any Allow suffices, any Deny decides).

mod cover;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

use super::document::{Clause, Constraint, Document, Effect, condition};
use super::pattern::tidy;
use crate::text::printable_json;

/// How a live policy departs from the desired one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Drift {
    /// There is no live policy.
    Missing,
    /// It grants less.
    Narrowed,
    /// It grants more.
    Widened,
    /// It grants both less and more, or cannot be read.
    Altered,
    /// It is written differently and means the same: in sync.
    Cosmetic,
}

/// On which side a difference stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The live policy has it and the desired one does not.
    Gained,
    /// The desired policy has it and the live one does not.
    Lost,
}

/// Some entries that only one of the documents has: every one of the actions on every one of the resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// On which side they stand.
    pub change: Direction,
    /// Whether they grant or deny.
    pub effect: Effect,
    /// Action patterns as written, or one `NotAction: …`.
    pub actions: Vec<String>,
    /// Resource patterns, or one `NotResource: …`; none where the statement has no resource element.
    pub resources: Vec<String>,
    /// The statement's `Condition`.
    pub condition: Option<Value>,
}

/// What came of comparing two documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How the live policy departs; none where it is equal as written.
    pub drift: Option<Drift>,
    /// What is different, sorted; empty where the documents mean the same.
    pub changes: Vec<Change>,
}

/// Compares what is wanted with what is there.
#[must_use]
pub fn compare(desired: &Document, live: &Document) -> Comparison {
    if desired == live {
        return Comparison { drift: None, changes: Vec::new() };
    }
    let (wanted, found) = (desired.folded(), live.folded());
    let mut changes = changes(Direction::Gained, live, &cover::uncovered(&found, &wanted));
    changes.extend(self::changes(Direction::Lost, desired, &cover::uncovered(&wanted, &found)));
    let any = |more: bool| changes.iter().any(|change| change.grants_more() == more);
    let drift = match (any(false), any(true)) {
        (false, false) => Drift::Cosmetic,
        (true, false) => Drift::Narrowed,
        (false, true) => Drift::Widened,
        (true, true) => Drift::Altered,
    };
    Comparison { drift: Some(drift), changes }
}

/// The comparison with no live policy at all: everything is lost.
#[must_use]
pub fn compare_missing(desired: &Document) -> Comparison {
    Comparison { drift: Some(Drift::Missing), changes: all_lost(desired) }
}

/// The comparison with a live policy that is no policy document: nothing can be relied upon.
#[must_use]
pub fn compare_unreadable(desired: &Document) -> Comparison {
    Comparison { drift: Some(Drift::Altered), changes: all_lost(desired) }
}

/// The comparison with no wish for a policy at all: whatever is there is too much.
#[must_use]
pub fn compare_unwanted(live: &Document) -> Comparison {
    Comparison { drift: Some(Drift::Widened), changes: changes(Direction::Gained, live, &live.folded()) }
}

fn all_lost(desired: &Document) -> Vec<Change> {
    changes(Direction::Lost, desired, &desired.folded())
}

impl Change {
    /// A gained grant and a lost denial let more through; the other two let less through.
    fn grants_more(&self) -> bool {
        (self.change == Direction::Gained) == (self.effect == Effect::Allow)
    }
}

/// The differing entries (folded) as few changes: actions that differ on the same resources stand together.
/// Names are spelled as in `written`, since folding lost their case.
fn changes(change: Direction, written: &Document, differing: &Document) -> Vec<Change> {
    type Alike<'a> = (Effect, &'a Option<Clause>, &'a [Constraint]);
    if differing.statements.is_empty() {
        return Vec::new();
    }
    let differing = differing.merged();
    let spelling = Spelling::of(written);
    let mut grouped: BTreeMap<Alike<'_>, Vec<String>> = BTreeMap::new();
    let mut changes = Vec::new();
    for statement in &differing.statements {
        let alike = (statement.effect, &statement.resource, &*statement.conditions);
        match &statement.action {
            Clause::Only(actions) => {
                let names = actions.iter().map(|action| spelling.restore(action));
                grouped.entry(alike).or_default().extend(names);
            }
            Clause::Except(actions) => {
                let names: Vec<String> = actions.iter().map(|action| spelling.restore(action)).collect();
                changes.push((alike, vec![format!("NotAction: {}", names.join(", "))]));
            }
        }
    }
    changes.extend(grouped);
    let mut changes: Vec<Change> = changes
        .into_iter()
        .map(|((effect, resource, conditions), mut actions)| {
            actions.sort();
            actions.dedup();
            let resources = match resource {
                None => Vec::new(),
                Some(Clause::Only(texts)) => texts.iter().map(ToString::to_string).collect(),
                Some(Clause::Except(texts)) => vec![format!("NotResource: {}", texts.join(", "))],
            };
            let condition = condition(conditions, |name| spelling.restore(name));
            Change { change, effect, actions, resources, condition }
        })
        .collect();
    changes.sort_by_cached_key(|change| {
        let condition = change.condition.as_ref().map(Value::to_string);
        (change.effect, change.actions.clone(), change.resources.clone(), condition)
    });
    changes
}

/// How a document spells its names, by their folded form; the first in order where it spells one in several ways.
struct Spelling<'a>(BTreeMap<String, &'a str>);

impl<'a> Spelling<'a> {
    fn of(document: &'a Document) -> Self {
        let names = document.statements.iter().flat_map(|statement| {
            let conditions = statement.conditions.iter().flat_map(|line| [&line.operator, &line.key]);
            statement.action.texts().iter().chain(conditions)
        });
        let mut spelling = BTreeMap::new();
        for name in names {
            let kept: &mut &str = spelling.entry(tidy(&name.to_ascii_lowercase()).into_owned()).or_insert(name);
            *kept = (*kept).min(name);
        }
        Self(spelling)
    }

    fn restore(&self, folded: &str) -> String {
        self.0.get(folded).copied().unwrap_or(folded).to_owned()
    }
}

impl Drift {
    /// The word for it, as in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Narrowed => "narrowed",
            Self::Widened => "widened",
            Self::Altered => "altered",
            Self::Cosmetic => "cosmetic",
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Gained => "gained",
            Self::Lost => "lost",
        })
    }
}

/// One line, such as `lost Allow kms:Decrypt on *`. Control characters cannot break it.
impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.change, self.summary())
    }
}

impl Change {
    /// What is gained or lost, on one line: `Allow kms:Decrypt on *`.
    #[must_use]
    pub fn summary(&self) -> String {
        let line = |texts: &[String]| texts.join(", ").replace(char::is_control, " ");
        let mut summary = format!("{} {}", self.effect, line(&self.actions));
        if !self.resources.is_empty() {
            summary.push_str(" on ");
            summary.push_str(&line(&self.resources));
        }
        if let Some(condition) = &self.condition {
            // JSON itself escapes a part of the control characters only.
            summary.push_str(&format!(" if {}", printable_json(&condition.to_string())));
        }
        summary
    }
}
