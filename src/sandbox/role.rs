//! A role of the world, and what one is seeded from.
//!
//! Pure. What must stay true: a [`Role`] never changes once it is made; whoever changes one makes another, so what was
//! rendered of it can be kept.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::names::AccountId;

/// Everything but RFC 3986's unreserved characters: what IAM encodes in a document.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One tag of a role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tag {
    /// The key, unique in the role ignoring case.
    pub key: String,
    /// The value.
    pub value: String,
}

/// An inline policy to seed: kept as it stands, valid or not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PolicySeed {
    /// The policy's name.
    pub name: String,
    /// The document's text.
    pub document: String,
}

/// A role to seed. Nothing in it is checked, so a test can plant what IAM would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSeed {
    /// The role's name.
    pub name: String,
    /// The path, `/` where nothing is said.
    #[serde(default = "root")]
    pub path: String,
    /// The trust policy, EC2's where nothing is said.
    #[serde(default = "trust_of_ec2")]
    pub trust: String,
    /// The role's tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The inline policies, in this order.
    #[serde(default)]
    pub policies: Vec<PolicySeed>,
    /// ARNs of the attached managed policies.
    #[serde(default)]
    pub attached: Vec<String>,
    /// The ARN of the permissions boundary.
    #[serde(default)]
    pub boundary: Option<String>,
    /// Names of the instance profiles that hold the role.
    #[serde(default)]
    pub instance_profiles: Vec<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// The trust policy that lets EC2 instances use a role, as the console writes it.
pub(super) fn trust_of_ec2() -> String {
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#
        .to_owned()
}

impl RoleSeed {
    /// A role that EC2 may use, with nothing attached.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: root(),
            trust: trust_of_ec2(),
            tags: Vec::new(),
            policies: Vec::new(),
            attached: Vec::new(),
            boundary: None,
            instance_profiles: Vec::new(),
        }
    }

    /// Puts the role under a path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Adds an inline policy.
    #[must_use]
    pub fn policy(mut self, name: &str, document: &str) -> Self {
        self.policies.push(PolicySeed { name: name.to_owned(), document: document.to_owned() });
        self
    }

    /// Attaches a managed policy.
    #[must_use]
    pub fn attached(mut self, arn: &str) -> Self {
        self.attached.push(arn.to_owned());
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.push(Tag { key: key.to_owned(), value: value.to_owned() });
        self
    }

    /// Sets the permissions boundary.
    #[must_use]
    pub fn boundary(mut self, arn: &str) -> Self {
        self.boundary = Some(arn.to_owned());
        self
    }

    /// Sets the trust policy.
    #[must_use]
    pub fn trust(mut self, document: &str) -> Self {
        document.clone_into(&mut self.trust);
        self
    }

    /// Puts the role into an instance profile.
    #[must_use]
    pub fn instance_profile(mut self, name: &str) -> Self {
        self.instance_profiles.push(name.to_owned());
        self
    }
}

/// What is changed of a role beside its inline policies and tags; what is not said stays as it is. Nothing is checked.
///
/// As JSON, for the control path: `{"attach":["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"],"boundary":null}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleChange {
    /// ARNs of managed policies to attach.
    pub attach: Vec<String>,
    /// ARNs of managed policies to detach.
    pub detach: Vec<String>,
    /// The ARN of the boundary from now on, or within it `None` for none.
    #[serde(deserialize_with = "said")]
    pub boundary: Option<Option<String>>,
    /// Names of all instance profiles that hold the role from now on.
    pub instance_profiles: Option<Vec<String>>,
    /// The trust policy from now on.
    pub trust: Option<String>,
}

/// A `null` that was said is something else than nothing.
fn said<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl RoleChange {
    /// Attaches a managed policy.
    #[must_use]
    pub fn attach(mut self, arn: &str) -> Self {
        self.attach.push(arn.to_owned());
        self
    }

    /// Detaches a managed policy.
    #[must_use]
    pub fn detach(mut self, arn: &str) -> Self {
        self.detach.push(arn.to_owned());
        self
    }

    /// Sets the boundary, or with `None` takes it away.
    #[must_use]
    pub fn boundary(mut self, arn: Option<&str>) -> Self {
        self.boundary = Some(arn.map(str::to_owned));
        self
    }

    /// Puts the role into these instance profiles and out of all others.
    #[must_use]
    pub fn instance_profiles(mut self, names: &[&str]) -> Self {
        self.instance_profiles = Some(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// Sets the trust policy.
    #[must_use]
    pub fn trust(mut self, document: &str) -> Self {
        self.trust = Some(document.to_owned());
        self
    }
}

/// A policy document as it was given, and as IAM returns it.
#[derive(Debug, Clone)]
pub(super) struct Document {
    text: Arc<str>,
    encoded: OnceLock<Arc<str>>,
}

impl Document {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), encoded: OnceLock::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn encoded(&self) -> &Arc<str> {
        self.encoded.get_or_init(|| utf8_percent_encode(&self.text, RESERVED).to_string().into())
    }

    /// The characters that IAM counts against the quota.
    pub(super) fn counted_size(&self) -> usize {
        self.text.chars().filter(|character| !character.is_ascii_whitespace()).count()
    }
}

/// One state of a role.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) arn: String,
    pub(super) id: String,
    pub(super) account: AccountId,
    pub(super) trust: Document,
    pub(super) description: Option<String>,
    pub(super) tags: Vec<Tag>,
    /// Since the world's start.
    pub(super) created: Duration,
    /// In the order in which they were first put.
    pub(super) policies: Vec<(String, Document)>,
    pub(super) attached: Vec<String>,
    pub(super) boundary: Option<String>,
    pub(super) instance_profiles: Vec<String>,
    /// What a bulk read says of this state, kept from its first rendering.
    pub(super) rendered: Rendered,
}

