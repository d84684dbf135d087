//! Why a step is not simply taken: each reason with its explanation and the next step for a person.
//!
//! Pure. What must stay true: every reason that can appear in a plan or a log has a hint.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::iam::ErrorClass;

/// Why a step's action is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// IAM has no role of this name.
    RoleNotFound,
    /// The role could not be read.
    Unknown,
    /// The manifest names another account than that of the credentials.
    AccountMismatch,
    /// The manifest says to leave the role alone.
    Suspended,
    /// Drift is told and not repaired.
    ObserveMode,
    /// The kill switch of the controller's configuration is on: drift is told and not repaired.
    KillSwitch,
    /// Another process holds the lease: it repairs what this one only reads.
    Standby,
    /// Manifests ask for differing policies of the same name.
    Conflict,
    /// The live policy denies something.
    DeniesPresent,
    /// The live policy has nothing to do with Session Manager.
    ForeignPolicy,
    /// A repair would take `ssm:UpdateInstanceInformation` away.
    NodeRegistrationWouldBeLost,
    /// A repair would take a working session away.
    WouldDisconnect,
    /// AWS protects the role.
    ProtectedRole,
    /// It is the role that the controller itself runs as.
    OwnRole,
    /// The inline policies of the role would exceed IAM's quota.
    NoRoom,
    /// What is asked for lies outside of the operator's limits.
    OutsideLimits,
    /// The role carries the tag that has it left alone.
    SuspendTag,
    /// The policy is to be removed, and holds something else than its settings yield.
    DocumentDiffers,
    /// The policy under the manifest's new `policyName` is not right yet.
    AwaitsSuccessor,
    /// The whole plan is beyond what may change within an hour.
    GuardHeld,
    /// The account is not as it was when the plan was approved.
    ApprovalVoid,
    /// The first write of several was not found right when it was read back.
    CanaryUnproven,
    /// Somebody else writes this policy again and again.
    Contended,
    /// A write, or the read before it, failed in this way.
    Failed(ErrorClass),
}

/// Every reason, in the order of the documentation.
#[cfg(test)]
const ALL: &[Reason] = &[
    Reason::RoleNotFound,
    Reason::Unknown,
    Reason::AccountMismatch,
    Reason::Suspended,
    Reason::ObserveMode,
    Reason::KillSwitch,
    Reason::Standby,
    Reason::Conflict,
    Reason::DeniesPresent,
    Reason::ForeignPolicy,
    Reason::NodeRegistrationWouldBeLost,
    Reason::WouldDisconnect,
    Reason::ProtectedRole,
    Reason::OwnRole,
    Reason::NoRoom,
    Reason::OutsideLimits,
    Reason::SuspendTag,
    Reason::DocumentDiffers,
    Reason::AwaitsSuccessor,
    Reason::GuardHeld,
    Reason::ApprovalVoid,
    Reason::CanaryUnproven,
    Reason::Contended,
    Reason::Failed(ErrorClass::Denied),
    Reason::Failed(ErrorClass::Throttled),
    Reason::Failed(ErrorClass::Transient),
    Reason::Failed(ErrorClass::Credentials),
    Reason::Failed(ErrorClass::Clock),
    Reason::Failed(ErrorClass::Invalid),
    Reason::Failed(ErrorClass::NotSent),
    Reason::Failed(ErrorClass::NotCounted),
    Reason::Failed(ErrorClass::NotLeading),
];

