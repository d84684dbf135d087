//! The one form of all documents that are written differently and mean the same, in two steps.
//!
//! A document is a set of grants and denials: one action pattern (or one `NotAction` set) on one resource pattern (or
//! one `NotResource` set), under one set of conditions. *Folding* writes each statement's names in one way; *merging*
//! then lists the whole set in one way, whatever its division into statements was. What must stay true: neither joins
//! what differs in meaning. They do not remove what another entry already covers; the comparison sees to that.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pattern::tidy;
use super::{Clause, Constraint, Document, Effect, Elements, Statement, Texts, Version};

/// One action or resource pattern, or one whole `Not…` set; for resources also their absence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    Absent,
    Only(Box<str>),
    Except(Texts),
}

/// Every one of the actions on every one of the resources.
struct Block {
    actions: BTreeSet<Term>,
    resources: BTreeSet<Term>,
}

/// What statements must have in common to be merged.
type Kind<'a> = (Effect, &'a [Constraint], &'a Elements);

impl Document {
    /// Statement by statement: action names and condition keys in lower case, lists and conditions sorted, Sids dropped,
    /// and whole statements that match nothing. The Version is 2012-10-17 wherever it makes no difference.
    pub(in crate::policy) fn folded(&self) -> Self {
        let statements = self.statements.iter().filter_map(|statement| {
            Some(Statement {
                sid: None,
                effect: statement.effect,
                action: folded_clause(&statement.action, |text| tidy(&text.to_ascii_lowercase()).into())?,
                resource: match &statement.resource {
                    None => None,
                    Some(clause) => Some(folded_clause(clause, |text| tidy(text).into())?),
                },
                conditions: folded_conditions(&statement.conditions),
                unknown: statement.unknown.clone(),
            })
        });
        let statements = statements.collect();
        let mut folded = Self { version: Version::V2012, id: None, statements, unknown: self.unknown.clone() };
        if self.version != Version::V2012 && folded.mentions_variables() {
            folded.version = Version::V2008;
        }
        folded
    }

    /// The same entries (of a folded document) in the one division into statements that depends on nothing else.
    pub(in crate::policy) fn merged(&self) -> Self {
        let mut kinds: BTreeMap<Kind<'_>, Vec<Block>> = BTreeMap::new();
        for statement in &self.statements {
            let kind = (statement.effect, &*statement.conditions, &statement.unknown);
            let block =
                Block { actions: terms(Some(&statement.action)), resources: terms(statement.resource.as_ref()) };
            kinds.entry(kind).or_default().push(block);
        }
        let mut statements = Vec::new();
        for ((effect, conditions, unknown), blocks) in kinds {
            for Block { actions, resources } in regrouped(blocks) {
                for action in clauses(&actions).into_iter().flatten() {
                    statements.extend(clauses(&resources).into_iter().map(|resource| Statement {
                        sid: None,
                        effect,
                        action: action.clone(),
                        resource,
                        conditions: conditions.into(),
                        unknown: unknown.clone(),
                    }));
                }
            }
        }
        statements.sort();
        Self { version: self.version, id: None, statements: statements.into(), unknown: self.unknown.clone() }
    }

    /// Whether the Version decides what some text means.
    fn mentions_variables(&self) -> bool {
        let mention = |texts: &Texts| texts.iter().any(|text| text.contains("${"));
        self.statements.iter().any(|statement| {
            statement.conditions.iter().any(|constraint| mention(&constraint.values))
                || statement.resource.as_ref().is_some_and(|clause| mention(clause.texts()))
        })
    }
}

/// The clause in its one form; none where it matches nothing: an empty list, or all but everything.
fn folded_clause(clause: &Clause, fold: impl Fn(&str) -> Box<str>) -> Option<Clause> {
    let texts = sorted(clause.texts().iter().map(|text| fold(text)));
    match clause {
        Clause::Only(_) => (!texts.is_empty()).then_some(Clause::Only(texts)),
        Clause::Except(_) => (!texts.iter().any(|text| &**text == "*")).then_some(Clause::Except(texts)),
    }
}

fn folded_conditions(conditions: &[Constraint]) -> Box<[Constraint]> {
    let folded = conditions.iter().map(|constraint| Constraint {
        operator: constraint.operator.to_ascii_lowercase().into(),
        key: constraint.key.to_ascii_lowercase().into(),
        values: sorted(constraint.values.iter().cloned()),
    });
    folded.collect::<BTreeSet<_>>().into_iter().collect()
}

fn sorted(texts: impl Iterator<Item = Box<str>>) -> Texts {
    texts.collect::<BTreeSet<_>>().into_iter().collect()
}

fn terms(clause: Option<&Clause>) -> BTreeSet<Term> {
    match clause {
        None => BTreeSet::from([Term::Absent]),
        Some(Clause::Only(texts)) => texts.iter().cloned().map(Term::Only).collect(),
        Some(Clause::Except(texts)) => BTreeSet::from([Term::Except(texts.clone())]),
    }
}

/// Regroups blocks so that each action stands in one of them, with all of its resources, beside the actions that have
/// the very same ones.
///
/// Actions are first brought together by the blocks that they occur in, so that the pairs themselves, of which there
/// may be a million, are never listed.
fn regrouped(blocks: Vec<Block>) -> Vec<Block> {
    if blocks.len() == 1 {
        return blocks;
    }
    let mut occurrences: BTreeMap<&Term, Vec<usize>> = BTreeMap::new();
    for (index, block) in blocks.iter().enumerate() {
        for action in &block.actions {
            occurrences.entry(action).or_default().push(index);
        }
    }
    let mut alike: BTreeMap<Vec<usize>, Vec<&Term>> = BTreeMap::new();
    for (action, indexes) in occurrences {
        alike.entry(indexes).or_default().push(action);
    }
    let mut by_resources: BTreeMap<BTreeSet<&Term>, BTreeSet<Term>> = BTreeMap::new();
    for (indexes, actions) in alike {
        let resources = indexes.into_iter().flat_map(|index| &blocks[index].resources).collect();
        by_resources.entry(resources).or_default().extend(actions.into_iter().cloned());
    }
    let block = |(resources, actions): (BTreeSet<&Term>, _)| Block {
        actions,
        resources: resources.into_iter().cloned().collect(),
    };
    by_resources.into_iter().map(block).collect()
}

/// The fewest clauses that hold these terms.
fn clauses(terms: &BTreeSet<Term>) -> Vec<Option<Clause>> {
    let only: Texts = terms
        .iter()
        .filter_map(|term| match term {
            Term::Only(text) => Some(text.clone()),
            Term::Absent | Term::Except(_) => None,
        })
        .collect();
    let mut clauses: Vec<Option<Clause>> = terms
        .iter()
        .filter_map(|term| match term {
            Term::Absent => Some(None),
            Term::Only(_) => None,
            Term::Except(texts) => Some(Some(Clause::Except(texts.clone()))),
        })
        .collect();
    if !only.is_empty() {
        clauses.push(Some(Clause::Only(only)));
    }
    clauses
}
