//! A document made ready for questions: its patterns read, its conditions taken apart.
//!
//! What must stay true: a statement that does not surely apply is never said to, and one that may apply is never passed
//! over.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Question, Truth,
    condition::{Condition, issued_before},
    context::{Context, Variable},
};
use crate::policy::{
    document::{self, Clause, Document, Effect, Elements},
    pattern::Pattern,
};

/// A document ready for questions, or why there is none. Prepare each distinct document once and share it.
#[derive(Debug)]
pub struct Prepared {
    statements: Box<[Statement]>,
    /// Why nothing can be told of it.
    pub(super) unreadable: Option<String>,
}

#[derive(Debug)]
pub(super) struct Statement {
    sid: Option<Arc<str>>,
    pub(super) effect: Effect,
    /// Whether it is about whom is asked about: always, in the policies of the role itself.
    pub(super) principal: Truth,
    action: Clauses<Pattern>,
    pub(super) resource: Clauses<Target>,
    pub(super) conditions: Box<[Condition]>,
    /// What stands in it and is not understood.
    pub(super) unknown: Option<String>,
}

#[derive(Debug)]
pub(super) enum Clauses<T> {
    Only(Box<[T]>),
    Except(Box<[T]>),
}

/// A resource pattern.
#[derive(Debug)]
pub(super) struct Target {
    /// What it surely admits.
    pattern: Pattern,
    /// Whether it has policy variables.
    variables: bool,
    doubts: Box<[Doubtful]>,
}

/// Why it is not certain what a resource pattern admits beyond what it surely does.
#[derive(Debug)]
struct Doubtful {
    /// What it may admit.
    reach: Pattern,
    why: &'static str,
}

/// What one document makes of a question.
pub(super) struct Verdict {
    /// How far it grants.
    pub(super) granted: Truth,
    /// How far it does not deny.
    pub(super) undenied: Truth,
    /// The first statement that surely grants.
    pub(super) granting: Option<usize>,
    /// The first statement that surely denies; nothing else counts then.
    pub(super) denying: Option<usize>,
}

impl Prepared {
    /// Makes a document ready. One with elements that are not understood beside its statements is as good as unread.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let variables = document.has_variables();
        Self {
            statements: document.statements.iter().map(|statement| Statement::of(statement, variables)).collect(),
            unreadable: names(&document.unknown),
        }
    }

    /// A role's trust policy, ready to be asked `sts:AssumeRole` for these AWS services (names of one and the same
    /// principal). A statement whose principals are others does not apply.
    ///
    /// Source: IAM User Guide, "AWS JSON policy elements: Principal", "… NotPrincipal". Whether `*` stands for services
    /// too is not said there: such a statement is unclear where its action and its conditions are met.
    #[must_use]
    pub fn of_trust(document: &Document, services: &[&str]) -> Self {
        let variables = document.has_variables();
        let statements =
            document.statements.iter().map(|statement| Statement::of_trust(statement, services, variables));
        Self { statements: statements.collect(), unreadable: names(&document.unknown) }
    }

    /// The values that its conditions compare a key (in lower case) with, in order.
    pub fn compared_with<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let conditions = self.statements.iter().flat_map(|statement| &statement.conditions);
        conditions.filter(move |condition| condition.is_about(key)).flat_map(Condition::values)
    }

    /// A document that could not be read or fetched, and why, in words.
    #[must_use]
    pub fn unreadable(why: impl Into<String>) -> Self {
        Self { statements: Box::default(), unreadable: Some(why.into()) }
    }

    /// The moment before which a session must have begun to be denied everything, where the document does just that:
    /// what the console's "Revoke sessions" writes as the inline policy `AWSRevokeOlderSessions` (IAM User Guide,
    /// "Revoke IAM role temporary security credentials"). To ask about later sessions, say so of
    /// `aws:TokenIssueTime` in the context ([`Context::since`]).
    #[must_use]
    pub fn revokes_sessions_before(&self) -> Option<&str> {
        match (&*self.statements, &self.unreadable) {
            ([statement], None) => statement.denies_all_issued_before(),
            _ => None,
        }
    }

    pub(super) fn statements(&self) -> impl Iterator<Item = (usize, &Statement)> {
        self.statements.iter().enumerate()
    }

    pub(super) fn sid(&self, statement: usize) -> Option<Arc<str>> {
        self.statements.get(statement).and_then(|statement| statement.sid.clone())
    }

    /// The first statement that allows the action, on whatever resource.
    pub(super) fn allowing(&self, question: &Question) -> Option<usize> {
        let allows = |statement: &Statement| {
            let is_about_it = statement.principal != Truth::No && statement.names_action(question);
            statement.effect == Effect::Allow && is_about_it
        };
        self.statements().find(|(_, statement)| allows(statement)).map(|(index, _)| index)
    }

    pub(super) fn verdict(&self, question: &Question, context: &Context) -> Verdict {
        let mut verdict = Verdict { granted: Truth::No, undenied: Truth::Yes, granting: None, denying: None };
        if self.unreadable.is_some() {
            return Verdict { granted: Truth::Unclear, undenied: Truth::Unclear, ..verdict };
        }
        for (index, statement) in self.statements() {
            let applies = statement.applies(question, context);
            match statement.effect {
                Effect::Allow => {
                    verdict.granted = verdict.granted.max(applies);
                    if applies == Truth::Yes && verdict.granting.is_none() {
                        verdict.granting = Some(index);
                    }
                }
                Effect::Deny => verdict.undenied = verdict.undenied.min(!applies),
            }
            if verdict.undenied == Truth::No {
                return Verdict { denying: Some(index), ..verdict };
            }
        }
        verdict
    }
}

