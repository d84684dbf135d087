//! What roles have in common: most roles of an account differ by little more than their names.
//!
//! Pure. What must stay true: whatever is kept here of a role is what IAM told of that role, shared or not.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::{LiveDocument, ManagedPolicy, OtherPolicy, RoleText};
use crate::{
    few::Few,
    names::{Partition, PolicyName},
};

/// What a role has in common with others whose policies are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleKind {
    /// The role's path, `/` or `/…/`.
    pub path: Arc<str>,
    /// Whether the role carries the tag that asks to be left alone: [`super::SUSPEND_TAG`].
    pub is_suspended: bool,
    /// Those of its tags that the reading sought roles by.
    pub tags: Few<Arc<str>, Arc<str>>,
    /// The policies that were looked for and found.
    pub policies: Few<PolicyName, Arc<LiveDocument>>,
}

/// What roles mostly have in common of that which only a bulk reading tells: texts that hold their names are alike without.
#[derive(Debug, Clone)]
pub struct SurroundingsKind {
    /// The role's ARN, but for what its path and name say.
    pub arn: RoleArn,
    /// Who may assume it.
    pub trust: Arc<LiveDocument>,
    /// The managed policies that are attached to it.
    pub attached: Vec<Arc<ManagedPolicy>>,
    /// Its permissions boundary.
    pub boundary: Option<Arc<ManagedPolicy>>,
    /// The instance profiles that hold it: one of its name, mostly.
    pub instance_profiles: Box<[RoleText]>,
    /// The inline policies that were not looked for, by name.
    pub others: Few<Arc<str>, OtherPolicy>,
}

/// A role's ARN, but for what its path and name say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RoleArn {
    /// It goes on with the path and the name, as all do.
    Start(Arc<str>),
    /// It does not.
    Whole(Arc<str>),
}

impl RoleKind {
    /// Of a role under a path, of which nothing else is known.
    #[must_use]
    pub fn at(path: &str) -> Arc<Self> {
        let path = path.into();
        Arc::new(Self { path, is_suspended: false, tags: Few::default(), policies: Few::default() })
    }
}

impl RoleArn {
    /// What there is to be kept of the ARN of a role of this path and name.
    #[must_use]
    pub fn new(arn: &str, path: &str, name: &str) -> Self {
        match arn.strip_suffix(name).and_then(|arn| arn.strip_suffix(path)) {
            Some(start) => Self::Start(start.into()),
            None => Self::Whole(arn.into()),
        }
    }

    /// The ARN of the role of this path and name.
    #[must_use]
    pub fn of(&self, path: &str, name: &str) -> String {
        match self {
            Self::Start(start) => format!("{start}{path}{name}"),
            Self::Whole(whole) => whole.to_string(),
        }
    }

    /// Whether this is it.
    #[must_use]
    pub fn is(&self, arn: &str, path: &str, name: &str) -> bool {
        match self {
            Self::Start(start) => {
                let rest = arn.strip_prefix(&**start).and_then(|rest| rest.strip_prefix(path));
                rest == Some(name)
            }
            Self::Whole(whole) => **whole == *arn,
        }
    }

    /// The partition that it names; the usual one where it names none.
    #[must_use]
    pub fn partition(&self) -> Partition {
        let (Self::Start(text) | Self::Whole(text)) = self;
        text.split(':').nth(1).and_then(|part| part.parse().ok()).unwrap_or_default()
    }
}

/// Two are alike where they carry the very same values of managed policies, and not only the same texts.
impl PartialEq for SurroundingsKind {
    fn eq(&self, other: &Self) -> bool {
        let are_same = |one: &Arc<ManagedPolicy>, other: &Arc<ManagedPolicy>| Arc::ptr_eq(one, other);
        self.arn == other.arn
            && self.trust == other.trust
            && self.instance_profiles == other.instance_profiles
            && self.others == other.others
            && self.boundary.is_some() == other.boundary.is_some()
            && self.attached.len() == other.attached.len()
            && self.managed().zip(other.managed()).all(|(one, other)| are_same(one, other))
    }
}

impl Eq for SurroundingsKind {}

impl Hash for SurroundingsKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.arn.hash(state);
        self.trust.hash(state);
        self.instance_profiles.hash(state);
        self.others.hash(state);
        self.managed().for_each(|policy| Arc::as_ptr(policy).hash(state));
    }
}

impl SurroundingsKind {
    /// The managed policies: those that are attached, and the boundary.
    pub fn managed(&self) -> impl Iterator<Item = &Arc<ManagedPolicy>> {
        self.attached.iter().chain(&self.boundary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_told_as_it_was_whether_it_goes_on_with_path_and_name_or_not() {
        for (arn, path, name, is_kept_short) in [
            ("arn:aws:iam::111122223333:role/web", "/", "web", true),
            ("arn:aws-cn:iam::111122223333:role/fleet/a/web", "/fleet/a/", "web", true),
            ("arn:aws:iam::111122223333:role/Web", "/", "web", false),
            ("arn:aws:iam::111122223333:role/web", "/fleet/", "web", false),
            ("", "/", "web", false),
        ] {
            let kept = RoleArn::new(arn, path, name);
            assert_eq!(matches!(kept, RoleArn::Start(_)), is_kept_short, "{arn}");
            assert_eq!(kept.of(path, name), arn);
            assert!(kept.is(arn, path, name), "{arn}");
            assert!(!kept.is(&format!("{arn}2"), path, name), "{arn}");
        }
        let kept = RoleArn::new("arn:aws-cn:iam::111122223333:role/web", "/", "web");
        assert_eq!(kept.partition().as_str(), "aws-cn");
        assert!(!kept.is("arn:aws-cn:iam::111122223333:role/fleet/web", "/", "web"));
        assert!(!kept.is("arn:aws-cn:iam::444455556666:role/web", "/", "web"));
    }
}
