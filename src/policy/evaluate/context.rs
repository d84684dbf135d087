//! What is known of the context of a request, and what the policy variables stand for in it.
//!
//! What must stay true: a key of which nothing was said is not known; it is never taken for absent.
//!
//! Sources: IAM User Guide, "AWS global condition context keys", "IAM policy elements: Variables and tags".

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;

use crate::policy::pattern::Pattern;

/// What is known of a request's context keys. Their names are compared ignoring case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<Box<str>, Known>);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// The request does not have it.
    Absent,
    /// The request has it, with a value that is not known.
    Present,
    /// All of its values.
    Values(Box<[Box<str>]>),
    /// Its only value is one of those that this pattern admits.
    Within(Pattern),
    /// Its only value is this moment or a later one.
    Since(Timestamp),
}

/// What a policy variable stands for.
pub(super) enum Variable {
    Text(Box<str>),
    /// Its key is absent, and it has no default.
    Nothing,
    NotKnown,
}

impl Context {
    /// A context of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What can be said of every request by a session of this role ("AWS global condition context keys", and the table
    /// of `aws:username` and its like in "IAM policy elements: Variables and tags").
    #[must_use]
    pub fn of_role_session(role_arn: &str, account: &str) -> Self {
        Self::new()
            .with("aws:PrincipalArn", [role_arn])
            .with("aws:PrincipalAccount", [account])
            .with("aws:PrincipalType", ["AssumedRole"])
            .with("aws:PrincipalIsAWSService", ["false"])
            .with_present("aws:TokenIssueTime")
            .with_present("aws:userid")
            .without("aws:username")
    }

    /// The same with these as all the values of the key.
    #[must_use]
    pub fn with<'a>(self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.saying(key, Known::Values(values.into_iter().map(Into::into).collect()))
    }

    /// The same with one value of the key, an ARN of which it is known that this pattern admits it, as
    /// [`Resource::Below`] does.
    ///
    /// [`Resource::Below`]: super::Resource::Below
    #[must_use]
    pub fn within(self, key: &str, arn: &str) -> Self {
        self.saying(key, Known::Within(Pattern::below(arn)))
    }

    /// The same with one value of the key, a moment that is not before this one; of several that are said, not before the
    /// latest. What is no moment says nothing.
    #[must_use]
    pub fn since(self, key: &str, moment: &str) -> Self {
        match (instant(moment), self.get(&key.to_ascii_lowercase())) {
            (None, _) => self,
            (Some(moment), Some(Known::Since(known))) if *known >= moment => self,
            (Some(moment), _) => self.saying(key, Known::Since(moment)),
        }
    }

    /// The same with the key there, its value not known.
    #[must_use]
    pub fn with_present(self, key: &str) -> Self {
        self.saying(key, Known::Present)
    }

    /// The same with the key absent from the request.
    #[must_use]
    pub fn without(self, key: &str) -> Self {
        self.saying(key, Known::Absent)
    }

    fn saying(mut self, key: &str, known: Known) -> Self {
        self.0.insert(key.to_ascii_lowercase().into(), known);
        self
    }

    /// What is known of a key, its name in lower case.
    pub(super) fn get(&self, key: &str) -> Option<&Known> {
        self.0.get(key)
    }

    /// What `${written}` stands for: a key's only value, or a default in its absence (`${key, 'default'}`).
    pub(super) fn variable(&self, written: &str) -> Variable {
        let (key, default) = match written.split_once(',') {
            None => (written, None),
            Some((key, default)) => (key, Some(default.trim())),
        };
        match (self.get(&key.trim().to_ascii_lowercase()), default) {
            (Some(Known::Values(values)), _) if values.len() == 1 => Variable::Text(values[0].clone()),
            (Some(Known::Absent), None) => Variable::Nothing,
            (Some(Known::Absent), Some(default)) => {
                match default.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
                    Some(text) => Variable::Text(text.into()),
                    None => Variable::NotKnown,
                }
            }
            _ => Variable::NotKnown,
        }
    }

    /// The pattern with its known variables replaced; none where one of them stands for nothing, since such a pattern
    /// matches nothing.
    pub(super) fn resolved<'a>(&self, pattern: &'a Pattern) -> Option<Cow<'a, Pattern>> {
        if pattern.variables().next().is_none() {
            return Some(Cow::Borrowed(pattern));
        }
        if pattern.variables().any(|variable| matches!(self.variable(variable), Variable::Nothing)) {
            return None;
        }
        Some(Cow::Owned(pattern.with(|variable| match self.variable(variable) {
            Variable::Text(text) => Some(text),
            Variable::Nothing | Variable::NotKnown => None,
        })))
    }
}

/// A full ISO 8601 instant, or seconds since 1970. Four digits might be a year of ISO 8601 as well as seconds, and which
/// of them IAM takes them for is not said.
#[must_use]
pub fn instant(text: &str) -> Option<Timestamp> {
    match text.parse() {
        Ok(seconds) if text.len() != 4 => Timestamp::from_second(seconds).ok(),
        Ok(_) => None,
        Err(_) => text.parse().ok(),
    }
}
