//! Managed policies: those of the world's accounts, and the few of AWS's own that the sandbox knows.
//!
//! Pure. What must stay true: a [`Managed`] never changes once it is made, as a role does not; and a policy of AWS's reads
//! as AWS has published it.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::AccountId;

use super::role::{Document, entity_id};

/// So many versions of a policy IAM keeps.
const VERSIONS_KEPT: usize = 5;

/// One state of a managed policy.
#[derive(Debug, Clone)]
pub(super) struct Managed {
    pub(super) arn: String,
    pub(super) id: String,
    /// Since the world's start.
    pub(super) created: Duration,
    /// Oldest first; the last is the default. Never empty.
    pub(super) versions: Vec<Version>,
}

/// One version of a managed policy.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) document: Document,
    /// Since the world's start.
    pub(super) created: Duration,
}

impl Version {
    /// The version's id: `v1`.
    pub(super) fn id(&self) -> String {
        format!("v{}", self.number)
    }
}

impl Managed {
    /// A policy with a first version.
    pub(super) fn new(arn: String, document: &str, created: Duration) -> Self {
        let first = Version { number: 1, document: Document::new(document), created };
        Self { id: entity_id("ANPA", &arn), arn, created, versions: vec![first] }
    }

    /// A copy with a newer default version. Where there are too many the oldest goes, as whoever writes has to see to.
    pub(super) fn with_version(&self, document: &str, created: Duration) -> Self {
        let mut next = self.clone();
        let number = self.versions.last().map_or(0, |newest| newest.number) + 1;
        next.versions.push(Version { number, document: Document::new(document), created });
        let surplus = next.versions.len().saturating_sub(VERSIONS_KEPT);
        next.versions.drain(..surplus);
        next
    }

    pub(super) fn default_version(&self) -> Option<&Version> {
        self.versions.last()
    }

    pub(super) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id() == id)
    }

    /// The path and the name that the ARN ends with.
    pub(super) fn path_and_name(&self) -> (&str, &str) {
        let resource = self.arn.split_once(":policy").map_or("", |(_, resource)| resource);
        resource.rfind('/').map_or(("/", resource), |slash| resource.split_at(slash + 1))
    }
}

/// The ARN that is meant by an ARN, or by the name of a policy of the account's own.
pub(super) fn arn_of(account: &AccountId, arn_or_name: &str) -> String {
    if arn_or_name.starts_with("arn:") {
        return arn_or_name.to_owned();
    }
    format!("arn:aws:iam::{account}:policy/{arn_or_name}")
}

/// Whether an ARN is of a policy that AWS manages.
pub(super) fn is_of_aws(arn: &str) -> bool {
    arn.split(':').nth(4) == Some("aws")
}

/// A policy of AWS's own that every account can attach, where the sandbox knows it.
pub(super) fn of_aws(arn: &str) -> Option<&'static Arc<Managed>> {
    static KNOWN: LazyLock<BTreeMap<String, Arc<Managed>>> =
        LazyLock::new(|| published().into_iter().map(|policy| (policy.arn.clone(), Arc::new(policy))).collect());
    KNOWN.get(arn)
}

/// One of AWS's managed policies as the file beside this one holds it.
#[derive(Deserialize)]
struct Published {
    name: String,
    path: String,
    version: String,
    document: Box<RawValue>,
}

/// AWS's policies around Session Manager: published by AWS and the same in every account. Of their versions only the default
/// one is known here.
fn published() -> Vec<Managed> {
    // A test sees to it that the file can be read.
    let published: Vec<Published> = serde_json::from_str(include_str!("aws_managed_policies.json")).unwrap_or_default();
    let managed = published.into_iter().map(|Published { name, path, version, document }| {
        let mut policy = Managed::new(format!("arn:aws:iam::aws:policy{path}{name}"), document.get(), Duration::ZERO);
        for only in &mut policy.versions {
            only.number = version.trim_start_matches('v').parse().unwrap_or(1);
        }
        policy
    });
    managed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::rules;

    #[test]
    fn awss_policies_are_known_by_their_arns() {
        let published = published();
        assert_eq!(published.len(), 6);
        for policy in &published {
            rules::permission_policy(policy.versions[0].document.text()).unwrap();
            assert!(is_of_aws(&policy.arn));
        }
        let core = of_aws("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore").unwrap();
        assert_eq!(core.default_version().unwrap().id(), "v2");
        assert!(core.versions[0].document.text().contains("ssmmessages:OpenDataChannel"));
        let older = of_aws("arn:aws:iam::aws:policy/service-role/AmazonEC2RoleforSSM").unwrap();
        assert_eq!(older.path_and_name(), ("/service-role/", "AmazonEC2RoleforSSM"));
    }

    #[test]
    fn the_newest_version_is_the_default_and_the_oldest_go() {
        let mut policy = Managed::new(arn_of(&"111122223333".parse().unwrap(), "Guard"), "1", Duration::ZERO);
        assert_eq!(policy.path_and_name(), ("/", "Guard"));
        for number in 2..=7 {
            policy = policy.with_version(&number.to_string(), Duration::ZERO);
        }
        assert_eq!(policy.default_version().unwrap().id(), "v7");
        assert!(policy.version("v2").is_none());
        assert_eq!(policy.version("v3").unwrap().document.text(), "3");
    }
}
