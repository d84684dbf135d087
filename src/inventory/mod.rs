//! What IAM said of the managed roles, and nothing of the others.
//!
//! Pure; knows no AWS client. What must stay true: [`Observed::Unknown`] is not [`Observed::NotFound`], and
//! neither is a role without the policy.

mod documents;
mod kind;
mod other;
mod role_text;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::{Arc, OnceLock},
};

pub(crate) use self::documents::encoded_size;
pub use self::{
    documents::{Documents, LiveDocument},
    kind::{RoleArn, RoleKind, SurroundingsKind},
    other::{OtherPolicy, OthersDigest},
    role_text::RoleText,
};
use crate::{
    names::{PolicyName, RoleName},
    policy::evaluate::Prepared,
    selector::{Selector, TagKey},
};

/// What a reading is to find out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Roles by their names, and the policies that are looked for on each: mostly the same ones on many, and then one value.
    pub roles: BTreeMap<RoleName, Arc<BTreeSet<PolicyName>>>,
    /// Roles by what they are like: only a reading of all roles finds them.
    pub sought: BTreeSet<Sought>,
}

/// Roles that are sought by what they are like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sought {
    /// What they are like.
    pub selector: Arc<Selector>,
    /// The policy that is looked for on each.
    pub policy: PolicyName,
}

/// The tag by which whoever may tag a role has it left alone; its value says nothing, but for `false`.
pub const SUSPEND_TAG: &str = "ssm-role-controller.dev/suspend";

/// One reading of an account: exactly the roles that were asked for, by name or by what they are like.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    roles: BTreeMap<RoleName, Observed>,
}

/// Why one role could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What went wrong, in words.
    pub why: String,
    /// Whether the same reading may well succeed later with nobody doing anything.
    pub passes_by_itself: bool,
}

/// What is known of one role.
#[derive(Debug, Clone)]
pub enum Observed {
    /// The reading failed for this role: nothing follows from it. Says why, where the cause is this role's own.
    Unknown(Option<Box<Unread>>),
    /// IAM says that there is no such role.
    NotFound,
    /// The role as IAM described it; shared with the reading before where nothing about it changed.
    Found(Arc<Role>),
}

/// A role that exists. What it has in common with others it dereferences to.
#[derive(Debug, Clone)]
pub struct Role {
    /// The name as IAM spells it.
    pub name: RoleName,
    /// Its path, its tags, and the policies that were looked for.
    pub kind: Arc<RoleKind>,
    /// Everything else that bears on what its sessions may do; `None` where only a bulk read could tell.
    pub surroundings: Option<Surroundings>,
}

/// What a bulk reading tells of a role beside the policies that were looked for. What roles mostly have in common it
/// dereferences to.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// All that can be asked about.
    pub kind: Arc<SurroundingsKind>,
    /// What all inline policies of the role take of its quota, in characters.
    pub inline_size: usize,
    /// By which to see that the inline policies that were not looked for are as they were: most of their text is not kept.
    pub others_digest: OthersDigest,
}

/// A managed policy: the very value is shared by all roles that carry it, until it changes.
#[derive(Debug)]
pub struct ManagedPolicy {
    /// Its ARN.
    pub arn: Arc<str>,
    /// Its default version, or why that is not known.
    pub document: Result<Arc<LiveDocument>, String>,
    prepared: OnceLock<Arc<Prepared>>,
}

impl ManagedPolicy {
    /// Why the document of a policy is not known that nobody has asked for so far.
    pub const NOT_YET: &str = "it was not fetched yet";

    /// A policy of this document, or of none that is known.
    #[must_use]
    pub fn new(arn: Arc<str>, document: Result<Arc<LiveDocument>, String>) -> Self {
        Self { arn, document, prepared: OnceLock::new() }
    }

    /// The document ready to be asked what it allows: made once for all roles that carry it.
    #[must_use]
    pub fn prepared(&self) -> Arc<Prepared> {
        let prepare = || match &self.document {
            Ok(document) => document.prepared(),
            Err(why) => Prepared::unreadable(why.clone()),
        };
        Arc::clone(self.prepared.get_or_init(|| Arc::new(prepare())))
    }
}

impl Asked {
    /// Whether there is nothing to be found out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.sought.is_empty()
    }

    /// The policies that are looked for on a role; none where the role is neither named nor like one that is sought.
    /// `tag` looks for the value of a tag.
    pub fn looked_for<'t>(
        &self,
        name: &RoleName,
        path: &str,
        tag: impl Fn(&TagKey) -> Option<&'t str>,
    ) -> Option<Cow<'_, BTreeSet<PolicyName>>> {
        let mut looked_for = self.roles.get(name).map(|policies| Cow::Borrowed(policies.as_ref()));
        for Sought { selector, policy } in &self.sought {
            let is_known = looked_for.as_ref().is_some_and(|policies| policies.contains(policy));
            if !is_known && selector.mismatch(name.as_str(), path, &tag).is_none() {
                looked_for.get_or_insert_default().to_mut().insert(policy.clone());
            }
        }
        looked_for
    }

    /// Whether this policy of this role is looked for by name.
    #[must_use]
    pub fn names(&self, role: &RoleName, policy: &PolicyName) -> bool {
        self.roles.get(role).is_some_and(|policies| policies.contains(policy))
    }
}

