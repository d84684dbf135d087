//! Whether IAM would allow an action on a resource to a role's session, from what IAM itself tells of the role: its
//! inline policies, its attached managed policies and its permissions boundary.
//!
//! Knows IAM's rules of evaluation and no service. Not seen here, and able to say otherwise: resource policies (a
//! bucket's, a key's), SCPs and RCPs, session and endpoint policies. What must stay true: the answer is never a guess.
//! [`Answer::Allowed`] and [`Answer::Denied`] hold whatever is not known; everything else is one of the other two.
//!
//! A document is prepared once ([`Prepared`]) and shared by all roles that have it; a question costs about a
//! microsecond per policy.
//!
//! # The rules
//! - A Deny that surely applies decides, wherever it stands and whatever else cannot be read. Without one the role's
//!   policies must grant, and so must its boundary ("Policy evaluation logic", "Permissions boundaries for IAM
//!   entities"). Who asks about more than the role's policies must know that a boundary that is silent does not stop
//!   what a resource policy grants to the session.
//! - What is not certain has two grades: it *depends* on something of the request that is not known, or it is *unclear*
//!   because something could not be read or understood. For the role they are ordered: no, unclear, depends, yes. A
//!   conjunction is worth its least, a choice its best, and a Deny is worth the opposite of its match. So an Allow
//!   more never takes away, and a Deny or a boundary more never gives.
//! - An unreadable policy may grant as well as deny: it makes the answer unclear unless a Deny or the boundary decides.
//! - Wildcards are compared with an ARN as a whole, and a `*` that ends one of its first five parts runs on across colons
//!   ("IAM JSON policy elements: Resource", under "Using wildcards in resource ARNs"). That a wildcard inside such a part
//!   does is said nowhere: where a match hangs on it, the answer is unclear. The sixth part is one, colons and all.
//! - A list of nothing is unclear: the grammar asks for one entry at least ("Grammar of the IAM JSON policy language").
//! - In a trust policy the principal is one more clause, weighed with action and conditions; `*`, `NotPrincipal` and kinds
//!   that are not documented are unclear for a service ("AWS JSON policy elements: Principal", "… NotPrincipal").
//! - A moment is a full ISO 8601 instant or seconds since 1970 ("… Condition operators", "Date condition operators"); four
//!   digits might be either.
//!
//! Sources: IAM User Guide, "Policy evaluation logic", "Permissions boundaries for IAM entities", "IAM JSON policy
//! elements: Action", "… NotAction", "… Resource", "… NotResource", "… Version", "… Condition", "… Condition
//! operators", "IAM policy elements: Variables and tags".

mod condition;
mod context;
mod explain;
mod prepared;
#[cfg(test)]
mod tests;

use std::{fmt, ops::Not, sync::Arc};

use super::pattern::Pattern;

pub use super::document::Effect;
pub use context::{Context, instant};
pub use prepared::Prepared;

/// What is asked: may this be done?
#[derive(Debug, Clone)]
pub struct Question {
    action: Pattern,
    resource: Pattern,
    /// Whether the resource is one and known.
    exact: bool,
}

/// The resource of a [`Question`].
#[derive(Debug, Clone, Copy)]
pub enum Resource<'a> {
    /// None: for actions without resource types (`ssmmessages:OpenDataChannel`; the Service Authorization Reference
    /// tells), where IAM compares with a literal `*`. Only a statement whose Resource is `*` (or whose NotResource is
    /// not) applies to it: an Allow of some ARN does not grant it, and a Deny of some ARN does not deny it.
    Unnamed,
    /// This ARN, every character of it as it stands.
    Exactly(&'a str),
    /// Some resource that this pattern admits, where it is not known which ("any instance of the account"): the answer
    /// is sure where it is the same for all of them by the same statement. What stands for a wildcard holds no colon, as
    /// no Region, account or id does ("Amazon Resource Names (ARNs)").
    Within(&'a str),
    /// The same, but that a wildcard after the fifth colon stands for anything: the key of an object may hold colons.
    Below(&'a str),
}

/// Everything that IAM knows of what a role's sessions may do.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    /// Its inline and attached policies, in any order.
    pub policies: Vec<Policy>,
    /// The policy that its permissions are bounded by.
    pub boundary: Option<Policy>,
}

/// A policy of a role.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which policy it is.
    pub name: PolicyName,
    /// What it says, or why that is not known.
    pub document: Arc<Prepared>,
}

/// By what a policy is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyName {
    /// How it belongs to the role.
    pub kind: Kind,
    /// An inline policy's name, a managed one's ARN.
    pub name: Arc<str>,
}

/// How a policy belongs to a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Embedded in the role.
    Inline,
    /// Attached to it.
    Managed,
    /// Its permissions boundary.
    Boundary,
    /// Its trust policy: who may assume it.
    Trust,
}

/// What came of a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is allowed.
    Allowed {
        /// The first statement that grants it.
        by: Place,
    },
    /// It is denied.
    Denied(Denial),
    /// It depends on what of the request is not known; not empty.
    Conditional {
        /// All that it depends on.
        on: Vec<Dependence>,
    },
    /// Something that could decide it could not be read or is not understood; not empty.
    Unknown {
        /// All such things.
        why: Vec<Doubt>,
    },
}

/// Why something is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// By a Deny.
    Explicitly {
        /// The first one.
        by: Place,
    },
    /// No policy grants it.
    NotGranted,
    /// The permissions boundary does not allow it, whatever the policies grant.
    NotByBoundary {
        /// The boundary.
        boundary: PolicyName,
    },
}