/// A place for what was rendered of a role. A copy of the role begins with an empty one, since whoever copies a role
/// is about to change it.
#[derive(Debug, Default)]
pub(super) struct Rendered(pub(super) OnceLock<String>);

impl Clone for Rendered {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Role {
    /// The `number` tells roles apart that bear one name one after another.
    pub(super) fn from_seed(account: &AccountId, seed: RoleSeed, number: usize, created: Duration) -> Self {
        let RoleSeed { name, path, trust, tags, policies, attached, boundary, instance_profiles } = seed;
        Self {
            arn: format!("arn:aws:iam::{account}:role{path}{name}"),
            id: entity_id("AROA", &format!("{account}/{name}/{number}")),
            account: account.clone(),
            trust: Document::new(&trust),
            description: None,
            tags,
            created,
            policies: policies.into_iter().map(|policy| (policy.name, Document::new(&policy.document))).collect(),
            attached,
            boundary,
            instance_profiles,
            rendered: Rendered::default(),
            name,
            path,
        }
    }

    pub(super) fn policy(&self, name: &str) -> Option<&(String, Document)> {
        self.policies.iter().find(|(known, _)| known == name)
    }

    /// A copy in which the named policy holds this document; it keeps its place, a new one comes last.
    pub(super) fn with_policy(&self, name: &str, document: Document) -> Self {
        let mut next = self.clone();
        match next.policies.iter_mut().find(|(known, _)| known == name) {
            Some((_, held)) => *held = document,
            None => next.policies.push((name.to_owned(), document)),
        }
        next
    }

    pub(super) fn without_policy(&self, name: &str) -> Self {
        let mut next = self.clone();
        next.policies.retain(|(known, _)| known != name);
        next
    }

    /// A copy to which this change was made.
    pub(super) fn with(&self, change: &RoleChange) -> Self {
        let RoleChange { attach, detach, boundary, instance_profiles, trust } = change.clone();
        let mut next = self.clone();
        next.attached.retain(|known| !detach.contains(known) && !attach.contains(known));
        next.attached.extend(attach);
        next.boundary = boundary.unwrap_or(next.boundary);
        next.instance_profiles = instance_profiles.unwrap_or(next.instance_profiles);
        next.trust = trust.map_or(next.trust, |document| Document::new(&document));
        next
    }

    /// Whether AWS alone may change the role.
    pub(super) fn is_protected(&self) -> bool {
        self.path.starts_with("/aws-service-role/") || self.path.starts_with("/aws-reserved/")
    }
}

/// An id as IAM gives them, `AROA` and 17 letters or digits: the same for the same origin, so runs can be compared.
pub(super) fn entity_id(prefix: &str, origin: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut id = prefix.to_owned();
    let (mut low, mut high) = (fingerprint(origin), fingerprint(&format!("{origin}#")));
    for position in 0..17 {
        let source = if position < 12 { &mut low } else { &mut high };
        id.push(char::from(LETTERS[(*source % 32) as usize]));
        *source /= 32;
    }
    id
}

/// FNV-1a: a short fingerprint that is the same on every machine. Not a secret, and not against malice.
pub(super) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_encoded_but_for_unreserved_characters() {
        let document = Document::new("a-b._~ +%\"*/é\n");
        assert_eq!(&**document.encoded(), "a-b._~%20%2B%25%22%2A%2F%C3%A9%0A");
        assert_eq!(document.counted_size(), 12);
    }

    #[test]
    fn a_role_id_has_the_form_of_iams_and_depends_on_its_origin_alone() {
        let id = entity_id("AROA", "x");
        assert_eq!((id.len(), &id[..4]), (21, "AROA"));
        assert!(id.bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte)));
        assert_eq!(id, entity_id("AROA", "x"));
        assert_ne!(id, entity_id("AROA", "y"));
    }
}
