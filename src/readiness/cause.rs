//! Why a role is ready for sessions or is not: one stable word for each fact that can decide.
//!
//! Pure. What must stay true: every word is explained in docs/reasons.md and allowed by docs/explain.schema.json.

use std::fmt;

use serde::{Serialize, Serializer};

/// Why a condition has the status that it has: a stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Nothing that IAM tells stands in the way.
    Ready,
    /// The trust policy does not admit the platform's service.
    TrustPolicyRefuses,
    /// No instance profile holds the role.
    NoInstanceProfile,
    /// The node cannot make itself known to Systems Manager.
    CannotRegister,
    /// The node registers with the role though Default Host Management is meant to.
    RegistersItself,
    /// A channel action is not allowed.
    ChannelsDenied,
    /// The key of session data cannot be used.
    SessionKeyDenied,
    /// The agent cannot look whether the bucket is encrypted.
    EncryptionCheckDenied,
    /// Session logs cannot be delivered.
    LogDeliveryDenied,
    /// A condition in some policy decides, and is not known to hold.
    DependsOnConditions,
    /// The role's policies are silent, and a bucket's or key's own policy may grant it.
    ResourcePolicyMayGrant,
    /// A policy that could decide cannot be read or understood.
    PolicyNotReadable,
    /// The role was not read in full.
    NotRead,
    /// A policy of the role is being fetched.
    NotYetRead,
    /// The node works with the credentials of Default Host Management.
    NotApplicable,
}

impl Cause {
    /// The stable word, in Kubernetes' CamelCase.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::TrustPolicyRefuses => "TrustPolicyRefuses",
            Self::NoInstanceProfile => "NoInstanceProfile",
            Self::CannotRegister => "CannotRegister",
            Self::RegistersItself => "RegistersItself",
            Self::ChannelsDenied => "ChannelsDenied",
            Self::SessionKeyDenied => "SessionKeyDenied",
            Self::EncryptionCheckDenied => "EncryptionCheckDenied",
            Self::LogDeliveryDenied => "LogDeliveryDenied",
            Self::DependsOnConditions => "DependsOnConditions",
            Self::ResourcePolicyMayGrant => "ResourcePolicyMayGrant",
            Self::PolicyNotReadable => "PolicyNotReadable",
            Self::NotRead => "NotRead",
            Self::NotYetRead => "NotYetRead",
            Self::NotApplicable => "NotApplicable",
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const ALL: &[Cause] = &[
        Cause::Ready,
        Cause::TrustPolicyRefuses,
        Cause::NoInstanceProfile,
        Cause::CannotRegister,
        Cause::RegistersItself,
        Cause::ChannelsDenied,
        Cause::SessionKeyDenied,
        Cause::EncryptionCheckDenied,
        Cause::LogDeliveryDenied,
        Cause::DependsOnConditions,
        Cause::ResourcePolicyMayGrant,
        Cause::PolicyNotReadable,
        Cause::NotRead,
        Cause::NotYetRead,
        Cause::NotApplicable,
    ];

    /// What a word means, and what to do.
    fn explained(cause: Cause) -> [&'static str; 2] {
        match cause {
            Cause::Ready => ["nothing that IAM tells stands in the way of a session", "nothing"],
            Cause::TrustPolicyRefuses => [
                "the role's trust policy does not let the platform's service assume the role, or its conditions do not",
                "have it allow `sts:AssumeRole` to the service, for this account",
            ],
            Cause::NoInstanceProfile => [
                "no instance profile holds the role, so no instance gets its credentials",
                "put the role into an instance profile, and give that to the instances",
            ],
            Cause::CannotRegister => [
                "`ssm:UpdateInstanceInformation` is denied or not granted: the node is not listed",
                "attach AmazonSSMManagedInstanceCore, or say `nodeRegistration: granted` in the manifest",
            ],
            Cause::RegistersItself => [
                "the role lets the node register, though the manifest leaves that to Default Host Management",
                "take the permission away, or say `nodeRegistration: assumed` in the manifest",
            ],
            Cause::ChannelsDenied => [
                "one of the four `ssmmessages` actions is denied or not granted",
                "see which statement denies it, or have the policy written",
            ],
            Cause::SessionKeyDenied => [
                "the key that encrypts session data cannot be used",
                "see which statement denies `kms:Decrypt` on it, or have the policy written; the key's policy must agree too",
            ],
            Cause::EncryptionCheckDenied => [
                "the agent may not look whether the bucket is encrypted",
                "see which statement denies `s3:GetEncryptionConfiguration`, or have the policy written",
            ],
            Cause::LogDeliveryDenied => [
                "session logs do not reach their bucket or log group",
                "see which statement denies what the message names, or have the policy written",
            ],
            Cause::DependsOnConditions => [
                "a condition, or the resources of a statement, decide, and it is not known whether requests meet them",
                "see whether they do, or write the statement without what it hangs on",
            ],
            Cause::ResourcePolicyMayGrant => [
                "the role's policies are silent, and the bucket's or key's own policy may grant it",
                "look at that policy, or have the role's own policy written",
            ],
            Cause::PolicyNotReadable => {
                ["a policy that could decide cannot be read or is not understood", "see what the message says of it"]
            }
            Cause::NotRead => [
                "only the policy itself was read, since the bulk read is denied",
                "allow the controller `iam:GetAccountAuthorizationDetails` on `*`",
            ],
            Cause::NotYetRead => ["a managed policy of the role is being fetched", "nothing: it is known in a moment"],
            Cause::NotApplicable => {
                ["the node works with the credentials of Default Host Management, not with the role's", "nothing"]
            }
        }
    }

    /// The table of docs/reasons.md.
    pub(crate) fn table() -> String {
        let row = |cause: &Cause| {
            let [meaning, advice] = explained(*cause);
            format!("| `{cause}` | {meaning} | {advice} |\n")
        };
        ALL.iter().map(row).collect()
    }

    #[test]
    fn the_schema_of_explain_knows_every_cause_and_no_other() {
        let schema: Value = serde_json::from_str(include_str!("../../docs/explain.schema.json")).unwrap();
        let known = schema["$defs"]["check"]["properties"]["reason"]["enum"].as_array().unwrap();
        let known: BTreeSet<&str> = known.iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(known, ALL.iter().map(|cause| cause.as_str()).collect());
    }
}