/// A statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The policy.
    pub policy: PolicyName,
    /// The statement, counted from 0.
    pub statement: usize,
    /// Its Sid.
    pub sid: Option<Arc<str>>,
}

/// A statement that may apply or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependence {
    /// The statement.
    pub at: Place,
    /// The condition keys and policy variables whose values decide, as written, sorted.
    pub keys: Vec<String>,
    /// Whether it applies to some of the resources that were asked for, and not to others.
    pub resource: bool,
    /// What it does where it applies.
    pub effect: Effect,
}

/// Something that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doubt {
    /// The policy.
    pub policy: PolicyName,
    /// The statement, counted from 0; none where it is the whole policy.
    pub statement: Option<usize>,
    /// What it is, in words.
    pub what: String,
    /// What the statement does where it applies; none where it is the whole policy.
    pub effect: Option<Effect>,
}

/// How far something is true, from what is known. The order is what a role would prefer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    No,
    /// Something is not understood.
    Unclear,
    /// Something of the request is not known.
    Depends,
    Yes,
}

impl Question {
    /// May `action` (a full name, in any case) be done on `resource`?
    #[must_use]
    pub fn new(action: &str, resource: Resource<'_>) -> Self {
        let pattern = match resource {
            Resource::Unnamed => Pattern::text("*", false),
            Resource::Exactly(arn) => Pattern::text(arn, false),
            Resource::Within(arn) => Pattern::within(arn),
            Resource::Below(arn) => Pattern::below(arn),
        };
        let action = Pattern::text(&action.to_ascii_lowercase(), false);
        Self { action, exact: pattern.is_plain(), resource: pattern }
    }
}

impl Permissions {
    /// Whether IAM would allow it, as far as these policies decide ("Policy evaluation logic").
    #[must_use]
    pub fn answer(&self, question: &Question, context: &Context) -> Answer {
        let (mut undenied, mut granted) = (Truth::Yes, Truth::No);
        let mut granting = None;
        for policy in &self.policies {
            let verdict = policy.document.verdict(question, context);
            if let Some(statement) = verdict.denying {
                return Answer::Denied(Denial::Explicitly { by: policy.place(statement) });
            }
            undenied = undenied.min(verdict.undenied);
            granted = granted.max(verdict.granted);
            granting = granting.or(verdict.granting.map(|statement| (policy, statement)));
        }
        let mut bounded = Truth::Yes;
        if let Some(boundary) = &self.boundary {
            let verdict = boundary.document.verdict(question, context);
            if let Some(statement) = verdict.denying {
                return Answer::Denied(Denial::Explicitly { by: boundary.place(statement) });
            }
            undenied = undenied.min(verdict.undenied);
            bounded = verdict.granted;
            if bounded == Truth::No && granted != Truth::No {
                return Answer::Denied(Denial::NotByBoundary { boundary: boundary.name.clone() });
            }
        }
        let grade = granted.min(bounded).min(undenied);
        let uncertain = explain::Uncertain { role: self, question, context, grade, granted, bounded };
        match (grade, granting) {
            (Truth::No, _) => Answer::Denied(Denial::NotGranted),
            (Truth::Yes, Some((policy, statement))) => Answer::Allowed { by: policy.place(statement) },
            (Truth::Unclear, _) => Answer::Unknown { why: uncertain.doubts() },
            (Truth::Depends | Truth::Yes, _) => Answer::Conditional { on: uncertain.dependences() },
        }
    }

    /// Where nothing grants it: the first statement that allows the action all the same, on other resources or under
    /// conditions that are not met.
    #[must_use]
    pub fn nearest(&self, question: &Question) -> Option<Place> {
        self.policies.iter().find_map(|policy| Some(policy.place(policy.document.allowing(question)?)))
    }
}

impl Policy {
    fn place(&self, statement: usize) -> Place {
        Place { policy: self.name.clone(), statement, sid: self.document.sid(statement) }
    }
}

impl Truth {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Both, in a statement of this effect: a Deny is worth the opposite of its match, so there the order of the two
    /// uncertain grades is turned as well.
    fn and(self, other: Self, effect: Effect) -> Self {
        match effect {
            Effect::Allow => self.min(other),
            Effect::Deny => !(!self).max(!other),
        }
    }

    /// One of both, in a statement of this effect.
    fn or(self, other: Self, effect: Effect) -> Self {
        match effect {
            Effect::Allow => self.max(other),
            Effect::Deny => !(!self).min(!other),
        }
    }

    fn all(mut truths: impl Iterator<Item = Self>, effect: Effect) -> Self {
        let all = truths.try_fold(Self::Yes, |all, truth| match all.and(truth, effect) {
            Self::No => Err(Self::No),
            all => Ok(all),
        });
        all.unwrap_or_else(|no| no)
    }

    fn any(mut truths: impl Iterator<Item = Self>, effect: Effect) -> Self {
        let any = truths.try_fold(Self::No, |any, truth| match any.or(truth, effect) {
            Self::Yes => Err(Self::Yes),
            any => Ok(any),
        });
        any.unwrap_or_else(|yes| yes)
    }
}

impl Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            uncertain => uncertain,
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Inline => "inline policy",
            Kind::Managed => "managed policy",
            Kind::Boundary => "permissions boundary",
            Kind::Trust => return formatter.write_str("the trust policy"),
        };
        write!(formatter, "{kind} {}", self.name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "statement {}", self.statement + 1)?;
        if let Some(sid) = self.sid.as_deref().filter(|sid| !sid.is_empty()) {
            write!(formatter, " ({sid})")?;
        }
        write!(formatter, " of {}", self.policy)
    }
}