impl Statement {
    fn of(statement: &document::Statement, variables: bool) -> Self {
        let unknown = names(&statement.unknown).or_else(|| match &statement.resource {
            None => Some("it has no Resource".to_owned()),
            Some(resource) => empty("Action", &statement.action).or_else(|| empty("Resource", resource)),
        });
        let conditions = statement.conditions.iter().map(|constraint| Condition::of(constraint, variables));
        Self {
            sid: statement.sid.as_deref().map(Arc::from),
            effect: statement.effect,
            principal: Truth::Yes,
            action: Clauses::of(&statement.action, Pattern::action),
            resource: statement.resource.as_ref().map_or(Clauses::Only(Box::default()), |clause| {
                Clauses::of(clause, |text| Target::of(text, variables))
            }),
            conditions: conditions.collect(),
            unknown,
        }
    }

    fn of_trust(statement: &document::Statement, services: &[&str], variables: bool) -> Self {
        let (principals, others): (Vec<_>, Vec<_>) =
            statement.unknown.iter().partition(|(name, _)| matches!(name.as_str(), "Principal" | "NotPrincipal"));
        let principal = match &*principals {
            [(name, principal)] if *name == "Principal" => admits_service(principal, services),
            _ => Truth::Unclear,
        };
        let strange = others.first().map(|(name, _)| format!("elements that are not understood: {name}"));
        let unknown = strange.or_else(|| empty("Action", &statement.action));
        // No resource is named in a trust policy: it is the role's own.
        let resource = Clauses::Only(Box::new([Target::of("*", false)]));
        Self { principal, resource, unknown, ..Self::of(statement, variables) }
    }

    /// Whether it applies to what is asked. An element that is not understood might widen it as well as narrow it.
    pub(super) fn applies(&self, question: &Question, context: &Context) -> Truth {
        if self.principal == Truth::No {
            return Truth::No;
        }
        if self.unknown.is_some() {
            return Truth::Unclear;
        }
        if !self.names_action(question) {
            return Truth::No;
        }
        let conditions = self.conditions.iter().map(|condition| condition.holds(context, self.effect));
        let clauses = [self.principal, self.resource(question, context)].into_iter();
        Truth::all(clauses.chain(conditions), self.effect)
    }