impl FromIterator<(RoleName, BTreeSet<PolicyName>)> for Asked {
    fn from_iter<T: IntoIterator<Item = (RoleName, BTreeSet<PolicyName>)>>(named: T) -> Self {
        let roles = named.into_iter().map(|(role, policies)| (role, Arc::new(policies)));
        Self { roles: roles.collect(), sought: BTreeSet::new() }
    }
}

impl Deref for Role {
    type Target = RoleKind;

    fn deref(&self) -> &RoleKind {
        &self.kind
    }
}

/// Whoever changes it for one role makes another kind of that one.
impl DerefMut for Role {
    fn deref_mut(&mut self) -> &mut RoleKind {
        Arc::make_mut(&mut self.kind)
    }
}

impl Deref for Surroundings {
    type Target = SurroundingsKind;

    fn deref(&self) -> &SurroundingsKind {
        &self.kind
    }
}

/// Whoever changes it for one role makes another kind of that one.
impl DerefMut for Surroundings {
    fn deref_mut(&mut self) -> &mut SurroundingsKind {
        Arc::make_mut(&mut self.kind)
    }
}

impl Role {
    /// Whether AWS protects the role: IAM refuses changes under these paths.
    ///
    /// Source: IAM User Guide, "Service-linked roles"; IAM Identity Center User Guide, "Referencing permission sets".
    #[must_use]
    pub fn is_protected(&self) -> bool {
        let path = self.path.to_ascii_lowercase();
        path.starts_with("/aws-service-role/") || path.starts_with("/aws-reserved/") || self.name.is_aws_owned()
    }

    /// Its ARN; `None` where only a bulk read could tell.
    #[must_use]
    pub fn arn(&self) -> Option<String> {
        Some(self.surroundings.as_ref()?.arn.of(&self.path, self.name.as_str()))
    }

    /// The value of the tag of this key, among those that the reading has kept.
    #[must_use]
    pub fn tag(&self, key: &TagKey) -> Option<&str> {
        key.find(self.tags.iter().map(|(key, value)| (&**key, &**value)))
    }

    /// The same role with what a fresh read said of one policy.
    #[must_use]
    pub fn with_fresh(&self, policy: &PolicyName, live: Option<Arc<LiveDocument>>) -> Self {
        let mut fresh = self.clone();
        let size = |document: Option<&Arc<LiveDocument>>| document.map_or(0, |document| document.size());
        let before = size(fresh.policies.get(policy));
        if let Some(around) = &mut fresh.surroundings {
            around.inline_size = around.inline_size.saturating_sub(before) + size(live.as_ref());
        }
        match live {
            Some(document) => fresh.policies.insert(policy.clone(), document),
            None => fresh.policies.remove(policy),
        };
        fresh
    }
}

impl Inventory {
    /// An inventory in which every role that was asked for is unknown.
    #[must_use]
    pub fn unknown(asked: &Asked) -> Self {
        Self { roles: asked.roles.keys().map(|role| (role.clone(), Observed::Unknown(None))).collect() }
    }

    /// An inventory in which no role was found so far.
    #[must_use]
    pub fn empty(asked: &Asked) -> Self {
        Self { roles: asked.roles.keys().map(|role| (role.clone(), Observed::NotFound)).collect() }
    }

    /// Takes in what was read of one role.
    pub fn insert(&mut self, name: &RoleName, observed: Observed) {
        match self.roles.get_mut(name) {
            Some(known) => *known = observed,
            None => {
                self.roles.insert(name.clone(), observed);
            }
        }
    }

    /// Takes no more memory than what is in it: a map that grows keeps room for more.
    #[must_use]
    pub fn compact(self) -> Self {
        Self { roles: self.roles.into_iter().collect() }
    }

    /// All that was read, by the names under which it was asked for or found.
    pub fn iter(&self) -> impl Iterator<Item = (&RoleName, &Observed)> {
        self.roles.iter()
    }

    /// The roles that were found, by the names under which they were asked for.
    pub fn found(&self) -> impl Iterator<Item = (&RoleName, &Arc<Role>)> {
        self.roles.iter().filter_map(|(name, observed)| match observed {
            Observed::Found(role) => Some((name, role)),
            Observed::Unknown(_) | Observed::NotFound => None,
        })
    }

    /// What is known of the role; `None` where the reading did not ask for it.
    #[must_use]
    pub fn get(&self, role: &RoleName) -> Option<&Observed> {
        self.roles.get(role)
    }

    /// Whether every role was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.roles.values().any(|observed| matches!(observed, Observed::Unknown(_)))
    }

    /// Whether some role could not be read for a reason that may pass by itself.
    #[must_use]
    pub fn may_be_completed(&self) -> bool {
        self.roles
            .values()
            .any(|observed| matches!(observed, Observed::Unknown(Some(unread)) if unread.passes_by_itself))
    }
}
