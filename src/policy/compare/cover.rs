//! Which entries of one document no single entry of another covers.
//!
//! What must stay true: the statements are taken as they were divided, never merged first. Merging can multiply the
//! patterns of a document that was made for it, and each of them is asked for each of the other document's.

use std::collections::BTreeMap;

use super::super::document::{Clause, Constraint, Document, Statement, Texts};
use super::super::pattern::Pattern;

/// A statement with its patterns read once, since each is asked many times.
struct Read<'a> {
    statement: &'a Statement,
    actions: Reach,
    resources: Option<Reach>,
}

/// A clause's patterns.
enum Reach {
    Only(Vec<Pattern>),
    Except(Vec<Pattern>),
}

/// The part of `ours` that `theirs` does not cover, both folded.
pub(super) fn uncovered(ours: &Document, theirs: &Document) -> Document {
    let same_syntax = ours.has_variables() == theirs.has_variables();
    // What is not understood may mean anything, for the whole document.
    let comparable = ours.unknown == theirs.unknown;
    // Most statements stand on the other side as they are: no pattern need be read for them.
    let stands = |statement: &&Statement| comparable && same_syntax && theirs.statements.contains(statement);
    let differing: Vec<&Statement> = ours.statements.iter().filter(|statement| !stands(statement)).collect();
    let covering: &[Statement] = if comparable && !differing.is_empty() { &theirs.statements } else { &[] };
    let covering: Vec<Read<'_>> = covering.iter().map(|statement| read(statement, theirs.has_variables())).collect();
    let mut uncovered = Vec::new();
    for statement in differing {
        let read = read(statement, ours.has_variables());
        let covers: Vec<Cover> = covering
            .iter()
            .filter(|other| may_cover(other.statement, statement, same_syntax))
            .map(|other| Cover::of(other, &read))
            .collect();
        let (actions, resources) = (read.actions.entries(), read.resources.as_ref().map_or(1, Reach::entries));
        for (actions, resources) in remainder(&covers, actions, resources) {
            uncovered.push(Statement {
                sid: None,
                effect: statement.effect,
                action: chosen(&statement.action, &actions),
                resource: statement.resource.as_ref().map(|clause| chosen(clause, &resources)),
                conditions: statement.conditions.clone(),
                unknown: statement.unknown.clone(),
            });
        }
    }
    Document { version: ours.version, id: None, statements: uncovered.into(), unknown: ours.unknown.clone() }
}

/// What one statement covers of another: its entry pairs are those of a covered action and a covered resource.
struct Cover {
    actions: Vec<bool>,
    resources: Vec<bool>,
}

impl Cover {
    fn of(coverer: &Read<'_>, covered: &Read<'_>) -> Self {
        let resources = match (&coverer.resources, &covered.resources) {
            (None, None) => vec![true],
            (Some(coverer), Some(covered)) => coverer.covered(covered),
            // A statement without resources belongs to another kind of policy.
            (None, Some(covered)) => vec![false; covered.entries()],
            (Some(_), None) => vec![false],
        };
        Self { actions: coverer.actions.covered(&covered.actions), resources }
    }
}

/// The pairs of an action and a resource that none of these cover, as blocks of indexes.
fn remainder(covers: &[Cover], actions: usize, resources: usize) -> impl Iterator<Item = (Vec<usize>, Vec<usize>)> {
    // Actions that the very same statements cover lack the same resources: one block for all of them.
    let mut alike: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for action in 0..actions {
        let by = covers.iter().enumerate().filter(|(_, cover)| cover.actions[action]).map(|(index, _)| index);
        alike.entry(by.collect()).or_default().push(action);
    }
    alike.into_iter().filter_map(move |(by, actions)| {
        let lacking: Vec<usize> =
            (0..resources).filter(|resource| !by.iter().any(|index| covers[*index].resources[*resource])).collect();
        (!lacking.is_empty()).then_some((actions, lacking))
    })
}

fn chosen(clause: &Clause, indexes: &[usize]) -> Clause {
    match clause {
        Clause::Only(texts) => Clause::Only(indexes.iter().map(|index| texts[*index].clone()).collect()),
        Clause::Except(_) => clause.clone(),
    }
}

/// Whether `coverer` could cover entries of `covered`, as far as effect and conditions go. A condition only restricts,
/// so the coverer's must all stand in the other as well.
fn may_cover(coverer: &Statement, covered: &Statement, same_syntax: bool) -> bool {
    let stands = |constraint: &Constraint| {
        covered.conditions.binary_search(constraint).is_ok()
            && (same_syntax || !constraint.values.iter().any(|value| value.contains("${")))
    };
    coverer.effect == covered.effect && coverer.conditions.iter().all(stands) && coverer.unknown == covered.unknown
}

fn read(statement: &Statement, variables: bool) -> Read<'_> {
    Read {
        statement,
        actions: Reach::of(&statement.action, Pattern::action),
        resources: statement
            .resource
            .as_ref()
            .map(|clause| Reach::of(clause, |text| Pattern::resource(text, variables))),
    }
}

impl Reach {
    fn of(clause: &Clause, pattern: impl Fn(&str) -> Pattern) -> Self {
        let patterns = |texts: &Texts| texts.iter().map(|text| pattern(text)).collect();
        match clause {
            Clause::Only(texts) => Self::Only(patterns(texts)),
            Clause::Except(texts) => Self::Except(patterns(texts)),
        }
    }

    /// How many entries the clause contributes: its patterns one by one, but a `Not…` set as a whole.
    fn entries(&self) -> usize {
        match self {
            Self::Only(patterns) => patterns.len(),
            Self::Except(_) => 1,
        }
    }

    /// For each entry of `other`, whether some entry of this clause covers it.
    fn covered(&self, other: &Self) -> Vec<bool> {
        match (self, other) {
            (Self::Only(ours), Self::Only(theirs)) => {
                theirs.iter().map(|pattern| ours.iter().any(|own| own.covers(pattern))).collect()
            }
            (Self::Except(ours), Self::Only(theirs)) => {
                theirs.iter().map(|pattern| !ours.iter().any(|own| own.intersects(pattern))).collect()
            }
            // All but a few is covered by what excludes no more than that.
            (Self::Except(ours), Self::Except(theirs)) => {
                vec![ours.iter().all(|own| theirs.iter().any(|excluded| excluded.covers(own)))]
            }
            (Self::Only(ours), Self::Except(_)) => vec![ours.iter().any(Pattern::is_everything)],
        }
    }
}