    fn names_action(&self, question: &Question) -> bool {
        let names = |actions: &[Pattern]| actions.iter().any(|pattern| pattern.covers(&question.action));
        match &self.action {
            Clauses::Only(actions) => names(actions),
            Clauses::Except(actions) => !names(actions),
        }
    }

    /// Whether its resources are those that are asked for.
    pub(super) fn resource(&self, question: &Question, context: &Context) -> Truth {
        let each = self.resource.iter().map(|target| self.entry(target, question, context));
        match &self.resource {
            // To see that one surely does costs less than to see how far another may.
            Clauses::Only(targets) if targets.iter().any(|target| target.pattern.covers(&question.resource)) => {
                Truth::Yes
            }
            Clauses::Only(_) => Truth::any(each, self.effect),
            Clauses::Except(_) => Truth::all(each, self.effect),
        }
    }

    /// Whether one entry of its resources lets it apply.
    ///
    /// A variable without a value matches no resource. Whether a NotResource then excludes nothing or makes the whole
    /// statement invalid is not documented, so there one that may have no value is never passed over.
    pub(super) fn entry(&self, target: &Target, question: &Question, context: &Context) -> Truth {
        match (&self.resource, target.admits(question, context)) {
            (Clauses::Only(_), admits) => admits.unwrap_or(Truth::No),
            (Clauses::Except(_), None) => Truth::Unclear,
            (Clauses::Except(_), Some(Truth::No)) if target.unknown(context).next().is_some() => Truth::Depends,
            (Clauses::Except(_), Some(admits)) => !admits,
        }
    }

    fn denies_all_issued_before(&self) -> Option<&str> {
        let (Clauses::Only(actions), Clauses::Only(targets)) = (&self.action, &self.resource) else { return None };
        let everything =
            actions.iter().any(Pattern::is_everything) && targets.iter().any(|target| target.pattern.is_everything());
        let plain = self.effect == Effect::Deny && self.unknown.is_none();
        issued_before(&self.conditions).filter(|_| plain && everything)
    }
}