impl Reason {
    /// The stable word for plans, logs and runbooks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoleNotFound => "RoleNotFound",
            Self::Unknown => "Unknown",
            Self::AccountMismatch => "AccountMismatch",
            Self::ObserveMode => "ObserveMode",
            Self::Suspended | Self::KillSwitch => "Suspended",
            Self::Standby => "Standby",
            Self::Conflict => "Conflict",
            Self::DeniesPresent => "DeniesPresent",
            Self::ForeignPolicy => "ForeignPolicy",
            Self::NodeRegistrationWouldBeLost => "NodeRegistrationWouldBeLost",
            Self::WouldDisconnect => "WouldDisconnect",
            Self::ProtectedRole => "ProtectedRole",
            Self::OwnRole => "OwnRole",
            Self::NoRoom => "NoRoom",
            Self::OutsideLimits => "OutsideLimits",
            Self::SuspendTag => "SuspendTag",
            Self::DocumentDiffers => "DocumentDiffers",
            Self::AwaitsSuccessor => "AwaitsSuccessor",
            Self::GuardHeld => "GuardHeld",
            Self::ApprovalVoid => "ApprovalVoid",
            Self::CanaryUnproven => "CanaryUnproven",
            Self::Contended => "Contended",
            Self::Failed(class) => class.as_str(),
        }
    }

    /// Whether the live policy cannot be taken for one of the controller's.
    #[must_use]
    pub fn is_about_somebody_elses_policy(self) -> bool {
        matches!(
            self,
            Self::DeniesPresent
                | Self::ForeignPolicy
                | Self::NodeRegistrationWouldBeLost
                | Self::WouldDisconnect
                | Self::DocumentDiffers
        )
    }

    /// Whether an event of the account, or of the role as a whole, tells it: not once more for each policy.
    #[must_use]
    pub fn is_told_elsewhere(self) -> bool {
        matches!(self, Self::GuardHeld | Self::CanaryUnproven | Self::SuspendTag | Self::Contended)
    }

    /// What stands in the way, as the end of a sentence about the role.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::RoleNotFound => "there is no role of this name in the account",
            Self::Unknown => "the role could not be read, so nothing is concluded and nothing is written",
            Self::AccountMismatch => "the manifest names another account than the one that the credentials belong to",
            Self::Suspended => "its manifest says suspend: true: neither judged nor repaired",
            Self::ObserveMode => "drift is told, not repaired (observe)",
            Self::KillSwitch => {
                "the kill switch is on (suspend: true in the ControllerConfiguration): drift is told, nothing is written"
            }
            Self::Standby => "another process holds the lease: it repairs, this one only reads",
            Self::Conflict => "manifests ask for differing things of this policy",
            Self::DeniesPresent => "the live policy holds a Deny: somebody shut this door on purpose",
            Self::ForeignPolicy => {
                "the live policy of this name holds no Session Manager action: it is somebody else's"
            }
            Self::NodeRegistrationWouldBeLost => {
                "the live policy grants ssm:UpdateInstanceInformation, and a repair would take that away: the node could vanish from Systems Manager"
            }
            Self::WouldDisconnect => "a session would work with the role as it is, and would not after this write",
            Self::ProtectedRole => "AWS protects the role: its policies cannot be changed",
            Self::OwnRole => "it is the role that this controller runs as: it never writes to itself",
            Self::NoRoom => "the role's inline policies would exceed the 10,240 characters that IAM allows",
            Self::OutsideLimits => "it lies outside of spec.limits of the ControllerConfiguration",
            Self::SuspendTag => {
                "the role carries the tag ssm-role-controller.dev/suspend: drift is told, nothing is written"
            }
            Self::DocumentDiffers => {
                "the policy is to be removed, but the live document is not what its settings yield: it is left"
            }
            Self::AwaitsSuccessor => {
                "the manifest has changed its policyName: this one, under the former name, stays until the new one is right"
            }
            Self::GuardHeld => {
                "the whole plan is beyond what spec.guards of the ControllerConfiguration allow within an hour: it is held"
            }
            Self::ApprovalVoid => {
                "it is not part of the plan that was approved, since the account or the manifests have changed; or the approval was used before"
            }
            Self::CanaryUnproven => {
                "the first write of several was not found right when it was read back, so the rest wait"
            }
            Self::Contended => "somebody else writes this policy again and again, so the next repair waits",
            Self::Failed(ErrorClass::Denied) => "IAM denied the call",
            Self::Failed(ErrorClass::Throttled) => "IAM is throttling",
            Self::Failed(ErrorClass::Transient) => "IAM did not answer as it should",
            Self::Failed(ErrorClass::Credentials) => "the AWS credentials are not accepted",
            Self::Failed(ErrorClass::Clock) => {
                "the clock of this machine is off: AWS takes what is signed by it for expired, or for not yet current"
            }
            Self::Failed(ErrorClass::Invalid) => "IAM refused the request",
            Self::Failed(ErrorClass::Quota) => "IAM has no room left for inline policies of this role",
            Self::Failed(ErrorClass::Protected) => "IAM refuses changes to this role",
            Self::Failed(ErrorClass::Gone) => "the role is not there any more",
            Self::Failed(ErrorClass::NotSent) => "the write is outside of what this program may send, and was not sent",
            Self::Failed(ErrorClass::NotCounted) => {
                "the write could not be counted in the state directory first, so it was not sent"
            }
            Self::Failed(ErrorClass::NotLeading) => {
                "another process might hold the lease before the write would have ended, so it was not sent"
            }
        }
    }

    /// The next step for a person.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::RoleNotFound => {
                "correct the name in the manifest, or create the role: it is picked up when it appears"
            }
            Self::Unknown => "see what IAM said; the next pass tries again",
            Self::AccountMismatch => "use credentials of that account, or correct accountId in the manifest",
            Self::Suspended => "set suspend: false in the manifest to have it judged and repaired again",
            Self::ObserveMode => "set mode: enforce in the manifest to have it repaired",
            Self::KillSwitch => "set suspend: false in the ControllerConfiguration to have it repaired",
            Self::Standby => "nothing to do: see what the holder of the lease says (leader.standby names it)",
            Self::Conflict => {
                "let only one manifest name or select this role for this policyName (`exclude` takes a role out of a selector), or let them agree"
            }
            Self::DeniesPresent => {
                "if the Deny is no longer wanted, remove it from the policy by hand; the controller takes over from there"
            }
            Self::ForeignPolicy => "choose another policyName in the manifest, or remove the policy by hand",
            Self::NodeRegistrationWouldBeLost => {
                "say nodeRegistration: granted in the manifest, or grant it by another policy of the role and remove it from this one"
            }
            Self::WouldDisconnect => {
                "say nodeRegistration: granted in the manifest, or grant by another policy of the role what would be lost; `explain` shows what a session needs"
            }
            Self::ProtectedRole => {
                "take the role out of the manifest: service-linked and Identity Center roles are managed by AWS"
            }
            Self::OwnRole => "take the role out of the manifest",
            Self::NoRoom => "shorten or remove other inline policies of the role, or turn them into managed policies",
            Self::OutsideLimits => {
                "take it out of the manifest, or have whoever starts the controller widen spec.limits"
            }
            Self::SuspendTag => "remove the tag from the role to have it repaired again",
            Self::DocumentDiffers => {
                "compare it with the output of `render`: let the manifest say what the policy holds, or remove it by hand"
            }
            Self::AwaitsSuccessor => "see what keeps the policy under the new name from being written",
            Self::GuardHeld => {
                "look at it with `plan`; if it is meant, carry it out with `apply --approve` and the plan's digest, or raise spec.guards"
            }
            Self::ApprovalVoid => "look at the new plan, and approve its digest if it is meant",
            Self::CanaryUnproven => "see who else writes that role's policy; another role goes first in a few minutes",
            Self::Contended => {
                "find out who writes it (CloudTrail: PutRolePolicy, DeleteRolePolicy), and let one of the two stop"
            }
            Self::Failed(ErrorClass::Denied) => {
                "allow the controller's role this call on this role's ARN: see deploy/iam"
            }
            Self::Failed(ErrorClass::Throttled) => "nothing to do: the controller tries it again, at longer intervals",
            Self::Failed(ErrorClass::Transient) => {
                "check the endpoint and the network if it lasts; the controller tries it again"
            }
            Self::Failed(ErrorClass::Credentials) => {
                "renew the credentials, or mend the profile, web identity or instance role that they come from; where the account is entered by a role, see that it exists, and that its trust policy and external id admit the controller still"
            }
            Self::Failed(ErrorClass::Clock) => {
                "set the clock of this machine right, and have it kept so (chrony, NTP): AWS allows for five minutes; the controller tries it again"
            }
            Self::Failed(ErrorClass::Invalid) => "compare the output of `render` with what IAM said",
            Self::Failed(ErrorClass::Quota) => {
                "shorten or remove other inline policies of the role, or turn them into managed policies"
            }
            Self::Failed(ErrorClass::Protected) => {
                "take the role out of the manifest: service-linked and Identity Center roles are managed by AWS"
            }
            Self::Failed(ErrorClass::Gone) => "it is picked up again when it appears",
            Self::Failed(ErrorClass::NotSent) => {
                "compare spec.limits of the ControllerConfiguration with the output of `render`; if they agree, report a bug"
            }
            Self::Failed(ErrorClass::NotLeading) => {
                "nothing to do, unless it lasts: then see what keeps the lease from being renewed (leader.unreachable)"
            }
            Self::Failed(ErrorClass::NotCounted) => {
                "let the controller read and write the files in the state directory; a broken file stands for an hour that is spent: wait until it is an hour old, or remove it; the controller tries it again"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{documentation, readiness};

    /// `UPDATE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_documentation_explains_every_reason() {
        let row = |reason: &Reason| format!("| `{reason}` | {} | {} |\n", reason.explanation(), reason.hint());
        let table = |rows: &str| format!("| reason | what it means | what to do |\n|---|---|---|\n{rows}");
        documentation::hold("reasons.md", "reasons", &table(&ALL.iter().map(row).collect::<String>()));
        documentation::hold("reasons.md", "sessions", &table(&readiness::table()));
    }
}
