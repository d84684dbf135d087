//! What an uncertain answer hangs on, in full. Asked only once it is known to be uncertain, so that the many sure
//! answers cost nothing for it.
//!
//! What must stay true: a statement is named only where it takes part in the uncertainty; one that another statement
//! makes irrelevant (a condition on a grant that stands elsewhere without it) is not.

use std::collections::BTreeSet;

use super::{Context, Dependence, Doubt, Permissions, Policy, Question, Truth, prepared::Statement};
use crate::policy::document::Effect;

/// An answer that is not certain: its grade, and which of its parts have that grade.
pub(super) struct Uncertain<'a> {
    pub(super) role: &'a Permissions,
    pub(super) question: &'a Question,
    pub(super) context: &'a Context,
    pub(super) grade: Truth,
    /// What the policies grant.
    pub(super) granted: Truth,
    /// What the boundary allows.
    pub(super) bounded: Truth,
}

impl Uncertain<'_> {
    /// The statements that may apply, with what each depends on.
    pub(super) fn dependences(&self) -> Vec<Dependence> {
        let dependence = |(policy, index, statement): (&Policy, usize, &Statement)| {
            let resource = !self.question.exact && statement.resource(self.question, self.context) == Truth::Depends;
            Dependence { at: policy.place(index), keys: self.keys(statement), resource, effect: statement.effect }
        };
        self.statements().map(dependence).collect()
    }

    /// What could not be read or understood.
    pub(super) fn doubts(&self) -> Vec<Doubt> {
        let unreadable = self.policies().filter_map(|(policy, _)| {
            let what = policy.document.unreadable.clone()?;
            Some(Doubt { policy: policy.name.clone(), statement: None, what, effect: None })
        });
        let unclear = self.statements().flat_map(|(policy, index, statement)| {
            let (statement_number, effect) = (Some(index), Some(statement.effect));
            let doubts = self.unclear(statement).into_iter();
            doubts.map(move |what| Doubt { policy: policy.name.clone(), statement: statement_number, what, effect })
        });
        unreadable.chain(unclear).collect()
    }

    /// Every policy, and how far what it grants counts.
    fn policies(&self) -> impl Iterator<Item = (&Policy, Truth)> {
        let policies = self.role.policies.iter().map(|policy| (policy, self.granted));
        policies.chain(self.role.boundary.iter().map(|boundary| (boundary, self.bounded)))
    }

    fn statements(&self) -> impl Iterator<Item = (&Policy, usize, &Statement)> {
        self.policies().flat_map(move |(policy, allowed)| {
            let counts = move |statement: &Statement| statement.effect == Effect::Deny || allowed == self.grade;
            let statements = policy.document.statements().filter(move |(_, statement)| {
                counts(statement) && statement.applies(self.question, self.context) == self.grade
            });
            statements.map(move |(index, statement)| (policy, index, statement))
        })
    }

    fn keys(&self, statement: &Statement) -> Vec<String> {
        let mut keys = BTreeSet::new();
        for condition in &statement.conditions {
            if condition.holds(self.context, statement.effect) == Truth::Depends {
                keys.extend(condition.keys(self.context).map(str::to_owned));
            }
        }
        for target in statement.resource.iter() {
            if statement.entry(target, self.question, self.context) == Truth::Depends {
                keys.extend(target.unknown(self.context).map(str::to_owned));
            }
        }
        keys.into_iter().collect()
    }

    fn unclear(&self, statement: &Statement) -> BTreeSet<String> {
        if let Some(unknown) = &statement.unknown {
            return BTreeSet::from([unknown.clone()]);
        }
        let mut doubts = BTreeSet::new();
        if statement.principal == Truth::Unclear {
            doubts.insert("whether its Principal is the service is not clear".to_owned());
        }
        for condition in &statement.conditions {
            if condition.holds(self.context, statement.effect) == Truth::Unclear {
                doubts.insert(condition.doubt());
            }
        }
        for target in statement.resource.iter() {
            if statement.entry(target, self.question, self.context) == Truth::Unclear {
                let mut of_target = target.doubts(self.question, self.context).map(str::to_owned).peekable();
                if of_target.peek().is_none() {
                    doubts.insert("a variable in its NotResource has no value in such a request".to_owned());
                }
                doubts.extend(of_target);
            }
        }
        doubts
    }
}