impl<T> Clauses<T> {
    fn of(clause: &Clause, read: impl Fn(&str) -> T) -> Self {
        let all = |texts: &document::Texts| texts.iter().map(|text| read(text)).collect();
        match clause {
            Clause::Only(texts) => Self::Only(all(texts)),
            Clause::Except(texts) => Self::Except(all(texts)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (Self::Only(all) | Self::Except(all)) = self;
        all.iter()
    }
}

impl Target {
    fn of(text: &str, variables: bool) -> Self {
        let written = Pattern::resource(text, variables);
        let kept = written.kept_in_parts();
        let parts: Vec<Pattern> = written.parts(6).collect();
        let is_arn = text.starts_with("arn:");
        let head = || parts.iter().take(5).filter(|_| is_arn);
        if head().any(|part| part.variables().next().is_some()) {
            let why = "a variable before the fifth colon of an ARN is not one that IAM replaces";
            let doubts = Box::new([Doubtful { reach: written, why }]);
            return Self { pattern: Pattern::text(text, false), variables: false, doubts };
        }
        let mut doubts = Vec::new();
        if head().any(|part| part.lowercased() != *part) {
            // Services and Regions are written in lower case; whether IAM would compare them ignoring case is not said.
            let reach = Pattern::resource(&lower_head(text), variables);
            doubts.push(Doubtful { reach, why: "upper case before the fifth colon of an ARN" });
        }
        if is_arn && parts.len() < 6 && !text.ends_with('*') {
            // The grammar asks for six parts; what IAM makes of an older document with fewer is not documented.
            let reach = Pattern::resource(&format!("{text}:*"), variables);
            doubts.push(Doubtful { reach, why: "an ARN of fewer than six parts" });
        }
        let pattern = match kept {
            None => written,
            Some(kept) => {
                let why = "a wildcard inside a part of an ARN that would have to run across a colon";
                doubts.push(Doubtful { reach: written, why });
                kept
            }
        };
        let variables = pattern.variables().next().is_some();
        Self { pattern, variables, doubts: doubts.into() }
    }

    /// What makes it unclear whether it admits what is asked for.
    pub(super) fn doubts(&self, question: &Question, context: &Context) -> impl Iterator<Item = &'static str> {
        let may_admit = |doubtful: &&Doubtful| {
            context.resolved(&doubtful.reach).is_some_and(|reach| reach.intersects(&question.resource))
        };
        self.doubts.iter().filter(may_admit).map(|doubtful| doubtful.why)
    }

    /// Its variables that are not known.
    pub(super) fn unknown<'a>(&'a self, context: &'a Context) -> impl Iterator<Item = &'a str> {
        let variables = self.pattern.variables();
        variables.filter(|name| matches!(context.variable(name), Variable::NotKnown))
    }

    /// Whether it admits what is asked for; none where a variable in it stands for nothing.
    fn admits(&self, question: &Question, context: &Context) -> Option<Truth> {
        let asked = &question.resource;
        if self.pattern.covers(asked) {
            return Some(Truth::Yes);
        }
        if question.exact && !self.variables && self.doubts.is_empty() {
            return Some(Truth::No);
        }
        let pattern = context.resolved(&self.pattern)?;
        let truth = if pattern.covers(asked) {
            Truth::Yes
        } else if pattern.intersects(asked) {
            // Of one text, a pattern without variables admits all or nothing.
            if question.exact && pattern.variables().next().is_none() { Truth::Yes } else { Truth::Depends }
        } else if self.doubts(question, context).next().is_some() {
            Truth::Unclear
        } else {
            Truth::No
        };
        Some(truth)
    }
}

/// That an element lists nothing, in words: the grammar asks for one entry at least, and what IAM makes of none is not
/// said ("Grammar of the IAM JSON policy language").
fn empty(name: &str, clause: &Clause) -> Option<String> {
    let not = if matches!(clause, Clause::Except(_)) { "Not" } else { "" };
    clause.texts().is_empty().then(|| format!("its {not}{name} is empty"))
}

/// Whether a `Principal` element is one of these services. Kinds beyond the documented four might be anybody.
fn admits_service(principal: &Value, services: &[&str]) -> Truth {
    let Some(kinds) = principal.as_object() else { return Truth::Unclear };
    let each = kinds.iter().map(|(kind, named)| {
        let is_service = |named: &Value| match (kind.as_str(), named.as_str()) {
            ("Service", Some(name)) if services.iter().any(|service| name.eq_ignore_ascii_case(service)) => Truth::Yes,
            ("Service", Some(name)) if !name.contains(['*', '?']) => Truth::No,
            // IAM takes this for the same as a Principal of `*`.
            ("AWS", Some("*")) => Truth::Unclear,
            ("AWS" | "Federated" | "CanonicalUser", Some(_)) => Truth::No,
            _ => Truth::Unclear,
        };
        let named = named.as_array().map_or(std::slice::from_ref(named), Vec::as_slice);
        named.iter().map(is_service).max().unwrap_or(Truth::Unclear)
    });
    each.max().unwrap_or(Truth::Unclear)
}

/// The ARN with its first five parts in lower case.
fn lower_head(arn: &str) -> String {
    let parts = arn.splitn(6, ':').enumerate();
    let parts: Vec<String> =
        parts.map(|(index, part)| if index < 5 { part.to_ascii_lowercase() } else { part.to_owned() }).collect();
    parts.join(":")
}

/// The elements that are not understood, in words; none where there are none.
fn names(unknown: &Elements) -> Option<String> {
    let names: Vec<&str> = unknown.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| format!("elements that are not understood: {}", names.join(", ")))
}
