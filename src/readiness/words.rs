//! Readiness in words: what was asked, what says so, and what a person would see where it fails.
//!
//! What must stay true: every check that is not met names the symptom that people see, and the policy and statement that
//! decide.

use crate::policy::{
    evaluate::{Answer, Denial, Place},
    session_manager::{Need, Purpose},
};

use super::Check;

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Whether the role was read in full.
    Role,
    /// Whether this service may assume the role.
    Trust(&'static str),
    /// Whether an instance profile holds the role.
    InstanceProfile,
    /// Whether the node cannot register with the role, which would take this permission.
    NoRegistration(Need),
    /// Whether the role has this permission.
    Permission(Need),
}

impl Asked {
    /// The check's name: a stable word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Role => "Role",
            Self::Trust(_) => "TrustPolicy",
            Self::InstanceProfile => "InstanceProfile",
            Self::NoRegistration(_) => "NoRegistration",
            Self::Permission(need) => match need.purpose {
                Purpose::Registration => "Registration",
                Purpose::Channels => "Channels",
                Purpose::SessionKey => "SessionKey",
                Purpose::EncryptionCheck => "EncryptionCheck",
                Purpose::LogsToS3 => "LogsToS3",
                Purpose::LogsToCloudWatch => "LogsToCloudWatch",
            },
        }
    }

    /// The action that is asked for, where it is one.
    #[must_use]
    pub fn action(&self) -> Option<&'static str> {
        match self {
            Self::Permission(need) | Self::NoRegistration(need) => Some(need.action),
            Self::Trust(_) => Some("sts:AssumeRole"),
            Self::Role | Self::InstanceProfile => None,
        }
    }

    /// The resource that it is asked on, where there is one.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        match self {
            Self::Permission(need) | Self::NoRegistration(need) => Some(need.resource.as_deref().unwrap_or("*")),
            _ => None,
        }
    }

    /// What people see where it fails.
    ///
    /// Sources: Systems Manager User Guide, "Troubleshooting Session Manager", "Troubleshooting managed node
    /// availability"; the agent's own messages.
    #[must_use]
    pub fn symptom(&self) -> &'static str {
        match self {
            Self::Role => "none that is known",
            Self::Trust("ecs-tasks.amazonaws.com") => "tasks do not start: ECS was unable to assume the role",
            Self::Trust("ssm.amazonaws.com") => {
                "the node is not listed: its activation is refused, or the node loses its connection"
            }
            Self::Trust(_) | Self::InstanceProfile => {
                "the node is not listed: the instance gets no credentials of the role"
            }
            Self::NoRegistration(_) => "the node works with the role in place of Default Host Management",
            Self::Permission(need) => match (need.purpose, need.action) {
                (Purpose::Registration, _) => {
                    "the node is not listed; the agent logs \"Health ping failed\" with AccessDenied on ssm:UpdateInstanceInformation"
                }
                (Purpose::Channels, "ssmmessages:CreateControlChannel" | "ssmmessages:OpenControlChannel") => {
                    "the node is listed, but start-session ends with TargetNotConnected"
                }
                (Purpose::Channels, _) => {
                    "the session does not open: the agent logs \"Setting up data channel\" and that CreateDataChannel or OpenDataChannel failed"
                }
                (Purpose::SessionKey, _) => {
                    "the session ends at once: \"Encountered error while initiating handshake\", with kms:Decrypt"
                }
                (Purpose::EncryptionCheck, _) => {
                    "the session ends: \"encryption is not set up on the selected Amazon S3 bucket\", although it is"
                }
                (Purpose::LogsToS3, _) => {
                    "the session works, its logs never reach S3; only the agent's own log says so"
                }
                (Purpose::LogsToCloudWatch, _) => {
                    "the session's logs never reach CloudWatch Logs; where only an encrypted group is accepted, the session ends"
                }
            },
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Role => "the role".to_owned(),
            Self::Trust(service) => format!("{service} may assume the role"),
            Self::InstanceProfile => "instance profile".to_owned(),
            Self::NoRegistration(_) => "registration is left to Default Host Management".to_owned(),
            Self::Permission(need) => match &need.resource {
                None => need.action.to_owned(),
                Some(resource) => format!("{} on {resource}", need.action),
            },
        }
    }
}

impl Check {
    /// What was asked, in words.
    #[must_use]
    pub fn subject_in_words(&self) -> String {
        self.asked.in_words()
    }

    /// What was asked and what came of it, as one sentence without its end.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.asked.in_words(), self.evidence)
    }
}

/// What an answer rests upon.
pub(super) fn evidence(answer: &Answer) -> String {
    match answer {
        Answer::Allowed { by } => format!("granted by {by}"),
        Answer::Denied(Denial::Explicitly { by }) => format!("denied by {by}"),
        Answer::Denied(Denial::NotGranted) => "no policy of the role grants it".to_owned(),
        Answer::Denied(Denial::NotByBoundary { boundary }) => format!("the {boundary} does not allow it"),
        Answer::Conditional { on } => {
            let each = on.iter().map(|dependence| {
                let keys = if dependence.keys.is_empty() { String::new() } else { dependence.keys.join(" and ") };
                match (dependence.resource, keys.is_empty()) {
                    (true, true) => format!("{} applies to some of these resources only", dependence.at),
                    (true, false) => {
                        format!("{} applies to some of these resources only, and depends on {keys}", dependence.at)
                    }
                    (false, _) => format!("{} depends on {keys}", dependence.at),
                }
            });
            each.collect::<Vec<_>>().join("; ")
        }
        Answer::Unknown { why } => {
            let each = why.iter().map(|doubt| match doubt.statement {
                Some(statement) => format!("statement {} of {}: {}", statement + 1, doubt.policy, doubt.what),
                None => format!("{}: {}", doubt.policy, doubt.what),
            });
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// That a policy comes near to granting it.
pub(super) fn near_miss(nearest: &Place) -> String {
    format!("no policy of the role grants it: {nearest} does for other resources, or under a condition that is not met")
}

/// Whose own policy may grant it.
pub(super) fn resource_policy(need: &Need) -> &'static str {
    if need.action.starts_with("kms:") { "the key's own policy" } else { "the bucket's own policy" }
}
